r"""Cluster-robust covariance of the fixed effects: the sandwich with clusters of the outermost factors.

The score of a row is w x e with e the conditional residual y - X beta - Z b, since V^-1 (y - X beta) = W e / sigma2.
Rows are independent only between levels of the outermost factor. Where several factors are crossed at the top, no
cluster is independent of all others, and V^-1 (y - X beta) is correlated between all rows. There beta is taken as the
linear combination of rows that it is: the part of a row is (V^-1 X)_i (y_i - x_i'beta), in which rows that share no
level are uncorrelated; clustering by each factor is combined by inclusion and exclusion. With one outermost factor both
ways have the same sums.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22.
Cameron, Gelbach and Miller (2011), Journal of Business and Economic Statistics 29, 238-249.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdep._threads import add_up_blocks
from skdep.mixed.cross_products import LevelSums, WorkingColumns
from skdep.mixed.terms import RandomTerm
from skdep.sandwich import cluster_intersections, nearest_positive_semidefinite, way_signs

__all__ = ["conditional_residuals", "crossed_covariance", "is_nested_in", "outermost_terms", "score_meat"]


def outermost_terms(terms: Sequence[RandomTerm]) -> list[RandomTerm]:
    """Return the terms that are nested in no other; of factors that cut rows alike, the first."""
    return [
        term
        for k, term in enumerate(terms)
        if not any(
            is_nested_in(term, other) and (j < k or not is_nested_in(other, term))
            for j, other in enumerate(terms)
            if j != k
        )
    ]


def is_nested_in(inner: RandomTerm, outer: RandomTerm) -> bool:
    """Say whether every level of `inner` occurs in one level of `outer` only."""
    if inner.n_levels < outer.n_levels:
        return False
    of_level = np.empty(inner.n_levels, dtype=outer.codes.dtype)
    of_level[inner.codes] = outer.codes
    return bool(np.array_equal(of_level[inner.codes], outer.codes))


def conditional_residuals(
    border: np.ndarray,
    contrast: np.ndarray,
    terms: Sequence[RandomTerm],
    columns: Sequence[WorkingColumns],
    effects: Sequence[np.ndarray],
) -> np.ndarray:
    """Return a combination of the columns of [X, y] less random effects (n_rows,): y - X beta - Z b for (-beta, 1)."""
    residual = np.empty(len(border))

    def block(rows: slice) -> tuple[float]:
        values = np.dot(border[rows], contrast)
        for term, part, effect in zip(terms, columns, effects, strict=True):
            own = effect[term.codes[rows]]
            for a, column in enumerate(part.columns):
                values -= own[:, a] if column is None else own[:, a] * column[rows]
        residual[rows] = values
        return (0.0,)

    add_up_blocks(block, len(border), 2 * border.shape[1])
    return residual


def score_meat(
    border: np.ndarray,
    residuals: np.ndarray,
    weights: np.ndarray | None,
    outermost: LevelSums | None,
    repeats: bool = False,
) -> np.ndarray:
    """Return the sum of outer products of scores (p, p), added up within clusters first.

    Parameters
    ----------
    border : ndarray of shape (n_rows, p + 1)
        Fixed-effect columns, and y.
    residuals : ndarray of shape (n_rows,)
        Conditional residuals.
    weights : ndarray of shape (n_rows,) or None
        Weights of the rows.
    outermost : LevelSums or None
        What adds up rows within clusters; None stands for independent rows.
    repeats : bool, default=False
        Whether a weight is a number of rows.
    """
    weighted = residuals if weights is None else residuals * weights
    if outermost is None:
        scores = border[:, :-1] * weighted[:, None]
        # copies of a row are independent of each other
        each = border[:, :-1] * residuals[:, None] if repeats else scores
        return scores.T @ each
    scores = outermost(weighted, border)[:, :-1]
    return scores.T @ scores


def crossed_covariance(
    moved: np.ndarray,
    residuals: np.ndarray,
    weights: np.ndarray | None,
    root: np.ndarray,
    outermost: Sequence[RandomTerm],
) -> np.ndarray:
    """Return the sandwich (p, p) clustered by each of several crossed factors.

    What is negative is set to zero in coordinates in which the model's covariance is the identity, so that the result
    does not depend on units and origins of the features.

    Parameters
    ----------
    moved : ndarray of shape (n_rows, p)
        Rows of sigma2 W^-1 V^-1 X: fixed-effect columns less what the random effects take up.
    residuals : ndarray of shape (n_rows,)
        Marginal residuals y - X beta.
    weights : ndarray of shape (n_rows,) or None
        Weights of the rows.
    root : ndarray of shape (p, p)
        R with R R' = (X'V^-1 X)^-1, V relative to sigma2.
    outermost : sequence of RandomTerm
        Factors to cluster by.
    """
    weighted = residuals if weights is None else residuals * weights
    meat = np.zeros_like(root)
    intersections = cluster_intersections([term.codes for term in outermost])
    for ways, sign in way_signs(len(outermost)):
        scores = intersections[ways].weighted_sum(weighted, moved)
        meat += sign * (scores.T @ scores)
    middle = nearest_positive_semidefinite(root.T @ meat @ root)[0]
    return sandwich_of_root(root, middle)


def sandwich_of_root(root: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return R M R', exactly symmetric."""
    product = root @ middle @ root.T
    return 0.5 * (product + product.T)
