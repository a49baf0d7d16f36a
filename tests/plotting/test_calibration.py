"""Calibration: means, variances and intervals by hand, coverage, calibration slopes against other fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.inference import coef_table
from skdep.plotting import BinnedResidualsDisplay, CalibrationDisplay
from skdep.plotting._bins import bin_numbers, clusters_in_bins, squares_of_totals
from skdep.plotting._calibration_bins import Rows, binned_means

pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


@pytest.fixture(scope="module")
def wards():
    """Wards of unequal size with different odds."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), rng.integers(5, 25, 80))
    X = pd.DataFrame({"dose": rng.normal(size=len(groups)), "age": rng.normal(size=len(groups))})
    eta = -0.4 + X["dose"] - 0.5 * X["age"] + 1.2 * rng.normal(size=80)[groups]
    y = pd.Series(np.where(rng.random(len(groups)) < expit(eta), "ill", "well"), name="state")
    return X, y, pd.Series(groups, name="ward")


def ill(y):
    return (y == "well").to_numpy().astype(float)  # classes are sorted: the second is the success


def wilson(share, n, z):
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


# ---------------------------------------------------------------------------------------------- bins and intervals


def test_bins_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 500)
    y = (rng.random(500) < p).astype(int)
    display = CalibrationDisplay.from_predictions(y, p, n_bins=5)
    share, mean = calibration_curve(y, p, n_bins=5, strategy="quantile")
    assert_allclose(display.predicted, mean)
    assert_allclose(display.observed, share)
    assert_allclose(display.mean_gap, np.mean(np.abs(share - mean)))
    assert (display.n_rows == 100).all()


def test_without_groups_intervals_are_wilsons(wards):
    X, y, _ = wards
    est = LogitRegressor().fit(X, y)
    display = CalibrationDisplay.from_estimator(est, X, y, level=0.9)
    for k, (share, n) in enumerate(zip(display.observed, display.n_rows, strict=True)):
        assert_allclose([display.lower[k], display.upper[k]], wilson(share, n, stats.norm.ppf(0.95)))


def test_with_groups_rows_of_a_cluster_err_together(wards):
    X, y, groups = wards
    est = LogitRegressor().fit(X, y)
    display = CalibrationDisplay.from_estimator(est, X, y, groups=groups, n_bins=4)
    p = est.predict_proba(X)[:, 1]
    bins = bin_numbers(p, 4)
    for k in range(4):
        rows = bins == k
        error = ill(y)[rows] - p[rows]
        totals = pd.Series(error - error.mean()).groupby(groups[rows].to_numpy()).sum()
        n, n_clusters, share = rows.sum(), len(totals), ill(y)[rows].mean()
        variance = n_clusters / (n_clusters - 1) * (totals**2).sum() / n**2
        effective = min(share * (1 - share) / variance, n)
        z = stats.norm.ppf(0.975)
        effective *= (z / stats.t.ppf(0.975, n_clusters - 1)) ** 2
        assert_allclose([display.lower[k], display.upper[k]], wilson(share, effective, z), rtol=1e-9)


def test_every_row_its_own_cluster_is_no_cluster():
    rng = np.random.default_rng(2)
    p = np.repeat([0.1, 0.5, 0.8], 4000)
    y = (rng.random(12_000) < p).astype(int)
    alone = CalibrationDisplay.from_predictions(y, p)
    own = CalibrationDisplay.from_predictions(y, p, groups=np.arange(12_000))
    assert_allclose(own.lower, alone.lower, atol=1e-5)
    assert_allclose(own.upper, alone.upper, atol=1e-5)


def test_a_cluster_copied_is_one_cluster(wards):
    X, y, groups = wards
    p = LogitRegressor().fit(X, y).predict_proba(X)[:, 1]
    once = CalibrationDisplay.from_predictions(ill(y), p, groups=groups)
    twice = CalibrationDisplay.from_predictions(np.tile(ill(y), 2), np.tile(p, 2), groups=np.tile(groups, 2))
    counted = CalibrationDisplay.from_predictions(
        ill(y), p, groups=groups, sample_weight=np.full(len(p), 2.0), weight_type="frequency"
    )
    for other in (twice, counted):
        assert_allclose(other.observed, once.observed)
        wider = once.upper - once.lower  # less the cap at the number of rows, which is twice as high
        assert (other.upper - other.lower <= wider + 1e-9).all()
        assert_allclose(other.table["estimate"], once.table["estimate"], atol=1e-7)
    assert_allclose(twice.upper, counted.upper, rtol=1e-9)


