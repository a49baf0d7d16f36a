r"""Bias-reduced clustered covariance of a logistic fit (CR2), with what Satterthwaite's degrees of freedom need.

Scores of clusters are corrected for their own leverage on the fit by (I - H_c)^{-1/2} in the weighted least squares
problem of the last Newton step. Under a survey design they replace the plain scores in the linearised variance.

References
----------
Bell and McCaffrey (2002), Survey Methodology 28, 169-181. Kauermann and Carroll (2001), Journal of the American
Statistical Association 96, 1387-1396.
"""

from __future__ import annotations

import numpy as np

from skdep.clusters import Clusters
from skdep.logit.kernel import LogisticData
from skdep.logit.rows import LogitRows
from skdep.sandwich import finite_sample_factor
from skdep.sandwich_corrections import corrected_scores, correction_frame, leverage_eigen
from skdep.sandwich_degrees import LeverageTable, leverage_table, table_size
from skdep.survey.linearised import variance_of_unit_totals

__all__ = ["reduced_covariance", "why_not_reduced"]

_MOST_CLUSTERS = 5_000
_MOST_ROWS = 200_000
_LARGEST_TABLE = 1_000_000


def why_not_reduced(data: LogisticData, rows: LogitRows, *, penalised: bool) -> str | None:
    """Say why the bias-reduced covariance cannot be had; None if it can."""
    if not rows.factors:
        return "it needs the clusters: pass groups= to fit"
    if penalised:
        return "it is not defined for penalised estimates"
    if len(rows.factors) > 1:
        return "it is for one way of clustering"
    if rows.design is not None and len(rows.design.stages) > 1:
        return "it is not defined for a design of several stages"
    n_clusters = int(rows.factors[0].max()) + 1
    if n_clusters > _MOST_CLUSTERS or data.n_rows > _MOST_ROWS or table_size(data.n_params) > _LARGEST_TABLE:
        return "it is for few clusters: with so many 'cluster' or 'design' needs no correction"
    return None


def reduced_covariance(
    data: LogisticData, params: np.ndarray, information: np.ndarray, rows: LogitRows
) -> tuple[np.ndarray, LeverageTable, np.ndarray]:
    """Return the covariance (p, p), leverages of the clusters, and the map of orthonormal estimates to parameters.

    Parameters
    ----------
    data : LogisticData
        Rows of positive weight.
    params : ndarray of shape (p,)
        Estimates.
    information : ndarray of shape (p, p)
        Information at the estimates.
    rows : LogitRows
        Clusters and design.
    """
    codes = rows.factors[0]
    clusters = Clusters.from_codes(codes, np.arange(int(codes.max()) + 1))
    residual = data.residuals(params)
    variance = np.abs(residual) * (1.0 - np.abs(residual))
    root = np.sqrt(variance if data.weights is None else variance * data.weights)
    score = residual if data.weights is None else residual * data.weights
    frame = correction_frame(information)
    columns = clusters.sort(data.scaled_rows(slice(None), root) @ frame.root)
    white = clusters.sort(np.divide(score, root, out=np.zeros_like(score), where=root > 0))
    ordered = clusters.in_order()
    sums = ordered.sum(columns * white[:, None])
    reduced = corrected_scores(columns, sums, ordered)[1]
    table = leverage_table(leverage_eigen(columns, ordered), None)
    return frame.covariance(_meat(reduced, rows)), table, frame.back


def _meat(scores: np.ndarray, rows: LogitRows) -> np.ndarray:
    """Return the sum of squares of corrected scores, or their variance under the design."""
    if not rows.sampling:
        return np.dot(scores.T, scores)
    if rows.design is None:
        centred = scores - scores.sum(axis=0) / rows.n_units  # absent units have scores of zero
        absent = rows.n_units - len(scores)
        mean = scores.sum(axis=0) / rows.n_units
        return finite_sample_factor(rows.n_units) * (np.dot(centred.T, centred) + absent * np.outer(mean, mean))
    first = rows.design.stages[0]
    unit = first.unit if rows.kept is None else first.unit[rows.kept]
    totals = np.zeros((len(first.stratum_of_unit), scores.shape[1]))
    totals[np.unique(unit)] = scores
    return variance_of_unit_totals(totals, rows.design)
