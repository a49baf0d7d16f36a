"""Sampling weights that go with the sizes of clusters: which association is estimated."""

from __future__ import annotations

import numpy as np
import pytest

from skdep import GEERegressor


@pytest.mark.parametrize("weight", [0.25, 1.0, 4.0])
def test_pairs_are_weighed_under_dof_n(weight):
    """The correlation in all clusters is 0.5; SAS's formula sees it times the mean weight of the rows in pairs."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4000), np.tile([2, 1], 2000))
    x, paired = rng.normal(size=len(groups)), np.repeat(np.tile([True, False], 2000), np.tile([2, 1], 2000))
    y = x + np.sqrt(0.5) * (rng.normal(size=4000)[groups] + rng.normal(size=len(groups)))
    weights = np.where(paired, weight, 1.0)
    found = {
        dof: GEERegressor(working_correlation="exchangeable", dof=dof)
        .fit(x[:, None], y, groups=groups, sample_weight=weights)
        .association_
        for dof in ("n", "n-p")
    }
    assert found["n"] == pytest.approx(0.5, abs=0.04)
    assert found["n-p"] == pytest.approx(found["n"] * weight / weights.mean(), rel=2e-3)
