"""`DropoutGEE`: marginal models of longitudinal data where clusters drop out because of what was seen before."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils import get_tags

from skdep._compat import Interval, StrOptions, fit_context
from skdep._docs import read_more
from skdep._outcome import encode_binary
from skdep._validation import check_rows, check_weights
from skdep.base import DependentDataEstimator, FitNotes
from skdep.exceptions import WeightWarning
from skdep.gee.base import BaseGEE
from skdep.gee.classifier import GEEClassifier
from skdep.gee.dropout_covariance import AwareCovariance, aware_covariance
from skdep.gee.dropout_predictions import DelegatedPredictions
from skdep.gee.dropout_table import dropout_table
from skdep.gee.dropout_visits import Visits, planned_visits
from skdep.gee.dropout_weighting import KINDS, EstimatedWeights, estimate_weights, risk_columns
from skdep.gee.working_correlation import get_working_correlation
from skdep.logit import LogitRegressor

__all__ = ["DropoutGEE"]

_COV_TYPES = ("robust", "df", "naive")
_FEW_CLUSTERS = 40
_OWN = dict.fromkeys(("estimator_", "dropout_model_", "dropout_"))


class _Rows(NamedTuple):
    """The rows that are left, as given; `values` are the features as an array."""

    X: Any
    values: np.ndarray
    y: Any
    dropout_features: Any
    sample_weight: Any
    offset: Any


def _check_seen(y: Any) -> None:
    """Raise if some outcomes are missing."""
    import pandas as pd

    missing = np.zeros(0, dtype=bool) if y is None else np.asarray(pd.isna(y)).reshape(-1)
    if missing.any():
        raise ValueError(
            f"y: {int(missing.sum())} outcomes are missing, first in row {int(np.flatnonzero(missing)[0])}. Rows are "
            "the visits that took place: leave out the others, as by seen = y.notna(). Dropout shows in which rows a "
            "cluster lacks."
            f"{read_more('dropout')}"
        )


class DropoutGEE(DelegatedPredictions, MetaEstimatorMixin, DependentDataEstimator):
    r"""GEE with inverse-probability weights, for clusters that drop out; classifier or regressor as the GEE within.

    A GEE of the rows at hand is right if dropout has nothing to do with the outcomes. If patients leave because of what
    was seen of them before (missing at random), it is biased, and right again once each row is weighted by the inverse
    of the probability of having been seen, here estimated by logistic regression. Standard errors know that the weights
    were estimated.

    Rows are the visits that took place: a cluster's last row is its last visit, and missed visits have no row. The
    planned visits are the times that occur in the data.

    Parameters
    ----------
    estimator : GEERegressor or GEEClassifier
        The marginal model, unfitted. Its `cov_type` must be ``"robust"``, ``"df"`` or ``"naive"``.
    dropout_model : LogitRegressor, optional
        The unfitted model of being seen at the next visit; by default without penalty.
    weights : {"observation", "cluster"}, default="observation"
        ``"observation"`` weighs each row for having been seen so far; mostly the more precise, and meant for working
        correlation ``"independence"``. ``"cluster"`` gives all rows of a cluster the same weight, for having left when
        it did, and goes with every working correlation.
    visit_effects : bool, default=True
        Whether each visit has its own intercept in the dropout model. Visits that everybody returned to then have
        probability one, and no part in it.
    max_weight : float, optional
        Weights above this are cut down to it: less variance, some bias. `dropout_` says how many were.
    intermittent : {"fail", "drop"}, default="fail"
        What to do with clusters that come back after a missed visit: raise an error, or leave out all that comes after
        the first missed visit, with a warning.

    Attributes
    ----------
    estimator_ : GEERegressor or GEEClassifier
        The weighted fit, whose own standard errors take the weights as known.
    dropout_model_ : LogitRegressor or None
        The fitted dropout model; None where no cluster dropped out.
    dropout_ : DropoutTable
        Retention and weights by visit; ``.to_frame()``.
    coef_, intercept_, scale_, association_, n_clusters_, n_iter_, classes_, n_features_in_, feature_names_in_
        As of the GEE, with any other fitted attribute that it has.
    covariance_ : ndarray of shape (p, p)
        Covariance of ``[intercept, *coef]``.
    converged_ : bool
        Whether both models converged.

    See Also
    --------
    skdep.gee.dropout_weights : The weights themselves.
    GEERegressor, GEEClassifier : The models without weights.

    Notes
    -----
    The dropout model needs everything that both predicts dropout and is related to later outcomes: then, given the
    past, who leaves is chance. That cannot be tested, since what is missing was not seen. It also needs that everybody
    has some chance to stay: look at the largest weights.

    Types of covariance: ``"robust"`` knows of the estimated weights, ``"df"`` is that times K / (K - p),
    ``"known_weights"`` takes the weights as known, ``"naive"`` believes the working correlation as well. Estimating the
    weights makes estimates more precise if the dropout model holds; ``"known_weights"`` is then too large on average.

    Clusters must be seen at the first planned visit. With staggered entry count time from each cluster's entry, and say
    by `last_visit` how far its follow-up was planned, so that the end of the study does not count as dropout.

    References
    ----------
    .. [1] Robins, Rotnitzky and Zhao (1995), Analysis of semiparametric regression models for repeated outcomes in the
       presence of missing data, Journal of the American Statistical Association 90, 106-121.
    .. [2] Fitzmaurice, Molenberghs and Lipsitz (1995), Regression models for longitudinal binary responses with
       informative drop-outs, Journal of the Royal Statistical Society B 57, 691-704.
    .. [3] Preisser, Lohman and Rathouz (2002), Performance of weighted estimating equations for longitudinal binary
       data with drop-outs missing at random, Statistics in Medicine 21, 3035-3054.

    Examples
    --------
    Wheezing children are made to leave a study, so that those who remain are the healthy ones, and wheeze seems to fall
    with age faster than it did:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.gee.dropout import DropoutGEE
    >>> X, y, children, age = (load_ohio()[name] for name in ("data", "target", "groups", "time"))
    >>> GEEClassifier().fit(X, y, groups=children).coef_.round(2)
    array([[-0.11,  0.27]])
    >>> chance = np.random.default_rng(0).random(len(y))
    >>> leaves = pd.Series(np.where(chance < np.where(y == 1, 0.5, 0.05), 1, 0))
    >>> seen = (leaves.groupby(children).cumsum() - leaves) == 0
    >>> X, y, children, age = (part[seen] for part in (X, y, children, age))
    >>> GEEClassifier().fit(X, y, groups=children).coef_.round(2)
    array([[-0.28,  0.25]])
    >>> gee = DropoutGEE(GEEClassifier()).fit(X, y, groups=children, time=age)
    >>> gee.coef_.round(2)
    array([[-0.07,  0.25]])
    >>> gee.dropout_.to_frame().round(2)
           planned  seen  dropped  smallest  mean  largest
    visit
    -2.0       537   537        0      1.00  1.00     1.00
    -1.0       537   456       81      1.06  1.17     2.68
     0.0       537   403       53      1.12  1.34     6.02
     1.0       537   362       41      1.17  1.43     8.57
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"time": True, "dropout_features": True, "last_visit": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [BaseGEE],
        "dropout_model": [LogitRegressor, None],
        "weights": [StrOptions(set(KINDS))],
        "visit_effects": ["boolean"],
        "max_weight": [Interval(Real, 1, None, closed="left"), None],
        "intermittent": [StrOptions({"fail", "drop"})],
    }

    def __init__(
        self,
        estimator,
        *,
        dropout_model=None,
        weights="observation",
        visit_effects=True,
        max_weight=None,
        intermittent="fail",
    ):
        self.estimator = estimator
        self.dropout_model = dropout_model
        self.weights = weights
        self.visit_effects = visit_effects
        self.max_weight = max_weight
        self.intermittent = intermittent

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        tags.target_tags = inner.target_tags
        return tags

    @property
    def fit_intercept(self) -> bool:
        """Whether the GEE has an intercept."""
        return self.estimator.fit_intercept

    @property
    def working_correlation(self) -> Any:
        """Working correlation of the GEE."""
        return self.estimator.working_correlation

    @fit_context
    def fit(
        self,
        X,
        y,
        *,
        groups=None,
        time=None,
        dropout_features=None,
        sample_weight=None,
        last_visit=None,
        offset=None,
    ):
        """Fit the dropout model, and the GEE with its weights.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features of the marginal model, a row for each visit that took place.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,)
            Labels of the clusters, in any row order.
        time : array-like of shape (n_rows,)
            Planned times of the visits: numbers, dates or an ordered categorical, distinct within clusters.
        dropout_features : array-like of shape (n_rows, n_dropout_features), optional
            What predicts whether the cluster is seen at its *next* planned visit, as known at the visit of the row. By
            default the outcome and the features of the row, but for features that depend on the visit alone where there
            are `visit_effects`.
        sample_weight : array-like of shape (n_rows,), optional
            Sampling weights: the dropout model has them too, and the GEE their product with the weights for dropout.
        last_visit : array-like of shape (n_rows,), optional
            Time of the last visit that was planned for the row's cluster, constant within clusters; by default the last
            of all times.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor of the marginal model.

        Returns
        -------
        self : DropoutGEE
            The fitted estimator.

        Raises
        ------
        ValueError
            If input is malformed; outcomes are missing; a cluster was not seen at the first planned visit, or came back
            after a missed one.
        """
        self._check_estimator()
        _check_seen(y)
        values, _ = check_rows(self, X, y)
        visits = planned_visits(groups, time, len(values), last_visit=last_visit, intermittent=self.intermittent)
        rows = [visits.take(given) for given in (X, values, y, dropout_features, sample_weight, offset)]
        with config_context(skip_parameter_validation=False):  # which our own validation has switched off
            self._fit_rows(visits, _Rows(*rows))
        return self

    def _fit_rows(self, visits: Visits, rows: _Rows) -> None:
        """Fit both models to the rows that are left."""
        notes = FitNotes()
        mass = check_weights(rows.sample_weight, len(rows.values))
        estimated = self._estimate_weights(visits, rows, mass, notes)
        metadata = {
            "groups": visits.labels,
            "time": visits.times[visits.visit],
            "sample_weight": estimated.weights if mass is None else estimated.weights * mass,
            "offset": rows.offset,
        }
        self.estimator_ = self._fit_weighted(rows, metadata, bool(visits.dropped.any()), notes)
        self.dropout_model_ = estimated.model
        self.dropout_ = dropout_table(visits, estimated, self.weights, self.max_weight)
        aware = aware_covariance(
            self.estimator_,
            rows.values,
            self._outcomes(rows.y),
            estimated,
            visits.clusters.codes,
            constant_weights=self.weights == "cluster",
            **metadata,
        )
        self._store(aware, notes)

    def _check_estimator(self) -> None:
        """Raise if the GEE is of a kind that weights for dropout do not go with."""
        if self.estimator.cov_type not in _COV_TYPES:
            raise ValueError(
                f"estimator has cov_type={self.estimator.cov_type!r}, which is not defined for estimated weights; "
                f"choose one of {list(_COV_TYPES)}."
            )
        if self.estimator.weight_type != "sampling":
            raise ValueError("Weights for dropout are weights of rows: the estimator needs weight_type='sampling'.")

    def _estimate_weights(
        self, visits: Visits, rows: _Rows, mass: np.ndarray | None, notes: FitNotes
    ) -> EstimatedWeights:
        """Fit the dropout model to the rows at risk."""
        features = rows.dropout_features
        if features is None:
            features = self._default_features(visits, rows)
        columns = risk_columns(features, visits, self.visit_effects)
        return estimate_weights(columns, visits, self.dropout_model, mass, self.weights, self.max_weight, notes)

    def _default_features(self, visits: Visits, rows: _Rows) -> Any:
        """Return the outcome and the features, without those that visit effects stand for."""
        import pandas as pd

        X = rows.values
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(X.shape[1])])
        chosen = np.ones(X.shape[1], dtype=bool)
        if self.visit_effects:
            first = np.unique(visits.visit, return_index=True)[1]
            chosen = (X[first][visits.visit] != X).any(axis=0)
        features = pd.DataFrame(X[:, chosen], columns=[str(name) for name in np.asarray(names)[chosen]])
        features.insert(0, "outcome", self._outcomes(rows.y), allow_duplicates=True)
        return features

    def _outcomes(self, y: Any) -> np.ndarray:
        """Return outcomes as numbers, of a classifier whether they are the second class."""
        values = np.asarray(y).reshape(-1)
        if isinstance(self.estimator, GEEClassifier):
            values = encode_binary(values, None)[1]
        return values.astype(np.float64)

    def _fit_weighted(self, rows: _Rows, metadata: dict[str, Any], dropout: bool, notes: FitNotes) -> BaseGEE:
        """Fit the GEE, with a warning of its own about weights that vary within correlated clusters."""
        fitted = clone(self.estimator)
        with warnings.catch_warnings():
            independent = get_working_correlation(fitted.working_correlation).name == "independence"
            biased = dropout and self.weights == "observation" and not independent
            if biased:
                warnings.filterwarnings("ignore", category=WeightWarning)
            fitted.fit(rows.X, rows.y, **metadata)
        if biased:
            notes.warn(
                f"Weights of observations with working correlation {fitted.working_correlation!r}: estimates are "
                "biased where dropout depends on the outcomes. Use weights='cluster', or "
                "working_correlation='independence'.",
                WeightWarning,
                topic="dropout",
            )
        replaced = ("Weights vary within", "with ") if biased else ("with ",)
        notes.extend(note for note in fitted._inference.notes if not note.startswith(replaced))
        return fitted

    def _store(self, aware: AwareCovariance, notes: FitNotes) -> None:
        """Set the fitted attributes."""
        inner = self.estimator_
        fitted = {name: value for name, value in vars(inner).items() if name.endswith("_")}
        for name in [name for name in vars(self) if name.endswith("_") and name not in fitted | _OWN]:
            delattr(self, name)  # of an earlier fit
        for name, value in fitted.items():
            setattr(self, name, value)
        self._family, self._link, self._link_name = inner._family, inner._link, inner._link_name
        self._fitted_with_offset, self._criteria = inner._fitted_with_offset, aware.criteria
        model = self.dropout_model_
        self.converged_ = inner.converged_ and (model is None or model.converged_)
        if model is not None:
            notes.extend(f"the dropout model: {note}" for note in model._inference.notes)
        self._infer(aware, notes)

    def _infer(self, aware: AwareCovariance, notes: FitNotes) -> None:
        """Set what inference needs."""
        found = self.estimator_._inference
        left = found.residual_df["robust"]
        by_type = {
            "robust": aware.robust,
            "df": aware.robust * (self.n_clusters_ / left if left > 0 else np.nan),
            "known_weights": found.covariances["robust"],
            "naive": found.covariances["naive"],
        }
        why = "it is not defined for estimated weights: use 'robust', or 'df' where clusters are few"
        lacking = [kind for kind in found.covariances if kind not in by_type]
        if self.n_clusters_ < _FEW_CLUSTERS and found.cov_type == "robust":
            notes.append(
                f"with {self.n_clusters_} clusters robust standard errors tend to be too small; coef_table(est, "
                "cov_type='df') makes them larger, and uses the t distribution."
            )
        self.covariance_ = by_type[found.cov_type]
        self._inference = replace(
            found,
            covariances=by_type,
            degrees_of_freedom={"df": left},
            residual_df=dict.fromkeys(by_type, left),
            small_samples={},
            unavailable={**found.unavailable, **dict.fromkeys(lacking, why)},
        ).described(self._facts(found.facts), notes)

    def _facts(self, facts: Any) -> dict[str, str]:
        """Return the lines of the summary's head."""
        table, model = self.dropout_, self.dropout_model_
        n_dropped = int(table.dropped.sum())
        parameters = "" if model is None else f", logistic model with {len(model._inference.names)} parameters"
        return {
            **{name: value for name, value in facts.items() if name != "Weights"},
            "QIC, CIC": f"{self._criteria['qic']:.4f}, {self._criteria['cic']:.4f}",
            "Dropout": f"{n_dropped} of {self.n_clusters_} clusters{parameters}",
            "Weights": f"by {self.weights}, {table.describe()}",
        }
