r"""Natural cubic splines in the basis of R's ``ns``.

Cubic B-splines B on knots t, restricted to those combinations whose second derivatives vanish at both boundary knots:
with C the (2, k) matrix of those derivatives and C' = Q R, the basis is the last k - 2 columns of B Q. Beyond the
boundary knots the curve goes on as a line.

References
----------
Hastie (1992), Generalized additive models, in Chambers and Hastie (editors), Statistical Models in S, chapter 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg
from scipy.interpolate import BSpline

__all__ = ["natural_spline"]

_DEGREE = 3


def natural_spline(
    x: np.ndarray,
    state: dict[str, Any],
    *,
    df: int | None = None,
    knots: np.ndarray | None = None,
    intercept: bool = False,
    bounds: tuple[float, float] | None = None,
) -> np.ndarray:
    """Return the basis of natural cubic splines (n_rows, n_columns).

    Parameters
    ----------
    x : ndarray of shape (n_rows,)
        Values.
    state : dict
        Knots of the fit: filled where it is empty.
    df : int, optional
        Number of columns: interior knots are quantiles of `x`.
    knots : ndarray, optional
        Interior knots, instead of `df`.
    intercept : bool
        Whether the constant is among the curves.
    bounds : tuple of float, optional
        Boundary knots, by default the range of `x`.
    """
    if "knots" not in state:
        low, high = (float(x.min()), float(x.max())) if bounds is None else bounds
        if knots is None:
            n_interior = max((1 if df is None else df) - 1 - int(intercept), 0)
            inside = x[(x >= low) & (x <= high)]
            knots = np.quantile(inside, np.linspace(0.0, 1.0, n_interior + 2)[1:-1])
        state["bounds"] = (low, high)
        state["knots"] = np.concatenate([[low] * (_DEGREE + 1), np.sort(knots), [high] * (_DEGREE + 1)])
    full, (low, high) = state["knots"], state["bounds"]
    inside = np.clip(x, low, high)
    basis = _b_splines(full, inside)
    ends = np.array([low, high])
    slopes = _b_splines(full, ends, derivative=1)
    basis += (
        np.where(x < low, x - low, 0.0)[:, None] * slopes[0] + np.where(x > high, x - high, 0.0)[:, None] * slopes[1]
    )
    curvature = _b_splines(full, ends, derivative=2)
    first = 0 if intercept else 1
    rotation, _ = linalg.qr(curvature[:, first:].T)
    return basis[:, first:] @ rotation[:, 2:]


def _b_splines(knots: np.ndarray, x: np.ndarray, derivative: int = 0) -> np.ndarray:
    """Return B-splines or their derivatives (n_rows, n_splines)."""
    curves = BSpline(knots, np.eye(len(knots) - _DEGREE - 1), _DEGREE)
    return np.asarray(curves(x, nu=derivative))
