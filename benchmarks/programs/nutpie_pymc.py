"""nutpie on a model of PyMC: the no-U-turn sampler, compiled for each model and each shape of data."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bayes_data import INTERCEPT_SCALE, SD_MEAN, SLOPE_SCALE, BayesData
from benchmarks.sampling import Sampled, sampled, stopwatch
from benchmarks.timing import Program

__all__ = ["posterior"]

_NOTE = "four chains, as many at once as there are processors; building and compiling the model is not in the time."


def _missing() -> str | None:
    """Return what is not installed: the two need Numba to compile."""
    return next((module for module in ("pymc", "nutpie", "numba") if not find_spec(module)), None)


def posterior(n_draws: int = 1_000, *, note: str = "", **options: Any) -> Program:
    """Time `nutpie.sample` alone, warm-up included; building and compiling is timed apart.

    Random intercepts are standard normal times their standard deviation, the form in which the sampler does better
    where levels have few rows.
    """
    return Program(
        "nutpie on PyMC",
        partial(_fit, n_draws=n_draws, seeds=count(1)),
        _compile,
        missing=_missing,
        note=" ".join(filter(None, [_NOTE, note])),
        **options,
    )


def _compile(data: BayesData, folder: Path) -> tuple[BayesData, Any, float]:
    import nutpie

    with stopwatch() as watch:
        compiled = nutpie.compile_pymc_model(_model(data))
    return data, compiled, watch.seconds


def _fit(prepared: tuple[BayesData, Any, float], *, n_draws: int, seeds: Any) -> Sampled:
    import nutpie

    data, compiled, compile_seconds = prepared
    with stopwatch() as watch:
        trace = nutpie.sample(compiled, draws=n_draws, chains=4, seed=next(seeds), save_warmup=True, progress_bar=False)
    # PyMC's intercept is that at the means of the features
    slopes = trace.posterior["slopes"].values
    parts = [(trace.posterior["centre"].values - slopes @ data.X.mean(axis=0))[..., None], slopes]
    if data.groups is not None:
        parts.append(trace.posterior["sd"].values[..., None])
    thrown, kept = (float(stats["n_steps"].sum()) for stats in (trace.warmup_sample_stats, trace.sample_stats))
    return sampled(
        np.concatenate(parts, axis=-1),
        watch.seconds,
        cpu_seconds=watch.cpu_seconds,
        compile_seconds=compile_seconds,
        warm_up=thrown / (thrown + kept),
    )


def _model(data: BayesData) -> Any:
    import pymc as pm

    with pm.Model() as model:
        centre = pm.Normal("centre", 0.0, INTERCEPT_SCALE)
        slopes = pm.Normal("slopes", 0.0, SLOPE_SCALE, shape=data.X.shape[1])
        eta = centre + pm.math.dot(data.X - data.X.mean(axis=0), slopes)
        if data.groups is not None:
            sd = pm.Exponential("sd", 1.0 / SD_MEAN)
            effects = pm.Normal("effects", 0.0, 1.0, shape=int(data.groups.max()) + 1)
            eta = eta + sd * effects[data.groups]
        pm.Bernoulli("y", logit_p=eta, observed=data.y)
    return model
