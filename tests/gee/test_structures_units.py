"""m-dependent, Toeplitz, nested, fixed and user-defined structures in parts, against explicit matrices and pairs."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pytest

from skdep import GEERegressor
from skdep.clusters import Clusters
from skdep.gee.working_correlation import (
    AR1,
    Block,
    Exchangeable,
    Fixed,
    MDependent,
    Moments,
    Nested,
    ParametricCorrelation,
    Toeplitz,
    Unstructured,
    pairs,
    stationary,
)

from .dense import REPAIRED_EIGENVALUE, correlation_matrix, shared_levels

PAPER = Moments(scale=1.0, n_params=0)


class Power(ParametricCorrelation):
    """alpha^|t_j - t_k|, as a user would write it."""

    name = "power"
    initial = (0.5,)
    bounds = ((0.0, 0.999),)

    def correlation(self, times, alpha):
        return alpha[0] ** np.abs(np.subtract.outer(times, times))


def make_block(sizes, time=None, units=None) -> Block:
    """Return clusters of these sizes, at times 0, 1, 2, ... by default; units (n_rows, levels) are subclusters."""
    sizes = np.asarray(sizes)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    time = np.concatenate([np.arange(size, dtype=float) for size in sizes]) if time is None else np.asarray(time)
    waves, wave = np.unique(time, return_inverse=True)
    nested = () if units is None else tuple(in_order(column) for column in np.asarray(units).T)
    return Block(in_order(codes), time, wave, len(waves), times=waves, subclusters=nested)


def in_order(codes) -> Clusters:
    return Clusters.from_codes(codes, np.arange(codes.max() + 1))


def random_block(rng, *, gaps=True, n_clusters=30, most=6, levels=0) -> Block:
    sizes = rng.integers(1, most + 1, n_clusters)
    time = None
    if gaps:
        time = np.concatenate([np.sort(rng.choice(most + 3, size, replace=False)) for size in sizes]).astype(float)
    codes = np.repeat(np.arange(n_clusters), sizes)
    units = []
    for _ in range(levels):
        _, codes = np.unique(codes * 3 + rng.integers(0, 3, len(codes)), return_inverse=True)
        units.append(codes)
    if not levels:
        return make_block(sizes, time)
    order = np.argsort(codes, kind="stable")
    return make_block(sizes, None, np.column_stack(units)[order])


def clusters_of(block):
    return [np.arange(start, start + size) for start, size in zip(block.clusters.starts, block.clusters.sizes)]


def units_of(block):
    return np.array([level.codes for level in block.subclusters]).reshape(-1, block.clusters.n_rows).T


def assert_whitens(structure, block, association, *, name=None, alpha=None, rtol=1e-9):
    """Compare with the explicit matrix of every cluster."""
    rng = np.random.default_rng(9)
    values = rng.normal(size=(block.clusters.n_rows, 3))
    before = values.copy()
    white = structure.whiten(structure.layout(block, "n"), association, values)
    np.testing.assert_array_equal(values, before)
    units, all_times = units_of(block), block.times
    for rows in clusters_of(block):
        alpha = association if alpha is None else alpha
        matrix = correlation_matrix(name or structure.name, alpha, block.time[rows], all_times, units[rows])
        expected = values[rows].T @ np.linalg.solve(matrix, values[rows])
        atol = rtol * np.abs(expected).max()
        np.testing.assert_allclose(white[rows].T @ white[rows], expected, rtol=rtol, atol=atol)


# ------------------------------------------------------------------------------------------------ whitening


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("alpha", [[0.0], [0.45], [-0.4], [0.5, 0.3], [0.2, -0.3, 0.1], [0.1] * 12])
@pytest.mark.parametrize("band", [False, True])
def test_m_dependent_whitening(alpha, seed, gaps, band, monkeypatch):
    monkeypatch.setattr(stationary, "_PATTERN_OPERATIONS", 0.0 if band else np.inf)
    structure = MDependent(m=len(alpha))
    block = random_block(np.random.default_rng(seed), gaps=gaps)
    assert (structure.layout(block, "n").band is not None) == band
    assert_whitens(structure, block, np.array(alpha))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("band", [False, True])
def test_toeplitz_whitening(gaps, band, monkeypatch):
    monkeypatch.setattr(stationary, "_PATTERN_OPERATIONS", 0.0 if band else np.inf)
    block = random_block(np.random.default_rng(3), gaps=gaps)
    assert_whitens(Toeplitz(), block, 0.6 ** np.arange(1, 9))


def test_long_clusters_are_a_band():
    """Ten thousand rows of one cluster, where a matrix would have a hundred million entries."""
    n_rows = 10_000
    block = make_block([n_rows])
    structure = MDependent(m=1)
    layout = structure.layout(block, "n")
    assert layout.band is not None
    values = np.random.default_rng(0).normal(size=(n_rows, 1))
    white = structure.whiten(layout, np.array([0.3]), values)
    # pivots of the tridiagonal matrix, by recursion
    pivot, last, expected = 1.0, values[0, 0], values[0, 0] ** 2
    for value in values[1:, 0]:
        factor = 0.3 / pivot
        pivot, last = 1.0 - 0.3 * factor, value - factor * last
        expected += last**2 / pivot
    assert float(np.sum(white**2)) == pytest.approx(expected, rel=1e-12)


NESTED = [
    [0.0, 0.0], [0.2, 0.5], [0.3, 0.3], [-0.05, 0.4], [0.3, 0.1], [0.5, 0.28], [0.1, -0.1],
    [0.1, 0.2, 0.5], [0.3, 0.1, 0.4], [0.43, 0.58, 0.29], [0.32, 0.59, 0.55, 0.2], [0.2, 0.3, 0.1, 0.2],
]  # fmt: skip


@pytest.mark.parametrize("alpha", NESTED, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_nested_whitening(alpha, seed):
    """Also where units of a level are indefinite by themselves: correlation within them is below that between."""
    block = random_block(np.random.default_rng(seed), levels=len(alpha) - 1)
    structure = Nested()
    association, _ = structure.repair([structure.layout(block, "n")], np.array(alpha))
    assert_whitens(structure, block, association)


@pytest.mark.parametrize(("alpha", "sizes"), [([0.5, 0.25], [3, 1, 2]), ([0.6, 0.2], [2, 1]), ([0.6, 0.2], [2])])
def test_nested_where_a_unit_is_singular_by_itself(alpha, sizes):
    """1 - 0.25 - 0.25 * 3 = 0: only the other units make the matrix definite."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    block = make_block([sum(sizes)], None, units[:, None])
    assert_whitens(Nested(), block, np.array(alpha), rtol=1e-6)


