"""Banded correlation matrices: Cholesky factors of whole blocks of clusters in O(N m^2), m the width of the band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from skdep.clusters import Clusters

__all__ = ["Band", "band_of"]

# Halvings of an interval that brackets the least eigenvalue.
_BISECTIONS = 50


@dataclass(frozen=True, slots=True)
class Band:
    """Rows of a block that are within a few lags of each other.

    Parameters
    ----------
    lags : ndarray of shape (width + 1, n_rows)
        Entry (s, j): lag between rows j and j + s; -1 where they are not correlated.
    """

    lags: np.ndarray

    def _factor(self, by_lag: np.ndarray, shift: float = 0.0) -> np.ndarray | None:
        """Return the Cholesky factor of R - shift I, None if it is not positive definite."""
        entries = np.asfortranarray(by_lag[self.lags])
        entries[0] -= shift
        factor, info = lapack.dpbtrf(entries, lower=1, overwrite_ab=1)
        return factor if info == 0 else None

    def whiten(self, by_lag: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Multiply values (n_rows, m) by the inverse Cholesky factor.

        `by_lag` are the correlations at lags 0, 1, ..., and a last 0.
        """
        factor = self._factor(by_lag)
        if factor is None:
            raise np.linalg.LinAlgError("the working correlation is not positive definite")
        white, _ = lapack.dtbtrs(factor, values, uplo="L")
        return np.ascontiguousarray(white)

    def least_eigenvalue(self, by_lag: np.ndarray, limit: float) -> float:
        """Return the least eigenvalue if it is below `limit`, else a number no less than `limit`."""
        if self._factor(by_lag, limit) is not None:
            return np.inf
        low, high = 1.0 - 2.0 * float(np.sum(np.abs(by_lag[1:]))), limit
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if self._factor(by_lag, middle) is None:
                high = middle
            else:
                low = middle
        return low


def band_of(clusters: Clusters, step: np.ndarray, n_lags: int) -> Band:
    """Lay out a block for correlations at lags 1 to `n_lags`; `step` (n_rows,) increases within clusters."""
    n_rows = clusters.n_rows
    width = int(min(n_lags, clusters.sizes.max() - 1))
    lags = np.full((width + 1, n_rows), -1, dtype=np.intp)
    lags[0] = 0
    for shift in range(1, width + 1):
        lag = step[shift:] - step[:-shift]
        together = clusters.codes[shift:] == clusters.codes[:-shift]
        lags[shift, :-shift] = np.where(together & (lag <= n_lags), lag, -1)
    return Band(lags)
