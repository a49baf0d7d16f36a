"""Marginal and conditional R squared of mixed models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skdep._html import frame_html, result_html
from skdep.inference._access import is_posterior
from skdep.inference._shares import fixed_variance, random_effects_model, variance_shares

__all__ = ["R2Result", "r2"]


@dataclass(frozen=True)
class R2Result:
    """Result of `r2`.

    Parameters
    ----------
    marginal : float
        Share of the variance that the features explain.
    conditional : float
        Share of the variance that features and random effects explain.
    fixed_variance : float
        Variance of the fixed part of the linear predictor.
    random_variance : float
        Variance between clusters, all factors together, averaged over rows.
    residual_variance : float
        Variance within clusters.
    """

    marginal: float
    conditional: float
    fixed_variance: float
    random_variance: float
    residual_variance: float

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        names = ("marginal", "conditional", "fixed_variance", "random_variance", "residual_variance")
        return pd.DataFrame({name: getattr(self, name) for name in names}, index=["R squared"])

    def __str__(self) -> str:
        return (
            f"R squared: marginal {self.marginal:.4f} (features), "
            f"conditional {self.conditional:.4f} (features and random effects)"
        )

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame()))


def r2(est: Any) -> R2Result:
    r"""Return how much of the variance features explain, and how much features and random effects together.

    Parameters
    ----------
    est : estimator
        A fitted mixed model, or a pipeline or search around one.

    Returns
    -------
    R2Result
        ``.marginal``, ``.conditional``, and the variances of which they are made.

    Raises
    ------
    TypeError
        If the estimator is no mixed model, or is a posterior.

    Notes
    -----
    With s_f the variance of X beta over the rows of the fit (denominator n - 1, offset left out), s_b the variance that
    the random effects contribute and sigma2 the residual variance,

        marginal = s_f / (s_f + s_b + sigma2),   conditional = (s_f + s_b) / (s_f + s_b + sigma2).

    Where slopes vary, s_b is averaged over rows [2]_. In a logistic model sigma2 is pi^2 / 3, the variance of the
    latent outcome [1]_: the theoretical, or latent, kind of other programs. It is not a measure of prediction: for that
    see `sklearn.model_selection.cross_val_score`.

    References
    ----------
    .. [1] Nakagawa and Schielzeth (2013), A general and simple method for obtaining R2 from generalized linear
       mixed-effects models, Methods in Ecology and Evolution 4, 133-142.
    .. [2] Johnson (2014), Extension of Nakagawa and Schielzeth's R2_GLMM to random slopes models, Methods in Ecology
       and Evolution 5, 944-946.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import r2
    >>> sleep = load_sleepstudy()
    >>> print(r2(MixedLinear().fit(sleep.data, sleep.target, groups=sleep.groups)))
    R squared: marginal 0.2799 (features), conditional 0.7043 (features and random effects)
    """
    inner = random_effects_model(est)
    if is_posterior(inner):
        raise TypeError(
            f"R squared is for mixed models; loo() tells how well a {type(inner).__name__} predicts, and "
            "variance_components where its variances are."
        )
    shares, fixed = variance_shares(inner), fixed_variance(inner)
    between = sum(shares.factors.values())
    total = fixed + between + shares.residual
    marginal, conditional = (
        (float(fixed / total), float((fixed + between) / total)) if total > 0 else (float("nan"), float("nan"))
    )
    return R2Result(marginal, conditional, fixed, float(between), shares.residual)
