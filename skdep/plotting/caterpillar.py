"""`CaterpillarDisplay`: predicted random effects in order, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from skdep.inference._access import unwrap
from skdep.plotting._models import effect_name, effect_number, factor_deviation, only_factor
from skdep.plotting._style import BLUE, GREY, divide, height_in_points, merge_style, pyplot, root_figure, tidy

__all__ = ["CaterpillarDisplay"]

_SMALLEST_TYPE = 6.0  # points; labels that would have to be smaller are left out


class CaterpillarDisplay:
    """Caterpillar plot: the random effects of a grouping factor in order, with intervals.

    Every random effect has a panel. Where levels can be labelled, a row is the same level in all of them; where there
    are too many, each panel has its own order. Filled symbols, in blue, are effects whose interval excludes zero. Use
    `from_estimator` to make one.

    Parameters
    ----------
    effects : ndarray of shape (n_levels, q)
        Predicted random effects, in the order of the rows, the lowest row first.
    lower, upper : ndarray of shape (n_levels, q)
        Ends of their intervals.
    levels : ndarray of shape (n_levels,)
        Labels of the levels.
    names : sequence of str
        Names of the effects.
    factor : str
        Name of the grouping factor.
    level : float or None, default=None
        Probability of the intervals.

    Attributes
    ----------
    ax_ : Axes
        The first panel.
    axes_ : ndarray of Axes of shape (q,)
        All panels.
    figure_ : Figure
        The figure.
    intervals_ : list of LineCollection
        The intervals by panel.
    excluding_, including_ : list of Line2D
        The effects whose interval excludes zero, and the others, by panel.

    See Also
    --------
    QQDisplay.from_random_effects : Whether random effects look normal.

    Notes
    -----
    Intervals are normal, of the conditional standard deviations at the estimated variances: their uncertainty is not
    counted. Those of a `BayesLogit` are credible intervals with equal tails, about posterior means, and count it. An
    interval compares a level with the population, not with another level: for that, and levels of about the
    same precision, look whether intervals of level 0.84 overlap [1]_.

    References
    ----------
    .. [1] Goldstein and Healy (1995), The graphical presentation of a collection of means, Journal of the Royal
       Statistical Society A 158, 175-177.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.plotting import CaterpillarDisplay
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> display = CaterpillarDisplay.from_estimator(model, sort_by="Days")
    >>> display.levels[[0, -1]], display.effects[[0, -1], 1].round(1)
    (array([335, 308]), array([-10.8,   9.2]))
    """

    def __init__(
        self,
        *,
        effects: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        levels: np.ndarray,
        names: Sequence[str],
        factor: str,
        level: float | None = None,
    ):
        self.effects = effects
        self.lower = lower
        self.upper = upper
        self.levels = levels
        self.names = names
        self.factor = factor
        self.level = level

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        factor: str | None = None,
        *,
        level: float = 0.95,
        sort_by: str | None = None,
        max_levels: int | None = None,
        ax: Any = None,
        interval_kwargs: dict[str, Any] | None = None,
        point_kwargs: dict[str, Any] | None = None,
    ) -> CaterpillarDisplay:
        """Draw the random effects of a fitted mixed model.

        Parameters
        ----------
        est : estimator
            Fitted mixed model or multilevel `BayesLogit`, or a pipeline or search around one.
        factor : str, optional
            Grouping factor; may be left out if there is only one.
        level : float, default=0.95
            Probability of the intervals.
        sort_by : str, optional
            Name of the random effect that levels are sorted by; by default the first.
        max_levels : int, optional
            Most levels to draw: half of them lowest, half of them highest. By default all are drawn.
        ax : Axes, optional
            Axes to draw in, divided if there are several effects; by default in a new figure.
        interval_kwargs, point_kwargs : dict, optional
            Style of the intervals (`LineCollection`) and of the effects (`Line2D`).

        Returns
        -------
        display : CaterpillarDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no random effects.
        ValueError
            If it was fitted without groups, or `factor` or `sort_by` is not known.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import MixedLinear
        >>> from skdep.datasets import load_orthodont
        >>> from skdep.plotting import CaterpillarDisplay
        >>> study = load_orthodont()
        >>> model = MixedLinear().fit(study.data[["age"]], study.target, groups=study.groups)
        >>> display = CaterpillarDisplay.from_estimator(model, level=0.9, max_levels=10)
        >>> display.ax_.get_xlabel()
        'deviation, 90% interval'
        """
        pyplot(f"{cls.__name__}.from_estimator")
        model = unwrap(est)
        factor = only_factor(model, factor, cls.__name__)
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for 95% intervals.")
        names = model.random_names_[factor]
        column = effect_number(names, sort_by, factor, parameter="sort_by")
        effects, lower, upper = _intervals(model, factor, level)
        order = np.argsort(effects[:, column], kind="stable")
        display = cls(
            effects=effects[order],
            lower=lower[order],
            upper=upper[order],
            levels=model.levels_[factor][order],
            names=names,
            factor=factor,
            level=level,
        )
        return display.plot(ax, max_levels=max_levels, interval_kwargs=interval_kwargs, point_kwargs=point_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        max_levels: int | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        point_kwargs: dict[str, Any] | None = None,
    ) -> CaterpillarDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in, divided if there are several effects; by default in a new figure.
        max_levels : int, optional
            Most levels to draw: half of them lowest, half of them highest. By default all are drawn.
        interval_kwargs, point_kwargs : dict, optional
            Style of the intervals (`LineCollection`) and of the effects (`Line2D`).

        Returns
        -------
        display : CaterpillarDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        shown, rows = _shown(len(self.levels), max_levels)
        n_panels = len(self.names)
        figsize = (max(6.4, 1.0 + 2.4 * n_panels), 4.8)
        parent, panels = divide(plt, ax, (1, n_panels), figsize=figsize, sharey=True)
        self.axes_ = panels.ravel()
        self.ax_, self.figure_ = self.axes_[0], root_figure(self.axes_[0])
        self.intervals_: list[Any] = []
        self.excluding_: list[Any] = []
        self.including_: list[Any] = []
        step = height_in_points(self.ax_) / (len(shown) + 1.0)
        for k in range(n_panels):
            self._draw_panel(k, shown, self._rows(k, shown, rows, step), step, interval_kwargs, point_kwargs)
        self._label_rows(shown, rows, step)
        self._explain_filling(parent)
        return self

    def _explain_filling(self, parent: Any) -> None:
        handles = [points for points in self.excluding_ if len(points.get_xdata())][:1]
        if not handles:
            return
        legend = {"handles": handles, "fontsize": "small", "handletextpad": 0.2}
        legend["markerscale"] = 5.5 / max(handles[0].get_markersize(), 0.1)
        if parent is None:
            self.ax_.legend(loc="lower right", **legend)
        else:
            parent.legend(loc="outside upper right", frameon=False, **legend)

    def _rows(self, k: int, shown: np.ndarray, rows: np.ndarray, step: float) -> np.ndarray:
        """Return the row of each level in a panel: rows without labels need not be the same in all panels."""
        if step >= _SMALLEST_TYPE or len(shown) < len(self.levels):
            return rows
        return np.argsort(np.argsort(self.effects[:, k], kind="stable"))

    def _draw_panel(
        self, k: int, shown: np.ndarray, rows: np.ndarray, step: float, interval_kwargs: Any, point_kwargs: Any
    ) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D

        ax = self.axes_[k]
        effects, lower, upper = self.effects[shown, k], self.lower[shown, k], self.upper[shown, k]
        excludes = (lower > 0.0) | (upper < 0.0)
        dense = step < 3.0
        ax.axvline(0.0, color="black", linewidth=0.8, zorder=2.5 if dense else 1.0)
        default = {"colors": np.where(excludes, BLUE, GREY), "linewidths": float(np.clip(0.2 * step, 0.5, 1.6))}
        default |= {"alpha": 0.4 if dense else 1.0, "zorder": 2}
        style = merge_style(default, interval_kwargs, LineCollection)
        self.intervals_.append(ax.hlines(rows, lower, upper, **style))
        size = float(np.clip(0.55 * step, 1.5, 5.5))
        for part, colour, fill, name, kept in [
            (excludes, BLUE, BLUE, "interval excludes 0", self.excluding_),
            (~excludes, GREY, GREY if dense else "white", "interval includes 0", self.including_),
        ]:
            default = {"color": colour, "markerfacecolor": fill, "marker": "o", "markersize": size, "zorder": 3}
            default |= {"linestyle": "none", "markeredgewidth": 0.0 if dense else 1.0, "label": name}
            kept.extend(ax.plot(effects[part], rows[part], **merge_style(default, point_kwargs, Line2D)))
        if not self.effects[:, k].any() and not self.upper[:, k].any():
            ax.set(xlim=(-1.0, 1.0), xticks=[0.0])
            ax.text(0.04, 0.97, "variance estimated as 0", transform=ax.transAxes, va="top", fontsize="small")
        elif len(self.names) > 1:
            ax.locator_params(axis="x", nbins=4)
        interval = "" if self.level is None else f", {100.0 * self.level:.4g}% interval"
        ax.set_xlabel(f"deviation{interval}")
        ax.set_title(effect_name(self.names[k]), fontsize="medium")
        tidy(ax)

    def _label_rows(self, shown: np.ndarray, rows: np.ndarray, step: float) -> None:
        """Write the levels beside the rows, if they can be read; else say how many there are."""
        n_levels, n_hidden = len(self.levels), len(self.levels) - len(shown)
        ticks: list[float] = []
        labels: list[str] = []
        if step >= _SMALLEST_TYPE:
            ticks, labels = rows.tolist(), [str(level) for level in self.levels[shown]]
        if n_hidden:
            ticks.append(len(shown) // 2)
            labels.append(f"({n_hidden} not shown)")
        self.ax_.set_ylim(-1.0, rows[-1] + 1.0)
        self.ax_.set_yticks(ticks, labels, fontsize=float(np.clip(0.9 * step, _SMALLEST_TYPE, 10.0)))
        self.ax_.set_ylabel(self.factor if step >= _SMALLEST_TYPE else f"{self.factor} ({n_levels} levels, sorted)")
        for ax in self.axes_:
            ax.tick_params(axis="y", length=0, labelleft=ax is self.ax_)


def _intervals(model: Any, factor: str, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return effects, and the ends of their intervals, each (n_levels, q)."""
    tails = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    if hasattr(model, "draws_"):
        drawn = model._some_effects()[1][factor]
        lower, upper = np.quantile(drawn, tails, axis=0)
        return drawn.mean(axis=0), lower, upper
    effects, sds, _ = factor_deviation(model, factor)
    half = ndtri(tails[1]) * sds
    return effects, effects - half, effects + half


def _shown(n_levels: int, max_levels: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return which levels are drawn, and in which row each; the row of a gap stays empty."""
    if max_levels is None or n_levels <= max_levels:
        return np.arange(n_levels), np.arange(n_levels)
    if max_levels < 2:
        raise ValueError(f"max_levels must be at least 2, got {max_levels!r}: the lowest level and the highest.")
    n_low, n_high = max_levels // 2, max_levels - max_levels // 2
    shown = np.concatenate([np.arange(n_low), np.arange(n_levels - n_high, n_levels)])
    return shown, np.concatenate([np.arange(n_low), np.arange(n_low + 1, max_levels + 1)])
