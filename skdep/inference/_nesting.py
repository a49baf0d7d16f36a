"""How one model is nested in another: which parameters the larger one adds, and which of those are on a boundary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep._docs import read_more
from skdep._fingerprint import same_column
from skdep.inference._likelihood import LikelihoodFit

__all__ = ["Extension", "NewEffects", "extension", "same_fixed_effects"]

_SAME_SHARE = 1e-7


@dataclass(frozen=True)
class NewEffects:
    """Random effects of a factor in the larger model, and those of them that the smaller one has.

    Parameters
    ----------
    factor : str
        Name of the factor in the larger model.
    old_factor : str or None
        Name in the smaller one, None where it has none.
    old : tuple of int
        Positions, in the larger model, of the effects of the smaller one, in the latter's order.
    new : tuple of int
        Positions of the others.
    new_blocks : tuple of tuple of int
        The same by block: of new effects of different blocks the larger model has no covariances.
    """

    factor: str
    old_factor: str | None
    old: tuple[int, ...]
    new: tuple[int, ...]
    new_blocks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Extension:
    """What the larger model adds.

    Parameters
    ----------
    n_fixed : int
        Number of fixed effects.
    same_columns : bool
        Whether the fixed effects are those of the smaller model, in the same units.
    new_fixed : tuple of str
        Coefficients of the larger model that the smaller one lacks, estimable or not.
    same_units : bool
        Whether every feature of the smaller model is in the units of the larger.
    effects : tuple of NewEffects
        By factor of the larger model.
    n_correlations : int
        Number of covariances that are free: those of new effects with old ones, and of old ones among each other.
    """

    n_fixed: int
    same_columns: bool
    new_fixed: tuple[str, ...]
    same_units: bool
    effects: tuple[NewEffects, ...]
    n_correlations: int


def extension(small: LikelihoodFit, large: LikelihoodFit) -> Extension:
    """Find what the larger model adds to the smaller.

    Raises
    ------
    ValueError
        If the smaller model is not nested in the larger one.
    """
    if not small.data.same_offset(large.data):
        raise ValueError(
            "The fits have different offsets: they are not nested. Give both the same offset."
            f"{read_more('likelihood_tests')}"
        )
    names, exact = _match_features(small, large)
    effects = _match_effects(small, large, names)
    n_correlations = sum(_free_covariances(part, small, large) for part in effects)
    shared = {names[name] for name in small.names}
    return Extension(
        n_fixed=large.n_fixed - small.n_fixed,
        same_columns=exact and len(small.names) == len(large.names),
        new_fixed=tuple(name for name in large.names if name not in shared),
        same_units=exact,
        effects=tuple(effects),
        n_correlations=n_correlations,
    )


def _free_covariances(part: NewEffects, small: LikelihoodFit, large: LikelihoodFit) -> int:
    """Count the covariances that the larger model adds, those among new effects left out."""
    numbers = large.blocks[part.factor]
    before = () if part.old_factor is None else small.blocks[part.old_factor]
    count = sum(numbers[a] == numbers[c] for a in part.old for c in part.new)
    for k, a in enumerate(part.old):
        for j, c in enumerate(part.old[:k]):
            is_free, was_free = numbers[a] == numbers[c], before[k] == before[j]
            if was_free and not is_free:
                pair = sorted(large.random[part.factor][at] for at in (a, c))
                raise ValueError(
                    f"The random effects of {pair[0]!r} and {pair[1]!r} by {part.factor!r} are correlated in the "
                    f"reduced model, but not in the full one: they are not nested.{read_more('likelihood_tests')}"
                )
            count += is_free and not was_free
    return count


def same_fixed_effects(first: LikelihoodFit, second: LikelihoodFit) -> bool:
    """Say whether two fits of the same rows have the same columns of fixed effects, in any order."""
    if ("Intercept" in first.names) != ("Intercept" in second.names) or len(first.names) != len(second.names):
        return False
    left = list(_feature_moments(second, fixed=True).values())
    for column in _feature_moments(first, fixed=True).values():
        found = [k for k, other in enumerate(left) if same_column(column, other)]
        if not found:
            return False
        left.pop(found[0])
    return True


def _match_features(small: LikelihoodFit, large: LikelihoodFit) -> tuple[dict[str, str], bool]:
    """Return the name in the larger model of everything in the smaller, and whether units of coefficients are the same.

    What has a coefficient in the smaller model has one in the larger.
    """
    names, exact = {"Intercept": "Intercept"}, True
    has_intercept = "Intercept" in large.names
    if "Intercept" in small.names and not has_intercept:
        raise ValueError(
            "The reduced model has an intercept, the full one has none: they are not nested."
            f"{read_more('likelihood_tests')}"
        )
    everything, own = _feature_moments(large), _feature_moments(large, fixed=True)
    for name, moments in _feature_moments(small).items():
        is_fixed = name in small.names
        columns = own if is_fixed else everything
        if name in columns and same_column(moments, columns[name]):
            names[name] = name
        elif small.named and large.named and name not in columns:
            has = "has no fixed effect in" if name in everything else "of the reduced model is not in"
            raise ValueError(
                f"Feature {name!r} {has} the full one: they are not nested.{read_more('likelihood_tests')}"
            )
        elif small.named and large.named:
            if not (has_intercept and same_column(moments, columns[name], affine=True)):
                raise ValueError(
                    f"Feature {name!r} has other values in the full model than in the reduced one: they are not "
                    "nested, or rows are in another order than outcomes."
                    f"{read_more('likelihood_tests')}"
                )
            names[name], exact = name, exact and not is_fixed
        else:
            found = [other for other in columns if same_column(moments, columns[other])]
            if not found:
                raise ValueError(
                    f"No feature of the full model has the values of {name!r} of the reduced one: they are not nested."
                    f"{read_more('likelihood_tests')}"
                )
            names[name] = found[0]
    _check_slopes(small, large, names)
    return names, exact


def _check_slopes(small: LikelihoodFit, large: LikelihoodFit, names: dict[str, str]) -> None:
    """Raise if a feature with a random slope is in other units: the covariance of the effects would mean another."""
    first, second = _feature_moments(small), _feature_moments(large)
    for name in {effect for effects in small.random.values() for effect in effects} - {"Intercept"}:
        if not same_column(first[name], second[names[name]]):
            raise ValueError(
                f"Feature {name!r} has a random slope, but another origin or unit in the full model than in the "
                "reduced one: fit both to the same columns."
                f"{read_more('likelihood_tests')}"
            )


def _feature_moments(fit: LikelihoodFit, *, fixed: bool = False) -> dict[str, np.ndarray]:
    """Return the moments of all features, or of those with a coefficient."""
    moments = dict(zip(fit.features, fit.data.features, strict=True))
    return {name: part for name, part in moments.items() if name in fit.names} if fixed else moments


def _match_effects(small: LikelihoodFit, large: LikelihoodFit, names: dict[str, str]) -> list[NewEffects]:
    """Pair the factors of both models, and their effects."""
    left = dict.fromkeys(small.random)
    parts = []
    for factor, effects in large.random.items():
        old_factor = _same_factor(small, large, factor, left)
        old_effects = [] if old_factor is None else [names[name] for name in small.random[old_factor]]
        missing = [name for name in old_effects if name not in effects]
        if missing:
            raise ValueError(
                f"The random effect of {missing[0]!r} by {old_factor!r} is not in the full model: they are not nested."
                f"{read_more('likelihood_tests')}"
            )
        old = tuple(effects.index(name) for name in old_effects)
        new = tuple(k for k in range(len(effects)) if k not in old)
        numbers = large.blocks[factor]
        by_block = tuple(tuple(k for k in new if numbers[k] == number) for number in dict.fromkeys(numbers))
        parts.append(NewEffects(factor, old_factor, old, new, tuple(filter(None, by_block))))
        if old_factor is not None:
            del left[old_factor]
    if left:
        raise ValueError(
            f"Grouping factor {next(iter(left))!r} of the reduced model is not in the full one, or has other levels "
            "there: they are not nested."
            f"{read_more('likelihood_tests')}"
        )
    return parts


def _same_factor(small: LikelihoodFit, large: LikelihoodFit, factor: str, left: dict[str, None]) -> str | None:
    """Return the name of the same factor in the smaller model: by name, else by what it explains of y."""
    share = large.data.factors[factor]
    same = [name for name in left if abs(small.data.factors[name] - share) <= _SAME_SHARE]
    return factor if factor in same else same[0] if same else None
