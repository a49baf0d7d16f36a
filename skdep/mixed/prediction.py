r"""Conditional predictions, and the standard deviation of their error.

With b = b(beta) the effects predicted at given coefficients, the error of x'beta + z'b has two uncorrelated parts,

    (x + (db/dbeta)'z)'(beta_hat - beta)    and    z'(b(beta) - b),

of variance x~'Phi x~ and z'C z. Levels not seen in fit have b = 0 and contribute z'Sigma z.

References
----------
Henderson (1975), Best linear unbiased estimation and prediction under a selection model, Biometrics 31, 423-447.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._stack import level_of_caller
from skdep.clusters import encode_factors
from skdep.mixed.fit import LinearMixedFit
from skdep.mixed.terms import INTERCEPT

__all__ = ["match_levels", "predicted_effects", "prediction_variance", "random_columns"]


def match_levels(groups: Any, n_rows: int, levels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the level number of each row by factor, -1 for levels not seen in fit.

    Parameters
    ----------
    groups : array-like of shape (n_rows,) or (n_rows, n_factors)
        Labels; columns of a DataFrame are found by name, others by position.
    n_rows : int
        Number of rows.
    levels : mapping from str to ndarray
        Labels of the fit by factor.
    """
    import pandas as pd

    if not levels:
        return {}
    names = list(levels)
    columns = list(map(str, getattr(groups, "columns", [])))
    missing = [name for name in names if name not in columns]
    if columns and len(names) > len(missing) > 0:
        raise ValueError(
            f"groups has no column {missing}, only {columns}; the model was fitted with {names}."
            f"{read_more('unseen_levels')}"
        )
    if columns and not missing:
        groups = groups.iloc[:, [columns.index(name) for name in names]] if hasattr(groups, "iloc") else groups[names]
    factors = encode_factors(groups, n_rows)
    if len(factors) != len(names):
        raise ValueError(
            f"groups has {len(factors)} factors, the model was fitted with {len(names)}: {names}."
            f"{read_more('unseen_levels')}"
        )
    result = {}
    for name, (codes, labels, _) in zip(names, factors, strict=True):
        known = pd.Index(levels[name]).get_indexer(pd.Index(labels))
        if len(known) and known.max() < 0 and type(labels[0]) is not type(levels[name][0]):
            warnings.warn(_unlike_labels(name, labels[0], levels[name][0]), UserWarning, stacklevel=level_of_caller())
        result[name] = known[codes]
    return result


def _unlike_labels(name: str, given: Any, fitted: Any) -> str:
    """Say that no label is known because labels are of another type."""
    return (
        f"No level of {name!r} is known to the model: labels are like {given!r} ({type(given).__name__}), those of the "
        f"fit like {fitted!r} ({type(fitted).__name__}). All are predicted as new levels."
        f"{read_more('unseen_levels')}"
    )


def random_columns(X: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Return the random-effect columns (n_rows, q) of a term."""
    return np.column_stack([np.ones(len(X)) if number == INTERCEPT else X[:, number] for number in numbers])


def predicted_effects(
    X: np.ndarray,
    codes: Mapping[str, np.ndarray],
    effects: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence[int]],
) -> np.ndarray:
    """Return the sum of the random effects of each row (n_rows,); unknown levels have none."""
    total = np.zeros(len(X))
    for name, level in codes.items():
        known = level >= 0
        total[known] += np.einsum("na,na->n", random_columns(X[known], columns[name]), effects[name][level[known]])
    return total


def prediction_variance(
    fit: LinearMixedFit,
    design: np.ndarray,
    X: np.ndarray,
    codes: Mapping[str, np.ndarray] | None,
    order: Sequence[str],
    columns: Mapping[str, Sequence[int]],
    covariance: np.ndarray,
) -> np.ndarray:
    """Return the variance of the error of predicted means (n_rows,).

    Parameters
    ----------
    fit : LinearMixedFit
        The fit.
    design : ndarray of shape (n_rows, n_coefficients)
        Columns of ``[intercept, *coef]``.
    X : ndarray of shape (n_rows, n_features)
        Features.
    codes : mapping or None
        Level numbers by factor; None for population predictions.
    order : sequence of str
        Factors in working order.
    columns : mapping
        Random-effect columns by factor.
    covariance : ndarray of shape (n_coefficients, n_coefficients)
        Model covariance of the coefficients.
    """
    if codes is None or not order:
        return np.maximum(np.einsum("np,pk,nk->n", design, covariance, design, optimize=True), 0.0)
    engine = fit.engine()
    state = engine.value(fit.factors)
    scale2 = state.border.sigma2 * fit.products.y_scale**2
    moved = _working_design(fit, design)
    derivatives = engine.fixed_effect_products(state)
    Z, levels, unseen = [], [], np.zeros(len(X))
    for k, name in enumerate(order):
        term, level = fit.products.terms[k], codes[name]
        known = level >= 0
        z = random_columns(X, columns[name]) @ term.to_user
        root = z[~known] @ fit.factors[k]
        unseen[~known] += np.einsum("na,na->n", root, root)
        z[~known] = 0.0
        moved[known] += np.einsum("na,nap->np", z[known], derivatives[k][level[known]])
        Z.append(z)
        levels.append(np.where(known, level, 0))
    fixed = moved @ state.border.inverse_root
    variance = np.einsum("np,np->n", fixed, fixed) + engine.effect_variance(state, levels, Z) + unseen
    return np.maximum(variance, 0.0) * scale2


def _working_design(fit: LinearMixedFit, design: np.ndarray) -> np.ndarray:
    """Return rows of the fixed-effect columns in working coordinates: x'(back beta) = (back'x)'beta."""
    return design @ fit.back
