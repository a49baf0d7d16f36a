"""Binary GEE: many short clusters under each working correlation, and few long ones."""

from __future__ import annotations

from benchmarks.programs import geepack, ours, statsmodels
from benchmarks.simulate import clustered_binary
from benchmarks.table import Table
from benchmarks.timing import Options, compare

__all__ = ["few_long_clusters", "many_short_clusters"]

_N_FEATURES = 5


def many_short_clusters(structure: str, options: Options) -> Table:
    """Fit 20,000 clusters of 5 rows, where a loop over clusters costs most."""
    n_clusters = 300 if options.quick else 20_000
    return compare(
        f"Binary GEE, {structure}",
        clustered_binary(n_clusters, 5, _N_FEATURES),
        [ours.gee(structure), statsmodels.gee(structure), geepack.gee(structure)],
        options,
        warm_up=clustered_binary(100, 5, _N_FEATURES, seed=1),
        describe=f"{n_clusters:,} clusters of 5 rows, {_N_FEATURES} features, robust standard errors.",
    )


def few_long_clusters(options: Options) -> Table:
    """Fit 100 clusters of 2,000 rows, where a matrix of rows by rows costs most."""
    n_clusters, size = (20, 50) if options.quick else (100, 2_000)
    note = "Builds and inverts a matrix of rows by rows for each cluster."
    return compare(
        "Binary GEE, exchangeable, long clusters",
        clustered_binary(n_clusters, size, _N_FEATURES),
        [
            ours.gee("exchangeable"),
            statsmodels.gee("exchangeable"),
            geepack.gee("exchangeable", effort="hopeless", note=note),
        ],
        options,
        warm_up=clustered_binary(20, 20, _N_FEATURES, seed=1),
        describe=f"{n_clusters:,} clusters of {size:,} rows, {_N_FEATURES} features, robust standard errors.",
    )
