"""Scorers for searches over GEEs: by QIC and CIC of the training rows, or by the deviance on the rows left out.

A scorer is called as ``scorer(est, X, y)`` with the rows left out of training, and larger is better. The criteria of
quasi-likelihood are those of the training rows, which the fit keeps: these scorers do not look at X and y.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import MetadataRequest

from skdep._validation import check_weights, numeric_rows
from skdep.families import Binomial, Family, Gaussian
from skdep.formula.raw_rows import offset_of
from skdep.inference._features import last_step
from skdep.inference.criteria import qic

__all__ = ["cic_scorer", "deviance_scorer", "mean_deviance", "qic_scorer"]


class CriterionScorer:
    """Minus a criterion of quasi-likelihood of a fitted GEE, as it was trained.

    Parameters
    ----------
    criterion : {"qic", "cic"}
        Which.

    Examples
    --------
    QIC of all rows is had by a "split" in which all rows are trained on; folds of clusters average it over them.

    >>> import numpy as np
    >>> from sklearn import config_context
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import cic_scorer
    >>> ohio = load_ohio()
    >>> everything = np.arange(len(ohio.target))
    >>> grid = {"working_correlation": ["independence", "exchangeable", "ar1"]}
    >>> with config_context(enable_metadata_routing=True):
    ...     search = GridSearchCV(GEEClassifier(), grid, scoring=cic_scorer, cv=[(everything, everything)])
    ...     search = search.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    >>> search.best_params_
    {'working_correlation': 'ar1'}
    """

    def __init__(self, criterion: str):
        self.criterion = criterion

    def __call__(self, est: Any, X: Any = None, y: Any = None, *, sample_weight: Any = None) -> float:
        """Return minus the criterion of a fitted GEE, or of a pipeline or search around one; the rest is not used."""
        return -float(getattr(qic(est), self.criterion))

    def __repr__(self) -> str:
        return f"{self.criterion}_scorer"

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what metadata the scorer asks for: none."""
        return MetadataRequest(owner=self)

    def _accept_sample_weight(self) -> bool:
        # scikit-learn asks where routing is off, and warns of scorers without weights; those of training are in here
        return True


class DevianceScorer:
    """Minus the mean deviance of an outcome's family on the rows given; larger is better, 0 is best.

    `sample_weight` and `offset` are requested: with scikit-learn's routing on they come along with the rows. Routing
    off, a search passes `sample_weight` only.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn import config_context
    >>> from sklearn.model_selection import GridSearchCV, GroupKFold
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_epil
    >>> from skdep.inference import deviance_scorer
    >>> epil = load_epil()
    >>> X = np.log(epil.data[["base", "age"]])
    >>> grid = {"link": ["log", "sqrt"]}
    >>> with config_context(enable_metadata_routing=True):
    ...     search = GridSearchCV(GEERegressor("poisson"), grid, scoring=deviance_scorer, cv=GroupKFold(5))
    ...     search = search.fit(X, epil.target, groups=epil.groups)
    >>> search.best_params_
    {'link': 'log'}
    """

    def __call__(self, est: Any, X: Any, y: Any, *, sample_weight: Any = None, offset: Any = None) -> float:
        """Return minus the weighted mean deviance.

        Parameters
        ----------
        est : estimator
            A fitted estimator of skdep for a binary outcome, or for one with a family (that of `MixedLinear` is
            Gaussian), or a pipeline or search around one.
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        sample_weight, offset : array-like of shape (n_rows,), optional
            Weights, and the known part of the linear predictor.
        """
        return -mean_deviance(est, X, y, sample_weight, offset)

    def __repr__(self) -> str:
        return "deviance_scorer"

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what metadata the scorer asks for."""
        request = MetadataRequest(owner=self)
        for name in ("sample_weight", "offset"):
            request.score.add_request(param=name, alias=True)
        return request

    def _accept_sample_weight(self) -> bool:
        # scikit-learn asks where routing is off
        return True


qic_scorer = CriterionScorer("qic")
cic_scorer = CriterionScorer("cic")
deviance_scorer = DevianceScorer()


def mean_deviance(est: Any, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
    """Return the weighted mean deviance of outcomes under the means that a fit predicts.

    Parameters
    ----------
    est : estimator
        The fit.
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcomes.
    sample_weight, offset : array-like of shape (n_rows,) or None
        Weights, and the known part of the linear predictor.

    Raises
    ------
    ValueError
        If outcomes are outside the range of the family, or labels that the fit does not know.
    """
    offset = offset_of(est, X, offset)
    model, X = last_step(est, X)
    given = {} if offset is None else {"offset": offset}
    family: Family
    if hasattr(model, "classes_"):
        family, mean = Binomial(), model.predict_proba(X, **given)[:, 1]
        labels = np.asarray(y).reshape(-1)
        unknown = ~np.isin(labels, model.classes_)
        if unknown.any():
            raise ValueError(f"y has labels that the fit does not know, first {labels[unknown].tolist()[0]!r}.")
        outcome = (labels == model.classes_[1]).astype(np.float64)
    else:
        family, mean = getattr(model, "_family", Gaussian()), model.predict(X, **given)
        outcome = numeric_rows(y, len(mean), name="y")
    weights = check_weights(sample_weight, len(mean))
    family.check_outcome(outcome, weights)
    return float(np.average(family.deviance(outcome, family.clip(mean)), weights=weights))
