r"""The generalized estimating equations of one data set at given coefficients.

The equations are sum_i D_i' V_i^{-1} (y_i - mu_i) = 0 with D = d mu / d beta,
V = phi A^(1/2) W^(-1/2) R W^(-1/2) A^(1/2), A = diag V(mu), W the row weights. With Z = W^(1/2) A^(-1/2) D and
e = W^(1/2) A^(-1/2) (y - mu), both whitened by R^(-1/2) within clusters, the bread is B = Z'Z, the score U = Z'e,
a step B^{-1} U: phi cancels. At every beta, phi and alpha are the moment estimates from the residuals of that same
beta, so that beta with U = 0 solves all equations together.

Everything is added up over blocks of whole clusters, in threads.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.clusters import Clusters
from skdep.families import Family
from skdep.gee.working_correlation import Block, Moments, WorkingCorrelation
from skdep.gee.working_correlation.base import LEAST_EIGENVALUE, REPAIRED_EIGENVALUE
from skdep.links import Link

__all__ = ["Equations", "Evaluation", "GEEData", "Model", "ResidualMoments", "WhiteBlock", "scaled_columns"]

_ROUNDING = 32.0 * np.finfo(float).eps


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
class WhiteBlock:
    """Whitened rows of some whole clusters, of a repeated cluster those of one repetition.

    Parameters
    ----------
    rows : slice
        Which rows of the data they are.
    clusters : Clusters
        The clusters, in order.
    counts : ndarray of shape (n_clusters,) or None
        Repetitions of the clusters.
    columns : ndarray of shape (n, p + 1)
        [Z, e], whitened.
    further : ndarray of shape (n, m)
        Further columns that were asked for, whitened.
    """

    rows: slice
    clusters: Clusters
    counts: np.ndarray | None
    columns: np.ndarray
    further: np.ndarray


@dataclass(frozen=True, slots=True)
class ResidualMoments:
    """Rows at one beta, and the sums of their residuals that scale and association need.

    Parameters
    ----------
    mu, factor, residual : ndarray of shape (n_rows,)
        As in `Evaluation`.
    squares : float
        Sum of squared residuals.
    products : list of ndarray
        Sums of products of pairs by block.
    """

    mu: np.ndarray
    factor: np.ndarray
    residual: np.ndarray
    squares: float
    products: list[np.ndarray]


class Equations:
    """The estimating equations of one data set under one working correlation.

    Parameters
    ----------
    data : GEEData
        The rows.
    model : Model
        Family, link and moment conventions.
    structure : WorkingCorrelation
        The working correlation.
    tol : float
        Tolerance of the iterations: what is below it counts as rounding.
    run : callable
        Maps a function over blocks, as `map` does, in threads or not.
    """

    def __init__(
        self,
        data: GEEData,
        model: Model,
        structure: WorkingCorrelation,
        tol: float,
        run: Callable[..., Iterable[Any]] = map,
    ):
        self.run = run
        layouts = tuple(structure.layout(block, model.dof) for _, block in data.blocks)
        self.root_mass = None if data.row_mass is None else np.sqrt(data.row_mass)
        self.pair_mass = _pair_mass(data, model.dof)
        ones = np.ones(len(data.y)) if self.pair_mass is None else self.pair_mass
        blocks = zip(data.blocks, layouts, strict=True)
        self.block_pair_counts = [structure.pair_products(layout, ones[rows]) for (rows, _), layout in blocks]
        self._set_up(data, model, structure, tol, layouts, self.block_pair_counts)

    def _set_up(
        self,
        data: Any,
        model: Model,
        structure: WorkingCorrelation,
        tol: float,
        layouts: tuple[Any, ...],
        pair_counts: list[np.ndarray],
    ) -> None:
        self.data, self.model, self.structure, self.tol, self.layouts = data, model, structure, tol, layouts
        self.limit, self.keeps_repairing = LEAST_EIGENVALUE, True
        self.n_subtracted = data.design.shape[1] if model.dof == "n-p" else 0
        self.pair_counts = structure.merge(pair_counts)

    def _blocks(self) -> Iterable[tuple[tuple[slice, Block], Any]]:
        return zip(self.data.blocks, self.layouts, strict=True)

    def at(self, beta: np.ndarray, previous: Any) -> Evaluation | None:
        """Evaluate at beta; None where means leave their range."""
        found = self.residual_moments(beta)
        if found is None:
            return None
        scale = self._scale(found.squares)
        association, shrinkage = self._association(found.products, scale, previous)
        bread, score = self.sums_under(found.factor, found.residual, association)
        if not (np.isfinite(bread).all() and np.isfinite(score).all()):
            return None
        return Evaluation(beta, found.mu, found.factor, found.residual, scale, association, shrinkage, bread, score)

    def residual_moments(self, beta: np.ndarray) -> ResidualMoments | None:
        """Return means and residuals at beta, and their sums; None where means leave their range."""
        n_rows = len(self.data.y)
        mu, factor, residual = np.empty(n_rows), np.empty(n_rows), np.empty(n_rows)

        def evaluate_rows(block: tuple[tuple[slice, Block], Any]) -> tuple[float, np.ndarray] | None:
            (rows, _), layout = block
            pearson = self._rows_at(beta, rows, mu, factor, residual)
            if pearson is None:
                return None
            values = self.pair_values(residual[rows], rows, pearson)
            return float(residual[rows] @ residual[rows]), self.structure.pair_products(layout, values)

        parts = list(self.run(evaluate_rows, self._blocks()))
        if any(part is None for part in parts):
            return None
        return ResidualMoments(mu, factor, residual, sum(part[0] for part in parts), [part[1] for part in parts])

    def pair_values(self, residual: np.ndarray, rows: slice, pearson: np.ndarray | None = None) -> np.ndarray:
        """Return what is multiplied over pairs of rows, from residuals of some rows as in `Evaluation`.

        geepack's convention weighs a pair by both weights, SAS's by their geometric mean. `pearson` are the residuals
        without weights, where they are known.
        """
        if self.model.dof != "n" or self.pair_mass is None or self.root_mass is None:
            return residual
        return (residual / self.root_mass[rows] if pearson is None else pearson) * self.pair_mass[rows]

    def _rows_at(
        self, beta: np.ndarray, rows: slice, mu: np.ndarray, factor: np.ndarray, residual: np.ndarray
    ) -> np.ndarray | None:
        """Fill in means, factors and residuals of some rows; return Pearson residuals, None if means do not exist."""
        data, family, link = self.data, self.model.family, self.model.link
        eta = np.dot(data.design[rows], beta)
        if data.offset is not None:
            eta += data.offset[rows]
        if not link.admissible(eta):
            return None
        with np.errstate(over="ignore"):
            means = link.inverse(eta)
        if not family.admissible(means):
            return None
        means = family.clip(means)
        with np.errstate(over="ignore"):
            variance = family.variance(means)
        if not np.isfinite(variance).all():
            return None
        root = 1.0 / np.sqrt(variance)
        pearson = (data.y[rows] - means) * root
        mass = 1.0 if self.root_mass is None else self.root_mass[rows]
        mu[rows] = means
        factor[rows] = link.inverse_derivative(eta, means) * root * mass
        residual[rows] = pearson * mass
        return pearson

    def again(self, at: Evaluation) -> Evaluation:
        """Evaluate at the same beta once more, under the limit as it is now."""
        evaluation = self.at(at.beta, at.association)
        return at if evaluation is None else evaluation

    def _scale(self, sum_of_squares: float) -> float:
        if self.model.scale is not None:
            return self.model.scale
        degrees = self.data.n_obs - self.n_subtracted
        return sum_of_squares / (degrees if degrees > 0 else self.data.n_obs)

    def _association(self, products: list[np.ndarray], scale: float, previous: Any) -> tuple[Any, float]:
        if not self.pair_counts.size or not scale > 0:
            return self.structure.start(self.layouts), 0.0
        moments = Moments(scale, self.n_subtracted)
        merged = self.structure.merge(products)
        estimate = self.structure.estimate(self.layouts, merged, self.pair_counts, moments, previous)
        repaired, shrinkage = self.structure.repair(self.layouts, estimate, self.limit)
        if shrinkage > 0.0 and self.keeps_repairing:
            # from now on eigenvalues move continuously, not back and forth over the limit
            self.limit = REPAIRED_EIGENVALUE
        return repaired, shrinkage

    def sums_under(self, factor: np.ndarray, residual: np.ndarray, association: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return B and U under an association, added up over blocks."""

        def products(block: tuple[tuple[slice, Block], Any]) -> np.ndarray:
            (rows, _), layout = block
            white = self.structure.whiten(layout, association, scaled_columns(self.data, rows, factor, residual))
            with np.errstate(over="ignore", invalid="ignore"):  # such a beta is refused
                return np.dot(white.T, white)

        total = np.add.reduce(list(self.run(products, self._blocks())))
        return total[:-1, :-1], total[:-1, -1]

    def score_sums(self, at: Evaluation) -> np.ndarray:
        """Return the score of each cluster (n_clusters, p), a repeated cluster's times its repetitions."""

        def scores(part: WhiteBlock) -> np.ndarray:
            sums = part.clusters.sum(part.columns[:, :-1] * part.columns[:, -1:])
            return sums if part.counts is None else sums * part.counts[:, None]

        return np.concatenate(self.over_white_blocks(at, scores))

    def over_white_blocks(
        self,
        at: Evaluation,
        function: Callable[[WhiteBlock], Any],
        further: Callable[[slice], np.ndarray] | None = None,
    ) -> list[Any]:
        """Return what a function makes of every block of whitened rows, in order.

        Parameters
        ----------
        at : Evaluation
            Where the equations are evaluated.
        function : callable
            Takes a `WhiteBlock`.
        further : callable, optional
            Returns columns (n, m) for a slice of rows; they are whitened like the rest.
        """

        def prepare(block: tuple[tuple[slice, Block], Any]) -> Any:
            (rows, part), layout = block
            columns = scaled_columns(self.data, rows, at.factor, at.residual)
            counts = None
            if self.data.counts is not None:
                counts = self.data.counts[rows][part.clusters.starts]
                columns /= np.sqrt(self.data.counts[rows, None])
            if further is not None:
                columns = np.concatenate([columns, further(rows)], axis=1)
            white = self.structure.whiten(layout, at.association, columns)
            n_columns = self.data.design.shape[1] + 1
            return function(WhiteBlock(rows, part.clusters, counts, white[:, :n_columns], white[:, n_columns:]))

        return list(self.run(prepare, self._blocks()))

    def convergence_scale(self, at: Evaluation) -> float:
        """Return the scale against which a step is short: phi, but 1 where the family has a scale of its own."""
        if self.model.family.natural_scale:
            return max(at.scale, 1.0)
        # An exact fit leaves phi as rounding, and outcomes far from zero have few digits for it: no step can be
        # expected to be shorter than the rounding of the outcomes themselves.
        return max(at.scale, (_ROUNDING / self.tol) ** 2 * self.outcome_size(at), np.finfo(float).tiny)

    def outcome_size(self, at: Evaluation) -> float:
        """Return the mean square of outcomes over their variance function."""
        return float(np.mean(self.data.y**2 / self.model.family.variance(at.mu)))

    def mean_outcome(self) -> float:
        """Return the weighted mean of the outcomes."""
        return float(np.average(self.data.y, weights=self.data.row_mass))

    def rough_products(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the normal equations of the regression of the link of rough means on the design.

        It is the first step of iteratively reweighted least squares. None where some rough means are outside the range
        of the link.
        """
        data, model = self.data, self.model
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
        return np.dot(weighted.T, weighted), np.dot(weighted.T, root * response)

    def constant_products(self, eta: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the normal equations of the regression of a constant, less the offset, on the design."""
        data = self.data
        response = np.full(len(data.y), eta)
        if data.offset is not None:
            response -= data.offset
        return np.dot(data.design.T, data.design), np.dot(data.design.T, response)


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
