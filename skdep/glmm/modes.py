r"""Modes of the random effects of one factor: Newton's method for all levels at once.

The mode of level j maximises psi_j(u) = sum_i (s_i eta_i - w_i kappa(eta_i)) - u'u / 2, eta_i = a_i + z_i'T u, which is
strictly concave. A full step is taken where it is short; a longer one is halved, level by level, until psi_j rises.

References
----------
Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1): penalised iteratively reweighted
least squares, of which this is the case of one factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.glmm.rows import GlmmRows
from skdep.glmm.sorted_levels import SortedLevels
from skdep.mixed.small_matrices import lower_factor

__all__ = ["LevelData", "Modes", "find_modes", "solve_factored", "solve_lower", "solve_upper"]

_MOST_STEPS = 100
# A step whose decrement (g'M^-1 g)^(1/2) is below this squares the error to rounding.
_LAST = 1e-6
# Full steps from and to decrements below this, in standard deviations of the effects, are safe.
_SHORT = 0.1
_MOST_HALVINGS = 40


class LevelData:
    """Rows of one factor with what never changes.

    Parameters
    ----------
    rows : GlmmRows
        Rows of a model of one factor.
    """

    def __init__(self, rows: GlmmRows):
        (term,) = rows.terms
        self.rows, self.q = rows, term.q
        self.levels = SortedLevels(term.codes, term.n_levels)
        self.Z = term.columns
        self.is_constant = term.q == 1 and bool((term.columns == 1.0).all())
        # [Z'S, Z'w Z]: sums of outcomes by level; weighted columns and their products by row
        self.outcome_sums = self.levels.sum(term.columns * rows.outcome)
        self.weighted = term.columns * rows.weight
        self.pairs = [(a, c) for a in range(self.q) for c in range(a + 1)]
        self.products = np.array([self.weighted[a] * term.columns[c] for a, c in self.pairs])
        self.fixed_outcome = np.dot(rows.outcome, rows.fixed)

    def effects_predictor(self, effects: np.ndarray) -> np.ndarray:
        """Return z_i'b (n_rows,) of effects b (q, n_levels)."""
        spread = self.levels.spread(effects)
        if self.is_constant:
            return spread[0]
        spread *= self.Z
        return spread[0] if self.q == 1 else spread.sum(axis=0)

    def gram(self, derivative: np.ndarray) -> np.ndarray:
        """Return Z_j' diag(w k) Z_j (q, q, n_levels) for some k by row."""
        sums = self.levels.sum(self.products * derivative)
        result = np.empty((self.q, self.q, sums.shape[1]))
        for (a, c), part in zip(self.pairs, sums, strict=True):
            result[a, c] = result[c, a] = part
        return result


@dataclass(frozen=True)
class Modes:
    """Modes of all levels, and the rows there.

    Parameters
    ----------
    u : ndarray of shape (q, n_levels)
        Modes of the spherical effects.
    root : ndarray of shape (q, q, n_levels)
        Lower Cholesky factor L of M = T'Z'WZT + I.
    residual_sums : ndarray of shape (q, n_levels)
        Z_j'd, d the residuals s - w kappa'.
    precision : ndarray of shape (q, q, n_levels)
        A_j = Z_j'W Z_j.
    psi : ndarray of shape (n_levels,)
        psi at the mode, but for the part s'(X beta + offset), which depends on no effect.
    cumulants : tuple of ndarray of shape (n_rows,)
        kappa, kappa', ... up to the fourth derivative.
    """

    u: np.ndarray
    root: np.ndarray
    residual_sums: np.ndarray
    precision: np.ndarray
    psi: np.ndarray
    cumulants: tuple[np.ndarray, ...]


