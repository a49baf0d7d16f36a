r"""Means, totals and ratios of a finite population, estimated from a survey, with the standard errors of its design.

With weights w and the domain d (ones and zeros), the total of y is estimated by the sum of w d y, the mean by that over
the sum of w d, a ratio by the ratio of two totals. Each moves with a row by its influence value,

.. math:: z_i = w_i d_i y_i, \quad z_i = \frac{w_i d_i (y_i - \bar y)}{\sum w d},
   \quad z_i = \frac{w_i d_i (y_i - R x_i)}{\sum w d x},

and the variance is that of the total of z over the design, rows outside the domain included.

References
----------
Särndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, Springer, chapters 5 and 10.
Lumley (2010), Complex Surveys, Wiley, chapter 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from skdep.survey._columns import numeric_columns
from skdep.survey._domains import domains_of, rows_inside
from skdep.survey._sample import SurveySample, survey_sample
from skdep.survey.design import SurveyDesign
from skdep.survey.replicates import ReplicateWeights

if TYPE_CHECKING:  # it needs this package
    from skdep.inference._table import Table

__all__ = ["survey_mean", "survey_ratio", "survey_total"]


def survey_mean(
    values: Any,
    design: SurveyDesign | ReplicateWeights | None = None,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    strata: Any = None,
    fpc: Any = None,
    domain: Any = None,
    by: Any = None,
    level: float = 0.95,
    df: str | float | None = None,
) -> Table:
    """Estimate means of a population, and shares of its categories.

    Parameters
    ----------
    values : array-like of shape (n_rows,) or (n_rows, k)
        What is averaged: numbers or booleans; of texts and categories the share of each level.
    design : SurveyDesign or ReplicateWeights, optional
        The design, for all rows of the sample; or give `groups`, `strata` and `fpc`, as to `fit` of an estimator.
    sample_weight : array-like of shape (n_rows,), optional
        Sampling weights, one over the probability to be in the sample. Without them those of `design`, if it is of
        replicates; else what `fpc` says; else all rows weigh the same.
    groups, strata, fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        Primary sampling units, or the units of every stage; strata; finite populations: as of `survey_design`.
    domain : array-like of bool of shape (n_rows,), optional
        Rows of the part of the population that is asked about. **Do not leave rows out instead**: units without a row
        in the domain count for the variance.
    by : array-like of shape (n_rows,) or (n_rows, n_labels), optional
        Labels of domains: an estimate for each label, or combination of labels; rows that miss one are in none,
        which is warned of.
    level : float, default=0.95
        Confidence level of the intervals.
    df : "normal" or float, optional
        Degrees of freedom of the t distribution; by default those of the design: units less strata that have rows in
        the domain.

    Returns
    -------
    Table
        A DataFrame with columns ``estimate, std_error, df, conf_low, conf_high`` and a row a column of `values`; with
        `by` a row a domain, or a domain and column.

    Raises
    ------
    ValueError
        If values are missing in the domain, a domain has no row of positive weight, or `design` is given along with
        its parts.

    See Also
    --------
    survey_total : Totals.
    survey_ratio : Ratios of two totals.
    skdep.GEERegressor : Regressions, whose combinations compare domains; the mean is the model of an intercept alone.

    Notes
    -----
    Standard errors are by linearisation, or over replicates. Under ``lonely_psu="average"`` a domain within strata of
    one unit has none (NaN). To compare domains, whose estimates are correlated if sampling units are in several,
    regress on their indicators, see `skdep.inference.linear_combinations`.

    References
    ----------
    .. [1] Lumley (2010), Complex Surveys, Wiley, chapter 2.

    Examples
    --------
    Schools of California: a stratified sample, and a cluster sample of all schools of 15 districts.

    >>> from skdep.datasets import load_api
    >>> from skdep.survey import survey_mean
    >>> api = load_api("strat")
    >>> design = {"sample_weight": api.sample_weight, "strata": api.strata, "fpc": api.fpc}
    >>> survey_mean(api.frame[["api00", "sch.wide"]], **design).round(3)
                   estimate  std_error     df  conf_low  conf_high
    api00           662.287      9.409  197.0   643.732    680.843
    sch.wide[No]      0.172      0.024  197.0     0.124      0.220
    sch.wide[Yes]     0.828      0.024  197.0     0.780      0.876
    >>> survey_mean(api.target, by=api.strata, **design).round(2)
           estimate  std_error    df  conf_low  conf_high
    stype
    E        674.43      12.38  99.0    649.86     699.00
    H        625.82      14.94  49.0    595.80     655.84
    M        636.60      16.21  49.0    604.02     669.18
    """
    sample = survey_sample(design, sample_weight, groups, strata, fpc, len(values))
    return _by_domain(values, sample, _mean, domain=domain, by=by, level=level, df=df)


def survey_total(
    values: Any,
    design: SurveyDesign | ReplicateWeights | None = None,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    strata: Any = None,
    fpc: Any = None,
    domain: Any = None,
    by: Any = None,
    level: float = 0.95,
    df: str | float | None = None,
) -> Table:
    """Estimate totals of a population, and how many of it are in each category.

    Parameters
    ----------
    values : array-like of shape (n_rows,) or (n_rows, k)
        What is added up: numbers or booleans; of texts and categories the number in each level.
    design : SurveyDesign or ReplicateWeights, optional
        The design, as of `survey_mean`.
    sample_weight : array-like of shape (n_rows,), optional
        Sampling weights: how many members of the population a row stands for. Without them those of `design`, if it is
        of replicates, or what `fpc` says.
    groups, strata, fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        The design, as of `survey_mean`.
    domain : array-like of bool of shape (n_rows,), optional
        Rows of the part of the population that is asked about.
    by : array-like of shape (n_rows,) or (n_rows, n_labels), optional
        Labels of domains: an estimate for each label, or combination of labels; rows that miss one are in none,
        which is warned of.
    level : float, default=0.95
        Confidence level of the intervals.
    df : "normal" or float, optional
        Degrees of freedom, as of `survey_mean`.

    Returns
    -------
    Table
        A DataFrame as of `survey_mean`.

    Raises
    ------
    ValueError
        As of `survey_mean`; and if nothing says how many members of the population a row stands for.

    See Also
    --------
    survey_mean : Means and shares.

    Examples
    --------
    >>> from skdep.datasets import load_api
    >>> from skdep.survey import survey_total
    >>> api = load_api("strat")
    >>> design = {"sample_weight": api.sample_weight, "strata": api.strata, "fpc": api.fpc}
    >>> survey_total(api.frame[["enroll", "sch.wide"]], **design).round(0).astype(int)
                   estimate  std_error   df  conf_low  conf_high
    enroll          3687178     114642  197   3461095    3913260
    sch.wide[No]       1066        151  197       768       1363
    sch.wide[Yes]      5128        151  197      4831       5426
    """
    sample = survey_sample(design, sample_weight, groups, strata, fpc, len(values))
    if not sample.weights_known:
        raise ValueError(
            "A total needs to know how many members of the population a row stands for: give sample_weight, or fpc."
        )
    return _by_domain(values, sample, _total, domain=domain, by=by, level=level, df=df)


def survey_ratio(
    numerator: Any,
    denominator: Any,
    design: SurveyDesign | ReplicateWeights | None = None,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    strata: Any = None,
    fpc: Any = None,
    domain: Any = None,
    by: Any = None,
    level: float = 0.95,
    df: str | float | None = None,
) -> Table:
    """Estimate ratios of two totals of a population.

    Parameters
    ----------
    numerator : array-like of shape (n_rows,) or (n_rows, k)
        What is added up above the line: numbers, booleans or categories.
    denominator : array-like of shape (n_rows,)
        Numbers that are added up below the line.
    design : SurveyDesign or ReplicateWeights, optional
        The design, as of `survey_mean`.
    sample_weight : array-like of shape (n_rows,), optional
        Sampling weights, as of `survey_mean`.
    groups, strata, fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
        The design, as of `survey_mean`.
    domain : array-like of bool of shape (n_rows,), optional
        Rows of the part of the population that is asked about.
    by : array-like of shape (n_rows,) or (n_rows, n_labels), optional
        Labels of domains: an estimate for each label, or combination of labels; rows that miss one are in none,
        which is warned of.
    level : float, default=0.95
        Confidence level of the intervals.
    df : "normal" or float, optional
        Degrees of freedom, as of `survey_mean`.

    Returns
    -------
    Table
        A DataFrame as of `survey_mean`.

    Raises
    ------
    ValueError
        As of `survey_mean`; and if `denominator` is not a single column of numbers, or adds up to zero.

    Examples
    --------
    The share of enrolled pupils who were tested:

    >>> from skdep.datasets import load_api
    >>> from skdep.survey import survey_ratio
    >>> api = load_api("strat")
    >>> design = {"sample_weight": api.sample_weight, "strata": api.strata, "fpc": api.fpc}
    >>> survey_ratio(api.frame["api.stu"], api.frame["enroll"], **design).round(4)
             estimate  std_error     df  conf_low  conf_high
    api.stu     0.837     0.0078  197.0    0.8217     0.8523
    """
    sample = survey_sample(design, sample_weight, groups, strata, fpc, len(numerator))

    def ratio(columns: np.ndarray, sample: SurveySample, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        below = numeric_columns(denominator, inside, name="denominator").to_numpy()
        if below.shape != (sample.n_rows, 1):
            raise ValueError(f"denominator must be one number a row, got shape {below.shape}.")
        return sample.ratios(columns, below)

    return _by_domain(numerator, sample, ratio, domain=domain, by=by, level=level, df=df, name="numerator")


_Estimator = Callable[[np.ndarray, SurveySample, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _mean(columns: np.ndarray, sample: SurveySample, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return sample.ratios(columns, inside[:, None].astype(np.float64))


def _total(columns: np.ndarray, sample: SurveySample, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return sample.totals(columns)


def _by_domain(
    values: Any,
    sample: SurveySample,
    estimate: _Estimator,
    *,
    domain: Any,
    by: Any,
    level: float,
    df: str | float | None,
    name: str = "values",
) -> Table:
    """Tabulate estimates of a domain, or of several."""
    import pandas as pd

    from skdep.inference._table import Table

    inside = rows_inside(domain, sample.n_rows)
    if by is None:
        return _tabulated(values, sample, estimate, inside, level=level, df=df, name=name)
    domains = domains_of(by, sample.n_rows)
    counted = inside & (domains.codes >= 0) & (sample.weights > 0)
    tables = {
        domains.keys[k]: _tabulated(
            values, sample, estimate, inside & (domains.codes == k), level=level, df=df, name=name
        )
        for k in np.unique(domains.codes[counted])
    }
    if not tables:
        raise ValueError("The domain has no row of positive weight.")
    frames = [table.to_frame() for table in tables.values()]
    joined = pd.concat(frames, keys=list(tables), names=[*domains.titles, "variable"])
    return Table(joined.droplevel("variable") if len(joined) == len(tables) else joined)


def _tabulated(
    values: Any,
    sample: SurveySample,
    estimate: _Estimator,
    inside: np.ndarray,
    *,
    level: float,
    df: str | float | None,
    name: str,
) -> Table:
    """Tabulate the estimates of one domain."""
    from skdep.inference._table import Table, critical_value

    if not (inside & (sample.weights > 0)).any():
        raise ValueError("The domain has no row of positive weight.")
    columns = numeric_columns(values, inside, name=name)
    found, errors = estimate(columns.to_numpy(), sample, inside)
    if not sample.has_variance(inside):  # the strata outside of the domain, where nothing varies, cannot lend theirs
        errors = np.full_like(errors, np.nan)
    freedom = _freedom(df, sample, inside)
    half = critical_value(level, freedom) * errors
    table = {"estimate": found, "std_error": errors, "df": freedom, "conf_low": found - half, "conf_high": found + half}
    return Table(table, index=columns.columns)


def _freedom(df: str | float | None, sample: SurveySample, inside: np.ndarray) -> float:
    if df is None:
        return sample.degrees(inside)
    if df == "normal":
        return np.inf
    if isinstance(df, str) or not df > 0:
        raise ValueError(f"df must be 'normal' or a positive number, got {df!r}.")
    return float(df)
