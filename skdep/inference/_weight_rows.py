"""What the question "do I need the weights?" starts from: rows as they reach the model, weights, design, both fits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_consistent_length

from skdep._basis import Basis, full_rank_basis
from skdep._stack import level_of_caller
from skdep._validation import check_rows, check_weights
from skdep.base import DependentDataEstimator
from skdep.clusters import encode_factors
from skdep.formula.raw_rows import features_of
from skdep.mixed.base import MixedEstimator
from skdep.mixed.robust import is_nested_in, outermost_terms
from skdep.mixed.terms import RandomTerm
from skdep.survey.design import SurveyDesign, survey_design

__all__ = ["Model", "WeightedRows", "fit_model", "prepare_model", "weighted_rows"]

# Relative differences between weights below this are rounding.
_SAME = 1e-9


@dataclass(frozen=True)
class Model:
    """The estimator to be fitted with and without weights, and what was changed about it.

    Parameters
    ----------
    template : estimator
        Not fitted; weights, where it knows several kinds, are sampling weights.
    X : array-like of shape (n_rows, n_features)
        Features as they reach it.
    notes : tuple of str
        What the user should know.
    """

    template: Any
    X: Any
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WeightedRows:
    """Rows of positive weight, and the design that all rows were drawn by.

    Parameters
    ----------
    X, y : array-like of shape (n_kept, ...)
        Features and outcomes.
    metadata : mapping from str to array-like
        ``groups``, ``offset`` and ``time``, those that were given.
    row_weight : ndarray of shape (n_kept,)
        Weights of rows (within clusters, where there is `group_weight`), of mean one.
    group_weight : ndarray of shape (n_kept,) or None
        Weights of the rows' clusters.
    given_weight : ndarray of shape (n_kept,)
        Weights as they were given, those of the clusters multiplied in.
    kept : ndarray of bool of shape (n_rows,)
        Which rows these are.
    basis : Basis
        Full-rank coordinates of the features.
    columns : ndarray of shape (n_kept, p)
        Columns of the model in them, the intercept first.
    design : SurveyDesign
        The design, of all rows.
    null_design : SurveyDesign
        The same as drawn with replacement: how much samples of an endless population would vary.
    strata : tuple of ndarray and ndarray, or None
        Number of each kept row's stratum, and the labels.
    """

    X: Any
    y: Any
    metadata: Mapping[str, Any]
    row_weight: np.ndarray
    group_weight: np.ndarray | None
    given_weight: np.ndarray
    kept: np.ndarray
    basis: Basis
    columns: np.ndarray
    design: SurveyDesign
    null_design: SurveyDesign
    strata: tuple[np.ndarray, np.ndarray] | None

    @property
    def n_rows(self) -> int:
        """Number of rows of positive weight."""
        return len(self.row_weight)

    @property
    def total_weight(self) -> np.ndarray:
        """Weights of rows times those of their clusters, of mean one."""
        return self.given_weight / self.given_weight.mean()

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same weight."""
        total = self.total_weight
        return bool(total.max() - total.min() <= _SAME)

    @property
    def offset(self) -> np.ndarray | None:
        """Offset of the rows."""
        offset = self.metadata.get("offset")
        return None if offset is None else np.asarray(offset, dtype=np.float64).reshape(-1)

    @property
    def features(self) -> np.ndarray:
        """Features as numbers (n_kept, n_features)."""
        return np.asarray(self.X, dtype=np.float64).reshape(self.n_rows, -1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return values of the kept rows (n_kept, k) for all rows, zeros for the others."""
        if self.kept.all():
            return values
        result = np.zeros((len(self.kept), values.shape[1]))
        result[self.kept] = values
        return result


def prepare_model(est: Any, X: Any, y: Any) -> Model:
    """Find the model in an estimator; the steps before it see the data once, without weights.

    Parameters
    ----------
    est : estimator
        An estimator of skdep, a pipeline of which it is the last step, or a fitted search around one.
    X, y : array-like
        The data.

    Raises
    ------
    TypeError
        If there is no estimator of skdep.
    ValueError
        If its weights are precisions.
    """
    while hasattr(est, "best_estimator_") or hasattr(est, "steps"):
        if hasattr(est, "best_estimator_"):
            est = est.best_estimator_
            continue
        if len(est.steps) > 1:
            X = clone(est[:-1]).fit_transform(X, y)
        est = est.steps[-1][1]
    if not isinstance(est, DependentDataEstimator):
        raise TypeError(
            f"{type(est).__name__} is no estimator of skdep, nor a pipeline or fitted search around one: there is no "
            "model to fit with and without weights."
        )
    X = features_of(est, X)
    template, notes = clone(est), []
    parameters = template.get_params(deep=False)
    kind = parameters.get("weight_type")
    if kind == "precision":
        raise ValueError(
            "weight_type='precision' says that weights are precisions, Var(e_i) = sigma2 / w_i, which belong in any "
            "fit. weight_diagnostics asks whether sampling weights are needed: for those set weight_type='sampling'."
        )
    if kind not in (None, "sampling"):
        notes.append(f"sample_weight is read as sampling weights (weight_type={kind!r} of the estimator is set aside)")
        template.set_params(weight_type="sampling")
    if "cov_type" in parameters:
        # standard errors are those of the design, whatever a fit reports
        choices = {"LogitRegressor": "auto", "GEERegressor": "robust", "GEEClassifier": "robust"}
        template.set_params(cov_type=choices.get(type(template).__name__, parameters["cov_type"]))
    return Model(template, X, tuple(notes))


def weighted_rows(
    model: Model,
    y: Any,
    *,
    sample_weight: Any,
    group_weight: Any,
    metadata: Mapping[str, Any],
    psu: Any,
    strata: Any,
    fpc: Any,
    lonely_psu: str,
) -> WeightedRows:
    """Check weights and design, and leave out rows of weight zero.

    Parameters
    ----------
    model : Model
        The model.
    y : array-like of shape (n_rows,)
        Outcomes.
    sample_weight, group_weight : array-like of shape (n_rows,) or None
        Weights of rows and of clusters; one of them must be given.
    metadata : mapping from str to array-like
        ``groups``, ``offset`` and ``time``, those that were given.
    psu, strata, fpc : array-like or None
        The design; without `psu` the (outermost) groups are the primary sampling units.
    lonely_psu : str
        What to do with strata of a single unit.

    Raises
    ------
    ValueError
        If weights or design are malformed, or random effects belong to clusters that are not independent.
    """
    check_consistent_length(model.X, y)
    n_rows = len(y)
    if getattr(model.template, "random_only", None) is not None:
        raise ValueError(
            "Tests of weights are about coefficients, which features in random_only have not: give every feature of "
            "the model a fixed effect."
        )
    row_weight = check_weights(sample_weight, n_rows)
    cluster_weight = check_weights(group_weight, n_rows, name="group_weight")
    if row_weight is None and cluster_weight is None:
        raise ValueError("There are no weights to be needed or not: give sample_weight (or group_weight).")
    if cluster_weight is not None and not hasattr(model.template, "weight_scaling"):
        raise ValueError(
            f"{type(model.template).__name__} takes no group_weight: give sample_weight, the weight of a row times "
            "that of its cluster."
        )
    row_weight = np.ones(n_rows) if row_weight is None else row_weight
    total = row_weight if cluster_weight is None else row_weight * cluster_weight
    kept = total > 0
    if not kept.any():
        raise ValueError("Every row has a weight of zero: no observation is left to fit.")
    clusters = _tied_clusters(model.template, metadata.get("groups"), n_rows)
    units = _primary_units(model.template, clusters, metadata.get("groups"), psu)
    options = {"strata": strata, "weights": total, "lonely_psu": lonely_psu}
    design = survey_design(n_rows, groups=units, fpc=fpc, **options)
    stage = design.stages[0]
    _check_nested(clusters, stage.unit)
    first_stage = stage.stratum_of_unit[stage.unit]
    options["strata"] = None if strata is None else first_stage
    null_design = survey_design(n_rows, groups=stage.unit, **options)
    X, y = _taken(model.X, kept), _taken(y, kept)
    features, _ = check_rows(clone(model.template), X, y, ensure_min_features=0)
    basis = full_rank_basis(features, fit_intercept=bool(model.template.fit_intercept))
    ones = [np.ones(len(features))] if model.template.fit_intercept else []
    return WeightedRows(
        X=X,
        y=y,
        metadata={name: _taken(part, kept) for name, part in metadata.items()},
        row_weight=row_weight[kept] / row_weight[kept].mean(),
        group_weight=None if cluster_weight is None else cluster_weight[kept],
        given_weight=total[kept],
        kept=kept,
        basis=basis,
        columns=np.column_stack([*ones, basis.columns]),
        design=design,
        null_design=null_design,
        strata=None if strata is None else (first_stage[kept], stage.stratum_labels),
    )


def fit_model(
    template: Any,
    rows: WeightedRows,
    row_weight: np.ndarray | None,
    group_weight: np.ndarray | None = None,
    *,
    X: Any = None,
    quiet: bool = False,
) -> Any:
    """Fit a clone of the model.

    Parameters
    ----------
    template : estimator
        The model, not fitted.
    rows : WeightedRows
        The rows.
    row_weight, group_weight : ndarray of shape (n_kept,) or None
        Weights.
    X : array-like of shape (n_kept, n_features), optional
        Other features than those of `rows`.
    quiet : bool, default=False
        Whether warnings are swallowed, of fits that only serve a test.
    """
    metadata = {name: part for name, part in rows.metadata.items() if name not in _set_aside(template)}
    if row_weight is not None:
        metadata["sample_weight"] = row_weight
    if group_weight is not None:
        metadata["group_weight"] = group_weight
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = clone(template).fit(rows.X if X is None else X, rows.y, **metadata)
    for warning in () if quiet else caught:
        warnings.warn(warning.message, warning.category, stacklevel=level_of_caller())
    return fit


def _has_correlation(template: Any) -> bool:
    """Say whether a GEE has rows of a cluster correlated."""
    return getattr(template, "working_correlation", "independence") != "independence"


def _set_aside(template: Any) -> tuple[str, ...]:
    """Return metadata that make no difference to the estimates: standard errors are computed here."""
    if isinstance(template, MixedEstimator) or _has_correlation(template):
        return ()
    return ("groups", "time") if hasattr(template, "working_correlation") else ("groups",)


def _taken(values: Any, kept: np.ndarray) -> Any:
    """Return some rows of whatever a user may give; all of them as they are."""
    if kept.all():
        return values
    if isinstance(values, list | tuple):
        return [value for value, keep in zip(values, kept, strict=True) if keep]
    return _safe_indexing(values, np.flatnonzero(kept))


def _tied_clusters(template: Any, groups: Any, n_rows: int) -> list[RandomTerm]:
    """Return the clusters whose rows the model ties together, the outermost ones; none where rows enter one by one."""
    if groups is None or not (isinstance(template, MixedEstimator) or _has_correlation(template)):
        return []
    terms = [RandomTerm(name, codes, levels, ()) for codes, levels, name in encode_factors(groups, n_rows)]
    return outermost_terms(terms) if isinstance(template, MixedEstimator) else terms[:1]


def _primary_units(template: Any, clusters: Sequence[RandomTerm], groups: Any, psu: Any) -> Any:
    """Return what the first stage drew: `psu`, else the groups, of several nested factors the outermost."""
    if psu is not None:
        return psu
    if len(clusters) > 1:
        raise ValueError(
            f"Factors {[term.name for term in clusters]} are crossed: no clusters are independent of each other, and "
            "there is no design-based comparison. Give psu= that all of them are nested in, or leave a factor out."
        )
    return clusters[0].codes if isinstance(template, MixedEstimator) and clusters else groups


def _check_nested(clusters: Sequence[RandomTerm], unit: np.ndarray) -> None:
    """Raise unless every cluster is within one sampling unit (n_rows,)."""
    units = RandomTerm("", unit, np.arange(int(unit.max()) + 1), ())
    for term in clusters:
        if not is_nested_in(term, units):
            raise ValueError(
                f"Levels of {term.name!r} have rows in several primary sampling units, or strata: these must hold "
                "whole clusters, since the model ties the rows of a cluster together."
            )
