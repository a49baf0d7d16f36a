"""A slow, literal twin of the linear mixed model: matrices of rows by rows, no structure used, nothing shared.

It imports nothing from skdep, so that an error there cannot hide here. The model is, with one term a grouping factor,

    y = X beta + sum_k Z_k b_k + e,   cov(b_k of one level) = Sigma_k,   cov(e) = sigma2 W^{-1},
    V = Z G Z' + sigma2 W^{-1},      G = blockdiag(I (x) Sigma_k),    P = V^{-1} - V^{-1} X (X'V^{-1}X)^{-1} X'V^{-1}.

The variance parameters theta are vech(Sigma_1), vech(Sigma_2), ..., sigma2, all absolute; vech goes down the columns of
the lower triangle, and leaves out covariances of uncorrelated effects. V is linear in theta. An offset is taken off y
beforehand.

References
----------
Harville (1977), Journal of the American Statistical Association 72, 320-338: ML, REML, their scores and information.
Gilmour, Thompson and Cullis (1995), Biometrics 51, 1440-1450: average information.
Henderson (1975), Biometrics 31, 423-447: mixed model equations, prediction errors.
Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1): the constants of the likelihoods.
Liang and Zeger (1986), Biometrika 73, 13-22: the sandwich.
Fai and Cornelius (1996), Journal of Statistical Computation and Simulation 54, 363-378: df of a contrast.
Kenward and Roger (1997), Biometrics 53, 983-997: adjusted covariance, denominator df and scale of F.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import linalg, optimize


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
    def pairs(self) -> list[tuple[int, int]]:
        """Row and column of the entries of Sigma that are parameters."""
        q = self.Z.shape[1]
        block = self.blocks or (range(q) if self.diagonal else [0] * q)
        return [(i, j) for j in range(q) for i in range(j, q) if block[i] == block[j]]


@dataclass(frozen=True, eq=False)  # designs are told apart by identity, so that what follows from one is kept
class Design:
    """Data of a linear mixed model; X has the constant column, if there is an intercept."""

    X: np.ndarray
    y: np.ndarray
    terms: tuple[Term, ...]
    precision: np.ndarray | None = None  # diagonal of W; ones by default

    @property
    def W(self) -> np.ndarray:
        return np.ones(len(self.y)) if self.precision is None else np.asarray(self.precision, dtype=float)


def repeated(design: Design, counts: np.ndarray) -> Design:
    """Frequency weights, literally: row i occurs counts[i] times, in the same level."""
    rows = np.repeat(np.arange(len(design.y)), np.asarray(counts, dtype=int))
    terms = tuple(replace(term, codes=term.codes[rows], Z=term.Z[rows]) for term in design.terms)
    return Design(design.X[rows], design.y[rows], terms, design.W[rows])


def pack(design: Design, covariances, sigma2: float) -> np.ndarray:
    """Return theta of covariance matrices, one a term, and residual variance."""
    entries = [Sigma[i, j] for term, Sigma in zip(design.terms, covariances) for i, j in term.pairs]
    return np.array([*entries, sigma2])


def unpack(design: Design, theta) -> tuple[list[np.ndarray], float]:
    """Return the covariance matrices and the residual variance in theta."""
    covariances, entries = [], iter(theta)
    for term in design.terms:
        Sigma = np.zeros((term.Z.shape[1],) * 2)
        for i, j in term.pairs:
            Sigma[i, j] = Sigma[j, i] = next(entries)
        covariances.append(Sigma)
    return covariances, float(next(entries))


def dense_z(codes: np.ndarray, Z: np.ndarray, n_levels: int) -> np.ndarray:
    """Return the model matrix of one term, q columns a level; code -1 has zeros."""
    n, q = Z.shape
    full = np.zeros((n, n_levels * q))
    for i in np.flatnonzero(codes >= 0):
        full[i, codes[i] * q : (codes[i] + 1) * q] = Z[i]
    return full


@lru_cache(maxsize=4)
def stacked_z(design: Design) -> np.ndarray:
    """Return Z of all terms side by side."""
    return np.hstack([np.zeros((len(design.y), 0)), *(dense_z(t.codes, t.Z, t.n_levels) for t in design.terms)])


def stacked_covariance(design: Design, theta) -> np.ndarray:
    """Return G, the covariance of all random effects in the order of the columns of `stacked_z`."""
    covariances, _ = unpack(design, theta)
    blocks = [np.kron(np.eye(term.n_levels), Sigma) for term, Sigma in zip(design.terms, covariances)]
    return linalg.block_diag(np.zeros((0, 0)), *blocks)


def marginal_covariance(design: Design, theta) -> np.ndarray:
    """Return V = Z G Z' + sigma2 W^{-1}."""
    Z = stacked_z(design)
    return Z @ stacked_covariance(design, theta) @ Z.T + theta[-1] * np.diag(1 / design.W)


