"""Placeholder of the module under construction."""

from __future__ import annotations

from dataclasses import dataclass

from skdep.mixed.fit import LinearMixedFit


@dataclass(frozen=True)
class SmallSample:
    """Under construction."""

    fit: LinearMixedFit
