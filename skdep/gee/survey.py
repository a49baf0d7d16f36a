"""Survey designs in a GEE: sampling units are the clusters, and the variance is that of the design."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep.gee.working_correlation import Independence, WorkingCorrelation
from skdep.survey.design import SurveyDesign, survey_design
from skdep.survey.linearised import unit_totals, variance_of_unit_totals

__all__ = ["design_of_fit", "design_variance"]


def design_of_fit(
    n_rows: int,
    *,
    groups: Any,
    strata: Any,
    fpc: Any,
    weights: np.ndarray | None,
    weight_type: str,
    structure: WorkingCorrelation,
    lonely_psu: str,
) -> SurveyDesign | None:
    """Return the design of a fit with strata or finite populations; None without them.

    Raises
    ------
    ValueError
        If the metadata are malformed, weights are no sampling weights, or stages are asked of clusters that a working
        correlation joins.
    """
    if strata is None and fpc is None:
        return None
    if weight_type != "sampling":
        raise ValueError(
            "strata and fpc describe how the sample was drawn, and weights that go with them are sampling weights; "
            f"weight_type={weight_type!r} counts repetitions of clusters. Set weight_type='sampling', and leave out "
            "sample_weight if all rows have the same."
            f"{read_more('survey_design')}"
        )
    design = survey_design(n_rows, groups=groups, strata=strata, fpc=fpc, weights=weights, lonely_psu=lonely_psu)
    if len(design.stages) > 1 and not isinstance(structure, Independence):
        raise ValueError(
            f"A design of {len(design.stages)} stages needs the score of every unit of the last stage, but the working "
            f"correlation {structure.name!r} mixes rows of the whole first-stage unit. Use "
            "working_correlation='independence', or give the groups and fpc of the first stage only."
        )
    return design


def design_variance(scores: np.ndarray, rows: np.ndarray, design: SurveyDesign) -> np.ndarray:
    """Return the linearised variance (r, r) of estimates in coordinates in which they move as the sum of scores.

    Parameters
    ----------
    scores : ndarray of shape (n, r)
        Scores of clusters or of rows.
    rows : ndarray of shape (n,)
        Number of a row of the design that each belongs to.
    design : SurveyDesign
        The design.
    """
    last = design.stages[-1]
    totals = unit_totals(scores, last.unit[rows], len(last.stratum_of_unit))
    return variance_of_unit_totals(totals, design)
