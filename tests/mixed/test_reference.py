"""Against R: lme4, lmerTest, pbkrtest and clubSandwich, entry by entry of mixed.json."""

from __future__ import annotations

import json
import re
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import MixedLinear
from skdep.datasets import load_dietox, load_orthodont, load_pastes, load_penicillin, load_sleepstudy
from skdep.exceptions import SingularFitWarning
from skdep.inference import coef_table, lrt, profile_interval

REFERENCE = Path(__file__).parents[1] / "reference"
R = {name: entry for name, entry in json.loads((REFERENCE / "mixed.json").read_text()).items() if name != "meta"}
SHIPPED = {
    "dietox": load_dietox,
    "orthodont": load_orthodont,
    "pastes": load_pastes,
    "penicillin": load_penicillin,
    "sleepstudy": load_sleepstudy,
}

FITS = [(name, method) for name, entry in R.items() if "groups" in entry for method in ("reml", "ml")]
KENWARD_ROGER = [(name, method) for name, method in FITS if "kenward_roger" in R[name][method]]
ROBUST = [(name, method) for name, method in FITS if "robust_se" in R[name][method]]
EFFECTS = [(name, method) for name, method in FITS if "random_effects" in R[name][method]]
PREDICTION_ERRORS = [(name, method) for name, method in FITS if "conditional_se" in R[name][method]["predictions"]]
NO_GROUPS = [name for name in R if name.startswith("no_groups")]
RATIOS = [name for name in R if name.startswith("lrt")]
PROFILES = [name for name in R if name.startswith("profile")]


@cache
def data(name: str) -> pd.DataFrame:
    """Return a data set of skdep with the columns that R derived, or a file of the reference."""
    if name not in SHIPPED:
        return pd.read_csv(REFERENCE / "data" / f"{name}.csv")
    frame = SHIPPED[name]().frame.copy()
    if name == "dietox":
        frame = frame.assign(Cu035=1.0 * (frame["Cu"] == "Cu035"), Cu175=1.0 * (frame["Cu"] == "Cu175"))
    if name == "orthodont":
        female = 1.0 * (frame["Sex"] == "Female")
        frame = frame.assign(female=female, age_female=frame["age"] * female)
    return frame


def rows_of(entry: dict, frame: pd.DataFrame) -> dict:
    """Return features, groups and offset of `frame` as an estimator takes them: a Series for one factor."""
    groups = frame[entry["groups"]].astype(str)
    return {
        "X": frame[entry["features"]],
        "groups": groups if len(entry["groups"]) > 1 else groups.iloc[:, 0],
        "offset": None if entry["offset"] is None else frame[entry["offset"]],
    }


def estimator(entry: dict, method: str, **params) -> MixedLinear:
    names = {name: slopes for name, slopes in entry["slopes"].items() if slopes}
    return MixedLinear(
        random_slopes=names or None,
        random_intercept=entry["random_intercept"],
        covariance=entry["covariance"],
        method=method,
        weight_type="precision" if entry["precision_weights"] else "frequency",
        fit_intercept=entry["fit_intercept"],
        **params,
    )


