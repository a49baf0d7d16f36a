"""Logistic regression by maximum likelihood: standard errors of the model on many rows, and cluster-robust ones."""

from __future__ import annotations

from benchmarks.programs import floor, glum, ours, scikit_learn, statsmodels
from benchmarks.simulate import clustered_binary, independent_binary
from benchmarks.table import Table
from benchmarks.timing import Options, compare

__all__ = ["cluster_errors", "model_errors"]


def model_errors(options: Options) -> Table:
    """Fit 1,000,000 independent rows with 20 features, with standard errors where a program has them."""
    n_rows = 5_000 if options.quick else 1_000_000
    return compare(
        "Logistic regression",
        independent_binary(n_rows, 20),
        [
            ours.logit("model"),
            statsmodels.logit(),
            glum.logit(),
            scikit_learn.logit("lbfgs"),
            scikit_learn.logit("newton-cholesky"),
            floor.weighted_gram(),
        ],
        options,
        warm_up=independent_binary(2_000, 20, seed=1),
        describe=f"{n_rows:,} rows, 20 features, standard errors of the model.",
    )


def cluster_errors(options: Options) -> Table:
    """Fit 200,000 rows in 20,000 clusters, with cluster-robust standard errors."""
    n_clusters = 300 if options.quick else 20_000
    return compare(
        "Logistic regression, cluster-robust",
        clustered_binary(n_clusters, 10, 10),
        [ours.logit("cluster"), statsmodels.logit_cluster(), glum.logit_cluster()],
        options,
        warm_up=clustered_binary(100, 10, 10, seed=1),
        describe=f"{10 * n_clusters:,} rows in {n_clusters:,} clusters, 10 features, cluster-robust standard errors.",
    )
