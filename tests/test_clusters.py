"""Clusters: labels of every kind, and grouped sums against loops."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

from skdep import interaction
from skdep.clusters import Clusters, encode_factors, encode_groups, factor_names

DATES = [datetime.date(2024, 3, 1), datetime.date(2023, 1, 1), datetime.date(2024, 3, 1)]

LABELS = [
    pytest.param([3, 1, 3], [1, 3], id="list of int"),
    pytest.param(np.array([3, 1, 3], dtype=np.int8), [1, 3], id="int8"),
    pytest.param(np.array([3, 1, 3], dtype=np.uint64), [1, 3], id="uint64"),
    pytest.param([2.5, -1.0, 2.5], [-1.0, 2.5], id="float"),
    pytest.param(["b", "a", "b"], ["a", "b"], id="list of str"),
    pytest.param(np.array(["b", "a", "b"]), ["a", "b"], id="numpy str"),
    pytest.param(np.array(["b", "a", "b"], dtype=object), ["a", "b"], id="object str"),
    pytest.param(pd.Series(["b", "a", "b"]), ["a", "b"], id="pandas str"),
    pytest.param(pd.Series(["b", "a", "b"], dtype="string"), ["a", "b"], id="string extension"),
    pytest.param(pd.Series([3, 1, 3], dtype="Int64"), [1, 3], id="nullable int"),
    pytest.param([True, False, True], [False, True], id="list of bool"),
    pytest.param(np.array([True, False, True]), [False, True], id="bool"),
    pytest.param(pd.Series(DATES), [DATES[1], DATES[0]], id="dates"),
    pytest.param(DATES, [DATES[1], DATES[0]], id="list of dates"),
    pytest.param(np.array(DATES, dtype="M8[D]"), np.array([DATES[1], DATES[0]], dtype="M8[D]"), id="M8"),
    pytest.param([("s", 2), ("s", 1), ("s", 2)], [("s", 1), ("s", 2)], id="tuples"),
    pytest.param([("t",), ("s", 2), ("t",)], [("s", 2), ("t",)], id="ragged tuples"),
    pytest.param(np.array([[3], [1], [3]]), [1, 3], id="one column"),
    pytest.param(pd.Index([3, 1, 3]), [1, 3], id="index"),
    pytest.param(pd.Categorical(["u", "v", "u"], categories=["w", "v", "u"]), ["v", "u"], id="categorical"),
]


@pytest.mark.parametrize(("labels", "levels"), LABELS)
def test_labels_of_any_type(labels, levels):
    codes, found, name = encode_groups(labels, 3)
    assert list(codes) == [1, 0, 1]
    assert list(found) == list(levels)
    assert name == "group"


def test_arrow_strings():
    pa = pytest.importorskip("pyarrow")
    for labels in (pa.array(["b", "a", "b"]), pd.Series(["b", "a", "b"], dtype=pd.ArrowDtype(pa.string()))):
        codes, levels, _ = encode_groups(labels, 3)
        assert list(codes) == [1, 0, 1]
        assert list(levels) == ["a", "b"]


@pytest.mark.parametrize("labels", [[1, "1", (1,), 1], [True, "a", None.__class__, True], [1j, "b", 2j, 1j]])
def test_labels_that_cannot_be_compared_stay_apart(labels):
    codes, levels, _ = encode_groups(labels, 4)
    assert codes[0] == codes[3]
    assert len(set(codes)) == len(levels) == 3
    assert all(levels[code] == label for code, label in zip(codes, labels))


def test_number_and_its_text_are_different_labels():
    codes, levels, _ = encode_groups([1, "1", 1], 3)
    assert codes[0] == codes[2] != codes[1]
    assert len(levels) == 2


def test_integers_above_2_to_the_53_stay_apart_beside_a_float():
    codes, _, _ = encode_groups([2**53, 2**53 + 1, 0.5], 3)
    assert len(set(codes)) == 3


MISSING = [
    pytest.param([1, None, 2], id="None"),
    pytest.param(["a", None, "b"], id="None among str"),
    pytest.param([1.0, np.nan, 2.0], id="nan"),
    pytest.param(["a", np.nan, "b"], id="nan among str"),
    pytest.param(["a", pd.NA, "b"], id="NA"),
    pytest.param([1, pd.NaT, 2], id="NaT"),
    pytest.param(np.array(["2024-01-01", "NaT", "2024-01-02"], dtype="datetime64[D]"), id="NaT dates"),
    pytest.param(pd.Series([1, None, 2], dtype="Int64"), id="nullable int"),
    pytest.param(pd.Series(["a", None, "b"]), id="pandas str"),
    pytest.param(pd.Series(["a", None, "b"], dtype="string"), id="string extension"),
    pytest.param(pd.Categorical(["a", None, "b"]), id="categorical"),
    pytest.param([Decimal(1), Decimal("NaN"), Decimal(2)], id="decimal"),
    pytest.param(np.ma.masked_array([1, 2, 3], mask=[False, True, False]), id="masked array"),
]


@pytest.mark.parametrize("labels", MISSING)
def test_missing_labels_raise_and_name_the_row(labels):
    with pytest.raises(ValueError, match=r"missing in 1 rows, first in row 1\. A row must belong to a cluster"):
        encode_groups(labels, 3)


def test_missing_label_names_the_factor():
    frame = pd.DataFrame({"school": [1, 2, 3], "teacher": ["a", "b", None]})
    with pytest.raises(ValueError, match="'teacher' is missing in 1 rows, first in row 2"):
        encode_factors(frame, 3)


@pytest.mark.parametrize("labels", [[1, 2], [1, 2, 3, 4], "school"])
def test_wrong_length(labels):
    with pytest.raises(ValueError, match=r"labels for 3 rows; give exactly one label a row"):
        encode_groups(labels, 3)


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param(np.array([{1: 2}, {2: 1}], dtype=object), id="unhashable"),
        pytest.param([[1, 2], [3]], id="ragged table"),
        pytest.param(5, id="scalar"),
        pytest.param(np.zeros((2, 2, 2)), id="three-dimensional"),
        pytest.param(np.zeros((2, 0)), id="no columns"),
    ],
)
def test_malformed_groups_raise_value_error(groups):
    with pytest.raises(ValueError, match="group"):
        encode_factors(groups, 2)


def test_names():
    assert factor_names(pd.DataFrame({"school": [1], "class": [1]})) == ["school", "class"]
    assert factor_names(pd.Series([1], name="school")) == ["school"]
    assert factor_names(pd.Series([1])) == factor_names(np.array([1])) == factor_names(np.array([[1]])) == ["group"]
    assert factor_names(np.array([[1, 2, 3]])) == ["group0", "group1", "group2"]
    assert encode_groups(pd.Series([1], name=0), 1)[2] == "0"


def test_two_dimensional_groups_are_one_factor_a_column():
    table = [[1, "x"], [2, "x"], [1, "y"]]
    for groups in (table, np.array(table, dtype=object), pd.DataFrame(table, columns=["group0", "group1"])):
        first, second = encode_factors(groups, 3)
        assert list(first[0]) == [0, 1, 0]
        assert list(second[0]) == [0, 0, 1]
        assert (first[2], second[2]) == ("group0", "group1")
        assert first[1][0] == 1, "labels of a column keep their type"


def test_columns_of_one_name_are_kept_apart():
    frame = pd.DataFrame([[1, 5], [2, 5], [1, 6]], columns=["g", "g"])
    first, second = encode_factors(frame, 3)
    assert list(first[0]) == [0, 1, 0]
    assert list(second[0]) == [0, 0, 1]


def test_a_list_of_tuples_is_one_factor():
    assert len(encode_factors([("a", 1), ("b", 1), ("a", 1)], 3)) == 1


# ------------------------------------------------------------------------------------------------- Clusters


def random_clusters(rng, *, n_rows, n_clusters, within=False, ordered=False):
    codes = np.concatenate([np.arange(n_clusters), rng.integers(n_clusters, size=n_rows - n_clusters)])
    codes = np.sort(codes) if ordered else rng.permutation(codes)
    time = rng.integers(4, size=n_rows) if within else None
    return Clusters.from_codes(codes, np.arange(n_clusters), within=time), time


DESIGNS = [
    pytest.param({"n_rows": 37, "n_clusters": 6}, id="shuffled"),
    pytest.param({"n_rows": 37, "n_clusters": 6, "within": True}, id="shuffled, by time"),
    pytest.param({"n_rows": 37, "n_clusters": 6, "ordered": True}, id="in order"),
    pytest.param({"n_rows": 37, "n_clusters": 6, "ordered": True, "within": True}, id="in order but for time"),
    pytest.param({"n_rows": 9, "n_clusters": 9}, id="singletons"),
    pytest.param({"n_rows": 9, "n_clusters": 1}, id="one cluster"),
]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("seed", range(3))
def test_structure_against_brute_force(design, seed):
    rng = np.random.default_rng(seed)
    clusters, time = random_clusters(rng, **design)
    codes, n_rows = clusters.codes, design["n_rows"]
    key = [(codes[i], 0 if time is None else time[i], i) for i in range(n_rows)]
    order = np.array(sorted(range(n_rows), key=key.__getitem__))  # ties keep the caller's order
    values = rng.normal(size=(n_rows, 3))
    np.testing.assert_array_equal(clusters.sort(np.arange(n_rows)), order)
    np.testing.assert_array_equal(clusters.sort(values), values[order])
    np.testing.assert_array_equal(clusters.unsort(clusters.sort(values)), values)
    assert clusters.n_clusters == design["n_clusters"]
    assert clusters.n_rows == n_rows
    members = [np.flatnonzero(codes == k) for k in range(clusters.n_clusters)]
    np.testing.assert_array_equal(clusters.sizes, [len(rows) for rows in members])
    np.testing.assert_array_equal(clusters.starts, np.r_[0, np.cumsum(clusters.sizes)[:-1]])

    sums = np.array([values[rows].sum(axis=0) for rows in members])
    np.testing.assert_allclose(clusters.sum(clusters.sort(values)), sums, atol=1e-13)
    np.testing.assert_allclose(clusters.sum(clusters.sort(values[:, 0])), sums[:, 0], atol=1e-13)
    weights = rng.normal(size=n_rows)
    weighted = np.array([weights[rows] @ values[rows] for rows in members])
    np.testing.assert_allclose(clusters.weighted_sum(weights, values), weighted, atol=1e-13)
    np.testing.assert_allclose(clusters.weighted_sum(weights, values[:, 0]), weighted[:, 0], atol=1e-13)
    np.testing.assert_array_equal(clusters.unsort(clusters.spread(sums)), sums[codes])


def test_rows_in_order_are_not_copied():
    clusters = Clusters.from_codes(np.array([0, 0, 1]), np.array(["a", "b"]))
    values = np.arange(3.0)
    assert clusters.order is None
    assert clusters.sort(values) is values
    assert clusters.unsort(values) is values
    assert clusters.in_order() is clusters


def test_in_order_describes_sorted_rows():
    clusters, _ = random_clusters(np.random.default_rng(1), n_rows=20, n_clusters=4)
    ordered = clusters.in_order()
    values = np.random.default_rng(2).normal(size=20)
    assert ordered.order is None
    np.testing.assert_array_equal(ordered.codes, clusters.sort(clusters.codes))
    np.testing.assert_array_equal(ordered.levels, clusters.levels)
    np.testing.assert_allclose(ordered.sum(clusters.sort(values)), clusters.sum(clusters.sort(values)))


@pytest.mark.parametrize("n_rows", [1, 3, 7, 20, 50, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_blocks_are_whole_clusters_and_cover_every_row_once(n_rows, seed):
    rng = np.random.default_rng(seed)
    clusters, _ = random_clusters(rng, n_rows=101, n_clusters=[1, 5, 40, 101][seed])
    values = rng.normal(size=101)
    sums, levels, end = [], [], 0
    for rows, part in clusters.blocks(n_rows):
        assert rows.start == end
        end = rows.stop
        assert part.n_rows == rows.stop - rows.start > 0
        assert part.order is None
        np.testing.assert_array_equal(part.codes, np.repeat(np.arange(part.n_clusters), part.sizes))
        sums.append(part.sum(clusters.sort(values)[rows]))
        levels.append(part.levels)
        if 2 * n_rows < 101:
            assert part.n_rows < n_rows + clusters.sizes.max()
    assert end == 101
    np.testing.assert_allclose(np.concatenate(sums), clusters.sum(clusters.sort(values)), atol=1e-13)
    np.testing.assert_array_equal(np.concatenate(levels), clusters.levels)


def test_no_rows():
    clusters = Clusters.from_codes(np.zeros(0, dtype=int), np.zeros(0))
    assert (clusters.n_clusters, clusters.n_rows) == (0, 0)
    assert clusters.sum(np.zeros((0, 2))).shape == (0, 2)
    assert encode_groups([], 0)[0].shape == (0,)


# ---------------------------------------------------------------------------------------------- interaction


def test_interaction_makes_restarting_labels_unique():
    labels = interaction(["A", "A", "B", "A"], [1, 2, 1, 1])
    assert list(labels) == ["A:1", "A:2", "B:1", "A:1"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(["a:b", "a"], ["c", "b:c"], id="colon"),
        pytest.param(["a\\", "a"], [":b", "\\::b"], id="backslash"),
        pytest.param(["a\\:b", "a:b", "a\\"], ["c", "c", "b:c"], id="backslash and colon"),
        pytest.param(["", ":"], [":", ""], id="empty"),
        pytest.param([1, "1"], ["a", "a"], id="number and its text"),
        pytest.param([1, "1", (1,)], ["x", "x", "x"], id="mixed types"),
    ],
)
def test_interaction_is_injective(first, second):
    labels = interaction(first, second)
    assert len(set(labels)) == len(set(zip(first, second)))


def test_interaction_of_many_levels_matches_pairs():
    rng = np.random.default_rng(0)
    factors = [rng.integers(50, size=500) for _ in range(3)]
    labels = interaction(*factors)
    pairs = pd.factorize(pd.MultiIndex.from_arrays(factors))[0]
    np.testing.assert_array_equal(pd.factorize(labels)[0], pairs)
    many = interaction(*[np.arange(3000)] * 8)  # 3000^8 combinations overflow 64 bits
    assert len(set(many)) == 3000


def test_interaction_of_series_keeps_index_and_name():
    school = pd.Series(["A", "B"], index=[7, 9], name="school")
    result = interaction(school, [1, 1])
    assert isinstance(result, pd.Series)
    assert list(result.index) == [7, 9]
    assert result.name == "school:group"
    both = interaction(school, pd.Series([1, 1], name=0))
    assert both.name == "school:0"


def test_interaction_feeds_group_k_fold():
    groups = interaction(np.repeat([1, 2], 6), np.tile(np.repeat([1, 2, 3], 2), 2))
    X = np.zeros((12, 1))
    for train, test in GroupKFold(3).split(X, groups=groups):
        assert not set(groups[train]) & set(groups[test])
        assert len(test) == 4


def test_interaction_errors():
    with pytest.raises(ValueError, match="at least one factor"):
        interaction()
    with pytest.raises(ValueError, match="labels for 2 rows"):
        interaction([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"factor 1.*missing"):
        interaction([1, 2], [1, None])


def test_interaction_of_no_rows_and_of_one_factor():
    assert list(interaction([], [])) == []
    assert list(interaction(["x", "y"])) == ["x", "y"]
