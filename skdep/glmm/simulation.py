r"""Outcomes simulated from a fitted logistic mixed model, and refits to them.

All but the outcome stays: rows in working coordinates, their order, which of them are equal. A row of frequency weight
w stands for w rows of the same level, hence for a binomial number of successes. A refit begins at the estimates, from
which the outcomes were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from skdep.glmm.maximise import Settings, make_criterion
from skdep.glmm.plain import plain_fit
from skdep.glmm.profiling import small_data
from skdep.glmm.refitting import GivenRows, parameter_values, settings_for
from skdep.glmm.rows import GlmmRows
from skdep.glmm.search import JointSearch
from skdep.glmm.working import GlmmData, counted_rows
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.constrained import nudged
from skdep.mixed.fit import canonical
from skdep.mixed.natural_parameters import NaturalParameter
from skdep.mixed.terms import INTERCEPT
from skdep.separation import infinite_features, no_separation_certified

__all__ = ["LogitRefit", "LogitSimulator"]

# Least diagonal entry of T that a refit begins with.
_NUDGE = 0.05
# Share of the least information on fixed effects at the estimates below which outcomes may be separated.
_LITTLE_INFORMATION = 1e-2
_PLAIN_TOL, _PLAIN_ITER = 1e-5, 50


class LogitSimulator:
    """Draws outcomes from a fitted model.

    Parameters
    ----------
    model : MixedLogit
        The fitted model.
    given : GivenRows
        Its rows.
    """

    def __init__(self, model: Any, given: GivenRows):
        estimate, split = model._inference.estimate, int(model.fit_intercept)
        own = model._with_fixed_effects(given.X)
        self._fixed = own @ estimate[split:] + (estimate[0] if split else 0.0)
        if given.offset is not None:
            self._fixed += given.offset
        self._terms = [
            (term.codes, term.n_levels, _effect_columns(given.X, term.columns), A @ T)
            for term, A, T in zip(given.terms, model._model.to_user, model._model.factors, strict=True)
        ]
        self._trials = None if given.weights is None else given.weights.astype(np.int64)
        # what makes rows equal to the engines
        self._others = [*given.X.T, *(term.codes for term in given.terms[1:])]
        self._others += [] if given.offset is None else [given.offset]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self._fixed)

    def probabilities(self, rng: np.random.Generator) -> np.ndarray:
        """Draw random effects; return the probabilities (n_rows,) given these."""
        eta = self._fixed.copy()
        for codes, n_levels, columns, root in self._terms:
            effects = rng.standard_normal((n_levels, len(root))) @ root.T
            for column, values in zip(columns, effects.T, strict=True):
                spread = values.take(codes)
                eta += spread if column is None else spread * column
        return expit(eta)

    def draw(self, seeds: Sequence[np.random.SeedSequence]) -> tuple[np.ndarray]:
        """Draw an outcome from each seed.

        Parameters
        ----------
        seeds : sequence of SeedSequence
            One an outcome, so that outcomes do not depend on how they are batched.

        Returns
        -------
        outcomes : ndarray of shape (n_rows, n_outcomes)
            Numbers of successes, rows in the caller's order.
        """
        outcomes = np.empty((self.n_rows, len(seeds)))
        for number, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            probability = self.probabilities(rng)
            if self._trials is None:
                outcomes[:, number] = rng.random(self.n_rows) < probability
            else:
                outcomes[:, number] = rng.binomial(self._trials, probability)
        return (outcomes,)

    def products(self, outcomes: np.ndarray) -> np.ndarray:
        """Return outcomes (n_working_rows, n_outcomes) of the rows that the engines see."""
        if not self._terms:
            return outcomes
        return counted_rows(self._terms[0][0], self._others, outcomes, np.ones(self.n_rows))[1]

    def to_user(self, outcomes: np.ndarray) -> np.ndarray:
        """Return outcomes as they are: numbers of successes."""
        return outcomes


def _effect_columns(X: np.ndarray, numbers: Sequence[int]) -> list[np.ndarray | None]:
    return [None if number == INTERCEPT else X[:, number] for number in numbers]


@dataclass(frozen=True)
class LogitRefit:
    """How to fit again: all but the outcome.

    Parameters
    ----------
    data : GlmmData
        The data of the fit in working coordinates.
    settings : Settings
        What the fit was asked for, and its number of nodes.
    parameters : tuple of NaturalParameter
        Parameters to keep.
    to_user : tuple of ndarray of shape (q, q)
        Maps effects to the user's columns, by term.
    beta : ndarray of shape (p,)
        Estimates of the fixed effects, with which every search begins.
    factors : tuple of ndarray of shape (q, q)
        Estimates of T.
    information : float
        Least eigenvalue of the information on fixed effects at the estimates, in units of theirs.
    has_intercept : bool
        Whether the first fixed effect is an intercept.
    """

    data: GlmmData
    settings: Settings
    parameters: tuple[NaturalParameter, ...]
    to_user: tuple[np.ndarray, ...]
    beta: np.ndarray
    factors: tuple[np.ndarray, ...]
    information: float
    has_intercept: bool

    @classmethod
    def of(cls, model: Any, given: GivenRows, parameters: Sequence[NaturalParameter]) -> LogitRefit:
        """Return how to fit a fitted model again.

        Parameters
        ----------
        model : MixedLogit
            The fitted model.
        given : GivenRows
            Its rows.
        parameters : sequence of NaturalParameter
            Parameters to keep.
        """
        fit, data = model._model, given.data
        beta = np.linalg.lstsq(data.basis.back, model._inference.estimate, rcond=None)[0]
        result = cls(
            data,
            settings_for(model, given),
            tuple(parameters),
            fit.to_user,
            beta,
            tuple(fit.factors),
            0.0,
            model.fit_intercept,
        )
        return replace(result, information=result.least_information(fit.hessian))

    @property
    def estimate(self) -> np.ndarray:
        """Parameters of the fit to the data."""
        return parameter_values(self.parameters, self.data.basis.back, self.to_user, self.beta, self.factors)

    def least_information(self, hessian: np.ndarray) -> float:
        """Return the least eigenvalue of the part of a second derivative that belongs to the fixed effects."""
        units, p = self.data.units, len(self.beta)
        return float(np.linalg.eigvalsh(hessian[:p, :p] * np.outer(units, units))[0])

    def __call__(self, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fit to every outcome.

        Parameters
        ----------
        outcomes : ndarray of shape (n_working_rows, n_outcomes)
            Outcomes, as `LogitSimulator.products` returns them.

        Returns
        -------
        values : ndarray of shape (n_outcomes, n_parameters)
            Parameters; NaN where the fit failed.
        failed, singular : ndarray of bool of shape (n_outcomes,)
            Whether it failed, or is on the boundary.
        """
        n_outcomes = outcomes.shape[1]
        values = np.full((n_outcomes, len(self.parameters)), np.nan)
        failed, singular = np.ones(n_outcomes, dtype=bool), np.zeros(n_outcomes, dtype=bool)
        with small_data(self.data, self.settings.n_quadrature or 1):
            for number in range(n_outcomes):
                rows = replace(self.data.rows, outcome=np.ascontiguousarray(outcomes[:, number]))
                try:
                    found = self._once(rows)
                except np.linalg.LinAlgError:
                    continue
                if found is not None:
                    beta, factors = found
                    values[number] = parameter_values(
                        self.parameters, self.data.basis.back, self.to_user, beta, factors
                    )
                    singular[number] = any(np.abs(np.diag(T)).min() < BOUNDARY for T in factors)
                    failed[number] = False
        return values, failed, singular

    def _once(self, rows: GlmmRows) -> tuple[np.ndarray, list[np.ndarray]] | None:
        """Fit; return fixed effects and T, None if there is no finite maximum, or it was not found."""
        settings, successes = self.settings, float(rows.outcome.sum())
        if not 0.0 < successes < float(rows.weight.sum()):
            return None
        if not rows.terms:
            plain = plain_fit(rows, settings.fixed_ridge, max_iter=settings.max_iter, tol=settings.tol)
            beta, factors, hessian, converged = plain.beta, [], plain.hessian, plain.converged
        else:
            criterion = make_criterion(rows, settings, settings.n_quadrature or 1)
            start = criterion.value(self.beta, nudged(self.factors, _NUDGE))
            search = JointSearch(criterion, start, self.data.units, max_iter=settings.max_iter, tol=settings.tol)
            search.run()
            at = search.optimum
            beta, factors, hessian, converged = at.state.beta, canonical(at.state.factors), at.hessian, at.converged
        return (beta, factors) if converged and not self._separated(rows, hessian) else None

    def _separated(self, rows: GlmmRows, hessian: np.ndarray) -> bool:
        """Say whether features separate the outcomes: where they do, searches end far out, with no information."""
        if self.settings.fixed_ridge.any() or rows.n_fixed == int(self.has_intercept):
            return False
        if self.least_information(hessian) > _LITTLE_INFORMATION * self.information:
            return False
        plain = plain_fit(rows, np.zeros((rows.n_fixed,) * 2), max_iter=_PLAIN_ITER, tol=_PLAIN_TOL)
        if no_separation_certified(plain.decrement, plain.hessian, np.einsum("np,np->p", rows.fixed, rows.fixed)):
            return False
        features, share = rows.fixed[:, int(self.has_intercept) :], rows.outcome / rows.weight
        return bool(infinite_features(features, share, fit_intercept=self.has_intercept).any())
