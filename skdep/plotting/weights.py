"""`WeightsDisplay`: a fit with and without sampling weights, how unequal these are, and what trimming them does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.plotting._style import BLUE, CYCLE, GREY, VERMILLION, divide, merge_style, pyplot, root_figure, tidy

__all__ = ["WeightsDisplay"]

_APART = 0.16  # half the distance between the two fits of a coefficient, in rows


class WeightsDisplay:
    """Both fits of `skdep.inference.weight_diagnostics`: coefficients with intervals, weights, and a trimming curve.

    Coefficients are those of features of standard deviation one, so that they share an axis. The trimming curve shows
    by how many standard errors of the unweighted fit each coefficient is away from it if weights are cut at a quantile
    of theirs: from the weighted fit, on the left, to the unweighted one. Use `from_estimator` or `from_diagnostics` to
    make one.

    Parameters
    ----------
    estimates, lower, upper : ndarray of shape (n_features, 2)
        Standardised coefficients and ends of their intervals, without and with weights.
    names : sequence of str
        Names of the features.
    level : float
        Probability of the intervals.
    edges : ndarray of shape (n_bins + 1,)
        Bins of the weights, which have mean one.
    counts : ndarray of shape (n_bins,)
        Rows in them.
    kish_deff : float
        Kish's design effect.
    cuts : ndarray of shape (n_cuts,)
        Quantiles at which weights are cut, from 1 (nowhere) to 0 (all are equal).
    changes : ndarray of shape (n_cuts, n_features)
        Changes of the coefficients from the unweighted fit, in its standard errors.

    Attributes
    ----------
    ax_ : Axes
        The first panel, of the coefficients.
    axes_ : ndarray of Axes of shape (3,)
        Panels of coefficients, weights, and the trimming curve.
    figure_ : Figure
        The figure.
    points_ : list of Line2D
        Coefficients without and with weights.
    intervals_ : list of LineCollection
        Their intervals.
    bars_ : BarContainer
        The weights.
    curves_ : list of Line2D
        Changes of the coefficients, by feature.

    See Also
    --------
    skdep.inference.weight_diagnostics : The figures behind it, tests, and an answer in words.

    Examples
    --------
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_api
    >>> from skdep.plotting import WeightsDisplay
    >>> api = load_api("strat")
    >>> design = {"sample_weight": api.sample_weight, "strata": api.strata}
    >>> display = WeightsDisplay.from_estimator(GEERegressor(), api.data, api.target, **design)
    >>> display.names
    ['ell', 'meals', 'mobility']
    >>> display.estimates.round(1).tolist()
    [[-12.7, -9.5], [-82.8, -90.8], [0.2, 2.7]]
    """

    def __init__(
        self,
        *,
        estimates: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        names: Sequence[str],
        level: float,
        edges: np.ndarray,
        counts: np.ndarray,
        kish_deff: float,
        cuts: np.ndarray,
        changes: np.ndarray,
    ):
        self.estimates = estimates
        self.lower = lower
        self.upper = upper
        self.names = names
        self.level = level
        self.edges = edges
        self.counts = counts
        self.kish_deff = kish_deff
        self.cuts = cuts
        self.changes = changes

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        level: float = 0.95,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> WeightsDisplay:
        """Compare fits with and without weights, and draw them.

        Parameters
        ----------
        est : estimator
            An estimator of skdep, fitted or not, or a pipeline or fitted search around one.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        level : float, default=0.95
            Probability of the intervals.
        ax : Axes, optional
            Axes whose place is divided into panels; by default a new figure.
        point_kwargs, interval_kwargs : dict, optional
            Style of the coefficients (`Line2D`) and of their intervals (`LineCollection`).
        **options
            Passed to `skdep.inference.weight_diagnostics`: ``sample_weight``, ``groups``, ``strata`` and others.

        Returns
        -------
        display : WeightsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If data are malformed or `level` is no probability.
        ImportError
            If matplotlib is missing.
        """
        from skdep.inference.weight_diagnostics import weight_diagnostics

        pyplot(f"{cls.__name__}.from_estimator")
        result = weight_diagnostics(est, X, y, **{"tests": (), **options})
        return cls.from_diagnostics(
            result, level=level, ax=ax, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs
        )

    @classmethod
    def from_diagnostics(
        cls,
        result: Any,
        *,
        level: float = 0.95,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> WeightsDisplay:
        """Draw a comparison of fits with and without weights.

        Parameters
        ----------
        result : WeightDiagnostics
            What `skdep.inference.weight_diagnostics` returned.
        level : float, default=0.95
            Probability of the intervals.
        ax : Axes, optional
            Axes whose place is divided into panels; by default a new figure.
        point_kwargs, interval_kwargs : dict, optional
            Style of the coefficients (`Line2D`) and of their intervals (`LineCollection`).

        Returns
        -------
        display : WeightsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `level` is no probability.
        ImportError
            If matplotlib is missing.
        """
        from skdep.inference._table import critical_value

        pyplot(f"{cls.__name__}.from_diagnostics")
        names = list(result.feature_scale.index)
        scale = result.feature_scale.to_numpy()[:, None]
        table = result.table.loc[names]
        estimates = scale * table[["unweighted", "weighted"]].to_numpy()
        errors = scale * table[["se_unweighted", "se_weighted"]].to_numpy()
        half = critical_value(level, result.residual_df) * errors
        curve = result.trimming["estimate"][names]
        changes = (curve - table["unweighted"]) / table["se_unweighted"]
        display = cls(
            estimates=estimates,
            lower=estimates - half,
            upper=estimates + half,
            names=names,
            level=level,
            edges=np.append(result.histogram["left"], result.histogram["right"].iloc[-1]),
            counts=result.histogram["count"].to_numpy(),
            kish_deff=result.kish_deff,
            cuts=curve.index.to_numpy(dtype=float),
            changes=changes.to_numpy(),
        )
        return display.plot(ax, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> WeightsDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes whose place is divided into panels; by default a new figure.
        point_kwargs, interval_kwargs : dict, optional
            Style of the coefficients (`Line2D`) and of their intervals (`LineCollection`).

        Returns
        -------
        display : WeightsDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        _, panels = divide(plt, ax, (1, 3), figsize=(12.0, 3.8))
        self.axes_ = panels.ravel()
        self.ax_, self.figure_ = self.axes_[0], root_figure(self.axes_[0])
        self._draw_coefficients(point_kwargs, interval_kwargs)
        self._draw_weights()
        self._draw_trimming()
        for panel in self.axes_:
            tidy(panel)
        return self

    def _draw_coefficients(self, point_kwargs: Any, interval_kwargs: Any) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D

        ax, rows = self.ax_, np.arange(len(self.names), dtype=float)
        ax.axvline(0.0, color="black", linewidth=0.8)
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        for fit, (label, colour, shift) in enumerate([("unweighted", GREY, -_APART), ("weighted", BLUE, _APART)]):
            style = merge_style({"colors": colour, "linewidths": 1.6, "zorder": 2}, interval_kwargs, LineCollection)
            self.intervals_.append(ax.hlines(rows + shift, self.lower[:, fit], self.upper[:, fit], **style))
            default = {"color": colour, "marker": "o" if fit else "s", "linestyle": "none", "markersize": 5.0}
            style = merge_style({**default, "label": label, "zorder": 3}, point_kwargs, Line2D)
            self.points_.extend(ax.plot(self.estimates[:, fit], rows + shift, **style))
        ax.set_yticks(rows, [str(name) for name in self.names])
        ax.set_ylim(len(rows) - 0.5, -0.5)  # the first feature on top
        ax.set_xlabel(f"coefficient x SD of the feature, {100.0 * self.level:.4g}% intervals")
        ax.legend(fontsize="small")

    def _draw_weights(self) -> None:
        ax = self.axes_[1]
        self.bars_ = ax.bar(
            self.edges[:-1], self.counts, np.diff(self.edges), align="edge", color=BLUE, edgecolor="white"
        )
        ax.axvline(1.0, color=VERMILLION, linewidth=1.0)
        ax.set_xlabel("weight / mean weight")
        ax.set_ylabel("rows")
        ax.set_title(f"Kish's design effect {self.kish_deff:.3g}", fontsize="medium")

    def _draw_trimming(self) -> None:
        """Draw how coefficients change, those that change most in colour."""
        ax = self.axes_[2]
        ax.axhline(0.0, color="black", linewidth=0.8)
        largest = np.argsort(-np.nan_to_num(np.abs(self.changes).max(axis=0)), kind="stable")
        colours = {int(feature): CYCLE[k] for k, feature in enumerate(largest[: len(CYCLE)])}
        self.curves_: list[Any] = []
        for feature, name in enumerate(self.names):
            label = str(name) if feature in colours else None
            style = {"color": colours.get(feature, GREY), "marker": "o", "markersize": 3.5, "label": label}
            self.curves_.extend(ax.plot(self.cuts, self.changes[:, feature], **style))
        ax.set_xlim(1.03, -0.03)
        ax.set_xticks([1.0, 0.75, 0.5, 0.25, 0.0], ["1\nweighted", "0.75", "0.5", "0.25", "0\nunweighted"])
        ax.set_xlabel("weights cut at quantile")
        ax.set_ylabel("change from unweighted (SE)")
        ax.legend(fontsize="small")
