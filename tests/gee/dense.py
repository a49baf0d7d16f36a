"""A slow, literal twin of the GEE engine: explicit R_i and V_i, loops over clusters and pairs, nothing shared.

It imports nothing from skdep, so that an error there cannot hide here. Formulas: Liang and Zeger (1986), Biometrika 73,
13-22; Pan (2001), Biometrics 57, 120-125.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import optimize, stats

# Conventions of skdep: a matrix with an eigenvalue below the first is shrunk until it has none below the second. Where
# a fit ends repaired the second is the limit of both: the repaired correlation is then continuous in the coefficients.
LEAST_EIGENVALUE = 1e-6
REPAIRED_EIGENVALUE = 1e-2

VARIANCES = {
    "gaussian": lambda mu: np.ones_like(mu),
    "binomial": lambda mu: mu * (1 - mu),
    "poisson": lambda mu: mu,
    "gamma": lambda mu: mu**2,
    "inverse_gaussian": lambda mu: mu**3,
    "negative_binomial": lambda mu: mu + mu**2,
}

QUASI_LIKELIHOODS = {
    "gaussian": lambda y, mu: -((y - mu) ** 2) / 2,
    "binomial": lambda y, mu: y * np.log(mu) + (1 - y) * np.log(1 - mu),
    "poisson": lambda y, mu: y * np.log(mu) - mu,
    "gamma": lambda y, mu: -y / mu - np.log(mu),
    "inverse_gaussian": lambda y, mu: (mu - y / 2) / mu**2,
    "negative_binomial": lambda y, mu: y * np.log(mu / (1 + mu)) - np.log(1 + mu),
}

# g(mu), g^{-1}(eta), d mu / d eta
LINKS = {
    "identity": (lambda mu: mu, lambda eta: eta, lambda eta: np.ones_like(eta)),
    "log": (np.log, np.exp, np.exp),
    "logit": (
        lambda mu: np.log(mu / (1 - mu)),
        lambda eta: 1 / (1 + np.exp(-eta)),
        lambda eta: np.exp(-eta) / (1 + np.exp(-eta)) ** 2,
    ),
    "probit": (stats.norm.ppf, stats.norm.cdf, stats.norm.pdf),
    "cloglog": (
        lambda mu: np.log(-np.log(1 - mu)),
        lambda eta: 1 - np.exp(-np.exp(eta)),
        lambda eta: np.exp(-np.exp(eta)) * np.exp(eta),
    ),
    "loglog": (
        lambda mu: -np.log(-np.log(mu)),
        lambda eta: np.exp(-np.exp(-eta)),
        lambda eta: np.exp(-np.exp(-eta)) * np.exp(-eta),
    ),
    "cauchit": (stats.cauchy.ppf, stats.cauchy.cdf, stats.cauchy.pdf),
    "inverse": (lambda mu: 1 / mu, lambda eta: 1 / eta, lambda eta: -1 / eta**2),
    "inverse_squared": (lambda mu: mu**-2.0, lambda eta: eta**-0.5, lambda eta: -0.5 * eta**-1.5),
    "sqrt": (np.sqrt, np.square, lambda eta: 2 * eta),
}


@dataclass
class DenseFit:
    beta: np.ndarray
    scale: float
    alpha: float | np.ndarray
    shrinkage: float
    naive: np.ndarray
    robust: np.ndarray
    cic: float
    quasi_likelihood: float
    score: np.ndarray  # sum of D'V^{-1}r, which is 0 at the solution
    scores: np.ndarray  # (n_clusters, p)


def shared_levels(units_j, units_k) -> int:
    """Return how many of the subclusters, from the largest, two rows share before they differ."""
    n_shared = 0
    for j, k in zip(units_j, units_k, strict=True):
        if j != k:
            break
        n_shared += 1
    return n_shared


def correlation_matrix(
    structure: str, alpha, times: np.ndarray, all_times: np.ndarray | None = None, units: np.ndarray | None = None
) -> np.ndarray:
    """Return R_i of one cluster, entry by entry; lags are whole times apart, `units` (n, levels) are subclusters."""
    n = len(times)
    R = np.eye(n)
    for j, k in combinations(range(n), 2):
        if structure == "exchangeable":
            R[j, k] = alpha
        elif structure == "ar1":
            lag = abs(times[j] - times[k])
            R[j, k] = (-1.0) ** lag * abs(alpha) ** lag if alpha < 0 else alpha**lag
        elif structure in ("m_dependent", "toeplitz"):
            lag = round(abs(times[j] - times[k]))
            R[j, k] = alpha[lag - 1] if lag <= len(alpha) else 0.0
        elif structure == "nested":
            R[j, k] = alpha[shared_levels(units[j], units[k])]
        elif structure in ("unstructured", "fixed"):
            R[j, k] = alpha[list(all_times).index(times[j]), list(all_times).index(times[k])]
        R[k, j] = R[j, k]
    return R


def ar1_moment_alpha(lags, products, counts, *, lower: float) -> float:
    """Return the global minimum of sum counts rho^2 / 2 - products rho, rho = alpha^lag, by a fine grid and a root."""
    lags, products, counts = map(np.asarray, (lags, products, counts))

    def rho(alpha):
        size = np.abs(alpha) ** lags
        return np.where((lags % 2 == 1) & (alpha < 0), -size, size)

    def objective(alpha):
        return np.sum(counts * rho(alpha) ** 2 / 2 - products * rho(alpha), axis=-1)

    def slope(alpha):
        # d rho / d alpha = lag alpha^(lag - 1) = lag rho / alpha
        return np.sum((counts * rho(alpha) - products) * lags * rho(alpha)) / alpha

    largest = np.sqrt(1 - LEAST_EIGENVALUE)
    grid = np.linspace(-largest if lower < 0 else 1e-6, largest, 400)  # an even number: 0 is not among them
    best = int(np.argmin(objective(grid[:, None])))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    if slope(low) < 0 < slope(high):
        return optimize.brentq(slope, low, high, xtol=1e-15, rtol=1e-14)
    return min((low, high), key=objective) if best in (0, len(grid) - 1) else grid[best]


def dense_gee(
    X,
    y,
    groups,
    *,
    start,
    family="gaussian",
    link="identity",
    structure="independence",
    dof="n-p",
    scale=None,
    weights=None,
    counts=None,
    offset=None,
    time=None,
    limit=LEAST_EIGENVALUE,
    max_iter=100,
    n_lags=None,
    matrix=None,
    units=None,
) -> DenseFit:
    """Solve the estimating equations from `start` for the columns of X (give the intercept's yourself).

    `limit` is the eigenvalue below which a working correlation is repaired. `n_lags` is the m of m-dependence (default:
    all lags), `matrix` a fixed correlation of all times, `units` (n, levels) labels of subclusters.
    """
    n, p = X.shape
    weights = np.ones(n) if weights is None else np.asarray(weights) / np.mean(weights)
    counts = np.ones(n) if counts is None else np.asarray(counts, dtype=float)
    offset = np.zeros(n) if offset is None else np.asarray(offset)
    time = np.zeros(n) if time is None else np.asarray(time)
    all_times = np.unique(time)
    units = np.zeros((n, 0)) if units is None else np.asarray(units)
    clusters = []
    for label in np.unique(groups):
        rows = np.flatnonzero(groups == label)
        clusters.append(rows[np.argsort(time[rows], kind="stable")])
    beta = np.array(start, dtype=float)
    for _ in range(max_iter):
        fit = _evaluate(
            X, y, clusters, beta, family, link, structure, dof, scale, weights, counts, offset, time, all_times, limit,
            n_lags, matrix, units,
        )  # fmt: skip
        step = np.linalg.solve(fit.naive, np.eye(p))  # B / phi
        step = np.linalg.solve(step, fit.score / fit.scale)
        if np.all(np.abs(step) <= 1e-11 * np.sqrt(np.diag(fit.naive))):
            break
        beta = beta + step
    return fit


def _evaluate(
    X, y, clusters, beta, family, link, structure, dof, scale, weights, counts, offset, time, all_times, limit, n_lags,
    matrix, units,
):  # fmt: skip
    p = X.shape[1]
    eta = X @ beta + offset
    _, inverse, derivative = LINKS[link]
    mu, slope = inverse(eta), derivative(eta)
    variance = VARIANCES[family](mu)
    e = (y - mu) / np.sqrt(variance)
    n_obs = counts.sum()
    subtracted = p if dof == "n-p" else 0
    if scale is None:
        scale = np.sum(counts * weights * e**2) / (n_obs - subtracted)
    if structure == "fixed":
        alpha = matrix
    else:
        given = (weights, counts, time, all_times, n_lags, units)
        alpha = association(clusters, e, scale, structure, dof, subtracted, *given)
    matrices = [correlation_matrix(structure, alpha, time[rows], all_times, units[rows]) for rows in clusters]
    smallest = min(np.linalg.eigvalsh(R)[0] for R in matrices)
    shrinkage = 0.0
    if smallest < limit and structure != "ar1":
        shrinkage = (REPAIRED_EIGENVALUE - smallest) / (1 - smallest)
        matrices = [(1 - shrinkage) * R + shrinkage * np.eye(len(R)) for R in matrices]
        alpha = (1 - shrinkage) * alpha
        if structure == "unstructured":
            np.fill_diagonal(alpha, 1.0)
    B, U, meat, omega, quasi = np.zeros((p, p)), np.zeros(p), np.zeros((p, p)), np.zeros((p, p)), 0.0
    scores = []
    for rows, R in zip(clusters, matrices, strict=True):
        D = np.diag(slope[rows]) @ X[rows]
        root = np.diag(np.sqrt(variance[rows] / weights[rows]))
        V = root @ R @ root
        u = D.T @ np.linalg.solve(V, y[rows] - mu[rows])
        repeats = counts[rows[0]]
        B += repeats * D.T @ np.linalg.solve(V, D)
        U += repeats * u
        meat += repeats * np.outer(u, u)
        omega += repeats * D.T @ np.diag(weights[rows] / variance[rows]) @ D
        quasi += repeats * np.sum(weights[rows] * QUASI_LIKELIHOODS[family](y[rows], mu[rows]))
        scores.append(u)
    inverse_bread = np.linalg.inv(B)
    robust = inverse_bread @ meat @ inverse_bread
    return DenseFit(
        beta=beta,
        scale=scale,
        alpha=alpha,
        shrinkage=shrinkage,
        naive=scale * inverse_bread,
        robust=robust,
        cic=float(np.trace(omega @ robust) / scale),
        quasi_likelihood=quasi / scale,
        score=U,
        scores=np.array(scores),
    )


def association(
    clusters, e, scale, structure, dof, subtracted, weights, counts, time, all_times, n_lags=None, units=None
):
    """Return alpha by loops over pairs; SAS weighs a product by the root of both weights, geepack by both."""
    if structure == "independence":
        return 0.0
    T = len(all_times)
    products, mass = np.zeros((T, T)), np.zeros((T, T))
    lags, lag_products, lag_mass = [], [], []
    total_product = total_mass = 0.0
    longest = max(round(time[rows].max() - time[rows].min()) for rows in clusters)
    n_classes = {"nested": 1 + (0 if units is None else units.shape[1])}.get(structure, n_lags or longest)
    class_products, class_mass = np.zeros(n_classes), np.zeros(n_classes)
    for rows in clusters:
        repeats = counts[rows[0]]
        for (position, j), (later, k) in combinations(enumerate(rows), 2):
            both = weights[j] * weights[k]
            product = repeats * e[j] * e[k] * (np.sqrt(both) if dof == "n-p" else both)
            pair = repeats * (1.0 if dof == "n-p" else both)
            total_product, total_mass = total_product + product, total_mass + pair
            number = shared_levels(units[j], units[k]) if structure == "nested" else round(time[k] - time[j]) - 1
            if structure in ("nested", "m_dependent", "toeplitz") and number < n_classes:
                class_products[number] += product
                class_mass[number] += pair
            if structure == "unstructured":
                a, b = np.searchsorted(all_times, [time[j], time[k]])
                for index in ((a, b), (b, a)):
                    products[index] += product
                    mass[index] += pair
            if dof == "n" or later == position + 1:
                lags.append(time[k] - time[j])
                lag_products.append(product)
                lag_mass.append(pair)
    if structure == "exchangeable":
        return total_product / (scale * (total_mass - subtracted)) if total_mass else 0.0
    if structure == "unstructured":
        alpha = np.eye(T)
        for a, b in combinations(range(T), 2):
            if mass[a, b] > 0:
                divisor = mass[a, b] - subtracted if mass[a, b] > subtracted else mass[a, b]
                alpha[a, b] = alpha[b, a] = products[a, b] / (scale * divisor)
        return alpha
    if structure in ("m_dependent", "toeplitz", "nested"):
        divisor = np.where(class_mass > subtracted, class_mass - subtracted, class_mass)
        return np.where(class_mass > 0, class_products / (scale * np.where(class_mass > 0, divisor, 1.0)), 0.0)
    if structure == "ar1" and lags:
        lags, mass = np.array(lags), np.array(lag_mass)
        factor = mass.sum() / (mass.sum() - subtracted)
        whole = np.all(lags == np.round(lags)) and np.any(lags % 2 == 1)
        return ar1_moment_alpha(lags, factor * np.array(lag_products) / scale, mass, lower=-1.0 if whole else 0.0)
    return 0.0
