r"""The permutation test: weights are dealt out anew to sampling units within strata, and the test is done again.

What is compared is Hotelling's T^2 of `skdep.inference._weight_tests`, not the difference of the coefficients itself:
divided by its own variance it has the same distribution, in large samples, whether or not weights depend on the
features. If they depend on nothing at all the test is exact.

With a_c the weight that unit c gets, S_c the sum of its rows' scores, and G = J^{-1} sum_c a_c N_c what the model's
columns explain, the effective scores are Z_c = a_c S_c - G'S_c: T^2 needs but sums over units of a S, a N, a S S' and
a^2 S S', which are products of matrices for all permutations at once. Where weights vary within units, their means are
dealt out among units and their ratios to the mean among the rows of a unit, and the sums are over rows.

References
----------
Chung and Romano (2013), Exact and asymptotically robust permutation tests, Annals of Statistics 41, 484-507. DiCiccio
and Romano (2017), Robust permutation tests for correlation and regression coefficients, Journal of the American
Statistical Association 112, 1211-1220.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skdep._linalg import scaled_inverse
from skdep._progress import Progress

__all__ = ["PermutationData", "permutation_test"]

# Floats held at once.
_FLOATS = 4_000_000
# Differences of statistics below this share are rounding, and count as ties.
_TIE = 1e-9


@dataclass(frozen=True)
class PermutationData:
    """Rows of positive weight as the test sees them.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        Weights.
    columns, moved : ndarray of shape (n_rows, p)
        Columns of the model, and what further columns are multiplied by in their information with them.
    scores : ndarray of shape (n_rows, p)
        Columns times residuals.
    units, strata : ndarray of shape (n_rows,)
        Numbers of sampling units, and of strata.
    """

    weights: np.ndarray
    columns: np.ndarray
    moved: np.ndarray
    scores: np.ndarray
    units: np.ndarray
    strata: np.ndarray

    def in_order(self) -> PermutationData:
        """Return the rows in an order that depends on what they are, so that a seed gives the same to any order."""
        content = np.column_stack([self.scores, self.weights])
        n_units = int(self.units.max()) + 1
        totals = np.column_stack([np.bincount(self.units, part, n_units) for part in content.T])
        stratum = np.zeros(n_units, dtype=np.intp)
        stratum[self.units] = self.strata
        rank = np.empty(n_units, dtype=np.intp)
        rank[np.lexsort((*_rounded(totals).T, stratum))] = np.arange(n_units)
        order = np.lexsort((*_rounded(content).T, rank[self.units]))
        _, units = np.unique(rank[self.units][order], return_inverse=True)
        return PermutationData(
            weights=self.weights[order],
            columns=self.columns[order],
            moved=self.moved[order],
            scores=self.scores[order],
            units=units.reshape(-1),
            strata=self.strata[order],
        )


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return values without the digits that depend on the order of summation."""
    size = np.abs(values).max(axis=0, initial=0.0)
    return np.round(values / np.where(size > 0, size, 1.0), 9)


def permutation_test(data: PermutationData, n_permutations: int, random_state: Any) -> tuple[float, float]:
    """Return T^2 of the weights as they are, and the p-value.

    Parameters
    ----------
    data : PermutationData
        The rows.
    n_permutations : int
        Number of random permutations.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    statistic : float
        T^2; NaN where its variance is singular.
    p_value : float
        Share of permutations, the given one among them, with a statistic at least as large.
    """
    rows = data.in_order()
    statistics = _RowWeights(rows) if _varies_within(rows) else _UnitWeights(rows)
    (observed,) = statistics.of(statistics.given[None])
    if not np.isfinite(observed):
        return np.nan, np.nan
    rng, n_larger = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1)), 0
    done = 0
    with Progress("Permutations", n_permutations) as progress:
        for dealt in statistics.dealt(n_permutations, rng):
            # a permutation whose variance is singular says nothing against the hypothesis, nor for it: it is a tie
            found = np.nan_to_num(statistics.of(dealt), nan=np.inf)
            n_larger += int(np.sum(found >= observed * (1.0 - _TIE)))
            done += len(dealt)
            progress.update(done)
    return float(observed), (1.0 + n_larger) / (1.0 + n_permutations)


def _varies_within(rows: PermutationData) -> bool:
    """Say whether weights differ within some sampling unit."""
    first = np.unique(rows.units, return_index=True)[1]
    return not np.allclose(rows.weights, rows.weights[first][rows.units], rtol=1e-9)


def _shuffled(values: np.ndarray, blocks: np.ndarray, m: int, rng: np.random.Generator) -> np.ndarray:
    """Return values (k,) shuffled within blocks, m times (m, k); blocks are numbered 0, 1, ... in order."""
    if blocks[-1] == 0:
        return rng.permuted(np.broadcast_to(values, (m, len(values))), axis=1)
    return values[np.argsort(rng.uniform(size=(m, len(values))) + blocks, axis=1)]


