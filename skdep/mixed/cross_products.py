r"""Cross-products of random-effect columns Z, features X and outcome y, formed once: the number of rows leaves here.

Columns are in working coordinates: y is the residual of ordinary least squares on X, of mean square one; the columns of
Z of a term are scaled, and centred where their effects may be correlated with the intercept's. Estimates map back
exactly. All summaries are sums over rows.

References
----------
Bates, Alday and Kokandakar (2025), Mixed-model log-likelihood evaluation via a blocked Cholesky factorization,
arXiv:2505.11674: the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skdep.mixed.terms import INTERCEPT, RandomTerm

__all__ = ["CrossProducts", "LevelSums", "TermProducts", "WorkingColumns", "form_cross_products", "working_columns"]


@dataclass(frozen=True)
class TermProducts:
    """Cross-products of one term.

    Parameters
    ----------
    own : ndarray of shape (q, q, n_levels)
        Z_j' W Z_j of each level j.
    border : ndarray of shape (p + 1, q, n_levels)
        [X, y]' W Z_j of each level.
    to_user : ndarray of shape (q, q)
        Working columns are the user's columns times this: b_user = to_user b_working.
    """

    own: np.ndarray
    border: np.ndarray
    to_user: np.ndarray

    @property
    def q(self) -> int:
        """Number of random effects of a level."""
        return self.own.shape[0]

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return self.own.shape[2]


@dataclass(frozen=True)
class CrossProducts:
    """All that the fit of a linear mixed model needs from the data.

    Parameters
    ----------
    terms : tuple of TermProducts
        By term, the one with most columns first.
    between : dict
        (b, c), b < c -> Z_b' W Z_c as a sparse matrix (levels_b q_b, levels_c q_c), rows and columns by level.
    gram : ndarray of shape (p + 1, p + 1)
        [X, y]' W [X, y].
    n_obs : float
        Number of observations: rows, or the sum of frequency weights.
    log_weights : float
        Sum of the logarithms of precision weights.
    y_scale : float
        Unit of y in working coordinates.
    reml_shift : float
        What to add to log|X'V^-1X| to have it in the user's columns, collinear ones left out.
    level_weights : ndarray of shape (n_levels,) or None
        Sampling weights of the levels of the first term.
    """

    terms: tuple[TermProducts, ...]
    between: dict[tuple[int, int], sparse.csr_matrix]
    gram: np.ndarray
    n_obs: float
    log_weights: float
    y_scale: float
    reml_shift: float
    level_weights: np.ndarray | None = None

    @property
    def n_params(self) -> int:
        """Number of fixed effects."""
        return len(self.gram) - 1


@dataclass(frozen=True)
class WorkingColumns:
    """The columns of Z of one term in working coordinates.

    Parameters
    ----------
    columns : tuple of ndarray of shape (n_rows,), or None for the constant
        The columns.
    to_user : ndarray of shape (q, q)
        b_user = to_user b_working.
    """

    columns: tuple[np.ndarray | None, ...]
    to_user: np.ndarray


def working_columns(term: RandomTerm, X: np.ndarray, weights: np.ndarray | None) -> WorkingColumns:
    """Scale the columns of a term; centre those whose effects are in one block with the intercept's.

    A slope's column x becomes z = (x - m) / s, hence b0 + b1 x = (b0 + m b1) + (s b1) z.
    """
    q = term.q
    to_user = np.eye(q)
    columns: list[np.ndarray | None] = []
    has_intercept = term.columns[0] == INTERCEPT
    for position, number in enumerate(term.columns):
        if number == INTERCEPT:
            columns.append(None)
            continue
        x = X[:, number]
        centred = has_intercept and term.blocks[position] == term.blocks[0]
        centre = float(np.average(x, weights=weights)) if centred else 0.0
        z = x - centre if centre else x
        scale = float(np.sqrt(np.average(z * z, weights=weights)))
        if scale <= 1e-13 * abs(centre) or scale == 0.0:
            z, scale = np.zeros_like(x), 1.0
        columns.append(z / scale)
        to_user[position, position] = 1.0 / scale
        to_user[0, position] -= centre / scale if centred else 0.0
    return WorkingColumns(tuple(columns), to_user)


def form_cross_products(
    terms: Sequence[RandomTerm],
    columns: Sequence[WorkingColumns],
    sums: Sequence[LevelSums],
    border: np.ndarray,
    gram: np.ndarray,
    *,
    weights: np.ndarray | None,
    row_multiplicity: np.ndarray | None = None,
    n_obs: float,
    log_weights: float,
    y_scale: float,
    reml_shift: float,
) -> CrossProducts:
    """Form all cross-products.

    Parameters
    ----------
    terms : sequence of RandomTerm
        Terms, the one with most columns first.
    columns : sequence of WorkingColumns
        Their columns.
    sums : sequence of LevelSums
        What adds up rows within their levels.
    border : ndarray of shape (n_rows, p + 1)
        Fixed-effect columns and y in working coordinates.
    gram : ndarray of shape (p + 1, p + 1)
        Its cross-products.
    weights : ndarray of shape (n_rows,) or None
        Weights of the rows within clusters.
    row_multiplicity : ndarray of shape (n_rows,) or None
        Weight of each row's cluster.
    n_obs, log_weights, y_scale, reml_shift : float
        As in `CrossProducts`.
    """
    level_weights = None
    if row_multiplicity is not None:
        level_weights = np.zeros(terms[0].n_levels)
        level_weights[terms[0].codes] = row_multiplicity
    products = tuple(_term_products(*parts, border, weights) for parts in zip(terms, columns, sums, strict=True))
    between = {
        (b, c): _between(terms[b], columns[b], terms[c], columns[c], weights)
        for b in range(len(terms))
        for c in range(b + 1, len(terms))
    }
    return CrossProducts(products, between, gram, n_obs, log_weights, y_scale, reml_shift, level_weights)


def _weighted(column: np.ndarray | None, weights: np.ndarray | None, n_rows: int) -> np.ndarray:
    """Return column times weights, None being ones."""
    if column is None:
        return np.ones(n_rows) if weights is None else weights
    return column if weights is None else column * weights


def _term_products(
    term: RandomTerm, part: WorkingColumns, add_up: LevelSums, border: np.ndarray, weights: np.ndarray | None
) -> TermProducts:
    n_rows, n_border = border.shape
    q, n_levels = term.q, term.n_levels
    own = np.empty((q, q, n_levels))
    products = np.empty((n_border, q, n_levels))
    for a, column in enumerate(part.columns):
        weighted = _weighted(column, weights, n_rows)
        products[:, a] = add_up(weighted, border).T
        for c in range(a, q):
            other = part.columns[c]
            own[a, c] = own[c, a] = np.bincount(
                term.codes, weighted if other is None else weighted * other, minlength=n_levels
            )
    return TermProducts(own, products, part.to_user)


class LevelSums:
    """Adds up rows within the levels of a factor, rows in any order."""

    def __init__(self, codes: np.ndarray, n_levels: int):
        rows = np.arange(len(codes))
        ones = np.ones(len(codes), dtype=np.int8)
        pattern = sparse.coo_matrix((ones, (codes, rows)), shape=(n_levels, len(codes))).tocsr()
        self._indices, self._indptr, self._shape = pattern.indices, pattern.indptr, pattern.shape

    def __call__(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the sums (n_levels, m) of weights (n_rows,) times values (n_rows, m)."""
        matrix = sparse.csr_matrix((weights[self._indices], self._indices, self._indptr), shape=self._shape)
        return matrix @ values


def _between(
    first: RandomTerm, part: WorkingColumns, second: RandomTerm, other: WorkingColumns, weights: np.ndarray | None
) -> sparse.csr_matrix:
    """Return Z_b' W Z_c."""
    n_rows = len(first.codes)
    rows, columns, values = [], [], []
    for a, left in enumerate(part.columns):
        weighted = _weighted(left, weights, n_rows)
        for c, right in enumerate(other.columns):
            rows.append(first.codes * first.q + a)
            columns.append(second.codes * second.q + c)
            values.append(weighted if right is None else weighted * right)
    shape = (first.n_levels * first.q, second.n_levels * second.q)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    result = sparse.coo_matrix(entries, shape=shape).tocsr()
    result.sum_duplicates()
    return result
