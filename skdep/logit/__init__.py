"""Logistic regression with inference."""

from __future__ import annotations

from skdep.logit.estimator import LogitRegressor

__all__ = ["LogitRegressor"]
