"""What the engines see of the data: rows in working coordinates, sorted by the first factor, equal ones counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.glmm.cumulants import CumulantFunction

__all__ = ["GlmmRows", "RowTerm"]


@dataclass(frozen=True)
class RowTerm:
    """The random effects of one factor.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
        Level of each row.
    n_levels : int
        Number of levels, each of which occurs.
    columns : ndarray of shape (q, n_rows)
        Random-effect columns in working coordinates, an effect a row of the array.
    to_user : ndarray of shape (q, q)
        Working columns are the user's columns times this: b_user = to_user b_working.
    """

    codes: np.ndarray
    n_levels: int
    columns: np.ndarray
    to_user: np.ndarray

    @property
    def q(self) -> int:
        """Number of random effects of a level."""
        return len(self.columns)


@dataclass(frozen=True)
class GlmmRows:
    """Rows of a generalised linear mixed model with canonical link.

    Parameters
    ----------
    fixed : ndarray of shape (n_rows, p)
        Fixed-effect columns in working coordinates, of full rank.
    outcome : ndarray of shape (n_rows,)
        Weighted outcomes s = w y: successes, where rows count trials.
    weight : ndarray of shape (n_rows,)
        Weights w within clusters: trials.
    offset : ndarray of shape (n_rows,) or None
        Known part of the linear predictor.
    terms : tuple of RowTerm
        Terms, the one with most columns (q times levels) first; rows are sorted by its codes.
    family : CumulantFunction
        The family.
    level_weights : ndarray of shape (n_levels of the first term,) or None
        Sampling weights of the levels of the first term, constant within the levels of every factor: a cluster's
        log-likelihood counts so many times. None stands for ones.
    """

    fixed: np.ndarray
    outcome: np.ndarray
    weight: np.ndarray
    offset: np.ndarray | None
    terms: tuple[RowTerm, ...]
    family: CumulantFunction
    level_weights: np.ndarray | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.outcome)

    @property
    def n_fixed(self) -> int:
        """Number of fixed effects."""
        return self.fixed.shape[1]

    def fixed_predictor(self, beta: np.ndarray) -> np.ndarray:
        """Return the linear predictor without random effects (n_rows,)."""
        eta = np.dot(self.fixed, beta)
        return eta if self.offset is None else eta + self.offset
