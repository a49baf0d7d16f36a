"""What convergence diagnostics are made of: normal scores of ranks, R-hat and effective sample sizes of half chains.

Arrays are ``(P, m, n)``: n draws of m half chains of P parameters. All parameters are handled at once.
"""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.special import ndtri

__all__ = ["SortedDraws", "mean_ess", "split_rhat"]

# Lags computed by products: chains that mix well need no more, and a Fourier transform costs several times as much.
_FIRST_LAGS = 10


class SortedDraws:
    """Draws of some parameters in increasing order, and what ranks give: normal scores and quantiles.

    Parameters
    ----------
    halves : ndarray of shape (P, m, n)
        Draws by parameter and half chain; m n is even.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.chain_statistics import SortedDraws
    >>> draws = SortedDraws(np.array([[[0.3, 4.0, 1.0], [2.0, 2.0, 0.5]]]))
    >>> draws.scores().round(2)
    array([[[-1.28,  1.28, -0.2 ],
            [ 0.41,  0.41, -0.64]]])
    """

    def __init__(self, halves: np.ndarray) -> None:
        self.halves = halves
        flat = halves.reshape(halves.shape[0], halves.shape[1] * halves.shape[2])
        # Indices into the flattened array: indexing with them is twice as fast as by rows.
        self.order = np.argsort(flat, axis=1)
        self.order += flat.shape[1] * np.arange(flat.shape[0])[:, None]
        self.ordered = flat.ravel()[self.order]

    def scores(self) -> np.ndarray:
        """Return normal scores of the ranks, in the places of the draws."""
        return self._in_place(_scores_in_order(self.ordered), self.order)

    def folded_scores(self) -> np.ndarray:
        """Return normal scores of the ranks of distances from the median, in the places of the draws."""
        middle = self.ordered.shape[1] // 2
        lower, upper = self.ordered[:, :middle], self.ordered[:, middle:]
        median = (lower[:, -1:] + upper[:, :1]) / 2.0
        # Two increasing runs, which a merge sort recognises.
        distances = np.concatenate([(median - lower)[:, ::-1], upper - median], axis=1)
        order = np.concatenate([self.order[:, middle - 1 :: -1], self.order[:, middle:]], axis=1)
        merged = np.argsort(distances, axis=1, kind="stable")
        merged += distances.shape[1] * np.arange(distances.shape[0])[:, None]
        return self._in_place(_scores_in_order(distances.ravel()[merged]), order.ravel()[merged])

    def up_to(self, probability: float) -> np.ndarray:
        """Return the indicator of draws up to a quantile, in the places of the draws."""
        position = (self.ordered.shape[1] - 1) * probability
        below = int(position)
        left, right = self.ordered[:, below], self.ordered[:, min(below + 1, self.ordered.shape[1] - 1)]
        quantile = left + (position - below) * (right - left)
        return (self.halves <= quantile[:, None, None]).astype(float)

    def _in_place(self, values: np.ndarray, order: np.ndarray) -> np.ndarray:
        result = np.empty(values.size)
        result[order] = values
        return result.reshape(self.halves.shape)


def _scores_in_order(ordered: np.ndarray) -> np.ndarray:
    """Return normal scores of the average ranks of rows that are in increasing order."""
    n_rows, size = ordered.shape
    # Average ranks are multiples of 1/2: the quantile function is evaluated once for all parameters.
    table = ndtri((np.arange(2, 2 * size + 1) / 2.0 - 0.375) / (size + 0.25))
    scores = np.repeat(table[None, ::2], n_rows, axis=0)
    # A column that ties with nothing on either side keeps runs of ties within their rows.
    tied = np.zeros((n_rows, size + 1), dtype=bool)
    np.equal(ordered[:, 1:], ordered[:, :-1], out=tied[:, 1:size])
    changes = np.flatnonzero(np.diff(tied.ravel(), append=False))
    first, last = changes[::2], changes[1::2]
    lengths = last - first + 1
    members = np.repeat(last + 1 - np.cumsum(lengths), lengths) + np.arange(lengths.sum())
    rows, columns = np.divmod(members, size + 1)
    scores[rows, columns] = np.repeat(table[first % (size + 1) + last % (size + 1)], lengths)
    return scores


