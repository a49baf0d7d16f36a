r"""Chi-bar-square distributions: likelihood ratios of parameters on the boundary of a cone.

With Z normal of covariance V and C a closed convex cone, the squared length (in the metric V^-1) of the projection of Z
on C is a mixture of chi-square distributions; the weight of i degrees of freedom depends on C and V alone. Weights of
even, and of odd, degrees of freedom add up to 1/2 each.

References
----------
Kudo (1963), A multivariate analogue of the one-sided test, Biometrika 50, 403-418: weights of the orthant.
Shapiro (1988), Towards a unified theory of inequality constrained testing, International Statistical Review 56, 49-62.
Silvapulle and Sen (2005), Constrained Statistical Inference, Wiley, chapter 3.
Van Oosterom and Strackee (1983), IEEE Transactions on Biomedical Engineering 30, 125-126: solid angle of a triangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy import stats

__all__ = ["mixture_tail", "orthant_weights", "two_by_two_weights"]

# Draws that stand in for a closed form of orthant probabilities in more than three dimensions.
_N_DRAWS = 100_000
# Points on the boundary of the cone of two-by-two matrices.
_N_RAYS = 4096


def mixture_tail(statistic: float, mixture: Mapping[int, float]) -> float:
    """Return the probability of a value of at least `statistic` under a mixture, given as weight by degrees of freedom.

    Parameters
    ----------
    statistic : float
        Not negative; chi-square with no degrees of freedom is zero.
    mixture : mapping from int to float
        Weight by degrees of freedom.
    """
    total = sum(w * (float(stats.chi2.sf(statistic, df)) if df else float(statistic <= 0)) for df, w in mixture.items())
    return min(total, 1.0)


def orthant_weights(covariance: np.ndarray) -> np.ndarray:
    """Return the weights of 0, ..., d degrees of freedom for d parameters that cannot be negative.

    Parameters
    ----------
    covariance : ndarray of shape (d, d)
        Covariance of their estimates, were they free.
    """
    d = len(covariance)
    precision = np.linalg.inv(covariance)
    weights = np.zeros(d + 1)
    for size in range(d + 1):
        for positive in combinations(range(d), size):
            rest = [k for k in range(d) if k not in positive]
            inside = np.linalg.inv(precision[np.ix_(positive, positive)])
            outside = np.linalg.inv(covariance[np.ix_(rest, rest)])
            weights[size] += _orthant_probability(inside) * _orthant_probability(outside)
    return weights / weights.sum()


def _orthant_probability(covariance: np.ndarray) -> float:
    """Return the probability that all of a normal vector is positive."""
    d = len(covariance)
    if d < 2:
        return 0.5**d
    sd = np.sqrt(np.diag(covariance))
    correlation = np.clip(covariance / np.outer(sd, sd), -1.0, 1.0)
    if d <= 3:
        angles = np.arcsin(correlation[np.triu_indices(d, 1)])
        return float(0.5**d + angles.sum() / (2 ** (d - 1) * np.pi))
    draws = np.random.default_rng(0).normal(size=(_N_DRAWS, d)) @ np.linalg.cholesky(correlation).T
    return float(np.mean((draws > 0).all(axis=1)) + np.mean((draws < 0).all(axis=1))) / 2.0


def two_by_two_weights(covariance: np.ndarray) -> np.ndarray:
    """Return the weights of 0 to 3 degrees of freedom for a covariance matrix of two effects that is zero.

    In three dimensions the weights follow from the solid angles of the cone and of its polar cone.

    Parameters
    ----------
    covariance : ndarray of shape (3, 3)
        Covariance of the estimates of variance, covariance, variance, were they free.
    """
    all_of_it = _positive_probability(covariance)
    halves = np.array([1.0, 0.5, 1.0])
    nothing = _positive_probability(np.linalg.inv(covariance) * np.outer(halves, halves))
    return np.array([nothing, 0.5 - all_of_it, 0.5 - nothing, all_of_it])


def _positive_probability(covariance: np.ndarray) -> float:
    """Return the probability that a normal symmetric matrix [[a, b], [b, c]] is positive semi-definite."""
    angle = np.linspace(0.0, np.pi, _N_RAYS + 1)
    rays = np.stack([np.cos(angle) ** 2, np.cos(angle) * np.sin(angle), np.sin(angle) ** 2])
    rays = np.linalg.solve(np.linalg.cholesky(covariance), rays)
    rays /= np.linalg.norm(rays, axis=0)
    axis = rays.sum(axis=1)
    axis /= np.linalg.norm(axis)
    first, second = rays[:, :-1], rays[:, 1:]
    volume = axis @ np.cross(first, second, axis=0)
    solid = 2.0 * np.arctan2(volume, 1.0 + axis @ first + axis @ second + np.sum(first * second, axis=0))
    return float(abs(solid.sum()) / (4.0 * np.pi))
