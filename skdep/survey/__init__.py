"""Survey designs: strata, sampling units, populations; linearised variances, replicate weights; means and totals."""

from skdep.survey.design import DesignSummary, SurveyDesign, survey_design
from skdep.survey.linearised import variance_of_total
from skdep.survey.replicate_methods import replicate_weights
from skdep.survey.replicates import ReplicateWeights
from skdep.survey.totals import survey_mean, survey_ratio, survey_total

__all__ = [
    "DesignSummary",
    "ReplicateWeights",
    "SurveyDesign",
    "replicate_weights",
    "survey_design",
    "survey_mean",
    "survey_ratio",
    "survey_total",
    "variance_of_total",
]
