r"""Priors of standard deviations of random effects, as densities of the standard deviation and of its logarithm.

With t = log sd - log scale and x = e^t, the log density of log sd is l(x) + t, where l is the log density of the
standard distribution; in t it has neither a boundary nor, for all priors here, more than one mode.

References
----------
Gelman (2006), Prior distributions for variance parameters in hierarchical models, Bayesian Analysis 1, 515-534.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from scipy import special

from skdep.bayes.distribution import Distribution, stack

__all__ = ["Exponential", "HalfCauchy", "HalfNormal", "HalfStudentT", "LogNormal", "LogScale", "ScalePrior"]

S = TypeVar("S", bound="ScalePrior")


class ScalePrior(Distribution):
    r"""A prior of a standard deviation; subclass it to pass your own.

    Notes
    -----
    A subclass is a frozen dataclass of numbers, among them ``scale``. It gives the log density of x = sd / scale
    (``_log_density``), the first two derivatives of the log density of t = log x as functions of t (``_gradient``,
    ``_second_derivative``), quantiles (``_quantile``), the distribution function (``_cdf``) and draws (``_draw``) of x.
    """

    scale: Any = 1.0

    def log_density(self, sd: np.ndarray) -> np.ndarray:
        """Return the log of the normalised density of the standard deviation.

        Parameters
        ----------
        sd : array-like
            Standard deviations; the density of negative ones is 0.

        Returns
        -------
        ndarray
            Log densities, of the shape of sd.
        """
        x = np.asarray(sd, dtype=float) / self.scale
        return np.where(x >= 0, self._log_density(np.abs(x)) - np.log(self.scale), -np.inf)

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
        t = self._standard(log_sd)
        return self._log_density(_exp(t)) + t

    def gradient_of_log(self, log_sd: np.ndarray) -> np.ndarray:
        """Return the first derivative of the log density of the logarithm.

        Parameters
        ----------
        log_sd : array-like
            Logarithms of standard deviations.

        Returns
        -------
        ndarray
            Derivatives, of the shape of log_sd.
        """
        return self._gradient(self._standard(log_sd))

    def second_derivative_of_log(self, log_sd: np.ndarray) -> np.ndarray:
        """Return the second derivative of the log density of the logarithm, negative.

        Parameters
        ----------
        log_sd : array-like
            Logarithms of standard deviations.

        Returns
        -------
        ndarray
            Derivatives, of the shape of log_sd.
        """
        return self._second_derivative(self._standard(log_sd))

    def of_log(self) -> LogScale:
        """Return the prior of the logarithm of the standard deviation.

        Returns
        -------
        LogScale
            With the methods of a prior of a coefficient.
        """
        return LogScale(self)

    def cdf(self, sd: np.ndarray) -> np.ndarray:
        """Return the distribution function.

        Parameters
        ----------
        sd : array-like
            Standard deviations.

        Returns
        -------
        ndarray
            Probabilities, of the shape of sd.
        """
        return self._cdf(np.maximum(np.asarray(sd, dtype=float), 0.0) / self.scale)

    def quantile(self, probability: Any) -> Any:
        """Return the value below which the given share of the distribution lies.

        Parameters
        ----------
        probability : float or array-like
            Shares between 0 and 1.

        Returns
        -------
        float or ndarray
            Quantiles, of the same shape.
        """
        return self.scale * self._quantile(np.asarray(probability, dtype=float))

    def sample(self, rng: Any = None, size: Any = None) -> Any:
        """Draw from the prior.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None, default=None
            Source of randomness, or its seed.
        size : int, tuple of int or None, default=None
            Shape of the draws; None draws one number.

        Returns
        -------
        float or ndarray
            Draws.
        """
        return self.scale * self._draw(np.random.default_rng(rng), size)

    def scaled(self: S, factor: float) -> S:
        """Return the prior of the standard deviation times a number, as when its feature is divided by it.

        Parameters
        ----------
        factor : float
            The number, greater than 0.

        Returns
        -------
        ScalePrior
            A prior of the same class.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise ValueError(f"The factor of a scaled prior should be finite and greater than 0, got {factor!r}.")
        return replace(self, scale=self.scale * factor)  # type: ignore[type-var]

    @property
    def mean(self) -> float:
        """Mean; infinite where there is none."""
        return float(self.scale * self._mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the prior; infinite where there is none."""
        return float(self.scale * self._sd())

    def _standard(self, log_sd: Any) -> np.ndarray:
        return np.asarray(log_sd, dtype=float) - np.log(self.scale)

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _gradient(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _second_derivative(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _quantile(self, probability: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _draw(self, rng: np.random.Generator, size: Any) -> Any:
        raise NotImplementedError

    def _mean(self) -> float:
        return np.nan

    def _sd(self) -> float:
        return np.nan


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
        return 1.0 - _exp(2.0 * t)

    def _second_derivative(self, t):
        return -2.0 * _exp(2.0 * t)

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
        return 1.0 - _exp(t)

    def _second_derivative(self, t):
        return -_exp(t)

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


@dataclass(frozen=True)
class LogScale:
    """The prior of log sd, with the methods of a prior of a coefficient.

    Parameters
    ----------
    of : ScalePrior
        The prior of sd.
    """

    of: ScalePrior

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log density of log sd = x."""
        return self.of.log_density_of_log(x)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return its first derivative."""
        return self.of.gradient_of_log(x)

    def second_derivative(self, x: np.ndarray) -> np.ndarray:
        """Return its second derivative."""
        return self.of.second_derivative_of_log(x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Return minus the second derivative, where it is not negative."""
        return np.maximum(-self.of.second_derivative_of_log(x), 0.0)

    def sample(self, rng: Any = None, size: Any = None) -> Any:
        """Draw log sd."""
        return np.log(self.of.sample(rng, size))

    def smoothed(self) -> LogScale:
        """Return the prior itself."""
        return self

    @staticmethod
    def stack(priors: list[LogScale]) -> LogScale:
        """Combine priors of one class into one of a vector."""
        return LogScale(stack([prior.of for prior in priors]))


def _exp(t: np.ndarray) -> np.ndarray:
    """Return e^t, short of overflow also when it is squared."""
    return np.exp(np.minimum(t, 300.0))
