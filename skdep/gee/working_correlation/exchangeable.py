r"""Exchangeable working correlation: every pair of rows of a cluster correlates equally.

With n rows, R = (1 - alpha) I + alpha 1 1'. Its inverse square root shrinks towards the cluster mean, so that whitening
costs O(N) for clusters of any size:

    R^(-1/2) z = (1 - alpha)^(-1/2) [z - (1 - ((1 - alpha) / (1 + (n - 1) alpha))^(1/2)) mean(z) 1].

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, section 3: the moment estimator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    Sensitivity,
    WorkingCorrelation,
    correction_factors,
    mean_products,
    share_kept,
)

__all__ = ["Exchangeable"]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes of clusters."""

    sizes: np.ndarray


class Exchangeable(WorkingCorrelation):
    """One parameter alpha, the correlation of any two rows of a cluster."""

    name = "exchangeable"

    def layout(self, block, dof):
        """Return the clusters."""
        return block.clusters

    def digest(self, layout):
        """Return the largest size."""
        return _Sizes(layout.sizes.max(keepdims=True))

    def pair_products(self, layout, values):
        """Return the sum over all pairs, by (sum v)^2 = sum v^2 + 2 sum over pairs."""
        if layout.n_clusters == layout.n_rows:
            return np.zeros(1)  # no pairs: the difference below would be rounding
        return np.array([0.5 * (np.sum(layout.sum(values) ** 2) - values @ values)])

    def estimate(self, layouts, products, counts, moments, previous):
        """Return the mean residual product of pairs over phi; 0 where no cluster has a pair."""
        return float(mean_products(products, counts, moments)[0])

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Keep alpha inside (-1 / (n - 1), 1), n the largest cluster."""
        largest = max(int(clusters.sizes.max()) for clusters in layouts)
        if largest == 1:
            return association, 0.0
        smallest = min(1.0 - association, 1.0 + (largest - 1) * association)
        kept = share_kept(smallest, limit)
        return kept * association, 1.0 - kept

    def whiten(self, layout, association, values):
        """Shrink towards cluster means."""
        if association == 0.0:
            return values
        within = 1.0 - association
        between = 1.0 + (layout.sizes - 1) * association
        share = (1.0 - np.sqrt(within / between)) / layout.sizes
        result = layout.spread(layout.sum(values) * -share[:, None])
        result += values
        result /= np.sqrt(within)
        return result

    def correlations(self, layout, association, earlier, later):
        """Return alpha for every pair."""
        return np.full(len(earlier), association)

    def sensitivity(self, layouts, number, association, counts, moments):
        """Return the one correlation."""
        return Sensitivity(np.array([association]), None, correction_factors(counts, moments))

    def cluster_products(self, layout, values, coefficients):
        """Return sums over the pairs of each cluster."""
        pairs = 0.5 * (layout.sum(values) ** 2 - layout.sum(values**2))
        pairs[layout.sizes == 1] = 0.0
        return pairs[:, None] * coefficients

    def pair_forms(self, layout, left, right, coefficients):
        """Return sums over pairs of left and right."""
        return coefficients[:, None] * (layout.sum(left) @ layout.sum(right) - left @ right)
