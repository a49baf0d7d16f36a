r"""Information about the covariance parameters, of which Satterthwaite and Kenward-Roger degrees of freedom are made.

The engines give traces and products for parameters of the relative Sigma; here they are completed by sigma2 and brought
to the absolute scale. With V = sigma2 W^-1 + Z Sigma Z', the derivative by sigma2 is (V - sum_k psi_k V_k) / sigma2, so
that nothing but the products for the V_k is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Information"]


@dataclass(frozen=True)
class Information:
    """Traces and products of the derivatives V_i of V by Sigma; V is relative to sigma2.

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
