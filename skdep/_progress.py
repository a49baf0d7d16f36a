"""Progress of what takes long: lines on standard error every couple of seconds, and steps for scikit-learn's callbacks.

Nothing is said unless asked for: by `show_progress`, for everything that follows, or by a parameter of a function. A
loop that may take long runs inside a `Progress`; a search tells of its steps by `iteration`. Both cost a fraction of a
microsecond while nobody listens.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Protocol, TypeVar

__all__ = ["Listener", "Progress", "is_shown", "iteration", "listening", "show_progress", "tracked"]

_Piece = TypeVar("_Piece")

_SECONDS = 2.0
_shown = False


class Listener(Protocol):
    """Is told of the steps of a search."""

    def advance(self) -> None:
        """Take note that one more step is done."""

    def reach(self, share: float) -> None:
        """Take note that this share of the work is done, between 0 and 1."""


_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("skdep_listeners", default=())
# whether an outer loop reports already, so that what runs inside it has no need to
_reported: ContextVar[bool] = ContextVar("skdep_reported", default=False)


class show_progress:
    """Write a line on standard error every couple of seconds, for whatever takes longer than that.

    It takes effect at once, for the whole process; used in a ``with`` statement, until its end.

    Parameters
    ----------
    enabled : bool, default=True
        Whether to write; at first nothing is written.

    Examples
    --------
    >>> import skdep
    >>> from skdep.datasets import load_sleepstudy
    >>> sleep = load_sleepstudy()
    >>> with skdep.show_progress():
    ...     model = skdep.MixedLinear().fit(sleep.data, sleep.target, groups=sleep.groups)  # too short for a line
    """

    def __init__(self, enabled: bool = True):
        global _shown
        self._before, _shown = _shown, bool(enabled)

    def __enter__(self) -> show_progress:
        return self

    def __exit__(self, *exception: object) -> None:
        global _shown
        _shown = self._before


def is_shown() -> bool:
    """Say whether progress is shown without being asked for by a parameter."""
    return _shown


def iteration() -> None:
    """Tell whoever listens that one more step of a search is done."""
    for listener in _listeners.get():
        listener.advance()


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Have listeners told of the steps of searches that run inside.

    Parameters
    ----------
    *listeners : Listener
        Who is told, besides those who are already.
    """
    token = _listeners.set((*_listeners.get(), *listeners))
    try:
        yield
    finally:
        _listeners.reset(token)


class Progress:
    """Says how much is done; used in a ``with`` statement, loops that run inside say nothing of their own.

    It may be told of progress by any thread.

    Parameters
    ----------
    task : str
        What is going on.
    total : int, optional
        Number of pieces of work, where it is known.
    enabled : bool, default=False
        Whether to speak even if `show_progress` was not called; the end is then reported of short runs too.
    """

    def __init__(self, task: str, total: int | None = None, enabled: bool = False):
        self._task, self._total, self._enabled = task, total, bool(enabled)
        self._speaks = self._enabled or (_shown and not _reported.get())
        self._listeners = _listeners.get()
        self._lock = threading.Lock()
        self._begin = self._last = time.monotonic()
        self._said = False
        self._token: Token[bool] | None = None

    @property
    def is_followed(self) -> bool:
        """Whether anybody learns of what this is told."""
        return self._speaks or bool(self._listeners)

    def __enter__(self) -> Progress:
        self._token = _reported.set(self._speaks or _reported.get())
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        assert self._token is not None
        _reported.reset(self._token)
        if kind is None and self._said and self._total is None:
            self._say("done")

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` pieces are done, as far as is known now."""
        with self._lock:
            for listener in self._listeners:
                listener.reach(done / total if total else 0.0)
            if self._speaks and time.monotonic() - self._last >= _SECONDS:
                self._say(f"{done} of {total}")

    def update(self, done: int, what: str = "") -> None:
        """Report that `done` pieces are done, at most every couple of seconds, and at the end.

        Parameters
        ----------
        done : int
            Number of pieces.
        what : str
            What follows the numbers in the line.
        """
        if not self._speaks:
            return
        with self._lock:
            at_end = done == self._total and (self._enabled or self._said)
            if at_end or time.monotonic() - self._last >= _SECONDS:
                self._say(f"{done}{what}" if self._total is None else f"{done} of {self._total}{what}")

    def _say(self, what: str) -> None:
        self._last, self._said = time.monotonic(), True
        print(f"{self._task}: {what}, {self._last - self._begin:.1f} s", file=sys.stderr, flush=True)


def tracked(pieces: Iterable[_Piece], task: str, total: int | None = None) -> Iterator[_Piece]:
    """Yield pieces of work, for a loop that says how many are done where `show_progress` was called.

    Parameters
    ----------
    pieces : iterable
        What the loop is over.
    task : str
        What they are.
    total : int, optional
        How many there are, if they have no length.

    Examples
    --------
    >>> from skdep._progress import tracked
    >>> sum(tracked(range(10), "Numbers"))
    45
    """
    n_pieces = len(pieces) if total is None and isinstance(pieces, Sized) else total
    with Progress(task, n_pieces) as progress:
        for done, piece in enumerate(pieces, start=1):
            yield piece
            progress.update(done)
