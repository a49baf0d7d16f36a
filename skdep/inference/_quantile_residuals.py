r"""Quantile residuals: standard normal if the model is right, whatever the distribution of the outcome.

With F the distribution function of a row under the model, the residual is the normal quantile of F(y). A discrete
outcome has F(y) - F(y - 1) > 0, and the residual is that of a number drawn evenly between F(y - 1) and F(y).

References
----------
Dunn and Smyth (1996), Randomized quantile residuals, Journal of Computational and Graphical Statistics 5, 236-244.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betainc, gammainc, gammaincc, ndtri, ndtri_exp
from scipy.stats import invgauss
from sklearn.utils import check_random_state

from skdep.families import Binomial, Family, Gamma, Gaussian, InverseGaussian, NegativeBinomial, Poisson

__all__ = ["are_trials", "bernoulli_residuals", "family_residuals"]

_SMALLEST = 1e-300
# Relative excess of a variance over the mean below which counts are Poisson: F is the same to rounding.
_POISSON = 1e-9


def bernoulli_residuals(success: np.ndarray, probability: np.ndarray, random_state: Any) -> np.ndarray:
    """Return randomised residuals of outcomes 0 and 1.

    Parameters
    ----------
    success : ndarray of shape (n_rows,)
        Outcomes.
    probability : ndarray of shape (n_rows,)
        Probabilities of 1.
    random_state : int, RandomState instance or None
        Source of randomness.
    """
    even = check_random_state(random_state).random_sample(len(success))
    failure = 1.0 - probability
    zeros, ones = np.zeros_like(failure), np.ones_like(failure)
    below = np.where(success > 0, failure, zeros), np.where(success > 0, ones, failure)
    above = np.where(success > 0, probability, ones), np.where(success > 0, zeros, probability)
    return _between(below, above, even)


def family_residuals(
    family: Family,
    y: np.ndarray,
    mean: np.ndarray,
    scale: float,
    weights: np.ndarray | None,
    random_state: Any,
) -> np.ndarray:
    """Return residuals of a family of distributions, randomised where it is discrete.

    Counts have the negative binomial distribution with the variance of the model, ``scale * V(mean)``, where that
    exceeds the mean, else the Poisson distribution.

    Parameters
    ----------
    family : Family
        The family; one that is no distribution raises TypeError.
    y : ndarray of shape (n_rows,)
        Outcomes.
    mean : ndarray of shape (n_rows,)
        Means.
    scale : float
        The factor phi of the variance.
    weights : ndarray of shape (n_rows,) or None
        Weights: the numbers of trials, where outcomes are shares.
    random_state : int, RandomState instance or None
        Source of randomness.
    """
    if isinstance(family, Gaussian):
        return (y - mean) / np.sqrt(scale)
    if isinstance(family, Gamma):
        shape = 1.0 / scale
        return _of_tails(gammainc(shape, shape * y / mean), gammaincc(shape, shape * y / mean))
    if isinstance(family, InverseGaussian):
        distribution = invgauss(mu=scale * mean, scale=1.0 / scale)
        low, high = distribution.logcdf(y), distribution.logsf(y)
        return np.where(low < high, ndtri_exp(low), -ndtri_exp(high))
    if isinstance(family, Binomial):
        if ((y == 0.0) | (y == 1.0)).all():
            return bernoulli_residuals(y, mean, random_state)
        below, above = _binomial_tails(y, mean, weights)
    elif isinstance(family, Poisson | NegativeBinomial):
        below, above = _count_tails(y, mean, scale * family.variance(mean))
    else:
        raise TypeError(
            f"The family {family.name or type(family).__name__!r} has a mean and a variance, but no distribution, and "
            "so no quantile residuals; take standardised ones (kind='standardised')."
        )
    return _between(below, above, check_random_state(random_state).random_sample(len(y)))


def _count_tails(y: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[Any, Any]:
    """Return F(y - 1) and F(y), and the probabilities above y - 1 and y."""
    if (y != np.round(y)).any():
        raise ValueError(
            "Quantile residuals of counts need whole numbers; take standardised ones (kind='standardised')."
        )
    excess = variance - mean
    poisson = excess <= _POISSON * mean
    size = mean**2 / np.where(poisson, 1.0, excess)
    share = mean / variance

    def below(k: np.ndarray) -> np.ndarray:
        n = np.maximum(k, 0.0) + 1.0
        return np.where(k < 0, 0.0, np.where(poisson, gammaincc(n, mean), betainc(size, n, share)))

    def above(k: np.ndarray) -> np.ndarray:
        n = np.maximum(k, 0.0) + 1.0
        return np.where(k < 0, 1.0, np.where(poisson, gammainc(n, mean), betainc(n, size, excess / variance)))

    return (below(y - 1.0), below(y)), (above(y - 1.0), above(y))


def are_trials(y: np.ndarray, weights: np.ndarray) -> bool:
    """Say whether weights (n_rows,) are numbers of trials, of which shares y (n_rows,) are whole numbers.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Shares.
    weights : ndarray of shape (n_rows,)
        Weights.
    """
    successes = weights * y
    return bool(((np.abs(weights - np.round(weights)) < 1e-9) & (np.abs(successes - np.round(successes)) < 1e-6)).all())


def _binomial_tails(y: np.ndarray, mean: np.ndarray, weights: np.ndarray | None) -> tuple[Any, Any]:
    """Return F(y - 1) and F(y), and the probabilities above y - 1 and y, of y successes in `weights` trials."""
    trials = np.full(len(y), np.nan) if weights is None else weights
    successes = trials * y
    if not are_trials(y, trials):
        raise ValueError(
            "Quantile residuals of shares need the numbers of trials: give them as sample_weight, so that share times "
            "trials is a whole number in every row."
        )
    successes = np.round(successes)

    def below(k: np.ndarray) -> np.ndarray:
        inside = (k >= 0) & (k < trials)
        tail = betainc(np.where(inside, trials - k, 1.0), np.where(inside, k + 1.0, 1.0), 1.0 - mean)
        return np.where(k < 0, 0.0, np.where(inside, tail, 1.0))

    def above(k: np.ndarray) -> np.ndarray:
        inside = (k >= 0) & (k < trials)
        tail = betainc(np.where(inside, k + 1.0, 1.0), np.where(inside, trials - k, 1.0), mean)
        return np.where(k < 0, 1.0, np.where(inside, tail, 0.0))

    return (below(successes - 1.0), below(successes)), (above(successes - 1.0), above(successes))


def _between(below: Any, above: Any, even: np.ndarray) -> np.ndarray:
    """Return normal quantiles of numbers `even` of the way from F(y - 1) to F(y), from the tail that has the digits."""
    low = below[0] + even * (below[1] - below[0])
    high = above[0] + even * (above[1] - above[0])
    return _of_tails(low, high)


def _of_tails(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return normal quantiles of probabilities below, given those above as well."""
    low, high = np.maximum(low, _SMALLEST), np.maximum(high, _SMALLEST)
    return np.where(low < high, ndtri(low), -ndtri(high))
