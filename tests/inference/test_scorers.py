"""Scorers in searches, with scikit-learn's routing on and off."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.datasets import load_epil, load_ohio
from skdep.inference import cic_scorer, compare_correlations, deviance_scorer, qic, qic_scorer

GRID = {"working_correlation": ["independence", "exchangeable", "ar1"]}


@pytest.fixture(scope="module")
def ohio():
    return load_ohio()


@pytest.fixture
def routing():
    """Routing on, for one test."""
    with config_context(enable_metadata_routing=True):
        yield


def test_criteria_of_the_training_rows(ohio, routing):
    search = GridSearchCV(GEEClassifier(), GRID, scoring=qic_scorer, cv=GroupKFold(3))
    search.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    expected = []
    for name in GRID["working_correlation"]:
        scores = []
        for train, _ in GroupKFold(3).split(ohio.data, ohio.target, ohio.groups):
            fit = GEEClassifier(working_correlation=name)
            fit.fit(ohio.data.iloc[train], ohio.target.iloc[train], groups=ohio.groups.iloc[train],
                    time=ohio.time.iloc[train])  # fmt: skip
            scores.append(-qic(fit).qic)
        expected.append(np.mean(scores))
    assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-9)
    assert search.best_params_["working_correlation"] == GRID["working_correlation"][int(np.argmax(expected))]
    assert search.best_estimator_.n_clusters_ == 537


@pytest.mark.parametrize("enabled", [False, True])
def test_choice_by_all_rows_is_that_of_the_comparison(ohio, enabled):
    everything = np.arange(len(ohio.target))
    comparison = compare_correlations(
        GEEClassifier(),
        ohio.data,
        ohio.target,
        groups=ohio.groups,
        time=ohio.time,
        structures=GRID["working_correlation"],
    )
    pipe = make_pipeline(StandardScaler(), GEEClassifier())
    grid = {f"geeclassifier__{name}": values for name, values in GRID.items()}
    search = GridSearchCV(pipe, grid, scoring=cic_scorer, cv=[(everything, everything)])
    rows = {"groups": ohio.groups, "time": ohio.time}
    with config_context(enable_metadata_routing=enabled):
        search.fit(ohio.data, ohio.target, **(rows if enabled else {f"geeclassifier__{k}": v for k, v in rows.items()}))
    assert_allclose(-search.cv_results_["mean_test_score"], comparison.table["cic"].astype(float), rtol=1e-7)
    assert search.best_params_["geeclassifier__working_correlation"] == comparison.best("cic")


def test_deviance_on_rows_left_out(ohio, routing):
    search = GridSearchCV(GEEClassifier(), GRID, scoring=deviance_scorer, cv=GroupKFold(3))
    search.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    comparison = compare_correlations(
        GEEClassifier(), ohio.data, ohio.target, groups=ohio.groups, time=ohio.time,
        structures=GRID["working_correlation"], cv=3,
    )  # fmt: skip
    assert_allclose(-search.cv_results_["mean_test_score"], comparison.held_out.mean(), rtol=1e-8)
    assert search.best_params_["working_correlation"] == comparison.best("held_out_deviance")
    log_loss = GridSearchCV(GEEClassifier(), GRID, scoring="neg_log_loss", cv=GroupKFold(3))
    log_loss.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    scores = log_loss.cv_results_["mean_test_score"]
    assert_allclose(search.cv_results_["mean_test_score"], 2.0 * scores, rtol=1e-8)


def counts():
    epil = load_epil()
    rng = np.random.default_rng(0)
    X = np.log(epil.data[["base", "age"]]).to_numpy()
    weights = rng.integers(1, 4, 60)[epil.groups].astype(float)
    return X, epil.target.to_numpy(), epil.groups.to_numpy(), weights, rng.normal(scale=0.2, size=len(X))


def by_hand(est, X, y, test, weights, offset):
    mu = est.predict(X[test], offset=offset[test])
    rows = 2.0 * (np.where(y[test] > 0, y[test] * np.log(np.maximum(y[test], 1) / mu), 0.0) - (y[test] - mu))
    return -np.average(rows, weights=weights[test])


def test_weights_and_offsets_are_routed(routing):
    X, y, groups, weights, offset = counts()
    est = GEERegressor("poisson", weight_type="frequency")
    given = {"groups": groups, "sample_weight": weights, "offset": offset}
    found = cross_validate(est, X, y, params=given, scoring=deviance_scorer, cv=GroupKFold(4))["test_score"]
    expected = []
    for train, test in GroupKFold(4).split(X, y, groups):
        fit = clone(est).fit(X[train], y[train], **{name: part[train] for name, part in given.items()})
        expected.append(by_hand(fit, X, y, test, weights, offset))
    assert_allclose(found, expected, rtol=1e-9)
    both = {"deviance": deviance_scorer, "cic": cic_scorer}
    search = GridSearchCV(est, {"dof": ["n", "n-p"]}, scoring=both, refit="deviance", cv=GroupKFold(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.fit(X, y, groups=groups, offset=offset)
    assert np.all(search.cv_results_["mean_test_cic"] < 0.0)
    assert np.isfinite(search.cv_results_["mean_test_deviance"]).all()


def test_weights_without_routing():
    """scikit-learn hands sample_weight to scorers that take it, groups to the splitter only."""
    X, y, groups, weights, _ = counts()
    est = GEERegressor("poisson")
    search = GridSearchCV(est, {"dof": ["n"]}, scoring=deviance_scorer, cv=GroupKFold(4))
    search.fit(X, y, groups=groups, sample_weight=weights)
    expected = []
    for train, test in GroupKFold(4).split(X, y, groups):
        fit = clone(est).fit(X[train], y[train], sample_weight=weights[train])
        expected.append(deviance_scorer(fit, X[test], y[test], sample_weight=weights[test]))
    assert search.best_score_ == pytest.approx(np.mean(expected), rel=1e-9)
    both = {"deviance": deviance_scorer, "qic": qic_scorer}
    search = GridSearchCV(est, {"dof": ["n"]}, scoring=both, refit="deviance", cv=GroupKFold(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.fit(X, y, groups=groups, sample_weight=weights)
    assert search.best_score_ == pytest.approx(np.mean(expected), rel=1e-9)


def test_of_other_models(ohio):
    logit = LogitRegressor().fit(ohio.data, ohio.target)
    p = logit.predict_proba(ohio.data)[:, 1]
    expected = 2.0 * np.mean(np.where(ohio.target == 1, np.log(p), np.log1p(-p)))
    assert deviance_scorer(logit, ohio.data, ohio.target) == pytest.approx(expected, rel=1e-10)
    labels = np.where(ohio.target == 1, "yes", "no")
    named = LogitRegressor().fit(ohio.data, labels)
    assert deviance_scorer(named, ohio.data, labels) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ValueError, match="labels that the fit does not know, first 'maybe'"):
        deviance_scorer(named, ohio.data, np.full(len(labels), "maybe"))
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 1)), rng.normal(size=40)
    y = y + rng.normal(scale=2.0, size=10).repeat(4)
    mixed = MixedLinear().fit(X, y, groups=np.arange(40) // 4)
    assert deviance_scorer(mixed, X, y) == pytest.approx(-np.mean((y - mixed.predict(X)) ** 2), rel=1e-12)
    with pytest.raises(TypeError, match="QIC is defined for a GEE"):
        qic_scorer(logit, X, y)
    gamma = GEERegressor("gamma", link="log").fit(X, np.exp(y))
    with pytest.raises(ValueError, match="outside the range"):
        deviance_scorer(gamma, X, -np.exp(y))


def test_scorers_have_names_and_pickle():
    assert [repr(scorer) for scorer in (qic_scorer, cic_scorer, deviance_scorer)] == [
        "qic_scorer",
        "cic_scorer",
        "deviance_scorer",
    ]
    assert pickle.loads(pickle.dumps(cic_scorer)).criterion == "cic"
    assert isinstance(pickle.loads(pickle.dumps(deviance_scorer)), type(deviance_scorer))