@lru_cache(maxsize=4)
def derivatives(design: Design) -> list[np.ndarray]:
    """Return dV / dtheta_i, constant since V is linear: rows of one level have z_r' E z_s, others 0; last W^{-1}."""
    found = []
    for term in design.terms:
        same_level = term.codes[:, None] == term.codes[None, :]
        for i, j in term.pairs:
            E = np.zeros((term.Z.shape[1],) * 2)
            E[i, j] = E[j, i] = 1.0
            found.append(same_level * (term.Z @ E @ term.Z.T))
    return [*found, np.diag(1 / design.W)]


@dataclass(frozen=True)
class GLS:
    """Generalized least squares at given variances."""

    beta: np.ndarray
    covariance: np.ndarray  # Phi = (X'V^{-1}X)^{-1}
    residual: np.ndarray  # y - X beta
    V_inverse: np.ndarray
    P: np.ndarray
    logdet_V: float


def gls(design: Design, theta) -> GLS:
    """Return beta = Phi X'V^{-1}y with what else follows from V."""
    V, X = marginal_covariance(design, theta), design.X
    V_inverse = np.linalg.inv(V)
    Phi = np.linalg.inv(X.T @ V_inverse @ X)
    beta = Phi @ X.T @ V_inverse @ design.y
    P = V_inverse - V_inverse @ X @ Phi @ X.T @ V_inverse
    return GLS(beta, Phi, design.y - X @ beta, V_inverse, P, np.linalg.slogdet(V)[1])


# ---- likelihoods -----------------------------------------------------------------------------------------------------


def loglik(design: Design, theta, method: str = "reml") -> float:
    """Return log L at theta and the beta that maximises it.

    ML:   -1/2 [n log 2pi + log|V| + r'V^{-1}r]
    REML: -1/2 [(n - p) log 2pi + log|V| + log|X'V^{-1}X| + r'V^{-1}r], as lme4: without log|X'X|.
    """
    fit, (n, p) = gls(design, theta), design.X.shape
    quadratic = fit.residual @ fit.V_inverse @ fit.residual
    if method == "ml":
        return -0.5 * (n * np.log(2 * np.pi) + fit.logdet_V + quadratic)
    logdet_information = -np.linalg.slogdet(fit.covariance)[1]
    return -0.5 * ((n - p) * np.log(2 * np.pi) + fit.logdet_V + logdet_information + quadratic)


def profiled_theta(design: Design, relative, method: str = "reml") -> np.ndarray:
    """Return theta at covariances relative to sigma2, and sigma2 = r'V_0^{-1}r / n, or / (n - p) under REML."""
    fit, (n, p) = gls(design, pack(design, relative, 1.0)), design.X.shape
    sigma2 = fit.residual @ fit.V_inverse @ fit.residual / (n if method == "ml" else n - p)
    return sigma2 * pack(design, relative, 1.0)


def profiled_loglik(design: Design, relative, method: str = "reml") -> float:
    """Return log L at covariances relative to sigma2, maximised over sigma2 and beta."""
    return loglik(design, profiled_theta(design, relative, method), method)


