"""Second derivatives by differences of exact gradients."""

from __future__ import annotations

import numpy as np

from skdep.glmm.state import Criterion, Gradient, State

__all__ = ["hessian_by_differences"]

# Step in standard errors: a relative error of about its size times the skewness of the likelihood remains.
_STEP = 2e-5


def hessian_by_differences(
    criterion: Criterion, state: State, gradient: Gradient, approximation: np.ndarray, units: np.ndarray | None = None
) -> np.ndarray:
    """Return the second derivative (p + K, p + K), symmetric.

    Parameters
    ----------
    criterion : Criterion
        The engine.
    state : State
        Where.
    gradient : Gradient
        Its derivative there.
    approximation : ndarray of shape (p + K, p + K)
        An approximation of the second derivative, from which steps are chosen.
    units : ndarray of shape (p + K,), optional
        Units of the parameters, ones by default.
    """
    parameters, p = criterion.parameters, len(state.beta)
    here = gradient.packed(parameters)
    position = np.concatenate([state.beta, parameters.pack(state.factors)])
    size = np.maximum(np.sqrt(np.abs(np.diag(approximation))), 1.0 if units is None else 1.0 / units)
    result = np.empty_like(approximation)
    for k in range(len(position)):
        moved = position.copy()
        moved[k] += _STEP / size[k]
        step = moved[k] - position[k]
        there = criterion.value(moved[:p], parameters.unpack(moved[p:]), state)
        result[:, k] = (criterion.gradient(there).packed(parameters) - here) / step
    return 0.5 * (result + result.T)
