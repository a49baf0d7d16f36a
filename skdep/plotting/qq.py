"""`QQDisplay`: quantiles of residuals or of random effects against those of the normal distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.inference._access import unwrap
from skdep.plotting._models import effect_name, effect_number, factor_deviation, only_factor, target_name
from skdep.plotting._normal_order import normal_order_quantiles, quartile_line
from skdep.plotting._residual_values import KINDS, kind_of, residuals_of
from skdep.plotting._style import BLUE, GREY, VERMILLION, merge_style, new_axes, pyplot, root_figure, tidy

__all__ = ["QQDisplay"]

_MOST_NAMED = 5


class QQDisplay:
    """Normal quantile-quantile plot of residuals or random effects, with a pointwise envelope.

    Use `from_estimator` for residuals, `from_random_effects` for random effects, `from_values` for anything else.

    Parameters
    ----------
    quantiles : ndarray of shape (n,)
        Standard normal quantiles: at the medians of the order statistics of n uniform variables.
    values : ndarray of shape (n,)
        Values in increasing order.
    lower, upper : ndarray of shape (n,)
        Ends of the envelope.
    intercept, slope : float
        Line through the quartiles of the values and those of the normal distribution.
    level : float, default=0.95
        Probability of the envelope at a point.
    name : str, default="value"
        What the values are.
    labels : ndarray of shape (n,) or None, default=None
        Labels of the values; those farthest outside of the envelope are written in the picture.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    inside_, outside_ : Line2D
        The values inside and outside of the envelope.
    line_ : Line2D
        The line through the quartiles.
    envelope_ : FillBetweenPolyCollection
        The envelope.
    texts_ : list of Annotation
        Labels of values outside of the envelope.

    See Also
    --------
    ResidualsDisplay : Residuals against fitted values.
    CaterpillarDisplay : Random effects with intervals.

    Notes
    -----
    The i-th of n uniform variables in order has the distribution Beta(i, n + 1 - i). The envelope holds each value, for
    itself, with probability `level`, were values independent and normal about the line: of normal values, about one in
    twenty lies outside at the level 0.95. Residuals and predicted effects are slightly dependent.

    Predicted random effects are shrunken, those of levels with few rows more. They are divided by their own standard
    deviation under the model, the square root of the variance of the effect less its conditional variance [1]_. A level
    without information on an effect has none, and is left out.

    References
    ----------
    .. [1] Lange and Ryan (1989), Assessing normality in random effects models, Annals of Statistics 17, 624-642.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.plotting import QQDisplay
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> display = QQDisplay.from_estimator(model, sleep.data, sleep.target, groups=sleep.groups)
    >>> display.values[[0, -1]].round(2)
    array([-3.95,  5.18])
    """

    def __init__(
        self,
        *,
        quantiles: np.ndarray,
        values: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        intercept: float,
        slope: float,
        level: float = 0.95,
        name: str = "value",
        labels: np.ndarray | None = None,
    ):
        self.quantiles = quantiles
        self.values = values
        self.lower = lower
        self.upper = upper
        self.intercept = intercept
        self.slope = slope
        self.level = level
        self.name = name
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        kind: str | None = None,
        standardised: bool = True,
        offset: Any = None,
        sample_weight: Any = None,
        random_state: Any = None,
        level: float = 0.95,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> QQDisplay:
        """Draw the residuals of a fit.

        Parameters
        ----------
        est : estimator
            Fitted estimator, or a pipeline or search around one; of classifiers there are quantile residuals only.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, for residuals conditional on random effects; without them residuals are
            those of the population, which are correlated within groups.
        kind : {"raw", "standardised", "quantile"}, optional
            Which residuals, as in `ResidualsDisplay`: quantile residuals are normal if the model is right, whatever
            the family. By default standardised ones, or raw ones with ``standardised=False``.
        standardised : bool, default=True
            Whether to divide residuals by their standard deviation under the model, as in `ResidualsDisplay`.
        offset : array-like of shape (n_rows,), optional
            Known part of the mean.
        sample_weight : array-like of shape (n_rows,), optional
            Weights; used to standardise where they are precisions, and as numbers of trials of shares.
        random_state : int, RandomState instance or None, default=None
            Source of randomness of quantile residuals of discrete outcomes.
        level : float, default=0.95
            Probability of the envelope at a point.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, line_kwargs : dict, optional
            Style of the points and of the line (`Line2D`).

        Returns
        -------
        display : QQDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is a classifier and residuals are no quantile residuals, or the model has no residual
            variance, or no distribution.
        ValueError
            If y or groups do not fit to X, `kind` is not known, or the residual variance is zero.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import MixedLinear
        >>> from skdep.datasets import load_orthodont
        >>> from skdep.plotting import QQDisplay
        >>> study = load_orthodont()
        >>> X = study.data[["age"]]
        >>> model = MixedLinear().fit(X, study.target, groups=study.groups)
        >>> display = QQDisplay.from_estimator(model, X, study.target, groups=study.groups)
        >>> display.ax_.get_ylabel()
        'Standardised residual of distance'
        """
        pyplot(f"{cls.__name__}.from_estimator")
        kind = kind_of(kind, standardised=standardised)
        residuals = residuals_of(
            est, X, y, groups, offset, sample_weight, kind=kind, random_state=random_state, caller=cls.__name__
        ).residuals
        name = f"{KINDS[kind]} of {target_name(y)}"
        return cls.from_values(
            residuals, level=level, name=name, ax=ax, point_kwargs=point_kwargs, line_kwargs=line_kwargs
        )

    @classmethod
    def from_random_effects(
        cls,
        est: Any,
        factor: str | None = None,
        effect: str | None = None,
        *,
        level: float = 0.95,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> QQDisplay:
        """Draw the standardised random effects of a fitted mixed model.

        Parameters
        ----------
        est : estimator
            Fitted mixed model, or a pipeline or search around one.
        factor : str, optional
            Grouping factor; may be left out if there is only one.
        effect : str, optional
            Name of the random effect; by default the first.
        level : float, default=0.95
            Probability of the envelope at a point.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, line_kwargs : dict, optional
            Style of the points and of the line (`Line2D`).

        Returns
        -------
        display : QQDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no random effects.
        ValueError
            If it was fitted without groups, `factor` or `effect` is not known, or the variance of the effect is zero.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import MixedLinear
        >>> from skdep.datasets import load_sleepstudy
        >>> from skdep.plotting import QQDisplay
        >>> sleep = load_sleepstudy()
        >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
        >>> display = QQDisplay.from_random_effects(model, effect="Days")
        >>> display.labels[[0, -1]], display.values[[0, -1]].round(2)
        (array([335, 308]), array([-1.97,  1.69]))
        """
        pyplot(f"{cls.__name__}.from_random_effects")
        model = unwrap(est)
        factor = only_factor(model, factor, cls.__name__)
        column = effect_number(model.random_names_[factor], effect, factor, parameter="effect")
        chosen = effect_name(model.random_names_[factor][column])
        effects, sds, variance = (part[..., column] for part in factor_deviation(model, factor))
        if variance == 0.0:
            raise ValueError(f"{chosen} by {factor!r} has an estimated variance of 0: every effect is 0.")
        own = np.maximum(variance - sds**2, 0.0)
        informed = own > 1e-10 * variance
        return cls.from_values(
            effects[informed] / np.sqrt(own[informed]),
            labels=model.levels_[factor][informed],
            level=level,
            name=f"Standardised effect: {chosen} by {factor}",
            ax=ax,
            point_kwargs=point_kwargs,
            line_kwargs=line_kwargs,
        )

    @classmethod
    def from_values(
        cls,
        values: Any,
        *,
        labels: Any = None,
        level: float = 0.95,
        name: str = "value",
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> QQDisplay:
        """Draw values.

        Parameters
        ----------
        values : array-like of shape (n,)
            Values, in any order; at least three.
        labels : array-like of shape (n,), optional
            Their labels.
        level : float, default=0.95
            Probability of the envelope at a point.
        name : str, default="value"
            What the values are.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, line_kwargs : dict, optional
            Style of the points and of the line (`Line2D`).

        Returns
        -------
        display : QQDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are fewer than three values, or they are all the same, or some are not finite.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep.plotting import QQDisplay
        >>> display = QQDisplay.from_values([3.0, 1.0, 2.0])
        >>> display.quantiles.round(3)
        array([-0.819,  0.   ,  0.819])
        """
        pyplot(f"{cls.__name__}.from_values")
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 1 or len(values) < 3 or not np.isfinite(values).all():
            raise ValueError(f"A quantile-quantile plot takes three finite values or more, got shape {values.shape}.")
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for a 95% envelope.")
        order = np.argsort(values, kind="stable")
        values, n = values[order], len(values)
        if values[0] == values[-1]:
            raise ValueError(f"All {n} values are {values[0]:g}: they have no distribution to look at.")
        intercept, slope = quartile_line(values)
        quantiles, low, high = (normal_order_quantiles(n, p) for p in (0.5, 0.5 - 0.5 * level, 0.5 + 0.5 * level))
        display = cls(
            quantiles=quantiles,
            values=values,
            lower=intercept + slope * low,
            upper=intercept + slope * high,
            intercept=intercept,
            slope=slope,
            level=level,
            name=name,
            labels=None if labels is None else np.asarray(labels)[order],
        )
        return display.plot(ax, point_kwargs=point_kwargs, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        point_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> QQDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, line_kwargs : dict, optional
            Style of the points and of the line (`Line2D`).

        Returns
        -------
        display : QQDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        from matplotlib.lines import Line2D

        self.ax_ = ax = new_axes(plt, ax)
        self.figure_ = root_figure(ax)
        shown = _drawn(len(self.values))
        x, y = self.quantiles[shown], self.values[shown]
        lower, upper = self.lower[shown], self.upper[shown]
        percent = f"{100.0 * self.level:.4g}%"
        self.envelope_ = ax.fill_between(
            x, lower, upper, color=GREY, alpha=0.2, linewidth=0.0, label=f"{percent} envelope, pointwise"
        )
        style = merge_style({"color": "black", "linewidth": 1.0, "label": "through the quartiles"}, line_kwargs, Line2D)
        ends = x[[0, -1]]
        (self.line_,) = ax.plot(ends, self.intercept + self.slope * ends, **style)
        size = float(np.clip(60.0 / np.sqrt(len(x)), 2.5, 5.5))
        common = {"linestyle": "none", "markersize": size, "markeredgewidth": 0.0, "alpha": 0.85}
        outside = (y < lower) | (y > upper)
        style = merge_style(common | {"color": BLUE, "marker": "o"}, point_kwargs, Line2D)
        (self.inside_,) = ax.plot(x[~outside], y[~outside], **style)
        style = merge_style(common | {"color": VERMILLION, "marker": "D"}, point_kwargs, Line2D)
        (self.outside_,) = ax.plot(x[outside], y[outside], **style)
        self.texts_ = [] if self.labels is None else self._name_farthest(x, y, lower, upper, self.labels[shown])
        ax.legend(handles=[self.line_, self.envelope_], loc="upper left", frameon=False, fontsize="small")
        ax.set(xlabel="Standard normal quantile", ylabel=self.name)
        tidy(ax)
        return self

    def _name_farthest(self, x, y, lower, upper, labels) -> list[Any]:
        """Write labels beside values outside of the envelope, farthest first, but for those too near to others."""
        beyond = np.maximum(lower - y, y - upper)
        apart = 0.04 * np.ptp(np.concatenate([lower, upper, y]))
        named: list[int] = []
        for k in np.argsort(-beyond, kind="stable")[: np.count_nonzero(beyond > 0.0)]:
            if len(named) < _MOST_NAMED and all(abs(y[k] - y[other]) >= apart for other in named):
                named.append(int(k))
        return [self._name(x[k], y[k], str(labels[k])) for k in named]

    def _name(self, x: float, y: float, text: str) -> Any:
        """Write a label on the side of the middle, where no value is."""
        side, place = (1.0, "left") if x < 0.0 else (-1.0, "right")
        options = {"xytext": (6.0 * side, 0.0), "textcoords": "offset points", "ha": place, "va": "center"}
        return self.ax_.annotate(text, (x, y), fontsize="small", **options)


def _drawn(n: int, most: int = 4000) -> np.ndarray:
    """Return which of n ordered values are drawn: all, or those of the tails and evenly many between."""
    if n <= most:
        return np.arange(n)
    tail = most // 4
    middle = np.linspace(tail, n - tail - 1, most - 2 * tail).round().astype(int)
    return np.unique(np.concatenate([np.arange(tail), middle, np.arange(n - tail, n)]))
