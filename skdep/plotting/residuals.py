"""`ResidualsDisplay`: residuals against fitted values or a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.plotting._feature_lines import feature_values
from skdep.plotting._models import target_name
from skdep.plotting._residual_values import KINDS, kind_of, residuals_of
from skdep.plotting._smooth import smooth_curve
from skdep.plotting._style import BLUE, VERMILLION, merge_style, new_axes, pyplot, root_figure, tidy

__all__ = ["ResidualsDisplay"]


class ResidualsDisplay:
    """Residuals against fitted values or a feature, with a smooth line that should lie near zero.

    Use `from_estimator` to make one.

    Parameters
    ----------
    fitted : ndarray of shape (n_rows,)
        Fitted values.
    residuals : ndarray of shape (n_rows,)
        Residuals.
    kind : {"raw", "standardised", "quantile"}, default="raw"
        Which residuals.
    target_name : str, default="y"
        Name of the outcome.
    given : sequence of str or None, default=None
        Grouping factors whose effects are part of the fitted values; none if those are of the population; None if the
        model has no random effects.
    against : ndarray of shape (n_rows,) or None, default=None
        Values of a feature to draw residuals against, in place of fitted values.
    feature : str or None, default=None
        Name of the feature.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    points_ : PathCollection
        The rows.
    zero_line_ : Line2D
        The line at zero.
    smooth_ : Line2D or None
        The smooth line; None if it was not asked for, or all values on the horizontal axis are the same.

    See Also
    --------
    QQDisplay : Whether residuals look normal.
    BinnedResidualsDisplay : Means of residuals, for binary outcomes and counts.
    PartialResidualsDisplay : Whether features enter by straight lines.

    Notes
    -----
    The smooth line is locally weighted regression with two thirds of the rows and three rounds against outliers.
    Conditional residuals, with groups, show whether the residual variance is constant; those of the population, without
    groups, show whether the features enter as they should, and are correlated within groups. Predicted random effects
    are shrunken, so that the smooth line of conditional residuals rises a little even in a model that is right.

    Quantile residuals are normal quantiles of F(y), F the distribution function of the row under the model, and so
    standard normal if it is right, whatever the family [1]_. Where y is discrete, F jumps, and a number drawn evenly
    within the jump is used: other draws, by `random_state`, give other residuals, and what is seen should not depend on
    them. Probabilities of classifiers are those that `predict_proba` returns. Outcomes of a marginal model have the
    distribution of its family with the variance of the model: counts the negative binomial one if that variance exceeds
    the mean, else the Poisson one; shares the binomial one with `sample_weight` trials. In linear models quantile
    residuals are the standardised ones.

    References
    ----------
    .. [1] Dunn and Smyth (1996), Randomized quantile residuals, Journal of Computational and Graphical Statistics 5,
       236-244.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.plotting import ResidualsDisplay
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> display = ResidualsDisplay.from_estimator(model, sleep.data, sleep.target, groups=sleep.groups)
    >>> display.ax_.get_xlabel()
    'Fitted Reaction, given Subject'
    """

    def __init__(
        self,
        *,
        fitted: np.ndarray,
        residuals: np.ndarray,
        kind: str = "raw",
        target_name: str = "y",
        given: Sequence[str] | None = None,
        against: np.ndarray | None = None,
        feature: str | None = None,
    ):
        self.fitted = fitted
        self.residuals = residuals
        self.kind = kind
        self.target_name = target_name
        self.given = given
        self.against = against
        self.feature = feature

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        kind: str | None = None,
        standardised: bool = False,
        feature: str | int | None = None,
        offset: Any = None,
        sample_weight: Any = None,
        random_state: Any = None,
        smooth: bool = True,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ResidualsDisplay:
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
            those of the population.
        kind : {"raw", "standardised", "quantile"}, optional
            Which residuals: outcomes less fitted values, the same in standard deviations, or quantile residuals. By
            default raw ones, unless `standardised`.
        standardised : bool, default=False
            Whether to divide residuals by their standard deviation under the model: that of a row given the random
            effects, with groups; without groups, including their variance. In a marginal model these are Pearson
            residuals over the square root of the scale.
        feature : str or int, optional
            Name or number of a column of X to draw residuals against; by default fitted values.
        offset : array-like of shape (n_rows,), optional
            Known part of the mean.
        sample_weight : array-like of shape (n_rows,), optional
            Weights; used to standardise where they are precisions, and as numbers of trials of shares.
        random_state : int, RandomState instance or None, default=None
            Source of randomness of quantile residuals of discrete outcomes.
        smooth : bool, default=True
            Whether to draw the smooth line.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        scatter_kwargs, line_kwargs : dict, optional
            Style of the points (`PathCollection`) and of the smooth line (`Line2D`).

        Returns
        -------
        display : ResidualsDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is a classifier and residuals are no quantile residuals, or the model has no residual
            variance, or no distribution.
        ValueError
            If y or groups do not fit to X, `kind` or `feature` is not known, or the residual variance is zero.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import GEERegressor
        >>> from skdep.datasets import load_epil
        >>> from skdep.plotting import ResidualsDisplay
        >>> epil = load_epil()
        >>> X = epil.data[["base", "age"]]
        >>> gee = GEERegressor(family="poisson").fit(X, epil.target, groups=epil.groups)
        >>> display = ResidualsDisplay.from_estimator(gee, X, epil.target, standardised=True)
        >>> display.ax_.get_ylabel()
        'Standardised residual'
        >>> display = ResidualsDisplay.from_estimator(
        ...     gee, X, epil.target, kind="quantile", feature="age", random_state=0
        ... )
        >>> display.ax_.get_xlabel(), display.residuals.std().round(2)
        ('age', np.float64(0.92))
        """
        pyplot(f"{cls.__name__}.from_estimator")
        kind = kind_of(kind, standardised=standardised)
        fitted, residuals, given = residuals_of(
            est, X, y, groups, offset, sample_weight, kind=kind, random_state=random_state, caller=cls.__name__
        )
        against, name = (None, None) if feature is None else feature_values(X, feature)
        display = cls(
            fitted=fitted,
            residuals=residuals,
            kind=kind,
            target_name=target_name(y),
            given=given,
            against=against,
            feature=name,
        )
        return display.plot(ax, smooth=smooth, scatter_kwargs=scatter_kwargs, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        smooth: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ResidualsDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        smooth : bool, default=True
            Whether to draw the smooth line.
        scatter_kwargs, line_kwargs : dict, optional
            Style of the points (`PathCollection`) and of the smooth line (`Line2D`).

        Returns
        -------
        display : ResidualsDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        self.ax_ = ax = new_axes(plt, ax)
        self.figure_ = root_figure(ax)
        n_rows = len(self.fitted)
        x = self.fitted if self.against is None else self.against
        default = {"color": BLUE, "s": float(np.clip(6000.0 / n_rows, 3.0, 22.0)), "linewidths": 0.0}
        default |= {"alpha": float(np.clip(60.0 / np.sqrt(n_rows), 0.05, 0.75)), "rasterized": n_rows > 5000}
        style = merge_style(default, scatter_kwargs, PathCollection)
        self.points_ = ax.scatter(x, self.residuals, **style)
        self.zero_line_ = ax.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
        self.smooth_ = None
        if smooth and np.ptp(x) > 0.0:
            at, curve = smooth_curve(x, self.residuals)
            style = merge_style({"color": VERMILLION, "linewidth": 2.0, "label": "smooth"}, line_kwargs, Line2D)
            (self.smooth_,) = ax.plot(at, curve, **style)
        largest = 1.08 * np.abs(self.residuals).max()
        if largest > 0.0:
            ax.set_ylim(-largest, largest)
        ax.set(xlabel=self.feature or self._fitted_label(), ylabel=self._residual_label())
        tidy(ax)
        return self

    def _residual_label(self) -> str:
        return f"Residual of {self.target_name}" if self.kind == "raw" else KINDS[self.kind]

    def _fitted_label(self) -> str:
        if self.given is None:
            return f"Fitted {self.target_name}"
        listed = ", ".join(self.given)
        return f"Fitted {self.target_name}, {f'given {listed}' if listed else 'population'}"
