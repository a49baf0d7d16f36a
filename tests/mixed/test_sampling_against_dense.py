"""MixedLinear under sampling weights against the dense pseudo-likelihood."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skdep import MixedLinear

from . import dense, dense_sampling
from .designs import CASES, ONE_FACTOR
from .fitted_cases import beta_of

SCALINGS = ["size", "effective", "none"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def estimator(case, scaling: str) -> MixedLinear:
    return MixedLinear(**case.params, method="ml", weight_type="sampling", weight_scaling=scaling)


@cache
def fitted(name: str, scaling: str, *, with_groups: bool = True) -> SimpleNamespace:
    """Fit a case with weights of rows, and of groups or none; return it with its dense design.

    Weights of groups enter with mean 1.
    """
    case = CASES[name]
    codes = case.codes("group")
    g = np.random.default_rng(9).uniform(0.5, 3.0, codes.max() + 1) if with_groups else np.ones(codes.max() + 1)
    est = estimator(case, scaling)
    est.fit(
        case.X,
        case.y,
        groups=case.groups["group"],
        sample_weight=case.weights,
        group_weight=g[codes] if with_groups else None,
    )
    design = case.dense(precision=dense_sampling.scaled_weights(case.weights, codes, scaling))
    theta = dense.pack(design, [est.random_covariance_["group"]], est.sigma2_)
    return SimpleNamespace(case=case, est=est, design=design, theta=theta, g=g / g.mean())


@pytest.fixture(params=[(name, scaling) for name in ONE_FACTOR for scaling in SCALINGS], ids="-".join)
def fit(request) -> SimpleNamespace:
    return fitted(*request.param)


def test_pseudo_likelihood_at_the_fit(fit):
    beta, _, _ = dense_sampling.pseudo_gls(fit.design, fit.theta, fit.g)
    assert_allclose(beta_of(fit.est), beta, rtol=1e-7, atol=1e-9)
    expected = dense_sampling.pseudo_loglik(fit.design, fit.theta, beta, fit.g)
    assert fit.est.loglik_ == pytest.approx(expected, rel=1e-9)


def test_optimum_is_not_beaten(fit):
    *_, best = dense_sampling.maximise_pseudo(fit.design, fit.g, n_starts=1)
    assert fit.est.loglik_ >= best - 1e-7
    assert fit.est.converged_


def test_covariance_is_the_sandwich_over_groups(fit):
    expected = dense_sampling.pseudo_sandwich(fit.design, fit.theta, fit.g)
    assert_allclose(fit.est.covariance_, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ONE_FACTOR)
def test_without_group_weights_every_group_counts_once(name):
    fit = fitted(name, "size", with_groups=False)
    beta, _, _ = dense_sampling.pseudo_gls(fit.design, fit.theta, fit.g)
    expected = dense_sampling.pseudo_loglik(fit.design, fit.theta, beta, fit.g)
    assert fit.est.loglik_ == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ONE_FACTOR)
def test_random_effects_are_those_at_the_scaled_weights(name):
    """Group weights say how often a group is counted, not how much is known of it."""
    fit = fitted(name, "size")
    (Sigma,), _ = dense.unpack(fit.design, fit.theta)
    (term,) = fit.design.terms
    beta = beta_of(fit.est)
    order = np.argsort(fit.est.levels_["group"])
    found, sds = fit.est.random_effects_["group"][order], fit.est.random_effects_sd_["group"][order]
    for j, (X, y, _, V) in enumerate(dense_sampling.clusters_of(fit.design, fit.theta)):
        Z = term.Z[term.codes == j]
        gain = Sigma @ Z.T @ np.linalg.inv(V)
        assert_allclose(found[j], gain @ (y - X @ beta), rtol=1e-6, atol=1e-8)
        assert_allclose(sds[j], np.sqrt(np.diag(Sigma - gain @ Z @ Sigma)), rtol=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["nested", "nested_slope"])
def test_nested_factors(name, scaling):
    """Weights of schools, and of rows within pupils; schools are the clusters of the sandwich."""
    case = CASES[name]
    schools, pupils = case.codes("school"), case.codes("pupil")
    g = np.random.default_rng(9).uniform(0.5, 3.0, schools.max() + 1)
    est = estimator(case, scaling)
    est.fit(case.X, case.y, groups=case.groups, sample_weight=case.weights, group_weight=g[schools])
    design = case.dense(precision=dense_sampling.scaled_weights(case.weights, pupils, scaling))
    theta = dense.pack(design, [est.random_covariance_["school"], est.random_covariance_["pupil"]], est.sigma2_)
    beta, _, _ = dense_sampling.pseudo_gls(design, theta, g)
    assert_allclose([est.intercept_, *est.coef_], beta, rtol=1e-7, atol=1e-9)
    assert_allclose(est.covariance_, dense_sampling.pseudo_sandwich(design, theta, g), rtol=1e-7, atol=1e-10)
    *_, best = dense_sampling.maximise_pseudo(design, g, n_starts=1)
    found = dense_sampling.pseudo_loglik(design, theta, beta, g)
    assert found >= best - 1e-7
    # weights of clusters enter with mean 1 over pupils
    of_pupil = np.array([g[schools[pupils == pupil][0]] for pupil in range(pupils.max() + 1)])
    assert est.loglik_ == pytest.approx(found / of_pupil.mean(), rel=1e-9)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_units_of_weights_are_no_matter(scaling):
    """A factor on the row weights of a group, and one on all group weights, change neither estimates nor errors.

    Unscaled row weights may differ by one factor for all.
    """
    case = CASES["slope"]
    codes = case.codes("group")
    g = np.random.default_rng(10).uniform(0.5, 3.0, codes.max() + 1)[codes]
    per_group = np.random.default_rng(11).uniform(0.1, 10.0, codes.max() + 1)[codes]
    if scaling == "none":
        per_group = 1000.0
    groups = case.groups["group"]
    one = estimator(case, scaling).fit(case.X, case.y, groups=groups, sample_weight=case.weights, group_weight=g)
    other = estimator(case, scaling)
    other.fit(case.X, case.y, groups=groups, sample_weight=per_group * case.weights, group_weight=100 * g)
    assert_allclose(other.coef_, one.coef_, rtol=1e-6)
    assert_allclose(other.covariance_, one.covariance_, rtol=1e-5)
    assert_allclose(other.random_covariance_["group"], one.random_covariance_["group"], rtol=1e-5)
