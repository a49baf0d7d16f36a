"""Likelihood ratio tests: R, dense likelihoods, mixtures by simulation of projections, type I error, refusals."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEERegressor, LogitRegressor, MixedLinear
from skdep.datasets import load_ohio, load_pastes, load_penicillin, load_sleepstudy
from skdep.exceptions import ConvergenceWarning
from skdep.inference import lrt
from skdep.inference._chi_bar import mixture_tail, orthant_weights, two_by_two_weights

SLEEP = load_sleepstudy()


def sleep_fit(*, slopes=None, groups=SLEEP.groups, features=("Days",), **options):
    return MixedLinear(slopes, **options).fit(SLEEP.data[list(features)], SLEEP.target, groups=groups)


@pytest.fixture(scope="module")
def fits():
    return {
        "none": sleep_fit(groups=None),
        "intercept": sleep_fit(),
        "diagonal": sleep_fit(slopes=["Days"], covariance="diagonal"),
        "full": sleep_fit(slopes=["Days"]),
        "constant": sleep_fit(features=()),
        "none_ml": sleep_fit(groups=None, method="ml"),
        "intercept_ml": sleep_fit(method="ml"),
        "diagonal_ml": sleep_fit(slopes=["Days"], covariance="diagonal", method="ml"),
        "full_ml": sleep_fit(slopes=["Days"], method="ml"),
        "constant_ml": sleep_fit(features=(), method="ml"),
    }


# --------------------------------------------------------------------------------------------------------------- R
# library(lme4)
# m0 <- lm(Reaction ~ Days, sleepstudy)
# m1 <- lmer(Reaction ~ Days + (1 | Subject), sleepstudy)
# md <- lmer(Reaction ~ Days + (Days || Subject), sleepstudy)
# m2 <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
# c(logLik(m0, REML = TRUE), logLik(m0)); sapply(list(m1, md, m2), logLik)
# sapply(list(m1, md, m2), function(m) logLik(refitML(m)))
R_LOGLIK = {
    "none": -946.831831736054,
    "intercept": -893.232542697461,
    "diagonal": -871.834646790741,
    "full": -871.814135979976,
    "none_ml": -950.146528178182,
    "intercept_ml": -897.039321502613,
    "diagonal_ml": -876.001627569942,
    "full_ml": -875.969672231605,
}


@pytest.mark.parametrize("suffix", ["", "_ml"])
@pytest.mark.parametrize(
    ("small", "large", "df", "mixture"),
    [
        ("none", "intercept", 1, {0: 0.5, 1: 0.5}),
        ("intercept", "full", 2, {1: 0.5, 2: 0.5}),
        ("intercept", "diagonal", 1, {0: 0.5, 1: 0.5}),
        ("diagonal", "full", 1, {1: 1.0}),
    ],
)
def test_statistics_and_mixtures_against_r(fits, suffix, small, large, df, mixture):
    small, large = small + suffix, large + suffix
    test = lrt(fits[small], fits[large])
    assert test.statistic == pytest.approx(2 * (R_LOGLIK[large] - R_LOGLIK[small]), abs=2e-6)
    assert (test.df, test.mixture, test.notes) == (df, mixture, ())
    tails = [weight * (stats.chi2.sf(test.statistic, k) if k else 0.0) for k, weight in mixture.items()]
    assert test.p_value == pytest.approx(sum(tails), rel=1e-12)
    assert test.criterion == ("ML" if suffix else "REML")


def test_fixed_effects_against_r(fits):
    # m <- lmer(Reaction ~ 1 + (1 | Subject), sleepstudy); anova(m, m1); anova(m, m2)
    test = lrt(fits["constant"], fits["intercept"], refit=True)
    assert test.statistic == pytest.approx(1.16462415067833e02, abs=2e-6)
    assert test.p_value == pytest.approx(3.76446147654564e-27, rel=1e-5)
    assert lrt(fits["constant"], fits["full"], refit=True).statistic == pytest.approx(158.601713609849, abs=2e-6)


def test_fixed_effects_by_brute_force():
    """Two more features, slopes vary: the maxima found over dense covariance matrices."""
    noise = np.random.default_rng(0).normal(size=(180, 2))
    wide = SLEEP.data.assign(a=noise[:, 0], b=noise[:, 1])
    large = MixedLinear(["Days"]).fit(wide, SLEEP.target, groups=SLEEP.groups)
    test = lrt(sleep_fit(slopes=["Days"]), large, refit=True)
    X, y = np.column_stack([np.ones(180), wide]), SLEEP.target.to_numpy()
    assert test.statistic == pytest.approx(2 * (dense_ml(X, X[:, :2], y) - dense_ml(X[:, :2], X[:, :2], y)), abs=1e-5)
    assert (test.df, test.mixture) == (2, {2: 1.0})


def dense_ml(X, Z, y):
    """Maximum of the log-likelihood with correlated effects of Z by subject, from V of one subject at a time."""
    codes = pd.factorize(SLEEP.groups)[0]

    def minus(theta):
        T = np.array([[theta[0], 0.0], [theta[1], theta[2]]])
        gram, right, square, log_det = np.zeros((X.shape[1],) * 2), np.zeros(X.shape[1]), 0.0, 0.0
        for level in range(18):
            rows = codes == level
            V = np.eye(rows.sum()) + Z[rows] @ T @ T.T @ Z[rows].T
            inverse = np.linalg.inv(V)
            gram += X[rows].T @ inverse @ X[rows]
            right += X[rows].T @ inverse @ y[rows]
            square += y[rows] @ inverse @ y[rows]
            log_det += np.linalg.slogdet(V)[1]
        rss = square - right @ np.linalg.solve(gram, right)
        return 0.5 * (log_det + 180 * (1 + np.log(2 * np.pi * rss / 180)))

    options = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000}
    return -optimize.minimize(minus, [1.0, 0.0, 0.2], method="Nelder-Mead", options=options).fun


def test_crossed_factors_against_r():
    # logLik(lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin))
    # logLik(lmer(strength ~ 1 + (1 | batch) + (1 | sample), Pastes)); logLik(lmer(strength ~ 1 + (1 | sample), Pastes))
    penicillin, pastes = load_penicillin(), load_pastes()
    full = MixedLinear().fit(penicillin.data, penicillin.target, groups=penicillin.groups)
    assert full.loglik_ == pytest.approx(-165.430294499803, abs=1e-6)
    cask = MixedLinear().fit(pastes.data, pastes.target, groups=pastes.groups["batch:cask"])
    both = MixedLinear().fit(pastes.data, pastes.target, groups=pastes.groups)
    test = lrt(cask, both)
    assert test.statistic == pytest.approx(2 * (-123.495372926743 + 123.824200890180), abs=1e-6)
    assert test.mixture == {0: 0.5, 1: 0.5}
    assert test.p_value == pytest.approx(0.5 * stats.chi2.sf(test.statistic, 1), rel=1e-12)


def test_logistic_regression_by_hand():
    ohio = load_ohio()
    both = LogitRegressor().fit(ohio.data, ohio.target)
    one = LogitRegressor().fit(ohio.data[["smoke"]], ohio.target)

    def deviance(X):
        X = np.column_stack([np.ones(len(X)), X])
        signs = np.where(ohio.target == both.classes_[1], 1.0, -1.0)
        return 2 * optimize.minimize(lambda b: np.logaddexp(0, -signs * (X @ b)).sum(), np.zeros(X.shape[1])).fun

    test = lrt(one, both)
    assert test.statistic == pytest.approx(deviance(ohio.data[["smoke"]]) - deviance(ohio.data), abs=1e-5)
    assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, 1), rel=1e-12)
    clustered = [LogitRegressor().fit(X, ohio.target, groups=ohio.groups) for X in (ohio.data[["smoke"]], ohio.data)]
    assert lrt(*clustered).notes[0].startswith("the likelihood takes rows of a cluster to be independent")


# ------------------------------------------------------------------------------------------------ closed forms


def test_refit_gives_the_ml_fit(fits):
    for small, large in [("constant", "intercept"), ("constant", "full")]:
        refitted, direct = lrt(fits[small], fits[large], refit=True), lrt(fits[small + "_ml"], fits[large + "_ml"])
        assert refitted.statistic == pytest.approx(direct.statistic, abs=1e-7)
        assert refitted.p_value == pytest.approx(direct.p_value, rel=1e-6)
        assert refitted.mixture == direct.mixture
        assert refitted.criterion == "ML"
    assert fits["constant"].loglik_ != fits["constant_ml"].loglik_


def test_fixed_effects_and_variances_at_once(fits):
    test = lrt(fits["constant_ml"], fits["full_ml"])
    assert (test.df, test.mixture) == (3, {2: 0.5, 3: 0.5})
    assert test.statistic == pytest.approx(
        lrt(fits["constant_ml"], fits["intercept_ml"]).statistic + lrt(fits["intercept_ml"], fits["full_ml"]).statistic,
        abs=1e-8,
    )


def test_linear_models_are_the_textbook_ratio():
    """Without groups ML is least squares: n log(RSS0 / RSS1); a refit of REML fits gives the same."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.normal(size=(50, 3)), columns=["a", "b", "c"])
    y = X["a"] + rng.normal(size=50)
    rss = [np.linalg.lstsq(np.column_stack([np.ones(50), part]), y)[1][0] for part in (X[["a"]], X)]
    expected = 50 * np.log(rss[0] / rss[1])
    for options in ({"method": "ml"}, {"method": "reml"}):
        small, large = MixedLinear(**options).fit(X[["a"]], y), MixedLinear(**options).fit(X, y)
        test = lrt(small, large, refit=True)
        assert test.statistic == pytest.approx(expected, rel=1e-9)
        assert (test.df, test.mixture) == (2, {2: 1.0})


