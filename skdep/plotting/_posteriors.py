"""What the displays of posteriors ask of a fitted `BayesLogit`: draws by parameter, of the posterior and the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = ["chosen_names", "density", "is_scale", "posterior_draws", "posterior_within", "prior_draws"]

# Draws of a block whose kernels are added up at once.
_BLOCK = 4096


def posterior_within(est: Any, caller: str) -> Any:
    """Return the fitted Bayesian estimator within pipelines and searches; another one raises TypeError."""
    while True:
        if hasattr(est, "best_estimator_"):
            est = est.best_estimator_
        elif hasattr(est, "steps"):
            est = est.steps[-1][1]
        else:
            break
    check_is_fitted(est)
    if not hasattr(est, "draws_"):
        raise TypeError(f"{caller} shows draws of a posterior, and {type(est).__name__} has none; fit a BayesLogit.")
    return est


def is_scale(name: str) -> bool:
    """Return whether a parameter is a standard deviation, which cannot be negative."""
    return name.startswith("sd[")


def posterior_draws(model: Any) -> dict[str, np.ndarray]:
    """Return draws (n_chains, n_draws) by parameter: coefficients, and standard deviations of random effects."""
    covariances = {
        name: model.draws_["random_covariance" if len(model.levels_) == 1 else f"random_covariance[{name}]"]
        for name in model.levels_
    }
    return _by_name(model, model.draws_, covariances)


def prior_draws(model: Any, n_draws: int, random_state: int) -> dict[str, np.ndarray]:
    """Return draws (n_draws,) of the prior by parameter."""
    drawn = model._prior.sample(np.random.default_rng(random_state), n_draws)
    return _by_name(model, drawn, drawn.get("random_covariance", {}))


def _by_name(model: Any, drawn: dict[str, Any], covariances: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    result = {"Intercept": drawn["intercept"]} if model.fit_intercept else {}
    result |= {name: drawn["coef"][..., k] for k, name in enumerate(model._feature_labels())}
    for factor, covariance in covariances.items():
        for k, effect in enumerate(model.random_names_[factor]):
            result[f"sd[{factor}, {effect}]"] = np.sqrt(covariance[..., k, k])
    return result


def chosen_names(known: Sequence[str], parameters: Sequence[str] | str | None) -> list[str]:
    """Return the parameters that are to be shown, all by default; an unknown name raises ValueError."""
    if parameters is None:
        return list(known)
    chosen = [parameters] if isinstance(parameters, str) else list(parameters)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ValueError(f"parameters={parameters!r}: the model has {', '.join(map(repr, known))}.")
    return chosen


def density(draws: np.ndarray, at: np.ndarray, *, positive: bool = False) -> np.ndarray:
    """Estimate a density by normal kernels, of a width that far tails do not widen.

    Parameters
    ----------
    draws : ndarray of shape (n_draws,)
        Draws.
    at : ndarray of shape (n_points,)
        Where.
    positive : bool, default=False
        Whether draws are positive: kernels are then reflected at zero.

    Returns
    -------
    ndarray of shape (n_points,)
        The density.
    """
    low, high = np.quantile(draws, [0.25, 0.75])
    width = 0.9 * min(float(np.std(draws)), (high - low) / 1.34) * len(draws) ** -0.2
    if not width > 0.0:
        raise ValueError("draws that are all the same have no density")
    points = np.concatenate([at, -at]) if positive else at
    total = np.zeros(len(points))
    for begin in range(0, len(draws), _BLOCK):
        z = (points - draws[begin : begin + _BLOCK, None]) / width
        total += np.exp(-0.5 * z * z).sum(axis=0)
    total /= len(draws) * width * np.sqrt(2.0 * np.pi)
    if positive:
        total = np.where(at < 0.0, 0.0, total[: len(at)] + total[len(at) :])
    return total
