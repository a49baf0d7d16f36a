r"""Priors of standard deviations of random effects, as densities of the standard deviation and of its logarithm.

With t = log sd - log scale and x = e^t, the log density of log sd is l(x) + t, where l is the log density of the
standard distribution; in t it has neither a boundary nor, for all priors here, more than one mode.

References
----------
Gelman (2006), Prior distributions for variance parameters in hierarchical models, Bayesian Analysis 1, 515-534.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from skdep.bayes.scale_prior_base import LogScale, ScalePrior, safe_exp

__all__ = ["Exponential", "HalfCauchy", "HalfNormal", "HalfStudentT", "LogNormal", "LogScale", "ScalePrior"]


@dataclass(frozen=True, repr=False)
class HalfNormal(ScalePrior):
    """Half-normal prior: the positive half of a normal distribution about 0.

    Parameters
    ----------
    scale : float, default=1
        Standard deviation of the whole normal distribution.

    Examples
    --------
    >>> from skdep.bayes.scale_priors import HalfNormal
    >>> float(round(HalfNormal(2.5).quantile(0.95), 2))
    4.9
    """

    scale: float = 1.0

    def _log_density(self, x):
        return 0.5 * np.log(2.0 / np.pi) - 0.5 * x * x

    def _gradient(self, t):
        return 1.0 - safe_exp(2.0 * t)

    def _second_derivative(self, t):
        return -2.0 * safe_exp(2.0 * t)

    def _cdf(self, x):
        return special.erf(x / np.sqrt(2.0))

    def _quantile(self, probability):
        return np.sqrt(2.0) * special.erfinv(probability)

    def _draw(self, rng, size):
        return np.abs(rng.standard_normal(size))

    def _mean(self):
        return np.sqrt(2.0 / np.pi)

    def _sd(self):
        return np.sqrt(1.0 - 2.0 / np.pi)


class _HalfStudentShape(ScalePrior):
    """The positive half of Student's t; the degrees of freedom are a field, or fixed by the subclass."""

    df: Any

    def log_density_of_log(self, log_sd: np.ndarray) -> np.ndarray:
        """Return the log of the normalised density of the logarithm of the standard deviation.

        Parameters
        ----------
        log_sd : array-like
            Logarithms of standard deviations.

        Returns
        -------
        ndarray
            Log densities, of the shape of log_sd.
        """
        # not from sd, which overflows before the density vanishes
        t = self._standard(log_sd)
        return t + self._constant() - 0.5 * (self.df + 1.0) * np.logaddexp(0.0, 2.0 * t - np.log(self.df))

    def _log_density(self, x):
        return self._constant() - (self.df + 1.0) * np.log(np.hypot(1.0, x / np.sqrt(self.df)))

    def _constant(self):
        return np.log(2.0) - special.betaln(0.5, 0.5 * self.df) - 0.5 * np.log(self.df)

    def _gradient(self, t):
        return 1.0 - (self.df + 1.0) * self._share(t)

    def _second_derivative(self, t):
        share = self._share(t)
        return -2.0 * (self.df + 1.0) * share * (1.0 - share)

    def _share(self, t):
        """Return x^2 / (df + x^2)."""
        return special.expit(2.0 * t - np.log(self.df))

    def _cdf(self, x):
        return 2.0 * special.stdtr(self.df, x) - 1.0

    def _quantile(self, probability):
        return special.stdtrit(self.df, 0.5 + 0.5 * probability)

    def _draw(self, rng, size):
        return np.abs(rng.standard_t(self.df, size))

    def _mean(self):
        df = self.df
        return 2.0 * np.sqrt(df) / ((df - 1.0) * special.beta(0.5, 0.5 * df)) if df > 1 else np.inf

    def _sd(self):
        return np.sqrt(self.df / (self.df - 2.0) - self._mean() ** 2) if self.df > 2 else np.inf


