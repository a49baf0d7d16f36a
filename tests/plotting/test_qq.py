"""Quantile-quantile plots: order statistics, the line, standardised effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEERegressor, MixedLinear
from skdep.plotting import QQDisplay
from skdep.plotting._normal_order import normal_order_quantiles

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


def test_extreme_order_statistics_in_closed_form():
    """The largest of n uniform variables has the distribution function u^n, the smallest 1 - (1 - u)^n."""
    values = np.random.default_rng(0).normal(size=25)
    display = QQDisplay.from_values(values, level=0.9)
    expected = stats.norm.ppf([1.0 - 0.5 ** (1 / 25), 0.5 ** (1 / 25)])
    assert_allclose(display.quantiles[[0, -1]], expected, rtol=1e-10)
    top = stats.norm.ppf([0.05 ** (1 / 25), 0.95 ** (1 / 25)])
    assert_allclose([display.lower[-1], display.upper[-1]], display.intercept + display.slope * top, rtol=1e-10)
    assert_allclose(display.quantiles, -display.quantiles[::-1], atol=1e-12)


@pytest.mark.parametrize("n", [3, 8, 40])
def test_every_order_statistic_by_the_binomial(n):
    """The i-th smallest of n is below u if at least i of n are."""
    display = QQDisplay.from_values(np.arange(float(n)), level=0.8)
    rank = np.arange(1, n + 1)
    for curve, probability in [(display.lower, 0.1), (display.upper, 0.9)]:
        u = stats.norm.cdf((curve - display.intercept) / display.slope)
        assert_allclose(stats.binom.sf(rank - 1, n, u), probability, rtol=1e-9)
    assert_allclose(stats.binom.sf(rank - 1, n, stats.norm.cdf(display.quantiles)), 0.5, rtol=1e-9)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.9])
def test_order_statistics_of_large_samples(probability):
    n = 200_000
    found = normal_order_quantiles(n, probability)
    rank = np.unique(np.concatenate([np.arange(1, 200), np.arange(200, n + 1, 7919), [n // 2, n - 1, n]]))
    exact = stats.norm.ppf(stats.beta.ppf(probability, rank, n + 1 - rank))
    assert_allclose(found[rank - 1], exact, atol=1e-6)
    assert (np.diff(found) > 0).all()


def test_line_through_the_quartiles():
    """With seven values, ranks of the quartiles by the median-unbiased rule are 13/6 and 35/6."""
    values = np.array([4.0, 9.0, -1.0, 7.0, 3.0, 20.0, 5.0])
    display = QQDisplay.from_values(values)
    assert_allclose(display.values, np.sort(values))
    low = 3.0 + (4.0 - 3.0) * (13 / 6 - 2)
    high = 7.0 + (9.0 - 7.0) * (35 / 6 - 5)
    z = stats.norm.ppf(0.75)
    assert display.slope == pytest.approx((high - low) / (2 * z))
    assert display.intercept == pytest.approx((high + low) / 2)
    x, y = display.line_.get_data()
    assert_allclose(y, display.intercept + display.slope * np.asarray(x))


def test_equal_quartiles_fall_back_on_moments():
    values = np.array([0.0] * 10 + [1.0, -2.0])
    display = QQDisplay.from_values(values)
    assert (display.intercept, display.slope) == pytest.approx((values.mean(), values.std(ddof=1)))


def test_shift_and_scale_carry_over():
    values = np.random.default_rng(0).standard_t(3, size=30)
    plain, moved = QQDisplay.from_values(values), QQDisplay.from_values(5.0 + 3.0 * values)
    for name in ("values", "lower", "upper"):
        assert_allclose(getattr(moved, name), 5.0 + 3.0 * getattr(plain, name), rtol=1e-10)


def test_about_as_many_values_of_a_normal_sample_lie_outside_as_promised():
    rng = np.random.default_rng(0)
    share = []
    for _ in range(20):
        display = QQDisplay.from_values(rng.normal(size=200), level=0.8)
        plt.close(display.figure_)
        share.append(len(display.outside_.get_xdata()) / 200)
    assert 0.02 < np.mean(share) < 0.25


def test_residuals(sleep):
    display = QQDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups)
    residuals = sleep.y - sleep.model.predict(sleep.X, groups=sleep.groups)
    assert_allclose(display.values, np.sort(residuals / np.sqrt(sleep.model.sigma2_)), rtol=1e-10)
    raw = QQDisplay.from_estimator(sleep.model, sleep.X, sleep.y, standardised=False)
    assert_allclose(raw.values, np.sort(sleep.y - sleep.model.predict(sleep.X)), rtol=1e-10)
    assert display.ax_.get_xlabel() == "Standard normal quantile"
    assert display.ax_.get_ylabel() == "Standardised residual of Reaction"
    assert raw.ax_.get_ylabel() == "Residual of Reaction"


def test_standardised_effects_of_a_balanced_layout_are_standardised_means():
    """Shrinking all means by one factor changes nothing, once they are divided by their standard deviation."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(10), 6)
    y = 3.0 * rng.normal(size=10)[groups] + rng.normal(size=60)
    model = MixedLinear(fit_intercept=False).fit(np.ones((60, 1)), y, groups=groups)
    display = QQDisplay.from_random_effects(model)
    means = y.reshape(10, 6).mean(axis=1)
    assert_allclose(display.values, np.sort((means - means.mean()) / means.std(ddof=1)), rtol=1e-5)
    assert_array_equal(display.labels, np.argsort(means))


