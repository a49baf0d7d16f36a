"""Simulation-based calibration of `BayesLogit` at length: ``python -m benchmarks.calibration [n_fits]``.

Parameters drawn from the prior should have ranks among the draws of their posteriors that are uniform. Prints, for a
flat model of 30 rows and one of 20 groups of 5 rows, p-values of two tests of each parameter's ranks and the coverage
of central intervals.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np

from skdep.exceptions import ConvergenceWarning
from tests.bayes_logit.test_calibration import flat_ranks, multilevel_ranks, p_values

__all__ = ["report"]

MODELS: dict[str, tuple[Callable[..., np.ndarray], list[str]]] = {
    "flat": (flat_ranks, ["intercept", "slope 1", "slope 2", "predictor"]),
    "20 groups": (multilevel_ranks, ["intercept", "slope", "sd", "effect of a group"]),
}
LEVELS = (0.5, 0.8, 0.9, 0.95)


def report(n_fits: int, seed: int = 0) -> None:
    """Print the results.

    Parameters
    ----------
    n_fits : int
        Simulated data sets of each model.
    seed : int
        Seed.
    """
    for model, (ranks_of, names) in MODELS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            ranks = ranks_of(n_fits, np.random.default_rng(seed))
        by_rank, by_size = p_values(ranks)
        print(f"{model}, {len(ranks)} fits")
        for number, name in enumerate(names):
            inside = np.abs(2 * ranks[:, number] - 1)
            coverage = "  ".join(f"{level:.0%}: {np.mean(inside < level):.3f}" for level in LEVELS)
            print(f"  {name:18} p {by_rank[number]:.3f}, of the spread {by_size[number]:.3f}; coverage {coverage}")


if __name__ == "__main__":
    report(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
