r"""Priors of single coefficients: densities with two derivatives, quantiles and draws.

Each is a location-scale family, written by its standard density in z = (x - loc) / scale. Coefficients are log odds:
of the intercept, or per unit of a feature.

There is no flat prior. Where a feature separates the classes no posterior would exist under it, and there would never
be a prior to draw from nor an evidence; ``Normal(0, 1000)`` is as good as flat and leaves all of these defined.

References
----------
Gelman, Jakulin, Pittau and Su (2008), A weakly informative default prior distribution for logistic and other
regression models, Annals of Applied Statistics 2, 1360-1383.
Greenland and Mansournia (2015), Penalization, bias reduction, and default priors in logistic and related categorical
and survival regressions, Statistics in Medicine 34, 3133-3143: log-F priors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from skdep.bayes.distribution import unchecked
from skdep.bayes.prior_base import Prior, check_factor

__all__ = ["Cauchy", "Laplace", "LogF", "LogisticPrior", "Normal", "Prior", "StudentT"]


@dataclass(frozen=True, repr=False)
class Normal(Prior):
    """Normal prior.

    Parameters
    ----------
    loc : float, default=0
        Mean.
    scale : float, default=2.5
        Standard deviation.

    Examples
    --------
    >>> from skdep.bayes.priors import Normal
    >>> prior = Normal(0, 2.5)
    >>> low, high = prior.interval(0.95)
    >>> round(low, 1), round(high, 1)
    (-4.9, 4.9)
    >>> prior.scaled(2)
    Normal(loc=0, scale=5)
    """

    loc: float = 0.0
    scale: float = 2.5

    def _log_density(self, z):
        return -0.5 * z * z - 0.5 * np.log(2.0 * np.pi)

    def _gradient(self, z):
        return -z

    def _second_derivative(self, z):
        return np.full_like(z, -1.0)

    def _cdf(self, z):
        return special.ndtr(z)

    def _quantile(self, probability):
        return special.ndtri(probability)

    def _draw(self, rng, size):
        return rng.standard_normal(size)

    def _sd(self):
        return 1.0


class _StudentShape(Prior):
    """Student's t; the degrees of freedom are a field, or fixed by the subclass."""

    df: Any

    def _log_density(self, z):
        df = self.df
        # not by log1p(z^2 / df), whose square overflows first
        log_root = np.log(np.hypot(1.0, z / np.sqrt(df)))
        return -special.betaln(0.5, 0.5 * df) - 0.5 * np.log(df) - (df + 1.0) * log_root

    def _gradient(self, z):
        return -z * self._curvature(z)

    def _second_derivative(self, z):
        return -(self.df + 1.0) * (self.df - z * z) / np.square(self.df + z * z)

    def _curvature(self, z):
        return (self.df + 1.0) / (self.df + z * z)

    def _cdf(self, z):
        return special.stdtr(self.df, z)

    def _quantile(self, probability):
        return special.stdtrit(self.df, probability)

    def _draw(self, rng, size):
        return rng.standard_t(self.df, size)

    def _mean(self):
        return 0.0 if self.df > 1 else np.nan

    def _sd(self):
        if self.df <= 1:
            return np.nan
        return np.sqrt(self.df / (self.df - 2.0)) if self.df > 2 else np.inf


@dataclass(frozen=True, repr=False)
class StudentT(_StudentShape):
    """Student's t prior: near normal in the middle, tails that let large coefficients be.

    Parameters
    ----------
    df : float, default=7
        Degrees of freedom.
    loc : float, default=0
        Centre.
    scale : float, default=2.5
        Scale; the standard deviation is larger.

    Examples
    --------
    >>> from skdep.bayes.priors import StudentT
    >>> round(StudentT(df=4, scale=2.5).sd, 2)
    3.54
    """

    _positive: ClassVar[tuple[str, ...]] = ("df", "scale")
    df: float = 7.0
    loc: float = 0.0
    scale: float = 2.5


@dataclass(frozen=True, repr=False)
class Cauchy(_StudentShape):
    """Cauchy prior: half of it beyond one scale, no mean; under separation neither has the posterior one.

    Parameters
    ----------
    loc : float, default=0
        Centre, the median.
    scale : float, default=2.5
        Distance from the centre to either quartile.

    Examples
    --------
    >>> from skdep.bayes.priors import Cauchy
    >>> float(round(Cauchy(scale=2.5).quantile(0.75), 6))
    2.5
    """

    loc: float = 0.0
    scale: float = 2.5

    @property
    def df(self) -> float:
        """Degrees of freedom of the t distribution that it is."""
        return 1.0


@dataclass(frozen=True, repr=False)
class Laplace(Prior):
    """Laplace (double exponential) prior, the prior that the lasso is the mode of.

    Parameters
    ----------
    loc : float, default=0
        Centre.
    scale : float, default=2.5
        Mean absolute deviation from the centre; the standard deviation is 1.41 times it.

    Examples
    --------
    >>> from skdep.bayes.priors import Laplace
    >>> round(Laplace(scale=1).sd, 2)
    1.41
    """

    smooth: ClassVar[bool] = False
    loc: float = 0.0
    scale: float = 2.5

    def smoothed(self) -> Prior:
        """Return a prior of the same tails with a rounded top, exp(1/2) times lower than the kink.

        Returns
        -------
        Prior
            A hyperbolic distribution.
        """
        return unchecked(_RoundedLaplace, loc=self.loc, scale=self.scale)

    def _log_density(self, z):
        return -np.abs(z) - np.log(2.0)

    def _gradient(self, z):
        return -np.sign(z)

    def _second_derivative(self, z):
        return np.zeros_like(z)

    def _curvature(self, z):
        # The touching parabola has curvature 1 / |z|, without bound at the kink.
        return 1.0 / np.maximum(np.abs(z), 0.1)

    def _cdf(self, z):
        tail = 0.5 * np.exp(-np.abs(z))
        return np.where(z < 0, tail, 1.0 - tail)

    def _quantile(self, probability):
        with np.errstate(divide="ignore"):
            return np.where(probability < 0.5, np.log(2.0 * probability), -np.log(2.0 * (1.0 - probability)))

    def _draw(self, rng, size):
        return rng.laplace(size=np.shape(self.loc) if size is None else size)

    def _sd(self):
        return np.sqrt(2.0)