def score(design: Design, theta, method: str = "reml") -> np.ndarray:
    """Return d log L / d theta_i = -1/2 tr(V^{-1} V_i) + 1/2 y'P V_i P y; under REML with tr(P V_i)."""
    fit = gls(design, theta)
    Py, M = fit.P @ design.y, fit.V_inverse if method == "ml" else fit.P
    return np.array([-0.5 * np.trace(M @ V_i) + 0.5 * Py @ V_i @ Py for V_i in derivatives(design)])


def expected_information(design: Design, theta, method: str = "reml") -> np.ndarray:
    """Return 1/2 tr(V^{-1} V_i V^{-1} V_j); under REML with P for V^{-1}."""
    fit = gls(design, theta)
    products = [(fit.V_inverse if method == "ml" else fit.P) @ V_i for V_i in derivatives(design)]
    return np.array([[0.5 * np.sum(A * B.T) for B in products] for A in products])


def average_information(design: Design, theta) -> np.ndarray:
    """Return 1/2 y'P V_i P V_j P y: the mean of observed and expected information, of ML and of REML."""
    P = gls(design, theta).P
    working = [V_i @ P @ design.y for V_i in derivatives(design)]
    return np.array([[0.5 * a @ P @ b for b in working] for a in working])


def observed_information(design: Design, theta, method: str = "reml") -> np.ndarray:
    """Return minus the second derivatives of log L, with beta profiled out: y'P V_i P V_j P y - 1/2 tr(M V_i M V_j)."""
    fit = gls(design, theta)
    M, Py, V_dot = fit.V_inverse if method == "ml" else fit.P, fit.P @ design.y, derivatives(design)
    working, products = [V_i @ Py for V_i in V_dot], [M @ V_i for V_i in V_dot]
    return np.array(
        [[a @ fit.P @ b - 0.5 * np.sum(A * B.T) for b, B in zip(working, products)] for a, A in zip(working, products)]
    )


# ---- maximum likelihood ----------------------------------------------------------------------------------------------


def factors(design: Design, entries) -> list[np.ndarray]:
    """Return the lower triangular T_k, relative covariance T_k T_k', of their entries at `Term.pairs`."""
    found, entries = [], iter(entries)
    for term in design.terms:
        T = np.zeros((term.Z.shape[1],) * 2)
        for i, j in term.pairs:
            T[i, j] = next(entries)
        found.append(T)
    return found


def profiled_gradient(design: Design, entries, method: str = "reml") -> np.ndarray:
    """Return the gradient of `profiled_loglik` in the entries of T: 2 sigma2 G T, where d log L = <G, dSigma>.

    The derivative through sigma2 vanishes since sigma2 is at its maximum.
    """
    Ts = factors(design, entries)
    theta = profiled_theta(design, [T @ T.T for T in Ts], method)
    gradient, slopes = [], iter(score(design, theta, method)[:-1])
    for term, T in zip(design.terms, Ts):
        G = np.zeros_like(T)
        for i, j in term.pairs:
            half = next(slopes) / 2
            G[i, j] += half
            G[j, i] += half
        gradient += [(2 * theta[-1] * G @ T)[i, j] for i, j in term.pairs]
    return np.array(gradient)


def starting_factors(design: Design, n_starts: int) -> list[np.ndarray]:
    """Return entries of T to start from: identities of three sizes in units of the columns of Z, then random ones."""
    rng = np.random.default_rng(0)
    units, diagonal = [], []
    for term in design.terms:
        size = np.sqrt(np.mean(term.Z**2, axis=0))
        units += [1 / size[i] for i, _ in term.pairs]
        diagonal += [float(i == j) for i, j in term.pairs]
    units, diagonal = np.array(units), np.array(diagonal)
    identities = [scale * units * diagonal for scale in (1.0, 0.1, 4.0)]
    return [*identities, *(units * rng.normal(size=len(units)) for _ in range(n_starts - 3))][:n_starts]


def climb(design: Design, objective, gradient=None, n_starts: int = 7) -> np.ndarray:
    """Maximise a function of the entries of all T from many starts; return the best entries."""
    found = [
        optimize.minimize(
            lambda entries: -objective(entries),
            start,
            jac=None if gradient is None else lambda entries: -gradient(entries),
            method="BFGS",
            options={"gtol": 1e-7, "maxiter": 500},
        )
        for start in starting_factors(design, n_starts)
    ]
    return min(found, key=lambda result: result.fun).x


