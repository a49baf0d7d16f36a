r"""Updating: yesterday's posterior is today's prior.

Three ways, by what is carried from batch to batch:

``"exact"``
    The rows themselves, equal ones counted, and the prior. The posterior after any number of batches is that of all
    their rows at once, in whatever order they came. What the defaults of the prior are scaled by, and where the
    intercept's prior applies, is settled by the first batch.
``"gaussian"``
    A normal distribution with the mean and the covariance of the posterior, and no rows. Every update certifies how
    much that loses (``diagnostics_["gaussian_kl"]``, ``["gaussian_khat"]``) and warns where it is much. With random
    effects the normal distribution is of coefficients, log standard deviations and correlations; what is known of the
    effects of single levels is not carried, so that every batch has to bring levels of its own. What is lost adds up
    over batches, also where each loses little.
``"draws"``
    The draws, weighted by the likelihood of what is new; and the counted rows, to move the draws when their weights
    are too uneven.

Forgetting, with a factor a below 1, makes evidence that is k batches old count a^k times, the prior always once: a
power prior. With random effects what counts less is each row given the effects of its level, or in Gaussian mode, which
has no rows, the batch as a whole. The log evidence is then the sum of log p(batch | batches before, discounted), by
which factors can be compared; a = 1 gives the marginal likelihood of all data.

References
----------
Ibrahim and Chen (2000), Power prior distributions for regression models, Statistical Science 15, 46-60.
Chopin (2002), A sequential particle filter method for static models, Biometrika 89, 539-552.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep.base import FitNotes
from skdep.bayes.convergence import ESS_PER_CHAIN, convergence
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.posterior import Posterior
from skdep.bayes.prior_density import PriorSpec
from skdep.bayes.updating_batch import Batch, read_batch
from skdep.bayes.updating_density import has_marginal, log_likelihood, nodes_of, target_of
from skdep.bayes.updating_draws import Particles, reweight
from skdep.bayes.updating_gaussian import approximate, discounted_prior
from skdep.bayes.updating_history import UpdateHistory
from skdep.bayes.updating_rows import (
    discounted_rows,
    join_levels,
    merged_rows,
    recoded_rows,
    rows_of_levels,
)
from skdep.exceptions import ConvergenceWarning
from skdep.glmm.rows import GlmmRows
from skdep.mixed.terms import RandomTerm

__all__ = ["Updates", "begin_updates", "update"]

# Keeps the random numbers of approximations apart from those of draws.
_GAUSSIAN_STREAM = 1
# Effective share of draws that a chain over old draws should have, where there are few.
_LEAST_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Updates:
    """What an estimator knows of its batches, besides rows and the posterior.

    Parameters
    ----------
    first_prior : PriorSpec
        The prior before all data.
    history : UpdateHistory
        The posteriors so far.
    order : tuple of str
        Factors in the user's order.
    seen : dict of str to ndarray
        Labels of the levels of all batches, by factor.
    n_nodes : int
        Quadrature nodes of the sampler's last run.
    log_integral : float
        Logarithm of the integral of the likelihood of the rows that are kept, discounted as they are, under the prior.
    carried : MultivariateNormal or None
        The posterior so far as a normal distribution, in Gaussian mode.
    particles : Particles or None
        Weighted draws, in draws mode.
    """

    first_prior: PriorSpec
    history: UpdateHistory
    order: tuple[str, ...]
    seen: dict[str, np.ndarray] = field(default_factory=dict)
    n_nodes: int = 1
    log_integral: float = np.nan
    carried: MultivariateNormal | None = None
    particles: Particles | None = None


@dataclass(frozen=True, eq=False)
class _Updated:
    """A new posterior, and what it is of.

    Parameters
    ----------
    posterior : Posterior
        Its ``log_evidence`` is of all batches.
    prior : PriorSpec
        Prior of `rows`.
    rows : GlmmRows
        The rows that make the posterior.
    terms : list of RandomTerm
        Terms in working order, with all levels of `rows`.
    log_evidence : float
        Of the last batch given those before.
    log_integral : float
        Logarithm of the integral of the likelihood of `rows`.
    particles : Particles or None
        Weighted draws that the posterior's were made of.
    """

    posterior: Posterior
    prior: PriorSpec
    rows: GlmmRows
    terms: list[RandomTerm]
    log_evidence: float
    log_integral: float
    particles: Particles | None = None


def begin_updates(estimator: Any, notes: FitNotes, n_rows: int) -> None:
    """Set what later batches and plots need, after the first batch.

    Parameters
    ----------
    estimator : BayesLogit
        Just fitted.
    notes : FitNotes
        Where warnings go.
    n_rows : int
        Rows of the batch.
    """
    prior, posterior = estimator._prior, estimator._posterior
    history = UpdateHistory.begin(prior)
    estimator._updates = Updates(prior, history, tuple(estimator.levels_), dict(estimator.levels_))
    terms = [RandomTerm(t.name, np.empty(0, int), estimator.levels_[t.name], t.columns) for t in prior.layout.random]
    evidence = float(posterior.log_evidence)
    _finish(estimator, _Updated(posterior, prior, estimator._rows, terms, evidence, evidence), n_rows, notes)


def update(estimator: Any, X: Any, y: Any, classes: Any, *, groups: Any, sample_weight: Any, offset: Any) -> None:
    """Update a fitted estimator by a further batch.

    Parameters
    ----------
    estimator : BayesLogit
        Fitted; left as it was if the batch is malformed.
    X, y, classes, groups, sample_weight, offset : array-like
        As in `BayesLogit.partial_fit`.
    """
    _check_settings(estimator, classes)
    batch = read_batch(estimator, X, y, groups, sample_weight, offset)
    notes = FitNotes()
    how = {"exact": _exact, "gaussian": _gaussian, "draws": _draws}[estimator.updating]
    number = len(estimator._updates.history.n_rows)
    rng = estimator._generator(number)
    found = how(estimator, batch, rng, notes)
    layout = found.prior.layout
    estimator._prior, estimator._rows = found.prior, found.rows
    estimator._fitted_with_offset = estimator._fitted_with_offset or batch.has_offset
    order = list(estimator._updates.order)
    seen = {
        term.name: join_levels(term.name, estimator._updates.seen[term.name], part.levels)[0]
        for term, part in zip(layout.random, found.terms, strict=True)
    }
    estimator._store_terms(found.terms, order)
    estimator._updates = replace(estimator._updates, seen=seen)
    estimator._set_posterior(found.posterior, order, notes, rng)
    _finish(estimator, found, batch.n_rows, notes)


def _finish(estimator: Any, found: _Updated, n_rows: int, notes: FitNotes) -> None:
    """Record a batch, and compress the posterior to what the way of updating carries."""
    state: Updates = estimator._updates
    history = state.history.appended(
        found.prior,
        found.posterior.points,
        log_evidence=found.log_evidence,
        n_rows=n_rows,
        method=found.posterior.method,
    )
    sampled = found.particles is None
    n_nodes = nodes_of(found.posterior, found.rows) if sampled else state.n_nodes
    state = replace(
        state,
        history=history,
        n_nodes=n_nodes,
        log_integral=found.log_integral,
        carried=None,
        particles=found.particles,
    )
    estimator.history_, estimator.n_batches_ = history, len(history.n_rows)
    estimator.diagnostics_["log_evidence_batch"] = found.log_evidence
    estimator._updates = state
    if estimator.updating == "gaussian" and not _carries_no_normal(found.rows, found.prior):
        estimator._updates = replace(state, carried=_compressed(estimator, notes))
        _drop_rows(estimator)


def _drop_rows(estimator: Any) -> None:
    """Keep no data; with random effects those of the last batch stay with the density that draws its effects."""
    estimator._rows = None
    if not estimator._prior.layout.random:
        estimator._posterior = replace(estimator._posterior, target=None)


def _check_settings(estimator: Any, classes: Any) -> None:
    """Raise if the estimator's parameters or the classes are at odds with earlier batches."""
    if classes is not None and not np.array_equal(np.unique(np.asarray(classes)), estimator.classes_):
        raise ValueError(
            f"classes={list(classes)!r} is not the same as on the first call to partial_fit or fit: "
            f"{estimator.classes_.tolist()!r}."
        )
    if estimator._prior.layout.fit_intercept != estimator.fit_intercept:
        raise ValueError("fit_intercept has changed since the first batch; call fit to begin anew.")
    if estimator.updating != "gaussian" and estimator._rows is None:
        raise ValueError(
            f"updating={estimator.updating!r} needs the rows of earlier batches, which updating='gaussian' did not "
            "keep; call fit to begin anew."
            f"{read_more('bayes_update')}"
        )


