"""Full-rank coordinates: least squares in them against numpy's minimum-norm solution."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdep._basis import collinearity_message, full_rank_basis

RNG = np.random.default_rng(20)
Z = RNG.normal(size=(60, 4))
DUMMY = (np.arange(60) % 2).astype(float)

COLLINEAR = [
    pytest.param(Z, id="full rank"),
    pytest.param(Z[:, [0, 1, 0]], id="a column twice"),
    pytest.param(np.column_stack([Z[:, 0], 100 * Z[:, 0], Z[:, 1]]), id="a multiple"),
    pytest.param(np.column_stack([Z[:, :2], Z[:, 0] - 3 * Z[:, 1], Z[:, 3]]), id="a sum"),
    pytest.param(np.column_stack([Z[:, 0], DUMMY, 1 - DUMMY]), id="all dummies"),
    pytest.param(np.column_stack([Z[:, 0], np.full(60, 3.0)]), id="a constant"),
    pytest.param(np.column_stack([Z[:, 0], np.zeros(60)]), id="zeros"),
    pytest.param(np.column_stack([Z, Z @ RNG.normal(size=(4, 3))]), id="three relations"),
    pytest.param(RNG.normal(size=(5, 9)), id="more columns than rows"),
    pytest.param(np.zeros((6, 2)), id="nothing but zeros"),
]


def least_norm(X, y, *, fit_intercept):
    """Return [intercept, *coef] of least squares with the coefficients (not the intercept) of least norm."""
    if not fit_intercept:
        return np.linalg.lstsq(X, y, rcond=1e-10)[0]
    coef = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean(), rcond=1e-10)[0]
    return np.r_[y.mean() - X.mean(axis=0) @ coef, coef]


def with_ones(X, *, fit_intercept):
    return np.column_stack([np.ones(len(X)), X]) if fit_intercept else X


def estimable(X, *, fit_intercept):
    """Return whether each unit vector is in the row space of the design."""
    design = with_ones(X, fit_intercept=fit_intercept)
    projector = np.linalg.pinv(design, rcond=1e-10) @ design
    return np.abs(np.diag(projector) - 1.0) < 1e-6


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("X", COLLINEAR)
def test_least_squares_in_the_basis_is_numpys_least_norm(X, fit_intercept):
    y = np.random.default_rng(3).normal(size=len(X))
    basis = full_rank_basis(X, fit_intercept=fit_intercept)
    params = np.linalg.lstsq(with_ones(basis.columns, fit_intercept=fit_intercept), y, rcond=None)[0]
    assert_allclose(basis.back @ params, least_norm(X, y, fit_intercept=fit_intercept), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("X", COLLINEAR)
def test_columns_are_orthonormal_and_span_the_design(X, fit_intercept):
    basis = full_rank_basis(X, fit_intercept=fit_intercept)
    columns = with_ones(basis.columns, fit_intercept=fit_intercept)
    assert_allclose(columns.T @ columns, len(X) * np.eye(columns.shape[1]), atol=1e-9)
    assert columns.shape[1] == np.linalg.matrix_rank(with_ones(X, fit_intercept=fit_intercept))
    assert_allclose(with_ones(X, fit_intercept=fit_intercept) @ basis.back, columns, atol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("X", COLLINEAR)
def test_aliased_are_those_outside_the_row_space(X, fit_intercept):
    basis = full_rank_basis(X, fit_intercept=fit_intercept)
    assert_array_equal(basis.aliased, ~estimable(X, fit_intercept=fit_intercept))


def test_intercept_is_aliased_beside_a_feature_with_a_huge_mean():
    """Dummies for every level share the intercept's space, however far another feature is from zero."""
    X = np.column_stack([1.7e9 + 1e6 * Z[:, 0], DUMMY, 1 - DUMMY])
    assert_array_equal(full_rank_basis(X, fit_intercept=True).aliased, [True, False, True, True])


@pytest.mark.parametrize("units", [(1e8, 1e-6), (1e10, 1e-7), (1e-9, 1e9)])
def test_features_of_very_different_units_all_stay(units):
    X = np.column_stack([units[0] * Z[:, 0], units[1] * Z[:, 1], Z[:, 2], Z[:, 2]])
    basis = full_rank_basis(X, fit_intercept=True)
    assert_array_equal(basis.aliased, [False, False, False, True, True])
    columns = with_ones(basis.columns, fit_intercept=True)
    assert_allclose(with_ones(X, fit_intercept=True) @ basis.back, columns, atol=1e-6)


def test_nearly_collinear_columns_are_solved_accurately():
    """Columns that differ by 1e-7 square to cross-products without any digits left; the basis loses seven only."""
    X = np.column_stack([Z[:, 0], Z[:, 0] + 1e-7 * Z[:, 1], Z[:, 2]])
    truth = np.array([0.5, 2.0, -1.0, 0.3])
    basis = full_rank_basis(X, fit_intercept=True)
    y = with_ones(X, fit_intercept=True) @ truth
    params = np.linalg.lstsq(with_ones(basis.columns, fit_intercept=True), y, rcond=None)[0]
    assert not basis.aliased.any()
    assert_allclose(basis.back @ params, truth, atol=1e-7)


def test_timestamps():
    """Seconds since 1970: mean 1.7e9, spread of an hour; the slope is that of the centred feature."""
    seconds = 1000.0 * Z[:, 0]
    y = Z[:, 1] + 0.002 * seconds
    slope = np.polyfit(seconds, y, 1)[0]
    basis = full_rank_basis(1.7e9 + seconds[:, None], fit_intercept=True)
    params = np.linalg.lstsq(with_ones(basis.columns, fit_intercept=True), y, rcond=None)[0]
    assert not basis.aliased.any()
    assert (basis.back @ params)[1] == pytest.approx(slope, rel=1e-8)


def test_constant_of_large_size_is_the_intercept_over_again():
    X = np.column_stack([Z[:, 0], np.full(60, 0.1), np.full(60, 1.7e9)])
    basis = full_rank_basis(X, fit_intercept=True)
    assert basis.columns.shape[1] == 1
    assert_array_equal(basis.aliased, [True, False, True, True])


def test_the_caller_keeps_its_features():
    X = np.column_stack([Z[:, 0], np.full(60, 3.0)])
    before = X.copy()
    for fit_intercept in (True, False):
        full_rank_basis(X, fit_intercept=fit_intercept)
    assert_array_equal(X, before)


def test_message_names_the_parameters():
    message = collinearity_message(["Intercept", "a", "b"], np.array([True, False, True]))
    assert "2 of 3 parameters" in message
    assert "'Intercept', 'b'" in message
    assert "'a'" not in message
    assert "Drop a feature" in message
    many = collinearity_message([f"x{j}" for j in range(12)], np.ones(12, dtype=bool))
    assert "'x9', ..." in many
    assert "x10" not in many
