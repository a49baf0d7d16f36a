"""Simulated surveys: binary outcomes in districts, unequal weights, and bootstrap replicate weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from benchmarks.simulate import true_coefficients
from skdep.survey import replicate_weights

__all__ = ["SurveyData", "districts"]


@dataclass(frozen=True)
class SurveyData:
    """Rows of a survey with replicate weights, as a public-use file has them."""

    X: np.ndarray  # (n_rows, n_features), without a column for the intercept
    y: np.ndarray  # (n_rows,) of 0.0 and 1.0
    weights: np.ndarray  # (n_rows,)
    replicates: np.ndarray  # (n_rows, n_replicates), sampling weights included


def districts(n_rows: int, n_features: int, n_replicates: int, *, n_districts: int = 200, seed: int = 0) -> SurveyData:
    """Draw districts with an effect on the outcome; weights depend on the first feature."""
    rng = np.random.default_rng(seed)
    district = np.arange(n_rows) % n_districts
    X = rng.standard_normal((n_rows, n_features))
    X[:, -1] = rng.standard_normal(n_districts)[district]
    intercept, *coef = true_coefficients(n_features)
    eta = intercept + X @ np.array(coef) + 0.5 * rng.standard_normal(n_districts)[district]
    y = (rng.random(n_rows) < expit(eta)).astype(float)
    weights = np.exp(0.3 * X[:, 0] + 0.5 * rng.standard_normal(n_rows))
    made = replicate_weights("bootstrap", weights, groups=district, n_replicates=n_replicates, random_state=seed)
    return SurveyData(X, y, weights, made.weights)
