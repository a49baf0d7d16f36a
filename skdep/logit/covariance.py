r"""Covariance matrices of a logistic fit, each from p x p sums: bread times meat times bread.

References
----------
Huber (1967), Proc. 5th Berkeley Symposium 1, 221-233; White (1980), Econometrica 48, 817-838: HC0. MacKinnon and White
(1985), Journal of Econometrics 29, 305-325: HC1. Binder (1983), International Statistical Review 51, 279-292: designs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep._linalg import scaled_inverse
from skdep.clusters import Clusters
from skdep.logit.kernel import LogisticData
from skdep.logit.newton import NewtonResult
from skdep.sandwich import (
    cluster_intersections,
    finite_sample_factor,
    multiway_meat,
    nearest_positive_semidefinite,
    sandwich,
)

__all__ = ["LogitCovariances", "logit_covariances"]


@dataclass(frozen=True, slots=True)
class LogitCovariances:
    """Covariances by type, and what else the last pass over the data gave."""

    by_type: dict[str, np.ndarray]
    loglik: float
    squares: np.ndarray  # (p,), sums of squares of the design's columns, for the certificate of `skdep.separation`
    repaired: bool  # whether negative eigenvalues of the clustered covariance were set to zero


def logit_covariances(
    data: LogisticData,
    fit: NewtonResult,
    factors: list[np.ndarray],
    *,
    n_obs: float,
    n_units: int,
    sampling: bool,
) -> LogitCovariances:
    """Compute every covariance type that the data allow.

    Parameters
    ----------
    data : LogisticData
        Rows of positive weight.
    fit : NewtonResult
        The fit to them.
    factors : list of ndarray of shape (n_rows,)
        Cluster numbers of each way of clustering; empty without groups.
    n_obs : float
        Number of observations, for HC1.
    n_units : int
        Number of primary sampling units, among them those without a row of positive weight.
    sampling : bool
        Whether weights are sampling weights, part of each row's score; else they count repetitions.
    """
    final = data.final(fit.params, squared_weights=sampling)
    penalty = fit.hessian - fit.information
    bread = scaled_inverse(final.information + penalty)
    robust = sandwich(bread, final.meat)
    degrees = n_obs - data.n_params
    by_type = {
        "model": sandwich(bread, final.information),
        "hc0": robust,
        "hc1": robust * (n_obs / degrees if degrees > 0 else np.nan),
    }
    repaired = False
    if factors:
        clusters = cluster_intersections(factors)
        clustered = sandwich(
            bread, multiway_meat(clusters, lambda part: score_sums(data, fit.params, part), len(factors))
        )
        # In the metric of the model's covariance the repair does not depend on the units of features.
        units = np.sqrt(np.diag(by_type["model"]))
        mended, repaired = nearest_positive_semidefinite(clustered / np.outer(units, units))
        by_type["cluster"] = mended * np.outer(units, units)
    if sampling and len(factors) < 2:
        by_type["design"] = _design(by_type, factors, n_units)
    return LogitCovariances(by_type, final.loglik, final.squares, repaired)


def _design(by_type: dict[str, np.ndarray], factors: list[np.ndarray], n_units: int) -> np.ndarray:
    """Return the linearised variance of a design without strata: rows, or clusters, drawn with replacement.

    Units without a row of positive weight (outside the domain of interest) count as units, with a score of zero.
    """
    if not factors:
        return by_type["hc0"] * finite_sample_factor(n_units)
    n_present = int(factors[0].max()) + 1
    return by_type["cluster"] * (finite_sample_factor(n_units) / finite_sample_factor(n_present))


def score_sums(data: LogisticData, params: np.ndarray, clusters: Clusters) -> np.ndarray:
    """Return scores added up within clusters (n_clusters, p)."""
    residual = data.residuals(params)
    if data.weights is not None:
        residual = residual * data.weights
    sums = np.empty((clusters.n_clusters, data.n_params))
    if data.fit_intercept:
        sums[:, 0] = clusters.sum(clusters.sort(residual))
    sums[:, data.fit_intercept :] = clusters.weighted_sum(residual, data.X)
    return sums
