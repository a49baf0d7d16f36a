"""The LKJ prior and its coordinates: closed forms, Jacobians, marginal distributions, round trips."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skdep.bayes.lkj import (
    LKJ,
    correlation_cholesky,
    correlation_cholesky_derivatives,
    n_correlations,
    unconstrained_correlations,
)

sizes = pytest.mark.parametrize("q", [2, 3, 4])


def points(q: int, n: int = 6, spread: float = 1.0) -> np.ndarray:
    return spread * np.random.default_rng(q).standard_normal((n, n_correlations(q)))


def matrix_entries(y: np.ndarray, q: int) -> np.ndarray:
    factor = correlation_cholesky(y, q)
    return (factor @ factor.T)[np.tril_indices(q, -1)]


def differences(function, y: np.ndarray, step: float = 1e-6) -> np.ndarray:
    steps = step * np.eye(len(y))
    return np.stack([(function(y + each) - function(y - each)) / (2 * step) for each in steps], axis=-1)


@sizes
def test_factors_are_of_correlation_matrices(q):
    factor = correlation_cholesky(points(q, spread=2.0), q)
    assert_allclose(np.sum(factor**2, axis=-1), 1.0, rtol=1e-14)
    assert_allclose(factor, np.tril(factor))
    assert (np.diagonal(factor, axis1=-2, axis2=-1) > 0).all()


@sizes
@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
def test_round_trips(q, spread):
    y = points(q, 40, spread)
    assert_allclose(unconstrained_correlations(correlation_cholesky(y, q)), y, rtol=1e-9, atol=1e-12)
    matrices = LKJ(1.5).sample(3, 20, q=q)
    factor = np.linalg.cholesky(matrices)
    assert_allclose(correlation_cholesky(unconstrained_correlations(factor), q), factor, atol=1e-13)


def test_coordinates_are_partial_correlations():
    R = LKJ(1).sample(8, q=3)
    partial = (R[2, 1] - R[1, 0] * R[2, 0]) / np.sqrt((1 - R[1, 0] ** 2) * (1 - R[2, 0] ** 2))
    y = unconstrained_correlations(np.linalg.cholesky(R))
    assert_allclose(np.tanh(y), [R[1, 0], R[2, 0], partial], rtol=1e-12)


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.0, 5.0])
def test_two_effects_in_closed_form(eta):
    y = np.linspace(-3, 3, 13)
    rho = np.tanh(y)
    expected = stats.beta(eta, eta).logpdf(0.5 * (1 + rho)) - np.log(2) + np.log1p(-(rho**2))
    assert_allclose(LKJ(eta).log_density(y[:, None], 2), expected, rtol=1e-10)


@sizes
@pytest.mark.parametrize("eta", [1.0, 2.5])
def test_density_is_that_of_the_matrix_times_the_jacobian(q, eta):
    prior = LKJ(eta)
    for y in points(q):
        factor = correlation_cholesky(y, q)
        jacobian = differences(lambda y: matrix_entries(y, q), y)
        expected = prior.log_density_of_matrix(factor @ factor.T) + np.linalg.slogdet(jacobian)[1]
        assert_allclose(prior.log_density(y, q), expected, rtol=1e-6, atol=1e-6)


def test_uniform_density_is_one_over_the_volume():
    # correlation matrices of 3 variables fill pi^2 / 2 of the cube, those of 2 the interval of length 2
    assert_allclose(LKJ(1).log_density_of_matrix(np.eye(3)), -np.log(np.pi**2 / 2))
    assert_allclose(LKJ(1).log_density_of_matrix(np.eye(2)), -np.log(2))


def test_density_of_three_effects_is_normalised():
    grid = np.linspace(-9, 9, 61)
    mesh = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1)
    total = np.exp(LKJ(2).log_density(mesh, 3)).sum() * (grid[1] - grid[0]) ** 3
    assert_allclose(total, 1.0, rtol=1e-6)


@sizes
def test_gradient(q):
    prior = LKJ(1.7)
    for y in points(q, 3):
        assert_allclose(prior.gradient(y, q), differences(lambda y: prior.log_density(y, q), y), rtol=1e-6, atol=1e-8)


@sizes
def test_derivatives_of_the_factor(q):
    y = points(q, 3)
    found = correlation_cholesky_derivatives(y, q)
    for each, derivatives in zip(y, found):
        assert_allclose(derivatives, differences(lambda y: correlation_cholesky(y, q), each), atol=1e-9)


@sizes
@pytest.mark.parametrize("eta", [1.0, 2.0])
def test_every_correlation_is_beta(q, eta):
    draws = LKJ(eta).sample(np.random.default_rng(4), 8_000, q=q)
    shape = eta - 1 + q / 2
    for i, j in zip(*np.tril_indices(q, -1)):
        assert stats.kstest(0.5 * (1 + draws[:, i, j]), stats.beta(shape, shape).cdf).pvalue > 1e-3
    low, high = LKJ(eta).correlation(q).interval(0.9)
    assert_allclose([low, high], 2 * stats.beta(shape, shape).ppf([0.05, 0.95]) - 1, rtol=1e-9)


def test_published_range_of_the_default():
    # LKJ(2) of two effects: 95% of correlations within 0.81 of 0
    assert_allclose(LKJ(2).correlation(2).interval(0.95), [-0.81, 0.81], atol=0.005)


def test_draws_of_determinants():
    # the determinant is the product of 1 - z^2 of independent z: mean by closed form
    eta, q = 2.0, 3
    shapes = np.array([eta + 0.5, eta + 0.5, eta])
    mean_of_one = shapes / (2 * shapes + 1) * 2  # 4 E[b (1 - b)] of b ~ Beta(c, c)
    found = np.linalg.det(LKJ(eta).sample(1, 40_000, q=q))
    assert_allclose(found.mean(), np.prod(mean_of_one), atol=5 * found.std() / 200)


def test_near_perfect_correlation():
    y = np.array([[14.0, -12.0, 9.0]])
    factor = correlation_cholesky(y, 3)
    assert (np.diagonal(factor, axis1=-2, axis2=-1) > 0).all()
    assert_allclose(unconstrained_correlations(factor), y, rtol=1e-12)
    assert np.isfinite(LKJ(2).log_density(50 * y, 3)).all()


def test_one_effect_has_no_correlation():
    assert correlation_cholesky(np.zeros((5, 0)), 1).tolist() == [[[1.0]]] * 5
    with pytest.raises(ValueError, match="eta should be greater than 0"):
        LKJ(0)
