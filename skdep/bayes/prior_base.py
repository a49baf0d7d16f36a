"""Priors of one coefficient: what location-scale families have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from skdep.bayes.distribution import Distribution

__all__ = ["Prior", "check_factor"]

P = TypeVar("P", bound="Prior")


class Prior(Distribution):
    r"""A prior of one coefficient; subclass it to pass your own.

    Notes
    -----
    A subclass is a frozen dataclass of numbers, among them ``scale`` and, if it can be moved, ``loc``. It gives, as
    functions of arrays z = (x - loc) / scale, the log density of z (``_log_density``), its first two derivatives
    (``_gradient``, ``_second_derivative``), the distribution function (``_cdf``), quantiles (``_quantile``) and
    draws (``_draw``). Parameters may be arrays that broadcast with z.
    """

    loc: Any = 0.0
    scale: Any = 1.0
    smooth: ClassVar[bool] = True
    """Whether the log density has two derivatives everywhere."""

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log of the normalised density.

        Parameters
        ----------
        x : array-like
            Values of the coefficient.

        Returns
        -------
        ndarray
            Log densities, of the shape of x.
        """
        return self._log_density(self._standard(x)) - np.log(self.scale)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the first derivative of the log density.

        Parameters
        ----------
        x : array-like
            Values of the coefficient.

        Returns
        -------
        ndarray
            Derivatives, of the shape of x.
        """
        return self._gradient(self._standard(x)) / self.scale

    def second_derivative(self, x: np.ndarray) -> np.ndarray:
        """Return the second derivative of the log density; positive in the tails of a heavy-tailed prior.

        Parameters
        ----------
        x : array-like
            Values of the coefficient.

        Returns
        -------
        ndarray
            Derivatives, of the shape of x.
        """
        return self._second_derivative(self._standard(x)) / np.square(self.scale)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Return a curvature of minus the log density for Newton steps, never negative.

        Minus the second derivative where that cannot be negative; else the curvature of a parabola that touches minus
        the log density at x and lies nowhere below it.

        Parameters
        ----------
        x : array-like
            Values of the coefficient.

        Returns
        -------
        ndarray
            Curvatures, of the shape of x.
        """
        return self._curvature(self._standard(x)) / np.square(self.scale)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """Return the distribution function.

        Parameters
        ----------
        x : array-like
            Values of the coefficient.

        Returns
        -------
        ndarray
            Probabilities, of the shape of x.
        """
        return self._cdf(self._standard(x))

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
        return self.loc + self.scale * self._quantile(np.asarray(probability, dtype=float))

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
        return self.loc + self.scale * self._draw(np.random.default_rng(rng), size)

    def scaled(self: P, factor: float) -> P:
        """Return the prior of the coefficient times a number, as when its feature is divided by it.

        Parameters
        ----------
        factor : float
            The number, not 0.

        Returns
        -------
        Prior
            A prior of the same class.
        """
        check_factor(factor)
        moved = {"loc": self.loc * factor} if "loc" in self._parameters() else {}
        return replace(self, **moved, scale=self.scale * abs(factor))  # type: ignore[type-var]

    def smoothed(self) -> Prior:
        """Return a prior with two derivatives everywhere that is close to this one, to search for a mode with.

        Returns
        -------
        Prior
            The prior itself, if it is smooth.
        """
        return self

    @property
    def mean(self) -> float:
        """Mean; NaN where there is none."""
        return float(self.loc + self.scale * self._mean())

    @property
    def sd(self) -> float:
        """Standard deviation; infinite, or NaN where not even the mean exists."""
        return float(self.scale * self._sd())

    def _standard(self, x: Any) -> np.ndarray:
        return (np.asarray(x, dtype=float) - self.loc) / self.scale

    def _log_density(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _gradient(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _second_derivative(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _curvature(self, z: np.ndarray) -> np.ndarray:
        return np.maximum(-self._second_derivative(z), 0.0)

    def _cdf(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _quantile(self, probability: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _draw(self, rng: np.random.Generator, size: Any) -> Any:
        raise NotImplementedError

    def _mean(self) -> Any:
        return 0.0

    def _sd(self) -> Any:
        return np.nan


def check_factor(factor: float) -> None:
    """Raise unless a prior can be scaled by the number."""
    if not np.isfinite(factor) or factor == 0:
        raise ValueError(f"The factor of a scaled prior should be a finite number other than 0, got {factor!r}.")
