"""Wald tests: closed forms, equivalent statements of one hypothesis, and hypotheses that cannot be tested."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import LogitRegressor
from skdep.exceptions import ConvergenceWarning, FewClustersWarning
from skdep.inference import coef_table, wald_test

RNG = np.random.default_rng(2)
N = 120
FRAME = pd.DataFrame(RNG.normal(size=(N, 3)), columns=["a", "b", "c"])
Y = (FRAME["a"] + RNG.logistic(size=N) > 0).astype(int)
GROUPS = np.arange(N) % 20


@pytest.fixture(scope="module")
def fit():
    return LogitRegressor().fit(FRAME, Y, groups=GROUPS)


def by_hand(fit, R, r=0.0, covariance=None):
    b = np.r_[fit.intercept_, fit.coef_[0]]
    V = fit.covariance_ if covariance is None else covariance
    difference = R @ b - r
    return difference @ np.linalg.inv(R @ V @ R.T) @ difference


R2 = np.array([[0, 1, -1, 0], [0, 0, 1, 2.0]])


@pytest.mark.parametrize("r", [0.0, 0.3, [0.1, -0.4]])
def test_chi_square_closed_form(fit, r):
    test = wald_test(fit, R2, r)
    assert test.statistic == pytest.approx(by_hand(fit, R2, r), rel=1e-10)
    assert (test.df, test.df_denominator) == (2, np.inf)
    assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, 2), rel=1e-12)
    assert test.distribution == "chi2(2)"


@pytest.mark.parametrize("df", [5, 17.5, "residual"])
def test_f_closed_form(fit, df):
    test = wald_test(fit, R2, df=df)
    denominator = 20 - 4 if df == "residual" else df
    assert test.statistic == pytest.approx(by_hand(fit, R2) / 2, rel=1e-10)
    assert test.df_denominator == denominator
    assert test.p_value == pytest.approx(stats.f.sf(test.statistic, 2, denominator), rel=1e-12)
    assert test.distribution == f"F(2, {denominator:g})"


def test_survey_weights_use_f_by_default():
    fit = LogitRegressor(weight_type="sampling").fit(FRAME, Y, groups=GROUPS)
    assert wald_test(fit, ["a", "b"]).df_denominator == 20 - 4
    assert wald_test(fit, ["a", "b"], df="normal").df_denominator == np.inf


@pytest.mark.parametrize("df", ["normal", 9])
@pytest.mark.parametrize("name", ["Intercept", "a", "c"])
def test_one_hypothesis_is_the_square_of_the_table(fit, name, df):
    row, test = coef_table(fit, df=df).loc[name], wald_test(fit, name, df=df)
    assert test.statistic == pytest.approx(row["statistic"] ** 2, rel=1e-12)
    assert test.p_value == pytest.approx(row["p_value"], rel=1e-10)


def test_names_are_unit_vectors(fit):
    expected = wald_test(fit, np.eye(4)[[1, 3]])
    for names in (["a", "c"], ("c", "a"), np.array(["a", "c"]), pd.Index(["a", "c"])):
        test = wald_test(fit, names)
        assert test.statistic == pytest.approx(expected.statistic, rel=1e-12)
        assert test.df == 2
    assert wald_test(fit, "a").statistic == pytest.approx(wald_test(fit, [0, 1, 0, 0]).statistic)


def test_equivalent_hypotheses_have_one_statistic(fit):
    mixing = np.array([[2.0, 1.0], [-1.0, 3.0]])
    original, mixed = wald_test(fit, R2, [0.1, 0.2]), wald_test(fit, mixing @ R2, mixing @ [0.1, 0.2])
    assert mixed.statistic == pytest.approx(original.statistic, rel=1e-10)
    tiny = wald_test(fit, np.diag([1e-12, 1.0]) @ R2, [1e-13, 0.2])
    assert tiny.statistic == pytest.approx(original.statistic, rel=1e-6)


def test_hypotheses_of_very_different_size_are_independent(fit):
    R = np.array([[0, 1e-20, 0, 0], [0, 0, 1.0, 0]])
    assert wald_test(fit, R).statistic == pytest.approx(wald_test(fit, ["a", "b"]).statistic, rel=1e-8)


@pytest.mark.parametrize("cov_type", ["model", "hc0", "cluster"])
def test_covariance_chosen_later(fit, cov_type):
    expected = by_hand(fit, R2, covariance=fit._inference.covariance(cov_type))
    assert wald_test(fit, R2, cov_type=cov_type).statistic == pytest.approx(expected, rel=1e-10)


def test_true_values_give_zero(fit):
    b = np.r_[fit.intercept_, fit.coef_[0]]
    test = wald_test(fit, np.eye(4), b)
    assert test.statistic == pytest.approx(0.0, abs=1e-20)
    assert test.p_value == pytest.approx(1.0)


def test_pipeline(fit):
    pipe = make_pipeline(StandardScaler(), LogitRegressor()).set_output(transform="pandas")
    pipe.fit(FRAME, Y, logitregressor__groups=GROUPS)
    assert_allclose(wald_test(pipe, ["a", "b"]).statistic, wald_test(fit, ["a", "b"]).statistic, rtol=1e-6)


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("R", "message"),
    [
        pytest.param(["a", "d"], r"unknown parameters \['d'\]; the model has \['Intercept', 'a'", id="name"),
        pytest.param("a = 0", "unknown parameters", id="formula"),
        pytest.param([[1, 0, 0]], r"one column for each of the 4 parameters.*got shape \(1, 3\)", id="columns"),
        pytest.param([], "one column for each", id="empty"),
        pytest.param(np.zeros((0, 4)), "one column for each", id="no rows"),
        pytest.param(np.zeros((1, 1, 4)), "one column for each", id="three-dimensional"),
        pytest.param([[0, 1, 0, 0], [0, 2, 0, 0]], "linearly dependent", id="dependent"),
        pytest.param(["a", "a"], "linearly dependent", id="a name twice"),
        pytest.param([[0, 0, 0, 0]], "linearly dependent", id="zero"),
        pytest.param([[0, 1, np.nan, 0]], "R", id="nan"),
        pytest.param(3, "R", id="number"),
    ],
)
def test_hypotheses_that_make_no_sense(fit, R, message):
    with pytest.raises(ValueError, match=message):
        wald_test(fit, R)


@pytest.mark.parametrize("r", [[1, 2, 3], np.nan, "a"])
def test_values_that_make_no_sense(fit, r):
    with pytest.raises(ValueError, match=r"\br\b"):
        wald_test(fit, ["a", "b"], r)


def test_aliased_coefficients_are_refused():
    with pytest.warns(ConvergenceWarning):
        fit = LogitRegressor().fit(FRAME.assign(again=FRAME["a"]), Y)
    with pytest.raises(ValueError, match=r"not estimable, because features are collinear: \['a', 'again'\]"):
        wald_test(fit, ["a", "again", "b"])
    alone = LogitRegressor().fit(FRAME, Y)
    assert_allclose(wald_test(fit, ["b", "c"]).statistic, wald_test(alone, ["b", "c"]).statistic, rtol=1e-6)


def test_more_hypotheses_than_clusters_allow():
    with pytest.warns(FewClustersWarning):
        fit = LogitRegressor().fit(FRAME, Y, groups=np.arange(N) % 3)
    with pytest.raises(ValueError, match=r"too low a rank to test 3 hypotheses jointly: there are too few clusters"):
        wald_test(fit, ["a", "b", "c"])
    assert wald_test(fit, ["a", "b"]).df == 2
    with pytest.warns(FewClustersWarning):
        alone = LogitRegressor().fit(FRAME, Y, groups=np.zeros(N))
    with pytest.raises(ValueError, match="zero or not finite"):
        wald_test(alone, ["a"])


# ----------------------------------------------------------------------------------------------------- display


def test_display(fit):
    test = wald_test(fit, ["a", "b"], df=11)
    assert str(test) == f"Wald test: {test.statistic:.4f} on F(2, 11), p = {test.p_value:.4g}"
    frame = test.to_frame()
    assert list(frame.columns) == ["statistic", "df", "df_denominator", "p_value"]
    assert_allclose(frame.iloc[0], [test.statistic, 2, 11, test.p_value])
    assert "df_denominator" in test._repr_html_()
    with pytest.raises(FrozenInstanceError):
        test.statistic = 0.0
