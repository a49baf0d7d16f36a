"""What binary classifiers share: labels, logarithms of probabilities and accuracy, from log odds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_expit
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from skdep._validation import check_weights

__all__ = ["BinaryClassifierMixin", "BinaryPredictionMixin"]


class BinaryClassifierMixin(ClassifierMixin):
    """Class labels, logarithms of probabilities, accuracy; a subclass gives `decision_function` and `predict_proba`."""

    # set by every fit
    classes_: np.ndarray

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def decision_function(self, X, *, groups=None, offset=None):
        """Return a number a row, positive where the second class is the more probable."""
        raise NotImplementedError

    def predict(self, X, *, groups=None, offset=None):
        """Return the more probable class: the second where its probability is above one half.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        labels : ndarray of shape (n_rows,)
            Labels.
        """
        is_second = self._is_second(X, groups, offset)
        return self.classes_[is_second.astype(int)]

    def predict_log_proba(self, X, *, groups=None, offset=None):
        """Return the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        log_probabilities : ndarray of shape (n_rows, 2)
            Logarithms, in the order of `classes_`.
        """
        return self._log_proba(X, groups, offset)

    def score(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Return the accuracy.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Labels.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        sample_weight : array-like of shape (n_rows,), optional
            Weights.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        accuracy : float
            Weighted share of labels predicted right.
        """
        labels = self.predict(X, groups=groups, offset=offset)
        return accuracy_score(y, labels, sample_weight=check_weights(sample_weight, len(labels)))

    def _is_second(self, X: Any, groups: Any, offset: Any) -> np.ndarray:
        """Return whether the second class is the more probable (n_rows,)."""
        return self.decision_function(X, groups=groups, offset=offset) > 0

    def _log_proba(self, X: Any, groups: Any, offset: Any) -> np.ndarray:
        """Return logarithms of both probabilities (n_rows, 2), of a `decision_function` that gives log odds."""
        log_odds = self.decision_function(X, groups=groups, offset=offset)
        return np.column_stack([log_expit(-log_odds), log_expit(log_odds)])


class BinaryPredictionMixin(BinaryClassifierMixin):
    """The same for models without cluster effects; a subclass gives `decision_function` and `_probabilities`."""

    def _probabilities(self, X: Any, offset: Any) -> np.ndarray:
        """Return the probabilities of both classes (n_rows, 2)."""
        raise NotImplementedError

    def _log_probabilities(self, X: Any, offset: Any) -> np.ndarray:
        """Return the logarithms of the probabilities of both classes (n_rows, 2)."""
        with np.errstate(divide="ignore"):
            return np.log(self._probabilities(X, offset))

    def _log_proba(self, X: Any, groups: Any, offset: Any) -> np.ndarray:
        return self._log_probabilities(X, offset)

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
