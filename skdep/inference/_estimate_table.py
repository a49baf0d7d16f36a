"""Columns of a table of estimates that are linear in the parameters, or known by their standard errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._fitted import FittedInference
from skdep._stack import level_of_caller
from skdep.inference._table import critical_value, two_sided_p_value
from skdep.inference.coef_table import chosen_df

__all__ = ["covariance_and_df", "estimate_columns", "linear_errors"]


def covariance_and_df(fitted: FittedInference, cov_type: str | None, df: str | float | None) -> tuple[Any, str | float]:
    """Return the covariance (p, p) of ``[intercept, *coef]`` that goes with a choice, and its degrees of freedom.

    Parameters
    ----------
    fitted : FittedInference
        What the fit left.
    cov_type, df
        As in `skdep.inference.coef_table`.

    Returns
    -------
    covariance : ndarray of shape (p, p)
        Of a small-sample method that enlarges it, the enlarged one.
    freedom : float or str
        A number, or the name of a method that has degrees of freedom for each combination.
    """
    freedom = chosen_df(fitted, cov_type, df)
    if isinstance(freedom, str):
        return fitted.small_sample_of(cov_type).covariance(freedom), freedom
    if not freedom > 0:
        warnings.warn(
            f"There are {freedom:g} degrees of freedom left: p-values and intervals are NaN. There are too few "
            "clusters for so many coefficients; df='normal' gives large-sample values at your own risk."
            f"{read_more('few_clusters')}",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    return fitted.covariance(cov_type), freedom


def linear_errors(
    fitted: FittedInference, combinations: np.ndarray, cov_type: str | None, df: str | float | None
) -> tuple[np.ndarray, Any]:
    """Return standard errors (m,) and degrees of freedom of linear combinations of ``[intercept, *coef]``.

    Parameters
    ----------
    fitted : FittedInference
        What the fit left.
    combinations : ndarray of shape (m, p)
        Weights of the coefficients.
    cov_type, df
        As in `skdep.inference.coef_table`.
    """
    covariance, freedom = covariance_and_df(fitted, cov_type, df)
    if isinstance(freedom, str):
        freedom = fitted.small_sample_of(cov_type).contrast_df(combinations, freedom)
    variance = np.einsum("mp,mp->m", combinations @ covariance, combinations)
    variance[variance < 0] = np.nan
    return np.sqrt(variance), freedom


def estimate_columns(
    estimate: np.ndarray, std_error: np.ndarray, freedom: Any, *, level: float, values: Any = 0.0
) -> dict[str, np.ndarray]:
    """Return the columns of `skdep.inference.coef_table`.

    Parameters
    ----------
    estimate, std_error : ndarray of shape (m,)
        Estimates and their standard errors.
    freedom : float or ndarray of shape (m,)
        Degrees of freedom, infinite for the normal distribution.
    level : float
        Confidence level.
    values : float or ndarray of shape (m,), default=0
        Values under the hypothesis that is tested.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (estimate - values) / std_error
    half_width = critical_value(level, freedom) * std_error
    return {
        "estimate": estimate,
        "std_error": std_error,
        "statistic": statistic,
        "df": np.broadcast_to(freedom, len(std_error)).astype(np.float64),
        "p_value": two_sided_p_value(statistic, freedom),
        "conf_low": estimate - half_width,
        "conf_high": estimate + half_width,
    }
