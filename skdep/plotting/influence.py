"""`InfluenceDisplay`: which clusters matter most for the estimates."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.inference.influence import Influence, influence
from skdep.plotting._style import BLUE, GREY, VERMILLION, merge_style, new_axes, pyplot, root_figure, tidy

__all__ = ["InfluenceDisplay"]

_MOST_STEMS = 400


class InfluenceDisplay:
    """Cook's distance of each cluster, or its effect on one coefficient, the most influential named.

    Use `from_estimator` or `from_influence` to make one.

    Parameters
    ----------
    labels : ndarray of shape (n_clusters,)
        Labels of the clusters, in the order drawn.
    values : ndarray of shape (n_clusters,)
        Cook's distances, or changes of the coefficient in standard errors; NaN where it cannot be estimated without the
        cluster.
    coefficient : str or None, default=None
        Name of the coefficient; None for Cook's distance.
    factor_name : str, default="group"
        Name of the grouping factor.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    points_ : PathCollection
        The clusters.
    stems_ : LineCollection or None
        Lines from zero to the points; None for many clusters.
    limits_ : list of Line2D
        Of a coefficient, the lines at plus and minus 2 over the root of the number of clusters.
    texts_ : list of Annotation
        Labels of the most influential clusters.

    See Also
    --------
    skdep.inference.influence : The numbers, and what they mean.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_epil
    >>> from skdep.plotting import InfluenceDisplay
    >>> epil = load_epil()
    >>> X = np.log(epil.data[["base", "age"]])
    >>> gee = GEERegressor("poisson", working_correlation="exchangeable").fit(X, epil.target, groups=epil.groups)
    >>> display = InfluenceDisplay.from_estimator(gee, X, epil.target, groups=epil.groups)
    >>> display.texts_[0].get_text()
    '49'
    """

    def __init__(
        self,
        *,
        labels: np.ndarray,
        values: np.ndarray,
        coefficient: str | None = None,
        factor_name: str = "group",
    ):
        self.labels = labels
        self.values = values
        self.coefficient = coefficient
        self.factor_name = factor_name

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
        time: Any = None,
        strata: Any = None,
        fpc: Any = None,
        coefficient: str | None = None,
        n_labels: int = 5,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> InfluenceDisplay:
        """Draw the influence of the clusters of a fit.

        Parameters
        ----------
        est : GEERegressor, GEEClassifier or LogitRegressor
            A fitted model, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features of the fit.
        y : array-like of shape (n_rows,)
            Outcomes of the fit.
        groups, sample_weight, offset, time, strata, fpc : array-like, optional
            The rows' metadata, as in ``fit``.
        coefficient : str, optional
            Name of a coefficient, whose DFBETAS are drawn; by default Cook's distances are.
        n_labels : int, default=5
            How many clusters to name.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        scatter_kwargs : dict, optional
            Style of the points (`PathCollection`).

        Returns
        -------
        display : InfluenceDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If these are not the data of the fit, or the coefficient is not known.
        TypeError
            If the estimator is another one.
        ImportError
            If matplotlib is missing.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        metadata = {"sample_weight": sample_weight, "offset": offset, "time": time, "strata": strata, "fpc": fpc}
        found = influence(est, X, y, groups=groups, **metadata)
        return cls.from_influence(
            found, coefficient=coefficient, n_labels=n_labels, ax=ax, scatter_kwargs=scatter_kwargs
        )

    @classmethod
    def from_influence(
        cls,
        found: Influence,
        *,
        coefficient: str | None = None,
        n_labels: int = 5,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> InfluenceDisplay:
        """Draw what `skdep.inference.influence` found.

        Parameters
        ----------
        found : Influence
            Its result.
        coefficient : str, optional
            Name of a coefficient, whose DFBETAS are drawn; by default Cook's distances are.
        n_labels : int, default=5
            How many clusters to name.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        scatter_kwargs : dict, optional
            Style of the points (`PathCollection`).

        Returns
        -------
        display : InfluenceDisplay
            The display, drawn.
        """
        if coefficient is not None and coefficient not in found.dfbetas:
            raise ValueError(f"There is no coefficient {coefficient!r}; the model has {list(found.dfbetas)}.")
        values = found.clusters["cooks_distance"] if coefficient is None else found.dfbetas[coefficient]
        display = cls(
            labels=found.clusters.index.to_numpy(),
            values=values.to_numpy(),
            coefficient=coefficient,
            factor_name=str(found.clusters.index.name),
        )
        return display.plot(ax, n_labels=n_labels, scatter_kwargs=scatter_kwargs)

    def plot(
        self, ax: Any = None, *, n_labels: int = 5, scatter_kwargs: dict[str, Any] | None = None
    ) -> InfluenceDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        n_labels : int, default=5
            How many clusters to name.
        scatter_kwargs : dict, optional
            Style of the points (`PathCollection`).

        Returns
        -------
        display : InfluenceDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection

        self.ax_ = ax = new_axes(plt, ax)
        self.figure_ = root_figure(ax)
        number, n_clusters = np.arange(1, len(self.values) + 1), len(self.values)
        worst = self._worst(n_labels)
        colours = np.full(n_clusters, BLUE, dtype=object)
        colours[worst] = VERMILLION
        self.stems_ = None
        if n_clusters <= _MOST_STEMS:
            self.stems_ = ax.vlines(number, 0.0, self.values, colors=list(colours), linewidth=1.0, alpha=0.6)
        default = {"color": list(colours), "s": float(np.clip(6000.0 / n_clusters, 4.0, 22.0)), "linewidths": 0.0}
        default |= {"zorder": 3.0, "rasterized": n_clusters > 5000}
        self.points_ = ax.scatter(number, self.values, **merge_style(default, scatter_kwargs, PathCollection))
        ax.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
        self.limits_ = []
        if self.coefficient is not None:
            limit = 2.0 / np.sqrt(n_clusters)
            self.limits_ = [ax.axhline(end, color=GREY, linewidth=1.0, linestyle="--") for end in (-limit, limit)]
        self.texts_ = [self._name(ax, row) for row in worst]
        what = "Cook's distance" if self.coefficient is None else f"Effect on {self.coefficient} (standard errors)"
        ax.set(xlabel=f"Cluster ({self.factor_name}), in order", ylabel=what)
        ax.margins(y=0.12)
        if self.coefficient is None:
            ax.set_ylim(bottom=-0.02 * ax.get_ylim()[1])
        tidy(ax)
        return self

    def _worst(self, n_labels: int) -> np.ndarray:
        """Return the most influential clusters of those that can be drawn, the largest first."""
        size = np.where(np.isfinite(self.values), np.abs(self.values), -np.inf)
        order = np.argsort(-size, kind="stable")[: max(n_labels, 0)]
        return order[np.isfinite(size[order])]

    def _name(self, ax: Any, row: int) -> Any:
        up = self.values[row] >= 0
        return ax.annotate(
            str(self.labels[row]),
            (row + 1, self.values[row]),
            xytext=(0, 4 if up else -4),
            textcoords="offset points",
            ha="center",
            va="bottom" if up else "top",
            fontsize=9,
        )
