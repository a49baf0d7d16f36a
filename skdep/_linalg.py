"""Small dense algebra of information matrices, scale-free: rows and columns are scaled to unit diagonal first."""

from __future__ import annotations

import numpy as np
from scipy import linalg

__all__ = ["is_ill_conditioned", "scaled_inverse", "scaled_solve", "smallest_scaled_eigenvalue"]

# Cross-products square the condition of the columns: below this, half of the digits are gone and a QR factorisation
# of the columns themselves is called for.
_ILL_CONDITIONED = 1e-9
# Below this an eigenvalue of a matrix of unit diagonal is rounding.
_SINGULAR = 1e-13


def _unit_diagonal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix scaled to unit diagonal, and the scale: ``matrix = scale scaled scale``."""
    diagonal = np.diag(matrix)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return matrix / np.outer(scale, scale), scale


def smallest_scaled_eigenvalue(gram: np.ndarray) -> float:
    """Return the least eigenvalue of a cross-product matrix (p, p) scaled to unit diagonal; 0 for an empty column."""
    if not np.isfinite(gram).all() or (np.diag(gram) <= 0).any():
        return 0.0
    return float(np.linalg.eigvalsh(_unit_diagonal(gram)[0])[0]) if len(gram) else 1.0


def is_ill_conditioned(gram: np.ndarray) -> bool:
    """Say whether cross-products (p, p) are too close to singular to be solved as they are."""
    return smallest_scaled_eigenvalue(gram) < _ILL_CONDITIONED


def scaled_solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric positive (semi-)definite system (p, p) for (p,) or (p, m); minimum norm where singular."""
    if not len(matrix):
        return np.zeros_like(right)
    scaled, scale = _unit_diagonal(matrix)
    spread = scale if right.ndim == 1 else scale[:, None]
    try:
        factor = linalg.cho_factor(scaled)
        # a pivot that is nothing but rounding passes for positive on some machines
        is_singular = np.diag(factor[0]).min() ** 2 < _SINGULAR
    except linalg.LinAlgError:
        is_singular = True
    if is_singular:
        return (linalg.pinvh(scaled, rtol=_SINGULAR) @ (right / spread)) / spread
    return linalg.cho_solve(factor, right / spread) / spread


def scaled_inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a symmetric positive (semi-)definite matrix (p, p)."""
    inverse = scaled_solve(matrix, np.eye(len(matrix)))
    return 0.5 * (inverse + inverse.T)
