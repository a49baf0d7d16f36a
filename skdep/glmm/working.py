"""From validated rows to the rows that the engines see, and the way back to the user's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skdep._basis import Basis
from skdep.glmm.cumulants import CumulantFunction
from skdep.glmm.equal_rows import runs_of_equal_rows
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.mixed.cross_products import WorkingColumns, working_columns
from skdep.mixed.fixed_columns import fixed_columns
from skdep.mixed.terms import RandomTerm
from skdep.mixed.weights import RowWeights

__all__ = ["GlmmData", "counted_rows", "take", "working_rows"]


@dataclass(frozen=True)
class GlmmData:
    """Rows in working coordinates, and the way back.

    Parameters
    ----------
    rows : GlmmRows
        The rows, equal ones counted.
    terms : list of RandomTerm
        Terms in working order, codes of the rows in the caller's order.
    basis : Basis
        Maps estimates for the working columns to ``[intercept, *coef]``.
    clusters : ndarray of shape (n_rows of `rows`,) or None
        Level of each row by the outermost factor, None where several are crossed, or there is none.
    units : ndarray of shape (p,)
        Root mean squares of the fixed-effect columns, inverted.
    gram : ndarray of shape (p, p)
        Weighted cross-products of the fixed-effect columns.
    """

    rows: GlmmRows
    terms: list[RandomTerm]
    basis: Basis
    clusters: np.ndarray | None
    units: np.ndarray
    gram: np.ndarray


def working_rows(
    X: np.ndarray,
    y: np.ndarray,
    offset: np.ndarray | None,
    terms: Sequence[RandomTerm],
    weights: RowWeights,
    family: CumulantFunction,
    *,
    outermost: RandomTerm | None,
    fit_intercept: bool,
    fixed: np.ndarray | None = None,
) -> GlmmData:
    """Bring rows to working coordinates, sort them by the first term, and count equal ones.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes.
    offset : ndarray of shape (n_rows,) or None
        Known part of the linear predictor.
    terms : sequence of RandomTerm
        Terms, the one with most columns first.
    weights : RowWeights
        Weights.
    family : CumulantFunction
        The family.
    outermost : RandomTerm or None
        The one factor in which all others are nested.
    fit_intercept : bool
        Whether to fit an intercept.
    fixed : ndarray of int, optional
        Features that have a fixed effect, all by default.
    """
    total = weights.total
    own = X if fixed is None else X[:, fixed]
    columns, basis, gram = fixed_columns(own, total, fit_intercept=fit_intercept, n_further=0)
    parts = [working_columns(term, X, total) for term in terms]
    weight = np.ones(len(y)) if weights.rows is None else weights.rows
    first = terms[0].codes if terms else np.zeros(len(y), dtype=np.int64)
    others = [X.T[j] for j in range(X.shape[1])] + [term.codes for term in terms[1:]]
    others += [] if offset is None else [offset]
    order, outcome = None, weight * y
    if terms:  # without levels rows stay apart: the sandwich takes each for a cluster
        order, outcome, weight = counted_rows(first, others, outcome, weight)
    row_terms = [_row_term(term, part, order) for term, part in zip(terms, parts, strict=True)]
    level_weights = None
    if weights.multiplicity is not None:
        level_weights = np.zeros(terms[0].n_levels)
        level_weights[terms[0].codes] = weights.multiplicity
    rows = GlmmRows(
        take(order, columns),
        outcome,
        weight,
        None if offset is None else take(order, offset),
        tuple(row_terms),
        family,
        level_weights,
    )
    mass = float(len(y) if total is None else total.sum())
    clusters = None if outermost is None else take(order, outermost.codes)
    return GlmmData(rows, list(terms), basis, clusters, np.sqrt(mass / np.maximum(np.diag(gram), 1e-300)), gram)


def counted_rows(
    first: np.ndarray, others: Sequence[np.ndarray], outcome: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Sort rows by their level, and count equal ones.

    Parameters
    ----------
    first : ndarray of int of shape (n_rows,)
        Level of each row.
    others : sequence of ndarray of shape (n_rows,)
        What else makes rows equal.
    outcome, weight : ndarray of shape (n_rows,)
        Weighted outcomes, and weights: equal rows add theirs up.

    Returns
    -------
    order : ndarray of int or None
        The row that each new row is like; None stands for all rows as they are.
    outcome, weight : ndarray
        Their sums.
    """
    is_sorted = bool((first[1:] >= first[:-1]).all())
    order = None if is_sorted else np.argsort(first, kind="stable")
    runs = runs_of_equal_rows(take(order, first), [take(order, column) for column in others])
    if runs is None:
        return order, take(order, outcome), take(order, weight)
    order = runs[0] if order is None else order[runs[0]]
    sums = (np.add.reduceat(part[order], runs[1]) for part in (outcome, weight))
    return order[runs[1]], *sums


def take(order: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Return rows in an order; None stands for theirs."""
    return values if order is None else values[order]


def _row_term(term: RandomTerm, part: WorkingColumns, order: np.ndarray | None) -> RowTerm:
    """Return the term of the sorted rows."""
    codes = take(order, term.codes)
    columns = np.empty((term.q, len(codes)))
    for a, column in enumerate(part.columns):
        columns[a] = 1.0 if column is None else take(order, column)
    return RowTerm(codes, term.n_levels, columns, part.to_user)
