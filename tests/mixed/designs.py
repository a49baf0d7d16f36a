"""Small simulated designs of every structure, for the dense twin and for the estimator alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .dense import Design, Term


@dataclass(frozen=True)
class Case:
    """Rows of a linear mixed model as a user has them."""

    X: np.ndarray  # (n, p) features, no constant
    y: np.ndarray
    groups: pd.DataFrame  # a column a factor
    slopes: dict[str, list[int]]  # features with random slopes, by factor
    covariance: str | dict  # as the parameter of the estimator
    integers: np.ndarray  # (n,) counts from 1 to 3
    weights: np.ndarray  # (n,) positive, of mean near 1
    without_intercept: tuple[str, ...] = ()  # factors without random intercept
    random_only: tuple[int, ...] = ()  # features without fixed effect

    @property
    def params(self) -> dict:
        """Return the parameters of an estimator that say which effects there are."""
        return {
            "random_slopes": self.slopes or None,
            "random_intercept": dict.fromkeys(self.without_intercept, False) or True,
            "covariance": self.covariance,
            "random_only": list(self.random_only) or None,
        }

    @property
    def fixed(self) -> list[int]:
        """Return the features with fixed effects."""
        return [j for j in range(self.X.shape[1]) if j not in self.random_only]

    def effects(self, name: str) -> list:
        """Return the effects of a factor: "Intercept", and numbers of features."""
        return ["Intercept"] * (name not in self.without_intercept) + self.slopes.get(name, [])

    def columns(self, name: str, X: np.ndarray) -> np.ndarray:
        """Return the columns of the effects of a factor at any rows."""
        return np.column_stack([np.ones(len(X)) if j == "Intercept" else X[:, j] for j in self.effects(name)])

    def blocks(self, name: str) -> tuple[int, ...]:
        """Return the number of the block of every effect of a factor."""
        chosen = self.covariance.get(name, "full") if isinstance(self.covariance, dict) else self.covariance
        if isinstance(chosen, list):
            return tuple(next(k for k, block in enumerate(chosen) if j in block) for j in self.effects(name))
        q = len(self.effects(name))
        return tuple(range(q)) if chosen == "diagonal" else (0,) * q

    def dense(self, *, precision=None, offset=0.0) -> Design:
        """Return the dense design: a constant first in X."""
        terms = tuple(
            Term(self.codes(name), self.columns(name, self.X), blocks=self.blocks(name)) for name in self.groups
        )
        return Design(np.column_stack([np.ones(len(self.y)), self.X[:, self.fixed]]), self.y - offset, terms, precision)

    def codes(self, name: str) -> np.ndarray:
        """Return the code of every row's level, levels in sorted order."""
        return np.unique(self.groups[name].to_numpy(dtype=object), return_inverse=True)[1]

    def take(self, rows) -> Case:
        """Return some rows, in the order asked for."""
        groups = self.groups.iloc[rows].reset_index(drop=True)
        return replace(
            self,
            X=self.X[rows],
            y=self.y[rows],
            groups=groups,
            integers=self.integers[rows],
            weights=self.weights[rows],
        )


def _simulate(
    seed, groups: dict, slopes: dict, covariance="full", n_features=2, sds=(1.2, 0.8, 0.6), **further
) -> Case:
    """Draw features and an outcome with random effects of these standard deviations, and shuffle the rows."""
    rng = np.random.default_rng(seed)
    n = len(next(iter(groups.values())))
    X = rng.normal(size=(n, n_features))
    X[:, 0] += 0.5
    y = 1.0 + X @ np.linspace(0.7, -0.4, n_features) + rng.normal(size=n)
    for name, labels in groups.items():
        codes = np.unique(labels, return_inverse=True)[1]
        Z = np.column_stack([np.ones(n), X[:, slopes.get(name, [])]])
        q = Z.shape[1]
        mixing = np.eye(q) + (0.4 * np.tri(q, k=-1) if covariance == "full" else 0.0)
        effects = rng.normal(size=(codes.max() + 1, q)) @ (np.diag(sds[:q]) @ mixing).T
        y += np.sum(Z * effects[codes], axis=1)
    frame = pd.DataFrame({name: pd.Series(labels) for name, labels in groups.items()})
    integers, weights = rng.integers(1, 4, n).astype(float), rng.uniform(0.4, 1.8, n)
    return Case(X, y, frame, slopes, covariance, integers, weights, **further).take(rng.permutation(n))


