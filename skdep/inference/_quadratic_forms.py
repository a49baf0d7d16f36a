r"""Tails of quadratic forms of normal variables: sums of chi-squares with different weights, also over a chi-square.

A likelihood ratio of a model that takes a survey for a simple random sample follows a sum of chi-squares, weighted by
design effects w_j. Where these are estimated with d degrees of freedom, its tail at x is referred to

.. math:: P\Big(\sum_j w_j \chi^2_1 > x\, \chi^2_d / d\Big) = P\Big(\sum_j w_j \chi^2_1 - (x / d)\, \chi^2_d > 0\Big),

an F probability when all w_j are one. Either is P(Q > x) of a form Q with cumulant generating function
:math:`K(s) = -\tfrac12 \sum_j m_j \log(1 - 2 w_j s)`, finite between two singularities, one perhaps at infinity.

- exact: the inversion integral :math:`(2 \pi i)^{-1} \int e^{K(s) - s x} s^{-1} ds` along a line or a hyperbola through
  its own saddle point on the real axis, clear of the pole and of the singularities. By the trapezoidal rule, which
  there converges geometrically: the change on halving the step bounds the error, relative to the tail itself.
- saddlepoint: Lugannani and Rice's tail in the form of Barndorff-Nielsen, :math:`\Phi(-r - r^{-1} \log(v / r))`.
- Satterthwaite: a multiple of one chi-square (or F) with the same mean and variance.

References
----------
Imhof (1961), Computing the distribution of quadratic forms in normal variables, Biometrika 48, 419-426.
Kuonen (1999), Saddlepoint approximations for distributions of quadratic forms in normal variables, Biometrika 86,
929-935.
Lumley and Scott (2014), Tests for regression models fitted to survey data, Australian and New Zealand Journal of
Statistics 56, 1-14: the reference to a chi-square denominator.
Rice (1980), Distribution of quadratic forms in normal random variables: evaluation by numerical integration, SIAM
Journal on Scientific and Statistical Computing 1, 438-448: saddle points of the whole integrand.
Weideman and Trefethen (2007), Parabolic and hyperbolic contours for computing the Bromwich integral, Mathematics of
Computation 76, 1341-1356.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

__all__ = ["APPROXIMATIONS", "quadratic_form_tail"]

APPROXIMATIONS = ("saddlepoint", "satterthwaite", "exact")

# Weights below this share of the largest are rounding of zero.
_ZERO_WEIGHT = 1e-13
# Of the angle by which the far end of a hyperbola bends from the vertical to the right, where exp(-s x) vanishes.
_BENT = np.sqrt(0.5)
_RELATIVE_ERROR, _ROUNDING = 1e-12, 1e-15
_MOST_POINTS = 1 << 17
# Magnitude, relative to that at the saddle point, below which the integrand is dropped.
_NEGLIGIBLE = 1e-18
# Arguments below which the remainders of the saddlepoint formula are summed as series.
_SERIES_BELOW, _SERIES_TERMS = 0.1, 18


def quadratic_form_tail(x: float, weights: np.ndarray, *, df: float = np.inf, method: str = "saddlepoint") -> float:
    r"""Return the probability that a weighted sum of chi-squares exceeds x, or x times a chi-square over its mean.

    Parameters
    ----------
    x : float
        Value of the statistic.
    weights : ndarray of shape (q,)
        Weights of the chi-squares, each with 1 degree of freedom; not negative, zero to rounding allowed.
    df : float, default=inf
        Degrees of freedom of the chi-square by which x is multiplied, over its mean; infinite for x itself.
    method : {"saddlepoint", "satterthwaite", "exact"}, default="saddlepoint"
        How to compute it.

    Returns
    -------
    float
        The upper tail; NaN where `df` is not positive, x is NaN or a weight is no finite number.

    Raises
    ------
    ValueError
        If `method` is not known or a weight is negative.

    Examples
    --------
    >>> from skdep.inference._quadratic_forms import quadratic_form_tail
    >>> round(quadratic_form_tail(3.0, [1.0, 1.0], method="exact"), 6)  # exp(-3 / 2)
    0.22313
    """
    if method not in APPROXIMATIONS:
        raise ValueError(f"approximation must be one of {list(APPROXIMATIONS)}, got {method!r}.")
    weights = np.asarray(weights, dtype=float)
    if not (df > 0 and not np.isnan(x) and np.isfinite(weights).all()):
        return float("nan")
    largest = weights.max(initial=0.0)
    if (weights < -1e-8 * largest).any() or (largest == 0.0 and weights.size):
        raise ValueError(f"Weights of chi-squares must be positive, got {weights}.")
    weights = weights[weights > _ZERO_WEIGHT * largest] / largest
    if x <= 0 or not weights.size:
        return float(x <= 0)
    if np.isinf(x):
        return 0.0
    x = x / largest
    if method == "satterthwaite":
        return _satterthwaite(x, weights, df)
    form = _form(x, weights, df)
    return _saddlepoint(form) if method == "saddlepoint" else _exact(form)


def _satterthwaite(x: float, weights: np.ndarray, df: float) -> float:
    total, squares = weights.sum(), np.sum(weights**2)
    numerator = total**2 / squares
    if np.isinf(df):
        return float(stats.chi2.sf(x * total / squares, numerator))
    return float(stats.f.sf(x / total, numerator, df))


@dataclass(frozen=True)
class _Form:
    """A sum of chi-squares, and the value whose tail is wanted.

    Parameters
    ----------
    weights : ndarray of shape (k,)
        Weights, the largest being 1; at most one is negative.
    counts : ndarray of shape (k,)
        Degrees of freedom of each chi-square.
    x : float
        The value; not negative, zero where a weight is negative.
    """

    weights: np.ndarray
    counts: np.ndarray
    x: float

    @property
    def limits(self) -> tuple[float, float]:
        """Singularities of the cumulant generating function left and right of zero."""
        least = self.weights.min()
        return (0.5 / least if least < 0 else -np.inf), 0.5 / self.weights.max()

    @property
    def mean(self) -> float:
        """Mean of the sum."""
        return float(self.counts @ self.weights)

    def slope(self, s: float) -> float:
        """Return K'(s) - x."""
        return float(self.counts @ (self.weights / (1.0 - 2.0 * self.weights * s))) - self.x

    def exponent(self, s: np.ndarray) -> np.ndarray:
        """Return K(s) - s x at complex points, none of them on the cuts."""
        logs = _log1p(-2.0 * np.multiply.outer(s, self.weights))
        return -0.5 * (logs @ self.counts) - s * self.x

    def furthest_left(self, extra: float) -> float:
        """Return a point left of the root of K'(s) - x - extra / s below zero."""
        left = self.limits[0]
        return left * (1.0 - 1e-15) if np.isfinite(left) else -(0.5 * self.counts.sum() + extra) / self.x * (1 + 1e-9)


