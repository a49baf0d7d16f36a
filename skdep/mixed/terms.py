"""Random-effect terms: which factor, which columns of the design vary between its levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from skdep.clusters import encode_factors

__all__ = ["INTERCEPT", "RandomTerm", "make_terms", "resolve_slopes"]

# Stands for the constant among column numbers of a term.
INTERCEPT = -1


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
    """

    name: str
    codes: np.ndarray
    levels: np.ndarray
    columns: tuple[int, ...]

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
        return RandomTerm(self.name, codes, self.levels[used], self.columns)


def make_terms(
    groups: Any,
    n_rows: int,
    random_slopes: Any,
    *,
    random_intercept: bool,
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
    random_intercept : bool
        Whether intercepts vary.
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
    first = (INTERCEPT,) if random_intercept else ()
    terms = []
    for codes, levels, name in factors:
        columns = (*first, *slopes[name])
        if not columns:
            raise ValueError(
                f"Factor {name!r} has no random effect: random_intercept=False leaves none without random_slopes. "
                "Name a feature in random_slopes, or leave the factor out of groups."
            )
        terms.append(RandomTerm(name, codes, levels, columns))
    return terms


def resolve_slopes(
    random_slopes: Any, factors: Sequence[str], feature_names: Sequence[str] | None, n_features: int
) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the features with random slopes by factor."""
    if random_slopes is None:
        return dict.fromkeys(factors, ())
    if isinstance(random_slopes, Mapping):
        unknown = [name for name in random_slopes if name not in factors]
        if unknown:
            raise ValueError(f"random_slopes names unknown factors {unknown}; groups has {list(factors)}.")
        return {name: _feature_numbers(random_slopes.get(name), feature_names, n_features, name) for name in factors}
    numbers = _feature_numbers(random_slopes, feature_names, n_features, "every factor")
    return dict.fromkeys(factors, numbers)


def _feature_numbers(slopes: Any, feature_names: Sequence[str] | None, n_features: int, factor: str) -> tuple[int, ...]:
    if slopes is None:
        return ()
    if isinstance(slopes, str | Integral) or np.ndim(slopes) == 0:
        slopes = [slopes]
    numbers = []
    for slope in slopes:
        if isinstance(slope, Integral) and not isinstance(slope, bool | np.bool_):
            if not -n_features <= int(slope) < n_features:
                raise ValueError(f"random_slopes of {factor}: there is no feature {slope}, X has {n_features} columns.")
            numbers.append(int(slope) % n_features)
        elif feature_names is not None and str(slope) in feature_names:
            numbers.append(list(feature_names).index(str(slope)))
        else:
            known = (
                f"X has {list(feature_names)}"
                if feature_names is not None
                else ("X has no column names: give a DataFrame, or numbers of columns")
            )
            raise ValueError(f"random_slopes of {factor}: there is no feature {slope!r}; {known}.")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"random_slopes of {factor} names a feature twice: {list(slopes)}.")
    return tuple(numbers)
