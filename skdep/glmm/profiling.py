r"""Profile likelihood of a logistic mixed model: along a parameter, the signed root zeta of the likelihood ratio.

zeta(x) = sign(x - estimate) sqrt(2 (F(x) - F(estimate))), F the least -log L over all other parameters. The slope of F
along the profile is that of the criterion there, whatever the others do, so that dx / d zeta = zeta / F' comes with
every point; an end of an interval, where zeta = +-cut, is found by cubic interpolation of x as a function of zeta,
inside a bracket.

References
----------
Bates and Watts (1988), Nonlinear Regression Analysis and Its Applications, section 6.1: profile t.
Venzon and Moolgavkar (1988), Applied Statistics 37, 87-94: intervals from the profile likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._threads import one_blas_thread
from skdep.glmm.constrained import Constraint, Frame, Held, HeldCoefficient, HeldCorrelation, HeldDeviation, make_frame
from skdep.glmm.held_search import HeldPoint, HeldSearch, rate_of_change
from skdep.glmm.refitting import GivenRows, parameter_values, settings_for
from skdep.glmm.working import GlmmData
from skdep.mixed.natural_parameters import NaturalParameter
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.profiling import Profile

__all__ = ["LogitProfiler", "small_data"]

# Error of zeta at the ends, and the promised decrease of -2 log L at which searches end: a tenth of what that takes.
_ZETA_TOL, _TOL = 1e-6, 1e-8
_MAX_ITER = 100
_MOST_POINTS = 40
# Relative width of a bracket that is closed, and the change of zeta over it that is no rounding.
_CLOSED, _JUMP = 1e-7, 1e-3
# Points after which a side that has not crossed the cut is tried at its bound.
_PATIENCE = 6
# Changes of the linear predictor, in log odds, beyond which no data tell parameters apart.
_FAR = 100.0
# Decreases of -2 log L below the lowest value that count as none.
_ROUNDING, _QUADRATURE_ERROR = 1e-5, 2e-2
# Rows times nodes up to which the engines use one thread anyway.
_SMALL = 500_000


def small_data(data: GlmmData, n_nodes: int) -> AbstractContextManager[Any]:
    """Return a context that holds the linear algebra library at one thread where data are small."""
    q = data.rows.terms[0].q if data.rows.terms else 1
    return one_blas_thread() if data.rows.n_rows * n_nodes**q < _SMALL else nullcontext()


class LogitProfiler:
    """Fits of a logistic mixed model with one parameter held.

    Parameters
    ----------
    model : MixedLogit
        The fitted model.
    given : GivenRows
        Its rows.
    parameters : sequence of NaturalParameter
        Parameters to profile.
    """

    def __init__(self, model: Any, given: GivenRows, parameters: Sequence[NaturalParameter]):
        fit = model._model
        self.data, self.parameters, self.settings = given.data, tuple(parameters), settings_for(model, given)
        self.converged = bool(fit.converged)
        self.factors, self.to_user, self.back = list(fit.factors), fit.to_user, self.data.basis.back
        self.beta = np.linalg.lstsq(self.back, model._inference.estimate, rcond=None)[0]
        self.estimates = parameter_values(self.parameters, self.back, self.to_user, self.beta, self.factors)
        for k, parameter in enumerate(self.parameters):
            if parameter.kind == "correlation" and abs(self.estimates[k]) > 1.0 - 1e-9:
                self.estimates[k] = np.sign(self.estimates[k])
        self._frames: dict[tuple[int, ...], tuple[Frame, HeldPoint]] = {}

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
        limits = {"correlation": (-1.0, 1.0), "sd": (0.0, np.inf)}
        lower, upper = limits.get(parameter.kind, (-np.inf, np.inf))
        if np.isnan(estimate):
            # of effects without variance every correlation has the same likelihood
            return Profile(estimate, lower, upper, np.array([lower, upper]), np.zeros(2))
        with small_data(self.data, self.settings.n_quadrature or 1):
            held, optimum, far = self._held(parameter)
            curve = _Curve(held, estimate, optimum, cut, far, self._slack(parameter), self._highest(parameter))
            low, high = curve.end(-1, lower), curve.end(1, upper)
        value, zeta = curve.points()
        return Profile(estimate, low, high, value, zeta, tuple(curve.problems))

    def _slack(self, parameter: NaturalParameter) -> float:
        """Return how much lower than at the estimates -2 log L may seem: by the quadrature's error on turned axes."""
        is_turned = parameter.kind != "coefficient" and len(self._block(parameter.term, parameter.first)) > 1
        return _QUADRATURE_ERROR if is_turned and self.settings.n_quadrature != 1 else _ROUNDING

    def _highest(self, parameter: NaturalParameter) -> float:
        """Return what -log L cannot exceed along a profile.

        Where an effect has no variance, its correlations may be anything: that of the model without it.
        """
        if parameter.kind != "correlation":
            return np.inf
        values = []
        for effect in (parameter.first, parameter.second):
            frame, optimum = self._frame(parameter.term, effect)
            held = HeldDeviation(frame, parameter.term, int(self._block(parameter.term, effect)[0]), 1.0)
            search = HeldSearch(frame, held.at(0.0), max_iter=_MAX_ITER, tol=_TOL)
            try:
                found = search.run(held.theta(optimum.x, 0.0), optimum.state, optimum.hessian)
            except np.linalg.LinAlgError:
                continue
            values.append(found.value)
        return min(values, default=np.inf)

    def _held(self, parameter: NaturalParameter) -> tuple[Held, HeldPoint, float]:
        """Return the held parameter, the maximum of the likelihood in its frame, and which change of it is large."""
        k, term = parameter.first, parameter.term
        if parameter.kind == "coefficient":
            frame, optimum = self._frame()
            scale = float(np.linalg.norm(self.back[k] * self.data.units))
            return HeldCoefficient(frame, self.back[k]), optimum, _FAR * scale
        rows = self.to_user[term]
        size = float(np.linalg.norm(rows[k]))
        if parameter.kind == "sd":
            frame, optimum = self._frame(term, k)
            return HeldDeviation(frame, term, int(self._block(term, k)[0]), size), optimum, _FAR * size
        pair = rows[[k, parameter.second]]
        frame, optimum = self._frame(term, k, parameter.second)
        first, second = pair / np.linalg.norm(pair, axis=1)[:, None]
        place = self._block(term, k)[:2]
        return HeldCorrelation(frame, term, int(place[0]), int(place[1]), float(first @ second)), optimum, np.inf

    def _block(self, term: int, effect: int) -> np.ndarray:
        """Return the effects of the block that an effect of a term belongs to."""
        blocks = CovarianceParameters(tuple(map(len, self.factors)), self.settings.structure).blocks[term]
        return next(block for block in blocks if effect in block)

    def _frame(self, *place: int) -> tuple[Frame, HeldPoint]:
        """Return a frame, and the maximum of the likelihood there.

        Parameters
        ----------
        *place : int
            A term and effects of a block of it, which the first of the turned effects span; none for the frame of the
            fit.
        """
        if len(place) == 2 and len(self._block(*place)) == 1:
            place = ()
        if place not in self._frames:
            term, rotation = 0, None
            if place:
                term, *effects = place
                block = self._block(term, effects[0])
                rotation = np.eye(len(self.factors[term]))
                rotation[np.ix_(block, block)] = _rotation(self.to_user[term][effects][:, block])
            rows, units = self.data.rows, self.data.units
            frame = make_frame(rows, self.settings, units, self.beta, self.factors, term=term, rotation=rotation)
            found = frame, _maximum(frame)
            if len(place) > 2:
                # of no use to other parameters
                return found
            self._frames[place] = found
        return self._frames[place]


