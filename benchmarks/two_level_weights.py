"""Two-level sampling weights of the mixed models under informative sampling, by simulation.

Run it as ``python -m benchmarks.two_level_weights``. Clusters are drawn with a probability that depends on their random
intercept, and rows within them with one that depends on their residual (linear model) or their outcome (logistic
model), so that a fit without weights is biased in intercept and variances. The weights are the inverse probabilities.
Reported are bias and coverage without weights and under each scaling of the weights within clusters, for large and for
small clusters.

References
----------
Pfeffermann, Skinner, Holmes, Goldstein and Rasbash (1998), JRSS B 60, 23-40, section 6: the plan of the simulation.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from benchmarks.table import Table
from skdep import MixedLinear, MixedLogit

__all__ = ["METHODS", "TwoLevelSample", "draw", "fitted", "main", "simulate"]

METHODS = ("unweighted", "none", "size", "effective")
_COEF = np.array([0.5, 1.0])
_SD, _SIGMA = 0.7, 1.0
_PARAMETERS = {"linear": ("intercept", "slope", "sd", "sigma"), "logit": ("intercept", "slope", "sd")}


class TwoLevelSample(NamedTuple):
    """A sample of clusters, and of rows within them, with the inverse of the probabilities at each level."""

    X: np.ndarray  # (n_rows, 1)
    y: np.ndarray
    groups: np.ndarray
    row_weight: np.ndarray
    cluster_weight: np.ndarray


def draw(model: str, rng: np.random.Generator, *, n_clusters: int, n_rows: int) -> TwoLevelSample:
    """Draw clusters of a population, and rows within them, both by Poisson sampling.

    Parameters
    ----------
    model : {"linear", "logit"}
        Model of the population.
    rng : Generator
        Source of randomness.
    n_clusters, n_rows : int
        Clusters of the population, and rows of each; about a sixth of the clusters and half of the rows are drawn.
    """
    u = rng.normal(scale=_SD, size=n_clusters)
    chance = np.where(u > 0, 0.25, 0.08)
    chosen = rng.random(n_clusters) < chance
    u, chance = u[chosen], chance[chosen]
    groups = np.repeat(np.arange(len(u)), n_rows)
    x = rng.normal(size=len(groups))
    eta = _COEF[0] + _COEF[1] * x + u[groups]
    if model == "linear":
        residual = rng.normal(scale=_SIGMA, size=len(groups))
        y, high = eta + residual, residual > 0
    else:
        y = (rng.random(len(groups)) < expit(eta)).astype(float)
        high = y > 0
    chance_of_row = np.where(high, 0.7, 0.3)
    kept = rng.random(len(groups)) < chance_of_row
    return TwoLevelSample(x[kept, None], y[kept], groups[kept], 1.0 / chance_of_row[kept], 1.0 / chance[groups[kept]])


def fitted(model: str, sample: TwoLevelSample, method: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return estimates in the order of the parameters, which coefficients their intervals hold, and the convergence."""
    estimator = MixedLinear(method="ml") if model == "linear" else MixedLogit()
    weights = {}
    if method != "unweighted":
        estimator.set_params(weight_type="sampling", weight_scaling=method)
        weights = {"sample_weight": sample.row_weight, "group_weight": sample.cluster_weight}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that go wrong are recognised by their flags
        fit = estimator.fit(sample.X, sample.y, groups=sample.groups, **weights)
    coef = np.append(fit.intercept_, fit.coef_)
    spread = [np.sqrt(fit.random_covariance_["group"][0, 0])]
    if model == "linear":
        spread.append(np.sqrt(fit.sigma2_))
    half_width = ndtri(0.975) * np.sqrt(np.diag(fit.covariance_))
    return np.append(coef, spread), np.abs(coef - _COEF) <= half_width, bool(fit.converged_)


def simulate(model: str, *, n_clusters: int, n_rows: int, n_replicates: int, seed: int) -> list[dict[str, Any]]:
    """Return a row for each method and parameter: bias, its Monte Carlo error, coverage of 95% intervals."""
    truth = np.append(_COEF, [_SD, _SIGMA] if model == "linear" else [_SD])
    found, covered = [], []
    for child in np.random.SeedSequence([seed, n_rows, model == "linear"]).spawn(n_replicates):
        sample = draw(model, np.random.default_rng(child), n_clusters=n_clusters, n_rows=n_rows)
        fits = [fitted(model, sample, method) for method in METHODS]
        if all(converged for _, _, converged in fits):
            found.append([estimates for estimates, _, _ in fits])
            covered.append([within for _, within, _ in fits])
    used = len(found)
    if used < 2:
        raise RuntimeError(f"{used} of {n_replicates} data sets have fits that converge")
    bias = np.mean(found, axis=0) - truth
    errors = np.std(found, axis=0, ddof=1) / np.sqrt(used)
    shares = np.mean(covered, axis=0)
    return [
        {
            "model": model,
            "rows drawn of a cluster": n_rows // 2,
            "weights": method if method == "unweighted" else f"scaled: {method}",
            "parameter": parameter,
            "truth": float(truth[which]),
            "bias": float(bias[number, which]),
            "error of bias": float(errors[number, which]),
            **({"covered": float(shares[number, which])} if which < len(_COEF) else {}),
            "data sets": used,
        }
        for number, method in enumerate(METHODS)
        for which, parameter in enumerate(_PARAMETERS[model])
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_level_weights", description=__doc__)
    parser.add_argument("--clusters", type=int, default=1500, help="clusters of the population")
    parser.add_argument("--rows", type=int, nargs="+", default=[60, 10], help="rows of a cluster in the population")
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    rows = [
        row
        for model in ("linear", "logit")
        for n_rows in options.rows
        for row in simulate(
            model,
            n_clusters=options.clusters,
            n_rows=n_rows,
            n_replicates=options.replicates,
            seed=options.seed,
        )
    ]
    description = (
        f"Mean over {options.replicates} samples (seed {options.seed}) less the truth, its Monte Carlo error, and the "
        "share of samples whose 95% interval holds the truth. Weighted fits have robust standard errors."
    )
    formats = {"bias": "+.3f", "error of bias": ".3f", "covered": ".2f"}
    print(Table("Two-level weights under informative sampling", description, rows, formats=formats))
    if options.json:
        options.json.write_text(json.dumps({"description": description, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
