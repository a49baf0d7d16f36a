"""The fit of a linear mixed model: from arrays to estimates, and the frozen result that inference reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from skdep._basis import Basis
from skdep._linalg import scaled_solve
from skdep.mixed.border import Border, solve_border
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.cross_products import (
    CrossProducts,
    LevelSums,
    WorkingColumns,
    form_cross_products,
    working_columns,
)
from skdep.mixed.evaluation import State
from skdep.mixed.fixed_columns import fixed_columns
from skdep.mixed.framed import Framed, needs_frame
from skdep.mixed.newton import Optimum, minimise, without_search
from skdep.mixed.one_factor import OneFactor
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.robust import conditional_residuals, score_meat
from skdep.mixed.several_factors import SeveralFactors
from skdep.mixed.starting_values import moment_start
from skdep.mixed.terms import RandomTerm
from skdep.mixed.weights import RowWeights

__all__ = ["LinearMixedFit", "OptimizationSummary", "WorkingData", "fit_products", "make_engine", "working_data"]

# Relative standard deviations that are added in search of a lower value, where a small fit may have several minima.
_SCANNED = (1.0, 10.0, 100.0, 1000.0)
_MOST_RESTARTS = 3
_FEW_LEVELS, _MANY_LEVELS = 8, 1000


@dataclass(frozen=True)
class OptimizationSummary:
    """How the search for the covariance parameters went.

    Parameters
    ----------
    start, end : tuple of ndarray of shape (q, q)
        Relative covariance factors T by factor, in working coordinates (columns of mean square one).
    criterion_start, criterion : float
        -2 log L (the REML criterion under REML) at the start and at the end.
    n_steps : int
        Accepted steps.
    n_evaluations : int
        Evaluations of the criterion.
    decrement : float
        Decrease of the criterion that a further step promises: the test of convergence, free of units.
    gradient : ndarray
        Derivative of the criterion by the free entries of T at the end.
    tol : float
        What `decrement` was asked to be below.
    message : str
        How the search ended.
    """

    start: tuple[np.ndarray, ...]
    end: tuple[np.ndarray, ...]
    criterion_start: float
    criterion: float
    n_steps: int
    n_evaluations: int
    decrement: float
    gradient: np.ndarray
    tol: float
    message: str


@dataclass(frozen=True)
class WorkingData:
    """Rows in working coordinates, and the way back.

    Parameters
    ----------
    terms : list of RandomTerm
        Terms, the one with most columns first.
    columns : list of WorkingColumns
        Their columns.
    sums : list of LevelSums
        What adds up rows within their levels.
    border : ndarray of shape (n_rows, p + 1)
        Fixed-effect columns and scaled least squares residual of y.
    basis : Basis
        Maps estimates for the columns of `border` to ``[intercept, *coef]``.
    shift : ndarray of shape (p,)
        Least squares estimates, in working coordinates and units of y.
    y_centre : float
        What was taken off y first.
    y_scale : float
        Unit of y; 0 where least squares fit without error.
    products : CrossProducts
        Cross-products of all that.
    """

    terms: list[RandomTerm]
    columns: list[WorkingColumns]
    sums: list[LevelSums]
    border: np.ndarray
    basis: Basis
    shift: np.ndarray
    y_centre: float
    y_scale: float
    products: CrossProducts

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.border)

    def residual_sum(self, contrast: np.ndarray, effects: Sequence[np.ndarray], weights: RowWeights) -> float:
        """Return the weighted sum of squares of conditional residuals."""
        residuals = conditional_residuals(self.border, contrast, self.terms, self.columns, effects)
        return float(np.dot(residuals, residuals if weights.rows is None else residuals * weights.rows))

    def score_meat(
        self, contrast: np.ndarray, effects: Sequence[np.ndarray], weights: RowWeights, cluster: str | None
    ) -> np.ndarray:
        """Return the meat (p, p) of scores added up within the levels of a factor, or by row."""
        residuals = conditional_residuals(self.border, contrast, self.terms, self.columns, effects)
        sums = next((part for term, part in zip(self.terms, self.sums, strict=True) if term.name == cluster), None)
        return score_meat(self.border, residuals, weights.total, sums, weights.repeats)


@dataclass(frozen=True)
class LinearMixedFit:
    """A fitted linear mixed model: summaries of the data, parameters, and what maps them to the user's columns.

    Parameters
    ----------
    products : CrossProducts
        Cross-products of the data in working coordinates.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    factors : tuple of ndarray
        Estimated relative covariance factors T.
    reml : bool
        Whether they maximise the REML criterion.
    loglik : float
        Log-likelihood (REML criterion) with all constants.
    back : ndarray of shape (n_coefficients, p)
        Maps fixed effects in working coordinates (units of y) to ``[intercept, *coef]``.
    origin : ndarray of shape (n_coefficients,)
        ``[intercept, *coef]`` of the zero of working coordinates.
    converged : bool
        Whether the search converged.
    optimization : OptimizationSummary
        How it went.
    """

    products: CrossProducts
    parameters: CovarianceParameters
    factors: tuple[np.ndarray, ...]
    reml: bool
    loglik: float
    back: np.ndarray
    origin: np.ndarray
    converged: bool
    optimization: OptimizationSummary

    def engine(self, *, reml: bool | None = None) -> Any:
        """Build the engine."""
        return make_engine(self.products, self.parameters, reml=self.reml if reml is None else reml)

    @property
    def singular(self) -> bool:
        """Whether an estimated covariance matrix is on the boundary."""
        return any(np.abs(np.diag(T)).min() < BOUNDARY for T in self.factors)


class _NoFactor:
    """Plain regression: no random effects."""

    is_cheap = True

    def __init__(self, products: CrossProducts, parameters: CovarianceParameters, *, reml: bool):
        self.products, self.parameters, self.reml = products, parameters, reml

    def value(self, factors: Sequence[np.ndarray]) -> State:
        border = solve_border(self.products.gram, self.products.n_obs, reml=self.reml)
        return State([], border.value, border, {})


def make_engine(products: CrossProducts, parameters: CovarianceParameters, *, reml: bool) -> Any:
    """Choose the engine for the number of factors."""
    kind = {0: _NoFactor, 1: OneFactor}.get(len(products.terms), SeveralFactors)
    if needs_frame(products, parameters):
        return Framed(partial(kind, reml=reml), products, parameters)
    return kind(products, parameters, reml=reml)


def working_data(
    X: np.ndarray,
    y: np.ndarray,
    terms: Sequence[RandomTerm],
    weights: RowWeights,
    *,
    fit_intercept: bool,
    fixed: np.ndarray | None = None,
) -> WorkingData:
    """Bring rows to working coordinates and form cross-products.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes less the offset.
    terms : sequence of RandomTerm
        Terms, the one with most columns first.
    weights : RowWeights
        Weights.
    fit_intercept : bool
        Whether to fit an intercept.
    fixed : ndarray of int, optional
        Features that have a fixed effect, all by default.
    """
    total = weights.total
    own = X if fixed is None else X[:, fixed]
    border, basis, gram = fixed_columns(own, total, fit_intercept=fit_intercept, n_further=1)
    p = border.shape[1] - 1
    y_centre = float(np.average(y, weights=total)) if fit_intercept else 0.0
    border[:, p] = y - y_centre
    right, size = _outcome_products(border, total)
    shift = scaled_solve(gram, right)
    border[:, p] -= np.dot(border[:, :p], shift)
    right, residual = _outcome_products(border, total)
    sum_of_weights = len(y) if total is None else float(total.sum())
    y_scale = float(np.sqrt(residual / sum_of_weights))
    if y_scale <= 1e-13 * max(np.sqrt(size / sum_of_weights), abs(y_centre)):
        border[:, p], y_scale = 0.0, 0.0
        right, residual = np.zeros(p), 0.0
    else:
        border[:, p] /= y_scale
        right, residual = right / y_scale, sum_of_weights
    columns = [working_columns(term, X, total) for term in terms]
    sums = [LevelSums(term.codes, term.n_levels) for term in terms]
    products = form_cross_products(
        terms,
        columns,
        sums,
        border,
        np.block([[gram, right[:, None]], [right[None], np.array([[residual]])]]),
        weights=weights.rows,
        row_multiplicity=weights.multiplicity,
        n_obs=weights.n_obs,
        log_weights=weights.log_weights,
        y_scale=y_scale,
        reml_shift=_reml_shift(basis, own, border, fit_intercept) if basis.aliased.any() or _is_rotated(basis) else 0.0,
    )
    return WorkingData(list(terms), columns, sums, border, basis, shift, y_centre, y_scale, products)


def _outcome_products(border: np.ndarray, total: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Return cross-products of the last column with the others, and with itself."""
    y = border[:, -1] if total is None else border[:, -1] * total
    products = np.dot(y, border)
    return products[:-1], float(products[-1])


