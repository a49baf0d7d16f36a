"""Simulated coverage with few clusters, of every covariance: ``python -m benchmarks.small_sample_coverage``.

A cluster-randomised trial: half of the clusters are treated, clusters have 5 to 30 rows, and outcomes are correlated
within them. The truth is the marginal model from which the data are drawn, linear or logistic. What is covered is the
effect of the treatment, and that of a feature that varies within clusters.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, ndtr

from benchmarks.table import Table
from skdep import GEERegressor
from skdep.inference import coef_table

__all__ = ["METHODS", "Method", "Trial", "coverage", "main", "trial"]

_CORRELATION = 0.1
_TRUTH = np.array([-0.4, 0.5, 0.3])  # intercept, treatment, feature
_SIZES = (5, 30)


class Method(NamedTuple):
    """A covariance, and the degrees of freedom of its intervals."""

    cov_type: str
    df: str


METHODS = (
    Method("naive", "normal"),
    Method("robust", "normal"),
    Method("robust", "residual"),
    *(Method(kind, "residual") for kind in ("df", "md", "kc", "fg", "mbn", "pan", "jackknife")),
    *(Method(kind, "normal") for kind in ("md", "kc")),
    *(Method(kind, "satterthwaite") for kind in ("md", "kc")),
)


class Trial(NamedTuple):
    """Rows of a simulated trial."""

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    time: np.ndarray  # number of the row in its cluster, for Pan's covariance


def trial(n_clusters: int, family: str, seed: np.random.SeedSequence | int) -> Trial:
    """Draw a trial; a binary outcome is a normal variable cut where its probability is that of the marginal model.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, of which half are treated.
    family : {"gaussian", "binomial"}
        What the outcome is.
    seed : int or SeedSequence
        Of the data.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(_SIZES[0], _SIZES[1] + 1, n_clusters)
    groups = np.repeat(np.arange(n_clusters), sizes)
    X = np.column_stack([(np.arange(n_clusters) % 2)[groups], rng.standard_normal(len(groups))])
    eta = _TRUTH[0] + X @ _TRUTH[1:]
    error = np.sqrt(_CORRELATION) * rng.standard_normal(n_clusters)[groups]
    error += np.sqrt(1.0 - _CORRELATION) * rng.standard_normal(len(groups))
    y = eta + error if family == "gaussian" else (ndtr(error) < expit(eta)).astype(float)
    return Trial(X, y, groups, np.concatenate([np.arange(size) for size in sizes]))


def coverage(n_clusters: int, family: str, n_replicates: int, seed: int) -> list[dict[str, Any]]:
    """Return a row for each covariance and reference distribution.

    Parameters
    ----------
    n_clusters : int
        Clusters of each simulated trial.
    family : {"gaussian", "binomial"}
        What the outcome is.
    n_replicates : int
        Trials. One where the fit does not converge is left out, and reported.
    seed : int
        Of the trials; each number of clusters and family has streams of its own.
    """
    covered = np.zeros((len(METHODS), 2))
    widths = np.zeros(len(METHODS))
    used = 0
    key = [seed, n_clusters, ("gaussian", "binomial").index(family)]
    for child in np.random.SeedSequence(key).spawn(n_replicates):
        data = trial(n_clusters, family, child)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = GEERegressor(family, working_correlation="exchangeable")
            fit.fit(data.X, data.y, groups=data.groups, time=data.time)
        if not fit.converged_:
            continue
        used += 1
        for number, method in enumerate(METHODS):
            table = coef_table(fit, cov_type=method.cov_type, df=method.df).iloc[1:]
            low, high = table["conf_low"].to_numpy(), table["conf_high"].to_numpy()
            covered[number] += (low <= _TRUTH[1:]) & (_TRUTH[1:] <= high)
            widths[number] += high[0] - low[0]
    shares, widths = covered / max(used, 1), widths / max(used, 1)
    return [
        {
            "outcome": family,
            "clusters": n_clusters,
            "covariance": method.cov_type,
            "df": method.df,
            "treatment": float(share[0]),
            "varies within": float(share[1]),
            "mean width": float(width),
            "trials": used,
            "not converged": n_replicates - used,
        }
        for method, share, width in zip(METHODS, shares, widths, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_sample_coverage", description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=[10, 20, 40], metavar="K")
    parser.add_argument("--families", nargs="+", default=["gaussian", "binomial"], choices=["gaussian", "binomial"])
    parser.add_argument("--replicates", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 trials, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    n_replicates = 20 if options.quick else options.replicates
    if n_replicates < 1:
        parser.error("--replicates must be at least 1")
    rows = [
        row
        for family in options.families
        for n_clusters in options.clusters
        for row in coverage(n_clusters, family, n_replicates, options.seed)
    ]
    error = np.sqrt(0.95 * 0.05 / n_replicates)
    description = (
        f"Share of {n_replicates:,} trials (seed {options.seed}) whose 95% interval holds the true effect of the "
        f"treatment, half of the clusters, and of a feature that varies within clusters. Clusters of {_SIZES[0]} to "
        f"{_SIZES[1]} rows, correlation {_CORRELATION:g}, exchangeable. The standard error of a share near 0.95 is "
        f"{error:.3f}. Width: of the interval of the treatment."
    )
    formats = {"treatment": ".3f", "varies within": ".3f"}
    print(Table("Coverage with few clusters", description, rows, formats=formats))
    if options.json:
        options.json.write_text(json.dumps({"description": description, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
