"""Residuals of rows under a fitted model, of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from skdep._validation import numeric_rows
from skdep.families import Binomial, Family, Gaussian, get_family
from skdep.inference._quantile_residuals import are_trials, bernoulli_residuals, family_residuals
from skdep.links import Identity, Link, Logit

__all__ = ["KINDS", "RowResiduals", "outcome_of", "predicted_mean", "relative_trials", "residual_sd", "residual_values"]

KINDS = ("response", "pearson", "deviance", "working", "standardised", "quantile")


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


def residual_values(
    model: Any,
    X: Any,
    y: Any,
    groups: Any,
    offset: Any,
    weights: np.ndarray | None,
    *,
    kind: str,
    random_state: Any,
) -> RowResiduals:
    """Compute residuals.

    Parameters
    ----------
    model : estimator
        Fitted estimator.
    X : array-like of shape (n_rows, n_features)
        Features, as the estimator sees them.
    y : array-like of shape (n_rows,)
        Outcomes.
    groups : array-like or None
        Labels of the grouping factors, for residuals conditional on random effects.
    offset : array-like of shape (n_rows,) or None
        Known part of the linear predictor.
    weights : ndarray of shape (n_rows,) or None
        Weights.
    kind : str
        One of `KINDS`.
    random_state : int, RandomState instance or None
        Source of randomness of quantile residuals.
    """
    fitted, given = predicted_mean(model, X, groups, offset)
    outcome = outcome_of(model, y, len(fitted))
    raw = outcome - fitted
    if kind == "response":
        return RowResiduals(fitted, raw, given)
    family, link = _family_and_link(model)
    if kind == "working":
        return RowResiduals(fitted, raw / link.inverse_derivative(link.link(fitted), fitted), given)
    if kind in ("pearson", "deviance"):
        root = 1.0 if weights is None else np.sqrt(weights)
        if kind == "pearson":
            size = raw / np.sqrt(family.variance(fitted))
        else:
            size = np.sign(raw) * np.sqrt(np.maximum(family.deviance(outcome, fitted), 0.0))
        return RowResiduals(fitted, root * size, given)
    if kind == "quantile" and hasattr(model, "classes_"):
        return RowResiduals(fitted, bernoulli_residuals(outcome, fitted, random_state), given)
    if kind == "quantile" and not isinstance(family, Gaussian):
        values = family_residuals(family, outcome, fitted, model.scale_, weights, random_state)
        return RowResiduals(fitted, values, given)
    sd = residual_sd(model, X, fitted, weights, conditional=bool(given))
    return RowResiduals(fitted, raw / sd * np.sqrt(relative_trials(model, outcome, weights)), given)


def _family_and_link(model: Any) -> tuple[Family, Link]:
    """Return the distribution of outcomes given their means, and the link."""
    if hasattr(model, "_family"):
        return model._family, model._link
    return (Binomial(), Logit()) if hasattr(model, "classes_") else (Gaussian(), Identity())


def outcome_of(model: Any, y: Any, n_rows: int) -> np.ndarray:
    """Return outcomes as numbers (n_rows,), of a classifier 0 and 1; labels that it does not know raise ValueError."""
    if not hasattr(model, "classes_"):
        return numeric_rows(y, n_rows, name="y")
    labels = np.asarray(y)
    if labels.size != n_rows:
        raise ValueError(f"y has {labels.size} values for {n_rows} rows; give exactly one value a row.")
    labels = labels.reshape(-1)
    success = labels == model.classes_[1]
    unknown = ~success & (labels != model.classes_[0])
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        known = ", ".join(map(repr, model.classes_.tolist()))
        raise ValueError(
            f"y: {labels[row : row + 1].tolist()[0]!r} in row {row} is no class of the model, which has {known}."
        )
    return success.astype(np.float64)


def predicted_mean(model: Any, X: Any, groups: Any, offset: Any) -> tuple[np.ndarray, list[str] | None]:
    """Return means of the outcome, of a classifier probabilities, and the factors whose effects are in them.

    Parameters
    ----------
    model : estimator
        Fitted estimator.
    X : array-like of shape (n_rows, n_features)
        Features, as the estimator sees them.
    groups : array-like or None
        Labels of the grouping factors, for means conditional on random effects; without them, or in a model without
        random effects, means are those of the population.
    offset : array-like of shape (n_rows,) or None
        Known part of the linear predictor.

    Returns
    -------
    mean : ndarray of shape (n_rows,)
        Means.
    given : list of str or None
        Factors whose effects are part of the means; None if the model has no random effects.
    """
    mixed = bool(getattr(model, "levels_", {}))
    options = {"groups": groups if mixed else None, "offset": offset}
    mean = model.predict_proba(X, **options)[:, 1] if hasattr(model, "classes_") else model.predict(X, **options)
    if not mixed:
        return mean, None
    return mean, [] if groups is None else list(model.levels_)


def relative_trials(model: Any, outcome: np.ndarray, weights: np.ndarray | None) -> np.ndarray | float:
    """Return the numbers of trials of shares over their mean, which divide the variance of a share; else 1.

    The scale of a GEE is that of a row of mean weight. Outcomes 0 and 1, whose weights are sampling weights, and
    weights that are no numbers of trials do not change the variance of an outcome.

    Parameters
    ----------
    model : estimator
        Fitted estimator.
    outcome : ndarray of shape (n_rows,)
        Outcomes.
    weights : ndarray of shape (n_rows,) or None
        Weights.
    """
    if weights is None or not isinstance(getattr(model, "_family", None), Binomial):
        return 1.0
    single = ((outcome == 0.0) | (outcome == 1.0)).all()
    if single or getattr(model, "weight_type", "") == "frequency" or not are_trials(outcome, weights):
        return 1.0
    return weights / weights[weights > 0].mean()


def residual_sd(
    model: Any, X: Any, fitted: np.ndarray, weights: np.ndarray | None, *, conditional: bool
) -> np.ndarray | float:
    """Return standard deviations of residuals under the model, that of coefficients and effects not counted.

    Parameters
    ----------
    model : estimator
        Fitted estimator.
    X : array-like of shape (n_rows, n_features)
        Features, as the estimator sees them.
    fitted : ndarray of shape (n_rows,)
        Predicted means.
    weights : ndarray of shape (n_rows,) or None
        Row weights; they divide the residual variance where they are precisions.
    conditional : bool
        Whether `fitted` is conditional on random effects.
    """
    if hasattr(model, "classes_"):
        return np.sqrt(fitted * (1.0 - fitted))
    if hasattr(model, "sigma2_"):
        variance = np.full(len(fitted), model.sigma2_)
    elif hasattr(model, "scale_") and hasattr(model, "family"):
        variance = model.scale_ * get_family(model.family).variance(fitted)
    else:
        raise TypeError(f"{type(model).__name__} has no residual variance; take raw residuals.")
    if weights is not None and getattr(model, "weight_type", "") == "precision":
        with np.errstate(divide="ignore"):
            variance = variance / weights
    if not conditional:
        variance = variance + _random_variance(model, X, len(fitted))
    if not (variance > 0.0).all():
        raise ValueError("Residuals cannot be standardised: the residual variance was estimated as 0.")
    return np.sqrt(variance)


def _random_variance(model: Any, X: Any, n_rows: int) -> np.ndarray:
    """Return z'Sigma z, added up over the factors (n_rows,)."""
    total = np.zeros(n_rows)
    columns: Mapping[str, Any] = getattr(model, "_random_columns", {})
    X = np.asarray(X, dtype=np.float64)
    for name, numbers in columns.items():
        z = np.column_stack([X[:, number] if number >= 0 else np.ones(n_rows) for number in numbers])
        total += np.einsum("na,ab,nb->n", z, model.random_covariance_[name], z, optimize=True)
    return total
