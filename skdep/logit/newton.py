r"""Damped Newton iterations for logistic regression: plain, ridge-penalised, and Firth's bias-reduced.

All three climb an objective: the log-likelihood, that less a ridge penalty, or that plus half the log determinant of
the information. A step is halved until the objective rises by a fraction of what the slope promises (Armijo), so
iterations never diverge. They end when the Newton decrement (g'H^{-1}g)^{1/2}, the length of the next step in standard
errors, is small against the square root of the number of observations: a test without units, and the same for repeated
data.

References
----------
Boyd and Vandenberghe (2004), Convex Optimization, section 9.5: the damped method and the decrement.
Firth (1993), Biometrika 80, 27-38; Heinze and Schemper (2002), Statistics in Medicine 21, 2409-2419: modified score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skdep._linalg import is_ill_conditioned, scaled_inverse, scaled_solve
from skdep._progress import iteration
from skdep.logit.kernel import LogisticData, Summary

__all__ = ["NewtonResult", "SingularInformationError", "maximise"]

_ARMIJO = 1e-4
_MOST_HALVINGS = 60
_FIRTH_LIMIT = 1e-2
# Rows from which iterations start at the estimate of a fraction of them, found in the same way: that saves passes.
_SUBSAMPLE_FROM = 20_000
_SUBSAMPLE_STEP = 8


class SingularInformationError(Exception):
    """The information is too close to singular for Newton steps: columns of the design are (nearly) collinear."""


@dataclass(frozen=True, slots=True)
class NewtonResult:
    """Where the iterations ended."""

    params: np.ndarray  # (p,)
    loglik: float
    information: np.ndarray  # (p, p), without the penalty
    hessian: np.ndarray  # (p, p), minus the second derivative of the objective (Firth: the information)
    decrement: float
    n_iter: int
    converged: bool


@dataclass(frozen=True, slots=True)
class _Point:
    params: np.ndarray
    objective: float
    gradient: np.ndarray
    hessian: np.ndarray
    summary: Summary


class _Objective:
    """The objective of one kind of fit: `ridge` (p,) is the curvature of the penalty on each parameter."""

    def __init__(self, data: LogisticData, *, ridge: np.ndarray | None, firth: bool):
        self.data, self.ridge, self.firth = data, ridge, firth

    def at(self, params: np.ndarray) -> _Point:
        summary = self.data.summary(params)
        objective, gradient, hessian = summary.loglik, summary.score, summary.information
        if self.ridge is not None:
            objective -= 0.5 * float(self.ridge @ params**2)
            gradient = gradient - self.ridge * params
            hessian = hessian + np.diag(self.ridge)
        if self.firth:
            log_determinant = np.linalg.slogdet(summary.information)[1]
            objective = objective + 0.5 * log_determinant if np.isfinite(log_determinant) else -np.inf
            root = _inverse_root(summary.information)
            gradient = gradient + self.data.firth_score(params, root)
        return _Point(params, objective, gradient, hessian, summary)


def _inverse_root(information: np.ndarray) -> np.ndarray:
    """Return C with C C' the inverse of the information."""
    inverse = scaled_inverse(information)
    try:
        return linalg.cholesky(inverse, lower=True)
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(inverse)
        return vectors * np.sqrt(np.maximum(values, 0.0))


def maximise(
    data: LogisticData,
    *,
    ridge: np.ndarray | None = None,
    firth: bool = False,
    check_rank: bool = True,
    max_iter: int,
    tol: float,
) -> NewtonResult:
    """Maximise the (penalised) log-likelihood.

    Parameters
    ----------
    data : LogisticData
        The rows.
    ridge : ndarray of shape (p,), optional
        Penalty ``0.5 * ridge @ params**2`` to subtract.
    firth : bool
        Whether to add half the log determinant of the information.
    check_rank : bool
        Whether to refuse (nearly) collinear columns; without a penalty only.
    max_iter : int
        Most Newton steps over all rows.
    tol : float
        Largest Newton decrement, over the square root of the total weight, of a converged fit; Firth's is held to a
        hundredth of it.

    Raises
    ------
    SingularInformationError
        If `check_rank`, and columns are (nearly) collinear with no penalty to make up for it.
    """
    objective = _Objective(data, ridge=ridge, firth=firth)
    point = objective.at(_start(data, ridge=ridge, firth=firth))
    if check_rank and ridge is None and is_ill_conditioned(point.summary.information):
        raise SingularInformationError
    # Firth's steps use the information for the second derivative: they divide the error, and do not square it.
    limit = tol * np.sqrt(data.total_weight) * (_FIRTH_LIMIT if firth else 1.0)
    decrement = np.inf
    n_iter = 0
    for n_iter in range(1, max_iter + 1):
        step = scaled_solve(point.hessian, point.gradient)
        squared = float(point.gradient @ step)
        decrement = np.sqrt(max(squared, 0.0))
        if decrement <= limit:
            # This close another step needs no further look at the data.
            loglik = point.summary.loglik + float(point.summary.score @ step) - 0.5 * squared
            return _result(point, point.params + step, loglik, decrement, n_iter, converged=True)
        better = _line_search(objective, point, step, squared)
        if better is None:
            break
        point = better
        iteration()
    return _result(point, point.params, point.summary.loglik, decrement, n_iter, converged=False)


def _result(
    point: _Point, params: np.ndarray, loglik: float, decrement: float, n_iter: int, *, converged: bool
) -> NewtonResult:
    information, hessian = point.summary.information, point.hessian
    return NewtonResult(params, float(loglik), information, hessian, float(decrement), n_iter, converged)


def _line_search(objective: _Objective, point: _Point, step: np.ndarray, slope: float) -> _Point | None:
    """Halve the step until the objective has risen enough; None if it cannot rise any more."""
    # Near the maximum the rise drowns in rounding; a fall of that size must not stop the iterations.
    rounding = 1e-14 * (abs(point.objective) + 1.0)
    length = 1.0
    for _ in range(_MOST_HALVINGS):
        candidate = objective.at(point.params + length * step)
        if candidate.objective >= point.objective + _ARMIJO * length * slope - rounding:
            return candidate
        length *= 0.5
    return None


def _start(data: LogisticData, *, ridge: np.ndarray | None, firth: bool) -> np.ndarray:
    """Return parameters to start from: zeros, or on large data the estimate of every 8th row."""
    zeros = np.zeros(data.n_params)
    if data.n_rows < _SUBSAMPLE_FROM or firth:
        return zeros
    fewer = data.every(_SUBSAMPLE_STEP)
    try:
        result = maximise(fewer, ridge=None if ridge is None else ridge / _SUBSAMPLE_STEP, max_iter=15, tol=1e-2)
    except SingularInformationError:
        return zeros
    # Where the fraction is separated or singular, its estimate is no better a start than none.
    trustworthy = result.converged and np.isfinite(result.params).all() and np.abs(result.params).max() < 1e3
    return result.params if trustworthy else zeros