def _is_rotated(basis: Basis) -> bool:
    """Say whether the coordinates are other than centred columns."""
    n_coefficients, rank = basis.back.shape
    return n_coefficients != rank or not np.array_equal(np.diag(basis.back), np.ones(rank))


def _reml_shift(basis: Basis, X: np.ndarray, border: np.ndarray, fit_intercept: bool) -> float:
    """Return log|R'R| of [1, X] = B R, dependent columns left out: what REML differs by in the user's columns."""
    columns = np.column_stack([np.ones(len(X)), X]) if fit_intercept else X
    return log_determinant_of_kept(np.linalg.lstsq(border[:, :-1], columns, rcond=None)[0])


def log_determinant_of_kept(coordinates: np.ndarray) -> float:
    """Return log|R'R| of the columns of R (p, n_coefficients), those left out that depend on columns before them."""
    kept: list[np.ndarray] = []
    shift = 0.0
    for column in coordinates.T:
        rest = column.copy()
        for _ in range(2):
            for direction in kept:
                rest -= (direction @ rest) * direction
        length = float(np.linalg.norm(rest))
        if length > 1e-7 * float(np.linalg.norm(column)) and len(kept) < len(coordinates):
            kept.append(rest / length)
            shift += 2.0 * float(np.log(length))
    return shift


