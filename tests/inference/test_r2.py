"""Marginal and conditional R squared: R, formulas by hand from the data, invariances."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from given_mixed_logit import GivenMixedLogit
from numpy.testing import assert_allclose

from skdep import LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio, load_orthodont, load_sleepstudy
from skdep.inference import r2
from skdep.mixed.terms import INTERCEPT

SLEEP = load_sleepstudy()


def sleep_fit(slopes=None, *, X=SLEEP.data, **options):
    return MixedLinear(slopes, tol=1e-12, **options).fit(X, SLEEP.target, groups=SLEEP.groups)


def parts(result):
    return [
        result.fixed_variance,
        result.random_variance,
        result.residual_variance,
        result.marginal,
        result.conditional,
    ]


# lmer is called with control = lmerControl(optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, xtol_rel = 1e-12))
# r2 <- function(m) {
#   X <- getME(m, "X"); f <- var(as.vector(X %*% fixef(m))); S <- as.matrix(VarCorr(m)[[1]])
#   Z <- X[, colnames(S), drop = FALSE]; b <- mean(rowSums((Z %*% S) * Z)); s <- sigma(m)^2
#   c(f, b, s, f / (f + b + s), (f + b) / (f + b + s)) }
# r2(lmer(Reaction ~ Days + (1 | Subject), sleepstudy)); r2(lmer(Reaction ~ Days + (Days | Subject), sleepstudy))
# r2(lmer(distance ~ age + I(as.integer(Sex == "Female")) + (1 | Subject), nlme::Orthodont))
def test_against_r():
    intercepts = [908.953362623082, 1378.178527776351, 960.456577606195, 0.279885635627, 0.704255453833]
    assert_allclose(parts(r2(sleep_fit())), intercepts, rtol=1e-6)
    slopes = [908.953362623169, 1698.071258088873, 654.941032799968, 0.278652033520, 0.799218905909]
    assert_allclose(parts(r2(sleep_fit(["Days"]))), slopes, rtol=1e-6)
    study = load_orthodont()
    X = pd.DataFrame({"age": study.data["age"], "female": 1.0 * (study.data["Sex"] == "Female")})
    fit = MixedLinear(tol=1e-12).fit(X, study.target, groups=study.groups)
    girls = [3.512344630102, 3.266783795787, 2.049456006627, 0.397837802532, 0.767861312049]
    assert_allclose(parts(r2(fit)), girls, rtol=1e-6)


def test_uncorrelated_effects_against_r():
    # d <- transform(sleepstudy, x2 = cos(seq_len(180))); m <- lmer(Reaction ~ Days + x2 + (Days || Subject), d)
    # f <- var(as.vector(getME(m, "X") %*% fixef(m))); v <- as.data.frame(VarCorr(m))$vcov
    # b <- v[1] + v[2] * mean(d$Days^2)
    X = SLEEP.data.assign(x2=np.cos(np.arange(1, 181)))
    expected = [911.303657630487, 1651.803812952718, 655.097200956672, 0.283171442043, 0.796440168411]
    assert_allclose(parts(r2(sleep_fit(["Days"], X=X, covariance="diagonal"))), expected, rtol=1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weight_type", [None, "frequency", "precision"])
@pytest.mark.parametrize("collinear", [False, True])
def test_fixed_variance_by_hand(fit_intercept, weight_type, collinear):
    rng = np.random.default_rng(0)
    X = rng.normal([5.0, -3.0, 0.0], [1.0, 2.0, 0.5], size=(200, 3))
    if collinear:
        X = np.column_stack([X, X @ [1.0, 1.0, 0.0]])
    groups = np.arange(200) % 20
    y = 4.0 + X[:, 0] - X[:, 1] + rng.normal(size=20)[groups] + rng.normal(size=200)
    weights = rng.integers(1, 5, 200).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLinear(fit_intercept=fit_intercept, weight_type=weight_type or "frequency").fit(
            X, y, groups=groups, sample_weight=None if weight_type is None else weights
        )
    used = np.ones(200) if weight_type is None else weights
    fixed = X @ fit.coef_
    n = used.sum() if weight_type == "frequency" else 200
    expected = np.average((fixed - np.average(fixed, weights=used)) ** 2, weights=used) * n / (n - 1)
    assert r2(fit).fixed_variance == pytest.approx(expected, rel=1e-7)


def test_sampling_weights_by_hand():
    rng = np.random.default_rng(1)
    X, groups = rng.normal(size=(300, 2)), np.repeat(np.arange(60), 5)
    y = X[:, 0] + rng.normal(size=60)[groups] + rng.normal(size=300)
    weights, cluster = rng.uniform(0.5, 3.0, 300), rng.uniform(1.0, 2.0, 60)[groups]
    fit = MixedLinear(weight_type="sampling").fit(X, y, groups=groups, sample_weight=weights, group_weight=cluster)
    scaled = weights * (5 / np.bincount(groups, weights))[groups] * cluster / cluster.mean()
    fixed = X @ fit.coef_
    expected = np.average((fixed - np.average(fixed, weights=scaled)) ** 2, weights=scaled)
    assert r2(fit).fixed_variance == pytest.approx(expected * 300 / 299, rel=1e-9)
    without = MixedLinear(weight_type="sampling", fit_intercept=False).fit(X, y, groups=groups, sample_weight=weights)
    with pytest.raises(ValueError, match="without intercept to sampling weights"):
        r2(without)


def test_linear_regression():
    """Without groups both are the share of the fitted variance, with REML nearly the adjusted R squared."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(100, 3))
    y = X[:, 0] + rng.normal(size=100)
    design = np.column_stack([np.ones(100), X])
    b = np.linalg.lstsq(design, y)[0]
    fitted, sigma2 = np.var(design @ b, ddof=1), np.sum((y - design @ b) ** 2) / 96
    result = r2(MixedLinear().fit(X, y))
    assert result.marginal == result.conditional
    assert result.marginal == pytest.approx(fitted / (fitted + sigma2), rel=1e-10)


