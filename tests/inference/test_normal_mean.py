"""Means of the logistic function over a normal distribution: adaptive quadrature, identities, finite differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, optimize
from scipy.special import expit, log_expit

from skdep._normal_mean import (
    logistic_derivatives,
    logistic_normal_derivatives,
    logistic_normal_mean,
    logistic_normal_moments,
)

MEANS = [-600.0, -120.0, -40.0, -13.0, -12.0, -5.0, -1.3, -0.2, 0.0, 0.4, 2.5, 7.0, 30.0, 300.0]
VARIANCES = [1e-3, 0.02, 0.15, 0.17, 0.6, 1.0, 3.0, 9.0, 24.9, 25.1, 60.0, 150.0, 1e4, 1e8]


def by_quadrature(mean, variance, factor=lambda eta: 1.0):
    """Mean of f times a factor by adaptive quadrature, in units of the largest value of f times the density."""
    sd = np.sqrt(variance)

    def log_height(eta):
        return log_expit(eta) - 0.5 * (eta - mean) ** 2 / variance

    lowest, highest = min(mean, 0.0) - 1.0, max(mean, 0.0) + variance + 1.0
    peak = optimize.brentq(lambda eta: expit(-eta) - (eta - mean) / variance, lowest, highest, xtol=1e-12)
    top = log_height(peak)
    ends = np.array([-40.0, -10.0, -3.0, -1.0, 0.0, 1.0, 3.0, 10.0, 40.0])
    points = np.unique(np.clip([*(peak + 0.25 * sd * ends), *ends], peak - 40.0 * sd, peak + 40.0 * sd))
    pieces = [
        integrate.quad(lambda eta: np.exp(log_height(eta) - top) * factor(eta), a, b, epsabs=0.0, epsrel=1e-12)[0]
        for a, b in pairwise(points)
    ]
    return np.sum(pieces) / (sd * np.sqrt(2.0 * np.pi)) * np.exp(top)


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("variance", VARIANCES)
def test_against_adaptive_quadrature(variance):
    means = np.array(MEANS)
    expected = [by_quadrature(mean, variance) for mean in means]
    slopes = np.array([by_quadrature(mean, variance, lambda eta: expit(-eta)) for mean in -np.abs(means)])
    bends = [by_quadrature(m, variance, lambda eta: expit(-eta) * (1.0 - 2.0 * expit(eta))) for m in -np.abs(means)]
    found, by_mean, by_variance = logistic_normal_derivatives(means, variance)
    assert_allclose(found, expected, rtol=1e-11, atol=1e-280)
    assert_allclose(by_mean, slopes, rtol=1e-11, atol=1e-280)
    at_most = 1e-11 * slopes + 1e-280
    assert np.all(np.abs(by_variance - np.where(means > 0, -0.5, 0.5) * bends) <= at_most)


def test_small_probabilities_of_the_exponential_tail():
    """Far out f is exp, whose mean is exp(m + v/2)."""
    variance = np.array([0.1, 1.0, 4.0, 30.0])
    mean = -60.0 - 2.0 * variance
    exact = np.exp(mean + 0.5 * variance)
    assert_allclose(logistic_normal_mean(mean, variance), exact, rtol=1e-12)
    assert_allclose(logistic_normal_derivatives(mean, variance)[2], 0.5 * exact, rtol=1e-12)


def test_both_outcomes():
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(scale=20.0, size=300), rng.exponential(30.0, size=300)
    assert_allclose(logistic_normal_mean(mean, variance) + logistic_normal_mean(-mean, variance), 1.0, rtol=1e-15)
    assert_allclose(logistic_normal_mean(np.zeros(3), [0.5, 10.0, 1e6]), 0.5, rtol=1e-14)


def test_without_variance():
    eta = np.array([-800.0, -3.0, 0.0, 0.5, 40.0])
    assert_array_equal(logistic_normal_mean(eta, 0.0), expit(eta))
    assert_allclose(logistic_normal_mean(eta, [0.0, 0.0, 0.0, 0.0, 2.0])[:4], expit(eta[:4]), rtol=1e-14)
    assert_array_equal(logistic_normal_mean(eta, -1e-18), expit(eta))
    moments = logistic_normal_moments(np.linspace(-9.0, 9.0, 50), 0.0, 4)
    assert_allclose(moments, logistic_derivatives(np.linspace(-9.0, 9.0, 50), 4), rtol=1e-12, atol=1e-18)


def test_derivatives_are_differences():
    """Each moment is the derivative of the one before by the mean, and half of the next but one that by variance."""
    rng = np.random.default_rng(1)
    mean, variance = rng.normal(scale=4.0, size=200), rng.exponential(12.0, size=200) + 0.01
    step = 1e-4
    moments = logistic_normal_moments(mean, variance, 4)
    change = logistic_normal_moments(mean + step, variance, 3) - logistic_normal_moments(mean - step, variance, 3)
    assert_allclose(moments[1:], change / (2.0 * step), rtol=1e-5, atol=1e-9)
    step = 1e-3 * variance
    above, below = logistic_normal_moments(mean, variance + step, 2), logistic_normal_moments(mean, variance - step, 2)
    assert_allclose(0.5 * moments[2:], (above - below) / (2.0 * step), rtol=1e-4, atol=1e-7)


def test_rows_do_not_depend_on_each_other():
    """Blocks have the nodes of their widest density: results agree to rounding, in any company and order."""
    rng = np.random.default_rng(2)
    mean, variance = rng.normal(scale=3.0, size=30_000), rng.exponential(8.0, size=30_000)
    variance[:50] = 0.0
    together = logistic_normal_moments(mean, variance, 2)
    some = rng.choice(30_000, 60, replace=False)
    alone = np.column_stack([logistic_normal_moments(mean[i : i + 1], variance[i : i + 1], 2) for i in some])
    assert_allclose(together[:2, some], alone[:2], rtol=1e-12)
    assert_allclose(together[2, some], alone[2], atol=1e-13)
    grid = logistic_normal_mean(mean[:6].reshape(2, 3), np.array([[1.0], [2.0]]))
    assert_allclose(grid[1], logistic_normal_mean(mean[3:6], 2.0), rtol=1e-13)
    assert logistic_normal_moments(np.zeros(0), np.zeros(0), 3).shape == (4, 0)
