"""The estimating equations of a marginal model, put together again from an estimator and the data.

Fits keep no rows: what needs the scores of clusters takes the data once more. A `LogitRegressor` is the marginal model
of a binomial outcome with logit link, independent rows and scale 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from skdep._basis import full_rank_basis
from skdep._linalg import is_ill_conditioned, scaled_solve
from skdep._outcome import encode_binary
from skdep._validation import check_rows, check_weights
from skdep.base import FitNotes
from skdep.clusters import encode_factors
from skdep.families import Binomial, Family, get_family
from skdep.formula.raw_rows import features_of
from skdep.gee.base import BaseGEE
from skdep.gee.equations import Equations, Evaluation, GEEData, Model
from skdep.gee.given_rows import GEEMetadata
from skdep.gee.rows import GEERows, prepare_rows
from skdep.gee.survey import design_of_fit
from skdep.gee.working_correlation import Independence, WorkingCorrelation, get_working_correlation
from skdep.gee.working_correlation.base import LEAST_EIGENVALUE, REPAIRED_EIGENVALUE
from skdep.links import Logit, get_link
from skdep.logit.estimator import LogitRegressor
from skdep.survey.design import SurveyDesign

__all__ = ["MarginalData", "check_marginal", "data_of_fit", "equations_at_fit", "marginal_data", "template_within"]

# Evaluations after which a working correlation that is estimated step by step has settled.
_ROUNDS = 50
# How far the data may be from solving the equations of a fit, in standard errors, and its covariance from theirs.
_MOST_DECREMENT, _MOST_DIFFERENCE = 1e-3, 1e-4


@dataclass(frozen=True)
class MarginalData:
    """Rows, and the marginal model that is fitted to them.

    Parameters
    ----------
    data : GEEData
        Rows of positive weight in cluster order, columns of the design of full rank.
    rows : GEERows
        The same with their clusters.
    model : Model
        Family, link, scale, moment conventions.
    structure : WorkingCorrelation
        The working correlation.
    back : ndarray of shape (n_params, p) or None
        Maps coefficients of the design's columns to those of the features; None where they are the same.
    names : tuple of str
        Names of ``[intercept, *coef]``.
    aliased : ndarray of bool of shape (n_params,)
        Coefficients that are not separately estimable.
    design : SurveyDesign or None
        The design, if it has strata or finite populations.
    metadata : GEEMetadata
        The rows' metadata as they were given.
    n_given : int
        Number of rows given.
    """

    data: GEEData
    rows: GEERows
    model: Model
    structure: WorkingCorrelation
    back: np.ndarray | None
    names: tuple[str, ...]
    aliased: np.ndarray
    design: SurveyDesign | None
    metadata: GEEMetadata
    n_given: int

    @property
    def map_back(self) -> np.ndarray:
        """Map (n_params, p) from coefficients of the design's columns to those of the features."""
        return np.eye(self.data.design.shape[1]) if self.back is None else self.back

    @property
    def n_floats(self) -> int:
        """Size of the columns."""
        return int(self.rows.X.size)

    @property
    def caller_rows(self) -> np.ndarray:
        """Number of each row among those given."""
        return np.arange(self.n_given) if self.rows.caller_rows is None else self.rows.caller_rows


def check_marginal(est: Any, caller: str) -> None:
    """Raise unless an estimator is a GEE, or a logistic regression by maximum likelihood."""
    if isinstance(est, LogitRegressor):
        if est.penalty is not None:
            raise ValueError(
                f"{caller} is for estimates that solve the score equations; penalty={est.penalty!r} changes them. Set "
                "penalty=None."
            )
    elif not isinstance(est, BaseGEE):
        raise TypeError(f"{caller} is for GEERegressor, GEEClassifier and LogitRegressor, got {type(est).__name__}.")


