"""Chunks from Dask collections: a partition a chunk, loaded and kept by the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skdep.distributed.chunks import Chunk

__all__ = ["DaskChunks", "dask_chunks"]


class DaskChunks:
    """Partitions of a Dask DataFrame as chunks; made by `dask_chunks`."""

    def __init__(self, partitions: list[Any], columns: dict[str, Any]):
        self.partitions, self.columns = partitions, columns

    def __len__(self) -> int:
        return len(self.partitions)

    def load(self, number: int) -> Chunk:
        """Return a chunk, computed by Dask's scheduler."""
        return _chunk(self.partitions[number].compute(), self.columns)

    def futures(self, client: Any) -> list[Any]:
        """Return the chunks as futures of a cluster, which knows how to make each again."""
        frames = client.compute(self.partitions)
        return [client.submit(_chunk, frame, self.columns, pure=False) for frame in frames]


def _chunk(frame: Any, columns: dict[str, Any]) -> Chunk:
    parts = {name: None if column is None else frame[column] for name, column in columns.items()}
    return Chunk(**parts)


def dask_chunks(
    frame: Any,
    *,
    features: Sequence[str],
    target: str,
    groups: str | None = None,
    sample_weight: str | None = None,
    offset: str | None = None,
    time: str | None = None,
    shuffle: bool = False,
) -> DaskChunks:
    """Take the partitions of a Dask DataFrame for chunks.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        The data. Each partition must fit in the memory of a worker.
    features : sequence of str
        Columns of X.
    target : str
        Column of y.
    groups, sample_weight, offset, time : str, optional
        Columns of metadata.
    shuffle : bool, default=False
        Whether to bring all rows of a cluster into one partition first. Without it partitions must hold whole clusters;
        a fit refuses those that do not.

    Returns
    -------
    DaskChunks
        The chunks, for `fit_chunks`.

    Raises
    ------
    ValueError
        If columns are missing.

    Examples
    --------
    >>> import dask.dataframe as dd  # doctest: +SKIP
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> chunks = dask_chunks(dd.read_parquet("visits/"), features=["age"], target="y", groups="id")  # doctest: +SKIP
    >>> fit_chunks(GEERegressor(), chunks, client=Client())  # doctest: +SKIP
    """
    columns: dict[str, Any] = {
        "X": list(features),
        "y": target,
        "groups": groups,
        "sample_weight": sample_weight,
        "offset": offset,
        "time": time,
    }
    wanted = [*features, target, *(name for name in (groups, sample_weight, offset, time) if name is not None)]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ValueError(f"The frame has no columns {missing}; it has {list(frame.columns)}.")
    frame = frame[list(dict.fromkeys(wanted))]
    if shuffle and groups is not None:
        frame = frame.shuffle(on=groups)
    return DaskChunks(list(frame.to_delayed()), columns)
