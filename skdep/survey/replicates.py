r"""Replicate weights: the variance of an estimate from its values under many sets of weights.

Each replicate is a set of weights under which the estimate is computed anew; its variance is a sum of squares of what
comes out,

.. math:: V = a \sum_r a_r (\theta_r - c)(\theta_r - c)',

with `scale` a, `rscales` a_r, and for c the mean of the replicates or, under `mse`, the estimate from the full sample.

References
----------
Wolter (2007), Introduction to Variance Estimation, 2nd ed., Springer. Rust and Rao (1996), Statistical Methods in
Medical Research 5, 283-310.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg

from skdep._stack import level_of_caller
from skdep._threads import one_blas_thread
from skdep._validation import check_weights
from skdep.exceptions import ConvergenceWarning
from skdep.survey.replicate_factors import Factors

__all__ = ["METHODS", "ReplicateWeights", "left_out_message"]

METHODS = ("jk1", "jkn", "jk2", "brr", "fay", "bootstrap", "canty_davison", "multistage_bootstrap", "sdr")
# A column of weights of which less than this remains, squared, after the others are taken out, depends on them.
_DEPENDENT = 1e-10
_GRAM_ROWS = 16384
# With fewer of the replicates than this a variance is not what it says.
_LEAST_SHARE = 0.5


@dataclass(frozen=True, eq=False, repr=False, init=False)
class ReplicateWeights:
    """Weights of the rows in every replicate, and how a variance is made of what they give.

    `replicate_weights` makes them from a design; this class takes a matrix, such as a public-use file has.

    Parameters
    ----------
    weights : array-like of shape (n_rows, n_replicates)
        Weights of each row in each replicate, or factors of the sampling weights if not `combined`.
    scale : float, optional
        Factor of the variance. By default what `method` says, for R replicates: (R - 1) / R for ``"jk1"``, 1 for
        ``"jk2"``, 1 / R for ``"brr"``, that over (1 - rho)^2 for ``"fay"``, 1 / (R - 1) for bootstraps, 4 / R for
        ``"sdr"``.
    rscales : float or array-like of shape (n_replicates,), optional
        Factor of each replicate; 1 by default.
    mse : bool, optional
        Whether deviations are from the full sample's estimate, and not from the mean of the replicates'. By default
        True for ``"jk2"`` and ``"sdr"`` alone.
    combined : bool, default=True
        Whether `weights` hold the sampling weights already.
    sample_weight : array-like of shape (n_rows,), optional
        Sampling weights of the full sample; required if not `combined`. With them `fit` needs no others, and rows of
        weight zero do not count for `df`.
    method : str, default="other"
        Name of the method, of those that `replicate_weights` takes, or ``"other"``.
    rho : float, optional
        Coefficient of Fay's method.
    df : float, optional
        Degrees of freedom; by default the rank of the weights less one.

    Attributes
    ----------
    weights : ndarray of shape (n_rows, n_replicates)
        Weights of each row in each replicate, sampling weights included. Replicates made from a design are kept as
        factors of units, and multiplied out when this is asked for.
    df : float
        Degrees of freedom.

    See Also
    --------
    replicate_weights : Make them from a design.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.survey import ReplicateWeights
    >>> half = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    >>> replicates = ReplicateWeights(half, method="brr")
    >>> replicates
    ReplicateWeights(brr: 2 replicates of 4 rows, df=1, scale=0.5)
    >>> y = np.array([1.0, 3.0, 2.0, 4.0])
    >>> means = replicates.weights.T @ y / replicates.weights.sum(axis=0)
    >>> replicates.variance(means[:, None], np.array([y.mean()]))
    array([[1.]])
    """

    factors: np.ndarray
    unit: np.ndarray | None
    sample_weight: np.ndarray | None
    combined: bool
    scale: float
    rscales: np.ndarray
    mse: bool
    method: str
    fixed_df: float | None = field(default=None)

    def __init__(
        self,
        weights: Any,
        *,
        scale: float | None = None,
        rscales: Any = None,
        mse: bool | None = None,
        combined: bool = True,
        sample_weight: Any = None,
        method: str = "other",
        rho: float | None = None,
        df: float | None = None,
    ):
        if method not in (*METHODS, "other"):
            raise ValueError(f"method={method!r} is not known; choose one of {[*METHODS, 'other']}.")
        factors = _matrix(weights)
        base = check_weights(sample_weight, len(factors))
        if not combined and base is None:
            raise ValueError("Factors of the sampling weights (combined=False) need those: pass sample_weight=.")
        self._set(
            factors=factors,
            unit=None,
            sample_weight=base,
            combined=bool(combined),
            scale=_scale(scale, method, factors.shape[1], rho, rscales),
            rscales=_rscales(rscales, factors.shape[1]),
            mse=method in ("jk2", "sdr") if mse is None else bool(mse),
            method=method,
            fixed_df=None if df is None else float(df),
        )

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_factors(cls, made: Factors, sample_weight: np.ndarray, method: str, mse: bool | None) -> ReplicateWeights:
        """Return the replicate weights of units that a method has made factors for."""
        self = cls.__new__(cls)
        self._set(
            factors=made.factors,
            unit=made.unit,
            sample_weight=sample_weight,
            combined=False,
            scale=made.scale,
            rscales=made.rscales,
            mse=made.mse if mse is None else bool(mse),
            method=method,
            fixed_df=None,
        )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of replicates."""
        return len(self), self.n_replicates

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return self.factors.shape[1]

    def __len__(self) -> int:
        return len(self.factors if self.unit is None else self.unit)

    @property
    def weights(self) -> np.ndarray:
        """Weights of each row in each replicate (n_rows, n_replicates), sampling weights included."""
        return self.blocks()(slice(None))

    def blocks(self, replicates: Any = slice(None)) -> Callable[[slice], np.ndarray]:
        """Return a function from a slice of rows to their weights in some replicates: a slice, or their numbers.

        What it returns may be part of the weights themselves: not to be written to.
        """
        unit, base = self.unit, None if self.combined else self.sample_weight
        factors = self.factors if unit is None else self.factors[:, replicates]

        def block(rows: slice) -> np.ndarray:
            weights = factors[rows][:, replicates] if unit is None else factors[unit[rows]]
            return weights if base is None else weights * base[rows, None]

        return block

    def __getitem__(self, rows: Any) -> ReplicateWeights:
        """Return the replicate weights of some rows: a mask, their numbers, or a slice."""
        if isinstance(rows, tuple):  # scikit-learn's indexing of rows says [rows, ...]
            rows = rows[0]
        part = type(self).__new__(type(self))
        part._set(
            factors=self.factors[rows] if self.unit is None else self.factors,
            unit=None if self.unit is None else self.unit[rows],
            sample_weight=None if self.sample_weight is None else self.sample_weight[rows],
            combined=self.combined,
            scale=self.scale,
            rscales=self.rscales,
            mse=self.mse,
            method=self.method,
            fixed_df=self.fixed_df,
        )
        return part

    @cached_property
    def df(self) -> float:
        """Degrees of freedom: those given, or the rank of the weights less one, rows of weight zero left out."""
        if self.fixed_df is not None:
            return self.fixed_df
        if self.unit is None:
            inside = slice(None) if self.sample_weight is None else self.sample_weight > 0
            return float(_rank(self.factors[inside]) - 1)
        assert self.sample_weight is not None
        return float(_rank(self.factors[np.unique(self.unit[self.sample_weight > 0])]) - 1)

    def variance(self, estimates: np.ndarray, full: np.ndarray) -> np.ndarray:
        """Return the variance of an estimate.

        Parameters
        ----------
        estimates : array-like of shape (n_replicates, p)
            Estimates under the weights of each replicate. Rows with NaN are left out, with a warning: the variance is
            then scaled up as if they had deviated as much as the others. It is NaN if fewer than half are left.
        full : array-like of shape (p,)
            Estimates from the full sample.

        Returns
        -------
        variance : ndarray of shape (p, p)
            Variance.

        Raises
        ------
        ValueError
            If shapes do not match.
        """
        estimates, full = np.asarray(estimates, dtype=np.float64), np.asarray(full, dtype=np.float64)
        if full.ndim != 1 or estimates.shape != (self.n_replicates, len(full)):
            raise ValueError(
                f"estimates must have shape ({self.n_replicates}, p) and full (p,), got {estimates.shape} and "
                f"{full.shape}."
            )
        n_missing = int(np.sum(~np.isfinite(estimates).all(axis=1)))
        if n_missing:
            message = f"{n_missing} of {self.n_replicates} replicates have no estimates: {left_out_message(self)}"
            warnings.warn(message, ConvergenceWarning, stacklevel=level_of_caller())
        return self.variance_of_found(estimates, full)

    def variance_of_found(self, estimates: np.ndarray, full: np.ndarray) -> np.ndarray:
        """Return the variance as `variance` does, without its warning."""
        found = np.isfinite(estimates).all(axis=1)
        counted = found & (self.rscales > 0)
        if found.sum() < max(1, _LEAST_SHARE * len(found)) or not counted.any():
            return np.full((len(full), len(full)), np.nan)
        centre = full if self.mse else estimates[counted].mean(axis=0)
        deviations = (estimates[counted] - centre) * np.sqrt(self.rscales[counted])[:, None]
        factor = self.scale * self.rscales.sum() / self.rscales[counted].sum()
        return factor * np.dot(deviations.T, deviations)

    def describe(self) -> str:
        """Say what they are, as ``jkn: 30 replicates of 900 rows in 30 units, df=15, scale=1``."""
        n_rows, n_replicates = self.shape
        units = "" if self.unit is None or len(self.factors) == n_rows else f" in {len(self.factors)} units"
        rscales = ""
        if np.ptp(self.rscales):
            rscales = f", rscales={self.rscales.min():.4g} to {self.rscales.max():.4g}"
        elif self.rscales[0] != 1.0:
            rscales = f", rscales={self.rscales[0]:.4g}"
        return (
            f"{self.method}: {n_replicates} replicates of {n_rows} rows{units}, df={self.df:g}, "
            f"scale={self.scale:.4g}{rscales}{', mse=True' if self.mse else ''}"
        )

    def __repr__(self) -> str:
        return f"ReplicateWeights({self.describe()})"


