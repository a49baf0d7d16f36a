r"""Sums over rows that change with their weights: Z'WZ of terms and between terms, by plans made once.

Rows that have the same levels of two factors fall into the same cell. All sums are by level or by cell, entry (a, c) of
their small matrices at a time; no Python loop runs over rows, levels or cells.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skdep.glmm.rows import RowTerm
from skdep.mixed.cross_products import LevelSums

__all__ = ["Cells", "TermRows"]


class TermRows:
    """The rows of one term.

    Parameters
    ----------
    term : RowTerm
        Levels and columns.
    """

    def __init__(self, term: RowTerm):
        self.codes = np.ascontiguousarray(term.codes, dtype=np.intp)
        self.n_levels, self.q, self.n_rows = term.n_levels, term.q, len(term.codes)
        # a constant 1 is not multiplied with
        self.columns = [
            None if np.all(column == 1.0) else np.ascontiguousarray(column, dtype=float) for column in term.columns
        ]
        self._starts: np.ndarray | None = None
        if np.all(self.codes[1:] >= self.codes[:-1]):
            self._starts = np.searchsorted(self.codes, np.arange(self.n_levels))

    @cached_property
    def _level_sums(self) -> LevelSums:
        return LevelSums(self.codes, self.n_levels)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """One row of each level (n_levels,)."""
        return np.unique(self.codes, return_index=True)[1]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums (n_levels,) of values (n_rows,)."""
        if self._starts is not None:
            return np.add.reduceat(values, self._starts)
        return np.bincount(self.codes, values, minlength=self.n_levels)

    def scaled(self, values: np.ndarray, a: int) -> np.ndarray:
        """Return values (n_rows,) times column a."""
        column = self.columns[a]
        return values if column is None else values * column

    def spread(self, effects: np.ndarray) -> np.ndarray:
        """Return Z b (n_rows,) of effects b (n_levels, q)."""
        result = self.scaled(effects[:, 0].take(self.codes), 0)
        for a in range(1, self.q):
            result += self.scaled(effects[:, a].take(self.codes), a)
        return result

    def collect(self, values: np.ndarray) -> np.ndarray:
        """Return Z'x (n_levels, q) of values x (n_rows,)."""
        if self.q == 1:
            return self.sums(self.scaled(values, 0))[:, None]
        return np.stack([self.sums(self.scaled(values, a)) for a in range(self.q)], axis=1)

    def collect_many(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return Z'W x (n_levels * q, k) of values x (n_rows, k)."""
        parts = [self._level_sums(self.scaled(weights, a), values) for a in range(self.q)]
        return np.stack(parts, axis=1).reshape(-1, values.shape[1])

    def own(self, weights: np.ndarray) -> np.ndarray:
        """Return Z_j'W Z_j of each level j (q, q, n_levels)."""
        result = np.empty((self.q, self.q, self.n_levels))
        for a in range(self.q):
            weighted = self.scaled(weights, a)
            for c in range(a, self.q):
                result[a, c] = result[c, a] = self.sums(self.scaled(weighted, c))
        return result


class Cells:
    """Combinations of a level of one term with one of another that rows of data have.

    Parameters
    ----------
    left, right : TermRows
        The terms.

    Attributes
    ----------
    left_levels, right_levels : ndarray of shape (n_cells,)
        The levels of each cell.
    """

    def __init__(self, left: TermRows, right: TermRows):
        self.left, self.right = left, right
        keys, cell_of_row = np.unique(left.codes * right.n_levels + right.codes, return_inverse=True)
        self.n_cells = len(keys)
        self.left_levels, self.right_levels = np.divmod(keys, right.n_levels)
        self._nesting: TermRows | None = None
        self._codes: np.ndarray | None = np.ascontiguousarray(cell_of_row, dtype=np.intp)
        if self.n_cells == left.n_rows:
            # a cell a row: in the order of rows nothing is to be added up
            self.left_levels, self.right_levels, self._codes = left.codes, right.codes, None
        elif self.n_cells == left.n_levels:
            self._nesting = left
        elif self.n_cells == right.n_levels:
            self.left_levels, self.right_levels = left.codes[right.first_rows], np.arange(right.n_levels)
            self._nesting, self._codes = right, right.codes

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums (n_cells,) of values (n_rows,)."""
        if self._codes is None:
            return values
        if self._nesting is not None:
            return self._nesting.sums(values)
        return np.bincount(self._codes, values, minlength=self.n_cells)

    def take(self, values: np.ndarray) -> np.ndarray:
        """Return the value of each row's cell (n_rows,) from values (n_cells,)."""
        return values if self._codes is None else values.take(self._codes)

    def between(self, weights: np.ndarray) -> np.ndarray:
        """Return Z_j'W Z_k of each cell (j, k), of shape (q_left, q_right, n_cells)."""
        result = np.empty((self.left.q, self.right.q, self.n_cells))
        for a in range(self.left.q):
            weighted = self.left.scaled(weights, a)
            for c in range(self.right.q):
                result[a, c] = self.sums(self.right.scaled(weighted, c))
        return result
