r"""Maximum likelihood with one parameter held fixed: a coefficient, a standard deviation, a correlation, sigma.

- A fixed combination c'beta = d takes one column out of X and moves y: a linear map of the cross-products' border.
- A fixed sigma2 = s leaves log|Omega| + n log(2 pi s) + r2 / s, a function of the relative Sigma alone.
- A fixed variance v of an effect w'b = v means s = v / phi, phi = w'Sigma w: again a function of Sigma alone,

      log|Omega| + n log(2 pi v / phi) + r2 phi / v.

  A variance of zero takes the effect out of Z.
- A fixed correlation is linear in a Cholesky factor whose first two rows are the two effects,
  T_10 = rho tau, T_11 = sqrt(1 - rho^2) tau, with tau >= 0.

All are minimised by Newton's method with the engines' exact gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg, sparse

from skdep.mixed.correlation import CorrelationProblem
from skdep.mixed.cross_products import CrossProducts, TermProducts
from skdep.mixed.evaluation import Derivatives, State
from skdep.mixed.fit import fit_products
from skdep.mixed.newton import minimise
from skdep.mixed.parameters import CovarianceParameters

__all__ = ["ConstrainedFit", "fix_coefficient", "fix_correlation", "fix_residual", "fix_sd", "nudged"]

# A step that promises less than this is not taken: zeta at the end of an interval is then exact to about 1e-9.
_TOL = 1e-9
_MAX_ITER = 200
# Where a search may begin at a boundary it cannot leave by itself, entries of T are at least this.
_NUDGE = 0.03


@dataclass(frozen=True)
class ConstrainedFit:
    """Minimum of -2 log L under a constraint.

    Parameters
    ----------
    value : float
        -2 log L, up to the constant that all share.
    factors : list of ndarray
        Relative covariance factors T there.
    converged : bool
        Whether the search converged.
    """

    value: float
    factors: list[np.ndarray]
    converged: bool


def nudged(factors: Sequence[np.ndarray], least: float = _NUDGE) -> list[np.ndarray]:
    """Return factors whose diagonals are at least `least`: starting values off the boundary."""
    result = []
    for T in factors:
        diagonal = np.diag(T)
        result.append(T + np.diag(np.where(np.abs(diagonal) < least, least - diagonal, 0.0)))
    return result


def _fit(products: CrossProducts, parameters: CovarianceParameters, start: Any) -> ConstrainedFit:
    _, optimum = fit_products(products, parameters, reml=False, max_iter=_MAX_ITER, tol=_TOL, start=start)
    return ConstrainedFit(optimum.state.value, list(optimum.state.factors), optimum.converged)


def fix_coefficient(
    products: CrossProducts, parameters: CovarianceParameters, combination: np.ndarray, value: float, start: Any
) -> ConstrainedFit:
    """Fix a linear combination of the fixed effects.

    Parameters
    ----------
    products : CrossProducts
        Cross-products.
    parameters : CovarianceParameters
        Layout of the covariance parameters.
    combination : ndarray of shape (p,)
        c, in working coordinates.
    value : float
        c'beta.
    start : sequence of ndarray
        Relative covariance factors to begin with.
    """
    p = len(combination)
    # the column that is least like the others after division by c loses least digits
    j = int(np.argmax(np.abs(combination) / np.sqrt(np.maximum(np.diag(products.gram)[:p], 1e-300))))
    kept = [i for i in range(p + 1) if i != j]
    recombined = np.eye(p + 1)
    recombined[j, :p] -= combination / combination[j]
    recombined[j, p] = -value / combination[j]
    recombined = recombined[:, kept]
    if p == 1:
        # an engine wants a column: one that is orthogonal to all others changes nothing
        recombined = np.column_stack([np.zeros(p + 1), recombined])
    terms = tuple(replace(term, border=np.tensordot(recombined.T, term.border, axes=1)) for term in products.terms)
    gram = recombined.T @ products.gram @ recombined
    if p == 1:
        gram[0, 0] = 1.0
    moved = replace(products, terms=terms, gram=gram)
    return _fit(moved, parameters, start)


class _Unprofiled:
    """The ML criterion at a residual variance that is not its optimum; subclasses say which.

    Parameters
    ----------
    engine : engine
        The engine of the ML criterion.
    """

    # to the search: no last step beyond the tolerance, which zeta does not need
    is_cheap = False

    def __init__(self, engine: Any):
        self.engine, self.products = engine, engine.products
        self.parameters: CovarianceParameters = engine.parameters
        self.n_obs = engine.products.n_obs

    def sigma2(self, factors: Sequence[np.ndarray]) -> float:
        """Return the residual variance that goes with T."""
        raise NotImplementedError

    def value(self, factors: Sequence[np.ndarray]) -> State:
        """Evaluate the criterion."""
        state, s = self.engine.value(factors), self.sigma2(factors)
        if not 0.0 < s < np.inf:
            return replace(state, value=np.inf)
        log_det = state.value - state.border.value
        residual = self.n_obs * np.log(2.0 * np.pi * s) + state.border.r2 / s
        return replace(state, value=float(log_det + residual))

    def derivatives(self, state: State) -> Derivatives:
        """Differentiate by Sigma at fixed sigma2: what profiling takes off the second derivative goes with 1 / m."""
        border = replace(state.border, sigma2=self.sigma2(state.factors), m=np.inf)
        return self.engine.derivatives(replace(state, border=border))

    def exact_derivatives(self, state: State) -> Derivatives | None:
        """Return None: the average information is good enough for zeta."""
        return None


class _FixedResidual(_Unprofiled):
    """The criterion at given sigma2."""

    def __init__(self, engine: Any, sigma2: float):
        super().__init__(engine)
        self._sigma2 = sigma2

    def sigma2(self, factors: Sequence[np.ndarray]) -> float:
        return self._sigma2


class _FixedVariance(_Unprofiled):
    """The criterion at a given variance v of the combination w'b of the effects of a term."""

    def __init__(self, engine: Any, term: int, direction: np.ndarray, variance: float):
        super().__init__(engine)
        self.term, self.direction, self.variance = term, direction, variance

    def _share(self, factors: Sequence[np.ndarray]) -> float:
        """Return phi = w'Sigma w."""
        return float(np.sum((self.direction @ factors[self.term]) ** 2))

    def sigma2(self, factors: Sequence[np.ndarray]) -> float:
        share = self._share(factors)
        return self.variance / share if share > 0 else np.inf

    def derivatives(self, state: State) -> Derivatives:
        """Add what comes from sigma2 = v / phi to the derivatives at fixed sigma2."""
        at_fixed = super().derivatives(state)
        # with sigma2 infinite the share of the residuals, H / sigma2, falls away from the gradient D - H / sigma2
        without = self.engine.derivatives(replace(state, border=replace(state.border, sigma2=np.inf, m=np.inf)))
        s, share, v = self.sigma2(state.factors), self._share(state.factors), self.variance
        H = [s * (D - G) for D, G in zip(without.gradients, at_fixed.gradients, strict=True)]
        outer = [np.zeros_like(G) for G in H]
        outer[self.term] = np.outer(self.direction, self.direction)
        slope = (state.border.r2 / s - self.n_obs) / share
        gradients = [G + slope * ww for G, ww in zip(at_fixed.gradients, outer, strict=True)]
        h, w = self.parameters.sigma_gradient(H), self.parameters.sigma_gradient(outer)
        crossed = np.outer(h, w)
        hessian = at_fixed.hessian + self.n_obs / share**2 * np.outer(w, w) - (crossed + crossed.T) / v
        return Derivatives(gradients, hessian, at_fixed.exact)