def _sizes(seed, n_levels, most, singletons=2) -> np.ndarray:
    """Return labels of levels of 2 to `most` rows, and a few of one row."""
    sizes = np.random.default_rng(seed).integers(2, most + 1, n_levels)
    sizes[:singletons] = 1
    return np.repeat(np.arange(n_levels), sizes)


def _words(codes, prefix) -> np.ndarray:
    return np.array([f"{prefix}{code:02d}" for code in codes], dtype=object)


def _nested(seed) -> dict:
    pupils = _sizes(seed, 26, 6, singletons=3)
    return {"school": _words(pupils // 3, "s"), "pupil": _words(pupils, "p")}


def _crossed(seed, n, levels: dict) -> dict:
    """Return labels drawn at random, every level at least once."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, n_levels in levels.items():
        found[name] = np.concatenate([np.arange(n_levels), rng.integers(0, n_levels, n - n_levels)])
        rng.shuffle(found[name])
    return found


CASES = {
    "intercept": _simulate(1, {"group": _words(_sizes(1, 18, 8), "g")}, {}),
    "slope": _simulate(2, {"group": _sizes(2, 16, 9)}, {"group": [0]}),
    "slope_diagonal": _simulate(3, {"group": _words(_sizes(3, 16, 9), "g")}, {"group": [1]}, "diagonal"),
    "two_slopes": _simulate(21, {"group": _sizes(21, 16, 12)}, {"group": [1, 0]}, n_features=3),
    "two_slopes_diagonal": _simulate(23, {"group": _sizes(23, 15, 9)}, {"group": [0, 1]}, "diagonal"),
    "nested": _simulate(6, _nested(6), {}),
    "nested_slope": _simulate(7, _nested(7), {"school": [0]}),
    "crossed": _simulate(8, _crossed(8, 100, {"rater": 12, "item": 8}), {}),
    "crossed_slopes": _simulate(9, _crossed(9, 130, {"rater": 12, "item": 9}), {"rater": [0], "item": [1]}),
    "crossed_slopes_diagonal": _simulate(
        10, _crossed(10, 120, {"rater": 11, "item": 9}), {"rater": [0, 1], "item": [0]}, "diagonal"
    ),
    "blocks": _simulate(31, {"group": _sizes(31, 20, 12)}, {"group": [1, 0]}, {"group": [[1], [0, "Intercept"]]}),
    "slopes_alone": _simulate(
        38,
        {"group": _sizes(38, 24, 12)},
        {"group": [2, 0]},
        n_features=3,
        without_intercept=("group",),
        random_only=(2,),
    ),
    "crossed_structures": _simulate(
        33,
        _crossed(33, 150, {"rater": 12, "item": 9}),
        {"rater": [0, 1], "item": [0]},
        {"rater": [[0, "Intercept"], [1]], "item": "diagonal"},
    ),
    "crossed_random_only": _simulate(
        34,
        _crossed(34, 130, {"rater": 12, "item": 10}),
        {"rater": [0], "item": [1]},
        n_features=4,
        without_intercept=("item",),
        random_only=(0, 1),
    ),
    "three_factors": _simulate(26, _crossed(26, 120, {"rater": 10, "item": 8, "day": 6}), {"item": [0]}),
}
# Their estimates, by ML and REML, lie on the boundary: a variance is 0, or a correlation matrix is singular.
SINGULAR_CASES = {
    "singular_slopes": _simulate(30, {"group": _sizes(30, 16, 12)}, {"group": [1, 0]}, n_features=3),
    "singular_diagonal": _simulate(25, {"group": _sizes(25, 15, 9)}, {"group": [0, 1]}, "diagonal"),
    "singular_blocks": _simulate(
        38,
        {"group": _sizes(38, 16, 9)},
        {"group": [0, 1]},
        {"group": [[0], [1, "Intercept"]]},
        n_features=3,
        sds=(0.5, 0.3, 0.3),
        random_only=(1,),
    ),
    "singular_block_of_one": _simulate(
        52,
        {"group": _sizes(52, 16, 9)},
        {"group": [0, 1]},
        {"group": [[0], [1, "Intercept"]]},
        n_features=3,
        sds=(0.5, 0.3, 0.3),
        random_only=(1,),
    ),
    "singular_crossed": _simulate(22, _crossed(22, 120, {"rater": 10, "item": 8, "day": 6}), {"item": [0]}),
}
ONE_FACTOR = [name for name, case in CASES.items() if len(case.groups.columns) == 1]
