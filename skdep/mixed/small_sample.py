r"""Degrees of freedom and covariance of coefficients in small samples: Satterthwaite, and Kenward and Roger.

Satterthwaite: Var(c'beta) = c'Phi c is treated as chi-square with df = 2 (c'Phi c)^2 / (g'A g), g its gradient by the
covariance parameters, A twice the inverse of the second derivative of -2 log L. Kenward-Roger: Phi is first enlarged
by what it lacks because variances are estimated, and df match moments of the F statistic; A is from the expected
information.

References
----------
Satterthwaite (1946), Biometrics Bulletin 2, 110-114. Fai and Cornelius (1996), Journal of Statistical Computation and
Simulation 54, 363-378: several contrasts.
Kenward and Roger (1997), Biometrics 53, 983-997. Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical
Software 82(13): the gradients, at the level of the profiled model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep._docs import read_more
from skdep.mixed.fit import LinearMixedFit
from skdep.mixed.information import Information

__all__ = ["DF_METHODS", "SmallSample", "kenward_roger_moments"]

DF_METHODS = ("satterthwaite", "kenward-roger")
# Random-effect columns above which several factors make small-sample inference expensive, and needless.
_MANY_COLUMNS = 5000


@dataclass(frozen=True)
class SmallSample:
    """Small-sample inference of a fit, computed when asked for.

    Parameters
    ----------
    fit : LinearMixedFit
        The fit.
    """

    fit: LinearMixedFit

    @property
    def default(self) -> str:
        """Degrees of freedom that tables use unless told otherwise."""
        terms = self.fit.products.terms
        many = len(terms) > 1 and sum(term.q * term.n_levels for term in terms) > _MANY_COLUMNS
        return "normal" if many or self.fit.products.y_scale == 0.0 else "satterthwaite"

    def covariance(self, method: str) -> np.ndarray:
        """Return the covariance of ``[intercept, *coef]`` that goes with a method."""
        parts = _Parts(self.fit, method)
        return parts.adjusted() if method == "kenward-roger" else parts.phi

    def contrast_df(self, contrasts: np.ndarray, method: str) -> np.ndarray:
        """Return degrees of freedom (m,) of each of the contrasts (m, n_coefficients) by itself."""
        parts = _Parts(self.fit, method)
        return parts.satterthwaite(contrasts) if method == "satterthwaite" else parts.kenward_roger_single(contrasts)

    def joint_df(self, contrasts: np.ndarray, method: str) -> tuple[float, float]:
        """Return denominator degrees of freedom of the F test of several contrasts, and what to multiply F by."""
        parts = _Parts(self.fit, method)
        if method == "kenward-roger":
            return parts.kenward_roger(contrasts)
        return parts.satterthwaite_joint(contrasts), 1.0


class _Parts:
    """The information matrices of a fit, on the scale of the user's coefficients."""

    def __init__(self, fit: LinearMixedFit, method: str):
        if method not in DF_METHODS:
            raise ValueError(f"df must be one of {DF_METHODS}, 'normal', 'residual' or a number, got {method!r}.")
        if method == "kenward-roger" and not fit.reml:
            raise ValueError(
                f"df='kenward-roger' is defined for REML fits: fit with method='reml'.{read_more('standard_errors')}"
            )
        engine = fit.engine()
        state = engine.value(fit.factors)
        border = state.border
        self.fit, self.sigma2 = fit, border.sigma2
        psi = fit.parameters.pack([T @ T.T for T in fit.factors])
        info: Information = engine.information(state)
        gram = np.linalg.inv(info.phi) if len(info.phi) else info.phi
        self.info = info.with_residual(psi, fit.products.n_obs, border.r2, gram)
        self.back = fit.back * fit.products.y_scale
        self.phi = self.back @ info.phi @ self.back.T * border.sigma2
        if method == "satterthwaite":
            self._gradients = engine.derivatives(state).gradients

    def _variance_of_parameters(self) -> np.ndarray:
        """Return twice the inverse second derivative of -2 log L by (T, sigma2), and the map of gradients to them."""
        fit, info, s2 = self.fit, self.info, self.sigma2
        traces = info.traces_projected if fit.reml else info.traces_second
        hessian = 2.0 * info.quadratic / s2**3 - traces / s2**2
        jacobian = self._jacobian()
        inner = jacobian.T @ hessian @ jacobian
        k = fit.parameters.n_parameters
        inner[:k, :k] += fit.parameters.curvature_of_square(self._gradients)
        values, vectors = np.linalg.eigh(_unit(inner)[0])
        kept = values > 1e-8 * max(float(values.max(initial=0.0)), 0.0)
        scale = _unit(inner)[1]
        root = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
        return np.sqrt(2.0) * root

    def _jacobian(self) -> np.ndarray:
        """Return the derivative of (Sigma, sigma2), absolute, by (T, sigma2), T relative."""
        fit, k = self.fit, self.fit.parameters.n_parameters
        result = np.zeros((k + 1, k + 1))
        result[:k, :k] = fit.parameters.jacobian(fit.factors) * self.sigma2
        result[:k, k] = fit.parameters.pack([T @ T.T for T in fit.factors])
        result[k, k] = 1.0
        return result

    def _sensitivity(self, contrasts: np.ndarray) -> np.ndarray:
        """Return the gradient (m, K + 1) of c'Phi c by (T, sigma2), times a root of their variance."""
        moved = contrasts @ self.back @ self.info.phi
        gradient = np.einsum("mp,ipq,mq->mi", moved, self.info.outer, moved, optimize=True)
        return gradient @ self._jacobian() @ self._variance_of_parameters()

    def satterthwaite(self, contrasts: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom (m,) of each contrast by itself."""
        # of contrasts of unit variance: their squares stay numbers in whatever units
        spread = self._sensitivity(self._of_unit_variance(contrasts))
        denominator = np.einsum("mi,mi->m", spread, spread)
        with np.errstate(divide="ignore"):
            return np.where(denominator > 0, 2.0 / denominator, np.inf)

    def kenward_roger_single(self, contrasts: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom (m,) of each contrast by itself, as `kenward_roger` does of one."""
        moved = self._of_unit_variance(contrasts) @ self.back @ self.info.phi
        traces = np.einsum("mp,ipq,mq->mi", moved, self.info.outer, moved, optimize=True)
        denominator = np.einsum("mi,ij,mj->m", traces, self._kr_weights(), traces, optimize=True)
        with np.errstate(divide="ignore"):
            return np.where(denominator > 0, 2.0 / denominator, np.inf)

    def _of_unit_variance(self, contrasts: np.ndarray) -> np.ndarray:
        """Scale contrasts (m, n_coefficients) to variance one; those that have none become zero."""
        variance = np.einsum("mp,pq,mq->m", contrasts, self.phi, contrasts, optimize=True)
        known = variance > 0
        return np.where(known[:, None], contrasts, 0.0) / np.sqrt(np.where(known, variance, 1.0))[:, None]

    def satterthwaite_joint(self, contrasts: np.ndarray) -> float:
        """Return denominator degrees of freedom of several contrasts, by their principal directions."""
        values, vectors = np.linalg.eigh(contrasts @ self.phi @ contrasts.T)
        kept = values > 1e-10 * values.max()
        each = self.satterthwaite(vectors.T[kept] @ contrasts)
        rank = len(each)
        if rank == 1 or np.ptp(each) < 1e-8 * each[0]:
            return float(each[0])
        expected = float(np.sum(each[each > 2] / (each[each > 2] - 2.0)))
        return 2.0 * expected / (expected - rank) if expected > rank else 2.0

    def _kr_weights(self) -> np.ndarray:
        """Return the variance of (Sigma, sigma2) by the expected information."""
        expected = self.info.traces_projected / self.sigma2**2
        scaled, scale = _unit(expected)
        return 2.0 * np.linalg.pinv(scaled, rcond=1e-12, hermitian=True) / np.outer(scale, scale)

    def adjusted(self) -> np.ndarray:
        """Return the covariance of coefficients enlarged for estimated variances."""
        info, s2 = self.info, self.sigma2
        projected = info.crossed - np.einsum("iab,bc,jcd->ijad", info.outer, info.phi, info.outer, optimize=True)
        lacking = np.einsum("ij,ijab->ab", self._kr_weights(), projected) / s2**3
        phi = info.phi * s2
        adjusted = phi + 2.0 * phi @ lacking @ phi
        result = self.back @ adjusted @ self.back.T
        return 0.5 * (result + result.T)

    def kenward_roger(self, contrasts: np.ndarray) -> tuple[float, float]:
        """Return denominator degrees of freedom and the factor of F for contrasts (m, n_coefficients)."""
        info, s2 = self.info, self.sigma2
        L = contrasts @ self.back
        phi = info.phi * s2
        theta = L.T @ np.linalg.solve(L @ phi @ L.T, L)
        moved = np.einsum("ab,ibc->iac", theta @ phi, info.outer @ phi) / s2**2
        traces = np.einsum("iaa->i", moved)
        weights = self._kr_weights()
        first = float(traces @ weights @ traces)
        second = float(np.einsum("ij,iab,jba->", weights, moved, moved, optimize=True))
        return kenward_roger_moments(first, second, np.linalg.matrix_rank(L))


def _unit(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix scaled to unit diagonal, and the scale."""
    diagonal = np.abs(np.diag(matrix))
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return matrix / np.outer(scale, scale), scale


def kenward_roger_moments(first: float, second: float, rank: int) -> tuple[float, float]:
    """Match the moments of F: returns denominator degrees of freedom, and the factor of the statistic.

    Parameters
    ----------
    first, second : float
        A1 and A2 of Kenward and Roger (1997), section 3.
    rank : int
        Number of independent contrasts.
    """
    if rank == 1:
        return (2.0 / second if second > 0 else np.inf), 1.0
    if second <= 0:
        return np.inf, 1.0
    B = (first + 6.0 * second) / (2.0 * rank)
    g = ((rank + 1.0) * first - (rank + 4.0) * second) / ((rank + 2.0) * second)
    base = 3.0 * rank + 2.0 * (1.0 - g)
    c1, c2, c3 = g / base, (rank - g) / base, (rank + 2.0 - g) / base
    expectation = 1.0 / (1.0 - second / rank)
    variance = (2.0 / rank) * (1.0 + c1 * B) / ((1.0 - c2 * B) ** 2 * (1.0 - c3 * B))
    rho = variance / (2.0 * expectation**2)
    df = 4.0 + (rank + 2.0) / (rank * rho - 1.0)
    return float(df), float(df / (expectation * (df - 2.0)))
