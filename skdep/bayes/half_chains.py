"""Statistics of half chains, parameter by parameter, in blocks that a cache holds.

Draws are arrays ``(chains, draws, ...)``. Chains are split in halves, so that a chain that drifts disagrees with
itself; the middle one of an odd number of draws is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["by_parameter", "check_probability", "checked", "squared_deviations"]

# Draws times parameters handled at once: temporary arrays of 2 MB.
_BLOCK = 250_000


def checked(draws: np.ndarray) -> np.ndarray:
    """Return draws as floats; too few of them raise ValueError."""
    draws = np.asarray(draws, dtype=float)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ValueError(f"draws must be (chains, draws, ...) with at least 4 draws a chain, got shape {draws.shape}")
    return draws


def check_probability(probability: float) -> None:
    """Raise ValueError unless a number is between 0 and 1."""
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")


def by_parameter(statistic: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> np.ndarray:
    """Apply `statistic` to arrays (parameters, half chains, draws), in blocks of parameters.

    It returns one value a parameter, on its last axis.
    """
    draws = checked(draws)
    n_chains, n_draws, *shape = draws.shape
    flat = draws.reshape(n_chains, n_draws, -1)
    block = max(1, _BLOCK // (n_chains * n_draws))
    # One pass even without parameters: it gives the axes of the result.
    starts = range(0, max(flat.shape[2], 1), block)
    results = [_of_block(statistic, flat[:, :, first : first + block]) for first in starts]
    joined = np.concatenate(results, axis=-1)
    return joined.reshape((*joined.shape[:-1], *shape))[()]


def _of_block(statistic: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> np.ndarray:
    n_chains, n_draws, n_parameters = draws.shape
    half = n_draws // 2
    halves = np.empty((n_parameters, n_chains, 2, half))
    halves[:, :, 0] = draws[:, :half].transpose(2, 0, 1)
    halves[:, :, 1] = draws[:, n_draws - half :].transpose(2, 0, 1)
    halves = halves.reshape(n_parameters, 2 * n_chains, half)
    largest, least = halves.max(axis=(1, 2)), halves.min(axis=(1, 2))
    defined = np.isfinite(largest) & np.isfinite(least) & (largest > least)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(defined, statistic(np.where(defined[:, None, None], halves, 0.0)), np.nan)


def squared_deviations(halves: np.ndarray) -> np.ndarray:
    """Return squared deviations from the mean of all half chains."""
    return (halves - halves.mean(axis=(1, 2), keepdims=True)) ** 2
