"""Metadata in pipelines, searches and cross-validation, with scikit-learn's routing on and off.

Every row of the table of what scikit-learn does with `groups` that concerns an estimator of skdep is a test here. Spies
record what reaches `fit`; their first feature is the number of the row, so that the rows that came with it are known.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.inference import coef_table, odds_ratios, qic

from .registry import CASES, binary_rows, gaussian_rows, ids
from .results import table_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::skdep.exceptions.WeightWarning"),
    pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning"),
]

every_case = pytest.mark.parametrize("case", CASES, ids=ids(CASES))
FOLDS = GroupKFold(3)


@pytest.fixture
def routing():
    """Routing on, for one test."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


class _Recording:
    """Keeps what reaches fit, predict and score in `calls`: pairs of numbers of rows and metadata that were given."""

    calls: dict[str, list]

    def _record(self, method, X, metadata):
        given = {key: np.asarray(value) for key, value in metadata.items() if value is not None}
        self.calls[method].append((np.asarray(X)[:, 0].astype(int), given))
        return np.asarray(X)[:, 1:]

    def fit(self, X, y, **metadata):
        return super().fit(self._record("fit", X, metadata), y, **metadata)

    def predict(self, X, **metadata):
        if np.shape(X)[1] > self.n_features_in_:  # else `score` calls
            X = self._record("predict", X, metadata)
        return super().predict(X, **metadata)

    def score(self, X, y, **metadata):
        return super().score(self._record("score", X, metadata), y, **metadata)


def spy(estimator):
    """Return the estimator as a spy with an empty record."""
    cls = type(estimator)
    calls = {"fit": [], "predict": [], "score": []}
    spying = type(f"Spying{cls.__name__}", (_Recording, cls), {"calls": calls, "__init__": cls.__init__})
    return spying(**estimator.get_params())


def numbered(rows):
    """Return the features with the number of the row in front."""
    return np.column_stack([np.arange(rows.n_rows), rows.X])


def metadata_of(case, rows):
    """Return all metadata that the case's fit takes."""
    weight = case.sample_weight(rows)
    return {"sample_weight": weight} | {key: getattr(rows, key) for key in case.metadata}


def assert_sliced(call, metadata):
    """Assert that a call got exactly these metadata, of its own rows."""
    numbers, given = call
    assert given.keys() == metadata.keys()
    for key, value in given.items():
        assert_array_equal(value, np.asarray(metadata[key])[numbers], err_msg=key)


def pipeline(model):
    """Return the model after a step that wants no metadata."""
    return Pipeline([("rows", FunctionTransformer()), ("model", model)])


def scored(metadata):
    """Return the metadata that `score` requests."""
    return {key: value for key, value in metadata.items() if key in ("groups", "sample_weight", "offset")}


# ------------------------------------------------------------------------------------------------- requests


@every_case
def test_everything_is_requested_at_class_level(case):
    requests = case.unfitted().get_metadata_routing()
    taken = {"sample_weight", *case.metadata, *case.refused_metadata} | case.survey_metadata
    methods = {"fit": taken, "predict": {"groups", "offset"}}
    if case.kind == "classifier":
        methods["predict_proba"] = {"groups", "offset"}
    if hasattr(case.estimator, "partial_fit"):
        methods["partial_fit"] = {*taken, "classes"}
    for method, names in methods.items():
        found = getattr(requests, method).requests
        assert {name for name, request in found.items() if request is True} == names
        assert set(found) - names <= {"return_std"}  # an option, which scikit-learn takes for metadata
    assert requests.score.requests == dict.fromkeys(("groups", "sample_weight", "offset"), True)
    if case.kind == "classifier":
        assert requests.decision_function.requests == {"groups": True, "offset": True}


def test_the_library_leaves_the_configuration_alone():
    before = sklearn.get_config()
    rows = binary_rows()
    LogitRegressor().fit(rows.X, rows.y, groups=rows.groups).summary()
    GEEClassifier().fit(rows.X, rows.y, groups=rows.groups).predict(rows.X)
    assert sklearn.get_config() == before


# ------------------------------------------------------------------------------------------------- routing off


