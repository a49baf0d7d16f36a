r"""Variance of an estimated total under a sampling design, and so of any estimate by its influence values.

With influence values z_i, the estimate moves as their sum over the sample, and its variance is that of a total: at one
stage

.. math:: V = \sum_h (1 - f_h) \frac{n_h}{n_h - 1} \sum_c (z_{hc} - \bar z_h)(z_{hc} - \bar z_h)',

z_hc the sum over unit c of stratum h. Each further stage adds the same sum over its own strata, times the sampling
fractions of the stages before.

References
----------
Binder (1983), International Statistical Review 51, 279-292. Särndal, Swensson and Wretman (1992), result 4.3.1.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdep.survey.design import Stage, SurveyDesign

__all__ = ["stage_variances", "unit_totals", "variance_of_total", "variance_of_unit_totals"]


def unit_totals(values: np.ndarray, unit: np.ndarray, n_units: int) -> np.ndarray:
    """Add up values (n, p) by unit number (n,); units without a row have the total 0."""
    indicator = sparse.csr_matrix((np.ones(len(unit)), unit, np.arange(len(unit) + 1)), shape=(len(unit), n_units))
    return indicator.T @ values


def variance_of_total(z: np.ndarray, design: SurveyDesign) -> np.ndarray:
    """Return the linearised variance of the sum of influence values.

    Parameters
    ----------
    z : ndarray of shape (n_rows, p)
        Influence value of every row, weight included; 0 for rows outside the domain.
    design : SurveyDesign
        The design, its rows in the same order.

    Returns
    -------
    variance : ndarray of shape (p, p)
        Variance of the sum.

    Examples
    --------
    The mean of a simple random sample of 4 from a population of 10.

    >>> import numpy as np
    >>> from skdep.survey import survey_design, variance_of_total
    >>> y = np.array([1.0, 2.0, 4.0, 5.0])
    >>> variance = variance_of_total((y - y.mean())[:, None] / 4, survey_design(4, fpc=np.full(4, 10)))
    >>> bool(np.isclose(variance[0, 0], (1 - 4 / 10) * y.var(ddof=1) / 4))
    True
    """
    last = design.stages[-1]
    return variance_of_unit_totals(unit_totals(z, last.unit, len(last.stratum_of_unit)), design)


def variance_of_unit_totals(totals: np.ndarray, design: SurveyDesign) -> np.ndarray:
    """Return the linearised variance from totals (n_units, p) of the last stage's units, absent ones 0."""
    return np.add.reduce(stage_variances(totals, design))


def stage_variances(totals: np.ndarray, design: SurveyDesign) -> list[np.ndarray]:
    """Return what each stage adds to the variance, (p, p) each, from totals of the last stage's units."""
    by_stage = [totals]
    for stage in reversed(design.stages[1:]):
        assert stage.parent is not None
        n_parents = int(stage.parent.max()) + 1
        by_stage.insert(0, unit_totals(by_stage[0], stage.parent, n_parents))
    share = np.ones(1)  # of each stratum: the product of the sampling fractions of the stages before
    parts = []
    for number, (stage, sums) in enumerate(zip(design.stages, by_stage, strict=True)):
        if number:
            assert stage.parent is not None
            before = design.stages[number - 1]
            of_unit = (share * before.fraction)[before.stratum_of_unit]
            first = np.unique(stage.stratum_of_unit, return_index=True)[1]
            share = of_unit[stage.parent[first]]
        else:
            share = np.ones(len(stage.n_units))
        parts.append(_one_stage(sums, stage, share, design.lonely_psu))
    return parts


def _one_stage(sums: np.ndarray, stage: Stage, share: np.ndarray, lonely_psu: str) -> np.ndarray:
    """Return the variance between units of a stage, strata weighted by `share`."""
    stratum, n_units = stage.stratum_of_unit, stage.n_units
    means = unit_totals(sums, stratum, len(n_units)) / n_units[:, None]
    lonely = stage.lonely
    finite = share * (1.0 - stage.fraction)
    factor = np.where(n_units > 1, finite * n_units / np.maximum(n_units - 1, 1), 0.0)
    if lonely_psu == "adjust" and lonely.any():
        means[lonely] = sums.mean(axis=0)
        factor[lonely] = finite[lonely]
    deviations = (sums - means[stratum]) * np.sqrt(factor[stratum])[:, None]
    variance = np.dot(deviations.T, deviations)
    if lonely_psu == "average" and lonely.any():
        n_strata = len(n_units)
        n_known = n_strata - int(lonely.sum())
        variance = variance * (n_strata / n_known if n_known else np.nan)
    return variance
