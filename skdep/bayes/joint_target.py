r"""The joint posterior density of parameters and random effects: models whose random effects are not integrated out.

A long point is ``[point, entries of the first factor, entries of the second, ...]``; entries of a factor are an array
(q, n_levels), flattened. With T = T(point) the root of the covariance matrix of a factor, a level enters the predictor
by z'b, b = T u and u ~ N(0, I). Its entry w is the distance of u from where data and prior lead us to expect it:

    u = M^-1 T'c + L^-T w,    M = L L' = I + T'A T,

with constants A, the information of the level's data on b at a pilot estimate, and c = A b + score there: M is the
precision of u given T, and M^-1 T'c its mean, if the likelihood is the parabola that touches it at the pilot. The
density of w has the further factor 1 / det L.

Where data on a level are scarce, A is small and w = u, whatever T is; where they are plentiful w is the distance of b
from its estimate, in standard errors. It is known that samplers need the former in the one case and the latter in the
other; few levels have both, for small and for large T, and then only what is in between serves. Any A and c are exact,
they differ in how well a sampler moves.

References
----------
Papaspiliopoulos, Roberts and Sköld (2007), A general framework for the parametrization of hierarchical models,
Statistical Science 22, 59-73.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.bayes.lkj import correlation_cholesky_derivatives
from skdep.bayes.prior_layout import EffectsLayout, PointLayout
from skdep.glmm.rows import GlmmRows
from skdep.glmm.weighted_products import TermRows
from skdep.mixed.small_matrices import lower_factor, solve_lower

__all__ = ["JointTarget"]

# Size of the arrays that `split` works on at once.
_BLOCK_FLOATS = 1 << 20


class JointTarget:
    """Likelihood times prior of long points, with its gradient: any number of factors, nested or crossed, or none.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    prior : PriorSpec
        The prior density of points.
    layout : PointLayout
        What is where in a point.
    information : sequence of ndarray of shape (q, q, n_levels), or None
        A of each factor; None stands for zeros, so that w = u.
    pulls : sequence of ndarray of shape (q, n_levels), or None
        c of each factor; None stands for zeros.
    """

    def __init__(
        self,
        rows: GlmmRows,
        prior: Any,
        layout: PointLayout,
        information: Sequence[np.ndarray] | None = None,
        pulls: Sequence[np.ndarray] | None = None,
    ) -> None:
        if rows.level_weights is not None:
            raise ValueError("Sampling weights of levels have no joint posterior density.")
        self.rows, self.prior, self.layout = rows, prior, layout
        bounds = layout.n_points + np.cumsum([0, *(term.q * term.n_levels for term in rows.terms)])
        self.effects: list[_Effects] = []
        for b, (term, place) in enumerate(zip(rows.terms, layout.random, strict=True)):
            A = np.zeros((term.q, term.q, term.n_levels)) if information is None else information[b]
            c = np.zeros((term.q, term.n_levels)) if pulls is None else pulls[b]
            kind = _SingleEffects if term.q == 1 else _Effects
            self.effects.append(kind(TermRows(term), place, A, c, slice(int(bounds[b]), int(bounds[b + 1]))))
        self.n_dim = int(bounds[-1])
        # by column: products of a few long columns with a vector run faster so
        self._columns = np.ascontiguousarray(rows.fixed.T)
        self._weight = None if (rows.weight == 1.0).all() else rows.weight

    def value_and_gradient(self, long_point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log density and its gradient.

        Parameters
        ----------
        long_point : ndarray of shape (n_dim,)
            Where.

        Returns
        -------
        value : float
            Log posterior density, -inf where it cannot be evaluated in floating point.
        gradient : ndarray of shape (n_dim,)
            Its gradient.
        """
        rows, prior = self.rows, self.prior
        point, gradient = long_point[: self.layout.n_points], np.empty(self.n_dim)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            eta = np.dot(prior.working_coefficients(point), self._columns)
            if rows.offset is not None:
                eta += rows.offset
            value = float(prior.log_density(point))
            placed = []
            for effects in self.effects:
                at = effects.at(effects.layout.cholesky(point), long_point[effects.span])
                eta += effects.rows.spread(at.b.T)
                value += at.log_density
                placed.append(at)
            value += float(rows.outcome @ eta)
            kappa, mean = rows.family.derivatives(eta, 1)
            if self._weight is None:
                value -= float(kappa.sum())
            else:
                value -= float(self._weight @ kappa)
                mean *= self._weight
            residual = np.subtract(rows.outcome, mean, out=mean)
            head = prior.gradient(point) + prior.pull_back(point, np.dot(self._columns, residual))
            for effects, at in zip(self.effects, placed, strict=True):
                by_w, by_T = effects.pull_back(at, effects.rows.collect(residual).T)
                gradient[effects.span] = by_w.ravel()
                _add_by_covariance(effects.layout, by_T, at.T, point, head)
        gradient[: self.layout.n_points] = head
        return (value if np.isfinite(value) else -np.inf), gradient

    def split(self, long_points: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the points, and the random effects b in working columns.

        Parameters
        ----------
        long_points : ndarray of shape (..., n_dim)
            Long points.

        Returns
        -------
        points : ndarray of shape (..., P)
            Points.
        effects : list of ndarray of shape (..., n_levels, q)
            Random effects of each factor; ``b @ layout.random[k].to_user.T`` are those of the user's columns.
        """
        flat = long_points.reshape(-1, self.n_dim)
        points = flat[:, : self.layout.n_points]
        parts = []
        for effects in self.effects:
            term, b = effects.rows, np.empty((len(flat), effects.rows.n_levels, effects.rows.q))
            step = max(1, _BLOCK_FLOATS // (term.n_levels * term.q**2))
            for begin in range(0, len(flat), step):
                block = slice(begin, begin + step)
                b[block] = effects.working(effects.layout.cholesky(points[block]), flat[block, effects.span])
            parts.append(b.reshape(*long_points.shape[:-1], *b.shape[1:]))
        return long_points[..., : self.layout.n_points], parts

    def join(self, point: np.ndarray, spherical: Sequence[np.ndarray]) -> np.ndarray:
        """Return the long point of a point and of effects u.

        Parameters
        ----------
        point : ndarray of shape (P,)
            The point.
        spherical : sequence of ndarray of shape (q, n_levels)
            Effects u of each factor.

        Returns
        -------
        ndarray of shape (n_dim,)
            The long point.
        """
        parts = [point]
        for effects, u in zip(self.effects, spherical, strict=True):
            T = effects.layout.cholesky(point)
            L = lower_factor(effects.precision(T))
            pulled = np.einsum("acl,al->cl", L, u)
            expected = np.einsum("acl,cl->al", solve_lower(L, np.eye(len(T))), T.T @ effects.c)
            parts.append((pulled - expected).ravel())
        return np.concatenate(parts)


@dataclass(frozen=True)
class _At:
    """Effects of a factor at a long point, arrays (q, n_levels).

    Parameters
    ----------
    T : ndarray of shape (q, q)
        Factor of the covariance matrix.
    b, u, v, mean : ndarray
        Effects; u is the sum of v = L^-T w and the mean M^-1 T'c.
    w : ndarray
        Entries.
    root : ndarray of shape (q, q, n_levels)
        Inverse of L.
    log_density : float
        Of w.
    """

    T: np.ndarray
    b: np.ndarray
    u: np.ndarray
    v: np.ndarray
    mean: np.ndarray
    w: np.ndarray
    root: np.ndarray
    log_density: float


class _Effects:
    """One factor: its rows, its places in points, its constants."""

    def __init__(self, rows: TermRows, layout: EffectsLayout, A: np.ndarray, c: np.ndarray, span: slice) -> None:
        self.rows, self.layout, self.A, self.c, self.span = rows, layout, A, c, span

    def precision(self, T: np.ndarray) -> np.ndarray:
        """Return M (q, q, n_levels)."""
        M = _congruence(T, self.A)
        M[np.arange(len(T)), np.arange(len(T))] += 1.0
        return M

    def at(self, T: np.ndarray, entries: np.ndarray) -> _At:
        """Return the effects."""
        q = len(T)
        root = solve_lower(lower_factor(self.precision(T)), np.eye(q))
        w = entries.reshape(q, -1)
        mean = np.einsum("cal,cl->al", root, np.einsum("acl,cl->al", root, T.T @ self.c))
        v = np.einsum("cal,cl->al", root, w)
        u = mean + v
        log_det = float(np.log(root[np.arange(q), np.arange(q)]).sum())
        return _At(T, T @ u, u, v, mean, w, root, _log_normal(u) + log_det)

    def pull_back(self, at: _At, by_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient (q, n_levels) by w, and that by T (q, q), given that of the likelihood by b."""
        T, root, diagonal = at.T, at.root, np.arange(len(at.T))
        by_u = T.T @ by_b - at.u
        by_w = np.einsum("acl,cl->al", root, by_u)
        by_pulled = np.einsum("cal,cl->al", root, by_w)
        # through L: its own derivatives are -lower(v by_w') and -diag(1 / L), of v and of the determinant
        inner = -np.einsum("al,cl->acl", at.w, by_w)
        inner[diagonal, diagonal] -= 1.0
        inner *= _half_lower(len(T))[:, :, None]
        by_M = np.einsum("cal,cbl->abl", root, np.einsum("cdl,dbl->cbl", inner, root))
        by_M -= np.einsum("al,cl->acl", by_pulled, at.mean)
        by_M += by_M.transpose(1, 0, 2)
        by_T = by_b @ at.u.T + self.c @ by_pulled.T
        by_T += np.tensordot(self.A, np.tensordot(T, by_M, 1), ((1, 2), (0, 2)))
        return by_w, by_T

    def working(self, T: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """Return b (D, n_levels, q) of many T (D, q, q) and entries (D, q n_levels)."""
        q = T.shape[-1]
        w = np.swapaxes(entries.reshape(len(T), q, -1), 1, 2)[..., None]
        by_level = T[:, None]
        A, c = self.A.transpose(2, 0, 1), self.c.T[:, :, None]
        turned = np.swapaxes(by_level, -1, -2)
        L = np.linalg.cholesky(turned @ A @ by_level + np.eye(q))
        u = np.linalg.solve(np.swapaxes(L, -1, -2), np.linalg.solve(L, turned @ c) + w)
        return (by_level @ u)[..., 0]


class _SingleEffects(_Effects):
    """The same for one effect a level, in fewer operations: T, L and M are numbers."""

    def at(self, T: np.ndarray, entries: np.ndarray) -> _At:
        """Return the effects."""
        s = T[0, 0]
        variance = 1.0 / (1.0 + (s * s) * self.A[0, 0])
        root = np.sqrt(variance)
        mean = variance * (s * self.c[0])
        v = root * entries
        u = mean + v
        log_density = _log_normal(u) + 0.5 * float(np.log(variance).sum())
        return _At(T, (s * u)[None], u, v, mean, entries, root, log_density)

    def pull_back(self, at: _At, by_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient by w, and that by T."""
        s, by_b = at.T[0, 0], by_b[0]
        by_u = s * by_b - at.u
        # d log sqrt(variance) / d s
        shrinks = -s * self.A[0, 0] * at.root**2
        by_s = by_b @ at.u + by_u @ (shrinks * (2.0 * at.mean + at.v) + at.root**2 * self.c[0]) + shrinks.sum()
        return at.root * by_u, np.array([[by_s]])


def _congruence(T: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Return T'A T of matrices A (q, q, l)."""
    q, shape = len(T), stack.shape
    half = np.dot(T.T, stack.reshape(q, -1)).reshape(shape)
    return np.dot(T.T, half.swapaxes(0, 1).reshape(q, -1)).reshape(shape).swapaxes(0, 1)


def _log_normal(u: np.ndarray) -> float:
    """Return the log density of independent standard normal variables."""
    return -0.5 * float(np.vdot(u, u)) - 0.5 * np.log(2.0 * np.pi) * u.size


def _half_lower(q: int) -> np.ndarray:
    """Return weights that keep the lower triangle of a matrix and half of its diagonal."""
    return np.tril(np.ones((q, q))) - 0.5 * np.eye(q)


def _add_by_covariance(
    layout: EffectsLayout, by_T: np.ndarray, T: np.ndarray, point: np.ndarray, head: np.ndarray
) -> None:
    """Add the gradient by log standard deviations and correlations to `head` (P,), given that by T."""
    head[layout.log_sd] += np.sum(by_T * T, axis=1)
    if layout.correlated:
        by_factor = by_T * np.exp(point[layout.log_sd])[:, None]
        derivatives = correlation_cholesky_derivatives(point[layout.correlation], layout.q)
        head[layout.correlation] += np.einsum("ac,ack->k", by_factor, derivatives)
