"""Forest plots: the numbers they hold, their axes, intervals that run out of the picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_epil, load_ohio
from skdep.inference import coef_table, odds_ratios
from skdep.plotting import CoefficientsDisplay

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


@pytest.fixture(scope="module")
def ohio():
    return load_ohio()


@pytest.fixture(scope="module")
def fits(ohio):
    rows = (ohio.data, ohio.target)
    return {
        "logit": LogitRegressor().fit(*rows, groups=ohio.groups),
        "gee": GEEClassifier(working_correlation="exchangeable").fit(*rows, groups=ohio.groups),
        "age only": LogitRegressor().fit(ohio.data[["age"]], ohio.target, groups=ohio.groups),
    }


def test_values_are_those_of_the_tables(fits):
    display = CoefficientsDisplay.from_estimators(fits, intercept=True, level=0.9)
    assert display.terms == ["Intercept", "age", "smoke"]
    assert display.models == list(fits)
    for k, est in enumerate(fits.values()):
        table = coef_table(est, level=0.9).reindex(display.terms)
        assert_allclose(display.estimate[:, k], table["estimate"])
        assert_allclose(display.lower[:, k], table["conf_low"])
        assert_allclose(display.upper[:, k], table["conf_high"])
    assert np.isnan(display.estimate[2, 2])
    assert display.ax_.get_xlabel() == "Log odds ratio, 90% interval"


def test_ratios_are_odds_ratios_per_unit(fits):
    est = fits["logit"]
    display = CoefficientsDisplay.from_estimator(est, exponentiate=True, per={"age": -2.0})
    table = odds_ratios(est).loc[["age", "smoke"]]
    assert_allclose(display.estimate[1, 0], table.loc["smoke", "estimate"])
    assert_allclose(display.estimate[0, 0], table.loc["age", "estimate"] ** -2)
    # a negative unit turns the interval round
    ends = [display.lower[0, 0], display.upper[0, 0]]
    assert_allclose(ends, table.loc["age", ["conf_high", "conf_low"]].astype(float) ** -2)
    assert display.terms == ["age (per -2)", "smoke"]
    assert display.ax_.get_xscale() == "log"
    assert_allclose(display.reference_line_.get_xdata(), 1.0)


def test_posteriors_have_means_of_coefficients_and_medians_of_ratios(ohio):
    model = BayesLogit(n_draws=200, random_state=0).fit(ohio.data, ohio.target)
    display = CoefficientsDisplay.from_estimator(model, exponentiate=True)
    draws = np.exp(model.draws_["coef"].reshape(-1, 2))
    assert_allclose(display.estimate[:, 0], np.median(draws, axis=0))
    assert_allclose(display.lower[:, 0], np.quantile(draws, 0.025, axis=0))
    assert display.ax_.get_xlabel() == "Odds ratio, 95% credible interval"
    plain = CoefficientsDisplay.from_estimator(model)
    assert_allclose(plain.estimate[:, 0], model.coef_[0])


def test_terms_are_chosen_ordered_and_renamed(fits):
    by_name = CoefficientsDisplay.from_estimator(fits["logit"], terms=["smoke", "Intercept"])
    assert by_name.terms == ["smoke", "Intercept"]
    assert_allclose(by_name.estimate[:, 0], [fits["logit"].coef_[0, 1], fits["logit"].intercept_[0]])
    renamed = CoefficientsDisplay.from_estimator(fits["logit"], terms={"smoke": "Mother smokes"})
    assert [label.get_text() for label in renamed.ax_.get_yticklabels()] == ["Mother smokes"]
    assert CoefficientsDisplay.from_estimator(fits["logit"], terms="age").estimate.shape == (1, 1)


def test_settings_by_name(fits):
    two = {"naive": fits["gee"], "robust": fits["gee"]}
    display = CoefficientsDisplay.from_estimators(two, cov_type={"naive": "naive"}, df={"robust": 10.0})
    for k, options in enumerate([{"cov_type": "naive"}, {"df": 10.0}]):
        assert_allclose(display.upper[:, k], coef_table(fits["gee"], **options)["conf_high"].iloc[1:])
    with pytest.raises(ValueError, match="cov_type names no model 'sandwich'; there are naive, robust"):
        CoefficientsDisplay.from_estimators(two, cov_type={"sandwich": "robust"})


def test_tables(fits):
    est = fits["logit"]
    expected = CoefficientsDisplay.from_estimator(est, exponentiate=True)
    of_logs = CoefficientsDisplay.from_tables(coef_table(est), exponentiate=True)
    of_ratios = CoefficientsDisplay.from_tables({"a": odds_ratios(est)}, ratios=True)
    for display in (of_logs, of_ratios):
        assert_allclose(display.estimate, expected.estimate)
        assert_allclose(display.lower, expected.lower)
        assert display.ax_.get_xscale() == "log"
    assert CoefficientsDisplay.from_tables([coef_table(est), coef_table(est)]).models == ["table 1", "table 2"]
    with pytest.raises(ValueError, match="no column conf_low"):
        CoefficientsDisplay.from_tables(coef_table(est).drop(columns="conf_low"))
    with pytest.raises(ValueError, match="hold ratios already"):
        CoefficientsDisplay.from_tables(odds_ratios(est), ratios=True, exponentiate=True)
    with pytest.raises(ValueError, match="negative numbers, which are no ratios"):
        CoefficientsDisplay.from_tables(coef_table(est), ratios=True)


def test_names_of_scales(sleep, fits):
    def label(est, **options):
        return CoefficientsDisplay.from_estimators(est, **options).ax_.get_xlabel()

    epil = load_epil()
    poisson = GEERegressor(family="poisson").fit(epil.data[["base"]], epil.target, groups=epil.groups)
    gamma = GEERegressor(family="gamma", link="log").fit(epil.data[["base"]], epil.target + 1.0, groups=epil.groups)
    assert label([poisson], exponentiate=True) == "Rate ratio, 95% interval"
    assert label([gamma], exponentiate=True) == "Ratio of means, 95% interval"
    assert label([sleep.model]) == "Coefficient, 95% interval"
    assert label([poisson, fits["gee"]]) == "Coefficient, 95% interval"
    with pytest.raises(TypeError, match="MixedLinear has link 'identity'"):
        label([sleep.model], exponentiate=True)


def test_pipelines_and_searches(ohio):
    pipe = make_pipeline(StandardScaler(), LogitRegressor()).fit(ohio.data, ohio.target)
    search = GridSearchCV(
        pipe, {"logitregressor__fit_intercept": [True]}, cv=KFold(2, shuffle=True, random_state=0)
    ).fit(ohio.data, ohio.target)
    display = CoefficientsDisplay.from_estimators([pipe, search])
    assert display.models == ["LogitRegressor 1", "LogitRegressor 2"]
    assert_allclose(display.estimate[:, 0], pipe[-1].coef_[0])
    assert_allclose(display.estimate[:, 1], pipe[-1].coef_[0])


def test_very_wide_intervals_end_in_arrows():
    table = pd.DataFrame(
        {
            "estimate": [0.1, 0.2, 30.0, -0.3],
            "conf_low": [-1.0, -0.7, -np.inf, -1.0],
            "conf_high": [1.0, 1.1, 900.0, 0.4],
        },
        index=list("abcd"),
    )
    display = CoefficientsDisplay.from_tables(table)
    left, right = display.ax_.get_xlim()
    assert (left, right) == pytest.approx((-1.105, 1.205))
    assert [arrow.get_marker() for arrow in display.arrows_] == ["<", ">"]
    assert all(list(arrow.get_ydata()) == [2.0] for arrow in display.arrows_)
    segments = {tuple(segment[:, 0]) for segment in display.intervals_[0].get_segments()}
    assert (left, right) in segments
    wide = display.plot(xlim=(-2.0, 2.0))
    assert wide.ax_.get_xlim() == (-2.0, 2.0)


def test_terms_without_interval_keep_their_point():
    X = np.random.default_rng(0).normal(size=(60, 1))
    X = pd.DataFrame(np.column_stack([X, X]), columns=["a", "twin"])
    with pytest.warns(UserWarning):
        est = MixedLinear().fit(X, X["a"] + np.random.default_rng(1).normal(size=60))
    display = CoefficientsDisplay.from_estimator(est, intercept=True)
    assert np.isfinite(display.estimate).all()
    assert np.isnan(display.lower[1:]).all()
    assert len(display.intervals_[0].get_segments()) == 1
    assert len(display.points_[0].get_xdata()) == 3


def test_legend_and_marks_tell_models_apart(fits):
    display = CoefficientsDisplay.from_estimators(fits)
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == list(fits)
    assert len({points.get_marker() for points in display.points_}) == 3
    assert CoefficientsDisplay.from_estimator(fits["gee"]).ax_.get_legend() is None
    # the first model is the highest within a term, and the axis runs downwards
    assert display.points_[0].get_ydata()[0] < display.points_[1].get_ydata()[0]
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]


def test_errors(fits):
    with pytest.raises(ValueError, match="no term 'sex'; the models have Intercept, age, smoke"):
        CoefficientsDisplay.from_estimator(fits["gee"], terms=["sex"])
    with pytest.raises(ValueError, match="no term 'sex'"):
        CoefficientsDisplay.from_estimator(fits["gee"], per={"sex": 2.0})
    with pytest.raises(ValueError, match="give at least one"):
        CoefficientsDisplay.from_estimators({})
    with pytest.raises(TypeError, match="no fitted skdep estimator"):
        CoefficientsDisplay.from_estimator(StandardScaler().fit([[0.0], [1.0]]))
    groups = np.repeat(np.arange(10), 4)
    y = np.random.default_rng(0).random(40) < 0.1 + 0.08 * groups
    only_intercept = MixedLogit().fit(np.zeros((40, 0)), y, groups=groups)
    with pytest.raises(ValueError, match="no term to draw but the intercept"):
        CoefficientsDisplay.from_estimator(only_intercept)
