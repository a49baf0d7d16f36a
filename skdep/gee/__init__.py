"""Generalized estimating equations: marginal models for clustered and longitudinal data."""

from __future__ import annotations

from skdep.gee.classifier import GEEClassifier
from skdep.gee.dropout import DropoutGEE
from skdep.gee.dropout_weighting import dropout_weights
from skdep.gee.regressor import GEERegressor
from skdep.gee.working_correlation import (
    AR1,
    Exchangeable,
    Fixed,
    Independence,
    MDependent,
    Nested,
    ParametricCorrelation,
    Toeplitz,
    Unstructured,
    WorkingCorrelation,
)

__all__ = [
    "AR1",
    "DropoutGEE",
    "Exchangeable",
    "Fixed",
    "GEEClassifier",
    "GEERegressor",
    "Independence",
    "MDependent",
    "Nested",
    "ParametricCorrelation",
    "Toeplitz",
    "Unstructured",
    "WorkingCorrelation",
    "dropout_weights",
]