def test_frequency_weights_are_rows():
    rng = np.random.default_rng(3)
    p, counts = rng.uniform(0.1, 0.9, 300), rng.integers(1, 5, 300)
    y = (rng.random(300) < p).astype(int)
    bins = bin_numbers(p, 6)
    weighted = CalibrationDisplay.from_predictions(y, p, sample_weight=counts, weight_type="frequency", n_bins=6)
    for k in range(6):
        n = counts[bins == k].sum()
        share = np.average(y[bins == k], weights=counts[bins == k])
        assert_allclose([weighted.lower[k], weighted.upper[k]], wilson(share, n, stats.norm.ppf(0.975)))
    sampled = CalibrationDisplay.from_predictions(y, p, sample_weight=counts, n_bins=6)
    for k in range(6):
        w = counts[bins == k]
        n = w.sum() ** 2 / (w**2).sum()
        share = np.average(y[bins == k], weights=w)
        assert_allclose([sampled.lower[k], sampled.upper[k]], wilson(share, n, stats.norm.ppf(0.975)))


def test_shares_of_zero_have_the_design_effect_of_all_bins():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), 20)
    p = np.where(np.arange(1200) % 20 < 10, 0.02, 0.5)
    u = 2.0 * rng.normal(size=60)[groups]
    y = (rng.random(1200) < expit(u)).astype(int)
    y[p < 0.1] = 0
    display = CalibrationDisplay.from_predictions(y, p, groups=groups)
    alone = CalibrationDisplay.from_predictions(y, p)
    assert display.observed[0] == 0.0 == display.lower[0]
    assert display.upper[0] > 1.5 * alone.upper[0]
    assert np.isnan(display.table.loc["slope", "estimate"])  # outcomes are separated, the slope is infinite


def test_counts_and_numbers_have_t_intervals(sleep):
    display = CalibrationDisplay.from_estimator(sleep.model, sleep.X, sleep.y, n_bins=5)
    predicted = sleep.model.predict(sleep.X)
    bins = bin_numbers(predicted, 5)
    for k in range(len(display.observed)):
        error = (sleep.y - predicted)[bins == k]
        half = stats.t.ppf(0.975, len(error) - 1) * error.std(ddof=1) / np.sqrt(len(error))
        assert_allclose(display.upper[k] - display.observed[k], half)
    given = CalibrationDisplay.from_estimator(sleep.model, sleep.X, sleep.y, groups=sleep.groups, conditional=True)
    assert given.ax_.get_xlabel() == "Predicted mean of Reaction, given Subject"
    assert_allclose(np.sum(given.weight * given.predicted), sleep.model.predict(sleep.X, groups=sleep.groups).mean())


def test_intervals_that_know_clusters_cover_and_naive_ones_do_not():
    """Rows of a cluster share its odds, and the same prediction: simulated many times from known probabilities."""
    rng = np.random.default_rng(5)
    n_runs, n_clusters, size = 400, 40, 12
    x = np.repeat([-1.0, 0.0, 1.0], [14, 13, 13])
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(40)
    p = expit(-0.2 + x[:, None] + 1.2 * nodes) @ (node_weights / node_weights.sum())
    groups, predicted = np.repeat(np.arange(n_clusters), size), np.repeat(p, size)
    truth, ones = np.unique(p), np.ones(n_clusters * size)
    covered = {"clusters": 0.0, "naive": 0.0}
    for _ in range(n_runs):
        eta = -0.2 + x + 1.2 * rng.normal(size=n_clusters)
        y = (rng.random(n_clusters * size) < np.repeat(expit(eta), size)).astype(float)
        for name, factors in [("clusters", [groups]), ("naive", [])]:
            bins = binned_means(Rows(y, predicted, ones, factors, False, True), bin_numbers(predicted, 3), 0.95)
            assert_allclose(bins.predicted, truth)
            covered[name] += np.mean((bins.lower <= truth) & (truth <= bins.upper)) / n_runs
    assert 0.93 < covered["clusters"] < 0.975
    assert covered["naive"] < 0.75


