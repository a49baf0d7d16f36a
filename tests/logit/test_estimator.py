"""`LogitRegressor` against R, scikit-learn, and itself on data that should make no difference."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skdep import LogitRegressor
from skdep.datasets import load_ohio, load_sleepstudy
from skdep.exceptions import CollinearityWarning, ConvergenceWarning, FewClustersWarning, SeparationWarning
from skdep.inference import coef_table, wald_test
from skdep.sandwich import cluster_intersections, multiway_meat, sandwich

REL = 1e-6


@pytest.fixture(scope="module")
def entries(reference_csv):
    """Return features, outcome, and further arguments of `fit` for each entry of R."""
    ohio = load_ohio().frame
    ohio["both"] = ohio["age"] * ohio["smoke"]
    respiratory = pd.read_csv(_packaged("respiratory.csv"))
    design = pd.DataFrame(
        {
            "center": respiratory["center"],
            "treatP": (respiratory["treat"] == "P") * 1.0,
            "sexM": (respiratory["sex"] == "M") * 1.0,
            "age": respiratory["age"],
            "baseline": respiratory["baseline"],
        }
    )
    subject = respiratory["center"].astype(str) + ":" + respiratory["id"].astype(str)
    crossed, frequency, offset = (reference_csv(f"sim_{name}") for name in ("crossed", "frequency", "offset"))
    expanded = frequency.loc[frequency.index.repeat(frequency["freq"])]
    return {
        "ohio": (ohio[["age", "smoke", "both"]], ohio["resp"], ohio["id"], None),
        "respiratory": (design, respiratory["outcome"], subject, None),
        "crossed": (crossed[["x1", "x2"]], crossed["y"], None, None),
        "frequency_expanded": (expanded[["x1", "x2"]], expanded["y"], expanded["cluster"], None),
        "offset": (offset[["x"]], offset["y"], offset["cluster"], offset["off"]),
    }


def _packaged(filename):
    from importlib.resources import files

    return files("skdep.datasets") / "data" / filename


def params(fit):
    return np.r_[fit.intercept_, fit.coef_[0]]


def standard_errors(fit, cov_type=None):
    return coef_table(fit, cov_type=cov_type)["std_error"].to_numpy()


def reference_values(reference):
    return list(reference["coef"].values())


# -------------------------------------------------------------------------------------------- against R


@pytest.mark.parametrize("name", ["ohio", "respiratory", "crossed", "frequency_expanded", "offset"])
def test_maximum_likelihood_against_r(logit_reference, entries, name):
    reference = logit_reference[name]
    X, y, groups, offset = entries[name]
    fit = LogitRegressor(tol=1e-10).fit(X, y, groups=groups, offset=offset)
    assert fit.converged_
    assert_allclose(params(fit), reference_values(reference), rtol=REL)
    assert fit.loglik_ == pytest.approx(reference["loglik"], rel=1e-12)
    assert_allclose(standard_errors(fit, "model"), reference["model_se"], rtol=REL)
    assert_allclose(standard_errors(fit, "hc0"), reference["hc0_se"], rtol=REL)
    assert_allclose(standard_errors(fit, "hc1"), reference["hc1_se"], rtol=REL)
    assert_allclose(fit._inference.covariance("model"), reference["model_cov"], rtol=REL, atol=1e-12)
    assert_allclose(fit._inference.covariance("hc0"), reference["hc0_cov"], rtol=REL, atol=1e-12)
    if groups is not None:
        assert fit._inference.n_clusters == reference["n_clusters"]
        assert_allclose(standard_errors(fit), reference["cluster_hc0_cadjust_se"], rtol=REL)
        assert_allclose(fit.covariance_, reference["cluster_hc0_cadjust_cov"], rtol=REL, atol=1e-12)


@pytest.mark.parametrize("which", ["a", "b", "cell"])
def test_crossed_clusters_against_r(logit_reference, reference_csv, which):
    reference, data = logit_reference["crossed"], reference_csv("sim_crossed")
    cell = data["a"].astype(str) + ":" + data["b"].astype(str)
    groups = {"a": data["a"], "b": data["b"], "cell": cell}[which]
    fit = LogitRegressor(tol=1e-10).fit(data[["x1", "x2"]], data["y"], groups=groups)
    assert_allclose(standard_errors(fit), reference[f"cluster_hc0_cadjust_se_{which}"], rtol=REL)
    assert_allclose(fit.covariance_, reference[f"cluster_hc0_cadjust_cov_{which}"], rtol=REL, atol=1e-12)


def test_two_way_clusters_against_r(logit_reference, reference_csv):
    """Here R's matrix V_a + V_b - V_cell has a negative eigenvalue: its repair may only add variance."""
    reference, data = logit_reference["crossed"], reference_csv("sim_crossed")
    V_r = np.array(reference["cluster_hc0_cadjust_cov_a_and_b"])
    assert np.linalg.eigvalsh(V_r)[0] < 0
    with pytest.warns(FewClustersWarning, match="negative eigenvalues"):
        fit = LogitRegressor(tol=1e-10).fit(data[["x1", "x2"]], data["y"], groups=data[["a", "b"]])
    assert np.linalg.eigvalsh(fit.covariance_)[0] > -1e-15
    assert np.linalg.eigvalsh(fit.covariance_ - V_r)[0] > -1e-9

    design = np.column_stack([np.ones(len(data)), data[["x1", "x2"]]])
    scores = (data["y"].to_numpy() - fit.predict_proba(data[["x1", "x2"]])[:, 1])[:, None] * design
    ways = cluster_intersections([data["a"].to_numpy(), data["b"].to_numpy()])
    meat = multiway_meat(ways, lambda part: part.sum(part.sort(scores)), 2)
    assert_allclose(sandwich(fit._inference.covariance("model"), meat), V_r, rtol=REL, atol=1e-10)


