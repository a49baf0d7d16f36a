"""What every estimator of skdep promises beyond scikit-learn's checks: copies, state, shapes, signatures, documents."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import pickle
import warnings
from collections.abc import Mapping
from importlib import import_module

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.bayes import HalfNormal, Normal
from skdep.families import NegativeBinomial
from skdep.gee import AR1
from skdep.inference import coef_table
from skdep.links import get_link

from .registry import CASES, Rows, binary_rows, gaussian_rows, ids
from .results import assert_close, assert_same, predicted, results, table_of

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")

every_case = pytest.mark.parametrize("case", CASES, ids=ids(CASES))
CLASSIFIERS = [case for case in CASES if case.kind == "classifier"]
N_FEATURES = 3
COLUMNS = ["estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]
OF_POSTERIORS = ["mean", "sd", "median", "q2.5", "q97.5", "mcse", "ess_bulk", "ess_tail", "rhat"]
ONE_OF_EACH = [
    next(case for case in CASES if isinstance(case.estimator, cls))
    for cls in (LogitRegressor, GEERegressor, GEEClassifier, MixedLinear, MixedLogit, BayesLogit)
]


# ------------------------------------------------------------------------------------------------- parameters, copies

CHANGED = [
    LogitRegressor(
        "l2",
        C=0.5,
        fit_intercept=False,
        weight_type="sampling",
        cov_type="hc0",
        lonely_psu="adjust",
        max_iter=7,
        tol=1e-4,
    ),
    GEERegressor(
        NegativeBinomial(2.0),
        link=get_link("log"),
        working_correlation=AR1(pairs="all"),
        cov_type="naive",
        scale=1.0,
        dof="n",
        weight_type="frequency",
        lonely_psu="adjust",
        fit_intercept=False,
        max_iter=7,
        tol=1e-4,
    ),
    GEEClassifier(
        link="probit",
        working_correlation=AR1(pairs="neighbours"),
        cov_type="naive",
        scale=1.0,
        dof="n",
        weight_type="frequency",
        lonely_psu="adjust",
        fit_intercept=False,
        max_iter=7,
        tol=1e-4,
    ),
    MixedLinear(
        {"group": [2, 1]},
        random_intercept=False,
        covariance="diagonal",
        random_only=[1],
        method="ml",
        weight_type="sampling",
        weight_scaling="effective",
        cov_type="robust",
        fit_intercept=False,
        max_iter=7,
        tol=1e-4,
    ),
    MixedLogit(
        {"group": [2, 1]},
        random_intercept=False,
        covariance="diagonal",
        random_only=[1],
        n_quadrature=3,
        penalty="weak",
        weight_type="sampling",
        weight_scaling="effective",
        cov_type="robust",
        fit_intercept=False,
        max_iter=7,
        tol=1e-4,
    ),
    BayesLogit(
        {"sd": HalfNormal(1.0), 0: Normal(0.0, 1.0)},
        random_slopes={"group": [2, 1]},
        random_intercept=False,
        covariance="diagonal",
        n_draws=60,
        n_chains=2,
        method="pairs",
        fit_intercept=False,
        random_state=3,
        n_jobs=1,
        updating="draws",
        forgetting=0.9,
        verbose=1,
    ),
]


@pytest.mark.parametrize("est", CHANGED, ids=lambda est: type(est).__name__)
def test_clone_keeps_every_parameter(est):
    defaults, given, cloned = type(est)().get_params(), est.get_params(), clone(est).get_params()
    assert all(given[name] != default for name, default in defaults.items()), "every parameter should differ here"
    assert cloned.keys() == given.keys()
    assert all(cloned[name] == value for name, value in given.items())
    assert type(est)().set_params(**given).get_params() == given
    assert set(given) == set(inspect.signature(type(est)).parameters)


@pytest.mark.parametrize("est", CHANGED, ids=lambda est: type(est).__name__)
def test_parameters_with_objects_fit_clone_and_pickle(est):
    rows = binary_rows()
    if isinstance(est, BayesLogit):
        rows = rows.take(rows.groups < 90)  # half a minute for the rest is not worth it
    est = clone(est).set_params(max_iter=100, scale=None) if "scale" in est.get_params() else clone(est)
    params = est.get_params()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        est.fit(rows.X, rows.y, groups=rows.groups)
    assert est.get_params() == params, "fit must not change parameters"
    again = pickle.loads(pickle.dumps(est))
    assert_array_equal(again.predict(rows.X), est.predict(rows.X))
    assert clone(again).get_params() == params


@every_case
def test_unknown_parameters_and_bad_values_raise(case):
    with pytest.raises(ValueError, match="Invalid parameter 'lambda_'"):
        case.unfitted().set_params(lambda_=1)
    rows = case.data()
    bad = {
        "max_iter": 0,
        "tol": -1.0,
        "fit_intercept": "yes",
        "weight_type": "fuzzy",
        "cov_type": "x",
        "covariance": "free",
        "n_draws": 0,
        "n_chains": 0,
        "method": "gibbs",
        "updating": "never",
        "forgetting": 0.0,
        "verbose": "much",
    }
    given = case.estimator.get_params()
    assert len(bad.keys() & given.keys()) >= 5
    for name, value in bad.items():
        if name not in given:
            continue
        with pytest.raises(ValueError, match=f"The '{name}' parameter of {type(case.estimator).__name__} must be"):
            case.fit(rows, estimator=case.unfitted(**{name: value}))


@every_case
@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy", "copy"])
def test_copies_are_the_same_fit(case, how):
    rows = case.data()
    est = case.fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if how == "pickle":
            again = pickle.loads(pickle.dumps(est))
        elif how == "joblib":
            buffer = io.BytesIO()
            joblib.dump(est, buffer)
            again = joblib.load(io.BytesIO(buffer.getvalue()))
        else:
            again = getattr(copy, how)(est)
    assert_same(case, results(case, again, rows), results(case, est, rows), rtol=0.0)
    assert vars(again).keys() == vars(est).keys()
    assert str(again.summary()) == str(est.summary())
    pd.testing.assert_frame_equal(table_of(case, again), table_of(case, est), check_exact=True)


@every_case
def test_size_of_a_pickle_does_not_depend_on_the_data(case):
    """But on the number of levels, where each has an effect."""
    rows = case.data()
    copies = [rows.but(groups=rows.groups + 10_000 * number) for number in range(10)]
    same_groups, more_groups = Rows.stack([rows] * 10), Rows.stack(copies)
    if case.needs_time:
        same_groups = more_groups
    small, large, many = (len(pickle.dumps(case.fit(part))) for part in (rows, same_groups, more_groups))
    if case.posterior:  # draws, and rows of which equal ones are counted
        assert abs(large - small) < 0.3 * small  # there may be more quadrature nodes
        assert small < 40 * case.estimator.n_draws * 4 * 5 + 300 * rows.n_rows
        assert many < small + 300 * 10 * rows.n_rows
        return
    # numbers in the text of the summary have more digits; a type of covariance more, or the reason why there is none
    assert large - small < 500
    if case.group_effects:
        n_groups = len(np.unique(rows.groups))
        assert large < 8_000 + 300 * n_groups
        assert many < 8_000 + 300 * 10 * n_groups
    else:
        assert many < 8_000
        assert many - small < 500


# ------------------------------------------------------------------------------------------------- fitted state


def _leaves(value, path):
    """Yield (path, value) of everything in the fitted state; complain of what may not be in it."""
    if dataclasses.is_dataclass(value):
        assert type(value).__dataclass_params__.frozen, f"{path} is a dataclass that is not frozen"
        for part in dataclasses.fields(value):
            yield from _leaves(getattr(value, part.name), f"{path}.{part.name}")
    elif type(value).__module__.startswith(("skdep.bayes.", "skdep.glmm.")) and vars(value):
        # the density that random effects are drawn from
        for name, part in vars(value).items():
            yield from _leaves(part, f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    else:
        yield path, value


def _fitted_state(est):
    params = est.get_params()
    return {name: value for name, value in vars(est).items() if name not in params}


@every_case
def test_fitted_state_is_plain_and_small(case):
    rows = case.data()
    if case.posterior:  # it keeps rows, equal ones once
        rows = Rows.stack([rows, rows])
    est = case.unfitted().fit(
        pd.DataFrame(rows.X, columns=["a", "b", "c"]), rows.y, groups=pd.Series(rows.groups, name="school")
    )
    n_clusters = len(np.unique(rows.groups))
    for path, value in _leaves(list(_fitted_state(est).items()), type(est).__name__):
        if isinstance(value, np.ndarray):
            unwanted = {rows.n_rows} if case.group_effects else {rows.n_rows, n_clusters}
            assert not unwanted & set(value.shape), f"{path} has a value a row or a cluster"
            assert value.dtype != object or all(isinstance(label, str) for label in value.ravel()), path
            assert value.base is None or value.base.size <= 2 * value.size, f"{path} is a view of something large"
        else:
            plain = float | int | str | bool | slice | None
            own = type(value).__module__.startswith("skdep.") and not vars(value)  # families and links without state
            assert isinstance(value, plain) or own, f"{path} is a {type(value)}"


@every_case
def test_shapes_and_types(case):
    rows = case.data()
    for fit_intercept in (True, False):
        enough = {"n_draws": 1000} if case.posterior else {}
        est = case.fit(rows, estimator=case.unfitted(fit_intercept=fit_intercept, **enough))
        n_params = N_FEATURES + fit_intercept
        assert est.covariance_.shape == (n_params, n_params)
        assert_array_equal(est.covariance_, est.covariance_.T)
        assert np.linalg.eigvalsh(est.covariance_).min() > 0
        if case.kind == "classifier":
            assert est.coef_.shape == (1, N_FEATURES)
            assert est.intercept_.shape == (1,)
            assert est.predict_proba(rows.X, offset=rows.offset).shape == (rows.n_rows, 2)
            assert est.decision_function(rows.X, offset=rows.offset).shape == (rows.n_rows,)
            assert is_classifier(est)
        else:
            assert est.coef_.shape == (N_FEATURES,)
            assert isinstance(est.intercept_, float)
            assert is_regressor(est)
        if not fit_intercept:
            assert np.all(np.asarray(est.intercept_) == 0.0)
        assert est.predict(rows.X, offset=rows.offset).shape == (rows.n_rows,)
        assert type(est.n_iter_) is int
        assert est.n_iter_ >= 1
        assert est.converged_ is True
        assert est.n_features_in_ == N_FEATURES
        table = table_of(case, est)
        names = (["Intercept"] if fit_intercept else []) + ["x0", "x1", "x2"]
        assert list(table.index) == ([*names, "sd[group, Intercept]"] if case.posterior else names)
        assert list(table.columns) == (OF_POSTERIORS if case.posterior else COLUMNS)
        estimate, std_error = table.loc[names, ["mean", "sd"] if case.posterior else ["estimate", "std_error"]].T.values
        np.testing.assert_allclose(std_error, np.sqrt(np.diag(est.covariance_)), rtol=1e-12)
        params = np.r_[np.ravel(est.intercept_)[:fit_intercept], np.ravel(est.coef_)]
        np.testing.assert_allclose(estimate, params, rtol=1e-12 if case.posterior else 0.0)
        assert list(getattr(est, "separated_", [])) == []
        if case.counts_clusters:
            assert est.n_clusters_ == 150


@pytest.mark.parametrize("case", CLASSIFIERS, ids=ids(CLASSIFIERS))
def test_predictions_of_a_classifier_agree(case):
    rows = case.data()
    est = case.fit(rows)
    probability, decision = (
        est.predict_proba(rows.X, offset=rows.offset),
        est.decision_function(rows.X, offset=rows.offset),
    )
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)
    assert_array_equal(probability[:, 1] > 0.5, decision > 0)
    assert_array_equal(est.predict(rows.X, offset=rows.offset), est.classes_[(decision > 0).astype(int)])
    assert est.score(rows.X, rows.y, offset=rows.offset) == np.mean(est.predict(rows.X, offset=rows.offset) == rows.y)


@pytest.mark.parametrize("case", CLASSIFIERS, ids=ids(CLASSIFIERS))
def test_classifiers_have_predict_log_proba(case):
    """As scikit-learn's have; `cross_val_predict(method="predict_log_proba")` and some ensembles call it."""
    rows = case.data()
    est = case.fit(rows)
    given = {"offset": rows.offset, "groups": rows.groups}
    np.testing.assert_allclose(
        np.exp(est.predict_log_proba(rows.X, **given)), est.predict_proba(rows.X, **given), rtol=1e-10
    )


