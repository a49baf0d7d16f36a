"""`ResidualsDisplay`: residuals against fitted values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep._validation import check_weights, numeric_rows
from skdep.plotting._models import last_step, regressor_within, residual_sd, target_name
from skdep.plotting._smooth import lowess
from skdep.plotting._style import BLUE, VERMILLION, merge_style, new_axes, pyplot, root_figure, tidy

__all__ = ["ResidualsDisplay", "residuals_of"]

_MOST_SMOOTHED, _MOST_POINTS = 20_000, 60


class ResidualsDisplay:
    """Residuals against fitted values, with a smooth line that should lie near zero.

    Use `from_estimator` to make one.

    Parameters
    ----------
    fitted : ndarray of shape (n_rows,)
        Fitted values.
    residuals : ndarray of shape (n_rows,)
        Residuals.
    standardised : bool, default=False
        Whether residuals are in standard deviations.
    target_name : str, default="y"
        Name of the outcome.
    given : sequence of str or None, default=None
        Grouping factors whose effects are part of the fitted values; none if those are of the population; None if the
        model has no random effects.

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
        The smooth line; None if it was not asked for, or all fitted values are the same.

    See Also
    --------
    QQDisplay : Whether residuals look normal.

    Notes
    -----
    The smooth line is locally weighted regression with two thirds of the rows and three rounds against outliers.
    Conditional residuals, with groups, show whether the residual variance is constant; those of the population, without
    groups, show whether the features enter as they should, and are correlated within groups. Predicted random effects
    are shrunken, so that the smooth line of conditional residuals rises a little even in a model that is right.

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
        standardised: bool = False,
        target_name: str = "y",
        given: Sequence[str] | None = None,
    ):
        self.fitted = fitted
        self.residuals = residuals
        self.standardised = standardised
        self.target_name = target_name
        self.given = given

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        standardised: bool = False,
        offset: Any = None,
        sample_weight: Any = None,
        smooth: bool = True,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> ResidualsDisplay:
        """Draw the residuals of a fitted regressor.

        Parameters
        ----------
        est : estimator
            Fitted regressor, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, for residuals conditional on random effects; without them residuals are
            those of the population.
        standardised : bool, default=False
            Whether to divide residuals by their standard deviation under the model: that of a row given the random
            effects, with groups; without groups, including their variance. In a marginal model these are Pearson
            residuals over the square root of the scale.
        offset : array-like of shape (n_rows,), optional
            Known part of the mean.
        sample_weight : array-like of shape (n_rows,), optional
            Weights; used to standardise where they are precisions.
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
            If the estimator is a classifier, or has no residual variance to standardise by.
        ValueError
            If y or groups do not fit to X, or the residual variance is zero.
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
        """
        pyplot(f"{cls.__name__}.from_estimator")
        fitted, residuals, given = residuals_of(
            est, X, y, groups, offset, sample_weight, standardised=standardised, caller=cls.__name__
        )
        display = cls(
            fitted=fitted, residuals=residuals, standardised=standardised, target_name=target_name(y), given=given
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
        default = {"color": BLUE, "s": float(np.clip(6000.0 / n_rows, 3.0, 22.0)), "linewidths": 0.0}
        default |= {"alpha": float(np.clip(60.0 / np.sqrt(n_rows), 0.05, 0.75)), "rasterized": n_rows > 5000}
        style = merge_style(default, scatter_kwargs, PathCollection)
        self.points_ = ax.scatter(self.fitted, self.residuals, **style)
        self.zero_line_ = ax.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
        self.smooth_ = None
        if smooth and np.ptp(self.fitted) > 0.0:
            at, curve = _smooth_curve(self.fitted, self.residuals)
            style = merge_style({"color": VERMILLION, "linewidth": 2.0, "label": "smooth"}, line_kwargs, Line2D)
            (self.smooth_,) = ax.plot(at, curve, **style)
        largest = 1.08 * np.abs(self.residuals).max()
        if largest > 0.0:
            ax.set_ylim(-largest, largest)
        ax.set(xlabel=self._fitted_label(), ylabel="Standardised residual" if self.standardised else self._raw_label())
        tidy(ax)
        return self

    def _raw_label(self) -> str:
        return f"Residual of {self.target_name}"

    def _fitted_label(self) -> str:
        if self.given is None:
            return f"Fitted {self.target_name}"
        listed = ", ".join(self.given)
        return f"Fitted {self.target_name}, {f'given {listed}' if listed else 'population'}"


def _smooth_curve(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points and the smooth line there: quantiles of x, where the rows are, and its range evenly.

    Of very many rows every k-th in the order of x is used, which moves the line by less than its width.
    """
    step = int(np.ceil(len(x) / _MOST_SMOOTHED))
    if step > 1:
        order = np.argsort(x, kind="stable")
        kept = np.append(order[::step], order[-1])
        x, y = x[kept], y[kept]
    at = np.unique(x)
    if len(at) > _MOST_POINTS:
        quantiles = np.quantile(x, np.linspace(0.0, 1.0, _MOST_POINTS))
        at = np.unique(np.concatenate([quantiles, np.linspace(x.min(), x.max(), _MOST_POINTS // 4)]))
    return at, lowess(x, y, at)


def residuals_of(
    est: Any, X: Any, y: Any, groups: Any, offset: Any, sample_weight: Any, *, standardised: bool, caller: str
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Compute residuals.

    Parameters
    ----------
    est : estimator
        Fitted regressor, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcomes.
    groups : array-like or None
        Labels of the grouping factors, for residuals conditional on random effects.
    offset, sample_weight : array-like of shape (n_rows,) or None
        As of the fit.
    standardised : bool
        Whether to divide by standard deviations under the model.
    caller : str
        Who asks, for messages.

    Returns
    -------
    fitted : ndarray of shape (n_rows,)
        Fitted values.
    residuals : ndarray of shape (n_rows,)
        Residuals.
    given : list of str or None
        Factors whose effects are part of `fitted`; None if the model has no random effects.
    """
    regressor_within(est, caller)
    model, X = last_step(est, X)
    mixed = bool(getattr(model, "levels_", {}))
    fitted = model.predict(X, groups=groups if mixed else None, offset=offset)
    residuals = numeric_rows(y, len(fitted), name="y") - fitted
    if standardised:
        weights = check_weights(sample_weight, len(fitted))
        conditional = mixed and groups is not None
        residuals = residuals / residual_sd(model, X, fitted, weights, conditional=conditional)
    if not mixed:
        return fitted, residuals, None
    return fitted, residuals, [] if groups is None else list(model.levels_)
