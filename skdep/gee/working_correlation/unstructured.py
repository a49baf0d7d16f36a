r"""Unstructured working correlation: a parameter for every pair of times.

Rows meet in a cluster at some of the T times of the data; clusters observed at the same times share a pattern, one
Cholesky factor, and its inverse. Work is batched over clusters of equal size: no loop over clusters or patterns.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, section 4: the moment estimator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    Block,
    WorkingCorrelation,
    corrected_counts,
    share_kept,
)

__all__ = ["Unstructured"]

_MOST_TIMES = 1000


@dataclass(frozen=True, slots=True)
class _SizeBucket:
    """Clusters of one size: their rows, their pattern of times, and each pattern's times."""

    rows: np.ndarray | None  # (n_clusters, size), None where these are all rows of the block in order
    pattern: np.ndarray  # (n_clusters,)
    times: np.ndarray  # (n_patterns, size)


@dataclass(frozen=True, slots=True)
class _Layout:
    cluster: np.ndarray  # (n_rows,)
    wave: np.ndarray  # (n_rows,)
    n_clusters: int
    n_waves: int
    buckets: tuple[_SizeBucket, ...]


class Unstructured(WorkingCorrelation):
    """A T x T matrix of correlations, from the clusters observed at both times of a pair."""

    name = "unstructured"
    needs_time = True
    needs_waves = True

    def layout(self, block, dof):
        """Sort clusters by size and by pattern of times."""
        if block.n_waves > _MOST_TIMES:
            raise ValueError(
                f"working_correlation='unstructured' has a parameter for each pair of the {block.n_waves} distinct "
                "times: times must be a few common visits. Number the visits, or use 'ar1'."
            )
        return _Layout(
            block.clusters.codes, block.wave, block.clusters.n_clusters, block.n_waves, tuple(_size_buckets(block))
        )

    def start(self, layouts):
        """Return the identity."""
        return np.eye(layouts[0].n_waves)

    def pair_products(self, layout, values):
        """Return the T x T sums of products of values at two times."""
        table = np.zeros((layout.n_clusters, layout.n_waves))
        table[layout.cluster, layout.wave] = values
        return np.dot(table.T, table)

    def estimate(self, layouts, products, counts, moments, previous):
        """Return mean residual products of pairs over phi; 0 for times that never meet in a cluster."""
        met = counts > 0
        divisor = np.where(met, moments.scale * corrected_counts(counts, moments), 1.0)
        correlation = np.where(met, products / divisor, 0.0)
        np.fill_diagonal(correlation, 1.0)
        return 0.5 * (correlation + correlation.T)

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Shrink towards the identity until every observed pattern's matrix is positive definite."""
        smallest = min(
            float(np.linalg.eigvalsh(_pattern_matrices(association, bucket.times))[:, 0].min())
            for layout in layouts
            for bucket in layout.buckets
        )
        kept = share_kept(smallest, limit)
        return kept * association + (1.0 - kept) * np.eye(len(association)), 1.0 - kept

    def whiten(self, layout, association, values):
        """Multiply by the inverse Cholesky factor of each cluster's pattern."""
        result = np.empty_like(values)
        for bucket in layout.buckets:
            roots = np.linalg.inv(np.linalg.cholesky(_pattern_matrices(association, bucket.times)))
            root = roots[0] if len(roots) == 1 else roots[bucket.pattern]
            size = bucket.times.shape[1]
            if bucket.rows is None:
                stacked = values.reshape(-1, size, values.shape[1])
                np.matmul(root, stacked, out=result.reshape(stacked.shape))
            else:
                result[bucket.rows] = np.matmul(root, values[bucket.rows])
        return result

    def problems(self, layouts, counts, moments, association):
        """Name pairs of times that never meet, or meet too seldom for the denominator asked for."""
        pairs = counts[np.triu_indices(len(counts), 1)]
        found = []
        if (pairs <= 0).any():
            found.append(
                f"{int((pairs <= 0).sum())} of {len(pairs)} pairs of times never occur in one cluster; their "
                "correlation is not estimable, is not used, and is reported as 0."
            )
        seldom = (pairs > 0) & (pairs <= moments.n_params)
        if seldom.any():
            found.append(
                f"{int(seldom.sum())} of {len(pairs)} pairs of times occur in no more clusters than there are "
                "parameters; their correlation was divided by the number of clusters, not by that less parameters."
            )
        return found


def _pattern_matrices(correlation: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the correlations (n_patterns, size, size) at each pattern's times (n_patterns, size)."""
    return correlation[times[:, :, None], times[:, None, :]]


def _size_buckets(block: Block) -> list[_SizeBucket]:
    """Sort clusters into buckets of one size, and find the distinct patterns of times in each."""
    assert block.wave is not None
    sizes, starts = block.clusters.sizes, block.clusters.starts
    distinct = np.unique(sizes)
    buckets = []
    for size in distinct:
        rows = starts[sizes == size, None] + np.arange(size)
        waves = block.wave[rows]
        if np.all(waves == waves[0]):
            times, pattern = waves[:1], np.zeros(len(waves), dtype=np.intp)
        else:
            times, pattern = np.unique(waves, axis=0, return_inverse=True)
        buckets.append(_SizeBucket(None if len(distinct) == 1 else rows, pattern.reshape(-1), times))
    return buckets
