"""Means of outcomes and predictions in bins, with intervals that know of clusters; calibration intercept and slope."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import t

from skdep.exceptions import SeparationWarning
from skdep.families import Family
from skdep.inference._table import Table
from skdep.inference.coef_table import coef_table
from skdep.links import Link
from skdep.plotting._bins import clusters_in_bins, squares_of_totals

__all__ = ["BinnedMeans", "Rows", "binned_means", "calibration_table"]

IN_THE_LARGE, INTERCEPT, SLOPE = "intercept, slope 1", "intercept", "slope"


class Rows(NamedTuple):
    """Rows to compare predictions with.

    Parameters
    ----------
    y, predicted : ndarray of shape (n_rows,)
        Outcomes and predicted means.
    weights : ndarray of shape (n_rows,)
        Weights, positive.
    factors : list of ndarray of shape (n_rows,)
        Clusters, by factor; none if the list is empty.
    frequency : bool
        Whether a weight is a number of rows.
    binary : bool
        Whether outcomes are 0 and 1.
    """

    y: np.ndarray
    predicted: np.ndarray
    weights: np.ndarray
    factors: list[np.ndarray]
    frequency: bool
    binary: bool


class BinnedMeans(NamedTuple):
    """Means of each bin (n_bins,), and ends of the intervals of the observed ones; numbers of rows."""

    predicted: np.ndarray
    observed: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    n_rows: np.ndarray


def binned_means(rows: Rows, bins: np.ndarray, level: float) -> BinnedMeans:
    """Return means of outcomes and predictions in bins, with intervals for the former.

    Parameters
    ----------
    rows : Rows
        The rows.
    bins : ndarray of shape (n_rows,)
        Bin of each row.
    level : float
        Confidence level of the intervals.
    """
    weights, total = rows.weights, np.bincount(bins, rows.weights)
    predicted = np.bincount(bins, weights * rows.predicted) / total
    observed = np.bincount(bins, weights * rows.y) / total
    error = rows.y - rows.predicted
    error = error - (np.bincount(bins, weights * error) / total)[bins]
    size = np.bincount(bins, weights if rows.frequency else None)
    power = total if rows.frequency else np.bincount(bins, weights**2)
    simple = observed * (1.0 - observed) * power / total**2  # of independent rows with a common probability
    if rows.factors:
        n_clusters = clusters_in_bins(bins, rows.factors)
        variance = _enlarged(squares_of_totals(bins, weights * error, rows.factors), n_clusters) / total**2
        freedom = n_clusters - 1.0
    elif rows.binary:
        variance, freedom = simple, np.full(len(total), np.inf)
    else:
        squares = np.bincount(bins, weights * error**2 if rows.frequency else (weights * error) ** 2)
        variance, freedom = _enlarged(squares, size) / total**2, np.asarray(size - 1.0, dtype=np.float64)
    critical = t.ppf(0.5 + 0.5 * level, np.where(freedom > 0, freedom, np.nan))
    half = critical * np.sqrt(variance)
    lower, upper = observed - half, observed + half
    if rows.binary:
        normal = float(ndtri(0.5 + 0.5 * level))
        lower, upper = _wilson(observed, variance, simple, total**2 / power, critical, normal)
    return BinnedMeans(predicted, observed, lower, upper, np.bincount(bins))


def _enlarged(squares: np.ndarray, n_units: np.ndarray) -> np.ndarray:
    """Return sums of squares about a mean times n / (n - 1), NaN of a single unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n_units > 1, squares * n_units / (n_units - 1.0), np.nan)


def _wilson(
    observed: np.ndarray,
    variance: np.ndarray,
    simple: np.ndarray,
    most: np.ndarray,
    critical: np.ndarray,
    normal: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's limits of shares, for as many independent rows as have the variance; at most there are `most`.

    Shares of 0 and 1 seem to have no variance; they get the design effect of all bins together.
    """
    known = (simple > 0) & np.isfinite(variance)
    effect = max(float(variance[known].sum() / simple[known].sum()), 1.0) if known.any() else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(simple > 0, most * simple / variance, most / effect)
    effective = np.minimum(effective, most) * (normal / critical) ** 2
    effective = np.where(np.isfinite(variance), effective, np.nan)
    z2 = normal**2
    centre = (effective * observed + 0.5 * z2) / (effective + z2)
    half = normal * np.sqrt(effective * observed * (1.0 - observed) + 0.25 * z2) / (effective + z2)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def calibration_table(rows: Rows, family: str | Family, link: Link, level: float) -> Table:
    """Regress outcomes on the link of their predictions.

    Parameters
    ----------
    rows : Rows
        The rows.
    family : str or Family
        Family of the outcomes, where they are not binary.
    link : Link
        The scale on which predictions and outcomes are compared; of binary outcomes the logit.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Table
        As of `coef_table`: the intercept with the slope held at 1; and intercept and slope together, NaN where all
        predictions are the same, or outcomes are separated by them.
    """
    low, high = link.mean_range
    eta = link.link(np.clip(rows.predicted, max(low, -np.inf) + 1e-12, high - 1e-12))
    ones = np.ones((len(eta), 1))
    large = _fit(rows, family, link, ones, eta, intercept=False)
    tables = [coef_table(large, level=level).set_axis([IN_THE_LARGE])]
    if np.ptp(eta) > 1e-9 * max(1.0, float(np.abs(eta).max())):
        both = _fit(rows, family, link, eta[:, None], None, intercept=True)
        if not getattr(both, "separated_", ()):
            tables.append(coef_table(both, level=level).set_axis([INTERCEPT, SLOPE]))
    import pandas as pd

    return Table(pd.concat(tables).reindex([IN_THE_LARGE, INTERCEPT, SLOPE]))


def _fit(rows: Rows, family: Any, link: Link, X: np.ndarray, offset: np.ndarray | None, *, intercept: bool) -> Any:
    from skdep.gee import GEERegressor
    from skdep.logit import LogitRegressor

    weights = None if (rows.weights == 1.0).all() else rows.weights
    weight_type = "frequency" if rows.frequency or weights is None else "sampling"
    given = {"sample_weight": weights, "offset": offset, "groups": _joined(rows.factors)}
    if rows.binary:
        with warnings.catch_warnings():  # of separation, which the table shows
            warnings.simplefilter("ignore", SeparationWarning)
            return LogitRegressor(fit_intercept=intercept, weight_type=weight_type).fit(X, rows.y, **given)
    if given["groups"] is not None:  # a marginal model has clusters that are independent: those with the fewest levels
        given["groups"] = min(rows.factors, key=lambda codes: int(codes.max()))
    marginal = GEERegressor(family, link=link, fit_intercept=intercept)
    return marginal.fit(X, rows.y, **given)


def _joined(factors: Sequence[np.ndarray]) -> Any:
    if not factors:
        return None
    return factors[0] if len(factors) == 1 else np.column_stack(factors)
