"""What is wrong must be said: what, where, and what to do."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from skdep import GEEClassifier, GEERegressor, interaction
from skdep.datasets import load_epil
from skdep.exceptions import ConvergenceWarning, FewClustersWarning, SeparationWarning, WorkingCorrelationWarning
from skdep.inference import coef_table, wald_test

from .dense import REPAIRED_EIGENVALUE

STRUCTURES = ["independence", "exchangeable", "ar1", "unstructured"]


def spoilt(values, value, row=3):
    values = np.array(values, dtype=float)
    values[row] = value
    return values


# ------------------------------------------------------------------------------------------------ not a number


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("est", [GEERegressor(), GEEClassifier()], ids=["regressor", "classifier"])
def test_missing_or_infinite_features_and_outcomes(data, est, value):
    X = data.X.copy()
    X[3, 1] = value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        est.fit(X, data.binary, groups=data.groups)
    with pytest.raises(ValueError, match=r"(Input y contains|y contains) (NaN|infinity)"):
        est.fit(data.X, spoilt(data.binary, value), groups=data.groups)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_or_infinite_metadata(data, value):
    est = GEERegressor(working_correlation="ar1")
    given = {"groups": data.groups, "time": data.time}
    with pytest.raises(ValueError, match="sample_weight has 1 missing or infinite values, first in row 3"):
        est.fit(data.X, data.y, **given, sample_weight=spoilt(data.weights, value))
    with pytest.raises(ValueError, match="offset has 1 missing or infinite values, first in row 3"):
        est.fit(data.X, data.y, **given, offset=spoilt(data.offset, value))
    with pytest.raises(ValueError, match=r"time has 1 missing (or infinite )?values, first in row 3"):
        est.fit(data.X, data.y, groups=data.groups, time=spoilt(data.time, value))


def test_missing_groups(data):
    groups = data.groups.astype(object)
    groups[5] = None
    with pytest.raises(ValueError, match=r"groups: label.*missing in 1 rows, first in row 5.*must belong to a cluster"):
        GEERegressor().fit(data.X, data.y, groups=groups)


def test_missing_dates(data):
    dates = pd.Series(np.datetime64("2024-01-01") + data.time.astype("timedelta64[D]"))
    dates[[2, 8]] = pd.NaT
    with pytest.raises(ValueError, match="time has 2 missing values, first in row 2; drop those rows"):
        GEERegressor(working_correlation="ar1").fit(data.X, data.y, groups=data.groups, time=dates)


def test_columns_that_are_no_numbers(data):
    frame = pd.DataFrame(data.X, columns=["dose", "age"]).assign(sex="f")
    with pytest.raises(ValueError, match=r"Columns of X that are not numbers: sex\. Encode categories.*OneHotEncoder"):
        GEERegressor().fit(frame, data.y, groups=data.groups)


@pytest.mark.parametrize("time", ["labels", "unordered", "complex", "two columns"])
def test_times_without_gaps(data, time):
    labels = np.array(["a", "b", "c", "d", "e", "f", "g"])[data.time.astype(int)]
    given = {
        "labels": labels,
        "unordered": pd.Series(labels, dtype="category"),
        "complex": data.time + 1j,
        "two columns": np.column_stack([data.time, data.time]),
    }[time]
    message = {"two columns": r"time must be one-dimensional, got shape \(", "complex": "time must be numbers"}
    with pytest.raises(ValueError, match=message.get(time, "time must be numbers, dates or an ordered categorical")):
        GEERegressor(working_correlation="ar1").fit(data.X, data.y, groups=data.groups, time=given)


@pytest.mark.parametrize("name", ["sample_weight", "offset", "time", "groups"])
def test_metadata_of_the_wrong_length(data, name):
    values = {"sample_weight": data.weights, "offset": data.offset, "time": data.time, "groups": data.groups}[name]
    given = {"groups": data.groups, "time": data.time, name: values[:-1]}
    n = len(data.X)
    with pytest.raises(ValueError, match=f"has {n - 1} (values|labels) for {n} rows; give exactly one"):
        GEERegressor(working_correlation="ar1").fit(data.X, data.y, **given)


def test_offset_of_the_wrong_length_at_predict(data):
    est = GEERegressor("poisson").fit(data.X, data.counts, offset=data.offset)
    with pytest.raises(ValueError, match=r"offset has 2 values for \d+ rows"):
        est.predict(data.X, offset=[0.0, 0.0])


# ------------------------------------------------------------------------------------------------ outcomes


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1"])
def test_constant_gaussian_outcome(data, structure):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = GEERegressor(working_correlation=structure)
        est.fit(data.X, np.full(len(data.X), 3.7), groups=data.groups, time=data.time)
    np.testing.assert_allclose(est.predict(data.X), 3.7, rtol=1e-12)
    assert est.converged_
    assert est.score(data.X, np.full(len(data.X), 3.7)) in (0.0, 1.0)


@pytest.mark.parametrize(
    ("family", "value"), [("poisson", 0), ("negative_binomial", 0), ("binomial", 0), ("binomial", 1)]
)
def test_outcomes_all_at_the_end_of_the_range(data, family, value):
    message = f"y is {value} in every row, the end of the range of the {family} family"
    with pytest.raises(ValueError, match=message):
        GEERegressor(family).fit(data.X, np.full(len(data.X), float(value)), groups=data.groups)


def test_one_class(data):
    with pytest.raises(ValueError, match="only one class"):
        GEEClassifier().fit(data.X, np.ones(len(data.X)), groups=data.groups)
    weights = data.binary.copy()  # only the ones count
    with pytest.raises(ValueError, match=r"only one class .* among rows of positive weight"):
        GEEClassifier().fit(data.X, data.binary, groups=data.groups, sample_weight=weights)
    with pytest.raises(ValueError, match="y is 1 in every row"):
        GEERegressor("binomial").fit(data.X, data.binary, groups=data.groups, sample_weight=weights)


def test_three_classes(data):
    with pytest.raises(ValueError, match="Only binary classification"):
        GEEClassifier().fit(data.X, np.arange(len(data.X)) % 3)


@pytest.mark.parametrize(
    ("family", "bad", "interval"),
    [
        ("binomial", 1.2, r"\[0, 1\]"),
        ("binomial", -0.1, r"\[0, 1\]"),
        ("poisson", -1.0, r"\[0, inf\)"),
        ("negative_binomial", -1.0, r"\[0, inf\)"),
        ("gamma", 0.0, r"\(0, inf\)"),
        ("gamma", -1.0, r"\(0, inf\)"),
        ("inverse_gaussian", 0.0, r"\(0, inf\)"),
    ],
)
def test_outcomes_outside_the_range(data, family, bad, interval):
    y = spoilt(data.binary if family == "binomial" else data.positive, bad)
    message = rf"1 values are outside the range {interval} of the {family} family, first in row 3 \({bad:g}\)"
    with pytest.raises(ValueError, match=message):
        GEERegressor(family).fit(data.X, y, groups=data.groups)


def test_outcomes_outside_the_range_at_score(data):
    est = GEERegressor("poisson").fit(data.X, data.counts)
    with pytest.raises(ValueError, match="1 values are outside the range"):
        est.score(data.X, spoilt(data.counts, -1.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_outcomes_at_score(data, value):
    est = GEERegressor("poisson").fit(data.X, data.counts)
    with pytest.raises(ValueError, match=r"y|NaN|missing"):
        est.score(data.X, spoilt(data.counts, value))


def test_outcomes_of_the_wrong_length(data):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GEERegressor().fit(data.X, data.y[:-1])
    est = GEERegressor().fit(data.X, data.y)
    with pytest.raises(ValueError, match=r"inconsistent|rows|length"):
        est.score(data.X, data.y[:-1])
    with pytest.raises(ValueError, match=r"inconsistent|rows|length"):
        est.score(data.X, data.y[:1])  # one value is not an outcome for every row


# ------------------------------------------------------------------------------------------------ clusters


def test_one_cluster(data):
    with pytest.warns(FewClustersWarning, match="There is one cluster: .* NaN"):
        est = GEERegressor(working_correlation="exchangeable").fit(data.X, data.y, groups=np.zeros(len(data.X)))
    assert est.n_clusters_ == 1
    assert np.isnan(est.covariance_).all()
    assert np.isfinite(coef_table(est, cov_type="naive")["std_error"]).all()
    str(est.summary())


def test_one_cluster_with_naive_covariance_is_silent(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = GEERegressor(cov_type="naive").fit(data.X, data.y, groups=np.zeros(len(data.X)))
    assert np.isfinite(est.covariance_).all()


def test_fewer_clusters_than_parameters(data):
    with pytest.warns(FewClustersWarning, match="2 clusters for 3 parameters: .* not full rank"):
        est = GEERegressor().fit(data.X, data.y, groups=np.arange(len(data.X)) % 2)
    assert np.linalg.matrix_rank(est.covariance_, tol=1e-10) < 3
    with pytest.warns(UserWarning, match="-1 degrees of freedom left"):
        assert coef_table(est, df="residual")["p_value"].isna().all()


def test_two_dimensional_groups(data):
    frame = pd.DataFrame({"centre": data.groups % 3, "patient": data.groups // 3})
    with pytest.raises(ValueError, match=r"groups has 2 columns \('centre', 'patient'\).*skdep.interaction\(a, b\)"):
        GEERegressor().fit(data.X, data.y, groups=frame)
    with pytest.raises(ValueError, match=r"groups has 2 columns \('group0', 'group1'\)"):
        GEERegressor().fit(data.X, data.y, groups=frame.to_numpy())
    est = GEERegressor().fit(data.X, data.y, groups=interaction(frame["centre"], frame["patient"]))
    assert est.n_clusters_ == 60


def test_unseen_labels_at_predict(data):
    est = GEERegressor().fit(data.X, data.y, groups=data.groups)
    np.testing.assert_array_equal(est.predict(data.X, groups=data.groups + 1000), est.predict(data.X))


# ------------------------------------------------------------------------------------------------ weights


def test_weights_zero_or_negative(data):
    with pytest.raises(ValueError, match="every weight is zero"):
        GEERegressor().fit(data.X, data.y, sample_weight=np.zeros(len(data.X)))
    with pytest.raises(ValueError, match=r"1 negative weights, first in row 3 \(-2\)"):
        GEERegressor().fit(data.X, data.y, sample_weight=spoilt(data.weights, -2.0))


def test_frequencies_that_are_none(data):
    est = GEERegressor(weight_type="frequency")
    with pytest.raises(ValueError, match=r"whole numbers, but row 3 has 1\.5.*weight_type='sampling'"):
        est.fit(data.X, data.y, groups=data.groups, sample_weight=spoilt(data.cluster_weights, 1.5))


def test_frequencies_that_vary_within_a_cluster(data):
    row = int(np.flatnonzero(data.groups == 0)[-1])  # cluster 0 has five rows
    weights = spoilt(data.cluster_weights, 9.0, row)
    with pytest.raises(ValueError, match=rf"constant within each, but differ in cluster 0, first in row {row}\."):
        GEERegressor(weight_type="frequency").fit(data.X, data.y, groups=data.groups, sample_weight=weights)


# ------------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize("structure", ["ar1", "unstructured"])
@pytest.mark.parametrize("labels", ["numbers", "strings"])
def test_tied_times_name_the_cluster(data, structure, labels):
    names = np.array([f"p{number:02d}" for number in range(60)]) if labels == "strings" else np.arange(60)
    rows = np.flatnonzero(data.groups == 0)
    time = data.time.copy()
    time[rows[1]] = time[rows[0]]
    shown = "'p00'" if labels == "strings" else "0"
    message = f"1 rows repeat a time of their cluster, first cluster {shown} at time {time[rows[0]]:g}"
    with pytest.raises(ValueError, match=message):
        GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=names[data.groups], time=time)


@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
def test_tied_times_do_not_matter_where_time_does_not(data, structure):
    a = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups)
    b = GEERegressor(working_correlation=structure)
    b.fit(data.X, data.y, groups=data.groups, time=np.zeros(len(data.X)))
    np.testing.assert_array_equal(a.coef_, b.coef_)


def test_unstructured_with_too_many_times():
    rng = np.random.default_rng(0)
    X, y, time = rng.normal(size=(1200, 1)), rng.normal(size=1200), rng.uniform(size=1200)
    with pytest.raises(ValueError, match=r"1200 distinct times: times must be a few common visits.*or use 'ar1'"):
        GEERegressor(working_correlation="unstructured").fit(X, y, groups=np.repeat(np.arange(300), 4), time=time)


def test_unstructured_names_pairs_that_never_meet():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 1)), rng.normal(size=200)
    groups = np.repeat(np.arange(100), 2)
    time = np.where(groups % 2 == 0, np.tile([0, 1], 100), np.tile([0, 2], 100))
    with pytest.warns(WorkingCorrelationWarning, match="1 of 3 pairs of times never occur in one cluster"):
        est = GEERegressor(working_correlation="unstructured").fit(X, y, groups=groups, time=time)
    assert est.association_[1, 2] == 0.0


# ------------------------------------------------------------------------------------------------ repair


def test_alpha_above_one_is_repaired():
    """Overdispersed counts with phi held at 1: the moment estimate in R is 1.85."""
    frame = load_epil().frame
    X = np.column_stack([frame["trt"] == "progabide", np.log(frame["base"] / 4), np.log(frame["age"])]).astype(float)
    est = GEERegressor("poisson", working_correlation="exchangeable", scale=1.0, dof="n")
    with pytest.warns(WorkingCorrelationWarning, match=r"\(exchangeable\) was not positive definite; it was shrunk"):
        est.fit(X, frame["y"], groups=frame["subject"])
    assert est.association_ == pytest.approx(1.0 - REPAIRED_EIGENVALUE)
    assert est.correlation_shrinkage_ == pytest.approx(1 - (1 - REPAIRED_EIGENVALUE) / 1.85, abs=0.05)
    assert np.isfinite(est.covariance_).all()
    assert "not positive definite" in str(est.summary())


@pytest.mark.parametrize("factor", [1e2, 1e5, 1e8])
def test_scale_fixed_in_the_wrong_unit_is_repaired(data, factor):
    """scale=1 for an outcome of variance 1e16: alpha comes out as 1e15, and must be brought below 1."""
    est = GEERegressor(working_correlation="exchangeable", scale=1.0)
    with pytest.warns(WorkingCorrelationWarning, match="not positive definite"):
        est.fit(data.X, factor * data.y, groups=data.groups)
    assert est.association_ == pytest.approx(1.0 - REPAIRED_EIGENVALUE)
    assert np.isfinite(est.coef_).all()


def test_unstructured_estimate_that_is_not_positive_definite():
    """Few clusters of many times: pairs that each look fine make no correlation matrix."""
    rng = np.random.default_rng(1)
    groups, time = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    X, y = rng.normal(size=(48, 1)), rng.normal(size=48)
    keep = rng.uniform(size=48) < 0.7
    with pytest.warns(WorkingCorrelationWarning, match=r"\(unstructured\) was not positive definite"):
        est = GEERegressor(working_correlation="unstructured", max_iter=500)
        est.fit(X[keep], y[keep], groups=groups[keep], time=time[keep])
    assert 0 < est.correlation_shrinkage_ < 1
    assert np.isfinite(est.covariance_).all()
    for label in range(8):
        waves = time[keep & (groups == label)]
        if len(waves):
            assert np.linalg.eigvalsh(est.association_[np.ix_(waves, waves)])[0] > 0.99 * REPAIRED_EIGENVALUE


def test_two_rows_close_in_time_do_not_hide_the_correlation_of_the_others():
    """One visit was entered twice, seconds apart."""
    rng = np.random.default_rng(0)
    n_clusters, size = 100, 6
    groups = np.repeat(np.arange(n_clusters), size)
    time = np.tile(10.0 * np.arange(size), n_clusters) + rng.uniform(0, 1, n_clusters * size)
    noise = np.empty(len(time))
    for label in range(n_clusters):
        days = time[groups == label]
        noise[groups == label] = np.linalg.cholesky(0.95 ** np.abs(np.subtract.outer(days, days))) @ rng.normal(
            size=size
        )
    X = rng.normal(size=(len(time), 1))
    y = X[:, 0] + noise
    est = GEERegressor(working_correlation="ar1").fit(X, y, groups=groups, time=time)
    assert est.association_ == pytest.approx(0.95, abs=0.01)
    for second in (noise[0], -noise[0]):
        again = GEERegressor(working_correlation="ar1")
        again.fit(
            np.vstack([X, [[0.0]]]),
            np.append(y, second),
            groups=np.append(groups, 0),
            time=np.append(time, time[0] + 1e-5),
        )
        assert again.association_ == pytest.approx(est.association_, abs=0.02)


# ------------------------------------------------------------------------------------------------ separation


def separated(data, kind):
    """Return features and outcomes of which 'risk' separates, completely or where it is 1."""
    if kind == "complete":
        return pd.DataFrame({"age": data.X[:, 1], "risk": data.X[:, 0]}), (data.X[:, 0] > 0).astype(float)
    risk = (np.arange(len(data.X)) % 5 == 0).astype(float)
    return pd.DataFrame({"age": data.X[:, 1], "risk": risk}), np.where(risk == 1, 1.0, data.binary)


@pytest.mark.parametrize("kind", ["complete", "quasi"])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "loglog", "cauchit"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_separation_is_named(data, kind, link, structure):
    X, y = separated(data, kind)
    est = GEEClassifier(link=link, working_correlation=structure)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(X, y, groups=data.groups, time=data.time)
    messages = [str(w.message) for w in caught if issubclass(w.category, SeparationWarning)]
    assert len(messages) == 1
    assert "'risk'" in messages[0]
    if kind == "quasi":
        assert "1 of 2 features are infinite: 'risk'" in messages[0] and "'age'" not in messages[0]
    assert not est.converged_
    assert "Separation" in str(est.summary())


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "loglog", "cauchit"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_overlap_is_not_called_separation(data, link, structure):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeparationWarning)
        est = GEEClassifier(link=link, working_correlation=structure)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=WorkingCorrelationWarning)
            est.fit(data.X, data.binary, groups=data.groups, time=data.time)


def test_separation_by_weights(data):
    """Rows that would overlap have weight zero."""
    X, y = separated(data, "quasi")
    y[0] = 0.0  # row 0 has risk 1
    weights = np.ones(len(y))
    est = GEEClassifier()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est.fit(X, y, groups=data.groups, sample_weight=weights)
    weights[0] = 0.0
    with pytest.warns(SeparationWarning, match="'risk'"):
        est.fit(X, y, groups=data.groups, sample_weight=weights)


def test_group_of_counts_that_are_all_zero(data):
    X, _ = separated(data, "quasi")
    y = np.where(X["risk"] == 1, 0.0, data.counts)
    with pytest.warns(UserWarning, match=r"fitted means are 0 to rounding: some coefficients are infinite"):
        GEERegressor("poisson").fit(X, y, groups=data.groups)
    with pytest.warns(ConvergenceWarning):
        est = GEERegressor("poisson", working_correlation="exchangeable").fit(X, y, groups=data.groups)
    assert np.isfinite(est.coef_).all()


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("working_correlation", "ar2"),
        ("family", "tweedie"),
        ("link", "power"),
        ("cov_type", "hc3"),
        ("dof", "n-1"),
        ("weight_type", "analytic"),
        ("scale", 0.0),
        ("scale", -1.0),
        ("max_iter", 0),
        ("tol", 0.0),
        ("fit_intercept", "yes"),
    ],
)
def test_unknown_parameters(data, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of GEERegressor must be"):
        GEERegressor(**{parameter: value}).fit(data.X, data.y)


def test_link_that_the_family_cannot_use(data):
    """Whatever happens, it is not a message about arrays inside scipy."""
    y = data.counts + 5.0  # means above 1 are out of the logit's reach
    with pytest.raises(ValueError, match="link 'logit'"):
        GEERegressor("poisson", link="logit").fit(data.X, y, groups=data.groups)
    with pytest.raises(ValueError, match="link 'log'"):
        GEERegressor("gaussian", link="log").fit(data.X, -y, groups=data.groups)


def test_few_clusters_and_a_joint_test(data):
    with pytest.warns(FewClustersWarning):
        est = GEERegressor().fit(data.X, data.y, groups=np.arange(len(data.X)) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = wald_test(est, np.eye(3))
        except ValueError as error:
            assert "rank" in str(error) or "singular" in str(error)
        else:
            assert np.isnan(result.p_value) or result.df < 3
