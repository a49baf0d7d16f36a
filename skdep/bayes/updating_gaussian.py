r"""A posterior as a normal distribution, to be the next prior: its moments, and how much it loses.

The moments are those of the posterior itself, by importance weights from the normal distribution at the mode, or, where
the posterior is too far from that, from the one with the moments of its draws, or by the draws alone. Points come in
pairs m + z and m - z, and the sums over z of a normal distribution are known: what is left to chance is what
the posterior differs by from that distribution, so that errors do not add up over batches as those of draws would.

The certificate compares the result with the posterior: k-hat of the ratio of the two densities, and the
Kullback-Leibler divergence of the normal distribution from the posterior,

    KL = E[log p(theta | y) - log N(theta)]    over theta ~ p(theta | y).

Predictions of any event then err by at most sqrt(KL / 2), and by far less as a rule.

With a forgetting factor a the next prior is N^a pi^(1 - a), pi the prior before all data: what the data said counts
a times, the prior itself is not forgotten. Where pi is normal, so is this, with precisions added up.

References
----------
Ibrahim and Chen (2000), Power prior distributions for regression models, Statistical Science 15, 46-60.
Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, Journal of Machine Learning
Research 25, 72.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg
from scipy.special import logsumexp

from skdep.bayes.independence import sample_by_pairs
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.mode import find_mode
from skdep.bayes.pareto import SmoothedWeights, khat_threshold, smooth_weights
from skdep.bayes.prior_blocks import Elementwise, Joint
from skdep.bayes.prior_density import PriorSpec
from skdep.bayes.prior_summary import rows_of_normal
from skdep.bayes.priors import Normal

__all__ = ["MOST_KL", "GaussianPosterior", "Power", "approximate", "discounted_prior"]

MOST_KL = 0.05
"""Divergence, in nats, above which a user is warned: probabilities may be off by up to 0.16."""
# Divergence below which not even a heavy tail of the weights matters.
_LEAST_KL = 0.02
_PAIRS = 2000
# Effective share of the weights from which on weighted moments are better than those of the posterior's draws.
_EVEN = 0.9
# Draws of each of four chains that integrate a prior which is not normal.
_PRIOR_DRAWS = 1000


@dataclass(frozen=True)
class GaussianPosterior:
    """A normal distribution in place of a posterior.

    Parameters
    ----------
    normal : MultivariateNormal
        Of points.
    khat : float
        Shape of the tail of posterior density over normal density.
    kl : float
        Divergence of the normal distribution from the posterior, in nats.
    """

    normal: MultivariateNormal
    khat: float
    kl: float

    @property
    def is_good(self) -> bool:
        """Whether the normal distribution can stand in for the posterior."""
        # k-hat is blind to how large weights are: where all are close to 1 even a heavy tail of theirs is harmless
        return self.kl <= (MOST_KL if self.khat < khat_threshold(2 * _PAIRS) else _LEAST_KL)

    def complaint(self) -> str:
        """Return what to tell the user where it cannot."""
        return (
            "The posterior is far from normal, and as a normal prior of the next batch (updating='gaussian') it loses "
            f"much: divergence {self.kl:.3f} nats (should be below {MOST_KL}), k-hat {self.khat:.2f} (should be below "
            f"{khat_threshold(2 * _PAIRS):.2f}). Use updating='exact', or larger batches."
        )


def approximate(target: Any, points: np.ndarray, mode: Any, rng: np.random.Generator) -> GaussianPosterior:
    """Find the normal distribution with the moments of a posterior.

    Parameters
    ----------
    target : Target
        The posterior density of points.
    points : ndarray of shape (n, P)
        Draws of it.
    mode : PosteriorMode or None
        Its mode, if it is known.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    GaussianPosterior
        The distribution and its certificate.
    """
    by_draws = MultivariateNormal.from_draws(points)
    starts = [] if mode is None else [MultivariateNormal(mode.point, precision=mode.precision)]
    normal = by_draws
    for start in [*starts, by_draws]:
        z, _, weights = _weighted_pairs(target, start, rng)
        if float(weights.ess) >= _EVEN * 2 * _PAIRS:
            normal = _moments(start, z, weights)
            break
    khat, kl = _certificate(target, normal, points, rng)
    return GaussianPosterior(normal, khat, kl)


def _certificate(
    target: Any, normal: MultivariateNormal, points: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Return k-hat and the divergence.

    The divergence is estimated twice and the larger taken: by weights of draws of the normal distribution, and as a
    mean over draws of the posterior, which see tails where the normal distribution has none.
    """
    _, raw, weights = _weighted_pairs(target, normal, rng)
    mass = np.exp(weights.log_weights)
    by_weights = float(mass @ np.where(mass > 0, weights.log_weights + np.log(len(mass)), 0.0))
    some = points[:: max(len(points) // _PAIRS, 1)]
    evidence = float(logsumexp(raw)) - np.log(len(raw))
    by_draws = float(np.mean(target.log_density(some) - normal.log_density(some))) - evidence
    return float(weights.khat), float(max(by_weights, by_draws, 0.0))


def _weighted_pairs(
    target: Any, normal: MultivariateNormal, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, SmoothedWeights]:
    """Return standard normal z (n, P), log weights (2 n,) of the points at z, then at -z, and these smoothed."""
    z = rng.standard_normal((_PAIRS, len(normal)))
    plus, minus = target.log_density_pairs(normal.loc, z @ normal._root.T)
    log_normal = normal.log_density(normal.loc + z @ normal._root.T)
    ratios = np.concatenate([plus - log_normal, minus - log_normal])
    ratios = np.where(np.isfinite(ratios), ratios, -np.inf)
    return z, ratios, smooth_weights(ratios)


def _moments(start: MultivariateNormal, z: np.ndarray, weights: SmoothedWeights) -> MultivariateNormal:
    """Return the normal distribution with the weighted moments, weights being even enough that they are proper ones."""
    mass = np.exp(weights.log_weights).reshape(2, -1)
    mean = (mass[0] - mass[1]) @ z
    excess = mass.sum(axis=0) - 1.0 / len(z)
    # E z z' is the identity where weights are equal: only what they differ by is left to the draws
    covariance = np.eye(z.shape[1]) + (z * excess[:, None]).T @ z - np.outer(mean, mean)
    return MultivariateNormal(start.loc + start._root @ mean, start._root @ covariance @ start._root.T)


def discounted_prior(
    first: PriorSpec, normal: MultivariateNormal, factor: float, rng: np.random.Generator
) -> PriorSpec:
    """Return the prior of the next batch.

    Parameters
    ----------
    first : PriorSpec
        The prior before all data.
    normal : MultivariateNormal
        The posterior so far, of points.
    factor : float
        How often what the data said counts.
    rng : numpy.random.Generator
        Source of randomness, for the integral of a prior that is not normal.

    Returns
    -------
    PriorSpec
        The prior; its table shows the posterior so far.
    """
    if factor == 1.0:
        return first.replaced_by(normal)
    if not _is_normal(first):
        block = Power.of(first, normal, factor, rng)
        return PriorSpec(first.layout, (block,), rows_of_normal(normal, first.layout))
    zero = np.zeros(first.n_points)
    before = -first.hessian(zero)
    precision = factor * normal.precision + (1.0 - factor) * before
    linear = factor * normal.precision @ normal.loc + (1.0 - factor) * first.gradient(zero)
    return first.replaced_by(MultivariateNormal(linalg.solve(precision, linear, assume_a="pos"), precision=precision))


def _is_normal(prior: PriorSpec) -> bool:
    return all(
        isinstance(block, Joint) or (isinstance(block, Elementwise) and isinstance(block.prior, Normal))
        for block in prior.blocks
    )


@dataclass(frozen=True, eq=False)
class Power:
    """The density N^a pi^(1 - a) of whole points, normalised: a block of a prior, for a pi that is not normal.

    Parameters
    ----------
    places : ndarray of int of shape (P,)
        All places.
    prior : PriorSpec
        pi.
    normal : MultivariateNormal
        N.
    factor : float
        a.
    log_integral : float
        Logarithm of the integral of the product.
    draws : ndarray of shape (n, P)
        Draws of the density.
    """

    places: np.ndarray
    prior: PriorSpec
    normal: MultivariateNormal
    factor: float
    log_integral: float
    draws: np.ndarray

    @classmethod
    def of(cls, prior: PriorSpec, normal: MultivariateNormal, factor: float, rng: np.random.Generator) -> Power:
        """Return the density, its integral found by the sampler.

        Parameters
        ----------
        prior : PriorSpec
            pi.
        normal : MultivariateNormal
            N.
        factor : float
            a.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        Power
            The block.
        """
        plain = cls(np.arange(prior.n_points), prior, normal, factor, 0.0, normal.loc[None])
        mode = find_mode(_WithoutData(plain.smoothed()), normal.loc)
        run = sample_by_pairs(_WithoutData(plain), mode, n_draws=_PRIOR_DRAWS, n_chains=4, rng=rng)
        return replace(plain, log_integral=run.log_evidence, draws=run.points.reshape(-1, prior.n_points))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Return the log densities."""
        both = self.factor * self.normal.log_density(x) + (1.0 - self.factor) * self.prior.log_density(x)
        return both - self.log_integral

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradients."""
        return self.factor * self.normal.gradient(x) + (1.0 - self.factor) * self.prior.gradient(x)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Return the second derivatives."""
        return (1.0 - self.factor) * self.prior.hessian(x) - self.factor * self.normal.precision

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Return curvatures for Newton steps."""
        return (1.0 - self.factor) * self.prior.curvature(x) + self.factor * self.normal.precision

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw points, of those that are stored."""
        return self.draws[rng.integers(len(self.draws), size=n)]

    def smoothed(self) -> Power:
        """Return the product with pi smoothed."""
        return replace(self, prior=self.prior.smoothed())


class _WithoutData:
    """A prior as a posterior of no data.

    Parameters
    ----------
    prior : Power
        The prior.
    """

    def __init__(self, prior: Power):
        self.prior = prior

    def log_density_pairs(self, centre: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log densities (n,) at centre + moves and at centre - moves."""
        return self.prior.log_density(centre + moves), self.prior.log_density(centre - moves)

    def log_likelihood_derivatives(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return zeros."""
        return 0.0, np.zeros(len(point)), np.zeros((len(point), len(point)))
