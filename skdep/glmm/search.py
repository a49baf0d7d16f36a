r"""Newton's method for the marginal likelihood, jointly over fixed effects and covariance factors T.

Steps minimise a second-order model with eigenvalues taken by size, within a trust region measured in units of the
linear predictor. Where an engine has no exact second derivative, the model is its approximation corrected by the
gradients seen (symmetric rank-one updates); before such a fit counts as converged, gradients are differenced, and the
model with that second derivative must promise no decrease either.

References
----------
Nocedal and Wright (2006), Numerical Optimization, 2nd ed., chapters 4 (trust regions) and 6.2 (rank-one updates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from skdep._progress import iteration
from skdep.glmm.differences import hessian_by_differences
from skdep.glmm.state import Criterion, Gradient, State
from skdep.mixed.boundary_moves import BoundaryMoves
from skdep.mixed.trust_region import LocalModel, spectrum, trust_region_step

__all__ = ["UNBOUNDED", "JointOptimum", "JointSearch"]

# How a search ends for which the likelihood has no maximum.
UNBOUNDED = "a variance of random effects grows without bound"
# Standard deviation of random effects, in log odds, that no data support.
_LARGEST_EFFECT = 100.0
_SMALLEST_UNIT = 0.1
# Squared distance, in standard errors, from where second derivatives were differenced that asks for new ones.
_FAR = 1e-4
# Squared length of a step, in standard errors, below which the change of the gradient is rounding.
_ROUNDING = 1e-10
# Steps with an approximate second derivative after which differences are worth their time.
_MANY_STEPS = 10


@dataclass
class JointOptimum:
    """Where a search ended.

    Parameters
    ----------
    state : State
        Criterion at the end.
    gradient : Gradient
        Its derivative there.
    hessian : ndarray of shape (p + K, p + K)
        Its second derivative there, or at the last step before, by beta and the free entries of T.
    exact : bool
        Whether that is exact (or differenced from exact gradients), or an approximation.
    decrement : float
        Decrease of -2 log L that a further step promises.
    n_steps, n_values : int
        Accepted steps, and evaluations of the criterion.
    converged : bool
        Whether the tests of convergence hold.
    message : str
        How the search ended.
    path : list of float
        Criterion after each step.
    """

    state: State
    gradient: Gradient
    hessian: np.ndarray
    exact: bool
    decrement: float = np.inf
    n_steps: int = 0
    n_values: int = 1
    converged: bool = False
    message: str = ""
    path: list[float] = field(default_factory=list)


class JointSearch(BoundaryMoves):
    """A search from some parameters.

    Parameters
    ----------
    criterion : Criterion
        The engine.
    start : State
        Where to begin.
    units : ndarray of shape (p,)
        Size of a step of each fixed effect that moves the linear predictor by about one.
    max_iter : int
        Most steps.
    tol : float
        Promised decrease of -2 log L below which the fit has converged.
    """

    def __init__(self, criterion: Criterion, start: State, units: np.ndarray, *, max_iter: int, tol: float):
        self.criterion, self.units, self.max_iter, self.tol = criterion, units, max_iter, tol
        self.parameters = criterion.parameters
        n_params = len(units) + self.parameters.n_parameters
        self.radius, self.correction = 1.0, np.zeros((n_params, n_params))
        self._differenced: np.ndarray | None = None
        self._differenced_at = np.zeros(0)
        self._n_approximate = 0
        gradient = criterion.gradient(start)
        self.optimum = JointOptimum(start, gradient, self.correction, False, path=[start.value])
        self._differentiate()

    def _differentiate(self) -> None:
        """Set the second derivative of the model at the present state."""
        at = self.optimum
        exact = self.criterion.hessian(at.state)
        at.exact = exact is not None
        if exact is None:
            exact = (self.criterion.curvature(at.state) if self._differenced is None else self._differenced).copy()
            exact += self.correction
        at.hessian = exact

    def position(self, state: State) -> np.ndarray:
        """Return the parameters (p + K,) of a state."""
        return np.concatenate([state.beta, self.parameters.pack(state.factors)])

    def run(self) -> None:
        """Search, and see to it that the second derivative is that at the end."""
        super().run()
        at = self.optimum
        if at.converged and not at.exact:
            self._difference()
            if self._differenced is not None:
                at.hessian = self._differenced

    def descend(self) -> None:
        """Step until converged, or the steps are used up."""
        at = self.optimum
        at.converged, at.message = False, "iteration limit"
        while True:
            if max(float(np.sqrt(np.sum(T**2, axis=1).max())) for T in at.state.factors) > _LARGEST_EFFECT:
                at.message = UNBOUNDED
                return
            model = self._model()
            at.decrement = float(np.sum(model.slopes**2 / model.values))
            if at.decrement <= self.tol:
                if self._difference():
                    continue
                at.converged, at.message = True, "converged"
                self._polish(model.scale * (model.vectors @ (-model.slopes / model.values)))
                return
            if at.n_steps >= self.max_iter:
                return
            if self._n_approximate >= _MANY_STEPS and self._difference():
                continue
            if not self._step(model):
                if self._difference():
                    continue
                # rounding hides the decrease that is left
                at.converged = at.decrement <= max(1e-6, 1e-11 * abs(at.state.value))
                at.message = "no further decrease found"
                return

    def _difference(self) -> bool:
        """Difference gradients before believing an approximate second derivative; say whether that is news."""
        at = self.optimum
        if at.exact:
            return False
        if self._differenced is not None:
            scale = self._model().scale
            values, vectors = spectrum(self._differenced * np.outer(scale, scale))
            moved = vectors.T @ ((self.position(at.state) - self._differenced_at) / scale)
            if float(moved @ (values * moved)) <= _FAR:
                return False
        scale, gradient = (
            self._model().scale,
            self.criterion.gradient(at.state),
        )  # a last step may have left at.gradient
        self._differenced = hessian_by_differences(self.criterion, at.state, gradient, at.hessian, scale)
        self._differenced_at = self.position(at.state)
        at.n_values += len(self._differenced)
        self._n_approximate = 0
        self.forget()
        self._differentiate()
        return True

    def _polish(self, move: np.ndarray) -> None:
        """Take the last, tiny step too, without asking for derivatives again: its error is of second order."""
        at = self.optimum
        if at.decrement <= 1e-14:
            return
        trial = self._at(self.position(at.state) + move)
        if trial is not None and trial.value <= at.state.value + 1e-13 * max(abs(at.state.value), 1.0):
            at.state = trial

    def _at(self, position: np.ndarray) -> State | None:
        p = len(self.units)
        return self._evaluate(position[:p], self.parameters.unpack(position[p:]))

    def trial(self, factors: Sequence[np.ndarray]) -> State | None:
        """Evaluate the criterion at other factors."""
        return self._evaluate(self.optimum.state.beta, factors)

    def _evaluate(self, beta: np.ndarray, factors: Sequence[np.ndarray]) -> State | None:
        """Evaluate the criterion, where rounding allows that."""
        self.optimum.n_values += 1
        try:
            trial = self.criterion.value(beta, factors, self.optimum.state)
        except np.linalg.LinAlgError:
            return None
        return trial if np.isfinite(trial.value) else None

    def _model(self) -> LocalModel:
        """Return the second-order model: units of the parameters, spectrum, and slopes along eigenvectors."""
        at = self.optimum
        lengths = [np.maximum(np.sqrt(np.sum(T**2, axis=1)), _SMALLEST_UNIT) for T in at.state.factors]
        of_factors = [length[rows] for length, rows in zip(lengths, self.parameters.rows, strict=True)]
        scale = np.concatenate([self.units, *of_factors])
        values, vectors = spectrum(at.hessian * np.outer(scale, scale))
        return LocalModel(scale, values, vectors, vectors.T @ (at.gradient.packed(self.parameters) * scale))

    def _step(self, model: LocalModel) -> bool:
        """Take one step of the trust region; say whether the criterion decreased."""
        at = self.optimum
        position = self.position(at.state)
        trial, self.radius = trust_region_step(
            model, at.state.value, self.radius, lambda move: self._at(position + move)
        )
        if trial is None:
            return False
        self.accept(trial)
        return True

    def accept(self, trial: State) -> None:
        """Go to a state, and differentiate there."""
        at = self.optimum
        before = self.position(at.state), at.gradient.packed(self.parameters), at.hessian
        at.state, at.gradient = trial, self.criterion.gradient(trial)
        at.n_steps += 1
        self._n_approximate += not at.exact
        at.path.append(trial.value)
        iteration()
        self._differentiate()
        if not at.exact:
            self._learn(*before)

    def _learn(self, position: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> None:
        """Correct the second derivative so that the model explains the change of the gradient."""
        at = self.optimum
        moved = self.position(at.state) - position
        middle = 0.5 * (at.hessian + hessian)
        rest = at.gradient.packed(self.parameters) - gradient - middle @ moved
        inner = float(rest @ moved)
        size = float(np.linalg.norm(rest) * np.linalg.norm(moved))
        if abs(float(moved @ middle @ moved)) > _ROUNDING and abs(inner) > 1e-8 * size:
            update = np.outer(rest, rest) / inner
            self.correction += update
            at.hessian = at.hessian + update

    def sigma_gradients(self) -> list[np.ndarray]:
        """Return the derivatives by Sigma."""
        return self.optimum.gradient.sigma

    def forget(self) -> None:
        """Forget what was learnt: a jump says nothing of second derivatives."""
        self.correction[:] = 0.0
        self.radius = 1.0

    def search_from(self, factors: Sequence[np.ndarray]) -> JointSearch:
        """Return the end of a search from other factors."""
        start = self.criterion.value(self.optimum.state.beta, factors, self.optimum.state)
        other = JointSearch(self.criterion, start, self.units, max_iter=self.max_iter, tol=self.tol)
        other.descend()
        return other

    def adopt(self, other: JointSearch) -> None:
        """Take the end of another search."""
        at, end = self.optimum, other.optimum
        at.state, at.gradient, at.hessian, at.exact = end.state, end.gradient, end.hessian, end.exact
        at.n_steps += end.n_steps
        self._differenced, self._differenced_at = other._differenced, other._differenced_at
        self.forget()
