"""`PosteriorDisplay`: what was believed before the data, and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.bayes.named_draws import prior_draws
from skdep.plotting._posteriors import PanelDisplay, bounds_of, density, finish_panel, interval_name, shown_draws
from skdep.plotting._style import BLUE, GREY, merge_style

__all__ = ["PosteriorDisplay"]

_N_POINTS = 256
# How many times its own width a posterior may be widened by, to show the middle of its prior.
_MOST_WIDENING = 3.0


class PosteriorDisplay(PanelDisplay):
    """Posterior densities of the parameters against their priors.

    Each parameter has a panel with the density of its posterior, filled over a credible interval, and that of its
    prior. Where both look alike the data have said nothing. Use `from_estimator` to make one.

    Parameters
    ----------
    grid : ndarray of shape (n_parameters, n_points)
        Where densities are known, by parameter.
    posterior, prior : ndarray of shape (n_parameters, n_points)
        The densities.
    intervals : ndarray of shape (n_parameters, 2)
        Ends of the credible intervals.
    names : sequence of str
        Names of the parameters.
    level : float or None, default=None
        Probability of the intervals.

    Attributes
    ----------
    ax_ : Axes
        The first panel.
    axes_ : ndarray of Axes of shape (n_parameters,)
        All panels.
    figure_ : Figure
        The figure.
    posteriors_, priors_ : list of Line2D
        The densities, by parameter.
    fills_ : list of PolyCollection
        The intervals, by parameter.

    See Also
    --------
    UpdatingDisplay : How the one turned into the other, batch by batch.
    TraceDisplay : Whether the draws can be believed.

    Notes
    -----
    Densities are estimated from draws by normal kernels, reflected at zero for standard deviations and at -1 and 1 for
    correlations. A panel shows the range of the posterior, widened towards the middle of the prior: a wide prior
    appears as a low, almost level line.

    Examples
    --------
    >>> from skdep import BayesLogit
    >>> from skdep.bayes import Normal
    >>> from skdep.datasets import load_ohio
    >>> from skdep.plotting import PosteriorDisplay
    >>> ohio = load_ohio()
    >>> model = BayesLogit({"smoke": Normal(0.5, 0.3)}, random_state=0).fit(ohio.data, ohio.target)
    >>> display = PosteriorDisplay.from_estimator(model, "smoke", level=0.9)
    >>> display.intervals.round(1)
    array([[0.1, 0.5]])
    """

    def __init__(
        self,
        *,
        grid: np.ndarray,
        posterior: np.ndarray,
        prior: np.ndarray,
        intervals: np.ndarray,
        names: Sequence[str],
        level: float | None = None,
    ):
        self.grid = grid
        self.posterior = posterior
        self.prior = prior
        self.intervals = intervals
        self.names = names
        self.level = level

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        parameters: Sequence[str] | str | None = None,
        *,
        level: float = 0.95,
        n_prior_draws: int = 20_000,
        random_state: int = 0,
        ax: Any = None,
        posterior_kwargs: dict[str, Any] | None = None,
        prior_kwargs: dict[str, Any] | None = None,
        fill_kwargs: dict[str, Any] | None = None,
    ) -> PosteriorDisplay:
        """Draw prior and posterior of a fitted Bayesian model.

        Parameters
        ----------
        est : estimator
            Fitted `BayesLogit`, or a pipeline or search around one.
        parameters : sequence of str or str, optional
            Parameters to show: ``"Intercept"``, features, ``"sd[factor, effect]"``, ``"correlation[factor, effect,
            effect]"``. By default all are shown.
        level : float, default=0.95
            Probability of the intervals, which have equal tails.
        n_prior_draws : int, default=20000
            Draws of the prior that its density is estimated from.
        random_state : int, default=0
            Their seed.
        ax : Axes, optional
            Axes to draw in, divided if there are several parameters; by default in a new figure.
        posterior_kwargs, prior_kwargs, fill_kwargs : dict, optional
            Style of the densities (`Line2D`) and of the intervals (`PolyCollection`).

        Returns
        -------
        display : PosteriorDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no posterior.
        ValueError
            If a parameter is not known, or `level` is no probability.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import BayesLogit
        >>> from skdep.plotting import PosteriorDisplay
        >>> model = BayesLogit(random_state=0).fit([[0], [1], [2], [3]], [0, 1, 0, 1])
        >>> len(PosteriorDisplay.from_estimator(model).axes_)
        2
        """
        model, names, drawn = shown_draws(est, parameters, cls.__name__)
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for 95% intervals.")
        before = prior_draws(model, n_prior_draws, random_state)
        grid, posterior, prior = (np.empty((len(names), _N_POINTS)) for _ in range(3))
        for k, name in enumerate(names):
            bounds, draws = bounds_of(name), drawn[name].ravel()
            grid[k] = _grid(draws, before[name], bounds)
            posterior[k] = density(draws, grid[k], bounds=bounds)
            prior[k] = density(before[name], grid[k], bounds=bounds)
        tails = [0.5 - 0.5 * level, 0.5 + 0.5 * level]
        intervals = np.array([np.quantile(drawn[name], tails) for name in names])
        display = cls(grid=grid, posterior=posterior, prior=prior, intervals=intervals, names=names, level=level)
        return display.plot(ax, posterior_kwargs=posterior_kwargs, prior_kwargs=prior_kwargs, fill_kwargs=fill_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        posterior_kwargs: dict[str, Any] | None = None,
        prior_kwargs: dict[str, Any] | None = None,
        fill_kwargs: dict[str, Any] | None = None,
    ) -> PosteriorDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in, divided if there are several parameters; by default in a new figure.
        posterior_kwargs, prior_kwargs, fill_kwargs : dict, optional
            Style of the densities (`Line2D`) and of the intervals (`PolyCollection`).

        Returns
        -------
        display : PosteriorDisplay
            The display itself.
        """
        self._make_panels(ax)
        self.posteriors_: list[Any] = []
        self.priors_: list[Any] = []
        self.fills_: list[Any] = []
        for k in range(len(self.names)):
            self._draw_panel(k, posterior_kwargs, prior_kwargs, fill_kwargs)
        self.ax_.legend(fontsize="small", frameon=False)
        return self

    def _draw_panel(self, k: int, posterior_kwargs: Any, prior_kwargs: Any, fill_kwargs: Any) -> None:
        from matplotlib.collections import PolyCollection
        from matplotlib.lines import Line2D

        ax, grid = self.axes_[k], self.grid[k]
        low, high = self.intervals[k]
        inside = np.concatenate([[low], grid[(grid > low) & (grid < high)], [high]])
        default: dict[str, Any] = {"color": BLUE, "alpha": 0.2, "linewidth": 0.0, "label": interval_name(self.level)}
        style = merge_style(default, fill_kwargs, PolyCollection)
        self.fills_.append(ax.fill_between(inside, np.interp(inside, grid, self.posterior[k]), **style))
        default = {"color": GREY, "linestyle": "--", "label": "prior"}
        self.priors_ += ax.plot(grid, self.prior[k], **merge_style(default, prior_kwargs, Line2D))
        default = {"color": BLUE, "label": "posterior"}
        self.posteriors_ += ax.plot(grid, self.posterior[k], **merge_style(default, posterior_kwargs, Line2D))
        finish_panel(ax, self.names[k], ax.axvline if grid[0] <= 0.0 <= grid[-1] else None)
        ax.set(yticks=[], xlim=(grid[0], grid[-1]))
        ax.set_ylim(bottom=0.0)
        ax.spines["left"].set_visible(False)


def _grid(draws: np.ndarray, before: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Return points over the range of the posterior, widened towards the middle of the prior."""
    low, high = np.quantile(draws, [0.001, 0.999])
    width = high - low
    low, high = low - 0.15 * width, high + 0.15 * width
    first, last = np.quantile(before, [0.1, 0.9])
    low, high = (
        max(min(low, first), low - _MOST_WIDENING * width),
        min(max(high, last), high + _MOST_WIDENING * width),
    )
    return np.linspace(max(low, bounds[0]), min(high, bounds[1]), _N_POINTS)
