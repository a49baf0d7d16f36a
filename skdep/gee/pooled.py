r"""Pan's covariance: the residual covariance within clusters, pooled over all of them, in place of each cluster's own.

The sandwich has (y_i - mu_i)(y_i - mu_i)' in the middle, one noisy matrix a cluster. Where rows of all clusters stand
at the same few positions (visits), and only the variance function sets them apart, those matrices may be pooled:
C = K^{-1} sum e_i e_i', e the Pearson residuals, times the root of the row's weight where it has one. The covariance is

.. math:: B^{-1} \Bigl(\sum_i D_i'V_i^{-1} A_i^{1/2} C A_i^{1/2} V_i^{-1} D_i\Bigr) B^{-1} .

Positions that a cluster lacks are left out, of its own term and of the pool: an entry of C is the mean over clusters
that have both positions. Should C then have negative eigenvalues, they are set to zero.

References
----------
Pan (2001), Biometrika 88, 901-906.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.clusters import Clusters
from skdep.gee.equations import Equations, Evaluation
from skdep.gee.working_correlation import Block

__all__ = ["Positions", "cluster_positions", "pooled_root"]

# Residual covariances of more positions than this are no longer estimated by pooling.
_MOST_POSITIONS = 50


@dataclass(frozen=True, slots=True)
class Positions:
    """Where in its cluster each row stands.

    Parameters
    ----------
    number : ndarray of shape (n_rows,) or None
        Position of each row, rows in cluster order; None where every cluster has all positions in order.
    n_positions : int
        Number of positions.
    """

    number: np.ndarray | None
    n_positions: int

    def of(self, rows: slice) -> np.ndarray:
        """Return the positions of some whole clusters' rows."""
        if self.number is not None:
            return self.number[rows]
        return np.tile(np.arange(self.n_positions), (rows.stop - rows.start) // self.n_positions)


def cluster_positions(clusters: Clusters, time: np.ndarray | None) -> Positions | str:
    """Find positions that clusters share, or say why there are none.

    Parameters
    ----------
    clusters : Clusters
        The clusters; rows are in their order.
    time : ndarray of shape (n_rows,) or None
        Times in that order; without them a row's position is its place in the cluster.
    """
    size = int(clusters.sizes[0])
    equal = bool((clusters.sizes == size).all())
    if equal and size <= _MOST_POSITIONS:
        table = None if time is None else time.reshape(-1, size)
        if table is None or ((table == table[0]).all() and len(np.unique(table[0])) == size):
            return Positions(None, size)
    if time is None:
        if equal:
            return f"it pools residuals at the same position in every cluster, of which there are too many ({size})"
        return (
            "it pools residuals at the same position in every cluster, but clusters have different numbers of rows: "
            "pass time= to say which rows belong together"
        )
    # many different times show in the first rows already, without sorting all
    if len(np.unique(time[:10_000])) <= _MOST_POSITIONS:
        waves, number = _numbered(time)
        if len(waves) <= _MOST_POSITIONS:
            if _are_tied(clusters, number, len(waves)):
                return "it pools residuals at common times, but times are tied within clusters"
            return Positions(number, len(waves))
    return f"it pools residuals at common times, but there are more than {_MOST_POSITIONS} different times"


def _are_tied(clusters: Clusters, number: np.ndarray, n_numbers: int) -> bool:
    """Say whether a number, of at most 60, occurs twice in a cluster."""
    if clusters.sizes.max() > n_numbers:
        return True
    # a sum of powers of two has as many digits 1 as terms only if these are distinct
    sums = np.add.reduceat(np.left_shift(1, number), clusters.starts)
    return bool((np.bitwise_count(sums) != clusters.sizes).any())


def _numbered(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct times, and the number of each row's."""
    low, high = time.min(), time.max()
    if high - low <= 1_000 and (time == np.floor(time)).all():
        # whole times in a small range need no sorting
        shifted = (time - low).astype(np.intp)
        present = np.flatnonzero(np.bincount(shifted))
        number = np.zeros(int(high - low) + 1, dtype=np.intp)
        number[present] = np.arange(len(present))
        return present + low, number[shifted]
    return np.unique(time, return_inverse=True)


def pooled_root(equations: Equations, at: Evaluation, positions: Positions) -> np.ndarray:
    """Return F (T, T) of the pooled residual covariance C = F F'."""
    data, n_positions = equations.data, positions.n_positions

    def sums(part: tuple[slice, Block]) -> np.ndarray:
        rows, clusters = part[0], part[1].clusters
        cell = clusters.spread(np.arange(clusters.n_clusters)) * n_positions + positions.of(rows)
        values = np.zeros((2, clusters.n_clusters * n_positions))
        # a repeated cluster's residuals are those of one repetition times the root of their number
        values[0, cell] = at.residual[rows]
        values[1, cell] = 1.0 if data.counts is None else np.sqrt(data.counts[rows])
        tables = values.reshape(2, clusters.n_clusters, n_positions)
        return tables.transpose(0, 2, 1) @ tables

    products, pairs = np.add.reduce(list(equations.run(sums, data.blocks)))
    pooled = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    values, vectors = np.linalg.eigh(pooled)
    return vectors * np.sqrt(np.maximum(values, 0.0))
