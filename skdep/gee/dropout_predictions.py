"""Predictions of an estimator that fits another one: those of the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

__all__ = ["DelegatedPredictions"]


def _estimator_has(name: str) -> Callable[[Any], bool]:
    return lambda self: hasattr(self.estimator, name)


class DelegatedPredictions:
    """Predictions of the marginal model `estimator_`; those of probabilities only where `estimator` has them."""

    estimator: Any
    estimator_: Any

    def _fitted(self) -> Any:
        """Return the fitted GEE."""
        check_is_fitted(self)
        return self.estimator_

    def predict(self, X, *, groups=None, offset=None):
        """Return what the GEE predicts: means, or labels of a classifier.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model is marginal.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        predicted : ndarray of shape (n_rows,)
            Means or labels.
        """
        return self._fitted().predict(X, offset=offset)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X, *, groups=None, offset=None):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model is marginal.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        probabilities : ndarray of shape (n_rows, 2)
            Probabilities in the order of `classes_`.
        """
        return self._fitted().predict_proba(X, offset=offset)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X, *, groups=None, offset=None):
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model is marginal.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        log_probabilities : ndarray of shape (n_rows, 2)
            Logarithms, in the order of `classes_`.
        """
        return self._fitted().predict_log_proba(X, offset=offset)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X, *, groups=None, offset=None):
        """Return the linear predictor less its value at probability one half.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model is marginal.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        decision : ndarray of shape (n_rows,)
            Positive where the second class is the more probable.
        """
        return self._fitted().decision_function(X, offset=offset)

    def score(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Return the score of the GEE: accuracy of a classifier, else the share of deviance explained.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like, optional
            Not used: the model is marginal.
        sample_weight : array-like of shape (n_rows,), optional
            Weights, such as `skdep.gee.dropout_weights` of these rows.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        score : float
            The score.
        """
        return self._fitted().score(X, y, sample_weight=sample_weight, offset=offset)
