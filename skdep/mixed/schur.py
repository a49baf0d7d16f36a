r"""The Schur complement of the tail after the first factor is gone: G = A_tt - A_t1 W A_1t.

Every entry of G is linear in the entries of W_j, so that G in flat storage is A_tt - P w with sparse P, one column per
level j of the first factor and one entry per pair of tail columns that the level meets. Its transpose gives the
diagonal blocks A_jt C A_tj that the gradient needs. Where there are too many pairs for memory, levels are made dense in
chunks instead, and the products are dense.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from skdep.mixed.tail_layout import TailLayout

__all__ = ["DenseSchur", "PairSchur", "make_schur"]

# Pairs above which lists of pairs take too much memory (12 bytes a pair).
_MOST_PAIRS = 80_000_000
_CHUNK_FLOATS = 8_000_000


def make_schur(links: sparse.csr_matrix, q: int, layout: TailLayout) -> PairSchur | DenseSchur:
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
    per_level = np.diff(links.indptr).reshape(-1, q).sum(axis=1) / q
    n_pairs = float(np.sum(per_level * (per_level + 1) / 2)) * q * (q + 1) / 2
    # pairs lists need all columns that a level meets in each of its rows
    if n_pairs > _MOST_PAIRS and len(layout.buckets) == 1 and layout.buckets[0].n_components == 1:
        return DenseSchur(links, q, layout)
    return PairSchur(links, q, layout)


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
        for first, last in _chunks(pairs_of, 4_000_000):
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


def _chunks(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Return runs of levels with about `most` pairs each."""
    total = np.cumsum(counts)
    cuts = np.unique(np.searchsorted(total, np.arange(most, int(total[-1]) if len(total) else 0, most)) + 1)
    bounds = np.concatenate([[0], cuts[cuts < len(counts)], [len(counts)]]).astype(int)
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


class DenseSchur:
    """Levels made dense in chunks: for one component, where pairs are too many to list."""

    def __init__(self, links: sparse.csr_matrix, q: int, layout: TailLayout):
        self.q, self.layout = q, layout
        columns = layout.buckets[0].columns[0]
        self._links = links[:, columns[columns >= 0]].tocsr()
        self._m = layout.buckets[0].size
        self._step = max(1, _CHUNK_FLOATS // max(self._m * q, 1))
        self._n_levels = links.shape[0] // q

    def _spans(self) -> list[slice]:
        return [slice(k, min(k + self._step, self._n_levels)) for k in range(0, self._n_levels, self._step)]

    def explained(self, W: np.ndarray) -> np.ndarray:
        """Return the lower triangles of A_t1 W A_1t in flat storage."""
        total = np.zeros((self._m, self._m))
        for span in self._spans():
            rows = self._links[span.start * self.q : span.stop * self.q].toarray()
            stacked = rows.reshape(-1, self.q, self._m)
            solved = np.einsum("acl,lcm->lam", W[:, :, span], stacked).reshape(rows.shape)
            if self.q == 1:
                root = rows * np.sqrt(W[0, 0, span])[:, None]
                # the upper triangle in Fortran order is the lower one in C order
                total = linalg.blas.dsyrk(1.0, root.T, beta=1.0, c=total.T, trans=0, lower=0, overwrite_c=1).T
            else:
                total += np.dot(rows.T, solved)
        return total.ravel()

    def quadratic_forms(self, lower: np.ndarray) -> np.ndarray:
        """Return A_jt C A_tj of every level (q, q, n_levels)."""
        C = lower.reshape(self._m, self._m)
        C = np.tril(C) + np.tril(C, -1).T
        result = np.empty((self.q, self.q, self._n_levels))
        for span in self._spans():
            rows = self._links[span.start * self.q : span.stop * self.q].toarray()
            right = np.dot(rows, C).reshape(-1, self.q, self._m)
            result[:, :, span] = np.einsum("lam,lcm->acl", rows.reshape(right.shape), right)
        return result
