"""Marginal effects of features that are in the offset of a formula."""

import numpy as np
import pandas as pd
import pytest

from skdep import BayesLogit, GEERegressor, MixedLogit
from skdep.inference import marginal_effects


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(1)
    n = 300
    x, weeks = rng.normal(size=n), rng.uniform(1.0, 4.0, n)
    count = rng.poisson(weeks * np.exp(0.3 * x + np.repeat(0.5 * rng.normal(size=30), 10)))
    return pd.DataFrame({"x": x, "weeks": weeks, "count": count, "y": count > 2, "g": np.repeat(np.arange(30), 10)})


def differences(model, frame, name, step):
    mean = model.predict if not hasattr(model, "classes_") else lambda rows: model.predict_proba(rows)[:, 1]
    above, below = (frame.assign(**{name: frame[name] + change}) for change in (step, -step))
    return (mean(above) - mean(below)) / (2.0 * step)


def test_a_feature_in_terms_and_in_the_offset_moves_both(frame):
    """log mu = a + b x + c log(weeks) + log(weeks): the slope of weeks is mu (c + 1) / weeks."""
    model = GEERegressor.from_formula(
        "count ~ x + log(weeks) + offset(log(weeks))", frame, family="poisson", groups="g"
    )
    effect = marginal_effects(model, frame).loc["weeks"]
    mean, weeks = model.predict(frame), frame["weeks"].to_numpy()
    np.testing.assert_allclose(effect["estimate"], np.mean(mean * (model.coef_[1] + 1.0) / weeks), rtol=1e-6)
    np.testing.assert_allclose(effect["estimate"], differences(model, frame, "weeks", 1e-5).mean(), rtol=1e-6)
    design = np.column_stack([np.ones(len(frame)), frame["x"], np.log(weeks)])
    by_mean = (mean * (model.coef_[1] + 1.0) / weeks) @ design / len(frame)
    gradient = by_mean + np.array([0.0, 0.0, np.mean(mean / weeks)])
    np.testing.assert_allclose(effect["std_error"], np.sqrt(gradient @ model.covariance_ @ gradient), rtol=1e-6)
    total = marginal_effects(model, frame, discrete={"weeks": [1.0, 2.0]}).loc["weeks", "estimate"]
    two, one = (model.predict(frame.assign(weeks=value)).mean() for value in (2.0, 1.0))
    np.testing.assert_allclose(total, two - one, rtol=1e-12)


def test_a_feature_of_the_offset_alone_has_a_row_if_named(frame):
    model = GEERegressor.from_formula("count ~ x + offset(log(weeks))", frame, family="poisson")
    assert list(marginal_effects(model, frame).index) == ["x"]
    effect = marginal_effects(model, frame, features="weeks").loc["weeks", "estimate"]
    np.testing.assert_allclose(effect, np.mean(model.predict(frame) / frame["weeks"]), rtol=1e-6)


@pytest.mark.parametrize(
    "fit",
    [
        lambda formula, frame: MixedLogit.from_formula(formula, frame),
        lambda formula, frame: BayesLogit.from_formula(formula, frame, n_draws=500, n_chains=2, random_state=0),
    ],
)
def test_random_effects_integrated_out(frame, fit):
    model = fit("y ~ x + weeks + offset(0.5 * weeks) + (1 | g)", frame)
    effect = marginal_effects(model, frame, features="weeks").loc["weeks", "estimate"]
    np.testing.assert_allclose(effect, differences(model, frame, "weeks", 1e-3).mean(), rtol=1e-4)


def test_an_offset_that_jumps_has_no_slope(frame):
    rows = frame.assign(dose=np.arange(300) % 4)
    model = GEERegressor.from_formula(
        "count ~ x + dose + offset(ifelse(dose > 1, 1, 0))", rows, family="poisson", groups="g"
    )
    with pytest.raises(ValueError, match="'dose', or jumps"):
        marginal_effects(model, rows, features="dose", discrete=[])
    assert len(marginal_effects(model, rows, features="dose", discrete=["dose"])) == 3
