r"""The estimating equations of mixed and Bayesian models, evaluated with any weights at the estimates of any fit.

Given the covariance of the random effects, the coefficients of a linear mixed model solve X'V^{-1} (y - X beta) = 0
with V = W^{-1} sigma2 + Z Sigma Z'. Those of a logistic one maximise the marginal likelihood jointly with Sigma; the
residual of a row is then the derivative of the log-likelihood by its linear predictor, y - E(p | y). A posterior mean
is taken for the solution of the same equations with the prior as a penalty.

References
----------
Giordano and Broderick (2023), The Bayesian infinitesimal jackknife for variance, arXiv:2305.06466: posterior means have
influence values like maximum likelihood estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from skdep._linalg import scaled_inverse
from skdep.glmm.cumulants import Binomial
from skdep.glmm.differences import hessian_by_differences
from skdep.glmm.fit import PRIOR_SD
from skdep.glmm.maximise import MOST_DIMENSIONS, Settings, make_criterion
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.inference._weight_rows import WeightedRows
from skdep.inference._weight_systems import ScoreSystem, coefficients, outcome
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.robust import outermost_terms
from skdep.mixed.terms import INTERCEPT, RandomTerm
from skdep.mixed.weights import RowWeights, resolve_weights

__all__ = ["WorkingPrecision", "mixed_system"]

# Nodes of the quadrature where the fit says nothing of it.
_N_NODES = 15
# A pivot of a covariance factor below this share of the largest is on the boundary.
_BOUNDARY = 1e-7


class WorkingPrecision:
    """Multiplies by V^{-1} of V = D^{-1} + Z T T'Z', D diagonal, without forming it.

    Parameters
    ----------
    terms : sequence of RandomTerm
        The random effects.
    X : ndarray of shape (n_rows, n_features)
        Features, of which the columns of Z are taken.
    factors : sequence of ndarray of shape (q, q)
        Factor T of the covariance of the effects of a level, by term.
    diagonal : ndarray of shape (n_rows,)
        D, the precisions of rows given the effects.
    """

    def __init__(self, terms: Sequence[RandomTerm], X: np.ndarray, factors: Sequence[np.ndarray], diagonal: np.ndarray):
        self.diagonal = diagonal
        parts = [_effect_columns(term, X) @ T for term, T in zip(terms, factors, strict=True)]
        blocks = [_sparse_columns(part, term) for part, term in zip(parts, terms, strict=True)]
        self.Z = sparse.hstack(blocks, format="csr") if blocks else None
        if self.Z is not None:
            weighted = self.Z.multiply(diagonal[:, None]).tocsc()
            inner = (self.Z.T @ weighted + sparse.eye_array(self.Z.shape[1])).tocsc()
            self.factor = splu(inner, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Multiply columns (n_rows, m)."""
        scaled = values * self.diagonal[:, None]
        if self.Z is None:
            return scaled
        return scaled - (self.Z @ self.factor.solve(self.Z.T @ scaled)) * self.diagonal[:, None]


def _effect_columns(term: RandomTerm, X: np.ndarray) -> np.ndarray:
    """Return the columns (n_rows, q) whose coefficients vary."""
    return np.column_stack([np.ones(len(term.codes)) if c == INTERCEPT else X[:, c] for c in term.columns])


def _sparse_columns(columns: np.ndarray, term: RandomTerm) -> sparse.csr_array:
    """Return the columns of every level (n_rows, n_levels q)."""
    n_rows, q = columns.shape
    indices = (term.codes[:, None] * q + np.arange(q)).ravel()
    indptr = np.arange(n_rows + 1) * q
    return sparse.csr_array((columns.ravel(), indices, indptr), shape=(n_rows, term.n_levels * q))


def mixed_system(
    fit: Any, rows: WeightedRows, row_weight: np.ndarray | None, group_weight: np.ndarray | None
) -> ScoreSystem:
    """Evaluate the estimating equations of a MixedLinear, MixedLogit or BayesLogit.

    Parameters
    ----------
    fit : estimator
        A fit to the rows, with whatever weights.
    rows : WeightedRows
        The rows.
    row_weight, group_weight : ndarray of shape (n_kept,) or None
        Weights with which the equations are evaluated.
    """
    X = rows.features
    terms = _terms(fit, rows)
    weights = _resolved(fit, terms, rows, row_weight, group_weight)
    if not hasattr(fit, "classes_"):
        return _linear(fit, rows, X, terms, weights)
    if not terms:
        return _flat(fit, rows, weights)
    return _Logistic(fit, rows, X, terms, weights).system()


def _terms(fit: Any, rows: WeightedRows) -> list[RandomTerm]:
    """Return the random effects of a fit, the term with most effects first."""
    terms = fit._terms(rows.metadata.get("groups"), rows.n_rows)
    return sorted(terms, key=lambda term: -term.n_levels * term.q)