def test_nested_with_alone_subclusters_is_exchangeable():
    rng = np.random.default_rng(1)
    codes = np.repeat(np.arange(10), rng.integers(1, 9, 10))
    block = make_block(np.bincount(codes), None, np.column_stack([codes, codes]))
    # correlations of pairs that do not occur play no part, whatever they are
    assert_whitens(Nested(), block, np.array([0.9, -0.3, 0.4]), name="exchangeable", alpha=0.4)


def test_nested_of_a_hundred_thousand_rows_in_one_cluster():
    n_rows = 100_000
    rng = np.random.default_rng(2)
    ward = np.sort(rng.integers(0, 40, n_rows))
    block = make_block([n_rows], np.arange(n_rows), ward[:, None])
    structure = Nested()
    layout = structure.layout(block, "n")
    z = rng.normal(size=n_rows)
    white = structure.whiten(layout, np.array([0.1, 0.3]), z[:, None])
    # R^(-1) of the module in closed form
    sizes, sums = np.bincount(ward), np.bincount(ward, weights=z)
    within, step = 0.7, 0.2
    b = 1.0 / (within + sizes * step)
    form = z @ z / within - np.sum(step * b / within * sums**2) - 0.1 * np.sum(b * sums) ** 2 / (1 + 0.1 * b @ sizes)
    assert float(np.sum(white**2)) == pytest.approx(form, rel=1e-11)


@pytest.mark.parametrize("gaps", [False, True])
def test_fixed_and_user_whitening(gaps):
    rng = np.random.default_rng(4)
    block = random_block(rng, gaps=gaps)
    root = rng.normal(size=(block.n_waves, block.n_waves + 3))
    covariance = root @ root.T
    matrix = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert_whitens(Fixed(matrix), block, matrix, name="unstructured")
    structure = Power()
    layout = structure.layout(block, "n")
    values = np.ones(block.clusters.n_rows)
    products = structure.pair_products(layout, values)
    association = structure.estimate([layout], 0.6 * products, products, PAPER, structure.start([layout]))
    assert_whitens(structure, block, association, name="ar1", alpha=structure.report([layout], association))


