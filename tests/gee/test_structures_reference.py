"""m-dependent, Toeplitz, nested and fixed working correlations against R's geepack and gee, and against statsmodels."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skdep import GEERegressor
from skdep.datasets import load_epil, load_ohio
from skdep.gee.working_correlation import Fixed, MDependent

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def reference():
    return json.loads((REFERENCE / "gee_structures.json").read_text())


def ohio():
    frame = load_ohio().frame
    X = np.column_stack([frame["age"], frame["smoke"], frame["age"] * frame["smoke"]]).astype(float)
    return {"X": X, "y": frame["resp"], "groups": frame["id"], "time": frame["age"]}, "binomial"


def epil():
    frame = load_epil().frame
    X = np.column_stack([frame["trt"] == "progabide", np.log(frame["base"] / 4), np.log(frame["age"])]).astype(float)
    return {"X": X, "y": frame["y"], "groups": frame["subject"], "time": frame["period"]}, "poisson"


def waves():
    frame = pd.read_csv(REFERENCE / "data" / "sim_waves.csv")
    return {"X": frame[["g", "x"]], "y": frame["y"], "groups": frame["id"], "time": frame["wave"]}, "binomial"


def nested(outcome, levels):
    frame = pd.read_csv(REFERENCE / "data" / "sim_nested.csv")
    columns = ["practice", "doctor", "patient"][:levels]
    family = {"yb": "binomial", "yc": "gaussian"}[outcome]
    return {"X": frame[["x"]], "y": frame[outcome], "groups": frame[columns]}, family


def fit(rows, family, structure, *, seed=None, **params):
    """Fit to the rows, shuffled if a seed is given."""
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(rows["y"]))
        rows = {name: values.iloc[order] if hasattr(values, "iloc") else values[order] for name, values in rows.items()}
    X, y, metadata = rows["X"], rows["y"], {k: v for k, v in rows.items() if k not in "Xy"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*correlation of binary outcomes")
        return GEERegressor(family, working_correlation=structure, tol=1e-12, **params).fit(X, y, **metadata)


def assert_agrees(est, entry, *, rtol=1e-6):
    robust = np.array(entry["robust_se"])
    expected = list(entry["coef"].values())
    np.testing.assert_array_less(np.abs(np.array([est.intercept_, *est.coef_]) - expected), rtol * robust)
    np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), robust, rtol=rtol)


LAGS = [
    pytest.param(data, n_lags, scale, id=f"{data.__name__} {n_lags} {scale}")
    for data in (ohio, epil, waves)
    for n_lags in (1, 2, 4 if data is waves else 3)
    for scale in ([None] if data is epil else [None, 1.0])
]


@pytest.mark.parametrize(("data", "n_lags", "scale"), LAGS)
def test_lags_of_geepack(reference, data, n_lags, scale):
    """Visits are missing from `waves`. Its longest lag is 4, that of the others 3: those are Toeplitz too."""
    name = f"{data.__name__}_lags{n_lags}" + ("" if scale is None else "_phi1")
    entry = reference[name]
    rows, family = data()
    structures = [MDependent(m=n_lags)]
    if n_lags == (4 if data is waves else 3):
        structures += [MDependent(m=n_lags + 3), "toeplitz"]
    for structure in structures:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No rows of a cluster")
            est = fit(rows, family, structure, dof="n", scale=scale, seed=1)
        assert_agrees(est, entry)
        np.testing.assert_allclose(est.association_[:n_lags], entry["alpha"], rtol=1e-6)
        assert not est.association_[n_lags:].any()
        assert est.scale_ == pytest.approx(entry["phi"], rel=1e-7)
        np.testing.assert_allclose(np.sqrt(np.diag(est._inference.covariance("naive"))), entry["naive_se"], rtol=1e-6)


@pytest.mark.parametrize("data", [ohio, epil], ids=lambda data: data.__name__)
@pytest.mark.parametrize("m", [1, 2, 3])
def test_stationary_m_dependence_of_gee(reference, data, m):
    """Clusters of equal size, where its averages over clusters are averages over rows."""
    entry = reference[f"{data.__name__}_mdep{m}_gee"]
    rows, family = data()
    est = fit(rows, family, MDependent(m=m), dof="n")
    assert_agrees(est, entry)
    np.testing.assert_allclose(est.association_, np.array(entry["correlation"])[0, 1 : m + 1], rtol=1e-6)


def test_fixed_of_geepack_and_gee(reference):
    matrices = {name: np.array(matrix) for name, matrix in reference["fixed_matrices"].items()}
    est = fit(*ohio(), Fixed(matrices["four"]), dof="n", seed=2)
    for name in ("ohio_fixed", "ohio_fixed_gee"):
        assert_agrees(est, reference[name])
    np.testing.assert_array_equal(est.association_, matrices["four"])
    est = fit(*waves(), Fixed(matrices["five"]), dof="n", seed=2)
    assert_agrees(est, reference["waves_fixed"])
    np.testing.assert_allclose(
        np.sqrt(np.diag(est._inference.covariance("naive"))), reference["waves_fixed"]["naive_se"], rtol=1e-6
    )


@pytest.mark.parametrize(("outcome", "scale"), [("yb", None), ("yb", 1.0), ("yc", None)])
@pytest.mark.parametrize("levels", [2, 3])
def test_nested_of_geepack(reference, outcome, levels, scale):
    """Numbers of doctors restart in every practice, numbers of patients for every doctor."""
    name = f"nested_{'two' if levels == 2 else 'three'}_{outcome}" + ("" if scale is None else "_phi1")
    entry = reference[name]
    est = fit(*nested(outcome, levels), "nested", dof="n", scale=scale, seed=3)
    assert_agrees(est, entry)
    np.testing.assert_allclose(est.association_, entry["alpha"], rtol=1e-6)
    assert est.scale_ == pytest.approx(entry["phi"], rel=1e-7)
    np.testing.assert_allclose(np.sqrt(np.diag(est._inference.covariance("naive"))), entry["naive_se"], rtol=1e-6)


def statsmodels_fit(rows, family, structure, **data):
    import statsmodels.api as sm

    families = {"binomial": sm.families.Binomial, "poisson": sm.families.Poisson, "gaussian": sm.families.Gaussian}
    X = sm.add_constant(np.asarray(rows["X"], dtype=float))
    model = sm.GEE(np.asarray(rows["y"], dtype=float), X, family=families[family](), cov_struct=structure, **data)
    # its test of convergence depends on units: ask for more than is needed
    return model.fit(maxiter=200, ctol=1e-10)


@pytest.mark.parametrize("outcome", ["yb", "yc"])
def test_nested_of_statsmodels(outcome):
    """It divides by N - p for phi and by all pairs for alpha, and clips differences of correlations at 0."""
    import statsmodels.api as sm

    rows, family = nested(outcome, 2)
    groups = rows["groups"]
    doctor = groups["practice"] * 10 + groups["doctor"]
    structure = sm.cov_struct.Nested()
    peer = statsmodels_fit(
        rows, family, structure, groups=groups["practice"].to_numpy(), dep_data=doctor.to_numpy()[:, None]
    )
    est = fit(rows, family, "nested", dof="n", scale=float(structure.scale))
    np.testing.assert_allclose(est.association_, np.cumsum(structure.vcomp_coeff) / structure.scale, rtol=1e-7)
    np.testing.assert_allclose([est.intercept_, *est.coef_], peer.params, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), peer.bse, rtol=1e-6)


@pytest.mark.parametrize("data", [ohio, epil], ids=lambda data: data.__name__)
def test_stationary_of_statsmodels(data):
    """On complete clusters its ratio of averages over clusters is the ratio of sums."""
    import statsmodels.api as sm

    rows, family = data()
    structure = sm.cov_struct.Stationary(max_lag=2, grid=True)
    peer = statsmodels_fit(rows, family, structure, groups=np.asarray(rows["groups"]))
    est = fit(rows, family, MDependent(m=2), dof="n")
    np.testing.assert_allclose(est.association_, structure.dep_params[1:], rtol=1e-7)
    np.testing.assert_allclose([est.intercept_, *est.coef_], peer.params, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), peer.bse, rtol=1e-6)
