"""Predictions of binary classifiers without cluster effects, from their log odds or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score

from skdep._validation import check_weights

__all__ = ["BinaryPredictionMixin"]


class BinaryPredictionMixin:
    """Class labels, probabilities and accuracy; a subclass gives `decision_function` and `_probabilities`."""

    classes_: np.ndarray

    def decision_function(self, X, *, groups=None, offset=None):
        """Return a number a row, positive where the second class is the more probable."""
        raise NotImplementedError

    def _probabilities(self, X: Any, offset: Any) -> np.ndarray:
        """Return the probabilities of both classes (n_rows, 2)."""
        raise NotImplementedError

    def _log_probabilities(self, X: Any, offset: Any) -> np.ndarray:
        """Return the logarithms of the probabilities of both classes (n_rows, 2)."""
        with np.errstate(divide="ignore"):
            return np.log(self._probabilities(X, offset))

    def predict(self, X, *, groups=None, offset=None):
        """Return the more probable class: the second where its probability is above one half.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model has no cluster effects.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        labels : ndarray of shape (n_rows,)
            Labels.
        """
        positive = self.decision_function(X, offset=offset) > 0
        return self.classes_[positive.astype(int)]

    def predict_proba(self, X, *, groups=None, offset=None):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model has no cluster effects.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        probabilities : ndarray of shape (n_rows, 2)
            Probabilities in the order of `classes_`.
        """
        return self._probabilities(X, offset)

    def predict_log_proba(self, X, *, groups=None, offset=None):
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model has no cluster effects.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        log_probabilities : ndarray of shape (n_rows, 2)
            Logarithms, in the order of `classes_`.
        """
        return self._log_probabilities(X, offset)

    def score(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Return the accuracy.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Labels.
        groups : array-like, optional
            Not used: the model has no cluster effects.
        sample_weight : array-like of shape (n_rows,), optional
            Weights.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        accuracy : float
            Weighted share of labels predicted right.
        """
        labels = self.predict(X, offset=offset)
        return accuracy_score(y, labels, sample_weight=check_weights(sample_weight, len(labels)))