def test_repair_of_two_way_clusters_does_not_depend_on_units(reference_csv):
    """Dollars or thousands of dollars: a feature keeps its p-value, also where the covariance is repaired."""
    data = reference_csv("sim_crossed")
    X, units = data[["x1", "x2"]].to_numpy(), np.array([1000.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewClustersWarning)
        fit = LogitRegressor().fit(X, data["y"], groups=data[["a", "b"]])
        rescaled = LogitRegressor().fit(X * units, data["y"], groups=data[["a", "b"]])
    assert_allclose(coef_table(rescaled)["p_value"], coef_table(fit)["p_value"], rtol=1e-6)


def test_frequency_weights_against_r(logit_reference, reference_csv):
    """Aggregated rows, some of frequency zero, give everything that the expanded rows give."""
    data, expanded = reference_csv("sim_frequency"), logit_reference["frequency_expanded"]
    assert (data["freq"] == 0).any()
    fit = LogitRegressor(tol=1e-10).fit(
        data[["x1", "x2"]], data["y"], groups=data["cluster"], sample_weight=data["freq"]
    )
    assert_allclose(params(fit), reference_values(logit_reference["frequency_aggregated"]), rtol=REL)
    assert fit.loglik_ == pytest.approx(expanded["loglik"], rel=1e-12)
    assert fit._inference.n_obs == expanded["n"]
    assert fit._inference.n_clusters == expanded["n_clusters"]
    for cov_type, field in (("model", "model"), ("hc0", "hc0"), ("hc1", "hc1"), ("cluster", "cluster_hc0_cadjust")):
        assert_allclose(standard_errors(fit, cov_type), expanded[f"{field}_se"], rtol=REL)


@pytest.mark.parametrize("name", ["survey_weights", "survey_cluster", "survey_cluster_equal_weights"])
def test_survey_designs_against_r(logit_reference, reference_csv, name):
    reference, data = logit_reference[name], reference_csv("sim_survey")
    fit = LogitRegressor(weight_type="sampling", tol=1e-10).fit(
        data[["x1", "x2"]],
        data["y"],
        sample_weight=None if name.endswith("equal_weights") else data["w"],
        groups=None if name == "survey_weights" else data["cluster"],
    )
    table = coef_table(fit)
    assert_allclose(table["estimate"], reference_values(reference), rtol=REL)
    assert_allclose(table["std_error"], reference["se"], rtol=REL)
    assert_allclose(fit.covariance_, reference["cov"], rtol=REL, atol=1e-12)
    assert_allclose(table["df"], reference["df_residual"])
    assert_allclose(table["statistic"], reference["t"], rtol=REL)
    assert_allclose(table["p_value"], reference["p_value"], rtol=1e-5)
    assert_allclose(table[["conf_low", "conf_high"]], reference["conf_int_95"], rtol=1e-5)
    test = wald_test(fit, ["x1", "x2"])
    assert test.statistic == pytest.approx(reference["wald_x1_x2"]["F"], rel=REL)
    assert (test.df, test.df_denominator) == (reference["wald_x1_x2"]["df"], reference["wald_x1_x2"]["ddf"])
    assert test.p_value == pytest.approx(reference["wald_x1_x2"]["p_value"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "file", "features", "outcome"),
    [
        ("endometrial_firth", "endometrial", ["NV", "PI", "EH"], "HG"),
        ("complete_firth", "sim_complete_separation", ["x1", "x2"], "y"),
        ("quasi_firth", "sim_quasi_separation", ["z", "x"], "y"),
        ("overlap_firth", "sim_overlap", ["x1", "x2"], "y"),
        ("overlap_firth_freq", "sim_overlap", ["x1", "x2"], "y"),
        ("overlap_firth_expanded", "sim_overlap", ["x1", "x2"], "y"),
    ],
)
def test_firth_against_r(logit_reference, reference_csv, name, file, features, outcome):
    reference, data = logit_reference[name], reference_csv(file)
    if name.endswith("expanded"):
        data = data.loc[data.index.repeat(data["freq"])]
    weights = data["freq"] if name.endswith("freq") else None
    fit = LogitRegressor(penalty="firth").fit(data[features], data[outcome], sample_weight=weights)
    assert fit.converged_
    assert_allclose(params(fit), reference_values(reference), rtol=1e-6)
    assert_allclose(standard_errors(fit), reference["model_se"], rtol=1e-6)
    assert_allclose(fit.covariance_, reference["model_cov"], rtol=1e-6, atol=1e-9)
    assert fit.loglik_ == pytest.approx(reference["loglik"], rel=1e-7)


# ----------------------------------------------------------------------------------- against scikit-learn


def simulated(seed=0, n=200, p=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, (rng.random(n) < expit(X[:, 0] - 0.5)).astype(int)


@pytest.mark.parametrize("C", [1e-3, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_l2_is_scikit_learns(C, fit_intercept, weighted):
    X, y = simulated()
    w = np.random.default_rng(1).uniform(0.1, 3, size=len(y)) if weighted else None
    ours = LogitRegressor(penalty="l2", C=C, fit_intercept=fit_intercept, tol=1e-12).fit(X, y, sample_weight=w)
    theirs = LogisticRegression(C=C, fit_intercept=fit_intercept, solver="newton-cholesky", tol=1e-12)
    theirs.fit(X, y, sample_weight=w)
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8, atol=1e-11)
    assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-8, atol=1e-11)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7)
    assert_array_equal(ours.predict(X), theirs.predict(X))


def test_l2_is_not_moved_by_collinear_or_separated_data():
    X, y = simulated()
    y = (X[:, 0] > 0).astype(int)
    X = np.column_stack([X, X[:, 0], np.ones(len(X))])
    ours = LogitRegressor(penalty="l2", tol=1e-12).fit(X, y)
    theirs = LogisticRegression(solver="lbfgs", tol=1e-12, max_iter=10000).fit(X, y)
    assert ours.converged_
    # theirs stops where lbfgs can improve no further
    assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-6)


