"""Inference for models with blocks of random effects, factors of different structures, and features at random only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skdep import MixedLinear, MixedLogit
from skdep.inference import (
    bootstrap,
    compare,
    icc,
    lrt,
    marginal_effects,
    population_average,
    profile_interval,
    r2,
    variance_components,
    weight_diagnostics,
)
from tests.mixed.term_reference import LINEAR, LOGIT, R, fit, frame, rows

SIM = frame("terms_sim")
X, G = SIM[["x", "z", "w"]], SIM["g"]
BLOCKS = {"g": [["Intercept", "x"], ["z"]]}


def linear(covariance="full", slopes=("x", "z"), X=X, groups=G, **options) -> MixedLinear:
    slopes = slopes if isinstance(slopes, dict) else list(slopes)
    est = MixedLinear(slopes or None, covariance=covariance, **{"method": "ml", **options})
    return est.fit(X, SIM["y"], groups=groups)


def logit(X=X, **options) -> MixedLogit:
    return MixedLogit(**{"n_quadrature": 1, **options}).fit(X, SIM["binary"], groups=G)


@pytest.fixture(scope="module")
def without_fixed() -> MixedLogit:
    """A model in which z varies between levels about zero."""
    return logit(random_slopes=["x", "z"], covariance=BLOCKS, random_only=["z"])


# ---- profiles and the bootstrap --------------------------------------------------------------------------------------


def test_profile():
    """R interpolates its curve by splines."""
    expected = R["blocks"]["profile"]
    found = profile_interval(fit("blocks", "ml"))
    names = {
        "sd_(Intercept)|g": "SD of Intercept by g",
        "cor_x.(Intercept)|g": "Correlation of Intercept and x by g",
        "sd_x|g": "SD of x by g",
        "sd_z|g": "SD of z by g",
        "sigma": "Residual SD",
        "(Intercept)": "Intercept",
    }
    table = found.to_frame().loc[[names.get(name, name) for name in expected["parameters"]]]
    assert len(table) == len(found.to_frame()) == 8
    assert_allclose(table["conf_low"], expected["low"], rtol=1e-4, atol=1e-5)
    assert_allclose(table["conf_high"], expected["high"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "method"), [("machines", "reml"), ("blocks", "ml"), ("crossed_blocks", "reml")])
def test_bootstrap_has_the_parameters_of_the_model(name, method):
    """Refits begin at the estimates, of outcomes of the model: estimates are within their spread."""
    est = fit(name, method)
    found = bootstrap(est, **rows(R[name]), n_boot=40, random_state=1).to_frame()
    fixed = len(est.covariance_)
    n_variances = R[name][method]["n_params"] - fixed
    assert len(found) == fixed + n_variances
    assert_allclose(found["estimate"].iloc[:fixed], [est.intercept_, *est.coef_[est.coef_ != 0.0]], rtol=1e-10)
    inside = (found["conf_low"] <= found["estimate"]) & (found["estimate"] <= found["conf_high"])
    assert inside.mean() > 0.7


def test_bootstrap_of_a_logistic_model(without_fixed):
    found = bootstrap(without_fixed, X, SIM["binary"], groups=G, n_boot=6, random_state=1).to_frame()
    assert list(found.index) == [
        "Intercept",
        "x",
        "w",
        "SD of Intercept by g",
        "SD of x by g",
        "SD of z by g",
        "Correlation of Intercept and x by g",
    ]
    assert np.isfinite(found["std_error"]).all()


# ---- likelihood ratios -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), [*LINEAR, *[(name, "laplace") for name in LOGIT]])
def test_number_of_parameters(name, method):
    """As R counts them."""
    est = fit(name, method)
    table = compare(est, est).table
    expected = R[name][method]
    k = expected["n_params"]
    assert_allclose(table["n_params"], k)
    assert_allclose(table["aic"], -2.0 * expected["loglik"] + 2.0 * k, rtol=1e-8)


def chi_bar(statistic, weights) -> float:
    """Return the p-value of a mixture, weights by degrees of freedom."""
    return sum(
        weight * (stats.chi2.sf(statistic, df) if df else float(statistic <= 0)) for df, weight in weights.items()
    )


def test_blocks_are_between_diagonal_and_full():
    """Covariances are free parameters of a regular model: chi-square with their number."""
    diagonal, blocks, full = linear("diagonal"), linear(BLOCKS), linear("full")
    for small, large, df in ((diagonal, blocks, 1), (blocks, full, 2), (diagonal, full, 3)):
        result = lrt(small, large)
        statistic = 2.0 * (large.loglik_ - small.loglik_)
        assert result.statistic == pytest.approx(statistic, abs=1e-8)
        assert result.p_value == pytest.approx(stats.chi2.sf(statistic, df), rel=1e-6)
    with pytest.raises(ValueError, match="'Intercept' and 'z' by 'g' are correlated in the reduced model, but not in"):
        lrt(linear({"g": [["Intercept", "z"], ["x"]]}), blocks)


def test_new_effect_in_a_block_of_its_own():
    """Its variance alone is on the boundary; in the block of another effect their covariance is free besides."""
    small = linear(slopes=["x"])
    for covariance, weights in ((BLOCKS, {0: 0.5, 1: 0.5}), ({"g": [["Intercept"], ["x", "z"]]}, None)):
        large = linear(covariance)
        if weights is None:
            small = linear("diagonal", slopes=["x"])
            weights = {1: 0.5, 2: 0.5}
        result = lrt(small, large)
        assert result.p_value == pytest.approx(chi_bar(result.statistic, weights), rel=1e-6)


def test_new_effects_in_blocks_of_their_own():
    """Two variances, not correlated with each other: weights of an orthant, which sum to one."""
    small, large = linear(slopes=[]), linear({"g": [["Intercept"], ["x"], ["z"]]})
    twin = linear("diagonal")
    one, other = lrt(small, large), lrt(small, twin)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9)
    copies = pd.DataFrame({"g": G, "copy": G, "other": G})
    crossed = linear(
        groups=copies, slopes={"copy": ["x"], "other": ["z"]}, random_intercept={"copy": False, "other": False}
    )
    # as if they were three factors
    assert lrt(linear(slopes=[]), large).statistic == pytest.approx(2 * (crossed.loglik_ - small.loglik_), abs=1e-5)


def test_a_fixed_effect_for_what_is_random_only():
    small, large = linear(random_only=["z"]), linear()
    result = lrt(small, large)
    assert result.p_value == pytest.approx(stats.chi2.sf(2.0 * (large.loglik_ - small.loglik_), 1), rel=1e-6)
    with pytest.raises(ValueError, match="'z' has no fixed effect in the full one"):
        lrt(linear(slopes=["x"]), small)
    numbered = [MixedLinear([0, 1], method="ml", random_only=only) for only in ([1], None)]
    numbered = [est.fit(X.to_numpy(), SIM["y"], groups=G.to_numpy()) for est in numbered]
    assert lrt(*numbered).p_value == pytest.approx(result.p_value, rel=1e-6)


def test_reml_fits_of_the_same_fixed_effects():
    """A feature without a fixed effect is no fixed effect, whichever columns X has."""
    small = linear(slopes=[], X=X[["x", "w"]], method="reml")
    large = linear(slopes=["z"], covariance="diagonal", random_only=["z"], method="reml")
    result = lrt(small, large)
    assert result.statistic == pytest.approx(2.0 * (large.loglik_ - small.loglik_), abs=1e-8)
    assert result.p_value == pytest.approx(chi_bar(result.statistic, {0: 0.5, 1: 0.5}), rel=1e-6)


# ---- variances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["machines", "blocks", "slope_of_other_alone", "crossed_blocks"])
def test_shares_of_variance(name):
    """By their definition, row by row."""
    est, given = fit(name, "ml"), rows(R[name])
    data = given["X"].assign(Intercept=1.0)
    by_factor = {}
    for factor, sigma in est.random_covariance_.items():
        Z = data[list(est.random_names_[factor])].to_numpy()
        by_factor[factor] = np.mean(np.einsum("na,ab,nb->n", Z, sigma, Z))
    fixed = np.var(given["X"].to_numpy() @ est.coef_, ddof=1)
    total = fixed + sum(by_factor.values()) + est.sigma2_
    found = r2(est)
    assert found.marginal == pytest.approx(fixed / total, rel=1e-6)
    assert found.conditional == pytest.approx(1.0 - est.sigma2_ / total, rel=1e-6)
    shares = icc(est).table
    for factor, value in by_factor.items():
        assert shares.loc[factor, "icc"] == pytest.approx(value / (total - fixed), rel=1e-6)
    table = variance_components(est).to_frame()
    for factor, sigma in est.random_covariance_.items():
        assert_allclose(table.loc[factor, "variance"][: len(sigma)], np.diag(sigma), rtol=1e-12)


def test_r2_of_a_logistic_model(without_fixed):
    est = without_fixed
    fixed = np.var(X.to_numpy() @ est.coef_[0], ddof=1)
    Z = np.column_stack([np.ones(len(X)), X[["x", "z"]]])
    random = np.mean(np.einsum("na,ab,nb->n", Z, est.random_covariance_["g"], Z))
    assert r2(est).marginal == pytest.approx(fixed / (fixed + random + np.pi**2 / 3), rel=1e-6)


# ---- the population --------------------------------------------------------------------------------------------------


def test_marginal_effects_of_what_is_random_only(without_fixed):
    """Moving z moves the spread of the log odds, not their mean: differences of population probabilities."""
    found = marginal_effects(without_fixed, X)
    assert list(found.index) == ["x", "z", "w"]
    for name in X:
        ends = [without_fixed.predict_proba(X.assign(**{name: X[name] + step}))[:, 1].mean() for step in (1e-4, -1e-4)]
        assert found.loc[name, "estimate"] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5, abs=1e-9)
    twin = logit(X=X[["w", "z", "x"]], random_slopes=["x", "z"], covariance=BLOCKS, random_only=["z"])
    other = marginal_effects(twin, X[["w", "z", "x"]]).loc[["x", "z", "w"]]
    assert_allclose(other["std_error"], found["std_error"], rtol=1e-3)
    # delta method against a profile-free check: the same model by a copy of the factor for z
    copies = pd.DataFrame({"g": G, "copy": G})
    slopes = {"g": ["x"], "copy": ["z"]}
    est = MixedLogit(slopes, random_intercept={"copy": False}, random_only=["z"], n_quadrature=1)
    third = marginal_effects(est.fit(X, SIM["binary"], groups=copies), X)
    assert_allclose(third["std_error"], found["std_error"], rtol=1e-3)


def test_population_average_is_of_what_has_a_coefficient(without_fixed):
    found = population_average(without_fixed, X).to_frame()
    assert list(found.index) == ["Intercept", "x", "w"]
    share = without_fixed.predict_proba(X)[:, 1]
    design = np.column_stack([np.ones(len(X)), X[["x", "w"]]])
    expected = np.linalg.lstsq(design, np.log(share / (1.0 - share)), rcond=None)[0]
    assert_allclose(found["population_average"], expected, rtol=1e-6)
    assert (found["std_error"] > 0).all()


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_weight_diagnostics_of_blocks_and_what_it_cannot():
    weights = np.random.default_rng(2).uniform(0.5, 2.0, len(X))
    est = MixedLinear(["x", "z"], covariance=BLOCKS)
    one = weight_diagnostics(est, X, SIM["y"], groups=G, sample_weight=weights).table
    full = weight_diagnostics(est.set_params(covariance="full"), X, SIM["y"], groups=G, sample_weight=weights)
    assert np.isfinite(one.to_numpy(dtype=float)).all()
    assert not np.allclose(one["unweighted"], full.table["unweighted"], rtol=1e-6)
    with pytest.raises(ValueError, match="random_only"):
        weight_diagnostics(est.set_params(random_only=["z"]), X, SIM["y"], groups=G, sample_weight=weights)
