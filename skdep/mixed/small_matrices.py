"""Many small matrices at once: entry (a, c) of all of them is one contiguous array, no Python loop runs over them.

A stack of l matrices q x q is an array of shape (q, q, l). Loops run over the entries of one matrix; q is small.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

__all__ = ["block_diagonal", "lower_factor", "lower_factor_of", "solve_lower", "stack_product", "symmetric_from_rows"]


def lower_factor(stack: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factors (q, q, l) of positive definite matrices, zero above the diagonal."""
    q = len(stack)
    factor = np.zeros_like(stack)
    for c in range(q):
        pivot = stack[c, c] - np.einsum("kl,kl->l", factor[c, :c], factor[c, :c]) if c else stack[c, c]
        np.sqrt(pivot, out=factor[c, c])
        for a in range(c + 1, q):
            entry = stack[a, c] - np.einsum("kl,kl->l", factor[a, :c], factor[c, :c]) if c else stack[a, c]
            np.divide(entry, factor[c, c], out=factor[a, c])
    return factor


def solve_lower(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve lower triangular systems: ``factor`` (q, q, l), `right` (q, m) shared by all, result (q, m, l)."""
    q, n_columns = right.shape
    result = np.zeros((q, n_columns, factor.shape[2]))
    for a in range(q):
        for column in range(n_columns):
            entry = right[a, column] - sum(factor[a, k] * result[k, column] for k in range(a))
            np.divide(entry, factor[a, a], out=result[a, column])
    return result


def stack_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply matrices (q, q, l) with others (r, q, l), whose second axis is contracted: result (r, q, l)."""
    q = len(left)
    result = np.empty_like(right)
    for a in range(q):
        np.multiply(left[a, 0], right[:, 0], out=result[:, a])
        for c in range(1, q):
            result[:, a] += left[a, c] * right[:, c]
    return result


def symmetric_from_rows(rows: np.ndarray) -> np.ndarray:
    """Return R'R (m, m, l) of matrices R (q, m, l)."""
    n_columns = rows.shape[1]
    result = np.empty((n_columns, n_columns, rows.shape[2]))
    for a in range(n_columns):
        for c in range(a + 1):
            np.einsum("kl,kl->l", rows[:, a], rows[:, c], out=result[a, c])
            if a != c:
                result[c, a] = result[a, c]
    return result


def lower_factor_of(root: np.ndarray) -> np.ndarray:
    """Return lower triangular T (q, q) with T T' = R R', its diagonal not negative, for R of shape (q, k), k >= q."""
    upper = np.asarray(np.linalg.qr(root.T, mode="r"))
    return upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0)


def block_diagonal(stack: np.ndarray) -> sparse.csr_matrix:
    """Return the sparse block-diagonal matrix (l q, l q) of a stack (q, q, l)."""
    n_levels = stack.shape[2]
    blocks = np.ascontiguousarray(stack.transpose(2, 0, 1))
    return sparse.bsr_matrix((blocks, np.arange(n_levels), np.arange(n_levels + 1))).tocsr()
