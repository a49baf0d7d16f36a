"""Working against empirical correlation, influence, binned residuals: what is drawn, for every family."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.datasets import load_epil, load_ohio, load_respiratory
from skdep.families import NegativeBinomial
from skdep.gee import Exchangeable
from skdep.inference import compare_correlations, influence
from skdep.plotting import BinnedResidualsDisplay, InfluenceDisplay, ResidualsDisplay, WorkingCorrelationDisplay

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")


@pytest.fixture(scope="module")
def ohio():
    study = load_ohio()
    study.rows = {"groups": study.groups, "time": study.time}
    return study


@pytest.fixture(scope="module")
def waves():
    """Clusters with missing visits, rows in any order."""
    rng = np.random.default_rng(0)
    groups, time = np.repeat(np.arange(60), 4), np.tile(np.arange(4.0), 60)
    X = rng.normal(size=(240, 2))
    y = X[:, 0] + rng.normal(size=60)[groups] + rng.normal(size=240)
    order = rng.permutation(np.flatnonzero(rng.uniform(size=240) < 0.8))
    weights = rng.integers(1, 4, 60).astype(float)[groups]
    return SimpleNamespace(X=X[order], y=y[order], groups=groups[order], time=time[order], weights=weights[order])


# ------------------------------------------------------------------------------------------------ correlations


@pytest.mark.parametrize("dof", ["n", "n-p"])
def test_an_unstructured_fit_is_what_is_seen(waves, dof):
    """Its parameters are the empirical correlations, pair of times by pair of times."""
    est = GEERegressor(working_correlation="unstructured", dof=dof)
    given = {"groups": waves.groups, "time": waves.time}
    display = WorkingCorrelationDisplay.from_estimator(est.fit(waves.X, waves.y, **given), waves.X, waves.y, **given)
    pairs = display.by_pair
    assert_allclose(pairs.working["unstructured"], pairs.seen, rtol=1e-9)
    at = pairs.times.astype(int)
    assert_allclose(est.association_[at[:, 0], at[:, 1]], pairs.seen, rtol=1e-9)
    assert_allclose(pairs.lag, at[:, 1] - at[:, 0])
    table = pd.DataFrame({"g": waves.groups, "t": waves.time, "one": 1.0}).pivot(index="g", columns="t", values="one")
    together = table.fillna(0.0).T @ table.fillna(0.0)
    assert_allclose(pairs.n_pairs, together.to_numpy()[at[:, 0], at[:, 1]])


def test_a_toeplitz_fit_is_what_is_seen_by_lag(waves):
    est = GEERegressor(working_correlation="toeplitz")
    given = {"groups": waves.groups, "time": waves.time, "sample_weight": waves.weights}
    est.set_params(weight_type="frequency").fit(waves.X, waves.y, **given)
    display = WorkingCorrelationDisplay.from_estimator(est, waves.X, waves.y, **given)
    assert_allclose(display.by_lag.lag, [1.0, 2.0, 3.0])
    assert_allclose(display.by_lag.seen, est.association_, rtol=1e-9)
    assert_allclose(display.by_lag.working["toeplitz"], est.association_, rtol=1e-9)


@pytest.mark.parametrize("dof", ["n", "n-p"])
def test_a_weighted_fit_is_what_is_seen(waves, dof):
    """Weights that go with the size of the cluster; under ``dof="n"`` also by its formula."""
    size = pd.Series(waves.groups).groupby(waves.groups).transform("size").to_numpy(dtype=float)
    weights = np.where(size > 3, 1.5, 1.0) * np.random.default_rng(1).uniform(0.8, 1.2, len(size))
    est = GEERegressor(working_correlation="unstructured", dof=dof)
    given = {"groups": waves.groups, "time": waves.time, "sample_weight": weights}
    pairs = WorkingCorrelationDisplay.from_estimator(
        est.fit(waves.X, waves.y, **given), waves.X, waves.y, **given
    ).by_pair
    at = pairs.times.astype(int)
    assert_allclose(pairs.seen, est.association_[at[:, 0], at[:, 1]], rtol=1e-9)
    assert_allclose(pairs.seen, pairs.working["unstructured"], rtol=1e-9)
    if dof == "n":
        frame = pd.DataFrame({"g": waves.groups, "t": waves.time, "w": weights, "r": waves.y - est.predict(waves.X)})
        scale = np.average(frame["r"] ** 2, weights=frame["w"])
        w, r = (frame.pivot(index="g", columns="t", values=name).fillna(0.0).to_numpy() for name in ("w", "r"))
        seen = (w * r).T @ (w * r) / (w.T @ w) / scale
        assert_allclose(pairs.seen, seen[at[:, 0], at[:, 1]], rtol=1e-9)
        both = (w > 0).T.astype(float) @ (w > 0)
        assert_allclose(pairs.n_pairs, both[at[:, 0], at[:, 1]])


def test_an_exchangeable_fit_is_the_mean_of_what_is_seen(waves):
    est = GEERegressor(working_correlation="exchangeable", dof="n").fit(waves.X, waves.y, groups=waves.groups)
    display = WorkingCorrelationDisplay.from_estimator(est, waves.X, waves.y, groups=waves.groups)
    mean = np.average(display.by_lag.seen, weights=display.by_lag.n_pairs)
    assert mean == pytest.approx(est.association_, rel=1e-9)
    assert_allclose(display.by_lag.working["exchangeable"], est.association_)
    assert display.ax_.get_xlabel() == "Lag (rows)"


def test_several_fits_whatever_the_order_of_rows(waves):
    """Structures sort the rows of a cluster in different ways; pairs are the same."""
    given = {"groups": waves.groups, "time": waves.time}
    found = compare_correlations(
        GEERegressor(), waves.X, waves.y, structures=["independence", "exchangeable", "ar1"], **given
    )
    display = WorkingCorrelationDisplay.from_estimator(found.fits, waves.X, waves.y, **given)
    assert list(display.lines_) == ["independence", "exchangeable", "ar1"]
    alpha = found.fits["ar1"].association_
    for classes in (display.by_lag, display.by_pair):
        assert_allclose(classes.working["ar1"], alpha**classes.lag, rtol=1e-9)
        assert_allclose(classes.working["independence"], 0.0)
    assert_allclose(display.lines_["ar1"].get_ydata(), alpha ** np.arange(1.0, 4.0), rtol=1e-9)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["seen, by pair of times", "seen, by lag", "independence", "exchangeable", "ar1"]


def test_seen_by_hand(ohio):
    gee = GEEClassifier(dof="n").fit(ohio.data, ohio.target, **ohio.rows)
    display = WorkingCorrelationDisplay.from_estimator(gee, ohio.data, ohio.target, **ohio.rows)
    p = gee.predict_proba(ohio.data)[:, 1]
    e = (ohio.target - p) / np.sqrt(gee.scale_ * p * (1 - p))
    table = (
        pd.DataFrame({"g": ohio.groups, "t": ohio.time, "e": e}).pivot(index="g", columns="t", values="e").to_numpy()
    )
    for pair, (first, second) in enumerate(display.by_pair.times + 2):
        expected = np.mean(table[:, int(first)] * table[:, int(second)])
        assert display.by_pair.seen[pair] == pytest.approx(expected, rel=1e-9)
    assert_allclose(display.seen_.get_offsets()[:, 1], display.by_lag.seen)
    assert_allclose(display.pairs_.get_offsets(), np.column_stack([display.by_pair.lag, display.by_pair.seen]))


def test_kind_pair(ohio):
    fits = {name: GEEClassifier(working_correlation=name).fit(ohio.data, ohio.target, **ohio.rows)
            for name in ("exchangeable", "unstructured")}  # fmt: skip
    display = WorkingCorrelationDisplay.from_estimator(fits, ohio.data, ohio.target, kind="pair", **ohio.rows)
    assert display.seen_ is None
    offsets = display.pairs_["unstructured"].get_offsets()
    residuals = WorkingCorrelationDisplay.from_estimator(fits["unstructured"], ohio.data, ohio.target, **ohio.rows)
    assert_allclose(offsets[:, 0], residuals.by_pair.working["unstructured"])
    diagonal = display.lines_["diagonal"]
    assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    with pytest.raises(ValueError, match="kind must be 'lag' or 'pair'"):
        display.plot(kind="matrix")


def test_subclusters():
    frame = load_respiratory().frame
    frame = frame.assign(block=frame["id"] % 10)
    X, y, groups = frame[["age", "baseline"]], frame["outcome"], frame[["block", "id"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = GEEClassifier(working_correlation="nested").fit(X, y, groups=groups)
        flat = GEEClassifier(working_correlation="exchangeable").fit(X, y, groups=groups["block"])
    display = WorkingCorrelationDisplay.from_estimator({"nested": nested, "flat": flat}, X, y, groups=groups)
    assert display.by_lag.working["nested"].min() >= nested.association_.min() - 1e-12
    assert display.by_lag.working["nested"].max() <= nested.association_.max() + 1e-12
    assert np.ptp(display.by_lag.working["nested"]) > 0.05
    assert_allclose(display.by_lag.working["flat"], flat.association_)


def test_many_times_and_many_lags():
    rng = np.random.default_rng(1)
    groups, time = np.repeat(np.arange(40), 6), rng.uniform(0.0, 10.0, 240)
    X = rng.normal(size=(240, 1))
    y = rng.normal(size=40)[groups] + rng.normal(size=240)
    est = GEERegressor(working_correlation="ar1").fit(X, y, groups=groups, time=time)
    display = WorkingCorrelationDisplay.from_estimator(est, X, y, groups=groups, time=time)
    assert display.by_pair is None and display.pairs_ is None
    assert len(display.by_lag.lag) == 20
    assert np.all(np.diff(display.by_lag.lag) > 0)
    assert_allclose(display.by_lag.n_pairs, 30.0)
    with pytest.raises(ValueError, match="too many different times"):
        display.plot(kind="pair")


def test_a_large_sample_is_thinned(monkeypatch, waves):
    from skdep.plotting import _pair_correlations

    est = GEERegressor(working_correlation="ar1").fit(waves.X, waves.y, groups=waves.groups, time=waves.time)
    monkeypatch.setattr(_pair_correlations, "_MOST_PAIRS", 100)
    display = WorkingCorrelationDisplay.from_estimator(est, waves.X, waves.y, groups=waves.groups, time=waves.time)
    assert 30 < display.by_lag.n_pairs.sum() < 140
    assert_allclose(display.by_lag.working["ar1"], est.association_**display.by_lag.lag)


def test_refusals(waves):
    est = GEERegressor().fit(waves.X, waves.y, groups=waves.groups)
    with pytest.raises(ValueError, match="not the data of the fit"):
        WorkingCorrelationDisplay.from_estimator(est, waves.X, waves.y + waves.time, groups=waves.groups)
    with pytest.raises(ValueError, match=r"pass groups="):
        WorkingCorrelationDisplay.from_estimator(est, waves.X, waves.y, groups=None)
    alone = GEERegressor().fit(waves.X, waves.y)
    with pytest.raises(ValueError, match="every cluster has one row"):
        WorkingCorrelationDisplay.from_estimator(alone, waves.X, waves.y, groups=np.arange(len(waves.y)))
    with pytest.raises(TypeError, match="working correlations of a GEE; LogitRegressor has none"):
        logit = LogitRegressor().fit(waves.X, waves.y > 0)
        WorkingCorrelationDisplay.from_estimator(logit, waves.X, waves.y > 0, groups=waves.groups)
    with pytest.raises(ValueError, match="the mapping is empty"):
        WorkingCorrelationDisplay.from_estimator({}, waves.X, waves.y, groups=waves.groups)

    class Silent(Exchangeable):
        name = "silent"

        def correlations(self, layout, association, earlier, later):
            return None

    silent = GEERegressor(working_correlation=Silent()).fit(waves.X, waves.y, groups=waves.groups)
    with pytest.raises(TypeError, match="'silent' does not say how two rows correlate"):
        WorkingCorrelationDisplay.from_estimator(silent, waves.X, waves.y, groups=waves.groups)


# ------------------------------------------------------------------------------------------------ influence


@pytest.fixture(scope="module")
def epil():
    study = load_epil()
    study.X = np.log(study.data[["base", "age"]])
    study.model = GEERegressor("poisson", working_correlation="exchangeable")
    study.model.fit(study.X, study.target, groups=study.groups)
    return study


def test_influence_of_clusters(epil):
    found = influence(epil.model, epil.X, epil.target, groups=epil.groups)
    display = InfluenceDisplay.from_estimator(epil.model, epil.X, epil.target, groups=epil.groups, n_labels=3)
    assert_allclose(display.values, found.clusters["cooks_distance"])
    assert_allclose(display.points_.get_offsets(), np.column_stack([np.arange(1, 60), display.values]))
    assert [text.get_text() for text in display.texts_] == [str(k) for k in found.most_influential(3).index]
    assert display.ax_.get_ylabel() == "Cook's distance" and display.limits_ == []
    assert display.ax_.get_xlabel() == "Cluster (subject), in order"
    again = InfluenceDisplay.from_influence(found, coefficient="base", n_labels=1)
    assert_allclose(again.values, found.dfbetas["base"])
    assert again.texts_[0].get_text() == str(found.most_influential(1, coefficient="base").index[0])
    assert_allclose([line.get_ydata()[0] for line in again.limits_], [-2 / np.sqrt(59), 2 / np.sqrt(59)])
    with pytest.raises(ValueError, match="There is no coefficient 'height'"):
        InfluenceDisplay.from_influence(found, coefficient="height")


def test_influence_of_many_clusters_and_of_one_that_is_needed():
    rng = np.random.default_rng(2)
    X, groups = rng.normal(size=(1500, 2)), np.repeat(np.arange(500), 3)
    X[:, 1] = groups == 7
    est = GEERegressor().fit(X, rng.normal(size=1500), groups=groups)
    y = est.predict(X) + rng.normal(size=1500)
    est.fit(X, y, groups=groups)
    display = InfluenceDisplay.from_estimator(est, X, y, groups=groups, coefficient="x1")
    assert display.stems_ is None
    assert np.isnan(display.values[7]) and "7" not in [text.get_text() for text in display.texts_]


# ------------------------------------------------------------------------------------------------ residuals

OUTCOMES = {
    "gaussian": lambda rng, mu: mu + rng.normal(size=len(mu)),
    "poisson": lambda rng, mu: rng.poisson(mu).astype(float),
    "gamma": lambda rng, mu: mu * rng.gamma(4.0, 0.25, len(mu)),
    "inverse_gaussian": lambda rng, mu: rng.wald(mu, 8.0),
    "negative_binomial": lambda rng, mu: rng.negative_binomial(2.0, 2.0 / (2.0 + mu)).astype(float),
    "binomial": lambda rng, mu: (rng.uniform(size=len(mu)) < mu / (1 + mu)).astype(float),
}


@pytest.mark.parametrize("family", sorted(OUTCOMES))
def test_residuals_of_every_family(family):
    rng = np.random.default_rng(3)
    X, groups = rng.uniform(-1.0, 1.0, size=(900, 2)), np.repeat(np.arange(300), 3)
    y = OUTCOMES[family](rng, np.exp(0.5 + 0.6 * X[:, 0]))
    given = NegativeBinomial(0.5) if family == "negative_binomial" else family
    link = {"binomial": "logit", "gaussian": "identity"}.get(family, "log")
    est = GEERegressor(given, link=link, working_correlation="exchangeable").fit(X, y, groups=groups)
    display = ResidualsDisplay.from_estimator(est, X, y, standardised=True)
    # by the moment estimator of phi
    assert np.sum(display.residuals**2) == pytest.approx(900 - 3, rel=1e-9)
    assert_allclose(display.fitted, est.predict(X))
    bins = BinnedResidualsDisplay.from_estimator(est, X, y, groups=groups)
    assert len(bins.centre) == 30 and bins.n_rows.sum() == 900
    outside = np.abs(bins.mean_residual) > 2.0 * bins.std_error
    assert outside.sum() <= 6  # of 30, where 1.5 are expected


def test_binned_residuals_by_hand():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(400, 2))
    y = np.where(rng.uniform(size=400) < 1 / (1 + np.exp(-X[:, 0])), "yes", "no")
    weights = rng.uniform(0.5, 2.0, 400)
    fit = LogitRegressor(weight_type="sampling").fit(X, y)
    p = fit.predict_proba(X)[:, 1]
    display = BinnedResidualsDisplay.from_estimator(fit, X, y, sample_weight=weights, n_bins=8)
    counted = BinnedResidualsDisplay.from_estimator(LogitRegressor().fit(X, y), X, y, sample_weight=weights, n_bins=8)
    order = np.argsort(p)
    for number, rows in enumerate(np.split(order, 8)):
        w = weights[rows]
        assert display.centre[number] == pytest.approx(np.average(p[rows], weights=w))
        assert display.mean_residual[number] == pytest.approx(np.average((y[rows] == "yes") - p[rows], weights=w))
        variance = p[rows] * (1 - p[rows])
        assert display.std_error[number] == pytest.approx(np.sqrt(np.sum(w**2 * variance)) / w.sum())
        assert counted.std_error[number] == pytest.approx(np.sqrt(np.sum(w * variance)) / w.sum(), rel=1e-6)
    assert_allclose(display.band_[1].get_ydata(), 2.0 * display.std_error)
    assert display.ax_.get_xlabel() == "Fitted mean of y"


def test_bins_of_a_feature_show_what_the_model_lacks():
    rng = np.random.default_rng(5)
    X = pd.DataFrame({"dose": rng.uniform(-2.0, 2.0, 4000), "age": rng.normal(size=4000)})
    y = pd.Series((rng.uniform(size=4000) < 1 / (1 + np.exp(1.0 - X["dose"] ** 2))).astype(int), name="ill")
    fit = make_pipeline(StandardScaler(), LogitRegressor()).fit(X, y)
    lacking = BinnedResidualsDisplay.from_estimator(fit, X, y, feature="dose")
    harmless = BinnedResidualsDisplay.from_estimator(fit, X, y, feature=1)
    share = [np.mean(np.abs(found.mean_residual) > 2 * found.std_error) for found in (lacking, harmless)]
    assert share[0] > 0.6 and share[1] < 0.2
    assert (lacking.ax_.get_xlabel(), harmless.ax_.get_xlabel()) == ("dose", "age")
    with pytest.raises(ValueError, match="feature='height' is no feature"):
        BinnedResidualsDisplay.from_estimator(fit, X, y, feature="height")


def test_rows_of_a_cluster_err_together():
    """The whole cluster repeated four times in a bin has twice the standard error of the mean."""
    rng = np.random.default_rng(6)
    x = np.repeat(rng.normal(size=400), 4)
    y = np.repeat((rng.uniform(size=400) < 1 / (1 + np.exp(-x[::4]))).astype(int), 4)
    X, groups = x[:, None], np.repeat(np.arange(400), 4)
    fit = GEEClassifier(scale=1.0).fit(X, y, groups=groups)
    alone = BinnedResidualsDisplay.from_estimator(fit, X, y)
    together = BinnedResidualsDisplay.from_estimator(fit, X, y, groups=groups)
    assert_allclose(together.std_error, 2.0 * alone.std_error, rtol=0.03)


def test_binned_residuals_are_of_a_family(waves):
    model = MixedLinear().fit(waves.X, waves.y, groups=waves.groups)
    with pytest.raises(TypeError, match="for MixedLinear use ResidualsDisplay"):
        BinnedResidualsDisplay.from_estimator(model, waves.X, waves.y)
    gee = GEERegressor().fit(waves.X, waves.y)
    with pytest.raises(ValueError, match="n_bins must be at least 1"):
        BinnedResidualsDisplay.from_estimator(gee, waves.X, waves.y, n_bins=0)
