"""Partial residuals: against statsmodels, by their definition, and what they show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.plotting import PartialResidualsDisplay
from skdep.plotting._smooth import lowess

pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.uniform(-2, 2, 400), "dose": rng.normal(size=400)})
    eta = (0.3 + 0.6 * X["age"] - 0.4 * X["dose"]).to_numpy()
    outcomes = {
        "binomial": (rng.random(400) < expit(eta)).astype(float),
        "poisson": rng.poisson(np.exp(eta)).astype(float),
        "gamma": np.exp(eta) * rng.gamma(2.0, 0.5, 400),
        "gaussian": eta + rng.normal(size=400),
    }
    return X, outcomes, np.repeat(np.arange(40), 10)


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma", "gaussian"])
def test_those_of_statsmodels(rows, family):
    sm = pytest.importorskip("statsmodels.api")
    partial_resids = pytest.importorskip("statsmodels.graphics.regressionplots").partial_resids
    X, outcomes, _ = rows
    theirs = {
        "binomial": sm.families.Binomial(),
        "poisson": sm.families.Poisson(),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
        "gaussian": sm.families.Gaussian(),
    }[family]
    reference = sm.GLM(outcomes[family], sm.add_constant(X.to_numpy()), family=theirs).fit(tol=1e-13, maxiter=200)
    est = LogitRegressor() if family == "binomial" else GEERegressor(family, link="log" if family == "gamma" else None)
    display = PartialResidualsDisplay.from_estimator(est.fit(X, outcomes[family]), X, outcomes[family])
    for k in range(2):
        expected = partial_resids(reference, k + 1)
        assert_allclose(display.partial_residuals[:, k], expected, rtol=1e-5, atol=1e-5)
    assert display.names == ["age", "dose"]
    assert_allclose(display.component, X * np.ravel(est.coef_))


def test_weights_are_those_of_scoring(rows):
    X, outcomes, _ = rows
    est = GEEClassifier(link="probit").fit(X, outcomes["binomial"])
    display = PartialResidualsDisplay.from_estimator(est, X, outcomes["binomial"], sample_weight=np.full(400, 2.0))
    eta = est.intercept_[0] + X.to_numpy() @ est.coef_[0]
    p, density = norm.cdf(eta), norm.pdf(eta)
    assert_allclose(display.weights, 2.0 * density**2 / (p * (1 - p)), rtol=1e-9)
    expected = np.tile(((outcomes["binomial"] - p) / density)[:, None], 2)
    assert_allclose(display.partial_residuals - display.component, expected)
    # the estimating equations: weighted residuals are orthogonal to the features
    residual = display.partial_residuals[:, 0] - display.component[:, 0]
    assert_allclose(X.to_numpy().T @ (display.weights * residual), 0.0, atol=1e-4)


def test_linear_mixed_models(sleep):
    model, days = sleep.model, sleep.X["Days"].to_numpy()
    population = PartialResidualsDisplay.from_estimator(model, sleep.X, sleep.y, groups=sleep.groups)
    assert_allclose(population.partial_residuals[:, 0], sleep.y - model.intercept_)
    given = PartialResidualsDisplay.from_estimator(model, sleep.X, sleep.y, groups=sleep.groups, conditional=True)
    effects = pd.DataFrame(model.random_effects_["Subject"], index=model.levels_["Subject"]).loc[sleep.groups]
    expected = sleep.y.to_numpy() - model.intercept_ - effects[0].to_numpy() - effects[1].to_numpy() * days
    assert_allclose(given.partial_residuals[:, 0], expected)
    assert population.ax_.get_ylabel() == "Partial residual (Reaction, population)"
    assert given.ax_.get_ylabel() == "Partial residual (Reaction, given Subject)"


def test_logistic_mixed_models_average_over_random_effects(rows):
    X, outcomes, groups = rows
    y = (outcomes["binomial"] + (groups % 3 == 0) > 0).astype(int)
    model = MixedLogit(["age"]).fit(X, y, groups=groups)
    display = PartialResidualsDisplay.from_estimator(model, X, y)
    eta = model.intercept_[0] + X.to_numpy() @ model.coef_[0]
    covariance = model.random_covariance_["group"]
    for row in (0, 7, 123):
        z = np.array([1.0, X["age"].iloc[row]])
        sd = np.sqrt(z @ covariance @ z)

        def mean(shift, centre=eta[row], sd=sd):
            return quad(lambda u: expit(centre + shift + sd * u) * norm.pdf(u), -9, 9, epsabs=1e-13)[0]

        h, slope = mean(0.0), (mean(1e-4) - mean(-1e-4)) / 2e-4
        residual = display.partial_residuals[row, 0] - display.component[row, 0]
        assert residual == pytest.approx((y[row] - h) / slope, rel=1e-6)
        assert display.weights[row] == pytest.approx(slope**2 / (h * (1 - h)), rel=1e-6)
    given = PartialResidualsDisplay.from_estimator(model, X, y, groups=groups, conditional=True)
    p = model.predict_proba(X, groups=groups)[:, 1]
    assert_allclose(given.partial_residuals[:, 1] - given.component[:, 1], (y - p) / (p * (1 - p)), rtol=1e-6)


def test_posterior_means(rows):
    X, outcomes, _ = rows
    model = BayesLogit(n_draws=100, n_chains=2, random_state=0).fit(X, outcomes["binomial"])
    display = PartialResidualsDisplay.from_estimator(model, X, outcomes["binomial"])
    p = expit(model.intercept_[0] + X.to_numpy() @ model.coef_[0])
    expected = (outcomes["binomial"] - p) / (p * (1 - p))
    assert_allclose(display.partial_residuals[:, 0] - display.component[:, 0], expected)


def test_the_smooth_line_shows_what_is_missing():
    rng = np.random.default_rng(1)
    X = rng.uniform(-2, 2, size=(3000, 2))
    y = rng.random(3000) < expit(-1 + X[:, 0] ** 2 + X[:, 1])
    display = PartialResidualsDisplay.from_estimator(LogitRegressor().fit(X, y), X, y)
    bend = []
    for k in range(2):
        at, curve = display.smooths_[k].get_data()
        centre = np.interp(0.0, at, curve)
        bend.append(0.5 * (curve[0] + curve[-1]) - centre)
    assert bend[0] > 1.0 > 0.5 > abs(bend[1])
    squared = np.column_stack([X, X[:, 0] ** 2])
    mended = PartialResidualsDisplay.from_estimator(
        LogitRegressor().fit(squared, y), squared, y, features=[("x0", 2), "x1"]
    )
    assert mended.names == ["x0, x2", "x1"]
    coef = LogitRegressor().fit(squared, y).coef_[0]
    assert_allclose(mended.component[:, 0], coef[0] * X[:, 0] + coef[2] * X[:, 0] ** 2)
    at, curve = mended.smooths_[0].get_data()
    assert np.abs(curve - coef[0] * at - coef[2] * at**2)[5:-5].max() < 0.5


def test_features_as_the_estimator_sees_them(rows):
    X, outcomes, _ = rows
    steps = ColumnTransformer(
        [("squares", PolynomialFeatures(2, include_bias=False), ["age"])], remainder="passthrough"
    )
    pipe = make_pipeline(steps, StandardScaler(), LogitRegressor()).fit(X, outcomes["binomial"])
    display = PartialResidualsDisplay.from_estimator(pipe, X, outcomes["binomial"])
    assert display.names == ["squares__age", "squares__age^2", "remainder__dose"]
    assert_allclose(display.x[:, 2], (X["dose"] - X["dose"].mean()) / X["dose"].std(ddof=0))
    one = PartialResidualsDisplay.from_estimator(pipe, X, outcomes["binomial"], features="remainder__dose")
    assert_allclose(one.partial_residuals[:, 0], display.partial_residuals[:, 2])
    assert len(one.axes_) == 1


def test_rows_out_of_the_picture_are_counted():
    rng = np.random.default_rng(2)
    x = rng.normal(size=2000)
    y = rng.random(2000) < expit(-5 + x)
    display = PartialResidualsDisplay.from_estimator(LogitRegressor().fit(x[:, None], y), x[:, None], y)
    low, high = display.ax_.get_ylim()
    outside = ((display.partial_residuals < low) | (display.partial_residuals > high)).sum()
    assert outside > 0
    assert display.ax_.get_title(loc="right") == f"{outside} of 2000 rows outside"
    assert display.plot(smooth=False).smooths_ == []


def test_errors(rows):
    X, outcomes, _ = rows
    est = LogitRegressor().fit(X, outcomes["binomial"])
    with pytest.raises(ValueError, match="'height' is no feature of the estimator, which has age, dose"):
        PartialResidualsDisplay.from_estimator(est, X, outcomes["binomial"], features=["height"])
    with pytest.raises(ValueError, match="features is empty"):
        PartialResidualsDisplay.from_estimator(est, X, outcomes["binomial"], features=[])
    with pytest.raises(ValueError, match="conditional=True asks for predictions given"):
        PartialResidualsDisplay.from_estimator(est, X, outcomes["binomial"], conditional=True)
    wide = np.random.default_rng(0).normal(size=(100, 21))
    fit = GEERegressor().fit(wide, wide[:, 0] + wide[:, 1] ** 2)
    with pytest.raises(ValueError, match="There are 21 features, of which at most 20"):
        PartialResidualsDisplay.from_estimator(fit, wide, wide[:, 0])
    y = np.repeat([0.0, 3.0, 5.0, 1.0], 2) + [0.1, -0.1] * 4
    flat = MixedLinear().fit(np.ones((8, 0)), y, groups=np.repeat(np.arange(4), 2))
    with pytest.raises(ValueError, match="No feature varies"):
        PartialResidualsDisplay.from_estimator(flat, np.ones((8, 0)), y)


def test_weighted_smooth_counts_rows():
    rng = np.random.default_rng(3)
    x, y, counts = rng.normal(size=60), rng.normal(size=60), rng.integers(1, 4, 60)
    at = np.linspace(-1.0, 1.0, 9)
    weighted = lowess(x, y, at, weights=counts.astype(float), share=1.0, n_robust=0)
    repeated = lowess(np.repeat(x, counts), np.repeat(y, counts), at, share=1.0, n_robust=0)
    assert_allclose(weighted, repeated, atol=1e-10)