# --------------------------------------------------------------------- what should make no difference


KINDS = [{}, {"penalty": "l2", "C": 0.7}, {"penalty": "firth"}]


@pytest.mark.parametrize("options", KINDS, ids=["ml", "l2", "firth"])
@pytest.mark.parametrize("shift", [1e4, 1e6, 1.7e9])
def test_shifted_features_move_the_intercept_only(options, shift):
    """The intercept is free, so that seconds since 1970 are as good as seconds since yesterday."""
    X, y = simulated()
    fit = LogitRegressor(**options).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        shifted = LogitRegressor(**options).fit(X + shift, y)
    assert shifted.converged_
    assert_allclose(shifted.coef_, fit.coef_, rtol=1e-5)
    assert_allclose(shifted.decision_function(X + shift), fit.decision_function(X), rtol=1e-4, atol=1e-5)
    assert_allclose(standard_errors(shifted)[1:], standard_errors(fit)[1:], rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"penalty": "firth"}], ids=["ml", "firth"])
def test_rescaled_features(options):
    X, y = simulated()
    units = np.array([1e-9, 1.0, 1e9])
    fit, rescaled = LogitRegressor(**options).fit(X, y), LogitRegressor(**options).fit(X * units, y)
    assert_allclose(rescaled.coef_ * units, fit.coef_, rtol=1e-8)
    assert_allclose(standard_errors(rescaled)[1:] * units, standard_errors(fit)[1:], rtol=1e-6)


