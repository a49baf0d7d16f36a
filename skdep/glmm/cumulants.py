r"""Families with their canonical link, as the engine sees them: the cumulant function and its derivatives.

A row with linear predictor eta, weight w (trials of a binomial, frequency or sampling weight) and weighted outcome s =
w y has log density s eta - w kappa(eta) + c, hence derivatives by eta s - w kappa', -w kappa'', ... A family is a
cumulant function kappa; another one, say exp for Poisson counts, is another small class.

References
----------
McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., section 2.2.2: the cumulant function.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

__all__ = ["Binomial", "CumulantFunction"]

# exp(700) is finite; beyond, kappa is its argument to all digits.
_LARGEST = 700.0


class CumulantFunction(Protocol):
    """The cumulant function of a family under its canonical link."""

    name: ClassVar[str]

    def derivatives(self, eta: np.ndarray, order: int) -> tuple[np.ndarray, ...]:
        """Return kappa, kappa', ... up to that order (0 to 4) at linear predictors, which may be overwritten."""


class Binomial:
    """Binomial outcomes with the logit link: kappa(eta) = log(1 + exp(eta)), kappa' the probability of success."""

    name: ClassVar[str] = "binomial"

    def derivatives(self, eta: np.ndarray, order: int) -> tuple[np.ndarray, ...]:
        """Return kappa and its derivatives.

        Parameters
        ----------
        eta : ndarray
            Linear predictors; overwritten.
        order : int
            Highest derivative, 0 to 4.

        Returns
        -------
        tuple of ndarray
            kappa, kappa', ..., `order` + 1 arrays of the shape of `eta`, each to full relative precision but for
            kappa, whose absolute error is that of rounding at 1.
        """
        beyond = np.maximum(eta, _LARGEST) - _LARGEST if eta.max(initial=0.0) > _LARGEST else None
        np.minimum(eta, _LARGEST, out=eta)
        np.exp(eta, out=eta)
        one_plus = 1.0 + eta
        result = []
        if order >= 1:
            probability = np.divide(eta, one_plus, out=eta)
            result.append(probability)
        if order >= 2:
            variance = probability / one_plus
            result.append(variance)
            if order >= 3:
                result.append(variance * (1.0 - 2.0 * probability))
            if order >= 4:
                result.append(variance * (1.0 - 6.0 * variance))
        np.log(one_plus, out=one_plus)
        if beyond is not None:
            one_plus += beyond
        return (one_plus, *result)
