"""Parameters of the working correlation of a GEE, with standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.inference._access import unwrap
from skdep.inference._table import Table, critical_value

__all__ = ["association_table"]


def association_table(est: Any, *, level: float = 0.95) -> Table:
    """Tabulate the association parameters of a GEE: how much rows of a cluster correlate, and how surely.

    Parameters
    ----------
    est : GEERegressor or GEEClassifier
        A fitted GEE, or a pipeline or search around one.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    Table
        A DataFrame with columns ``estimate``, ``std_error``, ``conf_low``, ``conf_high`` and a row a parameter: the
        correlation of any two rows (exchangeable), of rows one unit of time apart (AR(1)), of rows of two times
        (unstructured), at a lag (m-dependent, Toeplitz), or of rows that share a factor (nested). No rows for
        independence and a fixed matrix.

    Raises
    ------
    TypeError
        If the estimator is no GEE.
    ValueError
        If the working correlation has no standard errors.

    Notes
    -----
    Standard errors come from the sandwich of all moment equations together: they are robust to what the residuals'
    higher moments are, and count the uncertainty of coefficients and scale. Clusters are taken as drawn with
    replacement, without regard to strata. Intervals are Wald's. Where the working correlation had to be repaired,
    standard errors are NaN. R's geepack agrees closely if the scale is fixed; with an estimated scale its standard
    errors differ, for binary outcomes by as much as a factor of two, from those of a bootstrap of the clusters, with
    which these agree.

    References
    ----------
    .. [1] Yan and Fine (2004), Estimating equations for association structures, Statistics in Medicine 23, 859-874.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import association_table
    >>> ohio = load_ohio()
    >>> gee = GEEClassifier(working_correlation="toeplitz")
    >>> gee = gee.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    >>> association_table(gee).round(3)
                  estimate  std_error  conf_low  conf_high
    alpha[lag 1]     0.399      0.039     0.323      0.474
    alpha[lag 2]     0.314      0.043     0.229      0.399
    alpha[lag 3]     0.304      0.054     0.198      0.410
    """
    inner = unwrap(est)
    if not hasattr(inner, "_association"):
        raise TypeError(f"An association table is defined for a GEE, not for {type(inner).__name__}.")
    found = inner._association
    if found is None:
        raise ValueError("Standard errors of the association are not computed by fits over chunks of data.")
    if found.covariance is None:
        raise ValueError(f"The working correlation has no standard errors: {found.reason}.")
    error = np.sqrt(np.diag(found.covariance))
    half = critical_value(level, np.inf) * error
    columns = {
        "estimate": found.estimate,
        "std_error": error,
        "conf_low": found.estimate - half,
        "conf_high": found.estimate + half,
    }
    return Table(columns, index=list(found.names))
