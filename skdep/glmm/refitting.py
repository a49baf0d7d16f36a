"""What refitting a logistic mixed model needs: its rows, given again, and its parameters by the user's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from skdep._docs import read_more
from skdep._fingerprint import DataFingerprint, fingerprint, same_column
from skdep._outcome import encode_binary
from skdep._validation import check_offset, check_rows, check_weights
from skdep.glmm.cumulants import Binomial
from skdep.glmm.fit import PRIOR_SD, penalty_curvature
from skdep.glmm.maximise import Settings
from skdep.glmm.search import UNBOUNDED
from skdep.glmm.working import GlmmData, working_rows
from skdep.mixed.base import kept_rows, least_features
from skdep.mixed.natural_parameters import NaturalParameter, natural_parameters
from skdep.mixed.robust import outermost_terms
from skdep.mixed.terms import RandomTerm
from skdep.mixed.weights import resolve_weights

__all__ = ["GivenRows", "check_refittable", "logit_parameters", "parameter_values", "rows_given_again", "settings_for"]


@dataclass(frozen=True)
class GivenRows:
    """Rows of positive weight of a fit, in the caller's order and in working coordinates.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    success : ndarray of bool of shape (n_given,)
        Whether each row is of the second class, rows of weight zero included.
    offset : ndarray of shape (n_rows,) or None
        Offset.
    weights : ndarray of shape (n_rows,) or None
        Frequency weights.
    kept : ndarray of bool of shape (n_given,) or None
        Which rows have positive weight, None for all.
    terms : list of RandomTerm
        Terms in working order.
    data : GlmmData
        The same in working coordinates.
    """

    X: np.ndarray
    success: np.ndarray
    offset: np.ndarray | None
    weights: np.ndarray | None
    kept: np.ndarray | None
    terms: list[RandomTerm]
    data: GlmmData


def check_refittable(model: Any, what: str) -> None:
    """Raise ValueError for fits without a likelihood, or without finite estimates; `what` is asked for."""
    if model.weight_type == "sampling":
        raise ValueError(
            f"{what} need the likelihood of the data; with weight_type='sampling' there is but a pseudo-likelihood, "
            "whose spread comes from the design. coef_table has robust standard errors."
        )
    if model.separated_ or model._model.optimization.message == UNBOUNDED:
        raise ValueError(
            f"{what} need finite estimates, and those of this fit are not: features separate the outcomes, or a "
            "variance grows without bound. Fit with penalty='weak'."
            f"{read_more('multilevel_separation')}"
        )


def rows_given_again(model: Any, X: Any, y: Any, groups: Any, sample_weight: Any, offset: Any) -> GivenRows:
    """Bring rows to working coordinates as `fit` does, and check that they are those of the fit.

    Parameters
    ----------
    model : MixedLogit
        The fitted model.
    X, y, groups, sample_weight, offset : array-like
        What it was fitted to, as given to `fit`.

    Raises
    ------
    ValueError
        If they are malformed, or not the data of the fit.
    """
    twin = clone(model)
    X, y = check_rows(twin, X, y, ensure_min_features=least_features(twin, groups))
    offset, weights = check_offset(offset, len(X)), check_weights(sample_weight, len(X))
    classes, success = encode_binary(y, weights)
    terms = twin._terms(groups, len(X))
    factors = {term.name: term.codes for term in terms}
    given = fingerprint(X, np.where(success, 1.0, -1.0), weights=weights, offset=offset, factors=factors)
    if not (np.array_equal(classes, model.classes_) and _same_data(model._inference.data, given)):
        raise ValueError(
            "These are not the data of the fit: give the X, y, groups, offset and sample_weight that est was fitted to."
        )
    kept, all_success = kept_rows(len(X), weights), success
    if kept is not None:
        X, success, terms = X[kept], success[kept], [term.take(kept) for term in terms]
        weights, offset = (None if part is None else part[kept] for part in (weights, offset))
    terms = sorted(terms, key=lambda term: -term.n_levels * term.q)
    outermost = outermost_terms(terms)
    data = working_rows(
        X,
        success.astype(np.float64),
        offset,
        terms,
        resolve_weights(weights, None, terms, len(X), weight_type="frequency", weight_scaling="none"),
        Binomial(),
        outermost=outermost[0] if len(outermost) == 1 else None,
        fit_intercept=model.fit_intercept,
        fixed=model._fixed_features,
    )
    return GivenRows(X, all_success, offset, weights, kept, terms, data)


def _same_data(fitted: DataFingerprint, given: DataFingerprint) -> bool:
    """Say whether rows are those of the fit, in any order."""
    return (
        fitted.same_rows(given)
        and fitted.same_offset(given)
        and len(fitted.features) == len(given.features)
        and all(same_column(old, new) for old, new in zip(fitted.features, given.features, strict=True))
        and list(fitted.factors) == list(given.factors)
        and np.allclose(list(fitted.factors.values()), list(given.factors.values()), rtol=0.0, atol=1e-7)
    )


def settings_for(model: Any, given: GivenRows) -> Settings:
    """Return what the fit was asked for, with its number of quadrature nodes.

    Parameters
    ----------
    model : MixedLogit
        The fitted model.
    given : GivenRows
        Its rows.
    """
    ridge, of_effects = np.zeros((given.data.rows.n_fixed,) * 2), 0.0
    if model.penalty is not None:
        X = model._with_fixed_effects(given.X)
        ridge, of_effects = penalty_curvature(given.data, X, given.weights, model.fit_intercept), PRIOR_SD**-2
    structure = model._model.parameters.structure
    return Settings(model.n_quadrature_, structure, ridge, of_effects, model.max_iter, model.tol)


def logit_parameters(model: Any) -> tuple[NaturalParameter, ...]:
    """List coefficients, standard deviations and correlations of a fitted model."""
    everything = natural_parameters(
        model._inference.names, model.random_names_, model._working_order, model._model.parameters
    )
    return tuple(part for part in everything if part.kind != "residual")


def parameter_values(
    parameters: Sequence[NaturalParameter],
    back: np.ndarray,
    to_user: Sequence[np.ndarray],
    beta: np.ndarray,
    factors: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the values (n_parameters,) in the user's columns.

    Parameters
    ----------
    parameters : sequence of NaturalParameter
        Which ones.
    back : ndarray of shape (n_coefficients, p)
        Maps fixed effects to ``[intercept, *coef]``.
    to_user : sequence of ndarray of shape (q, q)
        Maps effects to the user's columns, by term.
    beta : ndarray of shape (p,)
        Fixed effects in working coordinates.
    factors : sequence of ndarray of shape (q, q)
        Factors T of the covariances in working coordinates, by term.
    """
    coefficients = back @ beta
    roots = [A @ T for A, T in zip(to_user, factors, strict=True)]

    def value(parameter: NaturalParameter) -> float:
        if parameter.kind == "coefficient":
            return float(coefficients[parameter.first])
        first, second = roots[parameter.term][parameter.first], roots[parameter.term][parameter.second]
        if parameter.kind == "sd":
            return float(np.sqrt(first @ first))
        size = float(np.sqrt((first @ first) * (second @ second)))
        return float(np.clip(first @ second / size, -1.0, 1.0)) if size > 0 else np.nan

    return np.array([value(parameter) for parameter in parameters])
