r"""Covariance matrices of a GEE from p x p sums.

With bread B = sum D'V^{-1}D phi and cluster scores u_i (phi cancels in both), the naive covariance is phi B^{-1} and
the robust one B^{-1} (sum u_i u_i') B^{-1}, consistent even where the working correlation is wrong.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, theorem 2.
"""

from __future__ import annotations

import numpy as np

from skdep._linalg import scaled_inverse
from skdep.sandwich import sandwich

__all__ = ["gee_covariances"]


def gee_covariances(
    bread: np.ndarray, scores: np.ndarray, counts: np.ndarray | None, scale: float
) -> dict[str, np.ndarray]:
    """Return the covariance matrices by type.

    Parameters
    ----------
    bread : ndarray of shape (p, p)
        Information without phi.
    scores : ndarray of shape (n_clusters, p)
        Cluster scores without phi, a repeated cluster's times its repetitions.
    counts : ndarray of shape (n_clusters,) or None
        Repetitions of the clusters.
    scale : float
        phi.
    """
    inverse = scaled_inverse(bread)
    halves = scores if counts is None else scores / np.sqrt(counts)[:, None]
    with np.errstate(over="ignore"):  # of a fit that ran away: infinite is the right word
        meat = np.dot(halves.T, halves)
    robust = sandwich(inverse, meat)
    n_clusters = len(scores) if counts is None else float(counts.sum())
    # a single cluster's score is zero at the solution: it would promise certainty
    return {"naive": scale * inverse, "robust": robust if n_clusters > 1 else np.full_like(robust, np.nan)}
