r"""A fit in two metrics: what its working model believes of the estimates, and what the design says.

A model that takes the rows of a survey, or of clusters, to be independent has the right estimates and the wrong
covariance: V0, its inverse information. With V the right one, the eigenvalues of V0^{-1} V over some coefficients are
the design effects of their linear combinations, and what statistics of the working model are multiplied by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from skdep._fitted import FittedInference
from skdep.inference._access import unwrap

__all__ = ["WorkingModel", "relative_eigenvalues", "working_covariance", "working_model"]

# Eigenvalues below this share of the largest are zero to rounding.
_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True)
class WorkingModel:
    """Covariances of a fit.

    Parameters
    ----------
    naive : ndarray of shape (p, p)
        That of the working model; for families whose variance is known by the mean, with scale 1.
    covariance : ndarray of shape (p, p)
        The one to believe.
    cov_type : str
        Type of the latter.
    scale : float
        By which deviances are divided to go with `naive`.
    """

    naive: np.ndarray
    covariance: np.ndarray
    cov_type: str
    scale: float

    def design_effects(self, contrasts: np.ndarray) -> np.ndarray:
        """Return the design effects of combinations (q, p) of coefficients, the largest first; of a lower rank fewer.

        Raises
        ------
        ValueError
            If the covariance is not finite.
        """
        V = contrasts @ self.covariance @ contrasts.T
        V0 = contrasts @ self.naive @ contrasts.T
        if not np.isfinite(V).all():
            raise ValueError(
                f"The covariance of type {self.cov_type!r} is not finite: there are too few clusters, or sampling "
                "units, to estimate it."
            )
        return relative_eigenvalues(V, V0)


def working_covariance(fitted: FittedInference) -> np.ndarray:
    """Return the covariance (p, p) that the model of the fit implies.

    Raises
    ------
    TypeError
        If the fit has none.
    """
    for name in ("model", "naive"):
        if name in fitted.covariances:
            return fitted.covariances[name]
    raise TypeError(f"The fit has no covariance of its model to compare with, but {sorted(fitted.covariances)}.")


def working_model(est: Any, cov_type: str | None = None) -> WorkingModel:
    """Read both covariances off a fit.

    Parameters
    ----------
    est : estimator
        A fitted estimator, or a pipeline or search around one.
    cov_type : str, optional
        Type of the covariance to believe, by default that of the fit.

    Raises
    ------
    ValueError
        If that is the covariance of the model, or the fit does not have it.
    TypeError
        If the fit has no covariance of its model.
    """
    inner = unwrap(est)
    fitted = inner._inference
    cov_type = cov_type or fitted.cov_type
    naive = working_covariance(fitted)
    if cov_type in ("model", "naive"):
        others = sorted(set(fitted.covariances) - {"model", "naive"})
        raise ValueError(
            f"cov_type={cov_type!r} believes the working model, whose statistics are to be corrected; choose one of "
            f"{others}."
        )
    scale = float(getattr(inner, "scale_", 1.0))
    if hasattr(inner, "_family") and inner._family.natural_scale:
        naive, scale = naive / scale, 1.0
    return WorkingModel(naive, fitted.covariance(cov_type), cov_type, scale)


def relative_eigenvalues(V: np.ndarray, V0: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of V0^{-1} V, the largest first, on the range of V0.

    Parameters
    ----------
    V, V0 : ndarray of shape (q, q)
        Positive semi-definite matrices; V has no more range than V0.
    """
    if not len(V0):
        return np.zeros(0)
    scale = np.sqrt(np.diag(V0))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = linalg.eigh(V0 / np.outer(scale, scale))
    kept = values > _RANK_TOLERANCE * max(values[-1], 0.0)
    root = vectors[:, kept] / np.sqrt(values[kept])
    found = linalg.eigvalsh(root.T @ (V / np.outer(scale, scale)) @ root)[::-1]
    return np.where(found > _RANK_TOLERANCE * found[0], found, 0.0) if found.size else found


def unit_contrasts(names: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Return the contrasts (q, p) that pick coefficients by name."""
    return np.eye(len(names))[[list(names).index(name) for name in chosen]]
