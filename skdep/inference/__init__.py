"""Inference after a fit: coefficient tables, tests, criteria."""

from __future__ import annotations

from skdep.inference.association import association_table
from skdep.inference.bootstrap import BootstrapResult, bootstrap
from skdep.inference.coef_table import coef_table
from skdep.inference.compare import Comparison, compare
from skdep.inference.correlations import CorrelationComparison, compare_correlations
from skdep.inference.covariance import covariance
from skdep.inference.criteria import QICResult, qic
from skdep.inference.design_effects import design_effects
from skdep.inference.influence import Influence, influence
from skdep.inference.linear_combinations import linear_combinations
from skdep.inference.lrt import LRTResult, lrt
from skdep.inference.marginal_effects import marginal_effects
from skdep.inference.odds_ratios import odds_ratios
from skdep.inference.population_average import PopulationAverage, population_average
from skdep.inference.predictions import predictions
from skdep.inference.profile import ProfileCurve, ProfileIntervals, profile_interval
from skdep.inference.pseudo_r2 import PseudoR2, pseudo_r2
from skdep.inference.r2 import R2Result, r2
from skdep.inference.rao_scott import RaoScottTest
from skdep.inference.residuals import residuals
from skdep.inference.score_test import ScoreTest, score_test
from skdep.inference.scorers import cic_scorer, deviance_scorer, qic_scorer
from skdep.inference.tidy import glance, tidy
from skdep.inference.variance import ICC, VarianceComponents, icc, variance_components
from skdep.inference.wald import WaldTest, wald_test
from skdep.inference.weight_diagnostics import WeightDiagnostics, weight_diagnostics

__all__ = [
    "ICC",
    "BootstrapResult",
    "Comparison",
    "CorrelationComparison",
    "Influence",
    "LRTResult",
    "PopulationAverage",
    "ProfileCurve",
    "ProfileIntervals",
    "PseudoR2",
    "QICResult",
    "R2Result",
    "RaoScottTest",
    "ScoreTest",
    "VarianceComponents",
    "WaldTest",
    "WeightDiagnostics",
    "association_table",
    "bootstrap",
    "cic_scorer",
    "coef_table",
    "compare",
    "compare_correlations",
    "covariance",
    "design_effects",
    "deviance_scorer",
    "glance",
    "icc",
    "influence",
    "linear_combinations",
    "lrt",
    "marginal_effects",
    "odds_ratios",
    "population_average",
    "predictions",
    "profile_interval",
    "pseudo_r2",
    "qic",
    "qic_scorer",
    "r2",
    "residuals",
    "score_test",
    "tidy",
    "variance_components",
    "wald_test",
    "weight_diagnostics",
]
