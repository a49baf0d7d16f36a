"""How often tests of sampling weights reject, where weights are not informative (at 5 %) and where they are.

Run it as ``python -m benchmarks.weight_test_size``. Samples of 200 rows (of 10 rows from each cluster), two features,
linear and logistic models that hold; with informative weights these depend on the outcome given the features too.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from benchmarks.table import Table
from skdep import GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.inference._weight_comparison import compare_fits
from skdep.inference._weight_hypotheses import run_tests
from skdep.inference._weight_rows import prepare_model, weighted_rows
from skdep.inference._weight_tests import hotelling

__all__ = ["DESIGNS", "MODELS", "Sample", "draw", "main", "rejections"]

DESIGNS = (
    "independent weights",
    "very unequal weights",
    "weights by a feature",
    "variances differ",
    "strata",
    "large fractions",
    "60 clusters",
    "30 clusters",
    "15 clusters",
)
MODELS = {"linear": GEERegressor(), "logistic": LogitRegressor(weight_type="sampling")}
_MIXED = {"linear": MixedLinear(weight_type="sampling"), "logistic": MixedLogit(weight_type="sampling")}
TESTS = (
    "hausman-pfeffermann",
    "dumouchel-duncan",
    "pfeffermann-sverchkov",
    "wu-fuller",
    "weight-association",
    "permutation",
    "dumouchel-duncan (wald)",
)
_COEF = np.array([0.7, -0.5])
_INTERCEPT = 0.3
_N_ROWS, _CLUSTER_SIZE, _CORRELATION = 200, 10, 0.2


@dataclass(frozen=True)
class Sample:
    """A sample with its weights and design.

    Parameters
    ----------
    X : ndarray of shape (n_rows, 2)
        Features.
    y : ndarray of shape (n_rows,)
        Outcomes.
    weights : ndarray of shape (n_rows,)
        Weights.
    groups, strata, fpc : ndarray of shape (n_rows,) or None
        Clusters, strata, numbers of rows in the population of the stratum.
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None = None
    strata: np.ndarray | None = None
    fpc: np.ndarray | None = None


def draw(design: str, model: str, strength: float, rng: np.random.Generator) -> Sample:
    """Draw a sample.

    Parameters
    ----------
    design : str
        One of `DESIGNS`.
    model : {"linear", "logistic"}
        Model of the outcome.
    strength : float
        By how much the logarithm of a weight depends on the disturbance of the outcome; 0 is not informative.
    rng : Generator
        Source of randomness.
    """
    if design.endswith("clusters"):
        return _clusters(int(design.split()[0]), model, strength, rng)
    if design in ("strata", "large fractions"):
        return _strata(design, model, strength, rng)
    X, disturbance = rng.standard_normal((_N_ROWS, 2)), rng.standard_normal(_N_ROWS)
    noise = rng.standard_normal(_N_ROWS)
    spread = {"very unequal weights": 1.2 * noise, "weights by a feature": 0.8 * X[:, 0] + 0.3 * noise}
    log_weight = spread.get(design, 0.6 * noise) + strength * disturbance
    scale = np.exp(0.4 * X[:, 0]) if design == "variances differ" else np.ones(_N_ROWS)
    return Sample(X, _outcome(model, X, disturbance, scale), np.exp(log_weight))


