"""Steps of a second-order model within a trust region."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

__all__ = ["SMALLEST_RADIUS", "LocalModel", "spectrum", "step_within", "trust_region_step"]

SMALLEST_RADIUS = 1e-10
_MOST_TRIALS = 30


class LocalModel(NamedTuple):
    """A second-order model in units of the parameters."""

    scale: np.ndarray  # (n,), the units
    values: np.ndarray  # (n,), eigenvalues, all positive
    vectors: np.ndarray  # (n, n)
    slopes: np.ndarray  # (n,), gradient along the eigenvectors


class _HasValue(Protocol):
    @property
    def value(self) -> float: ...


_State = TypeVar("_State", bound=_HasValue)


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


def trust_region_step(
    model: LocalModel, value: float, radius: float, evaluate: Callable[[np.ndarray], _State | None]
) -> tuple[_State | None, float]:
    """Find a step of the model within the radius that makes the criterion smaller.

    Parameters
    ----------
    model : LocalModel
        The model at the present parameters.
    value : float
        The criterion there.
    radius : float
        Radius, in units of the parameters over the square root of their number.
    evaluate : callable
        Takes a change of the parameters, returns the state there; None where there is none.

    Returns
    -------
    state : object or None
        The state after the step; None if no step is short enough to help.
    radius : float
        Radius for the next step.
    """
    unit = float(np.sqrt(len(model.scale)))
    rounding = 1e-13 * max(abs(value), 1.0)
    for _ in range(_MOST_TRIALS):
        move = step_within(model.values, model.slopes, radius * unit)
        length = float(np.sqrt(move @ move)) / unit
        promised = float(-model.slopes @ move - 0.5 * move @ (model.values * move))
        trial = evaluate(model.scale * (model.vectors @ move))
        if trial is not None and value - trial.value >= 1e-4 * promised - rounding:
            gained = value - trial.value
            if gained > 0.75 * promised:
                radius = max(radius, 2.5 * length)
            elif gained < 0.25 * promised:
                radius = 0.5 * length
            return trial, radius
        radius = 0.25 * min(radius, length)
        if radius <= SMALLEST_RADIUS:
            break
    return None, 1.0
