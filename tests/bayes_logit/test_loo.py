"""Leave-one-out cross-validation: conjugate models refitted without each row, another program, repetition, blocks."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import betaln

from skdep.bayes import loo
from skdep.bayes.loo import compare_elpd, leave_one_out
from skdep.exceptions import ConvergenceWarning

SUCCESSES = np.array([3, 5, 4, 7, 2, 6, 5, 4, 3, 5, 6, 4, 5, 8, 3])
TRIALS = np.array([10, 12, 9, 14, 8, 13, 10, 10, 9, 11, 12, 8, 10, 15, 10])
PRIOR = (2.0, 3.0)


def exact_binomial(successes=SUCCESSES, trials=TRIALS):
    """Log predictive density of each row (without binomial coefficients) from the posterior of the others."""
    a = PRIOR[0] + successes.sum() - successes
    b = PRIOR[1] + (trials - successes).sum() - (trials - successes)
    return betaln(a + successes, b + trials - successes) - betaln(a, b)


def posterior_draws(size, seed=0):
    a, b = PRIOR[0] + SUCCESSES.sum(), PRIOR[1] + (TRIALS - SUCCESSES).sum()
    return np.random.default_rng(seed).beta(a, b, size=size)


def log_likelihood(p, successes=SUCCESSES, trials=TRIALS):
    return successes * np.log(p)[:, None] + (trials - successes) * np.log1p(-p)[:, None]


@pytest.fixture(scope="module")
def result():
    return leave_one_out(log_likelihood(posterior_draws(20_000)))


# ------------------------------------------------------------------------------------------------------- exact refits
def test_binomial_rows_refitted_without_each(result):
    exact = exact_binomial()
    assert_allclose(result.pointwise, exact, atol=0.01)
    assert_allclose(result.elpd, exact.sum(), atol=0.02)
    assert_allclose(result.se, np.sqrt(exact.size * exact.var(ddof=1)), rtol=1e-3)
    assert result.unreliable.size == 0 and result.notes == ()


def test_effective_number_of_parameters(result):
    fitted = betaln(
        PRIOR[0] + SUCCESSES.sum() + SUCCESSES, PRIOR[1] + (TRIALS - SUCCESSES).sum() + TRIALS - SUCCESSES
    ) - betaln(PRIOR[0] + SUCCESSES.sum(), PRIOR[1] + (TRIALS - SUCCESSES).sum())
    assert_allclose(result.p_loo, (fitted - exact_binomial()).sum(), atol=0.02)


def test_normal_mean_with_an_influential_row():
    rng = np.random.default_rng(3)
    y = np.r_[rng.normal(size=40), 3.0]
    without = (y.sum() - y) / 41.0  # prior N(0, 1): precision 1 + 40 without a row
    exact = stats.norm.logpdf(y, without, np.sqrt(1 + 1 / 41))
    draws = rng.normal(y.sum() / 42, np.sqrt(1 / 42), size=20_000)
    result = leave_one_out(stats.norm.logpdf(y, draws[:, None]))
    assert_allclose(result.pointwise, exact, atol=0.02)


def test_draws_of_another_distribution_with_their_weights(result):
    rng = np.random.default_rng(1)
    a, b = PRIOR[0] + SUCCESSES.sum(), PRIOR[1] + (TRIALS - SUCCESSES).sum()
    p = rng.beta(a / 2, b / 2, size=40_000)  # twice the variance
    log_weights = stats.beta.logpdf(p, a, b) - stats.beta.logpdf(p, a / 2, b / 2) + 17.0
    weighted = leave_one_out(log_likelihood(p), log_weights=log_weights)
    assert_allclose(weighted.pointwise, exact_binomial(), atol=0.01)
    assert_allclose(weighted.p_loo, result.p_loo, atol=0.02)


# ---------------------------------------------------------------------------------------------------- another program
@pytest.mark.parametrize("relative_efficiency", [1.0, 0.25])
def test_arviz(relative_efficiency):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    matrix = log_likelihood(posterior_draws(2500))
    pointwise, khat, p_loo = array_stats.loo(matrix.T, chain_axis=None, draw_axis=-1, r_eff=relative_efficiency)
    result = leave_one_out(matrix, relative_efficiency=relative_efficiency)
    assert_allclose(result.pointwise, pointwise, rtol=1e-9)
    assert_allclose(result.khat, khat, rtol=1e-7)
    assert_allclose(result.p_loo, p_loo.sum(), rtol=1e-7)


# -------------------------------------------------------------------------------------------------------- invariances
def test_blocks_from_a_function_are_the_matrix(monkeypatch):
    matrix = log_likelihood(posterior_draws(1000))
    whole = leave_one_out(matrix)
    monkeypatch.setattr(loo, "_BLOCK", 4000)
    asked = []

    def columns(start, stop):
        asked.append((start, stop))
        return matrix[:, start:stop]

    blocks = leave_one_out(columns, n_obs=15)
    assert asked == [(0, 1), (0, 4), (4, 8), (8, 12), (12, 15)]
    assert_allclose(blocks.pointwise, whole.pointwise, rtol=1e-12)
    assert_allclose(blocks.khat, whole.khat, rtol=1e-9)
    assert_allclose([blocks.elpd, blocks.se, blocks.p_loo], [whole.elpd, whole.se, whole.p_loo], rtol=1e-12)


def test_weights_are_repetitions():
    counts = np.array([1, 2, 0, 3, 1, 1, 1, 2, 1, 1, 1, 4, 1, 1, 1])
    matrix = log_likelihood(posterior_draws(1000))
    weighted = leave_one_out(matrix, sample_weight=counts)
    repeated = leave_one_out(np.repeat(matrix, counts, axis=1))
    for name in ("elpd", "se", "p_loo"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10)


# ----------------------------------------------------------------------------------------------------------- warnings
def test_influential_rows_warn():
    rng = np.random.default_rng(0)
    matrix = np.column_stack([-0.01 * rng.exponential(size=4000), -3.0 * rng.exponential(size=4000)])
    with pytest.warns(ConvergenceWarning, match=r"1 of 2 rows .*row 1\)") as record:
        result = leave_one_out(matrix)
    assert record[0].filename == __file__
    assert result.unreliable.tolist() == [1] and result.notes
    assert "Note: k-hat" in str(result)


def test_rows_that_cannot_be_wrong_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = leave_one_out(np.full((1000, 3), -1e-17))
    assert_allclose(result.elpd, 0.0, atol=1e-12)
    assert result.khat.max() == -np.inf


# --------------------------------------------------------------------------------------------------------- comparison
def bernoulli_models(n=300):
    rng = np.random.default_rng(5)
    group = rng.integers(0, 2, size=n)
    y = rng.random(n) < np.where(group == 1, 0.7, 0.4)

    def of(labels):
        a = 1 + np.bincount(labels, weights=y, minlength=labels.max() + 1)
        b = 1 + np.bincount(labels, weights=~y, minlength=labels.max() + 1)
        p = rng.beta(a, b, size=(20_000, a.size))[:, labels]
        without = np.where(y, a[labels] - 1, b[labels] - 1) / (a + b - 1)[labels]
        return leave_one_out(np.log(np.where(y, p, 1 - p))), np.log(without)

    return of(group), of(np.zeros(n, dtype=int))


def test_difference_is_that_of_exact_refits():
    (two, exact_two), (one, exact_one) = bernoulli_models()
    result = compare_elpd(two, one)
    rows = exact_two - exact_one
    assert_allclose(result.difference, rows.sum(), atol=0.05)
    assert_allclose(result.se, np.sqrt(300 * rows.var(ddof=1)), rtol=0.01)
    assert result.difference > 2 * result.se and result.notes == ()
    other = compare_elpd(one, two)
    assert_allclose([other.difference, other.se], [-result.difference, result.se])


def test_small_comparisons_are_qualified(result):
    notes = compare_elpd(result, result).notes
    assert any("fewer than 100" in note for note in notes) and any("predict alike" in note for note in notes)


def test_comparisons_of_different_rows_are_refused(result):
    matrix = log_likelihood(posterior_draws(500))
    with pytest.raises(ValueError, match="same rows"):
        compare_elpd(result, leave_one_out(matrix[:, :-1]))
    with pytest.raises(ValueError, match="sample_weight"):
        compare_elpd(result, leave_one_out(matrix, sample_weight=np.full(15, 2.0)))
    same = leave_one_out(matrix, sample_weight=np.ones(15))
    assert compare_elpd(result, same).n_obs == 15


# ------------------------------------------------------------------------------------------------------------ results
def test_results_print_and_pickle(result):
    frame = result.to_frame()
    assert frame.loc["Leave-one-out", "elpd"] == result.elpd and frame.loc["Leave-one-out", "n_obs"] == 15
    assert f"{result.elpd:.2f}" in str(result)
    assert "<table" in result._repr_html_()
    assert pickle.loads(pickle.dumps(result)).elpd == result.elpd
    comparison = compare_elpd(result, result)
    assert comparison.to_frame()["difference"].iloc[0] == 0.0 and "<table" in comparison._repr_html_()
    with pytest.raises(FrozenInstanceError):
        result.elpd = 0.0


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (np.zeros(5), {}, "draws, rows"),
        (np.zeros((5, 0)), {}, "at least one row"),
        (np.zeros((5, 2)), {"n_obs": 3}, "n_obs=3"),
        (lambda start, stop: np.zeros((5, stop - start)), {}, "n_obs"),
        (lambda start, stop: np.zeros((5, 1)), {"n_obs": 3}, "must have shape"),
        (np.array([[0.0, np.nan], [0.0, 1.0]]), {}, "row 1"),
        (np.array([[-np.inf, 0.0], [0.0, 1.0]]), {}, "row 0"),
        (np.zeros((5, 2)), {"log_weights": np.zeros(4)}, "log_weights"),
        (np.zeros((5, 2)), {"log_weights": np.full(5, -np.inf)}, "log_weights"),
        (np.zeros((5, 2)), {"sample_weight": np.ones(3)}, "sample_weight"),
        (np.zeros((5, 2)), {"sample_weight": [-1.0, 1.0]}, "sample_weight"),
    ],
)
def test_bad_input_is_refused(matrix, options, message):
    with pytest.raises(ValueError, match=message):
        leave_one_out(matrix, **options)
