"""Profile-likelihood intervals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skdep.base import level_of_caller
from skdep.inference._access import unwrap
from skdep.inference._progress import Progress
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
        return self.table.to_html(float_format=lambda value: f"{value:.5g}")


def profile_interval(
    est: Any, parameters: str | Sequence[str] | None = None, *, level: float = 0.95, progress: bool = False
) -> ProfileIntervals:
    r"""Find profile-likelihood intervals of the parameters of a linear mixed model.

    The interval holds all values that a likelihood-ratio test does not reject. It need not be symmetric, does not leave
    the parameter space, and is the interval of choice for standard deviations and correlations of random effects: a
    standard deviation whose likelihood at zero is not rejected has the lower end 0, a correlation may end at -1 or 1.

    Parameters
    ----------
    est : MixedLinear
        A fitted linear mixed model, or a pipeline or search around one. No data are needed.
    parameters : str or sequence of str, optional
        Names of parameters, as they are in the table; ``"coefficients"`` stands for all coefficients, ``"variances"``
        for all the others. By default all.
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
        If names are unknown, `level` is not between 0 and 1, or the fit has no likelihood: with sampling weights it is
        a pseudo-likelihood, without residual variance it is infinite.

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

    References
    ----------
    Venzon and Moolgavkar (1988), A method for computing profile-likelihood-based confidence intervals, Applied
    Statistics 37, 87-94.
    Bates, Maechler, Bolker and Walker (2015), Fitting linear mixed-effects models using lme4, Journal of Statistical
    Software 67(1), section 5.1.

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
    """
    from skdep.mixed.natural_parameters import natural_parameters
    from skdep.mixed.profiling import Profiler

    model = linear_mixed(est)
    if model.weight_type == "sampling":
        raise ValueError(
            "Profile intervals need a likelihood; with weight_type='sampling' there is but a pseudo-likelihood, whose "
            "ratios have no chi-square distribution. coef_table has robust intervals of the coefficients."
        )
    if model.sigma2_ == 0.0:
        raise ValueError("The fit leaves no residual variance: its likelihood is infinite, and has no profile.")
    cut = float(critical_value(level, np.inf))
    fitted, names = model._inference, model.random_names_
    everything = natural_parameters(
        fitted.names, names, model._working_order, diagonal=model._model.parameters.diagonal
    )
    chosen = _choose(everything, parameters)
    profiler = Profiler(model._model, chosen)
    report = Progress("Profiles", len(chosen), progress)
    rows, curves, problems = [], {}, [] if profiler.converged else ["the fit by ML did not converge"]
    for number, parameter in enumerate(chosen):
        if parameter.kind == "coefficient" and fitted.aliased[parameter.first]:
            rows.append((np.nan, np.nan, np.nan))
            continue
        found = profiler.profile(number, cut)
        rows.append((found.estimate, found.low, found.high))
        curves[parameter.name] = ProfileCurve(found.value, found.zeta)
        problems += [f"{parameter.name}: {problem}" for problem in found.problems]
        report.update(number + 1)
    if problems:
        message = "Profiles are not to be trusted everywhere: " + "; ".join(problems) + "."
        warnings.warn(message, ConvergenceWarning, stacklevel=level_of_caller())
    columns = ["estimate", "conf_low", "conf_high"]
    return ProfileIntervals(Table(rows, index=[part.name for part in chosen], columns=columns), curves, level)


def linear_mixed(est: Any) -> Any:
    """Return the fitted MixedLinear in `est`."""
    from skdep.mixed.linear import MixedLinear

    model = unwrap(est)
    if not isinstance(model, MixedLinear):
        raise TypeError(f"This is for MixedLinear, got {type(model).__name__}.")
    return model


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
