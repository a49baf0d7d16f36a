"""What is wrong must be said: what, where, and what to do. What is odd, but right, must be fitted without a word."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skdep import LogitRegressor, MixedLogit
from skdep.exceptions import CollinearityWarning, FewClustersWarning, SingularFitWarning
from skdep.inference import coef_table

from .rows import GROUPS, WEIGHT, N, X, frame, y

SAMPLING = MixedLogit(weight_type="sampling")
OF_LEVEL = np.linspace(1.0, 2.0, GROUPS.max() + 1)[GROUPS]
CROSSED = pd.DataFrame({"rater": np.arange(N) % 7, "item": np.arange(N) // 7 % 9})


def spoilt(values, value, row=3):
    values = np.array(values, dtype=float)
    values[row] = value
    return values


def fit(est=None, X=X, y=y, groups=GROUPS, **metadata):
    return clone(est or MixedLogit()).fit(X, y, groups=groups, **metadata)


def silent_fit(*args, **options):
    """Fit, with any warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fit(*args, **options)


# ------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (spoilt(y, np.nan), "Input y contains NaN"),
        (np.where(np.arange(N) % 50 == 3, None, np.where(y == 1, "yes", "no")), "labels are missing, first in row 3"),
        (pd.Series(y, dtype="Int64").where(np.arange(N) != 3), "Input y contains NaN"),
        (np.arange(N) % 3, "Only binary classification is supported.*multiclass"),
        (np.zeros(N), "only one class"),
        (np.full(N, "a"), r"only one class \('a'\)"),
        (np.linspace(0.1, 0.9, N), "Unknown label type: continuous"),
        (y[:-1], "inconsistent numbers of samples"),
        (np.column_stack([y, y]), "1d array"),
        (None, "requires y to be passed"),
    ],
    ids=["nan", "none", "NA", "three", "one", "one text", "continuous", "short", "two columns", "missing"],
)
def test_labels_that_are_no_two_classes(labels, message):
    with pytest.raises(ValueError, match=message):
        fit(y=labels)


def test_one_class_of_positive_weight():
    with pytest.raises(ValueError, match=r"only one class \(1\) among rows of positive weight"):
        fit(sample_weight=y.astype(float))


# ------------------------------------------------------------------------------------------------ features


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_or_infinite_numbers(value):
    bad = X.copy()
    bad[3, 1] = value
    with pytest.raises(ValueError, match=r"1 rows of X have .*first row 3, in columns 1\. Input X contains (NaN|inf)"):
        fit(X=bad)
    for name, values in {"sample_weight": WEIGHT, "offset": WEIGHT, "group_weight": OF_LEVEL}.items():
        with pytest.raises(ValueError, match=f"{name} has 1 missing or infinite values, first in row 3"):
            fit(SAMPLING, **{name: spoilt(values, value)})
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        fit().predict_proba(bad, groups=GROUPS)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (frame().assign(sex="f"), r"Columns of X that are not numbers: sex\. Encode categories.*OneHotEncoder"),
        (frame().assign(day=pd.Timestamp("2020-01-01")), "Columns of X that are not numbers: day.*days since a start"),
        (np.where(X > 0, "a", "b"), "could not convert string to float.*OneHotEncoder"),
        (X[:, 0], "Expected 2D array, got 1D array"),
        (X + 1j, "Complex data not supported"),
    ],
    ids=["texts", "dates", "letters", "one-dimensional", "complex"],
)
def test_features_that_are_no_numbers(features, message):
    with pytest.raises(ValueError, match=message):
        fit(X=features)


def test_sparse_features():
    with pytest.raises(TypeError, match="Sparse data"):
        fit(X=sparse.csr_matrix(X))


@pytest.mark.parametrize(
    ("est", "groups"), [(MixedLogit(fit_intercept=False), GROUPS), (MixedLogit(), None)], ids=["intercept", "groups"]
)
def test_no_features_and_nothing_else(est, groups):
    with pytest.raises(ValueError, match=r"0 feature\(s\).* minimum of 1 is required"):
        fit(est, X=np.empty((N, 0)), groups=groups)


# ------------------------------------------------------------------------------------------------ groups, weights


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
def test_missing_groups(missing):
    groups = GROUPS.astype(object)
    groups[[5, 9]] = missing
    message = r"groups: label of factor 'group' is missing in 2 rows, first in row 5.*must belong to a cluster"
    with pytest.raises(ValueError, match=message):
        fit(groups=groups)
    with pytest.raises(ValueError, match=message):
        fit().predict_proba(X, groups=groups)


