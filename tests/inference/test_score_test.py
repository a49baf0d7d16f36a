"""Score tests: R, statsmodels, a literal twin with a matrix for every cluster, closed forms, invariances, refusals."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLogit
from skdep.datasets import load_epil, load_ohio
from skdep.exceptions import ConvergenceWarning, SeparationWarning
from skdep.inference import ScoreTest, score_test, wald_test

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "gee_criteria.json").read_text())
STRUCTURES = {"ind": "independence", "exch": "exchangeable", "ar1": "ar1", "unstr": "unstructured"}


# ------------------------------------------------------------------------------------------------ peers


def study(key: str) -> SimpleNamespace:
    """Return a data set of the reference results; names are R's."""
    if key == "ohio":
        ohio = load_ohio()
        return SimpleNamespace(X=ohio.data, y=ohio.target, groups=ohio.groups, time=ohio.time, family="binomial")
    if key == "epil":
        frame = load_epil().frame
        X = pd.DataFrame({"log(base/4)": np.log(frame["base"] / 4)})
        X = X.assign(trtprogabide=1.0 * (frame["trt"] == "progabide")).assign(**{"log(age)": np.log(frame["age"])})
        return SimpleNamespace(X=X, y=frame["y"], groups=frame["subject"], time=frame["period"], family="poisson")
    frame = pd.read_csv(REFERENCE / "data" / "sim_waves.csv")
    return SimpleNamespace(X=frame[["g", "x"]], y=frame["y"], groups=frame["id"], time=frame["time"], family="binomial")


@pytest.mark.parametrize("name", [name for name in R if name.startswith("score_")])
def test_against_geepack_and_matrices(name):
    _, key, structure = name.split("_")
    data, entry = study(key), R[name]
    est = GEERegressor(data.family, working_correlation=STRUCTURES[structure], dof="n", tol=1e-11)
    given = {"groups": data.groups, "time": data.time}
    robust = score_test(est, entry["tested"], data.X, data.y, **given)
    assert robust.statistic == pytest.approx(entry["robust"], rel=1e-7)
    naive = score_test(est, entry["tested"], data.X, data.y, cov_type="naive", **given)
    assert naive.statistic == pytest.approx(entry["naive"], rel=1e-7)
    restricted = [value for name, value in robust.restricted.items() if name not in entry["tested"]]
    assert_allclose(restricted, list(entry["restricted"].values()), rtol=1e-7)
    assert all(abs(robust.restricted[name]) < 1e-12 for name in entry["tested"])


@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
def test_against_statsmodels(structure):
    ohio = load_ohio()
    X = sm.add_constant(ohio.data)
    peer = getattr(sm.cov_struct, structure.capitalize())
    arguments = {"groups": ohio.groups, "family": sm.families.Binomial()}
    full = sm.GEE(ohio.target, X, cov_struct=peer(), **arguments)
    reduced = sm.GEE(ohio.target, X[["const", "smoke"]], cov_struct=peer(), **arguments)
    expected = full.compare_score_test(reduced.fit(scale="X2", ctol=1e-8))
    found = score_test(GEEClassifier(working_correlation=structure), "age", ohio.data, ohio.target, groups=ohio.groups)
    assert found.statistic == pytest.approx(float(expected["statistic"]), rel=1e-6)
    assert found.p_value == pytest.approx(float(expected["p-value"]), rel=1e-5)


def test_rao_of_r():
    frame = load_ohio().frame
    X = frame[["age", "smoke"]].assign(both=frame["age"] * frame["smoke"])
    found = score_test(LogitRegressor(), ["smoke", "both"], X, frame["resp"])
    assert (found.kind, found.df) == ("naive", R["rao_ohio"]["df"])
    assert found.statistic == pytest.approx(R["rao_ohio"]["statistic"], rel=1e-7)
    assert found.p_value == pytest.approx(R["rao_ohio"]["p_value"], rel=1e-7)


# ------------------------------------------------------------------------------------------------ closed forms


