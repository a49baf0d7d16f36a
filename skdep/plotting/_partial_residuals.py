r"""Working residuals of every estimator, on the scale on which features act, and the weights that go with them.

With eta the linear predictor and h the mean as a function of it, the working residual is (y - h(eta)) / h'(eta), of
variance Var(y) / h'(eta)^2. In a linear model it is y - eta. In a logistic mixed model h is the probability averaged
over the random effects: the logistic function where they are given, a mean over their distribution where not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skdep._normal_mean import logistic_normal_moments
from skdep.families import Binomial
from skdep.glmm.prediction import predictor_moments
from skdep.links import Logit
from skdep.mixed.prediction import predicted_effects

__all__ = ["WorkingResiduals", "working_residuals"]


class WorkingResiduals(NamedTuple):
    """Working residuals.

    Parameters
    ----------
    residuals : ndarray of shape (n_rows,)
        Residuals, on the scale of the linear predictor.
    weights : ndarray of shape (n_rows,)
        Reciprocals of their variances, up to a factor.
    X : ndarray of shape (n_rows, n_features)
        Features, as the model sees them.
    linear : bool
        Whether they are residuals of a linear model.
    given : list of str or None
        Factors whose effects are taken as known; None if the model has no random effects.
    """

    residuals: np.ndarray
    weights: np.ndarray
    X: np.ndarray
    linear: bool
    given: list[str] | None


def working_residuals(model: Any, X: Any, y: np.ndarray, groups: Any, offset: Any) -> WorkingResiduals:
    """Compute working residuals.

    Parameters
    ----------
    model : estimator
        Fitted estimator.
    X : array-like of shape (n_rows, n_features)
        Features, as the model sees them.
    y : ndarray of shape (n_rows,)
        Outcomes, of a classifier 0 and 1.
    groups : array-like or None
        Labels of the grouping factors, for residuals given random effects.
    offset : array-like of shape (n_rows,) or None
        Known part of the linear predictor.
    """
    eta = model._linear_predictor(X, offset)
    X = np.asarray(X, dtype=np.float64).reshape(len(eta), model.n_features_in_)
    mixed = bool(getattr(model, "levels_", {}))
    codes = model._known_levels(groups, len(eta)) if mixed and groups is not None else None
    given = None if not mixed else [] if codes is None else list(model.levels_)
    if not hasattr(model, "classes_") and not hasattr(model, "_family"):
        if codes is not None:
            eta = eta + predicted_effects(X, codes, model.random_effects_, model._random_columns)
        return WorkingResiduals(y - eta, np.ones(len(eta)), X, True, given)
    if mixed:
        moments = predictor_moments(
            eta, X, codes, model.random_effects_, model.random_covariance_, model._random_columns
        )
        mean, slope = logistic_normal_moments(*moments, 1)
        variance = mean * (1.0 - mean)
    else:
        link, family = getattr(model, "_link", Logit()), getattr(model, "_family", Binomial())
        mean = link.inverse(eta)
        slope, variance = link.inverse_derivative(eta, mean), family.variance(mean)
    flat = (slope == 0.0) | (variance <= 0.0)  # means that reach the end of their range in floating point
    residuals = np.where(flat, 0.0, y - mean) / np.where(flat, 1.0, slope)
    weights = np.where(flat, 0.0, slope**2) / np.where(flat, 1.0, variance)
    linear = getattr(model, "_link_name", "identity") == "identity"
    return WorkingResiduals(residuals, weights, X, linear, given)
