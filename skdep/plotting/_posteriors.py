"""What the displays of posteriors share: the model, the parameters that are shown, a panel for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.bayes.named_draws import posterior_draws
from skdep.inference._access import unwrap
from skdep.plotting._style import divide, panel_shape, pyplot, root_figure, tidy

__all__ = [
    "PanelDisplay",
    "bounds_of",
    "chosen_names",
    "density",
    "finish_panel",
    "interval_name",
    "posterior_within",
    "shown_draws",
]

# Draws of a block whose kernels are added up at once.
_BLOCK = 4096


class PanelDisplay:
    """A display with a panel for each of its parameters."""

    names: Sequence[str]
    axes_: np.ndarray
    ax_: Any
    figure_: Any

    def _make_panels(self, ax: Any, **sharing: Any) -> Any:
        """Set ``axes_``, ``ax_`` and ``figure_``; return what holds the panels, None for a single one in `ax`.

        Parameters
        ----------
        ax : Axes or None
            Axes to draw in, divided if there are several panels; None for a new figure.
        **sharing
            ``sharex`` and ``sharey`` as of ``subplots``.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        shape, n_panels = panel_shape(len(self.names)), len(self.names)
        figsize = (max(6.4, 3.2 * shape[1]), max(3.6, 2.4 * shape[0]))
        parent, panels = divide(plt, ax, shape, figsize=figsize, **sharing)
        self.axes_ = panels.ravel()[:n_panels]
        for empty in panels.ravel()[n_panels:]:
            empty.set_visible(False)
        self.ax_, self.figure_ = self.axes_[0], root_figure(self.axes_[0])
        return parent


def posterior_within(est: Any, caller: str) -> Any:
    """Return the fitted Bayesian estimator within pipelines and searches; another one raises TypeError.

    Parameters
    ----------
    est : estimator
        Fitted estimator.
    caller : str
        Name of the display, for messages.
    """
    pyplot(f"{caller}.from_estimator")
    model = unwrap(est)
    if not hasattr(model, "draws_"):
        raise TypeError(f"{caller} shows draws of a posterior, and {type(model).__name__} has none; fit a BayesLogit.")
    return model


def shown_draws(
    est: Any, parameters: Sequence[str] | str | None, caller: str
) -> tuple[Any, list[str], dict[str, np.ndarray]]:
    """Return the model, the names of the parameters that are shown, and draws (n_chains, n_draws) by parameter.

    Parameters
    ----------
    est : estimator
        Fitted estimator.
    parameters : sequence of str, str or None
        What the user asked for.
    caller : str
        Name of the display, for messages.
    """
    model = posterior_within(est, caller)
    drawn = posterior_draws(model)
    return model, chosen_names(list(drawn), parameters), drawn


def bounds_of(name: str) -> tuple[float, float]:
    """Return between what a parameter lies: standard deviations above 0, correlations between -1 and 1."""
    if name.startswith("sd["):
        return 0.0, np.inf
    return (-1.0, 1.0) if name.startswith("correlation[") else (-np.inf, np.inf)


def interval_name(level: float | None) -> str:
    """Return what an interval is called."""
    return "interval" if level is None else f"{100.0 * level:.4g}% interval"


def finish_panel(ax: Any, name: str, draw_zero: Any) -> None:
    """Write the name of a parameter above its panel, and draw a line at zero unless it is a standard deviation.

    Parameters
    ----------
    ax : Axes
        The panel.
    name : str
        Name of the parameter.
    draw_zero : callable or None
        ``ax.axvline`` or ``ax.axhline``; None for no line.
    """
    if draw_zero is not None and bounds_of(name)[0] < 0.0:
        draw_zero(0.0, color="black", linewidth=0.8, zorder=1.0)
    ax.set_title(name, fontsize="medium")
    tidy(ax)


def chosen_names(known: Sequence[str], parameters: Sequence[str] | str | None) -> list[str]:
    """Return the parameters that are to be shown, all by default; an unknown name raises ValueError."""
    if parameters is None:
        return list(known)
    chosen = [parameters] if isinstance(parameters, str) else list(parameters)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ValueError(f"parameters={parameters!r}: the model has {', '.join(map(repr, known))}.")
    return chosen


def density(draws: np.ndarray, at: np.ndarray, *, bounds: tuple[float, float] = (-np.inf, np.inf)) -> np.ndarray:
    """Estimate a density by normal kernels, of a width that far tails do not widen.

    Parameters
    ----------
    draws : ndarray of shape (n_draws,)
        Draws.
    at : ndarray of shape (n_points,)
        Where.
    bounds : tuple of float, default=(-inf, inf)
        Between what draws lie: kernels are reflected at finite bounds, and the density is zero beyond.

    Returns
    -------
    ndarray of shape (n_points,)
        The density.
    """
    low, high = np.quantile(draws, [0.25, 0.75])
    width = 0.9 * min(float(np.std(draws)), (high - low) / 1.34) * len(draws) ** -0.2
    if not width > 0.0:
        raise ValueError("draws that are all the same have no density")
    mirrors = [bound for bound in bounds if np.isfinite(bound)]
    points = np.concatenate([at, *(2.0 * bound - at for bound in mirrors)])
    total = np.zeros(len(points))
    for begin in range(0, len(draws), _BLOCK):
        z = (points - draws[begin : begin + _BLOCK, None]) / width
        total += np.exp(-0.5 * z * z).sum(axis=0)
    total /= len(draws) * width * np.sqrt(2.0 * np.pi)
    folded = total.reshape(1 + len(mirrors), len(at)).sum(axis=0)
    return np.where((at < bounds[0]) | (at > bounds[1]), 0.0, folded)
