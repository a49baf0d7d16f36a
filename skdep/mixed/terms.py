"""Random-effect terms: which factor, which columns of the design vary between its levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep.clusters import encode_factors
from skdep.mixed.term_settings import INTERCEPT, resolve_blocks, resolve_intercepts, resolve_slopes

__all__ = ["INTERCEPT", "RandomTerm", "effect_columns", "make_terms", "resolve_slopes"]


@dataclass(frozen=True)
class RandomTerm:
    """The random effects of one grouping factor.

    Parameters
    ----------
    name : str
        Name of the factor.
    codes : ndarray of shape (n_rows,)
        Level of each row.
    levels : ndarray of shape (n_levels,)
        Labels of the levels.
    columns : tuple of int
        Features whose coefficients vary, ``INTERCEPT`` first where the intercept does.
    blocks : tuple of int, default=()
        Number of the block of each effect: effects of different blocks are uncorrelated. By default all are in one.
    """

    name: str
    codes: np.ndarray
    levels: np.ndarray
    columns: tuple[int, ...]
    blocks: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not self.blocks:
            object.__setattr__(self, "blocks", (0,) * len(self.columns))

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def q(self) -> int:
        """Number of random effects of a level."""
        return len(self.columns)

    @property
    def sizes(self) -> np.ndarray:
        """Number of rows of each level."""
        return np.bincount(self.codes, minlength=self.n_levels)

    def take(self, kept: np.ndarray) -> RandomTerm:
        """Return the term of the rows kept, without levels that have none."""
        used, codes = np.unique(self.codes[kept], return_inverse=True)
        return RandomTerm(self.name, codes, self.levels[used], self.columns, blocks=self.blocks)


def make_terms(
    groups: Any,
    n_rows: int,
    random_slopes: Any,
    *,
    random_intercept: Any,
    covariance: Any = "full",
    feature_names: Sequence[str] | None,
    n_features: int,
) -> list[RandomTerm]:
    """Build a term for each grouping factor.

    Parameters
    ----------
    groups : array-like of shape (n_rows,) or (n_rows, n_factors)
        Labels of the grouping factors.
    n_rows : int
        Number of rows.
    random_slopes : None, list of str or int, or dict
        Features whose slopes vary: for every factor, or by factor.
    random_intercept : bool, or dict
        Whether intercepts vary: for every factor, or by factor.
    covariance : {"full", "diagonal"} or dict, default="full"
        Which effects are correlated: for every factor, or by factor.
    feature_names : sequence of str or None
        Names of the features, if they have some.
    n_features : int
        Number of features.

    Raises
    ------
    ValueError
        If labels are missing, names are unknown, or a factor has no random effect.
    """
    factors = encode_factors(groups, n_rows)
    names = [name for _, _, name in factors]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"groups has several factors of the name {sorted(repeated)}; give each its own name.")
    slopes = resolve_slopes(random_slopes, names, feature_names, n_features)
    intercepts = resolve_intercepts(random_intercept, names)
    columns = {name: effect_columns(name, intercepts[name], slopes[name]) for name in names}
    blocks = resolve_blocks(covariance, names, columns, feature_names, n_features)
    return [RandomTerm(name, codes, levels, columns[name], blocks=blocks[name]) for codes, levels, name in factors]


def effect_columns(factor: str, has_intercept: bool, slopes: Sequence[int]) -> tuple[int, ...]:
    """Return the columns of the effects of a factor; it must have some."""
    columns = (*((INTERCEPT,) if has_intercept else ()), *slopes)
    if not columns:
        raise ValueError(
            f"Factor {factor!r} has no random effect: random_intercept=False leaves none without random_slopes. "
            "Name a feature in random_slopes, or leave the factor out of groups."
            f"{read_more('random_effects')}"
        )
    return columns
