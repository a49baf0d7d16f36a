"""From rows and a prior to draws of the posterior: which sampler, and whether its result can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdep.bayes.flat_target import FlatTarget
from skdep.bayes.independence import IndependenceRun, sample_by_pairs
from skdep.bayes.joint_start import prepare_joint
from skdep.bayes.marginal_nuts import PointCoordinates, PointDensity
from skdep.bayes.mode import PosteriorMode, find_mode
from skdep.bayes.multilevel_target import MultilevelTarget
from skdep.bayes.nuts import NutsRun, has_nutpie, sample_by_nuts
from skdep.bayes.progress import Count, CountedDraws
from skdep.glmm.rows import GlmmRows

__all__ = ["Posterior", "sample_posterior"]

# Effects of a level up to which they are integrated by quadrature, and nodes per dimension tried one after the other.
_MOST_DIMENSIONS = 3
_LADDERS = {1: (5, 7, 11, 15, 25, 41, 61, 91), 2: (3, 5, 7, 11, 15, 21), 3: (3, 5, 7, 9, 11)}
# Squared decrement of a mode: so small that draws do not depend on where the search began, but for rounding.
_DECREMENT = 1e-22
# Error of a log density by quadrature, in nats, that draws do not feel.
_QUADRATURE_ERROR = 0.05
# Change over the bulk of the posterior, in nats, below which the coarser of two rules does.
_LITTLE_CHANGE = 0.02
_N_CHECKED = 24
# Runs with more nodes each, where the draws turn out to need them.
_MOST_RUNS = 3
# Draws of each chain of the no-U-turn sampler that are for tuning.
_N_TUNE = 300
# Share of diverging trajectories that is bearable, and the least energy ratio.
_MOST_DIVERGENCES, _ENERGY_RATIO = 0.001, 0.2


@dataclass(frozen=True)
class Posterior:
    """Draws of a posterior, and how they were made.

    Parameters
    ----------
    points : ndarray of shape (n_chains, n_draws, P)
        Draws in working coordinates.
    method : str
        Name of the sampler.
    log_evidence : float
        Logarithm of the marginal likelihood of the data; NaN where the sampler does not give it.
    is_reliable : bool
        Whether the sampler's own gates were passed.
    details : dict of str to float
        What the sampler knows of its quality.
    mode : PosteriorMode or None
        The mode of the points, where one was looked for.
    target : object or None
        The density that was sampled, for draws of random effects.
    effects : list of ndarray of shape (n_chains, n_draws, n_levels, q), or None
        Draws of random effects in working coordinates by term, where the sampler makes them.
    """

    points: np.ndarray
    method: str
    log_evidence: float
    is_reliable: bool
    details: dict[str, float] = field(default_factory=dict)
    mode: PosteriorMode | None = None
    target: Any = None
    effects: list[np.ndarray] | None = None


@dataclass(frozen=True)
class _Run:
    """What draws are to be made, and how."""

    n_draws: int
    n_chains: int
    rng: np.random.Generator
    n_jobs: int | None
    count: Count


def sample_posterior(
    rows: GlmmRows,
    prior: Any,
    *,
    method: str,
    n_draws: int,
    n_chains: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
    start: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Posterior:
    """Sample the posterior of a logistic model.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    prior : PriorSpec
        The prior.
    method : {"auto", "pairs", "nuts"}
        Sampler: pairs where they can be had and pass their gates, by default, or one of the two.
    n_draws, n_chains : int
        Size of what is returned.
    rng : numpy.random.Generator
        Source of randomness.
    n_jobs : int or None
        Chains run at once by the sampler that needs long ones.
    start : ndarray of shape (P,) or None, default=None
        Point near the mode, such as the mode before some rows were added; where the search for the mode begins.
    progress : callable or None, default=None
        ``progress(done, total)`` is called now and then, in any thread. Pieces of work are pairs, or draws of the
        no-U-turn sampler; the total grows where the first sampler does not do.

    Raises
    ------
    ValueError
        If pairs are asked for where they cannot be had.
    """
    has_pairs = not prior.has_latents and (
        not rows.terms or (len(rows.terms) == 1 and rows.terms[0].q <= _MOST_DIMENSIONS)
    )
    if method == "pairs" and not has_pairs:
        raise ValueError(
            "method='pairs' is for models without random effects, or with one grouping factor and up to three effects "
            "a level, and for priors without latent scales. Use method='auto'."
        )
    run = _Run(n_draws, n_chains, rng, n_jobs, Count(progress))
    found = None
    if method != "nuts" and has_pairs:
        found = _by_pairs(rows, prior, start, run)
    if found is None:
        found = _by_nuts(rows, prior, run)
    elif not found.is_reliable and method == "auto" and has_nutpie():
        found = _by_marginal_nuts(found, run) if rows.terms else _by_nuts(rows, prior, run)
    run.count.finish()
    return found


def _by_pairs(rows: GlmmRows, prior: Any, start: np.ndarray | None, run: _Run) -> Posterior:
    """Sample by pairs."""
    details: dict[str, float] = {}
    target: Any = FlatTarget(rows, prior)
    if rows.terms:
        target = MultilevelTarget(rows, prior, prior.layout, _LADDERS[rows.terms[0].q][0])
    mode = _mode_of(target, start)
    if rows.terms:
        target = _with_enough_nodes(target, mode, run.rng)
    for _ in range(_MOST_RUNS):
        pairs = sample_by_pairs(target, mode, n_draws=run.n_draws, n_chains=run.n_chains, rng=run.rng, count=run.count)
        finer = target
        if rows.terms:
            details["n_nodes"] = float(target.n_nodes)
            finer, details["quadrature_error"] = _finer(target, mode, pairs.points, run.rng)
        if finer is target:
            break
        target = finer
    is_reliable = pairs.accepted and details.get("quadrature_error", 0.0) <= _QUADRATURE_ERROR
    details.update(_details_of(pairs), mode_decrement=mode.decrement)
    return Posterior(pairs.points, "pairs", pairs.log_evidence, is_reliable, details, mode, target)


def _details_of(pairs: IndependenceRun) -> dict[str, float]:
    return {
        "khat": pairs.khat,
        "efficiency": pairs.efficiency,
        "acceptance": pairs.acceptance,
        "n_refits": float(pairs.n_refits),
        "log_evidence_error": pairs.log_evidence_error,
    }


def _mode_of(target: Any, start: np.ndarray | None) -> PosteriorMode:
    """Return the mode; of a density next to it where the prior has a kink."""
    start = target.start() if start is None else start
    if target.prior.smooth:
        return find_mode(target, start, tol=_DECREMENT)
    plain, target.prior = target.prior, target.prior.smoothed()
    try:
        return find_mode(target, start, tol=_DECREMENT)
    finally:
        target.prior = plain


def _with_enough_nodes(target: MultilevelTarget, mode: PosteriorMode, rng: np.random.Generator) -> MultilevelTarget:
    """Return the target with so many nodes that more change nothing over the bulk of the posterior, to all looks."""
    root = np.linalg.inv(np.linalg.cholesky(mode.precision)).T
    points = mode.point + rng.standard_normal((_N_CHECKED, len(mode.point))) @ root.T
    target.prepare(mode.point)
    before = target.log_likelihood_by_nodes(points)
    for n_nodes in _LADDERS[target.effects.q][1:-1]:
        finer = target.with_nodes(n_nodes)
        finer.prepare(mode.point)
        after = finer.log_likelihood_by_nodes(points)
        change = float(np.abs(after - before).max())
        if change <= _LITTLE_CHANGE:
            break
        # the error of the finer of the two is a fraction of the change
        target, before = finer, after
        if change <= _QUADRATURE_ERROR:
            break
    return target


def _finer(
    target: MultilevelTarget, mode: PosteriorMode, draws: np.ndarray, rng: np.random.Generator
) -> tuple[MultilevelTarget, float]:
    """Return the target with as many nodes as draws of the posterior call for, and the error with the present number.

    The error is the root mean square of what more nodes change over the draws.
    """
    flat = draws.reshape(-1, draws.shape[-1])
    points = flat[rng.choice(len(flat), min(_N_CHECKED, len(flat)), replace=False)]
    before, error, found = target.log_likelihood(points), 0.0, target
    for n_nodes in (n for n in _LADDERS[target.effects.q] if n > target.n_nodes):
        more = target.with_nodes(n_nodes)
        more.prepare(mode.point)
        after = more.log_likelihood(points)
        change = float(np.sqrt(np.mean((after - before) ** 2)))
        error = max(error, change)
        if change <= _QUADRATURE_ERROR or n_nodes == _LADDERS[target.effects.q][-1]:
            break
        before, found = after, more
    return found, error


def _by_nuts(rows: GlmmRows, prior: Any, run: _Run) -> Posterior:
    """Sample parameters and random effects by the no-U-turn sampler."""
    target, coordinates = prepare_joint(rows, prior, prior.layout)
    found = _nuts(target, coordinates, coordinates.n_tune, run)
    points, effects = target.split(found.long_points)
    details, is_reliable = _quality_of(found)
    return Posterior(points, "nuts", np.nan, is_reliable, details, effects=effects if rows.terms else None)


def _by_marginal_nuts(pairs: Posterior, run: _Run) -> Posterior:
    """Sample the parameters of a model with one factor, effects integrated, where pairs did not pass their gates."""
    assert pairs.mode is not None
    target = _with_gradients(pairs, run.rng)
    found = _nuts(PointDensity(target), PointCoordinates.about(pairs.mode), _N_TUNE, run)
    details, is_reliable = _quality_of(found)
    # the evidence by pairs is unbiased, however poor they are: its error is told
    kept = {name: pairs.details[name] for name in ("quadrature_error", "n_nodes", "log_evidence_error")}
    is_reliable = is_reliable and kept["quadrature_error"] <= _QUADRATURE_ERROR
    return Posterior(
        found.long_points, "nuts", pairs.log_evidence, is_reliable, {**details, **kept}, pairs.mode, pairs.target
    )


def _with_gradients(pairs: Posterior, rng: np.random.Generator) -> MultilevelTarget:
    """Return the target with so many nodes that its values that come with gradients are right as well.

    Those of levels of one row take quadrature, which the others do without.
    """
    target, flat = pairs.target, pairs.points.reshape(-1, pairs.points.shape[-1])
    points = flat[rng.choice(len(flat), min(_N_CHECKED, len(flat)), replace=False)]
    exact, ladder = target.log_likelihood(points), _LADDERS[target.effects.q]
    for n_nodes in (n for n in ladder if n > target.n_nodes):
        values = np.array([target.value_and_gradient(point)[0] for point in points])
        if np.sqrt(np.mean((values - exact) ** 2)) <= _QUADRATURE_ERROR:
            break
        target = target.with_nodes(n_nodes)
    return target


def _nuts(density: Any, coordinates: Any, n_tune: int, run: _Run) -> NutsRun:
    """Sample a density by the no-U-turn sampler, and tell of draws."""
    counted = CountedDraws(density, coordinates, run.count)
    run.count.announce(run.n_chains * (run.n_draws + n_tune))
    return sample_by_nuts(
        counted,
        counted,
        n_draws=run.n_draws,
        n_chains=run.n_chains,
        rng=run.rng,
        n_tune=n_tune,
        n_jobs=run.n_jobs,
    )


def _quality_of(found: NutsRun) -> tuple[dict[str, float], bool]:
    """Return what the sampler knows of its quality, and whether that is enough."""
    details = {
        "log_evidence_error": np.nan,
        "n_divergences": float(found.n_divergences),
        "n_deepest": float(found.n_deepest),
        "energy_ratio": float(found.energy_ratio.min()),
        "mean_steps": float(found.n_steps.mean()),
    }
    few = found.n_divergences <= _MOST_DIVERGENCES * found.n_steps.size
    return details, bool(few and details["energy_ratio"] > _ENERGY_RATIO)
