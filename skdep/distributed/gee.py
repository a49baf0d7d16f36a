"""Generalized estimating equations over chunks of whole clusters.

An evaluation takes two passes: residuals first, which give the scale and the association, then the sums under that
working correlation; under independence one is enough. Covariances take one pass more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from sklearn.base import is_classifier

from skdep._basis import Basis, Coordinates
from skdep._outcome import encode_binary
from skdep._validation import check_weights
from skdep.base import FitNotes
from skdep.distributed.chunks import Chunk
from skdep.distributed.progress import Passes
from skdep.distributed.runners import Runner
from skdep.distributed.scan import DataScan, check_chunk, naming_chunk
from skdep.exceptions import ConvergenceWarning, SeparationWarning
from skdep.families import Binomial, Family, get_family
from skdep.gee.checks import FitChecks, check_not_at_boundary
from skdep.gee.covariance import CovarianceRequest, gee_covariances
from skdep.gee.criteria import criteria_of_sums
from skdep.gee.equations import Equations, Evaluation, GEEData, Model, WhiteBlock
from skdep.gee.rows import GEERows, prepare_rows
from skdep.gee.scoring import ScoringResult, solve_equations
from skdep.gee.small_sample import Numbers
from skdep.gee.working_correlation import WorkingCorrelation, get_working_correlation
from skdep.links import get_link
from skdep.separation import no_separation_certified

__all__ = ["fit_gee"]


@dataclass(frozen=True, slots=True, eq=False)
class _Spec:
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
class _Part:
    """A chunk in the coordinates of the fit, sorted by cluster."""

    data: GEEData
    n_clusters: float
    means: np.ndarray  # sums of the features' columns, times the rows' mass

    @property
    def n_bytes(self) -> int:
        """Size of the rows."""
        return self.data.design.nbytes + 6 * self.data.y.nbytes


def _chunk_rows(chunk: Chunk, est: Any, structure: WorkingCorrelation, notes: FitNotes, y: np.ndarray) -> GEERows:
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


def _validated(chunk: Chunk, number: int, est: Any, family: Family) -> tuple[Chunk, np.ndarray]:
    """Return the chunk with features as an array, and the outcome as numbers; errors name the chunk."""
    rows = check_chunk(replace(chunk, sample_weight=None), number, est)
    if hasattr(est, "classes_"):
        y = (rows.y == est.classes_[1]).astype(np.float64)
    else:
        y = np.asarray(rows.y, dtype=np.float64)
        with naming_chunk(number):
            family.check_outcome(y, check_weights(chunk.sample_weight, len(y)))
    return replace(chunk, X=rows.X), y


def _prepare(chunk: Chunk, number: int, spec: _Spec) -> _Part:
    """Sort a chunk, and give its blocks what is common to all chunks."""
    checked, y = _validated(chunk, number, spec.est, spec.model.family)
    with warnings.catch_warnings(), naming_chunk(number):
        warnings.simplefilter("ignore")  # given once, for the first chunk
        rows = _chunk_rows(checked, spec.est, spec.structure, FitNotes(), y)
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
    return _Part(data, float(rows.n_clusters), means)


def _common(block: Any, waves: np.ndarray | None, spec: _Spec) -> Any:
    """Return a block whose times are numbered among those of all chunks."""
    block = replace(block, time_unit=spec.time_unit)
    if block.wave is None or waves is None or spec.waves is None:
        return block
    number = np.searchsorted(spec.waves, waves)
    return replace(block, wave=number[block.wave], n_waves=len(spec.waves), times=spec.waves)


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """A part under one working correlation."""

    equations: Equations
    part: _Part

    @property
    def n_bytes(self) -> int:
        """Size of the rows and their layout."""
        return 2 * self.part.n_bytes


def _lay_out(part: _Part, number: int, model: Model, structure: WorkingCorrelation, tol: float) -> _Laid:
    return _Laid(Equations(part.data, model, structure, tol), part)


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """What all chunks together must know of one."""

    layouts: tuple[Any, ...]
    pair_counts: list[np.ndarray]
    n_obs: float
    total_mass: float
    mass_of_y: float
    n_clusters: float
    means: np.ndarray
    squares: np.ndarray


def _facts(laid: _Laid) -> _Facts:
    equations, data = laid.equations, laid.part.data
    mass = np.ones(len(data.y)) if data.row_mass is None else data.row_mass
    return _Facts(
        layouts=tuple(equations.structure.digest(layout) for layout in equations.layouts),
        pair_counts=equations.block_pair_counts,
        n_obs=data.n_obs,
        total_mass=float(mass.sum()),
        mass_of_y=float(mass @ data.y),
        n_clusters=laid.part.n_clusters,
        means=laid.part.means,
        squares=np.sum(data.design**2, axis=0),
    )


def _rough(laid: _Laid) -> Any:
    return laid.equations.rough_products()


def _constant(laid: _Laid, eta: float) -> tuple[np.ndarray, np.ndarray]:
    return laid.equations.constant_products(eta)


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Sums of residuals at one beta."""

    squares: float
    products: list[np.ndarray]
    outcomes: float
    mean_range: tuple[float, float]


