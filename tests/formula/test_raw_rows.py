"""Functions of inference and pictures take raw data of a fit by formula."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from skdep import GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.inference import (
    bootstrap,
    deviance_scorer,
    influence,
    marginal_effects,
    predictions,
    profile_interval,
    weight_diagnostics,
)

from .data import table


@pytest.fixture(scope="module")
def counts():
    """A Poisson model with an offset in its formula, the raw data, and the same model of features."""
    frame = table("seizure")
    model = GEERegressor.from_formula(
        "y ~ x * factor(trt) + offset(log(weeks))",
        frame,
        family="poisson",
        groups="id",
        working_correlation="exchangeable",
    )
    features, offset = model.formula_.features(frame), np.log(frame["weeks"])
    plain = GEERegressor("poisson", working_correlation="exchangeable").fit(
        features, frame["y"], groups=frame["id"], offset=offset
    )
    return model, frame, plain, features, offset


def test_influence(counts):
    model, frame, plain, features, offset = counts
    expected = influence(plain, features, frame["y"], groups=frame["id"], offset=offset)
    for found in (
        influence(model, frame, frame["y"], groups=frame["id"]),
        influence(model, **model.formula_.fit_arguments(frame)),
    ):
        pd.testing.assert_frame_equal(found.clusters, expected.clusters)


def test_score_and_deviance_know_the_offset(counts):
    model, frame, plain, features, offset = counts
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.score(frame, frame["y"]) == plain.score(features, frame["y"], offset=offset)
        found = deviance_scorer(model, frame, frame["y"])
    assert found == deviance_scorer(plain, features, frame["y"], offset=offset)


def test_marginal_effects_are_of_raw_columns(counts):
    model, frame, _, _, _ = counts
    effects = marginal_effects(model, frame).to_frame()
    assert list(effects.index) == ["x", "trt"]
    assert effects.loc["trt", "change"] == "1 - 0"
    means = [model.predict(frame.assign(trt=value)).mean() for value in (0, 1)]
    assert effects.loc["trt", "estimate"] == pytest.approx(means[1] - means[0], rel=1e-6)


def test_marginal_effects_of_a_curve():
    frame = table("respiratory")
    model = LogitRegressor.from_formula("outcome ~ poly(age, 2) * treat", frame, groups="person")
    effects = marginal_effects(model, frame).to_frame()
    step = 1e-4
    moved = [model.predict_proba(frame.assign(age=frame["age"] + sign * step))[:, 1] for sign in (1, -1)]
    assert effects.loc["age", "estimate"] == pytest.approx(np.mean(moved[0] - moved[1]) / (2 * step), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Weights vary within clusters")
def test_weight_diagnostics(counts):
    model, frame, plain, features, offset = counts
    weights = np.random.default_rng(0).uniform(1.0, 2.0, len(frame))
    raw = weight_diagnostics(model, frame, frame["y"], sample_weight=weights, groups=frame["id"])
    expected = weight_diagnostics(plain, features, frame["y"], sample_weight=weights, groups=frame["id"], offset=offset)
    pd.testing.assert_frame_equal(raw.to_frame(), expected.to_frame())


def test_profiles_and_bootstrap():
    frame = table("respiratory")
    model = MixedLogit.from_formula("outcome ~ treat + scale(age) + (1 | person)", frame)
    raw = profile_interval(model, ["scale(age)"], X=frame, y=frame["outcome"], groups=frame["person"]).to_frame()
    by_arguments = profile_interval(model, ["scale(age)"], **model.formula_.fit_arguments(frame)).to_frame()
    pd.testing.assert_frame_equal(raw, by_arguments)
    teeth = table("orthodont")
    linear = MixedLinear.from_formula("distance ~ age + Sex + (1 | Subject)", teeth)
    given = {"n_boot": 3, "random_state": 0}
    raw = bootstrap(linear, teeth, teeth["distance"], groups=teeth["Subject"], **given)
    expected = bootstrap(linear, linear.formula_.features(teeth), teeth["distance"], groups=teeth["Subject"], **given)
    pd.testing.assert_frame_equal(raw.replicates, expected.replicates)


def test_pictures(counts):
    pytest.importorskip("matplotlib")
    from skdep.plotting import BinnedResidualsDisplay, FittedLinesDisplay, ResidualsDisplay, WorkingCorrelationDisplay

    model, frame, plain, features, offset = counts
    y, groups = frame["y"], frame["id"]
    raw = ResidualsDisplay.from_estimator(model, frame, y)
    expected = ResidualsDisplay.from_estimator(plain, features, y, offset=offset)
    np.testing.assert_array_equal(raw.fitted, expected.fitted)
    raw = BinnedResidualsDisplay.from_estimator(model, frame, y)
    expected = BinnedResidualsDisplay.from_estimator(plain, features, y, offset=offset)
    np.testing.assert_array_equal(raw.mean_residual, expected.mean_residual)
    raw = WorkingCorrelationDisplay.from_estimator(model, frame, y, groups=groups)
    expected = WorkingCorrelationDisplay.from_estimator(plain, features, y, groups=groups, offset=offset)
    np.testing.assert_array_equal(raw.by_lag.seen, expected.by_lag.seen)
    sleep = table("sleepstudy")
    lines = MixedLinear.from_formula("Reaction ~ poly(Days, 2) + (1 | Subject)", sleep)
    display = FittedLinesDisplay.from_estimator(
        lines, sleep, sleep["Reaction"], groups=sleep["Subject"], feature="Days", grid_resolution=4
    )
    assert display is not None


def test_rows_that_are_not_there():
    frame = table("seizure")
    model = MixedLinear.from_formula("y ~ x * trt + (1 | id)", frame)
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(frame[:0])
    assert model.formula_.features(frame[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match="no column 'x'"):
        marginal_effects(model, frame.drop(columns="x"))


def test_columns_of_one_name():
    frame = table("seizure")
    twice = pd.concat([frame, frame[["id"]]], axis=1)
    with pytest.raises(ValueError, match="several columns 'id'"):
        MixedLinear.from_formula("y ~ x + (1 | id)", twice)
    with pytest.raises(ValueError, match="several columns 'id'"):
        GEERegressor.from_formula("y ~ x", twice, groups="id")
    assert GEERegressor.from_formula("y ~ x", twice).n_features_in_ == 1


def test_arrays_of_another_length():
    frame = table("seizure")
    frame.loc[3, "x"] = None
    with pytest.raises(ValueError, match="groups has 5 values"):
        GEERegressor.from_formula("y ~ x", frame, groups=frame["id"][:5], missing="drop")


def test_rows_as_a_dict_of_columns():
    frame = table("seizure")
    model = GEERegressor.from_formula("y ~ x * trt + offset(log(weeks))", frame, family="poisson", groups="id")
    columns = {name: frame[name].tolist() for name in ("x", "trt", "weeks")}
    np.testing.assert_array_equal(model.predict(columns), model.predict(frame))
    np.testing.assert_allclose(predictions(model, columns), predictions(model, frame), rtol=1e-12)
    np.testing.assert_allclose(
        marginal_effects(model, columns)[["estimate", "std_error"]],
        marginal_effects(model, frame[list(columns)])[["estimate", "std_error"]],
        rtol=1e-12,
    )
