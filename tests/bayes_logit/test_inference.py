"""What the functions of `skdep.inference` say of a posterior: the same tables from draws, or what to use instead."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from skdep import BayesLogit, LogitRegressor, MixedLogit
from skdep.bayes import HalfNormal
from skdep.bayes.estimands import nesting
from skdep.bayes.population import PosteriorMean
from skdep.bayes.prior_layout import EffectsLayout
from skdep.inference import (
    bootstrap,
    coef_table,
    compare,
    icc,
    lrt,
    marginal_effects,
    odds_ratios,
    population_average,
    profile_interval,
    qic,
    r2,
    variance_components,
    wald_test,
)

pytestmark = pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
TESTS = ["statistic", "df", "p_value"]


@pytest.fixture(scope="module")
def data():
    """Rows of forty clinics."""
    rng = np.random.default_rng(0)
    groups = pd.Series(np.repeat(np.arange(40), 8), name="clinic")
    X = pd.DataFrame({"age": rng.normal(size=320), "male": rng.integers(0, 2, 320)})
    X["age"] -= X["age"].mean()
    effects = rng.normal(size=(40, 2)) * [1.0, 0.6]
    eta = -0.4 + 0.8 * X["age"] - 0.5 * X["male"] + effects[groups, 0] + effects[groups, 1] * X["age"]
    return SimpleNamespace(X=X, y=(rng.uniform(size=320) < expit(eta)).astype(int), groups=groups)


@pytest.fixture(scope="module")
def flat(data):
    """A posterior without random effects."""
    return BayesLogit(random_state=0).fit(data.X, data.y)


@pytest.fixture(scope="module")
def multilevel(data):
    """A posterior with random intercepts and slopes."""
    model = BayesLogit(random_slopes=["age"], n_draws=400, random_state=0, method="pairs")
    return model.fit(data.X, data.y, groups=data.groups)


def draws_of(model):
    """Return draws (S, 3) of the coefficients."""
    return np.column_stack([model.draws_["intercept"].ravel(), model.draws_["coef"].reshape(-1, 2)])


def test_coefficients(flat, data):
    table, draws = coef_table(flat, level=0.8), draws_of(flat)
    assert list(table.index) == ["Intercept", "age", "male"]
    assert_allclose(table["estimate"], draws.mean(axis=0), rtol=1e-12)
    assert_allclose(table["std_error"], draws.std(axis=0, ddof=1), rtol=1e-12)
    assert_allclose(table[["conf_low", "conf_high"]].T, np.quantile(draws, [0.1, 0.9], axis=0), rtol=1e-12)
    assert table[TESTS].isna().all(axis=None)
    likelihood = coef_table(LogitRegressor().fit(data.X, data.y), level=0.8)
    assert_allclose(table["std_error"], likelihood["std_error"], rtol=0.06)
    assert_allclose(table["conf_low"], likelihood["conf_low"], atol=0.05)
    own = flat.posterior_table(level=0.8)
    assert_allclose(own[["mean", "sd", "q10", "q90"]], table[["estimate", "std_error", "conf_low", "conf_high"]])
    for chosen in ({"cov_type": "model"}, {"df": "residual"}, {"df": 7.0}):
        with pytest.raises(ValueError, match="a posterior has one covariance, and no degrees of freedom"):
            coef_table(flat, **chosen)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        coef_table(flat, level=95)


def test_odds_ratios(flat, multilevel):
    table, draws = odds_ratios(flat), np.exp(draws_of(flat))
    assert_allclose(table["estimate"], np.median(draws, axis=0), rtol=1e-12)
    assert_allclose(table["std_error"], draws.std(axis=0, ddof=1), rtol=1e-12)
    limits = coef_table(flat)[["conf_low", "conf_high"]]
    assert_allclose(table[["conf_low", "conf_high"]], np.exp(limits), rtol=1e-3)  # but for interpolation
    assert table[TESTS].isna().all(axis=None)
    assert odds_ratios(multilevel).columns.name == "cluster-specific"


@pytest.mark.parametrize("name", ["flat", "multilevel"])
def test_marginal_effects_are_changes_of_predictions(name, data, request):
    model = request.getfixturevalue(name)
    weight = np.linspace(0.5, 2.0, len(data.X))
    offset = np.linspace(-0.5, 0.5, len(data.X))
    table = marginal_effects(model, data.X, sample_weight=weight, offset=offset)

    def mean(X):
        return np.average(model.predict_proba(X, offset=offset)[:, 1], weights=weight)

    difference = mean(data.X.assign(male=1)) - mean(data.X.assign(male=0))
    slope = (mean(data.X.assign(age=data.X["age"] + 1e-4)) - mean(data.X.assign(age=data.X["age"] - 1e-4))) / 2e-4
    assert_allclose(table["estimate"], [slope, difference], rtol=1e-6)
    assert list(table["change"]) == ["slope", "1 - 0"]
    assert table[TESTS].isna().all(axis=None)


def test_spread_of_marginal_effects(flat, data):
    """In every draw of a model without random effects slopes are means of p (1 - p) b."""
    draws = draws_of(flat)
    p = expit(draws[:, :1] + draws[:, 1:] @ data.X.to_numpy().T)
    by_draw = (p * (1.0 - p)).mean(axis=1) * draws[:, 1]
    row = marginal_effects(flat, data.X, features="age", level=0.9).loc["age"]
    assert_allclose(row["estimate"], by_draw.mean(), rtol=1e-10)
    assert_allclose(row["std_error"], by_draw.std(ddof=1), rtol=1e-10)
    assert_allclose([row["conf_low"], row["conf_high"]], np.quantile(by_draw, [0.05, 0.95]), rtol=1e-10)


def test_spread_of_marginal_effects_of_random_slopes(multilevel, data):
    """In a draw the average probability is an integral over the effects; its slope by differences of that."""
    X, draws = data.X.to_numpy()[:20], draws_of(multilevel)[::100]
    sigma = multilevel.draws_["random_covariance"].reshape(-1, 2, 2)[::100]
    nodes, weights = np.polynomial.hermite_e.hermegauss(81)

    def mean(moved):
        z = np.column_stack([np.ones(len(moved)), moved[:, 0]])
        sd = np.sqrt(np.einsum("na,sac,nc->sn", z, sigma, z))
        eta = draws[:, :1] + draws[:, 1:] @ moved.T
        return sum(w * expit(eta + sd * node) for node, w in zip(nodes, weights)).mean(axis=1) / weights.sum()

    step = np.array([1e-4, 0.0])
    by_draw = (mean(X + step) - mean(X - step)) / 2e-4
    average = PosteriorMean(multilevel, len(X))
    found = average.average_slope(X, np.zeros(len(X)), np.full(len(X), 1 / len(X)), np.array([[1.0, 0.0]]), np.zeros(1))
    assert_allclose(found[::100], by_draw, rtol=1e-6)


def test_marginal_effects_through_a_pipeline(data):
    pipe = make_pipeline(PolynomialFeatures(interaction_only=True, include_bias=False), BayesLogit(random_state=0))
    pipe.fit(data.X, data.y)
    row = marginal_effects(pipe, data.X, features="age").loc["age"]
    up, down = (pipe.predict_proba(data.X.assign(age=data.X["age"] + h))[:, 1].mean() for h in (1e-4, -1e-4))
    assert_allclose(row["estimate"], (up - down) / 2e-4, rtol=1e-5)


def test_variances(multilevel, data):
    sigma = multilevel.draws_["random_covariance"].reshape(-1, 2, 2)
    sd = np.sqrt(np.diagonal(sigma, axis1=1, axis2=2))
    z = np.column_stack([np.ones(len(data.X)), data.X["age"]])
    averaged = np.einsum("na,sac,nc->s", z, sigma, z, optimize=True) / len(z)
    share = averaged / (averaged + np.pi**2 / 3)
    table = variance_components(multilevel).to_frame()
    assert list(table.index.get_level_values("effect")) == ["Intercept", "age", "mean over rows", "latent scale"]
    assert_allclose(table["variance"], [*np.diag(sigma.mean(axis=0)), averaged.mean(), np.pi**2 / 3], rtol=1e-10)
    assert_allclose(table["sd"].iloc[:2], sd.mean(axis=0))
    assert_allclose(table[["sd_low", "sd_high"]].iloc[:2].T, np.quantile(sd, [0.025, 0.975], axis=0))
    correlation = sigma[:, 0, 1] / sd.prod(axis=1)
    assert_allclose(table["corr_Intercept"].iloc[1], correlation.mean())
    assert_allclose(table["share"].dropna(), [share.mean(), 1.0 - share.mean()])
    found = icc(multilevel)
    assert_allclose(found["clinic"], np.median(share))
    row = found.to_frame().loc["clinic"]
    assert_allclose(row[["icc_low", "icc_high"]].astype(float), np.quantile(share, [0.025, 0.975]))
    assert_allclose(row["same_level"], row["icc"])
    assert_allclose(row["median_odds_ratio"], np.exp(0.9538725524 * np.sqrt(np.median(averaged))), rtol=1e-3)
    likelihood = MixedLogit(["age"]).fit(data.X, data.y, groups=data.groups)
    assert row["icc_low"] < icc(likelihood)["clinic"] < row["icc_high"]


def test_variances_without_rows_or_groups(data, flat):
    half = data.groups < 20
    model = BayesLogit({"sd": HalfNormal(1)}, updating="gaussian", n_draws=200, random_state=0, method="pairs")
    for part in (half, ~half):
        model.partial_fit(data.X[part], data.y[part], groups=data.groups[part])
    assert 0.0 < icc(model)["clinic"] < 1.0
    model = BayesLogit(random_slopes=["age"], updating="gaussian", n_draws=200, random_state=0, method="pairs")
    model.fit(data.X, data.y, groups=data.groups)
    with pytest.raises(ValueError, match="averages over rows, of which this fit keeps none"):
        icc(model)
    assert len(icc(flat).to_frame()) == 0
    assert list(variance_components(flat).to_frame().index) == [("Residual", "latent scale")]


def test_nested_factors():
    """A school and its classes: two pupils of a class share the school as well."""
    school, room, day = np.repeat([0, 1], 6), np.repeat([0, 1, 2, 3], 3), np.tile([0, 1, 2], 4)

    def layout(name):
        return EffectsLayout(name, ("Intercept",), (-1,), np.zeros(1), np.ones(1), slice(0, 1), slice(1, 1))

    names, codes = ("room", "day", "school"), (room, day, school)
    est = SimpleNamespace(
        levels_={name: np.unique(part) for name, part in zip(names, codes)},
        _prior=SimpleNamespace(layout=SimpleNamespace(random=tuple(map(layout, names)))),
        _rows=SimpleNamespace(terms=tuple(SimpleNamespace(codes=part) for part in codes)),
    )
    assert nesting(est) == {"room": ("school",), "day": (), "school": ()}


@pytest.mark.parametrize(
    ("use", "match"),
    [
        (lambda m, d: wald_test(m, ["age"]), "no sampling distribution of estimates.*share of the draws"),
        (lambda m, d: lrt(m, m), r"no likelihood: none that is maximised; compare log_evidence_, or loo\(\)"),
        (lambda m, d: compare(m, m), r"no likelihood: none that is maximised; compare log_evidence_, or loo\(\)"),
        (lambda m, d: qic(m), "QIC is defined for a GEE"),
        (lambda m, d: r2(m), r"loo\(\) tells how well a BayesLogit predicts"),
        (lambda m, d: population_average(m, d.X), "population_average is for MixedLogit; of a BayesLogit marginal_eff"),
        (lambda m, d: variance_components(m, baseline=m), r"compare posteriors by log_evidence_, or by loo\(\)"),
        (lambda m, d: profile_interval(m), "got BayesLogit"),
        (lambda m, d: bootstrap(m, d.X, d.y), "got BayesLogit"),
    ],
)
def test_what_a_posterior_does_not_have(multilevel, data, use, match):
    with pytest.raises(TypeError, match=match):
        use(multilevel, data)
