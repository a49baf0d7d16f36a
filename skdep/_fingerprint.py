r"""What a fit remembers of its data, so that fits of different data are not compared: a few numbers, never the rows.

All are weighted sums over rows, in any order of the rows, so that a row of frequency weight two equals two rows. What
involves features and factors is measured against y: rows that are paired otherwise with their outcomes show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skdep._threads import add_up_blocks

__all__ = ["DataFingerprint", "fingerprint"]

# Two sums over the same rows in another order differ by less than this, relative to their scale.
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class DataFingerprint:
    """Weighted moments of the rows of a fit.

    Parameters
    ----------
    total : float
        Sum of weights.
    outcome : ndarray of shape (3,)
        Mean, standard deviation and skewness of y.
    offset : ndarray of shape (3,)
        Mean and standard deviation of the offset, correlation with y; zeros without an offset.
    features : ndarray of shape (n_features, 3)
        The same of every feature.
    factors : mapping from str to float
        By grouping factor, the share of the variance of y that lies between its levels.
    """

    total: float
    outcome: np.ndarray
    offset: np.ndarray
    features: np.ndarray
    factors: Mapping[str, float]

    def same_rows(self, other: DataFingerprint) -> bool:
        """Say whether the other fit had the same outcomes and weights."""
        mean, sd = self.outcome[:2]
        scale = np.array([sd + 1e-6 * abs(mean), sd, 1.0])
        return bool(
            abs(self.total - other.total) <= _TOLERANCE * self.total
            and np.all(np.abs(self.outcome - other.outcome) <= _TOLERANCE * scale)
        )

    def same_offset(self, other: DataFingerprint) -> bool:
        """Say whether the other fit had the same offset; the same rows are taken for granted."""
        return same_column(self.offset, other.offset)


def same_column(first: np.ndarray, second: np.ndarray, *, affine: bool = False) -> bool:
    """Say whether two columns of the same rows are the same, by mean, standard deviation, and correlation with y.

    Parameters
    ----------
    first, second : ndarray of shape (3,)
        The moments.
    affine : bool, default=False
        Whether another origin and unit make no difference.
    """
    if abs(first[2] - second[2]) > _TOLERANCE:
        return affine and abs(first[2] + second[2]) <= _TOLERANCE
    if affine:
        return True
    spread = max(first[1], second[1])
    size = spread + 1e-6 * max(abs(first[0]), abs(second[0]))
    return bool(abs(first[0] - second[0]) <= _TOLERANCE * size and abs(first[1] - second[1]) <= _TOLERANCE * size)


def fingerprint(
    X: np.ndarray,
    y: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    factors: Mapping[str, np.ndarray] | None = None,
) -> DataFingerprint:
    """Take the fingerprint of validated rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes as given, offset and all; 1 and -1 for the second and the first of two classes.
    weights : ndarray of shape (n_rows,), optional
        Weights, zeros allowed.
    offset : ndarray of shape (n_rows,), optional
        Offset.
    factors : mapping from str to ndarray of shape (n_rows,), optional
        Level number of each row by grouping factor.
    """
    total = float(len(y)) if weights is None else float(weights.sum())
    mean = float(y.sum() if weights is None else np.sum(y * weights)) / total
    standardised, sd = _unit(y - mean, mean, weights, total)
    mass = standardised if weights is None else standardised * weights
    outcome = np.array([mean, sd, np.sum(mass * standardised * standardised) / total])
    between = {name: _between(codes, mass, weights) / total for name, codes in (factors or {}).items()}
    shift = np.zeros(3) if offset is None else _moments(offset[:, None], weights, mass, total)[0]
    return DataFingerprint(total, outcome, shift, _moments(X, weights, mass, total), between)


def _unit(centred: np.ndarray, mean: float, weights: np.ndarray | None, total: float) -> tuple[np.ndarray, float]:
    """Divide a centred column by its standard deviation, in place; return both. A constant column has zeros."""
    squares = centred * centred
    sd = float(np.sqrt(np.sum(squares if weights is None else squares * weights) / total))
    if sd <= 1e-13 * abs(mean) or sd == 0.0:
        return np.zeros_like(centred), 0.0
    centred /= sd
    return centred, sd


def _between(codes: np.ndarray, mass: np.ndarray, weights: np.ndarray | None) -> float:
    sums, sizes = np.bincount(codes, mass), np.bincount(codes, weights)
    filled = sizes > 0
    return float(np.sum(sums[filled] ** 2 / sizes[filled]))


def _moments(columns: np.ndarray, weights: np.ndarray | None, mass: np.ndarray, total: float) -> np.ndarray:
    """Return mean, standard deviation and correlation with y of columns, a row each; `mass` is weighted y in units."""
    n_rows, n_columns = columns.shape
    if not n_columns:
        return np.zeros((0, 3))
    pivot = columns[0].copy()  # near the mean where columns hardly vary about it, so that squares keep their digits

    def block(rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shifted = columns[rows] - pivot
        weighted = shifted if weights is None else shifted * weights[rows, None]
        return weighted.sum(axis=0), np.einsum("np,np->p", shifted, weighted), np.dot(mass[rows], shifted)

    sums, squares, products = add_up_blocks(block, n_rows, 2 * n_columns)
    shift = sums / total
    sd = np.sqrt(np.maximum(squares / total - shift**2, 0.0))
    sd[sd <= 1e-13 * np.abs(pivot + shift)] = 0.0
    correlation = np.divide(products - mass.sum() * shift, total * sd, out=np.zeros(n_columns), where=sd > 0)
    return np.column_stack([pivot + shift, sd, correlation])
