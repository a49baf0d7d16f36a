"""Pictures of posteriors: traces and ranks, priors against posteriors, updates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import BayesLogit, LogitRegressor
from skdep.bayes import LKJ, HalfNormal, LogF, Normal
from skdep.bayes.convergence import rhat
from skdep.plotting import PosteriorDisplay, TraceDisplay, UpdatingDisplay
from skdep.plotting._posteriors import density

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


@pytest.fixture(scope="module")
def herds() -> SimpleNamespace:
    """Sixty herds in two batches: is an animal ill, in the first period or later?"""
    rng = np.random.default_rng(0)
    herd = pd.Series(np.repeat(np.arange(60), 12), name="herd")
    X = pd.DataFrame({"period": np.tile([0.0, 1.0], 360)})
    y = (rng.logistic(size=720) < rng.normal(size=60)[herd] - X["period"]).astype(int)
    prior = {"period": Normal(-1, 0.5), "sd": HalfNormal(1)}
    model = BayesLogit(prior, n_draws=500, random_state=0, method="pairs")
    for batch in (herd < 30, herd >= 30):
        model.partial_fit(X[batch], y[batch], classes=[0, 1], groups=herd[batch])
    return SimpleNamespace(X=X, y=y, herd=herd, model=model, names=["Intercept", "period", "sd[herd, Intercept]"])


def test_traces_are_the_draws(herds):
    display = TraceDisplay.from_estimator(herds.model)
    assert list(display.names) == herds.names
    drawn = np.array([[line.get_ydata() for line in lines] for lines in display.traces_])
    expected = herds.model.draws_
    assert_array_equal(drawn[0], expected["intercept"])
    assert_array_equal(drawn[1], expected["coef"][..., 0])
    assert_allclose(drawn[2] ** 2, expected["random_covariance"][..., 0, 0])


def test_ranks_are_counted_in_bins_of_equal_size(herds):
    display = TraceDisplay.from_estimator(herds.model, "period")
    draws = herds.model.draws_["coef"][..., 0]
    ranks = stats.rankdata(draws, method="ordinal").reshape(draws.shape)
    counts = np.array([patch.get_data().values for patch in display.ranks_[0]])
    expected = [np.bincount((chain - 1) // (draws.size // 20), minlength=20) for chain in ranks]
    assert_allclose(counts, expected, atol=3)  # a point that a chain stays at has one rank for all its draws
    assert_array_equal(counts.sum(axis=1), [500] * 4)


def test_chains_that_disagree_show():
    draws = np.random.default_rng(0).normal(size=(1, 4, 400))
    draws[0, 0] += 3.0
    display = TraceDisplay(draws=draws, names=["a"]).plot()
    assert f"R-hat {rhat(draws[0]):.3f}" in display.ax_.get_title(loc="left")
    counts = np.array([patch.get_data().values for patch in display.ranks_[0]])
    assert counts[0, -1] > 5 * counts[1:, -1].max()
    assert display.axes_[0, 1].get_ylim()[1] >= counts.max()


def test_density_of_a_sample_whose_density_is_known():
    rng = np.random.default_rng(1)
    at = np.linspace(-3.0, 3.0, 61)
    assert_allclose(density(rng.normal(size=50_000), at), stats.norm.pdf(at), atol=0.012)
    positive = np.abs(rng.normal(size=50_000))
    above_zero = (0.0, np.inf)
    assert_allclose(density(positive, at[30:], bounds=above_zero), stats.halfnorm.pdf(at[30:]), atol=0.025)
    assert not density(positive, at[:30], bounds=above_zero).any()
    uniform = density(rng.uniform(-1.0, 1.0, 50_000), at, bounds=(-1.0, 1.0))
    assert_allclose(uniform, np.where(np.abs(at) <= 1.0 + 1e-12, 0.5, 0.0), atol=0.02)
    heavy = rng.standard_cauchy(50_000)  # far tails must not widen the kernels
    assert_allclose(density(heavy, at), stats.cauchy.pdf(at), atol=0.015)
    with pytest.raises(ValueError, match="no density"):
        density(np.ones(10), at)


def test_prior_and_posterior_in_closed_form():
    """An intercept with a log-F prior has a log-F posterior: of a Beta distribution of the probability."""
    y = np.repeat([1, 0], [14, 26])
    model = BayesLogit({"Intercept": LogF(2, 3)}, n_draws=4000, random_state=0).fit(np.zeros((40, 1)), y)
    display = PosteriorDisplay.from_estimator(model, "Intercept", level=0.9)
    grid, exact = display.grid[0], LogF(16, 29)
    assert_allclose(display.posterior[0], np.exp(exact.log_density(grid)), atol=0.07)
    assert_allclose(display.prior[0], np.exp(LogF(2, 3).log_density(grid)), atol=0.02)
    assert_allclose(display.intervals[0], exact.interval(0.9), atol=0.03)
    assert_array_equal(display.posteriors_[0].get_ydata(), display.posterior[0])
    assert_array_equal(display.priors_[0].get_ydata(), display.prior[0])
    filled = display.fills_[0].get_paths()[0].vertices[:, 0]
    assert_allclose([filled.min(), filled.max()], display.intervals[0])


def test_a_panel_shows_the_posterior_and_some_of_the_prior(herds):
    display = PosteriorDisplay.from_estimator(herds.model)
    assert [ax.get_title() for ax in display.axes_] == herds.names
    assert (np.diff(display.grid, axis=1) > 0).all()
    step = np.diff(display.grid[:, :2]).ravel()
    assert_allclose(display.posterior.sum(axis=1) * step, 1.0, atol=0.02)
    assert display.grid[2, 0] >= 0.0  # a standard deviation
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["95% interval", "prior", "posterior"]


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_correlations_of_random_effects_are_shown(herds):
    prior = {"sd": HalfNormal(1), "correlation": LKJ(1)}
    model = BayesLogit(prior, random_slopes=["period"], n_draws=200, random_state=0, method="pairs")
    model.fit(herds.X, herds.y, groups=herds.herd)
    name = "correlation[herd, Intercept, period]"
    display = PosteriorDisplay.from_estimator(model, name)
    assert -1.0 <= display.grid[0, 0] < display.grid[0, -1] <= 1.0
    covariance = model.draws_["random_covariance"].reshape(-1, 2, 2)
    correlation = covariance[:, 0, 1] / np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1])
    assert_allclose(display.intervals[0], np.quantile(correlation, [0.025, 0.975]))
    assert_allclose(TraceDisplay.from_estimator(model, name).draws.ravel(), correlation)


def test_updates_are_those_of_the_history(herds):
    display = UpdatingDisplay.from_estimator(herds.model, ["period", "sd[herd, Intercept]"])
    assert display.median.shape == (3, 2)
    assert_array_equal(display.n_rows, [360, 360])
    assert_allclose(display.median[0], [-1.0, HalfNormal(1).quantile(0.5)], atol=0.03)
    assert_allclose(display.upper[0, 0], Normal(-1, 0.5).quantile(0.95), atol=0.05)
    draws = herds.model.draws_["coef"][..., 0]
    last = [part[-1, 0] for part in (display.lower, display.median, display.upper)]
    assert_allclose(last, np.quantile(draws, [0.05, 0.5, 0.95]))
    segments = np.array(display.intervals_[0].get_segments())
    assert_array_equal(segments[:, :, 0], [[0, 0], [1, 1], [2, 2]])
    assert_array_equal(segments[:, :, 1], np.column_stack([display.lower[:, 0], display.upper[:, 0]]))
    assert_array_equal(display.medians_[1].get_ydata(), display.median[:, 1])
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["prior", "1", "2"]


def test_a_wide_prior_leaves_updates_readable():
    lower, upper = np.array([[-100.0], [1.0], [1.2]]), np.array([[100.0], [2.0], [1.8]])
    display = UpdatingDisplay(
        lower=lower, median=0.5 * (lower + upper), upper=upper, n_rows=np.array([5, 5]), names=["a"]
    ).plot()
    low, high = display.ax_.get_ylim()
    assert low < 1.0
    assert high > 2.0
    assert high - low < 5.0


def test_many_batches_have_some_labels():
    stages = np.linspace(0, 1, 101)[:, None]
    display = UpdatingDisplay(
        lower=stages - 1, median=stages, upper=stages + 1, n_rows=np.ones(100, dtype=int), names=["a"]
    ).plot()
    labels = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert labels[0] == "prior"
    assert len(labels) < 12


@pytest.mark.parametrize("cls", [TraceDisplay, PosteriorDisplay, UpdatingDisplay])
def test_what_the_displays_share(herds, cls):
    figure, axes = plt.subplots(1, 2, layout="constrained")
    display = cls.from_estimator(herds.model, herds.names[:2], ax=axes[1])
    assert display.figure_ is figure
    figure.canvas.draw()
    assert min(ax.get_window_extent().x0 for ax in display.axes_.ravel()) > axes[0].get_window_extent().x1
    with pytest.raises(ValueError, match=r"parameters='dose': the model has 'Intercept', 'period', 'sd\[herd"):
        cls.from_estimator(herds.model, "dose")
    with pytest.raises(TypeError, match=f"{cls.__name__} shows draws of a posterior, and LogitRegressor has none"):
        cls.from_estimator(LogitRegressor().fit(herds.X, herds.y))
    pipe = make_pipeline(StandardScaler(), BayesLogit(n_draws=100, random_state=0)).fit(herds.X, herds.y)
    assert list(cls.from_estimator(pipe).names) == ["Intercept", "x0"]


def test_styles_are_the_users(herds):
    display = PosteriorDisplay.from_estimator(herds.model, "period", prior_kwargs={"c": "red", "lw": 3})
    assert display.priors_[0].get_color() == "red"
    assert display.priors_[0].get_linewidth() == 3
    display = TraceDisplay.from_estimator(herds.model, "period", trace_kwargs={"alpha": 0.1})
    assert display.traces_[0][0].get_alpha() == 0.1
    display = UpdatingDisplay.from_estimator(herds.model, "period", median_kwargs={"marker": "s"})
    assert display.medians_[0].get_marker() == "s"


def test_level_must_be_a_probability(herds):
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        PosteriorDisplay.from_estimator(herds.model, level=95)
