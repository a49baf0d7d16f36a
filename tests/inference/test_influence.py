"""Influence of clusters: fits without them, a literal twin with matrices, R, identities, refusals."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.datasets import load_dietox, load_epil, load_ohio
from skdep.gee import Exchangeable
from skdep.inference import Influence, influence

R = json.loads((Path(__file__).parents[1] / "reference" / "gee_criteria.json").read_text())


def make_rows(seed=0, n_clusters=30):
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([[6], rng.integers(1, 7, n_clusters - 1)])
    groups = np.repeat(np.arange(n_clusters), sizes)
    n = len(groups)
    time = np.concatenate([np.sort(rng.choice(8, size, replace=False)) for size in sizes]).astype(float)
    X = rng.normal(size=(n, 3))
    eta = 0.2 + X @ [0.5, -0.3, 0.2] + rng.normal(scale=0.6, size=n_clusters)[groups]
    order = rng.permutation(n)
    labels = np.array([f"c{group:02d}" for group in groups])
    return SimpleNamespace(
        X=pd.DataFrame(X[order], columns=["a", "b", "c"], index=np.arange(n) + 100),
        y=(eta + rng.normal(size=n))[order],
        counts=rng.poisson(np.exp(0.4 * eta))[order].astype(float),
        binary=(rng.uniform(size=n) < 1 / (1 + np.exp(-eta)))[order].astype(int),
        groups=pd.Series(labels[order], name="clinic"),
        time=time[order],
        offset=rng.normal(scale=0.3, size=n)[order],
        weights=rng.uniform(0.3, 3.0, n)[order],
        repeats=rng.integers(1, 4, n_clusters).astype(float)[groups][order],
        strata=(groups % 3)[order],
    )


@pytest.fixture(scope="module")
def rows():
    return make_rows()


class Known(Exchangeable):
    """A correlation of 0.4, not estimated: without a cluster it stays what it is."""

    name = "known"

    def estimate(self, layouts, products, counts, moments, previous):
        """Return 0.4."""
        return 0.4


# ------------------------------------------------------------------------------------------------ deletion by refitting


def params(fit):
    return np.concatenate([np.ravel(fit.intercept_), np.ravel(fit.coef_)])


def by_refitting(est, rows, y, given):
    """Return estimates less those without each cluster."""
    fits = []
    labels = np.unique(rows.groups)
    for label in labels:
        kept = (rows.groups != label).to_numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits.append(params(est.fit(rows.X[kept], y[kept], **{name: part[kept] for name, part in given.items()})))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return params(est.fit(rows.X, y, **given)) - np.array(fits)


@pytest.mark.parametrize("structure", ["independence", Known()])
@pytest.mark.parametrize("extra", ["plain", "weights", "offset"])
def test_exact_for_linear_models(rows, structure, extra):
    est = GEERegressor(working_correlation=structure)
    given = {"groups": rows.groups}
    given |= {"weights": {"sample_weight": rows.weights}, "offset": {"offset": rows.offset}, "plain": {}}[extra]
    expected = by_refitting(est, rows, rows.y, given)
    found = influence(est, rows.X, rows.y, **given)
    assert_allclose(found.dfbeta, expected, rtol=1e-7, atol=1e-10)
    naive = est._inference.covariances["naive"]
    assert_allclose(found.dfbetas, expected / np.sqrt(np.diag(naive)), rtol=1e-6, atol=1e-8)
    cook = np.einsum("ia,ab,ib->i", expected, np.linalg.inv(naive), expected) / 4
    assert_allclose(found.clusters["cooks_distance"], cook, rtol=1e-6)


@pytest.mark.parametrize("model", ["logit", "poisson", "exchangeable"])
def test_near_the_fit_without_the_cluster(model):
    """One step leaves an error of second order: of clusters a tenth as influential it is about a hundredth."""
    errors = []
    for n_clusters in (40, 400):
        rows = make_rows(1, n_clusters)
        if model == "logit":
            est, y = LogitRegressor(), rows.binary
        elif model == "poisson":
            est, y = GEERegressor("poisson"), rows.counts
        else:
            est, y = GEEClassifier(working_correlation=Known()), rows.binary
        given = {"groups": rows.groups}
        some = SimpleNamespace(**vars(rows))
        expected = by_refitting(est, some, y, given) if n_clusters == 40 else None
        if expected is None:
            labels = np.unique(rows.groups)[:40]
            full = params(est.fit(rows.X, y, **given))
            kept = [(rows.groups != label).to_numpy() for label in labels]
            expected = full - [params(est.fit(rows.X[k], y[k], groups=rows.groups[k])) for k in kept]
            est.fit(rows.X, y, **given)
        found = influence(est, rows.X, y, **given).dfbeta.to_numpy()[:40]
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
        errors.append(np.abs(found - expected).max())
    assert errors[1] < errors[0] / 30


# ------------------------------------------------------------------------------------------------ matrices

LINKS = {
    "gaussian": (lambda eta: eta, lambda mu: np.ones_like(mu), lambda mu: np.ones_like(mu)),
    "poisson": (np.exp, lambda mu: mu, lambda mu: mu),
    "binomial": (lambda eta: 1 / (1 + np.exp(-eta)), lambda mu: mu * (1 - mu), lambda mu: mu * (1 - mu)),
}


def correlation(structure, association, times, all_times):
    lags = np.abs(np.subtract.outer(times, times))
    if structure == "exchangeable":
        R = np.full(lags.shape, association)
    elif structure == "ar1":
        R = association**lags
    elif structure == "unstructured":
        at = np.searchsorted(all_times, times)
        R = association[np.ix_(at, at)].copy()
    elif structure == "toeplitz":
        R = np.append(1.0, association)[lags.astype(int)]
    else:
        R = np.zeros(lags.shape)
    np.fill_diagonal(R, 1.0)
    return R


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1", "unstructured", "toeplitz"])
@pytest.mark.parametrize("family", sorted(LINKS))
@pytest.mark.parametrize("extra", ["plain", "weights", "frequencies"])
def test_against_matrices(rows, structure, family, extra):
    y = {"gaussian": rows.y, "poisson": rows.counts, "binomial": rows.binary.astype(float)}[family]
    est = GEERegressor(family, working_correlation=structure)
    given = {"groups": rows.groups, "time": rows.time}
    weights, counts = np.ones(len(y)), np.ones(len(y))
    if extra == "weights":
        given["sample_weight"], weights = rows.weights, rows.weights / rows.weights.mean()
    elif extra == "frequencies":
        given["sample_weight"] = counts = rows.repeats
        est.set_params(weight_type="frequency")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(rows.X, y, **given)
    found = influence(est, rows.X, y, **given)
    inverse, slope, variance = LINKS[family]
    D0 = np.column_stack([np.ones(len(y)), rows.X])
    mu = inverse(D0 @ params(est))
    parts, B = [], 0.0
    labels, all_times = np.unique(rows.groups), np.unique(rows.time)
    for label in labels:
        at = np.flatnonzero(rows.groups == label)
        root = np.diag(np.sqrt(variance(mu[at]) / weights[at]))
        V = root @ correlation(structure, est.association_, rows.time[at], all_times) @ root
        D = D0[at] * slope(mu[at])[:, None]
        parts.append((at, D, np.linalg.inv(V), y[at] - mu[at]))
        B = B + counts[at[0]] * D.T @ parts[-1][2] @ D
    dfbeta, total, of_rows = [], [], np.zeros(len(y))
    for at, D, inverse_V, residual in parts:
        dfbeta.append(np.linalg.solve(B - D.T @ inverse_V @ D, D.T @ inverse_V @ residual))
        hat = D @ np.linalg.inv(B) @ D.T @ inverse_V
        of_rows[at] = np.diag(hat)
        total.append(np.trace(hat))
    assert_allclose(found.dfbeta, dfbeta, rtol=1e-6, atol=1e-9)
    assert_allclose(found.clusters["leverage"], total, rtol=1e-7)
    assert_allclose(found.rows["leverage"], of_rows, rtol=1e-6, atol=1e-9)
    assert_allclose(found.rows["residual"], (y - mu) / np.sqrt(est.scale_ * variance(mu)), rtol=1e-7, atol=1e-9)
    assert list(found.clusters.index) == list(labels)
    assert list(found.rows.index) == list(rows.X.index)
    assert list(found.rows["cluster"]) == list(rows.groups)


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1", "m_dependent", "unstructured"])
def test_identities(rows, structure):
    """Mancl and DeRouen's covariance is the sum of squares of deletion effects; leverages add up to p."""
    est = GEERegressor("poisson", working_correlation=structure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(rows.X, rows.counts, groups=rows.groups, time=rows.time)
    found = influence(est, rows.X, rows.counts, groups=rows.groups, time=rows.time)
    assert_allclose(found.dfbeta.T @ found.dfbeta, est._inference.covariances["md"], rtol=1e-8)
    assert found.clusters["leverage"].sum() == pytest.approx(4.0, rel=1e-9)
    by_cluster = found.rows.groupby("cluster")["leverage"].sum()
    assert_allclose(found.clusters["leverage"], by_cluster, rtol=1e-9)


# ------------------------------------------------------------------------------------------------ R


def test_rows_of_r():
    """R deletes rows, too; scale 1 for counts and binary outcomes."""
    frame = load_dietox().frame
    X = frame[["Time"]].assign(a=1.0 * (frame["Cu"] == "Cu035"), b=1.0 * (frame["Cu"] == "Cu175"))
    linear = GEERegressor().fit(X, frame["Weight"])
    epil = load_epil().frame
    Z = pd.DataFrame({"trt": 1.0 * (epil["trt"] == "progabide"), "base": np.log(epil["base"] / 4)})
    Z = Z.assign(age=np.log(epil["age"]))
    poisson = GEERegressor("poisson", scale=1.0).fit(Z, epil["y"])
    ohio = load_ohio()
    logit = LogitRegressor().fit(ohio.data, ohio.target)
    for name, found in {
        "lm": influence(linear, X, frame["Weight"]),
        "poisson": influence(poisson, Z, epil["y"]),
        "logit": influence(logit, ohio.data, ohio.target),
    }.items():
        entry = R[f"deletion_{name}"]
        rows = slice(0, 12)
        assert_allclose(found.dfbeta[rows], entry["dfbeta"], rtol=1e-6)
        assert_allclose(found.clusters["leverage"][rows], entry["hat"], rtol=1e-7)
        assert_allclose(found.clusters["cooks_distance"][rows], entry["cook"], rtol=1e-6)
        assert found.clusters.index.name == "row"


# ------------------------------------------------------------------------------------------------ LogitRegressor


def test_logit_is_the_independent_gee(rows):
    logit = LogitRegressor().fit(rows.X, rows.binary, groups=rows.groups)
    gee = GEEClassifier(scale=1.0).fit(rows.X, rows.binary, groups=rows.groups)
    expected = influence(gee, rows.X, rows.binary, groups=rows.groups)
    found = influence(logit, rows.X, rows.binary, groups=rows.groups)
    assert_allclose(found.to_frame(), expected.to_frame(), rtol=1e-6, atol=1e-9)
    assert (found.cov_type, expected.cov_type) == ("model", "naive")


def test_logit_with_weights(rows):
    sampling = LogitRegressor(weight_type="sampling")
    given = {"groups": rows.groups, "sample_weight": rows.weights}
    expected = by_refitting(sampling, rows, rows.binary, given)
    found = influence(sampling, rows.X, rows.binary, **given)
    assert np.corrcoef(found.dfbeta.to_numpy().ravel(), expected.ravel())[0, 1] > 0.99
    strata = influence(
        sampling.fit(rows.X, rows.binary, strata=rows.strata, **given), rows.X, rows.binary, strata=rows.strata, **given
    )
    assert_allclose(np.sort(strata.dfbeta, axis=0), np.sort(found.dfbeta, axis=0), rtol=1e-9)
    repeated = np.repeat(np.arange(len(rows.y)), rows.repeats.astype(int))
    frequency = LogitRegressor().fit(rows.X, rows.binary, groups=rows.groups, sample_weight=rows.repeats)
    found = influence(frequency, rows.X, rows.binary, groups=rows.groups, sample_weight=rows.repeats)
    X, y, groups = rows.X.iloc[repeated], rows.binary[repeated], rows.groups.iloc[repeated]
    expected = influence(LogitRegressor().fit(X, y, groups=groups), X, y, groups=groups)
    assert_allclose(found.dfbeta, expected.dfbeta, rtol=1e-6, atol=1e-10)
    alone = LogitRegressor().fit(rows.X, rows.binary, sample_weight=rows.repeats)
    found = influence(alone, rows.X, rows.binary, sample_weight=rows.repeats)
    one_of_each = influence(LogitRegressor().fit(X, y), X, y).dfbeta.to_numpy()
    assert_allclose(found.dfbeta, one_of_each[np.searchsorted(repeated, np.arange(len(rows.y)))], rtol=1e-6, atol=1e-10)


def test_other_clusters_than_those_of_an_independent_fit(rows):
    fit = LogitRegressor().fit(rows.X, rows.binary)
    expected = influence(LogitRegressor().fit(rows.X, rows.binary, groups=rows.groups), rows.X, rows.binary,
                         groups=rows.groups)  # fmt: skip
    found = influence(fit, rows.X, rows.binary, groups=rows.groups)
    assert_allclose(found.dfbeta, expected.dfbeta, rtol=1e-9)


# ------------------------------------------------------------------------------------------------ of much leverage


def test_coefficient_that_cannot_do_without_a_cluster(rows):
    X = rows.X.assign(only=1.0 * (rows.groups == "c00").to_numpy())
    est = GEERegressor().fit(X, rows.y, groups=rows.groups)
    found = influence(est, X, rows.y, groups=rows.groups)
    assert list(found.dfbeta.columns[found.dfbeta.loc["c00"].isna()]) == ["only"]
    kept = (rows.groups != "c00").to_numpy()
    without = GEERegressor().fit(rows.X[kept], rows.y[kept], groups=rows.groups[kept])
    moved = params(est)[:4] - params(without)
    assert_allclose(found.dfbeta.loc["c00"].drop("only"), moved, rtol=1e-6, atol=1e-9)
    assert not found.dfbeta.drop(index="c00").isna().to_numpy().any()
    assert found.most_influential(1, coefficient="only").index[0] == "c00"
    others = found.dfbeta.drop(columns="only")
    assert_allclose(others.T @ others, est._inference.covariances["md"][:4, :4], rtol=1e-7)


def test_clusters_of_large_leverage_are_exact_too():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(12, 3)) * np.array([1.0, 30.0, 1.0])
    X[0] *= 100.0
    y, groups = rng.normal(size=12), np.arange(12) // 2
    est = GEERegressor()
    expected = [params(est.fit(X[groups != k], y[groups != k], groups=groups[groups != k])) for k in range(6)]
    est.fit(X, y, groups=groups)
    found = influence(est, X, y, groups=groups)
    assert found.clusters["leverage"].max() > 0.99
    assert_allclose(found.dfbeta, params(est) - np.array(expected), rtol=1e-6, atol=1e-9)