@pytest.mark.parametrize("options", KINDS, ids=["ml", "l2", "firth"])
def test_row_order_and_labels_of_groups(options):
    X, y = simulated()
    groups = np.random.default_rng(1).integers(20, size=len(y))
    order = np.random.default_rng(2).permutation(len(y))
    fit = LogitRegressor(**options).fit(X, y, groups=groups)
    other = LogitRegressor(**options).fit(X[order], y[order], groups=[("g", str(-g)) for g in groups[order]])
    assert_allclose(other.coef_, fit.coef_, rtol=1e-9)
    assert_allclose(other.covariance_, fit.covariance_, rtol=1e-7)


@pytest.mark.parametrize("options", KINDS, ids=["ml", "l2", "firth"])
def test_swapped_classes_change_the_sign(options):
    X, y = simulated()
    fit, swapped = LogitRegressor(**options).fit(X, y), LogitRegressor(**options).fit(X, 1 - y)
    assert_allclose(swapped.coef_, -fit.coef_, rtol=1e-8)
    assert_allclose(swapped.covariance_, fit.covariance_, rtol=1e-6)


@pytest.mark.parametrize("groups", [None, np.arange(200) % 23], ids=["rows", "clusters"])
@pytest.mark.parametrize("factor", [1e-6, 7.0, 1e9])
def test_scale_of_sampling_weights_means_nothing(groups, factor):
    X, y = simulated()
    w = np.random.default_rng(3).uniform(0.5, 4, size=len(y))
    fit = LogitRegressor(weight_type="sampling").fit(X, y, sample_weight=w, groups=groups)
    scaled = LogitRegressor(weight_type="sampling").fit(X, y, sample_weight=factor * w, groups=groups)
    assert_allclose(scaled.coef_, fit.coef_, rtol=1e-10)
    assert_allclose(scaled.covariance_, fit.covariance_, rtol=1e-9)
    assert scaled.loglik_ == pytest.approx(fit.loglik_, rel=1e-12)
    pd.testing.assert_frame_equal(coef_table(scaled).to_frame(), coef_table(fit).to_frame(), rtol=1e-8)


