"""Quasi-likelihood criteria by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import xlogy
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.inference import qic
from skdep.inference.criteria import QICResult


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 4)
    X = rng.normal(size=(200, 2))
    eta = 0.2 + X @ [0.4, -0.3] + rng.normal(scale=0.5, size=50)[groups]
    return X, rng.poisson(np.exp(eta)).astype(float), groups, rng.uniform(0.5, 2.0, 200)


# Q(mu; y) and V(mu), McCullagh and Nelder, table 9.1
BY_HAND = {
    "gaussian": (lambda y, mu: -((y - mu) ** 2) / 2, lambda mu: np.ones_like(mu)),
    "poisson": (lambda y, mu: y * np.log(mu) - mu, lambda mu: mu),
    "gamma": (lambda y, mu: -y / mu - np.log(mu), lambda mu: mu**2),
    "inverse_gaussian": (lambda y, mu: (mu - y / 2) / mu**2, lambda mu: mu**3),
    "binomial": (lambda y, mu: xlogy(y, mu) + xlogy(1 - y, 1 - mu), lambda mu: mu * (1 - mu)),
}


@pytest.mark.parametrize("family", sorted(BY_HAND))
@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
@pytest.mark.parametrize("scale", [None, 2.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_qic_by_hand(rows, family, structure, scale, weighted):
    X, counts, groups, weights = rows
    y = {"binomial": np.minimum(counts, 1.0)}.get(family, counts + (family in ("gamma", "inverse_gaussian")))
    link = "logit" if family == "binomial" else "identity" if family == "gaussian" else "log"
    given = weights if weighted else np.ones(200)
    est = GEERegressor(family, link=link, working_correlation=structure, scale=scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X, y, groups=groups, sample_weight=weights if weighted else None)
    mu, w = est.predict(X), given / given.mean()
    slope = {"logit": mu * (1 - mu), "identity": np.ones(200), "log": mu}[link]
    quasi, variance = BY_HAND[family]
    D = np.column_stack([np.ones(200), X]) * slope[:, None]
    omega = sum(w[i] * np.outer(D[i], D[i]) / variance(mu)[i] for i in range(200)) / est.scale_
    likelihood = np.sum(w * quasi(y, mu)) / est.scale_
    cic = np.trace(omega @ est.covariance_)
    found = qic(est)
    assert found.quasi_likelihood == pytest.approx(likelihood, rel=1e-10)
    assert found.cic == pytest.approx(cic, rel=1e-8)
    assert found.qic == pytest.approx(-2 * likelihood + 2 * cic, rel=1e-10)
    assert found.qicu == pytest.approx(-2 * likelihood + 2 * 3, rel=1e-10)


def test_cic_of_the_naive_fit_is_that_of_the_robust_one(rows):
    """CIC compares with the robust covariance, whatever the tables show."""
    X, y, groups, _ = rows
    robust = GEERegressor("poisson").fit(X, y, groups=groups)
    naive = GEERegressor("poisson", cov_type="naive").fit(X, y, groups=groups)
    assert qic(naive) == qic(robust)


def test_cic_is_p_where_the_model_is_right():
    """Omega V_R estimates the identity under independence of a right model: CIC is near the number of parameters."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20_000, 3))
    est = GEERegressor().fit(X, X.sum(axis=1) + rng.normal(size=20_000))
    assert qic(est).cic == pytest.approx(4.0, rel=0.03)


def test_cic_prefers_the_right_structure():
    """A slope that varies within clusters is estimated the better for knowing their correlation."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(300), 5)
    X = rng.normal(size=(1500, 1))
    y = X[:, 0] + rng.normal(size=300)[groups] * 1.5 + rng.normal(size=1500)
    found = {
        name: qic(GEERegressor(working_correlation=name).fit(X, y, groups=groups)).cic
        for name in ("independence", "exchangeable")
    }
    assert found["exchangeable"] < found["independence"] - 0.3


def test_qic_finds_the_gee_in_a_pipeline_and_a_search(rows):
    X, y, groups, _ = rows
    pipe = make_pipeline(StandardScaler(), GEERegressor("poisson", working_correlation="exchangeable"))
    pipe.fit(X, y, geeregressor__groups=groups)
    plain = GEERegressor("poisson", working_correlation="exchangeable").fit(X, y, groups=groups)
    assert qic(pipe).qic == pytest.approx(qic(plain).qic, rel=1e-8)
    search = GridSearchCV(GEERegressor("poisson"), {"dof": ["n", "n-p"]}, cv=2).fit(X, y)
    assert qic(search) == qic(search.best_estimator_)


def test_qic_is_for_gees(rows):
    X, y, _, _ = rows
    binary = (y > 0).astype(int)
    with pytest.raises(TypeError, match="QIC is defined for a GEE; LogitRegressor has a likelihood"):
        qic(LogitRegressor().fit(X, binary))
    with pytest.raises(TypeError, match="LinearRegression is no fitted skdep estimator"):
        qic(LinearRegression().fit(X, y))
    assert isinstance(qic(GEEClassifier().fit(X, binary)), QICResult)


def test_qic_of_an_estimator_that_is_not_fitted():
    with pytest.raises(Exception, match="not fitted yet"):
        qic(GEERegressor())


def test_printing():
    result = QICResult(qic=10.12344, qicu=9.5, cic=3.25, quasi_likelihood=-2.0)
    assert str(result) == "QIC 10.1234   QICu 9.5000   CIC 3.2500   quasi-likelihood -2.0000"
    frame = result.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame.loc["GEE"].to_dict() == {"qic": 10.12344, "qicu": 9.5, "cic": 3.25, "quasi_likelihood": -2.0}
    assert "<table" in result._repr_html_() and "10.1234" in result._repr_html_()
    with pytest.raises(AttributeError):
        result.qic = 0.0
