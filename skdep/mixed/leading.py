r"""Elimination of the first factor: small matrices of all its levels at once.

With A_j = Z_j'W Z_j and M_j = T'A_j T + I, everything else follows from

    W_j = T M_j^-1 T'    and    J_j = I - A_j W_j = T^-T M_j^-1 T',

for which x - A_j W_j x = J_j x is Z_j'V_j^-1 (...) of x = Z_j'(...). At a regular T the second form of J_j subtracts
nothing, and keeps its digits where effects are large.
"""

from __future__ import annotations

import numpy as np

from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.small_matrices import lower_factor, solve_lower, stack_product, symmetric_from_rows

__all__ = ["eliminate", "precision_of"]


def eliminate(own: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W and J (q, q, l), and the logarithm of the pivots, log|M_j| / 2 (l,)."""
    q = len(T)
    if q == 1:
        variance = T[0, 0] ** 2
        pivot = variance * own[0, 0] + 1.0
        return (variance / pivot)[None, None], (1.0 / pivot)[None, None], 0.5 * np.log(pivot)
    left = np.dot(T.T, own.reshape(q, -1)).reshape(own.shape)
    inner = np.dot(T.T, left.transpose(1, 0, 2).reshape(q, -1)).reshape(own.shape)
    inner[np.arange(q), np.arange(q)] += 1.0
    factor = lower_factor(inner)
    pivots = factor[np.arange(q), np.arange(q)]
    rows = solve_lower(factor, T.T)
    W = symmetric_from_rows(rows)
    if np.abs(np.diag(T)).min() >= BOUNDARY:
        J = _product_of_rows(solve_lower(factor, np.linalg.inv(T)), rows)
    else:
        J = -stack_product(W, own)
        J[np.arange(q), np.arange(q)] += 1.0
    return W, J, np.log(pivots).sum(axis=0)


def _product_of_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return L'R (q, q, l) of matrices L and R (q, q, l)."""
    q = len(left)
    result = np.empty_like(left)
    for a in range(q):
        for c in range(q):
            np.einsum("kl,kl->l", left[:, a], right[:, c], out=result[a, c])
    return result


def precision_of(own: np.ndarray, J: np.ndarray) -> np.ndarray:
    """Return Z_j'V_j^-1 Z_j = J_j A_j (q, q, l)."""
    if len(own) == 1:
        return J * own
    result = stack_product(J, own)
    return 0.5 * (result + result.transpose(1, 0, 2))
