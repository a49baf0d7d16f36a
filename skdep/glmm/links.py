r"""Products of the columns that link the first factor with the tail: X of fixed pattern, values that change.

X (levels of the first factor times q, tail columns) is needed as X'X, in the tail's flat storage, and as X C at the
places where X is not zero. Both are sums over pairs of columns that one level meets; where a level meets most columns,
dense products over chunks of levels are faster, and need less memory than lists of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy import sparse

from skdep.mixed.tail_layout import TailLayout

__all__ = ["DenseLinks", "Filled", "LinkPattern", "PairLinks", "make_links"]

# Lists of pairs take 24 bytes a pair.
_MOST_PAIRS = 35_000_000
_CHUNK_PAIRS = 1_000_000
_CHUNK_FLOATS = 16_000_000
# Seconds of a multiplication in a dense product, and of a pair: only their ratio matters.
_DENSE, _PAIR = 1.35e-11, 8e-9


class Filled(Protocol):
    """X with values.

    Attributes
    ----------
    values : ndarray of shape (q, n_entries)
        The values.
    """

    values: np.ndarray

    def gram(self) -> np.ndarray:
        """Return X'X in flat storage; what is above the diagonal is not used."""

    def times_inverse(self, lower: np.ndarray) -> np.ndarray:
        """Return X C at the entries of X (q, n_entries), C given by its lower triangles in flat storage."""

    def times(self, right: np.ndarray) -> np.ndarray:
        """Return X right for right of shape (m, k)."""

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Return X' right for right of shape (n_levels * q, k)."""


class LinkPattern:
    """Where X is not zero.

    Parameters
    ----------
    levels, columns : ndarray of shape (n_entries,)
        Level of the first factor and tail column of each entry: q values, one each row of the level.
    n_levels, q : int
        Levels of the first factor, and its random effects.
    layout : TailLayout
        Places of the tail's columns.
    """

    def __init__(self, levels: np.ndarray, columns: np.ndarray, n_levels: int, q: int, layout: TailLayout):
        self.levels, self.columns, self.n_levels, self.q, self.layout = levels, columns, n_levels, q, layout
        self.n_entries = len(levels)

    @cached_property
    def order(self) -> np.ndarray:
        """Entries by level, then by place within their component."""
        return np.lexsort((self.layout.local[self.columns], self.levels))

    @cached_property
    def bounds(self) -> np.ndarray:
        """Where the entries of each level begin in that order, and the last end."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.levels, minlength=self.n_levels))])

    @cached_property
    def _compressed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Entries of all rows in the order of compressed rows, their columns, and bounds."""
        counts = np.repeat(np.diff(self.bounds), self.q)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        effect = np.repeat(np.tile(np.arange(self.q), self.n_levels), counts)
        begin = np.repeat(np.repeat(self.bounds[:-1], self.q) - indptr[:-1], counts)
        entry = self.order[np.arange(indptr[-1]) + begin]
        return effect * self.n_entries + entry, self.columns[entry], indptr

    def as_sparse(self, values: np.ndarray) -> sparse.csr_array:
        """Return X with values (q, n_entries)."""
        entries, columns, indptr = self._compressed
        shape = (self.n_levels * self.q, len(self.layout.labels))
        return sparse.csr_array((values.ravel().take(entries), columns, indptr), shape=shape)


def make_links(pattern: LinkPattern) -> PairLinks | DenseLinks:
    """Choose how to form products: by the least estimated time, pairs where the tail has several components."""
    counts, layout = np.diff(pattern.bounds), pattern.layout
    n_pairs = float(np.sum(counts * (counts + 1.0)) / 2.0)
    if len(layout.buckets) > 1 or layout.buckets[0].n_components > 1:
        return PairLinks(pattern)
    dense = _DENSE * pattern.n_levels * float(layout.buckets[0].size) ** 2
    if n_pairs > _MOST_PAIRS or dense < _PAIR * n_pairs:
        return DenseLinks(pattern)
    return PairLinks(pattern)


