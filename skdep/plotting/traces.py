"""`TraceDisplay`: whether chains agree, by traces and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from skdep.bayes.convergence import convergence
from skdep.plotting._posteriors import shown_draws
from skdep.plotting._style import CYCLE, GREY, divide, merge_style, pyplot, root_figure, tidy

__all__ = ["TraceDisplay"]

_N_BINS = 20


class TraceDisplay:
    """Traces and rank plots of the draws of a posterior, to see whether chains agree.

    Every parameter has a row of two panels. On the left are the chains, draw after draw: they should look like noise,
    all over the same range. On the right all draws are ranked, and each chain's ranks counted in bins: chains that
    agree have about the same number everywhere [1]_. R-hat and effective draws are above. Use `from_estimator` to make
    one.

    Parameters
    ----------
    draws : ndarray of shape (n_parameters, n_chains, n_draws)
        Draws.
    names : sequence of str
        Names of the parameters.

    Attributes
    ----------
    ax_ : Axes
        The first panel.
    axes_ : ndarray of Axes of shape (n_parameters, 2)
        All panels.
    figure_ : Figure
        The figure.
    traces_, ranks_ : list of list of Line2D, list of list of StepPatch
        What is drawn of each chain, by parameter.

    See Also
    --------
    PosteriorDisplay : What the draws say.

    References
    ----------
    .. [1] Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and localization: an
       improved R-hat for assessing convergence of MCMC, Bayesian Analysis 16, 667-718.

    Examples
    --------
    >>> from skdep import BayesLogit
    >>> from skdep.datasets import load_ohio
    >>> from skdep.plotting import TraceDisplay
    >>> ohio = load_ohio()
    >>> model = BayesLogit(random_state=0).fit(ohio.data, ohio.target)
    >>> display = TraceDisplay.from_estimator(model, parameters=["age", "smoke"])
    >>> display.draws.shape
    (2, 4, 1000)
    """

    def __init__(self, *, draws: np.ndarray, names: Sequence[str]):
        self.draws = draws
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        parameters: Sequence[str] | str | None = None,
        *,
        ax: Any = None,
        trace_kwargs: dict[str, Any] | None = None,
        rank_kwargs: dict[str, Any] | None = None,
    ) -> TraceDisplay:
        """Draw the chains of a fitted Bayesian model.

        Parameters
        ----------
        est : estimator
            Fitted `BayesLogit`, or a pipeline or search around one.
        parameters : sequence of str or str, optional
            Parameters to show: ``"Intercept"``, features, ``"sd[factor, effect]"``, ``"correlation[factor, effect,
            effect]"``. By default all are shown.
        ax : Axes, optional
            Axes whose place is divided; by default a new figure.
        trace_kwargs, rank_kwargs : dict, optional
            Style of the traces (`Line2D`) and of the ranks (`StepPatch`).

        Returns
        -------
        display : TraceDisplay
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
        >>> from skdep.plotting import TraceDisplay
        >>> model = BayesLogit(random_state=0).fit([[0], [1], [2], [3]], [0, 1, 0, 1])
        >>> TraceDisplay.from_estimator(model).names
        ['Intercept', 'x0']
        """
        _, names, drawn = shown_draws(est, parameters, cls.__name__)
        display = cls(draws=np.array([drawn[name] for name in names]), names=names)
        return display.plot(ax, trace_kwargs=trace_kwargs, rank_kwargs=rank_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        trace_kwargs: dict[str, Any] | None = None,
        rank_kwargs: dict[str, Any] | None = None,
    ) -> TraceDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes whose place is divided; by default a new figure.
        trace_kwargs, rank_kwargs : dict, optional
            Style of the traces (`Line2D`) and of the ranks (`StepPatch`).

        Returns
        -------
        display : TraceDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        n = len(self.names)
        _, self.axes_ = divide(plt, ax, (n, 2), figsize=(8.0, 0.8 + 1.5 * n))
        self.ax_, self.figure_ = self.axes_[0, 0], root_figure(self.axes_[0, 0])
        self.traces_: list[list[Any]] = []
        self.ranks_: list[list[Any]] = []
        for (trace, ranks), name, draws in zip(self.axes_, self.names, self.draws, strict=True):
            self._draw_traces(trace, draws, trace_kwargs)
            self._draw_ranks(ranks, draws, rank_kwargs)
            trace.set_ylabel(name)
        self.axes_[-1, 0].set_xlabel("draw")
        self.axes_[-1, 1].set_xlabel("rank among the draws of all chains")
        return self

    def _draw_traces(self, ax: Any, draws: np.ndarray, given: dict[str, Any] | None) -> None:
        from matplotlib.lines import Line2D

        lines = []
        for chain, values in enumerate(draws):
            default = {"color": CYCLE[chain % len(CYCLE)], "linewidth": 0.5, "alpha": 0.7}
            lines += ax.plot(values, **merge_style(default, given, Line2D))
        self.traces_.append(lines)
        checks = convergence(draws)
        title = f"R-hat {checks.max_rhat:.3f}, effective draws {checks.min_ess_bulk:.0f}"
        ax.set_title(f"{title}, {checks.min_ess_tail:.0f} in the tails", fontsize="small", loc="left")
        ax.set_xlim(0, draws.shape[1] - 1)
        tidy(ax)

    def _draw_ranks(self, ax: Any, draws: np.ndarray, given: dict[str, Any] | None) -> None:
        from matplotlib.patches import StepPatch

        n_chains, n_draws = draws.shape
        ranks = rankdata(draws).reshape(draws.shape)
        edges = np.linspace(0.5, draws.size + 0.5, _N_BINS + 1)
        patches = []
        for chain in range(n_chains):
            counts, _ = np.histogram(ranks[chain], edges)
            default = {"edgecolor": CYCLE[chain % len(CYCLE)], "linewidth": 1.0}
            patches.append(ax.stairs(counts, edges, **merge_style(default, given, StepPatch)))
        self.ranks_.append(patches)
        expected = n_draws / _N_BINS
        ax.axhline(expected, color=GREY, linestyle="--", linewidth=1.0)
        ax.set_ylim(0.0, max(1.1 * ax.get_ylim()[1], 2.0 * expected))
        ax.set_xlim(edges[0], edges[-1])
        tidy(ax)
