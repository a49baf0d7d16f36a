"""Bias of Laplace's approximation and of quadrature, with coverage of 95% intervals.

Run it as ``python -m benchmarks.quadrature_bias``. Binary outcomes in clusters of two to four rows, whose intercepts
have a standard deviation of 2: so little is known of a cluster that what is integrated over it is far from normal. All
methods fit the same data sets. One feature varies within clusters, one is constant.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from benchmarks.glmm_data import SHORT_COEF, short_clusters
from benchmarks.mixed_data import MixedData
from benchmarks.table import Table
from skdep import MixedLogit

__all__ = ["NODES", "PARAMETERS", "bias", "main"]

PARAMETERS = ("intercept", "varies within", "constant within", "sd")
NODES = (1, 5, 15)
_SD = 2.0
_TRUTH = np.append(SHORT_COEF, _SD)


def bias(n_clusters: int, n_replicates: int, seed: int, nodes: Sequence[int] = NODES) -> list[dict[str, Any]]:
    """Return a row for each number of nodes and each parameter.

    Parameters
    ----------
    n_clusters : int
        Clusters of each simulated data set.
    n_replicates : int
        Data sets. One where a fit does not converge counts for no method, and is reported.
    seed : int
        Of the data sets; each number of clusters has streams of its own.
    nodes : sequence of int
        Numbers of quadrature nodes; 1 is Laplace's approximation.
    """
    found, covered = [], []
    for child in np.random.SeedSequence([seed, n_clusters]).spawn(n_replicates):
        data = short_clusters(n_clusters, sd=_SD, seed=child)
        fits = [_fit(data, count) for count in nodes]
        if all(converged for _, _, converged in fits):
            found.append([estimates for estimates, _, _ in fits])
            covered.append([within for _, within, _ in fits])
    used = len(found)
    if used < 2:
        raise RuntimeError(f"{used} of {n_replicates} data sets have fits that converge")
    means = np.mean(found, axis=0)
    errors = np.std(found, axis=0, ddof=1) / np.sqrt(used)
    shares = np.mean(covered, axis=0)
    return [
        {
            "method": "Laplace" if count == 1 else f"{count} nodes",
            "clusters": n_clusters,
            "parameter": parameter,
            "truth": float(_TRUTH[which]),
            "mean": float(means[method, which]),
            "bias": float(means[method, which] - _TRUTH[which]),
            "error of bias": float(errors[method, which]),
            # no interval is made of a standard deviation
            **({"covered": float(shares[method, which])} if which < len(SHORT_COEF) else {}),
            "data sets": used,
            "not converged": n_replicates - used,
        }
        for method, count in enumerate(nodes)
        for which, parameter in enumerate(PARAMETERS)
    ]


def _fit(data: MixedData, n_quadrature: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return estimates in the order of `PARAMETERS`, which coefficients their intervals hold, and the convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that go wrong are recognised by their flags
        model = MixedLogit(n_quadrature=n_quadrature).fit(data.X, data.y, groups=data.groups)
    coef = np.append(model.intercept_, model.coef_)
    sd = np.sqrt(model.random_covariance_["group"][0, 0])
    half_width = ndtri(0.975) * np.sqrt(np.diag(model.covariance_))
    return np.append(coef, sd), np.abs(coef - SHORT_COEF) <= half_width, bool(model.converged_)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quadrature_bias", description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=[100, 400, 1600], metavar="K")
    parser.add_argument("--replicates", type=int, default=1000, metavar="N")
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), metavar="N", help="1 is Laplace")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 data sets, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    n_replicates = 20 if options.quick else options.replicates
    if n_replicates < 2:
        parser.error("--replicates must be at least 2")
    rows = [row for count in options.clusters for row in bias(count, n_replicates, options.seed, options.nodes)]
    error = np.sqrt(0.95 * 0.05 / n_replicates)
    description = (
        f"Mean over {n_replicates:,} data sets (seed {options.seed}) less the truth, its Monte Carlo error, and the "
        f"share of data sets whose 95% interval holds the truth. Clusters of 2 to 4 rows. All methods fit the same "
        f"data sets, so that two of them differ more surely than their errors tell. The standard error of a share near "
        f"0.95 is {error:.3f}."
    )
    formats = {"mean": ".3f", "bias": "+.3f", "error of bias": ".3f", "covered": ".3f"}
    print(Table("Bias of logistic mixed models", description, rows, formats=formats))
    if options.json:
        options.json.write_text(json.dumps({"description": description, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
