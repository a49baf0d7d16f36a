r"""What scoring needs of the rows, for many replicates at once: scores and informations added up.

With weights w_ir, the score of replicate r is the sum of w_ir s_i x_i and its information that of w_ir v_i x_i x_i',

.. math:: s = (y - \mu) \frac{d\mu/d\eta}{V(\mu)}, \quad v = \frac{(d\mu/d\eta)^2}{V(\mu)}

for Fisher scoring, and :math:`v = -ds/d\eta` for Newton's method.

At parameters that all replicates share, s and v are the same for all, and one matrix product with the weights (of rows,
or of sampling units after their rows are added up) gives the sums of all replicates. Elsewhere s and v are evaluated
for blocks of rows by replicates. The information's upper triangle is a product of pairs of columns with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from skdep._threads import block_rows, threads_over_blocks
from skdep.families import Binomial, Family, Gaussian, Poisson
from skdep.links import Identity, Link, Log, Logit
from skdep.survey.linearised import unit_totals
from skdep.survey.replicates import ReplicateWeights

__all__ = ["ReplicateSums", "Sums", "WeightedRows", "symmetric"]

# Sums are added up in so many runs of rows, whatever the number of threads.
_RUNS = 16
# Floats of the sums of sampling units that are kept, rather than those of blocks of rows.
_MOST_UNIT_SUMS = 4_000_000
# Share of the mean, or of its distance from the end of its range, over which scores are differenced.
_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class WeightedRows:
    """The rows, and what is fitted to them.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Columns of the linear predictor.
    y : ndarray of shape (n_rows,)
        Outcomes.
    offset : ndarray of shape (n_rows,) or None
        Known part of the linear predictor.
    family, link : Family, Link
        The model.
    """

    X: np.ndarray
    y: np.ndarray
    offset: np.ndarray | None
    family: Family
    link: Link

    @property
    def is_linear(self) -> bool:
        """Whether one step solves the equations."""
        return isinstance(self.family, Gaussian) and isinstance(self.link, Identity)

    @property
    def is_canonical(self) -> bool:
        """Whether the information is known not to depend on the outcome."""
        return self.is_linear or self._is_logit or (isinstance(self.family, Poisson) and isinstance(self.link, Log))

    @property
    def _is_logit(self) -> bool:
        return isinstance(self.family, Binomial) and isinstance(self.link, Logit)

    def predictors(self, rows: slice, params: np.ndarray) -> np.ndarray:
        """Return linear predictors (n_rows, n_replicates), a fresh array, of parameters (n_replicates, p)."""
        eta = np.dot(self.X[rows], params.T)
        if self.offset is not None:
            eta += self.offset[rows, None]
        return eta

    def terms(
        self, rows: slice, eta: np.ndarray, *, observed: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return score and information factors of each row, and where there is no mean; may overwrite `eta`.

        The information is expected, or `observed`: minus the derivative of the score. For canonical links the two are
        the same.
        """
        if self._is_logit:
            return *self._logit_terms(rows, eta), None
        mu, derivative, outside = self.means(rows, eta)
        information = derivative / self.family.variance(mu)
        score = (self.y[rows, None] - mu) * information
        information = information * derivative
        if observed and not self.is_canonical:
            information = self._observed(rows, eta, mu, derivative, score, information)
        score[outside] = 0.0
        information[outside] = 0.0
        return score, information, outside

    def _logit_terms(self, rows: slice, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return y - mu, in the place of `eta`, and mu (1 - mu)."""
        np.negative(eta, out=eta)
        with np.errstate(over="ignore"):
            np.exp(eta, out=eta)
        eta += 1.0
        np.reciprocal(eta, out=eta)
        information = 1.0 - eta
        information *= eta
        return np.subtract(self.y[rows, None], eta, out=eta), information

    def _observed(
        self,
        rows: slice,
        eta: np.ndarray,
        mu: np.ndarray,
        derivative: np.ndarray,
        score: np.ndarray,
        expected: np.ndarray,
    ) -> np.ndarray:
        """Return minus the derivative of the score, by differences; where there is none the expected information."""
        from_ends = np.minimum(mu - self.family.lower, self.family.upper - mu)
        # the change of the linear predictor that changes the mean by a small share
        change = _SHARE * np.where(np.isfinite(from_ends), from_ends, np.abs(mu)) / np.abs(derivative)
        near, near_derivative, outside = self.means(rows, eta + change)
        near_score = (self.y[rows, None] - near) * near_derivative / self.family.variance(near)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (score - near_score) / change
        return np.where(outside | ~np.isfinite(found), expected, found)

    def means(self, rows: slice, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return means, their derivatives, and where the linear predictor has none (there both mean nothing)."""
        outside = ~np.isfinite(eta)
        if self.link.positive:
            outside |= eta <= 0
        eta = np.where(outside, 1.0, eta)
        mu = self.link.inverse(eta)
        outside |= ~((mu >= self.family.lower) & (mu <= self.family.upper))
        mu = self.family.clip(np.where(outside, self.family.initial_mean(self.y[rows, None]), mu))
        return mu, self.link.inverse_derivative(eta, mu), outside

    def dispersion(self, params: np.ndarray) -> float:
        """Return the mean squared Pearson residual, the unit of squared decrements; 1 where it vanishes."""
        every = slice(0, len(self.y))
        mu, _, _ = self.means(every, self.predictors(every, params[None]))
        mean = float(np.mean((self.y[:, None] - mu) ** 2 / self.family.variance(mu)))
        return mean if np.isfinite(mean) and mean > 0 else 1.0


@dataclass(slots=True)
class Sums:
    """Sums over rows for some replicates.

    Parameters
    ----------
    score : ndarray of shape (p, n_replicates)
        Scores.
    pairs : ndarray of shape (p (p + 1) / 2, n_replicates)
        Upper triangles of informations, row by row; no rows where they were not asked for.
    total : ndarray of shape (n_replicates,)
        Weights.
    objective : ndarray of shape (n_replicates,)
        Quasi-likelihoods; 0 where they were not asked for.
    outside : ndarray of shape (n_replicates,)
        More than 0 where a row that counts has no mean.
    """

    score: np.ndarray
    pairs: np.ndarray
    total: np.ndarray
    objective: np.ndarray
    outside: np.ndarray

    def add(self, other: Sums) -> None:
        """Add other sums to these."""
        self.score += other.score
        self.pairs += other.pairs
        self.total += other.total
        self.objective += other.objective
        self.outside += other.outside

    def of(self, which: np.ndarray) -> Sums:
        """Return the sums of some replicates."""
        return Sums(
            self.score[:, which], self.pairs[:, which], self.total[which], self.objective[which], self.outside[which]
        )


_Summed = TypeVar("_Summed", np.ndarray, Sums)


@dataclass(frozen=True, slots=True)
class ReplicateSums:
    """Sums for replicates that are fitted together.

    Parameters
    ----------
    rows : WeightedRows
        The rows.
    replicates : ReplicateWeights
        Their weights.
    first, last : int
        The replicates' numbers: from `first` up to, not including, `last`.
    """

    rows: WeightedRows
    replicates: ReplicateWeights
    first: int
    last: int

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return self.last - self.first

    def at_start(self, params: np.ndarray) -> Sums:
        """Return the sums at parameters (p,) that all replicates share."""
        X, unit, base = self.rows.X, self.replicates.unit, self.replicates.sample_weight
        p = X.shape[1]
        n_columns = p + p * (p + 1) // 2 + 2

        def columns_of(rows: slice) -> np.ndarray:
            eta = self.rows.predictors(rows, params[None])
            with np.errstate(all="ignore"):  # of an estimate that ran away
                score, information, outside = self.rows.terms(rows, eta, observed=True)
            columns = np.empty((len(score), n_columns))
            np.multiply(X[rows], score, out=columns[:, :p])
            _pair_products(X[rows] * information, X[rows], columns[:, p:-2])
            columns[:, -2] = 1.0
            columns[:, -1] = 0.0 if outside is None else outside[:, 0]
            return columns

        if unit is not None and base is not None and len(self.replicates.factors) * n_columns <= _MOST_UNIT_SUMS:
            n_units = len(self.replicates.factors)

            def by_unit(rows: slice) -> np.ndarray:
                return unit_totals(columns_of(rows) * base[rows, None], unit[rows], n_units)

            totals = self._add_up(by_unit, n_columns, max(block_rows(n_columns), n_units))
            sums = np.dot(totals.T, self.replicates.factors[:, self.first : self.last])
        else:
            weights = self.replicates.blocks(slice(self.first, self.last))

            def by_row(rows: slice) -> np.ndarray:
                return np.dot(columns_of(rows).T, weights(rows))

            step = block_rows(n_columns + self.n_replicates)
            sums = self._add_up(by_row, n_columns + self.n_replicates, step)
        return Sums(sums[:p], sums[p:-2], sums[-2], np.zeros(self.n_replicates), sums[-1])

    def at(self, which: np.ndarray, params: np.ndarray, *, information: str, objective: bool = False) -> Sums:
        """Return the sums of some replicates, each at its own parameters (n_replicates, p), without their totals.

        What is wanted beside the score: `information` is ``"observed"``, ``"expected"`` or ``"none"``, and
        `objective` says whether the quasi-likelihood is.
        """
        X = self.rows.X
        n_pairs = X.shape[1] * (X.shape[1] + 1) // 2 if information != "none" else 0
        columns = slice(self.first, self.last) if len(which) == self.n_replicates else self.first + which
        weights = self.replicates.blocks(columns)
        nothing = np.zeros(len(which))

        def block(rows: slice) -> Sums:
            w = weights(rows)
            eta = self.rows.predictors(rows, params)
            with np.errstate(all="ignore"):  # of a step that is too long: found out by its objective
                return sums_of(rows, eta, w)

        def sums_of(rows: slice, eta: np.ndarray, w: np.ndarray) -> Sums:
            value = self._objective(rows, eta, w) if objective else nothing.copy()
            score, factor, outside = self.rows.terms(rows, eta, observed=information == "observed")
            found = nothing.copy() if outside is None else np.sum(outside & (w > 0), axis=0, dtype=float)
            score *= w
            sums = np.zeros((0, len(which)))
            if n_pairs:
                factor *= w
                pairs = np.empty((len(w), n_pairs))
                _pair_products(X[rows], X[rows], pairs)
                sums = np.dot(pairs.T, factor)
            return Sums(np.dot(X[rows].T, score), sums, nothing.copy(), value, found)

        return self._add_up(block, len(which) + n_pairs, block_rows(len(which) + n_pairs))

    def _objective(self, rows: slice, eta: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the quasi-likelihood added up over rows."""
        mu, _, _ = self.rows.means(rows, eta)
        return np.einsum("ij,ij->j", weights, self.rows.family.quasi_likelihood(self.rows.y[rows, None], mu))

    def _add_up(self, block: Callable[[slice], _Summed], n_columns: int, step: int) -> _Summed:
        """Add up ``block(rows)``, arrays or `Sums`, over blocks of `step` rows, in threads."""
        n = len(self.rows.y)
        length = step * max(1, -(-n // (step * _RUNS)))

        def run(begin: int) -> _Summed:
            end = min(begin + length, n)
            sums = block(slice(begin, min(begin + step, end)))
            for row in range(begin + step, end, step):
                sums = _added(sums, block(slice(row, min(row + step, end))))
            return sums

        with threads_over_blocks(n * n_columns) as mapped:
            results = iter(mapped(run, range(0, n, length)))
            sums = next(results)
            for part in results:
                sums = _added(sums, part)
        return sums


def _added(sums: _Summed, more: _Summed) -> _Summed:
    """Add in place."""
    if isinstance(sums, Sums) and isinstance(more, Sums):
        sums.add(more)
    else:
        sums += more
    return sums


def _pair_products(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """Write products of a column of `left` and one of `right` (n_rows, p), not before it: (n_rows, p (p + 1) / 2)."""
    p = left.shape[1]
    first = 0
    for a in range(p):
        np.multiply(left[:, a : a + 1], right[:, a:], out=out[:, first : first + p - a])
        first += p - a


def symmetric(pairs: np.ndarray) -> np.ndarray:
    """Return symmetric matrices (l, p, p) of their upper triangles (p (p + 1) / 2, l)."""
    p = int((np.sqrt(8 * len(pairs) + 1) - 1) / 2)
    rows, columns = np.triu_indices(p)
    index = np.zeros((p, p), dtype=np.intp)
    index[rows, columns] = index[columns, rows] = np.arange(len(pairs))
    return np.ascontiguousarray(pairs.T[:, index])
