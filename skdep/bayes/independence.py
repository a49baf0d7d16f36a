r"""The sampler of choice: pairs from a t distribution matched to the posterior, gates, and refits.

The proposal has the mode for its centre and the inverse curvature there for its scale, with heavier tails. A pilot run
shows whether it fits. Where it does not, and the target knows coordinates in which its posterior is closer to normal,
the proposal becomes a distribution of those. Then its centre and scale, and what the coordinates depend on, become the
posterior's own, as pairs estimate them. Of the final run every chain gets its own pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.bayes.mode import PosteriorMode
from skdep.bayes.pairs import BentTarget, PairPool, Proposal, draw_pool, moments_of, run_chains, weighted_points
from skdep.bayes.pareto import khat_threshold, smooth_weights
from skdep.bayes.progress import Count

__all__ = ["IndependenceRun", "sample_by_pairs"]

_PILOT_PAIRS = 400
_MOST_REFITS = 3
# Effective share of the weights that is good enough; where coordinates can be had; and in a pilot before they are.
_GOOD, _GOOD_BENT, _NEARLY_NORMAL = 0.7, 0.8, 0.93
# Effective share below which a proposal is given up.
_LEAST = 0.3
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


@dataclass(frozen=True)
class _Source:
    """Where pairs come from.

    Parameters
    ----------
    target : Target
        The density.
    proposal : Proposal
        A distribution of coordinates.
    coordinates : object or None, default=None
        What the target's method of that name returned; None where coordinates are points.
    """

    target: Any
    proposal: Proposal
    coordinates: Any = None

    @classmethod
    def at(cls, target: Any, mode: PosteriorMode) -> _Source:
        """Return a source of points about the mode."""
        # many degrees of freedom for many parameters: the radius of a heavy-tailed proposal would be far off
        df = float(max(8, 2 * len(mode.point) + 2))
        return cls(target, Proposal(mode.point, _root(np.linalg.inv(mode.precision)), df))

    @property
    def can_bend(self) -> bool:
        """Whether there are coordinates to go over to."""
        return self.coordinates is None and hasattr(self.target, "coordinates")

    @property
    def good(self) -> float:
        """Effective share of the weights that is good enough."""
        return _GOOD_BENT if hasattr(self.target, "coordinates") else _GOOD

    def draw(self, n: int, rng: np.random.Generator, count: Count) -> PairPool:
        """Draw pairs."""
        density = self.target if self.coordinates is None else BentTarget(self.target, self.coordinates)
        return draw_pool(density, self.proposal, n, rng, count)

    def to_points(self, v: np.ndarray) -> np.ndarray:
        """Return the points of coordinates (n, P)."""
        return v if self.coordinates is None else self.coordinates.to_points(v)[0]

    def bent(self, mode: PosteriorMode) -> _Source | None:
        """Return a source of coordinates; None if they cannot be computed."""
        try:
            coordinates, centre, covariance = self.target.coordinates(mode)
            root = _root(covariance)
        except np.linalg.LinAlgError:
            return None
        # the posterior is about normal in them, its tails not known as well as they are by a curvature
        df = float(max(6, len(centre) + 3))
        return _Source(self.target, Proposal(centre, root, df), coordinates)

    def refitted(self, pool: PairPool) -> _Source | None:
        """Return a source with the moments of the posterior, as pairs estimate them; None if too few of them count."""
        smoothed = smooth_weights(pool.log_weights)
        if not float(smoothed.ess) >= max(2.0 * len(self.proposal.centre), 20.0):
            return None
        v, mass = weighted_points(pool, smoothed.log_weights)
        coordinates = self.coordinates
        if coordinates is not None:
            points = self.to_points(v)
            coordinates = coordinates.refitted(points, mass)
            v = coordinates.from_points(points)
        mean, covariance = moments_of(v, mass)
        return _Source(self.target, Proposal(mean, _root(covariance), self.proposal.df), coordinates)

    def improved(self, mode: PosteriorMode, pool: PairPool) -> _Source | None:
        """Return a source that should fit better than this one, of which there are pairs; None if there is none."""
        return (self.bent(mode) if self.can_bend else None) or self.refitted(pool)


def sample_by_pairs(
    target: Any,
    mode: PosteriorMode,
    *,
    n_draws: int,
    n_chains: int,
    rng: np.random.Generator,
    count: Count | None = None,
) -> IndependenceRun:
    """Sample a posterior density by independence chains over pairs.

    Parameters
    ----------
    target : Target
        The density. With a method ``coordinates(mode)`` it can be sampled in others.
    mode : PosteriorMode
        Its mode.
    n_draws : int
        Draws of each chain to keep.
    n_chains : int
        Number of chains.
    rng : numpy.random.Generator
        Source of randomness.
    count : Count or None, default=None
        Is told of pairs that have been drawn.
    """
    count = Count() if count is None else count
    n = n_draws + _WARM_UP
    count.announce(n_chains * n)
    source, n_refits = _piloted(target, mode, rng, count)
    pool = source.draw(n_chains * n, rng, count)
    # a pilot may not have seen the tails: the run itself is a larger pilot, should it turn out to be poor
    while n_refits < _MOST_REFITS and (pool.efficiency < source.good or not _passes(pool)):
        improved = source.improved(mode, pool)
        n_refits += 1
        if improved is None:
            break
        count.announce(n_chains * n)
        trial = improved.draw(n_chains * n, rng, count)
        if not _is_better(trial, pool):
            break
        source, pool = improved, trial
    states, acceptance = run_chains(pool.log_weights.reshape(n_chains, n), n_draws, rng)
    chosen = pool.points[(states + n * np.arange(n_chains)[:, None]).ravel()]
    return IndependenceRun(
        source.to_points(chosen).reshape(n_chains, n_draws, -1),
        pool.log_evidence,
        _relative_error(pool),
        _khat(pool),
        pool.efficiency,
        acceptance,
        n_refits,
        _passes(pool),
    )


def _piloted(target: Any, mode: PosteriorMode, rng: np.random.Generator, count: Count) -> tuple[_Source, int]:
    """Return a source that a pilot run does not speak against, and how often it was refitted."""

    def drawn(source: _Source, n: int) -> PairPool:
        count.announce(n)
        return source.draw(n, rng, count)

    best, n_pairs = _Source.at(target, mode), max(_PILOT_PAIRS, 4 * len(mode.point))
    pool = drawn(best, n_pairs)
    if pool.efficiency < _NEARLY_NORMAL and best.can_bend:
        # not a refit: these coordinates owe nothing to the pairs
        bent = best.bent(mode)
        if bent is not None:
            best, pool = bent, drawn(bent, n_pairs)
    for n_refits in range(_MOST_REFITS - 1):
        if pool.efficiency >= best.good:
            return best, n_refits
        refitted = best.refitted(pool)
        if refitted is None:
            return best, n_refits
        trial = drawn(refitted, 2 * len(pool.log_weights))
        if not _is_better(trial, pool):
            return best, n_refits + 1
        best, pool = refitted, trial
    return best, _MOST_REFITS - 1


def _passes(pool: PairPool) -> bool:
    """Say whether the weights of a pool are such that they can be trusted."""
    if not pool.efficiency >= _LEAST:
        return False
    largest = float(np.exp(pool.log_weights.max() - pool.log_evidence))
    return largest <= _HARMLESS or _khat(pool) < khat_threshold(len(pool.log_weights))


def _khat(pool: PairPool) -> float:
    """Return the shape of the tail of the weights."""
    return float(smooth_weights(pool.log_weights).khat)


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


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return a square root of a covariance matrix that may be close to singular."""
    scale = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    # symmetric: eigenvectors have no sign of their own, nor an order where values tie
    return scale[:, None] * ((vectors * np.sqrt(np.maximum(values, 1e-10 * values[-1]))) @ vectors.T)
