"""A slow, literal twin of the logistic mixed model: dense Z and Lambda, grids for integrals, differences for slopes.

It imports nothing from skdep, so that an error there cannot hide here. The model is, with one term a grouping factor,

    eta = X beta + offset + Z Lambda u,   Lambda = blockdiag(I (x) T_k),   u ~ N(0, I),   p(1 | eta) = 1 / (1 + e^-eta),
    log L = sum_c g_c log integral exp(sum_{i in c} w_i log p(y_i | eta_i)) phi(u_c) du_c

over independent clusters c, rows that share levels directly or through others. Weights w_i of rows stand within the
integral, for repeated rows (trials) and for sampling weights of level 1 alike; weights g_c of clusters stand outside.

Parameters are `[beta, entries of T_1, entries of T_2, ...]`, entries down the columns of the lower triangle, or the
diagonal where random effects are uncorrelated. Likelihoods here are arrays, log L_c of every cluster without g_c.

References
----------
Tierney and Kadane (1986), Journal of the American Statistical Association 81, 82-86: Laplace's method.
Liu and Pierce (1994), Biometrika 81, 624-629: adaptive Gauss-Hermite quadrature.
Trefethen and Weideman (2014), SIAM Review 56, 385-458: the trapezoidal rule on a grid, and what limits it.
Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, section 3.4: Laplace in terms of covariances.
Rabe-Hesketh and Skrondal (2006), J. Royal Statistical Society A 169, 805-827: pseudo-likelihood, sandwich.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import linalg, optimize, special


@dataclass(frozen=True)
class Term:
    """Random effects of one grouping factor."""

    codes: np.ndarray  # (n,) the level of every row, 0, 1, ...
    Z: np.ndarray  # (n, q)
    diagonal: bool = False
    blocks: tuple[int, ...] | None = None  # number of the block of every column: no covariances between blocks

    @property
    def n_levels(self) -> int:
        return int(self.codes.max()) + 1

    @property
    def q(self) -> int:
        return self.Z.shape[1]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Row and column of the entries of T that are parameters."""
        block = self.blocks or (range(self.q) if self.diagonal else [0] * self.q)
        return [(i, j) for j in range(self.q) for i in range(j, self.q) if block[i] == block[j]]


@dataclass(frozen=True)
class Design:
    """Data of a logistic mixed model; X has the constant column, if there is an intercept."""

    X: np.ndarray
    y: np.ndarray  # (n,) 0, 1, or a share of w trials
    terms: tuple[Term, ...]
    row_weight: np.ndarray | None = None  # (n,) w; ones by default
    offset: np.ndarray | None = None  # (n,) zeros by default
    cluster_weight: np.ndarray | None = None  # (n,) g of the row's cluster; ones by default

    @property
    def w(self) -> np.ndarray:
        return np.ones(len(self.y)) if self.row_weight is None else self.row_weight

    @cached_property
    def clusters(self) -> np.ndarray:
        """The independent cluster of every row: the smallest row number spreads through shared levels."""
        labels, before = np.arange(len(self.y)), None
        while not np.array_equal(labels, before):
            before = labels.copy()
            for term in self.terms:
                for level in range(term.n_levels):
                    labels[term.codes == level] = labels[term.codes == level].min()
        return np.unique(labels, return_inverse=True)[1]

    @property
    def n_clusters(self) -> int:
        return int(self.clusters.max()) + 1

    @property
    def g(self) -> np.ndarray:
        """Weight of every cluster."""
        rows = np.ones(len(self.y)) if self.cluster_weight is None else self.cluster_weight
        return np.array([rows[self.clusters == c][0] for c in range(self.n_clusters)])

    @cached_property
    def cluster_of_columns(self) -> np.ndarray:
        """The independent cluster of every column of Z Lambda."""
        found = [self.clusters[t.codes == level][0] for t in self.terms for level in range(t.n_levels)]
        return np.repeat(found, [t.q for t in self.terms for _ in range(t.n_levels)]).astype(int)

    def eta(self, beta, Ts=None, u=None) -> np.ndarray:
        """Return the linear predictor, that of the fixed effects alone by default."""
        fixed = self.X @ beta + (0.0 if self.offset is None else self.offset)
        return fixed if u is None else fixed + z_lambda(self, Ts) @ u

    def row_loglik(self, eta, rows=slice(None)) -> np.ndarray:
        """Return w log p(y | eta) of every row, or of some, for eta of shape (rows, ...)."""
        y, w = (values[rows].reshape(-1, *[1] * (np.ndim(eta) - 1)) for values in (self.y, self.w))
        return -w * (y * np.logaddexp(0, -eta) + (1 - y) * np.logaddexp(0, eta))


