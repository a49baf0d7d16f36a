"""The maximum of the marginal likelihood: engines, starts, and the number of quadrature nodes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdep._threads import one_blas_thread
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.glmm.penalty import Penalised
from skdep.glmm.plain import PlainFit
from skdep.glmm.quadrature import AdaptiveQuadrature
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.glmm.search import JointOptimum, JointSearch
from skdep.glmm.several_factors import SeveralFactorsLaplace
from skdep.glmm.starting_values import moment_factors, widened
from skdep.glmm.state import Criterion, State
from skdep.mixed.parameters import CovarianceParameters, Structure

__all__ = ["MOST_DIMENSIONS", "Maximum", "Settings", "make_criterion", "maximise_likelihood"]

# Effects of a level up to which quadrature is feasible.
MOST_DIMENSIONS = 3
# Nodes per dimension that are tried one after the other.
_LADDERS = {1: (1, 5, 9, 15, 25, 41, 61, 101, 151), 2: (1, 5, 7, 11, 15, 21, 31), 3: (1, 3, 5, 7, 9, 13)}
# Change of the log-likelihood with more nodes that counts as none.
_STABLE = 2e-3
# Levels from which a search begins at the estimate of a fraction of them.
_MANY_LEVELS, _FRACTION = 2000, 8
# Tolerance of searches that only find a start.
_ROUGH = 1e-2
# Standard deviation of effects, in log odds, from which Laplace's approximation may have led astray.
_FAR_OUT = 4.0
# Effects of all factors but the first from which products are large enough for threads.
_LARGE_TAIL = 2000


@dataclass(frozen=True)
class Settings:
    """What a fit is asked for.

    Parameters
    ----------
    n_quadrature : int or None
        Nodes per dimension, 1 for Laplace's approximation; None for as many as it takes.
    structure : bool or tuple of tuple of int
        Which effects are correlated, as in `CovarianceParameters`: True for none, False for all of a term.
    fixed_ridge : ndarray of shape (p, p)
        Curvature of the penalty on fixed effects.
    ridge : float
        Curvature of the penalty on entries of T.
    max_iter : int
        Most steps of a search.
    tol : float
        Tolerance of the decrement of -2 log L.
    """

    n_quadrature: int | None
    structure: Structure
    fixed_ridge: np.ndarray
    ridge: float
    max_iter: int
    tol: float


@dataclass(frozen=True)
class Maximum:
    """Where the likelihood is largest.

    Parameters
    ----------
    criterion : Criterion
        The engine.
    optimum : JointOptimum
        The end of the search.
    start : State
        Its start.
    n_nodes : int
        Nodes per dimension.
    change : float or None
        Change of the log-likelihood at the estimates with more nodes, where that was looked at.
    stable : bool
        Whether that is small, or was not asked for.
    """

    criterion: Criterion
    optimum: JointOptimum
    start: State
    n_nodes: int
    change: float | None = None
    stable: bool = True


def make_criterion(
    rows: GlmmRows, settings: Settings, n_nodes: int, *, laplace: OneFactorLaplace | None = None
) -> Criterion:
    """Choose the engine.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    settings : Settings
        What the fit is asked for.
    n_nodes : int
        Nodes per dimension.
    laplace : OneFactorLaplace, optional
        The same model by Laplace's approximation, to share what it has prepared.
    """
    parameters = CovarianceParameters(tuple(term.q for term in rows.terms), settings.structure)
    engine: Any
    if len(rows.terms) > 1:
        engine = SeveralFactorsLaplace(rows, parameters)
    elif n_nodes == 1:
        engine = OneFactorLaplace(rows, parameters) if laplace is None else laplace
    else:
        engine = AdaptiveQuadrature(rows, parameters, n_nodes, laplace=laplace)
    if settings.ridge == 0.0 and not settings.fixed_ridge.any():
        return engine
    return Penalised(engine, settings.fixed_ridge, settings.ridge)


def _engine(criterion: Any) -> Any:
    """Return the engine without a penalty."""
    return criterion.inner if isinstance(criterion, Penalised) else criterion


def maximise_likelihood(rows: GlmmRows, plain: PlainFit, units: np.ndarray, settings: Settings) -> Maximum:
    """Maximise the marginal likelihood.

    Parameters
    ----------
    rows : GlmmRows
        The data, with at least one factor.
    plain : PlainFit
        The fit without random effects.
    units : ndarray of shape (p,)
        Units of steps of the fixed effects.
    settings : Settings
        What is asked for.
    """
    first = make_criterion(rows, settings, 1)
    factors = moment_factors(rows, plain.beta)
    beta = widened(plain.beta, factors)
    n_nodes = 1 if len(rows.terms) > 1 else settings.n_quadrature
    if len(rows.terms) == 1 and rows.terms[0].n_levels >= _MANY_LEVELS:
        beta, factors = _estimate_of_fraction(rows, units, settings, beta, factors)
    start = _regular_start(first, beta, factors)
    if n_nodes == 1:
        return Maximum(first, _laplace_optimum(first, start, units, settings), start, 1)
    return _Refinement(rows, units, settings, first, start).maximum(n_nodes)


def _laplace_optimum(criterion: Criterion, start: State, units: np.ndarray, settings: Settings) -> JointOptimum:
    """Search with Laplace's approximation."""
    # the many small products of crossed factors stall when the linear algebra library splits each over threads
    is_small = len(start.factors) > 1 and sum(u.size for u in start.modes[1:]) < _LARGE_TAIL
    with one_blas_thread() if is_small else nullcontext():
        search = JointSearch(criterion, start, units, max_iter=settings.max_iter, tol=settings.tol)
        search.run()
    return search.optimum


