r"""Coordinates in which the posterior of a multilevel model with few levels, or small ones, is close to normal.

Three things keep such a posterior from being normal. The logarithm of a standard deviation has a long left tail, since
the likelihood says little of how close to zero it is. The spread of coefficients grows with the standard deviation,
above all that of the intercept: a funnel. And coefficients themselves grow, the more so the fewer rows a level has,
since effects of the same size on probabilities take larger ones on the log odds. Coordinates [z, v, r] stand for

    log sd = Q(v),    beta = beta_0 + a (kappa(sd) - kappa_0) + R(sd, r) z,

Q a `SkewCurve`, R R' the inverse of the information about beta in the model made linear, kappa(sd) the factor by which
effects on the log odds of a level exceed those on log odds averaged over levels, and r the correlations as they are.

References
----------
Zeger, Liang and Albert (1988), Models for longitudinal data: a generalized estimating equation approach, Biometrics 44,
1049-1060: kappa.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdep.bayes.linearised import Linearised
from skdep.bayes.mode import PosteriorMode
from skdep.bayes.prior_layout import EffectsLayout
from skdep.bayes.skew_curve import SkewCurve

__all__ = ["ScaleCoordinates", "first_coordinates"]

# Square of the constant 16 sqrt(3) / (15 pi) in kappa.
_SQUARED = (16.0 * np.sqrt(3.0) / (15.0 * np.pi)) ** 2
# Logarithm of a standard deviation beyond which information would be lost to rounding.
_LARGEST_LOG_SD = 12.0
_LEAST_SHARE = 1e-10
# Levels times draws of a block.
_BLOCK_FLOATS = 1 << 16
# Draws that what was known of the growth before counts for.
_KNOWN_BEFORE = 20.0
# Reach, in standard deviations on a scale that widens like sinh, and points of a curve along a standard deviation.
_REACH, _N_ALONG = 3.0, 33
_STEP = 1e-4


@dataclass(frozen=True)
class ScaleCoordinates:
    """The coordinates.

    Parameters
    ----------
    effects : EffectsLayout
        The factor.
    near : Linearised
        The model made linear.
    prior_curvature : ndarray of shape (k, k)
        Information about the coefficients from their prior.
    curve : SkewCurve
        Q, of each log standard deviation.
    growth : ndarray of shape (k,)
        Change a of the coefficients with kappa.
    kappa : float
        kappa_0.
    sizes : ndarray of shape (q,)
        Mean squares of the columns of the effects.
    """

    effects: EffectsLayout
    near: Linearised
    prior_curvature: np.ndarray
    curve: SkewCurve
    growth: np.ndarray
    kappa: float
    sizes: np.ndarray

    def to_points(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the points (n, P) of coordinates (n, P), and log determinants (n,) of the Jacobian."""
        k, places = len(self.growth), self.effects.log_sd
        points = v.copy()
        points[:, places], log_slopes = self.curve(v[:, places])
        points[:, :k] = self._centres(points)
        log_jacobian = log_slopes.sum(axis=1)
        for block, root in self._roots(points):
            points[block, :k] += np.einsum("nab,nb->na", root, v[block, :k])
            log_jacobian[block] += np.log(np.einsum("naa->na", root)).sum(axis=1)
        return points, log_jacobian

    def from_points(self, points: np.ndarray) -> np.ndarray:
        """Return the coordinates (n, P) of points (n, P)."""
        k, places = len(self.growth), self.effects.log_sd
        v = points.copy()
        v[:, places] = self.curve.inverse(points[:, places])
        away = points[:, :k] - self._centres(points)
        for block, root in self._roots(points):
            v[block, :k] = np.linalg.solve(root, away[block, :, None])[:, :, 0]
        return v

    def refitted(self, points: np.ndarray, mass: np.ndarray) -> ScaleCoordinates:
        """Return coordinates fitted to points (n, P) of the posterior with shares (n,) that add up to one."""
        k, log_sd = len(self.growth), points[:, self.effects.log_sd]
        curve, kappa = SkewCurve.fitted(log_sd, mass), _kappa(log_sd, self.sizes)
        # growth with kappa beside what is linear in the curves' coordinates, which a normal distribution takes up
        columns = np.column_stack([kappa, curve.inverse(log_sd)])
        columns = columns - mass @ columns
        spread = np.sqrt(mass @ columns**2)
        columns /= spread
        rest = points[:, :k] - self.growth * kappa[:, None]
        gram = (columns * mass[:, None]).T @ columns
        gram[np.diag_indices_from(gram)] += _KNOWN_BEFORE * (mass @ mass)
        change = np.linalg.solve(gram, (columns * mass[:, None]).T @ (rest - mass @ rest))[0] / spread[0]
        return replace(self, curve=curve, growth=self.growth + change)

    def _centres(self, points: np.ndarray) -> np.ndarray:
        """Return the coefficients (n, k) at z = 0."""
        excess = _kappa(points[:, self.effects.log_sd], self.sizes) - self.kappa
        return self.near.beta + excess[:, None] * self.growth

    def _roots(self, points: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of points, and R (n, k, k) there, upper triangular."""
        k, q, n_levels = len(self.growth), self.effects.q, self.near.gram.shape[-1]
        step = max(1, _BLOCK_FLOATS // max(n_levels * q * q, k * k))
        for begin in range(0, len(points), step):
            block = slice(begin, begin + step)
            part = points[block].copy()
            part[:, self.effects.log_sd] = np.minimum(part[:, self.effects.log_sd], _LARGEST_LOG_SD)
            factors = self.effects.cholesky(part)
            information = self.near.information(factors.transpose(1, 2, 0)) + self.prior_curvature
            yield block, np.swapaxes(np.linalg.inv(np.linalg.cholesky(information)), 1, 2)


def first_coordinates(
    target: Any, near: Linearised, mode: PosteriorMode
) -> tuple[ScaleCoordinates, np.ndarray, np.ndarray]:
    """Make coordinates from what is known at the mode, and from the density along each standard deviation.

    Parameters
    ----------
    target : MultilevelTarget
        The posterior density.
    near : Linearised
        Its model made linear at the mode.
    mode : PosteriorMode
        The mode.

    Returns
    -------
    coordinates : ScaleCoordinates
        The coordinates.
    centre : ndarray of shape (P,)
        About the mean of the posterior in them.
    covariance : ndarray of shape (P, P)
        About its covariance.
    """
    effects, k = target.effects, target.layout.n_coefficients
    places, log_sd = effects.log_sd, mode.point[effects.log_sd]
    covariance = np.linalg.inv(mode.precision)
    weight, columns = target.rows.weight, target.rows.terms[0].columns
    sizes = columns**2 @ weight / weight.sum()
    kappa = float(_kappa(log_sd[None], sizes)[0])
    sd = 1.0 / np.sqrt(np.diag(np.linalg.inv(covariance[k:, k:]))[: effects.q])
    straight = SkewCurve(log_sd, sd, np.zeros(effects.q), np.zeros(effects.q))
    # a little of the data's own: information that large standard deviations leave is not lost to rounding
    prior_curvature = target.prior.curvature(mode.point)[:k, :k] + _LEAST_SHARE * np.diag(np.diag(near.fixed))
    growth = _growth(mode, k, places, _SQUARED * np.exp(2.0 * log_sd) * sizes / kappa, kappa)
    plain = ScaleCoordinates(effects, near, prior_curvature, straight, growth, kappa, sizes)
    found = replace(plain, curve=_curve_along(target, plain, mode.point))
    centre = found.from_points(mode.point[None])[0]
    centre[places] = 0.0
    by_point = _derivatives(found.from_points, mode.point)
    covariance = by_point @ covariance @ by_point.T
    # a curve was fitted with all but the coefficients held: what they add to its variance
    ratio = np.ones(len(centre))
    ratio[places] = np.sqrt(np.diag(np.linalg.inv(covariance[k:, k:]))[: effects.q])
    return found, centre, covariance * np.outer(ratio, ratio)


def _growth(mode: PosteriorMode, k: int, places: slice, kappa_by_log_sd: np.ndarray, kappa: float) -> np.ndarray:
    """Return the growth (k,) with which coefficients follow the standard deviations at the mode."""
    by_log_sd = -np.linalg.solve(mode.precision[:k, :k], mode.precision[:k, places])
    growth = by_log_sd @ kappa_by_log_sd / max(float(kappa_by_log_sd @ kappa_by_log_sd), np.finfo(float).tiny)
    # no more than in proportion to kappa: what else there is to it is not lasting
    most = mode.point[:k] / kappa
    return np.clip(growth, np.minimum(most, 0.0), np.maximum(most, 0.0))


def _curve_along(target: Any, coordinates: ScaleCoordinates, point: np.ndarray) -> SkewCurve:
    """Fit curves to the posterior along each log standard deviation through a point, coefficients about integrated."""
    k, q = len(coordinates.growth), coordinates.effects.q
    t = np.linspace(-_REACH, _REACH, _N_ALONG)
    v = np.tile(np.concatenate([np.zeros(k + q), point[k + q :]]), (q, _N_ALONG, 1))
    v[np.arange(q), :, k + np.arange(q)] = np.sinh(t)
    points, log_jacobian = coordinates.to_points(v.reshape(q * _N_ALONG, -1))
    log_density = (target.log_density(points) + log_jacobian).reshape(q, _N_ALONG) + np.log(np.cosh(t))
    log_sd = points[:, coordinates.effects.log_sd].reshape(q, _N_ALONG, q)
    weights = np.exp(np.where(np.isfinite(log_density), log_density, -np.inf) - np.nanmax(log_density))
    curves = [SkewCurve.fitted(log_sd[j, :, [j]].T, weights[j]) for j in range(q)]
    return SkewCurve(*(np.concatenate(parts) for parts in zip(*(curve.parameters for curve in curves), strict=True)))


def _derivatives(function: Callable[[np.ndarray], np.ndarray], point: np.ndarray) -> np.ndarray:
    """Return the derivatives (P, P) of coordinates by points."""
    moves = _STEP * np.eye(len(point))
    return ((function(point + moves) - function(point - moves)) / (2.0 * _STEP)).T


def _kappa(log_sd: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return kappa (n,) at log standard deviations (n, q)."""
    return np.sqrt(1.0 + _SQUARED * (np.exp(2.0 * np.minimum(log_sd, _LARGEST_LOG_SD)) @ sizes))
