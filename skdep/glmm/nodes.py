"""Nodes and weights of Gauss-Hermite rules for a standard normal variable, and their products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["HermiteRule", "hermite_rule"]


@dataclass(frozen=True)
class HermiteRule:
    """A product rule for q independent standard normal variables, the mean of f being sum of weight times f(node).

    Parameters
    ----------
    nodes : ndarray of shape (q, m)
        Nodes, symmetric about zero.
    log_weights : ndarray of shape (m,)
        Logarithms of the weights over the normal density, constants of it left out: log weight + |node|^2 / 2.
    """

    nodes: np.ndarray
    log_weights: np.ndarray

    @property
    def n_nodes(self) -> int:
        """Number of nodes of the product."""
        return len(self.log_weights)


@lru_cache(maxsize=64)
def hermite_rule(k: int, q: int) -> HermiteRule:
    """Return the product rule of k nodes in each of q dimensions.

    Parameters
    ----------
    k : int
        Nodes per dimension.
    q : int
        Dimensions.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(k)
    nodes = 0.5 * (nodes - nodes[::-1])
    weights = 0.5 * (weights + weights[::-1])
    kept = weights > 0.0  # far out in a large rule weights underflow
    nodes, weights = nodes[kept], weights[kept] / weights[kept].sum()
    log_weights = np.log(weights) + 0.5 * nodes**2
    grid = np.meshgrid(*[nodes] * q, indexing="ij")
    total = sum(np.meshgrid(*[log_weights] * q, indexing="ij"))
    return HermiteRule(np.array([part.ravel() for part in grid]), np.ravel(total))
