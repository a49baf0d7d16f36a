r"""Fisher scoring for generalized estimating equations.

The equations are sum_i D_i' V_i^{-1} (y_i - mu_i) = 0 with D = d mu / d beta, V = phi A^(1/2) W^(-1/2) R W^(-1/2)
A^(1/2), A = diag V(mu), W the row weights. With Z = W^(1/2) A^(-1/2) D and e = W^(1/2) A^(-1/2) (y - mu), both
whitened by R^(-1/2) within clusters, the bread is B = Z'Z, the score U = Z'e, a step B^{-1} U: phi cancels. At every
beta, phi and alpha are the moment estimates from the residuals of that same beta, so that beta with U = 0 solves all
equations together.

Steps are halved while means would leave their range or the equations get worse. Iterations end when the next step is
short in standard errors, over the square root of the number of observations: a test without units.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._linalg import scaled_solve
from skdep.families import Family
from skdep.gee.acceleration import AndersonMixing
from skdep.gee.working_correlation import Block, Independence, Moments, WorkingCorrelation
from skdep.gee.working_correlation.base import LEAST_EIGENVALUE, REPAIRED_EIGENVALUE
from skdep.links import Link

__all__ = ["Evaluation", "GEEData", "Model", "ScoringResult", "score_sums", "solve"]

_MOST_HALVINGS = 15
_MOST_STALLED = 2
# Factors by which the decrement falls in steady but slow convergence, and how many such steps in a row count.
_SLOW = (0.05, 0.6)
_MANY_SLOW = 2
_LEAST_RELAXATION = 1.0 / 16.0
_ROUNDING = 32.0 * np.finfo(float).eps
# Close enough for a start, and for the certificate that nothing is separated.
_START_TOL = 1e-6
# A step that makes the decrement grow by more than this factor is halved: the association moves too, so some growth is
# fair.
_MOST_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class GEEData:
    """Rows sorted by cluster, and by time where the working correlation needs it.

    Parameters
    ----------
    design : ndarray of shape (n_rows, p)
        Columns of the linear predictor, the intercept among them.
    y : ndarray of shape (n_rows,)
        Outcomes.
    offset, weights : ndarray of shape (n_rows,) or None
        Known part of the linear predictor; row weights of mean one.
    counts : ndarray of shape (n_rows,) or None
        How often the cluster of each row is repeated.
    blocks : tuple of (slice, Block)
        Runs of whole clusters, and their rows.
    """

    design: np.ndarray
    y: np.ndarray
    offset: np.ndarray | None
    weights: np.ndarray | None
    counts: np.ndarray | None
    blocks: tuple[tuple[slice, Block], ...]

    @property
    def n_obs(self) -> float:
        """Number of rows, repeated clusters counted as often."""
        return float(len(self.y) if self.counts is None else self.counts.sum())

    @property
    def row_mass(self) -> np.ndarray | None:
        """Weight of each row times repetitions of its cluster; None for ones."""
        if self.weights is None or self.counts is None:
            return self.counts if self.weights is None else self.weights
        return self.weights * self.counts


@dataclass(frozen=True, slots=True)
class Model:
    """Family, link and moment conventions of a GEE."""

    family: Family
    link: Link
    scale: float | None  # None: estimated
    dof: str  # "n-p" or "n"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The estimating equations at one beta.

    `factor` and `residual` (n_rows,) are W^(1/2) A^(-1/2) d mu / d eta and W^(1/2) A^(-1/2) (y - mu), not yet whitened.
    """

    beta: np.ndarray
    mu: np.ndarray
    factor: np.ndarray
    residual: np.ndarray
    scale: float
    association: Any
    shrinkage: float
    bread: np.ndarray  # (p, p), without phi
    score: np.ndarray  # (p,), without phi


@dataclass(frozen=True, slots=True)
class ScoringResult:
    """Where the iterations ended: the last evaluation is at the estimate itself."""

    at: Evaluation
    n_iter: int
    converged: bool
    decrement: float
    layouts: tuple[Any, ...]
    pair_counts: np.ndarray


