"""Tables and tests with Satterthwaite's degrees of freedom, under every type of covariance that has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from skdep import GEEClassifier, GEERegressor
from skdep.datasets import load_dietox, load_ohio
from skdep.inference import coef_table, marginal_effects, wald_test

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "gee_small_sample.json").read_text())
TYPES = {"CR0": "robust", "CR2": "kc", "CR3": "md"}


def pigs(**params):
    """Return the linear model of R's entry club_pigs: twelve clusters, independence."""
    frame = load_dietox().frame
    frame = frame[frame["Pig"].isin(frame["Pig"].drop_duplicates()[:12])]
    X = frame[["Time"]].assign(a=1.0 * (frame["Cu"] == "Cu035"), b=1.0 * (frame["Cu"] == "Cu175"))
    return GEERegressor(**params).fit(X, frame["Weight"], groups=frame["Pig"]), X


@pytest.mark.parametrize("theirs", TYPES)
def test_clubsandwich(theirs):
    expected = REFERENCE["club_pigs"][theirs]
    est, _ = pigs()
    table = coef_table(est, cov_type=TYPES[theirs], df="satterthwaite")
    np.testing.assert_allclose(table["std_error"], expected["se"], rtol=1e-8)
    np.testing.assert_allclose(table["df"], expected["df"], rtol=1e-8)
    joint = wald_test(est, ["a", "b"], cov_type=TYPES[theirs], df="satterthwaite")
    assert joint.statistic == pytest.approx(expected["joint"]["statistic"], rel=1e-7)
    assert joint.df_denominator == pytest.approx(expected["joint"]["df_denominator"], rel=1e-7)
    assert joint.p_value == pytest.approx(expected["joint"]["p_value"], rel=1e-6)
    single = wald_test(est, ["a"], cov_type=TYPES[theirs], df="satterthwaite")
    assert single.p_value == pytest.approx(table.loc["a", "p_value"], rel=1e-8)


def test_defaults():
    est, _ = pigs()
    assert (coef_table(est)["df"] == np.inf).all()
    for kind in ("df", "md", "kc", "fg", "mbn", "pan", "jackknife"):
        assert (coef_table(est, cov_type=kind)["df"] == 8).all()
        assert wald_test(est, ["a", "b"], cov_type=kind).df_denominator == 8
    by_type = {kind: coef_table(est, cov_type=kind, df="satterthwaite")["df"] for kind in ("md", "jackknife")}
    np.testing.assert_allclose(by_type["md"], by_type["jackknife"])


def test_functions_of_coefficients():
    est, X = pigs(cov_type="kc")
    effects = marginal_effects(est, X, df="satterthwaite").to_frame()
    table = coef_table(est, df="satterthwaite").to_frame()
    np.testing.assert_allclose(effects["df"], table["df"][1:], rtol=1e-8)
    np.testing.assert_allclose(effects["std_error"], table["std_error"][1:], rtol=1e-8)


def test_what_is_not_there_is_said():
    est, _ = pigs()
    with pytest.raises(ValueError, match=r"df='satterthwaite' belongs to cov_type in \['robust', 'df', 'md', 'kc'"):
        coef_table(est, cov_type="fg", df="satterthwaite")
    with pytest.raises(ValueError, match="'kenward-roger' is not defined for sandwich covariances"):
        coef_table(est, cov_type="kc", df="kenward-roger")
    with pytest.raises(ValueError, match="cov_type='hc1' is not available"):
        coef_table(est, cov_type="hc1", df="residual")


def test_no_degrees_of_freedom_left():
    ohio = load_ohio()
    few = np.isin(ohio.groups, [0, 1, 536])
    est = GEEClassifier().fit(ohio.data[few], [0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0], groups=ohio.groups[few])
    with pytest.warns(UserWarning, match="0 degrees of freedom left"):
        assert coef_table(est, cov_type="md")["p_value"].isna().all()
    assert np.isnan(wald_test(est, ["age"], cov_type="md").p_value)
    # hypotheses that follow from each other have no joint distribution
    assert est._inference.small_sample_of("md").joint_df(np.ones((2, 3)), "satterthwaite") == (0.0, 1.0)
