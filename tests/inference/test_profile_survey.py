"""Profile intervals of logistic regressions, designs and all: R, other fits at their ends, invariances, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import LogitRegressor, MixedLogit
from skdep.exceptions import CollinearityWarning, FewClustersWarning, SeparationWarning
from skdep.inference import coef_table, design_effects, profile_interval
from tests.inference.survey_cases import FITS, LOGIT, design, fitted, rows_of

RNG = np.random.default_rng(21)
N = 150
FRAME = pd.DataFrame(RNG.normal(size=(N, 3)) + 1.0, columns=["a", "b", "c"])
GROUPS = RNG.integers(0, 30, N)
Y = (RNG.random(N) < special.expit(0.8 * FRAME["a"] - FRAME["b"] + 0.6 * RNG.normal(size=30)[GROUPS])).astype(int)
WEIGHTS = RNG.gamma(3.0, 1.0, N)
OFFSET = 0.3 * np.sin(np.arange(N))
ENDS = ["conf_low", "conf_high"]
DATA = {"X": FRAME, "y": Y, "sample_weight": WEIGHTS, "offset": OFFSET}


@pytest.fixture(scope="module")
def survey():
    return LogitRegressor(weight_type="sampling").fit(**DATA, groups=GROUPS)


def intervals(name, parameters=None):
    X, y = rows_of(name, FITS[name]["features"])
    return profile_interval(fitted(name), parameters, X=X, y=y, sample_weight=design(name)["sample_weight"])


# ---- R ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGIT)
def test_root_finding_in_r(name):
    """Ends where the deviance of a fit with an offset has risen by the design effect times a quantile of F."""
    expected, ends = np.array(FITS[name]["profile_95"]), intervals(name).table[ENDS].to_numpy()
    width = np.diff(expected, axis=1)
    assert np.all(np.abs(ends - expected) < 1e-7 * width)


@pytest.mark.parametrize("name", ["strat", "clus2", "no_intercept"])
def test_confint_of_survey_has_the_dispersion_twice(name):
    """Its ends, found by interpolation, are where the deviance has risen by that much more."""
    case, model = FITS[name], fitted(name)
    X, y = rows_of(name, case["features"])
    effects = design_effects(model)["deff"]
    for row, feature in zip(case["likelihood_confint_times_dispersion"][case["intercept"] :], X, strict=True):
        for end in row:
            held = LogitRegressor(weight_type="sampling", fit_intercept=case["intercept"], tol=1e-10)
            held.fit(X.drop(columns=feature), y, sample_weight=design(name)["sample_weight"], offset=end * X[feature])
            rise = 2 * (model.loglik_ - held.loglik_) / (effects[feature] * case["dispersion"])
            assert rise == pytest.approx(stats.f.ppf(0.95, 1, case["ddf"]), rel=5e-3)


# ---- other ways to the same ------------------------------------------------------------------------------------------


def rise_at(model, feature, value, **options):
    """Return twice what the log-likelihood loses with a coefficient held: a public fit with an offset."""
    held = LogitRegressor(weight_type=model.weight_type, tol=1e-11, **options)
    offset = OFFSET + value * (1.0 if feature == "Intercept" else FRAME[feature])
    X = FRAME if feature == "Intercept" else FRAME.drop(columns=feature)
    if feature == "Intercept":
        held.set_params(fit_intercept=False)
    return 2 * (model.loglik_ - held.fit(X, Y, sample_weight=WEIGHTS, offset=offset).loglik_)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_fits_at_the_ends(survey, level):
    result = profile_interval(survey, **DATA, level=level)
    effects = design_effects(survey)["deff"]
    cut = stats.f.ppf(level, 1, survey._inference.degrees_of_freedom["design"])
    for name, row in result.table.iterrows():
        assert row["estimate"] == pytest.approx(survey._inference.estimate[list(effects.index).index(name)], abs=1e-7)
        for end in ENDS:
            assert rise_at(survey, name, row[end]) == pytest.approx(cut * effects[name], rel=1e-7)


def test_plain_fits_have_the_ordinary_profile():
    """No design: twice the log-likelihood falls by the quantile of chi-square; a MixedLogit without groups agrees."""
    data = {"X": FRAME, "y": Y, "offset": OFFSET}
    table = profile_interval(LogitRegressor().fit(**data), **data).table
    expected = profile_interval(MixedLogit().fit(**data), **data).table
    assert_allclose(table, expected, atol=1e-5)
    counts = RNG.integers(1, 4, N)
    weighted = {"X": FRAME, "y": Y, "sample_weight": counts}
    rows = np.repeat(np.arange(N), counts)
    repeated = {"X": FRAME.iloc[rows], "y": Y.iloc[rows]}
    tables = [profile_interval(LogitRegressor().fit(**data), **data).table for data in (weighted, repeated)]
    assert_allclose(*tables, rtol=1e-7, atol=1e-9)


def test_covariance_of_the_fit_sets_the_scale():
    """Clusters without survey weights: the design effect is that of the clusters, and the reference normal."""
    data = {"X": FRAME, "y": Y}
    model = LogitRegressor().fit(**data, groups=GROUPS)
    row = profile_interval(model, "b", **data).table.loc["b"]
    effect = design_effects(model).loc["b", "deff"]
    for end in ENDS:
        held = LogitRegressor(tol=1e-11).fit(FRAME.drop(columns="b"), Y, offset=row[end] * FRAME["b"])
        assert 2 * (model.loglik_ - held.loglik_) == pytest.approx(stats.chi2.ppf(0.95, 1) * effect, rel=1e-7)


def test_many_rows_are_wald():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 2))
    y = rng.random(40_000) < special.expit(X[:, 0])
    weights = rng.gamma(2.0, 1.0, 40_000)
    model = LogitRegressor(weight_type="sampling").fit(X, y, sample_weight=weights)
    table = profile_interval(model, X=X, y=y, sample_weight=weights).table
    width = coef_table(model)["std_error"].to_numpy()[:, None]
    assert np.all(np.abs(table[ENDS] - coef_table(model)[ENDS]).to_numpy() < 0.02 * width)


def test_curves(survey):
    """Points are where public fits have them, from end to end; near a straight line of slope 1 / standard error."""
    result = profile_interval(survey, ["a", "c"], **DATA)
    assert list(result.table.index) == list(result.curves) == ["a", "c"]
    cut = stats.t.ppf(0.975, survey._inference.degrees_of_freedom["design"])
    effects, errors = design_effects(survey)["deff"], coef_table(survey)["std_error"]
    for name, curve in result.curves.items():
        estimate = result.table.loc[name, "estimate"]
        assert np.all(np.diff(curve.value) > 0) and np.all(np.diff(curve.zeta) > 0)
        assert estimate in curve.value
        inside = np.abs(curve.zeta) <= cut + 1e-8
        assert_allclose(curve.value[inside][[0, -1]], result.table.loc[name, ENDS].to_numpy(dtype=float), rtol=1e-12)
        for value, zeta in zip(curve.value, curve.zeta, strict=True):
            expected = np.sign(value - estimate) * np.sqrt(max(rise_at(survey, name, value), 0) / effects[name])
            assert zeta == pytest.approx(expected, abs=1e-5)
        assert_allclose(curve.zeta, (curve.value - estimate) / errors[name], atol=0.4)


# ---- invariances -----------------------------------------------------------------------------------------------------


def test_units_order_and_scale_of_weights(survey):
    table = profile_interval(survey, **DATA).table
    order = RNG.permutation(N)
    shuffled = {key: np.asarray(value)[order] if key != "X" else FRAME.iloc[order] for key, value in DATA.items()}
    shuffled["sample_weight"] = 1e3 * shuffled["sample_weight"]
    again = profile_interval(survey, **shuffled).table  # rows in another order are the same rows
    assert_allclose(again, table, rtol=1e-7, atol=1e-9)
    other = {**DATA, "X": FRAME * [1e4, 1.0, 1e-3] + [2e6, 0.0, 5.0]}
    moved = profile_interval(LogitRegressor(weight_type="sampling").fit(**other, groups=GROUPS), **other).table
    assert_allclose(moved.loc["a"] * 1e4, table.loc["a"], rtol=1e-5)
    assert_allclose(moved.loc["c"] * 1e-3, table.loc["c"], rtol=1e-6)


def test_rows_of_weight_zero():
    weights = np.where(GROUPS < 25, WEIGHTS, 0.0)
    data = {**DATA, "sample_weight": weights}
    model = LogitRegressor(weight_type="sampling").fit(**data, groups=GROUPS)
    table = profile_interval(model, **data).table
    inside = {key: value[weights > 0] for key, value in data.items()}
    assert_allclose(profile_interval(model, **inside).table, table, rtol=1e-9)


def test_a_single_coefficient():
    data = {"X": FRAME[["a"]], "y": Y, "sample_weight": WEIGHTS}
    model = LogitRegressor(weight_type="sampling", fit_intercept=False).fit(**data, groups=GROUPS)
    row = profile_interval(model, **data).table.loc["a"]
    w, sign = WEIGHTS / WEIGHTS.mean(), 2 * Y - 1
    cut = stats.f.ppf(0.95, 1, 29) * design_effects(model).loc["a", "deff"]
    for end in ENDS:
        loglik = -w @ np.logaddexp(0, -sign * row[end] * FRAME["a"])
        assert 2 * (model.loglik_ - loglik) == pytest.approx(cut, rel=1e-7)


def test_pipelines_and_labels():
    labels = np.where(Y == 1, "yes", "no")
    pipe = make_pipeline(StandardScaler(), LogitRegressor(weight_type="sampling"))
    pipe.fit(FRAME, labels, logitregressor__groups=GROUPS, logitregressor__sample_weight=WEIGHTS)
    plain = LogitRegressor(weight_type="sampling").fit(FRAME, Y, groups=GROUPS, sample_weight=WEIGHTS)
    first = profile_interval(pipe, X=FRAME, y=labels, sample_weight=WEIGHTS).table
    second = profile_interval(plain, X=FRAME, y=Y, sample_weight=WEIGHTS).table
    assert_allclose(first.iloc[1:] / FRAME.std(ddof=0).to_numpy()[:, None], second.iloc[1:], rtol=1e-6)


# ---- trouble ---------------------------------------------------------------------------------------------------------


def test_collinear_features(survey):
    data = {**DATA, "X": FRAME.assign(again=2 * FRAME["a"])}
    with pytest.warns(CollinearityWarning):
        model = LogitRegressor(weight_type="sampling").fit(**data, groups=GROUPS)
    table = profile_interval(model, **data).table
    assert table.loc[["a", "again"]].isna().all(axis=None)
    assert_allclose(table.loc[["b", "c"]], profile_interval(survey, ["b", "c"], **DATA).table, rtol=1e-6)


def test_one_observation_from_separation():
    """The likelihood falls slowly to one side: the end is far, and found."""
    x = np.arange(30.0)
    y = (x >= 15).astype(int)
    y[[14, 15]] = 1, 0
    model = LogitRegressor().fit(x[:, None], y)
    row = profile_interval(model, "x0", X=x[:, None], y=y).table.loc["x0"]
    assert row["conf_high"] - row["estimate"] > 3 * (row["estimate"] - row["conf_low"])
    for end in ENDS:
        held = LogitRegressor(fit_intercept=False, tol=1e-11).fit(np.ones((30, 1)), y, offset=row[end] * x)
        assert 2 * (model.loglik_ - held.loglik_) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-6)


def test_no_degrees_of_freedom_left():
    with pytest.warns(FewClustersWarning):
        model = LogitRegressor(weight_type="sampling").fit(FRAME, Y, groups=GROUPS % 3)
    with pytest.warns(ConvergenceWarning, match="a: its standard error, or the degrees of freedom"):
        table = profile_interval(model, X=FRAME, y=Y).table
    assert table[ENDS].isna().all(axis=None) and table["estimate"].notna().all()


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_a_fit_that_did_not_converge():
    stopped = LogitRegressor(max_iter=1).fit(FRAME, Y)
    with pytest.warns(ConvergenceWarning, match="the fit did not converge"):
        profile_interval(stopped, "a", X=FRAME, y=Y)


def test_what_is_refused(survey):
    with pytest.raises(ValueError, match="needs the data of the fit again"):
        profile_interval(survey)
    with pytest.raises(ValueError, match="These are not the data of the fit"):
        profile_interval(survey, X=FRAME, y=Y, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="These are not the data of the fit"):
        profile_interval(survey, **{**DATA, "sample_weight": None})
    with pytest.raises(ValueError, match="These are not the data of the fit"):
        profile_interval(survey, **{**DATA, "y": 1 - Y})
    with pytest.raises(ValueError, match="These are not the data of the fit"):
        profile_interval(survey, **{**DATA, "X": FRAME[["b", "a", "c"]].to_numpy()})
    with pytest.raises(ValueError, match=r"unknown names \['z'\]"):
        profile_interval(survey, ["a", "z"], **DATA)
    with pytest.raises(ValueError, match="has no variances"):
        profile_interval(survey, "variances", **DATA)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        profile_interval(survey, **DATA, level=95)
    with pytest.raises(ValueError, match="penalty='firth'"):
        profile_interval(LogitRegressor("firth").fit(FRAME, Y), X=FRAME, y=Y)
    separated = (FRAME["a"] > 1.0).astype(int)
    with pytest.warns(SeparationWarning):
        model = LogitRegressor().fit(FRAME, separated)
    with pytest.raises(ValueError, match="need finite estimates"):
        profile_interval(model, X=FRAME, y=separated)


def test_the_model_stays_as_it_was(survey):
    before = pickle.dumps(survey)
    profile_interval(survey, "coefficients", **DATA)
    assert pickle.dumps(survey) == before
