r"""The criterion of a model with several grouping factors, nested or crossed, and its derivatives.

The factor with most columns is eliminated first, level by level. What remains of the later factors, the tail, is

    S = Lambda'G Lambda + I,    G = A_tt - A_t1 W A_1t,

block-diagonal by connected component. With C = S^-1, Z_t'V^-1 Z_t = G - G Lambda C Lambda'G of the tail has the
diagonal blocks T^-T (I - C) T^-1, and that of the first factor is D_j - (I - A W) A_jt Lambda C Lambda' A_tj (I - W A).

References
----------
Bates, Alday and Kokandakar (2025), arXiv:2505.11674: the elimination.
Gilmour, Thompson and Cullis (1995), Biometrics 51, 1440-1450: average information.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from skdep.mixed.border import solve_border
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.components import Components
from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.evaluation import Derivatives, State, profiled_hessian
from skdep.mixed.information import Information
from skdep.mixed.leading import eliminate, precision_of
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.schur import make_schur
from skdep.mixed.several_information import several_information
from skdep.mixed.small_matrices import block_diagonal, stack_product
from skdep.mixed.tail_layout import check_memory, lay_out, sparse_blocks

__all__ = ["SeveralFactors"]

# Below this an evaluation takes some tens of milliseconds at most.
_CHEAP_FLOATS = 2_000_000
# Up to so many random effects exact second derivatives take a few milliseconds.
_FEW_EFFECTS = 1500


class SeveralFactors:
    """Criterion of a model with several grouping factors.

    Parameters
    ----------
    products : CrossProducts
        Cross-products, the term with most columns first.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    reml : bool
        Whether the criterion is REML.
    """

    def __init__(self, products: CrossProducts, parameters: CovarianceParameters, *, reml: bool):
        self.products, self.parameters, self.reml = products, parameters, reml
        self.first, *self.later = products.terms
        widths = [term.q * term.n_levels for term in self.later]
        self.offsets = np.concatenate([[0], np.cumsum(widths)]).astype(int)
        n_terms = len(products.terms)
        self.links = sparse.hstack([products.between[0, b] for b in range(1, n_terms)], format="csr")
        self.within = self._within_tail()
        self.layout = lay_out(self.links, self.within)
        check_memory(self.layout)
        self.is_cheap = self.layout.n_floats < _CHEAP_FLOATS
        self.schur = make_schur(self.links, self.first.q, self.layout)
        self.links_t = self.links.T.tocsr()
        self.border_t = np.vstack([_by_column(term.border) for term in self.later])
        self.border_1 = _by_column(self.first.border)
        coo = sparse.tril(self.within).tocoo()
        self._tail_flat = np.zeros(self.layout.n_floats)
        rows, columns = coo.row, coo.col
        swap = self.layout.local[rows] < self.layout.local[columns]
        rows, columns = np.where(swap, columns, rows), np.where(swap, rows, columns)
        self._tail_flat[self.layout.position(rows, columns)] = coo.data
        self._diagonal, self._padding = self.layout.diagonal(), self.layout.padding()
        self._scalar_tail = all(term.q == 1 for term in self.later)

    def _within_tail(self) -> sparse.csr_matrix:
        """Return A_tt."""
        n_later = len(self.later)
        blocks: list[list[sparse.spmatrix]] = [[None] * n_later for _ in range(n_later)]
        for b, term in enumerate(self.later):
            blocks[b][b] = block_diagonal(term.own)
            for c in range(b + 1, n_later):
                blocks[b][c] = self.products.between[b + 1, c + 1]
                blocks[c][b] = blocks[b][c].T
        return sparse.bmat(blocks, format="csr")

    def value(self, factors: Sequence[np.ndarray]) -> State:
        """Evaluate the criterion."""
        own, q, weights = self.first.own, self.first.q, self.products.level_weights
        W, J, log_pivots = eliminate(own, factors[0])
        solved = _by_column(stack_product(W, self.first.border))
        weighted = self.border_1 if weights is None else self.border_1 * np.repeat(weights, q)[:, None]
        G_border = self.border_t - self.links_t @ solved
        lambda_ = self._lambda(factors)
        right = lambda_.T @ G_border
        schur = self.schur.explained(W)
        np.subtract(self._tail_flat, schur, out=schur)
        S = self._congruence(schur, lambda_)
        S[self._diagonal] += 1.0
        S[self._padding] = 1.0
        components = Components(self.layout, S, self._component_weights())
        y = components.solve(right)
        right_weighted = right if weights is None else right * self._column_weights()[:, None]
        remaining = self.products.gram - weighted.T @ solved - right_weighted.T @ y
        border = solve_border(remaining, self.products.n_obs, reml=self.reml)
        log_det = float(log_pivots.sum() if weights is None else log_pivots @ weights) + components.half_log_det
        work = {
            "W": W,
            "J": J,
            "components": components,
            "lambda": lambda_,
            "y": y,
            "schur": schur,
            "G_border": G_border,
        }
        return State(list(factors), 2.0 * log_det + border.value, border, work)

    def _component_weights(self) -> np.ndarray | None:
        """Return the sampling weight of each component, which is that of any level of the first factor in it."""
        if self.products.level_weights is None:
            return None
        result = np.ones(int(self.layout.labels.max()) + 1)
        result[self.layout.labels] = self._column_weights()
        return result

    def _column_weights(self) -> np.ndarray:
        """Return the sampling weight of each tail column."""
        assert self.products.level_weights is not None
        coo = self.links.tocoo()
        result = np.ones(self.links.shape[1])
        result[coo.col] = self.products.level_weights[coo.row // self.first.q]
        return result

    def _lambda(self, factors: Sequence[np.ndarray]) -> sparse.csr_matrix:
        """Return the block-diagonal relative factor of the tail."""
        parts = [
            sparse.diags_array(np.full(term.n_levels, T[0, 0]))
            if term.q == 1
            else sparse.kron(sparse.eye_array(term.n_levels), T)
            for term, T in zip(self.later, factors[1:], strict=True)
        ]
        return sparse.block_diag(parts, format="csr")

    def _congruence(self, lower: np.ndarray, lambda_: sparse.csr_matrix) -> np.ndarray:
        """Return Lambda' M Lambda in flat storage (lower triangles)."""
        result = np.empty_like(lower)
        if self._scalar_tail:
            scale = lambda_.diagonal()
            for bucket in self.layout.buckets:
                local = np.where(bucket.columns >= 0, scale[bucket.columns], 0.0)
                matrices = bucket.view(result)
                np.multiply(bucket.view(lower), local[:, :, None], out=matrices)
                matrices *= local[:, None, :]
            return result
        for bucket in self.layout.buckets:
            matrices = self._symmetric(bucket.view(lower))
            moved = self._rotate(bucket.columns, matrices, lambda_)
            bucket.view(result)[...] = self._rotate(bucket.columns, moved.transpose(0, 2, 1), lambda_)
        return result

    @staticmethod
    def _symmetric(lower: np.ndarray) -> np.ndarray:
        """Return whole symmetric matrices of lower triangles; what is above them is not read."""
        below = np.tril(lower, -1)
        result = below + below.transpose(0, 2, 1)
        diagonal = np.arange(lower.shape[1])
        result[:, diagonal, diagonal] = lower[:, diagonal, diagonal]
        return result

    @staticmethod
    def _rotate(columns: np.ndarray, matrices: np.ndarray, lambda_: sparse.csr_matrix) -> np.ndarray:
        """Return Lambda' times stacked matrices, rows being the tail columns `columns`."""
        real = columns >= 0
        rows = columns[real]
        local = lambda_[rows][:, rows]
        flat = matrices.reshape(-1, matrices.shape[2])
        result = np.zeros_like(flat)
        result[real.ravel()] = local.T @ flat[real.ravel()]
        return result.reshape(matrices.shape)

    def derivatives(self, state: State) -> Derivatives:
        """Differentiate the criterion by Sigma; the second derivative is the average information."""
        return self._assemble(state, self.border_products(state), self._precisions(state), self.products.n_params)

    def exact_derivatives(self, state: State) -> Derivatives | None:
        """Differentiate the criterion by Sigma, exactly, where there are not too many effects."""
        if sum(self.links.shape) > _FEW_EFFECTS or self.products.level_weights is not None:
            return None
        info, border = self.information(state), state.border
        first, second = info.traces_first, info.traces_second
        if self.reml:
            first = first - np.einsum("ab,iba->i", info.phi, info.outer)
            second = info.traces_projected
        hessian = profiled_hessian(info.quadratic, info.scores, border, second)
        gradients = self.derivatives(state).gradients
        return Derivatives(gradients, hessian, True, second - np.outer(first, first) / border.m)

    def information(self, state: State) -> Information:
        """Return the traces and products of which degrees of freedom are made."""
        return several_information(self, state)

    def border_products(self, state: State) -> list[np.ndarray]:
        """Return Z_b'V^-1 [X, y] (r, q, l) of every term."""
        work = state.work
        rest = self.first.border - _by_level(self.links @ (work["lambda"] @ work["y"]), self.first.q)
        products = [stack_product(work["J"], rest)]
        for b, (term, T) in enumerate(zip(self.later, state.factors[1:], strict=True)):
            columns = self._columns(b)
            if _is_regular(T):
                moved = np.einsum("ab,rbl->ral", np.linalg.inv(T).T, _by_level(work["y"][columns], term.q))
            else:
                scaled = self._schur_rows(state, columns) @ work["lambda"]
                moved = _by_level(work["G_border"][columns] - scaled @ work["y"], term.q)
            products.append(moved)
        return products

    def _precisions(self, state: State) -> list[np.ndarray]:
        """Return the diagonal blocks (q, q, l) of Z_b'V^-1 Z_b of every term."""
        work, own = state.work, self.first.own
        forms = self._tail_forms(state)
        # the projection I - A W turns A_jt C A_tj into what it takes off the precision
        half = stack_product(work["J"], forms).transpose(1, 0, 2)
        result = [precision_of(own, work["J"]) - stack_product(work["J"], half)]
        for b, (term, T) in enumerate(zip(self.later, state.factors[1:], strict=True)):
            columns = self._columns(b)
            if _is_regular(T):
                root = np.linalg.inv(T).T
                blocks = np.eye(term.q)[:, :, None] - self._diagonal_blocks(work["inverse"], columns, term.q)
                result.append(np.einsum("ab,bcl,dc->adl", root, blocks, root))
            else:
                rows = self._schur_rows(state, columns)
                inverse = sparse_blocks(self.layout, self.whole(work["inverse"]))
                taken = _row_forms(rows @ work["lambda"], inverse, term.q)
                result.append(_sparse_diagonal_blocks(rows[:, columns], term.q) - taken)
        return result

    def _columns(self, b: int) -> np.ndarray:
        """Return the tail columns of a later term."""
        return np.arange(self.offsets[b], self.offsets[b + 1])

    def _schur_rows(self, state: State, columns: np.ndarray) -> sparse.csr_matrix:
        """Return rows of G."""
        return sparse_blocks(self.layout, self.whole(state.work["schur"]))[columns]

    def _congruence_back(self, lower: np.ndarray, lambda_: sparse.csr_matrix) -> np.ndarray:
        """Return Lambda M Lambda' in flat storage."""
        return self._congruence(lower, lambda_.T.tocsr())

    def whole(self, lower: np.ndarray) -> np.ndarray:
        """Return flat storage with both triangles filled."""
        result = np.empty_like(lower)
        for bucket in self.layout.buckets:
            bucket.view(result)[...] = self._symmetric(bucket.view(lower))
        return result

    def _diagonal_blocks(self, lower: np.ndarray, columns: np.ndarray, q: int) -> np.ndarray:
        """Return the diagonal blocks (q, q, l) of the columns of a term."""
        if q == 1:
            return lower[self._diagonal[columns]][None, None]
        by_level = columns.reshape(-1, q)
        result = np.empty((q, q, len(by_level)))
        for a in range(q):
            for c in range(a + 1):
                result[a, c] = result[c, a] = lower[self.layout.position(by_level[:, a], by_level[:, c])]
        return result

    def _assemble(self, state: State, F: list[np.ndarray], D: list[np.ndarray], p: int) -> Derivatives:
        """Return gradient and average information from the products of every term."""
        border = state.border
        h = [np.tensordot(border.contrast, part, axes=1) for part in F]
        gradients, scores = [], []
        weights = self._weights()
        for term, (part, residual) in enumerate(zip(F, h, strict=True)):
            w = 1.0 if weights is None else weights[term]
            outer = (residual * w) @ residual.T
            gradient = (D[term] * w).sum(axis=2) - outer / border.sigma2
            if self.reml:
                q = len(residual)
                root = np.tensordot(border.inverse_root.T, part[:p], axes=1).transpose(1, 0, 2)
                gradient -= (root * w).reshape(q, -1) @ root.reshape(q, -1).T
            gradients.append(gradient)
            scores.append(np.einsum("iac,ac->i", self.parameters.basis[term], outer))
        quadratic = self._average_information(state, F, h, p)
        return Derivatives(gradients, profiled_hessian(quadratic, np.concatenate(scores), border, None), False)

    def _weights(self) -> list[np.ndarray] | None:
        """Return the sampling weights of the levels of each term."""
        if self.products.level_weights is None:
            return None
        columns = self._column_weights()
        later = [columns[self.offsets[b] : self.offsets[b + 1] : term.q] for b, term in enumerate(self.later)]
        return [self.products.level_weights, *later]

    def _average_information(self, state: State, F: list[np.ndarray], h: list[np.ndarray], p: int) -> np.ndarray:
        """Return y'P V_i P V_j P y."""
        bounds, weights = self.parameters.bounds, self._weights()
        k = self.parameters.n_parameters
        directions = []
        x = np.zeros((p, k))
        for term, residual in enumerate(h):
            q, n_levels = residual.shape
            span = slice(bounds[term], bounds[term + 1])
            moved = np.einsum("iac,cl->lai", self.parameters.basis[term], residual)
            w = 1.0 if weights is None else weights[term][:, None, None]
            x[:, span] = np.tensordot(F[term][:p], moved * w, axes=([2, 1], [0, 1]))
            values = np.zeros((n_levels * q, k))
            values[:, span] = moved.reshape(n_levels * q, -1)
            directions.append(values)
        first, tail = directions[0], np.vstack(directions[1:])
        root = border_root = state.border.inverse_root.T @ x
        return self._inverse_form(state, first, tail) - root.T @ border_root

    def _inverse_form(self, state: State, first: np.ndarray, tail: np.ndarray) -> np.ndarray:
        """Return (Z v)'V^-1 (Z v) for v (first, tail) with k columns each."""
        work, q, own = state.work, self.first.q, self.first.own
        first_levels = _by_level(first, q)
        g_first = _by_column(_multiply(own, first_levels)) + self.links @ tail
        g_tail = self.links_t @ first + self.within @ tail
        solved = _by_column(_multiply(work["W"], _by_level(g_first, q)))
        right = work["lambda"].T @ (g_tail - self.links_t @ solved)
        y = work["components"].solve(right)
        if self.products.level_weights is None:
            return first.T @ g_first + tail.T @ g_tail - g_first.T @ solved - right.T @ y
        w1 = np.repeat(self.products.level_weights, q)[:, None]
        wt = self._column_weights()[:, None]
        return (w1 * first).T @ g_first + (wt * tail).T @ g_tail - (w1 * g_first).T @ solved - (wt * right).T @ y

    def effects(self, state: State) -> list[np.ndarray]:
        """Return the predicted random effects of each term (n_levels, q), in working coordinates."""
        moved = self._border_effects(state)
        return [np.tensordot(part, state.border.contrast, axes=([2], [0])) for part in moved]

    def fixed_effect_products(self, state: State) -> list[np.ndarray]:
        """Return d b_j / d beta of each term (n_levels, q, p)."""
        p = self.products.n_params
        return [-part[:, :, :p] for part in self._border_effects(state)]

    def _border_effects(self, state: State) -> list[np.ndarray]:
        """Return the random effects (n_levels, q, r) that each column of [X, y] would have as an outcome."""
        tail = state.work["lambda"] @ state.work["y"]
        rest = self.first.border - _by_level(self.links @ tail, self.first.q)
        first = stack_product(state.work["W"], rest).transpose(2, 1, 0)
        later = [
            tail[self.offsets[b] : self.offsets[b + 1]].reshape(term.n_levels, term.q, -1)
            for b, term in enumerate(self.later)
        ]
        return [first, *later]

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of the effects of each level given beta (q, q, n_levels), relative to sigma2."""
        inner = self.tail_variance(state)
        W, forms = state.work["W"], self._tail_forms(state)
        first = W + stack_product(W, stack_product(W, forms).transpose(1, 0, 2))
        later = [
            self._diagonal_blocks(inner, np.arange(self.offsets[b], self.offsets[b + 1]), term.q)
            for b, term in enumerate(self.later)
        ]
        return [first, *later]

    def effect_variance(self, state: State, levels: Sequence[np.ndarray], Z: Sequence[np.ndarray]) -> np.ndarray:
        """Return the variance of z'b given beta (n_rows,), relative to sigma2, for rows of known levels."""
        inner = sparse_blocks(self.layout, self.whole(self.tail_variance(state)))
        W, q, n_rows = state.work["W"], self.first.q, len(Z[0])
        own = np.einsum("na,acn,nc->n", Z[0], W[:, :, levels[0]], Z[0], optimize=True)
        rows, columns, values = [], [], []
        for b, term in enumerate(self.later):
            for a in range(term.q):
                rows.append(np.arange(n_rows))
                columns.append(self.offsets[b] + levels[b + 1] * term.q + a)
                values.append(Z[b + 1][:, a])
        shape = (n_rows, self.links.shape[1])
        tail = sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
        # the first factor's effect moves with the tail's: b_1 = W (... - A_1t b_t)
        solved = np.einsum("acn,nc->na", W[:, :, levels[0]], Z[0])
        for a in range(q):
            tail = tail - sparse.diags_array(solved[:, a]) @ self.links[levels[0] * q + a]
        return own + np.asarray((tail @ inner).multiply(tail).sum(axis=1)).ravel()

    def _tail_forms(self, state: State) -> np.ndarray:
        """Return A_jt C A_tj of every level of the first factor (q, q, l), C the variance of the tail's effects."""
        if "forms" not in state.work:
            state.work["forms"] = self.schur.quadratic_forms(self.tail_variance(state))
        return state.work["forms"]

    def tail_variance(self, state: State) -> np.ndarray:
        """Return the variance of the tail's effects given beta, relative to sigma2: lower triangles in flat storage."""
        if "inverse" not in state.work:
            state.work["inverse"] = state.work["components"].inverse()
        return self._congruence_back(state.work["inverse"], state.work["lambda"])


