r"""What every engine returns: the criterion F = -log L at some parameters, its gradient, and its second derivative.

Parameters are ``[beta, free entries of T by term]``, T the lower triangular factor of Sigma = T T' in working
coordinates. An engine is a `Criterion`; the search and inference know no other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from skdep.glmm.rows import GlmmRows
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["Criterion", "Gradient", "State"]


@dataclass(frozen=True)
class State:
    """The criterion at some parameters.

    Parameters
    ----------
    beta : ndarray of shape (p,)
        Fixed effects.
    factors : list of ndarray of shape (q, q)
        Lower triangular T of each term.
    value : float
        -log L, without what does not depend on parameters.
    modes : list of ndarray of shape (q, n_levels)
        Modes of the spherical effects u of each term, b = T u.
    work : dict
        Intermediate results of the engine.
    """

    beta: np.ndarray
    factors: list[np.ndarray]
    value: float
    modes: list[np.ndarray]
    work: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Gradient:
    """First derivative of the criterion.

    Parameters
    ----------
    beta : ndarray of shape (p,)
        By the fixed effects.
    factors : list of ndarray of shape (q, q)
        By the entries of T of each term; entries above the diagonal are not used.
    sigma : list of ndarray of shape (q, q)
        Symmetric derivative G by Sigma of each term: the derivative by T is lower(2 G T), also where T is singular.
    """

    beta: np.ndarray
    factors: list[np.ndarray]
    sigma: list[np.ndarray]

    def packed(self, parameters: CovarianceParameters) -> np.ndarray:
        """Return the derivative by all free parameters (p + K,)."""
        return np.concatenate([self.beta, parameters.pack(self.factors)])


class Criterion(Protocol):
    """An engine."""

    rows: GlmmRows
    parameters: CovarianceParameters

    def value(self, beta: np.ndarray, factors: Sequence[np.ndarray], start: State | None = None) -> State:
        """Evaluate the criterion; modes are searched for from those of `start`.

        Raises ``numpy.linalg.LinAlgError`` where that cannot be done in floating point.
        """

    def gradient(self, state: State) -> Gradient:
        """Differentiate it, exactly: modes move with parameters."""

    def hessian(self, state: State) -> np.ndarray | None:
        """Return its exact second derivative (p + K, p + K), None where that is not at hand."""

    def curvature(self, state: State) -> np.ndarray:
        """Return an approximation of the second derivative (p + K, p + K), to begin a search with."""

    def scores(self, state: State, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
        """Return the gradient's share of each cluster (n_clusters, p + K), level weights included.

        `clusters` (n_rows,) are numbers of clusters that are independent: every factor is nested in them.
        """

    def conditional_variances(self, state: State) -> list[np.ndarray]:
        """Return the variance of b of each level (q, q, n_levels) by term, in working coordinates, at the mode."""