def _joined(estimator: Any, batch: Batch) -> tuple[GlmmRows, GlmmRows, list[RandomTerm]]:
    """Return old rows and new rows with levels numbered alike, and the terms with all levels."""
    terms, places = [], []
    for term in batch.terms:
        levels, old, new = join_levels(term.name, estimator.levels_[term.name], term.levels)
        terms.append(replace(term, levels=levels))
        places.append((old, new))
    n_levels = [term.n_levels for term in terms]
    old_rows = recoded_rows(estimator._rows, [old for old, _ in places], n_levels)
    return old_rows, recoded_rows(batch.rows, [new for _, new in places], n_levels), terms


def _exact(estimator: Any, batch: Batch, rng: np.random.Generator, notes: FitNotes) -> _Updated:
    """Sample the posterior of all rows."""
    prior, base = estimator._prior, estimator._updates.log_integral
    old, new, terms = _joined(estimator, batch)
    discounted = discounted_rows(old, estimator.forgetting)
    rows = merged_rows(discounted, new)
    posterior = _sampled(estimator, rows, prior, rng)
    integral = float(posterior.log_evidence)
    if estimator.forgetting < 1.0 and np.isfinite(base):
        # levels without rows of their own integrate to 1: the numbering of the old rows serves
        kept = discounted_rows(estimator._rows, estimator.forgetting)
        base = float(_sampled(estimator, kept, prior, rng).log_evidence)
    gain = integral - base
    # with nothing forgotten what is added up is the integral itself, and would only collect rounding errors
    total = integral if estimator.log_evidence_ == base else float(estimator.log_evidence_) + gain
    return _Updated(replace(posterior, log_evidence=total), prior, rows, terms, gain, integral)


