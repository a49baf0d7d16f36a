r"""Outcomes simulated from a fitted model, their cross-products, and refits to those alone.

Z'WZ, Z'WX and X'WX stay as they are; a new outcome changes a row and a column of the border. A row of frequency
weight w stands for w rows whose residuals are independent: the mean of these has variance sigma2 / w, and their squares
about it add sigma2 times a chi-square variable with w - 1 degrees of freedom to y'Wy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from skdep._threads import one_blas_thread
from skdep.mixed.boundary import BOUNDARY
from skdep.mixed.constrained import nudged
from skdep.mixed.cross_products import CrossProducts
from skdep.mixed.fit import LinearMixedFit, WorkingData, canonical, fit_products
from skdep.mixed.natural_parameters import NaturalParameter, natural_values
from skdep.mixed.weights import RowWeights

__all__ = ["OutcomeProducts", "Refit", "Simulator"]


@dataclass(frozen=True)
class OutcomeProducts:
    """What changes with the outcome, for several outcomes.

    Parameters
    ----------
    squares : ndarray of shape (n_outcomes,)
        y'Wy.
    fixed : ndarray of shape (p, n_outcomes)
        X'Wy.
    random : list of ndarray of shape (n_levels q, n_outcomes)
        Z'Wy by term, level by level.
    """

    squares: np.ndarray
    fixed: np.ndarray
    random: list[np.ndarray]

    @property
    def n_outcomes(self) -> int:
        """Number of outcomes."""
        return len(self.squares)

    def put_into(self, products: CrossProducts, number: int) -> CrossProducts:
        """Return `products` with an outcome in place of the one they have."""
        gram = products.gram.copy()
        gram[-1, :-1] = gram[:-1, -1] = self.fixed[:, number]
        gram[-1, -1] = self.squares[number]
        terms = []
        for term, values in zip(products.terms, self.random, strict=True):
            border = term.border.copy()
            border[-1] = values[:, number].reshape(term.n_levels, term.q).T
            terms.append(replace(term, border=border))
        return replace(products, terms=tuple(terms), gram=gram)


class Simulator:
    """Draws outcomes from a fitted model, in working coordinates.

    Parameters
    ----------
    data : WorkingData
        Rows of the fit.
    weights : RowWeights
        Their weights.
    fit : LinearMixedFit
        The fit.
    repeated : bool
        Whether a row of weight w stands for w rows.
    """

    def __init__(self, data: WorkingData, weights: RowWeights, fit: LinearMixedFit, *, repeated: bool):
        self._border, self._scale = data.border[:, :-1], data.y_scale
        self._origin = self._border @ data.shift + data.y_centre
        self._Z = [
            _level_columns(term.codes, part.columns, term.n_levels)
            for term, part in zip(data.terms, data.columns, strict=True)
        ]
        self._sizes = [(term.n_levels, term.q) for term in data.terms]
        border = fit.engine().value(fit.factors).border
        self._mean, self._sigma = self._border @ border.beta, float(np.sqrt(border.sigma2))
        self._factors = fit.factors
        self._weights = weights.rows
        self._root = None if weights.rows is None else np.sqrt(weights.rows)
        self._hidden = weights.n_obs - len(self._mean) if repeated else 0.0

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self._mean)

    def draw(self, seeds: Sequence[np.random.SeedSequence]) -> tuple[np.ndarray, np.ndarray]:
        """Draw an outcome from each seed.

        Parameters
        ----------
        seeds : sequence of SeedSequence
            One an outcome, so that outcomes do not depend on how they are batched.

        Returns
        -------
        outcomes : ndarray of shape (n_rows, n_outcomes)
            Outcomes; means of the rows that a row of frequency weight stands for.
        hidden : ndarray of shape (n_outcomes,)
            Sum of squares about these means.
        """
        outcomes, hidden = np.empty((self.n_rows, len(seeds))), np.zeros(len(seeds))
        effects = [np.empty((n_levels * q, len(seeds))) for n_levels, q in self._sizes]
        for number, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            for part, size, T in zip(effects, self._sizes, self._factors, strict=True):
                part[:, number] = (rng.standard_normal(size) @ T.T).ravel()
            outcomes[:, number] = rng.standard_normal(self.n_rows)
            if self._hidden:
                hidden[number] = rng.chisquare(self._hidden)
        if self._root is not None:
            outcomes /= self._root[:, None]
        for Z, part in zip(self._Z, effects, strict=True):
            outcomes += Z @ part
        outcomes *= self._sigma
        outcomes += self._mean[:, None]
        return outcomes, hidden * self._sigma**2

    def products(self, outcomes: np.ndarray, hidden: np.ndarray) -> OutcomeProducts:
        """Form what the fits to outcomes need; arguments as `draw` returns them."""
        weighted = outcomes if self._weights is None else outcomes * self._weights[:, None]
        return OutcomeProducts(
            np.einsum("nr,nr->r", outcomes, weighted) + hidden,
            self._border.T @ weighted,
            [Z.T @ weighted for Z in self._Z],
        )

    def to_user(self, outcomes: np.ndarray) -> np.ndarray:
        """Return outcomes (n_rows, n_outcomes) in units of y, less the offset."""
        return outcomes * self._scale + self._origin[:, None]


def _level_columns(codes: np.ndarray, columns: Iterable[np.ndarray | None], n_levels: int) -> sparse.csr_matrix:
    """Return Z of a term (n_rows, n_levels q), level by level."""
    n_rows = len(codes)
    values = np.column_stack([np.ones(n_rows) if column is None else column for column in columns])
    q = values.shape[1]
    places = codes[:, None] * q + np.arange(q)
    return sparse.csr_matrix((values.ravel(), places.ravel(), np.arange(n_rows + 1) * q), shape=(n_rows, n_levels * q))


@dataclass(frozen=True)
class Refit:
    """How to fit again: all but the outcome.

    Parameters
    ----------
    fit : LinearMixedFit
        The fit to the data, whose estimates every search begins with.
    parameters : tuple of NaturalParameter
        Parameters to keep.
    max_iter : int
        Most steps.
    tol : float
        Tolerance of the decrement.
    """

    fit: LinearMixedFit
    parameters: tuple[NaturalParameter, ...]
    max_iter: int
    tol: float

    def __call__(self, outcomes: OutcomeProducts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fit to every outcome.

        Returns
        -------
        values : ndarray of shape (n_outcomes, n_parameters)
            Parameters; NaN where the fit failed.
        failed, singular : ndarray of bool of shape (n_outcomes,)
            Whether it failed, or is on the boundary.
        """
        values = np.full((outcomes.n_outcomes, len(self.parameters)), np.nan)
        failed = np.ones(outcomes.n_outcomes, dtype=bool)
        singular = np.zeros(outcomes.n_outcomes, dtype=bool)
        start = nudged(self.fit.factors, 0.05)
        with one_blas_thread():
            for number in range(outcomes.n_outcomes):
                try:
                    found = self._once(outcomes.put_into(self.fit.products, number), start)
                except np.linalg.LinAlgError:
                    continue
                if found is not None:
                    values[number], singular[number] = found
                    failed[number] = False
        return values, failed, singular

    def _once(self, products: CrossProducts, start: list[np.ndarray]) -> tuple[np.ndarray, bool] | None:
        fit = self.fit
        _, optimum = fit_products(
            products,
            fit.parameters,
            reml=fit.reml,
            max_iter=self.max_iter,
            tol=self.tol,
            start=start,
        )
        if not optimum.converged:
            return None
        factors = canonical(optimum.state.factors)
        values = natural_values(self.parameters, products, fit.back, fit.origin, factors, optimum.state.border)
        return values, any(np.abs(np.diag(T)).min() < BOUNDARY for T in factors)
