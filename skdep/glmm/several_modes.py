"""Modes of the random effects of several factors at given parameters, by Newton's method on all of them jointly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skdep.glmm.rows import GlmmRows
from skdep.glmm.several_system import SeveralPlan, SeveralSystem

__all__ = ["Modes", "Point", "find_modes"]

_MAX_STEPS = 100
_MAX_HALVINGS = 40
# Decrements g'M^-1 g. Newton's error is about squared by a step: after a step from the first it is that of rounding.
_LAST_STEP = 1e-10
_NO_STEP = 1e-22
# Above this size of the tail factorising costs more than several steps along an old factorisation.
_EXPENSIVE_FLOATS = 100_000
_SLOW_CONTRACTION = 0.01


@dataclass
class Point:
    """The rows at some random effects.

    Parameters
    ----------
    u : ndarray of shape (N,)
        Spherical effects of all terms.
    objective : float
        -log p(y | u) + u'u / 2.
    loss : ndarray of shape (n_rows,) or None
        -log p(y | u) by row, where rows have sampling weights.
    residual, weight, third : ndarray of shape (n_rows,)
        Derivatives of log p by the linear predictor: s - w kappa', and w kappa'', w kappa''' (None unless asked for).
    """

    u: np.ndarray
    objective: float
    loss: np.ndarray | None
    residual: np.ndarray
    weight: np.ndarray
    third: np.ndarray | None


@dataclass
class Modes:
    """The mode, and M factorised there."""

    point: Point
    system: SeveralSystem


class _Posterior:
    """The penalised log-likelihood of random effects."""

    def __init__(self, rows: GlmmRows, plan: SeveralPlan, beta: np.ndarray, factors: Sequence[np.ndarray]):
        self.rows, self.plan, self.factors = rows, plan, factors
        self.fixed = rows.fixed_predictor(beta)

    def at(self, u: np.ndarray, order: int) -> Point:
        """Evaluate rows, derivatives up to an order."""
        rows = self.rows
        eta = self.fixed.copy()
        for b, (term, T) in enumerate(zip(self.plan.terms, self.factors, strict=True)):
            effects = self.plan.part(u, b)
            eta += term.spread(effects * T[0, 0] if term.q == 1 else np.dot(effects, T.T))
        explained = rows.outcome * eta if rows.level_weights is not None else float(np.dot(rows.outcome, eta))
        kappa, first, *higher = rows.family.derivatives(eta, order)
        if isinstance(explained, float):
            loss, total = None, float(np.dot(rows.weight, kappa)) - explained
        else:
            loss = rows.weight * kappa - explained
            total = float(loss.sum())
        first *= rows.weight
        for derivative in higher:
            derivative *= rows.weight
        residual = np.subtract(rows.outcome, first, out=first)
        third = higher[1] if order >= 3 else None
        return Point(u, total + 0.5 * float(np.dot(u, u)), loss, residual, higher[0], third)

    def slope(self, point: Point) -> np.ndarray:
        """Return the derivative Lambda'Z'd - u of the penalised log-likelihood by u."""
        result = np.negative(point.u)
        for b, (term, T) in enumerate(zip(self.plan.terms, self.factors, strict=True)):
            collected = term.collect(point.residual)
            self.plan.part(result, b)[...] += collected * T[0, 0] if term.q == 1 else np.dot(collected, T)
        return result


def find_modes(
    rows: GlmmRows,
    plan: SeveralPlan,
    beta: np.ndarray,
    factors: Sequence[np.ndarray],
    start: tuple[np.ndarray, SeveralSystem | None] | None = None,
    component_weights: np.ndarray | None = None,
) -> Modes:
    """Find the mode of the random effects.

    Parameters
    ----------
    rows : GlmmRows
        The rows.
    plan : SeveralPlan
        Cells and places.
    beta : ndarray of shape (p,)
        Fixed effects.
    factors : sequence of ndarray of shape (q, q)
        T by term.
    start : (ndarray of shape (N,), SeveralSystem or None) or None
        Effects to start from, and M at parameters nearby; None stands for zero.
    component_weights : ndarray or None
        Multiplicity of each component in the log determinant.
    """

    def factorise(point: Point) -> SeveralSystem:
        return SeveralSystem(plan, point.weight, factors, component_weights)

    posterior = _Posterior(rows, plan, beta, factors)
    keeps = plan.layout.n_floats > _EXPENSIVE_FLOATS
    if start is not None and np.isfinite(start[0]).all():
        try:
            return _climb(posterior, factorise, start[0], start[1] if keeps else None, keeps)
        except np.linalg.LinAlgError:
            pass
    return _climb(posterior, factorise, np.zeros(int(plan.bounds[-1])), None, keeps)


def _climb(
    posterior: _Posterior,
    factorise: Callable[[Point], SeveralSystem],
    u: np.ndarray,
    old: SeveralSystem | None,
    keeps: bool,
) -> Modes:
    """Climb to the mode; steps are taken along an old factorisation where that contracts well and a new one is dear."""
    point = posterior.at(u, 2)
    _check(point.objective)
    system, is_fresh, before = old, False, np.inf
    for _ in range(_MAX_STEPS):
        slope = posterior.slope(point)
        if system is None:
            system, is_fresh, before = factorise(point), True, np.inf
        step = system.solve(slope[:, None])[:, 0]
        decrement = float(np.dot(slope, step))
        _check(decrement)
        if decrement <= _NO_STEP:
            return Modes(point, system if is_fresh else factorise(point))
        # a fresh factorisation squares the decrement, an old one contracts it by about the same factor again
        contraction = decrement if is_fresh else min(decrement / before, 1.0) if before < np.inf else 1.0
        is_slow = not is_fresh and before < np.inf and contraction > _SLOW_CONTRACTION and decrement > _LAST_STEP
        is_last = decrement * contraction <= _LAST_STEP**2
        new = None
        if not is_slow:
            new = _move(posterior, point, step, decrement, 3 if is_last else 2, _MAX_HALVINGS if is_fresh else 0)
        if new is None and is_fresh:
            raise np.linalg.LinAlgError("no step towards the modes of the random effects lowers the objective")
        if new is None:
            system = None
            continue
        point, before = new, decrement
        if is_last:
            return Modes(point, factorise(point))
        system, is_fresh = (system, False) if keeps else (None, False)
    raise np.linalg.LinAlgError("the modes of the random effects were not found")


def _move(
    posterior: _Posterior, point: Point, step: np.ndarray, decrement: float, order: int, n_halvings: int
) -> Point | None:
    """Take a step, halved until the objective falls by more than its rounding hides; None if it does not."""
    slack = 1e-12 * (1.0 + abs(point.objective))
    for halving in range(n_halvings + 1):
        length = 0.5**halving
        new = posterior.at(point.u + length * step, order)
        if new.objective <= point.objective - 1e-4 * length * decrement + slack:
            return new
    return None


def _check(value: float) -> None:
    if not np.isfinite(value):
        raise np.linalg.LinAlgError("the penalised log-likelihood is not finite")
