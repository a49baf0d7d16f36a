"""Scale-free solves against exact answers and numpy's pseudo-inverse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg

from skdep._linalg import is_ill_conditioned, scaled_inverse, scaled_solve, smallest_scaled_eigenvalue


def gram(seed, n=30, p=4):
    X = np.random.default_rng(seed).normal(size=(n, p))
    return X.T @ X


@pytest.mark.parametrize("seed", range(3))
def test_solve_and_inverse_against_numpy(seed):
    matrix = gram(seed)
    right = np.random.default_rng(seed + 10).normal(size=(4, 2))
    assert_allclose(scaled_solve(matrix, right), np.linalg.solve(matrix, right), rtol=1e-10)
    assert_allclose(scaled_solve(matrix, right[:, 0]), np.linalg.solve(matrix, right[:, 0]), rtol=1e-10)
    assert_allclose(scaled_inverse(matrix), np.linalg.inv(matrix), rtol=1e-10)
    assert_array_equal(scaled_inverse(matrix), scaled_inverse(matrix).T)


def test_hilbert_matrix():
    assert_allclose(scaled_inverse(linalg.hilbert(6)), linalg.invhilbert(6), rtol=1e-8)


def test_scale_does_not_matter():
    """Rescaled columns give the rescaled solution, to full precision, whatever the units."""
    matrix, right = gram(0), np.ones(4)
    units = np.array([1e-140, 1e-5, 1.0, 1e140])
    rescaled = scaled_solve(matrix * np.outer(units, units), right * units)
    assert_allclose(rescaled * units, scaled_solve(matrix, right), rtol=1e-10)
    assert smallest_scaled_eigenvalue(matrix * np.outer(units, units)) == pytest.approx(
        smallest_scaled_eigenvalue(matrix), rel=1e-10
    )


def test_exactly_singular_systems_are_solved_where_they_can_be():
    matrix = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    assert_allclose(scaled_solve(matrix, np.array([4.0, 4.0, 10.0])), [1.0, 1.0, 2.0], rtol=1e-12)
    empty_column = np.diag([3.0, 0.0])
    assert_allclose(scaled_solve(empty_column, np.array([6.0, 0.0])), [2.0, 0.0])
    assert_allclose(scaled_inverse(empty_column), np.diag([1 / 3, 0.0]))


@pytest.mark.parametrize("seed", range(8))
def test_rank_deficient_solutions_stay_small_and_consistent(seed):
    """A rank that is lost up to rounding must not give a huge solution, whichever way rounding goes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 3))
    X = np.column_stack([X, X @ rng.normal(size=3)])
    matrix, target = X.T @ X, X.T @ rng.normal(size=40)
    solution = scaled_solve(matrix, target)
    assert_allclose(matrix @ solution, target, rtol=1e-6, atol=1e-8)
    assert np.abs(solution).max() < 100


def test_smallest_scaled_eigenvalue():
    assert smallest_scaled_eigenvalue(np.array([[4.0, 3.0], [3.0, 9.0]])) == pytest.approx(1 - 3 / 6)
    assert smallest_scaled_eigenvalue(np.diag([1.0, 0.0])) == 0.0
    assert smallest_scaled_eigenvalue(np.array([[1.0, np.nan], [np.nan, 1.0]])) == 0.0
    assert smallest_scaled_eigenvalue(np.array([[np.inf]])) == 0.0
    assert smallest_scaled_eigenvalue(np.zeros((0, 0))) == 1.0


def test_ill_conditioned():
    assert not is_ill_conditioned(np.diag([1e-30, 1e30]))
    assert not is_ill_conditioned(np.array([[1.0, 1 - 1e-6], [1 - 1e-6, 1.0]]))
    assert is_ill_conditioned(np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]]))
    assert is_ill_conditioned(np.ones((2, 2)))


def test_no_parameters():
    assert scaled_solve(np.zeros((0, 0)), np.zeros(0)).shape == (0,)
    assert scaled_inverse(np.zeros((0, 0))).shape == (0, 0)