def left_out_message(replicates: ReplicateWeights) -> str:
    """Say what becomes of a variance when replicates are left out."""
    return (
        "they are left out of the variance, which is scaled up as if they had deviated as much as the others (NaN if "
        f"fewer than half of the {replicates.n_replicates} are left)."
    )


def _matrix(weights: Any) -> np.ndarray:
    """Return replicate weights as numbers (n_rows, n_replicates), none negative, some positive in every column."""
    try:
        matrix = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights must be numbers: {error}.") from error
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"weights must have one row a row of data and one column a replicate, got {matrix.shape}.")
    least, largest = matrix.min(axis=0), matrix.max(axis=0)
    if not (np.isfinite(largest).all() and (least >= 0).all()):
        for bad, what in ((~np.isfinite(matrix), "missing or infinite"), (matrix < 0, "negative")):
            if bad.any():
                row, column = np.argwhere(bad)[0]
                raise ValueError(f"weights: {int(bad.sum())} are {what}, first in row {row} of replicate {column}.")
    empty = largest == 0
    if empty.any():
        raise ValueError(
            f"weights: every weight is zero in {int(empty.sum())} replicates, first in {int(np.flatnonzero(empty)[0])}."
        )
    return matrix


def _scale(scale: float | None, method: str, n_replicates: int, rho: float | None, rscales: Any) -> float:
    """Return the factor of the variance, if none is given that of the method."""
    if (rho is not None) != (method == "fay" and scale is None):
        if rho is None:
            raise ValueError("method='fay' needs rho=, or scale=.")
        raise ValueError("rho= belongs to method='fay' without scale=.")
    if scale is not None:
        if not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be positive and finite, got {scale!r}.")
        return float(scale)
    if rho is not None:
        check_rho(rho)
    defaults = {
        "jk1": (n_replicates - 1.0) / n_replicates,
        "jk2": 1.0,
        "brr": 1.0 / n_replicates,
        "fay": 1.0 / (n_replicates * (1.0 - (rho or 0.0)) ** 2),
        "sdr": 4.0 / n_replicates,
        **dict.fromkeys(("bootstrap", "canty_davison", "multistage_bootstrap"), 1.0 / max(n_replicates - 1.0, 1.0)),
    }
    if method == "jkn" and rscales is not None:
        return 1.0
    if method not in defaults:
        needs = "rscales=, the (n - 1) / n of each replicate's stratum," if method == "jkn" else "scale="
        raise ValueError(f"method={method!r} does not say how a variance is made of the replicates: pass {needs}.")
    return defaults[method]


