r"""The search for the maximum of the likelihood with a parameter held: Newton's method in theta, with bounds.

Second derivatives are the engine's, exact ones where it has them. Where not, those at the estimate, differenced from
gradients, are corrected by the gradients seen (symmetric rank-one updates), from one value of the held parameter to the
next, and differenced anew where steps do not do what they promise.

References
----------
Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints, SIAM Journal on Control
and Optimization 20, 221-246.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.glmm.constrained import Constraint, Frame
from skdep.glmm.differences import hessian_by_differences
from skdep.glmm.state import State

__all__ = ["HeldPoint", "HeldSearch", "rate_of_change"]

# Pivots below this, in log odds, are moved off zero before a search, and are tried elsewhere after it.
_NEAR = 1e-2
_NUDGE = 0.03
_LADDER = (0.1, 0.4, 1.5)
# Sizes of bounded parameters in other starts of a search that ends at a bound.
_OTHER_STARTS = (0.2, 0.7)
# Approximate second derivatives are believed for so many steps.
_BELIEVED = 6
_MOST_HALVINGS = 25
# Decrease of -2 log L that rounding may hide, and after how many steps it is enough.
_ROUNDING, _MANY_STEPS = 1e-6, 15


@dataclass(frozen=True)
class HeldPoint:
    """Where a search ended.

    Parameters
    ----------
    value : float
        -log L there.
    x : ndarray of shape (P,)
        Parameters.
    theta : ndarray of shape (m,)
        The same by the constraint.
    state : State
        The criterion there.
    gradient : ndarray of shape (P,)
        Its derivative by `x`.
    hessian : ndarray of shape (P, P)
        Its second derivative, or an approximation.
    converged : bool
        Whether the search converged.
    """

    value: float
    x: np.ndarray
    theta: np.ndarray
    state: State
    gradient: np.ndarray
    hessian: np.ndarray
    converged: bool


class HeldSearch:
    """A search.

    Parameters
    ----------
    frame : Frame
        Criterion and coordinates.
    constraint : Constraint
        What is held.
    max_iter : int
        Most steps.
    tol : float
        Promised decrease of -2 log L below which the search has converged.
    """

    def __init__(self, frame: Frame, constraint: Constraint, *, max_iter: int, tol: float):
        self.frame, self.constraint, self.max_iter, self.tol = frame, constraint, max_iter, tol
        self._lower = np.full(constraint.matrix.shape[1], -np.inf)
        self._lower[list(constraint.bounded)] = 0.0

    def run(self, theta: np.ndarray, start: State | None, hessian: np.ndarray | None) -> HeldPoint:
        """Search.

        Parameters
        ----------
        theta : ndarray of shape (m,)
            Where to begin.
        start : State or None
            A state whose modes are near.
        hessian : ndarray of shape (P, P) or None
            Second derivative near there; needed where the engine has none.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the criterion cannot be evaluated there.
        """
        theta = theta.copy()
        for k in self.constraint.pivots:
            if abs(theta[k]) < _NEAR:
                theta[k] = _NUDGE
        theta = np.maximum(theta, self._lower)
        point = self._search(theta, start, hessian)
        if any(point.theta[k] == 0.0 for k in self.constraint.bounded):
            point = self._inside(theta, point)
        for _ in range(len(self.constraint.pivots)):
            lower = self._elsewhere(point)
            if lower is None:
                break
            point = self._descend(*lower, point.hessian)
        return point

    def _search(self, theta: np.ndarray, start: State | None, hessian: np.ndarray | None) -> HeldPoint:
        state = self.frame.value(self.constraint.x(theta), start)
        if not np.isfinite(state.value):
            raise np.linalg.LinAlgError("the likelihood cannot be evaluated")
        return self._descend(theta, state, hessian)

    def _inside(self, theta: np.ndarray, point: HeldPoint) -> HeldPoint:
        """Search from other starts too, since the end of a search at a bound may hide a lower one that is not."""
        at_bound = [k for k in self.constraint.bounded if point.theta[k] == 0.0]
        starts = []
        for size in _OTHER_STARTS:
            starts.append(point.theta.copy())
            starts[-1][at_bound] = size
            starts.append(theta.copy())
            pivots = list(self.constraint.pivots)
            starts[-1][pivots] = np.copysign(np.maximum(0.4 * np.abs(theta[pivots]), size), theta[pivots])
        for other in starts:
            try:
                found = self._search(other, point.state, point.hessian)
            except np.linalg.LinAlgError:
                continue
            if found.value < point.value - 1e-7:
                point = found
        return point

    def _descend(self, theta: np.ndarray, state: State, approximation: np.ndarray | None) -> HeldPoint:
        """Step until converged, or the steps are used up."""
        gradient = self.frame.gradient(state)
        hessian, exact = self._hessian(state, approximation)
        fresh, matrix = _BELIEVED, self.constraint.matrix
        for count in range(self.max_iter):
            slope = matrix.T @ gradient
            step, decrement = self._step(theta, slope, matrix.T @ hessian @ matrix)
            # next to a singular covariance matrix the criterion may be flat in more than the second order
            if decrement <= (self.tol if count < _MANY_STEPS else _ROUNDING):
                return self._point(theta, state, gradient, hessian, True)
            moved = self._decrease(theta, state, slope, step, decrement)
            if moved is None or (fresh == 0 and not exact):
                if exact or fresh == _BELIEVED + 1:
                    # rounding hides the decrease that is left
                    return self._point(theta, state, gradient, hessian, decrement <= _ROUNDING)
                hessian, fresh = self._differenced(state, hessian), _BELIEVED + 1
                continue
            before = self.constraint.x(theta), gradient
            theta, state = moved
            gradient = self.frame.gradient(state)
            if exact:
                hessian, _ = self._hessian(state, None)
            else:
                hessian = _updated(hessian, self.constraint.x(theta) - before[0], gradient - before[1])
            fresh -= 1
        return self._point(theta, state, gradient, hessian, False)

    def _hessian(self, state: State, approximation: np.ndarray | None) -> tuple[np.ndarray, bool]:
        exact = self.frame.criterion.hessian(state)
        if exact is not None:
            return exact, True
        if approximation is None:
            approximation = self._differenced(state, self.frame.criterion.curvature(state))
        return approximation, False

    def _differenced(self, state: State, approximation: np.ndarray) -> np.ndarray:
        criterion = self.frame.criterion
        return hessian_by_differences(criterion, state, criterion.gradient(state), approximation)

    def _point(
        self, theta: np.ndarray, state: State, gradient: np.ndarray, hessian: np.ndarray, converged: bool
    ) -> HeldPoint:
        return HeldPoint(state.value, self.constraint.x(theta), theta, state, gradient, hessian, converged)

    def _step(self, theta: np.ndarray, slope: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the step, elements held where they are at their bound and would leave it, and what it promises."""
        held = (theta <= self._lower) & (slope >= 0)
        while True:
            free, step = ~held, np.zeros_like(theta)
            step[free], decrement = _newton_step(slope[free], hessian[np.ix_(free, free)])
            leaving = (theta <= self._lower) & (step < 0)
            if not leaving.any():
                return step, decrement
            held |= leaving

    def _decrease(
        self, theta: np.ndarray, state: State, slope: np.ndarray, step: np.ndarray, decrement: float
    ) -> tuple[np.ndarray, State] | None:
        """Shorten the step until the criterion decreases; returns where, or None."""
        size = min(1.0, (1.0 + 0.5 * float(np.abs(theta).max())) / float(np.abs(step).max()))
        rounding = 1e-13 * max(abs(state.value), 1.0)
        for _ in range(_MOST_HALVINGS):
            trial = np.maximum(theta + size * step, self._lower)
            try:
                reached = self.frame.value(self.constraint.x(trial), state)
            except np.linalg.LinAlgError:
                size *= 0.3
                continue
            if np.isfinite(reached.value) and reached.value <= state.value + 1e-4 * float(slope @ (trial - theta)):
                return trial, reached
            if decrement < _ROUNDING and reached.value <= state.value + rounding:
                return trial, reached
            size *= 0.3
        return None

    def _elsewhere(self, point: HeldPoint) -> tuple[np.ndarray, State] | None:
        """Return a lower point where a pivot that is next to zero is larger, None if there is none."""
        for k in self.constraint.pivots:
            if abs(point.theta[k]) >= _NEAR:
                continue
            for size in _LADDER:
                theta = point.theta.copy()
                theta[k] = size
                try:
                    state = self.frame.value(self.constraint.x(theta), point.state)
                except np.linalg.LinAlgError:
                    continue
                if state.value < point.value - max(1e-7, 1e-12 * abs(point.value)):
                    return theta, state
        return None


