r"""Covariance matrices of a GEE by type, with the degrees of freedom that go with each.

With bread B = sum D'V^{-1}D phi and cluster scores u_i (phi cancels in both), the naive covariance is phi B^{-1} and
the robust one B^{-1} (sum u_i u_i') B^{-1}, consistent even where the working correlation is wrong. Those for few
clusters are in `skdep.gee.small_sample`. Under a survey design with strata or finite populations the sum of squares of
scores is replaced by the variance of their total under the design.

References
----------
Liang and Zeger (1986), Biometrika 73, 13-22, theorem 2. Binder (1983), International Statistical Review 51, 279-292.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from skdep.gee.equations import Equations, Evaluation
from skdep.gee.pooled import Positions
from skdep.gee.small_sample import (
    Numbers,
    orthonormal_scores,
    pass_over_clusters,
    reduced_scores,
    small_sample_covariances,
)
from skdep.gee.survey import design_variance
from skdep.sandwich import finite_sample_factor
from skdep.sandwich_corrections import CorrectionFrame, correction_frame
from skdep.sandwich_degrees import ClusterSmallSample, LeverageTable, table_cost, table_size
from skdep.survey.design import DesignSummary, SurveyDesign
from skdep.survey.replicate_covariance import ReplicateCovariance

__all__ = [
    "COV_TYPES",
    "SMALL_SAMPLE_TYPES",
    "CovarianceRequest",
    "GEECovariances",
    "gee_covariances",
    "over_replicates",
]

SMALL_SAMPLE_TYPES = ("df", "md", "kc", "fg", "mbn", "pan", "jackknife")
COV_TYPES = ("naive", "robust", *SMALL_SAMPLE_TYPES, "design", "replicate")
# The correction, up to a factor, of types that have Satterthwaite's degrees of freedom.
_CORRECTIONS = {"robust": "robust", "df": "robust", "md": "md", "kc": "kc", "jackknife": "md"}
# The table of leverages is always made where that takes so many operations, and on request while it has so many
# numbers.
_CHEAP_TABLE = 3_000_000
_LARGEST_TABLE = 1_000_000
# Sampling units of a design beyond which scores are not corrected for their leverage.
_MOST_REDUCED = 5_000


@dataclass(frozen=True, slots=True)
class CovarianceRequest:
    """What covariances depend on beside the solution of the equations.

    Parameters
    ----------
    back : ndarray of shape (n_params, p) or None
        Maps coefficients of the equations' design to the user's.
    centre : ndarray of shape (n_params - 1,) or None
        Means of the features; None without an intercept.
    cov_type : str
        The type chosen.
    numbers : Numbers
        Numbers of clusters and parameters.
    sampling : bool
        Whether weights are sampling weights.
    n_units : int
        Clusters, those without a row of positive weight included.
    positions : Positions or str
        Positions of rows within clusters, or why there are none.
    design : SurveyDesign or None
        Design with strata or finite populations.
    row_numbers : ndarray of shape (n_rows,) or None
        Number in the design of each row, rows in cluster order.
    """

    back: np.ndarray | None
    centre: np.ndarray | None
    cov_type: str
    numbers: Numbers
    sampling: bool
    n_units: int
    positions: Positions | str
    design: SurveyDesign | None = None
    row_numbers: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class GEECovariances:
    """Covariances of the user's coefficients.

    Parameters
    ----------
    by_type : dict
        The matrices.
    robust_of_columns : ndarray of shape (p, p)
        The robust one, of the coefficients of the equations' design.
    residual_df, degrees_of_freedom : dict
        Clusters (units less strata, plus one) less parameters; those used by default, where not the normal
        distribution.
    unavailable : dict
        Why a type is missing.
    small_samples : dict
        What has Satterthwaite's degrees of freedom to offer.
    design : DesignSummary or None
        The survey design.
    """

    by_type: dict[str, np.ndarray]
    robust_of_columns: np.ndarray
    residual_df: dict[str, float]
    degrees_of_freedom: dict[str, float]
    unavailable: dict[str, str]
    small_samples: Mapping[str, ClusterSmallSample] = field(default_factory=dict)
    design: DesignSummary | None = None


def gee_covariances(equations: Equations, at: Evaluation, request: CovarianceRequest) -> GEECovariances:
    """Compute every covariance type that the data allow.

    Parameters
    ----------
    equations : Equations
        The equations.
    at : Evaluation
        Their solution.
    request : CovarianceRequest
        What else they depend on.

    Raises
    ------
    ValueError
        If the type chosen cannot be had.
    """
    unavailable = _unavailable(request)
    if request.cov_type in unavailable:
        raise ValueError(f"cov_type={request.cov_type!r} cannot be had here: {unavailable[request.cov_type]}.")
    with np.errstate(over="ignore", invalid="ignore"):  # of a fit that ran away: infinite is the right word
        if request.design is not None:
            return _under_design(equations, at, request, request.design, unavailable)
        return _of_clusters(equations, at, request, unavailable)


def _unavailable(request: CovarianceRequest) -> dict[str, str]:
    """Say which types cannot be had, and why."""
    reasons = {"replicate": "it needs replicate_weights= at fit"}
    if not request.sampling:
        reasons["design"] = "it is for samples of a survey: set weight_type='sampling'"
    if request.design is not None:
        why = "it is not defined for a survey design with strata or finite populations: use 'robust' or 'kc'"
        reasons |= dict.fromkeys([kind for kind in SMALL_SAMPLE_TYPES if kind != "kc"], why)
        if len(request.design.stages) > 1:
            reasons["kc"] = "it is not defined for a design of several stages: use 'robust'"
        elif table_size(request.numbers.n_params) > _LARGEST_TABLE or request.numbers.n_clusters > _MOST_REDUCED:
            reasons["kc"] = "there are many sampling units: 'robust' needs no correction"
    elif isinstance(request.positions, str):
        reasons["pan"] = request.positions
    return reasons


def _of_clusters(
    equations: Equations, at: Evaluation, request: CovarianceRequest, unavailable: dict[str, str]
) -> GEECovariances:
    """Return the covariances where clusters were drawn independently."""
    numbers = request.numbers
    frame = correction_frame(at.bread, request.back, centre=request.centre)
    found = pass_over_clusters(
        equations,
        at,
        frame,
        positions=None if isinstance(request.positions, str) else request.positions,
        tabulate=_worth_a_table(numbers.n_clusters, request.cov_type, frame.root.shape[1]),
    )
    robust = frame.covariance(found.sums.robust)
    by_type = {"naive": _naive(frame, numbers), "robust": robust}
    by_type |= small_sample_covariances(found, frame, robust, numbers)
    if request.sampling:
        by_type["design"] = robust * finite_sample_factor(request.n_units)
    if numbers.n_clusters <= 1:
        # a single cluster's score is zero at the solution: it would promise certainty
        by_type = {
            kind: matrix if kind == "naive" else np.full_like(matrix, np.nan) for kind, matrix in by_type.items()
        }
    left = float(numbers.n_clusters - numbers.n_params)
    return GEECovariances(
        by_type=by_type,
        robust_of_columns=frame.root @ found.sums.robust @ frame.root.T,
        residual_df=dict.fromkeys(by_type, left),
        degrees_of_freedom=dict.fromkeys([kind for kind in by_type if kind not in ("naive", "robust")], left),
        unavailable=unavailable,
        small_samples=_small_samples(by_type, found.table, frame.back),
    )


def _worth_a_table(n_clusters: float, cov_type: str, rank: int) -> bool:
    """Say whether to keep what Satterthwaite's degrees of freedom need: where it is cheap, or was asked for."""
    asked = _CORRECTIONS.get(cov_type, "robust") != "robust"
    return table_size(rank) <= _LARGEST_TABLE and (asked or table_cost(int(n_clusters), rank) <= _CHEAP_TABLE)