@dataclass(frozen=True)
class _Refinement:
    """Quadrature with one factor, from where Laplace's approximation leads."""

    rows: GlmmRows
    units: np.ndarray
    settings: Settings
    first: Criterion
    start: State

    def maximum(self, n_nodes: int | None) -> Maximum:
        """Return the maximum with that many nodes per dimension, or as many as it takes."""
        if n_nodes is None:
            return self._with_enough_nodes()
        rough = JointSearch(self.first, self.start, self.units, max_iter=self.settings.max_iter, tol=_ROUGH)
        if self.rows.terms[0].n_levels < _MANY_LEVELS:
            rough.descend()
        return Maximum(self._criterion(n_nodes), self._refined(n_nodes, rough.optimum), self.start, n_nodes)

    def _criterion(self, n_nodes: int) -> Criterion:
        return make_criterion(self.rows, self.settings, n_nodes, laplace=_engine(self.first))

    def _refined(self, n_nodes: int, before: JointOptimum) -> JointOptimum:
        """Search from where a search with fewer nodes ended; where that is far out, from the first start too."""
        found = self._search(n_nodes, before.state, before.n_steps)
        found.n_steps += before.n_steps
        found.n_values += before.n_values
        if found.converged and max(float(np.abs(T).max()) for T in before.state.factors) < _FAR_OUT:
            return found
        other = self._search(n_nodes, self.start, found.n_steps)
        other.n_steps += found.n_steps
        other.n_values += found.n_values
        is_better = other.converged and (not found.converged or other.state.value < found.state.value)
        return other if is_better else found

    def _search(self, n_nodes: int, at: State, n_steps: int) -> JointOptimum:
        """Search with some nodes, after so many steps with others."""
        criterion, settings = self._criterion(n_nodes), self.settings
        left = max(settings.max_iter - n_steps, 0)
        begin = criterion.value(at.beta, at.factors, at)
        search = JointSearch(criterion, begin, self.units, max_iter=left, tol=settings.tol)
        search.run()
        return search.optimum

    def _with_enough_nodes(self) -> Maximum:
        """Add nodes until the log-likelihood at the estimates does not change."""
        found, n_nodes = _laplace_optimum(self.first, self.start, self.units, self.settings), 1
        ladder = _LADDERS[self.rows.terms[0].q]
        # away from the maximum, where the search goes on anyway, a rough look is enough
        position, change = self._enough(found.state, ladder, 0, _ROUGH)
        if position == 0 and (change > _STABLE or not found.converged):
            position = 1
        while ladder[position] != n_nodes:
            n_nodes = ladder[position]
            found = self._refined(n_nodes, found)
            if not found.converged:
                break
            position, change = self._enough(found.state, ladder, position, _STABLE)
        is_stable = change <= _STABLE or not found.converged
        return Maximum(self._criterion(n_nodes), found, self.start, n_nodes, change, is_stable)

    def _enough(self, at: State, ladder: Sequence[int], position: int, most: float) -> tuple[int, float]:
        """Return the first place of the ladder, from `position` on, after which the log-likelihood changes by less."""

        def value(place: int) -> float:
            return self._criterion(ladder[place]).value(at.beta, at.factors, at).value

        before = value(position)
        change = abs(before - value(position - 1)) if position == len(ladder) - 1 else np.inf
        while position < len(ladder) - 1:
            after = value(position + 1)
            change = abs(after - before)
            if change <= most:
                break
            before, position = after, position + 1
        return position, change


