"""`WorkingCorrelationDisplay`: the correlation that a GEE assumes beside the one seen in the residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skdep.gee.given_rows import GEEMetadata
from skdep.plotting._pair_correlations import PairClasses, pair_correlations
from skdep.plotting._style import CYCLE, GREY, merge_style, new_axes, pyplot, root_figure, tidy

__all__ = ["WorkingCorrelationDisplay"]

_DASHES = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "osD^vP"
# More fits than this have their legend beside the picture.
_MOST_INSIDE = 2


class WorkingCorrelationDisplay:
    """Working against empirical correlation of the rows of a cluster, by lag in time or by pair of times.

    Use `from_estimator` to make one.

    Parameters
    ----------
    by_lag : PairClasses
        Correlations by lag: ``.lag``, ``.n_pairs``, ``.seen``, ``.working`` (by name of the fit).
    by_pair : PairClasses or None, default=None
        The same by pair of times, which are ``.times``; None where there are many times.
    has_time : bool, default=True
        Whether lags are of time, not of the order of rows.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    seen_ : PathCollection or None
        Empirical correlations by lag; None in the picture by pair.
    pairs_ : PathCollection, dict of PathCollections or None
        Empirical correlations by pair of times; in the picture by pair one for each fit.
    lines_ : dict of Line2D
        Working correlations by name of the fit; in the picture by pair the diagonal.

    See Also
    --------
    skdep.inference.compare_correlations : Criteria to choose by.

    Notes
    -----
    Seen are mean products of Pearson residuals over the scale, the moment estimates of the correlations, with the
    denominators of the fit's `dof`. The working correlation at a lag is the mean over the pairs at that lag. Without
    `time` the order of rows in their cluster counts. Of more than two million pairs every k-th cluster is used; more
    than 40 distinct lags are put into 20 bins of equally many pairs.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.plotting import WorkingCorrelationDisplay
    >>> ohio = load_ohio()
    >>> rows = {"groups": ohio.groups, "time": ohio.time}
    >>> gee = GEEClassifier(working_correlation="ar1").fit(ohio.data, ohio.target, **rows)
    >>> display = WorkingCorrelationDisplay.from_estimator(gee, ohio.data, ohio.target, **rows)
    >>> display.by_lag.seen.round(2), display.by_lag.working["ar1"].round(2)
    (array([0.4 , 0.31, 0.3 ]), array([0.4 , 0.16, 0.06]))
    """

    def __init__(self, *, by_lag: PairClasses, by_pair: PairClasses | None = None, has_time: bool = True):
        self.by_lag = by_lag
        self.by_pair = by_pair
        self.has_time = has_time

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any,
        time: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
        strata: Any = None,
        fpc: Any = None,
        kind: str = "lag",
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> WorkingCorrelationDisplay:
        """Draw the working correlation of one fit, or of several.

        Parameters
        ----------
        est : GEERegressor, GEEClassifier, or mapping from names to such
            A fitted GEE, or a pipeline or search around one; or several by name, such as ``.fits`` of
            `skdep.inference.compare_correlations`. Residuals are those of the first.
        X : array-like of shape (n_rows, n_features)
            Features of the fit.
        y : array-like of shape (n_rows,)
            Outcomes of the fit.
        groups : array-like of shape (n_rows,) or (n_rows, n_levels)
            Clusters of the fit.
        time, sample_weight, offset, strata, fpc : array-like of shape (n_rows,), optional
            The rows' metadata, as in ``fit``.
        kind : {"lag", "pair"}, default="lag"
            ``"lag"`` draws correlations against the lag; ``"pair"`` sets the empirical correlation of each pair of
            times against the working one: a structure that fits has them on the diagonal.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        scatter_kwargs, line_kwargs : dict, optional
            Style of the empirical correlations (`PathCollection`) and of the lines (`Line2D`).

        Returns
        -------
        display : WorkingCorrelationDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If an estimator is no GEE, or its working correlation cannot tell how two rows correlate.
        ValueError
            If these are not the data of the fit, no cluster has two rows, or there are too many times for `kind`.
        ImportError
            If matplotlib is missing.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        metadata = GEEMetadata(groups, sample_weight, offset, time, strata, fpc)
        ests = est if isinstance(est, Mapping) else {_name(est): est}
        if not ests:
            raise ValueError("There is no fit to show: the mapping is empty.")
        by_lag, by_pair = pair_correlations(ests, X, y, metadata, cls.__name__)
        display = cls(by_lag=by_lag, by_pair=by_pair, has_time=time is not None)
        return display.plot(ax, kind=kind, scatter_kwargs=scatter_kwargs, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "lag",
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> WorkingCorrelationDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        kind : {"lag", "pair"}, default="lag"
            Against the lag, or empirical against working.
        scatter_kwargs, line_kwargs : dict, optional
            Style of the empirical correlations (`PathCollection`) and of the lines (`Line2D`).

        Returns
        -------
        display : WorkingCorrelationDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        if kind not in ("lag", "pair"):
            raise ValueError(f"kind must be 'lag' or 'pair', got {kind!r}.")
        if kind == "pair" and self.by_pair is None:
            raise ValueError("There are too many different times to show every pair of them; use kind='lag'.")
        self.ax_ = ax = new_axes(plt, ax)
        self.figure_ = root_figure(ax)
        if kind == "lag":
            self._plot_lags(ax, scatter_kwargs, line_kwargs)
        else:
            self._plot_pairs(ax, scatter_kwargs, line_kwargs)
        tidy(ax)
        return self

    def _plot_lags(self, ax: Any, scatter_kwargs: dict[str, Any] | None, line_kwargs: dict[str, Any] | None) -> None:
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        self.pairs_: Any = None
        if self.by_pair is not None and len(self.by_pair.lag) > len(self.by_lag.lag):
            style: dict[str, Any] = {
                "color": GREY,
                "s": 14.0,
                "linewidths": 0.0,
                "zorder": 2.5,
                "label": "seen, by pair of times",
            }
            self.pairs_ = ax.scatter(self.by_pair.lag, self.by_pair.seen, **style)
        style = {"color": "black", "s": 40.0, "linewidths": 0.0, "zorder": 3.0, "label": "seen, by lag"}
        style = merge_style(style, scatter_kwargs, PathCollection)
        self.seen_: Any = ax.scatter(self.by_lag.lag, self.by_lag.seen, **style)
        self.lines_: dict[str, Any] = {}
        for number, (name, values) in enumerate(self.by_lag.working.items()):
            default: dict[str, Any] = {"color": CYCLE[number % len(CYCLE)], "linestyle": _DASHES[number % len(_DASHES)]}
            default |= {"linewidth": 2.0, "label": name}
            if len(values) == 1:
                default |= {"marker": "_", "markersize": 24.0, "markeredgewidth": 2.0}
            style = merge_style(default, line_kwargs, Line2D)
            (self.lines_[name],) = ax.plot(self.by_lag.lag, values, **style)
        ax.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
        if len(self.by_lag.lag) <= 12:
            ax.set_xticks(self.by_lag.lag)
        ax.set(xlabel="Lag" if self.has_time else "Lag (rows)", ylabel="Correlation of residuals")
        _legend(ax, len(self.lines_))

    def _plot_pairs(self, ax: Any, scatter_kwargs: dict[str, Any] | None, line_kwargs: dict[str, Any] | None) -> None:
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        assert self.by_pair is not None
        self.seen_, self.pairs_ = None, {}
        for number, (name, values) in enumerate(self.by_pair.working.items()):
            default: dict[str, Any] = {"color": CYCLE[number % len(CYCLE)], "marker": _MARKERS[number % len(_MARKERS)]}
            default |= {"s": 30.0, "linewidths": 0.0, "alpha": 0.8, "zorder": 3.0, "label": name}
            style = merge_style(default, scatter_kwargs, PathCollection)
            self.pairs_[name] = ax.scatter(values, self.by_pair.seen, **style)
        style = merge_style({"color": GREY, "linewidth": 1.0}, line_kwargs, Line2D)
        ends = np.concatenate([np.zeros(1), self.by_pair.seen, *self.by_pair.working.values()])
        span = np.array([ends.min(), ends.max()])
        self.lines_ = {"diagonal": ax.plot(span, span, **style)[0]}
        ax.set(xlabel="Working correlation", ylabel="Correlation of residuals, by pair of times")
        _legend(ax, len(self.pairs_))


def _legend(ax: Any, n_fits: int) -> None:
    place = {} if n_fits <= _MOST_INSIDE else {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    ax.legend(frameon=False, fontsize=9, **place)


def _name(est: Any) -> str:
    """Return the name of the working correlation of a fit."""
    from skdep.inference._access import unwrap

    structure = getattr(unwrap(est), "working_correlation", None)
    return structure if isinstance(structure, str) else str(getattr(structure, "name", "") or type(structure).__name__)