@dataclass(frozen=True, repr=False)
class HalfStudentT(_HalfStudentShape):
    """Half-t prior: the positive half of Student's t about 0, with a tail for unusually large standard deviations.

    Parameters
    ----------
    df : float, default=4
        Degrees of freedom.
    scale : float, default=1
        Scale of the whole t distribution.

    Examples
    --------
    >>> from skdep.bayes.scale_priors import HalfStudentT
    >>> HalfStudentT().quantile([0.5, 0.95]).round(2)
    array([0.74, 2.78])
    """

    _positive: ClassVar[tuple[str, ...]] = ("df", "scale")
    df: float = 4.0
    scale: float = 1.0


@dataclass(frozen=True, repr=False)
class HalfCauchy(_HalfStudentShape):
    """Half-Cauchy prior: half of it beyond its scale, no mean.

    Parameters
    ----------
    scale : float, default=1
        Median.

    Examples
    --------
    >>> from skdep.bayes.scale_priors import HalfCauchy
    >>> float(round(HalfCauchy(2.5).quantile(0.5), 6))
    2.5
    """

    scale: float = 1.0

    @property
    def df(self) -> float:
        """Degrees of freedom of the t distribution that it is half of."""
        return 1.0


@dataclass(frozen=True, repr=False)
class Exponential(ScalePrior):
    """Exponential prior.

    Parameters
    ----------
    scale : float, default=1
        Mean: the inverse of the rate.

    Examples
    --------
    >>> from skdep.bayes.scale_priors import Exponential
    >>> float(round(Exponential(scale=0.5).quantile(0.95), 2))
    1.5
    """

    scale: float = 1.0

    def _log_density(self, x):
        return -x

    def _gradient(self, t):
        return 1.0 - safe_exp(t)

    def _second_derivative(self, t):
        return -safe_exp(t)

    def _cdf(self, x):
        return -np.expm1(-x)

    def _quantile(self, probability):
        with np.errstate(divide="ignore"):
            return -np.log1p(-probability)

    def _draw(self, rng, size):
        return rng.standard_exponential(size)

    def _mean(self):
        return 1.0

    def _sd(self):
        return 1.0


@dataclass(frozen=True, repr=False)
class LogNormal(ScalePrior):
    """Log-normal prior: for a standard deviation about which much is known, such as from an earlier study.

    Unlike the other priors here it excludes standard deviations of 0.

    Parameters
    ----------
    scale : float, default=1
        Median.
    sigma : float, default=1
        Standard deviation of the logarithm.

    Examples
    --------
    >>> from skdep.bayes.scale_priors import LogNormal
    >>> LogNormal(0.5, 0.3).quantile([0.025, 0.975]).round(2)
    array([0.28, 0.9 ])
    """

    _positive: ClassVar[tuple[str, ...]] = ("scale", "sigma")
    scale: float = 1.0
    sigma: float = 1.0

    def log_density_of_log(self, log_sd: np.ndarray) -> np.ndarray:
        """Return the log of the normal density of the logarithm of the standard deviation.

        Parameters
        ----------
        log_sd : array-like
            Logarithms of standard deviations.

        Returns
        -------
        ndarray
            Log densities, of the shape of log_sd.
        """
        z = self._standard(log_sd) / self.sigma
        return -0.5 * z * z - np.log(self.sigma) - 0.5 * np.log(2.0 * np.pi)

    def _log_density(self, x):
        t = np.log(np.maximum(x, np.finfo(float).tiny))
        return -0.5 * np.square(t / self.sigma) - np.log(self.sigma) - 0.5 * np.log(2.0 * np.pi) - t

    def _gradient(self, t):
        return -t / np.square(self.sigma)

    def _second_derivative(self, t):
        return np.zeros_like(t) - 1.0 / np.square(self.sigma)

    def _cdf(self, x):
        with np.errstate(divide="ignore"):
            return special.ndtr(np.log(x) / self.sigma)

    def _quantile(self, probability):
        return np.exp(self.sigma * special.ndtri(probability))

    def _draw(self, rng, size):
        return np.exp(self.sigma * rng.standard_normal(size))

    def _mean(self):
        return np.exp(0.5 * self.sigma**2)

    def _sd(self):
        return self._mean() * np.sqrt(np.expm1(self.sigma**2))
