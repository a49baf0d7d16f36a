"""Picture of a fit with and without weights: numbers drawn, words, axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEERegressor
from skdep.inference.weight_diagnostics import weight_diagnostics
from skdep.plotting.weights import WeightsDisplay

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(90, 8)) * np.arange(1, 9), columns=[f"f{k}" for k in range(8)])
Y = X["f0"] - 0.3 * X["f3"] + RNG.normal(size=90)
WEIGHT = np.exp(0.7 * RNG.normal(size=90) + 0.4 * X["f0"])
FEW = ["f0", "f3"]


@pytest.fixture(scope="module")
def result():
    return weight_diagnostics(GEERegressor(), X[FEW], Y, sample_weight=WEIGHT, tests=())


def test_numbers_are_those_of_the_diagnostics(result):
    display = WeightsDisplay.from_diagnostics(result, level=0.9)
    scale = X[FEW].std(ddof=0).to_numpy()
    t = stats.t.ppf(0.95, 90 - 1 + 1 - 3)
    for fit, column in enumerate(("unweighted", "weighted")):
        estimate = result.table.loc[FEW, column].to_numpy() * scale
        half = t * result.table.loc[FEW, f"se_{column}"].to_numpy() * scale
        assert_allclose(display.estimates[:, fit], estimate, rtol=1e-12)
        assert_allclose(display.lower[:, fit], estimate - half, rtol=1e-12)
        assert_allclose(display.upper[:, fit], estimate + half, rtol=1e-12)
        assert_allclose(display.points_[fit].get_xdata(), estimate)
        ends = np.array([path[:, 0] for path in display.intervals_[fit].get_segments()])
        assert_allclose(ends, np.column_stack([estimate - half, estimate + half]))
    below = display.points_[1].get_ydata() - display.points_[0].get_ydata()
    assert (below > 0).all()  # the axis points down: without weights above


def test_weights_are_drawn_as_counted(result):
    display = WeightsDisplay.from_diagnostics(result)
    heights = [bar.get_height() for bar in display.bars_]
    assert_allclose(heights, result.histogram["count"])
    assert sum(heights) == 90
    assert_allclose([bar.get_x() for bar in display.bars_], result.histogram["left"])
    assert_allclose(display.bars_[-1].get_x() + display.bars_[-1].get_width(), WEIGHT.max() / WEIGHT.mean())
    assert display.axes_[1].get_title() == f"Kish's design effect {result.kish_deff:.3g}"


def test_curve_leads_from_weighted_to_unweighted(result):
    display = WeightsDisplay.from_diagnostics(result)
    assert_allclose(display.cuts, [1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.0])
    assert_allclose(display.changes[0], result.table.loc[FEW, "change"], rtol=1e-9)
    assert_allclose(display.changes[-1], 0.0, atol=1e-12)
    expected = (result.trimming["estimate"]["f3"] - result.table.loc["f3", "unweighted"]) / result.table.loc[
        "f3", "se_unweighted"
    ]
    assert_allclose(display.curves_[1].get_ydata(), expected)
    low, high = display.axes_[2].get_xlim()
    assert low > high


def test_words(result):
    display = WeightsDisplay.from_diagnostics(result, level=0.9)
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == FEW
    assert "90% intervals" in display.ax_.get_xlabel()
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["unweighted", "weighted"]
    assert [text.get_text() for text in display.axes_[2].get_legend().get_texts()] == FEW


def test_of_many_features_those_that_change_most_have_colours():
    display = WeightsDisplay.from_estimator(GEERegressor(), X, Y, sample_weight=WEIGHT, trim=(0.9,))
    assert len(display.curves_) == 8
    largest = np.argsort(-np.abs(display.changes).max(axis=0))[:6]
    named = {text.get_text() for text in display.axes_[2].get_legend().get_texts()}
    assert named == {f"f{k}" for k in largest}
    colours = {display.curves_[k].get_color() for k in largest}
    assert len(colours) == 6
    assert len({display.curves_[k].get_color() for k in range(8)} - colours) == 1


def test_from_estimator_passes_everything_on(result):
    groups = np.arange(90) // 3
    options = {"sample_weight": WEIGHT, "groups": groups, "trim": (0.8,)}
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), GEERegressor())
    display = WeightsDisplay.from_estimator(pipe, X[FEW], Y, **options)
    expected = weight_diagnostics(GEERegressor(), X[FEW], Y, **options)
    scale = X[FEW].std(ddof=0).to_numpy()
    assert_allclose(display.estimates[:, 1], expected.table.loc[FEW, "weighted"] * scale)
    assert_allclose(display.cuts, [1.0, 0.8, 0.0])
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        WeightsDisplay.from_estimator(pipe, X[FEW], Y, level=95, **options)


def test_coefficients_without_standard_errors_are_points():
    doubled = X[FEW].assign(twice=2.0 * X["f0"])
    with pytest.warns(UserWarning, match="Collinear"):
        display = WeightsDisplay.from_estimator(GEERegressor(), doubled, Y, sample_weight=WEIGHT, trim=())
    assert np.isnan(display.lower[:, 0]).tolist() == [True, False, True]
    assert np.isfinite(display.points_[1].get_xdata()).all()
    display.figure_.canvas.draw()


def test_takes_the_place_of_axes_and_styles(result):
    figure, axes = plt.subplots(2, 1, layout="constrained", figsize=(10, 8))
    display = WeightsDisplay.from_diagnostics(result, ax=axes[1], point_kwargs={"ms": 9.0}, interval_kwargs={"lw": 3.0})
    assert display.figure_ is figure
    assert display.points_[0].get_markersize() == 9.0
    assert_allclose(display.intervals_[1].get_linewidths(), 3.0)
    figure.canvas.draw()
    again = display.plot()
    assert again is display
    assert display.figure_ is not figure
