"""MixedLinear against its dense twin at the variances that it found; its optimum against a search by brute force."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skdep import MixedLinear
from skdep.exceptions import SingularFitWarning
from skdep.inference import coef_table

from . import dense
from .designs import CASES, SINGULAR_CASES, Case
from .fitted_cases import ALL_FITS, METHODS, WEIGHTINGS, beta_of, estimator, fitted, labels, theta_of


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


@pytest.fixture(params=ALL_FITS, ids="-".join)
def fit(request) -> SimpleNamespace:
    return fitted(*request.param)


# ---- the fit ---------------------------------------------------------------------------------------------------------


def test_likelihood(fit):
    assert fit.est.loglik_ == pytest.approx(dense.loglik(fit.design, fit.theta, fit.method), rel=1e-10)


def test_fixed_effects(fit):
    expected = dense.gls(fit.design, fit.theta)
    assert_allclose(beta_of(fit.est), expected.beta, rtol=1e-8, atol=1e-9)
    assert_allclose(fit.est.covariance_, expected.covariance, rtol=1e-8, atol=1e-10)


def test_random_effects_and_their_standard_deviations(fit):
    effects = dense.by_level(fit.design, dense.blups(fit.design, fit.theta))
    variances = np.diag(dense.conditional_covariance(fit.design, fit.theta))
    sds = dense.by_level(fit.design, np.sqrt(variances))
    for name, expected, expected_sds in zip(fit.case.groups, effects, sds):
        order = np.argsort(fit.est.levels_[name])
        assert list(np.asarray(fit.est.levels_[name])[order]) == sorted(set(fit.case.groups[name]))
        assert_allclose(fit.est.random_effects_[name][order], expected, rtol=1e-7, atol=1e-9)
        assert_allclose(fit.est.random_effects_sd_[name][order], expected_sds, rtol=1e-7)


def test_optimum_is_stationary(fit):
    """What a Newton step would still gain in log-likelihood is next to nothing."""
    assert fit.est.converged_
    assert not fit.est.singular_
    score = dense.score(fit.design, fit.theta, fit.method)
    information = dense.observed_information(fit.design, fit.theta, fit.method)
    assert np.linalg.eigvalsh(information)[0] > 0
    assert score @ np.linalg.solve(information, score) < 1e-8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_optimum_is_not_beaten(name, method):
    fit = fitted(name, method)
    best = dense.maximise(fit.design, method, n_starts=4)
    assert fit.est.loglik_ >= dense.loglik(fit.design, best, method) - 1e-7
    units = np.sqrt(np.diag(np.linalg.inv(dense.observed_information(fit.design, best, method))))
    assert_allclose((fit.theta - best) / units, 0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SINGULAR_CASES)
def test_singular_optimum(name, method):
    """On the boundary the slope G of log L is 0 within the range of Sigma, and points outwards elsewhere."""
    fit = fitted(name, method)
    assert fit.est.singular_
    assert fit.est.converged_
    assert fit.est.loglik_ == pytest.approx(dense.loglik(fit.design, fit.theta, method), rel=1e-9)
    best = dense.maximise(fit.design, method, n_starts=7)
    assert fit.est.loglik_ >= dense.loglik(fit.design, best, method) - 1e-7
    slopes = iter(dense.score(fit.design, fit.theta, method)[:-1])
    for term, Sigma in zip(fit.design.terms, dense.unpack(fit.design, fit.theta)[0]):
        G = np.zeros_like(Sigma)
        for i, j in term.pairs:
            G[i, j] = G[j, i] = next(slopes) * (1.0 if i == j else 0.5)
        assert_allclose(G @ Sigma, 0, atol=2e-3)
        assert np.linalg.eigvalsh(G)[-1] < 2e-3
    effects = dense.by_level(fit.design, dense.blups(fit.design, fit.theta))
    for name, expected in zip(fit.case.groups, effects):
        order = np.argsort(fit.est.levels_[name])
        assert_allclose(fit.est.random_effects_[name][order], expected, rtol=1e-6, atol=1e-7)
    assert_allclose(fit.est.covariance_, dense.gls(fit.design, fit.theta).covariance, rtol=1e-7, atol=1e-9)


def test_singular_fit_warns():
    case = SINGULAR_CASES["singular_slopes"]
    with pytest.warns(SingularFitWarning):
        estimator(case).fit(case.X, case.y, groups=labels(case))


# ---- predictions -----------------------------------------------------------------------------------------------------


def new_rows(case: Case, n: int = 40) -> SimpleNamespace:
    """Return rows of levels known and unseen, as labels and as codes with -1."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(n, case.X.shape[1]))
    frame, codes, Z = {}, [], []
    for k, name in enumerate(case.groups):
        found = sorted(set(case.groups[name]))
        unseen = "never seen" if isinstance(found[0], str) else 10_000
        drawn = rng.integers(0, len(found), n)
        drawn[k : 10 + k] = -1
        frame[name] = [unseen if code < 0 else found[code] for code in drawn]
        codes.append(drawn)
        Z.append(case.columns(name, X))
    constant = np.column_stack([np.ones(n), X[:, case.fixed]])
    return SimpleNamespace(X=X, groups=pd.DataFrame(frame), codes=codes, Z=Z, constant=constant)


