"""Leave-one-out cross-validation from posterior draws of one fit, by Pareto smoothed importance sampling.

The posterior without row i is the posterior of all rows with weights proportional to one over the likelihood of row i.
Its predictive density of the row, summed over rows in logarithms, is the expected log predictive density (elpd) for new
data.

References
----------
Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
Statistics and Computing 27, 1413-1432. Sivula, Magnusson, Matamoros and Vehtari (2020), Uncertainty in Bayesian
leave-one-out cross-validation based model comparison, arXiv 2008.10296.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from skdep._docs import read_more
from skdep._stack import level_of_caller
from skdep.bayes.pareto import khat_threshold, smooth_weights
from skdep.exceptions import ConvergenceWarning

__all__ = ["ElpdDifference", "LeaveOneOut", "compare_elpd", "leave_one_out"]

# Draws times rows handled at once: temporary arrays of 16 MB.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class LeaveOneOut:
    """Result of `leave_one_out`.

    Parameters
    ----------
    elpd : float
        Expected log pointwise predictive density: the sum of `pointwise`, weighted.
    se : float
        Its standard error over rows.
    p_loo : float
        Effective number of parameters: how much better rows are predicted when they were in the fit.
    pointwise : ndarray of shape (n,)
        Log predictive density of each row, given the others.
    khat : ndarray of shape (n,)
        Shape of the tail of the importance weights, by row.
    n_draws : int
        Number of draws.
    weights : ndarray of shape (n,) or None
        How many times each row counts.
    notes : tuple of str
        What to know before believing the numbers.
    unit : str, default="rows"
        What is left out one at a time.
    """

    elpd: float
    se: float
    p_loo: float
    pointwise: np.ndarray
    khat: np.ndarray
    n_draws: int
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    unit: str = "rows"

    @property
    def threshold(self) -> float:
        """Largest k-hat at which the estimate of a row can be trusted."""
        return khat_threshold(self.n_draws)

    @property
    def unreliable(self) -> np.ndarray:
        """Indices of rows whose k-hat is above the threshold."""
        return np.flatnonzero(~(self.khat <= self.threshold))

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {
            "elpd": self.elpd,
            "std_error": self.se,
            "p_loo": self.p_loo,
            "max_khat": float(self.khat.max()),
            "n_unreliable": self.unreliable.size,
            "n_obs": self.pointwise.size,
        }
        return pd.DataFrame(columns, index=["Leave-one-out"])

    def __str__(self) -> str:
        head = f"Leave-one-out: elpd {self.elpd:.2f} (SE {self.se:.2f}), p_loo {self.p_loo:.2f}"
        tail = f"{self.pointwise.size} {self.unit}, {self.n_draws} draws, largest k-hat {self.khat.max():.2f}"
        return "\n".join([head, tail, *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame(), floats=".2f"), notes=self.notes)


@dataclass(frozen=True)
class ElpdDifference:
    """Result of `compare_elpd`.

    Parameters
    ----------
    difference : float
        Elpd of the first model less that of the second: positive if the first predicts better.
    se : float
        Standard error of the difference, from the paired differences of rows.
    n_obs : int
        Number of rows.
    notes : tuple of str
        What to know before believing the numbers.
    """

    difference: float
    se: float
    n_obs: int
    notes: tuple[str, ...] = ()

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {"difference": self.difference, "std_error": self.se, "n_obs": self.n_obs}
        return pd.DataFrame(columns, index=["Difference of elpd"])

    def __str__(self) -> str:
        head = f"Difference of elpd, first less second: {self.difference:.2f} (SE {self.se:.2f}), {self.n_obs} rows"
        return "\n".join([head, *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame(), floats=".2f"), notes=self.notes)


def leave_one_out(
    log_likelihood: np.ndarray | Callable[[int, int], np.ndarray],
    *,
    n_obs: int | None = None,
    log_weights: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    relative_efficiency: float = 1.0,
) -> LeaveOneOut:
    """Estimate how well a model predicts a row that it has not seen, from draws given all rows.

    Parameters
    ----------
    log_likelihood : ndarray of shape (S, n), or callable
        Log-likelihood of each row (of one observation where rows count several times) at each posterior draw. A
        callable gets ``start, stop`` and returns the columns of these rows, ``(S, stop - start)``: the matrix is never
        held whole.
    n_obs : int, optional
        Number of rows n; needed with a callable.
    log_weights : ndarray of shape (S,), optional
        Logarithms of importance weights, up to a constant, of draws that are not from the posterior itself.
    sample_weight : ndarray of shape (n,), optional
        How many times each row counts. One of its repetitions is left out at a time.
    relative_efficiency : float, default=1.0
        Effective sample size of the draws, divided by S.

    Returns
    -------
    LeaveOneOut
        ``.elpd``, ``.se``, ``.p_loo``, and by row ``.pointwise`` and ``.khat``.

    Raises
    ------
    ValueError
        If shapes do not fit, or a log-likelihood is NaN or infinite.

    Warns
    -----
    ConvergenceWarning
        If k-hat of some rows is above the threshold: they influence the posterior so much that draws given all
        rows say little about the posterior without them.

    Examples
    --------
    Ten tosses of a coin with six heads, and a uniform prior on the probability of heads:

    >>> import numpy as np
    >>> from skdep.bayes.loo import leave_one_out
    >>> y = np.repeat([1, 0], [6, 4])
    >>> p = np.random.default_rng(0).beta(1 + 6, 1 + 4, size=(4000, 1))
    >>> result = leave_one_out(np.log(np.where(y == 1, p, 1 - p)))
    >>> print(f"{result.elpd:.2f}, exactly {6 * np.log(6 / 11) + 4 * np.log(4 / 11):.2f}")
    -7.68, exactly -7.68
    """
    columns, n_rows = _column_reader(log_likelihood, n_obs)
    counts = _checked_counts(sample_weight, n_rows)
    first = columns(0, 1)
    n_draws = first.shape[0]
    prior_log_weights = _normalised(log_weights, n_draws)
    block = max(1, _BLOCK // n_draws)
    pointwise, fitted, khat = np.empty(n_rows), np.empty(n_rows), np.empty(n_rows)
    for start in range(0, n_rows, block):
        rows = slice(start, min(start + block, n_rows))
        values = _checked_block(columns(rows.start, rows.stop), (n_draws, rows.stop - rows.start), start)
        weighted = values + prior_log_weights[:, None]
        fitted[rows] = logsumexp(weighted, axis=0)
        smoothed = smooth_weights(prior_log_weights[:, None] - values, relative_efficiency=relative_efficiency)
        pointwise[rows] = logsumexp(smoothed.log_weights + values, axis=0)
        khat[rows] = smoothed.khat
    total, se = _sum_and_error(pointwise, counts)
    p_loo = float((fitted - pointwise).sum() if counts is None else counts @ (fitted - pointwise))
    notes = _notes(khat, n_draws)
    for note in notes:
        warnings.warn(note + read_more("bayes_evidence"), ConvergenceWarning, stacklevel=level_of_caller())
    return LeaveOneOut(total, se, p_loo, pointwise, khat, n_draws, counts, notes)


def compare_elpd(first: LeaveOneOut, second: LeaveOneOut) -> ElpdDifference:
    """Return how much better the first of two models predicts the same rows.

    Parameters
    ----------
    first, second : LeaveOneOut
        Results of `leave_one_out` for the same rows in the same order.

    Returns
    -------
    ElpdDifference
        ``.difference`` and its standard error ``.se``, that of paired differences: what makes a row hard to predict
        for both models cancels.

    Raises
    ------
    ValueError
        If the rows or how often they count differ.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.loo import compare_elpd, leave_one_out
    >>> y = np.repeat([1, 0], [150, 50])
    >>> p = np.random.default_rng(0).beta(151, 51, size=(4000, 1))
    >>> coin = leave_one_out(np.log(np.where(y == 1, p, 1 - p)))
    >>> fair = leave_one_out(np.full((4000, 200), np.log(0.5)))
    >>> print(compare_elpd(coin, fair))
    Difference of elpd, first less second: 25.17 (SE 6.76), 200 rows
    """
    if first.pointwise.shape != second.pointwise.shape:
        raise ValueError(
            f"the models are of {first.pointwise.size} and {second.pointwise.size} rows; compare fits to the same rows"
        )
    n_rows = first.pointwise.size
    counts, other = (np.ones(n_rows) if loo.weights is None else loo.weights for loo in (first, second))
    if not np.array_equal(counts, other):
        raise ValueError("rows count differently in the two models: give both the same sample_weight")
    difference, se = _sum_and_error(first.pointwise - second.pointwise, counts)
    notes = [f"{name} model: {note}" for name, loo in (("first", first), ("second", second)) for note in loo.notes]
    if counts.sum() < 100:
        notes.append("with fewer than 100 rows the standard error may be too small by a factor of two")
    if abs(difference) < 4.0:
        notes.append(
            "a difference below 4 is small, and its standard error is then unreliable: the models predict alike"
        )
    return ElpdDifference(difference, se, n_rows, tuple(notes))


def _column_reader(
    log_likelihood: np.ndarray | Callable[[int, int], np.ndarray], n_obs: int | None
) -> tuple[Callable[[int, int], np.ndarray], int]:
    """Return a function that gives the columns of a range of rows, and the number of rows."""
    if callable(log_likelihood):
        if n_obs is None or n_obs < 1:
            raise ValueError("with a callable, n_obs must be the number of rows, at least 1")
        read = log_likelihood
        return lambda start, stop: np.asarray(read(start, stop), dtype=float), n_obs
    matrix = np.asarray(log_likelihood, dtype=float)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"log_likelihood must be (draws, rows) with at least one row, got shape {matrix.shape}")
    if n_obs is not None and n_obs != matrix.shape[1]:
        raise ValueError(f"n_obs={n_obs}, but log_likelihood has {matrix.shape[1]} columns")
    return lambda start, stop: matrix[:, start:stop], matrix.shape[1]


def _checked_counts(sample_weight: np.ndarray | None, n_rows: int) -> np.ndarray | None:
    if sample_weight is None:
        return None
    counts = np.asarray(sample_weight, dtype=float)
    if counts.shape != (n_rows,):
        raise ValueError(f"sample_weight must have shape ({n_rows},), got {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0.0).any() or not counts.any():
        raise ValueError("sample_weight must be finite and not negative, with a positive sum")
    return counts


def _checked_block(values: np.ndarray, shape: tuple[int, int], start: int) -> np.ndarray:
    if values.shape != shape:
        raise ValueError(f"log_likelihood({start}, {start + shape[1]}) must have shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        row = start + int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])
        raise ValueError(f"log_likelihood of row {row} is NaN or infinite at some draw")
    return values


def _normalised(log_weights: np.ndarray | None, n_draws: int) -> np.ndarray:
    if log_weights is None:
        return np.full(n_draws, -np.log(n_draws))
    log_weights = np.asarray(log_weights, dtype=float)
    if log_weights.shape != (n_draws,):
        raise ValueError(f"log_weights must have shape ({n_draws},), got {log_weights.shape}")
    total = logsumexp(log_weights)
    if not np.isfinite(total):
        raise ValueError("log_weights must have no NaN or inf, and not all be -inf")
    return log_weights - total


def _sum_and_error(values: np.ndarray, counts: np.ndarray | None) -> tuple[float, float]:
    """Return the sum over observations and its standard error: the root of their number times their variance."""
    counts = np.ones(values.size) if counts is None else counts
    number, total = counts.sum(), counts @ values
    if number <= 1.0:
        return float(total), np.nan
    variance = counts @ (values - total / number) ** 2 / (number - 1.0)
    return float(total), float(np.sqrt(number * variance))


def _notes(khat: np.ndarray, n_draws: int) -> tuple[str, ...]:
    threshold = khat_threshold(n_draws)
    n_bad = int((~(khat <= threshold)).sum())
    if not n_bad:
        return ()
    return (
        f"k-hat is above {threshold:.2f} for {n_bad} of {khat.size} rows (largest {khat.max():.2f}, row "
        f"{khat.argmax()}): their leave-one-out densities are unreliable, mostly too high. "
        "Draw more, or refit without these rows.",
    )
