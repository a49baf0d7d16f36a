"""Pareto smoothed importance sampling: stable weights, and k-hat, which tells whether they can be trusted.

The largest weights of a sample follow a generalised Pareto distribution, whatever produced them. Its shape k says how
many moments the weights have: the variance is finite below 1/2, the mean below 1. Smoothing replaces the largest
weights by the quantiles of the fitted distribution, and the estimate of k is the diagnostic.

References
----------
Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, Journal of Machine Learning
Research 25, 72. Zhang and Stephens (2009), A new and efficient estimation method for the generalized Pareto
distribution, Technometrics 51, 316-325.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

__all__ = [
    "SmoothedWeights",
    "fit_generalised_pareto",
    "importance_ess",
    "khat_threshold",
    "smooth_weights",
    "tail_length",
]

# With fewer values than this the shape of a tail is anyone's guess.
_SHORTEST_TAIL = 5
# The prior on k is worth this many observations at this value: it matters for short tails only.
_PRIOR_OBSERVATIONS, _PRIOR_SHAPE = 10.0, 0.5
# Log ratios within this range are those of constant weights, up to rounding.
_CONSTANT = 1e-10
# Elements of the largest temporary array: 16 MB.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class SmoothedWeights:
    """Result of `smooth_weights`.

    Parameters
    ----------
    log_weights : ndarray of shape (S,) or (S, n)
        Logarithms of the smoothed weights, which sum to one over the draws.
    khat : ndarray of shape () or (n,)
        Estimated shape of the upper tail of the weights; -inf for constant weights, inf where it cannot be estimated.
    ess : ndarray of shape () or (n,)
        Effective sample size of the smoothed weights, see `importance_ess`.
    """

    log_weights: np.ndarray
    khat: np.ndarray
    ess: np.ndarray

    @property
    def threshold(self) -> float:
        """Largest k-hat at which estimates by these weights can be trusted."""
        return khat_threshold(self.log_weights.shape[0])

    @property
    def reliable(self) -> np.ndarray:
        """Whether k-hat is below the threshold, by vector of weights."""
        return self.khat < self.threshold


def khat_threshold(n_draws: int) -> float:
    """Return the k-hat above which `n_draws` are too few, or no number of draws would do in practice.

    Parameters
    ----------
    n_draws : int
        Number of draws S.

    Returns
    -------
    float
        ``min(1 - 1 / log10(S), 0.7)``.

    Examples
    --------
    >>> from skdep.bayes.pareto import khat_threshold
    >>> khat_threshold(100), khat_threshold(4000)
    (0.5, 0.7)
    """
    if n_draws < 2:
        raise ValueError(f"k-hat needs at least 2 draws, got {n_draws}")
    return min(1.0 - 1.0 / float(np.log10(n_draws)), 0.7)


def tail_length(n_draws: int, *, relative_efficiency: float = 1.0) -> int:
    """Return how many of the largest weights make the tail.

    Parameters
    ----------
    n_draws : int
        Number of draws S.
    relative_efficiency : float, default=1.0
        Effective sample size of the draws, divided by S: dependent draws need a longer tail.

    Returns
    -------
    int
        ``ceil(min(S / 5, 3 sqrt(S / relative_efficiency)))``.

    Examples
    --------
    >>> from skdep.bayes.pareto import tail_length
    >>> tail_length(4000), tail_length(100)
    (190, 20)
    """
    if not relative_efficiency > 0.0:
        raise ValueError(f"relative_efficiency must be positive, got {relative_efficiency}")
    return int(np.ceil(min(n_draws / 5.0, 3.0 * np.sqrt(n_draws / relative_efficiency))))


def fit_generalised_pareto(exceedances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Estimate shape and scale of generalised Pareto distributions.

    Parameters
    ----------
    exceedances : ndarray of shape (..., M)
        Values above their cutoff, in increasing order along the last axis, not negative, the largest positive.

    Returns
    -------
    shape : ndarray of shape (...)
        Estimates of k, drawn towards 1/2 by a prior worth ten observations.
    scale : ndarray of shape (...)
        Estimates of sigma.

    Notes
    -----
    The distribution function is :math:`1 - (1 + k x / \sigma)^{-1/k}`. With :math:`b = -k / \sigma` the likelihood is
    maximal in k at :math:`k(b) = \sum_i \log(1 - b x_i) / M`, which leaves one parameter; its posterior mean, over
    a grid that follows the data, gives both estimates.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.pareto import fit_generalised_pareto
    >>> x = np.sort(np.random.default_rng(0).pareto(2.0, size=10_000))  # k = 1 / 2, sigma = 1 / 2
    >>> shape, scale = fit_generalised_pareto(x)
    >>> print(f"{shape:.2f} {scale:.2f}")
    0.51 0.49
    """
    exceedances = np.asarray(exceedances, dtype=float)
    if exceedances.ndim == 0 or exceedances.shape[-1] < _SHORTEST_TAIL:
        raise ValueError(f"a generalised Pareto distribution is fitted to at least {_SHORTEST_TAIL} exceedances")
    flat = exceedances.reshape(-1, exceedances.shape[-1])
    rows = max(1, _BLOCK // (flat.shape[1] * _n_grid(flat.shape[1])))
    blocks = [_fit_block(flat[first : first + rows]) for first in range(0, flat.shape[0], rows)]
    shape = np.concatenate([block[0] for block in blocks])
    scale = np.concatenate([block[1] for block in blocks])
    return shape.reshape(exceedances.shape[:-1])[()], scale.reshape(exceedances.shape[:-1])[()]


def _n_grid(n: int) -> int:
    return 30 + int(np.sqrt(n))


def _fit_block(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit each row of `x`."""
    n = x.shape[1]
    quartile = x[:, int(n / 4.0 + 0.5) - 1]
    # Draws of a Markov chain repeat themselves, so that a quarter of the tail may tie with the cutoff.
    spread = np.where(quartile > 0.0, quartile, x.mean(axis=1))
    steps = 1.0 - np.sqrt(_n_grid(n) / (np.arange(1.0, _n_grid(n) + 1.0) - 0.5))
    b = 1.0 / x[:, -1:] + steps / (3.0 * spread[:, None])
    k = np.log1p(-b[:, :, None] * x[:, None, :]).mean(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        # At b = 0 the distribution is exponential: -b / k has the limit 1 / mean.
        ratio = np.where(b == 0.0, 1.0 / x.mean(axis=1, keepdims=True), -b / k)
        log_likelihood = n * (np.log(ratio) - k - 1.0)
    weights = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    mean_b = (weights * b).sum(axis=1) / weights.sum(axis=1)
    k = np.log1p(-mean_b[:, None] * x).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(mean_b == 0.0, x.mean(axis=1), -k / mean_b)
    return (n * k + _PRIOR_OBSERVATIONS * _PRIOR_SHAPE) / (n + _PRIOR_OBSERVATIONS), scale


def importance_ess(log_weights: np.ndarray) -> np.ndarray:
    """Return the effective sample size of importance weights.

    Parameters
    ----------
    log_weights : ndarray of shape (S,) or (S, n)
        Logarithms of weights, normalised or not; draws on the first axis.

    Returns
    -------
    ndarray of shape () or (n,)
        The square of the sum of the weights, divided by the sum of their squares: S for constant weights.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.pareto import importance_ess
    >>> print(importance_ess(np.log([1.0, 1.0, 2.0])).round(4))
    2.6667
    """
    log_weights = np.asarray(log_weights, dtype=float)
    weights = np.exp(log_weights - log_weights.max(axis=0))
    return weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)


def smooth_weights(log_ratios: np.ndarray, *, relative_efficiency: float = 1.0) -> SmoothedWeights:
    """Smooth and normalise importance weights, and estimate the shape of their tail.

    Parameters
    ----------
    log_ratios : ndarray of shape (S,) or (S, n)
        Logarithms of the raw weights, up to a constant: log target less log proposal. Draws on the first axis, one
        vector of weights a column. -inf is a weight of zero.
    relative_efficiency : float, default=1.0
        Effective sample size of the draws, divided by S.

    Returns
    -------
    SmoothedWeights
        ``.log_weights``, ``.khat`` and ``.ess``.

    Raises
    ------
    ValueError
        If a log ratio is NaN or inf, or all weights of a vector are zero.

    Notes
    -----
    With fewer than 25 draws the tail is too short for a fit: weights are normalised as they are, and k-hat is inf. So
    it is if the tail has one value only while other weights differ, or spans more than floating-point numbers can.

    Examples
    --------
    Draws from a standard normal distribution stand in for draws from one that is a little wider:

    >>> import numpy as np
    >>> from scipy import stats
    >>> from skdep.bayes.pareto import smooth_weights
    >>> x = np.random.default_rng(0).normal(size=4000)
    >>> smoothed = smooth_weights(stats.norm.logpdf(x, scale=1.1) - stats.norm.logpdf(x))
    >>> bool(smoothed.reliable)
    True
    >>> print(f"{np.exp(smoothed.log_weights) @ x**2:.2f}")  # the variance, 1.21
    1.20
    """
    log_ratios = _checked(log_ratios)
    n_draws = log_ratios.shape[0]
    by_row = np.ascontiguousarray(log_ratios.reshape(n_draws, -1).T)
    by_row = by_row - by_row.max(axis=1, keepdims=True)
    length = tail_length(n_draws, relative_efficiency=relative_efficiency)
    khat = np.where(by_row.min(axis=1) > -_CONSTANT, -np.inf, np.inf)
    if length >= _SHORTEST_TAIL:
        _smooth_tails(by_row, length, khat)
    by_row -= logsumexp(by_row, axis=1, keepdims=True)
    log_weights = by_row.T.reshape(log_ratios.shape)
    return SmoothedWeights(log_weights, khat.reshape(log_ratios.shape[1:])[()], importance_ess(log_weights))


def _checked(log_ratios: np.ndarray) -> np.ndarray:
    log_ratios = np.asarray(log_ratios, dtype=float)
    if log_ratios.ndim not in (1, 2) or log_ratios.shape[0] < 2:
        raise ValueError(f"log_ratios must be (S,) or (S, n) with at least 2 draws, got shape {log_ratios.shape}")
    largest = log_ratios.max(axis=0)
    if np.isnan(largest).any() or np.isposinf(largest).any():
        raise ValueError("log_ratios has NaN or inf: check the densities at these draws")
    if np.isneginf(largest).any():
        raise ValueError("all weights of a vector are zero: no draw is where the target has mass")
    return log_ratios


def _smooth_tails(log_ratios: np.ndarray, length: int, khat: np.ndarray) -> None:
    """Smooth the `length` largest of each row, in place; the largest log ratio of a row is zero."""
    first = log_ratios.shape[1] - length
    order = np.argpartition(log_ratios, (first - 1, first), axis=1)[:, first - 1 :]
    values = np.take_along_axis(log_ratios, order, axis=1)
    inner = np.argsort(values[:, 1:], axis=1) + 1
    cutoff = values[:, :1]
    tail = np.take_along_axis(values, inner, axis=1)
    exceedances, span = _exceedances(tail, cutoff)
    quartile = int(length / 4.0 + 0.5) - 1
    # An exceedance that underflows though its log ratio is above the cutoff: the tail is heavier than can be fitted.
    underflow = (exceedances[:, quartile] == 0.0) & (tail[:, quartile] > cutoff[:, 0])
    fit = np.flatnonzero(np.isposinf(khat) & (span > 0.0) & ~underflow)
    if not fit.size:
        return
    shape, scale = fit_generalised_pareto(exceedances[fit])
    smoothed = _quantiles(length, shape, scale)
    base = np.exp(cutoff[fit])
    smoothed = np.minimum(np.log(base + span[fit, None] * smoothed), 0.0)
    usable = np.isfinite(shape) & np.isfinite(smoothed).all(axis=1)
    rows = fit[usable]
    khat[rows] = shape[usable]
    positions = np.take_along_axis(order, inner, axis=1)[rows]
    log_ratios[rows[:, None], positions] = smoothed[usable]


def _exceedances(tail: np.ndarray, cutoff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the excess of weights over the cutoff in units of the largest excess, and this unit.

    The difference of two exponentials is taken by expm1: it keeps its digits when all weights are close to one.
    """
    with np.errstate(invalid="ignore"):
        below = np.where(tail == cutoff, 0.0, cutoff - tail)  # also where both are -inf
    span = -np.expm1(below[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(tail) * -np.expm1(below) / span[:, None], span


def _quantiles(length: int, shape: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the generalised Pareto quantiles at (j - 1/2) / M, by row."""
    log_survival = np.log1p(-(np.arange(length) + 0.5) / length)
    shape = shape[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        standard = np.where(shape == 0.0, -log_survival, np.expm1(-shape * log_survival) / shape)
    return scale[:, None] * standard