def test_trend_is_cochran_armitage():
    ohio = load_ohio()
    found = score_test(LogitRegressor(), "age", ohio.data[["age"]], ohio.target)
    assert found.statistic == pytest.approx(R["trend_ohio"]["statistic"], rel=1e-10)
    assert found.p_value == pytest.approx(R["trend_ohio"]["p_value"], rel=1e-9)
    x, y = ohio.data["age"].to_numpy(float), ohio.target.to_numpy(float)
    by_hand = ((x - x.mean()) @ y) ** 2 / (y.mean() * (1 - y.mean()) * np.sum((x - x.mean()) ** 2))
    assert found.statistic == pytest.approx(by_hand, rel=1e-10)


def test_indicators_are_pearson():
    ohio = load_ohio()
    X = pd.get_dummies(ohio.data["age"], prefix="age", drop_first=True, dtype=float)
    found = score_test(LogitRegressor(), list(X), X, ohio.target)
    expected = R["pearson_ohio_age"]
    assert (found.statistic, found.df) == (pytest.approx(expected["statistic"], rel=1e-10), expected["df"])
    two_by_two = score_test(LogitRegressor(), "smoke", ohio.data[["smoke"]], ohio.target)
    table = pd.crosstab(ohio.data["smoke"], ohio.target)
    assert two_by_two.statistic == pytest.approx(stats.chi2_contingency(table, correction=False)[0], rel=1e-10)


def test_naive_gaussian_is_the_ratio_of_sums_of_squares(rows):
    est = GEERegressor(cov_type="naive")
    found = score_test(est, ["b", "c"], rows.X, rows.y)
    full = np.sum((rows.y - LinearRegression().fit(rows.X, rows.y).predict(rows.X)) ** 2)
    reduced = np.sum((rows.y - LinearRegression().fit(rows.X[["a"]], rows.y).predict(rows.X[["a"]])) ** 2)
    assert found.statistic == pytest.approx((reduced - full) / (reduced / (len(rows.y) - 2)), rel=1e-10)


def test_mean_of_one_sample(rows):
    """Nothing is free under the hypothesis: T = (sum u)^2 / sum u^2."""
    est = GEERegressor()
    X = np.ones((len(rows.y), 1))
    totals = pd.Series(rows.y - 0.2).groupby(rows.groups).sum().to_numpy()
    found = score_test(GEERegressor(fit_intercept=False), "x0", X, rows.y, 0.2, groups=rows.groups)
    assert found.statistic == pytest.approx(totals.sum() ** 2 / np.sum(totals**2), rel=1e-12)
    assert found.restricted == {"x0": pytest.approx(0.2)}
    corrected = score_test(
        GEERegressor(fit_intercept=False), "x0", X, rows.y, 0.2, groups=rows.groups, small_sample=True
    )
    K = len(totals)
    assert corrected.statistic == pytest.approx(found.statistic * K / (K - 1), rel=1e-12)
    assert not hasattr(est, "coef_")


# ------------------------------------------------------------------------------------------------ a literal twin


def make_rows(seed=0, n_clusters=24):
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([[6], rng.integers(1, 7, n_clusters - 1)])
    groups = np.repeat(np.arange(n_clusters), sizes)
    n = len(groups)
    time = np.concatenate([np.sort(rng.choice(9, size, replace=False)) for size in sizes]).astype(float)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    eta = 0.2 + X.to_numpy() @ [0.5, -0.3, 0.2] + rng.normal(scale=0.6, size=n_clusters)[groups]
    order = rng.permutation(n)
    return SimpleNamespace(
        X=X.iloc[order].reset_index(drop=True),
        y=(eta + rng.normal(size=n))[order],
        counts=rng.poisson(np.exp(0.4 * eta))[order].astype(float),
        binary=(rng.uniform(size=n) < 1 / (1 + np.exp(-eta)))[order].astype(int),
        groups=groups[order],
        time=time[order],
        offset=rng.normal(scale=0.3, size=n)[order],
        weights=rng.uniform(0.3, 3.0, n)[order],
        repeats=rng.integers(1, 4, n_clusters).astype(float)[groups][order],
        strata=(groups % 3)[order],
    )


@pytest.fixture(scope="module")
def rows():
    return make_rows()


