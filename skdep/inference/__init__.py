"""Inference after a fit: coefficient tables, tests, criteria."""

from __future__ import annotations

from skdep.inference.bootstrap import BootstrapResult, bootstrap
from skdep.inference.coef_table import coef_table
from skdep.inference.compare import Comparison, compare
from skdep.inference.criteria import QICResult, qic
from skdep.inference.design_effects import design_effects
from skdep.inference.lrt import LRTResult, lrt
from skdep.inference.marginal_effects import marginal_effects
from skdep.inference.odds_ratios import odds_ratios
from skdep.inference.population_average import PopulationAverage, population_average
from skdep.inference.profile import ProfileCurve, ProfileIntervals, profile_interval
from skdep.inference.pseudo_r2 import PseudoR2, pseudo_r2
from skdep.inference.r2 import R2Result, r2
from skdep.inference.rao_scott import RaoScottTest
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
    "PseudoR2",
    "QICResult",
    "R2Result",
    "RaoScottTest",
    "VarianceComponents",
    "WaldTest",
    "bootstrap",
    "coef_table",
    "compare",
    "design_effects",
    "icc",
    "lrt",
    "marginal_effects",
    "odds_ratios",
    "population_average",
    "profile_interval",
    "pseudo_r2",
    "qic",
    "r2",
    "variance_components",
    "wald_test",
]
