"""Fits of MixedLinear to the simulated designs, with the dense twin of the same data."""

from __future__ import annotations

import warnings
from functools import cache
from types import SimpleNamespace

import numpy as np

from skdep import MixedLinear
from skdep.exceptions import SingularFitWarning

from . import dense
from .designs import CASES, SINGULAR_CASES, Case

METHODS = ["reml", "ml"]
WEIGHTINGS = ["none", "frequency", "precision"]
ALL_FITS = [(name, method, weighting) for name in CASES for method in METHODS for weighting in WEIGHTINGS]


def labels(case: Case):
    """Return the groups as users give them: a Series for one factor, a DataFrame for several."""
    return case.groups if len(case.groups.columns) > 1 else case.groups["group"]


def estimator(case: Case, **options) -> MixedLinear:
    return MixedLinear(**case.params, **options)


def theta_of(est: MixedLinear, design: dense.Design) -> np.ndarray:
    """Return the variances of a fit in the order of the dense twin."""
    return dense.pack(design, list(est.random_covariance_.values()), est.sigma2_)


@cache
def fitted(name: str, method: str = "reml", weighting: str = "none") -> SimpleNamespace:
    """Fit a case; return the fit, the dense design of the same data, and the variances found."""
    case = CASES[name] if name in CASES else SINGULAR_CASES[name]
    options, weights, design = {}, None, case.dense()
    if weighting == "frequency":
        weights, design = case.integers, dense.repeated(design, case.integers)
    elif weighting == "precision":
        options, weights = {"weight_type": "precision"}, case.weights
        design = case.dense(precision=case.weights)
    est = estimator(case, method=method, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if name in SINGULAR_CASES else "error", SingularFitWarning)
        est.fit(case.X, case.y, groups=labels(case), sample_weight=weights)
    assert list(est.random_covariance_) == list(case.groups.columns)
    return SimpleNamespace(case=case, est=est, design=design, theta=theta_of(est, design), method=method)


def beta_of(est: MixedLinear) -> np.ndarray:
    """Return the fixed effects: coefficients of features in `random_only` are zeros, and none of them."""
    left_out = est.random_only or []
    assert not est.coef_[left_out].any()
    return np.concatenate([[est.intercept_], np.delete(est.coef_, left_out)])
