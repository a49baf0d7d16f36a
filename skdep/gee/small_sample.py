r"""Covariances of a GEE for few clusters: all of them from one pass over blocks of whole clusters.

References
----------
Mancl and DeRouen (2001), Biometrics 57, 126-134; Kauermann and Carroll (2001), Journal of the American Statistical
Association 96, 1387-1396; Fay and Graubard (2001), Biometrics 57, 1198-1206: see `skdep.sandwich_corrections`.
MacKinnon and White (1985), Journal of Econometrics 29, 305-325: K / (K - p).
Morel, Bokossa and Neerchal (2003), Biometrical Journal 45, 395-409. Pan (2001), Biometrika 88, 901-906.
Lipsitz, Dear and Zhao (1994), Biometrics 50, 842-846; Yan and Fine (2004), Statistics in Medicine 23, 859-874: the
one-step jackknife.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.gee.equations import Equations, Evaluation, WhiteBlock
from skdep.gee.pooled import Positions, pooled_root
from skdep.sandwich_corrections import (
    CorrectedSums,
    CorrectionFrame,
    cluster_products,
    correct_block,
    corrected_scores,
    leverage_eigen,
)
from skdep.sandwich_degrees import LeverageTable, leverage_table

__all__ = [
    "ClusterPass",
    "Numbers",
    "orthonormal_scores",
    "pass_over_clusters",
    "reduced_scores",
    "small_sample_covariances",
]

# d of Morel, Bokossa and Neerchal, and the least that their design effect may be.
_MBN_D = 2.0
_MBN_R = 1.0


@dataclass(frozen=True, slots=True)
class ClusterPass:
    """What one pass over the clusters gave, in orthonormal coordinates.

    Parameters
    ----------
    sums : CorrectedSums
        Sums of squares of scores, plain and corrected.
    pan : ndarray of shape (r, r) or None
        The same with residual covariances pooled.
    table : LeverageTable or None
        Leverages of the clusters.
    """

    sums: CorrectedSums
    pan: np.ndarray | None
    table: LeverageTable | None


def pass_over_clusters(
    equations: Equations,
    at: Evaluation,
    frame: CorrectionFrame,
    *,
    positions: Positions | None = None,
    tabulate: bool = False,
) -> ClusterPass:
    """Go over all blocks of clusters once.

    Parameters
    ----------
    equations : Equations
        The equations.
    at : Evaluation
        Their solution.
    frame : CorrectionFrame
        Orthonormal coordinates.
    positions : Positions, optional
        Positions of rows, for Pan's covariance.
    tabulate : bool
        Whether to make the table of leverages.
    """
    further = None
    if positions is not None:
        root = pooled_root(equations, at, positions)

        def further(rows: slice) -> np.ndarray:
            return root[positions.of(rows)]

    def sums(part: WhiteBlock) -> tuple[CorrectedSums, np.ndarray | None, LeverageTable | None]:
        columns, residual, clusters = part.columns[:, :-1] @ frame.root, part.columns[:, -1], part.clusters
        eigen = leverage_eigen(columns, clusters) if tabulate else None
        pan = None
        if positions is not None:
            pan = _pooled_meat(cluster_products(part.further, columns, clusters.starts, clusters.sizes), part.counts)
        table = None if eigen is None else leverage_table(eigen, part.counts)
        return correct_block(columns, residual, clusters, part.counts, frame, eigen), pan, table

    parts, pans, tables = zip(*equations.over_white_blocks(at, sums, further), strict=True)
    return ClusterPass(
        sums=CorrectedSums.total(parts),
        pan=np.add.reduce(pans) if positions is not None else None,
        table=LeverageTable.total(tables) if tabulate else None,
    )


def _pooled_meat(products: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Return the sum (r, r) over clusters, each as often as it is counted, of P'P, P (T, r) by cluster."""
    n_clusters, n_positions, rank = products.shape
    rows = products.reshape(n_clusters * n_positions, rank)
    return np.dot(rows.T, rows if counts is None else rows * np.repeat(counts, n_positions)[:, None])


