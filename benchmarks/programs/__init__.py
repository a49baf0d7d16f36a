"""One file a program: how to fit the benchmark models with it, and in which conventions it differs from skdep."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

__all__ = ["needs"]


def needs(module: str) -> Callable[[], str | None]:
    """Return a function that returns the name of the module if it is not installed."""
    return lambda: None if find_spec(module) else module