@pytest.mark.parametrize("name", [*CASES, *SINGULAR_CASES])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_predictions_and_standard_errors(name, weighting):
    """x'beta + z'b with the joint prediction error of both, levels unseen by their variance, no residual noise."""
    fit = fitted(name, "reml", weighting)
    new = new_rows(fit.case)
    groups = new.groups if len(new.groups.columns) > 1 else new.groups["group"]
    expected, expected_sd = dense.predict(fit.design, fit.theta, new.constant, new.codes, new.Z)
    mean, sd = fit.est.predict(new.X, groups=groups, return_std=True)
    assert_allclose(mean, expected, rtol=1e-7, atol=1e-7)
    assert_allclose(sd, expected_sd, rtol=1e-6)
    assert_allclose(fit.est.predict(new.X, groups=groups), mean, rtol=1e-13)
    expected, expected_sd = dense.predict(fit.design, fit.theta, new.constant)
    mean, sd = fit.est.predict(new.X, return_std=True)
    assert_allclose(mean, expected, rtol=1e-7, atol=1e-7)
    assert_allclose(sd, expected_sd, rtol=1e-7)


# ---- other data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slope", "crossed_slopes"])
def test_offset_is_taken_off_y_and_added_to_predictions(name):
    fit = fitted(name)
    case, design, theta = fit.case, fit.design, fit.theta
    offset = np.random.default_rng(8).normal(scale=20, size=len(case.y))
    est = estimator(case).fit(case.X, case.y + offset, groups=labels(case), offset=offset)
    assert est.loglik_ == pytest.approx(fit.est.loglik_, rel=1e-9)
    assert_allclose(beta_of(est), beta_of(fit.est), rtol=1e-6)
    codes, Z = [term.codes for term in design.terms], [term.Z for term in design.terms]
    expected, expected_sd = dense.predict(design, theta, design.X, codes, Z)
    mean, sd = est.predict(case.X, groups=labels(case), offset=offset, return_std=True)
    assert_allclose(mean, expected + offset, rtol=1e-6, atol=1e-5)
    assert_allclose(sd, expected_sd, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["slope", "nested_slope", "crossed_slopes"])
def test_collinear_features_change_no_prediction_and_no_likelihood(name, method):
    """As in lme4, REML counts the columns that come first: log|X'V^{-1}X| without the sum in the last column."""
    case, alone = CASES[name], fitted(name, method)
    X = np.column_stack([case.X, case.X @ [1.0, 2.0]])
    est = estimator(case, method=method)
    with pytest.warns(match="[Cc]ollinear"):
        est.fit(X, case.y, groups=labels(case))
    assert est.loglik_ == pytest.approx(alone.est.loglik_, abs=1e-8)
    assert_allclose(theta_of(est, alone.design), alone.theta, rtol=1e-4, atol=1e-5)
    theta = theta_of(est, alone.design)
    new = new_rows(case)
    groups = new.groups if len(new.groups.columns) > 1 else new.groups["group"]
    expected, expected_sd = dense.predict(alone.design, theta, new.constant, new.codes, new.Z)
    mean, sd = est.predict(np.column_stack([new.X, new.X @ [1.0, 2.0]]), groups=groups, return_std=True)
    assert_allclose(mean, expected, rtol=1e-7, atol=1e-7)
    assert_allclose(sd, expected_sd, rtol=1e-6)


def test_random_slope_without_random_intercept():
    case = CASES["slope"]
    est = MixedLinear(random_slopes=[0], random_intercept=False).fit(case.X, case.y, groups=labels(case))
    full = case.dense()
    design = dense.Design(full.X, full.y, (dense.Term(full.terms[0].codes, case.X[:, [0]]),))
    theta = theta_of(est, design)
    assert est.loglik_ == pytest.approx(dense.loglik(design, theta), rel=1e-10)
    assert est.loglik_ >= dense.loglik(design, dense.maximise(design, n_starts=2)) - 1e-8
    assert_allclose(beta_of(est), dense.gls(design, theta).beta, rtol=1e-8)
    assert_allclose(est.random_effects_["group"].ravel(), dense.blups(design, theta), rtol=1e-7, atol=1e-9)


