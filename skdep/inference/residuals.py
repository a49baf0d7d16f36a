"""Residuals of rows under a fitted model."""

from __future__ import annotations

from typing import Any

from skdep._validation import check_weights
from skdep.formula.raw_rows import features_of, offset_of
from skdep.inference._features import last_step
from skdep.inference._residual_values import KINDS, residual_values

__all__ = ["residuals"]


def residuals(
    est: Any,
    X: Any,
    y: Any,
    *,
    kind: str = "response",
    groups: Any = None,
    offset: Any = None,
    sample_weight: Any = None,
    random_state: Any = None,
) -> Any:
    r"""Return the residuals of rows, of the fit or others.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features)
        Rows, as `est` takes them.
    y : array-like of shape (n_rows,)
        Outcomes; of a classifier labels, of which ``classes_[1]`` counts as 1.
    kind : {"response", "pearson", "deviance", "working", "standardised", "quantile"}, default="response"
        Which residuals, see Notes.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
        Labels of the grouping factors, for residuals conditional on random effects; without them residuals are those of
        the population. Marginal models do not use them.
    offset : array-like of shape (n_rows,), optional
        Known part of the linear predictor.
    sample_weight : array-like of shape (n_rows,), optional
        Weights that say how exact an outcome is: numbers of trials of shares, or precisions. Frequencies and sampling
        weights do not; leave them out.
    random_state : int, RandomState instance or None, default=None
        Source of randomness of quantile residuals of discrete outcomes.

    Returns
    -------
    residuals : Series of shape (n_rows,)
        Residuals, with the index of X, or else of y; its name is `kind`. NaN where the model predicts no mean.

    Raises
    ------
    ValueError
        If `kind` is not known, rows are malformed, y has labels that the model does not know, or the residual variance
        is zero.
    TypeError
        If quantile residuals are asked of a family that is no distribution.

    See Also
    --------
    skdep.plotting.ResidualsDisplay : Residuals against fitted values or a feature.
    influence : Clusters that make the result.

    Notes
    -----
    With the mean mu, the variance function V, the link g and the unit deviance d of the family, and weights w:

    ============  ==========================================
    response      y - mu
    pearson       (y - mu) (w / V(mu))^(1/2)
    deviance      sign(y - mu) (w d(y, mu))^(1/2)
    working       (y - mu) g'(mu)
    standardised  (y - mu) / sd(y), under the model
    quantile      normal quantile of F(y), F under the model
    ============  ==========================================

    The first four are those of R's ``glm`` [1]_: Pearson residuals are **not** divided by the scale. Standardised ones
    are: the standard deviation has the scale, or the residual variance, and without `groups` that of the random
    effects. In a linear model Pearson and deviance residuals are those of the response times the root of w. Quantile
    residuals [2]_ are standard normal if the model is right; where y is discrete they draw a number evenly within the
    jump of F, and standardised residuals serve in linear models.

    Means of a logistic mixed model are probabilities averaged over the random effects, or given those of known levels;
    those of a `BayesLogit` are posterior predictive.

    References
    ----------
    .. [1] McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., Chapman and Hall, section 2.4.
    .. [2] Dunn and Smyth (1996), Randomized quantile residuals, Journal of Computational and Graphical Statistics 5,
       236-244.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import residuals
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> residuals(model, sleep.data, sleep.target, groups=sleep.groups).head(3).round(2).tolist()
    [-4.1, -14.63, -42.2]
    >>> scaled = residuals(model, sleep.data, sleep.target, groups=sleep.groups, kind="standardised")
    >>> scaled.abs().nlargest(2).round(1).to_dict()
    {56: 5.2, 7: 4.0}
    """
    import pandas as pd

    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}.")
    index = X.index if hasattr(X, "columns") and hasattr(X, "index") else getattr(y, "index", None)
    offset = offset_of(est, X, offset)
    model, rows = last_step(est, X)
    rows = features_of(model, rows)
    weights = check_weights(sample_weight, len(rows))
    found = residual_values(model, rows, y, groups, offset, weights, kind=kind, random_state=random_state)
    return pd.Series(found.residuals, index=index if isinstance(index, pd.Index) else None, name=kind)
