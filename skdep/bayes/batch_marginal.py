r"""The marginal likelihood of many parameters at once, random effects of one factor integrated by adaptive quadrature.

All arrays carry the draws as their last axis. A pass over the rows is a product of sparse and dense matrices, for all
draws of a batch; loops run over nodes and over entries of q x q matrices.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from skdep._threads import threads_over_blocks
from skdep.bayes.linearised import Linearised, root_of
from skdep.glmm.modes import LevelData, solve_factored, solve_upper
from skdep.glmm.nodes import hermite_rule
from skdep.glmm.rows import GlmmRows
from skdep.glmm.sorted_levels import RunSums

__all__ = ["BatchMarginal"]

# Rows times draws of a batch: a few arrays of that size stay in cache.
_BATCH_FLOATS = 1 << 17
_MOST_STEPS = 30
# Decrement of a mode, in standard deviations, that quadrature does not feel.
_CLOSE = 1e-3
# Steps of the chains that draw random effects, and degrees of freedom of their proposals.
_EFFECT_STEPS, _EFFECT_DF = 8, 8.0


class BatchMarginal:
    """Log-likelihoods of a model with one grouping factor, at many parameters.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    n_nodes : int
        Quadrature nodes per dimension.
    modes : ndarray of shape (q, n_levels)
        Modes of the spherical effects to start from, where nothing is known of them.
    near : Linearised or None, default=None
        The model made linear near the parameters: where its modes are is a better start.
    """

    def __init__(self, rows: GlmmRows, n_nodes: int, modes: np.ndarray, near: Linearised | None = None):
        self.rows, self.data, self.modes, self.near = rows, LevelData(rows), modes, near
        self.rule = hermite_rule(n_nodes, self.data.q)

    def log_likelihood(self, beta: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods (D,) at fixed effects beta (D, p) and factors T (D, q, q)."""
        n_draws = len(beta)
        result = np.empty(n_draws)
        step = int(np.clip(_BATCH_FLOATS // self.rows.n_rows, 1, n_draws))

        def block(begin: int) -> None:
            draws = slice(begin, begin + step)
            result[draws] = self._block(beta[draws], np.ascontiguousarray(factors[draws].transpose(1, 2, 0)))

        with threads_over_blocks(self.rows.n_rows * n_draws * self.rule.n_nodes) as run:
            list(run(block, range(0, n_draws, step)))
        return result

    def draw_effects(self, beta: np.ndarray, factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw random effects b = T u (D, n_levels, q) given fixed effects beta (D, p) and factors T (D, q, q).

        A level's effects given the parameters are a q-dimensional distribution of their own: a few steps of an
        independence chain, from a t distribution at its mode, all levels and draws at once.
        """
        n_draws, data = len(beta), self.data
        result = np.empty((n_draws, data.levels.n_levels, data.q))
        step = int(np.clip(_BATCH_FLOATS // self.rows.n_rows, 1, n_draws))
        begins = range(0, n_draws, step)

        def block(begin: int, source: np.random.Generator) -> None:
            draws = slice(begin, begin + step)
            T = np.ascontiguousarray(factors[draws].transpose(1, 2, 0))
            result[draws] = self._draw_block(beta[draws], T, source).transpose(2, 1, 0)

        # a source of randomness for each block: the draws do not depend on the number of threads
        with threads_over_blocks(self.rows.n_rows * n_draws * _EFFECT_STEPS) as run:
            list(run(block, begins, rng.spawn(len(begins))))
        return result

    def _draw_block(self, beta: np.ndarray, T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return effects b (q, n_levels, D) of one batch."""
        fixed, add_up = self._fixed(beta), self.data.levels.adder(slice(0, self.data.levels.n_levels))
        mode, root = self._find_modes(fixed, T, add_up, beta)
        shape, q = mode.shape[1:], self.data.q
        log_t = sum(np.log(root[a, a]) for a in range(q)) + gammaln(0.5 * (_EFFECT_DF + q)) - gammaln(0.5 * _EFFECT_DF)
        log_t = log_t - 0.5 * q * np.log(0.5 * _EFFECT_DF)  # both densities over (2 pi)^(-q/2)
        at, log_weight = mode, np.full(shape, -np.inf)
        for _ in range(_EFFECT_STEPS):
            normal = rng.standard_normal(mode.shape)
            moved = mode + solve_upper(root, normal / np.sqrt(rng.chisquare(_EFFECT_DF, size=shape) / _EFFECT_DF))
            # half from the effects' own normal: a level without failures only cuts off one side of it
            proposed = np.where(rng.uniform(size=shape) < 0.5, normal, moved)
            away = proposed - mode
            white = np.array([sum(root[c, a] * away[c] for c in range(a, q)) for a in range(q)])
            near = log_t - 0.5 * (_EFFECT_DF + q) * np.log1p(np.einsum("a...,a...->...", white, white) / _EFFECT_DF)
            wide = -0.5 * np.einsum("a...,a...->...", proposed, proposed)
            trial = self._psi(fixed, T, proposed, add_up) - np.logaddexp(near, wide)
            accepted = trial + rng.exponential(size=shape) > log_weight
            at, log_weight = np.where(accepted, proposed, at), np.where(accepted, trial, log_weight)
        return self._effects(T, at)

    def _fixed(self, beta: np.ndarray) -> np.ndarray:
        """Return the linear predictors without random effects (n_rows, D)."""
        fixed = np.dot(self.rows.fixed, beta.T)
        if self.rows.offset is not None:
            fixed += self.rows.offset[:, None]
        return fixed

    def _block(self, beta: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods of one batch, T being (q, q, D)."""
        data, rows, fixed = self.data, self.rows, self._fixed(beta)
        # a sum of its own for each thread: it holds its weights
        add_up = data.levels.adder(slice(0, data.levels.n_levels))
        u, root = self._find_modes(fixed, T, add_up, beta)
        q = data.q
        log_det = sum(np.log(root[a, a]) for a in range(q))
        logs = []
        for k in range(self.rule.n_nodes):
            node = np.broadcast_to(self.rule.nodes[:, k, None, None], u.shape)
            at = u + solve_upper(root, node)
            logs.append(self.rule.log_weights[k] + self._psi(fixed, T, at, add_up))
        stacked = np.array(logs)
        largest = stacked.max(axis=0)
        by_level = largest + np.log(np.exp(stacked - largest).sum(axis=0)) - log_det
        total = by_level.sum(axis=0) if rows.level_weights is None else rows.level_weights @ by_level
        linear = rows.outcome if rows.level_weights is None else rows.outcome * rows.level_weights[data.levels.codes]
        return total + linear @ fixed

    def _effects(self, T: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return b = T u (q, n_levels, D)."""
        return np.array([sum(T[a, c] * u[c] for c in range(a + 1)) for a in range(len(T))])

    def _predictor(self, fixed: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the linear predictors (n_rows, D)."""
        data = self.data
        eta = np.take(b[0], data.levels.codes, axis=0)
        if not data.is_constant:
            eta *= data.Z[0, :, None]
            for a in range(1, data.q):
                eta += np.take(b[a], data.levels.codes, axis=0) * data.Z[a, :, None]
        eta += fixed
        return eta

    def _psi(self, fixed: np.ndarray, T: np.ndarray, u: np.ndarray, add_up: RunSums) -> np.ndarray:
        """Return psi (n_levels, D) but for s'(X beta + offset)."""
        b = self._effects(T, u)
        kappa = self.rows.family.derivatives(self._predictor(fixed, b), 0)[0]
        result = -add_up(self.rows.weight, kappa)
        for a in range(self.data.q):
            result += b[a] * self.data.outcome_sums[a, :, None] - 0.5 * u[a] ** 2
        return result

    def _find_modes(
        self, fixed: np.ndarray, T: np.ndarray, add_up: RunSums, beta: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return about the modes (q, n_levels, D), and the factor of minus the second derivative there."""
        data, q = self.data, self.data.q
        u = self._start(T) if beta is None or self.near is None else self.near.modes(beta, T)
        guard = _Guard(u)
        for _ in range(_MOST_STEPS):
            _, mean, variance = self.rows.family.derivatives(self._predictor(fixed, self._effects(T, u)), 2)
            e = np.array([data.outcome_sums[a, :, None] - add_up(data.weighted[a], mean) for a in range(q)])
            gradient = np.array([sum(T[c, a] * e[c] for c in range(a, q)) for a in range(q)]) - u
            root = self._root(T, variance, add_up)
            newton = solve_factored(root, gradient)
            squared = np.einsum("a...,a...->...", gradient, newton)
            largest = float(squared.max(initial=0.0))
            if largest <= _CLOSE**2:
                return u + newton, root
            u = u + guard.step(newton, squared, gradient, largest)
        return u, root

    def _start(self, T: np.ndarray) -> np.ndarray:
        return np.repeat(self.modes[:, :, None], T.shape[-1], axis=2)

    def _root(self, T: np.ndarray, variance: np.ndarray, add_up: RunSums) -> np.ndarray:
        """Return the Cholesky factors of I + T'AT (q, q, n_levels, D)."""
        data, q = self.data, self.data.q
        A = np.empty((q, q, data.levels.n_levels, variance.shape[1]))
        for (a, c), weights in zip(data.pairs, data.products, strict=True):
            A[a, c] = A[c, a] = add_up(weights, variance)
        return root_of(T, A)


class _Guard:
    """Keeps long Newton steps from going too far, and back and forth.

    Parameters
    ----------
    u : ndarray of shape (q, n_levels, D)
        Where steps begin.
    """

    def __init__(self, u: np.ndarray):
        self._last, self._rise = np.zeros_like(u), np.zeros(u.shape[1:])
        self._longest = np.full(u.shape[1:], np.inf)

    def step(self, newton: np.ndarray, squared: np.ndarray, gradient: np.ndarray, largest: float) -> np.ndarray:
        """Return the steps to take in place of Newton's, whose squared decrements are given, and the largest of them.

        A step is no longer than a standard deviation. psi is concave: a slope against the last step, half as steep as
        that along it was, says that it went too far. A straight line between the two slopes then says about where it
        should have ended, and no later step is longer than half of it.
        """
        if largest < 1.0:
            self._rise.fill(0.0)
            self._last = newton
            return newton
        length = 1.0 / np.maximum(np.sqrt(squared), 1.0)
        length = np.minimum(length, self._longest / np.maximum(_norm(newton), np.finfo(float).tiny))
        slope = np.einsum("a...,a...->...", gradient, self._last)
        too_far = (slope < -0.5 * self._rise) & (self._rise > 0.0)
        share = np.clip(self._rise / np.where(too_far, self._rise - slope, 1.0), 0.1, 0.9)
        step = np.where(too_far, (share - 1.0) * self._last, length * newton)
        self._longest = np.where(too_far, 0.5 * _norm(self._last), self._longest)
        self._last, self._rise = step, np.einsum("a...,a...->...", gradient, step)
        return step


def _norm(u: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("a...,a...->...", u, u))
