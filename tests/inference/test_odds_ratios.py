"""Odds ratios: the table of coefficients on another scale, and counts of a two-by-two table."""

from __future__ import annotations

import numpy as np
import pytest
from given_mixed_logit import GivenMixedLogit
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import LogitRegressor, MixedLogit
from skdep.inference import coef_table, odds_ratios
from skdep.mixed.terms import INTERCEPT

RNG = np.random.default_rng(3)
X = RNG.normal(size=(100, 2))
Y = (X[:, 0] + RNG.logistic(size=100) > 0).astype(int)
GROUPS = np.arange(100) % 12


def test_two_by_two_table_by_woolf():
    """Counts a, b, c, d: the odds ratio ad / bc, and Woolf's interval exp(log OR -+ z sqrt(1/a + 1/b + 1/c + 1/d))."""
    a, b, c, d = 20, 5, 10, 30
    x, y = np.repeat([1, 1, 0, 0], [a, b, c, d]), np.repeat([1, 0, 1, 0], [a, b, c, d])
    row = odds_ratios(LogitRegressor(tol=1e-12).fit(x[:, None], y)).loc["x0"]
    error = np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    ratio = a * d / (b * c)
    z = stats.norm.ppf(0.975)
    assert row["estimate"] == pytest.approx(ratio, rel=1e-10)
    assert row["std_error"] == pytest.approx(ratio * error, rel=1e-8)
    assert_allclose(row[["conf_low", "conf_high"]], ratio * np.exp([-z * error, z * error]), rtol=1e-8)
    contingency = stats.contingency.odds_ratio(np.array([[a, b], [c, d]]), kind="sample")
    interval = contingency.confidence_interval(0.95)
    assert row["estimate"] == pytest.approx(contingency.statistic, rel=1e-10)
    assert_allclose(row[["conf_low", "conf_high"]], [interval.low, interval.high], rtol=1e-8)


@pytest.mark.parametrize("options", [{}, {"level": 0.8}, {"df": 7}, {"df": "residual"}, {"cov_type": "hc1"}], ids=str)
def test_is_the_exponentiated_table(options):
    fit = LogitRegressor().fit(X, Y, groups=GROUPS)
    table, ratios = coef_table(fit, **options), odds_ratios(fit, **options)
    assert list(ratios.columns) == list(table.columns)
    assert list(ratios.index) == list(table.index)
    columns = ["estimate", "conf_low", "conf_high"]
    assert_allclose(ratios[columns], np.exp(table[columns]))
    assert_allclose(ratios["std_error"], np.exp(table["estimate"]) * table["std_error"])
    unchanged = ["statistic", "df", "p_value"]
    assert_allclose(ratios[unchanged], table[unchanged])


def test_intercept_is_the_odds_at_zero():
    fit = LogitRegressor().fit(X, Y)
    p = fit.predict_proba(np.zeros((1, 2)))[0, 1]
    assert odds_ratios(fit).loc["Intercept", "estimate"] == pytest.approx(p / (1 - p), rel=1e-10)


def test_a_mixed_model_says_that_its_odds_ratios_are_cluster_specific():
    sigma = {"school": ((INTERCEPT,), np.array([[2.0]]))}
    mixed = odds_ratios(GivenMixedLogit([-1.0, 0.5, 0.2], 0.1 * np.eye(3), sigma).fit(X))
    assert_allclose(mixed["estimate"], np.exp([-1.0, 0.5, 0.2]))
    assert "cluster-specific" in repr(mixed) and "cluster-specific" in mixed._repr_html_()
    assert "cluster-specific" in repr(mixed[["estimate", "conf_low"]])
    fit = MixedLogit().fit(X, Y, groups=GROUPS)
    assert "cluster-specific" in repr(odds_ratios(fit))
    assert_allclose(odds_ratios(fit)["estimate"], np.exp(coef_table(fit)["estimate"]))
    for plain in (MixedLogit().fit(X, Y), LogitRegressor().fit(X, Y)):
        assert "cluster" not in repr(odds_ratios(plain))


def test_pipeline():
    pipe = make_pipeline(StandardScaler(), LogitRegressor()).fit(X, Y)
    assert_allclose(odds_ratios(pipe)["estimate"], np.exp(coef_table(pipe)["estimate"]))


def test_fits_without_a_logit_link_are_refused():
    with pytest.raises(TypeError, match="LogisticRegression is no fitted skdep estimator"):
        odds_ratios(LogisticRegression().fit(X, Y))
    fit = LogitRegressor().fit(X, Y)
    fit._link_name = "probit"
    with pytest.raises(TypeError, match="Odds ratios need a logit link; this LogitRegressor has link 'probit'"):
        odds_ratios(fit)