LINKS = {
    "gaussian": (lambda eta: eta, lambda mu: np.ones_like(mu), lambda mu: np.ones_like(mu)),
    "poisson": (np.exp, lambda mu: mu, lambda mu: mu),
    "binomial": (lambda eta: 1 / (1 + np.exp(-eta)), lambda mu: mu * (1 - mu), lambda mu: mu * (1 - mu)),
}


def twin(X, y, groups, b, contrasts, *, family, structure, offset=0.0, weights=None, counts=None, time=None, free):
    """Return the naive and the robust statistic, the score in free directions, and scores; all by matrices."""
    D0 = np.column_stack([np.ones(len(y)), X])
    weights = np.ones(len(y)) if weights is None else weights / weights.mean()
    counts = np.ones(len(y)) if counts is None else counts
    inverse, slope, variance = LINKS[family]
    mu = inverse(D0 @ b + offset)
    e = np.sqrt(weights) * (y - mu) / np.sqrt(variance(mu))
    p0 = D0.shape[1] - len(contrasts)
    phi = np.sum(counts * e**2) / (counts.sum() - p0)
    pairs = [(j, k) for label in np.unique(groups) for j in np.flatnonzero(groups == label)
             for k in np.flatnonzero(groups == label) if j < k]  # fmt: skip
    if structure == "exchangeable":
        total = sum(counts[j] for j, _ in pairs) - p0
        alpha = sum(counts[j] * e[j] * e[k] for j, k in pairs) / phi / total
    B, scores = 0.0, []
    for label in np.unique(groups):
        at = np.flatnonzero(groups == label)
        R = np.full((len(at), len(at)), alpha if structure == "exchangeable" else 0.0)
        np.fill_diagonal(R, 1.0)
        root = np.diag(np.sqrt(variance(mu[at]) / weights[at]))
        V = phi * root @ R @ root
        D = D0[at] * slope(mu[at])[:, None]
        B = B + counts[at[0]] * D.T @ np.linalg.solve(V, D)
        scores.append(np.append(D.T @ np.linalg.solve(V, y[at] - mu[at]), counts[at[0]]))
    scores = np.array(scores)
    repeats, scores = scores[:, -1], scores[:, :-1]
    U, M = repeats @ scores, (scores * repeats[:, None]).T @ scores
    L = contrasts @ np.linalg.inv(B)
    s = L @ U
    naive = s @ np.linalg.solve(L @ B @ L.T, s)
    robust = s @ np.linalg.solve(L @ M @ L.T, s)
    return SimpleNamespace(naive=naive, robust=robust, rest=free.T @ U, L=L, s=s, scores=scores)


CONTRASTS = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 2.0, -1.0]])
FREE = np.array([[1.0, 0, 0, 0], [0.0, 1, -1, -2]]).T
VALUES = np.array([0.3, -0.2])


@pytest.mark.parametrize("family", sorted(LINKS))
@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
@pytest.mark.parametrize("extra", ["plain", "offset", "weights", "frequencies"])
def test_against_the_twin(rows, family, structure, extra):
    y = {"gaussian": rows.y, "poisson": rows.counts, "binomial": rows.binary.astype(float)}[family]
    est = GEERegressor(family, working_correlation=structure, tol=1e-12)
    given, told = {"groups": rows.groups}, {}
    if extra == "offset":
        given["offset"] = told["offset"] = rows.offset
    elif extra == "weights":
        given["sample_weight"] = told["weights"] = rows.weights
    elif extra == "frequencies":
        given["sample_weight"] = told["counts"] = rows.repeats
        est.set_params(weight_type="frequency")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {kind: score_test(est, CONTRASTS, rows.X, y, VALUES, cov_type=kind, **given) for kind in
                 ("naive", "robust")}  # fmt: skip
    b = np.array(list(found["robust"].restricted.values()))
    assert_allclose(CONTRASTS @ b, VALUES, atol=1e-12)
    expected = twin(
        rows.X.to_numpy(), y, rows.groups, b, CONTRASTS, family=family, structure=structure, free=FREE, **told
    )
    assert_allclose(expected.rest, 0.0, atol=1e-6)  # the fit is the restricted one
    assert found["naive"].statistic == pytest.approx(expected.naive, rel=1e-7)
    assert found["robust"].statistic == pytest.approx(expected.robust, rel=1e-7)
    assert found["robust"].df == 2
    assert found["robust"].p_value == pytest.approx(stats.chi2.sf(expected.robust, 2), rel=1e-6)


