"""Where the columns of the later factors go: connected components, each a dense matrix in one flat storage.

Columns of later factors are connected when a row of data has both, or when a level of the first factor meets both.
Levels nested in an outer cluster so fall into one small component each; crossed factors form a single large one.
Components of about one size share a bucket, an array (n_components, s, s), padded by the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from skdep._docs import read_more

__all__ = ["Bucket", "TailLayout", "check_memory", "lay_out", "sparse_blocks"]

# Floats of the tail above which its matrices, of which a fit holds about five, do not fit into memory.
_MOST_FLOATS = 400_000_000
# Sizes to which small components are padded; larger ones are padded to multiples of a quarter of their power of two.
_SMALL_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True)
class Bucket:
    """Components of about one size.

    Parameters
    ----------
    columns : ndarray of shape (n_components, size)
        Tail column at each place, -1 for padding.
    begin : int
        Where the bucket begins in flat storage.
    """

    columns: np.ndarray
    begin: int

    @property
    def n_components(self) -> int:
        """Number of components."""
        return self.columns.shape[0]

    @property
    def size(self) -> int:
        """Rows and columns of a component."""
        return self.columns.shape[1]

    def view(self, flat: np.ndarray) -> np.ndarray:
        """Return this bucket's part of flat storage as (n_components, size, size)."""
        end = self.begin + self.n_components * self.size**2
        return flat[self.begin : end].reshape(self.n_components, self.size, self.size)


@dataclass(frozen=True)
class TailLayout:
    """Places of all tail columns.

    Parameters
    ----------
    buckets : tuple of Bucket
        By size.
    base : ndarray of shape (m,)
        Begin of the component of each column in flat storage.
    local : ndarray of shape (m,)
        Place of each column within its component.
    size : ndarray of shape (m,)
        Size of the component of each column.
    n_floats : int
        Size of flat storage.
    labels : ndarray of shape (m,)
        Component of each column.
    """

    buckets: tuple[Bucket, ...]
    base: np.ndarray
    local: np.ndarray
    size: np.ndarray
    n_floats: int
    labels: np.ndarray

    def position(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the places of entries in flat storage, row and column being of one component."""
        return self.row_begin[rows] + self.local[columns]

    @cached_property
    def row_begin(self) -> np.ndarray:
        """Places of the beginnings of rows (m,)."""
        return self.base + self.local * self.size

    def padding(self) -> np.ndarray:
        """Return the places of the diagonal entries that are padding."""
        parts = []
        for bucket in self.buckets:
            component, place = np.nonzero(bucket.columns < 0)
            parts.append(bucket.begin + component * bucket.size**2 + place * (bucket.size + 1))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def diagonal(self) -> np.ndarray:
        """Return the places of the diagonal entries (m,)."""
        return self.base + self.local * (self.size + 1)


def lay_out(links: sparse.csr_matrix, within: sparse.csr_matrix) -> TailLayout:
    """Find the components and their places.

    Parameters
    ----------
    links : sparse matrix of shape (n_first, m)
        Cross-products of the first factor's columns with the tail's.
    within : sparse matrix of shape (m, m)
        Cross-products of the tail's columns.
    """
    n_first, m = links.shape
    graph = sparse.bmat([[None, links], [links.T, within]], format="csr")
    labels = csgraph.connected_components(graph, directed=False)[1][n_first:]
    labels = np.unique(labels, return_inverse=True)[1]
    # frequent columns first: what is used most stays together
    frequency = np.bincount(links.indices, minlength=m)
    order = np.lexsort((-frequency, labels))
    counts = np.bincount(labels)
    local = np.empty(m, dtype=np.int64)
    local[order] = np.arange(m) - np.repeat(np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    padded = np.array([_padded_size(int(count)) for count in np.unique(counts)])[
        np.unique(counts, return_inverse=True)[1]
    ]
    component_base = np.empty(len(counts), dtype=np.int64)
    buckets, begin = [], 0
    for size in np.unique(padded):
        members = np.flatnonzero(padded == size)
        component_base[members] = begin + np.arange(len(members)) * size**2
        columns = np.full((len(members), size), -1)
        row_of = np.full(len(counts), -1)
        row_of[members] = np.arange(len(members))
        chosen = np.flatnonzero(row_of[labels] >= 0)
        columns[row_of[labels[chosen]], local[chosen]] = chosen
        buckets.append(Bucket(columns, begin))
        begin += len(members) * int(size) ** 2
    return TailLayout(tuple(buckets), component_base[labels], local, padded[labels], begin, labels)


def _padded_size(size: int) -> int:
    for candidate in _SMALL_SIZES:
        if size <= candidate:
            return candidate
    return size


def sparse_blocks(layout: TailLayout, flat: np.ndarray) -> sparse.csr_matrix:
    """Return flat storage, both triangles filled, as a sparse matrix (m, m)."""
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]] = [
        _entries(bucket, bucket.view(flat)) for bucket in layout.buckets
    ]
    rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    m = len(layout.labels)
    return sparse.coo_matrix((values, (rows, columns)), shape=(m, m)).tocsr()


def _entries(bucket: Bucket, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.broadcast_to(bucket.columns[:, :, None], values.shape)
    columns = np.broadcast_to(bucket.columns[:, None, :], values.shape)
    real = (rows >= 0) & (columns >= 0)
    return rows[real], columns[real], values[real]


def check_memory(layout: TailLayout) -> None:
    """Raise if the levels of the later factors are too many for dense matrices."""
    if layout.n_floats <= _MOST_FLOATS:
        return
    largest = max(bucket.size for bucket in layout.buckets)
    raise ValueError(
        f"The factors are crossed in a way that connects {largest} effects of all factors but the largest; that takes "
        f"dense matrices of {8e-9 * layout.n_floats:.0f} GB, more than the {8e-9 * _MOST_FLOATS:.0f} GB that are "
        "feasible. Leave a factor out, merge rare levels, or fit a part of the data."
        f"{read_more('several_factors')}"
    )
