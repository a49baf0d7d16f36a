r"""The mixture of chi-square distributions that a likelihood ratio follows on the boundary of variances.

Near a covariance matrix whose part for r new effects is zero, the parameters that a larger model adds range over a
cone: covariances of new with old effects are free (they add to the degrees of freedom), the covariance matrix of the
new effects must be positive semi-definite, or, without correlations, their variances not negative. What the projection
on that cone follows depends on the information about it at the hypothesis, all other parameters being estimated.
"""

from __future__ import annotations

import numpy as np

from skdep.inference._chi_bar import orthant_weights, two_by_two_weights
from skdep.inference._likelihood import LikelihoodFit
from skdep.inference._nesting import Extension, NewEffects

__all__ = ["boundary_mixture"]

# Variances for which the weights of the orthant are computed; beyond, the bound is used.
_MOST_VARIANCES = 6


def boundary_mixture(
    small: LikelihoodFit, large: LikelihoodFit, added: Extension
) -> tuple[dict[int, float], tuple[str, ...]]:
    """Return weights by degrees of freedom, and what to know about them.

    Parameters
    ----------
    small, large : LikelihoodFit
        The fits.
    added : Extension
        What the larger model adds.
    """
    free = added.n_fixed + added.n_correlations
    sizes = [len(block) for part in added.effects for block in part.new_blocks]
    if not sizes:
        return {free: 1.0}, ()
    single = max(sizes) == 1
    n_boundary = sum(r * (r + 1) // 2 for r in sizes)
    notes: tuple[str, ...] = ()
    if small.singular:
        notes = (
            "the reduced model is singular itself: the reference distribution takes its variances to be positive.",
        )
    if n_boundary == 1:
        return {free: 0.5, free + 1: 0.5}, notes
    weights = None
    if (single and n_boundary <= _MOST_VARIANCES) or (not single and sizes == [2]):
        covariance = _covariance_of_new(small, large, added)
        if covariance is not None:
            weights = orthant_weights(covariance) if single else two_by_two_weights(covariance)
    if weights is None:
        last = free + n_boundary
        bound = "the p-value is an upper bound: the weights of the mixture are those that make it largest."
        return {last - 1: 0.5, last: 0.5}, (*notes, bound)
    return {free + k: float(weight) for k, weight in enumerate(weights)}, notes


def _covariance_of_new(small: LikelihoodFit, large: LikelihoodFit, added: Extension) -> np.ndarray | None:
    """Return the covariance of the new effects' estimates at the hypothesis, None if it cannot be had."""
    model = large.model
    if model is None or (small.random and small.model is None):
        return None
    parts = {part.factor: part for part in added.effects}
    inverses = [np.linalg.inv(term.to_user) for term in model.products.terms]
    factors = [
        _lower_factor(A @ _embedded(small, parts[name], len(A)) @ A.T)
        for A, name in zip(inverses, large.order, strict=True)
    ]
    try:
        covariance = _parameter_covariance(model, factors, inverses)
    except np.linalg.LinAlgError:
        return None
    chosen = []
    for k, name in enumerate(large.order):
        new, start = parts[name].new, model.parameters.bounds[k]
        for position, (a, c) in enumerate(model.parameters.entries[k]):
            if a in new and c in new:
                chosen.append(start + position)
    covariance = covariance[np.ix_(chosen, chosen)]
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if not (np.isfinite(covariance).all() and (scale > 0).all()):
        return None
    correlation = covariance / np.outer(scale, scale)
    return covariance if np.linalg.eigvalsh(correlation)[0] > 1e-8 else None


def _embedded(small: LikelihoodFit, part: NewEffects, q: int) -> np.ndarray:
    """Return the smaller model's covariance of the effects over sigma2, in the user's columns; zeros for new ones."""
    result = np.zeros((q, q))
    if part.old_factor is not None:
        k = small.order.index(part.old_factor)
        root = small.model.products.terms[k].to_user @ small.model.factors[k]
        result[np.ix_(part.old, part.old)] = root @ root.T
    return result


def _lower_factor(matrix: np.ndarray) -> np.ndarray:
    """Return lower triangular T with T T' the matrix, which may be singular."""
    values, vectors = np.linalg.eigh(matrix)
    upper = np.asarray(np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T, mode="r"))
    return upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0)


def _parameter_covariance(model, factors: list[np.ndarray], inverses: list[np.ndarray]) -> np.ndarray:
    """Return the inverse expected information of the covariance parameters (sigma2 being one) in the user's columns."""
    parameters = model.parameters
    factors = [parameters.lower_factor(k, T) for k, T in enumerate(factors)]
    engine = model.engine()
    state = engine.value(factors)
    information = engine.information(state)
    psi = parameters.pack([T @ T.T for T in factors])
    whole = information.with_residual(psi, model.products.n_obs, state.border.r2, np.linalg.inv(information.phi))
    matrix = whole.traces_projected if model.reml else whole.traces_second
    scale = np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix / np.outer(scale, scale)) / np.outer(scale, scale)
    # working parameters are those of the user's columns times this
    moved = np.zeros((len(psi), len(psi)))
    for k, A in enumerate(inverses):
        span = slice(parameters.bounds[k], parameters.bounds[k + 1])
        images = A @ parameters.basis[k] @ A.T
        moved[span, span] = images[:, parameters.rows[k], parameters.columns[k]].T
    back = np.linalg.inv(moved)
    return 2.0 * back @ inverse[:-1, :-1] @ back.T
