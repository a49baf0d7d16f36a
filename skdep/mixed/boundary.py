"""Geometry of the boundary: covariance matrices Sigma = T T' that have not full rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["BOUNDARY", "echelon", "null_directions", "turned"]

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


def turned(T: np.ndarray, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return `echelon` of every block of effects."""
    result = T.copy()
    for block in blocks:
        if len(block) > 1 or len(T) == 1:
            result[np.ix_(block, block)] = echelon(T[np.ix_(block, block)])
    return result


def null_directions(
    T: np.ndarray, gradient: np.ndarray, blocks: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, float]]:
    """Return directions that Sigma does not reach, with the derivative of the criterion along each.

    Parameters
    ----------
    T : ndarray of shape (q, q)
        Relative covariance factor.
    gradient : ndarray of shape (q, q)
        Derivative of the criterion by Sigma.
    blocks : sequence of ndarray of int
        Effects of each block; a direction is one of a block.
    """
    result = []
    for block in blocks:
        own = np.ix_(block, block)
        size, vectors = np.linalg.eigh(T[own] @ T[own].T)
        null = vectors[:, size < BOUNDARY**2]
        slopes, rotation = np.linalg.eigh(null.T @ gradient[own] @ null)
        for k, slope in enumerate(slopes):
            direction = np.zeros(len(T))
            direction[block] = null @ rotation[:, k]
            result.append((direction, float(slope)))
    return result
