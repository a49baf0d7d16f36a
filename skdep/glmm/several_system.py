r"""M = Lambda'Z'WZ Lambda + I of several factors, factorised: the first factor level by level, then the tail.

With M_j = L_j L_j' of the levels of the first factor and X = L^-1 T_1'A_1t Lambda_t, the Schur complement of the tail
is S = Lambda_t'A_tt Lambda_t + I - X'X, block-diagonal by connected component. Vectors have a row per effect: those of
the first factor's levels, then the later factors', the effects of a level side by side.

References
----------
Bates, Alday and Kokandakar (2025), arXiv:2505.11674: the elimination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from skdep.glmm.links import Filled, LinkPattern, make_links
from skdep.glmm.weighted_products import Cells, TermRows
from skdep.mixed.components import Components
from skdep.mixed.small_matrices import lower_factor, solve_lower
from skdep.mixed.tail_layout import TailLayout, check_memory, lay_out

__all__ = ["InverseBlocks", "SeveralPlan", "SeveralSystem"]


class SeveralPlan:
    """What does not change while rows have the same levels: cells, components, places.

    Parameters
    ----------
    terms : list of TermRows
        Terms, the one that is eliminated first.
    """

    def __init__(self, terms: list[TermRows]):
        self.terms = terms
        self.first, *self.later = terms
        self.bounds = np.concatenate([[0], np.cumsum([term.q * term.n_levels for term in terms])]).astype(int)
        n_terms = len(terms)
        self.cells = {(b, c): Cells(terms[b], terms[c]) for b in range(n_terms) for c in range(b + 1, n_terms)}
        levels, columns = self._entries()
        self.layout = self._lay_out(levels, columns)
        check_memory(self.layout)
        self.links = make_links(LinkPattern(levels, columns, self.first.n_levels, self.first.q, self.layout))
        self.diagonal, self.padding = self.layout.diagonal(), self.layout.padding()
        self.own_places = [self._own_places(b) for b in range(1, n_terms)]
        self.cell_places = {key: self._cell_places(*key) for key in self.cells if key[0] > 0}

    @property
    def n_tail(self) -> int:
        """Number of columns of the tail."""
        return int(self.bounds[-1] - self.bounds[1])

    def span(self, b: int) -> slice:
        """Return the rows of a vector that belong to a term."""
        return slice(int(self.bounds[b]), int(self.bounds[b + 1]))

    def part(self, vector: np.ndarray, b: int) -> np.ndarray:
        """Return the effects (n_levels, q) of a term in a vector."""
        return vector[self.span(b)].reshape(self.terms[b].n_levels, -1)

    def tail_columns(self, b: int) -> np.ndarray:
        """Return the tail columns (n_levels, q) of a later term."""
        begin, end = self.bounds[b] - self.bounds[1], self.bounds[b + 1] - self.bounds[1]
        return np.arange(begin, end).reshape(-1, self.terms[b].q)

    def _entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Return level of the first factor and tail column of each entry: by term, effect, cell."""
        levels, columns = [], []
        for b, term in enumerate(self.later, start=1):
            cells = self.cells[0, b]
            levels.append(np.tile(cells.left_levels, term.q))
            columns.append(self.tail_columns(b)[cells.right_levels].T.ravel())
        return np.concatenate(levels), np.concatenate(columns)

    def _lay_out(self, levels: np.ndarray, columns: np.ndarray) -> TailLayout:
        shape = (self.first.n_levels, self.n_tail)
        met = sparse.csr_matrix((np.ones(len(levels)), (levels, columns)), shape=shape)
        rows, others = [], []
        for b, term in enumerate(self.later, start=1):
            own = self.tail_columns(b)
            rows.append(np.repeat(own, term.q, axis=1).ravel())
            others.append(np.tile(own, term.q).ravel())
        for (b, c), cells in self.cells.items():
            if b:
                # one effect of each level will do: its others are connected to that
                rows.append(self.tail_columns(b)[cells.left_levels, 0])
                others.append(self.tail_columns(c)[cells.right_levels, 0])
        index = (np.concatenate(rows), np.concatenate(others))
        within = sparse.csr_matrix((np.ones(len(index[0])), index), shape=(self.n_tail, self.n_tail))
        return lay_out(met, within)

    def _own_places(self, b: int) -> np.ndarray:
        """Return the places (q, q, n_levels) in flat storage of a later term's own blocks."""
        columns = self.tail_columns(b).T
        return self._places(columns[:, None], columns[None])

    def _cell_places(self, b: int, c: int) -> np.ndarray:
        """Return the places (q_b, q_c, n_cells) in flat storage of the blocks between two later terms."""
        cells = self.cells[b, c]
        left, right = self.tail_columns(b)[cells.left_levels].T, self.tail_columns(c)[cells.right_levels].T
        return self._places(left[:, None], right[None])

    def _places(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return places in the lower triangles."""
        rows, columns = np.broadcast_arrays(rows, columns)
        swap = self.layout.local[rows] < self.layout.local[columns]
        return self.layout.position(np.where(swap, columns, rows), np.where(swap, rows, columns))

    def link_values(self, weights: np.ndarray, root: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Return R_j A_jt Lambda_t at its entries (q, n_entries), R being `root` (q, q, n_levels)."""
        parts = []
        for b, T in enumerate(factors[1:], start=1):
            cells = self.cells[0, b]
            values = cells.between(weights)
            if self.first.q == 1 == len(T):
                parts.append((root[0] * T[0, 0]).take(cells.left_levels, axis=1) * values[0])
                continue
            values = np.einsum("aci,cx->axi", values, T)
            local = root.take(cells.left_levels, axis=2)
            parts.append(np.einsum("abi,bxi->axi", local, values).reshape(self.first.q, -1))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def add_within(self, flat: np.ndarray, weights: np.ndarray, factors: Sequence[np.ndarray]) -> None:
        """Add Lambda_t'A_tt Lambda_t to flat storage, its lower triangles."""
        for b, (term, places, T) in enumerate(zip(self.later, self.own_places, factors[1:], strict=True), start=1):
            own = _congruence(T, term.own(weights), T)
            for a in range(term.q):
                for c in range(a + 1):
                    flat[places[a, c]] += own[a, c]
            for other in range(b + 1, len(self.terms)):
                values = _congruence(T, self.cells[b, other].between(weights), factors[other])
                flat[self.cell_places[b, other]] += values


def _congruence(left: np.ndarray, stack: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return L'A R of each matrix A of a stack (q, r, l)."""
    if len(left) == 1 == len(right):
        return stack * (left[0, 0] * right[0, 0])
    return np.einsum("ax,acl,cy->xyl", left, stack, right, optimize=True)


class _TailComponents(Components):
    """Components that solve a few systems by LAPACK, one after the other: a loop over their rows is longer."""

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return S^-1 right for right of shape (m, k)."""
        if any(bucket.n_components > bucket.size for bucket in self.layout.buckets):
            return super().solve(right)
        result = np.empty_like(right)
        for bucket in self.layout.buckets:
            for factor, columns in zip(bucket.view(self._flat), bucket.columns, strict=True):
                real = columns >= 0
                placed = np.zeros((bucket.size, right.shape[1]), order="F")
                placed[real] = right[columns[real]]
                # the lower factor in C order is the upper one in Fortran order
                solution = linalg.lapack.dpotrs(factor.T, placed, lower=0, overwrite_b=1)[0]
                result[columns[real]] = solution[real]
        return result


@dataclass(frozen=True)
class InverseBlocks:
    """Blocks of C = M^-1 at levels and cells.

    Parameters
    ----------
    own : list of ndarray of shape (q, q, n_levels)
        Diagonal blocks by term.
    between : dict
        (b, c), b < c -> blocks (q_b, q_c, n_cells).
    tail : ndarray of shape (n_floats,)
        C_tt, lower triangles in flat storage.
    """

    own: list[np.ndarray]
    between: dict[tuple[int, int], np.ndarray]
    tail: np.ndarray


class SeveralSystem:
    """M, factorised.

    Parameters
    ----------
    plan : SeveralPlan
        Cells and places.
    weights : ndarray of shape (n_rows,)
        W.
    factors : sequence of ndarray of shape (q, q)
        T by term.
    component_weights : ndarray or None
        Multiplicity of each component in the log determinant.

    Attributes
    ----------
    log_pivots : ndarray of shape (n_levels,)
        log|M_j| / 2 of the levels of the first factor.
    half_log_det : float
        log|S| / 2, components counting by their weights.
    """

    def __init__(
        self,
        plan: SeveralPlan,
        weights: np.ndarray,
        factors: Sequence[np.ndarray],
        component_weights: np.ndarray | None = None,
    ):
        self.plan, self.factors = plan, factors
        self.inverse_root, self.log_pivots = _invert_root(plan.first.own(weights), factors[0])
        root = np.einsum("abl,cb->acl", self.inverse_root, factors[0])
        self.links: Filled = plan.links.fill(plan.link_values(weights, root, factors))
        flat = np.negative(self.links.gram())
        plan.add_within(flat, weights, factors)
        flat[plan.diagonal] += 1.0
        flat[plan.padding] = 1.0
        self.components = _TailComponents(plan.layout, flat, component_weights)
        self.half_log_det = self.components.half_log_det

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return M^-1 right for right of shape (N, k)."""
        cut = int(self.plan.bounds[1])
        z = self._times_root(right[:cut])
        result = np.empty_like(right)
        tail = self.components.solve(right[cut:] - self.links.transposed_times(z))
        result[cut:] = tail
        z -= self.links.times(tail)
        result[:cut] = self._times_root_transposed(z)
        return result

    def _times_root(self, values: np.ndarray) -> np.ndarray:
        """Return L^-1 x."""
        if len(self.inverse_root) == 1:
            return values * self.inverse_root[0, 0][:, None]
        stacked = values.reshape(-1, len(self.inverse_root), values.shape[1])
        return np.einsum("abl,lbk->lak", self.inverse_root, stacked).reshape(values.shape)

    def _times_root_transposed(self, values: np.ndarray) -> np.ndarray:
        """Return L^-T x."""
        if len(self.inverse_root) == 1:
            return values * self.inverse_root[0, 0][:, None]
        stacked = values.reshape(-1, len(self.inverse_root), values.shape[1])
        return np.einsum("abl,lak->lbk", self.inverse_root, stacked).reshape(values.shape)

    def inverse_blocks(self) -> InverseBlocks:
        """Return the blocks of M^-1 that rows of data meet."""
        plan, N = self.plan, self.inverse_root
        tail = self.components.inverse()
        between, first = {}, np.zeros_like(N)
        first[np.arange(len(N)), np.arange(len(N))] = 1.0
        values, moved, begin = self.links.values, self.links.times_inverse(tail), 0
        for b, term in enumerate(plan.later, start=1):
            cells = plan.cells[0, b]
            shape = (plan.first.q, term.q, cells.n_cells)
            entries = slice(begin, begin + term.q * cells.n_cells)
            x, r = values[:, entries].reshape(shape), moved[:, entries].reshape(shape)
            begin = entries.stop
            for a in range(plan.first.q):
                for c in range(a + 1):
                    product = np.einsum("ki,ki->i", x[a], r[c])
                    form = np.bincount(cells.left_levels, product, minlength=plan.first.n_levels)
                    first[a, c] += form
                    if a != c:
                        first[c, a] += form
            between[0, b] = -_at_levels(N, cells.left_levels, r)
        own = [_symmetric_product(N, first)] + [tail[places] for places in plan.own_places]
        between |= {key: tail[places] for key, places in plan.cell_places.items()}
        return InverseBlocks(own, between, tail)


def _invert_root(own: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return L^-1 (q, q, l) of T'A_j T + I = L L', and the logarithm of the pivots (l,)."""
    q = len(T)
    if q == 1:
        pivot = T[0, 0] ** 2 * own[0, 0] + 1.0
        return (1.0 / np.sqrt(pivot))[None, None], 0.5 * np.log(pivot)
    inner = _congruence(T, own, T)
    inner[np.arange(q), np.arange(q)] += 1.0
    factor = lower_factor(inner)
    return solve_lower(factor, np.eye(q)), np.log(factor[np.arange(q), np.arange(q)]).sum(axis=0)


def _at_levels(N: np.ndarray, levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return N_j'V of each cell's V (q, r, n_cells), j its level."""
    if len(N) == 1:
        return N[0].take(levels, axis=1) * values
    return np.einsum("bai,bxi->axi", N.take(levels, axis=2), values)


def _symmetric_product(N: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return N'M N of stacks (q, q, l), M symmetric."""
    if len(N) == 1:
        return N * N * middle
    return np.einsum("bal,bcl,cdl->adl", N, middle, N, optimize=True)
