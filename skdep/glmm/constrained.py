r"""Maximum likelihood with one parameter held fixed: a coefficient, a standard deviation, a correlation.

In suitable coordinates every such constraint is linear, x = origin + matrix theta, x the fixed effects and the entries
of the factors T. The effects of a block are turned by a rotation, b = C'b*, so that the held one is the first of them:

- a standard deviation is the first pivot, T_00; at zero the first column of T is zero;
- with the two effects w_a, w_b of a correlation rho at an angle phi, w_b'b is cos(phi) b*_0 + sin(phi) b*_1, which has
  standard deviation tau and correlation rho with b*_0 where

      cos(phi) T_00 + sin(phi) T_10 = rho tau,    sin(phi) T_11 = sqrt(1 - rho^2) tau,    T_00, tau >= 0.

The criterion is the fit's; with several effects a level its quadrature nodes lie along the turned axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from skdep.glmm.maximise import Settings, make_criterion
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.glmm.state import Criterion, State
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["Constraint", "Frame", "Held", "HeldCoefficient", "HeldCorrelation", "HeldDeviation", "make_frame"]


@dataclass(frozen=True)
class Frame:
    """The criterion in coordinates of the random effects in which a constraint is linear.

    Parameters
    ----------
    criterion : Criterion
        The engine.
    units : ndarray of shape (p + K,)
        Units of the parameters: a step of one moves the linear predictor by about one.
    x : ndarray of shape (p + K,)
        The estimates: fixed effects, and the free entries of T.
    free : ndarray of bool of shape (p + K,)
        Which parameters the model has: not the entries of T where there are no random effects.
    """

    criterion: Criterion
    units: np.ndarray
    x: np.ndarray
    free: np.ndarray

    @property
    def n_fixed(self) -> int:
        """Number of fixed effects."""
        return self.criterion.rows.n_fixed

    def value(self, x: np.ndarray, start: State | None) -> State:
        """Evaluate the criterion."""
        p = self.n_fixed
        return self.criterion.value(x[:p], self.criterion.parameters.unpack(x[p:]), start)

    def gradient(self, state: State) -> np.ndarray:
        """Differentiate it."""
        return self.criterion.gradient(state).packed(self.criterion.parameters)

    def entry(self, term: int, row: int, column: int) -> int:
        """Return the place of an entry of T."""
        parameters = self.criterion.parameters
        return self.n_fixed + int(parameters.bounds[term]) + parameters.entries[term].index((row, column))

    @property
    def pivots(self) -> np.ndarray:
        """Places of the diagonal entries of T of a model that has them."""
        parameters = self.criterion.parameters
        diagonal = [rows == columns for rows, columns in zip(parameters.rows, parameters.columns, strict=True)]
        is_pivot = np.concatenate([np.zeros(self.n_fixed, dtype=bool), *diagonal])
        return np.flatnonzero(is_pivot & self.free)


def make_frame(
    rows: GlmmRows,
    settings: Settings,
    units: np.ndarray,
    beta: np.ndarray,
    factors: Sequence[np.ndarray],
    *,
    term: int = 0,
    rotation: np.ndarray | None = None,
) -> Frame:
    """Make a frame.

    Parameters
    ----------
    rows : GlmmRows
        The data. A model without random effects has no terms.
    settings : Settings
        What the fit was asked for, and its number of nodes.
    units : ndarray of shape (p,)
        Units of the fixed effects.
    beta : ndarray of shape (p,)
        Estimates of the fixed effects.
    factors : sequence of ndarray
        Estimates of T.
    term : int, default=0
        The term whose effects are turned.
    rotation : ndarray of shape (q, q), optional
        Orthogonal C of the new effects b* = C b, which keeps blocks apart; by default they stay.
    """
    has_effects = bool(rows.terms)
    if not has_effects:
        # one level, whose effect is held at zero
        n = rows.n_rows
        rows = replace(rows, terms=(RowTerm(np.zeros(n, dtype=np.int64), 1, np.ones((1, n)), np.eye(1)),))
        settings = replace(settings, structure=False)
        factors = [np.zeros((1, 1))]
    if rotation is not None:
        terms, turned = list(rows.terms), list(factors)
        columns = np.ascontiguousarray(rotation @ terms[term].columns)
        terms[term] = replace(terms[term], columns=columns)
        layout = CovarianceParameters(tuple(part.q for part in terms), settings.structure)
        turned[term] = layout.lower_factor(term, rotation @ factors[term])
        rows, factors = replace(rows, terms=tuple(terms)), turned
    n_nodes = settings.n_quadrature or 1
    criterion = make_criterion(rows, settings, n_nodes if has_effects else 1)
    packed = criterion.parameters.pack(factors)
    free = np.concatenate([np.ones(len(beta), dtype=bool), np.full(len(packed), has_effects)])
    return Frame(criterion, np.concatenate([units, np.ones(len(packed))]), np.concatenate([beta, packed]), free)


@dataclass(frozen=True)
class Constraint:
    """Parameters x = origin + matrix theta that have the held one at a value.

    Parameters
    ----------
    origin : ndarray of shape (P,)
        x at theta zero.
    matrix : ndarray of shape (P, m)
        Derivative of x by theta.
    velocity_origin, velocity_matrix : ndarray
        Derivatives of both by the value; NaN where there are none.
    bounded : tuple of int
        Elements of theta that are not negative.
    pivots : tuple of int
        Elements of theta in which the criterion is even near zero: a search does not leave zero by itself.
    """

    origin: np.ndarray
    matrix: np.ndarray
    velocity_origin: np.ndarray
    velocity_matrix: np.ndarray
    bounded: tuple[int, ...] = ()
    pivots: tuple[int, ...] = ()

    def x(self, theta: np.ndarray) -> np.ndarray:
        """Return the parameters."""
        return self.origin + self.matrix @ theta

    def velocity(self, theta: np.ndarray) -> np.ndarray:
        """Return their derivative by the held value."""
        return self.velocity_origin + self.velocity_matrix @ theta


class Held:
    """A parameter that is held.

    Parameters
    ----------
    frame : Frame
        Where the constraint is linear.
    """

    def __init__(self, frame: Frame):
        self.frame = frame

    def at(self, value: float) -> Constraint:
        """Return the constraint that the parameter has a value."""
        raise NotImplementedError

    def theta(self, x: np.ndarray, value: float) -> np.ndarray:
        """Return theta next to given parameters, which need not meet the constraint."""
        constraint = self.at(value)
        lengths = np.sum(constraint.matrix**2, axis=0)
        return constraint.matrix.T @ (x - constraint.origin) / lengths

    def _places(self, kept: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return a matrix that leaves some parameters free, in units of theirs, and where pivots are among them."""
        matrix = np.diag(self.frame.units)[:, kept]
        return matrix, tuple(int(np.searchsorted(kept, place)) for place in self.frame.pivots if place in kept)


