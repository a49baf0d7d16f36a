"""What the displays share in drawing: matplotlib when it is there, colours, styles, and axes divided into panels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = [
    "BLUE",
    "CYCLE",
    "GREY",
    "VERMILLION",
    "divide",
    "height_in_points",
    "logarithmic",
    "merge_style",
    "new_axes",
    "panel_shape",
    "pyplot",
    "root_figure",
    "tidy",
]

# The palette of Okabe and Ito, told apart by colour-blind readers; its yellow is too pale for lines on white.
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#767676"
CYCLE = (BLUE, "#E69F00", "#009E73", VERMILLION, "#56B4E9", "#CC79A7")


def pyplot(caller: str) -> Any:
    """Return ``matplotlib.pyplot``; without matplotlib raise an ImportError that says what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which cannot be imported. It comes with the extra 'plot': "
            "pip install 'skdep[plot]'."
        ) from error
    return plt


def merge_style(defaults: Mapping[str, Any], given: Mapping[str, Any] | None, artist: Any) -> dict[str, Any]:
    """Return `defaults` with what the user gave instead, short names (``c``, ``lw``) understood.

    Parameters
    ----------
    defaults : mapping
        Style of the display, long names.
    given : mapping or None
        The user's style.
    artist : class
        Class of matplotlib that is drawn, which knows its short names.
    """
    from matplotlib.cbook import normalize_kwargs

    style = {**defaults, **normalize_kwargs(dict(given or {}), artist)}
    if "c" in style:  # of scatter, whose colours have two names
        style.pop("color", None)
    return style


def new_axes(plt: Any, ax: Any) -> Any:
    """Return the axes given, or those of a new figure."""
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def divide(
    plt: Any, ax: Any, shape: tuple[int, int], *, figsize: tuple[float, float] | None = None, **sharing: Any
) -> tuple[Any, np.ndarray]:
    """Return panels in a new figure, or in the place of the axes given.

    Parameters
    ----------
    plt : module
        ``matplotlib.pyplot``.
    ax : Axes or None
        Axes whose place is divided; a single panel is drawn in them, else they are hidden.
    shape : tuple of int
        Numbers of rows and columns.
    figsize : tuple of float, optional
        Size of a new figure in inches.
    **sharing
        ``sharex`` and ``sharey`` as of ``subplots``.

    Returns
    -------
    parent : Figure, SubFigure or None
        What holds the panels alone, with room for labels and legends common to them; None for a single one in axes
        given.
    panels : ndarray of Axes of that shape
        The panels.
    """
    if ax is not None and shape == (1, 1):
        return None, np.array([[ax]], dtype=object)
    if ax is None:
        parent = plt.figure(figsize=figsize, layout="constrained")
    else:
        if ax.get_subplotspec() is None:
            raise ValueError("ax was placed freely; to be divided into panels it must come from subplots or a grid.")
        ax.set_visible(False)
        parent = ax.figure.add_subfigure(ax.get_subplotspec())
        if parent.get_layout_engine() is None:
            parent.subplots_adjust(left=0.16, right=0.98, bottom=0.16, top=0.84, wspace=0.12, hspace=0.35)
    return parent, parent.subplots(*shape, squeeze=False, **sharing)


def root_figure(ax: Any) -> Any:
    """Return the figure that axes are in, also where a part of it holds them."""
    return ax.figure.canvas.figure


def panel_shape(n_panels: int, ratio: float = 4.0 / 3.0) -> tuple[int, int]:
    """Return numbers of rows and columns of a grid with few empty places, its panels about as wide as they are high."""
    typical = max(int(np.ceil(np.sqrt(0.9 * ratio * n_panels))), 1)
    choices = [(int(np.ceil(n_panels / columns)), columns) for columns in range(max(typical - 1, 1), typical + 2)]
    return min(choices, key=lambda shape: (shape[0] * shape[1] - n_panels, abs(shape[1] - typical)))


def tidy(ax: Any) -> None:
    """Leave out the frame where it carries no scale."""
    ax.spines[["top", "right"]].set_visible(False)


def logarithmic(ax: Any, which: str, limits: tuple[float, float]) -> None:
    """Make an axis logarithmic, with few numbers, as they are spoken.

    Parameters
    ----------
    ax : Axes
        The axes.
    which : {"x", "y"}
        Which axis.
    limits : tuple of float
        Its ends, both positive.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    ax.set(**{f"{which}scale": "log", f"{which}lim": limits})
    axis, span = getattr(ax, f"{which}axis"), limits[1] / limits[0]
    few = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]) if span < 4.0 else LogLocator(subs=(1.0, 2.0, 5.0))
    axis.set_major_locator(few if span < 1000.0 else LogLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def height_in_points(ax: Any) -> float:
    """Return the height of the axes in points, as far as it is known before the layout is made."""
    return float(ax.bbox.height / ax.figure.dpi * 72.0)
