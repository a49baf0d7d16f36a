"""A slow, literal twin of the linear mixed model under sampling weights at two levels: loops over groups.

For one factor, with group weights g_j and level-1 weights w_ij that multiply log densities, the pseudo-likelihood is

    log PL = sum_j g_j log integral exp(sum_i w_ij log p(y_ij | b)) phi(b; 0, Sigma) db,   p = N(x'beta + z'b, sigma2).

Since p^w is the density of variance sigma2 / w up to a factor free of b, the integral is a normal density with
V_j = Z_j Sigma Z_j' + sigma2 W_j^{-1}, times that factor. `Design.precision` holds the (rescaled) level-1 weights.

References
----------
Pfeffermann, Skinner, Holmes, Goldstein and Rasbash (1998), J. Royal Statistical Society B 60, 23-40: scaling.
Rabe-Hesketh and Skrondal (2006), J. Royal Statistical Society A 169, 805-827: pseudo-likelihood, sandwich.
"""

from __future__ import annotations

import numpy as np

from .dense import Design, climb, factors, pack, unpack


def scaled_weights(weights: np.ndarray, codes: np.ndarray, scaling: str) -> np.ndarray:
    """Return level-1 weights, made to sum to n_j ("size") or (sum w)^2 / sum w^2 ("effective") in every group."""
    scaled = np.array(weights, dtype=float)
    for j in np.unique(codes):
        w = scaled[codes == j]
        if scaling == "size":
            scaled[codes == j] *= np.sum(w > 0) / w.sum()
        elif scaling == "effective":
            scaled[codes == j] *= w.sum() / np.sum(w**2)
    return scaled


def groups_of(design: Design) -> list[tuple[np.ndarray, ...]]:
    """Return X, y, Z, w of every group; rows of weight 0 are not there."""
    (term,) = design.terms
    found = []
    for j in range(term.n_levels):
        rows = (term.codes == j) & (design.W > 0)
        found.append((design.X[rows], design.y[rows], term.Z[rows], design.W[rows]))
    return found


def group_loglik(y, mean, Z, w, Sigma, sigma2) -> float:
    """Return log integral prod_i p(y_i | b)^{w_i} phi(b) db in closed form.

    log N(r; 0, V) + sum_i [ (1 - w_i) / 2 log(2 pi sigma2) - 1/2 log w_i ].
    """
    V, r = Z @ Sigma @ Z.T + sigma2 * np.diag(1 / w), y - mean
    normal = -0.5 * (len(y) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r))
    return normal + np.sum((1 - w) / 2 * np.log(2 * np.pi * sigma2) - np.log(w) / 2)


def group_loglik_by_quadrature(y, mean, Z, w, Sigma, sigma2, n_nodes: int = 80) -> float:
    """Return the same integral by Gauss-Hermite quadrature on a product grid, b = sqrt(2) T x with Sigma = T T'."""
    q = Z.shape[1]
    nodes, weights = np.polynomial.hermite.hermgauss(n_nodes)
    grid = np.stack(np.meshgrid(*[nodes] * q, indexing="ij"), axis=-1).reshape(-1, q)
    log_weights = sum(np.meshgrid(*[np.log(weights)] * q, indexing="ij")).ravel() - q / 2 * np.log(np.pi)
    b = np.sqrt(2) * grid @ np.linalg.cholesky(Sigma).T
    residuals = (y - mean)[:, None] - Z @ b.T
    log_densities = -0.5 * (np.log(2 * np.pi * sigma2) + residuals**2 / sigma2)
    return float(np.logaddexp.reduce(w @ log_densities + log_weights))


def pseudo_loglik(design: Design, theta, beta, group_weights, group_function=group_loglik) -> float:
    """Return log PL at any theta and beta."""
    (Sigma,), sigma2 = unpack(design, theta)
    return sum(
        g * group_function(y, X @ beta, Z, w, Sigma, sigma2)
        for g, (X, y, Z, w) in zip(group_weights, groups_of(design))
    )


def pseudo_gls(design: Design, theta, group_weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the beta that solves sum_j g_j X_j'V_j^{-1}(y_j - X_j beta) = 0, that matrix, and the terms of the sum."""
    (Sigma,), sigma2 = unpack(design, theta)
    information, right, halves = 0.0, 0.0, []
    for g, (X, y, Z, w) in zip(group_weights, groups_of(design)):
        half = g * np.linalg.solve(Z @ Sigma @ Z.T + sigma2 * np.diag(1 / w), X)
        information, right = information + half.T @ X, right + half.T @ y
        halves.append(half)
    beta = np.linalg.solve(information, right)
    scores = [half.T @ (y - X @ beta) for half, (X, y, _, _) in zip(halves, groups_of(design))]
    return beta, information, np.array(scores)


def profiled_pseudo_theta(design: Design, relative, group_weights) -> np.ndarray:
    """Return theta of a relative covariance, with sigma2 = sum_j g_j r_j'V_0j^{-1}r_j / sum_j g_j sum_i w_ij."""
    unit = pack(design, relative, 1.0)
    beta, _, _ = pseudo_gls(design, unit, group_weights)
    quadratic = total = 0.0
    for g, (X, y, Z, w) in zip(group_weights, groups_of(design)):
        r = y - X @ beta
        quadratic += g * r @ np.linalg.solve(Z @ relative[0] @ Z.T + np.diag(1 / w), r)
        total += g * w.sum()
    return quadratic / total * unit


def maximise_pseudo(design: Design, group_weights, n_random: int = 4) -> tuple[np.ndarray, np.ndarray, float]:
    """Return theta and beta of the greatest pseudo-likelihood, and its logarithm; small problems only."""

    def at(entries):
        (T,) = factors(design, entries)
        theta = profiled_pseudo_theta(design, [T @ T.T], group_weights)
        beta = pseudo_gls(design, theta, group_weights)[0]
        return theta, beta, pseudo_loglik(design, theta, beta, group_weights)

    return at(climb(design, lambda entries: at(entries)[2], n_random=n_random))


def pseudo_sandwich(design: Design, theta, group_weights) -> np.ndarray:
    """Return the sandwich of beta over groups, H^{-1} [sum_j s_j s_j'] H^{-1}, without small-sample factor.

    The expected second derivative in beta and theta is 0, so that beta's block stands alone.
    """
    _, information, scores = pseudo_gls(design, theta, group_weights)
    bread = np.linalg.inv(information)
    return bread @ scores.T @ scores @ bread
