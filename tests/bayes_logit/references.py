"""Posteriors of small logistic models by brute force: grids, importance samples, a Polya-Gamma Gibbs chain.

Slow and plain, from densities written with `scipy.stats`; nothing here knows of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Weighted:
    """A posterior as points with weights, and the logarithm of its integral."""

    points: np.ndarray
    weights: np.ndarray
    log_evidence: float = np.nan

    @property
    def mean(self) -> np.ndarray:
        """Means."""
        return self.weights @ self.points

    @property
    def cov(self) -> np.ndarray:
        """Covariance matrix."""
        centred = self.points - self.mean
        return (centred * self.weights[:, None]).T @ centred

    @property
    def sd(self) -> np.ndarray:
        """Standard deviations."""
        return np.sqrt(np.diag(self.cov))

    def quantiles(self, levels: Sequence[float] = LEVELS) -> np.ndarray:
        """Quantiles (len(levels), P)."""
        return np.column_stack([weighted_quantiles(column, self.weights, levels) for column in self.points.T])

    def of(self, function: Callable[[np.ndarray], np.ndarray]) -> Weighted:
        """Return the posterior of functions of the parameters."""
        values = np.asarray(function(self.points))
        return Weighted(values.reshape(len(values), -1), self.weights, self.log_evidence)


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Return quantiles of weighted numbers, half of the weight of each below it."""
    # equal but for rounding: those of a line of a grid
    _, first, place = np.unique(np.round(values, 9), return_index=True, return_inverse=True)
    weights = np.bincount(place, weights)
    mass = np.cumsum(weights)
    return np.interp(levels, (mass - 0.5 * weights) / mass[-1], values[first])


def _weighted(points: np.ndarray, log_weights: np.ndarray) -> Weighted:
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    total = weights.sum()
    return Weighted(points, weights / total, float(largest + np.log(total)))


def log_likelihood(X, y, points, weights=None, offset=None):
    """Return Bernoulli log-likelihoods (n,) at coefficients (n, p); X has the column of ones, if any."""
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    o = np.zeros(len(y)) if offset is None else np.asarray(offset, dtype=float)
    total = np.zeros(len(points))
    for x, yi, wi, oi in zip(X, y, w, o, strict=True):
        eta = points @ x + oi
        total += wi * (yi * eta - np.logaddexp(0.0, eta))
    return total


def binomial_log_likelihood(design, successes, trials, points):
    """Return log-likelihoods of sequences with so many successes: no binomial coefficients."""
    total = np.zeros(len(points))
    for x, k, n in zip(np.asarray(design, dtype=float), successes, trials, strict=True):
        eta = points @ x
        total += k * eta - n * np.logaddexp(0.0, eta)
    return total


def whitening(log_density, n_params, start=None, step=0.1):
    """Return the mode of a density and a square root of its inverse curvature, by differences over wide steps.

    They need not be exact: what is integrated with their help is. Wide steps do not see kinks.
    """
    start = np.zeros(n_params) if start is None else np.asarray(start, dtype=float)

    def value(x):
        return -float(log_density(x[None])[0])

    found = optimize.minimize(value, start, method="BFGS")
    if n_params <= 3:
        found = optimize.minimize(value, found.x, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6})
    mode = found.x
    moves = step * np.eye(n_params)
    hessian = np.array(
        [
            [
                (value(mode + a + b) - value(mode + a - b) - value(mode - a + b) + value(mode - a - b)) / (4 * step**2)
                for b in moves
            ]
            for a in moves
        ]
    )
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    return mode, vectors / np.sqrt(np.maximum(values, 1e-3))


def grid(log_density, n_params, n_points=201, reach=4.0, start=None) -> Weighted:
    """Integrate a density over a grid around its mode, finer there than in the tails.

    Whitened coordinates are sinh(t), and t is on a regular grid between -reach and reach.
    """
    mode, root = whitening(log_density, n_params, start)
    t = np.linspace(-reach, reach, n_points)
    mesh = np.stack(np.meshgrid(*[t] * n_params, indexing="ij"), axis=-1).reshape(-1, n_params)
    points = mode + np.sinh(mesh) @ root.T
    log_jacobian = np.log(np.cosh(mesh)).sum(axis=1) + np.linalg.slogdet(root)[1] + n_params * np.log(t[1] - t[0])
    return _weighted(points, log_density(points) + log_jacobian)


def importance(log_density, n_params, n_points, rng, df=8.0, start=None) -> Weighted:
    """Sample a density by importance, from a multivariate t distribution around its mode."""
    mode, root = whitening(log_density, n_params, start)
    draws = stats.multivariate_t(mode, root @ root.T, df=df)
    points = draws.rvs(n_points, random_state=rng)
    result = _weighted(points, log_density(points) - draws.logpdf(points))
    return Weighted(points, result.weights, result.log_evidence - np.log(n_points))


