r"""The regularised horseshoe: a prior of many slopes of which few are expected to matter.

beta_j = z_j tau lt_j with z_j standard normal, global scale tau, local scales lambda_j, and
lt_j^2 = c^2 lambda_j^2 / (c^2 + tau^2 lambda_j^2): slopes that escape the shrinkage to zero are normal with sd c.
lambda_j and tau are half-t, c^2 is inverse gamma so that large slopes are t distributed.

Its density in beta alone has no closed form, so that samplers work in the unconstrained vector
``raw = [z_1..z_k, log lambda_1..log lambda_k, log tau, log c]`` of 2 k + 2 entries, a priori independent.

References
----------
Piironen and Vehtari (2017), Sparsity information and regularization in the horseshoe and other shrinkage priors,
Electronic Journal of Statistics 11, 5018-5051.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy import special

from skdep.bayes.distribution import Distribution
from skdep.bayes.scale_priors import HalfStudentT

__all__ = ["Horseshoe"]


@dataclass(frozen=True, repr=False)
class Horseshoe(Distribution):
    """Regularised horseshoe prior of slopes per standard deviation of their feature.

    Unlike other priors it is not in the units of the features, since slopes shrink by a common scale only if they are
    comparable. Models with it are fitted by a general sampler, which is slower.

    Parameters
    ----------
    global_scale : float, default=0.01
        Scale of the half-t prior of tau; see `expecting`.
    slab_scale : float, default=2.5
        Scale of slopes that matter.
    slab_df : float, default=4
        Degrees of freedom of slopes that matter.
    local_df : float, default=1
        Degrees of freedom of the local scales; 1 is the horseshoe.
    global_df : float, default=1
        Degrees of freedom of the global scale.

    Examples
    --------
    >>> from skdep.bayes.horseshoe import Horseshoe
    >>> prior = Horseshoe.expecting(n_relevant=3, n_features=50, n_rows=1000)
    >>> round(prior.global_scale, 4)
    0.004
    >>> prior.sample(0, size=200, n_features=50).shape
    (200, 50)
    """

    _positive: ClassVar[tuple[str, ...]] = ("global_scale", "slab_scale", "slab_df", "local_df", "global_df")
    global_scale: float = 0.01
    slab_scale: float = 2.5
    slab_df: float = 4.0
    local_df: float = 1.0
    global_df: float = 1.0

    @classmethod
    def expecting(cls, n_relevant: float, n_features: int, n_rows: int, **parameters: float) -> Horseshoe:
        """Choose the global scale by how many features are expected to matter.

        Parameters
        ----------
        n_relevant : float
            Expected number of features that matter.
        n_features : int
            Number of features.
        n_rows : int
            Number of rows. A row of a logistic regression is taken to say as much as a normal one of sd 2, as it does
            at even odds.
        **parameters : float
            Other parameters.

        Returns
        -------
        Horseshoe
            The prior.
        """
        if not 0 < n_relevant < n_features:
            raise ValueError(f"n_relevant should be between 0 and n_features = {n_features}, got {n_relevant!r}.")
        scale = n_relevant / (n_features - n_relevant) * 2.0 / np.sqrt(n_rows)
        return cls(global_scale=float(scale), **parameters)

    def coefficients(self, raw: np.ndarray) -> np.ndarray:
        """Return the slopes.

        Parameters
        ----------
        raw : ndarray of shape (..., 2 k + 2)
            Unconstrained vectors.

        Returns
        -------
        ndarray of shape (..., k)
            Slopes.
        """
        z, free, slab = _split(raw)
        return z * np.exp(_smaller(free, slab))

    def log_density(self, raw: np.ndarray) -> np.ndarray:
        """Return the log of the normalised density of the unconstrained vector.

        Parameters
        ----------
        raw : ndarray of shape (..., 2 k + 2)
            Unconstrained vectors.

        Returns
        -------
        ndarray of shape (...)
            Log densities.
        """
        raw = np.asarray(raw, dtype=float)
        k = _n_slopes(raw)
        z, slab = raw[..., :k], raw[..., -1]
        half, rate = 0.5 * self.slab_df, 0.5 * self.slab_df * self.slab_scale**2
        total = -0.5 * np.sum(z * z, axis=-1) - 0.5 * k * np.log(2.0 * np.pi)
        total += self._local().log_density_of_log(raw[..., k : 2 * k]).sum(axis=-1)
        total += self._global().log_density_of_log(raw[..., -2])
        # c^2 inverse gamma, times d c^2 / d log c
        total += np.log(2.0) + half * np.log(rate) - special.gammaln(half)
        return total - 2.0 * half * slab - rate * np.exp(-2.0 * slab)

    def gradient(self, raw: np.ndarray) -> np.ndarray:
        """Return the gradient of `log_density`.

        Parameters
        ----------
        raw : ndarray of shape (..., 2 k + 2)
            Unconstrained vectors.

        Returns
        -------
        ndarray of shape (..., 2 k + 2)
            Gradients.
        """
        raw = np.asarray(raw, dtype=float)
        k = _n_slopes(raw)
        out = np.empty_like(raw)
        out[..., :k] = -raw[..., :k]
        out[..., k : 2 * k] = self._local().gradient_of_log(raw[..., k : 2 * k])
        out[..., -2] = self._global().gradient_of_log(raw[..., -2])
        out[..., -1] = self.slab_df * (self.slab_scale**2 * np.exp(-2.0 * raw[..., -1]) - 1.0)
        return out

    def pull_back(self, raw: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Turn the gradient of a function of the slopes into its gradient in the unconstrained vector.

        Parameters
        ----------
        raw : ndarray of shape (..., 2 k + 2)
            Unconstrained vectors.
        gradient : ndarray of shape (..., k)
            Gradients by the slopes there.

        Returns
        -------
        ndarray of shape (..., 2 k + 2)
            Gradients by the unconstrained vector.
        """
        z, free, slab = _split(raw)
        k = z.shape[-1]
        scale = np.exp(_smaller(free, slab))
        share = special.expit(2.0 * (slab - free))  # of d log scale that is due to tau and lambda
        by_log_scale = gradient * z * scale
        out = np.empty(np.shape(raw))
        out[..., :k] = gradient * scale
        out[..., k : 2 * k] = by_log_scale * share
        out[..., -2] = out[..., k : 2 * k].sum(axis=-1)
        out[..., -1] = np.sum(by_log_scale * (1.0 - share), axis=-1)
        return out

    def sample_raw(self, rng: Any, size: int, n_features: int) -> np.ndarray:
        """Draw unconstrained vectors.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None
            Source of randomness, or its seed.
        size : int
            Number of draws.
        n_features : int
            Number of slopes k.

        Returns
        -------
        ndarray of shape (size, 2 k + 2)
            Draws.
        """
        rng, k = np.random.default_rng(rng), n_features
        out = np.empty((size, 2 * k + 2))
        out[:, :k] = rng.standard_normal((size, k))
        out[:, k : 2 * k] = np.log(self._local().sample(rng, (size, k)))
        out[:, -2] = np.log(self._global().sample(rng, size))
        out[:, -1] = np.log(self.slab_scale) - 0.5 * np.log(rng.chisquare(self.slab_df, size) / self.slab_df)
        return out

    def sample(self, rng: Any = None, size: int = 1, *, n_features: int = 1) -> np.ndarray:
        """Draw slopes.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None, default=None
            Source of randomness, or its seed.
        size : int, default=1
            Number of draws.
        n_features : int, default=1
            Number of slopes k.

        Returns
        -------
        ndarray of shape (size, k)
            Slopes per standard deviation.
        """
        return self.coefficients(self.sample_raw(rng, size, n_features))

    def quantile(self, probability: Any) -> Any:
        """Return quantiles of one slope, from a hundred thousand draws with a fixed seed.

        Parameters
        ----------
        probability : float or array-like
            Shares between 0 and 1.

        Returns
        -------
        float or ndarray
            Quantiles, of the same shape.
        """
        sizes = _sizes(self)
        probability = np.asarray(probability, dtype=float)
        # symmetric about 0 exactly, which plain quantiles of the draws are not
        return np.sign(probability - 0.5) * np.quantile(sizes, np.abs(2.0 * probability - 1.0))

    def _local(self) -> HalfStudentT:
        return HalfStudentT(self.local_df, 1.0)

    def _global(self) -> HalfStudentT:
        return HalfStudentT(self.global_df, self.global_scale)


@lru_cache(maxsize=4)
def _sizes(prior: Horseshoe) -> np.ndarray:
    """Draw absolute values of a slope; kept, since a table of many slopes asks for each."""
    return np.abs(prior.sample(0, 100_000)[:, 0])


def _n_slopes(raw: np.ndarray) -> int:
    return (raw.shape[-1] - 2) // 2


def _split(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z and log(tau lambda), of shape (..., k), and log c, of shape (..., 1)."""
    raw = np.asarray(raw, dtype=float)
    k = _n_slopes(raw)
    return raw[..., :k], raw[..., k : 2 * k] + raw[..., -2:-1], raw[..., -1:]


def _smaller(free: np.ndarray, slab: np.ndarray) -> np.ndarray:
    """Return log(tau lt_j), a smooth minimum of log(tau lambda_j) and log c."""
    return free + slab - 0.5 * np.logaddexp(2.0 * free, 2.0 * slab)