def _search(criterion: _Unprofiled, start: Sequence[np.ndarray]) -> ConstrainedFit:
    optimum = minimise(criterion, start, max_iter=_MAX_ITER, tol=_TOL)
    return ConstrainedFit(optimum.state.value, list(optimum.state.factors), optimum.converged)


def fix_residual(engine: Any, sigma2: float, start: Sequence[np.ndarray]) -> ConstrainedFit:
    """Fix the residual variance, in working units; `engine` is that of the ML criterion."""
    criterion = _FixedResidual(engine, sigma2)
    if not engine.products.terms:
        return ConstrainedFit(criterion.value([]).value, [], True)
    return _search(criterion, start)


def fix_sd(
    engine: Any,
    term: int,
    effect: int,
    variance: float,
    start: Sequence[np.ndarray],
    sigma2: float,
) -> ConstrainedFit:
    """Fix the variance of an effect.

    Parameters
    ----------
    engine : engine
        The engine of the ML criterion.
    term, effect : int
        Which effect, of the user's columns.
    variance : float
        Its variance, in working units of y.
    start : sequence of ndarray
        Relative covariance factors to begin with.
    sigma2 : float
        Residual variance to begin with, in working units.
    """
    to_user = engine.products.terms[term].to_user
    direction = to_user[effect]
    if variance == 0.0:
        return _without_effect(engine.products, engine.parameters, term, direction)
    unit = np.linalg.inv(to_user)[:, effect]
    begin = list(start)
    implied = variance / max(float(np.sum((direction @ start[term]) ** 2)), 1e-300)
    if not 0.5 < implied / sigma2 < 2.0:
        stretched = _with_variance(start[term], direction, unit, variance / sigma2)
        begin[term] = engine.parameters.lower_factor(term, stretched)
    return _search(_FixedVariance(engine, term, direction, variance), begin)


