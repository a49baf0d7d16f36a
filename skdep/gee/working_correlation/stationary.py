r"""Stationary working correlations: corr(y_j, y_k) depends on the lag between the rows only, one parameter a lag.

Lags are whole numbers of a common step between times. With e the Pearson residuals and M_l pairs of rows l steps apart,
alpha_l = sum over those pairs of e_j e_k / [phi (M_l - p)]. m-dependent is 0 beyond lag m; Toeplitz has every lag.

Clusters observed at the same steps share a Cholesky factor. Where patterns of steps are many, or clusters long, R is
factored as a band: O(N m^2), whatever the sizes and the gaps.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, section 4: stationary m-dependent correlation.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from skdep.clusters import Clusters
from skdep.gee.working_correlation.band import Band, band_of
from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    RARE_PAIRS,
    Sensitivity,
    WorkingCorrelation,
    correction_factors,
    mean_products,
    share_kept,
)
from skdep.gee.working_correlation.pairs import GridPairs, ListedPairs, fills_grid, listed_pairs
from skdep.gee.working_correlation.patterns import Bucket, buckets_by_size, least_eigenvalue, whiten_buckets
from skdep.gee.working_correlation.steps import common_step, steps_of

__all__ = ["MDependent", "Toeplitz"]

# More lags than this are more than a working correlation is worth.
_MOST_LAGS = 1000
# Explicit pairs beyond this many would need more memory than a moment estimator is worth.
_MOST_PAIRS = 20_000_000
# Operations on the matrix of a pattern that cost as much as a row of a band of no width.
_PATTERN_OPERATIONS = 32.0


@dataclass(frozen=True, slots=True)
class _Layout:
    step: np.ndarray  # (n_rows,) whole number of steps since the cluster's first row
    step_length: float
    n_lags: int
    pairs: GridPairs | ListedPairs
    buckets: tuple[Bucket, ...]  # empty where there is a band
    band: Band | None


@dataclass(frozen=True)
class _Stationary(WorkingCorrelation):
    """A correlation for each of some lags, 0 beyond."""

    needs_time: ClassVar[bool] = True
    needs_waves: ClassVar[bool] = True

    def _step(self) -> float | None:
        raise NotImplementedError

    def _lags(self, longest: int) -> int:
        """Return the number of lags with a parameter, where the longest lag is known."""
        raise NotImplementedError

    def layout(self, block, dof):
        """Count times in steps, and find pairs and patterns."""
        step_length = self._step()
        if step_length is None:
            step_length = common_step(block.times, self.name)
        clusters = block.clusters
        step = steps_of(block.time, clusters, step_length, self.name)
        longest = int(step.max(initial=0))
        n_lags = self._lags(longest)
        buckets, band = buckets_by_size(clusters, step), None
        if _band_pays(clusters, buckets, n_lags):
            buckets, band = (), band_of(clusters, step, n_lags)
        pairs = _pairs_by_lag(clusters, step, longest, min(n_lags, longest), self.name)
        return _Layout(step, step_length, n_lags, pairs, buckets, band)

    def start(self, layouts):
        """Return zeros."""
        return np.zeros(max(layout.n_lags for layout in layouts))

    def pair_products(self, layout, values):
        """Return sums of products of pairs by lag."""
        return _lengthened(layout.pairs.products(values), layout.n_lags)

    def merge(self, parts):
        """Add up the sums, lag by lag."""
        longest = max(len(part) for part in parts)
        return np.sum([_lengthened(part, longest) for part in parts], axis=0)

    def estimate(self, layouts, products, counts, moments, previous):
        """Return mean residual products of pairs over phi, by lag; 0 for lags that do not occur."""
        return mean_products(products, counts, moments, RARE_PAIRS)

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Shrink towards 0 until every cluster's matrix is positive definite."""
        by_lag = _by_lag(association)
        buckets = [bucket for layout in layouts for bucket in layout.buckets]
        smallest = least_eigenvalue(buckets, _matrices(by_lag)) if buckets else np.inf
        bands = [layout.band for layout in layouts if layout.band is not None]
        smallest = min([smallest, *(band.least_eigenvalue(by_lag, limit) for band in bands)])
        kept = share_kept(smallest, limit)
        return kept * association, 1.0 - kept

    def whiten(self, layout, association, values):
        """Multiply by the inverse Cholesky factor of each cluster's matrix."""
        if not association.any():
            return values
        by_lag = _by_lag(association)
        if layout.band is not None:
            return layout.band.whiten(by_lag, values)
        return whiten_buckets(layout.buckets, _matrices(by_lag), values)

    def problems(self, layouts, counts, moments, association):
        """Say which lags occur too seldom for the denominator asked for."""
        seldom = (counts > RARE_PAIRS * counts.max(initial=0.0)) & (counts <= moments.n_params)
        if not seldom.any():
            return []
        return [
            f"{int(seldom.sum())} of {len(counts)} lags occur in no more pairs of rows than there are parameters; "
            "their correlation was divided by the number of pairs, not by that less parameters."
        ]

    def correlations(self, layout, association, earlier, later):
        """Return the correlations at the lags of pairs."""
        lag = layout.step[later] - layout.step[earlier]
        return _by_lag(association)[np.minimum(lag, len(association) + 1)]

    def parameter_names(self, layouts):
        """Name the lags, in units of time."""
        lags = layouts[0].step_length * np.arange(1, len(self.start(layouts)) + 1)
        return tuple(f"alpha[lag {lag:g}]" for lag in lags)

    def sensitivity(self, layouts, number, association, counts, moments):
        """Return the correlations: each lag has its own."""
        return Sensitivity(association, None, correction_factors(counts, moments))

    def cluster_products(self, layout, values, coefficients):
        """Return sums over the pairs of each cluster, by lag."""
        n_lags = layout.pairs.n_lags
        sums = np.zeros((layout.pairs.n_clusters, len(coefficients)))
        sums[:, :n_lags] = layout.pairs.cluster_products(values, coefficients[:n_lags])
        return sums

    def pair_forms(self, layout, left, right, coefficients):
        """Return sums over pairs of left and right, by lag."""
        n_lags = layout.pairs.n_lags
        forms = np.zeros((len(coefficients), right.shape[1]))
        if n_lags:
            forms[:n_lags] = layout.pairs.pair_forms(left, right, coefficients[:n_lags])
        return forms


