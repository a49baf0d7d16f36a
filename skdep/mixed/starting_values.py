r"""Where the search begins: MINQUE(0), a linear unbiased estimate of the variances that needs no start itself.

With M the residual projection of ordinary least squares, the equations are

    sum_j tr(M V_i M V_j) theta_j = y'M V_i M y,     V_j = Z_j Z_j' or I,

of which every entry is a sum of squares of cross-products. With many levels the result is within a few percent of
the maximum.

References
----------
Rao (1972), Estimation of variance and covariance components in linear models, JASA 67, 112-115.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import linalg, sparse

from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.terms import RandomTerm

__all__ = ["minque_start", "sampled_levels"]

# Relative standard deviations are kept within these bounds: from exactly zero no gradient leads away.
_SMALLEST, _LARGEST = 0.05, 30.0
# Tails of more columns than this are first fitted on a part of the levels, which leaves about so many columns.
_LARGE_TAIL, _SAMPLED_TAIL = 2000, 800
_LEAST_LEVELS = 100


def minque_start(products: CrossProducts) -> list[np.ndarray]:
    """Return diagonal relative Cholesky factors by term."""
    # in large data what the projection takes off the sums of squares does not matter to a start
    p = products.n_params if products.n_obs < 1000 * products.n_params else 0
    gram = products.gram[:p, :p]
    inverse = linalg.pinvh(gram) if p else np.zeros((0, 0))
    columns = [(b, a) for b, term in enumerate(products.terms) for a in range(term.q)]
    k = len(columns)
    system, right = np.zeros((k + 1, k + 1)), np.zeros(k + 1)
    X = [products.terms[b].border[:p, a] for b, a in columns]
    outer = [x @ x.T for x in X]
    for i, (b, a) in enumerate(columns):
        term = products.terms[b]
        right[i] = float(np.sum(term.border[-1, a] ** 2))
        system[i, k] = system[k, i] = float(np.sum(term.own[a, a]) - np.sum(inverse * outer[i]))
        for j in range(i + 1):
            system[i, j] = system[j, i] = _squared_norm(products, columns[j], columns[i], X[j], X[i], inverse) + float(
                np.sum((inverse @ outer[i]) * (inverse @ outer[j]).T)
            )
    system[k, k] = products.n_obs - p
    right[k] = float(products.gram[-1, -1])
    theta = np.linalg.lstsq(_scaled(system), right / np.sqrt(np.maximum(np.diag(system), 1e-300)), rcond=1e-10)[0]
    theta = theta / np.sqrt(np.maximum(np.diag(system), 1e-300))
    sigma2 = max(theta[k], 0.02 * right[k] / max(products.n_obs, 1.0))
    ratio = np.sqrt(np.clip(theta[:k], 0.0, None) / sigma2)
    return list(_diagonals(products, np.clip(ratio, _SMALLEST, _LARGEST)))


def _scaled(system: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.maximum(np.diag(system), 1e-300))
    return system / np.outer(scale, scale)


def _diagonals(products: CrossProducts, ratio: np.ndarray) -> Iterator[np.ndarray]:
    begin = 0
    for term in products.terms:
        yield np.diag(ratio[begin : begin + term.q])
        begin += term.q


def _squared_norm(
    products: CrossProducts,
    first: tuple[int, int],
    second: tuple[int, int],
    X_first: np.ndarray,
    X_second: np.ndarray,
    inverse: np.ndarray,
) -> float:
    """Return tr(Z_i Z_i' Z_j Z_j') less twice what the projection takes off it."""
    (b, a), (c, d) = first, second
    if b == c:
        between = products.terms[b].own[a, d]
        crossed = (X_first * between) @ X_second.T
        return float(between @ between - 2.0 * np.sum(inverse * crossed))
    q, r = products.terms[b].q, products.terms[c].q
    matrix: sparse.csr_matrix = products.between[b, c]
    if q > 1 or r > 1:
        matrix = matrix[a::q, d::r]
    crossed = X_first @ (matrix @ X_second.T)
    return float(np.sum(matrix.data**2) - 2.0 * np.sum(inverse * crossed))


def sampled_levels(terms: Sequence[RandomTerm], n_rows: int) -> np.ndarray | None:
    """Choose the rows of a random part of the levels of crossed factors, on which a first fit is quick.

    Parameters
    ----------
    terms : sequence of RandomTerm
        Terms, the one with most columns first.
    n_rows : int
        Number of rows.

    Returns
    -------
    rows : ndarray of bool of shape (n_rows,), or None
        None where the whole is small, or a part would have too few rows to say anything.
    """
    n_tail = sum(term.n_levels * term.q for term in terms[1:])
    if n_tail < _LARGE_TAIL:
        return None
    rng = np.random.RandomState(0)
    share = _SAMPLED_TAIL / n_tail
    rows = np.ones(n_rows, dtype=bool)
    for term in terms:
        if term.n_levels * share >= _LEAST_LEVELS:
            chosen = np.zeros(term.n_levels, dtype=bool)
            chosen[rng.permutation(term.n_levels)[: int(term.n_levels * share)]] = True
            rows &= chosen[term.codes]
    n_effects = sum(term.q * len(np.unique(term.codes[rows])) for term in terms)
    return rows if rows.sum() >= 8 * n_effects else None
