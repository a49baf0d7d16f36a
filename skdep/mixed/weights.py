r"""What weights mean to a multilevel model: numbers of rows, precisions, or two levels of sampling weights.

Sampling weights enter the pseudo-likelihood, the sum over j of g_j times the logarithm of the integral of
exp(sum_i w_ij log p(y_ij | b_j)) over b_j. Their level-1 part must be scaled within clusters, or it biases variances in
small clusters: to the cluster's size, w_ij n_j / sum_i w_ij, or to its effective size, w_ij sum_i w_ij / sum_i w_ij^2.

References
----------
Pfeffermann, Skinner, Holmes, Goldstein and Rasbash (1998), JRSS B 60, 23-40: both scalings (methods 2 and 1).
Rabe-Hesketh and Skrondal (2006), JRSS A 169, 805-827: the pseudo-likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._validation import check_weights
from skdep.mixed.terms import RandomTerm

__all__ = ["RowWeights", "group_multiplicity", "resolve_weights"]


@dataclass(frozen=True)
class RowWeights:
    """Weights as the engine takes them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,) or None
        Weights within clusters.
    multiplicity : ndarray of shape (n_rows,) or None
        Weight of each row's cluster.
    n_obs : float
        Number of observations.
    log_weights : float
        Sum of the logarithms of precision weights.
    repeats : bool
        Whether a weight is a number of rows.
    """

    rows: np.ndarray | None
    multiplicity: np.ndarray | None
    n_obs: float
    log_weights: float
    repeats: bool = False

    @property
    def total(self) -> np.ndarray | None:
        """Product of both, None being ones."""
        if self.multiplicity is None:
            return self.rows
        return self.multiplicity if self.rows is None else self.rows * self.multiplicity


def resolve_weights(
    weights: np.ndarray | None,
    multiplicity: np.ndarray | None,
    terms: Sequence[RandomTerm],
    n_rows: int,
    *,
    weight_type: str,
    weight_scaling: str,
) -> RowWeights:
    """Bring positive weights to the scale on which they enter.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,) or None
        Weights of rows.
    multiplicity : ndarray of shape (n_rows,) or None
        Weights of the rows' clusters.
    terms : sequence of RandomTerm
        Terms; the levels of the one with most levels are the clusters within which weights are scaled.
    n_rows : int
        Number of rows.
    weight_type, weight_scaling : str
        Parameters of the estimator.
    """
    if weight_type == "sampling":
        weights = _scaled(weights, terms, weight_scaling)
        if multiplicity is not None and terms:
            first = np.unique(terms[0].codes, return_index=True)[1]
            multiplicity = multiplicity / multiplicity[first].mean()
        rows = RowWeights(weights, multiplicity, 0.0, 0.0)
        total = rows.total
        return RowWeights(weights, multiplicity, float(n_rows) if total is None else float(total.sum()), 0.0)
    if weights is None:
        return RowWeights(None, None, float(n_rows), 0.0)
    if weight_type == "precision":
        return RowWeights(weights, None, float(n_rows), float(np.log(weights).sum()))
    return RowWeights(weights, None, float(weights.sum()), 0.0, repeats=True)


def _scaled(weights: np.ndarray | None, terms: Sequence[RandomTerm], scaling: str) -> np.ndarray | None:
    if weights is None:
        return None
    if not terms or scaling == "none":
        return weights / weights.mean()
    codes = max(terms, key=lambda term: term.n_levels).codes
    total = np.bincount(codes, weights)
    if scaling == "size":
        return weights * (np.bincount(codes) / total)[codes]
    return weights * (total / np.bincount(codes, weights**2))[codes]


def group_multiplicity(
    group_weight: Any, terms: Sequence[RandomTerm], n_rows: int, *, weight_type: str
) -> np.ndarray | None:
    """Check weights of clusters (n_rows,): a value a row, constant within the levels of every factor."""
    if group_weight is None:
        return None
    if weight_type != "sampling":
        raise ValueError(
            "group_weight is the sampling weight of whole clusters and needs weight_type='sampling', "
            f"got {weight_type!r}."
            f"{read_more('weight_type')}"
        )
    if not terms:
        raise ValueError(
            f"group_weight is the sampling weight of whole clusters: give groups.{read_more('weight_type')}"
        )
    values = check_weights(group_weight, n_rows, name="group_weight")
    assert values is not None
    for term in terms:
        of_level = np.zeros(term.n_levels)
        of_level[term.codes] = values
        if not np.allclose(of_level[term.codes], values, rtol=1e-9, atol=0.0):
            row = int(np.flatnonzero(~np.isclose(of_level[term.codes], values, rtol=1e-9, atol=0.0))[0])
            raise ValueError(
                f"group_weight must be constant within each level of {term.name!r}, the weight of its outermost "
                f"cluster; it is not in row {row}."
                f"{read_more('weight_type')}"
            )
    return values
