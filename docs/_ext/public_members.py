"""Members of a class on its page of the reference: those that skdep documents, not what scikit-learn adds to all."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["setup"]


def _defined_in_skdep(member: Any) -> bool:
    function = member.fget if isinstance(member, property) else inspect.unwrap(getattr(member, "__func__", member))
    return str(getattr(function, "__module__", "")).startswith("skdep") and bool(getattr(function, "__doc__", None))


def _skip(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    if what != "class" or skip:
        return None
    if isinstance(member, property) or callable(member):
        return None if _defined_in_skdep(member) else True
    return True


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
