"""Sources of chunks: whole clusters, as often as asked; what is refused and how."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skdep import LogitRegressor, MixedLogit
from skdep.distributed import ArrayChunks, Chunk, fit_chunks
from skdep.distributed.chunks import as_source

N = 90
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, 2))
Y = RNG.integers(2, size=N)
GROUPS = np.sort(RNG.integers(0, 20, N))


def chunks(**changes):
    """Return three chunks cut at row 30 and 60, of groups that do not cross the cuts, with some parts replaced."""
    groups = np.repeat(np.arange(18), 5)
    return [
        Chunk(X[rows], Y[rows], groups=groups[rows], **{name: values[rows] for name, values in changes.items()})
        for rows in (slice(0, 30), slice(30, 60), slice(60, 90))
    ]


def test_arrays_are_cut_between_clusters():
    source = ArrayChunks(X, Y, groups=GROUPS, offset=X[:, 0], rows=25)
    parts = [source.load(number) for number in range(len(source))]
    assert [part.sample_weight for part in parts] == [None] * len(parts)
    assert_array_equal(np.concatenate([part.groups for part in parts]), GROUPS)
    assert_array_equal(np.concatenate([part.offset for part in parts]), X[:, 0])
    for one, other in itertools.pairwise(parts):
        assert one.groups[-1] != other.groups[0]
    assert [len(part) >= 20 for part in parts[:-1]] == [True] * 3


def test_a_cluster_larger_than_a_chunk_stays_whole():
    source = ArrayChunks(X, Y, groups=np.repeat(["a", "b", "c"], [5, 80, 5]), rows=10)
    assert [len(source.load(number)) for number in range(len(source))] == [85, 5]


def test_frames_keep_their_names():
    frame = pd.DataFrame(X, columns=["age", "dose"])
    source = ArrayChunks(frame, pd.Series(Y), groups=pd.Series(GROUPS, name="site"), rows=25)
    fit = fit_chunks(LogitRegressor(), source)
    assert fit.feature_names_in_.tolist() == ["age", "dose"]
    assert "Clusters (site)" in str(fit.summary())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": np.arange(N) % 7}, "rows of cluster 0 of 'group' do not stand together"),
        ({"groups": GROUPS[:-1]}, "groups has 89 rows, y has 90"),
        ({"rows": 0}, "rows must be positive"),
    ],
)
def test_arrays_that_cannot_be_cut(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArrayChunks(X, Y, **arguments)


def test_an_iterator_is_refused_but_what_makes_it_is_not():
    with pytest.raises(TypeError, match="can be gone through only once"):
        fit_chunks(LogitRegressor(), iter(chunks()))
    by_function = fit_chunks(LogitRegressor(), lambda: iter(chunks()))
    assert_array_equal(by_function.coef_, fit_chunks(LogitRegressor(), chunks()).coef_)


@pytest.mark.parametrize("wrong", [[], [X], "data.csv", 3])
def test_what_is_no_chunk(wrong):
    with pytest.raises(TypeError, match="chunks must be"):
        as_source(wrong)


def test_a_cluster_in_two_chunks_is_refused():
    first, second = Chunk(X[:40], Y[:40], groups=np.arange(40) // 4), Chunk(X[40:], Y[40:], groups=np.arange(50) // 5)
    with pytest.raises(ValueError, match=r"10 clusters of 'group' have rows in two chunks, .* chunks 0 and 1"):
        fit_chunks(LogitRegressor(), [first, second])


def test_errors_name_the_chunk():
    broken = X.copy()
    broken[70, 1] = np.nan
    parts = chunks()
    parts[2] = Chunk(broken[60:], Y[60:], groups=parts[2].groups)
    with pytest.raises(ValueError, match=r"chunk 2: 1 rows of X have missing or infinite values, first row 10"):
        fit_chunks(LogitRegressor(), parts)
    parts[2] = Chunk(X[60:, :1], Y[60:], groups=parts[2].groups)
    with pytest.raises(ValueError, match="chunk 2: X has 1 features, but LogitRegressor is expecting 2"):
        fit_chunks(LogitRegressor(), parts)


def test_metadata_are_for_all_chunks_or_for_none():
    parts = chunks()
    parts[1] = Chunk(X[30:60], Y[30:60], groups=parts[1].groups, offset=X[30:60, 0])
    with pytest.raises(ValueError, match=r"chunk 1: \['offset'\] are given for some chunks and not for others"):
        fit_chunks(LogitRegressor(), parts)


def test_estimators_that_need_all_rows_at_once():
    with pytest.raises(TypeError, match="MixedLogit cannot be fitted to chunks"):
        fit_chunks(MixedLogit(), chunks())


def test_the_estimator_is_left_as_it_is():
    est = LogitRegressor()
    fit = fit_chunks(est, chunks())
    assert fit is not est
    assert not hasattr(est, "coef_")


def test_progress(capsys, monkeypatch):
    monkeypatch.setattr("skdep._progress._SECONDS", 0.0)
    fit_chunks(LogitRegressor(), chunks(), verbose=True)
    assert "pass 2, chunks: 3 of 3" in capsys.readouterr().err
    fit_chunks(LogitRegressor(), chunks())
    assert capsys.readouterr().err == ""
