"""`UpdatingDisplay`: how a prior turns into a posterior, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.plotting._posteriors import PanelDisplay, chosen_names, finish_panel, interval_name, posterior_within
from skdep.plotting._style import BLUE, GREY, merge_style

__all__ = ["UpdatingDisplay"]

# How many times the range of the posteriors a panel may be high, to show the prior.
_MOST_WIDENING = 1.5


class UpdatingDisplay(PanelDisplay):
    """A prior turning into a posterior over batches of data.

    Each parameter has a panel with its prior on the left, in grey, and after every batch the interval in which its
    posterior has 90% of its probability, with the median. Use `from_estimator` to make one.

    Parameters
    ----------
    lower, median, upper : ndarray of shape (1 + n_batches, n_parameters)
        Quantiles: of the prior, then after each batch.
    n_rows : ndarray of int of shape (n_batches,)
        Rows of each batch.
    names : sequence of str
        Names of the parameters.
    level : float or None, default=None
        Probability between the quantiles.

    Attributes
    ----------
    ax_ : Axes
        The first panel.
    axes_ : ndarray of Axes of shape (n_parameters,)
        All panels.
    figure_ : Figure
        The figure.
    intervals_ : list of LineCollection
        The intervals, by parameter.
    medians_ : list of Line2D
        The medians, by parameter.

    See Also
    --------
    PosteriorDisplay : The last posterior and the prior, as densities.

    Examples
    --------
    >>> from skdep import BayesLogit
    >>> from skdep.datasets import load_ohio
    >>> from skdep.plotting import UpdatingDisplay
    >>> ohio = load_ohio()
    >>> model = BayesLogit(random_state=0)
    >>> for age in (-2, -1, 0, 1):
    ...     year = ohio.data["age"] == age
    ...     model = model.partial_fit(ohio.data.loc[year, ["smoke"]], ohio.target[year], classes=[0, 1])
    >>> display = UpdatingDisplay.from_estimator(model)
    >>> display.n_rows
    array([537, 537, 537, 537])
    """

    def __init__(
        self,
        *,
        lower: np.ndarray,
        median: np.ndarray,
        upper: np.ndarray,
        n_rows: np.ndarray,
        names: Sequence[str],
        level: float | None = None,
    ):
        self.lower = lower
        self.median = median
        self.upper = upper
        self.n_rows = n_rows
        self.names = names
        self.level = level

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        parameters: Sequence[str] | str | None = None,
        *,
        ax: Any = None,
        interval_kwargs: dict[str, Any] | None = None,
        median_kwargs: dict[str, Any] | None = None,
    ) -> UpdatingDisplay:
        """Draw the history of a Bayesian model that was updated.

        Parameters
        ----------
        est : estimator
            `BayesLogit` after `partial_fit`, or a pipeline or search around one.
        parameters : sequence of str or str, optional
            Parameters to show: ``"Intercept"``, features, ``"sd[factor, effect]"``. By default all are shown.
        ax : Axes, optional
            Axes to draw in, divided if there are several parameters; by default in a new figure.
        interval_kwargs, median_kwargs : dict, optional
            Style of the intervals (`LineCollection`) and of the medians (`Line2D`).

        Returns
        -------
        display : UpdatingDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no posterior.
        ValueError
            If a parameter is not known.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import BayesLogit
        >>> from skdep.plotting import UpdatingDisplay
        >>> X, y = [[0], [1], [2], [3]], [0, 1, 0, 1]
        >>> model = BayesLogit(random_state=0).partial_fit(X, y, classes=[0, 1]).partial_fit(X, y)
        >>> UpdatingDisplay.from_estimator(model).median.shape
        (3, 2)
        """
        history = posterior_within(est, cls.__name__).history_
        names = chosen_names(list(history.names), parameters)
        places = [list(history.names).index(name) for name in names]
        stages = np.concatenate([history.prior_quantiles[None], history.quantiles])[:, :, places]
        display = cls(
            lower=stages[:, 0], median=stages[:, 1], upper=stages[:, 2], n_rows=history.n_rows, names=names, level=0.9
        )
        return display.plot(ax, interval_kwargs=interval_kwargs, median_kwargs=median_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        interval_kwargs: dict[str, Any] | None = None,
        median_kwargs: dict[str, Any] | None = None,
    ) -> UpdatingDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in, divided if there are several parameters; by default in a new figure.
        interval_kwargs, median_kwargs : dict, optional
            Style of the intervals (`LineCollection`) and of the medians (`Line2D`).

        Returns
        -------
        display : UpdatingDisplay
            The display itself.
        """
        parent = self._make_panels(ax, sharex=True)
        self.intervals_: list[Any] = []
        self.medians_: list[Any] = []
        for k in range(len(self.names)):
            self._draw_panel(k, interval_kwargs, median_kwargs)
        interval = "" if self.level is None else f", median and {interval_name(self.level)}"
        if parent is None:
            self.ax_.set_xlabel(f"batch{interval}")
        else:
            parent.supxlabel(f"batch{interval}", fontsize="medium")
        return self

    def _draw_panel(self, k: int, interval_kwargs: Any, median_kwargs: Any) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D

        ax, stages = self.axes_[k], np.arange(len(self.median))
        colours = np.where(stages == 0, GREY, BLUE)
        style = merge_style({"colors": colours, "linewidths": 2.0}, interval_kwargs, LineCollection)
        self.intervals_.append(ax.vlines(stages, self.lower[:, k], self.upper[:, k], **style))
        default = {"color": BLUE, "marker": "o", "markersize": 4.0, "linewidth": 0.8}
        self.medians_ += ax.plot(stages, self.median[:, k], **merge_style(default, median_kwargs, Line2D))
        ax.set_ylim(*self._limits(k))
        finish_panel(ax, self.names[k], ax.axhline)
        ax.set_xticks(*_ticks(len(stages)))
        ax.set_xlim(-0.5, stages[-1] + 0.5)

    def _limits(self, k: int) -> tuple[float, float]:
        """Return limits that show all posteriors; of the prior as much as leaves them readable."""
        lower, upper = self.lower[:, k], self.upper[:, k]
        if len(lower) == 1:
            return float(lower[0]), float(upper[0])
        low, high = lower[1:].min(), upper[1:].max()
        room = _MOST_WIDENING * (high - low)
        low, high = max(min(low, lower[0]), low - room), min(max(high, upper[0]), high + room)
        margin = 0.05 * (high - low)
        return float(low - margin), float(high + margin)


def _ticks(n_stages: int) -> tuple[list[int], list[str]]:
    """Return where the axis of batches has labels, and which."""
    step = max(int(np.ceil((n_stages - 1) / 8)), 1)
    numbers = list(range(step, n_stages, step))
    return [0, *numbers], ["prior", *map(str, numbers)]
