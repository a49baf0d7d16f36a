"""The models that samplers of the posterior are given: rows, a prior, and the parameters that are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.glmm_data import contraception
from benchmarks.simulate import independent_binary

__all__ = ["INTERCEPT_SCALE", "SD_MEAN", "SLOPE_SCALE", "BayesData", "flat", "survey"]

# The prior, one that all programs can be given: the log odds at the means of the features are Normal(0, 5), slopes
# Normal(0, 2.5), and the standard deviation of random intercepts is exponential with mean 1.
INTERCEPT_SCALE, SLOPE_SCALE, SD_MEAN = 5.0, 2.5, 1.0


@dataclass(frozen=True, eq=False)
class BayesData:
    """Rows of a logistic model, flat or with random intercepts of one factor."""

    X: np.ndarray  # (n_rows, n_features), without a column for the intercept
    y: np.ndarray  # (n_rows,) of 0.0 and 1.0
    groups: np.ndarray | None = None  # (n_rows,) numbers of levels

    def parameter_names(self) -> list[str]:
        """Return the names of what draws are compared by: intercept at features of 0, slopes, standard deviation."""
        slopes = [f"x{j + 1}" for j in range(self.X.shape[1])]
        return ["Intercept", *slopes, *([] if self.groups is None else ["sd"])]


def flat(n_rows: int, n_features: int, *, seed: int = 0) -> BayesData:
    """Draw independent rows with standard normal features."""
    data = independent_binary(n_rows, n_features, seed=seed)
    return BayesData(data.X, data.y)


def survey(n_rows: int = 1_934, n_districts: int = 60, *, seed: int = 0) -> BayesData:
    """Draw the survey on contraception of `benchmarks.glmm_data`, with random intercepts of districts."""
    data = contraception(n_rows, n_districts, seed=seed)
    return BayesData(data.X, data.y, data.groups)
