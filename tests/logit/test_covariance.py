"""Every covariance type by dense brute force: loops over rows and clusters."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from skdep import LogitRegressor
from skdep.exceptions import FewClustersWarning
from skdep.inference import coef_table
from skdep.sandwich import nearest_positive_semidefinite

RNG = np.random.default_rng(11)
N = 90
X = RNG.normal(size=(N, 2))
Y = (RNG.random(N) < expit(X[:, 0])).astype(int)
GROUPS = RNG.permutation(np.arange(N) % 13)
SECOND = RNG.permutation(np.arange(N) % 11)
COUNTS = RNG.integers(1, 4, size=N)
SAMPLING = RNG.uniform(0.5, 4.0, size=N)


def pieces(fit, weights=None, offset=None, ridge=0.0):
    """Return bread and the row scores without weights (n, p), at the fit's own estimate."""
    design = np.column_stack([np.ones(N), X])
    eta = design @ np.r_[fit.intercept_, fit.coef_[0]] + (0.0 if offset is None else offset)
    pi = expit(eta)
    w = np.ones(N) if weights is None else weights
    information = sum(w[i] * pi[i] * (1 - pi[i]) * np.outer(design[i], design[i]) for i in range(N))
    bread = np.linalg.inv(information + ridge * np.diag([0.0, 1.0, 1.0]))
    return bread, information, (Y - pi)[:, None] * design


def outer_sum(scores):
    return sum(np.outer(score, score) for score in scores)


def cluster_meat(scores, labels):
    sums = [sum(scores[i] for i in range(N) if labels[i] == label) for label in set(labels)]
    return len(sums) / (len(sums) - 1) * outer_sum(sums)


def covariance(fit, cov_type):
    fitted = fit._inference.covariance(cov_type)
    assert_allclose(coef_table(fit, cov_type=cov_type)["std_error"], np.sqrt(np.diag(fitted)))
    return fitted


@pytest.mark.parametrize("offset", [None, RNG.normal(size=N)], ids=["", "offset"])
def test_unweighted(offset):
    fit = LogitRegressor().fit(X, Y, groups=GROUPS, offset=offset)
    bread, _, scores = pieces(fit, offset=offset)
    robust = bread @ outer_sum(scores) @ bread
    assert_allclose(covariance(fit, "model"), bread, rtol=1e-6)
    assert_allclose(covariance(fit, "hc0"), robust, rtol=1e-6)
    assert_allclose(covariance(fit, "hc1"), robust * N / (N - 3), rtol=1e-6)
    assert_allclose(covariance(fit, "cluster"), bread @ cluster_meat(scores, GROUPS) @ bread, rtol=1e-6)
    assert_allclose(fit.covariance_, covariance(fit, "cluster"))


def test_frequency_weights():
    """A weight counts copies of the row: HC sums w_i s_i s_i', clusters add up w_i s_i, n is the sum of weights."""
    fit = LogitRegressor().fit(X, Y, groups=GROUPS, sample_weight=COUNTS)
    bread, _, scores = pieces(fit, weights=COUNTS)
    robust = bread @ outer_sum(np.sqrt(COUNTS)[:, None] * scores) @ bread
    n = COUNTS.sum()
    assert_allclose(covariance(fit, "model"), bread, rtol=1e-6)
    assert_allclose(covariance(fit, "hc0"), robust, rtol=1e-6)
    assert_allclose(covariance(fit, "hc1"), robust * n / (n - 3), rtol=1e-6)
    clustered = bread @ cluster_meat(COUNTS[:, None] * scores, GROUPS) @ bread
    assert_allclose(covariance(fit, "cluster"), clustered, rtol=1e-6)
    assert "design" not in fit._inference.covariances


def test_sampling_weights():
    fit = LogitRegressor(weight_type="sampling").fit(X, Y, sample_weight=SAMPLING)
    w = SAMPLING / SAMPLING.mean()
    bread, _, scores = pieces(fit, weights=w)
    robust = bread @ outer_sum(w[:, None] * scores) @ bread
    assert_allclose(covariance(fit, "hc0"), robust, rtol=1e-6)
    assert_allclose(covariance(fit, "design"), robust * N / (N - 1), rtol=1e-6)
    assert_allclose(fit.covariance_, covariance(fit, "design"))

    clustered = LogitRegressor(weight_type="sampling").fit(X, Y, sample_weight=SAMPLING, groups=GROUPS)
    expected = bread @ cluster_meat(w[:, None] * scores, GROUPS) @ bread
    assert_allclose(clustered.covariance_, expected, rtol=1e-6)


