"""The dense twin under sampling weights: against quadrature, repeated rows and groups, and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skdep.datasets import load_sleepstudy

from . import dense, dense_sampling
from .dense import Design, Term
from .designs import CASES

NAMES = ["intercept", "slope", "slope_diagonal"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


@pytest.fixture(params=NAMES)
def case(request):
    return CASES[request.param]


def some_theta(design: Design) -> np.ndarray:
    q = design.terms[0].Z.shape[1]
    return dense.pack(design, [0.7 * np.eye(q) + 0.2], 1.4)


def group_weights(design: Design) -> np.ndarray:
    return np.random.default_rng(5).uniform(0.5, 3.0, design.terms[0].n_levels)


def test_weights_are_scaled_within_groups():
    codes, w = np.array([0, 1, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 4.0, 0.0])
    assert_allclose(dense_sampling.scaled_weights(w, codes, "none"), w / 2.5)
    assert_allclose(dense_sampling.scaled_weights(w, codes, "size"), [0.5, 2 / 3, 1.5, 4 / 3, 0])
    assert_allclose(dense_sampling.scaled_weights(w, codes, "effective"), [0.4, 0.6, 1.2, 1.2, 0])


def test_closed_form_is_the_integral(case):
    """By 80 nodes a dimension, over groups small enough for their integrands to be wide."""
    design = case.dense(precision=case.weights)
    theta, (term,) = some_theta(design), design.terms
    (Sigma,), sigma2 = dense.unpack(design, theta)
    for j, (X, y, w, V) in enumerate(dense_sampling.clusters_of(design, theta)[:8]):
        residual = y - X @ [1.0, 0.5, -0.5]
        by_nodes = dense_sampling.integral_by_quadrature(residual, w, term.Z[term.codes == j], Sigma, sigma2)
        assert dense_sampling.cluster_loglik(residual, w, V, sigma2) == pytest.approx(by_nodes, abs=1e-7)


def test_unit_weights_are_maximum_likelihood(case):
    design = case.dense()
    theta = some_theta(design)
    ones = np.ones(design.terms[0].n_levels)
    beta, information, _ = dense_sampling.pseudo_gls(design, theta, ones)
    fit = dense.gls(design, theta)
    assert_allclose(beta, fit.beta, rtol=1e-9)
    assert_allclose(np.linalg.inv(information), fit.covariance, rtol=1e-9)
    expected = dense.loglik(design, theta, "ml")
    assert dense_sampling.pseudo_loglik(design, theta, beta, ones) == pytest.approx(expected, rel=1e-12)
    clusters = design.terms[0].codes
    sandwich = dense.cluster_sandwich(design, theta, clusters)
    assert_allclose(dense_sampling.pseudo_sandwich(design, theta, ones), sandwich, rtol=1e-9)


def test_integer_weights_are_repeated_rows_and_groups(case):
    weighted = case.dense(precision=case.integers)
    theta, beta = some_theta(weighted), np.array([1.0, 0.5, -0.5])
    copies = np.random.default_rng(6).integers(1, 4, weighted.terms[0].n_levels)
    rows = dense.repeated(case.dense(), case.integers)
    (term,) = rows.terms
    taken, codes = [], []
    for level, n_copies in enumerate(copies):
        for _ in range(n_copies):
            members = np.flatnonzero(term.codes == level)
            taken.append(members)
            codes.append(np.full(len(members), len(codes)))
    taken = np.concatenate(taken)
    written_out = Design(rows.X[taken], rows.y[taken], (replace(term, codes=np.concatenate(codes), Z=term.Z[taken]),))
    expected = dense_sampling.pseudo_loglik(written_out, theta, beta, np.ones(copies.sum()))
    assert dense_sampling.pseudo_loglik(weighted, theta, beta, copies) == pytest.approx(expected, rel=1e-12)


def test_rows_of_weight_zero_are_not_there(case):
    codes = case.codes("group")
    last = np.array([i == np.flatnonzero(codes == codes[i])[-1] for i in range(len(codes))])
    w = np.where(last & (np.bincount(codes)[codes] > 1), 0.0, case.weights)
    kept = np.flatnonzero(w > 0)
    weighted, without = case.dense(precision=w), case.take(kept).dense(precision=w[kept])
    theta, g = some_theta(weighted), group_weights(weighted)
    beta = dense_sampling.pseudo_gls(without, theta, g)[0]
    assert_allclose(dense_sampling.pseudo_gls(weighted, theta, g)[0], beta, rtol=1e-12)
    expected = dense_sampling.pseudo_loglik(without, theta, beta, g)
    assert dense_sampling.pseudo_loglik(weighted, theta, beta, g) == pytest.approx(expected, rel=1e-12)


def test_scores_of_clusters_are_derivatives(case):
    design = case.dense(precision=case.weights)
    theta, g = some_theta(design), group_weights(design)
    beta, _, scores = dense_sampling.pseudo_gls(design, theta, g)
    for j, (X, y, w, V) in enumerate(dense_sampling.clusters_of(design, theta)):
        for k, move in enumerate(1e-5 * np.eye(3)):
            up, down = (
                dense_sampling.cluster_loglik(y - X @ (beta + sign * move), w, V, theta[-1]) for sign in (1, -1)
            )
            assert scores[j, k] == pytest.approx(g[j] * (up - down) / 2e-5, abs=1e-6)


def test_nested_factors_with_unit_weights_are_maximum_likelihood():
    design = CASES["nested_slope"].dense()
    theta = dense.pack(design, [np.array([[1.5, 0.3], [0.3, 0.8]]), np.array([[0.9]])], 1.4)
    ones = np.ones(design.terms[0].n_levels)
    beta = dense_sampling.pseudo_gls(design, theta, ones)[0]
    expected = dense.loglik(design, theta, "ml")
    assert dense_sampling.pseudo_loglik(design, theta, beta, ones) == pytest.approx(expected, rel=1e-12)
    clusters = design.terms[0].codes
    sandwich = dense.cluster_sandwich(design, theta, clusters)
    assert_allclose(dense_sampling.pseudo_sandwich(design, theta, ones), sandwich, rtol=1e-9)


def test_maximum_is_one_in_every_parameter(case):
    design = case.dense(precision=dense_sampling.scaled_weights(case.weights, case.codes("group"), "size"))
    g = group_weights(design)
    theta, beta, value = dense_sampling.maximise_pseudo(design, g, n_starts=2)
    assert np.linalg.eigvalsh(dense.unpack(design, theta)[0][0])[0] > 0.05

    def at(moved):
        return dense_sampling.pseudo_loglik(design, moved[: len(theta)], moved[len(theta) :], g)

    here = np.concatenate([theta, beta])
    assert value == pytest.approx(at(here), rel=1e-12)
    for move in 1e-3 * np.eye(len(here)):
        up, down = at(here + move), at(here - move)
        assert up + down - 2 * value < 0
        # the top of the parabola through the three points, in units of the step
        assert abs(0.5 * (up - down) / (up + down - 2 * value)) < 0.05


def test_weights_that_multiply_log_densities_in_r():
    """R's glmmTMB 1.1.5 has such weights: glmmTMB(Reaction ~ Days + (Days | Subject), weights = w).

    w is 0.5, 1, 1.5, 2, 0.5, ... down the rows; optCtrl = list(rel.tol = 1e-14, x.tol = 1e-12).
    """
    study = load_sleepstudy().frame
    reaction, days = study["Reaction"].to_numpy(), study["Days"].to_numpy(dtype=float)
    subject = np.repeat(np.arange(18), 10)
    X = np.column_stack([np.ones(180), days])
    design = Design(X, reaction, (Term(subject, X),), 0.5 + np.arange(180) % 4 / 2)
    theta, beta, value = dense_sampling.maximise_pseudo(design, np.ones(18), n_starts=1)
    assert value == pytest.approx(-1077.59050399, abs=1e-8)
    assert_allclose(beta, [252.3436085059, 10.0709006881], rtol=1e-6)
    assert_allclose(theta, [604.36677411237, 2.01561699803, 32.94875351762, 581.34260629482], rtol=2e-5, atol=1e-3)
