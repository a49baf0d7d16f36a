"""Fixtures of the tests of pictures: fitted models, and no windows."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skdep import MixedLinear
from skdep.datasets import load_pastes, load_penicillin, load_sleepstudy


@pytest.fixture(autouse=True)
def no_windows():
    """Draw into memory, and close every figure after the test."""
    if find_spec("matplotlib") is None:
        yield
        return
    import matplotlib
    import matplotlib.pyplot as plt

    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    plt.close("all")
    matplotlib.use(before)


@pytest.fixture(scope="session")
def sleep() -> SimpleNamespace:
    """Reaction times with random intercepts and slopes."""
    study = load_sleepstudy()
    model = MixedLinear(random_slopes=["Days"]).fit(study.data, study.target, groups=study.groups)
    return SimpleNamespace(X=study.data, y=study.target, groups=study.groups, model=model)


def _without_features(study) -> SimpleNamespace:
    """Fit the model of a mean and random intercepts."""
    model = MixedLinear().fit(study.data, study.target, groups=study.groups)
    return SimpleNamespace(X=study.data, y=study.target, groups=study.groups, model=model)


@pytest.fixture(scope="session")
def penicillin() -> SimpleNamespace:
    """Two crossed factors."""
    return _without_features(load_penicillin())


@pytest.fixture(scope="session")
def pastes() -> SimpleNamespace:
    """Two nested factors."""
    return _without_features(load_pastes())


@pytest.fixture(scope="session")
def schools() -> SimpleNamespace:
    """Five hundred groups of unequal size, two features with names, random intercepts and slopes of age."""
    rng = np.random.default_rng(0)
    n_groups = 500
    groups = np.repeat(np.arange(n_groups), rng.integers(3, 12, n_groups))
    n_rows = len(groups)
    age = rng.uniform(20.0, 60.0, n_rows) + 5.0 * rng.normal(size=n_groups)[groups]
    X = pd.DataFrame({"age": age, "dose": rng.normal(size=n_rows)})
    effects = rng.normal(size=(n_groups, 2)) * [4.0, 0.15]
    mean = 10.0 + 0.5 * X["age"] + 2.0 * X["dose"] + effects[groups, 0] + effects[groups, 1] * (X["age"] - 40.0)
    y = pd.Series(mean + 2.0 * rng.normal(size=n_rows), name="pressure")
    labels = pd.Series([f"s{group:03d}" for group in groups], name="school")
    return SimpleNamespace(X=X, y=y, groups=labels, model=MixedLinear(["age"]).fit(X, y, groups=labels))


@pytest.fixture(scope="session")
def singular() -> SimpleNamespace:
    """Groups that have the same mean, so that the variance between them is estimated as zero."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 10)
    noise = rng.normal(size=120)
    X = pd.DataFrame({"week": np.tile(np.arange(10.0), 12)})
    y = noise - (np.bincount(groups, noise) / 10.0)[groups] + 2.0 * X["week"]
    with pytest.warns(UserWarning, match="Singular fit"):
        model = MixedLinear().fit(X, y, groups=groups)
    return SimpleNamespace(X=X, y=y, groups=groups, model=model)
