r"""The estimating equations of a fit, row by row: what both fits, and their difference, are linearised by.

An estimate that solves sum_i s_i = 0 moves as the sum of its influence values I^{-1} s_i, s_i the score of a row and I
the information, both with weights if there are any. The same equations can be evaluated with one set of weights at the
estimates of another: with sampling weights at the unweighted estimates.

References
----------
Binder (1983), International Statistical Review 51, 279-292.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._linalg import scaled_inverse, scaled_solve
from skdep.families import Binomial, Family
from skdep.inference._weight_rows import WeightedRows
from skdep.links import Link, Logit
from skdep.mixed.base import MixedEstimator

__all__ = ["ScoreSystem", "coefficients", "outcome", "score_system", "working_family"]

# Floats of the working copies by which rows of a working correlation are unmixed.
_FLOATS = 4_000_000
# Evaluations after which a working correlation that is estimated step by step has settled.
_ROUNDS = 20


@dataclass(frozen=True)
class ScoreSystem:
    """Estimating equations in the coordinates of `WeightedRows.columns`, perhaps with those of variances.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, P)
        Scores of rows, weights included; those of clusters whose rows cannot be told apart are in their first rows.
    information : ndarray of shape (P, P)
        Minus the derivative of their sum.
    penalty : ndarray of shape (P, P)
        What a prior or penalty adds to it in the fit.
    n_fixed : int
        Number of coefficients; the other parameters are variances.
    residual : ndarray of shape (n_rows,)
        What each row's column is multiplied by in the score of a further column.
    moved : ndarray of shape (n_rows, n_fixed)
        What a further column is multiplied by in its information with the columns of the model.
    """

    scores: np.ndarray
    information: np.ndarray
    penalty: np.ndarray
    n_fixed: int
    residual: np.ndarray
    moved: np.ndarray

    def influence(self) -> np.ndarray:
        """Return the influence of rows on the coefficients of the fit (n_rows, n_fixed)."""
        return self.scores @ scaled_inverse(self.information + self.penalty)[:, : self.n_fixed]

    def free_influence(self) -> np.ndarray:
        """Return that on coefficients without penalty."""
        return self.scores @ scaled_inverse(self.information)[:, : self.n_fixed]

    def effective_scores(self, added: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return scores of added columns (n_rows, k) that estimation of the coefficients does not disturb.

        Parameters
        ----------
        added : ndarray of shape (n_rows, k)
            Columns that the model does not have.
        columns : ndarray of shape (n_rows, n_fixed)
            Its own.
        """
        explained = scaled_solve(_symmetric(columns.T @ self.moved), self.moved.T @ added)
        return (added - columns @ explained) * self.residual[:, None]


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)


def coefficients(fit: Any, rows: WeightedRows) -> np.ndarray:
    """Return the coefficients of a fit in the coordinates of `rows`."""
    params = np.concatenate([np.ravel(fit.intercept_)[: int(fit.fit_intercept)], np.ravel(fit.coef_)])
    return np.linalg.lstsq(rows.basis.back, params, rcond=None)[0]


def outcome(fit: Any, y: Any) -> np.ndarray:
    """Return outcomes as numbers: 1 for the second class of a classifier."""
    if hasattr(fit, "classes_"):
        return (np.asarray(y).ravel() == fit.classes_[1]).astype(np.float64)
    return np.asarray(y, dtype=np.float64).ravel()


def working_family(fit: Any) -> tuple[Family, Link]:
    """Return family and link of the mean."""
    return getattr(fit, "_family", Binomial()), getattr(fit, "_link", Logit())


def score_system(
    fit: Any, rows: WeightedRows, row_weight: np.ndarray | None, group_weight: np.ndarray | None = None
) -> ScoreSystem:
    """Evaluate the estimating equations at the estimates of a fit.

    Parameters
    ----------
    fit : estimator
        A fit to the rows, with whatever weights.
    rows : WeightedRows
        The rows.
    row_weight, group_weight : ndarray of shape (n_kept,) or None
        Weights with which the equations are evaluated.
    """
    if isinstance(fit, MixedEstimator):
        from skdep.inference._weight_systems_mixed import mixed_system

        return mixed_system(fit, rows, row_weight, group_weight)
    weights = np.ones(rows.n_rows) if row_weight is None else row_weight / row_weight.mean()
    if getattr(fit, "working_correlation", "independence") == "independence":
        residual, moved = _independent(fit, rows, weights)
    else:
        residual, moved = _correlated(fit, rows, weights)
    information = _symmetric(rows.columns.T @ moved)
    return ScoreSystem(
        rows.columns * residual[:, None], information, _penalty(fit, rows), len(information), residual, moved
    )


