"""Coefficient table: estimates, standard errors, tests and intervals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._fitted import FittedInference
from skdep.inference._access import fitted_inference, is_posterior, unwrap
from skdep.inference._table import Table, critical_value, two_sided_p_value

__all__ = ["SMALL_SAMPLE_METHODS", "chosen_df", "coef_table"]

SMALL_SAMPLE_METHODS = ("satterthwaite", "kenward-roger")


def chosen_df(fitted: FittedInference, cov_type: str | None, df: str | float | None) -> str | float:
    """Return degrees of freedom: a number, infinite for the normal distribution, or the name of a small-sample method.

    Parameters
    ----------
    fitted : FittedInference
        What the fit left.
    cov_type : str or None
        Covariance type, None for that of the fit.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"}, float or None
        None is the default of the covariance type.

    Raises
    ------
    ValueError
        If `df` is not known or not available, or not positive.
    """
    cov_type = cov_type or fitted.cov_type
    small = fitted.small_sample_of(cov_type)
    chosen = df is not None
    if df is None:
        df = small.default if small is not None else fitted.degrees_of_freedom.get(cov_type, np.inf)
    if isinstance(df, str):
        if df == "normal":
            return np.inf
        if df == "residual":
            return fitted.residual_df[cov_type]
        if df in SMALL_SAMPLE_METHODS and small is not None:
            return df
        raise ValueError(_unavailable(fitted, cov_type, df))
    if chosen and not df > 0:
        raise ValueError(f"df must be positive, got {df!r}.")
    return float(df)


def _unavailable(fitted: FittedInference, cov_type: str, df: str) -> str:
    """Say why degrees of freedom are not available."""
    offering = [kind for kind in fitted.covariances if fitted.small_sample_of(kind) is not None]
    if df in SMALL_SAMPLE_METHODS and offering:
        return f"df={df!r} belongs to cov_type in {offering}, not to {cov_type!r}; use 'residual' or a number."
    return f"df={df!r} is not available for this estimator; use 'normal', 'residual' or a number."


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
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom of the t distribution. By default those that the covariance type calls for: the normal
        distribution; number of clusters less parameters for the types of a GEE that correct for few clusters; units
        less strata, plus one, less parameters for ``"design"``; Satterthwaite's for the model covariance of
        `MixedLinear` (normal with several factors of more than 5,000 random effects together). ``"residual"`` is the
        number of clusters (of observations, without clusters) less the number of parameters, advisable with few
        clusters. ``"satterthwaite"`` in a GEE is Bell and McCaffrey's approximation, of each coefficient by itself,
        advisable where clusters are of unequal size or few of them are treated. ``"kenward-roger"`` also enlarges
        standard errors for estimated variances.

    Returns
    -------
    Table
        A DataFrame with columns ``estimate, std_error, statistic, df, p_value, conf_low, conf_high`` and one row a
        parameter, ``"Intercept"`` first. Coefficients that are not estimable, because features are collinear, keep
        their estimate and have NaN elsewhere. Of a `BayesLogit` ``estimate`` is the posterior mean, ``std_error`` the
        posterior standard deviation, ``conf_low`` and ``conf_high`` the limits of a credible interval with equal tails;
        there is no test, and the rest is NaN.

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
    if is_posterior(inner := unwrap(est)):
        from skdep.bayes.estimands import coefficient_table

        return coefficient_table(inner, level=level, cov_type=cov_type, df=df)
    fitted = fitted_inference(est)
    covariance = fitted.covariance(cov_type)
    freedom = chosen_df(fitted, cov_type, df)
    if isinstance(freedom, str):
        small = fitted.small_sample_of(cov_type)
        covariance = small.covariance(freedom)
        freedom = small.contrast_df(np.eye(len(covariance)), freedom)
    elif not freedom > 0:
        warnings.warn(
            f"There are {freedom:g} degrees of freedom left: p-values and intervals are NaN. There are too few "
            "clusters for so many coefficients; df='normal' gives large-sample values at your own risk."
            f"{read_more('few_clusters')}",
            UserWarning,
            stacklevel=2,
        )
    variance = np.diag(covariance).copy()
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
            "df": np.broadcast_to(freedom, len(std_error)).copy(),
            "p_value": two_sided_p_value(statistic, freedom),
            "conf_low": fitted.estimate - half_width,
            "conf_high": fitted.estimate + half_width,
        },
        index=list(fitted.names),
    )
