"""Models of an intercept alone: closed forms, R, and that everything after the fit takes them."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import expit, logit

import skdep.datasets
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.bayes import LogisticPrior
from skdep.datasets import load_epil, load_ohio
from skdep.inference import (
    coef_table,
    compare,
    compare_correlations,
    covariance,
    design_effects,
    icc,
    influence,
    linear_combinations,
    lrt,
    marginal_effects,
    odds_ratios,
    population_average,
    profile_interval,
    pseudo_r2,
    qic,
    r2,
    score_test,
    variance_components,
    wald_test,
    weight_diagnostics,
)
from tests.conftest import REFERENCE

EXPECTED = json.loads((REFERENCE / "estimands.json").read_text())
OHIO, EPIL = load_ohio(), load_epil()
Y, CHILD, COUNT, PATIENT = OHIO.target, OHIO.groups, EPIL.target.astype(float), EPIL.groups
NONE, NONE_OF_EPIL = pd.DataFrame(index=OHIO.data.index), pd.DataFrame(index=EPIL.data.index)
FEW = CHILD % 5 == 0
WEIGHTS = np.random.default_rng(3).uniform(0.5, 2.0, size=len(Y))


@cache
def fits():
    """Every estimator, fitted to no features, with the rows that it was fitted to."""
    few = NONE[FEW], Y[FEW]
    clustered = {"groups": CHILD[FEW]}
    return {
        "logit": (LogitRegressor().fit(*few, **clustered), *few),
        "firth": (LogitRegressor("firth").fit(*few), *few),
        "l2": (LogitRegressor("l2").fit(*few), *few),
        "sampling": (LogitRegressor(weight_type="sampling").fit(*few, sample_weight=WEIGHTS[FEW], **clustered), *few),
        "gee classifier": (GEEClassifier(working_correlation="exchangeable").fit(*few, **clustered), *few),
        "gee regressor": (GEERegressor("poisson").fit(NONE_OF_EPIL, COUNT, groups=PATIENT), NONE_OF_EPIL, COUNT),
        "linear": (MixedLinear().fit(NONE_OF_EPIL, COUNT), NONE_OF_EPIL, COUNT),
        "linear, groups": (MixedLinear().fit(NONE_OF_EPIL, COUNT, groups=PATIENT), NONE_OF_EPIL, COUNT),
        "mixed": (MixedLogit().fit(*few), *few),
        "mixed, groups": (MixedLogit().fit(*few, **clustered), *few),
        "bayes": (BayesLogit(n_draws=400, random_state=0).fit(*few), *few),
    }


NAMES = [
    "logit",
    "firth",
    "l2",
    "sampling",
    "gee classifier",
    "gee regressor",
    "linear",
    "linear, groups",
    "mixed",
    "mixed, groups",
    "bayes",
]

# ---------------------------------------------------------------------------------------------------- closed forms


def test_log_odds_of_the_mean():
    fit = LogitRegressor(tol=1e-12).fit(NONE, Y)
    mean = Y.mean()
    assert fit.intercept_[0] == pytest.approx(logit(mean), rel=1e-10)
    assert covariance(fit, "model").iloc[0, 0] == pytest.approx(1.0 / (len(Y) * mean * (1.0 - mean)), rel=1e-9)
    assert fit.loglik_ == pytest.approx(len(Y) * (mean * np.log(mean) + (1 - mean) * np.log(1 - mean)), rel=1e-12)
    assert fit.coef_.shape == (1, 0) and fit.n_features_in_ == 0 and not hasattr(fit, "feature_names_in_")
    assert_allclose(fit.predict_proba(NONE)[:, 1], mean, rtol=1e-10)
    firth = LogitRegressor("firth", tol=1e-12).fit(NONE, Y)  # Jeffreys' prior adds half an event and half a failure
    assert firth.intercept_[0] == pytest.approx(np.log((Y.sum() + 0.5) / ((1 - Y).sum() + 0.5)), rel=1e-10)
    assert LogitRegressor("l2", tol=1e-12).fit(NONE, Y).intercept_[0] == pytest.approx(logit(mean), rel=1e-8)
    assert MixedLogit(tol=1e-14).fit(NONE, Y).intercept_[0] == pytest.approx(logit(mean), rel=1e-7)
    weighted = LogitRegressor(weight_type="sampling", tol=1e-12).fit(NONE, Y, sample_weight=WEIGHTS)
    assert weighted.intercept_[0] == pytest.approx(logit(np.average(Y, weights=WEIGHTS)), rel=1e-9)
    repeated = LogitRegressor().fit(NONE, Y, sample_weight=np.arange(len(Y)) % 3)
    assert repeated.intercept_[0] == pytest.approx(logit(np.average(Y, weights=np.arange(len(Y)) % 3)), rel=1e-7)


def test_clustered_standard_error_of_a_mean():
    """Totals of clusters about the mean, added up; the types for few clusters are its multiples or weights."""
    fit = GEERegressor(working_correlation="independence").fit(NONE_OF_EPIL, COUNT, groups=PATIENT)
    mean, n = COUNT.mean(), len(COUNT)
    totals = pd.Series(COUNT - mean).groupby(np.asarray(PATIENT)).sum()
    sizes = pd.Series(1.0, index=np.asarray(PATIENT)).groupby(level=0).sum()
    K = len(totals)
    expected = {
        "naive": COUNT.var(ddof=1) / n,
        "robust": (totals**2).sum() / n**2,
        "df": (totals**2).sum() / n**2 * K / (K - 1),
        "kc": (totals**2 / (1 - sizes / n)).sum() / n**2,
        "md": (totals**2 / (1 - sizes / n) ** 2).sum() / n**2,
    }
    assert fit.intercept_ == pytest.approx(mean)
    for kind, value in expected.items():
        assert covariance(fit, kind).iloc[0, 0] == pytest.approx(value, rel=1e-9), kind
    row = coef_table(fit, cov_type="df", df="residual").iloc[0]
    assert row["df"] == K - 1
    assert row["conf_high"] == pytest.approx(mean + stats.t.ppf(0.975, K - 1) * np.sqrt(expected["df"]), rel=1e-9)
    assert fit.predict(NONE_OF_EPIL[:2]).tolist() == pytest.approx([mean, mean])
    assert fit.score(NONE_OF_EPIL, COUNT) == pytest.approx(0.0, abs=1e-12)


def test_mean_of_a_mixed_model_without_groups():
    for method, denominator in (("reml", len(COUNT) - 1), ("ml", len(COUNT))):
        fit = MixedLinear(method=method).fit(NONE_OF_EPIL, COUNT)
        variance = ((COUNT - COUNT.mean()) ** 2).sum() / denominator
        assert (fit.intercept_, fit.sigma2_) == pytest.approx((COUNT.mean(), variance), rel=1e-10)
        assert fit.covariance_[0, 0] == pytest.approx(variance / len(COUNT), rel=1e-10)


def test_posterior_of_a_single_probability():
    """With a logistic prior of the log odds the posterior of the probability is a beta distribution."""
    y = np.array([1] * 7 + [0] * 13)
    fit = BayesLogit({"Intercept": LogisticPrior()}, n_draws=4000, random_state=0)
    fit.fit(pd.DataFrame(index=range(20)), y)
    drawn = expit(fit.draws_["intercept"].ravel())
    exact = stats.beta(8, 14)
    assert drawn.mean() == pytest.approx(exact.mean(), abs=4 * exact.std() / np.sqrt(len(drawn)) * 1.5)
    assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), exact.ppf([0.1, 0.5, 0.9]), atol=0.01)
    assert fit.predict_proba(pd.DataFrame(index=range(2)))[0, 1] == pytest.approx(drawn.mean())


def test_a_constant_feature_is_no_other_model():
    """The mean as the coefficient of a column of ones."""
    ones = pd.DataFrame({"mean": np.ones(len(Y))})
    fit = LogitRegressor(tol=1e-12).fit(NONE, Y, groups=CHILD)
    same = LogitRegressor(fit_intercept=False, tol=1e-12).fit(ones, Y, groups=CHILD)
    assert_allclose(coef_table(fit).to_numpy(), coef_table(same).to_numpy(), rtol=1e-8)
    gee = GEEClassifier(working_correlation="ar1").fit(NONE, Y, groups=CHILD, time=OHIO.time)
    other = GEEClassifier(working_correlation="ar1", fit_intercept=False).fit(ones, Y, groups=CHILD, time=OHIO.time)
    assert_allclose(coef_table(gee).to_numpy(), coef_table(other).to_numpy(), rtol=1e-8)
    assert gee.association_ == pytest.approx(other.association_, rel=1e-9)
    assert qic(gee).qic == pytest.approx(qic(other).qic, rel=1e-9)


# ------------------------------------------------------------------------------------------------------- against R


def test_logistic_fit_against_r():
    expected = EXPECTED["empty_logit"]
    fit = LogitRegressor(tol=1e-12).fit(NONE, Y, groups=CHILD)
    assert fit.intercept_[0] == pytest.approx(expected["coef"], rel=1e-9)
    assert fit.loglik_ == pytest.approx(expected["loglik"], rel=1e-11)
    assert coef_table(fit, cov_type="model")["std_error"].iloc[0] == pytest.approx(expected["se"], rel=1e-7)
    assert coef_table(fit)["std_error"].iloc[0] == pytest.approx(expected["clustered_se"], rel=1e-7)
    small = LogitRegressor(cov_type="model").fit(NONE, Y)
    large = LogitRegressor(cov_type="model").fit(OHIO.data, Y)
    test = lrt(small, large)
    assert (test.statistic, test.df) == pytest.approx((expected["lrt"], 2), rel=1e-8)
    assert pseudo_r2(large).mcfadden == pytest.approx(1 - large.loglik_ / expected["loglik"], rel=1e-9)


@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
def test_gee_against_geepack(structure):
    expected = EXPECTED["empty_gee"][structure]
    fit = GEERegressor("poisson", working_correlation=structure, dof="n").fit(NONE_OF_EPIL, COUNT, groups=PATIENT)
    assert (fit.intercept_, fit.scale_) == pytest.approx((expected["coef"], expected["phi"]), rel=1e-7)
    assert coef_table(fit)["std_error"].iloc[0] == pytest.approx(expected["se"], rel=1e-7)
    if expected["alpha"]:
        assert fit.association_ == pytest.approx(expected["alpha"], rel=1e-6)


def test_survey_mean_against_svyglm():
    expected = EXPECTED["empty_survey"]
    schools = pd.read_csv(Path(skdep.datasets.__file__).parent / "data" / "apiclus1.csv")
    design = {"sample_weight": schools["pw"], "groups": schools["dnum"], "fpc": schools["fpc"]}
    none = pd.DataFrame(index=schools.index)
    row = coef_table(GEERegressor().fit(none, schools["api00"], **design)).iloc[0]
    assert (row["estimate"], row["std_error"], row["df"]) == pytest.approx(
        (expected["coef"], expected["se"], expected["df"]), rel=1e-9
    )
    fit = LogitRegressor(weight_type="sampling", tol=1e-12)
    row = coef_table(fit.fit(none, schools["sch.wide"] == "Yes", **design)).iloc[0]
    assert row["estimate"] == pytest.approx(expected["logit_coef"], rel=1e-8)
    assert row["std_error"] == pytest.approx(expected["logit_se"], rel=1e-6)


# -------------------------------------------------------------------------------------------- what comes after a fit


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_predictions(name):
    fit, rows, y = fits()[name]
    table = coef_table(fit)
    assert list(table.index) == ["Intercept"] and table["std_error"].iloc[0] > 0
    assert "Intercept" in str(fit.summary()) and fit.summary()._repr_html_()
    assert covariance(fit).shape == (1, 1)
    assert linear_combinations(fit, ["Intercept"]).equals(table) or name == "bayes"
    assert marginal_effects(fit, rows).shape == (0, 8)
    assert fit.predict(rows).shape == (len(y),) and np.isfinite(fit.score(rows, y))
    again = pickle.loads(pickle.dumps(fit))
    assert_allclose(again.predict(rows[:3]), fit.predict(rows[:3]))
    if hasattr(fit, "classes_"):
        assert_allclose(again.predict_proba(rows[:3]), fit.predict_proba(rows[:3]))
    if name != "bayes":
        assert wald_test(fit, ["Intercept"]).df == 1
        assert wald_test(fit, [[1.0]], float(table["estimate"].iloc[0])).statistic == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match=r"X has 1 features, but .* is expecting 0"):
        fit.predict(np.ones((2, 1)))


@pytest.mark.parametrize("name", ["logit", "sampling", "mixed", "firth"])
def test_odds(name):
    fit, _, _ = fits()[name]
    assert odds_ratios(fit)["estimate"].iloc[0] == pytest.approx(np.exp(fit.intercept_[0]))


def test_comparisons():
    small = LogitRegressor(weight_type="sampling").fit(NONE, Y, groups=CHILD, sample_weight=WEIGHTS)
    large = LogitRegressor(weight_type="sampling").fit(OHIO.data, Y, groups=CHILD, sample_weight=WEIGHTS)
    table = compare(small, large).to_frame()
    assert table["n_effective"].iloc[0] == 0.0 and list(table["n_params"]) == [1, 3]
    assert lrt(small, large).df == 2
    assert design_effects(small).shape[0] == 1
    gees = [GEEClassifier(scale=1.0).fit(X, Y, groups=CHILD) for X in (NONE, OHIO.data)]
    assert compare(*gees).to_frame()["delta_qic"].min() == 0.0
    assert qic(gees[0]).cic > 0
    flat, multilevel = MixedLogit().fit(NONE, Y), fits()["mixed, groups"]
    assert lrt(flat, MixedLogit().fit(OHIO.data, Y)).df == 2
    assert lrt(fits()["mixed"][0], multilevel[0]).p_value < 1e-6
    assert population_average(multilevel[0], multilevel[1]).to_frame().shape[0] == 1
    linear, with_effects = fits()["linear"][0], fits()["linear, groups"][0]
    assert lrt(linear, with_effects).p_value < 1e-6
    assert r2(with_effects).marginal == 0.0 and icc(with_effects).to_frame().shape[0] == 1
    assert variance_components(with_effects).to_frame().shape[0] == 2


def test_functions_that_fit_again():
    fit = LogitRegressor().fit(NONE, Y)
    interval = profile_interval(fit, X=NONE, y=Y).to_frame().iloc[0]
    assert interval["conf_low"] < fit.intercept_[0] < interval["conf_high"]
    rise = 2.0 * (fit.loglik_ - np.sum(Y * interval["conf_low"] - np.log1p(np.exp(interval["conf_low"]))))
    assert rise == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-5)
    test = score_test(LogitRegressor().fit(OHIO.data, Y), ["age", "smoke"], OHIO.data, Y)
    reduced, large = LogitRegressor().fit(NONE, Y), LogitRegressor().fit(OHIO.data, Y)
    assert test.df == 2 and test.statistic == pytest.approx(lrt(reduced, large).statistic, rel=0.05)
    gee = GEEClassifier(working_correlation="exchangeable").fit(NONE, Y, groups=CHILD)
    assert len(influence(gee, NONE, Y, groups=CHILD).to_frame()) == len(np.unique(CHILD))
    found = compare_correlations(gee, NONE, Y, groups=CHILD, time=OHIO.time, structures=["independence", "ar1"])
    assert len(found.to_frame()) == 2


@pytest.mark.parametrize("est", [LogitRegressor(weight_type="sampling"), GEEClassifier(), MixedLogit()])
def test_whether_a_mean_needs_its_weights(est):
    found = weight_diagnostics(est, NONE[FEW], Y[FEW], sample_weight=WEIGHTS[FEW], groups=CHILD[FEW], n_permutations=50)
    row = found.to_frame().loc["Intercept"]
    assert row["difference"] == pytest.approx(row["weighted"] - row["unweighted"])
    assert isinstance(found.weights_needed, bool | np.bool_)


def test_further_batches():
    fit = BayesLogit(n_draws=200, random_state=0)
    for part in (slice(0, 1000), slice(1000, 2000)):
        fit.partial_fit(NONE[part], Y[part], classes=[0, 1])
    assert fit.intercept_[0] == pytest.approx(logit(Y[:2000].mean()), abs=0.02)


def test_by_formula():
    pytest.importorskip("formulaic")
    frame = OHIO.data.assign(resp=Y, id=CHILD)
    fit = LogitRegressor.from_formula("resp ~ 1", frame, groups="id")
    assert_allclose(coef_table(fit), coef_table(LogitRegressor().fit(NONE, Y, groups=CHILD)))
    assert fit.predict(frame).shape == (len(frame),)


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "est", [LogitRegressor(), GEEClassifier(), GEERegressor(), MixedLinear(), MixedLogit(), BayesLogit(n_draws=50)]
)
def test_refusals(est):
    """Arrays of no columns are an error of scikit-learn's, and so is the model of nothing."""
    with pytest.raises(ValueError, match=r"0 feature\(s\) .* minimum of 1 is required"):
        est.fit(np.empty((len(Y), 0)), Y)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        est.fit(pd.DataFrame(), [])
    with pytest.raises(ValueError, match=r"0 feature\(s\) .* minimum of 1 is required"):
        type(est)(fit_intercept=False).fit(NONE, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        est.fit(NONE[:-1], Y)
