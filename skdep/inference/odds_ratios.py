"""Odds ratios: coefficients of a logit model on the scale on which they are read aloud."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.inference._access import is_posterior, unwrap
from skdep.inference._table import Table
from skdep.inference.coef_table import coef_table

__all__ = ["odds_ratios"]


def odds_ratios(est: Any, *, level: float = 0.95, cov_type: str | None = None, df: str | float | None = None) -> Table:
    """Tabulate exp(coefficient): the factor on the odds for one more unit of a feature.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep with a logit link, or a pipeline or search around one.
    level : float, default=0.95
        Confidence level of the intervals.
    cov_type : str, optional
        Covariance type, by default that of the fit.
    df : {"normal", "residual"} or float, optional
        Degrees of freedom as in `coef_table`.

    Returns
    -------
    Table
        A DataFrame with the columns of `coef_table`. ``estimate`` is the odds ratio (for the intercept the odds at
        zero), ``std_error`` its standard error by the delta method; test and interval are those of the coefficient, the
        interval exponentiated. Of a `BayesLogit` they are posterior median, standard deviation and credible limits of
        the odds ratio. Over the index of a mixed model's table stands ``cluster-specific``.

    Raises
    ------
    TypeError
        If the link is not the logit.

    See Also
    --------
    marginal_effects : Effects on the probability.
    population_average : Coefficients of a mixed model, averaged over its random effects.

    Notes
    -----
    Odds ratios of a logistic mixed model are **cluster-specific**: they compare rows of the same cluster, or of
    clusters with the same random effects. Those between rows of the population at large are nearer to one.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import odds_ratios
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> odds_ratios(fit)[["estimate", "conf_low", "conf_high"]].round(3)
               estimate  conf_low  conf_high
    Intercept     0.152     0.121      0.190
    age           0.893     0.819      0.973
    smoke         1.313     0.926      1.861
    """
    inner = unwrap(est)
    link = getattr(inner, "_link_name", None)
    if link != "logit":
        raise TypeError(f"Odds ratios need a logit link; this {type(inner).__name__} has link {link!r}.")
    if is_posterior(inner):
        from skdep.bayes.estimands import odds_ratio_table

        table = odds_ratio_table(inner, level=level, cov_type=cov_type, df=df)
    else:
        table = coef_table(inner, level=level, cov_type=cov_type, df=df)
        ratio = np.exp(table["estimate"])
        table["std_error"] = ratio * table["std_error"]
        table["estimate"] = ratio
        table[["conf_low", "conf_high"]] = np.exp(table[["conf_low", "conf_high"]])
    if getattr(inner, "random_covariance_", None):
        table.columns.name = "cluster-specific"
    return table