def _means(fit: Any, rows: WeightedRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means of the rows, their derivatives by the linear predictor, and variances."""
    family, link = working_family(fit)
    eta = rows.columns @ coefficients(fit, rows)
    if rows.offset is not None:
        eta = eta + rows.offset
    mean = family.clip(link.inverse(eta))
    return mean, link.inverse_derivative(eta, mean), family.variance(mean)


def _independent(fit: Any, rows: WeightedRows, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals and moved columns of a generalised linear model."""
    mean, derivative, variance = _means(fit, rows)
    slope = weights * derivative / variance
    residual = slope * (outcome(fit, rows.y) - mean)
    return residual, rows.columns * (slope * derivative)[:, None]


def _penalty(fit: Any, rows: WeightedRows) -> np.ndarray:
    """Return the curvature of the penalty on coefficients."""
    back = rows.basis.back[int(fit.fit_intercept) :]
    if getattr(fit, "penalty", None) != "l2":
        return np.zeros((back.shape[1], back.shape[1]))
    return back.T @ back / fit.C


def _correlated(fit: Any, rows: WeightedRows, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals and moved columns of a GEE: D V^{-1} (y - mu), and D V^{-1} D X."""
    from skdep.base import FitNotes
    from skdep.gee.equations import Equations, GEEData, Model
    from skdep.gee.rows import prepare_rows
    from skdep.gee.working_correlation import get_working_correlation

    structure = get_working_correlation(fit.working_correlation)
    numbered = np.column_stack([np.arange(rows.n_rows), rows.columns])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the model was fitted
        prepared = prepare_rows(
            numbered,
            outcome(fit, rows.y),
            groups=rows.metadata.get("groups"),
            sample_weight=weights,
            offset=rows.offset,
            time=rows.metadata.get("time"),
            weight_type="sampling",
            structure=structure,
            notes=FitNotes(),
        )
    order, design = prepared.X[:, 0].astype(np.intp), prepared.X[:, 1:]
    data = GEEData(design, prepared.y, prepared.offset, prepared.weights, prepared.counts, prepared.blocks)
    family, link = working_family(fit)
    equations = Equations(data, Model(family, link, fit.scale, fit.dof), structure, fit.tol)
    at = equations.at(coefficients(fit, rows), structure.start(equations.layouts))
    for _ in range(_ROUNDS):
        assert at is not None  # a fit has its means in the range of the family
        at = equations.at(at.beta, at.association)
    assert at is not None
    targets = np.column_stack([at.residual, design * at.factor[:, None]])
    for (block, part), layout in zip(data.blocks, equations.layouts, strict=True):
        targets[block] = _solved(structure, layout, at.association, part.clusters, targets[block])
    result = np.empty_like(targets)
    result[order] = targets * at.factor[:, None]
    return result[:, 0], result[:, 1:]


def _solved(structure: Any, layout: Any, association: Any, clusters: Any, targets: np.ndarray) -> np.ndarray:
    """Return R^{-1} times columns (n_rows, m), of a structure that only knows a root C, R^{-1} = C'C.

    C' is had by multiplying C into indicators of the first rows of all clusters, of the second rows, and so on.
    """
    n_rows, largest = len(targets), int(clusters.sizes.max())
    position = np.arange(n_rows) - clusters.spread(clusters.starts)
    cluster = clusters.spread(np.arange(clusters.n_clusters))
    white, result = structure.whiten(layout, association, targets), np.empty_like(targets)
    step = int(np.clip(_FLOATS // n_rows, 1, largest))
    for begin in range(0, largest, step):
        chosen = np.flatnonzero((position >= begin) & (position < begin + step))
        indicators = np.zeros((n_rows, min(step, largest - begin)))
        indicators[chosen, position[chosen] - begin] = 1.0
        root = structure.whiten(layout, association, indicators)
        for k in range(targets.shape[1]):
            sums = clusters.sum(root * white[:, k : k + 1])
            result[chosen, k] = sums[cluster[chosen], position[chosen] - begin]
    return result
