"""Generalized estimating equations: marginal models for clustered and longitudinal data."""

from __future__ import annotations

from skdep.gee.classifier import GEEClassifier
from skdep.gee.regressor import GEERegressor
from skdep.gee.working_correlation import AR1, Exchangeable, Independence, Unstructured, WorkingCorrelation

__all__ = [
    "AR1",
    "Exchangeable",
    "GEEClassifier",
    "GEERegressor",
    "Independence",
    "Unstructured",
    "WorkingCorrelation",
]
