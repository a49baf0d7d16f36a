r"""The last step of the elimination: fixed effects and residual, once the random effects are gone.

With S the cross-products of [X, y] after elimination of the random effects, beta solves S_XX beta = S_Xy and
r2 = S_yy - S_yX beta is the penalised residual sum of squares. Profiled over beta and sigma2, -2 log L is

    log|Omega| + m (1 + log(2 pi r2 / m)) [+ log|S_XX| under REML],  m = n (ML) or n - p (REML).

References
----------
Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), section 3.4, eq. 34 and 41.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Border", "solve_border"]

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Border:
    """Fixed effects and residual at given covariance parameters.

    Parameters
    ----------
    beta : ndarray of shape (p,)
        Generalised least squares estimates, in working coordinates.
    inverse_root : ndarray of shape (p, p)
        R with R R' = (X' V^-1 X)^-1, V relative to sigma2.
    r2 : float
        Penalised residual sum of squares.
    sigma2 : float
        r2 / m.
    m : float
        Denominator of sigma2.
    value : float
        Share of the criterion that does not come from the random effects' log determinants.
    reml : bool
        Whether the criterion is REML.
    """

    beta: np.ndarray
    inverse_root: np.ndarray
    r2: float
    sigma2: float
    m: float
    value: float
    reml: bool

    @property
    def contrast(self) -> np.ndarray:
        """Coefficients (p + 1,) that turn columns [X, y] into the residual y - X beta."""
        return np.append(-self.beta, 1.0)


def solve_border(products: np.ndarray, n_obs: float, *, reml: bool) -> Border:
    """Solve for the fixed effects.

    Parameters
    ----------
    products : ndarray of shape (p + 1, p + 1)
        Cross-products of [X, y] after elimination of the random effects.
    n_obs : float
        Number of observations n.
    reml : bool
        Whether the criterion is REML.
    """
    p = len(products) - 1
    m = n_obs - p if reml else n_obs
    gram, right = products[:p, :p], products[:p, p]
    if p:
        scale = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
        factor = np.linalg.cholesky(gram / np.outer(scale, scale))
        root = np.linalg.inv(factor).T / scale[:, None]
        beta = root @ (root.T @ right)
        log_det = 2.0 * float(np.sum(np.log(np.diag(factor))) + np.sum(np.log(scale)))
    else:
        root, beta, log_det = np.zeros((0, 0)), np.zeros(0), 0.0
    r2 = max(float(products[p, p] - right @ beta), np.finfo(float).tiny)
    # where coefficients take all observations, nothing is left for the variance
    sigma2 = r2 / m if m > 0 else np.nan
    value = m * (1.0 + _LOG_2PI + float(np.log(sigma2))) + (log_det if reml else 0.0)
    return Border(beta, root, r2, sigma2, m, value, reml)
