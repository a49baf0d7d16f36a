"""Tables of priors, and what priors say about probabilities before data are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.prior_layout import EffectsLayout, PointLayout
from skdep.bayes.priors import Normal
from skdep.bayes.scale_priors import LogNormal

if TYPE_CHECKING:
    import pandas as pd

    from skdep.bayes.prior_choices import Choices
    from skdep.bayes.prior_density import PriorSpec

__all__ = ["Row", "prior_predictive", "rows_of_choices", "rows_of_normal", "summarise"]

_AT_CENTRE = "log odds at the centre of the features"
_AT_ZERO = "log odds at features of 0"
_SLOPE = "log odds ratio per unit"
_CORRELATION = "correlation of two random effects"


@dataclass(frozen=True)
class Row:
    """A row of a table of priors.

    Parameters
    ----------
    parameter : str
        Name of the parameter.
    prior : object
        With a repr, shown, and ``interval(level)``.
    quantity : str
        What the prior is of.
    default : bool
        Whether the user did not choose it.
    factor : float
        Factor of the prior's interval.
    """

    parameter: str
    prior: Any
    quantity: str
    default: bool
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A prior known by draws."""

    name: str
    draws: np.ndarray

    def __repr__(self) -> str:
        return self.name

    def interval(self, level: float) -> tuple[float, float]:
        low, high = np.quantile(self.draws, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
        return float(low), float(high)


def rows_of_choices(complete: Choices, chosen: Choices, layout: PointLayout, spreads: np.ndarray) -> tuple[Row, ...]:
    """Make rows of priors by parameter.

    Parameters
    ----------
    complete : Choices
        The priors, in the units of the features.
    chosen : Choices
        Those of them that the user chose.
    layout : PointLayout
        Names.
    spreads : ndarray of shape (p,)
        Standard deviations that the horseshoe's slopes are per.

    Returns
    -------
    tuple of Row
        The rows.
    """
    rows = _coefficient_rows(complete.joint, layout) if complete.joint is not None else []
    if complete.intercept is not None:
        quantity = _AT_ZERO if complete.intercept_at_zero else _AT_CENTRE
        rows.append(Row("Intercept", complete.intercept, quantity, chosen.intercept is None))
    if complete.joint is None:
        for place, (name, prior) in enumerate(zip(layout.names, complete.slopes, strict=True)):
            if prior is not None:
                rows.append(Row(name, prior, _SLOPE, chosen.slopes[place] is None))
            elif isinstance(complete.rest, Horseshoe):
                rows.append(Row(name, complete.rest, _SLOPE, False, factor=1.0 / spreads[place]))
            elif complete.rest is not None:
                marginal = complete.rest.marginal(complete.rest_places.index(place))
                rows.append(Row(name, marginal, _SLOPE, False))
    for term in layout.random:
        for number, effect in enumerate(term.effects):
            default = chosen.sds[term.name][number] is None
            sd_prior = complete.sds[term.name][number]
            rows.append(Row(f"sd[{term.name}, {effect}]", sd_prior, _sd_quantity(term, number), default))
    for term in layout.random:
        if term.correlated:
            lkj, default = complete.correlations[term.name], chosen.correlations[term.name] is None
            rows.append(Row(f"correlation[{term.name}]", _Lkj(lkj, term.q), _CORRELATION, default))
    return tuple(rows)


@dataclass(frozen=True)
class _Lkj:
    """An LKJ prior, shown as itself, with the range of one correlation."""

    prior: Any
    q: int

    def __repr__(self) -> str:
        return repr(self.prior)

    def interval(self, level: float) -> tuple[float, float]:
        return self.prior.correlation(self.q).interval(level)


def _sd_quantity(term: Any, number: int) -> str:
    if term.columns[number] >= 0:
        return "sd of random slopes"
    return "sd of intercepts at the centre of the features" if np.any(term.centres != 0) else "sd of intercepts"


def _coefficient_rows(joint: MultivariateNormal, layout: PointLayout) -> list[Row]:
    """Make rows of a joint prior of coefficients in the units of the features."""
    rows = []
    for place, name in enumerate(layout.coefficient_names):
        quantity = _AT_ZERO if layout.fit_intercept and place == 0 else _SLOPE
        rows.append(Row(name, joint.marginal(place), quantity, False))
    return rows


def rows_of_normal(normal: MultivariateNormal, layout: PointLayout) -> tuple[Row, ...]:
    """Make rows of a normal prior of whole points.

    Parameters
    ----------
    normal : MultivariateNormal
        The prior of points.
    layout : PointLayout
        Where each parameter is in a point.

    Returns
    -------
    tuple of Row
        The rows.
    """
    select = np.eye(layout.n_points)[: layout.n_coefficients]
    rows = _coefficient_rows(normal.mapped(layout.to_user @ select), layout)
    for term in layout.random:
        for number, effect in enumerate(term.effects):
            log_sd: Normal = normal.marginal(term.log_sd.start + number)
            prior = LogNormal(float(np.exp(log_sd.loc)) / float(term.scales[number]), log_sd.scale)
            rows.append(Row(f"sd[{term.name}, {effect}]", prior, _sd_quantity(term, number), False))
    draws = normal.sample(0, 20_000)
    for term in layout.random:
        if term.correlated:
            rows += _correlation_rows(term, draws)
    return tuple(rows)


def _correlation_rows(term: EffectsLayout, draws: np.ndarray) -> list[Row]:
    """Make rows of the correlations of a factor from draws of points."""
    factor, sd = term.cholesky(draws), np.exp(draws[:, term.log_sd])
    correlations = factor @ np.swapaxes(factor, -1, -2) / (sd[:, :, None] * sd[:, None, :])
    rows = []
    for i in range(1, term.q):
        for j in range(i):
            prior = _Drawn("normal in unconstrained coordinates", correlations[:, i, j])
            name = f"correlation[{term.name}, {term.effects[j]}, {term.effects[i]}]"
            rows.append(Row(name, prior, _CORRELATION, False))
    return rows


def summarise(rows: Sequence[Row], level: float = 0.95) -> pd.DataFrame:
    """Tabulate priors.

    Parameters
    ----------
    rows : sequence of Row
        The priors.
    level : float, default=0.95
        Share of the prior in the ranges.

    Returns
    -------
    DataFrame
        See `skdep.bayes.prior_density.PriorSpec.summary`.
    """
    import pandas as pd

    if not 0 < level < 1:
        raise ValueError(f"level should be between 0 and 1, got {level!r}.")
    ends = np.array([row.prior.interval(level) for row in rows]).reshape(-1, 2)
    ends = ends * np.array([row.factor for row in rows])[:, None]
    slopes = np.array([row.quantity == _SLOPE for row in rows], dtype=bool)
    with np.errstate(over="ignore"):
        ratios = np.where(slopes[:, None], np.exp(ends), np.nan)
    return pd.DataFrame(
        {
            "prior": [repr(row.prior) for row in rows],
            "quantity": [row.quantity for row in rows],
            "low": ends[:, 0],
            "high": ends[:, 1],
            "odds_ratio_low": ratios[:, 0],
            "odds_ratio_high": ratios[:, 1],
            "default": [row.default for row in rows],
        },
        index=pd.Index([row.parameter for row in rows], name="parameter"),
    )


def prior_predictive(
    spec: PriorSpec,
    X: np.ndarray,
    rng: Any = None,
    n_draws: int = 1000,
    *,
    codes: Mapping[str, np.ndarray] | None = None,
    offset: np.ndarray | None = None,
) -> np.ndarray:
    """Draw probabilities of rows from the prior.

    Parameters
    ----------
    spec : PriorSpec
        The prior.
    X : array-like of shape (n_rows, p)
        Features in the user's units.
    rng : numpy.random.Generator, int or None, default=None
        Source of randomness, or its seed.
    n_draws : int, default=1000
        Number of draws.
    codes : dict of str to ndarray of shape (n_rows,), default=None
        Numbers of the levels by factor, whose rows share their effects; None takes each row for one of its own level.
    offset : array-like of shape (n_rows,), default=None
        Known part of the log odds.

    Returns
    -------
    ndarray of shape (n_draws, n_rows)
        Probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.prior_spec import resolve_priors
    >>> from skdep.bayes.prior_summary import prior_predictive
    >>> from skdep.bayes.priors import LogisticPrior
    >>> spec = resolve_priors({"Intercept": LogisticPrior()}, [], [], [])
    >>> draws = prior_predictive(spec, np.empty((1, 0)), rng=0, n_draws=4000)
    >>> bool(abs(draws.mean() - 0.5) < 0.02)
    True
    """
    rng = np.random.default_rng(rng)
    layout = spec.layout
    X = np.asarray(X, dtype=float)
    if X.ndim != 2 or X.shape[1] != len(layout.names):
        raise ValueError(f"X should have {len(layout.names)} columns, got an array of shape {X.shape}.")
    points = spec.sample_points(rng, n_draws)
    coefficients = spec.working_coefficients(points)
    eta = coefficients[:, layout.coef] @ ((X - layout.centres) / layout.scales).T
    if layout.fit_intercept:
        eta += coefficients[:, :1]
    if offset is not None:
        eta += np.asarray(offset, dtype=float)
    for term in layout.random:
        design, factor = term.design(X), term.cholesky(points)
        if codes is None:
            sd = np.sqrt(np.sum(np.matmul(design, factor) ** 2, axis=-1))
            eta += sd * rng.standard_normal(eta.shape)
        else:
            levels, numbers = np.unique(codes[term.name], return_inverse=True)
            effects = rng.standard_normal((n_draws, len(levels), term.q)) @ np.swapaxes(factor, -1, -2)
            eta += np.einsum("rq,drq->dr", design, effects[:, numbers])
    return special.expit(eta)