def taken(design: Design, rows) -> Design:
    """Return some rows, or rows repeatedly, with levels numbered anew."""

    def part(values):
        return None if values is None else values[rows]

    terms = tuple(replace(t, codes=np.unique(t.codes[rows], return_inverse=True)[1], Z=t.Z[rows]) for t in design.terms)
    weights = part(design.row_weight), part(design.offset), part(design.cluster_weight)
    return Design(design.X[rows], design.y[rows], terms, *weights)


def repeated(design: Design, counts: np.ndarray) -> Design:
    """Frequency weights, literally: row i occurs counts[i] times, in the same level."""
    return taken(design, np.repeat(np.arange(len(design.y)), np.asarray(counts, dtype=int)))


# ---- parameters ------------------------------------------------------------------------------------------------------


def pack(design: Design, beta, Ts) -> np.ndarray:
    """Return beta and the entries of every T."""
    return np.array([*beta, *(T[i, j] for term, T in zip(design.terms, Ts) for i, j in term.pairs)])


def unpack(design: Design, parameters) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return beta and the matrices T in the parameters."""
    p = design.X.shape[1]
    Ts, entries = [], iter(parameters[p:])
    for term in design.terms:
        T = np.zeros((term.q, term.q))
        for i, j in term.pairs:
            T[i, j] = next(entries)
        Ts.append(T)
    return np.array(parameters[:p], dtype=float), Ts


def z_lambda(design: Design, Ts) -> np.ndarray:
    """Return Z Lambda, q columns a level, terms side by side."""
    parts = [np.zeros((len(design.y), 0))]
    for term, T in zip(design.terms, Ts):
        full = np.zeros((len(design.y), term.n_levels, term.q))
        full[np.arange(len(design.y)), term.codes] = term.Z @ T
        parts.append(full.reshape(len(design.y), -1))
    return np.hstack(parts)


def by_level(design: Design, u: np.ndarray) -> list[np.ndarray]:
    """Return stacked random effects as one array (levels, q) a term."""
    parts = np.split(u, np.cumsum([term.n_levels * term.q for term in design.terms])[:-1])
    return [part.reshape(term.n_levels, term.q) for part, term in zip(parts, design.terms)]


# ---- modes and Laplace -----------------------------------------------------------------------------------------------


def modes(design: Design, beta, Ts) -> np.ndarray:
    """Return u of greatest density given y, to rounding, by Newton's method with halved steps."""
    A, w, fixed = z_lambda(design, Ts), design.w, design.eta(beta)
    u = np.zeros(A.shape[1])

    def minus_log_density(u):
        return u @ u / 2 - np.sum(design.row_loglik(fixed + A @ u))

    for _ in range(300):
        probability = special.expit(fixed + A @ u)
        M = A.T @ ((w * probability * (1 - probability))[:, None] * A) + np.eye(len(u))
        step = np.linalg.solve(M, A.T @ (w * (design.y - probability)) - u)
        size, value = 1.0, minus_log_density(u)
        while minus_log_density(u + size * step) > value + 1e-13 * abs(value):
            size /= 2
        u = u + size * step
        if np.max(np.abs(step), initial=0.0) < 1e-13 * (1 + np.max(np.abs(u), initial=0.0)):
            return u
    raise AssertionError("no mode found")


def curvature(design: Design, beta, Ts, u) -> np.ndarray:
    """Return M = Lambda'Z'W Z Lambda + I."""
    A, probability = z_lambda(design, Ts), special.expit(design.eta(beta, Ts, u))
    return A.T @ ((design.w * probability * (1 - probability))[:, None] * A) + np.eye(A.shape[1])


