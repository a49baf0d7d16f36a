"""How pooling is drawn: in the plane of two coefficients, level by level, and against the number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.plotting._style import BLUE, GREY, VERMILLION, height_in_points, logarithmic, merge_style

__all__ = ["draw_levels", "draw_plane", "draw_sizes", "ellipse"]

_SMALLEST_TYPE = 6.0
# Own coefficients farther away than so many times their middle half is wide leave the picture.
_FARTHEST = 4.0
_GREEN = "#009E73"

Styles = tuple[Any, Any, Any]


def draw_plane(display: Any, ax: Any, shares: Sequence[float], styles: Styles) -> list[Any]:
    """Draw the first two coefficients against each other; return handles for the legend.

    Parameters
    ----------
    display : ShrinkageDisplay
        The display.
    ax : Axes
        Where.
    shares : sequence of float
        Shares of the population within ellipses.
    styles : tuple
        The user's styles.
    """
    own, partial = display.no_pooling[:, :2], display.partial_pooling[:, :2]
    handles = _draw_pairs(display, ax, own, partial, styles)
    handles.append(_draw_mark(ax, display.population[:2], "D", 11.0, "population of the mixed model", VERMILLION))
    handles.append(_draw_mark(ax, display.complete_pooling[:2], "X", 8.0, "complete pooling", _GREEN))
    outlines = []
    for number, share in enumerate(sorted(shares)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"ellipses hold shares of the population between 0 and 1, got {share!r}.")
        outlines.append(ellipse(display.population[:2], display.covariance[:2, :2], share))
        style = {"color": VERMILLION, "linewidth": 1.0, "linestyle": ("-", "--", ":")[number % 3], "zorder": 1.5}
        handles += ax.plot(*outlines[-1], label=f"{100.0 * share:g}% of levels", **style)
    for k, setter in enumerate((ax.set_xlim, ax.set_ylim)):
        shown = np.concatenate([partial[:, k], *(outline[k] for outline in outlines)])
        setter(_limits(own[:, k], shown, display.population[k], display.complete_pooling[k]))
    ax.set(xlabel=display.axis_label(0), ylabel=display.axis_label(1))
    return handles


def draw_levels(display: Any, ax: Any, k: int, styles: Styles) -> list[Any]:
    """Draw a coefficient in rows, a level each; return handles for the legend.

    Parameters
    ----------
    display : ShrinkageDisplay
        The display.
    ax : Axes
        Where.
    k : int
        Number of the coefficient.
    styles : tuple
        The user's styles.
    """
    first = np.where(np.isnan(display.no_pooling[:, 0]), display.partial_pooling[:, 0], display.no_pooling[:, 0])
    rows = np.argsort(np.argsort(first, kind="stable"), kind="stable").astype(float)
    own, partial = display.no_pooling[:, k], display.partial_pooling[:, k]
    handles = _draw_pairs(display, ax, np.column_stack([own, rows]), np.column_stack([partial, rows]), styles)
    handles += _draw_lines(ax.axvline, display.population[k], display.complete_pooling[k])
    ax.set_xlim(_limits(own, partial, display.population[k], display.complete_pooling[k]))
    ax.set_ylim(-1.0, len(rows))
    ax.set_xlabel(display.axis_label(k))
    if k == 0:
        _label_rows(display, ax, rows)
    ax.tick_params(axis="y", length=0)
    return handles


def draw_sizes(display: Any, ax: Any, k: int, styles: Styles) -> list[Any]:
    """Draw a coefficient against the number of rows; return handles for the legend.

    Parameters
    ----------
    display : ShrinkageDisplay
        The display.
    ax : Axes
        Where.
    k : int
        Number of the coefficient.
    styles : tuple
        The user's styles.
    """
    own, partial, sizes = display.no_pooling[:, k], display.partial_pooling[:, k], display.sizes.astype(float)
    handles = _draw_pairs(display, ax, np.column_stack([sizes, own]), np.column_stack([sizes, partial]), styles)
    handles += _draw_lines(ax.axhline, display.population[k], display.complete_pooling[k])
    ax.set_ylim(_limits(own, partial, display.population[k], display.complete_pooling[k]))
    if sizes.max() > 12.0 * sizes.min():
        logarithmic(ax, "x", (0.85 * sizes.min(), 1.15 * sizes.max()))
    ax.set(xlabel=f"rows of {display.factor}", ylabel=display.axis_label(k))
    return handles


def ellipse(centre: np.ndarray, covariance: np.ndarray, share: float, n_points: int = 181) -> np.ndarray:
    """Return points (2, n_points) of the ellipse that holds a share of a normal distribution.

    Parameters
    ----------
    centre : ndarray of shape (2,)
        Mean.
    covariance : ndarray of shape (2, 2)
        Covariance, of any rank.
    share : float
        Probability within.
    n_points : int, default=181
        Number of points.
    """
    values, vectors = np.linalg.eigh(covariance)
    angle = np.linspace(0.0, 2.0 * np.pi, n_points)
    radius = np.sqrt(-2.0 * np.log1p(-share))  # of chi-squared with two degrees of freedom
    circle = radius * np.sqrt(np.maximum(values, 0.0))[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return centre[:, None] + vectors @ circle


def _draw_pairs(display: Any, ax: Any, own: np.ndarray, partial: np.ndarray, styles: Styles) -> list[Any]:
    """Draw levels without and with pooling at points (n_levels, 2), and arrows between them."""
    from matplotlib.collections import PathCollection
    from matplotlib.quiver import Quiver

    n_levels = len(own)
    areas = _areas(display.sizes, n_levels)
    faint = float(np.clip(12.0 / np.sqrt(n_levels), 0.25, 0.9))
    has = np.isfinite(own).all(axis=1)
    head = 6.0 if n_levels < 100 else 4.0
    style = {"color": GREY, "alpha": 0.8 * faint, "units": "inches", "width": 0.011, "zorder": 1.8, "minlength": 0.1}
    style |= {"headwidth": head, "headlength": head + 2.0, "headaxislength": head + 1.0}
    moved = (partial - own)[has]
    display.arrows_.append(
        ax.quiver(
            *own[has].T,
            *moved.T,
            angles="xy",
            scale_units="xy",
            scale=1.0,
            **merge_style(style, styles[2], Quiver),
        )
    )
    handles = []
    for part, marker, label in [
        (has & ~display.uniform, "o", f"no pooling: {display.factor} alone"),
        (has & display.uniform, "^", "no pooling, all outcomes the same"),
    ]:
        if part.any():
            style = {"facecolors": "white", "edgecolors": GREY, "linewidths": 0.9, "s": areas[part], "marker": marker}
            style |= {"alpha": faint, "zorder": 2.0, "label": label}
            display.own_.append(ax.scatter(*own[part].T, **merge_style(style, styles[0], PathCollection)))
            handles.append(display.own_[-1])
    style = {"color": BLUE, "linewidths": 0.0, "s": areas, "alpha": faint, "zorder": 2.2, "label": "partial pooling"}
    display.partial_.append(ax.scatter(*partial.T, **merge_style(style, styles[1], PathCollection)))
    return [*handles, display.partial_[-1]]


def _areas(sizes: np.ndarray, n_levels: int) -> np.ndarray:
    """Return areas of marks that are proportional to numbers of rows, the largest as large as there is room for."""
    largest = float(np.clip(2500.0 / n_levels, 22.0, 70.0))
    return np.maximum(largest * sizes / sizes.max(), 4.0) if np.ptp(sizes) else np.full(n_levels, min(largest, 32.0))


def _draw_mark(ax: Any, point: np.ndarray, marker: str, size: float, label: str, colour: str) -> Any:
    style = {"markersize": size, "linestyle": "none", "markeredgecolor": "white", "zorder": 3.0, "label": label}
    return ax.plot(*point, marker=marker, color=colour, **style)[0]


def _draw_lines(draw: Any, population: float, complete: float) -> list[Any]:
    lines = [
        draw(population, color=VERMILLION, linewidth=1.4, zorder=1.2, label="population of the mixed model"),
        draw(complete, color=_GREEN, linewidth=1.4, linestyle="--", zorder=1.3, label="complete pooling"),
    ]
    return lines


def _limits(own: np.ndarray, partial: np.ndarray, *others: float) -> tuple[float, float]:
    """Return the ends of an axis: all is shown but own coefficients very far away."""
    known = own[np.isfinite(own)]
    shown = np.append(partial, others)
    if len(known):
        low, high = np.quantile(known, [0.25, 0.75])
        reach = _FARTHEST * max(high - low, np.ptp(shown) / _FARTHEST)
        shown = np.concatenate([shown, known[(known >= low - reach) & (known <= high + reach)]])
    left, right = shown.min(), shown.max()
    margin = 0.06 * (right - left) if right > left else 1.0
    return float(left - margin), float(right + margin)


def _label_rows(display: Any, ax: Any, rows: np.ndarray) -> None:
    """Write levels and their sizes beside the rows, if they can be read."""
    step = height_in_points(ax) / (len(rows) + 1.0)
    if step < _SMALLEST_TYPE:
        ax.set_yticks([])
        ax.set_ylabel(f"{display.factor} ({len(rows)} levels, sorted)")
        return
    varies = np.ptp(display.sizes) > 0
    order = np.argsort(rows)
    named = zip(display.levels[order], display.sizes[order], strict=True)
    labels = [f"{level} ({size:g})" if varies else f"{level}" for level, size in named]
    ax.set_yticks(rows[order], labels, fontsize=float(np.clip(0.9 * step, _SMALLEST_TYPE, 10.0)))
    ax.set_ylabel(f"{display.factor} (rows)" if varies else display.factor)
