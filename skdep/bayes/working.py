"""Rows of a Bayesian logistic model in working columns, equal ones counted: all that its likelihood needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdep.bayes.prior_layout import PointLayout
from skdep.glmm.cumulants import Binomial
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.glmm.working import counted_rows, take
from skdep.mixed.terms import RandomTerm

__all__ = ["bayes_rows", "centres_and_scales"]


def centres_and_scales(
    X: np.ndarray, weights: np.ndarray | None, *, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return means (zeros without an intercept) and standard deviations (p,) of the features; 1 for constant ones.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Features.
    weights : ndarray of shape (n_rows,) or None
        Weights.
    fit_intercept : bool
        Whether there is an intercept.
    """
    mean = np.average(X, axis=0, weights=weights) if X.shape[1] else np.zeros(0)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights)) if X.shape[1] else np.zeros(0)
    constant = scale <= 1e-13 * np.abs(mean)
    return (mean if fit_intercept else np.zeros_like(mean)), np.where(constant, 1.0, scale)


def bayes_rows(
    X: np.ndarray,
    y: np.ndarray,
    offset: np.ndarray | None,
    weights: np.ndarray | None,
    terms: Sequence[RandomTerm],
    layout: PointLayout,
) -> GlmmRows:
    """Bring rows to working columns, sort them by the first factor, and count equal ones.

    Parameters
    ----------
    X : ndarray of shape (n_rows, p)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes 0 and 1, or shares of trials.
    offset : ndarray of shape (n_rows,) or None
        Known part of the log odds.
    weights : ndarray of shape (n_rows,) or None
        Weights: numbers of trials, or powers of the likelihood.
    terms : sequence of RandomTerm
        Terms, the one with most columns first.
    layout : PointLayout
        Centres, scales, and random effects in the order of `terms`.
    """
    weight = np.ones(len(y)) if weights is None else weights
    first = terms[0].codes if terms else np.zeros(len(y), dtype=np.int64)
    others = [X[:, j] for j in range(X.shape[1])] + [term.codes for term in terms[1:]]
    others += [] if offset is None else [offset]
    order, outcome, weight = counted_rows(first, others, weight * y, weight)
    X = take(order, X)
    fixed = np.empty((len(outcome), layout.n_coefficients))
    fixed[:, : layout.coef.start] = 1.0
    fixed[:, layout.coef] = (X - layout.centres) / layout.scales
    row_terms = tuple(
        RowTerm(take(order, term.codes), term.n_levels, np.ascontiguousarray(effects.design(X).T), effects.to_user)
        for term, effects in zip(terms, layout.random, strict=True)
    )
    return GlmmRows(fixed, outcome, weight, None if offset is None else take(order, offset), row_terms, Binomial())
