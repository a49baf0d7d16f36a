"""How much of a posterior has been sampled, for those who wait."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

__all__ = ["Count", "CountedDraws"]


class Count:
    """Adds up work that is announced, and work that is done.

    Parameters
    ----------
    progress : callable or None, default=None
        ``progress(done, total)`` is called after each piece of work, in whatever thread did it. The total grows where
        more turns out to be needed.
    """

    def __init__(self, progress: Callable[[int, int], None] | None = None):
        self._progress, self._done, self._total = progress, 0, 0
        self._lock = Lock()

    def announce(self, n: int) -> None:
        """Add n pieces of work to be done."""
        with self._lock:
            self._total += n

    def advance(self, n: int = 1) -> None:
        """Say that n pieces more are done."""
        with self._lock:
            self._done += n
            if self._progress is not None:
                self._progress(min(self._done, self._total), self._total)

    def finish(self) -> None:
        """Say that there is nothing left to do."""
        if self._done < self._total:
            self.advance(self._total - self._done)


class CountedDraws:
    """A density and its coordinates as the no-U-turn sampler takes them, which tell of draws.

    The sampler turns coordinates into a point for each gradient, and once more for each draw: what points are ahead of
    gradients are draws.

    Parameters
    ----------
    target : object
        Has ``value_and_gradient(point)``.
    coordinates : Coordinates
        The coordinates.
    count : Count
        Is told of draws.
    """

    def __init__(self, target: Any, coordinates: Any, count: Count):
        self._target, self._coordinates, self._count = target, coordinates, count
        self._ahead, self._told = 0, 0
        self._lock = Lock()

    @property
    def centre(self) -> np.ndarray:
        """Point of coordinates zero."""
        return self._coordinates.centre

    @property
    def target_accept(self) -> float:
        """Share of proposals to be accepted."""
        return self._coordinates.target_accept

    def to_long(self, z: np.ndarray) -> np.ndarray:
        """Return the points of coordinates (..., n)."""
        with self._lock:
            self._ahead += 1
        return self._coordinates.to_long(z)

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """Turn a gradient by points into that by coordinates."""
        return self._coordinates.pull_back(gradient)

    def value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log density and gradient."""
        with self._lock:
            self._ahead -= 1
            new = self._ahead - self._told
            self._told += max(new, 0)
        if new > 0:
            self._count.advance(new)
        return self._target.value_and_gradient(point)
