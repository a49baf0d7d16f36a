"""How many passes over the data a fit has taken, and how far the present one is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from skdep._progress import Progress

__all__ = ["Passes"]

_Result = TypeVar("_Result")


class Passes:
    """Counts passes, and says how far they are.

    Parameters
    ----------
    enabled : bool
        Whether to write a line every couple of seconds.

    Attributes
    ----------
    count : int
        Passes begun.
    n_chunks : int
        Chunks of a pass, 0 before it is known.
    total_weight : float
        Sum of the weights of all rows, once known.
    """

    def __init__(self, enabled: bool):
        self.enabled, self.count, self.n_chunks, self.total_weight = enabled, 0, 0, 0.0

    def over(self, results: Iterable[_Result]) -> Iterator[_Result]:
        """Yield the results of one pass."""
        self.count += 1
        progress = Progress(f"pass {self.count}, chunks", self.n_chunks or None, self.enabled and self.n_chunks > 0)
        with progress:
            for done, result in enumerate(results, start=1):
                progress.update(done)
                yield result
