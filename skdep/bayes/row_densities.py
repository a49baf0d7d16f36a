r"""Predictive densities of what the likelihood leaves out, at each draw: a row, or all rows of a level.

In a multilevel model a row is predicted from the draw's parameters and from the *other* rows of its level, the level's
effects b integrated:

.. math:: p(y_j \mid y_{-j}, \theta) = \Big( E_{b \mid y, \theta} \frac{1}{p(y_j \mid b, \theta)} \Big)^{-1},

by the nodes that the likelihood itself is computed with. Importance weights then have to bridge parameters only. With
drawn effects they would have to bridge a level's effects too, which a single row can move far, and would fail.

References
----------
Vehtari, Mononen, Tolvanen, Sivula and Winther (2016), Bayesian leave-one-out cross-validation approximations for
Gaussian latent variable models, Journal of Machine Learning Research 17, 103. Merkle, Furr and Rabe-Hesketh (2019),
Bayesian comparison of latent variable models: conditional versus marginal likelihoods, Psychometrika 84, 802-829.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from skdep.bayes.batch_marginal import BatchMarginal
from skdep.glmm.modes import solve_upper
from skdep.glmm.rows import GlmmRows

__all__ = ["level_densities", "row_densities"]

# Draws times rows of a batch.
_BATCH_FLOATS = 1 << 17
# Log odds beyond which a probability is 0 or 1 for all purposes, and its reciprocal still a number.
_LARGEST = 300.0


class _Nodes(BatchMarginal):
    """The marginal likelihood of many parameters, taken apart by level and node."""

    def batches(self, beta: np.ndarray, factors: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield draws, their fixed predictors (n_rows, D) and factors T (q, q, D)."""
        step = int(np.clip(_BATCH_FLOATS // self.rows.n_rows, 1, len(beta)))
        for begin in range(0, len(beta), step):
            draws = slice(begin, begin + step)
            yield draws, self._fixed(beta[draws]), np.ascontiguousarray(factors[draws].transpose(1, 2, 0))

    def effects_and_logs(self, fixed: np.ndarray, T: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Return effects b at the nodes (q, n_levels, D), logarithms of the integrand there, and log determinants."""
        add_up = self.data.levels.adder(slice(0, self.data.levels.n_levels))
        mode, root = self._find_modes(fixed, T, add_up)
        effects, logs = [], []
        for k in range(self.rule.n_nodes):
            node = np.broadcast_to(self.rule.nodes[:, k, None, None], mode.shape)
            at = mode + solve_upper(root, node)
            effects.append(self._effects(T, at))
            logs.append(self.rule.log_weights[k] + self._psi(fixed, T, at, add_up))
        return effects, np.array(logs), sum(np.log(root[a, a]) for a in range(self.data.q))

    def predictor(self, fixed: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds (n_rows, D) at effects b (q, n_levels, D)."""
        return self._predictor(fixed, b)


def _nodes(rows: GlmmRows, n_nodes: int) -> _Nodes:
    (term,) = rows.terms
    return _Nodes(replace(rows, level_weights=None), n_nodes, np.zeros((term.q, term.n_levels)))


def level_densities(rows: GlmmRows, beta: np.ndarray, factors: np.ndarray, n_nodes: int) -> np.ndarray:
    """Return the log densities of all rows of each level, its effects integrated over their distribution.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model with one factor.
    beta : ndarray of shape (D, k)
        Working coefficients of the draws.
    factors : ndarray of shape (D, q, q)
        Factors of the covariance matrices of the draws.
    n_nodes : int
        Nodes per dimension.

    Returns
    -------
    ndarray of shape (D, n_levels)
        Log densities; they sum to the log-likelihood.
    """
    nodes, (term,) = _nodes(rows, n_nodes), rows.terms
    result = np.empty((len(beta), term.n_levels))
    starts = np.searchsorted(term.codes, np.arange(term.n_levels))
    for draws, fixed, T in nodes.batches(beta, factors):
        _, logs, log_det = nodes.effects_and_logs(fixed, T)
        largest = logs.max(axis=0)
        by_level = largest + np.log(np.exp(logs - largest).sum(axis=0)) - log_det
        linear = np.add.reduceat(rows.outcome[:, None] * fixed, starts, axis=0)
        result[draws] = (by_level + linear).T
    return result


def row_densities(
    rows: GlmmRows, beta: np.ndarray, factors: np.ndarray | None, n_nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return log probabilities of a failure and of a success of one repetition of each row, given all other rows.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model with at most one factor.
    beta : ndarray of shape (D, k)
        Working coefficients of the draws.
    factors : ndarray of shape (D, q, q) or None
        Factors of the covariance matrices of the draws; None without a factor.
    n_nodes : int
        Nodes per dimension.

    Returns
    -------
    failure, success : ndarray of shape (D, n_rows)
        Log densities of what was left out. Without random effects they are those of the draw's parameters.
    """
    if factors is None:
        eta = np.dot(beta, rows.fixed.T)
        if rows.offset is not None:
            eta += rows.offset
        return -np.logaddexp(0.0, eta), -np.logaddexp(0.0, -eta)
    nodes, codes = _nodes(rows, n_nodes), rows.terms[0].codes
    failure, success = (np.empty((len(beta), rows.n_rows)) for _ in range(2))
    for draws, fixed, T in nodes.batches(beta, factors):
        effects, logs, _ = nodes.effects_and_logs(fixed, T)
        weights = np.exp(logs - logs.max(axis=0))
        total = np.log(weights.sum(axis=0))[codes]
        by_failure, by_success = np.zeros_like(fixed), np.zeros_like(fixed)
        for weight, b in zip(weights, effects, strict=True):
            odds = np.exp(np.clip(nodes.predictor(fixed, b), -_LARGEST, _LARGEST))
            spread = weight[codes]
            by_failure += spread * (1.0 + odds)
            by_success += spread * (1.0 + 1.0 / odds)
        failure[draws] = (total - np.log(by_failure)).T
        success[draws] = (total - np.log(by_success)).T
    return failure, success