def template_within(est: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """Return the estimator in a pipeline or fitted search, to be fitted anew, and X as it reaches it.

    The steps before it are fitted to X and y. Raw data of a fit by formula become its features.
    """
    while hasattr(est, "best_estimator_") or hasattr(est, "steps"):
        if hasattr(est, "best_estimator_"):
            est = est.best_estimator_
            continue
        if len(est.steps) > 1:
            before = clone(est[:-1])
            X = named_columns(before, before.fit_transform(X, y))
        est = est.steps[-1][1]
    return est, features_of(est, X)


def named_columns(steps: Any, X: Any) -> Any:
    """Return transformed features under their names, where the steps know them."""
    if hasattr(X, "columns"):
        return X
    import pandas as pd

    try:
        names = steps.get_feature_names_out()
    except (AttributeError, ValueError):
        return X
    return pd.DataFrame(X, columns=[str(name) for name in names])


class _SaidBefore(FitNotes):
    """Takes warnings that the user has had when the model was fitted."""

    def warn(self, message: str, category: type[Warning], *, topic: str | None = None) -> None:
        """Keep the message."""
        self.append(message)


def data_of_fit(est: Any, X: Any, y: Any, metadata: GEEMetadata) -> MarginalData:
    """Check and sort the data that an estimator was fitted to: as `marginal_data`, without its warnings."""
    return marginal_data(est, X, y, metadata, fitted=True, notes=_SaidBefore())


def marginal_data(
    est: Any, X: Any, y: Any, metadata: GEEMetadata, *, notes: FitNotes, fitted: bool = False
) -> MarginalData:
    """Check the data as a fit does, and sort them.

    Parameters
    ----------
    est : GEERegressor, GEEClassifier or LogitRegressor
        The estimator; neither changed nor fitted.
    X : array-like of shape (n_rows, n_features)
        Features as they reach it.
    y : array-like of shape (n_rows,)
        Outcomes.
    metadata : GEEMetadata
        The rows' metadata.
    notes : FitNotes
        Takes warnings.
    fitted : bool, default=False
        Whether the estimator is fitted, and these are its data once more.
    """
    owner = est if fitted else clone(est)
    owner._validate_params()
    is_logit = isinstance(est, LogitRegressor)
    X, y, family = _checked(owner, X, y, metadata.sample_weight, fitted)
    structure = Independence() if is_logit else get_working_correlation(est.working_correlation)
    weights = check_weights(metadata.sample_weight, len(X))
    design = design_of_fit(
        len(X),
        groups=metadata.groups,
        strata=metadata.strata,
        fpc=metadata.fpc,
        weights=weights,
        weight_type=est.weight_type,
        structure=structure,
        lonely_psu=est.lonely_psu,
    )
    rows = prepare_rows(
        X,
        y,
        groups=_clusters_of_logit(est, metadata.groups, len(X), design) if is_logit else metadata.groups,
        sample_weight=weights,
        offset=metadata.offset,
        time=metadata.time,
        weight_type="sampling" if is_logit else est.weight_type,
        structure=structure,
        notes=notes,
        design=design,
    )
    if is_logit and weights is not None and est.weight_type == "frequency":
        rows = _with_frequencies(rows, weights)
    return _assembled(owner, rows, family, structure, design, metadata, len(X))


def _checked(owner: Any, X: Any, y: Any, sample_weight: Any, fitted: bool) -> tuple[np.ndarray, np.ndarray, Family]:
    """Return features, outcomes as numbers, and the family."""
    least = {"ensure_min_features": 0} if fitted and not owner.n_features_in_ else {}
    options = {**least, "reset": not fitted}
    if hasattr(owner, "family"):
        X, y = check_rows(owner, X, y, y_numeric=True, **options)
        family = get_family(owner.family)
        y = np.asarray(y, dtype=np.float64)
        family.check_outcome(y, check_weights(sample_weight, len(y)))
        return X, y, family
    X, y = check_rows(owner, X, y, **options)
    if not fitted:
        _, success = encode_binary(y, check_weights(sample_weight, len(y)))
        return X, success.astype(np.float64), Binomial()
    unknown = ~np.isin(y, owner.classes_)
    if unknown.any():
        raise ValueError(
            f"y has labels that the fit does not know, first {y[unknown].tolist()[0]!r}; it has "
            f"{owner.classes_.tolist()}."
        )
    return X, (y == owner.classes_[1]).astype(np.float64), Binomial()


def _clusters_of_logit(est: LogitRegressor, groups: Any, n_rows: int, design: SurveyDesign | None) -> Any:
    """Return the labels of one way of clustering; under sampling weights further columns are stages."""
    if groups is None or design is not None:
        return groups
    factors = encode_factors(groups, n_rows)
    if len(factors) == 1:
        return groups
    if est.weight_type != "sampling":
        raise ValueError(
            f"groups has {len(factors)} columns, several ways of clustering: scores are added up within one. Give the "
            "column of the clusters that matter."
        )
    codes, levels, _ = factors[0]
    return levels[codes]


def _with_frequencies(rows: GEERows, weights: np.ndarray) -> GEERows:
    """Take weights as repetitions of rows: of whole clusters where every row is one."""
    kept = weights if rows.caller_rows is None else weights[rows.caller_rows]
    if rows.grouped:
        return replace(rows, weights=kept)
    return replace(rows, weights=None, counts=kept)


def _assembled(
    owner: Any,
    rows: GEERows,
    family: Family,
    structure: WorkingCorrelation,
    design: SurveyDesign | None,
    metadata: GEEMetadata,
    n_given: int,
) -> MarginalData:
    """Put the parts together, in full-rank coordinates where columns are (nearly) collinear."""
    is_logit = isinstance(owner, LogitRegressor)
    link = Logit() if is_logit else family.default_link() if owner.link is None else get_link(owner.link)
    model = Model(family, link, 1.0, "n") if is_logit else Model(family, link, owner.scale, owner.dof)
    ones = [np.ones(len(rows.X))] if owner.fit_intercept else []
    columns, back = np.column_stack([*ones, rows.X]), None
    names = owner._parameter_names()
    aliased = np.zeros(len(names), dtype=bool)
    if is_ill_conditioned(np.dot(columns.T, columns)):
        basis = full_rank_basis(rows.X, fit_intercept=bool(owner.fit_intercept))
        columns, back, aliased = np.column_stack([*ones, basis.columns]), basis.back, basis.aliased
    data = GEEData(columns, rows.y, rows.offset, rows.weights, rows.counts, rows.blocks)
    return MarginalData(data, rows, model, structure, back, names, aliased, design, metadata, n_given)


def equations_at_fit(
    est: Any, given: MarginalData, run: Callable[..., Iterable[Any]] = map
) -> tuple[Equations, Evaluation]:
    """Evaluate the equations at the estimates of a fit.

    Parameters
    ----------
    est : GEERegressor, GEEClassifier or LogitRegressor
        The fitted estimator.
    given : MarginalData
        Its data.
    run : callable
        Maps a function over blocks, as `map` does, in threads or not.

    Raises
    ------
    ValueError
        If these are not the data of the fit.
    """
    equations = Equations(given.data, given.model, given.structure, est.tol, run)
    equations.keeps_repairing = False
    # an estimate that ended repaired was repaired to the second limit
    equations.limit = REPAIRED_EIGENVALUE if getattr(est, "correlation_shrinkage_", 0.0) > 0 else LEAST_EIGENVALUE
    params = est._inference.estimate
    beta = params if given.back is None else np.linalg.lstsq(given.back, params, rcond=None)[0]
    at = equations.at(beta, given.structure.start(equations.layouts))
    for _ in range(_ROUNDS):
        if at is None:
            raise ValueError(_OTHER_DATA)
        before, at = at, equations.at(beta, at.association)
        if at is not None and np.allclose(_numbers(at), _numbers(before), rtol=1e-13, atol=1e-15):
            break
    assert at is not None
    _check_same_data(est, given, equations, at)
    return equations, at


_OTHER_DATA = (
    "These are not the data of the fit: its estimates do not solve their equations. Give the X, y, groups, time, "
    "offset and sample_weight that est was fitted to."
)


def _numbers(at: Evaluation) -> np.ndarray:
    """Return the parameters of the working correlation as far as they are numbers, and the bread that they make."""
    return np.append(at.bread.ravel(), at.scale)


def _check_same_data(est: Any, given: MarginalData, equations: Equations, at: Evaluation) -> None:
    fitted = est._inference
    if fitted.n_clusters is not None and not given.rows.grouped:
        raise ValueError(f"est was fitted to {fitted.n_clusters} clusters: pass their labels, groups=.")
    if fitted.n_clusters not in (None, given.rows.n_clusters) and isinstance(est, BaseGEE):
        raise ValueError(
            f"est was fitted to {fitted.n_clusters} clusters, groups has {given.rows.n_clusters}. Give the groups of "
            "the fit."
        )
    step = scaled_solve(at.bread, at.score)
    decrement = np.sqrt(max(float(at.score @ step), 0.0) / equations.convergence_scale(at))
    stored = fitted.covariances["model" if "model" in fitted.covariances else "naive"]
    found = at.scale * given.map_back @ scaled_solve(at.bread, np.eye(len(at.bread))) @ given.map_back.T
    same = np.allclose(np.diag(found), np.diag(stored), rtol=_MOST_DIFFERENCE, atol=0.0)
    if not same or (est.converged_ and decrement > _MOST_DECREMENT):
        raise ValueError(_OTHER_DATA)
