"""Random-effect terms of MixedLinear of every kind: against lme4, and against models that are the same otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

from skdep import MixedLinear
from skdep.datasets import load_sleepstudy
from skdep.exceptions import SingularFitWarning
from skdep.inference import coef_table, profile_interval, wald_test

from .term_reference import LINEAR, R, check_variances, coefficients, fit, frame, params, rows


@pytest.fixture(params=LINEAR, ids="-".join)
def entry(request):
    name, method = request.param
    return R[name], R[name][method], fit(name, method)


# ---- against R -------------------------------------------------------------------------------------------------------


def test_likelihood_and_singularity(entry):
    _, expected, est = entry
    assert est.converged_
    assert est.loglik_ == pytest.approx(expected["loglik"], abs=1e-6)
    assert est.singular_ == expected["singular"]


def test_coefficients_and_standard_errors(entry):
    given, expected, est = entry
    estimate, errors, values, their_errors = coefficients(given, expected, est)
    assert np.all(np.abs(estimate - values) < 1e-5 * their_errors)
    assert_allclose(errors, their_errors, rtol=1e-5)


def test_variances_and_random_effects(entry):
    _, expected, est = entry
    check_variances(expected, est, 1e-4)
    assert np.sqrt(est.sigma2_) == pytest.approx(expected["sigma"], rel=1e-6)


def test_features_without_fixed_effect(entry):
    """Their coefficient is zero, and they have no row in covariances and tables."""
    given, _, est = entry
    fixed = [name for name in given["features"] if name not in (given["random_only"] or [])]
    assert est.coef_.shape == (len(given["features"]),)
    assert_array_equal(est.coef_ == 0.0, [name not in fixed for name in given["features"]])
    assert est.covariance_.shape == (len(fixed) + 1,) * 2
    assert list(coef_table(est).index) == ["Intercept", *fixed]
    assert all(name in str(est.summary()) for name in fixed)


def test_profile_past_a_minimum_without_variance():
    """At a correlation far off the likelihood has a second maximum, where an effect has no variance at all.

    At the ends the dense likelihood, maximised over the rest, is lower by half the quantile of chi-square.
    """
    est, sleep = fit("sleep_random_only", "ml"), load_sleepstudy()
    y = sleep.target.to_numpy().reshape(18, 10)  # subjects have the same ten days
    Z = np.column_stack([np.ones(10), np.arange(10.0)])
    assert_array_equal(sleep.data["Days"], np.tile(Z[:, 1], 18))
    table = profile_interval(est).to_frame().loc["Correlation of Intercept and Days by Subject"]

    def deviance(logs, correlation):
        first, second = np.exp(logs)
        inner = correlation * first * second
        V = np.eye(10) + Z @ np.array([[first**2, inner], [inner, second**2]]) @ Z.T
        weights = np.linalg.inv(V)
        residual = y - (y @ weights).sum() / (18.0 * weights.sum())
        sigma2 = np.einsum("si,ij,sj->", residual, weights, residual) / 180.0
        return 180.0 * (np.log(2.0 * np.pi * sigma2) + 1.0) + 18.0 * np.linalg.slogdet(V)[1]

    for end in table[["conf_low", "conf_high"]]:
        least = optimize.minimize(deviance, np.log([1.0, 0.5]), args=(end,), method="BFGS").fun
        assert least + 2.0 * est.loglik_ == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-4)


# ---- the same model in other words -----------------------------------------------------------------------------------

SIM = frame("terms_sim")
X, G = SIM[["x", "z", "w"]], SIM["g"]
BLOCKS = {"g": [["Intercept", "z"], ["x", "w"]]}


def fitted(y="y", groups=G, X=X, **options) -> MixedLinear:
    return MixedLinear(**options).fit(X, SIM[y], groups=groups)


def assert_same_fit(one: MixedLinear, other: MixedLinear, scale=1.0) -> None:
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-6)
    assert_allclose(other.coef_ * scale, one.coef_, rtol=1e-4, atol=1e-6)
    assert other.sigma2_ == pytest.approx(one.sigma2_, rel=1e-4)


@pytest.mark.parametrize(
    "blocks",
    [
        [["x", "w"], ["Intercept", "z"]],
        [("z", "Intercept"), ("w", "x")],
        [["Intercept", 1], [0, -1]],
        [np.array(["x", "w"]), np.array(["z", "Intercept"])],
    ],
)
@pytest.mark.filterwarnings("ignore:Singular")
def test_blocks_in_any_order_and_by_name_or_number(blocks):
    one = fitted(random_slopes=["x", "z", "w"], covariance=BLOCKS)
    other = fitted(random_slopes=["x", "z", "w"], covariance={"g": blocks})
    assert_array_equal(other.random_covariance_["g"], one.random_covariance_["g"])
    assert other.loglik_ == one.loglik_


@pytest.mark.filterwarnings("ignore:Singular")
def test_features_and_slopes_in_another_order():
    one = fitted(random_slopes=["x", "z", "w"], covariance=BLOCKS)
    other = fitted(random_slopes=["w", "x", "z"], covariance=BLOCKS, X=X[["w", "z", "x"]])
    assert_same_fit(one, MixedLinear(["x", "z", "w"], covariance=BLOCKS).fit(X, SIM["y"], groups=G))
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-6)
    order = [other.random_names_["g"].index(name) for name in one.random_names_["g"]]
    found = other.random_covariance_["g"][np.ix_(order, order)]
    assert_allclose(found, one.random_covariance_["g"], rtol=1e-3, atol=1e-4)


def test_one_block_is_full_and_a_block_each_is_diagonal():
    for word, blocks in (("full", [["Intercept", "x", "z"]]), ("diagonal", [["x"], ["z"], ["Intercept"]])):
        one = fitted(random_slopes=["x", "z"], covariance=word)
        other = fitted(random_slopes=["x", "z"], covariance={"g": blocks})
        assert_array_equal(other.random_covariance_["g"], one.random_covariance_["g"])
        assert other.optimization_.n_steps == one.optimization_.n_steps


def test_what_a_dict_leaves_out_has_its_default():
    groups = SIM[["g", "h"]]
    one = fitted(groups=groups, random_slopes=["x"])
    other = fitted(groups=groups, random_slopes=["x"], covariance={"h": "full"}, random_intercept={"g": True})
    assert other.loglik_ == one.loglik_
    empty = fitted(groups=groups, random_slopes=["x"], covariance={}, random_intercept={}, random_only=[])
    assert empty.loglik_ == one.loglik_


@pytest.mark.parametrize("random_only", [None, ["x"]])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_blocks_are_terms_of_copies_of_the_factor(method, random_only):
    """(1 + x | g) + (0 + z | g) by the engine of several factors, of which the second is a copy of the first."""
    options = {"method": method, "random_only": random_only}
    one = fitted(random_slopes=["x", "z"], covariance={"g": [["Intercept", "x"], ["z"]]}, **options)
    copies = pd.DataFrame({"g": G, "copy": G})
    slopes, intercepts = {"g": ["x"], "copy": ["z"]}, {"copy": False}
    other = fitted(groups=copies, random_slopes=slopes, random_intercept=intercepts, **options)
    assert_same_fit(one, other)
    assert_allclose(other.covariance_, one.covariance_, rtol=1e-4, atol=1e-6)
    found = one.random_covariance_["g"]
    assert_allclose(found[:2, :2], other.random_covariance_["g"], rtol=1e-3)
    assert_allclose(found[2, 2], other.random_covariance_["copy"][0, 0], rtol=1e-3)
    assert_array_equal(found[2, :2], 0.0)
    table, twin = coef_table(one, df="satterthwaite"), coef_table(other, df="satterthwaite")
    assert_allclose(table["df"], twin["df"], rtol=1e-3)
    expected = other.predict(X, groups=copies, return_std=True)
    for part, theirs in zip(one.predict(X, groups=G, return_std=True), expected):
        assert_allclose(part, theirs, rtol=1e-3, atol=1e-3)


def test_factors_in_another_order():
    groups = SIM[["g", "h"]]
    options = {
        "random_slopes": {"g": ["x", "z"], "h": ["w"]},
        "covariance": {"g": [["z"], ["Intercept", "x"]]},
        "random_intercept": {"h": False},
        "random_only": ["w"],
    }
    one, other = fitted(groups=groups, **options), fitted(groups=groups[["h", "g"]], **options)
    assert_same_fit(one, other)
    assert list(other.random_covariance_) == ["h", "g"]
    for name in ("g", "h"):
        assert_allclose(other.random_covariance_[name], one.random_covariance_[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("groups", [["g"], ["g", "h"]])
def test_units_of_features(groups):
    scale = np.array([1e4, 1e-3, 7.0])
    options = {
        "random_slopes": {"g": ["x", "z"]},
        "covariance": {"g": [["Intercept", "x"], ["z"]]},
        "random_only": ["z"],
        "method": "ml",
    }
    one, other = fitted(groups=SIM[groups], **options), fitted(groups=SIM[groups], X=X * scale, **options)
    assert_same_fit(one, other, scale)
    unit = np.outer([1.0, *scale[:2]], [1.0, *scale[:2]])
    assert_allclose(other.random_covariance_["g"] * unit, one.random_covariance_["g"], rtol=1e-3, atol=1e-6)


def test_origin_within_a_block_of_the_intercept_is_no_matter():
    """Slopes in the intercept's block may be measured from elsewhere; those of other blocks may not."""
    options = {"random_slopes": ["x", "z"], "covariance": {"g": [["Intercept", "x"], ["z"]]}, "method": "ml"}
    one = fitted(**options)
    assert fitted(X=X.assign(x=X["x"] + 1000.0), **options).loglik_ == pytest.approx(one.loglik_, abs=1e-6)
    assert abs(fitted(X=X.assign(z=X["z"] + 1.0), **options).loglik_ - one.loglik_) > 0.01