def test_random_intercept_without_fixed_intercept():
    case = CASES["intercept"]
    est = MixedLinear(fit_intercept=False).fit(case.X, case.y, groups=labels(case))
    design = dense.Design(case.X, case.y, case.dense().terms)
    theta = theta_of(est, design)
    assert est.intercept_ == 0.0
    assert est.loglik_ == pytest.approx(dense.loglik(design, theta), rel=1e-10)
    assert est.loglik_ >= dense.loglik(design, dense.maximise(design, n_starts=2)) - 1e-8
    assert_allclose(est.coef_, dense.gls(design, theta).beta, rtol=1e-8)
    assert_allclose(est.covariance_, dense.gls(design, theta).covariance, rtol=1e-8)
    mean, sd = est.predict(case.X, return_std=True)
    assert_allclose(mean, case.X @ est.coef_, rtol=1e-12)
    assert_allclose(sd, dense.predict(design, theta, case.X)[1], rtol=1e-7)


def test_random_effects_alone():
    """No features at all: an intercept and its variation."""
    case = CASES["intercept"]
    constant = np.zeros((len(case.y), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant feature is collinear with the intercept
        est = MixedLinear().fit(constant, case.y, groups=labels(case))
    design = dense.Design(np.ones((len(case.y), 1)), case.y, case.dense().terms)
    theta = theta_of(est, design)
    assert est.loglik_ == pytest.approx(dense.loglik(design, theta), rel=1e-10)
    assert est.loglik_ >= dense.loglik(design, dense.maximise(design, n_starts=2)) - 1e-8
    assert est.intercept_ == pytest.approx(dense.gls(design, theta).beta[0], rel=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_without_groups_it_is_weighted_linear_regression(method, weighting):
    case = CASES["intercept"]
    design = dense.Design(np.column_stack([np.ones(len(case.y)), case.X]), case.y, ())
    options, weights = {}, None
    if weighting == "frequency":
        weights, design = case.integers, dense.repeated(design, case.integers)
    elif weighting == "precision":
        options, weights = {"weight_type": "precision"}, case.weights
        design = dense.Design(design.X, design.y, (), case.weights)
    est = MixedLinear(method=method, **options).fit(case.X, case.y, sample_weight=weights)
    theta = dense.maximise(design, method)
    assert est.sigma2_ == pytest.approx(theta[-1], rel=1e-10)
    assert est.loglik_ == pytest.approx(dense.loglik(design, theta, method), rel=1e-10)
    assert_allclose(beta_of(est), dense.gls(design, theta).beta, rtol=1e-9)
    assert_allclose(est.covariance_, dense.gls(design, theta).covariance, rtol=1e-9, atol=1e-14)
    assert est.random_covariance_ == est.random_effects_ == est.levels_ == {}
    assert_allclose(coef_table(est)["df"], len(design.y) - 3, rtol=1e-12)  # ordinary regression


@pytest.mark.parametrize("name", ["slope", "crossed"])
def test_rows_of_frequency_zero_are_not_there(name):
    case = CASES[name]
    counts = np.where(np.arange(len(case.y)) % 5 == 0, 0.0, case.integers)
    first = case.groups.columns[0]
    gone = case.groups[first].iloc[0]
    counts[(case.groups[first] == gone).to_numpy()] = 0.0
    kept = np.flatnonzero(counts > 0)
    est = estimator(case).fit(case.X, case.y, groups=labels(case), sample_weight=counts)
    design = dense.repeated(case.take(kept).dense(), counts[kept])
    theta = theta_of(est, design)
    assert gone not in set(est.levels_[first])
    assert est.loglik_ == pytest.approx(dense.loglik(design, theta), rel=1e-10)
    assert_allclose(est.covariance_, dense.gls(design, theta).covariance, rtol=1e-8, atol=1e-10)
    score = dense.score(design, theta)
    assert score @ np.linalg.solve(dense.observed_information(design, theta), score) < 1e-8


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("name", ["slope", "crossed_slopes"])
def test_units_of_outcome_and_features_are_no_matter(name, scale):
    """y of another unit and origin, features of other units: the same fit, the likelihood shifted by Jacobians."""
    case, plain = CASES[name], fitted(name, "ml")
    est = estimator(case, method="ml").fit(case.X * [1e4, 1e-4], 1e3 * scale + scale * case.y, groups=labels(case))
    assert est.loglik_ == pytest.approx(plain.est.loglik_ - len(case.y) * np.log(scale), rel=1e-8)
    assert_allclose(est.coef_ * [1e4, 1e-4] / scale, plain.est.coef_, rtol=1e-4, atol=1e-6)
    assert est.sigma2_ == pytest.approx(plain.est.sigma2_ * scale**2, rel=1e-4)