class HeldCoefficient(Held):
    """A linear combination of the fixed effects.

    Parameters
    ----------
    frame : Frame
        The coordinates.
    combination : ndarray of shape (p,)
        The parameter is the product of this and the fixed effects.
    """

    def __init__(self, frame: Frame, combination: np.ndarray):
        super().__init__(frame)
        p, units = frame.n_fixed, frame.units
        scaled = combination * units[:p]
        null = units[:p, None] * linalg.null_space(scaled[None])
        random = np.flatnonzero(frame.free[p:]) + p
        self._matrix = np.zeros((len(units), null.shape[1] + len(random)))
        self._matrix[:p, : null.shape[1]] = null
        self._matrix[random, null.shape[1] + np.arange(len(random))] = 1.0
        self._direction = np.zeros(len(units))
        self._direction[:p] = units[:p] * scaled / (scaled @ scaled)
        self._pivots = tuple(int(null.shape[1] + np.searchsorted(random, place)) for place in frame.pivots)
        self._inverse = np.linalg.pinv(self._matrix / units[:, None]) / units

    def at(self, value: float) -> Constraint:
        """Return the constraint that the parameter has a value."""
        return Constraint(
            value * self._direction, self._matrix, self._direction, np.zeros_like(self._matrix), (), self._pivots
        )

    def theta(self, x: np.ndarray, value: float) -> np.ndarray:
        """Return theta next to given parameters."""
        return self._inverse @ (x - value * self._direction)


