"""From the maximum to what users see: estimates in their columns, and the frozen fit that inference reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from skdep.glmm.maximise import Maximum
from skdep.glmm.plain import PlainFit
from skdep.glmm.working import GlmmData
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.fit import OptimizationSummary, canonical
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.robust import is_nested_in
from skdep.mixed.terms import INTERCEPT, RandomTerm
from skdep.mixed.weights import RowWeights

__all__ = ["GlmmEstimates", "GlmmFit", "estimates_of", "plain_estimates"]

# Eigenvalues of the scaled second derivative below this share of the largest are flat directions.
_FLAT = 1e-9
# Below this share their curvature is rounding.
_LOST = 1e-13
# Square root of the least information of a parameter, in its unit.
_LEAST_INFORMATION = 1e-4


@dataclass(frozen=True)
class GlmmFit:
    """A fitted generalised linear mixed model: parameters and summaries of the data, no rows.

    Parameters
    ----------
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    factors : tuple of ndarray of shape (q, q)
        Factors T of the covariances in working coordinates, terms in working order.
    to_user : tuple of ndarray of shape (q, q)
        Maps effects in working coordinates to the user's columns, by term.
    beta : ndarray of shape (p,)
        Fixed effects in working coordinates.
    back : ndarray of shape (n_coefficients, p)
        Maps them to ``[intercept, *coef]``.
    hessian : ndarray of shape (p + K, p + K)
        Joint observed information of working fixed effects and free entries of T.
    parameter_covariance : ndarray of shape (n_coefficients + K, n_coefficients + K)
        Covariance of ``[intercept, *coef]`` and the free entries of T, under the model; zeros for entries on the
        boundary. robust_parameter_covariance : ndarray or None
        The same by the sandwich, None where clusters are crossed or there are none.
    n_nodes : int
        Quadrature nodes per dimension, 1 for Laplace's approximation.
    loglik : float
        Log-likelihood, without penalty.
    term_moments : dict of str to ndarray of shape (q, q)
        Mean of z z' over observations by factor, in the user's columns.
    feature_covariance : ndarray of shape (n_features, n_features)
        Covariance of the features over observations.
    outer_factors : dict of str to tuple of str
        By factor, the factors with fewer levels in which it is nested.
    converged : bool
        Whether the search converged.
    optimization : OptimizationSummary
        How it went.
    """

    parameters: CovarianceParameters
    factors: tuple[np.ndarray, ...]
    to_user: tuple[np.ndarray, ...]
    beta: np.ndarray
    back: np.ndarray
    hessian: np.ndarray
    parameter_covariance: np.ndarray
    robust_parameter_covariance: np.ndarray | None
    n_nodes: int
    loglik: float
    term_moments: dict[str, np.ndarray]
    feature_covariance: np.ndarray
    outer_factors: dict[str, tuple[str, ...]]
    converged: bool
    optimization: OptimizationSummary

    @property
    def singular(self) -> bool:
        """Whether an estimated covariance matrix is on the boundary."""
        return any(np.abs(np.diag(T)).min() < BOUNDARY for T in self.factors)


@dataclass(frozen=True)
class GlmmEstimates:
    """Estimates in the user's columns; terms in working order.

    Parameters
    ----------
    fit : GlmmFit
        The fit.
    params : ndarray of shape (n_coefficients,)
        ``[intercept, *coef]``.
    by_type : dict
        Covariance of `params` by type.
    covariances : list of ndarray of shape (q, q)
        Covariance of the random effects by term.
    effects, effect_sds : list of ndarray of shape (n_levels, q)
        Modes of the random effects, and their conditional standard deviations.
    n_clusters : int
        Number of clusters of the sandwich, 0 if it cannot be had.
    is_flat : bool
        Whether the likelihood has a flat direction.
    """

    fit: GlmmFit
    params: np.ndarray
    by_type: dict[str, np.ndarray]
    covariances: list[np.ndarray]
    effects: list[np.ndarray]
    effect_sds: list[np.ndarray]
    n_clusters: int
    is_flat: bool


def estimates_of(
    data: GlmmData, maximum: Maximum, X: np.ndarray, weights: np.ndarray | None, tol: float
) -> GlmmEstimates:
    """Map everything back.

    Parameters
    ----------
    data : GlmmData
        The data in working coordinates.
    maximum : Maximum
        Where the likelihood is largest.
    X : ndarray of shape (n_rows, n_features)
        Features, in the caller's order.
    weights : ndarray of shape (n_rows,) or None
        Weights of the rows.
    tol : float
        Tolerance of the search.
    """
    criterion, optimum = maximum.criterion, maximum.optimum
    state, parameters, back = optimum.state, criterion.parameters, data.basis.back
    factors = canonical(state.factors)
    signs = _signs(parameters, state.factors, len(state.beta))
    hessian = optimum.hessian * np.outer(signs, signs)
    units = np.concatenate([data.units, np.ones(parameters.n_parameters)])
    inverse, is_flat = _inverse(hessian, _on_boundary(parameters, factors, len(state.beta)), units)
    move = linalg.block_diag(back, np.eye(parameters.n_parameters))
    covariance = _moved(move, inverse)
    robust, n_clusters = None, 0
    if data.clusters is not None:
        n_clusters = int(data.clusters.max()) + 1
        scores = criterion.scores(state, data.clusters, n_clusters) * signs
        middle = np.nan_to_num(inverse) @ (scores.T @ scores) @ np.nan_to_num(inverse)
        middle[np.isnan(inverse)] = np.nan
        robust = _moved(move, middle) if n_clusters > 1 else np.full_like(covariance, np.nan)
    value = state.value - _penalty(criterion, state)
    fit = GlmmFit(
        parameters=parameters,
        factors=tuple(factors),
        to_user=tuple(term.to_user for term in data.rows.terms),
        beta=state.beta,
        back=back,
        hessian=hessian,
        parameter_covariance=covariance,
        robust_parameter_covariance=robust,
        n_nodes=maximum.n_nodes,
        loglik=-value,
        term_moments=_term_moments(data, X, weights),
        feature_covariance=_feature_covariance(X, weights),
        outer_factors=_outer_factors(data.terms),
        converged=optimum.converged,
        optimization=OptimizationSummary(
            tuple(maximum.start.factors),
            tuple(factors),
            2.0 * maximum.start.value,
            2.0 * state.value,
            optimum.n_steps,
            optimum.n_values,
            optimum.decrement,
            optimum.gradient.packed(parameters) * signs,
            tol,
            optimum.message,
        ),
    )
    n_fixed = len(back)
    by_type = {"model": covariance[:n_fixed, :n_fixed].copy()}
    if robust is not None:
        by_type["robust"] = robust[:n_fixed, :n_fixed].copy()
    effects = [T @ u for T, u in zip(state.factors, state.modes, strict=True)]
    return GlmmEstimates(
        fit=fit,
        params=back @ state.beta,
        by_type=by_type,
        covariances=[_symmetric(A @ T @ T.T @ A.T) for A, T in zip(fit.to_user, factors, strict=True)],
        effects=[(A @ b).T for A, b in zip(fit.to_user, effects, strict=True)],
        effect_sds=[
            _standard_deviations(A, part)
            for A, part in zip(fit.to_user, criterion.conditional_variances(state), strict=True)
        ],
        n_clusters=n_clusters,
        is_flat=is_flat,
    )


def plain_estimates(
    data: GlmmData, plain: PlainFit, ridge: np.ndarray, X: np.ndarray, weights: RowWeights
) -> GlmmEstimates:
    """Return the fit without random effects, each row a cluster of its own."""
    back, parameters = data.basis.back, CovarianceParameters((), True)
    inverse = np.linalg.inv(plain.hessian * np.outer(data.units, data.units)) * np.outer(data.units, data.units)
    covariance = _symmetric(back @ inverse @ back.T)
    middle = inverse @ _squared_scores(data, plain.beta, repeats=weights.repeats) @ inverse
    robust = _symmetric(back @ middle @ back.T)
    value = plain.value - 0.5 * float(plain.beta @ ridge @ plain.beta)
    message = "converged" if plain.converged else "iteration limit"
    summary = OptimizationSummary(
        (),
        (),
        2.0 * plain.value,
        2.0 * plain.value,
        plain.n_iter,
        plain.n_iter,
        plain.decrement**2,
        np.zeros(0),
        0.0,
        message,
    )
    fit = GlmmFit(
        parameters,
        (),
        (),
        plain.beta,
        back,
        plain.hessian,
        covariance,
        robust,
        1,
        -value,
        {},
        _feature_covariance(X, weights.total),
        {},
        plain.converged,
        summary,
    )
    n_clusters = round(weights.n_obs) if weights.repeats else len(X)
    by_type = {"model": covariance, "robust": robust}
    return GlmmEstimates(fit, back @ plain.beta, by_type, [], [], [], n_clusters, False)


def _squared_scores(data: GlmmData, beta: np.ndarray, *, repeats: bool) -> np.ndarray:
    """Return the sum over observations of the score times itself (p, p), for a model without random effects."""
    rows = data.rows
    mean = rows.family.derivatives(rows.fixed_predictor(beta), 1)[1]
    squares = (rows.outcome - rows.weight * mean) ** 2
    if repeats:
        squares /= rows.weight
    return np.dot(rows.fixed.T, rows.fixed * squares[:, None])


def _penalty(criterion: Any, state: Any) -> float:
    return criterion.penalty(state) if hasattr(criterion, "penalty") else 0.0


def _signs(parameters: CovarianceParameters, factors: list[np.ndarray], n_fixed: int) -> np.ndarray:
    """Return by which signs parameters change when pivots are made positive."""
    columns = zip(factors, parameters.columns, strict=True)
    return np.concatenate([np.ones(n_fixed), *[np.where(np.diag(T)[at] < 0, -1.0, 1.0) for T, at in columns]])


def _on_boundary(parameters: CovarianceParameters, factors: list[np.ndarray], n_fixed: int) -> np.ndarray:
    """Say which parameters belong to columns of zeros: the criterion is even in them, others do not see them."""
    columns = zip(factors, parameters.columns, strict=True)
    return np.concatenate([np.zeros(n_fixed, dtype=bool), *[(T == 0.0).all(axis=0)[at] for T, at in columns]])


def _inverse(hessian: np.ndarray, left_out: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the inverse of the information of the other parameters, zeros for those left out; and whether it is flat.

    Where a direction is flat, or no minimum, variances of all that load on it are NaN.
    """
    result = np.zeros_like(hessian)
    kept = np.flatnonzero(~left_out)
    matrix = hessian[np.ix_(kept, kept)]
    # a parameter without information must not have its rounding blown up
    scale = np.maximum(np.sqrt(np.abs(np.diag(matrix))), _LEAST_INFORMATION / units[kept])
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    largest = max(float(values.max(initial=0.0)), 1e-300)
    is_flat = bool((values < _FLAT * largest).any())
    flat = np.asarray(values < _LOST * largest)
    vectors = vectors / scale[:, None]
    inverse = (vectors[:, ~flat] / values[~flat]) @ vectors[:, ~flat].T
    if flat.any():
        loads = (np.abs(vectors[:, flat] * scale[:, None]) > 1e-4).any(axis=1)
        inverse[loads] = np.nan
        inverse[:, loads] = np.nan
    result[np.ix_(kept, kept)] = inverse
    return result, is_flat


