r"""What can be said of working correlations R that are known by a root of their inverse only, R^{-1} = C'C.

Structures multiply columns by C, cluster by cluster. Multiplied into indicators of the first rows of all clusters, of
the second rows, and so on, it shows itself column by column. Where C is symmetric (exchangeable) or has a single band
below the diagonal (AR(1)), less will do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from skdep.clusters import Clusters
from skdep.gee.working_correlation import AR1, Exchangeable, Independence, WorkingCorrelation

__all__ = ["correlation_matrices", "log_determinants", "position_in_cluster", "solved"]

# Floats of the indicators, and their images, that are made at a time.
_FLOATS = 4_000_000


def position_in_cluster(clusters: Clusters) -> np.ndarray:
    """Return the place of each row in its cluster, from 0."""
    return np.arange(clusters.n_rows) - clusters.spread(clusters.starts)


def solved(
    structure: WorkingCorrelation, layout: Any, association: Any, clusters: Clusters, values: np.ndarray
) -> np.ndarray:
    """Multiply each cluster's rows of values (n_rows, m) by R^{-1}."""
    white = structure.whiten(layout, association, values)
    if type(structure) is Independence:
        return white
    if type(structure) is Exchangeable:
        return structure.whiten(layout, association, white)
    if type(structure) is AR1:
        return _two_bands(structure, layout, association, clusters, white)
    result = np.empty_like(values)
    for chosen, rows, image in _images(structure, layout, association, clusters):
        # entry (j, k) of C, over rows j of the cluster: C'w at row k is the sum of image times w
        for number in range(values.shape[1]):
            sums = clusters.sum(image * white[:, number : number + 1])
            result[rows, number] = sums[clusters.codes[rows], chosen[rows]]
    return result


def _two_bands(structure: AR1, layout: Any, association: Any, clusters: Clusters, white: np.ndarray) -> np.ndarray:
    """Multiply by C', whose diagonal and one band show in the images of even and of odd rows."""
    odd = position_in_cluster(clusters) % 2
    indicators = np.column_stack([1.0 - odd, odd]).astype(np.float64)
    image = structure.whiten(layout, association, indicators)
    number = np.arange(len(white))
    result = white * image[number, odd][:, None]
    inside = np.flatnonzero(clusters.codes[1:] == clusters.codes[:-1])  # rows with a row after them
    result[inside] += image[inside + 1, odd[inside]][:, None] * white[inside + 1]
    return result


def _images(
    structure: WorkingCorrelation, layout: Any, association: Any, clusters: Clusters
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (column of each row, rows that are indicated, image (n_rows, k)) for a few positions at a time."""
    position, largest = position_in_cluster(clusters), int(clusters.sizes.max())
    step = int(np.clip(_FLOATS // clusters.n_rows, 1, largest))
    for begin in range(0, largest, step):
        rows = np.flatnonzero((position >= begin) & (position < begin + step))
        indicators = np.zeros((clusters.n_rows, min(step, largest - begin)))
        indicators[rows, position[rows] - begin] = 1.0
        yield position - begin, rows, structure.whiten(layout, association, indicators)


def log_determinants(
    structure: WorkingCorrelation, layout: Any, association: Any, clusters: Clusters, *, largest: int
) -> np.ndarray | None:
    """Return log|R| of each cluster (n_clusters,); None where a matrix of more than `largest` rows would be needed."""
    if type(structure) is Independence:
        return np.zeros(clusters.n_clusters)
    if type(structure) is Exchangeable:
        n = clusters.sizes
        return (n - 1) * np.log1p(-association) + np.log1p((n - 1) * association)
    if type(structure) is AR1:
        odd = position_in_cluster(clusters) % 2
        indicators = np.column_stack([1.0 - odd, odd]).astype(np.float64)
        image = structure.whiten(layout, association, indicators)
        return -2.0 * clusters.sum(np.log(np.abs(image[np.arange(clusters.n_rows), odd])))
    if clusters.sizes.max() > largest:
        return None
    result = np.empty(clusters.n_clusters)
    for which, roots in _roots(structure, layout, association, clusters):
        result[which] = -2.0 * np.linalg.slogdet(roots)[1]
    return result


def correlation_matrices(
    structure: WorkingCorrelation, layout: Any, association: Any, clusters: Clusters
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (numbers of clusters (k,), their correlation matrices (k, n, n)), clusters of one size n at a time."""
    for which, roots in _roots(structure, layout, association, clusters):
        inverse = np.linalg.inv(roots)
        yield which, inverse @ inverse.transpose(0, 2, 1)


def _roots(
    structure: WorkingCorrelation, layout: Any, association: Any, clusters: Clusters
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (numbers of clusters (k,), their roots C (k, n, n)), clusters of one size n at a time."""
    largest = int(clusters.sizes.max())
    indicators = np.zeros((clusters.n_rows, largest))
    indicators[np.arange(clusters.n_rows), position_in_cluster(clusters)] = 1.0
    image = structure.whiten(layout, association, indicators)
    for size in np.unique(clusters.sizes):
        which = np.flatnonzero(clusters.sizes == size)
        rows = clusters.starts[which, None] + np.arange(size)
        yield which, image[rows, :size]