# ------------------------------------------------------------------------------------- several factors, and totals


def test_nested_factors_are_their_outer_one():
    rng = np.random.default_rng(6)
    outer = np.repeat(np.arange(10), 12)
    inner, values, bins = np.repeat(np.arange(40), 3), rng.normal(size=120), rng.integers(0, 3, 120)
    together = squares_of_totals(bins, values, [outer, inner])
    expected = [(pd.Series(values[bins == k]).groupby(outer[bins == k]).sum() ** 2).sum() for k in range(3)]
    alone = squares_of_totals(bins, values, [outer])
    assert_allclose(alone, expected)
    singles = squares_of_totals(bins, values, [inner])
    assert_allclose(together, np.maximum(alone, singles))
    assert_allclose(clusters_in_bins(bins, [outer, inner]), [len(np.unique(outer[bins == k])) for k in range(3)])


def test_crossed_factors_add_up():
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 7, 200), rng.integers(0, 9, 200)
    values, bins = rng.normal(size=200) + rng.normal(size=7)[a] + rng.normal(size=9)[b], np.zeros(200, dtype=int)
    related = (a[:, None] == a) | (b[:, None] == b)  # pairs of rows that share a level of any factor
    assert_allclose(squares_of_totals(bins, values, [a, b])[0], values @ related @ values)


# ----------------------------------------------------------------------------------------- calibration intercept, slope


def test_slopes_are_cluster_robust_logit_fits(wards):
    X, y, groups = wards
    half = groups < 40
    est = LogitRegressor().fit(X[half], y[half], groups=groups[half])
    display = CalibrationDisplay.from_estimator(est, X[~half], y[~half], groups=groups[~half])
    eta = logit(est.predict_proba(X[~half])[:, 1])
    both = coef_table(LogitRegressor().fit(eta[:, None], ill(y[~half]), groups=groups[~half]))
    assert_allclose(display.table.loc[["intercept", "slope"]].to_numpy(), both.to_numpy(), rtol=1e-6)
    sm = pytest.importorskip("statsmodels.api")
    large = sm.GLM(ill(y[~half]), np.ones(len(eta)), family=sm.families.Binomial(), offset=eta).fit(
        cov_type="cluster", cov_kwds={"groups": groups[~half].to_numpy(), "use_correction": False}
    )
    row = display.table.loc["intercept, slope 1"]
    assert row["estimate"] == pytest.approx(np.asarray(large.params)[0], rel=1e-6)
    assert row["std_error"] == pytest.approx(np.asarray(large.bse)[0], rel=0.02)  # but for (C / (C - 1))
    words = display.ax_.get_legend().get_title().get_text()
    assert words.startswith(f"slope {both.loc['x0', 'estimate']:.2f} (")


def test_of_the_rows_of_the_fit_they_are_0_and_1(wards):
    X, y, groups = wards
    counts = pd.Series(np.random.default_rng(0).poisson(np.exp(0.4 * X["dose"])), name="visits")
    for est, outcome in [(LogitRegressor(), y), (GEERegressor("poisson"), counts)]:
        est.fit(X, outcome, groups=groups)
        table = CalibrationDisplay.from_estimator(est, X, outcome, groups=groups).table
        assert_allclose(table["estimate"], [0.0, 0.0, 1.0], atol=1e-6)
    assert "slope 1.00" in CalibrationDisplay.from_estimator(est, X, outcome).ax_.get_legend().get_title().get_text()