def _resolved(
    fit: Any,
    terms: Sequence[RandomTerm],
    rows: WeightedRows,
    row_weight: np.ndarray | None,
    group_weight: np.ndarray | None,
) -> RowWeights:
    """Return weights on the scale on which they enter a fit."""
    if hasattr(fit, "weight_scaling"):
        scaling = {"weight_type": "sampling", "weight_scaling": fit.weight_scaling}
        return resolve_weights(row_weight, group_weight, terms, rows.n_rows, **scaling)
    mean_one = None if row_weight is None else row_weight / row_weight.mean()
    return RowWeights(mean_one, None, float(rows.n_rows), 0.0)


def _ones(part: np.ndarray | None, n_rows: int) -> np.ndarray:
    return np.ones(n_rows) if part is None else part


def _linear(
    fit: Any, rows: WeightedRows, X: np.ndarray, terms: Sequence[RandomTerm], weights: RowWeights
) -> ScoreSystem:
    """Return the equations of a linear mixed model, the covariance of its effects given."""
    scale = fit.sigma2_ if fit.sigma2_ > 0 else 1.0
    layout = CovarianceParameters.of(terms)
    factors = [_lower_root(fit.random_covariance_[term.name] / scale, layout, k) for k, term in enumerate(terms)]
    precision = WorkingPrecision(terms, X, factors, _ones(weights.rows, rows.n_rows))
    error = outcome(fit, rows.y) - rows.columns @ coefficients(fit, rows)
    if rows.offset is not None:
        error = error - rows.offset
    products = precision(np.column_stack([error, rows.columns]))
    products *= _ones(weights.multiplicity, rows.n_rows)[:, None]
    return _of_rows(rows, products[:, 0], products[:, 1:], None)


def _of_rows(rows: WeightedRows, residual: np.ndarray, moved: np.ndarray, posterior: np.ndarray | None) -> ScoreSystem:
    """Return equations in which the coefficients are the only parameters."""
    information = rows.columns.T @ moved
    information = 0.5 * (information + information.T)
    penalty = _prior_curvature(posterior, information)
    scores = rows.columns * residual[:, None]
    return ScoreSystem(scores, information, penalty, len(information), residual, moved)


def _flat(fit: Any, rows: WeightedRows, weights: RowWeights) -> ScoreSystem:
    """Return the equations of a logistic model without random effects, its posterior perhaps."""
    eta = rows.columns @ coefficients(fit, rows) + (0.0 if rows.offset is None else rows.offset)
    probability = 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
    mass = _ones(weights.total, rows.n_rows)
    residual = mass * (outcome(fit, rows.y) - probability)
    moved = rows.columns * (mass * probability * (1.0 - probability))[:, None]
    return _of_rows(rows, residual, moved, _posterior_covariance(fit, rows))


def _posterior_covariance(fit: Any, rows: WeightedRows) -> np.ndarray | None:
    """Return the posterior covariance of the coefficients in the coordinates of `rows`; None of other fits."""
    if not hasattr(fit, "draws_"):
        return None
    forward = np.linalg.pinv(rows.basis.back)
    return forward @ fit.covariance_ @ forward.T


def _prior_curvature(posterior: np.ndarray | None, information: np.ndarray) -> np.ndarray:
    """Return what the inverse posterior covariance has more than the information of the data: the prior's share."""
    if posterior is None:
        return np.zeros_like(information)
    excess = scaled_inverse(posterior) - information
    values, vectors = linalg.eigh(0.5 * (excess + excess.T), _positive(information))
    duals = _positive(information) @ vectors
    return (duals * np.maximum(values, 0.0)) @ duals.T


