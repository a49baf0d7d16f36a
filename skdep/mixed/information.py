r"""Information about the covariance parameters, of which Satterthwaite and Kenward-Roger degrees of freedom are made.

The engines give traces and products for the parameters of Sigma, V relative to sigma2. With V_0 the part of sigma2,
V = V_0 + sum_k psi_k V_k, so that everything for sigma2 follows from what is known of the V_k, of V and of P V P = P.

References
----------
Kenward and Roger (1997), Small sample inference for fixed effects from restricted maximum likelihood, Biometrics 53.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Information"]


@dataclass(frozen=True)
class Information:
    """Traces and products of the derivatives V_i of V; K parameters, p coefficients.

    Parameters
    ----------
    traces_first : ndarray of shape (K,)
        tr(V^-1 V_i).
    traces_second : ndarray of shape (K, K)
        tr(V^-1 V_i V^-1 V_j).
    outer : ndarray of shape (K, p, p)
        X'V^-1 V_i V^-1 X.
    crossed : ndarray of shape (K, K, p, p)
        X'V^-1 V_i V^-1 V_j V^-1 X.
    scores : ndarray of shape (K,)
        y'P V_i P y.
    quadratic : ndarray of shape (K, K)
        y'P V_i P V_j P y.
    phi : ndarray of shape (p, p)
        (X'V^-1 X)^-1.
    """

    traces_first: np.ndarray
    traces_second: np.ndarray
    outer: np.ndarray
    crossed: np.ndarray
    scores: np.ndarray
    quadratic: np.ndarray
    phi: np.ndarray

    def with_residual(self, psi: np.ndarray, n_obs: float, r2: float, gram: np.ndarray) -> Information:
        """Return the same with sigma2 as one more parameter, the last.

        Parameters
        ----------
        psi : ndarray of shape (K,)
            Parameters of Sigma, relative to sigma2.
        n_obs : float
            tr(V^-1 V), the number of observations.
        r2 : float
            y'P y.
        gram : ndarray of shape (p, p)
            X'V^-1 X.
        """
        first = np.append(self.traces_first, n_obs - psi @ self.traces_first)
        outer = np.concatenate([self.outer, (gram - np.tensordot(psi, self.outer, axes=1))[None]])
        scores = np.append(self.scores, r2 - psi @ self.scores)
        return replace(
            self,
            traces_first=first,
            traces_second=_bordered(self.traces_second, first, psi),
            outer=outer,
            crossed=_bordered(self.crossed, outer, psi),
            scores=scores,
            quadratic=_bordered(self.quadratic, scores, psi),
        )

    @property
    def traces_projected(self) -> np.ndarray:
        """tr(P V_i P V_j)."""
        moved = np.einsum("ab,ibc->iac", self.phi, self.outer)
        return (
            self.traces_second
            - 2.0 * np.einsum("ab,ijba->ij", self.phi, self.crossed)
            + np.einsum("iab,jba->ij", moved, moved)
        )


def _bordered(known: np.ndarray, whole: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Add row and column of the residual: with M_kV = whole_k, M_k0 = whole_k - sum_l psi_l M_kl."""
    k = len(psi)
    result = np.empty((k + 1, k + 1, *known.shape[2:]))
    result[:k, :k] = known
    column = whole[:k] - np.tensordot(known, psi, axes=([1], [0]))
    result[:k, k] = column
    result[k, :k] = column if known.ndim == 2 else column.transpose(0, 2, 1)
    result[k, k] = whole[k] - np.tensordot(psi, result[k, :k], axes=1)
    return result
