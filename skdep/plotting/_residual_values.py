"""Residuals of every estimator: raw, in standard deviations, and by quantiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skdep._validation import check_weights
from skdep.families import Gaussian
from skdep.formula.raw_rows import offset_of
from skdep.plotting._models import last_step, outcome_of, predicted_mean, regressor_within, residual_sd
from skdep.plotting._quantile_residuals import bernoulli_residuals, family_residuals

__all__ = ["KINDS", "RowResiduals", "kind_of", "residuals_of"]

KINDS = {"raw": "Residual", "standardised": "Standardised residual", "quantile": "Quantile residual"}


class RowResiduals(NamedTuple):
    """Residuals of rows.

    Parameters
    ----------
    fitted : ndarray of shape (n_rows,)
        Fitted means, of a classifier probabilities.
    residuals : ndarray of shape (n_rows,)
        Residuals.
    given : list of str or None
        Factors whose effects are part of `fitted`; None if the model has no random effects.
    """

    fitted: np.ndarray
    residuals: np.ndarray
    given: list[str] | None


def kind_of(kind: str | None, *, standardised: bool) -> str:
    """Return which residuals are meant; an unknown kind raises ValueError."""
    if kind is None:
        return "standardised" if standardised else "raw"
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}.")
    return kind


def residuals_of(
    est: Any,
    X: Any,
    y: Any,
    groups: Any,
    offset: Any,
    sample_weight: Any,
    *,
    kind: str,
    random_state: Any,
    caller: str,
) -> RowResiduals:
    """Compute residuals.

    Parameters
    ----------
    est : estimator
        Fitted estimator, or a pipeline or search around one; raw and standardised residuals are those of regressors.
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcomes.
    groups : array-like or None
        Labels of the grouping factors, for residuals conditional on random effects.
    offset, sample_weight : array-like of shape (n_rows,) or None
        As of the fit.
    kind : {"raw", "standardised", "quantile"}
        Which residuals.
    random_state : int, RandomState instance or None
        Source of randomness of quantile residuals.
    caller : str
        Who asks, for messages.
    """
    if kind != "quantile":
        regressor_within(est, caller)
    offset = offset_of(est, X, offset)
    model, X = last_step(est, X)
    fitted, given = predicted_mean(model, X, groups, offset)
    outcome = outcome_of(model, y, len(fitted))
    if kind == "raw":
        return RowResiduals(fitted, outcome - fitted, given)
    weights = check_weights(sample_weight, len(fitted))
    if hasattr(model, "classes_"):
        return RowResiduals(fitted, bernoulli_residuals(outcome, fitted, random_state), given)
    family = getattr(model, "_family", None)
    if kind == "quantile" and family is not None and not isinstance(family, Gaussian):
        residuals = family_residuals(family, outcome, fitted, model.scale_, weights, random_state)
        return RowResiduals(fitted, residuals, given)
    sd = residual_sd(model, X, fitted, weights, conditional=bool(given))
    return RowResiduals(fitted, (outcome - fitted) / sd, given)
