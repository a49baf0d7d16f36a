r"""First-order autoregressive working correlation, in real time: corr(y_j, y_k) = alpha^|t_j - t_k|.

Gaps and unequal spacing enter both the estimate of alpha and the inverse. With rho_j = alpha^(t_j - t_(j-1)),
whitening is

    u_1 = z_1,    u_j = (z_j - rho_j z_(j-1)) / (1 - rho_j^2)^(1/2),

O(N) for clusters of any size. alpha solves the moment equation

    sum over pairs of (d rho / d alpha) (e_j e_k / phi - rho) = 0,     rho = alpha^lag,

over neighbouring pairs (for equal spacing the ratio of sums of SAS) or over all pairs (geepack). Both are stationary
points of a sum of squares, minimised over the interval. A negative alpha has a meaning only where every lag is a whole
number.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, section 4; Yan and Fine (2004), Statistics in Medicine 23, 859-874:
estimating equations for association parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    RARE_PAIRS,
    REPAIRED_EIGENVALUE,
    Block,
    Sensitivity,
    WorkingCorrelation,
    overall_correction,
)
from skdep.gee.working_correlation.pairs import GridPairs, ListedPairs, fills_grid, listed_pairs

__all__ = ["AR1"]

# Largest correlation at a typical lag: at 1 the working correlation is singular.
_LARGEST = 1.0 - LEAST_EIGENVALUE
# Explicit pairs beyond this many (of 32 bytes each) would need more memory than a moment estimator is worth.
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True, slots=True)
class _Layout:
    gap: np.ndarray  # (n_rows,) time since the previous row of the cluster; inf for a cluster's first row
    time: np.ndarray  # (n_rows,)
    time_unit: float  # the association is the correlation of rows so far apart
    lags: np.ndarray  # (n_lags,) distinct lags of the pairs used
    pairs: ListedPairs | GridPairs


@dataclass(frozen=True)
class AR1(WorkingCorrelation):
    """One parameter alpha, the correlation of two rows one unit of time apart.

    Parameters
    ----------
    pairs : {"auto", "neighbours", "all"}, default="auto"
        Pairs of rows that estimate alpha. ``"auto"`` is neighbouring rows with ``dof="n-p"``, as SAS does, and all
        pairs with ``dof="n"``, as geepack does.

    Notes
    -----
    Over all pairs the moment equation can have several solutions: the first is the best of a grid, later ones follow it
    while coefficients change.

    Examples
    --------
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_dietox
    >>> from skdep.gee import AR1
    >>> pigs = load_dietox()
    >>> gee = GEERegressor(working_correlation=AR1(pairs="all"))
    >>> gee = gee.fit(pigs.data[["Time"]], pigs.target, groups=pigs.groups, time=pigs.time)
    >>> round(gee.association_, 3)
    0.937
    """

    pairs: str = "auto"

    name = "ar1"
    needs_time = True

    def __post_init__(self):
        if self.pairs not in ("auto", "neighbours", "all"):
            raise ValueError(f"pairs must be 'auto', 'neighbours' or 'all', got {self.pairs!r}.")

    def layout(self, block, dof):
        """Return gaps between neighbouring rows, and the pairs whose products estimate alpha."""
        gap = np.full(block.clusters.n_rows, np.inf)
        gap[1:] = np.diff(block.time)
        gap[block.clusters.starts] = np.inf
        if self.pairs == "all" or (self.pairs == "auto" and dof == "n"):
            return _Layout(gap, block.time, block.time_unit, *_all_pairs(block))
        later = np.flatnonzero(np.isfinite(gap))
        return _Layout(gap, block.time, block.time_unit, *_list_by_lag(block, later - 1, later))

    def pair_products(self, layout, values):
        """Return sums of products of pairs by lag."""
        return layout.pairs.products(values)

    def merge(self, parts):
        """Join the sums: the moment equation adds them up, lag by lag."""
        return np.concatenate(parts)

    def estimate(self, layouts, products, counts, moments, previous):
        """Solve the moment equation."""
        lags = np.concatenate([layout.lags for layout in layouts])
        used = counts > RARE_PAIRS * counts.max(initial=0.0)
        if not used.any():
            return 0.0
        lags, counts, products = lags[used], counts[used], products[used]
        if len(layouts) > 1:
            lags, counts, products = _merge_lags(lags, counts, products)
        correction = overall_correction(counts, moments)
        sums = correction * products / moments.scale
        return _solve_moment_equation(lags, counts, sums, previous, layouts[0].time_unit)

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Take alpha off the bound 1, where residuals correlate more than any alpha allows."""
        if np.abs(association) < 1.0 - 5.0 * limit:
            return association, 0.0
        return float(np.sign(association) * (1.0 - REPAIRED_EIGENVALUE)), REPAIRED_EIGENVALUE

    def whiten(self, layout, association, values):
        """Subtract from each row what the row before predicts of it."""
        if association == 0.0:
            return values
        exponent = np.log(np.abs(association)) * (layout.gap / layout.time_unit)
        rho = np.exp(exponent)
        if association < 0.0:
            rho[_is_odd(layout.gap)] *= -1.0
        result = values.copy()
        result[1:] -= rho[1:, None] * values[:-1]
        # 1 - rho^2 to full precision, however short the gap
        result /= np.sqrt(-np.expm1(2.0 * exponent))[:, None]
        return result

    def report(self, layouts, association):
        """Return alpha, the correlation at one unit of time."""
        return _rescaled(association, 1.0 / layouts[0].time_unit)

    def problems(self, layouts, counts, moments, association):
        """Say when alpha cannot be what the data say."""
        if association != 0.0 and self.report(layouts, association) == 0.0:
            return [
                f"alpha is too small at one unit of time to be a number: rows are mostly {layouts[0].time_unit:.2g} "
                "units apart. The fit is right; measure time in a shorter unit to see alpha."
            ]
        lags = np.unique(np.concatenate([layout.lags for layout in layouts]))
        if association != 0.0 or not len(lags) or _may_be_negative(lags):
            return []
        return [
            "alpha is 0, its least value where lags are not odd whole numbers: correlation over time may be negative. "
            "Measure time in units of the shortest gap."
        ]

    def correlations(self, layout, association, earlier, later):
        """Return alpha to the power of the distance in time."""
        return _powers(association, layout.time[later] - layout.time[earlier], layout.time_unit)

    def reported(self, layouts, association):
        """Return alpha at one unit of time, and its derivative by alpha at the typical gap."""
        alpha, power = self.report(layouts, association), 1.0 / layouts[0].time_unit
        with np.errstate(divide="ignore", invalid="ignore"):
            derivative = 1.0 if power == 1.0 else np.abs(power * np.divide(alpha, association))
        return np.array([alpha]), np.array([derivative])

    def sensitivity(self, layouts, number, association, counts, moments):
        """Return alpha^lag and its derivative; one correction serves all lags."""
        lags, unit = layouts[number].lags, layouts[number].time_unit
        with np.errstate(divide="ignore"):
            sign = np.where(_is_odd(lags), 1.0, np.sign(association)) if association != 0.0 else 1.0
            derivative = sign * (lags / unit) * np.abs(association) ** (lags / unit - 1.0)
        factor = np.full(len(lags), overall_correction(counts[counts > RARE_PAIRS * counts.max(initial=0.0)], moments))
        return Sensitivity(_powers(association, lags, unit), derivative[:, None], factor)

    def cluster_products(self, layout, values, coefficients):
        """Return sums over the pairs of each cluster."""
        return layout.pairs.cluster_products(values, coefficients)

    def pair_forms(self, layout, left, right, coefficients):
        """Return sums over pairs of left and right."""
        return layout.pairs.pair_forms(left, right, coefficients)


