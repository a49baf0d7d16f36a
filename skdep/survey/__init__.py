"""Survey designs: strata, sampling units, finite populations; linearised variances and replicate weights."""

from skdep.survey.design import DesignSummary, SurveyDesign, survey_design
from skdep.survey.linearised import variance_of_total
from skdep.survey.replicate_methods import replicate_weights
from skdep.survey.replicates import ReplicateWeights

__all__ = [
    "DesignSummary",
    "ReplicateWeights",
    "SurveyDesign",
    "replicate_weights",
    "survey_design",
    "variance_of_total",
]
