"""The model without random effects, by Newton's method: where a search begins, and what a fit without groups is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep._linalg import scaled_solve
from skdep._threads import add_up_blocks
from skdep.glmm.rows import GlmmRows

__all__ = ["PlainFit", "plain_fit", "row_multiplicity"]

_MOST_HALVINGS = 40


@dataclass(frozen=True)
class PlainFit:
    """A generalised linear model.

    Parameters
    ----------
    beta : ndarray of shape (p,)
        Coefficients in working coordinates.
    value : float
        -log L, penalised.
    hessian : ndarray of shape (p, p)
        Its second derivative.
    decrement : float
        Length of a further Newton step in standard errors.
    n_iter : int
        Number of steps.
    converged : bool
        Whether that was small enough.
    """

    beta: np.ndarray
    value: float
    hessian: np.ndarray
    decrement: float
    n_iter: int
    converged: bool


def row_multiplicity(rows: GlmmRows) -> np.ndarray | None:
    """Return the level weight of each row, None if there are none."""
    return None if rows.level_weights is None else rows.level_weights[rows.terms[0].codes]


def plain_fit(rows: GlmmRows, ridge: np.ndarray, *, max_iter: int, tol: float) -> PlainFit:
    """Maximise the likelihood of the fixed effects alone, less half of beta @ ridge @ beta.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    ridge : ndarray of shape (p, p)
        Curvature of a penalty; zeros for none.
    max_iter : int
        Most steps.
    tol : float
        Twice the decrease that a step promises below which the fit has converged.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _newton(rows, ridge, row_multiplicity(rows), max_iter=max_iter, tol=tol)


def _newton(
    rows: GlmmRows, ridge: np.ndarray, multiplicity: np.ndarray | None, *, max_iter: int, tol: float
) -> PlainFit:
    beta = np.zeros(rows.n_fixed)
    value, score, hessian = _evaluate(rows, beta, ridge, multiplicity)
    n_iter, converged = 0, False
    while n_iter < max_iter and not converged:
        n_iter += 1
        step = scaled_solve(hessian, score)
        squared = float(score @ step)
        converged = squared <= tol
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            trial = _evaluate(rows, beta + length * step, ridge, multiplicity)
            if trial[0] <= value - 1e-4 * length * squared + 1e-13 * (1.0 + abs(value)):
                break
            length *= 0.5
        else:
            break
        beta, (value, score, hessian) = beta + length * step, trial
    decrement = float(np.sqrt(max(float(score @ scaled_solve(hessian, score)), 0.0)))
    return PlainFit(beta, value, hessian, decrement, n_iter, converged)


def _evaluate(
    rows: GlmmRows, beta: np.ndarray, ridge: np.ndarray, multiplicity: np.ndarray | None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return -log L, the score and the information, of the penalised likelihood."""

    def block(span: slice) -> tuple[float, np.ndarray, np.ndarray]:
        X, outcome, weight = rows.fixed[span], rows.outcome[span], rows.weight[span]
        eta = np.dot(X, beta)
        if rows.offset is not None:
            eta += rows.offset[span]
        if multiplicity is not None:
            outcome, weight = outcome * multiplicity[span], weight * multiplicity[span]
        linear = float(outcome @ eta)
        kappa, mean, variance = rows.family.derivatives(eta, 2)
        residual = outcome - weight * mean
        return (
            float(weight @ kappa) - linear,
            np.dot(residual, X),
            np.dot(X.T, X * (weight * variance)[:, None]),
        )

    value, score, hessian = add_up_blocks(block, rows.n_rows, 2 * rows.n_fixed + 4)
    return float(value) + 0.5 * float(beta @ ridge @ beta), score - ridge @ beta, hessian + ridge