@pytest.mark.parametrize(("effect", "column"), [(None, 0), ("Intercept", 0), ("age", 1)])
def test_standardised_effects_by_dense_algebra(schools, effect, column):
    """Var(E[b | y]) = Sigma Z' V^-1 Z Sigma at known coefficients, group by group."""
    model = schools.model
    display = QQDisplay.from_random_effects(model, "school", effect)
    sigma = model.random_covariance_["school"]
    values = {}
    for level, effects in zip(model.levels_["school"], model.random_effects_["school"]):
        rows = (schools.groups == level).to_numpy()
        Z = np.column_stack([np.ones(rows.sum()), schools.X["age"][rows]])
        V = Z @ sigma @ Z.T + model.sigma2_ * np.eye(rows.sum())
        own = sigma @ Z.T @ np.linalg.solve(V, Z @ sigma)
        values[level] = effects[column] / np.sqrt(own[column, column])
    expected = pd.Series(values).sort_values()
    assert_allclose(display.values, expected.to_numpy(), rtol=1e-6, atol=1e-8)
    assert_array_equal(display.labels, expected.index)
    name = "Slope of age" if column else "Intercept"
    assert display.ax_.get_ylabel() == f"Standardised effect: {name} by school"


def test_levels_without_information_are_left_out(schools):
    """A slope without an intercept: groups whose feature is zero throughout tell nothing of it."""
    X = schools.X[["dose"]].copy()
    empty = schools.groups.isin(["s003", "s100"]).to_numpy()
    X.loc[empty, "dose"] = 0.0
    slopes = np.random.default_rng(0).normal(size=500)[schools.groups.astype("category").cat.codes]
    model = MixedLinear(["dose"], random_intercept=False).fit(
        X, 0.1 * schools.y + slopes * X["dose"], groups=schools.groups
    )
    display = QQDisplay.from_random_effects(model)
    assert len(display.values) == 498
    assert not {"s003", "s100"} & set(display.labels)


def test_outlying_levels_are_named():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    values[[4, 11]] = [9.0, -7.0]
    display = QQDisplay.from_values(values, labels=[f"g{k}" for k in range(40)])
    named = [int(text.get_text()[1:]) for text in display.texts_]
    outside = (display.values < display.lower) | (display.values > display.upper)
    assert named[:2] == [4, 11]  # the farthest first
    assert set(values[named]) <= set(display.values[outside])
    assert_allclose(np.sort(display.outside_.get_ydata()), display.values[outside])
    assert not QQDisplay.from_values(values).texts_


def test_large_samples_are_thinned_in_the_picture_only():
    values = np.random.default_rng(0).normal(size=50_000)
    display = QQDisplay.from_values(values)
    drawn = np.concatenate([display.inside_.get_ydata(), display.outside_.get_ydata()])
    assert len(display.values) == 50_000
    assert len(drawn) <= 4000
    assert_allclose(np.sort(drawn)[[*range(1000), *range(-1000, 0)]], np.sort(values)[[*range(1000), *range(-1000, 0)]])


def test_given_axes_and_styles(sleep):
    figure, ax = plt.subplots()
    arguments = {"ax": ax, "point_kwargs": {"ms": 9.0}, "line_kwargs": {"c": "red"}}
    display = QQDisplay.from_random_effects(sleep.model, **arguments)
    assert (display.ax_, display.figure_) == (ax, figure)
    assert display.inside_.get_markersize() == 9.0
    assert display.line_.get_color() == "red"
    other = display.plot().figure_
    assert other is not figure


def test_within_pipelines(sleep):
    pipe = make_pipeline(StandardScaler(), MixedLinear([0])).fit(sleep.X, sleep.y, mixedlinear__groups=sleep.groups)
    expected = QQDisplay.from_random_effects(sleep.model, effect="Days")
    assert_allclose(QQDisplay.from_random_effects(pipe, effect="x0").values, expected.values, atol=1e-4)
    expected = QQDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups)
    display = QQDisplay.from_estimator(pipe, sleep.X, sleep.y, groups=sleep.groups)
    assert_allclose(display.values, expected.values, atol=1e-4)


def test_errors(sleep, singular, penicillin):
    with pytest.raises(ValueError, match=r"Intercept by 'group' has an estimated variance of 0"):
        QQDisplay.from_random_effects(singular.model)
    with pytest.raises(ValueError, match="Say which by factor="):
        QQDisplay.from_random_effects(penicillin.model)
    with pytest.raises(ValueError, match=r"effect='x' is no random effect of 'Subject'; it has 'Intercept', 'Days'"):
        QQDisplay.from_random_effects(sleep.model, effect="x")
    with pytest.raises(ValueError, match="fitted without groups"):
        QQDisplay.from_random_effects(MixedLinear().fit(sleep.X, sleep.y))
    with pytest.raises(TypeError, match="GEERegressor has none"):
        QQDisplay.from_random_effects(GEERegressor().fit(sleep.X, sleep.y, groups=sleep.groups))
    for values in ([1.0, 2.0], [1.0, 2.0, np.nan], np.ones((3, 3))):
        with pytest.raises(ValueError, match="three finite values or more"):
            QQDisplay.from_values(values)
    with pytest.raises(ValueError, match="All 4 values are 2"):
        QQDisplay.from_values([2.0] * 4)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        QQDisplay.from_values([1.0, 2.0, 3.0], level=95)
