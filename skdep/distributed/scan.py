"""The first pass: check every chunk, and learn what one chunk must know of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skdep._basis import Coordinates, coordinates_from_moments
from skdep._docs import read_more
from skdep._validation import check_offset, check_rows, check_time, check_weights
from skdep.clusters import describe_sizes, encode_factors
from skdep.distributed.chunks import Chunk

__all__ = ["CheckedChunk", "ChunkScan", "DataScan", "check_chunk", "merge_scans", "naming_chunk", "scan_chunk"]


@dataclass(frozen=True, slots=True, eq=False)
class CheckedChunk:
    """Validated rows of positive weight of a chunk.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcome.
    codes : ndarray of shape (n_rows,) or None
        Number of each row's cluster in the chunk.
    levels : ndarray of shape (n_clusters,) or None
        Labels of the clusters.
    weights, offset, time : ndarray of shape (n_rows,) or None
        Further metadata.
    n_units : int
        Clusters of the chunk, those without rows of positive weight included; rows, where there are no clusters.
    factor_name : str
        Name of the grouping factor.
    """

    X: np.ndarray
    y: np.ndarray
    codes: np.ndarray | None
    levels: np.ndarray | None
    weights: np.ndarray | None
    offset: np.ndarray | None
    time: np.ndarray | None
    n_units: int
    factor_name: str


def check_chunk(chunk: Chunk, number: int, est: Any, *, first: bool = False) -> CheckedChunk:
    """Validate a chunk as the estimator's fit would; errors name the chunk.

    Parameters
    ----------
    chunk : Chunk
        The chunk.
    number : int
        Its number, for messages.
    est : estimator
        Knows the names of features, unless this is the `first` chunk, from which it learns them.
    first : bool
        Whether this is the chunk that sets the names.
    """
    with naming_chunk(number):
        return _check(chunk, est, first)


@contextmanager
def naming_chunk(number: int) -> Iterator[None]:
    """Let errors say which chunk they are of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"chunk {number}: {error}") from error


def _check(chunk: Chunk, est: Any, first: bool) -> CheckedChunk:
    X, y = check_rows(est, chunk.X, chunk.y, reset=first)
    n_rows = len(y)
    weights, offset = check_weights(chunk.sample_weight, n_rows), check_offset(chunk.offset, n_rows)
    time = check_time(chunk.time, n_rows)
    codes = levels = None
    name, n_units = "row", n_rows
    if chunk.groups is not None:
        factors = encode_factors(chunk.groups, n_rows)
        if len(factors) > 1 and getattr(est, "working_correlation", None) is None:
            raise ValueError("groups has several columns: over chunks there is one grouping factor.")
        codes, levels, name = factors[0]
        n_units = len(levels)
    if weights is not None and not (weights > 0).all():
        kept = weights > 0
        X, y, weights = X[kept], y[kept], weights[kept]
        offset, time = (None if part is None else part[kept] for part in (offset, time))
        if codes is not None and levels is not None:
            present, codes = np.unique(codes[kept], return_inverse=True)
            levels = levels[present]
    return CheckedChunk(X, y, codes, levels, weights, offset, time, n_units, name)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkScan:
    """Sums of one chunk, or of several."""

    n_rows: int  # of positive weight
    n_units: int
    total_weight: float
    mean: np.ndarray  # (p,)
    scatter: np.ndarray  # (p, p), about the mean
    labels: np.ndarray  # distinct outcomes, if there are few
    y_range: tuple[float, float]
    n_clusters: int
    sizes: tuple[int, int]  # least and most rows of a cluster
    times: np.ndarray  # distinct times, if there are few
    given: frozenset[str]
    factor_name: str
    keys: np.ndarray  # (n_clusters,) hashes of the labels; none of several chunks


def scan_chunk(chunk: Chunk, number: int, est: Any) -> ChunkScan:
    """Check a chunk, and sum it up."""
    rows = check_chunk(chunk, number, est)
    mean = rows.X.mean(axis=0) if len(rows.X) else np.zeros(rows.X.shape[1])
    centred = rows.X - mean
    sizes = np.ones(len(rows.y), dtype=int) if rows.codes is None else np.bincount(rows.codes)
    numeric = rows.y.dtype.kind in "biuf"
    return ChunkScan(
        n_rows=len(rows.y),
        n_units=rows.n_units,
        total_weight=float(len(rows.y) if rows.weights is None else rows.weights.sum()),
        mean=mean,
        scatter=np.dot(centred.T, centred),
        labels=np.unique(rows.y) if is_classifier(est) else np.zeros(0),
        y_range=(float(rows.y.min()), float(rows.y.max())) if numeric and len(rows.y) else (np.nan, np.nan),
        n_clusters=len(sizes),
        sizes=(int(sizes.min(initial=np.iinfo(int).max)), int(sizes.max(initial=0))),
        times=np.zeros(0) if rows.time is None else np.unique(rows.time),
        given=frozenset(chunk.metadata()),
        factor_name=rows.factor_name,
        keys=np.zeros(0, dtype=np.uint64) if rows.levels is None else _hashes(rows.levels),
    )


