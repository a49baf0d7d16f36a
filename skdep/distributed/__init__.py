"""Fits of data larger than memory: the same estimates from sums over chunks, here or on a Dask cluster."""

from skdep.distributed.chunks import ArrayChunks, Chunk, ChunkSource, IteratorChunks
from skdep.distributed.dask_chunks import dask_chunks
from skdep.distributed.fit import fit_chunks
from skdep.distributed.parquet import ParquetChunks

__all__ = ["ArrayChunks", "Chunk", "ChunkSource", "IteratorChunks", "ParquetChunks", "dask_chunks", "fit_chunks"]
