"""The public class: predictions and their meaning, units and labels, pipelines and searches, inference and displays."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skdep import GEEClassifier, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio
from skdep.exceptions import SingularFitWarning
from skdep.inference import coef_table, compare, lrt, odds_ratios, wald_test

from .rows import GROUPS, N, X, frame, y

CROSSED = pd.DataFrame({"rater": GROUPS, "item": np.arange(N) % 9})
SETTINGS = [
    MixedLogit(),
    MixedLogit(["a"]),
    MixedLogit(["a"], n_quadrature=1),
    MixedLogit(["a"], covariance="diagonal"),
]


def fit(est=None, X=None, y=y, groups=GROUPS, **metadata):
    """Fit without a word of a singular covariance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return clone(est or MixedLogit()).fit(frame() if X is None else X, y, groups=groups, **metadata)


def average(mean, variance):
    """Return the mean of expit(eta) for a normal eta."""

    def density(z):
        return special.expit(mean + np.sqrt(variance) * z) * stats.norm.pdf(z)

    return integrate.quad(density, -12.0, 12.0, epsabs=1e-13, epsrel=1e-12)[0]


# ------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("est", SETTINGS, ids=repr)
def test_probabilities_of_the_population_are_averages_over_effects(est):
    est = fit(est)
    eta = est.intercept_ + X @ est.coef_[0]
    Z = np.column_stack([np.ones(N), X[:, 0]])[:, : len(est.random_names_["group"])]
    variance = np.einsum("na,ab,nb->n", Z, est.random_covariance_["group"], Z)
    expected = [average(m, v) for m, v in zip(eta[:12], variance[:12], strict=True)]
    assert_allclose(est.predict_proba(frame())[:12, 1], expected, rtol=1e-10)
    assert np.abs(est.predict_proba(frame())[:, 1] - special.expit(eta)).max() > 0.01, "not those of effects of zero"


@pytest.mark.parametrize("est", SETTINGS, ids=repr)
def test_probabilities_of_known_levels_are_conditional(est):
    est = fit(est)
    Z = np.column_stack([np.ones(N), X[:, 0]])[:, : len(est.random_names_["group"])]
    eta = est.intercept_ + X @ est.coef_[0] + np.sum(Z * est.random_effects_["group"][GROUPS], axis=1)
    assert_allclose(est.predict_proba(frame(), groups=GROUPS)[:, 1], special.expit(eta), rtol=1e-10)
    assert_allclose(est.decision_function(frame(), groups=GROUPS), eta, rtol=1e-9, atol=1e-9)


def test_one_unknown_level_of_two_factors_is_averaged_over():
    est = fit(groups=CROSSED)
    est_groups = CROSSED.assign(rater=-5)
    eta = est.intercept_ + X @ est.coef_[0] + est.random_effects_["item"][CROSSED["item"], 0]
    variance = est.random_covariance_["rater"][0, 0]
    expected = [average(m, variance) for m in eta[:8]]
    assert_allclose(est.predict_proba(frame(), groups=est_groups)[:8, 1], expected, rtol=1e-10)
    both = variance + est.random_covariance_["item"][0, 0]
    population = est.intercept_ + X @ est.coef_[0]
    expected = [average(m, both) for m in population[:8]]
    assert_allclose(est.predict_proba(frame())[:8, 1], expected, rtol=1e-10)


@pytest.mark.parametrize(
    "groups", [None, GROUPS, np.where(np.arange(N) % 2, GROUPS, -1)], ids=["none", "known", "half"]
)
def test_predictions_agree_with_each_other(groups):
    est = fit(MixedLogit(["a"]))
    given = {"groups": groups}
    probability, log_odds = est.predict_proba(frame(), **given), est.decision_function(frame(), **given)
    assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-14)
    assert_allclose(special.expit(log_odds), probability[:, 1], rtol=1e-10)
    assert_allclose(est.predict_log_proba(frame(), **given), np.log(probability), rtol=1e-9)
    assert_array_equal(est.predict(frame(), **given), (log_odds > 0).astype(int))
    assert est.score(frame(), y, **given) == accuracy_score(y, (probability[:, 1] > 0.5).astype(int))


def test_modes_are_modes():
    """Effects maximise their conditional density; their standard deviations are its curvature."""
    est = fit(MixedLogit(["a"], tol=1e-12))
    inverse = np.linalg.inv(est.random_covariance_["group"])
    Z = np.column_stack([np.ones(N), X[:, 0]])
    probability = est.predict_proba(frame(), groups=GROUPS)[:, 1]
    for level in (0, 5, 17):
        rows = est.levels_["group"][level] == GROUPS
        b = est.random_effects_["group"][level]
        assert_allclose(Z[rows].T @ (y[rows] - probability[rows]), inverse @ b, atol=1e-6)
        curvature = (Z[rows].T * (probability * (1 - probability))[rows]) @ Z[rows] + inverse
        assert_allclose(est.random_effects_sd_["group"][level], np.sqrt(np.diag(np.linalg.inv(curvature))), rtol=1e-6)