def _rotation(directions: np.ndarray) -> np.ndarray:
    """Return an orthogonal matrix whose first rows span `directions` (k, q) one after the other."""
    k, q = directions.shape
    columns = np.linalg.qr(np.column_stack([directions.T, np.eye(q)]))[0]
    signs = np.where(np.einsum("qk,kq->k", columns[:, :k], directions) < 0, -1.0, 1.0)
    columns[:, :k] *= signs
    return columns.T


def _maximum(frame: Frame) -> HeldPoint:
    """Return the maximum of the likelihood: the estimates, but for what quadrature changes in another frame."""
    kept = np.flatnonzero(frame.free)
    matrix = np.diag(frame.units)[:, kept]
    nothing = Constraint(np.where(frame.free, 0.0, frame.x), matrix, np.zeros_like(frame.x), np.zeros_like(matrix))
    search = HeldSearch(frame, nothing, max_iter=_MAX_ITER, tol=_TOL)
    return search.run(frame.x[kept] / frame.units[kept], None, None)


@dataclass(frozen=True)
class _Point:
    """A point of a curve: value, zeta and d value / d zeta; parameters, their second derivative, rate of theta."""

    x: float
    zeta: float
    slope: float
    parameters: np.ndarray
    hessian: np.ndarray
    rate: np.ndarray | None