def _outcome(model: str, X: np.ndarray, disturbance: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Return outcomes of which the model holds, whatever the correlation of the standard normal disturbances."""
    eta = _INTERCEPT + X @ _COEF
    return eta + scale * disturbance if model == "linear" else (ndtr(-disturbance) < expit(eta)).astype(float)


def _clusters(n_clusters: int, model: str, strength: float, rng: np.random.Generator) -> Sample:
    """Draw clusters, one feature constant within them, weights too."""
    groups = np.repeat(np.arange(n_clusters), _CLUSTER_SIZE)
    between, effect = rng.standard_normal((2, n_clusters))
    X = np.column_stack([rng.standard_normal(len(groups)), between[groups]])
    disturbance = np.sqrt(_CORRELATION) * effect[groups]
    disturbance += np.sqrt(1.0 - _CORRELATION) * rng.standard_normal(len(groups))
    log_weight = 0.6 * rng.standard_normal(n_clusters) + 0.3 * between + strength * effect
    return Sample(X, _outcome(model, X, disturbance), np.exp(log_weight)[groups], groups)


def _strata(design: str, model: str, strength: float, rng: np.random.Generator) -> Sample:
    """Draw from three strata that depend on a feature; with large fractions most of the third is in the sample."""
    n_population = 600 if design == "large fractions" else 20_000
    X, disturbance = rng.standard_normal((n_population, 2)), rng.standard_normal(n_population)
    size = X[:, 0] + 0.5 * rng.standard_normal(n_population) + 2.0 * strength * disturbance
    stratum = np.searchsorted(np.quantile(size, [0.6, 0.85]), size)
    counts = np.bincount(stratum)
    wanted = [60, 60, 80]
    order = np.lexsort((rng.uniform(size=n_population), stratum))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rows = np.concatenate([order[start : start + n] for start, n in zip(starts, wanted)])
    fpc = counts[stratum[rows]].astype(float)
    weights = fpc / np.asarray(wanted)[stratum[rows]]
    return Sample(X[rows], _outcome(model, X[rows], disturbance[rows]), weights, None, stratum[rows], fpc)


def rejections(
    design: str, model: str, strength: float, n_replicates: int, seed: int, *, mixed: bool = False
) -> dict[str, Any]:
    """Return the share of samples in which each test rejects at 5 %.

    Parameters
    ----------
    design : str
        One of `DESIGNS`.
    model : {"linear", "logistic"}
        Model of the outcome.
    strength : float
        How informative weights are; 0 is not at all.
    n_replicates : int
        Samples. One where a test cannot be done does not count for that test.
    seed : int
        Seed; every design has streams of its own.
    mixed : bool, default=False
        Whether a mixed model is fitted, with clusters as random effects.
    """
    estimator = (_MIXED if mixed else MODELS)[model]
    seeds = np.random.SeedSequence([seed, DESIGNS.index(design), int(model == "linear")]).spawn(n_replicates)
    found: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small samples, as meant
        for child in seeds:
            sample = draw(design, model, strength, np.random.default_rng(child))
            for name, p_value in _p_values(estimator, sample).items():
                found.setdefault(name, []).append(p_value)
    row: dict[str, Any] = {"design": design, "model": f"{model}, mixed" if mixed else model}
    for name, values in found.items():
        done = np.array(values)[np.isfinite(values)]
        row[name] = float(np.mean(done < 0.05)) if len(done) else None
    return row | {"samples": n_replicates}


def _p_values(estimator: Any, sample: Sample) -> dict[str, float]:
    """Return the p-values of all tests of a sample."""
    comparison = _comparison(estimator, sample)
    results = run_tests(comparison, TESTS, n_permutations=199, random_state=0)
    found = {test.name: test.p_value for test in results}
    if sample.fpc is not None:
        z = comparison.change
        sizes = np.linalg.norm(comparison.crossed.free_influence(), axis=0)
        with_fpc = hotelling("", "", z, comparison.rows.spread(z), comparison.rows.design, sizes)
        found["decided with fpc"] = with_fpc.p_value
    if not isinstance(estimator, MixedLinear | MixedLogit):
        # what one gets who takes the rows for independent
        alone = _comparison(estimator, replace(sample, groups=None, strata=None, fpc=None))
        linear = isinstance(estimator, GEERegressor)
        name = "dumouchel-duncan (classical)" if linear else "likelihood-ratio"
        (test,) = run_tests(alone, [name], n_permutations=19, random_state=0)
        found["independent rows"] = test.p_value
    return found


def _applies(design: str, model: str, *, mixed: bool) -> bool:
    """Say whether a model is one of its own under a design."""
    return design.endswith("clusters") if mixed else not (design == "variances differ" and model == "logistic")


def _comparison(estimator: Any, sample: Sample) -> Any:
    model, mixed = prepare_model(estimator, sample.X, sample.y), isinstance(estimator, MixedLinear | MixedLogit)
    rows = weighted_rows(
        model,
        sample.y,
        # weights that are those of clusters are none within them
        sample_weight=None if mixed else sample.weights,
        group_weight=sample.weights if mixed else None,
        metadata={} if sample.groups is None else {"groups": sample.groups},
        psu=None,
        strata=sample.strata,
        fpc=sample.fpc,
        lonely_psu="fail",
    )
    return compare_fits(model, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weight_test_size", description=__doc__)
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS), metavar="NAME")
    parser.add_argument("--replicates", type=int, default=2000, metavar="N")
    parser.add_argument("--strength", type=float, default=0.25, help="how informative weights are in the second table")
    parser.add_argument("--mixed", action="store_true", help="mixed models too, of the designs with clusters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 samples, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    n_replicates = 20 if options.quick else options.replicates
    if n_replicates < 1:
        parser.error("--replicates must be at least 1")
    error = np.sqrt(0.05 * 0.95 / n_replicates)
    description = (
        f"Share of {n_replicates:,} samples (seed {options.seed}) in which a test rejects at 5 %. The standard error "
        f"of a share near 0.05 is {error:.4f}. *Independent rows*: DuMouchel and Duncan's F, or the likelihood ratio, "
        "that takes no notice of strata and clusters. *Decided with fpc*: the first test, with finite populations."
    )
    tables = {}
    for title, strength in [("Size: weights not informative", 0.0), ("Power: informative weights", options.strength)]:
        tables[title] = [
            rejections(design, model, strength, n_replicates, options.seed, mixed=mixed)
            for mixed in (False, True)
            for model in MODELS
            for design in options.designs
            if _applies(design, model, mixed=mixed) and (options.mixed or not mixed)
        ]
        names = {name for row in tables[title] for name in row} - {"design", "model", "samples"}
        print(Table(title, description, tables[title], formats=dict.fromkeys(names, ".3f")), end="\n\n")
    if options.json:
        options.json.write_text(json.dumps({"description": description, "tables": tables}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