@dataclass(frozen=True)
class MDependent(_Stationary):
    """A correlation for each of the lags 1 to m, and none between rows further apart.

    Parameters
    ----------
    m : int, default=1
        Largest lag with a correlation.
    step : float or None, default=None
        Time of one lag; None is the longest of which all differences between times are whole multiples: a week for
        visits on days 0, 7, 14, 28. A missed visit leaves a gap of two lags.

    Notes
    -----
    ``association_`` holds the correlations at lags 1 to m. Without `time` the rows of a cluster are one lag apart.

    Examples
    --------
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_epil
    >>> from skdep.gee import MDependent
    >>> epil = load_epil()
    >>> gee = GEERegressor("poisson", working_correlation=MDependent(m=2))
    >>> gee = gee.fit(epil.data[["base", "age"]], epil.target, groups=epil.groups, time=epil.time)
    >>> gee.association_.round(2)
    array([0.5 , 0.35])
    """

    m: int = 1
    step: float | None = None

    name = "m_dependent"

    def __post_init__(self):
        if not isinstance(self.m, Integral) or isinstance(self.m, bool) or self.m < 1:
            raise ValueError(f"m must be a whole number of lags, at least 1, got {self.m!r}.")
        _check_step(self.step)

    def _step(self):
        return self.step

    def _lags(self, longest):
        return int(self.m)

    def problems(self, layouts, counts, moments, association):
        """Say which lags never occur, or too seldom for the denominator asked for."""
        found = super().problems(layouts, counts, moments, association)
        missing = 1 + np.flatnonzero(counts <= RARE_PAIRS * counts.max(initial=0.0))
        any_pairs = any(len(layout.step) > layout.pairs.n_clusters for layout in layouts)
        if len(missing) and any_pairs:
            length = layouts[0].step_length
            found.append(
                f"No rows of a cluster are {_listed(length * missing)} units of time apart, lag"
                f"{'s' if len(missing) > 1 else ''} {_listed(missing)} of a step of {length:g}: such correlation is "
                "reported as 0. Number the visits, choose MDependent(step=...), or a smaller m."
            )
        return found


