"""A line on standard error every couple of seconds, for runs whose amount of work is not known beforehand."""

from __future__ import annotations

import sys
import threading
import time

__all__ = ["RunProgress"]

_SECONDS = 2.0


class RunProgress:
    """Says how much of a run is done: nothing of short runs, and at the end of long ones how long they took.

    Unlike `skdep.inference._progress.Progress` it is told of the amount of work as the run goes on, by any thread.

    Parameters
    ----------
    task : str
        What is going on.
    """

    def __init__(self, task: str):
        self._task, self._lock = task, threading.Lock()
        self._begin = time.monotonic()
        self._last, self._said = self._begin, False

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` pieces of work are done, as far as is known now."""
        with self._lock:
            if time.monotonic() - self._last >= _SECONDS:
                self._say(f"{done} of {total}")

    def end(self) -> None:
        """Report the end of the run, if anything was said of it."""
        with self._lock:
            if self._said:
                self._say("done")

    def _say(self, what: str) -> None:
        self._last, self._said = time.monotonic(), True
        print(f"{self._task}: {what}, {self._last - self._begin:.1f} s", file=sys.stderr, flush=True)