@pytest.mark.filterwarnings("ignore:Singular")
def test_calendar_years_in_a_block_of_their_own():
    """A column nearly collinear with the constant, uncorrelated with its effect, keeps the digits of the likelihood."""
    far = X.assign(z=2000.0 + 0.01 * X["z"])
    options = {"random_slopes": ["x", "z"], "covariance": {"g": [["Intercept", "x"], ["z"]]}, "method": "ml"}
    est = fitted(X=far, **options)
    sigma, codes = est.random_covariance_["g"], np.unique(G, return_inverse=True)[1]
    Z = np.column_stack([np.ones(len(far)), far[["x", "z"]]])
    V = (codes[:, None] == codes) * (Z @ sigma @ Z.T) + est.sigma2_ * np.eye(len(far))
    residual = SIM["y"] - est.intercept_ - far @ est.coef_
    expected = -0.5 * (len(far) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + residual @ np.linalg.solve(V, residual))
    assert est.loglik_ == pytest.approx(expected, abs=1e-5)


def test_all_dummies_at_random_and_those_but_one_fixed():
    """Which dummy has no fixed effect is no matter: the means of all kinds are free."""
    kinds = SIM[["fa", "fb", "fc"]]
    ends = [
        fitted(X=kinds, random_slopes=["fa", "fb", "fc"], random_intercept=False, random_only=[name], method="ml")
        for name in kinds
    ]
    for est in ends[1:]:
        assert est.loglik_ == pytest.approx(ends[0].loglik_, abs=1e-6)
        assert_allclose(est.predict(kinds), ends[0].predict(kinds), rtol=1e-5)
        means = est.predict(kinds, groups=G)
        assert_allclose(means, ends[0].predict(kinds, groups=G), rtol=1e-4, atol=1e-5)


