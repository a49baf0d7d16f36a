"""Criteria of working correlations: R (geepack's fits, matrices for every cluster), a literal twin in numpy."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import GEEClassifier, GEERegressor
from skdep.datasets import load_dietox, load_epil, load_ohio
from skdep.gee import Exchangeable
from skdep.gee.given_rows import GEEMetadata
from skdep.inference import qic
from skdep.inference._correlation_criteria import criteria_of_fit

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "gee_criteria.json").read_text())
GEEPACK = json.loads((REFERENCE / "gee.json").read_text())
STRUCTURES = {"ind": "independence", "exch": "exchangeable", "ar1": "ar1", "unstr": "unstructured"}
NAMES = ["quasi_likelihood", "qic", "qicu", "cic", "qicc", "c1", "c2", "rj", "dbar", "agpc", "sgpc", "pac", "ghyc"]


def study(key: str) -> SimpleNamespace:
    """Return a data set of the reference results."""
    if key == "ohio":
        ohio = load_ohio()
        return SimpleNamespace(X=ohio.data, y=ohio.target, groups=ohio.groups, time=ohio.time, family="binomial")
    if key == "epil":
        frame = load_epil().frame
        X = pd.DataFrame({"trt": 1.0 * (frame["trt"] == "progabide"), "base": np.log(frame["base"] / 4)})
        X = X.assign(age=np.log(frame["age"]))
        return SimpleNamespace(X=X, y=frame["y"], groups=frame["subject"], time=frame["period"], family="poisson")
    if key == "dietox":
        frame = load_dietox().frame
        X = frame[["Time"]].assign(a=1.0 * (frame["Cu"] == "Cu035"), b=1.0 * (frame["Cu"] == "Cu175"))
        return SimpleNamespace(X=X, y=frame["Weight"], groups=frame["Pig"], time=frame["Time"], family="gaussian")
    frame = pd.read_csv(REFERENCE / "data" / "sim_waves.csv")
    return SimpleNamespace(X=frame[["g", "x"]], y=frame["y"], groups=frame["id"], time=frame["time"], family="binomial")


@pytest.mark.parametrize("name", [name for name in R if name.split("_")[0] in ("ohio", "epil", "dietox", "waves")])
def test_against_geepack_and_matrices(name):
    key, structure = name.split("_")
    data, entry = study(key), R[name]
    est = GEERegressor(data.family, working_correlation=STRUCTURES[structure], dof="n", tol=1e-11)
    est.fit(data.X, data.y, groups=data.groups, time=data.time)
    assert_allclose(np.append(est.intercept_, est.coef_), list(entry["coef"].values()), rtol=1e-7)
    assert est.scale_ == pytest.approx(entry["phi"], rel=1e-8)
    found = criteria_of_fit(est, data.X, data.y, GEEMetadata(data.groups, None, None, data.time, None, None), None)
    assert not found.unavailable
    assert found.values["n_association"] == len(entry["alpha"])
    for criterion in NAMES:
        assert found.values[criterion] == pytest.approx(entry[criterion], rel=2e-7), criterion


@pytest.mark.parametrize("name", ["ohio_ind", "ohio_exch", "ohio_ar1", "epil_ind", "epil_exch"])
def test_against_qic_of_geepack(name):
    """geepack does not divide by phi; its Omega is that of another fit, under independence: the same for epil.

    There all features are constant within clusters of one size, so that the coefficients are those of independence.
    """
    key, entry = name.split("_")[0], GEEPACK[name]
    data = study(key)
    X = data.X.assign(both=data.X["age"] * data.X["smoke"]) if key == "ohio" else data.X
    est = GEERegressor(data.family, working_correlation=STRUCTURES[name.split("_")[1]], dof="n", tol=1e-11)
    est.fit(X, data.y, groups=data.groups, time=data.time)
    metadata = GEEMetadata(data.groups, None, None, data.time, None, None)
    found = criteria_of_fit(est, X, data.y, metadata, 1.0).values
    assert found["quasi_likelihood"] == pytest.approx(entry["qic"]["Quasi Lik"], rel=1e-6)
    if key == "epil":
        own = criteria_of_fit(est, X, data.y, metadata, None).values
        assert own["cic"] == pytest.approx(entry["qic"]["CIC"], rel=1e-6)
        penalty = own["qicc"] - own["qic"]
        assert penalty == pytest.approx(entry["qic"]["QICC"] - entry["qic"]["QIC"], rel=1e-6)


# ------------------------------------------------------------------------------------------------ a literal twin


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    kept = rng.uniform(size=160) < 0.85
    time = np.tile(np.arange(4.0), 40)
    X = rng.normal(size=(160, 2))
    eta = 0.3 + X @ [0.4, -0.3] + rng.normal(scale=0.6, size=40)[groups]
    order = rng.permutation(np.flatnonzero(kept))
    return SimpleNamespace(
        X=X[order],
        y=(eta + rng.normal(size=160))[order],
        counts=rng.poisson(np.exp(0.5 * eta))[order].astype(float),
        groups=groups[order],
        time=time[order],
        offset=rng.normal(scale=0.3, size=160)[order],
        weights=rng.uniform(0.4, 2.0, 160)[order],
        repeats=rng.integers(1, 4, 40).astype(float)[groups][order],
    )


def matrix(structure, association, times):
    lags = np.abs(np.subtract.outer(times, times)).astype(int)
    R = {
        "independence": lambda: np.zeros(lags.shape),
        "exchangeable": lambda: np.full(lags.shape, association),
        "ar1": lambda: np.asarray(association) ** lags,
        "toeplitz": lambda: np.append(1.0, association)[lags],
        "unstructured": lambda: association[np.ix_(times.astype(int), times.astype(int))].copy(),
    }[structure]()
    np.fill_diagonal(R, 1.0)
    return R


def twin(est, rows, y, structure, phi, *, weights, counts, offset):
    """Return the criteria by their definitions."""
    D0 = np.column_stack([np.ones(len(y)), rows.X])
    eta = D0 @ np.append(est.intercept_, est.coef_) + offset
    poisson = est.family == "poisson"
    mu = np.exp(eta) if poisson else eta
    variance = mu if poisson else np.ones_like(mu)
    slope = variance
    Q = y * np.log(mu) - mu if poisson else -0.5 * (y - mu) ** 2
    B = M = Omega = 0.0
    gpl, likelihood = 0.0, np.sum(weights * counts * Q) / phi
    rr, VV, pairs = np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))
    for label in np.unique(rows.groups):
        at = np.flatnonzero(rows.groups == label)
        n_i, repeats = len(at), counts[at[0]]
        root = np.diag(np.sqrt(variance[at] / weights[at]))
        V = phi * root @ matrix(structure, est.association_, rows.time[at]) @ root
        D, r = D0[at] * slope[at][:, None], y[at] - mu[at]
        u = D.T @ np.linalg.solve(V, r)
        B, M = B + repeats * D.T @ np.linalg.solve(V, D), M + repeats * np.outer(u, u)
        Omega = Omega + repeats * D.T @ np.diag(weights[at] / variance[at]) @ D / phi
        gpl += repeats * (n_i * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r))
        place = np.ix_(rows.time[at].astype(int), rows.time[at].astype(int))
        rr[place] += repeats * np.outer(r, r)
        VV[place] += repeats * V
        pairs[place] += repeats
    inverse = np.linalg.inv(B)
    gamma, V_R = inverse @ M, inverse @ M @ inverse
    K = np.sum([counts[rows.groups == label][0] for label in np.unique(rows.groups)])
    p, q = D0.shape[1], {"independence": 0, "exchangeable": 1, "ar1": 1, "toeplitz": 3, "unstructured": 6}[structure]
    c1, c2, cic = np.trace(gamma) / p, np.trace(gamma @ gamma) / p, np.trace(Omega @ V_R)
    S, V = rr / pairs, VV / pairs
    difference = S @ np.linalg.inv(V) - np.eye(4)
    return {
        "quasi_likelihood": likelihood,
        "qic": -2 * likelihood + 2 * cic,
        "qicu": -2 * likelihood + 2 * p,
        "cic": cic,
        "qicc": -2 * likelihood + 2 * cic + 2 * (p + q) * (p + q + 1) / (K - p - q - 1),
        "c1": c1,
        "c2": c2,
        "rj": np.sqrt((1 - c1) ** 2 + (1 - c2) ** 2),
        "dbar": c2 - 2 * c1 + 1,
        "agpc": gpl + 2 * (p + q),
        "sgpc": gpl + np.log(K) * (p + q),
        "pac": abs(np.linalg.det(S) / np.linalg.det(V) - 1),
        "ghyc": np.trace(difference @ difference),
    }


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1", "toeplitz", "unstructured"])
@pytest.mark.parametrize("extra", ["plain", "weights", "frequencies", "offset"])
@pytest.mark.parametrize("scale", [None, 1.7])
def test_by_definition(rows, structure, extra, scale):
    y, family = (rows.y, "gaussian") if extra == "offset" else (rows.counts, "poisson")
    est = GEERegressor(family, working_correlation=structure)
    weights = counts = np.ones(len(y))
    sample_weight, offset = None, None
    if extra == "weights":
        sample_weight, weights = rows.weights, rows.weights / rows.weights.mean()
    elif extra == "frequencies":
        est.set_params(weight_type="frequency")
        sample_weight = counts = rows.repeats
    elif extra == "offset":
        offset = rows.offset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(rows.X, y, groups=rows.groups, time=rows.time, sample_weight=sample_weight, offset=offset)
    metadata = GEEMetadata(rows.groups, sample_weight, offset, rows.time, None, None)
    found = criteria_of_fit(est, rows.X, y, metadata, scale).values
    shift = np.zeros(len(y)) if offset is None else offset
    phi = est.scale_ if scale is None else scale
    expected = twin(est, rows, y, structure, phi, weights=weights, counts=counts, offset=shift)
    for criterion, value in expected.items():
        assert found[criterion] == pytest.approx(value, rel=1e-7), criterion
    if scale is None:
        assert found["cic"] == pytest.approx(qic(est).cic, rel=1e-12)
        assert found["qic"] == pytest.approx(qic(est).qic, rel=1e-12)
    assert found["scale"] == est.scale_


def test_a_structure_of_ones_own_by_its_root_only(rows):
    """Without closed forms the determinant and the matrices come from the root; they are those of the closed form."""

    class Unknown(Exchangeable):
        name = "unknown"

    found = []
    for structure in ("exchangeable", Unknown()):
        est = GEERegressor("poisson", working_correlation=structure)
        est.fit(rows.X, rows.counts, groups=rows.groups, time=rows.time)
        metadata = GEEMetadata(rows.groups, None, None, rows.time, None, None)
        found.append(criteria_of_fit(est, rows.X, rows.counts, metadata, None).values)
    assert_allclose(list(found[0].values()), list(found[1].values()), rtol=1e-9)


def test_nested_by_its_root(rows):
    """With the clusters once more as inner units it is exchangeable, but for a parameter without pairs."""
    groups = np.column_stack([rows.groups, rows.groups])
    given = {"nested": groups, "exchangeable": rows.groups}
    found = {}
    for structure, labels in given.items():
        est = GEERegressor("poisson", working_correlation=structure)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est.fit(rows.X, rows.counts, groups=labels, time=rows.time)
        found[structure] = criteria_of_fit(
            est, rows.X, rows.counts, GEEMetadata(labels, None, None, rows.time, None, None), None
        ).values
    for criterion in ("cic", "rj", "pac", "ghyc"):
        assert found["nested"][criterion] == pytest.approx(found["exchangeable"][criterion], rel=1e-8)
    more = found["nested"]["n_association"] - found["exchangeable"]["n_association"]
    assert found["nested"]["agpc"] - found["exchangeable"]["agpc"] == pytest.approx(2.0 * more, abs=1e-6)


def test_what_the_data_do_not_allow(rows):
    est = GEERegressor("poisson").fit(rows.X, rows.counts, groups=rows.groups)
    found = criteria_of_fit(est, rows.X, rows.counts, GEEMetadata(rows.groups, None, None, None, None, None), None)
    assert set(found.unavailable) == {"pac", "ghyc"}
    assert "they compare residuals at the same position" in found.unavailable["pac"]
    assert np.isnan(found.values["pac"]) and np.isnan(found.values["ghyc"])
    late = rows.time >= 2
    groups = rows.groups + 1000 * late  # no cluster has early and late times
    est.fit(rows.X, rows.counts, groups=groups, time=rows.time)
    found = criteria_of_fit(est, rows.X, rows.counts, GEEMetadata(groups, None, None, rows.time, None, None), None)
    assert found.unavailable == dict.fromkeys(("pac", "ghyc"), "some pairs of positions never occur in one cluster")


def test_large_clusters():
    """Closed forms and a band are there for clusters of any size; other determinants stop at a thousand rows."""
    rng = np.random.default_rng(1)
    groups, time = np.repeat(np.arange(3), 1100), np.tile(np.arange(1100.0), 3)
    X = rng.normal(size=(3300, 1))
    y = (rng.uniform(size=3300) < 0.4 + 0.1 * (groups == 1)).astype(int)
    for structure, known in {"exchangeable": True, "ar1": True, "m_dependent": False}.items():
        est = GEEClassifier(working_correlation=structure)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est.fit(X, y, groups=groups, time=time)
        found = criteria_of_fit(est, X, y, GEEMetadata(groups, None, None, time, None, None), None)
        assert np.isfinite(found.values["agpc"]) == known
        assert ("agpc" in found.unavailable) == (not known)
        if known:
            R = matrix(structure, est.association_, time[:1100])
            p = est.predict_proba(X)[:, 1]
            V = est.scale_ * p * (1 - p)
            e = ((y - p) / np.sqrt(V)).reshape(3, 1100)
            gpl = np.sum(np.log(2 * np.pi * V)) + 3 * np.linalg.slogdet(R)[1] + np.sum(e * np.linalg.solve(R, e.T).T)
            assert found.values["agpc"] == pytest.approx(gpl + 6.0, rel=1e-9)
