"""Fits on a Dask cluster of two workers, one of which may die; Parquet files."""

import os
import signal
import threading

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import LogitRegressor
from skdep.distributed import Chunk, IteratorChunks, ParquetChunks, dask_chunks, fit_chunks

pytest.importorskip("pyarrow")
distributed = pytest.importorskip("distributed")
dd = pytest.importorskip("dask.dataframe")

FEATURES = ["age", "dose", "site"]
N = 6_000


def exact():
    return LogitRegressor(tol=1e-12)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(8)
    data = pd.DataFrame(rng.normal(size=(N, 3)), columns=FEATURES)
    data["id"] = np.sort(rng.integers(0, 1_000, N))
    data["wheeze"] = (rng.random(N) < 1.0 / (1.0 + np.exp(-data["age"]))).astype(int)
    return data


@pytest.fixture(scope="module")
def whole(frame):
    return exact().fit(frame[FEATURES], frame["wheeze"], groups=frame["id"])


@pytest.fixture(scope="module")
def path(frame, tmp_path_factory):
    directory = tmp_path_factory.mktemp("visits")
    frame[:3_500].to_parquet(directory / "a.parquet", row_group_size=900)
    frame[3_500:].to_parquet(directory / "b.parquet", row_group_size=700)
    return directory


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as connection:
        yield connection


def from_files(path, **changes):
    columns = {"features": FEATURES, "target": "wheeze", "groups": "id", "rows": 500} | changes
    return ParquetChunks(path, **columns)


def same_fit(parts, whole):
    assert parts.feature_names_in_.tolist() == FEATURES
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-10)
    assert_allclose(parts.covariance_, whole.covariance_, rtol=1e-8, atol=1e-12)


def test_files_larger_than_a_chunk(path, whole, frame):
    source = from_files(path)
    assert len(source) == 12
    assert sum(len(source.load(number)) for number in range(12)) == N
    pd.testing.assert_series_equal(source.load(0).groups, frame["id"][: len(source.load(0))])
    same_fit(fit_chunks(exact(), source), whole)


def test_files_without_clusters(path, frame):
    plain = fit_chunks(exact(), from_files(path, groups=None))
    assert_allclose(plain.covariance_, exact().fit(frame[FEATURES], frame["wheeze"]).covariance_, rtol=1e-8)


def test_files_that_do_not_serve(path, frame, tmp_path):
    with pytest.raises(ValueError, match=r"no columns \['weight'\]"):
        from_files(path, sample_weight="weight")
    frame.sample(frac=1.0, random_state=0).to_parquet(tmp_path / "shuffled.parquet")
    with pytest.raises(ValueError, match="do not stand together"):
        from_files(tmp_path / "shuffled.parquet")
    frame.assign(id=frame["id"].astype("Int64").mask(frame["id"] == 3)).to_parquet(tmp_path / "missing.parquet")
    with pytest.raises(ValueError, match="missing labels"):
        from_files(tmp_path / "missing.parquet")


def test_workers_load_and_keep_the_chunks(client, path, whole):
    same_fit(fit_chunks(exact(), from_files(path), client=client), whole)


def test_partitions_are_chunks(client, frame, whole):
    columns = {"features": FEATURES, "target": "wheeze", "groups": "id"}
    partitions = dd.from_pandas(frame, npartitions=5)
    with pytest.raises(ValueError, match="have rows in two chunks"):
        fit_chunks(exact(), dask_chunks(partitions, **columns), client=client)
    shuffled = dask_chunks(partitions, shuffle=True, **columns)
    same_fit(fit_chunks(exact(), shuffled, client=client), whole)
    same_fit(fit_chunks(exact(), shuffled), whole)
    with pytest.raises(ValueError, match=r"no columns \['weight'\]"):
        dask_chunks(partitions, sample_weight="weight", **columns)


def test_an_iterator_cannot_be_shared_out(client, frame):
    source = IteratorChunks(lambda: iter([Chunk(frame[FEATURES], frame["wheeze"])]))
    with pytest.raises(TypeError, match="one after the other"):
        fit_chunks(exact(), source, client=client)


def test_a_worker_may_die(client, path, whole):
    source = from_files(path)
    workers = client.run(os.getpid)
    assert len(workers) == 2
    victim = next(iter(workers.values()))
    done, finished = [], threading.Event()

    def kill_after_first_results():
        # parts are in the memory of both workers by then
        while not finished.is_set() and len(client.has_what()) and not any(client.has_what().values()):
            finished.wait(0.01)
        os.kill(victim, signal.SIGKILL)
        done.append(victim)

    killer = threading.Thread(target=kill_after_first_results)
    killer.start()
    parts = fit_chunks(LogitRegressor(tol=1e-13, max_iter=60), source, client=client)
    finished.set()
    killer.join()
    assert done == [victim]
    same_fit(parts, whole)
    assert victim not in client.run(os.getpid).values()
