r"""Unstructured working correlation: a parameter for every pair of times.

Rows meet in a cluster at some of the T times of the data; clusters observed at the same times share a pattern, one
Cholesky factor, and its inverse.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, section 4: the moment estimator.
"""

from __future__ import annotations

import numpy as np

from skdep._docs import read_more
from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    Sensitivity,
    WorkingCorrelation,
    correction_factors,
    mean_products,
    share_kept,
)
from skdep.gee.working_correlation.patterns import at_times, least_eigenvalue, times_layout, whiten_buckets

__all__ = ["MOST_TIMES", "Unstructured"]

# A correlation matrix of more times than this is more than a working correlation is worth.
MOST_TIMES = 1000


class Unstructured(WorkingCorrelation):
    """A T x T matrix of correlations, from the clusters observed at both times of a pair."""

    name = "unstructured"
    needs_time = True
    needs_waves = True

    def layout(self, block, dof):
        """Sort clusters by size and by pattern of times."""
        if block.n_waves > MOST_TIMES:
            raise ValueError(
                f"working_correlation='unstructured' has a parameter for each pair of the {block.n_waves} distinct "
                "times: times must be a few common visits. Number the visits, or use 'ar1'."
                f"{read_more('working_correlation')}"
            )
        return times_layout(block)

    def start(self, layouts):
        """Return the identity."""
        return np.eye(layouts[0].n_waves)

    def pair_products(self, layout, values):
        """Return the T x T sums of products of values at two times."""
        return layout.products(values)

    def estimate(self, layouts, products, counts, moments, previous):
        """Return mean residual products of pairs over phi; 0 for times that never meet in a cluster."""
        correlation = mean_products(products, counts, moments)
        np.fill_diagonal(correlation, 1.0)
        return 0.5 * (correlation + correlation.T)

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Shrink towards the identity until every observed pattern's matrix is positive definite."""
        kept = share_kept(least_eigenvalue_of_times(layouts, association, limit), limit)
        return kept * association + (1.0 - kept) * np.eye(len(association)), 1.0 - kept

    def whiten(self, layout, association, values):
        """Multiply by the inverse Cholesky factor of each cluster's pattern."""
        return whiten_buckets(layout.buckets, at_times(association), values)

    def problems(self, layouts, counts, moments, association):
        """Name pairs of times that never meet, or meet too seldom for the denominator asked for."""
        pairs = counts[np.triu_indices(len(counts), 1)]
        found = []
        if (pairs <= 0).any():
            found.append(
                f"{int((pairs <= 0).sum())} of {len(pairs)} pairs of times never occur in one cluster; their "
                "correlation is not estimable, is not used, and is reported as 0."
            )
        seldom = (pairs > 0) & (pairs <= moments.n_params)
        if seldom.any():
            found.append(
                f"{int(seldom.sum())} of {len(pairs)} pairs of times occur in no more clusters than there are "
                "parameters; their correlation was divided by the number of clusters, not by that less parameters."
            )
        return found

    def correlations(self, layout, association, earlier, later):
        """Return the entries of the matrix."""
        return association[layout.wave[earlier], layout.wave[later]]

    def parameter_names(self, layouts):
        """Name the pairs of times."""
        return pair_names(layouts[0].times)

    def reported(self, layouts, association):
        """Return the entries above the diagonal."""
        values = association[np.triu_indices(len(association), 1)]
        return values, np.ones(len(values))

    def sensitivity(self, layouts, number, association, counts, moments):
        """Return the correlations: each pair of times has its own."""
        pairs = np.triu_indices(len(association), 1)
        return Sensitivity(association[pairs], None, correction_factors(counts[pairs], moments))

    def cluster_products(self, layout, values, coefficients):
        """Return products of the values at two times."""
        return layout.cluster_products(values, coefficients)

    def pair_forms(self, layout, left, right, coefficients):
        """Return sums of products of left and right at two times."""
        return layout.pair_forms(left, right, coefficients)


def least_eigenvalue_of_times(layouts, correlation: np.ndarray, limit: float) -> float:
    """Return the least eigenvalue over patterns of times, or one of all times that is no less than `limit`."""
    buckets = [bucket for layout in layouts for bucket in layout.buckets]
    if sum(bucket.times.shape[0] * bucket.times.shape[1] ** 3 for bucket in buckets) > len(correlation) ** 3:
        # that of a principal submatrix is no less than that of the whole, which costs less here
        whole = float(np.linalg.eigvalsh(correlation)[0])
        if whole >= limit:
            return whole
    return least_eigenvalue(buckets, at_times(correlation))


def pair_names(times: np.ndarray) -> tuple[str, ...]:
    """Return ``alpha[1, 2]``, ... for pairs of times."""
    earlier, later = np.triu_indices(len(times), 1)
    labels = [f"{time:g}" for time in times]
    return tuple(f"alpha[{labels[a]}, {labels[b]}]" for a, b in zip(earlier, later, strict=True))
