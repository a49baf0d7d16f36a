r"""Separation in binary regression: when maximum likelihood estimates are infinite, and which.

Some direction b has s_i x_i'b >= 0 in every row (s_i = +1 or -1 the outcome), with > 0 in at least one, if and only if
the maximum likelihood estimate does not exist. A linear program finds such a direction. It is expensive on large data,
and a converged fit usually proves that there is none:

Let g be the score at any estimate, J the information, lambda^2 = g' J^{-1} g. If b separates, scaled so that
max |x_i'b| = 1, then with residuals r_i of size |r_i| >= v_i (v_i = pi_i (1 - pi_i)),

    g'b = sum w_i |r_i| |x_i'b| >= sum w_i v_i (x_i'b)^2 = b'Jb,   so   lambda >= (b'Jb)^{1/2},
    1 = max (x_i'b)^2 <= max_i (x_i' J^{-1} x_i) b'Jb <= p sum_ij x_ij^2 (J^{-1})_jj lambda^2,

the last since a positive definite p x p matrix is at most p times its diagonal. So if the right side is below 1,
nothing is separated.

References
----------
Albert and Anderson (1984), Biometrika 71, 1-10: existence of the estimates.
Konis (2007), DPhil thesis, University of Oxford: the linear program.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

from skdep._linalg import scaled_inverse

__all__ = ["no_separation_certified", "separating_direction", "separation_message"]


def no_separation_certified(decrement: float, information: np.ndarray, squares: np.ndarray) -> bool:
    """Say whether a fit proves that its data are not separated.

    Parameters
    ----------
    decrement : float
        Newton decrement lambda at the estimate.
    information : ndarray of shape (p, p)
        Information at the estimate.
    squares : ndarray of shape (p,)
        Sums of squares of the design's columns over rows of positive weight, unweighted.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        bound = decrement**2 * len(squares) * float(squares @ np.diag(scaled_inverse(information)))
    return bool(np.isfinite(bound) and 0.0 <= bound < 1.0)


def separating_direction(X: np.ndarray, y: np.ndarray, *, fit_intercept: bool) -> np.ndarray | None:
    """Find a direction of coefficients that separates the outcomes, completely or quasi-completely.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Features of the rows with positive weight.
    y : ndarray of shape (n_rows,)
        Outcomes 0 and 1, or fractions; a fraction must lie on the separating plane itself.
    fit_intercept : bool
        Whether the model has an intercept.

    Returns
    -------
    direction : ndarray of shape (fit_intercept + p,) or None
        Direction along which the likelihood never falls, intercept first, in units of the scaled features; None if the
        data overlap.
    """
    import pandas as pd

    design = np.column_stack([np.ones(len(X)), X]) if fit_intercept else X
    scale = np.abs(design).max(axis=0)
    design = design / np.where(scale > 0, scale, 1.0)
    # Repeated rows repeat a constraint: the linear program does not need them.
    rows = pd.DataFrame(np.column_stack([y, design])).drop_duplicates().to_numpy()
    y, design = rows[:, 0], rows[:, 1:]
    pure = (y == 0) | (y == 1)
    signed = np.where(y[pure] == 1, 1.0, -1.0)[:, None] * design[pure]
    result = linprog(
        -signed.sum(axis=0),
        A_ub=-signed,
        b_ub=np.zeros(len(signed)),
        A_eq=design[~pure] if (~pure).any() else None,
        b_eq=np.zeros(int((~pure).sum())) if (~pure).any() else None,
        bounds=(-1.0, 1.0),
        method="highs",
    )
    if result.x is None or not len(signed):
        return None
    margins = signed @ result.x
    # The solver is feasible to 1e-7: a direction counts only if it separates by clearly more than that.
    if margins.max() < 1e-5 or margins.min() < -1e-6:
        return None
    return result.x


def separation_message(names: Sequence[str], n_features: int) -> str:
    """Say which features have infinite coefficients, and what to do."""
    shown = ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
    return (
        f"Separation: a linear combination of features predicts the outcome without error, so that the maximum "
        f"likelihood estimates of {len(names)} of {n_features} features are infinite: {shown}. Their values and "
        "standard errors are where the iterations stopped, and mean nothing. Use LogitRegressor(penalty='firth') for "
        "finite estimates, drop or merge the features, or collect more data."
    )
