r"""The sandwich of a GEE whose weights were estimated.

With U(beta, gamma) the estimating equations, u_i what cluster i contributes, gamma the coefficients of the dropout
model, s_i their scores and H their information, an expansion of both sets of equations together gives

.. math:: \hat\beta - \beta \approx B^{-1} \sum_i (u_i + G H^{-1} s_i), \qquad G = \partial U / \partial\gamma',

so that the meat is the sum of squares of u_i + G H^{-1} s_i. If the dropout model holds, G has the expectation of
- sum u_i s_i', and the sum is what is left of u_i after regression on s_i: weights that were estimated make beta more
precise than known ones. With weights of clusters G is exactly - sum u_i s_i'. The derivative itself, used here, holds
for truncated weights too, and where the dropout model is wrong.

References
----------
Robins, Rotnitzky and Zhao (1995), Journal of the American Statistical Association 90, 106-121. Preisser, Lohman and
Rathouz (2002), Statistics in Medicine 21, 3035-3054. Stefanski and Boos (2002), The American Statistician 56, 29-38:
stacked equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._linalg import scaled_inverse
from skdep._threads import threads_over_blocks
from skdep.base import FitNotes
from skdep.gee.base import BaseGEE
from skdep.gee.criteria import quasi_likelihood_criteria
from skdep.gee.dropout_weighting import EstimatedWeights
from skdep.gee.equations import Equations, Evaluation, Model, WhiteBlock, scaled_columns
from skdep.gee.rows import prepare_rows
from skdep.gee.working_correlation import get_working_correlation
from skdep.gee.working_correlation.base import REPAIRED_EIGENVALUE
from skdep.sandwich import sandwich

__all__ = ["AwareCovariance", "aware_covariance"]


@dataclass(frozen=True, slots=True)
class AwareCovariance:
    """The covariance that knows of estimated weights, and what depends on it.

    Parameters
    ----------
    robust : ndarray of shape (p, p)
        Covariance of the user's coefficients.
    criteria : dict
        Quasi-likelihood criteria with it.
    """

    robust: np.ndarray
    criteria: dict[str, float]


def aware_covariance(
    fitted: BaseGEE,
    X: np.ndarray,
    y: np.ndarray,
    estimated: EstimatedWeights,
    codes: np.ndarray,
    *,
    constant_weights: bool,
    **metadata: Any,
) -> AwareCovariance:
    """Return the covariance of a weighted fit that knows that the weights were estimated.

    Parameters
    ----------
    fitted : BaseGEE
        The weighted fit.
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes, of a classifier whether they are the second class.
    estimated : EstimatedWeights
        Estimated weights.
    codes : ndarray of shape (n_rows,)
        Cluster numbers, as in `estimated`.
    constant_weights : bool
        Whether estimated weights are constant within clusters.
    **metadata
        ``groups, sample_weight, offset, time`` of the fit.
    """
    structure = get_working_correlation(fitted.working_correlation)
    rows = prepare_rows(X, y, weight_type=fitted.weight_type, structure=structure, notes=_NoWarnings(), **metadata)
    numbers = np.arange(len(X)) if rows.caller_rows is None else rows.caller_rows
    with threads_over_blocks(rows.X.size) as run:
        data, basis = fitted._full_rank_data(rows)
        model = Model(fitted._family, fitted._link, fitted.scale, fitted.dof)
        equations = Equations(data, model, structure, fitted.tol, run)
        at = _at_estimate(equations, fitted, None if basis is None else basis.back)
        slopes = estimated.slopes[numbers]
        if constant_weights or structure.name == "independence":
            by_model = _derivative(equations, at, slopes)
        else:
            by_model = _general_derivative(equations, at, slopes)
        scores = equations.score_sums(at)
    influence = estimated.influence[codes[numbers[rows.clusters.starts]]]
    adjusted = scores + influence @ by_model.T
    of_columns = sandwich(scaled_inverse(at.bread), np.dot(adjusted.T, adjusted))
    if rows.n_clusters <= 1:
        of_columns = np.full_like(of_columns, np.nan)
    robust = of_columns if basis is None else basis.back @ of_columns @ basis.back.T
    return AwareCovariance(robust, quasi_likelihood_criteria(data, fitted._family, at, of_columns))


class _NoWarnings(FitNotes):
    """Notes on rows that a fit has been told of already."""

    def warn(self, message: str, category: type[Warning], *, topic: str | None = None) -> None:
        """Do nothing."""


def _at_estimate(equations: Equations, fitted: BaseGEE, back: np.ndarray | None) -> Evaluation:
    """Evaluate the equations at the estimates of a fit."""
    beta = fitted._inference.estimate
    if back is not None:
        beta = np.linalg.lstsq(back, beta, rcond=None)[0]
    if fitted.correlation_shrinkage_ > 0.0:
        equations.limit = REPAIRED_EIGENVALUE
    at = equations.at(beta, equations.structure.start(equations.layouts))
    assert at is not None  # means are those of the fit
    return equations.again(at)


def _derivative(equations: Equations, at: Evaluation, slopes: np.ndarray) -> np.ndarray:
    """Return the derivative (p, q) of the equations, given that of log weights (n_rows, q).

    Rows of a cluster are independent in the working model, or their weights change alike.
    """

    def products(part: WhiteBlock) -> np.ndarray:
        return np.dot(part.columns[:, :-1].T, part.columns[:, -1:] * slopes[part.rows])

    return np.add.reduce(equations.over_white_blocks(at, products))


def _general_derivative(equations: Equations, at: Evaluation, slopes: np.ndarray) -> np.ndarray:
    """Return the same where weights vary within correlated clusters: each enters as a root on either side of R."""
    found = np.empty((len(at.beta), slopes.shape[1]))
    for number, slope in enumerate(slopes.T):

        def further(rows: slice, slope: np.ndarray = slope) -> np.ndarray:
            return scaled_columns(equations.data, rows, at.factor, at.residual) * slope[rows, None]

        parts = equations.over_white_blocks(at, _product_rule, further)
        found[:, number] = np.add.reduce(parts)
    return found


def _product_rule(part: WhiteBlock) -> np.ndarray:
    columns, changed = part.columns, part.further
    return 0.5 * (np.dot(changed[:, :-1].T, columns[:, -1]) + np.dot(columns[:, :-1].T, changed[:, -1]))
