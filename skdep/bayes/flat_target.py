"""The posterior density of a logistic model without random effects."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._threads import add_up_blocks
from skdep.bayes.pair_sums import softplus_pairs
from skdep.glmm.rows import GlmmRows

__all__ = ["FlatTarget"]

# Rows times pairs to compute at a time, and the least number of pairs: enough blocks of them for several threads.
_PAIR_FLOATS, _LEAST_PAIRS = 1 << 27, 1024


class FlatTarget:
    """Likelihood times prior, over points of working coefficients.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    prior : PriorSpec
        The prior density of points.
    """

    def __init__(self, rows: GlmmRows, prior: Any):
        self.rows, self.prior = rows, prior
        self._linear = np.dot(rows.outcome, rows.fixed)
        self._offset = 0.0 if rows.offset is None else float(rows.outcome @ rows.offset)
        self._largest = np.abs(rows.fixed).max(axis=0, initial=0.0)
        self._weight = None if (rows.weight == 1.0).all() else rows.weight

    @property
    def pairs_at_once(self) -> int:
        """Pairs to compute at a time: enough to be quick, and few enough for progress to be told of."""
        return max(_LEAST_PAIRS, _PAIR_FLOATS // max(self.rows.n_rows, 1))

    def log_density_pairs(self, centre: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log densities (n,) at centre + moves and at centre - moves."""
        at_centre = self.rows.fixed_predictor(centre)
        sums = softplus_pairs(self.rows.fixed, self._weight, at_centre, moves, self._largest)
        middle, along = float(self._linear @ centre) + self._offset, moves @ self._linear
        plus = middle + along - sums[0] + self.prior.log_density(centre + moves)
        minus = middle - along - sums[1] + self.prior.log_density(centre - moves)
        return plus, minus

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the log densities (n,) at points (n, P)."""
        return self.log_density_pairs(np.zeros(points.shape[1]), points)[0]

    def log_likelihood_derivatives(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-likelihood, its gradient (P,) and minus its second derivative (P, P)."""
        rows = self.rows

        def block(span: slice) -> tuple[float, np.ndarray, np.ndarray]:
            X, weight = rows.fixed[span], rows.weight[span]
            eta = np.dot(X, point)
            if rows.offset is not None:
                eta += rows.offset[span]
            linear = float(rows.outcome[span] @ eta)
            kappa, mean, variance = rows.family.derivatives(eta, 2)
            gradient = np.dot(rows.outcome[span] - weight * mean, X)
            return linear - float(weight @ kappa), gradient, np.dot(X.T, X * (weight * variance)[:, None])

        value, gradient, information = add_up_blocks(block, rows.n_rows, 2 * rows.n_fixed + 4)
        return float(value), gradient, information

    def start(self) -> np.ndarray:
        """Return a point to begin a search for the mode at."""
        return np.zeros(self.rows.n_fixed)
