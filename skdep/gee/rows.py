"""From the user's rows to sorted blocks of clusters: weights, subclusters, times, order, each checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._fingerprint import DataFingerprint, fingerprint
from skdep._validation import check_offset, check_time, check_weights
from skdep.base import FitNotes
from skdep.clusters import Clusters, encode_factors
from skdep.exceptions import TimeOrderWarning, WeightWarning
from skdep.gee.working_correlation import Block, Independence, WorkingCorrelation
from skdep.survey.design import SurveyDesign

__all__ = ["GEERows", "prepare_rows"]

# Rows of a block: its working copies stay near the processor, whatever the size of the data.
_BLOCK_ROWS = 32768


@dataclass(frozen=True, slots=True)
class GEERows:
    """Rows of positive weight, sorted by cluster (subcluster and time, where needed).

    Parameters
    ----------
    X, y, offset, weights, counts : ndarray or None
        As in `skdep.gee.equations.GEEData`, X without intercept.
    clusters : Clusters
        The clusters, in order.
    blocks : tuple of (slice, Block)
        Runs of whole clusters.
    waves : ndarray or None
        Distinct times, for structures that number them.
    grouped : bool
        Whether groups were given.
    factor_name : str
        Name of the grouping factor.
    caller_rows : ndarray of shape (n_rows,) or None
        Number of each row among those passed to fit; None where all are here, in the order they came.
    """

    X: np.ndarray
    y: np.ndarray
    offset: np.ndarray | None
    weights: np.ndarray | None
    counts: np.ndarray | None
    clusters: Clusters
    blocks: tuple[tuple[slice, Block], ...]
    waves: np.ndarray | None
    grouped: bool
    factor_name: str
    caller_rows: np.ndarray | None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def sizes(self) -> np.ndarray:
        """Number of rows of each cluster."""
        return self.clusters.sizes

    @property
    def weighted(self) -> bool:
        """Whether rows or clusters have weights."""
        return self.weights is not None or self.counts is not None

    def fingerprint(self) -> DataFingerprint | None:
        """Return what tells fits of the same rows from others."""
        weights = self.weights if self.counts is None else self.counts
        return fingerprint(self.X, self.y, weights=weights, offset=self.offset)

    @property
    def n_clusters(self) -> int:
        """Number of clusters, repeated ones counted as often."""
        if self.counts is None:
            return self.clusters.n_clusters
        return int(self.counts[self.clusters.starts].sum())


def prepare_rows(
    X: np.ndarray,
    y: np.ndarray,
    *,
    groups: Any,
    sample_weight: Any,
    offset: Any,
    time: Any,
    weight_type: str,
    structure: WorkingCorrelation,
    notes: FitNotes,
    design: SurveyDesign | None = None,
) -> GEERows:
    """Check the rows' metadata, leave out rows of weight zero, and sort by cluster, subcluster and time.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes.
    groups, sample_weight, offset, time : array-like of shape (n_rows,) or None
        The rows' metadata, as passed to fit.
    weight_type : {"sampling", "frequency"}
        What weights mean.
    structure : WorkingCorrelation
        Says whether times and subclusters are needed.
    notes : FitNotes
        Takes warnings.
    design : SurveyDesign, optional
        Design made of the same groups: clusters are its primary units, and further columns of groups its stages.

    Raises
    ------
    ValueError
        If metadata are malformed, groups have more or fewer columns than the structure uses, times are tied within a
        cluster that needs them, or frequencies are not whole numbers constant within clusters.
    """
    n_rows = len(X)
    weights, offset, time = check_weights(sample_weight, n_rows), check_offset(offset, n_rows), check_time(time, n_rows)
    factors = _factors(groups, n_rows, structure, design)
    codes, levels, name = factors[0]
    if weights is not None and weight_type == "frequency":
        _check_frequencies(weights, codes, levels)
    keep = None
    if weights is not None and not (weights > 0).all():
        keep = weights > 0
        X, y, weights, codes = X[keep], y[keep], weights[keep], codes[keep]
        offset, time = (None if part is None else part[keep] for part in (offset, time))
        present, codes = np.unique(codes, return_inverse=True)
        levels = levels[present]
    inner = _nested_codes(codes, factors[1:], keep) if structure.needs_subclusters else []
    within = time if structure.needs_time else None
    clusters = Clusters.from_codes(codes, levels, within=_sort_key(inner, within), name=name)
    order = clusters.sort
    subclusters = [_in_order(order(units), factor[2]) for units, factor in zip(inner, factors[1:], strict=False)]
    ordered = clusters.in_order()
    if structure.needs_time:
        time = _times_in_order(ordered, [ordered, *subclusters][-1], None if time is None else order(time), notes)
    weights, counts = _split_weights(weights, clusters, weight_type, structure, notes)
    wave, waves = _number_times(time) if structure.needs_waves and time is not None else (None, None)
    time = time if structure.needs_time else None
    unit = 1.0 if time is None else _typical_gap([ordered, *subclusters][-1], time)
    blocks = tuple(
        (rows, _block(part, rows, time, wave, waves, unit, subclusters)) for rows, part in ordered.blocks(_BLOCK_ROWS)
    )
    return GEERows(
        X=order(X),
        y=order(y),
        offset=None if offset is None else order(offset),
        weights=weights,
        counts=counts,
        clusters=ordered,
        blocks=blocks,
        waves=waves,
        grouped=groups is not None,
        factor_name=name,
        caller_rows=_caller_rows(keep, clusters.order),
    )


_Factor = tuple[np.ndarray, np.ndarray, str]  # codes, levels, name


def _factors(groups: Any, n_rows: int, structure: WorkingCorrelation, design: SurveyDesign | None) -> list[_Factor]:
    """Encode the clusters, and subclusters where the structure has them; without groups every row is a cluster."""
    if groups is None:
        rows = np.arange(n_rows)
        return [(rows, rows, "row")] * (2 if structure.needs_subclusters else 1)
    factors = encode_factors(groups, n_rows)
    if structure.needs_subclusters and len(factors) == 1:
        raise ValueError(
            f"working_correlation={structure.name!r} needs groups with a column for each level, the cluster first: "
            "groups=frame[['cluster', 'subcluster']]. For clusters of one level use 'exchangeable'."
            f"{read_more('working_correlation')}"
        )
    if len(factors) > 1 and design is None and not structure.needs_subclusters:
        names = ", ".join(repr(name) for _, _, name in factors)
        raise ValueError(
            f"groups has {len(factors)} columns ({names}), but this working correlation has clusters of one level; "
            "subclusters are modelled by working_correlation='nested'. For labels that restart within another factor "
            "pass groups=skdep.interaction(a, b)."
            f"{read_more('working_correlation')}"
        )
    if design is not None:
        # units are nested in their stratum: unit 1 of one is not unit 1 of another
        codes, levels, name = factors[0]
        unit = design.stages[0].unit
        label = np.zeros(int(unit.max()) + 1, dtype=np.intp)
        label[unit] = codes
        factors[0] = unit, levels[label], name
    return factors


def _nested_codes(codes: np.ndarray, factors: list[_Factor], keep: np.ndarray | None) -> list[np.ndarray]:
    """Return numbers of subclusters within clusters, level by level, sorted by cluster; labels may restart."""
    nested = []
    for inner, levels, _ in factors:
        _, codes = np.unique(codes * len(levels) + (inner if keep is None else inner[keep]), return_inverse=True)
        nested.append(codes)
    return nested


def _sort_key(inner: list[np.ndarray], time: np.ndarray | None) -> np.ndarray | None:
    """Return the key by which rows of a cluster are sorted: the smallest subcluster, then time."""
    if not inner or time is None:
        return inner[-1] if inner else time
    key = np.empty(len(time), dtype=np.intp)
    key[np.lexsort((time, inner[-1]))] = np.arange(len(time))
    return key


def _in_order(codes: np.ndarray, name: str) -> Clusters:
    """Return the clusters of rows that are sorted by their number."""
    return Clusters.from_codes(codes, np.arange(int(codes.max()) + 1), name=name)


def _caller_rows(keep: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    """Return the caller's number of each row."""
    if keep is None:
        return order
    kept = np.flatnonzero(keep)
    return kept if order is None else kept[order]


