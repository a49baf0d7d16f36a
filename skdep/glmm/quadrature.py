r"""Adaptive Gauss-Hermite quadrature with one grouping factor: value and exact gradient.

With the mode u of a level, M = L L' minus the second derivative there, and nodes t_k of a product rule,

    log L_j = log sum_k omega_k exp(psi_j(u_k)) - log|L|,    u_k = u + L^-T t_k,

where omega_k is the weight over the density of the rule. Nodes move with the parameters; with node probabilities pi_k,
scores y_k = T'e_k - u_k and D = L^-1 dM L^-T,

    d log L_j = sum_k pi_k (d psi_j at u_k) + (sum_k pi_k y_k)'du - tr(C~ dM) / 2,    C~ = M^-1 + 2 L^-T R L^-1,

R the symmetric matrix with lower triangle half that of sum_k pi_k t_k (L^-1 y_k)'. What follows is as for Laplace's
approximation, with C~ for M^-1 and the mean score as a further force on the mode.

References
----------
Pinheiro and Bates (1995), Journal of Computational and Graphical Statistics 4, 12-35: the approximation.
Stringer (2023), arXiv:2310.01589: exact gradients of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skdep._threads import threads_over_blocks
from skdep.glmm.modes import Modes, find_modes, solve_factored, solve_lower, solve_upper
from skdep.glmm.nodes import HermiteRule, hermite_rule
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.glmm.quadrature_hessian import exact_hessian
from skdep.glmm.rows import GlmmRows
from skdep.glmm.stacks import multiply, transposed
from skdep.glmm.state import Gradient, State
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["AdaptiveQuadrature", "NodeSums"]

# Rows times nodes of a block: a few arrays of that size stay in cache.
_BLOCK_FLOATS = 1 << 16


@dataclass(frozen=True)
class NodeSums:
    """What a pass over rows and nodes leaves.

    Parameters
    ----------
    log_likelihood : ndarray of shape (n_levels,)
        log L_j, but for s'(X beta + offset).
    probability : ndarray of shape (n_levels, m)
        pi_k of every level.
    u : ndarray of shape (q, n_levels, m)
        Spherical effects at the nodes.
    residual_sums : ndarray of shape (q, n_levels, m)
        e_k = Z'd at the nodes.
    residual : ndarray of shape (n_rows,)
        Mean over nodes of d = s - w kappa'.
    """

    log_likelihood: np.ndarray
    probability: np.ndarray
    u: np.ndarray
    residual_sums: np.ndarray
    residual: np.ndarray


class AdaptiveQuadrature:
    """Criterion of a model with one grouping factor, by adaptive Gauss-Hermite quadrature.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    n_nodes : int
        Nodes in each dimension.
    laplace : OneFactorLaplace, optional
        The same model by Laplace's approximation, to share what it has prepared.
    """

    def __init__(
        self,
        rows: GlmmRows,
        parameters: CovarianceParameters,
        n_nodes: int,
        *,
        laplace: OneFactorLaplace | None = None,
    ):
        self.rows, self.parameters, self.n_nodes = rows, parameters, n_nodes
        self.laplace = OneFactorLaplace(rows, parameters) if laplace is None else laplace
        self.data = self.laplace.data
        self.rule: HermiteRule = hermite_rule(n_nodes, self.data.q)

    def value(self, beta: np.ndarray, factors: Sequence[np.ndarray], start: State | None = None) -> State:
        """Evaluate the criterion."""
        (T,) = factors
        fixed = self.rows.fixed_predictor(beta)
        modes = find_modes(self.data, fixed, T, None if start is None else start.work["modes"].u)
        sums = self._pass(fixed, T, modes)
        return self.laplace.state_of(beta, factors, modes, sums.log_likelihood, {"sums": sums, "fixed": fixed})

    def _pass(self, fixed: np.ndarray, T: np.ndarray, modes: Modes) -> NodeSums:
        """Sum over rows at all nodes, in blocks of levels."""
        data, m = self.data, self.rule.n_nodes
        n_levels = data.levels.n_levels
        sums = NodeSums(
            np.empty(n_levels),
            np.empty((n_levels, m)),
            np.empty((data.q, n_levels, m)),
            np.empty((data.q, n_levels, m)),
            np.empty(self.rows.n_rows),
        )
        half_log_det = np.log(modes.root[np.arange(data.q), np.arange(data.q)]).sum(axis=0)

        def block(levels: slice) -> None:
            self._block(levels, fixed, T, modes, half_log_det, sums)

        self.over_blocks(block)
        return sums

    def over_blocks(self, function: Any) -> list[Any]:
        """Return a function's values on blocks of levels, in threads where that pays."""
        m, bounds = self.rule.n_nodes, self.data.levels.bounds
        step = max(_BLOCK_FLOATS // m, 1)
        cuts = np.unique(np.searchsorted(bounds, np.arange(0, self.rows.n_rows, step)))
        cuts = np.append(cuts[cuts < len(bounds) - 1], len(bounds) - 1)
        blocks = [slice(int(a), int(b)) for a, b in pairwise(cuts)]
        with threads_over_blocks(self.rows.n_rows * m) as run:
            return list(run(function, blocks))

    def predictors(self, levels: slice, fixed: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Return the linear predictors (rows of the levels, m) of effects b (q, levels, m)."""
        data, rows = self.data, self.data.levels.rows(levels)
        codes = data.levels.codes[rows] - levels.start
        eta = np.take(effects[0], codes, axis=0)
        if not data.is_constant:
            eta *= data.Z[0, rows, None]
            for a in range(1, data.q):
                eta += np.take(effects[a], codes, axis=0) * data.Z[a, rows, None]
        eta += fixed[rows, None]
        return eta

    def _block(
        self,
        levels: slice,
        fixed: np.ndarray,
        T: np.ndarray,
        modes: Modes,
        half_log_det: np.ndarray,
        sums: NodeSums,
    ) -> None:
        data, nodes, q = self.data, self.rule.nodes, self.data.q
        rows = data.levels.rows(levels)
        u = sums.u[:, levels]
        root = modes.root[:, :, levels]
        spread = np.broadcast_to(nodes[:, None], u.shape)
        u[...] = solve_upper(root[..., None], spread) + modes.u[:, levels, None]
        effects = np.tensordot(T, u, axes=1)
        kappa, mean = self.rows.family.derivatives(self.predictors(levels, fixed, effects), 1)
        add_up = data.levels.adder(levels)
        psi = self.rule.log_weights - add_up(self.rows.weight[rows], kappa)
        for a in range(q):
            psi += effects[a] * data.outcome_sums[a, levels, None] - 0.5 * u[a] ** 2
        largest = psi.max(axis=1)
        psi -= largest[:, None]
        np.exp(psi, out=psi)
        total = psi.sum(axis=1)
        sums.log_likelihood[levels] = largest + np.log(total) - half_log_det[levels]
        probability = np.divide(psi, total[:, None], out=sums.probability[levels])
        for a in range(q):
            at_nodes = add_up(data.weighted[a, rows], mean)
            np.subtract(data.outcome_sums[a, levels, None], at_nodes, out=sums.residual_sums[a, levels])
        codes = data.levels.codes[rows] - levels.start
        mean *= np.take(probability, codes, axis=0)
        sums.residual[rows] = self.rows.outcome[rows] - self.rows.weight[rows] * mean.sum(axis=1)

    def forces(self, state: State) -> dict[str, np.ndarray]:
        """Return what node movement adds: mean score, C~, and their effects on rows."""
        work = state.work
        if "forces" not in work:
            modes, sums, (T,) = work["modes"], work["sums"], state.factors
            q, nodes, probability = self.data.q, self.rule.nodes, work["sums"].probability
            scores = np.tensordot(T.T, sums.residual_sums, axes=1) - sums.u
            mean = np.einsum("lk,alk->al", probability, scores)
            inner = solve_lower(modes.root[..., None], scores)
            Q = np.einsum("lk,ak,blk->abl", probability, nodes, inner, optimize=True)
            R = 0.5 * np.where(np.tri(q, dtype=bool)[:, :, None], Q, transposed(Q))
            upper = solve_upper(modes.root, np.broadcast_to(np.eye(q)[:, :, None], R.shape))
            middle = 2.0 * R
            middle[np.arange(q), np.arange(q)] += 1.0
            inverse = multiply(multiply(upper, middle), transposed(upper))
            S = np.einsum("ab,bcl,dc->adl", T, inverse, T, optimize=True)
            third = self.rows.weight * modes.cumulants[3]
            a = 0.5 * third * self.laplace.row_forms(S)
            f = self.data.levels.sum(self.data.Z * a)
            t = solve_factored(modes.root, T.T @ f - mean)
            pulled = self.data.effects_predictor(T @ t)
            work["forces"] = {
                "mean": mean,
                "Q": Q,
                "inverse": inverse,
                "third": third,
                "f": f,
                "t": t,
                "pulled": pulled,
                "row": sums.residual - a + self.rows.weight * modes.cumulants[2] * pulled,
            }
        return work["forces"]

    def _by_factor(self, state: State) -> np.ndarray:
        """Return -d log L_j / dT of every level (q, q, l)."""
        parts, modes, sums, (T,) = self.forces(state), state.work["modes"], state.work["sums"], state.factors
        precision = np.einsum("abl,bc->acl", modes.precision, T)
        result = np.einsum("lk,alk,blk->abl", sums.probability, sums.residual_sums, sums.u, optimize=True)
        result -= multiply(precision, parts["inverse"])
        moved = multiply(precision, parts["t"]) - parts["f"]
        result += moved[:, None] * modes.u[None] - modes.residual_sums[:, None] * parts["t"][None]
        return -result

    def gradient(self, state: State) -> Gradient:
        """Differentiate the criterion."""
        row = self.forces(state)["row"]
        row_weights = self.laplace.row_weights
        row = row if row_weights is None else row * row_weights
        by_T = self.laplace.weighted(self._by_factor(state)).sum(axis=2)
        return Gradient(-np.dot(row, self.rows.fixed), [by_T], [self._by_sigma(state, by_T)])

    def _by_sigma(self, state: State, by_T: np.ndarray) -> np.ndarray:
        """Return G: that of the gradient by T, or, where T is singular and says nothing, of Laplace's approximation."""
        (T,), parameters = state.factors, self.parameters
        if np.abs(np.diag(T)).min() < BOUNDARY:
            return self.laplace.gradient(state).sigma[0]
        by_entry = np.linalg.solve(parameters.jacobian([T]).T, parameters.pack([by_T]))
        halves = np.where(parameters.rows[0] == parameters.columns[0], 1.0, 0.5)
        return np.tensordot(by_entry * halves, parameters.basis[0], axes=1)

    def scores(self, state: State, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Return the gradient's share of each cluster."""
        fixed = -(self.data.levels.weighted(self.forces(state)["row"]) @ self.rows.fixed)
        by_T = self.laplace.free_entries(self._by_factor(state))
        return self.laplace.by_cluster(np.column_stack([fixed, by_T.T]), clusters, n_clusters)

    def hessian(self, state: State) -> np.ndarray | None:
        """Return the second derivative for one effect a level, None for more."""
        return exact_hessian(self, state) if self.data.q == 1 else None

    def curvature(self, state: State) -> np.ndarray:
        """Return the second derivative, of Laplace's approximation where there is more than one effect a level."""
        exact = self.hessian(state)
        return self.laplace.hessian(state) if exact is None else exact

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of b of each level, at the mode."""
        return self.laplace.conditional_variances(state)
