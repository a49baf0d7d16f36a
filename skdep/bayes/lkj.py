r"""The LKJ prior of correlation matrices, in unconstrained coordinates.

Row i of the Cholesky factor L of a correlation matrix is a point on a sphere. Its coordinates are partial correlations
z_ij of variables i and j given 0, ..., j - 1:

    L_ij = z_ij \prod_{k<j} \sqrt{1 - z_ik^2} for j < i,    L_ii = \prod_{k<i} \sqrt{1 - z_ik^2},

and z_ij = tanh(y_ij) with y_ij any real number. They are stored row by row: y_10, y_20, y_21, y_30, ... Under LKJ(eta),
density proportional to det(R)^(eta - 1), the z_ij are independent, (1 + z_ij) / 2 ~ Beta(c_j, c_j) with
c_j = eta + (q - 2 - j) / 2. Hence 2 y_ij is the log odds of a Beta(c_j, c_j) variable, a log-F prior.

References
----------
Lewandowski, Kurowicka and Joe (2009), Generating random correlation matrices based on vines and extended onion method,
Journal of Multivariate Analysis 100, 1989-2001.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from skdep.bayes.distribution import Distribution, stack
from skdep.bayes.priors import LogF

__all__ = [
    "LKJ",
    "CorrelationPrior",
    "correlation_cholesky",
    "correlation_cholesky_derivatives",
    "n_correlations",
    "unconstrained_correlations",
]


@dataclass(frozen=True, repr=False)
class LKJ(Distribution):
    """LKJ prior of the correlation matrix of the random effects of a factor.

    Parameters
    ----------
    eta : float, default=2
        Concentration: 1 is uniform over correlation matrices, larger values favour small correlations.

    Examples
    --------
    With two effects, 95% of the correlations are between -0.81 and 0.81 by default:

    >>> from skdep.bayes.lkj import LKJ
    >>> LKJ(2).correlation(2).quantile([0.025, 0.975]).round(2)
    array([-0.81,  0.81])
    >>> LKJ(2).sample(0, size=1000, q=3).shape
    (1000, 3, 3)
    """

    _positive: ClassVar[tuple[str, ...]] = ("eta",)
    eta: float = 2.0

    def unconstrained(self, q: int) -> LogF:
        """Return the prior of the q (q - 1) / 2 unconstrained coordinates, independent of each other.

        Parameters
        ----------
        q : int
            Number of random effects, at least 2.

        Returns
        -------
        LogF
            With parameters of shape (q (q - 1) / 2,).
        """
        return stack(self.coordinates(q))

    def coordinates(self, q: int) -> list[LogF]:
        """Return the prior of each of the q (q - 1) / 2 unconstrained coordinates.

        Parameters
        ----------
        q : int
            Number of random effects, at least 2.

        Returns
        -------
        list of LogF
            The priors, row by row.
        """
        shapes = [self.eta + 0.5 * (q - 2 - j) for i in range(q) for j in range(i)]
        return [LogF(shape, shape, scale=0.5) for shape in shapes]

    def log_density(self, unconstrained: np.ndarray, q: int) -> np.ndarray:
        """Return the log of the normalised density of the unconstrained coordinates.

        Parameters
        ----------
        unconstrained : ndarray of shape (..., q (q - 1) / 2)
            Points.
        q : int
            Number of random effects.

        Returns
        -------
        ndarray of shape (...)
            Log densities.
        """
        return self.unconstrained(q).log_density(unconstrained).sum(axis=-1)

    def gradient(self, unconstrained: np.ndarray, q: int) -> np.ndarray:
        """Return the gradient of `log_density`.

        Parameters
        ----------
        unconstrained : ndarray of shape (..., q (q - 1) / 2)
            Points.
        q : int
            Number of random effects.

        Returns
        -------
        ndarray of shape (..., q (q - 1) / 2)
            Gradients.
        """
        return self.unconstrained(q).gradient(unconstrained)

    def log_density_of_matrix(self, correlation: np.ndarray) -> np.ndarray:
        """Return the log of the normalised density of correlation matrices, over their entries below the diagonal.

        Parameters
        ----------
        correlation : ndarray of shape (..., q, q)
            Correlation matrices.

        Returns
        -------
        ndarray of shape (...)
            Log densities.
        """
        q = np.shape(correlation)[-1]
        # integral of det(R)^(eta - 1): each z_ij contributes the integral of (1 - z^2)^(c_j - 1)
        shapes = self.eta + 0.5 * (q - 2 - np.arange(q - 1))
        logs = (2.0 * shapes - 1.0) * np.log(2.0) + special.betaln(shapes, shapes)
        constant = np.sum((q - 1 - np.arange(q - 1)) * logs)
        return (self.eta - 1.0) * np.linalg.slogdet(correlation)[1] - constant

    def sample(self, rng: Any = None, size: int | None = None, *, q: int = 2) -> np.ndarray:
        """Draw correlation matrices.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None, default=None
            Source of randomness, or its seed.
        size : int or None, default=None
            Number of matrices; None draws one without a leading axis.
        q : int, default=2
            Number of random effects.

        Returns
        -------
        ndarray of shape (size, q, q) or (q, q)
            Correlation matrices.
        """
        rows = 1 if size is None else size
        draws = self.unconstrained(q).sample(rng, (rows, n_correlations(q)))
        factor = correlation_cholesky(draws, q)
        matrices = factor @ np.swapaxes(factor, -1, -2)
        return matrices[0] if size is None else matrices

    def correlation(self, q: int) -> CorrelationPrior:
        """Return the prior of any one correlation.

        Parameters
        ----------
        q : int
            Number of random effects.

        Returns
        -------
        CorrelationPrior
            A symmetric beta distribution between -1 and 1.
        """
        return CorrelationPrior(self.eta - 1.0 + 0.5 * q)


@dataclass(frozen=True, repr=False)
class CorrelationPrior(Distribution):
    """Prior of one correlation rho: (1 + rho) / 2 has a symmetric beta distribution.

    Parameters
    ----------
    shape : float
        Both parameters of the beta distribution.
    """

    _positive: ClassVar[tuple[str, ...]] = ("shape",)
    shape: float

    def quantile(self, probability: Any) -> Any:
        """Return quantiles of the correlation.

        Parameters
        ----------
        probability : float or array-like
            Shares between 0 and 1.

        Returns
        -------
        float or ndarray
            Quantiles, of the same shape.
        """
        return 2.0 * special.betaincinv(self.shape, self.shape, np.asarray(probability, dtype=float)) - 1.0


def n_correlations(q: int) -> int:
    """Return the number of correlations of q effects."""
    return q * (q - 1) // 2


def correlation_cholesky(unconstrained: np.ndarray, q: int) -> np.ndarray:
    """Map unconstrained coordinates to Cholesky factors of correlation matrices.

    Parameters
    ----------
    unconstrained : ndarray of shape (..., q (q - 1) / 2)
        Points, row by row of the factor.
    q : int
        Number of effects.

    Returns
    -------
    ndarray of shape (..., q, q)
        Lower triangular, with rows of length one.
    """
    y = np.asarray(unconstrained, dtype=float)
    factor = np.zeros((*y.shape[:-1], q, q))
    partial, cosine = np.tanh(y), _sech(y)
    for i in range(q):
        rest = np.ones(y.shape[:-1])
        for j in range(i):
            place = n_correlations(i) + j
            factor[..., i, j] = partial[..., place] * rest
            rest = rest * cosine[..., place]
        factor[..., i, i] = rest
    return factor


def unconstrained_correlations(factor: np.ndarray) -> np.ndarray:
    """Map Cholesky factors of correlation matrices to unconstrained coordinates.

    Parameters
    ----------
    factor : ndarray of shape (..., q, q)
        Lower triangular, with rows of length one.

    Returns
    -------
    ndarray of shape (..., q (q - 1) / 2)
        Points; infinite for singular matrices.
    """
    factor = np.asarray(factor, dtype=float)
    q = factor.shape[-1]
    y = np.empty((*factor.shape[:-2], n_correlations(q)))
    for i in range(1, q):
        for j in range(i):
            # sinh(y) rather than tanh(y), which rounds to 1 near perfect correlation
            rest = np.sqrt(np.sum(factor[..., i, j + 1 : i + 1] ** 2, axis=-1))
            with np.errstate(divide="ignore", invalid="ignore"):
                y[..., n_correlations(i) + j] = np.arcsinh(factor[..., i, j] / rest)
    return y


def correlation_cholesky_derivatives(unconstrained: np.ndarray, q: int) -> np.ndarray:
    """Differentiate `correlation_cholesky`.

    Parameters
    ----------
    unconstrained : ndarray of shape (..., q (q - 1) / 2)
        Points.
    q : int
        Number of effects.

    Returns
    -------
    ndarray of shape (..., q, q, q (q - 1) / 2)
        Derivatives of each entry of the factor by each coordinate.
    """
    y = np.asarray(unconstrained, dtype=float)
    factor = correlation_cholesky(y, q)
    partial, cosine = np.tanh(y), _sech(y)
    derivatives = np.zeros((*factor.shape, n_correlations(q)))
    for i in range(1, q):
        rest = np.ones(y.shape[:-1])
        for j in range(i):
            place = n_correlations(i) + j
            derivatives[..., i, j, place] = rest * cosine[..., place] ** 2
            derivatives[..., i, j + 1 : i + 1, place] = -partial[..., place, None] * factor[..., i, j + 1 : i + 1]
            rest = rest * cosine[..., place]
    return derivatives


def _sech(y: np.ndarray) -> np.ndarray:
    """Return 1 / cosh(y)."""
    decay = np.exp(-np.abs(y))
    return 2.0 * decay / (1.0 + decay * decay)
