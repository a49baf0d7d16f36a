r"""Weights for dropout: the inverse of the probability of having been seen so far.

With lambda_it the probability that cluster i is seen at visit t, given that it was seen at t - 1 and what was known
then, from a logistic regression, a row at visit t has the weight 1 / (lambda_i2 ... lambda_it). Alternatively a cluster
has one weight, the inverse of the probability of leaving when it did, 1 / [lambda_i2 ... lambda_im (1 -
lambda_i,m+1)], without the last factor if it stayed to the end.

References
----------
Robins, Rotnitzky and Zhao (1995), Journal of the American Statistical Association 90, 106-121: weights of rows.
Fitzmaurice, Molenberghs and Lipsitz (1995), Journal of the Royal Statistical Society B 57, 691-704: weights of
clusters. Preisser, Lohman and Rathouz (2002), Statistics in Medicine 21, 3035-3054: both compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_expit
from sklearn.base import clone

from skdep._linalg import scaled_solve
from skdep._validation import check_weights
from skdep.base import FitNotes
from skdep.exceptions import WeightWarning
from skdep.gee.dropout_visits import Visits, planned_visits
from skdep.logit import LogitRegressor

__all__ = ["KINDS", "EstimatedWeights", "dropout_weights", "estimate_weights", "risk_columns"]

KINDS = ("observation", "cluster")


@dataclass(frozen=True, slots=True)
class EstimatedWeights:
    """Weights, and how they depend on the dropout model.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        Weights, truncated.
    n_truncated : int
        Rows (clusters, for weights of clusters) whose weight was cut down to the largest allowed.
    slopes : ndarray of shape (n_rows, q)
        Derivatives of the log weights by the coefficients of the dropout model; zero where truncated.
    influence : ndarray of shape (n_clusters, q)
        What each cluster contributes to the estimates of these coefficients: their score over the information.
    model : LogitRegressor or None
        The dropout model; None where no cluster dropped out.
    """

    weights: np.ndarray
    n_truncated: int
    slopes: np.ndarray
    influence: np.ndarray
    model: LogitRegressor | None


def dropout_weights(
    dropout_features: Any,
    *,
    groups: Any,
    time: Any,
    sample_weight: Any = None,
    last_visit: Any = None,
    weights: str = "observation",
    dropout_model: LogitRegressor | None = None,
    visit_effects: bool = True,
    max_weight: float | None = None,
) -> np.ndarray:
    """Return inverse-probability weights for monotone dropout.

    `DropoutGEE` computes them itself, and standard errors that know that they were estimated; this function is to look
    at them, or to use them elsewhere.

    Parameters
    ----------
    dropout_features : array-like of shape (n_rows, n_dropout_features)
        What predicts whether the cluster is seen at its *next* planned visit, as known at the visit of the row: the
        outcome there, the treatment. Rows of visits after which none was planned are not used.
    groups : array-like of shape (n_rows,)
        Labels of the clusters.
    time : array-like of shape (n_rows,)
        Planned time of each row's visit; the planned visits are the times that occur.
    sample_weight : array-like of shape (n_rows,), optional
        Sampling weights for the dropout model. The weights returned are for dropout alone.
    last_visit : array-like of shape (n_rows,), optional
        Time of the last visit that was planned for the row's cluster; by default the last of all times.
    weights : {"observation", "cluster"}, default="observation"
        Weights of rows, for having been seen so far; or of clusters, for having left when they did.
    dropout_model : LogitRegressor, optional
        An unfitted model of being seen at the next visit; by default without penalty.
    visit_effects : bool, default=True
        Whether each visit has its own intercept in the dropout model. A visit that everybody returned to then has
        probability one.
    max_weight : float, optional
        Weights above this are cut down to it.

    Returns
    -------
    weights : ndarray of shape (n_rows,)
        Weights of at least one.

    Raises
    ------
    ValueError
        If input is malformed, or missingness is not monotone: a cluster missed the first visit, or came back after a
        missed one.

    See Also
    --------
    DropoutGEE : A GEE with these weights.

    References
    ----------
    .. [1] Robins, Rotnitzky and Zhao (1995), Analysis of semiparametric regression models for repeated outcomes in the
       presence of missing data, Journal of the American Statistical Association 90, 106-121.

    Examples
    --------
    Of four patients with a complaint at the first visit two come back, of four without it three:

    >>> import numpy as np
    >>> from skdep.gee.dropout_weighting import dropout_weights
    >>> complaint = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1])
    >>> patient = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 4, 5, 6])
    >>> visit = np.array([1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    >>> dropout_weights(complaint, groups=patient, time=visit)[visit == 2].round(3)
    array([2.   , 2.   , 1.333, 1.333, 1.333])
    """
    if weights not in KINDS:
        raise ValueError(f"weights must be one of {list(KINDS)}, got {weights!r}.")
    if max_weight is not None and not max_weight >= 1:
        raise ValueError(f"max_weight must be at least 1, got {max_weight!r}.")
    n_rows = len(groups if groups is not None else dropout_features)
    visits = planned_visits(groups, time, n_rows, last_visit=last_visit)
    columns = risk_columns(dropout_features, visits, visit_effects)
    estimated = estimate_weights(
        columns, visits, dropout_model, check_weights(sample_weight, n_rows), weights, max_weight, FitNotes()
    )
    return estimated.weights


def risk_columns(features: Any, visits: Visits, visit_effects: bool, prefix: str = "z") -> Any:
    """Return the columns of the dropout model, a DataFrame whose index holds numbers of rows.

    Its rows are those at risk; under `visit_effects` without those before visits to which everybody returned.

    Parameters
    ----------
    features : array-like of shape (n_rows, n_dropout_features) or (n_rows,)
        Predictors, rows as those of `visits`.
    visits : Visits
        The visits.
    visit_effects : bool
        Whether to add indicators of the next visit, but for the first.
    prefix : str
        Begins the names of columns without a name.
    """
    import pandas as pd

    rows = np.flatnonzero(visits.at_risk)
    if visit_effects:
        leaves = np.bincount(visits.visit[visits.dropped], minlength=len(visits.times)) > 0
        rows = rows[leaves[visits.visit[rows]]]
    frame = _frame(features, prefix)
    if len(frame) != visits.n_rows:
        raise ValueError(f"dropout_features has {len(frame)} rows for {visits.n_rows} rows of X; give one for each.")
    frame = frame.iloc[rows].set_axis(rows)
    missing = frame.isna().any(axis=1).to_numpy()
    if missing.any():
        first = int(rows[missing][0]) if visits.rows is None else int(visits.rows[rows[missing][0]])
        raise ValueError(
            f"dropout_features has missing values in {int(missing.sum())} rows whose cluster has a later planned "
            f"visit, first in row {first}: what predicts the return must be known at the visit before."
        )
    if visit_effects:
        following = visits.visit[rows] + 1
        for number in np.unique(following)[1:]:
            frame = pd.concat([frame, _indicator(following == number, visits.times[number], rows)], axis=1)
    return frame


def _frame(features: Any, prefix: str) -> Any:
    """Return a DataFrame with texts as names."""
    import pandas as pd

    if isinstance(features, pd.Series):
        features = features.to_frame(prefix if features.name is None else features.name)
    elif hasattr(features, "columns") and not isinstance(features, pd.DataFrame):
        features = pd.DataFrame({name: np.asarray(features[name]) for name in features.columns})
    if isinstance(features, pd.DataFrame):
        return features.set_axis([str(name) for name in features.columns], axis=1)
    values = np.asarray(features)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"dropout_features must have two dimensions, got shape {values.shape}.")
    return pd.DataFrame(values, columns=[f"{prefix}{j}" for j in range(values.shape[1])])


def _indicator(values: np.ndarray, time: float, rows: np.ndarray) -> Any:
    import pandas as pd

    return pd.Series(values.astype(float), index=rows, name=f"visit {time:g}")


def estimate_weights(
    columns: Any,
    visits: Visits,
    template: LogitRegressor | None,
    sample_weight: np.ndarray | None,
    kind: str,
    max_weight: float | None,
    notes: FitNotes,
) -> EstimatedWeights:
    """Fit the dropout model, and make weights of its probabilities.

    Parameters
    ----------
    columns : DataFrame
        From `risk_columns`.
    visits : Visits
        The visits.
    template : LogitRegressor or None
        The model, unfitted.
    sample_weight : ndarray of shape (n_rows,) or None
        Sampling weights.
    kind : {"observation", "cluster"}
        Whether weights are of rows or clusters.
    max_weight : float or None
        Largest weight.
    notes : FitNotes
        Takes warnings.
    """
    if not visits.dropped.any():
        notes.warn(
            "No cluster drops out: every one was seen at all its planned visits. All weights are one.",
            WeightWarning,
            topic="dropout",
        )
        nothing = np.zeros((visits.clusters.n_clusters, 0))
        return EstimatedWeights(np.ones(visits.n_rows), 0, np.zeros((visits.n_rows, 0)), nothing, None)
    rows = columns.index.to_numpy()
    model = LogitRegressor() if template is None else clone(template)
    mass = None
    if sample_weight is not None:
        mass = sample_weight[rows] / sample_weight[rows].mean()
        model.set_params(weight_type="sampling")
    if columns.shape[1] == 0 and model.fit_intercept:
        # one visit to come back to, and nothing to predict it: a model needs a column
        columns = columns.assign(constant=1.0)
        model.set_params(fit_intercept=False)
    returned = visits.returned[rows]
    model.fit(columns, returned, sample_weight=mass)
    eta, design = model.decision_function(columns), _design(columns, model)
    log_weights, slopes = _log_weights(eta, design, rows, visits, kind)
    weights, n_truncated = _truncated(log_weights, slopes, visits, kind, max_weight)
    score, information = _score_and_information(model, design, returned, expit(eta), mass)
    influence = scaled_solve(information, visits.cluster_sums(_in_place(score, rows, visits)).T).T
    return EstimatedWeights(weights, n_truncated, slopes, influence, model)


def _log_weights(
    eta: np.ndarray, design: np.ndarray, rows: np.ndarray, visits: Visits, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log weights (n_rows,), and their derivatives by the coefficients of the dropout model (n_rows, q).

    `eta` (n,) are the log odds to return after the rows numbered `rows` (n,), and `design` (n, q) their columns.
    """
    stay, returned = expit(eta), visits.returned[rows]
    if kind == "observation":
        log_inverse, slopes = -log_expit(eta), -(1.0 - stay)[:, None] * design
        return visits.before(_in_place(log_inverse, rows, visits)), visits.before(_in_place(slopes, rows, visits))
    log_inverse = np.where(returned, -log_expit(eta), -log_expit(-eta))
    slopes = -(returned - stay)[:, None] * design
    sums = (visits.cluster_sums(_in_place(values, rows, visits)) for values in (log_inverse, slopes))
    log_weights, slopes = (visits.over_rows(values) for values in sums)
    return log_weights, slopes


def _in_place(values: np.ndarray, rows: np.ndarray, visits: Visits) -> np.ndarray:
    """Return values (n, ...) of some rows among zeros for the others (n_rows, ...)."""
    full = np.zeros((visits.n_rows, *values.shape[1:]))
    full[rows] = values
    return full


def _truncated(
    log_weights: np.ndarray, slopes: np.ndarray, visits: Visits, kind: str, max_weight: float | None
) -> tuple[np.ndarray, int]:
    """Return weights cut down to the largest allowed, and how many were; set their slopes to zero."""
    with np.errstate(over="ignore"):
        weights = np.exp(log_weights)
    if max_weight is None:
        _check_finite(weights, visits)
        return weights, 0
    cut = weights > max_weight
    weights[cut], slopes[cut] = max_weight, 0.0
    return weights, int(cut.sum() if kind == "observation" else visits.clusters.sort(cut)[visits.clusters.starts].sum())


def _design(columns: Any, model: LogitRegressor) -> np.ndarray:
    """Return the columns (n, q) of the linear predictor, the intercept among them."""
    values = columns.to_numpy(dtype=np.float64)
    return np.column_stack([np.ones(len(values)), values]) if model.fit_intercept else values


def _score_and_information(
    model: LogitRegressor, design: np.ndarray, returned: np.ndarray, stay: np.ndarray, mass: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of rows (n, q), and the information (q, q), that of the penalty included."""
    residual, variance = returned - stay, stay * (1.0 - stay)
    if mass is not None:
        residual, variance = residual * mass, variance * mass
    information = np.dot(design.T, design * variance[:, None])
    if model.penalty == "l2":
        first = int(model.fit_intercept)
        information[np.arange(first, len(information)), np.arange(first, len(information))] += 1.0 / model.C
    return design * residual[:, None], information


def _check_finite(weights: np.ndarray, visits: Visits) -> None:
    """Raise if somebody was seen who had no chance to be."""
    if not np.isfinite(weights).all():
        row = int(np.flatnonzero(~np.isfinite(weights))[0])
        label = repr(visits.clusters.levels[visits.clusters.codes[row : row + 1]].tolist()[0])
        raise ValueError(
            f"The dropout model says that {int((~np.isfinite(weights)).sum())} rows could not have been seen, first of "
            f"cluster {label}: their weights are infinite. Use fewer or other dropout_features, or a dropout_model "
            "with penalty='firth'."
        )
