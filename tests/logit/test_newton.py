"""Newton's method and its sums over rows, against a dense twin and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize
from scipy.special import expit

from skdep import _threads
from skdep.logit import newton
from skdep.logit.kernel import LogisticData
from skdep.logit.newton import SingularInformationError, maximise

KINDS = [
    pytest.param({}, id="plain"),
    pytest.param({"weights": True}, id="weights"),
    pytest.param({"offset": True}, id="offset"),
    pytest.param({"weights": True, "offset": True}, id="weights and offset"),
    pytest.param({"weights": True, "offset": True, "fit_intercept": False}, id="no intercept"),
]


def make_data(seed=0, *, n=70, p=3, weights=False, offset=False, fit_intercept=True):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    sign = np.where(rng.random(n) < expit(X[:, 0] - 0.3), 1.0, -1.0)
    w = rng.uniform(0.2, 3.0, size=n) if weights else None
    return LogisticData(X, sign, w, rng.normal(size=n) if offset else None, fit_intercept)


class Dense:
    """Logistic regression as in a textbook: dense matrices, probabilities, no blocks."""

    def __init__(self, data):
        self.design = np.column_stack([np.ones(data.n_rows), data.X]) if data.fit_intercept else data.X
        self.y = (data.sign > 0).astype(float)
        self.w = np.ones(data.n_rows) if data.weights is None else data.weights
        self.offset = np.zeros(data.n_rows) if data.offset is None else data.offset

    def pi(self, b):
        return expit(self.design @ b + self.offset)

    def loglik(self, b):
        eta = self.design @ b + self.offset
        return float(self.w @ (self.y * eta - np.logaddexp(0, eta)))

    def score(self, b):
        return self.design.T @ (self.w * (self.y - self.pi(b)))

    def information(self, b):
        v = self.w * self.pi(b) * (1 - self.pi(b))
        return self.design.T @ (v[:, None] * self.design)

    def firth_objective(self, b):
        return self.loglik(b) + 0.5 * np.linalg.slogdet(self.information(b))[1]


def gradient(function, b, step=1e-5):
    return np.array([(function(b + step * e) - function(b - step * e)) / (2 * step) for e in np.eye(len(b))])


@pytest.fixture(params=[None, 257], ids=["one block", "blocks"])
def small_blocks(request, monkeypatch):
    """Cut data into blocks of few rows, so that sums over blocks are summed over tasks and threads."""
    if request.param is not None:
        monkeypatch.setattr("skdep._threads.block_rows", lambda n_columns: 7)
        monkeypatch.setattr(_threads, "_BLOCKS_PER_TASK", 3)
        monkeypatch.setattr(_threads, "_PARALLEL_FLOATS", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_against_dense_twin(kind, small_blocks):
    data = make_data(**kind)
    dense, b = Dense(data), np.random.default_rng(1).normal(size=data.n_params)
    loglik, score, information = data.summary(b)
    assert loglik == pytest.approx(dense.loglik(b), rel=1e-13)
    assert_allclose(score, dense.score(b), rtol=1e-12, atol=1e-12)
    assert_allclose(information, dense.information(b), rtol=1e-12, atol=1e-13)
    assert_allclose(data.residuals(b), dense.y - dense.pi(b), rtol=1e-12)
    assert data.total_weight == pytest.approx(dense.w.sum())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("squared", [True, False])
def test_final_sums_against_dense_twin(kind, squared, small_blocks):
    data = make_data(**kind)
    dense, b = Dense(data), np.random.default_rng(1).normal(size=data.n_params)
    factor = (dense.w**2 if squared else dense.w) * (dense.y - dense.pi(b)) ** 2
    loglik, information, meat, squares = data.final(b, squared_weights=squared)
    assert loglik == pytest.approx(dense.loglik(b), rel=1e-13)
    assert_allclose(information, dense.information(b), rtol=1e-12, atol=1e-13)
    assert_allclose(meat, dense.design.T @ (factor[:, None] * dense.design), rtol=1e-12, atol=1e-13)
    assert_allclose(squares, (dense.design**2).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_firth_score_against_hat_matrix(kind, small_blocks):
    data = make_data(**kind)
    dense, b = Dense(data), 0.5 * np.random.default_rng(1).normal(size=data.n_params)
    pi = dense.pi(b)
    rows = np.sqrt(dense.w * pi * (1 - pi))[:, None] * dense.design
    hat = np.diag(rows @ np.linalg.inv(rows.T @ rows) @ rows.T)
    expected = dense.design.T @ (hat * (0.5 - pi))
    root = newton._inverse_root(dense.information(b))
    assert_allclose(root @ root.T, np.linalg.inv(dense.information(b)), rtol=1e-10)
    assert_allclose(data.firth_score(b, root), expected, rtol=1e-10, atol=1e-12)
    penalty = gradient(lambda v: 0.5 * np.linalg.slogdet(dense.information(v))[1], b)
    assert_allclose(expected, penalty, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_score_is_the_gradient_of_the_log_likelihood(kind):
    data = make_data(**kind)
    b = np.random.default_rng(2).normal(size=data.n_params)
    assert_allclose(data.summary(b).score, gradient(lambda v: data.summary(v).loglik, b), rtol=1e-7, atol=1e-7)
    negative_hessian = -np.array([gradient(lambda v, j=j: data.summary(v).score[j], b) for j in range(data.n_params)])
    assert_allclose(data.summary(b).information, negative_hessian, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [30.0, 300.0, 1e6])
def test_extreme_margins_are_exact(size):
    """Far out, log-likelihood and residual are those of the asymptote, without overflow."""
    data = LogisticData(np.array([[size], [size]]), np.array([1.0, -1.0]), None, None, False)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loglik, score, _ = data.summary(np.ones(1))
    assert loglik == pytest.approx(-size, rel=1e-12)
    assert score[0] == pytest.approx(-size, rel=1e-12)
    assert data.residuals(np.ones(1))[0] == pytest.approx(np.exp(-size), rel=1e-12)


def test_product_of_many_factors_does_not_overflow():
    """At zero each row adds log 2; the rows' factors are multiplied before the logarithm is taken."""
    for n in (511, 512, 513, 5000):
        data = LogisticData(np.zeros((n, 1)), np.ones(n), None, None, True)
        assert data.summary(np.zeros(2)).loglik == pytest.approx(-n * np.log(2), rel=1e-13)


