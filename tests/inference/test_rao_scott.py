"""Working likelihood ratios and Wald statistics under a design: R, dense algebra, invariances, size, refusals."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, special, stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep.exceptions import CollinearityWarning, ConvergenceWarning, FewClustersWarning, SeparationWarning
from skdep.inference import RaoScottTest, lrt, wald_test
from skdep.inference._quadratic_forms import quadratic_form_tail
from skdep.inference._working_model import relative_eigenvalues
from tests.inference.survey_cases import (
    FITS,
    LOGIT,
    WITH_DESIGN,
    WITHOUT_STRATA,
    fitted,
    fitted_gee,
    new_terms,
)

RNG = np.random.default_rng(5)
N = 160
FRAME = pd.DataFrame(RNG.normal(size=(N, 4)) + 0.5, columns=["a", "b", "c", "d"])
GROUPS = RNG.integers(0, 25, N)
Y = (FRAME["a"] + RNG.normal(size=25)[GROUPS] + RNG.logistic(size=N) > 0.5).astype(int)
WEIGHTS = RNG.gamma(2.0, 1.0, N)
KEYS = {"groups": GROUPS, "sample_weight": WEIGHTS}


def survey_fit(columns, *, X=FRAME, y=Y, **options):
    keys = {**KEYS, **{key: options.pop(key) for key in ("groups", "sample_weight", "offset") if key in options}}
    return LogitRegressor(weight_type="sampling", **options).fit(X[list(columns)], y, **keys)


@pytest.fixture(scope="module")
def full():
    return survey_fit("abcd")


@pytest.fixture(scope="module")
def reduced():
    return survey_fit("ac")


# ---- R ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGIT)
def test_likelihood_ratio_against_r(name):
    case = FITS[name]
    small, large = fitted(name, "reduced"), fitted(name)
    test = lrt(small, large)
    assert test.statistic == pytest.approx(case["chisq"], rel=1e-9)
    assert_allclose(test.design_effects, case["lambda"], rtol=1e-9)
    assert (test.df, test.df_denominator) == (len(new_terms(name)), case["ddf"])
    assert test.terms == tuple(new_terms(name))
    assert test.p_value == pytest.approx(case["p_saddlepoint"], abs=1e-7)
    satterthwaite = lrt(small, large, approximation="satterthwaite")
    assert satterthwaite.p_value == pytest.approx(case["p_satterthwaite"], rel=1e-8)
    assert lrt(small, large, df="normal").p_value == pytest.approx(case["p_saddlepoint_chisq"], abs=1e-7)
    exact = lrt(small, large, approximation="exact")
    assert exact.p_value == pytest.approx(test.p_value, abs=0.03)
    assert exact.approximation == "exact"


def test_what_r_prints():
    """The statistic over the mean design effect, as regTermTest prints it; its fits stop after five digits or six."""
    test = lrt(fitted("strat", "reduced"), fitted("strat"))
    assert test.scaled_statistic == pytest.approx(0.536933176, abs=1e-5)
    assert test.p_value == pytest.approx(0.76213, abs=5e-6)
    wald = wald_test(fitted("strat"), ["ell", "meals"], method="working")
    assert wald.scaled_statistic == pytest.approx(0.542060903, abs=1e-5)


@pytest.mark.parametrize("name", LOGIT)
def test_working_wald_against_r(name):
    case = FITS[name]
    test = wald_test(fitted(name), new_terms(name), method="working")
    assert test.statistic == pytest.approx(case["working_wald"], rel=1e-9)
    assert_allclose(test.design_effects, case["lambda"], rtol=1e-9)
    assert test.df_denominator == case["ddf"]
    assert test.p_value == pytest.approx(case["working_wald_p"], abs=1e-7)
    wald = wald_test(fitted(name), new_terms(name))
    assert (wald.statistic, wald.p_value) == pytest.approx((case["wald_F"], case["wald_p"]), rel=1e-8)
    assert wald.df_denominator == case["ddf"]


@pytest.mark.parametrize("name", WITH_DESIGN)
def test_designs_of_every_family_against_r(name):
    case, full = FITS[name], fitted_gee(name)
    scale = full.scale_ if case["family"] == "gaussian" else 1.0
    test = lrt(fitted_gee(name, "reduced"), full)
    assert test.statistic * scale == pytest.approx(case["chisq"], rel=1e-8)
    assert_allclose(np.multiply(test.design_effects, scale), case["lambda"], rtol=1e-7)
    assert test.df_denominator == case["ddf"]
    assert test.p_value == pytest.approx(case["p_saddlepoint"], rel=1e-6, abs=1e-12)
    satterthwaite = lrt(fitted_gee(name, "reduced"), full, approximation="satterthwaite")
    assert satterthwaite.p_value == pytest.approx(case["p_satterthwaite"], rel=1e-6, abs=1e-12)
    working = wald_test(full, new_terms(name), method="working")
    assert working.p_value == pytest.approx(case["working_wald_p"], rel=1e-6, abs=1e-12)
    wald = wald_test(full, new_terms(name))
    assert (wald.statistic, wald.p_value) == pytest.approx((case["wald_F"], case["wald_p"]), rel=1e-7, abs=1e-15)


@pytest.mark.parametrize("name", WITHOUT_STRATA)
def test_generalized_estimating_equations_against_r(name):
    """The robust covariance is that of the design less K / (K - 1); deviances are over phi where the family has one."""
    case, full = FITS[name], fitted_gee(name)
    factor = 1.0 - 1.0 / full.n_clusters_
    scale = full.scale_ if case["family"] == "gaussian" else 1.0
    test = lrt(fitted_gee(name, "reduced"), full)
    assert test.statistic * scale == pytest.approx(case["chisq"], rel=1e-8)
    assert_allclose(np.multiply(test.design_effects, scale), np.multiply(case["lambda"], factor), rtol=1e-8)
    wald = wald_test(full, new_terms(name), method="working")
    assert wald.statistic * scale == pytest.approx(case["working_wald"], rel=1e-7)
    effects = np.multiply(test.design_effects, 1.0 / factor)
    given = lrt(fitted_gee(name, "reduced"), full, df=case["ddf"])
    assert given.df_denominator == case["ddf"]
    assert quadratic_form_tail(test.statistic, effects, df=case["ddf"]) == pytest.approx(
        case["p_saddlepoint"], abs=1e-7
    )


# ---- dense algebra and equivalences ----------------------------------------------------------------------------------


def test_by_brute_force(full, reduced):
    """Maxima by a general optimizer, the sandwich from its definition."""
    w = WEIGHTS / WEIGHTS.mean()

    def fit(columns):
        X = np.column_stack([np.ones(N), FRAME[list(columns)]])
        found = optimize.minimize(
            lambda b: w @ np.logaddexp(0.0, -(2 * Y - 1) * (X @ b)), np.zeros(X.shape[1]), method="BFGS", tol=1e-9
        )
        return X, found.x, found.fun

    X, b, least = fit("abcd")
    p = special.expit(X @ b)
    inverse = np.linalg.inv(X.T @ ((w * p * (1 - p))[:, None] * X))
    scores = pd.DataFrame(X * (w * (Y - p).to_numpy())[:, None]).groupby(GROUPS).sum().to_numpy()
    K = len(scores)
    V = inverse @ (K / (K - 1) * scores.T @ scores) @ inverse
    block = np.ix_([2, 4], [2, 4])
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(inverse[block], V[block])).real)[::-1]
    test = lrt(reduced, full)
    assert test.statistic == pytest.approx(2 * (fit("ac")[2] - least), abs=1e-5)
    assert_allclose(test.design_effects, expected, rtol=1e-4)
    assert test.df_denominator == K - 1 + 1 - 5
    assert test.mean_design_effect == pytest.approx(np.mean(expected), rel=1e-4)
    working = wald_test(full, ["b", "d"], method="working")
    assert working.statistic == pytest.approx(b[[2, 4]] @ np.linalg.solve(inverse[block], b[[2, 4]]), rel=1e-4)
    assert_allclose(working.design_effects, expected, rtol=1e-4)


def test_one_coefficient_is_f(full):
    """With one weight the exact distribution is F, and the working Wald statistic over it that of Wald."""
    exact = wald_test(full, "b", method="working", approximation="exact")
    wald = wald_test(full, "b")
    assert exact.p_value == pytest.approx(wald.p_value, rel=1e-9)
    assert exact.scaled_statistic == pytest.approx(wald.statistic, rel=1e-9)
    test = lrt(survey_fit("acd"), full, approximation="exact")
    assert test.p_value == pytest.approx(stats.f.sf(test.scaled_statistic, 1, test.df_denominator), rel=1e-9)


def test_equal_weights_without_clusters_are_nearly_the_likelihood_ratio():
    """White's sandwich of a right model is near its information in many rows."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(20_000, 3)), columns=list("abc"))
    y = rng.random(20_000) < special.expit(0.5 * X["a"])
    survey = [LogitRegressor(weight_type="sampling").fit(X[list(part)], y) for part in ("a", "abc")]
    plain = [LogitRegressor().fit(X[list(part)], y) for part in ("a", "abc")]
    test, expected = lrt(*survey), lrt(*plain)
    assert test.statistic == pytest.approx(expected.statistic, abs=1e-8)
    assert_allclose(test.design_effects, 1.0, atol=0.03)
    assert test.p_value == pytest.approx(expected.p_value, abs=0.03)


