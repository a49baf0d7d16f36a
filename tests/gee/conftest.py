"""Fixtures of the GEE tests: results of R, and a small clustered data set."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="session")
def gee_reference() -> dict[str, Any]:
    """Results of R for marginal models, by entry: see tests/reference/README.md."""
    return json.loads((REFERENCE / "gee.json").read_text())


def _clustered(seed: int, n_clusters: int = 60, most: int = 5) -> SimpleNamespace:
    """Rows of clusters of 1 to `most` rows in random order, at times with gaps, correlated by a common effect."""
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([[most], rng.integers(1, most + 1, n_clusters - 1)])
    groups = np.repeat(np.arange(n_clusters), sizes)
    time = np.concatenate([np.sort(rng.choice(most + 2, size, replace=False)) for size in sizes]).astype(float)
    X = rng.normal(size=(len(groups), 2))
    eta = 0.3 + X @ [0.5, -0.4] + rng.normal(scale=0.7, size=n_clusters)[groups]
    order = rng.permutation(len(groups))
    return SimpleNamespace(
        X=X[order],
        y=(eta + rng.normal(size=len(groups)))[order],
        binary=(rng.uniform(size=len(groups)) < 1.0 / (1.0 + np.exp(-eta))).astype(float)[order],
        counts=rng.poisson(np.exp(0.5 * eta)).astype(float)[order],
        positive=(np.exp(0.5 * eta) * rng.gamma(4.0, 0.25, len(groups)))[order],
        groups=groups[order],
        time=time[order],
        offset=rng.normal(scale=0.3, size=len(groups))[order],
        weights=rng.uniform(0.3, 3.0, len(groups))[order],
        cluster_weights=rng.integers(1, 4, n_clusters).astype(float)[groups][order],
    )


@pytest.fixture
def data() -> SimpleNamespace:
    """Clustered rows with outcomes of several families."""
    return _clustered(0)
