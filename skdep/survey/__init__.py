"""Survey designs: strata, sampling units, finite populations; linearised variances and replicate weights."""

from skdep.survey.design import DesignSummary, SurveyDesign, survey_design
from skdep.survey.linearised import variance_of_total

__all__ = ["DesignSummary", "SurveyDesign", "survey_design", "variance_of_total"]
