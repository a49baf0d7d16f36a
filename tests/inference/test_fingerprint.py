"""Fingerprints of data: by hand, the same for the same rows, another for others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skdep._fingerprint import fingerprint, same_column

RNG = np.random.default_rng(0)
N = 200
X = RNG.normal([0.0, 1e6, -2.0], [1.0, 3.0, 0.1], size=(N, 3))
Y = RNG.gamma(2.0, size=N) + X[:, 0]
OFFSET = RNG.normal(size=N)
CODES = RNG.integers(0, 17, N)


def take(rows=slice(None), **changes):
    given = {"X": X, "y": Y, "weights": None, "offset": OFFSET, "codes": CODES, **changes}
    weights = given["weights"]
    return fingerprint(
        given["X"][rows],
        given["y"][rows],
        weights=None if weights is None else weights[rows],
        offset=given["offset"][rows],
        factors={"g": given["codes"][rows]},
    )


def test_moments_by_hand():
    found = take()
    assert_allclose(found.outcome, [Y.mean(), Y.std(), stats.skew(Y)], rtol=1e-12)
    assert_allclose(found.features[:, 0], X.mean(axis=0), rtol=1e-12)
    assert_allclose(found.features[:, 1], X.std(axis=0), rtol=1e-9)
    assert_allclose(found.features[:, 2], [np.corrcoef(x, Y)[0, 1] for x in X.T], atol=1e-9)
    assert_allclose(found.offset, [OFFSET.mean(), OFFSET.std(), np.corrcoef(OFFSET, Y)[0, 1]], rtol=1e-10)
    means = np.bincount(CODES, Y) / np.bincount(CODES)
    assert found.factors["g"] == pytest.approx(np.var(means[CODES]) / np.var(Y), rel=1e-12)
    assert found.total == N


def test_order_and_weights_of_repeated_rows():
    counts = RNG.integers(0, 4, N)
    rows = RNG.permutation(np.repeat(np.arange(N), counts))
    first, second = take(weights=counts.astype(float)), take(rows)
    assert first.same_rows(second) and first.same_offset(second)
    assert_allclose(first.features, second.features, rtol=1e-9)
    assert first.factors["g"] == pytest.approx(second.factors["g"], rel=1e-12)
    assert not first.same_rows(take())


@pytest.mark.parametrize("change", [Y + 1e-3, Y * (1 + 1e-5), np.where(np.arange(N) == 7, Y + 1e-4, Y), -Y, Y**2])
def test_other_outcomes(change):
    assert not take().same_rows(take(y=change))


def test_distant_outcomes():
    order = RNG.permutation(N)
    assert take(y=Y + 1e9).same_rows(take(order, y=Y + 1e9))
    assert not take(y=Y + 1e9).same_rows(take(y=1.01 * Y + 1e9))


def test_columns():
    ours = take().features
    assert same_column(ours[1], take(RNG.permutation(N)).features[1])
    assert not same_column(ours[0], ours[1])
    assert not same_column(ours[0], take(X=2 * X).features[0])
    assert same_column(ours[0], take(X=3 - 2 * X).features[0], affine=True)
    assert not same_column(ours[0], take(X=X[::-1]).features[0], affine=True)
    assert not take().same_offset(take(offset=OFFSET + 1))


def test_constant_columns_and_outcomes():
    found = take(X=np.full((N, 1), 0.1), y=np.full(N, 0.3))
    assert_allclose(found.features, [[0.1, 0.0, 0.0]], atol=1e-12)
    assert_allclose(found.outcome, [0.3, 0.0, 0.0], atol=1e-12)
    assert found.same_rows(take(X=np.full((N, 1), 0.1), y=np.full(N, 0.3)))
    without = fingerprint(np.empty((N, 0)), Y)
    assert without.features.shape == (0, 3)
    assert_allclose(without.offset, 0.0)
