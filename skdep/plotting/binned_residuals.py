"""`BinnedResidualsDisplay`: mean residuals of rows with about the same mean, for binary outcomes above all."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._validation import check_weights, numeric_rows
from skdep.clusters import encode_groups
from skdep.families import Binomial
from skdep.plotting._models import last_step, target_name
from skdep.plotting._style import BLUE, GREY, merge_style, new_axes, pyplot, root_figure, tidy

__all__ = ["BinnedResidualsDisplay"]

_MOST_BINS = 60


class BinnedResidualsDisplay:
    """Mean residuals in bins of rows, against the fitted mean or a feature, with the band that a right model keeps to.

    A single binary outcome has a residual of two values, which shows nothing; its mean over rows of about the same
    probability does. Use `from_estimator` to make one.

    Parameters
    ----------
    centre : ndarray of shape (n_bins,)
        Mean of the horizontal variable in each bin.
    mean_residual : ndarray of shape (n_bins,)
        Weighted mean of outcomes less fitted means.
    std_error : ndarray of shape (n_bins,)
        Its standard error if the model is right.
    n_rows : ndarray of shape (n_bins,)
        Rows in each bin.
    against : str, default="Fitted mean"
        Name of the horizontal variable.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    points_ : PathCollection
        The bins.
    band_ : list of Line2D
        Ends of the band, two standard errors below and above zero.

    See Also
    --------
    ResidualsDisplay : Residuals row by row, for outcomes of many values.

    Notes
    -----
    Standard errors are those of the family's variance at the fitted means. With `groups` they are multiplied by the
    root of one design effect, the ratio over all bins of squared residual totals of clusters to squared residuals: rows
    of a cluster that lie in one bin err together. That the coefficients are estimated is not counted. About one bin in
    twenty lies outside of the band by chance.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_respiratory
    >>> from skdep.plotting import BinnedResidualsDisplay
    >>> trial = load_respiratory(as_frame=False)
    >>> gee = GEEClassifier(working_correlation="exchangeable").fit(trial.data, trial.target, groups=trial.groups)
    >>> display = BinnedResidualsDisplay.from_estimator(gee, trial.data, trial.target, groups=trial.groups)
    >>> len(display.centre)
    21
    """

    def __init__(
        self,
        *,
        centre: np.ndarray,
        mean_residual: np.ndarray,
        std_error: np.ndarray,
        n_rows: np.ndarray,
        against: str = "Fitted mean",
    ):
        self.centre = centre
        self.mean_residual = mean_residual
        self.std_error = std_error
        self.n_rows = n_rows
        self.against = against

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        offset: Any = None,
        sample_weight: Any = None,
        feature: str | int | None = None,
        n_bins: int | None = None,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> BinnedResidualsDisplay:
        """Draw binned residuals of a fit.

        Parameters
        ----------
        est : estimator
            A fitted classifier, or a GEE, or a pipeline or search around one; predictions are those of the population.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,), optional
            Labels of clusters, whose rows err together.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of rows in the means.
        feature : str or int, optional
            Name or number of a feature of X to bin by; by default the fitted mean.
        n_bins : int, optional
            Number of bins of equally many rows; by default the root of the number of rows, at most 60.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        scatter_kwargs, line_kwargs : dict, optional
            Style of the points (`PathCollection`) and of the band (`Line2D`).

        Returns
        -------
        display : BinnedResidualsDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the model has no family of outcomes.
        ValueError
            If the data are malformed, or the feature is not known.
        ImportError
            If matplotlib is missing.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        mean, residual, variance = _residuals(est, X, y, offset, cls.__name__)
        weights = check_weights(sample_weight, len(mean))
        values, against = (mean, f"Fitted mean of {target_name(y)}") if feature is None else _feature(X, feature)
        bins = _bins(values, n_bins)
        display = cls(**_averages(values, residual, variance, weights, bins, groups), against=against)
        return display.plot(ax, scatter_kwargs=scatter_kwargs, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> BinnedResidualsDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        scatter_kwargs, line_kwargs : dict, optional
            Style of the points (`PathCollection`) and of the band (`Line2D`).

        Returns
        -------
        display : BinnedResidualsDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        self.ax_ = ax = new_axes(plt, ax)
        self.figure_ = root_figure(ax)
        style = merge_style(
            {"color": BLUE, "s": 24.0, "linewidths": 0.0, "zorder": 3.0}, scatter_kwargs, PathCollection
        )
        self.points_ = ax.scatter(self.centre, self.mean_residual, **style)
        style = merge_style({"color": GREY, "linewidth": 1.2}, line_kwargs, Line2D)
        self.band_ = [ax.plot(self.centre, sign * 2.0 * self.std_error, **style)[0] for sign in (-1.0, 1.0)]
        ax.axhline(0.0, color="black", linewidth=0.8, zorder=1.5)
        ax.set(xlabel=self.against, ylabel="Mean residual, band of two standard errors")
        tidy(ax)
        return self


def _residuals(est: Any, X: Any, y: Any, offset: Any, caller: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fitted means, residuals, and variances of the outcome under the model."""
    model, reached = last_step(est, X)
    given = {} if offset is None else {"offset": offset}
    if hasattr(model, "classes_"):
        mean = model.predict_proba(reached, **given)[:, 1]
        outcome = (np.asarray(y).reshape(-1) == model.classes_[1]).astype(np.float64)
        family = Binomial()
    elif hasattr(model, "_family"):
        mean, family = model.predict(reached, **given), model._family
        outcome = numeric_rows(y, len(mean), name="y")
    else:
        raise TypeError(
            f"{caller} is for binary outcomes and those of a family; for {type(model).__name__} use ResidualsDisplay."
        )
    if len(outcome) != len(mean):
        raise ValueError(f"y has {len(outcome)} values for {len(mean)} rows; give exactly one value a row.")
    return mean, outcome - mean, getattr(model, "scale_", 1.0) * family.variance(mean)


def _feature(X: Any, feature: str | int) -> tuple[np.ndarray, str]:
    """Return a column of X by name or number."""
    columns = list(X.columns) if hasattr(X, "columns") else []
    if feature in columns:
        values = X[feature]
    elif isinstance(feature, int) and 0 <= feature < np.shape(X)[1]:
        values = X.iloc[:, feature] if hasattr(X, "iloc") else np.asarray(X)[:, feature]
    else:
        raise ValueError(f"There is no feature {feature!r}; X has {columns or f'{np.shape(X)[1]} columns'}.")
    name = columns[feature] if isinstance(feature, int) and feature not in columns and columns else feature
    return numeric_rows(values, len(X), name=str(name)), f"x{name}" if isinstance(name, int) else str(name)


def _bins(values: np.ndarray, n_bins: int | None) -> np.ndarray:
    """Return the number of each row's bin; rows with the same value share one."""
    n_rows = len(values)
    n_bins = int(np.clip(np.sqrt(n_rows), 1, _MOST_BINS)) if n_bins is None else n_bins
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins!r}.")
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * counts
    of_value = np.minimum((middle * n_bins / n_rows).astype(np.intp), n_bins - 1)
    return np.unique(of_value[number.reshape(-1)], return_inverse=True)[1]


def _averages(
    values: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    weights: np.ndarray | None,
    bins: np.ndarray,
    groups: Any,
) -> dict[str, np.ndarray]:
    """Return means of each bin, and standard errors of the mean residuals."""
    mass = np.ones(len(values)) if weights is None else weights
    kept = mass > 0
    values, residual, variance, mass = values[kept], residual[kept], variance[kept], mass[kept]
    bins = np.unique(bins[kept], return_inverse=True)[1]
    total = np.bincount(bins, mass)
    effect = 1.0
    if groups is not None:
        cluster = encode_groups(groups, len(kept))[0][kept]
        _, cell = np.unique(bins * (int(cluster.max()) + 1) + cluster, return_inverse=True)
        squares = float(np.sum((mass * residual) ** 2))
        effect = float(np.sum(np.bincount(cell, mass * residual) ** 2)) / squares if squares > 0 else 1.0
    return {
        "centre": np.bincount(bins, mass * values) / total,
        "mean_residual": np.bincount(bins, mass * residual) / total,
        "std_error": np.sqrt(effect * np.bincount(bins, mass**2 * variance)) / total,
        "n_rows": np.bincount(bins),
    }
