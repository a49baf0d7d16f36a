"""glum: generalized linear models with compiled kernels, here without a penalty."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.programs import needs, ours
from benchmarks.simulate import Data
from benchmarks.timing import Estimates, Program

__all__ = ["logit", "logit_cluster"]


def _fit(data: Data, *, clustered: bool, tolerance: float | None = None) -> Estimates:
    from glum import GeneralizedLinearRegressor

    groups = data.groups if clustered else None
    model = GeneralizedLinearRegressor(alpha=0, family="binomial", gradient_tol=tolerance).fit(data.X, data.y)
    # without dispersion=1 glum multiplies by Pearson's, which a binary outcome does not have
    std_error = model.std_errors(data.X, data.y, robust=clustered, clusters=groups, dispersion=1.0)
    return Estimates(np.concatenate([[model.intercept_], model.coef_]), np.asarray(std_error))


def logit() -> Program:
    """Time fit and `std_errors`, not robust, whose variances glum multiplies by n / (n - p)."""
    return Program(
        "glum",
        partial(_fit, clustered=False),
        exact=partial(_fit, clustered=False, tolerance=1e-11),
        reference=ours.logit_estimates("model", lambda n, p: np.sqrt(n / (n - p))),
        missing=needs("glum"),
        note="multiplies the covariance by n / (n - p), taken into account. tight: gradient_tol=1e-11.",
    )


def logit_cluster() -> Program:
    """Time fit and `std_errors` with clusters, whose K / (K - 1) glum multiplies by (n - 1) / (n - p)."""
    return Program(
        "glum",
        partial(_fit, clustered=True),
        exact=partial(_fit, clustered=True, tolerance=1e-11),
        reference=ours.logit_estimates("cluster", lambda n, p: np.sqrt((n - 1) / (n - p))),
        missing=needs("glum"),
        note="multiplies the covariance by (n - 1) / (n - p) on top of K / (K - 1), taken into account. tight: "
        "gradient_tol=1e-11.",
    )
