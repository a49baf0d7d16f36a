"""Logistic mixed models: a survey and a questionnaire, and 10,000 groups by Laplace's approximation and quadrature."""

from __future__ import annotations

from benchmarks.glmm_data import binary_groups, contraception, verbal_aggression
from benchmarks.programs import glmm, gpboost, mixedlm, ours_mixed, r_mixed
from benchmarks.table import Table
from benchmarks.timing import Options, Program, compare

__all__ = ["crossed", "many_groups", "many_groups_by_quadrature", "many_groups_with_slopes", "small"]

# half a minute to some minutes a fit: one round, and only when asked for
_long = {"effort": "long", "most_rounds": 1}
# seconds a fit: two rounds
_slow = {"effort": "slow", "most_rounds": 2}


def small(options: Options) -> Table:
    """Fit a survey of unequal districts by quadrature, where the way to the compiled or vectorised part costs most."""
    data = contraception(600, 20) if options.quick else contraception()
    n_districts = int(data.groups.max()) + 1
    return compare(
        f"Logistic mixed model, {len(data.y):,} rows",
        data,
        [ours_mixed.mixed_logit(9), glmm.mixed_logit(9), mixedlm.mixed_logit(9), r_mixed.mixed_logit("lme4", 9)],
        options,
        warm_up=contraception(300, 10, seed=1),
        describe=f"{n_districts} districts of unequal size, 7 features, random intercepts, 9 quadrature nodes.",
    )


def crossed(options: Options) -> Table:
    """Fit a questionnaire that all persons fill in, persons and items crossed."""
    n_persons, n_items = (60, 12) if options.quick else (316, 24)
    data = verbal_aggression(n_persons, n_items)
    return compare(
        "Logistic mixed model, two crossed factors",
        data,
        [
            ours_mixed.mixed_logit(),
            glmm.mixed_logit(),
            gpboost.mixed_logit("cholesky"),
            gpboost.mixed_logit("iterative"),
            mixedlm.mixed_logit(),
            r_mixed.mixed_logit("lme4", tight=True),
        ],
        options,
        warm_up=verbal_aggression(40, 6, seed=1),
        describe=f"{len(data.y):,} rows, {n_persons} persons x {n_items} items, 5 features, intercepts, Laplace.",
    )


def many_groups(options: Options) -> Table:
    """Fit 100,000 rows in 10,000 groups by Laplace's approximation."""
    peers = [
        glmm.mixed_logit(),
        gpboost.mixed_logit("cholesky"),
        mixedlm.mixed_logit(),
        r_mixed.mixed_logit("glmmTMB", **_long),
        r_mixed.mixed_logit("lme4", tight=options.quick, **_long),
    ]
    return _groups([ours_mixed.mixed_logit(), *peers], options, effects="random intercepts, Laplace")


def many_groups_by_quadrature(options: Options) -> Table:
    """Fit the same rows with 11 quadrature nodes a group."""
    peers = [glmm.mixed_logit(11), mixedlm.mixed_logit(11, **_slow), r_mixed.mixed_logit("lme4", 11, **_long)]
    return _groups([ours_mixed.mixed_logit(11), *peers], options, effects="random intercepts, 11 quadrature nodes")


def many_groups_with_slopes(options: Options) -> Table:
    """Fit as many rows with a correlated slope, which GPBoost does not have."""
    peers = [
        glmm.mixed_logit(),
        mixedlm.mixed_logit(**_slow),
        r_mixed.mixed_logit("glmmTMB", **_long),
        r_mixed.mixed_logit("lme4", **_long),
    ]
    effects = "correlated random intercepts and slopes, Laplace"
    return _groups([ours_mixed.mixed_logit(), *peers], options, effects=effects, slope=True)


def _groups(programs: list[Program], options: Options, *, effects: str, slope: bool = False) -> Table:
    n_groups = 300 if options.quick else 10_000
    data = binary_groups(n_groups, slope=slope)
    return compare(
        f"Logistic mixed model, {len(data.y):,} rows, {effects}",
        data,
        programs,
        options,
        warm_up=binary_groups(60, slope=slope, seed=1),
        describe=f"{n_groups:,} groups of 10 rows in random order, 5 features.",
    )
