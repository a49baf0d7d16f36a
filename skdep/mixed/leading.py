r"""Elimination of the first factor: small matrices of all its levels at once.

With A_j = Z_j'W Z_j, M_j = T'A_j T + I and W_j = T M_j^-1 T', everything else follows from W_j, at singular T too:

    A_j - A_j W_j A_j = Z_j'V_j^-1 Z_j,        x - A_j W_j x = Z_j'V_j^-1 ... for x = Z_j'(...).
"""

from __future__ import annotations

import numpy as np

from skdep.mixed.small_matrices import lower_factor, solve_lower, stack_product, symmetric_from_rows

__all__ = ["eliminate", "precision_of", "projected"]


def eliminate(own: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return W (q, q, l) and the logarithm of the pivots, log|M_j| / 2 (l,)."""
    q = len(T)
    if q == 1:
        variance = T[0, 0] ** 2
        pivot = variance * own[0, 0] + 1.0
        return (variance / pivot)[None, None], 0.5 * np.log(pivot)
    left = np.dot(T.T, own.reshape(q, -1)).reshape(own.shape)
    inner = np.dot(T.T, left.transpose(1, 0, 2).reshape(q, -1)).reshape(own.shape)
    inner[np.arange(q), np.arange(q)] += 1.0
    factor = lower_factor(inner)
    pivots = factor[np.arange(q), np.arange(q)]
    return symmetric_from_rows(solve_lower(factor, T.T)), np.log(pivots).sum(axis=0)


def projected(own: np.ndarray, W: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``W x`` and ``x - A W x``, for x of shape (r, q, l)."""
    solved = stack_product(W, right)
    return solved, right - stack_product(own, solved)


def precision_of(own: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return Z_j'V_j^-1 Z_j = A_j - A_j W_j A_j (q, q, l)."""
    if len(own) == 1:
        return own - own * W * own
    result = projected(own, W, own)[1]
    return 0.5 * (result + result.transpose(1, 0, 2))
