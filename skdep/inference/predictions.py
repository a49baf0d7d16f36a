"""Predicted means and linear predictors of rows, with standard errors and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._fitted import FittedInference
from skdep._normal_mean import logistic_normal_moments
from skdep.formula.raw_rows import features_of, offset_of
from skdep.inference._access import is_posterior
from skdep.inference._delta_method import joint_covariance, not_estimable
from skdep.inference._estimate_table import covariance_and_df
from skdep.inference._features import last_step
from skdep.inference._population import RandomPart, random_part
from skdep.inference._table import Table, critical_value
from skdep.inference.coef_table import chosen_df
from skdep.links import Link, Logit, get_link
from skdep.mixed.terms import INTERCEPT

__all__ = ["predictions"]

# Rows whose degrees of freedom are computed at a time.
_BLOCK_ROWS = 2048


def predictions(
    est: Any,
    X: Any,
    *,
    groups: Any = None,
    offset: Any = None,
    kind: str = "response",
    cov_type: str | None = None,
    df: str | float | None = None,
    level: float = 0.95,
) -> Table:
    r"""Tabulate what a model predicts of rows, and how sure it is: means, or linear predictors.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features)
        Rows, as `est` takes them: those of the fit, new ones, or a grid of values that you ask about.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
        Labels of the grouping factors, for predictions conditional on random effects: of a `MixedLinear`, and means of
        a `BayesLogit`. Marginal models do not use them.
    offset : array-like of shape (n_rows,), optional
        Known part of the linear predictor.
    kind : {"response", "link"}, default="response"
        Means (probabilities of ``classes_[1]``), or linear predictors.
    cov_type : str, optional
        Covariance type, by default that of the fit; the fit is not repeated. Conditional predictions have that of the
        model.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom as in `coef_table`, each row's own where the method has them; conditional predictions take
        the normal distribution, or a number.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    Table
        A DataFrame with columns ``estimate, std_error, df, conf_low, conf_high`` and the index of X. Of a `BayesLogit`
        posterior mean, standard deviation and credible limits. Rows whose linear predictor the link maps to no mean
        are NaN, and so are standard errors of rows that collinear features leave undetermined.

    Raises
    ------
    ValueError
        If rows are malformed, `kind` is not known, or what is asked for has no standard errors: predictions of a
        `MixedLogit` given its groups, conditional predictions with another covariance than that of the model.

    See Also
    --------
    linear_combinations : Differences of predictions are combinations of coefficients.
    marginal_effects : Effects of features on the mean.

    Notes
    -----
    A linear predictor x'b + o has the variance x'Vx; V is the covariance of the coefficients. A mean has that times the
    square of its derivative (delta method), and an interval that is the linear predictor's, transformed, so that it
    stays in range. Intervals are of the **mean** of all rows like this one, not of an outcome, and each holds with the
    probability of `level` by itself, not all together.

    **Mixed models, without groups.** A mean of the `MixedLogit` is the probability in the population, averaged over
    the random effects, as `predict_proba` gives it; its standard error counts the uncertainty of the variances as
    well, and its interval is symmetric in the log odds of this average. Linear predictors are x'b + o: the log odds in
    a cluster whose effects are zero.

    **Mixed models, with groups.** Of a `MixedLinear` ``std_error`` is that of `predict` with ``return_std=True``: it
    counts the uncertainty of coefficients and effects at the estimated variances.

    Adjusted means ("least-squares means") are predictions over a grid of the features of interest, others at their
    means; those over a population are averages of predictions over its rows.

    References
    ----------
    Searle, Speed and Milliken (1980), Population marginal means in the linear model, The American Statistician 34,
    216-221.

    Examples
    --------
    The probability of wheezing at ages 7 (-2) and 10 (1), the mother smoking or not:

    >>> import pandas as pd
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import predictions
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> grid = pd.MultiIndex.from_product([[-2, 1], [0, 1]], names=["age", "smoke"]).to_frame()
    >>> predictions(fit, grid).round(3)
               estimate  std_error   df  conf_low  conf_high
    age smoke
    -2  0         0.160      0.017  inf     0.130      0.196
        1         0.200      0.024  inf     0.157      0.252
     1  0         0.120      0.014  inf     0.095      0.150
        1         0.151      0.020  inf     0.115      0.196
    """
    if kind not in ("response", "link"):
        raise ValueError(f"kind must be 'response' or 'link', got {kind!r}.")
    index = getattr(X, "index", None)
    offset = offset_of(est, X, offset)
    inner, rows = last_step(est, X)
    rows = features_of(inner, rows)
    mixed = bool(getattr(inner, "levels_", {}))
    if is_posterior(inner):
        columns = _of_posterior(inner, rows, groups if mixed else None, offset, kind, cov_type, df, level)
    elif mixed and groups is not None:
        columns = _conditional(inner, rows, groups, offset, cov_type, df, level)
    else:
        eta = inner._linear_predictor(rows, offset)
        rows = np.asarray(rows, dtype=np.float64).reshape(len(eta), inner.n_features_in_)
        random = random_part(inner)
        if kind == "response" and random.columns:
            columns = _averaged(inner, rows, eta, random, cov_type, df, level)
        else:
            columns = _marginal(inner, rows, eta, kind, cov_type, df, level)
    return Table(columns, index=index if hasattr(X, "columns") else None)


def _marginal(
    inner: Any, rows: np.ndarray, eta: np.ndarray, kind: str, cov_type: Any, df: Any, level: float
) -> dict[str, Any]:
    """Tabulate linear predictors, or their means under the link."""
    fitted: FittedInference = inner._inference
    design = _design(inner, rows)
    covariance, method = covariance_and_df(fitted, cov_type, df)
    by_row = isinstance(method, str)
    freedom: Any = _degrees(fitted.small_sample_of(cov_type), design, method) if by_row else method
    std_error = _errors(design, covariance)
    std_error[_undetermined(fitted, design, inner)] = np.nan
    link = _link_of(inner)
    if kind == "link" or link is None:
        return _columns(eta, std_error, freedom, level)
    found = _transformed(link, eta, std_error, freedom, level)
    family = getattr(inner, "_family", None)
    if family is not None:  # as the estimator predicts
        mean = found["estimate"]
        found["estimate"] = np.where((mean >= family.lower) & (mean <= family.upper), mean, np.nan)
    return found


def _averaged(
    inner: Any, rows: np.ndarray, eta: np.ndarray, random: RandomPart, cov_type: Any, df: Any, level: float
) -> dict[str, Any]:
    """Tabulate probabilities averaged over random effects; intervals are symmetric in their log odds."""
    fitted: FittedInference = inner._inference
    if not isinstance(_link_of(inner), Logit):
        raise ValueError("Means averaged over random effects need a logit link; ask for kind='link'.")
    freedom = chosen_df(fitted, cov_type, df)
    mean, first, second = logistic_normal_moments(eta, random.variance(rows), 2)
    design = _design(inner, rows)
    by_sigma = np.concatenate([_entries(rows, numbers) for numbers in random.columns], axis=1)
    gradients = np.concatenate([first[:, None] * design, 0.5 * second[:, None] * by_sigma], axis=1)
    std_error = _errors(gradients, joint_covariance(inner, cov_type))
    std_error[_undetermined(fitted, design, inner)] = np.nan
    failure, _, _ = logistic_normal_moments(-eta, random.variance(rows), 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_odds, spread = np.log(mean) - np.log(failure), std_error / (mean * failure)
    columns = _transformed(Logit(), log_odds, spread, freedom, level)
    return columns | {"estimate": mean, "std_error": std_error}


def _conditional(
    inner: Any, rows: Any, groups: Any, offset: Any, cov_type: Any, df: Any, level: float
) -> dict[str, Any]:
    """Tabulate predictions given random effects, with the standard errors of the estimator."""
    if hasattr(inner, "classes_"):
        raise ValueError(
            f"Predictions of {type(inner).__name__} given its groups have no standard errors: leave groups out for "
            "those of the population, or fit a BayesLogit, whose predictions have them."
        )
    if cov_type not in (None, "model"):
        raise ValueError(
            f"Predictions given random effects have the covariance of the model, not cov_type={cov_type!r}."
        )
    if isinstance(df, str) and df != "normal":
        raise ValueError(f"df={df!r} is for predictions of the population; given groups use 'normal' or a number.")
    freedom = np.inf if df in (None, "normal") else chosen_df(inner._inference, "model", df)
    mean, std_error = inner.predict(rows, groups=groups, offset=offset, return_std=True)
    return _columns(mean, std_error, freedom, level)


def _of_posterior(
    inner: Any, rows: Any, groups: Any, offset: Any, kind: str, cov_type: Any, df: Any, level: float
) -> dict[str, Any]:
    """Tabulate posterior means, standard deviations and quantiles, over the draws."""
    from skdep.bayes.estimands import tabulated

    if kind == "response":
        tabulated(np.zeros((2, 0)), level=level, cov_type=cov_type, df=df)  # checks what was chosen
        mean, std = inner.predict_proba(rows, groups=groups, offset=offset, return_std=True)
        ends = inner.predict_interval(rows, groups=groups, offset=offset, level=level)
        found = {"estimate": mean[:, 1], "std_error": std, "conf_low": ends[:, 0], "conf_high": ends[:, 1]}
    elif groups is not None:
        raise ValueError("kind='link' is for predictions of the population: leave groups out, or ask for means.")
    else:
        eta = inner._linear_predictor(rows, offset)
        rows = np.asarray(rows, dtype=np.float64).reshape(len(eta), inner.n_features_in_)
        known = eta - rows @ inner.coef_[0] - inner.intercept_[0]
        intercept = inner.draws_["intercept"].ravel()
        coef = inner.draws_["coef"].reshape(len(intercept), -1)
        parts = []
        for begin in range(0, len(rows), _BLOCK_ROWS):
            part = slice(begin, begin + _BLOCK_ROWS)
            drawn = coef @ rows[part].T + intercept[:, None] + known[part]
            parts.append(tabulated(drawn, level=level, cov_type=cov_type, df=df))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found["df"] = np.full(len(found["estimate"]), np.nan)
    return {name: found[name] for name in ("estimate", "std_error", "df", "conf_low", "conf_high")}


def _design(inner: Any, rows: np.ndarray) -> np.ndarray:
    """Return the columns of ``[intercept, *coef]``, without features that have no fixed effect."""
    own = inner._with_fixed_effects(rows) if hasattr(inner, "_with_fixed_effects") else rows
    return np.column_stack([np.ones(len(own)), own]) if inner.fit_intercept else own


def _undetermined(fitted: FittedInference, design: np.ndarray, inner: Any) -> np.ndarray:
    """Say which rows (n_rows,) collinear features leave undetermined."""
    return not_estimable(fitted, design, design[:, int(inner.fit_intercept) :])


def _entries(rows: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """Return the derivative of z'Sigma z (n_rows, q (q + 1) / 2) by the lower triangle of Sigma, column by column."""
    z = np.column_stack([np.ones(len(rows)) if number == INTERCEPT else rows[:, number] for number in numbers])
    first, second = np.triu_indices(len(numbers))  # of a symmetric matrix: its lower triangle, column by column
    return z[:, first] * z[:, second] * np.where(first == second, 1.0, 2.0)


