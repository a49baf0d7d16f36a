"""What scikit-learn's checks do not know: what must not matter, or matter in a known way, when rows have groups."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.inference import coef_table

from .registry import CASES, Rows, binary_rows, ids
from .results import (
    assert_close,
    assert_same,
    assert_same_posterior,
    monte_carlo_error,
    plain,
    predicted,
    results,
)

pytestmark = [
    pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skdep.exceptions.WeightWarning"),
    # an unstructured correlation says so where no cluster has two rows
    pytest.mark.filterwarnings("ignore:6 of 6 pairs of times never occur"),
]

CLASSIFIERS = [case for case in CASES if case.kind == "classifier"]
SAMPLING = [case for case in CASES if case.weights == "sampling"]
REPEATED_CLUSTERS = [case for case in CASES if case.weights == "clusters"]
REPEATED_ROWS = [case for case in CASES if case.weights == "rows"]
EQUIVARIANT = [case for case in CASES if case.scale_equivariant]
SHIFT_EQUIVARIANT = [case for case in CASES if case.shift_equivariant]
WITH_UNITS = [case for case in CASES if case.y_units]
PRECISION = [case for case in CASES if case.weights == "precision"]
MARGINAL = [case for case in CASES if not case.group_effects]
TIMED = [case for case in CASES if case.needs_time]

# What knows nothing of the units of features.
UNITLESS = {"loglik_", "scale_", "association_", "n_clusters_", "qic", "qicu", "cic", "quasi_likelihood", "sigma2_"}

every_case = pytest.mark.parametrize("case", CASES, ids=ids(CASES))


# ------------------------------------------------------------------------------------------------- rows and labels


@every_case
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_order_of_rows_does_not_matter(case, weighted):
    rows = case.data()
    weight = case.sample_weight(rows) if weighted else np.ones(rows.n_rows)
    order = np.random.default_rng(3).permutation(rows.n_rows)
    expected = results(case, case.fit(rows, sample_weight=weight), rows)
    assert_same(case, results(case, case.fit(rows.take(order), sample_weight=weight[order]), rows), expected)


@every_case
def test_groups_need_not_be_contiguous(case):
    rows = case.data()
    assert np.mean(np.diff(rows.groups) != 0) > 0.9, "the data should be scattered"
    together = rows.take(np.lexsort((rows.time, rows.groups)))
    assert_same(case, results(case, case.fit(together), rows), plain(case))


def _objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


RELABELLED = {
    "other integers": lambda codes: 1_000_000 - 7 * codes,
    "negative floats": lambda codes: -0.5 * codes,
    "texts": lambda codes: np.array([f"school {code}" for code in codes]),
    "object texts": lambda codes: _objects([f"{code}" for code in codes]),
    "list of texts": lambda codes: [f"{code}" for code in codes],
    "bytes": lambda codes: np.array([b"%d" % code for code in codes]),
    "tuples": lambda codes: _objects([("north" if code % 2 else "south", int(code)) for code in codes]),
    "list of tuples": lambda codes: [(int(code), "pupil") for code in codes],
    "dates": lambda codes: _objects([datetime.date(2020, 1, 1) + datetime.timedelta(int(code)) for code in codes]),
    "datetime64": lambda codes: np.datetime64("2020-01-01") + codes.astype("timedelta64[D]"),
    "Series, shuffled index": lambda codes: pd.Series(codes, index=np.roll(np.arange(len(codes)), 5)),
    "text Series": lambda codes: pd.Series([f"g{code}" for code in codes], name="school"),
    "nullable integers": lambda codes: pd.Series(codes, dtype="Int64"),
    "Categorical": lambda codes: pd.Categorical([f"{code}" for code in codes]),
    "ordered categorical Series": lambda codes: pd.Series(
        pd.Categorical(codes, categories=np.unique(codes)[::-1], ordered=True)
    ),
    "categorical with unused categories": lambda codes: pd.Categorical(codes, categories=np.arange(codes.max() + 50)),
    "one column": lambda codes: codes.reshape(-1, 1),
    "DataFrame": lambda codes: pd.DataFrame({"school": [f"{code}" for code in codes]}),
    "mixed types": lambda codes: _objects([int(code) if code % 2 else f"{code}" for code in codes]),
}


def _labellings():
    """All labels for one case of every estimator, and in turn some for its others: labels are read in one place."""
    seen = set()
    for number, case in enumerate(CASES):
        first = type(case.estimator) not in seen
        seen.add(type(case.estimator))
        for k, labels in enumerate(RELABELLED):
            if first or (number + k) % 4 == 0:
                yield pytest.param(case, RELABELLED[labels], id=f"{labels}-{case.name}")


@pytest.mark.parametrize(("case", "labels"), _labellings())
def test_names_of_groups_do_not_matter(case, labels):
    rows = case.data()
    codes = np.unique(rows.groups, return_inverse=True)[1]
    found = results(case, case.fit(rows, groups=labels(codes)), rows, groups=labels(codes))
    # effects are drawn in the order of the labels
    redrawn = ("conditional", "conditional sd") if case.posterior else ()
    assert_same(case, found, plain(case), rtol=1e-9, but=redrawn)
    if redrawn:
        assert_same_posterior(case, found, plain(case), "conditional")


@every_case
def test_metadata_are_matched_by_position_not_by_index(case):
    rows = case.data()
    weight = case.sample_weight(rows)
    index = np.random.default_rng(0).permutation(rows.n_rows)
    metadata = {key: pd.Series(getattr(rows, key), index=index) for key in case.metadata}
    est = case.unfitted().fit(rows.X, rows.y, sample_weight=pd.Series(weight, index=index[::-1]), **metadata)
    assert_same(case, results(case, est), results(case, case.fit(rows, sample_weight=weight)))


@pytest.mark.parametrize("case", MARGINAL, ids=ids(MARGINAL))
def test_without_groups_each_row_is_its_own_group(case):
    rows = case.data()
    weight = case.sample_weight(rows)
    cov_types = tuple(set(case.cov_types) - {"cluster"})
    # `covariance_` of LogitRegressor is chosen by whether there are groups; a frequency repeats rows of one group
    cov_type = {"cov_type": "hc0"} if case.weights == "rows" else {}
    alone, own = (
        case.fit(rows, estimator=case.unfitted(**cov_type), sample_weight=weight, groups=groups)
        for groups in (None, np.random.default_rng(0).permutation(rows.n_rows))
    )
    assert_same(case, results(case, own, rows, cov_types=cov_types), results(case, alone, rows, cov_types=cov_types))


@pytest.mark.parametrize("case", [case for case in CASES if "cluster" in case.cov_types], ids=lambda case: case.name)
def test_clusters_of_one_row_give_the_heteroscedastic_sandwich(case):
    rows = case.data()
    weight = case.sample_weight(rows) if case.weights == "sampling" else None
    est = case.fit(rows, groups=np.arange(rows.n_rows), sample_weight=weight)
    by_row, by_cluster = (coef_table(est, cov_type=kind)["std_error"] ** 2 for kind in ("hc0", "cluster"))
    assert_allclose(by_cluster, by_row * rows.n_rows / (rows.n_rows - 1), rtol=1e-10)


# ------------------------------------------------------------------------------------------------- weights


@every_case
def test_weights_of_one_are_no_weights(case):
    rows = case.data()
    assert_same(
        case,
        results(case, case.fit(rows, sample_weight=np.ones(rows.n_rows)), rows),
        plain(case),
        rtol=1e-10,
    )


def _some_rows_to_leave_out(rows):
    """Return rows of groups that keep at least one other row: units without any row count in a survey's design."""
    first = np.unique(rows.groups, return_index=True)[1]
    out = np.random.default_rng(4).uniform(size=rows.n_rows) < 0.3
    out[first] = False
    assert out.sum() > 20
    return out


