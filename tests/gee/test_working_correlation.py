"""Each structure against explicit matrices and explicit pairs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest

from skdep import GEERegressor
from skdep.clusters import Clusters
from skdep.datasets import load_epil
from skdep.exceptions import WorkingCorrelationWarning
from skdep.gee import AR1, Exchangeable, Independence, Unstructured, WorkingCorrelation
from skdep.gee.working_correlation import WORKING_CORRELATIONS, Block, Moments, ar1, get_working_correlation
from skdep.gee.working_correlation import pairs as pairs_of_rows
from skdep.gee.working_correlation.pairs import GridPairs, ListedPairs

from .dense import REPAIRED_EIGENVALUE, ar1_moment_alpha, correlation_matrix

PAPER = Moments(scale=1.0, n_params=0)


def make_block(sizes, time=None) -> Block:
    """Return clusters of these sizes; without times every cluster is observed at 0, 1, 2, ..."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    clusters = Clusters.from_codes(codes, np.arange(len(sizes)))
    time = np.concatenate([np.arange(size, dtype=float) for size in sizes]) if time is None else time
    waves, wave = np.unique(time, return_inverse=True)
    return Block(clusters, time, wave, len(waves), times=waves)


def random_block(rng, *, times="gaps", n_clusters=25, most=6) -> Block:
    sizes = rng.integers(1, most + 1, n_clusters)
    draw = {
        "equal": lambda size: np.arange(size),
        "gaps": lambda size: np.sort(rng.choice(most + 4, size, replace=False)),
        "real": lambda size: np.sort(rng.uniform(-3, 8, size)),
    }[times]
    return make_block(sizes, np.concatenate([draw(size) for size in sizes]).astype(float))


def clusters_of(block):
    return [np.arange(start, start + size) for start, size in zip(block.clusters.starts, block.clusters.sizes)]


def random_correlation(rng, size):
    root = rng.normal(size=(size, size + 2))
    covariance = root @ root.T
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


# ------------------------------------------------------------------------------------------------ whitening

CASES = [
    pytest.param(Independence(), 0.0, "gaps", id="independence"),
    pytest.param(Exchangeable(), 0.0, "gaps", id="exchangeable 0"),
    pytest.param(Exchangeable(), 0.7, "gaps", id="exchangeable"),
    pytest.param(Exchangeable(), 0.999, "gaps", id="exchangeable near 1"),
    pytest.param(Exchangeable(), -0.15, "gaps", id="exchangeable negative"),
    pytest.param(AR1(), 0.0, "equal", id="ar1 0"),
    pytest.param(AR1(), 0.6, "equal", id="ar1"),
    pytest.param(AR1(), 0.6, "gaps", id="ar1 gaps"),
    pytest.param(AR1(), 0.6, "real", id="ar1 unequal spacing"),
    pytest.param(AR1(), -0.6, "equal", id="ar1 negative"),
    pytest.param(AR1(), -0.6, "gaps", id="ar1 negative gaps"),
    pytest.param(AR1(), 0.9999, "real", id="ar1 near 1"),
    pytest.param(Unstructured(), None, "equal", id="unstructured"),
    pytest.param(Unstructured(), None, "gaps", id="unstructured gaps"),
]


