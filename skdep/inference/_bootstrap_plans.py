"""How outcomes of a mixed model are simulated and fitted again: for linear, and for logistic models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from skdep._validation import check_offset, check_rows
from skdep.inference.profile import is_linear

__all__ = ["BootstrapPlan", "bootstrap_plan"]


@dataclass(frozen=True)
class BootstrapPlan:
    """How outcomes are simulated, and fitted again.

    Parameters
    ----------
    simulator : Simulator or LogitSimulator
        Draws outcomes.
    twin : estimator
        The model not fitted, to fit to outcomes from the start.
    outcomes : callable
        Makes y (n_rows, n_outcomes) as users give them of simulated outcomes.
    all_parameters : callable
        Returns names and estimates of all parameters, and what fits them again.
    """

    simulator: Any
    twin: Any
    outcomes: Callable[[np.ndarray], np.ndarray]
    all_parameters: Callable[[], tuple[list[str], np.ndarray, Callable[..., Any]]]


def bootstrap_plan(model: Any, X: Any, y: Any, groups: Any, offset: Any, weights: np.ndarray | None) -> BootstrapPlan:
    """Return the plan for a fitted MixedLinear or MixedLogit, and the data of its fit.

    Raises
    ------
    ValueError
        If the data are not those of the fit.
    """
    return (_linear_plan if is_linear(model) else _binary_plan)(model, X, y, groups, offset, weights)


def _binary_plan(model: Any, X: Any, y: Any, groups: Any, offset: Any, weights: np.ndarray | None) -> BootstrapPlan:
    from skdep.glmm.refitting import logit_parameters, rows_given_again
    from skdep.glmm.simulation import LogitRefit, LogitSimulator

    given = rows_given_again(model, X, y, groups, weights, offset)

    def labels(outcomes: np.ndarray) -> np.ndarray:
        # with weights there is no refit from the start: rows were written out
        return model.classes_[outcomes.astype(int)]

    def all_parameters() -> tuple[list[str], np.ndarray, Callable[..., Any]]:
        parameters = logit_parameters(model)
        refit = LogitRefit.of(model, given, parameters)
        return [parameter.name for parameter in parameters], refit.estimate, refit

    twin = clone(model).set_params(n_quadrature=model.n_quadrature_)
    return BootstrapPlan(LogitSimulator(model, given), twin, labels, all_parameters)


def _linear_plan(model: Any, X: Any, y: Any, groups: Any, offset: Any, weights: np.ndarray | None) -> BootstrapPlan:
    """Bring the rows to working coordinates, as at fit, and check that they are those of the fit."""
    from skdep.mixed.fit import working_data
    from skdep.mixed.simulation import Simulator
    from skdep.mixed.weights import resolve_weights

    twin = clone(model)
    X, y = check_rows(twin, X, y, y_numeric=True, ensure_min_features=0)
    y = np.asarray(y, dtype=np.float64)
    offset = check_offset(offset, len(y))
    kept = np.ones(len(y), dtype=bool) if weights is None else weights > 0
    known = np.zeros(len(y)) if offset is None else offset
    terms = twin._terms(groups, len(y))
    terms = sorted((term.take(kept) for term in terms), key=lambda term: -term.n_levels * term.q)
    weights = None if weights is None else weights[kept]
    scaled = resolve_weights(
        weights, None, terms, int(kept.sum()), weight_type=model.weight_type, weight_scaling="none"
    )
    options = {"fit_intercept": model.fit_intercept, "fixed": twin._fixed_features}
    data = working_data(X[kept], (y - known)[kept], terms, scaled, **options)
    if not _same_products(model._model.products, data.products):
        raise ValueError(
            "These are not the data of the fit: give the X, y, groups, offset and sample_weight that est was fitted to."
        )

    def filled(outcomes: np.ndarray) -> np.ndarray:
        result = np.repeat(y[:, None], outcomes.shape[1], axis=1)
        result[kept] = outcomes + known[kept, None]
        return result

    simulator = Simulator(data, scaled, model._model, repeated=model.weight_type == "frequency")
    return BootstrapPlan(simulator, clone(model), filled, partial(_all_parameters, model))


def _same_products(fitted: Any, given: Any) -> bool:
    """Say whether data have the cross-products of the fit; rows in another order do."""
    if len(fitted.terms) != len(given.terms) or fitted.gram.shape != given.gram.shape:
        return False
    pairs = [(fitted.gram, given.gram), (fitted.n_obs, given.n_obs), (fitted.y_scale, given.y_scale)]
    for old, new in zip(fitted.terms, given.terms, strict=True):
        if old.border.shape != new.border.shape:
            return False
        pairs += [(old.border, new.border), (old.own, new.own)]
    return all(np.allclose(old, new, rtol=1e-6, atol=1e-7 * (1.0 + np.abs(old).max(initial=0.0))) for old, new in pairs)


def _all_parameters(model: Any) -> tuple[list[str], np.ndarray, Callable[..., Any]]:
    """Return names and estimates of all parameters, and what fits them again."""
    from skdep.mixed.natural_parameters import natural_parameters, natural_values
    from skdep.mixed.simulation import Refit

    fit, names = model._model, model._inference.names
    parameters = natural_parameters(names, model.random_names_, model._working_order, fit.parameters)
    border = fit.engine().value(fit.factors).border
    estimate = natural_values(parameters, fit.products, fit.back, fit.origin, fit.factors, border)
    refit = Refit(fit, parameters, model.max_iter, model.tol)
    return [parameter.name for parameter in parameters], estimate, refit
