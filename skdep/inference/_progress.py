"""A line on standard error every couple of seconds, for what takes long."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

_SECONDS = 2.0


class Progress:
    """Says how much is done.

    Parameters
    ----------
    task : str
        What is going on.
    total : int
        Number of units of work.
    enabled : bool
        Whether to say anything.
    """

    def __init__(self, task: str, total: int, enabled: bool):
        self._task, self._total, self._enabled = task, total, enabled
        self._begin = time.monotonic()
        self._last = self._begin

    def update(self, done: int, what: str = "") -> None:
        """Report that `done` units are done, at most every couple of seconds, and at the end."""
        now = time.monotonic()
        if not self._enabled or (done < self._total and now - self._last < _SECONDS):
            return
        self._last = now
        print(f"{self._task}: {done} of {self._total}{what}, {now - self._begin:.1f} s", file=sys.stderr, flush=True)
