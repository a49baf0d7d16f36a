"""Independence: no correlation is modelled; the sandwich still respects the clusters."""

from __future__ import annotations

import numpy as np

from skdep.gee.working_correlation.base import WorkingCorrelation

__all__ = ["Independence"]


class Independence(WorkingCorrelation):
    """R = I: ordinary regression coefficients, with standard errors made robust by the sandwich."""

    name = "independence"

    def layout(self, block, dof):
        """Return nothing: there is nothing to prepare."""
        return None

    def pair_products(self, layout, values):
        """Return no sums: there are no parameters."""
        return np.zeros(0)

    def estimate(self, layouts, products, counts, moments, previous):
        """Return 0."""
        return 0.0

    def whiten(self, layout, association, values):
        """Return the values themselves."""
        return values

    def parameter_names(self, layouts):
        """Return no names."""
        return ()

    def correlations(self, layout, association, earlier, later):
        """Return 0 for every pair."""
        return np.zeros(len(earlier))