def test_clusters_without_sampling_weights_on_request():
    """cov_type asks a plain fit; a GEE with independence has the same statistic, and weights less K / (K - 1)."""
    plain = [LogitRegressor().fit(FRAME[list(part)], Y, groups=GROUPS) for part in ("ac", "abcd")]
    test = lrt(*plain, cov_type="cluster")
    assert test.statistic == pytest.approx(lrt(*plain).statistic, abs=1e-9)
    assert test.df_denominator == np.inf
    gees = [GEEClassifier().fit(FRAME[list(part)], Y, groups=GROUPS) for part in ("ac", "abcd")]
    other = lrt(*gees)
    assert other.statistic == pytest.approx(test.statistic, abs=1e-7)
    K = len(np.unique(GROUPS))
    assert_allclose(np.multiply(other.design_effects, K / (K - 1)), test.design_effects, rtol=1e-6)
    assert lrt(*plain, cov_type="hc0").design_effects != test.design_effects


def test_the_scale_of_a_family_with_one_cancels():
    """Outcomes in other units: deviances are over phi, design effects as they were."""
    y = FRAME["a"] + RNG.normal(size=25)[GROUPS] + RNG.normal(size=N)

    def test(factor, scale=None):
        fits = [GEERegressor(scale=scale).fit(FRAME[list(part)], factor * y, **KEYS) for part in ("a", "abc")]
        return lrt(*fits)

    first, second, fixed = test(1.0), test(1e3), test(1.0, scale=1.0)
    assert (first.statistic, first.p_value) == pytest.approx((second.statistic, second.p_value), rel=1e-9)
    assert fixed.p_value == pytest.approx(first.p_value, rel=1e-9)
    assert fixed.statistic == pytest.approx(
        first.statistic * GEERegressor().fit(FRAME[list("abc")], y, **KEYS).scale_, rel=1e-9
    )


