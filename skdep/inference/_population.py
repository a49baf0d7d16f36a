r"""Population means of a fitted model, their slopes, and the derivatives of both by its parameters.

The mean at a row is h(x'b + o), h the inverse link. With random effects in a logistic model it is E h(eta), eta normal
with mean x'b + o and variance v = z'Sigma z, summed over factors. In both cases derivatives by eta and b follow from
those of h (their means); derivatives by v are half the second ones by eta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._normal_mean import logistic_normal_moments
from skdep.inference._access import features_with_coefficient
from skdep.links import Identity, Link, Logit, get_link
from skdep.mixed.terms import INTERCEPT

__all__ = ["PopulationMean", "RandomPart", "random_part"]


@dataclass(frozen=True)
class RandomPart:
    """What random effects add to the linear predictor in the population: its variance v = sum of z'Sigma z.

    The parameters of Sigma are the entries of its lower triangle, column by column, factor after factor.

    Parameters
    ----------
    columns : tuple of tuple of int
        Features whose coefficients vary, by factor, ``INTERCEPT`` for the constant.
    covariances : tuple of ndarray of shape (q, q)
        Sigma of each factor.
    """

    columns: tuple[tuple[int, ...], ...] = ()
    covariances: tuple[np.ndarray, ...] = ()

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all Sigma."""
        return sum(len(numbers) * (len(numbers) + 1) // 2 for numbers in self.columns)

    def variance(self, rows: np.ndarray) -> np.ndarray:
        """Return v (n_rows,)."""
        total = np.zeros(len(rows))
        for numbers, sigma in zip(self.columns, self.covariances, strict=True):
            z = _effect_columns(rows, numbers, 1.0)
            total += np.einsum("na,na->n", z @ sigma, z)
        return total

    def slope(self, rows: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the derivative of v (n_rows,) when rows move along `direction`, of one row or as many as there are."""
        total = np.zeros(len(rows))
        for numbers, sigma in zip(self.columns, self.covariances, strict=True):
            moved = _effect_columns(direction, numbers, 0.0) @ sigma
            z = _effect_columns(rows, numbers, 1.0)
            total += 2.0 * (z @ moved[0] if len(moved) == 1 else np.einsum("na,na->n", moved, z))
        return total

    def gradient(self, rows: np.ndarray, weights: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
        """Return the derivative (n_parameters,) of sum w v by the entries of Sigma; of sum w slope with `direction`."""
        parts = [np.zeros(0)]
        for numbers in self.columns:
            z = _effect_columns(rows, numbers, 1.0)
            if direction is None:
                outer = z.T @ (weights[:, None] * z)
            else:
                moved = np.broadcast_to(_effect_columns(direction, numbers, 0.0), z.shape)
                half = z.T @ (weights[:, None] * moved)
                outer = half + half.T
            outer = 2.0 * outer - np.diag(np.diag(outer))  # an entry off the diagonal stands for two
            parts.append(outer[np.triu_indices(len(numbers))])
        return np.concatenate(parts)


def _effect_columns(rows: np.ndarray, numbers: Sequence[int], constant: float) -> np.ndarray:
    """Return the columns (n_rows, q) of the effects of a factor."""
    filled = np.full(len(rows), constant)
    return np.column_stack([filled if number == INTERCEPT else rows[:, number] for number in numbers])


def random_part(inner: Any) -> RandomPart:
    """Return the random effects of a fitted model; none where they do not change means."""
    covariances = getattr(inner, "random_covariance_", {})
    if not covariances or isinstance(_link_of(inner), Identity):
        return RandomPart()
    columns = inner._random_columns
    return RandomPart(tuple(tuple(columns[name]) for name in covariances), tuple(covariances.values()))


def _link_of(inner: Any) -> Link:
    link = getattr(inner, "_link", None)
    return get_link(getattr(inner, "_link_name", "identity")) if link is None else link


class PopulationMean:
    """Averages over rows of the population mean of a fitted model, and of its slopes.

    Gradients are by ``[intercept, *coef]``, then by the parameters of `RandomPart`.

    Parameters
    ----------
    inner : estimator
        Fitted estimator.
    """

    def __init__(self, inner: Any):
        self.link, self.random = _link_of(inner), random_part(inner)
        self.split = int(inner.fit_intercept)
        self._slopes = np.ravel(inner.coef_)
        self._constant = float(np.ravel(inner.intercept_)[0])
        self._fixed = features_with_coefficient(inner)
        if self.random.columns and not isinstance(self.link, Logit):
            raise TypeError(f"Population means of random effects with link {self.link.name!r} are not available.")

    def linear_predictor(self, rows: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return x'b + o (n_rows,)."""
        eta = rows @ self._slopes + offset
        return eta + self._constant if self.split else eta

    def moments(self, rows: np.ndarray, offset: np.ndarray, order: int) -> Sequence[np.ndarray]:
        """Return means and their derivatives by the linear predictor up to that order, each (n_rows,)."""
        eta = self.linear_predictor(rows, offset)
        if isinstance(self.link, Logit):
            return list(logistic_normal_moments(eta, self.random.variance(rows), order))
        if not self.link.admissible(eta):
            bad = int(np.sum(~np.isfinite(eta) | (eta <= 0)))
            raise ValueError(
                f"{bad} rows have a linear predictor that link {self.link.name!r} maps to no mean; leave them out."
            )
        mean = self.link.inverse(eta)
        derivatives = [mean, self.link.inverse_derivative(eta, mean)]
        return derivatives if order < 2 else [*derivatives, _second_derivative(self.link, eta)]

    def average(self, rows: np.ndarray, offset: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted sum of the means of rows, and its gradient.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_features)
            Features.
        offset, weights : ndarray of shape (n_rows,)
            Known part of the linear predictor; weights.
        """
        moments = self.moments(rows, offset, 2 if self.random.columns else 1)
        gradient = self._by_coefficients(rows, weights * moments[1])
        if self.random.columns:
            gradient = np.concatenate([gradient, self.random.gradient(rows, 0.5 * weights * moments[2])])
        return float(weights @ moments[0]), gradient

    def average_slope(
        self,
        rows: np.ndarray,
        weights: np.ndarray,
        direction: np.ndarray,
        moments: Sequence[np.ndarray],
        by_offset: np.ndarray,
    ) -> tuple[float, np.ndarray]:
        """Return the weighted sum of the slopes of means along a direction, and its gradient.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_features)
            Features.
        weights : ndarray of shape (n_rows,)
            Weights.
        direction : ndarray of shape (n_rows, n_features) or (1, n_features)
            By how much the features move; a single row is for all.
        moments : sequence of ndarray of shape (n_rows,)
            Moments of the rows, of order `slope_order`.
        by_offset : ndarray of shape (n_rows,) or (1,)
            By how much the offset moves.
        """
        first, second = moments[1], moments[2]
        steps = direction @ self._slopes + by_offset
        effect, by_eta = first * steps, second * steps
        if self.random.columns:
            spreads = self.random.slope(rows, direction)
            effect = effect + 0.5 * second * spreads
            by_eta = by_eta + 0.5 * moments[3] * spreads
        gradient = self._by_coefficients(rows, weights * by_eta)
        moving = weights * first
        moved = direction[0] * moving.sum() if len(direction) == 1 else moving @ direction
        gradient[self.split :] += moved[self._fixed]
        if self.random.columns:
            by_variance = 0.5 * moments[3] * steps + 0.25 * moments[4] * spreads
            by_sigma = self.random.gradient(rows, weights * by_variance)
            by_sigma += self.random.gradient(rows, 0.5 * weights * second, direction)
            gradient = np.concatenate([gradient, by_sigma])
        return float(weights @ effect), gradient

    @property
    def slope_order(self) -> int:
        """Order of the moments that slopes and their gradients need."""
        return 4 if self.random.columns else 2

    def _by_coefficients(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the rows of ``[1, X]``, without columns that have no coefficient."""
        sums = (weights @ rows)[self._fixed]
        return np.concatenate([[weights.sum()], sums]) if self.split else sums


def _second_derivative(link: Link, eta: np.ndarray) -> np.ndarray:
    """Return d^2 mu / d eta^2 by central differences: links, also those of users, give the first derivative only."""
    step = 1e-5 * (np.abs(eta) if link.positive else np.maximum(np.abs(eta), 1.0))
    above, below = eta + step, eta - step
    change = link.inverse_derivative(above, link.inverse(above)) - link.inverse_derivative(below, link.inverse(below))
    return change / (above - below)
