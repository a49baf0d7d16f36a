r"""Covariance matrices of a logistic fit, each from p x p sums: bread times meat times bread.

References
----------
Huber (1967), Proc. 5th Berkeley Symposium 1, 221-233; White (1980), Econometrica 48, 817-838: HC0. MacKinnon and White
(1985), Journal of Econometrics 29, 305-325: HC1. Binder (1983), International Statistical Review 51, 279-292: designs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skdep._linalg import scaled_inverse
from skdep.clusters import Clusters
from skdep.logit.kernel import LogisticData
from skdep.logit.leverage import reduced_covariance, why_not_reduced
from skdep.logit.newton import NewtonResult
from skdep.logit.rows import LogitRows
from skdep.sandwich import (
    cluster_intersections,
    finite_sample_factor,
    multiway_meat,
    nearest_positive_semidefinite,
    sandwich,
)
from skdep.sandwich_degrees import LeverageTable
from skdep.survey.linearised import variance_of_unit_totals

__all__ = ["LogitCovariances", "logit_covariances"]


@dataclass(frozen=True, slots=True)
class LogitCovariances:
    """Covariances by type, and what else the last pass over the data gave."""

    by_type: dict[str, np.ndarray]
    loglik: float
    squares: np.ndarray  # (p,), sums of squares of the design's columns, for the certificate of `skdep.separation`
    repaired: bool  # whether negative eigenvalues of the clustered covariance were set to zero
    unavailable: dict[str, str] = field(default_factory=dict)  # why a type is missing
    leverages: tuple[LeverageTable, np.ndarray] | None = None  # of clusters, and the map to parameters


def logit_covariances(data: LogisticData, fit: NewtonResult, rows: LogitRows) -> LogitCovariances:
    """Compute every covariance type that the data allow.

    Parameters
    ----------
    data : LogisticData
        Rows of positive weight, in the coordinates of the fit; under sampling weights of mean one.
    fit : NewtonResult
        The converged fit.
    rows : LogitRows
        Clusters, design, and what the rows stand for.
    """
    final = data.final(fit.params, squared_weights=rows.sampling)
    penalty = fit.hessian - fit.information
    bread = scaled_inverse(final.information + penalty)
    robust = sandwich(bread, final.meat)
    degrees = rows.n_obs - data.n_params
    by_type = {
        "model": sandwich(bread, final.information),
        "hc0": robust,
        "hc1": robust * (rows.n_obs / degrees if degrees > 0 else np.nan),
    }
    repaired = False
    if rows.factors:
        clusters = cluster_intersections(rows.factors)
        clustered = sandwich(
            bread, multiway_meat(clusters, lambda part: score_sums(data, fit.params, part), len(rows.factors))
        )
        # In the metric of the model's covariance the repair does not depend on the units of features.
        units = np.sqrt(np.diag(by_type["model"]))
        units = np.where(units > 0.0, units, 1.0)  # a penalised feature that is constant has no variance
        mended, repaired = nearest_positive_semidefinite(clustered / np.outer(units, units))
        by_type["cluster"] = mended * np.outer(units, units)
    if rows.sampling:
        score = data.summary(fit.params).score
        by_type["design"] = sandwich(bread, _design_meat(data, fit.params, final.meat, score, rows))
    reason = why_not_reduced(data, rows, penalised=bool(np.any(penalty)))
    if reason is not None:
        return LogitCovariances(by_type, final.loglik, final.squares, repaired, {"cr2": reason})
    by_type["cr2"], table, back = reduced_covariance(data, fit.params, final.information, rows)
    return LogitCovariances(by_type, final.loglik, final.squares, repaired, leverages=(table, back))


def _design_meat(
    data: LogisticData, params: np.ndarray, row_meat: np.ndarray, score: np.ndarray, rows: LogitRows
) -> np.ndarray:
    """Return the linearised variance of the total score.

    Units without a row of positive weight (outside the domain of interest) count as units, with a score of zero.
    """
    if rows.design is None:
        meat, total = row_meat, score
        if rows.factors:
            sums = score_sums(data, params, cluster_intersections(rows.factors[:1])[(0,)])
            meat, total = np.dot(sums.T, sums), sums.sum(axis=0)
        # penalised scores do not add up to zero
        return finite_sample_factor(rows.n_units) * (meat - np.outer(total, total) / rows.n_units)
    last = rows.design.stages[-1]
    unit = last.unit if rows.kept is None else last.unit[rows.kept]
    present, codes = np.unique(unit, return_inverse=True)
    totals = np.zeros((len(last.stratum_of_unit), data.n_params))
    totals[present] = score_sums(data, params, Clusters.from_codes(codes.reshape(-1), present))
    return variance_of_unit_totals(totals, rows.design)


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
