"""Random effects of a formula in the terms of the estimators: slopes, intercepts and covariance by factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.formula._design import Design, design_of
from skdep.formula._evaluation import Evaluator
from skdep.formula._terms import Grouping, RandomTerm

__all__ = ["RandomEffects", "random_effects_of"]


@dataclass(frozen=True)
class RandomEffects:
    """Random effects by factor.

    Parameters
    ----------
    groupings : tuple of Grouping
        The factors.
    blocks : dict of str to tuple
        By factor: sets of names of effects, effects of different sets uncorrelated.
    only : tuple of str
        Features that have random effects and no fixed effect.
    sources : tuple of (Design, tuple of int)
        Columns of designs that make those features.
    """

    groupings: tuple[Grouping, ...]
    blocks: dict[str, tuple[tuple[str, ...], ...]]
    only: tuple[str, ...]
    sources: tuple[tuple[Design, tuple[int, ...]], ...]

    def columns(self, evaluator: Evaluator, n_rows: int) -> np.ndarray:
        """Return the columns of the features without fixed effect (n_rows, n_columns)."""
        parts = [design.columns(evaluator, n_rows)[:, list(numbers)] for design, numbers in self.sources]
        return np.hstack(parts) if parts else np.empty((n_rows, 0))

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a multilevel estimator that say the same."""
        slopes = {name: [e for block in blocks for e in block if e != _ONE] for name, blocks in self.blocks.items()}
        intercepts = {name: any(_ONE in block for block in blocks) for name, blocks in self.blocks.items()}
        found: dict[str, Any] = {
            "random_slopes": slopes if any(slopes.values()) else None,
            "random_intercept": next(iter(intercepts.values())) if len(set(intercepts.values())) == 1 else intercepts,
            "covariance": self._covariance(),
        }
        if self.only:
            found["random_only"] = list(self.only)
        return found

    def _covariance(self) -> Any:
        kinds = {name: _kind(blocks) for name, blocks in self.blocks.items()}
        # a single effect has no correlation to say anything of
        telling = [kind for name, kind in kinds.items() if sum(map(len, self.blocks[name])) > 1]
        if not telling:
            return "full"
        if isinstance(telling[0], str) and all(kind == telling[0] for kind in telling):
            return telling[0]
        return kinds


_ONE = "Intercept"


def _kind(blocks: tuple[tuple[str, ...], ...]) -> Any:
    if len(blocks) == 1:
        return "full"
    return "diagonal" if all(len(block) == 1 for block in blocks) else [list(block) for block in blocks]


def random_effects_of(terms: Sequence[RandomTerm], fixed_names: Sequence[str], evaluator: Evaluator) -> RandomEffects:
    """Return random effects, and the columns that they need besides those of the fixed effects.

    Parameters
    ----------
    terms : sequence of RandomTerm
        The bars.
    fixed_names : sequence of str
        Names of the columns of the fixed effects.
    evaluator : Evaluator
        Gives the values of variables.

    Raises
    ------
    ValueError
        If an effect is named twice for the same factor.
    """
    groupings: dict[str, Grouping] = {}
    blocks: dict[str, tuple[tuple[str, ...], ...]] = {}
    only: list[str] = []
    sources: list[tuple[Design, tuple[int, ...]]] = []
    for term in terms:
        name = term.grouping.name
        design = design_of(term.intercept, term.terms, evaluator)
        effects = ((_ONE,) if term.intercept else ()) + design.names
        groupings.setdefault(name, term.grouping)
        twice = [effect for effect in effects for block in blocks.get(name, ()) if effect in block]
        if twice:
            shown = ", ".join("the intercept" if effect == _ONE else repr(effect) for effect in twice)
            raise ValueError(
                f"The random effects of {name!r} have {shown} twice, the second time in {term.text}: their variances "
                f"cannot be told apart. Leave the intercept out of one bar by writing (0 + x | {name})."
            )
        blocks[name] = (*blocks.get(name, ()), effects)
        new = [k for k, effect in enumerate(design.names) if effect not in fixed_names and effect not in only]
        if new:
            only += [design.names[k] for k in new]
            sources.append((design, tuple(new)))
    return RandomEffects(tuple(groupings.values()), blocks, tuple(only), tuple(sources))
