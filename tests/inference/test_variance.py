"""Variance components and intraclass correlations: R, formulas by hand from the data, invariances, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from given_mixed_logit import GivenMixedLogit
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio, load_orthodont, load_pastes, load_penicillin, load_sleepstudy
from skdep.inference import icc, variance_components
from skdep.mixed.terms import INTERCEPT

SLEEP = load_sleepstudy()


def sleep_fit(slopes=None, **options):
    return MixedLinear(slopes, tol=1e-12, **options).fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups)


def mean_variance(Z, covariance):
    """Mean over rows of z'Sigma z, row by row."""
    return np.mean([z @ covariance @ z for z in np.asarray(Z, dtype=float)])


# --------------------------------------------------------------------------------------------------------------- R
# lmer is called with control = lmerControl(optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, xtol_rel = 1e-12))


def test_sleepstudy_against_r():
    # as.data.frame(VarCorr(lmer(Reaction ~ Days + (Days | Subject), sleepstudy))), and with Z of the model
    # mean(rowSums((Z %*% as.matrix(VarCorr(m)$Subject)) * Z))
    fit = sleep_fit(["Days"])
    table = variance_components(fit).to_frame()
    assert list(table.columns) == ["variance", "sd", "corr_Intercept", "share"]
    assert list(table.index) == [
        ("Subject", "Intercept"),
        ("Subject", "Days"),
        ("Subject", "mean over rows"),
        ("Residual", ""),
    ]
    assert_allclose(
        table["variance"], [612.0898702223931, 35.0716602393396, 1698.071258088873, 654.941032799968], rtol=1e-6
    )
    assert table["corr_Intercept"].iloc[1] == pytest.approx(0.0655513775525, abs=1e-6)
    assert_allclose(table["sd"] ** 2, table["variance"], rtol=1e-12)
    assert_allclose(
        table["share"].dropna(), np.array([1698.071258088873, 654.941032799968]) / 2353.012290888841, rtol=1e-6
    )


def test_uncorrelated_effects_against_r():
    # d <- transform(sleepstudy, x2 = cos(seq_len(180))); m <- lmer(Reaction ~ Days + x2 + (Days || Subject), d)
    # v <- as.data.frame(VarCorr(m))$vcov; v; v[1] + v[2] * mean(d$Days^2)
    fit = MixedLinear(["Days"], covariance="diagonal", tol=1e-12).fit(
        SLEEP.data.assign(x2=np.cos(np.arange(1, 181))), SLEEP.target, groups=SLEEP.groups
    )
    table = variance_components(fit).to_frame()
    expected = [629.776607777289, 35.860603690366, 1651.803812952718, 655.097200956672]
    assert_allclose(table["variance"], expected, rtol=1e-5)
    assert table["corr_Intercept"].iloc[1] == 0.0


def test_explained_variance_against_r():
    # n <- lmer(distance ~ 1 + (1 | Subject), nlme::Orthodont)
    # m <- lmer(distance ~ age + I(as.integer(Sex == "Female")) + (1 | Subject), nlme::Orthodont)
    # c(VarCorr(n)$Subject, sigma(n)^2, VarCorr(m)$Subject, sigma(m)^2)
    before, after = np.array([3.75197359033, 4.92978393229]), np.array([3.26678379579, 2.04945600663])
    study = load_orthodont()
    X = pd.DataFrame({"age": study.data["age"], "female": 1.0 * (study.data["Sex"] == "Female")})
    null = MixedLinear(tol=1e-12).fit(X[[]], study.target, groups=study.groups)
    fit = MixedLinear(tol=1e-12).fit(X, study.target, groups=study.groups)
    table = variance_components(fit, baseline=null).to_frame()
    assert_allclose(table["variance"], after, rtol=1e-5)
    assert_allclose(table["baseline"], before, rtol=1e-5)
    assert_allclose(table["explained"], 1 - after / before, rtol=1e-5)


