r"""Sums over rows that logistic regression needs: log-likelihood, score, information, and the meat of sandwiches.

With signs s = +1 or -1 for the outcome and z = s (x'b + offset), the probability of the outcome not observed is
q = 1 / (1 + exp z), the log-likelihood -log(1 + exp(-z)), the residual y - pi = s q, the variance pi (1 - pi) = q (1 -
q). Everything is additive over rows, and computed block by block: no copy of the data is made. Products are by
`np.dot`, which lets other threads run meanwhile; the ``@`` operator does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skdep._threads import add_up_blocks

__all__ = ["FinalSummary", "LogisticData", "Summary"]

# 512 factors between 1 and 2 multiply to at most 2^512: one logarithm serves them all, and cannot overflow.
_FACTORS_PER_LOG = 512


class Summary(NamedTuple):
    """What Newton's method needs at one estimate (p parameters, intercept first if there is one)."""

    loglik: float
    score: np.ndarray  # (p,)
    information: np.ndarray  # (p, p)


class FinalSummary(NamedTuple):
    """What covariance matrices at the solution need."""

    loglik: float
    information: np.ndarray  # (p, p)
    meat: np.ndarray  # (p, p), sum of outer products of row scores
    squares: np.ndarray  # (p,), unweighted sums of squares of the columns


@dataclass(frozen=True, slots=True)
class LogisticData:
    """Rows of a logistic regression.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features, without a column for the intercept.
    sign : ndarray of shape (n_rows,)
        +1.0 for a success, -1.0 for a failure.
    weights, offset : ndarray of shape (n_rows,) or None
        Row weights, and the known part of the linear predictor.
    fit_intercept : bool
        Whether parameters begin with an intercept.
    """

    X: np.ndarray
    sign: np.ndarray
    weights: np.ndarray | None
    offset: np.ndarray | None
    fit_intercept: bool

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.sign)

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.X.shape[1] + self.fit_intercept

    @property
    def total_weight(self) -> float:
        """Sum of weights."""
        return float(self.n_rows if self.weights is None else self.weights.sum())

    def every(self, step: int) -> LogisticData:
        """Return every `step`-th row."""
        rows = slice(None, None, step)
        weights = None if self.weights is None else np.ascontiguousarray(self.weights[rows])
        offset = None if self.offset is None else np.ascontiguousarray(self.offset[rows])
        X, sign = np.ascontiguousarray(self.X[rows]), np.ascontiguousarray(self.sign[rows])
        return LogisticData(X, sign, weights, offset, self.fit_intercept)

    def margins(self, params: np.ndarray, rows: slice) -> np.ndarray:
        """Return z = sign times linear predictor of some rows."""
        z = np.dot(self.X[rows], params[self.fit_intercept :])
        if self.fit_intercept:
            z += params[0]
        if self.offset is not None:
            z += self.offset[rows]
        z *= self.sign[rows]
        return z

    def scaled_rows(self, rows: slice, factor: np.ndarray) -> np.ndarray:
        """Return rows of the design, intercept first, each times its factor."""
        scaled = np.empty((len(factor), self.n_params))
        if self.fit_intercept:
            scaled[:, 0] = factor
        np.multiply(self.X[rows], factor[:, None], out=scaled[:, self.fit_intercept :])
        return scaled

    def residuals(self, params: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Return y - pi, unweighted."""
        q, _, _ = _miss_probability(self.margins(params, rows))
        return self.sign[rows] * q

    def summary(self, params: np.ndarray) -> Summary:
        """Return log-likelihood, score and information at `params`."""
        loglik, score, information = self._add_up(lambda rows: self._sums_of(params, rows)[:3])
        return Summary(float(loglik), score, information)

    def _sums_of(self, params: np.ndarray, rows: slice) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Return log-likelihood, score and information of some rows, and the sizes of their residuals."""
        z = self.margins(params, rows)
        q, one_plus, variance = _miss_probability(z)
        residual = self.sign[rows] * q
        if self.weights is None:
            starts = np.arange(0, len(z), _FACTORS_PER_LOG)
            loglik = np.minimum(z, 0.0).sum() - np.log(np.multiply.reduceat(one_plus, starts)).sum()
        else:
            weights = self.weights[rows]
            loglik = weights @ (np.minimum(z, 0.0) - np.log(one_plus))
            residual *= weights
            variance *= weights
        scaled = self.scaled_rows(rows, np.sqrt(variance))
        return float(loglik), self._score_of(rows, residual), np.dot(scaled.T, scaled), q

    def _score_of(self, rows: slice, residual: np.ndarray) -> np.ndarray:
        score = np.empty(self.n_params)
        if self.fit_intercept:
            score[0] = residual.sum()
        score[self.fit_intercept :] = np.dot(residual, self.X[rows])
        return score

    def final(self, params: np.ndarray, *, squared_weights: bool) -> FinalSummary:
        """Return all sums that covariance matrices at `params` need, in one pass.

        `squared_weights` says whether a row's score holds its weight (a sampling weight), or whether the weight counts
        repetitions of the row (a frequency).
        """

        def block(rows: slice) -> tuple:
            loglik, _, information, factor = self._sums_of(params, rows)
            if self.weights is not None:
                factor *= self.weights[rows] if squared_weights else np.sqrt(self.weights[rows])
            scores = self.scaled_rows(rows, factor)
            squares = np.einsum("ij,ij->j", self.X[rows], self.X[rows])
            if self.fit_intercept:
                squares = np.concatenate([[len(factor)], squares])
            return loglik, information, np.dot(scores.T, scores), squares

        loglik, information, meat, squares = self._add_up(block)
        return FinalSummary(float(loglik), information, meat, squares)

    def firth_score(self, params: np.ndarray, inverse_root: np.ndarray) -> np.ndarray:
        """Return the score's bias correction, the sum of h_i (1/2 - pi_i) x_i.

        `inverse_root` (p, p) is a square root C of the inverse information, J^{-1} = C C'; the hat values are
        h_i = w_i pi_i (1 - pi_i) x_i' J^{-1} x_i.
        """

        def block(rows: slice) -> tuple[np.ndarray]:
            q, _, variance = _miss_probability(self.margins(params, rows))
            if self.weights is not None:
                variance *= self.weights[rows]
            projected = self.scaled_rows(rows, np.sqrt(variance)) @ inverse_root
            hat = np.einsum("ij,ij->i", projected, projected)
            return (self._score_of(rows, hat * self.sign[rows] * (q - 0.5)),)

        return self._add_up(block)[0]

    def _add_up(self, function):
        return add_up_blocks(function, self.n_rows, self.n_params)


def _miss_probability(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return q = 1 / (1 + exp z), 1 + exp(-|z|) and q (1 - q), each to full relative precision."""
    tail = np.exp(-np.abs(z))
    one_plus = 1.0 + tail
    larger = 1.0 / one_plus
    tail *= larger  # the smaller of q and 1 - q
    return np.where(z < 0.0, larger, tail), one_plus, tail * larger
