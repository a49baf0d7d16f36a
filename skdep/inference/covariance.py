"""The covariance matrix of the coefficients, with their names."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.inference._access import is_posterior, unwrap
from skdep.inference._estimate_table import covariance_and_df
from skdep.inference._table import Table

__all__ = ["covariance"]


def covariance(est: Any, cov_type: str | None = None, *, df: str | float | None = None) -> Table:
    """Return the covariance matrix of the coefficients, of any type that the fit has.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    cov_type : str, optional
        Covariance type, by default that of the fit; the fit is not repeated.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom with which it will be used, as in `coef_table`: ``"kenward-roger"`` gives the matrix that is
        enlarged for estimated variances. Others do not change it.

    Returns
    -------
    Table
        A DataFrame (p, p), ``"Intercept"`` first, then features. The roots of its diagonal are the standard errors of
        `coef_table`. Rows and columns of coefficients that are not estimable, because features are collinear, are
        NaN. Of a `BayesLogit` it is the covariance of the posterior.

    Raises
    ------
    ValueError
        If the fit has no such covariance type.

    See Also
    --------
    linear_combinations : Standard errors of sums and differences of coefficients.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import covariance
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> covariance(fit).round(5)
               Intercept      age    smoke
    Intercept    0.01308  0.00135 -0.01210
    age          0.00135  0.00193  0.00009
    smoke       -0.01210  0.00009  0.03174
    >>> float(covariance(fit, "model").loc["smoke", "smoke"].round(5))
    0.01525
    """
    fitted = (inner := unwrap(est))._inference
    if is_posterior(inner):
        if df is not None:
            raise ValueError(f"df={df!r}: a posterior has no degrees of freedom. Leave it out.")
        matrix = fitted.covariance(cov_type)
    else:
        matrix, _ = covariance_and_df(fitted, cov_type, df)
    matrix = np.array(matrix)
    matrix[fitted.aliased] = matrix[:, fitted.aliased] = np.nan
    names = list(fitted.names)
    return Table(matrix, index=names, columns=names)