def random_intercept_log_likelihood(eta, k, n, groups, sd, n_nodes=161, reach=8.5):
    """Return marginal log-likelihoods (D,), intercepts integrated by the trapezoidal rule over z = b / sd.

    `eta` (D, n_rows) holds the linear predictors without intercepts, `k` and `n` successes and trials of the rows,
    `sd` (D,) the standard deviations.
    """
    z = np.linspace(-reach, reach, n_nodes)
    log_node = stats.norm.logpdf(z) + np.log(z[1] - z[0])
    total = np.zeros(len(sd))
    b = sd[:, None] * z
    for group in np.unique(groups):
        inside = np.broadcast_to(log_node, b.shape).copy()
        for row in np.flatnonzero(groups == group):
            at = eta[:, row, None] + b
            inside += k[row] * at - n[row] * np.logaddexp(0.0, at)
        largest = inside.max(axis=1)
        total += largest + np.log(np.exp(inside - largest[:, None]).sum(axis=1))
    return total


def random_intercept_moments(eta, k, n, groups, sd, n_nodes=161, reach=8.5):
    """Return means of the intercepts, and of their squares, given the parameters: both (D, n_groups)."""
    z = np.linspace(-reach, reach, n_nodes)
    b = sd[:, None] * z
    first, second = [], []
    for group in np.unique(groups):
        inside = np.broadcast_to(-0.5 * z**2, b.shape).copy()
        for row in np.flatnonzero(groups == group):
            at = eta[:, row, None] + b
            inside += k[row] * at - n[row] * np.logaddexp(0.0, at)
        mass = np.exp(inside - inside.max(axis=1, keepdims=True))
        mass /= mass.sum(axis=1, keepdims=True)
        first.append((mass * b).sum(axis=1))
        second.append((mass * b**2).sum(axis=1))
    return np.column_stack(first), np.column_stack(second)


def two_effects_log_likelihood(eta, k, n, groups, Z, T, n_nodes=29, reach=5.5):
    """Return marginal log-likelihoods (D,) with effects T u of the columns Z (n_rows, 2), u integrated on a mesh."""
    z = np.linspace(-reach, reach, n_nodes)
    mesh = np.stack(np.meshgrid(z, z, indexing="ij")).reshape(2, -1)
    log_node = stats.norm.logpdf(mesh).sum(axis=0) + 2 * np.log(z[1] - z[0])
    b = T @ mesh
    total = np.zeros(len(T))
    for group in np.unique(groups):
        inside = np.broadcast_to(log_node, (len(T), mesh.shape[1])).copy()
        for row in np.flatnonzero(groups == group):
            at = eta[:, row, None] + Z[row] @ b
            inside += k[row] * at - n[row] * np.logaddexp(0.0, at)
        largest = inside.max(axis=1)
        total += largest + np.log(np.exp(inside - largest[:, None]).sum(axis=1))
    return total


def mean_probability(eta, sd, n_nodes=161, reach=8.5):
    """Return E[expit(eta + b)] (D,) over intercepts b of standard deviation sd."""
    z = np.linspace(-reach, reach, n_nodes)
    return (1.0 / (1.0 + np.exp(-(eta[:, None] + sd[:, None] * z)))) @ (stats.norm.pdf(z) * (z[1] - z[0]))


def half_t_log_density_of_log(log_sd, df, scale):
    """Return the log density of log sd, sd half-t."""
    return np.log(2.0) + stats.t.logpdf(np.exp(log_sd), df, scale=scale) + log_sd


def half_normal_log_density_of_log(log_sd, scale):
    """Return the log density of log sd, sd half-normal."""
    return stats.halfnorm.logpdf(np.exp(log_sd), scale=scale) + log_sd


def gibbs_flat(X, y, prior_mean, prior_sd, n_draws, rng, warm_up=500):
    """Return draws (n_draws, p) under independent normal priors, by Polya-Gamma augmentation."""
    from polyagamma import random_polyagamma

    precision = np.diag(1.0 / np.asarray(prior_sd, dtype=float) ** 2)
    right = X.T @ (y - 0.5) + precision @ prior_mean
    beta, out = np.zeros(X.shape[1]), np.empty((n_draws, X.shape[1]))
    for step in range(-warm_up, n_draws):
        omega = random_polyagamma(1.0, X @ beta, random_state=rng)
        beta = _draw_normal((X.T * omega) @ X + precision, right, rng)
        if step >= 0:
            out[step] = beta
    return out


def _draw_normal(precision, right, rng):
    root = np.linalg.cholesky(precision)
    return np.linalg.solve(root.T, np.linalg.solve(root, right) + rng.standard_normal(len(right)))


def monte_carlo_error(draws: np.ndarray, n_batches: int = 40) -> np.ndarray:
    """Return standard errors of the means of chains (n_draws, ...), by batch means."""
    size = len(draws) // n_batches
    means = draws[: size * n_batches].reshape(n_batches, size, *draws.shape[1:]).mean(axis=1)
    return means.std(axis=0, ddof=1) / np.sqrt(n_batches)