def laplace(design: Design, beta, Ts) -> np.ndarray:
    """Return sum_i w_i log p(y_i | u) - u'u/2 - log|M|/2 at the mode, of every cluster."""
    u = modes(design, beta, Ts)
    rows, M = design.row_loglik(design.eta(beta, Ts, u)), curvature(design, beta, Ts, u)
    found = []
    for c in range(design.n_clusters):
        mine = design.cluster_of_columns == c
        logdet = np.linalg.slogdet(M[np.ix_(mine, mine)])[1]
        found.append(rows[design.clusters == c].sum() - u[mine] @ u[mine] / 2 - logdet / 2)
    return np.array(found)


def laplace_by_covariance(design: Design, beta, Sigmas) -> np.ndarray:
    """Return `laplace` as a function of Sigma, which need not be definite.

    With K = cov(Z b) and d = w (y - mu), the mode has Z b = K d, the quadratic form is d'K d, and |M| = |I + W K|.
    """
    n = len(design.y)
    K = np.zeros((n, n))
    for term, Sigma in zip(design.terms, Sigmas):
        K += (term.codes[:, None] == term.codes[None, :]) * (term.Z @ Sigma @ term.Z.T)
    fixed, d = design.eta(beta), np.zeros(n)

    def excess(d):
        return d - design.w * (design.y - special.expit(fixed + K @ d))

    for _ in range(300):
        probability = special.expit(fixed + K @ d)
        slopes = np.eye(n) + (design.w * probability * (1 - probability))[:, None] * K
        step, size = -np.linalg.solve(slopes, excess(d)), 1.0
        while size > 1e-3 and np.linalg.norm(excess(d + size * step)) > np.linalg.norm(excess(d)):
            size /= 2
        d = d + size * step
        if np.max(np.abs(step)) < 1e-13:
            break
    rows, found = design.row_loglik(fixed + K @ d) - d * (K @ d) / 2, []
    for c in range(design.n_clusters):
        mine = design.clusters == c
        found.append(rows[mine].sum() - np.linalg.slogdet(slopes[np.ix_(mine, mine)])[1] / 2)
    return np.array(found)


def conditional_covariance(design: Design, beta, Ts) -> np.ndarray:
    """Return Lambda M^{-1} Lambda', the covariance of all b = Lambda u given y by Laplace's method."""
    Lambda = linalg.block_diag(*(np.kron(np.eye(term.n_levels), T) for term, T in zip(design.terms, Ts)))
    return Lambda @ np.linalg.inv(curvature(design, beta, Ts, modes(design, beta, Ts))) @ Lambda.T


# ---- quadrature and brute force --------------------------------------------------------------------------------------


def tensor_grid(points: list[np.ndarray]) -> np.ndarray:
    """Return all combinations of coordinates, a point a row."""
    return np.stack(np.meshgrid(*points, indexing="ij"), axis=-1).reshape(-1, len(points))


def log_normal(u: np.ndarray) -> np.ndarray:
    """Return the log density of standard normal u, a point a row."""
    return -0.5 * np.sum(u**2, axis=1) - 0.5 * u.shape[1] * np.log(2 * np.pi)


def in_order_of_clusters(design: Design, term: Term, of_levels) -> np.ndarray:
    """Return what belongs to the levels of a term in the order of the clusters that they are."""
    return np.array([of_levels[term.codes[design.clusters == c][0]] for c in range(design.n_clusters)])


