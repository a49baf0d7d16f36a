"""Random-effect terms of MixedLogit of every kind: against lme4, and against models that are the same otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

from skdep import MixedLogit
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.inference import coef_table, profile_interval
from tests.mixed.term_reference import LOGIT, R, check_variances, coefficients, fit, frame, rows

from . import dense
from .designs import Case

SIM = frame("terms_sim")
X, G = SIM[["x", "z", "w"]], SIM["g"]
KINDS = ["fa", "fb", "fc"]
BLOCKS = {"g": [["Intercept", "x"], ["z"]]}

every_reference = pytest.mark.parametrize("name", LOGIT)


# ---- against R -------------------------------------------------------------------------------------------------------


@every_reference
def test_likelihood(name):
    """The tolerance is what lme4 leaves of the modes."""
    est, expected = fit(name, "laplace"), R[name]["laplace"]
    assert est.converged_
    assert est.loglik_ == pytest.approx(expected["loglik"], abs=1e-6)
    assert est.singular_ == expected["singular"]


@every_reference
def test_coefficients_and_standard_errors(name):
    """Standard errors of lme4 are from differences of the likelihood."""
    estimate, errors, values, their_errors = coefficients(R[name], R[name]["laplace"], fit(name, "laplace"))
    assert np.all(np.abs(estimate - values) < 1e-5 * their_errors)
    assert_allclose(errors, their_errors, rtol=1e-4)


@every_reference
def test_variances_and_random_effects(name):
    check_variances(R[name]["laplace"], fit(name, "laplace"), 1e-4)


@every_reference
def test_features_without_fixed_effect(name):
    given, est = R[name], fit(name, "laplace")
    fixed = [feature for feature in given["features"] if feature not in (given["random_only"] or [])]
    assert est.coef_.shape == (1, len(given["features"]))
    assert_array_equal(est.coef_[0] == 0.0, [feature not in fixed for feature in given["features"]])
    assert list(coef_table(est).index) == ["Intercept", *fixed]
    assert est.covariance_.shape == (len(fixed) + 1,) * 2


@pytest.mark.parametrize("name", ["logit_blocks", "logit_slope_alone"])
def test_profile(name):
    """R interpolates its curve by splines, too far apart for the correlation."""
    expected = R[name]["profile"]
    table = profile_interval(fit(name, "laplace"), **rows(R[name])).to_frame()
    names = {
        "sd_(Intercept)|g": "SD of Intercept by g",
        "sd_x|g": "SD of x by g",
        "sd_z|g": "SD of z by g",
        "(Intercept)": "Intercept",
    }
    theirs = pd.DataFrame(expected).set_index("parameters")
    theirs = theirs[~theirs.index.str.startswith("cor_")].rename(names)
    table = table.loc[theirs.index]
    width = theirs["high"] - theirs["low"]
    assert np.all(np.abs(table["conf_low"] - theirs["low"]) < 2e-3 * width)
    assert np.all(np.abs(table["conf_high"] - theirs["high"]) < 2e-3 * width)


def test_profile_of_a_correlation_by_brute_force():
    """At both ends the likelihood, maximised over everything else, is lower by half the quantile of chi-square."""
    est, given = fit("logit_blocks", "laplace"), rows(R["logit_blocks"])
    design = np.column_stack([np.ones(len(X)), given["X"]])
    codes = np.unique(given["groups"]["g"], return_inverse=True)[1]
    term = dense.Term(codes, design, blocks=(0, 0, 1))
    case = Case(dense.Design(design, given["y"].to_numpy(float), (term,)))
    engine = OneFactorLaplace(case.rows, case.parameters)

    def deviance(point, correlation):
        sds, rest = np.exp(point[3:]), np.sqrt(1.0 - correlation**2)
        T = np.diag(sds * [1.0, rest, 1.0])
        T[1, 0] = correlation * sds[1]
        state = engine.value(point[:3], [T])
        gradient = engine.gradient(state)
        by_T = gradient.factors[0] * sds[:, None]
        by_sd = [by_T[0, 0], correlation * by_T[1, 0] + rest * by_T[1, 1], by_T[2, 2]]
        return 2.0 * state.value, 2.0 * np.concatenate([gradient.beta, by_sd])

    begin = [np.concatenate([est.intercept_, est.coef_[0], np.log([sd, 0.4, 0.6])]) for sd in (1.0, 0.3, 0.05)]
    table = profile_interval(est, **given).to_frame().loc["Correlation of Intercept and x by g"]
    for end in table[["conf_low", "conf_high"]]:
        found = [optimize.minimize(deviance, point, args=(end,), jac=True, method="BFGS").fun for point in begin]
        assert min(found) + 2.0 * est.loglik_ == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-3)


# ---- the same model in other words -----------------------------------------------------------------------------------


def fitted(groups=G, X=X, y="binary", **options) -> MixedLogit:
    return MixedLogit(**options).fit(X, SIM[y], groups=groups)


@pytest.mark.parametrize("random_only", [None, ["z"]])
def test_blocks_are_terms_of_copies_of_the_factor(random_only):
    """(1 + x | g) + (0 + z | g) by the engine of several factors, of which the second is a copy of the first."""
    options = {"random_only": random_only, "n_quadrature": 1}
    one = fitted(random_slopes=["x", "z"], covariance=BLOCKS, **options)
    copies = pd.DataFrame({"g": G, "copy": G})
    slopes = {"g": ["x"], "copy": ["z"]}
    other = fitted(groups=copies, random_slopes=slopes, random_intercept={"copy": False}, **options)
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-6)
    assert_allclose(other.coef_, one.coef_, rtol=1e-4, atol=1e-6)
    assert_allclose(other.covariance_, one.covariance_, rtol=1e-3, atol=1e-6)
    found = one.random_covariance_["g"]
    assert_allclose(found[:2, :2], other.random_covariance_["g"], rtol=1e-3)
    assert_allclose(found[2, 2], other.random_covariance_["copy"][0, 0], rtol=1e-3)
    assert_array_equal(found[2, :2], 0.0)
    theirs = other.predict_proba(X, groups=copies)
    assert_allclose(one.predict_proba(X, groups=G), theirs, rtol=1e-3)
    assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize("nodes", [1, 5])
def test_order_of_blocks_and_features(nodes):
    one = fitted(random_slopes=["x", "z"], covariance=BLOCKS, n_quadrature=nodes, random_only=["x"])
    same = fitted(
        random_slopes=["x", "z"], covariance={"g": [[1], [0, "Intercept"]]}, n_quadrature=nodes, random_only=0
    )
    assert_array_equal(same.random_covariance_["g"], one.random_covariance_["g"])
    turned = {"random_slopes": ["z", "x"], "covariance": BLOCKS, "n_quadrature": nodes, "random_only": ["x"]}
    other = fitted(X=X[["w", "z", "x"]], **turned)
    # nodes of quadrature lie along other axes
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-6 if nodes == 1 else 0.02)
    assert_allclose(other.coef_[0][[2, 1, 0]], one.coef_[0], rtol=1e-3 if nodes == 1 else 0.05, atol=1e-4)


@pytest.mark.parametrize("nodes", [1, 7])
def test_units_of_features(nodes):
    scale = np.array([1e3, 0.01, 1.0])
    options = {"random_slopes": ["x", "z"], "covariance": BLOCKS, "n_quadrature": nodes, "random_only": ["z"]}
    one, other = fitted(**options), fitted(X=X * scale, **options)
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-6)
    assert_allclose(other.coef_ * scale, one.coef_, rtol=1e-4, atol=1e-6)
    unit = np.outer([1.0, *scale[:2]], [1.0, *scale[:2]])
    assert_allclose(other.random_covariance_["g"] * unit, one.random_covariance_["g"], rtol=1e-3, atol=1e-6)


def test_one_block_is_full_and_a_block_each_is_diagonal():
    for word, blocks in (("full", [["Intercept", "x"]]), ("diagonal", [["x"], ["Intercept"]])):
        one = fitted(random_slopes=["x"], covariance=word)
        other = fitted(random_slopes=["x"], covariance={"g": blocks})
        assert_array_equal(other.random_covariance_["g"], one.random_covariance_["g"])
        assert other.n_quadrature_ == one.n_quadrature_


def test_quadrature_of_uncorrelated_blocks_is_that_of_the_likelihood():
    """Laplace's approximation is off; more nodes than enough change nothing."""
    options = {"random_slopes": ["x", "z"], "covariance": BLOCKS, "random_only": ["z"]}
    enough, more = fitted(n_quadrature=9, **options), fitted(n_quadrature=11, **options)
    assert more.loglik_ == pytest.approx(enough.loglik_, abs=5e-3)
    assert_allclose(more.coef_, enough.coef_, rtol=0.01, atol=1e-3)