def test_conditional_and_population_predictions(wards):
    X, y, groups = wards
    model = MixedLogit().fit(X, y, groups=groups)
    population = CalibrationDisplay.from_estimator(model, X, y, groups=groups)
    given = CalibrationDisplay.from_estimator(model, X, y, groups=groups, conditional=True)
    for display, labels in [(population, None), (given, groups)]:
        p = model.predict_proba(X, groups=labels)[:, 1]
        assert_allclose(display.predicted, np.bincount(bin_numbers(p, 10), p) / display.n_rows)
    assert population.table.loc["slope", "estimate"] == pytest.approx(1.0, abs=0.1)
    # effects predicted for these very rows are shrunken: outcomes are more extreme than their predictions
    assert given.table.loc["slope", "conf_low"] > 1.0
    assert given.ax_.get_xlabel() == "Predicted probability of state, given ward"
    assert population.ax_.get_xlabel() == "Predicted probability of state, population"


def test_equal_predictions_have_no_slope():
    y = np.tile([0, 1, 1], 30)
    display = CalibrationDisplay.from_predictions(y, np.full(90, 0.5), smooth=True)
    assert np.isnan(display.table.loc["slope", "estimate"])
    assert display.table.loc["intercept, slope 1", "estimate"] == pytest.approx(np.log(2.0))
    assert display.curve_ is None
    assert len(display.observed) == 1


def test_smooth_curve_and_pipelines(wards):
    X, y, groups = wards
    pipe = make_pipeline(StandardScaler(), GEEClassifier()).fit(X, y, geeclassifier__groups=groups)
    display = CalibrationDisplay.from_estimator(pipe, X, y, groups=groups, smooth=True)
    at, curve = display.curve_.get_data()
    assert at[0] == pytest.approx(pipe.predict_proba(X)[:, 1].min())
    assert np.abs(curve - at).max() < 0.12
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()][1] == "bins, 95% interval by ward"


def test_crossed_factors(penicillin):
    display = CalibrationDisplay.from_estimator(
        penicillin.model, penicillin.X, penicillin.y, groups=penicillin.groups, conditional=True, n_bins=3
    )
    assert np.isfinite(display.upper).all()
    assert display.clusters == "plate, sample"


def test_errors(wards):
    X, y, _ = wards
    est = LogitRegressor().fit(X, y)
    with pytest.raises(ValueError, match="conditional=True asks for predictions given the effects of groups"):
        CalibrationDisplay.from_estimator(est, X, y, conditional=True)
    with pytest.raises(ValueError, match="between 0 and 1, since all outcomes are 0 or 1"):
        CalibrationDisplay.from_predictions([0, 1, 1], [0.5, 1.2, 0.1])
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        CalibrationDisplay.from_predictions([0, 1, 1], [0.5, 0.2, 0.1], level=95)
    with pytest.raises(ValueError, match="weight_type must be"):
        CalibrationDisplay.from_predictions([0, 1, 1], [0.5, 0.2, 0.1], weight_type="precision")


# --------------------------------------------------------------------------------------------- binned residuals


def test_binned_residuals_given_random_effects(wards):
    X, y, groups = wards
    model = MixedLogit().fit(X, y, groups=groups)
    display = BinnedResidualsDisplay.from_estimator(model, X, y, groups=groups, conditional=True, n_bins=7)
    p = model.predict_proba(X, groups=groups)[:, 1]
    bins = bin_numbers(p, 7)
    assert_allclose(display.mean_residual, np.bincount(bins, ill(y) - p) / display.n_rows)
    assert_allclose(display.std_error, np.sqrt(np.bincount(bins, p * (1 - p))) / display.n_rows)
    assert display.ax_.get_xlabel() == "Fitted mean of state, given ward"
    population = BinnedResidualsDisplay.from_estimator(model, X, y, groups=groups, n_bins=7)
    alone = BinnedResidualsDisplay.from_estimator(model, X, y, n_bins=7)
    assert (population.std_error > alone.std_error).all()


def test_linear_models_are_compared_on_their_scale(schools):
    display = CalibrationDisplay.from_estimator(schools.model, schools.X, schools.y, groups=schools.groups)
    eta = schools.model.predict(schools.X)
    reference = GEERegressor().fit(eta[:, None], schools.y, groups=schools.groups)
    assert_allclose(display.table.loc["slope", "estimate"], reference.coef_[0])
    assert isinstance(schools.model, MixedLinear) and not display.binary
