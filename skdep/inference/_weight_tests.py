r"""Tests of whether weights matter to a model: all of one kind, scores at the unweighted fit under the sampling design.

If the model holds whatever the weights, the scores of further columns made of weights have mean zero. Let psi be the
residuals of the unweighted fit and A~ the further columns less what the model's own columns explain of them; then sums
Z_c of A~ psi over sampling units are compared with their spread between units,

.. math:: T^2 = Z' V^{-1} Z, \qquad \frac{\nu - k + 1}{\nu k} T^2 \sim F(k, \nu - k + 1),

V as in `skdep.survey.linearised`, nu units less strata, k columns: Hotelling's test. Nothing is assumed of the
correlation within units or of variances. Since residuals are those of the hypothesis, a row with a large weight cannot
shrink its own residual, which is why Wald tests of the same columns reject far too often.

References
----------
Rao and Scott (1998), Quasi-score tests with survey data, Statistica Sinica 8, 1059-1070. Korn and Graubard (1990),
Simultaneous testing of regression coefficients with complex survey data, The American Statistician 44, 270-276: the F
distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, stats

from skdep.survey.design import SurveyDesign
from skdep.survey.linearised import variance_of_total

__all__ = ["WeightTest", "hotelling", "independent_columns", "not_done", "relative_weights", "standardised"]

# Share of a column's length that others must leave over for it to count.
_ALIASED = 1e-7
# Share of the size of its terms below which a difference is rounding.
_ROUNDING = 1e-9
_NEWTON_STEPS, _HALVINGS = 100, 30
# Squared length of a step, in standard errors a row, after which one more is the last.
_CLOSE = 1e-12


@dataclass(frozen=True)
class WeightTest:
    """Result of a test.

    Parameters
    ----------
    name : str
        Name of the test.
    hypothesis : str
        What is tested.
    statistic : float
        F or chi-square statistic.
    df, df_denominator : float
        Degrees of freedom; infinite in the denominator for chi-square, NaN where there is no such distribution.
    p_value : float
        Upper tail probability.
    reason : str
        Why the test could not be done; empty if it was.
    """

    name: str
    hypothesis: str
    statistic: float = np.nan
    df: float = np.nan
    df_denominator: float = np.nan
    p_value: float = np.nan
    reason: str = ""


def not_done(name: str, hypothesis: str, reason: str) -> WeightTest:
    """Return a test that could not be done, and why."""
    return WeightTest(name, hypothesis, reason=reason)


def independent_columns(columns: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    """Return the numbers of columns (n, k) that are no combinations of each other, nor of given ones, in order.

    They are found by a QR factorisation with pivots.
    """
    size = np.linalg.norm(columns, axis=0)
    unit = columns / np.where(size > 0, size, 1.0)
    if given is not None and given.shape[1]:
        root = linalg.qr(given, mode="economic")[0]
        unit = unit - root @ (root.T @ unit)
        unit = unit - root @ (root.T @ unit)
    if not unit.shape[1]:
        return np.zeros(0, dtype=np.intp)
    triangle, pivots = linalg.qr(unit, mode="r", pivoting=True)
    rank = int(np.sum(np.abs(np.diag(triangle)) > _ALIASED))
    return np.sort(pivots[:rank])


def standardised(values: np.ndarray) -> np.ndarray:
    """Return values of mean zero and variance one."""
    centred = values - values.mean()
    return centred / max(centred.std(), np.finfo(float).tiny)


def hotelling(
    name: str, hypothesis: str, z: np.ndarray, spread: np.ndarray, design: SurveyDesign, sizes: np.ndarray
) -> WeightTest:
    """Test that effective scores have mean zero.

    Parameters
    ----------
    name, hypothesis : str
        What the test is called, and what is tested.
    z : ndarray of shape (n_kept, k)
        Effective scores of the rows of positive weight.
    spread : ndarray of shape (n_rows, k)
        The same among all rows.
    design : SurveyDesign
        The design.
    sizes : ndarray of shape (k,)
        Lengths of the columns from which the scores are differences: what is tiny beside them is rounding.
    """
    size = np.linalg.norm(z, axis=0)
    kept = size > _ROUNDING * sizes
    if not kept.any():
        return not_done(name, hypothesis, "the weights are a function of the features: there is nothing left to test")
    values, vectors = np.linalg.eigh((z[:, kept] / size[kept]).T @ (z[:, kept] / size[kept]))
    directions = vectors[:, values > _ALIASED**2 * values[-1]] / size[kept, None]
    k, freedom = directions.shape[1], design.degf
    if freedom - k + 1 < 1:
        return not_done(
            name, hypothesis, f"{k} hypotheses at once need more than the design's {freedom} degrees of freedom"
        )
    total = z[:, kept].sum(axis=0) @ directions
    variance = variance_of_total(spread[:, kept] @ directions, design)
    statistic = _quadratic_form(total, variance)
    if not np.isfinite(statistic):
        return not_done(name, hypothesis, "the variance between sampling units is singular")
    statistic *= (freedom - k + 1) / (freedom * k)
    return WeightTest(
        name, hypothesis, statistic, float(k), float(freedom - k + 1), float(stats.f.sf(statistic, k, freedom - k + 1))
    )


def _quadratic_form(total: np.ndarray, variance: np.ndarray) -> float:
    """Return total' variance^-1 total; NaN for a singular variance."""
    scale = np.sqrt(np.diag(variance))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return np.nan
    try:
        factor = linalg.cho_factor(variance / np.outer(scale, scale))
    except linalg.LinAlgError:
        return np.nan
    return float(total / scale @ linalg.cho_solve(factor, total / scale))


def relative_weights(weights: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """Return weights over what the columns expect of them, exp(columns a) of a Poisson regression; None if it fails.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        Positive weights of mean one.
    columns : ndarray of shape (n_rows, k)
        Independent columns, a constant among them.
    """
    a, expected, value = np.zeros(columns.shape[1]), np.ones(len(weights)), float(len(weights))
    for _ in range(_NEWTON_STEPS):
        gradient = columns.T @ (weights - expected)
        step = np.linalg.lstsq(columns.T @ (columns * expected[:, None]), gradient, rcond=None)[0]
        if gradient @ step <= _CLOSE * len(weights):
            # the value no longer tells steps apart, but the last one squares the error
            return weights / np.exp(columns @ (a + step))
        length = 1.0
        for _ in range(_HALVINGS):
            with np.errstate(over="ignore", invalid="ignore"):
                eta = columns @ (a + length * step)
                candidate = np.exp(eta)
                lower = float(candidate.sum() - weights @ eta)
            if lower < value:
                break
            length *= 0.5
        else:
            return None
        a, expected, value = a + length * step, candidate, lower
    return None
