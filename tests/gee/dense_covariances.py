"""A slow, literal twin of the covariances for few clusters: matrices of the rows of each cluster, as they are defined.

It imports nothing from skdep. Formulas: Mancl and DeRouen (2001), Biometrics 57, 126-134; Kauermann and Carroll (2001),
JASA 96, 1387-1396; Fay and Graubard (2001), Biometrics 57, 1198-1206; Morel, Bokossa and Neerchal (2003), Biometrical
Journal 45, 395-409; Pan (2001), Biometrika 88, 901-906; Bell and McCaffrey (2002), Survey Methodology 28, 169-181;
Pustejovsky and Tipton (2018), JBES 36, 672-683.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from scipy import linalg

from .dense import LINKS, VARIANCES, correlation_matrix


@dataclass
class DenseClusters:
    """D, V, r of every cluster, repeated ones as often as they are counted."""

    D: list[np.ndarray]
    V: list[np.ndarray]
    r: list[np.ndarray]
    e: list[np.ndarray]  # Pearson residuals times the root of the weight
    root: list[np.ndarray]  # the matrices that make r of e
    time: list[np.ndarray]
    scale: float
    n_features_from: int  # 1 with an intercept
    n_association: int
    scale_is_estimated: bool = True

    @property
    def K(self):
        return len(self.D)

    @property
    def p(self):
        return self.D[0].shape[1]

    @property
    def bread(self):
        return sum(D.T @ np.linalg.solve(V, D) for D, V in zip(self.D, self.V, strict=True))

    def hat(self, i):
        """H_i = D_i B^{-1} D_i' V_i^{-1}."""
        return self.D[i] @ np.linalg.solve(self.bread, np.linalg.solve(self.V[i], self.D[i]).T)

    def corrected(self, kind):
        """Return D'V^{-1} F r of every cluster (K, p), F the correction."""
        scores = []
        for i in range(self.K):
            gap = np.eye(len(self.r[i])) - self.hat(i)
            F = {
                "robust": lambda gap: np.eye(len(gap)),
                "md": np.linalg.inv,
                "kc": lambda gap: np.linalg.inv(linalg.sqrtm(gap).real),
            }[kind](gap)
            scores.append(self.D[i].T @ np.linalg.solve(self.V[i], F @ self.r[i]))
        return np.array(scores)

    def sandwich(self, scores):
        inverse = np.linalg.inv(self.bread)
        return inverse @ scores.T @ scores @ inverse

    def influence(self, kind):
        """Return matrices L_i (p, n), B^{-1} u_i = L_i eps with eps the errors of all rows, and their covariance."""
        D, V = np.concatenate(self.D), linalg.block_diag(*self.V)
        inverse = np.linalg.inv(self.bread)
        residual_maker = np.eye(len(D)) - D @ inverse @ D.T @ np.linalg.inv(V)
        ends = np.cumsum([len(r) for r in self.r])
        maps = []
        for i, end in enumerate(ends):
            rows = slice(end - len(self.r[i]), end)
            gap = np.eye(len(self.r[i])) - self.hat(i)
            F = {"robust": np.eye, "md": lambda n, gap=gap: np.linalg.inv(gap)}.get(
                kind, lambda n, gap=gap: np.linalg.inv(linalg.sqrtm(gap).real)
            )(len(gap))
            maps.append(inverse @ self.D[i].T @ np.linalg.solve(self.V[i], F @ residual_maker[rows]))
        return np.array(maps), V


