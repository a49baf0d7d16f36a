"""Coefficient tables: closed forms, degrees of freedom, choice of covariance, wrapped estimators."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import LogitRegressor
from skdep.exceptions import ConvergenceWarning, FewClustersWarning
from skdep.inference import coef_table

COLUMNS = ["estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]
RNG = np.random.default_rng(1)
N = 120
FRAME = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["dose", "age"])
Y = (FRAME["dose"] + RNG.logistic(size=N) > 0).astype(int)
GROUPS = np.arange(N) % 15


@pytest.fixture(scope="module")
def clustered():
    return LogitRegressor().fit(FRAME, Y, groups=GROUPS)


def test_columns_and_index(clustered):
    table = coef_table(clustered)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == COLUMNS
    assert list(table.index) == ["Intercept", "dose", "age"]
    assert table.dtypes.map(lambda dtype: dtype.kind).eq("f").all()
    unnamed = LogitRegressor(fit_intercept=False).fit(FRAME.to_numpy(), Y)
    assert list(coef_table(unnamed).index) == ["x0", "x1"]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_normal_closed_form(clustered, level):
    table = coef_table(clustered, level=level)
    estimate = np.r_[clustered.intercept_, clustered.coef_[0]]
    error = np.sqrt(np.diag(clustered.covariance_))
    z = estimate / error
    half = stats.norm.ppf(0.5 + level / 2) * error
    assert_allclose(table["estimate"], estimate)
    assert_allclose(table["std_error"], error)
    assert_allclose(table["statistic"], z)
    assert (table["df"] == np.inf).all()
    assert_allclose(table["p_value"], 2 * stats.norm.sf(np.abs(z)), rtol=1e-12)
    assert_allclose(table["conf_low"], estimate - half)
    assert_allclose(table["conf_high"], estimate + half)


@pytest.mark.parametrize("df", [1, 2.5, 30, np.float64(7)])
def test_t_closed_form(clustered, df):
    table = coef_table(clustered, df=df)
    assert (table["df"] == df).all()
    assert_allclose(table["p_value"], 2 * stats.t.sf(np.abs(table["statistic"]), df), rtol=1e-12)
    half = stats.t.ppf(0.975, df) * table["std_error"]
    assert_allclose(table["conf_high"] - table["estimate"], half)
    assert_allclose(table["estimate"] - table["conf_low"], half)


def test_interval_excludes_zero_where_p_is_small(clustered):
    for df in ("normal", "residual", 4):
        table = coef_table(clustered, df=df, level=0.9)
        excluded = (table["conf_low"] > 0) | (table["conf_high"] < 0)
        assert list(excluded) == list(table["p_value"] < 0.1)


def test_tiny_p_values_do_not_vanish():
    x = np.repeat([0.0, 1.0], 1000)
    y = np.r_[np.arange(1000) % 10 == 0, np.arange(1000) % 10 > 0]
    p = coef_table(LogitRegressor().fit(x[:, None], y))["p_value"].iloc[1]
    assert 0 < p < 1e-150


@pytest.mark.parametrize("cov_type", ["model", "hc0", "hc1", "cluster"])
def test_covariance_chosen_later_is_that_of_a_fit_with_it(clustered, cov_type):
    direct = LogitRegressor(cov_type=cov_type).fit(FRAME, Y, groups=GROUPS)
    pd.testing.assert_frame_equal(
        coef_table(clustered, cov_type=cov_type).to_frame(), coef_table(direct).to_frame(), rtol=1e-12
    )


def test_covariance_chosen_later_brings_its_degrees_of_freedom():
    weights = RNG.uniform(1, 3, size=N)
    fit = LogitRegressor(weight_type="sampling").fit(FRAME, Y, groups=GROUPS, sample_weight=weights)
    assert (coef_table(fit)["df"] == 15 - 3).all()
    assert (coef_table(fit, df="normal")["df"] == np.inf).all()
    assert (coef_table(fit, cov_type="hc0")["df"] == np.inf).all()
    other = LogitRegressor(weight_type="sampling", cov_type="model").fit(FRAME, Y, sample_weight=weights)
    assert (coef_table(other, cov_type="design")["df"] == N - 3).all()


@pytest.mark.parametrize("fitted_with", ["model", "cluster"])
def test_residual_degrees_of_freedom_are_those_of_the_covariance_in_use(fitted_with):
    """Clusters less parameters for a clustered covariance, whichever covariance the fit was asked for."""
    fit = LogitRegressor(cov_type=fitted_with).fit(FRAME, Y, groups=GROUPS)
    assert (coef_table(fit, cov_type="cluster", df="residual")["df"] == 15 - 3).all()


def test_residual_degrees_of_freedom_without_groups():
    fit = LogitRegressor().fit(FRAME, Y)
    assert (coef_table(fit, df="residual")["df"] == N - 3).all()
    counts = np.arange(N) % 3
    weighted = LogitRegressor().fit(FRAME, Y, sample_weight=counts)
    assert (coef_table(weighted, df="residual")["df"] == counts.sum() - 3).all()


def test_several_ways_of_clustering_take_the_fewest():
    groups = np.column_stack([GROUPS, np.arange(N) // 10])
    fit = LogitRegressor().fit(FRAME, Y, groups=groups)
    assert (coef_table(fit, df="residual")["df"] == 12 - 3).all()


def test_no_degrees_of_freedom_left():
    with pytest.warns(FewClustersWarning):
        fit = LogitRegressor().fit(FRAME, Y, groups=np.arange(N) % 3)
    with pytest.warns(UserWarning, match=r"0 degrees of freedom left.*df='normal'") as caught:
        table = coef_table(fit, df="residual")
    assert caught[0].filename == __file__
    assert table[["p_value", "conf_low", "conf_high"]].isna().all(axis=None)
    assert table[["estimate", "std_error"]].notna().all(axis=None)


def test_aliased_coefficients_keep_their_estimate_only():
    X = FRAME.assign(again=FRAME["dose"])
    with pytest.warns(ConvergenceWarning):
        fit = LogitRegressor().fit(X, Y, groups=GROUPS)
    for cov_type in (None, "model", "hc1"):
        table = coef_table(fit, cov_type=cov_type)
        lost = table.loc[["dose", "again"]]
        assert lost.drop(columns=["estimate", "df"]).isna().all(axis=None)
        assert lost["estimate"].notna().all()
        assert table.loc[["Intercept", "age"]].notna().all(axis=None)


def test_errors(clustered):
    with pytest.raises(ValueError, match=r"cov_type='md' is not available for this fit; it has \['cluster', 'cr2'"):
        coef_table(clustered, cov_type="md")
    with pytest.raises(ValueError, match=r"'cluster' is not available.*need `groups` at fit"):
        coef_table(LogitRegressor().fit(FRAME, Y), cov_type="cluster")
    for level in (0.0, 1.0, 95, -0.1, np.nan):
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            coef_table(clustered, level=level)
    for df in (0, -1, np.nan):
        with pytest.raises(ValueError, match="df must be positive"):
            coef_table(clustered, df=df)
    with pytest.raises(ValueError, match=r"'satterthwaite' belongs to cov_type in \['cr2'\], not to 'cluster'"):
        coef_table(clustered, df="satterthwaite")


def test_plain_frame_and_html(clustered):
    table = coef_table(clustered)
    frame = table.to_frame()
    assert type(frame) is pd.DataFrame
    pd.testing.assert_frame_equal(frame, pd.DataFrame(table))
    assert "std_error" in table._repr_html_()
    assert "dose" in repr(table)
    assert table.loc["dose", "estimate"] == clustered.coef_[0, 0]
    frame["estimate"] = 0.0
    assert coef_table(clustered)["estimate"].ne(0).all(), "a table is the caller's own"


# ------------------------------------------------------------------------------------------- wrapped estimators


def test_pipeline(clustered):
    pipe = make_pipeline(StandardScaler(), LogitRegressor()).set_output(transform="pandas")
    pipe.fit(FRAME, Y, logitregressor__groups=GROUPS)
    table = coef_table(pipe)
    assert list(table.index) == ["Intercept", "dose", "age"]
    assert_allclose(table["p_value"].iloc[1:], coef_table(clustered)["p_value"].iloc[1:], rtol=1e-6)
    nested = Pipeline([("outer", pipe)])
    pd.testing.assert_frame_equal(coef_table(nested), table)


def test_grid_search():
    search = GridSearchCV(LogitRegressor(penalty="l2"), {"C": [0.1, 1.0]}, cv=3).fit(FRAME, Y)
    pd.testing.assert_frame_equal(coef_table(search), coef_table(search.best_estimator_))
    inside = make_pipeline(StandardScaler(), GridSearchCV(LogitRegressor(), {"penalty": [None, "firth"]}, cv=3))
    assert len(coef_table(inside.fit(FRAME, Y))) == 3


@pytest.mark.parametrize(
    "estimator",
    [
        LogitRegressor(),
        make_pipeline(StandardScaler(), LogitRegressor()),
        GridSearchCV(LogitRegressor(), {"penalty": [None]}),
    ],
    ids=["estimator", "pipeline", "search"],
)
def test_unfitted(estimator):
    with pytest.raises(NotFittedError):
        coef_table(clone(estimator))


def test_what_is_no_skdep_estimator():
    for other in (LogisticRegression().fit(FRAME, Y), make_pipeline(LogisticRegression()).fit(FRAME, Y)):
        with pytest.raises(TypeError, match="LogisticRegression is no fitted skdep estimator"):
            coef_table(other)
    with pytest.raises(TypeError):
        coef_table("a string")
    no_refit = GridSearchCV(LogitRegressor(), {"penalty": [None]}, refit=False, cv=3).fit(FRAME, Y)
    with pytest.raises(TypeError, match="refit"):
        coef_table(no_refit)


def test_no_warnings_in_ordinary_use(clustered):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coef_table(clustered, df="residual")._repr_html_()
