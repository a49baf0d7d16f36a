"""The normal prior of several coefficients at once, with any covariance: a posterior that becomes the next prior."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import linalg

from skdep.bayes.priors import Normal

__all__ = ["MultivariateNormal"]


@dataclass(frozen=True, repr=False, eq=False)
class MultivariateNormal:
    """Normal prior of a vector of coefficients.

    As the prior of a whole model it is the prior of ``[intercept_, *coef_]`` in the units of the features, the
    intercept at features of 0, as in the model's draws; or of the slopes alone, if it has one dimension less.

    Parameters
    ----------
    loc : array-like of shape (k,)
        Mean.
    covariance : array-like of shape (k, k), default=None
        Covariance matrix, positive definite.
    precision : array-like of shape (k, k), default=None
        Its inverse, in place of it.

    Examples
    --------
    >>> from skdep.bayes.joint_priors import MultivariateNormal
    >>> prior = MultivariateNormal([0, 1], [[4, 1], [1, 1]])
    >>> prior.marginal(0)
    Normal(loc=0, scale=2)
    >>> round(float(prior.log_density([0, 1])), 3)
    -2.387
    """

    loc: Any
    covariance: Any = None
    precision: Any = None
    # x = loc + root z and z = whitening (x - loc), with z standard normal
    _whitening: np.ndarray = field(init=False)
    _root: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if (self.covariance is None) == (self.precision is None):
            raise ValueError("MultivariateNormal: give either covariance or precision.")
        loc = np.array(self.loc, dtype=float)
        if loc.ndim != 1 or not len(loc) or not np.isfinite(loc).all():
            raise ValueError("MultivariateNormal: loc should be a vector of finite numbers.")
        identity = np.eye(len(loc))
        if self.covariance is not None:
            root = _cholesky(self.covariance, "covariance", len(loc))
            whitening = linalg.solve_triangular(root, identity, lower=True)
        else:
            whitening = _cholesky(self.precision, "precision", len(loc)).T
            root = linalg.solve_triangular(whitening, identity)
        values = (loc, root @ root.T, whitening.T @ whitening, whitening, root)
        for name, value in zip(("loc", "covariance", "precision", "_whitening", "_root"), values, strict=True):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def from_draws(cls, draws: np.ndarray) -> MultivariateNormal:
        """Match the mean and the covariance of draws, such as those of an earlier posterior.

        Parameters
        ----------
        draws : array-like of shape (..., k)
            Draws; all axes but the last are draws.

        Returns
        -------
        MultivariateNormal
            The prior.
        """
        rows = np.asarray(draws, dtype=float)
        rows = rows.reshape(-1, rows.shape[-1])
        return cls(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False)))

    def __repr__(self) -> str:
        return f"MultivariateNormal(loc={_short(self.loc)}, sd={_short(self.sd)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultivariateNormal):
            return NotImplemented
        return np.array_equal(self.loc, other.loc) and np.array_equal(self.covariance, other.covariance)

    def __hash__(self) -> int:
        return hash((self.loc.tobytes(), self.covariance.tobytes()))

    def __len__(self) -> int:
        return len(self.loc)

    @property
    def mean(self) -> np.ndarray:
        """Mean, of shape (k,)."""
        return self.loc

    @property
    def sd(self) -> np.ndarray:
        """Standard deviations, of shape (k,)."""
        return np.sqrt(np.diag(self.covariance))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log of the normalised density.

        Parameters
        ----------
        x : array-like of shape (..., k)
            Vectors.

        Returns
        -------
        ndarray of shape (...)
            Log densities.
        """
        z = (np.asarray(x, dtype=float) - self.loc) @ self._whitening.T
        constant = np.sum(np.log(np.abs(np.diag(self._whitening)))) - 0.5 * len(self) * np.log(2.0 * np.pi)
        return constant - 0.5 * np.sum(z * z, axis=-1)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient of the log density.

        Parameters
        ----------
        x : array-like of shape (..., k)
            Vectors.

        Returns
        -------
        ndarray of shape (..., k)
            Gradients.
        """
        return (self.loc - np.asarray(x, dtype=float)) @ self.precision

    def sample(self, rng: Any = None, size: Any = None) -> np.ndarray:
        """Draw vectors.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None, default=None
            Source of randomness, or its seed.
        size : int, tuple of int or None, default=None
            Leading shape of the draws; None draws one vector.

        Returns
        -------
        ndarray of shape (k,) or size followed by k
            Draws.
        """
        leading = () if size is None else (size,) if np.ndim(size) == 0 else tuple(size)
        return self.loc + np.random.default_rng(rng).standard_normal((*leading, len(self))) @ self._root.T

    def mapped(self, matrix: np.ndarray, shift: Any = 0.0) -> MultivariateNormal:
        """Return the prior of ``matrix @ x + shift``.

        Parameters
        ----------
        matrix : array-like of shape (m, k)
            Linear map, with independent rows.
        shift : float or array-like of shape (m,), default=0
            Vector to add.

        Returns
        -------
        MultivariateNormal
            The prior, of dimension m.
        """
        matrix = np.asarray(matrix, dtype=float)
        root = matrix @ self._root
        # not by the product itself, so that no variance is lost to rounding where scales differ widely
        factor = linalg.qr(root.T, mode="r")[0][: len(root)].T
        return MultivariateNormal(matrix @ self.loc + shift, factor @ factor.T)

    def scaled(self, factor: Any) -> MultivariateNormal:
        """Return the prior of the vector times a number, or times a number for each entry.

        Parameters
        ----------
        factor : float or array-like of shape (k,)
            Numbers other than 0.

        Returns
        -------
        MultivariateNormal
            The prior.
        """
        factors = np.broadcast_to(np.asarray(factor, dtype=float), len(self))
        return MultivariateNormal(self.loc * factors, self.covariance * np.outer(factors, factors))

    def marginal(self, place: int) -> Normal:
        """Return the prior of one entry.

        Parameters
        ----------
        place : int
            Its place in the vector.

        Returns
        -------
        Normal
            The prior.
        """
        return Normal(float(self.loc[place]), float(np.sqrt(self.covariance[place, place])))


def _cholesky(matrix: Any, name: str, k: int) -> np.ndarray:
    """Return the lower factor of a symmetric positive definite matrix, or say what is wrong with it."""
    values = np.array(matrix, dtype=float)
    if values.shape != (k, k) or not np.isfinite(values).all():
        raise ValueError(f"MultivariateNormal: {name} should be a finite matrix of shape {(k, k)}.")
    sizes = np.sqrt(np.abs(np.diag(values)))
    if np.any(np.abs(values - values.T) > 1e-8 * np.outer(sizes, sizes)):
        raise ValueError(f"MultivariateNormal: {name} should be symmetric.")
    if np.any(np.diag(values) <= 0):
        raise ValueError(f"MultivariateNormal: {name} should be positive definite; its diagonal is not positive.")
    try:
        # of unit diagonal: scales of coefficients may differ by many orders
        factor = np.linalg.cholesky(0.5 * (values + values.T) / np.outer(sizes, sizes))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"MultivariateNormal: {name} should be positive definite; some linear combination has no variance."
        ) from None
    return factor * sizes[:, None]


def _short(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:6])
    return f"[{shown}{', ...' if len(values) > 6 else ''}]"
