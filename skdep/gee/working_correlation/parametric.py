r"""Working correlations by a formula: a user gives corr(y_j, y_k) as a function of times and parameters, no more.

With rho_ab(alpha) the formula at two of the T times of the data, M_ab the clusters seen at both, and e the Pearson
residuals, alpha solves

    sum over a < b of (d rho_ab / d alpha) [factor * sum e_a e_b / phi - M_ab rho_ab] = 0,

by least squares weighted by M_ab; factor is pairs over pairs less parameters under ``dof="n-p"``. For a constant rho
that is the exchangeable estimator, for alpha^|t_j - t_k| that of AR(1) over all pairs.

References
----------
Yan and Fine (2004), Statistics in Medicine 23, 859-874: estimating equations for association parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import optimize

from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    Sensitivity,
    WorkingCorrelation,
    overall_correction,
    share_kept,
)
from skdep.gee.working_correlation.patterns import at_times, times_layout, whiten_buckets
from skdep.gee.working_correlation.unstructured import MOST_TIMES, least_eigenvalue_of_times

__all__ = ["ParametricCorrelation"]

_TOLERANCE = 1e-12
# Step of differences, as a share of a parameter.
_DIFFERENCE = 1e-3
# Newton's method is for a point that is near: it takes at most so many steps, none of a larger share of a parameter,
# and none after one of the smallest share, since differences of differences leave some 1e-11.
_MOST_STEPS, _LONGEST, _SHORTEST = 25, 0.3, 1e-9


@dataclass(frozen=True, slots=True)
class _Shrunk:
    """Parameters, and the share of the correlations they give that is kept."""

    alpha: np.ndarray
    kept: float


class ParametricCorrelation(WorkingCorrelation):
    """A correlation of one's own by formula: subclass it, and give `correlation` and `initial`.

    A subclass sets `name`, and `initial`, the values of the parameters to start from; and, where not every number is
    allowed, `bounds`, a pair of least and largest value for each. Names of the parameters may be given as
    `parameters`. Estimation, gaps in time, repair and standard errors come with it. Times must be a few common visits.

    Examples
    --------
    Correlation that fades to a floor, of children who differ for good and have better and worse years:

    >>> import numpy as np
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.gee import ParametricCorrelation
    >>> class FadingToFloor(ParametricCorrelation):
    ...     name = "fading to a floor"
    ...     parameters = ("floor", "rho")
    ...     initial = (0.2, 0.3)
    ...     bounds = ((0.0, 0.99), (0.0, 0.99))
    ...     def correlation(self, times, alpha):
    ...         floor, rho = alpha
    ...         lags = np.abs(np.subtract.outer(times, times))
    ...         return np.where(lags == 0, 1.0, floor + (1.0 - floor) * rho**lags)
    >>> ohio = load_ohio()
    >>> gee = GEEClassifier(working_correlation=FadingToFloor())
    >>> gee = gee.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    >>> gee.association_.round(2)
    array([0.3 , 0.14])
    """

    needs_time = True
    needs_waves = True
    initial: ClassVar[Sequence[float]] = ()
    bounds: ClassVar[Sequence[tuple[float, float]] | None] = None
    parameters: ClassVar[Sequence[str] | None] = None

    def correlation(self, times: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Return the correlations (T, T) between distinct times (T,) for parameters alpha, ones on the diagonal."""
        raise NotImplementedError

    def layout(self, block, dof):
        """Sort clusters by size and by pattern of times, and see whether the formula gives a correlation matrix."""
        if block.n_waves > MOST_TIMES:
            raise ValueError(
                f"working_correlation {self.name!r} computes the correlation of every pair of the {block.n_waves} "
                f"distinct times: times must be a few common visits, at most {MOST_TIMES}. Number the visits."
            )
        if not len(self.initial):
            raise ValueError(f"{type(self).__name__} must set `initial`, the parameters to start from.")
        first = self._matrix(block.times, np.array(self.initial, dtype=float))
        if first.shape != (block.n_waves, block.n_waves):
            raise ValueError(
                f"{type(self).__name__}.correlation must return a matrix of shape ({block.n_waves}, {block.n_waves}), "
                f"one row and column a time, got {first.shape}."
            )
        if not (np.isfinite(first).all() and np.allclose(first, first.T) and np.allclose(np.diag(first), 1.0)):
            raise ValueError(
                f"{type(self).__name__}.correlation must return a symmetric matrix of finite numbers with ones on the "
                "diagonal."
            )
        return times_layout(block)

    def _matrix(self, times: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        return np.asarray(self.correlation(times, alpha), dtype=float)

    def _shrunk_matrix(self, times: np.ndarray, association: _Shrunk) -> np.ndarray:
        matrix = association.kept * self._matrix(times, association.alpha)
        np.fill_diagonal(matrix, 1.0)
        return matrix

    def start(self, layouts):
        """Return the initial parameters, none of whose correlations are kept."""
        return _Shrunk(np.array(self.initial, dtype=float), 0.0)

    def pair_products(self, layout, values):
        """Return the T x T sums of products of values at two times."""
        return layout.products(values)

    def estimate(self, layouts, products, counts, moments, previous):
        """Solve the moment equation, from the previous parameters."""
        times = layouts[0].times
        pairs = np.triu_indices(len(times), 1)
        sums, masses = products[pairs], counts[pairs]
        met = masses > 0
        if not met.any():
            return self.start(layouts)
        root = np.sqrt(masses[met] / masses[met].sum())
        target = overall_correction(masses, moments) * sums[met] / (moments.scale * masses[met])

        def misfit(alpha: np.ndarray) -> np.ndarray:
            return root * (self._matrix(times, alpha)[pairs][met] - target)

        bounds = self._limits()
        near = _stationary_point(misfit, previous.alpha, bounds) if previous.kept > 0.0 else None
        if near is not None:
            return _Shrunk(near, 1.0)
        start = np.clip(previous.alpha, *bounds)
        found = optimize.least_squares(misfit, start, bounds=bounds, ftol=_TOLERANCE, xtol=_TOLERANCE, gtol=_TOLERANCE)
        exact = _stationary_point(misfit, found.x, bounds)
        return _Shrunk(found.x if exact is None else exact, 1.0)

    def _limits(self) -> tuple[np.ndarray, np.ndarray]:
        bounds = self.bounds if self.bounds is not None else [(-np.inf, np.inf)] * len(self.initial)
        lower, upper = np.array(bounds, dtype=float).T
        return lower, upper

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Shrink towards the identity until every observed pattern's matrix is positive definite."""
        matrix = self._shrunk_matrix(layouts[0].times, association)
        kept = share_kept(least_eigenvalue_of_times(layouts, matrix, limit), limit)
        return _Shrunk(association.alpha, kept * association.kept), 1.0 - kept

    def whiten(self, layout, association, values):
        """Multiply by the inverse Cholesky factor of each cluster's pattern."""
        if association.kept == 0.0:
            return values
        return whiten_buckets(layout.buckets, at_times(self._shrunk_matrix(layout.times, association)), values)

    def report(self, layouts, association):
        """Return the parameters; a single one as a float."""
        return float(association.alpha[0]) if len(association.alpha) == 1 else association.alpha

    def problems(self, layouts, counts, moments, association):
        """Name parameters that ended at a bound."""
        names = np.array(self.parameter_names(layouts))
        lower, upper = self._limits()
        near = 1e-6 * np.maximum(np.abs(association.alpha), 1.0)
        bound = (association.alpha - lower < near) | (upper - association.alpha < near)
        if association.kept == 0.0 or not bound.any():
            return []
        return [f"Working correlation {self.name!r}: {', '.join(names[bound])} ended at a bound."]

    def correlations(self, layout, association, earlier, later):
        """Return the entries of the matrix."""
        matrix = self._shrunk_matrix(layout.times, association)
        return matrix[layout.wave[earlier], layout.wave[later]]

    def parameter_names(self, layouts):
        """Return the names given, or ``alpha1``, ``alpha2``, ..."""
        if self.parameters is not None:
            return tuple(self.parameters)
        if len(self.initial) == 1:
            return ("alpha",)
        return tuple(f"alpha{number}" for number in range(1, len(self.initial) + 1))

    def sensitivity(self, layouts, number, association, counts, moments):
        """Return the correlations of pairs of times, and derivatives by differences."""
        times, alpha = layouts[number].times, association.alpha
        pairs = np.triu_indices(len(times), 1)
        derivative = _jacobian(lambda values: self._matrix(times, values)[pairs], alpha, self._limits())
        factor = np.full(len(pairs[0]), overall_correction(counts[pairs], moments))
        return Sensitivity(self._matrix(times, alpha)[pairs], derivative, factor)

    def cluster_products(self, layout, values, coefficients):
        """Return sums over the pairs of each cluster."""
        return layout.cluster_products(values, coefficients)

    def pair_forms(self, layout, left, right, coefficients):
        """Return sums over pairs of left and right."""
        return layout.pair_forms(left, right, coefficients)


_Bounds = tuple[np.ndarray, np.ndarray]


def _jacobian(function: Callable[[np.ndarray], np.ndarray], alpha: np.ndarray, bounds: _Bounds) -> np.ndarray:
    """Return derivatives (n_values, n_parameters) by differences of fourth order, inside the bounds."""
    columns = []
    room = np.minimum(alpha - bounds[0], bounds[1] - alpha)
    sizes = _DIFFERENCE * np.maximum(np.abs(alpha), 0.1)
    for k, size in enumerate(np.where(room > 0.0, np.minimum(sizes, 0.4 * room), sizes)):
        step = size * (np.arange(len(alpha)) == k)
        once = function(alpha + step) - function(alpha - step)
        twice = function(alpha + 2.0 * step) - function(alpha - 2.0 * step)
        columns.append((8.0 * once - twice) / (12.0 * size))
    return np.column_stack(columns)


def _stationary_point(
    misfit: Callable[[np.ndarray], np.ndarray], start: np.ndarray, bounds: _Bounds
) -> np.ndarray | None:
    """Return the minimum of the sum of squares near a point, to the last digits; None if there is none inside.

    Newton's method for the moment equation: least squares stop where a sum of squares does not change any more.
    """

    def gradient(alpha: np.ndarray) -> np.ndarray:
        return _jacobian(misfit, alpha, bounds).T @ misfit(alpha)

    hessian, alpha = _jacobian(gradient, start, bounds), start
    if not np.isfinite(hessian).all() or np.linalg.eigvalsh(hessian)[0] <= 0.0:
        return None
    for _ in range(_MOST_STEPS):
        step = np.linalg.solve(hessian, -gradient(alpha))
        size = np.max(np.abs(step) / np.maximum(np.abs(alpha), 0.1))
        alpha = alpha + step
        if not size < _LONGEST or not np.all((alpha > bounds[0]) & (alpha < bounds[1])):
            return None
        if size < _SHORTEST:
            return alpha
    return None
