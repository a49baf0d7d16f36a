r"""Where each parameter is in a point, and the way between points and the user's units.

A point is a vector of unconstrained working parameters:

    [intercept, *coef, log sds of each factor in turn, correlations of each factor in turn, latent scales].

Working columns are (x_j - centre_j) / scale_j, so that coef_j is the user's slope times scale_j and the intercept is
the log odds at the centres. Random effects have the same columns: their standard deviations and correlations are those
of the intercept at the centres and of slopes times scale_j. Effects of a factor without random intercept, and
uncorrelated effects, stay uncentred, since centring mixes intercepts with slopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skdep.bayes.lkj import correlation_cholesky, n_correlations, unconstrained_correlations

__all__ = ["INTERCEPT_NAME", "EffectsLayout", "PointLayout", "make_layout"]

INTERCEPT_NAME = "Intercept"


@dataclass(frozen=True, eq=False)
class EffectsLayout:
    """The random effects of one factor: their names, columns, and places in a point.

    Parameters
    ----------
    name : str
        Name of the factor.
    effects : tuple of str
        Names of the effects, the intercept first where it varies.
    columns : tuple of int
        Their features; -1 for the intercept.
    centres, scales : ndarray of shape (q,)
        The working column of an effect is (column - centre) / scale, that of the intercept the constant.
    log_sd : slice
        Places of the logarithms of the standard deviations.
    correlation : slice
        Places of the unconstrained correlations; empty for uncorrelated effects.
    """

    name: str
    effects: tuple[str, ...]
    columns: tuple[int, ...]
    centres: np.ndarray
    scales: np.ndarray
    log_sd: slice
    correlation: slice

    @property
    def q(self) -> int:
        """Number of random effects of a level."""
        return len(self.effects)

    @property
    def correlated(self) -> bool:
        """Whether the effects have correlations."""
        return self.correlation.stop > self.correlation.start

    @property
    def to_user(self) -> np.ndarray:
        """Matrix (q, q) that takes working effects of a level to effects of the user's columns."""
        matrix = np.diag(1.0 / self.scales)
        matrix[0, 1:] = -self.centres[1:] / self.scales[1:]
        return matrix

    def design(self, X: np.ndarray) -> np.ndarray:
        """Return the working columns (n_rows, q) of features X in the user's units."""
        user = np.column_stack([np.ones(len(X)) if column < 0 else X[:, column] for column in self.columns])
        return (user - self.centres) / self.scales

    def cholesky(self, points: np.ndarray) -> np.ndarray:
        """Return lower factors (..., q, q) of the working covariance matrices at points (..., P)."""
        sd = np.exp(points[..., self.log_sd])
        if not self.correlated:
            return sd[..., None] * np.eye(self.q)
        return sd[..., None] * correlation_cholesky(points[..., self.correlation], self.q)

    def covariance(self, points: np.ndarray) -> np.ndarray:
        """Return covariance matrices (..., q, q) of effects of the user's columns at points (..., P)."""
        factor = self.to_user @ self.cholesky(points)
        return factor @ np.swapaxes(factor, -1, -2)

    def place(self, covariance: np.ndarray, points: np.ndarray) -> None:
        """Write covariance matrices (..., q, q) of the user's effects, positive definite, into points (..., P)."""
        back = np.linalg.inv(self.to_user)
        factor = np.linalg.cholesky(back @ covariance @ back.T)
        sd = np.sqrt(np.sum(factor**2, axis=-1))
        points[..., self.log_sd] = np.log(sd)
        if self.correlated:
            points[..., self.correlation] = unconstrained_correlations(factor / sd[..., None])


