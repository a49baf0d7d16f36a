r"""Levels of one row each: the likelihood of a binary row, its random effects integrated.

A logistic variable is 2 K times a standard normal one, K with Kolmogorov's distribution. With x the linear predictor
without random effects, its sign changed for a failure, and tau^2 the variance of the random part, the likelihood is

    E expit(x + tau u) = E Phi(x / sqrt(4 K^2 + tau^2)),

whose right side is smooth in K whatever tau is: ten nodes of the Gauss rule for K's distribution give it to a ten
thousandth of its value. Quadrature over u takes the more nodes the larger tau is, since expit(x + tau u) becomes a
step.

References
----------
Andrews and Mallows (1974), Scale mixtures of normal distributions, Journal of the Royal Statistical Society B 36,
99-102.
Monahan and Stefanski (1992), Normal scale mixture approximations to F*(z) and computation of the logistic-normal
integral, in Balakrishnan (ed.), Handbook of the Logistic Distribution, Marcel Dekker, 529-540.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import special, stats

from skdep._threads import threads_over_blocks
from skdep.bayes.distinct_levels import pick_levels
from skdep.glmm.rows import GlmmRows

__all__ = ["SingleRows", "split_levels"]

_N_NODES = 10
# Where Kolmogorov's distribution is, but for 1e-16 of it, and points that its moments are computed from.
_RANGE, _N_POINTS = (0.1, 4.5), 1000
# Rows times draws of a block.
_BLOCK_FLOATS = 1 << 15


class SingleRows:
    """Log-likelihoods of binary rows, each with effects of its own, at many parameters.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model of one factor; each has a level of its own, and no weight.
    """

    def __init__(self, rows: GlmmRows):
        sign = np.where(rows.outcome > 0.5, 1.0, -1.0)
        self._fixed = rows.fixed * sign[:, None]
        self._offset = None if rows.offset is None else rows.offset * sign
        self._columns, self._weights = rows.terms[0].columns, rows.level_weights
        self._is_constant = len(self._columns) == 1 and bool((self._columns == 1.0).all())

    def log_likelihood(self, beta: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods (D,) at fixed effects beta (D, p) and factors T (D, q, q)."""
        n_draws, n_rows = len(beta), len(self._fixed)
        result = np.empty(n_draws)
        step = int(np.clip(_BLOCK_FLOATS // n_rows, 1, n_draws))

        def block(begin: int) -> None:
            draws = slice(begin, begin + step)
            result[draws] = self._block(beta[draws], factors[draws])

        with threads_over_blocks(n_rows * n_draws * _N_NODES) as run:
            list(run(block, range(0, n_draws, step)))
        return result

    def _block(self, beta: np.ndarray, factors: np.ndarray) -> np.ndarray:
        x = np.dot(self._fixed, beta.T)
        if self._offset is not None:
            x += self._offset[:, None]
        log_values = np.log(_success(x, self._variance(factors)))
        return log_values.sum(axis=0) if self._weights is None else self._weights @ log_values

    def _variance(self, factors: np.ndarray) -> np.ndarray:
        """Return tau^2, (D,) or (n_rows, D)."""
        if self._is_constant:
            return factors[:, 0, 0] ** 2
        parts = np.einsum("dac,an->cnd", factors, self._columns)
        return np.einsum("cnd,cnd->nd", parts, parts)


def _success(x: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return E expit(x + tau u), u standard normal, tau^2 the variance."""
    value, part = np.zeros_like(x), np.empty_like(x)
    for node, weight in zip(*_rule(), strict=True):
        np.divide(x, np.sqrt(4.0 * node * node + variance), out=part)
        special.ndtr(part, out=part)
        part *= weight
        value += part
    # far out, where a finite mixture of normal tails falls short of a logistic one; averaging brings it closer to 1/2
    return np.maximum(value, special.expit(np.minimum(x, 0.0)))


@cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the Gauss rule for Kolmogorov's distribution, by Stieltjes' procedure."""
    low, high = _RANGE
    # a smooth density that vanishes at both ends: equal steps are as good as any
    at = np.linspace(low, high, _N_POINTS)
    mass = stats.kstwobign.pdf(at)
    mass /= mass.sum()
    diagonal, beside = np.empty(_N_NODES), np.empty(_N_NODES)
    before, present, norm = np.zeros_like(at), np.ones_like(at), 0.0
    for k in range(_N_NODES):
        diagonal[k], beside[k] = mass @ (at * present**2), norm
        after = (at - diagonal[k]) * present - norm * before
        norm = np.sqrt(mass @ after**2)
        before, present = present, after / norm
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[1:], 1) + np.diag(beside[1:], -1))
    return nodes, vectors[0] ** 2


def split_levels(rows: GlmmRows) -> tuple[GlmmRows | None, GlmmRows | None, np.ndarray]:
    """Tell levels of one binary row each from others.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model of one factor.

    Returns
    -------
    singles : GlmmRows or None
        The levels of one binary row, None if there are none.
    others : GlmmRows or None
        The other levels, None if there are none.
    kept : ndarray of int
        Numbers of the other levels.
    """
    (term,) = rows.terms
    sizes = np.bincount(term.codes, minlength=term.n_levels)
    is_binary = (rows.weight == 1.0) & ((rows.outcome == 0.0) | (rows.outcome == 1.0))
    single = np.zeros(term.n_levels, dtype=bool)
    single[term.codes[is_binary & (sizes[term.codes] == 1)]] = True
    singles, others = np.flatnonzero(single), np.flatnonzero(~single)
    if not len(singles):
        return None, rows, others
    return pick_levels(rows, singles), pick_levels(rows, others) if len(others) else None, others
