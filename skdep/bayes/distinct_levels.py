"""Some levels of a factor; levels whose rows are the same contribute the same to the likelihood, so one is enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skdep.glmm.equal_rows import mixed_keys
from skdep.glmm.rows import GlmmRows, RowTerm

__all__ = ["distinct_levels", "pick_levels"]

# Share of distinct levels above which counting does not pay.
_MOST_DISTINCT = 0.7


def distinct_levels(rows: GlmmRows) -> tuple[GlmmRows, np.ndarray] | None:
    """Return the rows of distinct levels, counted by level weights, and the levels that stand for them.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model with one factor.

    Returns
    -------
    rows : GlmmRows
        The rows of the levels that are kept.
    kept : ndarray of int of shape (n_kept,)
        Their numbers.
        None is returned in place of both if too few levels are equal.
    """
    (term,) = rows.terms
    columns = [*rows.fixed.T, *term.columns, rows.outcome, rows.weight]
    columns += [] if rows.offset is None else [rows.offset]
    row_keys = mixed_keys(columns)
    order = np.lexsort((row_keys, term.codes))
    starts = np.searchsorted(term.codes, np.arange(term.n_levels))
    sizes = np.diff(np.append(starts, rows.n_rows))
    keys = np.add.reduceat(row_keys[order], starts) * np.uint64(2654435761) + sizes.astype(np.uint64)
    first, stands_for = np.unique(keys, return_index=True, return_inverse=True)[1:]
    if len(first) > _MOST_DISTINCT * term.n_levels:
        return None
    stands_for = _verified(columns, order, starts, sizes, first, stands_for)
    kept = np.unique(stands_for)
    counts = np.bincount(stands_for, minlength=term.n_levels)[kept].astype(np.float64)
    weights = counts if rows.level_weights is None else counts * rows.level_weights[kept]
    return replace(pick_levels(rows, kept), level_weights=weights), kept


def pick_levels(rows: GlmmRows, levels: np.ndarray) -> GlmmRows:
    """Return the rows of some levels of the only factor, in their order.

    Parameters
    ----------
    rows : GlmmRows
        The rows.
    levels : ndarray of int
        Numbers of the levels, increasing.
    """
    (term,) = rows.terms
    kept = np.isin(term.codes, levels)
    columns = np.ascontiguousarray(term.columns[:, kept])
    return replace(
        rows,
        fixed=rows.fixed[kept],
        outcome=rows.outcome[kept],
        weight=rows.weight[kept],
        offset=None if rows.offset is None else rows.offset[kept],
        terms=(RowTerm(np.searchsorted(levels, term.codes[kept]), len(levels), columns, term.to_user),),
        level_weights=None if rows.level_weights is None else rows.level_weights[levels],
    )


def _verified(
    columns: list[np.ndarray],
    order: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    first: np.ndarray,
    inverse: np.ndarray,
) -> np.ndarray:
    """Return the level that stands for each; equal keys of unequal levels do not count."""
    stands_for = first[inverse]
    level = np.repeat(np.arange(len(starts)), sizes)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    # a level whose key is that of a longer one has no row to compare with: it is unequal anyway
    same_size = sizes[stands_for] == sizes
    twin = np.minimum(starts[stands_for][level] + place, len(order) - 1)
    equal = np.ones(len(order), dtype=bool)
    for column in columns:
        ordered = column[order]
        equal &= ordered == ordered[twin]
    is_equal = np.logical_and.reduceat(equal, starts) & same_size
    return np.where(is_equal, stands_for, np.arange(len(starts)))
