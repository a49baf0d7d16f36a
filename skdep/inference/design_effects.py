"""Design effects of coefficients: what the design does to their variances."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.inference._access import fitted_inference
from skdep.inference._table import Table
from skdep.inference._working_model import working_covariance

__all__ = ["design_effects"]


def design_effects(est: Any, *, cov_type: str | None = None) -> Table:
    r"""Tabulate design effects: by how much clusters, strata and weights change the variances of coefficients.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    cov_type : str, optional
        Covariance type that knows of the design, by default that of the fit; the fit is not repeated.

    Returns
    -------
    Table
        A DataFrame with one row a coefficient, and columns ``estimate``; ``std_error``, by the design;
        ``std_error_srs``, by the model, had independent rows been drawn by simple random sampling; ``deff``, the ratio
        of their squares; ``deft``, the ratio itself. NaN for coefficients that are not estimable.

    Raises
    ------
    ValueError
        If the fit has no such covariance type, or it is that of the model.
    TypeError
        If the fit has no covariance of its model.

    Notes
    -----
    The denominator is the inverse information of the model with weights of mean one, times the model's scale: 1 for
    `LogitRegressor`, ``scale_`` for a GEE. R's survey reports the same for ``svyglm(..., deff=TRUE)``, but with a scale
    that it estimates in every family; that is the design effect of a GEE with independence and ``dof="n-p"``, which for
    a binary outcome differs from that of `LogitRegressor` by the factor 1 / ``scale_``. Finite populations are part of
    the numerator only.

    References
    ----------
    Kish (1965), Survey Sampling, Wiley, section 8.2.
    Skinner, Holt and Smith (1989), Analysis of Complex Surveys, Wiley, chapter 2: misspecification effects.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import design_effects
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> design_effects(fit)[["std_error", "std_error_srs", "deff"]].round(4)
               std_error  std_error_srs    deff
    Intercept     0.1143         0.0838  1.8600
    age           0.0439         0.0541  0.6595
    smoke         0.1781         0.1235  2.0817
    """
    fitted = fitted_inference(est)
    cov_type = cov_type or fitted.cov_type
    if cov_type in ("model", "naive"):
        others = sorted(set(fitted.covariances) - {"model", "naive"})
        raise ValueError(f"cov_type={cov_type!r} is the covariance to compare with; choose one of {others}.")
    variances = np.array([np.diag(fitted.covariance(cov_type)), np.diag(working_covariance(fitted))])
    variances[:, fitted.aliased] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        std_error, std_error_srs = np.sqrt(variances)
        deft = std_error / std_error_srs
    columns = {
        "estimate": fitted.estimate,
        "std_error": std_error,
        "std_error_srs": std_error_srs,
        "deff": deft**2,
        "deft": deft,
    }
    return Table(columns, index=list(fitted.names))
