r"""Sandwich covariance: bread times meat times bread, with scores added up within clusters first.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22: the cluster-robust sandwich.
Cameron, Gelbach and Miller (2011), Journal of Business and Economic Statistics 29, 238-249: several ways of clustering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from skdep.clusters import Clusters

__all__ = [
    "cluster_intersections",
    "few_clusters_message",
    "finite_sample_factor",
    "multiway_meat",
    "nearest_positive_semidefinite",
    "sandwich",
    "way_signs",
]


def sandwich(bread: np.ndarray, meat: np.ndarray) -> np.ndarray:
    """Return bread (p, p) times meat (p, p) times bread, exactly symmetric."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a fit that ran away: infinite is the right word
        product = bread @ meat @ bread
    return 0.5 * (product + product.T)


def finite_sample_factor(n_clusters: int) -> float:
    """Return K / (K - 1); infinite variance, NaN, for a single cluster."""
    return n_clusters / (n_clusters - 1.0) if n_clusters > 1 else np.nan


def few_clusters_message(n_clusters: int, n_params: int) -> str | None:
    """Say what is wrong with a sandwich from so few clusters; None if nothing is obviously so."""
    if n_clusters == 1:
        return (
            "There is one cluster: the clustered covariance cannot be estimated and is NaN. Give groups with more "
            "levels, or choose a covariance that is not clustered."
        )
    if n_clusters <= n_params:
        return (
            f"There are {n_clusters} clusters for {n_params} parameters: the clustered covariance has not full rank, "
            "its standard errors are too small, and joint tests of all parameters are impossible."
        )
    return None


def way_signs(n_ways: int) -> list[tuple[tuple[int, ...], float]]:
    """Return every combination of ways with its sign by inclusion and exclusion: singles +, pairs -, triples +."""
    return [
        (ways, 1.0 if size % 2 else -1.0) for size in range(1, n_ways + 1) for ways in combinations(range(n_ways), size)
    ]


def cluster_intersections(factors: Sequence[np.ndarray]) -> dict[tuple[int, ...], Clusters]:
    """Return the clusters of every combination of factors, each given by its codes (n_rows,)."""
    import pandas as pd

    result = {}
    for ways, _ in way_signs(len(factors)):
        codes = factors[ways[0]].astype(np.int64)
        if len(ways) == 1 and not np.bincount(codes).all():
            codes = np.unique(codes, return_inverse=True)[1]
        for way in ways[1:]:
            codes = pd.factorize(codes * (int(factors[way].max()) + 1) + factors[way])[0]
        result[ways] = Clusters.from_codes(codes, np.arange(int(codes.max()) + 1))
    return result


def multiway_meat(
    clusters: dict[tuple[int, ...], Clusters], score_sums: Callable[[Clusters], np.ndarray], n_ways: int
) -> np.ndarray:
    """Return the meat under several ways of clustering, each term with its own K / (K - 1).

    Parameters
    ----------
    clusters : dict
        Clusters of every combination of ways, from `cluster_intersections`.
    score_sums : callable
        Returns the scores (n_clusters, p) added up within some clusters.
    n_ways : int
        Number of ways.
    """
    meat: np.ndarray | float = 0.0
    for ways, sign in way_signs(n_ways):
        sums = score_sums(clusters[ways])
        meat = meat + sign * finite_sample_factor(clusters[ways].n_clusters) * (sums.T @ sums)
    return np.asarray(meat)


def nearest_positive_semidefinite(covariance: np.ndarray) -> tuple[np.ndarray, bool]:
    """Set negative eigenvalues to zero; say whether there were any beyond rounding."""
    if not np.isfinite(covariance).all():
        return covariance, False
    values, vectors = np.linalg.eigh(covariance)
    if values[0] >= -1e-12 * max(values[-1], 0.0):
        return covariance, False
    return (vectors * np.maximum(values, 0.0)) @ vectors.T, True