@dataclass(frozen=True, eq=False)
class PointLayout:
    """Where each parameter is in a point.

    Parameters
    ----------
    names : tuple of str
        Names of the features.
    centres, scales : ndarray of shape (p,)
        Working columns are (x - centre) / scale.
    fit_intercept : bool
        Whether there is an intercept.
    random : tuple of EffectsLayout
        The factors.
    n_latent : int
        Number of latent scales at the end of a point.
    """

    names: tuple[str, ...]
    centres: np.ndarray
    scales: np.ndarray
    fit_intercept: bool
    random: tuple[EffectsLayout, ...]
    n_latent: int = 0

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients, the intercept among them."""
        return len(self.names) + self.fit_intercept

    @property
    def coef(self) -> slice:
        """Places of the slopes."""
        return slice(int(self.fit_intercept), self.n_coefficients)

    @property
    def latent(self) -> slice:
        """Places of latent scales."""
        begin = self.n_coefficients + sum(
            term.q + (term.correlation.stop - term.correlation.start) for term in self.random
        )
        return slice(begin, begin + self.n_latent)

    @property
    def n_points(self) -> int:
        """Number of entries P of a point."""
        return self.latent.stop

    @property
    def to_user(self) -> np.ndarray:
        """Matrix (k, k) that takes working ``[intercept, *coef]`` to those of the features in the user's units."""
        matrix = np.zeros((self.n_coefficients, self.n_coefficients))
        matrix[self.coef, self.coef] = np.diag(1.0 / self.scales)
        if self.fit_intercept:
            matrix[0, 0] = 1.0
            matrix[0, 1:] = -self.centres / self.scales
        return matrix

    @property
    def to_working(self) -> np.ndarray:
        """Inverse of `to_user`."""
        matrix = np.zeros((self.n_coefficients, self.n_coefficients))
        matrix[self.coef, self.coef] = np.diag(self.scales)
        if self.fit_intercept:
            matrix[0, 0] = 1.0
            matrix[0, 1:] = self.centres
        return matrix

    @property
    def coefficient_names(self) -> list[str]:
        """Names of ``[intercept, *coef]``."""
        return [INTERCEPT_NAME] * self.fit_intercept + list(self.names)

    @property
    def point_names(self) -> list[str]:
        """Names of the entries of a point, for messages."""
        names = list(self.coefficient_names)
        names += [f"log sd[{term.name}, {effect}]" for term in self.random for effect in term.effects]
        for term in self.random:
            if term.correlated:
                pairs = [(j, i) for i in range(term.q) for j in range(i)]
                names += [f"correlation[{term.name}, {term.effects[j]}, {term.effects[i]}]" for j, i in pairs]
        return names + [f"latent[{number}]" for number in range(self.n_latent)]


def make_layout(
    names: Sequence[str],
    scales: ArrayLike,
    centres: ArrayLike,
    random: Sequence[Any] = (),
    *,
    covariance: str | Mapping[str, str] = "full",
    fit_intercept: bool = True,
    n_latent: int = 0,
) -> PointLayout:
    """Lay out points.

    Parameters
    ----------
    names : sequence of str
        Names of the features.
    scales, centres : array-like of shape (p,)
        Of the working columns.
    random : sequence of objects with ``name`` and ``columns``
        The factors, such as `skdep.mixed.terms.RandomTerm`: features with random slopes, -1 first for the intercept.
    covariance : {"full", "diagonal"} or mapping, default="full"
        Whether effects of a factor are correlated: for every factor, or by factor.
    fit_intercept : bool, default=True
        Whether there is an intercept; without one the centres have to be 0.
    n_latent : int, default=0
        Number of latent scales.

    Returns
    -------
    PointLayout
        The layout.
    """
    scales, centres = np.asarray(scales, dtype=float), np.asarray(centres, dtype=float)
    for what, values in (("scales", scales), ("centres", centres)):
        if values.shape != (len(names),) or not np.isfinite(values).all():
            raise ValueError(f"{what} should be {len(names)} finite numbers, one for each feature.")
    if np.any(scales <= 0):
        raise ValueError("scales should be greater than 0; give constant features the scale 1.")
    if not fit_intercept and np.any(centres != 0):
        raise ValueError("Without an intercept features cannot be centred: centres should be 0.")
    begin = len(names) + fit_intercept
    corner = begin + sum(len(term.columns) for term in random)
    terms = []
    for term in random:
        q = len(term.columns)
        kind = covariance if isinstance(covariance, str) else covariance[term.name]
        correlated = kind == "full" and q > 1
        width = n_correlations(q) if correlated else 0
        centred = correlated and term.columns[0] < 0
        terms.append(
            EffectsLayout(
                term.name,
                tuple(INTERCEPT_NAME if column < 0 else names[column] for column in term.columns),
                tuple(int(column) for column in term.columns),
                np.array([centres[column] if centred and column >= 0 else 0.0 for column in term.columns]),
                np.array([1.0 if column < 0 else scales[column] for column in term.columns]),
                slice(begin, begin + q),
                slice(corner, corner + width),
            )
        )
        begin, corner = begin + q, corner + width
    return PointLayout(tuple(names), centres, scales, bool(fit_intercept), tuple(terms), n_latent)
