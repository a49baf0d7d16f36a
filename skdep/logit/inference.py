"""What a logistic fit leaves for inference beside its covariances: degrees of freedom, and what replicates say."""

from __future__ import annotations

import numpy as np

from skdep._basis import Basis
from skdep.base import FitNotes
from skdep.logit.covariance import LogitCovariances
from skdep.logit.kernel import LogisticData
from skdep.logit.newton import NewtonResult
from skdep.logit.rows import LogitRows
from skdep.sandwich_degrees import ClusterSmallSample
from skdep.survey.replicate_covariance import ReplicateCovariance, replicate_covariance
from skdep.survey.replicates import ReplicateWeights

__all__ = ["covariance_over_replicates", "default_df", "residual_df", "small_samples"]


def covariance_over_replicates(
    data: LogisticData, fit: NewtonResult, replicates: ReplicateWeights, notes: FitNotes
) -> ReplicateCovariance:
    """Return the covariance over replicates, in the coordinates of the fit."""
    columns = [np.ones(data.n_rows), data.X] if data.fit_intercept else [data.X]
    return replicate_covariance(
        np.column_stack(columns),
        (data.sign > 0).astype(float),
        replicates,
        fit.params,
        offset=data.offset,
        ridge=np.diag(fit.hessian - fit.information),
        notes=notes,
    )


def small_samples(
    covariances: LogitCovariances, by_type: dict[str, np.ndarray], basis: Basis | None
) -> dict[str, ClusterSmallSample]:
    """Return what has Satterthwaite's degrees of freedom to offer."""
    if covariances.leverages is None:
        return {}
    table, back = covariances.leverages
    back = back if basis is None else basis.back @ back
    return {"cr2": ClusterSmallSample(by_type["cr2"], "kc", table, back)}


def default_df(rows: LogitRows, n_params: int) -> dict[str, float]:
    """Return the default degrees of freedom by covariance type: of a design its own, less parameters but one."""
    design = rows.design_summary()
    if design is None:
        return {"cr2": float((rows.n_clusters("cluster") or 0) - n_params)}
    return dict.fromkeys(("design", "cr2"), float(design.degf + 1 - n_params))


def residual_df(rows: LogitRows, cov_type: str) -> float:
    """Return what degrees of freedom are counted from: clusters, a design's units less strata and one, or rows."""
    design = rows.design_summary()
    if cov_type in ("design", "cr2") and design is not None:
        return float(design.degf + 1)
    if cov_type in ("cluster", "cr2"):
        return float(rows.n_clusters(cov_type) or rows.n_rows)
    return rows.n_obs