def _powers(association: float, lags: np.ndarray, time_unit: float) -> np.ndarray:
    """Return alpha^lag, alpha the correlation at `time_unit`; its sign goes by the parity of the lag."""
    size = np.abs(association) ** (lags / time_unit)
    return np.where(_is_odd(lags), np.sign(association), 1.0) * size if association < 0.0 else size


def _is_odd(lag: np.ndarray) -> np.ndarray:
    """Say which finite lags are odd whole numbers."""
    return np.mod(np.where(np.isfinite(lag), lag, 0.0), 2.0) == 1.0


def _may_be_negative(lags: np.ndarray) -> bool:
    """Say whether a negative alpha has a meaning: every lag whole, and some of them odd."""
    return bool(np.all(lags == np.round(lags)) and np.any(_is_odd(lags)))


def _merge_lags(
    lags: np.ndarray, counts: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up what several blocks have at the same lag."""
    distinct, number = np.unique(lags, return_inverse=True)
    return distinct, np.bincount(number, weights=counts), np.bincount(number, weights=products)


@dataclass(frozen=True, slots=True)
class _MomentEquation:
    """The sum of squares whose stationary points solve the moment equation.

    Its variable u >= 0 is the size of the correlation at a typical lag, whatever the unit of time; alpha has a sign.
    """

    odd: np.ndarray  # (n_lags,) whether a lag is odd, so that a negative alpha makes it negative
    steps: np.ndarray  # (n_lags,) lags in units of the typical one
    counts: np.ndarray
    sums: np.ndarray

    def objective(self, u: float, sign: float) -> float:
        rho = np.where(self.odd, sign, 1.0) * u**self.steps
        return float(np.dot(0.5 * self.counts * rho - self.sums, rho))

    def slope(self, u: float, sign: float) -> float:
        rho = np.where(self.odd, sign, 1.0) * u**self.steps
        return float(np.dot(self.steps * rho / u, self.counts * rho - self.sums))

    def minimise(self, sign: float, near: float | None) -> float:
        """Return the minimum over u in [0, 1) for one sign: near a point, if given, else in the best grid cell."""
        if near is not None:
            found = self._root(near - 0.1, near + 0.1, sign)
            if found is not None:
                return found
        grid = np.linspace(0.0, _LARGEST, 41)
        best = int(np.argmin([self.objective(u, sign) for u in grid]))
        found = self._root(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], sign)
        return float(grid[best]) if found is None else found

    def _root(self, low: float, high: float, sign: float) -> float | None:
        low, high = max(low, 1e-12), min(high, _LARGEST)
        if not self.slope(low, sign) < 0.0 < self.slope(high, sign):
            return None
        return float(optimize.brentq(self.slope, low, high, args=(sign,), xtol=1e-15, rtol=1e-14))


def _solve_moment_equation(
    lags: np.ndarray, counts: np.ndarray, sums: np.ndarray, previous: float, time_unit: float = 1.0
) -> float:
    """Return the correlation at `time_unit` from the lags of pairs, their numbers, and residual products over phi."""
    unit = _typical_lag(lags, counts)
    negative = _may_be_negative(lags)
    if len(lags) == 1:
        theta = float(np.clip(sums[0] / counts[0], -_LARGEST if negative else 0.0, _LARGEST))
        return _rescaled(theta, time_unit / unit)
    equation = _MomentEquation(_is_odd(lags), lags / unit, counts, sums)
    found = []
    for sign in (1.0, -1.0) if negative else (1.0,):
        near = np.abs(previous) ** (unit / time_unit) if np.sign(previous) == sign else None
        u = equation.minimise(sign, near)
        found.append((equation.objective(u, sign), u, sign))
    _, u, sign = min(found)
    return _rescaled(sign * u, time_unit / unit)


def _typical_lag(lags: np.ndarray, counts: np.ndarray) -> float:
    """Return the median lag of pairs."""
    shares = np.cumsum(counts)
    return float(lags[np.searchsorted(shares, 0.5 * shares[-1])])


def _rescaled(correlation: float, times: float) -> float:
    """Return the correlation at a lag `times` as long; its sign is that of alpha, not by parity."""
    return float(np.sign(correlation) * np.abs(correlation) ** times)


def _all_pairs(block: Block) -> tuple[np.ndarray, GridPairs | ListedPairs]:
    """Return the distinct lags of all pairs within clusters, and how to add up their products."""
    assert block.time is not None
    clusters = block.clusters
    since = block.time - clusters.spread(block.time[clusters.starts])
    span = since.max(initial=0.0)
    if np.all(since == np.round(since)) and fills_grid(clusters, span):
        n_lags = int(span)
        grid = GridPairs(clusters.codes, since.astype(np.intp), clusters.n_clusters, n_lags, n_lags)
        return np.arange(1.0, n_lags + 1.0), grid
    n_pairs = float(np.sum(clusters.sizes * (clusters.sizes - 1.0)) / 2.0)
    if n_pairs > _MOST_PAIRS:
        raise ValueError(
            f"AR(1) by all pairs would list {n_pairs:.3g} pairs of rows, too many to keep; estimate alpha from "
            "neighbouring rows: working_correlation=AR1(pairs='neighbours')."
        )
    return _list_by_lag(block, *listed_pairs(clusters, np.inf))


def _list_by_lag(block: Block, earlier: np.ndarray, later: np.ndarray) -> tuple[np.ndarray, ListedPairs]:
    """Return the distinct lags of pairs of rows, and the pairs by number of their lag."""
    assert block.time is not None
    clusters = block.clusters
    lags, lag = np.unique(block.time[later] - block.time[earlier], return_inverse=True)
    return lags, ListedPairs(clusters.codes[later], earlier, later, lag, clusters.n_clusters, len(lags))
