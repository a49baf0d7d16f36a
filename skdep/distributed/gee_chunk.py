"""A chunk of whole clusters in the estimating equations: its rows in the coordinates of the fit, and its sums.

Every function here is what one worker computes of one chunk; what it returns is small, and adds up.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdep._basis import Coordinates
from skdep._validation import check_weights
from skdep.base import FitNotes
from skdep.distributed.chunks import Chunk
from skdep.distributed.scan import check_chunk, naming_chunk
from skdep.families import Family
from skdep.gee.equations import Equations, Evaluation, GEEData, Model, WhiteBlock
from skdep.gee.rows import GEERows, prepare_rows
from skdep.gee.working_correlation import WorkingCorrelation

__all__ = [
    "Facts",
    "Laid",
    "Moments",
    "Part",
    "Spec",
    "chunk_rows",
    "constant_products",
    "criteria_at",
    "facts_of",
    "lay_out",
    "moments_at",
    "over_white_blocks",
    "prepare",
    "rough_products",
    "sums_at",
    "validated",
]


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """What a chunk must know of all chunks."""

    est: Any
    model: Model
    structure: WorkingCorrelation
    coordinates: Coordinates
    mean_weight: float
    waves: np.ndarray | None
    time_unit: float
    tol: float


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A chunk in the coordinates of the fit, sorted by cluster."""

    data: GEEData
    n_clusters: float
    means: np.ndarray  # sums of the features' columns, times the rows' mass

    @property
    def n_bytes(self) -> int:
        """Size of the rows."""
        return self.data.design.nbytes + 6 * self.data.y.nbytes


def chunk_rows(chunk: Chunk, est: Any, structure: WorkingCorrelation, notes: FitNotes, y: np.ndarray) -> GEERows:
    """Return a chunk's rows, checked and sorted by cluster."""
    return prepare_rows(
        chunk.X,
        y,
        groups=chunk.groups,
        sample_weight=chunk.sample_weight,
        offset=chunk.offset,
        time=chunk.time,
        weight_type=est.weight_type,
        structure=structure,
        notes=notes,
    )


def validated(chunk: Chunk, number: int, est: Any, family: Family) -> tuple[Chunk, np.ndarray]:
    """Return the chunk with features as an array, and the outcome as numbers; errors name the chunk."""
    rows = check_chunk(replace(chunk, sample_weight=None), number, est)
    if hasattr(est, "classes_"):
        y = (rows.y == est.classes_[1]).astype(np.float64)
    else:
        y = np.asarray(rows.y, dtype=np.float64)
        with naming_chunk(number):
            family.check_outcome(y, check_weights(chunk.sample_weight, len(y)))
    return replace(chunk, X=rows.X), y


def prepare(chunk: Chunk, number: int, spec: Spec) -> Part:
    """Sort a chunk, and give its blocks what is common to all chunks."""
    checked, y = validated(chunk, number, spec.est, spec.model.family)
    with warnings.catch_warnings(), naming_chunk(number):
        warnings.simplefilter("ignore")  # given once, for the first chunk
        rows = chunk_rows(checked, spec.est, spec.structure, FitNotes(), y)
    weights = rows.weights
    if weights is not None:
        given = np.asarray(chunk.sample_weight, dtype=float)
        weights = weights * (given[given > 0].mean() / spec.mean_weight)
    X = np.dot(rows.X - spec.coordinates.centre, spec.coordinates.into)
    design = np.column_stack([np.ones(len(X)), X]) if spec.est.fit_intercept else X
    blocks = tuple((part, _common(block, rows.waves, spec)) for part, block in rows.blocks)
    data = GEEData(design, rows.y, rows.offset, weights, rows.counts, blocks)
    mass = data.row_mass
    means = rows.X.sum(axis=0) if mass is None else np.dot(mass, rows.X)
    return Part(data, float(rows.n_clusters), means)


def _common(block: Any, waves: np.ndarray | None, spec: Spec) -> Any:
    """Return a block whose times are numbered among those of all chunks."""
    block = replace(block, time_unit=spec.time_unit)
    if block.wave is None or waves is None or spec.waves is None:
        return block
    number = np.searchsorted(spec.waves, waves)
    return replace(block, wave=number[block.wave], n_waves=len(spec.waves), times=spec.waves)


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A part under one working correlation."""

    equations: Equations
    part: Part

    @property
    def n_bytes(self) -> int:
        """Size of the rows and their layout."""
        return 2 * self.part.n_bytes


def lay_out(part: Part, number: int, model: Model, structure: WorkingCorrelation, tol: float) -> Laid:
    """Return a part under a working correlation."""
    return Laid(Equations(part.data, model, structure, tol), part)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What all chunks together must know of one."""

    layouts: tuple[Any, ...]
    pair_counts: list[np.ndarray]
    n_obs: float
    total_mass: float
    mass_of_y: float
    n_clusters: float
    means: np.ndarray
    squares: np.ndarray


def facts_of(laid: Laid) -> Facts:
    """Return what all chunks together must know of a part."""
    equations, data = laid.equations, laid.part.data
    mass = np.ones(len(data.y)) if data.row_mass is None else data.row_mass
    return Facts(
        layouts=tuple(equations.structure.digest(layout) for layout in equations.layouts),
        pair_counts=equations.block_pair_counts,
        n_obs=data.n_obs,
        total_mass=float(mass.sum()),
        mass_of_y=float(mass @ data.y),
        n_clusters=laid.part.n_clusters,
        means=laid.part.means,
        squares=np.sum(data.design**2, axis=0),
    )


def rough_products(laid: Laid) -> Any:
    """Return a part's normal equations of the link of rough means."""
    return laid.equations.rough_products()


def constant_products(laid: Laid, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a part's normal equations of a constant linear predictor."""
    return laid.equations.constant_products(eta)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums of residuals at one beta."""

    squares: float
    products: list[np.ndarray]
    outcomes: float
    mean_range: tuple[float, float]


def moments_at(laid: Laid, beta: np.ndarray) -> Moments | None:
    """Return a part's sums of residuals at beta; None where means leave their range."""
    found = laid.equations.residual_moments(beta)
    if found is None:
        return None
    mu = found.mu
    outcomes = float(np.sum(laid.part.data.y**2 / laid.equations.model.family.variance(mu)))
    return Moments(found.squares, found.products, outcomes, (float(mu.min()), float(mu.max())))


def sums_at(laid: Laid, beta: np.ndarray, association: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a part's bread and score at beta under an association."""
    found = laid.equations.residual_moments(beta)
    assert found is not None
    return laid.equations.sums_under(found.factor, found.residual, association)


def over_white_blocks(
    laid: Laid, beta: np.ndarray, association: Any, function: Callable[[WhiteBlock], Any]
) -> list[Any]:
    """Return what a function makes of every block of a part's whitened rows."""
    found = laid.equations.residual_moments(beta)
    assert found is not None
    nothing = np.zeros((0, 0))
    at = Evaluation(beta, found.mu, found.factor, found.residual, 1.0, association, 0.0, nothing, nothing)
    return laid.equations.over_white_blocks(at, function)


def criteria_at(laid: Laid, beta: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the quasi-likelihood times phi, and the information under independence."""
    equations, data = laid.equations, laid.part.data
    found = equations.residual_moments(beta)
    assert found is not None
    rows = equations.model.family.quasi_likelihood(data.y, found.mu)
    scaled = data.design * found.factor[:, None]
    return float(rows.sum() if data.row_mass is None else data.row_mass @ rows), np.dot(scaled.T, scaled)
