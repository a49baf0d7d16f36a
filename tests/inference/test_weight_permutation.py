"""The permutation test: its statistic against the definition for every deal, its level, and what it depends on."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skdep import GEERegressor, LogitRegressor
from skdep.inference._weight_permutation import PermutationData, _RowWeights, _UnitWeights, permutation_test
from skdep.inference.weight_diagnostics import weight_diagnostics
from skdep.survey import survey_design, variance_of_total


def rows_of(sizes, n_strata=1, seed=0):
    rng = np.random.default_rng(seed)
    n_units = len(sizes)
    units = np.repeat(np.arange(n_units), sizes)
    n = len(units)
    columns = np.column_stack([np.ones(n), rng.normal(size=n)])
    moved = columns * rng.uniform(0.5, 1.5, n)[:, None]
    strata = (np.arange(n_units) * n_strata // n_units)[units]
    weights = np.exp(rng.normal(size=n_units))[units]
    return PermutationData(weights, columns, moved, columns * rng.normal(size=n)[:, None], units, strata)


def by_definition(data, weights):
    """Return T^2 of some weights."""
    J = data.columns.T @ data.moved
    J = 0.5 * (J + J.T)
    added = data.columns * weights[:, None]
    residual = data.scores[:, 0]  # the first column is constant
    z = (added - data.columns @ np.linalg.solve(J, data.moved.T @ added)) * residual[:, None]
    design = survey_design(len(weights), groups=data.units, strata=data.strata)
    total = z.sum(axis=0)
    return total @ np.linalg.solve(variance_of_total(z, design), total)


def symmetric(data):
    """Return the same with an information that is symmetric, as it is in a fit."""
    moved = data.columns * np.abs(data.moved[:, :1])
    return PermutationData(data.weights, data.columns, moved, data.scores, data.units, data.strata)


@pytest.mark.parametrize(("sizes", "n_strata"), [([1] * 6, 1), ([1, 3, 2, 4, 2, 1], 1), ([2, 3, 1, 2, 4, 2, 3, 1], 2)])
def test_every_deal_of_unit_weights(sizes, n_strata):
    data = symmetric(rows_of(sizes, n_strata))
    statistics = _UnitWeights(data)
    by_unit = data.weights[np.unique(data.units, return_index=True)[1]]
    deals = np.array([by_unit[list(order)] for order in list(permutations(range(len(sizes))))[:300]])
    centred = (deals - by_unit.mean()) / by_unit.std()
    expected = [by_definition(data, deal[data.units]) for deal in deals]
    assert_allclose(statistics.of(centred), expected, rtol=1e-7)


@pytest.mark.parametrize("n_strata", [1, 2])
def test_row_weights_and_unit_weights_agree(n_strata):
    data = symmetric(rows_of([2, 3, 1, 2, 4, 2, 3, 1], n_strata, seed=1))
    rows, units = _RowWeights(data), _UnitWeights(data)
    assert_allclose(rows.of(data.weights[None]), units.of(units.given[None]), rtol=1e-9)
    varied = data.weights * np.random.default_rng(0).uniform(0.5, 2.0, len(data.weights))
    assert_allclose(rows.of(varied[None]), by_definition(data, varied), rtol=1e-8)


def test_deals_keep_weights_in_their_stratum_and_unit():
    data = symmetric(rows_of([2, 3, 1, 2, 4, 2, 3, 1], 2, seed=2))
    rng = np.random.default_rng(0)
    (units,) = _UnitWeights(data).dealt(50, rng)
    first = np.unique(data.units, return_index=True)[1]
    stratum = data.strata[first]
    given = _UnitWeights(data).given
    for h in (0, 1):
        assert_allclose(np.sort(units[:, stratum == h], axis=1), np.tile(np.sort(given[stratum == h]), (50, 1)))
    assert len(np.unique(units.round(9), axis=0)) > 40
    varied = PermutationData(
        data.weights * rng.uniform(0.5, 2.0, len(data.weights)), *(getattr(data, name) for name in NAMES)
    )
    statistics = _RowWeights(varied)
    (rows,) = statistics.dealt(50, rng)
    means = np.add.reduceat(rows, first, axis=1) / np.bincount(data.units)
    for h in (0, 1):
        expected = np.sort(statistics.means[stratum == h])
        assert_allclose(np.sort(means[:, stratum == h], axis=1), np.tile(expected, (50, 1)))


NAMES = ("columns", "moved", "scores", "units", "strata")


def test_p_value_is_the_share_of_deals():
    """With six units all 720 deals can be counted."""
    data = symmetric(rows_of([1] * 6, seed=4))
    by_unit = data.weights
    everything = np.array([by_definition(data, by_unit[list(order)]) for order in permutations(range(6))])
    observed, p_value = permutation_test(data, 4999, 0)
    assert_allclose(observed, by_definition(data, by_unit), rtol=1e-8)
    share = np.mean(everything >= observed * (1 - 1e-9))
    assert abs(p_value - share) < 4 * np.sqrt(share * (1 - share) / 5000) + 2e-4


def test_statistic_is_that_of_the_deciding_test():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(90, 2))
    y = (X[:, 0] + rng.logistic(size=90) > 0).astype(int)
    groups, strata = np.arange(90) // 3, np.arange(90) // 30
    for weights in (np.exp(rng.normal(size=90)), np.exp(rng.normal(size=30))[groups]):
        result = weight_diagnostics(
            LogitRegressor(), X, y, sample_weight=weights, groups=groups, strata=strata, trim=()
        )
        row, freedom = result.tests.loc["hausman-pfeffermann"], result.design.degf
        t_squared = row["statistic"] * freedom * row["df"] / row["df_denominator"]
        assert_allclose(result.tests.loc["permutation", "statistic"], t_squared, rtol=1e-8)


def test_any_order_of_rows_has_the_same_p_value():
    data = symmetric(rows_of([2, 3, 1, 2, 4, 2, 3, 1], 2, seed=6))
    weights = data.weights * np.random.default_rng(1).uniform(0.5, 2.0, len(data.weights))
    order = np.random.default_rng(2).permutation(len(weights))
    labels = np.array([5, 2, 7, 0, 3, 1, 6, 4])
    parts = (weights, data.columns, data.moved, data.scores)
    first = permutation_test(PermutationData(*parts, data.units, data.strata), 199, 3)
    shuffled = PermutationData(*(part[order] for part in parts), labels[data.units][order], data.strata[order])
    assert_allclose(permutation_test(shuffled, 199, 3), first, rtol=1e-9)


def test_weights_of_strata_are_dealt_out_among_all_units():
    rng = np.random.default_rng(7)
    X, y = rng.normal(size=(120, 1)), rng.normal(size=120)
    strata = np.arange(120) % 3
    weights = np.array([1.0, 2.0, 5.0])[strata]
    tests = weight_diagnostics(GEERegressor(), X, y, sample_weight=weights, strata=strata, trim=()).tests
    without = weight_diagnostics(GEERegressor(), X, y, sample_weight=weights, trim=()).tests
    assert 0.001 < tests.loc["permutation", "p_value"] < 1.0
    assert_allclose(tests.loc["permutation", "p_value"], without.loc["permutation", "p_value"])


def test_level_is_exact_where_weights_depend_on_nothing():
    """P-values are uniform, however few units and unequal weights; one in 10,000 such tests fails."""
    rng = np.random.default_rng(8)
    p_values = []
    for _ in range(300):
        x, y = rng.normal(size=12), rng.standard_t(3, size=12)
        columns = np.column_stack([np.ones(12), x])
        residual = y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
        weights = np.exp(1.5 * rng.normal(size=12))
        data = PermutationData(
            weights, columns, columns, columns * residual[:, None], np.arange(12), np.zeros(12, dtype=int)
        )
        p_values.append(permutation_test(data, 99, 0)[1])
    assert stats.kstest(np.array(p_values) - 0.005, "uniform").pvalue > 1e-4
