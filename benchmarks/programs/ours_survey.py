"""skdep: a logistic regression with replicate weights."""

from __future__ import annotations

import numpy as np

from benchmarks.survey_data import SurveyData
from benchmarks.timing import Estimates, Program
from skdep import LogitRegressor
from skdep.survey import ReplicateWeights

__all__ = ["replicate_estimates", "replicate_logit"]


def replicate_estimates(data: SurveyData) -> Estimates:
    """Fit, with standard errors and degrees of freedom by replicates."""
    replicates = ReplicateWeights(data.replicates, method="bootstrap")
    fit = LogitRegressor(weight_type="sampling")
    fit.fit(data.X, data.y, sample_weight=data.weights, replicate_weights=replicates)
    return Estimates(np.concatenate([fit.intercept_, fit.coef_[0]]), np.sqrt(np.diag(fit.covariance_)))


def replicate_logit() -> Program:
    """Time everything from the matrix of replicate weights to standard errors."""
    return Program("skdep", replicate_estimates)
