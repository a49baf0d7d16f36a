"""A slow, literal twin of the linear mixed model under sampling weights at two levels: loops over clusters.

With clusters j the levels of the first factor, in which all others are nested, weights g_j of clusters, and weights
w_ij of rows that multiply log densities, the pseudo-likelihood is

    log PL = sum_j g_j log integral exp(sum_i w_ij log p(y_ij | b)) phi(b) db,    p = N(x'beta + z'b, sigma2).

Since p^w is the density of variance sigma2 / w up to a factor free of b, the integral is a normal density with
V_j = Z_j G Z_j' + sigma2 W_j^{-1}, times that factor. `Design.precision` holds the (rescaled) weights of rows.

References
----------
Pfeffermann, Skinner, Holmes, Goldstein and Rasbash (1998), J. Royal Statistical Society B 60, 23-40: scaling.
Rabe-Hesketh and Skrondal (2006), J. Royal Statistical Society A 169, 805-827: pseudo-likelihood, sandwich.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from .dense import Design, climb, factors, marginal_covariance, pack


def scaled_weights(weights: np.ndarray, codes: np.ndarray, scaling: str) -> np.ndarray:
    """Return level-1 weights, made to sum to n_j ("size") or (sum w)^2 / sum w^2 ("effective") in every group.

    Under "none" only their mean over all rows is made 1, so that units are no matter there either.
    """
    scaled = np.array(weights, dtype=float)
    if scaling == "none":
        return scaled / scaled[scaled > 0].mean()
    for j in np.unique(codes):
        w = scaled[codes == j]
        scaled[codes == j] *= np.sum(w > 0) / w.sum() if scaling == "size" else w.sum() / np.sum(w**2)
    return scaled


@lru_cache(maxsize=4)
def weighted_rows(design: Design) -> Design:
    """Return the design without rows of weight 0."""
    kept = np.flatnonzero(design.W > 0)
    terms = tuple(replace(term, codes=term.codes[kept], Z=term.Z[kept]) for term in design.terms)
    return Design(design.X[kept], design.y[kept], terms, design.W[kept])


def clusters_of(design: Design, theta) -> list[tuple[np.ndarray, ...]]:
    """Return X, y, w and V of every level of the first, outermost, factor; rows of weight 0 are not there."""
    present = weighted_rows(design)
    V, found = marginal_covariance(present, theta), []
    for j in range(design.terms[0].n_levels):
        rows = np.flatnonzero(present.terms[0].codes == j)
        found.append((present.X[rows], present.y[rows], present.W[rows], V[np.ix_(rows, rows)]))
    return found


def cluster_loglik(residual, w, V, sigma2) -> float:
    """Return log integral prod_i p(y_i | b)^{w_i} phi(b) db in closed form.

    log N(r; 0, V) + sum_i [ (1 - w_i) / 2 log(2 pi sigma2) - 1/2 log w_i ].
    """
    quadratic = residual @ np.linalg.solve(V, residual)
    normal = -0.5 * (len(w) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + quadratic)
    return normal + np.sum((1 - w) / 2 * np.log(2 * np.pi * sigma2) - np.log(w) / 2)


def integral_by_quadrature(residual, w, Z, Sigma, sigma2, n_nodes: int = 80) -> float:
    """Return the same for one factor by Gauss-Hermite quadrature on a product grid, b = sqrt(2) T x, Sigma = T T'."""
    q = Z.shape[1]
    nodes, weights = np.polynomial.hermite.hermgauss(n_nodes)
    grid = np.stack(np.meshgrid(*[nodes] * q, indexing="ij"), axis=-1).reshape(-1, q)
    log_weights = sum(np.meshgrid(*[np.log(weights)] * q, indexing="ij")).ravel() - q / 2 * np.log(np.pi)
    b = np.sqrt(2) * grid @ np.linalg.cholesky(Sigma).T
    log_densities = -0.5 * (np.log(2 * np.pi * sigma2) + (residual[:, None] - Z @ b.T) ** 2 / sigma2)
    return float(np.logaddexp.reduce(w @ log_densities + log_weights))


def pseudo_loglik(design: Design, theta, beta, cluster_weights) -> float:
    """Return log PL at any theta and beta."""
    return sum(
        g * cluster_loglik(y - X @ beta, w, V, theta[-1])
        for g, (X, y, w, V) in zip(cluster_weights, clusters_of(design, theta))
    )


def pseudo_gls(design: Design, theta, cluster_weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the beta that solves sum_j g_j X_j'V_j^{-1}(y_j - X_j beta) = 0, that matrix, and the terms of the sum."""
    clusters = clusters_of(design, theta)
    halves = [g * np.linalg.solve(V, X) for g, (X, _, _, V) in zip(cluster_weights, clusters)]
    information = sum(half.T @ X for half, (X, *_) in zip(halves, clusters))
    beta = np.linalg.solve(information, sum(half.T @ y for half, (_, y, *_) in zip(halves, clusters)))
    scores = [half.T @ (y - X @ beta) for half, (X, y, *_) in zip(halves, clusters)]
    return beta, information, np.array(scores)


def profiled_pseudo_theta(design: Design, relative, cluster_weights) -> np.ndarray:
    """Return theta of relative covariances, with sigma2 = sum_j g_j r_j'V_0j^{-1}r_j / sum_j g_j sum_i w_ij."""
    unit = pack(design, relative, 1.0)
    beta, _, _ = pseudo_gls(design, unit, cluster_weights)
    quadratic = total = 0.0
    for g, (X, y, w, V) in zip(cluster_weights, clusters_of(design, unit)):
        r = y - X @ beta
        quadratic += g * r @ np.linalg.solve(V, r)
        total += g * w.sum()
    return quadratic / total * unit


def maximise_pseudo(design: Design, cluster_weights, n_starts: int = 7) -> tuple[np.ndarray, np.ndarray, float]:
    """Return theta and beta of the greatest pseudo-likelihood, and its logarithm; small problems only."""

    def at(entries):
        relative = [T @ T.T for T in factors(design, entries)]
        theta = profiled_pseudo_theta(design, relative, cluster_weights)
        beta = pseudo_gls(design, theta, cluster_weights)[0]
        return theta, beta, pseudo_loglik(design, theta, beta, cluster_weights)

    return at(climb(design, lambda entries: at(entries)[2], n_starts=n_starts))


def pseudo_sandwich(design: Design, theta, cluster_weights) -> np.ndarray:
    """Return the sandwich of beta over clusters, H^{-1} [sum_j s_j s_j'] H^{-1}, without small-sample factor.

    The expected second derivative in beta and theta is 0, so that beta's block stands alone.
    """
    _, information, scores = pseudo_gls(design, theta, cluster_weights)
    bread = np.linalg.inv(information)
    return bread @ scores.T @ scores @ bread
