"""The dense twin itself: against definitions, finite differences, other formulas and exact theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import linalg, stats
from threadpoolctl import threadpool_limits

from . import dense
from .dense import Design, Term
from .designs import CASES

METHODS = ["ml", "reml"]
# one of each structure; finite differences of all would be slow
SOME = ["slope", "two_slopes_diagonal", "nested_slope", "crossed_slopes", "crossed_structures", "three_factors"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def some_theta(design: Design, seed: int = 0) -> np.ndarray:
    """Return variances that are no estimates, at which nothing is zero by chance."""
    rng = np.random.default_rng(seed)
    covariances = []
    for term in design.terms:
        q = term.Z.shape[1]
        A = rng.normal(size=(q, q + 2))
        Sigma, kept = A @ A.T / q + 0.2 * np.eye(q), np.zeros((q, q))
        for i, j in term.pairs:
            kept[i, j] = kept[j, i] = Sigma[i, j]
        covariances.append(kept)
    return dense.pack(design, covariances, 1.3)


@pytest.fixture(params=SOME)
def design(request) -> Design:
    case = CASES[request.param]
    return case.dense(precision=case.weights)


def slopes_of(function, point, step=1e-5):
    """Return the derivatives of a function (array-valued or not) by central differences, the argument's axis first."""
    moves = step * np.eye(len(point))
    return np.array([(function(point + move) - function(point - move)) / (2 * step) for move in moves])


# ---- definitions -----------------------------------------------------------------------------------------------------


def test_covariance_of_two_rows_is_that_of_the_levels_they_share():
    case = CASES["nested_slope"]
    design = case.dense(precision=case.weights)
    theta = some_theta(design)
    (school, pupil), sigma2 = dense.unpack(design, theta)
    V = dense.marginal_covariance(design, theta)
    for i in range(0, 95, 7):
        for j in range(95):
            z_i, z_j = np.array([1, case.X[i, 0]]), np.array([1, case.X[j, 0]])
            expected = z_i @ school @ z_j if case.groups["school"][i] == case.groups["school"][j] else 0.0
            expected += pupil[0, 0] if case.groups["pupil"][i] == case.groups["pupil"][j] else 0.0
            expected += sigma2 / case.weights[i] if i == j else 0.0
            assert V[i, j] == pytest.approx(expected, abs=1e-13)


def test_covariance_is_linear_in_its_parameters(design):
    theta = some_theta(design)
    combined = sum(t * V_i for t, V_i in zip(theta, dense.derivatives(design)))
    assert_allclose(combined, dense.marginal_covariance(design, theta), atol=1e-12)


def test_repeated_rows_share_random_effects_but_not_errors():
    case = CASES["crossed"]
    design, counts = case.dense(), case.integers
    theta = some_theta(design)
    rows = np.repeat(np.arange(len(counts)), counts.astype(int))
    effects = dense.marginal_covariance(design, theta) - theta[-1] * np.eye(len(counts))
    V = dense.marginal_covariance(dense.repeated(design, counts), theta)
    assert_allclose(V, effects[np.ix_(rows, rows)] + theta[-1] * np.eye(len(rows)), atol=1e-12)


# ---- likelihoods -----------------------------------------------------------------------------------------------------


def test_ml_is_the_normal_density_maximised_over_beta(design):
    theta = some_theta(design)
    fit = dense.gls(design, theta)
    normal = stats.multivariate_normal(cov=dense.marginal_covariance(design, theta))
    assert dense.loglik(design, theta, "ml") == pytest.approx(normal.logpdf(design.y - design.X @ fit.beta), rel=1e-12)
    slopes = slopes_of(lambda beta: normal.logpdf(design.y - design.X @ beta), fit.beta, 1e-4)
    assert_allclose(slopes, 0, atol=1e-6)


