"""From rows and a prior to draws of the posterior: which sampler, and whether its result can be trusted."""

from __future__ import annotations

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
from skdep.glmm.rows import GlmmRows

__all__ = ["Posterior", "sample_posterior"]

# Effects of a level up to which they are integrated by quadrature, and nodes per dimension tried one after the other.
_MOST_DIMENSIONS = 3
_LADDERS = {1: (5, 7, 11, 15, 25, 41), 2: (3, 5, 7, 11, 15), 3: (3, 5, 7, 9)}
# Error of a log density by quadrature, in nats, that draws do not feel.
_QUADRATURE_ERROR = 0.05
_N_CHECKED = 24
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


def sample_posterior(
    rows: GlmmRows,
    prior: Any,
    *,
    method: str,
    n_draws: int,
    n_chains: int,
    rng: np.random.Generator,
    n_jobs: int | None = None,
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
    if method != "nuts" and has_pairs:
        found = _by_pairs(rows, prior, n_draws=n_draws, n_chains=n_chains, rng=rng)
        if found.is_reliable or method == "pairs" or not has_nutpie():
            return found
        if rows.terms and found.mode is not None:
            return _by_marginal_nuts(found, n_draws=n_draws, n_chains=n_chains, rng=rng, n_jobs=n_jobs)
    return _by_nuts(rows, prior, n_draws=n_draws, n_chains=n_chains, rng=rng, n_jobs=n_jobs)


def _by_pairs(rows: GlmmRows, prior: Any, *, n_draws: int, n_chains: int, rng: np.random.Generator) -> Posterior:
    """Sample by pairs."""
    details: dict[str, float] = {}
    target: Any = FlatTarget(rows, prior)
    if rows.terms:
        target = MultilevelTarget(rows, prior, prior.layout, _LADDERS[rows.terms[0].q][0])
    mode = _mode_of(target)
    if rows.terms:
        target, details["quadrature_error"] = _with_enough_nodes(target, mode, rng)
        details["n_nodes"] = float(target.n_nodes)
    run = sample_by_pairs(target, mode, n_draws=n_draws, n_chains=n_chains, rng=rng)
    is_reliable = run.accepted and details.get("quadrature_error", 0.0) <= _QUADRATURE_ERROR
    details.update(_details_of(run), mode_decrement=mode.decrement)
    return Posterior(run.points, "pairs", run.log_evidence, is_reliable, details, mode, target)


def _details_of(run: IndependenceRun) -> dict[str, float]:
    return {
        "khat": run.khat,
        "efficiency": run.efficiency,
        "acceptance": run.acceptance,
        "n_refits": float(run.n_refits),
        "log_evidence_error": run.log_evidence_error,
    }


def _mode_of(target: Any) -> PosteriorMode:
    """Return the mode; of a density next to it where the prior has a kink."""
    if target.prior.smooth:
        return find_mode(target, target.start())
    plain, target.prior = target.prior, target.prior.smoothed()
    try:
        return find_mode(target, target.start())
    finally:
        target.prior = plain


def _with_enough_nodes(
    target: MultilevelTarget, mode: PosteriorMode, rng: np.random.Generator
) -> tuple[MultilevelTarget, float]:
    """Return the target with so many nodes that more change nothing over the bulk of the posterior, and the change."""
    root = np.linalg.inv(np.linalg.cholesky(mode.precision)).T
    points = mode.point + rng.standard_normal((_N_CHECKED, len(mode.point))) @ root.T
    target.prepare(mode.point)
    ladder = _LADDERS[target.effects.q]
    before, change = target.log_likelihood(points), np.inf
    for n_nodes in ladder[1:]:
        more = target.with_nodes(n_nodes)
        more.prepare(mode.point)
        after = more.log_likelihood(points)
        change = float(np.abs(after - before).max())
        # the finer of the two is at hand, and its error a fraction of the change
        target, before = more, after
        if change <= _QUADRATURE_ERROR:
            break
    return target, change


def _by_nuts(
    rows: GlmmRows, prior: Any, *, n_draws: int, n_chains: int, rng: np.random.Generator, n_jobs: int | None
) -> Posterior:
    """Sample parameters and random effects by the no-U-turn sampler."""
    target, coordinates = prepare_joint(rows, prior, prior.layout)
    run = sample_by_nuts(
        target,
        coordinates,
        n_draws=n_draws,
        n_chains=n_chains,
        rng=rng,
        n_tune=coordinates.n_tune,
        n_jobs=n_jobs,
    )
    points, effects = target.split(run.long_points)
    details, is_reliable = _quality_of(run)
    return Posterior(points, "nuts", np.nan, is_reliable, details, effects=effects if rows.terms else None)


def _by_marginal_nuts(
    found: Posterior, *, n_draws: int, n_chains: int, rng: np.random.Generator, n_jobs: int | None
) -> Posterior:
    """Sample the parameters of a model with one factor, effects integrated, where pairs did not pass their gates."""
    assert found.mode is not None
    density, coordinates = PointDensity(found.target), PointCoordinates.about(found.mode)
    run = sample_by_nuts(density, coordinates, n_draws=n_draws, n_chains=n_chains, rng=rng, n_jobs=n_jobs)
    details, is_reliable = _quality_of(run)
    # the evidence by pairs is unbiased, however poor they are: its error is told
    kept = {name: found.details[name] for name in ("quadrature_error", "n_nodes", "log_evidence_error")}
    is_reliable = is_reliable and kept["quadrature_error"] <= _QUADRATURE_ERROR
    return Posterior(
        run.long_points, "nuts", found.log_evidence, is_reliable, {**details, **kept}, found.mode, found.target
    )


def _quality_of(run: NutsRun) -> tuple[dict[str, float], bool]:
    """Return what the sampler knows of its quality, and whether that is enough."""
    details = {
        "log_evidence_error": np.nan,
        "n_divergences": float(run.n_divergences),
        "n_deepest": float(run.n_deepest),
        "energy_ratio": float(run.energy_ratio.min()),
        "mean_steps": float(run.n_steps.mean()),
    }
    few = run.n_divergences <= _MOST_DIVERGENCES * run.n_steps.size
    return details, bool(few and details["energy_ratio"] > _ENERGY_RATIO)