@every_case
def test_too_few_iterations_warn_and_are_recorded(case):
    if case.estimator.get_params().get("family") == "gaussian" and case.estimator.working_correlation == "independence":
        pytest.skip("least squares need no iterations")
    rows = case.data()
    est = case.unfitted(**case.unconverged)
    n_iter, said = (1, "did not converge") if not case.posterior else (8, "Raise n_draws")
    with pytest.warns(ConvergenceWarning, match=rf"{said}.*\b1 (iterations|steps)\b" if n_iter == 1 else said):
        case.fit(rows, estimator=est)
    assert est.converged_ is False
    assert est.n_iter_ == n_iter
    assert said in str(est.summary())


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=ids(ONE_OF_EACH))
def test_warnings_name_the_line_of_the_user(case):
    """Python shows a warning once a line: pointing into the library, the next fit's would be swallowed."""
    rows = case.data()
    # collinear features are no trouble to a prior
    odd = case.unconverged if case.posterior else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = case.fit(rows)
    calls = {
        "fit": lambda: case.unfitted(**odd).fit(np.column_stack([rows.X, rows.X[:, 0]]), rows.y),
        "predict": lambda: est.predict(rows.X),
        "score": lambda: est.score(rows.X, rows.y),
    }
    places = {}
    for name, call in calls.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        places[name] = {warning.filename for warning in caught}
    assert places == {name: {__file__} for name in calls}