@pytest.mark.parametrize("case", REPEATED_ROWS + SAMPLING + PRECISION, ids=lambda case: case.name)
def test_weight_zero_is_a_dropped_row_of_its_group(case):
    rows = case.data()
    out = _some_rows_to_leave_out(rows)
    weight = np.where(out, 0.0, case.sample_weight(rows))
    # what a row without weight says is not even looked at: a tie in time, an extreme feature
    odd = rows.but(
        X=np.where(out[:, None], 1e3, rows.X),
        time=np.where(out, 1.0, rows.time),
        offset=np.where(out, 50.0, rows.offset),
    )
    expected = results(case, case.fit(rows.take(~out), sample_weight=weight[~out]), rows)
    assert_same(case, results(case, case.fit(rows, sample_weight=weight), rows), expected)
    assert_same(case, results(case, case.fit(odd, sample_weight=weight), rows), expected)


@pytest.mark.parametrize("case", REPEATED_CLUSTERS, ids=ids(REPEATED_CLUSTERS))
def test_weight_zero_is_a_dropped_cluster(case):
    rows = case.data()
    weight = np.where(rows.groups % 4 == 0, 0.0, case.sample_weight(rows))
    kept = weight > 0
    assert 20 < kept.sum() < rows.n_rows - 20
    expected = results(case, case.fit(rows.take(kept), sample_weight=weight[kept]), rows)
    assert_same(case, results(case, case.fit(rows, sample_weight=weight), rows), expected)