def _moments(laid: _Laid, beta: np.ndarray) -> _Moments | None:
    found = laid.equations.residual_moments(beta)
    if found is None:
        return None
    mu = found.mu
    outcomes = float(np.sum(laid.part.data.y**2 / laid.equations.model.family.variance(mu)))
    return _Moments(found.squares, found.products, outcomes, (float(mu.min()), float(mu.max())))


def _sums(laid: _Laid, beta: np.ndarray, association: Any) -> tuple[np.ndarray, np.ndarray]:
    found = laid.equations.residual_moments(beta)
    assert found is not None
    return laid.equations.sums_under(found.factor, found.residual, association)


def _white(laid: _Laid, beta: np.ndarray, association: Any, function: Callable[[WhiteBlock], Any]) -> list[Any]:
    found = laid.equations.residual_moments(beta)
    assert found is not None
    nothing = np.zeros((0, 0))
    at = Evaluation(beta, found.mu, found.factor, found.residual, 1.0, association, 0.0, nothing, nothing)
    return laid.equations.over_white_blocks(at, function)


def _criteria(laid: _Laid, beta: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the quasi-likelihood times phi, and the information under independence."""
    equations, data = laid.equations, laid.part.data
    found = equations.residual_moments(beta)
    assert found is not None
    rows = equations.model.family.quasi_likelihood(data.y, found.mu)
    scaled = data.design * found.factor[:, None]
    return float(rows.sum() if data.row_mass is None else data.row_mass @ rows), np.dot(scaled.T, scaled)


@dataclass(frozen=True, slots=True)
class _Totals:
    """What of the data is known without rows."""

    n_obs: float
    n_params: int

    @property
    def design(self) -> np.ndarray:
        """Nothing but the number of columns."""
        return np.zeros((0, self.n_params))


class _ChunkedEquations(Equations):
    """The estimating equations of all chunks; evaluations hold no rows."""

    def __init__(
        self,
        runner: Runner,
        model: Model,
        structure: WorkingCorrelation,
        tol: float,
        passes: Passes,
        n_params: int,
    ):
        self.runner = runner.prepare(_lay_out, model, structure, tol)
        self.passes = passes
        facts = list(passes.over(self.runner.map(_facts)))
        self.facts = facts
        layouts = tuple(layout for part in facts for layout in part.layouts)
        counts = [count for part in facts for count in part.pair_counts]
        totals = _Totals(sum(part.n_obs for part in facts), n_params)
        self._set_up(totals, model, structure, tol, layouts, counts)

    @property
    def n_clusters(self) -> float:
        """Number of clusters."""
        return sum(part.n_clusters for part in self.facts)

    @property
    def feature_means(self) -> np.ndarray:
        """Weighted means of the features."""
        return np.add.reduce([part.means for part in self.facts]) / sum(part.total_mass for part in self.facts)

    @property
    def squares(self) -> np.ndarray:
        """Sums of squares of the design's columns."""
        return np.add.reduce([part.squares for part in self.facts])

    def at(self, beta: np.ndarray, previous: Any) -> Evaluation | None:
        """Evaluate at beta; None where means leave their range."""
        parts = list(self.passes.over(self.runner.map(_moments, beta)))
        if any(part is None for part in parts):
            return None
        scale = self._scale(sum(part.squares for part in parts))
        products = [block for part in parts for block in part.products]
        association, shrinkage = self._association(products, scale, previous)
        sums = list(self.passes.over(self.runner.map(_sums, beta, association)))
        bread, score = (np.add.reduce(column) for column in zip(*sums, strict=True))
        if not (np.isfinite(bread).all() and np.isfinite(score).all()):
            return None
        low = min(part.mean_range[0] for part in parts)
        high = max(part.mean_range[1] for part in parts)
        outcomes = sum(part.outcomes for part in parts) / self.data.n_obs
        # in place of rows: the range of means, and the size of outcomes
        nothing = np.zeros(0)
        return Evaluation(
            beta, np.array([low, high]), nothing, np.array([outcomes]), scale, association, shrinkage, bread, score
        )

    def outcome_size(self, at: Evaluation) -> float:
        """Return the mean square of outcomes in units of their standard deviation."""
        return float(at.residual[0])

    def rough_products(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the normal equations of the link of rough means."""
        return _added(self.passes.over(self.runner.map(_rough)))

    def constant_products(self, eta: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the normal equations of a constant linear predictor."""
        found = _added(self.passes.over(self.runner.map(_constant, eta)))
        assert found is not None
        return found

    def mean_outcome(self) -> float:
        """Return the weighted mean of the outcome."""
        return sum(part.mass_of_y for part in self.facts) / sum(part.total_mass for part in self.facts)

    def over_white_blocks(
        self,
        at: Evaluation,
        function: Callable[[WhiteBlock], Any],
        further: Callable[[slice], np.ndarray] | None = None,
    ) -> list[Any]:
        """Return what a function makes of every block of whitened rows, in order."""
        assert further is None
        parts = self.passes.over(self.runner.map(_white, at.beta, at.association, function))
        return [block for part in parts for block in part]

    def criteria_sums(self, at: Evaluation) -> tuple[float, np.ndarray]:
        """Return the quasi-likelihood times phi, and the information under independence."""
        parts = list(self.passes.over(self.runner.map(_criteria, at.beta)))
        return sum(part[0] for part in parts), np.add.reduce([part[1] for part in parts])


def _added(parts: Iterable[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    parts = list(parts)
    if any(part is None for part in parts):
        return None
    return np.add.reduce([part[0] for part in parts]), np.add.reduce([part[1] for part in parts])


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the estimator asks of its rows, as `skdep.gee.rows.GEERows` answers for rows in memory."""

    scan: DataScan
    n_clusters: int
    waves: np.ndarray | None
    weighted: bool

    @property
    def grouped(self) -> bool:
        """Whether groups were given."""
        return self.scan.clustered

    @property
    def factor_name(self) -> str:
        """Name of the grouping factor."""
        return self.scan.whole.factor_name

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.scan.whole.n_rows

    @property
    def sizes(self) -> np.ndarray:
        """Least and greatest size of a cluster."""
        return np.array(self.scan.whole.sizes)

    def fingerprint(self) -> None:
        """Return nothing: of chunks no fingerprint is taken."""


class _Checks(FitChecks):
    """Checks of a fit over chunks, whose evaluations know the range of means only."""

    def _separation(self) -> bool:
        start, equations = self.start, cast(_ChunkedEquations, self.start.equations)
        if equations.model.link.name == "logit":
            decrement = start.decrement * np.sqrt(start.equations.data.n_obs * max(start.at.scale, 1.0))
            if no_separation_certified(decrement, start.at.bread, equations.squares):
                return True
        elif start.converged and start.at.mu[0] > 1e-8 and start.at.mu[1] < 1.0 - 1e-8:
            return True
        self.notes.warn(
            "It could not be ruled out that some estimates are infinite (separation), which only rows in memory can "
            "tell: look for huge standard errors.",
            SeparationWarning,
        )
        return True

    def _vanishing_means(self) -> bool:
        least = 1e-12 * self.result.equations.mean_outcome()
        if min(self.result.at.mu[0], self.start.at.mu[0]) >= least:
            return True
        self.notes.warn(
            "Some fitted means are 0 to rounding: some coefficients are infinite. Drop or merge the features whose "
            "rows have outcomes of 0 only.",
            ConvergenceWarning,
        )
        return False


def fit_gee(est: Any, runner: Runner, scan: DataScan, passes: Passes, notes: FitNotes, first: Chunk) -> None:
    """Fit a GEE to chunks.

    Parameters
    ----------
    est : GEERegressor or GEEClassifier
        The estimator, which knows the names of features; gets the fitted attributes.
    runner : Runner
        The chunks.
    scan : DataScan
        What is known of all of them.
    passes : Passes
        Counts passes over the data.
    notes : FitNotes
        Takes warnings.
    first : Chunk
        The first chunk, for warnings on what all chunks share.
    """
    structure = get_working_correlation(est.working_correlation)
    family = _family(est, scan)
    link = family.default_link() if est.link is None else get_link(est.link)
    est._family, est._link, est._link_name = family, link, link.name
    checked, y = _validated(first, 0, est, family)
    rows = _chunk_rows(checked, est, structure, notes, y)
    waves = scan.whole.times if structure.needs_waves and len(scan.whole.times) else rows.waves
    unit = rows.blocks[0][1].time_unit if rows.blocks else 1.0
    model = Model(family, link, est.scale, est.dof)
    coordinates = scan.coordinates(fit_intercept=bool(est.fit_intercept))
    spec = _Spec(est, model, structure, coordinates, scan.mean_weight, waves, unit, est.tol)
    est._fitted_with_offset = "offset" in scan.whole.given
    n_params = coordinates.back.shape[1]
    prepared = runner.prepare(_prepare, spec)

    def make(kind: WorkingCorrelation) -> _ChunkedEquations:
        return _ChunkedEquations(prepared, model, kind, est.tol, passes, n_params)

    result, start = solve_equations(make, structure, max_iter=est.max_iter, tol=est.tol)
    equations: Any = result.equations
    basis = Basis(np.zeros((0, 0)), coordinates.back, coordinates.aliased)
    stand_in: Any = _Rows(scan, int(equations.n_clusters), waves, "sample_weight" in scan.whole.given)
    covariances = gee_covariances(equations, result.at, _request(est, equations, result, basis, scan))
    quasi, information = equations.criteria_sums(result.at)
    criteria = criteria_of_sums(quasi, information, result.at.scale, covariances.robust_of_columns)
    est._store(equations.data.n_obs, stand_in, basis, covariances, result, criteria, notes)
    features = est._parameter_names()[int(est.fit_intercept) :]
    checks = _Checks(type(est).__name__, stand_in, result, start, features, est.fit_intercept, notes)
    est._conclude(checks, stand_in, covariances, notes)


def _family(est: Any, scan: DataScan) -> Family:
    """Return the family, and learn the classes of a classifier; outcomes must not all be at the end of the range."""
    if is_classifier(est):
        est.classes_ = encode_binary(scan.whole.labels, None)[0]
        return Binomial()
    family = get_family(est.family)
    check_not_at_boundary(np.array(scan.whole.y_range), family)
    return family


def _request(
    est: Any, equations: _ChunkedEquations, result: ScoringResult, basis: Basis, scan: DataScan
) -> CovarianceRequest:
    names = equations.structure.parameter_names(equations.layouts) if equations.pair_counts.size else ()
    numbers = Numbers(
        n_obs=equations.data.n_obs,
        n_clusters=equations.n_clusters,
        n_params=equations.data.n_params,
        n_association=len(names),
        scale=result.at.scale,
        scale_is_estimated=est.scale is None,
    )
    return CovarianceRequest(
        back=basis.back,
        centre=equations.feature_means if est.fit_intercept else None,
        cov_type=est.cov_type,
        numbers=numbers,
        sampling=est.weight_type == "sampling",
        n_units=scan.whole.n_units,
        positions="it pools residuals over all clusters, which are not in memory",
    )