@pytest.mark.parametrize("n_ways", [2, 3])
def test_several_ways_of_clustering(n_ways):
    """Inclusion and exclusion over all combinations of ways, each with its own K / (K - 1)."""
    factors = np.column_stack([GROUPS, SECOND, np.arange(N) // 8])[:, :n_ways]
    fit = LogitRegressor().fit(X, Y, groups=factors)
    bread, _, scores = pieces(fit)
    meat = np.zeros((3, 3))
    for size in range(1, n_ways + 1):
        for ways in itertools.combinations(range(n_ways), size):
            labels = [tuple(row) for row in factors[:, list(ways)]]
            meat += (-1) ** (size + 1) * cluster_meat(scores, labels)
    expected = bread @ meat @ bread
    assert np.linalg.eigvalsh(expected)[0] > 0, "the data of this test should need no repair"
    assert_allclose(fit.covariance_, expected, rtol=1e-6)


def test_a_way_inside_another_changes_nothing():
    """Clusters nested in larger ones: the terms of the smaller cancel."""
    nested = LogitRegressor().fit(X, Y, groups=np.column_stack([GROUPS, GROUPS * 100 + SECOND]))
    assert_allclose(nested.covariance_, LogitRegressor().fit(X, Y, groups=GROUPS).covariance_, rtol=1e-10)


def test_l2():
    fit = LogitRegressor(penalty="l2", C=0.5).fit(X, Y, groups=GROUPS)
    bread, information, scores = pieces(fit, ridge=2.0)
    assert_allclose(covariance(fit, "model"), bread @ information @ bread, rtol=1e-6)
    assert_allclose(covariance(fit, "hc0"), bread @ outer_sum(scores) @ bread, rtol=1e-6)
    assert_allclose(covariance(fit, "cluster"), bread @ cluster_meat(scores, GROUPS) @ bread, rtol=1e-6)


def test_zero_weights_are_rows_that_are_not_there():
    weights = COUNTS * (np.arange(N) % 5 > 0)
    keep = weights > 0
    fit = LogitRegressor().fit(X, Y, groups=GROUPS, sample_weight=weights)
    left = LogitRegressor().fit(X[keep], Y[keep], groups=GROUPS[keep], sample_weight=weights[keep])
    for cov_type in ("model", "hc0", "hc1", "cluster"):
        assert_allclose(covariance(fit, cov_type), covariance(left, cov_type), rtol=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
def test_subpopulation_counts_every_unit(clustered):
    """Sampling weights zero outside a domain: units without anyone in it still count in K / (K - 1)."""
    outside = GROUPS >= 9
    weights = np.where(outside, 0.0, SAMPLING)
    groups = GROUPS if clustered else None
    fit = LogitRegressor(weight_type="sampling").fit(X, Y, sample_weight=weights, groups=groups)
    inside = LogitRegressor(weight_type="sampling").fit(
        X[~outside], Y[~outside], sample_weight=SAMPLING[~outside], groups=GROUPS[~outside] if clustered else None
    )
    units, present = (13, 9) if clustered else (N, int((~outside).sum()))
    ratio = (units / (units - 1)) / (present / (present - 1))
    assert_allclose(fit.covariance_, ratio * inside.covariance_, rtol=1e-10)


def test_repair_of_negative_eigenvalues():
    vectors = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    matrix = vectors @ np.diag([-0.5, 1.0, 2.0]) @ vectors.T
    mended, repaired = nearest_positive_semidefinite(matrix)
    assert repaired
    assert_allclose(mended, vectors @ np.diag([0.0, 1.0, 2.0]) @ vectors.T, atol=1e-12)
    same, repaired = nearest_positive_semidefinite(mended + 1e-3 * np.eye(3))
    assert not repaired
    assert_allclose(same, mended + 1e-3 * np.eye(3))
    assert not nearest_positive_semidefinite(np.full((2, 2), np.nan))[1]


def test_multiway_repair_warns():
    groups = np.column_stack([np.arange(N) % 3, np.arange(N) % 2])
    with pytest.warns(FewClustersWarning, match="negative eigenvalues, which were set to zero"):
        fit = LogitRegressor().fit(X, Y, groups=groups)
    assert np.linalg.eigvalsh(fit.covariance_)[0] >= -1e-15
