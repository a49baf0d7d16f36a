"""Rows along one feature, the other features held, and the predictions there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from skdep._validation import numeric_rows
from skdep.formula.raw_rows import offset_of
from skdep.plotting._models import last_step

__all__ = ["as_frame", "feature_number", "feature_values", "held_rows", "population_and_fitted"]


def as_frame(X: Any) -> Any:
    """Return X as a DataFrame; columns of an array are named x0, x1, ..., as in tables of coefficients."""
    import pandas as pd

    if isinstance(X, pd.DataFrame):
        return X.reset_index(drop=True)
    if hasattr(X, "to_pandas"):
        return X.to_pandas()
    array = np.asarray(X)
    if array.ndim != 2:
        raise ValueError(f"X must have two dimensions, got shape {array.shape}.")
    return pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])])


def feature_number(frame: Any, feature: str | int | None) -> int:
    """Return the column of a feature, by default the only one; it must hold numbers.

    Parameters
    ----------
    frame : DataFrame
        Features.
    feature : str, int or None
        Name or number.
    """
    import pandas as pd

    names = [str(name) for name in frame.columns]
    if not names:
        raise ValueError("X has no features, so that there is no line to draw.")
    if feature is None and len(names) > 1:
        raise ValueError(f"X has {len(names)} features: {', '.join(names[:10])}. Say which by feature=.")
    if feature is None:
        number = 0
    elif isinstance(feature, str):
        if feature not in names:
            raise ValueError(f"feature={feature!r} is no feature; there are {', '.join(names[:10])}.")
        number = names.index(feature)
    else:
        if not -len(names) <= feature < len(names):
            raise ValueError(f"feature={feature!r} is no number of a feature; there are {len(names)}.")
        number = int(feature) % len(names)
    if not pd.api.types.is_numeric_dtype(frame.dtypes.iloc[number]):
        raise ValueError(f"feature {names[number]!r} does not hold numbers, so that no line can be drawn along it.")
    return number


def feature_values(X: Any, feature: str | int) -> tuple[np.ndarray, str]:
    """Return a column of X (n_rows,) and its name; an unknown feature, or one without numbers, raises ValueError.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Features of the user.
    feature : str or int
        Name or number.
    """
    frame = as_frame(X)
    number = feature_number(frame, feature)
    name = str(frame.columns[number])
    return numeric_rows(frame.iloc[:, number], len(frame), name=f"feature {name!r}"), name


def held_rows(frame: Any, codes: np.ndarray, number: int, grid: np.ndarray, categories: Collection[str] = ()) -> Any:
    """Return rows along a feature for each cluster, other features at their mean in it.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_features)
        Features; categories, texts and booleans are held at their most frequent value.
    codes : ndarray of shape (n_rows,)
        Cluster of each row.
    number : int
        Column of the feature.
    grid : ndarray of shape (n_clusters, n_points)
        Values of the feature.
    categories : collection of str
        Columns of numbers that stand for categories.

    Returns
    -------
    rows : DataFrame of shape (n_clusters * n_points, n_features)
        The rows, cluster by cluster.
    """
    import pandas as pd

    rows = {}
    for j in range(frame.shape[1]):
        column = frame.iloc[:, j]
        if j == number:
            rows[j] = grid.ravel()
            continue
        by_cluster = column.groupby(codes)
        is_number = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
        if is_number and frame.columns[j] not in categories:
            held = by_cluster.mean()
        else:
            held = by_cluster.agg(lambda values: values.mode(dropna=False).iloc[0]).astype(column.dtype)
        rows[j] = held.repeat(grid.shape[1]).reset_index(drop=True)
    return pd.DataFrame(rows).set_axis(frame.columns, axis=1)


def population_and_fitted(
    est: Any, X: Any, rows: Any, factor: str, known: np.ndarray | None, offset: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predict rows for the population, and for levels of one factor, the effects of other factors zero.

    Parameters
    ----------
    est : estimator
        Fitted regressor with random effects, or a pipeline or search around one.
    X : array-like
        The features of the user: rows take their form.
    rows : DataFrame of shape (n_rows, n_features)
        Features.
    factor : str
        Grouping factor.
    known : ndarray of shape (n_rows,) or None
        Level of each row in the random effects, -1 for none; None for the population only.
    offset : ndarray of shape (n_rows,) or None
        Known part of the linear predictor, beside that of a formula.

    Returns
    -------
    population, fitted : ndarray of shape (n_rows,)
        Predictions.
    """
    from skdep.mixed.prediction import predicted_effects

    rows = rows if hasattr(X, "columns") else rows.to_numpy()
    model, inner = last_step(est, rows)
    population = model.predict(inner, offset=offset_of(est, rows, offset))
    if known is None:
        return population, population
    inner = np.asarray(inner, dtype=np.float64)
    effects = predicted_effects(inner, {factor: known}, model.random_effects_, model._random_columns)
    return population, population + effects
