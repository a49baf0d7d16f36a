"""A further batch: its labels, levels and rows, checked against the earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._validation import check_offset, check_rows, check_weights
from skdep.bayes.updating_rows import factors_of_batch
from skdep.bayes.working import bayes_rows
from skdep.glmm.rows import GlmmRows
from skdep.mixed.base import kept_rows
from skdep.mixed.terms import RandomTerm

__all__ = ["Batch", "encode_labels", "read_batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """A further batch in working columns.

    Parameters
    ----------
    rows : GlmmRows
        Its rows, levels numbered as in `terms`.
    terms : list of RandomTerm
        Terms in working order.
    n_rows : int
        Rows of positive weight, before equal ones were counted.
    has_offset : bool
        Whether it came with an offset.
    """

    rows: GlmmRows
    terms: list[RandomTerm]
    n_rows: int
    has_offset: bool


def encode_labels(y: np.ndarray, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes in order, and whether each row is of the second; a batch may have rows of one class only.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Labels.
    classes : array-like of shape (2,)
        All labels that there are.

    Raises
    ------
    ValueError
        If there are not two classes, or other labels.
    """
    found = np.unique(np.asarray(classes))
    if len(found) != 2:
        raise ValueError(
            f"Only binary classification is supported: classes should be two labels, got {len(found)}: "
            f"{found[:10].tolist()}."
        )
    strange = ~np.isin(y, found)
    if strange.any():
        labels = list(dict.fromkeys(np.asarray(y)[strange].tolist()))[:10]
        raise ValueError(f"y has labels {labels} that are not in the classes {found.tolist()}.")
    return found, np.asarray(y == found[1])


def read_batch(estimator: Any, X: Any, y: Any, groups: Any, sample_weight: Any, offset: Any) -> Batch:
    """Validate a batch and bring it to the working columns of the first.

    Parameters
    ----------
    estimator : BayesLogit
        Fitted.
    X, y, groups, sample_weight, offset : array-like
        As in `BayesLogit.partial_fit`.
    """
    state, layout = estimator._updates, estimator._prior.layout
    X, y = check_rows(estimator, X, y, reset=False, ensure_min_features=min(estimator.n_features_in_, 1))
    offset, weights = check_offset(offset, len(X)), check_weights(sample_weight, len(X))
    has_offset = offset is not None
    _, success = encode_labels(y, estimator.classes_)
    terms: list[RandomTerm] = []
    if groups is not None or state.order:
        factors = dict(zip(state.order, factors_of_batch(groups, len(X), state.order), strict=True))
        for part in layout.random:
            codes, levels = factors[part.name]
            terms.append(RandomTerm(part.name, codes, levels, part.columns))
    kept = kept_rows(len(X), weights)
    if kept is not None:
        X, success, terms = X[kept], success[kept], [term.take(kept) for term in terms]
        weights, offset = (None if part is None else part[kept] for part in (weights, offset))
    rows = bayes_rows(X, success.astype(np.float64), offset, weights, terms, layout)
    return Batch(rows, terms, len(X), has_offset)