def test_design(rows):
    """Scores of units are centred within strata; F with units less strata plus one less coefficients."""
    est = LogitRegressor(weight_type="sampling")
    given = {"groups": rows.groups, "sample_weight": rows.weights, "strata": rows.strata}
    found = score_test(est, CONTRASTS, rows.X, rows.binary, VALUES, **given)
    b = np.array(list(found.restricted.values()))
    weights = rows.weights / rows.weights.mean()
    D = np.column_stack([np.ones(len(rows.y)), rows.X])
    mu = 1 / (1 + np.exp(-D @ b))
    row_scores = (weights * (rows.binary - mu))[:, None] * D
    units = np.unique(rows.groups)
    totals = np.array([row_scores[rows.groups == unit].sum(axis=0) for unit in units])
    meat = 0.0
    for stratum in np.unique(units % 3):
        part = totals[units % 3 == stratum]
        part = part - part.mean(axis=0)
        meat = meat + len(part) / (len(part) - 1) * part.T @ part
    L = CONTRASTS @ np.linalg.inv((D * (weights * mu * (1 - mu))[:, None]).T @ D)
    s = L @ totals.sum(axis=0)
    F = s @ np.linalg.solve(L @ meat @ L.T, s) / 2
    assert found.kind == "design"
    assert found.df_denominator == 24 - 3 + 1 - 4
    assert found.statistic == pytest.approx(F, rel=1e-7)
    assert found.p_value == pytest.approx(stats.f.sf(F, 2, 18), rel=1e-6)
    gee = GEEClassifier()
    for cov_type in (None, "design"):
        same = score_test(gee, CONTRASTS, rows.X, rows.binary, VALUES, cov_type=cov_type, **given)
        assert (same.kind, same.statistic) == ("design", pytest.approx(F, rel=1e-7))


def test_stages_and_finite_populations(rows):
    """A second stage adds variance; a tenth of all units drawn takes a tenth off."""
    stages = np.column_stack([rows.groups, np.arange(len(rows.y))])
    populations = np.column_stack([np.full(len(rows.y), 240.0), np.full(len(rows.y), 50.0)])
    est = LogitRegressor(weight_type="sampling", lonely_psu="remove")
    arguments = {"sample_weight": rows.weights}
    two = score_test(est, "a", rows.X, rows.binary, groups=stages, fpc=populations, **arguments)
    one = score_test(est, "a", rows.X, rows.binary, groups=rows.groups, fpc=populations[:, 0], **arguments)
    endless = score_test(est, "a", rows.X, rows.binary, groups=rows.groups, **arguments)
    assert two.statistic < one.statistic
    assert one.statistic == pytest.approx(endless.statistic / 0.9, rel=1e-10)
    assert score_test(est, "a", rows.X, rows.binary, groups=stages, **arguments).statistic == endless.statistic


# ------------------------------------------------------------------------------------------------ invariances


@pytest.mark.parametrize("structure", ["exchangeable", "ar1"])
def test_does_not_depend_on_row_order_units_or_parametrisation(rows, structure):
    est = GEERegressor("poisson", working_correlation=structure, tol=1e-11)
    given = {"groups": rows.groups, "time": rows.time}
    expected = score_test(est, ["b", "c"], rows.X, rows.counts, **given)
    order = np.random.default_rng(1).permutation(len(rows.y))
    shuffled = score_test(
        est, ["b", "c"], rows.X.iloc[order], rows.counts[order], groups=rows.groups[order], time=rows.time[order]
    )
    assert shuffled.statistic == pytest.approx(expected.statistic, rel=1e-8)
    other = pd.DataFrame(
        {"a": 1000.0 + 7.0 * rows.X["a"], "b": rows.X["b"] + rows.X["c"] + rows.X["a"], "c": 1e-5 * rows.X["c"]}
    )
    for cov_type in ("robust", "naive"):
        expected = score_test(est, ["b", "c"], rows.X, rows.counts, cov_type=cov_type, **given)
        found = score_test(est, ["b", "c"], other, rows.counts, cov_type=cov_type, **given)
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-6)


