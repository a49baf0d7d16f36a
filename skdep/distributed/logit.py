"""`LogitRegressor` over chunks: Newton's method needs sums over rows, whatever holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._basis import Basis, Coordinates
from skdep._linalg import scaled_inverse
from skdep._outcome import encode_binary
from skdep.base import FitNotes
from skdep.clusters import Clusters
from skdep.distributed.chunks import Chunk
from skdep.distributed.progress import Passes
from skdep.distributed.runners import Runner
from skdep.distributed.scan import DataScan, check_chunk
from skdep.logit.covariance import LogitCovariances, score_sums
from skdep.logit.kernel import FinalSummary, LogisticData, Summary
from skdep.logit.newton import maximise
from skdep.sandwich import finite_sample_factor, sandwich
from skdep.survey.design import DesignSummary

__all__ = ["fit_logit"]

# Rows of all chunks that give the iterations a start.
_ROWS_OF_START = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A chunk in the coordinates of the fit."""

    data: LogisticData
    clusters: Clusters | None

    @property
    def n_bytes(self) -> int:
        """Size of the rows."""
        return self.data.X.nbytes + 4 * self.data.sign.nbytes


@dataclass(frozen=True, slots=True)
class _Spec:
    """What a chunk must know of all chunks."""

    est: Any
    classes: np.ndarray
    coordinates: Coordinates
    mean_weight: float


def _prepare(chunk: Chunk, number: int, spec: _Spec) -> _Part:
    est = spec.est
    rows = check_chunk(chunk, number, est)
    weights = rows.weights
    if weights is not None and est.weight_type == "sampling":
        weights = weights / spec.mean_weight
    sign = np.where(rows.y == spec.classes[1], 1.0, -1.0)
    X = np.dot(rows.X - spec.coordinates.centre, spec.coordinates.into)
    clusters = None if rows.codes is None else Clusters.from_codes(rows.codes, np.arange(int(rows.codes.max()) + 1))
    return _Part(LogisticData(X, sign, weights, rows.offset, bool(est.fit_intercept)), clusters)


def _summary(part: _Part, params: np.ndarray) -> Summary:
    return part.data.summary(params)


def _firth(part: _Part, params: np.ndarray, root: np.ndarray) -> np.ndarray:
    return part.data.firth_score(params, root)


def _every(part: _Part, step: int) -> LogisticData:
    return part.data.every(step)


def _final(part: _Part, params: np.ndarray, squared_weights: bool) -> tuple[FinalSummary, np.ndarray | None]:
    final = part.data.final(params, squared_weights=squared_weights)
    if part.clusters is None:
        return final, None
    scores = score_sums(part.data, params, part.clusters)
    return final, np.dot(scores.T, scores)


