r"""The criterion of a model with one grouping factor, its derivatives, and everything inference needs.

All groups are handled at once as stacks of small matrices, in blocks that stay in cache. Per group j, with F_j =
Z_j'V_j^-1 [X_j, y_j] and D_j = Z_j'V_j^-1 Z_j, traces over the projection P = V^-1 - V^-1 X Phi X'V^-1 need only sums
over groups of products of D_j, N_j = F_j Phi F_j' and the residuals h_j = Z_j'V_j^-1 (y_j - X_j beta).

References
----------
Lindstrom and Bates (1988), JASA 83, 1014-1022.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdep._threads import add_up_blocks
from skdep.mixed.border import solve_border
from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.evaluation import Derivatives, State, profiled_hessian
from skdep.mixed.information import Information
from skdep.mixed.leading import eliminate, precision_of
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.small_matrices import stack_product

__all__ = ["OneFactor"]


class OneFactor:
    """Criterion of a model with one grouping factor.

    Parameters
    ----------
    products : CrossProducts
        Cross-products with a single term.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    reml : bool
        Whether the criterion is REML.
    """

    is_cheap = True

    def __init__(self, products: CrossProducts, parameters: CovarianceParameters, *, reml: bool):
        self.products, self.parameters, self.reml = products, parameters, reml
        self.term = products.terms[0]
        self._basis = parameters.basis[0]
        self._flat_basis = self._basis.reshape(len(self._basis), -1)

    def value(self, factors: Sequence[np.ndarray]) -> State:
        """Evaluate the criterion."""
        T, term, weights = factors[0], self.term, self.products.level_weights
        W, J = np.empty_like(term.own), np.empty_like(term.own)

        def block(levels: slice) -> tuple[float, np.ndarray]:
            own, border = term.own[:, :, levels], term.border[:, :, levels]
            W[:, :, levels], J[:, :, levels], log_pivots = eliminate(own, T)
            explained = np.zeros((len(border), len(border)))
            if weights is not None:
                log_pivots = log_pivots * weights[levels]
            for a in range(term.q):
                solved = sum(W[a, c, levels] * border[:, c] for c in range(term.q))
                left = border[:, a] if weights is None else border[:, a] * weights[levels]
                explained = explained + np.dot(left, solved.T)
            return float(log_pivots.sum()), explained

        log_det, explained = self._add_up(block)
        border = solve_border(self.products.gram - explained, self.products.n_obs, reml=self.reml)
        return State([T], 2.0 * log_det + border.value, border, {"W": W, "J": J})

    def derivatives(self, state: State) -> Derivatives:
        """Differentiate the criterion by Sigma, exactly."""
        border, sums = state.border, self._sums(state)
        D, N, H = sums.first
        scores, quadratic = self._quadratic(sums)
        traces = self._traces(sums)
        gradient = D - H / border.sigma2 - (N if self.reml else 0.0)
        first = self._flat_basis @ (D - N if self.reml else D).ravel()
        expected = traces - np.outer(first, first) / border.m
        return Derivatives([gradient], profiled_hessian(quadratic, scores, border, traces), True, expected)

    def exact_derivatives(self, state: State) -> Derivatives | None:
        """Return the same."""
        return self.derivatives(state)

    def _quadratic(self, sums: _Sums) -> tuple[np.ndarray, np.ndarray]:
        """Return y'P V_i P y and y'P V_i P V_j P y."""
        E = self._flat_basis
        x = sums.FH.reshape(len(sums.FH), E.shape[1]) @ E.T
        # h_c E_i[c, a] D[a, b] E_j[b, d] h_d
        return E @ sums.first[2].ravel(), E @ sums.of("D", "H", (2, 0, 1, 3)) @ E.T - x.T @ x

    def _traces(self, sums: _Sums) -> np.ndarray:
        """Return tr(P V_i P V_j) (ML: with V^-1 for P)."""
        E = self._flat_basis
        traces = self._unprojected_traces(sums)
        if self.reml:
            crossed = E @ sums.of("D", "N", (1, 2, 3, 0)) @ E.T
            inner = E @ sums.FF.transpose(1, 3, 0, 2).reshape(E.shape[1], -1)
            traces = traces - crossed - crossed.T + inner @ inner.T
        return traces

    def _unprojected_traces(self, sums: _Sums) -> np.ndarray:
        """Return tr(V^-1 V_i V^-1 V_j), of D[a, b] E_i[b, c] D[c, d] E_j[d, a]."""
        return self._flat_basis @ sums.of("D", "D", (1, 2, 3, 0)) @ self._flat_basis.T

    def information(self, state: State) -> Information:
        """Return the traces and products of which degrees of freedom are made."""
        E, border, term = self._basis, state.border, self.term
        sums = self._sums(state)
        J, weights = state.work["J"], self.products.level_weights
        p, q = self.products.n_params, term.q
        rows = term.border[:p]

        def block(levels: slice) -> tuple[np.ndarray, np.ndarray]:
            own, inner = term.own[:, :, levels], J[:, :, levels]
            D = precision_of(own, inner)
            F = stack_product(inner, rows[:, :, levels])
            if weights is not None:
                D = D * weights[levels]
            moved = np.stack([np.einsum("ac,pcl->pal", e, F) for e in E]) if len(E) else np.zeros((0, p, q, D.shape[2]))
            right = np.einsum("bcl,jpcl->jpbl", D, moved, optimize=True)
            Q = np.einsum("ipal,jxal->ijpx", moved, right, optimize=True)
            F_weighted = F if weights is None else F * weights[levels]
            return np.einsum("pal,ixal->ipx", F_weighted, moved, optimize=True), Q

        outer, crossed = self._add_up(block)
        scores, quadratic = self._quadratic(sums)
        return Information(
            traces_first=self._flat_basis @ sums.first[0].ravel(),
            traces_second=self._unprojected_traces(sums),
            outer=outer,
            crossed=crossed,
            scores=scores,
            quadratic=quadratic,
            phi=border.inverse_root @ border.inverse_root.T,
        )

    def effects(self, state: State) -> list[np.ndarray]:
        """Return the predicted random effects of each term (n_levels, q), in working coordinates."""
        solved = np.tensordot(state.border.contrast, self.term.border, axes=1)
        return [np.einsum("acl,cl->la", state.work["W"], solved)]

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of the effects of each level given beta (q, q, n_levels), relative to sigma2: W."""
        return [state.work["W"]]

    def fixed_effect_products(self, state: State) -> list[np.ndarray]:
        """Return d b_j / d beta = -W_j Z_j'X_j of each term (n_levels, q, p)."""
        p = self.products.n_params
        solved = stack_product(state.work["W"], self.term.border[:p])
        return [-solved.transpose(2, 1, 0)]

    def effect_variance(self, state: State, levels: Sequence[np.ndarray], Z: Sequence[np.ndarray]) -> np.ndarray:
        """Return the variance of z'b given beta (n_rows,), relative to sigma2, for rows of known levels."""
        return np.einsum("na,acn,nc->n", Z[0], state.work["W"][:, :, levels[0]], Z[0], optimize=True)

    def _add_up(self, block):
        n_columns = self.term.q * (self.term.q + len(self.products.gram))
        return add_up_blocks(block, self.term.n_levels, 2 * n_columns)

    def _sums(self, state: State) -> _Sums:
        """Add up products of D, N, H and F over groups."""
        term, border, weights = self.term, state.border, self.products.level_weights
        J, q, p = state.work["J"], self.term.q, self.products.n_params
        root = np.zeros((p + 1, p + 1))
        root[:p, :p] = border.inverse_root.T
        root[p] = border.contrast

        def block(levels: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            own, inner = term.own[:, :, levels], J[:, :, levels]
            n_levels = own.shape[2]
            D = precision_of(own, inner)
            F = stack_product(inner, term.border[:, :, levels])
            F = np.dot(root, F.reshape(p + 1, -1)).reshape(p + 1, q, n_levels)
            stack = np.empty((3, q, q, n_levels))
            stack[0] = D
            np.einsum("pal,pcl->acl", F[:p], F[:p], out=stack[1])
            np.multiply(F[p][:, None], F[p][None], out=stack[2])
            flat, rows = stack.reshape(3 * q * q, n_levels), F.reshape(-1, n_levels)
            if weights is None:
                return stack.sum(axis=3), np.dot(flat[: q * q], flat.T), np.dot(rows, rows.T)
            scaled = flat * weights[levels]
            return (
                scaled.reshape(stack.shape).sum(axis=3),
                np.dot(scaled[: q * q], flat.T),
                np.dot(rows * weights[levels], rows.T),
            )

        first, second, outer = self._add_up(block)
        return _Sums(first, second, outer, q, p)


class _Sums:
    """Sums over groups of D, N, H (first), of products of their entries (second), and of rows of F (outer)."""

    def __init__(self, first: np.ndarray, second: np.ndarray, outer: np.ndarray, q: int, p: int):
        self.first = first
        self._second = second.reshape(q, q, 3, q, q)
        split = outer.reshape(p + 1, q, p + 1, q)
        self.FF = split[:p, :, :p]
        self.FH = split[:p, :, p]

    def of(self, left: str, right: str, axes: tuple[int, int, int, int]) -> np.ndarray:
        """Return the sum of D[a, b] times D, N or H[c, d], as a matrix whose rows and columns are pairs of axes."""
        assert left == "D"
        q = len(self._second)
        return self._second[:, :, "DNH".index(right)].transpose(axes).reshape(q * q, q * q)
