"""Threads over blocks of rows, each block small enough to stay in cache, with the linear algebra library at one thread.

Small products thrash when the linear algebra library splits each of them over threads of its own; whole blocks in
threads of ours do not. The number of threads is the one that library is allowed here, so that the usual limits
(environment variables, `threadpoolctl`, workers of `joblib`) hold.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController  # comes with scikit-learn

__all__ = ["add_up_blocks", "block_rows", "one_blas_thread", "threads_over_blocks"]

# Block of rows whose working copy fills about this many floats: one megabyte.
_BLOCK_FLOATS = 131072
# Below this many floats starting threads costs more than it saves.
_PARALLEL_FLOATS = 500_000
# Each task adds up a fixed run of blocks, so that sums do not depend on the number of threads.
_BLOCKS_PER_TASK = 16


def block_rows(n_columns: int) -> int:
    """Return the number of rows of a block."""
    return max(256, _BLOCK_FLOATS // max(n_columns, 1))


@cache
def _controller() -> Any:
    return ThreadpoolController()


_limit_held = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the linear algebra library at one thread: for many small products that is faster.

    The limit is one of the process: of fits that overlap in threads of the caller only the first sets and lifts it.
    Were each to restore what it found, the last would leave the limit of the first behind for good.
    """
    if not _limit_held.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _limit_held.release()


def _allowed_threads() -> int:
    counts = [library.num_threads for library in _controller().select(user_api="blas").lib_controllers]
    return max(counts, default=1)


@contextmanager
def threads_over_blocks(n_floats: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Give a `map` that runs over blocks in threads, where the data are large enough for that to pay.

    Parameters
    ----------
    n_floats : int
        Size of the data, in numbers.
    """
    n_threads = _allowed_threads() if n_floats >= _PARALLEL_FLOATS else 1
    with one_blas_thread():
        if n_threads == 1:
            yield map
            return
        with ThreadPoolExecutor(n_threads) as pool:
            yield pool.map


def add_up_blocks(function: Callable[[slice], tuple[Any, ...]], n_rows: int, n_columns: int) -> tuple[Any, ...]:
    """Add up ``function(rows)`` over blocks of rows.

    Parameters
    ----------
    function : callable
        Takes a slice of rows, returns a tuple of floats and arrays to be added up.
    n_rows, n_columns : int
        Size of the data; blocks are cut so that a block of `n_columns` columns stays in cache.

    Returns
    -------
    tuple
        The sums, the same whatever the number of threads.
    """
    step = block_rows(n_columns)
    if n_rows <= step:
        return function(slice(0, n_rows))
    task_rows = step * _BLOCKS_PER_TASK

    def run_task(begin: int) -> tuple[Any, ...]:
        end = min(begin + task_rows, n_rows)
        return _sum_tuples([function(slice(row, min(row + step, end))) for row in range(begin, end, step)])

    with threads_over_blocks(n_rows * n_columns) as run:
        return _sum_tuples(list(run(run_task, range(0, n_rows, task_rows))))


def _sum_tuples(parts: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(np.add.reduce(column) if len(column) > 1 else column[0] for column in zip(*parts, strict=True))
