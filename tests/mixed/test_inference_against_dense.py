"""Inference about coefficients of MixedLinear against its dense twin: degrees of freedom, robust covariance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from threadpoolctl import threadpool_limits

from skdep import MixedLinear
from skdep.inference import coef_table, wald_test

from . import dense
from .designs import CASES, ONE_FACTOR, SINGULAR_CASES
from .fitted_cases import ALL_FITS, METHODS, WEIGHTINGS, beta_of, estimator, fitted, labels, theta_of


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


CROSSED = [name for name in CASES if name.startswith(("crossed", "three"))]


@pytest.fixture(params=ALL_FITS, ids="-".join)
def fit(request) -> SimpleNamespace:
    return fitted(*request.param)


def test_satterthwaite(fit):
    table = coef_table(fit.est, df="satterthwaite")
    rows = np.eye(fit.design.X.shape[1])
    expected = [dense.satterthwaite_df(fit.design, fit.theta, row, fit.method) for row in rows]
    assert_allclose(table["df"], expected, rtol=1e-4)  # by curvature in other coordinates: the same at the exact top
    assert_allclose(table["std_error"], np.sqrt(np.diag(dense.gls(fit.design, fit.theta).covariance)), rtol=1e-8)


def satterthwaite_by_factors(design, theta, contrast, method) -> float:
    """Return Satterthwaite's df with parameters (T, sigma2), the Hessian by differences: right on the boundary too.

    There a column of T is 0, and c'Phi c flat in it: the column has no part in the variance of c'Phi c.
    """
    covariances, sigma2 = dense.unpack(design, theta)
    entries = []
    for term, Sigma in zip(design.terms, covariances):
        values, vectors = np.linalg.eigh(Sigma / sigma2)
        root = vectors * np.sqrt(np.where(values > 1e-9 * values[-1], values, 0.0))
        T = np.zeros_like(Sigma)
        for number in set(term.blocks):
            rows = np.flatnonzero(np.array(term.blocks) == number)
            T[np.ix_(rows, rows)] = np.linalg.qr(root[rows].T, mode="r").T
        entries += [T[i, j] for i, j in term.pairs]

    def theta_at(point):
        relative = [T @ T.T for T in dense.factors(design, point[:-1])]
        return point[-1] * dense.pack(design, relative, 1.0)

    def jacobian(point):
        moves = 1e-4 * np.eye(len(point))  # theta is a cubic polynomial: error of order 1e-8
        return np.array([(theta_at(point + move) - theta_at(point - move)) / 2e-4 for move in moves])

    def slope(point):
        return jacobian(point) @ dense.score(design, theta_at(point), method)

    point = np.array([*entries, sigma2])
    assert_allclose(theta_at(point), theta, atol=1e-7 * theta.max())
    moves = 1e-5 * np.eye(len(point))
    hessian = np.array([(slope(point + move) - slope(point - move)) / 2e-5 for move in moves])
    phi_slopes = [contrast @ dPhi @ contrast for dPhi in dense.covariance_derivatives(design, theta)]
    gradient = jacobian(point) @ phi_slopes
    variance = contrast @ dense.gls(design, theta).covariance @ contrast
    return 2 * variance**2 / (gradient @ np.linalg.lstsq(-(hessian + hessian.T) / 2, gradient, rcond=1e-7)[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["slope", "crossed_slopes_diagonal", *SINGULAR_CASES])
def test_satterthwaite_on_the_boundary(name, method):
    fit = fitted(name, method)
    rows = np.eye(fit.design.X.shape[1])
    expected = [satterthwaite_by_factors(fit.design, fit.theta, row, method) for row in rows]
    assert_allclose(coef_table(fit.est, df="satterthwaite")["df"], expected, rtol=1e-4)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", [*CASES, *SINGULAR_CASES])
def test_kenward_roger(name, weighting):
    fit = fitted(name, "reml", weighting)
    table = coef_table(fit.est, df="kenward-roger")
    expected = [dense.kenward_roger_df(fit.design, fit.theta, row)[0] for row in np.eye(fit.design.X.shape[1])]
    assert_allclose(table["df"], expected, rtol=1e-6)
    adjusted = dense.kenward_roger_covariance(fit.design, fit.theta)
    assert_allclose(table["std_error"], np.sqrt(np.diag(adjusted)), rtol=1e-7)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", [*CASES, *SINGULAR_CASES])
def test_joint_test_of_kenward_roger(name, weighting):
    """F = lambda (L b)'(L Phi_A L')^{-1} (L b) / q on q and m degrees of freedom, for the two first slopes."""
    fit = fitted(name, "reml", weighting)
    L = np.eye(fit.design.X.shape[1])[1:3]
    df, scale = dense.kenward_roger_df(fit.design, fit.theta, L)
    effect = L @ beta_of(fit.est)
    covariance = L @ dense.kenward_roger_covariance(fit.design, fit.theta) @ L.T
    found = wald_test(fit.est, L, df="kenward-roger")
    assert found.df_denominator == pytest.approx(df, rel=1e-7)
    assert found.statistic == pytest.approx(scale * effect @ np.linalg.solve(covariance, effect) / 2, rel=1e-7)
    assert found.p_value == pytest.approx(stats.f.sf(found.statistic, 2, df), rel=1e-7)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", [*ONE_FACTOR, "nested", "nested_slope"])
def test_robust_covariance_clusters_at_the_outermost_factor(name, weighting):
    fit = fitted(name, "reml", weighting)
    clusters = fit.design.terms[0].codes
    options = {"weight_type": "precision"} if weighting == "precision" else {}
    weights = {"none": None, "frequency": fit.case.integers, "precision": fit.case.weights}[weighting]
    est = estimator(fit.case, cov_type="robust", **options)
    est.fit(fit.case.X, fit.case.y, groups=labels(fit.case), sample_weight=weights)
    expected = dense.cluster_sandwich(fit.design, theta_of(est, fit.design), clusters)
    assert_allclose(est.covariance_, expected, rtol=1e-7, atol=1e-10)
    table = coef_table(fit.est, cov_type="robust")
    assert_allclose(table["std_error"], np.sqrt(np.diag(expected)), rtol=1e-7)


def test_robust_covariance_of_inner_factor_first():
    """The order of the columns of groups does not decide which factor is the outermost."""
    case = CASES["nested"]
    fit = fitted("nested")
    est = MixedLinear(cov_type="robust").fit(case.X, case.y, groups=case.groups[["pupil", "school"]])
    schools = fit.design.terms[0].codes
    assert_allclose(est.covariance_, dense.cluster_sandwich(fit.design, fit.theta, schools), rtol=1e-5)
    assert est.loglik_ == pytest.approx(fit.est.loglik_, abs=1e-8)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", CROSSED)
def test_robust_covariance_of_crossed_factors_counts_pairs_that_share_a_level(name, weighting):
    fit = fitted(name, "reml", weighting)
    expected = dense.crossed_sandwich(fit.design, fit.theta)
    table = coef_table(fit.est, cov_type="robust")
    assert_allclose(table["std_error"], np.sqrt(np.diag(expected)), rtol=1e-6)


@pytest.mark.parametrize("name", CROSSED)
def test_robust_errors_do_not_depend_on_units_and_origins_of_features(name):
    fit = fitted(name)
    n_features = fit.case.X.shape[1]
    unit, origin = np.array([50.0, 0.02, 7.0, 0.3])[:n_features], np.array([0.0, 3.0, -2.0, 4.0])[:n_features]
    origin[[column for columns in fit.case.slopes.values() for column in columns]] = 0.0  # of random slopes
    est = estimator(fit.case).fit(fit.case.X * unit + origin, fit.case.y, groups=labels(fit.case))
    expected = coef_table(fit.est, cov_type="robust")["std_error"].to_numpy()[1:]
    assert_allclose(coef_table(est, cov_type="robust")["std_error"][1:] * unit[fit.case.fixed], expected, rtol=1e-4)
