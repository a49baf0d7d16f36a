"""Correlation of residuals of pairs of rows of a cluster, as it is seen and as fits of a GEE assume it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._threads import threads_over_blocks
from skdep._validation import check_time
from skdep.clusters import Clusters, encode_factors
from skdep.formula.raw_rows import offset_of
from skdep.gee.base import BaseGEE
from skdep.gee.equations import Equations, Evaluation
from skdep.gee.given_rows import GEEMetadata
from skdep.gee.working_correlation.pairs import listed_pairs
from skdep.inference._correlation_fits import metadata_for
from skdep.inference._features import last_step
from skdep.inference._marginal import MarginalData, data_of_fit, equations_at_fit
from skdep.inference._whitening import position_in_cluster

__all__ = ["PairClasses", "pair_correlations"]

# More distinct times than this have no classes by pair; more distinct lags than this are put into so many bins.
_MOST_TIMES, _MOST_LAGS = 20, 40
# So many pairs are enough for a picture: of larger data every k-th cluster is used.
_MOST_PAIRS = 2_000_000


@dataclass(frozen=True)
class PairClasses:
    """Classes of pairs of rows.

    Parameters
    ----------
    lag : ndarray of shape (n_classes,)
        Difference in time; of a bin of lags the mean.
    n_pairs : ndarray of shape (n_classes,)
        Number of pairs.
    seen : ndarray of shape (n_classes,)
        Correlation of residuals.
    working : dict of ndarrays of shape (n_classes,)
        Working correlation by name of the fit.
    times : ndarray of shape (n_classes, 2) or None
        The two times, for classes by pair of times.
    """

    lag: np.ndarray
    n_pairs: np.ndarray
    seen: np.ndarray
    working: dict[str, np.ndarray]
    times: np.ndarray | None = None


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows one by one, in an order that depends on the data only.

    Their times, products of residuals over phi, repetitions, what the products weigh, and working correlations.
    """

    n_params: int
    first: np.ndarray
    second: np.ndarray
    product: np.ndarray
    repeats: np.ndarray
    mass: np.ndarray
    working: np.ndarray


