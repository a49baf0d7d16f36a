"""Comparisons of fits: criteria by hand and from R, and what does not compare."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.datasets import load_ohio, load_penicillin, load_sleepstudy
from skdep.inference import compare, lrt, qic, wald_test
from tests.inference.survey_cases import FITS, LOGIT, fitted

SLEEP = load_sleepstudy()


def sleep_fit(slopes=None, *, X=SLEEP.data, **options):
    return MixedLinear(slopes, **options).fit(X, SLEEP.target, groups=SLEEP.groups)


# library(lme4); m1 <- lmer(Reaction ~ Days + (1 | Subject), sleepstudy)
# md <- lmer(Reaction ~ Days + (Days || Subject), sleepstudy)
# m2 <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
# AIC(m1, md, m2); BIC(m1, md, m2)
def test_reml_criteria_against_r():
    fits = [sleep_fit(), sleep_fit(["Days"], covariance="diagonal"), sleep_fit(["Days"])]
    result = compare(*fits, names=["m1", "md", "m2"])
    table = result.to_frame()
    assert list(table.index) == ["m1", "md", "m2"]
    assert list(table["n_params"]) == [4, 5, 6]
    assert_allclose(table["aic"], [1794.46508539492, 1753.66929358148, 1755.62827195995], atol=1e-5)
    assert_allclose(table["bic"], [1807.23691279848, 1769.63407783593, 1774.78601306529], atol=1e-5)
    assert_allclose(table["delta_aic"], table["aic"] - table["aic"]["md"], atol=1e-12)
    assert_allclose(table["delta_bic"], table["bic"] - table["bic"]["md"], atol=1e-12)
    assert result.criterion == "REML"


# anova(lmer(Reaction ~ 1 + (1 | Subject), sleepstudy), m1)$AIC, and with m2
def test_ml_criteria_against_r():
    fits = [sleep_fit(X=SLEEP.data[[]], method="ml"), sleep_fit(method="ml"), sleep_fit(["Days"], method="ml")]
    table = compare(*fits).to_frame()
    assert_allclose(table["aic"], [1916.54105807306, 1802.07864300523, 1763.93934446321], atol=1e-5)
    assert_allclose(table["bic"], [1926.11992862573, 1814.85047040879, 1783.09708556855], atol=1e-5)
    assert list(table.index) == ["MixedLinear 1", "MixedLinear 2", "MixedLinear 3"]


def test_logistic_regression_by_hand():
    ohio = load_ohio()
    fits = [LogitRegressor().fit(ohio.data[columns], ohio.target) for columns in (["age"], ["smoke"], ["age", "smoke"])]
    table = compare(*fits).to_frame()
    for row, fit, p in zip(table.itertuples(), fits, (2, 2, 3), strict=True):
        probabilities = fit.predict_proba(ohio.data[list(fit.feature_names_in_)])
        success = np.asarray(ohio.target == fit.classes_[1])
        loglik = np.log(probabilities[np.arange(len(success)), success.astype(int)]).sum()
        assert row.loglik == pytest.approx(loglik, rel=1e-10)
        assert row.aic == pytest.approx(-2 * loglik + 2 * p, rel=1e-10)
        assert row.bic == pytest.approx(-2 * loglik + np.log(len(success)) * p, rel=1e-10)
        assert row.n_params == p


def test_frequency_weights_count_as_rows():
    counts = np.random.default_rng(0).integers(1, 4, 180)
    rows = np.repeat(np.arange(180), counts)
    weighted = MixedLinear(method="ml").fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=counts)
    repeated = MixedLinear(method="ml").fit(
        SLEEP.data.iloc[rows], SLEEP.target.iloc[rows], groups=SLEEP.groups.iloc[rows]
    )
    table = compare(weighted, repeated).to_frame()
    assert_allclose(table.iloc[0], table.iloc[1], atol=1e-5)


def test_collinear_features_are_no_parameters():
    with pytest.warns(UserWarning, match="Collinear"):
        again = sleep_fit(X=SLEEP.data.assign(again=SLEEP.data["Days"]), method="ml")
    table = compare(sleep_fit(method="ml"), again).to_frame()
    assert list(table["n_params"]) == [4, 4]
    assert_allclose(table["loglik"].diff().iloc[1], 0.0, atol=1e-6)


def test_models_that_are_not_nested_compare():
    other = np.random.default_rng(1).normal(size=180)
    X = pd.DataFrame({"other": other, "more": other**2})
    table = compare(sleep_fit(method="ml"), sleep_fit(X=X, method="ml")).to_frame()
    assert table["delta_aic"].iloc[1] > 50
    # known parts of the mean are part of the model, the outcomes are the same
    shifted = MixedLinear(method="ml").fit(
        SLEEP.data, SLEEP.target, groups=SLEEP.groups, offset=10.0 * SLEEP.data["Days"]
    )
    assert compare(sleep_fit(method="ml"), shifted).to_frame()["delta_aic"].iloc[1] == pytest.approx(0.0, abs=1e-6)


def test_pipelines_and_searches():
    pipe = make_pipeline(StandardScaler(), MixedLinear(method="ml"))
    pipe.fit(SLEEP.data, SLEEP.target, mixedlinear__groups=SLEEP.groups)
    search = GridSearchCV(MixedLinear(method="ml"), {"tol": [1e-10]}, cv=2).fit(SLEEP.data, SLEEP.target)
    table = compare(pipe, search).to_frame()
    assert table["loglik"].iloc[0] == pytest.approx(sleep_fit(method="ml").loglik_, abs=1e-7)
    assert table["n_params"].tolist() == [4, 3]


def test_generalized_estimating_equations():
    ohio = load_ohio()
    gees = [
        GEEClassifier(working_correlation=name).fit(ohio.data, ohio.target, groups=ohio.groups)
        for name in ("independence", "exchangeable")
    ]
    result = compare(*gees)
    table = result.to_frame()
    for row, gee in zip(table.itertuples(), gees, strict=True):
        found = qic(gee)
        assert (row.qic, row.qicu, row.cic) == (found.qic, found.qicu, found.cic)
        assert row.n_params == 3
    assert table["delta_qic"].min() == 0.0
    assert result.criterion == "quasi-likelihood"
    assert "different scales" in result.notes[0]
    fixed = [GEEClassifier(scale=1.0).fit(ohio.data[c], ohio.target, groups=ohio.groups) for c in (["age"], ["smoke"])]
    assert compare(*fixed).notes == ()


# --------------------------------------------------------------------------------------------- sampling weights


@pytest.mark.parametrize("name", LOGIT)
def test_survey_criteria_against_r(name):
    case = FITS[name]
    result = compare(fitted(name), fitted(name, "reduced"), names=["full", "reduced"])
    table = result.to_frame()
    expected = [case["aic"]["full"], case["aic"]["reduced"]]
    assert_allclose(table["n_effective"], [row[0] for row in expected], rtol=1e-9)
    assert_allclose(table["daic"], [row[1] for row in expected], rtol=1e-10)
    if "bic" in case:
        assert_allclose(table["dbic"], case["bic"], rtol=1e-10)
    n_features = [len(case["features"]), len(case["reduced"])]
    assert list(table["n_params"]) == [count + case["intercept"] for count in n_features]
    assert_allclose(table["delta_daic"], table["daic"] - table["daic"].min(), atol=1e-12)
    assert_allclose(table["delta_dbic"], table["dbic"] - table["dbic"].min(), atol=1e-12)
    assert (result.criterion, result.notes) == ("pseudo-likelihood", ())


def test_survey_criteria_are_made_of_the_tests():
    """Differences of dAIC: the likelihood ratio less twice the difference of effective parameters; of dBIC: Wald."""
    small, large = fitted("clus1", "reduced"), fitted("clus1")
    table, test = compare(small, large).to_frame(), lrt(small, large)
    gain = test.statistic - 2 * np.diff(table["n_effective"])[0]
    assert table["daic"].iloc[0] - table["daic"].iloc[1] == pytest.approx(gain, abs=1e-8)
    wald = wald_test(large, test.terms, df="normal")
    expected = wald.statistic + np.log(test.design_effects).sum() - test.df * np.log(large._inference.n_obs)
    assert table["dbic"].iloc[0] - table["dbic"].iloc[1] == pytest.approx(expected, abs=1e-8)


def test_survey_fits_that_are_not_nested():
    """dBIC needs a fit that contains all others; dAIC does not."""
    ohio = load_ohio()
    X = ohio.data.assign(both=ohio.data["age"] * ohio.data["smoke"])

    def fit(*columns):
        return LogitRegressor(weight_type="sampling").fit(X[list(columns)], ohio.target, groups=ohio.groups)

    table = compare(fit("age"), fit("smoke", "both")).to_frame()
    assert list(table.columns) == ["n_params", "n_effective", "loglik", "daic", "delta_daic"]
    with_largest = compare(fit("age"), fit("smoke", "both"), fit("age", "smoke", "both")).to_frame()
    assert_allclose(with_largest["daic"].iloc[:2], table["daic"])
    assert with_largest["dbic"].notna().all()


# ---------------------------------------------------------------------------------------------------- refusals


def test_what_does_not_compare():
    ohio, penicillin = load_ohio(), load_penicillin()
    logit = LogitRegressor().fit(ohio.data, ohio.target)
    gee = GEEClassifier().fit(ohio.data, ohio.target, groups=ohio.groups)
    with pytest.raises(ValueError, match="Fit with method='ml'"):
        compare(sleep_fit(), sleep_fit(X=SLEEP.data[[]]))
    with pytest.raises(ValueError, match="in other units"):
        compare(sleep_fit(), sleep_fit(X=SLEEP.data * 24))
    with pytest.raises(ValueError, match="some by ML"):
        compare(sleep_fit(), sleep_fit(["Days"], method="ml"))
    with pytest.raises(ValueError, match="different data"):
        compare(
            sleep_fit(method="ml"),
            MixedLinear(method="ml").fit(penicillin.data, penicillin.target, groups=penicillin.groups),
        )
    with pytest.raises(ValueError, match="different kinds of outcomes"):
        compare(logit, sleep_fit(method="ml"))
    with pytest.raises(ValueError, match="A GEE has a quasi-likelihood"):
        compare(logit, gee)
    with pytest.raises(ValueError, match="penalty='l2'"):
        compare(logit, LogitRegressor("l2").fit(ohio.data, ohio.target))
    with pytest.raises(ValueError, match="sampling weights"):
        compare(logit, LogitRegressor(weight_type="sampling").fit(ohio.data, ohio.target))
    sampling = LogitRegressor(weight_type="sampling").fit(ohio.data, ohio.target)
    grouped = LogitRegressor(weight_type="sampling").fit(ohio.data, ohio.target, groups=ohio.groups)
    with pytest.raises(ValueError, match="different designs"):
        compare(sampling, grouped)
    weights = np.arange(len(ohio.target)) % 3 + 1.0
    with pytest.raises(ValueError, match="different data"):
        compare(sampling, LogitRegressor(weight_type="sampling").fit(ohio.data, ohio.target, sample_weight=weights))
    with pytest.raises(ValueError, match="believes the working model"):
        compare(LogitRegressor(weight_type="sampling", cov_type="model").fit(ohio.data, ohio.target))
    with pytest.raises(ValueError, match="different families"):
        compare(gee, GEERegressor().fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups))
    with pytest.raises(ValueError, match="different data"):
        compare(gee, GEEClassifier().fit(ohio.data[:-4], ohio.target[:-4], groups=ohio.groups[:-4]))
    with pytest.raises(ValueError, match="got none"):
        compare()
    with pytest.raises(ValueError, match="1 names for 2 estimators"):
        compare(logit, logit, names=["a"])
    with pytest.raises(TypeError, match="no fitted skdep estimator"):
        compare(logit, StandardScaler().fit(ohio.data))


def test_the_same_data_with_reml_in_another_column_order():
    X = SLEEP.data.assign(other=np.sin(np.arange(180)))
    table = compare(sleep_fit(X=X), sleep_fit(["Days"], X=X[["other", "Days"]])).to_frame()
    assert table["delta_aic"].iloc[1] == 0.0


# ----------------------------------------------------------------------------------------------------- display


def test_display():
    result = compare(sleep_fit(method="ml"), names=["intercepts"])
    assert str(result).splitlines()[0].split() == ["n_params", "loglik", "aic", "bic", "delta_aic", "delta_bic"]
    assert str(result).splitlines()[1].split() == ["intercepts", "4", "-897.04", "1802.08", "1814.85", "0.00", "0.00"]
    assert "<table" in result._repr_html_() and "-897.04" in result._repr_html_()