@pytest.mark.parametrize("case", SAMPLING, ids=ids(SAMPLING))
def test_clusters_without_weight_count_only_in_the_design_of_a_survey(case):
    """A subpopulation: R's survey keeps the units in K / (K - 1), geepack knows no such factor."""
    rows = case.data()
    weight = np.where(rows.groups % 4 == 0, 0.0, case.sample_weight(rows))
    kept = weight > 0
    n_units, n_present = len(np.unique(rows.groups)), len(np.unique(rows.groups[kept]))
    all_units, only_present = (
        case.fit(rows, sample_weight=weight),
        case.fit(rows.take(kept), sample_weight=weight[kept]),
    )
    factor = 1.0
    if "design" in case.cov_types:
        factor = (n_units / (n_units - 1)) / (n_present / (n_present - 1))
    assert_allclose(all_units.coef_, only_present.coef_, rtol=1e-10)
    assert_allclose(all_units.covariance_, only_present.covariance_ * factor, rtol=1e-9)


@pytest.mark.parametrize(
    ("case", "grouped"),
    [
        pytest.param(
            case,
            grouped,
            id=f"{case.name}-{'groups' if grouped else 'no groups'}",
        )
        for case in REPEATED_ROWS
        for grouped in (True, False)
    ],
)
def test_frequency_is_a_repeated_row_of_the_same_group(case, grouped):
    rows = case.data()
    weight = np.random.default_rng(7).integers(0, 4, rows.n_rows)
    metadata = {} if grouped else {"groups": None}
    cov_types = case.cov_types if grouped else tuple(set(case.cov_types) - {"cluster"})
    repeated = rows.take(np.repeat(np.arange(rows.n_rows), weight))
    actual = results(case, case.fit(rows, sample_weight=weight, **metadata), rows, cov_types=cov_types)
    assert_same(case, actual, results(case, case.fit(repeated, **metadata), rows, cov_types=cov_types))


@pytest.mark.parametrize(
    ("case", "cov_type"),
    [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in REPEATED_ROWS for kind in case.cov_types],
)
def test_covariance_under_frequencies(case, cov_type):
    rows = case.data()
    weight = np.random.default_rng(7).integers(0, 4, rows.n_rows)
    repeated = rows.take(np.repeat(np.arange(rows.n_rows), weight))
    chosen = {} if case.posterior else {"cov_type": cov_type}
    once = case.fit(rows, estimator=case.unfitted(**chosen), sample_weight=weight)
    often = case.fit(repeated, estimator=case.unfitted(**chosen))
    assert_close(case, once.covariance_, often.covariance_, rtol=1e-8, atol=1e-12)


def _repeated_clusters(rows, weight):
    """Return every cluster as often as its weight says, each time under a new label."""
    parts = []
    for copy in range(int(weight.max())):
        again = rows.take(weight > copy)
        parts.append(again.but(groups=again.groups + 10_000 * copy))
    return Rows.stack(parts)


