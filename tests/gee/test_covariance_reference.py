"""Covariances for few clusters against R: clubSandwich and geepack's jackknife, and numbers of statsmodels and SAS."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skdep import GEERegressor
from skdep.datasets import load_dietox, load_epil, load_ohio
from skdep.inference import coef_table

from .dense_covariances import dense_clusters, fay_graubard

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "gee_small_sample.json").read_text())
CLUB = [name for name in R if name.startswith("club_")]
JACKKNIFE = [name for name in R if name.startswith("jackknife_")]
# clubSandwich's name of each type
TYPES = {"CR0": "robust", "CR2": "kc", "CR3": "md"}


def study(name: str) -> SimpleNamespace:
    """Return data and family of an entry, columns in the order of R's coefficients."""
    found = SimpleNamespace(family="gaussian", weights=None, time=None)
    data = name.split("_")[1]
    if data in ("pigs", "dietox"):
        frame = load_dietox().frame
        if data == "pigs":
            frame = frame[frame["Pig"].isin(frame["Pig"].drop_duplicates()[:12])]
        found.X = frame[["Time"]].assign(a=1.0 * (frame["Cu"] == "Cu035"), b=1.0 * (frame["Cu"] == "Cu175"))
        if data == "dietox":
            found.X = found.X.assign(start=frame["Start"])
        found.y, found.groups, found.time = frame["Weight"], frame["Pig"], frame["Time"]
    elif data == "ohio":
        frame = load_ohio().frame
        frame = frame[frame["id"] % 9 == 0]
        found.X = frame[["smoke"]] if name == "club_ohio" else frame[["age", "smoke"]]
        found.y, found.groups, found.time, found.family = frame["resp"], frame["id"], frame["age"], "binomial"
    elif data == "epil":
        frame = load_epil().frame
        found.X = pd.DataFrame({"trt": 1.0 * (frame["trt"] == "progabide"), "base": np.log(frame["base"] / 4),
                                "age": np.log(frame["age"])})  # fmt: skip
        found.y, found.groups, found.time, found.family = frame["y"], frame["subject"], frame["period"], "poisson"
    else:
        assert data == "weighted", f"no data known for entry {name}"
        frame = pd.read_csv(REFERENCE / "data" / "sim_weighted.csv")
        found.X, found.y, found.groups = frame[["g", "x"]], frame["yb"], frame["id"]
        found.family, found.weights = "binomial", frame["wc"]
    return found


