"""From the user's rows to sorted blocks of clusters: weights, times, order, each checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._validation import check_offset, check_time, check_weights
from skdep.base import FitNotes
from skdep.clusters import Clusters, encode_factors
from skdep.exceptions import TimeOrderWarning, WeightWarning
from skdep.gee.working_correlation import Block, Independence, WorkingCorrelation

__all__ = ["GEERows", "prepare_rows"]

# Rows of a block: its working copies stay near the processor, whatever the size of the data.
_BLOCK_ROWS = 32768


@dataclass(frozen=True, slots=True)
class GEERows:
    """Rows of positive weight, sorted by cluster (and time, where needed).

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
) -> GEERows:
    """Check the rows' metadata, leave out rows of weight zero, and sort by cluster and time.

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
        Says whether times are needed.
    notes : FitNotes
        Takes warnings.

    Raises
    ------
    ValueError
        If metadata are malformed, times are tied within a cluster that needs them, or frequencies are not whole numbers
        constant within clusters.
    """
    n_rows = len(X)
    weights, offset, time = check_weights(sample_weight, n_rows), check_offset(offset, n_rows), check_time(time, n_rows)
    codes, levels, name = _cluster_codes(groups, n_rows)
    if weights is not None and weight_type == "frequency":
        _check_frequencies(weights, codes, levels)
    if weights is not None and not (weights > 0).all():
        keep = weights > 0
        X, y, weights, codes = X[keep], y[keep], weights[keep], codes[keep]
        offset, time = (None if part is None else part[keep] for part in (offset, time))
        present, codes = np.unique(codes, return_inverse=True)
        levels = levels[present]
    within = time if structure.needs_time else None
    clusters = Clusters.from_codes(codes, levels, within=within, name=name)
    if structure.needs_time:
        time = _times_in_order(clusters, time, notes)
    order = clusters.sort
    weights, counts = _split_weights(weights, clusters, weight_type, structure, notes)
    wave, waves = _number_times(time) if structure.needs_waves and time is not None else (None, None)
    ordered = clusters.in_order()
    time = time if structure.needs_time else None
    unit = 1.0 if time is None else _typical_gap(clusters, time)
    blocks = tuple((rows, _block(part, rows, time, wave, waves, unit)) for rows, part in ordered.blocks(_BLOCK_ROWS))
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
    )


def _cluster_codes(groups: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Encode the clusters; without groups every row is a cluster of its own."""
    if groups is None:
        rows = np.arange(n_rows)
        return rows, rows, "row"
    factors = encode_factors(groups, n_rows)
    if len(factors) > 1:
        names = ", ".join(repr(name) for _, _, name in factors)
        raise ValueError(
            f"groups has {len(factors)} columns ({names}), but this working correlation has clusters of one level. For "
            "labels that restart within another factor pass groups=skdep.interaction(a, b)."
        )
    return factors[0]


def _check_frequencies(weights: np.ndarray, codes: np.ndarray, levels: np.ndarray) -> None:
    """Raise unless weights are whole numbers, the same for all rows of a cluster."""
    broken = weights != np.round(weights)
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise ValueError(
            f"weight_type='frequency' counts clusters: weights must be whole numbers, but row {row} has "
            f"{weights[row]:g}. For other weights use weight_type='sampling'."
        )
    first = np.zeros(len(levels))
    first[codes[::-1]] = weights[::-1]
    varying = weights != first[codes]
    if varying.any():
        row = int(np.flatnonzero(varying)[0])
        raise ValueError(
            "weight_type='frequency' counts clusters: weights must be constant within each, but differ in cluster "
            f"{_label(levels, codes[row])}, first in row {row}. For weights of rows use weight_type='sampling'."
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


def _times_in_order(clusters: Clusters, time: np.ndarray | None, notes: FitNotes) -> np.ndarray:
    """Return times in cluster order: those given, which must not be tied, or the position of the row in its cluster."""
    if time is None:
        if clusters.n_clusters < clusters.n_rows:
            notes.warn(
                "The working correlation depends on time, but no time was given: the order of rows within each cluster "
                "was taken for equally spaced times. Pass time= to fit.",
                TimeOrderWarning,
            )
        return np.arange(clusters.n_rows, dtype=float) - clusters.spread(clusters.starts)
    time = clusters.sort(time)
    tied = np.zeros(len(time), dtype=bool)
    tied[1:] = time[1:] == time[:-1]
    tied[clusters.starts] = False
    if tied.any():
        row = int(np.flatnonzero(tied)[0])
        cluster = int(np.searchsorted(clusters.starts, row, side="right")) - 1
        raise ValueError(
            f"time is tied within clusters: {int(tied.sum())} rows repeat a time of their cluster, first cluster "
            f"{_label(clusters.levels, cluster)} at time {time[row]:g}. Each time may occur once in a cluster: are the "
            "groups too coarse (see skdep.interaction), or is a finer time needed?"
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
) -> Block:
    return Block(
        clusters=clusters,
        time=None if time is None else time[rows],
        wave=None if wave is None else wave[rows],
        n_waves=0 if waves is None else len(waves),
        time_unit=time_unit,
    )
