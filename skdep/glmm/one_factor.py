r"""Laplace's approximation with one grouping factor: value, gradient and second derivative, all exact.

With modes b_j = Sigma e_j, e_j = Z_j'd, and A_j = Z_j'W Z_j, the criterion of a level is

    F_j = -sum_i log p(y_i | b_j) + e'Sigma e / 2 + log|I + Sigma A| / 2,

a function of beta and Sigma. With J = (I + A Sigma)^-1, N = J A, S = Sigma J the variance of b_j, third derivatives
a_i = w_i kappa''' z_i'S z_i / 2, f = Z'a and h = J f,

    dF/dbeta = -sum_i (d_i - a_i + W_i z_i'Sigma h) x_i,      dF/dSigma = G = (N - e e' + h e' + e h') / 2,

of which the second derivative follows by differentiating e, A, N, J, S, f and h once more. Nothing divides by Sigma: a
singular one is an ordinary point.

References
----------
Kristensen, Nielsen, Berg, Skaug and Bell (2016), TMB, Journal of Statistical Software 70(5): Laplace with gradients by
the implicit function.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdep.glmm.modes import LevelData, Modes, find_modes
from skdep.glmm.one_factor_hessian import sigma_hessian
from skdep.glmm.rows import GlmmRows
from skdep.glmm.stacks import multiply, transposed
from skdep.glmm.state import Gradient, State
from skdep.mixed.leading import eliminate, precision_of
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["OneFactorLaplace", "laplace_sigma_gradient"]


def laplace_sigma_gradient(N: np.ndarray, e: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Return G of every level (q, q, l)."""
    crossed = h[:, None] * e[None]
    return 0.5 * (N - e[:, None] * e[None] + crossed + transposed(crossed))