class PairLinks:
    """Lists of the pairs of entries that one level has, the first of each pair in the order of `LinkPattern.order`."""

    def __init__(self, pattern: LinkPattern):
        self.pattern = pattern
        layout, order, bounds = pattern.layout, pattern.order, pattern.bounds
        columns = pattern.columns[order]
        rank = np.arange(len(order)) - np.repeat(bounds[:-1], np.diff(bounds))
        self.partners = rank + 1
        self.pair_bounds = np.concatenate([[0], np.cumsum(self.partners)])
        within = np.arange(self.pair_bounds[-1]) - np.repeat(self.pair_bounds[:-1], self.partners)
        self.second = np.repeat(np.arange(len(order)) - rank, self.partners) + within
        # entries stand in order of place, so that the first of a pair is not before the second: a lower triangle
        self.positions = layout.row_begin[columns].repeat(self.partners) + layout.local[columns][self.second]

    def chunks(self) -> Iterator[tuple[slice, slice]]:
        """Yield runs of entries, and of the pairs that they begin."""
        n_pairs = int(self.pair_bounds[-1])
        # the sum over a chunk is as long as flat storage
        step = max(_CHUNK_PAIRS, self.pattern.layout.n_floats)
        cuts = np.unique(np.searchsorted(self.pair_bounds, np.arange(0, n_pairs, step)))
        cuts = np.append(cuts[cuts < self.pattern.n_entries], self.pattern.n_entries)
        for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            yield slice(first, last), slice(int(self.pair_bounds[first]), int(self.pair_bounds[last]))

    def fill(self, values: np.ndarray) -> FilledPairs:
        """Give X the values (q, n_entries)."""
        return FilledPairs(self, values)


class FilledPairs:
    """X with values, by lists of pairs."""

    def __init__(self, links: PairLinks, values: np.ndarray):
        self._links, self.values = links, values
        self._ordered = values[:, links.pattern.order]
        self._sparse = links.pattern.as_sparse(values)

    def gram(self) -> np.ndarray:
        """Return X'X in flat storage, its lower triangles."""
        links, n_floats = self._links, self._links.pattern.layout.n_floats
        total: np.ndarray | None = None
        for entries, pairs in links.chunks():
            partners, second = links.partners[entries], links.second[pairs]
            products = self._ordered[0, entries].repeat(partners)
            products *= self._ordered[0].take(second)
            for row in self._ordered[1:]:
                products += row[entries].repeat(partners) * row.take(second)
            part = np.bincount(links.positions[pairs], products, minlength=n_floats)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def times_inverse(self, lower: np.ndarray) -> np.ndarray:
        """Return X C at the entries of X (q, n_entries), C given by its lower triangles in flat storage."""
        links, pattern = self._links, self._links.pattern
        # an entry is paired with itself once, but is both first and second there
        halved = lower.copy()
        halved[pattern.layout.diagonal()] *= 0.5
        ordered = np.zeros_like(self._ordered)
        for entries, pairs in links.chunks():
            partners, second = links.partners[entries], links.second[pairs]
            between = halved.take(links.positions[pairs])
            begins = links.pair_bounds[entries] - pairs.start
            for row, out in zip(self._ordered, ordered, strict=True):
                out[entries] += np.add.reduceat(row.take(second) * between, begins)
                out += np.bincount(second, row[entries].repeat(partners) * between, minlength=pattern.n_entries)
        result = np.empty_like(ordered)
        result[:, pattern.order] = ordered
        return result

    def times(self, right: np.ndarray) -> np.ndarray:
        """Return X right for right of shape (m, k)."""
        return self._sparse @ right

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Return X' right for right of shape (n_levels * q, k)."""
        return self._sparse.T @ right


