r"""Full-rank coordinates for a design with (nearly) collinear columns.

Where cross-products are too ill-conditioned to be solved, the centred and scaled columns are replaced by orthonormal
ones, T = X_s V S^{-1}, on which any engine is stable; estimates then go back to the coefficients of least Euclidean
norm with the same fitted values. The intercept, if any, does not count in the norm.

References
----------
Golub and Van Loan (2013), Matrix Computations, 4th ed., section 5.5: minimum-norm least squares by the SVD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

__all__ = [
    "Basis",
    "Coordinates",
    "centred_basis",
    "collinearity_message",
    "coordinates_from_moments",
    "full_rank_basis",
]

# Relative size of a singular value of the centred, scaled columns under which columns count as collinear.
_RANK_TOLERANCE = 1e-9
_MOMENT_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Basis:
    """Orthonormal coordinates of a design.

    Parameters
    ----------
    columns : ndarray of shape (n_rows, rank)
        The new columns, orthogonal, each of mean square one.
    back : ndarray of shape (n_params, rank + fit_intercept)
        Maps estimates in the new coordinates (intercept first, if any) to ``[intercept, *coef]``.
    aliased : ndarray of bool of shape (n_params,)
        Which of ``[intercept, *coef]`` are not separately estimable.
    """

    columns: np.ndarray
    back: np.ndarray
    aliased: np.ndarray


def collinearity_message(names: Sequence[str], aliased: np.ndarray) -> str:
    """Say which parameters are not separately estimable."""
    found = [name for name, bad in zip(names, aliased, strict=True) if bad]
    shown = ", ".join(repr(name) for name in found[:10]) + (", ..." if len(found) > 10 else "")
    return (
        f"Collinear features: {len(found)} of {len(names)} parameters are not separately estimable: {shown}. Of all "
        "estimates with the same fitted values those of least norm are kept; their standard errors are NaN in tables. "
        "Drop a feature of each linear relation, for example by OneHotEncoder(drop='first')."
    )


def full_rank_basis(X: np.ndarray, *, fit_intercept: bool) -> Basis:
    """Find orthonormal coordinates of the columns of X (n_rows, p), orthogonal to the constant if one is fitted."""
    n_rows, n_features = X.shape
    centre = X.mean(axis=0) if fit_intercept else np.zeros(n_features)
    centred = X - centre
    scale = np.sqrt(np.mean(centred**2, axis=0))
    # A constant column leaves only rounding after centring: it is the intercept over again, not a tiny feature.
    constant = scale <= 1e-13 * np.maximum(np.abs(centre), np.finfo(float).tiny)
    centred[:, constant] = 0.0
    scale[constant] = 1.0
    left, singular, right = _thin_svd(centred / scale)
    rank = int(np.sum(singular > _RANK_TOLERANCE * singular[0])) if singular.size and singular[0] > 0 else 0
    columns = left[:, :rank] * np.sqrt(n_rows)
    rows = right[:rank].T  # (p, rank): orthonormal basis of the row space, in scaled coordinates
    lengths = singular[:rank] / np.sqrt(n_rows)
    back, aliased = _back_to_features(rows, lengths, scale, centre if fit_intercept else None)
    return Basis(columns, back, aliased)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Orthonormal coordinates of a design that is not in memory: columns are (X - centre) times `into`.

    Parameters
    ----------
    centre : ndarray of shape (n_features,)
        What is subtracted; zeros without an intercept.
    into : ndarray of shape (n_features, rank)
        Maps centred features to columns, orthogonal, each of mean square one.
    back, aliased : ndarray
        As in `Basis`.
    """

    centre: np.ndarray
    into: np.ndarray
    back: np.ndarray
    aliased: np.ndarray


def coordinates_from_moments(mean: np.ndarray, second: np.ndarray, *, fit_intercept: bool) -> Coordinates:
    """Find orthonormal coordinates from moments.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
        Means of the features.
    second : ndarray of shape (n_features, n_features)
        Their second moments, about the mean if there is an intercept, else about zero.
    fit_intercept : bool
        Whether there is an intercept.
    """
    centre = mean if fit_intercept else np.zeros_like(mean)
    scale = np.sqrt(np.diag(second))
    constant = scale <= 1e-13 * np.maximum(np.abs(centre), np.finfo(float).tiny)
    scale = np.where(constant, 1.0, scale)
    scaled = second / np.outer(scale, scale)
    scaled[constant] = scaled[:, constant] = 0.0
    values, vectors = linalg.eigh(scaled) if len(scaled) else (np.zeros(0), np.zeros((0, 0)))
    values, vectors = values[::-1], vectors[:, ::-1]
    # second moments have half the digits of the columns
    rank = int(np.sum(values > _MOMENT_TOLERANCE * values[0])) if values.size and values[0] > 0 else 0
    rows, lengths = vectors[:, :rank], np.sqrt(values[:rank])
    back, aliased = _back_to_features(rows, lengths, scale, centre if fit_intercept else None)
    return Coordinates(centre, rows / lengths / scale[:, None], back, aliased)


def _back_to_features(
    rows: np.ndarray, lengths: np.ndarray, scale: np.ndarray, centre: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the map from estimates of the new columns to the features, and which of these are aliased.

    `rows` (p, rank) is an orthonormal basis of the row space of the scaled features, `lengths` (rank,) are the root
    mean squares of the features along it.
    """
    n_features, rank = rows.shape
    from_columns = rows / lengths / scale[:, None]
    aliased = 1.0 - np.sum(rows**2, axis=1) > 1e-7
    null = _null_vectors(rows, aliased) / scale[:, None]
    # Least norm is meant in the user's units: take out what lies in the null space of the unscaled columns.
    null /= np.maximum(np.linalg.norm(null, axis=0), np.finfo(float).tiny)
    back = from_columns - null @ np.linalg.lstsq(null, from_columns, rcond=None)[0]
    if centre is None:
        return back, aliased
    # A step along a null vector keeps fitted values, but moves the intercept unless it is orthogonal to the centre.
    moves = np.abs(centre @ null) > 1e-7 * (np.abs(centre) @ np.abs(null))
    full = np.zeros((n_features + 1, rank + 1))
    full[1:, 1:] = back
    full[0, 0] = 1.0
    full[0, 1:] = -centre @ back
    return full, np.concatenate([[moves.any()], aliased])


def _null_vectors(rows: np.ndarray, aliased: np.ndarray) -> np.ndarray:
    """Return a basis (p, p - rank) of what is orthogonal to the row space, exactly zero for features not aliased."""
    null = linalg.qr(rows)[0][:, rows.shape[1] :] if rows.shape[1] else np.eye(len(rows))
    null[~aliased] = 0.0
    return null


def centred_basis(X: np.ndarray) -> Basis:
    """Return the centred columns (n_rows, p), for a design with an intercept."""
    n_features = X.shape[1]
    centre = X.mean(axis=0)
    back = np.eye(n_features + 1)
    back[0, 1:] = -centre
    return Basis(X - centre, back, np.zeros(n_features + 1, dtype=bool))


def _thin_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thin SVD; tall matrices go through a QR factorisation, which is much cheaper."""
    if matrix.shape[0] <= 2 * matrix.shape[1]:
        return linalg.svd(matrix, full_matrices=False)
    q, r = linalg.qr(matrix, mode="economic")
    left, singular, right = linalg.svd(r)
    return q @ left, singular, right