def test_frequencies_are_repetitions(rows):
    repeated = np.repeat(np.arange(len(rows.y)), rows.repeats.astype(int))
    copy = np.concatenate([np.arange(int(n)) for n in rows.repeats])
    est = GEERegressor(working_correlation="exchangeable", weight_type="frequency")
    found = score_test(est, "b", rows.X, rows.y, groups=rows.groups, sample_weight=rows.repeats, small_sample=True)
    expected = score_test(
        est,
        "b",
        rows.X.iloc[repeated],
        rows.y[repeated],
        groups=rows.groups[repeated] * 10 + copy,
        small_sample=True,
    )
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    for cov_type in ("model", "hc0"):
        logit = LogitRegressor(cov_type=cov_type)
        found = score_test(logit, "b", rows.X, rows.binary, sample_weight=rows.repeats)
        expected = score_test(logit, "b", rows.X.iloc[repeated], rows.binary[repeated])
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    logit = LogitRegressor()
    found = score_test(logit, "b", rows.X, rows.binary, groups=rows.groups, sample_weight=rows.repeats)
    expected = score_test(logit, "b", rows.X.iloc[repeated], rows.binary[repeated], groups=rows.groups[repeated])
    assert (found.kind, found.statistic) == ("robust", pytest.approx(expected.statistic, rel=1e-9))


def test_scale_of_sampling_weights_and_rows_of_weight_zero(rows):
    est = GEEClassifier(working_correlation="independence")
    kept = rows.weights > 0.6
    given = {"groups": rows.groups, "sample_weight": np.where(kept, rows.weights, 0.0)}
    zeros = score_test(est, "b", rows.X, rows.binary, **given)
    scaled = score_test(est, "b", rows.X, rows.binary, **{**given, "sample_weight": 1e4 * given["sample_weight"]})
    dropped = score_test(
        est, "b", rows.X[kept], rows.binary[kept], groups=rows.groups[kept], sample_weight=rows.weights[kept]
    )
    assert scaled.statistic == pytest.approx(zeros.statistic, rel=1e-9)
    assert dropped.statistic == pytest.approx(zeros.statistic, rel=1e-9)


def test_logit_is_the_independent_gee(rows):
    logit = score_test(LogitRegressor(), ["a", "b"], rows.X, rows.binary, groups=rows.groups)
    gee = score_test(GEEClassifier(), ["a", "b"], rows.X, rows.binary, groups=rows.groups)
    assert logit.statistic == pytest.approx(gee.statistic, rel=1e-9)
    naive = score_test(GEEClassifier(scale=1.0), ["a", "b"], rows.X, rows.binary, cov_type="naive")
    assert score_test(LogitRegressor(), ["a", "b"], rows.X, rows.binary).statistic == pytest.approx(naive.statistic)


def test_near_the_wald_test_in_large_samples():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(20_000, 2))
    groups = np.arange(20_000) // 4
    eta = 0.03 * X[:, 0] + rng.normal(scale=0.5, size=5000)[groups]
    y = (rng.uniform(size=20_000) < 1 / (1 + np.exp(-eta))).astype(int)
    est = GEEClassifier(working_correlation="exchangeable").fit(X, y, groups=groups)
    score = score_test(est, ["x0", "x1"], X, y, groups=groups)
    assert score.statistic == pytest.approx(wald_test(est, ["x0", "x1"]).statistic, rel=0.02)


