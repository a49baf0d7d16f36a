"""Whether draws can be trusted: what every fit looks at, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.base import FitNotes
from skdep.bayes.convergence import ESS_PER_CHAIN, RHAT_LIMIT, convergence
from skdep.bayes.nuts import has_nutpie
from skdep.bayes.pareto import khat_threshold
from skdep.bayes.posterior import Posterior
from skdep.bayes.prior_density import PriorSpec
from skdep.exceptions import ConvergenceWarning

__all__ = ["check_draws"]


def check_draws(posterior: Posterior, prior: PriorSpec, notes: FitNotes) -> tuple[dict[str, Any], bool]:
    """Compute diagnostics of all parameters, and warn where draws should not be trusted.

    Parameters
    ----------
    posterior : Posterior
        The draws.
    prior : PriorSpec
        The prior, which knows what is where in a point.
    notes : FitNotes
        Where warnings go.

    Returns
    -------
    diagnostics : dict
        ``"method"``, ``"khat"`` (NaN without importance weights), ``"max_rhat"``, ``"min_ess_bulk"``,
        ``"min_ess_tail"``, and what the sampler knows besides.
    passed : bool
        Whether all checks were passed.
    """
    points = posterior.points
    layout, k = prior.layout, prior.layout.n_coefficients
    # coefficients in the user's units: the intercept at features of zero mixes with the slopes
    parameters = np.concatenate([prior.working_coefficients(points) @ layout.to_user.T, points[..., k:]], axis=-1)
    checks = convergence(parameters)
    diagnostics: dict[str, Any] = {
        "method": posterior.method,
        "khat": np.nan,
        "max_rhat": checks.max_rhat,
        "min_ess_bulk": checks.min_ess_bulk,
        "min_ess_tail": checks.min_ess_tail,
        **posterior.details,
    }
    problems = _problems(posterior, diagnostics, points.shape[0], points.shape[1])
    if problems:
        notes.warn(" ".join(problems), ConvergenceWarning, topic="bayes_draws")
    return diagnostics, not problems


def _problems(posterior: Posterior, diagnostics: dict[str, Any], n_chains: int, n_draws: int) -> list[str]:
    """Return what is wrong, and what to do about it."""
    found: list[str] = []
    if not posterior.is_reliable:
        found.append(_unreliable(diagnostics, n_chains * n_draws))
    enough = ESS_PER_CHAIN * n_chains
    if n_chains > 1 and not diagnostics["max_rhat"] < RHAT_LIMIT:
        found.append(f"Chains disagree: R-hat is {diagnostics['max_rhat']:.3f}. Raise n_draws.")
    least = min(diagnostics["min_ess_bulk"], diagnostics["min_ess_tail"])
    if not least >= min(enough, 0.25 * n_chains * n_draws):
        found.append(
            f"Only {least:.0f} effective draws of some parameter, in bulk or tails; {enough} are wanted. Raise n_draws."
        )
    return found


def _unreliable(diagnostics: dict[str, Any], n_draws: int) -> str:
    """Say by which gates a sampler did not get."""
    if diagnostics["method"] == "nuts":
        return (
            f"The no-U-turn sampler had {diagnostics['n_divergences']:.0f} divergent trajectories, and an energy ratio "
            f"of {diagnostics['energy_ratio']:.2f} (should be above 0.2): parts of the posterior are hard to reach. "
            "Use stronger priors, or a simpler model."
        )
    error = diagnostics.get("quadrature_error", 0.0)
    # with it at hand, pairs that fail are returned only to who asked for them
    other = "Use method='auto'" if has_nutpie() else "Install the extra skdep[bayes]"
    return (
        f"Sampling by pairs did not pass its gates: k-hat {diagnostics['khat']:.2f} (should be below "
        f"{khat_threshold(n_draws):.2f}), effective share of the weights {diagnostics['efficiency']:.2f} (above 0.3), "
        f"quadrature error {error:.2g} (below 0.05). {other}, whose sampler copes with more, or use stronger priors."
    )