def _moved(move: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return A M A', NaN only in rows that are made of parameters whose variance is NaN."""
    unknown = np.isnan(np.diag(matrix))
    result = _symmetric(move @ np.nan_to_num(matrix) @ move.T)
    lost = (np.abs(move[:, unknown]) > 0.0).any(axis=1)
    result[lost] = np.nan
    result[:, lost] = np.nan
    return result


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


def _standard_deviations(to_user: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Return the roots of the diagonals (n_levels, q) of A V A' for a stack of V (q, q, n_levels)."""
    q = len(to_user)
    squares = (to_user[:, :, None] * to_user[:, None, :]).reshape(q, -1)
    return np.sqrt(np.maximum(np.dot(squares, stack.reshape(q * q, -1)), 0.0)).T


def _term_moments(data: GlmmData, X: np.ndarray, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return the means of z z' by factor."""
    result = {}
    for term in data.terms:
        Z = np.column_stack([np.ones(len(X)) if c == INTERCEPT else X[:, c] for c in term.columns])
        total = float(len(X)) if weights is None else float(weights.sum())
        result[term.name] = np.dot(Z.T, Z if weights is None else Z * weights[:, None]) / total
    return result


def _outer_factors(terms: Sequence[RandomTerm]) -> dict[str, tuple[str, ...]]:
    """Return by factor those with fewer levels in which it is nested."""
    return {
        term.name: tuple(o.name for o in terms if o.n_levels < term.n_levels and is_nested_in(term, o))
        for term in terms
    }


def _feature_covariance(X: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return the covariance of the features over observations."""
    centred = X - np.average(X, axis=0, weights=weights) if X.shape[1] else X
    total = float(len(X)) if weights is None else float(weights.sum())
    return np.dot(centred.T, centred if weights is None else centred * weights[:, None]) / total
