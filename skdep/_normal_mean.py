r"""Means of logistic functions of a normal linear predictor: probabilities averaged over random effects.

p(m, v) = E f(eta), eta ~ N(m, v), f(eta) = 1 / (1 + exp(-eta)), and its derivatives by m, E f'(eta), E f''(eta), ...
Since the normal density solves the heat equation, a derivative by v is half the second derivative by m.

Two identities leave only cases in which no tail is small. p(m, v) = 1 - p(-m, v) leaves m <= 0. From f(eta) =
exp(eta) f(-eta), and completing the square,

    p(m, v) = exp(m + v/2) p(-m - v, v),

which leaves m >= -v/2: small probabilities keep all their digits. There the trapezoidal rule converges exponentially:
with the step h in eta its relative error is about exp(-2 pi^2 v / h^2) if v is small, and otherwise exp(-2 pi^2 / h +
pi^2 / (2 v)), from the poles +-pi i of f. A wide density would need many nodes, but next to it f is little else than a
step. A step with a known mean, E Phi(eta / k) = Phi(m / sqrt(v + k^2)), is taken off, and what is left is short: it
vanishes like exp(-|eta|), as the derivatives of f do.

References
----------
Trefethen and Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458.
"""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.special import expit, ndtr

from skdep._threads import block_rows, threads_over_blocks

__all__ = ["logistic_derivatives", "logistic_normal_derivatives", "logistic_normal_mean", "logistic_normal_moments"]

# Step in the linear predictor with errors of rounding.
_STEP = 0.5
# Standard deviation below which the density, not f, limits the step.
_SLIM = 0.4
# Where a standard normal density has vanished to rounding, and an exponential one.
_NORMAL_END, _EXPONENTIAL_END = 8.5, 38.0
# Standard deviation from which densities count as wide.
_WIDE = 5.0
# Scale k of the normal distribution function nearest to f.
_PROBIT_SCALE = 1.7


def logistic_normal_mean(mean: np.ndarray, variance: np.ndarray | float) -> np.ndarray:
    """Return the probability E f(eta), eta normal; full relative accuracy also where it is small.

    Parameters
    ----------
    mean : ndarray
        Means of the linear predictors.
    variance : ndarray or float
        Variances, of a shape that broadcasts with `mean`.

    Returns
    -------
    ndarray
        Probabilities. That of the other outcome, with all its digits, is the probability at ``-mean``.
    """
    return logistic_normal_moments(mean, variance, 0)[0]


