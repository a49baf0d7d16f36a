"""Marginal effects: what a feature does to the mean, or to the probability, on average over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np

from skdep._validation import check_weights
from skdep.inference._access import features_with_coefficient, is_posterior
from skdep.inference._delta_method import delta_method, not_estimable
from skdep.inference._features import ChangingFeatures
from skdep.inference._population import PopulationMean
from skdep.inference._table import Table

__all__ = ["marginal_effects"]


def marginal_effects(
    est: Any,
    X: Any,
    *,
    features: Any = None,
    discrete: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    level: float = 0.95,
    cov_type: str | None = None,
    df: str | float | None = None,
) -> Table:
    r"""Tabulate average marginal effects: by how much the mean, or the probability, changes with a feature.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features)
        Rows over which effects are averaged, as `est` takes them: those of the fit for its sample, or rows with the
        values that you ask about.
    features : str, int, or list of them, optional
        Features whose effects are wanted, by default all; of a pipeline, those that reach the model, with two or more
        values in X where they are texts or categories.
    discrete : list of str or int, or dict, optional
        Features of which values are compared, whatever they look like: by default those with the values 0 and 1 in
        X, booleans, texts and categories. A list names all features of numbers that are compared, so that ``[]``
        gives slopes to those with the values 0 and 1 too; booleans, texts and categories have no slope, and are
        compared always. A dict gives the values to compare, the reference first; others are as by default.
    sample_weight : array-like of shape (n_rows,), optional
        Weights of the rows in the average, such as survey weights.
    offset : array-like of shape (n_rows,), optional
        Known part of the linear predictor.
    level : float, default=0.95
        Confidence level of the intervals.
    cov_type : str, optional
        Covariance type, by default that of the fit; the fit is not repeated.
    df : {"normal", "residual", "satterthwaite", "kenward-roger"} or float, optional
        Degrees of freedom as in `coef_table`.

    Returns
    -------
    Table
        A DataFrame with a row an effect, indexed by feature. ``change`` is ``"slope"``, the derivative, or, of discrete
        features, says which values are compared, as ``"1 - 0"``; ``estimate, std_error, statistic, df, p_value,
        conf_low, conf_high`` are as in `coef_table`; of a `BayesLogit` posterior mean, standard deviation and credible
        limits of the effect.

    Raises
    ------
    ValueError
        If features are unknown, rows are malformed, or a pipeline jumps where the feature changes a little.

    See Also
    --------
    odds_ratios : Effects on the odds, the same in every row.
    population_average : Coefficients of a mixed model, averaged over its random effects.

    Notes
    -----
    An effect on the probability depends on where one starts. It is computed in every row of X, all other features as
    they are, and averaged; it is not the effect at the mean of X. Of a classifier it is on the probability of
    ``classes_[1]``. A difference of two values compares X with every row set to the one, and to the other [1]_, [2]_.

    **Columns made of one feature** (indicators of a category, powers, splines, products) belong in a pipeline: then the
    effect of the feature moves them all, as in every row it would. Given as columns of X they count as features of
    their own, and the effect of one holds the others fixed, which for a square means nothing. Slopes through a pipeline
    are central differences of its columns. A feature in the ``offset()`` of a formula moves the offset too; one that is
    nowhere else has a row where `features` names it.

    **Mixed models**: effects are those in the population, random effects integrated out, not those in a cluster with
    effects of zero. In a logistic model with means m = x'b and variances v = z'Sigma z of the linear predictor the
    probability is p(m, v), and a feature with a random slope changes v as well:

        dp/dx = (dp/dm) b_x + (dp/dv) 2 (dz/dx)'Sigma z.

    **Standard errors** are by the delta method, from the covariance of the coefficients, in a logistic mixed model from
    that of coefficients and Sigma jointly. The rows of X are taken as given: that another sample would have other rows
    is not counted.

    References
    ----------
    .. [1] Long and Freese (2014), Regression Models for Categorical Dependent Variables Using Stata, 3rd ed., Stata
       Press, chapter 4.
    .. [2] Williams (2012), Using the margins command to estimate and interpret adjusted predictions and marginal
       effects, Stata Journal 12, 308-331.

    Examples
    --------
    A mother who smokes makes wheezing more probable by some four percentage points:

    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import marginal_effects
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> marginal_effects(fit, ohio.data)[["change", "estimate", "std_error", "conf_low", "conf_high"]].round(4)
          change  estimate  std_error  conf_low  conf_high
    age    slope   -0.0145     0.0056   -0.0256    -0.0035
    smoke  1 - 0    0.0358     0.0241   -0.0114     0.0831

    Where age and smoking interact, the effect of age without and with smoking:

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import PolynomialFeatures
    >>> products = PolynomialFeatures(interaction_only=True, include_bias=False)
    >>> pipe = make_pipeline(products, LogitRegressor())
    >>> pipe = pipe.fit(ohio.data, ohio.target, logitregressor__groups=ohio.groups)
    >>> for smoke in (0, 1):
    ...     effect = marginal_effects(pipe, ohio.data.assign(smoke=smoke), features="age").loc["age"]
    ...     print(smoke, effect[["estimate", "conf_low", "conf_high"]].astype(float).round(3).tolist())
    0 [-0.017, -0.03, -0.003]
    1 [-0.01, -0.029, 0.009]
    """
    changing = ChangingFeatures(est, X, offset)
    n_rows = len(changing.rows)
    given = check_weights(sample_weight, n_rows)
    weights = np.full(n_rows, 1.0 / n_rows) if given is None else given / given.sum()
    chosen = list(range(len(changing.names))) if features is None else changing.positions(features)
    kind = _PosteriorEffects if is_posterior(changing.inner) else _Effects
    effects = kind(changing, weights, drop_unused=features is None)
    levels = _discrete(changing, discrete)
    detects = discrete is None or isinstance(discrete, Mapping)
    for position in chosen:
        effects.add(position, changing.levels(position, levels, indicators=detects))
    return effects.table(level=level, cov_type=cov_type, df=df)


def _discrete(changing: ChangingFeatures, discrete: Any) -> dict[int, Any]:
    """Return by number the features said to be discrete, with their levels or None."""
    if discrete is None:
        return {}
    if isinstance(discrete, Mapping):
        for name, levels in discrete.items():
            if isinstance(levels, str) or np.ndim(levels) != 1 or len(levels) < 2:
                raise ValueError(f"discrete[{name!r}] must be a list of two or more values, got {levels!r}.")
        return dict(zip(changing.positions(list(discrete)), discrete.values(), strict=True))
    return dict.fromkeys(changing.positions(discrete))


class _Effects:
    """Effects as they are collected, and their gradients.

    Parameters
    ----------
    changing : ChangingFeatures
        Rows of the model.
    weights : ndarray of shape (n_rows,)
        Weights of the rows, of sum one.
    drop_unused : bool
        Whether to leave out features that do not reach the model.
    """

    def __init__(self, changing: ChangingFeatures, weights: np.ndarray, *, drop_unused: bool):
        self.changing, self.weights, self.drop_unused = changing, weights, drop_unused
        self.names: list[Any] = []
        self.changes: list[str] = []
        self.estimates: list[Any] = []
        self.gradients: list[np.ndarray] = []

    @cached_property
    def mean(self) -> Any:
        """Population means of the model."""
        return PopulationMean(self.changing.inner)

    @cached_property
    def _moments(self) -> Sequence[np.ndarray]:
        return self.mean.moments(self.changing.rows, self.changing.offset, self.mean.slope_order)

    def add(self, position: int, levels: list[Any] | None) -> None:
        """Add the effects of a feature: differences between its levels, or its slope."""
        if levels is None:
            self._add_slope(position)
        elif len(levels) > 1:
            if not self.drop_unused or self.changing.is_used(position, levels):
                self._add_differences(position, levels)
        elif not self.drop_unused:
            name = self.changing.names[position]
            raise ValueError(
                f"Feature {name!r} has one value in X: say which to compare, as in discrete={{{name!r}: [...]}}."
            )

    def _add_slope(self, position: int) -> None:
        direction, by_offset = self.changing.direction(position)
        if self.drop_unused and not direction.any():
            return
        self._append(position, "slope", *self._slope(direction, by_offset))

    def _add_differences(self, position: int, levels: list[Any]) -> None:
        reference, *others = levels
        base, base_gradient = self._average_at(position, reference)
        for level in others:
            value, gradient = self._average_at(position, level)
            self._append(position, f"{_label(level)} - {_label(reference)}", value - base, gradient - base_gradient)

    def _slope(self, direction: np.ndarray, by_offset: np.ndarray) -> tuple[Any, np.ndarray]:
        return self.mean.average_slope(self.changing.rows, self.weights, direction, self._moments, by_offset)

    def _average_at(self, position: int, level: Any) -> tuple[Any, np.ndarray]:
        return self.mean.average(*self.changing.replaced(position, level), self.weights)

    def _append(self, position: int, change: str, estimate: Any, gradient: np.ndarray) -> None:
        self.names.append(self.changing.names[position])
        self.changes.append(change)
        self.estimates.append(estimate)
        self.gradients.append(gradient)

    def table(self, *, level: float, cov_type: str | None, df: str | float | None) -> Table:
        """Return the table of all effects."""
        inner = self.changing.inner
        p = len(inner._inference.estimate)
        gradients = np.reshape(self.gradients, (len(self.names), p + self.mean.random.n_parameters))
        undetermined = not_estimable(
            inner._inference, gradients[:, :p], self.changing.rows[:, features_with_coefficient(inner)]
        )
        columns = delta_method(
            inner,
            np.array(self.estimates),
            gradients,
            undetermined=undetermined,
            level=level,
            cov_type=cov_type,
            df=df,
        )
        return Table({"change": self.changes, **columns}, index=self.names)


class _PosteriorEffects(_Effects):
    """The same of a posterior: an effect is as many values as there are draws."""

    @cached_property
    def mean(self) -> Any:
        """Population means of the model, by draw."""
        from skdep.bayes.population import PosteriorMean

        return PosteriorMean(self.changing.inner, len(self.changing.rows))

    def _slope(self, direction: np.ndarray, by_offset: np.ndarray) -> tuple[Any, np.ndarray]:
        changing = self.changing
        effect = self.mean.average_slope(changing.rows, changing.offset, self.weights, direction, by_offset)
        return effect, np.zeros(0)

    def _average_at(self, position: int, level: Any) -> tuple[Any, np.ndarray]:
        return self.mean.average(*self.changing.replaced(position, level), self.weights), np.zeros(0)

    def table(self, *, level: float, cov_type: str | None, df: str | float | None) -> Table:
        """Return the table of all effects."""
        from skdep.bayes.estimands import tabulated

        drawn = np.column_stack(self.estimates) if self.estimates else np.zeros((2, 0))
        columns = tabulated(drawn, level=level, cov_type=cov_type, df=df)
        return Table({"change": self.changes, **columns}, index=self.names)


def _label(level: Any) -> str:
    is_number = isinstance(level, Number | np.number) and not isinstance(level, bool | np.bool_)
    return f"{level:g}" if is_number else str(level)
