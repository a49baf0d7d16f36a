"""scikit-learn: `LogisticRegression` without a penalty, which has no standard errors."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.programs import needs, ours
from benchmarks.simulate import Data
from benchmarks.timing import Estimates, Program

__all__ = ["logit"]


def logit(solver: str) -> Program:
    """Time the coefficients alone."""

    def fit(data: Data, **options: float) -> Estimates:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=np.inf, solver=solver, **options).fit(data.X, data.y)
        return Estimates(np.concatenate([model.intercept_, model.coef_[0]]))

    return Program(
        f"scikit-learn {solver}",
        fit,
        exact=partial(fit, tol=1e-10, max_iter=1000),
        reference=ours.logit_estimates("model"),
        missing=needs("sklearn"),
        note="has no standard errors. tight: tol=1e-10 for 1e-4.",
    )
