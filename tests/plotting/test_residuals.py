"""Residual plots: residuals, their standard deviations, the smooth line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.plotting import ResidualsDisplay
from skdep.plotting._smooth import lowess

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


def test_conditional_residuals(sleep):
    display = ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups)
    model = sleep.model
    effects = (
        pd.DataFrame(model.random_effects_["Subject"], index=model.levels_["Subject"]).loc[sleep.groups].to_numpy()
    )
    fitted = model.intercept_ + effects[:, 0] + (model.coef_[0] + effects[:, 1]) * sleep.X["Days"].to_numpy()
    assert_allclose(display.fitted, fitted, rtol=1e-12)
    assert_allclose(display.residuals, sleep.y - fitted, atol=1e-10)
    assert_allclose(display.points_.get_offsets(), np.column_stack([fitted, sleep.y - fitted]), atol=1e-10)
    standard = ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups, standardised=True)
    assert_allclose(standard.residuals, (sleep.y - fitted) / np.sqrt(model.sigma2_), rtol=1e-10)


def test_population_residuals_have_the_marginal_variance(sleep):
    display = ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y, standardised=True)
    model = sleep.model
    covariance = model.random_covariance_["Subject"]
    for row, (day, outcome) in enumerate(zip(sleep.X["Days"], sleep.y)):
        z = np.array([1.0, day])
        residual = outcome - model.intercept_ - model.coef_[0] * day
        assert display.residuals[row] == pytest.approx(residual / np.sqrt(z @ covariance @ z + model.sigma2_))


def test_variances_of_crossed_factors_add_up(penicillin):
    display = ResidualsDisplay.from_estimator(penicillin.model, penicillin.X, penicillin.y, standardised=True)
    total = sum(matrix[0, 0] for matrix in penicillin.model.random_covariance_.values()) + penicillin.model.sigma2_
    assert_allclose(display.residuals, (penicillin.y - penicillin.model.intercept_) / np.sqrt(total), rtol=1e-10)
    assert display.given == []


def test_precision_weights(sleep):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 180)
    model = MixedLinear(weight_type="precision").fit(sleep.X, sleep.y, groups=sleep.groups, sample_weight=weights)
    arguments = {"groups": sleep.groups, "standardised": True}
    weighted = ResidualsDisplay.from_estimator(model, sleep.X, sleep.y, sample_weight=weights, **arguments)
    plain = ResidualsDisplay.from_estimator(model, sleep.X, sleep.y, **arguments)
    assert_allclose(weighted.residuals, plain.residuals * np.sqrt(weights), rtol=1e-12)
    counts = MixedLinear().fit(sleep.X, sleep.y, groups=sleep.groups)
    repeated = ResidualsDisplay.from_estimator(counts, sleep.X, sleep.y, sample_weight=np.full(180, 2), **arguments)
    alone = ResidualsDisplay.from_estimator(counts, sleep.X, sleep.y, **arguments)
    assert_allclose(repeated.residuals, alone.residuals)


def test_offset_is_part_of_the_fit(sleep):
    offset = np.linspace(0.0, 50.0, 180)
    model = MixedLinear().fit(sleep.X, sleep.y + offset, groups=sleep.groups, offset=offset)
    plain = MixedLinear().fit(sleep.X, sleep.y, groups=sleep.groups)
    arguments = {"groups": sleep.groups}
    shifted = ResidualsDisplay.from_estimator(model, sleep.X, sleep.y + offset, offset=offset, **arguments)
    expected = ResidualsDisplay.from_estimator(plain, sleep.X, sleep.y, **arguments)
    assert_allclose(shifted.residuals, expected.residuals, atol=1e-6)


def test_marginal_models_have_pearson_residuals():
    rng = np.random.default_rng(2)
    X, groups = rng.normal(size=(120, 2)), np.repeat(np.arange(30), 4)
    y = rng.poisson(np.exp(0.5 + X[:, 0]))
    gee = GEERegressor(family="poisson").fit(X, y, groups=groups)
    display = ResidualsDisplay.from_estimator(gee, X, y, groups=groups, standardised=True)
    mean = np.exp(gee.intercept_ + X @ gee.coef_)
    assert_allclose(display.residuals, (y - mean) / np.sqrt(gee.scale_ * mean), rtol=1e-10)
    assert (display.residuals**2).sum() == pytest.approx(120 - 3)  # by the moment estimator of the scale
    assert display.ax_.get_xlabel() == "Fitted y"


def test_words(sleep, penicillin):
    def axis_labels(*arguments, **options):
        ax = ResidualsDisplay.from_estimator(*arguments, **options).ax_
        return ax.get_xlabel(), ax.get_ylabel()

    rows = (sleep.model, sleep.X, sleep.y)
    assert axis_labels(*rows, groups=sleep.groups) == ("Fitted Reaction, given Subject", "Residual of Reaction")
    assert axis_labels(*rows, standardised=True) == ("Fitted Reaction, population", "Standardised residual")
    crossed = axis_labels(penicillin.model, penicillin.X, penicillin.y, groups=penicillin.groups)
    assert crossed[0] == "Fitted diameter, given plate, sample"
    without = MixedLinear().fit(sleep.X, sleep.y)
    assert axis_labels(without, sleep.X, sleep.y.to_numpy()) == ("Fitted y", "Residual of y")
    assert axis_labels(without, sleep.X, sleep.y.to_frame())[0] == "Fitted Reaction"


def test_what_is_drawn(sleep):
    figure, ax = plt.subplots()
    arguments = {"groups": sleep.groups, "ax": ax, "scatter_kwargs": {"c": "red"}, "line_kwargs": {"lw": 5.0}}
    display = ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y, **arguments)
    assert (display.ax_, display.figure_) == (ax, figure)
    low, high = ax.get_ylim()
    assert low == -high
    assert high > np.abs(display.residuals).max()
    assert display.smooth_.get_linewidth() == 5.0
    assert display.points_.get_facecolor()[0, :3] == pytest.approx([1.0, 0.0, 0.0])
    assert_allclose(display.zero_line_.get_ydata(), 0.0)
    assert display.smooth_.get_xdata()[[0, -1]] == pytest.approx([display.fitted.min(), display.fitted.max()])
    assert display.plot(smooth=False).smooth_ is None


def test_smooth_of_many_rows_uses_some_of_them():
    x = np.random.default_rng(0).normal(size=70_001)
    noise = np.random.default_rng(1).normal(size=70_001)
    display = ResidualsDisplay(fitted=x, residuals=np.where(x > 0, 0.5 * x, 0.0) + 0.1 * noise).plot()
    at, curve = display.smooth_.get_data()
    assert_allclose(np.asarray(at)[[0, -1]], [x.min(), x.max()])
    every = lowess(x, display.residuals, np.asarray(at), n_robust=0)
    assert np.abs(curve - every).max() < 0.03


def test_equal_fitted_values_have_no_smooth_line(pastes):
    display = ResidualsDisplay.from_estimator(pastes.model, pastes.X, pastes.y)
    assert np.ptp(display.fitted) == 0.0
    assert display.smooth_ is None


@pytest.mark.parametrize("routing", [False, True])
def test_within_pipelines(sleep, routing):
    pipe = make_pipeline(StandardScaler(), MixedLinear([0]))
    with config_context(enable_metadata_routing=routing):
        pipe.fit(sleep.X, sleep.y, **{"groups" if routing else "mixedlinear__groups": sleep.groups})
        check_same_residuals(pipe, sleep)


def test_within_searches_within_pipelines(sleep):
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), GridSearchCV(MixedLinear([0]), {"method": ["reml"]}, cv=GroupKFold(2)))
        check_same_residuals(pipe.fit(sleep.X, sleep.y, groups=sleep.groups), sleep)


def check_same_residuals(est, sleep):
    for groups in (sleep.groups, None):
        arguments = {"groups": groups, "standardised": True}
        display = ResidualsDisplay.from_estimator(est, sleep.X, sleep.y, **arguments)
        plain = ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y, **arguments)
        assert_allclose(display.residuals, plain.residuals, atol=1e-4)


def test_errors(sleep):
    with pytest.raises(TypeError, match="LogitRegressor predicts classes"):
        ResidualsDisplay.from_estimator(LogitRegressor().fit(sleep.X, sleep.y > 300), sleep.X, sleep.y > 300)
    with pytest.raises(TypeError, match="GEEClassifier predicts classes"):
        ResidualsDisplay.from_estimator(
            GEEClassifier().fit(sleep.X, sleep.y > 300, groups=sleep.groups), sleep.X, sleep.y > 300
        )
    with pytest.raises(ValueError, match=r"y has 10 values for 180 rows"):
        ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y[:10])
    with pytest.raises(ValueError, match=r"'Subject' has 10 labels for 180 rows"):
        ResidualsDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups[:10])
    with pytest.warns(UserWarning):
        exact = MixedLinear().fit(sleep.X, 2.0 * sleep.X["Days"], groups=sleep.groups)
    with pytest.raises(ValueError, match="residual variance was estimated as 0"):
        ResidualsDisplay.from_estimator(exact, sleep.X, 2.0 * sleep.X["Days"], groups=sleep.groups, standardised=True)


# ------------------------------------------------------------------------------------------------- smooth line


@pytest.mark.parametrize("share", [0.2, 2.0 / 3.0, 1.0])
def test_smooth_is_that_of_statsmodels(share):
    """Without rounds against outliers both are the same local lines; with them, ours reads off between the points."""
    reference = pytest.importorskip("statsmodels.nonparametric.smoothers_lowess").lowess
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 10.0, 200)
    y = np.sin(x) + 0.3 * rng.standard_t(3, size=200)
    at = np.linspace(x.min(), x.max(), 60)
    expected = reference(y, x, frac=share, it=0, xvals=at)
    assert_allclose(lowess(x, y, at, share=share, n_robust=0), expected, atol=1e-10)
    expected = reference(y, x, frac=share, it=3, xvals=at)
    assert_allclose(lowess(x, y, at, share=share, n_robust=3), expected, atol=0.01)


def test_smooth_of_a_line_is_the_line():
    x = np.random.default_rng(0).normal(size=80)
    at = np.linspace(x.min(), x.max(), 11)
    assert_allclose(lowess(x, 3.0 - 2.0 * x, at), 3.0 - 2.0 * at, atol=1e-10)


def test_smooth_passes_by_outliers():
    x = np.linspace(0.0, 1.0, 101)
    y = x + 0.01 * np.cos(50.0 * x)
    wild = y.copy()
    wild[::10] += 100.0
    assert np.abs(lowess(x, wild, x, share=0.3) - x).max() < 0.03


def test_smooth_of_two_values_is_their_means():
    x = np.repeat([0.0, 1.0], [30, 20])
    y = np.random.default_rng(0).normal(size=50) + x
    assert_allclose(lowess(x, y, np.array([0.0, 1.0]), share=0.6, n_robust=0), [y[:30].mean(), y[30:].mean()])
