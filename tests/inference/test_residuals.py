"""Residuals: R's glm, geeglm, lmer and glmer; statsmodels; definitions; that displays draw the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep.datasets
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio, load_sleepstudy
from skdep.inference import residuals
from tests.conftest import REFERENCE

EXPECTED = json.loads((REFERENCE / "estimands.json").read_text())
PACKAGED = Path(skdep.datasets.__file__).parent / "data"
OHIO, SLEEP = load_ohio(), load_sleepstudy()
X, Y, CHILD = OHIO.data, OHIO.target, OHIO.groups
KINDS = ["response", "pearson", "deviance", "working"]
EPIL = pd.read_csv(PACKAGED / "epil.csv")
DESIGN = pd.DataFrame({"lbase": np.log(EPIL["base"] / 4), "treat": (EPIL["trt"] == "progabide") * 1.0})


def some(values):
    """The rows that R wrote."""
    values = np.asarray(values)
    return values[np.floor(np.linspace(0, len(values) - 1, 12) + 1e-9).astype(int)]


def agrees(est, rows, y, expected, *, rtol=1e-6, **options):
    for kind in KINDS:
        if kind in expected:
            found = residuals(est, rows, y, kind=kind, **options)
            assert_allclose(some(found), expected[kind], rtol=rtol, atol=1e-8, err_msg=kind)


# ------------------------------------------------------------------------------------------------------- against R


def test_of_generalized_linear_models():
    agrees(LogitRegressor(tol=1e-12).fit(X, Y), X, Y, EXPECTED["residuals_logit"])
    agrees(GEEClassifier(tol=1e-12).fit(X, Y), X, Y, EXPECTED["residuals_logit"])
    count = GEERegressor("poisson", tol=1e-12).fit(DESIGN, EPIL["y"], offset=np.log(EPIL["age"]))
    agrees(count, DESIGN, EPIL["y"], EXPECTED["residuals_poisson"], offset=np.log(EPIL["age"]))
    positive = GEERegressor("gamma", tol=1e-13).fit(DESIGN, EPIL["y"] + 0.5)
    agrees(positive, DESIGN, EPIL["y"] + 0.5, EXPECTED["residuals_gamma"], rtol=1e-5)
    cattle = pd.read_csv(PACKAGED / "cbpp.csv")
    periods = pd.DataFrame({f"p{k}": (cattle["period"] == k) * 1.0 for k in (2, 3, 4)})
    share = cattle["incidence"] / cattle["size"]
    fit = GEERegressor("binomial", tol=1e-12).fit(periods, share, sample_weight=cattle["size"])
    agrees(fit, periods, share, EXPECTED["residuals_shares"], sample_weight=cattle["size"])


def test_of_a_gee():
    fit = GEERegressor("poisson", working_correlation="exchangeable", dof="n", tol=1e-12)
    fit.fit(DESIGN, EPIL["y"], groups=EPIL["subject"])
    agrees(fit, DESIGN, EPIL["y"], EXPECTED["residuals_gee"])


def test_of_a_linear_mixed_model():
    expected = EXPECTED["residuals_drivers"]
    rows, y, drivers = SLEEP.data, SLEEP.target, SLEEP.groups
    fit = MixedLinear(random_slopes=["Days"], tol=1e-12).fit(rows, y, groups=drivers)
    for kind in KINDS:
        assert_allclose(some(residuals(fit, rows, y, groups=drivers, kind=kind)), expected["conditional"], rtol=1e-4)
    scaled = residuals(fit, rows, y, groups=drivers, kind="standardised")
    assert_allclose(some(scaled), expected["scaled"], rtol=1e-4)
    assert_allclose(some(residuals(fit, rows, y)), expected["population"], rtol=1e-6)
    Z = np.column_stack([np.ones(len(rows)), rows])
    sd = np.sqrt(np.einsum("na,ab,nb->n", Z, fit.random_covariance_["Subject"], Z) + fit.sigma2_)
    assert_allclose(residuals(fit, rows, y, kind="standardised"), residuals(fit, rows, y) / sd)
    assert_allclose(residuals(fit, rows, y, kind="quantile"), residuals(fit, rows, y) / sd)


def test_of_a_logistic_mixed_model():
    """Given the modes of the effects, as glmer; and of the population, where probabilities are averages."""
    expected = EXPECTED["residuals_within"]
    fit = MixedLogit(n_quadrature=9, tol=1e-12).fit(X, Y, groups=CHILD)
    assert_allclose(np.concatenate([fit.intercept_, fit.coef_[0]]), expected["coef"], rtol=1e-3)
    agrees(fit, X, Y, expected, rtol=5e-3, groups=CHILD)
    p = fit.predict_proba(X)[:, 1]
    assert_allclose(residuals(fit, X, Y), Y - p)
    assert_allclose(residuals(fit, X, Y, kind="pearson"), (Y - p) / np.sqrt(p * (1 - p)))
    assert_allclose(residuals(fit, X, Y, kind="standardised"), (Y - p) / np.sqrt(p * (1 - p)))
    assert_allclose(residuals(fit, X, Y, kind="working"), (Y - p) / (p * (1 - p)))


# ---------------------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("family", "theirs"),
    [
        ("poisson", sm.families.Poisson()),
        ("gaussian", sm.families.Gaussian()),
        ("inverse_gaussian", sm.families.InverseGaussian(sm.families.links.Log())),
    ],
)
def test_against_statsmodels(family, theirs):
    y = EPIL["y"] + 1.0
    link = "log" if family == "inverse_gaussian" else None
    fit = GEERegressor(family, link=link, tol=1e-12).fit(DESIGN, y)
    glm = sm.GLM(y, sm.add_constant(DESIGN), family=theirs).fit(tol=1e-14, maxiter=200)
    for kind in KINDS:
        found = residuals(fit, DESIGN, y, kind=kind)
        assert_allclose(found, getattr(glm, f"resid_{kind}"), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("est", [LogitRegressor(), GEEClassifier(), MixedLogit(), BayesLogit(n_draws=100)])
def test_sums(est):
    """Squares of Pearson residuals add up to Pearson's statistic, of deviance residuals to the deviance."""
    if isinstance(est, BayesLogit):
        est.set_params(random_state=0, n_draws=400)
    few = CHILD % 5 == 0
    fit = est.fit(X[few], Y[few])
    p = fit.predict_proba(X[few])[:, 1]
    log_likelihood = np.sum(np.log(np.where(Y[few] == 1, p, 1 - p)))
    assert (residuals(fit, X[few], Y[few], kind="deviance") ** 2).sum() == pytest.approx(-2 * log_likelihood)
    pearson = residuals(fit, X[few], Y[few], kind="pearson")
    assert (pearson**2).sum() == pytest.approx(np.sum((Y[few] - p) ** 2 / (p * (1 - p))))
    assert (np.sign(pearson) == np.where(Y[few] == 1, 1, -1)).all()


