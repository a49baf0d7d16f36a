"""Convergence of Markov chains: rank-normalised R-hat, bulk and tail effective sample sizes, Monte Carlo errors.

Draws are arrays ``(chains, draws, ...)``; results have the shape of the parameters, the trailing axes. Chains are split
in halves, so that a chain that drifts disagrees with itself; the middle one of an odd number of draws is left out. A
parameter whose draws are all the same, or not all finite, has the value NaN everywhere.

References
----------
Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and localization: an improved R-hat
for assessing convergence of MCMC, Bayesian Analysis 16, 667-718. Geyer (1992), Practical Markov chain Monte Carlo,
Statistical Science 7, 473-483.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import beta

from skdep.bayes.chain_statistics import SortedDraws, mean_ess, split_rhat

__all__ = [
    "ESS_PER_CHAIN",
    "RHAT_LIMIT",
    "Convergence",
    "convergence",
    "ess_bulk",
    "ess_mean",
    "ess_quantile",
    "ess_sd",
    "ess_tail",
    "mcse_mean",
    "mcse_quantile",
    "mcse_sd",
    "rhat",
]

#: R-hat from which chains are said to disagree.
RHAT_LIMIT = 1.01
#: Effective draws per chain below which the diagnostics themselves are unreliable.
ESS_PER_CHAIN = 100

# Draws times parameters handled at once: temporary arrays of 2 MB, which a cache holds.
_BLOCK = 250_000
_TAILS = (0.05, 0.95)


@dataclass(frozen=True)
class Convergence:
    """Result of `convergence`.

    Parameters
    ----------
    rhat : ndarray
        Rank-normalised split R-hat, by parameter.
    ess_bulk, ess_tail : ndarray
        Effective sample sizes, by parameter.
    n_chains, n_draws : int
        Number of chains, and draws of each.
    """

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    n_chains: int
    n_draws: int

    @property
    def max_rhat(self) -> float:
        """Largest R-hat of the parameters that have one; NaN if none has."""
        return float(np.fmax.reduce(np.ravel(self.rhat), initial=np.nan))

    @property
    def min_ess_bulk(self) -> float:
        """Least bulk effective sample size of the parameters that have one; NaN if none has."""
        return float(np.fmin.reduce(np.ravel(self.ess_bulk), initial=np.nan))

    @property
    def min_ess_tail(self) -> float:
        """Least tail effective sample size of the parameters that have one; NaN if none has."""
        return float(np.fmin.reduce(np.ravel(self.ess_tail), initial=np.nan))

    @property
    def n_undefined(self) -> int:
        """Number of parameters without diagnostics: their draws are constant, or not all finite."""
        return int(np.isnan(self.rhat).sum())

    @property
    def converged(self) -> bool:
        """Whether every parameter has R-hat below 1.01, and 100 effective draws a chain in bulk and tails."""
        enough = ESS_PER_CHAIN * self.n_chains
        return bool(
            np.all(self.rhat < RHAT_LIMIT) and np.all(self.ess_bulk >= enough) and np.all(self.ess_tail >= enough)
        )


def convergence(draws: np.ndarray) -> Convergence:
    """Return R-hat, bulk and tail effective sample sizes in one pass, which sorts the draws only once.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.

    Returns
    -------
    Convergence
        ``.rhat``, ``.ess_bulk``, ``.ess_tail`` by parameter; their extremes ``.max_rhat``, ``.min_ess_bulk``,
        ``.min_ess_tail``; ``.converged``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import convergence
    >>> checks = convergence(np.random.default_rng(0).normal(size=(4, 1000, 3)))
    >>> checks.rhat.shape, checks.converged
    ((3,), True)
    """
    n_chains, n_draws = _checked(draws).shape[:2]
    results = _by_parameter(_all_three, draws)
    return Convergence(results[0], results[1], results[2], n_chains, n_draws)


def rhat(draws: np.ndarray) -> np.ndarray:
    """Return the rank-normalised split R-hat.

    Parameters
    ----------
    draws : ndarray of shape (chains, draws, ...)
        Draws of one or more parameters.

    Returns
    -------
    ndarray of shape (...)
        The larger of R-hat of normal scores and R-hat of normal scores of distances from the median: chains must agree
        in location and in spread. Beyond all bounds if chains are constants that differ.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.convergence import rhat
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 2))
    >>> draws[0, :, 1] += 1.0  # the first chain has not found the posterior of the second parameter
    >>> print(rhat(draws).round(2))
    [1.  1.1]
    """
    return _by_parameter(_rank_rhat, draws)


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
    return _by_parameter(lambda halves: mean_ess(SortedDraws(halves).scores()), draws)


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
    return np.fmin(*(ess_quantile(draws, probability) for probability in _TAILS))


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
    _check_probability(probability)
    return _by_parameter(lambda halves: mean_ess(SortedDraws(halves).up_to(probability)), draws)


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
    return _by_parameter(mean_ess, draws)


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
    return _by_parameter(lambda halves: mean_ess(_squared_deviations(halves)), draws)


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
    return _by_parameter(lambda halves: halves.std(axis=(1, 2), ddof=1) / np.sqrt(mean_ess(halves)), draws)


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
        squares = _squared_deviations(halves)
        variance_of_mean = squares.var(axis=(1, 2)) / mean_ess(squares)
        return np.sqrt(variance_of_mean / squares.mean(axis=(1, 2))) / 2.0

    return _by_parameter(error, draws)


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
    _check_probability(probability)

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

    return _by_parameter(error, draws)


def _checked(draws: np.ndarray) -> np.ndarray:
    draws = np.asarray(draws, dtype=float)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ValueError(f"draws must be (chains, draws, ...) with at least 4 draws a chain, got shape {draws.shape}")
    return draws


def _check_probability(probability: float) -> None:
    if not 0.0 < probability < 1.0:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")


def _by_parameter(statistic: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> np.ndarray:
    """Apply `statistic` to arrays (parameters, half chains, draws), in blocks of parameters.

    It returns one value a parameter, on its last axis.
    """
    draws = _checked(draws)
    n_chains, n_draws, *shape = draws.shape
    flat = draws.reshape(n_chains, n_draws, -1)
    block = max(1, _BLOCK // (n_chains * n_draws))
    # One pass even without parameters: it gives the axes of the result.
    starts = range(0, max(flat.shape[2], 1), block)
    results = [_of_block(statistic, flat[:, :, first : first + block]) for first in starts]
    joined = np.concatenate(results, axis=-1)
    return joined.reshape((*joined.shape[:-1], *shape))[()]


def _of_block(statistic: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> np.ndarray:
    n_chains, n_draws, n_parameters = draws.shape
    half = n_draws // 2
    halves = np.empty((n_parameters, n_chains, 2, half))
    halves[:, :, 0] = draws[:, :half].transpose(2, 0, 1)
    halves[:, :, 1] = draws[:, n_draws - half :].transpose(2, 0, 1)
    halves = halves.reshape(n_parameters, 2 * n_chains, half)
    largest, least = halves.max(axis=(1, 2)), halves.min(axis=(1, 2))
    defined = np.isfinite(largest) & np.isfinite(least) & (largest > least)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(defined, statistic(np.where(defined[:, None, None], halves, 0.0)), np.nan)


def _squared_deviations(halves: np.ndarray) -> np.ndarray:
    return (halves - halves.mean(axis=(1, 2), keepdims=True)) ** 2


def _all_three(halves: np.ndarray) -> np.ndarray:
    """Return R-hat, bulk and tail effective sample sizes, (3, P)."""
    draws = SortedDraws(halves)
    scores = draws.scores()
    r = np.fmax(split_rhat(scores), split_rhat(draws.folded_scores()))
    tail = np.fmin(*(mean_ess(draws.up_to(probability)) for probability in _TAILS))
    return np.stack([r, mean_ess(scores), tail])


def _rank_rhat(halves: np.ndarray) -> np.ndarray:
    draws = SortedDraws(halves)
    return np.fmax(split_rhat(draws.scores()), split_rhat(draws.folded_scores()))
