"""Tests of sampling weights against R: published forms by lm and glm, design-based ones by survey's variances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.datasets import load_api, load_nhanes
from skdep.inference._weight_classical import nested_f
from skdep.inference._weight_tests import hotelling
from skdep.inference.weight_diagnostics import weight_diagnostics
from skdep.survey import survey_design

FOLDER = Path(__file__).parents[1] / "reference"
R = json.loads((FOLDER / "weight_tests.json").read_text(encoding="utf-8"))
SIMULATED = pd.read_csv(FOLDER / "data" / "sim_informative.csv")
DESIGN_BASED = (
    "hausman_pfeffermann",
    "dumouchel_duncan",
    "pfeffermann_sverchkov",
    "wu_fuller",
    "weight_association",
)


def api_rows(features=("ell", "meals", "mobility")):
    api = load_api("strat")
    met = (api.frame["sch.wide"] == "Yes").astype(int)
    return api, api.frame[list(features)], met


def agrees(row, expected, rtol=1e-8):
    assert_allclose(row["statistic"], expected["statistic"], rtol=rtol)
    assert row["df"] == expected["df"]
    assert row["df_denominator"] == expected.get("df_denominator", np.inf)
    # a p-value far out in the tail moves by many times what its statistic does
    assert_allclose(row["p_value"], expected["p_value"], rtol=1e3 * rtol)


@pytest.fixture(scope="module", params=["classical_api", "classical_simulated"])
def linear(request):
    """A linear regression with weights."""
    if request.param == "classical_api":
        _, X, _ = api_rows(("ell", "meals"))
        api = load_api("strat")
        return R[request.param], X, np.asarray(api.target, dtype=float), np.asarray(api.sample_weight)
    X = SIMULATED[["x1", "x2"]]
    return R[request.param], X, SIMULATED["linear"].to_numpy(), SIMULATED["w"].to_numpy()


@pytest.mark.parametrize("estimator", [GEERegressor(), MixedLinear()], ids=["gee", "mixed"])
def test_published_forms(linear, estimator):
    expected, X, y, w = linear
    result = weight_diagnostics(estimator, X, y, sample_weight=w, tests="classical", trim=())
    for name, key in {
        "dumouchel-duncan (classical)": "dumouchel_duncan",
        "hausman-pfeffermann (classical)": "hausman_pfeffermann",
        "weight-association (classical)": "weight_association",
        "wu-fuller (classical)": "wu_fuller",
        "pfeffermann-sverchkov (classical)": "estimating_equations",
    }.items():
        agrees(result.tests.loc[name], expected[key])
    assert_allclose(result.kish_deff, expected["kish_deff"], rtol=1e-12)
    assert_allclose(result.effective_size, expected["effective_size"], rtol=1e-12)


def test_further_published_forms_are_nested_regressions(linear):
    expected, X, y, w = linear
    D = np.column_stack([np.ones(len(y)), X])
    squares = D[:, 1:] ** 2
    e = y - D @ np.linalg.lstsq(D, y, rcond=None)[0]
    residuals = np.column_stack([e, e**2, D[:, 1:] * e[:, None]])
    outcomes = np.column_stack([y, y**2])
    quadratic = np.column_stack([D, squares])
    relative = w / (quadratic @ np.linalg.lstsq(quadratic, w, rcond=None)[0])
    for key, response, columns, added in [
        ("ps1", w, D, residuals),
        ("ps1q", w, D, np.column_stack([squares, residuals])),
        ("ps2", w, D, outcomes),
        ("wu_fuller_products", y, D, relative[:, None] * D[:, 1:]),
    ]:
        agrees(vars(nested_f("", "", response, columns, added)), expected[key])


def test_numbers_of_the_school_sample():
    """The figures of the literature for this sample, to the digits given there."""
    _, X, met = api_rows(("ell", "meals"))
    api = load_api("strat")
    y, w = api.target, api.sample_weight
    tests = weight_diagnostics(GEERegressor(), X, y, sample_weight=w, tests="all", trim=()).tests["statistic"]
    assert_allclose(tests["dumouchel-duncan (classical)"], 42.1820862, rtol=1e-8)
    assert_allclose(tests["hausman-pfeffermann (classical)"], 77.7722787, rtol=1e-8)
    # published to differ in the sixth digit from its definition, which R confirms (see above)
    assert_allclose(tests["pfeffermann-sverchkov (classical)"] * 199 / 200, 35.1294123, rtol=2e-6)
    assert_allclose(R["classical_api"]["wu_fuller_products"]["statistic"], 33.6803889, rtol=1e-8)
    assert_allclose(R["classical_api"]["ps1q"]["statistic"], 21.5613814, rtol=1e-8)
    # Hausman and Pfeffermann's chi-square with White's variance is T^2 without centring
    t_squared = tests["hausman-pfeffermann"] * 199 * 3 / 197
    assert_allclose(200 * t_squared / (199 + t_squared), 70.0078686, rtol=1e-8)
    logit = weight_diagnostics(LogitRegressor(), api_rows()[1], met, sample_weight=w, trim=())
    assert_allclose(logit.tests.loc["likelihood-ratio", "statistic"], 34.81374, rtol=1e-6)
    assert logit.tests.loc["likelihood-ratio", "df"] == 4
    assert_allclose(logit.kish_deff, 1.18637098, rtol=1e-8)
    assert_allclose(logit.effective_size, 168.581331, rtol=1e-8)


@pytest.mark.parametrize("key", ["estimating_equations_svytest", "estimating_equations_log_svytest"])
def test_estimating_equations_as_hotelling(linear, key):
    expected, X, y, w = linear
    D = np.column_stack([np.ones(len(y)), X])
    e = y - D @ np.linalg.lstsq(D, y, rcond=None)[0]
    response = np.log(w) if "log" in key else w
    fitted = D @ np.linalg.lstsq(D, response, rcond=None)[0]
    z = (1.0 - w / (np.exp(fitted) if "log" in key else fitted))[:, None] * D * e[:, None]
    test = hotelling("", "", z, z, survey_design(len(y)), np.linalg.norm(z, axis=0))
    assert_allclose(test.statistic * (len(y) - 1) / len(y), expected[key]["statistic"], rtol=1e-8)


@pytest.mark.parametrize(
    ("key", "estimator"),
    [
        ("likelihood_ratio_api", LogitRegressor()),
        ("likelihood_ratio_simulated", LogitRegressor()),
        ("likelihood_ratio_simulated", GEEClassifier()),
    ],
)
def test_likelihood_ratio(key, estimator):
    if key.endswith("api"):
        api, X, y = api_rows()
        w = api.sample_weight
    else:
        X, y, w = SIMULATED[["x1", "x2"]], SIMULATED["binary"], SIMULATED["w"]
    tests = weight_diagnostics(estimator, X, y, sample_weight=w, tests="likelihood-ratio", trim=()).tests
    agrees(tests.loc["likelihood-ratio"], R[key])


def survey_case(key):
    """Return estimator, features, outcome, and weights with their design."""
    if key in ("api_linear", "api_logit"):
        api, X, met = api_rows()
        design = {"sample_weight": api.sample_weight, "strata": api.strata, "fpc": api.fpc}
        return (GEERegressor(), X, api.target, design) if key == "api_linear" else (LogitRegressor(), X, met, design)
    if key in ("api_clusters", "api_stages"):
        frame = load_api("clus2").frame
        X, met = frame[["ell", "meals"]], (frame["sch.wide"] == "Yes").astype(int)
        if key == "api_clusters":
            return GEERegressor(), X, frame["api00"], {"sample_weight": frame["pw"], "groups": frame["dnum"]}
        design = {"groups": frame[["dnum", "snum"]], "fpc": frame[["fpc1", "fpc2"]]}
        return LogitRegressor(), X, met, {"sample_weight": frame["pw"], **design}
    if key == "nhanes":
        frame = load_nhanes().frame.dropna(subset=["HI_CHOL"])
        age = pd.Series(np.unique(frame["agecat"].astype(str), return_inverse=True)[1] + 1.0, index=frame.index)
        X = frame[["race", "RIAGENDR"]].astype(float)
        X.insert(1, "age", age)
        design = {"groups": frame["SDMVPSU"], "strata": frame["SDMVSTRA"], "sample_weight": frame["WTMEC2YR"]}
        return LogitRegressor(), X, frame["HI_CHOL"], design
    X, w = SIMULATED[["x1", "x2"]], SIMULATED["w"]
    design = {"sample_weight": w, "groups": SIMULATED["psu"], "strata": SIMULATED["stratum"]}
    if key == "simulated_offset":
        return GEERegressor("poisson"), X, SIMULATED["count"], {**design, "offset": SIMULATED["off"]}
    design["fpc"] = SIMULATED["fpc"]
    outcome = key.split("_")[1]
    families = {"linear": "gaussian", "binary": "binomial", "count": "poisson"}
    return GEERegressor(families[outcome]), X, SIMULATED[outcome], design


@pytest.mark.parametrize(
    "key",
    [
        "api_linear",
        "api_logit",
        "api_clusters",
        "api_stages",
        "simulated_linear",
        "simulated_binary",
        "simulated_count",
        "simulated_offset",
        "nhanes",
    ],
)
def test_design_based_forms(key):
    estimator, X, y, design = survey_case(key)
    expected = R[key]
    names = [*(name.replace("_", "-") for name in DESIGN_BASED), "dumouchel-duncan (wald)"]
    result = weight_diagnostics(estimator, X, y, tests=names, trim=(), **design)
    table = result.to_frame()
    for column in ("unweighted", "weighted"):
        assert_allclose(table[column], list(expected[column].values()), rtol=1e-7)
        assert_allclose(table[f"se_{column}"], expected[f"se_{column}"], rtol=1e-7)
    assert_allclose(table["p_value"], expected["p_single"], rtol=1e-6)
    assert result.design.degf == expected["degf"]
    for name in DESIGN_BASED:
        agrees(result.tests.loc[name.replace("_", "-")], expected[name], rtol=1e-7)
    wald, k = expected["dumouchel_duncan_wald"]["wald"], expected["dumouchel_duncan_wald"]["df"]
    freedom = result.design.degf
    row = result.tests.loc["dumouchel-duncan (wald)"]
    assert_allclose(row["statistic"], wald * (freedom - k + 1) / (freedom * k), rtol=1e-6)
    assert (row["df"], row["df_denominator"]) == (k, freedom - k + 1)
