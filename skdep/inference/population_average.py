"""Coefficients of logistic mixed models averaged over random effects: of the population, not of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._basis import Basis, full_rank_basis
from skdep._html import frame_html, result_html
from skdep._linalg import scaled_solve
from skdep._normal_mean import logistic_normal_mean, logistic_normal_moments
from skdep._validation import check_weights
from skdep.inference._access import features_with_coefficient, is_posterior, unwrap
from skdep.inference._delta_method import delta_method
from skdep.inference._features import ChangingFeatures
from skdep.inference._population import PopulationMean, RandomPart, random_part
from skdep.inference._table import Table
from skdep.mixed.terms import INTERCEPT

__all__ = ["PopulationAverage", "population_average"]

# Square of 16 sqrt(3) / (15 pi): of the standard deviation of the normal distribution that is like the logistic one.
_ATTENUATION = (16.0 * np.sqrt(3.0) / (15.0 * np.pi)) ** 2


@dataclass(frozen=True)
class PopulationAverage:
    """Result of `population_average`.

    Parameters
    ----------
    table : Table
        A row a coefficient: ``cluster_specific, population_average, std_error, statistic, df, p_value, conf_low,
        conf_high, attenuation``.
    largest_gap : float
        Largest difference, over the rows, between the probabilities of the mixed model, random effects integrated
        out, and those of the logistic model with the population-average coefficients; NaN without rows.
    """

    table: Table
    largest_gap: float

    def to_frame(self) -> Any:
        """Return the table as a plain DataFrame."""
        return self.table.to_frame()

    def __str__(self) -> str:
        return "\n".join(part for part in (repr(self.table), self._remark()) if part)

    __repr__ = __str__

    def _remark(self) -> str:
        if np.isnan(self.largest_gap):
            return ""
        return f"Probabilities differ from those of the mixed model by at most {self.largest_gap:.2g}."

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.table), lead=self._remark())


def population_average(
    est: Any,
    X: Any = None,
    *,
    method: str = "projection",
    sample_weight: Any = None,
    offset: Any = None,
    level: float = 0.95,
    cov_type: str | None = None,
    df: str | float | None = None,
) -> PopulationAverage:
    r"""Tabulate population-average coefficients of a logistic mixed model beside its own, cluster-specific ones.

    The coefficients of a logistic mixed model compare rows of the same cluster. Probabilities in the population, over
    all clusters, change less with a feature; a logistic model for them, as one of `GEEClassifier`, has coefficients
    nearer to zero.

    Parameters
    ----------
    est : MixedLogit
        A fitted logistic mixed model, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features), optional
        Rows at which the probabilities are compared, as `est` takes them: commonly those of the fit.
    method : {"projection", "attenuation"}, default="projection"
        ``"projection"`` integrates the random effects out, exactly, in every row of X, and fits log odds that are
        linear in the features to the result by least squares [1]_. ``"attenuation"`` needs no rows: for random
        intercepts only, it shrinks all coefficients by 1 / sqrt(1 + c^2 v), with v the variance of the intercepts and
        c = 16 sqrt(3) / (15 pi) [2]_. That approximates: near probabilities of one half the result is too large, by up
        to 8 percent, and beyond 0.2 and 0.8 too small.
    sample_weight : array-like of shape (n_rows,), optional
        Weights of the rows.
    offset : array-like of shape (n_rows,), optional
        Known part of the log odds.
    level : float, default=0.95
        Confidence level of the intervals.
    cov_type : str, optional
        Covariance type, by default that of the fit.
    df : {"normal", "residual"} or float, optional
        Degrees of freedom as in `coef_table`.

    Returns
    -------
    PopulationAverage
        ``.table`` with the columns ``cluster_specific``, ``population_average``, of the latter ``std_error, statistic,
        df, p_value, conf_low, conf_high``, and ``attenuation``, the ratio of both; ``.largest_gap``; ``.to_frame()``.

    Raises
    ------
    TypeError
        If the estimator is no logistic mixed model, or is a posterior.
    ValueError
        If X is missing, or does not determine the coefficients, or slopes vary and `method` is ``"attenuation"``.

    See Also
    --------
    marginal_effects : Effects on the probability itself, which need no second model.

    Notes
    -----
    With p_i the probability in row i of X, random effects integrated out, and o_i its offset,

        population_average = (X'WX)^-1 X'W (logit p - o).

    Averaged over random effects a logistic model is no longer exactly logistic in the features, the less so where
    slopes vary: ``largest_gap`` says by how much. Standard errors are by the delta method, from the covariance of the
    coefficients and the covariance parameters of the random effects jointly; the rows are taken as given.

    References
    ----------
    .. [1] Hedeker, du Toit, Demirtas and Gibbons (2018), A note on marginalization of regression parameters from mixed
       models of binary outcomes, Biometrics 74, 354-361.
    .. [2] Zeger, Liang and Albert (1988), Models for longitudinal data: a generalized estimating equation approach,
       Biometrics 44, 1049-1060.

    Examples
    --------
    Children differ much in how easily they wheeze: averaged over them, effects on the log odds are a third smaller.

    >>> from skdep import MixedLogit
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import population_average
    >>> ohio = load_ohio()
    >>> fit = MixedLogit().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> table = population_average(fit, ohio.data).to_frame()
    >>> table[["cluster_specific", "population_average", "std_error", "attenuation"]].round(2)
               cluster_specific  population_average  std_error  attenuation
    Intercept             -3.10               -1.88       0.11         0.60
    age                   -0.18               -0.11       0.04         0.65
    smoke                  0.40                0.26       0.18         0.65
    """
    inner = unwrap(est)
    if not hasattr(inner, "random_covariance_") or getattr(inner, "_link_name", None) != "logit":
        raise TypeError(
            "population_average is for logistic mixed models: averaged over clusters the coefficients of "
            f"{type(inner).__name__} stay what they are."
        )
    if is_posterior(inner):
        raise TypeError(
            f"population_average is for MixedLogit; of a {type(inner).__name__} marginal_effects averages over random "
            "effects, and predict_proba(X) does."
        )
    if method not in ("projection", "attenuation"):
        raise ValueError(f"method must be 'projection' or 'attenuation', got {method!r}.")
    if method == "attenuation":
        if X is not None:
            raise ValueError("method='attenuation' uses no rows: leave X out, or use method='projection'.")
        projected = _attenuated(inner)
    elif X is None:
        raise ValueError(
            "Population-average coefficients depend on the rows over which one averages: pass X, for example that of "
            "the fit. With random intercepts only, method='attenuation' approximates them without rows."
        )
    else:
        projected = _projected(ChangingFeatures(est, X, offset), sample_weight)
    fitted = inner._inference
    columns = delta_method(
        inner,
        projected.estimate,
        projected.gradients,
        undetermined=fitted.aliased,
        level=level,
        cov_type=cov_type,
        df=df,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        attenuation = projected.estimate / fitted.estimate
    del columns["estimate"]
    table = {"cluster_specific": fitted.estimate, "population_average": projected.estimate, **columns}
    return PopulationAverage(Table({**table, "attenuation": attenuation}, index=list(fitted.names)), projected.gap)


@dataclass(frozen=True)
class _Projection:
    """Coefficients, and their derivatives by ``[intercept, *coef]`` and the parameters of `RandomPart`."""

    estimate: np.ndarray
    gradients: np.ndarray
    gap: float = np.nan


def _attenuated(inner: Any) -> _Projection:
    """Shrink the coefficients of a model with random intercepts."""
    random: RandomPart = random_part(inner)
    if any(numbers != (INTERCEPT,) for numbers in random.columns):
        raise ValueError("method='attenuation' is for random intercepts; with random slopes pass X.")
    estimate = inner._inference.estimate
    inflation = 1.0 + _ATTENUATION * sum(float(sigma[0, 0]) for sigma in random.covariances)
    by_variance = -0.5 * _ATTENUATION * estimate / inflation**1.5
    gradients = [np.eye(len(estimate)) / np.sqrt(inflation), np.tile(by_variance[:, None], random.n_parameters)]
    return _Projection(estimate / np.sqrt(inflation), np.hstack(gradients))


def _projected(changing: ChangingFeatures, sample_weight: Any) -> _Projection:
    """Fit linear log odds to the log odds of the rows' population probabilities."""
    rows, inner = changing.rows, changing.inner
    weights = check_weights(sample_weight, len(rows))
    weights = np.ones(len(rows)) if weights is None else weights
    kept = weights > 0
    rows, weights, offset = rows[kept], weights[kept], changing.offset[kept]
    mean = PopulationMean(inner)
    random, split = mean.random, mean.split
    own = rows[:, features_with_coefficient(inner)]
    basis = full_rank_basis(own, fit_intercept=bool(split))
    _check_determined(inner._inference, basis)
    eta, variance = mean.linear_predictor(rows, offset), random.variance(rows)
    log_odds, by_eta, by_variance = _population_log_odds(eta, variance)
    design = np.column_stack([np.ones(len(rows)), basis.columns]) if split else basis.columns
    # least squares in orthogonal columns: the coefficients are `solve` times the rows' log odds
    weighted = design.T * weights
    solve = basis.back @ scaled_solve(weighted @ design, weighted)
    estimate = solve @ (log_odds - offset)
    user_rows = np.column_stack([np.ones(len(rows)), own]) if split else own
    by_coefficients = (solve * by_eta) @ user_rows
    by_sigma = [random.gradient(rows, row * by_variance) for row in solve]
    fitted_odds = user_rows @ estimate + offset
    gap = np.abs(logistic_normal_mean(fitted_odds, 0.0) - logistic_normal_mean(eta, variance)).max()
    return _Projection(estimate, np.hstack([by_coefficients, np.array(by_sigma)]), float(gap))


def _population_log_odds(eta: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log odds of E f(eta) and their derivatives by mean and variance of eta."""
    tail, first, second = logistic_normal_moments(-np.abs(eta), variance, 2)
    if not (tail > 0.0).all():
        raise ValueError(f"{int(np.sum(tail == 0.0))} rows have a probability of 0 or 1 to rounding: leave them out.")
    sign = np.where(eta > 0, -1.0, 1.0)
    scale = tail * (1.0 - tail)
    return sign * (np.log(tail) - np.log1p(-tail)), first / scale, sign * 0.5 * second / scale


def _check_determined(fitted: Any, basis: Basis) -> None:
    """Raise if the rows do not determine what the fit did."""
    lost = [name for name, is_lost in zip(fitted.names, basis.aliased & ~fitted.aliased, strict=True) if is_lost]
    if lost:
        raise ValueError(
            f"The rows of X do not determine the coefficients of {lost}, whose columns are constant or collinear "
            "there: pass more rows, such as those of the fit."
        )
