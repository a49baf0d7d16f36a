"""Against R: geepack (``dof="n"``), gee (``dof="n-p"``) and glm with sandwich, entry by entry of gee.json."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skdep import GEEClassifier, GEERegressor, interaction
from skdep.datasets import load_dietox, load_epil, load_ohio, load_respiratory
from skdep.exceptions import FewClustersWarning, WeightWarning
from skdep.families import NegativeBinomial
from skdep.gee import AR1
from skdep.inference import coef_table, qic

REFERENCE = Path(__file__).parents[1] / "reference"
R = {name: entry for name, entry in json.loads((REFERENCE / "gee.json").read_text()).items() if name != "meta"}
STRUCTURES = {"ind": "independence", "exch": "exchangeable", "ar1": "ar1", "unstr": "unstructured"}

# geepack crashed (waves_unstr*), alpha above 1 (a guard, see test_bad_input), structures or fields that are not here
NOT_FITS = {"waves_unstr", "waves_unstr_no_singletons", "epil_exch_phi1", "dietox_lm_small_sample"}
BY_GLM = {"epil_negbin2_ind", "dietox_invgauss_log_ind"}
# gee divides by means over clusters of cluster means: the same only where clusters are equally large
GEE_UNBALANCED = {"dietox_ar1_gee", "negative_ar1_gee"}
# in test_working_correlation, by a structure of the user's own
USER_DEFINED = {"epil_mdep2_gee"}

GEEPACK = [name for name, entry in R.items() if entry["package"].startswith("geepack") and name not in NOT_FITS]
GEE = [name for name, entry in R.items() if entry["package"].startswith("gee ") and name not in USER_DEFINED]
GEE_SERIAL = [name for name in GEE if {"ar1", "unstr"} & set(name.split("_"))]


def csv(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def study(name: str) -> SimpleNamespace:
    """Return data and model of an entry, columns in the order of R's coefficients."""
    key = name.split("_")[0]
    found = SimpleNamespace(family="gaussian", link=None, offset=None, weights=None, time=None)
    if key == "ohio":
        frame = load_ohio().frame
        found.X = frame[["age", "smoke"]].assign(both=frame["age"] * frame["smoke"])
        found.y, found.groups, found.time = frame["resp"], frame["id"], frame["age"]
        found.family = "binomial"
        found.link = next((link for link in ("probit", "cloglog") if link in name), None)
    elif key == "epil":
        frame = load_epil().frame
        found.X = pd.DataFrame({"trt": (frame["trt"] == "progabide").astype(float)})
        if "epil_trt" not in name:
            found.X = found.X.assign(base=np.log(frame["base"] / 4), age=np.log(frame["age"]))
        found.y, found.groups, found.time, found.family = frame["y"], frame["subject"], frame["period"], "poisson"
    elif key == "dietox":
        frame = load_dietox().frame
        found.X = frame[["Time"]].assign(a=1.0 * (frame["Cu"] == "Cu035"), b=1.0 * (frame["Cu"] == "Cu175"))
        found.y, found.groups, found.time = frame["Weight"], frame["Pig"], frame["Time"]
        if "gamma" in name:
            found.family, found.link = "gamma", name.split("_")[2]
    elif key == "respiratory":
        frame = load_respiratory().frame
        found.X = pd.DataFrame(
            {
                "center": frame["center"],
                "treat": 1.0 * (frame["treat"] == "P"),
                "sex": 1.0 * (frame["sex"] == "M"),
                "age": frame["age"],
                "baseline": frame["baseline"],
            }
        )
        found.y, found.groups = frame["outcome"], interaction(frame["center"], frame["id"])
        found.time, found.family = frame["visit"], "binomial"
    elif key == "seizure":
        frame = csv("seizure_long")
        if "without49" in name:
            frame = frame[frame["id"] != 49]
        found.X = frame[["x", "trt"]].assign(both=frame["x"] * frame["trt"])
        found.y, found.groups, found.offset, found.family = frame["y"], frame["id"], np.log(frame["weeks"]), "poisson"
    elif key == "waves":
        frame = csv("sim_waves_no_singletons" if "no_singletons" in name else "sim_waves")
        found.X, found.y, found.groups, found.family = frame[["g", "x"]], frame["y"], frame["id"], "binomial"
        found.time = frame["wave"] if "wave" in name.split("_") or "unstr" in name else frame["time"]
    elif key == "negative":
        frame = csv("sim_negative_ar1")
        found.X, found.y, found.groups, found.time = frame[["x"]], frame["y"], frame["id"], frame["time"]
    elif key == "weighted":
        frame = csv("sim_weighted")
        binary = "binary" in name
        found.X, found.y, found.groups = frame[["g", "x"]], frame["yb" if binary else "yc"], frame["id"]
        found.family, found.weights = "binomial" if binary else "gaussian", frame["wc" if "wc" in name else "wr"]
        found.time = frame.groupby("id").cumcount()
    else:
        assert key == "proportions", f"no data known for entry {name}"
        frame = csv("sim_proportions")
        found.X, found.y, found.groups = frame[["x"]], frame["successes"] / frame["trials"], frame["id"]
        found.family, found.weights = "binomial", frame["trials"]
    return found