def test_every_other_row():
    data = make_data(weights=True, offset=True)
    fewer = data.every(4)
    for field in ("X", "sign", "weights", "offset"):
        assert_array_equal(getattr(fewer, field), getattr(data, field)[::4])


# ------------------------------------------------------------------------------------------------- iterations


@pytest.mark.parametrize("kind", KINDS)
def test_maximum_against_scipy(kind):
    data = make_data(**kind)
    dense = Dense(data)
    fit = maximise(data, max_iter=50, tol=1e-10)
    truth = optimize.minimize(
        lambda b: -dense.loglik(b), np.zeros(data.n_params), jac=lambda b: -dense.score(b), method="BFGS", tol=1e-10
    )
    assert fit.converged
    assert_allclose(fit.params, truth.x, atol=1e-5)
    assert_allclose(dense.score(fit.params), 0.0, atol=1e-9)
    assert fit.loglik == pytest.approx(dense.loglik(fit.params), rel=1e-13)
    assert_allclose(fit.information, dense.information(fit.params), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ridge_solves_its_equations(kind):
    data = make_data(**kind)
    dense, ridge = Dense(data), np.arange(data.n_params) * 0.7
    fit = maximise(data, ridge=ridge, max_iter=50, tol=1e-10)
    assert_allclose(dense.score(fit.params), ridge * fit.params, atol=1e-9)
    assert fit.loglik == pytest.approx(dense.loglik(fit.params), rel=1e-12)
    assert_allclose(fit.hessian, fit.information + np.diag(ridge))


@pytest.mark.parametrize("kind", KINDS)
def test_firth_maximises_its_objective(kind):
    data = make_data(**kind)
    dense = Dense(data)
    fit = maximise(data, firth=True, max_iter=100, tol=1e-10)
    assert fit.converged
    assert_allclose(gradient(dense.firth_objective, fit.params), 0.0, atol=1e-6)
    rng = np.random.default_rng(4)
    for _ in range(20):
        beside = fit.params + 0.05 * rng.normal(size=data.n_params)
        assert dense.firth_objective(beside) < dense.firth_objective(fit.params)


def test_objective_never_falls_on_hostile_data(monkeypatch):
    """Outliers, heavy weights and offsets that send plain Newton steps to infinity from zero."""
    rng = np.random.default_rng(3)
    diverged = 0
    for _ in range(20):
        n = 40
        X = rng.standard_cauchy(size=(n, 2)) * 30
        sign = np.where(rng.random(n) < 0.5, 1.0, -1.0)
        data = LogisticData(X, sign, rng.exponential(size=n) ** 3 + 1e-3, 20 * rng.normal(size=n), True)
        dense = Dense(data)
        objectives = []
        search = newton._line_search

        def recording(objective, point, step, slope, search=search, objectives=objectives):
            result = search(objective, point, step, slope)
            if result is not None:
                objectives.append(result.objective)
            return result

        monkeypatch.setattr(newton, "_line_search", recording)
        fit = maximise(data, max_iter=200, tol=1e-9)
        monkeypatch.setattr(newton, "_line_search", search)
        assert fit.converged
        assert np.all(np.diff(objectives) >= -1e-11 * (1 + np.abs(objectives[:-1])))
        assert_allclose(dense.score(fit.params) / np.sqrt(np.diag(dense.information(fit.params))), 0.0, atol=1e-6)
        b = np.zeros(3)
        with np.errstate(all="ignore"):
            for _ in range(15):
                b = b + np.linalg.pinv(dense.information(b)) @ dense.score(b)
        diverged += not np.allclose(b, fit.params, rtol=1e-3)
    assert diverged > 0, "the data are not hostile: plain Newton steps converge on all of them"


def test_iterations_stop_where_told():
    data = make_data(n=200)
    fit = maximise(data, max_iter=2, tol=1e-12)
    assert not fit.converged
    assert fit.n_iter == 2
    done = maximise(data, max_iter=100, tol=1e-12)
    assert done.converged
    assert 3 <= done.n_iter <= 10
    assert done.decrement <= 1e-12 * np.sqrt(200)
    loose = maximise(data, max_iter=100, tol=1e-2)
    assert loose.n_iter < done.n_iter


def test_collinear_columns_are_refused_or_not():
    data = make_data()
    twice = replace(data, X=np.column_stack([data.X, data.X[:, 0]]))
    with pytest.raises(SingularInformationError):
        maximise(twice, max_iter=10, tol=1e-8)
    assert maximise(twice, ridge=np.ones(5), max_iter=20, tol=1e-8).converged


# -------------------------------------------------------------------------------------------------- large data


def large(seed=0, *, n=120_000, weights=False, offset=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    sign = np.where(rng.random(n) < expit(X @ [0.5, -1.0, 0.2] - 1), 1.0, -1.0)
    w = rng.exponential(size=n) if weights else None
    return LogisticData(X, sign, w, rng.normal(size=n) if offset else None, True)


@pytest.mark.parametrize("ridge", [None, np.array([0.0, 50.0, 50.0, 50.0])], ids=["plain", "ridge"])
@pytest.mark.parametrize("kind", [{}, {"weights": True, "offset": True}], ids=["plain", "weights"])
def test_start_from_a_fraction_ends_where_zero_does(kind, ridge, monkeypatch):
    data = large(**kind)
    start = newton._start(data, ridge=ridge, firth=False)
    assert np.any(start != 0)
    ahead = maximise(data, ridge=ridge, max_iter=50, tol=1e-10)
    monkeypatch.setattr(newton, "_SUBSAMPLE_FROM", 10**9)
    from_zero = maximise(data, ridge=ridge, max_iter=50, tol=1e-10)
    assert ahead.n_iter < from_zero.n_iter
    assert_allclose(ahead.params, from_zero.params, rtol=1e-9, atol=1e-11)
    assert ahead.loglik == pytest.approx(from_zero.loglik, rel=1e-12)


def test_a_fraction_that_misleads_is_not_used():
    """The fraction separated, or without variation in a column: the estimate must be right all the same."""
    data, step = large(), newton._SUBSAMPLE_STEP
    separated = data.sign.copy()
    separated[::step] = np.where(data.X[::step, 0] > 0, 1.0, -1.0)
    rare = data.X.copy()
    rare[:, 2] = (np.arange(data.n_rows) % step == 1) * 1.0
    for misleading in (replace(data, sign=separated), replace(data, X=rare)):
        start = newton._start(misleading, ridge=None, firth=False)
        assert np.isfinite(start).all()
        fit = maximise(misleading, max_iter=50, tol=1e-10)
        assert fit.converged
        assert_allclose(misleading.summary(fit.params).score, 0.0, atol=1e-5)


def test_firth_starts_from_zero():
    assert_array_equal(newton._start(large(), ridge=None, firth=True), np.zeros(4))
