"""Tails of quadratic forms: closed forms, quadrature, simulation, R's survey, limits and invariances."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats

from skdep.inference._quadratic_forms import APPROXIMATIONS, quadratic_form_tail
from tests.conftest import REFERENCE

TAILS = json.loads((REFERENCE / "survey_tests.json").read_text())["tails"]


def exact(x, weights, df=np.inf):
    return quadratic_form_tail(x, weights, df=df, method="exact")


# ---- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [1, 2, 3, 7, 60])
@pytest.mark.parametrize("df", [0.7, 1, 2, 5.5, 30, 1e4, np.inf])
def test_equal_weights_are_chi_square_or_f(q, df):
    for x in q * np.array([1e-5, 0.05, 0.6, 1.0, 1.5, 4.0, 20.0, 1e4]):
        expected = stats.chi2.sf(x, q) if np.isinf(df) else stats.f.sf(x / q, q, df)
        for method in ("exact", "satterthwaite"):
            found = quadratic_form_tail(1.7 * x, np.full(q, 1.7), df=df, method=method)
            assert found == pytest.approx(expected, rel=1e-10, abs=1e-290)


@pytest.mark.parametrize("seed", range(8))
def test_weights_in_pairs_are_mixtures_of_exponentials(seed):
    """A chi-square with 2 degrees of freedom is exponential; sums of those have tails that are sums of exponentials."""
    rng = np.random.default_rng(seed)
    weights = rng.gamma(1.0, 1.0, 2 + seed // 2)
    shares = [np.prod([a / (a - b) for b in weights if b != a]) for a in weights]
    for x in rng.uniform(0.1, 8.0, 5) * weights.sum():
        tails = np.exp(-x / (2 * weights))
        assert exact(x, np.repeat(weights, 2)) == pytest.approx(shares @ tails, rel=1e-10, abs=1e-13)
        df = rng.uniform(0.5, 80.0)
        assert exact(x, np.repeat(weights, 2), df) == pytest.approx(
            shares @ (1 + x / (weights * df)) ** (-df / 2), rel=1e-10, abs=1e-13
        )


def test_two_chi_squares_by_quadrature():
    """P(a Z1^2 + b Z2^2 > x): the angle of a normal pair is uniform, its squared length exponential."""
    a, b, x = 3.0, 0.2, 4.0
    expected = integrate.quad(
        lambda t: np.exp(-x / (2 * (a * np.cos(t) ** 2 + b * np.sin(t) ** 2))), 0, np.pi / 2, epsabs=1e-14
    )[0]
    assert exact(x, [a, b]) == pytest.approx(expected * 2 / np.pi, rel=1e-11)
    df = 5.0
    of_chi2 = integrate.quad(lambda c: exact(x * c / df, [a, b]) * stats.chi2.pdf(c, df), 0, 80, epsabs=1e-13)[0]
    assert exact(x, [a, b], df) == pytest.approx(of_chi2, rel=1e-9)


def test_simulation():
    rng = np.random.default_rng(0)
    weights, df, n = np.array([2.5, 1.0, 0.3, 0.02]), 6.0, 200_000
    ratio = (rng.chisquare(1, (n, 4)) @ weights) / (rng.chisquare(df, n) / df)
    for x in (1.0, 4.0, 15.0):
        share = np.mean(ratio > x)
        assert exact(x, weights, df) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))
        assert quadratic_form_tail(x, weights, df=df) == pytest.approx(share, abs=0.02)


# ---- R ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TAILS, ids=lambda case: f"{case['lambda']}-{case['ddf']}")
def test_against_r(case):
    df = case["ddf"] or np.inf
    for x, saddlepoint, satterthwaite in zip(case["x"], case["saddlepoint"], case["satterthwaite"], strict=True):
        assert quadratic_form_tail(x, case["lambda"], df=df) == pytest.approx(saddlepoint, abs=1e-7)
        found = quadratic_form_tail(x, case["lambda"], df=df, method="satterthwaite")
        assert found == pytest.approx(satterthwaite, abs=1e-12)
        assert exact(x, case["lambda"], df) == pytest.approx(saddlepoint, abs=0.04)


# ---- shape -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", APPROXIMATIONS)
@pytest.mark.parametrize("df", [4.0, np.inf])
def test_tails_fall_and_are_continuous(method, df):
    weights = np.array([1.0, 0.5, 0.2])
    near = 10.0 ** -np.arange(2, 12)
    points = np.r_[np.geomspace(1e-8, 1.5, 60), 1.7 - near, 1.7, 1.7 + near[::-1]]
    points = np.r_[points, np.linspace(1.8, 60, 40)]
    tails = np.array([quadratic_form_tail(x, weights, df=df, method=method) for x in points])
    assert np.all(np.diff(tails) <= 1e-12)
    slopes = np.diff(tails[60:81]) / np.diff(points[60:81])
    assert_allclose(slopes[np.abs(np.diff(points[60:81])) > 1e-5], slopes[0], rtol=0.05)


@pytest.mark.parametrize("method", APPROXIMATIONS)
def test_units_order_and_zeros_do_not_matter(method):
    def tail(x, weights):
        return quadratic_form_tail(x, weights, df=9.0, method=method)

    expected = tail(3.0, [2.0, 1.0, 0.1])
    assert tail(3e-9, [2e-9, 1e-9, 1e-10]) == pytest.approx(expected, rel=1e-10)
    assert tail(3.0, [0.1, 2.0, 1.0]) == pytest.approx(expected, rel=1e-12)
    assert tail(3.0, [2.0, 0.0, 1.0, 0.1, 1e-17]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", APPROXIMATIONS)
def test_many_degrees_of_freedom_are_infinitely_many(method):
    for x in (0.3, 3.0, 30.0):
        limit = quadratic_form_tail(x, [2.0, 1.0, 0.1], method=method)
        found = quadratic_form_tail(x, [2.0, 1.0, 0.1], df=1e9, method=method)
        assert found == pytest.approx(limit, rel=1e-6)


def test_far_tails_keep_their_digits():
    """Of very unequal weights the tail is that of the largest, but for a factor from the others."""
    tail = exact(400.0, [1.0, 1e-3])
    assert tail == pytest.approx(stats.chi2.sf(400.0, 1) / np.sqrt(1 - 1e-3), rel=1e-4)
    assert 0 < exact(1200.0, [1.0, 0.9, 0.1]) < 1e-250
    assert exact(1e5, [1.0, 0.5]) == 0.0
    assert exact(1e30, [1.0, 0.5], 3.0) == pytest.approx(0.0, abs=1e-30)


@pytest.mark.parametrize("method", APPROXIMATIONS)
def test_ends(method):
    assert quadratic_form_tail(0.0, [1.0, 2.0], method=method) == 1.0
    assert quadratic_form_tail(-1.0, [1.0, 2.0], df=4, method=method) == 1.0
    for bad in ({"df": 0.0}, {"df": -2.0}, {"df": np.nan}):
        assert np.isnan(quadratic_form_tail(1.0, [1.0, 2.0], method=method, **bad))
    assert quadratic_form_tail(np.inf, [1.0, 2.0], df=4, method=method) == 0.0
    assert np.isnan(quadratic_form_tail(np.nan, [1.0], method=method))
    assert np.isnan(quadratic_form_tail(1.0, [1.0, np.nan], method=method))


def test_what_makes_no_sense():
    with pytest.raises(ValueError, match="approximation must be one of"):
        quadratic_form_tail(1.0, [1.0], method="imhof")
    with pytest.raises(ValueError, match="must be positive"):
        quadratic_form_tail(1.0, [1.0, -0.5])
    with pytest.raises(ValueError, match="must be positive"):
        quadratic_form_tail(1.0, [0.0, 0.0])