def logistic_normal_derivatives(
    mean: np.ndarray, variance: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probability and its derivatives by mean and by variance.

    Parameters
    ----------
    mean : ndarray
        Means of the linear predictors.
    variance : ndarray or float
        Variances.

    Returns
    -------
    probability, by_mean, by_variance : ndarray
        E f(eta), E f'(eta) and E f''(eta) / 2.
    """
    probability, first, second = logistic_normal_moments(mean, variance, 2)
    return probability, first, 0.5 * second


def logistic_normal_moments(mean: np.ndarray, variance: np.ndarray | float, order: int) -> np.ndarray:
    """Return the mean of f and of its derivatives.

    Parameters
    ----------
    mean : ndarray
        Means of the linear predictors.
    variance : ndarray or float
        Variances; below zero, by rounding, they count as zero.
    order : int
        Highest derivative, 0 to 4.

    Returns
    -------
    ndarray of shape (order + 1, ...)
        E f(eta), E f'(eta), ..., each of the shape of `mean`.
    """
    mean, variance = np.broadcast_arrays(np.asarray(mean, dtype=float), np.maximum(variance, 0.0))
    result = _moments_below_zero(-np.abs(mean.ravel()), variance.ravel(), order)
    positive = mean.ravel() > 0
    result[0, positive] = 1.0 - result[0, positive]
    result[2::2, positive] *= -1.0
    return result.reshape(order + 1, *mean.shape)


def logistic_derivatives(eta: np.ndarray, order: int) -> list[np.ndarray]:
    """Return f and its derivatives up to that order (0 to 4), each of the shape of `eta`."""
    f = expit(eta)
    return _derivatives_of(f, f * expit(-eta) if order else None, order)


def _derivatives_of(f: np.ndarray, first: np.ndarray | None, order: int) -> list[np.ndarray]:
    """Return f and its derivatives, given f and f'."""
    result = [f]
    if first is not None:
        slope = 1.0 - 2.0 * f if order >= 2 else f
        rest = (
            lambda: first,
            lambda: first * slope,
            lambda: first * (1.0 - 6.0 * first),
            lambda: first * slope * (1.0 - 12.0 * first),
        )
        result += [make() for make in rest[:order]]
    return result


def _moments_below_zero(mean: np.ndarray, variance: np.ndarray, order: int) -> np.ndarray:
    """Return the moments (order + 1, n) of means that are not positive."""
    if not variance.any():
        return np.array(logistic_derivatives(mean, order))
    reflected = mean < -0.5 * variance
    result = _moments(np.where(reflected, -mean - variance, mean), variance, order)
    if reflected.any():
        inner = result[:, reflected]
        scale = np.exp(mean[reflected] + 0.5 * variance[reflected])
        for k in range(order + 1):
            terms = (comb(k, j) * (-1.0) ** j * inner[j] for j in range(k + 1))
            result[k, reflected] = scale * sum(terms)
    return result


def _moments(mean: np.ndarray, variance: np.ndarray, order: int) -> np.ndarray:
    """Return the moments (order + 1, n) of means above minus half of the variance."""
    by_spread = np.argsort(variance, kind="stable")
    mean, sd = mean[by_spread], np.sqrt(variance[by_spread])
    n_rows, n_narrow = len(mean), int(np.searchsorted(sd, _WIDE))
    found = np.empty((order + 1, n_rows))
    blocks, n_floats = [], 0
    for moments, nodes, begin, end in ((_narrow, _narrow_nodes, 0, n_narrow), (_wide, _wide_nodes, n_narrow, n_rows)):
        if begin < end:
            n_nodes = len(nodes(sd[end - 1]))
            step = block_rows(n_nodes)
            blocks += [(moments, slice(row, min(row + step, end))) for row in range(begin, end, step)]
            n_floats += (end - begin) * n_nodes

    def fill(block):
        moments, rows = block
        found[:, rows] = moments(mean[rows], sd[rows], order)

    with threads_over_blocks(n_floats) as run:
        list(run(fill, blocks))
    result = np.empty_like(found)
    result[:, by_spread] = found
    return result


def _narrow_nodes(largest_sd: float) -> np.ndarray:
    """Return nodes in standard deviations: f moves the peak of its product with the density by at most sd / 2.

    The step s solves 2 pi^2 / (s sd) - pi^2 / (2 sd^2) = 2 pi^2 / h, the accuracy of step h without a density.
    """
    sd = max(largest_sd, _SLIM)
    step = 1.0 / (sd / _STEP + 0.25 / sd)
    return np.arange(-_NORMAL_END, _NORMAL_END + 0.5 * largest_sd + step, step)


def _narrow(mean: np.ndarray, sd: np.ndarray, order: int) -> np.ndarray:
    """Return the moments by nodes that follow the density."""
    nodes = _narrow_nodes(sd[-1])
    weights = np.exp(-0.5 * nodes**2) * ((nodes[1] - nodes[0]) / np.sqrt(2.0 * np.pi))
    f = np.multiply.outer(-sd, nodes)
    f -= mean[:, None]
    np.exp(f, out=f)
    f += 1.0
    np.reciprocal(f, out=f)
    first = f * (1.0 - f) if order else None
    return np.array([np.dot(values, weights) for values in _derivatives_of(f, first, order)])


def _wide_nodes(largest_sd: float) -> np.ndarray:
    """Return nodes on the scale of the linear predictor: f times the density vanishes outside of them.

    Below zero that is at most exp(-t / 2 - t^2 / (2 v)) of its peak.
    """
    half = 0.5 * largest_sd
    begin = largest_sd * (np.hypot(half, np.sqrt(2.0 * _EXPONENTIAL_END)) - half)
    return np.arange(-begin, _EXPONENTIAL_END, _STEP)


def _wide(mean: np.ndarray, sd: np.ndarray, order: int) -> np.ndarray:
    """Return the moments by nodes that follow f, less a step with a known mean."""
    nodes = _wide_nodes(sd[-1])
    columns = np.array(logistic_derivatives(nodes, order))
    columns[0] -= ndtr(nodes / _PROBIT_SCALE)
    density = np.subtract.outer(mean, nodes)
    density /= sd[:, None]
    np.square(density, out=density)
    density *= -0.5
    np.exp(density, out=density)
    result = np.dot(columns, density.T) * (_STEP / (np.sqrt(2.0 * np.pi) * sd))
    result[0] += ndtr(mean / np.hypot(sd, _PROBIT_SCALE))
    return result
