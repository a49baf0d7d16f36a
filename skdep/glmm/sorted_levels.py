"""Rows sorted by their level: sums within levels, and values of levels spread over rows."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

__all__ = ["SortedLevels"]


class SortedLevels:
    """Sums within levels of sorted rows.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
        Level of each row, increasing; every level occurs.
    n_levels : int
        Number of levels.
    """

    def __init__(self, codes: np.ndarray, n_levels: int):
        self.codes, self.n_levels = codes, n_levels
        self.starts = np.searchsorted(codes, np.arange(n_levels))
        self.bounds = np.append(self.starts, len(codes))

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of rows of each level."""
        return np.diff(self.bounds)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sums (..., n_levels) of values (..., n_rows)."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return the value of each row's level (..., n_rows), of values (..., n_levels)."""
        return np.repeat(values, self.sizes, axis=-1)

    def weighted(self, weights: np.ndarray) -> sparse.csr_matrix:
        """Return the matrix (n_levels, n_rows) that adds up rows times their weights."""
        return sparse.csr_matrix((weights, np.arange(len(weights)), self.bounds), shape=(self.n_levels, len(weights)))

    def rows(self, levels: slice) -> slice:
        """Return the rows of a run of levels."""
        return slice(int(self.bounds[levels.start]), int(self.bounds[levels.stop]))

    def adder(self, levels: slice) -> RunSums:
        """Return what adds up the rows of a run of levels."""
        return RunSums(self.bounds[levels.start : levels.stop + 1])


class RunSums:
    """Weighted sums of arrays of many columns within a run of levels.

    Parameters
    ----------
    bounds : ndarray of int of shape (n_levels + 1,)
        First row of each level, and the end of the last.
    """

    def __init__(self, bounds: np.ndarray):
        n_rows = int(bounds[-1] - bounds[0])
        shape = (len(bounds) - 1, n_rows)
        self._matrix = sparse.csr_matrix((np.ones(n_rows), np.arange(n_rows), bounds - bounds[0]), shape=shape)

    def __call__(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the sums (n_levels, m) of weights (n_rows,) times values (n_rows, m)."""
        self._matrix.data = weights
        return self._matrix @ values
