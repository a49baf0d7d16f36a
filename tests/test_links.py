"""Links: derivatives by finite differences, round trips, textbook values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from skdep.links import LINKS, Link, get_link

UNIT = np.linspace(0.02, 0.98, 25)
POSITIVE = np.geomspace(0.05, 20.0, 25)
REAL = np.linspace(-4.0, 4.0, 25)
MEANS = {
    "identity": REAL,
    "log": POSITIVE,
    "logit": UNIT,
    "probit": UNIT,
    "cloglog": UNIT,
    "loglog": UNIT,
    "cauchit": UNIT,
    "inverse": POSITIVE,
    "inverse_squared": POSITIVE,
    "sqrt": POSITIVE,
}
# textbook inverses, written apart from the code
INVERSES = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": stats.logistic.cdf,
    "probit": stats.norm.cdf,
    "cloglog": stats.gumbel_l.cdf,
    "loglog": stats.gumbel_r.cdf,
    "cauchit": stats.cauchy.cdf,
    "inverse": lambda eta: 1 / eta,
    "inverse_squared": lambda eta: eta**-0.5,
    "sqrt": lambda eta: eta**2,
}


def test_every_link_is_tested():
    assert set(MEANS) == set(INVERSES) == set(LINKS)


@pytest.mark.parametrize("name", LINKS)
def test_round_trip(name):
    link = get_link(name)
    np.testing.assert_allclose(link.inverse(link.link(MEANS[name])), MEANS[name], rtol=1e-12)


@pytest.mark.parametrize("name", LINKS)
def test_inverse_against_distribution_functions(name):
    link = get_link(name)
    eta = link.link(MEANS[name])
    np.testing.assert_allclose(link.inverse(eta), INVERSES[name](eta), rtol=1e-12)


@pytest.mark.parametrize("name", LINKS)
def test_derivative_by_finite_differences(name):
    link = get_link(name)
    eta = link.link(MEANS[name])
    step = 1e-5 * np.maximum(np.abs(eta), 0.1)
    numeric = (link.inverse(eta + step) - link.inverse(eta - step)) / (2 * step)
    np.testing.assert_allclose(link.inverse_derivative(eta, link.inverse(eta)), numeric, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("size", [40.0, 800.0, 1e8])
def test_extreme_linear_predictors_stay_finite(name, size):
    link = get_link(name)
    eta = np.array([size]) if link.positive else np.array([-size, size])
    with np.errstate(under="ignore"):
        mu = link.inverse(eta)
        derivative = link.inverse_derivative(eta, mu)
    assert np.isfinite(mu).all()
    assert np.isfinite(derivative).all()
    if name in ("logit", "probit", "cloglog", "loglog", "cauchit"):
        assert ((mu >= 0) & (mu <= 1)).all()
        assert (derivative >= 0).all()


@pytest.mark.parametrize("name", LINKS)
def test_admissible(name):
    link = get_link(name)
    assert link.admissible(np.array([0.5, 2.0]))
    assert not link.admissible(np.array([0.5, np.nan]))
    assert not link.admissible(np.array([0.5, np.inf]))
    assert link.admissible(np.array([0.5, -1.0])) == (name not in ("inverse", "inverse_squared", "sqrt"))


def test_registry():
    for name, cls in LINKS.items():
        assert get_link(name) == cls()
        assert get_link(name).name == name
    with pytest.raises(ValueError, match=r"link='logits' is not known; choose one of \['cauchit'.*or pass a Link"):
        get_link("logits")


@dataclass(frozen=True)
class PowerLink(Link):
    power: float = 2.0
    name = "power"

    def link(self, mu):
        return mu**self.power

    def inverse(self, eta):
        return eta ** (1 / self.power)

    def inverse_derivative(self, eta, mu):
        return mu / (self.power * eta)


def test_user_link():
    link = get_link(PowerLink(3.0))
    assert link == PowerLink(3.0) != PowerLink(2.0)
    np.testing.assert_allclose(link.inverse(link.link(POSITIVE)), POSITIVE)
    with pytest.raises(NotImplementedError):
        Link().inverse(POSITIVE)