def test_which_kind_has_no_fixed_effect_is_no_matter():
    options = {"random_slopes": KINDS, "random_intercept": False, "n_quadrature": 1, "y": "kinds", "X": SIM[KINDS]}
    ends = [fitted(random_only=[name], **options) for name in KINDS]
    for est in ends[1:]:
        assert est.loglik_ == pytest.approx(ends[0].loglik_, abs=1e-6)
        assert_allclose(est.predict_proba(SIM[KINDS], groups=G), ends[0].predict_proba(SIM[KINDS], groups=G), rtol=1e-3)
        assert_allclose(est.predict_proba(SIM[KINDS]), ends[0].predict_proba(SIM[KINDS]), rtol=1e-4)


def test_a_weak_penalty_is_on_fixed_effects_only():
    """A feature without a fixed effect has no share in the prior of slopes: its unit is no matter to others."""
    options = {"random_slopes": ["x"], "covariance": "diagonal", "random_only": ["x"], "penalty": "weak"}
    one, other = fitted(**options), fitted(X=X * [100.0, 1.0, 1.0], **options)
    assert_allclose(other.coef_, one.coef_, rtol=1e-4, atol=1e-6)
    assert one.loglik_ < fitted(**{**options, "penalty": None}).loglik_


def test_weights_are_rows():
    counts = np.random.default_rng(3).integers(1, 3, len(SIM))
    order = np.repeat(np.arange(len(SIM)), counts)
    options = {"random_slopes": ["x", "z"], "covariance": BLOCKS, "random_only": ["z"], "n_quadrature": 1}
    one = MixedLogit(**options).fit(X, SIM["binary"], groups=G, sample_weight=counts)
    other = MixedLogit(**options).fit(X.iloc[order], SIM["binary"].iloc[order], groups=G.iloc[order])
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-6)
    for kind in ("model", "robust"):
        errors = [coef_table(est, cov_type=kind)["std_error"] for est in (one, other)]
        assert_allclose(*errors, rtol=1e-4)