def solve_factored(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve L L'x = r for stacks L (q, q, l) and r (q, l)."""
    return solve_upper(root, solve_lower(root, right))


def solve_lower(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve L x = r for stacks L (q, q, ...) and r (q, ...)."""
    result = np.empty_like(right)
    for a in range(len(root)):
        entry = right[a] - sum(root[a, c] * result[c] for c in range(a)) if a else right[a]
        result[a] = entry / root[a, a]
    return result


def solve_upper(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve L'x = r for stacks L (q, q, ...) and r (q, ...)."""
    q = len(root)
    result = np.empty_like(right)
    for a in range(q - 1, -1, -1):
        entry = right[a] - sum(root[c, a] * result[c] for c in range(a + 1, q)) if a < q - 1 else right[a]
        result[a] = entry / root[a, a]
    return result


class _Point:
    """Sums of all levels at some u: what a Newton step needs."""

    def __init__(self, data: LevelData, fixed: np.ndarray, T: np.ndarray, u: np.ndarray, order: int):
        rows, self.u, self.q = data.rows, u, data.q
        self.effects = T @ u
        eta = data.effects_predictor(self.effects)
        eta += fixed
        self.cumulants = rows.family.derivatives(eta, order)
        self.residual_sums = data.outcome_sums - data.levels.sum(data.weighted * self.cumulants[1])
        self.gradient = T.T @ self.residual_sums - u
        self.precision = data.gram(self.cumulants[2])
        self.root = _root(self.precision, T)
        self.step = solve_factored(self.root, self.gradient)
        self.squared_decrement = np.einsum("al,al->l", self.gradient, self.step)

    def psi(self, data: LevelData) -> np.ndarray:
        """Return psi but for s'(X beta + offset)."""
        total = np.einsum("al,al->l", self.effects, data.outcome_sums) - 0.5 * np.einsum("al,al->l", self.u, self.u)
        return total - data.levels.sum(data.rows.weight * self.cumulants[0])


def _root(precision: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of M = T'AT + I."""
    q = len(T)
    if q == 1:
        return np.sqrt(T[0, 0] ** 2 * precision + 1.0)
    left = np.dot(T.T, precision.reshape(q, -1)).reshape(precision.shape)
    inner = np.dot(T.T, left.transpose(1, 0, 2).reshape(q, -1)).reshape(precision.shape)
    inner[np.arange(q), np.arange(q)] += 1.0
    return lower_factor(inner)


def find_modes(data: LevelData, fixed: np.ndarray, T: np.ndarray, start: np.ndarray | None) -> Modes:
    """Find the modes.

    Parameters
    ----------
    data : LevelData
        The rows.
    fixed : ndarray of shape (n_rows,)
        Linear predictor without random effects.
    T : ndarray of shape (q, q)
        Relative factor of the covariance.
    start : ndarray of shape (q, n_levels) or None
        Where to begin; None stands for zeros.

    Raises
    ------
    numpy.linalg.LinAlgError
        If some mode cannot be found in floating point.
    """
    zeros = np.zeros((data.q, data.levels.n_levels))
    point = _Point(data, fixed, T, zeros if start is None else start, 2)
    if start is not None and not np.isfinite(point.squared_decrement).all():
        point = _Point(data, fixed, T, zeros, 2)
    for _ in range(_MOST_STEPS):
        largest = float(point.squared_decrement.max(initial=0.0))
        if not np.isfinite(largest):
            break
        if largest <= _LAST**2:
            end = _Point(data, fixed, T, point.u + point.step, 4)
            return Modes(end.u, end.root, end.residual_sums, end.precision, end.psi(data), end.cumulants)
        full = _Point(data, fixed, T, point.u + point.step, 2)
        is_safe = largest <= _SHORT**2 and bool((full.squared_decrement <= _SHORT**2).all())
        point = full if is_safe else _halved(data, fixed, T, point, full)
    raise np.linalg.LinAlgError("the modes of the random effects were not found")


def _halved(data: LevelData, fixed: np.ndarray, T: np.ndarray, before: _Point, after: _Point) -> _Point:
    """Halve steps of levels whose psi does not rise as it should."""
    reference, length = before.psi(data), np.ones(before.u.shape[1])
    for _ in range(_MOST_HALVINGS):
        rise = after.psi(data) - reference
        fails = ~(rise >= 1e-4 * length * before.squared_decrement - 1e-12 * (1.0 + np.abs(reference)))
        if not fails.any():
            return after
        length[fails] *= 0.5
        after = _Point(data, fixed, T, before.u + length * before.step, 2)
    return after
