"""Small simulated designs of every structure, for the dense twin and for the engines of logistic mixed models alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skdep.glmm.cumulants import Binomial
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.mixed.parameters import CovarianceParameters

from . import dense


@dataclass(frozen=True)
class Case:
    """Rows of a logistic mixed model as an engine has them, and as the dense twin has them."""

    design: dense.Design

    @property
    def rows(self) -> GlmmRows:
        """Return the rows sorted by the first factor, terms in their order."""
        order = np.argsort(self.design.terms[0].codes, kind="stable")
        design = replace(dense.taken(self.design, order), cluster_weight=None)
        terms = tuple(
            RowTerm(t.codes, t.n_levels, np.ascontiguousarray(t.Z.T, dtype=float), np.eye(t.q)) for t in design.terms
        )
        level_weights = None
        if self.design.cluster_weight is not None:
            of_levels = np.unique(self.design.terms[0].codes, return_index=True)[1]
            level_weights = self.design.cluster_weight[of_levels]
        return GlmmRows(design.X, design.w * design.y, design.w.copy(), design.offset, terms, Binomial(), level_weights)

    @property
    def clusters(self) -> np.ndarray:
        """Return the independent cluster of every row of `rows`, by the numbers of the dense twin."""
        return self.design.clusters[np.argsort(self.design.terms[0].codes, kind="stable")]

    @property
    def parameters(self) -> CovarianceParameters:
        """Return the layout of the covariance parameters."""
        terms = self.design.terms
        if terms[0].blocks is None:
            return CovarianceParameters(tuple(t.q for t in terms), terms[0].diagonal)
        return CovarianceParameters(tuple(t.q for t in terms), tuple(t.blocks for t in terms))

    def weighted(self, weighting: str) -> Case:
        """Return the case under weights: "none"; "frequency", repeated rows; "sampling", of rows and of clusters."""
        if weighting == "none":
            return self
        rng, n, clusters = np.random.default_rng(99), len(self.design.y), self.design.clusters
        if weighting == "frequency":
            return Case(replace(self.design, row_weight=self.design.w * rng.integers(1, 4, n)))
        of_clusters = rng.uniform(0.5, 3.0, clusters.max() + 1)
        rows = self.design.w * rng.uniform(0.4, 1.8, n)
        return Case(replace(self.design, row_weight=rows, cluster_weight=of_clusters[clusters]))

    def points(self) -> dict[str, tuple[np.ndarray, list[np.ndarray]]]:
        """Return beta and T of every term that are no estimates: T regular, of rank one less, zero, or large."""
        rng = np.random.default_rng(12)
        beta, regular = rng.normal(scale=0.7, size=self.design.X.shape[1]), []
        for term in self.design.terms:
            T = np.diag(rng.uniform(0.4, 1.3, term.q))
            if not term.diagonal:
                T += np.tril(rng.normal(scale=0.4, size=T.shape), -1)
            if term.blocks is not None:
                T *= np.equal.outer(term.blocks, term.blocks)
            regular.append(T)
        singular = [T * (np.arange(len(T)) < len(T) - 1) for T in regular]
        zero, large = [0 * T for T in regular], [6 * T for T in regular]
        return {
            "regular": (beta, regular),
            "singular": (beta, singular),
            "zero": (beta, zero),
            "large": (3 * beta, large),
        }


def _simulate(
    seed,
    codes: list[np.ndarray],
    columns: list[list[int]],
    *,
    diagonal=False,
    blocks=None,
    n_features=2,
    sd=1.0,
    intercept=0.2,
    offset=False,
    trials=None,
) -> Case:
    """Draw features and an outcome, and shuffle the rows.

    `columns` are the columns of X of every term's effects, `blocks` the numbers of their blocks.
    """
    rng = np.random.default_rng(seed)
    n = len(codes[0])
    X = np.column_stack([np.ones(n), rng.normal(size=(n, n_features))])
    if trials is not None:
        X = np.round(X)
    eta = X @ np.array([intercept, *np.linspace(0.8, -0.5, n_features)])
    known = rng.normal(size=n) if offset else None
    eta += 0.0 if known is None else known
    for codes_k, columns_k in zip(codes, columns):
        effects = sd * rng.normal(size=(codes_k.max() + 1, len(columns_k)))
        eta += np.sum(X[:, columns_k] * effects[codes_k], axis=1)
    w = None if trials is None else rng.integers(1, trials + 1, n).astype(float)
    share = rng.binomial(1 if w is None else w.astype(int), 1 / (1 + np.exp(-eta))) / (1 if w is None else w)
    sizes = [(codes_k.max() + 1) * len(columns_k) for codes_k, columns_k in zip(codes, columns)]
    terms = tuple(
        dense.Term(codes[k], X[:, columns[k]], diagonal, None if blocks is None else blocks[k])
        for k in np.argsort(-np.array(sizes), kind="stable")
    )
    design = dense.Design(X, share.astype(float), terms, w, known)
    return Case(dense.taken(design, rng.permutation(n)))


def _sizes(seed, n_levels, most, singletons=2) -> np.ndarray:
    """Return codes of levels of 2 to `most` rows, and a few of one row."""
    sizes = np.random.default_rng(seed).integers(2, most + 1, n_levels)
    sizes[:singletons] = 1
    return np.repeat(np.arange(n_levels), sizes)


def _crossed(seed, n, *levels: int) -> list[np.ndarray]:
    """Return codes drawn at random, every level at least once."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.concatenate([np.arange(k), rng.integers(0, k, n - k)])) for k in levels]


