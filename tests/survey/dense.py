"""A slow, literal twin of design-based inference: loops over strata, units and replicates, nothing shared.

It imports nothing from skdep, so that an error there cannot hide here. Formulas: Särndal, Swensson and Wretman (1992),
Model Assisted Survey Sampling, results 3.7.2 and 4.3.1; Binder (1983), International Statistical Review 51, 279-292;
Wolter (2007), Introduction to Variance Estimation, chapters 3 to 5.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats


class Sampled(NamedTuple):
    """One stratum at one stage: totals of its units, its sampling fraction, and that of all stages before."""

    stage: int
    totals: list[np.ndarray]
    fraction: float
    share: float


# ------------------------------------------------------------------------------------------ linearised variances


def variance_of_total(z, *, groups=None, strata=None, fpc=None, lonely_psu="fail"):
    """Return the variance of the sum of z (n_rows, p), rows outside the domain being rows of zeros."""
    z = np.asarray(z, dtype=float)
    units = [[(i,) for i in range(len(z))]] if groups is None else _labels(groups)
    sampled = list(_drawn(z, list(range(len(z))), units, _labels(strata), _numbers(fpc), stage=0, share=1.0))
    variance = np.zeros((z.shape[1], z.shape[1]))
    for stage in sorted({stratum.stage for stratum in sampled}):
        variance += _variance_of_stage([stratum for stratum in sampled if stratum.stage == stage], lonely_psu)
    return variance


def _drawn(z, rows, units, strata, fpc, *, stage, share):
    """Yield the strata of this stage among `rows`, and those of later stages within their units."""
    by_stratum = defaultdict(lambda: defaultdict(list))
    for row in rows:
        stratum = strata[stage][row] if stage < len(strata) else "all"
        by_stratum[stratum][units[stage][row]].append(row)
    for in_stratum in by_stratum.values():
        totals = [sum(z[row] for row in of_unit) for of_unit in in_stratum.values()]
        fraction = _fraction(fpc, stage, next(iter(in_stratum.values()))[0], len(totals))
        yield Sampled(stage, totals, fraction, share)
        # without populations of its own the next stage takes all its units
        if stage + 1 < len(fpc) and fraction > 0:
            for of_unit in in_stratum.values():
                yield from _drawn(z, of_unit, units, strata, fpc, stage=stage + 1, share=share * fraction)


def _variance_of_stage(sampled, lonely_psu):
    """Return the sum over strata of share (1 - f) n / (n - 1) sum (t - mean)(t - mean)'."""
    everywhere = [total for stratum in sampled for total in stratum.totals]
    variance = np.zeros((len(everywhere[0]), len(everywhere[0])))
    n_lonely = 0
    for stratum in sampled:
        n = len(stratum.totals)
        factor = stratum.share * (1.0 - stratum.fraction)
        if n > 1:
            centre = sum(stratum.totals) / n
            factor *= n / (n - 1)
        elif stratum.fraction == 1.0 or lonely_psu == "remove":
            continue
        elif lonely_psu == "adjust":
            centre = sum(everywhere) / len(everywhere)
        else:
            assert lonely_psu == "average", "a lonely unit"
            n_lonely += 1
            continue
        for total in stratum.totals:
            variance += factor * np.outer(total - centre, total - centre)
    return variance * len(sampled) / (len(sampled) - n_lonely)


def _labels(columns):
    """Return a list of labels for each column."""
    if columns is None:
        return []
    columns = np.asarray(columns)
    return [list(column) for column in (columns.T if columns.ndim == 2 else [columns])]


def _numbers(columns):
    return [np.asarray(column, dtype=float) for column in _labels(columns)]


def _fraction(fpc, stage, row, n):
    """Return the sampling fraction, from a population or given as such."""
    if stage >= len(fpc):
        return 0.0
    value = fpc[stage][row]
    return value if np.all(fpc[stage] <= 1) else n / value


def degrees_of_freedom(weights, *, groups=None, strata=None):
    """Return units less strata of the first stage that have a row in the domain."""
    units, of_strata = _labels(groups), _labels(strata)
    inside = [
        (of_strata[0][row] if of_strata else "all", units[0][row] if units else row) for row in np.flatnonzero(weights)
    ]
    return len(set(inside)) - len({stratum for stratum, _ in inside})


# ------------------------------------------------------------------------------------------------------- models

# variance, inverse link, d mu / d eta, unit deviance
FAMILIES = {
    "gaussian": (lambda mu: np.ones_like(mu), lambda y, mu: (y - mu) ** 2),
    "binomial": (lambda mu: mu * (1 - mu), lambda y, mu: -2 * np.log(np.where(y > 0.5, mu, 1 - mu))),
    "poisson": (lambda mu: mu, lambda y, mu: 2 * (y * np.log(np.where(y > 0, y, 1.0) / mu) - (y - mu))),
    "gamma": (lambda mu: mu**2, lambda y, mu: 2 * (-np.log(y / mu) + (y - mu) / mu)),
}
LINKS = {
    "identity": (lambda eta: eta, lambda eta: np.ones_like(eta)),
    "log": (np.exp, np.exp),
    "logit": (lambda eta: 1 / (1 + np.exp(-eta)), lambda eta: np.exp(-eta) / (1 + np.exp(-eta)) ** 2),
    "probit": (stats.norm.cdf, stats.norm.pdf),
    "cloglog": (lambda eta: -np.expm1(-np.exp(eta)), lambda eta: np.exp(eta - np.exp(eta))),
}