def maximise(design: Design, method: str = "reml", n_starts: int = 7) -> np.ndarray:
    """Return the theta of greatest likelihood; small problems only."""
    if not design.terms:
        return profiled_theta(design, [], method)

    def relative(entries):
        return [T @ T.T for T in factors(design, entries)]

    best = climb(
        design,
        lambda entries: profiled_loglik(design, relative(entries), method),
        lambda entries: profiled_gradient(design, entries, method),
        n_starts,
    )
    return profiled_theta(design, relative(best), method)


# ---- random effects and prediction -----------------------------------------------------------------------------------


def blups(design: Design, theta) -> np.ndarray:
    """Return G Z'V^{-1}(y - X beta), in the order of the columns of `stacked_z`."""
    fit = gls(design, theta)
    return stacked_covariance(design, theta) @ stacked_z(design).T @ fit.V_inverse @ fit.residual


def by_level(design: Design, stacked: np.ndarray) -> list[np.ndarray]:
    """Return a stacked vector of random effects as one array (levels, q) a term."""
    sizes = [term.n_levels * term.Z.shape[1] for term in design.terms]
    parts = np.split(stacked, np.cumsum(sizes)[:-1])
    return [part.reshape(term.n_levels, -1) for part, term in zip(parts, design.terms)]


def conditional_covariance(design: Design, theta) -> np.ndarray:
    """Return cov(b | y, beta) = G - G Z'V^{-1}Z G, whose blocks are lme4's condVar."""
    G, Z = stacked_covariance(design, theta), stacked_z(design)
    return G - G @ Z.T @ gls(design, theta).V_inverse @ Z @ G


def joint_prediction_error(design: Design, theta) -> np.ndarray:
    """Return the covariance of (beta_hat, b_hat - b): the inverse of the mixed model equations, also for singular G.

    cov(b_hat - b) = G - G Z'P Z G and cov(beta_hat, b_hat - b) = -Phi X'V^{-1}Z G.
    """
    fit, G, Z = gls(design, theta), stacked_covariance(design, theta), stacked_z(design)
    across = -fit.covariance @ design.X.T @ fit.V_inverse @ Z @ G
    return np.block([[fit.covariance, across], [across.T, G - G @ Z.T @ fit.P @ Z @ G]])


def predict(design: Design, theta, X: np.ndarray, codes=None, Z=None) -> tuple[np.ndarray, np.ndarray]:
    """Return prediction of x'beta + z'b in new rows, and its standard error; theta counts as known, no residual noise.

    `codes` and `Z` hold an array a term. An unseen level, code -1, is predicted as 0 with error z'Sigma z, independent
    of all else. Without `codes` the prediction is x'beta, of the population.
    """
    p, error = design.X.shape[1], joint_prediction_error(design, theta)
    if codes is None:
        return X @ gls(design, theta).beta, np.sqrt(np.diag(X @ error[:p, :p] @ X.T))
    known = np.hstack([dense_z(c, z, term.n_levels) for term, c, z in zip(design.terms, codes, Z)])
    rows, both = np.hstack([X, known]), np.concatenate([gls(design, theta).beta, blups(design, theta)])
    variance = np.diag(rows @ error @ rows.T).copy()
    for Sigma, c, z in zip(unpack(design, theta)[0], codes, Z):
        variance += np.where(c < 0, np.diag(z @ Sigma @ z.T), 0.0)
    return rows @ both, np.sqrt(variance)


# ---- inference about beta --------------------------------------------------------------------------------------------


def cluster_sandwich(design: Design, theta, clusters: np.ndarray) -> np.ndarray:
    """Return CR0: Phi [sum_c X_c'(V^{-1}r)_c (V^{-1}r)_c' X_c] Phi; V must be block-diagonal over the clusters."""
    fit = gls(design, theta)
    rows = design.X * (fit.V_inverse @ fit.residual)[:, None]
    sums = np.array([rows[clusters == cluster].sum(axis=0) for cluster in np.unique(clusters)])
    return fit.covariance @ sums.T @ sums @ fit.covariance


