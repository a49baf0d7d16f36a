"""What users say about random effects, read factor by factor: which features, intercepts, and correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from skdep._docs import read_more

__all__ = ["INTERCEPT", "resolve_blocks", "resolve_intercepts", "resolve_random_only", "resolve_slopes"]

# Stands for the constant among column numbers of a term, and its name.
INTERCEPT = -1
_CONSTANT = "Intercept"


def resolve_slopes(
    random_slopes: Any, factors: Sequence[str], feature_names: Sequence[str] | None, n_features: int
) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the features with random slopes by factor."""
    if random_slopes is None:
        return dict.fromkeys(factors, ())
    if isinstance(random_slopes, Mapping):
        _check_factors("random_slopes", random_slopes, factors)
        return {
            name: _feature_numbers(f"random_slopes of {name}", random_slopes.get(name), feature_names, n_features)
            for name in factors
        }
    numbers = _feature_numbers("random_slopes of every factor", random_slopes, feature_names, n_features)
    return dict.fromkeys(factors, numbers)


def resolve_intercepts(random_intercept: Any, factors: Sequence[str]) -> dict[str, bool]:
    """Return by factor whether its intercept varies; in a dict, that of a factor that is not there does."""
    if not isinstance(random_intercept, Mapping):
        return dict.fromkeys(factors, bool(random_intercept))
    _check_factors("random_intercept", random_intercept, factors)
    for name, value in random_intercept.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"random_intercept of {name} is True or False, got {value!r}.")
    return {name: bool(random_intercept.get(name, True)) for name in factors}


def resolve_random_only(
    random_only: Any, feature_names: Sequence[str] | None, n_features: int, slopes: Mapping[str, Sequence[int]]
) -> tuple[int, ...]:
    """Return the numbers of the features without a fixed effect; each needs a random slope.

    Raises
    ------
    ValueError
        If features are unknown, or have no random effect.
    """
    numbers = _feature_numbers("random_only", random_only, feature_names, n_features)
    used = {number for each in slopes.values() for number in each}
    unused = [number for number in numbers if number not in used]
    if unused:
        listed = [number if feature_names is None else feature_names[number] for number in unused]
        raise ValueError(
            f"random_only names {listed}, which no factor has in random_slopes: without fixed and without random "
            "effects a feature has no part in the model. Add it to random_slopes, or leave it out of X."
            f"{read_more('random_effects')}"
        )
    return numbers


def resolve_blocks(
    covariance: Any,
    factors: Sequence[str],
    columns: Mapping[str, Sequence[int]],
    feature_names: Sequence[str] | None,
    n_features: int,
) -> dict[str, tuple[int, ...]]:
    """Return the number of the block of each effect by factor: effects of different blocks are uncorrelated.

    Parameters
    ----------
    covariance : {"full", "diagonal"} or mapping
        For every factor; or by factor, "full", "diagonal" or a list of blocks. "full" where a factor is not there.
    factors : sequence of str
        Names of the factors.
    columns : mapping from str to sequence of int
        Effects of each factor: numbers of features, ``INTERCEPT`` for the constant.
    feature_names : sequence of str or None
        Names of the features, if they have some.
    n_features : int
        Number of features.

    Raises
    ------
    ValueError
        If factors are unknown, or blocks do not list each effect of the factor once.
    """
    if isinstance(covariance, Mapping):
        _check_factors("covariance", covariance, factors)
        chosen = {name: covariance.get(name, "full") for name in factors}
    else:
        chosen = dict.fromkeys(factors, covariance)
    result = {}
    for name, what in chosen.items():
        q = len(columns[name])
        if isinstance(what, str) and what in ("full", "diagonal"):
            result[name] = tuple(range(q)) if what == "diagonal" else (0,) * q
        else:
            result[name] = _block_numbers(what, name, columns[name], feature_names, n_features)
    return result


def _block_numbers(
    blocks: Any, factor: str, columns: Sequence[int], feature_names: Sequence[str] | None, n_features: int
) -> tuple[int, ...]:
    """Return the number of the block of each effect of a factor."""
    where = f"covariance of {factor}"
    effects = [_label(number, feature_names) for number in columns]
    if isinstance(blocks, str) or not isinstance(blocks, list | tuple | np.ndarray):
        raise ValueError(
            f"{where} is 'full', 'diagonal' or a list of blocks of its effects {effects}, got {blocks!r}."
            f"{read_more('random_effects')}"
        )
    found: dict[int, int] = {}
    for number, block in enumerate(blocks):
        if isinstance(block, str | Integral) or np.ndim(block) != 1 or not len(block):
            raise ValueError(
                f"{where}: a block is a list of effects, of {effects}; got {block!r}.{read_more('random_effects')}"
            )
        for effect in block:
            column = _effect_column(effect, where, columns, effects, feature_names, n_features)
            if column in found:
                raise ValueError(f"{where} lists effect {effect!r} twice: each effect belongs to one block.")
            found[column] = number
    missing = [label for label, column in zip(effects, columns, strict=True) if column not in found]
    if missing:
        raise ValueError(
            f"{where} leaves out {missing}: each of the effects {effects} belongs to one block."
            f"{read_more('random_effects')}"
        )
    order = list(dict.fromkeys(found[column] for column in columns))
    return tuple(order.index(found[column]) for column in columns)


def _effect_column(
    effect: Any,
    where: str,
    columns: Sequence[int],
    effects: Sequence[Any],
    feature_names: Sequence[str] | None,
    n_features: int,
) -> int:
    """Return the column of an effect that a block lists."""
    is_constant = isinstance(effect, str) and effect == _CONSTANT and INTERCEPT in columns
    column = INTERCEPT if is_constant else _feature_number(effect, where, feature_names, n_features)
    if column not in columns:
        raise ValueError(f"{where} lists {effect!r}, which is no effect of it; its effects are {effects}.")
    return column


def _label(number: int, feature_names: Sequence[str] | None) -> Any:
    """Return what users call an effect."""
    if number == INTERCEPT:
        return _CONSTANT
    return number if feature_names is None else feature_names[number]


def _check_factors(parameter: str, given: Mapping[str, Any], factors: Sequence[str]) -> None:
    unknown = [name for name in given if name not in factors]
    if unknown:
        raise ValueError(
            f"{parameter} names unknown factors {unknown}; groups has {list(factors)}.{read_more('random_effects')}"
        )


def _feature_numbers(
    where: str, features: Any, feature_names: Sequence[str] | None, n_features: int
) -> tuple[int, ...]:
    """Return the numbers of features; `where` names the parameter in errors."""
    if features is None:
        return ()
    if isinstance(features, str | Integral) or np.ndim(features) == 0:
        features = [features]
    numbers = [_feature_number(feature, where, feature_names, n_features) for feature in features]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{where} names a feature twice: {list(features)}.")
    return tuple(numbers)


def _feature_number(feature: Any, where: str, feature_names: Sequence[str] | None, n_features: int) -> int:
    if isinstance(feature, Integral) and not isinstance(feature, bool | np.bool_):
        if not -n_features <= int(feature) < n_features:
            raise ValueError(
                f"{where}: there is no feature {feature}, X has {n_features} columns.{read_more('random_effects')}"
            )
        return int(feature) % n_features
    if feature_names is not None and str(feature) in feature_names:
        return list(feature_names).index(str(feature))
    known = (
        f"X has {list(feature_names)}"
        if feature_names is not None
        else ("X has no column names: give a DataFrame, or numbers of columns")
    )
    raise ValueError(f"{where}: there is no feature {feature!r}; {known}.{read_more('random_effects')}")