def structure_of(name):
    return STRUCTURES[next(part for part in name.split("_") if part in STRUCTURES)]


def fit(name, **params):
    given = study(name)
    params.setdefault("working_correlation", structure_of(name))
    params.setdefault("family", given.family)
    est = GEERegressor(link=given.link, **params)
    metadata = {"groups": given.groups, "sample_weight": given.weights, "offset": given.offset, "time": given.time}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing in these fits deserves a warning ...
        warnings.simplefilter("ignore", WeightWarning)  # ... but weights that vary within clusters
        est.fit(given.X, given.y, **metadata)
    assert est.converged_
    return est


def parameters(est):
    return np.array([est.intercept_, *est.coef_])


def standard_errors(est, cov_type):
    return coef_table(est, cov_type=cov_type)["std_error"].to_numpy()


def assert_estimates(est, entry, *, naive_factor=1.0):
    """Coefficients to a millionth of a standard error, standard errors and covariances to 1e-6."""
    robust = np.array(entry["robust_se"])
    np.testing.assert_array_less(np.abs(parameters(est) - list(entry["coef"].values())), 1e-6 * robust)
    np.testing.assert_allclose(standard_errors(est, "robust"), robust, rtol=1e-6)
    np.testing.assert_allclose(
        est.covariance_, entry["robust_cov"], rtol=1e-5, atol=1e-6 * np.min(robust) ** 2, err_msg="robust_cov"
    )
    if naive_factor is not None:
        naive = np.array(entry["naive_se"]) * np.sqrt(naive_factor)
        np.testing.assert_allclose(standard_errors(est, "naive"), naive, rtol=1e-6, err_msg="naive")


def r_alpha(entry, n_times):
    """Return R's association as a number or as a matrix."""
    alpha = entry["alpha"]
    if isinstance(alpha, dict):
        matrix = np.eye(n_times)
        for key, value in alpha.items():
            a, b = (int(number) - 1 for number in key.removeprefix("alpha.").split(":"))
            matrix[a, b] = matrix[b, a] = value
        return matrix
    return np.asarray(alpha)


def test_every_entry_is_used():
    assert set(R) == set(GEEPACK) | set(GEE) | NOT_FITS | BY_GLM | USER_DEFINED
    assert (len(GEEPACK), len(GEE)) == (56, 19)


