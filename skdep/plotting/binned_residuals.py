"""`BinnedResidualsDisplay`: mean residuals of rows with about the same mean, for binary outcomes above all."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep._validation import check_weights
from skdep.families import Binomial
from skdep.formula.raw_rows import offset_of
from skdep.inference._residual_values import outcome_of, predicted_mean, relative_trials
from skdep.plotting._bins import bin_numbers, cluster_codes, squares_of_totals
from skdep.plotting._feature_lines import feature_values
from skdep.plotting._models import conditioning, last_step, target_name
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
        conditional: bool = False,
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
            A fitted classifier, or a GEE, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of clusters, whose rows err together.
        conditional : bool, default=False
            Whether the means of a mixed model are conditional on the effects of `groups`; else they are those of the
            population. Given the effects rows are independent, and the band is that without groups.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of rows in the means: numbers of rows where the model has frequency weights.
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
            If the data are malformed, the feature is not known, or groups to condition on are missing.
        ImportError
            If matplotlib is missing.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        within = conditioning(groups, conditional=conditional)
        model, mean, residual, variance, given = _residuals(est, X, y, within, offset, cls.__name__)
        weights = check_weights(sample_weight, len(mean))
        name = f"Fitted mean of {target_name(y)}{', given ' + ', '.join(given) if given else ''}"
        values, against = (mean, name) if feature is None else feature_values(X, feature)
        averages = _averages(
            values,
            residual,
            variance / np.maximum(relative_trials(model, mean + residual, weights), np.finfo(float).tiny),
            np.ones(len(mean)) if weights is None else weights,
            bin_numbers(values, int(np.clip(np.sqrt(len(mean)), 1, _MOST_BINS)) if n_bins is None else n_bins),
            [] if given else cluster_codes(groups, len(mean)),
            frequency=getattr(model, "weight_type", "frequency") == "frequency",
        )
        display = cls(**averages, against=against)
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


def _residuals(
    est: Any, X: Any, y: Any, groups: Any, offset: Any, caller: str
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, list[str] | None]:
    """Return the model, fitted means, residuals, variances of the outcome under the model, and what means are given."""
    offset = offset_of(est, X, offset)
    model, reached = last_step(est, X)
    family = Binomial() if hasattr(model, "classes_") else getattr(model, "_family", None)
    if family is None:
        raise TypeError(
            f"{caller} is for binary outcomes and those of a family; for {type(model).__name__} use ResidualsDisplay."
        )
    mean, given = predicted_mean(model, reached, groups, offset)
    residual = outcome_of(model, y, len(mean)) - mean
    return model, mean, residual, getattr(model, "scale_", 1.0) * family.variance(mean), given


def _averages(
    values: np.ndarray,
    residual: np.ndarray,
    variance: np.ndarray,
    mass: np.ndarray,
    bins: np.ndarray,
    factors: list[np.ndarray],
    *,
    frequency: bool,
) -> dict[str, np.ndarray]:
    """Return means of each bin, and standard errors of the mean residuals.

    A frequency weight is so many rows; of another weight a row counts once, and its share of the mean varies.
    """
    kept = mass > 0
    values, residual, variance, mass = values[kept], residual[kept], variance[kept], mass[kept]
    factors = [codes[kept] for codes in factors]
    bins = np.unique(bins[kept], return_inverse=True)[1]
    total, power = np.bincount(bins, mass), mass if frequency else mass**2
    effect = 1.0
    if factors:
        squares = float(np.sum(power * residual**2))
        together = float(squares_of_totals(bins, mass * residual, factors).sum())
        effect = together / squares if squares > 0 else 1.0
    return {
        "centre": np.bincount(bins, mass * values) / total,
        "mean_residual": np.bincount(bins, mass * residual) / total,
        "std_error": np.sqrt(effect * np.bincount(bins, power * variance)) / total,
        "n_rows": np.bincount(bins),
    }
