"""skdep's `BayesLogit`: the sampler that others are compared to."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from benchmarks.bayes_data import INTERCEPT_SCALE, SD_MEAN, SLOPE_SCALE, BayesData
from benchmarks.sampling import Sampled, sampled, stopwatch
from benchmarks.timing import Program

__all__ = ["posterior"]


def posterior(n_draws: int = 1_000, *, effects: bool = False, name: str = "skdep", **options: Any) -> Program:
    """Time `fit`, from arrays to draws of four chains and their diagnostics: mode, proposal, draws, checks.

    Random effects are drawn when they are first asked for; with `effects` they are asked for, and timed.
    """
    seeds = count(1_000 if effects else 0)  # other draws than those of the row without

    def fit(data: BayesData) -> Sampled:
        from skdep.bayes import BayesLogit, Exponential, Normal

        prior = {"Intercept": Normal(0.0, INTERCEPT_SCALE), "coef": Normal(0.0, SLOPE_SCALE)}
        if data.groups is not None:
            prior["sd"] = Exponential(SD_MEAN)
        with stopwatch() as watch:
            model = BayesLogit(prior, n_draws=n_draws, random_state=next(seeds)).fit(data.X, data.y, groups=data.groups)
            if effects:
                model.predict_proba(data.X[:1], groups=data.groups[:1])
        parts = [model.draws_["intercept"][..., None], model.draws_["coef"]]
        if data.groups is not None:
            parts.append(np.sqrt(model.draws_["random_covariance"][..., 0]))
        return sampled(np.concatenate(parts, axis=-1), watch.seconds, cpu_seconds=watch.cpu_seconds)

    return Program(name, fit, **options)
