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

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.bayes.chain_statistics import SortedDraws, mean_ess, split_rhat
from skdep.bayes.ess import TAILS, ess_bulk, ess_mean, ess_quantile, ess_sd, ess_tail
from skdep.bayes.half_chains import by_parameter, checked
from skdep.bayes.mcse import mcse_mean, mcse_quantile, mcse_sd

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

    def to_frame(self) -> Any:
        """Return a DataFrame of a row a parameter, in the order of the draws' trailing axes."""
        import pandas as pd

        columns = ("rhat", "ess_bulk", "ess_tail")
        return pd.DataFrame({name: np.ravel(getattr(self, name)) for name in columns})

    def __str__(self) -> str:
        return (
            f"Convergence of {self.n_chains} chains of {self.n_draws} draws: {'yes' if self.converged else 'NO'}; "
            f"largest R-hat {self.max_rhat:.3f}, least effective draws {self.min_ess_bulk:.0f} in bulk, "
            f"{self.min_ess_tail:.0f} in the tails"
        )

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame(), max_rows=20), lead=str(self))


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
    n_chains, n_draws = checked(draws).shape[:2]
    results = by_parameter(_all_three, draws)
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
    return by_parameter(_rank_rhat, draws)


def _all_three(halves: np.ndarray) -> np.ndarray:
    """Return R-hat, bulk and tail effective sample sizes, (3, P)."""
    draws = SortedDraws(halves)
    scores = draws.scores()
    r = np.fmax(split_rhat(scores), split_rhat(draws.folded_scores()))
    tail = np.fmin(*(mean_ess(draws.up_to(probability)) for probability in TAILS))
    return np.stack([r, mean_ess(scores), tail])


def _rank_rhat(halves: np.ndarray) -> np.ndarray:
    draws = SortedDraws(halves)
    return np.fmax(split_rhat(draws.scores()), split_rhat(draws.folded_scores()))
