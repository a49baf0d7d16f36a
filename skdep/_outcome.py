"""Binary outcomes of classifiers, whatever their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from skdep._docs import read_more

__all__ = ["encode_binary"]


def encode_binary(y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the two classes and whether each row is of the second.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Labels of any type.
    weights : ndarray of shape (n_rows,) or None
        Row weights: rows of weight zero bring no class of their own.

    Returns
    -------
    classes : ndarray of shape (2,)
        Sorted labels.
    success : ndarray of bool of shape (n_rows,)
        Whether the label is ``classes[1]``.

    Raises
    ------
    ValueError
        If the outcome is continuous, or there are not exactly two classes with positive weight.
    """
    import pandas as pd

    fast = _two_numbers(y)
    if fast is None:
        if y.dtype.kind == "O" and (missing := pd.isna(y)).any():
            row = int(np.flatnonzero(missing)[0])
            raise ValueError(
                f"y: {int(missing.sum())} labels are missing, first in row {row}; drop those rows."
                f"{read_more('missing_values')}"
            )
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        classes, codes = np.unique(y, return_inverse=True)
        if kind != "binary" or len(classes) > 2:
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        fast = classes, codes == len(classes) - 1
    classes, success = fast
    counted = success if weights is None else success[weights > 0]
    if len(classes) < 2 or counted.all() or not counted.any():
        only: Any = classes[int(counted.all()) if len(classes) == 2 else 0 :].tolist()[0]
        raise ValueError(
            f"y has only one class ({only!r}) among rows of positive weight; a binary model needs both classes."
        )
    return classes, success


def _two_numbers(y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return classes and codes of a y of two whole numbers or booleans, without sorting it; else None."""
    if y.dtype.kind not in "biuf":
        return None
    low, high = y.min(), y.max()
    if low == high or low != np.floor(low) or high != np.floor(high):
        return None
    success = y == high
    if not np.all(success | (y == low)):
        return None
    return np.array([low, high], dtype=y.dtype), success
