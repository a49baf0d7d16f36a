"""The fit of a logistic mixed model to validated rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep.glmm.cumulants import Binomial
from skdep.glmm.estimates import GlmmEstimates, estimates_of, plain_estimates
from skdep.glmm.maximise import MOST_DIMENSIONS, Maximum, Settings, maximise_likelihood
from skdep.glmm.plain import PlainFit, plain_fit
from skdep.glmm.working import GlmmData, working_rows
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.terms import RandomTerm
from skdep.mixed.weights import RowWeights

__all__ = ["PRIOR_SD", "FittedRows", "fit_binary_rows", "penalty_curvature", "settings_of"]

# Standard deviation of the weak penalty's normal priors, in log odds per standard deviation of a column.
PRIOR_SD = 2.5
_PLAIN_TOL, _PLAIN_ITER = 1e-5, 50


@dataclass(frozen=True)
class FittedRows:
    """A fit, and how it went.

    Parameters
    ----------
    estimates : GlmmEstimates
        The estimates.
    data : GlmmData
        The rows in working coordinates.
    plain : PlainFit
        The fit without random effects.
    maximum : Maximum or None
        Where the marginal likelihood is largest, None without random effects.
    is_accurate : bool
        Whether the likelihood was found not to change with more nodes.
    penalised : bool
        Whether there is a penalty.
    """

    estimates: GlmmEstimates
    data: GlmmData
    plain: PlainFit
    maximum: Maximum | None
    is_accurate: bool
    penalised: bool


def settings_of(n_quadrature: Any, terms: Sequence[RandomTerm]) -> int | None:
    """Return the number of nodes that is asked for, None for as many as it takes.

    Raises
    ------
    ValueError
        If quadrature is asked for where only Laplace's approximation can be had.
    """
    if n_quadrature == "auto":
        return None if len(terms) == 1 and terms[0].q <= MOST_DIMENSIONS else 1
    if n_quadrature > 1 and len(terms) > 1:
        raise ValueError(
            f"n_quadrature={n_quadrature} needs one grouping factor, groups has {len(terms)}: with several "
            "the integral does not split into small ones. Use n_quadrature=1, Laplace's approximation, or 'auto'."
            f"{read_more('quadrature')}"
        )
    if n_quadrature > 1 and terms and terms[0].q > MOST_DIMENSIONS:
        raise ValueError(
            f"n_quadrature={n_quadrature} with {terms[0].q} random effects a level takes {n_quadrature}**{terms[0].q} "
            f"nodes: quadrature is for up to {MOST_DIMENSIONS}. Use n_quadrature=1, Laplace's approximation, or 'auto'."
            f"{read_more('quadrature')}"
        )
    return int(n_quadrature)


def fit_binary_rows(
    X: np.ndarray,
    y: np.ndarray,
    offset: np.ndarray | None,
    terms: Sequence[RandomTerm],
    weights: RowWeights,
    *,
    outermost: RandomTerm | None,
    n_quadrature: int | None,
    penalised: bool,
    fit_intercept: bool,
    fixed: np.ndarray | None,
    max_iter: int,
    tol: float,
) -> FittedRows:
    """Fit a logistic mixed model.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes 0 and 1.
    offset : ndarray of shape (n_rows,) or None
        Known part of the log odds.
    terms : sequence of RandomTerm
        Terms, the one with most columns first.
    weights : RowWeights
        Weights.
    outermost : RandomTerm or None
        The one factor in which all others are nested.
    n_quadrature : int or None
        Nodes per dimension, None for as many as it takes.
    penalised, fit_intercept : bool
        As in the estimator.
    fixed : ndarray of int or None
        Features that have a fixed effect, None for all.
    max_iter : int
        Most steps.
    tol : float
        Tolerance of the decrement.
    """
    data = working_rows(
        X,
        y,
        offset,
        terms,
        weights,
        Binomial(),
        outermost=outermost,
        fit_intercept=fit_intercept,
        fixed=fixed,
    )
    ridge = np.zeros((data.rows.n_fixed,) * 2)
    if penalised:
        ridge = penalty_curvature(data, X if fixed is None else X[:, fixed], weights.total, fit_intercept)
    if not terms:
        # by the number of rows: where data are separated, the end must not depend on the scale of weights
        plain = plain_fit(data.rows, ridge, max_iter=max_iter, tol=0.01 * tol * weights.n_obs)
        estimates = plain_estimates(data, plain, ridge, X, weights)
        return FittedRows(estimates, data, plain, None, True, penalised)
    plain = plain_fit(data.rows, ridge, max_iter=_PLAIN_ITER, tol=_PLAIN_TOL)
    structure, of_effects = CovarianceParameters.of(terms).structure, PRIOR_SD**-2 if penalised else 0.0
    settings = Settings(n_quadrature, structure, ridge, of_effects, max_iter, tol)
    maximum = maximise_likelihood(data.rows, plain, data.units, settings)
    estimates = estimates_of(data, maximum, X, weights.total, tol)
    is_accurate = maximum.change is not None and maximum.stable
    return FittedRows(estimates, data, plain, maximum, is_accurate, penalised)


def penalty_curvature(data: GlmmData, X: np.ndarray, weights: np.ndarray | None, fit_intercept: bool) -> np.ndarray:
    """Return the curvature (p, p) of the penalty on working coefficients; X has the features with fixed effects.

    It is that of the user's slopes, whatever the working columns: where features are collinear those are others.
    """
    centre = np.average(X, axis=0, weights=weights) if fit_intercept and X.shape[1] else 0.0
    squares = np.average((X - centre) ** 2, axis=0, weights=weights) if X.shape[1] else np.zeros(0)
    slopes = data.basis.back[int(fit_intercept) :]
    return (slopes.T * (squares / PRIOR_SD**2)) @ slopes
