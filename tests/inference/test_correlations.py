"""`compare_correlations`: what is fitted and what is not, the table, the best, held-out deviance, printing."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.datasets import load_epil, load_ohio, load_respiratory
from skdep.gee.working_correlation import AR1, Fixed, MDependent
from skdep.inference import CorrelationComparison, coef_table, compare_correlations, qic


@pytest.fixture(scope="module")
def epil():
    study = load_epil()
    study.X = np.log(study.data[["base", "age"]])
    study.rows = {"groups": study.groups, "time": study.time}
    return study


@pytest.fixture(scope="module")
def found(epil):
    return compare_correlations(GEERegressor("poisson"), epil.X, epil.target, **epil.rows)


def test_table_is_that_of_the_fits(epil, found):
    assert isinstance(found, CorrelationComparison)
    assert set(found.fits) == {"independence", "exchangeable", "ar1", "unstructured", "m_dependent", "toeplitz"}
    assert set(found.skipped) == {"nested", "fixed"}
    for name, fit in found.fits.items():
        alone = GEERegressor("poisson", working_correlation=name).fit(epil.X, epil.target, **epil.rows)
        assert_allclose(fit.coef_, alone.coef_, rtol=1e-9)
        for criterion in ("qic", "qicu", "cic", "quasi_likelihood"):
            assert found.table.loc[name, criterion] == pytest.approx(getattr(qic(alone), criterion), rel=1e-9)
        assert_allclose(found.std_errors.loc[name], coef_table(alone, cov_type="robust")["std_error"], rtol=1e-8)
        assert found.table.loc[name, "scale"] == pytest.approx(alone.scale_)
    assert found.table.loc["ar1", "association"] == pytest.approx(found.fits["ar1"].association_)
    assert found.table.loc["unstructured", ["association", "n_association"]].tolist() == ["6 values", 6]
    assert found.table.loc["independence", "association"] == "none"
    assert found.held_out is None and "held_out_deviance" not in found.table
    frame = found.to_frame()
    assert list(frame.columns[-3:]) == ["se Intercept", "se base", "se age"]


def test_best(found):
    table = found.table
    assert found.best() == table["cic"].astype(float).idxmin()
    for criterion in ("qicc", "agpc", "sgpc"):
        assert found.best(criterion) == table[criterion].astype(float).idxmin()
    for criterion in ("rj", "dbar", "pac", "ghyc"):
        assert found.best(criterion) == table[criterion].astype(float).abs().idxmin()
    # features are constant within clusters of one size: exchangeable estimates are those of independence
    assert table.loc["exchangeable", "qic"] == pytest.approx(table.loc["independence", "qic"], rel=1e-10)
    assert found.best("qic") == "independence"
    for criterion in ("qicu", "c1", "scale", "held_out_deviance", "aic"):
        with pytest.raises(ValueError, match="does not compare working correlations"):
            found.best(criterion)


def test_the_right_structure_is_found():
    rng = np.random.default_rng(5)
    K, T = 400, 5
    groups, time = np.repeat(np.arange(K), T), np.tile(np.arange(T), K)
    lags = np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
    for name, R in {"ar1": 0.6**lags, "exchangeable": np.where(lags == 0, 1.0, 0.5)}.items():
        X = rng.normal(size=(K * T, 2))
        y = X @ [1.0, 0.5] + (rng.normal(size=(K, T)) @ np.linalg.cholesky(R).T).ravel()
        comparison = compare_correlations(
            GEERegressor(), X, y, groups=groups, time=time, structures=["independence", "exchangeable", "ar1"]
        )
        assert [comparison.best(criterion) for criterion in ("cic", "agpc", "sgpc", "pac", "ghyc")] == [name] * 5
        assert comparison.best("rj") != "independence"


def test_one_scale_for_all(epil, found):
    shared = compare_correlations(GEERegressor("poisson"), epil.X, epil.target, scale="independence", **epil.rows)
    phi = found.table.loc["independence", "scale"]
    ratio = found.table["scale"] / phi
    assert_allclose(shared.table["cic"].astype(float), (found.table["cic"] * ratio).astype(float), rtol=1e-10)
    assert_allclose(
        shared.table["quasi_likelihood"].astype(float), (found.table["quasi_likelihood"] * ratio).astype(float)
    )
    assert_allclose(shared.table["scale"].astype(float), found.table["scale"].astype(float))  # the fits are the same
    given = compare_correlations(GEERegressor("poisson"), epil.X, epil.target, scale=phi, **epil.rows)
    without = compare_correlations(
        GEERegressor("poisson"), epil.X, epil.target, structures=["ar1"], scale="independence", **epil.rows
    )
    for other in (given, without):
        assert other.table.loc["ar1", "rj"] == pytest.approx(shared.table.loc["ar1", "rj"], rel=1e-9)
    for scale in ("common", 0.0, np.nan):
        with pytest.raises(ValueError, match="scale must be"):
            compare_correlations(GEERegressor("poisson"), epil.X, epil.target, scale=scale, **epil.rows)


def test_gaussian_quasi_likelihood_is_constant_with_its_own_scale():
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(30), 3)
    X = rng.normal(size=(90, 1))
    y = rng.normal(size=30)[groups] + rng.normal(size=90)
    own = compare_correlations(GEERegressor(), X, y, groups=groups)
    assert own.table["quasi_likelihood"].nunique() <= 2
    assert_allclose(own.table["quasi_likelihood"].astype(float), -(90 - 2) / 2, rtol=1e-10)
    shared = compare_correlations(GEERegressor(), X, y, groups=groups, scale="independence")
    assert shared.table["quasi_likelihood"].astype(float).idxmax() == "independence"


# ------------------------------------------------------------------------------------------------ what is compared


def test_structures_that_do_not_suit_are_skipped_with_the_reason(epil):
    found = compare_correlations(GEERegressor("poisson"), epil.X, epil.target, groups=epil.groups)
    assert list(found.fits) == ["independence", "exchangeable"]
    assert "no time was given" in found.skipped["ar1"]
    assert "known beforehand" in found.skipped["fixed"]
    assert "ar1, unstructured, m_dependent, toeplitz: not fitted: it depends on time" in str(found)
    many = np.random.default_rng(0).permutation(len(epil.target))
    spread = compare_correlations(GEERegressor("poisson"), epil.X, epil.target, groups=epil.groups, time=many)
    assert spread.skipped["unstructured"] == "it has up to 27730 parameters for 59 clusters"
    with pytest.raises(ValueError, match=r"No working correlation could be fitted: \{'nested': .* needs groups"):
        compare_correlations(GEERegressor("poisson"), epil.X, epil.target, groups=epil.groups, structures=["nested"])


def test_structures_by_name_and_as_objects(epil):
    known = np.where(np.eye(4) == 1, 1.0, 0.4)
    found = compare_correlations(
        GEERegressor("poisson"),
        epil.X,
        epil.target,
        structures=["ar1", AR1(pairs="all"), MDependent(m=2), Fixed(known)],
        **epil.rows,
    )
    assert list(found.fits) == ["ar1", "ar1 #2", "m_dependent", "fixed"]
    assert found.table.loc["fixed", "n_association"] == 0
    assert found.table.loc["m_dependent", "n_association"] == 2
    named = compare_correlations(
        GEERegressor("poisson"), epil.X, epil.target, structures={"all pairs": AR1(pairs="all")}, **epil.rows
    )
    assert named.table.loc["all pairs", "cic"] == pytest.approx(found.table.loc["ar1 #2", "cic"])
    for wrong in (["exch"], [3.0]):
        with pytest.raises(ValueError, match="is no working correlation"):
            compare_correlations(GEERegressor("poisson"), epil.X, epil.target, structures=wrong, **epil.rows)
    with pytest.raises(ValueError, match="structures is empty"):
        compare_correlations(GEERegressor("poisson"), epil.X, epil.target, structures=[], **epil.rows)


def test_subclusters():
    """Only the nested structure uses the second column of groups; clusters are those of the first for all."""
    frame = load_respiratory().frame
    frame = frame.assign(block=frame["id"] % 10)
    X, y = frame[["age", "baseline"]], frame["outcome"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare_correlations(GEEClassifier(), X, y, groups=frame[["block", "id"]])
        alone = GEEClassifier(working_correlation="exchangeable").fit(X, y, groups=frame["block"])
    assert set(found.fits) == {"independence", "exchangeable", "nested"}
    assert found.table.loc["nested", "n_association"] == 2
    assert found.table.loc["exchangeable", "cic"] == pytest.approx(qic(alone).cic, rel=1e-9)


def test_warnings_become_notes(epil):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare_correlations(
            GEERegressor("poisson"), epil.X, epil.target, groups=epil.groups, structures=["exchangeable", "ar1"]
        )
    assert list(found.notes) == ["ar1"]
    assert "no time was given" in found.notes["ar1"][0]
    hasty = compare_correlations(
        GEERegressor("poisson", max_iter=2), epil.X, epil.target, structures=["exchangeable", "ar1"], **epil.rows
    )
    assert all("did not converge" in notes[0] for notes in hasty.notes.values())
    with pytest.raises(ValueError, match="computed for no working correlation"):
        hasty.best("cic")


def test_weights_offsets_and_designs_reach_the_fits(epil):
    rng = np.random.default_rng(7)
    weights = rng.uniform(0.5, 2.0, 59)[np.asarray(epil.groups) - 1]
    offset, strata = rng.normal(scale=0.1, size=236), np.asarray(epil.groups) % 2
    given = {**epil.rows, "sample_weight": weights, "offset": offset, "strata": strata}
    found = compare_correlations(
        GEERegressor("poisson"), epil.X, epil.target, structures=["exchangeable"], coefficients="age", **given
    )
    alone = GEERegressor("poisson", working_correlation="exchangeable").fit(epil.X, epil.target, **given)
    assert found.table.loc["exchangeable", "cic"] == pytest.approx(qic(alone).cic, rel=1e-9)
    assert list(found.std_errors) == ["age"]
    assert found.std_errors.iloc[0, 0] == pytest.approx(np.sqrt(alone.covariance_[2, 2]), rel=1e-9)
    with pytest.raises(ValueError, match=r"unknown names \['weight'\]"):
        compare_correlations(GEERegressor("poisson"), epil.X, epil.target, coefficients=["weight"], **epil.rows)


# ------------------------------------------------------------------------------------------------ held-out deviance


def test_held_out_deviance_by_hand():
    ohio = load_ohio()
    X, y, groups = ohio.data.to_numpy(), ohio.target.to_numpy(), ohio.groups.to_numpy()
    weights = np.random.default_rng(8).integers(1, 4, groups.max() + 1)[groups].astype(float)
    found = compare_correlations(
        GEEClassifier(weight_type="frequency"),
        X,
        y,
        groups=groups,
        time=ohio.time,
        sample_weight=weights,
        structures=["independence", "ar1"],
        cv=3,
    )
    deviance, total, by_fold = 0.0, 0.0, []
    for train, test in GroupKFold(3).split(X, y, groups):
        est = GEEClassifier(working_correlation="ar1", weight_type="frequency")
        est.fit(
            X[train], y[train], groups=groups[train], time=ohio.time.to_numpy()[train], sample_weight=weights[train]
        )
        p = est.predict_proba(X[test])[:, 1]
        rows = -2.0 * np.where(y[test] == 1, np.log(p), np.log(1 - p))
        by_fold.append(np.average(rows, weights=weights[test]))
        deviance, total = deviance + weights[test] @ rows, total + weights[test].sum()
    assert_allclose(found.held_out["ar1"], by_fold, rtol=1e-8)
    assert found.table.loc["ar1", "held_out_deviance"] == pytest.approx(deviance / total, rel=1e-8)
    assert found.best("held_out_deviance") in found.fits
    assert found.held_out.shape == (3, 2)


def test_steps_before_the_model_see_the_training_rows_only(epil):
    pipe = make_pipeline(StandardScaler(), GEERegressor("poisson"))
    splitter = folds_of(list(KFold(4, shuffle=True, random_state=0).split(epil.X)))
    found = compare_correlations(pipe, epil.X, epil.target, structures=["exchangeable"], cv=splitter, **epil.rows)
    plain = compare_correlations(
        GEERegressor("poisson"), epil.X, epil.target, structures=["exchangeable"], cv=splitter, **epil.rows
    )
    # an affine change of features by the training rows changes no prediction; one by the test rows would
    assert_allclose(found.held_out, plain.held_out, rtol=1e-7)
    for criterion in ("cic", "rj", "agpc"):
        assert found.table.loc["exchangeable", criterion] == pytest.approx(plain.table.loc["exchangeable", criterion])
    assert list(found.std_errors) == ["Intercept", "base", "age"]
    assert not hasattr(pipe[-1], "coef_")


def test_fold_that_cannot_be_used():
    rng = np.random.default_rng(9)
    groups = np.repeat(np.arange(6), 5)
    X, y = rng.normal(size=(30, 1)), (np.arange(30) % 2 == 0).astype(int)
    y[groups > 1] = 0
    everything = np.arange(30)
    folds = [(everything[groups > 0], everything[groups == 0]), (everything[groups > 1], everything[groups < 2])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare_correlations(
            GEEClassifier(), X, y, groups=groups, structures=["independence"], cv=folds_of(folds)
        )
    assert np.isfinite(found.held_out.iloc[0, 0]) and np.isnan(found.held_out.iloc[1, 0])
    assert np.isnan(found.table.loc["independence", "held_out_deviance"])
    assert any("fold 2 could not be used" in note for note in found.notes["independence"])


class folds_of:
    """A splitter that has its folds."""

    def __init__(self, folds):
        self.folds = folds

    def split(self, X, y=None, groups=None):
        """Return them."""
        return iter(self.folds)


# ------------------------------------------------------------------------------------------------ refusals, printing


def test_refusals(epil):
    with pytest.raises(ValueError, match="pass groups="):
        compare_correlations(GEERegressor("poisson"), epil.X, epil.target, groups=None)
    with pytest.raises(TypeError, match="compare_correlations is for GEERegressor and GEEClassifier, got LogitReg"):
        compare_correlations(LogitRegressor(), epil.X, epil.target > 3, **epil.rows)


def test_printing(found):
    text = str(found)
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["cic"].count("*") == 1 and lines["qicu"].count("*") == 0 and lines["c1"].count("*") == 0
    column = text.splitlines()[0].split().index(found.best("cic"))
    assert lines["cic"].replace(" *", "*").split()[column + 1].endswith("*")
    assert "fixed: not fitted: it is for a correlation matrix that is known beforehand" in text
    assert "held_out_deviance" not in text
    html = found._repr_html_()
    assert "<table" in html and "best by this criterion" in html
    assert isinstance(found.to_frame(), pd.DataFrame)
    assert found.to_frame()["cic"].dtype == float
    with pytest.raises(AttributeError):
        found.table = None
