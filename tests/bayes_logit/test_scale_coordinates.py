"""Curves, linearised models and coordinates of hard posteriors, against dense algebra and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes.linearised import Linearised
from skdep.bayes.logit import BayesLogit
from skdep.bayes.skew_curve import SkewCurve
from skdep.glmm.cumulants import Binomial
from skdep.glmm.modes import LevelData, find_modes
from skdep.glmm.rows import GlmmRows, RowTerm


# ------------------------------------------------------------------------------------------------------------ curves
def curve():
    return SkewCurve(np.array([-0.5, 2.0]), np.array([0.4, 0.2]), np.array([0.8, 0.0]), np.array([0.0, 0.3]))


def test_curve_against_differences_and_its_inverse():
    v = np.linspace(-6, 6, 49)[:, None].repeat(2, axis=1)
    value, log_slope = curve()(v)
    step = 1e-6
    slope = (curve()(v + step)[0] - curve()(v - step)[0]) / (2 * step)
    np.testing.assert_allclose(np.exp(log_slope), slope, rtol=1e-7)
    np.testing.assert_allclose(curve().inverse(value), v, atol=1e-9)


def test_curve_is_fitted_to_its_own_quantiles():
    v = special.ndtri((np.arange(20_000) + 0.5) / 20_000)[:, None].repeat(2, axis=1)
    found = SkewCurve.fitted(curve()(v)[0], np.ones(len(v)))
    for part, exact in zip(found.parameters, curve().parameters, strict=True):
        np.testing.assert_allclose(part, exact, atol=0.01)


def test_curve_of_a_small_standard_deviation():
    """log sd, sd half-normal: in the curve's coordinate about normal, far into the left tail of e^s."""
    sd = stats.halfnorm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = SkewCurve.fitted(np.log(sd)[:, None], np.ones(len(sd)))
    v = found.inverse(np.log(sd)[:, None])[:, 0]
    assert stats.kstest(v, "norm").statistic < 0.01
    assert abs(stats.kurtosis(v)) < 0.2
    assert stats.kurtosis(np.log(sd)) > 1.0
    # P(sd < e^-9) is not far from what a normal v makes of it
    log_ratio = stats.norm.logcdf(found.inverse(np.array([[-9.0]]))) - stats.halfnorm.logcdf(np.exp(-9.0))
    assert abs(log_ratio[0, 0]) < 1.0


def test_curve_of_values_that_are_all_alike():
    found = SkewCurve.fitted(np.full((50, 1), 3.0), np.ones(50))
    value, log_slope = found(np.zeros((1, 1)))
    assert value[0, 0] == pytest.approx(3.0)
    assert np.isfinite(log_slope).all()


# -------------------------------------------------------------------------------------------------- linearised models
def make_rows(q, n_levels=5, seed=0, counts=None):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_levels), rng.integers(1, 7, n_levels))
    n = len(codes)
    fixed = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    Z = np.vstack([np.ones(n), rng.normal(size=(2, n))])[:q]
    weight = rng.uniform(0.5, 3.0, n)
    outcome = weight * (rng.uniform(size=n) < 0.5)
    term = RowTerm(codes, n_levels, Z, np.eye(q))
    return GlmmRows(fixed, outcome, weight, rng.normal(size=n), (term,), Binomial(), counts)


def make_factors(q, n, seed=1):
    return np.tril(np.random.default_rng(seed).normal(size=(n, q, q)))


def dense(rows, beta, effects):
    """Return X, block-diagonal Z, working weights and working residuals."""
    (term,) = rows.terms
    q, n_levels = effects.shape
    Z = np.zeros((rows.n_rows, n_levels * q))
    for row, level in enumerate(term.codes):
        Z[row, level * q : (level + 1) * q] = term.columns[:, row]
    eta = rows.fixed @ beta + rows.offset + Z @ effects.T.ravel()
    mean = special.expit(eta)
    return rows.fixed, Z, rows.weight * mean * (1 - mean), rows.outcome - rows.weight * mean


