"""Both fits side by side, linearised: their standard errors, and that of the change from one to the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skdep._basis import full_rank_basis
from skdep.inference._table import Table
from skdep.inference._weight_rows import Model, WeightedRows, fit_model
from skdep.inference._weight_systems import ScoreSystem, coefficients, score_system
from skdep.survey.linearised import variance_of_total

__all__ = ["Comparison", "compare_fits", "trimming_curve", "with_added"]


@dataclass(frozen=True)
class Comparison:
    """The unweighted and the weighted fit of the same rows.

    Parameters
    ----------
    model : Model
        The model.
    rows : WeightedRows
        The rows.
    unweighted, weighted : estimator
        The fits.
    """

    model: Model
    rows: WeightedRows
    unweighted: Any
    weighted: Any

    @cached_property
    def at_unweighted(self) -> ScoreSystem:
        """Equations without weights, at the estimates without weights."""
        return score_system(self.unweighted, self.rows, None)

    @cached_property
    def at_weighted(self) -> ScoreSystem:
        """Equations with weights, at the estimates with weights."""
        return score_system(self.weighted, self.rows, self.rows.row_weight, self.rows.group_weight)

    @cached_property
    def crossed(self) -> ScoreSystem:
        """Equations with weights, at the estimates without: what the hypothesis that weights do not matter implies."""
        return score_system(self.unweighted, self.rows, self.rows.row_weight, self.rows.group_weight)

    @cached_property
    def change(self) -> np.ndarray:
        """Influence of rows on the change of the coefficients (n_kept, p) under the hypothesis, in `rows.columns`."""
        return self.crossed.free_influence() - self.at_unweighted.free_influence()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return self.unweighted._parameter_names()

    def estimates(self, fit: Any) -> np.ndarray:
        """Return the coefficients of a fit."""
        return self.rows.basis.back @ coefficients(fit, self.rows)

    def std_errors(self, system: ScoreSystem) -> np.ndarray:
        """Return standard errors of the coefficients under the design; NaN of those not estimable."""
        influence = system.influence() @ self.rows.basis.back.T
        variance = np.diag(variance_of_total(self.rows.spread(influence), self.rows.design)).copy()
        variance[self.rows.basis.aliased] = np.nan
        return np.sqrt(variance)

    def change_p_values(self) -> np.ndarray:
        """Return two-sided p-values of the change of each coefficient, from t with the degrees of the design."""
        influence = self.change @ self.rows.basis.back.T
        variance = np.diag(variance_of_total(self.rows.spread(influence), self.rows.null_design)).copy()
        # what is zero but for rounding has no p-value
        size = np.linalg.norm(self.crossed.free_influence() @ self.rows.basis.back.T, axis=0)
        rounding = np.linalg.norm(influence, axis=0) <= 1e-9 * size
        variance[self.rows.basis.aliased | rounding | ~(variance > 0)] = np.nan
        degf = self.rows.null_design.degf
        if degf < 1:
            return np.full(len(variance), np.nan)
        return 2.0 * stats.t.sf(np.abs(influence.sum(axis=0)) / np.sqrt(variance), degf)

    def table(self) -> Table:
        """Tabulate both fits."""
        first, second = self.estimates(self.unweighted), self.estimates(self.weighted)
        se_first, se_second = self.std_errors(self.at_unweighted), self.std_errors(self.at_weighted)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {
                "unweighted": first,
                "se_unweighted": se_first,
                "weighted": second,
                "se_weighted": se_second,
                "difference": second - first,
                "change": (second - first) / se_first,
                "se_ratio": se_second / se_first,
                "p_value": np.full(len(first), np.nan) if self.rows.is_constant else self.change_p_values(),
            }
        return Table(columns, index=list(self.names))


def compare_fits(model: Model, rows: WeightedRows) -> Comparison:
    """Fit the model without and with weights."""
    unweighted = fit_model(model.template, rows, None)
    return Comparison(model, rows, unweighted, fit_model(model.template, rows, rows.row_weight, rows.group_weight))


def with_added(rows: WeightedRows, added: np.ndarray, *, fit_intercept: bool) -> WeightedRows:
    """Return the rows with further features, the last ones."""
    if isinstance(rows.X, pd.DataFrame):
        names = [f"_added{k}" for k in range(added.shape[1])]
        X: Any = pd.concat([rows.X, pd.DataFrame(added, columns=names, index=rows.X.index)], axis=1)
    else:
        X = np.column_stack([np.asarray(rows.X, dtype=np.float64), added])
    basis = full_rank_basis(np.asarray(X, dtype=np.float64), fit_intercept=fit_intercept)
    ones = [np.ones(rows.n_rows)] if fit_intercept else []
    return replace(rows, X=X, basis=basis, columns=np.column_stack([*ones, basis.columns]))


def trimming_curve(comparison: Comparison, quantiles: tuple[float, ...]) -> pd.DataFrame:
    """Fit with weights cut off at quantiles of theirs, from no cut to so low a cut that all are equal.

    Parameters
    ----------
    comparison : Comparison
        Both fits: the ends of the curve.
    quantiles : tuple of float
        Quantiles between 0 and 1 of the weights at which they are cut.

    Returns
    -------
    DataFrame
        A row a cut, by quantile, those left out that change nothing; columns ``("weights", ...)``,
        ``("estimate", name)`` and ``("std_error", name)``.
    """
    rows, total = comparison.rows, comparison.rows.total_weight
    records = {1.0: _record(comparison, comparison.weighted, comparison.at_weighted, total, total.max())}
    last = total.max()
    for quantile in sorted(set(quantiles), reverse=True):
        cap = float(np.quantile(total, quantile))
        if not total.min() < cap < last:
            continue
        last = cap
        trimmed = rows.row_weight * np.minimum(total, cap) / total
        trimmed = trimmed / trimmed.mean()
        fit = fit_model(comparison.model.template, rows, trimmed, rows.group_weight, quiet=True)
        system = score_system(fit, rows, trimmed, rows.group_weight)
        records[quantile] = _record(comparison, fit, system, total, cap)
    records[0.0] = _record(comparison, comparison.unweighted, comparison.at_unweighted, total, total.min())
    frame = pd.DataFrame.from_dict(records, orient="index")
    frame.columns = pd.MultiIndex.from_tuples(list(records[1.0]))
    return frame.rename_axis("cut")


def _record(
    comparison: Comparison, fit: Any, system: ScoreSystem, total: np.ndarray, cap: float
) -> dict[tuple[str, str], float]:
    """Return a row of the curve."""
    trimmed = np.minimum(total, cap)
    record = {
        ("weights", "cap"): cap,
        ("weights", "trimmed"): float(np.mean(total > cap)),
        ("weights", "kish_deff"): float(np.mean(trimmed**2) / np.mean(trimmed) ** 2),
    }
    estimates, errors = comparison.estimates(fit), comparison.std_errors(system)
    record |= {("estimate", name): float(value) for name, value in zip(comparison.names, estimates, strict=True)}
    return record | {("std_error", name): float(value) for name, value in zip(comparison.names, errors, strict=True)}