class DenseLinks:
    """Dense products, over chunks of levels: for one component that most levels meet much of."""

    def __init__(self, pattern: LinkPattern):
        self.pattern = pattern
        bucket = pattern.layout.buckets[0]
        self.size, q = bucket.size, pattern.q
        self.step = max(1, _CHUNK_FLOATS // (self.size * q))
        self.is_whole = pattern.n_levels <= self.step
        self.places = pattern.layout.local
        # rows of the matrix are (level, effect)
        entry_rows = pattern.levels * q + np.arange(q)[:, None]
        self.index = entry_rows * self.size + self.places[pattern.columns]

    def fill(self, values: np.ndarray) -> FilledDense | FilledChunks:
        """Give X the values (q, n_entries)."""
        return FilledDense(self, values) if self.is_whole else FilledChunks(self, values)


class FilledDense:
    """X with values, as one dense matrix, columns by place."""

    def __init__(self, links: DenseLinks, values: np.ndarray):
        self._links, self.values = links, values
        self._matrix = np.zeros((links.pattern.n_levels * links.pattern.q, links.size))
        self._matrix.ravel()[links.index.ravel()] = values.ravel()

    def gram(self) -> np.ndarray:
        """Return X'X in flat storage."""
        return np.dot(self._matrix.T, self._matrix).ravel()

    def times_inverse(self, lower: np.ndarray) -> np.ndarray:
        """Return X C at the entries of X (q, n_entries), C given by its lower triangles in flat storage."""
        product = np.dot(self._matrix, _symmetric(lower, self._links.size))
        return product.ravel().take(self._links.index)

    def times(self, right: np.ndarray) -> np.ndarray:
        """Return X right for right of shape (m, k)."""
        placed = np.zeros((self._links.size, right.shape[1]))
        placed[self._links.places] = right
        return np.dot(self._matrix, placed)

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Return X' right for right of shape (n_levels * q, k)."""
        return np.dot(self._matrix.T, right)[self._links.places]


class FilledChunks:
    """X with values, as dense matrices of chunks of levels that are made when needed."""

    def __init__(self, links: DenseLinks, values: np.ndarray):
        self._links, self.values = links, values
        self._sparse = links.pattern.as_sparse(values)

    def _chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield the entries of a chunk of levels, their places in the chunk's matrix, and the matrix."""
        links, pattern = self._links, self._links.pattern
        for first in range(0, pattern.n_levels, links.step):
            last = min(first + links.step, pattern.n_levels)
            entries = pattern.order[pattern.bounds[first] : pattern.bounds[last]]
            index = links.index[:, entries] - first * pattern.q * links.size
            matrix = np.zeros(((last - first) * pattern.q, links.size))
            matrix.ravel()[index] = self.values[:, entries]
            yield entries, index, matrix

    def gram(self) -> np.ndarray:
        """Return X'X in flat storage."""
        total = np.zeros((self._links.size, self._links.size))
        for _, _, matrix in self._chunks():
            total += np.dot(matrix.T, matrix)
        return total.ravel()

    def times_inverse(self, lower: np.ndarray) -> np.ndarray:
        """Return X C at the entries of X (q, n_entries), C given by its lower triangles in flat storage."""
        whole = _symmetric(lower, self._links.size)
        result = np.empty_like(self.values)
        for entries, index, matrix in self._chunks():
            result[:, entries] = np.dot(matrix, whole).ravel().take(index)
        return result

    def times(self, right: np.ndarray) -> np.ndarray:
        """Return X right for right of shape (m, k)."""
        return self._sparse @ right

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Return X' right for right of shape (n_levels * q, k)."""
        return self._sparse.T @ right


def _symmetric(lower: np.ndarray, size: int) -> np.ndarray:
    """Return the whole symmetric matrix of a lower triangle; what is above it is not read."""
    matrix = np.tril(lower.reshape(size, size))
    result = matrix + matrix.T
    result.ravel()[:: size + 1] *= 0.5
    return result
