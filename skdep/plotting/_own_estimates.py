"""Coefficients of every cluster from its own rows alone: least squares, or logistic regression by Firth's penalty.

All clusters are worked on at once, by sums of rows within them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from skdep.clusters import Clusters

__all__ = ["own_least_squares", "own_logits"]

# Columns that are this nearly dependent within a cluster have no coefficients of their own there.
_RANK_TOLERANCE = 1e-9
_MOST_STEPS, _MOST_HALVINGS, _LONGEST_STEP, _TOLERANCE = 200, 25, 4.0, 1e-10


@dataclass(frozen=True)
class _Scaled:
    """Columns in units of each cluster, centred where it has an intercept, so that sums of squares lose no digits.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, q)
        Columns, rows in cluster order.
    clusters : Clusters
        Clusters of such rows.
    weights : ndarray of shape (n_rows,)
        Weights.
    centre, scale : ndarray of shape (n_clusters, q)
        What was taken off and divided by; no centre is taken off the constant.
    determined : ndarray of bool of shape (n_clusters,)
        Whether the columns of a cluster are independent.
    constant : int or None
        Which column is the constant.
    """

    Z: np.ndarray
    clusters: Clusters
    weights: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    determined: np.ndarray
    constant: int | None

    @classmethod
    def of(cls, Z: np.ndarray, clusters: Clusters, weights: np.ndarray, constant: int | None) -> _Scaled:
        """Scale columns, rows in cluster order."""
        total = np.maximum(clusters.sum(weights), np.finfo(float).tiny)
        size = np.sqrt(clusters.sum(weights[:, None] * Z**2) / total[:, None])
        centre = np.zeros_like(size)
        if constant is not None:
            centre = clusters.sum(weights[:, None] * Z) / total[:, None]
            centre[:, constant] = 0.0
        Z = Z - clusters.spread(centre)
        scale = np.sqrt(clusters.sum(weights[:, None] * Z**2) / total[:, None])
        varies = scale > _RANK_TOLERANCE * size
        scale = np.where(varies, scale, 1.0)
        Z = Z / clusters.spread(scale)
        gram = _products(Z, clusters, weights) / total[:, None, None]
        determined = varies.all(axis=1) & (np.linalg.eigvalsh(gram)[:, 0] > _RANK_TOLERANCE)
        return cls(Z, clusters, weights, centre, scale, determined, constant)

    def in_units(self, coefficients: np.ndarray) -> np.ndarray:
        """Return coefficients (n_clusters, q) of the columns as they came; NaN where they are not determined."""
        result = coefficients / self.scale
        if self.constant is not None:
            result[:, self.constant] -= (result * self.centre).sum(axis=1)
        result[~self.determined] = np.nan
        return result

    def solvable(self, matrices: np.ndarray) -> np.ndarray:
        """Return matrices (n_clusters, q, q) with the unit matrix where columns are dependent."""
        return np.where(self.determined[:, None, None], matrices, np.eye(matrices.shape[-1]))


def own_least_squares(
    Z: np.ndarray, y: np.ndarray, codes: np.ndarray, n_clusters: int, weights: np.ndarray, constant: int | None
) -> np.ndarray:
    """Regress y on columns within each cluster.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, q)
        Columns.
    y : ndarray of shape (n_rows,)
        Outcome, less what is held.
    codes : ndarray of shape (n_rows,)
        Cluster of each row.
    n_clusters : int
        Number of clusters.
    weights : ndarray of shape (n_rows,)
        Weights.
    constant : int or None
        Which column is the constant.

    Returns
    -------
    coefficients : ndarray of shape (n_clusters, q)
        NaN where a cluster does not determine them.
    """
    clusters = Clusters.from_codes(codes, np.arange(n_clusters))
    Z, y, weights = clusters.sort(Z), clusters.sort(y), clusters.sort(weights)
    scaled = _Scaled.of(Z, clusters, weights, constant)
    gram = scaled.solvable(_products(scaled.Z, clusters, weights))
    right = clusters.sum((weights * y)[:, None] * scaled.Z)
    return scaled.in_units(np.linalg.solve(gram, right[..., None])[..., 0])


def own_logits(
    Z: np.ndarray,
    y: np.ndarray,
    held: np.ndarray,
    codes: np.ndarray,
    n_clusters: int,
    weights: np.ndarray,
    constant: int | None,
    *,
    penalised: bool = True,
) -> np.ndarray:
    """Fit a logistic regression to each cluster, with Firth's penalty: finite also where all outcomes are the same.

    Of a constant alone, nothing held, it is log((s + 1/2) / (n - s + 1/2)) with s successes of n.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, q)
        Columns.
    y : ndarray of shape (n_rows,)
        Outcomes, 0 and 1.
    held : ndarray of shape (n_rows,)
        Known part of the log odds.
    codes : ndarray of shape (n_rows,)
        Cluster of each row.
    n_clusters : int
        Number of clusters.
    weights : ndarray of shape (n_rows,)
        Number of times that each row counts.
    constant : int or None
        Which column is the constant.
    penalised : bool, default=True
        Whether to penalise; else the likelihood is maximised, whose maximum may be infinite.

    Returns
    -------
    coefficients : ndarray of shape (n_clusters, q)
        NaN where a cluster does not determine them.

    References
    ----------
    Firth (1993), Bias reduction of maximum likelihood estimates, Biometrika 80, 27-38.
    """
    clusters = Clusters.from_codes(codes, np.arange(n_clusters))
    Z, y, held, weights = (clusters.sort(part) for part in (Z, y, held, weights))
    scaled = _Scaled.of(Z, clusters, weights, constant)
    return scaled.in_units(_LogitProblem(scaled, y, held, float(penalised)).maximise())


@dataclass(frozen=True)
class _LogitProblem:
    """Likelihoods of all clusters by scaled coefficients (n_clusters, q); `penalty` is 1 with Firth's, else 0."""

    scaled: _Scaled
    y: np.ndarray
    held: np.ndarray
    penalty: float

    def maximise(self) -> np.ndarray:
        """Return the maxima, by Fisher scoring; clusters that are done are left out of further steps."""
        result = np.zeros(self.scaled.scale.shape)
        problem, numbers, found = self, np.arange(len(result)), result.copy()
        value = problem._value(found)
        for _ in range(_MOST_STEPS):
            found, value, length = problem._advance(found, value)
            result[numbers] = found
            moving = length >= _TOLERANCE
            if not moving.any():
                break
            if 2 * np.count_nonzero(moving) < len(moving):
                problem, numbers = problem._of(moving), numbers[moving]
                found, value = found[moving], value[moving]
        return result

    def _advance(self, found: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return coefficients and objectives after a step, halved until the objective rises, and its length."""
        step = self._step(found)
        step *= _LONGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), _LONGEST_STEP)
        trial, trial_value = found + step, self._value(found + step)
        for _ in range(_MOST_HALVINGS):
            worse = trial_value < value - 1e-12 * (1.0 + np.abs(value))
            if not worse.any():
                break
            step[worse] *= 0.5
            trial = found + step
            trial_value = self._value(trial)
        return trial, trial_value, np.abs(step).max(axis=1)

    def _of(self, kept: np.ndarray) -> _LogitProblem:
        """Return the problem of some clusters."""
        scaled = self.scaled
        rows = scaled.clusters.spread(kept)
        sizes = scaled.clusters.sizes[kept]
        clusters = Clusters.from_codes(np.repeat(np.arange(len(sizes)), sizes), np.arange(len(sizes)))
        part = _Scaled(
            scaled.Z[rows],
            clusters,
            scaled.weights[rows],
            scaled.centre[kept],
            scaled.scale[kept],
            scaled.determined[kept],
            scaled.constant,
        )
        return _LogitProblem(part, self.y[rows], self.held[rows], self.penalty)

    def _predictor(self, coefficients: np.ndarray) -> np.ndarray:
        return self.held + np.einsum("nq,nq->n", self.scaled.Z, self.scaled.clusters.spread(coefficients))

    def _information(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        probability = expit(eta)
        variance = self.scaled.weights * probability * expit(-eta)
        information = self.scaled.solvable(_products(self.scaled.Z, self.scaled.clusters, variance))
        return probability, variance, information

    def _value(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the log-likelihood plus half the logarithm of the information's determinant (n_clusters,)."""
        eta = self._predictor(coefficients)
        rows = self.scaled.weights * (self.y * eta - np.logaddexp(0.0, eta))
        determinant = np.linalg.slogdet(self._information(eta)[2])[1]
        return np.where(self.scaled.determined, self.scaled.clusters.sum(rows) + 0.5 * self.penalty * determinant, 0.0)

    def _step(self, coefficients: np.ndarray) -> np.ndarray:
        Z, clusters = self.scaled.Z, self.scaled.clusters
        probability, variance, information = self._information(self._predictor(coefficients))
        inverse = np.linalg.inv(information)
        leverage = variance * np.einsum("na,nab,nb->n", Z, clusters.spread(inverse), Z, optimize=True)
        residual = self.scaled.weights * (self.y - probability) + self.penalty * leverage * (0.5 - probability)
        step = np.einsum("kab,kb->ka", inverse, clusters.sum(residual[:, None] * Z))
        return np.where(self.scaled.determined[:, None], step, 0.0)


def _products(Z: np.ndarray, clusters: Clusters, weights: np.ndarray) -> np.ndarray:
    """Return Z'WZ of each cluster (n_clusters, q, q)."""
    q = Z.shape[1]
    rows = (weights[:, None] * Z)[:, :, None] * Z[:, None, :]
    return clusters.sum(rows.reshape(len(Z), q * q)).reshape(-1, q, q)