def _hotelling(total: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return total' variance^-1 total of stacks (m, p), (m, p, p); NaN where a variance is singular."""
    scale = np.sqrt(np.maximum(np.einsum("mpp->mp", variance), 0.0))
    usable = (scale > 0).all(axis=1)
    unit = np.where(scale > 0, scale, 1.0)
    correlation = variance / unit[:, :, None] / unit[:, None, :]
    usable &= np.linalg.eigvalsh(correlation)[:, 0] > 1e-10
    correlation[~usable] = np.eye(total.shape[1])
    scaled = total / unit
    result = np.einsum("mp,mp->m", scaled, np.linalg.solve(correlation, scaled[:, :, None])[:, :, 0])
    return np.where(usable, result, np.nan)


class _Statistics:
    """T^2 of many deals of the weights.

    Parameters
    ----------
    rows : PermutationData
        Rows, sorted by stratum and unit.
    """

    given: np.ndarray

    def __init__(self, rows: PermutationData):
        self.rows = rows
        self.starts = np.unique(rows.units, return_index=True)[1]
        self.stratum = np.unique(rows.strata[self.starts], return_inverse=True)[1].reshape(-1)
        self.first_units = np.unique(self.stratum, return_index=True)[1]
        self.n_units = np.bincount(self.stratum)
        # strata of a single unit cannot be dealt with; nor do they vary
        self.factor = np.where(self.n_units > 1, self.n_units / np.maximum(self.n_units - 1.0, 1.0), 0.0)[self.stratum]
        self.inverse = scaled_inverse(rows.columns.T @ rows.moved)
        self.sums = np.add.reduceat(rows.scores, self.starts, axis=0)

    def dealt(self, n_permutations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield weights of units, or rows, in many deals (m, k)."""
        step = max(1, _FLOATS // self._floats())
        for begin in range(0, n_permutations, step):
            yield self._deal(min(step, n_permutations - begin), rng)

    def _floats(self) -> int:
        raise NotImplementedError

    def _deal(self, m: int, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Return T^2 of weights (m, k)."""
        raise NotImplementedError

    def _stratum_sums(self, values: np.ndarray) -> np.ndarray:
        """Add up values of units (m, n_units) within strata."""
        return np.add.reduceat(values, self.first_units, axis=1)


class _UnitWeights(_Statistics):
    """Weights that are the same for all rows of a unit."""

    def __init__(self, rows: PermutationData):
        super().__init__(rows)
        weights = rows.weights[self.starts]
        self.given = (weights - weights.mean()) / weights.std()
        p = rows.columns.shape[1]
        # a column at a time: there may be many more rows than units
        products = [np.add.reduceat(rows.moved * column[:, None], self.starts, axis=0) for column in rows.columns.T]
        self.products = np.stack(products, axis=2).reshape(len(self.sums), -1)
        squares = np.einsum("kp,kq->kpq", self.sums, self.sums).reshape(len(self.sums), -1)
        self.squares = squares * self.factor[:, None]
        self.all_squares = self.squares.sum(axis=0).reshape(p, p)
        self.stratum_sums = np.add.reduceat(self.sums, self.first_units, axis=0)

    def _floats(self) -> int:
        return 4 * len(self.sums)

    def _deal(self, m: int, rng: np.random.Generator) -> np.ndarray:
        return _shuffled(self.given, self.stratum, m, rng)

    def of(self, weights: np.ndarray) -> np.ndarray:
        m, p = len(weights), self.sums.shape[1]
        explained = self.inverse @ (weights @ self.products).reshape(m, p, p)
        once = (weights @ self.squares).reshape(m, p, p)
        twice = (weights**2 @ self.squares).reshape(m, p, p)
        crossed = once @ explained
        second = twice - crossed - crossed.transpose(0, 2, 1)
        second += explained.transpose(0, 2, 1) @ self.all_squares @ explained
        parts = [self._stratum_sums(weights * column) for column in self.sums.T]
        means = np.stack(parts, axis=2) - self.stratum_sums @ explained
        total = means.sum(axis=1)
        share = (self.factor[self.first_units] / self.n_units)[:, None]
        return _hotelling(total, second - means.transpose(0, 2, 1) @ (means * share))


class _RowWeights(_Statistics):
    """Weights that vary within units: a mean for each unit, and ratios of its rows to it."""

    def __init__(self, rows: PermutationData):
        super().__init__(rows)
        sizes = np.bincount(rows.units)
        self.means = np.add.reduceat(rows.weights, self.starts) / sizes
        self.ratios = rows.weights / self.means[rows.units]
        self.given = rows.weights
        self.products = np.einsum("np,nq->npq", rows.moved, rows.columns).reshape(len(rows.weights), -1)

    def _floats(self) -> int:
        return (4 + self.sums.shape[1]) * len(self.rows.weights)

    def _deal(self, m: int, rng: np.random.Generator) -> np.ndarray:
        means = _shuffled(self.means, self.stratum, m, rng)
        return means[:, self.rows.units] * _shuffled(self.ratios, self.rows.units, m, rng)

    def of(self, weights: np.ndarray) -> np.ndarray:
        m, p = len(weights), self.sums.shape[1]
        weights = weights / weights.mean(axis=1, keepdims=True) - 1.0
        explained = self.inverse @ (weights @ self.products).reshape(m, p, p)
        parts = [np.add.reduceat(weights * column, self.starts, axis=1) for column in self.rows.scores.T]
        units = np.stack(parts, axis=2) - self.sums @ explained
        means = np.add.reduceat(units, self.first_units, axis=1)
        total = means.sum(axis=1)
        units -= (means / self.n_units[:, None])[:, self.stratum]
        units *= np.sqrt(self.factor)[:, None]
        return _hotelling(total, units.transpose(0, 2, 1) @ units)
