"""A slow, literal twin of weights for dropout and their sandwich: loops over clusters, derivatives by differences.

It imports nothing from skdep. Formulas: Robins, Rotnitzky and Zhao (1995), Journal of the American Statistical
Association 90, 106-121; Stefanski and Boos (2002), The American Statistician 56, 29-38.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .dense import LINKS, VARIANCES, correlation_matrix


def simulate(n_clusters: int = 120, seed: int = 0, *, frailty: float | None = None) -> pd.DataFrame:
    """Return visits 0 to 3 that took place, in random order, of clusters that leave more often after an outcome of one.

    With a standard deviation of the `frailty` of clusters given, x is the frailty, else noise.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for label in range(n_clusters):
        treated, effect = label % 2, (frailty or 1.0) * rng.normal()
        for visit in range(4):
            y = float(rng.random() < 1 / (1 + np.exp(0.4 - 0.3 * visit * treated - effect)))
            rows.append({"id": label, "visit": visit, "treated": treated, "y": y, "x": effect})
            if frailty is None:
                rows[-1]["x"] = rng.normal()
            if rng.random() > 1 / (1 + np.exp(1.4 * y - 1.5)):
                break
    return pd.DataFrame(rows).sample(frac=1.0, random_state=seed, ignore_index=True)


@dataclass
class Dropout:
    """What the dropout model sees: `design` (n_rows, q), of which rows not `at_risk` mean nothing."""

    groups: np.ndarray
    time: np.ndarray
    design: np.ndarray
    at_risk: np.ndarray
    mass: np.ndarray

    def clusters(self):
        """Yield the numbers of each cluster's rows, in order of time."""
        for label in np.unique(self.groups):
            rows = np.flatnonzero(self.groups == label)
            yield rows[np.argsort(self.time[rows])]

    def weights(self, gamma, kind, max_weight=np.inf):
        """Return weights by their definition."""
        result = np.empty(len(self.groups))
        for rows in self.clusters():
            stay = [1 / (1 + np.exp(-self.design[row] @ gamma)) if self.at_risk[row] else 1.0 for row in rows]
            for place, row in enumerate(rows):
                result[row] = 1 / np.prod(stay[:place])
            if kind == "cluster":
                left = 1 - stay[-1] if self.at_risk[rows[-1]] else 1.0
                result[rows] = 1 / (np.prod(stay[:-1]) * left)
        return np.minimum(result, max_weight)

    def influence(self, gamma, ridge=0.0):
        """Return scores of clusters over the information."""
        scores, information = [], np.diag(np.full(len(gamma), float(ridge)))
        information[0, 0] = 0.0
        for rows in self.clusters():
            score = np.zeros(len(gamma))
            for place, row in enumerate(rows):
                if self.at_risk[row]:
                    stay = 1 / (1 + np.exp(-self.design[row] @ gamma))
                    score += self.mass[row] * ((place < len(rows) - 1) - stay) * self.design[row]
                    information += self.mass[row] * stay * (1 - stay) * np.outer(self.design[row], self.design[row])
            scores.append(score)
        return np.array(scores) @ np.linalg.inv(information)


def covariance(dropout, gamma, kind, design, y, beta, *, model, alpha=0.0, offset=0.0, max_weight=np.inf, ridge=0.0):
    """Return the sandwich of stacked equations; `model` is (family, link, structure), the scale cancels."""
    family, link, structure = model
    _, inverse, derivative = LINKS[link]
    eta = design @ beta + offset
    mu, slope = inverse(eta), derivative(eta)
    variance = VARIANCES[family](mu)

    def equations(gamma):
        weights = dropout.weights(gamma, kind, max_weight) * dropout.mass
        scores, bread = [], 0.0
        for rows in dropout.clusters():
            root = np.sqrt(weights[rows])
            D = design[rows] * (slope[rows] * root)[:, None]
            A = np.diag(np.sqrt(variance[rows]))
            V = A @ correlation_matrix(structure, alpha, dropout.time[rows]) @ A
            scores.append(D.T @ np.linalg.solve(V, (y[rows] - mu[rows]) * root))
            bread = bread + D.T @ np.linalg.solve(V, D)
        return np.array(scores), bread

    scores, bread = equations(gamma)
    by_gamma = np.empty((len(beta), len(gamma)))
    for j in range(len(gamma)):
        step = np.zeros(len(gamma))
        step[j] = 1e-5
        by_gamma[:, j] = (equations(gamma + step)[0] - equations(gamma - step)[0]).sum(axis=0) / 2e-5
    adjusted = scores + dropout.influence(gamma, ridge) @ by_gamma.T
    inverse_bread = np.linalg.inv(bread)
    return inverse_bread @ adjusted.T @ adjusted @ inverse_bread