def split_rhat(values: np.ndarray) -> np.ndarray:
    """Return R-hat: the root of total over within-chain variance.

    Parameters
    ----------
    values : ndarray of shape (P, m, n)
        Values by parameter and half chain.

    Returns
    -------
    ndarray of shape (P,)
        R-hat; inf, up to rounding, where chains are constants that differ.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.chain_statistics import split_rhat
    >>> split_rhat(np.array([[[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]])).round(3)
    array([1.08])
    """
    n = values.shape[2]
    within = values.var(axis=2, ddof=1).mean(axis=1)
    return np.sqrt(values.mean(axis=2).var(axis=1, ddof=1) / within + (n - 1.0) / n)


def mean_ess(values: np.ndarray) -> np.ndarray:
    """Return the effective sample size of the mean.

    Parameters
    ----------
    values : ndarray of shape (P, m, n)
        Values by parameter and half chain.

    Returns
    -------
    ndarray of shape (P,)
        Effective sample sizes, at most m n log10(m n); NaN where all values are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.chain_statistics import mean_ess
    >>> steps = np.random.default_rng(0).normal(size=(1, 4, 1000))
    >>> print(mean_ess(steps.repeat(10, axis=2)).round(-2))  # every value ten times
    [4000.]
    """
    _, m, n = values.shape
    means = values.mean(axis=2, keepdims=True)
    centred = values - means
    variance = np.einsum("pmn,pmn->p", centred, centred) / (m * n)
    within = variance * n / (n - 1.0)
    total = variance + means[:, :, 0].var(axis=1, ddof=1)
    n_lags = 2 * max((n - 1) // 2, 1)

    def autocorrelation(covariance: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
        rho = 1.0 - (within[rows, None] - covariance) / total[rows, None]
        rho[:, 0] = 1.0
        return rho

    few = min(_FIRST_LAGS, n_lags)
    time, ended = _autocorrelation_time(autocorrelation(_covariance_by_products(centred, few), slice(None)))
    if few < n_lags:
        rows = np.flatnonzero(~ended & (total > 0.0))
        if rows.size:
            covariance = _covariance_by_fourier(centred[rows], n_lags)
            time[rows], _ = _autocorrelation_time(autocorrelation(covariance, rows))
    size = m * n
    ess = size / np.maximum(time, 1.0 / np.log10(size))
    return np.where(total > 0.0, ess, np.nan)


def _covariance_by_products(centred: np.ndarray, n_lags: int) -> np.ndarray:
    """Return autocovariances averaged over chains, (P, n_lags)."""
    n_parameters, m, n = centred.shape
    covariance = np.empty((n_parameters, n_lags))
    for lag in range(n_lags):
        covariance[:, lag] = np.einsum("pmn,pmn->p", centred[:, :, : n - lag], centred[:, :, lag:])
    return covariance / (m * n)


def _covariance_by_fourier(centred: np.ndarray, n_lags: int) -> np.ndarray:
    """Return autocovariances averaged over chains, (P, n_lags): one inverse transform a parameter suffices."""
    n = centred.shape[2]
    length = fft.next_fast_len(n + n_lags, real=True)
    transform = fft.rfft(centred, length, axis=2)
    power = (transform.real**2 + transform.imag**2).mean(axis=1)
    return fft.irfft(power, length, axis=1)[:, :n_lags] / n


def _autocorrelation_time(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the integrated autocorrelation time by Geyer's initial monotone sequence, and whether the sequence ended.

    Sums of autocorrelations at lags 2k and 2k + 1 are positive and decrease for a reversible chain: noise begins at the
    first sum that is not positive, and a sum above its predecessor is lowered to it.
    """
    pairs = rho[:, ::2] + rho[:, 1::2]
    over = pairs <= 0.0
    ended = over.any(axis=1)
    end = np.where(ended, over.argmax(axis=1), pairs.shape[1] - 1)
    before = np.arange(pairs.shape[1]) < end[:, None]
    positive = np.where(before, np.minimum.accumulate(pairs, axis=1), 0.0).sum(axis=1)
    # One more term where it is positive lessens the bias of antithetic chains.
    remainder = np.take_along_axis(rho, 2 * end[:, None], axis=1)[:, 0]
    return 2.0 * positive - 1.0 + np.where(ended, np.maximum(remainder, 0.0), remainder), ended
