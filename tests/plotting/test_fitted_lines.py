"""Fitted lines: predictions along a feature, which clusters are drawn, panels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from skdep import GEEClassifier, MixedLinear
from skdep.plotting import FittedLinesDisplay

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


@pytest.fixture(scope="module")
def crossed() -> SimpleNamespace:
    """Two crossed factors and a feature."""
    rng = np.random.default_rng(5)
    groups = pd.DataFrame({"rater": np.tile(np.arange(6), 20), "item": np.repeat([f"i{k:02d}" for k in range(20)], 6)})
    X = pd.DataFrame({"x": rng.normal(size=120), "z": rng.normal(size=120)})
    item = np.repeat(rng.normal(size=20), 6)
    y = pd.Series(X["x"] + groups["rater"] + item + 0.3 * rng.normal(size=120), name="mark")
    return SimpleNamespace(X=X, y=y, groups=groups, model=MixedLinear(["x"]).fit(X, y, groups=groups))


def test_lines_of_one_feature_are_intercept_and_slope(sleep):
    display = FittedLinesDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups)
    model = sleep.model
    effects = model.random_effects_["Subject"]
    assert_array_equal(display.levels, model.levels_["Subject"])
    for k in range(18):
        x = display.grid[k]
        assert_allclose(x[[0, -1]], [0.0, 9.0])
        line = model.intercept_ + effects[k, 0] + (model.coef_[0] + effects[k, 1]) * x
        assert_allclose(display.fitted[k], line, rtol=1e-12)
        assert_allclose(display.population[k], model.intercept_ + model.coef_[0] * x, rtol=1e-12)
        own = (sleep.groups == display.levels[k]).to_numpy()
        assert_allclose(display.y[display.codes == k], sleep.y[own])
    assert_allclose(display.overall, model.intercept_ + model.coef_[0] * display.overall_grid, rtol=1e-12)


def test_other_features_are_held_at_their_means(schools):
    display = FittedLinesDisplay.from_estimator(
        schools.model, schools.X, schools.y, groups=schools.groups, feature="age", max_clusters=1000, kind="together"
    )
    model = schools.model
    by_school = schools.X.groupby(schools.groups.to_numpy())
    dose, low, high = by_school["dose"].mean(), by_school["age"].min(), by_school["age"].max()
    assert_allclose(display.grid[:, 0], low)
    assert_allclose(display.grid[:, -1], high)
    population = model.intercept_ + model.coef_[0] * display.grid + model.coef_[1] * dose.to_numpy()[:, None]
    effects = model.random_effects_["school"]
    assert_allclose(display.population, population, rtol=1e-10)
    assert_allclose(display.fitted, population + effects[:, :1] + effects[:, 1:] * display.grid, rtol=1e-10)
    overall = model.intercept_ + model.coef_ @ [display.overall_grid, np.full(50, schools.X["dose"].mean())]
    assert_allclose(display.overall, overall, rtol=1e-10)


@pytest.mark.parametrize("most", [1, 2, 7, 20])
def test_chosen_clusters_are_spread_over_the_deviations(schools, most):
    arguments = {"groups": schools.groups, "feature": "age"}
    every = FittedLinesDisplay.from_estimator(
        schools.model, schools.X, schools.y, kind="together", max_clusters=500, **arguments
    )
    some = FittedLinesDisplay.from_estimator(schools.model, schools.X, schools.y, max_clusters=most, **arguments)
    deviation = pd.Series((every.fitted - every.population).mean(axis=1), index=every.levels).sort_values()
    rank = np.sort([deviation.index.get_loc(level) for level in some.levels])
    expected = np.round(np.linspace(0, 499, most)) if most > 1 else [250]
    assert_allclose(rank, expected)
    assert_array_equal(some.levels, np.sort(some.levels))
    kept = schools.groups.isin(some.levels).to_numpy()
    assert_allclose(some.x, schools.X["age"][kept])
    assert_array_equal(some.levels[some.codes], schools.groups[kept])
    names = [text.get_text() for text in some.figure_.legends[0].get_texts()]
    assert names == [f"school ({most} of 500)", "population"]


def test_effects_of_other_factors_are_zero(crossed):
    display = FittedLinesDisplay.from_estimator(
        crossed.model, crossed.X, crossed.y, groups=crossed.groups, feature="x", factor="item", kind="together"
    )
    model = crossed.model
    effects = model.random_effects_["item"]
    z = crossed.X["z"].groupby(crossed.groups["item"]).mean().to_numpy()
    population = model.intercept_ + model.coef_[0] * display.grid + model.coef_[1] * z[:, None]
    assert_allclose(display.fitted, population + effects[:, :1] + effects[:, 1:] * display.grid, rtol=1e-9)


@pytest.mark.parametrize("form", ["frame", "turned", "array", "alone", "unnamed"])
def test_groups_in_any_form(crossed, form):
    groups = {
        "frame": crossed.groups,
        "turned": crossed.groups[["item", "rater"]],
        "array": crossed.groups.to_numpy(),
        "alone": crossed.groups["item"],
        "unnamed": crossed.groups["item"].to_numpy(),
    }[form]
    arguments = {"feature": "x", "factor": "item", "kind": "together"}
    expected = FittedLinesDisplay.from_estimator(
        crossed.model, crossed.X, crossed.y, groups=crossed.groups, **arguments
    )
    display = FittedLinesDisplay.from_estimator(crossed.model, crossed.X, crossed.y, groups=groups, **arguments)
    assert_allclose(display.fitted, expected.fitted, rtol=1e-12)


def test_array_without_names(schools):
    X, groups = schools.X.to_numpy(), schools.groups.to_numpy()
    model = MixedLinear([0]).fit(X, schools.y.to_numpy(), groups=groups)
    named, numbered = (
        FittedLinesDisplay.from_estimator(
            model, X, schools.y.to_numpy(), groups=groups, feature=feature, kind="together"
        )
        for feature in ("x1", 1)
    )
    assert_allclose(named.fitted, numbered.fitted)
    assert (named.feature, named.factor, named.target_name) == ("x1", "group", "y")


def test_clusters_not_seen_in_fit_have_the_line_of_the_population(sleep):
    display = FittedLinesDisplay.from_estimator(
        sleep.model, sleep.X[:10], sleep.y[:10], groups=pd.Series(["new"] * 10, name="Subject")
    )
    assert_allclose(display.fitted, display.population)
    assert not np.allclose(display.fitted, sleep.model.predict(sleep.X[:10], groups=sleep.groups[:10]).mean())


def test_pipelines_draw_in_the_units_of_the_user(sleep):
    plain = FittedLinesDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups, kind="together")
    pipe = make_pipeline(StandardScaler(), MixedLinear([0])).fit(sleep.X, sleep.y, mixedlinear__groups=sleep.groups)
    display = FittedLinesDisplay.from_estimator(pipe, sleep.X, sleep.y, groups=sleep.groups, kind="together")
    assert_allclose(display.grid, plain.grid)
    assert_allclose(display.fitted, plain.fitted, rtol=1e-5)
    assert display.feature == "Days"


def test_pipelines_may_bend_lines(sleep):
    pipe = make_pipeline(PolynomialFeatures(2, include_bias=False), MixedLinear([0]))
    pipe.fit(sleep.X, sleep.y, mixedlinear__groups=sleep.groups)
    display = FittedLinesDisplay.from_estimator(pipe, sleep.X, sleep.y, groups=sleep.groups, kind="together")
    expected = pipe.predict(pd.DataFrame({"Days": display.grid[3]}), groups=np.full(50, display.levels[3]))
    assert_allclose(display.fitted[3], expected, rtol=1e-10)
    assert np.abs(np.diff(display.fitted[3], 2)).max() > 1e-6


def test_categories_are_held_at_the_most_frequent(sleep):
    sex = np.where(np.arange(180) % 10 < 7, "f", "m")
    X = sleep.X.assign(sex=pd.Categorical(sex))
    encode = make_column_transformer(
        (OneHotEncoder(drop="first"), ["sex"]), remainder="passthrough", sparse_threshold=0
    )
    pipe = make_pipeline(encode, MixedLinear()).fit(X, sleep.y, mixedlinear__groups=sleep.groups)
    display = FittedLinesDisplay.from_estimator(pipe, X, sleep.y, groups=sleep.groups, feature="Days")
    women = pipe.predict(pd.DataFrame({"Days": display.grid[0], "sex": "f"}))
    assert_allclose(display.population[0], women)
    with pytest.raises(ValueError, match="'sex' does not hold numbers"):
        FittedLinesDisplay.from_estimator(pipe, X, sleep.y, groups=sleep.groups, feature="sex")


def test_panels_and_words(sleep):
    display = FittedLinesDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups)
    assert [ax.get_title() for ax in display.axes_] == [str(level) for level in display.levels]
    assert len({ax.get_xlim() + ax.get_ylim() for ax in display.axes_}) == 1
    assert display.figure_.get_supxlabel() == "Days"
    assert display.figure_.get_supylabel() == "Reaction"
    assert len(display.lines_) == len(display.population_lines_) == 18
    assert_allclose(display.lines_[4].get_ydata(), display.fitted[4])
    assert_allclose(display.population_lines_[4].get_ydata(), display.population[4])


@pytest.mark.parametrize("n_clusters", [1, 5, 7, 17])
def test_every_number_of_panels_has_scales_at_the_bottom(sleep, n_clusters):
    first = sleep.groups.unique()[:n_clusters]
    rows = sleep.groups.isin(first)
    display = FittedLinesDisplay.from_estimator(sleep.model, sleep.X[rows], sleep.y[rows], groups=sleep.groups[rows])
    display.figure_.canvas.draw()
    assert len(display.axes_) == n_clusters
    lowest: dict = {}
    for ax in display.axes_:
        lowest[ax.get_subplotspec().colspan.start] = ax
    for ax in lowest.values():
        assert any(text.get_visible() and text.get_text() for text in ax.get_xticklabels())


def test_together(sleep, schools):
    display = FittedLinesDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups, kind="together")
    assert display.figure_.axes == [display.ax_]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Days", "Reaction")
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["Subject", "population"]
    assert_allclose(display.population_lines_[0].get_ydata(), display.overall)
    few = FittedLinesDisplay.from_estimator(
        schools.model, schools.X, schools.y, groups=schools.groups, feature="dose", kind="together", max_clusters=5
    )
    assert len({line.get_color() for line in [*few.lines_, *few.population_lines_]}) == 6
    assert [text.get_text() for text in few.ax_.get_legend().get_texts()] == [*few.levels, "population"]
    assert few.ax_.get_legend().get_title().get_text() == "school (5 of 500)"


def test_a_cluster_of_one_value_is_a_dash(schools):
    X = schools.X.assign(age=np.where(schools.groups == "s000", 33.0, schools.X["age"]))
    rows = schools.groups.isin(["s000", "s001", "s002"])
    display = FittedLinesDisplay.from_estimator(
        schools.model, X[rows], schools.y[rows], groups=schools.groups[rows], feature="age"
    )
    assert [line.get_marker() for line in display.lines_] == ["_", "None", "None"]
    assert np.ptp(display.fitted[0]) == 0.0


def test_variance_of_zero(singular):
    display = FittedLinesDisplay.from_estimator(
        singular.model, singular.X, singular.y, groups=singular.groups, kind="together"
    )
    assert_allclose(display.fitted, display.population, atol=1e-10)


@pytest.mark.parametrize("layout", ["constrained", None])
def test_given_axes(sleep, layout):
    figure, axes = plt.subplots(1, 2, layout=layout, figsize=(12, 5))
    arguments = {"groups": sleep.groups}
    panels = FittedLinesDisplay.from_estimator(sleep.model, sleep.X, sleep.y, ax=axes[0], **arguments)
    together = panels.plot(axes[1], kind="together")
    assert together is panels
    assert panels.ax_ is axes[1]
    assert panels.figure_ is figure
    figure.canvas.draw()
    inner = [ax for sub in figure.subfigs for ax in sub.axes]
    assert len(inner) == 18
    assert max(ax.get_window_extent().x1 for ax in inner) < axes[1].get_window_extent().x0


def test_styles_are_the_users(sleep):
    display = FittedLinesDisplay.from_estimator(
        sleep.model,
        sleep.X,
        sleep.y,
        groups=sleep.groups,
        line_kwargs={"c": "red"},
        population_kwargs={"ls": ":"},
        scatter_kwargs={"marker": "s", "s": 50.0},
    )
    assert display.lines_[0].get_color() == "red"
    assert display.population_lines_[3].get_linestyle() == ":"
    assert_allclose(display.ax_.collections[0].get_sizes(), 50.0)


def test_errors(sleep, schools, crossed, pastes):
    def draw(data, model=None, **arguments):
        arguments = {"groups": data.groups, **arguments}
        return FittedLinesDisplay.from_estimator(model or data.model, data.X, data.y, **arguments)

    with pytest.raises(ValueError, match=r"X has 2 features: age, dose\. Say which by feature="):
        draw(schools)
    with pytest.raises(ValueError, match=r"feature='Age' is no feature; there are age, dose"):
        draw(schools, feature="Age")
    with pytest.raises(ValueError, match="feature=2 is no number of a feature; there are 2"):
        draw(schools, feature=2)
    with pytest.raises(ValueError, match="X has no features"):
        draw(pastes, factor="batch")
    with pytest.raises(ValueError, match="Say which by factor="):
        draw(crossed, feature="x")
    with pytest.raises(ValueError, match=r"groups is missing: the labels of 'Subject'"):
        draw(sleep, groups=None)
    with pytest.raises(ValueError, match="fitted without groups"):
        draw(sleep, model=MixedLinear().fit(sleep.X, sleep.y))
    with pytest.raises(ValueError, match="kind must be 'panels' or 'together', got 'both'"):
        draw(sleep, kind="both")
    with pytest.raises(ValueError, match="max_clusters must be at least 1"):
        draw(sleep, max_clusters=0)
    with pytest.raises(ValueError, match="none of which is named 'item'"):
        draw(crossed, feature="x", factor="item", groups=np.zeros((120, 3)))
    with pytest.raises(ValueError, match=r"feature 'Days' has 1 missing"):
        draw(SimpleNamespace(X=sleep.X.assign(Days=[np.nan, *range(179)]), y=sleep.y, groups=sleep.groups), sleep.model)
    classifier = GEEClassifier().fit(sleep.X, sleep.y > 300, groups=sleep.groups)
    with pytest.raises(TypeError, match="GEEClassifier predicts classes"):
        draw(sleep, model=classifier)


class TestFormulas:
    """Lines of fits by formula: offsets, categories and booleans."""

    @pytest.fixture
    def rows(self):
        rng = np.random.default_rng(3)
        n, known = 120, rng.uniform(1.0, 4.0, 120)
        wave, treated, x = np.tile([1, 2, 2], 40), np.tile([True, True, False], 40), rng.normal(size=n)
        y = x + wave + treated + known + rng.normal(size=n)
        return pd.DataFrame(
            {"x": x, "wave": wave, "treated": treated, "known": known, "y": y, "g": np.repeat(np.arange(12), 10)}
        )

    @staticmethod
    def lines(model, rows, X, **options):
        return FittedLinesDisplay.from_estimator(model, X, rows["y"], groups=rows["g"], feature="x", **options)

    def test_an_offset_is_held_at_its_mean(self, rows):
        by_formula = MixedLinear.from_formula("y ~ x + offset(known) + (1 | g)", rows)
        display = self.lines(by_formula, rows, rows)
        means = rows.groupby("g")["known"].mean().to_numpy()[:, None]
        expected = by_formula.intercept_ + by_formula.coef_[0] * display.grid + means
        np.testing.assert_allclose(display.population, expected, rtol=1e-12)
        expected = by_formula.intercept_ + by_formula.coef_[0] * display.overall_grid + rows["known"].mean()
        np.testing.assert_allclose(display.overall, expected, rtol=1e-12)
        of_arrays = MixedLinear().fit(rows[["x"]], rows["y"], groups=rows["g"], offset=rows["known"])
        again = self.lines(of_arrays, rows, rows[["x"]], offset=rows["known"])
        np.testing.assert_allclose(again.fitted, display.fitted, rtol=1e-10)

    def test_categories_and_booleans_are_held_at_their_most_frequent_value(self, rows):
        model = MixedLinear.from_formula("y ~ x + factor(wave) + treated + (1 | g)", rows)
        display = self.lines(model, rows, rows)
        held = rows.iloc[: len(display.overall_grid)].assign(x=display.overall_grid, wave=2, treated=True)
        np.testing.assert_allclose(display.overall, model.predict(held), rtol=1e-12)
