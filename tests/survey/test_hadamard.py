"""Hadamard matrices: orthogonal by definition, of every order that the constructions reach."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdep.survey.hadamard import hadamard_matrix, least_hadamard_order

# by products; by fields of a prime, of p^2 (52, 100), of p^3 (28), p^5 (244) elements; by both
ORDERS = [1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 40, 44, 52, 56, 64, 76, 80, 84, 88, 96, 100, 112, 148, 164, 244, 252]


@pytest.mark.parametrize("order", ORDERS)
def test_rows_are_orthogonal(order):
    matrix = hadamard_matrix(order).astype(int)
    assert_array_equal(np.abs(matrix), 1)
    assert_array_equal(matrix @ matrix.T, order * np.eye(order))
    assert_array_equal(matrix[0], 1)
    assert_array_equal(matrix[:, 0], 1)


def test_least_order_is_a_multiple_of_four_that_can_be_built():
    assert [least_hadamard_order(n) for n in (0, 1, 2, 3, 4, 5, 29, 80, 89, 92)] == [1, 1, 2, 4, 4, 8, 32, 80, 96, 96]
    assert all(least_hadamard_order(n) - n < 8 for n in range(3, 155))
    assert sorted({least_hadamard_order(n) for n in range(1, 92)}) == [1, 2, *range(4, 89, 4), 96]


@pytest.mark.parametrize(("order", "says"), [(6, "impossible"), (92, "96"), (-4, "No construction"), (0, "No constr")])
def test_other_orders_are_refused(order, says):
    with pytest.raises(ValueError, match=says):
        hadamard_matrix(order)