def test_an_offset_is_a_coefficient_of_one():
    full = fit(MixedLogit(tol=1e-12))
    part = fit(MixedLogit(tol=1e-12), frame()[["a", "b"]], offset=full.coef_[0, 2] * X[:, 2])
    assert_allclose(part.coef_[0], full.coef_[0, :2], rtol=1e-6)
    assert_allclose(part.loglik_, full.loglik_, rtol=1e-9)
    offset = full.coef_[0, 2] * X[:, 2]
    for groups in (None, GROUPS):
        found = part.predict_proba(frame()[["a", "b"]], groups=groups, offset=offset)
        assert_allclose(found, full.predict_proba(frame(), groups=groups), rtol=1e-5)
    with pytest.warns(UserWarning, match="was fitted with an offset"):
        part.predict_proba(frame()[["a", "b"]])


# ------------------------------------------------------------------------------------------------- what must not matter


@pytest.mark.parametrize("est", SETTINGS, ids=repr)
def test_swapped_classes_change_signs(est):
    before, after = fit(clone(est).set_params(tol=1e-12)), fit(clone(est).set_params(tol=1e-12), y=1 - y)
    assert_allclose(after.coef_, -before.coef_, rtol=1e-5)
    assert_allclose(after.loglik_, before.loglik_, rtol=1e-9)
    assert_allclose(after.random_covariance_["group"], before.random_covariance_["group"], rtol=1e-4, atol=1e-6)
    assert_allclose(after.random_effects_["group"], -before.random_effects_["group"], rtol=1e-4, atol=1e-5)
    assert_allclose(after.covariance_, before.covariance_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("est", [MixedLogit(["a"]), MixedLogit(["a", "c"], n_quadrature=3)], ids=repr)
def test_rows_features_and_labels_in_another_order(est):
    """Two and three effects a level, where second derivatives are differenced."""
    expected = fit(est)
    order = np.random.default_rng(0).permutation(N)
    labels = np.array([f"school {99 - label}" for label in GROUPS])
    found = fit(est, frame().iloc[order][["c", "a", "b"]], y[order], labels[order])
    assert_allclose(found.coef_[0][[1, 2, 0]], expected.coef_[0], rtol=1e-5)
    assert_allclose(found.loglik_, expected.loglik_, rtol=1e-8)
    table, wanted = coef_table(found), coef_table(expected)
    assert_allclose(table.loc[wanted.index, "std_error"], wanted["std_error"], rtol=1e-4)
    assert_allclose(
        found.predict_proba(frame()[["c", "a", "b"]], groups=labels),
        expected.predict_proba(frame(), groups=GROUPS),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    "labels",
    [
        y.tolist(),
        y.astype(bool),
        y.astype(np.int8),
        np.where(y == 1, "yes", "no"),
        pd.Series(pd.Categorical(np.where(y == 1, "yes", "no"))),
        pd.Series(y.astype(bool), dtype="boolean"),
        pd.Series(y, dtype="Int64", index=np.arange(N)[::-1]),
        2.0 * y - 1.0,
    ],
    ids=["list", "bool", "int8", "texts", "categorical", "nullable bool", "nullable integer", "minus one"],
)
def test_labels_of_any_kind(labels):
    expected, est = fit(), fit(y=labels)
    assert_array_equal(est.coef_, expected.coef_)
    assert_array_equal(est.classes_, np.unique(labels))
    assert_array_equal(est.predict(frame()) == est.classes_[1], expected.predict(frame()) == 1)
    assert est.score(frame(), labels, groups=GROUPS) == expected.score(frame(), y, groups=GROUPS)


def test_lists_are_arrays():
    est, expected = fit(X=X.tolist(), y=y.tolist(), groups=GROUPS.tolist()), fit(X=X)
    assert_array_equal(est.coef_, expected.coef_)
    assert_array_equal(est.predict(X.tolist(), groups=GROUPS.tolist()), expected.predict(X, groups=GROUPS))


@pytest.mark.parametrize("features", [np.empty((N, 0)), pd.DataFrame(index=range(N))], ids=["array", "frame"])
def test_no_features(features):
    est = fit(X=features)
    assert est.coef_.shape == (1, 0) and est.covariance_.shape == (1, 1)
    assert list(coef_table(est).index) == ["Intercept"]
    assert np.ptp(est.predict_proba(features)[:, 1]) < 1e-14
    assert np.unique(est.predict_proba(features, groups=GROUPS)[:, 1]).size > 10
    assert est.separated_ == []
    assert_array_equal(pickle.loads(pickle.dumps(est)).predict_proba(features), est.predict_proba(features))


@pytest.mark.parametrize("est", [MixedLogit(), MixedLogit(["a"])], ids=repr)
def test_more_nodes_converge_and_auto_takes_enough(est):
    exact = fit(clone(est).set_params(n_quadrature=40 if est.random_slopes is None else 25))
    found = fit(est)
    assert_allclose(found.loglik_, exact.loglik_, atol=2e-3)
    errors = [abs(fit(clone(est).set_params(n_quadrature=k)).loglik_ - exact.loglik_) for k in (1, 2, 3, 6, 11)]
    assert errors[-1] < 1e-3 < errors[0]
    assert all(fit(clone(est).set_params(n_quadrature=k)).n_quadrature_ == k for k in (1, 2, 3))


def test_without_groups_it_is_logit_regressor():
    est, plain = fit(groups=None), LogitRegressor().fit(frame(), y)
    assert_allclose(est.coef_, plain.coef_, rtol=1e-8)
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-12)
    assert_allclose(coef_table(est), coef_table(plain, cov_type="model"), rtol=1e-6)
    robust = fit(MixedLogit(cov_type="robust"), groups=None)
    assert_allclose(coef_table(robust)["std_error"], coef_table(plain, cov_type="hc0")["std_error"], rtol=1e-6)
    assert_allclose(est.predict_proba(frame()), plain.predict_proba(frame()), rtol=1e-7)


