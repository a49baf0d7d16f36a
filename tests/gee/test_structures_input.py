"""m-dependent, Toeplitz, nested, fixed and user-defined structures: times, groups, other input, and refusals."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skdep import GEEClassifier, GEERegressor
from skdep.base import FitNotes
from skdep.exceptions import TimeOrderWarning, WorkingCorrelationWarning
from skdep.gee.rows import prepare_rows
from skdep.gee.working_correlation import (
    AR1,
    Exchangeable,
    Fixed,
    MDependent,
    Moments,
    Nested,
    Toeplitz,
    get_working_correlation,
    pairs,
    stationary,
)
from skdep.gee.working_correlation.steps import common_step
from skdep.survey.design import survey_design

from .test_structures_units import Power, assert_whitens, make_block

REPAIRED = pytest.mark.filterwarnings("ignore:.*was not positive definite")


# ------------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize(
    ("times", "step"),
    [
        ([0, 7, 14, 28], 7), ([1, 2, 4, 11], 1), ([3, 9, 21], 6), ([0, 0.25, 1.5], 0.25), ([0.1, 0.2, 0.3, 0.7], 0.1),
        ([0, 2 / 3, 1], 1 / 3), ([0, 0.4, 1.0], 0.2), ([2000, 2004, 2014], 2), ([5], 1), ([-8, -2, 1], 3),
        ([1e18, 1e18 + 8.64e13, 1e18 + 3 * 8.64e13], 8.64e13),
    ],
)  # fmt: skip
def test_common_step(times, step):
    assert common_step(np.array(times, dtype=float), "toeplitz") == pytest.approx(step, rel=1e-9)


@pytest.mark.parametrize("times", [[0, 1, np.pi], [0.0, 0.31, 0.77, 1.1312]])
def test_times_without_a_common_step(times):
    with pytest.raises(ValueError, match=r"'toeplitz' counts lags.*not whole multiples.*Number the visits.*'ar1'"):
        common_step(np.array(times), "toeplitz")


@REPAIRED
@pytest.mark.parametrize("unit", [7.0, 1 / 7, 86400.0, 1 / 12])
@pytest.mark.parametrize("structure", [MDependent(m=2), Toeplitz()], ids=repr)
def test_unit_of_time_plays_no_part(data, structure, unit):
    one = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups, time=data.time)
    other = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups, time=unit * data.time)
    np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-9)
    np.testing.assert_allclose(other.association_, one.association_, rtol=1e-9)


@REPAIRED
def test_step_given(data):
    """Weeks as days, the lags in fortnights: odd weeks apart are no whole lag."""
    even = data.time % 2 == 0
    X, y, groups, days = data.X[even], data.y[even], data.groups[even], 7 * data.time[even]
    given = GEERegressor(working_correlation=MDependent(step=14)).fit(X, y, groups=groups, time=days)
    found = GEERegressor(working_correlation="m_dependent").fit(X, y, groups=groups, time=days)
    np.testing.assert_array_equal(given.association_, found.association_)
    with pytest.raises(
        ValueError, match=r"counts lags of 14 units of time, but time \d+ is \d\.5 lags after the first"
    ):
        GEERegressor(working_correlation=MDependent(step=14)).fit(
            data.X, data.y, groups=data.groups, time=7 * data.time
        )
    with pytest.warns(WorkingCorrelationWarning, match=r"are 7 units of time apart, lag 1 of a step of 7.*a smaller m"):
        GEERegressor(working_correlation=MDependent(step=7)).fit(X, y, groups=groups, time=days)


@pytest.mark.parametrize("structure", ["m_dependent", "toeplitz", Fixed(np.eye(5))], ids=["m", "t", "f"])
def test_without_time_the_order_of_rows_counts(data, structure):
    with pytest.warns(TimeOrderWarning, match="no time was given"):
        est = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups)
    position = pd.Series(data.groups).groupby(data.groups).cumcount()
    timed = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups, time=position)
    np.testing.assert_array_equal(est.association_, timed.association_)
    assert len(est.times_) == 5


@pytest.mark.parametrize("m", [0, -1, 1.5, "2", None, True])
def test_bad_m(m):
    with pytest.raises(ValueError, match="m must be a whole number of lags, at least 1"):
        MDependent(m=m)


@pytest.mark.parametrize("step", [0.0, -1.0, np.inf, np.nan, "day"])
def test_bad_step(step):
    for structure in (MDependent, Toeplitz):
        with pytest.raises(ValueError, match="step must be a positive length of time or None"):
            structure(step=step)


def test_too_many_lags():
    with pytest.raises(ValueError, match=r"lags go up to 1001.*'ar1' or MDependent\(m\)"):
        Toeplitz().layout(make_block([1002]), "n")
    MDependent().layout(make_block([1002]), "n")


def test_too_many_pairs(monkeypatch):
    monkeypatch.setattr(stationary, "_MOST_PAIRS", 10)
    monkeypatch.setattr(pairs, "_SPARSEST_GRID", 0)
    with pytest.raises(ValueError, match=r"'toeplitz' would list 15 pairs of rows.*MDependent\(m\)"):
        Toeplitz().layout(make_block([6]), "n")
    MDependent(m=2).layout(make_block([6]), "n")


def test_lags_that_seldom_occur(data):
    structure = Toeplitz()
    layout = structure.layout(make_block([2, 2, 3]), "n")
    counts = structure.pair_products(layout, np.ones(7))
    np.testing.assert_allclose(counts, [4, 1])
    (message,) = structure.problems([layout], counts, Moments(1.0, 2), np.zeros(2))
    assert "1 of 2 lags occur in no more pairs of rows than there are parameters" in message
    found = structure.estimate([layout], np.array([2.0, 0.5]), counts, Moments(1.0, 2), None)
    np.testing.assert_allclose(found, [2.0 / (4 - 2), 0.5 / 1])


# ------------------------------------------------------------------------------------------------ nested groups


def test_nested_needs_two_columns(data):
    with pytest.raises(ValueError, match=r"'nested' needs groups with a column for each level.*'exchangeable'"):
        GEERegressor(working_correlation="nested").fit(data.X, data.y, groups=data.groups)


def test_only_nested_takes_two_columns(data):
    groups = np.column_stack([data.groups, data.groups])
    with pytest.raises(ValueError, match=r"2 columns \('group0', 'group1'\).*'nested'.*skdep.interaction\(a, b\)"):
        GEERegressor(working_correlation="exchangeable").fit(data.X, data.y, groups=groups)


def test_nested_takes_any_labels_and_weights_of_zero(data):
    """Labels of wards restart; rows of weight zero are as if not there, and so are wards that have no others."""
    rng = np.random.default_rng(3)
    ward = rng.integers(0, 3, len(data.y))
    weights = data.weights * ~((ward == 2) & (data.groups % 2 == 0))
    frame = pd.DataFrame({"clinic": data.groups, "ward": np.array(["a", "b", "c"])[ward]})
    unique = pd.DataFrame({"clinic": [f"c{g}" for g in data.groups], "ward": 10 * data.groups + ward})
    keep = weights > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that vary
        fits = [
            GEERegressor(working_correlation="nested").fit(X, y, groups=groups, sample_weight=w)
            for X, y, groups, w in (
                (data.X, data.y, frame, weights),
                (data.X, data.y, unique, weights),
                (data.X[keep], data.y[keep], frame[keep], weights[keep]),
            )
        ]
    for other in fits[1:]:
        np.testing.assert_allclose(other.coef_, fits[0].coef_, rtol=1e-9)
        np.testing.assert_allclose(other.association_, fits[0].association_, rtol=1e-9)
    assert fits[0].n_clusters_ == len(np.unique(data.groups[keep]))
    assert "clinic" in str(fits[0].summary())


def test_nested_says_which_level_has_no_pairs(data):
    alone = np.column_stack([data.groups, np.arange(len(data.groups))])
    with pytest.warns(WorkingCorrelationWarning, match="No unit of factor 'group1' has two rows: their correlation"):
        est = GEERegressor(working_correlation="nested").fit(data.X, data.y, groups=alone)
    expected = GEERegressor(working_correlation="exchangeable").fit(data.X, data.y, groups=data.groups)
    np.testing.assert_allclose(est.association_, [expected.association_, 0.0], rtol=1e-9)
    np.testing.assert_allclose(est.covariance_, expected.covariance_, rtol=1e-8)
    whole = np.column_stack([data.groups, data.groups])
    with pytest.warns(WorkingCorrelationWarning, match=r"'group0' has two rows that differ in 'group1'"):
        est = GEERegressor(working_correlation="nested").fit(data.X, data.y, groups=whole)
    np.testing.assert_allclose(est.association_, [0.0, expected.association_], rtol=1e-9)
    np.testing.assert_allclose(est.covariance_, expected.covariance_, rtol=1e-8)


def test_rows_of_a_survey_design(data):
    """Sampling units are nested in strata; further columns of groups may be stages, whatever the structure."""
    rng = np.random.default_rng(4)
    unit, ward = rng.integers(0, 8, len(data.y)), rng.integers(0, 3, len(data.y))
    strata = rng.integers(0, 3, len(data.y))
    weights = data.weights * (rng.uniform(size=len(data.y)) < 0.8)
    groups = np.column_stack([unit, ward])
    design = survey_design(len(data.y), groups=groups, strata=strata, weights=weights, lonely_psu="adjust")
    given = {"sample_weight": weights, "offset": None, "time": None, "weight_type": "sampling", "design": design}
    for structure, n_levels in ((Exchangeable(), 0), (Nested(), 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights that vary
            rows = prepare_rows(data.X, data.y, groups=groups, structure=structure, notes=FitNotes(), **given)
        np.testing.assert_array_equal(rows.X, data.X[rows.caller_rows])
        inside = 10 * strata[rows.caller_rows] + unit[rows.caller_rows]
        ends = np.flatnonzero(np.diff(inside)) + 1
        np.testing.assert_array_equal(rows.clusters.starts, [0, *ends])
        assert rows.clusters.n_clusters == len(np.unique(inside))
        ((_, block),) = rows.blocks
        assert len(block.subclusters) == n_levels
        for level in block.subclusters:
            inner = 10 * inside + ward[rows.caller_rows]
            np.testing.assert_array_equal(level.starts, [0, *(np.flatnonzero(np.diff(inner)) + 1)])
            assert level.n_clusters == len(np.unique(inner))


def test_times_may_repeat_in_another_subcluster():
    """For a structure that uses both: rows are sorted by subcluster and then by time."""

    class Both(Nested):
        needs_time = True

    rng = np.random.default_rng(5)
    groups = np.repeat([0, 1, 2], 8)
    ward, time = np.tile(np.repeat([0, 1], 4), 3), np.tile(np.arange(4.0), 6)
    order = rng.permutation(24)
    given = {"sample_weight": None, "offset": None, "weight_type": "sampling", "structure": Both()}
    columns = np.column_stack([groups, ward])[order]
    rows = prepare_rows(np.zeros((24, 1)), np.arange(24.0)[order], groups=columns, time=time[order], notes=FitNotes(),
                        **given)  # fmt: skip
    np.testing.assert_array_equal(rows.y, np.arange(24.0))
    np.testing.assert_array_equal(rows.blocks[0][1].time, time)
    time[1] = time[0]
    with pytest.raises(ValueError, match="1 rows repeat a time of their cluster, first cluster 0 at time 0"):
        prepare_rows(np.zeros((24, 1)), np.zeros(24), groups=columns, time=time[order], notes=FitNotes(), **given)


# ------------------------------------------------------------------------------------------------ fixed


def test_fixed_by_name_says_what_to_pass(data):
    with pytest.raises(ValueError, match=r"'fixed' needs the matrix.*skdep.gee.Fixed\(matrix\)"):
        get_working_correlation("fixed")
    with pytest.raises(ValueError, match=r"skdep.gee.Fixed\(matrix\)"):
        GEERegressor(working_correlation="fixed").fit(data.X, data.y, groups=data.groups)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([1.0, 0.5], "square matrix"),
        (np.ones((2, 3)), r"square matrix of correlations, got shape \(2, 3\)"),
        (np.zeros((0, 0)), "square matrix"),
        ([[1.0, np.nan], [np.nan, 1.0]], "missing or infinite"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[2.0, 0.5], [0.5, 2.0]], "ones on the diagonal"),
    ],
)
def test_fixed_refuses_what_is_no_correlation_matrix(matrix, message):
    with pytest.raises(ValueError, match=message):
        Fixed(matrix)


def test_fixed_must_be_positive_definite_for_the_times_of_every_cluster():
    bad = Fixed([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    pairs_only = make_block([2, 2, 2], [0.0, 1, 1, 2, 0, 2])
    assert_whitens(bad, pairs_only, np.array(bad.matrix), name="unstructured")
    with pytest.raises(ValueError, match=r"not positive definite: for the times of some cluster.*is -0\.8"):
        bad.layout(make_block([2, 3]), "n")


def test_fixed_times(data):
    """The matrix may know times that the data lack; without times its size must be theirs."""
    times = np.arange(7.0)
    matrix = 0.5 ** np.abs(np.subtract.outer(times, times))
    est = GEERegressor(working_correlation=Fixed(matrix)).fit(data.X, data.y, groups=data.groups, time=data.time)
    np.testing.assert_array_equal(est.association_, matrix)
    few = data.time != 3
    given = {"groups": data.groups[few], "time": data.time[few]}
    with pytest.raises(ValueError, match=r"matrix of 7 times, but the data have 6 distinct times.*times=\.\.\."):
        GEERegressor(working_correlation=Fixed(matrix)).fit(data.X[few], data.y[few], **given)
    est = GEERegressor(working_correlation=Fixed(matrix, times=times)).fit(data.X[few], data.y[few], **given)
    known = times[times != 3].astype(int)
    np.testing.assert_array_equal(est.association_, matrix[np.ix_(known, known)])
    np.testing.assert_array_equal(est.times_, known)
    ar1 = GEERegressor(working_correlation=Fixed(matrix, times=times + 1))
    with pytest.raises(ValueError, match="no row for time 0 of the data; its times are"):
        ar1.fit(data.X, data.y, groups=data.groups, time=data.time)
    with pytest.raises(ValueError, match="times must be 7 ascending numbers"):
        Fixed(matrix, times=times[::-1])
    with pytest.raises(ValueError, match="times must be 7 ascending numbers"):
        Fixed(matrix, times=times[1:])


def test_fixed_at_the_estimate_is_unstructured(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pairs of times that seldom meet
        free = GEERegressor(working_correlation="unstructured", tol=1e-12)
        free.fit(data.X, data.y, groups=data.groups, time=data.time)
    est = GEERegressor(working_correlation=Fixed(free.association_), tol=1e-12)
    est.fit(data.X, data.y, groups=data.groups, time=data.time)
    np.testing.assert_allclose(est.coef_, free.coef_, rtol=1e-7)
    np.testing.assert_allclose(est.covariance_, free.covariance_, rtol=1e-7)


# ------------------------------------------------------------------------------------------------ a user's structure


def test_users_formula_is_ar1(data):
    fits = [
        GEERegressor(working_correlation=structure, dof="n", tol=1e-11).fit(
            data.X, data.y, groups=data.groups, time=data.time
        )
        for structure in (Power(), AR1())
    ]
    assert fits[0].association_ == pytest.approx(fits[1].association_, rel=1e-7)
    np.testing.assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-8)
    np.testing.assert_allclose(fits[0].covariance_, fits[1].covariance_, rtol=1e-7)


def test_users_formula_at_a_bound_says_so(data):
    class Narrow(Power):
        bounds = ((0.0, 0.05),)

    with pytest.warns(WorkingCorrelationWarning, match="'power': alpha ended at a bound"):
        est = GEERegressor(working_correlation=Narrow()).fit(data.X, data.y, groups=data.groups, time=data.time)
    assert est.association_ == pytest.approx(0.05, rel=1e-5)


def test_users_formula_is_checked(data):
    def fit(**attributes):
        structure = type("Broken", (Power,), attributes)()
        GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups, time=data.time)

    with pytest.raises(ValueError, match=r"Broken.correlation must return a matrix of shape \(7, 7\)"):
        fit(correlation=lambda self, times, alpha: np.eye(3))
    with pytest.raises(ValueError, match="symmetric matrix of finite numbers with ones on the diagonal"):
        fit(correlation=lambda self, times, alpha: np.full((7, 7), 0.5))
    with pytest.raises(ValueError, match="Broken must set `initial`"):
        fit(initial=())
    with pytest.raises(ValueError, match=r"of the 1001 distinct times"):
        Power().layout(make_block([1001]), "n")


# ------------------------------------------------------------------------------------------------ objects


@pytest.mark.parametrize(
    "structure", [MDependent(m=2), Toeplitz(step=2.0), Nested(), Fixed(np.eye(2)), Power()], ids=lambda s: s.name
)
def test_structures_clone_and_pickle(structure):
    est = clone(GEEClassifier(working_correlation=structure))
    again = pickle.loads(pickle.dumps(est.working_correlation))
    assert repr(again) == repr(structure)
    assert type(again) is type(structure)