def _hashes(levels: np.ndarray) -> np.ndarray:
    """Return a hash of each label."""
    import pandas as pd

    return pd.util.hash_array(np.asarray([str(label) for label in levels]) if levels.dtype == object else levels)


@dataclass(frozen=True, slots=True, eq=False)
class DataScan:
    """What is known of all chunks together.

    Parameters
    ----------
    whole : ChunkScan
        The sums of all.
    n_chunks : int
        Number of chunks.
    """

    whole: ChunkScan
    n_chunks: int

    @property
    def clustered(self) -> bool:
        """Whether there are clusters."""
        return "groups" in self.whole.given

    @property
    def mean_weight(self) -> float:
        """Mean of the weights of rows."""
        return self.whole.total_weight / self.whole.n_rows

    def sizes(self) -> str:
        """Say how many clusters of which sizes there are."""
        return describe_sizes(np.array(self.whole.sizes), self.whole.n_clusters)

    def coordinates(self, *, fit_intercept: bool) -> Coordinates:
        """Return orthonormal coordinates of the features."""
        mean, second = self.whole.mean, self.whole.scatter / self.whole.n_rows
        if not fit_intercept:
            second = second + np.outer(mean, mean)
        return coordinates_from_moments(mean, second, fit_intercept=fit_intercept)


def merge_scans(scans: Iterable[ChunkScan]) -> DataScan:
    """Add up chunks.

    Parameters
    ----------
    scans : iterable of ChunkScan
        What was found in each chunk.

    Raises
    ------
    ValueError
        If there is no chunk or no row of positive weight, or metadata are given for some chunks and not for others.
    """
    whole, n_chunks = None, 0
    keys: list[np.ndarray] = []
    for scan in scans:
        n_chunks += 1
        keys.append(scan.keys)
        if whole is not None and scan.given != whole.given:
            odd = sorted(scan.given ^ whole.given)
            raise ValueError(f"chunk {n_chunks - 1}: {odd} are given for some chunks and not for others.")
        whole = scan if whole is None else _merged(whole, scan)
    if whole is None or not whole.n_rows:
        raise ValueError("There are no rows of positive weight in any chunk.")
    _check_whole(keys, whole.factor_name)
    return DataScan(whole, n_chunks)


def _check_whole(keys: list[np.ndarray], name: str) -> None:
    """Raise if a label occurs in two chunks."""
    every = np.concatenate(keys)
    chunk = np.repeat(np.arange(len(keys)), [len(part) for part in keys])
    order = np.argsort(every, kind="stable")
    twice = np.flatnonzero(every[order[1:]] == every[order[:-1]])
    if len(twice):
        first, second = chunk[order[twice[0]]], chunk[order[twice[0] + 1]]
        raise ValueError(
            f"{len(twice)} clusters of {name!r} have rows in two chunks, the first found in chunks {first} and "
            f"{second}: a cluster must be whole. Sort by cluster before cutting, or shuffle by its label."
            f"{read_more('chunks')}"
        )


def _merged(a: ChunkScan, b: ChunkScan) -> ChunkScan:
    """Add up two scans; moments about the mean by the formula of Chan, Golub and LeVeque (1983)."""
    n_rows = a.n_rows + b.n_rows
    share = b.n_rows / max(n_rows, 1)
    shift = b.mean - a.mean
    return ChunkScan(
        n_rows=n_rows,
        n_units=a.n_units + b.n_units,
        total_weight=a.total_weight + b.total_weight,
        mean=a.mean + share * shift,
        scatter=a.scatter + b.scatter + a.n_rows * share * np.outer(shift, shift),
        labels=np.unique(np.concatenate([a.labels, b.labels])),
        y_range=(float(np.fmin(a.y_range[0], b.y_range[0])), float(np.fmax(a.y_range[1], b.y_range[1]))),
        n_clusters=a.n_clusters + b.n_clusters,
        sizes=(min(a.sizes[0], b.sizes[0]), max(a.sizes[1], b.sizes[1])),
        times=np.union1d(a.times, b.times),
        given=a.given,
        factor_name=a.factor_name,
        keys=a.keys[:0],
    )
