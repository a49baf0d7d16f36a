"""What a Bayesian reads: the table of the posterior, and the summary around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep._fitted import FittedInference
from skdep.bayes.convergence import convergence
from skdep.bayes.mcse import mcse_mean
from skdep.bayes.named_draws import posterior_draws
from skdep.clusters import describe_sizes
from skdep.inference._table import Table
from skdep.inference.summary import Summary

__all__ = ["posterior_inference", "posterior_table", "summarise_posterior"]

#: Name of the only covariance that a posterior has.
POSTERIOR = "posterior"
# Samplers by their names in `diagnostics_`.
_METHODS = {
    "pairs": "independence chains over pairs",
    "nuts": "no-U-turn sampler",
    "reweighted": "draws of earlier batches, reweighted",
}


def posterior_table(est: Any, *, level: float = 0.95) -> Table:
    """Tabulate the posterior distribution of each parameter.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    level : float, default=0.95
        Probability between the quantiles.

    Returns
    -------
    Table
        As of `BayesLogit.posterior_table`.
    """
    tails = tails_of(level)
    drawn = posterior_draws(est)
    draws = np.stack(list(drawn.values()), axis=-1)
    low, median, high = np.quantile(draws, [tails[0], 0.5, tails[1]], axis=(0, 1))
    checks = convergence(draws)
    return Table(
        {
            "mean": draws.mean(axis=(0, 1)),
            "sd": draws.std(axis=(0, 1), ddof=1),
            "median": median,
            f"q{100.0 * tails[0]:.4g}": low,
            f"q{100.0 * tails[1]:.4g}": high,
            "mcse": mcse_mean(draws),
            "ess_bulk": checks.ess_bulk,
            "ess_tail": checks.ess_tail,
            "rhat": checks.rhat,
        },
        index=list(drawn),
    )


def tails_of(level: float) -> tuple[float, float]:
    """Return the probabilities below the ends of an interval with equal tails.

    Parameters
    ----------
    level : float
        Probability of the interval.

    Raises
    ------
    ValueError
        If it is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for 95 % intervals.")
    return 0.5 - 0.5 * level, 0.5 + 0.5 * level


def posterior_inference(est: Any, notes: Sequence[str]) -> FittedInference:
    """Return what a fit leaves for inference: posterior means with their covariance, and facts for the summary.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    notes : sequence of str
        Warnings that the fit gave.
    """
    names = est._parameter_names()
    means = np.concatenate([est.intercept_, est.coef_[0]])[-len(names) :] if names else np.zeros(0)
    return FittedInference(
        names=names,
        estimate=means,
        covariances={POSTERIOR: est.covariance_},
        cov_type=POSTERIOR,
        aliased=np.zeros(len(names), dtype=bool),
        degrees_of_freedom={},
        residual_df={POSTERIOR: np.nan},
        n_obs=float(est._rows.weight.sum() if _counts_whole(est) else np.sum(est.history_.n_rows)),
        n_clusters=max((len(labels) for labels in est._updates.seen.values()), default=None),
    ).described(_facts(est), notes)


def summarise_posterior(est: Any, *, level: float = 0.95) -> Summary:
    """Build the summary of a fitted Bayesian estimator.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    level : float, default=0.95
        Probability between the quantiles.

    Returns
    -------
    Summary
        Facts, the table of `posterior_table`, and notes.
    """
    fitted = est._inference
    facts = {
        **({"Formula": str(est.formula_)} if hasattr(est, "formula_") else {}),
        "Observations": f"{fitted.n_obs:.10g}",
        **fitted.facts,
        "Converged": "yes" if est.converged_ else "NO",
    }
    return Summary(type(est).__name__, facts, posterior_table(est, level=level), fitted.notes)


def _facts(est: Any) -> dict[str, str]:
    facts = {"Classes": f"success is {est.classes_[1]!s}, failure {est.classes_[0]!s}"}
    sizes = _level_sizes(est)
    for name, labels in est._updates.seen.items():
        facts[f"Levels of {name}"] = describe_sizes(sizes[name], len(labels)) if name in sizes else f"{len(labels)}"
    facts["Prior"] = _prior_in_words([row.default for row in est._updates.first_prior.rows])
    if est.n_batches_ > 1:
        discounted = f", each update counts what was before {est.forgetting:g} times" if est.forgetting < 1.0 else ""
        facts["Batches"] = f"{est.n_batches_}, updating {est.updating!r}{discounted}"
    found = est.diagnostics_
    n_chains, n_draws = est.draws_["coef"].shape[:2]
    chains = f"{n_chains} chain{'s' if n_chains > 1 else ''} of {n_draws} draws"
    facts["Method"] = f"{_METHODS.get(found['method'], found['method'])}, {chains}"
    if "n_nodes" in found:
        facts["Integral"] = f"adaptive Gauss-Hermite quadrature, {found['n_nodes']:.0f} nodes per dimension"
    facts["Log evidence"] = _evidence(est.log_evidence_, found.get("log_evidence_error", np.nan))
    facts["Largest R-hat"] = f"{found['max_rhat']:.3f}"
    facts["Least effective draws"] = f"{found['min_ess_bulk']:.0f} in bulk, {found['min_ess_tail']:.0f} in the tails"
    return facts


def _counts_whole(est: Any) -> bool:
    """Say whether the fit keeps all rows that it has seen, none of them discounted."""
    return est._rows is not None and (est.n_batches_ == 1 or est.forgetting == 1.0)


def _level_sizes(est: Any) -> dict[str, np.ndarray]:
    """Return the numbers of rows of the levels by factor, where rows are kept and count whole."""
    if not _counts_whole(est):
        return {}
    rows = est._rows
    terms = zip(est._prior.layout.random, rows.terms, strict=True)
    sizes = {effects.name: np.bincount(term.codes, rows.weight, term.n_levels) for effects, term in terms}
    return {name: part for name, part in sizes.items() if (part == np.round(part)).all()}


def _prior_in_words(defaults: Sequence[bool]) -> str:
    n, n_default = len(defaults), sum(defaults)
    if n_default == n:
        return "weakly informative defaults"
    return "given" if n_default == 0 else f"given of {n - n_default} of {n} parameters, else defaults"


def _evidence(value: float, error: float) -> str:
    if not np.isfinite(value):
        return "not known to this sampler"
    return f"{value:.3f}" + (f" (Monte Carlo error {error:.2g})" if np.isfinite(error) else "")
