r"""Second derivative of Laplace's approximation with one grouping factor, by beta and the parameters of Sigma.

Along a direction (dbeta, E), E the change of Sigma, a level's effects move by db = J'(E e - Sigma Z'W X dbeta), and

    de = -(Z'WX dbeta + A db),    dA = sum_i w_i kappa''' z_i z_i'(x_i'dbeta + z_i'db),
    dN = J dA J' - N E N,    dS = J'E J - S dA S,
    df = sum_i z_i (w_i kappa'''' z_i'S z_i (x_i'dbeta + z_i'db) + w_i kappa''' z_i'dS z_i) / 2,
    dh = J df - (dN Sigma + N E) f,

which are sums over the rows of a level of products of x_i and z_i, weighted by row: no array of rows times directions
is made. Of dF/dbeta the change is, with rho_i = W_i + w_i kappa'''' z_i'S z_i / 2 - w_i kappa''' z_i'Sigma h,

    sum_i rho_i x_i (x_i'dbeta + z_i'db) + sum_i w_i kappa''' x_i z_i'dS z_i / 2 - sum_i W_i x_i z_i'(E h + Sigma dh),

and that of G = (N - e e' + h e' + e h') / 2 is what its parts' are. Directions are the last axis but one of all stacks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.glmm.modes import Modes
from skdep.glmm.stacks import multiply, transposed
from skdep.glmm.state import State

__all__ = ["sigma_hessian"]


def sigma_hessian(engine: Any, state: State) -> np.ndarray:
    """Return the second derivative (p + K, p + K) by beta and the parameters of Sigma.

    Parameters
    ----------
    engine : OneFactorLaplace
        The criterion.
    state : State
        Where.
    """
    p, basis = engine.rows.n_fixed, engine.parameters.basis[0]
    sums = _RowSums(engine, state)
    moves = _Moves(engine, state, sums, basis)
    result = np.zeros((p + len(basis),) * 2)
    result[:p, :p] = sums.gram
    result[:p] += moves.fixed_gradient()
    result[p:] = np.einsum("iac,acm->im", basis, engine.weighted(moves.sigma_gradient()).sum(axis=3))
    result[:p, p:] = 0.5 * (result[:p, p:] + result[p:, :p].T)
    result[p:, :p] = result[:p, p:].T
    return result


class _RowSums:
    """Sums over the rows of each level.

    With W = w kappa'', W3 = w kappa''', W4 = w kappa'''' z'S z: `variance` W z x', `fourth` W4 z x' and `mixed` rho z
    x' (q, p, l), `third` W3 z z' x' (q, q, p, l), `cubes` W3 z z z (q, q, q, l), `squares` W4 z z' (q, q, l).
    """

    def __init__(self, engine: Any, state: State):
        data, rows = engine.data, engine.rows
        modes, parts = state.work["modes"], engine.adjoint(state)
        q, Z = data.q, data.Z
        variance = rows.weight * modes.cumulants[2]
        fourth = rows.weight * modes.cumulants[4] * parts["leverage"]
        rho = variance + 0.5 * fourth - parts["third"] * parts["pulled"]
        self._engine = engine
        self.variance = self._with_features([variance * z for z in Z])
        self.fourth = self._with_features([fourth * z for z in Z])
        self.mixed = self._with_features([rho * z for z in Z])
        third = [parts["third"] * Z[a] * Z[c] for a, c in data.pairs]
        with_features = self._with_features(third)
        self.third = np.empty((q, q, *with_features.shape[1:]))
        self.cubes = np.empty((q, q, q, data.levels.n_levels))
        for (a, c), part, row in zip(data.pairs, with_features, third, strict=True):
            self.third[a, c] = self.third[c, a] = part
            self.cubes[a, c] = self.cubes[c, a] = data.levels.sum(row * Z)
        self.squares = np.empty((q, q, data.levels.n_levels))
        for a, c in data.pairs:
            self.squares[a, c] = self.squares[c, a] = data.levels.sum(fourth * Z[a] * Z[c])
        row_weights = rho if engine.row_weights is None else rho * engine.row_weights
        self.gram = np.dot(rows.fixed.T, rows.fixed * row_weights[:, None])

    def _with_features(self, weights: list[np.ndarray]) -> np.ndarray:
        """Return the sums of rows of X times their weights (len(weights), p, l)."""
        levels, fixed = self._engine.data.levels, self._engine.rows.fixed
        return np.array([(levels.weighted(part) @ fixed).T for part in weights])


class _Moves:
    """Derivatives of a level's quantities along all directions: those of beta, then those of Sigma."""

    def __init__(self, engine: Any, state: State, sums: _RowSums, basis: np.ndarray):
        modes: Modes = state.work["modes"]
        (T,) = state.factors
        self.engine, self.sums, self.basis, self.p = engine, sums, basis, engine.rows.n_fixed
        self.parts, self.sigma = engine.adjoint(state), T @ T.T
        self.e, self.precision = modes.residual_sums, modes.precision
        J, N, S, f = (self.parts[name] for name in ("J", "N", "S", "f"))
        self.db = self._effects(J, S)
        self.de = -multiply(self.precision, self.db)
        self.de[:, : self.p] -= sums.variance
        self.dA = self._precision()
        self.dN = _sandwiched(J, self.dA, transposed(J)) - self._from_sigma(N, N)
        self.dS = self._from_sigma(transposed(J), J) - _sandwiched(S, self.dA, S)
        df = self._third_order()
        # dh = J df - (dN Sigma + N E) f
        self.dh = multiply(J, df) - np.einsum("acml,cl->aml", self.dN, self.sigma @ f)
        self.dh[:, self.p :] -= multiply(N, np.einsum("iac,cl->ail", basis, f))

    def _effects(self, J: np.ndarray, S: np.ndarray) -> np.ndarray:
        """Return db (q, p + K, l)."""
        by_beta = -multiply(S, self.sums.variance)
        by_sigma = multiply(transposed(J), np.einsum("iac,cl->ail", self.basis, self.e))
        return np.concatenate([by_beta, by_sigma], axis=1)

    def _precision(self) -> np.ndarray:
        """Return dA (q, q, p + K, l)."""
        result = np.einsum("acdl,dml->acml", self.sums.cubes, self.db)
        result[:, :, : self.p] += self.sums.third
        return result

    def _from_sigma(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return L E R (q, q, p + K, l): zeros for directions of beta."""
        q, n_levels = len(left), left.shape[2]
        result = np.zeros((q, q, self.p + len(self.basis), n_levels))
        for i, E in enumerate(self.basis):
            for a in range(q):
                for c in range(q):
                    for b, d in zip(*np.nonzero(E), strict=True):
                        result[a, c, self.p + i] += left[a, b] * right[d, c]
        return result

    def _third_order(self) -> np.ndarray:
        """Return df (q, p + K, l)."""
        result = multiply(self.sums.squares, self.db)
        result[:, : self.p] += self.sums.fourth
        result += np.einsum("acdl,cdml->aml", self.sums.cubes, self.dS)
        return 0.5 * result

    def fixed_gradient(self) -> np.ndarray:
        """Return the change of dF/dbeta (p, p + K) by way of the effects."""
        weighted = self.engine.weighted
        pulled = np.einsum("ac,cml->aml", self.sigma, self.dh)
        pulled[:, self.p :] += np.einsum("iac,cl->ail", self.basis, self.parts["h"])
        result = np.einsum("apl,aml->pm", weighted(self.sums.mixed), self.db, optimize=True)
        result -= np.einsum("apl,aml->pm", weighted(self.sums.variance), pulled, optimize=True)
        return result + 0.5 * np.einsum("acpl,acml->pm", weighted(self.sums.third), self.dS, optimize=True)

    def sigma_gradient(self) -> np.ndarray:
        """Return the change of G (q, q, p + K, l)."""
        e, h = self.e, self.parts["h"]
        crossed = (self.dh - self.de)[:, None] * e[None, :, None] + self.de[:, None] * h[None, :, None]
        # the rest by symmetry: -de e' - e de' + dh e' + e dh' + h de' + de h'
        return 0.5 * (self.dN + crossed + transposed(crossed))


def _sandwiched(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return L M R (q, q, m, l) of stacks L and R (q, q, l), M (q, q, m, l)."""
    half = multiply(left, middle)
    return transposed(multiply(transposed(right), transposed(half)))