@dataclass
class DenseFit:
    beta: np.ndarray
    naive: np.ndarray  # inverse expected information
    z: np.ndarray  # (n_rows, p), influence of every row on beta
    deviance: float
    fitted: np.ndarray


def pseudo_likelihood(X, y, weights, *, family, link, offset=None, start=None, max_iter=200):
    """Solve sum w x (y - mu) (d mu / d eta) / V(mu) = 0 by Fisher scoring; weights of mean one where positive."""
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    weights = np.asarray(weights, dtype=float)
    weights = weights / weights[weights > 0].mean()
    offset = np.zeros(len(y)) if offset is None else offset
    variance_of, unit_deviance = FAMILIES[family]
    inverse, derivative = LINKS[link]
    beta = _start(X, y, weights, offset, family, link) if start is None else np.array(start, dtype=float)
    for _ in range(max_iter):
        eta = X @ beta + offset
        mu, slope = inverse(eta), derivative(eta)
        variance = variance_of(mu)
        scores = np.where(weights > 0, weights * (y - mu) * slope / variance, 0.0)[:, None] * X
        information = (weights * slope**2 / variance * X.T) @ X
        naive = np.linalg.inv(information)
        step = naive @ scores.sum(axis=0)
        if np.all(np.abs(step) <= 1e-12 * np.sqrt(np.diag(naive))):
            break
        beta = beta + step
    inside = weights > 0
    deviance = float(np.sum(weights[inside] * unit_deviance(y[inside], mu[inside])))
    return DenseFit(beta, naive, scores @ naive, deviance, mu)


def _start(X, y, weights, offset, family, link):
    """Return a least-squares fit to outcomes pulled inside their range and transformed."""
    inside = weights > 0
    if family == "binomial":
        y = (y + 0.5) / 2
    elif family == "poisson":
        y = y + 0.1
    target = {
        "identity": lambda: y,
        "log": lambda: np.log(np.maximum(y, 1e-3)),
        "logit": lambda: np.log(y / (1 - y)),
        "probit": lambda: stats.norm.ppf(y),
        "cloglog": lambda: np.log(-np.log1p(-y)),
    }[link]()
    root = np.sqrt(weights[inside])[:, None]
    return np.linalg.lstsq(root * X[inside], root[:, 0] * (target - offset)[inside], rcond=None)[0]


def design_covariance(fit, *, groups=None, strata=None, fpc=None, lonely_psu="fail"):
    """Return the linearised covariance of coefficients: the variance of the total of their influence values."""
    return variance_of_total(fit.z, groups=groups, strata=strata, fpc=fpc, lonely_psu=lonely_psu)


# ---------------------------------------------------------------------------------------------- replicate weights


def replicate_covariance(X, y, weights, replicates, *, scale, rscales, mse, family, link, offset=None):
    """Fit with every column of `replicates` and return beta, its covariance and the replicates' betas."""
    whole = pseudo_likelihood(X, y, weights, family=family, link=link, offset=offset)
    betas = [
        pseudo_likelihood(X, y, column, family=family, link=link, offset=offset, start=whole.beta).beta
        for column in replicates.T
    ]
    if mse:
        centre = whole.beta
    else:
        counted = [beta for beta, factor in zip(betas, rscales) if factor > 0]
        centre = sum(counted) / len(counted)
    covariance = np.zeros((len(centre), len(centre)))
    for beta, factor in zip(betas, rscales):
        covariance += scale * factor * np.outer(beta - centre, beta - centre)
    return whole, covariance, np.array(betas)


# ----------------------------------------------------------------------------------------------- few clusters


def corrected_covariance(X, residuals, information_weights, working_variances, clusters, *, kind):
    """Return CR0, CR2 or CR3 of a (weighted) least-squares fit, and Satterthwaite degrees of freedom of coefficients.

    With n x n matrices as in Pustejovsky and Tipton (2018), Journal of Business & Economic Statistics 36, 672-683:
    scores are X'W A e, and under CR2 the matrices A make their covariance what it is, if that of the rows is
    diag(working_variances).
    """
    n, p = X.shape
    W, variances = np.diag(information_weights), np.diag(working_variances)
    bread = np.linalg.inv(X.T @ W @ X)
    left = np.eye(n) - X @ bread @ X.T @ W  # what a fit leaves of the errors
    covariance = np.zeros((p, p))
    maps = []  # from errors to what a cluster adds to the coefficients
    for label in dict.fromkeys(clusters):
        rows = [row for row in range(n) if clusters[row] == label]
        if kind == "CR2":
            root = np.sqrt(variances[np.ix_(rows, rows)])
            A = root @ _inverse_root(root @ left[rows] @ variances @ left[rows].T @ root) @ root
        else:
            A = np.eye(len(rows)) if kind == "CR0" else np.linalg.pinv(left[np.ix_(rows, rows)])
        scores = bread @ X[rows].T @ W[np.ix_(rows, rows)] @ A
        moved = scores @ residuals[rows]
        covariance += np.outer(moved, moved)
        maps.append(scores @ left[rows])
    degrees = np.empty(p)
    for j in range(p):
        products = np.array([[a[j] @ variances @ b[j] for b in maps] for a in maps])
        degrees[j] = np.trace(products) ** 2 / np.sum(products**2)
    return covariance, degrees


def _inverse_root(matrix):
    """Return the inverse of the symmetric root, without directions of no variance."""
    values, vectors = np.linalg.eigh(matrix)
    inverse = [value**-0.5 if value > 1e-10 * values[-1] else 0.0 for value in values]
    return vectors @ np.diag(inverse) @ vectors.T
