"""From the optimum to what users see: everything mapped back to their columns and units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdep.mixed.evaluation import State
from skdep.mixed.fit import (
    LinearMixedFit,
    WorkingData,
    canonical,
    fit_products,
    loglik_of,
    make_engine,
    summarise_optimum,
)
from skdep.mixed.newton import Optimum, without_search
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.robust import conditional_residuals, crossed_covariance, outermost_terms
from skdep.mixed.weights import RowWeights
from skdep.sandwich import sandwich

__all__ = ["Estimates", "estimate_all"]

# Where the random effects explain all but this share's inverse of the sum of squares, r2 is summed afresh.
_LOST_DIGITS = 100.0

# Second derivatives below this share of their size count as zero.
_FLAT = 1e-8


@dataclass(frozen=True)
class Estimates:
    """Estimates in the user's columns and units; terms in working order.

    Parameters
    ----------
    fit : LinearMixedFit
        The fit in working coordinates.
    params : ndarray of shape (n_coefficients,)
        ``[intercept, *coef]``.
    by_type : dict
        Covariance of `params` by type.
    aliased : ndarray of bool of shape (n_coefficients,)
        Which of them are not estimable.
    sigma2 : float
        Residual variance.
    covariances : list of ndarray of shape (q, q)
        Covariance of the random effects by term.
    effects, effect_sds : list of ndarray of shape (n_levels, q)
        Predicted random effects and their conditional standard deviations.
    n_clusters : int
        Number of clusters of the sandwich: levels of the outermost factor, the least of them if crossed; rows without
        factors.
    flat : list of str
        Factors whose covariance the data do not determine.
    """

    fit: LinearMixedFit
    params: np.ndarray
    by_type: dict[str, np.ndarray]
    aliased: np.ndarray
    sigma2: float
    covariances: list[np.ndarray]
    effects: list[np.ndarray]
    effect_sds: list[np.ndarray]
    n_clusters: int
    flat: list[str]


def estimate_all(data: WorkingData, weights: RowWeights, *, reml: bool, max_iter: int, tol: float) -> Estimates:
    """Fit, and map everything back.

    Parameters
    ----------
    data : WorkingData
        Rows in working coordinates.
    weights : RowWeights
        Their weights.
    reml : bool
        Whether the criterion is REML.
    max_iter : int
        Most steps.
    tol : float
        Tolerance of the decrement.
    """
    products, parameters = data.products, CovarianceParameters.of(data.terms)
    if data.y_scale == 0.0 or (reml and products.n_obs <= products.n_params):
        engine, optimum = _without_error(data, parameters, reml=reml)
        start: Any = optimum.state.factors
    else:
        engine, optimum = fit_products(products, parameters, reml=reml, max_iter=max_iter, tol=tol)
        start = optimum.start
    state, scale = optimum.state, data.y_scale
    effects = engine.effects(state) if data.terms else []
    if data.terms and scale > 0.0 and weights.multiplicity is None:
        state = _with_exact_residual(data, weights, state, effects)
    origin = data.basis.back @ data.shift
    if products.n_params and data.y_centre:
        origin[0] += data.y_centre
    fit = LinearMixedFit(
        products=products,
        parameters=parameters,
        factors=tuple(canonical(state.factors)),
        reml=reml,
        loglik=loglik_of(products, state.border, state.value) if scale > 0 else np.inf,
        back=data.basis.back,
        origin=origin,
        converged=optimum.converged,
        optimization=summarise_optimum(optimum, parameters, start, tol),
    )
    sigma2 = state.border.sigma2 * scale**2
    to_user = [term.to_user for term in products.terms]
    variances = engine.conditional_variances(state) if data.terms else []
    by_type, n_clusters = _covariances(data, weights, engine, state, effects)
    return Estimates(
        fit=fit,
        params=origin + data.basis.back @ state.border.beta * scale,
        by_type=by_type,
        aliased=data.basis.aliased,
        sigma2=sigma2,
        covariances=[_symmetric(A @ T @ T.T @ A.T) * sigma2 for A, T in zip(to_user, fit.factors, strict=True)],
        effects=[part @ A.T * scale for A, part in zip(to_user, effects, strict=True)],
        effect_sds=[
            _standard_deviations(A, part) * np.sqrt(sigma2) for A, part in zip(to_user, variances, strict=True)
        ],
        n_clusters=n_clusters,
        flat=_flat_terms(data, parameters, optimum) if data.terms and scale > 0 and optimum.converged else [],
    )


def _flat_terms(data: WorkingData, parameters: CovarianceParameters, optimum: Optimum) -> list[str]:
    """Return the factors in whose covariance the criterion has a flat direction: it does not say what it is.

    Second derivatives are compared with what they would be were the effects the only unknowns.
    """
    alone = []
    factors = optimum.state.factors
    for term, T, rows, columns in zip(data.products.terms, factors, parameters.rows, parameters.columns, strict=True):
        own = np.einsum("aal->al", term.own)
        share = own / (1.0 + own * np.sum(T * T, axis=1)[:, None])
        alone.append(np.sum(share[rows] * share[columns], axis=1) * np.where(rows == columns, 1.0, 2.0))
    unit = np.sqrt(np.concatenate(alone))
    empty = unit <= 0.0
    unit[empty] = 1.0
    values, vectors = np.linalg.eigh(optimum.derivatives.hessian / np.outer(unit, unit))
    loads = np.abs(vectors[:, np.abs(values) < _FLAT]).max(axis=1, initial=0.0) > 0.1
    bounds = parameters.bounds
    found = [bool((loads | empty)[bounds[k] : bounds[k + 1]].any()) for k in range(len(data.terms))]
    return [term.name for term, is_flat in zip(data.terms, found, strict=True) if is_flat]


def _with_exact_residual(data: WorkingData, weights: RowWeights, state: State, effects: list[np.ndarray]) -> State:
    """Return the state with r2 = |y - X beta - Z b|^2 + |u|^2 summed over rows, where differences lose digits.

    Errors of beta and b enter that sum in second order only, since it is least there.
    """
    border, m = state.border, state.border.m
    if data.products.gram[-1, -1] < _LOST_DIGITS * border.r2:
        return state
    r2 = data.residual_sum(border.contrast, effects, weights)
    for T, effect in zip(state.factors, effects, strict=True):
        spherical = np.linalg.lstsq(T, effect.T, rcond=1e-12)[0]
        r2 += float(np.sum(spherical**2))
    value = m * float(np.log(r2 / border.r2))
    exact = replace(border, r2=r2, sigma2=r2 / m, value=border.value + value)
    return replace(state, value=state.value + value, border=exact)


def _standard_deviations(to_user: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Return the roots of the diagonals (n_levels, q) of A V A' for a stack of V (q, q, n_levels)."""
    q = len(to_user)
    squares = (to_user[:, :, None] * to_user[:, None, :]).reshape(q, -1)
    return np.sqrt(np.maximum(np.dot(squares, stack.reshape(q * q, -1)), 0.0)).T


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


