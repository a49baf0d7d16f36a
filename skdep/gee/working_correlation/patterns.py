"""Clusters by pattern of times: those observed at the same times share one correlation matrix and one Cholesky factor.

Work is batched over clusters of equal size: no loop over clusters or patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from skdep.clusters import Clusters
from skdep.gee.working_correlation.base import Block, combine_classes

__all__ = [
    "Bucket",
    "TimesLayout",
    "at_times",
    "buckets_by_size",
    "least_eigenvalue",
    "times_layout",
    "whiten_buckets",
]

# A table of clusters by times with less than this share of entries is worth compressing.
_SPARSE_SHARE = 0.1

Matrices = Callable[[np.ndarray], np.ndarray]
"""From patterns of times (n_patterns, size) to their correlations (n_patterns, size, size)."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Clusters of one size: their rows, their pattern of times, and each pattern's times."""

    rows: np.ndarray | None  # (n_clusters, size), None where these are all rows of the block in order
    pattern: np.ndarray  # (n_clusters,)
    times: np.ndarray  # (n_patterns, size)


def buckets_by_size(clusters: Clusters, time: np.ndarray) -> tuple[Bucket, ...]:
    """Sort clusters into buckets of one size, and find the distinct patterns of whole times (n_rows,) in each."""
    distinct = np.unique(clusters.sizes)
    buckets = []
    for size in distinct:
        rows = clusters.starts[clusters.sizes == size, None] + np.arange(size)
        times = time[rows]
        if np.all(times == times[0]):
            patterns, pattern = times[:1], np.zeros(len(times), dtype=np.intp)
        else:
            patterns, pattern = _distinct_rows(times)
        buckets.append(Bucket(None if len(distinct) == 1 else rows, pattern, patterns))
    return tuple(buckets)


def _distinct_rows(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of a table of whole numbers, and the number of each row's."""
    low, base = times.min(), int(times.max() - times.min()) + 1
    if times.shape[1] * np.log2(base) < 62.0:
        # such rows are digits of a number, which is quicker to sort than a row
        digits = np.power(base, np.arange(times.shape[1]), dtype=np.int64)
        _, first, number = np.unique((times - low) @ digits, return_index=True, return_inverse=True)
        return times[first], number.reshape(-1)
    distinct, number = np.unique(times, axis=0, return_inverse=True)
    return distinct, number.reshape(-1)


def least_eigenvalue(buckets: Iterable[Bucket], matrices: Matrices) -> float:
    """Return the least eigenvalue over all patterns."""
    return min(float(np.linalg.eigvalsh(matrices(bucket.times))[:, 0].min()) for bucket in buckets)


def whiten_buckets(buckets: Iterable[Bucket], matrices: Matrices, values: np.ndarray) -> np.ndarray:
    """Multiply each cluster's rows of values (n_rows, m) by the inverse Cholesky factor of its pattern."""
    result = np.empty_like(values)
    for bucket in buckets:
        roots = np.linalg.inv(np.linalg.cholesky(matrices(bucket.times)))
        root = roots[0] if len(roots) == 1 else roots[bucket.pattern]
        size = bucket.times.shape[1]
        if bucket.rows is None:
            stacked = values.reshape(-1, size, values.shape[1])
            np.matmul(root, stacked, out=result.reshape(stacked.shape))
        else:
            result[bucket.rows] = np.matmul(root, values[bucket.rows])
    return result


@dataclass(frozen=True, slots=True)
class TimesLayout:
    """Rows of a block by cluster and by number of their time, for correlations of any two of T times.

    Classes of pairs are the pairs of times a < b, in the order of ``numpy.triu_indices``.
    """

    cluster: np.ndarray  # (n_rows,)
    wave: np.ndarray  # (n_rows,)
    n_clusters: int
    times: np.ndarray  # (n_waves,)
    buckets: tuple[Bucket, ...]

    @property
    def n_waves(self) -> int:
        """Number T of times."""
        return len(self.times)

    def _table(self, values: np.ndarray) -> np.ndarray | sparse.csr_matrix:
        """Return values by cluster and time, 0 where there is no row."""
        shape = (self.n_clusters, self.n_waves)
        if len(values) < _SPARSE_SHARE * shape[0] * shape[1]:
            return sparse.csr_matrix((values, (self.cluster, self.wave)), shape=shape)
        table = np.zeros(shape)
        table[self.cluster, self.wave] = values
        return table

    def products(self, values: np.ndarray) -> np.ndarray:
        """Return the T x T sums of products of values at two times of a cluster."""
        table = self._table(values)
        return _dense(table.T @ table)

    def cluster_products(self, values: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return sums over the pairs of each cluster: see `WorkingCorrelation.cluster_products`."""
        table = np.zeros((self.n_clusters, self.n_waves))
        table[self.cluster, self.wave] = values
        earlier, later = np.triu_indices(self.n_waves, 1)
        return combine_classes(table[:, earlier] * table[:, later], coefficients)

    def pair_forms(self, left: np.ndarray, right: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return sums over pairs, for each column of right: see `WorkingCorrelation.pair_forms`."""
        earlier, later = np.triu_indices(self.n_waves, 1)
        transposed = self._table(left).T
        forms = []
        for column in right.T:
            crossed = _dense(transposed @ self._table(column))
            forms.append(crossed[earlier, later] + crossed[later, earlier])
        return combine_classes(np.array(forms), coefficients).T


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def times_layout(block: Block) -> TimesLayout:
    """Lay out a block by the numbers of its times."""
    assert block.wave is not None and block.times is not None
    clusters = block.clusters
    buckets = buckets_by_size(clusters, block.wave)
    return TimesLayout(clusters.codes, block.wave, clusters.n_clusters, block.times, buckets)


def at_times(correlation: np.ndarray) -> Matrices:
    """Return the function that picks a pattern's rows and columns from the correlations (T, T) of all times."""
    return lambda times: correlation[times[:, :, None], times[:, None, :]]
