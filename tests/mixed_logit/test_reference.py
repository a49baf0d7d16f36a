"""Against R: the maxima of the marginal likelihood in glmm.json, entry by entry and number of nodes."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import MixedLogit
from skdep.datasets import load_ohio, load_respiratory
from skdep.exceptions import SingularFitWarning
from skdep.inference import coef_table

REFERENCE = Path(__file__).parents[1] / "reference"
R = {name: entry for name, entry in json.loads((REFERENCE / "glmm.json").read_text()).items() if name != "meta"}

FITS = [(name, nodes) for name, entry in R.items() for nodes in entry.get("fits", ())]
EFFECTS = [(name, nodes) for name, nodes in FITS if "random_effects" in R[name]["fits"][nodes]]
ROBUST = [(name, nodes) for name, nodes in FITS if "robust_cov" in R[name]["fits"][nodes]]


@cache
def data(name: str) -> pd.DataFrame:
    """Return a data set of skdep with the columns that R derived, or a file of the reference."""
    if name == "ohio":
        frame = load_ohio().frame
        return frame.assign(age_smoke=frame["age"] * frame["smoke"])
    if name == "respiratory":
        frame = load_respiratory().frame
        return frame.assign(
            patient=frame["center"].astype(str) + ":" + frame["id"].astype(str),
            center2=1.0 * (frame["center"].astype(str) == "2"),
            active=1.0 * (frame["treat"] == "A"),
            male=1.0 * (frame["sex"] == "M"),
        )
    frame = pd.read_csv(REFERENCE / "data" / f"{name}.csv")
    return frame.assign(do=1.0 * (frame["item"] > 12)) if name == "mixed_verbagg" else frame


def rows_of(entry: dict, frame: pd.DataFrame) -> dict:
    """Return features, groups and offset of `frame` as the estimator takes them: a Series for one factor."""
    groups = frame[entry["groups"]].astype(str)
    return {
        "X": frame[entry["features"]],
        "groups": groups if len(entry["groups"]) > 1 else groups.iloc[:, 0],
        "offset": None if entry["offset"] is None else frame[entry["offset"]],
    }


@cache
def fit(name: str, nodes: str) -> MixedLogit:
    """Fit as users do."""
    entry = R[name]
    frame, weights = data(entry["data"]), entry["frequency_weights"]
    est = MixedLogit(
        random_slopes={factor: slopes for factor, slopes in entry["slopes"].items() if slopes} or None,
        random_intercept=entry["random_intercept"],
        covariance=entry["covariance"],
        n_quadrature=int(nodes),
        fit_intercept=entry["fit_intercept"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing in these fits deserves a warning but the singular ones
        if entry["fits"][nodes]["singular"]:
            warnings.simplefilter("ignore", SingularFitWarning)
        return est.fit(
            y=frame[entry["response"]],
            sample_weight=None if weights is None else frame[weights],
            **rows_of(entry, frame),
        )


def parameters(est: MixedLogit) -> np.ndarray:
    return np.concatenate([est.intercept_, est.coef_[0]]) if est.fit_intercept else est.coef_[0]


def scale_of(covariance) -> np.ndarray:
    """Return the products of standard deviations, the scale of the elements of a covariance matrix."""
    sds = np.sqrt(np.diag(np.atleast_2d(covariance)))
    return np.outer(sds, sds)


def all_within(found, expected, tolerance, what="") -> None:
    """Assert differences within an array of tolerances, and say by how much they miss."""
    ratio = np.max(np.abs(np.asarray(found) - np.asarray(expected)) / tolerance)
    assert ratio <= 1.0, f"{what}: {ratio:.3g} times the tolerance"


def test_every_entry_is_used():
    assert set(R) == {name for name, _ in FITS} | {"no_groups"}
    assert (len(FITS), len(EFFECTS), len(ROBUST)) == (50, 47, 46)


@pytest.mark.parametrize(("name", "nodes"), FITS)
def test_likelihood_and_convergence(name, nodes):
    est, expected = fit(name, nodes), R[name]["fits"][nodes]
    assert est.converged_
    assert est.n_quadrature_ == int(nodes)
    assert list(est.separated_) == []
    assert est.singular_ == expected["singular"]
    # R's maximum is exact to 1e-10: a higher log-likelihood would be as wrong as a lower one
    assert est.loglik_ == pytest.approx(expected["loglik"], abs=1e-8)


@pytest.mark.parametrize(("name", "nodes"), FITS)
def test_coefficients(name, nodes):
    est, expected = fit(name, nodes), R[name]["fits"][nodes]
    all_within(parameters(est), list(expected["coef"].values()), 1e-5 * np.array(expected["se"]), "coefficients")
    # the information may be of the step before the last
    all_within(est.covariance_, expected["cov"], 1e-4 * scale_of(expected["cov"]), "covariance")
    assert_allclose(coef_table(est)["std_error"], expected["se"], rtol=5e-5)


@pytest.mark.parametrize(("name", "nodes"), FITS)
def test_random_covariance(name, nodes):
    est, expected = fit(name, nodes), R[name]["fits"][nodes]
    assert list(est.random_covariance_) == R[name]["groups"]
    for factor, matrix in expected["random_covariance"].items():
        # variances at zero come out as a tiny number
        all_within(est.random_covariance_[factor], matrix, 2e-5 * scale_of(matrix) + 1e-8, factor)
        slopes = tuple(R[name]["slopes"][factor])
        assert est.random_names_[factor] == (("Intercept",) if est.random_intercept else ()) + slopes


@pytest.mark.parametrize(("name", "nodes"), EFFECTS)
def test_random_effects(name, nodes):
    est, expected = fit(name, nodes), R[name]["fits"][nodes]
    for factor, effects in expected["random_effects"].items():
        position = {str(label): row for row, label in enumerate(est.levels_[factor])}
        order = [position[label] for label in effects["levels"]]
        assert len(order) == len(position)
        tolerance = 1e-5 * np.sqrt(np.diag(np.atleast_2d(expected["random_covariance"][factor]))) + 1e-8
        all_within(est.random_effects_[factor][order], effects["effects"], tolerance, f"effects of {factor}")
        all_within(est.random_effects_sd_[factor][order], effects["sds"], tolerance, f"SDs of {factor}")


@pytest.mark.parametrize(("name", "nodes"), ROBUST)
def test_robust_covariance(name, nodes):
    """The sandwich of the outermost factor's clusters, without a small-sample factor."""
    est, expected = fit(name, nodes), np.array(R[name]["fits"][nodes]["robust_cov"])
    assert_allclose(coef_table(est, cov_type="robust")["std_error"], np.sqrt(np.diag(expected)), rtol=1e-4)


