"""Bins of rows, and how far means over a bin vary when rows of a cluster err together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.clusters import encode_factors

__all__ = ["bin_numbers", "cluster_codes", "clusters_in_bins", "squares_of_totals"]


def bin_numbers(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the number of each row's bin, of equally many rows; rows with the same value share one.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        What rows are binned by.
    n_bins : int
        Number of bins; of values that coincide there are fewer.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins!r}.")
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * counts
    of_value = np.minimum((middle * n_bins / len(values)).astype(np.intp), n_bins - 1)
    return np.unique(of_value[number.reshape(-1)], return_inverse=True)[1]


def cluster_codes(groups: Any, n_rows: int) -> list[np.ndarray]:
    """Return the cluster of each row (n_rows,) by factor; an empty list without groups."""
    return [] if groups is None else [codes for codes, _, _ in encode_factors(groups, n_rows)]


def squares_of_totals(bins: np.ndarray, values: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Return, by bin, the sum over clusters of the squared total of their rows in the bin (n_bins,).

    Of several factors, rows err together that share a level of any: sums are those over the factors, less those over
    their intersections, and so on [1]_; where that is less than the sum over a factor, it is the latter. Of nested
    factors what is left is the sum over the outer one.

    Parameters
    ----------
    bins : ndarray of shape (n_rows,)
        Bin of each row.
    values : ndarray of shape (n_rows,)
        Values to add up.
    factors : sequence of ndarray of shape (n_rows,)
        Clusters of the rows, by factor; at least one.

    References
    ----------
    .. [1] Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering, Journal of Business and
       Economic Statistics 29, 238-249.
    """
    n_bins = int(bins.max()) + 1
    total, largest = np.zeros(n_bins), np.zeros(n_bins)
    for size in range(1, len(factors) + 1):
        for chosen in itertools.combinations(factors, size):
            bin_of_cell, cell = _cells(bins, chosen)
            squares = np.bincount(bin_of_cell, np.bincount(cell, values) ** 2, minlength=n_bins)
            total += (-1.0) ** (size + 1) * squares
            if size == 1:
                largest = np.maximum(largest, squares)
    return np.maximum(total, largest)


def clusters_in_bins(bins: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many clusters have rows in each bin (n_bins,), of the factor with the fewest.

    Parameters
    ----------
    bins : ndarray of shape (n_rows,)
        Bin of each row.
    factors : sequence of ndarray of shape (n_rows,)
        Clusters of the rows, by factor; at least one.
    """
    counts = [np.bincount(_cells(bins, [codes])[0]) for codes in factors]
    return np.min(counts, axis=0)


def _cells(bins: np.ndarray, factors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin of each combination of bin and clusters that occurs, and the combination of each row."""
    cell, first = bins, bins
    for codes in factors:
        joint = cell.astype(np.int64) * (int(codes.max()) + 1) + codes
        _, where, cell = np.unique(joint, return_index=True, return_inverse=True)
        first = bins[where]
    return first, cell
