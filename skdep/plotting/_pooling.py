"""Coefficients of clusters without pooling, with partial and with complete pooling, the rest of the model held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._validation import check_offset, check_weights
from skdep.inference._residual_values import outcome_of
from skdep.mixed.prediction import match_levels, predicted_effects, random_columns
from skdep.mixed.terms import INTERCEPT
from skdep.plotting._own_estimates import own_least_squares, own_logits

__all__ = ["Pooling", "pooling_of"]


@dataclass(frozen=True)
class Pooling:
    """Coefficients, one column each for those that vary between the levels of a factor.

    Parameters
    ----------
    none : ndarray of shape (n_levels, q)
        Of each level from its own rows, NaN where they do not determine them.
    partial : ndarray of shape (n_levels, q)
        Of each level in the mixed model.
    complete : ndarray of shape (q,)
        Of all rows, levels not told apart.
    population : ndarray of shape (q,)
        About which those of the mixed model vary.
    covariance : ndarray of shape (q, q)
        Covariance of the random effects.
    sizes : ndarray of shape (n_levels,)
        Number of rows; frequency weights count.
    uniform : ndarray of bool of shape (n_levels,)
        Whether all outcomes of a level are the same, which are 0 or 1.
    levels : ndarray of shape (n_levels,)
        Labels.
    """

    none: np.ndarray
    partial: np.ndarray
    complete: np.ndarray
    population: np.ndarray
    covariance: np.ndarray
    sizes: np.ndarray
    uniform: np.ndarray
    levels: np.ndarray


def pooling_of(model: Any, X: Any, y: Any, groups: Any, factor: str, sample_weight: Any, offset: Any) -> Pooling:
    """Compute coefficients of levels three times.

    Parameters
    ----------
    model : estimator
        Fitted mixed model.
    X : array-like of shape (n_rows, n_features)
        Features, as the model sees them.
    y : array-like of shape (n_rows,)
        Outcomes.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors)
        Labels of all grouping factors of the model.
    factor : str
        The factor whose levels are compared.
    sample_weight, offset : array-like of shape (n_rows,) or None
        As of the fit.
    """
    eta = model._linear_predictor(X, offset)
    n_rows = len(eta)
    X, offset = np.asarray(X, dtype=np.float64).reshape(n_rows, -1), check_offset(offset, n_rows)
    weights = check_weights(sample_weight, n_rows)
    weights = np.ones(n_rows) if weights is None else weights
    outcome = outcome_of(model, y, n_rows)
    codes = match_levels(groups, n_rows, model.levels_)
    kept = (codes[factor] >= 0) & (weights > 0)
    if not kept.any():
        raise ValueError(f"No row belongs to a level of {factor!r} that the model knows.")
    X, eta, outcome, weights = X[kept], eta[kept], outcome[kept], weights[kept]
    codes = {name: part[kept] for name, part in codes.items()}

    columns = model._random_columns[factor]
    Z = random_columns(X, columns)
    population = np.array(
        [float(np.ravel(model.intercept_)[0]) if c < 0 else np.ravel(model.coef_)[c] for c in columns]
    )
    others = {name: part for name, part in codes.items() if name != factor}
    effects = model.random_effects_
    held = eta - Z @ population + predicted_effects(X, others, effects, model._random_columns)

    seen, number = np.unique(codes[factor], return_inverse=True)
    constant = columns.index(INTERCEPT) if INTERCEPT in columns else None
    binary = hasattr(model, "classes_")
    everyone = np.zeros(len(number), dtype=np.intp)
    if binary:
        none = own_logits(Z, outcome, held, number, len(seen), weights, constant)
        complete = own_logits(Z, outcome, held, everyone, 1, weights, constant, penalised=False)[0]
    else:
        none = own_least_squares(Z, outcome - held, number, len(seen), weights, constant)
        complete = own_least_squares(Z, outcome - held, everyone, 1, weights, constant)[0]
    counted = weights if getattr(model, "weight_type", "frequency") == "frequency" else np.ones(len(weights))
    successes, rows = np.bincount(number, outcome), np.bincount(number)
    return Pooling(
        none=none,
        partial=population + effects[factor][seen],
        complete=complete,
        population=population,
        covariance=model.random_covariance_[factor],
        sizes=np.bincount(number, counted),
        uniform=(successes == 0) | (successes == rows) if binary else np.zeros(len(seen), dtype=bool),
        levels=model.levels_[factor][seen],
    )