def test_more_correlated_effects_than_two_at_once_has_the_bound():
    rng = np.random.default_rng(4)
    X, groups = rng.normal(size=(300, 2)), np.repeat(np.arange(30), 10)
    y = X[:, 0] + (rng.normal(size=(30, 3)) @ np.diag([1, 0.5, 0.7]))[groups, 0] + rng.normal(size=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = MixedLinear([0, 1]).fit(X, y, groups=groups)
    test = lrt(MixedLinear().fit(X, y), full)
    assert (test.df, test.mixture) == (6, {5: 0.5, 6: 0.5})
    assert "upper bound" in test.notes[0] and "Note: the p-value is an upper bound" in str(test)


# -------------------------------------------------------------------------------------------- chi-bar-square


def simulated_weights(V, n_draws, rng):
    """Count positive components of projections on the orthant, by non-negative least squares."""
    root = np.linalg.inv(np.linalg.cholesky(V))
    found = np.zeros(len(V) + 1)
    for z in rng.multivariate_normal(np.zeros(len(V)), V, size=n_draws):
        found[np.sum(optimize.nnls(root, root @ z)[0] > 0)] += 1
    return found / n_draws


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_orthant_weights_by_projection(d):
    rng = np.random.default_rng(d)
    A = rng.normal(size=(d, d + 1))
    V = A @ A.T * np.outer(np.arange(1.0, d + 1), np.arange(1.0, d + 1))
    weights = orthant_weights(V)
    assert_allclose(weights, simulated_weights(V, 4000, rng), atol=0.035)
    assert weights[::2].sum() == pytest.approx(0.5, abs=1e-3)
    scale = np.diag(rng.uniform(0.1, 9.0, d))
    assert_allclose(orthant_weights(scale @ V @ scale), weights, atol=2e-3)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_orthant_weights_are_binomial_where_variances_are_uncorrelated(d):
    expected = stats.binom.pmf(np.arange(d + 1), d, 0.5)
    assert_allclose(orthant_weights(np.diag(np.arange(1.0, d + 1))), expected, atol=1e-14 if d < 4 else 2e-3)


def test_two_by_two_weights_of_the_circular_cone():
    """With V of (a, b, c) such that a, sqrt(2) b, c are independent, the cone is circular, of half angle 45 degrees."""
    part = (1 - np.sqrt(0.5)) / 2
    weights = two_by_two_weights(np.diag([1.0, 0.5, 1.0]))
    assert_allclose(weights, [part, 0.5 - part, 0.5 - part, part], atol=1e-6)


def test_two_by_two_weights_by_simulation():
    rng = np.random.default_rng(5)
    A = rng.normal(size=(3, 4))
    V = A @ A.T
    weights = two_by_two_weights(V)

    def share(covariance):
        a, b, c = rng.multivariate_normal(np.zeros(3), covariance, size=200_000).T
        return np.mean((a > 0) & (a * c > b * b))

    halves = np.diag([1.0, 0.5, 1.0])
    assert weights[3] == pytest.approx(share(V), abs=0.004)
    assert weights[0] == pytest.approx(share(halves @ np.linalg.inv(V) @ halves), abs=0.004)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    # another basis of the effects is a congruence, which maps the cone to itself
    B = np.array([[1.0, 0.0], [1.7, 0.4]])
    images = [B @ M @ B.T for M in (np.diag([1.0, 0]), np.array([[0, 1.0], [1, 0]]), np.diag([0, 1.0]))]
    J = np.array([[M[0, 0], M[0, 1], M[1, 1]] for M in images]).T
    assert_allclose(two_by_two_weights(J @ V @ J.T), weights, atol=1e-5)


def test_tail_of_a_mixture():
    assert mixture_tail(0.0, {0: 0.5, 1: 0.5}) == 1.0
    assert mixture_tail(1.0, {0: 0.5, 1: 0.5}) == pytest.approx(stats.norm.sf(1.0), rel=1e-12)
    assert mixture_tail(3.0, {2: 1.0}) == pytest.approx(np.exp(-1.5), rel=1e-12)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
def test_weights_of_two_variances_by_hand():
    """An intercept and an orthogonal slope, without correlation, against the model without random effects."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(40), 4)
    x = np.tile([-1.0, -1.0, 1.0, 1.0], 40)[:, None]
    y = rng.normal(size=160) + rng.normal(size=40)[groups]
    full = MixedLinear([0], covariance="diagonal", method="ml").fit(x, y, groups=groups)
    test = lrt(MixedLinear(method="ml").fit(x, y), full)
    # V = sigma2 I under the hypothesis: 2 x information is tr(V_i V_j), of both variances and sigma2, from 4 x 4 blocks
    blocks = [np.ones((4, 4)), np.outer(x[:4, 0], x[:4, 0]), np.eye(4)]
    information = np.array([[np.sum(a * b) for a in blocks] for b in blocks])
    V = np.linalg.inv(information)[:2, :2]
    outer = 0.25 + np.arcsin(V[0, 1] / np.sqrt(V[0, 0] * V[1, 1])) / (2 * np.pi)
    assert_allclose([test.mixture[k] for k in range(3)], [0.5 - outer, 0.5, outer], atol=1e-9)


def test_weights_of_two_correlated_effects_by_hand():
    """Under the hypothesis of no random effects V is sigma2 I: the information is made of sums of products."""
    X = np.column_stack([np.ones(10), np.arange(10.0)])
    E = [np.diag([1.0, 0.0]), np.array([[0, 1.0], [1, 0]]), np.diag([0.0, 1.0])]
    blocks = [*(X @ M @ X.T for M in E), np.eye(10)]
    V = np.linalg.inv([[np.sum(a * b) for a in blocks] for b in blocks])[:3, :3]
    test = lrt(sleep_fit(groups=None, method="ml"), sleep_fit(slopes=["Days"], method="ml"))
    assert_allclose(list(test.mixture.values()), two_by_two_weights(V), atol=1e-9)
    assert list(test.mixture) == [0, 1, 2, 3]
    diagonal = lrt(sleep_fit(groups=None, method="ml"), sleep_fit(slopes=["Days"], method="ml", covariance="diagonal"))
    W = np.linalg.inv([[np.sum(a * b) for a in (blocks[0], *blocks[2:])] for b in (blocks[0], *blocks[2:])])[:2, :2]
    assert_allclose(list(diagonal.mixture.values()), orthant_weights(W), atol=1e-9)


def test_type_one_error():
    """Without a variance between clusters half of the statistics are zero, and the test keeps its level."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 5)
    X = rng.normal(size=(200, 1))
    tests = []
    for _ in range(150):
        y = X[:, 0] + rng.normal(size=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tests.append(lrt(MixedLinear().fit(X, y), MixedLinear().fit(X, y, groups=groups)))
    p_values = np.array([test.p_value for test in tests])
    assert 0.40 < np.mean([test.statistic == 0.0 for test in tests]) < 0.62
    assert np.mean(p_values == 1.0) == np.mean([test.statistic == 0.0 for test in tests])
    assert 0.01 < np.mean(p_values < 0.05) < 0.10
    assert 0.12 < np.mean(p_values < 0.2) < 0.28


# -------------------------------------------------------------------------------------------------- invariances


def test_rows_in_another_order_and_another_unit(fits):
    expected = lrt(fits["intercept"], fits["full"])
    order = np.random.default_rng(8).permutation(180)
    data, y, groups = SLEEP.data.iloc[order], SLEEP.target.iloc[order], SLEEP.groups.iloc[order]
    shuffled = MixedLinear(["Days"]).fit(data, y, groups=groups)
    mixed = lrt(fits["intercept"], shuffled)
    assert mixed.statistic == pytest.approx(expected.statistic, abs=1e-7)
    seconds = [
        MixedLinear(slopes).fit(SLEEP.data, 1e8 + SLEEP.target / 1000, groups=SLEEP.groups)
        for slopes in (None, ["Days"])
    ]
    assert lrt(*seconds).statistic == pytest.approx(expected.statistic, abs=1e-4)


def test_frequency_weights_are_rows():
    rng = np.random.default_rng(9)
    counts = rng.integers(0, 4, 180)
    rows = np.repeat(np.arange(180), counts)
    slopes = [None, ["Days"]]
    weighted = [MixedLinear(s).fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=counts) for s in slopes]
    repeated = [
        MixedLinear(s).fit(SLEEP.data.iloc[rows], SLEEP.target.iloc[rows], groups=SLEEP.groups.iloc[rows])
        for s in slopes
    ]
    expected = lrt(*repeated)
    assert lrt(*weighted).statistic == pytest.approx(expected.statistic, abs=1e-6)
    assert lrt(weighted[0], repeated[1]).p_value == pytest.approx(expected.p_value, rel=1e-5)
    with pytest.raises(ValueError, match="different data"):
        lrt(sleep_fit(), weighted[1])


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
def test_arrays_without_names():
    rng = np.random.default_rng(10)
    X, groups = rng.normal(size=(120, 3)), np.column_stack([np.arange(120) % 15, np.arange(120) // 20])
    y = X[:, 2] + rng.normal(size=15)[groups[:, 0]] + rng.normal(size=6)[groups[:, 1]] + rng.normal(size=120)

    def fit(columns, factors, **options):
        return MixedLinear(method="ml", **options).fit(X[:, columns], y, groups=groups[:, factors])

    full = fit([0, 1, 2], [0, 1], random_slopes={"group0": [2]})
    small = fit([0, 2], 0, random_slopes={"group": [1]})
    test = lrt(small, full)
    assert (test.df, test.mixture) == (2, {1: 0.5, 2: 0.5})
    with pytest.raises(ValueError, match="No feature of the full model has the values of 'x1'"):
        lrt(fit([0, 1], 0), fit([0, 2], [0, 1]))
    with pytest.raises(ValueError, match="Grouping factor 'group' of the reduced model is not in the full one"):
        lrt(fit([0], 0), fit([0, 1], 1))
    with pytest.raises(ValueError, match="random effect of 'x2' by 'group' is not in the full model"):
        lrt(small, fit([0, 1, 2], [0, 1], random_slopes={"group0": [0]}))


def test_pipelines_and_pickles():
    scaled = [
        make_pipeline(StandardScaler(), MixedLinear(method="ml"))
        .set_output(transform="pandas")
        .fit(data, SLEEP.target, mixedlinear__groups=SLEEP.groups)
        for data in (SLEEP.data, SLEEP.data.assign(other=np.sin(np.arange(180))))
    ]
    plain = sleep_fit(method="ml")
    expected = lrt(*scaled).statistic
    assert lrt(plain, scaled[1]).statistic == pytest.approx(expected, abs=1e-7)  # another unit, the same model
    assert lrt(plain, pickle.loads(pickle.dumps(scaled[1]))).statistic == pytest.approx(expected, abs=1e-7)
    with pytest.raises(ValueError, match="random slope, but another origin or unit"):
        lrt(
            sleep_fit(method="ml", slopes=["Days"]),
            MixedLinear(["Days"], method="ml").fit(
                SLEEP.data.assign(Days=SLEEP.data["Days"] * 24, z=1.0 * (np.arange(180) % 3)),
                SLEEP.target,
                groups=SLEEP.groups,
            ),
        )


# --------------------------------------------------------------------------------------------------- refusals


def test_reml_with_different_fixed_effects(fits):
    with pytest.raises(ValueError, match=r"REML likelihoods of models with different fixed effects.*refit=True"):
        lrt(fits["constant"], fits["intercept"])
    with pytest.raises(ValueError, match=r"One fit is by ML, the other by REML.*refit=True"):
        lrt(fits["intercept_ml"], fits["full"])
    assert lrt(fits["intercept_ml"], fits["full"], refit=True).statistic == pytest.approx(
        lrt(fits["intercept_ml"], fits["full_ml"]).statistic, abs=1e-7
    )
    hours = MixedLinear().fit(SLEEP.data * 24, SLEEP.target, groups=SLEEP.groups)
    with pytest.raises(ValueError, match="in other units"):
        lrt(fits["none"], hours)
    assert lrt(fits["none"], hours, refit=True).statistic == pytest.approx(
        lrt(fits["none_ml"], fits["intercept_ml"]).statistic, abs=1e-7
    )


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
def test_other_data(fits):
    fewer = MixedLinear(["Days"]).fit(SLEEP.data[:170], SLEEP.target[:170], groups=SLEEP.groups[:170])
    with pytest.raises(ValueError, match="different data: 180 and 170 observations"):
        lrt(fits["intercept"], fewer)
    logs = MixedLinear(["Days"]).fit(SLEEP.data, np.log(SLEEP.target), groups=SLEEP.groups)
    with pytest.raises(ValueError, match=r"180 and 180 observations, with outcomes of mean 298\.5"):
        lrt(fits["intercept"], logs)
    # the same outcomes, paired with other features
    y = SLEEP.target.to_numpy()[np.random.default_rng(11).permutation(180)]
    with pytest.raises(ValueError, match="'Days' has other values"):
        lrt(fits["intercept"], MixedLinear(["Days"]).fit(SLEEP.data, y, groups=SLEEP.groups))
    weights = np.linspace(0.5, 1.5, 180)
    precise = MixedLinear(["Days"], weight_type="precision").fit(
        SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=weights
    )
    with pytest.raises(ValueError, match="different data"):
        lrt(fits["intercept"], precise)
    counted = MixedLinear().fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=weights)
    with pytest.raises(ValueError, match="same weight_type"):
        lrt(counted, precise)


def test_models_that_are_not_nested(fits):
    other = SLEEP.data.assign(other=np.cos(np.arange(180)))
    with pytest.raises(ValueError, match="'Days' of the reduced model is not in the full one"):
        lrt(fits["intercept_ml"], MixedLinear(method="ml").fit(other[["other"]], SLEEP.target, groups=SLEEP.groups))
    with pytest.raises(ValueError, match="give the smaller model first"):
        lrt(fits["full"], fits["intercept"])
    with pytest.raises(ValueError, match="same parameters"):
        lrt(fits["full"], fits["full"])
    wide = MixedLinear(["Days", "other"], covariance="diagonal").fit(other, SLEEP.target, groups=SLEEP.groups)
    wider = MixedLinear(["Days", "other"], covariance="diagonal", method="ml").fit(
        other.assign(more=np.sin(np.arange(180) ** 2), most=np.sin(np.arange(180) ** 3)),
        SLEEP.target,
        groups=SLEEP.groups,
    )
    assert wide.loglik_ < 0
    with pytest.raises(ValueError, match="correlated in the reduced model, but not in the full one"):
        lrt(fits["full_ml"], wider)
    with pytest.raises(ValueError, match="has an intercept, the full one has none"):
        lrt(
            fits["none_ml"],
            MixedLinear(["Days"], method="ml", fit_intercept=False).fit(other, SLEEP.target, groups=SLEEP.groups),
        )
    with pytest.raises(ValueError, match="different offsets"):
        lrt(
            fits["intercept"],
            MixedLinear(["Days"]).fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups, offset=np.arange(180.0)),
        )


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
def test_what_has_no_likelihood(fits):
    ohio = load_ohio()
    plain = LogitRegressor().fit(ohio.data, ohio.target)
    with pytest.raises(ValueError, match="penalty='firth'"):
        lrt(LogitRegressor("firth").fit(ohio.data[["age"]], ohio.target), plain)
    with pytest.raises(ValueError, match="sampling weights"):
        lrt(LogitRegressor(weight_type="sampling").fit(ohio.data[["age"]], ohio.target), plain)
    with pytest.raises(ValueError, match="different kinds of outcomes"):
        lrt(plain, fits["full"])
    gee = GEERegressor().fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups)
    with pytest.raises(TypeError, match="GEERegressor has no likelihood: use wald_test"):
        lrt(gee, fits["full"])
    perfect = MixedLinear().fit(SLEEP.data, SLEEP.data["Days"] * 2.0)
    with pytest.raises(ValueError, match="without error"):
        lrt(perfect, fits["full"])


