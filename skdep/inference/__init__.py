"""Inference after a fit: coefficient tables, tests, criteria."""

from __future__ import annotations

from skdep.inference.bootstrap import BootstrapResult, bootstrap
from skdep.inference.coef_table import coef_table
from skdep.inference.compare import Comparison, compare
from skdep.inference.criteria import QICResult, qic
from skdep.inference.lrt import LRTResult, lrt
from skdep.inference.marginal_effects import marginal_effects
from skdep.inference.odds_ratios import odds_ratios
from skdep.inference.population_average import PopulationAverage, population_average
from skdep.inference.profile import ProfileCurve, ProfileIntervals, profile_interval
from skdep.inference.r2 import R2Result, r2
from skdep.inference.variance import ICC, VarianceComponents, icc, variance_components
from skdep.inference.wald import WaldTest, wald_test

__all__ = [
    "ICC",
    "BootstrapResult",
    "Comparison",
    "LRTResult",
    "PopulationAverage",
    "ProfileCurve",
    "ProfileIntervals",
    "QICResult",
    "R2Result",
    "VarianceComponents",
    "WaldTest",
    "bootstrap",
    "coef_table",
    "compare",
    "icc",
    "lrt",
    "marginal_effects",
    "odds_ratios",
    "population_average",
    "profile_interval",
    "qic",
    "r2",
    "variance_components",
    "wald_test",
]
