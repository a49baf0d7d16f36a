"""Order statistics of normal variables, and the line about which values lie if they are normal."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, ndtri

__all__ = ["normal_order_quantiles", "quartile_line"]

_MOST_EXACT = 10_000


def normal_order_quantiles(n: int, probability: float) -> np.ndarray:
    """Return the quantile, at `probability`, of each order statistic of n standard normal variables (n,).

    Parameters
    ----------
    n : int
        Number of variables.
    probability : float
        Probability; one half is the median.
    """
    rank = np.arange(1, n + 1)
    if n <= _MOST_EXACT:
        return ndtri(betaincinv(rank, n + 1 - rank, probability))
    # The distance from an approximate median changes so slowly that it can be interpolated.
    half = np.unique(np.geomspace(1, (n + 1) // 2, _MOST_EXACT // 4).round().astype(int))
    known = np.unique(np.concatenate([half, n + 1 - half]))
    median = ndtri((rank - 1.0 / 3.0) / (n + 1.0 / 3.0))
    distance = ndtri(betaincinv(known, n + 1 - known, probability)) - median[known - 1]
    return median + np.interp(median, median[known - 1], distance)


def quartile_line(values: np.ndarray) -> tuple[float, float]:
    """Return intercept and slope; where the quartiles are the same, by the mean and the standard deviation.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Values.
    """
    low, high = np.quantile(values, [0.25, 0.75], method="median_unbiased")
    if high <= low:
        return float(values.mean()), float(values.std(ddof=1))
    slope = (high - low) / (2.0 * ndtri(0.75))
    return float(0.5 * (low + high)), float(slope)