def test_precisions():
    weights = np.arange(1.0, len(SLEEP.target) + 1)
    fit = MixedLinear(weight_type="precision").fit(SLEEP.data, SLEEP.target, sample_weight=weights)
    raw = residuals(fit, SLEEP.data, SLEEP.target)
    for kind in ("pearson", "deviance"):
        found = residuals(fit, SLEEP.data, SLEEP.target, kind=kind, sample_weight=weights)
        assert_allclose(found, np.sqrt(weights) * raw)
    scaled = residuals(fit, SLEEP.data, SLEEP.target, kind="standardised", sample_weight=weights)
    assert_allclose(scaled, np.sqrt(weights / fit.sigma2_) * raw)
    assert (scaled**2).sum() == pytest.approx(len(weights) - 2)  # REML divides by n - p


def test_quantile_residuals_are_normal():
    """Of outcomes drawn from the fitted model, by the test of Kolmogorov and Smirnov; others with other draws."""
    rng = np.random.default_rng(0)
    fit = GEERegressor("poisson", scale=1.0).fit(DESIGN, EPIL["y"])
    y = rng.poisson(fit.predict(DESIGN))
    found = residuals(fit, DESIGN, y, kind="quantile", random_state=0)
    assert stats.kstest(found, "norm").pvalue > 0.01
    assert found.equals(residuals(fit, DESIGN, y, kind="quantile", random_state=0))
    assert not found.equals(residuals(fit, DESIGN, y, kind="quantile", random_state=1))
    shifted = residuals(fit, DESIGN, y + 3, kind="quantile", random_state=0)
    assert stats.kstest(shifted, "norm").pvalue < 1e-6
    binary = LogitRegressor().fit(X, Y)
    drawn = (rng.random(len(Y)) < binary.predict_proba(X)[:, 1]).astype(int)
    assert stats.kstest(residuals(binary, X, drawn, kind="quantile", random_state=0), "norm").pvalue > 0.01


def test_the_displays_draw_them():
    pytest.importorskip("matplotlib").use("Agg")
    from skdep.plotting import ResidualsDisplay

    fit = GEERegressor("poisson").fit(DESIGN, EPIL["y"], groups=EPIL["subject"])
    for drawn, kind in (("raw", "response"), ("standardised", "standardised"), ("quantile", "quantile")):
        display = ResidualsDisplay.from_estimator(fit, DESIGN, EPIL["y"], kind=drawn, random_state=0)
        assert_allclose(display.residuals, residuals(fit, DESIGN, EPIL["y"], kind=kind, random_state=0))


# ------------------------------------------------------------------------------------------------ index, pipelines