def check_rho(rho: float) -> None:
    """Raise unless Fay's coefficient is in its range."""
    if not 0.0 <= rho < 1.0:
        raise ValueError(f"rho must be at least 0 and below 1, got {rho!r}.")


def _rscales(rscales: Any, n_replicates: int) -> np.ndarray:
    """Return the factor of each replicate (n_replicates,)."""
    array = np.asarray(1.0 if rscales is None else rscales, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n_replicates, float(array))
    if array.shape != (n_replicates,):
        raise ValueError(f"rscales must be one number or {n_replicates}, a number a replicate; got {array.shape}.")
    if not (np.isfinite(array).all() and (array >= 0).all() and (array > 0).any()):
        raise ValueError("rscales must be finite, at least 0, and not all 0.")
    return array


def _rank(matrix: np.ndarray) -> int:
    """Return the rank of a matrix, by a pivoted Cholesky factor of the cross-products of its shorter side."""
    with one_blas_thread():
        matrix = _different_rows(matrix)
        if matrix.shape[0] < matrix.shape[1]:
            matrix = matrix.T
        gram = np.zeros((matrix.shape[1], matrix.shape[1]))
        for row in range(0, len(matrix), _GRAM_ROWS):
            gram += np.dot(matrix[row : row + _GRAM_ROWS].T, matrix[row : row + _GRAM_ROWS])
    length = np.sqrt(np.diag(gram))
    present = length > 0
    gram = gram[np.ix_(present, present)] / np.outer(length[present], length[present])
    return int(linalg.lapack.dpstrf(gram, tol=_DEPENDENT)[2]) if present.any() else 0


def _different_rows(matrix: np.ndarray) -> np.ndarray:
    """Leave out rows that repeat others but for a factor, as rows of a sampling unit do: they add no rank."""
    if len(matrix) <= matrix.shape[1]:
        return matrix
    # a weighted mean of arbitrary numbers, free of the row's scale, tells rows apart
    total = matrix.sum(axis=1)
    mean = np.dot(matrix, np.random.default_rng(0).random(matrix.shape[1]))
    np.divide(mean, total, out=mean, where=total > 0)
    first = np.unique(mean.round(13), return_index=True)[1]
    return matrix[first] if len(first) < len(matrix) // 2 else matrix
