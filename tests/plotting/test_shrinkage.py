"""No, partial and complete pooling: the coefficients against separate fits, and what is drawn."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import logit
from scipy.stats import chi2
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import BayesLogit, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.plotting import ShrinkageDisplay
from skdep.plotting._own_estimates import own_least_squares, own_logits
from skdep.plotting._shrinkage_drawing import ellipse

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


def shrinkage(case, **options):
    return ShrinkageDisplay.from_estimator(case.model, case.X, case.y, groups=case.groups, **options)


# --------------------------------------------------------------------------------------------------- linear models


def test_no_and_complete_pooling_are_least_squares(sleep):
    display = shrinkage(sleep)
    days = sleep.X["Days"].to_numpy()
    for k, subject in enumerate(display.levels):
        own = (sleep.groups == subject).to_numpy()
        slope, intercept = np.polyfit(days[own], sleep.y.to_numpy()[own], 1)
        assert_allclose(display.no_pooling[k], [intercept, slope], rtol=1e-9)
    slope, intercept = np.polyfit(days, sleep.y, 1)
    assert_allclose(display.complete_pooling, [intercept, slope], rtol=1e-9)
    assert_allclose(display.partial_pooling, display.population + sleep.model.random_effects_["Subject"])
    assert (display.sizes == 10).all()


def check_shrinkage_identity(display, model, X, columns, weights):
    """Partial pooling is the mean of own and common coefficients, weighted by the matrices of the Notes."""
    covariance = model.random_covariance_[display.factor]
    Z = np.column_stack([np.ones(len(X)) if c < 0 else X[:, c] for c in columns])
    for k in range(len(display.levels)):
        rows = display.codes == k
        gram = Z[rows].T @ (weights[rows, None] * Z[rows])
        share = covariance @ np.linalg.inv(covariance + model.sigma2_ * np.linalg.inv(gram))
        mean = share @ display.no_pooling[k] + (np.eye(len(columns)) - share) @ display.population
        assert_allclose(display.partial_pooling[k], mean, rtol=1e-6)


def test_partial_pooling_is_a_matrix_weighted_mean_with_other_features_held(schools):
    display = shrinkage(schools)
    codes, levels = pd.factorize(schools.groups, sort=True)
    display.codes = codes
    assert (display.levels == levels).all()
    check_shrinkage_identity(display, schools.model, schools.X.to_numpy(), (-1, 0), np.ones(len(schools.X)))


def test_precision_weights_and_offsets_keep_the_identity(schools):
    rng = np.random.default_rng(5)
    kept = np.arange(len(schools.X)) < 900
    X, y, groups = schools.X[kept], schools.y[kept], schools.groups[kept]
    weights, offset = rng.uniform(0.5, 2.0, kept.sum()), rng.normal(size=kept.sum())
    given = {"sample_weight": weights, "offset": offset}
    model = MixedLinear(["age"], weight_type="precision").fit(X, y, groups=groups, **given)
    display = ShrinkageDisplay.from_estimator(model, X, y, groups=groups, **given)
    display.codes = pd.factorize(groups, sort=True)[0]
    check_shrinkage_identity(display, model, X.to_numpy(), (-1, 0), weights)
    assert_allclose(display.sizes, np.bincount(display.codes))


def test_crossed_factors_hold_each_other(penicillin):
    """Given the effects of plates, those of samples are shrunken means of what is left."""
    model = penicillin.model
    display = shrinkage(penicillin, factor="sample")
    plates = pd.Series(model.random_effects_["plate"][:, 0], index=model.levels_["plate"])
    rest = penicillin.y - penicillin.groups["plate"].map(plates)
    means = rest.groupby(penicillin.groups["sample"]).agg(["mean", "size"])
    assert_allclose(display.no_pooling[:, 0], means["mean"])
    assert_allclose(display.complete_pooling, rest.mean())
    variance = model.random_covariance_["sample"][0, 0]
    share = variance / (variance + model.sigma2_ / means["size"])
    assert_allclose(display.partial_pooling[:, 0], share * means["mean"] + (1 - share) * model.intercept_, rtol=1e-8)
    with pytest.raises(ValueError, match="Say which by factor="):
        shrinkage(penicillin)


def test_levels_without_own_coefficients():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), 5)
    X = rng.normal(size=(150, 1)) + 1e6  # far from zero: sums of squares would lose all digits
    X[groups == 3] = X[groups == 3][0]
    kept = (groups != 7) | (np.arange(150) % 5 == 0)
    X, groups = X[kept], groups[kept]
    y = 3.0 + rng.normal(size=30)[groups] + (1.0 + rng.normal(size=30)[groups]) * (X[:, 0] - 1e6)
    y = y + 0.3 * rng.normal(size=len(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLinear([0]).fit(X, y, groups=groups)
    display = ShrinkageDisplay.from_estimator(model, X, y, groups=groups)
    without = np.isnan(display.no_pooling).all(axis=1)
    assert set(display.levels[without]) == {3, 7}
    assert np.isfinite(display.partial_pooling).all()
    own = groups == 11
    slope = np.polyfit(X[own, 0] - X[own, 0].mean(), y[own], 1)[0]
    assert_allclose(display.no_pooling[11, 1], slope, rtol=1e-7)
    assert "2 without estimates of their own" in display.ax_.get_legend().get_title().get_text()
    assert len(display.own_[0].get_offsets()) == 28


def test_own_least_squares_without_constant():
    rng = np.random.default_rng(0)
    codes, Z, y, weights = rng.integers(0, 6, 90), rng.normal(size=(90, 2)), rng.normal(size=90), rng.random(90)
    found = own_least_squares(Z, y, codes, 6, weights, None)
    for k in range(6):
        root = np.sqrt(weights[codes == k])
        expected = np.linalg.lstsq(root[:, None] * Z[codes == k], root * y[codes == k], rcond=None)[0]
        assert_allclose(found[k], expected, rtol=1e-9)


# ------------------------------------------------------------------------------------------------- logistic models


@pytest.fixture(scope="module")
def wards():
    rng = np.random.default_rng(1)
    size = rng.integers(3, 40, 60)
    groups = np.repeat(np.arange(60), size)
    X = rng.normal(size=(len(groups), 2))
    effects = rng.normal(size=(60, 2)) * [1.2, 0.5]
    eta = -0.3 + 0.8 * X[:, 0] + 0.4 * X[:, 1] + effects[groups, 0] + effects[groups, 1] * X[:, 0]
    y = np.where(rng.random(len(groups)) < 1 / (1 + np.exp(-eta)), "yes", "no")
    return X, y, groups


def test_without_features_firth_is_the_empirical_logit(wards):
    _, y, groups = wards
    X = np.zeros((len(y), 0))
    model = MixedLogit().fit(X, y, groups=groups)
    display = ShrinkageDisplay.from_estimator(model, X, y, groups=groups)
    rows, successes = np.bincount(groups), np.bincount(groups, y == "yes")
    assert_allclose(display.no_pooling[:, 0], np.log((successes + 0.5) / (rows - successes + 0.5)), atol=1e-9)
    assert_allclose(display.complete_pooling[0], logit((y == "yes").mean()), atol=1e-9)
    assert (display.uniform == ((successes == 0) | (successes == rows))).all()
    assert (display.sizes == rows).all()
    assert len(display.own_) == 2
    assert len(display.own_[1].get_offsets()) == display.uniform.sum() > 0


def test_own_logits_are_separate_firth_fits(wards):
    X, y, groups = wards
    model = MixedLogit([0]).fit(X, y, groups=groups)
    display = ShrinkageDisplay.from_estimator(model, X, y, groups=groups)
    held = X[:, 1] * model.coef_[0, 1]
    for k in np.flatnonzero(~display.uniform)[::9]:
        own = groups == k
        firth = LogitRegressor(penalty="firth").fit(X[own, :1], y[own] == "yes", offset=held[own])
        assert_allclose(display.no_pooling[k], [firth.intercept_[0], firth.coef_[0, 0]], atol=2e-5)
    whole = LogitRegressor().fit(X[:, :1], y == "yes", offset=held)
    assert_allclose(display.complete_pooling, [whole.intercept_[0], whole.coef_[0, 0]], rtol=1e-6)


def test_frequency_weights_are_repeated_rows(wards):
    X, y, groups = wards
    counts = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    again = np.repeat(np.arange(len(y)), counts.astype(int))
    model = MixedLogit([0]).fit(X, y, groups=groups, sample_weight=counts)
    weighted = ShrinkageDisplay.from_estimator(model, X, y, groups=groups, sample_weight=counts)
    repeated = ShrinkageDisplay.from_estimator(model, X[again], y[again], groups=groups[again])
    assert_allclose(weighted.no_pooling, repeated.no_pooling, atol=1e-7)
    assert_allclose(weighted.complete_pooling, repeated.complete_pooling, rtol=1e-8)
    assert_allclose(weighted.sizes, repeated.sizes)
    assert (weighted.uniform == repeated.uniform).all()


def test_separated_levels_are_finite():
    Z = np.column_stack([np.ones(8), np.arange(8.0)])
    y = (np.arange(8) > 3).astype(float)
    found = own_logits(Z, y, np.zeros(8), np.zeros(8, dtype=int), 1, np.ones(8), 0)
    firth = LogitRegressor(penalty="firth").fit(Z[:, 1:], y)
    assert_allclose(found[0], [firth.intercept_[0], firth.coef_[0, 0]], rtol=1e-5)


def test_posterior_means(wards):
    X, y, groups = wards
    model = BayesLogit(n_draws=100, n_chains=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, groups=groups)
    display = ShrinkageDisplay.from_estimator(model, X, y, groups=groups)
    assert_allclose(display.partial_pooling[:, 0], model.intercept_[0] + model.random_effects_["group"][:, 0])
    assert display.ax_.get_ylabel() == "Intercept (log odds of y)"


# ---------------------------------------------------------------------------------------------------- what is drawn


def test_ellipses_hold_their_share():
    covariance = np.array([[4.0, -1.2], [-1.2, 0.5]])
    points = ellipse(np.array([1.0, 2.0]), covariance, 0.9) - np.array([[1.0], [2.0]])
    distance = np.einsum("an,ab,bn->n", points, np.linalg.inv(covariance), points)
    assert_allclose(distance, chi2(2).ppf(0.9))
    assert np.isfinite(ellipse(np.zeros(2), np.outer([1.0, 2.0], [1.0, 2.0]), 0.5)).all()


def test_arrows_lead_from_own_to_partial(sleep):
    display = shrinkage(sleep)
    assert len(display.axes_) == 1
    arrows = display.arrows_[0]
    assert_allclose(arrows.XY, display.no_pooling)
    assert_allclose(np.column_stack([arrows.U, arrows.V]), display.partial_pooling - display.no_pooling)
    assert_allclose(display.partial_[0].get_offsets(), display.partial_pooling)
    (left, right), (low, high) = display.ax_.get_xlim(), display.ax_.get_ylim()
    inside = (display.no_pooling > [left, low]) & (display.no_pooling < [right, high])
    assert inside.all()


def test_rows_and_sizes(sleep, schools):
    by_level = shrinkage(sleep, kind="levels")
    assert len(by_level.axes_) == 2
    top = [label.get_text() for label in by_level.ax_.get_yticklabels()][-1]
    assert top == str(by_level.levels[by_level.no_pooling[:, 0].argmax()])
    intercepts = shrinkage(schools, effects="Intercept")
    assert intercepts.ax_.get_xlabel() == "rows of school"
    assert_allclose(intercepts.partial_[0].get_offsets()[:, 0], intercepts.sizes)
    assert shrinkage(sleep, effects=["Days"]).ax_.get_xlabel() == "Slope of Days (Reaction per unit)"
    areas = np.sort(np.unique(intercepts.partial_[0].get_sizes()))
    assert areas[-1] / areas[0] == pytest.approx(intercepts.sizes.max() / intercepts.sizes.min())


def test_within_pipelines(sleep):
    pipe = make_pipeline(StandardScaler(), MixedLinear([0])).fit(sleep.X, sleep.y, mixedlinear__groups=sleep.groups)
    display = ShrinkageDisplay.from_estimator(pipe, sleep.X, sleep.y, groups=sleep.groups)
    sd = sleep.X["Days"].std(ddof=0)
    assert_allclose(display.no_pooling[:, 1], shrinkage(sleep).no_pooling[:, 1] * sd, rtol=1e-8)


def test_rows_of_unknown_levels_are_left_out(sleep):
    groups = sleep.groups.where(sleep.groups != 308, 999)
    display = ShrinkageDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=groups)
    assert 308 not in display.levels
    assert len(display.levels) == 17
    with pytest.raises(ValueError, match="No row belongs to a level of 'Subject'"):
        ShrinkageDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=groups * 0 + 999)


def test_errors(sleep):
    with pytest.raises(ValueError, match="kind must be 'auto', 'plane', 'levels' or 'sizes', got 'map'"):
        shrinkage(sleep, kind="map")
    with pytest.raises(ValueError, match="takes two coefficients"):
        shrinkage(sleep, kind="plane", effects="Days")
    with pytest.raises(ValueError, match="effects='age' is no random effect of 'Subject'"):
        shrinkage(sleep, effects="age")
    with pytest.raises(ValueError, match="shares of the population between 0 and 1"):
        shrinkage(sleep, ellipses=[1.5])
    gee = GEERegressor().fit(sleep.X, sleep.y, groups=sleep.groups)
    with pytest.raises(TypeError, match="GEERegressor has none"):
        ShrinkageDisplay.from_estimator(gee, sleep.X, sleep.y, groups=sleep.groups)
