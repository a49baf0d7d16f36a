"""What a user's ``prior=`` says about each parameter, before defaults are filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from skdep._docs import read_more
from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.lkj import LKJ
from skdep.bayes.prior_layout import INTERCEPT_NAME, PointLayout
from skdep.bayes.priors import Prior
from skdep.bayes.scale_priors import ScalePrior

__all__ = ["INTERCEPT_AT_ZERO", "Choices", "read_prior"]

INTERCEPT_AT_ZERO = "Intercept at 0"
_RESERVED = (INTERCEPT_NAME, INTERCEPT_AT_ZERO, "coef", "joint", "sd", "correlation")


@dataclass
class Choices:
    """The user's choices; None where the default is to be taken.

    Parameters
    ----------
    slopes : list of Prior or None
        For each feature.
    sds : dict of str to list of ScalePrior or None
        For each effect of each factor.
    correlations : dict of str to LKJ or None
        For each factor.
    intercept : Prior or None
        Of the intercept.
    intercept_at_zero : bool
        Whether it is the intercept at features of 0 that the prior speaks of.
    joint : MultivariateNormal or None
        Of ``[intercept_, *coef_]``.
    rest : MultivariateNormal, Horseshoe or None
        Of the slopes in `rest_places`.
    rest_places : list of int
        Features.
    """

    slopes: list[Prior | None]
    sds: dict[str, list[ScalePrior | None]]
    correlations: dict[str, LKJ | None]
    intercept: Prior | None = None
    intercept_at_zero: bool = False
    joint: MultivariateNormal | None = None
    rest: MultivariateNormal | Horseshoe | None = None
    rest_places: list[int] = field(default_factory=list)


def read_prior(prior: Any, layout: PointLayout) -> Choices:
    """Read what the user passed.

    Parameters
    ----------
    prior : None, prior or dict
        As for `skdep.bayes.prior_spec.resolve_priors`.
    layout : PointLayout
        Names of features and random effects.

    Returns
    -------
    Choices
        The choices.

    Raises
    ------
    ValueError
        If a name is unknown, or a prior is not of the kind that its parameter takes.
    """
    choices = Choices(
        slopes=[None] * len(layout.names),
        sds={term.name: [None] * term.q for term in layout.random},
        correlations={term.name: None for term in layout.random if term.correlated},
    )
    if prior is None:
        return choices
    if isinstance(prior, Mapping):
        _read_dict(prior, layout, choices)
    elif isinstance(prior, MultivariateNormal) and layout.fit_intercept and len(prior) == layout.n_coefficients:
        choices.joint = prior
    elif isinstance(prior, Prior | MultivariateNormal | Horseshoe):
        _read_rest(prior, list(range(len(layout.names))), layout, choices)
    elif isinstance(prior, ScalePrior):
        raise ValueError(
            f"prior={prior!r} is a prior of standard deviations; pass prior={{'sd': {prior!r}}}."
            f"{read_more('bayes_prior')}"
        )
    elif isinstance(prior, LKJ):
        raise ValueError(
            f"prior={prior!r} is a prior of correlations; pass prior={{'correlation': {prior!r}}}."
            f"{read_more('bayes_prior')}"
        )
    else:
        raise ValueError(
            f"prior should be None, a prior such as Normal(0, 1), or a dict of priors by parameter, got {prior!r}."
            f"{read_more('bayes_prior')}"
        )
    return choices


def _read_dict(prior: Mapping, layout: PointLayout, choices: Choices) -> None:
    """Read priors by name."""
    given: dict[int, Any] = {}
    for key in prior:
        if key in _RESERVED and key in layout.names:
            raise ValueError(
                f"prior has the key {key!r}, which is both a feature and a word with a meaning of its own; give the "
                f"feature by its number, {layout.names.index(key)}, or rename it."
            )
        if key in _RESERVED:
            continue
        number = _feature_number(key, layout.names)
        if number in given:
            raise ValueError(f"prior has feature {layout.names[number]!r} twice, by name and by number.")
        given[number] = key
        choices.slopes[number] = _of_kind(prior[key], Prior, f"prior[{key!r}]", "a coefficient", "Normal(0, 1)")
    _read_intercept(prior, layout, choices)
    if "joint" in prior:
        _read_joint(prior, layout, choices, list(given.values()))
    if "coef" in prior:
        others = [number for number in range(len(layout.names)) if number not in given]
        _read_rest(prior["coef"], others, layout, choices)
    if "sd" in prior:
        _read_sds(prior["sd"], layout, choices)
    if "correlation" in prior:
        _read_correlations(prior["correlation"], choices)


def _read_intercept(prior: Mapping, layout: PointLayout, choices: Choices) -> None:
    keys = [key for key in (INTERCEPT_NAME, INTERCEPT_AT_ZERO) if key in prior]
    if not keys:
        return
    if len(keys) == 2:
        raise ValueError(f"prior has both {keys[0]!r}, at the features' centre, and {keys[1]!r}; give one of them.")
    if not layout.fit_intercept:
        raise ValueError(f"prior has the key {keys[0]!r}, but the model has no intercept.")
    choices.intercept = _of_kind(prior[keys[0]], Prior, f"prior[{keys[0]!r}]", "a coefficient", "Normal(0, 5)")
    choices.intercept_at_zero = keys[0] == INTERCEPT_AT_ZERO


def _read_joint(prior: Mapping, layout: PointLayout, choices: Choices, features: list) -> None:
    """Read the prior of all coefficients."""
    others = [*features, *(key for key in (INTERCEPT_NAME, INTERCEPT_AT_ZERO, "coef") if key in prior)]
    if others:
        raise ValueError(f"prior['joint'] is of all coefficients; it leaves none for {others}.")
    joint = _of_kind(prior["joint"], MultivariateNormal, "prior['joint']", "all coefficients", "MultivariateNormal")
    if len(joint) != layout.n_coefficients:
        raise ValueError(
            f"prior['joint'] has dimension {len(joint)}, but there are {layout.n_coefficients} coefficients: "
            f"{layout.coefficient_names}."
        )
    choices.joint = joint


def _read_rest(prior: Any, places: list[int], layout: PointLayout, choices: Choices) -> None:
    """Read the prior of the slopes at the given places: one for each of them, or one of them all."""
    if isinstance(prior, MultivariateNormal | Horseshoe):
        if isinstance(prior, MultivariateNormal) and len(prior) != len(places):
            raise ValueError(
                f"The multivariate normal prior has dimension {len(prior)}, but it is to be of {len(places)} slopes: "
                f"{[layout.names[place] for place in places]}. For the intercept too, give all coefficients under the "
                "key 'joint'."
            )
        if places:
            choices.rest, choices.rest_places = prior, places
        return
    checked = _of_kind(prior, Prior, "prior['coef']", "coefficients", "Normal(0, 1)")
    for place in places:
        choices.slopes[place] = checked


def _read_sds(given: Any, layout: PointLayout, choices: Choices) -> None:
    """Read priors of standard deviations: for all, by factor, or by factor and effect."""
    if not layout.random:
        raise ValueError(
            "prior has the key 'sd', but the model has no random effects: groups are not given."
            f"{read_more('bayes_prior')}"
        )
    by_factor = _by_name(given, choices.sds, "prior['sd']", "factor")
    for term in layout.random:
        what = f"prior['sd'][{term.name!r}]"
        by_effect = _by_name(by_factor.get(term.name), term.effects, what, "random effect")
        for number, effect in enumerate(term.effects):
            if by_effect.get(effect) is not None:
                value = _of_kind(by_effect[effect], ScalePrior, what, "a standard deviation", "HalfNormal(1)")
                choices.sds[term.name][number] = value


def _read_correlations(given: Any, choices: Choices) -> None:
    """Read priors of correlations: for all factors, or by factor."""
    if not choices.correlations:
        raise ValueError("prior has the key 'correlation', but no factor has correlated random effects.")
    for name, value in _by_name(given, choices.correlations, "prior['correlation']", "factor").items():
        if value is not None:
            choices.correlations[name] = _of_kind(value, LKJ, "prior['correlation']", "correlations", "LKJ(2)")


def _by_name(given: Any, names: Any, what: str, kind: str) -> dict[str, Any]:
    """Return a value for each name, of a value for all or a dict."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"{what} has the keys {unknown}, but each should be the name of a {kind}: {list(names)}.")
    return dict(given)


def _feature_number(key: Any, names: Sequence[str]) -> int:
    """Return the number of the feature of a name or number."""
    if isinstance(key, str) and key in names:
        if names.count(key) > 1:
            raise ValueError(f"prior has the key {key!r}, the name of several features; give their numbers.")
        return names.index(key)
    if isinstance(key, Integral) and not isinstance(key, bool) and 0 <= int(key) < len(names):
        return int(key)
    shown = ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
    raise ValueError(
        f"prior has the key {key!r}; each should be a feature ({shown}), its number, or one of "
        f"{', '.join(repr(word) for word in _RESERVED)}."
        f"{read_more('bayes_prior')}"
    )


def _of_kind(value: Any, kind: type, what: str, of: str, example: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{what} should be a prior of {of}, such as {example}, got {value!r}.")
    return value
