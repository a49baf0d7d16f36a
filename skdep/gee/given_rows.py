"""The rows as they were given to fit, and how those of the equations correspond to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skdep._validation import check_time
from skdep.clusters import encode_factors
from skdep.gee.pooled import Positions, cluster_positions
from skdep.gee.rows import GEERows
from skdep.gee.working_correlation import WorkingCorrelation
from skdep.survey.design import SurveyDesign

__all__ = ["GEEMetadata", "GivenRows"]


class GEEMetadata(NamedTuple):
    """The rows' metadata, as passed to fit."""

    groups: Any
    sample_weight: Any
    offset: Any
    time: Any
    strata: Any
    fpc: Any
    replicate_weights: Any = None


@dataclass(frozen=True, slots=True)
class GivenRows:
    """What was given to fit.

    Parameters
    ----------
    rows : GEERows
        Rows of positive weight, in cluster order.
    n_rows : int
        Number of rows given.
    metadata : GEEMetadata
        Their metadata.
    design : SurveyDesign or None
        Their design, if it has strata or finite populations.
    """

    rows: GEERows
    n_rows: int
    metadata: GEEMetadata
    design: SurveyDesign | None

    @property
    def n_units(self) -> int:
        """Number of clusters, those without a row of positive weight included."""
        if len(self.rows.y) == self.n_rows:
            return self.rows.n_clusters
        if self.metadata.groups is None:
            return self.n_rows
        return len(encode_factors(self.metadata.groups, self.n_rows)[0][1])

    @property
    def row_numbers(self) -> np.ndarray:
        """Number, as given, of each row of the equations."""
        return np.arange(self.n_rows) if self.rows.caller_rows is None else self.rows.caller_rows

    def positions(self, structure: WorkingCorrelation) -> Positions | str:
        """Find the positions that clusters share: times where there are any, else places in the cluster."""
        if self.design is not None:
            return "it is not defined for a survey design"
        times = None
        if structure.needs_time:
            times = np.concatenate([block.time for _, block in self.rows.blocks if block.time is not None])
        elif self.metadata.time is not None:
            time = check_time(self.metadata.time, self.n_rows)
            times = None if time is None else time[self.row_numbers]
        return cluster_positions(self.rows.clusters, times)
