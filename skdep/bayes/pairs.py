r"""Independence sampling from symmetrised pairs.

A proposal q, symmetric about its centre m, is drawn as m + z, and both m + z and m - z are evaluated. One of them is
kept, with probability in proportion to the posterior density pi; the pair as a whole has weight

    W = (pi(m + z) + pi(m - z)) / (2 q(z)).

That is sampling from the skew-symmetric density 2 q(z) pi(m + z) / (pi(m + z) + pi(m - z)): what is odd in the
difference of posterior and proposal, above all the skewness, has left the weights. A Metropolis-Hastings chain over
the pairs then has the posterior for its stationary distribution, and the mean of W estimates the evidence without bias.

References
----------
Wang, Boyer and Genton (2004), A skew-symmetric representation of multivariate distributions, Statistica Sinica 14,
1259-1270: the density.
Tierney (1994), Markov chains for exploring posterior distributions, Annals of Statistics 22, 1701-1762: the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import gammaln

from skdep.bayes.progress import Count

__all__ = ["BentTarget", "PairPool", "Proposal", "Target", "draw_pool", "moments_of", "run_chains", "weighted_points"]


# Pairs whose densities are computed at a time, where the target does not say.
_BLOCK_PAIRS = 8192


class Target(Protocol):
    """A posterior density over points (P,), known up to a constant that is kept: its integral is the evidence."""

    def log_density_pairs(self, centre: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log densities (n,) at centre + moves and at centre - moves, moves (n, P)."""


