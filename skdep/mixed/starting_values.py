r"""Where the search begins: moment estimates of the variances, which need no start themselves.

With M the residual projection of ordinary least squares, every quadratic form q = sum_k v_k (z_k'M y)^2 over the
columns z_k of one factor has an expectation that is linear in the variances,

    E q = sum_j theta_j sum_k v_k |Z_j'M z_k|^2 + sigma2 sum_k v_k z_k'M z_k,

of cross-products only. With v = 1 that is MINQUE(0); solved again with v_k = (1 + theta a_k / sigma2)^-2, where
a_k = z_k'z_k, large and small levels count as they would in the likelihood, were the factors not crossed.

References
----------
Rao (1972), Estimation of variance and covariance components in linear models, JASA 67, 112-115.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skdep._linalg import scaled_inverse
from skdep.mixed.cross_products import CrossProducts

__all__ = ["moment_start"]

# Relative standard deviations are kept within these bounds: from exactly zero no gradient leads away.
_SMALLEST, _LARGEST = 0.05, 30.0
_ROUNDS = 3


def moment_start(products: CrossProducts) -> list[np.ndarray]:
    """Return diagonal relative Cholesky factors by term."""
    # in large data what the projection takes off the sums of squares does not matter to a start
    p = products.n_params if products.n_obs < 1000 * products.n_params else 0
    inverse = scaled_inverse(products.gram[:p, :p])
    columns = [(b, a) for b, term in enumerate(products.terms) for a in range(term.q)]
    rows = [_expectations(products, columns, i, p, inverse) for i in range(len(columns))]
    own = [products.terms[b].own[a, a] for b, a in columns]
    weights = [np.ones(len(part)) for part in own]
    residual = np.array([float(row[-1].sum()) for row in rows] + [products.n_obs - p])
    ratios = np.zeros(len(columns))
    # with one factor a step of scoring does the rest
    for _ in range(_ROUNDS if len(products.terms) > 1 else 1):
        system = np.array([[float(v @ part) for part in row[:-2] + row[-1:]] for row, v in zip(rows, weights)])
        system = np.vstack([system, residual]) if len(columns) else residual[None]
        right = np.array([float(v @ row[-2]) for row, v in zip(rows, weights)] + [float(products.gram[-1, -1])])
        theta = _solve(system, right)
        sigma2 = max(theta[-1], 0.02 * right[-1] / max(products.n_obs, 1.0))
        ratios = np.clip(theta[:-1], 0.0, None) / sigma2
        weights = [1.0 / (1.0 + ratio * part) ** 2 for ratio, part in zip(ratios, own, strict=True)]
    return list(_diagonals(products, np.clip(np.sqrt(ratios), _SMALLEST, _LARGEST)))


def _solve(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve the moment equations, each scaled to one."""
    scale = np.maximum(np.abs(system).max(axis=1), 1e-300)
    return np.linalg.lstsq(system / scale[:, None], right / scale, rcond=1e-10)[0]


def _expectations(
    products: CrossProducts, columns: list[tuple[int, int]], i: int, p: int, inverse: np.ndarray
) -> list[np.ndarray]:
    """Return, for every column z_k of a factor, |Z_j'M z_k|^2 of every j, then (z_k'M y)^2 and z_k'M z_k."""
    b, a = columns[i]
    term = products.terms[b]
    x = term.border[:p, a].T
    moved = x @ inverse
    result = []
    for c, d in columns:
        other = products.terms[c]
        y = other.border[:p, d].T
        if c == b:
            between = term.own[a, d]
            squares, crossed = between**2, between[:, None] * y
        else:
            matrix = products.between[b, c] if b < c else products.between[c, b].T.tocsr()
            if term.q > 1 or other.q > 1:
                matrix = matrix[a :: term.q, d :: other.q]
            squares, crossed = np.asarray(matrix.power(2).sum(axis=1)).ravel(), matrix @ y
        if p:
            squares = squares - 2.0 * np.sum(moved * crossed, axis=1) + np.sum((moved @ (y.T @ y)) * moved, axis=1)
        result.append(squares)
    return [*result, term.border[-1, a] ** 2, term.own[a, a] - np.sum(moved * x, axis=1)]


def _diagonals(products: CrossProducts, ratio: np.ndarray) -> Iterator[np.ndarray]:
    begin = 0
    for term in products.terms:
        yield np.diag(ratio[begin : begin + term.q])
        begin += term.q
