"""Geometry of the boundary: covariance matrices Sigma = T T' that have not full rank."""

from __future__ import annotations

import numpy as np

__all__ = ["BOUNDARY", "add_direction", "echelon", "null_directions"]

# A column of T whose pivot is below this (columns of Z have mean square one, sigma is 1) is on the boundary.
BOUNDARY = 1e-5


def echelon(T: np.ndarray) -> np.ndarray:
    """Return a lower triangular factor of the same T T' whose columns of zeros come last."""
    result, column = T.copy(), 0
    if np.abs(np.diag(T)).min() >= BOUNDARY:
        return result
    for row in range(len(T)):
        rest = result[row, column:]
        length = float(np.sqrt(rest @ rest))
        if length < BOUNDARY:
            result[row, column:] = 0.0
            continue
        if np.abs(rest[1:]).max(initial=0.0) > 0.0:
            # a reflection that brings the rest of the row onto its first entry
            normal = rest.copy()
            normal[0] += np.copysign(length, rest[0])
            normal /= np.sqrt(normal @ normal)
            result[row:, column:] -= 2.0 * np.outer(result[row:, column:] @ normal, normal)
            result[row, column + 1 :] = 0.0
        column += 1
    return result


def null_directions(T: np.ndarray, gradient: np.ndarray, *, diagonal: bool) -> list[tuple[np.ndarray, float]]:
    """Return directions that Sigma does not reach, with the derivative of the criterion along each.

    Parameters
    ----------
    T : ndarray of shape (q, q)
        Relative covariance factor.
    gradient : ndarray of shape (q, q)
        Derivative of the criterion by Sigma.
    diagonal : bool
        Whether Sigma is diagonal.
    """
    if diagonal:
        missing = np.flatnonzero(np.abs(np.diag(T)) < BOUNDARY)
        return [(np.eye(len(T))[a], float(gradient[a, a])) for a in missing]
    size, vectors = np.linalg.eigh(T @ T.T)
    null = vectors[:, size < BOUNDARY**2]
    slopes, rotation = np.linalg.eigh(null.T @ gradient @ null)
    return [(null @ rotation[:, k], float(slopes[k])) for k in range(len(slopes))]


def add_direction(T: np.ndarray, direction: np.ndarray, *, diagonal: bool) -> np.ndarray:
    """Return the lower triangular factor of T T' + d d'."""
    if diagonal:
        return np.diag(np.sqrt(np.diag(T) ** 2 + direction**2))
    upper = np.asarray(np.linalg.qr(np.column_stack([T, direction]).T, mode="r"))
    return upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0)
