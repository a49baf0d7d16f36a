"""`ShrinkageDisplay`: what clusters say by themselves, and what a mixed model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep.formula.raw_rows import offset_of
from skdep.plotting._models import effect_name, effect_number, last_step, only_factor, target_name
from skdep.plotting._pooling import pooling_of
from skdep.plotting._shrinkage_drawing import draw_levels, draw_plane, draw_sizes
from skdep.plotting._style import divide, pyplot, root_figure, tidy

__all__ = ["ShrinkageDisplay"]

_MOST_LABELLED = 45


class ShrinkageDisplay:
    """No, partial and complete pooling: the coefficients of clusters from their own rows, and in a mixed model.

    Hollow marks are clusters by themselves, filled ones, to which arrows lead, the same clusters in the mixed model;
    their area goes with the number of rows. Use `from_estimator` to make one.

    Parameters
    ----------
    no_pooling : ndarray of shape (n_levels, q)
        Coefficients of each level from its own rows, NaN where they do not determine them.
    partial_pooling : ndarray of shape (n_levels, q)
        Coefficients of each level in the mixed model.
    complete_pooling : ndarray of shape (q,)
        Coefficients from all rows, levels not told apart.
    population : ndarray of shape (q,)
        Coefficients of the mixed model about which those of the levels vary.
    covariance : ndarray of shape (q, q)
        Covariance of the random effects.
    sizes : ndarray of shape (n_levels,)
        Rows of each level.
    uniform : ndarray of bool of shape (n_levels,)
        Levels of a binary outcome whose outcomes are all the same.
    levels : ndarray of shape (n_levels,)
        Labels of the levels.
    names : sequence of str
        Names of the coefficients.
    factor : str
        Name of the grouping factor.
    scale_name : str, default="y"
        What the coefficients are on the scale of.

    Attributes
    ----------
    ax_ : Axes
        The first panel.
    axes_ : ndarray of Axes
        All panels.
    figure_ : Figure
        The figure.
    own_, partial_ : list of PathCollection
        Levels by themselves, those whose outcomes are all the same apart, and levels in the mixed model.
    arrows_ : list of Quiver
        From one to the other, by panel.

    See Also
    --------
    CaterpillarDisplay : Random effects with intervals.
    FittedLinesDisplay : The lines of the clusters over the data.

    Notes
    -----
    The three differ in pooling only. What else is in the model, coefficients of other features, effects of other
    factors and the offset, is held as fitted, and the columns whose coefficients vary are fitted to the rest: level by
    level, and to all rows at once. In a linear model the level's own coefficients b and those of the population m then
    make the mixed model's W b + (I - W) m with W = S (S + V)^-1, S the covariance of the effects and V that of b given
    the effect [1]_: the fewer rows, the farther the way to m. Arrows in a plane need not point to m, since an effect
    that is measured badly is predicted from its correlation with the other.

    Own coefficients are least squares; of a binary outcome those of logistic regression with Firth's penalty, finite
    also where all outcomes are the same, and then marked by triangles: without features it is
    log((s + 1/2) / (n - s + 1/2)), s of n rows being successes [2]_. The likelihood of such a level rises without end,
    so that a mixed model of large variance may place it farther out than the penalty does. Complete pooling is without
    penalty. Levels whose rows do not determine their coefficients (too few, or a feature constant) have no own mark and
    no arrow.

    Ellipses hold the stated shares of a normal population of levels.

    References
    ----------
    .. [1] Laird and Ware (1982), Random-effects models for longitudinal data, Biometrics 38, 963-974.
    .. [2] Firth (1993), Bias reduction of maximum likelihood estimates, Biometrika 80, 27-38.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.plotting import ShrinkageDisplay
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> display = ShrinkageDisplay.from_estimator(model, sleep.data, sleep.target, groups=sleep.groups)
    >>> display.no_pooling[8].round(1), display.partial_pooling[8].round(1), display.complete_pooling.round(1)
    (array([263. ,  -2.9]), array([251.1,  -0.3]), array([251.4,  10.5]))
    """

    def __init__(
        self,
        *,
        no_pooling: np.ndarray,
        partial_pooling: np.ndarray,
        complete_pooling: np.ndarray,
        population: np.ndarray,
        covariance: np.ndarray,
        sizes: np.ndarray,
        uniform: np.ndarray,
        levels: np.ndarray,
        names: Sequence[str],
        factor: str,
        scale_name: str = "y",
    ):
        self.no_pooling = no_pooling
        self.partial_pooling = partial_pooling
        self.complete_pooling = complete_pooling
        self.population = population
        self.covariance = covariance
        self.sizes = sizes
        self.uniform = uniform
        self.levels = levels
        self.names = names
        self.factor = factor
        self.scale_name = scale_name

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any,
        factor: str | None = None,
        effects: Sequence[str] | str | None = None,
        sample_weight: Any = None,
        offset: Any = None,
        kind: str = "auto",
        ellipses: Sequence[float] = (0.5, 0.95),
        ax: Any = None,
        own_kwargs: dict[str, Any] | None = None,
        partial_kwargs: dict[str, Any] | None = None,
        arrow_kwargs: dict[str, Any] | None = None,
    ) -> ShrinkageDisplay:
        """Draw the pooling of a fitted mixed model.

        Parameters
        ----------
        est : estimator
            Fitted `MixedLinear`, `MixedLogit` or multilevel `BayesLogit`, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features: the rows of the fit.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors)
            Labels of all grouping factors of the model.
        factor : str, optional
            The factor whose levels are compared; may be left out if there is only one.
        effects : sequence of str or str, optional
            Names of the random effects to draw: ``"Intercept"`` or features; by default all of the factor.
        sample_weight, offset : array-like of shape (n_rows,), optional
            As of the fit.
        kind : {"auto", "plane", "levels", "sizes"}, default="auto"
            ``"plane"`` draws the first two coefficients against each other; ``"levels"`` a row a level, sorted by its
            own coefficient, and ``"sizes"`` coefficients against the number of rows, a panel a coefficient. ``"auto"``
            is the plane where there are two coefficients or more; else rows, if they can be labelled or all levels
            are of the same size; else sizes.
        ellipses : sequence of float, default=(0.5, 0.95)
            Shares of the population that ellipses in the plane hold; none if empty.
        ax : Axes, optional
            Axes to draw in, divided if there are several panels; by default in a new figure.
        own_kwargs, partial_kwargs, arrow_kwargs : dict, optional
            Style of the marks without pooling and with partial pooling (`PathCollection`), and of the arrows
            (`Quiver`).

        Returns
        -------
        display : ShrinkageDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no random effects.
        ValueError
            If it was fitted without groups, no row belongs to a known level, or `factor`, `effects` or `kind` is not
            known.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import MixedLogit
        >>> from skdep.datasets import load_respiratory
        >>> from skdep.plotting import ShrinkageDisplay
        >>> trial = load_respiratory()
        >>> X = trial.data[["baseline", "age"]]
        >>> model = MixedLogit().fit(X, trial.target, groups=trial.groups)
        >>> display = ShrinkageDisplay.from_estimator(model, X, trial.target, groups=trial.groups)
        >>> display.names, len(display.levels), int(display.uniform.sum())
        (['Intercept'], 111, 63)
        """
        pyplot(f"{cls.__name__}.from_estimator")
        _check_kind(kind)
        offset = offset_of(est, X, offset)
        model, reached = last_step(est, X)
        factor = only_factor(model, factor, cls.__name__)
        known = model.random_names_[factor]
        wanted = list(known) if effects is None else [effects] if isinstance(effects, str) else list(effects)
        columns = [effect_number(known, name, factor, parameter="effects") for name in wanted]
        if not columns:
            raise ValueError(f"effects is empty; {factor!r} has {', '.join(map(repr, known))}.")
        found = pooling_of(model, reached, y, groups, factor, sample_weight, offset)
        name = target_name(y)
        display = cls(
            no_pooling=found.none[:, columns],
            partial_pooling=found.partial[:, columns],
            complete_pooling=found.complete[columns],
            population=found.population[columns],
            covariance=found.covariance[np.ix_(columns, columns)],
            sizes=found.sizes,
            uniform=found.uniform,
            levels=found.levels,
            names=[known[column] for column in columns],
            factor=factor,
            scale_name=f"log odds of {name}" if hasattr(model, "classes_") else name,
        )
        styles = {"own_kwargs": own_kwargs, "partial_kwargs": partial_kwargs, "arrow_kwargs": arrow_kwargs}
        return display.plot(ax, kind=kind, ellipses=ellipses, **styles)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "auto",
        ellipses: Sequence[float] = (0.5, 0.95),
        own_kwargs: dict[str, Any] | None = None,
        partial_kwargs: dict[str, Any] | None = None,
        arrow_kwargs: dict[str, Any] | None = None,
    ) -> ShrinkageDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in, divided if there are several panels; by default in a new figure.
        kind : {"auto", "plane", "levels", "sizes"}, default="auto"
            As in `from_estimator`.
        ellipses : sequence of float, default=(0.5, 0.95)
            Shares of the population that ellipses in the plane hold; none if empty.
        own_kwargs, partial_kwargs, arrow_kwargs : dict, optional
            Style of the marks without pooling and with partial pooling (`PathCollection`), and of the arrows
            (`Quiver`).

        Returns
        -------
        display : ShrinkageDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        kind = self._kind(kind)
        n_panels = 1 if kind == "plane" else len(self.names)
        parent, panels = divide(plt, ax, (1, n_panels), figsize=self._figsize(kind, n_panels), sharey=kind == "levels")
        self.axes_ = panels.ravel()
        self.ax_, self.figure_ = self.axes_[0], root_figure(self.axes_[0])
        self.own_: list[Any] = []
        self.partial_: list[Any] = []
        self.arrows_: list[Any] = []
        styles = (own_kwargs, partial_kwargs, arrow_kwargs)
        if kind == "plane":
            handles = draw_plane(self, self.ax_, ellipses, styles)
        else:
            draw = draw_levels if kind == "levels" else draw_sizes
            handles, *_ = [draw(self, panel, k, styles) for k, panel in enumerate(self.axes_)]
        for panel in self.axes_:
            tidy(panel)
        style = {"handles": handles, "frameon": False, "fontsize": "small", "ncols": 2, "title_fontsize": "small"}
        style["markerscale"] = 1.0 if len(self.levels) < 100 else 1.7
        style |= {"title": self._described(), "alignment": "left"}
        if parent is None or n_panels == 1:
            self.ax_.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, **style)
        else:
            parent.legend(loc="outside upper center", **style)
        return self

    def _kind(self, kind: str) -> str:
        _check_kind(kind)
        if kind == "plane" and len(self.names) < 2:
            raise ValueError(f"kind='plane' takes two coefficients, and only {self.names[0]!r} is drawn; use 'levels'.")
        if kind != "auto":
            return kind
        if len(self.names) > 1:
            return "plane"
        few = len(self.levels) <= _MOST_LABELLED or np.ptp(self.sizes) == 0
        return "levels" if few else "sizes"

    def _figsize(self, kind: str, n_panels: int) -> tuple[float, float]:
        if kind == "levels":
            rows = min(len(self.levels), _MOST_LABELLED)
            return max(6.4, 1.4 + 3.2 * n_panels), float(np.clip(1.4 + 0.17 * rows, 3.2, 9.0))
        return (6.4, 5.6) if n_panels == 1 else (3.4 * n_panels, 4.6)

    def axis_label(self, k: int) -> str:
        """Return what the axis of a coefficient is called.

        Parameters
        ----------
        k : int
            Number of the coefficient.
        """
        per = "" if self.names[k] == "Intercept" else " per unit"
        return f"{effect_name(self.names[k])} ({self.scale_name}{per})"

    def _described(self) -> str:
        """Say how many levels there are, and of what size."""
        low, high = self.sizes.min(), self.sizes.max()
        rows = f"{low:g} rows each" if low == high else f"{low:g} to {high:g} rows (area)"
        missing = int(np.isnan(self.no_pooling).any(axis=1).sum())
        without = f"; {missing} without estimates of their own" if missing else ""
        return f"{self.factor}: {len(self.levels)} levels, {rows}{without}"


def _check_kind(kind: str) -> None:
    if kind not in ("auto", "plane", "levels", "sizes"):
        raise ValueError(f"kind must be 'auto', 'plane', 'levels' or 'sizes', got {kind!r}.")