def test_of_pipelines_searches_and_fitted_estimators(rows):
    plain = score_test(LogitRegressor(), ["a", "b"], rows.X, rows.binary)
    pipe = make_pipeline(StandardScaler(), LogitRegressor())
    assert score_test(pipe, ["a", "b"], rows.X, rows.binary).statistic == pytest.approx(plain.statistic, rel=1e-8)
    search = GridSearchCV(pipe, {"logitregressor__fit_intercept": [True]}, cv=2).fit(rows.X, rows.binary)
    assert score_test(search, ["a", "b"], rows.X, rows.binary).statistic == pytest.approx(plain.statistic, rel=1e-8)
    fit = LogitRegressor().fit(rows.X[["a"]], rows.binary)
    before = fit.coef_.copy()
    assert score_test(fit, ["a", "b"], rows.X, rows.binary).statistic == pytest.approx(plain.statistic, rel=1e-12)
    assert_allclose(fit.coef_, before, rtol=0)
    array = score_test(LogitRegressor(), ["x0", "x1"], rows.X.to_numpy(), rows.binary)
    assert array.statistic == pytest.approx(plain.statistic, rel=1e-12)


def test_exists_where_estimates_are_infinite(rows):
    """A feature that separates outcomes has an infinite estimate, and a score."""
    X = pd.DataFrame({"a": rows.X["a"], "s": rows.binary * 1.0})
    with pytest.warns(SeparationWarning):
        LogitRegressor().fit(X, rows.binary)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_test(LogitRegressor(), "s", X, rows.binary)
    assert 20.0 < found.statistic < len(rows.y)
    with pytest.warns(SeparationWarning):
        score_test(LogitRegressor(), "a", X, rows.binary)


# ------------------------------------------------------------------------------------------------ refusals, printing


def test_refusals(rows):
    X, y, groups = rows.X, rows.binary, rows.groups
    est = GEEClassifier()
    with pytest.raises(ValueError, match=r"unknown parameters \['d'\]"):
        score_test(est, "d", X, y)
    with pytest.raises(ValueError, match="linearly dependent"):
        score_test(est, [[0, 1, 0, 0], [0, 2, 0, 0]], X, y)
    with pytest.raises(ValueError, match="not estimable"):
        score_test(est, "twice", X.assign(twice=2 * X["a"]), y)
    with pytest.raises(ValueError, match="too few clusters"):
        score_test(est, ["a", "b", "c"], X, y, groups=groups % 2)
    with pytest.raises(ValueError, match="penalty='l2' changes them"):
        score_test(LogitRegressor(penalty="l2"), "a", X, y)
    with pytest.raises(TypeError, match="score_test is for GEERegressor, GEEClassifier and LogitRegressor, got Mixed"):
        score_test(MixedLogit(), "a", X, y)
    with pytest.raises(ValueError, match="small_sample=True corrects the robust test"):
        score_test(est, "a", X, y, cov_type="naive", small_sample=True)
    with pytest.raises(ValueError, match="must be 'robust', 'naive' or 'design', got 'hc7'"):
        score_test(est, "a", X, y, cov_type="hc7")
    with pytest.raises(ValueError, match="set weight_type='sampling'"):
        score_test(LogitRegressor(), "a", X, y, cov_type="design")
    with pytest.raises(ValueError, match="several ways of clustering"):
        score_test(LogitRegressor(), "a", X, y, groups=np.column_stack([groups, groups % 5]))
    with pytest.raises(ValueError, match="2 labels"):
        score_test(est, "a", X, y, groups=[1, 2])


def test_collinear_features_that_are_not_tested(rows):
    expected = score_test(GEEClassifier(), "b", rows.X[["a", "b"]], rows.binary, groups=rows.groups)
    X = rows.X[["a", "b"]].assign(twice=2 * rows.X["a"])
    found = score_test(GEEClassifier(), "b", X, rows.binary, groups=rows.groups)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-8)


def test_restricted_fit_that_does_not_converge(rows):
    with pytest.warns(ConvergenceWarning, match="GEERegressor under the hypothesis did not converge"):
        score_test(GEERegressor("poisson", max_iter=2), "a", rows.X, rows.counts)


def test_printing():
    found = ScoreTest(5.43219, 2, np.inf, 0.0661, "robust", {"Intercept": 0.1})
    assert str(found) == "Score test (robust): 5.4322 on chi2(2), p = 0.0661"
    assert found.to_frame().loc["Score test (robust)", "df"] == 2
    assert "<table" in found._repr_html_()
    assert ScoreTest(2.5, 2, 18.0, 0.1, "design", {}).distribution == "F(2, 18)"