def test_joint_test_of_what_has_a_fixed_effect():
    given = R["machines"]
    est = fit("machines", "reml")
    result = wald_test(est, ["B", "C"])
    beta, Phi = np.array(list(given["reml"]["fixef"].values()))[1:], est.covariance_[1:, 1:]
    assert result.statistic == pytest.approx(beta @ np.linalg.solve(Phi, beta) / 2, rel=1e-5)
    with pytest.raises((ValueError, KeyError), match="A"):
        wald_test(est, "A")


def test_features_left_out_of_fixed_effects_count_in_population_predictions_by_nothing():
    est = fit("sleep_slope_alone", "ml")
    sleep = load_sleepstudy()
    assert_array_equal(est.predict(sleep.data), np.full(len(sleep.data), est.intercept_))
    _, std = est.predict(sleep.data, return_std=True)
    assert_allclose(std, np.sqrt(est.covariance_[0, 0]))
    days = sleep.data["Days"].to_numpy()
    _, unseen = est.predict(sleep.data, groups=["nobody"] * len(days), return_std=True)
    expected = est.covariance_[0, 0] + days**2 * est.random_covariance_["Subject"][0, 0]
    assert_allclose(unseen**2, expected, rtol=1e-8)


def test_weights_are_rows():
    counts = np.random.default_rng(3).integers(1, 4, len(SIM))
    options = {"random_slopes": ["x", "z"], "covariance": {"g": [["Intercept", "z"], ["x"]]}, "random_only": ["z"]}
    one = MixedLinear(**options).fit(X, SIM["y"], groups=G, sample_weight=counts)
    order = np.repeat(np.arange(len(SIM)), counts)
    other = MixedLinear(**options).fit(X.iloc[order], SIM["y"].iloc[order], groups=G.iloc[order])
    assert_same_fit(one, other)
    for kind in ("model", "robust"):
        errors = [coef_table(est, cov_type=kind)["std_error"] for est in (one, other)]
        assert_allclose(*errors, rtol=1e-4)


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_intercept": {"nobody": True}}, r"random_intercept names unknown factors \['nobody'\]; groups has \["),
        ({"random_intercept": {"g": 1}}, r"random_intercept of g is True or False, got 1"),
        ({"random_intercept": {"g": False}}, "'g' has no random effect"),
        ({"covariance": {"nobody": "full"}}, r"covariance names unknown factors \['nobody'\]"),
        ({"covariance": {"g": "half"}}, r"covariance of g is 'full', 'diagonal' or a list of blocks .* got 'half'"),
        ({"covariance": {"g": ["Intercept", "x"]}}, r"a block is a list of effects, .* got 'Intercept'"),
        ({"covariance": {"g": [["Intercept"]]}, "random_slopes": ["x"]}, r"leaves out \['x'\]"),
        ({"covariance": {"g": [["Intercept", "x"], ["x"]]}, "random_slopes": ["x"]}, "lists effect 'x' twice"),
        ({"covariance": {"g": [["Intercept", "z"], ["x"]]}, "random_slopes": ["x"]}, "lists 'z', which is no effect"),
        ({"covariance": {"g": [["Intercept", "q"], ["x"]]}, "random_slopes": ["x"]}, "there is no feature 'q'"),
        ({"covariance": {"g": [["Intercept"], []]}}, "a block is a list of effects"),
        ({"covariance": [["Intercept", "x"]]}, "covariance"),
        ({"covariance": "half"}, "covariance"),
        ({"random_only": ["x"]}, r"random_only names \['x'\], which no factor has in random_slopes"),
        ({"random_only": ["q"], "random_slopes": ["x"]}, "random_only: there is no feature 'q'"),
        ({"random_only": ["x", "x"], "random_slopes": ["x"]}, "random_only names a feature twice"),
        (
            {"random_only": ["x", "z", "w"], "random_slopes": ["x", "z", "w"], "fit_intercept": False},
            "The model has no fixed effect",
        ),
    ],
)
def test_what_makes_no_sense_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        MixedLinear(**options).fit(X, SIM["y"], groups=G)


