"""Fits over chunks are the fits of all rows at once."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdep import LogitRegressor
from skdep.distributed import ArrayChunks, Chunk, fit_chunks
from skdep.distributed.chunks import as_source
from skdep.distributed.runners import LocalRunner
from skdep.exceptions import CollinearityWarning, SeparationWarning
from skdep.inference import coef_table, wald_test

RNG = np.random.default_rng(6)
N = 700
GROUPS = np.sort(RNG.integers(0, 150, N))
X = np.column_stack([RNG.normal(size=N), 1000.0 + RNG.normal(size=N), RNG.integers(3, size=N)])
OFFSET = RNG.normal(scale=0.2, size=N)
WEIGHT = RNG.integers(0, 4, N).astype(float)
Y = np.where(RNG.random(N) < 1.0 / (1.0 + np.exp(-X[:, 0] - OFFSET)), "yes", "no")

CONFIGURATIONS = [
    {},
    {"weight_type": "sampling"},
    {"penalty": "l2", "C": 0.1},
    {"penalty": "firth"},
    {"fit_intercept": False},
    {"cov_type": "hc1"},
]
METADATA = [{}, {"groups": GROUPS}, {"groups": GROUPS, "sample_weight": WEIGHT, "offset": OFFSET}]


@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("metadata", METADATA, ids=lambda metadata: "-".join(metadata) or "plain")
def test_the_same_fit(parameters, metadata):
    est = LogitRegressor(tol=1e-12, **parameters)
    features = X - [0, 1000, 0] if not parameters.get("fit_intercept", True) else X
    whole = est.fit(features, Y, **metadata)
    parts = fit_chunks(est, ArrayChunks(features, Y, rows=90, **metadata))
    assert parts.converged_
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-10)
    assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-8)
    assert_allclose(parts.loglik_, whole.loglik_, rtol=1e-12)
    assert list(parts.classes_) == ["no", "yes"]
    inference, other = parts._inference, whole._inference
    assert inference.covariances.keys() == other.covariances.keys() - {"cr2"}
    for kind, matrix in other.covariances.items():
        if kind == "cr2":
            continue
        units = np.sqrt(np.diag(matrix))
        assert_allclose(
            inference.covariances[kind] / np.outer(units, units), matrix / np.outer(units, units), atol=1e-9
        )
    assert inference.residual_df == {kind: df for kind, df in other.residual_df.items() if kind != "cr2"}
    assert inference.degrees_of_freedom == other.degrees_of_freedom
    assert (inference.n_obs, inference.n_clusters) == (other.n_obs, other.n_clusters)


def test_how_rows_are_cut_does_not_matter():
    few, many = (fit_chunks(LogitRegressor(tol=1e-12), ArrayChunks(X, Y, groups=GROUPS, rows=r)) for r in (40, 400))
    assert_allclose(few.covariance_, many.covariance_, rtol=1e-9)


def test_parts_too_large_for_memory_are_made_again(monkeypatch):
    kept = fit_chunks(LogitRegressor(), ArrayChunks(X, Y, rows=90))
    monkeypatch.setattr("skdep.distributed.runners.KEPT_BYTES", 0)
    monkeypatch.setattr(LocalRunner.__init__, "__defaults__", ((), 0))
    again = fit_chunks(LogitRegressor(), ArrayChunks(X, Y, rows=90))
    assert_allclose(kept.covariance_, again.covariance_, rtol=0, atol=0)


def test_the_runner_keeps_small_parts_and_no_large_ones():
    class Part:
        n_bytes = 100

    made = []

    def prepare(chunk, number):
        made.append(number)
        return Part()

    source = as_source([Chunk(X[:2], Y[:2]), Chunk(X[2:4], Y[2:4])])
    for most, passes in ((200, 1), (199, 3)):
        made.clear()
        runner = LocalRunner(source, kept_bytes=most).prepare(prepare)
        for _ in range(3):
            assert len(list(runner.map(lambda part: part))) == 2
        assert made == [0, 1] * passes


def test_collinear_features_have_the_estimates_of_least_norm():
    features = np.column_stack([X, X[:, 0] + X[:, 2]])
    with pytest.warns(CollinearityWarning):
        whole = LogitRegressor(tol=1e-12).fit(features, Y)
    with pytest.warns(CollinearityWarning):
        parts = fit_chunks(LogitRegressor(tol=1e-12), ArrayChunks(features, Y, rows=90))
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-8)
    assert_allclose(coef_table(parts)["std_error"], coef_table(whole)["std_error"], rtol=1e-8)


def test_separation_is_not_passed_over():
    separated = np.where(X[:, 0] > 0, "yes", "no")
    with pytest.warns(SeparationWarning, match="could not be ruled out"):
        fit_chunks(LogitRegressor(), ArrayChunks(X[:, :1], separated, rows=90))


def test_one_class_in_a_chunk_is_enough():
    order = np.argsort(Y, kind="stable")
    parts = fit_chunks(LogitRegressor(tol=1e-12), ArrayChunks(X[order], Y[order], rows=90))
    assert_allclose(parts.coef_, LogitRegressor(tol=1e-12).fit(X, Y).coef_, rtol=1e-9)
    with pytest.raises(ValueError, match="one class"):
        fit_chunks(LogitRegressor(), ArrayChunks(X[:9], np.zeros(9), rows=3))


def test_the_fit_predicts_pickles_and_is_tested():
    fit = fit_chunks(LogitRegressor(), ArrayChunks(X, Y, groups=GROUPS, rows=90))
    again = pickle.loads(pickle.dumps(fit))
    assert_allclose(again.predict_proba(X), LogitRegressor(tol=1e-12).fit(X, Y).predict_proba(X), rtol=1e-6)
    assert wald_test(fit, ["x0", "x1"]).p_value < 1e-6


def test_reduced_bias_needs_all_rows():
    with pytest.raises(ValueError, match="not computed over chunks"):
        fit_chunks(LogitRegressor(cov_type="cr2"), ArrayChunks(X, Y, groups=GROUPS, rows=90))


@pytest.mark.parametrize("design", ["strata", "fpc"])
def test_designs_are_not_taken_by_chunks(design):
    with pytest.raises(TypeError, match=design):
        Chunk(X, Y, **{design: np.ones(N)})
