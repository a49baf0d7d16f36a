r"""Exact second derivative of adaptive quadrature with one random effect a level, by beta and tau, T = [[tau]].

With b = tau u, superscripts for derivatives along parameters (x_a stands for 0 along tau, delta_a for 1 there, else
0), a hat for the mode, and s = M^-1/2, nodes u_k = u^ + s t_k move by

    u^a = (delta_a (e - tau A u) - tau Z'W x_a) / M,   M^a = 2 tau delta_a A + tau^2 A^a,   s^a = -M^-3/2 M^a / 2,

and psi_k^a = sum_i d_ik x_ia + e_k b_k^a - u_k u_k^a. The second derivative of log sum_k omega_k exp(psi_k) is the
covariance over nodes of psi^a and psi^b, plus the mean of psi^ab. In that, u^ab and M^ab enter linearly: their
coefficients are known by level, so that their sums over rows, of W''' and W'''' times products of x_i and z_i, are
taken with those coefficients as row weights, and no array of levels times pairs of parameters is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.glmm.state import State

__all__ = ["exact_hessian"]


def exact_hessian(engine: Any, state: State) -> np.ndarray:
    """Return the second derivative (p + 1, p + 1) of the criterion.

    Parameters
    ----------
    engine : AdaptiveQuadrature
        The criterion, of a model with one random effect a level.
    state : State
        Where.
    """
    mode = _AtMode(engine, state)
    fixed = state.work["fixed"]

    def block(levels: slice) -> np.ndarray:
        return _of_block(engine, state, mode, levels, fixed)

    total = np.sum(engine.over_blocks(block), axis=0) + mode.movement()
    return -0.5 * (total + total.T)


class _AtMode:
    """Derivatives at the mode by level: arrays (n_levels, P), P = p + 1, tau last."""

    def __init__(self, engine: Any, state: State):
        data, rows, modes = engine.data, engine.rows, state.work["modes"]
        parts, sums = engine.forces(state), state.work["sums"]
        levels, Z = data.levels, data.Z[0]
        self.engine, self.tau = engine, float(state.factors[0][0, 0])
        tau, u, e, A = self.tau, modes.u[0], modes.residual_sums[0], modes.precision[0, 0]
        self.M = M = modes.root[0, 0] ** 2
        third, fourth = parts["third"], rows.weight * modes.cumulants[4]
        with_x = levels.weighted(rows.weight * modes.cumulants[2] * Z) @ rows.fixed
        self.u = -(tau / M)[:, None] * with_x
        self.u = np.column_stack([self.u, (e - tau * A * u) / M])
        self.b = tau * self.u
        self.b[:, -1] += u
        self.e = -A[:, None] * self.b
        self.e[:, :-1] -= with_x
        cubes = levels.sum(third * Z**3)
        self.A = cubes[:, None] * self.b
        self.A[:, :-1] += levels.weighted(third * Z**2) @ rows.fixed
        self.M_by = tau**2 * self.A
        self.M_by[:, -1] += 2.0 * tau * A
        self.s = -0.5 * M[:, None] ** -1.5 * self.M_by
        # coefficients of M^ab, of M^a M^b and of u^ab; Q holds M^-1/2 times the mean of t_k y_k
        Q = parts["Q"][0, 0]
        self.on_M = -0.5 * (1.0 + Q) / M
        self.on_squares = (0.5 + 0.75 * Q) / M**2
        self.on_u = parts["mean"][0] + self.on_M * tau**3 * cubes
        self.node_cross = np.einsum("lk,lk->l", sums.probability, sums.residual_sums[0])
        self.node_cross_t = np.einsum("lk,lk,k->l", sums.probability, sums.residual_sums[0], engine.rule.nodes[0])
        weight = levels.spread(-self.on_u * tau / M) * third * Z + levels.spread(self.on_M * tau**2) * fourth * Z**2
        self.row_weight = weight
        self._row_sums = levels.weighted(weight * Z) @ rows.fixed, levels.sum(weight * Z**2)
        self._precision, self._cubes = A, cubes

    def movement(self) -> np.ndarray:
        """Return what second derivatives of mode and scale add, but for the rows' own X' diag(row_weight) X."""
        tau, M, A = self.tau, self.M, self._precision
        with_x, squares = self._row_sums
        weigh = self.engine.laplace.weighted
        result = (self.M_by * weigh(self.on_squares)[:, None]).T @ self.M_by
        result += (self.b * weigh(squares)[:, None]).T @ self.b
        crossed = weigh(with_x.T) @ self.b
        result[:-1] += crossed
        result[:, :-1] += crossed.T
        along_tau = (self.on_u / M)[:, None] * (self.e - (tau * A)[:, None] * self.u)
        along_tau += self.on_M[:, None] * ((tau**2 * self._cubes)[:, None] * self.u + 2.0 * tau * self.A)
        along_tau += self.node_cross[:, None] * self.u + self.node_cross_t[:, None] * self.s
        row = weigh(along_tau.T).sum(axis=1)
        result[-1] += row
        result[:, -1] += row
        result[-1, -1] += 2.0 * float(weigh(self.on_M * A).sum())
        return result


def _of_block(engine: Any, state: State, mode: _AtMode, levels: slice, fixed: np.ndarray) -> np.ndarray:
    """Return the part of a run of levels that needs a pass over rows and nodes."""
    data, sums = engine.data, state.work["sums"]
    rows, add_up = data.levels.rows(levels), data.levels.adder(levels)
    X, weight, weighted = engine.rows.fixed[rows], engine.rows.weight[rows], data.weighted[0, rows]
    u, e, probability = sums.u[0, levels], sums.residual_sums[0, levels], sums.probability[levels]
    effects = mode.tau * u
    _, mean, variance = engine.rows.family.derivatives(engine.predictors(levels, fixed, effects[None]), 2)
    p = X.shape[1]
    u_by = mode.u[levels].T[:, :, None] + mode.s[levels].T[:, :, None] * engine.rule.nodes[0]
    b_by = mode.tau * u_by
    b_by[p] += u
    psi = e * b_by - u * u_by
    with_x = np.empty((p, *u.shape))
    for a in range(p):
        psi[a] -= add_up(weight * X[:, a], mean)
        with_x[a] = add_up(weighted * X[:, a], variance)
    psi -= np.einsum("lk,alk->al", probability, psi)[:, :, None]
    level_weights = engine.rows.level_weights
    node_weights = probability if level_weights is None else probability * level_weights[levels, None]
    total = _products(psi * node_weights, psi) - _products(u_by * node_weights, u_by)
    b_weighted = b_by * node_weights
    total -= _products(b_weighted * add_up(weighted * data.Z[0, rows], variance), b_by)
    crossed = _products(with_x, b_weighted)
    total[:p] -= crossed
    total[:, :p] -= crossed.T
    variance *= np.take(probability, data.levels.codes[rows] - levels.start, axis=0)
    row = mode.row_weight[rows] - weight * variance.sum(axis=1)
    if engine.laplace.row_weights is not None:
        row *= engine.laplace.row_weights[rows]
    total[:p, :p] += np.dot(X.T, X * row[:, None])
    return total


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the sums over levels and nodes of products (a, b) of arrays (a, l, k) and (b, l, k)."""
    return np.dot(left.reshape(len(left), -1), right.reshape(len(right), -1).T)