def test_intercept_of_a_block_without_random_intercept():
    with pytest.raises(ValueError, match="covariance of g: there is no feature 'Intercept'"):
        fitted(random_slopes=["x"], random_intercept=False, covariance={"g": [["Intercept", "x"]]})


def test_random_only_needs_groups():
    with pytest.raises(ValueError, match="which no factor has"):
        MixedLinear(random_only=["x"]).fit(X, SIM["y"])


def test_numbers_of_columns_without_names():
    one = fitted(random_slopes=["x", "z"], covariance={"g": [["Intercept", "x"], ["z"]]}, random_only=["z"])
    est = MixedLinear([0, 1], covariance={"group": [["Intercept", 0], [1]]}, random_only=1)
    est.fit(X.to_numpy(), SIM["y"], groups=G.to_numpy())
    assert_array_equal(est.coef_, one.coef_)
    with pytest.raises(ValueError, match="no column names"):
        est.set_params(random_only=["z"]).fit(X.to_numpy(), SIM["y"], groups=G.to_numpy())


def test_singular_block_is_a_converged_fit():
    """The covariance of one block is singular, that of the other is not; correlations across blocks stay zero."""
    with pytest.warns(SingularFitWarning):
        est = MixedLinear(**params(R["blocks_interleaved"])).fit(**rows(R["blocks_interleaved"]))
    sigma = est.random_covariance_["g"]
    assert est.converged_
    assert_array_equal(sigma[np.ix_([0, 2], [1, 3])], 0.0)
    determinants = [np.linalg.det(sigma[np.ix_(block, block)]) for block in ([0, 2], [1, 3])]
    assert min(determinants) < 1e-8 < max(determinants)
