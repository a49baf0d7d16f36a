"""`PartialResidualsDisplay`: whether features enter by straight lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep._validation import check_weights
from skdep.formula.raw_rows import offset_of
from skdep.inference._residual_values import outcome_of
from skdep.plotting._models import conditioning, last_step, target_name
from skdep.plotting._partial_residuals import working_residuals
from skdep.plotting._smooth import smooth_curve
from skdep.plotting._style import BLUE, VERMILLION, divide, merge_style, panel_shape, pyplot, root_figure, tidy

__all__ = ["PartialResidualsDisplay"]

_MOST_PANELS = 20
# Of working residuals outside of these quantiles panels are not made smaller: a rare outcome has huge ones.
_SHOWN = (0.01, 0.99)


class PartialResidualsDisplay:
    """Partial residuals against features, with the fitted line and a smooth one, a panel a feature.

    Where the smooth line bends away from the straight one, the feature should enter by another function. Use
    `from_estimator` to make one.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_panels)
        Values on the horizontal axes.
    component : ndarray of shape (n_rows, n_panels)
        What the feature adds to the linear predictor.
    partial_residuals : ndarray of shape (n_rows, n_panels)
        The same plus the working residual.
    weights : ndarray of shape (n_rows,)
        Weights of the rows in the smooth lines.
    names : sequence of str
        Names of the features.
    straight : sequence of bool
        By panel, whether the component is a straight line in x, else it is of several features.
    linear : bool, default=True
        Whether residuals are those of a linear model.
    scale_name : str, default="y"
        What the linear predictor is on the scale of.
    given : sequence of str or None, default=None
        Grouping factors whose effects are taken as known; none if those of the population are drawn; None if the model
        has no random effects.

    Attributes
    ----------
    ax_ : Axes
        The first panel.
    axes_ : ndarray of Axes of shape (n_panels,)
        All panels.
    figure_ : Figure
        The figure.
    points_ : list of PathCollection
        The rows by panel.
    lines_ : list of Line2D
        The components by panel.
    smooths_ : list of Line2D
        The smooth lines; none if they were not asked for.

    See Also
    --------
    ResidualsDisplay : Residuals against fitted values or a feature.
    BinnedResidualsDisplay : Means of residuals against a feature, for binary outcomes and counts.

    Notes
    -----
    In a linear model the partial residual is y less the fitted mean plus b_j x_j. Of other links it is
    (y - m) g'(m) + b_j x_j with the mean m and the link g [1]_, so that all is on the scale of the linear predictor;
    of a binary outcome the points lie on two curves, and only the smooth line tells something [2]_. It is locally
    weighted regression with two thirds of the rows, weighted by the reciprocal variances of the residuals (times
    `sample_weight`), in linear models with three rounds against outliers.

    Mixed models: without groups residuals are those of the population, in which a logistic model has
    (y - h) / h' + b_j x_j, with h the probability averaged over the random effects and h' its derivative by the fixed
    part; with ``conditional=True`` random effects of `groups` are taken off as predicted. The line is b_j x_j in both,
    that of the population. Coefficients of a `BayesLogit` are its posterior means.

    Features are those that the estimator itself sees, after the steps of a pipeline. A product of features is a feature
    like any other: the component of x leaves out that of x times z, whose panel is its own. Features that belong
    together, as x and its square, are drawn as one by giving them as a tuple: their components are added up, and drawn
    against the first of them, as points, since they need not be a line in it.

    References
    ----------
    .. [1] Fox (2016), Applied Regression Analysis and Generalized Linear Models, 3rd ed., Sage, chapters 12 and 15.
    .. [2] Landwehr, Pregibon and Shoemaker (1984), Graphical methods for assessing logistic regression models, Journal
       of the American Statistical Association 79, 61-71.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_dietox
    >>> from skdep.plotting import PartialResidualsDisplay
    >>> pigs = load_dietox()
    >>> X = pigs.data[["Time"]]
    >>> model = MixedLinear().fit(X, pigs.target, groups=pigs.groups)
    >>> display = PartialResidualsDisplay.from_estimator(model, X, pigs.target, groups=pigs.groups, conditional=True)
    >>> display.partial_residuals.shape, display.names
    ((861, 1), ['Time'])
    """

    def __init__(
        self,
        *,
        x: np.ndarray,
        component: np.ndarray,
        partial_residuals: np.ndarray,
        weights: np.ndarray,
        names: Sequence[str],
        straight: Sequence[bool],
        linear: bool = True,
        scale_name: str = "y",
        given: Sequence[str] | None = None,
    ):
        self.x = x
        self.component = component
        self.partial_residuals = partial_residuals
        self.weights = weights
        self.names = names
        self.straight = straight
        self.linear = linear
        self.scale_name = scale_name
        self.given = given

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        features: Any = None,
        groups: Any = None,
        conditional: bool = False,
        offset: Any = None,
        sample_weight: Any = None,
        smooth: bool = True,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        smooth_kwargs: dict[str, Any] | None = None,
    ) -> PartialResidualsDisplay:
        """Draw the partial residuals of a fit.

        Parameters
        ----------
        est : estimator
            Fitted estimator, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        features : str, int, or sequence of str, int or tuples of these, optional
            Features as the estimator sees them, a panel each; a tuple is drawn together, against its first. By default
            all that vary.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, for residuals given random effects.
        conditional : bool, default=False
            Whether the effects of `groups` are taken off; else residuals are those of the population.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of rows in the smooth lines.
        smooth : bool, default=True
            Whether to draw the smooth lines.
        ax : Axes, optional
            Axes to draw in, divided if there are several panels; by default in a new figure.
        scatter_kwargs, line_kwargs, smooth_kwargs : dict, optional
            Style of the points (`PathCollection`), of the components and of the smooth lines (`Line2D`).

        Returns
        -------
        display : PartialResidualsDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is none of skdep.
        ValueError
            If a feature is not known, there are more than twenty, or groups to condition on are missing.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> import numpy as np
        >>> from skdep import LogitRegressor
        >>> from skdep.plotting import PartialResidualsDisplay
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=500)
        >>> y = rng.random(500) < 1 / (1 + np.exp(1 - x**2))
        >>> X = np.column_stack([x, x**2])
        >>> fit = LogitRegressor().fit(X, y)
        >>> display = PartialResidualsDisplay.from_estimator(fit, X, y, features=[("x0", "x1")])
        >>> display.names
        ['x0, x1']
        """
        pyplot(f"{cls.__name__}.from_estimator")
        model, reached = last_step(est, X)
        if not hasattr(model, "_linear_predictor"):
            raise TypeError(f"{cls.__name__} is for estimators of skdep, not {type(model).__name__}.")
        n_rows = np.shape(reached)[0]
        outcome = outcome_of(model, y, n_rows)
        found = working_residuals(
            model, reached, outcome, conditioning(groups, conditional=conditional), offset_of(model, X, offset)
        )
        known = [name for name in model._parameter_names() if not (name == "Intercept" and model.fit_intercept)]
        parts = _chosen(features, _names(est, known), found.X)
        coef, weights = np.ravel(model.coef_), check_weights(sample_weight, n_rows)
        component = np.column_stack([found.X[:, numbers] @ coef[numbers] for _, numbers in parts])
        name = target_name(y)
        display = cls(
            x=np.column_stack([found.X[:, numbers[0]] for _, numbers in parts]),
            component=component,
            partial_residuals=component + found.residuals[:, None],
            weights=found.weights if weights is None else found.weights * weights,
            names=[label for label, _ in parts],
            straight=[len(numbers) == 1 for _, numbers in parts],
            linear=found.linear,
            scale_name=_scale_name(model, name),
            given=found.given,
        )
        styles = {"scatter_kwargs": scatter_kwargs, "line_kwargs": line_kwargs, "smooth_kwargs": smooth_kwargs}
        return display.plot(ax, smooth=smooth, **styles)

    def plot(
        self,
        ax: Any = None,
        *,
        smooth: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        smooth_kwargs: dict[str, Any] | None = None,
    ) -> PartialResidualsDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in, divided if there are several panels; by default in a new figure.
        smooth : bool, default=True
            Whether to draw the smooth lines.
        scatter_kwargs, line_kwargs, smooth_kwargs : dict, optional
            Style of the points (`PathCollection`), of the components and of the smooth lines (`Line2D`).

        Returns
        -------
        display : PartialResidualsDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        n_panels = len(self.names)
        shape = (1, n_panels) if n_panels <= 3 else panel_shape(n_panels)
        parent, panels = divide(plt, ax, shape, figsize=(max(6.4, 3.4 * shape[1]), max(4.6, 2.9 * shape[0])))
        self.axes_ = panels.ravel()[:n_panels]
        for unused in panels.ravel()[n_panels:]:
            unused.remove()
        self.ax_, self.figure_ = self.axes_[0], root_figure(self.axes_[0])
        self.points_: list[Any] = []
        self.lines_: list[Any] = []
        self.smooths_: list[Any] = []
        for k, panel in enumerate(self.axes_):
            self._draw_panel(panel, k, smooth, scatter_kwargs, line_kwargs, smooth_kwargs)
        handles = [*self.lines_[:1], *self.smooths_[:1]]
        label = f"Partial residual ({self.scale_name}{self._of_whom()})"
        if parent is None or n_panels == 1:
            self.ax_.set_ylabel(label)
            self.ax_.legend(handles=handles, frameon=False, fontsize="small")
        else:
            parent.supylabel(label, fontsize="medium")
            parent.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize="small")
        return self

    def _draw_panel(self, ax: Any, k: int, smooth: bool, scatter: Any, line: Any, smoothed: Any) -> None:
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        x, y, n_rows = self.x[:, k], self.partial_residuals[:, k], len(self.x)
        style = {"color": BLUE, "s": float(np.clip(5000.0 / n_rows, 3.0, 18.0)), "linewidths": 0.0, "zorder": 1.0}
        style |= {"alpha": float(np.clip(45.0 / np.sqrt(n_rows), 0.05, 0.6)), "rasterized": n_rows > 5000}
        self.points_.append(ax.scatter(x, y, **merge_style(style, scatter, PathCollection)))
        order = np.argsort(x, kind="stable")
        ends = order[[0, -1]] if self.straight[k] else order
        style = {"color": "black", "linewidth": 1.4, "linestyle": "--", "zorder": 3.5, "label": "fitted"}
        if not self.straight[k]:
            style |= {"linestyle": "none", "marker": ".", "markersize": 3.0}
        self.lines_ += ax.plot(x[ends], self.component[ends, k], **merge_style(style, line, Line2D))
        shown = [y if self.linear else np.quantile(y, _SHOWN), self.component[:, k]]
        if smooth and np.ptp(x) > 0.0:
            at, curve = smooth_curve(x, y, weights=self.weights, n_robust=3 if self.linear else 0)
            style = {"color": VERMILLION, "linewidth": 2.0, "zorder": 3.0, "label": "smooth"}
            self.smooths_ += ax.plot(at, curve, **merge_style(style, smoothed, Line2D))
            shown.append(curve)
        values = np.concatenate(shown)
        low, high = float(values.min()), float(values.max())
        margin = 0.05 * (high - low) if high > low else 1.0
        ax.set(ylim=(low - margin, high + margin), xlabel=self.names[k])
        n_outside = int(((y < low - margin) | (y > high + margin)).sum())
        if n_outside:
            words = f"{n_outside} of {n_rows} rows outside"
            ax.set_title(words, fontsize="x-small", loc="right", pad=2.0, color="#555555")
        tidy(ax)

    def _of_whom(self) -> str:
        if self.given is None:
            return ""
        return f", given {', '.join(self.given)}" if self.given else ", population"


def _names(est: Any, known: list[str]) -> list[str]:
    """Return the names of the features that reach the estimator: its own, else those that the pipeline gives them."""
    generic = [f"x{j}" for j in range(len(known))]
    inner = getattr(est, "best_estimator_", est)
    if known != generic or not hasattr(inner, "steps") or len(inner.steps) < 2:
        return known
    try:
        names = [str(name) for name in inner[:-1].get_feature_names_out()]
    except (AttributeError, ValueError):
        return known
    return names if len(names) == len(known) else known


def _chosen(features: Any, known: list[str], X: np.ndarray) -> list[tuple[str, list[int]]]:
    """Return a label and columns of X for every panel."""
    if features is None:
        parts: list[Any] = [(j,) for j in range(len(known)) if np.ptp(X[:, j]) > 0.0]
        if not parts:
            raise ValueError("No feature varies, so that there is nothing to draw partial residuals against.")
    else:
        single = isinstance(features, str | int | np.integer)
        parts = [part if isinstance(part, tuple | list) else (part,) for part in ([features] if single else features)]
        if not parts or not all(len(part) for part in parts):
            raise ValueError("features is empty: name some, or leave it out for all.")
    if len(parts) > _MOST_PANELS:
        raise ValueError(f"There are {len(parts)} features, of which at most {_MOST_PANELS} are drawn: name some.")
    numbered = [[_number(feature, known) for feature in part] for part in parts]
    return [(", ".join(known[j] for j in numbers), numbers) for numbers in numbered]


def _number(feature: Any, known: list[str]) -> int:
    if isinstance(feature, str) and feature in known:
        return known.index(feature)
    if isinstance(feature, int | np.integer) and -len(known) <= feature < len(known):
        return int(feature) % len(known)
    raise ValueError(f"{feature!r} is no feature of the estimator, which has {', '.join(known[:20])}.")


def _scale_name(model: Any, name: str) -> str:
    """Return what the linear predictor is on the scale of."""
    link = getattr(model, "_link_name", "identity")
    if link == "identity":
        return name
    return {"logit": f"log odds of {name}", "log": f"log mean of {name}"}.get(link, f"{link} of {name}")
