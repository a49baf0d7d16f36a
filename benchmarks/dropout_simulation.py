"""Dropout that depends on past outcomes: bias, and coverage of 95% intervals, with and without weights.

Run it as ``python -m benchmarks.dropout_simulation``. Binary outcomes at four visits, correlated within clusters, whose
marginal model is exactly logistic: intercept, visit, treatment and their product. After an outcome of one a cluster is
less likely to be seen again. A frailty of the cluster, which is known and behind its outcomes, is among the predictors
of the dropout model. All methods fit the same data sets.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, ndtr, ndtri
from sklearn.base import clone

from benchmarks.table import Table
from skdep import GEEClassifier
from skdep.gee.dropout import DropoutGEE

__all__ = ["METHODS", "PARAMETERS", "DropoutData", "Method", "dropout_data", "main", "simulate"]

PARAMETERS = ("intercept", "visit", "treatment", "visit x treatment")
_TRUTH = np.array([-0.5, 0.3, 0.0, 0.15])
_N_VISITS = 4
_CORRELATION = 0.7
_SHOWN = (1, 3)  # dropout that depends on outcomes shows in how they change


class DropoutData(NamedTuple):
    """Visits that took place, sorted by cluster and visit."""

    X: np.ndarray  # (n_rows, 3): visit, treatment, product
    y: np.ndarray  # (n_rows,) of 0.0 and 1.0
    groups: np.ndarray  # (n_rows,)
    time: np.ndarray  # (n_rows,)
    predictors: np.ndarray  # (n_rows, 3): outcome, treatment, frailty


class Method(NamedTuple):
    """A fit, and the types of covariance that its intervals rest on."""

    name: str
    estimator: Any
    cov_types: tuple[str, ...]


METHODS = (
    Method("no weights, independence", GEEClassifier(), ("robust",)),
    Method("no weights, exchangeable", GEEClassifier(working_correlation="exchangeable"), ("robust",)),
    Method("weights of rows, independence", DropoutGEE(GEEClassifier()), ("robust", "known_weights")),
    Method(
        "weights of clusters, independence",
        DropoutGEE(GEEClassifier(), weights="cluster"),
        ("robust", "known_weights"),
    ),
    Method(
        "weights of clusters, exchangeable",
        DropoutGEE(GEEClassifier(working_correlation="exchangeable"), weights="cluster"),
        ("robust", "known_weights"),
    ),
)


def dropout_data(n_clusters: int, seed: int | np.random.SeedSequence) -> DropoutData:
    """Draw clusters of four planned visits, and who was seen at which."""
    rng = np.random.default_rng(seed)
    treatment = np.repeat((np.arange(n_clusters) % 2)[:, None], _N_VISITS, axis=1)
    visit = np.broadcast_to(np.arange(_N_VISITS), treatment.shape)
    X = np.stack([visit, treatment, visit * treatment], axis=-1).astype(float)
    frailty = rng.standard_normal((n_clusters, 1))
    latent = np.sqrt(_CORRELATION) * frailty + np.sqrt(1 - _CORRELATION) * rng.standard_normal(treatment.shape)
    y = (ndtr(-latent) < expit(_TRUTH[0] + X @ _TRUTH[1:])).astype(float)
    returns = rng.random(treatment.shape) < expit(2.0 - 1.4 * y + 0.3 * treatment)
    seen = np.column_stack([np.ones(n_clusters), np.cumprod(returns[:, :-1], axis=1)]) > 0
    cluster, time = np.nonzero(seen)
    predictors = np.column_stack([y[seen], treatment[seen], frailty[cluster, 0]])
    return DropoutData(X[seen], y[seen], cluster, time.astype(float), predictors)


def simulate(n_clusters: int, n_replicates: int, seed: int) -> list[dict[str, Any]]:
    """Return a row for each method, type of covariance and coefficient that the visit has part in.

    Parameters
    ----------
    n_clusters : int
        Clusters of each simulated data set.
    n_replicates : int
        Data sets. One where a fit does not converge counts for no method, and is reported.
    seed : int
        Of the data sets; each number of clusters has streams of its own.
    """
    estimates, errors = [], []
    for child in np.random.SeedSequence([seed, n_clusters]).spawn(n_replicates):
        fits = _fit(dropout_data(n_clusters, child))
        if all(fit.converged_ for fit in fits):
            estimates.append([np.append(fit.intercept_, fit.coef_) for fit in fits])
            errors.append([_standard_errors(fit, cov_type) for fit, cov_type in _pairs(fits)])
    used = len(estimates)
    if used < 2:
        raise RuntimeError(f"{used} of {n_replicates} data sets have fits that converge")
    spread = np.std(estimates, axis=0, ddof=1)
    bias = np.mean(estimates, axis=0) - _TRUTH
    which = [number for number, method in enumerate(METHODS) for _ in method.cov_types]
    half_width = ndtri(0.975) * np.array(errors)
    covered = np.mean(np.abs(np.array(estimates)[:, which] - _TRUTH) <= half_width, axis=0)
    return [
        {
            "method": METHODS[method].name,
            "covariance": cov_type,
            "clusters": n_clusters,
            "parameter": PARAMETERS[j],
            "bias": float(bias[method, j]),
            "error of bias": float(spread[method, j] / np.sqrt(used)),
            "SD": float(spread[method, j]),
            "mean SE / SD": float(np.mean(errors, axis=0)[row, j] / spread[method, j]),
            "covered": float(covered[row, j]),
            "data sets": used,
            "not converged": n_replicates - used,
        }
        for row, (method, cov_type) in enumerate(zip(which, _cov_types(), strict=True))
        for j in _SHOWN
    ]


def _fit(data: DropoutData) -> list[Any]:
    """Return the fits in the order of `METHODS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that go wrong are recognised by their flags
        fits = []
        for method in METHODS:
            weighted = isinstance(method.estimator, DropoutGEE)
            further = {"dropout_features": data.predictors} if weighted else {}
            fits.append(clone(method.estimator).fit(data.X, data.y, groups=data.groups, time=data.time, **further))
    return fits


def _cov_types() -> list[str]:
    return [cov_type for method in METHODS for cov_type in method.cov_types]


def _pairs(fits: list[Any]) -> list[tuple[Any, str]]:
    """Return every fit with each of its types of covariance."""
    return [(fit, cov_type) for fit, method in zip(fits, METHODS, strict=True) for cov_type in method.cov_types]


def _standard_errors(fit: Any, cov_type: str) -> np.ndarray:
    return np.sqrt(np.diag(fit._inference.covariance(cov_type)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dropout_simulation", description=__doc__)
    parser.add_argument("--clusters", type=int, nargs="+", default=[100, 400], metavar="K")
    parser.add_argument("--replicates", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 data sets, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    n_replicates = 20 if options.quick else options.replicates
    if n_replicates < 2:
        parser.error("--replicates must be at least 2")
    rows = [row for n_clusters in options.clusters for row in simulate(n_clusters, n_replicates, options.seed)]
    error = np.sqrt(0.95 * 0.05 / n_replicates)
    description = (
        f"Mean over {n_replicates:,} data sets (seed {options.seed}) less the truth, with its Monte Carlo error; "
        "standard deviation of the estimates; mean standard error over that; share of data sets whose 95% interval "
        f"(normal) holds the truth, the standard error of a share near 0.95 being {error:.3f}. Under known_weights "
        "intervals take the weights as known."
    )
    formats = dict.fromkeys(("error of bias", "SD", "mean SE / SD", "covered"), ".3f") | {"bias": "+.3f"}
    print(Table("Dropout that depends on past outcomes", description, rows, formats=formats))
    if options.json:
        options.json.write_text(json.dumps({"description": description, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
