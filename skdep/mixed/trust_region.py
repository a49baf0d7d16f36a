"""Steps of a second-order model within a trust region."""

from __future__ import annotations

import numpy as np

__all__ = ["SMALLEST_RADIUS", "spectrum", "step_within"]

SMALLEST_RADIUS = 1e-10


def spectrum(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues by size, none of them next to nothing, and eigenvectors."""
    values, vectors = np.linalg.eigh(curvature)
    size = np.abs(values)
    return np.maximum(size, 1e-10 * max(float(size.max(initial=0.0)), 1e-300)), vectors


def step_within(values: np.ndarray, slopes: np.ndarray, radius: float) -> np.ndarray:
    """Return the step -slopes / (values + shift) with the least shift that keeps it within the radius."""
    move = -slopes / values
    if np.linalg.norm(move) <= radius:
        return move
    # Newton's iteration for 1 / radius = 1 / |step|, which is nearly linear in the shift (Moré and Sorensen 1983)
    shift = 0.0
    for _ in range(8):
        weights = 1.0 / (values + shift)
        move = -slopes * weights
        length = float(np.sqrt(move @ move))
        if length <= 1.01 * radius:
            break
        shift += (length / radius - 1.0) * length**2 / float((move * weights) @ move)
    return move
