"""What is wrong must be said: what, where, and what to do. What cannot be estimated must be said, too."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone

from skdep import MixedLinear
from skdep.exceptions import CollinearityWarning, ConvergenceWarning, FewClustersWarning, SingularFitWarning
from skdep.inference import coef_table

from .designs import CASES

DATA = CASES["two_slopes"]
CROSSED = CASES["crossed"]
X, y, GROUPS = DATA.X, DATA.y, DATA.codes("group")
N = len(y)
SAMPLING = MixedLinear(weight_type="sampling")
OF_LEVEL = np.linspace(1.0, 2.0, GROUPS.max() + 1)[GROUPS]


def spoilt(values, value, row=3):
    values = np.array(values, dtype=float)
    values[row] = value
    return values


def fit(est=None, X=X, y=y, groups=GROUPS, **metadata):
    return clone(est or MixedLinear()).fit(X, y, groups=groups, **metadata)


# ------------------------------------------------------------------------------------------------ not a number


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_or_infinite_features_and_outcomes(value):
    bad = X.copy()
    bad[3, 1] = value
    with pytest.raises(ValueError, match=r"1 rows of X have .*first row 3, in columns 1\. Input X contains (NaN|inf)"):
        fit(X=bad)
    with pytest.raises(ValueError, match=r"(Input y|y) contains (NaN|infinity)"):
        fit(y=spoilt(y, value))
    est = fit()
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        est.predict(bad, groups=GROUPS)
    with pytest.raises(ValueError, match="y has 1 missing or infinite values, first in row 3"):
        est.score(X, spoilt(y, value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_or_infinite_metadata(value):
    for name, values in {"sample_weight": DATA.weights, "offset": y}.items():
        with pytest.raises(ValueError, match=f"{name} has 1 missing or infinite values, first in row 3"):
            fit(**{name: spoilt(values, value)})
    with pytest.raises(ValueError, match="group_weight has 1 missing or infinite values, first in row 3"):
        fit(SAMPLING, group_weight=spoilt(OF_LEVEL, value))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
def test_missing_groups(missing):
    groups = GROUPS.astype(object)
    groups[[5, 9]] = missing
    message = r"groups: label of factor 'group' is missing in 2 rows, first in row 5.*must belong to a cluster"
    with pytest.raises(ValueError, match=message):
        fit(groups=groups)
    with pytest.raises(ValueError, match=message):
        fit().predict(X, groups=groups)
    table = pd.DataFrame({"rater": CROSSED.groups["rater"].astype(object), "item": CROSSED.groups["item"]})
    table.loc[4, "rater"] = missing
    with pytest.raises(ValueError, match=r"label of factor 'rater' is missing in 1 rows, first in row 4"):
        fit(X=CROSSED.X, y=CROSSED.y, groups=table)


def test_columns_that_are_no_numbers():
    frame = pd.DataFrame(X, columns=["dose", "age", "bmi"]).assign(sex="f")
    with pytest.raises(ValueError, match=r"Columns of X that are not numbers: sex\. Encode categories.*OneHotEncoder"):
        fit(X=frame)


# ------------------------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize("name", ["sample_weight", "offset", "group_weight", "groups"])
def test_metadata_of_the_wrong_length(name):
    values = {"sample_weight": DATA.weights, "offset": y, "group_weight": OF_LEVEL, "groups": GROUPS}[name]
    for wrong in (values[:-1], np.append(values, values[0])):
        with pytest.raises(ValueError, match=f"has {len(wrong)} (values|labels) for {N} rows; give exactly one"):
            fit(SAMPLING, **{name: wrong})


@pytest.mark.parametrize("name", ["sample_weight", "offset", "group_weight"])
def test_metadata_of_the_wrong_shape(name):
    with pytest.raises(ValueError, match=r"1D array|one-dimensional"):
        fit(SAMPLING, **{name: np.ones((N, 2))})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros((N, 0)), "groups has no columns; give one column a grouping factor"),
        (np.zeros((N, 1, 1)), r"one- or two-dimensional, got shape"),
        (3, "groups must have one label a row, got 3"),
        (pd.Series([[1]] * N), "labels of factor 'group' must be hashable"),
        (np.zeros((N - 1, 2)), f"'group0' has {N - 1} labels for {N} rows"),
    ],
    ids=["no columns", "three dimensions", "scalar", "lists", "short table"],
)
def test_groups_that_are_none(groups, message):
    with pytest.raises(ValueError, match=message):
        fit(groups=groups)


def test_factors_of_one_name():
    twice = pd.concat([CROSSED.groups["rater"], CROSSED.groups["rater"]], axis=1)
    with pytest.raises(ValueError, match=r"several factors of the name \['rater'\]; give each its own name"):
        fit(X=CROSSED.X, y=CROSSED.y, groups=twice)


@pytest.mark.parametrize(
    "groups", [CROSSED.groups["rater"], CROSSED.groups[["rater"]], CROSSED.groups.assign(day=1).to_numpy()]
)
def test_another_number_of_factors_at_predict(groups):
    est = fit(X=CROSSED.X, y=CROSSED.y, groups=CROSSED.groups)
    n_factors = 1 if np.ndim(groups) == 1 else groups.shape[1]
    with pytest.raises(
        ValueError, match=rf"groups has (no column|{n_factors} factors).* fitted with .*\['rater', 'item'\]"
    ):
        est.predict(CROSSED.X, groups=groups)


def test_labels_of_another_type_at_predict_are_pointed_out():
    """Numbers that became texts on their way through a file are unknown levels, all of them."""
    est = fit()
    with pytest.warns(UserWarning, match=r"No level of 'group' is known.*labels are like .*'0'.*\(str"):
        found = est.predict(X, groups=GROUPS.astype(str))
    assert_allclose(found, est.predict(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(est.predict(X, groups=GROUPS.astype(float)), est.predict(X, groups=GROUPS))
        assert_allclose(est.predict(X, groups=GROUPS + 1000), est.predict(X))


def test_groups_of_the_wrong_length_at_predict():
    est = fit()
    with pytest.raises(ValueError, match=f"'group' has {N - 1} labels for {N} rows"):
        est.predict(X, groups=GROUPS[:-1])


def test_outcomes_of_the_wrong_shape():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit(y=y[:-1])
    with pytest.raises(ValueError, match="1d array"):
        fit(y=np.column_stack([y, y]))


def test_no_features_and_nothing_else():
    for est, groups in ((MixedLinear(fit_intercept=False), GROUPS), (MixedLinear(), None)):
        with pytest.raises(ValueError, match=r"0 feature\(s\).* minimum of 1 is required"):
            fit(est, X=np.empty((N, 0)), groups=groups)


# ------------------------------------------------------------------------------------------------ slopes


@pytest.mark.parametrize(
    ("slopes", "message"),
    [
        ([3], "random_slopes of every factor: there is no feature 3, X has 3 columns"),
        ([-4], "there is no feature -4, X has 3 columns"),
        (["dose"], r"there is no feature 'dose'; X has \['a', 'b', 'c'\]"),
        ([True], "there is no feature True"),
        ([1.0], r"there is no feature 1\.0"),
        ([None], "there is no feature None"),
        (["Intercept"], "there is no feature 'Intercept'"),
        (["a", 0], r"names a feature twice: \['a', 0\]"),
        ([1, -2], "names a feature twice"),
        (np.array([True, False, True]), "there is no feature np.True_"),
        ({"school": ["a"]}, r"random_slopes names unknown factors \['school'\]; groups has \['group'\]"),
        ({"group": ["dose"]}, "random_slopes of group: there is no feature 'dose'"),
    ],
    ids=lambda value: repr(value) if not isinstance(value, str) else "",
)
def test_slopes_of_features_that_are_none(slopes, message):
    with pytest.raises(ValueError, match=message):
        fit(MixedLinear(slopes), X=pd.DataFrame(X, columns=list("abc")))


def test_names_of_slopes_without_names_of_features():
    with pytest.raises(
        ValueError, match="there is no feature 'a'; X has no column names: give a DataFrame, or numbers"
    ):
        fit(MixedLinear(["a"]))


def test_factors_without_effects():
    with pytest.raises(ValueError, match=r"Factor 'group' has no random effect: random_intercept=False.*random_slopes"):
        fit(MixedLinear(random_intercept=False))
    with pytest.raises(ValueError, match="Factor 'item' has no random effect"):
        fit(MixedLinear({"rater": [0]}, random_intercept=False), X=CROSSED.X, y=CROSSED.y, groups=CROSSED.groups)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("random_slopes", {"a"}),
        ("random_slopes", 1.5),
        ("random_intercept", "yes"),
        ("covariance", "ar1"),
        ("method", "REML"),
        ("weight_type", "survey"),
        ("weight_scaling", "gk"),
        ("cov_type", "hc0"),
        ("max_iter", 0),
        ("tol", 0.0),
        ("fit_intercept", "yes"),
    ],
)
def test_unknown_parameters(parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of MixedLinear must be"):
        fit(MixedLinear(**{parameter: value}))


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("weight_type", ["frequency", "precision", "sampling"])
def test_weights_zero_or_negative(weight_type):
    est = MixedLinear(weight_type=weight_type)
    with pytest.raises(ValueError, match="every weight is zero"):
        fit(est, sample_weight=np.zeros(N))
    with pytest.raises(ValueError, match=r"1 negative weights, first in row 3 \(-2\)"):
        fit(est, sample_weight=spoilt(DATA.weights, -2.0))


@pytest.mark.parametrize("weight_type", ["frequency", "precision"])
def test_weights_of_groups_that_are_no_sampling_weights(weight_type):
    with pytest.raises(ValueError, match=rf"group_weight .* needs weight_type='sampling', got '{weight_type}'"):
        fit(MixedLinear(weight_type=weight_type), group_weight=OF_LEVEL)


def test_weights_of_groups_without_groups():
    with pytest.raises(ValueError, match="group_weight is the sampling weight of whole clusters: give groups"):
        fit(SAMPLING, groups=None, group_weight=OF_LEVEL)


def test_weights_of_groups_that_vary_within_them():
    with pytest.raises(ValueError, match=r"constant within each level of 'group'.*it is not in row \d+\."):
        fit(SAMPLING, group_weight=spoilt(OF_LEVEL, 9.0))
    nested = CASES["nested"]
    by_pupil = np.linspace(1.0, 2.0, nested.codes("pupil").max() + 1)[nested.codes("pupil")]
    with pytest.raises(ValueError, match="constant within each level of 'school'"):
        fit(SAMPLING, X=nested.X, y=nested.y, groups=nested.groups, group_weight=by_pupil)
    by_rater = np.linspace(1.0, 2.0, 12)[CROSSED.codes("rater")]
    with pytest.raises(ValueError, match="constant within each level of 'item'"):
        fit(SAMPLING, X=CROSSED.X, y=CROSSED.y, groups=CROSSED.groups, group_weight=by_rater)


@pytest.mark.parametrize("weight", [-OF_LEVEL, 0.0 * OF_LEVEL], ids=["negative", "zero"])
def test_weights_of_groups_zero_or_negative(weight):
    with pytest.raises(ValueError, match="group_weight") as caught:
        fit(SAMPLING, group_weight=weight)
    assert "sample_weight" not in str(caught.value)


@pytest.mark.parametrize("groups", [GROUPS, None], ids=["groups", "no groups"])
def test_frequencies_that_add_up_to_less_than_the_coefficients(groups):
    """Weights of sum one are no numbers of rows: what they leave for the variance is negative."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            with pytest.warns(UserWarning, match="weight"):
                est = fit(groups=groups, sample_weight=DATA.weights / DATA.weights.sum())
        except ValueError as error:
            assert "weight" in str(error)
        else:
            assert not est.sigma2_ < 0
            assert not np.any(np.diag(est.covariance_) < 0)