@dataclass(frozen=True, repr=False)
class _RoundedLaplace(Prior):
    """Density proportional to exp(-sqrt(1/4 + z^2)): of the tails of Laplace's, with a smooth top."""

    loc: float = 0.0
    scale: float = 1.0

    def _log_density(self, z):
        return -np.hypot(0.5, z) - np.log(special.k1(0.5))

    def _gradient(self, z):
        return -z / np.hypot(0.5, z)

    def _second_derivative(self, z):
        return -0.25 / np.hypot(0.5, z) ** 3

    def _curvature(self, z):
        return 1.0 / np.hypot(0.5, z)


@dataclass(frozen=True, repr=False)
class LogisticPrior(Prior):
    """Logistic prior of a log odds: by default the probability itself is uniform between 0 and 1.

    With it on the intercept of a model without features, the posterior of the probability after k events of n is
    Beta(1 + k, 1 + n - k).

    Parameters
    ----------
    loc : float, default=0
        Centre.
    scale : float, default=1
        Scale; the standard deviation is 1.81 times it.

    Examples
    --------
    >>> from scipy.special import expit
    >>> from skdep.bayes.priors import LogisticPrior
    >>> expit(LogisticPrior().quantile([0.1, 0.5, 0.9])).round(3)
    array([0.1, 0.5, 0.9])
    """

    loc: float = 0.0
    scale: float = 1.0

    def _log_density(self, z):
        size = np.abs(z)
        return -size - 2.0 * np.log1p(np.exp(-size))

    def _gradient(self, z):
        return -np.tanh(0.5 * z)

    def _second_derivative(self, z):
        return -2.0 * special.expit(z) * special.expit(-z)

    def _cdf(self, z):
        return special.expit(z)

    def _quantile(self, probability):
        return special.logit(probability)

    def _draw(self, rng, size):
        return rng.logistic(size=np.shape(self.loc) if size is None else size)

    def _sd(self):
        return np.pi / np.sqrt(3.0)


@dataclass(frozen=True, repr=False)
class LogF(Prior):
    """Log-F prior of a log odds: by default scale, Beta(a, b) on the probability.

    On an intercept it says as much as `a` events and `b` other outcomes seen before; on a slope ``LogF(m / 2, m / 2)``
    is the log-F(m, m) of Greenland and Mansournia, with 95% of the odds ratios between 1/648 and 648 for m = 1.

    Parameters
    ----------
    a : float, default=0.5
        Prior events.
    b : float, default=0.5
        Prior outcomes without the event.
    scale : float, default=1
        Factor of the log odds.

    Examples
    --------
    >>> from scipy.special import expit
    >>> from skdep.bayes.priors import LogF
    >>> prior = LogF(2, 18)
    >>> expit(prior.quantile([0.05, 0.95])).round(3)
    array([0.019, 0.226])
    """

    _positive: ClassVar[tuple[str, ...]] = ("a", "b", "scale")
    a: float = 0.5
    b: float = 0.5
    scale: float = 1.0

    def scaled(self, factor: float) -> LogF:
        """Return the prior of the log odds times a number, as when its feature is divided by it.

        Parameters
        ----------
        factor : float
            The number, not 0.

        Returns
        -------
        LogF
            A prior with a and b exchanged if the number is negative.
        """
        check_factor(factor)
        a, b = (self.a, self.b) if factor > 0 else (self.b, self.a)
        return LogF(a, b, self.scale * abs(factor))

    def _log_density(self, z):
        # in terms that do not cancel where |z| is large: a z - (a + b) log(1 + e^z)
        return -self.a * np.logaddexp(0.0, -z) - self.b * np.logaddexp(0.0, z) - special.betaln(self.a, self.b)

    def _gradient(self, z):
        return self.a * special.expit(-z) - self.b * special.expit(z)

    def _second_derivative(self, z):
        return -(self.a + self.b) * special.expit(z) * special.expit(-z)

    def _cdf(self, z):
        return special.betainc(self.a, self.b, special.expit(z))

    def _quantile(self, probability):
        # each tail from its own end, where the probability itself is not rounded to 1
        low = special.betaincinv(self.a, self.b, probability)
        high = special.betainccinv(self.b, self.a, probability)
        with np.errstate(divide="ignore"):
            return np.log(low) - np.log(high)

    def _draw(self, rng, size):
        return _log_gamma_draw(self.a, rng, size) - _log_gamma_draw(self.b, rng, size)

    def _mean(self):
        return special.digamma(self.a) - special.digamma(self.b)

    def _sd(self):
        return np.sqrt(special.polygamma(1, self.a) + special.polygamma(1, self.b))


def _log_gamma_draw(shape: Any, rng: np.random.Generator, size: Any) -> Any:
    """Draw the log of a gamma variable: for small shapes the variable itself underflows."""
    larger = rng.gamma(shape + 1.0, size=size)
    return np.log(larger) - rng.standard_exponential(np.shape(larger) or None) / shape