@pytest.mark.parametrize("name", ["sample_weight", "offset", "group_weight", "groups"])
def test_metadata_of_the_wrong_length(name):
    values = {"sample_weight": WEIGHT, "offset": WEIGHT, "group_weight": OF_LEVEL, "groups": GROUPS}[name]
    for wrong in (values[:-1], np.append(values, values[0])):
        with pytest.raises(ValueError, match=f"has {len(wrong)} (values|labels) for {N} rows; give exactly one"):
            fit(SAMPLING, **{name: wrong})


def test_weights_that_cannot_be():
    for est in (MixedLogit(), SAMPLING):
        with pytest.raises(ValueError, match=r"1 negative weights, first in row 3 \(-2\)"):
            fit(est, sample_weight=spoilt(WEIGHT, -2.0))
        with pytest.raises(ValueError, match="every weight is zero"):
            fit(est, sample_weight=np.zeros(N))
    with pytest.raises(ValueError, match=r"group_weight .* needs weight_type='sampling', got 'frequency'"):
        fit(group_weight=OF_LEVEL)
    with pytest.raises(ValueError, match="group_weight is the sampling weight of whole clusters: give groups"):
        fit(SAMPLING, groups=None, group_weight=OF_LEVEL)
    with pytest.raises(ValueError, match=r"constant within each level of 'group'.*it is not in row \d+\."):
        fit(SAMPLING, group_weight=spoilt(OF_LEVEL, 9.0))


