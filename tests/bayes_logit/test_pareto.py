"""Pareto smoothed importance sampling: known tails, another program, invariances, degenerate weights."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skdep.bayes import pareto
from skdep.bayes.pareto import (
    fit_generalised_pareto,
    importance_ess,
    khat_threshold,
    smooth_weights,
    tail_length,
)


@pytest.fixture
def rng():
    return np.random.default_rng(20240)


def pareto_log_weights(rng, k, size):
    return -k * np.log(rng.random(size))


# ------------------------------------------------------------------------------------------------------- known tails
@pytest.mark.parametrize("k", [0.2, 0.5, 0.8, 1.2])
def test_khat_finds_the_index_of_a_pareto_tail(rng, k):
    khat = smooth_weights(pareto_log_weights(rng, k, (20_000, 30))).khat
    # A prior worth 10 of 425 observations pulls to 1/2.
    expected = (425 * k + 10 * 0.5) / 435
    assert_allclose(khat.mean(), expected, atol=4 * khat.std() / np.sqrt(30) + 0.01)
    assert khat.std() < 1.5 * (1 + k) / np.sqrt(425)


@pytest.mark.parametrize("variance", [0.3, 0.5, 0.8])
def test_khat_of_a_normal_proposal_too_narrow_for_its_target(rng, variance):
    # log w = x^2 (1 / variance - 1) / 2 has a tail exp(-t / (1 - variance)): k = 1 - variance, but for logarithms.
    x = rng.normal(scale=np.sqrt(variance), size=(40_000, 20))
    assert_allclose(smooth_weights(x**2 * (1 / variance - 1) / 2).khat.mean(), 1 - variance, atol=0.12)


def test_bounded_weights_have_a_negative_shape(rng):
    x = rng.normal(scale=2.0, size=(40_000, 5))
    assert (smooth_weights(-(x**2) * 0.375).khat < 0.2).all()


def test_fit_is_close_to_maximum_likelihood(rng):
    x = np.sort(stats.genpareto.rvs(0.6, scale=3.0, size=20_000, random_state=rng))
    shape, scale = fit_generalised_pareto(x)
    expected_shape, _, expected_scale = stats.genpareto.fit(x, floc=0.0)
    assert_allclose([shape, scale], [expected_shape, expected_scale], rtol=5e-3)


def test_fit_is_equivariant_and_blocks_do_not_matter(rng, monkeypatch):
    x = np.sort(rng.pareto(1.5, size=(7, 3, 60)), axis=-1)
    shape, scale = fit_generalised_pareto(x)
    assert shape.shape == scale.shape == (7, 3)
    scaled_shape, scaled_scale = fit_generalised_pareto(1e6 * x)
    assert_allclose(scaled_shape, shape, rtol=1e-9)
    assert_allclose(scaled_scale, 1e6 * scale, rtol=1e-9)
    monkeypatch.setattr(pareto, "_BLOCK", 1)
    assert_allclose(fit_generalised_pareto(x)[0], shape, rtol=1e-12)


def test_smoothing_lessens_the_error_of_estimates(rng):
    x = rng.normal(scale=np.sqrt(0.35), size=(1000, 400))
    log_ratios = x**2 * (1 / 0.35 - 1) / 2
    raw = np.exp(log_ratios) / np.exp(log_ratios).sum(axis=0)
    smoothed = np.exp(smooth_weights(log_ratios).log_weights)
    errors = [np.sqrt(np.mean(((weights * x**4).sum(axis=0) - 3.0) ** 2)) for weights in (raw, smoothed)]
    assert errors[1] < errors[0]


# ---------------------------------------------------------------------------------------------------- another program
@pytest.mark.parametrize("n_draws", [400, 2500, 10_000])
@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0])
def test_weights_and_khat_of_arviz(rng, n_draws, scale):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    log_ratios = scale * rng.standard_t(4, size=(n_draws, 5))
    smoothed = smooth_weights(log_ratios)
    # It takes log-likelihoods, and turns their sign.
    log_weights, khat = array_stats.psislw(-log_ratios.T)
    assert_allclose(smoothed.khat, khat, rtol=1e-8)
    assert_allclose(smoothed.log_weights.T, log_weights, rtol=1e-8, atol=1e-9)


def test_dependent_draws_have_the_tail_of_arviz(rng):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    log_ratios = rng.standard_t(4, size=10_000)
    khat = array_stats.psislw(-log_ratios, r_eff=0.25)[1]
    assert tail_length(10_000, relative_efficiency=0.25) == 600
    assert_allclose(smooth_weights(log_ratios, relative_efficiency=0.25).khat, khat, rtol=1e-8)


# -------------------------------------------------------------------------------------------------------- invariances
def test_constants_order_and_columns_do_not_matter(rng):
    log_ratios = rng.standard_t(3, size=(500, 4))
    smoothed = smooth_weights(log_ratios)
    order = rng.permutation(500)
    other = smooth_weights(log_ratios[order] + [0.0, 1e3, -1e3, 5.0])
    assert_allclose(other.khat, smoothed.khat, rtol=1e-8)
    assert_allclose(other.log_weights, smoothed.log_weights[order], atol=1e-9)
    alone = smooth_weights(log_ratios[:, 2])
    assert alone.log_weights.shape == (500,) and np.ndim(alone.khat) == 0
    assert_allclose(alone.khat, smoothed.khat[2])
    assert_allclose(alone.ess, smoothed.ess[2])


def test_smoothing_touches_only_the_tail_and_keeps_its_order(rng):
    log_ratios = rng.standard_t(3, size=2500)
    log_weights = smooth_weights(log_ratios).log_weights
    assert_allclose(np.exp(log_weights).sum(), 1.0)
    order = np.argsort(log_ratios)
    assert (np.diff(log_weights[order]) >= -1e-12).all()
    shift = (log_weights - log_ratios)[order]
    assert_allclose(shift[:-150], shift[0], atol=1e-12)
    assert np.ptp(shift[-150:]) > 1e-3
    assert log_weights.max() - shift[0] <= log_ratios.max() + 1e-12


def test_input_is_left_alone(rng):
    log_ratios = rng.normal(size=(300, 2))
    before = log_ratios.copy()
    smooth_weights(log_ratios)
    assert_array_equal(log_ratios, before)


# --------------------------------------------------------------------------------------------- effective sample sizes
def test_importance_ess_of_normal_weights(rng):
    # E(w)^2 / E(w^2) of weights exp(s z) is exp(-s^2).
    log_weights = 0.5 * rng.normal(size=200_000)
    assert_allclose(importance_ess(log_weights) / 200_000, np.exp(-0.25), rtol=0.02)
    assert_allclose(importance_ess(log_weights - 1e4), importance_ess(log_weights))


def test_importance_ess_of_equal_weights_is_their_number():
    assert_allclose(importance_ess(np.log([[1.0, 0.5], [1.0, 0.5], [1.0, 1e-300]])), [3.0, 2.0])


@pytest.mark.parametrize(("n_draws", "threshold"), [(10, 0.0), (100, 0.5), (1000, 2 / 3), (2155, 0.7), (10**6, 0.7)])
def test_threshold(n_draws, threshold):
    assert_allclose(khat_threshold(n_draws), threshold, atol=1e-4)


def test_reliable_compares_with_the_threshold(rng):
    smoothed = smooth_weights(np.column_stack([rng.normal(size=4000) * 0.1, pareto_log_weights(rng, 1.5, 4000)]))
    assert smoothed.threshold == 0.7
    assert_array_equal(smoothed.reliable, [True, False])
    with pytest.raises(FrozenInstanceError):
        smoothed.khat = 0.0


# ------------------------------------------------------------------------------------------------- degenerate weights
@pytest.mark.parametrize("noise", [0.0, 1e-14])
def test_constant_weights_are_perfect(rng, noise):
    smoothed = smooth_weights(3.0 + noise * rng.normal(size=1000))
    assert smoothed.khat == -np.inf and smoothed.reliable
    assert_allclose(smoothed.ess, 1000.0)
    assert_allclose(np.exp(smoothed.log_weights), 1e-3)


def test_nearly_constant_weights_keep_their_tail(rng):
    # The weights differ from one by no more than 1e-6: differences of exponentials would lose half of the digits.
    excess = stats.genpareto.rvs(0.3, size=10_000, random_state=rng)
    khat = smooth_weights(np.log1p(1e-8 * excess)).khat
    assert_allclose(khat, smooth_weights(np.log(1.0 + excess)).khat, rtol=1e-4)


def test_repeated_draws_are_fitted(rng):
    # A chain that rejects repeats draws: the cutoff ties with part of the tail.
    smoothed = smooth_weights(np.repeat(pareto_log_weights(rng, 0.4, 200), 20))
    assert np.isfinite(smoothed.khat)
    assert_allclose(np.exp(smoothed.log_weights).sum(), 1.0)
    mostly_tied = np.r_[np.zeros(990), rng.random(10)]
    assert np.isfinite(smooth_weights(mostly_tied).khat)


def test_a_tail_of_one_value_says_nothing():
    log_ratios = np.r_[np.zeros(900), np.ones(100)]
    smoothed = smooth_weights(log_ratios)
    assert smoothed.khat == np.inf
    assert_allclose(np.exp(smoothed.log_weights), np.exp(log_ratios) / np.exp(log_ratios).sum())


def test_a_tail_beyond_floating_point_is_unreliable(rng):
    assert smooth_weights(1e4 * rng.normal(size=1000)).khat == np.inf
    assert smooth_weights(50.0 * rng.normal(size=1000)).khat > 1.0


def test_few_draws_cannot_be_judged():
    smoothed = smooth_weights(np.arange(10.0))
    assert smoothed.khat == np.inf
    assert_allclose(np.exp(smoothed.log_weights), np.exp(np.arange(10.0)) / np.exp(np.arange(10.0)).sum())


def test_zero_weights_stay_zero(rng):
    log_ratios = rng.normal(size=1000)
    log_ratios[::2] = -np.inf
    smoothed = smooth_weights(log_ratios)
    assert np.isneginf(smoothed.log_weights[::2]).all() and np.isfinite(smoothed.khat)
    assert_allclose(np.exp(smoothed.log_weights).sum(), 1.0)
    only_tail = np.where(np.arange(1000) < 60, log_ratios[1], -np.inf) + rng.normal(size=1000)
    only_tail[0] = 1.0
    assert np.isfinite(smooth_weights(only_tail).log_weights[only_tail > -np.inf]).all()


@pytest.mark.parametrize(
    ("log_ratios", "message"),
    [
        ([0.0, np.nan, 1.0], "NaN"),
        ([0.0, np.inf, 1.0], "inf"),
        ([-np.inf, -np.inf], "zero"),
        ([1.0], "at least 2"),
        (np.zeros((2, 2, 2)), "shape"),
    ],
)
def test_bad_weights_are_refused(log_ratios, message):
    with pytest.raises(ValueError, match=message):
        smooth_weights(np.asarray(log_ratios))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="relative_efficiency"):
        tail_length(100, relative_efficiency=0.0)
    with pytest.raises(ValueError, match="at least 5"):
        fit_generalised_pareto(np.arange(4.0))
    with pytest.raises(ValueError, match="2 draws"):
        khat_threshold(1)
