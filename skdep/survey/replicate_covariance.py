"""Covariance of a fit by replicate weights: what an estimator calls, before its fit and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._validation import check_weights
from skdep.base import FitNotes
from skdep.exceptions import ConvergenceWarning, WeightWarning
from skdep.families import Family
from skdep.links import Link
from skdep.survey.replicate_fits import ReplicateFits, fit_replicates
from skdep.survey.replicates import ReplicateWeights, left_out_message

__all__ = ["ReplicateCovariance", "check_replicates", "replicate_covariance"]

# Rows' mean weights over the replicates are the sampling weights, all but for sampling; a coefficient of variation of
# their ratio as large as this says that they are something else.
_ODD_VARIATION = 0.5


@dataclass(frozen=True, slots=True)
class ReplicateCovariance:
    """Covariance of an estimate by replicate weights.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        Covariance.
    df : float
        Degrees of freedom of the replicates, plus one, less the number of parameters.
    fits : ReplicateFits
        The replicates' estimates.
    """

    covariance: np.ndarray
    df: float
    fits: ReplicateFits


def check_replicates(replicates: Any, sample_weight: Any, n_rows: int, notes: FitNotes) -> np.ndarray:
    """Check that replicate weights belong to the rows and to the sampling weights, and return these.

    Parameters
    ----------
    replicates : ReplicateWeights
        What was passed for replicate weights.
    sample_weight : array-like of shape (n_rows,) or None
        Sampling weights; by default those that the replicates were made of. Rows of weight zero are outside the domain,
        whatever their replicate weights.
    n_rows : int
        Number of rows.
    notes : FitNotes
        Takes a warning, of replicate weights that do not look as if they held the sampling weights.

    Returns
    -------
    sample_weight : ndarray of shape (n_rows,)
        Sampling weights.

    Raises
    ------
    ValueError
        If replicates are of other rows, or were made of other sampling weights, or there are none.
    """
    if not isinstance(replicates, ReplicateWeights):
        raise ValueError(
            "replicate_weights must be a ReplicateWeights, which says how a variance is made of the replicates, got "
            f"{type(replicates).__name__}: make it by skdep.survey.replicate_weights, or of a matrix by "
            "skdep.survey.ReplicateWeights(matrix, method=...)."
            f"{read_more('replicate_weights')}"
        )
    if len(replicates) != n_rows:
        raise ValueError(f"replicate_weights have {len(replicates)} rows for {n_rows} rows of data.")
    base = replicates.sample_weight
    if sample_weight is None:
        if base is None:
            raise ValueError(
                "Replicate weights come with the sampling weights of the full sample: pass sample_weight=."
            )
        return base
    weights = check_weights(sample_weight, n_rows)
    assert weights is not None
    inside = weights > 0
    if base is not None:
        ratio = base[inside] / weights[inside]
        if not np.allclose(ratio, ratio[0], rtol=1e-6):
            row = int(np.flatnonzero(inside)[np.argmax(np.abs(ratio / ratio[0] - 1.0))])
            raise ValueError(
                "replicate_weights were made of other sampling weights than sample_weight, as in row "
                f"{row}: {base[row]:g} and {weights[row]:g}. For a domain set weights to zero, and leave the others."
                f"{read_more('replicate_weights')}"
            )
    else:
        ratio = replicates.factors.mean(axis=1)[inside] / weights[inside]
        if ratio.std() > _ODD_VARIATION * ratio.mean():
            notes.warn(
                "The means of the replicate weights are not proportional to the sampling weights. If they are factors "
                "to multiply these with, say so by ReplicateWeights(..., combined=False, sample_weight=...).",
                WeightWarning,
            )
    return weights


def replicate_covariance(
    X: np.ndarray,
    y: np.ndarray,
    replicates: ReplicateWeights,
    estimate: np.ndarray,
    *,
    notes: FitNotes,
    offset: np.ndarray | None = None,
    family: str | Family = "binomial",
    link: str | Link | None = None,
    ridge: np.ndarray | None = None,
) -> ReplicateCovariance:
    """Return the covariance of a fit by replicate weights.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Columns of the linear predictor, of full rank, the intercept's among them; rows outside the domain left out.
    y : ndarray of shape (n_rows,)
        Outcomes.
    replicates : ReplicateWeights
        Weights of these rows.
    estimate : ndarray of shape (p,)
        The estimate under the full sample's weights.
    notes : FitNotes
        Takes warnings: of replicates without an estimate.
    offset : ndarray of shape (n_rows,), optional
        Known part of the linear predictor.
    family : str or Family, default="binomial"
        Family of the outcome.
    link : str or Link, optional
        Link; the family's default if None.
    ridge : ndarray of shape (p,), optional
        Penalty ``0.5 * ridge @ params**2``, as in `fit_replicates`.

    Returns
    -------
    ReplicateCovariance
        Covariance, degrees of freedom, and the replicates' estimates.
    """
    fits = fit_replicates(X, y, replicates, estimate, offset=offset, family=family, link=link, ridge=ridge)
    n_singular, n_failed = int(fits.singular.sum()), int((~fits.converged & ~fits.singular).sum())
    if n_singular or n_failed:
        causes = []
        if n_failed:
            causes.append(f"{n_failed} do not converge to finite ones, as when they are separated")
        if n_singular:
            causes.append(f"in {n_singular} features are collinear, or no rows left, under the replicate's weights")
        notes.warn(
            f"{n_singular + n_failed} of {replicates.n_replicates} replicates have no estimates ({'; '.join(causes)}): "
            f"{left_out_message(replicates)}",
            ConvergenceWarning,
            topic="replicate_weights",
        )
    covariance = replicates.variance_of_found(fits.estimates, estimate)
    return ReplicateCovariance(covariance, replicates.df + 1.0 - X.shape[1], fits)
