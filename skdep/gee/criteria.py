"""Quasi-likelihood criteria of a GEE at its solution; definitions and sources in `skdep.inference.criteria`."""

from __future__ import annotations

import numpy as np

from skdep.families import Family
from skdep.gee.equations import Evaluation, GEEData

__all__ = ["quasi_likelihood_criteria"]


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
    with np.errstate(divide="ignore", invalid="ignore"):
        quasi_likelihood = float(np.divide(rows.sum() if mass is None else mass @ rows, at.scale))
        scaled = data.design * at.factor[:, None]
        cic = float(np.sum(np.dot(scaled.T, scaled) * robust) / at.scale)
    return {
        "qic": -2.0 * quasi_likelihood + 2.0 * cic,
        "qicu": -2.0 * quasi_likelihood + 2.0 * data.design.shape[1],
        "cic": cic,
        "quasi_likelihood": quasi_likelihood,
    }