class HeldDeviation(Held):
    """The standard deviation of an effect, the first of a turned block.

    Parameters
    ----------
    frame : Frame
        The coordinates.
    term, effect : int
        Which effect of the frame.
    size : float
        The parameter is this times the entry of T on the diagonal.
    """

    def __init__(self, frame: Frame, term: int, effect: int, size: float):
        super().__init__(frame)
        self.size = size
        parameters = frame.criterion.parameters
        self._place = frame.entry(term, effect, effect)
        column = [(a, c) for a, c in parameters.entries[term] if c == effect]
        of_column = [frame.entry(term, a, c) for a, c in column]
        everything = np.flatnonzero(frame.free)
        self._kept = everything[everything != self._place]
        self._kept_at_zero = everything[~np.isin(everything, of_column)]

    def at(self, value: float) -> Constraint:
        """Return the constraint that the parameter has a value."""
        matrix, pivots = self._places(self._kept if value > 0 else self._kept_at_zero)
        unit = np.zeros(len(self.frame.x))
        unit[self._place] = 1.0 / self.size
        return Constraint(value * unit, matrix, unit, np.zeros_like(matrix), (), pivots)


class HeldCorrelation(Held):
    """The correlation of two effects, which span the first two of a turned block.

    Parameters
    ----------
    frame : Frame
        The coordinates.
    term : int
        The term.
    first, second : int
        The first two effects of the block.
    cosine : float
        Cosine of the angle between the two effects.
    """

    def __init__(self, frame: Frame, term: int, first: int, second: int, cosine: float):
        super().__init__(frame)
        self.cosine, self.sine = cosine, float(np.sqrt(1.0 - cosine**2))
        self._first, self._below, self._pivot = (
            frame.entry(term, *at) for at in ((first, first), (second, first), (second, second))
        )
        everything = np.flatnonzero(frame.free)
        # the entry below the first pivot stands for tau
        self._kept = everything[everything != self._pivot]
        self._at_first, self._at_tau = (int(np.searchsorted(self._kept, k)) for k in (self._first, self._below))

    def at(self, value: float) -> Constraint:
        """Return the constraint that the parameter has a value."""
        matrix, pivots = self._places(self._kept)
        matrix[self._below, self._at_first] = -self.cosine / self.sine
        rest = float(np.sqrt(max(1.0 - value**2, 0.0)))
        matrix[[self._below, self._pivot], self._at_tau] = np.array([value, rest]) / self.sine
        moving = np.zeros_like(matrix)
        slope = -value / rest if rest > 0 else np.nan
        moving[[self._below, self._pivot], self._at_tau] = np.array([1.0, slope]) / self.sine
        still = np.zeros(len(self.frame.x))
        bounded = (self._at_first, self._at_tau)
        return Constraint(still, matrix, still, moving, bounded, tuple({*pivots, self._at_tau}))

    def theta(self, x: np.ndarray, value: float) -> np.ndarray:
        """Return theta next to given parameters."""
        result = x[self._kept] / self.frame.units[self._kept]
        result[self._at_first] = max(result[self._at_first], 0.0)
        along = self.cosine * x[self._first] + self.sine * x[self._below]
        result[self._at_tau] = np.hypot(along, self.sine * x[self._pivot])
        return result
