"""The no-U-turn sampler over parameters alone, random effects integrated: for one factor, where pairs do not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.bayes.mode import PosteriorMode

__all__ = ["PointCoordinates", "PointDensity"]


@dataclass(frozen=True)
class PointCoordinates:
    """Coordinates in which a posterior of points is about standard normal.

    Parameters
    ----------
    centre : ndarray of shape (P,)
        The mode.
    root : ndarray of shape (P, P)
        A square root of the inverse curvature there.
    target_accept : float
        Share of proposals to be accepted.
    """

    centre: np.ndarray
    root: np.ndarray
    target_accept: float = 0.9

    @classmethod
    def about(cls, mode: PosteriorMode) -> PointCoordinates:
        """Return the coordinates about a mode."""
        return cls(mode.point, np.linalg.inv(np.linalg.cholesky(mode.precision)).T)

    def to_long(self, z: np.ndarray) -> np.ndarray:
        """Return the points of coordinates (..., P)."""
        return self.centre + z @ self.root.T

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """Turn a gradient by points into that by coordinates."""
        return gradient @ self.root


@dataclass(frozen=True)
class PointDensity:
    """Likelihood times prior with its gradient.

    Parameters
    ----------
    target : MultilevelTarget
        The marginal likelihood, and the prior.
    """

    target: Any

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log density and gradient (P,); -inf where the likelihood cannot be computed."""
        prior = self.target.prior
        try:
            value, gradient = self.target.value_and_gradient(point)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros_like(point)
        return value + float(prior.log_density(point)), gradient + prior.gradient(point)