def quadrature(design: Design, beta, Ts, n_nodes: int) -> np.ndarray:
    """Return adaptive Gauss-Hermite quadrature, nodes u = mode + L^{-T} z with M = L L', of every level of one factor.

    With weights a of the rule for exp(-z^2/2): integral f(u) du = |L|^{-1} sum_z a_z exp(z'z/2) f(mode + L^{-T} z).
    """
    (term,), (T,), stacked = design.terms, Ts, modes(design, beta, Ts)
    u, M = by_level(design, stacked)[0], curvature(design, beta, Ts, stacked)
    z, a = np.polynomial.hermite_e.hermegauss(n_nodes)
    z, log_a = tensor_grid([z] * term.q), tensor_grid([np.log(a)] * term.q).sum(axis=1)
    fixed, found = design.eta(beta), []
    for level in range(term.n_levels):
        rows, span = np.flatnonzero(term.codes == level), slice(level * term.q, (level + 1) * term.q)
        L = np.linalg.cholesky(M[span, span])
        nodes = u[level] + np.linalg.solve(L.T, z.T).T
        loglik = design.row_loglik(fixed[rows, None] + term.Z[rows] @ T @ nodes.T, rows).sum(axis=0)
        logs = log_a + 0.5 * np.sum(z**2, axis=1) + loglik + log_normal(nodes)
        found.append(np.logaddexp.reduce(logs) - np.sum(np.log(np.diag(L))))
    return in_order_of_clusters(design, term, found)


def fine_grid(loadings: np.ndarray, w: np.ndarray, refine: float = 1.0) -> tuple[np.ndarray, float]:
    """Return points u of a grid and its log cell size, for sums of prod_i p(y_i | loadings_i'u)^w_i phi(u).

    The error of such sums is exp(-2 pi s / step), s the distance of the real line from where the integrand is not
    analytic, pi / |loading|, and exp(-2 (pi sd / step)^2) for a normal density, whose sd is least where p = 1/2.
    """
    points, log_cell = [], 0.0
    for c in loadings.T:
        sd = 1 / np.sqrt(1 + np.sum(w * c**2) / 4)
        step = min(0.7 * sd, 0.5 / np.max(np.abs(c), initial=1e-9)) / refine
        n = int(np.ceil(12 / step))
        points.append(step * np.arange(-n, n + 1))
        log_cell += np.log(step)
    return tensor_grid(points), log_cell


def exact(design: Design, beta, Ts, refine: float = 1.0) -> np.ndarray:
    """Return log of the integral itself, of every level of one factor, by a sum over a fine grid."""
    (term,), (T,), fixed, found = design.terms, Ts, design.eta(beta), []
    for level in range(term.n_levels):
        rows = np.flatnonzero(term.codes == level)
        loadings = term.Z[rows] @ T
        u, log_cell = fine_grid(loadings, design.w[rows], refine)
        loglik = design.row_loglik(fixed[rows, None] + loadings @ u.T, rows).sum(axis=0)
        found.append(np.logaddexp.reduce(loglik + log_normal(u)) + log_cell)
    return in_order_of_clusters(design, term, found)


def exact_nested(design: Design, beta, Ts, refine: float = 1.0) -> np.ndarray:
    """Return log of the integral itself for two factors, the second nested in the first: a grid within a grid.

    log L_c = log integral phi(u) prod_{inner levels} [integral phi(v) prod_i p(y_i | u, v)^w_i dv] du.
    """
    (outer, inner), fixed, found = design.terms, design.eta(beta), []
    for level in range(outer.n_levels):
        rows = np.flatnonzero(outer.codes == level)
        u, log_cell = fine_grid(outer.Z[rows] @ Ts[0], design.w[rows], refine)
        logs = log_normal(u)
        for within in np.unique(inner.codes[rows]):
            mine = np.flatnonzero(inner.codes == within)
            loadings = inner.Z[mine] @ Ts[1]
            v, log_inner_cell = fine_grid(loadings, design.w[mine], refine)
            given_u = fixed[mine, None] + outer.Z[mine] @ Ts[0] @ u.T
            loglik = design.row_loglik(given_u[:, :, None] + (loadings @ v.T)[:, None, :], mine).sum(axis=0)
            logs += np.logaddexp.reduce(loglik + log_normal(v), axis=1) + log_inner_cell
        found.append(np.logaddexp.reduce(logs) + log_cell)
    return in_order_of_clusters(design, outer, found)


# ---- slopes, maxima, sandwich ----------------------------------------------------------------------------------------


