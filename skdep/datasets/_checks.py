"""Checks of the arguments of the generators: each says what is wrong and what to pass instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "check_coef",
    "check_correlation",
    "check_group_size",
    "check_icc",
    "check_integer",
    "check_number",
    "check_random_slopes",
    "check_slope_sd",
]


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(value: Any, name: str, *, low: int) -> None:
    """Refuse what is not an integer of at least `low`."""
    if not _is_integer(value) or value < low:
        raise ValueError(f"`{name}` must be an integer of at least {low}, got {value!r}.")


def check_number(value: Any, name: str, *, low: float = -math.inf, hint: str = "") -> float:
    """Return a finite number of at least `low` as a float."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < low:
        bound = f" of at least {low:g}" if math.isfinite(low) else ""
        raise ValueError(f"`{name}` must be a finite number{bound}, got {value!r}{': ' + hint if hint else ''}.")
    return number


def check_icc(icc: Any) -> float:
    """Return the intraclass correlation, in [0, 1)."""
    hint = "it is the share of the residual variance that rows of a group have in common"
    value = check_number(icc, "icc", low=0.0, hint=hint)
    if value >= 1.0:
        raise ValueError(f"`icc` must be below 1, got {icc!r}: {hint}. Pass a value in [0, 1).")
    return value


def check_group_size(group_size: Any) -> tuple[int, int]:
    """Return the inclusive bounds of the sizes of groups."""
    bounds = tuple(group_size) if isinstance(group_size, tuple | list) else (group_size, group_size)
    if len(bounds) != 2 or not all(map(_is_integer, bounds)) or not 1 <= bounds[0] <= bounds[1]:
        raise ValueError(
            "`group_size` must be an integer of at least 1, or for groups of unequal sizes a pair (low, high) of "
            f"integers with 1 <= low <= high, got {group_size!r}."
        )
    return bounds


def check_coef(coef: ArrayLike, n_features: int) -> np.ndarray:
    """Return a copy of the coefficients, one for each feature."""
    try:
        coefficients = np.array(coef, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`coef` must hold numbers, one for each feature, got {coef!r}.") from error
    if coefficients.shape != (n_features,):
        raise ValueError(
            f"`coef` must have shape ({n_features},), one number for each of `n_features`, got shape "
            f"{coefficients.shape}. Pass `n_features=len(coef)` with your own coefficients."
        )
    if not np.isfinite(coefficients).all():
        raise ValueError(f"`coef` must be finite, got {coefficients.tolist()}.")
    return coefficients


def check_random_slopes(random_slopes: Sequence[int] | None, n_features: int) -> list[int]:
    """Return the columns of X with random slopes, an empty list for None."""
    if random_slopes is None:
        return []
    columns = list(random_slopes) if isinstance(random_slopes, Sequence | np.ndarray) else [None]
    valid = all(_is_integer(column) and 0 <= column < n_features for column in columns)
    if not valid or len(set(columns)) < len(columns):
        raise ValueError(
            f"`random_slopes` must list different columns of X, integers from 0 to {n_features - 1}, got "
            f"{random_slopes!r}."
        )
    return [int(column) for column in columns]


def check_slope_sd(slope_sd: ArrayLike, n_slopes: int) -> np.ndarray:
    """Return one standard deviation for each random slope."""
    try:
        deviations = np.array(slope_sd, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`slope_sd` must be a number or one number for each slope, got {slope_sd!r}.") from error
    if deviations.ndim and deviations.shape != (n_slopes,):
        raise ValueError(
            f"`slope_sd` must be one number, or have shape ({n_slopes},), one for each of `random_slopes`, got shape "
            f"{deviations.shape}."
        )
    if not (np.isfinite(deviations).all() and (deviations >= 0).all()):
        raise ValueError(f"`slope_sd` must be finite and at least 0, as it is a standard deviation, got {slope_sd!r}.")
    return np.broadcast_to(deviations, n_slopes).copy()


def check_correlation(effect_correlation: Any, n_effects: int) -> float:
    """Return the correlation that every two of `n_effects` share; the more effects, the less negative it can be."""
    hint = "it is the correlation between every two random effects of a group"
    value = check_number(effect_correlation, "effect_correlation", low=-1.0, hint=hint)
    lowest = -1.0 / max(n_effects - 1, 1)
    if not lowest < value < 1.0:
        raise ValueError(
            f"`effect_correlation` must lie between {lowest:.4g} and 1, both excluded, got {effect_correlation!r}: "
            f"{hint}, and there are {n_effects}."
        )
    return value