def test_reml_is_the_density_of_error_contrasts(design):
    """With orthonormal contrasts K, K'X = 0: log N(K'y; 0, K'VK) = REML + 1/2 log|X'X|."""
    theta = some_theta(design)
    K, X = linalg.null_space(design.X.T), design.X
    contrasts = stats.multivariate_normal(cov=K.T @ dense.marginal_covariance(design, theta) @ K)
    expected = contrasts.logpdf(K.T @ design.y) - 0.5 * np.linalg.slogdet(X.T @ X)[1]
    assert dense.loglik(design, theta, "reml") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_precision_weights_are_rows_scaled_by_their_roots(design, method):
    """log L = log L(W^{1/2} y, W^{1/2} X, W^{1/2} Z) + 1/2 sum log w."""
    theta, root = some_theta(design), np.sqrt(design.W)
    terms = tuple(replace(term, Z=term.Z * root[:, None]) for term in design.terms)
    scaled = Design(design.X * root[:, None], design.y * root, terms)
    expected = dense.loglik(scaled, theta, method) + np.sum(np.log(root))
    assert dense.loglik(design, theta, method) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_profiled_likelihood_is_the_maximum_over_sigma2(design, method):
    relative, sigma2 = dense.unpack(design, some_theta(design) / 1.3)
    assert sigma2 == pytest.approx(1)
    theta, (n, p) = dense.profiled_theta(design, relative, method), design.X.shape
    slope = slopes_of(lambda log_s: dense.loglik(design, np.exp(log_s[0]) * theta, method), np.zeros(1), 1e-4)
    assert_allclose(slope, 0, atol=1e-6)
    unit = dense.gls(design, theta / theta[-1])
    degrees = n if method == "ml" else n - p
    deviance = unit.logdet_V + degrees * (1 + np.log(2 * np.pi * theta[-1]))
    if method == "reml":
        deviance += np.linalg.slogdet(np.linalg.inv(unit.covariance))[1]
    assert dense.profiled_loglik(design, relative, method) == pytest.approx(-0.5 * deviance, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_score_is_the_derivative_of_the_likelihood(design, method):
    theta = some_theta(design)
    slopes = slopes_of(lambda t: dense.loglik(design, t, method), theta)
    assert_allclose(dense.score(design, theta, method), slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_observed_information_is_minus_the_derivative_of_the_score(design, method):
    theta = some_theta(design)
    slopes = slopes_of(lambda t: dense.score(design, t, method), theta)
    assert_allclose(dense.observed_information(design, theta, method), -slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_observed_information_is_twice_average_less_expected(design, method):
    theta = some_theta(design)
    twice = 2 * dense.average_information(design, theta) - dense.expected_information(design, theta, method)
    assert_allclose(dense.observed_information(design, theta, method), twice, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_expected_information_is_the_covariance_of_the_score(design, method):
    """The score is y'A_i y + const, and cov(y'A_i y, y'A_j y) = 2 tr(A_i V A_j V); beta is known under ML."""
    theta = some_theta(design)
    fit, V = dense.gls(design, theta), dense.marginal_covariance(design, theta)
    M = fit.V_inverse if method == "ml" else fit.P
    A = [0.5 * M @ V_i @ M for V_i in dense.derivatives(design)]
    covariance = [[2 * np.trace(A_i @ V @ A_j @ V) for A_j in A] for A_i in A]
    assert_allclose(dense.expected_information(design, theta, method), covariance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_in_factors(design, method):
    entries = np.random.default_rng(4).uniform(0.3, 1.2, len(some_theta(design)) - 1)

    def profiled(entries):
        return dense.profiled_loglik(design, [T @ T.T for T in dense.factors(design, entries)], method)

    assert_allclose(
        dense.profiled_gradient(design, entries, method), slopes_of(profiled, entries), rtol=1e-6, atol=1e-6
    )


# ---- random effects and prediction -----------------------------------------------------------------------------------


def test_henderson(design):
    """Solutions and inverse of the mixed model equations, which share no step with the forms by V."""
    theta = some_theta(design)
    Z, R_inverse = dense.stacked_z(design), np.diag(design.W / theta[-1])
    both, p = np.hstack([design.X, Z]), design.X.shape[1]
    equations = both.T @ R_inverse @ both
    equations[p:, p:] += np.linalg.inv(dense.stacked_covariance(design, theta))
    expected = np.linalg.solve(equations, both.T @ R_inverse @ design.y)
    assert_allclose(dense.gls(design, theta).beta, expected[:p], rtol=1e-9)
    assert_allclose(dense.blups(design, theta), expected[p:], atol=1e-9)
    assert_allclose(dense.joint_prediction_error(design, theta), np.linalg.inv(equations), atol=1e-9)
    assert_allclose(dense.conditional_covariance(design, theta), np.linalg.inv(equations[p:, p:]), atol=1e-9)


def test_random_effects_by_level():
    design = CASES["crossed_slopes"].dense()
    theta = some_theta(design)
    stacked = dense.blups(design, theta)
    raters, items = dense.by_level(design, stacked)
    assert raters.shape == (12, 2)
    assert items.shape == (9, 2)
    fitted = np.sum(design.terms[0].Z * raters[design.terms[0].codes], axis=1)
    fitted += np.sum(design.terms[1].Z * items[design.terms[1].codes], axis=1)
    assert_allclose(fitted, dense.stacked_z(design) @ stacked, atol=1e-12)


def test_standard_errors_of_predictions():
    """The prediction is linear in y = X beta + Z b + e, and so is its error, whose variance is then direct."""
    case = CASES["crossed_slopes"]
    design = case.dense(precision=case.weights)
    theta = some_theta(design)
    rng = np.random.default_rng(2)
    X, fit = np.column_stack([np.ones(12), rng.normal(size=(12, 2))]), dense.gls(design, theta)
    codes = [rng.integers(-1, 12, 12), rng.integers(-1, 9, 12)]
    codes[0][:3], codes[1][1:3] = -1, [4, -1]
    new_z = [X[:, [0, 1]], X[:, [0, 2]]]
    mean, sd = dense.predict(design, theta, X, codes, new_z)

    # one more level stands for all that is unseen: every row has a variance of its own, so sharing it is no matter
    G, Z = dense.stacked_covariance(design, theta), dense.stacked_z(design)
    known = np.hstack([dense.dense_z(c, z, t.n_levels) for c, z, t in zip(codes, new_z, design.terms)])
    unseen = [np.where(c[:, None] < 0, z, 0.0) for c, z in zip(codes, new_z)]
    weights_of_y = X @ fit.covariance @ design.X.T @ fit.V_inverse + known @ G @ Z.T @ fit.P
    of_b = weights_of_y @ Z - known
    variance = np.diag(of_b @ G @ of_b.T) + theta[-1] * np.sum(weights_of_y**2 / design.W, axis=1)
    for u, Sigma in zip(unseen, dense.unpack(design, theta)[0]):
        variance = variance + np.sum((u @ Sigma) * u, axis=1)
    assert_allclose(weights_of_y @ design.X, X, atol=1e-9)  # unbiased
    assert_allclose(mean, weights_of_y @ design.y, atol=1e-9)
    assert_allclose(sd, np.sqrt(variance), rtol=1e-9)
    mean, sd = dense.predict(design, theta, X)
    assert_allclose(mean, X @ fit.beta, rtol=1e-12)
    assert_allclose(sd**2, np.sum((X @ fit.covariance) * X, axis=1), rtol=1e-12)


# ---- inference about beta --------------------------------------------------------------------------------------------


def test_sandwich_cluster_by_cluster():
    case = CASES["nested_slope"]
    design, schools = case.dense(), case.codes("school")
    theta = some_theta(design)
    V, fit = dense.marginal_covariance(design, theta), dense.gls(design, theta)
    meat = np.zeros((3, 3))
    for school in range(9):
        rows = schools == school
        s = design.X[rows].T @ np.linalg.solve(V[np.ix_(rows, rows)], fit.residual[rows])
        meat += np.outer(s, s)
    expected = fit.covariance @ meat @ fit.covariance
    assert_allclose(dense.cluster_sandwich(design, theta, schools), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["slope", "nested_slope"])
def test_crossed_sandwich_of_one_or_nested_factors_is_the_plain_one(name):
    design = CASES[name].dense(precision=CASES[name].weights)
    theta = some_theta(design)
    expected = dense.cluster_sandwich(design, theta, design.terms[0].codes)
    assert_allclose(dense.crossed_sandwich(design, theta), expected, rtol=1e-8)


def test_crossed_sandwich_is_right_on_average_under_the_model():
    """The mean over outcomes drawn from the model with beta known is Phi."""
    case = CASES["crossed"]
    design = case.dense()
    theta = some_theta(design)
    fit, root = dense.gls(design, theta), np.linalg.cholesky(dense.marginal_covariance(design, theta))
    share = (design.terms[0].codes[:, None] == design.terms[0].codes) | (
        design.terms[1].codes[:, None] == design.terms[1].codes
    )
    A = fit.covariance @ design.X.T @ fit.V_inverse
    errors = root @ np.random.default_rng(13).normal(size=(len(design.y), 4000))
    drawn = np.array([np.diag((A * r) @ share @ (A * r).T) for r in errors.T])
    mean, error = drawn.mean(axis=0), drawn.std(axis=0) / np.sqrt(len(drawn))
    assert_allclose((mean - np.diag(fit.covariance)) / error, 0, atol=4)


def test_crossed_sandwich_has_no_negative_variances_whatever_the_units():
    """Features of other units and origins: the same, transformed."""
    design = CASES["three_factors"].dense()
    theta = dense.maximise(design, n_starts=1)
    M = np.array([[1, 5, 0], [0, 100, 0.3], [0, 0, 0.01]])
    moved = Design(design.X @ M, design.y, design.terms)
    sandwich = dense.crossed_sandwich(design, theta)
    assert np.linalg.eigvalsh(sandwich)[0] > -1e-12
    back = np.linalg.inv(M)
    assert_allclose(dense.crossed_sandwich(moved, theta), back @ sandwich @ back.T, rtol=1e-6)


def test_derivatives_of_the_covariance_of_beta(design):
    theta = some_theta(design)
    slopes = slopes_of(lambda t: dense.gls(design, t).covariance, theta)
    assert_allclose(dense.covariance_derivatives(design, theta), slopes, rtol=1e-6, atol=1e-8)


def test_one_hypothesis_has_no_scale_and_satterthwaites_df_by_expected_information(design):
    """For q = 1 Kenward and Roger's m is 2 f^2 / (f' A f') and lambda is 1, by algebra."""
    theta, contrast = some_theta(design), np.array([0.3, 1.0, -0.5])
    df, scale = dense.kenward_roger_df(design, theta, contrast)
    gradient = [contrast @ dPhi @ contrast for dPhi in dense.covariance_derivatives(design, theta)]
    variance = contrast @ dense.gls(design, theta).covariance @ contrast
    spread = gradient @ np.linalg.solve(dense.expected_information(design, theta), gradient)
    assert df == pytest.approx(2 * variance**2 / spread, rel=1e-7)
    assert scale == pytest.approx(1, rel=1e-7)


def test_balanced_layout_has_the_degrees_of_freedom_of_its_anova():
    """10 blocks of 4 treatments: the mean has 9, contrasts of treatments 27; nothing is adjusted, F is exact."""
    rng = np.random.default_rng(3)
    block, treatment = np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)
    X = np.column_stack([np.ones(40), *(treatment == k - (treatment == 0) for k in (1, 2, 3))]).astype(float)
    X[treatment == 0, 1:] = -1.0  # deviations, orthogonal to the mean
    y = rng.normal(size=10)[block] + 0.4 * treatment + rng.normal(size=40)
    design = Design(X, y, (Term(block, np.ones((40, 1))),))
    theta = dense.maximise(design)
    assert theta[0] > 0.1
    for contrast, df in ([1, 0, 0, 0], 9), ([0, 1, 0, 0], 27), ([0, 1, 0, -1], 27):
        assert dense.satterthwaite_df(design, theta, np.array(contrast)) == pytest.approx(df, rel=1e-5)
        assert dense.kenward_roger_df(design, theta, np.array(contrast))[0] == pytest.approx(df, rel=1e-7)
    assert dense.kenward_roger_df(design, theta, np.eye(4)[1:]) == pytest.approx((27, 1), rel=1e-6)
    assert_allclose(dense.kenward_roger_covariance(design, theta), dense.gls(design, theta).covariance, atol=1e-12)
    table = [np.sum((y.reshape(10, 4).mean(axis=1) - y.mean()) ** 2) * 4 / 9]
    table.append(
        np.sum((y.reshape(10, 4) - y.reshape(10, 4).mean(1, keepdims=True) - y.reshape(10, 4).mean(0) + y.mean()) ** 2)
        / 27
    )
    assert_allclose(theta, [(table[0] - table[1]) / 4, table[1]], rtol=1e-5)