@every_case
def test_off_pipeline_takes_metadata_by_the_name_of_the_step(case):
    rows = case.data()
    metadata = metadata_of(case, rows)
    direct = case.unfitted().fit(rows.X, rows.y, **metadata)
    pipe = Pipeline([("model", case.unfitted())])
    pipe.fit(rows.X, rows.y, **{f"model__{key}": value for key, value in metadata.items()})
    assert_array_equal(pipe[-1].coef_, direct.coef_)
    assert_array_equal(pipe[-1].covariance_, direct.covariance_)
    given = {"groups": rows.groups, "offset": rows.offset}
    assert_array_equal(pipe.predict(rows.X, **given), direct.predict(rows.X, **given))
    with pytest.raises(ValueError, match=r"stepname__|model__"):
        pipe.fit(rows.X, rows.y, groups=rows.groups)


def test_off_search_gives_groups_to_the_splitter_only():
    """Known and documented: without routing the estimator learns nothing of the groups."""
    rows = gaussian_rows()
    model = spy(GEERegressor())
    GridSearchCV(model, {"fit_intercept": [True]}, cv=FOLDS).fit(numbered(rows), rows.y, groups=rows.groups)
    assert len(model.calls["fit"]) == 4
    assert all(given == {} for _, given in model.calls["fit"])
    assert all(given == {} for _, given in model.calls["score"])


@every_case
def test_off_search_takes_metadata_by_the_name_of_the_step(case):
    rows = case.data()
    metadata = metadata_of(case, rows)
    model = spy(case.estimator)
    search = GridSearchCV(pipeline(model), {"model__fit_intercept": [True, False]}, cv=FOLDS)
    by_step = {f"model__{key}": value for key, value in metadata.items() if key != "offset"}
    search.fit(numbered(rows), rows.y, groups=rows.groups, **by_step)
    wanted = {key: value for key, value in metadata.items() if key != "offset"}
    assert len(model.calls["fit"]) == 2 * 3 + 1
    for call in model.calls["fit"]:
        assert_sliced(call, wanted)
    trained = [set(train) for train, _ in FOLDS.split(rows.X, rows.y, rows.groups)] * 2 + [set(range(rows.n_rows))]
    assert [set(numbers) for numbers, _ in model.calls["fit"]] == trained
    assert all(given == {} for _, given in model.calls["score"])


def test_off_cross_validate():
    rows = gaussian_rows()
    model = spy(GEERegressor())
    cross_validate(model, numbered(rows), rows.y, groups=rows.groups, cv=FOLDS)
    assert all(given == {} for _, given in model.calls["fit"])
    model = spy(GEERegressor())
    cross_validate(model, numbered(rows), rows.y, groups=rows.groups, cv=FOLDS, params={"groups": rows.groups})
    assert len(model.calls["fit"]) == 3
    for call in model.calls["fit"]:
        assert_sliced(call, {"groups": rows.groups})


def test_off_integer_cv_warns_of_ignored_groups():
    rows = gaussian_rows()
    with pytest.warns(UserWarning, match="groups parameter is ignored"):
        cross_val_score(GEERegressor(), rows.X, rows.y, groups=rows.groups, cv=KFold(3))


# ------------------------------------------------------------------------------------------------- routing on


@every_case
def test_on_pipeline(case, routing):
    rows = case.data()
    metadata = metadata_of(case, rows)
    direct = case.unfitted().fit(rows.X, rows.y, **metadata)
    pipe = pipeline(case.unfitted()).fit(rows.X, rows.y, **metadata)
    assert_array_equal(pipe[-1].coef_, direct.coef_)
    assert_array_equal(pipe[-1].covariance_, direct.covariance_)
    given = {"groups": rows.groups, "offset": rows.offset}
    assert_array_equal(pipe.predict(rows.X, **given), direct.predict(rows.X, **given))
    weighted = given | {"sample_weight": metadata["sample_weight"]}
    assert pipe.score(rows.X, rows.y, **weighted) == direct.score(rows.X, rows.y, **weighted)
    if case.kind == "classifier":
        assert_array_equal(pipe.predict_proba(rows.X, **given), direct.predict_proba(rows.X, **given))
        assert_array_equal(pipe.decision_function(rows.X, **given), direct.decision_function(rows.X, **given))


