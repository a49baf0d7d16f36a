"""Residuals that displays draw: raw, in standard deviations, and by quantiles."""

from __future__ import annotations

from typing import Any

from skdep._validation import check_weights
from skdep.formula.raw_rows import offset_of
from skdep.inference._residual_values import RowResiduals, residual_values
from skdep.plotting._models import last_step, regressor_within

__all__ = ["KINDS", "kind_of", "residuals_of"]

KINDS = {"raw": "Residual", "standardised": "Standardised residual", "quantile": "Quantile residual"}


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
    weights = None if kind == "raw" else check_weights(sample_weight, len(X))
    kind = "response" if kind == "raw" else kind
    return residual_values(model, X, y, groups, offset, weights, kind=kind, random_state=random_state)