def _newton_step(slope: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the step, curvatures taken by size, and the decrease of twice the criterion that it promises."""
    if not len(slope):
        return np.zeros(0), 0.0
    values, vectors = np.linalg.eigh(hessian)
    size = np.maximum(np.abs(values), 1e-8 * max(float(np.abs(values).max()), 1e-300))
    along = vectors.T @ slope
    return -vectors @ (along / size), float(np.sum(along**2 / size))


def _updated(hessian: np.ndarray, moved: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return the second derivative corrected so that it explains the change of the gradient."""
    rest = change - hessian @ moved
    inner = float(rest @ moved)
    if abs(inner) <= 1e-8 * float(np.linalg.norm(rest) * np.linalg.norm(moved)):
        return hessian
    return hessian + np.outer(rest, rest) / inner


def rate_of_change(theta: np.ndarray, hessian: np.ndarray, constraint: Constraint) -> tuple[np.ndarray | None, float]:
    """Return how theta and the slope of the likelihood's maximum change with the held value.

    Parameters
    ----------
    theta : ndarray of shape (m,)
        Where the likelihood is largest at the present value.
    hessian : ndarray of shape (P, P)
        Second derivative of the criterion there.
    constraint : Constraint
        The constraint there.

    Returns
    -------
    rate : ndarray of shape (m,) or None
        Derivative of theta, None where it cannot be had.
    curvature : float
        Second derivative of -log L at the estimate, maximised over all others.
    """
    velocity, matrix = constraint.velocity(theta), constraint.matrix
    moved = hessian @ velocity
    own = matrix.T @ hessian @ matrix
    if not (np.isfinite(moved).all() and np.isfinite(own).all()):
        return None, np.nan
    if not len(own):
        return np.zeros(0), float(velocity @ moved)
    values, vectors = np.linalg.eigh(own)
    if values[0] <= 1e-8 * values[-1]:
        return None, np.nan
    right = matrix.T @ moved
    rate = -vectors @ ((vectors.T @ right) / values)
    return rate, float(velocity @ moved + right @ rate)
