"""Where the user called: the line that a warning shows."""

from __future__ import annotations

import sys

__all__ = ["level_of_caller"]


def level_of_caller() -> int:
    """Return the stack level of the first frame outside skdep and scikit-learn: where the user called."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("skdep", "sklearn"):
        level, frame = level + 1, frame.f_back
    return level
