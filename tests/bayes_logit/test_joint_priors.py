"""The multivariate normal prior and the regularised horseshoe."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats

from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.priors import Normal

LOC = np.array([0.5, -1.0, 2.0])
COVARIANCE = np.array([[2.0, 0.3, -0.4], [0.3, 0.5, 0.1], [-0.4, 0.1, 1.0]])


def differences(function, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    steps = step * np.eye(len(x))
    return np.stack([(function(x + each) - function(x - each)) / (2 * step) for each in steps], axis=-1)


def normals() -> list[MultivariateNormal]:
    return [MultivariateNormal(LOC, COVARIANCE), MultivariateNormal(LOC, precision=np.linalg.inv(COVARIANCE))]


@pytest.mark.parametrize("prior", normals(), ids=["covariance", "precision"])
def test_normal_against_scipy(prior):
    x = np.random.default_rng(0).standard_normal((7, 2, 3))
    assert_allclose(prior.log_density(x), stats.multivariate_normal(LOC, COVARIANCE).logpdf(x), rtol=1e-12)
    assert_allclose(prior.covariance, COVARIANCE, rtol=1e-12)
    assert_allclose(prior.precision, np.linalg.inv(COVARIANCE), rtol=1e-10)
    assert_allclose(prior.gradient(x[0, 0]), differences(prior.log_density, x[0, 0]), rtol=1e-7)
    draws = prior.sample(2, 50_000)
    assert_allclose(draws.mean(axis=0), LOC, atol=0.03)
    assert_allclose(np.cov(draws.T), COVARIANCE, atol=0.04)
    assert prior.sample(1).shape == (3,)
    assert prior.sample(1, (2, 4)).shape == (2, 4, 3)


def test_maps_and_marginals():
    prior = normals()[0]
    A = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -3.0], [1.0, 0.0, 1.0]])
    x = np.array([0.3, 0.1, 1.0])
    mapped = prior.mapped(A, 2.0)
    assert_allclose(mapped.log_density(A @ x + 2.0), prior.log_density(x) - np.linalg.slogdet(A)[1], rtol=1e-10)
    assert_allclose(prior.scaled([1.0, 2.0, -3.0]).log_density(x * [1, 2, -3]), prior.log_density(x) - np.log(6))
    first_two = prior.mapped(A[:2])
    assert_allclose(first_two.covariance, A[:2] @ COVARIANCE @ A[:2].T)
    assert_allclose([prior.marginal(1).loc, prior.marginal(1).scale], [-1.0, np.sqrt(0.5)])
    assert isinstance(prior.marginal(1), Normal)


def test_scales_of_many_orders():
    scales = np.array([1e-9, 1.0, 1e9])
    prior = MultivariateNormal(LOC * scales, COVARIANCE * np.outer(scales, scales))
    expected = normals()[0].log_density(np.zeros(3)) - np.log(scales).sum()
    assert_allclose(prior.log_density(np.zeros(3)), expected, rtol=1e-10)


def test_normal_of_draws():
    draws = np.random.default_rng(3).standard_normal((4, 100, 2))
    prior = MultivariateNormal.from_draws(draws)
    assert_allclose(prior.loc, draws.mean(axis=(0, 1)))
    assert_allclose(prior.covariance, np.cov(draws.reshape(-1, 2).T))
    assert MultivariateNormal.from_draws(draws[..., :1]).covariance.shape == (1, 1)


def test_normals_are_values():
    prior = normals()[0]
    assert copy.deepcopy(prior) == prior
    assert pickle.loads(pickle.dumps(prior)) == prior
    assert hash(copy.copy(prior)) == hash(prior)
    assert prior != prior.scaled(2.0)
    with pytest.raises(ValueError, match="read-only"):
        prior.loc[0] = 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(covariance=None), "either covariance or precision"),
        (dict(covariance=np.eye(3), precision=np.eye(3)), "either covariance or precision"),
        (dict(covariance=np.eye(2)), r"shape \(3, 3\)"),
        (dict(covariance=np.eye(3) + np.eye(3, k=1)), "symmetric"),
        (dict(covariance=np.ones((3, 3))), "positive definite"),
        (dict(covariance=-np.eye(3)), "diagonal is not positive"),
        (dict(covariance=np.full((3, 3), np.nan)), "finite"),
    ],
)
def test_bad_normals(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultivariateNormal(LOC, **arguments)


def test_horseshoe_slopes_by_their_definition():
    prior, raw = Horseshoe(0.1), np.random.default_rng(1).standard_normal((5, 8))
    z, local, tau, c = raw[:, :3], np.exp(raw[:, 3:6]), np.exp(raw[:, 6:7]), np.exp(raw[:, 7:])
    regularised = np.sqrt(c**2 * local**2 / (c**2 + tau**2 * local**2))
    assert_allclose(prior.coefficients(raw), z * tau * regularised, rtol=1e-12)


def test_horseshoe_density_is_normalised():
    prior = Horseshoe(global_scale=0.3, slab_scale=1.5, slab_df=5, local_df=2, global_df=3)
    raw = np.array([0.3, -0.5, 0.2, 0.4])
    # entries are independent: integrate over each, the others held
    for place in range(4):

        def density(value, place=place):
            x = raw.copy()
            x[place] = value
            return np.exp(prior.log_density(x))

        share = integrate.quad(density, -60, 60, limit=200, points=[0])[0] / density(raw[place])
        others = np.delete(np.arange(4), place)
        margins = [
            stats.norm.pdf(raw[0]),
            2 * stats.t(2).pdf(np.exp(raw[1])) * np.exp(raw[1]),
            2 * stats.t(3, 0, 0.3).pdf(np.exp(raw[2])) * np.exp(raw[2]),
            stats.invgamma(2.5, scale=2.5 * 1.5**2).pdf(np.exp(2 * raw[3])) * 2 * np.exp(2 * raw[3]),
        ]
        assert_allclose(1 / share, margins[place], rtol=1e-6)
        assert_allclose(density(raw[place]), margins[place] * np.prod(np.array(margins)[others]), rtol=1e-10)


def test_horseshoe_derivatives():
    prior = Horseshoe(0.2, slab_df=3, local_df=2)
    x = np.random.default_rng(2).standard_normal(8)
    assert_allclose(prior.gradient(x), differences(prior.log_density, x), rtol=1e-6, atol=1e-8)
    target = np.array([0.7, -1.0, 2.0])
    expected = differences(lambda x: target @ prior.coefficients(x), x)
    assert_allclose(prior.pull_back(x, target), expected, rtol=1e-6, atol=1e-9)
    batch = np.stack([x, x + 1])
    assert_allclose(prior.pull_back(batch, np.stack([target, target]))[0], expected, rtol=1e-6, atol=1e-9)


def test_horseshoe_draws():
    prior = Horseshoe(0.5, slab_scale=1.2, slab_df=6, local_df=3, global_df=4)
    raw = prior.sample_raw(5, 20_000, 2)
    assert stats.kstest(raw[:, 1], "norm").pvalue > 1e-3
    assert stats.kstest(np.exp(raw[:, 2]), lambda x: 2 * special.stdtr(3, x) - 1).pvalue > 1e-3
    assert stats.kstest(np.exp(raw[:, 4]), lambda x: 2 * special.stdtr(4, x / 0.5) - 1).pvalue > 1e-3
    assert stats.kstest(np.exp(2 * raw[:, 5]), stats.invgamma(3, scale=3 * 1.2**2).cdf).pvalue > 1e-3
    assert_allclose(prior.interval(0.9)[0], -prior.interval(0.9)[1])
    inside = np.abs(prior.sample(9, 40_000)[:, 0]) < prior.interval(0.9)[1]
    assert_allclose(inside.mean(), 0.9, atol=0.01)


def test_slab_alone_is_student_t():
    # with huge global and local scales only the slab is left
    slopes = Horseshoe(1e6, slab_scale=2.0, slab_df=5, local_df=50, global_df=50).sample(1, 20_000)
    assert stats.kstest(slopes[:, 0] / 2.0, stats.t(5).cdf).pvalue > 1e-3


def test_expected_number_of_features_that_matter():
    # Piironen and Vehtari (2017): the mean number of slopes not shrunk, sum of 1 - 1 / (1 + n tau^2 lambda^2 / 4),
    # is n_relevant at tau = the global scale
    prior = Horseshoe.expecting(4, 100, 900, slab_scale=3.0)
    local = np.abs(np.random.default_rng(6).standard_cauchy(400_000))
    kept = 1 - 1 / (1 + 900 / 4 * prior.global_scale**2 * local**2)
    assert_allclose(100 * kept.mean(), 4.0, rtol=0.02)
    assert prior.slab_scale == 3.0
    with pytest.raises(ValueError, match="n_relevant"):
        Horseshoe.expecting(5, 5, 100)