@every_case
def test_refit_is_a_fresh_fit(case):
    rows = case.data()
    frame = pd.DataFrame(rows.X, columns=["a", "b", "c"])
    used = case.unfitted().fit(
        frame, rows.y, groups=rows.groups, sample_weight=case.sample_weight(rows), offset=rows.offset
    )
    narrow = rows.take(np.arange(0, rows.n_rows, 2)).but(X=rows.X[::2, :2], offset=None, groups=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        case.fit(narrow, estimator=used)
        fresh = case.fit(narrow)
    assert vars(used).keys() == vars(fresh).keys()
    assert_same(
        case,
        results(case, used, cov_types=case.cov_types[:2]),
        results(case, fresh, cov_types=case.cov_types[:2]),
        rtol=0,
    )
    assert str(used.summary()) == str(fresh.summary())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of the offset of the first fit
        used.predict(narrow.X)


def test_refit_with_another_working_correlation_leaves_nothing_of_the_first():
    rows = gaussian_rows()
    est = GEERegressor(working_correlation="unstructured").fit(rows.X, rows.y, groups=rows.groups, time=rows.time)
    assert_array_equal(est.times_, [0, 1, 2, 3])
    est.set_params(working_correlation="exchangeable").fit(rows.X, rows.y, groups=rows.groups)
    fresh = GEERegressor(working_correlation="exchangeable").fit(rows.X, rows.y, groups=rows.groups)
    assert vars(est).keys() == vars(fresh).keys()


@every_case
def test_a_clone_of_a_fit_is_not_fitted(case):
    rows = case.data()
    est = clone(case.fit(rows))
    assert _fitted_state(est) == {}
    calls = [est.summary, lambda: est.predict(rows.X), lambda: est.score(rows.X, rows.y), lambda: coef_table(est)]
    if case.kind == "classifier":
        calls += [lambda: est.predict_proba(rows.X), lambda: est.decision_function(rows.X)]
    for call in calls:
        with pytest.raises(NotFittedError):
            call()


@every_case
def test_data_are_not_changed(case):
    rows = case.data()
    parts = {key: getattr(rows, key) for key in ("X", "y", *case.metadata)} | {
        "sample_weight": case.sample_weight(rows)
    }
    frozen = {key: part.copy() for key, part in parts.items()}
    for part in frozen.values():
        part.flags.writeable = False
    X, y = frozen.pop("X"), frozen.pop("y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", skdep.exceptions.WeightWarning)
        est = case.unfitted().fit(X, y, **frozen)
    predicted(case, est, rows.but(X=X))
    est.score(X, y, sample_weight=frozen["sample_weight"], offset=frozen["offset"])


# ------------------------------------------------------------------------------------------------- signatures


@every_case
def test_metadata_are_keyword_only(case):
    """scikit-learn's users write ``fit(X, y, sample_weight)``; taken for groups, the weights would be clusters."""
    rows = case.data()
    with pytest.raises(TypeError, match="positional"):
        case.unfitted().fit(rows.X, rows.y, np.ones(rows.n_rows))
    est = case.fit(rows)
    with pytest.raises(TypeError, match="positional"):
        est.score(rows.X, rows.y, np.ones(rows.n_rows))
    methods = {"predict", "predict_proba", "predict_log_proba", "decision_function"}
    for name in methods & set(dir(est)):
        with pytest.raises(TypeError, match="positional"):
            getattr(est, name)(rows.X, rows.groups)


@every_case
def test_predictions_take_groups_seen_or_not(case):
    rows = case.data()
    est = case.fit(rows)
    methods = {"predict", "predict_proba", "predict_log_proba", "decision_function"} & set(dir(est))
    unseen = [rows.groups + 10**6, [f"new {number}" for number in range(rows.n_rows)]]
    for name in methods:
        method = getattr(est, name)
        population = method(rows.X, offset=rows.offset)
        for groups in [*unseen, *([] if case.group_effects else [rows.groups])]:
            assert_array_equal(method(rows.X, groups=groups, offset=rows.offset), population)
        if case.group_effects:
            known = method(rows.X, groups=rows.groups, offset=rows.offset)
            is_label = case.kind == "classifier" and name == "predict"
            assert np.mean(known != population) > 0.1 if is_label else np.all(known != population)
    without, *with_unseen = (est.score(rows.X, rows.y, groups=groups, offset=rows.offset) for groups in (None, *unseen))
    assert with_unseen == [without, without]
    known = est.score(rows.X, rows.y, groups=rows.groups, offset=rows.offset)
    assert known > without + 0.05 if case.group_effects else known == without


@every_case
def test_predicting_without_the_offset_of_the_fit_warns(case):
    rows = case.data()
    est = case.fit(rows)
    with pytest.warns(UserWarning, match="was fitted with an offset"):
        without = predicted(case, est, rows, offset=None)
    assert_array_equal(without, predicted(case, est, rows, offset=np.zeros(rows.n_rows)))


@every_case
@pytest.mark.parametrize("key", ["sample_weight", "offset", "groups", "time", "group_weight"])
def test_metadata_of_a_wrong_length_raise_value_error(case, key):
    if key not in (*case.metadata, "sample_weight"):
        pytest.skip(f"fit takes no {key}")
    rows = case.data()
    with pytest.raises(ValueError, match=f"({key}|'group') has {rows.n_rows - 1} (values|labels) for {rows.n_rows}"):
        case.fit(rows, **{key: np.ones(rows.n_rows - 1)})


# ------------------------------------------------------------------------------------------------- names, repr


@every_case
def test_names_of_features(case):
    rows = case.data()
    frame = pd.DataFrame(rows.X, columns=["age", "sex", "dose"])
    est = case.fit(rows.but(X=frame))
    assert list(est.feature_names_in_) == ["age", "sex", "dose"]
    assert list(table_of(case, est).index)[:4] == ["Intercept", "age", "sex", "dose"]
    assert_close(case, est.coef_, case.fit(rows).coef_, rtol=1e-10)  # a frame's memory has another order
    with pytest.raises(ValueError, match="feature names"):
        est.predict(frame[["sex", "age", "dose"]], offset=rows.offset)
    with pytest.raises(ValueError, match="feature names"):
        est.predict(frame.rename(columns={"dose": "DOSE"}), offset=rows.offset)
    with pytest.raises(ValueError, match="2 features"):
        est.predict(rows.X[:, :2], offset=rows.offset)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        est.predict(rows.X, offset=rows.offset)
    assert not hasattr(case.fit(rows), "feature_names_in_")


@every_case
def test_text_and_html_representations(case):
    name = type(case.estimator).__name__
    assert repr(case.unfitted()).startswith(f"{name}(")
    assert eval(repr(case.unfitted()), {name: type(case.estimator)}).get_params() == case.estimator.get_params()
    assert name in case.unfitted()._repr_html_()
    est = case.fit(case.data().but(y=case.data().y))
    html = est._repr_html_()
    assert name in html
    assert "fitted" in html.lower()
    summary = est.summary()
    assert name in str(summary)
    assert "Intercept" in str(summary)
    assert "<table" in summary._repr_html_()
    pd.testing.assert_frame_equal(summary.to_frame(), table_of(case, est))


@every_case
def test_set_output_of_a_pipeline(case):
    rows = case.data()
    frame = pd.DataFrame(rows.X, columns=["age", "sex", "dose"])
    pipe = make_pipeline(StandardScaler(), case.unfitted()).set_output(transform="pandas")
    pipe.fit(frame, rows.y)
    assert list(pipe[-1].feature_names_in_) == ["age", "sex", "dose"]
    assert list(table_of(case, pipe).index) == ["Intercept", "age", "sex", "dose"]
    assert isinstance(pipe.predict(frame), np.ndarray)


# ------------------------------------------------------------------------------------------------- documents

# Codes of numpydoc that are not required here.
IGNORED = {
    "EX01": "examples are asked of estimators below, and run as doctests; not of every method",
    "ES01": "an extended summary is not needed where one sentence says all",
    "SA01": "See Also is written where there is something to see",
    "GL01": "the first line stands beside the quotes, as ruff's D rules have it",
    "RT02": "a result is named where the name helps",
    "SS02": "a link's summary is its formula, which begins with a small letter",
    "PR01": "one-line methods say in their summary what they take; estimators and users' functions: see the next test",
    "RT01": "likewise what they return",
    "YD01": "likewise what they yield",
}
# What users' functions and estimators must have nevertheless.
REQUIRED = {"PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "RT03", "GL08"}
USER_MODULES = ("skdep", "skdep.inference", "skdep.datasets")
MODULES = (
    *USER_MODULES,
    "skdep.bayes",
    "skdep.gee",
    "skdep.logit",
    "skdep.mixed",
    "skdep.glmm",
    "skdep.clusters",
    "skdep.families",
    "skdep.links",
    "skdep.exceptions",
)


def _public_objects(modules):
    """Return the full names of public classes and functions of skdep, and of their public methods and properties."""
    names = set()
    for module_name in modules:
        module = import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if not (inspect.isclass(value) or inspect.isfunction(value)) or not value.__module__.startswith("skdep"):
                continue
            full = f"{value.__module__}.{value.__qualname__}"
            names.add(full)
            if inspect.isclass(value):
                own = {
                    attribute
                    for base in value.__mro__
                    if base.__module__.startswith("skdep")
                    for attribute in vars(base)
                }
                names |= {
                    f"{full}.{attribute}"
                    for attribute in own
                    if not attribute.startswith("_")
                    and (
                        inspect.isfunction(getattr(value, attribute)) or isinstance(getattr(value, attribute), property)
                    )
                }
    return sorted(names)


@pytest.mark.parametrize("name", _public_objects(MODULES))
def test_docstrings(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    found = validate(name)
    assert found["docstring"].strip(), f"{name} has no docstring"
    errors = [f"{code}: {message}" for code, message in found["errors"] if code not in IGNORED]
    assert not errors, f"{name} ({found['file']}, line {found['file_line']}): " + "; ".join(errors)


ESTIMATORS = sorted({type(case.estimator) for case in CASES}, key=lambda cls: cls.__name__)
USER_FUNCTIONS = [
    getattr(import_module(module), name)
    for module in USER_MODULES
    for name in import_module(module).__all__
    if inspect.isfunction(getattr(import_module(module), name))
]


@pytest.mark.parametrize("thing", ESTIMATORS + USER_FUNCTIONS, ids=lambda thing: thing.__name__)
def test_every_parameter_and_result_is_documented(thing):
    validate = pytest.importorskip("numpydoc.validate").validate
    names = [f"{thing.__module__}.{thing.__name__}"]
    if inspect.isclass(thing):
        assert {f"{names[0]}.{method}" for method in ("fit", "predict", "score", "summary")} <= set(
            _public_objects(["skdep"])
        )
        names += [name for name in _public_objects(["skdep"]) if name.startswith(names[0] + ".")]
    errors = {name: [error for error in validate(name)["errors"] if error[0] in REQUIRED] for name in names}
    assert errors == {name: [] for name in names}


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_fitted_attributes_are_those_that_are_documented(cls):
    docscrape = pytest.importorskip("numpydoc.docscrape")
    documented = {part.name for part in docscrape.ClassDoc(cls)["Attributes"]}
    found = set()
    for case in CASES:
        if type(case.estimator) is cls:
            rows = case.data()
            est = case.fit(rows.but(X=pd.DataFrame(rows.X, columns=["a", "b", "c"])))
            found |= {name for name in _fitted_state(est) if not name.startswith("_")}
            public = [name for name in dir(cls) if name.endswith("_") and not name.startswith("_")]
            found |= {name for name in public if isinstance(getattr(cls, name), property)}
    assert found == documented


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_estimators_have_examples_and_references(cls):
    docscrape = pytest.importorskip("numpydoc.docscrape")
    document = docscrape.ClassDoc(cls)
    assert document["Examples"]
    assert document["References"]
    assert document["See Also"]
    if is_classifier(cls()):
        assert "classifier" in " ".join(document["Summary"])
