"""Tables that formulas are evaluated in: what comes as data, which columns are there, where something is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from skdep.formula._evaluation import unknown_column
from skdep.formula._values import column_of

__all__ = ["as_table", "check_complete", "check_present", "incomplete_rows", "require_formulaic"]


def require_formulaic() -> None:
    """Raise ImportError, with the name of the extra, where formulaic is not installed."""
    try:
        import formulaic  # noqa: F401
    except ImportError as error:
        raise ImportError("Formulas need formulaic: pip install 'skdep[formula]'.") from error


def as_table(data: Any) -> Any:
    """Return data as a DataFrame; what has no names of columns raises TypeError."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if hasattr(data, "to_pandas"):
        return data.to_pandas()
    if isinstance(data, Mapping):
        return pd.DataFrame(dict(data))
    raise TypeError(
        f"A formula names columns: data must be a DataFrame, or a dict of columns, got {type(data).__name__}."
    )


def check_present(frame: Any, columns: Iterable[str]) -> None:
    """Raise ValueError if a column is not there."""
    for name in columns:
        if name not in frame.columns:
            raise unknown_column(name, frame)


def incomplete_rows(frame: Any, columns: Iterable[str]) -> tuple[np.ndarray, dict[str, int]]:
    """Return which rows miss something (n_rows,), and how much each column misses."""
    broken, counts = np.zeros(len(frame), dtype=bool), {}
    for name in columns:
        gone = column_of(frame, name).isna().to_numpy()
        if gone.any():
            counts[name] = int(gone.sum())
            broken |= gone
    return broken, counts


def check_complete(frame: Any, columns: Iterable[str], advice: str) -> None:
    """Raise ValueError if something is missing.

    Parameters
    ----------
    frame : DataFrame
        The rows.
    columns : iterable of str
        Columns that are used.
    advice : str
        What to do.
    """
    broken, counts = incomplete_rows(frame, columns)
    if counts:
        listed = ", ".join(f"{name!r} ({count})" for name, count in counts.items())
        raise ValueError(
            f"Values are missing in {int(broken.sum())} of {len(frame)} rows, first in row "
            f"{int(np.flatnonzero(broken)[0])}, in columns {listed}. {advice}"
        )
