"""Quasi-likelihood criteria of a GEE at its solution; definitions and sources in `skdep.inference.criteria`."""

from __future__ import annotations

import numpy as np

from skdep.families import Family
from skdep.gee.equations import Evaluation, GEEData

__all__ = ["criteria_of_sums", "quasi_likelihood_criteria"]


def quasi_likelihood_criteria(data: GEEData, family: Family, at: Evaluation, robust: np.ndarray) -> dict[str, float]:
    """Return ``qic, qicu, cic, quasi_likelihood``.

    Parameters
    ----------
    data : GEEData
        The rows.
    family : Family
        Gives the quasi-likelihood.
    at : Evaluation
        The solution.
    robust : ndarray of shape (p, p)
        Robust covariance of the coefficients of `data.design`.
    """
    rows = family.quasi_likelihood(data.y, at.mu)
    mass = data.row_mass
    scaled = data.design * at.factor[:, None]
    total = float(rows.sum() if mass is None else mass @ rows)
    return criteria_of_sums(total, np.dot(scaled.T, scaled), at.scale, robust)


def criteria_of_sums(
    quasi_likelihood: float, information: np.ndarray, scale: float, robust: np.ndarray
) -> dict[str, float]:
    """Return the criteria from sums over rows.

    Parameters
    ----------
    quasi_likelihood : float
        Quasi-likelihood times phi.
    information : ndarray of shape (p, p)
        Information under independence, times phi.
    scale : float
        phi.
    robust : ndarray of shape (p, p)
        Robust covariance of the coefficients.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        quasi_likelihood = float(np.divide(quasi_likelihood, scale))
        cic = float(np.sum(information * robust) / scale)
    return {
        "qic": -2.0 * quasi_likelihood + 2.0 * cic,
        "qicu": -2.0 * quasi_likelihood + 2.0 * len(information),
        "cic": cic,
        "quasi_likelihood": quasi_likelihood,
    }
