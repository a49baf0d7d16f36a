"""Link functions: the scale on which the mean of the outcome is linear in the features.

A link maps the mean mu to the linear predictor eta = g(mu). An engine needs the inverse, its derivative d mu / d eta,
and whether an eta is admissible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

__all__ = [
    "Cauchit",
    "Cloglog",
    "Identity",
    "Inverse",
    "InverseSquared",
    "Link",
    "Log",
    "Logit",
    "Loglog",
    "Probit",
    "Sqrt",
    "get_link",
]


@dataclass(frozen=True)
class Link:
    """A link function; subclass it and pass an instance as ``link=`` to use your own.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.links import Logit
    >>> Logit().inverse(np.array([0.0, np.log(3.0)]))
    array([0.5 , 0.75])
    """

    name: ClassVar[str] = ""
    positive: ClassVar[bool] = False
    """Whether only eta > 0 is admissible."""
    mean_range: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    """Open interval of the means that have an eta."""

    def link(self, mu: np.ndarray) -> np.ndarray:
        """Return eta = g(mu)."""
        raise NotImplementedError

    def inverse(self, eta: np.ndarray) -> np.ndarray:
        """Return the mean mu of the linear predictor eta."""
        raise NotImplementedError

    def inverse_derivative(self, eta: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Return d mu / d eta, given both eta and mu."""
        raise NotImplementedError

    def admissible(self, eta: np.ndarray) -> bool:
        """Say whether every eta has a mean."""
        return bool(np.isfinite(eta).all() and (not self.positive or (eta > 0).all()))


class Identity(Link):
    """eta = mu."""

    name = "identity"

    def link(self, mu):
        """Return eta = mu."""
        return mu

    def inverse(self, eta):
        """Return mu = eta."""
        return eta

    def inverse_derivative(self, eta, mu):
        """Return ones."""
        return np.ones_like(eta)


class Log(Link):
    """eta = log mu."""

    name = "log"
    mean_range = (0.0, np.inf)

    def link(self, mu):
        """Return eta = log mu."""
        return np.log(mu)

    def inverse(self, eta):
        """Return mu = exp eta."""
        return np.exp(np.minimum(eta, 700.0))

    def inverse_derivative(self, eta, mu):
        """Return mu."""
        return mu


class Logit(Link):
    """eta = log(mu / (1 - mu)), the log odds."""

    name = "logit"
    mean_range = (0.0, 1.0)

    def link(self, mu):
        """Return the log odds."""
        return special.logit(mu)

    def inverse(self, eta):
        """Return the probability."""
        return special.expit(eta)

    def inverse_derivative(self, eta, mu):
        """Return mu (1 - mu)."""
        return mu * (1.0 - mu)


class Probit(Link):
    """eta = the standard normal quantile of mu."""

    name = "probit"
    mean_range = (0.0, 1.0)

    def link(self, mu):
        """Return the normal quantile."""
        return special.ndtri(mu)

    def inverse(self, eta):
        """Return the normal distribution function."""
        return special.ndtr(eta)

    def inverse_derivative(self, eta, mu):
        """Return the normal density at eta."""
        return np.exp(-0.5 * eta * eta) / np.sqrt(2.0 * np.pi)


class Cloglog(Link):
    """eta = log(-log(1 - mu)): the proportional hazards link for grouped times."""

    name = "cloglog"
    mean_range = (0.0, 1.0)

    def link(self, mu):
        """Return log(-log(1 - mu))."""
        return np.log(-np.log1p(-mu))

    def inverse(self, eta):
        """Return 1 - exp(-exp eta)."""
        return -np.expm1(-np.exp(np.minimum(eta, 700.0)))

    def inverse_derivative(self, eta, mu):
        """Return exp(eta - exp eta)."""
        eta = np.minimum(eta, 700.0)
        return np.exp(eta - np.exp(eta))


class Loglog(Link):
    """eta = -log(-log mu)."""

    name = "loglog"
    mean_range = (0.0, 1.0)

    def link(self, mu):
        """Return -log(-log mu)."""
        return -np.log(-np.log(mu))

    def inverse(self, eta):
        """Return exp(-exp(-eta))."""
        return np.exp(-np.exp(np.minimum(-eta, 700.0)))

    def inverse_derivative(self, eta, mu):
        """Return exp(-eta - exp(-eta))."""
        minus = np.minimum(-eta, 700.0)
        return np.exp(minus - np.exp(minus))


class Cauchit(Link):
    """eta = the standard Cauchy quantile of mu."""

    name = "cauchit"
    mean_range = (0.0, 1.0)

    def link(self, mu):
        """Return tan(pi (mu - 1/2))."""
        return np.tan(np.pi * (mu - 0.5))

    def inverse(self, eta):
        """Return 1/2 + arctan(eta) / pi."""
        return 0.5 + np.arctan(eta) / np.pi

    def inverse_derivative(self, eta, mu):
        """Return the Cauchy density at eta."""
        return 1.0 / (np.pi * (1.0 + eta * eta))


class Inverse(Link):
    """eta = 1 / mu, the canonical link of the gamma family."""

    name = "inverse"
    mean_range = (0.0, np.inf)
    positive = True

    def link(self, mu):
        """Return 1 / mu."""
        return 1.0 / mu

    def inverse(self, eta):
        """Return 1 / eta."""
        return 1.0 / eta

    def inverse_derivative(self, eta, mu):
        """Return -1 / eta^2."""
        return -mu * mu


class InverseSquared(Link):
    """eta = 1 / mu^2, the canonical link of the inverse Gaussian family."""

    name = "inverse_squared"
    mean_range = (0.0, np.inf)
    positive = True

    def link(self, mu):
        """Return 1 / mu^2."""
        return 1.0 / (mu * mu)

    def inverse(self, eta):
        """Return eta^(-1/2)."""
        return 1.0 / np.sqrt(eta)

    def inverse_derivative(self, eta, mu):
        """Return -eta^(-3/2) / 2."""
        return -0.5 * mu**3


class Sqrt(Link):
    """eta = mu^(1/2)."""

    name = "sqrt"
    mean_range = (0.0, np.inf)
    positive = True

    def link(self, mu):
        """Return the square root."""
        return np.sqrt(mu)

    def inverse(self, eta):
        """Return eta^2."""
        return eta * eta

    def inverse_derivative(self, eta, mu):
        """Return 2 eta."""
        return 2.0 * eta


LINKS: dict[str, type[Link]] = {
    cls.name: cls for cls in (Identity, Log, Logit, Probit, Cloglog, Loglog, Cauchit, Inverse, InverseSquared, Sqrt)
}


def get_link(link: str | Link) -> Link:
    """Return the link of that name, or the link itself; an unknown name raises ValueError."""
    if isinstance(link, Link):
        return link
    if link not in LINKS:
        raise ValueError(f"link={link!r} is not known; choose one of {sorted(LINKS)} or pass a Link object.")
    return LINKS[link]()