def crossed_sandwich(design: Design, theta) -> np.ndarray:
    """Return sum of A_i r_i r_j A_j' over rows i, j that share a level of any term, A = Phi X'V^{-1}, r = y - X beta.

    As beta_hat - beta = A r, its mean is Phi at the true beta. Negative eigenvalues, relative to Phi, become 0.
    """
    fit = gls(design, theta)
    share = np.zeros((len(design.y),) * 2, dtype=bool)
    for term in design.terms:
        share |= term.codes[:, None] == term.codes[None, :]
    parts = fit.covariance @ design.X.T @ fit.V_inverse * fit.residual
    values, vectors = linalg.eigh(parts @ share @ parts.T, fit.covariance)
    back = fit.covariance @ vectors
    return (back * np.maximum(values, 0)) @ back.T


def covariance_derivatives(design: Design, theta) -> list[np.ndarray]:
    """Return dPhi / dtheta_i = Phi X'V^{-1} V_i V^{-1}X Phi."""
    fit = gls(design, theta)
    half = fit.V_inverse @ design.X @ fit.covariance
    return [half.T @ V_i @ half for V_i in derivatives(design)]


def satterthwaite_df(design: Design, theta, contrast: np.ndarray, method: str = "reml") -> float:
    """Return 2 f^2 / (f' A f'), f = l'Phi l with gradient f', A the inverse of the observed information."""
    gradient = np.array([contrast @ dPhi @ contrast for dPhi in covariance_derivatives(design, theta)])
    variance = contrast @ gls(design, theta).covariance @ contrast
    return 2 * variance**2 / (gradient @ np.linalg.solve(observed_information(design, theta, method), gradient))


def kenward_roger_covariance(design: Design, theta) -> np.ndarray:
    """Return Phi + 2 Phi [sum_ij A_ij (Q_ij - P_i Phi P_j)] Phi.

    P_i = -X'V^{-1}V_i V^{-1}X, Q_ij = X'V^{-1}V_i V^{-1}V_j V^{-1}X, A the inverse of the expected REML information.
    There is no term in second derivatives of V, which are 0.
    """
    fit, V_dot = gls(design, theta), derivatives(design)
    A = np.linalg.inv(expected_information(design, theta, "reml"))
    half = fit.V_inverse @ design.X
    P = [-half.T @ V_i @ half for V_i in V_dot]
    middle = np.zeros_like(fit.covariance)
    for i, V_i in enumerate(V_dot):
        for j, V_j in enumerate(V_dot):
            Q_ij = half.T @ V_i @ fit.V_inverse @ V_j @ half
            middle += A[i, j] * (Q_ij - P[i] @ fit.covariance @ P[j])
    return fit.covariance + 2 * fit.covariance @ middle @ fit.covariance


def kenward_roger_df(design: Design, theta, L: np.ndarray) -> tuple[float, float]:
    """Return denominator df m and scale lambda of F = lambda (L b)'(L Phi_A L')^{-1} (L b) / q for L (q, p) or (p,)."""
    L = np.atleast_2d(L)
    q, Phi = len(L), gls(design, theta).covariance
    A = np.linalg.inv(expected_information(design, theta, "reml"))
    Theta = L.T @ np.linalg.inv(L @ Phi @ L.T) @ L
    products = [Theta @ dPhi for dPhi in covariance_derivatives(design, theta)]  # Phi P_i Phi = -dPhi_i
    traces = np.array([np.trace(product) for product in products])
    A1 = traces @ A @ traces
    A2 = np.sum(A * np.array([[np.trace(a @ b) for b in products] for a in products]))
    B = (A1 + 6 * A2) / (2 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    c1, c2, c3 = np.array([g, q - g, q + 2 - g]) / (3 * q + 2 * (1 - g))
    mean = 1 / (1 - A2 / q)
    variance = 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
    rho = variance / (2 * mean**2)
    m = 4 + (q + 2) / (q * rho - 1)
    return m, m / (mean * (m - 2))