# ------------------------------------------------------------------------------------------------ nothing to estimate


@pytest.mark.parametrize("slopes", [None, [0]], ids=["intercepts", "slopes"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_constant_outcome(slopes, method):
    with pytest.warns(SingularFitWarning, match="fit y without error"):
        est = fit(MixedLinear(slopes, method=method), y=np.full(N, 3.7))
    assert_allclose(est.predict(X, groups=GROUPS), 3.7, rtol=1e-12)
    assert est.sigma2_ == 0.0
    assert est.converged_
    assert est.loglik_ == np.inf
    assert_allclose(est.random_covariance_["group"], 0.0)
    assert_allclose(est.random_effects_["group"], 0.0)
    str(est.summary())


@pytest.mark.parametrize("groups", [GROUPS, None], ids=["groups", "no groups"])
def test_outcome_without_error(groups):
    with pytest.warns(SingularFitWarning, match="standard errors are zero"):
        est = fit(y=1.0 + X @ [1.0, 2.0, -3.0], groups=groups)
    assert_allclose(est.coef_, [1.0, 2.0, -3.0], rtol=1e-12)
    assert_allclose(est.intercept_, 1.0, rtol=1e-12)
    assert_allclose(est.covariance_, 0.0)
    mean, std = est.predict(X, groups=groups, return_std=True)
    assert_allclose(mean, 1.0 + X @ [1.0, 2.0, -3.0], rtol=1e-10)
    assert_allclose(std, 0.0)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("slopes", [None, [0]], ids=["intercepts", "slopes"])
def test_effects_that_leave_no_error(slopes, method):
    """The likelihood has no maximum: it grows without bound as sigma2 goes to zero."""
    effect = np.random.default_rng(0).normal(size=(2, GROUPS.max() + 1))[:, GROUPS]
    exact = 1.0 + X @ [1.0, 2.0, -3.0] + effect[0] + (effect[1] * X[:, 0] if slopes else 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.warns(ConvergenceWarning, match=r"without error|no residual"):
            est = fit(MixedLinear(slopes, method=method), y=exact)
    assert_allclose(est.coef_[1:], [2.0, -3.0], rtol=1e-4)
    assert_allclose(est.predict(X, groups=GROUPS), exact, atol=1e-4)
    assert est.sigma2_ < 1e-6


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_levels_of_one_row_that_weights_repeat(method):
    """The rows of a level are the same: nothing is left within levels."""
    with pytest.warns(ConvergenceWarning, match=r"without error|no residual|one row"):
        est = fit(MixedLinear(method=method), groups=np.arange(N), sample_weight=DATA.integers)
    assert np.isfinite(est.coef_).all()


@pytest.mark.parametrize("groups", [np.array([0, 0, 1, 1, 2]), None], ids=["groups", "no groups"])
@pytest.mark.parametrize("n_features", [4, 10])
def test_as_many_coefficients_as_rows(groups, n_features):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5, n_features)), rng.normal(size=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.warns(SingularFitWarning):
            est = fit(X=X, y=y, groups=groups)
        assert_allclose(est.predict(X, groups=groups), y, atol=1e-10)
        assert not est.sigma2_ < 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert coef_table(est)["p_value"].isna().all()
            str(est.summary())


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_more_features_than_rows_predict_the_outcome_nevertheless(method):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 20)), rng.normal(size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = fit(MixedLinear(method=method), X=X, y=y, groups=np.arange(8) % 3)
    assert_allclose(est.predict(X), y, atol=1e-10)
    assert est.coef_.shape == (20,)


@pytest.mark.parametrize("groups", [[0, 0], [0, 1]], ids=["one level", "two levels"])
def test_two_rows(groups):
    """A mean of two rows has one degree of freedom left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est = fit(X=np.empty((2, 0)), y=np.array([1.0, 3.0]), groups=groups)
    assert_allclose(est.intercept_, 2.0)
    # what all variances together leave is known: the restricted likelihood of the difference of the two
    assert_allclose(est.loglik_, -0.5 * (1 + np.log(2 * np.pi * 2.0) + np.log(2.0)), rtol=1e-8)


def test_levels_of_one_row_each():
    with pytest.warns(SingularFitWarning, match=r"'group'.*one row.*|one row.*'group'"):
        est = fit(groups=np.arange(N))
    flat = fit(groups=None)
    assert_allclose(est.loglik_, flat.loglik_, rtol=1e-10)
    assert_allclose(est.coef_, flat.coef_, rtol=1e-8)
    assert_allclose(est.sigma2_ + est.random_covariance_["group"][0, 0], flat.sigma2_, rtol=1e-8)
    assert_allclose(est.covariance_, flat.covariance_, rtol=1e-6)


def test_levels_of_one_row_of_known_precision_are_a_meta_analysis():
    """The likelihood of independent rows of variance tau + sigma2 / w."""
    rng = np.random.default_rng(0)
    variance = np.exp(rng.uniform(-4.0, 3.0, 300))
    effects = rng.normal(0.4, 0.8, 300) + rng.normal(size=300) * np.sqrt(variance)
    est = MixedLinear(method="ml", weight_type="precision", tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est.fit(np.empty((300, 0)), effects, groups=np.arange(300), sample_weight=1 / variance)

    def loglik(mean, tau, sigma2):
        return stats.norm.logpdf(effects, mean, np.sqrt(tau + sigma2 * variance)).sum()

    found = np.array([est.intercept_, est.random_covariance_["group"][0, 0], est.sigma2_])
    assert_allclose(est.loglik_, loglik(*found), rtol=1e-10)
    for step in np.diag(1e-2 * found):
        assert max(loglik(*(found + step)), loglik(*(found - step))) < est.loglik_


def test_slopes_of_levels_of_one_row_are_estimable():
    """Variances that grow with a feature: (1, x) Sigma (1, x)' + sigma2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est = fit(MixedLinear([0]), groups=np.arange(N))
    assert est.converged_
    assert est.loglik_ >= fit(groups=None).loglik_ - 1e-8


@pytest.mark.parametrize(
    ("est", "groups", "X"),
    [
        pytest.param(MixedLinear(), np.zeros(N), X, id="one level"),
        pytest.param(MixedLinear(), np.column_stack([GROUPS, np.zeros(N)]), X, id="a constant factor"),
        pytest.param(MixedLinear(), np.column_stack([GROUPS, 50 - GROUPS]), X, id="identical factors"),
        pytest.param(MixedLinear([3]), GROUPS, np.column_stack([X, np.zeros(N)]), id="slopes of zeros"),
        pytest.param(MixedLinear([3]), GROUPS, np.column_stack([X, np.full(N, 3.0)]), id="slopes of a constant"),
        pytest.param(MixedLinear([0, 3]), GROUPS, np.column_stack([X, X[:, 0]]), id="slopes of a feature twice"),
    ],
)
def test_variances_that_cannot_be_told_apart_are_named(est, groups, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollinearityWarning)
        with pytest.warns(SingularFitWarning):
            fit(est, X=X, groups=groups)


def test_one_level_leaves_least_squares():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est = fit(groups=np.zeros(N))
    flat = fit(groups=None)
    assert_allclose(est.coef_, flat.coef_, rtol=1e-8)
    assert_allclose(est.loglik_, flat.loglik_, rtol=1e-10)
    assert_allclose(est.covariance_[1:, 1:], flat.covariance_[1:, 1:], rtol=1e-6)


# ------------------------------------------------------------------------------------------------ clusters


def test_one_cluster_has_no_robust_covariance():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        with pytest.warns(FewClustersWarning, match="There is one cluster: .* NaN"):
            est = fit(MixedLinear(cov_type="robust"), groups=np.zeros(N))
    assert np.isnan(est.covariance_).all()
    assert np.isfinite(coef_table(est, cov_type="model")["std_error"]).all()


def test_fewer_clusters_than_parameters():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        with pytest.warns(FewClustersWarning, match="2 clusters for 4 parameters: .* not full rank"):
            est = fit(MixedLinear(cov_type="robust"), groups=np.arange(N) % 2)
    with pytest.warns(UserWarning, match="-2 degrees of freedom left"):
        assert coef_table(est, df="residual")["p_value"].isna().all()


# ------------------------------------------------------------------------------------------------ collinear features


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_collinear_features_are_named(method):
    doubled = pd.DataFrame(np.column_stack([X, X[:, 0] - 2 * X[:, 1]]), columns=list("abcd"))
    with pytest.warns(CollinearityWarning, match=r"3 of 5 parameters .* estimable: 'a', 'b', 'd'"):
        est = fit(MixedLinear([2], method=method), X=doubled)
    plain = fit(MixedLinear([2], method=method))
    assert_allclose(est.predict(doubled, groups=GROUPS), plain.predict(X, groups=GROUPS), rtol=1e-6, atol=1e-7)
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-9)
    table, expected = coef_table(est), coef_table(plain)
    assert table["std_error"].isna().tolist() == [False, True, True, False, True]
    found, wanted = table.loc[["Intercept", "c"]], expected.loc[["Intercept", "x2"]]
    assert_allclose(found["std_error"], wanted["std_error"], rtol=1e-6)
    assert_allclose(found["df"], wanted["df"], rtol=1e-3)


