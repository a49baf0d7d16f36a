"""The estimators as users meet them: invariances, weights, predictions, printing."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.base import clone
from sklearn.metrics import accuracy_score, d2_tweedie_score, log_loss, r2_score

from skdep import GEEClassifier, GEERegressor
from skdep.exceptions import TimeOrderWarning, WeightWarning
from skdep.families import NegativeBinomial
from skdep.gee import AR1, Exchangeable
from skdep.inference import coef_table, qic
from skdep.links import LINKS

STRUCTURES = ["independence", "exchangeable", "ar1", "unstructured"]


def fit(est, data, y="y", *, rows=slice(None), **metadata):
    """Fit to some rows, with groups and time unless told otherwise, whatever it warns of."""
    given = {"groups": data.groups[rows], "time": data.time[rows], **metadata}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return est.fit(data.X[rows], getattr(data, y)[rows], **given)


def assert_same_fit(a, b, rtol=1e-8):
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=rtol)
    np.testing.assert_allclose(a.intercept_, b.intercept_, rtol=rtol)
    np.testing.assert_allclose(a.scale_, b.scale_, rtol=rtol)
    np.testing.assert_allclose(a.association_, b.association_, rtol=100 * rtol, atol=1e-10)
    for kind in ("naive", "robust"):
        np.testing.assert_allclose(
            a._inference.covariance(kind), b._inference.covariance(kind), rtol=100 * rtol, atol=1e-12, err_msg=kind
        )
    assert qic(a).qic == pytest.approx(qic(b).qic, rel=10 * rtol)
    assert qic(a).cic == pytest.approx(qic(b).cic, rel=100 * rtol)
    assert a.n_clusters_ == b.n_clusters_


# ------------------------------------------------------------------------------------------------ rows and labels


@pytest.mark.parametrize("structure", STRUCTURES)
def test_row_order_does_not_matter(data, structure):
    order = np.random.default_rng(1).permutation(len(data.X))
    a = fit(GEERegressor("poisson", working_correlation=structure), data, "counts")
    b = fit(GEERegressor("poisson", working_correlation=structure), data, "counts", rows=order)
    assert_same_fit(a, b)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_labels_do_not_matter(data, structure):
    a = fit(GEERegressor(working_correlation=structure), data)
    rng = np.random.default_rng(2)
    names = np.array([f"subject {number}" for number in rng.permutation(60)])
    for groups in (
        names[data.groups],
        pd.Series(names[data.groups], dtype="category", name="subject"),
        [(int(g) % 7, int(g)) for g in data.groups],
        data.groups * -1.5,
        pd.DataFrame({"subject": data.groups}),
    ):
        assert_same_fit(a, fit(GEERegressor(working_correlation=structure), data, groups=groups))


def test_rows_of_a_cluster_need_not_be_neighbours(data):
    assert (np.diff(data.groups) != 0).sum() > 100  # they are not, here
    order = np.lexsort((data.time, data.groups))
    a = fit(GEERegressor(working_correlation="exchangeable"), data)
    b = fit(GEERegressor(working_correlation="exchangeable"), data, rows=order)
    assert_same_fit(a, b)
    assert a.n_clusters_ == 60


def test_groups_given_as_series_name_the_factor(data):
    est = fit(GEERegressor(), data, groups=pd.Series(data.groups, name="ward"))
    assert "Clusters (ward)" in str(est.summary())


def test_time_is_not_used_where_it_has_no_meaning(data):
    for structure in ("independence", "exchangeable"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            a = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups)
        assert_same_fit(a, fit(GEERegressor(working_correlation=structure), data))


@pytest.mark.parametrize("structure", ["ar1", "unstructured"])
def test_no_time_is_position_with_a_warning(data, structure):
    position = pd.Series(data.groups).groupby(data.groups).cumcount()
    with pytest.warns(TimeOrderWarning, match=r"order of rows.*Pass time= to fit"):
        a = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups)
    assert_same_fit(a, fit(GEERegressor(working_correlation=structure), data, time=position))


def test_no_time_and_clusters_of_one_row_do_not_warn(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GEERegressor(working_correlation="ar1").fit(data.X, data.y)


# ------------------------------------------------------------------------------------------------ kinds of time


def time_as(kind, days):
    start = pd.Timestamp("2024-02-27")
    stamps = [start + pd.Timedelta(days=int(day)) for day in days]
    return {
        "datetime64": lambda: np.array(stamps, dtype="datetime64[ns]"),
        "Series": lambda: pd.Series(stamps, index=np.arange(len(days))[::-1]),
        "time zone": lambda: pd.Series(stamps).dt.tz_localize("UTC"),
        "DatetimeIndex": lambda: pd.DatetimeIndex(stamps),
        "timedelta": lambda: pd.to_timedelta(days, unit="D"),
        "list of datetime": lambda: [stamp.to_pydatetime() for stamp in stamps],
        "list of date": lambda: [stamp.date() for stamp in stamps],
        "Series of date": lambda: pd.Series([stamp.date() for stamp in stamps]),
        "period": lambda: pd.Series(pd.PeriodIndex(stamps, freq="D")),
        "nullable": lambda: pd.Series(days.astype(int), dtype="Int64"),
        "list of int": lambda: [int(day) for day in days],
        "column": lambda: days[:, None],
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "datetime64",
        "Series",
        "time zone",
        "DatetimeIndex",
        "timedelta",
        "list of datetime",
        "list of date",
        "Series of date",
        "period",
        "nullable",
        "list of int",
        "column",
    ],
)
def test_dates_are_counted_in_days(data, kind):
    expected = fit(GEERegressor(working_correlation="ar1"), data)
    assert_same_fit(expected, fit(GEERegressor(working_correlation="ar1"), data, time=time_as(kind, data.time)))


VISITS = ["baseline", "early", "middle", "late", "end", "follow-up", "last"]


@pytest.mark.parametrize(
    "wrap", [pd.Series, lambda categorical: categorical, pd.CategoricalIndex], ids=["Series", "raw", "index"]
)
@pytest.mark.parametrize("structure", ["ar1", "unstructured"])
def test_ordered_categorical_time_is_its_numbers(data, wrap, structure):
    labels = np.array(VISITS)[data.time.astype(int)]
    visit = wrap(pd.Categorical(labels, categories=VISITS, ordered=True))
    expected = fit(GEERegressor(working_correlation=structure), data)
    assert_same_fit(expected, fit(GEERegressor(working_correlation=structure), data, time=visit))


def test_ordered_categorical_of_numbers_is_ordered_by_its_order(data):
    """Categories 10, 5, 1 in that order are times 0, 1, 2, however the categorical is passed."""
    numbers = np.array([70, 60, 50, 40, 30, 20, 10])[data.time.astype(int)]
    categorical = pd.Categorical(numbers, categories=[70, 60, 50, 40, 30, 20, 10], ordered=True)
    expected = fit(GEERegressor(working_correlation="ar1"), data)
    for visit in (pd.Series(categorical), categorical):
        found = fit(GEERegressor(working_correlation="ar1"), data, time=visit)
        assert found.association_ == pytest.approx(expected.association_, rel=1e-9)


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dof", ["n-p", "n"])
def test_rows_of_weight_zero_are_as_if_not_there(data, structure, dof):
    weights = data.weights.copy()
    weights[::7] = 0.0
    weights[data.groups == 3] = 0.0
    keep = weights > 0
    est = GEERegressor("poisson", working_correlation=structure, dof=dof)
    a = fit(clone(est), data, "counts", sample_weight=weights)
    b = fit(clone(est), data, "counts", rows=keep, sample_weight=weights[keep])
    assert a.n_clusters_ == len(np.unique(data.groups[keep])) < 60
    assert_same_fit(a, b, rtol=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dof", ["n-p", "n"])
def test_frequency_weights_are_repeated_clusters(data, structure, dof):
    copies = data.cluster_weights.astype(int)
    copies[data.groups == 5] = 0
    rows = np.repeat(np.arange(len(copies)), copies)
    copy = np.concatenate([np.arange(count) for count in copies])
    labels = [f"{data.groups[row]}/{number}" for row, number in zip(rows, copy)]
    est = GEERegressor("poisson", working_correlation=structure, dof=dof, weight_type="frequency", tol=1e-12)
    a = fit(clone(est), data, "counts", sample_weight=copies)
    b = fit(clone(est).set_params(weight_type="sampling"), data, "counts", rows=rows, groups=labels)
    assert_same_fit(a, b)
    assert a._inference.n_obs == b._inference.n_obs == copies.sum()
    np.testing.assert_allclose(coef_table(a, df="residual"), coef_table(b, df="residual"), rtol=1e-6)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dof", ["n-p", "n"])
@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e9])
def test_scale_of_sampling_weights_does_not_matter(data, structure, dof, factor):
    est = GEERegressor("poisson", working_correlation=structure, dof=dof)
    a = fit(clone(est), data, "counts", sample_weight=data.weights)
    b = fit(clone(est), data, "counts", sample_weight=factor * data.weights)
    assert_same_fit(a, b)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", ["sampling", "frequency"])
def test_weights_of_one_are_no_weights(data, structure, kind):
    a = fit(GEERegressor("poisson", working_correlation=structure), data, "counts")
    est = GEERegressor("poisson", working_correlation=structure, weight_type=kind)
    assert_same_fit(a, fit(est, data, "counts", sample_weight=np.ones(len(data.X))), rtol=1e-12)


@pytest.mark.parametrize("dof", ["n-p", "n"])
@pytest.mark.parametrize("kind", ["sampling", "frequency"])
def test_weights_without_groups(data, dof, kind):
    """No pairs, no correlation: exchangeable without groups is independence, weights or not."""
    weights = data.weights if kind == "sampling" else data.cluster_weights
    params = {"weight_type": kind, "dof": dof}
    a = GEERegressor(working_correlation="exchangeable", **params).fit(data.X, data.y, sample_weight=weights)
    b = GEERegressor(**params).fit(data.X, data.y, sample_weight=weights)
    assert a.association_ == 0.0
    assert_same_fit(a, b)


@pytest.mark.parametrize("structure", ["exchangeable", "ar1", "unstructured"])
def test_weights_that_vary_within_clusters_warn(data, structure):
    est = GEERegressor(working_correlation=structure)
    with pytest.warns(WeightWarning, match=f"vary within clusters.*'{structure}'.*'independence' is free of that"):
        est.fit(data.X, data.y, groups=data.groups, time=data.time, sample_weight=data.weights)
    assert "vary within clusters" in str(est.summary())


def test_weights_that_do_not_vary_or_do_not_matter_are_silent(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GEERegressor().fit(data.X, data.y, groups=data.groups, sample_weight=data.weights)
        est = GEERegressor(working_correlation="exchangeable")
        est.fit(data.X, data.y, groups=data.groups, sample_weight=0.1 * data.cluster_weights)
        est.fit(data.X, data.y, sample_weight=data.weights)


# ------------------------------------------------------------------------------------------------ other software


FAMILIES = [
    ("gaussian", None, "y", sm.families.Gaussian()),
    ("binomial", None, "binary", sm.families.Binomial()),
    ("binomial", "probit", "binary", sm.families.Binomial(sm.families.links.Probit())),
    ("poisson", None, "counts", sm.families.Poisson()),
    ("poisson", "sqrt", "counts", sm.families.Poisson(sm.families.links.Sqrt())),
    ("gamma", "log", "positive", sm.families.Gamma(sm.families.links.Log())),
    ("inverse_gaussian", "log", "positive", sm.families.InverseGaussian(sm.families.links.Log())),
    (NegativeBinomial(0.5), None, "counts", sm.families.NegativeBinomial(alpha=0.5)),
]


@pytest.mark.parametrize(("family", "link", "y", "peer"), FAMILIES)
@pytest.mark.parametrize("with_offset", [False, True])
def test_no_groups_is_a_glm_with_hc0(data, family, link, y, peer, with_offset):
    X, outcome = data.X, getattr(data, y)
    if link == "sqrt":  # keep the linear predictor positive
        X, outcome = 0.1 * X, outcome + 2.0
    offset = 0.1 * data.offset if with_offset else None
    est = GEERegressor(family, link=link).fit(X, outcome, offset=offset)
    glm = sm.GLM(outcome, sm.add_constant(X), family=peer, offset=offset).fit(tol=1e-14, tol_criterion="params")
    np.testing.assert_allclose([est.intercept_, *est.coef_], glm.params, rtol=1e-6, atol=1e-9)
    # the sandwich by hand: with a link that is not canonical statsmodels' HC0 has the observed information as bread
    design, mu = sm.add_constant(X), glm.mu
    slope = peer.link.inverse_deriv(peer.link(mu))
    bread = np.linalg.inv(design.T @ (design * (slope**2 / peer.variance(mu))[:, None]))
    scores = design * ((outcome - mu) * slope / peer.variance(mu))[:, None]
    expected = bread @ scores.T @ scores @ bread
    np.testing.assert_allclose(est.covariance_, expected, rtol=1e-5, atol=1e-12)
    if link is None and not isinstance(family, NegativeBinomial):
        hc0 = sm.GLM(outcome, design, family=peer, offset=offset).fit(tol=1e-14, cov_type="HC0")
        np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), hc0.bse, rtol=1e-6)
    assert est.n_clusters_ == len(X)
    assert est._inference.n_clusters is None
    pearson = np.sum((outcome - mu) ** 2 / peer.variance(mu))
    assert est.scale_ == pytest.approx(pearson / (len(X) - 3), rel=1e-6)


@pytest.mark.parametrize(("family", "link", "y", "peer"), FAMILIES[:4])
def test_statsmodels_exchangeable(data, family, link, y, peer):
    """Statsmodels divides as SAS does; its phi is 1 for counts and binary outcomes unless told to estimate it."""
    order = np.argsort(data.groups, kind="stable")
    outcome = getattr(data, y)[order]
    X = sm.add_constant(data.X[order])
    gee = sm.GEE(outcome, X, data.groups[order], family=peer, cov_struct=sm.cov_struct.Exchangeable())
    peer_fit = gee.fit(maxiter=200, ctol=1e-10, scale="X2")
    est = fit(GEERegressor(family, link=link, working_correlation="exchangeable"), data, y)
    np.testing.assert_allclose([est.intercept_, *est.coef_], peer_fit.params, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(est.covariance_)), peer_fit.bse, rtol=1e-5)
    naive = coef_table(est, cov_type="naive")["std_error"]
    np.testing.assert_allclose(naive, peer_fit.standard_errors("naive"), rtol=1e-5)
    assert est.association_ == pytest.approx(peer_fit.cov_struct.dep_params, rel=1e-5)
    assert est.scale_ == pytest.approx(peer_fit.scale, rel=1e-6)


# ------------------------------------------------------------------------------------------------ the two estimators


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("link", [None, "probit", "cloglog"])
def test_classifier_is_the_binomial_regressor(data, structure, link):
    a = fit(GEERegressor("binomial", link=link, working_correlation=structure), data, "binary")
    labels = np.array(["well", "ill"])[1 - data.binary.astype(int)]  # "well" is 1, the later in the alphabet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        b = GEEClassifier(link=link, working_correlation=structure)
        b.fit(data.X, labels, groups=data.groups, time=data.time)
    assert b.classes_.tolist() == ["ill", "well"]
    assert b.coef_.shape == (1, 2) and b.intercept_.shape == (1,)
    np.testing.assert_array_equal(b.coef_[0], a.coef_)
    np.testing.assert_array_equal(b.intercept_[0], a.intercept_)
    np.testing.assert_array_equal(b.covariance_, a.covariance_)
    np.testing.assert_array_equal(b.association_, a.association_)
    np.testing.assert_array_equal(b.predict_proba(data.X)[:, 1], a.predict(data.X))
    assert qic(a) == qic(b)


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (2, 5), (False, True), ("no", "yes"), (1.0, 2.0)], ids=str)
def test_labels_of_classes(data, labels):
    y = np.array(labels)[data.binary.astype(int)]
    est = GEEClassifier(working_correlation="exchangeable").fit(data.X, y, groups=data.groups)
    np.testing.assert_array_equal(est.classes_, np.array(labels))
    expected = GEEClassifier(working_correlation="exchangeable").fit(data.X, data.binary, groups=data.groups)
    np.testing.assert_array_equal(est.coef_, expected.coef_)
    assert set(est.predict(data.X)) <= set(np.array(labels))
    assert est.score(data.X, y) == accuracy_score(data.binary, expected.predict(data.X))


def test_fractions(data):
    """A fraction of m trials with weight m is m binary rows of one cluster, under independence."""
    rng = np.random.default_rng(3)
    trials = rng.integers(1, 6, len(data.X))
    successes = rng.binomial(trials, 1 / (1 + np.exp(-data.X[:, 0])))
    a = GEERegressor("binomial").fit(data.X, successes / trials, groups=data.groups, sample_weight=trials)
    rows = np.repeat(np.arange(len(trials)), trials)
    binary = np.concatenate([np.arange(t) < s for t, s in zip(trials, successes)]).astype(float)
    b = GEERegressor("binomial").fit(data.X[rows], binary, groups=data.groups[rows])
    np.testing.assert_allclose([a.intercept_, *a.coef_], [b.intercept_, *b.coef_], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(a.covariance_, b.covariance_, rtol=1e-7)
    with pytest.raises(ValueError, match=r"binary|continuous"):
        GEEClassifier().fit(data.X, successes / trials + 0.01)


# ------------------------------------------------------------------------------------------------ predictions


def test_predict_is_the_mean(data):
    est = fit(GEERegressor("poisson", working_correlation="exchangeable"), data, "counts")
    eta = est.intercept_ + data.X @ est.coef_
    np.testing.assert_allclose(est.predict(data.X), np.exp(eta), rtol=1e-12)
    np.testing.assert_array_equal(est.predict(data.X, groups=data.groups), est.predict(data.X))
    np.testing.assert_array_equal(est.predict(data.X, groups=["never seen"] * len(eta)), est.predict(data.X))
    np.testing.assert_allclose(est.predict(data.X, offset=data.offset), np.exp(eta + data.offset), rtol=1e-12)


@pytest.mark.parametrize("link", sorted(LINKS))
def test_predictions_of_the_classifier_agree_with_each_other(data, link):
    """Whatever the link, decreasing ones among them, the label is the class of the larger probability."""
    # kept where every link has a mean
    X = np.clip(data.X, -1, 1)
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=len(X)) < 0.5 + 0.2 * X[:, 0]).astype(int)
    est = GEEClassifier(link=link).fit(X, y, groups=data.groups)
    assert est.converged_
    probability = est.predict_proba(X)
    assert probability.shape == (len(X), 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    np.testing.assert_array_equal(est.predict(X), est.classes_[probability.argmax(axis=1)])
    decision = est.decision_function(X)
    np.testing.assert_array_equal(decision > 0, probability[:, 1] > 0.5)
    np.testing.assert_array_equal(np.argsort(decision, kind="stable"), np.argsort(probability[:, 1], kind="stable"))


def test_decision_function_is_the_log_odds(data):
    est = fit(GEEClassifier(working_correlation="exchangeable"), data, "binary")
    probability = est.predict_proba(data.X)[:, 1]
    np.testing.assert_allclose(est.decision_function(data.X), np.log(probability / (1 - probability)), rtol=1e-9)
    assert log_loss(data.binary, est.predict_proba(data.X)) < log_loss(data.binary, np.full(len(probability), 0.5))


@pytest.mark.parametrize("link", ["identity", "log"])
def test_probabilities_of_new_rows_are_probabilities(data, link):
    """With these links a far row has no probability: NaN with a warning, as for other means that do not exist."""
    X = np.clip(data.X, -1, 1)
    y = (np.random.default_rng(0).uniform(size=len(X)) < 0.5 + 0.2 * X[:, 0]).astype(int)
    est = GEEClassifier(link=link).fit(X, y, groups=data.groups)
    far = np.array([[50.0, 0.0], [0.0, 0.0]])
    with pytest.warns(UserWarning, match="1 rows have a linear predictor"):
        probability = est.predict_proba(far)
    assert np.isnan(probability[0]).all()
    assert ((probability[1] >= 0) & (probability[1] <= 1)).all()


def test_means_that_do_not_exist_are_nan_with_a_warning(data):
    est = GEERegressor("gamma").fit(np.clip(data.X, -0.5, 0.5), data.positive)
    far = np.vstack([[0.0, 0.0], 1e3 * np.sign(est.coef_), -1e3 * np.sign(est.coef_)])
    with pytest.warns(UserWarning, match="1 rows have a linear predictor that link 'inverse' maps to no mean"):
        mean = est.predict(far)
    assert np.isfinite(mean[:2]).all() and np.isnan(mean[2])


def test_poisson_means_of_an_identity_link_are_not_negative(data):
    X = np.clip(data.X, -1, 1)
    rng = np.random.default_rng(0)
    est = GEERegressor("poisson", link="identity").fit(X, rng.poisson(3 + X[:, 0]))
    with pytest.warns(UserWarning, match="1 rows"):
        mean = est.predict([[-50.0, 0.0], [0.0, 0.0]])
    assert np.isnan(mean[0]) and mean[1] > 0


SCORES = [
    ("gaussian", "y", lambda y, mu, w: r2_score(y, mu, sample_weight=w)),
    ("poisson", "counts", lambda y, mu, w: d2_tweedie_score(y, mu, power=1, sample_weight=w)),
    ("gamma", "positive", lambda y, mu, w: d2_tweedie_score(y, mu, power=2, sample_weight=w)),
    ("inverse_gaussian", "positive", lambda y, mu, w: d2_tweedie_score(y, mu, power=3, sample_weight=w)),
    (
        "binomial",
        "binary",
        lambda y, mu, w: (
            1
            - log_loss(y, mu, sample_weight=w) / log_loss(y, np.full(len(y), np.average(y, weights=w)), sample_weight=w)
        ),
    ),
]


@pytest.mark.parametrize(("family", "y", "expected"), SCORES)
@pytest.mark.parametrize("weighted", [False, True])
def test_score_is_d_squared(data, family, y, expected, weighted):
    link = "log" if family in ("gamma", "inverse_gaussian") else None
    est = fit(GEERegressor(family, link=link, working_correlation="exchangeable"), data, y)
    outcome, weights = getattr(data, y), data.weights if weighted else None
    found = est.score(data.X, outcome, sample_weight=weights)
    assert found == pytest.approx(expected(outcome, est.predict(data.X), weights), rel=1e-9)
    assert found == est.score(data.X, outcome, groups=data.groups, sample_weight=weights)


def test_score_with_offset(data):
    est = fit(GEERegressor("poisson"), data, "counts", offset=data.offset)
    mu = est.predict(data.X, offset=data.offset)
    found = est.score(data.X, data.counts, offset=data.offset)
    assert found == pytest.approx(d2_tweedie_score(data.counts, mu, power=1))


def test_classifier_score_is_accuracy(data):
    est = fit(GEEClassifier(), data, "binary")
    expected = accuracy_score(data.binary, est.predict(data.X), sample_weight=data.weights)
    assert est.score(data.X, data.binary, sample_weight=data.weights) == expected


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_forgotten_offset_warns(data, method):
    est = fit(GEEClassifier(working_correlation="exchangeable"), data, "binary", offset=data.offset)
    with pytest.warns(UserWarning, match="was fitted with an offset, and predicts without one"):
        without = getattr(est, method)(data.X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zeros = getattr(est, method)(data.X, offset=np.zeros(len(data.X)))
    np.testing.assert_array_equal(without, zeros)


def test_offset_is_a_feature_of_coefficient_one(data):
    """Adding c x to the offset takes c from the coefficient of x, under every structure."""
    for structure in STRUCTURES:
        a = fit(GEERegressor("poisson", working_correlation=structure), data, "counts")
        b = fit(GEERegressor("poisson", working_correlation=structure), data, "counts", offset=0.2 * data.X[:, 0])
        np.testing.assert_allclose(b.coef_ + np.array([0.2, 0.0]), a.coef_, rtol=1e-7)
        np.testing.assert_allclose(b.covariance_, a.covariance_, rtol=1e-6)
        np.testing.assert_allclose(b.association_, a.association_, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------------------------------------ what a fit leaves


@pytest.mark.parametrize("structure", [*STRUCTURES, AR1("all"), Exchangeable()], ids=repr)
def test_attributes(data, structure):
    est = fit(GEERegressor(working_correlation=structure), data)
    name = structure if isinstance(structure, str) else structure.name
    if name == "unstructured":
        times = np.unique(data.time)
        np.testing.assert_array_equal(est.times_, times)
        assert est.association_.shape == (len(times), len(times))
        np.testing.assert_array_equal(np.diag(est.association_), 1.0)
        np.testing.assert_array_equal(est.association_, est.association_.T)
    else:
        assert isinstance(est.association_, float)
        assert not hasattr(est, "times_")
    assert isinstance(est.intercept_, float) and isinstance(est.scale_, float)
    assert isinstance(est.correlation_shrinkage_, float) and isinstance(est.converged_, bool)
    assert isinstance(est.n_iter_, int) and est.n_iter_ >= 1
    assert est.covariance_.shape == (3, 3) and est.n_clusters_ == 60
    copy = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(copy.predict(data.X), est.predict(data.X))
    # nothing as long as the data is kept
    big = [key for key, value in vars(est).items() if isinstance(value, np.ndarray) and value.size >= len(data.X)]
    assert not big


def test_times_of_an_earlier_fit_do_not_stay(data):
    est = fit(GEERegressor(working_correlation="unstructured"), data)
    assert hasattr(est, "times_")
    assert not hasattr(fit(est.set_params(working_correlation="exchangeable"), data), "times_")


def test_times_of_dates_are_days_since_the_first(data):
    dates = np.datetime64("2024-01-01") + data.time.astype("timedelta64[D]")
    est = fit(GEERegressor(working_correlation="unstructured"), data, time=dates)
    np.testing.assert_array_equal(est.times_, np.unique(data.time) - data.time.min())


@pytest.mark.parametrize("cov_type", ["robust", "naive"])
def test_cov_type(data, cov_type):
    est = fit(GEERegressor(working_correlation="exchangeable", cov_type=cov_type), data)
    other = fit(GEERegressor(working_correlation="exchangeable"), data)
    np.testing.assert_array_equal(est.covariance_, other._inference.covariance(cov_type))
    assert (coef_table(est)["std_error"] == coef_table(other, cov_type=cov_type)["std_error"]).all()
    with pytest.raises(
        ValueError, match=r"cov_type='hc1' is not available for this fit; it has \['design', 'df', 'fg'"
    ):
        coef_table(est, cov_type="hc1")


def test_residual_degrees_of_freedom_are_clusters_less_parameters(data):
    assert (coef_table(fit(GEERegressor(), data), df="residual")["df"] == 57).all()


def test_summary(data):
    frame = pd.DataFrame(data.X, columns=["dose", "age"])
    est = GEERegressor("poisson", working_correlation="exchangeable").fit(frame, data.counts, groups=data.groups)
    text = str(est.summary())
    sizes = np.bincount(data.groups)
    for part in (
        "GEERegressor",
        f"Observations         {len(frame)}",
        "Family, link         poisson, log",
        f"Clusters (group)     60, of {sizes.min()} to {sizes.max()} rows",
        f"Working correlation  exchangeable, alpha = {est.association_:.4g}",
        f"Scale (phi)          {est.scale_:.5g}",
        f"QIC, CIC             {qic(est).qic:.4f}, {qic(est).cic:.4f}",
        "Covariance           robust",
        "Converged            yes, after",
        "Intercept",
        "dose",
        "age",
    ):
        assert part in text, part
    assert "Note" not in text
    np.testing.assert_array_equal(est.summary().to_frame()["estimate"], [est.intercept_, *est.coef_])


def test_summary_notes(data):
    few = data.groups < 20
    est = fit(GEEClassifier(scale=1.0, weight_type="frequency"), data, "binary", rows=few,
              sample_weight=np.ones(few.sum()))  # fmt: skip
    text = str(est.summary())
    assert "with 20 clusters robust standard errors tend to be too small" in text
    assert "1 (fixed)" in text and "Weights              frequency" in text
    assert "alpha" not in text  # independence has none


def test_fit_does_not_change_its_input(data):
    X, y, weights, time = data.X.copy(), data.y.copy(), data.weights.copy(), data.time.copy()
    fit(GEERegressor(working_correlation="unstructured"), data, sample_weight=data.weights, offset=data.offset)
    for before, after in ((X, data.X), (y, data.y), (weights, data.weights), (time, data.time)):
        np.testing.assert_array_equal(before, after)


def test_structure_object_is_not_changed(data):
    structure = AR1("all")
    est = fit(GEERegressor(working_correlation=structure), data)
    assert est.working_correlation is structure and structure == AR1("all")
    assert clone(est).working_correlation == structure
