"""A survey's rows with their weights and design: weighted sums, ratios of them, and their standard errors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._stack import level_of_caller
from skdep._validation import check_weights
from skdep.exceptions import WeightWarning
from skdep.survey.design import SurveyDesign, survey_design
from skdep.survey.linearised import variance_of_total
from skdep.survey.replicates import ReplicateWeights

__all__ = ["SurveySample", "survey_sample"]

# Rows whose weights under all replicates are in memory at a time.
_REPLICATE_ROWS = 8192


@dataclass(frozen=True)
class SurveySample:
    """Rows of a sample with their weights, and what makes variances of them.

    Parameters
    ----------
    design : SurveyDesign or ReplicateWeights
        The design.
    weights : ndarray of shape (n_rows,)
        Sampling weights.
    weights_known : bool
        Whether they say how many members of the population a row stands for.
    """

    design: SurveyDesign | ReplicateWeights
    weights: np.ndarray
    weights_known: bool

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.weights)

    def degrees(self, inside: np.ndarray) -> float:
        """Return the degrees of freedom of a domain."""
        counted = inside & (self.weights > 0)
        if isinstance(self.design, ReplicateWeights):
            if self.design.sample_weight is None:
                return self.design[counted].df
            return self.design[np.flatnonzero(counted)].df
        first = self.design.stages[0]
        units = np.unique(first.unit[counted])
        return float(len(units) - len(np.unique(first.stratum_of_unit[units])))

    def has_variance(self, inside: np.ndarray) -> bool:
        """Say whether some stratum with rows of the domain has a variance of its own, to give to those of one unit."""
        if isinstance(self.design, ReplicateWeights) or self.design.lonely_psu != "average":
            return True
        first = self.design.stages[0]
        strata = np.unique(first.stratum_of_unit[first.unit[inside & (self.weights > 0)]])
        return not first.lonely[strata].all()

    def totals(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted sums (k,) and their standard errors."""
        found = self.weights @ columns
        if isinstance(self.design, ReplicateWeights):
            return found, _errors(self.design.variance(self._of_replicates(columns), found))
        return found, _errors(variance_of_total(self.weights[:, None] * columns, self.design))

    def ratios(self, above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ratios of weighted sums of columns (n_rows, k) to that of a column (n_rows, 1), and their errors."""
        total = float(self.weights @ below[:, 0])
        if total == 0.0:
            raise ValueError("The denominator adds up to zero: there is no ratio.")
        found = self.weights @ above / total
        if isinstance(self.design, ReplicateWeights):
            sums = self._of_replicates(np.column_stack([above, below]))
            with np.errstate(divide="ignore", invalid="ignore"):
                return found, _errors(self.design.variance(sums[:, :-1] / sums[:, -1:], found))
        influence = self.weights[:, None] * (above - below * found) / total
        return found, _errors(variance_of_total(influence, self.design))

    def _of_replicates(self, columns: np.ndarray) -> np.ndarray:
        """Return weighted sums (n_replicates, k) under the weights of every replicate."""
        assert isinstance(self.design, ReplicateWeights)
        block = self.design.blocks()
        sums = np.zeros((self.design.n_replicates, columns.shape[1]))
        for begin in range(0, self.n_rows, _REPLICATE_ROWS):
            rows = slice(begin, min(begin + _REPLICATE_ROWS, self.n_rows))
            sums += block(rows).T @ columns[rows]
        return sums


def survey_sample(design: Any, sample_weight: Any, groups: Any, strata: Any, fpc: Any, n_rows: int) -> SurveySample:
    """Return the rows of a survey, their design made of parts if it is not given.

    Parameters
    ----------
    design : SurveyDesign, ReplicateWeights or None
        The design.
    sample_weight, groups, strata, fpc
        As of `skdep.survey.survey_mean`.
    n_rows : int
        Number of rows.
    """
    weights = check_weights(sample_weight, n_rows)
    if design is None:
        design = survey_design(n_rows, groups=groups, strata=strata, fpc=fpc, weights=weights)
    elif groups is not None or strata is not None or fpc is not None:
        raise ValueError("design says what groups=, strata= and fpc= would: give one or the other.")
    n_known = len(design) if isinstance(design, ReplicateWeights) else design.n_rows
    if n_known != n_rows:
        raise ValueError(
            f"The design has {n_known} rows, and values {n_rows}: give all rows of the sample, and domain=."
        )
    if weights is None:
        weights = _weights_of_design(design)
    if weights is not None:
        return SurveySample(design, weights, True)
    warnings.warn(
        "Neither sample_weight nor fpc was given: all rows weigh the same.", WeightWarning, stacklevel=level_of_caller()
    )
    return SurveySample(design, np.ones(n_rows), False)


def _weights_of_design(design: SurveyDesign | ReplicateWeights) -> np.ndarray | None:
    """Return sampling weights that a design has, or that follow from its sampling fractions; None if there are none."""
    if isinstance(design, ReplicateWeights):
        if design.sample_weight is None:
            raise ValueError("These replicate weights lack those of the full sample: pass sample_weight=.")
        return design.sample_weight
    weights = np.ones(design.n_rows)
    for stage in design.stages:
        fraction = stage.fraction[stage.stratum_of_unit[stage.unit]]
        if not (fraction > 0).all():
            return None
        weights /= fraction
    return weights


def _errors(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.diag(variance), 0.0))