def test_slopes_of_one_factor_and_not_of_the_other():
    est = fit(MixedLogit({"item": ["b"]}), groups=CROSSED)
    assert est.random_names_ == {"rater": ("Intercept",), "item": ("Intercept", "b")}
    assert list(est.levels_) == list(est.random_effects_) == ["rater", "item"]
    swapped = fit(MixedLogit({"item": ["b"]}), groups=CROSSED[["item", "rater"]])
    assert list(swapped.levels_) == ["item", "rater"]
    assert_allclose(swapped.loglik_, est.loglik_, rtol=1e-7)
    assert_array_equal(
        est.predict_proba(frame(), groups=CROSSED[["item", "rater"]]), est.predict_proba(frame(), groups=CROSSED)
    )


def test_fits_at_the_same_time_in_threads():
    settings = [MixedLogit(["a"]), MixedLogit(), MixedLogit(n_quadrature=1)] * 4
    warnings.simplefilter("ignore", SingularFitWarning)  # filters are not safe in threads
    one_by_one = [clone(est).fit(frame(), y, groups=GROUPS) for est in settings]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda est: clone(est).fit(frame(), y, groups=GROUPS), settings))
    for found, expected in zip(together, one_by_one, strict=True):
        assert_array_equal(found.coef_, expected.coef_)
        assert_array_equal(found.covariance_, expected.covariance_)


def test_refit_leaves_nothing_of_the_first():
    est = fit(MixedLogit({"rater": ["a"]}), groups=CROSSED, offset=np.ones(N))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est.set_params(random_slopes=None).fit(X, y, groups=GROUPS)
    fresh = fit(X=X)
    assert vars(est).keys() == vars(fresh).keys()
    assert_array_equal(est.coef_, fresh.coef_)
    assert est.levels_.keys() == {"group"}
    est.fit(X, y)
    assert est.levels_ == est.random_effects_ == est.random_covariance_ == {}


# ------------------------------------------------------------------------------------------------- pipelines, searches


def test_search_over_nodes_and_slopes_with_routing():
    grid = {"n_quadrature": [1, 5], "random_slopes": [None, ["a"]], "penalty": [None, "weak"]}
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        search = GridSearchCV(MixedLogit(), grid, cv=GroupKFold(3), scoring="neg_log_loss")
        search.fit(frame(), y, groups=GROUPS)
        scores = cross_val_score(MixedLogit(), frame(), y, cv=GroupKFold(3), params={"groups": GROUPS})
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert_array_equal(search.best_estimator_.coef_, fit(MixedLogit(**search.best_params_)).coef_)
    for score, (train, test) in zip(scores, GroupKFold(3).split(X, y, GROUPS), strict=True):
        est = fit(X=frame().iloc[train], y=y[train], groups=GROUPS[train])
        assert score == est.score(frame().iloc[test], y[test])


