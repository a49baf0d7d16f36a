r"""The Schur complement of the tail after the first factor is gone: G = A_tt - A_t1 W A_1t.

Every entry of G is linear in the entries of W_j, so that G in flat storage is A_tt - P w with sparse P, one column per
level j of the first factor and one entry per pair of tail columns that the level meets. Its transpose gives the
diagonal blocks A_jt C A_tj that the gradient needs. Where there are too many pairs for memory, the columns that most
levels meet are made dense, and only the others are paired.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import linalg, sparse

from skdep._threads import threads_over_blocks
from skdep.mixed.tail_layout import Bucket, TailLayout

__all__ = ["HybridSchur", "PairSchur", "make_schur"]

# Pairs above which lists of pairs take too much memory (12 bytes a pair).
_MOST_PAIRS = 35_000_000
_CHUNK_FLOATS = 16_000_000
_BLOCK_COLUMNS = 256
# Seconds of a multiplication in a dense product, in one of sparse and dense, and of a pair, with a share of making the
# lists: only ratios matter.
_DENSE, _SPARSE, _PAIR = 1.35e-11, 3e-10, 8e-9


def make_schur(links: sparse.csr_matrix, q: int, layout: TailLayout) -> PairSchur | HybridSchur:
    """Choose how to form Schur complements.

    Parameters
    ----------
    links : sparse matrix of shape (n_levels * q, m)
        Cross-products of the first factor's columns with the tail's.
    q : int
        Random effects of a level of the first factor.
    layout : TailLayout
        Places of the tail's columns.
    """
    if _count_pairs(links, q) <= _MOST_PAIRS or len(layout.buckets) > 1 or layout.buckets[0].n_components > 1:
        return PairSchur(links, q, layout)
    return HybridSchur(links, q, layout, _best_split(links, q, layout))


def _count_pairs(links: sparse.csr_matrix, q: int) -> float:
    """Return how many pairs of columns the levels meet."""
    per_level = np.diff(links.indptr).reshape(-1, q).sum(axis=1) / q
    return float(np.sum(per_level * (per_level + 1) / 2)) * q * (q + 1) / 2


def _best_split(links: sparse.csr_matrix, q: int, layout: TailLayout) -> int:
    """Return how many of the first columns, which are the most frequent, to make dense: the least estimated time."""
    order = layout.buckets[0].columns[0]
    m, by_place = len(order), links[:, order].tocsc()
    frequency = np.diff(by_place.indptr)
    best, least = m, np.inf
    for n_dense in np.unique(np.linspace(0.05, 1.0, 20) * m).astype(int):
        n_pairs = _count_pairs(by_place[:, n_dense:].tocsr(), q) if n_dense < m else 0.0
        n_rare = float(frequency[n_dense:].sum())
        time = _DENSE * 2.0 * links.shape[0] * n_dense**2 + _SPARSE * 2.0 * n_rare * n_dense + _PAIR * 2.0 * n_pairs
        if n_pairs <= _MOST_PAIRS and time < least:
            best, least = int(n_dense), time
    return best


class PairSchur:
    """Lists of pairs: sparse matrices P_ac (n_floats, n_levels), for a <= c, filling lower triangles."""

    def __init__(self, links: sparse.csr_matrix, q: int, layout: TailLayout):
        self.q, self.layout = q, layout
        n_levels = links.shape[0] // q
        columns, values, indptr = _by_level(links, q, n_levels, layout)
        counts = np.diff(indptr)
        pairs_of = counts * (counts + 1) // 2
        pair_indptr = np.concatenate([[0], np.cumsum(pairs_of)])
        positions = np.empty(pair_indptr[-1], dtype=np.int32 if layout.n_floats < 2**31 else np.int64)
        combinations = [(a, c) for a in range(q) for c in range(a, q)]
        weights = [np.empty(pair_indptr[-1]) for _ in combinations]
        for first, last in _runs(pairs_of, 4_000_000):
            begin, end = int(indptr[first]), int(indptr[last])
            rank = np.arange(begin, end) - np.repeat(indptr[first:last], counts[first:last])
            left = np.repeat(np.arange(begin, end), rank + 1)
            start = np.repeat(np.repeat(indptr[first:last], counts[first:last]), rank + 1)
            total = np.concatenate([[0], np.cumsum(rank + 1)])
            right = start + np.arange(total[-1]) - np.repeat(total[:-1], rank + 1)
            span = slice(int(pair_indptr[first]), int(pair_indptr[last]))
            positions[span] = layout.position(columns[left], columns[right])
            for (a, c), out in zip(combinations, weights, strict=True):
                product = values[a][left] * values[c][right]
                out[span] = product if a == c else product + values[c][left] * values[a][right]
        shape = (layout.n_floats, n_levels)
        self._combinations = combinations
        self._pairs = [sparse.csc_matrix((out, positions, pair_indptr), shape=shape, copy=False) for out in weights]

    def explained(self, W: np.ndarray) -> np.ndarray:
        """Return the lower triangles of A_t1 W A_1t in flat storage, W being (q, q, n_levels)."""
        parts = (pairs @ W[a, c] for (a, c), pairs in zip(self._combinations, self._pairs, strict=True))
        return sum(parts)

    def quadratic_forms(self, lower: np.ndarray) -> np.ndarray:
        """Return A_jt C A_tj of every level (q, q, n_levels), C given by its lower triangle in flat storage."""
        result = None
        doubled = lower * 2.0
        doubled[self.layout.diagonal()] *= 0.5
        for (a, c), pairs in zip(self._combinations, self._pairs, strict=True):
            form = pairs.T @ doubled
            if result is None:
                result = np.empty((self.q, self.q, len(form)))
            # off the diagonal each pair stands in P for both orders of a and c
            result[a, c] = result[c, a] = form if a == c else 0.5 * form
        assert result is not None
        return result


def _by_level(
    links: sparse.csr_matrix, q: int, n_levels: int, layout: TailLayout
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Return the columns that each level meets, in order of place, the values of its q rows there, and bounds."""
    pattern = sum(abs(links[a::q]) for a in range(q)) if q > 1 else links
    pattern = sparse.csr_matrix(pattern)
    indptr = pattern.indptr.astype(np.int64)
    row = np.repeat(np.arange(n_levels), np.diff(indptr))
    order = np.lexsort((layout.local[pattern.indices], row))
    columns = pattern.indices[order].astype(np.int64)
    if q == 1:
        return columns, [links.data[order]], indptr
    m = links.shape[1]
    key = row * m + columns
    by_key = np.argsort(key, kind="stable")
    values = []
    for a in range(q):
        part = links[a::q].tocoo()
        full = np.zeros(len(key))
        full[by_key[np.searchsorted(key[by_key], part.row.astype(np.int64) * m + part.col)]] = part.data
        values.append(full)
    return columns, values, indptr