@dataclass(frozen=True)
class Proposal:
    """A multivariate t distribution.

    Parameters
    ----------
    centre : ndarray of shape (P,)
        Its centre.
    root : ndarray of shape (P, P)
        R with R R' its scale matrix.
    df : float
        Degrees of freedom.
    """

    centre: np.ndarray
    root: np.ndarray
    df: float

    def moves(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return moves z (n, P) and their log densities (n,)."""
        P = len(self.centre)
        normal = rng.standard_normal((n, P))
        shrink = np.sqrt(rng.chisquare(self.df, size=n) / self.df)
        normal /= shrink[:, None]
        squared = np.einsum("np,np->n", normal, normal)
        log_det = float(np.linalg.slogdet(self.root)[1])
        constant = gammaln(0.5 * (self.df + P)) - gammaln(0.5 * self.df) - 0.5 * P * np.log(self.df * np.pi) - log_det
        return normal @ self.root.T, constant - 0.5 * (self.df + P) * np.log1p(squared / self.df)


@dataclass(frozen=True)
class PairPool:
    """Pairs, one point of each chosen, with the weights of the pairs.

    Parameters
    ----------
    points : ndarray of shape (n, P)
        The points chosen.
    mirrored : ndarray of shape (n, P)
        The others.
    log_weights : ndarray of shape (n,)
        Logarithms of W.
    share : ndarray of shape (n,)
        Probability with which the chosen point was chosen.
    """

    points: np.ndarray
    mirrored: np.ndarray
    log_weights: np.ndarray
    share: np.ndarray

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean weight."""
        largest = float(self.log_weights.max())
        return largest + float(np.log(np.mean(np.exp(self.log_weights - largest))))

    @property
    def efficiency(self) -> float:
        """Effective sample size of the weights over the number of pairs."""
        weights = np.exp(self.log_weights - self.log_weights.max())
        return float(weights.sum() ** 2 / (weights @ weights) / len(weights))


def draw_pool(
    target: Target, proposal: Proposal, n: int, rng: np.random.Generator, count: Count | None = None
) -> PairPool:
    """Draw pairs.

    Parameters
    ----------
    target : Target
        The posterior density.
    proposal : Proposal
        Where pairs come from.
    n : int
        Number of pairs.
    rng : numpy.random.Generator
        Source of randomness.
    count : Count or None, default=None
        Is told of pairs whose densities have been computed.
    """
    moves, log_proposal = proposal.moves(rng, n)
    plus, minus = _densities(target, proposal.centre, moves, Count() if count is None else count)
    both = np.logaddexp(plus, minus)
    with np.errstate(invalid="ignore"):
        share = np.where(np.isfinite(both), np.exp(plus - both), 0.5)
    is_plus = rng.random(n) < share
    sign = np.where(is_plus, 1.0, -1.0)[:, None]
    return PairPool(
        proposal.centre + sign * moves,
        proposal.centre - sign * moves,
        both - np.log(2.0) - log_proposal,
        np.where(is_plus, share, 1.0 - share),
    )


def _densities(target: Target, centre: np.ndarray, moves: np.ndarray, count: Count) -> tuple[np.ndarray, np.ndarray]:
    """Return the log densities (n,) at centre + moves and centre - moves, -inf where they cannot be computed."""
    values = np.empty((2, len(moves)))
    step = getattr(target, "pairs_at_once", _BLOCK_PAIRS)
    for begin in range(0, len(moves), step):
        block = slice(begin, begin + step)
        values[:, block] = target.log_density_pairs(centre, moves[block])
        count.advance(len(moves[block]))
    values[~np.isfinite(values)] = -np.inf
    return values[0], values[1]


def run_chains(log_weights: np.ndarray, n_kept: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Run independence Metropolis-Hastings chains over pairs.

    Parameters
    ----------
    log_weights : ndarray of shape (n_chains, n)
        Log weights of each chain's own pairs; the first n - n_kept are its warm-up.
    n_kept : int
        States to keep.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    states : ndarray of int of shape (n_chains, n_kept)
        Number of the pair that each chain is at.
    acceptance : float
        Share of proposals accepted.
    """
    n_chains, n = log_weights.shape
    # accepted is what exceeds the present weight once lifted by an exponential variable
    lifted = log_weights + rng.exponential(size=log_weights.shape)
    states = np.empty((n_chains, n), dtype=np.int64)
    n_accepted = 0
    for chain in range(n_chains):
        weights, limits = log_weights[chain].tolist(), lifted[chain].tolist()
        at, present, path = 0, weights[0], [0]
        for step in range(1, n):
            # a scalar comparison a step: a chain is sequential, and cheaper so than as arrays
            if limits[step] > present:
                at, present = step, weights[step]
                n_accepted += 1
            path.append(at)
        states[chain] = path
    return states[:, n - n_kept :], n_accepted / max(n_chains * (n - 1), 1)


def weighted_points(pool: PairPool, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both points (2 n, P) of all pairs, and the share (2 n,) of the posterior that each stands for.

    Parameters
    ----------
    pool : PairPool
        The pairs.
    log_weights : ndarray of shape (n,)
        Their log weights, smoothed.
    """
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mass = np.concatenate([weights * pool.share, weights * (1.0 - pool.share)])
    return np.vstack([pool.points, pool.mirrored]), mass


def moments_of(points: np.ndarray, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (P,) and the covariance (P, P) of points (n, P) with shares (n,) that add up to one."""
    mean = mass @ points
    centred = points - mean
    return mean, (centred * mass[:, None]).T @ centred


@dataclass(frozen=True)
class BentTarget:
    """A density over coordinates of its points.

    Parameters
    ----------
    target : object
        Has ``log_density(points)``.
    coordinates : object
        ``to_points(v)`` returns points and log determinants of the Jacobian.
    """

    target: Any
    coordinates: Any

    @property
    def pairs_at_once(self) -> int:
        """Pairs to compute at a time."""
        return getattr(self.target, "pairs_at_once", _BLOCK_PAIRS)

    def log_density_pairs(self, centre: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log densities (n,) at centre + moves and at centre - moves."""
        points, log_jacobian = self.coordinates.to_points(np.vstack([centre + moves, centre - moves]))
        both = self.target.log_density(points) + log_jacobian
        return both[: len(moves)], both[len(moves) :]