def test_covariance_and_degrees_of_freedom_chosen_later(full, reduced):
    test = lrt(reduced, full, cov_type="hc0", df=7)
    assert test.df_denominator == 7
    assert lrt(reduced, full, cov_type="hc0").df_denominator == np.inf
    assert lrt(reduced, full, df="residual").df_denominator == 25 - 5
    assert test.design_effects != lrt(reduced, full).design_effects
    assert wald_test(full, ["b", "d"], method="working", cov_type="hc0", df=7).design_effects == pytest.approx(
        test.design_effects, rel=1e-9
    )


def test_relative_eigenvalues_of_singular_matrices():
    """On the range of V0 only, whatever the units."""
    rng = np.random.default_rng(1)
    back = rng.normal(size=(4, 2)) * np.array([1.0, 1e-6, 1e5, 1.0])[:, None]
    small, small0 = (np.cov(rng.normal(size=(2, 9))) for _ in range(2))
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(small0, small)).real)[::-1]
    assert_allclose(relative_eigenvalues(back @ small @ back.T, back @ small0 @ back.T), expected, rtol=1e-6)
    assert_allclose(relative_eigenvalues(np.outer([1, 2], [1, 2]), np.eye(2)), [5.0, 0.0], atol=1e-12)


# ---- invariances -----------------------------------------------------------------------------------------------------


