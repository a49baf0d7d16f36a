"""The posterior density of a multilevel logistic model with one factor, random effects integrated by quadrature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skdep.bayes.batch_marginal import BatchMarginal
from skdep.bayes.distinct_levels import distinct_levels, pick_levels
from skdep.bayes.linearised import Linearised
from skdep.bayes.lkj import correlation_cholesky_derivatives
from skdep.bayes.mode import PosteriorMode
from skdep.bayes.prior_layout import EffectsLayout, PointLayout
from skdep.bayes.scale_coordinates import ScaleCoordinates, first_coordinates
from skdep.bayes.single_rows import SingleRows, split_levels
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.glmm.quadrature import AdaptiveQuadrature
from skdep.glmm.rows import GlmmRows
from skdep.glmm.state import State
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["MultilevelTarget"]

# Logarithm of a standard deviation to begin at.
_START_LOG_SD = -0.5
# Steps of one-sided and of symmetric differences of gradients.
_DIFFERENCE, _HALF_DIFFERENCE = 1e-5, 1e-3
# Logarithm of a standard deviation beyond which nothing can be computed.
_LARGEST_LOG_SD = 15.0
# Rows times nodes times pairs to compute at a time, and bounds of the number of pairs.
_PAIR_FLOATS, _LEAST_PAIRS, _MOST_PAIRS = 1 << 23, 128, 4096
# Levels that coordinates are made from: so many that this many products of their columns are summed for a draw.
_LEAST_LEVELS, _MOST_PRODUCTS = 100, 30_000


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
        singles, self._others, self._kept = split_levels(self.rows)
        self._singles = None if singles is None else SingleRows(singles)
        self._batch: BatchMarginal | None = None
        self._near: Linearised | None = None
        self._state: State | None = None

    def with_nodes(self, n_nodes: int) -> MultilevelTarget:
        """Return the same with another number of nodes."""
        other = MultilevelTarget(self.all_rows, self.prior, self.layout, n_nodes)
        other._state = self._state
        return other

    @property
    def pairs_at_once(self) -> int:
        """Pairs to compute at a time: enough to be quick, and few enough for progress to be told of."""
        cost = self.rows.n_rows * self.n_nodes**self.effects.q
        return int(np.clip(_PAIR_FLOATS // cost, _LEAST_PAIRS, _MOST_PAIRS))

    def prepare(self, point: np.ndarray) -> None:
        """Begin searches for modes of random effects at those of a point from now on."""
        self._state = self._evaluate(point)
        self._near = self._linearised(self.rows, np.arange(self.rows.terms[0].n_levels))
        self._batch = None if self._others is None else self._marginal(self._others, self._kept)

    def _linearised(self, rows: GlmmRows, kept: np.ndarray) -> Linearised:
        """Return the model of the rows of some levels made linear at the point that was prepared for."""
        assert self._state is not None
        return Linearised(rows, self._state.beta, self._state.factors[0] @ self._state.modes[0][:, kept])

    def _marginal(self, rows: GlmmRows, kept: np.ndarray) -> BatchMarginal:
        """Return what integrates the effects of some levels, near the point that was prepared for."""
        assert self._state is not None
        return BatchMarginal(rows, self.n_nodes, self._state.modes[0][:, kept], self._linearised(rows, kept))

    def coordinates(self, mode: PosteriorMode) -> tuple[ScaleCoordinates, np.ndarray, np.ndarray]:
        """Return coordinates about a mode that was prepared for, and about the posterior's moments in them."""
        assert self._near is not None
        q, k, n_levels = self.effects.q, self.layout.n_coefficients, self.rows.terms[0].n_levels
        n_kept, near = max(_LEAST_LEVELS, _MOST_PRODUCTS // (q * k) ** 2), self._near
        if n_kept < n_levels:
            # coordinates need not be exact: some of the levels stand for all
            kept = np.linspace(0, n_levels - 1, n_kept).astype(int)
            counts = np.ones(n_levels) if self.rows.level_weights is None else self.rows.level_weights
            weights = counts[kept] * (counts.sum() / counts[kept].sum())
            near = self._linearised(replace(pick_levels(self.rows, kept), level_weights=weights), kept)
        return first_coordinates(self, near, mode)

    def log_likelihood(self, points: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods (n,) at points (n, P)."""
        if self._near is None:
            self.prepare(points[0])
        beta, factors = self._parameters(points)
        total = np.zeros(len(points))
        for part in (self._singles, self._batch):
            if part is not None:
                total += part.log_likelihood(beta, factors)
        return total

    def log_likelihood_by_nodes(self, points: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods (n,) at points (n, P), those of levels of one row by quadrature as well."""
        if self._singles is None:
            return self.log_likelihood(points)
        if self._near is None:
            self.prepare(points[0])
        everything = self._marginal(self.rows, np.arange(self.rows.terms[0].n_levels))
        return everything.log_likelihood(*self._parameters(points))

    def _parameters(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (..., k) and factors (..., q, q) at points (..., P)."""
        return points[..., : self.layout.n_coefficients], self.effects.cholesky(points)

    def draw_effects(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw random effects (n, n_levels, q), in working columns, at points (n, P)."""
        beta, factors = self._parameters(points)
        zeros = np.zeros((self.effects.q, self.all_rows.terms[0].n_levels))
        near = Linearised(self.all_rows, beta.mean(axis=0), zeros)
        return BatchMarginal(self.all_rows, 1, zeros, near).draw_effects(beta, factors, rng)

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
        beta, T = self._parameters(point)
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

    def information(self, point: np.ndarray) -> np.ndarray:
        """Return minus the second derivative (P, P) of the log-likelihood, by symmetric differences."""
        moves = _HALF_DIFFERENCE * np.eye(len(point))
        rows = [self.value_and_gradient(point - move)[1] - self.value_and_gradient(point + move)[1] for move in moves]
        information = np.array(rows) / (2.0 * _HALF_DIFFERENCE)
        return 0.5 * (information + information.T)


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
