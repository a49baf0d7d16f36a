r"""Profile likelihood of a logistic regression, in units of what the design makes of it.

With one coefficient held, the (pseudo-)log-likelihood is maximised over the others by Newton steps under that equation:
with score g, information H and held combination a'b, the step is :math:`H^{-1} (g - \mu a)`, and the multiplier
:math:`\mu = a' H^{-1} g / a' H^{-1} a` is the slope of the profile. The signed root of twice what the likelihood loses,
over the design effect of the coefficient, is zeta; an interval ends where it is a quantile of the t distribution.

References
----------
Venzon and Moolgavkar (1988), A method for computing profile-likelihood-based confidence intervals, Applied Statistics
37, 87-94.
Lumley and Scott (2014), Tests for regression models fitted to survey data, Australian and New Zealand Journal of
Statistics 56, 1-14: the scale of the statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from skdep._fingerprint import DataFingerprint, fingerprint, same_column
from skdep._linalg import scaled_solve
from skdep._validation import check_rows
from skdep.inference._working_model import working_covariance
from skdep.logit.kernel import LogisticData
from skdep.logit.rows import Metadata
from skdep.mixed.natural_parameters import NaturalParameter
from skdep.mixed.profiling import Profile

__all__ = ["FlatLogitProfiler", "check_profile"]

# Newton decrement, in standard errors, at which others are at their maximum; error of zeta at the ends.
_DECREMENT, _ZETA_TOL = 1e-6, 1e-9
_MOST_STEPS, _MOST_HALVINGS, _MOST_POINTS = 50, 60, 60
# Longest step beyond a bracket, in Wald half-widths.
_FURTHER = 4.0


@dataclass(frozen=True)
class _Point:
    """The maximum with the coefficient held: its value and zeta, slope of zeta, all parameters."""

    x: float
    zeta: float
    slope: float
    params: np.ndarray


def check_profile(model: Any) -> None:
    """Raise ValueError for fits without a likelihood that has a maximum."""
    if model.penalty is not None:
        raise ValueError(
            f"The fit has penalty={model.penalty!r}: ratios of its likelihoods have no known distribution. Fit with "
            "penalty=None."
        )
    if model.separated_:
        raise ValueError(
            f"Profile intervals need finite estimates, and those of {model.separated_} are not: features separate the "
            "outcomes. Leave them out."
        )


class FlatLogitProfiler:
    """Fits of a logistic regression with one coefficient held.

    Parameters
    ----------
    model : LogitRegressor
        The fitted model.
    X, y, sample_weight, offset : array-like
        What it was fitted to; groups, strata and populations are in its covariance.
    parameters : sequence of NaturalParameter
        Coefficients to profile.

    Raises
    ------
    ValueError
        If data are malformed, or not those of the fit.
    """

    def __init__(
        self, model: Any, X: Any, y: Any, sample_weight: Any, offset: Any, parameters: Sequence[NaturalParameter]
    ):
        twin = clone(model).set_params(tol=min(model.tol, 1e-9))
        X, y = check_rows(twin, X, y)
        rows = twin._rows(X, y, Metadata(None, sample_weight, offset, None, None))
        given = fingerprint(rows.data.X, rows.data.sign, weights=rows.data.weights, offset=rows.data.offset)
        if not (np.array_equal(twin.classes_, model.classes_) and _same_data(model._inference.data, given)):
            raise ValueError(
                "These are not the data of the fit: give the X, y, offset and sample_weight that est was fitted to."
            )
        fit, basis = twin._maximise(rows.data)
        self.parameters, self.converged = tuple(parameters), bool(model.converged_ and fit.converged)
        self.data: LogisticData = rows.data if basis is None else twin._in_basis(rows.data, basis)
        self.back = np.eye(self.data.n_params) if basis is None else basis.back
        self.params = fit.params
        self.loglik = self.data.summary(fit.params).loglik
        fitted = model._inference
        self.variances = np.diag(fitted.covariance())
        with np.errstate(divide="ignore", invalid="ignore"):
            self.effects = self.variances / np.diag(working_covariance(fitted))

    def profile(self, number: int, cut: float) -> Profile:
        """Profile a coefficient.

        Parameters
        ----------
        number : int
            Which of the parameters.
        cut : float
            Value of zeta at the ends of the interval.
        """
        which = self.parameters[number].first
        direction, effect = self.back[which], float(self.effects[which])
        estimate = float(direction @ self.params)
        if not (effect > 0 and np.isfinite(effect) and np.isfinite(cut)):
            problem = ("its standard error, or the degrees of freedom, are not positive numbers",)
            return Profile(estimate, np.nan, np.nan, np.array([estimate]), np.zeros(1), problem)
        half_width = cut * float(np.sqrt(self.variances[which]))
        sides = [self._end(direction, effect, estimate, sign, cut, half_width) for sign in (-1.0, 1.0)]
        points = {estimate: 0.0} | {point.x: point.zeta for side in sides for point in side}
        reached = [abs(abs(side[-1].zeta) - cut) <= self._tolerance(effect) for side in sides]
        low, high = (side[-1].x if found else np.nan for side, found in zip(sides, reached, strict=True))
        problems = tuple(f"the {end} end was not found" for end, found in zip(("lower", "upper"), reached) if not found)
        value = np.array(sorted(points))
        return Profile(estimate, low, high, value, np.array([points[x] for x in value]), problems)

    def _tolerance(self, effect: float) -> float:
        """Return the error of zeta at an end: what rounding of the log-likelihood leaves, at least."""
        return _ZETA_TOL + 1e-14 * abs(self.loglik) / effect

    def _end(
        self, direction: np.ndarray, effect: float, estimate: float, sign: float, cut: float, half_width: float
    ) -> list[_Point]:
        """Return points from half way to an end of the interval, by Newton steps on zeta inside a bracket."""
        point = self._held(direction, effect, estimate, estimate + 0.5 * sign * half_width, self.params)
        points, inside, outside = [point], estimate, sign * np.inf
        x = estimate + sign * half_width
        for _ in range(_MOST_POINTS):
            point = self._held(direction, effect, estimate, x, point.params)
            points.append(point)
            short = sign * cut - point.zeta
            if abs(short) <= self._tolerance(effect):
                break
            if sign * short > 0:
                inside = x
            else:
                outside = x
            step = short / point.slope if point.slope > 0 else sign * half_width
            x = point.x + float(np.clip(step, -_FURTHER * half_width, _FURTHER * half_width))
            if not min(inside, outside) < x < max(inside, outside):
                x = 0.5 * (inside + outside) if np.isfinite(outside) else inside + sign * half_width
        return points

    def _held(self, direction: np.ndarray, effect: float, estimate: float, value: float, params: np.ndarray) -> _Point:
        """Maximise the likelihood with direction @ params held at a value, from parameters elsewhere on the profile."""
        params, loglik, multiplier = self._maximise(direction, value, params)
        lost = max(2.0 * (self.loglik - loglik) / effect, 0.0)
        zeta = np.sign(value - estimate) * np.sqrt(lost)
        slope = -multiplier / (effect * zeta) if zeta != 0.0 else np.nan
        return _Point(value, float(zeta), float(slope), params)

    def _maximise(self, direction: np.ndarray, value: float, params: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return parameters, log-likelihood, and its slope along the profile."""
        summary = self.data.summary(params)
        for number in range(_MOST_STEPS):
            newton, toward = scaled_solve(summary.information, np.column_stack([summary.score, direction])).T
            multiplier = float(direction @ newton) / float(direction @ toward)
            if number == 0:
                params = params + (value - direction @ params) / float(direction @ toward) * toward
                summary = self.data.summary(params)
                continue
            step = newton - multiplier * toward
            squared = float(step @ summary.information @ step)
            if squared <= _DECREMENT**2:
                return params + step, summary.loglik + 0.5 * squared, multiplier
            rounding = 1e-14 * (abs(summary.loglik) + 1.0)
            for halving in range(_MOST_HALVINGS):
                candidate = self.data.summary(params + 0.5**halving * step)
                if candidate.loglik >= summary.loglik + 1e-4 * 0.5**halving * squared - rounding:
                    break
            params, summary = params + 0.5**halving * step, candidate
        return params, summary.loglik, multiplier


def _same_data(fitted: DataFingerprint, given: DataFingerprint) -> bool:
    """Say whether rows are those of the fit, in any order."""
    return (
        fitted.same_rows(given)
        and fitted.same_offset(given)
        and len(fitted.features) == len(given.features)
        and all(same_column(old, new) for old, new in zip(fitted.features, given.features, strict=True))
    )
