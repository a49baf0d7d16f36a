r"""Newton's method for the profiled criterion, over the relative Cholesky factors T.

Steps minimise the second-order model in T, with eigenvalues of the second derivative taken by size, within a trust
region measured relative to T. Where the engine gives the average information in place of the exact second derivative,
the difference is learnt from the gradients seen (symmetric rank-one updates), so that convergence stays superlinear.

A fit has converged when the model promises no decrease of -2 log L worth speaking of (the Newton decrement, which has
no unit), and, if Sigma is singular, when no step off the boundary decreases the criterion: the derivative along the
null space is not negative, and a ladder of trial points is no better.

References
----------
Nocedal and Wright (2006), Numerical Optimization, 2nd ed., chapters 4 (trust regions) and 6.2 (rank-one updates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from skdep._progress import iteration
from skdep.mixed.boundary_moves import BoundaryMoves
from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.evaluation import Derivatives, State
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.trust_region import LocalModel, spectrum, trust_region_step

__all__ = ["UNBOUNDED", "Criterion", "Optimum", "minimise", "without_search"]

# Steps of Fisher's scoring before Newton's.
_SCORING_STEPS = 2
_SMALLEST_UNIT = 0.1
# Share of the outcome's variance below which the residual variance is rounding of the cross-products.
_NO_RESIDUAL = 1e-11
# How a search ends for which the likelihood has no maximum.
UNBOUNDED = "the residual variance goes to zero"


class Criterion(Protocol):
    """What an engine offers the optimiser."""

    products: CrossProducts
    parameters: CovarianceParameters
    is_cheap: bool

    def value(self, factors: Sequence[np.ndarray]) -> State:
        """Evaluate the criterion."""

    def derivatives(self, state: State) -> Derivatives:
        """Differentiate it."""

    def exact_derivatives(self, state: State) -> Derivatives | None:
        """Differentiate it with the exact second derivative, None where that takes too long."""


@dataclass
class Optimum:
    """Where the optimiser ended.

    Parameters
    ----------
    state : State
        Criterion at the end.
    derivatives : Derivatives
        Its derivatives there.
    decrement : float
        Decrease of the criterion that a further step promises.
    n_steps, n_values : int
        Accepted steps, and evaluations of the criterion.
    converged : bool
        Whether the tests of convergence hold.
    message : str
        How the search ended.
    path : list of float
        Criterion after each step.
    start : tuple of ndarray
        Where the search began.
    """

    state: State
    derivatives: Derivatives
    decrement: float = np.inf
    n_steps: int = 0
    n_values: int = 1
    converged: bool = False
    message: str = ""
    path: list[float] = field(default_factory=list)
    start: tuple[np.ndarray, ...] = ()


def minimise(criterion: Criterion, start: Sequence[np.ndarray], *, max_iter: int, tol: float) -> Optimum:
    """Minimise the criterion.

    Parameters
    ----------
    criterion : Criterion
        The engine.
    start : sequence of ndarray
        Relative Cholesky factors to begin with.
    max_iter : int
        Most steps.
    tol : float
        Promised decrease of -2 log L below which the fit has converged.
    """
    search = _Search(criterion, start, max_iter, tol)
    search.run()
    return search.optimum


class _Search(BoundaryMoves):
    """The state of one search."""

    def __init__(self, criterion: Criterion, start: Sequence[np.ndarray], max_iter: int, tol: float):
        self.criterion, self.max_iter, self.tol = criterion, max_iter, tol
        self.parameters = criterion.parameters
        state = criterion.value(start)
        self.optimum = Optimum(state, criterion.derivatives(state), path=[state.value], start=tuple(start))
        self.radius = 1.0
        self.correction = np.zeros((self.parameters.n_parameters,) * 2)
        self.demands_exact = False

    def descend(self) -> None:
        """Step until converged, or the steps are used up."""
        at = self.optimum
        at.converged, at.message = False, "iteration limit"
        while True:
            if at.state.border.sigma2 < _NO_RESIDUAL:
                at.message = UNBOUNDED
                return
            model = self._model()
            at.decrement = float(np.sum(model.slopes**2 / model.values))
            if at.decrement <= self.tol:
                if self._turn_exact():
                    continue
                at.converged, at.message = True, "converged"
                if self.criterion.is_cheap and at.decrement > 1e-14:
                    self._polish(model.scale * (model.vectors @ (-model.slopes / model.values)))
                return
            if at.n_steps >= self.max_iter:
                return
            if at.n_steps < _SCORING_STEPS and self._score():
                continue
            if not self._step(model):
                if self._turn_exact():
                    continue
                # rounding hides the decrease that is left
                at.converged = at.decrement <= max(1e-6, 1e-11 * abs(at.state.value), self._rounding())
                is_lost = not at.converged and at.state.border.sigma2 < 1e3 * _NO_RESIDUAL
                at.message = UNBOUNDED if is_lost else "no further decrease found"
                return

    def _rounding(self) -> float:
        """Return about how much of the criterion is rounding, where effects explain nearly all of y."""
        border, gram = self.optimum.state.border, self.criterion.products.gram
        return 1e-13 * self.criterion.products.n_obs * float(gram[-1, -1]) / border.r2

    def _turn_exact(self) -> bool:
        """Ask for exact second derivatives before believing the average information; say whether that is news."""
        if self.demands_exact or self.optimum.derivatives.exact:
            return False
        self.demands_exact = True
        exact = self.criterion.exact_derivatives(self.optimum.state)
        if exact is None:
            return False
        self.optimum.derivatives = exact
        self.correction[:] = 0.0
        self.radius = 1.0
        return True

    def _polish(self, move: np.ndarray) -> None:
        """Take the last, tiny step too, without asking for derivatives again: its error is of second order."""
        at = self.optimum
        trial = self.trial(self.parameters.unpack(self.parameters.pack(at.state.factors) + move))
        if trial is not None and trial.value <= at.state.value + 1e-13 * max(abs(at.state.value), 1.0):
            at.state = trial

    def trial(self, factors: Sequence[np.ndarray]) -> State | None:
        """Evaluate the criterion, where rounding allows that."""
        self.optimum.n_values += 1
        try:
            trial = self.criterion.value(factors)
        except np.linalg.LinAlgError:
            return None
        return trial if np.isfinite(trial.value) and trial.border.sigma2 > 1e-3 * _NO_RESIDUAL else None

    def _model(self) -> LocalModel:
        """Return the second-order model: units of the free entries of T, spectrum, and slopes along eigenvectors.

        The unit of an entry is the length of its row of T, the standard deviation of its effect.
        """
        factors, derivatives = self.optimum.state.factors, self.optimum.derivatives
        lengths = [np.maximum(np.sqrt(np.einsum("ac,ac->a", T, T)), _SMALLEST_UNIT) for T in factors]
        scale = np.concatenate([length[rows] for length, rows in zip(lengths, self.parameters.rows, strict=True)])
        jacobian = self.parameters.jacobian(factors)
        gradient = jacobian.T @ self.parameters.sigma_gradient(derivatives.gradients)
        curvature = jacobian.T @ (derivatives.hessian + self.correction) @ jacobian
        curvature += self.parameters.curvature_of_square(derivatives.gradients)
        values, vectors = spectrum(curvature * np.outer(scale, scale))
        return LocalModel(scale, values, vectors, vectors.T @ (gradient * scale))

    def _score(self) -> bool:
        """Take a step of Fisher's scoring in Sigma, if it decreases the criterion: from afar it is the longest step."""
        at, parameters = self.optimum, self.parameters
        if at.derivatives.expected is None:
            return False
        gradient = parameters.sigma_gradient(at.derivatives.gradients)
        values, vectors = spectrum(at.derivatives.expected)
        factors = parameters.factors_of(
            _sigma(parameters, at.state.factors) - vectors @ ((vectors.T @ gradient) / values)
        )
        trial = self.trial(factors)
        if trial is None or not trial.value < at.state.value:
            return False
        self.accept(trial)
        return True

    def _step(self, model: LocalModel) -> bool:
        """Take one step of the trust region; say whether the criterion decreased."""
        at = self.optimum
        position = self.parameters.pack(at.state.factors)
        trial, self.radius = trust_region_step(
            model, at.state.value, self.radius, lambda move: self.trial(self.parameters.unpack(position + move))
        )
        if trial is None:
            return False
        self.accept(trial)
        return True

    def accept(self, trial: State) -> None:
        at = self.optimum
        before = at.state, at.derivatives
        at.state = trial
        exact = self.criterion.exact_derivatives(trial) if self.demands_exact else None
        at.derivatives = self.criterion.derivatives(trial) if exact is None else exact
        at.n_steps += 1
        at.path.append(trial.value)
        iteration()
        if not (at.derivatives.exact or before[1].exact):
            self._learn(*before)

    def _learn(self, state: State, derivatives: Derivatives) -> None:
        """Update what the average information lacks, so that the model explains the change of the gradient."""
        parameters, at = self.parameters, self.optimum
        sigma = [_sigma(parameters, factors) for factors in (at.state.factors, state.factors)]
        moved = sigma[0] - sigma[1]
        change = parameters.sigma_gradient(at.derivatives.gradients) - parameters.sigma_gradient(derivatives.gradients)
        middle = 0.5 * (at.derivatives.hessian + derivatives.hessian) + self.correction
        rest = change - middle @ moved
        inner = float(rest @ moved)
        if abs(inner) > 1e-8 * float(np.linalg.norm(rest) * np.linalg.norm(moved)):
            self.correction = self.correction + np.outer(rest, rest) / inner

    def sigma_gradients(self) -> list[np.ndarray]:
        """Return the derivatives by Sigma."""
        return self.optimum.derivatives.gradients

    def forget(self) -> None:
        """Forget what was learnt: a jump says nothing of second derivatives."""
        self.correction[:] = 0.0
        self.radius = 1.0

    def search_from(self, factors: Sequence[np.ndarray]) -> _Search:
        """Return the end of a search from elsewhere."""
        other = _Search(self.criterion, factors, self.max_iter, self.tol)
        other.descend()
        return other

    def adopt(self, other: _Search) -> None:
        """Take the end of another search."""
        at = self.optimum
        at.state, at.derivatives = other.optimum.state, other.optimum.derivatives
        at.n_steps += other.optimum.n_steps


def _sigma(parameters: CovarianceParameters, factors: Sequence[np.ndarray]) -> np.ndarray:
    return parameters.pack([T @ T.T for T in factors])


def without_search(state: State, parameters: CovarianceParameters, message: str) -> Optimum:
    """Return the optimum where nothing is to be searched for."""
    gradients = [np.zeros((q, q)) for q in parameters.sizes]
    none = Derivatives(gradients, np.zeros((parameters.n_parameters,) * 2), True)
    return Optimum(state, none, 0.0, converged=True, message=message, path=[state.value])
