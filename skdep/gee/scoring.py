r"""Fisher scoring for generalized estimating equations.

Steps are halved while means would leave their range or the equations get worse. Iterations end when the next step is
short in standard errors, over the square root of the number of observations: a test without units.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._linalg import scaled_solve
from skdep._progress import iteration
from skdep.gee.acceleration import AndersonMixing
from skdep.gee.equations import Equations, Evaluation, GEEData, Model
from skdep.gee.working_correlation import Independence, WorkingCorrelation
from skdep.gee.working_correlation.base import LEAST_EIGENVALUE

__all__ = ["ScoringResult", "solve", "solve_equations"]


_MOST_HALVINGS = 15
_MOST_STALLED = 2
# Factors by which the decrement falls in steady but slow convergence, and how many such steps in a row count.
_SLOW = (0.05, 0.6)
_MANY_SLOW = 2
_LEAST_RELAXATION = 1.0 / 16.0
# Close enough for a start, and for the certificate that nothing is separated.
_START_TOL = 1e-6
# A step that makes the decrement grow by more than this factor is halved: the association moves too, so some growth is
# fair.
_MOST_GROWTH = 2.0
# The decrement may not come to lie further than this factor above the least so far: steps would run away.
_MOST_ABOVE_BEST = 100.0


@dataclass(frozen=True, slots=True)
class ScoringResult:
    """Where the iterations ended: the last evaluation is at the estimate itself."""

    at: Evaluation
    n_iter: int
    converged: bool
    decrement: float
    equations: Equations


def _decrement(equations: Equations, at: Evaluation) -> tuple[np.ndarray, float]:
    """Return the next step and its length, in standard errors, over the square root of the number of observations."""
    step = scaled_solve(at.bread, at.score)
    squared = float(at.score @ step) / (equations.convergence_scale(at) * equations.data.n_obs)
    return step, float(np.sqrt(max(squared, 0.0)))


def _iterate(equations: Equations, at: Evaluation, *, max_iter: int, tol: float) -> tuple[Evaluation, int, bool, float]:
    """Take scoring steps until the next one is short; return where, how many, whether converged, the last decrement.

    Where the decrement falls steadily but slowly, the association lags behind beta, and steps are accelerated. Where it
    does not fall, they chase each other: then steps are accelerated if that helps, and shorter if it does not.
    """
    step, decrement = _decrement(equations, at)
    best, n_stalled, n_slow, relaxation = decrement, 0, 0, 1.0
    memory = AndersonMixing(most=len(step))
    for n_iter in range(max_iter):
        if decrement <= tol:
            return at, n_iter, True, decrement
        if n_stalled == _MOST_STALLED:
            relaxation, n_stalled, memory = max(0.5 * relaxation, _LEAST_RELAXATION), 0, AndersonMixing(most=len(step))
        found = None
        memory.remember(at.beta, step)
        suggested = memory.suggest(at.bread) if n_slow >= _MANY_SLOW or relaxation < 1.0 else None
        if suggested is not None:
            found = _search(equations, at, suggested, decrement, halvings=1)
        found = found or _search(
            equations, at, relaxation * step, min(_MOST_GROWTH * decrement, _MOST_ABOVE_BEST * best)
        )
        found = found or _search(equations, at, _LEAST_RELAXATION * step, np.inf)
        if found is None:
            return at, n_iter, False, decrement
        n_slow = n_slow + 1 if _SLOW[0] < found[2] / decrement < _SLOW[1] else 0
        at, step, decrement = found
        iteration()
        n_stalled = 0 if decrement < best else n_stalled + 1
        best = min(best, decrement)
    return at, max_iter, decrement <= tol, decrement


def _search(
    equations: Equations, at: Evaluation, direction: np.ndarray, most: float, *, halvings: int = _MOST_HALVINGS
) -> tuple[Evaluation, np.ndarray, float] | None:
    """Halve a step until means are in their range and the decrement is at most `most`; None if it never is."""
    length = 1.0
    for _ in range(halvings):
        candidate = equations.at(at.beta + length * direction, at.association)
        if candidate is not None:
            step, decrement = _decrement(equations, candidate)
            if decrement <= most:
                return candidate, step, decrement
        length *= 0.5
    return None


def solve(
    data: GEEData,
    model: Model,
    structure: WorkingCorrelation,
    *,
    max_iter: int,
    tol: float,
    run: Callable[..., Iterable[Any]] = map,
) -> tuple[ScoringResult, ScoringResult]:
    """Solve the estimating equations.

    Parameters
    ----------
    data : GEEData
        The rows; the design must have full column rank.
    model : Model
        Family, link and moment conventions.
    structure : WorkingCorrelation
        The working correlation.
    max_iter : int
        Most scoring steps, those of the start included.
    tol : float
        Largest length of the next step of a converged fit, in standard errors over the square root of n.
    run : callable
        Maps a function over blocks, as `map` does, in threads or not.

    Returns
    -------
    result : ScoringResult
        The solution.
    start : ScoringResult
        The (roughly converged) solution under independence from which it started.

    Raises
    ------
    ValueError
        If no coefficients can be found for which all means are in the range of the family.
    """
    return solve_equations(lambda kind: Equations(data, model, kind, tol, run), structure, max_iter=max_iter, tol=tol)


def solve_equations(
    make: Callable[[WorkingCorrelation], Equations], structure: WorkingCorrelation, *, max_iter: int, tol: float
) -> tuple[ScoringResult, ScoringResult]:
    """Solve estimating equations, whatever holds their rows.

    Parameters
    ----------
    make : callable
        Returns the equations under a working correlation.
    structure : WorkingCorrelation
        The working correlation.
    max_iter, tol
        As in `solve`.

    Returns
    -------
    result, start : ScoringResult
        As in `solve`.
    """
    independent = make(Independence())
    first_beta = _first_beta(independent)
    at = None if first_beta is None else independent.at(first_beta, 0.0)
    if at is None:
        at = _constant_start(independent)
    alone = isinstance(structure, Independence)
    # the start need not be exact: iterations go on under the structure
    start_tol = tol if alone else max(tol, _START_TOL)
    at, n_start, converged, decrement = _iterate(independent, at, max_iter=max_iter, tol=start_tol)
    start = ScoringResult(at, max(n_start, 1), converged, decrement, independent)
    if alone:
        return start, start
    equations = make(structure)
    first = equations.at(at.beta, structure.start(equations.layouts))
    assert first is not None  # means are those of the start
    at, n_iter, converged, decrement = _iterate(equations, first, max_iter=max_iter - n_start, tol=tol)
    if at.shrinkage > 0.0:
        # a correlation that needed repair on the way may need none at the end
        equations.limit, equations.keeps_repairing = LEAST_EIGENVALUE, False
        left = max_iter - n_start - n_iter
        without, n_more, found, last = _iterate(equations, equations.again(at), max_iter=left, tol=tol)
        if found and without.shrinkage == 0.0:
            at, n_iter, converged, decrement = without, n_iter + n_more, True, last
    n_iter = max(n_start + n_iter, 1)
    result = ScoringResult(at, n_iter, converged, decrement, equations)
    return result, start


def _first_beta(independent: Equations) -> np.ndarray | None:
    """Return the first step of iteratively reweighted least squares; None where rough means have no link."""
    products = independent.rough_products()
    return None if products is None else scaled_solve(*products)


def _constant_start(independent: Equations) -> Evaluation:
    """Start from coefficients that come nearest to one common mean for all rows."""
    link = independent.model.link
    mean = independent.mean_outcome()
    lower, upper = link.mean_range
    if not lower < mean < upper:
        raise ValueError(
            f"y has mean {mean:.4g}, but link {link.name!r} has means between {lower:g} and {upper:g} only: choose "
            "another link."
        )
    beta = scaled_solve(*independent.constant_products(float(link.link(np.array([mean]))[0])))
    at = independent.at(beta, 0.0)
    if at is None:
        raise ValueError(
            f"No coefficients to start from: with link {link.name!r} some means would leave the range of the "
            f"{independent.model.family.name} family. Fit an intercept, or choose a link that admits every linear "
            "predictor, such as 'log'."
        )
    return at