def extrapolated(rule: Callable, step: float, levels: int) -> np.ndarray:
    """Return Richardson's limit of rule(step), whose error is a series in step^2, at step, step / 2, ..."""
    table = [rule(step / 2**k) for k in range(levels)]
    for order in range(1, levels):
        table = [(4**order * fine - coarse) / (4**order - 1) for coarse, fine in pairwise(table)]
    return table[0]


def slopes(function: Callable, point, step=0.02, levels=3) -> np.ndarray:
    """Return the derivatives of a function (array-valued or not) by each coordinate, the argument's axis first."""

    def by(move):
        return extrapolated(lambda h: (function(point + h * move) - function(point - h * move)) / (2 * h), step, levels)

    point = np.asarray(point, dtype=float)
    return np.array([by(move) for move in np.eye(len(point))])


def second_slopes(function: Callable, point, step=0.06, levels=3) -> np.ndarray:
    """Return the matrix of second derivatives of a number, from values alone."""
    point = np.asarray(point, dtype=float)
    k, moves = len(point), np.eye(len(point))
    found = np.zeros((k, k))
    for i in range(k):
        for j in range(i + 1):

            def rule(h, a=moves[i], b=moves[j]):
                corners = [(s * t, function(point + h * (s * a + t * b))) for s in (1, -1) for t in (1, -1)]
                return sum(sign * value for sign, value in corners) / (4 * h**2)

            found[i, j] = found[j, i] = extrapolated(rule, step, levels)
    return found


def objective(design: Design, method: Callable = laplace, *arguments) -> Callable:
    """Return log L by parameters: the weighted sum over clusters of `laplace`, `quadrature` (its nodes), `exact`."""
    g = design.g
    return lambda parameters: float(g @ method(design, *unpack(design, parameters), *arguments))


def starting_parameters(design: Design) -> list[np.ndarray]:
    """Return zeros for beta, with T diagonal in units of the columns of Z, of two sizes."""
    units = [1 / np.sqrt(np.mean(term.Z**2, axis=0)) for term in design.terms]
    return [pack(design, np.zeros(design.X.shape[1]), [size * np.diag(u) for u in units]) for size in (1.0, 0.2)]


def maximise(design: Design, method: Callable = laplace, *arguments, starts=None) -> np.ndarray:
    """Return the parameters of greatest likelihood, by BFGS and then Newton's method; small problems only."""
    loglik, best = objective(design, method, *arguments), []
    for start in starting_parameters(design) if starts is None else starts:
        x = optimize.minimize(
            lambda x: -loglik(x),
            start,
            jac=lambda x: -slopes(loglik, x, 1e-4, 1),
            method="BFGS",
            options={"gtol": 1e-5, "maxiter": 300},
        ).x
        for _ in range(4):
            H = second_slopes(loglik, x, 0.04, 2)
            if np.linalg.eigvalsh(H)[-1] > -1e-6:  # on a ridge or the boundary a step of Newton's is no use
                break
            step = -np.linalg.solve(H, slopes(loglik, x))
            if loglik(x + step) < loglik(x) - 1e-10:
                break
            x = x + step
            if np.max(np.abs(step)) < 1e-9:
                break
        best.append(x)
    return max(best, key=loglik)


def sandwich(design: Design, parameters, method: Callable = laplace, *arguments, labels=None) -> np.ndarray:
    """Return H^{-1} (sum_c s_c s_c') H^{-1} of all parameters, s_c = g_c d log L_c, H the information of log L.

    `labels` (n,) are coarser clusters than the independent ones, whose scores are then sums.
    """
    scores = cluster_scores(design, parameters, method, *arguments)
    if labels is not None:
        of = np.array([labels[design.clusters == c][0] for c in range(design.n_clusters)])
        scores = np.array([scores[of == label].sum(axis=0) for label in np.unique(labels)])
    bread = np.linalg.inv(-second_slopes(objective(design, method, *arguments), parameters))
    return bread @ scores.T @ scores @ bread


def cluster_scores(design: Design, parameters, method: Callable = laplace, *arguments) -> np.ndarray:
    """Return g_c d log L_c of every cluster, a cluster a row."""
    by_cluster = slopes(lambda x: method(design, *unpack(design, x), *arguments), parameters)
    return by_cluster.T * design.g[:, None]
