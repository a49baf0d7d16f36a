r"""The prior of all parameters of a model: the user's choices, weakly informative defaults for the rest.

Defaults, in log odds:

- intercept: Normal(0, 5), of the log odds where features are at their centre. A rate of 1 in 10,000 is within two
  standard deviations; data on it are seldom scarce.
- slopes: Normal(0, 2.5 / sd(x)). A change of the feature by one standard deviation then multiplies the odds by less
  than 134 with probability 95%; complete separation is no obstacle.
- standard deviations of random effects: HalfStudentT(4, 1), for slopes divided by sd(x). The median, 0.74, is that of
  odds that differ between two levels by a factor of about 2; the tail lets them differ far more.
- correlations: LKJ(2), which keeps away from perfect correlation.

Priors that the user gives are in the units of the features and never rescaled, save the horseshoe, which is of slopes
per standard deviation. The intercept's prior is of the intercept at the centre of the features, where it is nearly
independent of the slopes, unless it is given as ``"Intercept at 0"``.

References
----------
Gelman, Jakulin, Pittau and Su (2008), A weakly informative default prior distribution for logistic and other
regression models, Annals of Applied Statistics 2, 1360-1383.
Gelman (2006), Prior distributions for variance parameters in hierarchical models, Bayesian Analysis 1, 515-534.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.lkj import LKJ
from skdep.bayes.prior_blocks import Block, Joint, Latent, elementwise_blocks
from skdep.bayes.prior_choices import Choices, read_prior
from skdep.bayes.prior_density import PriorSpec
from skdep.bayes.prior_layout import PointLayout, make_layout
from skdep.bayes.prior_summary import rows_of_choices
from skdep.bayes.priors import Normal, Prior
from skdep.bayes.scale_priors import HalfStudentT, ScalePrior

__all__ = ["DEFAULT_CORRELATION", "DEFAULT_INTERCEPT", "DEFAULT_SD", "DEFAULT_SLOPE", "PriorSpec", "resolve_priors"]

DEFAULT_INTERCEPT = Normal(0.0, 5.0)
DEFAULT_SLOPE = Normal(0.0, 2.5)
"""Per standard deviation of the feature."""
DEFAULT_SD = HalfStudentT(4.0, 1.0)
DEFAULT_CORRELATION = LKJ(2.0)


def resolve_priors(
    prior: Any,
    names: Sequence[str],
    scales: ArrayLike,
    centres: ArrayLike,
    random: Sequence[Any] = (),
    *,
    covariance: str | Mapping[str, str] = "full",
    fit_intercept: bool = True,
    spreads: ArrayLike | None = None,
    reference: ArrayLike | None = None,
) -> PriorSpec:
    """Find the prior of every parameter.

    Parameters
    ----------
    prior : None, Prior, MultivariateNormal, Horseshoe or dict
        None takes the defaults (see the module). A single prior is of every slope; a `MultivariateNormal` is of all of
        ``[intercept_, *coef_]``, or of the slopes. A dict has priors by parameter; what it leaves out has its default:

        - ``"Intercept"``: log odds at the centre of the features; or ``"Intercept at 0"``: at features of 0;
        - names or numbers of features: their slopes; ``"coef"``: all other slopes, a `Prior`, or a `MultivariateNormal`
          or `Horseshoe` of them together;
        - ``"joint"``: a `MultivariateNormal` of ``[intercept_, *coef_]``;
        - ``"sd"``: standard deviations of random effects, one `ScalePrior` or a dict by factor, whose values may be
          dicts by effect (``"Intercept"`` or a feature);
        - ``"correlation"``: `LKJ`, or a dict of them by factor.
    names : sequence of str
        Names of the features.
    scales, centres : array-like of shape (p,)
        Working columns are (x - centre) / scale.
    random : sequence of objects with ``name`` and ``columns``
        Grouping factors, such as `skdep.mixed.terms.RandomTerm`.
    covariance : {"full", "diagonal"} or mapping, default="full"
        Whether random effects of a factor are correlated: for every factor, or by factor.
    fit_intercept : bool, default=True
        Whether there is an intercept.
    spreads : array-like of shape (p,), default=None
        Standard deviations of the features that defaults (and the horseshoe) are scaled by; None takes `scales`.
    reference : array-like of shape (p,), default=None
        Features at which the intercept's prior applies; None takes `centres`. With `spreads` it holds a prior where it
        was while the data, and with them the working columns, change.

    Returns
    -------
    PriorSpec
        The prior.

    Raises
    ------
    ValueError
        If a name is unknown, or a prior is not of the kind that its parameter takes.

    Examples
    --------
    >>> from skdep.bayes.prior_spec import resolve_priors
    >>> from skdep.bayes.priors import Normal
    >>> spec = resolve_priors({"age": Normal(0.05, 0.02)}, ["age", "dose"], scales=[10.0, 2.0], centres=[50.0, 5.0])
    >>> spec.summary()[["prior", "odds_ratio_high"]].round(2)
                                    prior  odds_ratio_high
    parameter
    Intercept      Normal(loc=0, scale=5)              NaN
    age        Normal(loc=0.05, scale=0.02)             1.09
    dose        Normal(loc=0, scale=1.25)            11.59
    """
    layout = make_layout(names, scales, centres, random, covariance=covariance, fit_intercept=fit_intercept)
    choices = read_prior(prior, layout)
    if isinstance(choices.rest, Horseshoe):
        layout = replace(layout, n_latent=len(choices.rest_places) + 2)
    spreads = layout.scales if spreads is None else np.asarray(spreads, dtype=float)
    if spreads.shape != layout.scales.shape or not (np.isfinite(spreads).all() and np.all(spreads > 0)):
        raise ValueError(f"spreads should be {len(layout.names)} numbers greater than 0, one for each feature.")
    blocks = [*_coefficient_blocks(choices, layout, spreads), *_effects_blocks(choices, layout, spreads)]
    shift = _shift(choices, layout, reference)
    rows = rows_of_choices(_with_defaults(choices, layout, spreads), choices, layout, spreads)
    return PriorSpec(layout, tuple(blocks), rows, shift)


def _with_defaults(choices: Choices, layout: PointLayout, spreads: np.ndarray) -> Choices:
    """Fill in the defaults, in the units of the features."""
    in_rest = set(choices.rest_places)
    together = choices.joint is not None
    return replace(
        choices,
        intercept=None if together or not layout.fit_intercept else choices.intercept or DEFAULT_INTERCEPT,
        slopes=[
            None if together or place in in_rest else chosen or DEFAULT_SLOPE.scaled(1.0 / spreads[place])
            for place, chosen in enumerate(choices.slopes)
        ],
        sds={
            term.name: [
                chosen or (DEFAULT_SD if column < 0 else DEFAULT_SD.scaled(1.0 / spreads[column]))
                for column, chosen in zip(term.columns, choices.sds[term.name], strict=True)
            ]
            for term in layout.random
        },
        correlations={name: chosen or DEFAULT_CORRELATION for name, chosen in choices.correlations.items()},
    )


def _coefficient_blocks(choices: Choices, layout: PointLayout, spreads: np.ndarray) -> list[Block]:
    """Return the blocks of the intercept and the slopes, of working columns."""
    if choices.joint is not None:
        return [Joint(np.arange(layout.n_coefficients), choices.joint.mapped(layout.to_working))]
    complete = _with_defaults(choices, layout, spreads)
    first = layout.coef.start
    places: list[int] = []
    priors: list[Prior] = []
    if complete.intercept is not None:
        places, priors = [0], [complete.intercept]
    for number, chosen in enumerate(complete.slopes):
        if chosen is not None:
            places.append(first + number)
            priors.append(chosen.scaled(layout.scales[number]))
    blocks = elementwise_blocks(places, priors)
    rest = np.array(choices.rest_places, dtype=int)
    if isinstance(choices.rest, MultivariateNormal):
        blocks.append(Joint(first + rest, choices.rest.scaled(layout.scales[rest])))
    elif isinstance(choices.rest, Horseshoe):
        latent = np.arange(layout.latent.start, layout.latent.stop)
        factors = layout.scales[rest] / spreads[rest]
        blocks.append(Latent(np.concatenate([first + rest, latent]), choices.rest, factors))
    return blocks


def _effects_blocks(choices: Choices, layout: PointLayout, spreads: np.ndarray) -> list[Block]:
    """Return the blocks of standard deviations and correlations, of working columns."""
    complete = _with_defaults(choices, layout, spreads)
    places: list[int] = []
    priors: list[Any] = []
    for term in layout.random:
        places += range(term.log_sd.start, term.log_sd.stop)
        chosen: list[Any] = complete.sds[term.name]
        scales = term.scales
        priors += [_scaled_sd(prior, scale) for prior, scale in zip(chosen, scales, strict=True)]
    for term in layout.random:
        if term.correlated:
            lkj = complete.correlations[term.name] or DEFAULT_CORRELATION
            coordinates = range(term.correlation.start, term.correlation.stop)
            places += coordinates
            priors += lkj.coordinates(term.q)
    return elementwise_blocks(places, priors)


def _scaled_sd(prior: ScalePrior, scale: float) -> Any:
    return prior.scaled(scale).of_log()


def _shift(choices: Choices, layout: PointLayout, reference: ArrayLike | None) -> np.ndarray | None:
    """Return how slopes enter the intercept that its prior is of."""
    if choices.joint is not None or not layout.fit_intercept:
        return None
    if choices.intercept_at_zero:
        at = np.zeros(len(layout.names))
    else:
        at = layout.centres if reference is None else np.asarray(reference, dtype=float)
    if at.shape != layout.centres.shape or not np.isfinite(at).all():
        raise ValueError(f"reference should be {len(layout.names)} finite numbers, one for each feature.")
    shift = (at - layout.centres) / layout.scales
    return shift if np.any(shift != 0) else None