def _form(x: float, weights: np.ndarray, df: float) -> _Form:
    values, counts = np.unique(weights, return_counts=True)
    if np.isinf(df):
        return _Form(values, counts.astype(float), x)
    return _Form(np.append(values, -x / df), np.append(counts, df), 0.0)


def _log1p(z: np.ndarray) -> np.ndarray:
    """Return log(1 + z) of complex numbers; that of numpy has no digits left for small ones."""
    return 0.5 * np.log1p(2.0 * z.real + z.real**2 + z.imag**2) + 1j * np.arctan2(z.imag, 1.0 + z.real)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of an increasing function; an end where rounding hides it."""
    if function(low) >= 0:
        return low
    if function(high) <= 0:
        return high
    return float(optimize.brentq(function, low, high, xtol=1e-300, rtol=1e-14, maxiter=1000))


# ---- saddlepoint -----------------------------------------------------------------------------------------------------


def _saddlepoint(form: _Form) -> float:
    """Return the saddlepoint tail; at the mean, where the formula is 0 / 0, its limit.

    With u = 2 w s at the saddle point, r^2 = sum m (u / (1 - u) + log(1 - u)) and v^2 = sum m u^2 / (1 - u)^2 / 2;
    remainders are divided by powers of u, so that nothing cancels near the mean, where u vanishes.
    """
    s = _root(form.slope, form.furthest_left(0.0), form.limits[1] * (1.0 - 1e-15))
    u, doubled = 2.0 * form.weights * s, 2.0 * form.weights
    rate = np.sqrt(form.counts @ (doubled**2 * _second_remainder(u)))  # r = s * rate
    excess = form.counts @ (doubled**3 * _third_remainder(u)) / rate**2  # v^2 = r^2 (1 + s * excess)
    ratio = np.log1p(s * excess) / s if s != 0.0 else excess
    return float(stats.norm.sf(s * rate + 0.5 * ratio / rate))


def _second_remainder(u: np.ndarray) -> np.ndarray:
    """Return (u / (1 - u) + log(1 - u)) / u^2 for u < 1."""
    k = np.arange(2, 2 + _SERIES_TERMS)
    small = np.abs(u) < _SERIES_BELOW
    series = np.polynomial.polynomial.polyval(np.where(small, u, 0.0), 1.0 - 1.0 / k)
    safe = np.where(small, 0.5, u)
    return np.where(small, series, (safe / (1.0 - safe) + np.log1p(-safe)) / safe**2)


def _third_remainder(u: np.ndarray) -> np.ndarray:
    """Return (u^2 / (1 - u)^2 / 2 - u / (1 - u) - log(1 - u)) / u^3 for u < 1."""
    k = np.arange(3, 3 + _SERIES_TERMS)
    small = np.abs(u) < _SERIES_BELOW
    series = np.polynomial.polynomial.polyval(np.where(small, u, 0.0), (k - 1) * (k - 2) / (2.0 * k))
    safe = np.where(small, 0.5, u)
    odds = safe / (1.0 - safe)
    return np.where(small, series, (0.5 * odds**2 - odds - np.log1p(-safe)) / safe**3)


# ---- inversion -------------------------------------------------------------------------------------------------------


def _exact(form: _Form) -> float:
    """Return the tail by inversion: of the side of the mean on which x lies, which is small or one half at most."""
    left, right = form.limits
    upper = form.mean < form.x
    if upper:
        low, high = right * 1e-16, right * (1.0 - 1e-15)
    else:
        low, high = form.furthest_left(1.0), -right * 1e-16
    saddle = _root(lambda s: form.slope(s) - 1.0 / s, low, high)
    left, right = (0.0, right) if upper else (left, 0.0)
    sine = _BENT if form.x > 0 else 0.0
    size = min((saddle - left) / max(sine, 1.0 - sine), (right - saddle) / (1.0 - sine))
    tail = _contour_integral(form, saddle, size, sine)
    return tail if upper else 1.0 - tail


def _contour_integral(form: _Form, saddle: float, size: float, sine: float) -> float:
    """Integrate along s(t) = saddle + size (sin(a) (cosh t - 1) + i cos(a) sinh t), t >= 0; the rest is its mirror."""
    peak = form.exponent(np.array([complex(saddle)]))[0].real - np.log(abs(saddle))
    cosine = np.sqrt(1.0 - sine**2)

    def integrand(t: np.ndarray) -> np.ndarray:
        s = saddle + size * (sine * (np.cosh(t) - 1.0) + 1j * cosine * np.sinh(t))
        velocity = size * (sine * np.sinh(t) + 1j * cosine * np.cosh(t))
        return np.exp(form.exponent(s) - np.log(s) - peak) * velocity

    coarse = np.linspace(0.0, 90.0, 361)
    sizes = np.abs(integrand(coarse))
    end = coarse[min(int(np.flatnonzero(sizes > _NEGLIGIBLE * sizes.max())[-1]) + 1, len(coarse) - 1)]
    n_points, step = 32, end / 32
    values = integrand(np.linspace(0.0, end, n_points + 1))
    total, mass = values.imag.sum() - 0.5 * values[0].imag, np.abs(values).sum()
    integral = step * total
    while n_points < _MOST_POINTS:
        values = integrand(step * (np.arange(n_points) + 0.5))
        total, mass = total + values.imag.sum(), mass + np.abs(values).sum()
        n_points, step, before = 2 * n_points, 0.5 * step, integral
        integral = step * total
        if abs(integral - before) <= max(_RELATIVE_ERROR * abs(integral), _ROUNDING * step * mass):
            break
    return float(np.exp(peak) * abs(integral) / np.pi)
