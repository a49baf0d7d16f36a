"""Posterior predictive probabilities: means over draws, and over random effects that are not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from skdep._normal_mean import logistic_normal_mean
from skdep._threads import threads_over_blocks
from skdep.mixed.prediction import random_columns

__all__ = ["Predictor"]

# Draws times rows of a block.
_BLOCK_FLOATS = 1 << 20
# Draws times rows of an integral over random effects beyond which draws are thinned, and the fewest that stay.
_MOST_INTEGRALS, _FEWEST_DRAWS = 20_000_000, 200


@dataclass(frozen=True)
class Predictor:
    """Predictions from draws.

    Parameters
    ----------
    params : ndarray of shape (S, 1 + p)
        Draws of ``[intercept, *coef]``.
    covariances : mapping from str to ndarray of shape (S, q, q)
        Draws of the covariance matrices of random effects, by factor.
    effects : mapping from str to ndarray of shape (S, n_levels, q)
        Draws of the random effects of known levels, by factor; may be empty.
    columns : mapping from str to sequence of int
        Features that the effects belong to, by factor.
    """

    params: np.ndarray
    covariances: Mapping[str, np.ndarray]
    effects: Mapping[str, np.ndarray]
    columns: Mapping[str, Sequence[int]]

    def thinned(self, n_rows: int) -> Predictor:
        """Return the predictor of fewer draws, where integrals over random effects would take too long."""
        n_draws = len(self.params)
        kept = max(_MOST_INTEGRALS // max(n_rows, 1), _FEWEST_DRAWS)
        if not self.covariances or kept >= n_draws:
            return self
        chosen = np.linspace(0, n_draws - 1, kept).astype(int)
        return Predictor(
            self.params[chosen],
            {name: part[chosen] for name, part in self.covariances.items()},
            {name: part[chosen] for name, part in self.effects.items()},
            self.columns,
        )

    def draws(self, X: np.ndarray, offset: np.ndarray | None, codes: Mapping[str, np.ndarray] | None) -> np.ndarray:
        """Return draws of the probabilities of success (S, n_rows).

        Parameters
        ----------
        X : ndarray of shape (n_rows, p)
            Features.
        offset : ndarray of shape (n_rows,) or None
            Known part of the log odds.
        codes : mapping from str to ndarray of int, or None
            Level number of each row by factor, -1 for levels that are not known; None if none is.
        """
        eta = self.params[:, 1:] @ X.T + self.params[:, :1]
        if offset is not None:
            eta += offset
        variance = np.zeros_like(eta)
        for name, covariance in self.covariances.items():
            Z = random_columns(X, self.columns[name])
            known = np.zeros(len(X), dtype=bool) if codes is None else codes[name] >= 0
            if codes is not None and known.any():
                levels = codes[name][known]
                eta[:, known] += np.einsum("sna,na->sn", self.effects[name][:, levels], Z[known])
            if not known.all():
                new = Z[~known]
                variance[:, ~known] += np.einsum("na,sac,nc->sn", new, covariance, new, optimize=True)
        return logistic_normal_mean(eta, variance) if variance.any() else expit(eta)

    def moments(
        self, X: np.ndarray, offset: np.ndarray | None, codes: Mapping[str, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations over draws of the probabilities (n_rows,), in blocks of rows."""
        mean, sd = np.empty(len(X)), np.empty(len(X))

        def block(rows: slice) -> None:
            part = self.draws(X[rows], *_of_rows(rows, offset, codes))
            mean[rows], sd[rows] = part.mean(axis=0), part.std(axis=0)

        with threads_over_blocks(len(X) * len(self.params)) as run:
            list(run(block, self.blocks(len(X))))
        return mean, sd

    def quantiles(
        self,
        X: np.ndarray,
        offset: np.ndarray | None,
        codes: Mapping[str, np.ndarray] | None,
        levels: Sequence[float],
    ) -> np.ndarray:
        """Return quantiles over draws of the probabilities (n_rows, len(levels)), in blocks of rows."""
        result = np.empty((len(X), len(levels)))
        for rows in self.blocks(len(X)):
            part = self.draws(X[rows], *_of_rows(rows, offset, codes))
            result[rows] = np.quantile(part, levels, axis=0).T
        return result

    def blocks(self, n_rows: int) -> Iterator[slice]:
        """Yield runs of rows."""
        step = max(_BLOCK_FLOATS // max(len(self.params), 1), 1)
        for begin in range(0, n_rows, step):
            yield slice(begin, min(begin + step, n_rows))


def _of_rows(
    rows: slice, offset: np.ndarray | None, codes: Mapping[str, np.ndarray] | None
) -> tuple[np.ndarray | None, dict[str, np.ndarray] | None]:
    return (
        None if offset is None else offset[rows],
        None if codes is None else {name: part[rows] for name, part in codes.items()},
    )