def test_scale_of_weights_order_of_rows_and_units_mean_nothing(full, reduced):
    expected = lrt(reduced, full)
    order = np.random.default_rng(0).permutation(N)
    rescaled = [survey_fit(part, sample_weight=1e4 * WEIGHTS) for part in ("ac", "abcd")]
    shuffled = [
        survey_fit(part, X=FRAME.iloc[order], y=Y.iloc[order], groups=GROUPS[order], sample_weight=WEIGHTS[order])
        for part in ("ac", "abcd")
    ]
    other_units = FRAME * [1e3, 1e-4, 1.0, 7.0] + [0.0, 5.0, 3.0, 0.0]
    moved = [survey_fit(part, X=other_units) for part in ("ac", "abcd")]
    unnamed = [
        LogitRegressor(weight_type="sampling").fit(FRAME[list(part)].to_numpy(), Y, **KEYS) for part in ("ac", "abcd")
    ]
    for pair in (rescaled, shuffled, moved, unnamed, (reduced, moved[1]), (moved[0], full)):
        test = lrt(*pair)
        assert test.statistic == pytest.approx(expected.statistic, rel=1e-7)
        assert_allclose(test.design_effects, expected.design_effects, rtol=1e-7)
        assert test.p_value == pytest.approx(expected.p_value, rel=1e-7)


def test_rows_of_weight_zero_count_as_units_only():
    outside = np.where(GROUPS < 20, WEIGHTS, 0.0)
    fits = [survey_fit(part, sample_weight=outside) for part in ("ac", "abcd")]
    dropped = [
        survey_fit(
            part, X=FRAME[GROUPS < 20], y=Y[GROUPS < 20], groups=GROUPS[GROUPS < 20], sample_weight=outside[GROUPS < 20]
        )
        for part in ("ac", "abcd")
    ]
    test, without = lrt(*fits), lrt(*dropped)
    assert test.statistic == pytest.approx(without.statistic, abs=1e-9)
    assert test.df_denominator == without.df_denominator == 20 - 5
    assert_allclose(test.design_effects, np.multiply(without.design_effects, (25 / 24) / (20 / 19)), rtol=1e-9)


def test_pipelines(full, reduced):
    pipe = make_pipeline(StandardScaler(), LogitRegressor(weight_type="sampling")).set_output(transform="pandas")
    pipe.fit(FRAME, Y, logitregressor__groups=GROUPS, logitregressor__sample_weight=WEIGHTS)
    expected = lrt(reduced, full)
    assert lrt(reduced, pipe).p_value == pytest.approx(expected.p_value, rel=1e-7)
    assert wald_test(pipe, ["b", "d"], method="working").p_value == pytest.approx(
        wald_test(full, ["b", "d"], method="working").p_value, rel=1e-7
    )


def test_equivalent_hypotheses_have_one_statistic(full):
    R, mixing = np.array([[0, 1, -1, 0, 0], [0, 0, 1, 0, 2.0]]), np.array([[2.0, 1.0], [-1.0, 3.0]])
    one = wald_test(full, R, [0.1, 0.2], method="working")
    other = wald_test(full, mixing @ R, mixing @ [0.1, 0.2], method="working")
    assert other.statistic == pytest.approx(one.statistic, rel=1e-9)
    assert_allclose(other.design_effects, one.design_effects, rtol=1e-9)
    assert other.terms == ()


# ---- what it is for --------------------------------------------------------------------------------------------------


def test_size_under_clustering():
    """Features and outcomes vary between clusters: 5 % of true hypotheses are rejected, of the naive test far more."""
    rng = np.random.default_rng(11)
    n_clusters, size, n_draws = 250, 4, 200
    groups = np.repeat(np.arange(n_clusters), size)
    rejected = np.zeros(3)
    for _ in range(n_draws):
        X = rng.normal(size=(n_clusters, 3))[groups] + 0.5 * rng.normal(size=(len(groups), 3))
        y = rng.random(len(groups)) < special.expit(X[:, 0] + rng.normal(size=n_clusters)[groups])
        weights = rng.gamma(4.0, 1.0, n_clusters)[groups]
        fits = [
            LogitRegressor(weight_type="sampling").fit(part, y, groups=groups, sample_weight=weights)
            for part in (X[:, :1], X)
        ]
        test = lrt(*fits)
        naive = stats.chi2.sf(test.statistic, 2)
        working = wald_test(fits[1], ["x1", "x2"], method="working").p_value
        rejected += np.array([test.p_value, working, naive]) < 0.05
    error = np.sqrt(0.05 * 0.95 / n_draws)
    assert_allclose(rejected[:2] / n_draws, 0.05, atol=3 * error)
    assert rejected[2] / n_draws > 0.15


