"""How the intervals of a fit are drawn in a forest plot, and how far its axis reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.plotting._style import CYCLE, merge_style

__all__ = ["draw_fit", "forest_limits"]

_MARKERS = ("o", "s", "D", "^", "v", "P")
# Intervals so many times as wide as the median one run out of the picture, and end in an arrow.
_MUCH_WIDER = 12.0


def draw_fit(display: Any, ax: Any, k: int, rows: np.ndarray, point_kwargs: Any, interval_kwargs: Any) -> None:
    """Draw estimates and intervals of a fit, with arrows where intervals run out of the picture.

    Parameters
    ----------
    display : CoefficientsDisplay
        The display.
    ax : Axes
        Where; its limits are set.
    k : int
        Number of the fit.
    rows : ndarray of shape (n_terms,)
        Vertical places.
    point_kwargs, interval_kwargs : dict or None
        The user's style.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    colour, marker = CYCLE[k % len(CYCLE)], _MARKERS[k % len(_MARKERS)]
    left, right = ax.get_xlim()
    lower, upper = display.lower[:, k], display.upper[:, k]
    has = ~np.isnan(lower) & ~np.isnan(upper)
    style = {"colors": colour, "linewidths": 1.6, "zorder": 2.0}
    ends = np.clip(lower[has], left, right), np.clip(upper[has], left, right)
    display.intervals_.append(ax.hlines(rows[has], *ends, **merge_style(style, interval_kwargs, LineCollection)))
    style = {"color": colour, "marker": marker, "markersize": 5.5, "linestyle": "none", "zorder": 3.0}
    style |= {"label": display.models[k], "markeredgecolor": "white", "markeredgewidth": 0.5}
    display.points_.extend(ax.plot(display.estimate[:, k], rows, **merge_style(style, point_kwargs, Line2D)))
    for beyond, edge, arrow in [(lower < left, left, "<"), (upper > right, right, ">")]:
        if beyond.any():
            style = {"color": colour, "marker": arrow, "markersize": 5.5, "linestyle": "none", "clip_on": False}
            display.arrows_.extend(ax.plot(np.full(beyond.sum(), edge), rows[beyond], **style))


def forest_limits(display: Any, reference: float) -> tuple[float, float]:
    """Return the ends of the axis: all is shown but the ends of intervals much wider than the others.

    Parameters
    ----------
    display : CoefficientsDisplay
        The display.
    reference : float
        Where there is no effect.
    """
    forward, back = (np.log, np.exp) if display.ratios else (np.asarray, np.asarray)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        estimate, low, high = (forward(part) for part in (display.estimate, display.lower, display.upper))
        width = np.where(np.isfinite(high - low), high - low, np.nan)
    usual = np.zeros(width.shape, dtype=bool)
    if np.isfinite(width).any():
        usual = width <= _MUCH_WIDER * np.nanmedian(width)
    shown = np.concatenate(
        [low[usual], high[usual], estimate[np.isnan(low) | np.isnan(high)], [float(forward(reference))]]
    )
    shown = shown[np.isfinite(shown)]
    left, right = float(shown.min()), float(shown.max())
    margin = 0.05 * (right - left) if right > left else 1.0
    return float(back(left - margin)), float(back(right + margin))
