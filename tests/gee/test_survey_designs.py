"""GEE under survey designs: R's svyglm of every family, domains, lonely units; and what cannot be had."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context

import skdep.gee.rows
from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.datasets import load_api
from skdep.exceptions import WeightWarning
from skdep.inference import coef_table

from .dense_covariances import dense_clusters

ROOT = Path(__file__).parents[2]
R = json.loads((ROOT / "tests" / "reference" / "gee_small_sample.json").read_text())
ENTRIES = [name for name in R if name.startswith("survey_")]
FAMILIES = {"gaussian": "gaussian", "quasipoisson": "poisson", "Gamma": "gamma", "quasibinomial": "binomial"}
SMALL_SAMPLE_TYPES = ("df", "md", "kc", "fg", "mbn", "pan", "jackknife")


def api(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "skdep" / "datasets" / "data" / f"{name}.csv")


def fit_entry(entry, **params) -> GEERegressor:
    """Fit the model of an entry; rows outside its domain, or without an outcome, have weight zero."""
    lonely = "stratum" in entry["design"]
    frame = api("apistrat" if lonely else re.search(r"data = (\w+)", entry["design"])[1])
    response, features = entry["formula"].split(" ~ ")
    y = 1.0 * (frame["sch.wide"] == "Yes") if response.startswith("I(") else frame[response]
    weights = frame["pw"].copy()
    if domain := re.search(r"\), (.*)\)$", entry["design"]):
        column, operator, value = domain[1].split()
        equal = frame[column] == value.strip("'")
        weights[~equal if operator == "==" else equal] = 0.0
    weights[y.isna()] = 0.0
    design = {}
    if units := re.search(r"id = ~(\w+)( \+ (\w+))?", entry["design"]):
        design["groups"] = None if units[1] == "1" else frame[[name for name in (units[1], units[3]) if name]]
    if "strata" in entry["design"]:
        design["strata"] = frame["stype"].mask(pd.Series(frame.index == 6) & lonely, "lonely")
    if populations := re.search(r"fpc = ~(\w+)( \+ (\w+))?", entry["design"]):
        design["fpc"] = frame[[name for name in (populations[1], populations[3]) if name]]
    est = GEERegressor(FAMILIES[entry["family"]], link=entry["link"], **params)
    return est.fit(frame[features.split(" + ")], y.fillna(1.0), sample_weight=weights, **design)


# ------------------------------------------------------------------------------------------------ R


@pytest.mark.parametrize("name", ENTRIES)
def test_svyglm(name):
    entry = R[name]
    lonely = {"lonely_psu": name.removeprefix("survey_lonely_")} if "lonely" in name else {}
    est = fit_entry(entry, **lonely)
    np.testing.assert_allclose([est.intercept_, *est.coef_], list(entry["coef"].values()), rtol=1e-7)
    given = "strata" in entry["design"] or "fpc" in entry["design"]
    for kind in ("design", "robust") if given else ("design",):
        table = coef_table(est, cov_type=kind)
        np.testing.assert_allclose(table["std_error"], entry["se"], rtol=1e-7)
        assert (table["df"] == entry["df"]).all()
        assert (coef_table(est, cov_type=kind, df="residual")["df"] == entry["df"]).all()
    found = est._inference.covariance("design")
    np.testing.assert_allclose(found, entry["cov"], rtol=1e-6, atol=1e-7 * np.min(np.diag(found)))
    if given and not est._inference.design.n_stages > 1 and "NA" not in entry.get("note", ""):
        p = len(entry["coef"])
        assert est._inference.design.degf == entry["df"] - 1 + p


def test_printed_numbers_of_the_api_surveys():
    """Numbers of R as it prints them: linear models of api00 on ell, meals and mobility."""
    for name, expected in (
        ("strat", [10.077735950, 0.391973403, 0.283946506, 0.393218362]),
        ("clus1", [21.389971265, 0.324003945, 0.278083043, 0.444918419]),
    ):
        table = coef_table(fit_entry(R[f"survey_{name}_linear"]), cov_type="design")
        np.testing.assert_allclose(table["std_error"], expected, atol=2e-9)


def test_every_entry_has_a_design():
    assert len(ENTRIES) == 39


# ------------------------------------------------------------------------------------------------ other truths


def survey(seed=0):
    """Return a stratified sample of clusters whose numbers restart in every stratum, in random order."""
    rng = np.random.default_rng(seed)
    n_clusters = np.array([4, 6, 8])
    strata = np.repeat(np.repeat(["a", "b", "c"], n_clusters), 5)
    unit = np.repeat(np.concatenate([np.arange(n) for n in n_clusters]), 5)
    n = len(unit)
    cluster = np.repeat(np.arange(18), 5)
    X = np.column_stack([rng.normal(size=n), rng.normal(size=18)[cluster]])
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-X @ [0.5, -0.5] - rng.normal(size=18)[cluster]))).astype(float)
    order = rng.permutation(n)
    return pd.DataFrame(
        {"x": X[order, 0], "z": X[order, 1], "y": y[order], "stratum": strata[order], "unit": unit[order],
         "cluster": cluster[order], "weight": rng.uniform(1.0, 5.0, 18)[cluster][order],
         "population": pd.Series(strata).map({"a": 10, "b": 20, "c": 400}).to_numpy()[order]}
    )  # fmt: skip


def fit(est, data, groups="unit", *, finite=True, **metadata):
    given = {"groups": data[groups], "sample_weight": data["weight"], "strata": data["stratum"]}
    if finite:
        given["fpc"] = data["population"]
    return est.fit(data[["x", "z"]], data["y"], **{**given, **metadata})


def test_units_are_nested_in_strata():
    data = survey()
    for structure in ("independence", "exchangeable"):
        one = fit(GEEClassifier(working_correlation=structure), data)
        other = fit(GEEClassifier(working_correlation=structure), data, groups="cluster")
        assert one.n_clusters_ == other.n_clusters_ == 18
        np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-10)
        np.testing.assert_allclose(one.covariance_, other.covariance_, rtol=1e-10)
        assert one._inference.design.degf == 15
        assert "18 units in 3 strata, finite populations; 15 degrees of freedom" in str(one.summary())


@pytest.mark.parametrize("structure", ["exchangeable", "ar1", "unstructured"])
def test_variance_of_correlated_clusters(structure):
    """From the definition: scores of clusters, which the working correlation mixes, as totals of sampling units."""
    data = survey(1)
    time = data.groupby("cluster").cumcount()
    est = fit(GEEClassifier(working_correlation=structure), data, time=time)
    plain = GEEClassifier(working_correlation=structure)
    plain.fit(data[["x", "z"]], data["y"], groups=data["cluster"], sample_weight=data["weight"], time=time)
    np.testing.assert_allclose(est.coef_, plain.coef_, rtol=1e-10)
    clusters = dense_clusters(
        np.column_stack([np.ones(len(data)), data[["x", "z"]]]), data["y"].to_numpy(), data["cluster"].to_numpy(),
        beta=np.concatenate([est.intercept_, est.coef_[0]]), scale=est.scale_, alpha=est.association_,
        family="binomial", link="logit", structure=structure, weights=data["weight"].to_numpy(), time=time.to_numpy(),
    )  # fmt: skip
    influence = np.linalg.solve(clusters.bread, clusters.corrected("robust").T).T
    first = data.drop_duplicates("cluster").sort_values("cluster")
    expected = np.zeros((3, 3))
    for stratum, population in (("a", 10), ("b", 20), ("c", 400)):
        z = influence[first["stratum"] == stratum]
        n = len(z)
        expected += (1 - n / population) * n / (n - 1) * (z - z.mean(axis=0)).T @ (z - z.mean(axis=0))
    np.testing.assert_allclose(est.covariance_, expected, rtol=1e-8)


@pytest.mark.parametrize("strata", [True, False])
def test_independence_is_the_logistic_regression_of_the_design(strata):
    data = survey(2)
    given = {"groups": data["cluster"], "sample_weight": data["weight"], "fpc": data["population"]}
    if strata:
        given["strata"] = data["stratum"]
    else:
        given["fpc"] = np.full(len(data), 300)
    gee = GEEClassifier(cov_type="design").fit(data[["x", "z"]], data["y"], **given)
    logit = LogitRegressor(weight_type="sampling").fit(data[["x", "z"]], data["y"], **given)
    np.testing.assert_allclose(gee.covariance_, logit.covariance_, rtol=1e-6)
    pd.testing.assert_frame_equal(coef_table(gee).to_frame(), coef_table(logit).to_frame(), rtol=1e-6)


@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
def test_rows_of_weight_zero_count_as_units(structure):
    """Dropping them would lose units; they count in strata, but not in the degrees of freedom."""
    data = survey(3)
    outside = (data["unit"] == 0) & (data["stratum"] != "b")
    data.loc[outside, "weight"] = 0.0
    est = fit(GEEClassifier(working_correlation=structure), data)
    dropped = fit(GEEClassifier(working_correlation=structure), data[~outside], finite=False)
    infinite = fit(GEEClassifier(working_correlation=structure), data, finite=False)
    np.testing.assert_allclose(est.coef_, dropped.coef_, rtol=1e-10)
    assert np.abs(infinite.covariance_ / dropped.covariance_ - 1).max() > 1e-3
    assert est.n_clusters_ == dropped.n_clusters_ == 16
    assert est._inference.design.degf == 13
    # without strata: K / (K - 1) with all units, those without rows in the domain too
    plain = GEEClassifier(working_correlation=structure)
    plain.fit(data[["x", "z"]], data["y"], groups=data["cluster"], sample_weight=data["weight"])
    ratio = plain._inference.covariance("design") / plain._inference.covariance("robust")
    np.testing.assert_allclose(ratio, 18 / 17, rtol=1e-12)
    rows = GEEClassifier().fit(data[["x", "z"]], data["y"], sample_weight=data["weight"])
    ratio = rows._inference.covariance("design") / rows._inference.covariance("robust")
    np.testing.assert_allclose(ratio, 90 / 89, rtol=1e-12)


@pytest.mark.parametrize("groups", ["unit", "stages"])
def test_order_of_rows_and_scale_of_weights_make_no_difference(groups):
    data = survey(4)
    data["second"] = np.arange(len(data))
    data["population2"] = 50.0
    populations = data[["population", "population2"]] if groups == "stages" else data["population"]
    units = ["unit", "second"] if groups == "stages" else "unit"
    one = fit(GEEClassifier(), data, units, fpc=populations)
    order = np.random.default_rng(0).permutation(len(data))
    shuffled = data.iloc[order].assign(weight=1e4 * data["weight"])
    other = fit(GEEClassifier(), shuffled, units, fpc=populations.iloc[order])
    np.testing.assert_allclose(other.covariance_, one.covariance_, rtol=1e-9)
    assert one._inference.design.n_stages == (2 if groups == "stages" else 1)


def test_blocks_add_up(monkeypatch):
    data = survey(5)
    whole = fit(GEEClassifier(working_correlation="exchangeable"), data)
    monkeypatch.setattr(skdep.gee.rows, "_BLOCK_ROWS", 12)
    parts = fit(GEEClassifier(working_correlation="exchangeable"), data)
    np.testing.assert_allclose(parts.covariance_, whole.covariance_, rtol=1e-9)


def test_nested_subclusters_under_a_design():
    """Further columns of groups are subclusters of the working correlation, the first the units."""
    data = survey(6)
    data["half"] = np.arange(len(data)) % 2
    one = fit(GEEClassifier(working_correlation="nested"), data, groups=["unit", "half"])
    other = fit(GEEClassifier(working_correlation="nested"), data, groups=["cluster", "half"])
    np.testing.assert_allclose(one.covariance_, other.covariance_, rtol=1e-9)
    assert one.n_clusters_ == 18


def test_collinear_features_under_a_design():
    data = survey(7)
    one = fit(GEEClassifier(), data)
    doubled = data[["x", "z"]].assign(twice=2 * data["x"])
    with pytest.warns(UserWarning, match="Collinear"):
        other = GEEClassifier().fit(doubled, data["y"], groups=data["unit"], sample_weight=data["weight"],
                                    strata=data["stratum"], fpc=data["population"])  # fmt: skip
    np.testing.assert_allclose(other.covariance_[2, 2], one.covariance_[2, 2], rtol=1e-7)
    assert (coef_table(other)["df"] == 15 + 1 - 3).all()


# ------------------------------------------------------------------------------------------------ what is refused


def test_small_sample_types_are_not_those_of_a_design():
    data = survey()
    for kind in set(SMALL_SAMPLE_TYPES) - {"kc"}:
        with pytest.raises(ValueError, match=f"cov_type='{kind}' cannot be had here: it is not defined for a survey"):
            fit(GEEClassifier(cov_type=kind), data)
        with pytest.raises(ValueError, match=f"'{kind}', it is not defined for a survey.*use 'robust' or 'kc'"):
            coef_table(fit(GEEClassifier(), data), cov_type=kind)
    assert set(fit(GEEClassifier(), data)._inference.covariances) == {"naive", "robust", "design", "kc"}


def test_reduced_bias_is_that_of_survey():
    """The published figures of R's survey 4.5, CR2 with Bell and McCaffrey's degrees of freedom."""
    api = load_api("clus1")
    school = api.frame
    X = school[["api99"]].assign(high=school["stype"] == "H", middle=school["stype"] == "M").astype(float)
    design = {"sample_weight": api.sample_weight, "groups": api.groups, "fpc": api.fpc}
    table = coef_table(GEERegressor().fit(X, api.target, **design), cov_type="kc", df="satterthwaite")
    np.testing.assert_allclose(table["std_error"], [18.02030, 0.02734, 5.43114, 6.07011], rtol=2e-4)
    np.testing.assert_allclose(table["df"], [6.308131, 7.061340, 5.304156, 8.979698], rtol=1e-6)


def test_reduced_bias_of_logistic_regression():
    api = load_api("clus1")
    y = api.frame["sch.wide"] == "Yes"
    designs = [
        ({"groups": api.groups}, "frequency"),
        ({"groups": api.groups, "sample_weight": api.sample_weight, "fpc": api.fpc}, "sampling"),
    ]
    for design, weight_type in designs:
        gee = GEEClassifier(tol=1e-12).fit(api.data, y, **design)
        logit = LogitRegressor(weight_type=weight_type, cov_type="cr2", tol=1e-12).fit(api.data, y, **design)
        for df in (None, "satterthwaite"):
            np.testing.assert_allclose(coef_table(logit, df=df), coef_table(gee, cov_type="kc", df=df), rtol=1e-7)
    with pytest.raises(ValueError, match="needs the clusters"):
        LogitRegressor(cov_type="cr2").fit(api.data, y)
    with pytest.raises(ValueError, match="not defined for penalised"):
        LogitRegressor("l2", cov_type="cr2").fit(api.data, y, groups=api.groups)


def test_frequencies_have_no_design():
    data = survey()
    for name in ("strata", "fpc"):
        with pytest.raises(ValueError, match="weight_type='frequency' counts repetitions of clusters"):
            GEEClassifier(weight_type="frequency").fit(
                data[["x", "z"]], data["y"], groups=data["cluster"], **{name: np.full(len(data), 400)}
            )


def test_stages_need_independence():
    data = survey().assign(second=np.arange(90), population2=50.0)
    with pytest.raises(ValueError, match=r"2 stages needs the score of every unit.*'exchangeable' mixes rows"):
        fit(GEEClassifier(working_correlation="exchangeable"), data, groups=["unit", "second"],
            fpc=data[["population", "population2"]])  # fmt: skip


def test_lonely_units():
    data = survey()
    data.loc[data["cluster"] == 3, "stratum"] = "d"
    with pytest.raises(ValueError, match="1 strata have a single sampling unit, first stratum 'd'"):
        fit(GEEClassifier(), data, groups="cluster", finite=False)
    variances = {}
    for policy in ("remove", "adjust", "average"):
        est = fit(GEEClassifier(lonely_psu=policy), data, groups="cluster", finite=False)
        variances[policy] = np.diag(est.covariance_)
        assert est._inference.design.lonely == ("d",)
    assert (variances["remove"] < variances["adjust"]).all() and (variances["remove"] < variances["average"]).all()
    with pytest.raises(ValueError, match="lonely_psu"):
        GEEClassifier(lonely_psu="ignore").fit(data[["x", "z"]], data["y"])


def test_populations_without_weights_warn():
    data = survey()
    with pytest.warns(WeightWarning, match="fpc was given without sample_weight"):
        fit(GEEClassifier(), data, sample_weight=None)


def test_malformed_designs_raise():
    data = survey()
    with pytest.raises(ValueError, match="strata"):
        fit(GEEClassifier(), data, strata=data["stratum"].mask(data.index == 3))
    with pytest.raises(ValueError, match="fpc must be numbers"):
        fit(GEEClassifier(), data, fpc=["many"] * len(data))
    with pytest.raises(ValueError, match="varies within stratum"):
        fit(GEEClassifier(), data, fpc=np.arange(100.0, 190.0))
    with pytest.raises(ValueError, match="labels for 90 rows"):
        fit(GEEClassifier(), data, strata=["a", "b"])


def test_too_few_units_for_the_coefficients():
    """Degrees of freedom run out: said so, as p-values are NaN."""
    data = survey()
    data = data[(data["unit"] < 2) & (data["stratum"] != "c")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = fit(GEEClassifier(), data)
    with pytest.warns(UserWarning, match="0 degrees of freedom left"):
        assert coef_table(est)["p_value"].isna().all()


def test_design_is_routed():
    """As metadata requested by the class, through a pipeline."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = survey()
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), GEEClassifier())
        fit(pipeline, data)
    assert coef_table(pipeline)["df"].iloc[0] == 13