# ------------------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("random_slopes", {"a"}),
        ("covariance", "ar1"),
        ("n_quadrature", 0),
        ("n_quadrature", 201),
        ("n_quadrature", 2.5),
        ("n_quadrature", "laplace"),
        ("n_quadrature", None),
        ("penalty", "l2"),
        ("weight_type", "precision"),
        ("weight_scaling", "gk"),
        ("cov_type", "hc0"),
        ("max_iter", 0),
        ("tol", 0.0),
        ("fit_intercept", "yes"),
    ],
)
def test_unknown_parameters(parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of MixedLogit must be"):
        fit(MixedLogit(**{parameter: value}))


@pytest.mark.parametrize(
    ("slopes", "message"),
    [
        (["dose"], r"there is no feature 'dose'; X has \['a', 'b', 'c'\]"),
        ([3], "there is no feature 3, X has 3 columns"),
        (["a", 0], r"names a feature twice: \['a', 0\]"),
        ({"school": ["a"]}, r"random_slopes names unknown factors \['school'\]; groups has \['group'\]"),
    ],
)
def test_slopes_of_features_that_are_none(slopes, message):
    with pytest.raises(ValueError, match=message):
        fit(MixedLogit(slopes), X=frame())


def test_a_factor_without_effects():
    with pytest.raises(ValueError, match=r"Factor 'group' has no random effect: random_intercept=False"):
        fit(MixedLogit(random_intercept=False))


def test_quadrature_where_there_is_none():
    with pytest.raises(ValueError, match=r"n_quadrature=7 needs one grouping factor, groups has 2.*n_quadrature=1"):
        fit(MixedLogit(n_quadrature=7), groups=CROSSED)
    with pytest.raises(ValueError, match=r"n_quadrature=3 with 4 random effects a level takes 3\*\*4 nodes"):
        fit(MixedLogit([0, 1, 2], n_quadrature=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        for est, groups in ((MixedLogit(), CROSSED), (MixedLogit([0, 1, 2]), GROUPS)):
            assert fit(est, groups=groups).n_quadrature_ == 1


@pytest.mark.parametrize("est", [MixedLogit(cov_type="robust"), SAMPLING], ids=["robust", "sampling"])
def test_crossed_factors_have_no_sandwich(est):
    with pytest.raises(ValueError, match=r"Factors \['item', 'rater'\] are crossed: no clusters are independent"):
        fit(est, groups=CROSSED)


# ------------------------------------------------------------------------------------------------ predictions


def test_predictions_of_a_fit_that_is_none():
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(MixedLogit(), method)(X)
    with pytest.raises(NotFittedError):
        MixedLogit().summary()


def test_predictions_of_other_rows_than_those_of_the_fit():
    est = fit()
    with pytest.raises(ValueError, match="X has 2 features, but MixedLogit is expecting 3"):
        est.predict(X[:, :2])
    with pytest.raises(ValueError, match=r"groups has 2 factors, the model was fitted with 1: \['group'\]"):
        est.predict_proba(X, groups=CROSSED.to_numpy())
    with pytest.raises(ValueError, match=f"'group' has {N - 1} labels for {N} rows"):
        est.predict_proba(X, groups=GROUPS[:-1])
    with pytest.warns(UserWarning, match=r"No level of 'group' is known.*labels are like .*'.*\(str"):
        found = est.predict_proba(X, groups=GROUPS.astype(str))
    assert_allclose(found, est.predict_proba(X), rtol=1e-12)


# ------------------------------------------------------------------------------------------------ nothing to estimate


def test_one_level_leaves_plain_logistic_regression():
    plain = LogitRegressor().fit(X, y)
    for est in (MixedLogit(), MixedLogit([0]), MixedLogit(n_quadrature=5)):
        with pytest.warns(SingularFitWarning, match="'group' has not full rank"):
            est = fit(est, groups=np.full(N, "Leiden"))
        assert est.converged_ and est.singular_
        assert_allclose(est.loglik_, plain.loglik_, rtol=1e-9)
        assert_allclose(est.coef_, plain.coef_, rtol=1e-5)
        assert_allclose(coef_table(est)["std_error"], coef_table(plain)["std_error"], rtol=1e-4)
        assert_allclose(est.random_effects_["group"], 0.0, atol=1e-8)


def test_one_cluster_has_no_robust_covariance():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        with pytest.warns(FewClustersWarning, match="There is one cluster: .* NaN"):
            est = fit(MixedLogit(cov_type="robust"), groups=np.zeros(N))
    assert np.isnan(est.covariance_).all()
    assert np.isfinite(coef_table(est, cov_type="model")["std_error"]).all()


def test_levels_of_one_row_each_are_pointed_out():
    """A single outcome tells nothing of the variance: estimates hang on the shape of the distributions alone."""
    with pytest.warns(SingularFitWarning, match=r"'group'.*one row|one row.*'group'"):
        est = fit(groups=np.arange(N))
    assert np.isfinite(est.coef_).all()


@pytest.mark.parametrize("column", [np.zeros(N), np.full(N, 3.0)], ids=["zeros", "constant"])
def test_slopes_of_a_constant_cannot_be_told_from_intercepts(column):
    """Variances are not unique; coefficients, and what they are known to, are."""
    plain = fit(MixedLogit(n_quadrature=25))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollinearityWarning)
        with pytest.warns(SingularFitWarning, match="likelihood is flat"):
            est = fit(MixedLogit([3], n_quadrature=25), X=np.column_stack([X, column]))
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-6)
    assert_allclose(est.coef_[0, :3], plain.coef_[0], rtol=1e-4)
    found, wanted = coef_table(est)["std_error"], coef_table(plain)["std_error"]
    assert_allclose(found[["x0", "x1", "x2"]], wanted[["x0", "x1", "x2"]], rtol=1e-3)


@pytest.mark.parametrize("slopes", [None, [0]], ids=["intercepts", "slopes"])
def test_the_same_factor_twice_shares_the_variance(slopes):
    one = fit(MixedLogit(slopes, n_quadrature=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est = fit(MixedLogit(slopes), groups=np.column_stack([GROUPS, 99 - GROUPS]))
    assert_allclose(est.loglik_, one.loglik_, rtol=1e-7)
    assert_allclose(sum(est.random_covariance_.values()), one.random_covariance_["group"], rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
@pytest.mark.parametrize("groups", [[0, 0], [0, 1]], ids=["one level", "two levels"])
def test_two_rows(groups):
    est = fit(X=np.empty((2, 0)), y=np.array(["no", "yes"]), groups=groups)
    assert_allclose(est.intercept_, 0.0, atol=1e-8)
    assert_allclose(est.loglik_, 2 * np.log(0.5), rtol=1e-6)


# ------------------------------------------------------------------------------------------------ collinear features


def test_collinear_features_are_named():
    doubled = frame().assign(d=X[:, 0] - 2 * X[:, 1])
    plain = fit(X=frame())
    with pytest.warns(CollinearityWarning, match=r"3 of 5 parameters .* estimable: 'a', 'b', 'd'"):
        est = fit(X=doubled)
    assert est.converged_ and est.separated_ == []
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-9)
    given = {"groups": GROUPS}
    assert_allclose(est.predict_proba(doubled, **given), plain.predict_proba(frame(), **given), rtol=1e-6)
    assert coef_table(est)["std_error"].isna().tolist() == [False, True, True, False, True]
    assert_allclose(
        coef_table(est)["std_error"][["Intercept", "c"]], coef_table(plain)["std_error"][["Intercept", "c"]]
    )


def test_a_constant_feature_is_the_intercept_again():
    plain = fit()
    with pytest.warns(CollinearityWarning, match="'Intercept', 'x3'"):
        est = fit(X=np.column_stack([X, np.full(N, 5.0)]))
    assert est.coef_[0, 3] == 0.0
    assert_allclose(est.coef_[0, :3], plain.coef_[0], rtol=1e-7)


# ------------------------------------------------------------------------------------------------ extreme numbers


@pytest.mark.parametrize("unit", [1e-50, 1e-8, 1e8, 1e50])
@pytest.mark.parametrize(
    "est", [MixedLogit(), MixedLogit([0]), MixedLogit([0], n_quadrature=1), MixedLogit(penalty="weak")], ids=repr
)
def test_features_in_extreme_units(est, unit):
    scaled, plain = silent_fit(est, X=unit * X), silent_fit(est)
    assert_allclose(unit * scaled.coef_, plain.coef_, rtol=1e-5)
    assert_allclose(scaled.loglik_, plain.loglik_, rtol=1e-8)
    expected = coef_table(plain)["statistic"]
    assert_allclose(coef_table(scaled)["statistic"], expected, rtol=1e-4)
    assert_allclose(scaled.predict_proba(unit * X, groups=GROUPS), plain.predict_proba(X, groups=GROUPS), rtol=1e-4)


@pytest.mark.parametrize("shift", [-1e3, 1e6])
@pytest.mark.parametrize("est", [MixedLogit(), MixedLogit([0]), MixedLogit(penalty="weak")], ids=repr)
def test_features_far_from_zero(est, shift):
    far, plain = silent_fit(est, X=X + shift), silent_fit(est)
    assert_allclose(far.coef_, plain.coef_, rtol=1e-5)
    assert_allclose(far.loglik_, plain.loglik_, rtol=1e-8)
    assert_allclose(far.covariance_[1:, 1:], plain.covariance_[1:, 1:], rtol=1e-4, atol=1e-7)
    assert_allclose(far.predict_proba(X + shift, groups=GROUPS), plain.predict_proba(X, groups=GROUPS), rtol=1e-4)


@pytest.mark.parametrize("offset", [10.0, -100.0])
def test_a_large_constant_offset_moves_the_intercept(offset):
    plain, moved = silent_fit(), silent_fit(offset=np.full(N, offset))
    assert_allclose(moved.intercept_ + offset, plain.intercept_, atol=1e-6)
    assert_allclose(moved.coef_, plain.coef_, rtol=1e-6)
    assert_allclose(moved.loglik_, plain.loglik_, rtol=1e-9)


@pytest.mark.parametrize("size", [1e3, 1e5, 1e100])
def test_offsets_that_settle_every_outcome(size):
    """Nothing can be fitted; numpy's warnings of overflow are no message, though."""
    offset = size * np.random.default_rng(0).normal(size=N)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        try:
            est = fit(offset=offset)
        except ValueError as error:
            assert str(error)
        else:
            assert not np.isnan(est.coef_).any()


def test_an_outlier_does_not_stop_the_search():
    far = X.copy()
    far[7, 0] = 1e6
    est = silent_fit(X=far)
    assert est.converged_ and np.isfinite(est.covariance_).all()


def test_extreme_predictions():
    est = fit()
    far = 1e3 * X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for groups in (None, GROUPS):
            probability = est.predict_proba(far, groups=groups)
            log_odds = est.decision_function(far, groups=groups)
            logarithm = est.predict_log_proba(far, groups=groups)
            assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-14)
            assert np.isfinite(log_odds).all() and np.isfinite(logarithm).all()
    predictor = est.intercept_ + far @ est.coef_[0]
    tau2 = est.random_covariance_["group"][0, 0]
    tiny = predictor < -800
    assert tiny.sum() > 3
    assert_allclose(est.decision_function(far)[tiny], predictor[tiny] + tau2 / 2, rtol=1e-12)


def test_a_search_cut_short_says_so():
    for est in (MixedLogit(max_iter=1), MixedLogit([0], max_iter=1), MixedLogit(n_quadrature=9, max_iter=1)):
        with pytest.warns(ConvergenceWarning, match=r"did not converge \(iteration limit, \d steps\).*Raise max_iter"):
            found = fit(est.set_params(tol=1e-13))
        assert found.converged_ is False
        assert "NO, after" in str(found.summary())