def test_pipeline_of_messy_columns():
    table = frame().assign(arm=np.array(["placebo", "low", "high"])[GROUPS % 3], score=1e6 + 1e4 * X[:, 2])
    encode = make_column_transformer(
        (OneHotEncoder(drop="first", sparse_output=False), ["arm"]),
        (StandardScaler(), ["score", "a"]),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(encode, MixedLogit(["a"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        pipe.fit(
            table, np.where(y == 1, "ill", "well"), mixedlogit__groups=pd.Series(GROUPS, name="ward").map("w{}".format)
        )
    assert list(coef_table(pipe).index) == ["Intercept", "arm_low", "arm_placebo", "score", "a"]
    est = pipe[-1]
    assert list(est.levels_) == ["ward"] and est.random_names_["ward"] == ("Intercept", "a")
    assert list(est.classes_) == ["ill", "well"]
    labels = [f"w{label}" for label in GROUPS]
    given = pipe.predict_proba(table, groups=labels)
    assert_allclose(given, est.predict_proba(encode.transform(table), groups=labels))
    assert "success is well, failure ill" in str(est.summary())


# ------------------------------------------------------------------------------------------------- inference


def test_an_ordinary_fit_is_silent():
    ohio = load_ohio()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MixedLogit().fit(ohio.data, ohio.target, groups=ohio.groups)
        est.predict_proba(ohio.data, groups=ohio.groups)
        str(est.summary())
    assert est.converged_ and not est.singular_ and est.separated_ == []


def test_singular_fits_are_told_and_are_converged_fits():
    """Every level has the same outcomes for the same features: nothing varies between levels."""
    groups = np.repeat(np.arange(12), 8)
    features = np.tile(np.arange(8.0), 12)[:, None]
    labels = np.tile([0, 0, 1, 0, 1, 0, 1, 1], 12)
    plain = MixedLogit().fit(features, labels)
    for est in (MixedLogit(), MixedLogit([0]), MixedLogit(n_quadrature=1), MixedLogit([0], covariance="diagonal")):
        with pytest.warns(SingularFitWarning, match=r"of 'group' has not full rank") as caught:
            est.fit(features, labels, groups=groups)
        assert len(caught) == 1
        assert est.singular_ is True and est.converged_ is True
        assert_allclose(est.random_covariance_["group"], 0.0, atol=1e-8)
        assert_allclose(est.loglik_, plain.loglik_, rtol=1e-9)
        assert_allclose(coef_table(est)["std_error"], coef_table(plain)["std_error"], rtol=1e-4)
        assert_allclose(est.predict_proba(features, groups=groups), plain.predict_proba(features), rtol=1e-4)
        assert "Singular fit" in str(est.summary())


def test_perfectly_correlated_effects_leave_standard_errors():
    """Effects of (1, x) along one direction: slopes are multiples of intercepts, a singular covariance of rank one."""
    rng = np.random.default_rng(3)
    groups, x = np.repeat(np.arange(60), 12), rng.normal(size=720)
    effect = rng.normal(size=60)[groups] * (1.0 + 0.7 * x)
    labels = (rng.uniform(size=720) < special.expit(0.2 + 0.5 * x + effect)).astype(int)
    found = {}
    for k in (1, 9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularFitWarning)
            found[k] = MixedLogit([0], n_quadrature=k).fit(x[:, None], labels, groups=groups)
        correlation = found[k].random_covariance_["group"]
        assert correlation[0, 1] / np.sqrt(correlation[0, 0] * correlation[1, 1]) > 0.9
        assert np.isfinite(found[k].covariance_).all()
    assert_allclose(coef_table(found[1])["std_error"], coef_table(found[9])["std_error"], rtol=0.05)


def test_tests_and_tables():
    est = fit()
    table = coef_table(est)
    assert_allclose(table["statistic"], table["estimate"] / np.sqrt(np.diag(est.covariance_)))
    assert_allclose(table["p_value"], 2 * stats.norm.sf(np.abs(table["statistic"])))
    residual = coef_table(est, df="residual")
    assert_array_equal(residual["df"], N - 4)
    one = wald_test(est, [[0, 0, 1, 0]])
    assert_allclose(one.statistic, table["statistic"]["b"] ** 2)
    odds = odds_ratios(est).to_frame()
    assert_allclose(odds["estimate"], np.exp(table["estimate"]))
    with pytest.raises(ValueError, match="satterthwaite"):
        coef_table(est, df="satterthwaite")
    with pytest.raises(ValueError, match=r"cov_type='hc0' is not available"):
        coef_table(est, cov_type="hc0")


def test_likelihood_ratio_tests():
    plain, intercepts, slopes = fit(groups=None), fit(), fit(MixedLogit(["a"]))
    one = lrt(plain, intercepts)
    assert dict(one.mixture) == {0: 0.5, 1: 0.5}
    assert_allclose(one.statistic, 2 * (intercepts.loglik_ - plain.loglik_))
    assert_allclose(one.p_value, 0.5 * stats.chi2.sf(one.statistic, 1))
    assert_allclose(lrt(LogitRegressor().fit(frame(), y), intercepts).statistic, one.statistic, rtol=1e-8)
    two = lrt(intercepts, slopes)
    assert dict(two.mixture) == {1: 0.5, 2: 0.5}
    fewer = fit(X=frame()[["a", "b"]])
    assert_allclose(lrt(fewer, intercepts).p_value, stats.chi2.sf(2 * (intercepts.loglik_ - fewer.loglik_), 1))
    table = compare(plain, intercepts, slopes).to_frame()
    assert_allclose(table["aic"], [2 * k - 2 * e.loglik_ for k, e in zip((4, 5, 7), (plain, intercepts, slopes))])


@pytest.mark.parametrize(
    ("reduced", "full", "message"),
    [
        (MixedLogit(n_quadrature=1), MixedLogit(["a"], n_quadrature=9), "different numbers of quadrature nodes"),
        (MixedLogit(n_quadrature=1), MixedLogit(["a"]), "different numbers of quadrature nodes"),
        (MixedLogit(), MixedLogit(["a"], penalty="weak"), "penalty='weak'"),
        (MixedLogit(), MixedLogit(["a"], weight_type="sampling"), "sampling weights"),
        (MixedLogit(), MixedLogit(), "nothing to test"),
        (MixedLogit(["a"]), MixedLogit(), "give the smaller model first"),
    ],
)
def test_comparisons_that_mean_nothing(reduced, full, message):
    with pytest.raises(ValueError, match=message):
        lrt(fit(reduced), fit(full))


def test_comparisons_with_other_models():
    est = fit()
    with pytest.raises(ValueError, match="different kinds of outcomes"):
        compare(est, MixedLinear(method="ml").fit(frame(), y, groups=GROUPS))
    with pytest.raises(ValueError, match="quasi-likelihood"):
        compare(est, GEEClassifier().fit(frame(), y, groups=GROUPS))
    with pytest.raises(ValueError, match="different data"):
        lrt(fit(y=1 - y), fit(MixedLogit(["a"])))
    with pytest.raises(ValueError, match="not in the full one, or has other levels"):
        lrt(fit(groups=GROUPS // 2), fit(MixedLogit(["a"])))


def test_summary():
    est = fit(MixedLogit(["a"]), groups=pd.Series(GROUPS, name="ward"))
    sizes = np.bincount(GROUPS)
    lines = dict(line.split("  ", 1) for line in str(est.summary()).splitlines() if "  " in line.strip())
    wanted = {
        "Observations": f"{N}",
        "Classes": "success is 1, failure 0",
        "Levels of ward": f"{len(sizes)}, of {sizes.min()} to {sizes.max()} rows",
        "Integral": f"adaptive Gauss-Hermite quadrature, {est.n_quadrature_} nodes per dimension",
        "Log-likelihood": f"{est.loglik_:.4f}",
        "SD of a by ward": f"{np.sqrt(est.random_covariance_['ward'][1, 1]):.5g}",
        "Covariance": "model",
        "Converged": f"yes, after {est.n_iter_} iterations",
    }
    assert {label: lines[label].strip() for label in wanted} == wanted


# ------------------------------------------------------------------------------------------------- displays


def test_caterpillars_show_the_effects():
    plotting = pytest.importorskip("skdep.plotting", exc_type=ImportError)
    pytest.importorskip("matplotlib").use("Agg")
    est = fit(MixedLogit(["a"]))
    display = plotting.CaterpillarDisplay.from_estimator(est, sort_by="a")
    assert [ax.get_title() for ax in display.axes_] == ["Intercept", "Slope of a"]
    with pytest.raises(ValueError, match="without groups"):
        plotting.CaterpillarDisplay.from_estimator(fit(groups=None))


@pytest.mark.parametrize("name", ["QQDisplay", "ResidualsDisplay", "FittedLinesDisplay"])
def test_displays_of_residuals_refuse_classes(name):
    pytest.importorskip("matplotlib")
    from skdep import plotting

    with pytest.raises(TypeError, match=f"{name} shows outcomes that are numbers; MixedLogit predicts classes"):
        getattr(plotting, name).from_estimator(fit(), frame(), y, groups=GROUPS)