def pair_correlations(
    ests: Mapping[str, Any], X: Any, y: Any, metadata: GEEMetadata, caller: str
) -> tuple[PairClasses, PairClasses | None]:
    """Return classes by lag, and by pair of times unless there are many times.

    Parameters
    ----------
    ests : mapping from str to estimator
        Fitted GEEs; residuals are those of the first.
    X, y : array-like
        The data of the fits.
    metadata : GEEMetadata
        The rows' metadata.
    caller : str
        Who asks, for messages.
    """
    found = {name: _pairs_of(est, X, y, metadata, caller) for name, est in ests.items()}
    first = next(iter(found.values()))
    if not len(first.product):
        raise ValueError(f"{caller} shows pairs of rows of a cluster, but every cluster has one row.")
    lag = np.round(first.second - first.first, 9)
    lags, number = np.unique(lag, return_inverse=True)
    if len(lags) > _MOST_LAGS:
        edges = np.unique(np.quantile(lag, np.linspace(0.0, 1.0, _MOST_LAGS // 2 + 1)))
        number = np.clip(np.searchsorted(edges, lag, side="right") - 1, 0, len(edges) - 2)
    by_lag = _classes(found, number.reshape(-1), lag, None)
    times, code = np.unique(np.concatenate([first.first, first.second]), return_inverse=True)
    if len(times) > _MOST_TIMES:
        return by_lag, None
    earlier, later = code.reshape(2, -1)
    return by_lag, _classes(found, earlier * len(times) + later, lag, times)


def _classes(found: dict[str, _Pairs], number: np.ndarray, lag: np.ndarray, times: np.ndarray | None) -> PairClasses:
    """Average over the pairs of each class."""
    first = next(iter(found.values()))
    present, number = np.unique(number, return_inverse=True)
    n_pairs, mass = np.bincount(number, first.repeats), np.bincount(number, first.mass)
    left = mass - first.n_params
    return PairClasses(
        lag=np.bincount(number, first.repeats * lag) / n_pairs,
        n_pairs=n_pairs,
        seen=np.bincount(number, first.product) / np.where(left > 0, left, mass),
        working={
            name: np.bincount(number, part.mass * part.working) / np.bincount(number, part.mass)
            for name, part in found.items()
        },
        times=None if times is None else times[np.column_stack(np.divmod(present, len(times)))],
    )


def _pairs_of(est: Any, X: Any, y: Any, metadata: GEEMetadata, caller: str) -> _Pairs:
    """List the pairs of a fit."""
    metadata = metadata._replace(offset=offset_of(est, X, metadata.offset))
    model, X = last_step(est, X)
    if not isinstance(model, BaseGEE):
        raise TypeError(f"{caller} shows working correlations of a GEE; {type(model).__name__} has none.")
    if metadata.groups is None:
        raise ValueError(f"{caller} needs the clusters of the fit: pass groups=.")
    n_levels = len(encode_factors(metadata.groups, len(y)))
    given = data_of_fit(model, X, y, metadata_for(model.working_correlation, metadata, n_levels))
    with threads_over_blocks(given.n_floats) as run:
        equations, at = equations_at_fit(model, given, run)
    time = _times(given)
    chosen = _chosen_clusters(given.rows.clusters, time)
    parts = []
    for (rows, block), layout in zip(given.data.blocks, equations.layouts, strict=True):
        begin = int(np.searchsorted(given.rows.clusters.starts, rows.start))
        kept = chosen[begin : begin + block.clusters.n_clusters]
        parts.append(_pairs_of_block(equations, at, rows, block.clusters, layout, time[rows], kept))
    a, b, *columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    # structures sort the rows of a cluster in different ways
    rows_given = given.caller_rows[a], given.caller_rows[b]
    order = np.lexsort((np.maximum(*rows_given), np.minimum(*rows_given)))
    return _Pairs(equations.n_subtracted, *(column[order] for column in columns))


def _times(given: MarginalData) -> np.ndarray:
    """Return times of the rows in cluster order: those of the structure, those given, or places in the cluster."""
    if given.structure.needs_time:
        return np.concatenate([block.time for _, block in given.rows.blocks if block.time is not None])
    time = check_time(given.metadata.time, given.n_given)
    return position_in_cluster(given.rows.clusters).astype(float) if time is None else time[given.caller_rows]


def _chosen_clusters(clusters: Clusters, time: np.ndarray) -> np.ndarray:
    """Return which clusters are used: all, or every k-th where there are too many pairs."""
    n_pairs = float(np.sum(clusters.sizes * (clusters.sizes - 1.0)) / 2.0)
    step = max(int(np.ceil(n_pairs / _MOST_PAIRS)), 1)
    return np.arange(clusters.n_clusters) % step == 0


def _pairs_of_block(
    equations: Equations,
    at: Evaluation,
    rows: slice,
    clusters: Clusters,
    layout: Any,
    time: np.ndarray,
    chosen: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return both rows of the pairs of some clusters, and their columns: see `_Pairs`."""
    kept = np.flatnonzero(clusters.spread(chosen))
    some = Clusters.from_codes(np.repeat(np.arange(chosen.sum()), clusters.sizes[chosen]), clusters.levels[chosen])
    a, b = (kept[part] for part in listed_pairs(some, np.inf))
    correlation = equations.structure.correlations(layout, at.association, a, b)
    if correlation is None:
        raise TypeError(
            f"The working correlation {equations.structure.name!r} does not say how two rows correlate: give it a "
            "method `correlations`."
        )
    residual, counts = equations.pair_values(at.residual[rows], rows), equations.data.counts
    repeats = np.ones(len(a)) if counts is None else counts[rows][a]
    pair_mass = equations.pair_mass
    mass = np.ones(len(a)) if pair_mass is None else pair_mass[rows][a] * pair_mass[rows][b]
    first, second = np.minimum(time[a], time[b]), np.maximum(time[a], time[b])
    product = residual[a] * residual[b] / at.scale
    return rows.start + a, rows.start + b, first, second, product, repeats, mass, correlation