@pytest.mark.parametrize(("structure", "alpha", "times"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_whitening_is_a_root_of_the_inverse(structure, alpha, times, seed):
    rng = np.random.default_rng(seed)
    block = random_block(rng, times=times)
    association = random_correlation(rng, block.n_waves) if alpha is None else alpha
    values = rng.normal(size=(block.clusters.n_rows, 3))
    before = values.copy()
    white = structure.whiten(structure.layout(block, "n"), association, values)
    np.testing.assert_array_equal(values, before)
    all_times = np.unique(block.time)
    for rows in clusters_of(block):
        matrix = correlation_matrix(structure.name, association, block.time[rows], all_times)
        expected = values[rows].T @ np.linalg.solve(matrix, values[rows])
        np.testing.assert_allclose(white[rows].T @ white[rows], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("structure", [Exchangeable(), AR1(), Unstructured()], ids=lambda s: s.name)
@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [5], [2, 2], [1, 40]])
def test_whitening_of_clusters_of_one_row_and_of_one_cluster(structure, sizes):
    rng = np.random.default_rng(1)
    block = make_block(sizes)
    association = random_correlation(rng, block.n_waves) if structure.name == "unstructured" else 0.4
    values = rng.normal(size=(block.clusters.n_rows, 2))
    white = structure.whiten(structure.layout(block, "n"), association, values)
    for rows in clusters_of(block):
        matrix = correlation_matrix(structure.name, association, block.time[rows], np.unique(block.time))
        expected = values[rows].T @ np.linalg.solve(matrix, values[rows])
        np.testing.assert_allclose(white[rows].T @ white[rows], expected, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------------------------ pairs


def brute_pairs(block, values, *, neighbours=False):
    """Return (lag, product) of each pair of rows of a cluster, by two loops."""
    found = []
    for rows in clusters_of(block):
        for (a, j), (b, k) in combinations(enumerate(rows), 2):
            if not neighbours or b == a + 1:
                found.append((block.time[k] - block.time[j], values[j] * values[k]))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_exchangeable_pair_products(seed):
    rng = np.random.default_rng(seed)
    block = random_block(rng)
    values = rng.normal(size=block.clusters.n_rows)
    structure = Exchangeable()
    expected = sum(product for _, product in brute_pairs(block, values))
    np.testing.assert_allclose(structure.pair_products(structure.layout(block, "n"), values), [expected], atol=1e-12)


@pytest.mark.parametrize("times", ["equal", "gaps"])
def test_unstructured_pair_products(times):
    rng = np.random.default_rng(0)
    block = random_block(rng, times=times)
    values = rng.normal(size=block.clusters.n_rows)
    structure = Unstructured()
    expected = np.zeros((block.n_waves, block.n_waves))
    for rows in clusters_of(block):
        for j in rows:
            for k in rows:
                expected[block.wave[j], block.wave[k]] += values[j] * values[k]
    found = structure.pair_products(structure.layout(block, "n"), values)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def by_lag(layout, sums):
    return {lag: total for lag, total in zip(np.round(layout.lags, 9), sums) if abs(total) > 1e-9}


def brute_by_lag(block, values, **options):
    sums: dict[float, float] = {}
    for lag, product in brute_pairs(block, values, **options):
        sums[round(lag, 9)] = sums.get(round(lag, 9), 0.0) + product
    return sums


def assert_same_sums(found, expected):
    for lag in set(found) | set(expected):
        assert found.get(lag, 0.0) == pytest.approx(expected.get(lag, 0.0), abs=1e-9)


@pytest.mark.parametrize("times", ["equal", "gaps", "real"])
@pytest.mark.parametrize(("pairs", "dof"), [("auto", "n-p"), ("neighbours", "n"), ("auto", "n"), ("all", "n-p")])
def test_ar1_pair_products(times, pairs, dof):
    rng = np.random.default_rng(4)
    block = random_block(rng, times=times)
    values = rng.normal(size=block.clusters.n_rows)
    structure = AR1(pairs=pairs)
    layout = structure.layout(block, dof)
    neighbours = pairs == "neighbours" or (pairs, dof) == ("auto", "n-p")
    expected_kind = ListedPairs if neighbours or times == "real" else GridPairs
    assert type(layout.pairs) is expected_kind
    found = by_lag(layout, structure.pair_products(layout, values))
    assert_same_sums(found, brute_by_lag(block, values, neighbours=neighbours))
    ones = by_lag(layout, structure.pair_products(layout, np.ones_like(values)))
    assert_same_sums(ones, brute_by_lag(block, np.ones_like(values), neighbours=neighbours))


def test_ar1_grid_and_list_of_pairs_agree(monkeypatch):
    block = random_block(np.random.default_rng(5), times="gaps", most=8)
    values = np.random.default_rng(6).normal(size=block.clusters.n_rows)
    structure = AR1(pairs="all")
    grid = structure.layout(block, "n")
    monkeypatch.setattr(pairs_of_rows, "_SPARSEST_GRID", 0)
    listed = structure.layout(block, "n")
    assert (type(grid.pairs), type(listed.pairs)) == (GridPairs, ListedPairs)
    assert_same_sums(
        by_lag(grid, structure.pair_products(grid, values)), by_lag(listed, structure.pair_products(listed, values))
    )


def test_ar1_neighbours_are_all_pairs_of_clusters_of_two():
    block = make_block([2, 1, 2, 2], np.array([0.0, 3, 1, 2, 2.5, 0, 1]))
    values = np.arange(1.0, 8.0)
    found = []
    for pairs in ("neighbours", "all"):
        structure = AR1(pairs=pairs)
        layout = structure.layout(block, "n")
        found.append(by_lag(layout, structure.pair_products(layout, values)))
    assert_same_sums(*found)
    assert_same_sums(found[0], {3.0: 2.0, 0.5: 20.0, 1.0: 42.0})


def test_too_many_pairs_to_list_are_refused(monkeypatch):
    monkeypatch.setattr(ar1, "_MOST_PAIRS", 10)
    block = make_block([6], np.array([0.0, 0.3, 1.1, 2.2, 3.7, 9.1]))
    with pytest.raises(ValueError, match=r"15 pairs of rows, too many.*AR1\(pairs='neighbours'\)"):
        AR1(pairs="all").layout(block, "n")
    AR1(pairs="neighbours").layout(block, "n")


def test_unknown_pairs():
    with pytest.raises(ValueError, match="'auto', 'neighbours' or 'all', got 'some'"):
        AR1(pairs="some")


# ------------------------------------------------------------------------------------------------ blocks


def cut(block: Block, n_rows: int) -> list[tuple[slice, Block]]:
    return [
        (rows, Block(clusters, block.time[rows], block.wave[rows], block.n_waves, times=block.times))
        for rows, clusters in block.clusters.blocks(n_rows)
    ]


@pytest.mark.parametrize("structure", [Exchangeable(), AR1(), AR1("all"), Unstructured()], ids=repr)
@pytest.mark.parametrize("times", ["equal", "gaps", "real"])
def test_estimates_of_blocks_are_those_of_the_whole(structure, times):
    if structure.name == "unstructured" and times == "real":
        times = "gaps"
    rng = np.random.default_rng(7)
    block = random_block(rng, times=times, n_clusters=60)
    effects = rng.normal(size=60)[block.clusters.codes]
    values = (effects + rng.normal(size=block.clusters.n_rows)) / np.sqrt(2)
    estimates = []
    for n_rows in (10_000, 7, 1):
        parts = cut(block, n_rows)
        assert len(parts) == {10_000: 1, 7: len(parts), 1: 60}[n_rows] and (n_rows == 10_000 or len(parts) > 10)
        layouts = [structure.layout(part, "n-p") for _, part in parts]
        products = structure.merge([structure.pair_products(x, values[r]) for x, (r, _) in zip(layouts, parts)])
        ones = np.ones_like(values)
        counts = structure.merge([structure.pair_products(x, ones[r]) for x, (r, _) in zip(layouts, parts)])
        raw = structure.estimate(layouts, products, counts, Moments(0.9, 2), structure.start(layouts))
        estimates.append(structure.repair(layouts, raw)[0])
    assert np.abs(np.asarray(estimates[0])).max() > 0.1
    np.testing.assert_allclose(estimates[1], estimates[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(estimates[2], estimates[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1", "unstructured"])
def test_fits_do_not_depend_on_blocks(structure, data, monkeypatch):
    def fit():
        est = GEERegressor(working_correlation=structure, dof="n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return est.fit(data.X, data.y, groups=data.groups, time=data.time, sample_weight=data.weights)

    whole = fit()
    monkeypatch.setattr("skdep.gee.rows._BLOCK_ROWS", 8)
    blocks = fit()
    np.testing.assert_allclose(blocks.coef_, whole.coef_, rtol=1e-10)
    np.testing.assert_allclose(blocks.covariance_, whole.covariance_, rtol=1e-9)
    np.testing.assert_allclose(blocks.association_, whole.association_, rtol=1e-9, atol=1e-12)
    assert blocks._criteria == pytest.approx(whole._criteria, rel=1e-10)


# ------------------------------------------------------------------------------------------------ repair


@pytest.mark.parametrize("alpha", [4.0, 1.2, 1.0, -1.0, -3.0])
def test_least_shrinkage(alpha):
    """Two rows: the least eigenvalue is 1 - |alpha|."""
    structure = Unstructured()
    repaired, share = structure.repair([structure.layout(make_block([2, 2]), "n")], np.array([[1, alpha], [alpha, 1]]))
    np.testing.assert_allclose(repaired, np.eye(2) + np.sign(alpha) * (1 - REPAIRED_EIGENVALUE) * (1 - np.eye(2)))
    assert (1 - share) * abs(alpha) == pytest.approx(1 - REPAIRED_EIGENVALUE)


@pytest.mark.parametrize("alpha", [0.98, 0.0, -0.98])
def test_positive_definite_matrices_are_left_alone(alpha):
    structure = Unstructured()
    matrix = np.array([[1, alpha], [alpha, 1]])
    repaired, share = structure.repair([structure.layout(make_block([2, 2]), "n")], matrix)
    assert share == 0.0
    np.testing.assert_array_equal(repaired, matrix)


@pytest.mark.parametrize(
    ("alpha", "sizes", "bound"),
    [(1.7, [3, 2], 1.0), (1.0, [3, 2], 1.0), (-0.9, [3, 2], -0.5), (-0.26, [1, 5], -0.25), (-1.2, [2, 2], -1.0)],
)
def test_exchangeable_is_kept_inside_its_bounds(alpha, sizes, bound):
    structure = Exchangeable()
    layouts = [structure.layout(make_block([size]), "n") for size in sizes]
    repaired, share = structure.repair(layouts, alpha)
    assert repaired == pytest.approx(bound, rel=REPAIRED_EIGENVALUE + 1e-9) and abs(repaired) < abs(bound)
    assert repaired == pytest.approx((1 - share) * alpha)
    smallest = [np.linalg.eigvalsh(correlation_matrix("exchangeable", repaired, np.arange(n)))[0] for n in sizes]
    assert min(smallest) == pytest.approx(REPAIRED_EIGENVALUE, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.98, -0.24, 0.0])
def test_exchangeable_inside_its_bounds_is_left_alone(alpha):
    structure = Exchangeable()
    assert structure.repair([structure.layout(make_block([5, 1]), "n")], alpha) == (alpha, 0.0)


@pytest.mark.parametrize("alpha", [1e3, 1e9, 1e14, 1e30, -1e14, -1e30])
def test_exchangeable_estimate_far_outside_its_bounds_is_repaired(alpha):
    """A fixed scale in the wrong unit makes alpha as large as the outcome is."""
    structure = Exchangeable()
    layout = structure.layout(make_block([4, 2]), "n")
    repaired, share = structure.repair([layout], alpha)
    assert -1 / 3 < repaired < 1.0
    assert 0 < share <= 1
    assert np.isfinite(structure.whiten(layout, repaired, np.ones((6, 1)))).all()


def test_unstructured_repair_is_the_least_that_mends_every_pattern():
    structure = Unstructured()
    # times 0, 1, 2 never meet in one cluster, so that only pairs must be positive definite
    pairs_only = structure.layout(make_block([2, 2, 2], np.array([0.0, 1, 1, 2, 0, 2])), "n")
    bad = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    assert np.linalg.eigvalsh(bad)[0] < -0.5
    repaired, share = structure.repair([pairs_only], bad)
    assert share == 0.0
    np.testing.assert_array_equal(repaired, bad)
    triples = structure.layout(make_block([3, 2]), "n")
    repaired, share = structure.repair([triples], bad)
    assert np.linalg.eigvalsh(repaired)[0] == pytest.approx(REPAIRED_EIGENVALUE, rel=1e-6)
    np.testing.assert_allclose(repaired, (1 - share) * bad + share * np.eye(3), rtol=1e-12)
    np.testing.assert_array_equal(np.diag(repaired), 1.0)
    # patterns of other blocks count
    assert structure.repair([pairs_only, triples], bad)[1] == share


def test_unstructured_pair_above_one_is_repaired():
    structure = Unstructured()
    layout = structure.layout(make_block([2, 2]), "n")
    repaired, share = structure.repair([layout], np.array([[1.0, 1.4], [1.4, 1.0]]))
    assert repaired[0, 1] == pytest.approx(1.0 - REPAIRED_EIGENVALUE, abs=1e-9)
    assert share == pytest.approx((0.4 + REPAIRED_EIGENVALUE) / 1.4, rel=1e-9)


def test_unstructured_times_that_never_meet_have_correlation_zero():
    structure = Unstructured()
    layout = structure.layout(make_block([2, 2], np.array([0.0, 1, 0, 2])), "n")
    values = np.array([1.0, 0.5, -1.0, 0.5])
    products, counts = structure.pair_products(layout, values), structure.pair_products(layout, np.ones(4))
    estimate = structure.estimate([layout], products, counts, PAPER, 0.0)
    np.testing.assert_allclose(estimate, [[1, 0.5, -0.5], [0.5, 1, 0], [-0.5, 0, 1]])
    (message,) = structure.problems([layout], counts, PAPER, estimate)
    assert "1 of 3 pairs of times never occur" in message
    few = structure.problems([layout], counts, Moments(1.0, 1), estimate)
    assert "2 of 3 pairs of times occur in no more clusters than there are parameters" in few[1]
    # where nothing is left after subtraction the number of clusters itself divides
    np.testing.assert_allclose(structure.estimate([layout], products, counts, Moments(1.0, 1), 0.0), estimate)


def test_unstructured_with_too_many_times():
    time = np.arange(1002.0)
    with pytest.raises(ValueError, match=r"1002 distinct times.*Number the visits, or use 'ar1'"):
        Unstructured().layout(make_block([1002], time), "n")


# ------------------------------------------------------------------------------------------------ singletons


@pytest.mark.parametrize("structure", [Exchangeable(), AR1(), AR1("all"), Unstructured()], ids=repr)
@pytest.mark.parametrize("dof", ["n", "n-p"])
def test_clusters_of_one_row_have_no_correlation_to_estimate(structure, dof):
    """Weighted counts of pairs that are not there must not be rounding errors, by which a numerator is divided."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        block = make_block(np.ones(200 + seed, dtype=int))
        layout = structure.layout(block, dof)
        mass = rng.uniform(0.3, 3.0, 200 + seed)
        counts = structure.pair_products(layout, mass)
        products = structure.pair_products(layout, mass * rng.normal(size=200 + seed))
        estimate = structure.estimate([layout], products, counts, PAPER, structure.start([layout]))
        off_diagonal = np.asarray(estimate) - (np.eye(1) if np.ndim(estimate) else 0.0)
        np.testing.assert_array_equal(off_diagonal, np.zeros_like(off_diagonal))


# ------------------------------------------------------------------------------------------------ AR(1) moments


def solve_ar1(lags, counts, sums, previous=0.0):
    return ar1._solve_moment_equation(*(np.asarray(x, dtype=float) for x in (lags, counts, sums)), previous)


@pytest.mark.parametrize("lags", [[1, 2, 3], [1, 2, 5, 9], [0.5, 1.3, 2.2], [7, 14, 21], [2, 4], [1, 30]], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_ar1_solution_is_the_global_minimum_and_stationary(lags, seed):
    rng = np.random.default_rng(seed)
    lags = np.array(lags, dtype=float)
    counts = rng.integers(5, 50, len(lags)).astype(float)
    truth = rng.uniform(0.2, 0.9)
    sums = counts * (truth**lags + 0.2 * rng.normal(size=len(lags)))
    alpha = solve_ar1(lags, counts, sums)
    whole = np.all(lags == np.round(lags)) and np.any(lags % 2 == 1)
    grid = np.linspace(-0.999999 if whole else 0.0, 0.999999, 20_001)

    def objective(a):
        a = np.atleast_1d(a)[:, None]
        rho = np.abs(a) ** lags * np.where((a < 0) & (lags % 2 == 1), -1.0, 1.0)
        return np.sum(0.5 * counts * rho**2 - sums * rho, axis=1)

    best = objective(alpha)[0]
    assert best <= objective(grid).min() + 1e-9 * counts.sum()
    inside = grid[0] + 1e-3 < alpha < 0.9999 and abs(alpha) > 1e-3
    if inside:  # central difference of the objective
        h = 1e-6
        slope = (objective(alpha + h) - objective(alpha - h))[0] / (2 * h)
        assert abs(slope) < 1e-6 * counts.sum() * lags.max()


@pytest.mark.parametrize("alpha", [-0.95, -0.6, -0.1, 0.05, 0.6, 0.97])
@pytest.mark.parametrize("lags", [[1], [1, 2, 3, 4], [1, 3, 7], [7, 14], [3, 5]], ids=str)
def test_ar1_recovers_a_correlation_of_either_sign(alpha, lags):
    lags = np.array(lags, dtype=float)
    counts = np.full(len(lags), 10.0)
    rho = correlation_matrix("ar1", alpha, np.array([0.0, *lags]))[0, 1:]
    assert solve_ar1(lags, counts, counts * rho) == pytest.approx(alpha, rel=1e-9)


def test_ar1_even_or_fractional_lags_have_no_negative_alpha():
    assert solve_ar1([2, 4], [10, 10], [-5, 2]) >= 0.0
    assert solve_ar1([0.5, 1.0], [10, 10], [-5, -2]) == 0.0


def test_ar1_says_when_the_bound_is_met():
    structure = AR1()
    block = make_block([2, 2, 2], np.array([0, 0.5, 0, 0.5, 0, 0.5]))
    layout = structure.layout(block, "n")
    values = np.array([1.0, -1, 1, -1, 1, -1])
    counts = structure.pair_products(layout, np.ones(6))
    estimate = structure.estimate([layout], structure.pair_products(layout, values), counts, PAPER, 0.0)
    assert estimate == 0.0
    (message,) = structure.problems([layout], counts, PAPER, estimate)
    assert "may be negative" in message and "shortest gap" in message
    assert structure.problems([layout], counts, PAPER, 0.1) == []


@pytest.mark.parametrize("gap", [0.1, 1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("product", [1.0, -1.0])
def test_ar1_one_pair_that_is_close_in_time_does_not_decide(gap, product):
    """Ten thousand pairs a day or more apart against one of seconds, as in data with time stamps."""
    lags = np.array([gap, 1.0, 2.0, 5.0, 10.0, 40.0])
    counts = np.array([1.0, 2e3, 2e3, 2e3, 2e3, 2e3])
    sums = counts * 0.9**lags
    sums[0] = product
    alpha = solve_ar1(lags, counts, sums)
    assert alpha == pytest.approx(0.9, abs=0.01)
    assert alpha == pytest.approx(ar1_moment_alpha(lags, sums, counts, lower=0.0), abs=1e-6)


def test_ar1_correction_is_pairs_over_pairs_less_parameters():
    """SAS: sum of neighbours' products / [phi (pairs - p)], if neighbours are all one unit apart."""
    block = make_block([4, 3, 5])
    rng = np.random.default_rng(0)
    values = rng.normal(size=12)
    structure = AR1()
    layout = structure.layout(block, "n-p")
    counts = structure.pair_products(layout, np.ones(12))
    found = structure.estimate([layout], structure.pair_products(layout, values), counts, Moments(2.5, 2), 0.0)
    total = sum(product for _, product in brute_pairs(block, values, neighbours=True))
    assert found == pytest.approx(total / (2.5 * (9 - 2)), rel=1e-12)


@pytest.mark.parametrize("unit", [7.0, 1 / 7, 86400.0, 1 / 24])
@pytest.mark.parametrize("pairs", ["neighbours", "all"])
@pytest.mark.parametrize("spacing", ["gaps", "real"])
def test_ar1_does_not_depend_on_the_unit_of_time(data, unit, pairs, spacing):
    time = data.time if spacing == "gaps" else data.time + np.random.default_rng(1).uniform(0, 0.5, len(data.time))
    params = {"working_correlation": AR1(pairs), "tol": 1e-12}
    days = GEERegressor(**params).fit(data.X, data.y, groups=data.groups, time=time)
    other = GEERegressor(**params).fit(data.X, data.y, groups=data.groups, time=unit * time)
    assert 0.1 < days.association_ < 0.9
    assert other.association_ == pytest.approx(days.association_ ** (1 / unit), rel=1e-7)
    np.testing.assert_allclose(other.coef_, days.coef_, rtol=1e-8)
    np.testing.assert_allclose(other.covariance_, days.covariance_, rtol=1e-7)


def test_ar1_alpha_too_small_for_a_number(data):
    """Minutes counted in thousands: 0.2 a minute is 1e-699 a thousand minutes, no number at all."""
    minutes = GEERegressor(working_correlation="ar1").fit(data.X, data.y, groups=data.groups, time=data.time)
    assert minutes.association_ > 0.1
    with pytest.warns(WorkingCorrelationWarning, match="easure time in"):
        est = GEERegressor(working_correlation="ar1").fit(data.X, data.y, groups=data.groups, time=data.time / 1000)
    assert est.association_ == 0.0


@pytest.mark.parametrize("unit", [1e9, 8.64e13])
def test_ar1_in_nanoseconds(data, unit):
    """Epoch nanoseconds, what a cast of dates to integers gives: alpha a nanosecond differs from 1 by rounding only."""
    days = GEERegressor(working_correlation="ar1").fit(data.X, data.y, groups=data.groups, time=data.time)
    other = GEERegressor(working_correlation="ar1").fit(data.X, data.y, groups=data.groups, time=unit * data.time)
    np.testing.assert_allclose(other.coef_, days.coef_, rtol=1e-6)
    np.testing.assert_allclose(other.covariance_, days.covariance_, rtol=1e-5)


def test_ar1_negative_in_weeks_counted_in_days():
    rng = np.random.default_rng(8)
    n_clusters, size = 150, 5
    root = np.linalg.cholesky(correlation_matrix("ar1", -0.6, np.arange(size)))
    y = (rng.normal(size=(n_clusters, size)) @ root.T).ravel()
    X = rng.normal(size=(len(y), 1))
    groups, week = np.repeat(np.arange(n_clusters), size), np.tile(np.arange(size), n_clusters)
    weeks = GEERegressor(working_correlation="ar1").fit(X, y, groups=groups, time=week)
    assert weeks.association_ == pytest.approx(-0.6, abs=0.05)
    days = GEERegressor(working_correlation="ar1").fit(X, y, groups=groups, time=7 * week)
    assert days.association_ == pytest.approx(-(abs(weeks.association_) ** (1 / 7)), rel=1e-9)
    np.testing.assert_allclose(days.covariance_, weeks.covariance_, rtol=1e-8)


# ------------------------------------------------------------------------------------------------ a user's structure


@dataclass(frozen=True)
class StationaryTwoDependent(WorkingCorrelation):
    """Correlations of rows one and two places apart, written without care for speed; the test of the protocol."""

    name = "stationary_2_dependent"
    needs_time = True

    def layout(self, block, dof):
        return clusters_of(block)

    def pair_products(self, layout, values):
        return np.array([sum(values[rows[:-k]] @ values[rows[k:]] for rows in layout) for k in (1, 2)])

    def start(self, layouts):
        return np.zeros(2)

    def estimate(self, layouts, products, counts, moments, previous):
        return products / (moments.scale * (counts - moments.n_params))

    def whiten(self, layout, association, values):
        result = np.empty_like(values)
        for rows in layout:
            n = len(rows)
            matrix = np.eye(n) + sum(a * (np.eye(n, k=k) + np.eye(n, k=-k)) for k, a in zip((1, 2), association))
            result[rows] = np.linalg.solve(np.linalg.cholesky(matrix), values[rows])
        return result


def test_structure_of_ones_own_reproduces_r(gee_reference):
    """R package gee, stationary M-dependent with M = 2, on clusters of equal size."""
    entry = gee_reference["epil_mdep2_gee"]
    frame = load_epil().frame
    X = np.column_stack([frame["trt"] == "progabide", np.log(frame["base"] / 4), np.log(frame["age"])]).astype(float)
    est = GEERegressor("poisson", working_correlation=StationaryTwoDependent(), dof="n")
    est.fit(X, frame["y"], groups=frame["subject"], time=frame["period"])
    robust = np.array(entry["robust_se"])
    expected = list(entry["coef"].values())
    np.testing.assert_array_less(np.abs(np.array([est.intercept_, *est.coef_]) - expected), 1e-6 * robust)
    np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), robust, rtol=1e-6)
    np.testing.assert_allclose(est.association_, np.array(entry["alpha"])[0, 1:3], rtol=1e-6)
    assert est.scale_ * 236 / 232 == pytest.approx(entry["phi"], rel=1e-7)
    assert "stationary_2_dependent" in str(est.summary())


def test_unfinished_structure_says_so(data):
    class Unfinished(WorkingCorrelation):
        pass

    with pytest.raises(NotImplementedError):
        GEERegressor(working_correlation=Unfinished()).fit(data.X, data.y, groups=data.groups)


# ------------------------------------------------------------------------------------------------ registry


def test_names_of_the_contract():
    assert set(WORKING_CORRELATIONS) == {
        "independence", "exchangeable", "ar1", "unstructured", "m_dependent", "toeplitz", "nested", "fixed",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(WORKING_CORRELATIONS) - {"fixed"}))
def test_names(name):
    structure = get_working_correlation(name)
    assert structure.name == name
    assert get_working_correlation(structure) is structure
    assert structure == type(structure)()


def test_unknown_name():
    with pytest.raises(ValueError, match=r"'ar2' is not available; choose one of \['ar1', 'exchangeable'"):
        get_working_correlation("ar2")
