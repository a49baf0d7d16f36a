r"""The sampler of choice: pairs from a t distribution matched to the posterior, gates, and moment refits.

The proposal has the mode for its centre and the inverse curvature there for its scale, with heavier tails. A pilot run
shows whether it fits; where it does not, its centre and scale become the posterior's own moments, as the pilot
estimates them. Of the final run every chain gets its own pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.bayes.mode import PosteriorMode
from skdep.bayes.pairs import PairPool, Proposal, draw_pool, moments_of, run_chains
from skdep.bayes.pareto import khat_threshold, smooth_weights

__all__ = ["IndependenceRun", "sample_by_pairs"]

_PILOT_PAIRS = 400
_MOST_REFITS = 3
# Effective share of the weights below which a proposal is refitted, and below which it is given up.
_GOOD, _LEAST = 0.7, 0.3
# Largest weight, over their mean, that is no danger whatever the shape of the tail that it ends.
_HARMLESS = 10.0
# Standard errors by which the evidence may fall with a refitted proposal: more, and a part of the posterior is lost.
_MOST_FALL = 3.0
_WARM_UP = 50


@dataclass(frozen=True)
class IndependenceRun:
    """Draws, and how good the proposal was.

    Parameters
    ----------
    points : ndarray of shape (n_chains, n_draws, P)
        Draws of the posterior.
    log_evidence : float
        Logarithm of the integral of the density.
    log_evidence_error : float
        Its Monte Carlo standard error.
    khat : float
        Shape of the tail of the weights.
    efficiency : float
        Effective share of the weights.
    acceptance : float
        Share of proposals that the chains accepted.
    n_refits : int
        How often the proposal was refitted.
    accepted : bool
        Whether the gates were passed.
    """

    points: np.ndarray
    log_evidence: float
    log_evidence_error: float
    khat: float
    efficiency: float
    acceptance: float
    n_refits: int
    accepted: bool


def sample_by_pairs(
    target: Any, mode: PosteriorMode, *, n_draws: int, n_chains: int, rng: np.random.Generator
) -> IndependenceRun:
    """Sample a posterior density by independence chains over pairs.

    Parameters
    ----------
    target : Target
        The density.
    mode : PosteriorMode
        Its mode.
    n_draws : int
        Draws of each chain to keep.
    n_chains : int
        Number of chains.
    rng : numpy.random.Generator
        Source of randomness.
    """
    proposal, n_refits = _piloted(target, mode, rng)
    n = n_draws + _WARM_UP
    pool = draw_pool(target, proposal, n_chains * n, rng)
    # a pilot may not have seen the tails: the run itself is a larger pilot, should it turn out to be poor
    while pool.efficiency < _GOOD and n_refits < _MOST_REFITS:
        refitted = _refitted(proposal, pool)
        n_refits += 1
        if refitted is None:
            break
        trial = draw_pool(target, refitted, n_chains * n, rng)
        if not _is_better(trial, pool):
            break
        proposal, pool = refitted, trial
    states, acceptance = run_chains(pool.log_weights.reshape(n_chains, n), n_draws, rng)
    points = pool.points.reshape(n_chains, n, -1)
    kept = np.take_along_axis(points, states[:, :, None], axis=1)
    khat = float(smooth_weights(pool.log_weights).khat)
    return IndependenceRun(
        kept,
        pool.log_evidence,
        _relative_error(pool),
        khat,
        pool.efficiency,
        acceptance,
        n_refits,
        _passes(pool, khat),
    )


def _passes(pool: PairPool, khat: float) -> bool:
    """Say whether the weights of a pool are such that they can be trusted."""
    largest = float(np.exp(pool.log_weights.max() - pool.log_evidence))
    return bool(pool.efficiency >= _LEAST and (khat < khat_threshold(len(pool.log_weights)) or largest <= _HARMLESS))


def _is_better(trial: PairPool, before: PairPool) -> bool:
    """Say whether pairs of a refitted proposal are to be preferred.

    What has not seen the tails looks better than it is: a little less efficiency is no reason to go back. Less evidence
    is one: the proposal has lost a part of the posterior.
    """
    error = float(np.hypot(_relative_error(trial), _relative_error(before)))
    return trial.efficiency > 0.7 * before.efficiency and trial.log_evidence > before.log_evidence - _MOST_FALL * error


def _relative_error(pool: PairPool) -> float:
    """Return the standard error of the logarithm of the mean weight."""
    weights = np.exp(pool.log_weights - pool.log_weights.max())
    return float(weights.std() / weights.mean() / np.sqrt(len(weights)))


def _piloted(target: Any, mode: PosteriorMode, rng: np.random.Generator) -> tuple[Proposal, int]:
    """Return a proposal that a pilot run does not speak against, and how often it was refitted."""
    n_params = len(mode.point)
    # many degrees of freedom for many parameters: the radius of a heavy-tailed proposal would be far off
    df = float(max(8, 2 * n_params + 2))
    best = Proposal(mode.point, _root(np.linalg.inv(mode.precision)), df)
    pool = draw_pool(target, best, max(_PILOT_PAIRS, 4 * n_params), rng)
    for n_refits in range(_MOST_REFITS - 1):
        if pool.efficiency >= _GOOD:
            return best, n_refits
        refitted = _refitted(best, pool)
        if refitted is None:
            return best, n_refits
        trial = draw_pool(target, refitted, 2 * len(pool.log_weights), rng)
        if not _is_better(trial, pool):
            return best, n_refits + 1
        best, pool = refitted, trial
    return best, _MOST_REFITS - 1


def _refitted(proposal: Proposal, pool: PairPool) -> Proposal | None:
    """Return a proposal with the moments of the posterior, as pairs estimate them; None if too few of them count."""
    smoothed = smooth_weights(pool.log_weights)
    if not float(smoothed.ess) >= max(2.0 * len(proposal.centre), 20.0):
        return None
    mean, covariance = moments_of(pool, smoothed.log_weights)
    return Proposal(mean, _root(covariance), proposal.df)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return a square root of a covariance matrix that may be close to singular."""
    scale = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    return scale[:, None] * vectors * np.sqrt(np.maximum(values, 1e-10 * values[-1]))
