"""Caterpillar plots: order, intervals, labels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import BayesLogit, GEERegressor, MixedLinear
from skdep.plotting import CaterpillarDisplay

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


def ends(collection) -> np.ndarray:
    """Return (row, lower, upper) of every interval that is drawn."""
    return np.array([[path[0, 1], path[0, 0], path[1, 0]] for path in collection.get_segments()])


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_balanced_one_way_layout_in_closed_form(level):
    """Analysis of variance gives the REML estimates; effects are shrunken deviations of means."""
    rng = np.random.default_rng(1)
    n_groups, size = 8, 5
    groups = np.repeat(np.arange(n_groups), size)
    y = 3.0 * rng.normal(size=n_groups)[groups] + rng.normal(size=n_groups * size)
    ones = np.ones((len(y), 1))
    model = MixedLinear(fit_intercept=False).fit(ones, y, groups=groups)
    display = CaterpillarDisplay.from_estimator(model, level=level)

    table = y.reshape(n_groups, size)
    means = table.mean(axis=1)
    within = table.var(axis=1, ddof=1).mean()
    between = means.var(ddof=1) - within / size
    order = np.argsort(means)
    effects = (between / (between + within / size) * (means - means.mean()))[order]
    sd = np.sqrt(between * within / (size * between + within))
    half = stats.norm.ppf(0.5 + 0.5 * level) * sd
    assert_array_equal(display.levels, order)
    assert_allclose(display.effects[:, 0], effects, rtol=1e-5)
    assert_allclose(display.lower[:, 0], effects - half, rtol=1e-5)
    assert_allclose(display.upper[:, 0], effects + half, rtol=1e-5)
    drawn = ends(display.intervals_[0])
    assert_allclose(drawn, np.column_stack([np.arange(n_groups), effects - half, effects + half]), rtol=1e-5)
    outside = (effects - half > 0) | (effects + half < 0)
    assert_array_equal(display.excluding_[0].get_ydata(), np.flatnonzero(outside))
    assert_array_equal(display.including_[0].get_ydata(), np.flatnonzero(~outside))


@pytest.mark.parametrize(("sort_by", "column"), [(None, 0), ("Intercept", 0), ("Days", 1)])
def test_sorted_by_one_effect_in_every_panel(sleep, sort_by, column):
    display = CaterpillarDisplay.from_estimator(sleep.model, sort_by=sort_by)
    assert (np.diff(display.effects[:, column]) > 0).all()
    by_level = pd.DataFrame(sleep.model.random_effects_["Subject"], index=sleep.model.levels_["Subject"])
    assert_allclose(display.effects, by_level.loc[display.levels].to_numpy(), rtol=0, atol=0)
    sds = pd.DataFrame(sleep.model.random_effects_sd_["Subject"], index=sleep.model.levels_["Subject"])
    half = stats.norm.ppf(0.975) * sds.loc[display.levels].to_numpy()
    assert_allclose(display.upper - display.effects, half, rtol=1e-12)
    assert_allclose(display.effects - display.lower, half, rtol=1e-12)
    for k in range(2):
        expected = np.column_stack([np.arange(18), display.lower[:, k], display.upper[:, k]])
        assert_allclose(ends(display.intervals_[k]), expected)


def test_words(sleep):
    display = CaterpillarDisplay.from_estimator(sleep.model, level=0.9)
    assert [ax.get_title() for ax in display.axes_] == ["Intercept", "Slope of Days"]
    assert {ax.get_xlabel() for ax in display.axes_} == {"deviation, 90% interval"}
    assert display.ax_.get_ylabel() == "Subject"
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == [str(level) for level in display.levels]
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == ["interval excludes 0"]


def test_labels_do_not_overlap(pastes):
    display = CaterpillarDisplay.from_estimator(pastes.model, "batch:cask")
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.ax_.get_yticklabels()]
    assert len(boxes) == 30
    assert all(below.y1 <= above.y0 + 1.5 for below, above in pairwise(boxes))


def test_many_levels_have_no_labels_and_each_panel_its_order(schools):
    display = CaterpillarDisplay.from_estimator(schools.model)
    assert display.ax_.get_ylabel() == "school (500 levels, sorted)"
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == []
    for k in range(2):
        drawn = ends(display.intervals_[k])
        drawn = drawn[np.argsort(drawn[:, 0])]
        assert_allclose(drawn[:, 0], np.arange(500))
        order = np.argsort(display.effects[:, k])
        assert_allclose(drawn[:, 1:], np.column_stack([display.lower[order, k], display.upper[order, k]]))


@pytest.mark.parametrize(("most", "n_low"), [(30, 15), (7, 3), (2, 1)])
def test_lowest_and_highest_of_many(schools, most, n_low):
    display = CaterpillarDisplay.from_estimator(schools.model, sort_by="age", max_levels=most)
    assert len(display.levels) == 500
    drawn = ends(display.intervals_[1])
    shown = np.r_[:n_low, 500 - (most - n_low) : 500]
    assert_allclose(drawn[:, 1], display.lower[shown, 1])
    assert_allclose(drawn[:, 0], np.r_[:n_low, n_low + 1 : most + 1])
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert f"({500 - most} not shown)" in labels
    assert set(labels) - {f"({500 - most} not shown)"} == set(display.levels[shown])


def test_crossed_factors_must_be_chosen(penicillin):
    with pytest.raises(ValueError, match=r"2 grouping factors: 'plate', 'sample'\. Say which by factor="):
        CaterpillarDisplay.from_estimator(penicillin.model)
    display = CaterpillarDisplay.from_estimator(penicillin.model, "sample")
    assert display.factor == "sample"
    assert sorted(display.levels) == list("ABCDEF")


def test_variance_of_zero(singular):
    assert singular.model.singular_
    display = CaterpillarDisplay.from_estimator(singular.model)
    for part in (display.effects, display.lower, display.upper):
        assert_array_equal(part, np.zeros((12, 1)))
    assert [text.get_text() for text in display.ax_.texts] == ["variance estimated as 0"]
    assert len(display.excluding_[0].get_xdata()) == 0
    assert not display.figure_.legends


def test_one_effect_takes_axes_as_they_are(penicillin):
    figure, ax = plt.subplots()
    display = CaterpillarDisplay.from_estimator(penicillin.model, "plate", ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert figure.axes == [ax]


@pytest.mark.parametrize("layout", ["constrained", None])
def test_several_effects_share_the_place_of_axes(sleep, layout):
    figure, axes = plt.subplots(1, 2, layout=layout, figsize=(10, 4))
    display = CaterpillarDisplay.from_estimator(sleep.model, ax=axes[1])
    assert display.figure_ is figure
    assert len(display.axes_) == 2
    figure.canvas.draw()
    assert min(ax.get_window_extent().x0 for ax in display.axes_) > axes[0].get_window_extent().x1


def test_axes_placed_freely_cannot_be_divided(sleep):
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match="placed freely"):
        CaterpillarDisplay.from_estimator(sleep.model, ax=ax)


def test_styles_are_the_users(sleep):
    display = CaterpillarDisplay.from_estimator(
        sleep.model, interval_kwargs={"lw": 3.0}, point_kwargs={"ms": 9.0, "marker": "s"}
    )
    assert_allclose(display.intervals_[0].get_linewidths(), 3.0)
    assert display.excluding_[0].get_markersize() == 9.0
    assert display.including_[1].get_marker() == "s"


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_credible_intervals_of_a_posterior():
    rng = np.random.default_rng(0)
    groups = pd.Series(np.repeat(np.arange(15), 20), name="ward")
    y = (rng.logistic(size=300) < 1.2 * rng.normal(size=15)[groups]).astype(int)
    model = BayesLogit(n_draws=300, random_state=0, method="pairs").fit(np.empty((300, 0)), y, groups=groups)
    display = CaterpillarDisplay.from_estimator(model, level=0.8)
    drawn = model._effect_draws()["ward"][:, :, 0]
    order = np.argsort(drawn.mean(axis=0))
    assert_array_equal(display.levels, order)
    assert_allclose(display.effects[:, 0], drawn.mean(axis=0)[order])
    assert_allclose([display.lower[:, 0], display.upper[:, 0]], np.quantile(drawn, [0.1, 0.9], axis=0)[:, order])
    assert_allclose(np.bincount(groups, y)[order], np.sort(np.bincount(groups, y)))  # of equal size, in this order
    with pytest.raises(ValueError, match="fitted without groups"):
        CaterpillarDisplay.from_estimator(BayesLogit(n_draws=200, random_state=0).fit(y[:, None], y))


def test_within_pipelines_and_searches(sleep):
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), MixedLinear(["Days"]))
    pipe.fit(sleep.X, sleep.y, mixedlinear__groups=sleep.groups)
    expected = pipe[-1].random_effects_["Subject"]
    display = CaterpillarDisplay.from_estimator(pipe)
    assert_allclose(np.sort(display.effects[:, 0]), np.sort(expected[:, 0]))
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(MixedLinear(), {"method": ["ml"]}, cv=2).fit(sleep.X, sleep.y, groups=sleep.groups)
    display = CaterpillarDisplay.from_estimator(search)
    assert_allclose(display.effects[:, 0], np.sort(search.best_estimator_.random_effects_["Subject"][:, 0]))


def test_errors(sleep):
    with pytest.raises(ValueError, match=r"fitted without groups and has none; fit it with fit\(X, y, groups="):
        CaterpillarDisplay.from_estimator(MixedLinear().fit(sleep.X, sleep.y))
    with pytest.raises(ValueError, match=r"factor='subject' is no grouping factor of the model; it has 'Subject'"):
        CaterpillarDisplay.from_estimator(sleep.model, "subject")
    with pytest.raises(
        ValueError, match=r"sort_by='days' is no random effect of 'Subject'; it has 'Intercept', 'Days'"
    ):
        CaterpillarDisplay.from_estimator(sleep.model, sort_by="days")
    with pytest.raises(TypeError, match="GEERegressor has none"):
        CaterpillarDisplay.from_estimator(GEERegressor().fit(sleep.X, sleep.y, groups=sleep.groups))
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        CaterpillarDisplay.from_estimator(sleep.model, level=95)
    with pytest.raises(ValueError, match="max_levels must be at least 2"):
        CaterpillarDisplay.from_estimator(sleep.model, max_levels=1)
