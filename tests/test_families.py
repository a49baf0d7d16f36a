"""Families: quasi-likelihood calculus, deviances of other libraries, ranges of the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_gamma_deviance, mean_poisson_deviance, mean_squared_error, mean_tweedie_deviance

from skdep import links
from skdep.families import FAMILIES, Binomial, Family, Gamma, Gaussian, NegativeBinomial, Poisson, get_family

Y = {
    "gaussian": np.array([-2.0, 0.0, 0.7, 3.0]),
    "binomial": np.array([0.0, 1.0, 0.25, 0.8]),
    "poisson": np.array([0.0, 1.0, 4.0, 11.0]),
    "gamma": np.array([0.2, 1.0, 4.0, 11.0]),
    "inverse_gaussian": np.array([0.2, 1.0, 4.0, 11.0]),
    "negative_binomial": np.array([0.0, 1.0, 4.0, 11.0]),
}
MU = {
    "gaussian": np.array([-1.0, 0.3, 0.5, 1.0]),
    "binomial": np.array([0.1, 0.7, 0.35, 0.5]),
    **dict.fromkeys(["poisson", "gamma", "inverse_gaussian", "negative_binomial"], np.array([0.4, 1.7, 3.0, 9.0])),
}
ALL = [get_family(name) for name in FAMILIES] + [NegativeBinomial(0.3)]
by_name = pytest.mark.parametrize("family", ALL, ids=repr)


def test_every_family_is_tested():
    assert set(Y) == set(MU) == set(FAMILIES)


@by_name
def test_slope_of_quasi_likelihood_is_residual_over_variance(family):
    y, mu = Y[family.name], MU[family.name]
    step = 1e-5
    slope = (family.quasi_likelihood(y, mu + step) - family.quasi_likelihood(y, mu - step)) / (2 * step)
    np.testing.assert_allclose(slope, (y - mu) / family.variance(mu), rtol=1e-7, atol=1e-9)


@by_name
def test_deviance_is_twice_the_loss_of_quasi_likelihood(family):
    y, mu = Y[family.name], MU[family.name]
    inside = np.where(y == 0, 1e-300, y) if family.lower == 0 else y
    expected = 2 * (family.quasi_likelihood(y, inside) - family.quasi_likelihood(y, mu))
    np.testing.assert_allclose(family.deviance(y, mu), expected, rtol=1e-10)
    saturated = inside[family.variance(inside) > 0]
    np.testing.assert_allclose(family.deviance(saturated, saturated), 0.0, atol=1e-13)


@by_name
def test_deviance_near_the_outcome_is_pearson(family):
    """To second order the deviance is (y - mu)^2 / V(mu); it is never negative."""
    y = Y[family.name][2:]
    mu = y * (1 + 1e-4)
    np.testing.assert_allclose(family.deviance(y, mu), (y - mu) ** 2 / family.variance(mu), rtol=1e-3)


@pytest.mark.parametrize("family", [Poisson(), NegativeBinomial(1e-8), Gamma()], ids=repr)
def test_deviance_does_not_cancel_for_large_means(family):
    y = np.array([1e8])
    mu = y + 1e3
    expected = (y - mu) ** 2 / family.variance(mu)
    np.testing.assert_allclose(family.deviance(y, mu), expected, rtol=0.05)


def test_deviance_against_scikit_learn():
    y, mu = np.array([0.5, 2.0, 3.0]), np.array([1.0, 1.5, 4.0])
    assert get_family("gaussian").deviance(y, mu).mean() == pytest.approx(mean_squared_error(y, mu), rel=1e-14)
    assert get_family("poisson").deviance(y, mu).mean() == pytest.approx(mean_poisson_deviance(y, mu), rel=1e-12)
    assert get_family("gamma").deviance(y, mu).mean() == pytest.approx(mean_gamma_deviance(y, mu), rel=1e-12)
    tweedie = mean_tweedie_deviance(y, mu, power=3)
    assert get_family("inverse_gaussian").deviance(y, mu).mean() == pytest.approx(tweedie, rel=1e-12)


def test_deviance_against_log_likelihoods():
    """Where a likelihood exists, differences of it in mu are differences of the quasi-likelihood."""
    y = np.array([0.0, 1.0, 4.0, 11.0])
    mu = MU["poisson"]
    poisson = stats.poisson.logpmf(y, mu) - stats.poisson.logpmf(y, 2 * mu)
    family = Poisson()
    np.testing.assert_allclose(family.quasi_likelihood(y, mu) - family.quasi_likelihood(y, 2 * mu), poisson, rtol=1e-10)

    family = NegativeBinomial(0.4)
    logpmf = [stats.nbinom.logpmf(y, 1 / 0.4, 1 / (1 + 0.4 * m)) for m in (mu, 2 * mu)]
    np.testing.assert_allclose(
        family.quasi_likelihood(y, mu) - family.quasi_likelihood(y, 2 * mu), logpmf[0] - logpmf[1], rtol=1e-9
    )
    binary = np.array([0.0, 1.0, 1.0])
    p = np.array([0.2, 0.6, 0.9])
    np.testing.assert_allclose(Binomial().quasi_likelihood(binary, p), stats.bernoulli.logpmf(binary, p), rtol=1e-12)
    np.testing.assert_allclose(Binomial().deviance(binary, p), -2 * stats.bernoulli.logpmf(binary, p), rtol=1e-12)


def test_deviance_against_statsmodels():
    sm = pytest.importorskip("statsmodels.genmod.families")
    pairs = [
        (Binomial(), sm.Binomial()),
        (NegativeBinomial(0.7), sm.NegativeBinomial(alpha=0.7)),
        (get_family("inverse_gaussian"), sm.InverseGaussian()),
        (get_family("gaussian"), sm.Gaussian()),
    ]
    for ours, theirs in pairs:
        y, mu = Y[ours.name], MU[ours.name]
        assert ours.deviance(y, mu).sum() == pytest.approx(theirs.deviance(y, mu), rel=1e-10)
        np.testing.assert_allclose(ours.variance(mu), theirs.variance(mu), rtol=1e-14)


def test_variance_against_moments():
    mu = np.array([0.3, 2.0])
    np.testing.assert_allclose(Poisson().variance(mu), stats.poisson.var(mu))
    np.testing.assert_allclose(NegativeBinomial(0.4).variance(mu), stats.nbinom.var(2.5, 1 / (1 + 0.4 * mu)))
    np.testing.assert_allclose(Gamma().variance(mu), stats.gamma.var(1.0, scale=mu))
    np.testing.assert_allclose(get_family("inverse_gaussian").variance(mu), stats.invgauss.var(mu))
    np.testing.assert_allclose(Binomial().variance(np.array([0.3])), stats.bernoulli.var(0.3))
    np.testing.assert_allclose(Gaussian().variance(mu), 1.0)


@by_name
def test_initial_mean_is_inside_the_range(family):
    y = Y[family.name]
    mu = family.initial_mean(y)
    assert family.admissible(mu)
    assert (family.variance(mu) > 0).all()
    assert np.isfinite(family.default_link().link(mu)).all()


@by_name
def test_clip_keeps_the_variance_positive(family):
    extreme = np.array([-1.0, 0.0, 1.0, 50.0])
    clipped = family.clip(extreme)
    assert family.admissible(clipped)
    assert (family.variance(clipped) > 0).all()
    inside = MU[family.name]
    np.testing.assert_array_equal(family.clip(inside), inside)


def test_admissible():
    assert not Poisson().admissible(np.array([1.0, -0.1]))
    assert not Binomial().admissible(np.array([1.1]))
    assert not Gaussian().admissible(np.array([np.nan]))
    assert Gaussian().admissible(np.array([-5.0]))


def test_canonical_links():
    """The canonical link has d eta / d mu = 1 / V(mu), up to sign and a constant factor."""
    for family in ALL[:5]:
        mu = MU[family.name]
        link = family.default_link()
        product = link.inverse_derivative(link.link(mu), mu) / family.variance(mu)
        np.testing.assert_allclose(product, product[0], rtol=1e-12)
    assert NegativeBinomial.default_link is links.Log


@pytest.mark.parametrize(
    ("name", "bad", "interval"),
    [
        ("binomial", 1.5, r"\[0, 1\]"),
        ("binomial", -0.5, r"\[0, 1\]"),
        ("poisson", -1.0, r"\[0, inf\)"),
        ("negative_binomial", -1.0, r"\[0, inf\)"),
        ("gamma", 0.0, r"\(0, inf\)"),
        ("inverse_gaussian", 0.0, r"\(0, inf\)"),
    ],
)
def test_outcomes_outside_the_range_raise(name, bad, interval):
    family = get_family(name)
    y = np.array([0.5, bad, 0.5, bad])
    message = f"2 values are outside the range {interval} of the {name} family, first in row 1"
    with pytest.raises(ValueError, match=message):
        family.check_outcome(y)


@by_name
def test_outcomes_inside_the_range_pass(family):
    family.check_outcome(Y[family.name])


def test_registry():
    for name, cls in FAMILIES.items():
        assert get_family(name) == cls()
        assert cls.name == name
    family = NegativeBinomial(0.5)
    assert get_family(family) is family
    assert family != NegativeBinomial(0.6)
    with pytest.raises(ValueError, match=r"family='normal' is not known; choose one of \['binomial'.*or pass a Family"):
        get_family("normal")


@pytest.mark.parametrize("dispersion", [0.0, -1.0, np.nan, np.inf])
def test_negative_binomial_needs_positive_dispersion(dispersion):
    with pytest.raises(ValueError, match=r"dispersion must be positive and finite.*for 0 use Poisson"):
        NegativeBinomial(dispersion)


@dataclass(frozen=True)
class Power(Family):
    """V(mu) = mu^power: Tweedie."""

    power: float = 1.5
    name: ClassVar[str] = "power"
    default_link = links.Log
    lower = 0.0

    def variance(self, mu):
        return mu**self.power

    def quasi_likelihood(self, y, mu):
        p = self.power
        return y * mu ** (1 - p) / (1 - p) - mu ** (2 - p) / (2 - p)

    def deviance(self, y, mu):
        return 2 * (self.quasi_likelihood(y, y) - self.quasi_likelihood(y, mu))

    def initial_mean(self, y):
        return y + 0.1


def test_user_family():
    family = get_family(Power(1.5))
    y, mu = np.array([0.5, 2.0]), np.array([1.0, 1.5])
    assert family.deviance(y, mu).mean() == pytest.approx(mean_tweedie_deviance(y, mu, power=1.5))
    with pytest.raises(ValueError, match="power family"):
        family.check_outcome(np.array([-1.0]))
    with pytest.raises(NotImplementedError):
        Family().variance(mu)
