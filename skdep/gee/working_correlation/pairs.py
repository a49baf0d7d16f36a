"""Sums over pairs of rows by their distance in time, for structures in which the distance is all that counts.

Pairs are listed one by one, or, where times are whole numbers and clusters fill their span of time, come from a table
of clusters by times since the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from skdep.clusters import Clusters
from skdep.gee.working_correlation.base import combine_classes

__all__ = ["GridPairs", "ListedPairs", "fills_grid", "listed_pairs"]

# A time grid this many times larger than the data is not worth its table.
_SPARSEST_GRID = 16
# So many shifts of a table cost less than its transform.
_MOST_SHIFTS = 16


@dataclass(frozen=True, slots=True)
class ListedPairs:
    """Pairs of rows, one by one."""

    cluster: np.ndarray  # (n_pairs,)
    earlier: np.ndarray  # (n_pairs,)
    later: np.ndarray  # (n_pairs,)
    lag: np.ndarray  # (n_pairs,) number of the distance
    n_clusters: int
    n_lags: int

    def products(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of products by lag."""
        return np.bincount(self.lag, weights=values[self.later] * values[self.earlier], minlength=self.n_lags)

    def cluster_products(self, values: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return sums over the pairs of each cluster: see `WorkingCorrelation.cluster_products`."""
        products = values[self.later] * values[self.earlier]
        if coefficients.ndim == 1:
            number = self.cluster * self.n_lags + self.lag
            sums = np.bincount(number, weights=products, minlength=self.n_clusters * self.n_lags)
            return sums.reshape(self.n_clusters, self.n_lags) * coefficients
        columns = [
            np.bincount(self.cluster, weights=products * column[self.lag], minlength=self.n_clusters)
            for column in coefficients.T
        ]
        return np.column_stack(columns)

    def pair_forms(self, left: np.ndarray, right: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return sums over pairs, for each column of right: see `WorkingCorrelation.pair_forms`."""
        if coefficients.ndim == 2:
            return np.array([self._partners(left, column) @ right for column in coefficients.T])
        forms = []
        for column in right.T:
            crossed = left[self.later] * column[self.earlier] + left[self.earlier] * column[self.later]
            forms.append(np.bincount(self.lag, weights=crossed, minlength=self.n_lags))
        return coefficients[:, None] * np.array(forms).T

    def _partners(self, values: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Add up, for each row, the values of those it makes a pair with, times the coefficient of the lag."""
        weights = coefficients[self.lag]
        n_rows = len(values)
        return np.bincount(self.later, weights=weights * values[self.earlier], minlength=n_rows) + np.bincount(
            self.earlier, weights=weights * values[self.later], minlength=n_rows
        )


@dataclass(frozen=True, slots=True)
class GridPairs:
    """All pairs of rows at lags 1 to `n_lags`, from a table of clusters by whole times since the first row."""

    cluster: np.ndarray  # (n_rows,)
    position: np.ndarray  # (n_rows,) whole time since the cluster's first row
    n_clusters: int
    span: int  # largest position
    n_lags: int

    def _table(self, values: np.ndarray, columns: int | None = None) -> np.ndarray:
        table = np.zeros((self.n_clusters, columns or self.span + 1))
        table[self.cluster, self.position] = values
        return table

    def products(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of products by lag."""
        if self._has_few_lags:
            table = self._table(values)
            lags = range(1, self.n_lags + 1)
            return np.array([np.einsum("ij,ij->", table[:, lag:], table[:, :-lag]) for lag in lags])
        spectrum = self._spectrum(values)
        power = np.sum(spectrum.real**2 + spectrum.imag**2, axis=0)
        return fft.irfft(power, n=self._transform_length)[1 : self.n_lags + 1]

    def cluster_products(self, values: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return sums over the pairs of each cluster: see `WorkingCorrelation.cluster_products`."""
        return combine_classes(self._cluster_products(values), coefficients)

    def pair_forms(self, left: np.ndarray, right: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return sums over pairs, for each column of right: see `WorkingCorrelation.pair_forms`.

        Where there are many lags: twice the sum over l_j r_k + l_k r_j is the difference of the sums of products of
        l + r and l - r, which has most digits where l and r are of one size.
        """
        forms = []
        if self._has_few_lags:
            first = self._table(left)
            for column in right.T:
                second = self._table(column)
                forms.append([self._at_lag(first, second, lag) for lag in range(1, self.n_lags + 1)])
            return combine_classes(np.array(forms), coefficients).T
        size = np.linalg.norm(left)
        for column in right.T:
            unit = size / (np.linalg.norm(column) or 1.0) or 1.0
            scaled = unit * column
            forms.append((self.products(left + scaled) - self.products(left - scaled)) / (2.0 * unit))
        return combine_classes(np.array(forms), coefficients).T

    @staticmethod
    def _at_lag(left: np.ndarray, right: np.ndarray, lag: int) -> float:
        """Add up l_j r_k + l_k r_j of two tables at one lag."""
        both = np.einsum("ij,ij->", left[:, lag:], right[:, :-lag]) + np.einsum(
            "ij,ij->", left[:, :-lag], right[:, lag:]
        )
        return float(both)

    @property
    def _has_few_lags(self) -> bool:
        return self.n_lags <= _MOST_SHIFTS

    @property
    def _transform_length(self) -> int:
        return fft.next_fast_len(2 * self.span + 1, real=True)

    def _spectrum(self, values: np.ndarray) -> np.ndarray:
        return fft.rfft(self._table(values, self._transform_length), axis=1)

    def _cluster_products(self, values: np.ndarray) -> np.ndarray:
        if self._has_few_lags:
            table = self._table(values)
            lags = range(1, self.n_lags + 1)
            sums = [np.einsum("ij,ij->i", table[:, lag:], table[:, :-lag]) for lag in lags]
            return np.column_stack(sums) if sums else np.zeros((self.n_clusters, 0))
        spectrum = self._spectrum(values)
        power = spectrum.real**2 + spectrum.imag**2
        return fft.irfft(power, n=self._transform_length, axis=1)[:, 1 : self.n_lags + 1]


def fills_grid(clusters: Clusters, span: float) -> bool:
    """Say whether a table of clusters by times 0 to `span` is not much larger than the data."""
    return clusters.n_clusters * (span + 1.0) <= _SPARSEST_GRID * clusters.n_rows


def listed_pairs(clusters: Clusters, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (earlier, later) rows of all pairs of a cluster that are at most `most` rows apart."""
    position = np.arange(clusters.n_rows) - clusters.spread(clusters.starts)
    apart = int(min(most, clusters.sizes.max() - 1))
    later = [np.flatnonzero(position >= shift) for shift in range(1, apart + 1)]
    shifts = np.repeat(np.arange(1, apart + 1), [len(rows) for rows in later])
    rows = np.concatenate(later) if later else np.zeros(0, dtype=np.intp)
    return rows - shifts, rows
