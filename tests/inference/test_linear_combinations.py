"""Linear combinations and covariances: R's glht, contest1D, svycontrast; closed forms, invariances, refusals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep.datasets
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio, load_orthodont
from skdep.exceptions import CollinearityWarning
from skdep.inference import coef_table, covariance, linear_combinations, odds_ratios, wald_test
from tests.conftest import REFERENCE

REFERENCE_OF = json.loads((REFERENCE / "estimands.json").read_text())
OHIO = load_ohio()
X, Y, CHILD = OHIO.data, OHIO.target, OHIO.groups
NAMES = ["logit", "gee", "count", "linear", "mixed", "pipeline"]
TESTS = ["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]


@cache
def logit():
    return LogitRegressor(tol=1e-12).fit(X, Y, groups=CHILD)


@cache
def growth():
    """Growth of jaws, every fifth measurement missing."""
    jaws = load_orthodont()
    rows = pd.DataFrame({"age": jaws.data["age"], "girl": (jaws.data["Sex"] == "Female") * 1.0})
    rows["age_girl"] = rows["age"] * rows["girl"]
    kept = (np.arange(len(rows)) + 1) % 5 != 0
    return MixedLinear(random_slopes=["age"], tol=1e-12).fit(rows[kept], jaws.target[kept], groups=jaws.groups[kept])


@cache
def fits():
    few = CHILD % 7 == 0
    rows, y, groups = X[few], Y[few], CHILD[few]
    return {
        "logit": logit(),
        "gee": GEEClassifier(working_correlation="exchangeable").fit(rows, y, groups=groups),
        "count": GEERegressor("poisson").fit(rows, y.astype(float), groups=groups),
        "linear": growth(),
        "mixed": MixedLogit().fit(rows, y, groups=groups),
        "pipeline": make_pipeline(StandardScaler(), LogitRegressor()).fit(rows, y, logitregressor__groups=groups),
    }


# ------------------------------------------------------------------------------------------------------- against R


def test_against_glht():
    expected = REFERENCE_OF["logit_combinations"]
    L = pd.DataFrame(expected["L"], columns=["Intercept", "age", "smoke"], index=["a", "b", "c"])
    for given in (L.to_numpy(), L, L.T.to_dict(), {name: row.to_numpy() for name, row in L.iterrows()}):
        table = linear_combinations(logit(), given, expected["r"], cov_type="model")
        for column in TESTS:
            assert_allclose(table[column], expected[column], rtol=1e-6)
        assert np.isinf(table["df"]).all()
    assert list(linear_combinations(logit(), L).index) == ["a", "b", "c"]


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_against_contests_of_lmertest(df):
    """Each combination has degrees of freedom of its own."""
    expected = REFERENCE_OF["growth_combinations"]
    table = linear_combinations(growth(), expected["M"], df=df)
    assert_allclose(table["estimate"], expected[df]["estimate"], rtol=1e-7)
    assert_allclose(table["std_error"], expected[df]["std_error"], rtol=1e-6)
    assert_allclose(table["df"], expected[df]["df"], rtol=1e-4)
    for column in ("statistic", "p_value", "conf_low", "conf_high"):
        assert_allclose(table[column], expected[df][column], rtol=1e-4)


def test_against_svycontrast():
    schools = pd.read_csv(Path(skdep.datasets.__file__).parent / "data" / "apistrat.csv")
    fit = GEERegressor().fit(
        schools[["ell", "meals", "mobility"]],
        schools["api00"],
        sample_weight=schools["pw"],
        strata=schools["stype"],
        fpc=schools["fpc"],
    )
    weights = {"a": {"ell": 10, "mobility": -1}, "b": {"Intercept": 1, "ell": 20, "meals": 30, "mobility": 15}}
    table = linear_combinations(fit, weights)
    expected = REFERENCE_OF["survey_combinations"]
    assert_allclose(table["estimate"], expected["estimate"], rtol=1e-9)
    assert_allclose(table["std_error"], expected["std_error"], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("name", NAMES)
def test_single_coefficients_are_the_coefficient_table(name):
    fit = fits()[name]
    expected = coef_table(fit)
    names = list(expected.index)
    for given in (names, np.eye(len(names)), {label: {label: 1.0} for label in names}):
        table = linear_combinations(fit, given)
        pd.testing.assert_frame_equal(table.to_frame(), expected.to_frame(), rtol=1e-10)
    assert_allclose(covariance(fit).to_numpy().diagonal(), expected["std_error"] ** 2, rtol=1e-10)
    assert list(covariance(fit).columns) == list(covariance(fit).index) == names


@pytest.mark.parametrize("name", NAMES)
def test_a_combination_is_a_wald_test(name):
    """The square of the t statistic is the Wald statistic of one hypothesis, with the same degrees of freedom."""
    fit = fits()[name]
    weights = np.arange(1.0, 1.0 + len(coef_table(fit)))
    row = linear_combinations(fit, weights, 0.3).iloc[0]
    test = wald_test(fit, weights, 0.3)
    assert row["statistic"] ** 2 == pytest.approx(test.statistic, rel=1e-9)
    assert row["p_value"] == pytest.approx(test.p_value, rel=1e-6)
    assert row["df"] == pytest.approx(test.df_denominator, rel=1e-6)


@pytest.mark.parametrize(
    ("cov_type", "df"), [("hc0", None), ("cluster", "residual"), ("cr2", "satterthwaite"), ("model", 7)]
)
def test_by_hand(cov_type, df):
    weights = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]])
    table = linear_combinations(logit(), weights, cov_type=cov_type, df=df, level=0.9)
    V = covariance(logit(), cov_type).to_numpy()
    se = np.sqrt([w @ V @ w for w in weights])
    b = np.concatenate([logit().intercept_, logit().coef_[0]])
    assert_allclose(table["estimate"], weights @ b, rtol=1e-12)
    assert_allclose(table["std_error"], se, rtol=1e-10)
    freedom = table["df"].to_numpy()
    assert_allclose(table["conf_high"] - table["estimate"], stats.t.ppf(0.95, freedom) * se, rtol=1e-9)
    assert_allclose(table["p_value"], 2 * stats.t.sf(np.abs(weights @ b / se), freedom), rtol=1e-9)
    if df == 7:
        assert (freedom == 7).all()
    if cov_type == "cr2":  # Satterthwaite's, of each combination: not those of the coefficients
        single = coef_table(logit(), cov_type="cr2", df=df)["df"].to_numpy()
        assert np.isfinite(freedom).all() and not np.isin(freedom, single).any()


def test_combinations_do_not_depend_on_units():
    """The difference of two rows is the same whatever the units and the origin of the features."""
    moved = X.assign(age=12.0 * X["age"] + 100.0)
    other = LogitRegressor(tol=1e-12).fit(moved, Y, groups=CHILD)
    table = linear_combinations(logit(), {"a": {"Intercept": 1, "age": -1}})
    again = linear_combinations(other, {"a": {"Intercept": 1, "age": 88.0}})
    assert_allclose(table.to_numpy(), again.to_numpy(), rtol=1e-6)


def test_exponentiated():
    table = linear_combinations(logit(), ["age", "smoke"], exponentiate=True)
    pd.testing.assert_frame_equal(table.to_frame(), odds_ratios(logit()).loc[["age", "smoke"]])
    shifted = linear_combinations(logit(), ["age"], np.log(0.9), exponentiate=True)
    plain = linear_combinations(logit(), ["age"], np.log(0.9))
    assert shifted.loc["age", "p_value"] == plain.loc["age", "p_value"]
    assert shifted.loc["age", "std_error"] == pytest.approx(table.loc["age", "std_error"])


def test_kenward_roger_enlarges_the_covariance():
    enlarged = covariance(growth(), df="kenward-roger")
    assert_allclose(np.sqrt(np.diag(enlarged)), coef_table(growth(), df="kenward-roger")["std_error"], rtol=1e-12)
    assert (np.diag(enlarged) > np.diag(covariance(growth()))).all()
    assert_allclose(covariance(growth(), df="residual"), growth().covariance_, rtol=1e-14)
    assert_allclose(covariance(growth()), growth().covariance_, rtol=1e-12)


# ------------------------------------------------------------------------------------------------------- posterior


def test_of_a_posterior():
    fit = BayesLogit(n_draws=150, random_state=0).fit(X[::5], Y[::5])
    weights = {"sum": {"Intercept": 1.0, "smoke": 1.0}, "age": [0.0, 1.0, 0.0]}
    table = linear_combinations(fit, weights, level=0.8)
    drawn = (fit.draws_["intercept"] + fit.draws_["coef"][..., 1]).ravel()
    row = table.loc["sum"]
    assert row["estimate"] == pytest.approx(drawn.mean()) and row["std_error"] == pytest.approx(drawn.std(ddof=1))
    assert_allclose(row[["conf_low", "conf_high"]].astype(float), np.quantile(drawn, [0.1, 0.9]))
    assert row[["statistic", "df", "p_value"]].isna().all()
    ratio = linear_combinations(fit, weights, exponentiate=True).loc["sum"]
    assert ratio["estimate"] == pytest.approx(np.median(np.exp(drawn)))
    assert_allclose(covariance(fit), fit.covariance_)
    with pytest.raises(ValueError, match="a posterior has no tests"):
        linear_combinations(fit, ["age"], 1.0)
    for asked in ({"cov_type": "model"}, {"df": 5}):
        with pytest.raises(ValueError, match=r"no degrees of freedom|not available"):
            linear_combinations(fit, ["age"], **asked)
        with pytest.raises(ValueError, match=r"no degrees of freedom|not available"):
            covariance(fit, **asked)


# ---------------------------------------------------------------------------------------------------- collinearity


def test_combinations_under_collinearity():
    """Differences of the indicators of all categories are estimable, single ones are not."""
    year = np.arange(len(X)) % 3
    full = pd.DataFrame({f"c{k}": (year == k) * 1.0 for k in range(3)}).assign(smoke=X["smoke"].to_numpy())
    with pytest.warns(CollinearityWarning):
        singular = LogitRegressor(tol=1e-12).fit(full, Y)
    regular = LogitRegressor(tol=1e-12).fit(full[["c1", "c2", "smoke"]], Y)
    weights = {"c1 - c0": {"c1": 1, "c0": -1}, "c2 - c1": {"c2": 1, "c1": -1}, "smoke": {"smoke": 1}}
    table = linear_combinations(singular, weights)
    expected = linear_combinations(
        regular, {"c1 - c0": {"c1": 1}, "c2 - c1": {"c2": 1, "c1": -1}, "smoke": {"smoke": 1}}
    )
    assert_allclose(table.to_numpy(), expected.to_numpy(), rtol=1e-6)
    undetermined = linear_combinations(singular, {"c0": {"c0": 1}, "sum": {"c0": 1, "c1": 1}, "at": {"Intercept": 1}})
    assert undetermined["estimate"].notna().all()
    assert undetermined.drop(columns=["estimate", "df"]).isna().all(axis=None)
    V = covariance(singular)
    assert V.loc["smoke", "smoke"] > 0 and V.drop(columns="smoke").isna().all(axis=None)


# -------------------------------------------------------------------------------------------------- names, refusals


def test_names():
    assert list(linear_combinations(logit(), [[0, 1, -0.5], [0, -1, 1], [0, 0, 0.25]]).index) == [
        "age - 0.5 smoke",
        "-age + smoke",
        "0.25 smoke",
    ]
    assert list(linear_combinations(logit(), [0, 1, 1], names="both").index) == ["both"]
    assert list(linear_combinations(logit(), "age", names=["slope"]).index) == ["slope"]
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 6)))
    fit = GEERegressor().fit(wide.to_numpy(), wide[0] + wide[1])
    assert list(linear_combinations(fit, np.ones((2, 7))).index) == ["combination 1", "combination 2"]


@pytest.mark.parametrize(
    ("given", "options", "problem"),
    [
        ({"a": {"agee": 1}}, {}, r"R\['a'\] names unknown parameters \['agee'\]"),
        (pd.DataFrame({"agee": [1.0]}), {}, "names unknown parameters"),
        (["agee"], {}, "names unknown parameters"),
        ({}, {}, "no combination"),
        ([1.0, 2.0], {}, "one column for each of the 3 parameters"),
        ({"a": [1.0, 2.0]}, {}, "one column for each of the 3 parameters"),
        ([0, np.nan, 1], {}, "missing or infinite"),
        ({"a": {"age": np.nan}}, {}, "missing or infinite"),
        (["age"], {"names": ["a", "b"]}, "2 names for 1 combinations"),
        (["age"], {"r": [1.0, 2.0]}, "one for each of the 1 hypotheses"),
        (["age"], {"cov_type": "kc"}, "not available"),
        (["age"], {"df": -1}, "must be positive"),
        (["age"], {"level": 95}, "between 0 and 1"),
    ],
)
def test_refusals(given, options, problem):
    with pytest.raises(ValueError, match=problem):
        linear_combinations(logit(), given, **options)


def test_without_degrees_of_freedom():
    rng = np.random.default_rng(2)
    rows, clusters = rng.normal(size=(12, 3)), np.arange(12) % 3
    fit = GEERegressor().fit(rows, rng.normal(size=12), groups=clusters)
    with pytest.warns(UserWarning, match="-1 degrees of freedom left"):
        table = linear_combinations(fit, [0, 1, 1, 0], df="residual")
    assert table["std_error"].notna().all() and table["p_value"].isna().all()
    with pytest.raises(ValueError, match="not available for this fit"):
        covariance(fit, "hc3")
