"""Tidy tables: the same columns from every estimator, and the numbers of the functions that they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.inference import (
    coef_table,
    compare,
    glance,
    profile_interval,
    qic,
    tidy,
    variance_components,
)

# so few draws as here are not to be believed
pytestmark = pytest.mark.filterwarnings("ignore:.*Raise n_draws:sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(31)
N = 240
X = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["dose", "age"])
GROUPS = pd.Series(np.arange(N) % 24, name="school")
EFFECT, SLOPE = RNG.normal(size=(2, 24))[:, GROUPS]
Y = X["dose"] + EFFECT + SLOPE * X["dose"] + RNG.normal(size=N)
CLASSES = (X["dose"] + EFFECT + RNG.logistic(size=N) > 0).astype(int)
NUMBERS = ["estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]


@pytest.fixture(scope="module")
def fits():
    return {
        "linear": MixedLinear(random_slopes=["dose"]).fit(X, Y, groups=GROUPS),
        "ml": MixedLinear(method="ml", random_slopes=["dose"]).fit(X, Y, groups=GROUPS),
        "mixed": MixedLogit().fit(X, CLASSES, groups=GROUPS),
        "gee": GEEClassifier(working_correlation="exchangeable").fit(X, CLASSES, groups=GROUPS),
        "regressor": GEERegressor().fit(X, Y),
        "logit": LogitRegressor().fit(X, CLASSES, groups=GROUPS),
        "firth": LogitRegressor(penalty="firth").fit(X, CLASSES),
        "survey": LogitRegressor(weight_type="sampling").fit(X, CLASSES, sample_weight=1.0 + GROUPS % 3),
        "bayes": BayesLogit(n_draws=250, random_slopes=["dose"], random_state=0).fit(X, CLASSES, groups=GROUPS),
        "flat": BayesLogit(n_draws=250, random_state=0).fit(X, CLASSES),
    }


NAMES = ["linear", "ml", "mixed", "gee", "regressor", "logit", "firth", "survey", "bayes", "flat"]


@pytest.mark.parametrize("name", NAMES)
def test_fixed_terms_are_the_coefficient_table(name, fits):
    fit = fits[name]
    fixed = tidy(fit, effects="fixed", level=0.9)
    table = coef_table(fit, level=0.9)
    assert list(fixed.columns) == ["effect", "group", "term", *NUMBERS]
    assert list(fixed["term"]) == list(table.index) == ["Intercept", "dose", "age"]
    assert set(fixed["effect"]) == {"fixed"} and set(fixed["group"]) == {""}
    np.testing.assert_array_equal(fixed[NUMBERS].to_numpy(), table[NUMBERS].to_numpy())
    whole = tidy(fit, level=0.9)
    pd.testing.assert_frame_equal(whole.to_frame().iloc[:3], fixed.to_frame())
    pd.testing.assert_frame_equal(
        whole.to_frame().iloc[3:].reset_index(drop=True), tidy(fit, effects="random", level=0.9).to_frame()
    )
    assert whole.index.tolist() == list(range(len(whole)))


def test_choices_are_those_of_the_coefficient_table(fits):
    table = tidy(fits["gee"], cov_type="naive", df=7)
    assert table["std_error"].tolist() == coef_table(fits["gee"], cov_type="naive")["std_error"].tolist()
    assert set(table["df"]) == {7.0}
    kenward = tidy(fits["linear"], df="kenward-roger", effects="fixed")
    assert kenward["df"].tolist() == coef_table(fits["linear"], df="kenward-roger")["df"].tolist()
    with pytest.raises(ValueError, match="effects must be"):
        tidy(fits["gee"], effects="ran_pars")


def test_random_terms_of_a_linear_model(fits):
    table = tidy(fits["ml"], effects="random").set_index(["group", "term"])["estimate"]
    components = variance_components(fits["ml"]).to_frame()
    assert table["school", "SD of Intercept"] == pytest.approx(components.loc[("school", "Intercept"), "sd"])
    assert table["school", "SD of dose"] == pytest.approx(components.loc[("school", "dose"), "sd"])
    correlation = components.loc[("school", "dose"), "corr_Intercept"]
    assert table["school", "Correlation of Intercept and dose"] == pytest.approx(correlation)
    assert table["Residual", "SD"] == pytest.approx(np.sqrt(fits["ml"].sigma2_))
    assert len(table) == 4
    # the names are those of the profiles
    profiled = profile_interval(fits["ml"]).to_frame()["estimate"]
    for (group, term), value in table.items():
        name = "Residual SD" if group == "Residual" else f"{term} by {group}"
        assert value == pytest.approx(profiled[name], rel=1e-4)


def test_random_terms_that_the_model_lacks():
    apart = MixedLinear(random_slopes=["dose"], covariance="diagonal").fit(X, Y, groups=GROUPS)
    assert tidy(apart, effects="random")["term"].tolist() == ["SD of Intercept", "SD of dose", "SD"]
    none = MixedLinear().fit(X, Y)
    assert tidy(none, effects="random")[["group", "term"]].to_numpy().tolist() == [["Residual", "SD"]]


def test_crossed_factors():
    groups = pd.DataFrame({"school": GROUPS, "year": np.arange(N) // 24})
    fit = MixedLinear().fit(X, Y + RNG.normal(size=10)[groups["year"]], groups=groups)
    table = tidy(fit, effects="random")
    assert table["group"].tolist() == ["school", "year", "Residual"]
    sds = [np.sqrt(fit.random_covariance_[name][0, 0]) for name in ("school", "year")]
    np.testing.assert_allclose(table["estimate"], [*sds, np.sqrt(fit.sigma2_)])


def test_without_random_terms(fits):
    for name in ("gee", "logit", "flat"):
        table = tidy(fits[name], effects="random")
        assert len(table) == 0 and list(table.columns) == ["effect", "group", "term", *NUMBERS]
    assert set(tidy(fits["mixed"], effects="random")["term"]) == {"SD of Intercept"}


def test_random_terms_of_a_posterior(fits):
    fit = fits["bayes"]
    table = tidy(fit, effects="random", level=0.8).set_index("term")
    covariance = fit.draws_["random_covariance"]
    sd = np.sqrt(covariance[..., 1, 1])
    assert table.loc["SD of dose", "estimate"] == pytest.approx(sd.mean())
    assert table.loc["SD of dose", "std_error"] == pytest.approx(sd.std(ddof=1))
    np.testing.assert_allclose(table.loc["SD of dose", ["conf_low", "conf_high"]].tolist(), np.quantile(sd, [0.1, 0.9]))
    correlation = covariance[..., 0, 1] / np.sqrt(covariance[..., 0, 0] * covariance[..., 1, 1])
    assert table.loc["Correlation of Intercept and dose", "estimate"] == pytest.approx(correlation.mean())
    assert table["p_value"].isna().all()


def test_rows_stack(fits):
    terms = pd.concat([tidy(fit).assign(model=name) for name, fit in fits.items()])
    assert len(terms) == sum(len(tidy(fit)) for fit in fits.values())
    rows = pd.concat([glance(fit) for fit in fits.values()])
    assert len(rows) == len(fits) and rows["model"].tolist()[:3] == ["MixedLinear", "MixedLinear", "MixedLogit"]


@pytest.mark.parametrize("name", ["linear", "ml", "mixed", "logit"])
def test_glance_of_likelihoods(name, fits):
    row = glance(fits[name]).iloc[0]
    found = compare(fits[name])
    table = found.to_frame().iloc[0]
    for column in ("n_params", "loglik", "aic", "bic"):
        assert row[column] == pytest.approx(table[column])
    assert row["deviance"] == -2.0 * fits[name].loglik_
    assert row["criterion"] == found.criterion
    assert row[["qic", "quasi_likelihood", "log_evidence"]].isna().all()


@pytest.mark.parametrize("name", ["gee", "regressor"])
def test_glance_of_a_gee(name, fits):
    row, found = glance(fits[name]).iloc[0], qic(fits[name])
    for column in ("qic", "qicu", "cic", "quasi_likelihood"):
        assert row[column] == pytest.approx(getattr(found, column))
    assert row["n_params"] == 3 and row["criterion"] == "quasi-likelihood" and np.isnan(row["aic"])
    assert row["sigma"] == pytest.approx(np.sqrt(fits[name].scale_))
    assert (row["n_clusters"] == 24) if name == "gee" else np.isnan(row["n_clusters"])


def test_glance_of_what_is_no_likelihood(fits):
    firth, survey, bayes = (glance(fits[name]).iloc[0] for name in ("firth", "survey", "bayes"))
    assert [row["criterion"] for row in (firth, survey, bayes)] == [
        "penalised likelihood",
        "pseudo-likelihood",
        "posterior",
    ]
    for row in (firth, survey, bayes):
        assert np.isnan(row["aic"]) and np.isnan(row["deviance"])
    assert firth["loglik"] == fits["firth"].loglik_ and survey["cov_type"] == "design"
    assert bayes["log_evidence"] == fits["bayes"].log_evidence_


def test_glance_says_how_many_and_whether_it_converged(fits):
    row = glance(fits["linear"]).iloc[0]
    assert (
        row["n_obs"] == N and row["n_clusters"] == 24 and row["converged"] and row["n_iter"] == fits["linear"].n_iter_
    )
    assert row["sigma"] == pytest.approx(np.sqrt(fits["linear"].sigma2_))
    with pytest.warns(UserWarning):
        stopped = LogitRegressor(max_iter=1).fit(X, CLASSES)
    assert not glance(stopped).loc[0, "converged"]
    counted = LogitRegressor().fit(X, CLASSES, sample_weight=np.full(N, 2))
    assert glance(counted).loc[0, "n_obs"] == 2 * N


def test_infinite_likelihood():
    with pytest.warns(UserWarning):
        perfect = MixedLinear(method="ml").fit(X, 2.0 * X["dose"], groups=GROUPS)
    row = glance(perfect).iloc[0]
    assert np.isnan(row["aic"]) and row["criterion"] == "ML"


def test_pipelines_and_fits_to_chunks(fits):
    from skdep.distributed import ArrayChunks, fit_chunks

    pipeline = make_pipeline(StandardScaler(), LogitRegressor()).fit(X, CLASSES)
    assert glance(pipeline).loc[0, "aic"] == pytest.approx(glance(fits["logit"]).loc[0, "aic"])
    assert len(tidy(pipeline)) == 3
    chunked = fit_chunks(LogitRegressor(), ArrayChunks(X, CLASSES, groups=np.sort(GROUPS), rows=60))
    assert glance(chunked).loc[0, "aic"] == pytest.approx(glance(fits["logit"]).loc[0, "aic"])
    with pytest.raises(TypeError):
        tidy(StandardScaler().fit(X))
    with pytest.raises(TypeError):
        glance(StandardScaler().fit(X))
