"""skdep: the programs that others are compared to, and what it estimates under their conventions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.simulate import Data
from benchmarks.timing import Estimates, Program
from skdep import GEEClassifier, LogitRegressor
from skdep.gee.working_correlation import AR1, Unstructured, WorkingCorrelation

__all__ = ["OwnVariances", "gee", "gee_estimates", "logit", "logit_estimates", "neighbours"]


class OwnVariances(Unstructured):
    """Unstructured correlations as statsmodels has them: each time is standardised by its own residual variance."""

    def estimate(self, layouts, products, counts, moments, previous):
        """Return the correlation matrix of the residual products."""
        deviation = np.sqrt(np.diag(products))
        return products / np.outer(deviation, deviation)


def neighbours() -> AR1:
    """Return the AR(1) whose alpha rests on neighbouring rows, whatever `dof`."""
    return AR1(pairs="neighbours")


def _estimates(fit: GEEClassifier | LogitRegressor) -> Estimates:
    return Estimates(np.concatenate([fit.intercept_, fit.coef_[0]]), np.sqrt(np.diag(fit.covariance_)))


def gee_estimates(structure: str | WorkingCorrelation, dof: str = "n-p") -> Callable[[Data], Estimates]:
    """Return a function that fits a binary GEE with robust standard errors."""
    timed = structure not in ("independence", "exchangeable")

    def fit(data: Data) -> Estimates:
        model = GEEClassifier(working_correlation=structure, dof=dof)
        return _estimates(model.fit(data.X, data.y, groups=data.groups, time=data.time if timed else None))

    return fit


def logit_estimates(
    cov_type: str, se_factor: Callable[[int, int], float] = lambda n, p: 1.0
) -> Callable[[Data], Estimates]:
    """Return a function that fits a logistic regression.

    `se_factor` takes numbers of rows and of parameters and returns what another program multiplies standard errors by.
    """

    def fit(data: Data) -> Estimates:
        groups = data.groups if cov_type == "cluster" else None
        found = _estimates(LogitRegressor(cov_type=cov_type).fit(data.X, data.y, groups=groups))
        assert found.std_error is not None
        return Estimates(found.coef, found.std_error * se_factor(len(data.y), 1 + data.X.shape[1]))

    return fit


def gee(structure: str) -> Program:
    """Time `GEEClassifier` as it comes."""
    return Program("skdep", gee_estimates(structure))


def logit(cov_type: str) -> Program:
    """Time `LogitRegressor` as it comes."""
    return Program("skdep", logit_estimates(cov_type))
