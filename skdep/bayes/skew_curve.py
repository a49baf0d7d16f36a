r"""Quantile curves of skewed distributions with exponential tails, linear in their parameters.

    Q(v) = m + c v + b log(2 Phi(v)) - d log(2 Phi(-v)),    c > 0, b >= 0, d >= 0,

for v standard normal: the quantile Q(Phi^-1(u)) is a sum of those of a normal distribution and of exponential ones to
either side. The logarithm of a standard deviation of which the data only say that it is not large has such a
posterior, with b = 1: a density that is level near 0 falls off like e^s in the logarithm s.

References
----------
Gilchrist (2000), Statistical Modelling with Quantile Functions, Chapman and Hall/CRC: sums of quantile functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

__all__ = ["SkewCurve"]

# Levels whose quantiles a curve is fitted to.
_LEVELS = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
# Least slope, over that of a normal distribution with the same range: about what log sd, sd half-normal, has at v = 3.
_LEAST_SLOPE = 0.3
_NARROWEST = 1e-6
# Table that an inverse begins from, and Newton steps.
_FARTHEST, _N_TABLE, _N_STEPS = 30.0, 3001, 4


@dataclass(frozen=True)
class SkewCurve:
    """Curves of several numbers.

    Parameters
    ----------
    middle : ndarray of shape (q,)
        Medians m.
    slope : ndarray of shape (q,)
        Slopes c.
    left, right : ndarray of shape (q,)
        Scales b and d of the exponential tails.
    """

    middle: np.ndarray
    slope: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def fitted(cls, values: np.ndarray, weights: np.ndarray) -> SkewCurve:
        """Fit curves to quantiles of weighted values.

        Parameters
        ----------
        values : ndarray of shape (n, q)
            Values.
        weights : ndarray of shape (n,)
            Their weights.
        """
        return cls(*np.array([_fit(column, weights) for column in values.T]).T)

    @property
    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The parameters, in the order in which the class takes them."""
        return self.middle, self.slope, self.left, self.right

    def __call__(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Q(v) and the logarithm of its derivative, for v (..., q)."""
        below, above = special.log_ndtr(v), special.log_ndtr(-v)
        log_normal = -0.5 * v * v - 0.5 * np.log(2.0 * np.pi)
        value = self.middle + self.slope * v + self.left * (below + np.log(2.0)) - self.right * (above + np.log(2.0))
        slope = self.slope + self.left * np.exp(log_normal - below) + self.right * np.exp(log_normal - above)
        return value, np.log(slope)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Return v with Q(v) = values, for values (..., q)."""
        table = np.linspace(-_FARTHEST, _FARTHEST, _N_TABLE)
        heights = self(np.repeat(table[:, None], len(self.middle), axis=1))[0]
        v = np.stack([np.interp(values[..., j], heights[:, j], table) for j in range(len(self.middle))], axis=-1)
        for _ in range(_N_STEPS):
            height, log_slope = self(v)
            v = v - (height - values) * np.exp(-log_slope)
        return v


def _fit(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the parameters of the curve closest to the quantiles of weighted values."""
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    quantiles = np.interp(_LEVELS, (mass - 0.5 * weights[order]) / mass[-1], values[order])
    v = special.ndtri(_LEVELS)
    least = max(_LEAST_SLOPE * (quantiles[-1] - quantiles[0]) / (v[-1] - v[0]), _NARROWEST)
    # the median may have either sign: two columns stand for it
    columns = [np.ones_like(v), -np.ones_like(v), v, np.log(2.0 * _LEVELS), -np.log(2.0 * (1.0 - _LEVELS))]
    # quantiles in the tails are known less well
    weight = np.exp(-0.5 * v * v) / np.sqrt(_LEVELS * (1.0 - _LEVELS))
    fit = optimize.nnls(np.column_stack(columns) * weight[:, None], (quantiles - least * v) * weight)[0]
    return np.array([fit[0] - fit[1], fit[2] + least, fit[3], fit[4]])
