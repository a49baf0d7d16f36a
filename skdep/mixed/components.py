"""Dense algebra of the tail's components: factorise, invert, solve; many small ones at once, large ones by LAPACK."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from skdep.mixed.tail_layout import Bucket, TailLayout

__all__ = ["Components"]

# Components up to this size are handled all at once by numpy's stacked routines.
_STACKED = 64


class Components:
    """Cholesky factors of block-diagonal S, given by its lower triangles in flat storage, which is overwritten.

    Parameters
    ----------
    layout : TailLayout
        Places of the columns.
    flat : ndarray of shape (n_floats,)
        Lower triangles of S, positive definite.
    weights : ndarray of shape (n_components,) or None
        Multiplicity of each component in the log determinant.
    """

    def __init__(self, layout: TailLayout, flat: np.ndarray, weights: np.ndarray | None = None):
        self.layout, self._flat = layout, flat
        self.half_log_det = 0.0
        for bucket in layout.buckets:
            matrices = bucket.view(flat)
            if bucket.size <= _STACKED:
                matrices[...] = np.linalg.cholesky(matrices)
            else:
                for matrix in matrices:
                    _factorise(matrix)
            logs = np.log(np.einsum("kss->ks", matrices)).sum(axis=1)
            self.half_log_det += float(logs.sum() if weights is None else logs @ weights[_component(layout, bucket)])

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return S^-1 right for right of shape (m, k)."""
        result = np.zeros_like(right)
        for bucket in self.layout.buckets:
            factors = bucket.view(self._flat)
            real = bucket.columns >= 0
            stacked = np.zeros((*bucket.columns.shape, right.shape[1]))
            stacked[real] = right[bucket.columns[real]]
            if bucket.size <= _STACKED:
                _substitute(factors, stacked)
            else:
                for factor, values in zip(factors, stacked, strict=True):
                    # the lower factor in C order is the upper one in Fortran order
                    values[...] = linalg.lapack.dpotrs(factor.T, values, lower=0)[0]
            result[bucket.columns[real]] = stacked[real]
        return result

    def inverse(self) -> np.ndarray:
        """Return the lower triangles of S^-1 in flat storage; upper triangles are zero."""
        flat = np.empty_like(self._flat)
        for bucket in self.layout.buckets:
            factors, inverses = bucket.view(self._flat), bucket.view(flat)
            if bucket.size <= _STACKED:
                roots = np.linalg.inv(np.tril(factors))
                inverses[...] = np.tril(np.matmul(roots.transpose(0, 2, 1), roots))
            else:
                for factor, inverse in zip(factors, inverses, strict=True):
                    inverse[...] = factor
                    linalg.lapack.dpotri(inverse.T, lower=0, overwrite_c=1)
        return flat


def _component(layout: TailLayout, bucket: Bucket) -> np.ndarray:
    """Return the number of each component of a bucket, by its first column."""
    return layout.labels[bucket.columns[:, 0]]


def _factorise(matrix: np.ndarray) -> None:
    """Overwrite the lower triangle of a matrix in C order by its Cholesky factor."""
    _, info = linalg.lapack.dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
    if info:
        raise linalg.LinAlgError(f"leading minor {info} is not positive definite")


def _substitute(factors: np.ndarray, right: np.ndarray) -> None:
    """Solve L L' x = b for a stack of lower factors; rows of L are few, so that the loop is short."""
    size = factors.shape[1]
    for a in range(size):
        if a:
            right[:, a] -= np.einsum("kc,kcr->kr", factors[:, a, :a], right[:, :a])
        right[:, a] /= factors[:, a, a, None]
    for a in range(size - 1, -1, -1):
        if a < size - 1:
            right[:, a] -= np.einsum("kc,kcr->kr", factors[:, a + 1 :, a], right[:, a + 1 :])
        right[:, a] /= factors[:, a, a, None]
