"""Sums over blocks: right, and the same whatever the number of threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from skdep import _threads
from skdep._threads import add_up_blocks, block_rows


def cross_products(X):
    def function(rows):
        part = X[rows]
        return float(part[:, 0].sum()), part.T @ part, part.sum(axis=0)

    return function


@pytest.mark.parametrize("n_rows", [1, 255, 256, 257, 1000, 40_000])
def test_sums_are_those_of_all_rows(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 600))[:, :5]
    total, gram, sums = add_up_blocks(cross_products(X), n_rows, 600)
    assert total == pytest.approx(X[:, 0].sum(), abs=1e-9)
    np.testing.assert_allclose(gram, X.T @ X, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(sums, X.sum(axis=0), atol=1e-8)


def test_every_row_is_visited_once():
    seen = np.zeros(10_001, dtype=int)

    def function(rows):
        seen[rows] += 1
        return (seen[rows].size,)

    (count,) = add_up_blocks(function, len(seen), 500)
    assert count == len(seen)
    assert (seen == 1).all()


@pytest.mark.parametrize("n_columns", [1, 7, 512, 10**9])
def test_block_rows(n_columns):
    rows = block_rows(n_columns)
    assert rows >= 256
    assert rows == 256 or rows * n_columns <= 131072


def test_sums_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_PARALLEL_FLOATS", 1)
    X = np.random.default_rng(1).normal(size=(60_000, 20))
    results = []
    for n_threads in (1, 2, 3, 7):
        monkeypatch.setattr(_threads, "_allowed_threads", lambda n=n_threads: n)
        results.append(add_up_blocks(cross_products(X), len(X), 600))
    for other in results[1:]:
        for first, second in zip(results[0], other):
            np.testing.assert_array_equal(first, second)


def test_sums_do_not_depend_on_the_limit_of_the_blas():
    X = np.random.default_rng(1).normal(size=(150_000, 20))
    results = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            results.append(add_up_blocks(cross_products(X), *X.shape))
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)


def test_several_threads_really_work(monkeypatch):
    monkeypatch.setattr(_threads, "_PARALLEL_FLOATS", 1)
    monkeypatch.setattr(_threads, "_allowed_threads", lambda: 2)
    meeting = threading.Barrier(2, timeout=20)  # breaks unless two blocks are computed at the same time
    once = threading.local()

    def function(rows):
        if not hasattr(once, "met"):
            once.met = True
            meeting.wait()
        return (rows.stop - rows.start,)

    n_rows = 256 * 16 * 2
    assert add_up_blocks(function, n_rows, 10_000) == (n_rows,)


def test_errors_come_through(monkeypatch):
    monkeypatch.setattr(_threads, "_PARALLEL_FLOATS", 1)

    def function(rows):
        raise FloatingPointError("in a block")

    with pytest.raises(FloatingPointError, match="in a block"):
        add_up_blocks(function, 100_000, 600)


def blas_threads():
    return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]


@pytest.fixture
def two_blas_threads():
    with threadpool_limits(2, user_api="blas"):
        if max(blas_threads(), default=1) < 2:
            pytest.skip("needs a BLAS with two threads")
        yield


@pytest.mark.usefixtures("two_blas_threads")
def test_the_blas_gets_its_threads_back():
    before = blas_threads()
    add_up_blocks(lambda rows: (1,), 100_000, 600)
    assert blas_threads() == before


@pytest.mark.usefixtures("two_blas_threads")
def test_the_blas_gets_its_threads_back_when_fits_overlap():
    """Two fits in threads of the caller: the second starts while the first runs, and ends after it."""
    before = blas_threads()
    first_runs, second_runs, first_done = threading.Event(), threading.Event(), threading.Event()

    def first(rows):
        first_runs.set()
        assert second_runs.wait(20)
        return (1,)

    def second(rows):
        second_runs.set()
        assert first_done.wait(20)
        return (1,)

    def run_second():
        assert first_runs.wait(20)
        add_up_blocks(second, 1000, 600)

    other = threading.Thread(target=run_second)
    other.start()
    add_up_blocks(first, 1000, 600)
    first_done.set()
    other.join()
    assert blas_threads() == before