@every_case
def test_on_cross_validate_is_the_loop_over_folds(case, routing):
    rows = case.data()
    metadata = metadata_of(case, rows)
    model = spy(case.estimator)
    found = cross_validate(
        pipeline(model),
        numbered(rows),
        rows.y,
        cv=FOLDS,
        params=metadata,
        return_estimator=True,
        return_train_score=True,
    )
    assert len(model.calls["fit"]) == 3
    for call in model.calls["fit"]:
        assert_sliced(call, metadata)
    assert len(model.calls["score"]) == 6
    for call in model.calls["score"]:
        assert_sliced(call, scored(metadata))
    for fold, (train, test) in enumerate(FOLDS.split(rows.X, rows.y, rows.groups)):
        est = case.unfitted().fit(rows.X[train], rows.y[train], **{k: v[train] for k, v in metadata.items()})
        fitted = found["estimator"][fold][-1]
        assert_array_equal(fitted.coef_, est.coef_)
        assert_array_equal(fitted.covariance_, est.covariance_)
        for key, part in (("test_score", test), ("train_score", train)):
            expected = est.score(rows.X[part], rows.y[part], **{k: v[part] for k, v in scored(metadata).items()})
            assert_allclose(found[key][fold], expected, rtol=1e-12)


@every_case
def test_on_grid_search_is_the_loop_over_folds(case, routing):
    rows = case.data()
    metadata = metadata_of(case, rows)
    model = spy(case.estimator)
    search = GridSearchCV(pipeline(model), {"model__fit_intercept": [False, True]}, cv=FOLDS)
    search.fit(numbered(rows), rows.y, **metadata)
    assert len(model.calls["fit"]) == 2 * 3 + 1
    for call in model.calls["fit"]:
        assert_sliced(call, metadata)
    expected = np.zeros((2, 3))
    for row, fit_intercept in enumerate([False, True]):
        for fold, (train, test) in enumerate(FOLDS.split(rows.X, rows.y, rows.groups)):
            est = case.unfitted(fit_intercept=fit_intercept)
            est.fit(rows.X[train], rows.y[train], **{k: v[train] for k, v in metadata.items()})
            expected[row, fold] = est.score(
                rows.X[test], rows.y[test], **{k: v[test] for k, v in scored(metadata).items()}
            )
    for fold in range(3):
        assert_allclose(search.cv_results_[f"split{fold}_test_score"], expected[:, fold], rtol=1e-12)
    assert search.best_params_ == {"model__fit_intercept": bool(expected.mean(axis=1).argmax())}
    whole = scored(metadata)
    assert search.score(numbered(rows), rows.y, **whole) == search.best_estimator_.score(
        numbered(rows), rows.y, **whole
    )


@every_case
def test_inference_of_the_best_estimator(case, routing):
    rows = case.data()
    metadata = metadata_of(case, rows)
    search = GridSearchCV(pipeline(case.unfitted()), {"model__fit_intercept": [True]}, cv=FOLDS)
    search.fit(rows.X, rows.y, **metadata)
    direct = case.unfitted().fit(rows.X, rows.y, **metadata)
    for fitted in (search, search.best_estimator_):
        pd.testing.assert_frame_equal(table_of(case, fitted), table_of(case, direct))
    assert str(search.best_estimator_[-1].summary()) == str(direct.summary())
    if case.criterion is not None:
        assert case.criterion(search) == case.criterion(direct)
    if case.kind == "classifier" and not case.posterior:
        pd.testing.assert_frame_equal(odds_ratios(search).to_frame(), odds_ratios(direct).to_frame())


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_squared_error", make_scorer(r2_score)], ids=str)
def test_on_built_in_scorers_predict_without_groups(scoring, routing):
    rows = gaussian_rows()
    model = spy(GEERegressor())
    found = cross_validate(
        model, numbered(rows), rows.y, cv=FOLDS, scoring=scoring, params={"groups": rows.groups}, error_score="raise"
    )
    assert np.isfinite(found["test_score"]).all()
    assert len(model.calls["predict"]) == 3
    assert all(given == {} for _, given in model.calls["predict"])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_on_cross_val_predict(method, routing):
    rows = binary_rows()
    found = cross_val_predict(
        GEEClassifier(working_correlation="exchangeable"),
        rows.X,
        rows.y,
        cv=FOLDS,
        method=method,
        params={"groups": rows.groups},
    )
    for train, test in FOLDS.split(rows.X, rows.y, rows.groups):
        est = GEEClassifier(working_correlation="exchangeable").fit(
            rows.X[train], rows.y[train], groups=rows.groups[train]
        )
        assert_array_equal(found[test], getattr(est, method)(rows.X[test]))


