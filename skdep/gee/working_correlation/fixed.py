"""Fixed working correlation: a matrix known beforehand, from a pilot study or another package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdep.gee.working_correlation.base import LEAST_EIGENVALUE, WorkingCorrelation
from skdep.gee.working_correlation.patterns import at_times, times_layout, whiten_buckets
from skdep.gee.working_correlation.unstructured import least_eigenvalue_of_times

__all__ = ["Fixed"]


@dataclass(frozen=True, eq=False)
class Fixed(WorkingCorrelation):
    """A given matrix of correlations between times; nothing is estimated.

    Parameters
    ----------
    matrix : array-like of shape (n_times, n_times)
        Correlations between the times, in their order: symmetric, ones on the diagonal, positive definite for the
        times of every cluster.
    times : array-like of shape (n_times,) or None, default=None
        The times that rows and columns belong to, ascending; they may include times that the data lack. None is the
        distinct times of the data, which must then be as many. Without `time` at fit the k-th row of a cluster has the
        k-th row of the matrix.

    Raises
    ------
    ValueError
        If there is no matrix, it is no correlation matrix, or `times` are not as many; at fit, if it is not positive
        definite for the times of some cluster.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.gee import Fixed
    >>> ohio = load_ohio()
    >>> fading = 0.4 * 0.8 ** np.abs(np.subtract.outer(range(4), range(4)))
    >>> np.fill_diagonal(fading, 1.0)
    >>> gee = GEEClassifier(working_correlation=Fixed(fading))
    >>> gee = gee.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    >>> gee.association_[0].round(3)
    array([1.   , 0.32 , 0.256, 0.205])
    """

    matrix: Any = None
    times: Any = None
    _correlation: np.ndarray = field(init=False, repr=False)

    name = "fixed"
    needs_time = True
    needs_waves = True

    def __post_init__(self):
        if self.matrix is None:
            raise ValueError(
                "working_correlation='fixed' needs the matrix of correlations: pass working_correlation="
                "skdep.gee.Fixed(matrix)."
            )
        object.__setattr__(self, "_correlation", _checked(self.matrix))
        if self.times is not None:
            times = np.asarray(self.times, dtype=float)
            if times.shape != (len(self._correlation),) or not np.all(np.diff(times) > 0.0):
                raise ValueError(
                    f"times must be {len(self._correlation)} ascending numbers, one a row of the matrix, got "
                    f"{self.times!r}."
                )

    def layout(self, block, dof):
        """Find the rows and columns of the matrix that belong to each cluster, and check that they have an inverse."""
        layout, correlation = times_layout(block), self._of_times(block.times)
        smallest = least_eigenvalue_of_times([layout], correlation, LEAST_EIGENVALUE)
        if smallest < LEAST_EIGENVALUE:
            raise ValueError(
                f"The matrix of Fixed is not positive definite: for the times of some cluster its least eigenvalue is "
                f"{smallest:.3g}. Shrink it towards the identity."
            )
        return layout, correlation

    def _of_times(self, times: np.ndarray) -> np.ndarray:
        """Return the correlations between the distinct times of the data."""
        if self.times is None:
            if len(times) != len(self._correlation):
                raise ValueError(
                    f"Fixed has a matrix of {len(self._correlation)} times, but the data have {len(times)} distinct "
                    "times. Pass Fixed(matrix, times=...) to say which time each row of the matrix belongs to."
                )
            return self._correlation
        known = np.asarray(self.times, dtype=float)
        number = np.minimum(np.searchsorted(known, times), len(known) - 1)
        unknown = times[known[number] != times]
        if len(unknown):
            raise ValueError(f"Fixed has no row for time {unknown[0]:g} of the data; its times are {known.tolist()}.")
        return self._correlation[np.ix_(number, number)]

    def start(self, layouts):
        """Return the matrix."""
        return layouts[0][1]

    def pair_products(self, layout, values):
        """Return no sums: there are no parameters."""
        return np.zeros(0)

    def estimate(self, layouts, products, counts, moments, previous):
        """Return the matrix."""
        return layouts[0][1]

    def whiten(self, layout, association, values):
        """Multiply by the inverse Cholesky factor of each cluster's pattern."""
        return whiten_buckets(layout[0].buckets, at_times(association), values)

    def correlations(self, layout, association, earlier, later):
        """Return the entries of the matrix."""
        return association[layout[0].wave[earlier], layout[0].wave[later]]

    def parameter_names(self, layouts):
        """Return no names: nothing is estimated."""
        return ()


def _checked(matrix: Any) -> np.ndarray:
    """Return the matrix as floats, if it is a matrix of correlations."""
    correlation = np.array(matrix, dtype=float)
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1] or not correlation.size:
        raise ValueError(f"Fixed needs a square matrix of correlations, got shape {correlation.shape}.")
    if not np.isfinite(correlation).all():
        raise ValueError("Fixed needs a matrix of correlations without missing or infinite values.")
    if not np.allclose(correlation, correlation.T, rtol=0.0, atol=1e-8):
        raise ValueError("Fixed needs a symmetric matrix of correlations.")
    if not np.allclose(np.diag(correlation), 1.0, rtol=0.0, atol=1e-8):
        raise ValueError("Fixed needs a matrix of correlations: ones on the diagonal. Scale covariances first.")
    correlation = 0.5 * (correlation + correlation.T)
    np.fill_diagonal(correlation, 1.0)
    return correlation
