"""Quadrature recovers the truth from short clusters of widely spread intercepts; Laplace's approximation does not.

Both fit the same simulated data sets, seeded; means over them are compared with the truth in units of their Monte Carlo
error.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from skdep import MixedLogit

COEF = np.array([-0.5, 1.0, -1.0])  # intercept, a feature that varies within clusters, one that is constant
SD = 2.0
TRUTH = np.append(COEF, SD)
N_CLUSTERS = 2_000
N_REPLICATES = 12


def simulate(seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(N_CLUSTERS), rng.integers(2, 5, size=N_CLUSTERS))
    X = np.column_stack([rng.standard_normal(len(groups)), rng.standard_normal(N_CLUSTERS)[groups]])
    eta = COEF[0] + X @ COEF[1:] + SD * rng.standard_normal(N_CLUSTERS)[groups]
    return X, (rng.random(len(eta)) < expit(eta)).astype(int), groups


def estimates(n_quadrature: int, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    model = MixedLogit(n_quadrature=n_quadrature).fit(X, y, groups=groups)
    assert model.converged_
    return np.concatenate([model.intercept_, model.coef_[0], np.sqrt(model.random_covariance_["group"][0])])


@pytest.fixture(scope="module")
def found() -> dict[int, np.ndarray]:
    """Return the estimates (replicates, parameters) of each number of nodes."""
    data = [simulate(seed) for seed in np.random.SeedSequence(20).spawn(N_REPLICATES)]
    return {nodes: np.array([estimates(nodes, *one) for one in data]) for nodes in (1, 15)}


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def test_quadrature_recovers_coefficients_and_standard_deviation(found):
    mean, error = mean_and_error(found[15])
    assert np.all(error < 0.05)  # small enough for a bias to show
    assert np.all(np.abs(mean - TRUTH) < 4 * error)


def test_laplace_underestimates_the_standard_deviation(found):
    mean, error = mean_and_error(found[1])
    assert mean[-1] < SD - 5 * error[-1]


def test_laplace_shrinks_coefficients_and_standard_deviation_of_the_same_data(found):
    mean, error = mean_and_error(np.abs(found[15]) - np.abs(found[1]))
    assert np.all(mean > 5 * error)
    assert mean[-1] > 0.1
