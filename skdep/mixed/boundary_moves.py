"""Moves onto and off the boundary of singular covariance matrices, shared by the searches.

Near the boundary the criterion is quadratic in a pivot of T, and its derivative by T vanishes there whatever the data:
a search must be told to go onto it, and to look whether it should leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.mixed.boundary import BOUNDARY, null_directions, turned
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["BoundaryMoves"]

# Pivots below this are tried on the boundary.
_NEAR = 1e-2
# By how much the criterion may rise there, before the search goes on from there.
_SMALL_RISE = 1e-2
# Sizes of the steps that are tried off the boundary.
_LADDER = (0.03, 0.3, 1.5)


class BoundaryMoves:
    """A search over relative factors T; a subclass has `optimum`, with the state, and the methods that raise here."""

    parameters: CovarianceParameters
    tol: float
    optimum: Any

    def descend(self) -> None:
        """Step until converged, or the steps are used up."""
        raise NotImplementedError

    def trial(self, factors: Sequence[np.ndarray]) -> Any:
        """Evaluate the criterion; None where rounding forbids it."""
        raise NotImplementedError

    def accept(self, trial: Any) -> None:
        """Go to a state."""
        raise NotImplementedError

    def sigma_gradients(self) -> list[np.ndarray]:
        """Return the derivatives by Sigma of each term."""
        raise NotImplementedError

    def forget(self) -> None:
        """Forget what was learnt of second derivatives."""
        raise NotImplementedError

    def search_from(self, factors: Sequence[np.ndarray]) -> Any:
        """Return the end of a search from other factors."""
        raise NotImplementedError

    def adopt(self, other: Any) -> None:
        """Take the end of another search."""
        raise NotImplementedError

    def run(self) -> None:
        """Descend, and look at the boundary, until neither finds anything lower."""
        self.descend()
        for _ in range(2 * self.parameters.n_parameters + 2):
            if not self.optimum.converged:
                break
            self.settle()
            if not (self.turn_columns() or self.leave_boundary()):
                break
            self.descend()

    def settle(self) -> None:
        """Move what is next to the boundary onto it, where the criterion cannot tell the difference."""
        at = self.optimum
        for term, T in enumerate(at.state.factors):
            for a in np.flatnonzero((np.abs(np.diag(T)) < _NEAR) & (np.diag(T) != 0.0)):
                factors = list(at.state.factors)
                factors[term] = factors[term].copy()
                factors[term][a, a] = 0.0
                trial, rise = self.trial(factors), max(self.tol, 1e-12 * abs(at.state.value))
                if trial is None or trial.value > at.state.value + _SMALL_RISE:
                    continue
                if trial.value <= at.state.value + rise:
                    self.accept(trial)
                else:
                    self._search_on_boundary(factors, at.state.value + rise)

    def _search_on_boundary(self, factors: Sequence[np.ndarray], most: float) -> None:
        """Search from a point on the boundary, where the pivot stays; take the end if it is no worse than `most`."""
        other = self.search_from(factors)
        self.optimum.n_values += other.optimum.n_values
        if other.optimum.converged and other.optimum.state.value <= most:
            self.adopt(other)

    def turn_columns(self) -> bool:
        """Turn columns of T so that those of zeros come last, which hides no direction; say whether that is news.

        At T = [[0, 0], [0, r]] the derivative by a covariance vanishes whatever it is in Sigma; at [[0, 0], [r, 0]],
        the same Sigma, it does not.
        """
        at = self.optimum
        if all(np.abs(np.diag(T)).min() >= BOUNDARY for T in at.state.factors):
            return False
        factors = [turned(T, blocks) for T, blocks in zip(at.state.factors, self.parameters.blocks, strict=True)]
        if all(np.array_equal(T, other) for T, other in zip(at.state.factors, factors, strict=True)):
            return False
        trial = self.trial(factors)
        if trial is None or trial.value > at.state.value + max(self.tol, 1e-12 * abs(at.state.value)):
            return False
        at.state = trial
        return True

    def leave_boundary(self) -> bool:
        """Try to leave a singular Sigma; say whether that decreased the criterion."""
        at, gradients = self.optimum, self.sigma_gradients()
        for term, T in enumerate(at.state.factors):
            for direction, slope in null_directions(T, gradients[term], self.parameters.blocks[term]):
                sizes = [1e-3, *_LADDER] if slope < 0 else list(_LADDER)
                for size in sizes:
                    factors = list(at.state.factors)
                    factors[term] = self.parameters.lower_factor(term, np.column_stack([T, size * direction]))
                    trial = self.trial(factors)
                    if trial is not None and trial.value < at.state.value - max(1e-9, 1e-12 * abs(at.state.value)):
                        self.accept(trial)
                        self.forget()
                        return True
        return False