def test_on_nested_cross_validation(routing):
    rows = binary_rows()
    model = spy(LogitRegressor("l2"))
    search = GridSearchCV(model, {"C": [0.01, 1.0]}, cv=GroupKFold(2))
    scores = cross_val_score(
        search, numbered(rows), rows.y, cv=FOLDS, params={"groups": rows.groups, "sample_weight": np.ones(rows.n_rows)}
    )
    assert len(model.calls["fit"]) == 3 * (2 * 2 + 1)
    for call in model.calls["fit"]:
        assert_sliced(call, {"groups": rows.groups, "sample_weight": np.ones(rows.n_rows)})
    for fold, (train, test) in enumerate(FOLDS.split(rows.X, rows.y, rows.groups)):
        by_hand = GridSearchCV(LogitRegressor("l2"), {"C": [0.01, 1.0]}, cv=GroupKFold(2))
        by_hand.fit(rows.X[train], rows.y[train], groups=rows.groups[train])
        assert scores[fold] == accuracy_score(rows.y[test], by_hand.predict(rows.X[test]))
        inner = [numbers for numbers, _ in model.calls["fit"][5 * fold : 5 * fold + 5]]
        assert all(set(numbers) <= set(train) for numbers in inner)


def test_on_splitting_by_one_factor_and_clustering_by_another(routing):
    rows = gaussian_rows()
    school = rows.groups // 30
    model = spy(GEERegressor(working_correlation="exchangeable"))
    model.set_fit_request(groups="pupil").set_score_request(groups="pupil")
    cross_validate(model, numbered(rows), rows.y, cv=FOLDS, params={"groups": school, "pupil": rows.groups})
    for numbers, given in model.calls["fit"] + model.calls["score"]:
        assert_array_equal(given["groups"], rows.groups[numbers])
    trained = [set(train) for train, _ in FOLDS.split(rows.X, rows.y, school)]
    assert [set(numbers) for numbers, _ in model.calls["fit"]] == trained


def test_on_groups_for_the_splitter_alone(routing):
    rows = gaussian_rows()
    model = spy(GEERegressor()).set_fit_request(groups=False).set_score_request(groups=False)
    cross_validate(model, numbered(rows), rows.y, cv=FOLDS, params={"groups": rows.groups})
    assert len(model.calls["fit"]) == 3
    assert all(given == {} for _, given in model.calls["fit"] + model.calls["score"])


@pytest.mark.parametrize("classifier", [False, True], ids=["regressor", "classifier"])
def test_on_search_over_working_correlations_with_time(classifier, routing):
    rows = binary_rows() if classifier else gaussian_rows()
    model = spy(GEEClassifier() if classifier else GEERegressor())
    structures = ["independence", "exchangeable", "ar1", "unstructured"]
    search = GridSearchCV(pipeline(model), {"model__working_correlation": structures}, cv=FOLDS)
    search.fit(numbered(rows), rows.y, groups=rows.groups, time=rows.time)
    assert len(model.calls["fit"]) == 4 * 3 + 1
    for call in model.calls["fit"]:
        assert_sliced(call, {"groups": rows.groups, "time": rows.time})
    for row, structure in enumerate(structures):
        for fold, (train, test) in enumerate(FOLDS.split(rows.X, rows.y, rows.groups)):
            est = type(model).__mro__[2](working_correlation=structure)
            est.fit(rows.X[train], rows.y[train], groups=rows.groups[train], time=rows.time[train])
            score = search.cv_results_[f"split{fold}_test_score"][row]
            assert_allclose(score, est.score(rows.X[test], rows.y[test]), rtol=1e-12)


def test_on_a_working_correlation_is_chosen_by_a_criterion(routing):
    rows = gaussian_rows()
    every_row = np.arange(rows.n_rows)

    def negative_cic(est, X=None, y=None):
        return -qic(est).cic

    structures = ["independence", "exchangeable", "ar1"]
    search = GridSearchCV(
        GEERegressor(), {"working_correlation": structures}, scoring=negative_cic, cv=[(every_row, every_row)]
    )
    search.fit(rows.X, rows.y, groups=rows.groups, time=rows.time)
    expected = [
        qic(GEERegressor(working_correlation=name).fit(rows.X, rows.y, groups=rows.groups, time=rows.time)).cic
        for name in structures
    ]
    assert_allclose(search.cv_results_["mean_test_score"], -np.array(expected), rtol=1e-12)


