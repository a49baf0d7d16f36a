"""Rows of batches brought together: labels matched, levels added, equal rows counted, old rows discounted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skdep._stack import level_of_caller
from skdep.clusters import encode_factors, encode_groups
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.glmm.working import counted_rows, take

__all__ = ["discounted_rows", "factors_of_batch", "join_levels", "merged_rows", "recoded_rows", "rows_of_levels"]

# Weight, relative to the largest, below which a discounted row is forgotten altogether.
_FORGOTTEN = 1e-12


def factors_of_batch(groups: Any, n_rows: int, names: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return codes of the rows and labels of the levels of a further batch, by factor in the order of `names`.

    Parameters
    ----------
    groups : array-like of shape (n_rows,) or (n_rows, n_factors)
        Labels; columns of a DataFrame are found by name, others by position.
    n_rows : int
        Number of rows.
    names : sequence of str
        Factors of the earlier batches.

    Raises
    ------
    ValueError
        If there are other factors, or none.
    """
    if groups is None:
        raise ValueError(f"Earlier batches had the grouping factors {list(names)}; pass groups= for this one as well.")
    if not names:
        raise ValueError("Earlier batches had no groups: leave groups= out, or fit again with them.")
    factors = encode_factors(groups, n_rows)
    given = [name for _, _, name in factors]
    if len(given) != len(names) or (hasattr(groups, "columns") and set(given) != set(names)):
        raise ValueError(f"groups has the factors {given}, earlier batches had {list(names)}.")
    if set(given) == set(names):
        factors = [factors[given.index(name)] for name in names]
    return [(codes, levels) for codes, levels, _ in factors]


def join_levels(name: str, old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring labels of levels together.

    Parameters
    ----------
    name : str
        Name of the factor.
    old, new : ndarray of shape (n_old,), (n_new,)
        Labels, each once.

    Returns
    -------
    levels : ndarray
        All labels, in the order in which a fit of all rows would have them.
    old_places, new_places : ndarray of int
        Where each label is among them.
    """
    import pandas as pd

    first, second = (pd.Index(part, tupleize_cols=False) for part in (old, new))
    codes, levels, _ = encode_groups(first.append(second), len(old) + len(new), name=name)
    if len(levels) == len(old) + len(new) and type(old[0]) is not type(new[0]):
        warnings.warn(
            f"All levels of {name!r} in this batch are new, and of another type, like {str(new[0])!r} "
            f"({type(new[0]).__name__}), than earlier ones, like {str(old[0])!r} ({type(old[0]).__name__}).",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    return levels, codes[: len(old)], codes[len(old) :]


def recoded_rows(rows: GlmmRows, places: Sequence[np.ndarray], n_levels: Sequence[int]) -> GlmmRows:
    """Give levels of every term new numbers.

    Parameters
    ----------
    rows : GlmmRows
        The rows; they are left in their order.
    places : sequence of ndarray of int
        New number of each level, by term.
    n_levels : sequence of int
        Numbers of levels, by term.
    """
    terms = (
        replace(term, codes=to[term.codes], n_levels=n)
        for term, to, n in zip(rows.terms, places, n_levels, strict=True)
    )
    return replace(rows, terms=tuple(terms))


def discounted_rows(rows: GlmmRows, factor: float) -> GlmmRows:
    """Return rows whose likelihood counts `factor` times."""
    return rows if factor == 1.0 else replace(rows, outcome=factor * rows.outcome, weight=factor * rows.weight)


def merged_rows(old: GlmmRows, new: GlmmRows) -> GlmmRows:
    """Return the rows of both, in the same working columns and with levels numbered alike; equal ones are counted.

    Parameters
    ----------
    old, new : GlmmRows
        The rows.
    """
    parts = (old, new)
    fixed, outcome, weight = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("fixed", "outcome", "weight")
    )
    offset = None
    if old.offset is not None or new.offset is not None:
        offset = np.concatenate([np.zeros(part.n_rows) if part.offset is None else part.offset for part in parts])
    terms = tuple(
        replace(a, codes=np.concatenate([a.codes, b.codes]), columns=np.hstack([a.columns, b.columns]))
        for a, b in zip(old.terms, new.terms, strict=True)
    )
    rows = replace(old, fixed=fixed, outcome=outcome, weight=weight, offset=offset, terms=terms)
    kept = weight > _FORGOTTEN * weight.max()
    if not terms and not kept.all():
        rows = _picked(rows, kept)
    return _counted(rows)


def rows_of_levels(rows: GlmmRows, levels: np.ndarray) -> GlmmRows | None:
    """Return the rows of some levels of the only factor, None if there are none.

    Parameters
    ----------
    rows : GlmmRows
        The rows.
    levels : ndarray of int
        Numbers of the levels, increasing.
    """
    (term,) = rows.terms
    kept = np.isin(term.codes, levels)
    if not kept.any():
        return None
    found = _picked(rows, kept)
    used, codes = np.unique(found.terms[0].codes, return_inverse=True)
    return replace(found, terms=(replace(found.terms[0], codes=codes, n_levels=len(used)),))


def _picked(rows: GlmmRows, kept: np.ndarray) -> GlmmRows:
    """Return some rows."""
    return replace(
        rows,
        fixed=rows.fixed[kept],
        outcome=rows.outcome[kept],
        weight=rows.weight[kept],
        offset=None if rows.offset is None else rows.offset[kept],
        terms=tuple(replace(t, codes=t.codes[kept], columns=t.columns[:, kept]) for t in rows.terms),
    )


def _counted(rows: GlmmRows) -> GlmmRows:
    """Sort rows by the first factor, and count equal ones."""
    first = rows.terms[0].codes if rows.terms else np.zeros(rows.n_rows, dtype=np.int64)
    others = [*rows.fixed.T, *(term.codes for term in rows.terms[1:])]
    others += [] if rows.offset is None else [rows.offset]
    order, outcome, weight = counted_rows(first, others, rows.outcome, rows.weight)
    terms = (
        RowTerm(
            take(order, term.codes),
            term.n_levels,
            term.columns if order is None else term.columns[:, order],
            term.to_user,
        )
        for term in rows.terms
    )
    return replace(
        rows,
        fixed=take(order, rows.fixed),
        outcome=outcome,
        weight=weight,
        offset=None if rows.offset is None else take(order, rows.offset),
        terms=tuple(terms),
    )
