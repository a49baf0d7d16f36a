"""The public class: names of slopes and factors, predictions, several factors, pipelines and searches, state."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEERegressor, MixedLinear, interaction
from skdep.datasets import load_orthodont, load_penicillin, load_sleepstudy
from skdep.exceptions import SingularFitWarning
from skdep.inference import coef_table

from .designs import CASES

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")

SLOPES = CASES["two_slopes"]  # slopes of features 1 and 0
CROSSED = CASES["crossed_slopes"]  # of feature 0 by rater, of feature 1 by item
NESTED = CASES["nested"]


def frame_of(case):
    """Return the features with names a, b, c."""
    return pd.DataFrame(case.X, columns=list("abc")[: case.X.shape[1]])


def crossed(**options):
    """Return the estimator of the crossed design."""
    return MixedLinear({"rater": ["a"], "item": ["b"]}, **options)


def assert_same_fit(actual, expected, *, rtol=1e-7):
    """Assert that two fits agree in all that does not depend on the order of factors or features."""
    for name in ("intercept_", "coef_", "covariance_", "sigma2_", "loglik_"):
        assert_allclose(getattr(actual, name), getattr(expected, name), rtol=rtol, atol=1e-9, err_msg=name)
    for name in ("random_covariance_", "random_effects_", "random_effects_sd_"):
        found, wanted = getattr(actual, name), getattr(expected, name)
        assert found.keys() == wanted.keys()
        for factor in wanted:
            assert_allclose(found[factor], wanted[factor], rtol=1e2 * rtol, atol=1e-7, err_msg=f"{name}[{factor}]")


# ------------------------------------------------------------------------------------------------- slopes


@pytest.mark.parametrize(
    "slopes",
    [["b", "a"], ("b", "a"), [1, 0], [-2, -3], [np.int64(1), "a"], np.array([1, 0]), {"group": ["b", 0]}],
    ids=repr,
)
def test_slopes_by_name_and_number(slopes):
    X = frame_of(SLOPES)
    est = MixedLinear(slopes).fit(X, SLOPES.y, groups=SLOPES.groups["group"])
    expected = MixedLinear([1, 0]).fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    assert est.random_names_ == {"group": ("Intercept", "b", "a")}
    assert expected.random_names_ == {"group": ("Intercept", "x1", "x0")}
    assert_same_fit(est, expected, rtol=1e-9)


@pytest.mark.parametrize("slopes", ["b", 1, ["b"], {"group": ["b"]}, {"group": "b"}, {"group": 1}], ids=repr)
def test_one_slope_needs_no_list(slopes):
    est = MixedLinear(slopes).fit(frame_of(SLOPES), SLOPES.y, groups=SLOPES.groups["group"])
    assert est.random_names_ == {"group": ("Intercept", "b")}
    assert est.random_covariance_["group"].shape == (2, 2)


@pytest.mark.parametrize(
    "value",
    [
        0,
        np.int64(0),
        np.array([0]),
        np.array(["a"]),
        [0],
    ],
    ids=repr,
)
def test_the_first_feature_in_a_dict(value):
    est = MixedLinear({"group": value}).fit(frame_of(SLOPES), SLOPES.y, groups=SLOPES.groups["group"])
    assert est.random_names_ == {"group": ("Intercept", "a")}


def test_order_of_slopes_is_that_of_the_effects():
    groups = SLOPES.groups["group"]
    one, other = (MixedLinear(slopes).fit(SLOPES.X, SLOPES.y, groups=groups) for slopes in ([1, 0], [0, 1]))
    order = [0, 2, 1]
    assert_allclose(one.loglik_, other.loglik_, rtol=1e-10)
    swapped = one.random_covariance_["group"][np.ix_(order, order)]
    assert_allclose(other.random_covariance_["group"], swapped, rtol=1e-5)
    assert_allclose(other.random_effects_["group"], one.random_effects_["group"][:, order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("slopes", [None, [], (), {}, {"group": []}, {"group": None}], ids=repr)
def test_no_slopes(slopes):
    est = MixedLinear(slopes).fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    assert est.random_names_ == {"group": ("Intercept",)}


def test_slopes_without_intercepts():
    X, y, groups = SLOPES.X, SLOPES.y, SLOPES.groups["group"]
    full = MixedLinear([1, 0]).fit(X, y, groups=groups)
    est = MixedLinear([1, 0], random_intercept=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est.fit(X, y, groups=groups)
    assert est.random_names_ == {"group": ("x1", "x0")}
    assert est.loglik_ < full.loglik_ - 1.0
    # with ones as a feature that has a random slope, the full model is back
    ones = np.column_stack([X, np.ones(len(y))])
    again = MixedLinear([3, 1, 0], random_intercept=False, fit_intercept=False).fit(ones, y, groups=groups)
    assert_allclose(again.loglik_, full.loglik_, rtol=1e-9)
    assert_allclose(again.random_covariance_["group"], full.random_covariance_["group"], rtol=1e-4, atol=1e-6)


def test_a_dict_gives_each_factor_its_slopes_and_a_list_gives_them_to_all():
    est = crossed().fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)
    assert est.random_names_ == {"rater": ("Intercept", "a"), "item": ("Intercept", "b")}
    part = MixedLinear({"item": ["b"]}).fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)
    assert part.random_names_ == {"rater": ("Intercept",), "item": ("Intercept", "b")}
    both = MixedLinear(["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        both.fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)
    assert both.random_names_ == {"rater": ("Intercept", "a"), "item": ("Intercept", "a")}


def test_parameters_are_kept_as_given():
    slopes = {"group": ["b"]}
    est = MixedLinear(slopes)
    est.fit(frame_of(SLOPES), SLOPES.y, groups=SLOPES.groups["group"])
    assert est.random_slopes is slopes
    assert slopes == {"group": ["b"]}


# ------------------------------------------------------------------------------------------------- several factors


def test_names_of_factors():
    X, y, groups = CROSSED.X, CROSSED.y, CROSSED.groups
    assert list(MixedLinear().fit(X, y, groups=groups).levels_) == ["rater", "item"]
    assert list(MixedLinear().fit(X, y, groups=groups[["item", "rater"]]).levels_) == ["item", "rater"]
    assert list(MixedLinear().fit(X, y, groups=groups.to_numpy()).levels_) == ["group0", "group1"]
    assert list(MixedLinear().fit(X, y, groups=groups.to_numpy().tolist()).levels_) == ["group0", "group1"]
    assert list(MixedLinear().fit(X, y, groups=groups["rater"]).levels_) == ["rater"]
    assert list(MixedLinear().fit(X, y, groups=groups[["rater"]]).levels_) == ["rater"]
    assert list(MixedLinear().fit(X, y, groups=groups["rater"].to_numpy()).levels_) == ["group"]
    with_numbers = groups.set_axis([3, 7], axis=1)
    assert list(MixedLinear().fit(X, y, groups=with_numbers).levels_) == ["3", "7"]


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_order_of_factors_and_rows_does_not_matter(covariance, method):
    est = crossed(covariance=covariance, method=method, tol=1e-12)
    first = sklearn.clone(est).fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)
    second = sklearn.clone(est).fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups[["item", "rater"]])
    assert list(second.random_covariance_) == ["item", "rater"]
    assert_same_fit(second, first)
    shuffled = CROSSED.take(np.random.default_rng(0).permutation(len(CROSSED.y)))
    assert_same_fit(sklearn.clone(est).fit(frame_of(shuffled), shuffled.y, groups=shuffled.groups), first)


def test_numbers_of_levels_order_the_work_only():
    """The factor with fewer levels has more columns here, and comes first."""
    est = MixedLinear({"item": ["a", "b"]}, covariance="diagonal", tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est.fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)
    assert list(est.levels_) == list(est.random_effects_) == ["rater", "item"]
    for name in ("rater", "item"):
        assert_array_equal(est.levels_[name], np.unique(CROSSED.groups[name]))
        assert len(est.random_effects_[name]) == len(est.levels_[name])
    assert est.random_effects_["item"].shape[1] == 3


def test_frequencies_repeat_rows_of_crossed_factors():
    weight = CROSSED.integers
    repeated = CROSSED.take(np.repeat(np.arange(len(weight)), weight.astype(int)))
    for cov_type in ("model", "robust"):
        est = crossed(cov_type=cov_type, tol=1e-12)
        once = sklearn.clone(est).fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups, sample_weight=weight)
        often = sklearn.clone(est).fit(frame_of(repeated), repeated.y, groups=repeated.groups)
        assert_same_fit(once, often)
        assert_allclose(coef_table(once)["df"], coef_table(often)["df"], rtol=1e-5)


def test_nested_labels_that_restart_are_made_unique():
    pupils = NESTED.groups["pupil"]
    number = pupils.groupby(NESTED.groups["school"].to_numpy()).transform(lambda part: pd.factorize(part)[0])
    unique = NESTED.groups.assign(pupil=interaction(NESTED.groups["school"], number).to_numpy())
    assert number.nunique() < 5 < unique["pupil"].nunique() == pupils.nunique()
    est, expected = (MixedLinear().fit(NESTED.X, NESTED.y, groups=groups) for groups in (unique, NESTED.groups))
    for name in ("loglik_", "sigma2_", "coef_", "covariance_"):
        assert_allclose(getattr(est, name), getattr(expected, name), rtol=1e-7)
    restarting = MixedLinear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        restarting.fit(NESTED.X, NESTED.y, groups=NESTED.groups.assign(pupil=number.to_numpy()))
    assert abs(restarting.loglik_ - expected.loglik_) > 0.5, "labels that restart are another model"


def test_a_table_of_one_column_is_that_column():
    one = MixedLinear().fit(NESTED.X, NESTED.y, groups=NESTED.groups["school"])
    table = MixedLinear().fit(NESTED.X, NESTED.y, groups=NESTED.groups[["school"]])
    assert_same_fit(table, one, rtol=0.0)


# ------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels",
    [
        lambda codes: [f"pupil {code}" for code in codes],
        lambda codes: [("north", int(code)) for code in codes],
        lambda codes: pd.Categorical(codes),
        lambda codes: pd.Series(codes, dtype="Int64"),
        lambda codes: codes.astype(np.int8),
        lambda codes: codes.reshape(-1, 1),
        lambda codes: np.datetime64("2020-01-01") + codes.astype("timedelta64[D]"),
    ],
    ids=["texts", "tuples", "categorical", "nullable", "int8", "a column", "dates"],
)
def test_labels_of_any_type_are_found_again(labels):
    codes = SLOPES.codes("group")
    expected = MixedLinear([0]).fit(SLOPES.X, SLOPES.y, groups=codes)
    est = MixedLinear([0]).fit(SLOPES.X, SLOPES.y, groups=labels(codes))
    assert_allclose(est.predict(SLOPES.X, groups=labels(codes)), expected.predict(SLOPES.X, groups=codes), rtol=1e-9)
    mixed = np.where(np.arange(len(codes)) % 2, codes, codes.max() + 1)
    assert_allclose(est.predict(SLOPES.X, groups=labels(mixed)), expected.predict(SLOPES.X, groups=mixed), rtol=1e-9)


def test_tuples_name_their_levels():
    codes = SLOPES.codes("group")
    est = MixedLinear().fit(SLOPES.X, SLOPES.y, groups=[("north", int(code)) for code in codes])
    assert [tuple(label) for label in est.levels_["group"]] == [("north", code) for code in range(codes.max() + 1)]


def test_a_categorical_with_unused_categories():
    codes = SLOPES.codes("group")
    groups = pd.Series(pd.Categorical(codes, categories=np.arange(99)))
    est = MixedLinear().fit(SLOPES.X, SLOPES.y, groups=groups)
    assert_array_equal(est.levels_["group"], np.unique(codes))
    assert len(est.random_effects_["group"]) == codes.max() + 1


# ------------------------------------------------------------------------------------------------- predict


@pytest.fixture(scope="module")
def fitted():
    return crossed().fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)


def test_factors_of_a_frame_are_matched_by_name(fitted):
    X, groups = frame_of(CROSSED), CROSSED.groups
    expected = fitted.predict(X, groups=groups, return_std=True)
    assert_array_equal(fitted.predict(X, groups=groups.to_numpy(), return_std=True), expected)
    swapped = groups[["item", "rater"]]
    assert_array_equal(fitted.predict(X, groups=swapped, return_std=True), expected)
    larger = groups.assign(day=1)[["day", "item", "rater"]]
    assert_array_equal(fitted.predict(X, groups=larger, return_std=True), expected)
    assert np.any(fitted.predict(X, groups=swapped.to_numpy()) != expected[0]), "an array goes by position"


def test_index_of_groups_does_not_matter(fitted):
    X, groups = frame_of(CROSSED), CROSSED.groups
    shuffled = groups.set_index(np.random.default_rng(0).permutation(len(groups)))
    assert_array_equal(fitted.predict(X, groups=shuffled), fitted.predict(X, groups=groups))


@pytest.mark.parametrize("columns", [["item", "judge"], ["judge", "rater"]], ids=repr)
def test_a_frame_with_some_of_the_names_is_not_taken_by_position(fitted, columns):
    with pytest.raises(ValueError, match=r"rater|item"):
        fitted.predict(frame_of(CROSSED), groups=CROSSED.groups.set_axis(columns, axis=1))


def test_one_unknown_level_of_two_factors(fitted):
    X, groups = frame_of(CROSSED), CROSSED.groups
    population = fitted.predict(X)
    by_item = fitted.predict(X, groups=groups.assign(rater=-5)) - population
    by_rater = fitted.predict(X, groups=groups.assign(item=-5)) - population
    assert_allclose(by_item + by_rater + population, fitted.predict(X, groups=groups), rtol=1e-10)
    position = {label: row for row, label in enumerate(fitted.levels_["item"])}
    effects = fitted.random_effects_["item"][[position[label] for label in groups["item"]]]
    assert_allclose(by_item, effects[:, 0] + effects[:, 1] * X["b"], rtol=1e-8, atol=1e-10)


def test_prediction_errors_of_partly_known_rows_lie_between(fitted):
    X, groups = frame_of(CROSSED), CROSSED.groups
    known, half, unknown = (
        fitted.predict(X, groups=labels, return_std=True)[1]
        for labels in (groups, groups.assign(rater=-5), groups.assign(rater=-5, item=-5))
    )
    assert np.all(known < half)
    assert np.all(half < unknown)
    population = fitted.predict(X, return_std=True)[1]
    assert np.all(population < half)


def test_prediction_error_of_one_way_classification_in_closed_form():
    """Balanced, without features: V = sigma2 I + tau J; the mean's and the effects' errors are known."""
    rng = np.random.default_rng(0)
    n_groups, size = 9, 5
    groups = np.repeat(np.arange(n_groups), size)
    y = rng.normal(size=n_groups)[groups] + rng.normal(size=len(groups))
    X = np.empty((len(y), 0))
    est = MixedLinear().fit(X, y, groups=groups)
    within = np.sum((y.reshape(n_groups, size) - y.reshape(n_groups, size).mean(1, keepdims=True)) ** 2)
    means = y.reshape(n_groups, size).mean(1)
    s2 = within / (n_groups * (size - 1))
    tau = means.var(ddof=1) - s2 / size
    assert_allclose([est.sigma2_, est.random_covariance_["group"][0, 0]], [s2, tau], rtol=1e-6)
    shrinkage = tau / (tau + s2 / size)
    assert_allclose(est.random_effects_["group"][:, 0], shrinkage * (means - y.mean()), rtol=1e-6)
    assert_allclose(est.random_effects_sd_["group"][:, 0], np.sqrt(tau * (1 - shrinkage)), rtol=1e-6)
    assert_allclose(est.covariance_, (tau + s2 / size) / n_groups, rtol=1e-6)
    assert_allclose(coef_table(est)["df"], n_groups - 1, rtol=1e-5)
    mean, std = est.predict(X[:1], groups=[0], return_std=True)
    assert_allclose(mean, y.mean() + shrinkage * (means[0] - y.mean()), rtol=1e-8)
    expected = tau * (1 - shrinkage) + (1 - shrinkage) ** 2 * (tau + s2 / size) / n_groups
    assert_allclose(std**2, expected, rtol=1e-6)
    _, std = est.predict(X[:1], groups=[99], return_std=True)
    assert_allclose(std**2, tau + (tau + s2 / size) / n_groups, rtol=1e-6)


def test_order_and_number_of_new_rows_do_not_matter(fitted):
    X, groups = frame_of(CROSSED), CROSSED.groups
    mean, std = fitted.predict(X, groups=groups, return_std=True)
    rows = [7, 3, 3, 100]
    few = fitted.predict(X.iloc[rows], groups=groups.iloc[rows], return_std=True)
    assert_allclose(few, [mean[rows], std[rows]], rtol=1e-12)


def test_offset_is_added_and_taken_off():
    offset = np.linspace(-3, 3, len(SLOPES.y))
    given = {"groups": SLOPES.groups["group"]}
    plain = MixedLinear([0]).fit(SLOPES.X, SLOPES.y, **given)
    est = MixedLinear([0]).fit(SLOPES.X, SLOPES.y + offset, offset=offset, **given)
    assert_same_fit(est, plain)
    expected, std = plain.predict(SLOPES.X, return_std=True, **given)
    found, found_std = est.predict(SLOPES.X, offset=offset, return_std=True, **given)
    assert_allclose(found, expected + offset, rtol=1e-8)
    assert_allclose(found_std, std, rtol=1e-6)
    with pytest.warns(UserWarning, match="was fitted with an offset"):
        est.predict(SLOPES.X, **given)


def test_score_is_r2_of_the_predictions():
    groups = SLOPES.groups["group"]
    est = MixedLinear([0]).fit(SLOPES.X, SLOPES.y, groups=groups)
    weight = SLOPES.weights
    for given in ({}, {"groups": groups}):
        residual = SLOPES.y - est.predict(SLOPES.X, **given)
        centred = SLOPES.y - np.average(SLOPES.y, weights=weight)
        expected = 1 - np.sum(weight * residual**2) / np.sum(weight * centred**2)
        assert_allclose(est.score(SLOPES.X, SLOPES.y, sample_weight=weight, **given), expected, rtol=1e-12)


# ------------------------------------------------------------------------------------------------- without groups


def test_without_groups_tests_are_those_of_least_squares():
    X, y, n = SLOPES.X, SLOPES.y, len(SLOPES.y)
    est = MixedLinear([0]).fit(X, y)
    design = np.column_stack([np.ones(n), X])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    df = n - 4
    se = np.sqrt(np.sum((y - design @ beta) ** 2) / df * np.diag(inverse))
    table = coef_table(est)
    assert_allclose(table["estimate"], beta, rtol=1e-10)
    assert_allclose(table["std_error"], se, rtol=1e-10)
    assert_array_equal(table["df"], df)
    assert_allclose(table["p_value"], 2 * stats.t.sf(np.abs(beta / se), df), rtol=1e-8)
    assert_allclose(table["conf_high"], beta + stats.t.ppf(0.975, df) * se, rtol=1e-8)
    residual = y - design @ beta
    scores = design * residual[:, None]
    assert_allclose(
        coef_table(est, cov_type="robust")["std_error"] ** 2, np.diag(inverse @ scores.T @ scores @ inverse), rtol=1e-9
    )


def test_without_groups_likelihoods_in_closed_form():
    X, y, n = SLOPES.X, SLOPES.y, len(SLOPES.y)
    design = np.column_stack([np.ones(n), X])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    rss = np.sum((y - design @ beta) ** 2)
    ml = MixedLinear(method="ml").fit(X, y)
    assert_allclose(ml.loglik_, stats.norm.logpdf(y, design @ beta, np.sqrt(rss / n)).sum(), rtol=1e-10)
    reml = MixedLinear().fit(X, y)
    m = n - 4
    log_det = np.linalg.slogdet(design.T @ design)[1]
    assert_allclose(reml.loglik_, -0.5 * (m * (1 + np.log(2 * np.pi * rss / m)) + log_det), rtol=1e-10)


def test_without_groups_robust_is_that_of_an_independence_gee():
    est = MixedLinear(cov_type="robust").fit(SLOPES.X, SLOPES.y)
    gee = GEERegressor().fit(SLOPES.X, SLOPES.y)
    assert_allclose(est.coef_, gee.coef_, rtol=1e-10)
    assert_allclose(est.covariance_, gee.covariance_, rtol=1e-8)


# ------------------------------------------------------------------------------------------------- small designs


@pytest.mark.parametrize("X", [np.empty((59, 0)), pd.DataFrame(index=range(59))], ids=["array", "frame"])
def test_no_features(X):
    y = np.random.default_rng(0).normal(size=20)[np.arange(59) % 20] + np.random.default_rng(1).normal(size=59)
    est = MixedLinear().fit(X, y, groups=np.arange(59) % 20)
    assert est.coef_.shape == (0,)
    assert est.n_features_in_ == 0
    assert est.covariance_.shape == (1, 1)
    assert list(coef_table(est).index) == ["Intercept"]
    assert np.all(est.predict(X) == est.intercept_)
    mean, std = est.predict(X, groups=np.arange(59) % 20, return_std=True)
    assert np.unique(mean).size == 20
    assert np.all(std > 0)
    assert -1 < est.score(X, y) < est.score(X, y, groups=np.arange(59) % 20)
    assert_allclose(pickle.loads(pickle.dumps(est)).predict(X), est.intercept_)


def test_without_intercept_the_mean_is_not_taken_off():
    est = MixedLinear(fit_intercept=False).fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    assert est.intercept_ == 0.0
    assert est.covariance_.shape == (3, 3)
    assert list(coef_table(est).index) == ["x0", "x1", "x2"]
    # the intercepts of the levels take the mean up
    assert est.random_effects_["group"].mean() > 0.5
    zero = est.predict(np.zeros((1, 3)))
    assert zero == [0.0]


def test_a_constant_factor_adds_nothing_but_an_unknown():
    """Its variance cannot be told from the intercept: the likelihood is that without it."""
    one = MixedLinear().fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    est = MixedLinear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est.fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups.assign(country="NL"))
    assert_allclose(est.loglik_, one.loglik_, rtol=1e-9)
    assert_allclose(est.coef_, one.coef_, rtol=1e-5)
    assert_allclose(est.sigma2_, one.sigma2_, rtol=1e-4)


@pytest.mark.parametrize("slopes", [None, [0]], ids=["intercepts", "slopes"])
def test_identical_factors_share_the_variance(slopes):
    codes = SLOPES.codes("group")
    one = MixedLinear(slopes).fit(SLOPES.X, SLOPES.y, groups=codes)
    est = MixedLinear(slopes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est.fit(SLOPES.X, SLOPES.y, groups=pd.DataFrame({"a": codes, "b": [f"level {50 - code}" for code in codes]}))
    assert_allclose(est.loglik_, one.loglik_, rtol=1e-9)
    assert_allclose(sum(est.random_covariance_.values()), one.random_covariance_["group"], rtol=1e-3)
    groups = pd.DataFrame({"a": codes, "b": [f"level {50 - code}" for code in codes]})
    assert_allclose(est.predict(SLOPES.X, groups=groups), one.predict(SLOPES.X, groups=codes), rtol=1e-4)


# ------------------------------------------------------------------------------------------------- pipelines, searches


def test_scaler_in_front_changes_units_only():
    case = SLOPES
    given = {"mixedlinear__groups": case.groups["group"]}
    pipe = make_pipeline(StandardScaler(), MixedLinear([1, 0])).fit(case.X, case.y, **given)
    plain = MixedLinear([1, 0]).fit(case.X, case.y, groups=case.groups["group"])
    scaler, est = pipe[0], pipe[-1]
    assert_allclose(est.coef_ / scaler.scale_, plain.coef_, rtol=1e-6)
    assert_allclose(est.sigma2_, plain.sigma2_, rtol=1e-6)
    found, expected = (model.predict(case.X, groups=case.groups["group"]) for model in (pipe, plain))
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert_allclose(coef_table(pipe)["statistic"].iloc[1:], coef_table(plain)["statistic"].iloc[1:], rtol=1e-4)
    assert_allclose(coef_table(pipe)["df"].iloc[1:], coef_table(plain)["df"].iloc[1:], rtol=1e-3)


def test_search_over_the_structure_of_effects_with_routing():
    sleep = load_sleepstudy()
    X, y, groups = sleep.data, sleep.target, sleep.groups
    grid = {"random_slopes": [None, ["Days"]], "covariance": ["full", "diagonal"], "method": ["ml", "reml"]}
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(MixedLinear(), grid, cv=GroupKFold(3)).fit(X, y, groups=groups)
        assert len(search.cv_results_["params"]) == 8
        for row, params in enumerate(search.cv_results_["params"]):
            for fold, (train, test) in enumerate(GroupKFold(3).split(X, y, groups)):
                est = MixedLinear(**params).fit(X.iloc[train], y.iloc[train], groups=groups.iloc[train])
                expected = est.score(X.iloc[test], y.iloc[test], groups=groups.iloc[test])
                assert_allclose(search.cv_results_[f"split{fold}_test_score"][row], expected, rtol=1e-10)
    direct = MixedLinear(**search.best_params_).fit(X, y, groups=groups)
    pd.testing.assert_frame_equal(coef_table(search).to_frame(), coef_table(direct).to_frame())


def test_cross_validation_of_crossed_factors_by_one_of_them_with_routing():
    penicillin = load_penicillin()
    frame = penicillin.frame
    groups = frame[["plate", "sample"]]
    X = np.empty((len(frame), 0))
    folds = list(GroupKFold(4).split(X, frame["diameter"], frame["plate"]))
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(MixedLinear(), X, frame["diameter"], cv=folds, params={"groups": groups})
    for score, (train, test) in zip(scores, folds, strict=True):
        est = MixedLinear().fit(X[train], frame["diameter"].iloc[train], groups=groups.iloc[train])
        expected = est.score(X[test], frame["diameter"].iloc[test], groups=groups.iloc[test])
        assert_allclose(score, expected, rtol=1e-12)
        assert expected > 0.5, "samples are known, plates are not"


# ------------------------------------------------------------------------------------------------- state


def _leaves(value, path=""):
    """Yield what is in the fitted state; dataclasses must be frozen."""
    if is_dataclass(value):
        assert type(value).__dataclass_params__.frozen, path
        for part in fields(value):
            yield from _leaves(getattr(value, part.name), f"{path}.{part.name}")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    elif sparse.issparse(value):
        yield from _leaves([value.data, value.indices, value.indptr], path)
    else:
        yield path, value


def test_state_of_crossed_factors_has_no_value_a_row():
    case = CROSSED.take(np.repeat(np.arange(len(CROSSED.y)), 3))
    noise = np.random.default_rng(0).normal(size=len(case.y))
    est = crossed().fit(frame_of(case), case.y + noise, groups=case.groups)
    state = {name: value for name, value in vars(est).items() if name not in est.get_params()}
    for path, value in _leaves(state):
        if isinstance(value, np.ndarray):
            assert len(case.y) not in value.shape, path
            size = value.size if value.base is None else np.size(value.base)
            assert size <= 2 * value.size + 100, f"{path} is part of a larger array"
        else:
            assert isinstance(value, float | int | str | bool | None), f"{path} is a {type(value)}"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_fit_of_crossed_factors(fitted, protocol):
    again = pickle.loads(pickle.dumps(fitted, protocol=protocol))
    X, groups = frame_of(CROSSED), CROSSED.groups
    for given in ({}, {"groups": groups}):
        assert_array_equal(again.predict(X, return_std=True, **given), fitted.predict(X, return_std=True, **given))
    for df in ("satterthwaite", "kenward-roger"):
        pd.testing.assert_frame_equal(coef_table(again, df=df).to_frame(), coef_table(fitted, df=df).to_frame())
    assert str(again.summary()) == str(fitted.summary())


def test_refit_leaves_nothing_of_the_first():
    est = crossed().fit(frame_of(CROSSED), CROSSED.y, groups=CROSSED.groups)
    est.set_params(random_slopes=None).fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    fresh = MixedLinear().fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    assert vars(est).keys() == vars(fresh).keys()
    assert_same_fit(est, fresh, rtol=1e-12)


# ------------------------------------------------------------------------------------------------- warnings, summary


def test_an_ordinary_fit_is_silent():
    orthodont = load_orthodont()
    X = orthodont.frame[["age"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MixedLinear(["age"]).fit(X, orthodont.frame["distance"], groups=orthodont.frame["Subject"])
        est.predict(X, groups=orthodont.frame["Subject"], return_std=True)
        str(est.summary())
    assert est.converged_ and not est.singular_


def test_summary_of_crossed_factors(fitted):
    text = str(fitted.summary())
    lines = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line.strip())
    found = {label: value.strip() for label, value in lines.items()}
    wanted = {
        "Observations": f"{len(CROSSED.y)}",
        "Levels of rater": "12, of 5 to 15 rows",
        "SD of a by rater": f"{np.sqrt(fitted.random_covariance_['rater'][1, 1]):.5g}",
        "SD of b by item": f"{np.sqrt(fitted.random_covariance_['item'][1, 1]):.5g}",
        "REML log-likelihood": f"{fitted.loglik_:.4f}",
        "Covariance": "model",
        "Converged": f"yes, after {fitted.n_iter_} iterations",
    }
    assert {label: found[label] for label in wanted} == wanted


def test_singular_fits_are_told_and_are_converged_fits():
    """No variance between levels is left: the outcome has been balanced against it."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    X = rng.normal(size=(60, 1))
    noise = rng.normal(size=(12, 5))
    y = X[:, 0] + (noise - noise.mean(axis=1, keepdims=True)).ravel()
    with pytest.warns(SingularFitWarning, match=r"of 'group' has not full rank .*a variance is\s+zero"):
        est = MixedLinear(method="ml").fit(X, y, groups=groups)
    assert est.singular_ is True
    assert est.converged_ is True
    assert est.random_covariance_["group"][0, 0] < 1e-8
    assert_allclose(est.random_effects_["group"], 0.0, atol=1e-8)
    flat = MixedLinear(method="ml").fit(X, y)
    assert_allclose(est.loglik_, flat.loglik_, rtol=1e-12)
    assert_allclose(est.coef_, flat.coef_, rtol=1e-6)
    assert "Singular fit" in str(est.summary())


def test_a_search_cut_short_says_so():
    with pytest.warns(ConvergenceWarning, match=r"did not converge \(iteration limit, 1 steps\).*Raise max_iter"):
        est = MixedLinear([1, 0], max_iter=1, tol=1e-12).fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    assert est.converged_ is False
    assert est.n_iter_ == 1
    assert est.optimization_.decrement > 1e-12
    assert "NO, after 1 iterations" in str(est.summary())


def test_optimization_summary():
    est = MixedLinear([1, 0]).fit(SLOPES.X, SLOPES.y, groups=SLOPES.groups["group"])
    found = est.optimization_
    assert found.criterion < found.criterion_start
    assert found.decrement <= found.tol == 1e-8
    assert np.abs(found.gradient).max() < 1e-2
    assert found.n_steps == est.n_iter_ < found.n_evaluations
    (T,) = found.end
    assert T.shape == (3, 3)
    assert found.message == "converged"