def _sampled(estimator: Any, rows: GlmmRows, prior: PriorSpec, rng: np.random.Generator) -> Posterior:
    """Sample a posterior, looking for its mode near that of the posterior so far."""
    before: Posterior = estimator._posterior
    start = before.points.mean(axis=(0, 1)) if before.mode is None else before.mode.point
    return estimator._run(rows, prior, rng, start)


def _gaussian(estimator: Any, batch: Batch, rng: np.random.Generator, notes: FitNotes) -> _Updated:
    """Sample the posterior of the batch under the normal prior."""
    state: Updates = estimator._updates
    _check_new_levels(state, batch.terms)
    carried = _compressed(estimator, notes) if state.carried is None else state.carried
    prior = discounted_prior(state.first_prior, carried, estimator.forgetting, rng)
    posterior = _sampled(estimator, batch.rows, prior, rng)
    gain = float(posterior.log_evidence)
    total = float(estimator.log_evidence_) + gain
    return _Updated(replace(posterior, log_evidence=total), prior, batch.rows, batch.terms, gain, np.nan)


def _carries_no_normal(rows: GlmmRows, prior: PriorSpec) -> str:
    """Say why a posterior cannot be carried as a normal distribution; empty if it can."""
    if prior.has_latents:
        return "the horseshoe's latent scales have posteriors far from normal"
    if not has_marginal(rows, prior):
        return "with several grouping factors, or many effects a level, the density of the parameters alone is unknown"
    return ""


def _compressed(estimator: Any, notes: FitNotes) -> MultivariateNormal:
    """Return the present posterior as a normal distribution, and certify it."""
    rows, prior, posterior = estimator._rows, estimator._prior, estimator._posterior
    reason = _carries_no_normal(rows, prior)
    if reason:
        raise ValueError(
            f"updating='gaussian' is not for this model: {reason}. Use updating='exact'.{read_more('bayes_update')}"
        )
    points = posterior.points.reshape(-1, posterior.points.shape[-1])
    target = posterior.target
    if posterior.method != "pairs":
        target = target_of(rows, prior, estimator._updates.n_nodes, points.mean(axis=0))
    number = len(estimator._updates.history.n_rows)
    found = approximate(target, points, posterior.mode, estimator._generator(number, _GAUSSIAN_STREAM))
    estimator.diagnostics_.update(gaussian_khat=found.khat, gaussian_kl=found.kl)
    if not found.is_good:
        notes.warn(found.complaint(), ConvergenceWarning, topic="bayes_update")
    return found.normal


