r"""All replicates of a weighted fit at once: Newton's method from the full sample's estimate.

Replicates differ little from the full sample, so that full steps almost always converge fast. The first takes no
function of the mean that is not the same for all replicates. Iterations of a replicate end when the decrements foretell
an error that is negligible beside the replicate's distance from the start: a test without units.

Where full steps do not shrink fast, Fisher's steps are halved until the quasi-likelihood rises. What does not converge
then has no finite estimate (it is separated), or columns are collinear under the replicate's weights.

References
----------
McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed., section 2.5: Fisher scoring. Boyd and Vandenberghe
(2004), Convex Optimization, section 9.5: the Newton decrement, quadratic convergence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skdep._progress import tracked
from skdep.families import Family, get_family
from skdep.links import Link, get_link
from skdep.survey.replicate_sums import ReplicateSums, WeightedRows, symmetric
from skdep.survey.replicates import ReplicateWeights

__all__ = ["ReplicateFits", "fit_replicates"]

# Replicates fitted together, and floats of the sums that a block of rows adds up for them.
_MOST_TOGETHER = 1024
_MOST_SUMS = 1_000_000
# A full step must shrink the decrement to less than this share: under separation it shrinks to 0.6.
_SHRINKS = 0.5
_FULL_STEPS = 12
# Steps this short, beside the replicates' distances from the start, that shrink no more than so, are rounding.
_STAGNATES = 1e-7
_STANDS = 0.9
# Least eigenvalue of an information of unit diagonal that is not rounding.
_SINGULAR = 1e-12
# Decrements, in standard errors of a single observation, that are rounding.
_ROUNDING = 1e-13
# A last step that moves a linear predictor further than this is a step of an estimate that runs to infinity.
_LAST_MOVE = 1e-3
_ARMIJO = 1e-4
_LEAST_LENGTH = 2.0**-40

_RUNNING, _CONVERGED, _NOT_FULL, _COLLINEAR, _FAILED = range(5)


@dataclass(frozen=True, slots=True)
class ReplicateFits:
    """Estimates under the weights of every replicate.

    Parameters
    ----------
    estimates : ndarray of shape (n_replicates, p)
        Estimates; NaN where there are none.
    converged : ndarray of bool of shape (n_replicates,)
        Whether the replicate has an estimate.
    singular : ndarray of bool of shape (n_replicates,)
        Whether it has none because columns are collinear, or constant zero, under its weights.
    n_iter : ndarray of shape (n_replicates,)
        Number of steps.
    """

    estimates: np.ndarray
    converged: np.ndarray
    singular: np.ndarray
    n_iter: np.ndarray


def fit_replicates(
    X: np.ndarray,
    y: np.ndarray,
    replicates: ReplicateWeights,
    start: np.ndarray,
    *,
    offset: np.ndarray | None = None,
    family: str | Family = "binomial",
    link: str | Link | None = None,
    ridge: np.ndarray | None = None,
    tol: float = 1e-9,
    max_iter: int = 100,
) -> ReplicateFits:
    """Fit a generalized linear model under the weights of every replicate.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Columns of the linear predictor, of full rank, the intercept's among them.
    y : ndarray of shape (n_rows,)
        Outcomes.
    replicates : ReplicateWeights
        Weights of these rows.
    start : ndarray of shape (p,)
        The estimate under the full sample's weights.
    offset : ndarray of shape (n_rows,), optional
        Known part of the linear predictor.
    family : str or Family, default="binomial"
        Family of the outcome.
    link : str or Link, optional
        Link; the family's default if None.
    ridge : ndarray of shape (p,), optional
        Penalty ``0.5 * ridge @ params**2`` on the quasi-likelihood, for weights that sum to the number of rows: each
        replicate's are scaled so, since the scale of sampling weights means nothing.
    tol : float, default=1e-9
        Largest error left in a replicate's estimate, relative to the distance from `start`, its own or the root mean
        square of all.
    max_iter : int, default=100
        Most evaluations for replicates whose steps must be halved.

    Returns
    -------
    ReplicateFits
        Estimates and flags.

    Raises
    ------
    ValueError
        If shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.survey.replicate_fits import fit_replicates
    >>> from skdep.survey.replicate_methods import replicate_weights
    >>> y = np.array([1.0, 2.0, 4.0, 5.0])
    >>> replicates = replicate_weights("jk1", np.ones(4))
    >>> fits = fit_replicates(np.ones((4, 1)), y, replicates, np.array([3.0]), family="gaussian")
    >>> fits.estimates[:, 0].round(4)
    array([3.6667, 3.3333, 2.6667, 2.3333])
    """
    n_rows, p = X.shape
    if len(y) != n_rows or len(replicates) != n_rows or start.shape != (p,):
        raise ValueError(
            f"X has shape {X.shape}, but y has {len(y)} rows, the replicate weights have {len(replicates)}, and start "
            f"has shape {start.shape}."
        )
    if not p:
        everywhere = np.ones(replicates.n_replicates, dtype=bool)
        return ReplicateFits(np.zeros((len(everywhere), 0)), everywhere, ~everywhere, np.zeros(len(everywhere), int))
    family = get_family(family)
    link = family.default_link() if link is None else get_link(link)
    rows = WeightedRows(X, y, offset, family, link)
    together = max(1, min(_MOST_TOGETHER, _MOST_SUMS // (p + p * (p + 1) // 2)))
    parts = []
    for first in tracked(range(0, replicates.n_replicates, together), "Batches of replicates"):
        sums = ReplicateSums(rows, replicates, first, min(first + together, replicates.n_replicates))
        parts.append(_Iterations(sums, start, ridge, tol))
        parts[-1].run(max_iter)
    status = np.concatenate([part.status for part in parts])
    return ReplicateFits(
        estimates=np.concatenate([part.params for part in parts]),
        converged=status == _CONVERGED,
        singular=status == _COLLINEAR,
        n_iter=np.concatenate([part.n_iter for part in parts]),
    )


@dataclass(slots=True)
class _Iterations:
    """The iterations of replicates that are fitted together."""

    sums: ReplicateSums
    start: np.ndarray
    ridge: np.ndarray | None
    tol: float
    params: np.ndarray = field(init=False)  # (n_replicates, p)
    status: np.ndarray = field(init=False)
    n_iter: np.ndarray = field(init=False)
    scale: np.ndarray = field(init=False)  # of the weights, to mean one
    distance: np.ndarray = field(init=False)  # length of the first step
    largest: np.ndarray = field(init=False)  # (p,), of the columns, in size
    rounding: float = field(init=False)

    def __post_init__(self) -> None:
        n_replicates, rows = self.sums.n_replicates, self.sums.rows
        self.params = np.tile(self.start, (n_replicates, 1))
        self.status = np.full(n_replicates, _RUNNING)
        self.n_iter = np.zeros(n_replicates, dtype=int)
        self.scale = np.ones(n_replicates)
        self.distance = np.full(n_replicates, np.nan)
        self.largest = np.abs(rows.X).max(axis=0)
        self.rounding = _ROUNDING * np.sqrt(rows.dispersion(self.start))

    def run(self, max_iter: int) -> None:
        """Iterate to the end; parameters of replicates that do not converge are NaN."""
        self._full_steps()
        left = np.flatnonzero(self.status == _NOT_FULL)
        if len(left):
            self._halved_steps(left, max_iter)
        self.params[self.status != _CONVERGED] = np.nan

    def _newton(
        self, which: np.ndarray, score: np.ndarray, pairs: np.ndarray, params: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return steps (n_replicates, p), their decrements for a single observation, and where there are none."""
        score = score.T * self.scale[which, None]
        information = symmetric(pairs * self.scale[which])
        if self.ridge is not None:
            score = score - self.ridge * params
            information = information + np.diag(self.ridge)
        step, squared, singular = _solve(information, score)
        return step, np.sqrt(squared / len(self.sums.rows.y)), singular

    def _full_steps(self) -> None:
        """Take full steps; replicates in which they do not shrink fast are left to `_halved_steps`."""
        rows, which = self.sums.rows, np.arange(self.sums.n_replicates)
        sums = self.sums.at_start(self.start)
        present = sums.total > 0
        self.scale[present] = len(rows.y) / sums.total[present]
        pairs, stale = sums.pairs, False
        before = np.full(len(which), np.inf)
        for iteration in range(_FULL_STEPS):
            step, decrement, singular = self._newton(which, sums.score, pairs, self.params[which])
            if not iteration:
                self._set_distance(decrement)
            ratio = decrement / np.maximum(before, self.rounding)
            # errors are squared: the next ratio is the square of this one; with an old information it is the same
            next_ratio = ratio if stale else np.maximum(ratio**2, decrement)
            if not iteration:
                next_ratio = np.ones_like(ratio)  # a single step foretells nothing
            done = self._negligible(decrement, next_ratio, which) | self._stagnates(decrement, ratio, which)
            done |= rows.is_linear
            usable = (done | (ratio < _SHRINKS)) & (sums.outside == 0) & ~singular
            status = np.where(usable, np.where(done, _CONVERGED, _RUNNING), _NOT_FULL)
            status[(status == _CONVERGED) & self._still_moves(step)] = _NOT_FULL
            self.status[which] = status
            self.params[which] += step
            self.n_iter[which] += 1
            goes_on = self.status[which] == _RUNNING
            which, before, pairs = which[goes_on], decrement[goes_on], pairs[:, goes_on]
            if not len(which):
                return
            # a last step may use this step's information: it is off by about the share that the next step shrinks to
            next_ratio = next_ratio[goes_on]
            stale = not stale and bool(self._negligible(before * next_ratio, next_ratio, which).all())
            sums = self.sums.at(which, self.params[which], information="none" if stale else "observed")
            pairs = pairs if stale else sums.pairs
        self.status[which] = _NOT_FULL

    def _set_distance(self, decrement: np.ndarray) -> None:
        """Take the lengths of first steps, those below the root mean square for that."""
        finite = decrement[np.isfinite(decrement)]
        typical = np.sqrt(np.mean(finite**2)) if len(finite) else 0.0
        self.distance[:] = np.maximum(decrement, typical)

    def _stagnates(self, decrement: np.ndarray, ratio: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Say where steps are so short that they are rounding, since they do not shrink any more."""
        return (ratio >= _STANDS) & (decrement <= _STAGNATES * self.distance[which])

    def _negligible(self, decrement: np.ndarray, next_ratio: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Say where the error after a step is negligible, if steps go on to shrink at `next_ratio`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(next_ratio < 1.0, decrement * next_ratio / (1.0 - next_ratio), np.inf)
        return (decrement <= self.rounding) | (error <= self.tol * self.distance[which])

    def _still_moves(self, step: np.ndarray) -> np.ndarray:
        """Say where a step moves linear predictors, so that an estimate that seems converged runs to infinity."""
        moves = np.dot(np.abs(step), self.largest) > _LAST_MOVE
        return moves & (not self.sums.rows.is_linear)

    def _halved_steps(self, which: np.ndarray, max_iter: int) -> None:
        """Start over, and halve steps until the penalised quasi-likelihood rises."""
        points = _Points.at(self.start, len(which))
        for iteration in range(max_iter):
            candidate = points.params + points.length[:, None] * points.step
            sums = self.sums.at(which, candidate, information="expected", objective=True)
            value = self._objective(which, candidate, sums.objective, sums.outside)
            step, decrement, singular = self._newton(which, sums.score, sums.pairs, candidate)
            rises = points.is_better(value)
            full = rises & (points.length == 1.0)
            ratio = np.where(full, decrement / np.maximum(points.decrement, self.rounding), 1.0)
            done = self._negligible(decrement, ratio, which) | (full & self._stagnates(decrement, ratio, which))
            done &= rises & (iteration > 0)
            slope = decrement**2 * len(self.sums.rows.y)
            points.move(rises, candidate, value, step, decrement, slope)
            status = np.where(done, np.where(self._still_moves(step), _FAILED, _CONVERGED), _NOT_FULL)
            # at the start no mean is extreme: an information that is singular later on belongs to a separated replicate
            status[rises & singular] = _FAILED if iteration else _COLLINEAR
            stuck = ~rises & ((points.length < _LEAST_LENGTH) | (iteration == 0))
            short = points.decrement <= _STAGNATES * self.distance[which]
            status[stuck] = np.where(short[stuck] & ~self._still_moves(points.step)[stuck], _CONVERGED, _FAILED)
            self.status[which] = status
            self.params[which] = points.params + step * done[:, None]
            self.n_iter[which] += 1
            goes_on = status == _NOT_FULL
            which, points = which[goes_on], points.of(goes_on)
            if not len(which):
                return
        self.status[which] = _FAILED

    def _objective(
        self, which: np.ndarray, params: np.ndarray, quasi_likelihood: np.ndarray, outside: np.ndarray
    ) -> np.ndarray:
        """Return the penalised quasi-likelihood; minus infinity where it does not exist."""
        value = quasi_likelihood * self.scale[which]
        if self.ridge is not None:
            value = value - 0.5 * params**2 @ self.ridge
        value[(outside > 0) | ~np.isfinite(value)] = -np.inf
        return value


@dataclass(slots=True)
class _Points:
    """Where replicates are whose steps are halved: an axis of replicates first."""

    params: np.ndarray
    step: np.ndarray
    length: np.ndarray
    objective: np.ndarray
    slope: np.ndarray  # of the objective along the step
    decrement: np.ndarray

    @classmethod
    def at(cls, start: np.ndarray, n_replicates: int) -> _Points:
        params = np.tile(start, (n_replicates, 1))
        infinite = np.full(n_replicates, np.inf)
        return cls(params, np.zeros_like(params), np.ones(n_replicates), -infinite, np.zeros(n_replicates), infinite)

    def is_better(self, value: np.ndarray) -> np.ndarray:
        """Say where the objective has risen enough."""
        # near the maximum the rise drowns in rounding; a fall of that size must not stop the iterations
        slack = 1e-13 * (np.abs(value) + 1.0)
        with np.errstate(invalid="ignore"):
            enough = value >= self.objective + _ARMIJO * self.length * self.slope - slack
        return enough & (value > -np.inf)

    def move(
        self,
        rises: np.ndarray,
        params: np.ndarray,
        objective: np.ndarray,
        step: np.ndarray,
        decrement: np.ndarray,
        slope: np.ndarray,
    ) -> None:
        """Go to the candidate where that is better; elsewhere halve the step."""
        self.params = np.where(rises[:, None], params, self.params)
        self.step = np.where(rises[:, None], step, self.step)
        self.objective = np.where(rises, objective, self.objective)
        self.decrement = np.where(rises, decrement, self.decrement)
        self.slope = np.where(rises, slope, self.slope)
        self.length = np.where(rises, 1.0, 0.5 * self.length)

    def of(self, which: np.ndarray) -> _Points:
        """Return the points of some replicates."""
        return _Points(
            self.params[which],
            self.step[which],
            self.length[which],
            self.objective[which],
            self.slope[which],
            self.decrement[which],
        )


def _solve(matrices: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve symmetric positive definite systems (l, p, p) for (l, p).

    Returns
    -------
    solution : ndarray of shape (l, p)
        Solutions; 0 where there is none.
    squared : ndarray of shape (l,)
        Inner products of solutions and right sides.
    singular : ndarray of bool of shape (l,)
        Where a matrix is singular to rounding, or not finite.
    """
    diagonal = np.einsum("lii->li", matrices)
    broken = ~(np.isfinite(matrices).all(axis=(1, 2)) & np.isfinite(right).all(axis=1) & (diagonal > 0).all(axis=1))
    scale = 1.0 / np.sqrt(np.where(broken[:, None], 1.0, diagonal))
    unit = np.where(broken[:, None, None], np.eye(right.shape[1]), matrices * scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(unit)
    singular = broken | (values[:, 0] < _SINGULAR)
    usable = np.where(singular[:, None], 1.0, values)
    turned = np.einsum("lji,lj->li", vectors, np.where(singular[:, None], 0.0, right * scale))
    solution = np.einsum("lij,lj->li", vectors, turned / usable) * scale
    return solution, np.sum(turned**2 / usable, axis=1), singular
