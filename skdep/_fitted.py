"""What a fit leaves behind for inference: estimates and covariances, small arrays only, never the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._fingerprint import DataFingerprint
from skdep.survey.design import DesignSummary

__all__ = ["FittedInference"]


@dataclass(frozen=True)
class FittedInference:
    """Estimates, their covariance matrices by type, and degrees of freedom.

    Parameters
    ----------
    names : tuple of str
        ``"Intercept"`` first, if there is one, then the features.
    estimate : ndarray of shape (p,)
        Estimates in the order of `names`.
    covariances : mapping from str to ndarray of shape (p, p)
        Covariance of the estimates under every type that the fit supports.
    cov_type : str
        The type chosen at fit.
    aliased : ndarray of bool of shape (p,)
        Coefficients that are not separately estimable, because features are collinear.
    degrees_of_freedom : mapping from str to float
        Default degrees of freedom by covariance type; a type not in it has the normal distribution.
    residual_df : mapping from str to float
        By covariance type: observations (for clustered covariances clusters) less parameters.
    n_obs : float
        Number of observations: rows of positive weight, or the sum of frequency weights.
    n_clusters : int or None
        Number of clusters, None without groups.
    facts : mapping from str to str
        Further lines for the head of the summary.
    notes : tuple of str
        Warnings that the fit gave.
    small_sample : SmallSampleInference or None
        What has further degrees of freedom, and covariances adjusted for small samples, to offer.
    data : DataFingerprint or None
        What tells fits of the same data from others.
    design : DesignSummary or None
        The survey design of a design-based fit.
    small_samples : mapping from str to SmallSampleInference
        What further types of covariance have to offer for small samples, as `small_sample` for type ``"model"``.
    unavailable : mapping from str to str
        Why the fit lacks types of covariance that others of its kind have.
    """

    names: tuple[str, ...]
    estimate: np.ndarray
    covariances: Mapping[str, np.ndarray]
    cov_type: str
    aliased: np.ndarray
    degrees_of_freedom: Mapping[str, float]
    residual_df: Mapping[str, float]
    n_obs: float
    n_clusters: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    small_sample: Any = None
    data: DataFingerprint | None = None
    design: DesignSummary | None = None
    small_samples: Mapping[str, Any] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)

    def small_sample_of(self, cov_type: str | None = None) -> Any:
        """Return what a type of covariance has to offer for small samples, by default that of the fit; None if nothing.

        It has ``covariance(method)``, the matrix that goes with a method; ``contrast_df(contrasts, method)``, degrees
        of freedom of each; ``joint_df(contrasts, method)``, denominator degrees of freedom of the F test of all, and
        what to multiply F by; and ``default``, the method or degrees of freedom used unless told otherwise.
        """
        cov_type = self.cov_type if cov_type is None else cov_type
        return self.small_sample if cov_type == "model" else self.small_samples.get(cov_type)

    def described(self, facts: Mapping[str, str], notes: Sequence[str]) -> FittedInference:
        """Return the same with facts and notes for the summary."""
        return replace(self, facts=dict(facts), notes=tuple(notes))

    def covariance(self, cov_type: str | None = None) -> np.ndarray:
        """Return the covariance matrix (p, p) of a type; a type that the fit lacks raises ValueError."""
        cov_type = self.cov_type if cov_type is None else cov_type
        if cov_type not in self.covariances:
            why = self.unavailable.get(cov_type)
            reason = "Clustered types need `groups` at fit." if why is None else f"As to {cov_type!r}, {why}."
            raise ValueError(
                f"cov_type={cov_type!r} is not available for this fit; it has {sorted(self.covariances)}. {reason}"
                f"{read_more('standard_errors')}"
            )
        return self.covariances[cov_type]
