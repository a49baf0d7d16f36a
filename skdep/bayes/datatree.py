"""A fitted `BayesLogit` as a ``DataTree`` for ArviZ, which is imported only here."""

from __future__ import annotations

from typing import Any

import numpy as np

import skdep

__all__ = ["to_datatree"]

# Draws times entries of a block whose log densities are computed at once.
_BLOCK = 1 << 12


def to_datatree(
    est: Any, *, random_effects: bool = False, data: bool = False, n_prior_draws: int = 1000, random_state: int = 0
) -> Any:
    """Hand the draws of a fitted estimator over to ArviZ.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    random_effects : bool, default=False
        Whether to hold draws of the random effects of every level too: draws times levels numbers.
    data : bool, default=False
        Whether to hold the rows, see the notes.
    n_prior_draws : int, default=1000
        Draws of the prior; 0 for none.
    random_state : int, default=0
        Seed of the draws of the prior.

    Returns
    -------
    DataTree
        With the groups:

        - ``posterior``: ``intercept``, ``coef`` over ``feature``, and for each factor ``sd_{factor}``,
          ``random_covariance_{factor}`` and, on request, ``random_effects_{factor}`` over its levels and effects;
        - ``sample_stats``: ``lp``, likelihood times prior of the working parameters in logarithms, where the sampled
          density can be had at many points at once;
        - ``prior``: the same parameters, drawn from the prior;
        - on request ``observed_data`` and ``constant_data``.

        Attributes of the root hold the version of skdep, the classes, `diagnostics_` and the log evidence.

    Raises
    ------
    ImportError
        If arviz-base is missing.
    ValueError
        If `data` is asked for, but the fit keeps no rows.

    Notes
    -----
    A fit keeps equal rows once, with counts. ``observed_data`` therefore holds ``successes`` and ``trials`` of distinct
    rows, sorted by the first factor, and ``constant_data`` their features, offsets and levels. There is no
    ``log_likelihood`` group, since ArviZ would leave out whole distinct rows: leave one out by `BayesLogit.loo`.

    Examples
    --------
    >>> from skdep import BayesLogit
    >>> from skdep.bayes.datatree import to_datatree
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> model = BayesLogit(random_state=0).fit(ohio.data, ohio.target)
    >>> tree = to_datatree(model)  # doctest: +SKIP
    >>> tree["posterior"]["coef"].sel(feature="smoke").mean().round(2).item()  # doctest: +SKIP
    0.27
    """
    try:
        from arviz_base import from_dict
    except ImportError as error:
        raise ImportError(
            "to_datatree needs arviz-base, which cannot be imported. It comes with the extra 'bayes': "
            "pip install 'skdep[bayes]'."
        ) from error
    coords, dims = _coordinates(est)
    groups: dict[str, Any] = {"posterior": _posterior(est, random_effects=random_effects)}
    log_density = _log_density(est)
    if log_density is not None:
        groups["sample_stats"] = {"lp": log_density}
    if n_prior_draws:
        groups["prior"] = _prior(est, n_prior_draws, random_state)
    if data:
        groups["observed_data"], groups["constant_data"] = _rows(est)
    attributes = {"/": _root_attributes(est), "posterior": _posterior_attributes(est)}
    return from_dict(groups, coords=coords, dims=dims, attrs=attributes)


def _coordinates(est: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return labels of the dimensions, and dimensions of the variables beyond chains and draws."""
    coords: dict[str, Any] = {"feature": list(est._feature_labels())}
    dims = {"coef": ["feature"], "X": ["distinct_row", "feature"]}
    dims |= {name: ["distinct_row"] for name in ("successes", "trials", "offset")}
    for name, labels in est.levels_.items():
        effect, other, level = f"{name}_effect", f"{name}_effect_bis", f"{name}_level"
        coords |= {effect: list(est.random_names_[name]), other: list(est.random_names_[name]), level: labels}
        dims[f"sd_{name}"] = [effect]
        dims[f"random_covariance_{name}"] = [effect, other]
        dims[f"random_effects_{name}"] = [level, effect]
        dims[name] = ["distinct_row"]
    return coords, dims


def _posterior(est: Any, *, random_effects: bool) -> dict[str, np.ndarray]:
    """Return draws (chain, draw, ...) by name."""
    values = {"intercept": est.draws_["intercept"]} if est.fit_intercept else {}
    values["coef"] = est.draws_["coef"]
    for name in est.levels_:
        key = "random_covariance" if len(est.levels_) == 1 else f"random_covariance[{name}]"
        values |= _of_covariance(name, est.draws_[key])
    if random_effects and est.levels_:
        shape = est.draws_["coef"].shape[:2]
        for name, effects in est._effect_draws().items():
            values[f"random_effects_{name}"] = effects.reshape(*shape, *effects.shape[1:])
    return values


def _of_covariance(name: str, covariance: np.ndarray) -> dict[str, np.ndarray]:
    sd = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return {f"sd_{name}": sd, f"random_covariance_{name}": covariance}


def _prior(est: Any, n_draws: int, random_state: int) -> dict[str, np.ndarray]:
    """Return draws of the prior, as one chain."""
    drawn = est._prior.sample(np.random.default_rng(random_state), n_draws)
    values = {name: drawn[name][None] for name in ("intercept", "coef") if name in drawn}
    for name, covariance in drawn.get("random_covariance", {}).items():
        values |= _of_covariance(name, covariance[None])
    return values


def _log_density(est: Any) -> np.ndarray | None:
    """Return the log densities of the draws (chain, draw), where the target has them at many points at once."""
    posterior = est._posterior
    evaluate = getattr(posterior.target, "log_density", None)
    points = posterior.points
    if evaluate is None or points.shape[-1] != est._prior.n_points:
        return None
    flat = points.reshape(-1, points.shape[-1])
    parts = [evaluate(flat[begin : begin + _BLOCK]) for begin in range(0, len(flat), _BLOCK)]
    return np.concatenate(parts).reshape(points.shape[:2])


def _rows(est: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return outcomes, and features in the user's units with offsets and labels, of distinct rows."""
    rows, layout = est._rows, est._prior.layout
    if rows is None:
        raise ValueError("This fit keeps no rows (updating='gaussian'): leave data=False.")
    features = rows.fixed[:, layout.coef] * layout.scales + layout.centres
    constant = {"X": features}
    if rows.offset is not None:
        constant["offset"] = rows.offset
    for effects, term in zip(layout.random, rows.terms, strict=True):
        constant[effects.name] = est.levels_[effects.name][term.codes]
    return {"successes": rows.outcome, "trials": rows.weight}, constant


def _root_attributes(est: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "creation_library": "skdep",
        "creation_library_version": skdep.__version__,
        "estimator": type(est).__name__,
        "classes": [str(label) for label in est.classes_],
        "log_evidence": float(est.log_evidence_),
        "converged": int(est.converged_),
    }
    return attributes | {f"diagnostics_{name}": value for name, value in est.diagnostics_.items()}


def _posterior_attributes(est: Any) -> dict[str, Any]:
    return {"inference_library": "skdep", "sampling_method": est.diagnostics_["method"]}