class OneFactorLaplace:
    """Criterion of a model with one grouping factor, by Laplace's approximation.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    """

    def __init__(self, rows: GlmmRows, parameters: CovarianceParameters, *, data: LevelData | None = None):
        self.rows, self.parameters = rows, parameters
        self.data = LevelData(rows) if data is None else data
        weights = rows.level_weights
        self.row_weights = None if weights is None else self.data.levels.spread(weights)
        outcome = rows.outcome if self.row_weights is None else rows.outcome * self.row_weights
        self._fixed_outcome = np.dot(outcome, rows.fixed)
        self._offset_outcome = 0.0 if rows.offset is None else float(np.dot(outcome, rows.offset))

    def value(self, beta: np.ndarray, factors: Sequence[np.ndarray], start: State | None = None) -> State:
        """Evaluate the criterion."""
        (T,) = factors
        modes = find_modes(
            self.data, self.rows.fixed_predictor(beta), T, None if start is None else start.work["modes"].u
        )
        diagonal = np.arange(len(T))
        by_level = modes.psi - np.log(modes.root[diagonal, diagonal]).sum(axis=0)
        return self.state_of(beta, factors, modes, by_level, {})

    def state_of(
        self, beta: np.ndarray, factors: Sequence[np.ndarray], modes: Modes, by_level: np.ndarray, work: dict
    ) -> State:
        """Return the state, given the log-likelihoods of levels without s'(X beta + offset)."""
        value = -self.sum_levels(by_level) - float(self._fixed_outcome @ beta) - self._offset_outcome
        return State(np.asarray(beta), list(factors), value, [modes.u], {"modes": modes, **work})

    def sum_levels(self, by_level: np.ndarray) -> float:
        """Return the sum over levels, weighted by level weights."""
        weights = self.rows.level_weights
        return float(by_level.sum() if weights is None else by_level @ weights)

    def weighted(self, stack: np.ndarray) -> np.ndarray:
        """Return a stack (..., n_levels) times the level weights."""
        return stack if self.rows.level_weights is None else stack * self.rows.level_weights

    def adjoint(self, state: State) -> dict[str, np.ndarray]:
        """Return what first derivatives are made of: J, N, S, f, h by level, leverages c and a by row."""
        work = state.work
        if "adjoint" not in work:
            modes: Modes = work["modes"]
            (T,) = state.factors
            W, J, _ = eliminate(modes.precision, T)
            leverage = self.row_forms(W)
            third = self.rows.weight * modes.cumulants[3]
            a = 0.5 * third * leverage
            f = self.data.levels.sum(self.data.Z * a)
            h = multiply(J, f)
            r = np.dot(T @ T.T, h)
            pulled = self.data.effects_predictor(r)
            work["adjoint"] = {
                "S": W,
                "J": J,
                "N": precision_of(modes.precision, J),
                "f": f,
                "h": h,
                "r": r,
                "leverage": leverage,
                "third": third,
                "pulled": pulled,
                "row": self.residuals(modes) - a + self.rows.weight * modes.cumulants[2] * pulled,
            }
        return work["adjoint"]

    def residuals(self, modes: Modes) -> np.ndarray:
        """Return d = s - w kappa' of every row."""
        return self.rows.outcome - self.rows.weight * modes.cumulants[1]

    def row_forms(self, stack: np.ndarray) -> np.ndarray:
        """Return z_i'S z_i (n_rows,) of matrices S (q, q, n_levels)."""
        data, q = self.data, self.data.q
        if data.is_constant:
            return data.levels.spread(stack[0, 0])
        total = np.zeros(self.rows.n_rows)
        for a in range(q):
            for c in range(a + 1):
                part = data.levels.spread(stack[a, c]) * data.Z[a] * data.Z[c]
                total += part if a == c else 2.0 * part
        return total

    def gradient(self, state: State) -> Gradient:
        """Differentiate the criterion."""
        parts, modes = self.adjoint(state), state.work["modes"]
        row = parts["row"] if self.row_weights is None else parts["row"] * self.row_weights
        G = self.weighted(laplace_sigma_gradient(parts["N"], modes.residual_sums, parts["h"])).sum(axis=2)
        return Gradient(-np.dot(row, self.rows.fixed), [2.0 * G @ state.factors[0]], [G])

    def scores(self, state: State, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Return the gradient's share of each cluster."""
        parts, modes, (T,) = self.adjoint(state), state.work["modes"], state.factors
        levels = self.data.levels
        fixed = -(levels.weighted(parts["row"]) @ self.rows.fixed)
        G = laplace_sigma_gradient(parts["N"], modes.residual_sums, parts["h"])
        by_T = 2.0 * np.einsum("abl,bc->acl", G, T)
        return self.by_cluster(np.column_stack([fixed, self.free_entries(by_T).T]), clusters, n_clusters)

    def free_entries(self, stack: np.ndarray) -> np.ndarray:
        """Return the free entries (K, l) of a stack (q, q, l)."""
        return stack[self.parameters.rows[0], self.parameters.columns[0]]

    def by_cluster(self, scores: np.ndarray, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Add up the scores of levels (n_levels, m), weighted, within clusters that hold whole levels."""
        scores = self.weighted(scores.T)
        of_level = clusters[self.data.levels.starts]
        return np.array([np.bincount(of_level, part, minlength=n_clusters) for part in scores]).T

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of b of each level."""
        return [self.adjoint(state)["S"]]

    def curvature(self, state: State) -> np.ndarray:
        """Return the exact second derivative: the search makes it positive definite."""
        return self.hessian(state)

    def hessian(self, state: State) -> np.ndarray:
        """Return the second derivative (p + K, p + K) by beta and the free entries of T."""
        by_sigma = sigma_hessian(self, state)
        p, parameters = self.rows.n_fixed, self.parameters
        jacobian = np.eye(len(by_sigma))
        jacobian[p:, p:] = parameters.jacobian(state.factors)
        result = jacobian.T @ by_sigma @ jacobian
        result[p:, p:] += parameters.curvature_of_square(self.gradient(state).sigma)
        return 0.5 * (result + result.T)