@pytest.mark.parametrize("case", REPEATED_CLUSTERS, ids=ids(REPEATED_CLUSTERS))
@pytest.mark.parametrize("grouped", [True, False], ids=["groups", "no groups"])
@pytest.mark.parametrize("params", [{}, {"scale": 1.5}, {"dof": "n"}, {"cov_type": "naive"}], ids=repr)
def test_frequency_is_a_repeated_cluster(case, grouped, params):
    rows = case.data()
    if not grouped:
        rows = rows.but(groups=np.arange(rows.n_rows))
    weight = case.sample_weight(rows)
    metadata = {} if grouped else {"groups": None}
    repeated = _repeated_clusters(rows, weight)
    assert repeated.n_rows == weight.sum()
    once = case.fit(rows, estimator=case.unfitted(**params), sample_weight=weight, **metadata)
    often = case.fit(repeated, estimator=case.unfitted(**params))
    # where the iterations begin depends on the number of rows: so may their number
    assert_same(case, results(case, once, rows), results(case, often, rows), rtol=1e-8, but=("n_iter_",))


@pytest.mark.parametrize("case", REPEATED_CLUSTERS, ids=ids(REPEATED_CLUSTERS))
def test_frequencies_that_are_no_counts_of_clusters_raise(case):
    rows = case.data()
    weight = case.sample_weight(rows)
    with pytest.raises(ValueError, match="whole numbers"):
        case.fit(rows, sample_weight=weight + 0.5)
    varying = weight.copy()
    varying[np.flatnonzero(rows.groups == rows.groups[0])[0]] += 1
    if np.sum(rows.groups == rows.groups[0]) > 1:
        with pytest.raises(ValueError, match="constant within"):
            case.fit(rows, sample_weight=varying)


@pytest.mark.parametrize("case", SAMPLING, ids=ids(SAMPLING))
@pytest.mark.parametrize("factor", [1000.0, 1.0 / 7.0, 1e-12, 1e12])
def test_scale_of_sampling_weights_means_nothing(case, factor):
    rows = case.data()
    weight = case.sample_weight(rows)
    expected = results(case, case.fit(rows, sample_weight=weight), rows)
    assert_same(case, results(case, case.fit(rows, sample_weight=factor * weight), rows), expected, rtol=1e-10)


@pytest.mark.parametrize("case", [case for case in SAMPLING if "robust" in case.cov_types], ids=lambda case: case.name)
def test_equal_sampling_weights_are_no_weights(case):
    rows = case.data()
    assert_same(
        case,
        results(case, case.fit(rows, sample_weight=np.full(rows.n_rows, 3.5)), rows),
        results(case, case.fit(rows), rows),
        rtol=1e-10,
    )


@every_case
def test_weights_of_any_numeric_type(case):
    rows = case.data()
    weight = np.ceil(case.sample_weight(rows))
    if case.weights == "sampling":
        weight[:2] = 2.0, 1.0
    expected = results(case, case.fit(rows, sample_weight=weight))
    for given in (weight.astype(np.int32), weight.astype(np.float32), list(weight), pd.Series(weight.astype(int))):
        assert_same(case, results(case, case.fit(rows, sample_weight=given)), expected, rtol=1e-12)


@every_case
@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({0: -1.0}, "[Nn]egative.*row 0", id="negative"),
        pytest.param({3: np.nan}, "missing or infinite values, first in row 3", id="missing"),
        pytest.param({1: np.inf}, "missing or infinite values, first in row 1", id="infinite"),
        pytest.param(dict.fromkeys(range(10_000), 0.0), "every weight is zero", id="all zero"),
    ],
)
def test_bad_weights_raise(case, change, message):
    rows = case.data()
    weight = np.ones(rows.n_rows)
    for row, value in change.items():
        if row < rows.n_rows:
            weight[row] = value
    with pytest.raises(ValueError, match=message):
        case.fit(rows, sample_weight=weight)