def test_sampling_weights():
    """Weights that are all alike change nothing but standard errors."""
    options = {"random_slopes": ["x", "z"], "covariance": BLOCKS, "random_only": ["x"], "n_quadrature": 1}
    one = fitted(cov_type="robust", **options)
    other = MixedLogit(weight_type="sampling", **options).fit(
        X, SIM["binary"], groups=G, sample_weight=np.full(len(X), 3.0), group_weight=np.full(len(X), 2.0)
    )
    assert_allclose(other.coef_, one.coef_, rtol=1e-5, atol=1e-7)
    assert_allclose(other.covariance_, one.covariance_, rtol=1e-4, atol=1e-8)


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_intercept": {"nobody": True}}, "random_intercept names unknown factors"),
        ({"covariance": {"g": [["Intercept"]]}, "random_slopes": ["x"]}, r"leaves out \['x'\]"),
        ({"covariance": {"g": [["Intercept", "z"], ["x"]]}, "random_slopes": ["x"]}, "no effect of it"),
        ({"random_only": ["x"]}, "which no factor has in random_slopes"),
        ({"random_only": ["x", "z", "w"], "random_slopes": ["x", "z", "w"], "fit_intercept": False}, "no fixed effect"),
    ],
)
def test_what_makes_no_sense_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        fitted(**options)