def orthonormal_scores(
    equations: Equations, at: Evaluation, root: np.ndarray, *, of_rows: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (n, r) of clusters, or of rows, in orthonormal coordinates, and the first row (n,) of each."""

    def scores(part: WhiteBlock) -> tuple[np.ndarray, np.ndarray]:
        found = (part.columns[:, :-1] @ root) * part.columns[:, -1:]
        if of_rows:
            return found, np.arange(part.rows.start, part.rows.stop)
        return part.clusters.sum(found), part.rows.start + part.clusters.starts

    found, first_rows = zip(*equations.over_white_blocks(at, scores), strict=True)
    return np.concatenate(found), np.concatenate(first_rows)


def reduced_scores(equations: Equations, at: Evaluation, root: np.ndarray) -> tuple[np.ndarray, LeverageTable]:
    """Return the scores (n_clusters, r) of Kauermann and Carroll in orthonormal coordinates, and the leverages."""

    def scores(part: WhiteBlock) -> tuple[np.ndarray, LeverageTable]:
        columns = part.columns[:, :-1] @ root
        sums = part.clusters.sum(columns * part.columns[:, -1:])
        reduced = corrected_scores(columns, sums, part.clusters)[1]
        return reduced, leverage_table(leverage_eigen(columns, part.clusters), part.counts)

    found, tables = zip(*equations.over_white_blocks(at, scores), strict=True)
    return np.concatenate(found), LeverageTable.total(tables)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the corrections divide by.

    Parameters
    ----------
    n_obs, n_clusters : float
        Rows, and clusters, repeated ones counted as often.
    n_params : int
        Coefficients that can be estimated.
    n_association : int
        Parameters of the working correlation.
    scale : float
        phi.
    scale_is_estimated : bool
        Whether it is not fixed.
    """

    n_obs: float
    n_clusters: float
    n_params: int
    n_association: int
    scale: float
    scale_is_estimated: bool


def small_sample_covariances(
    found: ClusterPass, frame: CorrectionFrame, robust: np.ndarray, numbers: Numbers
) -> dict[str, np.ndarray]:
    """Return the covariances of the user's coefficients for few clusters, by type.

    Parameters
    ----------
    found : ClusterPass
        Sums over clusters.
    frame : CorrectionFrame
        Orthonormal coordinates.
    robust : ndarray of shape (n_params, n_params)
        The plain sandwich.
    numbers : Numbers
        Numbers of clusters and parameters.
    """
    K, p = numbers.n_clusters, numbers.n_params
    md = frame.covariance(found.sums.md)
    left = K - p - numbers.n_association - numbers.scale_is_estimated
    by_type = {
        "df": robust * (K / (K - p) if p < K else np.nan),
        "md": md,
        "kc": frame.covariance(found.sums.kc),
        "fg": frame.centred_covariance(found.sums.fg),
        "mbn": _morel(found.sums.robust, frame, robust, numbers),
        "jackknife": md * (left / K if left > 0 else np.nan),
    }
    if found.pan is not None:
        by_type["pan"] = frame.covariance(found.pan)
    return by_type


def _morel(meat: np.ndarray, frame: CorrectionFrame, robust: np.ndarray, numbers: Numbers) -> np.ndarray:
    """Return Morel, Bokossa and Neerchal's covariance: k V + delta xi naive, xi the mean design effect of k V."""
    K, p, n = numbers.n_clusters, numbers.n_params, numbers.n_obs
    if not (n > p and K > 1):
        return np.full_like(robust, np.nan)
    k = (n - 1.0) / (n - p) * K / (K - 1.0)
    delta = p / (K - p) if (_MBN_D + 1.0) * p < K else 1.0 / _MBN_D
    # of an exact fit the scale is 0, and so is all that it divides
    effect = k * np.trace(meat) / (p * numbers.scale) if numbers.scale > 0 else 0.0
    naive = numbers.scale * frame.covariance(np.eye(len(meat)))
    return k * robust + delta * max(effect, _MBN_R) * naive