def fit_products(
    products: CrossProducts,
    parameters: CovarianceParameters,
    *,
    reml: bool,
    max_iter: int,
    tol: float,
    start: Any = None,
) -> tuple[Any, Optimum]:
    """Maximise the likelihood; returns the engine, and where the search ended.

    Parameters
    ----------
    products : CrossProducts
        Cross-products of the data.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    reml : bool
        Whether the criterion is REML.
    max_iter : int
        Most steps.
    tol : float
        Tolerance of the decrement.
    start : sequence of ndarray, optional
        Relative covariance factors to begin with, by default moment estimates.
    """
    engine = make_engine(products, parameters, reml=reml)
    if not products.terms:
        state = engine.value([])
        return engine, without_search(state, parameters, "closed form")
    if start is not None:
        return engine, minimise(engine, start, max_iter=max_iter, tol=tol)
    begin = moment_start(products)
    best = minimise(engine, begin, max_iter=max_iter, tol=tol)
    if _is_suspect(products, begin, best):
        for _ in range(_MOST_RESTARTS):
            lower = _lower_point(engine, best)
            if lower is None:
                break
            best = _better(best, minimise(engine, lower, max_iter=max_iter, tol=tol))
    return engine, best


def _lower_point(engine: Any, at: Optimum) -> list[np.ndarray] | None:
    """Look for a lower value far off: with larger effects of all factors, or of one; None if there is none."""
    factors = at.state.factors
    n_terms = len(factors)
    moved = [range(n_terms), *([term] for term in range(n_terms if n_terms > 1 else 0))]
    best, least = None, at.state.value - 1e-6 - 1e-12 * abs(at.state.value)
    for terms in moved:
        for size in _SCANNED:
            trial = [T + size * np.eye(len(T)) if k in terms else T for k, T in enumerate(factors)]
            try:
                value = engine.value(trial).value
            except np.linalg.LinAlgError:
                continue
            if value < least:
                best, least = trial, value
    return best


def _is_suspect(products: CrossProducts, start: Sequence[np.ndarray], end: Optimum) -> bool:
    """Say whether a small fit may have ended in one of several minima: few levels, a rough start, a singular end."""
    if max(term.n_levels for term in products.terms) > _MANY_LEVELS:
        return False
    pivots = np.concatenate([np.diag(T) for T in start])
    return (
        not end.converged
        or min(term.n_levels for term in products.terms) < _FEW_LEVELS
        or pivots.min() <= 0.05
        or pivots.max() >= 10.0
        or any(np.abs(np.diag(T)).min() < BOUNDARY for T in end.state.factors)
    )


def _better(first: Optimum, second: Optimum) -> Optimum:
    """Return the lower of two minima; of equal ones that which converged."""
    rounding = 1e-9 + 1e-12 * abs(first.state.value)
    if second.state.value < first.state.value - rounding:
        return second
    is_tie = second.state.value < first.state.value + rounding
    return second if is_tie and second.converged and not first.converged else first


def loglik_of(products: CrossProducts, border: Border, value: float) -> float:
    """Return the log-likelihood (REML criterion) with all constants, in units of y."""
    scale = border.m * 2.0 * float(np.log(products.y_scale))
    shift = products.reml_shift if border.reml else 0.0
    return -0.5 * (value + scale + shift - products.log_weights)


def summarise_optimum(
    optimum: Optimum, parameters: CovarianceParameters, start: Any, tol: float
) -> OptimizationSummary:
    """Record the search."""
    jacobian = parameters.jacobian(optimum.state.factors)
    gradient = jacobian.T @ parameters.sigma_gradient(optimum.derivatives.gradients)
    return OptimizationSummary(
        tuple(start),
        tuple(optimum.state.factors),
        optimum.path[0],
        optimum.state.value,
        optimum.n_steps,
        optimum.n_values,
        optimum.decrement,
        gradient,
        tol,
        optimum.message,
    )


def canonical(factors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the same covariances' factors with diagonals that are not negative, and exact zeros on the boundary."""
    result = []
    for T in factors:
        T = T * np.where(np.diag(T) < 0, -1.0, 1.0)
        on_boundary = np.abs(np.diag(T)) < BOUNDARY
        T[np.diag_indices(len(T))] = np.where(on_boundary, 0.0, np.diag(T))
        result.append(np.where(np.abs(T) < 1e-7, 0.0, T))
    return result
