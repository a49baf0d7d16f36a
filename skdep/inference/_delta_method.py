"""The delta method: standard errors, tests and intervals of functions of the parameters, from their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import block_diag

from skdep._fitted import FittedInference
from skdep.inference._population import random_part
from skdep.inference._table import critical_value, two_sided_p_value
from skdep.inference.coef_table import chosen_df

__all__ = ["delta_method", "joint_covariance", "not_estimable"]


def joint_covariance(inner: Any, cov_type: str | None) -> np.ndarray:
    """Return the covariance of ``[intercept, *coef]`` and of the covariance parameters of random effects.

    Parameters
    ----------
    inner : estimator
        Fitted estimator.
    cov_type : str or None
        Covariance type, None for that of the fit.

    Returns
    -------
    ndarray of shape (p + S, p + S)
        The S further parameters are those of `RandomPart`: entries of the lower triangles of Sigma, in the user's
        columns.
    """
    fitted: FittedInference = inner._inference
    coefficients = fitted.covariance(cov_type)
    if not random_part(inner).columns:
        return coefficients
    by_type = {"model": inner._model.parameter_covariance, "robust": inner._model.robust_parameter_covariance}
    jacobian = block_diag(np.eye(len(coefficients)), _sigma_by_factors(inner))
    return jacobian @ by_type[cov_type or fitted.cov_type] @ jacobian.T


def _sigma_by_factors(inner: Any) -> np.ndarray:
    """Return the derivative (S, K) of Sigma = U T T' U', U to the user's columns, by the free entries of T."""
    model, order, blocks = inner._model, list(inner._working_order), []
    for name in inner.random_covariance_:
        k = order.index(name)
        T, to_user = model.factors[k], model.to_user[k]
        block = np.zeros((len(T) * (len(T) + 1) // 2, model.parameters.n_parameters))
        lower = np.triu_indices(len(T))  # of a symmetric matrix: its lower triangle, column by column
        for entry, (a, c) in enumerate(model.parameters.entries[k]):
            moved = np.outer(to_user[:, a], to_user @ T[:, c])
            block[:, model.parameters.bounds[k] + entry] = (moved + moved.T)[lower]
        blocks.append(block)
    return np.concatenate(blocks)


def not_estimable(fitted: FittedInference, gradients: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Say which functions of the coefficients collinear features leave undetermined.

    The estimates are those of least norm, the intercept not counted: their covariance lacks exactly the null vectors of
    the slopes, and a null vector's intercept takes back what it does to the rows.

    Parameters
    ----------
    fitted : FittedInference
        What the fit left.
    gradients : ndarray of shape (m, p)
        Derivatives of the functions by ``[intercept, *coef]``.
    rows : ndarray of shape (n_rows, n_features)
        Rows that satisfy the linear relations of the fit.
    """
    if not fitted.aliased.any():
        return np.zeros(len(gradients), dtype=bool)
    split = len(fitted.estimate) - rows.shape[1]
    covariance = next(fitted.covariances[kind] for kind in ("model", "naive") if kind in fitted.covariances)
    features = np.flatnonzero(fitted.aliased[split:])
    block = covariance[np.ix_(features + split, features + split)]
    scale = np.sqrt(np.maximum(np.diag(block), 0.0))
    scale[scale == 0.0] = 1.0
    values, vectors = np.linalg.eigh(block / np.outer(scale, scale))
    null = np.zeros((len(fitted.estimate), int(np.sum(values < 1e-11 * max(values[-1], 1.0)))))
    null[features + split] = vectors[:, : null.shape[1]] / scale[:, None]
    if split:
        null[0] = -rows.mean(axis=0) @ null[1:]
    return np.any(np.abs(gradients @ null) > 1e-7 * (np.abs(gradients) @ np.abs(null)), axis=1)


def delta_method(
    inner: Any,
    estimate: np.ndarray,
    gradients: np.ndarray,
    *,
    undetermined: np.ndarray,
    level: float,
    cov_type: str | None,
    df: str | float | None,
) -> dict[str, np.ndarray]:
    """Return the columns of a table of functions of the parameters.

    Parameters
    ----------
    inner : estimator
        Fitted estimator.
    estimate : ndarray of shape (m,)
        Values of the functions.
    gradients : ndarray of shape (m, p + S)
        Their derivatives, by the parameters of `joint_covariance`.
    undetermined : ndarray of bool of shape (m,)
        Functions that are not estimable.
    level, cov_type, df
        As in `coef_table`.

    Returns
    -------
    dict
        ``estimate, std_error, statistic, df, p_value, conf_low, conf_high``.
    """
    fitted: FittedInference = inner._inference
    covariance = joint_covariance(inner, cov_type)
    freedom = chosen_df(fitted, cov_type, df)
    if isinstance(freedom, str):
        small = fitted.small_sample_of(cov_type)
        covariance = small.covariance(freedom)
        freedom = small.contrast_df(gradients, freedom)
    variance = np.einsum("mp,pk,mk->m", gradients, covariance, gradients, optimize=True)
    variance[undetermined | (variance < 0)] = np.nan
    std_error = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / std_error
    half_width = critical_value(level, freedom) * std_error
    return {
        "estimate": estimate,
        "std_error": std_error,
        "statistic": statistic,
        "df": np.broadcast_to(freedom, len(std_error)).copy(),
        "p_value": two_sided_p_value(statistic, freedom),
        "conf_low": estimate - half_width,
        "conf_high": estimate + half_width,
    }
