"""Apply a function to every chunk: here, one after the other, or on the workers of a Dask cluster.

A function gets a part (what was prepared of a chunk) and further arguments, and returns sums that are small; these come
back in the order of the chunks, so that totals do not depend on who was quickest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from skdep.distributed.chunks import Chunk, ChunkSource, IteratorChunks

__all__ = ["DaskRunner", "LocalRunner", "Runner", "runner_of"]

Prepare = Callable[[Chunk, int], Any]

# Prepared parts are kept between passes while they take no more than this many bytes together.
KEPT_BYTES = 256 * 2**20


class Runner(Protocol):
    """Applies functions to all parts."""

    def prepare(self, function: Callable[..., Any], *args: Any) -> Runner:
        """Return a runner of parts ``function(part, number, *args)``."""
        ...

    def map(self, function: Callable[..., Any], *args: Any, each: Sequence[Any] | None = None) -> Iterator[Any]:
        """Yield ``function(part, *args)`` for every part, in the order of the chunks; `each` has a further argument."""
        ...


class LocalRunner:
    """Goes through the chunks one after the other, in this process.

    Parameters
    ----------
    source : ChunkSource or IteratorChunks
        The chunks.
    steps : tuple
        What to do with a chunk before it is a part.
    kept_bytes : int
        Parts are kept in memory while they are no larger than this together; beyond, they are made again in each pass.
    """

    def __init__(
        self,
        source: ChunkSource | IteratorChunks,
        steps: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = (),
        kept_bytes: int = KEPT_BYTES,
    ):
        self.source, self.steps, self.kept_bytes = source, steps, kept_bytes
        self._kept: list[Any] | None = None
        self._too_large = False

    def prepare(self, function: Callable[..., Any], *args: Any) -> LocalRunner:
        """Return a runner of prepared parts."""
        return LocalRunner(self.source, (*self.steps, (function, args)), self.kept_bytes)

    def _chunks(self) -> Iterator[Any]:
        if isinstance(self.source, IteratorChunks):
            yield from self.source
        else:
            for number in range(len(self.source)):
                yield self.source.load(number)

    def _parts(self) -> Iterator[Any]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Any] | None = None if self._too_large or not self.steps else []
        n_bytes = 0
        for number, part in enumerate(self._chunks()):
            for function, args in self.steps:
                part = function(part, number, *args)
            if kept is not None:
                n_bytes += getattr(part, "n_bytes", self.kept_bytes + 1)
                if n_bytes > self.kept_bytes:
                    kept, self._too_large = None, True
                else:
                    kept.append(part)
            yield part
        self._kept = kept

    def map(self, function: Callable[..., Any], *args: Any, each: Sequence[Any] | None = None) -> Iterator[Any]:
        """Yield ``function(part, *args)`` for every part."""
        for number, part in enumerate(self._parts()):
            yield function(part, *args) if each is None else function(part, *args, each[number])


class DaskRunner:
    """Runs on the workers of a Dask cluster, where prepared parts stay between passes.

    A part that is lost with its worker is made again from its chunk by another one.

    Parameters
    ----------
    client : distributed.Client
        Connection to the cluster.
    parts : list of Future
        The parts.
    """

    def __init__(self, client: Any, parts: list[Any]):
        self.client, self.parts = client, parts

    @classmethod
    def of(cls, client: Any, source: ChunkSource) -> DaskRunner:
        """Return a runner of chunks that workers load themselves."""
        if hasattr(source, "futures"):
            return cls(client, source.futures(client))
        return cls(client, [client.submit(_load, source, number, pure=False) for number in range(len(source))])

    def prepare(self, function: Callable[..., Any], *args: Any) -> DaskRunner:
        """Return a runner of prepared parts."""
        parts = [
            self.client.submit(function, part, number, *args, pure=False) for number, part in enumerate(self.parts)
        ]
        return DaskRunner(self.client, parts)

    def map(self, function: Callable[..., Any], *args: Any, each: Sequence[Any] | None = None) -> Iterator[Any]:
        """Yield ``function(part, *args)`` for every part."""
        own = [()] * len(self.parts) if each is None else [(argument,) for argument in each]
        results = [
            self.client.submit(function, part, *args, *further, pure=False)
            for part, further in zip(self.parts, own, strict=True)
        ]
        yield from self.client.gather(results)


def _load(source: ChunkSource, number: int) -> Chunk:
    return source.load(number)


def runner_of(source: ChunkSource | IteratorChunks, client: Any = None) -> LocalRunner | DaskRunner:
    """Return a runner for the chunks of a source.

    Parameters
    ----------
    source : ChunkSource or IteratorChunks
        The chunks.
    client : distributed.Client, optional
        Connection to a Dask cluster; without it chunks are worked on here.
    """
    if client is None:
        return LocalRunner(source)
    if isinstance(source, IteratorChunks):
        raise TypeError("Chunks from an iterator come one after the other: workers need a source that loads any chunk.")
    return DaskRunner.of(client, source)
