"""Fits as data frames of fixed columns, which stack: a row a term, or a row a fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from skdep.inference._access import is_posterior, unwrap
from skdep.inference._likelihood import is_pseudo_likelihood, likelihood_fit
from skdep.inference._table import Table
from skdep.inference.coef_table import coef_table

__all__ = ["glance", "tidy"]

_NUMBERS = ("estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high")
_CRITERIA = ("loglik", "deviance", "aic", "bic", "quasi_likelihood", "qic", "qicu", "cic", "log_evidence")


def tidy(
    est: Any,
    *,
    effects: str = "all",
    level: float = 0.95,
    cov_type: str | None = None,
    df: str | float | None = None,
) -> Table:
    """Tabulate the terms of a fit: its coefficients, and the standard deviations and correlations of random effects.

    Columns are the same for every estimator, so that tables of several fits can be stacked by `pandas.concat`.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    effects : {"all", "fixed", "random"}, default="all"
        Which terms.
    level : float, default=0.95
        Confidence level of the intervals.
    cov_type : str, optional
        Covariance type, as in `coef_table`.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom, as in `coef_table`.

    Returns
    -------
    Table
        A DataFrame: ``effect`` (``"fixed"`` or ``"random"``), ``group`` (the grouping factor of a random term, else
        empty), ``term``, and the columns of `coef_table`. Random terms are estimates alone, since their sampling
        distributions are too skewed for a standard error to describe them (`profile_interval` and `bootstrap` have
        intervals); of a `BayesLogit` they have posterior standard deviations and quantiles, as its coefficients have.

    Raises
    ------
    ValueError
        If `effects` is none of the three, or as in `coef_table`.

    See Also
    --------
    glance : The fit as a whole, in one row.
    coef_table : Coefficients, indexed by their names.

    Notes
    -----
    The names are those of R's package broom.mixed with dots for underscores, and ``df`` besides; a term "SD of Days" of
    group "Subject" is its ``sd__Days``.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import tidy
    >>> sleep = load_sleepstudy()
    >>> fit = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> tidy(fit)[["effect", "group", "term", "estimate", "std_error"]].round(3)
       effect     group                               term  estimate  std_error
    0   fixed                                     Intercept   251.405      6.825
    1   fixed                                          Days    10.467      1.546
    2  random   Subject                    SD of Intercept    24.740        NaN
    3  random   Subject                         SD of Days     5.922        NaN
    4  random   Subject  Correlation of Intercept and Days     0.066        NaN
    5  random  Residual                                 SD    25.592        NaN
    """
    if effects not in ("all", "fixed", "random"):
        raise ValueError(f"effects must be 'all', 'fixed' or 'random', got {effects!r}.")
    inner = unwrap(est)
    parts = []
    if effects != "random":
        fixed = coef_table(est, level=level, cov_type=cov_type, df=df).to_frame()
        fixed = fixed.rename_axis(index="term").reset_index()
        parts.append(fixed.assign(effect="fixed", group=""))
    if effects != "fixed":
        parts.append(_random_terms(inner, level))
    columns = ["effect", "group", "term", *_NUMBERS]
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return Table(
        table.reindex(columns=columns).astype(
            {**dict.fromkeys(columns[:3], "str"), **dict.fromkeys(_NUMBERS, np.float64)}
        )
    )


def _random_terms(inner: Any, level: float) -> pd.DataFrame:
    """Return the rows of random terms."""
    if is_posterior(inner):
        return pd.DataFrame(list(_posterior_rows(inner, level)))
    rows = [
        {"effect": "random", "group": factor, "term": term, "estimate": value}
        for factor, matrix in getattr(inner, "random_covariance_", {}).items()
        for term, value in _spread(inner.random_names_[factor], matrix)
    ]
    if hasattr(inner, "sigma2_"):
        rows.append({"effect": "random", "group": "Residual", "term": "SD", "estimate": np.sqrt(inner.sigma2_)})
    return pd.DataFrame(rows)


def _spread(names: Any, matrix: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield standard deviations, and correlations that the model has."""
    sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    for name, value in zip(names, sd, strict=True):
        yield f"SD of {name}", float(value)
    for a, b in _pairs(len(sd)):
        if matrix[a, b] != 0.0:
            yield f"Correlation of {names[a]} and {names[b]}", float(matrix[a, b] / (sd[a] * sd[b]))


