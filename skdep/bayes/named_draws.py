"""Draws of the parameters of a fitted model under the names by which users know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["covariance_draws", "posterior_draws", "prior_draws"]


def covariance_draws(est: Any) -> dict[str, np.ndarray]:
    """Return draws (n_chains, n_draws, q, q) of the covariance matrix of random effects by factor.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    """
    single = len(est.levels_) == 1
    return {name: est.draws_["random_covariance" if single else f"random_covariance[{name}]"] for name in est.levels_}


def posterior_draws(est: Any) -> dict[str, np.ndarray]:
    """Return draws (n_chains, n_draws) of the posterior by parameter.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.

    Returns
    -------
    dict of str to ndarray
        ``"Intercept"``, features, ``"sd[factor, effect]"``, and ``"correlation[factor, effect, effect]"`` where random
        effects are correlated.
    """
    return _by_name(est, est.draws_, covariance_draws(est))


def prior_draws(est: Any, n_draws: int, random_state: int) -> dict[str, np.ndarray]:
    """Return draws (n_draws,) of the prior by parameter, under the names of `posterior_draws`.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    n_draws : int
        Number of draws.
    random_state : int
        Their seed.
    """
    drawn = est._prior.sample(np.random.default_rng(random_state), n_draws)
    return _by_name(est, drawn, drawn.get("random_covariance", {}))


def _by_name(est: Any, drawn: Mapping[str, Any], covariances: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    result = {"Intercept": drawn["intercept"]} if est.fit_intercept else {}
    result |= {name: drawn["coef"][..., k] for k, name in enumerate(est._feature_labels())}
    correlated = {effects.name: effects.correlated for effects in est._prior.layout.random}
    sds = {name: np.sqrt(np.diagonal(covariances[name], axis1=-2, axis2=-1)) for name in est.levels_}
    for factor, sd in sds.items():
        names = est.random_names_[factor]
        result |= {f"sd[{factor}, {name}]": sd[..., k] for k, name in enumerate(names)}
    for factor, sd in sds.items():
        names = est.random_names_[factor]
        for i in range(1, len(names) if correlated[factor] else 0):
            for j in range(i):
                product = covariances[factor][..., i, j] / (sd[..., i] * sd[..., j])
                result[f"correlation[{factor}, {names[j]}, {names[i]}]"] = product
    return result
