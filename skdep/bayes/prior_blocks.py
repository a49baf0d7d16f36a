"""Parts of the prior density of a point, independent of each other: each knows its places in the point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from skdep.bayes.distribution import stack
from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.scale_priors import LogScale

__all__ = ["Block", "Elementwise", "Joint", "Latent", "elementwise_blocks"]


class Block(Protocol):
    """A part of the prior."""

    @property
    def places(self) -> np.ndarray:
        """Its places in the point."""

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return log densities (...) of the entries x (..., k) at the places."""

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return their gradients (..., k)."""

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Return their second derivatives (..., k, k)."""

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Return positive semidefinite curvatures (..., k, k) of minus the log density, for Newton steps."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw entries (n, k)."""

    def smoothed(self) -> Block:
        """Return a block that is close to it and has two derivatives everywhere."""


@dataclass(frozen=True, eq=False)
class Elementwise:
    """Independent parameters with priors of one class.

    Parameters
    ----------
    places : ndarray of int of shape (k,)
        Places in the point.
    prior : object
        The stacked prior.
    """

    places: np.ndarray
    prior: Any

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the sum of the log densities."""
        return self.prior.log_density(x).sum(axis=-1)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradients."""
        return self.prior.gradient(x)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Return diagonal matrices."""
        return self.prior.second_derivative(x)[..., None] * np.eye(len(self.places))

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Return diagonal matrices."""
        return self.prior.curvature(x)[..., None] * np.eye(len(self.places))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw the parameters."""
        return self.prior.sample(rng, (n, len(self.places)))

    def smoothed(self) -> Elementwise:
        """Return the block of the smoothed prior."""
        return replace(self, prior=self.prior.smoothed())


@dataclass(frozen=True, eq=False)
class Joint:
    """Jointly normal parameters.

    Parameters
    ----------
    places : ndarray of int of shape (k,)
        Places in the point.
    prior : MultivariateNormal
        Their prior.
    """

    places: np.ndarray
    prior: MultivariateNormal

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log densities."""
        return self.prior.log_density(x)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradients."""
        return self.prior.gradient(x)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Return minus the precision matrix at every point."""
        return np.broadcast_to(-self.prior.precision, (*x.shape[:-1], len(self.places), len(self.places)))

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Return the precision matrix at every point."""
        return -self.hessian(x)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw the parameters."""
        return self.prior.sample(rng, n)

    def smoothed(self) -> Joint:
        """Return the block itself."""
        return self


@dataclass(frozen=True, eq=False)
class Latent:
    """Slopes under a horseshoe: the point has standard normal z in place of the slopes, and latent scales.

    Parameters
    ----------
    places : ndarray of int of shape (2 k + 2,)
        Places of z, then of the latent scales.
    prior : Horseshoe
        The prior.
    factors : ndarray of shape (k,)
        Working slopes per slope that the prior speaks of.
    """

    places: np.ndarray
    prior: Horseshoe
    factors: np.ndarray

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log densities."""
        return self.prior.log_density(x)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradients."""
        return self.prior.gradient(x)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Raise: only samplers that need no second derivatives take this prior."""
        raise NotImplementedError("The horseshoe is for samplers that need first derivatives only.")

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Raise: only samplers that need no second derivatives take this prior."""
        return self.hessian(x)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw z and the latent scales."""
        return self.prior.sample_raw(rng, n, len(self.factors))

    def smoothed(self) -> Latent:
        """Return the block itself."""
        return self

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """Return working slopes (..., k)."""
        return self.prior.coefficients(x) * self.factors

    def pull_back(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Turn gradients (..., k) by working slopes into gradients (..., 2 k + 2) by z and the latent scales."""
        return self.prior.pull_back(x, gradient * self.factors)


def elementwise_blocks(places: Sequence[int], priors: Sequence[Any]) -> list[Block]:
    """Combine independent priors into one block for each of their classes."""
    found: dict[Any, list[int]] = {}
    for number, prior in enumerate(priors):
        kind = (LogScale, type(prior.of)) if isinstance(prior, LogScale) else type(prior)
        found.setdefault(kind, []).append(number)
    blocks: list[Block] = []
    for numbers in found.values():
        members = [priors[number] for number in numbers]
        combined = LogScale.stack(members) if isinstance(members[0], LogScale) else stack(members)
        blocks.append(Elementwise(np.array([places[number] for number in numbers]), combined))
    return blocks