def _posterior_rows(inner: Any, level: float) -> Iterator[dict[str, Any]]:
    table = inner.posterior_table(level=level)
    low, high = (name for name in table.columns if name.startswith("q"))
    for factor, names in getattr(inner, "random_names_", {}).items():
        terms = {f"sd[{factor}, {name}]": f"SD of {name}" for name in names}
        terms |= {
            f"correlation[{factor}, {names[a]}, {names[b]}]": f"Correlation of {names[a]} and {names[b]}"
            for a, b in _pairs(len(names))
        }
        for row, term in terms.items():
            if row in table.index:
                found = table.loc[row]
                numbers = dict(
                    zip(("estimate", "std_error", "conf_low", "conf_high"), found[["mean", "sd", low, high]])
                )
                yield {"effect": "random", "group": factor, "term": term, **numbers}


def _pairs(n: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(n) for b in range(a + 1, n)]


def glance(est: Any) -> Table:
    """Describe a fit in one row: how many observations, how good, whether it converged.

    Columns are the same for every estimator, NaN where it has no such thing, so that rows of several fits can be
    stacked by `pandas.concat`. That does not make them comparable: see `compare`, which refuses what is not.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.

    Returns
    -------
    Table
        A DataFrame of one row: ``model``, ``n_obs``, ``n_clusters`` (of the factor with the fewest levels that contain
        the others), ``n_params``, ``criterion`` (``"ML"``, ``"REML"``, ``"penalised likelihood"``,
        ``"pseudo-likelihood"``, ``"quasi-likelihood"`` or ``"posterior"``), ``loglik``, ``deviance`` (-2 ``loglik``;
        under REML the REML criterion), ``aic``, ``bic``, ``quasi_likelihood``, ``qic``, ``qicu``, ``cic``,
        ``log_evidence``, ``sigma`` (residual standard deviation; of a GEE the root of phi), ``cov_type``,
        ``converged``, ``n_iter``.

    See Also
    --------
    tidy : The terms of the fit, a row each.
    compare : Criteria of several fits, which must be comparable.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdep import GEEClassifier, LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import glance
    >>> ohio = load_ohio()
    >>> models = [LogitRegressor(), GEEClassifier(working_correlation="exchangeable")]
    >>> fits = [model.fit(ohio.data, ohio.target, groups=ohio.groups) for model in models]
    >>> pd.concat([glance(fit) for fit in fits])[["model", "n_obs", "n_clusters", "aic", "qic"]].round(1)
                model   n_obs  n_clusters     aic     qic
    0  LogitRegressor  2148.0         537  1825.9     NaN
    0   GEEClassifier  2148.0         537     NaN  1829.7
    """
    inner = unwrap(est)
    fitted = inner._inference
    found = _criteria(inner)
    row = {
        "model": type(inner).__name__,
        "n_obs": fitted.n_obs,
        "n_clusters": np.nan if fitted.n_clusters is None else fitted.n_clusters,
        "n_params": found.pop("n_params", np.nan),
        "criterion": found.pop("criterion"),
        **dict.fromkeys(_CRITERIA, np.nan),
        **found,
        "sigma": _sigma(inner),
        "cov_type": fitted.cov_type,
        "converged": bool(inner.converged_),
        "n_iter": int(inner.n_iter_),
    }
    return Table([row])


def _criteria(inner: Any) -> dict[str, Any]:
    """Return what was maximised, and the criteria that go with it."""
    if is_posterior(inner):
        return {"criterion": "posterior", "log_evidence": float(inner.log_evidence_)}
    if hasattr(inner, "_criteria"):
        found = {name: inner._criteria[name] for name in ("quasi_likelihood", "qic", "qicu", "cic")}
        n_params = round(found["qicu"] / 2.0 + found["quasi_likelihood"])
        return {"criterion": "quasi-likelihood", "n_params": n_params, **found}
    if not hasattr(inner, "loglik_"):
        return {"criterion": None}
    found = {"loglik": float(inner.loglik_), "deviance": -2.0 * float(inner.loglik_)}
    if getattr(inner, "penalty", None) is not None:
        return {"criterion": "penalised likelihood", "loglik": found["loglik"]}
    if is_pseudo_likelihood(inner) or getattr(inner, "weight_type", None) == "sampling":
        return {"criterion": "pseudo-likelihood", "loglik": found["loglik"]}
    if not np.isfinite(inner.loglik_):
        return {"criterion": "ML", **found}
    fit = likelihood_fit(inner)
    aic, bic = (-2.0 * fit.loglik + factor * fit.n_params for factor in (2.0, np.log(fit.n_obs)))
    return {"criterion": fit.criterion, "n_params": fit.n_params, **found, "aic": aic, "bic": bic}


def _sigma(inner: Any) -> float:
    if hasattr(inner, "sigma2_"):
        return float(np.sqrt(inner.sigma2_))
    return float(np.sqrt(inner.scale_)) if hasattr(inner, "scale_") else np.nan
