"""Columns of which means and totals are wanted: numbers as they are, categories as indicators of their levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["numeric_columns"]


def numeric_columns(values: Any, inside: np.ndarray | None, *, name: str) -> pd.DataFrame:
    """Return columns of numbers, zeros outside the domain.

    Parameters
    ----------
    values : array-like of shape (n_rows,) or (n_rows, k)
        Numbers, booleans, texts or categories.
    inside : ndarray of bool of shape (n_rows,) or None
        Rows of the domain, None for all. Others may have missing values.
    name : str
        What `values` are, for messages and for a column without a name.

    Raises
    ------
    ValueError
        If values are missing or infinite in the domain, or of no type that can be averaged.
    """
    import pandas as pd

    frame = _as_frame(values, name)
    columns: dict[Any, np.ndarray] = {}
    for number, label in enumerate(frame.columns):
        column = frame.iloc[:, number]
        missing = column.isna().to_numpy()
        _check_present(missing if inside is None else missing & inside, label, name)
        columns |= _encoded(column, label, missing if inside is None else missing | ~inside, name)
    return pd.DataFrame(columns, index=frame.index)


def _as_frame(values: Any, name: str) -> pd.DataFrame:
    """Return a DataFrame, its columns named."""
    import pandas as pd

    if isinstance(values, pd.DataFrame):
        return values
    if isinstance(values, pd.Series):
        return values.to_frame(name if values.name is None else values.name)
    if hasattr(values, "to_pandas"):
        return _as_frame(values.to_pandas(), name)
    array = np.asarray(values)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have one column or several, got shape {array.shape}.")
    if array.ndim == 1:
        return pd.DataFrame({name: array})
    return pd.DataFrame(array, columns=[f"x{k}" for k in range(array.shape[1])])


def _check_present(missing: np.ndarray, label: Any, name: str) -> None:
    if missing.any():
        raise ValueError(
            f"{name}: {int(missing.sum())} rows of {label!r} are missing, first in row "
            f"{int(np.flatnonzero(missing)[0])}. Do not drop them, since their sampling units count for the variance: "
            "say domain=frame[column].notna() to estimate among rows that have the value, or impute."
        )


def _encoded(column: pd.Series, label: Any, outside: np.ndarray, name: str) -> dict[Any, np.ndarray]:
    """Return the numbers of a column, or an indicator of each level that occurs, as ``label[level]``."""
    import pandas as pd

    if column.dtype == object:
        column = column.infer_objects()
    if isinstance(column.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        if column.dtype.kind in "mM":
            raise ValueError(f"{name}: {label!r} are dates or durations: make numbers of them first.")
        known = column[~outside]
        levels = known.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else sorted(known.unique())
        labels = column.to_numpy(dtype=object)
        found = {f"{label}[{level}]": ((labels == level) & ~outside).astype(np.float64) for level in levels}
        return {key: indicator for key, indicator in found.items() if indicator.any()}
    numbers = np.where(outside, 0.0, column.to_numpy(dtype=np.float64, na_value=0.0))
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: {label!r} has infinite values, first in row {int(np.argmin(np.isfinite(numbers)))}.")
    return {label: numbers}
