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
from scipy import linalg
from scipy.optimize import linprog

from skdep._linalg import is_ill_conditioned, scaled_inverse

__all__ = ["infinite_features", "no_separation_certified", "separating_direction", "separation_message"]

# Least margin, in units of the scaled design, of a row that is separated.
_SEPARATES = 1e-5


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
    if is_ill_conditioned(information):
        return False  # its inverse, and with it the bound, would be rounding
    with np.errstate(over="ignore", invalid="ignore"):
        bound = decrement**2 * len(squares) * float(squares @ np.diag(scaled_inverse(information)))
    return bool(np.isfinite(bound) and 0.0 <= bound < 1.0)


def separating_direction(X: np.ndarray, y: np.ndarray, *, fit_intercept: bool) -> np.ndarray | None:
    """Find a direction of coefficients that separates the outcomes, completely or quasi-completely.

    It separates every row that any direction separates.

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
        Direction along which the likelihood never falls, intercept first, in units of the scaled features; None if
        the data overlap.
    """
    design, y, centre, scale = _distinct_rows(X, y, fit_intercept=fit_intercept)
    found = _directions(design, y)
    if not found:
        return None
    direction = np.sum(found, axis=0)
    slopes = direction[int(fit_intercept) :] / scale
    largest = np.abs(X).max(axis=0)
    if not fit_intercept:
        return slopes * largest
    return np.concatenate([[direction[0] - centre @ slopes], slopes * largest])


def infinite_features(X: np.ndarray, y: np.ndarray, *, fit_intercept: bool) -> np.ndarray:
    """Say which features (p,) have infinite estimates: those that move while the rows not separated stay as they are.

    Parameters are those of `separating_direction`. Directions that move no row at all (of collinear features) do not
    count.
    """
    design, y, _, _ = _distinct_rows(X, y, fit_intercept=fit_intercept)
    found = _directions(design, y)
    if not found:
        return np.zeros(X.shape[1], dtype=bool)
    left = design[np.abs(design @ np.sum(found, axis=0)) < _SEPARATES]
    rows, rows_left = _row_space(design), _row_space(left)
    free = rows - rows @ rows_left.T @ rows_left  # what of the row space the rows that are left do not determine
    return (np.abs(free).max(axis=0) > 1e-7)[int(fit_intercept) :] if len(free) else np.zeros(X.shape[1], dtype=bool)


def _row_space(design: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (rank, p) of the rows."""
    if not len(design):
        return np.zeros((0, design.shape[1]))
    _, singular, right = linalg.svd(linalg.qr(design, mode="r")[0][: design.shape[1]], full_matrices=False)
    return right[singular > 1e-9 * max(singular[0], np.finfo(float).tiny)]


def _distinct_rows(X: np.ndarray, y: np.ndarray, *, fit_intercept: bool) -> tuple[np.ndarray, ...]:
    """Return the design without repeated rows, y, and the centre and scale of the features.

    Features are centred where an intercept makes up for it, and scaled to at most one in size.
    """
    import pandas as pd

    centre = X.mean(axis=0) if fit_intercept else np.zeros(X.shape[1])
    centred = X - centre
    scale = np.abs(centred).max(axis=0)
    constant = scale <= 1e-13 * np.abs(X).max(axis=0)
    centred[:, constant] = 0.0
    scale[constant] = 1.0
    design = np.column_stack([np.ones(len(X)), centred / scale]) if fit_intercept else centred / scale
    rows = pd.DataFrame(np.column_stack([y, design])).drop_duplicates().to_numpy()
    return rows[:, 1:], rows[:, 0], centre, scale


def _directions(design: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return directions that separate, until no row is left that another direction could separate."""
    pure = (y == 0) | (y == 1)
    signed = np.where(y[pure] == 1, 1.0, -1.0)[:, None] * design[pure]
    fractions = design[~pure]
    found: list[np.ndarray] = []
    open_rows = np.ones(len(signed), dtype=bool)
    while open_rows.any():
        result = linprog(
            -signed[open_rows].sum(axis=0),
            A_ub=-signed,
            b_ub=np.zeros(len(signed)),
            A_eq=fractions if len(fractions) else None,
            b_eq=np.zeros(len(fractions)) if len(fractions) else None,
            bounds=(-1.0, 1.0),
            method="highs",
        )
        if result.x is None:
            break
        margins = signed @ result.x
        # The solver is feasible to 1e-7: a direction counts only if it separates by clearly more than that.
        separated = open_rows & (margins > _SEPARATES)
        if margins.min() < -1e-6 or not separated.any():
            break
        found.append(result.x)
        open_rows &= ~separated
    return found


def separation_message(
    names: Sequence[str], n_features: int, *, remedy: str = "Use LogitRegressor(penalty='firth') for finite estimates"
) -> str:
    """Say which features have infinite coefficients, and what to do: the `remedy`, and more."""
    shown = ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
    return (
        f"Separation: a linear combination of features predicts the outcome without error, so that the maximum "
        f"likelihood estimates of {len(names)} of {n_features} features are infinite: {shown}. Their values and "
        f"standard errors are where the iterations stopped, and mean nothing. {remedy}, drop or merge the features, or "
        "collect more data."
    )
