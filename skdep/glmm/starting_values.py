r"""Where a search begins: standard deviations of random effects from the moments of a plain fit's residuals.

With U_j = sum over a level of z d and I_j = sum of z^2 W of a column z at the plain fit, E U_j^2 is about I_j + tau^2
I_j^2, from which tau^2 follows by least squares with weights (1 + tau^2 I_j)^-2. Large effects come out too small,
since the plain fit's coefficients are those of the population; a search makes up for that in a step or two.

References
----------
Breslow and Clayton (1993), Journal of the American Statistical Association 88, 9-25: the quasi-score of a variance.
"""

from __future__ import annotations

import numpy as np

from skdep.glmm.plain import row_multiplicity
from skdep.glmm.rows import GlmmRows

__all__ = ["moment_factors", "widened"]

_SMALLEST, _LARGEST = 0.2, 3.0
_ROUNDS = 4
# Logistic and normal distribution functions are alike at arguments in this ratio (Zeger, Liang and Albert 1988).
_ATTENUATION = (16.0 * np.sqrt(3.0) / (15.0 * np.pi)) ** 2


def moment_factors(rows: GlmmRows, beta: np.ndarray) -> list[np.ndarray]:
    """Return diagonal factors T of each term.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    beta : ndarray of shape (p,)
        Coefficients of the plain fit.
    """
    _, mean, variance = rows.family.derivatives(rows.fixed_predictor(beta), 2)
    residual, variance = rows.outcome - rows.weight * mean, rows.weight * variance
    multiplicity = row_multiplicity(rows)
    result = []
    for term in rows.terms:
        counts = None
        if multiplicity is not None:
            counts = np.zeros(term.n_levels)
            counts[term.codes] = multiplicity
        sizes = [_moment(term.codes, term.n_levels, z * residual, z * z * variance, counts) for z in term.columns]
        result.append(np.diag(np.clip(np.sqrt(sizes), _SMALLEST, _LARGEST)))
    return result


def _moment(
    codes: np.ndarray, n_levels: int, score: np.ndarray, information: np.ndarray, counts: np.ndarray | None
) -> float:
    """Return tau^2 of one column."""
    U, info = np.bincount(codes, score, minlength=n_levels), np.bincount(codes, information, minlength=n_levels)
    result = 0.0
    for _ in range(_ROUNDS):
        weights = (1.0 + result * info) ** -2.0
        if counts is not None:
            weights = weights * counts
        result = max(float(weights @ (U * U - info)) / max(float(weights @ info**2), 1e-300), 0.0)
    return result


def widened(beta: np.ndarray, factors: list[np.ndarray]) -> np.ndarray:
    """Return coefficients given the effects, of coefficients of the population."""
    variance = sum(float(np.sum(T * T)) for T in factors)
    return beta * np.sqrt(1.0 + _ATTENUATION * variance)
