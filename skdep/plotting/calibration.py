"""`CalibrationDisplay`: do outcomes happen as often as they are predicted, clusters and all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skdep._validation import check_weights, numeric_rows
from skdep.families import Family
from skdep.formula.raw_rows import offset_of
from skdep.inference._residual_values import outcome_of, predicted_mean
from skdep.links import Identity, Link, Logit
from skdep.plotting._bins import bin_numbers, cluster_codes
from skdep.plotting._calibration_bins import IN_THE_LARGE, SLOPE, Rows, binned_means, calibration_table
from skdep.plotting._models import conditioning, last_step, target_name
from skdep.plotting._smooth import smooth_curve
from skdep.plotting._style import BLUE, VERMILLION, merge_style, pyplot, root_figure, tidy

__all__ = ["CalibrationDisplay"]


class CalibrationDisplay:
    """Observed means against predicted ones in bins, with intervals that count clusters, not rows.

    Of binary outcomes means are shares and probabilities. Use `from_estimator` to make one, or `from_predictions`.

    Parameters
    ----------
    predicted : ndarray of shape (n_bins,)
        Mean prediction of each bin.
    observed : ndarray of shape (n_bins,)
        Mean outcome.
    lower, upper : ndarray of shape (n_bins,)
        Ends of its interval, NaN where a bin has rows of one cluster only.
    n_rows : ndarray of shape (n_bins,)
        Rows in each bin.
    weight : ndarray of shape (n_bins,)
        Share of the total weight in each bin.
    table : Table
        Calibration intercept with the slope held at 1, and intercept and slope together, as of `coef_table`.
    curve : tuple of ndarray or None, default=None
        Predictions and the smooth calibration curve there.
    level : float, default=0.95
        Confidence level of the intervals.
    binary : bool, default=True
        Whether outcomes are binary.
    target_name : str, default="y"
        Name of the outcome.
    given : sequence of str or None, default=None
        Grouping factors whose effects are part of the predictions.
    clusters : str or None, default=None
        What the intervals take for clusters.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    points_ : Line2D
        The bins.
    intervals_ : LineCollection
        Their intervals.
    diagonal_ : Line2D
        Where observed and predicted means are the same.
    curve_ : Line2D or None
        The smooth calibration curve.

    See Also
    --------
    BinnedResidualsDisplay : The differences, against fitted means or a feature.

    Notes
    -----
    Bins have equally many rows. Given its predictions, the mean outcome of a bin has the variance of the mean of
    y - predicted: with groups that between totals of clusters in the bin, times C / (C - 1) with C clusters, and t with
    C - 1 degrees of freedom; without groups the binomial one, or that between rows. Intervals of shares are Wilson's
    for so many independent rows as would have that variance [1]_. Of several crossed factors variances are combined as
    in multiway clustering.

    Without ``conditional=True`` predictions are those of the population, for which rows of a cluster err together:
    intervals that do not know clusters are too short, often by much. With it predictions are given the effects of the
    clusters, which were fitted to the same outcomes: in the rows of the fit they look better calibrated than they are
    for new rows of the same clusters. Calibration in new clusters is that of the population, in rows not used to fit.

    The calibration slope is the coefficient in a regression of the outcome on the link of the prediction (log odds, of
    binary outcomes), with standard errors robust to clusters: below 1, predictions are too extreme. The intercept with
    the slope held at 1 says whether they are too low (above 0) or too high [2]_. Of a model with that link, fitted to
    these rows by maximum likelihood with an intercept, they are 1 and 0 by construction.

    References
    ----------
    .. [1] Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive counts
       estimated from survey data, Survey Methodology 24, 193-201.
    .. [2] Cox (1958), Two further applications of a model for binary regression, Biometrika 45, 562-565.

    Examples
    --------
    >>> from skdep import MixedLogit
    >>> from skdep.datasets import load_ohio
    >>> from skdep.plotting import CalibrationDisplay
    >>> ohio = load_ohio()
    >>> model = MixedLogit().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> display = CalibrationDisplay.from_estimator(model, ohio.data, ohio.target, groups=ohio.groups)
    >>> display.predicted.round(3), display.observed.round(3)
    (array([0.12 , 0.133, 0.147, 0.151, 0.162, 0.166, 0.182, 0.199]),
     array([0.106, 0.143, 0.149, 0.139, 0.16 , 0.183, 0.213, 0.166]))
    """

    def __init__(
        self,
        *,
        predicted: np.ndarray,
        observed: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        n_rows: np.ndarray,
        weight: np.ndarray,
        table: Any,
        curve: tuple[np.ndarray, np.ndarray] | None = None,
        level: float = 0.95,
        binary: bool = True,
        target_name: str = "y",
        given: Sequence[str] | None = None,
        clusters: str | None = None,
    ):
        self.predicted = predicted
        self.observed = observed
        self.lower = lower
        self.upper = upper
        self.n_rows = n_rows
        self.weight = weight
        self.table = table
        self.curve = curve
        self.level = level
        self.binary = binary
        self.target_name = target_name
        self.given = given
        self.clusters = clusters

    @property
    def mean_gap(self) -> float:
        """Mean over the bins, by weight, of the absolute difference between observed and predicted means.

        Of probabilities it is called the expected calibration error. Chance alone makes it positive, the more so the
        more bins there are: it compares models on the same rows, and is no test of one.
        """
        return float(np.sum(self.weight * np.abs(self.observed - self.predicted)))

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        conditional: bool = False,
        sample_weight: Any = None,
        offset: Any = None,
        n_bins: int = 10,
        smooth: bool = False,
        level: float = 0.95,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> CalibrationDisplay:
        """Draw the calibration of a fit.

        Parameters
        ----------
        est : estimator
            Fitted estimator, or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features, best of rows not used to fit.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of clusters, whose rows err together.
        conditional : bool, default=False
            Whether predictions of a mixed model are conditional on the effects of `groups`; else they are those of the
            population.
        sample_weight : array-like of shape (n_rows,), optional
            Weights: numbers of rows where the model has frequency weights.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.
        n_bins : int, default=10
            Number of bins of equally many rows; of predictions that coincide there are fewer.
        smooth : bool, default=False
            Whether to draw a smooth calibration curve as well, by locally weighted regression of all rows.
        level : float, default=0.95
            Confidence level of the intervals.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, interval_kwargs, line_kwargs : dict, optional
            Style of the bins (`Line2D`), the intervals (`LineCollection`) and the smooth curve (`Line2D`).

        Returns
        -------
        display : CalibrationDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is none of skdep.
        ValueError
            If the data are malformed, or groups to condition on are missing.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import GEERegressor
        >>> from skdep.datasets import load_epil
        >>> from skdep.plotting import CalibrationDisplay
        >>> epil = load_epil()
        >>> X = epil.data[["base", "age"]]
        >>> gee = GEERegressor(family="poisson").fit(X, epil.target, groups=epil.groups)
        >>> display = CalibrationDisplay.from_estimator(gee, X, epil.target, groups=epil.groups, n_bins=6)
        >>> display.table.loc["slope", ["estimate", "std_error"]].round(2).tolist()
        [1.0, 0.04]
        """
        pyplot(f"{cls.__name__}.from_estimator")
        model, reached = last_step(est, X)
        predicted, given = predicted_mean(
            model, reached, conditioning(groups, conditional=conditional), offset_of(model, X, offset)
        )
        outcome = outcome_of(model, y, len(predicted))
        binary = hasattr(model, "classes_")
        family, link = getattr(model, "_family", "gaussian"), getattr(model, "_link", Identity())
        if not binary and getattr(family, "name", "") == "binomial":
            binary = bool(((outcome == 0.0) | (outcome == 1.0)).all())
        return cls._of_rows(
            outcome,
            predicted,
            groups,
            sample_weight,
            frequency=getattr(model, "weight_type", "frequency") == "frequency",
            family=family,
            link=Logit() if binary else link,
            binary=binary,
            n_bins=n_bins,
            smooth=smooth,
            level=level,
            target_name=target_name(y),
            given=given,
        ).plot(ax, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs, line_kwargs=line_kwargs)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        predicted: Any,
        *,
        groups: Any = None,
        sample_weight: Any = None,
        weight_type: str = "sampling",
        n_bins: int = 10,
        smooth: bool = False,
        level: float = 0.95,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> CalibrationDisplay:
        """Draw the calibration of predictions, such as those of a cross-validation.

        Parameters
        ----------
        y : array-like of shape (n_rows,)
            Outcomes: numbers, those of a binary outcome 0 and 1.
        predicted : array-like of shape (n_rows,)
            Predicted means; of a binary outcome probabilities of 1.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of clusters, whose rows err together.
        sample_weight : array-like of shape (n_rows,), optional
            Weights.
        weight_type : {"sampling", "frequency"}, default="sampling"
            Whether weights represent other rows, or count rows.
        n_bins : int, default=10
            Number of bins of equally many rows; of predictions that coincide there are fewer.
        smooth : bool, default=False
            Whether to draw a smooth calibration curve as well.
        level : float, default=0.95
            Confidence level of the intervals.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, interval_kwargs, line_kwargs : dict, optional
            Style of the bins (`Line2D`), the intervals (`LineCollection`) and the smooth curve (`Line2D`).

        Returns
        -------
        display : CalibrationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the data are malformed, or probabilities are not between 0 and 1.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from sklearn.model_selection import GroupKFold, cross_val_predict
        >>> from skdep import LogitRegressor
        >>> from skdep.datasets import load_ohio
        >>> from skdep.plotting import CalibrationDisplay
        >>> ohio = load_ohio()
        >>> folds = GroupKFold(5).split(ohio.data, ohio.target, ohio.groups)
        >>> probability = cross_val_predict(
        ...     LogitRegressor(), ohio.data, ohio.target, cv=list(folds), method="predict_proba"
        ... )[:, 1]
        >>> display = CalibrationDisplay.from_predictions(ohio.target, probability, groups=ohio.groups)
        >>> display.table.loc["slope", ["estimate", "std_error"]].round(1).tolist()
        [0.9, 0.4]
        """
        pyplot(f"{cls.__name__}.from_predictions")
        if weight_type not in ("sampling", "frequency"):
            raise ValueError(f"weight_type must be 'sampling' or 'frequency', got {weight_type!r}.")
        outcome = numeric_rows(y, len(np.asarray(y)), name="y")
        values = numeric_rows(predicted, len(outcome), name="predicted")
        binary = bool(((outcome == 0.0) | (outcome == 1.0)).all())
        if binary and not ((values >= 0.0) & (values <= 1.0)).all():
            raise ValueError("predicted must be probabilities between 0 and 1, since all outcomes are 0 or 1.")
        return cls._of_rows(
            outcome,
            values,
            groups,
            sample_weight,
            frequency=weight_type == "frequency",
            family="gaussian",
            link=Logit() if binary else Identity(),
            binary=binary,
            n_bins=n_bins,
            smooth=smooth,
            level=level,
            target_name=target_name(y),
            given=None,
        ).plot(ax, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs, line_kwargs=line_kwargs)

    @classmethod
    def _of_rows(
        cls,
        y: np.ndarray,
        predicted: np.ndarray,
        groups: Any,
        sample_weight: Any,
        *,
        frequency: bool,
        family: str | Family,
        link: Link,
        binary: bool,
        n_bins: int,
        smooth: bool,
        level: float,
        target_name: str,
        given: Sequence[str] | None,
    ) -> CalibrationDisplay:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for 95% intervals.")
        weights = check_weights(sample_weight, len(y))
        weights = np.ones(len(y)) if weights is None else weights
        kept = weights > 0
        factors = [np.unique(codes[kept], return_inverse=True)[1] for codes in cluster_codes(groups, len(y))]
        rows = Rows(y[kept], predicted[kept], weights[kept], factors, frequency, binary)
        bins = bin_numbers(rows.predicted, n_bins)
        curve = None
        if smooth and np.ptp(rows.predicted) > 0:
            curve = smooth_curve(rows.predicted, rows.y, weights=rows.weights, n_robust=0)
            curve = (curve[0], np.clip(curve[1], 0.0, 1.0)) if binary else curve
        return cls(
            **binned_means(rows, bins, level)._asdict(),
            weight=np.bincount(bins, rows.weights) / rows.weights.sum(),
            table=calibration_table(rows, family, link, level),
            curve=curve,
            level=level,
            binary=binary,
            target_name=target_name,
            given=given,
            clusters=_cluster_name(groups),
        )

    def plot(
        self,
        ax: Any = None,
        *,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> CalibrationDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, interval_kwargs, line_kwargs : dict, optional
            Style of the bins (`Line2D`), the intervals (`LineCollection`) and the smooth curve (`Line2D`).

        Returns
        -------
        display : CalibrationDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D

        if ax is None:
            ax = plt.subplots(figsize=(5.6, 5.4), layout="constrained")[1]
        self.ax_, self.figure_ = ax, root_figure(ax)
        limits = self._limits()
        style = {"color": "black", "linewidth": 0.9, "linestyle": "--", "zorder": 1.0, "label": "observed as predicted"}
        (self.diagonal_,) = ax.plot(limits, limits, **style)
        has = np.isfinite(self.lower + self.upper)
        style = merge_style({"colors": BLUE, "linewidths": 1.5, "zorder": 2.0}, interval_kwargs, LineCollection)
        self.intervals_ = ax.vlines(self.predicted[has], self.lower[has], self.upper[has], **style)
        style = {"color": BLUE, "marker": "o", "markersize": 5.5, "linestyle": "none", "zorder": 3.0}
        style |= {"label": f"bins, {100.0 * self.level:.4g}% interval{self._by_clusters()}"}
        (self.points_,) = ax.plot(self.predicted, self.observed, **merge_style(style, point_kwargs, Line2D))
        self.curve_ = None
        if self.curve is not None:
            style = {"color": VERMILLION, "linewidth": 1.8, "zorder": 2.5, "label": "smooth"}
            (self.curve_,) = ax.plot(*self.curve, **merge_style(style, line_kwargs, Line2D))
        mean = "probability" if self.binary else "mean"
        given = "" if self.given is None else f", given {', '.join(self.given)}" if self.given else ", population"
        ax.set(xlim=limits, ylim=limits, aspect="equal")
        ax.set_xlabel(f"Predicted {mean} of {self.target_name}{given}")
        ax.set_ylabel(f"Observed {'share' if self.binary else mean}")
        legend = ax.legend(loc="upper left", frameon=False, fontsize="small", title=self._in_words(), alignment="left")
        legend.get_title().set_fontsize("small")
        tidy(ax)
        return self

    def _limits(self) -> tuple[float, float]:
        shown = np.concatenate([self.predicted, self.observed, self.lower, self.upper])
        shown = shown[np.isfinite(shown)]
        low, high = float(shown.min()), float(shown.max())
        margin = 0.04 * (high - low) if high > low else 1.0
        if not self.binary:
            return low - margin, high + margin
        return max(low - margin, -0.02), min(high + margin, 1.02)

    def _by_clusters(self) -> str:
        return "" if self.clusters is None else f" by {self.clusters}"

    def _in_words(self) -> str:
        """Return slope and intercept with their intervals."""
        lines = []
        for name, label in [(SLOPE, "slope"), (IN_THE_LARGE, "intercept (slope 1)")]:
            row = self.table.loc[name]
            if np.isfinite(row["estimate"]):
                estimate, low, high = (round(row[part], 2) + 0.0 for part in ("estimate", "conf_low", "conf_high"))
                lines.append(f"{label} {estimate:.2f} ({low:.2f} to {high:.2f})")
        return "\n".join(lines)


def _cluster_name(groups: Any) -> str | None:
    """Return what the clusters are called."""
    if groups is None:
        return None
    from skdep.clusters import factor_names

    return ", ".join(factor_names(groups))
