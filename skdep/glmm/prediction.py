"""Probabilities: conditional on effects that are known, averages over those that are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skdep._normal_mean import logistic_normal_mean
from skdep.mixed.prediction import predicted_effects, random_columns

__all__ = ["log_odds_of", "marginal_probabilities", "predictor_moments"]


def predictor_moments(
    mean: np.ndarray,
    X: np.ndarray,
    codes: Mapping[str, np.ndarray] | None,
    effects: Mapping[str, np.ndarray],
    covariances: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence[int]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance (n_rows,) of the linear predictor: known effects are taken as they are.

    Parameters
    ----------
    mean : ndarray of shape (n_rows,)
        Linear predictor without random effects.
    X : ndarray of shape (n_rows, n_features)
        Features.
    codes : mapping or None
        Level number of each row by factor, -1 for unknown ones; None if all are unknown.
    effects, covariances, columns : mapping
        Predicted effects, covariance of the effects, and the features they belong to, by factor.
    """
    variance = np.zeros(len(mean))
    if codes is not None:
        mean = mean + predicted_effects(X, codes, effects, columns)
    for name, covariance in covariances.items():
        unknown = np.ones(len(mean), dtype=bool) if codes is None else codes[name] < 0
        Z = random_columns(X[unknown], columns[name])
        variance[unknown] += np.einsum("na,ac,nc->n", Z, covariance, Z, optimize=True)
    return mean, variance


def marginal_probabilities(moments: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the probabilities of failure and success (n_rows, 2), each with all its digits."""
    mean, variance = moments
    smaller = logistic_normal_mean(-np.abs(mean), variance)
    success = np.where(mean > 0, 1.0 - smaller, smaller)
    return np.column_stack([np.where(mean > 0, smaller, 1.0 - smaller), success])


def log_odds_of(moments: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the log odds of the probabilities (n_rows,)."""
    mean, variance = moments
    smaller = logistic_normal_mean(-np.abs(mean), variance)
    with np.errstate(divide="ignore"):
        size = np.log1p(-smaller) - np.log(smaller)
    # where the probability is below the smallest number, it is the mean of exp(eta): exp(mean + variance / 2)
    size = np.where(smaller > 0.0, size, np.abs(mean) - 0.5 * variance)
    # without random effects, or with a single known effect, the log odds are the predictor itself
    return np.where(variance == 0.0, mean, np.copysign(size, mean))