def _check_new_levels(state: Updates, terms: Sequence[RandomTerm]) -> None:
    """Raise if levels of a batch came before: what is known of their effects is not carried."""
    import pandas as pd

    for term in terms:
        known = pd.Index(state.seen[term.name], tupleize_cols=False)
        again = pd.Index(term.levels, tupleize_cols=False).isin(known)
        if again.any():
            raise ValueError(
                f"{int(again.sum())} levels of {term.name!r} came in earlier batches, such as "
                f"{str(term.levels[again][0])!r}. updating='gaussian' carries nothing of the effects of single levels; "
                "use updating='exact' or 'draws'."
                f"{read_more('bayes_update')}"
            )


def _draws(estimator: Any, batch: Batch, rng: np.random.Generator, notes: FitNotes) -> _Updated:
    """Weight the draws by what is new, or move them."""
    state, prior = estimator._updates, estimator._prior
    if not has_marginal(estimator._rows, prior):
        return _exact(estimator, batch, rng, notes)
    particles = state.particles
    if particles is None:
        effective = min(estimator.diagnostics_["min_ess_bulk"], estimator.diagnostics_["min_ess_tail"])
        particles = Particles.fresh(estimator._posterior.points, effective)
    old, new, terms = _joined(estimator, batch)
    rows = merged_rows(discounted_rows(old, estimator.forgetting), new)
    changes = _changes(estimator, old, new, rows, particles.points)
    found = reweight(particles, *changes, rng)
    if found is None or not _has_enough_draws(found.points, prior):
        return _exact(estimator, batch, rng, notes)
    total = float(estimator.log_evidence_) + found.log_evidence
    points = found.points
    target = None
    if rows.terms:
        target = target_of(rows, prior, state.n_nodes, points.mean(axis=(0, 1)))
    posterior = Posterior(points, "reweighted", total, True, found.details, None, target)
    integral = state.log_integral + found.log_growth
    return _Updated(posterior, prior, rows, terms, found.log_evidence, integral, found.particles)


def _has_enough_draws(points: np.ndarray, prior: PriorSpec) -> bool:
    """Say whether chains over old draws have as many effective draws as every fit should have."""
    k, (n_chains, n_draws) = prior.layout.n_coefficients, points.shape[:2]
    checks = convergence(np.concatenate([points[..., :k] @ prior.layout.to_user.T, points[..., k:]], axis=-1))
    enough = min(ESS_PER_CHAIN * n_chains, _LEAST_SHARE * n_chains * n_draws)
    return bool(min(checks.min_ess_bulk, checks.min_ess_tail) >= enough)


def _changes(
    estimator: Any, old: GlmmRows, new: GlmmRows, rows: GlmmRows, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of the log-likelihood at points, by forgetting and by new rows."""
    prior, n_nodes, factor = estimator._prior, estimator._updates.n_nodes, estimator.forgetting
    flat = points.reshape(-1, points.shape[-1])

    def value(part: GlmmRows | None) -> np.ndarray:
        return log_likelihood(part, prior, flat, n_nodes).reshape(points.shape[:2])

    if not rows.terms:
        past = (factor - 1.0) * value(old) if factor < 1.0 else np.zeros(points.shape[:2])
        return past, value(new)
    if factor < 1.0:
        # all levels change; those of the new rows only occur in neither of the first two
        known = np.unique(old.terms[0].codes)
        before, after = rows_of_levels(old, known), rows_of_levels(discounted_rows(old, factor), known)
        discounted = value(after)
        return discounted - value(before), value(rows) - discounted
    touched = np.unique(new.terms[0].codes)
    gain = value(rows_of_levels(rows, touched)) - value(rows_of_levels(old, touched))
    return np.zeros(points.shape[:2]), gain
