"""Mixed models: random effects of one or several grouping factors."""

from __future__ import annotations

from skdep.mixed.fit import OptimizationSummary
from skdep.mixed.linear import MixedLinear

__all__ = ["MixedLinear", "OptimizationSummary"]