class _Equations:
    """The estimating equations of one data set under one working correlation."""

    def __init__(self, data: GEEData, model: Model, structure: WorkingCorrelation, tol: float):
        self.data, self.model, self.structure, self.tol = data, model, structure, tol
        self.limit, self.keeps_repairing = LEAST_EIGENVALUE, True
        self.n_subtracted = data.design.shape[1] if model.dof == "n-p" else 0
        self.layouts = tuple(structure.layout(block, model.dof) for _, block in data.blocks)
        self.root_mass = None if data.row_mass is None else np.sqrt(data.row_mass)
        self.pair_mass = _pair_mass(data, model.dof)
        ones = np.ones(len(data.y)) if self.pair_mass is None else self.pair_mass
        self.pair_counts = self._pair_products(ones)

    def _pair_products(self, values: np.ndarray) -> np.ndarray:
        parts = [
            self.structure.pair_products(layout, values[rows])
            for (rows, _), layout in zip(self.data.blocks, self.layouts, strict=True)
        ]
        return self.structure.merge(parts)

    def at(self, beta: np.ndarray, previous: Any) -> Evaluation | None:
        """Evaluate at beta; None where means leave their range."""
        data, family, link = self.data, self.model.family, self.model.link
        eta = np.dot(data.design, beta)
        if data.offset is not None:
            eta += data.offset
        if not link.admissible(eta):
            return None
        with np.errstate(over="ignore"):
            mu = link.inverse(eta)
        if not family.admissible(mu):
            return None
        mu = family.clip(mu)
        root = 1.0 / np.sqrt(family.variance(mu))
        pearson = (data.y - mu) * root
        factor = link.inverse_derivative(eta, mu) * root
        residual = pearson
        if self.root_mass is not None:
            residual, factor = pearson * self.root_mass, factor * self.root_mass
        scale = self._scale(residual)
        association, shrinkage = self._association(pearson, residual, scale, previous)
        bread, score = self._sums(factor, residual, association)
        if not (np.isfinite(bread).all() and np.isfinite(score).all()):
            return None
        return Evaluation(beta, mu, factor, residual, scale, association, shrinkage, bread, score)

    def again(self, at: Evaluation) -> Evaluation:
        """Evaluate at the same beta once more, under the limit as it is now."""
        evaluation = self.at(at.beta, at.association)
        return at if evaluation is None else evaluation

    def _scale(self, residual: np.ndarray) -> float:
        if self.model.scale is not None:
            return self.model.scale
        degrees = self.data.n_obs - self.n_subtracted
        return float(residual @ residual) / (degrees if degrees > 0 else self.data.n_obs)

    def _association(self, pearson: np.ndarray, residual: np.ndarray, scale: float, previous: Any) -> tuple[Any, float]:
        if not self.pair_counts.size or not scale > 0:
            return self.structure.start(self.layouts), 0.0
        # geepack's convention weighs a pair by both weights, SAS's by their geometric mean
        values = residual if self.model.dof == "n-p" or self.pair_mass is None else pearson * self.pair_mass
        products = self._pair_products(values)
        moments = Moments(scale, self.n_subtracted)
        estimate = self.structure.estimate(self.layouts, products, self.pair_counts, moments, previous)
        repaired, shrinkage = self.structure.repair(self.layouts, estimate, self.limit)
        if shrinkage > 0.0 and self.keeps_repairing:
            # from now on eigenvalues move continuously, not back and forth over the limit
            self.limit = REPAIRED_EIGENVALUE
        return repaired, shrinkage

    def _sums(self, factor: np.ndarray, residual: np.ndarray, association: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return B and U, added up over blocks."""
        n_params = self.data.design.shape[1]
        products = np.zeros((n_params + 1, n_params + 1))
        for index in range(len(self.layouts)):
            white = self.whitened(index, factor, residual, association)
            products += np.dot(white.T, white)
        return products[:-1, :-1], products[:-1, -1]

    def whitened(self, index: int, factor: np.ndarray, residual: np.ndarray, association: Any) -> np.ndarray:
        """Return [Z, e] of a block, whitened within clusters: (n_rows, p + 1)."""
        columns = scaled_columns(self.data, self.data.blocks[index][0], factor, residual)
        return self.structure.whiten(self.layouts[index], association, columns)

    def convergence_scale(self, at: Evaluation) -> float:
        """Return the scale against which a step is short: phi, but 1 where the family has a scale of its own."""
        if self.model.family.natural_scale:
            return max(at.scale, 1.0)
        # An exact fit leaves phi as rounding, and outcomes far from zero have few digits for it: no step can be
        # expected to be shorter than the rounding of the outcomes themselves.
        outcomes = float(np.mean(self.data.y**2 / self.model.family.variance(at.mu)))
        return max(at.scale, (_ROUNDING / self.tol) ** 2 * outcomes, np.finfo(float).tiny)


def scaled_columns(data: GEEData, rows: slice, factor: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return [Z, e] of some rows (n_rows, p + 1), not whitened."""
    design = data.design[rows]
    columns = np.empty((len(design), design.shape[1] + 1))
    np.multiply(design, factor[rows, None], out=columns[:, :-1])
    columns[:, -1] = residual[rows]
    return columns


def _pair_mass(data: GEEData, dof: str) -> np.ndarray | None:
    """Return values whose products over pairs count the pairs; None for ones."""
    if dof == "n-p":
        return None if data.counts is None else np.sqrt(data.counts)
    if data.counts is None:
        return data.weights
    return np.sqrt(data.counts) if data.weights is None else data.weights * np.sqrt(data.counts)


def _decrement(equations: _Equations, at: Evaluation) -> tuple[np.ndarray, float]:
    """Return the next step and its length, in standard errors, over the square root of the number of observations."""
    step = scaled_solve(at.bread, at.score)
    squared = float(at.score @ step) / (equations.convergence_scale(at) * equations.data.n_obs)
    return step, float(np.sqrt(max(squared, 0.0)))


def _iterate(
    equations: _Equations, at: Evaluation, *, max_iter: int, tol: float
) -> tuple[Evaluation, int, bool, float]:
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
        found = found or _search(equations, at, relaxation * step, _MOST_GROWTH * decrement)
        found = found or _search(equations, at, relaxation * step, np.inf)
        if found is None:
            return at, n_iter, False, decrement
        n_slow = n_slow + 1 if _SLOW[0] < found[2] / decrement < _SLOW[1] else 0
        at, step, decrement = found
        n_stalled = 0 if decrement < best else n_stalled + 1
        best = min(best, decrement)
    return at, max_iter, decrement <= tol, decrement


def _search(
    equations: _Equations, at: Evaluation, direction: np.ndarray, most: float, *, halvings: int = _MOST_HALVINGS
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
    data: GEEData, model: Model, structure: WorkingCorrelation, *, max_iter: int, tol: float
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
    independent = _Equations(data, model, Independence(), tol)
    first_beta = _first_beta(data, model)
    at = None if first_beta is None else independent.at(first_beta, 0.0)
    if at is None:
        at = _constant_start(independent)
    alone = isinstance(structure, Independence)
    # the start need not be exact: iterations go on under the structure
    start_tol = tol if alone else max(tol, _START_TOL)
    at, n_start, converged, decrement = _iterate(independent, at, max_iter=max_iter, tol=start_tol)
    start = ScoringResult(at, max(n_start, 1), converged, decrement, independent.layouts, independent.pair_counts)
    if alone:
        return start, start
    equations = _Equations(data, model, structure, tol)
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
    result = ScoringResult(at, n_iter, converged, decrement, equations.layouts, equations.pair_counts)
    return result, start


def _first_beta(data: GEEData, model: Model) -> np.ndarray | None:
    """Regress the link of rough means on the design, as the first step of iteratively reweighted least squares.

    None where some rough means are outside the range of the link.
    """
    mu = model.family.clip(model.family.initial_mean(data.y))
    lower, upper = model.link.mean_range
    if mu.min() <= lower or mu.max() >= upper:
        return None
    eta = model.link.link(mu)
    derivative = model.link.inverse_derivative(eta, mu)
    root = np.abs(derivative) / np.sqrt(model.family.variance(mu))
    mass = data.row_mass
    if mass is not None:
        root = root * np.sqrt(mass)
    response = eta + (data.y - mu) / derivative
    if data.offset is not None:
        response = response - data.offset
    weighted = data.design * root[:, None]
    return scaled_solve(np.dot(weighted.T, weighted), np.dot(weighted.T, root * response))


def _constant_start(independent: _Equations) -> Evaluation:
    """Start from coefficients that come nearest to one common mean for all rows."""
    data, link = independent.data, independent.model.link
    mean = float(np.average(data.y, weights=data.row_mass))
    lower, upper = link.mean_range
    if not lower < mean < upper:
        raise ValueError(
            f"y has mean {mean:.4g}, but link {link.name!r} has means between {lower:g} and {upper:g} only: choose "
            "another link."
        )
    eta = np.full(len(data.y), link.link(np.array([mean]))[0])
    if data.offset is not None:
        eta -= data.offset
    beta = scaled_solve(np.dot(data.design.T, data.design), np.dot(data.design.T, eta))
    at = independent.at(beta, 0.0)
    if at is None:
        raise ValueError(
            f"No coefficients to start from: with link {link.name!r} some means would leave the range of the "
            f"{independent.model.family.name} family. Fit an intercept, or choose a link that admits every linear "
            "predictor, such as 'log'."
        )
    return at


def score_sums(data: GEEData, structure: WorkingCorrelation, result: ScoringResult) -> np.ndarray:
    """Return the score of each cluster at the solution, (n_clusters, p), a repeated cluster's times its repetitions."""
    at = result.at
    sums = []
    for (rows, block), layout in zip(data.blocks, result.layouts, strict=True):
        white = structure.whiten(layout, at.association, scaled_columns(data, rows, at.factor, at.residual))
        white[:, :-1] *= white[:, -1:]
        sums.append(block.clusters.sum(white[:, :-1]))
    return np.concatenate(sums)