def _check_frequencies(weights: np.ndarray, codes: np.ndarray, levels: np.ndarray) -> None:
    """Raise unless weights are whole numbers, the same for all rows of a cluster."""
    broken = weights != np.round(weights)
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise ValueError(
            f"weight_type='frequency' counts clusters: weights must be whole numbers, but row {row} has "
            f"{weights[row]:g}. For other weights use weight_type='sampling'."
            f"{read_more('weight_type')}"
        )
    first = np.zeros(len(levels))
    first[codes[::-1]] = weights[::-1]
    varying = weights != first[codes]
    if varying.any():
        row = int(np.flatnonzero(varying)[0])
        raise ValueError(
            "weight_type='frequency' counts clusters: weights must be constant within each, but differ in cluster "
            f"{_label(levels, codes[row])}, first in row {row}. For weights of rows use weight_type='sampling'."
            f"{read_more('weight_type')}"
        )


def _label(levels: np.ndarray, number: int) -> str:
    """Return a label as the user wrote it."""
    return repr(levels[number : number + 1].tolist()[0])


def _split_weights(
    weights: np.ndarray | None, clusters: Clusters, weight_type: str, structure: WorkingCorrelation, notes: FitNotes
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return (row weights of mean one, repetitions), sorted; at most one of them is not None."""
    if weights is None:
        return None, None
    weights = clusters.sort(weights)
    if weight_type == "frequency":
        return None, weights
    weights = weights / weights.mean()
    first = clusters.spread(weights[clusters.starts])
    if not isinstance(structure, Independence) and not np.allclose(weights, first, rtol=1e-9):
        notes.warn(
            f"Weights vary within clusters, and the working correlation is {structure.name!r}: for sampling weights of "
            "rows the estimates then depend on the correlation chosen. working_correlation='independence' is free of "
            "that.",
            WeightWarning,
        )
    return weights, None


def _times_in_order(clusters: Clusters, runs: Clusters, time: np.ndarray | None, notes: FitNotes) -> np.ndarray:
    """Return sorted times: those given, which must not be tied, or the position of the row in its cluster.

    `runs` are the smallest subclusters, within which times increase; the clusters themselves where there are none.
    """
    if time is None:
        if clusters.n_clusters < clusters.n_rows:
            notes.warn(
                "The working correlation depends on time, but no time was given: the order of rows within each cluster "
                "was taken for equally spaced times. Pass time= to fit.",
                TimeOrderWarning,
            )
        return np.arange(clusters.n_rows, dtype=float) - clusters.spread(clusters.starts)
    tied = np.zeros(len(time), dtype=bool)
    tied[1:] = time[1:] == time[:-1]
    tied[runs.starts] = False
    if tied.any():
        row = int(np.flatnonzero(tied)[0])
        cluster = int(np.searchsorted(clusters.starts, row, side="right")) - 1
        raise ValueError(
            f"time is tied within clusters: {int(tied.sum())} rows repeat a time of their cluster, first cluster "
            f"{_label(clusters.levels, cluster)} at time {time[row]:g}. Each time may occur once in a cluster: are the "
            "groups too coarse (see skdep.interaction), or is a finer time needed?"
            f"{read_more('time')}"
        )
    return time


def _number_times(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each row's time among the distinct times, and those."""
    low, span = time.min(), time.max() - time.min()
    if span <= 10_000 and np.all(time == np.floor(time)):
        # whole times in a small range need no sorting
        offset = (time - low).astype(np.intp)
        present = np.flatnonzero(np.bincount(offset))
        number = np.zeros(int(span) + 1, dtype=np.intp)
        number[present] = np.arange(len(present))
        return number[offset], present + low
    waves, wave = np.unique(time, return_inverse=True)
    return wave, waves


def _typical_gap(clusters: Clusters, time: np.ndarray) -> float:
    """Return the median time between neighbouring rows of a cluster; 1 where there are none."""
    gaps = np.delete(np.diff(time), clusters.starts[1:] - 1)
    return float(np.median(gaps)) if gaps.size else 1.0


def _block(
    clusters: Clusters,
    rows: slice,
    time: np.ndarray | None,
    wave: np.ndarray | None,
    waves: np.ndarray | None,
    time_unit: float,
    subclusters: list[Clusters],
) -> Block:
    return Block(
        clusters=clusters,
        time=None if time is None else time[rows],
        wave=None if wave is None else wave[rows],
        n_waves=0 if waves is None else len(waves),
        time_unit=time_unit,
        times=waves,
        subclusters=tuple(_in_order(level.codes[rows] - level.codes[rows.start], level.name) for level in subclusters),
    )