@dataclass(frozen=True)
class Toeplitz(_Stationary):
    """A correlation for each lag that occurs.

    Parameters
    ----------
    step : float or None, default=None
        Time of one lag; None is the longest of which all differences between times are whole multiples.

    Notes
    -----
    ``association_`` holds the correlations at lags 1, 2, ... to the longest; a lag between that never occurs is not
    used, and reported as 0. Without `time` the rows of a cluster are one lag apart.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> gee = GEEClassifier(working_correlation="toeplitz")
    >>> gee = gee.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    >>> gee.association_.round(2)
    array([0.4 , 0.31, 0.3 ])
    """

    step: float | None = None

    name = "toeplitz"

    def __post_init__(self):
        _check_step(self.step)

    def _step(self):
        return self.step

    def _lags(self, longest):
        if longest > _MOST_LAGS:
            raise ValueError(
                f"working_correlation='toeplitz' has a parameter for each lag, and lags go up to {longest}: times must "
                "be a few common visits. Number the visits, or use 'ar1' or MDependent(m)."
            )
        return longest


def _check_step(step: Any) -> None:
    if step is not None and not (isinstance(step, Real) and 0.0 < float(step) < np.inf):
        raise ValueError(f"step must be a positive length of time or None, got {step!r}.")


def _listed(numbers: np.ndarray) -> str:
    """Return at most four numbers, as ``1, 2, 3, 4, ...``."""
    texts = [f"{number:g}" for number in numbers[:4]]
    return ", ".join(texts + ["..."] * (len(numbers) > 4))


def _lengthened(sums: np.ndarray, n_lags: int) -> np.ndarray:
    """Append zeros for lags that a block has not."""
    return np.concatenate([sums, np.zeros(n_lags - len(sums))])


def _by_lag(association: np.ndarray) -> np.ndarray:
    """Return correlations at lags 0, 1, ..., and 0 for all lags beyond."""
    return np.concatenate([[1.0], association, [0.0]])


def _matrices(by_lag: np.ndarray) -> Any:
    """Return the function from patterns of steps (n_patterns, size) to their matrices."""

    def matrices(steps: np.ndarray) -> np.ndarray:
        lags = np.abs(steps[:, :, None] - steps[:, None, :])
        return by_lag[np.minimum(lags, len(by_lag) - 1)]

    return matrices


def _band_pays(clusters: Clusters, buckets: tuple[Bucket, ...], n_lags: int) -> bool:
    """Say whether a band is factored in less time than the matrices of all patterns."""
    width = min(n_lags, int(clusters.sizes.max()) - 1)
    of_patterns = sum(len(bucket.times) * float(bucket.times.shape[1]) ** 3 for bucket in buckets)
    return of_patterns > _PATTERN_OPERATIONS * clusters.n_rows * (1.0 + width / 8.0 + width**2 / 256.0)


def _pairs_by_lag(
    clusters: Clusters, step: np.ndarray, longest: int, n_lags: int, name: str
) -> GridPairs | ListedPairs:
    """Return how to add up products of pairs at lags 1 to `n_lags`."""
    if fills_grid(clusters, longest):
        return GridPairs(clusters.codes, step, clusters.n_clusters, longest, n_lags)
    apart = np.minimum(clusters.sizes - 1, n_lags)
    n_pairs = float(np.sum(apart * (clusters.sizes - 0.5 * (apart + 1.0))))
    if n_pairs > _MOST_PAIRS:
        raise ValueError(
            f"working_correlation={name!r} would list {n_pairs:.3g} pairs of rows, too many to keep; use 'ar1', or "
            "MDependent(m) with a smaller m."
        )
    earlier, later = listed_pairs(clusters, n_lags)
    lag = step[later] - step[earlier]
    near = lag <= n_lags
    earlier, later, lag = earlier[near], later[near], lag[near] - 1
    return ListedPairs(clusters.codes[later], earlier, later, lag, clusters.n_clusters, n_lags)
