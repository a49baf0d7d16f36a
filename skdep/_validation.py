"""Checks of the rows' metadata: weights, offsets, times. Errors say what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from skdep._docs import read_more
from skdep.formula.raw_rows import check_copy

__all__ = [
    "check_offset",
    "check_rows",
    "check_time",
    "check_weights",
    "numeric_rows",
    "without_columns_as_array",
]


def numeric_rows(values: Any, n_rows: int, *, name: str) -> np.ndarray:
    """Return `values` as finite floats of shape (n_rows,), whatever they came as; a scalar is for every row."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers have no order")
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}") from error
    if array.ndim == 0:
        array = np.full(n_rows, float(array))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}.")
    if len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} values for {n_rows} rows; give exactly one value a row.")
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(f"{name} has {int(bad.sum())} missing or infinite values, first in row {row}.")
    return array


def check_weights(sample_weight: Any, n_rows: int, *, name: str = "sample_weight") -> np.ndarray | None:
    """Return weights of shape (n_rows,), None if none are given; negative ones and all zero raise ValueError."""
    if sample_weight is None:
        return None
    sample_weight = np.asarray(sample_weight)
    if sample_weight.ndim > 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got shape {sample_weight.shape}.")
    weights = numeric_rows(sample_weight, n_rows, name=name)
    if (weights < 0).any():
        row = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(
            f"Negative values in data passed to `{name}`: {int((weights < 0).sum())} negative weights, first in "
            f"row {row} ({weights[row]:g}). Weights count or represent observations and cannot be negative."
            f"{read_more('weights')}"
        )
    if not (weights > 0).any():
        raise ValueError(f"{name}: every weight is zero, so that no observation is left to fit.{read_more('weights')}")
    return weights


def check_offset(offset: Any, n_rows: int) -> np.ndarray | None:
    """Return the offset of shape (n_rows,), None if none is given."""
    return None if offset is None else numeric_rows(offset, n_rows, name="offset")


def check_time(time: Any, n_rows: int) -> np.ndarray | None:
    """Return times as floats of shape (n_rows,), None if none are given.

    Dates become days; ordered categories become their numbers 0, 1, 2, ...; missing times raise ValueError.
    """
    if time is None:
        return None
    import pandas as pd

    values = _as_series(time)
    if len(values) == n_rows and values.isna().any():
        row = int(np.flatnonzero(values.isna().to_numpy())[0])
        raise ValueError(
            f"time has {int(values.isna().sum())} missing values, first in row {row}; drop those rows."
            f"{read_more('time')}"
        )
    if isinstance(values.dtype, pd.CategoricalDtype) and values.dtype.ordered:
        values = values.cat.codes
    elif pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        origin = values.min()
        values = (values - origin) / pd.Timedelta(days=1)
    elif not pd.api.types.is_numeric_dtype(values):
        try:
            values = pd.to_numeric(values)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "time must be numbers, dates or an ordered categorical, since gaps in time are used; "
                f"got values such as {values.iloc[0]!r}."
                f"{read_more('time')}"
            ) from error
    return numeric_rows(values.to_numpy(), n_rows, name="time")


def _as_series(time: Any) -> Any:
    """Return a Series of times, periods and date objects as dates; a single column is flattened."""
    import pandas as pd

    if not isinstance(time, pd.Series | pd.Index | pd.Categorical) and not hasattr(time, "__arrow_array__"):
        time = time.iloc[:, 0] if isinstance(time, pd.DataFrame) and time.shape[1] == 1 else np.asarray(time)
        if time.ndim == 2 and time.shape[1] == 1:
            time = time[:, 0]
        if time.ndim != 1:
            raise ValueError(f"time must be one-dimensional, got shape {time.shape}.")
    values = pd.Series(time).reset_index(drop=True)
    if isinstance(values.dtype, pd.PeriodDtype):
        return values.dt.to_timestamp()
    if values.dtype == object:
        inferred = pd.api.types.infer_dtype(values, skipna=True)
        if inferred in ("date", "datetime", "datetime64"):
            return pd.to_datetime(values)
        if inferred.startswith("timedelta"):
            return pd.to_timedelta(values)
    return values


def check_rows(estimator: Any, X: Any, y: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validate features and outcome by scikit-learn; columns that are no numbers are named, with what to do.

    A table without columns is the model of an intercept only; an array without columns is an error of scikit-learn's,
    unless `options` say otherwise.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``.
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcome.
    **options
        Passed to scikit-learn's `validate_data`.
    """
    if options.get("reset", True):
        # a fit to features forgets the formula of an earlier one
        vars(estimator).pop("formula_", None)
        check_copy(estimator, X)
    dates = _text_columns(X, only_dates=True)
    if dates:
        raise ValueError(
            f"{dates}Dates and durations are no numbers: make numbers of them first, such as days since a start."
        )
    if _has_no_columns(X) and getattr(estimator, "fit_intercept", False):
        options["ensure_min_features"] = 0
    try:
        X, y = validate_data(estimator, without_columns_as_array(X), y, dtype=np.float64, **options)
    except ValueError as error:
        if "contains NaN" in str(error) or "contains infinity" in str(error):
            raise ValueError(f"{_not_finite(X)}{error}{read_more('missing_values')}") from error
        if "could not convert" not in str(error) and "complex" not in str(error):
            raise
        raise ValueError(
            f"{error}. {_text_columns(X)}Encode categories as numbers first, for example with "
            "ColumnTransformer and OneHotEncoder(drop='first', sparse_output=False) in a Pipeline."
            f"{read_more('categories')}"
        ) from error
    return X, y


def without_columns_as_array(X: Any) -> Any:
    """Return an array for a table of no columns, for which scikit-learn finds no dtype."""
    return np.empty((len(X), 0)) if _has_no_columns(X) else X


def _has_no_columns(X: Any) -> bool:
    return hasattr(X, "columns") and len(X.columns) == 0


def _not_finite(X: Any) -> str:
    """Say which columns of X have values that are no finite numbers, and where the first one is."""
    import pandas as pd

    try:
        values = pd.DataFrame(X).astype(np.float64)
    except (TypeError, ValueError):
        return ""
    broken = ~np.isfinite(values.to_numpy())
    if not broken.any():
        return ""
    columns = [str(name) for name, found in zip(values.columns, broken.any(axis=0), strict=True) if found]
    row = int(np.flatnonzero(broken.any(axis=1))[0])
    return (
        f"{int(broken.any(axis=1).sum())} rows of X have missing or infinite values, first row {row}, in columns "
        f"{', '.join(columns[:10])}{', ...' if len(columns) > 10 else ''}. "
    )


def _text_columns(X: Any, *, only_dates: bool = False) -> str:
    import pandas as pd

    if not isinstance(X, pd.DataFrame):
        return ""
    is_odd = _is_date if only_dates else lambda dtype: not pd.api.types.is_numeric_dtype(dtype)
    names = [str(name) for name, dtype in X.dtypes.items() if is_odd(dtype)]
    return f"Columns of X that are not numbers: {', '.join(names)}. " if names else ""


def _is_date(dtype: Any) -> bool:
    import pandas as pd

    return getattr(dtype, "kind", "") in "mM" or isinstance(dtype, pd.PeriodDtype)
