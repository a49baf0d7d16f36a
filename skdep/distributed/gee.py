"""Generalized estimating equations fitted to chunks of whole clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sklearn.base import is_classifier

from skdep._basis import Basis
from skdep._outcome import encode_binary
from skdep.base import FitNotes
from skdep.distributed.chunks import Chunk
from skdep.distributed.gee_chunk import Spec, chunk_rows, prepare, validated
from skdep.distributed.gee_equations import ChunkedEquations
from skdep.distributed.progress import Passes
from skdep.distributed.runners import Runner
from skdep.distributed.scan import DataScan
from skdep.exceptions import ConvergenceWarning, SeparationWarning
from skdep.families import Binomial, Family, get_family
from skdep.gee.checks import FitChecks, check_not_at_boundary
from skdep.gee.covariance import CovarianceRequest, gee_covariances
from skdep.gee.criteria import criteria_of_sums
from skdep.gee.equations import Model
from skdep.gee.scoring import ScoringResult, solve_equations
from skdep.gee.small_sample import Numbers
from skdep.gee.working_correlation import WorkingCorrelation, get_working_correlation
from skdep.links import get_link
from skdep.separation import no_separation_certified

__all__ = ["fit_gee"]


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the estimator asks of its rows, as `skdep.gee.rows.GEERows` answers for rows in memory."""

    scan: DataScan
    n_clusters: int
    waves: np.ndarray | None
    weighted: bool

    @property
    def grouped(self) -> bool:
        """Whether groups were given."""
        return self.scan.clustered

    @property
    def factor_name(self) -> str:
        """Name of the grouping factor."""
        return self.scan.whole.factor_name

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.scan.whole.n_rows

    @property
    def sizes(self) -> np.ndarray:
        """Least and greatest size of a cluster."""
        return np.array(self.scan.whole.sizes)

    def fingerprint(self) -> None:
        """Return nothing: of chunks no fingerprint is taken."""


class _Checks(FitChecks):
    """Checks of a fit over chunks, whose evaluations know the range of means only."""

    def _separation(self) -> bool:
        start, equations = self.start, cast(ChunkedEquations, self.start.equations)
        if equations.model.link.name == "logit":
            decrement = start.decrement * np.sqrt(start.equations.data.n_obs * max(start.at.scale, 1.0))
            if no_separation_certified(decrement, start.at.bread, equations.squares):
                return True
        elif start.converged and start.at.mu[0] > 1e-8 and start.at.mu[1] < 1.0 - 1e-8:
            return True
        self.notes.warn(
            "It could not be ruled out that some estimates are infinite (separation), which only rows in memory can "
            "tell: look for huge standard errors.",
            SeparationWarning,
        )
        return True

    def _vanishing_means(self) -> bool:
        least = 1e-12 * self.result.equations.mean_outcome()
        if min(self.result.at.mu[0], self.start.at.mu[0]) >= least:
            return True
        self.notes.warn(
            "Some fitted means are 0 to rounding: some coefficients are infinite. Drop or merge the features whose "
            "rows have outcomes of 0 only.",
            ConvergenceWarning,
            topic="separation",
        )
        return False


def fit_gee(est: Any, runner: Runner, scan: DataScan, passes: Passes, notes: FitNotes, first: Chunk) -> None:
    """Fit a GEE to chunks.

    Parameters
    ----------
    est : GEERegressor or GEEClassifier
        The estimator, which knows the names of features; gets the fitted attributes.
    runner : Runner
        The chunks.
    scan : DataScan
        What is known of all of them.
    passes : Passes
        Counts passes over the data.
    notes : FitNotes
        Takes warnings.
    first : Chunk
        The first chunk, for warnings on what all chunks share.
    """
    structure = get_working_correlation(est.working_correlation)
    family = _family(est, scan)
    link = family.default_link() if est.link is None else get_link(est.link)
    est._family, est._link, est._link_name = family, link, link.name
    checked, y = validated(first, 0, est, family)
    rows = chunk_rows(checked, est, structure, notes, y)
    waves = scan.whole.times if structure.needs_waves and len(scan.whole.times) else rows.waves
    unit = rows.blocks[0][1].time_unit if rows.blocks else 1.0
    model = Model(family, link, est.scale, est.dof)
    coordinates = scan.coordinates(fit_intercept=bool(est.fit_intercept))
    spec = Spec(est, model, structure, coordinates, scan.mean_weight, waves, unit, est.tol)
    est._fitted_with_offset = "offset" in scan.whole.given
    n_params = coordinates.back.shape[1]
    prepared = runner.prepare(prepare, spec)

    def make(kind: WorkingCorrelation) -> ChunkedEquations:
        return ChunkedEquations(prepared, model, kind, est.tol, passes, n_params)

    result, start = solve_equations(make, structure, max_iter=est.max_iter, tol=est.tol)
    equations: Any = result.equations
    basis = Basis(np.zeros((0, 0)), coordinates.back, coordinates.aliased)
    stand_in: Any = _Rows(scan, int(equations.n_clusters), waves, "sample_weight" in scan.whole.given)
    covariances = gee_covariances(equations, result.at, _request(est, equations, result, basis, scan))
    quasi, information = equations.criteria_sums(result.at)
    criteria = criteria_of_sums(quasi, information, result.at.scale, covariances.robust_of_columns)
    est._store(equations.data.n_obs, stand_in, basis, covariances, result, criteria, notes)
    features = est._parameter_names()[int(est.fit_intercept) :]
    checks = _Checks(type(est).__name__, stand_in, result, start, features, est.fit_intercept, notes)
    est._conclude(checks, stand_in, covariances, notes)


def _family(est: Any, scan: DataScan) -> Family:
    """Return the family, and learn the classes of a classifier; outcomes must not all be at the end of the range."""
    if is_classifier(est):
        est.classes_ = encode_binary(scan.whole.labels, None)[0]
        return Binomial()
    family = get_family(est.family)
    check_not_at_boundary(np.array(scan.whole.y_range), family)
    return family


def _request(
    est: Any, equations: ChunkedEquations, result: ScoringResult, basis: Basis, scan: DataScan
) -> CovarianceRequest:
    names = equations.structure.parameter_names(equations.layouts) if equations.pair_counts.size else ()
    numbers = Numbers(
        n_obs=equations.data.n_obs,
        n_clusters=equations.n_clusters,
        n_params=equations.data.n_params,
        n_association=len(names),
        scale=result.at.scale,
        scale_is_estimated=est.scale is None,
    )
    return CovarianceRequest(
        back=basis.back,
        centre=equations.feature_means if est.fit_intercept else None,
        cov_type=est.cov_type,
        numbers=numbers,
        sampling=est.weight_type == "sampling",
        n_units=scan.whole.n_units,
        positions="it pools residuals over all clusters, which are not in memory",
    )
