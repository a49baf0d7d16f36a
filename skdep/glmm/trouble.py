"""What a statistician should know before believing the fit of a logistic mixed model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdep.base import FitNotes
from skdep.exceptions import ConvergenceWarning, FewClustersWarning, SeparationWarning, SingularFitWarning
from skdep.glmm.fit import FittedRows
from skdep.glmm.search import UNBOUNDED
from skdep.mixed.boundary import BOUNDARY
from skdep.sandwich import few_clusters_message
from skdep.separation import infinite_features, no_separation_certified, separation_message

__all__ = ["warn_of_trouble"]

_REMEDY = "Use penalty='weak' for finite estimates"
# Standard deviation of random effects, in log odds, that hardly any data support.
_LARGE = 40.0


def warn_of_trouble(
    fitted: FittedRows, X: np.ndarray, y: np.ndarray, names: Sequence[str], cov_type: str, notes: FitNotes
) -> list[str]:
    """Warn of trouble; return the names of the features with infinite estimates.

    Parameters
    ----------
    fitted : FittedRows
        The fit.
    X : ndarray of shape (n_rows, n_features)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes 0 and 1.
    names : sequence of str
        Names of the coefficients.
    cov_type : str
        Covariance type of the fit.
    notes : FitNotes
        Where warnings go.
    """
    separated = _separated(fitted, X, y, names, notes)
    if fitted.maximum is None:
        if not (fitted.plain.converged or separated):
            notes.warn(
                f"The search did not converge in {fitted.plain.n_iter} steps. Raise max_iter.", ConvergenceWarning
            )
        return separated
    _check_search(fitted, bool(separated), notes)
    _check_boundary(fitted, notes)
    _check_levels(fitted, notes)
    if cov_type == "robust":
        message = few_clusters_message(fitted.estimates.n_clusters, len(fitted.estimates.fit.beta))
        if message:
            notes.warn(message, FewClustersWarning)
    return separated


def _separated(fitted: FittedRows, X: np.ndarray, y: np.ndarray, names: Sequence[str], notes: FitNotes) -> list[str]:
    """Name the features with infinite estimates.

    Along a direction that separates outcomes, every conditional likelihood grows, and so does the marginal one. The
    plain fit mostly proves that there is none.
    """
    if fitted.penalised or not X.shape[1]:
        return []
    plain, fixed = fitted.plain, fitted.data.rows.fixed
    squares = np.einsum("np,np->p", fixed, fixed)
    if no_separation_certified(plain.decrement, plain.hessian, squares):
        return []
    has_intercept = len(names) > X.shape[1]
    infinite = infinite_features(X, y, fit_intercept=has_intercept)
    features = names[int(has_intercept) :]
    found = [name for name, is_infinite in zip(features, infinite, strict=True) if is_infinite]
    if found:
        notes.warn(
            separation_message(found, len(features), remedy=_REMEDY), SeparationWarning, topic="multilevel_separation"
        )
    return found


def _check_search(fitted: FittedRows, is_separated: bool, notes: FitNotes) -> None:
    assert fitted.maximum is not None
    optimum = fitted.maximum.optimum
    if optimum.message == UNBOUNDED:
        large = [
            term.name
            for term, T in zip(fitted.data.terms, optimum.state.factors, strict=True)
            if np.abs(T).max() > 10.0
        ]
        listed = ", ".join(repr(name) for name in large)
        notes.warn(
            f"The variance of the random effects of {listed} grows without bound: nearly all levels have outcomes "
            "of one class only, or features separate the outcomes within levels. Estimates are where the search "
            f"stopped, and mean nothing. {_REMEDY}, or a simpler model.",
            SeparationWarning,
            topic="multilevel_separation",
        )
    elif not (optimum.converged or is_separated):
        notes.warn(
            f"The search did not converge ({optimum.message}, {optimum.n_steps} steps): a further step would lower -2 "
            f"log-likelihood by about {optimum.decrement:.2g}. Raise max_iter, or use a simpler random-effects "
            "structure.",
            ConvergenceWarning,
        )
    elif not (is_separated or fitted.penalised) and max(_deviations(optimum.state.factors)) > _LARGE:
        listed = ", ".join(
            f"{term.name!r} ({deviation:.3g} log odds)"
            for term, deviation in zip(fitted.data.terms, _deviations(optimum.state.factors), strict=True)
            if deviation > _LARGE
        )
        notes.warn(
            f"The standard deviation of the random effects of {listed} is next to no bound: nearly all levels have "
            "outcomes of one class only, or features separate the outcomes within levels. The likelihood is flat "
            f"there, and Laplace's approximation poor. {_REMEDY}, or a simpler model.",
            SeparationWarning,
            topic="multilevel_separation",
        )
    if not fitted.maximum.stable and optimum.message != UNBOUNDED:
        notes.warn(
            f"With {fitted.maximum.n_nodes} quadrature nodes per dimension, the most that n_quadrature='auto' tries, "
            f"the log-likelihood at the estimates still changes by {fitted.maximum.change:.2g} with more nodes: levels "
            "have few outcomes for such large effects. Give n_quadrature a larger number, and compare.",
            ConvergenceWarning,
            topic="quadrature",
        )
    if fitted.estimates.is_flat and optimum.converged and not is_separated:
        notes.warn(
            "The likelihood is flat: the data do not tell some parameters from others (levels of one row each, one "
            "level only, factors or slopes that are the same). Their standard errors are NaN. Leave a factor or slope "
            "out.",
            SingularFitWarning,
        )


def _deviations(factors: Sequence[np.ndarray]) -> list[float]:
    """Return the largest standard deviation of each term, in working coordinates."""
    return [float(np.sqrt(np.sum(T**2, axis=1).max())) for T in factors]


def _check_levels(fitted: FittedRows, notes: FitNotes) -> None:
    rows = fitted.data.rows
    alone = [
        term.name
        for term, columns in zip(fitted.data.terms, rows.terms, strict=True)
        if columns.n_levels == rows.n_rows and rows.weight.max() <= 1.0
    ]
    if alone:
        listed = ", ".join(repr(name) for name in alone)
        notes.warn(
            f"Every level of {listed} has one row: a single outcome of two classes says nothing of a variance between "
            "levels, of which only the assumed distributions are left to estimate it. Leave the factor out.",
            SingularFitWarning,
        )


def _check_boundary(fitted: FittedRows, notes: FitNotes) -> None:
    if not fitted.estimates.fit.singular:
        return
    pairs = zip(fitted.data.terms, fitted.estimates.fit.factors, strict=True)
    listed = ", ".join(repr(term.name) for term, T in pairs if np.abs(np.diag(T)).min() < BOUNDARY)
    notes.warn(
        f"Singular fit: the covariance matrix of the random effects of {listed} has not full rank (a variance is "
        "zero, or effects are perfectly correlated). The maximum is on the boundary; a simpler random-effects "
        "structure gives the same fit.",
        SingularFitWarning,
    )
