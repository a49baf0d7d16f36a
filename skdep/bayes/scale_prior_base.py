"""The base of priors of standard deviations, and such a prior as one of the logarithm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from skdep.bayes.distribution import Distribution, stack

__all__ = ["LogScale", "ScalePrior", "safe_exp"]

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
        return self._log_density(safe_exp(t)) + t

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


def safe_exp(t: np.ndarray) -> np.ndarray:
    """Return e^t, short of overflow also when it is squared."""
    return np.exp(np.minimum(t, 300.0))