def test_a_constant_feature_is_the_intercept_again():
    with pytest.warns(CollinearityWarning, match="'Intercept', 'x3'"):
        est = fit(X=np.column_stack([X, np.full(N, 5.0)]))
    plain = fit()
    assert est.coef_[3] == 0.0
    assert_allclose(est.coef_[:3], plain.coef_, rtol=1e-6)
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-9)


def test_nearly_collinear_features():
    noise = np.random.default_rng(0).normal(size=N)
    near = np.column_stack([X, X[:, 0] + 1e-6 * noise])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = fit(X=near)
    orthogonal = np.column_stack([X, noise])
    apart = fit(X=orthogonal)
    assert_allclose(est.coef_[3] * 1e-6, apart.coef_[3], rtol=1e-4)
    assert_allclose(est.predict(near, groups=GROUPS), apart.predict(orthogonal, groups=GROUPS), rtol=1e-5)


# ------------------------------------------------------------------------------------------------ extreme numbers


@pytest.mark.parametrize("unit", [1e-50, 1e-20, 1e20, 1e50])
def test_outcomes_in_extreme_units(unit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est, plain = fit(MixedLinear([0]), y=unit * y), fit(MixedLinear([0]))
        assert_allclose(est.coef_, unit * plain.coef_, rtol=1e-6)
        assert_allclose(est.sigma2_, unit**2 * plain.sigma2_, rtol=1e-6)
        assert_allclose(coef_table(est)["df"], coef_table(plain)["df"], rtol=1e-4)
        _, std = est.predict(X, groups=GROUPS, return_std=True)
        assert_allclose(std, unit * plain.predict(X, groups=GROUPS, return_std=True)[1], rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_degrees_of_freedom_in_very_extreme_units(unit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est, plain = fit(MixedLinear([0]), y=unit * y), fit(MixedLinear([0]))
        assert_allclose(coef_table(est)["df"], coef_table(plain)["df"], rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-50, 1e-20, 1e20, 1e50])
def test_features_in_extreme_units(unit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est, plain = fit(MixedLinear([0]), X=unit * X), fit(MixedLinear([0]))
        assert_allclose(unit * est.coef_, plain.coef_, rtol=1e-4)
        assert_allclose(est.sigma2_, plain.sigma2_, rtol=1e-4)
        assert_allclose(coef_table(est)["df"], coef_table(plain)["df"], rtol=1e-3)


def test_outcomes_far_from_zero():
    """Sums of squares of y would lose all digits."""
    est, plain = fit(MixedLinear([0]), y=y + 1e10), fit(MixedLinear([0]))
    assert_allclose(est.intercept_, plain.intercept_ + 1e10, rtol=1e-13)
    assert_allclose(est.coef_, plain.coef_, atol=1e-5)
    assert_allclose(est.sigma2_, plain.sigma2_, rtol=1e-5)


def test_features_far_from_zero():
    est, plain = fit(MixedLinear([0]), X=X + 1e7), fit(MixedLinear([0]))
    assert_allclose(est.coef_, plain.coef_, atol=1e-6)
    assert_allclose(est.predict(X + 1e7, groups=GROUPS), plain.predict(X, groups=GROUPS), rtol=1e-4, atol=1e-6)
    assert_allclose(est.loglik_, plain.loglik_, rtol=1e-8)


def test_an_outlier_does_not_stop_the_search():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        est = fit(MixedLinear([0]), y=spoilt(y, 1e9))
    assert est.converged_
    assert np.isfinite(est.covariance_).all()