def _small_samples(
    by_type: dict[str, np.ndarray], table: LeverageTable | None, back: np.ndarray
) -> dict[str, ClusterSmallSample]:
    return {
        kind: ClusterSmallSample(
            by_type[kind], correction, table, back, default="normal" if kind == "robust" else "residual"
        )
        for kind, correction in _CORRECTIONS.items()
    }


def _under_design(
    equations: Equations,
    at: Evaluation,
    request: CovarianceRequest,
    design: SurveyDesign,
    unavailable: dict[str, str],
) -> GEECovariances:
    """Return the covariances of a survey with strata or finite populations."""
    assert request.row_numbers is not None
    numbers = request.numbers
    frame = correction_frame(at.bread, request.back, centre=request.centre)
    scores, first_rows = orthonormal_scores(equations, at, frame.root, of_rows=len(design.stages) > 1)
    meat = design_variance(scores, request.row_numbers[first_rows], design)
    robust = frame.covariance(meat)
    left = float(numbers.n_clusters - numbers.n_params)
    by_type = {"naive": _naive(frame, numbers), "robust": robust, "design": robust}
    small_samples = {}
    if "kc" not in unavailable:
        reduced, table = reduced_scores(equations, at, frame.root)
        by_type["kc"] = frame.covariance(design_variance(reduced, request.row_numbers[first_rows], design))
        small_samples["kc"] = ClusterSmallSample(by_type["kc"], "kc", table, frame.back)
    degrees = float(design.degf + 1 - numbers.n_params)
    return GEECovariances(
        by_type=by_type,
        robust_of_columns=frame.root @ meat @ frame.root.T,
        residual_df={"naive": left} | {kind: degrees for kind in by_type if kind != "naive"},
        degrees_of_freedom={kind: degrees for kind in by_type if kind != "naive"},
        unavailable=unavailable,
        small_samples=small_samples,
        design=design.summary(),
    )


def over_replicates(at: Evaluation, request: CovarianceRequest, replicated: ReplicateCovariance) -> GEECovariances:
    """Return the covariances of a fit with replicate weights, whose robust one is that over the replicates.

    Raises
    ------
    ValueError
        If the type chosen cannot be had.
    """
    numbers, back = request.numbers, request.back
    frame = correction_frame(at.bread, back, centre=request.centre)
    covariance = replicated.covariance if back is None else back @ replicated.covariance @ back.T
    why = "the fit has replicate weights: use 'robust' or 'replicate'"
    unavailable = dict.fromkeys((*SMALL_SAMPLE_TYPES, "design"), why)
    if request.cov_type in unavailable:
        raise ValueError(f"cov_type={request.cov_type!r} cannot be had here: {why}.")
    degrees = {"robust": replicated.df, "replicate": replicated.df}
    return GEECovariances(
        by_type={"naive": _naive(frame, numbers), "robust": covariance, "replicate": covariance},
        robust_of_columns=replicated.covariance,
        residual_df={"naive": float(numbers.n_clusters - numbers.n_params), **degrees},
        degrees_of_freedom=degrees,
        unavailable=unavailable,
    )


def _naive(frame: CorrectionFrame, numbers: Numbers) -> np.ndarray:
    return numbers.scale * frame.covariance(np.eye(frame.root.shape[1]))
