"""`MixedLinear` over chunks: with one grouping factor all that the likelihood needs are cross-products by level.

These grow with the number of levels, not of rows. A first pass finds coordinates, a second least squares, a third the
cross-products of its residuals, a fourth the scores of the sandwich.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._basis import Basis, coordinates_from_moments
from skdep._linalg import scaled_solve, smallest_scaled_eigenvalue
from skdep.base import FitNotes
from skdep.distributed.chunks import Chunk
from skdep.distributed.progress import Passes
from skdep.distributed.runners import Runner
from skdep.distributed.scan import CheckedChunk, DataScan, check_chunk
from skdep.mixed.cross_products import CrossProducts, LevelSums, TermProducts, WorkingColumns, form_cross_products
from skdep.mixed.fit import log_determinant_of_kept
from skdep.mixed.fixed_columns import ILL_CONDITIONED
from skdep.mixed.robust import conditional_residuals, score_meat
from skdep.mixed.term_settings import resolve_blocks, resolve_intercepts, resolve_slopes
from skdep.mixed.terms import INTERCEPT, RandomTerm, effect_columns
from skdep.mixed.weights import RowWeights

__all__ = ["fit_mixed"]


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Weighted moments of [1, X - m, y - m_y], and what else counts rows."""

    gram: np.ndarray
    n_rows: int
    total_weight: float
    log_weights: float
    levels: np.ndarray | None
    sizes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """Coordinates that all chunks share.

    Fixed-effect columns are a constant, if any, and (X - centre) times `into`; y loses `y_centre` and the least squares
    fit `shift`. Column a of a level's effects is (x - centre_a) / scale_a.
    """

    fit_intercept: bool
    centre: np.ndarray
    into: np.ndarray | None
    y_centre: float
    shift: np.ndarray
    columns: tuple[int, ...]
    effect_centres: tuple[float, ...]
    effect_scales: tuple[float, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of a chunk in working coordinates; y is the residual of least squares, in its own units."""

    border: np.ndarray
    weights: np.ndarray | None
    term: RandomTerm | None
    columns: WorkingColumns | None
    sums: LevelSums | None

    @property
    def n_bytes(self) -> int:
        """Size of the rows."""
        return 2 * self.border.nbytes


def _moments(chunk: Chunk, number: int, est: Any, mean: np.ndarray, y_mean: float) -> _Moments:
    rows = check_chunk(chunk, number, est)
    y = _outcome(rows)
    columns = np.column_stack([np.ones(len(y)), rows.X - mean, y - y_mean])
    weighted = columns if rows.weights is None else columns * rows.weights[:, None]
    return _Moments(
        gram=np.dot(weighted.T, columns),
        n_rows=len(y),
        total_weight=float(len(y) if rows.weights is None else rows.weights.sum()),
        log_weights=0.0 if rows.weights is None else float(np.log(rows.weights).sum()),
        levels=rows.levels,
        sizes=np.zeros(0, dtype=int) if rows.codes is None else np.bincount(rows.codes),
    )


def _outcome(rows: CheckedChunk) -> np.ndarray:
    y = np.asarray(rows.y, dtype=np.float64)
    return y if rows.offset is None else y - rows.offset


def _prepare(chunk: Chunk, number: int, est: Any, frame: _Frame) -> _Part:
    rows = check_chunk(chunk, number, est)
    X = rows.X - frame.centre
    if frame.into is not None:
        X = np.dot(X, frame.into)
    parts = [np.ones((len(X), 1))] if frame.fit_intercept else []
    border = np.column_stack([*parts, X, _outcome(rows) - frame.y_centre])
    border[:, -1] -= np.dot(border[:, :-1], frame.shift)
    if rows.codes is None or rows.levels is None:
        return _Part(border, rows.weights, None, None, None)
    term = RandomTerm(rows.factor_name, rows.codes, rows.levels, frame.columns)
    effects = tuple(
        None if column == INTERCEPT else (rows.X[:, column] - centre) / scale
        for column, centre, scale in zip(frame.columns, frame.effect_centres, frame.effect_scales, strict=True)
    )
    sums = LevelSums(term.codes, term.n_levels)
    return _Part(border, rows.weights, term, WorkingColumns(effects, np.eye(len(effects))), sums)


def _products(part: _Part) -> CrossProducts:
    weighted = part.border if part.weights is None else part.border * part.weights[:, None]
    gram = np.dot(weighted.T, part.border)
    terms = [] if part.term is None else [part.term]
    columns = [] if part.columns is None else [part.columns]
    sums = [] if part.sums is None else [part.sums]
    return form_cross_products(
        terms,
        columns,
        sums,
        part.border,
        gram,
        weights=part.weights,
        n_obs=0.0,
        log_weights=0.0,
        y_scale=1.0,
        reml_shift=0.0,
    )


def _residuals(part: _Part, contrast: np.ndarray, effects: np.ndarray | None) -> np.ndarray:
    if part.term is None or part.columns is None or effects is None:
        return conditional_residuals(part.border, contrast, [], [], [])
    return conditional_residuals(part.border, contrast, [part.term], [part.columns], [effects])


def _residual_sum(part: _Part, contrast: np.ndarray, effects: np.ndarray | None) -> float:
    residuals = _residuals(part, contrast, effects)
    return float(np.dot(residuals, residuals if part.weights is None else residuals * part.weights))


def _meat(part: _Part, contrast: np.ndarray, repeats: bool, effects: np.ndarray | None) -> np.ndarray:
    return score_meat(part.border, _residuals(part, contrast, effects), part.weights, part.sums, repeats)


@dataclass(frozen=True)
class _Term(RandomTerm):
    """The factor of all chunks: its levels and their sizes, no rows."""

    counted: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Number of rows of each level."""
        return self.counted


@dataclass(frozen=True, eq=False)
class _ChunkedData:
    """What the estimates ask of rows in working coordinates, as `skdep.mixed.fit.WorkingData` answers in memory."""

    terms: list[RandomTerm]
    basis: Basis
    shift: np.ndarray
    y_centre: float
    y_scale: float
    products: CrossProducts
    n_rows: int
    runner: Runner
    passes: Passes
    order: np.ndarray  # position of each level among those of the chunks, one chunk after the other
    bounds: np.ndarray  # first level of each chunk in that order

    def _by_chunk(self, effects: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        if not effects:
            return [None] * self.passes.n_chunks
        unsorted = np.empty_like(effects[0])
        unsorted[self.order] = effects[0] * self.y_scale
        return [unsorted[self.bounds[k] : self.bounds[k + 1]] for k in range(len(self.bounds) - 1)]

    def _in_chunk_units(self, contrast: np.ndarray) -> np.ndarray:
        """Return a contrast of the columns of chunks, whose y is not divided by its scale."""
        scaled = contrast * self.y_scale
        scaled[-1] = contrast[-1]
        return scaled

    def residual_sum(self, contrast: np.ndarray, effects: Sequence[np.ndarray], weights: RowWeights) -> float:
        """Return the weighted sum of squares of conditional residuals."""
        parts = self.runner.map(_residual_sum, self._in_chunk_units(contrast), each=self._by_chunk(effects))
        return sum(self.passes.over(parts)) / self.y_scale**2

    def score_meat(
        self, contrast: np.ndarray, effects: Sequence[np.ndarray], weights: RowWeights, cluster: str | None
    ) -> np.ndarray:
        """Return the meat of scores added up within levels, or by row."""
        if self.y_scale == 0.0:
            return np.zeros((self.products.n_params,) * 2)
        parts = self.runner.map(_meat, self._in_chunk_units(contrast), weights.repeats, each=self._by_chunk(effects))
        return np.add.reduce(list(self.passes.over(parts))) / self.y_scale**2


def fit_mixed(est: Any, runner: Runner, scan: DataScan, passes: Passes, notes: FitNotes, first: Chunk) -> None:
    """Fit a `MixedLinear` with one grouping factor, or none, to chunks.

    Parameters
    ----------
    est : MixedLinear
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
        Not used.

    Raises
    ------
    ValueError
        If weights are sampling weights, or features have no fixed effect.
    """
    if est.weight_type == "sampling":
        raise ValueError("Sampling weights of a multilevel model are not available over chunks.")
    if est.random_only is not None:
        raise ValueError("random_only is not available over chunks: give every feature a fixed effect, or use fit.")
    y_mean = float(np.mean(scan.whole.y_range))
    moments = list(passes.over(runner.prepare(_moments, est, scan.whole.mean, y_mean).map(_itself)))
    gram = np.add.reduce([part.gram for part in moments])
    weights = _row_weights(est, moments, "sample_weight" in scan.whole.given)
    columns, blocks = _effects(est, scan)
    frame, basis = _coordinates(est, gram, scan, y_mean, columns, blocks)
    prepared = runner.prepare(_prepare, est, frame)
    products = list(passes.over(prepared.map(_products)))
    data = _joined(est, products, moments, frame, basis, weights, prepared, passes, scan)
    est._fitted_with_offset = "offset" in scan.whole.given
    est._fit_working(data, [term.name for term in data.terms], weights, notes)


def _itself(part: Any) -> Any:
    return part


def _row_weights(est: Any, moments: list[_Moments], given: bool) -> RowWeights:
    """Return what the fit must know of weights; those of rows stay with the chunks."""
    n_rows = float(sum(part.n_rows for part in moments))
    if not given:
        return RowWeights(None, None, n_rows, 0.0)
    if est.weight_type == "precision":
        return RowWeights(None, None, n_rows, sum(part.log_weights for part in moments))
    return RowWeights(None, None, sum(part.total_weight for part in moments), 0.0, repeats=True)


def _effects(est: Any, scan: DataScan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the features whose coefficients vary between levels, and the number of the block of each effect."""
    if not scan.clustered:
        return (), ()
    name = scan.whole.factor_name
    names = getattr(est, "feature_names_in_", None)
    listed = None if names is None else [str(feature) for feature in names]
    slopes = resolve_slopes(est.random_slopes, [name], listed, est.n_features_in_)[name]
    columns = effect_columns(name, resolve_intercepts(est.random_intercept, [name])[name], slopes)
    return columns, resolve_blocks(est.covariance, [name], {name: columns}, listed, est.n_features_in_)[name]


def _coordinates(
    est: Any,
    gram: np.ndarray,
    scan: DataScan,
    y_mean: float,
    columns: tuple[int, ...],
    blocks: tuple[int, ...],
) -> tuple[_Frame, Basis]:
    """Return coordinates in which chunks are summed up, least squares among them, and the way back."""
    fit_intercept, total, origin = bool(est.fit_intercept), gram[0, 0], scan.whole.mean
    away = gram[0, 1:-1] / total  # weighted means, from the origin
    centre = origin + away if fit_intercept else np.zeros_like(origin)
    second = gram[1:-1, 1:-1] / total - np.outer(away, away)
    about_zero = second + np.outer(origin + away, origin + away)
    n_features = len(origin)
    back, into, aliased = np.eye(n_features + fit_intercept), None, np.zeros(n_features + fit_intercept, dtype=bool)
    if fit_intercept:
        back[0, 1:] = -centre
    if smallest_scaled_eigenvalue(second if fit_intercept else about_zero) <= ILL_CONDITIONED:
        found = coordinates_from_moments(centre, second if fit_intercept else about_zero, fit_intercept=fit_intercept)
        back, into, aliased = found.back, found.into, found.aliased
    # moments of [1, X - origin, y - y_mean] become those of the columns and of y less its mean
    y_away = gram[0, -1] / total
    y_centre = y_mean + y_away if fit_intercept else 0.0
    change = _change(origin, centre, into, y_mean - y_centre, fit_intercept)
    moved = change.T @ gram @ change
    shift = scaled_solve(moved[:-1, :-1], moved[:-1, -1])
    centres, scales = [], []
    for column, block in zip(columns, blocks, strict=True):
        centred = columns[0] == INTERCEPT and block == blocks[0]
        if column == INTERCEPT:
            centres.append(0.0)
            scales.append(1.0)
            continue
        mean = float(origin[column] + away[column])
        size = float(np.sqrt(max((second if centred else about_zero)[column, column], 0.0)))
        centres.append(mean if centred else 0.0)
        # a column that does not vary has an effect of zero for every level
        scales.append(size if size > 1e-13 * abs(mean) and size > 0 else np.inf)
    frame = _Frame(fit_intercept, centre, into, y_centre, shift, columns, tuple(centres), tuple(scales), blocks)
    return frame, Basis(np.zeros((0, 0)), back, aliased)


def _change(
    origin: np.ndarray, centre: np.ndarray, into: np.ndarray | None, y_shift: float, fit_intercept: bool
) -> np.ndarray:
    """Return the matrix that maps [1, X - origin, y - y_mean] to [1?, (X - centre) into, y - y_centre]."""
    n_features = len(origin)
    into = np.eye(n_features) if into is None else into
    rank = into.shape[1]
    change = np.zeros((n_features + 2, rank + 1 + fit_intercept))
    change[0, :fit_intercept] = 1.0
    change[0, fit_intercept:-1] = (origin - centre) @ into
    change[1:-1, fit_intercept:-1] = into
    change[0, -1], change[-1, -1] = y_shift, 1.0
    return change


def _joined(
    est: Any,
    products: list[CrossProducts],
    moments: list[_Moments],
    frame: _Frame,
    basis: Basis,
    weights: RowWeights,
    runner: Runner,
    passes: Passes,
    scan: DataScan,
) -> _ChunkedData:
    """Join the cross-products of all chunks, and scale y."""
    gram = np.add.reduce([part.gram for part in products])
    sum_of_weights = sum(part.total_weight for part in moments)
    y_scale = float(np.sqrt(gram[-1, -1] / sum_of_weights))
    size = np.abs(scan.whole.y_range).max()
    if y_scale <= 1e-13 * size:
        y_scale = 0.0
    unit = y_scale or 1.0
    gram[-1] /= unit
    gram[:, -1] /= unit
    if y_scale == 0.0:
        gram[-1] = gram[:, -1] = 0.0
    terms: list[RandomTerm] = []
    joined: list[TermProducts] = []
    order, bounds = np.zeros(0, dtype=int), np.zeros(1, dtype=int)
    if scan.clustered:
        levels = np.concatenate([part.levels for part in moments])
        order = _sorted_order(levels)
        bounds = np.cumsum([0, *(len(part.sizes) for part in moments)])
        own = np.concatenate([part.terms[0].own for part in products], axis=2)[:, :, order]
        border = np.concatenate([part.terms[0].border for part in products], axis=2)[:, :, order]
        border[-1] = border[-1] / unit if y_scale else 0.0
        to_user = _effects_to_user(frame)
        joined = [TermProducts(own, border, to_user)]
        sizes = np.concatenate([part.sizes for part in moments])[order]
        terms = [
            _Term(
                scan.whole.factor_name, np.zeros(0, dtype=int), levels[order], frame.columns, sizes, blocks=frame.blocks
            )
        ]
    rotated = frame.into is not None
    shift = log_determinant_of_kept(np.linalg.pinv(basis.back)) if rotated else 0.0
    whole = CrossProducts(tuple(joined), {}, gram, weights.n_obs, weights.log_weights, y_scale, shift)
    return _ChunkedData(
        terms=terms,
        basis=basis,
        shift=frame.shift,
        y_centre=frame.y_centre,
        y_scale=y_scale,
        products=whole,
        n_rows=scan.whole.n_rows,
        runner=runner,
        passes=passes,
        order=order,
        bounds=bounds,
    )


def _effects_to_user(frame: _Frame) -> np.ndarray:
    """Return the map of effects of the working columns to those of the features."""
    to_user = np.eye(len(frame.columns))
    for k, (column, centre, scale) in enumerate(
        zip(frame.columns, frame.effect_centres, frame.effect_scales, strict=True)
    ):
        if column != INTERCEPT:
            scale = scale if np.isfinite(scale) else 1.0
            to_user[k, k] = 1.0 / scale
            to_user[0, k] -= centre / scale if centre else 0.0
    return to_user


def _sorted_order(levels: np.ndarray) -> np.ndarray:
    """Return the order in which `fit` would have the labels: sorted, where they can be."""
    try:
        return np.argsort(levels, kind="stable")
    except TypeError:
        return np.arange(len(levels))
