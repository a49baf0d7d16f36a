"""Monte Carlo standard errors: how far estimates from draws may be from what they estimate."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr
from scipy.stats import beta

from skdep.bayes.chain_statistics import SortedDraws, mean_ess
from skdep.bayes.half_chains import by_parameter, check_probability, squared_deviations

__all__ = ["mcse_mean", "mcse_quantile", "mcse_sd"]


def mcse_mean(draws: np.ndarray) -> np.ndarray:
    """Return the Monte Carlo standard error of the mean.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.

    Returns
    -------
    ndarray of shape (...)
        Standard deviation divided by the root of the effective sample size.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import mcse_mean
    >>> print(mcse_mean(np.random.default_rng(0).normal(size=(4, 2500))).round(2))
    0.01
    """
    return by_parameter(lambda halves: halves.std(axis=(1, 2), ddof=1) / np.sqrt(mean_ess(halves)), draws)


def mcse_sd(draws: np.ndarray) -> np.ndarray:
    """Return the Monte Carlo standard error of the standard deviation.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.

    Returns
    -------
    ndarray of shape (...)
        By the delta method from the error of the mean of squared deviations: no normal distribution is assumed.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import mcse_sd
    >>> print(mcse_sd(np.random.default_rng(0).normal(size=(4, 2500))).round(3))
    0.007
    """

    def error(halves: np.ndarray) -> np.ndarray:
        squares = squared_deviations(halves)
        variance_of_mean = squares.var(axis=(1, 2)) / mean_ess(squares)
        return np.sqrt(variance_of_mean / squares.mean(axis=(1, 2))) / 2.0

    return by_parameter(error, draws)


def mcse_quantile(draws: np.ndarray, probability: float) -> np.ndarray:
    """Return the Monte Carlo standard error of a quantile.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.
    probability : float
        Which quantile, between 0 and 1.

    Returns
    -------
    ndarray of shape (...)
        Half the width of an interval between two order statistics that covers the quantile as often as one standard
        error either side of it would.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import mcse_quantile
    >>> print(mcse_quantile(np.random.default_rng(0).normal(size=(4, 2500)), 0.5).round(3))
    0.014
    """
    check_probability(probability)

    def error(halves: np.ndarray) -> np.ndarray:
        draws_in_order = SortedDraws(halves)
        ess = mean_ess(draws_in_order.up_to(probability))
        ordered, last = draws_in_order.ordered, draws_in_order.ordered.shape[1] - 1
        at = (
            beta.ppf(ndtr([[-1.0], [1.0]]), ess * probability + 1.0, ess * (1.0 - probability) + 1.0) * (last + 1) - 1.0
        )
        at = np.clip([np.floor(at[0]), np.ceil(at[1])], 0, last)
        ends = np.take_along_axis(ordered, np.nan_to_num(at).astype(int).T, axis=1)
        return np.where(np.isnan(ess), np.nan, (ends[:, 1] - ends[:, 0]) / 2.0)

    return by_parameter(error, draws)
