"""Coefficient table: estimates, standard errors, tests and intervals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from skdep._fitted import FittedInference
from skdep.inference._access import fitted_inference
from skdep.inference._table import Table, critical_value, two_sided_p_value

__all__ = ["coef_table", "degrees_of_freedom"]


def degrees_of_freedom(fitted: FittedInference, cov_type: str | None, df: str | float | None) -> float:
    """Return the degrees of freedom asked for: infinite for the normal distribution.

    Parameters
    ----------
    fitted : FittedInference
        What the fit left.
    cov_type : str or None
        Covariance type, None for that of the fit.
    df : {"normal", "residual"}, float or None
        None is the default of the covariance type.

    Raises
    ------
    ValueError
        If `df` is not known, or not positive.
    """
    if df is None:
        return fitted.degrees_of_freedom.get(cov_type or fitted.cov_type, np.inf)
    if isinstance(df, str):
        if df == "normal":
            return np.inf
        if df == "residual":
            return fitted.residual_df[cov_type or fitted.cov_type]
        raise ValueError(f"df={df!r} is not available for this estimator; use 'normal', 'residual' or a number.")
    if not df > 0:
        raise ValueError(f"df must be positive, got {df!r}.")
    return float(df)


def coef_table(est: Any, *, level: float = 0.95, cov_type: str | None = None, df: str | float | None = None) -> Table:
    """Tabulate coefficients with standard errors, tests and confidence intervals.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    level : float, default=0.95
        Confidence level of the intervals.
    cov_type : str, optional
        Covariance type, by default that of the fit; the fit is not repeated.
    df : {"normal", "residual"} or float, optional
        Degrees of freedom of the t distribution. By default those that the covariance type calls for: the normal
        distribution, or number of sampling units less parameters for ``"design"``. ``"residual"`` is the number of
        clusters (of observations, without clusters) less the number of parameters, advisable with few clusters.

    Returns
    -------
    Table
        A DataFrame with columns ``estimate, std_error, statistic, df, p_value, conf_low, conf_high`` and one row a
        parameter, ``"Intercept"`` first. Coefficients that are not estimable, because features are collinear, keep
        their estimate and have NaN elsewhere.

    Raises
    ------
    ValueError
        If the fit has no such covariance type or degrees of freedom.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import coef_table
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> coef_table(fit)[["estimate", "std_error"]].round(4)
               estimate  std_error
    Intercept   -1.8837     0.1143
    age         -0.1134     0.0439
    smoke        0.2721     0.1781
    """
    fitted = fitted_inference(est)
    freedom = degrees_of_freedom(fitted, cov_type, df)
    if not freedom > 0:
        warnings.warn(
            f"There are {freedom:g} degrees of freedom left: p-values and intervals are NaN. There are too few "
            "clusters for so many coefficients; df='normal' gives large-sample values at your own risk.",
            UserWarning,
            stacklevel=2,
        )
    variance = np.diag(fitted.covariance(cov_type)).copy()
    variance[fitted.aliased | (variance < 0)] = np.nan
    std_error = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = fitted.estimate / std_error
    half_width = critical_value(level, freedom) * std_error
    return Table(
        {
            "estimate": fitted.estimate,
            "std_error": std_error,
            "statistic": statistic,
            "df": np.full(len(std_error), freedom),
            "p_value": two_sided_p_value(statistic, freedom),
            "conf_low": fitted.estimate - half_width,
            "conf_high": fitted.estimate + half_width,
        },
        index=list(fitted.names),
    )