@pytest.mark.parametrize("name", GEEPACK)
def test_geepack(name):
    entry = R[name]
    est = fit(name, dof="n", scale=entry["phi"] if entry["scale_fixed"] else None)
    given = study(name)
    # geepack's naive covariance depends on the unit of weights, skdep's has weights of mean one
    factor = 1.0 if given.weights is None else float(np.mean(given.weights))
    assert_estimates(est, entry, naive_factor=factor)
    assert est.n_clusters_ == entry["n_clusters"]
    assert est.scale_ == pytest.approx(entry["phi"], rel=1e-7)
    assert est.correlation_shrinkage_ == 0.0
    if entry["alpha"] is None:
        assert est.association_ == 0.0
    else:
        np.testing.assert_allclose(
            est.association_,
            r_alpha(entry, np.shape(est.association_)[0] if np.ndim(est.association_) else 0),
            atol=1e-7,
        )
    if "criteria_at_fit" in entry:
        expected = entry["criteria_at_fit"]
        found = qic(est)
        assert found.cic == pytest.approx(expected["cic"], rel=1e-6)
        assert found.quasi_likelihood * est.scale_ == pytest.approx(expected["quasi_loglik"], rel=1e-8)
        assert found.qic == pytest.approx(-2 * expected["quasi_loglik"] / entry["phi"] + 2 * expected["cic"], rel=1e-7)
        p = len(entry["coef"])
        assert found.qicu == pytest.approx(-2 * expected["quasi_loglik"] / entry["phi"] + 2 * p, rel=1e-7)


@pytest.mark.parametrize("name", [name for name in GEE if name not in GEE_SERIAL])
def test_gee_exchangeable_and_independence(name):
    entry = R[name]
    est = fit(name)
    if entry["scale_fixed"]:  # a fixed scale enters gee's naive covariance only
        assert entry["phi"] == 1.0
        assert_estimates(est, entry, naive_factor=est.scale_)
    else:
        assert_estimates(est, entry)
        assert est.scale_ == pytest.approx(entry["phi"], rel=1e-7)
    if entry["alpha"] is not None:
        assert est.association_ == pytest.approx(entry["alpha"], rel=1e-7)


@pytest.mark.parametrize("name", [name for name in GEE_SERIAL if name not in GEE_UNBALANCED])
def test_gee_serial_where_clusters_are_equally_large(name):
    """Means over clusters of cluster means are then ratios of sums, without degrees of freedom subtracted."""
    entry = R[name]
    est = fit(name, dof="n", working_correlation=AR1(pairs="neighbours") if "ar1" in name else "unstructured")
    n_rows, p = len(study(name).y), len(entry["coef"])
    shrink = n_rows / (n_rows - p)
    assert_estimates(est, entry, naive_factor=1.0 / shrink)
    assert est.scale_ * shrink == pytest.approx(entry["phi"], rel=1e-7)
    np.testing.assert_allclose(est.association_, r_alpha(entry, 0), atol=1e-7)


@pytest.mark.parametrize("name", sorted(BY_GLM))
def test_families_that_geepack_lacks(name):
    entry = R[name]
    given = study(name)
    family = NegativeBinomial(0.5) if "negbin2" in name else "inverse_gaussian"
    link = "log"
    common = {"groups": given.groups}
    est = GEERegressor(family, link=link, dof="n").fit(given.X, given.y, **common)
    assert_estimates(est, entry, naive_factor=None)
    assert est.scale_ == pytest.approx(entry["phi"], rel=1e-7)
    fewer = GEERegressor(family, link=link).fit(given.X, given.y, **common)
    assert fewer.scale_ == pytest.approx(entry["phi_n_minus_p"], rel=1e-7)
    fixed = GEERegressor(family, link=link, scale=1.0).fit(given.X, given.y, **common)
    np.testing.assert_allclose(standard_errors(fixed, "naive"), entry["naive_se_phi1"], rtol=1e-6)
    assert fixed.scale_ == 1.0


def test_sandwich_of_linear_model_is_clubsandwich_cr0():
    entry = R["dietox_lm_small_sample"]
    est = fit("dietox_ind")
    np.testing.assert_allclose(standard_errors(est, "robust"), entry["CR0_se"], rtol=1e-7)
    np.testing.assert_allclose(parameters(est), list(entry["coef"].values()), rtol=1e-8)


