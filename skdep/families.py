r"""Mean-variance families: how the variance of the outcome depends on its mean, Var(y) = phi V(mu) / weight.

A family needs no likelihood: V, the quasi-likelihood Q with dQ/dmu = (y - mu) / V(mu), and the deviance are all that
marginal models use.

References
----------
McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., table 9.1: variance functions and quasi-likelihoods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import xlogy

from skdep.links import Identity, Inverse, InverseSquared, Link, Log, Logit

__all__ = [
    "Binomial",
    "Family",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "NegativeBinomial",
    "Poisson",
    "get_family",
]

# A fitted mean is kept this far inside (0, 1), or above 0, so that a variance never vanishes in floating point.
_INSIDE = 1e-15
_ABOVE = 1e-100


@dataclass(frozen=True)
class Family:
    """A mean-variance family; subclass it and pass an instance as ``family=`` to use your own.

    A subclass gives `variance`, `deviance`, `quasi_likelihood` and `initial_mean`, and sets the class attributes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.families import Poisson
    >>> Poisson().variance(np.array([1.0, 4.0]))
    array([1., 4.])
    """

    name: ClassVar[str] = ""
    default_link: ClassVar[type[Link]] = Identity
    lower: ClassVar[float] = -np.inf
    """Infimum of the mean."""
    upper: ClassVar[float] = np.inf
    """Supremum of the mean."""
    open_below: ClassVar[bool] = False
    """Whether outcomes equal to `lower` are impossible."""
    natural_scale: ClassVar[bool] = False
    """Whether the family as a distribution has phi = 1."""
    counts: ClassVar[bool] = False
    """Whether outcomes may be 0 with no outcome below: a mean of 0 then means an infinite coefficient."""

    def variance(self, mu: np.ndarray) -> np.ndarray:
        """Return V(mu)."""
        raise NotImplementedError

    def deviance(self, y: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Return each row's deviance, 2 (Q(y; y) - Q(mu; y)), not divided by phi."""
        raise NotImplementedError

    def quasi_likelihood(self, y: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Return each row's quasi-likelihood Q(mu; y), not divided by phi."""
        raise NotImplementedError

    def initial_mean(self, y: np.ndarray) -> np.ndarray:
        """Return means to start from, inside the range of the mean."""
        raise NotImplementedError

    def clip(self, mu: np.ndarray) -> np.ndarray:
        """Keep means inside their range in floating point."""
        if np.isinf(self.lower):
            return mu
        if np.isinf(self.upper):
            return np.maximum(mu, self.lower + _ABOVE)
        return np.clip(mu, self.lower + _INSIDE, self.upper - _INSIDE)

    def admissible(self, mu: np.ndarray) -> bool:
        """Say whether every mean is inside the range (its closure, in floating point)."""
        return bool(np.isfinite(mu).all() and (mu >= self.lower).all() and (mu <= self.upper).all())

    def check_outcome(self, y: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Raise ValueError, naming the first row, if an outcome of positive weight is outside the family's range."""
        below = y <= self.lower if self.open_below else y < self.lower
        outside = below | (y > self.upper)
        if weights is not None:
            outside &= weights > 0
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            left = "(" if self.open_below else "["
            low = "-inf" if np.isinf(self.lower) else f"{self.lower:g}"
            high = "inf)" if np.isinf(self.upper) else f"{self.upper:g}]"
            raise ValueError(
                f"y: {int(outside.sum())} values are outside the range {left}{low}, {high} of the {self.name} family, "
                f"first in row {row} ({y[row]:g}). Choose another family, or mend the outcome."
            )


class Gaussian(Family):
    """V(mu) = 1."""

    name = "gaussian"

    def variance(self, mu):
        """Return ones."""
        return np.ones_like(mu)

    def deviance(self, y, mu):
        """Return (y - mu)^2."""
        return (y - mu) ** 2

    def quasi_likelihood(self, y, mu):
        """Return -(y - mu)^2 / 2."""
        return -0.5 * (y - mu) ** 2

    def initial_mean(self, y):
        """Return y itself."""
        return y


class Binomial(Family):
    """V(mu) = mu (1 - mu), for outcomes 0 and 1 or fractions between."""

    name = "binomial"
    natural_scale = True
    default_link = Logit
    lower = 0.0
    upper = 1.0

    def variance(self, mu):
        """Return mu (1 - mu)."""
        return mu * (1.0 - mu)

    def deviance(self, y, mu):
        """Return 2 [y log(y / mu) + (1 - y) log((1 - y) / (1 - mu))]."""
        return 2.0 * (xlogy(y, y) + xlogy(1.0 - y, 1.0 - y) - self.quasi_likelihood(y, mu))

    def quasi_likelihood(self, y, mu):
        """Return y log mu + (1 - y) log(1 - mu)."""
        return xlogy(y, mu) + xlogy(1.0 - y, 1.0 - mu)

    def initial_mean(self, y):
        """Return (y + 1/2) / 2."""
        return (y + 0.5) / 2.0


class Poisson(Family):
    """V(mu) = mu, for counts and other non-negative outcomes."""

    name = "poisson"
    counts = True
    natural_scale = True
    default_link = Log
    lower = 0.0

    def variance(self, mu):
        """Return mu."""
        return mu

    def deviance(self, y, mu):
        """Return 2 [y log(y / mu) - (y - mu)]."""
        return 2.0 * (xlogy(y, y) - xlogy(y, mu) - (y - mu))

    def quasi_likelihood(self, y, mu):
        """Return y log mu - mu."""
        return xlogy(y, mu) - mu

    def initial_mean(self, y):
        """Return y + 1/10."""
        return y + 0.1


class Gamma(Family):
    """V(mu) = mu^2, for positive outcomes with constant coefficient of variation."""

    name = "gamma"
    default_link = Inverse
    lower = 0.0
    open_below = True

    def variance(self, mu):
        """Return mu^2."""
        return mu * mu

    def deviance(self, y, mu):
        """Return 2 [(y - mu) / mu - log(y / mu)]."""
        return 2.0 * ((y - mu) / mu - np.log(y / mu))

    def quasi_likelihood(self, y, mu):
        """Return -y / mu - log mu."""
        return -y / mu - np.log(mu)

    def initial_mean(self, y):
        """Return y itself."""
        return y


class InverseGaussian(Family):
    """V(mu) = mu^3, for positive outcomes with a long right tail."""

    name = "inverse_gaussian"
    default_link = InverseSquared
    lower = 0.0
    open_below = True

    def variance(self, mu):
        """Return mu^3."""
        return mu**3

    def deviance(self, y, mu):
        """Return (y - mu)^2 / (mu^2 y)."""
        return (y - mu) ** 2 / (mu * mu * y)

    def quasi_likelihood(self, y, mu):
        """Return (mu - y / 2) / mu^2."""
        return (mu - 0.5 * y) / (mu * mu)

    def initial_mean(self, y):
        """Return y itself."""
        return y


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """V(mu) = mu + dispersion mu^2, for counts with known extra-Poisson variation.

    The link used by default is the log, as everywhere in practice; the canonical one depends on the dispersion.

    Parameters
    ----------
    dispersion : float, default=1.0
        Extra-Poisson variation, positive and fixed: the reciprocal of R's theta.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.families import NegativeBinomial
    >>> NegativeBinomial(dispersion=0.5).variance(np.array([1.0, 4.0]))
    array([ 1.5, 12. ])
    """

    dispersion: float = 1.0

    name = "negative_binomial"
    counts = True
    natural_scale = True
    default_link = Log
    lower = 0.0

    def __post_init__(self):
        if not (np.isfinite(self.dispersion) and self.dispersion > 0):
            raise ValueError(f"dispersion must be positive and finite, got {self.dispersion!r}; for 0 use Poisson.")

    def variance(self, mu):
        """Return mu + dispersion mu^2."""
        return mu + self.dispersion * mu * mu

    def deviance(self, y, mu):
        """Return 2 [y log(y / mu) - (y + 1/k) log((1 + k y) / (1 + k mu))], k the dispersion."""
        k = self.dispersion
        ratio = np.log1p(k * (y - mu) / (1.0 + k * mu))
        return 2.0 * (xlogy(y, y / mu) - (y + 1.0 / k) * ratio)

    def quasi_likelihood(self, y, mu):
        """Return y log(k mu / (1 + k mu)) - log(1 + k mu) / k, k the dispersion."""
        k = self.dispersion
        return xlogy(y, k * mu / (1.0 + k * mu)) - np.log1p(k * mu) / k

    def initial_mean(self, y):
        """Return y + 1/10."""
        return y + 0.1


FAMILIES: dict[str, type[Family]] = {
    cls.name: cls for cls in (Gaussian, Binomial, Poisson, Gamma, InverseGaussian, NegativeBinomial)
}


def get_family(family: str | Family) -> Family:
    """Return the family of that name, or the family itself; an unknown name raises ValueError."""
    if isinstance(family, Family):
        return family
    if family not in FAMILIES:
        raise ValueError(f"family={family!r} is not known; choose one of {sorted(FAMILIES)} or pass a Family object.")
    return FAMILIES[family]()
