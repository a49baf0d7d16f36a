"""Equal rows of one group are one row with counts: sums over them are the same, and are made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["mixed_keys", "runs_of_equal_rows"]

# Rows looked at to see whether there are enough equal ones, in so many stretches.
_SAMPLE, _STRETCHES = 2000, 4
# Share of distinct rows above which counting does not pay.
_MOST_DISTINCT = 0.8


def runs_of_equal_rows(codes: np.ndarray, columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Sort rows so that equal ones are neighbours.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
        Level of each row, increasing.
    columns : sequence of ndarray of shape (n_rows,)
        What must be equal besides: integers or floats.

    Returns
    -------
    order : ndarray of shape (n_rows,)
        Permutation that keeps `codes` sorted.
    starts : ndarray of shape (n_distinct,)
        Where a new row begins, in that order.
        None is returned in place of both if too few rows are equal.
    """
    n_rows = len(codes)
    stretch = max(_SAMPLE // _STRETCHES, 1)
    if n_rows > _SAMPLE:
        begins = np.linspace(0, n_rows - stretch, _STRETCHES).astype(int)
        parts = [slice(begin, begin + stretch) for begin in begins]
        distinct = sum(len(_sorted_runs(codes[s], [c[s] for c in columns])[1]) for s in parts)
        if distinct > _MOST_DISTINCT * stretch * _STRETCHES:
            return None
    order, starts = _sorted_runs(codes, columns)
    return None if len(starts) > _MOST_DISTINCT * n_rows else (order, starts)


def _sorted_runs(codes: np.ndarray, columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((mixed_keys(columns), codes)) if len(columns) else np.arange(len(codes))
    new = np.ones(len(codes), dtype=bool)
    # rows of the same key that differ stay apart: the key only brings equal rows together
    new[1:] = np.diff(codes[order]) != 0
    for column in columns:
        moved = column[order]
        new[1:] |= moved[1:] != moved[:-1]
    return order, np.flatnonzero(new)


def mixed_keys(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return numbers (n_rows,) that are the same for equal rows, and hardly ever for others."""
    key = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        key = _mixed(key, column)
    return key


def _mixed(key: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Mix a column into keys, by multiplication and shifts of 64-bit numbers."""
    bits = (np.asarray(column, dtype=np.float64) + 0.0).view(np.uint64)
    with np.errstate(over="ignore"):
        key = (key ^ bits) * np.uint64(0x9E3779B97F4A7C15)
    return key ^ (key >> np.uint64(29))
