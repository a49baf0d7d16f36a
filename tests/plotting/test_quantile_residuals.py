"""Quantile residuals: against distribution functions, and normal where the model is right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.families import Family, Gamma, InverseGaussian, NegativeBinomial, Poisson
from skdep.inference._quantile_residuals import bernoulli_residuals, family_residuals
from skdep.plotting import QQDisplay, ResidualsDisplay

pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")

SEED = 11


def even(n):
    return np.random.RandomState(SEED).random_sample(n)


def of_discrete(distribution, y):
    """Return residuals by the definition."""
    low, high = distribution.cdf(y - 1), distribution.cdf(y)
    return stats.norm.ppf(low + even(len(y)) * (high - low))


@pytest.fixture(scope="module")
def means():
    return np.exp(np.linspace(-1.5, 2.5, 300))


def test_poisson(means):
    y = np.random.default_rng(0).poisson(means).astype(float)
    assert_allclose(family_residuals(Poisson(), y, means, 1.0, None, SEED), of_discrete(stats.poisson(means), y))


@pytest.mark.parametrize(
    ("family", "scale"), [(Poisson(), 2.5), (NegativeBinomial(0.7), 1.0), (NegativeBinomial(0.3), 1.8)]
)
def test_counts_have_the_mean_and_the_variance_of_the_model(means, family, scale):
    variance = scale * family.variance(means)
    distribution = stats.nbinom(means**2 / (variance - means), means / variance)
    assert_allclose(distribution.var(), variance)
    y = np.random.default_rng(1).poisson(1.3 * means).astype(float)
    assert_allclose(family_residuals(family, y, means, scale, None, SEED), of_discrete(distribution, y), atol=1e-8)


def test_underdispersed_counts_are_poisson(means):
    y = np.random.default_rng(2).poisson(means).astype(float)
    expected = of_discrete(stats.poisson(means), y)
    assert_allclose(family_residuals(Poisson(), y, means, 0.6, None, SEED), expected)


def test_continuous_families(means):
    y = means * np.random.default_rng(3).uniform(0.2, 2.0, len(means))
    expected = stats.norm.ppf(stats.gamma(1 / 0.4, scale=0.4 * means).cdf(y))
    assert_allclose(family_residuals(Gamma(), y, means, 0.4, None, None), expected, atol=1e-8)
    inverse = stats.invgauss(mu=0.4 * means, scale=1 / 0.4)
    assert_allclose(inverse.mean(), means)
    assert_allclose(inverse.var(), 0.4 * means**3)
    expected = stats.norm.ppf(inverse.cdf(y))
    assert_allclose(family_residuals(InverseGaussian(), y, means, 0.4, None, None), expected, atol=1e-7)


def test_shares_of_trials():
    rng = np.random.default_rng(4)
    trials, p = rng.integers(1, 12, 200).astype(float), rng.uniform(0.05, 0.95, 200)
    successes = rng.binomial(trials.astype(int), p).astype(float)
    est = GEERegressor(family="binomial").fit(rng.normal(size=(200, 1)), successes / trials, sample_weight=trials)
    found = family_residuals(est._family, successes / trials, p, 1.0, trials, SEED)
    assert_allclose(found, of_discrete(stats.binom(trials, p), successes), atol=1e-8)
    with pytest.raises(ValueError, match="need the numbers of trials"):
        family_residuals(est._family, successes / trials, p, 1.0, None, SEED)


def test_binary_outcomes():
    p = np.linspace(0.02, 0.98, 200)
    y = (np.random.default_rng(5).random(200) < p).astype(float)
    assert_allclose(bernoulli_residuals(y, p, SEED), of_discrete(stats.bernoulli(p), y), atol=1e-9)


def test_far_tails_are_finite_and_have_digits():
    y = np.array([0.0, 400.0, 1.0, 0.0])
    mean = np.array([900.0, 20.0, 1e-12, 1.0 - 1e-15])
    counts = family_residuals(Poisson(), y[:2], mean[:2], 1.0, None, SEED)
    assert np.isfinite(counts).all() and counts[0] < -30 and counts[1] > 30
    binary = bernoulli_residuals(y[2:], mean[2:], SEED)
    assert_allclose(binary[0], -stats.norm.ppf((1 - even(2)[0]) * 1e-12), rtol=1e-9)
    assert np.isfinite(binary).all() and binary[1] < -7


def test_families_without_distribution_and_broken_counts(means):
    class Quasi(Family):
        name = "quasi"

    with pytest.raises(TypeError, match="'quasi' has a mean and a variance, but no distribution"):
        family_residuals(Quasi(), means, means, 1.0, None, None)
    with pytest.raises(ValueError, match="counts need whole numbers"):
        family_residuals(Poisson(), means, means, 1.0, None, None)


# --------------------------------------------------------------------------------------------------- every estimator


@pytest.fixture(scope="module")
def clustered():
    """Two thousand rows in clusters, without dependence but in the multilevel outcome."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(250), 8)
    X = pd.DataFrame({"dose": rng.uniform(-1.5, 1.5, 2000), "age": rng.normal(size=2000)})
    eta = 0.2 + 0.8 * X["dose"] - 0.4 * X["age"]
    u = 1.3 * rng.normal(size=250)[groups]
    p, multilevel = 1 / (1 + np.exp(-eta)), 1 / (1 + np.exp(-eta - u))
    y = {
        "binary": pd.Series((rng.random(2000) < p).astype(int), name="ill"),
        "multilevel": pd.Series((rng.random(2000) < multilevel).astype(int), name="ill"),
        "count": pd.Series(rng.negative_binomial(np.exp(eta), 0.5), name="visits"),
        "number": pd.Series(eta + u + rng.normal(size=2000), name="score"),
    }
    return X, y, groups


