r"""Derivatives of the criterion from sums over levels, shared by the engines.

With P the projected inverse covariance (relative to sigma2; V^-1 itself under ML), f = -2 log L profiled over beta and
sigma2, Z_i = Z E_i Z' the derivative of V by a parameter i of Sigma, and e the conditional residual,

    df/di = tr(P V_i) - s_i,   s_i = y'P V_i P y / sigma2,
    d2f/di dj = -tr(P V_i P V_j) + 2 y'P V_i P V_j P y / sigma2 - s_i s_j / m.

Where the trace is not at hand, it is replaced by y'P V_i P V_j P y / sigma2, which has the same expectation: the
average information.

References
----------
Gilmour, Thompson and Cullis (1995), Biometrics 51, 1440-1450: average information.
Lindstrom and Bates (1988), JASA 83, 1014-1022: Newton's method for the profiled criterion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.mixed.border import Border

__all__ = ["Derivatives", "State", "profiled_hessian"]


@dataclass(frozen=True)
class State:
    """The criterion at some covariance parameters, and what its derivatives start from.

    Parameters
    ----------
    factors : list of ndarray
        Relative Cholesky factors T by term.
    value : float
        -2 log L (REML: the criterion), up to a constant.
    border : Border
        Fixed effects and residual.
    work : dict
        Intermediate results of the engine.
    """

    factors: list[np.ndarray]
    value: float
    border: Border
    work: dict


@dataclass(frozen=True)
class Derivatives:
    """First and second derivatives by Sigma.

    Parameters
    ----------
    gradients : list of ndarray of shape (q, q)
        Symmetric derivative G of the criterion by Sigma of each term.
    hessian : ndarray of shape (K, K)
        Second derivative by the parameters of Sigma.
    exact : bool
        Whether the second derivative is exact, or the average information.
    expected : ndarray of shape (K, K) or None
        Expectation of the second derivative, where the engine has it.
    """

    gradients: list[np.ndarray]
    hessian: np.ndarray
    exact: bool
    expected: np.ndarray | None = None


def profiled_hessian(
    quadratic: np.ndarray, scores: np.ndarray, border: Border, traces: np.ndarray | None
) -> np.ndarray:
    """Return the second derivative of the profiled criterion by Sigma.

    Parameters
    ----------
    quadratic : ndarray of shape (K, K)
        y'P V_i P V_j P y.
    scores : ndarray of shape (K,)
        y'P V_i P y.
    border : Border
        Fixed effects and residual.
    traces : ndarray of shape (K, K) or None
        tr(P V_i P V_j); None replaces it by its average with the quadratic form.
    """
    s = scores / border.sigma2
    average = quadratic / border.sigma2
    curvature = average if traces is None else 2.0 * average - traces
    return curvature - np.outer(s, s) / border.m
