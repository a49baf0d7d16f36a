"""Linear combinations of coefficients, each with its standard error, test and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdep._fitted import FittedInference
from skdep.inference._access import is_posterior, unwrap
from skdep.inference._delta_method import not_estimable
from skdep.inference._estimate_table import estimate_columns, linear_errors
from skdep.inference._table import Table
from skdep.inference.wald import _contrasts, _values

__all__ = ["linear_combinations"]

# Coefficients of a combination that are written out in its name.
_MOST_TERMS = 4


def linear_combinations(
    est: Any,
    R: Any,
    r: Any = 0.0,
    *,
    names: Sequence[str] | None = None,
    level: float = 0.95,
    cov_type: str | None = None,
    df: str | float | None = None,
    exponentiate: bool = False,
) -> Table:
    r"""Tabulate linear combinations R b of the coefficients: contrasts, sums, adjusted means.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    R : array-like of shape (k, p) or (p,), DataFrame, dict, or list of str
        The combinations: weights of ``[intercept, *coef]``, a row each, as `wald_test` takes them; a dict from a name
        to the weights of one combination, themselves a dict from name of coefficient to weight, or an array (p,); a
        DataFrame of weights, whose columns are names of coefficients; or names of coefficients that are wanted as
        they are. Coefficients that a dict or a DataFrame does not name have weight 0, the intercept too.
    r : float or array-like of shape (k,), default=0
        Values under the hypotheses that are tested, one by one, before exponentiation.
    names : list of str, optional
        Names of the combinations; by default those of the dict or of the DataFrame's rows, or the combinations written
        out.
    level : float, default=0.95
        Confidence level of the intervals.
    cov_type : str, optional
        Covariance type, by default that of the fit; the fit is not repeated.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom as in `coef_table`; those of Satterthwaite and of Kenward and Roger are each combination's
        own.
    exponentiate : bool, default=False
        Whether to tabulate exp(R b), as odds ratios or ratios of rates. Standard errors are then by the delta method;
        tests and intervals are those of R b, intervals exponentiated.

    Returns
    -------
    Table
        A DataFrame with the columns of `coef_table` and a row for each combination. Combinations that are not
        estimable, because features are collinear, keep their estimate and have NaN elsewhere. Of a `BayesLogit` they
        are posterior mean (of exponentials the median), standard deviation and credible limits.

    Raises
    ------
    ValueError
        If `R` has a wrong shape or names unknown coefficients, `names` are not as many as combinations, or `r` is
        given for a posterior, which has no tests.

    See Also
    --------
    wald_test : A test of all combinations together.
    predictions : Linear predictors and means of rows, with standard errors.
    marginal_effects : Effects on the mean.

    Notes
    -----
    The standard error of a combination r'b is the root of r'Vr, V the covariance of the coefficients. Tests and
    intervals are those of single combinations: **of many, some are significant by chance**. Test them jointly by
    `wald_test`, or adjust p-values (Holm), and intervals by ``level=1 - 0.05 / k`` (Bonferroni).

    Where features are collinear, a combination is estimable if it is the same for all coefficients with the same
    fitted values; this can be told of combinations without the intercept, and of those with it only if the intercept
    is estimable by itself.

    References
    ----------
    Searle (1971), Linear Models, Wiley, chapter 5: estimable functions.
    Fai and Cornelius (1996), Journal of Statistical Computation and Simulation 54, 363-378: degrees of freedom of
    contrasts.

    Examples
    --------
    The log odds that a child of age 8 (-1) wheezes, its mother smoking or not, and the odds ratio between a child whose
    mother smokes and a child two years older whose mother does not:

    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import linear_combinations
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> columns = ["estimate", "std_error", "conf_low", "conf_high"]
    >>> log_odds = {"at 8": {"Intercept": 1, "age": -1}, "at 8, smoke": {"Intercept": 1, "age": -1, "smoke": 1}}
    >>> linear_combinations(fit, log_odds)[columns].round(3)
                 estimate  std_error  conf_low  conf_high
    at 8           -1.770      0.111    -1.988     -1.553
    at 8, smoke    -1.498      0.140    -1.773     -1.223
    >>> linear_combinations(fit, [0, -2, 1], exponentiate=True)[columns].round(3)
                    estimate  std_error  conf_low  conf_high
    -2 age + smoke     1.647      0.326     1.118      2.426
    """
    inner = unwrap(est)
    fitted: FittedInference = inner._inference
    combinations, labels = _combinations(R, fitted.names)
    labels = _checked_names(names, len(combinations)) if names is not None else labels
    tested = _values(r, len(combinations))
    if is_posterior(inner):
        return _of_posterior(inner, combinations, labels, tested, exponentiate, level=level, cov_type=cov_type, df=df)
    std_error, freedom = linear_errors(fitted, combinations, cov_type, df)
    std_error[_undetermined(fitted, combinations, split=int(inner.fit_intercept))] = np.nan
    columns = estimate_columns(combinations @ fitted.estimate, std_error, freedom, level=level, values=tested)
    if exponentiate:
        columns |= {name: np.exp(columns[name]) for name in ("estimate", "conf_low", "conf_high")}
        columns["std_error"] = columns["estimate"] * std_error
    return Table(columns, index=labels)


def _of_posterior(
    inner: Any, combinations: np.ndarray, labels: list[str], tested: np.ndarray, exponentiate: bool, **chosen: Any
) -> Table:
    """Tabulate combinations of the draws of a posterior."""
    from skdep.bayes.estimands import tabulated

    if tested.any():
        raise ValueError("r is a hypothesis, and a posterior has no tests: leave it out, and read the intervals.")
    split = int(inner.fit_intercept)
    intercept, coef = inner.draws_["intercept"], inner.draws_["coef"]
    drawn = coef.reshape(intercept.size, -1) @ combinations[:, split:].T
    if split:
        drawn += intercept.reshape(-1, 1) * combinations[:, 0]
    if not exponentiate:
        return Table(tabulated(drawn, **chosen), index=labels)
    ratios = np.exp(drawn)
    return Table(tabulated(ratios, **chosen) | {"estimate": np.median(ratios, axis=0)}, index=labels)


def _undetermined(fitted: FittedInference, combinations: np.ndarray, *, split: int) -> np.ndarray:
    """Say which combinations (m,) are not estimable, or cannot be told to be."""
    if not fitted.aliased.any():
        return np.zeros(len(combinations), dtype=bool)
    slopes = combinations.copy()
    slopes[:, :split] = 0.0
    rows = np.zeros((1, combinations.shape[1] - split))
    by_slopes = not_estimable(fitted, slopes, rows)
    return by_slopes | np.any((combinations != 0) & fitted.aliased & (np.arange(len(fitted.names)) < split), axis=1)


def _combinations(R: Any, names: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Return the weights (k, p), and what the combinations are called."""
    if isinstance(R, Mapping):
        if not R:
            raise ValueError("R has no combination.")
        rows = [_weights(weights, label, names) for label, weights in R.items()]
        return _contrasts(np.array(rows), names), [str(label) for label in R]
    if hasattr(R, "columns"):
        rows = [
            _weights(dict(zip(R.columns, row, strict=True)), label, names)
            for label, row in zip(R.index, R.to_numpy(), strict=True)
        ]
        return _contrasts(np.array(rows), names), [str(label) for label in R.index]
    weights = _contrasts(R, names)
    return weights, [_written_out(row, names, number) for number, row in enumerate(weights)]


def _weights(weights: Any, label: Any, names: tuple[str, ...]) -> np.ndarray:
    """Return the weights (p,) of one combination."""
    if not isinstance(weights, Mapping):
        return _contrasts(weights, names)[0]
    unknown = [name for name in weights if name not in names]
    if unknown:
        raise ValueError(f"R[{label!r}] names unknown parameters {unknown}; the model has {list(names)}.")
    row = np.zeros(len(names))
    for name, weight in weights.items():
        row[names.index(name)] = weight
    return row


def _checked_names(names: Sequence[str], n_combinations: int) -> list[str]:
    found = [names] if isinstance(names, str) else [str(name) for name in names]
    if len(found) != n_combinations:
        raise ValueError(f"names has {len(found)} names for {n_combinations} combinations.")
    return found


def _written_out(weights: np.ndarray, names: tuple[str, ...], number: int) -> str:
    """Return ``a - 0.5 b``; of a combination of many coefficients its number."""
    terms = [(weight, name) for weight, name in zip(weights, names, strict=True) if weight != 0]
    if not 0 < len(terms) <= _MOST_TERMS:
        return f"combination {number + 1}"
    text = ""
    for weight, name in terms:
        sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        text += f"{sign}{size}{name}"
    return text