class _Curve:
    """Points of one profile, on both sides of the estimate."""

    def __init__(
        self, held: Held, estimate: float, optimum: HeldPoint, cut: float, far: float, slack: float, highest: float
    ):
        self.held, self.estimate, self.cut, self.far, self.slack = held, estimate, cut, far, slack
        self.lowest, self.highest = optimum.value, highest
        # with a likelihood that never falls below the cut, there is but the bound
        self.patience = 2 if 2.0 * (highest - optimum.value) < cut**2 else _PATIENCE
        self.problems: list[str] = []
        rate, curvature = rate_of_change(held.theta(optimum.x, estimate), optimum.hessian, held.at(estimate))
        slope = float(curvature**-0.5) if np.isfinite(curvature) and curvature > 0 else np.nan
        self._points = {estimate: _Point(estimate, 0.0, slope, optimum.x, optimum.hessian, rate)}
        self._warm = optimum.state

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return values and zeta of all points, in order."""
        pairs = sorted((point.x, point.zeta) for point in self._points.values())
        value, zeta = np.array(pairs).T
        return value, zeta

    def end(self, side: int, bound: float) -> float:
        """Return where zeta crosses the cut on one side: the bound if it does not, NaN if that cannot be found.

        Parameters
        ----------
        side : {-1, 1}
            Which side of the estimate.
        bound : float
            Bound of the parameter on that side.
        """
        if self.estimate == bound:
            return bound
        inside, outside = [self._points[self.estimate]], None
        for count in range(_MOST_POINTS):
            x = self._propose(side, inside, outside, bound, count)
            if abs(x - self.estimate) > self.far:
                return side * np.inf
            point = self._evaluate(x, inside[-1])
            if point is None:
                self._note(f"the likelihood at {x:.6g} could not be computed")
                return np.nan
            if abs(point.zeta - side * self.cut) < _ZETA_TOL:
                return point.x
            if side * point.zeta < self.cut:
                if point.x == bound:
                    return bound
                inside.append(point)
            else:
                outside = point
            if outside is not None and abs(outside.x - inside[-1].x) <= _CLOSED * abs(outside.x - self.estimate):
                # quadrature with too few nodes jumps, and so do ends of searches
                if abs(outside.zeta - inside[-1].zeta) > _JUMP:
                    self._note(f"the profile jumps at {outside.x:.6g}")
                return outside.x
        reached = sorted([inside[-1].x, bound if outside is None else outside.x])
        self._note(f"no end was found between {reached[0]:.6g} and {reached[1]:.6g}")
        return np.nan

    def _propose(self, side: int, inside: list[_Point], outside: _Point | None, bound: float, count: int) -> float:
        """Return the next value to look at."""
        last, target = inside[-1], side * self.cut
        if outside is not None:
            guess = _interpolated(last, outside, target)
            position = (guess - last.x) / (outside.x - last.x)
            # bisect where interpolation fails, or is slow
            return guess if 0.0 < position < 1.0 and count % 6 != 5 else 0.5 * (last.x + outside.x)
        if len(inside) == 1:
            # half way first: two points show how zeta bends
            guess = self.estimate + 0.5 * target * (last.slope if np.isfinite(last.slope) else self._first_slope())
            return guess if side * (bound - guess) > 0 else 0.5 * (self.estimate + bound)
        reach = abs(last.x - self.estimate)
        guess = _interpolated(inside[-2], last, target)
        if not 0.0 < side * (guess - last.x) < 3.0 * reach:
            guess = last.x + side * 2.0 * reach
        return guess if side * (bound - guess) > 0 and (count < self.patience or np.isinf(bound)) else bound

    def _first_slope(self) -> float:
        """Return a guess of the standard error, where second derivatives do not tell."""
        return 0.2 if np.isinf(self.far) else 0.005 * self.far

    def _evaluate(self, x: float, near: _Point) -> _Point | None:
        """Maximise the likelihood at x; where that fails, nearer to a point that is known."""
        for _ in range(5):
            try:
                found = self._search(x, near)
                break
            except np.linalg.LinAlgError:
                x = 0.5 * (x + near.x)
        else:
            return None
        constraint, rise = self.held.at(x), 2.0 * (min(found.value, self.highest) - self.lowest)
        if rise < -self.slack:
            self._note(f"a better fit was found at {x:.6g}: -2 log-likelihood is lower by {-rise:.3g}")
        if not found.converged:
            self._note(f"the fit at {x:.6g} did not converge")
        zeta = float(np.sign(x - self.estimate) * np.sqrt(max(rise, 0.0)))
        by_value = float(found.gradient @ constraint.velocity(found.theta))
        is_curved = by_value * zeta > 0 and found.value < self.highest
        slope = zeta / by_value if is_curved else np.nan
        rate, _ = rate_of_change(found.theta, found.hessian, constraint)
        point = _Point(x, zeta, slope, found.x, found.hessian, rate)
        self._points[x], self._warm = point, found.state
        return point

    def _search(self, x: float, near: _Point) -> HeldPoint:
        constraint = self.held.at(x)
        theta = self.held.theta(near.parameters, x)
        if near.rate is not None and len(near.rate) == len(theta):
            move = (x - near.x) * near.rate
            if np.abs(move).max(initial=0.0) < 1.0 + 0.5 * np.abs(theta).max(initial=0.0):
                theta = theta + move
        search = HeldSearch(self.held.frame, constraint, max_iter=_MAX_ITER, tol=_TOL)
        return search.run(theta, self._warm, near.hessian)

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _interpolated(first: _Point, second: _Point, target: float) -> float:
    """Return the value at zeta = target, by the cubic through two points and their slopes as far as there are any."""
    width = second.zeta - first.zeta
    if abs(width) < 1e-12:
        return np.nan
    t = (target - first.zeta) / width
    secant = (second.x - first.x) / width
    slopes = [part.slope if np.isfinite(part.slope) else secant for part in (first, second)]
    bend = slopes[0] + slopes[1] - 2.0 * secant
    return first.x + width * (t * slopes[0] + t * t * (3.0 * secant - 2.0 * slopes[0] - slopes[1]) + t**3 * bend)