class _ChunkedData:
    """Sums over the rows of all chunks, as `skdep.logit.kernel.LogisticData` gives them of rows in memory."""

    def __init__(self, runner: Runner, n_params: int, scan: DataScan, passes: Passes, *, fit_intercept: bool):
        self.runner, self.n_params, self.scan, self.passes = runner, n_params, scan, passes
        self.n_rows, self.fit_intercept = scan.whole.n_rows, fit_intercept

    @property
    def total_weight(self) -> float:
        """Sum of weights; of sampling weights the number of rows."""
        return self.passes.total_weight

    def every(self, step: int) -> LogisticData:
        """Return some rows of every chunk, at most one in `step`."""
        step = max(step, -(-self.n_rows // _ROWS_OF_START))
        parts = list(self.passes.over(self.runner.map(_every, step)))
        first = parts[0]
        return LogisticData(
            np.concatenate([part.X for part in parts]),
            np.concatenate([part.sign for part in parts]),
            None if first.weights is None else np.concatenate([part.weights for part in parts]),
            None if first.offset is None else np.concatenate([part.offset for part in parts]),
            first.fit_intercept,
        )

    def summary(self, params: np.ndarray) -> Summary:
        """Return log-likelihood, score and information."""
        parts = list(self.passes.over(self.runner.map(_summary, params)))
        return Summary(*(np.add.reduce(column) for column in zip(*parts, strict=True)))

    def firth_score(self, params: np.ndarray, inverse_root: np.ndarray) -> np.ndarray:
        """Return the score's bias correction."""
        return np.add.reduce(list(self.passes.over(self.runner.map(_firth, params, inverse_root))))

    def final(self, params: np.ndarray, *, squared_weights: bool) -> tuple[FinalSummary, np.ndarray | None]:
        """Return the sums that covariance matrices need, and the meat of clustered scores."""
        parts = list(self.passes.over(self.runner.map(_final, params, squared_weights)))
        final = FinalSummary(*(np.add.reduce(column) for column in zip(*(part[0] for part in parts), strict=True)))
        return final, None if parts[0][1] is None else np.add.reduce([part[1] for part in parts])


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the estimator asks of its rows, as `skdep.logit.rows.LogitRows` answers for rows in memory."""

    scan: DataScan
    sampling: bool
    weighted: bool
    n_obs: float

    @property
    def clustered(self) -> bool:
        """Whether there are clusters."""
        return self.scan.clustered

    @property
    def n_rows(self) -> int:
        """Number of rows of positive weight."""
        return self.scan.whole.n_rows

    def n_clusters(self, cov_type: str) -> int | None:
        """Return the number of clusters; None without clusters."""
        return self.scan.whole.n_clusters if self.clustered else None

    def sizes(self) -> dict[str, str]:
        """Say how many clusters of which sizes there are."""
        return {self.scan.whole.factor_name: self.scan.sizes()} if self.clustered else {}

    def fingerprint(self) -> None:
        """Return nothing: of chunks no fingerprint is taken."""

    def design_summary(self) -> DesignSummary | None:
        """Return what the fit remembers of its design; None without sampling weights."""
        if not self.sampling:
            return None
        n_psus = self.n_clusters("design") or self.n_rows
        return DesignSummary(n_psus, 1, n_psus - 1, 1, False, False, (), "fail")


def fit_logit(est: Any, runner: Runner, scan: DataScan, passes: Passes, notes: FitNotes, first: Chunk) -> None:
    """Fit a `LogitRegressor` to chunks.

    Parameters
    ----------
    est : LogitRegressor
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
        Not used.
    """
    est.classes_ = encode_binary(scan.whole.labels, None)[0]
    fit_intercept, sampling = bool(est.fit_intercept), est.weight_type == "sampling"
    coordinates = scan.coordinates(fit_intercept=fit_intercept)
    ridge = None
    if est.penalty == "l2":
        # the penalty is on the user's coefficients: only centring leaves it what it is
        n_features = len(scan.whole.mean)
        plain = np.eye(n_features + fit_intercept)
        if fit_intercept:
            plain[0, 1:] = -scan.whole.mean
        none = np.zeros(n_features + fit_intercept, dtype=bool)
        coordinates = Coordinates(coordinates.centre, np.eye(n_features), plain, none)
        ridge = np.full(n_features + fit_intercept, 1.0 / est.C)
        ridge[:fit_intercept] = 0.0
    n_params = coordinates.back.shape[1]
    rows = _Rows(
        scan,
        sampling,
        "sample_weight" in scan.whole.given,
        float(scan.whole.n_rows) if sampling else scan.whole.total_weight,
    )
    passes.total_weight = rows.n_obs
    prepared = runner.prepare(_prepare, _Spec(est, est.classes_, coordinates, scan.mean_weight))
    data: Any = _ChunkedData(prepared, n_params, scan, passes, fit_intercept=fit_intercept)
    est._fitted_with_offset = "offset" in scan.whole.given
    cov_type = est._resolve_cov_type(rows)
    fit = maximise(
        data, ridge=ridge, firth=est.penalty == "firth", check_rank=False, max_iter=est.max_iter, tol=est.tol
    )
    covariances = _covariances(data, fit, rows, scan)
    basis = Basis(np.zeros((0, 0)), coordinates.back, coordinates.aliased)
    est._store(fit, basis, covariances, rows, cov_type, notes)
    est._conclude(fit, covariances, rows, None, notes)


def _covariances(data: _ChunkedData, fit: Any, rows: _Rows, scan: DataScan) -> LogitCovariances:
    """Return the covariances by type, as `skdep.logit.covariance.logit_covariances` does for rows in memory."""
    final, clustered = data.final(fit.params, squared_weights=rows.sampling)
    bread = scaled_inverse(final.information + fit.hessian - fit.information)
    robust = sandwich(bread, final.meat)
    degrees = rows.n_obs - data.n_params
    by_type = {
        "model": sandwich(bread, final.information),
        "hc0": robust,
        "hc1": robust * (rows.n_obs / degrees if degrees > 0 else np.nan),
    }
    meat = final.meat
    if clustered is not None:
        meat = clustered
        by_type["cluster"] = finite_sample_factor(scan.whole.n_clusters) * sandwich(bread, meat)
    if rows.sampling:
        # penalised scores do not add up to zero
        total = data.summary(fit.params).score
        centred = meat - np.outer(total, total) / scan.whole.n_units
        by_type["design"] = finite_sample_factor(scan.whole.n_units) * sandwich(bread, centred)
    return LogitCovariances(
        by_type, float(final.loglik), final.squares, False, {"cr2": "it is not computed over chunks: use 'cluster'"}
    )
