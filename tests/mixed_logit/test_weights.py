"""Weights are numbers of rows, or sampling weights: each in the meaning that repeating, dropping and scaling define."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, optimize, special
from sklearn.base import clone

from skdep import MixedLogit
from skdep.inference import coef_table

from .rows import GROUPS, WEIGHT, N, X, y

TIMES = np.random.default_rng(2).integers(0, 4, N)
AGAIN = np.repeat(np.arange(N), TIMES)
CROSSED = pd.DataFrame({"rater": GROUPS, "item": np.arange(N) % 9})
NESTED = pd.DataFrame({"school": GROUPS // 4, "pupil": GROUPS})
SAMPLING = MixedLogit(weight_type="sampling", tol=1e-12)


def fit(est, X=X, y=y, groups=GROUPS, **metadata):
    return clone(est).fit(X, y, groups=groups, **metadata)


def assert_same_fit(actual, expected, *, rtol=1e-6):
    """Assert that two fits are the same, up to where searches end."""
    for name in ("intercept_", "coef_", "loglik_"):
        assert_allclose(getattr(actual, name), getattr(expected, name), rtol=rtol, err_msg=name)
    assert_allclose(actual.covariance_, expected.covariance_, rtol=10 * rtol, atol=rtol)
    for name in ("random_covariance_", "random_effects_", "random_effects_sd_"):
        found, wanted = getattr(actual, name), getattr(expected, name)
        assert found.keys() == wanted.keys()
        for factor in wanted:
            assert_allclose(found[factor], wanted[factor], rtol=10 * rtol, atol=10 * rtol, err_msg=f"{name}[{factor}]")


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
@pytest.mark.parametrize("cov_type", ["model", "robust"])
@pytest.mark.parametrize(
    ("est", "groups"),
    [
        pytest.param(MixedLogit(tol=1e-12), GROUPS, id="intercepts"),
        pytest.param(MixedLogit([0], tol=1e-12), GROUPS, id="slopes"),
        pytest.param(MixedLogit([0], n_quadrature=1, tol=1e-12), GROUPS, id="slopes by Laplace"),
        pytest.param(MixedLogit(tol=1e-12), NESTED, id="nested"),
        pytest.param(MixedLogit(penalty="weak", tol=1e-12), GROUPS, id="penalty"),
        pytest.param(MixedLogit(tol=1e-12), None, id="no groups"),
    ],
)
def test_frequencies_repeat_rows(est, groups, cov_type):
    est = clone(est).set_params(cov_type=cov_type)
    part = None if groups is None else groups.iloc[AGAIN] if groups is NESTED else groups[AGAIN]
    once = fit(est, groups=groups, sample_weight=TIMES)
    assert_same_fit(once, fit(est, X[AGAIN], y[AGAIN], part), rtol=2e-6)
    assert once._inference.n_obs == TIMES.sum()


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
def test_frequencies_repeat_rows_of_crossed_factors():
    est = MixedLogit(tol=1e-12)
    once = fit(est, groups=CROSSED, sample_weight=TIMES)
    assert_same_fit(once, fit(est, X[AGAIN], y[AGAIN], CROSSED.iloc[AGAIN]), rtol=1e-5)


@pytest.mark.parametrize("est", [MixedLogit(), MixedLogit([0]), SAMPLING, MixedLogit(penalty="weak")], ids=repr)
def test_rows_of_weight_zero_are_not_there(est):
    kept = (np.arange(N) % 5 > 0) & (GROUPS != 3)
    odd = np.where(kept[:, None], X, 1e9)
    found = fit(est, odd, sample_weight=np.where(kept, WEIGHT, 0.0))
    expected = fit(est, X[kept], y[kept], GROUPS[kept], sample_weight=WEIGHT[kept])
    assert_same_fit(found, expected, rtol=1e-9)
    assert_array_equal(found.levels_["group"], expected.levels_["group"])
    assert 3 not in found.levels_["group"]


@pytest.mark.parametrize("est", [MixedLogit(), MixedLogit([1], n_quadrature=1), MixedLogit([1])], ids=repr)
def test_counting_equal_rows_changes_nothing(est):
    """An offset next to nothing makes every row another one."""
    few = np.column_stack([np.round(X[:, 0]), X[:, 1]])
    assert len(np.unique(np.column_stack([GROUPS, few]), axis=0)) < 0.7 * N
    est = clone(est).set_params(tol=1e-12)
    counted, apart = fit(est, few), fit(est, few, offset=1e-13 * np.arange(N))
    assert_same_fit(apart, counted, rtol=1e-6)


# ------------------------------------------------------------------------------------------------ sampling weights


@pytest.mark.parametrize("scaling", ["size", "effective", "none"])
@pytest.mark.parametrize("factor", [1e-9, 7.0, 1e9])
def test_scale_of_sampling_weights_means_nothing(scaling, factor):
    est = clone(SAMPLING).set_params(weight_scaling=scaling)
    expected = fit(est, sample_weight=WEIGHT, group_weight=1.0 + GROUPS)
    assert_same_fit(fit(est, sample_weight=factor * WEIGHT, group_weight=1.0 + GROUPS), expected, rtol=1e-8)
    assert_same_fit(fit(est, sample_weight=WEIGHT, group_weight=factor * (1.0 + GROUPS)), expected, rtol=1e-8)


@pytest.mark.parametrize("scaling", ["size", "effective"])
def test_scale_within_each_level_means_nothing(scaling):
    est = clone(SAMPLING).set_params(weight_scaling=scaling)
    expected = fit(est, sample_weight=WEIGHT)
    assert_same_fit(fit(est, sample_weight=WEIGHT * (1.0 + GROUPS)), expected, rtol=1e-8)


def test_weights_of_groups_repeat_groups():
    times = np.random.default_rng(3).integers(1, 4, GROUPS.max() + 1)[GROUPS]
    parts = [np.flatnonzero(times > copy) for copy in range(3)]
    rows = np.concatenate(parts)
    labels = np.concatenate([GROUPS[part] + 1000 * copy for copy, part in enumerate(parts)])
    weighted = fit(SAMPLING, group_weight=times)
    often = fit(SAMPLING, X[rows], y[rows], labels)
    assert_allclose(weighted.coef_, often.coef_, rtol=1e-7)
    assert_allclose(weighted.random_covariance_["group"], often.random_covariance_["group"], rtol=1e-6)
    mean = times[np.unique(GROUPS, return_index=True)[1]].mean()
    assert_allclose(weighted.loglik_ * mean, often.loglik_, rtol=1e-9)
    # the sandwich counts a cluster once, whatever it stands for; repeating it would make errors smaller
    assert np.all(coef_table(weighted)["std_error"] > coef_table(often)["std_error"])


def test_pseudo_likelihood_by_brute_force():
    """A few clusters, the integral by scipy, the maximum by a general-purpose optimiser."""
    kept = GROUPS < 12
    features, labels, groups = X[kept][:, [0]], y[kept], GROUPS[kept]
    row_weight, group_weight = WEIGHT[kept], 1.0 + 0.2 * groups
    est = (
        clone(SAMPLING)
        .set_params(n_quadrature=30)
        .fit(features, labels, groups=groups, sample_weight=row_weight, group_weight=group_weight)
    )
    levels, codes = np.unique(groups, return_inverse=True)
    scaled = row_weight * (np.bincount(codes) / np.bincount(codes, row_weight))[codes]
    of_level = 1.0 + 0.2 * levels
    of_level /= of_level.mean()

    def objective(parameters):
        intercept, slope, tau = parameters
        total = 0.0
        for level in range(len(levels)):
            rows = codes == level
            eta, sign, weight = intercept + slope * features[rows, 0], 2 * labels[rows] - 1, scaled[rows]

            def density(u, eta=eta, sign=sign, weight=weight):
                return np.exp(weight @ special.log_expit(sign * (eta + tau * u)) - 0.5 * u * u) / np.sqrt(2 * np.pi)

            total -= of_level[level] * np.log(integrate.quad(density, -9.0, 9.0, epsabs=1e-12, epsrel=1e-11)[0])
        return total

    found = np.array([est.intercept_[0], est.coef_[0, 0], np.sqrt(est.random_covariance_["group"][0, 0])])
    assert_allclose(est.loglik_, -objective(found), rtol=1e-8)
    slope = optimize.approx_fprime(found, objective, 1e-5)
    assert_allclose(slope, 0.0, atol=2e-4)


def test_equal_sampling_weights_are_no_weights_with_robust_errors():
    plain = fit(MixedLogit(cov_type="robust", tol=1e-12))
    assert_same_fit(fit(SAMPLING, sample_weight=np.full(N, 3.7), group_weight=np.full(N, 0.2)), plain, rtol=1e-8)
    assert_same_fit(fit(SAMPLING), plain, rtol=1e-12)


def test_robust_errors_by_brute_force():
    """Scores of clusters are differences of what their likelihoods are with and without them."""
    est = fit(MixedLogit(cov_type="robust", n_quadrature=15, tol=1e-12))
    p, levels = 5, np.unique(GROUPS)
    tau = np.sqrt(est.random_covariance_["group"][0, 0])
    found = np.r_[est.intercept_, est.coef_[0], tau]
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    design = np.column_stack([np.ones(N), X])

    def by_cluster(parameters):
        eta = (design @ parameters[:4])[:, None] + parameters[4] * nodes
        logs = special.log_expit(np.where(y == 1, 1.0, -1.0)[:, None] * eta)
        return np.array([np.log(np.exp(logs[level == GROUPS].sum(axis=0)) @ weights) for level in levels])

    step = 1e-4
    scores = np.array([(by_cluster(found + e) - by_cluster(found - e)) / (2 * step) for e in step * np.eye(p)]).T
    total = lambda parameters: by_cluster(parameters).sum()  # noqa: E731
    h = 1e-3 * np.eye(p)
    hessian = np.array(
        [
            [
                (total(found + a + b) - total(found + a - b) - total(found - a + b) + total(found - a - b)) / 4e-6
                for b in h
            ]
            for a in h
        ]
    )
    inverse = np.linalg.inv(-hessian)
    assert_allclose(coef_table(est, cov_type="model")["std_error"], np.sqrt(np.diag(inverse))[:4], rtol=1e-4)
    robust = inverse @ scores.T @ scores @ inverse
    assert_allclose(coef_table(est)["std_error"], np.sqrt(np.diag(robust))[:4], rtol=1e-4)
