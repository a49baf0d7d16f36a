"""The random parts that the generators share: features in groups, random effects of the groups, the order of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skdep.datasets._checks import (
    check_coef,
    check_correlation,
    check_group_size,
    check_integer,
    check_random_slopes,
    check_slope_sd,
)

__all__ = ["RandomEffects", "draw_design", "draw_effects", "shuffled"]


class RandomEffects(NamedTuple):
    """Normal effects of every group: an intercept, then slopes of some columns of X."""

    columns: list[int]
    covariance: np.ndarray  # (q, q), of [intercept, *slopes]
    values: np.ndarray  # (n_groups, q)

    def predictor(self, X: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return what the effects add to the linear predictor of each row."""
        effects = self.values[groups]
        return effects[:, 0] + (effects[:, 1:] * X[:, self.columns]).sum(axis=1)


def draw_design(
    rng: np.random.RandomState,
    n_groups: int,
    group_size: int | tuple[int, int],
    n_features: int,
    group_features: int,
    coef: ArrayLike | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the arguments and draw features (n_rows, n_features), sorted group codes (n_rows,) and coefficients."""
    check_integer(n_groups, "n_groups", low=1)
    low, high = check_group_size(group_size)
    check_integer(n_features, "n_features", low=1)
    check_integer(group_features, "group_features", low=0)
    if group_features > n_features:
        raise ValueError(
            f"`group_features` must not exceed `n_features`, got {group_features} > {n_features}: it counts the "
            "features that are constant within a group. Raise `n_features` or lower `group_features`."
        )
    # Drawn even when given, so that a seed yields the same features and residuals whatever the coefficients.
    drawn = rng.normal(scale=1.0 / np.sqrt(n_features), size=n_features)
    coefficients = drawn if coef is None else check_coef(coef, n_features)

    groups = np.repeat(np.arange(n_groups), rng.randint(low, high + 1, size=n_groups))
    X = rng.normal(size=(len(groups), n_features))
    X[:, n_features - group_features :] = rng.normal(size=(n_groups, group_features))[groups]
    return X, groups, coefficients


def draw_effects(
    rng: np.random.RandomState,
    n_groups: int,
    n_features: int,
    *,
    intercept_variance: float,
    random_slopes: Sequence[int] | None,
    slope_sd: ArrayLike,
    effect_correlation: float,
) -> RandomEffects:
    """Check the arguments and draw the effects of the groups; slopes of standard deviation 0 leave the rest alone."""
    columns = check_random_slopes(random_slopes, n_features)
    n_effects = 1 + len(columns)
    deviations = np.append(np.sqrt(intercept_variance), check_slope_sd(slope_sd, len(columns)))
    correlation = np.full((n_effects, n_effects), check_correlation(effect_correlation, n_effects))
    np.fill_diagonal(correlation, 1.0)
    # Correlated before they are scaled, as a standard deviation of 0 would leave the covariance without a root.
    values = rng.normal(size=(n_groups, n_effects)) @ np.linalg.cholesky(correlation).T * deviations
    return RandomEffects(columns, correlation * np.outer(deviations, deviations), values)


def shuffled(rng: np.random.RandomState, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Put the rows of all arrays in one random order."""
    order = rng.permutation(len(arrays[0]))
    return tuple(array[order] for array in arrays)
