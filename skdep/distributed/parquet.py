"""Chunks of whole clusters from Parquet files, by pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep.distributed.chunks import ROWS_OF_A_CHUNK, Chunk, chunk_bounds

__all__ = ["ParquetChunks"]


class ParquetChunks:
    """Rows of Parquet files, in chunks of whole clusters; only the chunk in work is in memory.

    Parameters
    ----------
    path : str, Path, or list of them
        A file, a directory of files (a partitioned one too), or files in the order in which their rows follow.
    features : sequence of str
        Columns of X.
    target : str
        Column of y.
    groups : str, optional
        Column with the labels of the clusters. Files must be sorted by cluster: the rows of each stand together.
    sample_weight, offset, time : str, optional
        Columns of further metadata.
    rows : int, default=500_000
        About how many rows a chunk should have.

    Raises
    ------
    ImportError
        If pyarrow is missing (extra ``dask``).
    ValueError
        If columns are missing, the files have no rows, labels are missing, or a cluster's rows do not stand together.

    Examples
    --------
    >>> from skdep import GEERegressor
    >>> from skdep.distributed import ParquetChunks, fit_chunks
    >>> chunks = ParquetChunks("visits.parquet", features=["age", "dose"], target="y", groups="id")  # doctest: +SKIP
    >>> fit_chunks(GEERegressor(working_correlation="exchangeable"), chunks)  # doctest: +SKIP
    """

    def __init__(
        self,
        path: Any,
        *,
        features: Sequence[str],
        target: str,
        groups: str | None = None,
        sample_weight: str | None = None,
        offset: str | None = None,
        time: str | None = None,
        rows: int = ROWS_OF_A_CHUNK,
    ):
        self.features, self.target = list(features), target
        self.metadata = {"groups": groups, "sample_weight": sample_weight, "offset": offset, "time": time}
        dataset = _pyarrow_dataset().dataset(path, format="parquet")
        self._check_columns(dataset.schema.names)
        self.pieces = [piece for fragment in dataset.get_fragments() for piece in fragment.split_by_row_group()]
        self.schema = dataset.schema
        counts = [sum(group.num_rows for group in piece.row_groups) for piece in self.pieces]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        if self.starts[-1] == 0:
            raise ValueError(f"{path} has no rows.")
        self.bounds = chunk_bounds(self._ends(groups, dataset), rows)

    def _check_columns(self, names: list[str]) -> None:
        wanted = [*self.features, self.target, *(name for name in self.metadata.values() if name is not None)]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(f"The files have no columns {missing}; they have {names}.")

    def _ends(self, groups: str | None, dataset: Any) -> np.ndarray:
        """Return the row after the last of each cluster."""
        n_rows = int(self.starts[-1])
        if groups is None:
            return np.arange(1, n_rows + 1)
        import pyarrow.compute as pc

        labels = dataset.to_table(columns=[groups]).column(0)
        if labels.null_count:
            raise ValueError(f"{groups!r} has {labels.null_count} missing labels: a row must belong to a cluster.")
        changes = pc.not_equal(labels.slice(1), labels.slice(0, n_rows - 1)).to_numpy()
        ends = np.append(np.flatnonzero(changes) + 1, n_rows)
        n_labels = pc.count_distinct(labels).as_py()
        if n_labels < len(ends):
            raise ValueError(
                f"The rows of {len(ends) - n_labels} or more clusters of {groups!r} do not stand together: sort the "
                "files by cluster, so that no cluster is cut by the end of a chunk."
                f"{read_more('chunks')}"
            )
        return ends

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def load(self, number: int) -> Chunk:
        """Return a chunk, read from the files."""
        import pyarrow as pa

        first, last = int(self.bounds[number]), int(self.bounds[number + 1])
        columns = list(dict.fromkeys([*self.features, self.target, *filter(None, self.metadata.values())]))
        parts = []
        for piece in range(
            int(np.searchsorted(self.starts, first, side="right")) - 1, int(np.searchsorted(self.starts, last))
        ):
            table = self.pieces[piece].to_table(schema=self.schema, columns=columns)
            begin = int(self.starts[piece])
            parts.append(table.slice(max(first - begin, 0), min(last, int(self.starts[piece + 1])) - max(first, begin)))
        frame = pa.concat_tables(parts).to_pandas()
        metadata = {key: None if name is None else frame[name] for key, name in self.metadata.items()}
        return Chunk(frame[self.features], frame[self.target], **metadata)


def _pyarrow_dataset() -> Any:
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError("Parquet files are read by pyarrow: install skdep[dask].") from error
    return pyarrow.dataset