def test_logistic_model_against_r():
    # m <- glmer(resp ~ age + smoke + (1 | id), ohio, binomial, nAGQ = 25); v <- VarCorr(m)$id[1]; s <- pi^2 / 3
    # f <- var(as.vector(getME(m, "X") %*% fixef(m))); c(f, v, s, f / (f + v + s), (f + v) / (f + v + s))
    ohio = load_ohio()
    fit = MixedLogit(n_quadrature=25, tol=1e-12).fit(ohio.data, ohio.target, groups=ohio.groups)
    expected = [0.07464525095285, 4.68684714897688, 3.28986813369645, 0.00927113506358, 0.59138978810395]
    assert_allclose(parts(r2(fit)), expected, rtol=1e-4)


def test_logistic_model_by_hand():
    """On the latent scale, whose residual variance is pi^2 / 3."""
    rng = np.random.default_rng(4)
    X = rng.normal([3.0, -1.0], [1.0, 2.0], size=(90, 2))
    sigma = {"a": ((INTERCEPT, 1), np.array([[0.9, 0.2], [0.2, 0.3]])), "b": ((INTERCEPT,), np.array([[0.5]]))}
    fit = GivenMixedLogit([0.4, 0.8, -0.7], np.eye(3), sigma).fit(X)
    fixed = np.var(X @ [0.8, -0.7], ddof=1)
    between = np.mean(0.9 + 0.4 * X[:, 1] + 0.3 * X[:, 1] ** 2) + 0.5
    total = fixed + between + np.pi**2 / 3
    expected = [fixed, between, np.pi**2 / 3, fixed / total, (fixed + between) / total]
    assert_allclose(parts(r2(fit)), expected, rtol=1e-12)


def test_units_origins_and_order_do_not_matter():
    expected = r2(sleep_fit(["Days"]))
    order = np.random.default_rng(3).permutation(180)
    X = pd.DataFrame({"Days": SLEEP.data["Days"].iloc[order] * 24 + 1e6})
    moved = MixedLinear(["Days"]).fit(X, SLEEP.target.iloc[order] / 1000 + 5, groups=SLEEP.groups.iloc[order])
    found = r2(moved)
    assert found.marginal == pytest.approx(expected.marginal, rel=1e-5)
    assert found.conditional == pytest.approx(expected.conditional, rel=1e-5)
    # a known part of the mean is no part of what features explain
    shifted = MixedLinear().fit(SLEEP.data, SLEEP.target + 50.0, groups=SLEEP.groups, offset=np.full(180, 50.0))
    assert r2(shifted).marginal == pytest.approx(r2(sleep_fit()).marginal, rel=1e-7)


def test_extremes():
    assert r2(sleep_fit(X=SLEEP.data[[]])).marginal == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        perfect = MixedLinear().fit(SLEEP.data, 3.0 * SLEEP.data["Days"], groups=SLEEP.groups)
        nothing = MixedLinear().fit(SLEEP.data, np.full(180, 2.0), groups=SLEEP.groups)
    assert r2(perfect).marginal == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(r2(nothing).marginal)
    with pytest.raises(TypeError, match="LogitRegressor has no random effects"):
        r2(LogitRegressor().fit(SLEEP.data, SLEEP.target > 300))


def test_display():
    result = r2(sleep_fit())
    assert str(result) == "R squared: marginal 0.2799 (features), conditional 0.7043 (features and random effects)"
    assert result.to_frame().loc["R squared", "conditional"] == result.conditional
    assert "residual_variance" in result._repr_html_()
    with pytest.raises(FrozenInstanceError):
        result.marginal = 1.0
