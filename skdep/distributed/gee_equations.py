"""The estimating equations over chunks of whole clusters, whose sums are added.

An evaluation takes two passes: residuals first, which give the scale and the association, then the sums under that
working correlation; under independence one is enough. Covariances take one pass more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.distributed import gee_chunk
from skdep.distributed.progress import Passes
from skdep.distributed.runners import Runner
from skdep.gee.equations import Equations, Evaluation, Model, WhiteBlock
from skdep.gee.working_correlation import WorkingCorrelation

__all__ = ["ChunkedEquations"]


@dataclass(frozen=True, slots=True)
class _Totals:
    """What of the data is known without rows."""

    n_obs: float
    n_params: int

    @property
    def design(self) -> np.ndarray:
        """Nothing but the number of columns."""
        return np.zeros((0, self.n_params))


class ChunkedEquations(Equations):
    """The estimating equations of all chunks; evaluations hold no rows."""

    def __init__(
        self,
        runner: Runner,
        model: Model,
        structure: WorkingCorrelation,
        tol: float,
        passes: Passes,
        n_params: int,
    ):
        self.runner = runner.prepare(gee_chunk.lay_out, model, structure, tol)
        self.passes = passes
        facts = list(passes.over(self.runner.map(gee_chunk.facts_of)))
        self.facts = facts
        layouts = tuple(layout for part in facts for layout in part.layouts)
        counts = [count for part in facts for count in part.pair_counts]
        totals = _Totals(sum(part.n_obs for part in facts), n_params)
        self._set_up(totals, model, structure, tol, layouts, counts)

    @property
    def n_clusters(self) -> float:
        """Number of clusters."""
        return sum(part.n_clusters for part in self.facts)

    @property
    def feature_means(self) -> np.ndarray:
        """Weighted means of the features."""
        return np.add.reduce([part.means for part in self.facts]) / sum(part.total_mass for part in self.facts)

    @property
    def squares(self) -> np.ndarray:
        """Sums of squares of the design's columns."""
        return np.add.reduce([part.squares for part in self.facts])

    def at(self, beta: np.ndarray, previous: Any) -> Evaluation | None:
        """Evaluate at beta; None where means leave their range."""
        parts = list(self.passes.over(self.runner.map(gee_chunk.moments_at, beta)))
        if any(part is None for part in parts):
            return None
        scale = self._scale(sum(part.squares for part in parts))
        products = [block for part in parts for block in part.products]
        association, shrinkage = self._association(products, scale, previous)
        sums = list(self.passes.over(self.runner.map(gee_chunk.sums_at, beta, association)))
        bread, score = (np.add.reduce(column) for column in zip(*sums, strict=True))
        if not (np.isfinite(bread).all() and np.isfinite(score).all()):
            return None
        low = min(part.mean_range[0] for part in parts)
        high = max(part.mean_range[1] for part in parts)
        outcomes = sum(part.outcomes for part in parts) / self.data.n_obs
        # in place of rows: the range of means, and the size of outcomes
        nothing = np.zeros(0)
        return Evaluation(
            beta, np.array([low, high]), nothing, np.array([outcomes]), scale, association, shrinkage, bread, score
        )

    def outcome_size(self, at: Evaluation) -> float:
        """Return the mean square of outcomes in units of their standard deviation."""
        return float(at.residual[0])

    def rough_products(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the normal equations of the link of rough means."""
        return _added(self.passes.over(self.runner.map(gee_chunk.rough_products)))

    def constant_products(self, eta: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the normal equations of a constant linear predictor."""
        found = _added(self.passes.over(self.runner.map(gee_chunk.constant_products, eta)))
        assert found is not None
        return found

    def mean_outcome(self) -> float:
        """Return the weighted mean of the outcome."""
        return sum(part.mass_of_y for part in self.facts) / sum(part.total_mass for part in self.facts)

    def over_white_blocks(
        self,
        at: Evaluation,
        function: Callable[[WhiteBlock], Any],
        further: Callable[[slice], np.ndarray] | None = None,
    ) -> list[Any]:
        """Return what a function makes of every block of whitened rows, in order."""
        assert further is None
        parts = self.passes.over(self.runner.map(gee_chunk.over_white_blocks, at.beta, at.association, function))
        return [block for part in parts for block in part]

    def criteria_sums(self, at: Evaluation) -> tuple[float, np.ndarray]:
        """Return the quasi-likelihood times phi, and the information under independence."""
        parts = list(self.passes.over(self.runner.map(gee_chunk.criteria_at, at.beta)))
        return sum(part[0] for part in parts), np.add.reduce([part[1] for part in parts])


def _added(parts: Iterable[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    parts = list(parts)
    if any(part is None for part in parts):
        return None
    return np.add.reduce([part[0] for part in parts]), np.add.reduce([part[1] for part in parts])
