"""Bayesian logistic regression: priors, posteriors, updating, decisions."""

from __future__ import annotations

from skdep.bayes.decisions import Decision, bayes_decision, predictive_counts
from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.lkj import LKJ
from skdep.bayes.logit import BayesLogit
from skdep.bayes.loo import compare_elpd
from skdep.bayes.losses import probability_threshold
from skdep.bayes.prior_base import Prior
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.prior_summary import prior_predictive
from skdep.bayes.priors import Cauchy, Laplace, LogF, LogisticPrior, Normal, StudentT
from skdep.bayes.scale_priors import Exponential, HalfCauchy, HalfNormal, HalfStudentT, LogNormal, ScalePrior

__all__ = [
    "LKJ",
    "BayesLogit",
    "Cauchy",
    "Decision",
    "Exponential",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "Horseshoe",
    "Laplace",
    "LogF",
    "LogNormal",
    "LogisticPrior",
    "MultivariateNormal",
    "Normal",
    "Prior",
    "ScalePrior",
    "StudentT",
    "bayes_decision",
    "compare_elpd",
    "predictive_counts",
    "prior_predictive",
    "probability_threshold",
    "resolve_priors",
]