def test_collinear_features(rows):
    X = rows.X.assign(twice=2 * rows.X["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = GEERegressor().fit(X, rows.y, groups=rows.groups)
    found = influence(est, X, rows.y, groups=rows.groups)
    expected = influence(GEERegressor().fit(rows.X, rows.y, groups=rows.groups), rows.X, rows.y, groups=rows.groups)
    assert found.dfbeta[["a", "twice"]].isna().all(axis=None)
    assert_allclose(
        found.dfbeta[["Intercept", "b", "c"]], expected.dfbeta[["Intercept", "b", "c"]], rtol=1e-6, atol=1e-9
    )
    assert_allclose(found.clusters["cooks_distance"], expected.clusters["cooks_distance"], rtol=1e-6)


# ------------------------------------------------------------------------------------------------ the result


def test_metric_of_another_covariance(rows):
    est = GEERegressor("poisson").fit(rows.X, rows.counts, groups=rows.groups)
    found = influence(est, rows.X, rows.counts, groups=rows.groups, cov_type="robust")
    V = est.covariance_
    assert_allclose(found.dfbetas, found.dfbeta / np.sqrt(np.diag(V)), rtol=1e-10)
    cook = np.einsum("ia,ab,ib->i", found.dfbeta, np.linalg.inv(V), found.dfbeta) / 4
    assert_allclose(found.clusters["cooks_distance"], cook, rtol=1e-7)
    with pytest.raises(ValueError, match="cov_type='hc0' is not available"):
        influence(est, rows.X, rows.counts, groups=rows.groups, cov_type="hc0")


def test_most_influential_and_printing(rows):
    est = GEERegressor().fit(rows.X, rows.y, groups=rows.groups)
    found = influence(est, rows.X, rows.y, groups=rows.groups)
    assert isinstance(found, Influence)
    worst = found.most_influential(3)
    assert list(worst["cooks_distance"]) == sorted(found.clusters["cooks_distance"], reverse=True)[:3]
    assert found.dfbetas["b"].abs().idxmax() == found.most_influential(1, coefficient="b").index[0]
    assert list(worst.columns) == ["n_rows", "leverage", "cooks_distance", "dfbetas Intercept", "dfbetas a",
                                   "dfbetas b", "dfbetas c"]  # fmt: skip
    assert worst.index.name == "clinic"
    assert str(found).startswith("Influence of 30 clusters on 4 coefficients, in naive standard errors")
    assert "<table" in found._repr_html_()
    with pytest.raises(ValueError, match="There is no coefficient 'd'"):
        found.most_influential(coefficient="d")


def test_pipelines_and_searches(rows):
    pipe = make_pipeline(StandardScaler(with_mean=False), GEERegressor())
    pipe.fit(rows.X, rows.y, geeregressor__groups=rows.groups)
    plain = GEERegressor().fit(rows.X, rows.y, groups=rows.groups)
    expected = influence(plain, rows.X, rows.y, groups=rows.groups)
    found = influence(pipe, rows.X, rows.y, groups=rows.groups)
    assert_allclose(found.clusters, expected.clusters, rtol=1e-8)
    search = GridSearchCV(GEERegressor(), {"dof": ["n-p"]}, cv=2).fit(rows.X, rows.y)
    assert_allclose(influence(search, rows.X, rows.y).dfbeta.sum(), influence(plain.fit(rows.X, rows.y), rows.X,
                    rows.y).dfbeta.sum())  # fmt: skip


def test_other_data_are_refused(rows):
    est = GEERegressor(working_correlation="exchangeable").fit(rows.X, rows.y, groups=rows.groups)
    with pytest.raises(ValueError, match="not the data of the fit"):
        influence(est, rows.X, rows.y + rows.offset, groups=rows.groups)
    with pytest.raises(ValueError, match="not the data of the fit"):
        influence(est, rows.X, rows.y, groups=rows.groups, sample_weight=rows.weights)
    with pytest.raises(ValueError, match="fitted to 30 clusters: pass their labels"):
        influence(est, rows.X, rows.y)
    with pytest.raises(ValueError, match="fitted to 30 clusters, groups has 5"):
        influence(est, rows.X, rows.y, groups=np.arange(len(rows.y)) % 5)
    classifier = GEEClassifier().fit(rows.X, rows.binary)
    with pytest.raises(ValueError, match="labels that the fit does not know, first 7"):
        influence(classifier, rows.X, np.where(rows.binary == 1, 7, 0))
    with pytest.raises(
        TypeError, match="influence is for GEERegressor, GEEClassifier and LogitRegressor, got MixedLin"
    ):
        influence(MixedLinear().fit(rows.X, rows.y), rows.X, rows.y)
    with pytest.raises(ValueError, match="penalty='firth' changes them"):
        influence(LogitRegressor(penalty="firth").fit(rows.X, rows.binary), rows.X, rows.binary)


def test_repaired_correlation(rows):
    """A fit whose correlation was shrunk is evaluated with the shrunken one."""
    est = GEERegressor(working_correlation="unstructured")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(rows.X, rows.y, groups=rows.groups, time=rows.time)
    assert est.correlation_shrinkage_ > 0.0
    found = influence(est, rows.X, rows.y, groups=rows.groups, time=rows.time)
    assert_allclose(found.dfbeta.T @ found.dfbeta, est._inference.covariances["md"], rtol=1e-7)


def test_rows_of_weight_zero_are_not_there(rows):
    kept = rows.weights > 0.8
    weights = np.where(kept, rows.weights, 0.0)
    est = GEERegressor()
    est.fit(rows.X, rows.y, groups=rows.groups, sample_weight=weights)
    found = influence(est, rows.X, rows.y, groups=rows.groups, sample_weight=weights)
    given = {"groups": rows.groups[kept], "sample_weight": rows.weights[kept]}
    est.fit(rows.X[kept], rows.y[kept], **given)
    expected = influence(est, rows.X[kept], rows.y[kept], **given)
    pd.testing.assert_frame_equal(found.rows, expected.rows, rtol=1e-8)
    pd.testing.assert_frame_equal(found.dfbeta, expected.dfbeta, rtol=1e-7)