def _with_variance(T: np.ndarray, direction: np.ndarray, unit: np.ndarray, variance: float) -> np.ndarray:
    """Return a root of T T' stretched along `unit` (direction'unit = 1) to a given variance along `direction`."""
    share = float(np.sum((direction @ T) ** 2))
    if share > 1e-8 * variance:
        return T + (np.sqrt(variance / share) - 1.0) * np.outer(unit, direction @ T)
    return np.column_stack([T, np.sqrt(variance) * unit])


def _without_effect(
    products: CrossProducts, parameters: CovarianceParameters, term: int, direction: np.ndarray
) -> ConstrainedFit:
    """Fit without the combination w'b of a term's effects; the factors returned are those of the full model."""
    basis, numbers = _others(direction, parameters, term)
    reduced, kept = _restricted(products, term, basis)
    structure = list(parameters.block_numbers)
    structure[term : term + 1] = [numbers] if kept else []
    layout = CovarianceParameters(tuple(map(len, structure)), tuple(structure))
    fit = _fit(reduced, layout, None)
    factors = list(fit.factors)
    q = len(direction)
    if kept:
        factors[term] = parameters.lower_factor(term, np.column_stack([basis @ factors[term], np.zeros(q)]))
    else:
        factors.insert(term, np.zeros((q, q)))
    return ConstrainedFit(fit.value, factors, fit.converged)


def _others(direction: np.ndarray, parameters: CovarianceParameters, term: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return what is orthogonal to a combination of a block's effects (q, q - 1), block by block, and their numbers."""
    columns, numbers = [], []
    for number, block in enumerate(parameters.blocks[term]):
        inside = direction[block]
        own = linalg.null_space(inside[None]) if inside.any() else np.eye(len(block))
        placed = np.zeros((len(direction), own.shape[1]))
        placed[block] = own
        columns.append(placed)
        numbers += [number] * own.shape[1]
    return np.hstack(columns), tuple(numbers)


def _restricted(products: CrossProducts, term: int, basis: np.ndarray) -> tuple[CrossProducts, bool]:
    """Return cross-products with Z of a term times `basis` (q, k); and whether the term is still there."""
    old, terms, between = products.terms[term], list(products.terms), dict(products.between)
    if not basis.shape[1]:
        del terms[term]
        place = {number: position for position, number in enumerate(k for k in range(len(terms) + 1) if k != term)}
        between = {(place[b], place[c]): M for (b, c), M in between.items() if term not in (b, c)}
        return replace(products, terms=tuple(terms), between=between), False
    terms[term] = TermProducts(
        own=np.einsum("ai,acl,cj->ijl", basis, old.own, basis, optimize=True),
        border=np.einsum("ai,pal->pil", basis, old.border),
        to_user=old.to_user @ basis,
    )
    spread = sparse.kron(sparse.eye_array(old.n_levels), basis, format="csr")
    for (b, c), matrix in between.items():
        if term in (b, c):
            between[b, c] = (spread.T @ matrix if b == term else matrix @ spread).tocsr()
    return replace(products, terms=tuple(terms), between=between), True


def fix_correlation(
    engine: Any,
    term: int,
    effects: tuple[int, int],
    correlation: float,
    start: Sequence[np.ndarray],
) -> ConstrainedFit:
    """Fix the correlation of two effects of a term, of the user's columns; others as in `fix_sd`."""
    problem = CorrelationProblem(engine, term, effects, correlation)
    value, factors, converged = problem.minimise(start, max_iter=_MAX_ITER, tol=_TOL)
    return ConstrainedFit(value, factors, converged)