def test_unstructured_with_missing_waves_where_geepack_crashes(gee_reference):
    """R's geese(corstr = "unstructured") dies of a segmentation fault on these data; its userdefined twin does not."""
    for name, data in (("waves_unstr", "sim_waves"), ("waves_unstr_no_singletons", "sim_waves_no_singletons")):
        assert gee_reference[name]["failed"]
        frame = csv(data)
        est = GEEClassifier(working_correlation="unstructured", dof="n")
        est.fit(frame[["g", "x"]], frame["y"], groups=frame["id"], time=frame["wave"])
        entry = gee_reference[name.replace("unstr", "unstr_userdefined")]
        np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), entry["robust_se"], rtol=1e-6)
        np.testing.assert_allclose(est.association_, r_alpha(entry, 5), atol=1e-7)
        np.testing.assert_array_equal(est.times_, [1, 2, 3, 4, 5])


def test_labels_of_waves_do_not_matter_to_unstructured():
    a = fit("waves_unstr_userdefined", dof="n")
    frame = csv("sim_waves")
    b = GEERegressor("binomial", working_correlation="unstructured", dof="n")
    b.fit(frame[["g", "x"]], frame["y"], groups=frame["id"], time=frame["time"])
    np.testing.assert_allclose(a.association_, b.association_, rtol=1e-9)
    np.testing.assert_array_equal(b.times_, [1, 2, 4, 7, 11])


# Numbers of research/marginal.md, section 5, that are not in gee.json; R's digits as printed there.


def test_epil_gee_exchangeable_criteria():
    est = fit("epil_exch_gee")
    found = qic(est)
    assert est.association_ == pytest.approx(0.38960806, abs=1e-8)
    assert est.scale_ == pytest.approx(4.81323214, abs=1e-8)
    assert found.cic == pytest.approx(13.8520625, abs=1e-6)
    assert found.quasi_likelihood * est.scale_ == pytest.approx(2945.2303024, abs=1e-6)
    assert found.cic * est.scale_ == pytest.approx(66.67319247, abs=1e-7)


def test_epil_exchangeable_criteria_of_geepack():
    found = qic(fit("epil_exch", dof="n"))
    # geepack's own CIC is from a refit under independence: the difference is small where beta hardly moves
    assert found.cic == pytest.approx(14.0908912, abs=1e-4)
    assert found.cic == pytest.approx(R["epil_exch"]["criteria_at_fit"]["cic"], rel=1e-9)


WARPBREAKS = {
    ("A", "L"): [26, 30, 54, 25, 70, 52, 51, 26, 67],
    ("A", "M"): [18, 21, 29, 17, 12, 18, 35, 30, 36],
    ("A", "H"): [36, 21, 24, 18, 10, 43, 28, 15, 26],
    ("B", "L"): [27, 14, 29, 19, 29, 31, 41, 20, 44],
    ("B", "M"): [42, 26, 19, 16, 39, 28, 21, 39, 29],
    ("B", "H"): [20, 21, 24, 17, 13, 15, 15, 16, 28],
}


def test_warpbreaks():
    """The example of R package gee (its gee-Ex.Rout.save), two clusters of 27 rows."""
    rows = [(wool, tension, y) for (wool, tension), values in WARPBREAKS.items() for y in values]
    frame = pd.DataFrame(rows, columns=["wool", "tension", "breaks"])
    X = np.column_stack([frame["tension"] == "M", frame["tension"] == "H"]).astype(float)
    with pytest.warns(FewClustersWarning, match="2 clusters for 3 parameters"):
        est = GEERegressor(working_correlation="exchangeable").fit(X, frame["breaks"], groups=frame["wool"])
    np.testing.assert_allclose(parameters(est), [36.38889, -10.0, -14.72222], atol=5e-6)
    np.testing.assert_allclose(standard_errors(est, "naive"), [3.069434, 3.910008, 3.910008], atol=5e-7)
    np.testing.assert_allclose(standard_errors(est, "robust"), [5.774705, 7.463905, 3.731952], atol=5e-7)
    assert est.scale_ == pytest.approx(141.1481, abs=5e-5)
    assert est.association_ == pytest.approx(0.02518404, abs=5e-9)
    with pytest.warns(FewClustersWarning):
        est = GEERegressor(working_correlation="exchangeable", dof="n").fit(X, frame["breaks"], groups=frame["wool"])
    assert est.scale_ == pytest.approx(133.306584, abs=5e-7)
    assert est.association_ == pytest.approx(0.02655150, abs=5e-9)
