"""The mode of a posterior density, by damped Newton steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.mixed.trust_region import spectrum

__all__ = ["PosteriorMode", "find_mode"]

_MOST_HALVINGS = 40
# Longest change of a working parameter in one step: logarithms of standard deviations run away otherwise.
_LONGEST = 3.0
# Squared decrement below which steps that do not shrink it any more are those of rounding errors.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PosteriorMode:
    """Where a posterior density is largest.

    Parameters
    ----------
    point : ndarray of shape (P,)
        The mode.
    log_density : float
        Log density there, not normalised.
    precision : ndarray of shape (P, P)
        Minus the second derivative, made positive definite where need be.
    decrement : float
        Squared length of a further Newton step, in standard deviations.
    n_steps : int
        Steps.
    converged : bool
        Whether the decrement is small.
    """

    point: np.ndarray
    log_density: float
    precision: np.ndarray
    decrement: float
    n_steps: int
    converged: bool


def find_mode(target: Any, start: np.ndarray, *, max_iter: int = 200, tol: float = 1e-10) -> PosteriorMode:
    """Maximise a posterior density.

    Parameters
    ----------
    target : object
        Has ``log_likelihood_derivatives(point)`` and ``prior``; and ``information(point)``, if minus the second
        derivative can be had with fewer rounding errors for a higher price.
    start : ndarray of shape (P,)
        Where to begin.
    max_iter : int
        Most steps.
    tol : float
        Squared decrement of a mode.
    """
    prior, point = target.prior, start
    value, gradient, information = target.log_likelihood_derivatives(point)
    value += float(prior.log_density(point))
    n_steps, before = 0, np.inf
    while True:
        slope = gradient + prior.gradient(point)
        values, vectors = spectrum(information + prior.curvature(point))
        step = vectors @ ((vectors.T @ slope) / values)
        decrement = float(slope @ step)
        if decrement <= tol or n_steps >= max_iter or (decrement <= _ROUNDING and decrement > 0.1 * before):
            break
        before = decrement
        found = _halved(target, point, value, step, decrement)
        if found is None:
            break
        point, value, gradient, information = found
        n_steps += 1
    if hasattr(target, "information"):
        information = target.information(point)
    exact = information - prior.hessian(point)
    values, vectors = np.linalg.eigh(exact)
    if values[0] <= 1e-10 * values[-1]:
        # a prior with long tails: where its second derivative bends the wrong way, the curvature serves
        values, vectors = spectrum(information + prior.curvature(point))
    precision = (vectors * values) @ vectors.T
    return PosteriorMode(point, value, precision, decrement, n_steps, decrement <= max(tol, 1e-7))


def _halved(
    target: Any, point: np.ndarray, value: float, step: np.ndarray, decrement: float
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray] | None:
    """Halve a step until the density rises enough; None if it does not."""
    length = min(1.0, _LONGEST / max(float(np.abs(step).max()), _LONGEST))
    for _ in range(_MOST_HALVINGS):
        trial = point + length * step
        try:
            trial_value, gradient, information = target.log_likelihood_derivatives(trial)
        except np.linalg.LinAlgError:  # too far for floating point
            length *= 0.5
            continue
        trial_value += float(target.prior.log_density(trial))
        if trial_value >= value + 1e-4 * length * decrement - 1e-13 * (1.0 + abs(value)):
            return trial, trial_value, gradient, information
        length *= 0.5
    return None
