r"""Covariance parameters: relative Cholesky factors T of each term, and the coordinates of Sigma = T T'.

The criterion is a function of Sigma; the optimiser moves T, which keeps Sigma positive semi-definite and makes the
boundary (a singular Sigma) an ordinary point. With G the derivative by Sigma, the derivative by T is 2 G T, and the
second derivative along dT is that by Sigma along d(T T') plus 2 tr(dT' G dT).

The effects of a term fall into blocks, and effects of different blocks are uncorrelated: Sigma is block-diagonal in
some order of the effects, and T, as a Cholesky factor, has no entries that Sigma has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skdep.mixed.small_matrices import lower_factor_of
from skdep.mixed.terms import RandomTerm

__all__ = ["CovarianceParameters", "Structure"]

# By term, the number of the block of each effect; True stands for a block an effect, False for a block a term.
Structure = bool | tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CovarianceParameters:
    """Layout of the parameters of all terms.

    Parameters
    ----------
    sizes : tuple of int
        Number of random effects q of each term.
    structure : bool or tuple of tuple of int
        By term, the number of the block of each effect: effects of different blocks are uncorrelated. True stands for
        diagonal covariances, False for free ones.
    """

    sizes: tuple[int, ...]
    structure: Structure = False

    @classmethod
    def of(cls, terms: Sequence[RandomTerm]) -> CovarianceParameters:
        """Return the layout of the parameters of terms."""
        return cls(tuple(term.q for term in terms), tuple(term.blocks for term in terms))

    @cached_property
    def blocks(self) -> tuple[tuple[np.ndarray, ...], ...]:
        """Effects of each block, by term."""
        return tuple(
            tuple(np.array([a for a, own in enumerate(numbers) if own == number]) for number in dict.fromkeys(numbers))
            for numbers in self.block_numbers
        )

    @cached_property
    def block_numbers(self) -> tuple[tuple[int, ...], ...]:
        """Number of the block of each effect, by term."""
        if isinstance(self.structure, bool):
            return tuple(tuple(range(q)) if self.structure else (0,) * q for q in self.sizes)
        return self.structure

    @property
    def diagonal(self) -> bool:
        """Whether no effects are correlated."""
        return all(len(block) == 1 for blocks in self.blocks for block in blocks)

    @cached_property
    def entries(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Free entries (a, c) of T, and of the lower triangle of Sigma, by term."""
        return tuple(
            tuple((a, c) for c in range(q) for a in range(c, q) if numbers[a] == numbers[c])
            for q, numbers in zip(self.sizes, self.block_numbers, strict=True)
        )

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
        factors = []
        for term, basis in enumerate(self.basis):
            matrix = np.tensordot(sigma[self.bounds[term] : self.bounds[term + 1]], basis, axes=1)
            values, vectors = np.linalg.eigh(matrix)
            least = max(1e-3 * float(values[-1]), 1e-6)
            if values[0] < least:
                matrix = (vectors * np.maximum(values, least)) @ vectors.T
            factors.append(np.linalg.cholesky(matrix))
        return self.unpack(self.pack(factors))

    def lower_factor(self, term: int, root: np.ndarray) -> np.ndarray:
        """Return lower triangular T of a term with T T' = R R', its diagonal not negative; R is (q, k), k >= q.

        Blocks are factorised one by one: where R R' is singular, the factor of the whole need not keep to them.
        """
        result = np.zeros((len(root), len(root)))
        for block in self.blocks[term]:
            result[np.ix_(block, block)] = lower_factor_of(root[block])
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