@pytest.mark.parametrize("q", [1, 2, 3])
def test_information_against_dense_algebra(q):
    rng = np.random.default_rng(2)
    counts = np.array([1.0, 2.0, 1.0, 3.5, 1.0])
    rows, beta, effects = make_rows(q, counts=counts), rng.normal(size=3), rng.normal(size=(q, 5))
    factors = make_factors(q, 4)
    X, Z, w, _ = dense(rows, beta, effects)
    found = Linearised(rows, beta, effects).information(factors.transpose(1, 2, 0))
    for information, T in zip(found, factors, strict=True):
        marginal = np.diag(1 / w) + Z @ np.kron(np.eye(5), T @ T.T) @ Z.T
        # levels are independent: a level that counts several times adds several times
        heavy = counts[rows.terms[0].codes]
        np.testing.assert_allclose(information, X.T @ (heavy[:, None] * np.linalg.solve(marginal, X)), rtol=1e-9)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_modes_against_dense_algebra(q):
    rng = np.random.default_rng(3)
    rows, beta, effects = make_rows(q), rng.normal(size=3), rng.normal(size=(q, 5))
    factors, moved = make_factors(q, 4), rng.normal(size=(4, 3))
    X, Z, w, residual = dense(rows, beta, effects)
    found = Linearised(rows, beta, effects).modes(moved, factors.transpose(1, 2, 0))
    for draw, T in enumerate(factors):
        ZT = Z @ np.kron(np.eye(5), T)
        working = residual / w + Z @ effects.T.ravel() - X @ (moved[draw] - beta)
        u = np.linalg.solve(ZT.T @ (w[:, None] * ZT) + np.eye(5 * q), ZT.T @ (w * working))
        np.testing.assert_allclose(found[:, :, draw], u.reshape(5, q).T, rtol=1e-8, atol=1e-10)


# -------------------------------------------------------------------------------------------------------- coordinates
def fitted(q):
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(5), 8)
    X = rng.normal(size=(40, 3))
    y = (rng.uniform(size=40) < special.expit(X[:, 0] + rng.normal(size=5)[groups])).astype(int)
    slopes = list(range(q - 1)) or None
    model = BayesLogit(random_slopes=slopes, n_draws=100, random_state=0, method="pairs")
    return model.fit(X, y, groups=groups)._posterior


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("q", [1, 2])
def test_coordinates_are_a_map_and_its_jacobian(q):
    posterior = fitted(q)
    found, centre, covariance = posterior.target.coordinates(posterior.mode)
    n = len(centre)
    points = posterior.points.reshape(-1, n)
    mass = np.full(len(points), 1.0 / len(points))
    for coordinates in (found, found.refitted(points, mass)):
        v = coordinates.from_points(points[::40])
        back, log_jacobian = coordinates.to_points(v)
        np.testing.assert_allclose(back, points[::40], atol=1e-8)
        for at, expected in zip(v, log_jacobian, strict=True):
            moves = 1e-5 * np.eye(n)
            jacobian = (coordinates.to_points(at + moves)[0] - coordinates.to_points(at - moves)[0]) / 2e-5
            assert np.linalg.slogdet(jacobian)[1] == pytest.approx(expected, abs=1e-6)
    # in them the posterior has about the moments that were foreseen
    v = found.from_points(points)
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(v.mean(axis=0) - centre) < 0.5 * sd)
    np.testing.assert_allclose(v.std(axis=0), sd, rtol=0.35)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_coordinates_far_out():
    """Tails of proposals reach standard deviations of 0 and of e^50."""
    posterior = fitted(2)
    found, centre, _ = posterior.target.coordinates(posterior.mode)
    far = np.repeat(centre[None], 4, axis=0)
    far[:, 4] += [-60.0, 60.0, -5.0, 150.0]
    points, log_jacobian = found.to_points(far)
    assert np.isfinite(points).all() and np.isfinite(log_jacobian).all()


def test_modes_that_are_known_are_kept():
    rows = make_rows(2)
    T = np.array([[0.8, 0.0], [0.3, 0.6]])
    beta = np.array([0.2, -0.5, 0.4])
    modes = find_modes(LevelData(rows), rows.fixed_predictor(beta), T, np.zeros((2, 5)))
    near = Linearised(rows, beta, T @ modes.u)
    np.testing.assert_allclose(near.modes(beta[None], T[:, :, None])[:, :, 0], modes.u, atol=1e-6)
