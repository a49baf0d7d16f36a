"""What the displays ask of a fitted model: random effects by name, predictions, standard deviations of residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from skdep.clusters import encode_factors, factor_names
from skdep.formula.raw_rows import features_of
from skdep.inference._access import unwrap

__all__ = [
    "conditioning",
    "effect_name",
    "effect_number",
    "factor_codes",
    "factor_deviation",
    "last_step",
    "only_factor",
    "regressor_within",
    "target_name",
]

# Below this share of information about every level a variance is zero but for rounding: the search stops near the
# boundary, and the share does not depend on units.
_NO_INFORMATION = 1e-8


def last_step(est: Any, X: Any) -> tuple[Any, Any]:
    """Return the estimator within pipelines and searches, and X as it reaches it: features, if X is raw data."""
    if hasattr(est, "best_estimator_"):
        return last_step(est.best_estimator_, X)
    if hasattr(est, "steps"):
        check_is_fitted(est)
        return last_step(est.steps[-1][1], est[:-1].transform(X) if len(est.steps) > 1 else X)
    inner = unwrap(est)
    return inner, features_of(inner, X)


def regressor_within(est: Any, caller: str) -> Any:
    """Return the fitted regressor within pipelines and searches; a classifier raises TypeError."""
    model = unwrap(est)
    if not is_regressor(model):
        raise TypeError(
            f"{caller} shows outcomes that are numbers; {type(model).__name__} predicts classes, whose residuals take "
            "two values in each row. Draw quantile residuals (kind='quantile' of ResidualsDisplay and QQDisplay), or "
            "means over many rows by BinnedResidualsDisplay."
        )
    return model


def conditioning(groups: Any, *, conditional: bool) -> Any:
    """Return the groups that predictions are given, None for those of the population."""
    if conditional and groups is None:
        raise ValueError("conditional=True asks for predictions given the effects of groups, and groups are missing.")
    return groups if conditional else None


def only_factor(model: Any, factor: str | None, caller: str) -> str:
    """Return the name of a grouping factor of `model`, by default the only one.

    Parameters
    ----------
    model : estimator
        Fitted estimator.
    factor : str or None
        Name of the factor.
    caller : str
        Who asks, for messages.
    """
    if not hasattr(model, "random_effects_"):
        raise TypeError(
            f"{caller} shows random effects, and {type(model).__name__} has none; fit a mixed model: MixedLinear or "
            "MixedLogit."
        )
    known = list(model.random_effects_)
    if not known:
        raise ValueError(
            f"{caller} shows random effects, but this {type(model).__name__} was fitted without groups and has none; "
            "fit it with fit(X, y, groups=...)."
        )
    listed = ", ".join(repr(name) for name in known)
    if factor is None and len(known) > 1:
        raise ValueError(f"The model has {len(known)} grouping factors: {listed}. Say which by factor=.")
    if factor is not None and factor not in known:
        raise ValueError(f"factor={factor!r} is no grouping factor of the model; it has {listed}.")
    return known[0] if factor is None else factor


def effect_number(names: tuple[str, ...], effect: str | None, factor: str, *, parameter: str) -> int:
    """Return the column of a random effect, by default the first; an unknown name raises ValueError."""
    if effect is None:
        return 0
    if effect not in names:
        listed = ", ".join(repr(name) for name in names)
        raise ValueError(f"{parameter}={effect!r} is no random effect of {factor!r}; it has {listed}.")
    return names.index(effect)


def effect_name(name: str) -> str:
    """Return how a random effect is called in a picture."""
    return name if name == "Intercept" else f"Slope of {name}"


def factor_deviation(model: Any, factor: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return effects, their conditional standard deviations and variances: (levels, q), (levels, q), (q,).

    Effects whose variance was estimated as zero, but for rounding, are exactly zero in all three.
    """
    effects, sds = model.random_effects_[factor], model.random_effects_sd_[factor]
    variance = np.diag(model.random_covariance_[factor]).copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = 1.0 - sds**2 / variance
    exists = (variance > 0.0) & (np.nan_to_num(information).max(axis=0, initial=0.0) > _NO_INFORMATION)
    return np.where(exists, effects, 0.0), np.where(exists, sds, 0.0), np.where(exists, variance, 0.0)


def factor_codes(model: Any, factor: str, groups: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find one grouping factor in `groups`.

    Parameters
    ----------
    model : estimator
        Fitted mixed model.
    factor : str
        Name of the factor.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors)
        Labels: all factors of the model, by name or in order, or this one alone.
    n_rows : int
        Number of rows.

    Returns
    -------
    codes : ndarray of shape (n_rows,)
        Number of each row's label.
    labels : ndarray of shape (n_labels,)
        The labels that occur.
    known : ndarray of shape (n_labels,)
        Row of each label in the model's random effects, -1 if it was not seen in fit.
    """
    import pandas as pd

    if groups is None:
        raise ValueError(f"groups is missing: the labels of {factor!r} say which rows belong to which line.")
    names, order = factor_names(groups), list(model.levels_)
    encoded = encode_factors(groups, n_rows)
    if factor in names:
        position = names.index(factor)
    elif len(names) == 1:
        position = 0
    elif len(names) == len(order):
        position = order.index(factor)
    else:
        raise ValueError(f"groups has {len(names)} columns, none of which is named {factor!r}; factors are {order}.")
    codes, labels, _ = encoded[position]
    return codes, labels, pd.Index(model.levels_[factor]).get_indexer(pd.Index(labels))


def target_name(y: Any) -> str:
    """Return the name of the outcome: of a Series, of a single column, else ``"y"``."""
    columns = list(getattr(y, "columns", []))
    name = columns[0] if len(columns) == 1 else getattr(y, "name", None)
    return "y" if name is None else str(name)