def _without_error(data: WorkingData, parameters: CovarianceParameters, *, reml: bool) -> tuple[Any, Optimum]:
    """Return the fit where least squares leaves no residual: no variance at all."""
    engine = make_engine(data.products, parameters, reml=reml)
    state: State = engine.value([np.zeros((q, q)) for q in parameters.sizes])
    return engine, without_search(state, parameters, "no residual")


def _covariances(
    data: WorkingData, weights: RowWeights, engine: Any, state: State, effects: list[np.ndarray]
) -> tuple[dict[str, np.ndarray], int]:
    """Return the covariance matrices of the coefficients by type, and the number of clusters of the sandwich."""
    border, back = state.border, data.basis.back * data.y_scale
    bread = border.inverse_root @ border.inverse_root.T
    outermost = outermost_terms(data.terms)
    if len(outermost) > 1:
        moved = _projected_columns(data, engine.fixed_effect_products(state))
        marginal = data.border @ border.contrast
        robust = crossed_covariance(moved, marginal, weights.total, border.inverse_root, outermost)
    else:
        cluster = next((term.name for term in outermost), None)
        robust = sandwich(bread, data.score_meat(border.contrast, effects, weights, cluster))
    n_rows = round(weights.n_obs) if weights.repeats else data.n_rows
    n_clusters = min((term.n_levels for term in outermost), default=n_rows)
    if outermost and n_clusters < 2:
        robust = np.full_like(robust, np.nan)
    by_type = {"model": bread * border.sigma2, "robust": robust}
    return {kind: _symmetric(back @ matrix @ back.T) for kind, matrix in by_type.items()}, n_clusters


def _projected_columns(data: WorkingData, derivatives: list[np.ndarray]) -> np.ndarray:
    """Return sigma2 W^-1 V^-1 X (n_rows, p): the fixed-effect columns X + Z db/dbeta."""
    n_params = data.products.n_params
    result = np.empty((len(data.border), n_params))
    for k, contrast in enumerate(np.eye(n_params + 1)[:n_params]):
        effects = [-part[:, :, k] for part in derivatives]
        result[:, k] = conditional_residuals(data.border, contrast, data.terms, data.columns, effects)
    return result