# ------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize("case", EQUIVARIANT, ids=ids(EQUIVARIANT))
@pytest.mark.parametrize("factors", [(10.0, 0.1, -2.0), (1e-6, 1e6, 1e3)], ids=str)
def test_rescaled_features(case, factors):
    rows = case.data()
    if case.posterior:
        factors = np.abs(factors)  # a mirrored posterior has other draws, see the test of swapped labels
    before, after = (
        case.fit(part, estimator=case.unfitted(**case.exact)) for part in (rows, rows.but(X=rows.X * factors))
    )
    per_parameter = np.array([1.0, *factors])
    assert_close(case, np.ravel(after.coef_) * factors, np.ravel(before.coef_), rtol=1e-7)
    assert_close(case, after.intercept_, before.intercept_, rtol=1e-7)
    assert_close(
        case, after.covariance_ * np.outer(per_parameter, per_parameter), before.covariance_, rtol=1e-6, atol=1e-9
    )
    for cov_type in () if case.posterior else case.cov_types:
        old, new = (coef_table(est, cov_type=cov_type) for est in (before, after))
        assert_allclose(new["statistic"] * np.sign(per_parameter), old["statistic"], rtol=1e-6)
        assert_allclose(new["p_value"], old["p_value"], rtol=1e-5)
    expected = predicted(case, before, rows)
    assert_close(case, predicted(case, after, rows.but(X=rows.X * factors)), expected, rtol=1e-7, atol=1e-9)
    old, new = results(case, before), results(case, after)
    if case.restricted:
        new["loglik_"] += np.sum(np.log(np.abs(factors)))  # half the logarithm of |X'V^-1 X|
    for name in old.keys() & UNITLESS:
        assert_close(case, new[name], old[name], rtol=1e-7)


@pytest.mark.parametrize("case", SHIFT_EQUIVARIANT, ids=ids(SHIFT_EQUIVARIANT))
@pytest.mark.parametrize("shift", [(1.0, -2.0, 3.0), (1e3, -1e3, 5.0)], ids=str)
def test_shifted_features_move_only_the_intercept(case, shift):
    rows = case.data()
    before = case.fit(rows)
    after = case.fit(rows.but(X=rows.X + shift))
    assert_close(case, after.coef_, before.coef_, rtol=1e-6)
    assert_close(case, after.intercept_ + np.ravel(after.coef_) @ shift, before.intercept_, rtol=1e-6)
    assert_close(case, after.covariance_[1:, 1:], before.covariance_[1:, 1:], rtol=1e-6, atol=1e-9)
    assert_close(
        case, predicted(case, after, rows.but(X=rows.X + shift)), predicted(case, before, rows), rtol=1e-7, atol=1e-8
    )
    old, new = results(case, before), results(case, after)
    for name in old.keys() & UNITLESS:
        assert_close(case, new[name], old[name], rtol=1e-6)


@every_case
def test_order_of_features_does_not_matter(case):
    rows = case.data()
    before = case.fit(rows)
    after = case.fit(rows.but(X=rows.X[:, [2, 0, 1]]), estimator=case.renumbered([2, 0, 1]))
    parameters = [0, 3, 1, 2]
    if case.posterior:  # the directions in which it is drawn may have other signs
        error = monte_carlo_error(case, np.sqrt(np.diag(before.covariance_)))[1:]
        assert np.all(np.abs(np.ravel(after.coef_)[[1, 2, 0]] - np.ravel(before.coef_)) < error)
        return
    assert_allclose(np.ravel(after.coef_), np.ravel(before.coef_)[[2, 0, 1]], rtol=1e-8)
    assert_allclose(after.covariance_, before.covariance_[np.ix_(parameters, parameters)], rtol=1e-8, atol=1e-12)


@every_case
def test_constant_offset_moves_only_the_intercept(case):
    rows = case.data()
    expected = results(case, case.fit(rows, estimator=case.unfitted(**case.exact)), rows)
    est = case.fit(rows.but(offset=rows.offset + 0.7), estimator=case.unfitted(**case.exact))
    assert_close(case, est.intercept_, np.asarray(expected["intercept_"]) - 0.7, rtol=1e-8)
    assert_close(case, est.coef_, expected["coef_"], rtol=1e-8)
    assert_close(case, est.covariance_, expected["covariance_"], rtol=1e-7, atol=1e-10)
    assert_close(case, predicted(case, est, rows.but(offset=rows.offset + 0.7)), expected["predicted"], rtol=1e-8)


