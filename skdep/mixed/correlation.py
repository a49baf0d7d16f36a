r"""The ML criterion at a fixed correlation of two random effects, in coordinates in which the constraint is linear.

With the two effects first, b = B b_user and Sigma_user = T T', the correlation is rho where T_10 = rho tau and
T_11 = sqrt(1 - rho^2) tau. The other entries of T, T_00 >= 0 and tau >= 0 are free: a bounded problem, solved by
Newton's method on the entries that are not held at their bound. Blocks of effects go with the effects.

References
----------
Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints, SIAM Journal on Control
and Optimization 20, 221-246.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.evaluation import State
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["CorrelationProblem"]

# Sizes of the bounded entries in other starts of a search that ends at a bound.
_OTHER_STARTS = (0.3, 1.0, 3.0)


class CorrelationProblem:
    """The criterion as a function of the free entries theta.

    Parameters
    ----------
    engine : engine
        The engine of the ML criterion.
    term : int
        The term.
    effects : tuple of int
        The two effects, of the user's columns.
    correlation : float
        Their correlation.
    """

    def __init__(self, engine: Any, term: int, effects: tuple[int, int], correlation: float):
        self.engine, self.term = engine, term
        self.working: CovarianceParameters = engine.parameters
        order = [*effects, *(a for a in range(self.working.sizes[term]) if a not in effects)]
        self.basis = _user_basis(engine.products, term, order)
        structure = list(self.working.block_numbers)
        structure[term] = tuple(structure[term][a] for a in order)
        self.parameters = CovarianceParameters(self.working.sizes, tuple(structure))
        self.cosines = np.array([correlation, np.sqrt(max(1.0 - correlation**2, 0.0))])
        self.constraint, self.first, self.tau = self._constraint()
        self.map = self._sigma_map()
        self.lower = np.full(self.constraint.shape[1], -np.inf)
        self.lower[[self.first, self.tau]] = 0.0

    def _constraint(self) -> tuple[np.ndarray, int, int]:
        """Return M with pack(T) = M theta, and the places of T_00 and tau in theta."""
        begin = self.parameters.bounds[self.term]
        entries = list(self.parameters.entries[self.term])
        first, below, pivot = (begin + entries.index(entry) for entry in ((0, 0), (1, 0), (1, 1)))
        matrix = np.eye(self.parameters.n_parameters)
        matrix[:, below] = 0.0
        matrix[[below, pivot], below] = self.cosines
        return np.delete(matrix, pivot, axis=1), first, below

    def _sigma_map(self) -> np.ndarray:
        """Return the derivative of the working Sigma by the user's, in parameters."""
        result = np.eye(self.parameters.n_parameters)
        span = slice(self.parameters.bounds[self.term], self.parameters.bounds[self.term + 1])
        moved = self.basis @ self.parameters.basis[self.term] @ self.basis.T
        rows, columns = self.working.rows[self.term], self.working.columns[self.term]
        result[span, span] = moved[:, rows, columns].T
        return result

    def start(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Return theta next to given working factors, off the bounds."""
        user = list(factors)
        T = self.parameters.lower_factor(self.term, np.linalg.solve(self.basis, factors[self.term]))
        least = 1e-3 * max(float(np.abs(T).max()), 0.1)
        tau = max(float(np.hypot(T[1, 0], T[1, 1])), least)
        T[0, 0], T[1, 1] = max(T[0, 0], least), 1.0
        for a in range(2, len(T)):
            T[a, a] = max(T[a, a], least)
        user[self.term] = T
        packed = self.parameters.pack(user)
        theta = packed[self.constraint.argmax(axis=0)]
        theta[self.tau] = tau
        return theta

    def factors(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return working factors."""
        result = self.parameters.unpack(self.constraint @ theta)
        result[self.term] = self.working.lower_factor(self.term, self.basis @ result[self.term])
        return result

    def value(self, theta: np.ndarray) -> State:
        """Evaluate the criterion."""
        return self.engine.value(self.factors(theta))

    def derivatives(self, theta: np.ndarray, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Return gradient and second derivative by theta."""
        derivatives, parameters = self.engine.derivatives(state), self.parameters
        gradients = list(derivatives.gradients)
        gradients[self.term] = self.basis.T @ gradients[self.term] @ self.basis
        jacobian = parameters.jacobian(parameters.unpack(self.constraint @ theta))
        moved = self.map @ jacobian
        hessian = moved.T @ derivatives.hessian @ moved + parameters.curvature_of_square(gradients)
        gradient = jacobian.T @ parameters.sigma_gradient(gradients)
        return self.constraint.T @ gradient, self.constraint.T @ hessian @ self.constraint

    def minimise(
        self, start: Sequence[np.ndarray], *, max_iter: int, tol: float
    ) -> tuple[float, list[np.ndarray], bool]:
        """Minimise; returns the criterion, the working factors and whether the search converged.

        An effect without variance has any correlation: a search that ends there may have passed a lower minimum.
        """
        theta = self.start(start)
        best, end = self._descend(theta, max_iter=max_iter, tol=tol)
        for size in _OTHER_STARTS:
            if end[[self.first, self.tau]].min() > 0.0:
                break
            other = theta.copy()
            other[[self.first, self.tau]] = np.maximum(theta[[self.first, self.tau]], size)
            found, reached = self._descend(other, max_iter=max_iter, tol=tol)
            if found[0] < best[0] - 1e-9:
                best, end = found, reached
        return best

    def _descend(
        self, theta: np.ndarray, *, max_iter: int, tol: float
    ) -> tuple[tuple[float, list[np.ndarray], bool], np.ndarray]:
        """Return criterion, working factors, whether the search converged, and where in theta it ended."""
        state = self.value(theta)
        for _ in range(max_iter):
            gradient, hessian = self.derivatives(theta, state)
            step, decrement = self._step(theta, gradient, hessian)
            if decrement <= tol:
                return (state.value, state.factors, True), theta
            moved = self._decrease(theta, state.value, gradient, step)
            if moved is None:
                # rounding hides the decrease that is left
                return (state.value, state.factors, decrement <= 1e-6), theta
            theta, state = moved
        return (state.value, state.factors, False), theta

    def _step(self, theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the step, entries held where they are at their bound and would leave it."""
        held = (theta <= self.lower) & (gradient > 0)
        while True:
            free, step = ~held, np.zeros_like(theta)
            step[free], decrement = _newton_step(gradient[free], hessian[np.ix_(free, free)])
            leaving = (theta <= self.lower) & (step < 0)
            if not leaving.any():
                return step, decrement
            held |= leaving

    def _decrease(
        self, theta: np.ndarray, value: float, gradient: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, State] | None:
        """Shorten the step until the criterion decreases; returns where, or None."""
        longest = 2.0 * max(float(np.abs(theta).max()), 0.1)
        size = min(1.0, longest / float(np.abs(step).max()))
        for _ in range(30):
            trial = np.maximum(theta + size * step, self.lower)
            state = self.value(trial)
            if np.isfinite(state.value) and state.value <= value + 1e-4 * float(gradient @ (trial - theta)):
                return trial, state
            size *= 0.3
        return None


def _newton_step(gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the step, curvatures taken by size, and the decrease it promises, twice."""
    if not len(gradient):
        return np.zeros(0), 0.0
    values, vectors = np.linalg.eigh(hessian)
    size = np.maximum(np.abs(values), 1e-8 * np.abs(values).max())
    slopes = vectors.T @ gradient
    return -vectors @ (slopes / size), float(np.sum(slopes**2 / size))


def _user_basis(products: CrossProducts, term: int, order: Sequence[int]) -> np.ndarray:
    """Return B: effects in working coordinates of the user's, in an order and units that make columns of Z equal."""
    part = products.terms[term]
    basis = np.linalg.inv(part.to_user)[:, order]
    total = part.own.sum(axis=2) / products.n_obs
    return basis / np.sqrt(np.einsum("ai,ac,ci->i", basis, total, basis))
