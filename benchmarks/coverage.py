"""Simulated coverage of 95% confidence intervals: ``python -m benchmarks.coverage``.

Binary outcomes in clusters of 10, correlated within clusters; one feature constant within clusters, one varying. The
truth is the marginal logistic model from which the data are drawn, so that every method aims at the same coefficients.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.simulate import Data, clustered_binary, true_coefficients
from benchmarks.table import Table
from skdep import GEEClassifier, LogitRegressor
from skdep.inference import coef_table

__all__ = ["METHODS", "Method", "coverage", "main"]

_CLUSTER_SIZE = 10
_CORRELATION = 0.3
_N_FEATURES = 2


class Method(NamedTuple):
    """A fit, and the covariance that its intervals rest on."""

    model: str
    cov_type: str


METHODS = (
    Method("LogitRegressor", "model"),
    Method("LogitRegressor", "cluster"),
    Method("GEE independence", "robust"),
    Method("GEE exchangeable", "naive"),
    Method("GEE exchangeable", "robust"),
)
_DEGREES = ("normal", "residual")


def coverage(n_clusters: int, n_replicates: int, seed: int) -> list[dict[str, Any]]:
    """Return a row for each method and reference distribution.

    Parameters
    ----------
    n_clusters : int
        Clusters of each simulated data set.
    n_replicates : int
        Data sets. One where a fit does not converge counts for no method, and is reported.
    seed : int
        Of the data sets; each number of clusters has streams of its own.
    """
    truth = true_coefficients(_N_FEATURES)[1:]
    covered = np.zeros((len(METHODS), len(_DEGREES), _N_FEATURES))
    used = 0
    for child in np.random.SeedSequence([seed, n_clusters]).spawn(n_replicates):
        data = clustered_binary(n_clusters, _CLUSTER_SIZE, _N_FEATURES, correlation=_CORRELATION, seed=child)
        fits = _fit(data)
        if not all(fit.converged_ for fit in fits):
            continue
        used += 1
        for method, fit in enumerate(fits):
            for degrees, df in enumerate(_DEGREES):
                covered[method, degrees] += _covers(fit, METHODS[method].cov_type, df, truth)
    return [
        {
            "method": f"{method.model}, {method.cov_type}",
            "clusters": n_clusters,
            "df": df,
            "varies within": float(share[0]),
            "constant within": float(share[1]),
            "data sets": used,
            "not converged": n_replicates - used,
        }
        for method, shares in zip(METHODS, covered / max(used, 1))
        for df, share in zip(_DEGREES, shares)
    ]


def _fit(data: Data) -> list[GEEClassifier | LogitRegressor]:
    """Return the fits in the order of `METHODS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that go wrong are recognised by their flags
        logits = [LogitRegressor(cov_type=cov_type) for cov_type in ("model", "cluster")]
        independence = GEEClassifier(working_correlation="independence")
        exchangeable = GEEClassifier(working_correlation="exchangeable")
        models = [*logits, independence, exchangeable]
        plain, clustered, *gees = (model.fit(data.X, data.y, groups=data.groups) for model in models)
    return [plain, clustered, gees[0], gees[1], gees[1]]


def _covers(fit: GEEClassifier | LogitRegressor, cov_type: str, df: str, truth: np.ndarray) -> np.ndarray:
    table = coef_table(fit, cov_type=cov_type, df=df).iloc[1:]
    return (table["conf_low"].to_numpy() <= truth) & (truth <= table["conf_high"].to_numpy())


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=[20, 50, 200], metavar="K")
    parser.add_argument("--replicates", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 data sets, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    n_replicates = 20 if options.quick else options.replicates
    if n_replicates < 1:
        parser.error("--replicates must be at least 1")
    rows = [row for n_clusters in options.clusters for row in coverage(n_clusters, n_replicates, options.seed)]
    error = np.sqrt(0.95 * 0.05 / n_replicates)
    description = (
        f"Share of {n_replicates:,} data sets (seed {options.seed}) whose 95% interval holds the true coefficient: of "
        f"a feature that varies within clusters, and of one that is constant. Clusters of {_CLUSTER_SIZE} rows. "
        f"The standard error of a share near 0.95 is {error:.3f}."
    )
    formats = {"varies within": ".3f", "constant within": ".3f"}
    print(Table("Coverage of 95% intervals", description, rows, formats=formats))
    if options.json:
        options.json.write_text(json.dumps({"description": description, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
