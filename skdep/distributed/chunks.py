"""Data in chunks of whole clusters, each small enough for memory.

A source of chunks knows how many there are and loads any of them, as often as it is asked: every pass over the data
loads each chunk once. A cluster may not be cut by the end of a chunk, because scores are added up within clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from skdep._docs import read_more
from skdep.clusters import encode_groups

__all__ = ["ArrayChunks", "Chunk", "ChunkSource", "IteratorChunks", "as_source"]

# Rows of a chunk where the source may choose: a working copy of twenty columns then takes about 80 MB.
ROWS_OF_A_CHUNK = 500_000


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows, whole clusters of them.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Features; the columns of a frame name them.
    y : array-like of shape (n_rows,)
        Outcome.
    groups, sample_weight, offset, time : array-like of shape (n_rows,), optional
        The rows' metadata, as for the estimator's ``fit``; given for all chunks or for none.
    """

    X: Any
    y: Any
    groups: Any = None
    sample_weight: Any = None
    offset: Any = None
    time: Any = None

    def metadata(self) -> dict[str, Any]:
        """Return the metadata that are given."""
        named = {part.name: getattr(self, part.name) for part in fields(self)[2:]}
        return {name: values for name, values in named.items() if values is not None}

    def __len__(self) -> int:
        return len(self.y)


@runtime_checkable
class ChunkSource(Protocol):
    """What chunks come from: their number, and any of them on demand."""

    def __len__(self) -> int:
        """Return the number of chunks."""
        ...

    def load(self, number: int) -> Chunk:
        """Return a chunk, the same at every call."""
        ...


@dataclass(frozen=True, eq=False)
class _ListedChunks:
    """Chunks that are in memory."""

    chunks: Sequence[Chunk]

    def __len__(self) -> int:
        return len(self.chunks)

    def load(self, number: int) -> Chunk:
        return self.chunks[number]


class IteratorChunks:
    """Chunks that a function yields afresh at every call, in the same order.

    Parameters
    ----------
    make : callable
        Called without arguments, returns an iterator over chunks: a generator function, say, that reads a file.

    Notes
    -----
    Such chunks have no number before they have been gone through once, and are used one after the other.
    """

    def __init__(self, make: Callable[[], Iterable[Chunk]]):
        self.make = make

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.make())


class ArrayChunks:
    """Rows of arrays that may be larger than memory, such as those of `numpy.memmap`, in chunks.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcome.
    groups : array-like of shape (n_rows,), optional
        Labels of the clusters, the rows of each standing together.
    sample_weight, offset, time : array-like of shape (n_rows,), optional
        Further metadata.
    rows : int, optional
        About how many rows a chunk should have.

    Raises
    ------
    ValueError
        If the rows of a cluster do not stand together.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.distributed import ArrayChunks
    >>> chunks = ArrayChunks(np.zeros((6, 2)), np.zeros(6), groups=[1, 1, 1, 2, 2, 3], rows=2)
    >>> [len(chunks.load(number)) for number in range(len(chunks))]
    [3, 2, 1]
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
        time: Any = None,
        rows: int = ROWS_OF_A_CHUNK,
    ):
        self.whole = Chunk(X, y, groups, sample_weight, offset, time)
        n_rows = len(self.whole)
        for part in fields(Chunk):
            values = getattr(self.whole, part.name)
            if values is not None and len(values) != n_rows:
                raise ValueError(f"{part.name} has {len(values)} rows, y has {n_rows}.")
        ends = np.arange(1, n_rows + 1) if groups is None else cluster_ends(groups, n_rows)
        self.bounds = chunk_bounds(ends, rows)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def load(self, number: int) -> Chunk:
        """Return a chunk."""
        rows = slice(int(self.bounds[number]), int(self.bounds[number + 1]))
        return Chunk(*(_take(getattr(self.whole, part.name), rows) for part in fields(Chunk)))


def _take(values: Any, rows: slice) -> Any:
    if values is None:
        return None
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def cluster_ends(groups: Any, n_rows: int) -> np.ndarray:
    """Return the row after the last of each cluster; the rows of a cluster must stand together."""
    codes, levels, name = encode_groups(groups, n_rows)
    ends = np.append(np.flatnonzero(codes[1:] != codes[:-1]) + 1, n_rows)
    if len(ends) > len(levels):
        first = codes[np.concatenate([[0], ends[:-1]])]
        counts = np.bincount(first)
        number = int(np.argmax(counts > 1))
        label = levels[number : number + 1].tolist()[0]
        raise ValueError(
            f"The rows of cluster {label!r} of {name!r} do not stand together: sort the data by cluster, so that no "
            "cluster is cut by the end of a chunk."
            f"{read_more('chunks')}"
        )
    return ends


def chunk_bounds(ends: np.ndarray, rows: int) -> np.ndarray:
    """Return the first row of each chunk of whole clusters of about so many rows, and the number of rows."""
    if rows < 1:
        raise ValueError(f"rows must be positive, got {rows}.")
    wanted = np.arange(rows, int(ends[-1]), rows)
    cuts = ends[np.searchsorted(ends, wanted)]
    return np.unique(np.concatenate([[0], cuts, ends[-1:]]))


def as_source(chunks: Any) -> ChunkSource | IteratorChunks:
    """Return chunks as a source that can be gone through again and again.

    Parameters
    ----------
    chunks : ChunkSource, sequence of Chunk, or callable
        A source; a list; or a function that returns an iterator at every call.

    Raises
    ------
    TypeError
        If the chunks are an iterator, which can be gone through but once, or no chunks.
    """
    if isinstance(chunks, Chunk):
        return _ListedChunks([chunks])
    if isinstance(chunks, IteratorChunks) or (isinstance(chunks, ChunkSource) and not isinstance(chunks, list | tuple)):
        return chunks
    if isinstance(chunks, list | tuple):
        wrong = [type(chunk).__name__ for chunk in chunks if not isinstance(chunk, Chunk)]
        if wrong or not chunks:
            raise TypeError(f"chunks must be skdep.distributed.Chunk objects, got {wrong[0] if wrong else 'none'}.")
        return _ListedChunks(chunks)
    if callable(chunks):
        return IteratorChunks(chunks)
    if isinstance(chunks, Iterator):
        raise TypeError(
            "chunks is an iterator, which can be gone through only once, but a fit takes several passes: give the "
            "function that makes it, as in fit_chunks(est, make_chunks)."
            f"{read_more('chunks')}"
        )
    raise TypeError(f"chunks must be a source, a list of Chunk, or a function that yields them, got {type(chunks)}.")