def test_equal_weights_are_no_weights():
    X, y = simulated()
    fit = LogitRegressor().fit(X, y)
    for weights in (np.ones(len(y)), 1.0):
        assert_allclose(LogitRegressor().fit(X, y, sample_weight=weights).coef_, fit.coef_, rtol=1e-10)
    doubled = LogitRegressor().fit(X, y, sample_weight=2.0)
    assert_allclose(doubled.covariance_, fit.covariance_ / 2, rtol=1e-6)


def test_constant_offset_moves_the_intercept():
    X, y = simulated()
    fit, moved = LogitRegressor().fit(X, y), LogitRegressor().fit(X, y, offset=np.full(len(y), 1.5))
    assert_allclose(moved.intercept_, fit.intercept_ - 1.5, rtol=1e-8)
    assert_allclose(moved.coef_, fit.coef_, rtol=1e-8)


def test_offset_is_a_feature_with_coefficient_one():
    X, y = simulated()
    fit = LogitRegressor(tol=1e-12).fit(X, y)
    rest = LogitRegressor(tol=1e-12).fit(X[:, 1:], y, offset=fit.coef_[0, 0] * X[:, 0])
    assert_allclose(rest.coef_[0], fit.coef_[0, 1:], rtol=1e-8)
    assert rest.loglik_ == pytest.approx(fit.loglik_, rel=1e-12)


def test_saturated_model_has_the_log_odds():
    """One binary feature: the estimates are differences of empirical log odds, the variances sums of 1 / counts."""
    counts = {(0, 0): 30, (0, 1): 10, (1, 0): 5, (1, 1): 20}
    x, y = np.array([key for key, count in counts.items() for _ in range(count)]).T
    fit = LogitRegressor(tol=1e-12).fit(x[:, None], y)
    assert fit.intercept_[0] == pytest.approx(np.log(10 / 30), rel=1e-12)
    assert fit.coef_[0, 0] == pytest.approx(np.log(20 / 5) - np.log(10 / 30), rel=1e-12)
    assert fit.covariance_[0, 0] == pytest.approx(1 / 10 + 1 / 30, rel=1e-8)
    assert fit.covariance_[1, 1] == pytest.approx(1 / 10 + 1 / 30 + 1 / 20 + 1 / 5, rel=1e-8)
    aggregated = LogitRegressor(tol=1e-12).fit(
        np.array([[k[0]] for k in counts]), [k[1] for k in counts], sample_weight=list(counts.values())
    )
    assert_allclose(aggregated.covariance_, fit.covariance_, rtol=1e-10)


# -------------------------------------------------------------------------------------- collinear features


def test_collinear_features_keep_the_fit_and_split_the_coefficient():
    X, y = simulated()
    fit = LogitRegressor(tol=1e-12).fit(X, y)
    with pytest.warns(CollinearityWarning, match="2 of 5 parameters are not separately estimable: 'x0', 'x3'"):
        twice = LogitRegressor(tol=1e-12).fit(np.column_stack([X, 2 * X[:, 0]]), y)
    assert twice.converged_
    assert twice.loglik_ == pytest.approx(fit.loglik_, rel=1e-12)
    # of all b0 + 2 b3 = b, the least norm is b (1, 2) / 5
    assert_allclose(twice.coef_[0, [0, 3]], fit.coef_[0, 0] * np.array([1, 2]) / 5, rtol=1e-8)
    assert_allclose(twice.coef_[0, [1, 2]], fit.coef_[0, [1, 2]], rtol=1e-8)
    table = coef_table(twice)
    assert table["std_error"].isna().tolist() == [False, True, False, False, True]
    assert_allclose(table["std_error"].dropna(), standard_errors(fit)[[0, 2, 3]], rtol=1e-6)
    assert np.isfinite(twice.covariance_).all()