def _runs(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Return runs of levels with about `most` pairs each."""
    total = np.cumsum(counts)
    cuts = np.unique(np.searchsorted(total, np.arange(most, int(total[-1]) if len(total) else 0, most)) + 1)
    bounds = np.concatenate([[0], cuts[cuts < len(counts)], [len(counts)]]).astype(int)
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


class HybridSchur:
    """Frequent columns of the tail dense, rare ones as lists of pairs: for one large component with many pairs.

    Products among frequent columns are dense, of rare with frequent ones sparse times dense, among rare ones pairs.
    """

    def __init__(self, links: sparse.csr_matrix, q: int, layout: TailLayout, n_dense: int):
        self.q, self.layout, self._n_dense = q, layout, n_dense
        order = layout.buckets[0].columns[0]
        self._m = len(order)
        self._dense = links[:, order[:n_dense]].tocsr()
        self._rare = links[:, order[n_dense:]].tocsr()
        self._step = max(1, _CHUNK_FLOATS // max(n_dense * q, 1))
        self._n_levels = links.shape[0] // q
        self._rare_layout = _single_component(self._m - n_dense)
        self._pairs = PairSchur(self._rare, q, self._rare_layout) if self._m > n_dense else None
        self._kept = self._dense.toarray() if self._n_levels <= self._step else None

    def _chunks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield levels, their rows, and these rows of the frequent columns made dense."""
        for first in range(0, self._n_levels, self._step):
            last = min(first + self._step, self._n_levels)
            rows = slice(first * self.q, last * self.q)
            yield slice(first, last), rows, self._dense[rows].toarray() if self._kept is None else self._kept

    def explained(self, W: np.ndarray) -> np.ndarray:
        """Return the lower triangles of A_t1 W A_1t in flat storage, W being (q, q, n_levels)."""
        total, cut = np.zeros((self._m, self._m)), self._n_dense
        for levels, rows, dense in self._chunks():
            solved = _apply(W[:, :, levels], dense)
            if self._pairs is not None:
                total[cut:, :cut] += _sparse_product(self._rare[rows].T.tocsr(), solved)
            total[:cut, :cut] += _weighted_gram(W[:, :, levels], dense, solved)
        if self._pairs is not None:
            total[cut:, cut:] = self._pairs.explained(W).reshape(self._m - cut, -1)
        return total.ravel()

    def quadratic_forms(self, lower: np.ndarray) -> np.ndarray:
        """Return A_jt C A_tj of every level (q, q, n_levels), C given by its lower triangle in flat storage."""
        C, cut = lower.reshape(self._m, self._m), self._n_dense
        crossed = C[cut:, :cut]
        result = np.empty((self.q, self.q, self._n_levels))
        for levels, rows, dense in self._chunks():
            forms = self._frequent_forms(dense, C[:cut, :cut])
            if self._pairs is not None:
                # each pair of a rare and a frequent column counts twice
                mixed = _row_products(_sparse_product(self._rare[rows], crossed), dense, self.q)
                forms = forms + mixed + mixed.transpose(1, 0, 2)
            result[:, :, levels] = forms
        if self._pairs is not None:
            result += self._pairs.quadratic_forms(np.ascontiguousarray(C[cut:, cut:]).ravel())
        return result

    def _frequent_forms(self, dense: np.ndarray, C: np.ndarray) -> np.ndarray:
        """Return A_j C A_j' among frequent columns, of the lower triangle of C: half the work of a whole product."""
        # the lower triangle in C order is the upper one in Fortran order
        half = linalg.blas.dtrmm(1.0, C.T, dense.T, side=0, lower=0, trans_a=0).T
        forms = _row_products(half, dense, self.q)
        diagonal = _row_products(dense * np.diag(C), dense, self.q)
        return forms + forms.transpose(1, 0, 2) - diagonal


def _sparse_product(left: sparse.csr_matrix, right: np.ndarray) -> np.ndarray:
    """Return a sparse times a dense matrix, in threads over blocks of columns that stay in cache."""
    result = np.empty((left.shape[0], right.shape[1]))

    def block(begin: int) -> None:
        columns = slice(begin, begin + _BLOCK_COLUMNS)
        result[:, columns] = left @ np.ascontiguousarray(right[:, columns])

    with threads_over_blocks(right.size) as run:
        list(run(block, range(0, right.shape[1], _BLOCK_COLUMNS)))
    return result


def _apply(W: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return W_j times the q rows of each level j."""
    q = len(W)
    if q == 1:
        return rows * W[0, 0][:, None]
    stacked = rows.reshape(-1, q, rows.shape[1])
    return np.einsum("acl,lcm->lam", W, stacked, optimize=True).reshape(rows.shape)


def _weighted_gram(W: np.ndarray, rows: np.ndarray, solved: np.ndarray) -> np.ndarray:
    """Return A'W A, of one array with itself where that can be: half the work."""
    if len(W) > 1:
        return np.dot(rows.T, solved)
    root = rows * np.sqrt(W[0, 0])[:, None]
    return np.dot(root.T, root)


def _row_products(left: np.ndarray, right: np.ndarray, q: int) -> np.ndarray:
    """Return the products of the q rows of each level (q, q, l)."""
    left, right = left.reshape(-1, q, left.shape[1]), right.reshape(-1, q, right.shape[1])
    return np.einsum("lam,lcm->acl", left, right)


def _single_component(size: int) -> TailLayout:
    """Return the layout of one dense component."""
    columns = np.arange(size)
    bucket = Bucket(columns[None], 0)
    zeros = np.zeros(size, dtype=np.int64)
    return TailLayout((bucket,), zeros, columns, np.full(size, size), size**2, zeros)
