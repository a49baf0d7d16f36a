"""The posterior density of a multilevel logistic model with one factor, random effects integrated by quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.bayes.batch_marginal import BatchMarginal
from skdep.bayes.distinct_levels import distinct_levels
from skdep.bayes.lkj import correlation_cholesky_derivatives
from skdep.bayes.prior_layout import EffectsLayout, PointLayout
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.glmm.quadrature import AdaptiveQuadrature
from skdep.glmm.rows import GlmmRows
from skdep.glmm.state import State
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["MultilevelTarget"]

# Logarithm of a standard deviation to begin at.
_START_LOG_SD = -0.5
_DIFFERENCE = 1e-5
# Logarithm of a standard deviation beyond which nothing can be computed.
_LARGEST_LOG_SD = 15.0


class MultilevelTarget:
    """Marginal likelihood times prior, over points of coefficients, log standard deviations and correlations.

    Parameters
    ----------
    rows : GlmmRows
        The data, with one factor.
    prior : PriorSpec
        The prior density of points.
    layout : PointLayout
        What is where in a point.
    n_nodes : int
        Quadrature nodes per dimension.
    """

    def __init__(self, rows: GlmmRows, prior: Any, layout: PointLayout, n_nodes: int):
        self.all_rows, self.prior, self.layout, self.n_nodes = rows, prior, layout, n_nodes
        distinct = distinct_levels(rows)
        self.rows = rows if distinct is None else distinct[0]
        (self.effects,) = layout.random
        q = self.effects.q
        parameters = CovarianceParameters((q,), False)
        laplace = OneFactorLaplace(self.rows, parameters)
        self.engine: Any = laplace
        if n_nodes > 1:
            self.engine = AdaptiveQuadrature(self.rows, parameters, n_nodes, laplace=laplace)
        self._batch: BatchMarginal | None = None
        self._state: State | None = None

    def with_nodes(self, n_nodes: int) -> MultilevelTarget:
        """Return the same with another number of nodes."""
        other = MultilevelTarget(self.all_rows, self.prior, self.layout, n_nodes)
        other._state = self._state
        return other

    def prepare(self, point: np.ndarray) -> None:
        """Begin searches for modes of random effects at those of a point from now on."""
        self._state = self._evaluate(point)
        self._batch = BatchMarginal(self.rows, self.n_nodes, self._state.modes[0])

    def log_likelihood(self, points: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods (n,) at points (n, P)."""
        if self._batch is None:
            self.prepare(points[0])
        assert self._batch is not None
        return self._batch.log_likelihood(points[:, : self.layout.n_coefficients], self.effects.cholesky(points))

    def draw_effects(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw random effects (n, n_levels, q), in working columns, at points (n, P)."""
        k, zeros = self.layout.n_coefficients, np.zeros((self.effects.q, self.all_rows.terms[0].n_levels))
        batch = BatchMarginal(self.all_rows, 1, zeros)
        return batch.draw_effects(points[:, :k], self.effects.cholesky(points), rng)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the log densities (n,) at points (n, P)."""
        return self.log_likelihood(points) + self.prior.log_density(points)

    def log_density_pairs(self, centre: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log densities (n,) at centre + moves and at centre - moves."""
        both = self.log_density(np.vstack([centre + moves, centre - moves]))
        return both[: len(moves)], both[len(moves) :]

    def start(self) -> np.ndarray:
        """Return a point to begin a search for the mode at."""
        point = np.zeros(self.layout.n_points)
        point[self.effects.log_sd] = _START_LOG_SD
        return point

    def _evaluate(self, point: np.ndarray) -> State:
        if point[self.effects.log_sd].max() > _LARGEST_LOG_SD:
            raise np.linalg.LinAlgError("standard deviations of random effects are too large for floating point")
        beta, T = point[: self.layout.n_coefficients], self.effects.cholesky(point)
        return self.engine.value(beta, [T], self._state)

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log-likelihood and its gradient (P,)."""
        state = self._evaluate(point)
        if self._state is None:
            self._state = state
        gradient = self.engine.gradient(state)
        by_T = gradient.factors[0]
        moved = [float(np.sum(by_T * part)) for part in factor_derivatives(self.effects, point)]
        return -state.value, -np.concatenate([gradient.beta, moved])

    def log_likelihood_derivatives(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-likelihood, its gradient (P,) and minus its second derivative (P, P), by differences."""
        value, gradient = self.value_and_gradient(point)
        information = np.empty((len(point), len(point)))
        for k in range(len(point)):
            moved = point.copy()
            moved[k] += _DIFFERENCE
            information[:, k] = (gradient - self.value_and_gradient(moved)[1]) / (moved[k] - point[k])
        return value, gradient, 0.5 * (information + information.T)


def factor_derivatives(effects: EffectsLayout, point: np.ndarray) -> list[np.ndarray]:
    """Return the derivatives of T (q, q) by each log standard deviation, then by each correlation parameter.

    Parameters
    ----------
    effects : EffectsLayout
        The factor.
    point : ndarray of shape (P,)
        Where.
    """
    T, q = effects.cholesky(point), effects.q
    by_sd = []
    for a in range(q):
        part = np.zeros_like(T)
        part[a] = T[a]
        by_sd.append(part)
    if not effects.correlated:
        return by_sd
    by_entry = (
        correlation_cholesky_derivatives(point[effects.correlation], q) * np.exp(point[effects.log_sd])[:, None, None]
    )
    return by_sd + [by_entry[..., k] for k in range(by_entry.shape[-1])]
