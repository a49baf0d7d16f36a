"""Design effects: R's survey, textbook values, invariances, refusals; pseudo R squared of the same fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, LogitRegressor, MixedLinear
from skdep.datasets import load_ohio
from skdep.exceptions import CollinearityWarning
from skdep.inference import coef_table, design_effects, pseudo_r2
from tests.inference.survey_cases import FITS, LOGIT, WITH_DESIGN, WITHOUT_STRATA, fitted, fitted_gee

RNG = np.random.default_rng(8)
N = 120
FRAME = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["a", "b"])
Y = (FRAME["a"] + RNG.logistic(size=N) > 0).astype(int)


# ---- R ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGIT)
def test_against_r(name):
    """The ratio to naive.cov, which has no dispersion; svyglm(deff = TRUE) divides by the dispersion too."""
    case, table = FITS[name], design_effects(fitted(name))
    assert_allclose(table["estimate"], list(case["coef"].values()), rtol=1e-8)
    assert_allclose(table["std_error"], case["se"], rtol=1e-9)
    assert_allclose(table["std_error_srs"], case["se_naive"], rtol=1e-9)
    ratio = table["deff"] / case["deff_survey"]
    assert_allclose(ratio, ratio.iloc[0], rtol=1e-6)


@pytest.mark.parametrize("name", WITHOUT_STRATA + WITH_DESIGN)
def test_generalized_estimating_equations_against_r(name):
    """With the scale estimated: svyglm(deff = TRUE), but for K / (K - 1) without strata."""
    fit = fitted_gee(name)
    factor = 1.0 if name in WITH_DESIGN else 1.0 - 1.0 / fit.n_clusters_
    assert_allclose(design_effects(fit)["deff"], np.multiply(FITS[name]["deff_survey"], factor), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in LOGIT if FITS[name]["intercept"]])
def test_pseudo_r2_against_r(name):
    found = pseudo_r2(fitted(name))
    assert (found.cox_snell, found.nagelkerke) == pytest.approx(FITS[name]["psrsq"], rel=1e-7)


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_repeated_rows_have_the_design_effect_of_their_number():
    """Clusters of m equal rows: m times the variance, but for K / (K - 1)."""
    repeated = np.repeat(np.arange(N), 4)
    once = LogitRegressor(cov_type="hc0").fit(FRAME, Y)
    clustered = LogitRegressor().fit(FRAME.iloc[repeated], Y.iloc[repeated], groups=repeated)
    ratio = design_effects(clustered)["deff"] / design_effects(once)["deff"]
    assert_allclose(ratio, 4.0 * N / (N - 1), rtol=1e-7)


def test_columns_agree():
    fit = LogitRegressor(weight_type="sampling").fit(FRAME, Y, groups=np.arange(N) % 30)
    table, model = design_effects(fit), coef_table(fit, cov_type="model")
    assert list(table.columns) == ["estimate", "std_error", "std_error_srs", "deff", "deft"]
    assert list(table.index) == ["Intercept", "a", "b"]
    assert_allclose(table["std_error"], coef_table(fit)["std_error"])
    assert_allclose(table["std_error_srs"], model["std_error"])
    assert_allclose(table["deft"] ** 2, table["deff"])
    assert_allclose(table["deff"], (table["std_error"] / table["std_error_srs"]) ** 2)
    assert_allclose(design_effects(fit, cov_type="hc0")["std_error"], coef_table(fit, cov_type="hc0")["std_error"])


def test_units_and_weights_scale_do_not_matter():
    weights, groups = RNG.gamma(2.0, 1.0, N), np.arange(N) % 30

    def effects(X, weights):
        fit = LogitRegressor(weight_type="sampling").fit(X, Y, groups=groups, sample_weight=weights)
        return design_effects(fit)["deff"].to_numpy()

    expected = effects(FRAME, weights)
    assert_allclose(effects(FRAME, 1e5 * weights), expected, rtol=1e-7)
    assert_allclose(effects(FRAME * [1e4, 1e-4], weights), expected, rtol=1e-7)
    pipe = make_pipeline(StandardScaler(), LogitRegressor(weight_type="sampling"))
    pipe.fit(FRAME, Y, logitregressor__groups=groups, logitregressor__sample_weight=weights)
    assert_allclose(design_effects(pipe)["deff"].iloc[1:], expected[1:], rtol=1e-7)


def test_pseudo_r2_by_hand():
    ohio = load_ohio()
    for intercept in (True, False):
        fit = LogitRegressor(fit_intercept=intercept).fit(ohio.data, ohio.target)
        share = np.mean(ohio.target == fit.classes_[1]) if intercept else 0.5
        n = len(ohio.target)
        null = np.log(share) * np.sum(ohio.target == fit.classes_[1]) + np.log(1 - share) * np.sum(
            ohio.target == fit.classes_[0]
        )
        found = pseudo_r2(fit)
        assert found.mcfadden == pytest.approx(1 - fit.loglik_ / null, rel=1e-9)
        assert found.cox_snell == pytest.approx(1 - np.exp(2 * (null - fit.loglik_) / n), rel=1e-9)
        assert found.cox_snell_limit == pytest.approx(1 - np.exp(2 * null / n), rel=1e-9)
        assert found.nagelkerke == pytest.approx(found.cox_snell / found.cox_snell_limit, rel=1e-12)


def test_pseudo_r2_of_counts_is_that_of_rows():
    counts = RNG.integers(0, 4, N)
    weighted = pseudo_r2(LogitRegressor().fit(FRAME, Y, sample_weight=counts))
    repeated = np.repeat(np.arange(N), counts)
    assert weighted.cox_snell == pytest.approx(
        pseudo_r2(LogitRegressor().fit(FRAME.iloc[repeated], Y.iloc[repeated])).cox_snell, rel=1e-8
    )


# ---- refusals and display --------------------------------------------------------------------------------------------


def test_what_has_no_design_effect():
    plain = LogitRegressor().fit(FRAME, Y)
    with pytest.raises(ValueError, match=r"covariance to compare with; choose one of \['hc0', 'hc1'\]"):
        design_effects(plain)
    with pytest.raises(ValueError, match="cov_type='cluster' is not available"):
        design_effects(plain, cov_type="cluster")
    assert design_effects(plain, cov_type="hc0")["deff"].between(0.3, 3.0).all()
    with pytest.raises(TypeError, match="no fitted skdep estimator"):
        design_effects(StandardScaler().fit(FRAME))


def test_collinear_features_have_none():
    with pytest.warns(CollinearityWarning):
        fit = LogitRegressor(weight_type="sampling").fit(FRAME.assign(again=FRAME["a"]), Y)
    table = design_effects(fit)
    assert table.loc[["a", "again"], ["std_error", "deff", "deft"]].isna().all(axis=None)
    assert table.loc["b", "deff"] == pytest.approx(
        design_effects(LogitRegressor(weight_type="sampling").fit(FRAME, Y)).loc["b", "deff"], rel=1e-6
    )


def test_what_has_no_pseudo_r2():
    with pytest.raises(TypeError, match="for LogitRegressor, got MixedLinear"):
        pseudo_r2(MixedLinear().fit(FRAME, FRAME["a"] + RNG.normal(size=N)))
    with pytest.raises(TypeError, match="for LogitRegressor, got GEEClassifier"):
        pseudo_r2(GEEClassifier().fit(FRAME, Y))
    with pytest.raises(ValueError, match="penalty='firth'"):
        pseudo_r2(LogitRegressor("firth").fit(FRAME, Y))
    with pytest.raises(ValueError, match="has an offset"):
        pseudo_r2(LogitRegressor().fit(FRAME, Y, offset=FRAME["b"]))


def test_display():
    found = pseudo_r2(LogitRegressor().fit(FRAME, Y))
    assert str(found) == (
        f"Pseudo R squared: Cox-Snell {found.cox_snell:.4f}, Nagelkerke {found.nagelkerke:.4f}, "
        f"McFadden {found.mcfadden:.4f}"
    )
    assert found.to_frame().loc["Pseudo R squared", "mcfadden"] == found.mcfadden
    assert "nagelkerke" in found._repr_html_()
    table = design_effects(LogitRegressor(weight_type="sampling").fit(FRAME, Y))
    assert "std_error_srs" in repr(table) and type(table.to_frame()) is pd.DataFrame