# ------------------------------------------------------------------------------------------------ pairs


def brute_pairs(block, values):
    """Return (lag, shared levels, cluster, product) of each pair of rows of a cluster."""
    units, found = units_of(block), []
    for number, rows in enumerate(clusters_of(block)):
        for j, k in combinations(rows, 2):
            lag = block.time[k] - block.time[j]
            found.append((lag, shared_levels(units[j], units[k]), number, values[j] * values[k]))
    return found


@pytest.mark.parametrize("kind", ["grid", "transform", "list"])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("m", [1, 3, 20])
def test_products_by_lag(kind, gaps, m, monkeypatch):
    monkeypatch.setattr(pairs, "_SPARSEST_GRID", 0 if kind == "list" else 16)
    monkeypatch.setattr(pairs, "_MOST_SHIFTS", 0 if kind == "transform" else 16)
    rng = np.random.default_rng(5)
    block = random_block(rng, gaps=gaps)
    values = rng.normal(size=block.clusters.n_rows)
    structure = MDependent(m=m)
    layout = structure.layout(block, "n")
    assert isinstance(layout.pairs, pairs.ListedPairs if kind == "list" else pairs.GridPairs)
    expected = np.zeros(m)
    for lag, _, _, product in brute_pairs(block, values):
        if lag <= m:
            expected[round(lag) - 1] += product
    np.testing.assert_allclose(structure.pair_products(layout, values), expected, atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_products_by_level(levels):
    rng = np.random.default_rng(6)
    block = random_block(rng, levels=levels)
    values = rng.normal(size=block.clusters.n_rows)
    structure = Nested()
    expected = np.zeros(levels + 1)
    for _, shared, _, product in brute_pairs(block, values):
        expected[shared] += product
    np.testing.assert_allclose(structure.pair_products(structure.layout(block, "n"), values), expected, atol=1e-11)


CASES = [
    pytest.param(Exchangeable(), 0, id="exchangeable"),
    pytest.param(AR1("all"), 0, id="ar1 all"),
    pytest.param(AR1("neighbours"), 0, id="ar1 neighbours"),
    pytest.param(Unstructured(), 0, id="unstructured"),
    pytest.param(MDependent(m=2), 0, id="m_dependent"),
    pytest.param(Toeplitz(), 0, id="toeplitz"),
    pytest.param(Nested(), 2, id="nested"),
    pytest.param(Power(), 0, id="user"),
]


@pytest.mark.parametrize(("structure", "levels"), CASES)
@pytest.mark.parametrize("kind", ["grid", "transform", "list"])
def test_sums_over_clusters_and_forms_agree_with_products(structure, levels, kind, monkeypatch):
    """Of a cluster alone the sums are its products; a form is what a change of the values adds to first order."""
    monkeypatch.setattr(pairs, "_SPARSEST_GRID", 0 if kind == "list" else 16)
    monkeypatch.setattr(pairs, "_MOST_SHIFTS", 0 if kind == "transform" else 16)
    rng = np.random.default_rng(7)
    block = random_block(rng, levels=levels, n_clusters=12)
    layout = structure.layout(block, "n")
    values, columns = rng.normal(size=block.clusters.n_rows), rng.normal(size=(block.clusters.n_rows, 2))

    def by_class(v):
        products = structure.pair_products(layout, v)
        return products[np.triu_indices(len(products), 1)] if products.ndim == 2 else products

    n_classes = len(by_class(values))
    single, several = rng.normal(size=n_classes), rng.normal(size=(n_classes, 3))
    for coefficients, combine in ((single, lambda s: single * s), (several, lambda s: s @ several)):
        if coefficients is several and structure.name in ("exchangeable", "nested", "m_dependent", "toeplitz"):
            continue  # each class has a parameter of its own there
        sums = structure.cluster_products(layout, values, coefficients)
        for number, rows in enumerate(clusters_of(block)):
            alone = np.zeros_like(values)
            alone[rows] = values[rows]
            np.testing.assert_allclose(sums[number], combine(by_class(alone)), atol=1e-11)
        forms = structure.pair_forms(layout, values, columns, coefficients)
        for number, column in enumerate(columns.T):
            change = by_class(values + column) - by_class(values) - by_class(column)
            np.testing.assert_allclose(forms[:, number], combine(change), atol=1e-11)


@pytest.mark.parametrize(("structure", "levels"), CASES)
def test_correlations_of_pairs_are_those_of_whitening(structure, levels):
    rng = np.random.default_rng(8)
    block = random_block(rng, levels=levels, n_clusters=12)
    layout = structure.layout(block, "n")
    effects = rng.normal(size=12)[block.clusters.codes]
    products, counts = (
        structure.pair_products(layout, v)
        for v in (effects + rng.normal(size=len(effects)), np.sqrt(2.0) * np.ones(len(effects)))
    )
    association = structure.estimate([layout], products, counts, PAPER, structure.start([layout]))
    association, _ = structure.repair([layout], association)
    white = structure.whiten(layout, association, np.eye(len(effects)))
    matrix = np.linalg.inv(white.T @ white)
    earlier, later = np.array([p for rows in clusters_of(block) for p in combinations(rows, 2)]).T
    np.testing.assert_allclose(
        structure.correlations(layout, association, earlier, later), matrix[earlier, later], atol=1e-9
    )


# ------------------------------------------------------------------------------------------------ blocks


def cut(block: Block, n_rows: int) -> list[tuple[slice, Block]]:
    found = []
    for rows, clusters in block.clusters.blocks(n_rows):
        levels = [in_order(level.codes[rows] - level.codes[rows.start]) for level in block.subclusters]
        part = Block(clusters, block.time[rows], block.wave[rows], block.n_waves, times=block.times,
                     subclusters=tuple(levels))  # fmt: skip
        found.append((rows, part))
    return found


@pytest.mark.parametrize(("structure", "levels"), CASES[4:])
def test_estimates_of_blocks_are_those_of_the_whole(structure, levels):
    rng = np.random.default_rng(10)
    block = random_block(rng, levels=levels, n_clusters=60)
    values = rng.normal(size=60)[block.clusters.codes] + rng.normal(size=block.clusters.n_rows)
    estimates = []
    for n_rows in (10_000, 7, 1):
        parts = cut(block, n_rows)
        assert len(parts) == {10_000: 1, 7: len(parts), 1: 60}[n_rows] and (n_rows == 10_000 or len(parts) > 10)
        layouts = [structure.layout(part, "n-p") for _, part in parts]
        products, counts = (
            structure.merge([structure.pair_products(x, v[rows]) for x, (rows, _) in zip(layouts, parts)])
            for v in (values, np.ones_like(values))
        )
        raw = structure.estimate(layouts, products, counts, Moments(0.9, 2), structure.start(layouts))
        estimates.append(structure.report(layouts, structure.repair(layouts, raw)[0]))
    assert np.abs(np.asarray(estimates[0])).max() > 0.1
    np.testing.assert_allclose(estimates[1], estimates[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(estimates[2], estimates[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("structure", ["m_dependent", "toeplitz", "nested", Power()], ids=str)
def test_fits_do_not_depend_on_blocks_and_row_order(structure, data, monkeypatch):
    ward = np.random.default_rng(0).integers(0, 2, len(data.y))
    groups = np.column_stack([data.groups, ward]) if structure == "nested" else data.groups

    def fit(order):
        est = GEERegressor(working_correlation=structure, dof="n", tol=1e-11)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = {"groups": groups[order], "time": data.time[order], "sample_weight": data.weights[order]}
            return est.fit(data.X[order], data.y[order], **given)

    whole = fit(np.arange(len(data.y)))
    monkeypatch.setattr("skdep.gee.rows._BLOCK_ROWS", 8)
    blocks = fit(np.random.default_rng(1).permutation(len(data.y)))
    np.testing.assert_allclose(blocks.coef_, whole.coef_, rtol=1e-8)
    np.testing.assert_allclose(blocks.covariance_, whole.covariance_, rtol=1e-7)
    np.testing.assert_allclose(blocks.association_, whole.association_, rtol=1e-7, atol=1e-12)


# ------------------------------------------------------------------------------------------------ repair


@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize("alpha", [[0.9], [-0.7], [2.0, 1.0], [0.6, -0.4, 0.5]])
def test_repair_of_lags_is_the_least_that_mends_every_cluster(alpha, band, monkeypatch):
    monkeypatch.setattr(stationary, "_PATTERN_OPERATIONS", 0.0 if band else np.inf)
    structure = MDependent(m=len(alpha))
    block = random_block(np.random.default_rng(11))
    matrices = [correlation_matrix("m_dependent", np.array(alpha), block.time[rows]) for rows in clusters_of(block)]
    smallest = min(np.linalg.eigvalsh(R)[0] for R in matrices)
    layouts = [structure.layout(part, "n") for _, part in cut(block, 20)]
    repaired, share = structure.repair(layouts, np.array(alpha))
    assert smallest < 0
    assert share == pytest.approx((REPAIRED_EIGENVALUE - smallest) / (1.0 - smallest), rel=1e-9)
    np.testing.assert_allclose(repaired, (1.0 - share) * np.array(alpha))


@pytest.mark.parametrize("alpha", [*NESTED, [0.9, 1.2], [0.95, 0.2], [-0.4, -0.3], [0.1, 0.9, -0.6]], ids=str)
@pytest.mark.parametrize("factor", [1.0, 1.7])
def test_repair_of_nested_correlations_is_the_least_that_mends_every_cluster(alpha, factor):
    """Whether or not the levels further in are positive definite by themselves."""
    structure, alpha = Nested(), factor * np.array(alpha)
    block = random_block(np.random.default_rng(12), levels=len(alpha) - 1)
    units = units_of(block)
    matrices = [correlation_matrix("nested", alpha, block.time[rows], None, units[rows]) for rows in clusters_of(block)]
    smallest = min(np.linalg.eigvalsh(R)[0] for R in matrices)
    repaired, share = structure.repair([structure.layout(part, "n") for _, part in cut(block, 20)], alpha)
    expected = 0.0 if smallest >= 1e-6 else (REPAIRED_EIGENVALUE - smallest) / (1.0 - smallest)
    assert share == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(repaired, (1.0 - share) * alpha)


def test_repair_of_a_users_matrix():
    class TooMuch(Power):
        bounds = None

        def correlation(self, times, alpha):
            return np.where(np.eye(len(times)) == 1.0, 1.0, alpha[0])

    structure = TooMuch()
    layout = structure.layout(make_block([3, 3]), "n")
    counts = structure.pair_products(layout, np.ones(6))
    association = structure.estimate([layout], 1.5 * counts, counts, PAPER, structure.start([layout]))
    assert structure.report([layout], association) == pytest.approx(1.5)
    repaired, share = structure.repair([layout], association)
    assert share == pytest.approx((0.5 + REPAIRED_EIGENVALUE) / 1.5)
    assert structure.correlations(layout, repaired, np.array([0]), np.array([1]))[0] == pytest.approx(0.99)


@pytest.mark.parametrize("structure", [MDependent(), MDependent(m=3), Toeplitz(), Nested(), Power()], ids=repr)
@pytest.mark.parametrize("dof", ["n", "n-p"])
def test_clusters_of_one_row_have_no_correlation_to_estimate(structure, dof):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n_rows = 200 + seed
        block = make_block(np.ones(n_rows, dtype=int), None, np.arange(n_rows)[:, None])
        layout = structure.layout(block, dof)
        mass = rng.uniform(0.3, 3.0, n_rows)
        counts = structure.pair_products(layout, mass)
        products = structure.pair_products(layout, mass * rng.normal(size=n_rows))
        estimate = structure.estimate([layout], products, counts, PAPER, structure.start([layout]))
        values = rng.normal(size=(n_rows, 2))
        np.testing.assert_array_equal(structure.whiten(layout, estimate, values), values)


@pytest.mark.parametrize("structure", ["m_dependent", "toeplitz", "nested", Power()], ids=str)
def test_fit_without_groups(structure, data):
    est = GEERegressor(working_correlation=structure).fit(data.X, data.y, time=data.time)
    expected = GEERegressor().fit(data.X, data.y)
    np.testing.assert_allclose(est.coef_, expected.coef_, rtol=1e-10)
