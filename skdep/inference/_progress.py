"""The lines on progress of functions that refit."""

from __future__ import annotations

from skdep._progress import Progress

__all__ = ["Progress"]
