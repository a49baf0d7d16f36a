r"""Sums of softplus functions at pairs of points m + z and m - z: what the density of a logistic model costs.

The linear predictors of a pair are a + d and a - d. One exponential serves both, exp(a + d) = exp(a) exp(d) and
exp(a - d) = exp(a) / exp(d), and the logarithm of a product of several factors 1 + exp(...) all of their logarithms.
"""

from __future__ import annotations

import numpy as np

from skdep._threads import threads_over_blocks

__all__ = ["softplus_pairs"]

# Rows times draws of a block: a few arrays of that size stay in cache.
_BLOCK_ROWS, _BLOCK_DRAWS = 512, 128
# Sizes of linear predictors, added up over the factors of a product, that no product of theirs overflows.
_SAFE = 600.0
_MOST_FACTORS = 32


def softplus_pairs(
    X: np.ndarray,
    weight: np.ndarray | None,
    centre: np.ndarray,
    moves: np.ndarray,
    largest: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_i w_i log(1 + exp(a_i + x_i'z)) and the same at -z, of every move z.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Columns.
    weight : ndarray of shape (n_rows,) or None
        Weights w; None stands for ones.
    centre : ndarray of shape (n_rows,)
        Linear predictors a.
    moves : ndarray of shape (n_draws, p)
        Moves z.
    largest : ndarray of shape (p,) or None, default=None
        Largest absolute values of the columns, where they are known.

    Returns
    -------
    plus, minus : ndarray of shape (n_draws,)
        The sums.
    """
    n_rows, n_draws = len(X), len(moves)
    sums = np.zeros((2, n_draws))
    largest = np.abs(X).max(axis=0, initial=0.0) if largest is None else largest
    columns = np.ascontiguousarray(moves.T)

    def block(begin: int) -> None:
        draws = slice(begin, begin + _BLOCK_DRAWS)
        part = np.ascontiguousarray(columns[:, draws])
        reach = float((largest @ np.abs(part)).max())
        for row in range(0, n_rows, _BLOCK_ROWS):
            rows = slice(row, row + _BLOCK_ROWS)
            bound = float(np.abs(centre[rows]).max()) + reach
            w = None if weight is None else weight[rows]
            distance = np.dot(X[rows], part)
            if bound > _SAFE:
                sums[:, draws] += _safe_sums(centre[rows], distance, w)
            else:
                sums[:, draws] += _block_sums(centre[rows], distance, w, bound)

    with threads_over_blocks(n_rows * n_draws) as run:
        list(run(block, range(0, n_draws, _BLOCK_DRAWS)))
    return sums[0], sums[1]


def _block_sums(centre: np.ndarray, distance: np.ndarray, weight: np.ndarray | None, bound: float) -> np.ndarray:
    """Return both sums (2, n_draws); `distance` is overwritten."""
    start = np.exp(centre)[:, None]
    ratio = np.exp(distance, out=distance)
    plus = start * ratio
    minus = np.divide(start, ratio, out=ratio)
    plus += 1.0
    minus += 1.0
    if weight is None:
        return np.array([_log_of_product(part, bound) for part in (plus, minus)])
    return np.array([np.dot(weight, np.log(part, out=part)) for part in (plus, minus)])


def _log_of_product(factors: np.ndarray, bound: float) -> np.ndarray:
    """Return the logarithm of the products of columns, of factors at most exp(bound) + 1; they are overwritten."""
    n_factors = 1
    while len(factors) > 1 and n_factors < _MOST_FACTORS and 2 * n_factors * (bound + 1.0) < _SAFE:
        half = len(factors) // 2
        rest = factors[2 * half :]
        factors = np.multiply(factors[:half], factors[half : 2 * half], out=factors[:half])
        if len(rest):
            factors[0] *= rest[0]
            n_factors += 1
        n_factors *= 2
    return np.log(factors, out=factors).sum(axis=0)


def _safe_sums(centre: np.ndarray, distance: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return both sums where exponentials overflow."""
    weight = np.ones(len(centre)) if weight is None else weight
    return np.array([np.dot(weight, np.logaddexp(0.0, centre[:, None] + sign * distance)) for sign in (1.0, -1.0)])
