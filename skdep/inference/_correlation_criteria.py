r"""Criteria that compare working correlations of one mean model; definitions in `compare_correlations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._threads import threads_over_blocks
from skdep._validation import check_time
from skdep.gee.equations import Equations, Evaluation
from skdep.gee.given_rows import GEEMetadata
from skdep.gee.pooled import Positions, cluster_positions
from skdep.gee.working_correlation import Block
from skdep.inference._marginal import MarginalData, data_of_fit, equations_at_fit
from skdep.inference._whitening import correlation_matrices, log_determinants
from skdep.inference._working_model import relative_eigenvalues

__all__ = ["CRITERIA", "CriteriaOfFit", "criteria_of_fit"]

# By criterion: the value of a fit that could not be better, None where smaller is always better.
CRITERIA: dict[str, float | None] = {
    "qic": None,
    "cic": None,
    "qicc": None,
    "rj": 0.0,
    "dbar": 0.0,
    "agpc": None,
    "sgpc": None,
    "pac": 0.0,
    "ghyc": 0.0,
}

# Determinants of correlation matrices of more rows than this are not computed one by one.
_LARGEST_MATRIX = 1000


@dataclass(frozen=True)
class CriteriaOfFit:
    """What `criteria_of_fit` found.

    Parameters
    ----------
    values : dict
        Criteria by name, NaN for those that the data do not allow.
    unavailable : dict
        Why.
    """

    values: dict[str, float]
    unavailable: dict[str, str]


def criteria_of_fit(fit: Any, X: Any, y: Any, metadata: GEEMetadata, scale: float | None) -> CriteriaOfFit:
    """Compute all criteria of a fitted GEE.

    Parameters
    ----------
    fit : GEERegressor or GEEClassifier
        The fit.
    X, y : array-like
        Its features and outcomes.
    metadata : GEEMetadata
        The rows' metadata.
    scale : float or None
        phi of all criteria; None for that of the fit.
    """
    given = data_of_fit(fit, X, y, metadata)
    phi = fit.scale_ if scale is None else scale
    with threads_over_blocks(given.n_floats) as run:
        equations, at = equations_at_fit(fit, given, run)
        n_association = 0
        if equations.pair_counts.size:
            n_association = len(equations.structure.parameter_names(equations.layouts))
        n_params = given.data.design.shape[1]
        values = {"n_association": float(n_association), "scale": fit.scale_}
        values |= _quasi_likelihood(fit, phi, n_params, n_association, given.rows.n_clusters)
        values |= _closeness(fit, phi)
        unavailable: dict[str, str] = {}
        pseudo = _gaussian_pseudolikelihood(equations, at, phi)
        if isinstance(pseudo, str):
            unavailable |= dict.fromkeys(("agpc", "sgpc"), pseudo)
            pseudo = np.nan
        n_all = n_params + n_association
        per_parameter = float(np.log(given.rows.n_clusters))
        values |= {"agpc": pseudo + 2.0 * n_all, "sgpc": pseudo + per_parameter * n_all}
        moments = _moments(given, equations, at, phi)
        if isinstance(moments, str):
            unavailable |= dict.fromkeys(("pac", "ghyc"), moments)
        values |= _of_moments(moments)
    return CriteriaOfFit(values, unavailable)


def _quasi_likelihood(fit: Any, phi: float, n_params: int, n_association: int, n_clusters: int) -> dict[str, float]:
    """Return the criteria of quasi-likelihood, from those that the fit keeps."""
    kept = fit._criteria
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(fit.scale_, phi))
    likelihood, cic = kept["quasi_likelihood"] * ratio, kept["cic"] * ratio
    qic, k = -2.0 * likelihood + 2.0 * cic, n_params + n_association
    left = n_clusters - k - 1
    return {
        "quasi_likelihood": likelihood,
        "qic": qic,
        "qicu": -2.0 * likelihood + 2.0 * n_params,
        "cic": cic,
        "qicc": qic + 2.0 * k * (k + 1) / left if left > 0 else np.nan,
    }


def _closeness(fit: Any, phi: float) -> dict[str, float]:
    """Return how near the robust covariance is to the naive one: means of eigenvalues of their ratio, and of squares.

    Of a fit that is right all eigenvalues are near 1.
    """
    covariances = fit._inference.covariances
    if not (np.isfinite(covariances["robust"]).all() and fit.scale_ > 0):
        return dict.fromkeys(("c1", "c2", "rj", "dbar"), np.nan)
    values = relative_eigenvalues(covariances["robust"], covariances["naive"]) * (fit.scale_ / phi)
    c1, c2 = float(values.mean()), float(np.mean(values**2))
    return {"c1": c1, "c2": c2, "rj": float(np.hypot(1.0 - c1, 1.0 - c2)), "dbar": c2 - 2.0 * c1 + 1.0}


def _gaussian_pseudolikelihood(equations: Equations, at: Evaluation, phi: float) -> float | str:
    """Return -2 times the log density of residuals, were they normal with covariances V_i; or why it is not known."""
    data, structure = equations.data, equations.structure

    def determinants(item: tuple[tuple[slice, Block], Any]) -> float | None:
        (rows, part), layout = item
        logs = log_determinants(structure, layout, at.association, part.clusters, largest=_LARGEST_MATRIX)
        if logs is None:
            return None
        return float(logs.sum() if data.counts is None else data.counts[rows][part.clusters.starts] @ logs)

    parts = list(equations.run(determinants, zip(data.blocks, equations.layouts, strict=True)))
    if any(part is None for part in parts):
        return f"determinants of working correlations of more than {_LARGEST_MATRIX} rows are not computed"

    def squares(part: Any) -> float:
        counts = 1.0 if part.counts is None else part.clusters.spread(part.counts)
        return float(np.sum(counts * part.columns[:, -1] ** 2))

    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(2.0 * np.pi * phi * equations.model.family.variance(at.mu))
        if data.weights is not None:
            logs = logs - np.log(data.weights)
        total = float(logs.sum() if data.counts is None else data.counts @ logs)
        return total + sum(parts) + sum(equations.over_white_blocks(at, squares)) / float(phi)


def _moments(
    given: MarginalData, equations: Equations, at: Evaluation, phi: float
) -> tuple[np.ndarray, np.ndarray] | str:
    """Return mean products of residuals (T, T), and mean working covariances, over clusters that have both positions.

    A string says why there are none.
    """
    positions = _positions(given)
    if isinstance(positions, str):
        return positions
    data, size = equations.data, positions.n_positions
    deviation = np.sqrt(phi * equations.model.family.variance(at.mu))
    if data.weights is not None:
        deviation = deviation / np.sqrt(data.weights)
    residual = data.y - at.mu

    def sums(item: tuple[tuple[slice, Block], Any]) -> np.ndarray:
        (rows, part), layout = item
        clusters, place = part.clusters, positions.of(rows)
        counts = np.ones(clusters.n_clusters) if data.counts is None else data.counts[rows][clusters.starts]
        found = np.zeros((3, size, size))
        for which, matrices in correlation_matrices(equations.structure, layout, at.association, clusters):
            at_rows = clusters.starts[which, None] + np.arange(matrices.shape[1])
            of_pair = place[at_rows][:, :, None] * size + place[at_rows][:, None, :]
            repeats = counts[which, None, None]
            for number, values in enumerate((residual[rows], deviation[rows], np.ones(len(place)))):
                products = repeats * values[at_rows][:, :, None] * values[at_rows][:, None, :]
                if number == 1:
                    products = products * matrices
                found[number] += np.bincount(of_pair.ravel(), products.ravel(), size * size).reshape(size, size)
        return found

    residuals, working, pairs = np.add.reduce(
        list(equations.run(sums, zip(data.blocks, equations.layouts, strict=True)))
    )
    if (pairs == 0).any():
        return "some pairs of positions never occur in one cluster"
    return residuals / pairs, working / pairs


def _positions(given: MarginalData) -> Positions | str:
    """Return the positions that clusters share: times where there are any, else places in the cluster."""
    times = None
    if given.structure.needs_time:
        times = np.concatenate([block.time for _, block in given.rows.blocks if block.time is not None])
    elif given.metadata.time is not None:
        time = check_time(given.metadata.time, given.n_given)
        times = None if time is None else time[given.caller_rows]
    found = cluster_positions(given.rows.clusters, times)
    return found.replace("it pools", "they compare") if isinstance(found, str) else found


def _of_moments(moments: tuple[np.ndarray, np.ndarray] | str) -> dict[str, float]:
    """Compare mean products of residuals with mean working covariances."""
    if isinstance(moments, str):
        return {"pac": np.nan, "ghyc": np.nan}
    unit = np.sqrt(np.diag(moments[1]))  # neither depends on units, but rounding does
    residuals, working = (part / np.outer(unit, unit) for part in moments)
    try:
        ratio = np.linalg.solve(working, residuals)
    except np.linalg.LinAlgError:
        return {"pac": np.nan, "ghyc": np.nan}
    difference = ratio - np.eye(len(ratio))
    return {"pac": float(abs(np.linalg.det(ratio) - 1.0)), "ghyc": float(np.trace(difference @ difference))}
