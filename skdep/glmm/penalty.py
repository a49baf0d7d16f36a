r"""A weak penalty that keeps estimates finite: normal priors of fixed effects and standard deviations.

In working coordinates, where columns have about unit size, half of ridge times (sum over slopes of (beta_k s_k)^2 + sum
of tr(Sigma)) is added to the criterion: slopes a priori normal with standard deviation ridge^-1/2 per standard
deviation of their feature, standard deviations of random effects half-normal. Both terms are quadratic in the
parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from skdep.glmm.state import Criterion, Gradient, State

__all__ = ["Penalised"]


class Penalised:
    """An engine with a penalty.

    Parameters
    ----------
    inner : Criterion
        The engine.
    fixed_ridge : ndarray of shape (p, p)
        Curvature of the penalty on fixed effects.
    ridge : float
        Curvature of the penalty on entries of T.
    """

    def __init__(self, inner: Criterion, fixed_ridge: np.ndarray, ridge: float):
        self.inner, self.rows, self.parameters = inner, inner.rows, inner.parameters
        self.fixed_ridge, self.ridge = fixed_ridge, ridge
        self._curvature = linalg.block_diag(fixed_ridge, ridge * np.eye(inner.parameters.n_parameters))

    def value(self, beta: np.ndarray, factors: Sequence[np.ndarray], start: State | None = None) -> State:
        """Evaluate the penalised criterion."""
        state = self.inner.value(beta, factors, start)
        return State(state.beta, state.factors, state.value + self.penalty(state), state.modes, state.work)

    def penalty(self, state: State) -> float:
        """Return the penalty."""
        squares = sum(float(np.sum(T**2)) for T in state.factors)
        return 0.5 * float(state.beta @ self.fixed_ridge @ state.beta) + 0.5 * self.ridge * squares

    def gradient(self, state: State) -> Gradient:
        """Differentiate it."""
        plain = self.inner.gradient(state)
        return Gradient(
            plain.beta + self.fixed_ridge @ state.beta,
            [part + self.ridge * T for part, T in zip(plain.factors, state.factors, strict=True)],
            [part + 0.5 * self.ridge * np.eye(len(part)) for part in plain.sigma],
        )

    def hessian(self, state: State) -> np.ndarray | None:
        """Return the second derivative."""
        plain = self.inner.hessian(state)
        return None if plain is None else plain + self._curvature

    def curvature(self, state: State) -> np.ndarray:
        """Return an approximation of the second derivative."""
        return self.inner.curvature(state) + self._curvature

    def scores(self, state: State, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Return the likelihood's part of the gradient by cluster."""
        return self.inner.scores(state, clusters, n_clusters)

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of b of each level."""
        return self.inner.conditional_variances(state)
