"""Posteriors of logistic models: three flat ones from small to large, and a survey with random intercepts."""

from __future__ import annotations

from benchmarks.bayes_data import flat, survey
from benchmarks.programs import nutpie_pymc, ours_bayes, rstanarm
from benchmarks.sampling import compare_samplers
from benchmarks.table import Table
from benchmarks.timing import Options, Program

__all__ = ["large", "medium", "multilevel", "small"]

# seconds to a minute a run: one round
_slow = {"effort": "slow", "most_rounds": 1}
# a minute and more a run: one round, and only when asked for
_long = {"effort": "long", "most_rounds": 1}
# draws a chain of what takes long: enough to compare, and to say how many there are a second
_FEW = 250


def small(options: Options) -> Table:
    """Sample 1,000 rows, where all that is not a pass over the rows costs most."""
    n_draws = _FEW if options.quick else 1_000
    peers = [nutpie_pymc.posterior(n_draws), rstanarm.posterior(n_draws)]
    return _flat(300 if options.quick else 1_000, 5, peers, options)


def medium(options: Options) -> Table:
    """Sample 10,000 rows."""
    peers = [nutpie_pymc.posterior(_FEW, **_slow), rstanarm.posterior(_FEW, n_processes=2, **_slow)]
    return _flat(600 if options.quick else 10_000, 10, peers, options)


def large(options: Options) -> Table:
    """Sample 100,000 rows, where the pass over the rows is all."""
    return _flat(1_000 if options.quick else 100_000, 20, [nutpie_pymc.posterior(_FEW, **_long)], options)


def multilevel(options: Options) -> Table:
    """Sample a survey of districts of unequal size."""
    n_draws = _FEW if options.quick else 1_000
    data = survey(600, 30) if options.quick else survey()
    return compare_samplers(
        f"Posterior of a multilevel model, {len(data.y):,} rows",
        data,
        [
            ours_bayes.posterior(),
            ours_bayes.posterior(effects=True, name="skdep, effects drawn"),
            nutpie_pymc.posterior(n_draws, **_slow),
            rstanarm.posterior(n_draws, n_processes=2, **_slow),
        ],
        options,
        warm_up=survey(600, 30, seed=1),
        describe=f"{int(data.groups.max()) + 1} districts of unequal size, 7 features, random intercepts.",
    )


def _flat(n_rows: int, n_features: int, peers: list[Program], options: Options) -> Table:
    return compare_samplers(
        f"Posterior, {n_rows:,} rows",
        flat(n_rows, n_features),
        [ours_bayes.posterior(), *peers],
        options,
        warm_up=flat(200, 2, seed=1),
        describe=f"{n_features} features, no groups.",
    )
