"""Pseudo R squared of logistic regressions, from likelihoods with and without the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import xlogy

from skdep._html import frame_html, result_html
from skdep.inference._access import unwrap
from skdep.inference._likelihood import pseudo_likelihood_fit

__all__ = ["PseudoR2", "pseudo_r2"]


@dataclass(frozen=True)
class PseudoR2:
    """Result of `pseudo_r2`.

    Parameters
    ----------
    cox_snell : float
        One less the ratio of likelihoods to the power 2 / n; at most ``cox_snell_limit``.
    nagelkerke : float
        The same over its limit.
    mcfadden : float
        One less the ratio of log-likelihoods.
    cox_snell_limit : float
        What `cox_snell` would be of a perfect fit.
    """

    cox_snell: float
    nagelkerke: float
    mcfadden: float
    cox_snell_limit: float

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        names = ("cox_snell", "nagelkerke", "mcfadden", "cox_snell_limit")
        return pd.DataFrame({name: getattr(self, name) for name in names}, index=["Pseudo R squared"])

    def __str__(self) -> str:
        return (
            f"Pseudo R squared: Cox-Snell {self.cox_snell:.4f}, Nagelkerke {self.nagelkerke:.4f}, "
            f"McFadden {self.mcfadden:.4f}"
        )

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame()))


def pseudo_r2(est: Any) -> PseudoR2:
    r"""Return how much likelier the features of a logistic regression make the outcomes, on scales from 0 to 1.

    Parameters
    ----------
    est : LogitRegressor
        A fit without penalty and offset, or a pipeline or search around one.

    Returns
    -------
    PseudoR2
        ``.cox_snell``, ``.nagelkerke``, ``.mcfadden``.

    Raises
    ------
    TypeError
        If the estimator is no `LogitRegressor`.
    ValueError
        If it was fitted with a penalty or an offset, or its features separate the outcomes.

    See Also
    --------
    r2 : Shares of variance that a mixed model explains.

    Notes
    -----
    With l and l0 the log-likelihoods with the features and with the intercept only (without an intercept, with
    probabilities of one half) and n observations, Cox and Snell's is 1 - exp(2 (l0 - l) / n), Nagelkerke's that over
    1 - exp(2 l0 / n), McFadden's 1 - l / l0. Under sampling weights, which then have mean one, the first two estimate
    what they would be in the whole population [1]_.

    References
    ----------
    .. [1] Lumley (2017), Pseudo-R2 statistics under complex sampling, Australian and New Zealand Journal of Statistics
       59, 187-194.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import pseudo_r2
    >>> ohio = load_ohio()
    >>> print(pseudo_r2(LogitRegressor().fit(ohio.data, ohio.target)))
    Pseudo R squared: Cox-Snell 0.0043, Nagelkerke 0.0075, McFadden 0.0050
    """
    inner = unwrap(est)
    if not hasattr(inner, "separated_") or hasattr(inner, "random_covariance_"):
        raise TypeError(f"pseudo_r2 is for LogitRegressor, got {type(inner).__name__}.")
    fit = pseudo_likelihood_fit(est)
    if inner._fitted_with_offset:
        raise ValueError("The fit has an offset: without the rows the model of the intercept only cannot be fitted.")
    share = 0.5 * (1.0 + float(fit.data.outcome[0])) if inner.fit_intercept else 0.5
    null = fit.n_obs * float(xlogy(share, share) + xlogy(1.0 - share, 1.0 - share))
    gained, limit = -np.expm1(2.0 * (null - fit.loglik) / fit.n_obs), -np.expm1(2.0 * null / fit.n_obs)
    return PseudoR2(float(gained), float(gained / limit), float(1.0 - fit.loglik / null), float(limit))