@cache
def fit(name: str, method: str) -> MixedLinear:
    """Fit as users do."""
    entry = R[name]
    frame = data(entry["data"])
    weights = entry["precision_weights"] or entry["frequency_weights"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing in these fits deserves a warning but the singular ones
        if entry[method]["singular"]:
            warnings.simplefilter("ignore", SingularFitWarning)
        return estimator(entry, method).fit(
            y=frame[entry["response"]],
            sample_weight=None if weights is None else frame[weights],
            **rows_of(entry, frame),
        )


def parameters(est: MixedLinear) -> np.ndarray:
    return np.array([est.intercept_, *est.coef_] if est.fit_intercept else est.coef_)


def scale_of(covariance) -> np.ndarray:
    """Return the products of standard deviations, the scale of the elements of a covariance matrix."""
    sds = np.sqrt(np.diag(np.atleast_2d(covariance)))
    return np.outer(sds, sds)


def all_within(found, expected, tolerance, what="") -> None:
    """Assert differences within an array of tolerances, and say by how much they miss."""
    ratio = np.max(np.abs(np.asarray(found) - np.asarray(expected)) / tolerance)
    assert ratio <= 1.0, f"{what}: {ratio:.3g} times the tolerance"


def test_every_entry_is_used():
    assert set(R) == {name for name, _ in FITS} | set(NO_GROUPS) | set(RATIOS) | set(PROFILES)
    assert (len(FITS), len(KENWARD_ROGER), len(ROBUST)) == (88, 35, 70)


@pytest.mark.parametrize(("name", "method"), FITS)
def test_likelihood_and_convergence(name, method):
    est, expected = fit(name, method), R[name][method]
    assert est.converged_
    # R's deviance is polished to 1e-11: a higher log-likelihood would be as wrong as a lower one
    assert est.loglik_ == pytest.approx(expected["loglik"], abs=1e-6)
    assert est.singular_ == expected["singular"]


@pytest.mark.parametrize(("name", "method"), FITS)
def test_coefficients(name, method):
    est, expected = fit(name, method), R[name][method]
    se = np.array(expected["se"])
    all_within(parameters(est), list(expected["coef"].values()), 1e-5 * se, "coefficients")
    all_within(est.covariance_, expected["cov"], 2e-5 * np.outer(se, se), "covariance")
    assert_allclose(coef_table(est)["std_error"], se, rtol=1e-5)


@pytest.mark.parametrize(("name", "method"), FITS)
def test_variances(name, method):
    est, expected = fit(name, method), R[name][method]
    assert est.sigma2_ == pytest.approx(expected["sigma2"], rel=1e-5)
    assert list(est.random_covariance_) == R[name]["groups"]
    for factor, matrix in expected["random_covariance"].items():
        # variances at zero come out as a tiny number
        tolerance = 2e-5 * scale_of(matrix) + 1e-7 * expected["sigma2"]
        all_within(est.random_covariance_[factor], matrix, tolerance, factor)
        slopes = tuple(R[name]["slopes"][factor])
        assert est.random_names_[factor] == (("Intercept",) if est.random_intercept else ()) + slopes


@pytest.mark.parametrize(("name", "method"), EFFECTS)
def test_random_effects(name, method):
    est, expected = fit(name, method), R[name][method]
    for factor, blups in expected["random_effects"].items():
        position = {str(label): row for row, label in enumerate(est.levels_[factor])}
        order = [position[label] for label in blups["levels"]]
        assert len(order) == len(position)
        sds = np.array(blups["sds"])
        tolerance = 2e-5 * sds + 1e-6 * np.sqrt(expected["sigma2"])
        all_within(est.random_effects_[factor][order], blups["effects"], tolerance, f"effects of {factor}")
        all_within(est.random_effects_sd_[factor][order], sds, tolerance, f"standard deviations of {factor}")


@pytest.mark.parametrize(("name", "method"), FITS)
def test_satterthwaite(name, method):
    table, expected = coef_table(fit(name, method), df="satterthwaite"), R[name][method]["satterthwaite"]
    assert_allclose(table["df"], expected["df"], rtol=1e-4)
    assert_allclose(table["statistic"], expected["t"], rtol=1e-5, atol=2e-5)
    assert_allclose(table["p_value"], expected["p"], rtol=2e-3)


@pytest.mark.parametrize(("name", "method"), KENWARD_ROGER)
def test_kenward_roger(name, method):
    table, expected = coef_table(fit(name, method), df="kenward-roger"), R[name][method]["kenward_roger"]
    assert_allclose(table["df"], expected["df"], rtol=1e-5)
    assert_allclose(table["std_error"], expected["se"], rtol=1e-5)
    assert_allclose(table["p_value"], expected["p"], rtol=1e-3)


@pytest.mark.parametrize(("name", "method"), ROBUST)
def test_robust_standard_errors(name, method):
    assert_allclose(
        coef_table(fit(name, method), cov_type="robust")["std_error"], R[name][method]["robust_se"], rtol=1e-5
    )


@pytest.mark.parametrize(("name", "method"), FITS)
def test_predictions(name, method):
    entry, est = R[name], fit(name, method)
    given = rows_of(entry, pd.DataFrame(entry["new_rows"]))
    expected = entry[method]["predictions"]
    tolerance = 1e-5 * np.sqrt(entry[method]["sigma2"])
    all_within(est.predict(**given), expected["conditional"], tolerance, "conditional")
    all_within(est.predict(**(given | {"groups": None})), expected["population"], tolerance, "population")


@pytest.mark.parametrize(("name", "method"), PREDICTION_ERRORS)
def test_prediction_errors(name, method):
    entry, est = R[name], fit(name, method)
    given = rows_of(entry, pd.DataFrame(entry["new_rows"]))
    expected = entry[method]["predictions"]
    _, std = est.predict(**given, return_std=True)
    assert_allclose(std, expected["conditional_se"], rtol=1e-4)
    _, std = est.predict(**(given | {"groups": None}), return_std=True)
    assert_allclose(std, expected["population_se"], rtol=1e-5)


@pytest.mark.parametrize("name", NO_GROUPS)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_without_groups(name, method):
    """Without groups it is linear regression, with the likelihood of R's lm."""
    entry = R[name]
    frame, weights = data(entry["data"]), entry["precision_weights"]
    est = MixedLinear(method=method, weight_type="precision" if weights else "frequency")
    est.fit(frame[entry["features"]], frame["y"], sample_weight=None if weights is None else frame[weights])
    assert est.loglik_ == pytest.approx(entry[method]["loglik"], abs=1e-8)
    assert est.sigma2_ == pytest.approx(entry[method]["sigma2"], rel=1e-10)
    assert_allclose(parameters(est), list(entry["coef"].values()), rtol=1e-9)
    factor = np.sqrt(entry[method]["sigma2"] / entry["reml"]["sigma2"])
    assert_allclose(coef_table(est)["std_error"], np.array(entry["se"]) * factor, rtol=1e-9)
    assert_allclose(coef_table(est, df="residual")["df"], entry["df"])


@pytest.mark.parametrize("name", RATIOS)
def test_likelihood_ratios(name):
    entry = R[name]
    found = lrt(*(fit(entry[which], entry["method"]) for which in ("reduced", "full")))
    assert found.statistic == pytest.approx(entry["statistic"], abs=1e-6)
    assert found.df == entry["df"]
    # R's anova takes chi-square for all; with one more random effect it is a mixture. Other additions are not in R
    expected = entry["mixture_p_value"] if entry["adds_effects"] else entry["p_value"]
    if expected is not None:
        assert found.p_value == pytest.approx(expected, rel=1e-5)


def name_in_r(name: str) -> str:
    """Translate the name of a parameter into that of lme4's profiles."""
    name = name.replace("Intercept", "(Intercept)")
    name = re.sub(r"^SD of (.*) by (.*)$", r"sd_\1|\2", name)
    name = re.sub(r"^Correlation of (.*) and (.*) by (.*)$", r"cor_\2.\1|\3", name)
    return name.replace("Residual SD", "sigma")


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", PROFILES)
def test_profiles(name, method):
    """Profiles are of the likelihood, whatever the method of the fit."""
    limits = R[name]["limits"]
    table = profile_interval(fit(R[name]["study"], method), level=R[name]["level"]).to_frame()
    assert {name_in_r(parameter) for parameter in table.index} == set(limits)
    for parameter, row in table.iterrows():
        low, high = limits[name_in_r(parameter)]
        all_within([row["conf_low"], row["conf_high"]], [low, high], 1e-5 * (high - low), parameter)


@pytest.mark.parametrize("name", ["profile_sleepstudy_slope", "profile_sleepstudy_diagonal"])
@pytest.mark.parametrize("end", [0, 1])
def test_profile_likelihood_of_the_intercept(name, end):
    """With the intercept held at R's limit, by an offset, the likelihood falls by half the quantile of chi-square."""
    full, frame = fit(R[name]["study"], "ml"), data("sleepstudy")
    limit = np.full(len(frame), R[name]["limits"]["(Intercept)"][end])
    held = MixedLinear(["Days"], covariance=full.covariance, method="ml", fit_intercept=False)
    held.fit(frame[["Days"]], frame["Reaction"], groups=frame["Subject"], offset=limit)
    assert 2.0 * (full.loglik_ - held.loglik_) == pytest.approx(3.841458820694124, abs=1e-5)
