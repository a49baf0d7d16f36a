r"""Covariance parameters: relative Cholesky factors T of each term, and the coordinates of Sigma = T T'.

The criterion is a function of Sigma; the optimiser moves T, which keeps Sigma positive semi-definite and makes the
boundary (a singular Sigma) an ordinary point. With G the derivative by Sigma, the derivative by T is 2 G T, and the
second derivative along dT is that by Sigma along d(T T') plus 2 tr(dT' G dT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["CovarianceParameters"]


@dataclass(frozen=True)
class CovarianceParameters:
    """Layout of the parameters of all terms.

    Parameters
    ----------
    sizes : tuple of int
        Number of random effects q of each term.
    diagonal : bool
        Whether covariances are diagonal.
    """

    sizes: tuple[int, ...]
    diagonal: bool

    @cached_property
    def entries(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Free entries (a, c) of T, and of the lower triangle of Sigma, by term."""
        if self.diagonal:
            return tuple(tuple((a, a) for a in range(q)) for q in self.sizes)
        return tuple(tuple((a, c) for c in range(q) for a in range(c, q)) for q in self.sizes)

    @cached_property
    def rows(self) -> tuple[np.ndarray, ...]:
        """Rows a of the entries of each term."""
        return tuple(np.array([a for a, _ in entries]) for entries in self.entries)

    @cached_property
    def columns(self) -> tuple[np.ndarray, ...]:
        """Columns c of the entries of each term."""
        return tuple(np.array([c for _, c in entries]) for entries in self.entries)

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all terms."""
        return sum(map(len, self.entries))

    @cached_property
    def bounds(self) -> np.ndarray:
        """Where the parameters of each term begin, and the last end."""
        return np.concatenate([[0], np.cumsum([len(entries) for entries in self.entries])]).astype(int)

    @cached_property
    def basis(self) -> tuple[np.ndarray, ...]:
        """Basis matrices (K, q, q) of Sigma of each term: a parameter off the diagonal stands for two entries."""
        result = []
        for q, rows, columns in zip(self.sizes, self.rows, self.columns, strict=True):
            matrices = np.zeros((len(rows), q, q))
            matrices[np.arange(len(rows)), rows, columns] = 1.0
            matrices[np.arange(len(rows)), columns, rows] = 1.0
            result.append(matrices)
        return tuple(result)

    def pack(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Return the free entries (n_parameters,) of lower triangular, or of symmetric, matrices."""
        parts = [matrix[rows, columns] for matrix, rows, columns in zip(factors, self.rows, self.columns, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def unpack(self, values: np.ndarray) -> list[np.ndarray]:
        """Return lower triangular matrices with these free entries."""
        result = []
        for term, (q, rows, columns) in enumerate(zip(self.sizes, self.rows, self.columns, strict=True)):
            matrix = np.zeros((q, q))
            matrix[rows, columns] = values[self.bounds[term] : self.bounds[term + 1]]
            result.append(matrix)
        return result

    def factors_of(self, sigma: np.ndarray) -> list[np.ndarray]:
        """Return Cholesky factors of the matrices Sigma with these parameters, made positive definite where need be."""
        result = []
        for term, basis in enumerate(self.basis):
            matrix = np.tensordot(sigma[self.bounds[term] : self.bounds[term + 1]], basis, axes=1)
            values, vectors = np.linalg.eigh(matrix)
            least = max(1e-3 * float(values[-1]), 1e-6)
            if values[0] < least:
                matrix = (vectors * np.maximum(values, least)) @ vectors.T
            factor = np.linalg.cholesky(matrix)
            result.append(np.diag(np.diag(factor)) if self.diagonal else factor)
        return result

    def sigma_gradient(self, gradients: Sequence[np.ndarray]) -> np.ndarray:
        """Return the derivative by the parameters of Sigma, given symmetric matrices G."""
        parts = [
            matrix[rows, columns] * np.where(rows == columns, 1.0, 2.0)
            for matrix, rows, columns in zip(gradients, self.rows, self.columns, strict=True)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def jacobian(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Return the derivative (K, K) of the parameters of Sigma = T T' by the free entries of T."""
        result = np.zeros((self.n_parameters, self.n_parameters))
        for term, matrix in enumerate(factors):
            rows, columns = self.rows[term], self.columns[term]
            moved = np.zeros((len(rows), *matrix.shape))
            moved[np.arange(len(rows)), rows] = matrix[:, columns].T
            moved += moved.transpose(0, 2, 1)
            span = slice(self.bounds[term], self.bounds[term + 1])
            result[span, span] = moved[:, rows, columns].T
        return result

    def curvature_of_square(self, gradients: Sequence[np.ndarray]) -> np.ndarray:
        """Return the part of the second derivative by T that comes from T T' being quadratic: 2 tr(dT' G dT)."""
        result = np.zeros((self.n_parameters, self.n_parameters))
        for term, matrix in enumerate(gradients):
            rows, columns = self.rows[term], self.columns[term]
            span = slice(self.bounds[term], self.bounds[term + 1])
            result[span, span] = 2.0 * matrix[np.ix_(rows, rows)] * (columns[:, None] == columns[None, :])
        return result
