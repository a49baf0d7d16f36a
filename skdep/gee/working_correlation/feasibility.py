r"""Whether binary outcomes allow a working correlation: means bound the correlation of two such outcomes.

With odds o = mu / (1 - mu), Prentice's bounds for the correlation of two outcomes of 0 and 1 are

    -min((o_j o_k)^(1/2), (o_j o_k)^(-1/2)) <= rho_jk <= (min(o_j, o_k) / max(o_j, o_k))^(1/2).

Estimates and robust standard errors stay valid outside, but the working correlation is then none of binary outcomes.

References
----------
Prentice (1988), Biometrics 44, 1033-1048; Chaganty and Joe (2004), Journal of the Royal Statistical Society B 66,
851-860.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

if TYPE_CHECKING:
    from skdep.gee.equations import Equations, Evaluation

__all__ = ["infeasible_share"]

# Up to so many pairs all are looked at, else a sample of as many: its share is known to a third of a percent.
_MOST_PAIRS = 20_000


def infeasible_share(equations: Equations, at: Evaluation) -> float | None:
    """Return the share of pairs of rows of a cluster whose working correlation binary outcomes cannot have.

    Parameters
    ----------
    equations : Equations
        The estimating equations, of a binary outcome.
    at : Evaluation
        Their solution.

    Returns
    -------
    share : float or None
        Of all pairs, or of a fixed random sample of 20 000; 0 without pairs, None where the structure cannot tell.
    """
    blocks = equations.data.blocks
    n_pairs = float(sum(np.sum(block.clusters.sizes * (block.clusters.sizes - 1.0)) / 2.0 for _, block in blocks))
    counts = equations.data.counts
    rng = np.random.default_rng(0)
    outside = total = 0.0
    for (rows, block), layout in zip(blocks, equations.layouts, strict=True):
        sizes, starts = block.clusters.sizes, block.clusters.starts
        earlier, later = _pairs(sizes, starts, min(1.0, _MOST_PAIRS / max(n_pairs, 1.0)), rng)
        if not len(earlier):
            continue
        correlation = equations.structure.correlations(layout, at.association, earlier, later)
        if correlation is None:
            return None
        means = at.mu[rows]
        a, b = logit(means[earlier]), logit(means[later])
        # a correlation at its bound is allowed: rounding must not put it outside
        beyond = (correlation > np.exp(-0.5 * np.abs(a - b)) + 1e-12) | (
            correlation < -np.exp(-0.5 * np.abs(a + b)) - 1e-12
        )
        repeats = np.ones(len(earlier)) if counts is None else counts[rows][earlier]
        outside, total = outside + float(repeats @ beyond), total + float(repeats.sum())
    return outside / total if total else 0.0


def _pairs(
    sizes: np.ndarray, starts: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return (earlier, later) rows of all pairs within clusters, or of a random sample of a share of them."""
    within = sizes * (sizes - 1) // 2
    ends = np.cumsum(within)
    n_pairs = int(ends[-1])
    number = np.arange(n_pairs) if share >= 1.0 else rng.integers(0, max(n_pairs, 1), round(share * n_pairs))
    cluster = np.searchsorted(ends, number, side="right") if share < 1.0 else np.repeat(np.arange(len(sizes)), within)
    # pairs of a cluster are numbered (0, 1), (0, 2), (1, 2), (0, 3), ...: the later row k of pair t is the last with
    # k (k - 1) / 2 <= t
    t = number - (ends - within)[cluster]
    later = np.floor(0.5 + np.sqrt(2.0 * t + 0.25)).astype(np.intp)
    later -= later * (later - 1) // 2 > t
    later += (later + 1) * later // 2 <= t
    earlier = t - later * (later - 1) // 2
    return starts[cluster] + earlier, starts[cluster] + later
