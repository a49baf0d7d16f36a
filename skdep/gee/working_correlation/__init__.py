"""Working correlations, one structure a file, chosen by name or passed as objects."""

from __future__ import annotations

from skdep._docs import read_more
from skdep.gee.working_correlation.ar1 import AR1
from skdep.gee.working_correlation.base import Block, Moments, Sensitivity, WorkingCorrelation
from skdep.gee.working_correlation.exchangeable import Exchangeable
from skdep.gee.working_correlation.fixed import Fixed
from skdep.gee.working_correlation.independence import Independence
from skdep.gee.working_correlation.nested import Nested
from skdep.gee.working_correlation.parametric import ParametricCorrelation
from skdep.gee.working_correlation.stationary import MDependent, Toeplitz
from skdep.gee.working_correlation.unstructured import Unstructured

__all__ = [
    "AR1",
    "WORKING_CORRELATIONS",
    "Block",
    "Exchangeable",
    "Fixed",
    "Independence",
    "MDependent",
    "Moments",
    "Nested",
    "ParametricCorrelation",
    "Sensitivity",
    "Toeplitz",
    "Unstructured",
    "WorkingCorrelation",
    "get_working_correlation",
]

WORKING_CORRELATIONS: dict[str, type[WorkingCorrelation]] = {
    cls.name: cls for cls in (Independence, Exchangeable, AR1, Unstructured, MDependent, Toeplitz, Nested, Fixed)
}


def get_working_correlation(structure: str | WorkingCorrelation) -> WorkingCorrelation:
    """Return the working correlation of that name, or the object itself; an unknown name raises ValueError."""
    if isinstance(structure, WorkingCorrelation):
        return structure
    if structure not in WORKING_CORRELATIONS:
        raise ValueError(
            f"working_correlation={structure!r} is not available; choose one of {sorted(WORKING_CORRELATIONS)} or pass "
            "a WorkingCorrelation object."
            f"{read_more('working_correlation')}"
        )
    return WORKING_CORRELATIONS[structure]()