@pytest.mark.parametrize("options", [{}, {"penalty": "firth"}, {"weight_type": "sampling"}], ids=str)
def test_all_dummies_are_as_good_as_all_but_one(options):
    level = np.arange(200) % 4
    _, y = simulated()
    dummies = (level[:, None] == np.arange(4)).astype(float)
    fit = LogitRegressor(**options).fit(dummies[:, 1:], y, groups=np.arange(200) // 10)
    with pytest.warns(CollinearityWarning, match="5 of 5 parameters"):
        full = LogitRegressor(**options).fit(dummies, y, groups=np.arange(200) // 10)
    assert_allclose(full.predict_proba(dummies), fit.predict_proba(dummies[:, 1:]), rtol=1e-7)
    assert full.loglik_ == pytest.approx(fit.loglik_, rel=1e-10)
    contrast = np.array([[0, -1, 1, 0, 0]])
    variance = float((contrast @ full.covariance_ @ contrast.T).item())
    assert variance == pytest.approx(fit.covariance_[1, 1], rel=1e-6)


def test_nearly_collinear_features_are_told_apart():
    X, y = simulated()
    close = np.column_stack([X[:, 0], X[:, 0] + 1e-6 * X[:, 1]])
    fit, near = LogitRegressor(tol=1e-12).fit(X[:, :2], y), LogitRegressor(tol=1e-12).fit(close, y)
    assert near.loglik_ == pytest.approx(fit.loglik_, rel=1e-10)
    assert near.coef_[0, 1] == pytest.approx(fit.coef_[0, 1] * 1e6, rel=1e-5)
    assert standard_errors(near)[2] == pytest.approx(standard_errors(fit)[2] * 1e6, rel=1e-5)


# -------------------------------------------------------------------------------------- choice of covariance


def test_auto_covariance():
    X, y = simulated()
    groups, w = np.arange(200) % 20, np.random.default_rng(0).uniform(1, 2, 200)
    chosen = {
        "model": LogitRegressor().fit(X, y),
        "cluster": LogitRegressor().fit(X, y, groups=groups),
        "design": LogitRegressor(weight_type="sampling").fit(X, y, sample_weight=w),
    }
    for cov_type, fit in chosen.items():
        assert fit._inference.cov_type == cov_type
        assert_array_equal(fit.covariance_, fit._inference.covariance(cov_type))
    assert LogitRegressor(weight_type="sampling").fit(X, y, groups=groups)._inference.cov_type == "design"
    assert LogitRegressor(cov_type="hc1").fit(X, y, groups=groups)._inference.cov_type == "hc1"


def test_tuples_are_labels_under_every_covariance_type():
    """A list of pairs is one factor, not a table of two, also where designs take one column only."""
    X, y = simulated()
    groups = np.arange(200) % 20
    pairs = [("region", int(g)) for g in groups]
    ragged = [("region", int(g)) if g else ("none",) for g in groups]
    for weight_type in ("frequency", "sampling"):
        expected = LogitRegressor(weight_type=weight_type).fit(X, y, groups=groups).covariance_
        for labels in (pairs, ragged):
            fit = LogitRegressor(weight_type=weight_type).fit(X, y, groups=labels)
            assert_allclose(fit.covariance_, expected, rtol=1e-10)


# -------------------------------------------------------------------------------------------------- predict


def test_predictions_agree_with_each_other():
    X, y = simulated()
    fit = LogitRegressor().fit(X, y)
    eta = fit.intercept_[0] + X @ fit.coef_[0]
    assert_allclose(fit.decision_function(X), eta, rtol=1e-12)
    assert_allclose(fit.predict_proba(X), np.column_stack([1 - expit(eta), expit(eta)]), rtol=1e-12)
    assert_allclose(fit.predict_log_proba(X), np.log(fit.predict_proba(X)), rtol=1e-10)
    assert_array_equal(fit.predict(X), (eta > 0).astype(int))
    assert fit.score(X, y) == pytest.approx(np.mean(fit.predict(X) == y))
    w = np.random.default_rng(0).random(200)
    assert fit.score(X, y, sample_weight=w) == pytest.approx(w @ (fit.predict(X) == y) / w.sum())
    assert_array_equal(fit.predict(X, groups=np.arange(200)), fit.predict(X))


def test_log_probabilities_far_out_are_exact():
    X, y = simulated(p=1)
    fit = LogitRegressor().fit(X, y)
    far = np.array([[1e4], [-1e4]])
    eta = fit.decision_function(far)
    log_proba = fit.predict_log_proba(far)
    assert_allclose(log_proba[0], [-eta[0], 0.0], rtol=1e-12)
    assert_allclose(log_proba[1], [0.0, eta[1]], rtol=1e-12)


def test_predict_with_offset():
    X, y = simulated()
    offset = np.random.default_rng(1).normal(size=200)
    fit = LogitRegressor().fit(X, y, offset=offset)
    eta = fit.intercept_[0] + X @ fit.coef_[0]
    assert_allclose(fit.decision_function(X, offset=offset), eta + offset, rtol=1e-12)
    assert_allclose(fit.predict_proba(X, offset=offset)[:, 1], expit(eta + offset))
    assert_array_equal(fit.predict(X, offset=offset), eta + offset > 0)
    assert fit.score(X, y, offset=offset) == np.mean((eta + offset > 0) == y)
    for method in (fit.predict, fit.predict_proba, fit.predict_log_proba, fit.decision_function):
        with pytest.warns(UserWarning, match=r"fitted with an offset.*pass offset="):
            method(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.predict(X, offset=0.0)
        LogitRegressor().fit(X, y).predict(X)


LABELS = [
    pytest.param(np.array(["no", "yes"]), id="str"),
    pytest.param(np.array(["no", "yes"], dtype=object), id="object"),
    pytest.param(np.array([False, True]), id="bool"),
    pytest.param(np.array([-1, 1]), id="signs"),
    pytest.param(np.array([3, 7], dtype=np.uint8), id="uint8"),
    pytest.param(np.array([0.0, 1.0]), id="float"),
]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("as_series", [False, True])
def test_labels_of_any_type(labels, as_series):
    X, y = simulated()
    target = pd.Series(labels[y]) if as_series else labels[y]
    fit = LogitRegressor().fit(X, target)
    assert list(fit.classes_) == list(labels)
    assert_array_equal(fit.coef_, LogitRegressor().fit(X, y).coef_)
    assert set(fit.predict(X)) == set(labels)
    assert fit.score(X, target) > 0.6
    assert f"success is {labels[1]!s}" in str(fit.summary())


def test_categorical_outcome():
    X, y = simulated()
    fit = LogitRegressor().fit(X, pd.Categorical.from_codes(y, ["no", "yes"]))
    assert list(fit.classes_) == ["no", "yes"]


# ------------------------------------------------------------------------------------------- fitted state


def test_attributes():
    X, y = simulated()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fit = LogitRegressor().fit(frame, y)
    assert fit.coef_.shape == (1, 3)
    assert fit.intercept_.shape == (1,)
    assert fit.covariance_.shape == (4, 4)
    assert list(fit.feature_names_in_) == ["a", "b", "c"]
    assert fit.n_features_in_ == 3
    assert fit.separated_ == []
    assert fit.converged_ is True
    assert 2 <= fit.n_iter_ <= 10
    through_origin = LogitRegressor(fit_intercept=False).fit(frame, y)
    assert through_origin.covariance_.shape == (3, 3)
    assert_array_equal(through_origin.intercept_, [0.0])
    assert list(coef_table(through_origin).index) == ["a", "b", "c"]


def test_fit_leaves_the_input_alone():
    X, y = simulated()
    w, offset, groups = np.r_[np.zeros(5), np.ones(195)], np.ones(200), np.arange(200) % 9
    copies = [array.copy() for array in (X, y, w, offset, groups)]
    LogitRegressor(weight_type="sampling").fit(X, y, sample_weight=w, offset=offset, groups=groups)
    for array, copy in zip((X, y, w, offset, groups), copies):
        assert_array_equal(array, copy)
        array.flags.writeable = False
    LogitRegressor(weight_type="sampling").fit(X, y, sample_weight=w, offset=offset, groups=groups)


def test_refit_forgets_the_first_fit():
    X, y = simulated()
    fit = LogitRegressor()
    with pytest.warns(SeparationWarning):
        fit.fit(X, X[:, 0] > 0)
    fit.fit(X, y)
    assert fit.separated_ == []
    assert fit.converged_
    assert fit._inference.notes == ()


def test_no_convergence_warns():
    X, y = simulated()
    with pytest.warns(ConvergenceWarning, match=r"did not converge in 1 iterations.*Raise max_iter"):
        fit = LogitRegressor(max_iter=1).fit(X, y)
    assert not fit.converged_
    assert fit.n_iter_ == 1


def test_warnings_point_at_the_caller():
    X, y = simulated()
    calls = [
        lambda: LogitRegressor(max_iter=1).fit(X, y),
        lambda: LogitRegressor().fit(X, X[:, 0] > 0),
        lambda: LogitRegressor().fit(np.column_stack([X, X]), y),
        lambda: LogitRegressor().fit(X, y, groups=np.arange(200) % 3),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [w.filename for w in caught] == [__file__]


def test_one_way_of_clustering_does_not_speak_of_several():
    sleep = load_sleepstudy()
    rows = sleep.groups.isin([308, 309, 310])
    X = sleep.data[rows].assign(square=sleep.data["Days"][rows] ** 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LogitRegressor().fit(X, sleep.target[rows] > 300, groups=sleep.groups[rows])
    messages = [str(one.message) for one in caught if issubclass(one.category, FewClustersWarning)]
    assert len(messages) == 1
    assert "3 clusters for 3 parameters" in messages[0]


def test_few_clusters_warn():
    X, y = simulated()
    with pytest.warns(FewClustersWarning, match="There are 4 clusters for 4 parameters"):
        LogitRegressor().fit(X, y, groups=np.arange(200) % 4)
    with pytest.warns(FewClustersWarning, match="one cluster"):
        alone = LogitRegressor().fit(X, y, groups=np.zeros(200))
    assert np.isnan(alone.covariance_).all()
    assert np.isfinite(standard_errors(alone, "model")).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LogitRegressor().fit(X, y, groups=np.arange(200) % 5)
        LogitRegressor(cov_type="model").fit(X, y, groups=np.arange(200) % 3)


def test_coverage_of_clustered_intervals():
    """A feature constant within clusters and a shared disturbance: the clustered interval covers, the model's not."""
    rng = np.random.default_rng(9)
    covered = np.zeros((300, 2), dtype=bool)
    for i in range(len(covered)):
        groups = np.repeat(np.arange(40), 10)
        x = rng.normal(size=40)[groups]
        # the marginal model is logistic with slope zero: the disturbance is independent of x
        y = (rng.logistic(size=400) + 2 * rng.normal(size=40)[groups] > 0).astype(int)
        fit = LogitRegressor().fit(x[:, None], y, groups=groups)
        for j, cov_type in enumerate(("cluster", "model")):
            row = coef_table(fit, cov_type=cov_type).iloc[1]
            covered[i, j] = row["conf_low"] < 0 < row["conf_high"]
    low, high = stats.binom.ppf([0.0005, 0.9995], 300, 0.93) / 300
    assert low < covered[:, 0].mean() < max(high, 0.98)
    assert covered[:, 1].mean() < 0.75


def test_a_constant_feature_under_a_ridge_leaves_the_clustered_covariance_alone():
    x, y = np.linspace(-1.0, 1.0, 12), np.array([0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1])
    groups = np.arange(12) // 3
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fit = LogitRegressor(penalty="l2").fit(np.column_stack([x, np.zeros(12)]), y, groups=groups)
    alone = LogitRegressor(penalty="l2").fit(x[:, None], y, groups=groups)
    np.testing.assert_allclose(fit.covariance_[:2, :2], alone.covariance_, rtol=1e-9)