@pytest.mark.parametrize("case", CLASSIFIERS, ids=ids(CLASSIFIERS))
def test_swapped_labels_flip_signs(case):
    rows = case.data()
    before, after = case.fit(rows.but(offset=None)), case.fit(rows.but(y=1 - rows.y, offset=None))
    if case.posterior:  # of the mirrored pairs the other point is kept
        mean, mirrored = (np.concatenate([est.intercept_, est.coef_[0]]) for est in (before, after))
        assert np.all(np.abs(mirrored + mean) < monte_carlo_error(case, np.sqrt(np.diag(before.covariance_))))
        probability, sd = before.predict_proba(rows.X, return_std=True)
        gap = np.abs(after.predict_proba(rows.X)[:, 0] - probability[:, 1])
        assert np.all(gap < monte_carlo_error(case, sd))
        assert abs(after.log_evidence_ - before.log_evidence_) < 0.2
        return
    assert_allclose(after.coef_, -before.coef_, rtol=1e-8)
    assert_allclose(after.intercept_, -before.intercept_, rtol=1e-8)
    assert_allclose(after.covariance_, before.covariance_, rtol=1e-8, atol=1e-12)
    assert_allclose(after.predict_proba(rows.X), before.predict_proba(rows.X)[:, ::-1], rtol=1e-8)
    for name in results(case, before).keys() & {"loglik_", "scale_", "association_"}:
        assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-8, err_msg=name)


CLASSES = {
    "texts": ["no", "yes"],
    "bool": [False, True],
    "floats": [-1.0, 2.0],
    "large integers": [10**12, 10**12 + 1],
    "texts as objects": np.array(["a", "b"], dtype=object),
}


@pytest.mark.parametrize("case", CLASSIFIERS, ids=ids(CLASSIFIERS))
@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES.keys())
def test_names_of_classes_do_not_matter(case, classes):
    rows = case.data()
    labels = np.asarray(classes)[rows.y]
    est = case.fit(rows.but(y=labels))
    assert_same(case, results(case, est, rows), plain(case), rtol=1e-12)
    assert list(est.classes_) == list(classes)
    predictions = est.predict(rows.X, offset=rows.offset)
    assert set(predictions) == set(classes)
    assert predictions.dtype == labels.dtype
    assert est.score(rows.X, labels, offset=rows.offset) == np.mean(predictions == labels)


@pytest.mark.parametrize("case", WITH_UNITS, ids=ids(WITH_UNITS))
@pytest.mark.parametrize("factor", [1e-8, -3.0, 1e8])
def test_units_of_an_outcome(case, factor):
    rows = case.data().but(offset=None)
    before, after = case.fit(rows), case.fit(rows.but(y=factor * rows.y))
    assert_allclose(after.coef_, factor * before.coef_, rtol=1e-7)
    assert_allclose(after.covariance_, factor**2 * before.covariance_, rtol=1e-7, atol=factor**2 * 1e-10)
    for name, power in case.y_units.items():
        unit = (abs(factor) if name.endswith("_sd_") else factor) ** power
        old, new = (getattr(est, name) for est in (before, after))
        old, new = (part if isinstance(part, dict) else {"": part} for part in (old, new))
        for key in old:
            # an entry near zero has not every digit of the larger ones
            atol = 1e-7 * abs(unit) * np.abs(old[key]).max()
            assert_allclose(new[key], unit * old[key], rtol=1e-7, atol=atol, err_msg=name)
    assert after.n_iter_ == before.n_iter_


@pytest.mark.parametrize("case", TIMED, ids=ids(TIMED))
@pytest.mark.parametrize("origin", [-3.0, 2.0, 1e6])
def test_origin_of_time_does_not_matter(case, origin):
    rows = case.data()
    expected = results(case, case.fit(rows), rows)
    assert_same(case, results(case, case.fit(rows, time=rows.time + origin), rows), expected, but=("times_",))


