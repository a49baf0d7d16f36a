"""Features as users have them, and what changing one of them does to the columns of the model.

In front of the model there may be the steps of a pipeline, which make several columns of a feature: indicators of a
category, powers, splines, products with other features. Changing the feature changes them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from skdep._validation import check_offset
from skdep.formula.raw_rows import features_of, offset_of, used_columns
from skdep.inference._access import unwrap

__all__ = ["ChangingFeatures", "last_step"]

# Half the length of a small change, in standard deviations of the feature.
_SMALL_CHANGE = 1e-4


def last_step(est: Any, X: Any) -> tuple[Any, Any]:
    """Return the estimator within pipelines and searches, and X as it reaches it: features, if X is raw data."""
    if hasattr(est, "best_estimator_"):
        return last_step(est.best_estimator_, X)
    if hasattr(est, "steps"):
        check_is_fitted(est)
        return last_step(est.steps[-1][1], est[:-1].transform(X) if len(est.steps) > 1 else X)
    inner = unwrap(est)
    return inner, features_of(inner, X)


class ChangingFeatures:
    """Rows of a model of which a feature at a time changes.

    Parameters
    ----------
    est : estimator
        Fitted estimator, pipeline or search.
    X : array-like of shape (n_rows, n_features)
        Features, as `est` takes them.
    offset : array-like of shape (n_rows,) or None
        Known part of the linear predictor.

    Attributes
    ----------
    inner : estimator
        The estimator within.
    rows : ndarray of shape (n_rows, n_columns)
        Columns of the model.
    offset : ndarray of shape (n_rows,)
        Offset, zeros without one.
    names : list
        Names of the features of X.
    """

    def __init__(self, est: Any, X: Any, offset: Any):
        if hasattr(X, "columns") and not isinstance(X, pd.DataFrame):
            X = pd.DataFrame({name: np.asarray(X[name]) for name in X.columns})
        self._est, self._given_offset = est, offset
        self._makes_offset = offset_of(est, X, None) is not None
        offset, X = offset_of(est, X, offset), used_columns(est, X)
        self._categories = getattr(getattr(est, "formula_", None), "categories", ())
        self.inner, reached = last_step(est, X)
        self.inner._linear_predictor(reached, offset)  # checks columns and offset, as a prediction does
        self.rows = np.asarray(reached, dtype=np.float64)
        self.offset = self._checked(offset)
        self._transformed = reached is not X or self._makes_offset
        self._X = X if isinstance(X, pd.DataFrame) else np.asarray(X)
        self.names = self._feature_names()

    def _feature_names(self) -> list[Any]:
        if isinstance(self._X, pd.DataFrame):
            return list(self._X.columns)
        if self._transformed:
            return [f"x{j}" for j in range(self._X.shape[1])]
        return list(self.inner._parameter_names()[int(self.inner.fit_intercept) :])

    def positions(self, features: Any) -> list[int]:
        """Return the numbers of features given by name or number; unknown ones raise ValueError."""
        found = []
        for feature in [features] if isinstance(features, str | int | np.integer) else features:
            if feature in self.names:
                found.append(self.names.index(feature))
            elif isinstance(feature, int | np.integer) and 0 <= feature < len(self.names):
                found.append(int(feature))
            else:
                raise ValueError(f"There is no feature {feature!r}; X has {self.names}.")
        return found

    def levels(self, position: int, discrete: Mapping[int, Any], *, indicators: bool = True) -> list[Any] | None:
        """Return the values between which a feature changes, the reference first; None for numbers that vary freely.

        Parameters
        ----------
        position : int
            Number of the feature.
        discrete : mapping from int to sequence, or to None
            Features that are said to be discrete, with their levels where those are given.
        indicators : bool, default=True
            Whether features of the numbers 0 and 1 are discrete without being said to be.
        """
        if discrete.get(position) is not None:
            return list(discrete[position])
        column = self._column(position)
        is_named = position in discrete or self.names[position] in self._categories
        if pd.api.types.is_bool_dtype(column.dtype):
            return [False, True]
        if isinstance(column.dtype, pd.CategoricalDtype):
            occurring = set(column.dropna().unique())
            return [level for level in column.cat.categories if level in occurring]
        if pd.api.types.is_numeric_dtype(column.dtype):
            zeros, ones = column == 0, column == 1
            if bool((zeros | ones).all()) and (is_named or (indicators and zeros.any() and ones.any())):
                return [0, 1]
            return sorted(column.dropna().unique()) if is_named else None
        if column.dtype.kind in "mM" and not is_named:
            raise ValueError(
                f"Feature {self.names[position]!r} is a date or duration: name others in features=, or this one in "
                "discrete= to compare its values."
            )
        return sorted(column.dropna().unique())

    def is_used(self, position: int, levels: Sequence[Any]) -> bool:
        """Say whether the model has columns that depend on a feature with these levels."""
        if not self._transformed:
            return True
        column = self._column(position)
        rolled = column.iloc[np.roll(np.arange(len(column)), 1)].set_axis(column.index)
        return not (
            np.array_equal(self._with_column(position, rolled)[0], self.rows)
            and np.array_equal(self.replaced(position, levels[0])[0], self.replaced(position, levels[-1])[0])
        )

    def replaced(self, position: int, value: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns of the model, and the offset (n_rows,), with a feature set to a value."""
        if not self._transformed:
            rows = self.rows.copy()
            rows[:, position] = value
            return rows, self.offset
        column = self._column(position)
        values = pd.Series([value] * len(column), index=column.index)
        return self._with_column(
            position, values if pd.api.types.is_numeric_dtype(column.dtype) else values.astype(column.dtype)
        )

    def _column(self, position: int) -> pd.Series:
        column = self._X.iloc[:, position] if isinstance(self._X, pd.DataFrame) else pd.Series(self._X[:, position])
        return column.infer_objects() if column.dtype == object else column

    def _with_column(self, position: int, values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns of the model, and the offset, with other values of a feature."""
        if isinstance(self._X, pd.DataFrame):
            frame = self._X.copy(deep=False)
            frame.isetitem(position, values.array)
            return self._transform(frame)
        array = self._X.astype(np.result_type(self._X, values.to_numpy()))
        array[:, position] = values
        return self._transform(array)

    def _transform(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        rows = np.asarray(last_step(self._est, X)[1], dtype=np.float64)
        if not self._makes_offset:
            return rows, self.offset
        own = self._est.formula_.offset(X)
        return rows, own if self._given_offset is None else own + self._checked(self._given_offset)

    def _checked(self, offset: Any) -> np.ndarray:
        given = check_offset(offset, len(self.rows))
        return np.zeros(len(self.rows)) if given is None else given

    def direction(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives by a feature: of the model's columns, (n_rows or 1, n_columns), and of the offset."""
        if not self._transformed:
            return np.eye(self.rows.shape[1])[[position]], np.zeros(1)
        values = self._column(position).astype(np.float64)
        spread, size = float(values.std(ddof=0)), float(values.abs().max())
        # about an origin far away, a change must be one in floating point
        step = _SMALL_CHANGE * (max(spread, 1e-4 * size) if spread > 1e-12 * size else max(size, 1.0))
        above, below = values + step, values - step
        try:
            (upper, raised), (lower, lowered) = (self._with_column(position, values) for values in (above, below))
        except ValueError as error:
            raise ValueError(self._not_smooth(position)) from error
        if not (_is_smooth(upper, self.rows, lower) and _is_smooth(raised, self.offset, lowered)):
            raise ValueError(self._not_smooth(position))
        length = (above - below).to_numpy()
        return (upper - lower) / length[:, None], (raised - lowered) / length

    def _not_smooth(self, position: int) -> str:
        name = self.names[position]
        return (
            f"The pipeline takes no slightly changed values of feature {name!r}, or jumps at them: it has no slope. If "
            f"its values stand for categories, say discrete=[{name!r}]."
        )


def _is_smooth(above: np.ndarray, here: np.ndarray, below: np.ndarray) -> bool:
    """Say whether values (n_rows, ...) at three points in a row do not jump: their bend is small beside their size."""
    bend = np.abs(above + below - 2.0 * here)
    return bool(np.all(bend <= 0.01 * np.abs(here).max(axis=0, initial=0.0) + 1e-9))
