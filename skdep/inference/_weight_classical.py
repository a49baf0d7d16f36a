r"""Tests of weights in the form in which they were published: least squares, independent rows, equal variances.

They serve comparison with the literature and with other programs. Where variances differ, or rows are correlated, their
size is not what it claims; `skdep.inference._weight_hypotheses` has forms for which it is.

References
----------
DuMouchel and Duncan (1983), Journal of the American Statistical Association 78, 535-543. Pfeffermann (1993),
International Statistical Review 61, 317-337. Pfeffermann and Sverchkov (1999), Sankhya B 61, 166-186. Wu and Fuller
(2005), Proceedings of the Survey Research Methods Section, American Statistical Association, 3601-3606.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from skdep.inference._weight_tests import WeightTest, independent_columns, not_done, standardised

__all__ = [
    "LinearData",
    "dumouchel_duncan",
    "hausman_pfeffermann",
    "nested_f",
    "pfeffermann_sverchkov",
    "weight_association",
    "with_squares",
    "wu_fuller",
]


@dataclass(frozen=True)
class LinearData:
    """A linear regression and weights.

    Parameters
    ----------
    columns : ndarray of shape (n_rows, p)
        Independent columns of the model.
    with_constant : ndarray of shape (n_rows, k)
        The same with a constant first, which the model may lack.
    features : ndarray of shape (n_rows, n_features)
        Features, of which they are made.
    y : ndarray of shape (n_rows,)
        Outcomes.
    weights : ndarray of shape (n_rows,)
        Weights.
    """

    columns: np.ndarray
    with_constant: np.ndarray
    features: np.ndarray
    y: np.ndarray
    weights: np.ndarray

    def residuals(self) -> np.ndarray:
        """Return the residuals of least squares without weights."""
        return self.y - self.columns @ np.linalg.lstsq(self.columns, self.y, rcond=None)[0]


def nested_f(name: str, hypothesis: str, response: np.ndarray, columns: np.ndarray, added: np.ndarray) -> WeightTest:
    """Test by F whether added columns (n, k) explain more of a response than columns (n, p) do."""
    added = added[:, independent_columns(added, columns)]
    k, freedom = added.shape[1], len(response) - columns.shape[1] - added.shape[1]
    if k == 0:
        return not_done(name, hypothesis, "the added columns follow from the others: there is nothing to test")
    if freedom < 1:
        return not_done(name, hypothesis, f"{len(response)} rows are too few for {k} further columns")
    root, _ = np.linalg.qr(columns)
    rest = response - root @ (root.T @ response)
    further, _ = np.linalg.qr(added - root @ (root.T @ added))
    explained = further.T @ rest
    left = rest - further @ explained
    statistic = float((explained @ explained / k) / (left @ left / freedom))
    return WeightTest(name, hypothesis, statistic, float(k), float(freedom), float(stats.f.sf(statistic, k, freedom)))


def dumouchel_duncan(data: LinearData, name: str, hypothesis: str) -> WeightTest:
    """Add weight and weight x features to the regression of y."""
    return nested_f(name, hypothesis, data.y, data.columns, standardised(data.weights)[:, None] * data.with_constant)


def hausman_pfeffermann(data: LinearData, name: str, hypothesis: str) -> WeightTest:
    """Compare the coefficients of least squares with and without weights: d = C y, of variance sigma2 C C'."""
    weighted = data.columns * data.weights[:, None]
    solve = np.linalg.solve(weighted.T @ data.columns, weighted.T)
    contrast = solve - np.linalg.solve(data.columns.T @ data.columns, data.columns.T)
    e, freedom = data.residuals(), len(data.y) - data.columns.shape[1]
    if freedom < 1:
        return not_done(name, hypothesis, f"{len(data.y)} rows leave nothing to estimate the variance from")
    values, vectors = np.linalg.eigh(contrast @ contrast.T)
    kept = values > 1e-12 * max(float(np.trace(solve @ solve.T)), 0.0)
    if not kept.any():
        return not_done(name, hypothesis, "both fits are the same whatever y is: there is nothing to test")
    moved = vectors[:, kept].T @ (contrast @ data.y)
    statistic = float(np.sum(moved**2 / values[kept]) / (e @ e / freedom))
    k = int(kept.sum())
    return WeightTest(name, hypothesis, statistic, float(k), np.inf, float(stats.chi2.sf(statistic, k)))


def pfeffermann_sverchkov(data: LinearData, name: str, hypothesis: str) -> WeightTest:
    """Compare scores with scores times relative weights w / E(w | x), E linear: Hotelling's test over rows."""
    expected = data.with_constant @ np.linalg.lstsq(data.with_constant, data.weights, rcond=None)[0]
    differences = (1.0 - data.weights / expected)[:, None] * data.columns * data.residuals()[:, None]
    n, p = differences.shape
    mean = differences.mean(axis=0)
    covariance = (differences - mean).T @ (differences - mean) / n
    if n <= p or np.linalg.matrix_rank(covariance, hermitian=True) < p:
        return not_done(name, hypothesis, "relative weights do not vary in every direction of the features")
    statistic = float((n - p) / p * mean @ np.linalg.solve(covariance, mean))
    return WeightTest(name, hypothesis, statistic, float(p), float(n - p), float(stats.f.sf(statistic, p, n - p)))


def with_squares(columns: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return columns (n, k), and the squares of features that do not follow from them."""
    centred = features - features.mean(axis=0)
    size = centred.std(axis=0)
    squares = (centred / np.where(size > 0, size, 1.0)) ** 2
    return np.column_stack([columns, squares[:, independent_columns(squares, columns)]])


def weight_association(data: LinearData, name: str, hypothesis: str) -> WeightTest:
    """Add residuals, their squares and their products with features to a regression of the weights."""
    e = data.residuals()
    added = np.column_stack([e[:, None] * data.with_constant, e**2])
    return nested_f(
        name, hypothesis, standardised(data.weights), with_squares(data.with_constant, data.features), added
    )


def wu_fuller(data: LinearData, name: str, hypothesis: str) -> WeightTest:
    """Add relative weights w / E(w | x), E quadratic, and their products with features to the regression of y."""
    base = with_squares(data.with_constant, data.features)
    expected = base @ np.linalg.lstsq(base, data.weights, rcond=None)[0]
    relative = standardised(data.weights / expected)
    return nested_f(name, hypothesis, data.y, data.columns, relative[:, None] * data.with_constant)