def _errors(gradients: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    variance = np.einsum("np,np->n", gradients @ covariance, gradients)
    variance[variance < 0] = np.nan
    return np.sqrt(variance)


def _degrees(small: Any, design: np.ndarray, method: Any) -> np.ndarray:
    """Return degrees of freedom of each row (n_rows,): of distinct rows, in blocks."""
    distinct, number = np.unique(design, axis=0, return_inverse=True)
    blocks = (distinct[begin : begin + _BLOCK_ROWS] for begin in range(0, len(distinct), _BLOCK_ROWS))
    return np.concatenate([small.contrast_df(block, method) for block in blocks])[number.reshape(-1)]


def _link_of(inner: Any) -> Link | None:
    """Return the link of a model; None if means are linear predictors."""
    link = getattr(inner, "_link", None)
    if link is not None:
        return link
    name = getattr(inner, "_link_name", None)
    return None if name is None else get_link(name)


def _columns(estimate: np.ndarray, std_error: np.ndarray, freedom: Any, level: float) -> dict[str, Any]:
    half = critical_value(level, freedom) * std_error
    return {
        "estimate": estimate,
        "std_error": std_error,
        "df": np.broadcast_to(freedom, len(std_error)).astype(np.float64),
        "conf_low": estimate - half,
        "conf_high": estimate + half,
    }


def _transformed(link: Link, eta: np.ndarray, std_error: np.ndarray, freedom: Any, level: float) -> dict[str, Any]:
    """Return the columns of means of linear predictors."""
    found = _columns(eta, std_error, freedom, level)
    mean = _inverse(link, eta)
    ends = _inverse(link, found["conf_low"]), _inverse(link, found["conf_high"])
    derivative = np.full(len(eta), np.nan)
    inside = np.isfinite(mean)
    derivative[inside] = link.inverse_derivative(eta[inside], mean[inside])
    return {
        "estimate": mean,
        "std_error": np.abs(derivative) * std_error,
        "df": found["df"],
        "conf_low": np.minimum(*ends),
        "conf_high": np.maximum(*ends),
    }


def _inverse(link: Link, eta: np.ndarray) -> np.ndarray:
    """Return means (n_rows,), NaN where the link admits none."""
    mean = np.full(len(eta), np.nan)
    inside = np.isfinite(eta) & ((eta > 0) | (not link.positive))
    mean[inside] = link.inverse(eta[inside])
    return mean
