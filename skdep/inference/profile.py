"""Profile-likelihood intervals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skdep._docs import read_more
from skdep._html import frame_html, result_html
from skdep._progress import Progress
from skdep._stack import level_of_caller
from skdep.formula.raw_rows import offset_of
from skdep.inference._access import unwrap
from skdep.inference._features import last_step
from skdep.inference._table import Table, critical_value

__all__ = ["ProfileCurve", "ProfileIntervals", "profile_interval"]


@dataclass(frozen=True)
class ProfileCurve:
    """The profile of one parameter, to plot.

    Parameters
    ----------
    value : ndarray of shape (n_points,)
        Values of the parameter, increasing, the estimate and the ends of the interval among them.
    zeta : ndarray of shape (n_points,)
        Signed root of the likelihood-ratio statistic: a straight line where the likelihood is normal.
    """

    value: np.ndarray
    zeta: np.ndarray

    def to_frame(self) -> Any:
        """Return a DataFrame of a row a point, columns ``value`` and ``zeta``."""
        import pandas as pd

        return pd.DataFrame({"value": self.value, "zeta": self.zeta})

    def __str__(self) -> str:
        return f"Profile of {len(self.value)} points, from {self.value.min():.5g} to {self.value.max():.5g}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame(), max_rows=20), lead=str(self))


@dataclass(frozen=True)
class ProfileIntervals:
    """Result of `profile_interval`.

    Parameters
    ----------
    table : DataFrame
        Columns ``estimate, conf_low, conf_high``, a row a parameter. Estimates are by maximum likelihood.
    curves : mapping from str to ProfileCurve
        The profile of each parameter.
    level : float
        Confidence level.
    """

    table: Table
    curves: Mapping[str, ProfileCurve]
    level: float

    def to_frame(self) -> Any:
        """Return the table as a plain DataFrame."""
        return self.table.to_frame()

    def __str__(self) -> str:
        return f"Profile-likelihood intervals, level {self.level:g}\n{self.table!r}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.table), lead=f"Profile-likelihood intervals, level {self.level:g}")


def profile_interval(
    est: Any,
    parameters: str | Sequence[str] | None = None,
    *,
    X: Any = None,
    y: Any = None,
    groups: Any = None,
    offset: Any = None,
    sample_weight: Any = None,
    level: float = 0.95,
    progress: bool = False,
) -> ProfileIntervals:
    r"""Find profile-likelihood intervals of the parameters of a mixed model, or of a logistic regression.

    The interval holds all values that a likelihood-ratio test does not reject. It need not be symmetric, does not leave
    the parameter space, and is the interval of choice for standard deviations and correlations of random effects: a
    standard deviation whose likelihood at zero is not rejected has the lower end 0, a correlation may end at -1 or 1.

    Parameters
    ----------
    est : MixedLinear, MixedLogit or LogitRegressor
        A fitted model, or a pipeline or search around one.
    parameters : str or sequence of str, optional
        Names of parameters, as they are in the table; ``"coefficients"`` stands for all coefficients, ``"variances"``
        for all the others. By default all.
    X : array-like of shape (n_rows, n_features), optional
        Features of the fit. Fits keep no rows: MixedLogit and LogitRegressor need the data of the fit again, the
        latter without groups, strata and populations; MixedLinear none.
    y : array-like of shape (n_rows,), optional
        Outcomes of the fit.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
        Grouping factors of the fit.
    offset : array-like of shape (n_rows,), optional
        Offset of the fit.
    sample_weight : array-like of shape (n_rows,), optional
        Weights of the fit.
    level : float, default=0.95
        Confidence level.
    progress : bool, default=False
        Whether to report progress on standard error.

    Returns
    -------
    ProfileIntervals
        ``.table`` with ``estimate, conf_low, conf_high``; ``.curves``; ``.to_frame()``.

    Raises
    ------
    ValueError
        If names are unknown, `level` is not between 0 and 1, data are missing or not those of the fit, or the fit has
        no likelihood with a maximum: with sampling weights that of a mixed model is a pseudo-likelihood, without
        residual variance it is infinite, where features separate outcomes estimates are.
    TypeError
        If the estimator is another one.

    See Also
    --------
    bootstrap : Intervals by simulation and refitting.
    coef_table : Wald intervals.

    Notes
    -----
    Likelihood ratios compare maximum likelihoods: a REML fit is first fitted again by ML, from its cross-products, and
    estimates in the table are those of ML. At every value of a parameter the likelihood is maximised over all others,
    coefficients and variances. Where an end cannot be found, it is NaN, with a warning. For a coefficient that is not
    estimable, because features are collinear, all is NaN. Of effects whose variance is estimated as zero any
    correlation has the same likelihood: its estimate is NaN, its interval from -1 to 1.

    The likelihood of a MixedLogit is the approximation of the fit, with its number of quadrature nodes, and with the
    penalty if there is one. An end is infinite where not even values are rejected that change the log odds by about
    100.

    The likelihood of a `LogitRegressor` takes rows to be independent, and twice its logarithm is off by the design
    effect of the coefficient, its variance under the covariance type of the fit over that under the model. So it is
    divided by it, and referred to F with 1 and the type's degrees of freedom [1]_; under ``cov_type="model"`` it is the
    ordinary profile. R's survey 4.1 divides by the dispersion of the residuals as well, which the design effect has in
    it already.

    References
    ----------
    .. [1] Lumley and Scott (2014), Tests for regression models fitted to survey data, Australian and New Zealand
       Journal of Statistics 56, 1-14.
    .. [2] Venzon and Moolgavkar (1988), A method for computing profile-likelihood-based confidence intervals, Applied
       Statistics 37, 87-94.
    .. [3] Bates, Maechler, Bolker and Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
       Statistical Software 67(1), section 5.1.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import profile_interval
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> profile_interval(model, ["Days", "SD of Days by Subject"]).to_frame().round(3)
                           estimate  conf_low  conf_high
    Days                     10.467     7.359     13.576
    SD of Days by Subject     5.717     3.801      8.753

    >>> from skdep import MixedLogit
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> data = {"X": ohio.data, "y": ohio.target, "groups": ohio.groups}
    >>> profile_interval(MixedLogit().fit(**data), "variances", **data).to_frame().round(3)
                           estimate  conf_low  conf_high
    SD of Intercept by id     2.165      1.83       2.56
    """
    model = unwrap(est)
    flat = is_flat_logit(model)
    freedom = model._inference.degrees_of_freedom.get(model._inference.cov_type, np.inf) if flat else np.inf
    cut = float(critical_value(level, freedom))
    if not flat and is_linear(mixed_model(est)):
        profiler = _linear_profiler(model, parameters)
    else:
        if X is not None:
            offset = offset_of(est, X, offset)
            X = last_step(est, X)[1]
        profiler = (_flat_profiler if flat else _logit_profiler)(model, parameters, X, y, groups, sample_weight, offset)
    chosen, aliased = profiler.parameters, model._inference.aliased
    rows, curves, problems = [], {}, [] if profiler.converged else ["the fit did not converge"]
    with Progress("Profiles", len(chosen), progress) as report:
        for number, parameter in enumerate(chosen):
            if parameter.kind == "coefficient" and aliased[parameter.first]:
                rows.append((np.nan, np.nan, np.nan))
                continue
            found = profiler.profile(number, cut)
            rows.append((found.estimate, found.low, found.high))
            curves[parameter.name] = ProfileCurve(found.value, found.zeta)
            problems += [f"{parameter.name}: {problem}" for problem in found.problems]
            report.update(number + 1)
    if problems:
        message = "Profiles are not to be trusted everywhere: " + "; ".join(problems) + "." + read_more("intervals")
        warnings.warn(message, ConvergenceWarning, stacklevel=level_of_caller())
    columns = ["estimate", "conf_low", "conf_high"]
    return ProfileIntervals(Table(rows, index=[part.name for part in chosen], columns=columns), curves, level)


def mixed_model(est: Any) -> Any:
    """Return the fitted MixedLinear or MixedLogit in `est`."""
    from skdep.glmm.logit import MixedLogit

    model = unwrap(est)
    if not (is_linear(model) or isinstance(model, MixedLogit)):
        raise TypeError(f"This is for MixedLinear and MixedLogit, got {type(model).__name__}.")
    return model


def is_flat_logit(model: Any) -> bool:
    """Say whether a fitted model is a LogitRegressor."""
    from skdep.logit.estimator import LogitRegressor

    return isinstance(model, LogitRegressor)


def is_linear(model: Any) -> bool:
    """Say whether a fitted model is a MixedLinear."""
    from skdep.mixed.linear import MixedLinear

    return isinstance(model, MixedLinear)


def _linear_profiler(model: Any, parameters: str | Sequence[str] | None) -> Any:
    from skdep.mixed.natural_parameters import natural_parameters
    from skdep.mixed.profiling import Profiler

    if model.weight_type == "sampling":
        raise ValueError(
            "Profile intervals need a likelihood; with weight_type='sampling' there is but a pseudo-likelihood, whose "
            "ratios have no chi-square distribution. coef_table has robust intervals of the coefficients."
        )
    if model.sigma2_ == 0.0:
        raise ValueError("The fit leaves no residual variance: its likelihood is infinite, and has no profile.")
    fit, names = model._model, model._inference.names
    everything = natural_parameters(names, model.random_names_, model._working_order, fit.parameters)
    return Profiler(fit, _choose(everything, parameters))


def _logit_profiler(model: Any, parameters: str | Sequence[str] | None, X: Any, y: Any, *rest: Any) -> Any:
    from skdep.glmm.profiling import LogitProfiler
    from skdep.glmm.refitting import check_refittable, logit_parameters, rows_given_again

    check_refittable(model, "Profile intervals")
    chosen = _choose(logit_parameters(model), parameters)
    if X is None or y is None:
        raise ValueError(
            "The profile of a MixedLogit needs the data of the fit again, since fits keep no rows: give X=, y= and "
            "groups=, and offset= and sample_weight= if there were any."
        )
    return LogitProfiler(model, rows_given_again(model, X, y, *rest), chosen)


def _flat_profiler(
    model: Any, parameters: str | Sequence[str] | None, X: Any, y: Any, _: Any, sample_weight: Any, offset: Any
) -> Any:
    from skdep.inference._logit_profile import FlatLogitProfiler, check_profile
    from skdep.mixed.natural_parameters import NaturalParameter

    check_profile(model)
    everything = [NaturalParameter(name, "coefficient", k) for k, name in enumerate(model._inference.names)]
    chosen = _choose(everything, parameters)
    if not chosen:
        raise ValueError("A LogitRegressor has no variances: its parameters are coefficients.")
    if X is None or y is None:
        raise ValueError(
            "The profile of a LogitRegressor needs the data of the fit again, since fits keep no rows: give X= and y=, "
            "and offset= and sample_weight= if there were any."
        )
    return FlatLogitProfiler(model, X, y, sample_weight, offset, chosen)


def _choose(everything: Sequence[Any], parameters: str | Sequence[str] | None) -> list[Any]:
    """Return the parameters asked for, in the order of the model."""
    if parameters is None:
        return list(everything)
    asked = [parameters] if isinstance(parameters, str) else list(parameters)
    known = {part.name for part in everything}
    unknown = [name for name in asked if name not in known | {"coefficients", "variances"}]
    if unknown or not asked:
        raise ValueError(f"parameters has unknown names {unknown}; the model has {sorted(known)}.")
    kinds = {kind for kind in ("coefficients", "variances") if kind in asked and kind not in known}

    def wanted(part: Any) -> bool:
        kind = "coefficients" if part.kind == "coefficient" else "variances"
        return part.name in asked or kind in kinds

    return [part for part in everything if wanted(part)]
