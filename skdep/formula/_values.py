"""Values of variables: numbers, categories, or several columns of numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Columns", "Factor", "as_number", "column_of", "column_value", "factor_of", "level_text"]


@dataclass(frozen=True, eq=False)
class Factor:
    """Categories.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
        Number of each row's level.
    levels : tuple
        The levels, the reference first.
    contrasts : object, optional
        How the levels become columns, by default indicators of all but the first.
    declared : bool
        Whether the levels were declared with the data, and not found among them.
    """

    codes: np.ndarray
    levels: tuple[Hashable, ...]
    contrasts: Any = None
    declared: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def labels(self) -> np.ndarray:
        """Label of each row (n_rows,)."""
        levels = np.empty(len(self.levels), dtype=object)
        levels[:] = self.levels
        return levels[self.codes]

    def used(self) -> Factor:
        """Return the same without levels that no row has."""
        found, codes = np.unique(self.codes, return_inverse=True)
        return Factor(codes, tuple(self.levels[k] for k in found), self.contrasts, self.declared)


@dataclass(frozen=True, eq=False)
class Columns:
    """Several columns of numbers that make one variable: powers, splines.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        The columns.
    names : tuple of str
        What tells them apart.
    """

    values: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)


def factor_of(labels: Any, levels: Sequence[Hashable] | None = None) -> Factor:
    """Return labels as a factor; levels are sorted where they can be, unless they are given.

    Parameters
    ----------
    labels : array-like of shape (n_rows,)
        Labels, none missing.
    levels : sequence, optional
        The levels; a label that is none of them has code -1.
    """
    import pandas as pd

    if levels is not None:
        index = pd.Index(list(levels), dtype=object)
        return Factor(index.get_indexer(pd.Index(labels, dtype=object)), tuple(levels), declared=True)
    try:
        codes, found = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    except TypeError:
        codes, found = pd.factorize(np.asarray(labels, dtype=object), sort=False)
    return Factor(codes, tuple(_plain(label) for label in found))


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def column_of(frame: Any, name: str) -> Any:
    """Return a column as a Series; a name that several have raises ValueError."""
    column = frame[name]
    if column.ndim != 1:
        raise ValueError(f"The data have several columns {name!r}.")
    return column


def column_value(column: Any, name: str) -> np.ndarray | Factor:
    """Return a column of data: floats, booleans or a factor; dates raise ValueError.

    Parameters
    ----------
    column : Series
        The column, nothing missing.
    name : str
        Its name, for messages.
    """
    import pandas as pd

    if column.dtype == object:
        column = column.infer_objects()
    if isinstance(column.dtype, pd.CategoricalDtype):
        levels = tuple(_plain(level) for level in column.cat.categories)
        return Factor(column.cat.codes.to_numpy().astype(np.intp), levels, declared=True)
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=bool)
    if pd.api.types.is_complex_dtype(column.dtype):
        raise ValueError(f"Column {name!r} has complex numbers, which have no order.")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64)
    if getattr(column.dtype, "kind", "") in "mM" or isinstance(column.dtype, pd.PeriodDtype):
        raise ValueError(
            f"Column {name!r} has dates or durations, which are no numbers: make numbers of them first, such as days "
            "since a start."
        )
    return factor_of(column.to_numpy(dtype=object))


def as_number(value: Any, what: str) -> Any:
    """Return a value as floats; categories raise ValueError."""
    if isinstance(value, Factor):
        raise ValueError(f"{what} needs numbers, and gets categories, the first {level_text(value.levels[0])!r}.")
    if isinstance(value, Columns):
        return value.values
    if isinstance(value, str) or value is None:
        raise ValueError(f"{what} needs numbers, and gets {value!r}.")
    return np.asarray(value, dtype=np.float64)[()]


def level_text(level: Any) -> str:
    """Return a level as it stands in names of columns; whole numbers without a point."""
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return str(level)