# --------------------------------------------------------------------------------------------- numerical trouble


def test_a_full_model_that_did_not_reach_its_maximum():
    kept = np.arange(len(SLEEP.target)) % 7 != 0  # balanced, one step would do
    rows = {"X": SLEEP.data[kept], "y": SLEEP.target[kept], "groups": SLEEP.groups[kept]}
    reduced = MixedLinear().fit(**rows)
    with pytest.warns(ConvergenceWarning):
        stopped = MixedLinear(["Days"], max_iter=1).fit(**rows)
    assert "the fit of the full model did not converge." in lrt(reduced, stopped).notes
    stopped.loglik_ = reduced.loglik_ - 0.5
    with pytest.warns(ConvergenceWarning, match=r"less than that of the reduced one by 0\.5"):
        test = lrt(reduced, stopped)
    assert (test.statistic, test.p_value) == (0.0, 1.0)


def test_singular_reduced_model_has_a_note():
    rng = np.random.default_rng(12)
    groups = np.repeat(np.arange(12), 5)
    X = rng.normal(size=(60, 1))
    y = rng.normal(size=60)
    y -= pd.Series(y).groupby(groups).transform("mean").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small, large = MixedLinear().fit(X, y, groups=groups), MixedLinear([0]).fit(X, y, groups=groups)
    assert small.singular_
    test = lrt(small, large)
    assert "singular" in test.notes[0]
    assert test.mixture == {1: 0.5, 2: 0.5}


# ----------------------------------------------------------------------------------------------------- display


def test_display(fits):
    test = lrt(fits["intercept"], fits["full"])
    text = "Likelihood ratio test (REML): 42.8368 on 0.5 chi2(1) + 0.5 chi2(2), p = 2.793e-10"
    assert str(test) == text
    frame = test.to_frame()
    assert list(frame.columns) == ["loglik_reduced", "loglik_full", "statistic", "df", "p_value", "distribution"]
    assert frame.iloc[0]["statistic"] == test.statistic
    assert "0.5 chi2(1)" in test._repr_html_()
    assert lrt(fits["diagonal"], fits["full"]).distribution == "chi2(1)"
    with pytest.raises(FrozenInstanceError):
        test.statistic = 0.0
