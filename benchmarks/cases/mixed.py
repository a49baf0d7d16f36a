"""Linear mixed models: one grouping factor with correlated slopes at three sizes, and crossed factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.mixed_data import (
    MixedData,
    course_evaluations,
    insteval,
    intercepts_and_slopes,
    ratings,
    sleepstudy,
)
from benchmarks.programs import glmm, gpboost, mixedlm, mixedlm_rs, ours_mixed, r_mixed, statsmodels_mixed
from benchmarks.table import Table
from benchmarks.timing import Options, Program, compare

__all__ = ["crossed", "large", "many_groups", "movie_ratings", "small"]

# a minute or so a fit: one round, and only when asked for
_long = {"effort": "long", "most_rounds": 1}
# seconds a fit: two rounds
_slow = {"effort": "slow", "most_rounds": 2}


def small(options: Options) -> Table:
    """Fit the sleepstudy, 180 rows, where the way to the compiled or vectorised part costs most."""
    data = sleepstudy()
    return compare(
        "Linear mixed model, sleepstudy",
        data,
        [
            ours_mixed.mixed(),
            glmm.mixed(),
            mixedlm_rs.mixed(),
            mixedlm.mixed(),
            statsmodels_mixed.mixed(),
            r_mixed.mixed("lme4"),
        ],
        options,
        warm_up=data,
        describe="180 rows, 18 subjects, correlated intercepts and slopes, REML.",
    )


def many_groups(options: Options) -> Table:
    """Fit 100,000 rows in 10,000 groups."""
    return _slopes(
        200 if options.quick else 10_000,
        [
            glmm.mixed(),
            mixedlm_rs.mixed(),
            mixedlm.mixed(),
            r_mixed.mixed("lme4", **_slow),
            statsmodels_mixed.mixed(**_long),
            r_mixed.mixed("glmmTMB", **_long),
        ],
        options,
    )


def large(options: Options) -> Table:
    """Fit 1,000,000 rows in 100,000 groups."""
    programs = [glmm.mixed(), mixedlm_rs.mixed(), mixedlm.mixed(**_slow), r_mixed.mixed("lme4", **_long)]
    return _slopes(400 if options.quick else 100_000, programs, options)


def crossed(options: Options) -> Table:
    """Fit the course evaluations of lme4: students, lecturers, and departments by service."""
    data = course_evaluations(1_000, 60, 40) if options.quick else insteval()
    return compare(
        "Linear mixed model, three crossed factors",
        data,
        [
            ours_mixed.mixed("ml"),
            glmm.mixed("ml"),
            mixedlm.mixed("ml", **_slow),
            gpboost.mixed("cholesky", **_slow),
            gpboost.mixed("iterative", **_slow),
            r_mixed.mixed("lme4", "ml", **_slow),
        ],
        options,
        warm_up=course_evaluations(500, 40, 30, seed=1),
        describe=f"{len(data.y):,} rows, {_levels(data)} levels, intercepts, one feature, ML.",
    )


def movie_ratings(options: Options) -> Table:
    """Fit ratings with the popularity of users and movies of MovieLens 1M."""
    data = ratings(60, 80) if options.quick else ratings()
    return compare(
        "Linear mixed model, two crossed factors",
        data,
        [
            ours_mixed.mixed("ml"),
            gpboost.mixed("iterative", **_slow),
            glmm.mixed("ml", **_long),
        ],
        replace(options, repeats=min(options.repeats, 2)),
        warm_up=ratings(40, 60, seed=1),
        describe=f"{len(data.y):,} rows, {_levels(data)} levels, intercepts, no features, ML.",
    )


def _slopes(n_groups: int, programs: list[Program], options: Options) -> Table:
    data = intercepts_and_slopes(n_groups)
    return compare(
        f"Linear mixed model, {len(data.y):,} rows",
        data,
        [ours_mixed.mixed(), *programs],
        options,
        warm_up=intercepts_and_slopes(50, seed=1),
        describe=f"{n_groups:,} groups of 10 rows in random order, 5 features, correlated intercepts and slopes, REML.",
    )


def _levels(data: MixedData) -> str:
    return " x ".join(f"{len(np.unique(factor)):,}" for factor in data.factors())
