"""Domains: the parts of a population that are asked about, one or several at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._stack import level_of_caller

__all__ = ["Domains", "domains_of", "rows_inside"]


@dataclass(frozen=True)
class Domains:
    """Several domains, by the labels of rows.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
        Number of each row's domain, -1 where a label is missing.
    keys : list
        What names each domain: a label, or a tuple of them.
    titles : list of str
        Names of the labels.
    """

    codes: np.ndarray
    keys: list[Any]
    titles: list[Any]


def rows_inside(domain: Any, n_rows: int) -> np.ndarray:
    """Return which rows are in the domain (n_rows,).

    Parameters
    ----------
    domain : array-like of bool of shape (n_rows,) or None
        None for all rows.
    n_rows : int
        Number of rows.

    Raises
    ------
    ValueError
        If it is not one boolean a row.
    """
    import pandas as pd

    if domain is None:
        return np.ones(n_rows, dtype=bool)
    inside = np.asarray(domain)
    if inside.shape != (n_rows,):
        raise ValueError(f"domain must be a boolean for each of the {n_rows} rows, got shape {inside.shape}.")
    missing = np.asarray(pd.isna(inside))
    if missing.any():
        raise ValueError(
            f"domain is missing in {int(missing.sum())} rows, first in row {int(missing.argmax())}: say of each row "
            "whether it belongs to the domain, for example by .fillna(False)."
        )
    if not (inside.dtype == bool or np.isin(inside, (0, 1)).all()):
        raise ValueError(f"domain must be a boolean for each of the {n_rows} rows, got values such as {inside[0]!r}.")
    return inside.astype(bool)


def domains_of(by: Any, n_rows: int) -> Domains:
    """Return the domains that labels make: a domain for each combination that occurs.

    Parameters
    ----------
    by : array-like of shape (n_rows,) or (n_rows, n_labels)
        Labels of rows.
    n_rows : int
        Number of rows.

    Raises
    ------
    ValueError
        If there is not a label a row.
    """
    import pandas as pd

    frame = by if isinstance(by, pd.DataFrame) else pd.DataFrame(by if isinstance(by, pd.Series) else np.asarray(by))
    if len(frame) != n_rows:
        raise ValueError(f"by has {len(frame)} labels for {n_rows} rows.")
    titles = list(frame.columns) if isinstance(by, pd.DataFrame) else [getattr(by, "name", None)] * frame.shape[1]
    titles = ["domain" if title is None else title for title in titles]
    parts = [pd.factorize(frame.iloc[:, number], sort=True) for number in range(frame.shape[1])]
    missing = np.any([codes < 0 for codes, _ in parts], axis=0)
    if missing.any():
        warnings.warn(
            f"by is missing in {int(missing.sum())} rows, first in row {int(missing.argmax())}: they are in no domain.",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    if len(parts) == 1:
        return Domains(parts[0][0], list(parts[0][1]), titles)
    met, found = np.unique(np.column_stack([codes for codes, _ in parts])[~missing], axis=0, return_inverse=True)
    codes = np.full(n_rows, -1)
    codes[~missing] = found.ravel()
    keys = [tuple(levels[k] for (_, levels), k in zip(parts, row, strict=True)) for row in met]
    return Domains(codes, keys, titles)