def _regular_start(criterion: Criterion, beta: np.ndarray, factors: list[np.ndarray]) -> State:
    """Return the first state, of smaller effects where larger ones cannot be evaluated."""
    for shrink in (1.0, 0.3, 0.1):
        try:
            state = criterion.value(shrink * beta, [shrink * T for T in factors])
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(state.value):
            return state
    return criterion.value(0.0 * beta, [0.1 * T for T in factors])


def _estimate_of_fraction(
    rows: GlmmRows, units: np.ndarray, settings: Settings, beta: np.ndarray, factors: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a rough estimate from every 8th level: the search over all of them then takes two or three steps."""
    fewer = _every(rows, _FRACTION)
    settings = replace(settings, fixed_ridge=settings.fixed_ridge / _FRACTION, ridge=settings.ridge / _FRACTION)
    n_nodes = settings.n_quadrature or 1
    laplace = make_criterion(fewer, settings, 1)
    try:
        start = laplace.value(beta, factors)
        search = JointSearch(laplace, start, units, max_iter=15, tol=_ROUGH)
        search.descend()
        if n_nodes > 1:
            criterion = make_criterion(fewer, settings, n_nodes, laplace=_engine(laplace))
            at = search.optimum.state
            start = criterion.value(at.beta, at.factors, at)
            search = JointSearch(criterion, start, units, max_iter=15, tol=_ROUGH)
            search.descend()
    except np.linalg.LinAlgError:
        return beta, factors
    if not search.optimum.converged:
        return beta, factors
    state = search.optimum.state
    return state.beta, [_off_boundary(T) for T in state.factors]


def _off_boundary(T: np.ndarray) -> np.ndarray:
    """Return T with pivots that the search over all levels can move."""
    diagonal = np.diag(T)
    return T + np.diag(np.where(np.abs(diagonal) < 0.1, 0.1 - diagonal, 0.0))


def _every(rows: GlmmRows, step: int) -> GlmmRows:
    """Return the rows of every `step`-th level of the one factor."""
    (term,) = rows.terms
    kept = term.codes % step == 0
    codes = term.codes[kept] // step
    fewer = RowTerm(codes, int(codes[-1]) + 1, np.ascontiguousarray(term.columns[:, kept]), term.to_user)
    offset = None if rows.offset is None else rows.offset[kept]
    level_weights = None if rows.level_weights is None else rows.level_weights[::step]
    return GlmmRows(
        rows.fixed[kept], rows.outcome[kept], rows.weight[kept], offset, (fewer,), rows.family, level_weights
    )