def test_on_a_scaler_in_front_must_say_what_it_does_with_weights(routing):
    rows = gaussian_rows()
    weight = np.linspace(1.0, 2.0, rows.n_rows)
    with pytest.raises(UnsetMetadataPassedError, match="StandardScaler"):
        make_pipeline(StandardScaler(), GEERegressor()).fit(rows.X, rows.y, sample_weight=weight)
    pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), GEERegressor())
    pipe.fit(rows.X, rows.y, sample_weight=weight, groups=rows.groups)
    direct = GEERegressor().fit(rows.X, rows.y, sample_weight=weight, groups=rows.groups)
    assert_allclose(coef_table(pipe)["statistic"].iloc[1:], coef_table(direct)["statistic"].iloc[1:], rtol=1e-9)


def test_on_integer_cv_does_not_warn(routing):
    """Known: with routing scikit-learn says nothing when a splitter ignores the groups. It would be good if it did."""
    rows = gaussian_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_validate(GEERegressor(), rows.X, rows.y, cv=KFold(3), params={"groups": rows.groups})


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_search_predicts_without_groups_only(on):
    rows = gaussian_rows()
    with sklearn.config_context(enable_metadata_routing=on):
        search = GridSearchCV(GEERegressor(), {"fit_intercept": [True]}, cv=FOLDS).fit(
            rows.X, rows.y, groups=rows.groups
        )
        with pytest.raises(TypeError):
            search.predict(rows.X, groups=rows.groups)
        assert_array_equal(search.best_estimator_.predict(rows.X, groups=rows.groups), search.predict(rows.X))


# ------------------------------------------------------------------------------------------------- data frames


def _trial():
    rows = gaussian_rows()
    frame = pd.DataFrame(rows.X, columns=["age", "sex", "dose"])
    frame["arm"] = np.array(["placebo", "low", "high"])[rows.groups // 3 % 3]
    return rows, frame, pd.Series(rows.groups, index=np.arange(rows.n_rows)[::-1]).map("pupil {}".format)


def test_on_names_of_encoded_features_reach_the_table(routing):
    rows, frame, school = _trial()
    encode = make_column_transformer(
        (OneHotEncoder(drop="first", sparse_output=False), ["arm"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipe = make_pipeline(encode, GEERegressor(working_correlation="exchangeable"))
    search = GridSearchCV(pipe, {"geeregressor__dof": ["n-p", "n"]}, cv=GroupKFold(3))
    search.fit(frame, rows.y, groups=school, sample_weight=pd.Series(np.linspace(1, 2, len(frame))))
    names = ["arm_low", "arm_placebo", "age", "sex", "dose"]
    assert list(search.best_estimator_[-1].feature_names_in_) == names
    assert list(coef_table(search).index) == ["Intercept", *names]
    assert "arm_low" in str(search.best_estimator_[-1].summary())
    by_hand = frame[["age", "sex", "dose"]].copy()
    by_hand.insert(0, "arm_placebo", (frame["arm"] == "placebo").astype(float))
    by_hand.insert(0, "arm_low", (frame["arm"] == "low").astype(float))
    direct = GEERegressor(working_correlation="exchangeable", dof=search.best_params_["geeregressor__dof"])
    direct.fit(by_hand, rows.y, groups=school, sample_weight=np.linspace(1, 2, len(frame)))
    assert_allclose(coef_table(search), coef_table(direct), rtol=1e-9)
    assert_allclose(search.predict(frame), direct.predict(by_hand), rtol=1e-9)


def test_two_dimensional_groups_are_sliced_row_wise(routing):
    rows = binary_rows()
    ways = pd.DataFrame({"pupil": rows.groups, "visit": rows.time})
    model = spy(LogitRegressor())
    folds = list(KFold(3).split(rows.X))
    cross_validate(model, numbered(rows), rows.y, cv=folds, params={"groups": ways})
    assert len(model.calls["fit"]) == 3
    for numbers, given in model.calls["fit"]:
        assert_array_equal(given["groups"], ways.to_numpy()[numbers])


def test_encoders_of_text_columns_are_advised():
    rows, frame, _ = _trial()
    for est in (GEERegressor(), GEEClassifier(), LogitRegressor()):
        y = rows.y if isinstance(est, GEERegressor) else (rows.y > 0).astype(int)
        with pytest.raises(ValueError, match=r"Columns of X that are not numbers: arm.*OneHotEncoder"):
            est.fit(frame, y)