def test_index_and_name():
    rows = X.set_axis([f"r{k}" for k in range(len(X))], axis=0)
    fit = LogitRegressor().fit(rows, Y)
    found = residuals(fit, rows[::7], Y[::7], kind="pearson")
    assert found.index.equals(rows.index[::7]) and found.name == "pearson"
    labels = np.where(Y == 1, "yes", "no")
    named = LogitRegressor().fit(X.to_numpy(), labels)
    assert_allclose(residuals(named, X.to_numpy(), labels), Y - named.predict_proba(X.to_numpy())[:, 1])
    by_y = residuals(named, X.to_numpy(), pd.Series(labels, index=rows.index))
    assert by_y.index.equals(rows.index)
    assert residuals(named, X.to_numpy(), labels).index.equals(pd.RangeIndex(len(Y)))


def test_through_a_pipeline():
    pipe = make_pipeline(StandardScaler(), LogitRegressor(tol=1e-12)).fit(X, Y)
    direct = LogitRegressor(tol=1e-12).fit(X, Y)
    assert_allclose(residuals(pipe, X, Y, kind="deviance"), residuals(direct, X, Y, kind="deviance"), rtol=1e-7)


def test_of_no_features():
    none = pd.DataFrame(index=X.index)
    fit = LogitRegressor(tol=1e-12).fit(none, Y)
    assert_allclose(residuals(fit, none, Y), Y - Y.mean(), rtol=1e-8)


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("kind", ["raw", "studentized", None])
def test_unknown_kinds(kind):
    with pytest.raises(ValueError, match="kind must be one of 'response', 'pearson'"):
        residuals(LogitRegressor().fit(X, Y), X, Y, kind=kind)


def test_refusals():
    fit = LogitRegressor().fit(X, Y)
    with pytest.raises(ValueError, match="2 in row 0 is no class of the model"):
        residuals(fit, X, np.where(np.arange(len(Y)) == 0, 2, Y))
    with pytest.raises(ValueError, match="exactly one value a row"):
        residuals(fit, X, Y[:-1])
    with pytest.raises(ValueError, match="sample_weight has 3 values"):
        residuals(fit, X, Y, sample_weight=[1, 2, 3])
    count = GEERegressor("poisson").fit(DESIGN, EPIL["y"])
    with pytest.raises(ValueError, match="need whole numbers"):
        residuals(count, DESIGN, EPIL["y"] + 0.5, kind="quantile")


def test_raw_data_of_a_formula():
    pytest.importorskip("formulaic")
    fit = GEERegressor.from_formula("y ~ log(base / 4) + trt + offset(log(age))", EPIL, family="poisson")
    found = residuals(fit, EPIL, EPIL["y"])
    assert_allclose(found, EPIL["y"] - fit.predict(EPIL), rtol=1e-10)
    assert found.index.equals(EPIL.index)


def shares(n_sets=1):
    """Shares of 2 and of 40 trials, whose model is right."""
    rng = np.random.default_rng(0)
    x, trials = rng.normal(size=2000), rng.choice([2.0, 40.0], 2000)
    for _ in range(n_sets):
        yield x[:, None], rng.binomial(trials.astype(int), 1 / (1 + np.exp(-0.5 * x))) / trials, trials


def test_standardised_residuals_of_shares_know_the_trials():
    """Their standard deviation is 1, of few trials as of many; and they are Pearson's over the root of a dispersion."""
    rows, y, trials = next(shares())
    est = GEERegressor("binomial").fit(rows, y, sample_weight=trials)
    found = residuals(est, rows, y, kind="standardised", sample_weight=trials)
    for number in (2.0, 40.0):
        assert found[trials == number].std() == pytest.approx(1.0, abs=0.06)
    pearson = residuals(est, rows, y, kind="pearson", sample_weight=trials)
    assert_allclose(found, pearson / np.sqrt(np.sum(pearson**2) / (len(y) - 2)), rtol=1e-9)
    again = residuals(est, rows, y, kind="standardised", sample_weight=trials * 3)
    assert_allclose(again, found, rtol=1e-9)  # the scale of the weights means nothing


def test_bands_of_binned_residuals_know_the_trials():
    """Mean residuals of bins have the standard deviation that is drawn."""
    pytest.importorskip("matplotlib", reason="needs the extra: pip install 'skdep[plot]'")
    from matplotlib import pyplot as plt

    from skdep.plotting import BinnedResidualsDisplay

    ratios = []
    for rows, y, trials in shares(15):
        est = GEERegressor("binomial").fit(rows, y, sample_weight=trials)
        display = BinnedResidualsDisplay.from_estimator(est, rows, y, sample_weight=trials, n_bins=40)
        ratios.append(display.mean_residual / display.std_error)
        plt.close("all")
    assert np.std(ratios) == pytest.approx(1.0, abs=0.1)