@pytest.mark.parametrize(("name", "nodes"), FITS)
def test_predictions(name, nodes):
    """At the modes of known levels, and integrated over the effects of unseen ones."""
    entry, est = R[name], fit(name, nodes)
    given = rows_of(entry, pd.DataFrame(entry["new_rows"]))
    expected = entry["fits"][nodes]["predictions"]
    linear = np.asarray(given["X"]) @ est.coef_[0] + est.intercept_[0]
    linear += 0.0 if given["offset"] is None else np.asarray(given["offset"])
    all_within(linear, expected["linear"], 1e-5, "linear")
    all_within(est.predict_proba(**given)[:, 1], expected["conditional"], 1e-6, "conditional")
    all_within(est.predict_proba(**(given | {"groups": None}))[:, 1], expected["marginal"], 1e-6, "marginal")


def test_without_groups():
    """Without groups it is logistic regression, with the likelihood of R's glm."""
    entry = R["no_groups"]
    frame = data(entry["data"])
    est = MixedLogit().fit(frame[entry["features"]], frame[entry["response"]])
    se = np.array(entry["se"])
    assert est.loglik_ == pytest.approx(entry["loglik"], abs=1e-8)
    assert est.random_covariance_ == {}
    all_within(parameters(est), list(entry["coef"].values()), 1e-6 * se, "coefficients")
    all_within(est.covariance_, entry["cov"], 1e-6 * np.outer(se, se), "covariance")