def fit(name: str, **params) -> GEERegressor:
    given = study(name)
    est = GEERegressor(given.family, dof="n", **params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing in these fits deserves a warning
        return est.fit(given.X, given.y, groups=given.groups, sample_weight=given.weights, time=given.time)


def standard_errors(est, cov_type):
    return coef_table(est, cov_type=cov_type)["std_error"].to_numpy()


def test_every_entry_is_used():
    survey = [name for name in R if name.startswith("survey_")]  # in test_survey_designs
    assert set(R) == {"meta", *CLUB, *JACKKNIFE, *survey}
    assert (len(CLUB), len(JACKKNIFE)) == (5, 12)


@pytest.mark.parametrize("name", CLUB)
def test_clubsandwich_under_independence(name):
    entry, est = R[name], fit(name)
    p = len(entry["coef"])
    for theirs, ours in TYPES.items():
        if theirs not in entry:
            assert (name, theirs) == ("club_ohio_age", "CR2")  # another root there
            continue
        expected, small = entry[theirs], est._inference.small_sample_of(ours)
        np.testing.assert_allclose(standard_errors(est, ours), expected["se"], rtol=1e-8, err_msg=ours)
        covariance = est._inference.covariance(ours)
        np.testing.assert_allclose(covariance, expected["cov"], rtol=1e-7, atol=1e-9 * np.abs(covariance).max())
        df = small.contrast_df(np.eye(p), "satterthwaite")
        np.testing.assert_allclose(df, expected["df"], rtol=1e-7, err_msg=ours)
        if "joint" not in expected:
            continue
        joint = expected["joint"]
        contrasts = np.eye(p)[np.array(joint["coefs"]) - 1]
        denominator, factor = small.joint_df(contrasts, "satterthwaite")
        estimate = contrasts @ est._inference.estimate
        statistic = estimate @ np.linalg.solve(contrasts @ covariance @ contrasts.T, estimate) / len(contrasts)
        assert denominator == pytest.approx(joint["df_denominator"], rel=1e-7)
        assert factor * statistic == pytest.approx(joint["statistic"], rel=1e-7)


def test_clubsandwich_of_the_first_references():
    """Entry of gee.json: all pigs, without the weight at the start."""
    entry = json.loads((REFERENCE / "gee.json").read_text())["dietox_lm_small_sample"]
    given = study("club_dietox")
    est = GEERegressor().fit(given.X.drop(columns="start"), given.y, groups=given.groups)
    for theirs, ours in TYPES.items():
        np.testing.assert_allclose(standard_errors(est, ours), entry[f"{theirs}_se"], rtol=1e-8)
        found = est._inference.small_sample_of(ours).contrast_df(np.eye(4), "satterthwaite")
        np.testing.assert_allclose(found, entry[f"{theirs}_df_satterthwaite"], rtol=1e-8)
    K = entry["n_clusters"]
    np.testing.assert_allclose(standard_errors(est, "design"), entry["CR1_se"], rtol=1e-8)  # K / (K - 1)
    np.testing.assert_allclose(standard_errors(est, "df"), np.sqrt(K / (K - 4)) * np.array(entry["CR0_se"]), rtol=1e-8)


@pytest.mark.parametrize("name", JACKKNIFE)
def test_jackknife_of_geepack(name):
    entry = R[name]
    est = fit(name, working_correlation=name.split("_")[2])
    np.testing.assert_allclose([est.intercept_, *est.coef_], list(entry["coef"].values()), rtol=1e-6)
    np.testing.assert_allclose(standard_errors(est, "jackknife"), entry["ajs_se"], rtol=1e-6)
    np.testing.assert_allclose(
        est._inference.covariance("jackknife"), entry["ajs_cov"], rtol=1e-5,
        atol=1e-6 * np.abs(entry["ajs_cov"]).max(),
    )  # fmt: skip
    K, p, q = entry["n_clusters"], len(entry["coef"]), len(entry["alpha"])
    md = np.array(entry["ajs_se"]) * np.sqrt(K / (K - p - q - 1))
    np.testing.assert_allclose(standard_errors(est, "md"), md, rtol=1e-6)


def test_jackknife_of_the_first_references():
    """Entry of gee.json: epil, treatment alone."""
    entry = json.loads((REFERENCE / "gee.json").read_text())["epil_trt_exch_jackknife"]
    given = study("jackknife_epil_exchangeable")
    est = GEERegressor("poisson", working_correlation="exchangeable", dof="n", cov_type="jackknife")
    est.fit(given.X[["trt"]], given.y, groups=given.groups)
    np.testing.assert_allclose(standard_errors(est, None), entry["j1s_se"], rtol=1e-7)
    np.testing.assert_allclose(standard_errors(est, None), [0.18952311, 0.35342910], atol=1e-8)


# Standard errors of epil, exchangeable, as other programs print them: md is bias_reduced of statsmodels, mbn that of
# SAS's paper; the others are from the definitions.
EPIL = {
    "robust": [1.02292218, 0.19045075, 0.15368659, 0.28216261],
    "md": [1.17927093, 0.26884193, 0.25690281, 0.32723534],
    "kc": [1.093444, 0.22252739, 0.19682978, 0.3026149],
    "df": [1.05946657, 0.19725469, 0.15917712, 0.292243],
    "mbn": [1.13213962, 0.2006898, 0.16018542, 0.31168173],
}


def test_epil():
    given = study("jackknife_epil_exchangeable")
    est = GEERegressor("poisson", working_correlation="exchangeable").fit(given.X, given.y, groups=given.groups)
    for kind, expected in EPIL.items():
        np.testing.assert_allclose(standard_errors(est, kind), expected, atol=6e-9, err_msg=kind)


def test_fay_graubard_of_epil():
    """From the definition, features as they are, 13.35 for the intercept; centred, as here, no origin matters."""
    given = study("jackknife_epil_exchangeable")
    est = GEERegressor("poisson", working_correlation="exchangeable").fit(given.X, given.y, groups=given.groups)
    X, y, groups = (part.to_numpy() for part in (given.X, given.y, given.groups))
    clusters = dense_clusters(
        np.column_stack([np.ones(len(y)), X]), y, groups, beta=[est.intercept_, *est.coef_], scale=est.scale_,
        alpha=est.association_, family="poisson", link="log", structure="exchangeable",
    )  # fmt: skip
    raw = [13.354879, 0.60927973, 0.7548596, 3.55470975]
    np.testing.assert_allclose(np.sqrt(np.diag(fay_graubard(clusters))), raw, rtol=1e-8)
    assert standard_errors(est, "fg")[1] == pytest.approx(0.2030205, abs=1e-7)
    centred = GEERegressor("poisson", working_correlation="exchangeable", cov_type="fg")
    centred.fit(X - X.mean(axis=0), y, groups=groups)
    np.testing.assert_allclose(standard_errors(centred, "fg")[1:], standard_errors(est, "fg")[1:], rtol=1e-7)
    clusters.D = [D @ np.block([[1.0, -X.mean(axis=0)], [np.zeros((3, 1)), np.eye(3)]]) for D in clusters.D]
    np.testing.assert_allclose(standard_errors(centred, "fg"), np.sqrt(np.diag(fay_graubard(clusters))), rtol=1e-6)


def test_degrees_of_freedom_of_a_survey():
    """As survey 4.5 prints for api00 ~ api99 + stype, districts as units; its standard errors are of the design."""
    frame = pd.read_csv(Path(__file__).parents[2] / "skdep" / "datasets" / "data" / "apiclus1.csv")
    X = frame[["api99"]].assign(high=1.0 * (frame["stype"] == "H"), middle=1.0 * (frame["stype"] == "M"))
    est = GEERegressor().fit(X, frame["api00"], groups=frame["dnum"], sample_weight=frame["pw"])
    degrees = est._inference.small_sample_of("kc").contrast_df(np.eye(4), "satterthwaite")
    np.testing.assert_allclose(degrees, [6.308131, 7.061340, 5.304156, 8.979698], atol=1e-6)