def _is_regular(T: np.ndarray) -> bool:
    """Say whether a relative factor can be inverted without loss."""
    return bool(np.abs(np.diag(T)).min() >= BOUNDARY)


def _by_column(stack: np.ndarray) -> np.ndarray:
    """Turn (r, q, l) into (l q, r)."""
    return np.ascontiguousarray(stack.transpose(2, 1, 0)).reshape(-1, stack.shape[0])


def _by_level(values: np.ndarray, q: int) -> np.ndarray:
    """Turn (l q, r) into (r, q, l)."""
    return np.ascontiguousarray(values.reshape(-1, q, values.shape[1]).transpose(2, 1, 0))


def _multiply(stack: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Multiply matrices (q, q, l) with vectors (r, q, l)."""
    return np.einsum("acl,rcl->ral", stack, values)


def _sparse_diagonal_blocks(matrix: sparse.csr_matrix, q: int) -> np.ndarray:
    """Return the diagonal blocks (q, q, l) of a square sparse matrix."""
    result = np.empty((q, q, matrix.shape[0] // q))
    for a in range(q):
        for c in range(q):
            result[a, c] = matrix[a::q, c::q].diagonal()
    return result


def _row_forms(rows: sparse.csr_matrix, middle: sparse.csr_matrix, q: int) -> np.ndarray:
    """Return the diagonal blocks (q, q, l) of R M R'."""
    product = rows @ middle
    result = np.empty((q, q, rows.shape[0] // q))
    for a in range(q):
        for c in range(q):
            result[a, c] = np.asarray(product[a::q].multiply(rows[c::q]).sum(axis=1)).ravel()
    return result
