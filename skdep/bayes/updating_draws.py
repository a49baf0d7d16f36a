r"""Draws carried on: those of the posterior so far, weighted by the likelihood of what is new.

Draws made with all data of some batch (the last that was sampled in full) stay as they are, and their weights collect
the likelihoods of the batches since. As long as the weights are even enough, an independence chain that proposes the
draws in turn and accepts by ratios of weights has the new posterior for its stationary distribution; what it costs is
the likelihood of the new rows, and of old rows of the levels that they touch. Once the weights are not, draws have to
move to where the posterior went. Only the density given all data can tell where that is, so that the compressed rows
of all batches are kept; the move is a run of the sampler on them, from which nothing of the old draws is left.

References
----------
Chopin (2002), A sequential particle filter method for static models, Biometrika 89, 539-552: reweight, and move when
weights degenerate. Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, Journal of
Machine Learning Research 25, 72: k-hat as the judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from skdep.bayes.pairs import run_chains
from skdep.bayes.pareto import SmoothedWeights, smooth_weights

__all__ = ["Particles", "Reweighted", "reweight"]

# Effective share of the weights below which draws are moved.
_LEAST = 0.5


@dataclass(frozen=True, eq=False)
class Particles:
    """Draws with weights.

    Parameters
    ----------
    points : ndarray of shape (n_chains, n_draws, P)
        Draws, of the posterior as it was when they were last moved.
    log_weights : ndarray of shape (n_chains, n_draws)
        Log weights that make them draws of the posterior now.
    relative_efficiency : float
        Effective number of the draws without weights, over their number.
    """

    points: np.ndarray
    log_weights: np.ndarray
    relative_efficiency: float

    @classmethod
    def fresh(cls, points: np.ndarray, effective: float) -> Particles:
        """Return draws of the posterior now.

        Parameters
        ----------
        points : ndarray of shape (n_chains, n_draws, P)
            The draws.
        effective : float
            Their effective number.
        """
        n = points.shape[0] * points.shape[1]
        share = effective / n if np.isfinite(effective) else 1.0
        return cls(points, np.zeros(points.shape[:2]), float(np.clip(share, 0.01, 1.0)))


@dataclass(frozen=True, eq=False)
class Reweighted:
    """Draws of a posterior, made of those before it.

    Parameters
    ----------
    particles : Particles
        The old draws with new weights.
    points : ndarray of shape (n_chains, n_draws, P)
        Draws without weights.
    log_evidence : float
        Log probability of what is new, given what is old once discounted.
    log_growth : float
        Change of the logarithm of the integral of the likelihood, by both.
    details : dict of str to float
        ``"khat"``, ``"efficiency"``, ``"acceptance"``, and ``"log_evidence_error"`` of what was added since the draws
        were moved.
    """

    particles: Particles
    points: np.ndarray
    log_evidence: float
    log_growth: float
    details: dict[str, float]


def reweight(
    particles: Particles, discount: np.ndarray, gain: np.ndarray, rng: np.random.Generator
) -> Reweighted | None:
    """Weight draws by what is new; None if they should be moved instead.

    Parameters
    ----------
    particles : Particles
        The draws.
    discount : ndarray of shape (n_chains, n_draws)
        Change of the log-likelihood of old rows by forgetting; zeros without it.
    gain : ndarray of shape (n_chains, n_draws)
        Log-likelihood of the new rows.
    rng : numpy.random.Generator
        Source of randomness.
    """
    before = particles.log_weights + discount
    after = before + gain
    smoothed = smooth_weights(after.ravel(), relative_efficiency=particles.relative_efficiency)
    efficiency = float(smoothed.ess) / after.size
    if not smoothed.reliable or efficiency < _LEAST:
        return None
    error = np.sqrt((1.0 / efficiency - 1.0) / (after.size * particles.relative_efficiency))
    points, acceptance = _chains(particles.points, after, smoothed, rng)
    return Reweighted(
        Particles(particles.points, after, particles.relative_efficiency),
        points,
        float(logsumexp(after) - logsumexp(before)),
        float(logsumexp(after) - logsumexp(particles.log_weights)),
        {
            "khat": float(smoothed.khat),
            "efficiency": efficiency,
            "acceptance": acceptance,
            "log_evidence_error": float(error),
        },
    )


def _chains(
    points: np.ndarray, log_weights: np.ndarray, smoothed: SmoothedWeights, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Return draws (n_chains, n_draws, P) of independence chains over the points, and the share accepted."""
    n_chains, n = log_weights.shape
    mass = np.exp(smoothed.log_weights)
    # chains begin in the new posterior, so that they need no warm-up
    starts = rng.choice(mass.size, size=n_chains, p=mass / mass.sum())
    first = log_weights.ravel()[starts][:, None]
    states, acceptance = run_chains(np.hstack([first, log_weights]), n, rng)
    proposed = np.concatenate([points.reshape(-1, points.shape[-1])[starts][:, None], points], axis=1)
    return np.take_along_axis(proposed, states[:, :, None], axis=1), acceptance