MODELS = {
    "logit": (LogitRegressor(), "binary"),
    "gee binary": (GEEClassifier(link="probit"), "binary"),
    "gee counts": (GEERegressor(family="poisson"), "count"),
    "gee numbers": (GEERegressor(), "number"),
    "linear": (MixedLinear(), "number"),
    "mixed logit": (MixedLogit(), "multilevel"),
    "bayes": (BayesLogit(n_draws=1000, random_state=0), "binary"),
}


@pytest.mark.parametrize("name", MODELS)
def test_residuals_are_standard_normal_where_the_model_is_right(clustered, name):
    X, y, groups = clustered
    est, outcome = MODELS[name]
    est.fit(X, y[outcome], groups=None if name == "bayes" else groups)
    options = {"kind": "quantile", "random_state": SEED}
    display = ResidualsDisplay.from_estimator(est, X, y[outcome], **options)
    assert stats.kstest(display.residuals, "norm").pvalue > 0.01
    assert display.residuals.std() == pytest.approx(1.0, abs=0.05)
    again = QQDisplay.from_estimator(est, X, y[outcome], **options)
    assert_allclose(again.values, np.sort(display.residuals))
    assert again.ax_.get_ylabel() == f"Quantile residual of {y[outcome].name}"


def test_wrong_models_are_seen(clustered):
    X, y, groups = clustered
    est = GEERegressor(family="poisson", scale=1.0).fit(X, y["count"], groups=groups)  # the variance is twice the mean
    display = QQDisplay.from_estimator(est, X, y["count"], kind="quantile", random_state=SEED)
    assert display.values.std() > 1.2
    lacking = LogitRegressor().fit(X[["age"]], y["binary"])
    drawn = ResidualsDisplay.from_estimator(
        lacking, X[["age"]], y["binary"], kind="quantile", random_state=SEED
    ).residuals
    assert np.corrcoef(drawn, X["dose"])[0, 1] > 0.25


def test_conditional_probabilities_of_a_mixed_logit(clustered):
    X, y, groups = clustered
    model = MixedLogit().fit(X, y["multilevel"], groups=groups)
    display = ResidualsDisplay.from_estimator(
        model, X, y["multilevel"], groups=groups, kind="quantile", random_state=SEED
    )
    p = model.predict_proba(X, groups=groups)[:, 1]
    assert_allclose(display.fitted, p)
    assert_allclose(display.residuals, of_discrete(stats.bernoulli(p), y["multilevel"].to_numpy()), atol=1e-7)
    assert display.ax_.get_xlabel() == "Fitted ill, given group"


def test_linear_models_have_standardised_ones(sleep):
    arguments = (sleep.model, sleep.X, sleep.y)
    for groups in (None, sleep.groups):
        quantile = ResidualsDisplay.from_estimator(*arguments, groups=groups, kind="quantile")
        standardised = ResidualsDisplay.from_estimator(*arguments, groups=groups, kind="standardised")
        assert_allclose(quantile.residuals, standardised.residuals)


def test_against_a_feature(clustered):
    X, y, _ = clustered
    est = LogitRegressor().fit(X, y["binary"])
    display = ResidualsDisplay.from_estimator(est, X, y["binary"], kind="quantile", feature="dose", random_state=0)
    assert_allclose(display.points_.get_offsets()[:, 0], X["dose"])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("dose", "Quantile residual")
    by_number = ResidualsDisplay.from_estimator(
        est, X, y["binary"], kind="quantile", feature=0, random_state=np.random.RandomState(0)
    )
    assert_allclose(by_number.residuals, display.residuals)
    with pytest.raises(ValueError, match="feature='height' is no feature"):
        ResidualsDisplay.from_estimator(est, X, y["binary"], kind="quantile", feature="height")


def test_errors(clustered):
    X, y, _ = clustered
    est = LogitRegressor().fit(X, y["binary"])
    with pytest.raises(ValueError, match="kind must be one of 'raw', 'standardised', 'quantile', got 'pearson'"):
        QQDisplay.from_estimator(est, X, y["binary"], kind="pearson")
    with pytest.raises(TypeError, match="kind='quantile'"):
        QQDisplay.from_estimator(est, X, y["binary"])
    with pytest.raises(ValueError, match=r"y: 8 in row 0 is no class of the model, which has 0, 1"):
        QQDisplay.from_estimator(est, X, y["binary"] + 7, kind="quantile")
