"""From the user's rows to those of a logistic regression: weights, clusters, sampling design, each checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skdep._docs import read_more
from skdep._fingerprint import DataFingerprint, fingerprint
from skdep._validation import check_offset
from skdep.clusters import describe_sizes, encode_factors
from skdep.logit.kernel import LogisticData
from skdep.survey.design import DesignSummary, SurveyDesign, survey_design

__all__ = ["LogitRows", "Metadata", "logit_rows"]


class Metadata(NamedTuple):
    """The rows' metadata, as passed to fit."""

    groups: Any
    sample_weight: Any
    offset: Any
    strata: Any
    fpc: Any


@dataclass(frozen=True, slots=True)
class LogitRows:
    """What a fit uses of its input: rows of positive weight, and how many observations and units they stand for.

    Parameters
    ----------
    data : LogisticData
        Rows of positive weight.
    factors : list of ndarray of shape (n_kept,)
        Cluster numbers of each way of clustering, primary sampling units first; later stages of a design are none.
    factor_names : list of str
        Names of the grouping factors, stages included.
    n_obs : float
        Observations that the rows stand for.
    n_units : int
        Primary sampling units, with rows of positive weight or not.
    sampling : bool
        Whether weights are sampling weights.
    design : SurveyDesign or None
        Design with strata or finite populations, for all rows.
    kept : ndarray of bool of shape (n_rows,) or None
        Rows of positive weight; None for all.
    """

    data: LogisticData
    factors: list[np.ndarray]
    factor_names: list[str]
    n_obs: float
    n_units: int
    sampling: bool
    design: SurveyDesign | None
    kept: np.ndarray | None

    @property
    def clustered(self) -> bool:
        """Whether there are clusters."""
        return bool(self.factors)

    @property
    def n_rows(self) -> int:
        """Number of rows of positive weight."""
        return self.data.n_rows

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.data.weights is not None

    def sizes(self) -> dict[str, str]:
        """Say how many clusters of which sizes each factor has."""
        described = {}
        for name, codes in zip(self.factor_names, self.factors, strict=False):  # later stages are no factors
            sizes = np.bincount(codes)
            described[name] = describe_sizes(sizes, len(sizes))
        return described

    def fingerprint(self) -> DataFingerprint | None:
        """Return what tells fits of the same rows from others."""
        data = self.data
        return fingerprint(data.X, data.sign, weights=data.weights, offset=data.offset)

    def n_clusters(self, cov_type: str) -> int | None:
        """Return the number of clusters with rows, of the way of clustering that has fewest; None without clusters.

        A design knows but the primary units, the first column of groups.
        """
        factors = self.factors[:1] if cov_type == "design" else self.factors
        return min((int(codes.max()) + 1 for codes in factors), default=None)

    @property
    def n_psus(self) -> int:
        """Primary sampling units with rows of positive weight."""
        return self.n_clusters("design") or self.data.n_rows

    def design_summary(self) -> DesignSummary | None:
        """Return what the fit remembers of its design; None without sampling weights."""
        if not self.sampling:
            return None
        if self.design is not None:
            return self.design.summary()
        return DesignSummary(self.n_psus, 1, self.n_psus - 1, 1, False, False, (), "fail")


def logit_rows(
    X: np.ndarray,
    sign: np.ndarray,
    weights: np.ndarray | None,
    metadata: Metadata,
    *,
    fit_intercept: bool,
    sampling: bool,
    lonely_psu: str,
) -> LogitRows:
    """Check the rows' metadata and leave out rows of weight zero.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features.
    sign : ndarray of shape (n_rows,)
        +1 for a success, -1 for a failure.
    weights : ndarray of shape (n_rows,) or None
        Weights, checked.
    metadata : Metadata
        The rest, not checked yet.
    fit_intercept, sampling : bool
        Whether there is an intercept, and whether weights are sampling weights.
    lonely_psu : str
        What to do with strata of a single unit.

    Raises
    ------
    ValueError
        If metadata are malformed, or describe a survey design without sampling weights.
    """
    n_rows = len(X)
    offset = check_offset(metadata.offset, n_rows)
    encoded = [] if metadata.groups is None else encode_factors(metadata.groups, n_rows)
    design = None
    if metadata.strata is not None or metadata.fpc is not None:
        if not sampling:
            raise ValueError(
                "strata and fpc describe the design of a survey: set weight_type='sampling'."
                f"{read_more('survey_design')}"
            )
        design = survey_design(
            n_rows,
            groups=metadata.groups,
            strata=metadata.strata,
            fpc=metadata.fpc,
            weights=weights,
            lonely_psu=lonely_psu,
        )
    factors = _factors([codes for codes, _, _ in encoded], design)
    n_units = int(factors[0].max()) + 1 if factors else n_rows
    kept = None
    if weights is not None and not (weights > 0).all():
        kept = weights > 0
        X, sign, weights = X[kept], sign[kept], weights[kept]
        offset = None if offset is None else offset[kept]
        factors = [np.unique(codes[kept], return_inverse=True)[1] for codes in factors]
    n_obs = float(len(X))
    if weights is not None and sampling:
        weights = weights / weights.mean()
    elif weights is not None:
        n_obs = float(weights.sum())
    data = LogisticData(X, sign, weights, offset, fit_intercept)
    return LogitRows(data, factors, [name for _, _, name in encoded], n_obs, n_units, sampling, design, kept)


def _factors(codes: list[np.ndarray], design: SurveyDesign | None) -> list[np.ndarray]:
    """Return the ways of clustering: columns of groups, but units nested in strata, and no later stages."""
    if not codes or design is None:
        return codes
    return [design.stages[0].unit, *(codes[1:] if len(design.stages) == 1 else [])]
