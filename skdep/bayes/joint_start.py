r"""Where to begin sampling long points, and in which coordinates.

The pilot is the mode of the posterior of points by Laplace's approximation, random effects integrated out, with its
curvature. Entries w of effects (`joint_target`) have the conditional curvature H given the point, and their mode moves
with the point. The blocks of a level of H are I, by the choice of w; between factors it has H_1t, of the first factor
and the others ("tail"), and H_tt. With S = H_tt - H_t1 H_1t, the coordinates z with

    point = m + R z_p,    tail = tail_0 + J_t R z_p + S^-1/2 z_t,    first = first_0 + J_1 R z_p - H_1t S^-1/2 z_t + z_1

are about independent and standard normal under the posterior, R R' being the inverse curvature of the pilot and J the
derivative of the modes. A sampler that sees z takes long steps: all that is left to it is what is not normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse

from skdep.bayes.joint_target import JointTarget
from skdep.bayes.mode import PosteriorMode, find_mode
from skdep.bayes.multilevel_target import factor_derivatives
from skdep.bayes.prior_layout import PointLayout
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.glmm.rows import GlmmRows
from skdep.glmm.several_factors import SeveralFactorsLaplace
from skdep.glmm.state import State
from skdep.glmm.weighted_products import Cells, TermRows
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.small_matrices import lower_factor, solve_lower
from skdep.mixed.trust_region import spectrum

__all__ = ["Whitening", "prepare_joint"]

_START_LOG_SD = -0.5
_LARGEST_LOG_SD = 15.0
# The mode is where coordinates are centred: a hundredth of a standard deviation is close enough.
_MOST_STEPS, _DECREMENT = 50, 1e-4
_DIFFERENCE = 1e-5
# Effects of later factors up to which their precision is factorised; beyond, its diagonal serves.
_MOST_DENSE = 1500
_PRIOR_DRAWS = 2000
_FULL = 0.1
_LEAST_PIVOT = 1e-3
# Errors of energy add up over dimensions. In many, nearly normal ones fewer and longer steps are worth more than a high
# share accepted; where coordinates match the posterior badly, short ones are needed to get everywhere.
_MANY_DIMENSIONS = 100
_ACCEPT_MATCHED, _ACCEPT_MANY, _ACCEPT_UNMATCHED = 0.8, 0.65, 0.95
_TUNE_MATCHED, _TUNE_UNMATCHED = 300, 1000


@dataclass(frozen=True)
class Whitening:
    """A linear map from coordinates z, about standard normal under the posterior, to long points.

    Coordinates are in the order point, tail, first; long points in the order point, first, tail.

    Parameters
    ----------
    centre : ndarray of shape (n_dim,)
        Long point of z = 0.
    point_root : ndarray of shape (P, P)
        R.
    along : ndarray of shape (n_dim - P, P)
        J, rows in the order of the long point.
    links : ndarray or sparse array of shape (n_first, n_tail), or None
        H_1t; None if there is no tail.
    links_transposed : ndarray or sparse array of shape (n_tail, n_first), or None
        Its transpose.
    tail_root : ndarray of shape (n_tail, n_tail) or (n_tail,)
        A square root of S^-1; a vector stands for a diagonal matrix.
    target_accept : float
        Share of proposals that a Hamiltonian sampler should accept in these coordinates.
    n_tune : int
        Draws that it needs for tuning.
    """

    centre: np.ndarray
    point_root: np.ndarray
    along: np.ndarray
    links: Any
    links_transposed: Any
    tail_root: np.ndarray
    target_accept: float
    n_tune: int

    def to_long(self, z: np.ndarray) -> np.ndarray:
        """Return the long points of coordinates.

        Parameters
        ----------
        z : ndarray of shape (..., n_dim)
            Coordinates.

        Returns
        -------
        ndarray of shape (..., n_dim)
            Long points.
        """
        n_point, n_first, n_tail = self._sizes()
        moved = np.empty(z.shape)
        step = z[..., :n_point] @ self.point_root.T
        moved[..., :n_point] = step
        effects = moved[..., n_point:]
        np.matmul(step, self.along.T, out=effects)
        effects[..., :n_first] += z[..., n_point + n_tail :]
        if n_tail:
            tail = _times(self.tail_root, z[..., n_point : n_point + n_tail])
            effects[..., n_first:] += tail
            effects[..., :n_first] -= (self.links @ tail.reshape(-1, n_tail).T).T.reshape(*z.shape[:-1], n_first)
        moved += self.centre
        return moved

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """Turn a gradient by long points into that by coordinates.

        Parameters
        ----------
        gradient : ndarray of shape (n_dim,)
            Gradient at a long point.

        Returns
        -------
        ndarray of shape (n_dim,)
            Gradient by z.
        """
        n_point, n_first, n_tail = self._sizes()
        out = np.empty(len(gradient))
        effects = gradient[n_point:]
        out[:n_point] = (gradient[:n_point] + effects @ self.along) @ self.point_root
        if n_tail:
            tail = effects[n_first:] - self.links_transposed @ effects[:n_first]
            out[n_point : n_point + n_tail] = _times(self.tail_root.T, tail)
        out[n_point + n_tail :] = effects[:n_first]
        return out

    def _sizes(self) -> tuple[int, int, int]:
        n_point = len(self.point_root)
        n_tail = len(self.tail_root)
        return n_point, len(self.centre) - n_point - n_tail, n_tail


def _times(root: np.ndarray, z: np.ndarray) -> np.ndarray:
    return z * root if root.ndim == 1 else z @ root.T


def prepare_joint(rows: GlmmRows, prior: Any, layout: PointLayout) -> tuple[JointTarget, Whitening]:
    """Choose entries of effects, and coordinates in which to sample.

    Without a mode (priors with latent scales have none that says much, and Laplace's approximation may fail) points are
    scaled by prior and data about the prior's medians.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    prior : PriorSpec
        The prior density of points.
    layout : PointLayout
        What is where in a point.

    Returns
    -------
    target : JointTarget
        The joint density.
    whitening : Whitening
        The coordinates; their centre is where to begin.
    """
    pilot = _Pilot(rows, prior, layout)
    mode = None if prior.has_latents else pilot.mode()
    if mode is None:
        point = pilot.typical_point()
        return _prepared(pilot, point, np.diag(pilot.scales(point)), follows=False)
    root = linalg.solve_triangular(np.linalg.cholesky(mode.precision), np.eye(len(mode.point)), lower=True).T
    return _prepared(pilot, mode.point, root, follows=True)


class _Pilot:
    """Laplace's approximation of the marginal posterior of points."""

    def __init__(self, rows: GlmmRows, prior: Any, layout: PointLayout) -> None:
        self.rows, self.layout = rows, layout
        self.plain, self.prior = prior, prior.smoothed()
        self.engine: Any = None
        self._state: State | None = None
        if rows.terms:
            parameters = CovarianceParameters(tuple(term.q for term in rows.terms), False)
            engine = OneFactorLaplace if len(rows.terms) == 1 else SeveralFactorsLaplace
            self.engine = engine(rows, parameters)

    def mode(self) -> PosteriorMode | None:
        """Return the mode, None if there is none to be found."""
        start = np.zeros(self.layout.n_points)
        for effects in self.layout.random:
            start[effects.log_sd] = _START_LOG_SD
        found = find_mode(self, start, max_iter=_MOST_STEPS, tol=_DECREMENT)
        return found if np.isfinite(found.precision).all() and found.decrement < 1.0 else None

    def log_likelihood_derivatives(self, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the log-likelihood, its gradient, and minus its second derivative, by differences.

        Where Laplace's approximation fails, the value is -inf: a search turns back there.
        """
        information = np.zeros((len(point), len(point)))
        try:
            value, gradient = self._value_and_gradient(point)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(len(point)), information
        for k in range(len(point)):
            moved = point.copy()
            moved[k] += _DIFFERENCE
            information[:, k] = (gradient - self._value_and_gradient(moved)[1]) / (moved[k] - point[k])
        return value, gradient, 0.5 * (information + information.T)

    def _value_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        beta = point[: self.layout.n_coefficients]
        if self.engine is None:
            eta = self.rows.fixed_predictor(beta)
            linear = float(self.rows.outcome @ eta)
            kappa, mean = self.rows.family.derivatives(eta, 1)
            residual = self.rows.outcome - self.rows.weight * mean
            return linear - float(self.rows.weight @ kappa), residual @ self.rows.fixed
        if max(np.max(point[effects.log_sd]) for effects in self.layout.random) > _LARGEST_LOG_SD:
            raise np.linalg.LinAlgError("standard deviations out of range")
        self._state = self.engine.value(beta, [effects.cholesky(point) for effects in self.layout.random], self._state)
        by = self.engine.gradient(self._state)
        result = np.zeros(len(point))
        result[: self.layout.n_coefficients] = by.beta
        for effects, by_T in zip(self.layout.random, by.factors, strict=True):
            moved = [float(np.sum(by_T * part)) for part in factor_derivatives(effects, point)]
            result[effects.log_sd], result[effects.correlation] = moved[: effects.q], moved[effects.q :]
        return -self._state.value, -result

    def modes(self, point: np.ndarray) -> list[np.ndarray]:
        """Return the modes (q, n_levels) of effects u at a point; zeros where they cannot be found."""
        if self.engine is None:
            return []
        factors = [effects.cholesky(point) for effects in self.layout.random]
        try:
            state = self.engine.value(self.prior.working_coefficients(point), factors)
        except np.linalg.LinAlgError:
            return [np.zeros((term.q, term.n_levels)) for term in self.rows.terms]
        return state.modes

    def typical_point(self) -> np.ndarray:
        """Return the medians of the prior, small standard deviations for effects, and the intercept of the data."""
        point = np.median(self.plain.sample_points(0, _PRIOR_DRAWS), axis=0)
        for effects in self.layout.random:
            point[effects.log_sd] = _START_LOG_SD
        if self.layout.fit_intercept:
            trials, successes = float(self.rows.weight.sum()), float(self.rows.outcome.sum())
            point[0] = np.log((successes + 0.5) / (trials - successes + 0.5))
        return point

    def scales(self, point: np.ndarray) -> np.ndarray:
        """Return standard deviations of the entries of a point, of prior and data together."""
        low, high = np.quantile(self.plain.sample_points(0, _PRIOR_DRAWS), [0.25, 0.75], axis=0)
        precision = (1.349 / (high - low)) ** 2
        units = np.eye(self.layout.n_coefficients)
        # rows of working coefficients' derivatives by the point, one for each of them
        jacobian = self.plain.pull_back(np.broadcast_to(point, (len(units), len(point))), units)
        columns = self.rows.fixed @ jacobian
        variance = self.rows.family.derivatives(self.rows.fixed_predictor(self.plain.working_coefficients(point)), 2)[2]
        precision += (self.rows.weight * variance) @ columns**2
        scales = 1.0 / np.sqrt(precision)
        for effects, term in zip(self.layout.random, self.rows.terms, strict=True):
            scales[effects.log_sd] = 1.0 / np.sqrt(1.0 + term.n_levels)
        return scales


def _prepared(
    pilot: _Pilot, point: np.ndarray, point_root: np.ndarray, *, follows: bool
) -> tuple[JointTarget, Whitening]:
    """Return target and coordinates around a point; effects follow it where its scale matrix is that of a mode."""
    curvature = _Curvature(pilot.rows, pilot.layout, pilot.plain.working_coefficients(point), point, pilot.modes(point))
    constants = (curvature.information, curvature.pulls)
    target = JointTarget(pilot.rows, pilot.plain, pilot.layout, *constants)
    centre = target.join(point, curvature.modes)
    links, tail_root = curvature.factorised()
    transposed = None
    if links is not None:
        transposed = links.T.tocsr() if sparse.issparse(links) else np.ascontiguousarray(links.T)
    along = np.zeros((len(centre) - len(point), len(point)))
    accept = _ACCEPT_MANY if len(centre) >= _MANY_DIMENSIONS else _ACCEPT_MATCHED
    if not (follows and len(along)):
        # models without random effects come here if they are far from normal
        accept = _ACCEPT_UNMATCHED
    n_tune = _TUNE_MATCHED if follows else _TUNE_UNMATCHED
    whitening = Whitening(centre, point_root, along, links, transposed, tail_root, accept, n_tune)
    if follows and len(along):
        smooth = JointTarget(pilot.rows, pilot.prior, pilot.layout, *constants)
        along[...] = _solve(whitening, _mixed_derivatives(smooth, centre, len(point)))
    return target, whitening


def _mixed_derivatives(target: JointTarget, centre: np.ndarray, n_point: int) -> np.ndarray:
    """Return the derivatives (n_effects, P) of the gradient by effects, by the point."""
    columns = []
    for k in range(n_point):
        move = np.zeros(len(centre))
        move[k] = _DIFFERENCE
        up, down = target.value_and_gradient(centre + move)[1], target.value_and_gradient(centre - move)[1]
        columns.append((up - down)[n_point:] / (2.0 * _DIFFERENCE))
    return np.column_stack(columns)


def _solve(whitening: Whitening, right: np.ndarray) -> np.ndarray:
    """Solve systems with the precision of effects."""
    root, n_tail = whitening.tail_root, len(whitening.tail_root)
    if not n_tail:
        return right
    first, tail = right[:-n_tail], right[-n_tail:]
    solved = _times(root, _times(root.T, (tail - whitening.links_transposed @ first).T)).T
    return np.vstack([first - whitening.links @ solved, solved])


class _Curvature:
    """The likelihood about a point and the modes of effects there, and what follows for their joint density.

    Parameters
    ----------
    rows : GlmmRows
        The data.
    layout : PointLayout
        What is where in a point.
    beta : ndarray of shape (k,)
        Coefficients.
    point : ndarray of shape (P,)
        The point.
    modes : list of ndarray of shape (q, n_levels)
        Modes of effects u.
    """

    def __init__(
        self, rows: GlmmRows, layout: PointLayout, beta: np.ndarray, point: np.ndarray, modes: Sequence[np.ndarray]
    ) -> None:
        self.modes, self.terms = modes, [TermRows(term) for term in rows.terms]
        factors = [effects.cholesky(point) for effects in layout.random]
        eta = rows.fixed_predictor(beta)
        for term, T, u in zip(self.terms, factors, modes, strict=True):
            eta += term.spread((T @ u).T)
        _, mean, variance = rows.family.derivatives(eta, 2)
        self.weights, residual = rows.weight * variance, rows.outcome - rows.weight * mean
        self.information = [term.own(self.weights) for term in self.terms]
        self.pulls, self.roots = [], []
        for term, T, A, u in zip(self.terms, factors, self.information, modes, strict=True):
            self.pulls.append(np.einsum("acl,cl->al", A, T @ u) + term.collect(residual).T)
            M = np.einsum("ca,cdl,db->abl", T, A, T, optimize=True) + np.eye(len(T))[:, :, None]
            # b = root w
            self.roots.append(np.einsum("ac,bcl->abl", T, solve_lower(lower_factor(M), np.eye(len(T)))))

    def factorised(self) -> tuple[Any, np.ndarray]:
        """Return H_1t, None if there is no tail, and a square root of S^-1."""
        sizes = [term.q * term.n_levels for term in self.terms[1:]]
        n_tail = sum(sizes)
        if not n_tail:
            return None, np.zeros(0)
        links = sparse.hstack([self._between(0, c) for c in range(1, len(self.terms))], format="csr")
        if n_tail > _MOST_DENSE:
            return _dense_if_full(links), 1.0 / np.sqrt(_made_positive(links))
        places = np.cumsum([0, *sizes])
        schur = np.eye(n_tail) - (links.T @ links).toarray()
        for b in range(1, len(self.terms)):
            for c in range(b + 1, len(self.terms)):
                own, other = slice(places[b - 1], places[b]), slice(places[c - 1], places[c])
                schur[own, other] += self._between(b, c).toarray()
                schur[other, own] = schur[own, other].T
        values, vectors = spectrum(schur)
        return _dense_if_full(links), vectors / np.sqrt(values)

    def _between(self, b: int, c: int) -> Any:
        """Return the block of H between two factors."""
        left, right = self.terms[b], self.terms[c]
        cells = Cells(left, right)
        roots = (self.roots[b].take(cells.left_levels, axis=2), self.roots[c].take(cells.right_levels, axis=2))
        values = np.einsum("cal,cdl,dbl->abl", roots[0], cells.between(self.weights), roots[1], optimize=True)
        rows = np.arange(left.q)[:, None, None] * left.n_levels + cells.left_levels
        columns = np.arange(right.q)[:, None] * right.n_levels + cells.right_levels
        index = (np.broadcast_to(rows, values.shape).ravel(), np.broadcast_to(columns, values.shape).ravel())
        shape = (left.q * left.n_levels, right.q * right.n_levels)
        return sparse.csr_matrix((values.ravel(), index), shape=shape)


def _made_positive(links: Any) -> np.ndarray:
    """Return the diagonal of S, of two factors, kept from zero."""
    return np.maximum(1.0 - np.asarray(links.multiply(links).sum(axis=0)).ravel(), _LEAST_PIVOT)


def _dense_if_full(matrix: Any) -> Any:
    """Return a sparse matrix as an array where many of its entries are not zero: products are faster so."""
    return matrix.toarray() if matrix.nnz > _FULL * np.prod(matrix.shape) else matrix
