"""Simulated data: binary outcomes whose marginal model is exactly logistic, in clusters of correlated rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

__all__ = ["Data", "clustered_binary", "independent_binary", "true_coefficients"]


@dataclass(frozen=True)
class Data:
    """Rows sorted by cluster, and by time within it, as some peers demand."""

    X: np.ndarray  # (n_rows, n_features), without a column for the intercept
    y: np.ndarray  # (n_rows,) of 0.0 and 1.0
    groups: np.ndarray  # (n_rows,) numbers of clusters
    time: np.ndarray  # (n_rows,) 0, 1, ... within each cluster

    def with_intercept(self) -> np.ndarray:
        """Return the design with a leading column of ones (n_rows, 1 + n_features)."""
        return np.column_stack([np.ones(len(self.X)), self.X])


def true_coefficients(n_features: int) -> np.ndarray:
    """Return ``[intercept, *coef]``: none near zero, so that relative differences mean something."""
    signs = np.where(np.arange(n_features) % 2, -1.0, 1.0)
    return np.concatenate([[-0.5], signs / np.sqrt(n_features)])


def clustered_binary(
    n_clusters: int,
    cluster_size: int,
    n_features: int,
    *,
    correlation: float = 0.3,
    seed: int | np.random.SeedSequence = 0,
) -> Data:
    """Draw clusters of equal size; the last feature is constant within clusters.

    A normal variable with the given correlation within clusters is cut where the outcome has its logistic probability,
    so that the coefficients of the marginal model are `true_coefficients`, whatever the correlation.
    """
    rng = np.random.default_rng(seed)
    n_rows = n_clusters * cluster_size
    groups = np.repeat(np.arange(n_clusters), cluster_size)
    X = rng.standard_normal((n_rows, n_features))
    X[:, -1] = rng.standard_normal(n_clusters)[groups]
    latent = np.sqrt(1.0 - correlation) * rng.standard_normal(n_rows)
    latent += np.sqrt(correlation) * rng.standard_normal(n_clusters)[groups]
    intercept, *coef = true_coefficients(n_features)
    y = (ndtr(latent) < expit(intercept + X @ np.array(coef))).astype(float)
    return Data(X, y, groups, np.tile(np.arange(cluster_size), n_clusters))


def independent_binary(n_rows: int, n_features: int, *, seed: int = 0) -> Data:
    """Draw rows that are clusters of their own."""
    return clustered_binary(n_rows, 1, n_features, correlation=0.0, seed=seed)