def _nested(seed) -> list[np.ndarray]:
    pupils = _sizes(seed, 24, 5, singletons=3)
    return [pupils // 3, pupils]


def _blocks(seed) -> list[np.ndarray]:
    """Return two factors, crossed within each of three blocks that share no level."""
    parts = [_crossed(seed + block, 30, 5, 4) for block in range(3)]
    return [
        np.concatenate([part[k] + size * block for block, part in enumerate(parts)]) for k, size in ((0, 5), (1, 4))
    ]


_DEEP = _nested(14)
ONE_FACTOR = {
    "intercept": _simulate(1, [_sizes(1, 18, 8)], [[0]]),
    "intercept_offset": _simulate(2, [_sizes(2, 18, 8)], [[0]], offset=True),
    "slope": _simulate(3, [_sizes(3, 16, 9)], [[0, 1]]),
    "slope_diagonal": _simulate(4, [_sizes(4, 16, 9)], [[0, 2]], diagonal=True, offset=True),
    "slope_alone": _simulate(5, [_sizes(5, 16, 9)], [[2]]),
    "two_slopes": _simulate(6, [_sizes(6, 14, 11)], [[0, 2, 1]]),
    "two_slopes_diagonal": _simulate(7, [_sizes(7, 14, 9)], [[0, 1, 2]], diagonal=True),
    "two_slopes_in_blocks": _simulate(23, [_sizes(23, 14, 11)], [[0, 2, 1]], blocks=[(0, 1, 0)]),
    "rare": _simulate(8, [_sizes(8, 24, 6)], [[0, 1]], intercept=-2.5),  # most levels have no success at all
    "large_effects": _simulate(9, [_sizes(9, 18, 8)], [[0, 1]], sd=5.0),  # most levels are all 0 or all 1
    "singletons": _simulate(10, [_sizes(10, 40, 2, singletons=34)], [[0]]),
    "one_level": _simulate(11, [np.zeros(12, dtype=int)], [[0, 1]]),
    "trials": _simulate(12, [_sizes(12, 14, 7)], [[0, 1]], trials=9),
}
SEVERAL_FACTORS = {
    "nested": _simulate(13, _nested(13), [[0], [0]]),
    "nested_slope": _simulate(14, _nested(14), [[0, 1], [0]], offset=True),
    "deeply_nested": _simulate(15, [_DEEP[0] // 3, *_DEEP], [[0], [0], [0]]),
    "crossed": _simulate(16, _crossed(16, 100, 12, 8), [[0], [0]]),
    "crossed_slopes": _simulate(17, _crossed(17, 120, 11, 9), [[0, 1], [0, 2]]),
    "crossed_slopes_diagonal": _simulate(18, _crossed(18, 120, 8, 9), [[0, 1, 2], [0, 1]], diagonal=True),
    "crossed_structures": _simulate(24, _crossed(24, 120, 8, 9), [[0, 1, 2], [0, 1]], blocks=[(0, 1, 0), (0, 1)]),
    "crossed_blocks": _simulate(19, _blocks(19), [[0, 1], [0]]),
    "three_factors": _simulate(20, _crossed(20, 110, 10, 8, 6), [[0], [0, 1], [0]]),
    "crossed_large_effects": _simulate(21, _crossed(21, 100, 12, 8), [[0], [0]], sd=5.0),
    "crossed_trials": _simulate(22, _crossed(22, 60, 9, 7), [[0, 1], [0]], trials=6),
}
CASES = {**ONE_FACTOR, **SEVERAL_FACTORS}
