"""skdep's `MixedLinear`, by REML or by ML, and `MixedLogit`: the programs that others are compared to."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.timing import Estimates, Program
from skdep import MixedLinear, MixedLogit

__all__ = ["logit_estimates", "mixed", "mixed_estimates", "mixed_logit"]


def _fit(data: MixedData, method: str) -> Estimates:
    model = MixedLinear(random_slopes=[0] if data.slope else None, method=method)
    model.fit(data.X, data.y, groups=data.groups)
    variances = [np.diag(covariance) for covariance in model.random_covariance_.values()]
    return Estimates(
        np.append(model.intercept_, model.coef_),
        np.sqrt(np.diag(model.covariance_)),
        loglik=model.loglik_,
        variances=np.concatenate([[model.sigma2_], *variances]),
    )


# the same fit is the reference of several peers
_remembered = lru_cache(maxsize=2)(_fit)


def mixed_estimates(method: str) -> Callable[[MixedData], Estimates]:
    """Return a function that returns the fit by ``"reml"`` or ``"ml"``, made once for the same data."""
    return lambda data: _remembered(data, method)


def mixed(method: str = "reml") -> Program:
    """Time `MixedLinear` as it comes: coefficients, standard errors, random effects and their standard deviations."""
    return Program("skdep", lambda data: _fit(data, method))


def _fit_logit(data: MixedData, n_quadrature: int) -> Estimates:
    model = MixedLogit(random_slopes=[0] if data.slope else None, n_quadrature=n_quadrature)
    model.fit(data.X, data.y, groups=data.groups)
    return Estimates(
        np.append(model.intercept_, model.coef_),
        np.sqrt(np.diag(model.covariance_)),
        loglik=model.loglik_,
        variances=np.concatenate([np.diag(covariance) for covariance in model.random_covariance_.values()]),
    )


_remembered_logit = lru_cache(maxsize=2)(_fit_logit)


def logit_estimates(n_quadrature: int) -> Callable[[MixedData], Estimates]:
    """Return a function that returns the fit with so many nodes, made once for the same data; 1 node is Laplace."""
    return lambda data: _remembered_logit(data, n_quadrature)


def mixed_logit(n_quadrature: int = 1) -> Program:
    """Time `MixedLogit` with so many nodes: what `mixed` times, of a logistic model."""
    return Program("skdep", lambda data: _fit_logit(data, n_quadrature))
