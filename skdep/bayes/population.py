"""Averages over rows of population probabilities and of their slopes, in every draw of a posterior."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._normal_mean import logistic_normal_moments
from skdep._threads import threads_over_blocks
from skdep.mixed.terms import INTERCEPT

__all__ = ["PosteriorMean"]


class PosteriorMean:
    """The same questions as of `skdep.inference._population.PopulationMean`, answered by a value for each draw.

    Where there are many rows draws are thinned, as for predictions.

    Parameters
    ----------
    inner : BayesLogit
        Fitted estimator.
    n_rows : int
        Number of rows of which will be asked.
    """

    def __init__(self, inner: Any, n_rows: int):
        self._predictor = inner._predictor(with_effects=False).thinned(n_rows)

    def average(self, rows: np.ndarray, offset: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the probabilities of rows (S,).

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_features)
            Features.
        offset, weights : ndarray of shape (n_rows,)
            Known part of the log odds; weights.
        """

        def block(part: slice) -> np.ndarray:
            return self._predictor.draws(rows[part], offset[part], None) @ weights[part]

        return self._added(block, len(rows))

    def average_slope(
        self,
        rows: np.ndarray,
        offset: np.ndarray,
        weights: np.ndarray,
        direction: np.ndarray,
        by_offset: np.ndarray,
    ) -> np.ndarray:
        """Return the weighted sum of the slopes of the probabilities along a direction (S,).

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_features)
            Features.
        offset, weights : ndarray of shape (n_rows,)
            Known part of the log odds; weights.
        direction : ndarray of shape (n_rows, n_features) or (1, n_features)
            By how much the features move; a single row is for all.
        by_offset : ndarray of shape (n_rows,) or (1,)
            By how much the offset moves.
        """
        by_offset = np.broadcast_to(by_offset, offset.shape)
        params = self._predictor.params

        def block(part: slice) -> np.ndarray:
            moved = np.broadcast_to(direction, rows.shape)[part]
            variance, spread = self._spread(rows[part], moved)
            eta = params[:, 1:] @ rows[part].T + params[:, :1] + offset[part]
            moments = logistic_normal_moments(eta, variance, 1 if spread is None else 2)
            effect = moments[1] * (params[:, 1:] @ moved.T + by_offset[part])
            if spread is not None:
                effect += 0.5 * moments[2] * spread
            return effect @ weights[part]

        return self._added(block, len(rows))

    def _spread(self, rows: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray | float, np.ndarray | None]:
        """Return variances of the log odds (S, n_rows), and their derivatives along a direction; None for zeros."""
        variance: np.ndarray | float = 0.0
        spread: np.ndarray | None = None
        for name, sigma in self._predictor.covariances.items():
            z, dz = (
                np.column_stack(
                    [
                        np.full(len(part), constant) if c == INTERCEPT else part[:, c]
                        for c in self._predictor.columns[name]
                    ]
                )
                for part, constant in ((rows, 1.0), (moved, 0.0))
            )
            variance = variance + np.einsum("na,sac,nc->sn", z, sigma, z, optimize=True)
            if dz.any():
                more = 2.0 * np.einsum("na,sac,nc->sn", dz, sigma, z, optimize=True)
                spread = more if spread is None else spread + more
        return variance, spread

    def _added(self, block: Any, n_rows: int) -> np.ndarray:
        """Return the sum over blocks of rows."""
        with threads_over_blocks(n_rows * len(self._predictor.params)) as run:
            return sum(run(block, self._predictor.blocks(n_rows)), np.zeros(len(self._predictor.params)))
