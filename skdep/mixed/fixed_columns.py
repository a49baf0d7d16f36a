"""Fixed-effect columns in working coordinates: centred if there is an intercept, of full rank, and the way back."""

from __future__ import annotations

import numpy as np

from skdep._basis import Basis, full_rank_basis
from skdep._linalg import smallest_scaled_eigenvalue
from skdep._threads import add_up_blocks

__all__ = ["ILL_CONDITIONED", "fixed_columns"]

# Scaled cross-products with eigenvalues below this cost the log-likelihood digits: orthogonal columns then.
ILL_CONDITIONED = 1e-6


def fixed_columns(
    X: np.ndarray, weights: np.ndarray | None, *, fit_intercept: bool, n_further: int
) -> tuple[np.ndarray, Basis, np.ndarray]:
    """Return fixed-effect columns, the way back, and their cross-products.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    weights : ndarray of shape (n_rows,) or None
        Weights of the rows.
    fit_intercept : bool
        Whether there is an intercept: a first column of ones, and the others centred.
    n_further : int
        Number of further columns to leave room for.

    Returns
    -------
    columns : ndarray of shape (n_rows, p + n_further)
        The columns.
    basis : Basis
        Maps estimates for the columns to ``[intercept, *coef]``.
    gram : ndarray of shape (p, p)
        Weighted cross-products of the p columns.
    """
    n_rows, n_features = X.shape
    p = n_features + fit_intercept
    columns = np.empty((n_rows, p + n_further))
    back = np.eye(p)
    centre = np.average(X, axis=0, weights=weights) if fit_intercept and n_features else np.zeros(n_features)
    if fit_intercept:
        back[0, 1:] = -centre

    def block(rows: slice) -> tuple[np.ndarray]:
        if fit_intercept:
            columns[rows, 0] = 1.0
            np.subtract(X[rows], centre, out=columns[rows, 1:p])
        else:
            columns[rows, :p] = X[rows]
        return (_gram(columns[rows, :p], None if weights is None else weights[rows]),)

    (gram,) = add_up_blocks(block, n_rows, 2 * (p + n_further))
    if smallest_scaled_eigenvalue(gram) > ILL_CONDITIONED:
        return columns, Basis(columns[:, :p], back, np.zeros(p, dtype=bool)), gram
    basis = full_rank_basis(X, fit_intercept=fit_intercept)
    parts = [np.ones(n_rows)] if fit_intercept else []
    columns = np.column_stack([*parts, basis.columns, np.zeros((n_rows, n_further))])
    return columns, basis, _gram(columns[:, : columns.shape[1] - n_further], weights)


def _gram(columns: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.dot(columns.T, columns if weights is None else columns * weights[:, None])
