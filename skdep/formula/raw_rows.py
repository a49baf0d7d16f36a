"""Rows as users have them, given to an estimator that was fitted by a formula.

Such an estimator has ``formula_``, which makes the features of its model from columns of raw data. Everything that
takes X takes both: the raw data, and the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skdep.formula._tables import as_table, check_present

__all__ = ["check_copy", "features_of", "offset_of", "rows_of", "used_columns"]


def features_of(est: Any, X: Any) -> Any:
    """Return the features of raw data under the formula of a fit; anything else is returned as it is.

    Parameters
    ----------
    est : estimator
        Fitted estimator.
    X : array-like
        Rows: raw data, or the features themselves.

    Returns
    -------
    X : DataFrame of shape (n_rows, n_features), or what was given
        The features.
    """
    return est.formula_.features(X) if _is_raw(est, X) else X


def offset_of(est: Any, X: Any, offset: Any) -> Any:
    """Return the offset that goes with rows: that of the formula, in raw data, and what is given.

    Parameters
    ----------
    est : estimator
        Fitted estimator.
    X : array-like
        Rows: raw data, or the features themselves.
    offset : array-like of shape (n_rows,) or None
        Further offset.

    Returns
    -------
    offset : ndarray of shape (n_rows,), or what was given
        The sum; None where there is none.
    """
    if not _is_raw(est, X) and (offset is not None or not _has_offset(est, X)):
        return offset
    own = est.formula_.offset(X)
    if own is None or offset is None:
        return offset if own is None else own
    return own + np.asarray(offset, dtype=np.float64)


def rows_of(est: Any, X: Any, offset: Any) -> tuple[Any, Any]:
    """Return features and offset of rows, see `features_of` and `offset_of`."""
    return features_of(est, X), offset_of(est, X, offset)


def _is_raw(est: Any, X: Any) -> bool:
    """Say whether X is a table, or dict of columns, whose columns are not the features of the fit by formula."""
    formula = getattr(est, "formula_", None)
    if formula is None or not (hasattr(X, "columns") or isinstance(X, Mapping)):
        return False
    return isinstance(X, Mapping) or tuple(X.columns) != formula.feature_names


def _has_offset(est: Any, X: Any) -> bool:
    """Say whether X has the columns of the offset: raw data may have the columns of the features and no others."""
    formula = getattr(est, "formula_", None)
    if formula is None or not hasattr(X, "columns"):
        return False
    return bool(formula.offset_variables) and set(formula.offset_variables) <= set(X.columns)


def used_columns(est: Any, X: Any) -> Any:
    """Return raw data without columns that make neither features nor offset of a fit; anything else as it is."""
    if not _is_raw(est, X):
        return X
    X = as_table(X)
    names = list(dict.fromkeys((*est.formula_.variables, *est.formula_.offset_variables)))
    check_present(X, names)
    return X[names]


def check_copy(est: Any, X: Any) -> None:
    """Raise ValueError if a copy of a fit by formula, which has no formula any more, is to be fitted to raw data.

    Cross-validation and searches fit copies. Raw data that are numbers would pass for features, the outcome among them.

    Parameters
    ----------
    est : estimator
        The estimator that is fitted.
    X : array-like
        Its rows.
    """
    formula = vars(est).get("_formula_of_original")
    if formula is None or not hasattr(X, "columns"):
        return
    columns, features = set(X.columns), set(formula.feature_names)
    others = set(formula.other_variables) - features
    is_raw = set(formula.variables) <= columns and bool(columns & others or features - columns)
    if not is_raw:
        return
    raise ValueError(
        f"X has columns of raw data, and {type(est).__name__} is a copy of the fit by the formula {str(formula)!r}: "
        "copies, which cross-validation and searches fit, take features. Fit them in a pipeline with "
        "FormulaTransformer, or pass features: est.formula_.features(data)."
    )
