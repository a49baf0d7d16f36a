r"""Degrees of freedom of sandwich covariances, after Bell and McCaffrey, from p x p sums of each cluster.

The sandwich variance of a contrast c is a sum of squares over clusters, sum (a_i'v_i)^2: v_i is the score of cluster i
where the bread is the identity, a_i = F(M_i) w, w the contrast there, F(M) = I, (I - M)^{-1/2} or (I - M)^{-1} the
correction. Were the working covariance the truth, the a_i'v_i would have the covariance matrix

.. math:: \Omega_{ij} = \delta_{ij} a_i'M_i a_i - (M_i a_i)'(M_j a_j),

and the variance is treated as chi-square with the df that match its first two moments, (tr Omega)^2 / tr Omega^2. Of
several contrasts the covariance matrix is treated as Wishart, and the Wald statistic as Hotelling's T^2.

All moments are of degree one or two in symmetric matrices of the clusters, so that sums of these matrices, and of
products of their entries, are all that is kept: numbers of the fourth power of the number of coefficients, but none of
the clusters.

References
----------
Bell and McCaffrey (2002), Survey Methodology 28, 169-181. Pustejovsky and Tipton (2018), Journal of Business and
Economic Statistics 36, 672-683: working covariances, and several contrasts ("AHT").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skdep.sandwich_corrections import inverse_gap

__all__ = ["ClusterSmallSample", "LeverageTable", "leverage_table", "table_cost", "table_size"]

_KINDS = ("robust", "kc", "md")


def table_size(rank: int) -> int:
    """Return how many numbers a table keeps."""
    width = rank * (rank + 1) // 2
    return len(_KINDS) * width * (width + 1)


def table_cost(n_clusters: int, rank: int) -> int:
    """Return about how many operations it takes to make a table."""
    return n_clusters * (2 * table_size(rank) + 25 * rank**3)


@dataclass(frozen=True, slots=True)
class LeverageTable:
    """Sums over the leverages M_i of clusters, of the corrections "robust", "kc" and "md" in turn.

    Parameters
    ----------
    excess : ndarray of shape (3, r, r)
        Sums of D - E, with a_i'M_i a_i = w'D w and a_i'M_i M_i a_i = w'E w.
    sizes : ndarray of shape (3, k)
        Sums of products of the entries of D and of D - 2 E; upper triangle of a symmetric matrix (m, m), a row an entry
        of the upper triangle of D.
    vectors : ndarray of shape (3, k)
        The same of the entries of H, with M_i a_i = H w.
    """

    excess: np.ndarray
    sizes: np.ndarray
    vectors: np.ndarray

    @classmethod
    def total(cls, parts: Sequence[LeverageTable]) -> LeverageTable:
        """Add up the tables of blocks of clusters."""
        return cls(*(np.add.reduce([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def degrees(self, kind: str, contrasts: np.ndarray) -> np.ndarray:
        """Return degrees of freedom (q,) of each of the contrasts (q, r), given in orthonormal coordinates."""
        number, contrasts = _KINDS.index(kind), _unit_rows(contrasts)
        trace = np.einsum("qa,ab,qb->q", contrasts, self.excess[number], contrasts, optimize=True)
        packed = _pack_forms(contrasts[:, :, None] * contrasts[:, None, :])
        second = np.einsum("qm,mn,qn->q", packed, _unpack(self.sizes[number][None])[0], packed, optimize=True)
        vectors = _four_indices(self.vectors[number], contrasts.shape[1])
        second += np.sum(np.einsum("abcd,qb,qd->qac", vectors, contrasts, contrasts, optimize=True) ** 2, axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            return trace**2 / second

    def wishart_degrees(self, kind: str, contrasts: np.ndarray) -> float:
        """Return the degrees of freedom of the Wishart distribution nearest to that of several contrasts (q, r)."""
        number, contrasts = _KINDS.index(kind), _unit_rows(contrasts)
        n_contrasts, rank = contrasts.shape
        values, vectors = np.linalg.eigh(contrasts @ self.excess[number] @ contrasts.T)
        if not values[0] > 1e-12 * values[-1]:
            return np.nan
        contrasts = (vectors / np.sqrt(values)).T @ contrasts
        products = contrasts[:, None, :, None] * contrasts[None, :, None, :]
        packed = _pack_forms(products.reshape(-1, rank, rank)).reshape(n_contrasts, n_contrasts, -1)
        sizes = _unpack(self.sizes[number][None])[0]
        diagonal = np.einsum("ssm->m", packed)
        across = np.einsum(
            "abcd,sb,td->satc", _four_indices(self.vectors[number], rank), contrasts, contrasts, optimize=True
        )
        variance = diagonal @ sizes @ diagonal + np.einsum("stm,mn,stn->", packed, sizes, packed, optimize=True)
        variance += np.sum(across**2) + np.sum(across * across.transpose(0, 3, 2, 1))
        return float(n_contrasts * (n_contrasts + 1) / variance)


def leverage_table(eigen: tuple[np.ndarray, np.ndarray], counts: np.ndarray | None) -> LeverageTable:
    """Make the table of some clusters.

    Parameters
    ----------
    eigen : (ndarray of shape (n_clusters, r), ndarray of shape (n_clusters, r, r))
        Eigenvalues and eigenvectors of their leverages.
    counts : ndarray of shape (n_clusters,) or None
        How often each cluster is there.
    """
    values, vectors = eigen
    masses = np.ones(len(values)) if counts is None else counts
    inverse = inverse_gap(values)
    excess, sizes, moved = [], [], []
    for correction in (np.ones_like(values), np.sqrt(inverse), inverse):
        own, shared = values * correction**2, (values * correction) ** 2
        size, reduced, vector = (
            _pack((vectors * function[:, None, :]) @ vectors.transpose(0, 2, 1))
            for function in (own, own - 2.0 * shared, values * correction)
        )
        products = (size * masses[:, None]).T @ reduced
        excess.append(masses @ (0.5 * (size + reduced)))
        sizes.append(0.5 * (products + products.T))
        moved.append((vector * masses[:, None]).T @ vector)
    return LeverageTable(_unpack(np.array(excess)), _pack(np.array(sizes)), _pack(np.array(moved)))


def _unit_rows(contrasts: np.ndarray) -> np.ndarray:
    """Scale contrasts to length one, so that no units make their fourth powers run over."""
    length = np.linalg.norm(contrasts, axis=1, keepdims=True)
    return contrasts / np.where(length > 0, length, 1.0)


def _pack(matrices: np.ndarray) -> np.ndarray:
    """Return the upper triangles (n, m) of symmetric matrices (n, r, r)."""
    first, second = np.triu_indices(matrices.shape[1])
    return matrices[:, first, second]


def _pack_forms(matrices: np.ndarray) -> np.ndarray:
    """Return rows (n, m) whose products with a packed matrix A are the sums of entries of B times A, B (n, r, r)."""
    doubled = matrices + matrices.transpose(0, 2, 1)
    diagonal = np.arange(matrices.shape[1])
    doubled[:, diagonal, diagonal] *= 0.5
    return _pack(doubled)


def _unpack(triangles: np.ndarray) -> np.ndarray:
    """Return the symmetric matrices (n, r, r) of upper triangles (n, m)."""
    rank = round((np.sqrt(8.0 * triangles.shape[1] + 1.0) - 1.0) / 2.0)
    first, second = np.triu_indices(rank)
    matrices = np.empty((len(triangles), rank, rank))
    matrices[:, first, second] = triangles
    matrices[:, second, first] = triangles
    return matrices


def _four_indices(triangle: np.ndarray, rank: int) -> np.ndarray:
    """Return sums of products of entries (a, b) and (c, d) of symmetric matrices, (r, r, r, r)."""
    number = np.empty((rank, rank), dtype=np.intp)
    first, second = np.triu_indices(rank)
    number[first, second] = number[second, first] = np.arange(len(first))
    return _unpack(triangle[None])[0][number[:, :, None, None], number[None, None, :, :]]


@dataclass(frozen=True)
class ClusterSmallSample:
    """Small-sample inference under one type of sandwich covariance.

    Parameters
    ----------
    matrix : ndarray of shape (n_params, n_params)
        The covariance.
    kind : {"robust", "kc", "md"}
        Which correction it has, up to a factor.
    table : LeverageTable or None
        Sums over the leverages of clusters, if kept.
    back : ndarray of shape (n_params, r)
        Maps estimates in orthonormal coordinates to the user's.
    default : str
        Degrees of freedom that tables use unless told otherwise.
    """

    matrix: np.ndarray
    kind: str
    table: LeverageTable | None
    back: np.ndarray
    default: str = "residual"

    def covariance(self, method: str) -> np.ndarray:
        """Return the covariance of ``[intercept, *coef]``; the method makes no difference to it."""
        return self.matrix

    def contrast_df(self, contrasts: np.ndarray, method: str) -> np.ndarray:
        """Return degrees of freedom (m,) of each of the contrasts (m, n_params) by itself."""
        return self._kept_table(method).degrees(self.kind, np.asarray(contrasts, dtype=float) @ self.back)

    def joint_df(self, contrasts: np.ndarray, method: str) -> tuple[float, float]:
        """Return denominator degrees of freedom of the F test of several contrasts, 0 if none are left, and its factor.

        The Wald statistic over the number of contrasts is multiplied by the factor.
        """
        degrees = self._kept_table(method).wishart_degrees(self.kind, np.asarray(contrasts, dtype=float) @ self.back)
        left = degrees - len(contrasts) + 1.0
        return (left, left / degrees) if left > 0 else (0.0, 1.0)

    def _kept_table(self, method: str) -> LeverageTable:
        if method != "satterthwaite":
            raise ValueError(
                f"df={method!r} is not defined for sandwich covariances: use 'satterthwaite', 'residual', 'normal' or "
                "a number."
            )
        if self.table is None:
            raise ValueError(
                "df='satterthwaite' needs sums over clusters that a fit of so many clusters and features does not "
                "keep, or keeps only if its own cov_type is 'kc', 'md' or 'jackknife'. Fit with that, or use "
                "df='residual'."
            )
        return self.table
