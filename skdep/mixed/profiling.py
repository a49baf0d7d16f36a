r"""Profile likelihood: the signed root zeta of the likelihood-ratio statistic along a parameter, and where it crosses.

zeta(x) = sign(x - estimate) sqrt(deviance(x) - deviance(estimate)) is nearly linear. The end of an interval, where
zeta = +-cut, is found by interpolating x as a function of zeta through the points seen, inside a bracket.

References
----------
Bates and Watts (1988), Nonlinear Regression Analysis and Its Applications, section 6.1: profile t.
Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), section 5.1: profiles of mixed models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skdep.mixed.constrained import ConstrainedFit, fix_coefficient, fix_correlation, fix_residual, fix_sd, nudged
from skdep.mixed.fit import LinearMixedFit, canonical, fit_products
from skdep.mixed.natural_parameters import NaturalParameter, natural_values

__all__ = ["Profile", "Profiler"]

# Error of zeta at the ends: interval ends are exact to about 1e-6 of their distance from the estimate.
_ZETA_TOL = 1e-6
_MAX_EVALUATIONS = 40
# Evaluations after which a side that has not crossed the cut is tried at its bound.
_PATIENCE = 8
# Fraction of the residual SD that stands for zero.
_SMALL_RESIDUAL = 1e-3


@dataclass(frozen=True)
class Profile:
    """The profile of one parameter.

    Parameters
    ----------
    estimate, low, high : float
        Maximum likelihood estimate, and ends of the interval; NaN where an end could not be found.
    value, zeta : ndarray
        Points of the curve, in increasing order of `value`.
    problems : tuple of str
        What went wrong.
    """

    estimate: float
    low: float
    high: float
    value: np.ndarray
    zeta: np.ndarray
    problems: tuple[str, ...] = ()


class Profiler:
    """The maximum likelihood fit, and fits with one parameter fixed.

    Parameters
    ----------
    fit : LinearMixedFit
        A fit, by ML or REML; it is fitted again by ML from its cross-products.
    parameters : sequence of NaturalParameter
        Parameters to profile.
    """

    def __init__(self, fit: LinearMixedFit, parameters: Sequence[NaturalParameter]):
        self.fit, self.parameters = fit, tuple(parameters)
        self.products, self.layout = fit.products, fit.parameters
        start = nudged(fit.factors) if fit.factors else None
        self.engine, optimum = fit_products(
            self.products, self.layout, reml=False, max_iter=200, tol=1e-12, start=start
        )
        state = optimum.state
        self.converged, self.deviance, self.border = optimum.converged, state.value, state.border
        self.factors = list(state.factors)
        values = natural_values(self.parameters, self.products, fit.back, fit.origin, self.factors, self.border)
        self.estimates = self._on_bound(values)
        self.unit = self.products.y_scale

    def _on_bound(self, values: np.ndarray) -> np.ndarray:
        """Return estimates, exact zeros and ones where the search ended next to the boundary."""
        scale = np.sqrt(self.border.sigma2) * self.products.y_scale
        result = values.copy()
        for k, parameter in enumerate(self.parameters):
            if parameter.kind == "sd" and values[k] < 1e-6 * scale * self._effect_unit(parameter):
                result[k] = 0.0
            elif parameter.kind == "correlation" and abs(values[k]) > 1.0 - 1e-9:
                result[k] = np.sign(values[k])
        return result

    def _effect_unit(self, parameter: NaturalParameter) -> float:
        """Return the unit of an effect of working size one, in units of y."""
        return float(np.linalg.norm(self.products.terms[parameter.term].to_user[parameter.first]))

    def profile(self, number: int, cut: float) -> Profile:
        """Profile a parameter.

        Parameters
        ----------
        number : int
            Which one.
        cut : float
            Value of zeta at the ends of the interval.
        """
        parameter, estimate = self.parameters[number], float(self.estimates[number])
        lower, upper = self._bounds(parameter)
        if parameter.kind == "residual":
            # the likelihood at zero is a limit, infinite or that of this point
            lower = _SMALL_RESIDUAL * estimate
        if np.isnan(estimate):
            # of effects without variance every correlation has the same likelihood
            return Profile(estimate, lower, upper, np.array([lower, upper]), np.zeros(2))
        curve = _Curve(self._evaluator(parameter), estimate, self.deviance, self.factors, cut)
        step = self._first_step(parameter, estimate)
        low = curve.end(-1, lower, step)
        high = curve.end(1, upper, step)
        value, zeta = curve.points()
        if parameter.kind == "residual" and low == lower:
            low = 0.0
        return Profile(estimate, low, high, value, zeta, tuple(curve.problems))

    @staticmethod
    def _bounds(parameter: NaturalParameter) -> tuple[float, float]:
        limits = {"coefficient": (-np.inf, np.inf), "correlation": (-1.0, 1.0)}
        return limits.get(parameter.kind, (0.0, np.inf))

    def _evaluator(self, parameter: NaturalParameter) -> Callable[[float, list[np.ndarray]], ConstrainedFit]:
        """Return the function that fits with the parameter at a value, from given factors."""
        products, layout, unit = self.products, self.layout, self.unit
        k, term = parameter.first, parameter.term
        if parameter.kind == "coefficient":
            combination, origin = self.fit.back[k] * unit, self.fit.origin[k]
            return lambda x, start: fix_coefficient(products, layout, combination, x - origin, start or None)
        if parameter.kind == "residual":
            return lambda x, start: fix_residual(self.engine, (x / unit) ** 2, start)
        if parameter.kind == "sd":
            sigma2 = self.border.sigma2
            return lambda x, start: fix_sd(self.engine, term, k, (x / unit) ** 2, start, sigma2)
        return lambda x, start: fix_correlation(self.engine, term, (k, parameter.second), x, start)

    def _first_step(self, parameter: NaturalParameter, estimate: float) -> float:
        """Guess a standard error: where the search for the ends begins."""
        if parameter.kind == "coefficient":
            root = self.fit.back[parameter.first] @ self.border.inverse_root
            return float(np.sqrt(root @ root * self.border.sigma2)) * self.unit
        if parameter.kind == "residual":
            return estimate / np.sqrt(2.0 * self.products.n_obs)
        n_levels = self.products.terms[parameter.term].n_levels
        if parameter.kind == "correlation":
            return max(1.0 - estimate**2, 0.05) / np.sqrt(n_levels)
        least = 0.05 * np.sqrt(self.border.sigma2) * self.unit * self._effect_unit(parameter)
        return max(estimate / np.sqrt(2.0 * n_levels), least / np.sqrt(n_levels))


class _Curve:
    """Points of one profile, on both sides of the estimate."""

    def __init__(self, evaluate: Callable, estimate: float, deviance: float, factors: list[np.ndarray], cut: float):
        self.evaluate, self.estimate, self.deviance, self.cut = evaluate, estimate, deviance, cut
        self.problems: list[str] = []
        self._points: dict[float, tuple[float, list[np.ndarray]]] = {estimate: (0.0, factors)}

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return values and zeta of all finite points, in order."""
        pairs = sorted((x, zeta) for x, (zeta, _) in self._points.items() if np.isfinite(zeta))
        value, zeta = np.array(pairs).T
        return value, zeta

    def zeta(self, x: float) -> float:
        """Return zeta at x, from the nearest point that is known."""
        start = self._start(x)
        try:
            fit = self.evaluate(x, start)
        except np.linalg.LinAlgError:
            fit = ConstrainedFit(np.nan, start, False)
        rise = fit.value - self.deviance
        if rise < -1e-5:
            self._note(f"a better fit was found at {x:.6g}: -2 log-likelihood is lower by {-rise:.3g}")
        if np.isfinite(rise) and not fit.converged:
            self._note(f"the fit at {x:.6g} did not converge")
        zeta = float(np.sign(x - self.estimate) * np.sqrt(max(rise, 0.0))) if not np.isnan(rise) else np.nan
        self._points[x] = zeta, canonical(fit.factors)
        return zeta

    def _start(self, x: float) -> list[np.ndarray]:
        """Return factors to begin with at x: on the line through the two nearest points, or off the boundary."""
        nearest = sorted(self._points, key=lambda at: abs(at - x))[:2]
        first, *others = (self._points[at][1] for at in nearest)
        if others:
            weight = float(np.clip((x - nearest[0]) / (nearest[1] - nearest[0]), -2.0, 2.0))
            moved = [T + weight * (other - T) for T, other in zip(first, others[0], strict=True)]
            if all(np.diag(T).min() > 0.0 for T in moved):
                return nudged(moved, 1e-3)
        return nudged(first, 1e-3)

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def end(self, side: int, bound: float, step: float) -> float:
        """Return where zeta crosses the cut on one side; the bound if it does not, NaN if that cannot be found.

        Parameters
        ----------
        side : {-1, 1}
            Which side of the estimate.
        bound : float
            Bound of the parameter on that side.
        step : float
            Guess of the standard error.
        """
        if self.estimate == bound:
            return bound
        target, inner, outer = side * self.cut, self.estimate, bound
        outer_known = False
        x = self._first(target, step)
        for count in range(_MAX_EVALUATIONS):
            x = self._inside(x, inner, outer, outer_known, count)
            zeta = self.zeta(x)
            if np.isnan(zeta):
                self._note(f"the likelihood at {x:.6g} could not be computed")
                return np.nan
            if abs(zeta - target) < _ZETA_TOL:
                return x
            if side * zeta < self.cut:
                if x == bound:
                    return bound
                inner = x
            else:
                outer, outer_known = x, True
            x = self._guess(target)
        self._note(f"no end was found between {min(inner, outer):.6g} and {max(inner, outer):.6g}")
        return np.nan

    def _first(self, target: float, step: float) -> float:
        """Return where to begin: about half way to the end, since two points show how zeta bends."""
        side = np.sign(target)
        reach = max(abs(at - self.estimate) for at in self._points)
        if reach > 0:
            # what the other side tells
            x = self._guess(0.5 * target)
            if 0.05 * reach < side * (x - self.estimate) < 3.0 * reach:
                return x
            step = reach / self.cut
        return self.estimate + 0.5 * target * step

    def _inside(self, x: float, inner: float, outer: float, outer_known: bool, count: int) -> float:
        """Return x, brought to between the last point inside the interval and the first outside, or to the bound."""
        side = np.sign(outer - inner)
        if outer_known:
            position = (x - inner) / (outer - inner)
            # bisect where interpolation fails, or is slow
            return x if 0.0 < position < 1.0 and count % 8 != 7 else 0.5 * (inner + outer)
        if np.isfinite(outer) and (not np.isfinite(x) or side * (outer - x) <= 0 or count >= _PATIENCE):
            # the first step of all stays inside
            return outer if count else 0.5 * (inner + outer)
        reach = abs(inner - self.estimate)
        if count and (not np.isfinite(x) or not reach * 1e-3 < side * (x - inner) < 4.0 * reach):
            x = inner + side * 2.0 * reach
            return x if side * (outer - x) > 0 else outer
        return x

    def _guess(self, target: float) -> float:
        """Return x at zeta = target by interpolation, x as a polynomial of zeta through the nearest points."""
        pairs = sorted((abs(zeta - target), zeta, x) for x, (zeta, _) in self._points.items() if np.isfinite(zeta))
        zeta: list[float] = []
        values: list[float] = []
        for _, at, x in pairs:
            if all(abs(at - other) > 1e-9 for other in zeta):
                zeta.append(at)
                values.append(x)
            if len(zeta) == 4:
                break
        # Neville's scheme
        for width in range(1, len(zeta)):
            for k in range(len(zeta) - width):
                span = zeta[k] - zeta[k + width]
                values[k] = ((target - zeta[k + width]) * values[k] + (zeta[k] - target) * values[k + 1]) / span
        return values[0] if len(zeta) > 1 else np.nan
