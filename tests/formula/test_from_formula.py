"""`from_formula` of the estimators: what it passes on, what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit, interaction
from skdep.formula._syntax import FormulaSyntaxError
from skdep.gee.dropout import DropoutGEE

from .data import table


def respiratory() -> pd.DataFrame:
    return table("respiratory")


def test_fit_is_that_of_features_made_by_hand():
    frame = table("orthodont")
    model = MixedLinear.from_formula("distance ~ age * Sex + (age | Subject)", frame, method="ml")
    male = (frame["Sex"] == "Male").astype(float)
    X = pd.DataFrame({"age": frame["age"].astype(float), "Sex[T.Male]": male, "age:Sex[T.Male]": frame["age"] * male})
    expected = MixedLinear(random_slopes=["age"], method="ml").fit(X, frame["distance"], groups=frame["Subject"])
    assert model.loglik_ == expected.loglik_
    assert list(model.feature_names_in_) == list(X.columns)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.random_names_ == {"Subject": ("Intercept", "age")}
    assert isinstance(model, MixedLinear) and model.method == "ml"


@pytest.mark.parametrize(
    ("kind", "formula", "arguments"),
    [
        (LogitRegressor, "outcome ~ treat + age", {"groups": "person"}),
        (LogitRegressor, "outcome ~ treat + age", {}),
        (GEEClassifier, "outcome ~ treat * visit", {"groups": "person", "time": "visit", "working_correlation": "ar1"}),
        (GEERegressor, "outcome ~ treat + age", {"groups": "person", "family": "binomial"}),
        (MixedLinear, "age ~ sex + (1 | center)", {}),
        (MixedLinear, "age ~ sex", {}),
        (MixedLogit, "outcome ~ treat + (1 | person)", {}),
        (BayesLogit, "outcome ~ treat + scale(age)", {"random_state": 0, "n_draws": 400}),
    ],
)
def test_every_estimator_takes_raw_data_after_a_formula(kind, formula, arguments):
    frame = respiratory()
    model = kind.from_formula(formula, frame, **arguments)
    features, outcome = model.formula_.features(frame), model.formula_.outcome(frame)
    assert type(model) is kind
    for method in ("predict", "predict_proba", "decision_function", "predict_log_proba"):
        if hasattr(model, method):
            raw, by_features = getattr(model, method)(frame), getattr(model, method)(features)
            np.testing.assert_array_equal(raw, by_features)
            np.testing.assert_allclose(getattr(model, method)(frame.iloc[[7]]), raw[[7]], rtol=1e-9, atol=1e-12)
    assert model.score(frame, outcome) == model.score(features, outcome)
    groups = model.formula_.groups(frame)
    if hasattr(model, "levels_") and groups is not None:
        np.testing.assert_array_equal(model.predict(frame, groups=groups), model.predict(features, groups=groups))
    assert str(model.formula_) in str(model.summary())
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    assert not hasattr(clone(model), "formula_")


def test_the_formula_holds_no_data():
    frame = pd.concat([respiratory()] * 20, ignore_index=True)
    model = LogitRegressor.from_formula("outcome ~ treat * scale(age) + poly(visit, 2)", frame, groups="person")
    assert len(pickle.dumps(model.formula_)) < 10_000


def test_a_fit_to_features_forgets_the_formula():
    frame = respiratory()
    model = LogitRegressor.from_formula("outcome ~ treat + age", frame)
    model.fit(frame[["age", "visit"]], frame["outcome"])
    assert not hasattr(model, "formula_")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame)


def test_metadata_by_name_by_formula_and_as_arrays_are_the_same():
    frame = table("apiclus1").assign(half=lambda d: np.arange(len(d)) % 2)
    by_name = GEERegressor.from_formula("api00 ~ ell + meals", frame, groups="dnum", sample_weight="pw", fpc="fpc")
    by_formula = GEERegressor.from_formula(
        "api00 ~ ell + meals", frame, groups="~ dnum", sample_weight="~ pw", fpc="~fpc"
    )
    arrays = {"groups": frame["dnum"], "sample_weight": frame["pw"].to_numpy(), "fpc": frame["fpc"].tolist()}
    as_arrays = GEERegressor.from_formula("api00 ~ ell + meals", frame, **arrays)
    for model in (by_formula, as_arrays):
        np.testing.assert_array_equal(model.covariance_, by_name.covariance_)
    scaled = GEERegressor.from_formula("api00 ~ ell + meals", frame, groups="dnum", sample_weight="pw * 2", fpc="fpc")
    np.testing.assert_allclose(scaled.covariance_, by_name.covariance_, rtol=1e-8)
    single = GEERegressor.from_formula("api00 ~ ell + meals", frame, groups="~ 1")
    np.testing.assert_array_equal(single.coef_, GEERegressor.from_formula("api00 ~ ell + meals", frame).coef_)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.FewClustersWarning")
def test_nested_and_several_groups_by_name():
    frame = respiratory()
    two = LogitRegressor.from_formula("outcome ~ treat + age", frame, groups=["center", "visit"])
    expected = LogitRegressor().fit(two.formula_.features(frame), frame["outcome"], groups=frame[["center", "visit"]])
    np.testing.assert_array_equal(two.covariance_, expected.covariance_)
    assert list(two.formula_.groups(frame).columns) == ["center", "visit"]
    nested = GEEClassifier.from_formula("outcome ~ treat + age", frame, groups="center:id")
    expected = GEEClassifier().fit(
        nested.formula_.features(frame), frame["outcome"], groups=interaction(frame["center"], frame["id"])
    )
    np.testing.assert_array_equal(nested.covariance_, expected.covariance_)


def test_offset_in_the_formula_by_name_and_both():
    frame = table("seizure")
    inside = GEERegressor.from_formula("y ~ x * trt + offset(log(weeks))", frame, family="poisson", groups="id")
    named = GEERegressor.from_formula("y ~ x * trt", frame, family="poisson", groups="id", offset="log(weeks)")
    array = GEERegressor.from_formula(
        "y ~ x * trt", frame, family="poisson", groups="id", offset=np.log(frame["weeks"])
    )
    both = GEERegressor.from_formula(
        "y ~ x * trt + offset(log(weeks) / 2)", frame, family="poisson", groups="id", offset="log(weeks) / 2"
    )
    for model in (named, array, both):
        np.testing.assert_allclose(model.coef_, inside.coef_, rtol=1e-8)
    expected = array.predict(inside.formula_.features(frame), offset=np.log(frame["weeks"]))
    for model in (inside, named, both):
        np.testing.assert_allclose(model.predict(frame), expected, rtol=1e-7)
    np.testing.assert_allclose(inside.predict(frame, offset=np.ones(len(frame))), np.e * expected, rtol=1e-7)
    with pytest.warns(UserWarning, match="fitted with an offset"):
        array.predict(frame)


def test_counts_are_rows_with_frequencies():
    frame = table("cbpp")
    grouped = LogitRegressor.from_formula("cbind(incidence, size - incidence) ~ factor(period)", frame)
    counts = np.column_stack([frame["size"] - frame["incidence"], frame["incidence"]]).ravel()
    long = (
        frame.loc[np.repeat(frame.index, 2)]
        .assign(case=np.tile([0, 1], len(frame)))
        .iloc[np.repeat(np.arange(2 * len(frame)), counts)]
    )
    single = LogitRegressor.from_formula("case ~ factor(period)", long)
    np.testing.assert_allclose(grouped.coef_, single.coef_, rtol=1e-9)
    np.testing.assert_allclose(grouped.covariance_, single.covariance_, rtol=1e-9)
    assert grouped.loglik_ == pytest.approx(single.loglik_, abs=1e-9)
    np.testing.assert_allclose(grouped.predict_proba(frame)[:, 1], single.predict_proba(frame)[:, 1])
    np.testing.assert_allclose(grouped.formula_.outcome(frame), frame["incidence"] / frame["size"])
    arguments = grouped.formula_.fit_arguments(frame)
    assert arguments["sample_weight"].sum() == frame["size"].sum() and (arguments["sample_weight"] > 0).all()
    np.testing.assert_allclose(LogitRegressor().fit(**arguments).coef_, grouped.coef_)


def test_counts_of_a_marginal_model_are_weighted_shares():
    frame = table("cbpp")
    model = GEERegressor.from_formula(
        "cbind(incidence, size - incidence) ~ factor(period)", frame, family="binomial", groups="herd"
    )
    expected = GEERegressor("binomial").fit(
        model.formula_.features(frame),
        frame["incidence"] / frame["size"],
        groups=frame["herd"],
        sample_weight=frame["size"],
    )
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.covariance_, expected.covariance_)
    with pytest.raises(ValueError, match="GEERegressor"):
        GEEClassifier.from_formula("cbind(incidence, size - incidence) ~ factor(period)", frame, groups="herd")
    for kind in (MixedLinear, GEERegressor):
        with pytest.raises(ValueError, match="counts successes: classifiers take it"):
            kind.from_formula("cbind(incidence, size - incidence) ~ factor(period)", frame)
    with pytest.raises(ValueError, match="the second is the number of failures"):
        LogitRegressor.from_formula("cbind(incidence, incidence - size) ~ factor(period)", frame)


def test_two_level_outcomes_keep_their_labels():
    frame = respiratory().assign(state=lambda d: np.where(d["outcome"] == 1, "good", "bad"))
    text = LogitRegressor.from_formula("state ~ treat", frame)
    assert text.classes_.tolist() == ["bad", "good"]
    number = LogitRegressor.from_formula("outcome ~ treat", frame)
    assert number.classes_.tolist() == [0, 1] and number.classes_.dtype.kind == "i"
    np.testing.assert_array_equal(text.coef_, number.coef_)
    flag = LogitRegressor.from_formula('I(state == "good") ~ treat', frame)
    assert flag.classes_.tolist() == [False, True]
    np.testing.assert_array_equal(flag.coef_, number.coef_)
    plain = frame.assign(state=pd.Categorical(frame["state"], categories=["bad", "good", "worst"]))
    np.testing.assert_array_equal(LogitRegressor.from_formula("state ~ treat", plain).coef_, number.coef_)
    turned = frame.assign(state=pd.Categorical(frame["state"], categories=["good", "bad"]))
    with pytest.raises(ValueError, match="R takes 'bad' for success"):
        LogitRegressor.from_formula("state ~ treat", turned)
    with pytest.raises(ValueError, match="is categorical"):
        MixedLinear.from_formula("state ~ treat", frame)


def test_missing_values_raise_or_are_left_out_with_a_warning():
    frame = respiratory()
    frame.loc[[1, 9], "age"] = np.nan
    frame.loc[9, "person"] = None
    frame.loc[20, "id"] = np.nan
    with pytest.raises(
        ValueError, match=r"missing in 2 of 444 rows, first in row 1, in columns 'age' \(2\), 'person' \(1\)"
    ):
        MixedLogit.from_formula("outcome ~ age + (1 | person)", frame)
    with pytest.warns(UserWarning, match="left out: 2 of 444"):
        model = MixedLogit.from_formula("outcome ~ age + (1 | person)", frame, missing="drop")
    expected = MixedLogit.from_formula("outcome ~ age + (1 | person)", frame.drop(index=[1, 9]))
    assert model.loglik_ == expected.loglik_
    assert model.formula_.n_dropped == 2 and expected.formula_.n_dropped == 0
    assert "miss values were left out: 2" in str(model.summary())
    weights = np.ones(444)
    weights[3] = np.nan
    with pytest.warns(UserWarning, match=r"left out: 3 of 444, .* 'sample_weight' \(1\)"):
        model = LogitRegressor.from_formula(
            "outcome ~ age", frame, sample_weight=weights, groups="person", missing="drop"
        )
    assert model.formula_.n_dropped == 3
    with pytest.raises(ValueError, match="'raise' or 'drop'"):
        LogitRegressor.from_formula("outcome ~ visit", frame, missing="omit")
    with pytest.raises(ValueError, match="no row is left"):
        LogitRegressor.from_formula("outcome ~ age", frame.assign(age=np.nan), missing="drop")


def test_predicting_rows_with_missing_or_absent_columns():
    frame = respiratory()
    model = LogitRegressor.from_formula("outcome ~ treat + age", frame)
    model.predict(frame[["age", "treat"]])
    with pytest.raises(ValueError, match="no column 'treat'"):
        model.predict(frame[["age"]])
    with pytest.raises(ValueError, match="Predictions need all of them"):
        model.predict(frame.assign(age=np.nan))
    with pytest.raises(ValueError, match="levels that the fit has not seen: 'X'"):
        model.predict(frame.assign(treat="X"))


@pytest.mark.parametrize(
    ("kind", "formula", "arguments", "problem"),
    [
        (GEEClassifier, "outcome ~ age + (1 | person)", {}, "GEEClassifier has no random effects.*say groups='person'"),
        (LogitRegressor, "outcome ~ age + (age | person)", {}, "MixedLinear, MixedLogit and BayesLogit have them"),
        (
            MixedLogit,
            "outcome ~ age + (1 | person)",
            {"groups": "center"},
            "given twice: by bars, person, and by groups=",
        ),
        (
            MixedLogit,
            "outcome ~ age + (1 | person)",
            {"random_slopes": ["age"]},
            "given twice: by .* and by random_slopes",
        ),
        (MixedLinear, "age ~ sex + (1 | person)", {"covariance": "diagonal"}, "given twice"),
        (LogitRegressor, "outcome ~ age", {"fit_intercept": False}, "contradicts"),
        (LogitRegressor, "~ age", {}, "has no outcome"),
        (LogitRegressor, "outcome ~ 0", {}, "has neither features nor an intercept"),
        (LogitRegressor, "outcome ~ age", {"groups": "persn"}, "no column 'persn'. Is 'person' meant"),
        (LogitRegressor, "outcome ~ agee", {}, "no column 'agee'. Is 'age' meant"),
        (GEEClassifier, "outcome ~ age", {"time": ["visit", "id"]}, "time is a single column"),
        (LogitRegressor, "I(outcome / 2) ~ age", {}, "is a share"),
    ],
)
def test_contradictions_are_refused(kind, formula, arguments, problem):
    with pytest.raises(ValueError, match=problem):
        kind.from_formula(formula, respiratory(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"weights": "age"}, "called sample_weight here"),
        ({"id": "person"}, "called groups here"),
        ({"corstr": "ar1"}, "called working_correlation here"),
        ({"family": "binomial"}, "GEERegressor has families"),
        ({"gruops": "person"}, "Is 'groups' meant"),
    ],
)
def test_unknown_parameters_are_named(arguments, problem):
    with pytest.raises(TypeError, match=problem):
        GEEClassifier.from_formula("outcome ~ age", respiratory(), **arguments)


def test_a_dot_is_all_other_columns():
    frame = respiratory()[["outcome", "treat", "age", "person", "visit"]]
    model = MixedLogit.from_formula("outcome ~ . + (1 | person)", frame)
    assert list(model.feature_names_in_) == ["treat[T.P]", "age", "visit"]
    model = GEEClassifier.from_formula("outcome ~ . - age", frame, groups="person", time="visit")
    assert list(model.feature_names_in_) == ["treat[T.P]"]


@pytest.mark.filterwarnings("ignore:No cluster drops out")
def test_no_intercept_in_the_formula():
    frame = respiratory()
    model = LogitRegressor.from_formula("outcome ~ 0 + treat", frame)
    assert model.fit_intercept is False and list(model.feature_names_in_) == ["treat[A]", "treat[P]"]
    shares = frame.groupby("treat")["outcome"].mean()
    np.testing.assert_allclose(model.coef_[0], np.log(shares / (1 - shares)), rtol=1e-8)
    gee = DropoutGEE.from_formula("age ~ 0 + treat", frame, estimator=GEERegressor(), groups="person", time="visit")
    assert gee.fit_intercept is False


@pytest.mark.filterwarnings("ignore:No cluster drops out")
def test_dropout_model_by_formula():
    frame = respiratory()
    frame = frame[~((frame["visit"] > 2) & (frame["outcome"].groupby(frame["person"]).transform("first") == 0))]
    model = DropoutGEE.from_formula(
        "outcome ~ treat",
        frame,
        estimator=GEEClassifier(),
        groups="person",
        time="visit",
        dropout_features="~ treat + scale(age)",
    )
    features = pd.DataFrame(
        {
            "treat[T.P]": (frame["treat"] == "P") * 1.0,
            "scale(age)": (frame["age"] - frame["age"].mean()) / frame["age"].std(),
        }
    )
    expected = DropoutGEE(GEEClassifier()).fit(
        model.formula_.features(frame),
        frame["outcome"],
        groups=frame["person"],
        time=frame["visit"],
        dropout_features=features,
    )
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(model.formula_.features(frame)))
    assert str(model.formula_) == "outcome ~ treat"


def test_partial_fit_takes_raw_batches():
    frame = respiratory()
    first, second = frame.iloc[:222], frame.iloc[222:]
    model = BayesLogit.from_formula("outcome ~ treat + scale(age)", first, random_state=0, n_draws=400)
    features = [model.formula_.features(part) for part in (first, second)]
    expected = BayesLogit(random_state=0, n_draws=400).fit(features[0], first["outcome"])
    expected.partial_fit(features[1], second["outcome"])
    model.partial_fit(second, second["outcome"])
    np.testing.assert_array_equal(model.draws_["coef"], expected.draws_["coef"])


def test_data_need_names():
    with pytest.raises(TypeError, match="must be a DataFrame"):
        LogitRegressor.from_formula("y ~ x", np.ones((3, 2)))
    frame = respiratory()
    as_dict = LogitRegressor.from_formula("outcome ~ treat", {name: frame[name].to_numpy() for name in frame})
    np.testing.assert_array_equal(as_dict.coef_, LogitRegressor.from_formula("outcome ~ treat", frame).coef_)
    with pytest.raises(FormulaSyntaxError, match="ends too early"):
        LogitRegressor.from_formula("outcome ~", frame)
