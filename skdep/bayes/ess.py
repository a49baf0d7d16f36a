"""Effective sample sizes of Markov chains: how many independent draws theirs are worth, by what is estimated."""

from __future__ import annotations

import numpy as np

from skdep.bayes.chain_statistics import SortedDraws, mean_ess
from skdep.bayes.half_chains import by_parameter, check_probability, squared_deviations

__all__ = ["TAILS", "ess_bulk", "ess_mean", "ess_quantile", "ess_sd", "ess_tail"]

#: Quantiles whose effective sample size is that of the tails.
TAILS = (0.05, 0.95)


def ess_bulk(draws: np.ndarray) -> np.ndarray:
    """Return the effective sample size of normal scores: how well the centre of the distribution is known.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.

    Returns
    -------
    ndarray of shape (...)
        Effective sample sizes; above the number of draws if successive draws are negatively correlated.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import ess_bulk
    >>> bool(ess_bulk(np.random.default_rng(0).normal(size=(4, 1000))) > 3000)
    True
    """
    return by_parameter(lambda halves: mean_ess(SortedDraws(halves).scores()), draws)


def ess_tail(draws: np.ndarray) -> np.ndarray:
    """Return the effective sample size of the tails: the lesser one of the 5 % and the 95 % quantile.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.

    Returns
    -------
    ndarray of shape (...)
        Effective sample sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import ess_tail
    >>> bool(ess_tail(np.random.default_rng(0).normal(size=(4, 1000))) > 3000)
    True
    """
    return np.fmin(*(ess_quantile(draws, probability) for probability in TAILS))


def ess_quantile(draws: np.ndarray, probability: float) -> np.ndarray:
    """Return the effective sample size of a quantile, that of the indicator of draws up to it.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.
    probability : float
        Which quantile, between 0 and 1.

    Returns
    -------
    ndarray of shape (...)
        Effective sample sizes; NaN also where all draws are up to the quantile.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import ess_quantile
    >>> bool(ess_quantile(np.random.default_rng(0).normal(size=(4, 1000)), 0.5) > 3000)
    True
    """
    check_probability(probability)
    return by_parameter(lambda halves: mean_ess(SortedDraws(halves).up_to(probability)), draws)


def ess_mean(draws: np.ndarray) -> np.ndarray:
    """Return the effective sample size of the mean.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters, of finite variance.

    Returns
    -------
    ndarray of shape (...)
        Effective sample sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import ess_mean
    >>> bool(ess_mean(np.random.default_rng(0).normal(size=(4, 1000))) > 3000)
    True
    """
    return by_parameter(mean_ess, draws)


def ess_sd(draws: np.ndarray) -> np.ndarray:
    """Return the effective sample size of the standard deviation, that of squared deviations from the mean.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters, of finite fourth moment.

    Returns
    -------
    ndarray of shape (...)
        Effective sample sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import ess_sd
    >>> bool(ess_sd(np.random.default_rng(0).normal(size=(4, 1000))) > 3000)
    True
    """
    return by_parameter(lambda halves: mean_ess(squared_deviations(halves)), draws)
