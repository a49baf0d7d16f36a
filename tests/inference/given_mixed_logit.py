"""A logistic mixed model with given parameters in the place of estimates: what inference is tested with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from sklearn.base import ClassifierMixin

from skdep._fingerprint import fingerprint
from skdep._fitted import FittedInference
from skdep.base import DependentDataEstimator
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.terms import INTERCEPT


class GivenMixedLogit(ClassifierMixin, DependentDataEstimator):
    """Logistic mixed model with given parameters.

    `sigma` is a dict from factor to (columns, covariance matrix); `covariance` the covariance of the coefficients;
    `joint` that of the coefficients and of the free entries of T, working columns being the user's columns times
    `to_user`, by factor, factors in reversed order; by default T is known. The robust covariance is four times as
    large. `outer` says which factors are nested in which.
    """

    _link_name = "logit"

    def __init__(self, coefficients, covariance, sigma, *, fit_intercept=True, joint=None, to_user=None, outer=None):
        self.coefficients = coefficients
        self.covariance = covariance
        self.sigma = sigma
        self.fit_intercept = fit_intercept
        self.joint = joint
        self.to_user = to_user
        self.outer = outer

    def fit(self, X, y=None):
        """Take the features of X, of which the model keeps moments."""
        self.n_features_in_ = X.shape[1]
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        rows = np.asarray(X, dtype=float)
        y = np.zeros(len(rows)) if y is None else np.asarray(y, dtype=float)
        split = int(self.fit_intercept)
        estimate = np.asarray(self.coefficients, dtype=float)
        self.coef_, self.intercept_ = estimate[None, split:], estimate[:1] if split else np.zeros(1)
        self.classes_, self._fitted_with_offset = np.array([0, 1]), False
        self.random_covariance_ = {name: np.asarray(matrix, dtype=float) for name, (_, matrix) in self.sigma.items()}
        self._random_columns = {name: tuple(columns) for name, (columns, _) in self.sigma.items()}
        names = self._parameter_names()
        self.random_names_ = {
            name: tuple("Intercept" if c == INTERCEPT else names[split + c] for c in columns)
            for name, columns in self._random_columns.items()
        }
        self._working_order = tuple(reversed(self.sigma))
        effects = {
            name: np.column_stack([np.ones(len(rows)) if c == INTERCEPT else rows[:, c] for c in columns])
            for name, columns in self._random_columns.items()
        }
        self._model = SimpleNamespace(
            term_moments={name: z.T @ z / len(rows) for name, z in effects.items()},
            feature_covariance=np.atleast_2d(np.cov(rows.T, bias=True)),
            outer_factors={name: (self.outer or {}).get(name, ()) for name in self.sigma},
            **self._working(),
        )
        self.covariance_ = np.asarray(self.covariance, dtype=float)
        self._inference = FittedInference(
            names=names,
            estimate=estimate,
            covariances={"model": self.covariance_, "robust": 4.0 * self.covariance_},
            cov_type="model",
            aliased=np.zeros(len(names), dtype=bool),
            degrees_of_freedom={},
            residual_df=dict.fromkeys(["model", "robust"], float(len(rows) - len(names))),
            n_obs=float(len(rows)),
            data=fingerprint(rows, y),
        )
        return self

    def _working(self):
        """Return covariance parameters in working coordinates."""
        order = self._working_order
        given = self.to_user or {}
        to_user = [np.asarray(given.get(name, np.eye(len(self.random_covariance_[name])))) for name in order]
        roots = [np.linalg.inv(U) for U in to_user]
        factors = [
            np.linalg.cholesky(R @ self.random_covariance_[name] @ R.T) for R, name in zip(roots, order, strict=True)
        ]
        parameters = CovarianceParameters(tuple(len(T) for T in factors), False)
        size, p = len(self.covariance) + parameters.n_parameters, len(self.covariance)
        joint = np.zeros((size, size)) if self.joint is None else np.asarray(self.joint, dtype=float)
        joint[:p, :p] = self.covariance
        return {
            "parameters": parameters,
            "factors": factors,
            "to_user": to_user,
            "parameter_covariance": joint,
            "robust_parameter_covariance": 4.0 * joint,
        }