def _positive(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix made safely positive definite."""
    return matrix + 1e-10 * np.diag(np.maximum(np.diag(matrix), 1e-300))


def _lower_root(covariance: np.ndarray, layout: CovarianceParameters, term: int) -> np.ndarray:
    """Return the factor T of a term, T T' the covariance, which may be singular."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    unit = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(unit, unit))
    T = layout.lower_factor(term, unit[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))
    return np.where(np.abs(T) < _BOUNDARY * max(np.abs(T).max(initial=0.0), 1e-300), 0.0, T)


class _Logistic:
    """The equations of a logistic mixed model, by the engine of the fit with rows of our own.

    Parameters
    ----------
    fit : MixedLogit or BayesLogit
        The fit, of which estimates (posterior means) are taken.
    rows : WeightedRows
        The rows.
    X : ndarray of shape (n_rows, n_features)
        Features.
    terms : sequence of RandomTerm
        Terms, the one with most effects first.
    weights : RowWeights
        Weights.
    """

    def __init__(self, fit: Any, rows: WeightedRows, X: np.ndarray, terms: Sequence[RandomTerm], weights: RowWeights):
        self.fit, self.rows, self.X, self.terms, self.weights = fit, rows, X, terms, weights
        self.order = np.argsort(terms[0].codes, kind="stable")
        layout = CovarianceParameters.of(terms)
        self.factors = [_lower_root(fit.random_covariance_[term.name], layout, k) for k, term in enumerate(terms)]
        settings = Settings(self._n_nodes(), layout.structure, np.zeros((0, 0)), 0.0, 0, 0.0)
        self.criterion: Any = make_criterion(self._sorted_rows(), settings, settings.n_quadrature or 1)
        self.state = self.criterion.value(coefficients(fit, rows), self.factors)

    def _n_nodes(self) -> int:
        if hasattr(self.fit, "n_quadrature_"):
            return int(self.fit.n_quadrature_)
        return _N_NODES if len(self.terms) == 1 and self.terms[0].q <= MOST_DIMENSIONS else 1

    def _sorted_rows(self) -> GlmmRows:
        """Return the rows as the engine wants them."""
        order, rows = self.order, self.rows
        weight = _ones(self.weights.rows, rows.n_rows)[order]
        level_weights = None
        if self.weights.multiplicity is not None:
            level_weights = np.zeros(self.terms[0].n_levels)
            level_weights[self.terms[0].codes] = self.weights.multiplicity
        parts = tuple(
            RowTerm(
                term.codes[order],
                term.n_levels,
                np.ascontiguousarray(_effect_columns(term, self.X)[order].T),
                np.eye(term.q),
            )
            for term in self.terms
        )
        offset = None if rows.offset is None else rows.offset[order]
        successes = outcome(self.fit, rows.y)[order] * weight
        return GlmmRows(rows.columns[order], successes, weight, offset, parts, Binomial(), level_weights)

    def system(self) -> ScoreSystem:
        """Return the equations of coefficients and free covariance parameters."""
        rows, p = self.rows, self.rows.columns.shape[1]
        free = np.concatenate([np.ones(p, dtype=bool), *self._inside()])
        information = self._second_derivative()[np.ix_(free, free)]
        scores = np.zeros((rows.n_rows, int(free.sum())))
        outermost = outermost_terms(self.terms)[0]
        first = np.unique(outermost.codes, return_index=True)[1]
        clusters = outermost.codes[self.order]
        scores[first] = -self.criterion.scores(self.state, clusters, outermost.n_levels)[:, free]
        multiplicity = _ones(self.weights.multiplicity, rows.n_rows)
        moved = self._precision()(rows.columns) * multiplicity[:, None]
        if np.linalg.eigvalsh(information)[0] <= 0.0:
            # away from its maximum a likelihood may curve the wrong way; its expected curvature does not
            scores, information = scores[:, :p], 0.5 * (rows.columns.T @ moved + moved.T @ rows.columns)
        return ScoreSystem(scores, information, self._penalty(information), p, self._residual() * multiplicity, moved)

    def _second_derivative(self) -> np.ndarray:
        """Return minus the second derivative of the log-likelihood, differenced where there is no formula."""
        criterion, state = self.criterion, self.state
        exact = criterion.hessian(state)
        if exact is not None:
            return exact
        return hessian_by_differences(criterion, state, criterion.gradient(state), criterion.curvature(state))

    def _inside(self) -> list[np.ndarray]:
        """Say which entries of the factors are free: not those of columns of zeros, on the boundary."""
        columns = self.criterion.parameters.columns
        return [(T != 0.0).any(axis=0)[at] for T, at in zip(self.factors, columns, strict=True)]

    def _residual(self) -> np.ndarray:
        """Return the derivative of the log-likelihood by the linear predictor of each row."""
        criterion, state = self.criterion, self.state
        if hasattr(criterion, "forces"):
            by_row = criterion.forces(state)["row"]
        elif hasattr(criterion, "adjoint"):
            by_row = criterion.adjoint(state)["row"]
        else:
            by_row = state.work["moved"]
        result = np.empty(len(by_row))
        result[self.order] = by_row
        return result

    def _precision(self) -> WorkingPrecision:
        """Return the precision of the working outcomes, linearised at the modes of the effects."""
        rows = self.rows
        eta = rows.columns @ self.state.beta + (0.0 if rows.offset is None else rows.offset)
        for term, T, u in zip(self.terms, self.factors, self.state.modes, strict=True):
            eta = eta + np.sum(_effect_columns(term, self.X) * (T @ u).T[term.codes], axis=1)
        probability = 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
        diagonal = _ones(self.weights.rows, rows.n_rows) * probability * (1.0 - probability)
        return WorkingPrecision(self.terms, self.X, self.factors, diagonal)

    def _penalty(self, information: np.ndarray) -> np.ndarray:
        """Return the curvature of prior or penalty; that on variances is left out."""
        p, result = self.rows.columns.shape[1], np.zeros_like(information)
        posterior = _posterior_covariance(self.fit, self.rows)
        if posterior is not None:
            result[:p, :p] = _prior_curvature(posterior, scaled_inverse(scaled_inverse(information)[:p, :p]))
        elif getattr(self.fit, "penalty", None) == "weak":
            back = self.rows.basis.back[int(self.fit.fit_intercept) :] * self.X.std(axis=0)[:, None]
            result[:p, :p] = back.T @ back / PRIOR_SD**2
        return result