def test_more_hypotheses_than_sampling_units():
    """The Wald test inverts a covariance of low rank; the working one has weights of zero."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.normal(size=(N, 6)), columns=list("abcdef"))
    few = np.arange(N) % 4
    with pytest.warns(FewClustersWarning):
        fit = LogitRegressor(weight_type="sampling").fit(X, Y, groups=few)
    with pytest.raises(ValueError, match="method='working' does not invert it"):
        wald_test(fit, list("abcdef"), df=3)
    test = wald_test(fit, list("abcdef"), df=3, method="working")
    assert np.count_nonzero(test.design_effects) == 3
    assert len(test.design_effects) == 6
    assert 0.0 < test.p_value < 1.0
    assert test.mean_design_effect == pytest.approx(sum(test.design_effects) / 6)
    assert "6 chi2(1) with weights from" in str(test)
    assert np.isnan(wald_test(fit, list("abcdef"), method="working").p_value)  # no degrees of freedom left


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_comparisons_that_mean_nothing(full, reduced):
    with pytest.raises(ValueError, match="different data"):
        lrt(survey_fit("ac", sample_weight=WEIGHTS**2), full)
    with pytest.raises(ValueError, match="different data"):
        lrt(survey_fit("ac", y=1 - Y), full)
    with pytest.raises(ValueError, match="different designs"):
        lrt(survey_fit("ac", groups=GROUPS // 2), full)
    with pytest.raises(ValueError, match="different offsets"):
        lrt(survey_fit("ac", offset=FRAME["d"]), full)
    with pytest.raises(ValueError, match="not in the full one: they are not nested"):
        lrt(survey_fit("ac"), survey_fit("bcd"))
    with pytest.raises(ValueError, match="no coefficient that the reduced one lacks"):
        lrt(full, full)
    with pytest.raises(ValueError, match="not in the full one"):
        lrt(full, reduced)
    with pytest.raises(ValueError, match="has an intercept, the full one has none"):
        lrt(reduced, survey_fit("abcd", fit_intercept=False))
    with pytest.raises(ValueError, match="penalty='firth'"):
        lrt(survey_fit("ac", penalty="firth"), full)
    with pytest.raises(ValueError, match="sampling weights"):
        lrt(LogitRegressor().fit(FRAME[["a", "c"]], Y), full)
    with pytest.raises(ValueError, match="different weight_type"):
        lrt(LogitRegressor().fit(FRAME[["a", "c"]], Y, groups=GROUPS), full, cov_type="cluster")
    with pytest.raises(ValueError, match="approximation must be one of"):
        lrt(reduced, full, approximation="davies")
    with pytest.raises(ValueError, match="believes the working model"):
        lrt(reduced, full, cov_type="model")
    with pytest.raises(ValueError, match="cov_type='kc' is not available"):
        lrt(reduced, full, cov_type="kc")
    with pytest.raises(ValueError, match="df must be positive"):
        lrt(reduced, full, df=-1)
    with pytest.raises(ValueError, match="df is for the test of Rao and Scott"):
        lrt(*(LogitRegressor().fit(FRAME[list(part)], Y) for part in ("ac", "abcd")), df=9)


def test_the_intercept_may_be_tested(full):
    origin = survey_fit("abcd", fit_intercept=False)
    test = lrt(origin, full)
    assert test.terms == ("Intercept",)
    assert test.statistic == pytest.approx(2 * (full.loglik_ - origin.loglik_), abs=1e-9)
    with pytest.raises(ValueError, match="features of another origin"):
        lrt(survey_fit("abcd", X=FRAME + 1.0, fit_intercept=False), full)


def test_comparisons_of_gees_that_mean_nothing():
    counts = RNG.poisson(2.0, N)

    def gee(columns="abcd", est=None, y=counts):
        return (est or GEERegressor("poisson")).fit(FRAME[list(columns)], y, groups=GROUPS)

    full = gee()
    with pytest.raises(TypeError, match="working_correlation='exchangeable' maximises no likelihood"):
        lrt(gee("ac", GEERegressor("poisson", working_correlation="exchangeable")), full)
    with pytest.raises(ValueError, match="different family, 'gaussian' and 'poisson'"):
        lrt(gee("ac", GEERegressor()), full)
    with pytest.raises(ValueError, match="different link, 'sqrt' and 'log'"):
        lrt(gee("ac", GEERegressor("poisson", link="sqrt")), full)
    with pytest.raises(ValueError, match="different estimators"):
        lrt(GEEClassifier().fit(FRAME[["a"]], Y, groups=GROUPS), full)
    with pytest.raises(ValueError, match="believes the working model"):
        lrt(gee("ac"), gee(est=GEERegressor("poisson", cov_type="naive")))
    with pytest.raises(TypeError, match="no likelihood of independent rows"):
        lrt(gee("ac"), MixedLinear().fit(FRAME, counts, groups=GROUPS), cov_type="robust")


def test_features_that_are_not_estimable(full, reduced):
    with pytest.warns(CollinearityWarning):
        again = survey_fit(["a", "b", "c", "d", "e"], X=FRAME.assign(e=FRAME["b"]))
    with pytest.raises(ValueError, match="not all estimable"):
        lrt(reduced, again)
    # collinear features that both have are in nobody's way
    with pytest.warns(CollinearityWarning):
        small = survey_fit(["a", "c", "e"], X=FRAME.assign(e=FRAME["a"]))
    with pytest.warns(CollinearityWarning):
        large = survey_fit(["a", "b", "c", "d", "e"], X=FRAME.assign(e=FRAME["a"]))
    test, expected = lrt(small, large), lrt(reduced, full)
    assert test.statistic == pytest.approx(expected.statistic, abs=1e-7)
    assert_allclose(test.design_effects, expected.design_effects, rtol=1e-6)


def test_numerical_trouble():
    with pytest.warns(FewClustersWarning):
        alone = [survey_fit(part, groups=np.zeros(N)) for part in ("a", "ab")]
    with pytest.raises(ValueError, match="is not finite"):
        lrt(*alone)
    with pytest.warns(SeparationWarning):
        separated = survey_fit("ab", y=(FRAME["a"] > 0.5).astype(int))
        larger = survey_fit("abc", y=(FRAME["a"] > 0.5).astype(int))
    with pytest.raises(ValueError, match="no finite maximum"):
        lrt(separated, larger)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_fits_that_did_not_converge(full):
    stopped = survey_fit("ac", max_iter=1)
    assert not stopped.converged_
    assert lrt(stopped, full).notes == ("the fit of the reduced model did not converge.",)


def test_a_full_model_that_did_not_reach_its_maximum(reduced):
    stopped = survey_fit("abcd")
    stopped.loglik_ = reduced.loglik_ - 0.5
    with pytest.warns(ConvergenceWarning, match=r"less than that of the reduced one by 0\.5"):
        test = lrt(reduced, stopped)
    assert (test.statistic, test.p_value) == (0.0, 1.0)


def test_wald_methods_that_are_not_known(full):
    with pytest.raises(ValueError, match="method must be 'wald' or 'working'"):
        wald_test(full, ["b"], method="score")
    with pytest.raises(ValueError, match="believes the working model"):
        wald_test(full, ["b"], method="working", cov_type="model")
    with pytest.raises(ValueError, match="unknown parameters"):
        wald_test(full, ["z"], method="working")


# ---- display ---------------------------------------------------------------------------------------------------------


def test_display(full, reduced):
    test = lrt(reduced, full)
    first, second = str(test).splitlines()
    largest, least = test.design_effects
    assert first == (
        f"Rao-Scott likelihood ratio test of b, d: {test.statistic:.4f} on {largest:.4g} chi2(1) + {least:.4g} chi2(1) "
        f"over chi2({test.df_denominator:g}) / {test.df_denominator:g}, p = {test.p_value:.4g} (saddlepoint)"
    )
    assert f"{test.scaled_statistic:.4f}" in second
    frame = test.to_frame()
    assert frame.loc["Rao-Scott likelihood ratio test", "p_value"] == test.p_value
    assert "mean_design_effect" in test._repr_html_()
    assert lrt(reduced, full, df="normal").distribution == f"{largest:.4g} chi2(1) + {least:.4g} chi2(1)"
    with pytest.raises(FrozenInstanceError):
        test.statistic = 0.0
    again = pickle.loads(pickle.dumps(test))
    assert isinstance(again, RaoScottTest) and again == test