def test_crossed_and_nested_factors_against_r():
    # c(unlist(VarCorr(m)), sigma(m)^2) of m <- lmer(strength ~ 1 + (1 | batch) + (1 | sample), Pastes)
    # and m <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
    pastes, penicillin = load_pastes(), load_penicillin()
    nested = icc(MixedLinear(tol=1e-12).fit(pastes.data, pastes.target, groups=pastes.groups))
    batch, cask, residual = 1.657308744738, 8.433666561916, 0.678000002308
    total = batch + cask + residual
    assert_allclose(nested.to_frame()["variance"], [batch, cask], rtol=1e-6)
    assert_allclose(nested.to_frame()["icc"], [batch / total, cask / total], rtol=1e-6)
    assert_allclose(nested.to_frame()["same_level"], [batch / total, (batch + cask) / total], rtol=1e-6)
    assert nested["batch:cask"] == pytest.approx(cask / total, rel=1e-6)
    crossed = icc(MixedLinear().fit(penicillin.data, penicillin.target, groups=penicillin.groups)).to_frame()
    plate, sample, residual = 0.716908134117, 3.730917463699, 0.302415466463
    assert_allclose(crossed["icc"], np.array([plate, sample]) / (plate + sample + residual), rtol=1e-5)
    assert_allclose(crossed["same_level"], crossed["icc"], rtol=1e-12)


# --------------------------------------------------------------------------------------------------- by hand


