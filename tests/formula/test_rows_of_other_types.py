"""New rows whose columns have another type than those of the fit, and outcomes whose levels have an order."""

import numpy as np
import pandas as pd
import pytest

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.formula import FormulaTransformer
from skdep.inference import marginal_effects, predictions


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    n = 240
    x, dose, smoke = rng.normal(size=n), rng.integers(1, 3, n), rng.integers(0, 2, n)
    y = x + 2.0 * (dose == 2) - smoke + np.repeat(rng.normal(size=24), 10) + rng.normal(size=n)
    ill = np.where(y + rng.normal(size=n) > 0, "ill", "well")
    return pd.DataFrame(
        {"x": x, "dose": pd.Categorical(dose), "smoke": smoke, "y": y, "ill": ill, "g": np.repeat(np.arange(24), 10)}
    )


def as_numbers(frame, dtype):
    return frame.assign(dose=frame["dose"].astype(dtype))


@pytest.mark.parametrize("dtype", [int, float, object, "Int64"])
def test_a_category_given_as_its_numbers_is_that_category(frame, dtype):
    """Levels 1 and 2 have one column, an indicator: numbers must not stand for it."""
    fit = MixedLinear.from_formula("y ~ x + dose + (1 | g)", frame)
    new = as_numbers(frame, dtype)
    np.testing.assert_array_equal(fit.predict(new), fit.predict(frame))
    by_hand = fit.intercept_ + fit.coef_[0] * frame["x"] + fit.coef_[1] * (frame["dose"] == 2)
    np.testing.assert_allclose(fit.predict(new), by_hand, rtol=1e-12)
    transformer = FormulaTransformer("~ x * dose").fit(frame)
    pd.testing.assert_frame_equal(transformer.transform(new), transformer.transform(frame))
    pd.testing.assert_frame_equal(marginal_effects(fit, new), marginal_effects(fit, frame))


def test_numbers_that_are_no_level_raise(frame):
    fit = GEERegressor.from_formula("y ~ x + dose", frame)
    with pytest.raises(ValueError, match="'dose' has levels that the fit has not seen: '3'"):
        fit.predict(pd.DataFrame({"x": [0.0], "dose": [3]}))
    texts = GEERegressor.from_formula("y ~ x + dose", frame.assign(dose=frame["dose"].astype(str)))
    with pytest.raises(ValueError, match=r"it knows '1', '2' \(labels are float, those of the fit str\)"):
        texts.predict(as_numbers(frame, int))


def test_booleans_are_numbers_where_the_fit_had_numbers(frame):
    fit = LogitRegressor.from_formula("ill ~ x + smoke", frame)
    grid = pd.DataFrame({"x": 0.5, "smoke": [False, True], "dose": 1})
    expected = predictions(fit, grid.astype({"smoke": int}))
    pd.testing.assert_frame_equal(predictions(fit, grid), expected)


def test_categories_where_the_fit_had_numbers_raise(frame):
    fit = LogitRegressor.from_formula("ill ~ x + smoke", frame)
    with pytest.raises(ValueError, match="'smoke' was numbers in the fit, and now has categories, the first '0'"):
        fit.predict(frame.assign(smoke=frame["smoke"].astype(str)))


@pytest.mark.parametrize("cls", [LogitRegressor, GEEClassifier])
@pytest.mark.parametrize(
    "outcome", ['relevel(ill, ref = "well")', 'factor(ill, levels = c("well", "ill"))', "relevel(factor(smoke), '1')"]
)
def test_an_order_of_levels_that_classes_would_not_have_is_refused(frame, cls, outcome):
    """R models the second level, a classifier the second label in sorted order: the signs would be opposite."""
    with pytest.raises(ValueError, match="in this order, so that R takes"):
        cls.from_formula(f"{outcome} ~ x", frame)


def test_numbers_made_a_factor_are_an_outcome(frame):
    plain = LogitRegressor.from_formula("smoke ~ x", frame)
    made = LogitRegressor.from_formula("factor(smoke) ~ x", frame)
    np.testing.assert_array_equal(made.coef_, plain.coef_)
    assert made.classes_.tolist() == [0, 1]
    assert made.score(frame, frame["smoke"]) == plain.score(frame, frame["smoke"])
    with pytest.raises(ValueError, match="is categorical"):
        GEERegressor.from_formula("factor(smoke) ~ x", frame)


def test_slopes_through_splines_do_not_warn_at_the_boundary(frame, recwarn):
    fit = GEERegressor.from_formula("y ~ ns(x, df = 3)", frame)
    assert np.isfinite(marginal_effects(fit, frame)["std_error"]).all()
    assert not recwarn.list
    with pytest.warns(UserWarning, match="beyond the boundary knots"):
        fit.predict(frame.assign(x=10.0))


@pytest.mark.parametrize("columns", [["x", "t"], ["t", "x"], ["t", "x", "g"]])
def test_an_offset_of_a_feature_does_not_depend_on_the_order_of_columns(frame, recwarn, columns):
    """Data whose columns are those of the features in their order are no less raw than others."""
    frame = frame.assign(t=np.linspace(1.0, 4.0, len(frame)))
    fit = GEERegressor.from_formula("y ~ x + t + offset(2 * t)", frame)
    expected = fit.intercept_ + frame[["x", "t"]].to_numpy() @ fit.coef_ + 2.0 * frame["t"]
    np.testing.assert_allclose(fit.predict(frame[columns]), expected, rtol=1e-12)
    np.testing.assert_allclose(predictions(fit, frame[columns])["estimate"], expected, rtol=1e-12)
    features, given = fit.formula_.features(frame), 2.0 * frame["t"]
    np.testing.assert_allclose(fit.predict(features, offset=given), expected, rtol=1e-12)  # counted once
    effect = marginal_effects(fit, frame[columns]).loc["t", "estimate"]
    np.testing.assert_allclose(effect, fit.coef_[1] + 2.0, rtol=1e-8)
    assert not recwarn.list
