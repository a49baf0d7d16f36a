"""Intervals with few clusters hold what they promise if they are corrected; a small, seeded simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from skdep import GEERegressor

N_TRIALS = 400
EFFECT = 0.5
INTERVALS = {
    "robust": np.inf, "kc": 8.0, "md": 8.0, "kc satterthwaite": "satterthwaite", "md satterthwaite": "satterthwaite",
}  # fmt: skip


@pytest.fixture(scope="module")
def covered() -> dict[str, float]:
    """Shares of trials whose 95% interval holds the effect of a treatment given to half of 10 clusters."""
    rng = np.random.default_rng(20240506)
    shares = dict.fromkeys(INTERVALS, 0.0)
    for _ in range(N_TRIALS):
        sizes = rng.integers(4, 16, 10)
        groups = np.repeat(np.arange(10), sizes)
        treated = (groups % 2).astype(float)
        y = EFFECT * treated + 0.5 * rng.normal(size=10)[groups] + rng.normal(size=len(groups))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est = GEERegressor(working_correlation="exchangeable").fit(treated[:, None], y, groups=groups)
        for name, degrees in INTERVALS.items():
            kind = name.split()[0]
            if degrees == "satterthwaite":
                contrast = np.array([[0.0, 1.0]])
                degrees = est._inference.small_sample_of(kind).contrast_df(contrast, "satterthwaite")[0]
            width = stats.t.ppf(0.975, degrees) * np.sqrt(est._inference.covariance(kind)[1, 1])
            shares[name] += (abs(est.coef_[0] - EFFECT) <= width) / N_TRIALS
    return shares


@pytest.mark.parametrize("name", ["kc", "md", "kc satterthwaite", "md satterthwaite"])
def test_corrected_intervals_cover(covered, name):
    """The standard error of a share is 0.011."""
    assert 0.915 < covered[name] < 0.985


def test_plain_intervals_do_not(covered):
    assert covered["robust"] < 0.91
    assert covered["robust"] < covered["kc"] < covered["md"]