@pytest.fixture(scope="module")
def three_levels():
    """Rows in classes in schools, crossed with raters; slopes vary between classes and schools."""
    rng = np.random.default_rng(0)
    n = 900
    classes = rng.integers(0, 45, n)
    groups = pd.DataFrame({"school": classes % 9, "class": classes, "rater": rng.integers(0, 12, n)})
    X = pd.DataFrame({"a": rng.normal(3.0, 1.0, n), "b": rng.uniform(-1.0, 4.0, n)})
    y = X["a"] - X["b"] + rng.normal(size=n)
    for name, sd in (("school", 0.8), ("class", 0.6), ("rater", 0.5)):
        effects = rng.normal(scale=sd, size=(45, 2))[groups[name]]
        y += effects[:, 0] + effects[:, 1] * X["b"] * 0.5
    return X, y, groups


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("weighted", [None, "frequency", "sampling"])
def test_means_over_rows_by_hand(three_levels, covariance, weighted):
    X, y, groups = three_levels
    weights = np.random.default_rng(1).integers(1, 4, len(y)).astype(float)
    options = {} if weighted is None else {"weight_type": weighted}
    given = {} if weighted is None else {"sample_weight": weights}
    columns = ["school", "class"] if weighted == "sampling" else list(groups)
    cluster = np.ones(len(y))
    if weighted == "sampling":
        options["weight_scaling"] = "none"
        cluster = np.random.default_rng(2).uniform(0.5, 2.0, 9)[groups["school"]]
        given["group_weight"] = cluster
    slopes = {"school": ["b"], "class": ["a", "b"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLinear(slopes, covariance=covariance, **options).fit(X, y, groups=groups[columns], **given)
    table = variance_components(fit).to_frame()
    Z = {"school": np.column_stack([np.ones(len(y)), X["b"]]), "class": np.column_stack([np.ones(len(y)), X])}
    Z["rater"] = np.ones((len(y), 1))
    used = (np.ones(len(y)) if weighted is None else weights) * cluster
    expected = {
        name: np.average(np.einsum("na,ac,nc->n", Z[name], fit.random_covariance_[name], Z[name]), weights=used)
        for name in columns
    }
    total = sum(expected.values()) + fit.sigma2_
    for name in columns:
        row = (name, "Intercept") if name == "rater" else (name, "mean over rows")
        assert table.loc[row, "variance"] == pytest.approx(expected[name], rel=1e-9)
        assert table.loc[row, "share"] == pytest.approx(expected[name] / total, rel=1e-9)
    found = icc(fit).to_frame()
    assert_allclose(found["icc"], [expected[name] / total for name in columns], rtol=1e-9)
    assert found.loc["class", "same_level"] == pytest.approx((expected["school"] + expected["class"]) / total, rel=1e-9)
    if "rater" in columns:
        assert found.loc["rater", "same_level"] == found.loc["rater", "icc"]


def test_correlations_by_hand(three_levels):
    X, y, groups = three_levels
    fit = MixedLinear(["a", "b"]).fit(X, y, groups=groups["class"])
    S = fit.random_covariance_["class"]
    table = variance_components(fit).to_frame()
    sd = np.sqrt(np.diag(S))
    assert table.loc[("class", "a"), "corr_Intercept"] == pytest.approx(S[1, 0] / sd[1] / sd[0], rel=1e-12)
    assert table.loc[("class", "b"), "corr_Intercept"] == pytest.approx(S[2, 0] / sd[2] / sd[0], rel=1e-12)
    assert table.loc[("class", "b"), "corr_a"] == pytest.approx(S[2, 1] / sd[2] / sd[1], rel=1e-12)
    assert np.isnan(table.loc[("class", "a"), "corr_a"])


def test_a_slope_without_intercept():
    table = variance_components(sleep_fit(["Days"], random_intercept=False)).to_frame()
    assert list(table.index) == [("Subject", "Days"), ("Subject", "mean over rows"), ("Residual", "")]
    slope = table["variance"].iloc[0]
    assert table["variance"].iloc[1] == pytest.approx(slope * np.mean(SLEEP.data["Days"] ** 2), rel=1e-10)


def test_balanced_one_way_anova():
    """Balanced REML is analysis of variance: (MSB - MSW) / k between, MSW within."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 4)
    y = pd.Series(rng.normal(size=30)[groups] + rng.normal(size=120))
    means = y.groupby(groups).transform("mean")
    within = ((y - means) ** 2).sum() / 90
    between = (((means - y.mean()) ** 2).sum() / 29 - within) / 4
    fit = MixedLinear().fit(np.empty((120, 0)), y, groups=groups)
    assert_allclose(variance_components(fit).to_frame()["variance"], [between, within], rtol=1e-6)
    assert icc(fit)["group"] == pytest.approx(between / (between + within), rel=1e-6)


def test_cluster_level_features_explain_variance_between():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(200), 5)
    z, x = rng.normal(size=200)[groups], rng.normal(size=1000)
    y = z + x + rng.normal(size=200)[groups] + rng.normal(size=1000)
    X = pd.DataFrame({"x": x, "z": z})
    fits = {k: MixedLinear().fit(X[list(k)], y, groups=groups) for k in ("x", "xz")}
    explained = variance_components(fits["xz"], baseline=fits["x"]).to_frame()["explained"]
    assert explained.iloc[0] == pytest.approx(0.5, abs=0.12)
    assert abs(explained.iloc[1]) < 0.01
    with_slopes = [MixedLinear(["x"]).fit(X[list(k)], y, groups=groups) for k in ("x", "xz")]
    table = variance_components(with_slopes[1], baseline=with_slopes[0]).to_frame()
    assert table.loc[("group", "mean over rows"), "explained"] == pytest.approx(0.5, abs=0.12)
    means = [variance_components(fit).to_frame().loc[("group", "mean over rows"), "variance"] for fit in with_slopes]
    assert table.loc[("group", "mean over rows"), "baseline"] == pytest.approx(means[0], rel=1e-12)


# ------------------------------------------------------------------------------------------------- invariances


def test_shares_do_not_depend_on_units_origins_and_order():
    expected = variance_components(sleep_fit(["Days"])).to_frame()
    order = np.random.default_rng(5).permutation(180)
    moved = MixedLinear(["Days"]).fit(
        (SLEEP.data.iloc[order] - 100.0) * 24, SLEEP.target.iloc[order] / 1000 + 7, groups=SLEEP.groups.iloc[order]
    )
    table = variance_components(moved).to_frame()
    assert_allclose(table["share"].iloc[2:], expected["share"].iloc[2:], rtol=1e-5)
    assert_allclose(table["variance"].iloc[2:], expected["variance"].iloc[2:] / 1e6, rtol=1e-5)
    assert icc(moved)["Subject"] == pytest.approx(icc(sleep_fit(["Days"]))["Subject"], rel=1e-5)


def test_frequency_weights_are_rows():
    counts = np.random.default_rng(6).integers(1, 4, 180)
    rows = np.repeat(np.arange(180), counts)
    weighted = MixedLinear(["Days"]).fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=counts)
    repeated = MixedLinear(["Days"]).fit(SLEEP.data.iloc[rows], SLEEP.target.iloc[rows], groups=SLEEP.groups.iloc[rows])
    first, second = (variance_components(fit).to_frame()["variance"] for fit in (weighted, repeated))
    assert_allclose(first, second, rtol=1e-5)


def test_pipeline():
    pipe = make_pipeline(StandardScaler(), MixedLinear())
    pipe.fit(SLEEP.data, SLEEP.target, mixedlinear__groups=SLEEP.groups)
    assert icc(pipe)["Subject"] == pytest.approx(icc(sleep_fit())["Subject"], rel=1e-6)


def test_simulated_variances_within_a_level():
    """The correlation of two rows of one cask, and of two casks of one batch, in data simulated from the fit."""
    pastes = load_pastes()
    fit = MixedLinear().fit(pastes.data, pastes.target, groups=pastes.groups)
    table = icc(fit).to_frame()
    rng = np.random.default_rng(7)
    sd = {name: np.sqrt(S[0, 0]) for name, S in fit.random_covariance_.items()}
    batch = rng.normal(scale=sd["batch"], size=200_000)
    first, other = (batch + rng.normal(scale=sd["batch:cask"], size=200_000) for _ in range(2))
    a, b, c = (cask + rng.normal(scale=np.sqrt(fit.sigma2_), size=200_000) for cask in (first, first, other))
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(table.loc["batch:cask", "same_level"], abs=0.01)
    assert np.corrcoef(a, c)[0, 1] == pytest.approx(table.loc["batch", "same_level"], abs=0.01)


# ---------------------------------------------------------------------------------------------- logistic models


def logit_fit(sigma, **options):
    return GivenMixedLogit([-1.0, 0.3], np.eye(2), sigma, **options).fit(SLEEP.data, SLEEP.target > 300)


def test_logistic_model_against_r():
    # m <- glmer(resp ~ age + smoke + (1 | id), ohio, binomial, nAGQ = 25); v <- VarCorr(m)$id[1]
    # c(v, v / (v + pi^2 / 3), exp(sqrt(2 * v) * qnorm(0.75)))
    ohio = load_ohio()
    fit = MixedLogit(n_quadrature=25, tol=1e-12).fit(ohio.data, ohio.target, groups=ohio.groups)
    found = icc(fit).to_frame().loc["id", ["variance", "icc", "median_odds_ratio"]]
    assert_allclose(found, [4.68684714897688, 0.587566057317, 7.88569876497], rtol=5e-5)


def test_means_over_rows_of_a_logistic_fit():
    """Rows repeated, and counted: the same variances, averaged over the same rows."""
    rng = np.random.default_rng(11)
    groups, X = np.repeat(np.arange(50), 8), pd.DataFrame({"x": rng.normal(3.0, 1.0, size=400)})
    y = (rng.normal(size=50)[groups] * X["x"] - 1.0 + rng.logistic(size=400) > 0).astype(int)
    counts = rng.integers(1, 4, size=400)
    rows = np.repeat(np.arange(400), counts)
    fits = (
        MixedLogit(["x"], n_quadrature=5).fit(X, y, groups=groups, sample_weight=counts),
        MixedLogit(["x"], n_quadrature=5).fit(X.iloc[rows], y[rows], groups=groups[rows]),
    )
    sigma = fits[0].random_covariance_["group"]
    expected = mean_variance(np.column_stack([np.ones(len(rows)), X["x"].iloc[rows]]), sigma)
    for fit in fits:
        table = variance_components(fit).to_frame()
        assert table.loc[("group", "mean over rows"), "variance"].item() == pytest.approx(expected, rel=1e-4)
        assert icc(fit)["group"] == pytest.approx(expected / (expected + np.pi**2 / 3), rel=1e-4)


def test_latent_scale_by_hand():
    sigma = np.array([[1.5, -0.1], [-0.1, 0.04]])
    fit = logit_fit({"Subject": ((INTERCEPT, 0), sigma)})
    Z = np.column_stack([np.ones(180), SLEEP.data["Days"]])
    between, within = mean_variance(Z, sigma), np.pi**2 / 3
    table = variance_components(fit).to_frame()
    assert list(table.index)[2:] == [("Subject", "mean over rows"), ("Residual", "latent scale")]
    assert_allclose(table["variance"], [1.5, 0.04, between, within], rtol=1e-12)
    assert_allclose(table["share"].iloc[2:], [between / (between + within), within / (between + within)], rtol=1e-12)
    assert icc(fit)["Subject"] == pytest.approx(between / (between + within), rel=1e-12)


def test_median_odds_ratio_by_simulation():
    """Of two levels drawn at random, the odds of the higher over those of the lower."""
    fit = logit_fit({"Subject": ((INTERCEPT,), np.array([[1.7]]))})
    first, second = np.random.default_rng(9).normal(scale=np.sqrt(1.7), size=(2, 400_000))
    ratio = np.median(np.exp(np.abs(first - second)))
    found = icc(fit).to_frame()["median_odds_ratio"]
    assert found["Subject"] == pytest.approx(ratio, rel=0.01)
    assert "median_odds_ratio" not in icc(sleep_fit()).to_frame()


def test_correlation_of_latent_outcomes_by_simulation():
    """Latent outcomes of two rows of a cask, and of two casks of a batch: nested factors."""
    sigma = {"batch": ((INTERCEPT,), np.array([[0.8]])), "batch:cask": ((INTERCEPT,), np.array([[2.1]]))}
    table = icc(logit_fit(sigma, outer={"batch:cask": ("batch",)})).to_frame()
    rng = np.random.default_rng(10)
    batch = rng.normal(scale=np.sqrt(0.8), size=200_000)
    first, other = (batch + rng.normal(scale=np.sqrt(2.1), size=200_000) for _ in range(2))
    a, b, c = (cask + rng.logistic(size=200_000) for cask in (first, first, other))
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(table.loc["batch:cask", "same_level"], abs=0.01)
    assert np.corrcoef(a, c)[0, 1] == pytest.approx(table.loc["batch", "same_level"], abs=0.01)


def test_nothing_of_the_latent_variance_is_explained():
    before, after = (logit_fit({"Subject": ((INTERCEPT,), np.array([[v]]))}) for v in (2.0, 1.5))
    table = variance_components(after, baseline=before).to_frame()
    assert table["explained"].iloc[0] == pytest.approx(0.25)
    assert np.isnan(table["explained"].iloc[1])


# ------------------------------------------------------------------------------------- odd fits and refusals


def test_no_variance_between_clusters():
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(12), 5)
    y = pd.Series(rng.normal(size=60))
    y -= y.groupby(groups).transform("mean")
    X = rng.normal(size=(60, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = MixedLinear().fit(X, y, groups=groups)
    table = variance_components(plain, baseline=plain).to_frame()
    assert table["variance"].iloc[0] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(table["explained"].iloc[0])
    assert table["explained"].iloc[1] == 0.0
    assert icc(plain)["group"] == pytest.approx(0.0, abs=1e-12)


def test_without_groups():
    fit = MixedLinear().fit(SLEEP.data, SLEEP.target)
    table = variance_components(fit).to_frame()
    assert list(table.index) == [("Residual", "")]
    assert table["share"].iloc[0] == 1.0
    assert icc(fit).to_frame().empty


def test_baselines_that_do_not_correspond():
    fit = sleep_fit()
    with pytest.raises(ValueError, match="baseline has random effects"):
        variance_components(fit, baseline=sleep_fit(["Days"]))
    fewer = MixedLinear().fit(SLEEP.data[:100], SLEEP.target[:100], groups=SLEEP.groups[:100])
    with pytest.raises(ValueError, match="other data"):
        variance_components(fit, baseline=fewer)
    other = MixedLinear().fit(SLEEP.data.assign(z=np.sin(np.arange(180))), SLEEP.target, groups=SLEEP.groups)
    with pytest.raises(ValueError, match=r"features that est lacks: \['z'\]"):
        variance_components(fit, baseline=other)


@pytest.mark.parametrize("function", [variance_components, icc])
def test_models_without_random_effects(function):
    with pytest.raises(TypeError, match="LogitRegressor has no random effects"):
        function(LogitRegressor().fit(SLEEP.data, SLEEP.target > 300))
    with pytest.raises(TypeError, match="GEERegressor has no random effects"):
        function(GEERegressor().fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups))


# ----------------------------------------------------------------------------------------------------- display


def test_display():
    result = variance_components(sleep_fit(["Days"]))
    assert "nan" not in str(result).lower()
    assert "mean over rows" in str(result) and "mean over rows" in result._repr_html_()
    assert all(line == line.rstrip() for line in str(result).splitlines())
    found = icc(sleep_fit())
    assert str(found).split()[:3] == ["variance", "icc", "same_level"]
    assert "same_level" in found._repr_html_()
