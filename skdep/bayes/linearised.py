r"""A multilevel logistic model as a linear one, near some parameters: where modes are, and how coefficients vary.

With working weights W of the rows and residuals d, both at coefficients beta_0 and effects b_0, the model is about that
of y = X beta + Z b + noise of variances 1 / W. Its modes of the effects and its information about the coefficients
are known for every covariance matrix of the effects, from sums over the rows of each level that do not change:

    A_j = Z_j'W Z_j,    C_j = Z_j'W X_j,    r_j = Z_j'd + A_j b_0j.
"""

from __future__ import annotations

import numpy as np

from skdep.glmm.modes import LevelData, solve_factored, solve_lower
from skdep.glmm.rows import GlmmRows
from skdep.mixed.small_matrices import lower_factor

__all__ = ["Linearised", "root_of"]


class Linearised:
    """Sums over the rows of each level, at some coefficients and effects.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model of one factor.
    beta : ndarray of shape (k,)
        Coefficients.
    effects : ndarray of shape (q, n_levels)
        Effects b of the levels.
    """

    def __init__(self, rows: GlmmRows, beta: np.ndarray, effects: np.ndarray):
        data = LevelData(rows)
        self.beta = beta
        eta = rows.fixed_predictor(beta) + data.effects_predictor(effects)
        _, mean, variance = rows.family.derivatives(eta, 2)
        self.gram = data.gram(variance)
        self.right = data.outcome_sums - data.levels.sum(data.weighted * mean)
        self.right += np.einsum("acl,cl->al", self.gram, effects)
        weight = rows.weight * variance
        sums = [data.levels.sum(data.Z * (weight * column)) for column in rows.fixed.T]
        # C_j' (q, n_levels, k), and the same times what each level counts
        self.cross = np.array(sums).reshape(len(sums), *self.right.shape).transpose(1, 2, 0).copy()
        self.weighted_cross = self.cross
        if rows.level_weights is not None:
            self.weighted_cross = self.cross * rows.level_weights[:, None]
            weight = weight * data.levels.spread(rows.level_weights)
        self.fixed = np.dot(rows.fixed.T, rows.fixed * weight[:, None])

    def modes(self, beta: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Return modes (q, n_levels, D) of spherical effects at coefficients beta (D, k) and factors T (q, q, D)."""
        q = len(T)
        away = (beta - self.beta).T
        right = [self.right[a][:, None] - np.dot(self.cross[a], away) for a in range(q)]
        turned = np.array([sum(T[c, a] * right[c] for c in range(a, q)) for a in range(q)])
        return solve_factored(root_of(T, self.gram[..., None]), turned)

    def information(self, T: np.ndarray) -> np.ndarray:
        """Return the information (D, k, k) about the coefficients, effects integrated, at factors T (q, q, D)."""
        q, n_levels, k = self.cross.shape
        n = T.shape[-1]
        # T (I + T'AT)^-1 T' = S'S with S = L^-1 T', between C_j' and C_j
        columns = [np.array([np.broadcast_to(T[c, a], (n_levels, n)) for a in range(q)]) for c in range(q)]
        root = root_of(T, self.gram[..., None])
        parts = np.array([solve_lower(root, column) for column in columns])
        lost = np.zeros((n, k * k))
        for a in range(q):
            for c in range(q):
                products = np.einsum("lp,lr->lpr", self.cross[a], self.weighted_cross[c]).reshape(n_levels, -1)
                lost += np.dot(np.einsum("eld,eld->dl", parts[a], parts[c]), products)
        return self.fixed - lost.reshape(n, k, k)


def root_of(T: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Return the Cholesky factors (q, q, n_levels, D) of I + T'AT, of T (q, q, D) and A (q, q, n_levels, D or 1)."""
    q = len(T)
    if q == 1:
        return np.sqrt(T * T * A + 1.0)
    half = np.einsum("acd,abld->cbld", T, np.broadcast_to(A, (*A.shape[:3], T.shape[-1])))
    inner = np.einsum("cbld,bed->celd", half, T)
    inner[np.arange(q), np.arange(q)] += 1.0
    return lower_factor(inner.reshape(q, q, -1)).reshape(inner.shape)