def dense_clusters(
    X,
    y,
    groups,
    *,
    beta,
    scale,
    alpha=0.0,
    family="gaussian",
    link="identity",
    structure="independence",
    weights=None,
    counts=None,
    offset=None,
    time=None,
    intercept=True,
    scale_is_estimated=True,
):
    """Build the matrices at given parameters; X has the column of the intercept first, if there is one."""
    n = len(y)
    weights = np.ones(n) if weights is None else np.asarray(weights) / np.mean(weights)
    counts = np.ones(n, dtype=int) if counts is None else np.asarray(counts).astype(int)
    time = np.zeros(n) if time is None else np.asarray(time)
    eta = X @ beta + (0.0 if offset is None else offset)
    _, inverse, derivative = LINKS[link]
    mu, slope = inverse(eta), derivative(eta)
    variance = VARIANCES[family](mu)
    found = SimpleNamespace(D=[], V=[], r=[], e=[], root=[], time=[])
    for label in np.unique(groups):
        rows = np.flatnonzero(groups == label)
        rows = rows[np.argsort(time[rows], kind="stable")]
        R = correlation_matrix(structure, alpha, time[rows], np.unique(time))
        root = np.diag(np.sqrt(variance[rows] / weights[rows]))
        for _ in range(counts[rows[0]]):
            found.D.append(slope[rows, None] * X[rows])
            found.V.append(scale * root @ R @ root)
            found.r.append(y[rows] - mu[rows])
            found.e.append((y[rows] - mu[rows]) * np.sqrt(weights[rows] / variance[rows]))
            found.root.append(root)
            found.time.append(time[rows])
    n_times = len(np.unique(time))
    n_association = {"independence": 0, "unstructured": n_times * (n_times - 1) // 2}.get(structure, 1)
    return DenseClusters(
        **vars(found),
        scale=scale,
        n_features_from=int(intercept),
        n_association=n_association,
        scale_is_estimated=scale_is_estimated,
    )


def fay_graubard(clusters: DenseClusters, centre=None, bound=0.75):
    """Return the covariance, of features centred at given values (none for raw ones), in the raw coefficients."""
    K, p = clusters.K, clusters.p
    turn = np.eye(p)  # raw coefficients of centred ones
    if centre is not None:
        turn[0, 1:] = -centre
    D = [matrix @ turn for matrix in clusters.D]
    bread = sum(d.T @ np.linalg.solve(V, d) for d, V in zip(D, clusters.V, strict=True))
    inverse = np.linalg.inv(bread)
    meat = np.zeros((p, p))
    for i in range(K):
        Q = D[i].T @ np.linalg.solve(clusters.V[i], D[i]) @ inverse
        factor = 1 / np.sqrt(1 - np.minimum(bound, np.diag(Q)))
        u = factor * (D[i].T @ np.linalg.solve(clusters.V[i], clusters.r[i]))
        meat += np.outer(u, u)
    return turn @ inverse @ meat @ inverse @ turn.T


def pan(clusters: DenseClusters):
    """Return Pan's covariance; residuals are pooled by pairs of times, negative eigenvalues left out."""
    times = np.unique(np.concatenate(clusters.time))
    T = len(times)
    products, pairs = np.zeros((T, T)), np.zeros((T, T))
    where = [np.searchsorted(times, t) for t in clusters.time]
    for e, at in zip(clusters.e, where, strict=True):
        products[np.ix_(at, at)] += np.outer(e, e)
        pairs[np.ix_(at, at)] += 1
    pooled = np.where(pairs > 0, products / np.maximum(pairs, 1), 0.0)
    values, vectors = np.linalg.eigh(pooled)
    pooled = vectors @ np.diag(np.maximum(values, 0.0)) @ vectors.T
    meat = np.zeros((clusters.p, clusters.p))
    for D, V, root, at in zip(clusters.D, clusters.V, clusters.root, where, strict=True):
        half = np.linalg.solve(V, D)
        meat += half.T @ root @ pooled[np.ix_(at, at)] @ root @ half
    inverse = np.linalg.inv(clusters.bread)
    return inverse @ meat @ inverse


def dense_covariances(clusters: DenseClusters, centre=None):
    """Return the covariances by type."""
    K, p = clusters.K, clusters.p
    n = sum(len(r) for r in clusters.r)
    naive = np.linalg.inv(clusters.bread)
    robust = clusters.sandwich(clusters.corrected("robust"))
    md = clusters.sandwich(clusters.corrected("md"))
    k = (n - 1) / (n - p) * K / (K - 1)
    xi = max(1.0, np.trace(np.linalg.inv(naive) @ (k * robust)) / p)
    delta = min(0.5, p / (K - p)) if p < K else 0.5
    left = K - p - clusters.n_association - clusters.scale_is_estimated
    return {
        "naive": naive,
        "robust": robust,
        "df": K / (K - p) * robust,
        "md": md,
        "kc": clusters.sandwich(clusters.corrected("kc")),
        "fg": fay_graubard(clusters, centre),
        "mbn": k * robust + delta * xi * naive,
        "jackknife": left / K * md,
        "design": K / (K - 1) * robust,
        "pan": pan(clusters),
    }


def dense_degrees(clusters: DenseClusters, kind, contrasts):
    """Return Bell and McCaffrey's degrees of freedom of each contrast (q, p), and those of the Wishart for all."""
    maps, V = clusters.influence(kind)
    of_contrast = np.einsum("qp,kpn->qkn", contrasts, maps)
    omega = np.einsum("qkn,nm,rlm->qkrl", of_contrast, V, of_contrast)
    single = [np.trace(omega[q, :, q]) ** 2 / np.sum(omega[q, :, q] ** 2) for q in range(len(contrasts))]
    expected = np.einsum("qkrk->qr", omega)
    inverse = np.linalg.inv(np.linalg.cholesky(expected))
    omega = np.einsum("aq,qkrl,br->akbl", inverse, omega, inverse)
    variance = 0.0
    for s in range(len(contrasts)):
        for t in range(len(contrasts)):
            variance += np.sum(omega[s, :, s] * omega[t, :, t]) + np.sum(omega[s, :, t] * omega[t, :, s])
    q = len(contrasts)
    return np.array(single), q * (q + 1) / variance