@pytest.mark.parametrize("case", TIMED, ids=ids(TIMED))
def test_unit_of_time_changes_the_association_only(case):
    rows = case.data()
    expected = results(case, case.fit(rows), rows)
    actual = results(case, case.fit(rows, time=rows.time / 12.0), rows)
    assert_same(case, actual, expected, rtol=1e-7, but=("times_", "association_"))
    if np.ndim(expected["association_"]) == 0:
        assert expected["association_"] > 0.1
        assert_allclose(actual["association_"], expected["association_"] ** 12.0, rtol=1e-6)
    else:
        assert_allclose(actual["association_"], expected["association_"], rtol=1e-7)
        assert_allclose(actual["times_"], expected["times_"] / 12.0)


@pytest.mark.parametrize("case", TIMED, ids=ids(TIMED))
def test_times_of_any_type(case):
    rows = case.data()
    expected = results(case, case.fit(rows), rows)
    first = np.datetime64("2021-02-27")
    days = first + rows.time.astype("timedelta64[D]")
    for time in (
        list(rows.time),
        rows.time.astype(np.int8),
        days,
        pd.Series(days),
        pd.Series(rows.time, dtype="Float64"),
    ):
        assert_same(case, results(case, case.fit(rows, time=time), rows), expected, but=("times_",))
    ordered = pd.Categorical(rows.time.astype(int), ordered=True)
    assert_same(case, results(case, case.fit(rows, time=ordered), rows), expected)
    texts = np.array(["day 0", "day 1", "day 2", "day 3"])[rows.time.astype(int)]
    with pytest.raises(ValueError, match="time must be numbers"):
        case.fit(rows, time=texts)
    categorical = pd.Series(pd.Categorical(texts, ordered=True))
    assert_same(case, results(case, case.fit(rows, time=categorical), rows), expected)


@pytest.mark.parametrize("case", TIMED, ids=ids(TIMED))
def test_without_time_the_order_of_rows_counts_with_a_warning(case):
    rows = case.data()
    together = rows.take(np.lexsort((rows.time, rows.groups)))
    _, first, sizes = np.unique(together.groups, return_index=True, return_counts=True)
    position = np.arange(rows.n_rows) - np.repeat(first, sizes)
    expected = results(case, case.fit(together.but(time=position)), rows)
    with pytest.warns(UserWarning, match="no time was given"):
        assert_same(case, results(case, case.fit(together.but(time=None)), rows), expected)


@pytest.mark.parametrize("case", TIMED, ids=ids(TIMED))
def test_tied_times_raise(case):
    rows = case.data()
    with pytest.raises(ValueError, match="time is tied within clusters"):
        case.fit(rows.but(time=np.zeros(rows.n_rows)))


# ------------------------------------------------------------------------------------------------- between estimators


def test_gee_under_independence_is_logistic_regression():
    rows = binary_rows()
    gee = GEEClassifier(scale=1.0).fit(rows.X, rows.y, groups=rows.groups, offset=rows.offset)
    logit = LogitRegressor().fit(rows.X, rows.y, groups=rows.groups, offset=rows.offset)
    n_clusters = len(np.unique(rows.groups))
    assert_allclose(gee.coef_, logit.coef_, rtol=1e-8)
    assert_allclose(gee.covariance_, logit.covariance_ * (n_clusters - 1) / n_clusters, rtol=1e-8)
    naive, model = coef_table(gee, cov_type="naive"), coef_table(logit, cov_type="model")
    assert_allclose(naive["std_error"], model["std_error"], rtol=1e-8)


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1", "unstructured"])
def test_classifier_is_the_binomial_regressor(structure):
    rows = binary_rows()
    metadata = {"groups": rows.groups, "time": rows.time, "offset": rows.offset}
    classifier = GEEClassifier(working_correlation=structure).fit(rows.X, rows.y, **metadata)
    regressor = GEERegressor("binomial", working_correlation=structure).fit(rows.X, rows.y, **metadata)
    assert_allclose(classifier.coef_[0], regressor.coef_, rtol=1e-12)
    assert_allclose(classifier.covariance_, regressor.covariance_, rtol=1e-12)
    assert_allclose(classifier.association_, regressor.association_, rtol=1e-12)
    means = regressor.predict(rows.X, offset=rows.offset)
    assert_allclose(classifier.predict_proba(rows.X, offset=rows.offset)[:, 1], means, rtol=1e-12)
