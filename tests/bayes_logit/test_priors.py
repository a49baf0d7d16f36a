"""Priors of single parameters: against SciPy's distributions, quadrature, finite differences and their own draws."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats

from skdep.bayes.distribution import stack
from skdep.bayes.priors import Cauchy, Laplace, LogF, LogisticPrior, Normal, StudentT
from skdep.bayes.scale_priors import Exponential, HalfCauchy, HalfNormal, HalfStudentT, LogNormal

PRIORS = {
    "normal": (Normal(0.3, 2.0), stats.norm(0.3, 2.0)),
    "student": (StudentT(4, -1.0, 2.5), stats.t(4, -1.0, 2.5)),
    "cauchy": (Cauchy(0.5, 2.5), stats.cauchy(0.5, 2.5)),
    "laplace": (Laplace(0.2, 1.5), stats.laplace(0.2, 1.5)),
    "logistic": (LogisticPrior(-0.4, 1.2), stats.logistic(-0.4, 1.2)),
    "log_f": (LogF(2.0, 5.0, 0.7), None),
    "log_f_small": (LogF(0.3, 0.5), None),
}
SCALES = {
    "half_normal": (HalfNormal(1.7), stats.halfnorm(scale=1.7)),
    "half_student": (HalfStudentT(4, 1.3), None),
    "half_cauchy": (HalfCauchy(0.8), stats.halfcauchy(scale=0.8)),
    "exponential": (Exponential(0.6), stats.expon(scale=0.6)),
    "log_normal": (LogNormal(0.5, 0.4), stats.lognorm(0.4, scale=0.5)),
}
SHARES = np.array([0.001, 0.025, 0.3, 0.5, 0.8, 0.999])
priors = pytest.mark.parametrize("name", PRIORS)
scales = pytest.mark.parametrize("name", SCALES)


def derivative(function, x, step=1e-5):
    """Central differences, of fourth order."""
    near = function(x + step) - function(x - step)
    far = function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * step)


@priors
def test_densities_are_normalised(name):
    prior = PRIORS[name][0]
    # by parts at the quantiles, so that heavy tails are no trouble for the quadrature
    ends = [-np.inf, *prior.quantile(np.array([0.01, 0.5, 0.99])), np.inf]
    parts = [integrate.quad(lambda x: np.exp(prior.log_density(x)), a, b)[0] for a, b in pairwise(ends)]
    assert_allclose(parts, [0.01, 0.49, 0.49, 0.01], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, (_, other) in PRIORS.items() if other is not None])
def test_against_scipy(name):
    prior, other = PRIORS[name]
    x = np.linspace(-30, 30, 41)
    assert_allclose(prior.log_density(x), other.logpdf(x), rtol=1e-12, atol=1e-13)
    assert_allclose(prior.cdf(x), other.cdf(x), rtol=1e-9)
    assert_allclose(prior.quantile(SHARES), other.ppf(SHARES), rtol=1e-9)
    assert_allclose(prior.sd, other.std())
    assert_allclose(prior.mean, other.mean())


@priors
def test_derivatives(name):
    prior = PRIORS[name][0]
    x = np.array([-12.0, -2.0, -0.7, 0.9, 3.0, 25.0])
    assert_allclose(prior.gradient(x), derivative(prior.log_density, x), rtol=1e-7, atol=1e-9)
    assert_allclose(prior.second_derivative(x), derivative(prior.gradient, x), rtol=1e-7, atol=1e-9)
    assert_allclose(prior.smoothed().gradient(x), derivative(prior.smoothed().log_density, x), rtol=1e-7, atol=1e-9)
    assert_allclose(
        prior.smoothed().second_derivative(x), derivative(prior.smoothed().gradient, x), rtol=1e-6, atol=1e-9
    )


@priors
def test_curvature_is_at_least_that_of_the_density_and_never_negative(name):
    prior = PRIORS[name][0].smoothed()
    x = np.linspace(-50, 50, 201)
    assert (prior.curvature(x) >= 0).all()
    assert (prior.curvature(x) >= -prior.second_derivative(x) - 1e-14).all()


@pytest.mark.parametrize("prior", [StudentT(4, 0.5, 2.0), Cauchy(), Laplace(0.1, 2.0).smoothed()])
def test_curvature_gives_a_parabola_that_bounds_the_density(prior):
    at, x = np.linspace(-20, 20, 23)[:, None], np.linspace(-60, 60, 301)
    parabola = prior.log_density(at) + prior.gradient(at) * (x - at) - 0.5 * prior.curvature(at) * (x - at) ** 2
    assert (parabola <= prior.log_density(x) + 1e-9).all()


@priors
def test_draws_follow_the_distribution(name):
    prior = PRIORS[name][0]
    draws = prior.sample(np.random.default_rng(5), 20_000)
    assert stats.kstest(draws, prior.cdf).pvalue > 1e-3
    assert_array_equal(prior.sample(7, (3, 2)), prior.sample(np.random.default_rng(7), (3, 2)))
    assert np.ndim(prior.sample(1)) == 0


@priors
def test_quantiles_invert_the_distribution_function(name):
    prior = PRIORS[name][0]
    assert_allclose(prior.cdf(prior.quantile(SHARES)), SHARES, rtol=1e-9)
    assert prior.interval(0.5) == (prior.quantile(0.25), prior.quantile(0.75))


@priors
@pytest.mark.parametrize("factor", [0.2, 3.0, -2.0])
def test_scaled_is_the_density_of_the_product(name, factor):
    prior = PRIORS[name][0]
    x = np.array([-3.0, -0.2, 0.4, 5.0])
    expected = prior.log_density(x / factor) - np.log(abs(factor))
    assert_allclose(prior.scaled(factor).log_density(x), expected, rtol=1e-12)


def test_logistic_prior_is_a_uniform_probability():
    draws = special.expit(LogisticPrior().sample(3, 20_000))
    assert stats.kstest(draws, "uniform").pvalue > 1e-3


def test_log_f_is_a_beta_probability():
    p = np.array([0.001, 0.2, 0.7, 0.99])
    prior = LogF(2.5, 0.8)
    # density of p times dp / dx
    expected = stats.beta(2.5, 0.8).logpdf(p) + np.log(p * (1 - p))
    assert_allclose(prior.log_density(special.logit(p)), expected, rtol=1e-12)
    assert_allclose(special.expit(prior.quantile(SHARES)), stats.beta(2.5, 0.8).ppf(SHARES), rtol=1e-9)
    assert_allclose(LogF(1, 1).log_density(p), LogisticPrior().log_density(p))


def test_log_f_moments_and_published_range():
    prior = LogF(0.4, 1.7, 2.0)
    mean = integrate.quad(lambda x: x * np.exp(prior.log_density(x)), -200, 100)[0]
    square = integrate.quad(lambda x: x * x * np.exp(prior.log_density(x)), -200, 100)[0]
    assert_allclose([prior.mean, prior.sd], [mean, np.sqrt(square - mean**2)], rtol=1e-6)
    # log-F(1, 1): 95% of odds ratios within 1/648 and 648 (Greenland and Mansournia 2015)
    assert round(np.exp(LogF(0.5, 0.5).interval()[1])) == 648


def test_log_f_in_its_far_tails():
    prior = LogF(0.01, 0.02)
    assert np.isfinite(prior.sample(0, 5_000)).all()
    assert_allclose(prior.log_density(np.array([-5_000.0, 5_000.0])) + special.betaln(0.01, 0.02), [-50.0, -100.0])
    # the upper tail from its own end: the probability itself rounds to 1
    assert_allclose(LogF(9.0, 1.0).quantile(1 - 2.0**-50), -np.log(2.0**-50 / 9), rtol=1e-9)


@pytest.mark.parametrize(("df", "mean", "sd"), [(0.5, np.nan, np.nan), (1.5, 0.0, np.inf), (6.0, 0.0, np.sqrt(1.5))])
def test_moments_that_do_not_exist(df, mean, sd):
    prior = StudentT(df, 0, 1)
    assert_allclose([prior.mean, prior.sd], [mean, sd])


def test_laplace_is_rough_and_its_twin_is_close():
    prior = Laplace(0, 2)
    x = np.linspace(-40, 40, 81)
    ratio = prior.log_density(x) - prior.smoothed().log_density(x)
    assert not prior.smooth
    assert prior.smoothed().smooth
    assert np.ptp(ratio) <= 0.5 + 1e-12  # the weights of a proposal under it are bounded
    total = integrate.quad(lambda x: np.exp(prior.smoothed().log_density(x)), -np.inf, np.inf)[0]
    assert_allclose(total, 1.0, rtol=1e-7)


@scales
def test_scale_densities_are_normalised(name):
    prior = SCALES[name][0]
    log_ends = [-np.inf, *np.log(prior.quantile(np.array([0.01, 0.5, 0.99]))), np.inf]
    shares = [0.01, 0.49, 0.49, 0.01]
    of_log = [integrate.quad(lambda t: np.exp(prior.log_density_of_log(t)), a, b)[0] for a, b in pairwise(log_ends)]
    assert_allclose(of_log, shares, rtol=1e-6)
    ends = [0.0, *prior.quantile(np.array([0.01, 0.5, 0.99])), np.inf]
    of_sd = [integrate.quad(lambda sd: np.exp(prior.log_density(sd)), a, b)[0] for a, b in pairwise(ends)]
    assert_allclose(of_sd, shares, rtol=1e-6)


@scales
def test_scale_derivatives(name):
    prior = SCALES[name][0]
    t = np.array([-6.0, -1.5, -0.2, 0.4, 1.8])
    assert_allclose(prior.gradient_of_log(t), derivative(prior.log_density_of_log, t), rtol=1e-7, atol=1e-8)
    assert_allclose(prior.second_derivative_of_log(t), derivative(prior.gradient_of_log, t), rtol=1e-7, atol=1e-8)
    view = prior.of_log()
    assert_array_equal(view.log_density(t), prior.log_density_of_log(t))
    assert_array_equal(view.curvature(t), -prior.second_derivative_of_log(t))
    assert_allclose(view.sample(2, 5), np.log(prior.sample(2, 5)))


@scales
def test_scale_draws_and_quantiles(name):
    prior, other = SCALES[name]
    assert stats.kstest(prior.sample(11, 20_000), prior.cdf).pvalue > 1e-3
    assert_allclose(prior.cdf(prior.quantile(SHARES)), SHARES, rtol=1e-9)
    if other is not None:
        x = np.array([1e-6, 0.1, 1.0, 7.0])
        assert_allclose(prior.log_density(x), other.logpdf(x), rtol=1e-10)
        assert_allclose([prior.mean, prior.sd], [other.mean(), other.std()])
        assert_allclose(prior.quantile(SHARES), other.ppf(SHARES), rtol=1e-9)


def test_half_student_is_twice_student():
    prior, sd = HalfStudentT(4, 1.3), np.array([0.0, 0.2, 4.0])
    assert_allclose(prior.log_density(sd), np.log(2) + stats.t(4, 0, 1.3).logpdf(sd))
    mean = integrate.quad(lambda x: x * np.exp(prior.log_density(x)), 0, np.inf)[0]
    square = integrate.quad(lambda x: x * x * np.exp(prior.log_density(x)), 0, np.inf)[0]
    assert_allclose([prior.mean, prior.sd], [mean, np.sqrt(square - mean**2)], rtol=1e-6)


@scales
def test_scale_densities_at_extremes(name):
    prior = SCALES[name][0]
    t = np.array([-900.0, 900.0])
    for values in (prior.log_density_of_log(t), prior.gradient_of_log(t), prior.second_derivative_of_log(t)):
        assert not np.isnan(values).any()
    assert (prior.log_density_of_log(t) < -600).all()
    assert prior.log_density(-0.1) == -np.inf
    x = np.array([0.1, 2.0])
    assert_allclose(prior.scaled(3.0).log_density(x), prior.log_density(x / 3.0) - np.log(3.0))


@pytest.mark.parametrize("kind", [StudentT, LogF, HalfStudentT, Laplace, LogisticPrior])
def test_stacked_priors_equal_single_ones(kind):
    members = [kind(), kind(scale=0.3), kind(scale=2.0)]
    together, x = stack(members), np.array([[0.4, 1.2, 3.0], [0.1, 5.0, 0.2]])
    singles = np.column_stack([prior.log_density(x[:, k]) for k, prior in enumerate(members)])
    assert_allclose(together.log_density(x), singles, rtol=1e-14)
    medians = np.median(together.sample(1, (4000, 3)) / [members[0].scale, 0.3, 2.0], axis=0)
    assert_allclose(medians, members[0].quantile(0.5) / members[0].scale, atol=0.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0, 0), "scale should be greater than 0"),
        (lambda: Normal(0, -1), "scale should be greater than 0"),
        (lambda: Normal(np.nan, 1), "loc should be a finite number"),
        (lambda: Normal(0, [1.0, 2.0]), "pass a dict"),
        (lambda: StudentT(df=0), "df should be greater than 0"),
        (lambda: LogF(a="x"), "a should be a finite number"),
        (lambda: HalfNormal(np.inf), "scale should be a finite number"),
        (lambda: Normal().scaled(0), "factor of a scaled prior"),
        (lambda: LogF().scaled(0), "factor of a scaled prior"),
        (lambda: HalfNormal().scaled(-1), "factor of a scaled prior"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("prior", [Normal(0, 2.5), LogF(1, 2), HalfStudentT(), LogNormal(0.4, 0.2)])
def test_priors_are_values(prior):
    assert copy.deepcopy(prior) == prior
    assert pickle.loads(pickle.dumps(prior)) == prior
    assert hash(prior) == hash(copy.copy(prior))
    assert prior != prior.scaled(2.0)
    assert eval(repr(prior)) == prior
    with pytest.raises(AttributeError):
        prior.scale = 1.0
