"""`CoefficientsDisplay`: coefficients of one or several fits with their intervals, a forest plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdep.inference._access import is_posterior, unwrap
from skdep.plotting._coefficient_rows import CoefficientRows, coefficients_of, named, rows_of_tables, scale_names
from skdep.plotting._forest_drawing import draw_fit, forest_limits
from skdep.plotting._style import GREY, logarithmic, pyplot, root_figure, tidy

__all__ = ["CoefficientsDisplay"]


class CoefficientsDisplay:
    """Forest plot: coefficients of one or several fits with their intervals.

    Use `from_estimator` for one fit, `from_estimators` for several side by side, `from_tables` for tables.

    Parameters
    ----------
    estimate : ndarray of shape (n_terms, n_models)
        Estimates, NaN where a model lacks a term; ratios if they were exponentiated.
    lower, upper : ndarray of shape (n_terms, n_models)
        Ends of the intervals, NaN where there is none.
    terms : sequence of str
        How the terms are called, the highest row first.
    models : sequence of str
        How the models are called.
    ratios : bool, default=False
        Whether the values are ratios, drawn on a logarithmic axis with a line at 1 in place of 0.
    scale_name : str, default="Coefficient"
        What the values are.
    level : float or None, default=None
        Probability of the intervals.
    interval : str, default="interval"
        What the intervals are called.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    points_ : list of Line2D
        The estimates by model.
    intervals_ : list of LineCollection
        The intervals by model.
    arrows_ : list of Line2D
        Arrows at the ends of intervals that run out of the picture.
    reference_line_ : Line2D
        The line at 0, or at 1 for ratios.

    See Also
    --------
    PosteriorDisplay : Whole posterior densities.
    skdep.inference.coef_table : The numbers.

    Notes
    -----
    Intervals are those of `coef_table`; of a `BayesLogit` they are credible intervals with equal tails about the
    posterior mean, exponentiated about the posterior median. Coefficients of fits with different links, and those of
    mixed and of marginal logistic models, answer different questions: side by side they show how far apart the answers
    are, not which is right.

    Examples
    --------
    >>> from skdep import GEEClassifier, LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.plotting import CoefficientsDisplay
    >>> ohio = load_ohio()
    >>> fits = {
    ...     "cluster-robust": LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups),
    ...     "exchangeable": GEEClassifier(working_correlation="exchangeable").fit(
    ...         ohio.data, ohio.target, groups=ohio.groups
    ...     ),
    ... }
    >>> display = CoefficientsDisplay.from_estimators(fits, exponentiate=True)
    >>> display.terms, display.estimate.round(2)
    (['age', 'smoke'], array([[0.89, 0.89],
           [1.31, 1.3 ]]))
    """

    def __init__(
        self,
        *,
        estimate: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        terms: Sequence[str],
        models: Sequence[str],
        ratios: bool = False,
        scale_name: str = "Coefficient",
        level: float | None = None,
        interval: str = "interval",
    ):
        self.estimate = estimate
        self.lower = lower
        self.upper = upper
        self.terms = terms
        self.models = models
        self.ratios = ratios
        self.scale_name = scale_name
        self.level = level
        self.interval = interval

    @classmethod
    def from_estimator(
        cls,
        est: Any,
        *,
        terms: Any = None,
        intercept: bool = False,
        exponentiate: bool = False,
        per: Mapping[str, float] | None = None,
        level: float = 0.95,
        cov_type: str | None = None,
        df: Any = None,
        xlim: tuple[float, float] | None = None,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientsDisplay:
        """Draw the coefficients of a fit.

        Parameters
        ----------
        est : estimator
            Fitted estimator of skdep, or a pipeline or search around one.
        terms : str, sequence of str, or mapping from str to str, optional
            Terms to draw, in that order; a mapping says how they are to be called. By default all of them.
        intercept : bool, default=False
            Whether to draw the intercept as well, where `terms` are not named.
        exponentiate : bool, default=False
            Whether to draw ratios: of odds (logit link), rates or means (log link), hazards (complementary log-log).
        per : mapping from str to float, optional
            Units of features: ``{"age": 10.0}`` draws the coefficient of ten more years.
        level : float, default=0.95
            Probability of the intervals.
        cov_type : str, optional
            Covariance type as in `coef_table`, by default that of the fit.
        df : str or float, optional
            Degrees of freedom as in `coef_table`.
        xlim : tuple of float, optional
            Ends of the horizontal axis; intervals that run beyond get an arrow.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, interval_kwargs : dict, optional
            Style of the estimates (`Line2D`) and of the intervals (`LineCollection`).

        Returns
        -------
        display : CoefficientsDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is none of skdep, or its coefficients are no logarithms of ratios.
        ValueError
            If a term is not known, or the fit lacks the covariance type or degrees of freedom.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import MixedLogit
        >>> from skdep.datasets import load_respiratory
        >>> from skdep.plotting import CoefficientsDisplay
        >>> trial = load_respiratory()
        >>> X = trial.data[["baseline", "age"]].assign(active=trial.data["treat"] == "A")
        >>> model = MixedLogit().fit(X.astype(float), trial.target, groups=trial.groups)
        >>> terms = {"active": "Active drug", "age": "Ten years older"}
        >>> display = CoefficientsDisplay.from_estimator(model, terms=terms, exponentiate=True, per={"age": 10.0})
        >>> display.ax_.get_xlabel()
        'Odds ratio, 95% interval'
        """
        pyplot(f"{cls.__name__}.from_estimator")
        return cls._of_estimators(
            named([est]),
            terms,
            intercept=intercept,
            exponentiate=exponentiate,
            per=per,
            level=level,
            cov_type=cov_type,
            df=df,
        ).plot(ax, xlim=xlim, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators: Any,
        *,
        terms: Any = None,
        intercept: bool = False,
        exponentiate: bool = False,
        per: Mapping[str, float] | None = None,
        level: float = 0.95,
        cov_type: Any = None,
        df: Any = None,
        xlim: tuple[float, float] | None = None,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientsDisplay:
        """Draw the coefficients of several fits side by side.

        Parameters
        ----------
        estimators : mapping from str to estimator, or sequence of estimators
            Fitted estimators of skdep, or pipelines or searches around them; a sequence is named by their classes. The
            same fit may come under several names, to show several types of covariance.
        terms : str, sequence of str, or mapping from str to str, optional
            Terms to draw, in that order; a mapping says how they are to be called. By default all that occur.
        intercept : bool, default=False
            Whether to draw intercepts as well, where `terms` are not named.
        exponentiate : bool, default=False
            Whether to draw ratios, as in `from_estimator`.
        per : mapping from str to float, optional
            Units of features: ``{"age": 10.0}`` draws the coefficient of ten more years.
        level : float, default=0.95
            Probability of the intervals.
        cov_type : str or mapping from str to str, optional
            Covariance type as in `coef_table`, for all fits or by name; by default that of each fit.
        df : str, float, or mapping from str to these, optional
            Degrees of freedom as in `coef_table`, for all fits or by name.
        xlim : tuple of float, optional
            Ends of the horizontal axis; intervals that run beyond get an arrow.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, interval_kwargs : dict, optional
            Style of the estimates (`Line2D`) and of the intervals (`LineCollection`).

        Returns
        -------
        display : CoefficientsDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If an estimator is none of skdep, or its coefficients are no logarithms of ratios.
        ValueError
            If there is no estimator, a term or a name is not known, or a fit lacks the covariance type or degrees of
            freedom.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import GEEClassifier
        >>> from skdep.datasets import load_ohio
        >>> from skdep.plotting import CoefficientsDisplay
        >>> ohio = load_ohio()
        >>> gee = GEEClassifier().fit(ohio.data, ohio.target, groups=ohio.groups)
        >>> display = CoefficientsDisplay.from_estimators(
        ...     {"naive": gee, "robust": gee}, cov_type={"naive": "naive", "robust": "robust"}
        ... )
        >>> (display.upper - display.lower).round(2)
        array([[0.21, 0.17],
               [0.48, 0.7 ]])
        """
        pyplot(f"{cls.__name__}.from_estimators")
        return cls._of_estimators(
            named(estimators),
            terms,
            intercept=intercept,
            exponentiate=exponentiate,
            per=per,
            level=level,
            cov_type=cov_type,
            df=df,
        ).plot(ax, xlim=xlim, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs)

    @classmethod
    def from_tables(
        cls,
        tables: Any,
        *,
        terms: Any = None,
        intercept: bool = False,
        exponentiate: bool = False,
        ratios: bool = False,
        per: Mapping[str, float] | None = None,
        level: float | None = None,
        scale_name: str | None = None,
        xlim: tuple[float, float] | None = None,
        ax: Any = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientsDisplay:
        """Draw tables of estimates and intervals.

        Parameters
        ----------
        tables : DataFrame, mapping from str to DataFrame, or sequence of DataFrame
            Tables with the columns ``estimate``, ``conf_low``, ``conf_high``, and terms as index: those of
            `coef_table`, `odds_ratios`, `marginal_effects` or other programs.
        terms : str, sequence of str, or mapping from str to str, optional
            Terms to draw, in that order; a mapping says how they are to be called. By default all that occur.
        intercept : bool, default=False
            Whether to draw a row ``"Intercept"`` as well, where `terms` are not named.
        exponentiate : bool, default=False
            Whether to exponentiate what the tables hold.
        ratios : bool, default=False
            Whether the tables hold ratios already, to be drawn on a logarithmic axis.
        per : mapping from str to float, optional
            Units of features, as in `from_estimator`.
        level : float, optional
            Probability of the intervals, for the label.
        scale_name : str, optional
            What the values are, for the label.
        xlim : tuple of float, optional
            Ends of the horizontal axis; intervals that run beyond get an arrow.
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        point_kwargs, interval_kwargs : dict, optional
            Style of the estimates (`Line2D`) and of the intervals (`LineCollection`).

        Returns
        -------
        display : CoefficientsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If columns are missing, a term is not known, ratios are not positive, or are to be exponentiated again.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from skdep import LogitRegressor
        >>> from skdep.datasets import load_ohio
        >>> from skdep.inference import odds_ratios
        >>> from skdep.plotting import CoefficientsDisplay
        >>> ohio = load_ohio()
        >>> table = odds_ratios(LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups))
        >>> display = CoefficientsDisplay.from_tables(table, ratios=True, scale_name="Odds ratio", level=0.95)
        >>> display.ax_.get_xscale()
        'log'
        """
        pyplot(f"{cls.__name__}.from_tables")
        if ratios and exponentiate:
            raise ValueError("The tables hold ratios already (ratios=True): leave exponentiate out.")
        if hasattr(tables, "columns"):
            tables = [tables]
        given = tables if isinstance(tables, Mapping) else list(tables)
        frames = named(given, [f"table {k + 1}" for k in range(len(given))])
        if ratios:
            frames = {name: _logarithms(name, table) for name, table in frames.items()}
        rows = rows_of_tables(frames, terms, intercept=intercept, per=per)
        name = scale_name or ("Ratio" if ratios or exponentiate else "Estimate")
        display = cls._of_rows(rows, ratios=ratios or exponentiate, scale_name=name, level=level, interval="interval")
        return display.plot(ax, xlim=xlim, point_kwargs=point_kwargs, interval_kwargs=interval_kwargs)

    @classmethod
    def _of_estimators(
        cls,
        estimators: Mapping[str, Any],
        terms: Any,
        *,
        intercept: bool,
        exponentiate: bool,
        per: Mapping[str, float] | None,
        level: float,
        cov_type: Any,
        df: Any,
    ) -> CoefficientsDisplay:
        cov_types, freedoms = _by_name(cov_type, estimators, "cov_type"), _by_name(df, estimators, "df")
        tables = {
            name: coefficients_of(
                est, exponentiate=exponentiate, level=level, cov_type=cov_types[name], df=freedoms[name]
            )
            for name, est in estimators.items()
        }
        rows = rows_of_tables(tables, terms, intercept=intercept, per=per)
        all_bayes = all(is_posterior(unwrap(est)) for est in estimators.values())
        return cls._of_rows(
            rows,
            ratios=exponentiate,
            scale_name=scale_names(list(estimators.values()), exponentiate=exponentiate),
            level=level,
            interval="credible interval" if all_bayes else "interval",
        )

    @classmethod
    def _of_rows(cls, rows: CoefficientRows, *, ratios: bool, **words: Any) -> CoefficientsDisplay:
        rows = rows.exponentiated() if ratios else rows
        return cls(
            estimate=rows.estimate,
            lower=rows.lower,
            upper=rows.upper,
            terms=rows.terms,
            models=rows.models,
            ratios=ratios,
            **words,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        xlim: tuple[float, float] | None = None,
        point_kwargs: dict[str, Any] | None = None,
        interval_kwargs: dict[str, Any] | None = None,
    ) -> CoefficientsDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default in a new figure.
        xlim : tuple of float, optional
            Ends of the horizontal axis; intervals that run beyond get an arrow. By default all is shown but the ends
            of intervals many times as wide as the others.
        point_kwargs, interval_kwargs : dict, optional
            Style of the estimates (`Line2D`) and of the intervals (`LineCollection`).

        Returns
        -------
        display : CoefficientsDisplay
            The display itself.
        """
        plt = pyplot(f"{type(self).__name__}.plot")
        n_terms, n_models = self.estimate.shape
        if ax is None:
            height = 0.9 + n_terms * (0.24 + 0.13 * n_models) + (0.3 if n_models > 1 else 0.0)
            ax = plt.subplots(figsize=(6.4, max(height, 1.8)), layout="constrained")[1]
        self.ax_, self.figure_ = ax, root_figure(ax)
        reference = 1.0 if self.ratios else 0.0
        self.reference_line_ = ax.axvline(reference, color="black", linewidth=0.8, zorder=1.0)
        limits = forest_limits(self, reference) if xlim is None else xlim
        if self.ratios:
            logarithmic(ax, "x", limits)
        else:
            ax.set_xlim(limits)
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        self.arrows_: list[Any] = []
        reach = 0.32 * (1.0 - 1.0 / n_models)
        for k, offset in enumerate(np.linspace(-reach, reach, n_models)):
            draw_fit(self, ax, k, np.arange(n_terms) + offset, point_kwargs, interval_kwargs)
        for between in np.arange(n_terms - 1) + 0.5 if n_models > 1 else []:
            ax.axhline(between, color=GREY, linewidth=0.4, alpha=0.5, zorder=0.5)
        ax.set_yticks(np.arange(n_terms), list(self.terms))
        ax.set_ylim(n_terms - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        percent = "" if self.level is None else f", {100.0 * self.level:.4g}% {self.interval}"
        ax.set_xlabel(f"{self.scale_name}{percent}")
        if n_models > 1:
            ncols = n_models if sum(len(name) + 6 for name in self.models) < 66 else 2
            place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
            ax.legend(handles=self.points_, ncols=ncols, frameon=False, fontsize="small", **place)
        tidy(ax)
        return self


def _by_name(value: Any, names: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """Return a setting for each model; it is the same for all unless it comes by name."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ValueError(f"{parameter} names no model {', '.join(map(repr, unknown))}; there are {', '.join(names)}.")
    return {name: value.get(name) for name in names}


def _logarithms(name: str, table: Any) -> Any:
    """Return the logarithms of a table of ratios."""
    values = table[["estimate", "conf_low", "conf_high"]].astype(float)
    if (values.to_numpy() < 0.0).any():
        raise ValueError(f"The table {name!r} holds negative numbers, which are no ratios: leave ratios=True out.")
    with np.errstate(divide="ignore"):
        return np.log(values)
