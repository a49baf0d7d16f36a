"""Products of stacks of small matrices that carry directions: axes are (rows, columns, ..., level)."""

from __future__ import annotations

import numpy as np

__all__ = ["multiply", "transposed"]


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply matrices (r, q, l) with stacks (q, ..., l), whose first axis is contracted: result (r, ..., l)."""
    rows, inner = left.shape[:2]
    result = np.empty((rows, *right.shape[1:]))
    for a in range(rows):
        np.multiply(left[a, 0], right[0], out=result[a])
        for c in range(1, inner):
            result[a] += left[a, c] * right[c]
    return result


def transposed(stack: np.ndarray) -> np.ndarray:
    """Return the transposed matrices: the first two axes change places."""
    return stack.swapaxes(0, 1)
