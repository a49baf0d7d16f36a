"""`FittedLinesDisplay`: the fitted line of every cluster along a feature, beside that of the population."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._validation import check_offset, numeric_rows
from skdep.plotting._feature_lines import as_frame, feature_number, held_rows, population_and_fitted
from skdep.plotting._models import factor_codes, only_factor, regressor_within, target_name
from skdep.plotting._style import BLUE, CYCLE, GREY, divide, merge_style, panel_shape, pyplot, root_figure, tidy

__all__ = ["FittedLinesDisplay"]

_MOST = {"panels": 20, "together": 500}


class FittedLinesDisplay:
    """Fitted lines of clusters along one feature, over the data, beside the line of the population.

    Points are the outcomes as they are; other features are held in the lines only. Use `from_estimator` to make one.

    Parameters
    ----------
    x, y : ndarray of shape (n_rows,)
        Feature and outcome of the rows of the clusters.
    codes : ndarray of shape (n_rows,)
        Cluster of each row.
    levels : ndarray of shape (n_clusters,)
        Labels of the clusters.
    grid : ndarray of shape (n_clusters, n_points)
        Values of the feature, over the range of each cluster.
    fitted : ndarray of shape (n_clusters, n_points)
        Predictions for the clusters there, with their random effects.
    population : ndarray of shape (n_clusters, n_points)
        Predictions for the population there, other features as in the cluster.
    overall_grid, overall : ndarray of shape (n_points,)
        Line of the population over the range of all rows, other features as in all rows.
    feature, factor, target_name : str
        Names of the feature, the grouping factor and the outcome.
    n_levels : int or None, default=None
        Number of clusters, if more than those drawn.

    Attributes
    ----------
    ax_ : Axes
        The first panel, or the axes of all lines.
    axes_ : ndarray of Axes
        The panels in use.
    figure_ : Figure
        The figure.
    lines_ : list of Line2D
        The lines of the clusters.
    population_lines_ : list of Line2D
        The lines of the population: one a panel, or one.

    See Also
    --------
    CaterpillarDisplay : The random effects themselves.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.plotting import FittedLinesDisplay
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> display = FittedLinesDisplay.from_estimator(model, sleep.data, sleep.target, groups=sleep.groups)
    >>> display.levels[0], display.fitted[0, [0, -1]].round(1), display.population[0, [0, -1]].round(1)
    (np.int64(308), array([253.7, 430.7]), array([251.4, 345.6]))
    """

    def __init__(
        self,
        *,
        x: np.ndarray,
        y: np.ndarray,
        codes: np.ndarray,
        levels: np.ndarray,
        grid: np.ndarray,
        fitted: np.ndarray,
        population: np.ndarray,
        overall_grid: np.ndarray,
        overall: np.ndarray,
        feature: str = "x",
        factor: str = "group",
        target_name: str = "y",
        n_levels: int | None = None,
    ):
        self.x = x
        self.y = y
        self.codes = codes
        self.levels = levels
        self.grid = grid
        self.fitted = fitted
        self.population = population
        self.overall_grid = overall_grid
        self.overall = overall
        self.feature = feature
        self.factor = factor
        self.target_name = target_name
        self.n_levels = n_levels

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any,
        feature: str | int | None = None,
        factor: str | None = None,
        offset: Any = None,
        kind: str = "panels",
        max_clusters: int | None = None,
        grid_resolution: int = 50,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        population_kwargs: dict[str, Any] | None = None,
    ) -> FittedLinesDisplay:
        """Draw the fitted lines of a mixed model.

        Parameters
        ----------
        est : estimator
            Fitted mixed linear model, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features, as the pipeline takes them.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors)
            Labels of the grouping factors. Levels not seen in fit have the line of the population.
        feature : str or int, optional
            Feature along which lines are drawn; may be left out if there is only one. Other features are held at their
            mean within the cluster (over all rows, for the line of the population in ``kind="together"``); those that
            are no numbers, or categories of a formula, at their most frequent value.
        factor : str, optional
            Grouping factor whose levels are the clusters; may be left out if there is only one. Effects of other
            factors are zero in the lines.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor, held at its mean as other features are; that of a formula is made of
            what is held.
        kind : {"panels", "together"}, default="panels"
            A panel for every cluster, or all lines in one.
        max_clusters : int, optional
            Most clusters to draw; by default 20 in panels, 500 together. Of more, some are chosen from the one
            farthest below the population to the one farthest above, at even steps in that order.
        grid_resolution : int, default=50
            Number of points of a line.
        ax : Axes, optional
            Axes to draw in, divided into panels; by default a new figure.
        scatter_kwargs, line_kwargs, population_kwargs : dict, optional
            Style of the points (`PathCollection`), the lines of clusters and those of the population (`Line2D`).

        Returns
        -------
        display : FittedLinesDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no random effects, or is a classifier.
        ValueError
            If it was fitted without groups, groups are missing, or `feature`, `factor` or `kind` is not known.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import MixedLinear
        >>> from skdep.datasets import load_orthodont
        >>> from skdep.plotting import FittedLinesDisplay
        >>> study = load_orthodont()
        >>> X = study.data[["age"]]
        >>> model = MixedLinear().fit(X, study.target, groups=study.groups)
        >>> display = FittedLinesDisplay.from_estimator(model, X, study.target, groups=study.groups, kind="together")
        >>> display.ax_.get_xlabel(), display.ax_.get_ylabel(), len(display.lines_)
        ('age', 'distance', 27)
        """
        pyplot(f"{cls.__name__}.from_estimator")
        _check_kind(kind)
        model = regressor_within(est, cls.__name__)
        factor = only_factor(model, factor, cls.__name__)
        frame = as_frame(X)
        y_values = numeric_rows(y, len(frame), name="y")
        number = feature_number(frame, feature)
        codes, labels, known = factor_codes(model, factor, groups, len(frame))
        x = numeric_rows(frame.iloc[:, number], len(frame), name=f"feature {frame.columns[number]!r}")
        grid = _grids(x, codes, len(labels), grid_resolution)
        known_offset = check_offset(offset, len(frame))
        categories = getattr(getattr(est, "formula_", None), "categories", ())
        rows = held_rows(frame, codes, number, grid, categories)
        population, fitted = (
            part.reshape(grid.shape)
            for part in population_and_fitted(
                est, X, rows, factor, np.repeat(known, grid_resolution), _held(known_offset, codes, grid_resolution)
            )
        )
        everyone = np.zeros(len(frame), dtype=int)
        overall_grid = _grids(x, everyone, 1, grid_resolution)
        rows = held_rows(frame, everyone, number, overall_grid, categories)
        held = _held(known_offset, everyone, grid_resolution)
        overall, _ = population_and_fitted(est, X, rows, factor, None, held)
        chosen = _chosen(fitted - population, _MOST[kind] if max_clusters is None else max_clusters)
        kept = np.isin(codes, chosen)
        display = cls(
            x=x[kept],
            y=y_values[kept],
            codes=np.searchsorted(chosen, codes[kept]),
            levels=labels[chosen],
            grid=grid[chosen],
            fitted=fitted[chosen],
            population=population[chosen],
            overall_grid=overall_grid[0],
            overall=overall,
            feature=str(frame.columns[number]),
            factor=factor,
            target_name=target_name(y),
            n_levels=len(labels),
        )
        styles = {"scatter_kwargs": scatter_kwargs, "line_kwargs": line_kwargs, "population_kwargs": population_kwargs}
        return display.plot(ax, kind=kind, **styles)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "panels",
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        population_kwargs: dict[str, Any] | None = None,
    ) -> FittedLinesDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in, divided into panels; by default a new figure.
        kind : {"panels", "together"}, default="panels"
            A panel for every cluster, or all lines in one.
        scatter_kwargs, line_kwargs, population_kwargs : dict, optional
            Style of the points (`PathCollection`), the lines of clusters and those of the population (`Line2D`).

        Returns
        -------
        display : FittedLinesDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        _check_kind(kind)
        self.lines_: list[Any] = []
        self.population_lines_: list[Any] = []
        if kind == "together":
            self._plot_together(plt, ax, scatter_kwargs, line_kwargs, population_kwargs)
        else:
            self._plot_panels(plt, ax, scatter_kwargs, line_kwargs, population_kwargs)
        return self

    def _plot_panels(self, plt: Any, ax: Any, scatter_kwargs: Any, line_kwargs: Any, population_kwargs: Any) -> None:
        shape = panel_shape(len(self.levels))
        parent, panels = divide(plt, ax, shape, sharex=True, sharey=True)
        self.axes_ = panels.ravel()[: len(self.levels)]
        self.ax_, self.figure_ = self.axes_[0], root_figure(self.axes_[0])
        crowded = shape[1] > 3
        points = {"color": GREY, "s": 10.0 if crowded else 18.0, "linewidths": 0.0}
        for k, panel in enumerate(self.axes_):
            self._draw_rows(panel, self.codes == k, points, scatter_kwargs)
            style = {"color": "black", "linestyle": "--", "linewidth": 1.0, "zorder": 2.5}
            self._draw_line(panel, self.grid[k], self.population[k], style, population_kwargs, population=True)
            self._draw_line(panel, self.grid[k], self.fitted[k], {"color": BLUE, "linewidth": 1.6}, line_kwargs)
            panel.set_title(str(self.levels[k]), fontsize="small" if crowded else "medium", pad=3.0)
            panel.tick_params(labelsize="small" if crowded else "medium")
            panel.locator_params(nbins=3 if crowded else 6)
            tidy(panel)
        self._finish_panels(panels, parent)

    def _finish_panels(self, panels: np.ndarray, parent: Any) -> None:
        """Label the scales once for all panels; a panel above an empty place gets the scale of the place."""
        for unused in panels.ravel()[len(self.axes_) :]:
            unused.remove()
        for column in panels.T:
            lowest = [panel for panel in column if panel in self.axes_][-1]
            lowest.tick_params(labelbottom=True)
            for label in lowest.get_xticklabels():
                label.set_in_layout(lowest in panels[-1])  # rows stay equally spaced
        self.lines_[0].set_label(self._named_factor())
        self.population_lines_[0].set_label("population")
        handles = [self.lines_[0], self.population_lines_[0]]
        legend = {"handles": handles, "ncols": 2, "frameon": False, "fontsize": "small"}
        if parent is None:
            self.ax_.set(xlabel=self.feature, ylabel=self.target_name)
            self.ax_.legend(**legend)
        else:
            parent.legend(loc="outside upper center", **legend)
            parent.supxlabel(self.feature, fontsize="medium")
            parent.supylabel(self.target_name, fontsize="medium")

    def _plot_together(self, plt: Any, ax: Any, scatter_kwargs: Any, line_kwargs: Any, population_kwargs: Any) -> None:
        self.axes_ = divide(plt, ax, (1, 1))[1].ravel()
        self.ax_ = ax = self.axes_[0]
        self.figure_ = root_figure(ax)
        n_clusters, n_rows = len(self.levels), len(self.x)
        few = n_clusters <= len(CYCLE)
        size = float(np.clip(4000.0 / n_rows, 3.0, 18.0))
        thin = {"color": BLUE, "linewidth": 0.9, "alpha": float(np.clip(12.0 / n_clusters, 0.12, 0.7))}
        if not few:
            points = {"color": GREY, "s": size, "alpha": float(np.clip(300.0 / n_rows, 0.2, 0.6)), "linewidths": 0.0}
            self._draw_rows(ax, slice(None), points | {"rasterized": n_rows > 5000}, scatter_kwargs)
        for k in range(n_clusters):
            style = {"color": CYCLE[k], "linewidth": 1.6, "label": str(self.levels[k])} if few else thin
            if few:
                points = {"color": CYCLE[k], "s": size, "alpha": 0.6, "linewidths": 0.0}
                self._draw_rows(ax, self.codes == k, points, scatter_kwargs)
            self._draw_line(ax, self.grid[k], self.fitted[k], style, line_kwargs)
        style = {"color": "black", "linewidth": 2.4, "label": "population"} | ({"linestyle": "--"} if few else {})
        self._draw_line(ax, self.overall_grid, self.overall, style, population_kwargs, population=True)
        name = self._named_factor()
        if not few:
            self.lines_[0].set_label(name)
        handles = [*(self.lines_ if few else self.lines_[:1]), *self.population_lines_]
        legend = ax.legend(handles=handles, frameon=False, fontsize="small", title=name if few else None)
        for handle in legend.get_lines():
            handle.set_alpha(1.0)
        ax.set(xlabel=self.feature, ylabel=self.target_name)
        tidy(ax)

    def _named_factor(self) -> str:
        shown, total = len(self.levels), self.n_levels or len(self.levels)
        return f"{self.factor} ({shown} of {total})" if shown < total else self.factor

    def _draw_rows(self, ax: Any, rows: Any, default: dict[str, Any], given: Any) -> None:
        from matplotlib.collections import PathCollection

        ax.scatter(self.x[rows], self.y[rows], **merge_style(default | {"zorder": 1.0}, given, PathCollection))

    def _draw_line(
        self, ax: Any, x: np.ndarray, y: np.ndarray, default: dict[str, Any], given: Any, *, population: bool = False
    ) -> None:
        """Draw a line; where the feature does not vary it has no length, and becomes a dash."""
        from matplotlib.lines import Line2D

        if x[0] == x[-1]:
            default = default | {"marker": "_", "markersize": 10.0}
        (line,) = ax.plot(x, y, **merge_style(default, given, Line2D))
        (self.population_lines_ if population else self.lines_).append(line)


def _check_kind(kind: str) -> None:
    if kind not in ("panels", "together"):
        raise ValueError(f"kind must be 'panels' or 'together', got {kind!r}.")


def _grids(x: np.ndarray, codes: np.ndarray, n_clusters: int, n_points: int) -> np.ndarray:
    """Return evenly spaced points over the range of each cluster (n_clusters, n_points)."""
    low, high = np.full(n_clusters, np.inf), np.full(n_clusters, -np.inf)
    np.minimum.at(low, codes, x)
    np.maximum.at(high, codes, x)
    return np.linspace(low, high, n_points, axis=1)


def _held(offset: np.ndarray | None, codes: np.ndarray, n_points: int) -> np.ndarray | None:
    """Return the mean offset of each cluster, for the points of its line."""
    if offset is None:
        return None
    return np.repeat(np.bincount(codes, offset) / np.bincount(codes), n_points)


def _chosen(deviation: np.ndarray, most: int) -> np.ndarray:
    """Return which clusters are drawn, in increasing order: all, or some evenly spread over their mean deviations."""
    n_clusters = len(deviation)
    if most < 1:
        raise ValueError(f"max_clusters must be at least 1, got {most!r}.")
    if n_clusters <= most:
        return np.arange(n_clusters)
    order = np.argsort(deviation.mean(axis=1), kind="stable")
    ranks = np.linspace(0, n_clusters - 1, most) if most > 1 else np.array([0.5 * (n_clusters - 1)])
    return np.sort(order[ranks.round().astype(int)])
