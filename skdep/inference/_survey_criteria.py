r"""Information criteria of fits to sampling weights, where a parameter counts as much as its design effect.

References
----------
Lumley and Scott (2015), AIC and BIC for modeling with complex survey data, Journal of Survey Statistics and Methodology
3, 1-18.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdep.inference._likelihood import LikelihoodFit
from skdep.inference._nesting import Extension, extension
from skdep.inference._working_model import WorkingModel, unit_contrasts

__all__ = ["design_bic", "effective_parameters"]


def effective_parameters(fit: LikelihoodFit, working: WorkingModel) -> float:
    """Return the sum of the design effects of all coefficients but the intercept.

    Parameters
    ----------
    fit : LikelihoodFit
        The fit.
    working : WorkingModel
        Its covariances.
    """
    slopes = [name for name in fit.names if name != "Intercept"]
    return float(working.design_effects(unit_contrasts(fit.names, slopes)).sum())


def design_bic(
    fits: Sequence[LikelihoodFit], working: Sequence[WorkingModel], estimates: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Return dBIC of each fit, None if no fit contains all the others.

    Parameters
    ----------
    fits : sequence of LikelihoodFit
        The fits.
    working : sequence of WorkingModel
        Their covariances.
    estimates : sequence of ndarray of shape (p,)
        Their coefficients.
    """
    largest = max(range(len(fits)), key=lambda k: fits[k].n_fixed)
    full = fits[largest]
    added = [_added(fit, full) for fit in fits]
    if any(part is None for part in added):
        return None
    values = [
        -2.0 * full.loglik
        + np.log(full.n_obs) * fit.n_fixed
        + (_lacking(full, part, working[largest], estimates[largest]) if part is not None and part.new_fixed else 0.0)
        for fit, part in zip(fits, added, strict=True)
    ]
    return np.array(values)


def _lacking(full: LikelihoodFit, part: Extension, working: WorkingModel, estimate: np.ndarray) -> float:
    """Return the Wald statistic of what a model lacks, and log determinant of its design effects; NaN if one is 0."""
    contrasts = unit_contrasts(full.names, part.new_fixed)
    effects = working.design_effects(contrasts)
    if not effects.all():
        return np.nan
    missing = contrasts @ estimate
    V = contrasts @ working.covariance @ contrasts.T
    return float(missing @ np.linalg.solve(V, missing) + np.log(effects).sum())


def _added(fit: LikelihoodFit, full: LikelihoodFit) -> Extension | None:
    """Return what the largest model adds to another, None if the other is not nested or not a set of coefficients."""
    try:
        added = extension(fit, full)
    except ValueError:
        return None
    return added if len(added.new_fixed) == added.n_fixed else None
