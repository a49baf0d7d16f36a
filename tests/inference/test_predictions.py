"""Predictions with standard errors: R's predict(se.fit) and emmeans, brute force, invariances, refusals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import expit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep.datasets
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_epil, load_ohio, load_orthodont, load_sleepstudy
from skdep.exceptions import CollinearityWarning
from skdep.inference import bootstrap, coef_table, linear_combinations, marginal_effects, predictions
from tests.conftest import REFERENCE

EXPECTED = json.loads((REFERENCE / "estimands.json").read_text())
PACKAGED = Path(skdep.datasets.__file__).parent / "data"
OHIO, SLEEP = load_ohio(), load_sleepstudy()
X, Y, CHILD = OHIO.data, OHIO.target, OHIO.groups
NEW = pd.DataFrame({"age": [-2.0, 0.0, 1.5], "smoke": [0.0, 1.0, 1.0]}, index=["a", "b", "c"])
FEW = CHILD % 5 == 0


@cache
def logit():
    return LogitRegressor(tol=1e-12).fit(X, Y, groups=CHILD)


@cache
def growth():
    jaws = load_orthodont()
    rows = pd.DataFrame({"age": jaws.data["age"], "girl": (jaws.data["Sex"] == "Female") * 1.0})
    rows["age_girl"] = rows["age"] * rows["girl"]
    kept = (np.arange(len(rows)) + 1) % 5 != 0
    return MixedLinear(random_slopes=["age"], tol=1e-12).fit(rows[kept], jaws.target[kept], groups=jaws.groups[kept])


@cache
def simulated():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(120), 8)
    rows = pd.DataFrame({"age": rng.normal(size=960), "smoke": rng.integers(0, 2, size=960)})
    effects = rng.normal(size=(120, 2)) * [1.0, 0.7]
    eta = -1.0 + 0.8 * rows["age"] + rows["smoke"] + effects[groups, 0] + effects[groups, 1] * rows["age"]
    return rows, (eta + rng.logistic(size=960) > 0).astype(int), groups


@cache
def multilevel():
    rows, y, groups = simulated()
    return MixedLogit(random_slopes=["age"], tol=1e-10).fit(rows, y, groups=groups)


# ------------------------------------------------------------------------------------------------------- against R


def agrees(est, new, expected, *, rtol=1e-6, **options):
    """Both scales against `predict(se.fit = TRUE)`; the response's interval is the link's, transformed."""
    link = predictions(est, new, kind="link", **options)
    assert_allclose(link["estimate"], expected["link"], rtol=rtol)
    assert_allclose(link["std_error"], expected["link_se"], rtol=rtol)
    response = predictions(est, new, **options)
    assert_allclose(response["estimate"], expected["response"], rtol=rtol)
    assert_allclose(response["std_error"], expected["response_se"], rtol=rtol)
    return link, response


def test_logistic_regression():
    link, response = agrees(logit(), NEW, EXPECTED["predict_logit"], cov_type="model")
    assert list(response.index) == ["a", "b", "c"] and list(link.columns) == list(response.columns)
    for end in ("conf_low", "conf_high"):
        assert_allclose(response[end], expit(link[end]), rtol=1e-12)
    half = stats.norm.ppf(0.975) * link["std_error"]
    assert_allclose(link["conf_high"] - link["estimate"], half, rtol=1e-12)


def test_counts_with_an_offset():
    epil = load_epil(as_frame=True)
    rows = pd.read_csv(PACKAGED / "epil.csv")
    design = pd.DataFrame({"lbase": np.log(rows["base"] / 4), "treat": (rows["trt"] == "progabide") * 1.0})
    fit = GEERegressor("poisson", cov_type="naive", tol=1e-12)
    fit.fit(design, rows["y"], offset=np.log(rows["age"]))
    new = pd.DataFrame({"lbase": [0.5, 2, 3], "treat": [0.0, 1, 1]})
    agrees(fit, new, EXPECTED["predict_poisson"], offset=np.log([20.0, 30, 40]))
    assert len(epil.target) == len(rows)


def test_a_link_that_falls():
    """The inverse link turns the interval around, and admits no mean below zero."""
    rows = pd.read_csv(PACKAGED / "epil.csv")
    design = pd.DataFrame({"lbase": np.log(rows["base"] / 4), "treat": (rows["trt"] == "progabide") * 1.0})
    fit = GEERegressor("gamma", cov_type="naive", tol=1e-13).fit(design, rows["y"] + 0.5)
    new = pd.DataFrame({"lbase": [0.5, 2, 3], "treat": [0.0, 1, 1]})
    link, response = agrees(fit, new, EXPECTED["predict_gamma"], rtol=1e-5)
    assert (response["conf_low"] < response["estimate"]).all() and (response["conf_high"] > response["estimate"]).all()
    assert_allclose(response["conf_low"], 1 / link["conf_high"])
    far = predictions(fit, pd.DataFrame({"lbase": [6.0], "treat": [1.0]}))
    assert far[["estimate", "std_error"]].isna().all(axis=None)


def test_a_line():
    expected = EXPECTED["predict_line"]
    new = pd.DataFrame({"Days": [0.0, 5, 12]})
    for est in (MixedLinear(), GEERegressor(cov_type="naive")):
        fit = est.fit(SLEEP.data, SLEEP.target)
        table = predictions(fit, new, df=expected["df"])
        assert_allclose(table["estimate"], expected["fit"], rtol=1e-10)
        for column in ("std_error", "conf_low", "conf_high"):
            assert_allclose(table[column], expected[column], rtol=1e-9)
        assert predictions(fit, new, kind="link", df=expected["df"]).equals(table)


def test_surveys():
    schools = pd.read_csv(PACKAGED / "apistrat.csv")
    design = {"sample_weight": schools["pw"], "strata": schools["stype"], "fpc": schools["fpc"]}
    features = schools[["ell", "meals", "mobility"]]
    new = pd.DataFrame({"ell": [0, 20, 60], "meals": [10, 50, 90], "mobility": [5, 15, 30]})
    fit = GEERegressor().fit(features, schools["api00"], **design)
    table = predictions(fit, new)
    assert_allclose(table["estimate"], EXPECTED["predict_survey"]["fit"], rtol=1e-9)
    assert_allclose(table["std_error"], EXPECTED["predict_survey"]["std_error"], rtol=1e-6)
    assert (table["df"] == coef_table(fit)["df"].iloc[0]).all()
    met = LogitRegressor(weight_type="sampling", tol=1e-12).fit(features, schools["sch.wide"] == "Yes", **design)
    agrees(met, new, EXPECTED["predict_survey_logit"])


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_adjusted_means_of_a_mixed_model(df):
    """emmeans over a grid: each with degrees of freedom of its own."""
    expected = EXPECTED["emmeans_growth"][df]
    grid = pd.DataFrame({"age": expected["age"], "girl": expected["girl"]}, dtype=float)
    table = predictions(growth(), grid.assign(age_girl=grid["age"] * grid["girl"]), df=df)
    assert_allclose(table["estimate"], expected["estimate"], rtol=1e-7)
    assert_allclose(table["std_error"], expected["std_error"], rtol=1e-6)
    for column in ("df", "conf_low", "conf_high"):
        assert_allclose(table[column], expected[column], rtol=1e-4)


def test_adjusted_means_of_a_logistic_model():
    """emmeans averages linear predictors over the values of the other feature."""
    expected = EXPECTED["emmeans_logit"]
    grid = pd.DataFrame({"age": X["age"].unique().mean(), "smoke": expected["smoke"]})
    table = predictions(logit(), grid, cov_type="model")
    link = predictions(logit(), grid, cov_type="model", kind="link")
    assert_allclose(link["estimate"], expected["link"], rtol=1e-6)
    assert_allclose(link["std_error"], expected["std_error"], rtol=1e-6)
    assert_allclose(table["conf_low"], expected["conf_low"], rtol=1e-6)
    assert_allclose(table["conf_high"], expected["conf_high"], rtol=1e-6)


def test_against_statsmodels():
    expected = sm.Logit(Y, sm.add_constant(X)).fit(disp=0, tol=1e-12).get_prediction(sm.add_constant(NEW))
    table = predictions(logit(), NEW, cov_type="model")
    frame = expected.summary_frame()
    assert_allclose(table["estimate"], frame["predicted"], rtol=1e-7)
    assert_allclose(table["std_error"], frame["se"], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------- brute force


FITS = {
    "logit": lambda: logit(),
    "gee": lambda: GEEClassifier(working_correlation="exchangeable").fit(X[FEW], Y[FEW], groups=CHILD[FEW]),
    "probit": lambda: GEEClassifier(link="probit").fit(X[FEW], Y[FEW], groups=CHILD[FEW]),
    "linear": lambda: MixedLinear().fit(X[FEW], Y[FEW].astype(float), groups=CHILD[FEW]),
    "flat": lambda: MixedLogit().fit(X[FEW], Y[FEW]),
}


@pytest.mark.parametrize("name", list(FITS))
def test_linear_predictors_are_combinations(name):
    fit = FITS[name]()
    table = predictions(fit, NEW, kind="link", level=0.9)
    rows = np.column_stack([np.ones(3), NEW])
    expected = linear_combinations(fit, rows, level=0.9)
    assert_allclose(table.to_numpy(), expected[list(table.columns)].to_numpy(), rtol=1e-9)
    means = predictions(fit, NEW)
    own = fit.predict_proba(NEW)[:, 1] if hasattr(fit, "classes_") else fit.predict(NEW)
    assert_allclose(means["estimate"], own, rtol=1e-10)
    step = 1e-6 * expected["std_error"].to_numpy()
    link = getattr(fit, "_link", None)
    inverse = expit if name in ("logit", "flat") else (lambda eta: eta) if link is None else link.inverse
    slope = (inverse(table["estimate"] + step) - inverse(table["estimate"] - step)) / (2 * step)
    assert_allclose(means["std_error"], slope * table["std_error"], rtol=1e-5)


def test_population_probabilities():
    """The delta method by differences, over coefficients and covariances of random effects; and the interval."""
    fit = multilevel()
    table = predictions(fit, NEW)
    assert_allclose(table["estimate"], fit.predict_proba(NEW)[:, 1], rtol=1e-10)
    theta = np.concatenate([fit.intercept_, fit.coef_[0], fit.random_covariance_["group"][np.tril_indices(2)]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def mean(theta, row):
        z = np.array([1.0, row[0]])
        sigma = np.array([[theta[3], theta[4]], [theta[4], theta[5]]])
        eta = theta[0] + row @ theta[1:3]
        return weights @ expit(eta + np.sqrt(z @ sigma @ z) * nodes)

    from skdep.inference._delta_method import joint_covariance

    V = joint_covariance(fit, None)
    order = [0, 1, 2, 3, 4, 5]  # the lower triangle column by column is that row by row, of two effects
    for k, row in enumerate(NEW.to_numpy()):
        assert mean(theta, row) == pytest.approx(table["estimate"].iloc[k], rel=1e-6)
        steps = 1e-5 * np.eye(6)
        gradient = np.array([(mean(theta + h, row) - mean(theta - h, row)) / 2e-5 for h in steps])[order]
        se = np.sqrt(gradient @ V @ gradient)
        assert table["std_error"].iloc[k] == pytest.approx(se, rel=1e-5)
        p = table["estimate"].iloc[k]
        low = expit(np.log(p / (1 - p)) - stats.norm.ppf(0.975) * se / (p * (1 - p)))
        assert table["conf_low"].iloc[k] == pytest.approx(low, rel=1e-6)


def test_population_probabilities_are_what_marginal_effects_compare():
    """The difference of two predictions is a marginal effect of a row, whose standard error is known."""
    fit = multilevel()
    row = pd.DataFrame({"age": [0.4], "smoke": [1.0]})
    effect = marginal_effects(fit, row, features="smoke", discrete={"smoke": [0.0, 1.0]}).iloc[0]
    both = predictions(fit, pd.concat([row.assign(smoke=0.0), row]))["estimate"].to_numpy()
    assert effect["estimate"] == pytest.approx(both[1] - both[0], rel=1e-9)


def test_standard_error_of_a_population_probability_is_that_of_refits():
    """Outcomes simulated from the fit, each fitted again."""
    fit, new = multilevel(), NEW.iloc[[1]]
    rows, y, groups = simulated()
    drawn = bootstrap(
        fit, rows, y, groups=groups, statistic=lambda model: model.predict_proba(new)[:, 1], n_boot=80, random_state=0
    )
    assert predictions(fit, new)["std_error"].iloc[0] == pytest.approx(drawn.replicates.std(ddof=1), rel=0.2)


def test_given_groups():
    """Conditional predictions of a linear mixed model reuse the estimator's errors; unknown levels are the mean."""
    fit = MixedLinear(random_slopes=["Days"]).fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups)
    new, subject = SLEEP.data.iloc[:5], np.array([308, 308, 309, 310, 999])
    table = predictions(fit, new, groups=subject, level=0.8)
    mean, sd = fit.predict(new, groups=subject, return_std=True)
    assert_allclose(table["estimate"], mean)
    assert_allclose(table["std_error"], sd)
    assert_allclose(table["conf_low"], mean - stats.norm.ppf(0.9) * sd)
    assert np.isinf(table["df"]).all()
    assert (predictions(fit, new, groups=subject, df=10)["df"] == 10).all()
    population = predictions(fit, new)
    assert table["estimate"].iloc[-1] == pytest.approx(population["estimate"].iloc[-1])
    assert (population["std_error"] ** 2).tolist() == pytest.approx(
        [row @ fit.covariance_ @ row for row in np.column_stack([np.ones(5), new])]
    )


# ------------------------------------------------------------------------------------------------------- posterior


def test_of_a_posterior():
    flat = BayesLogit(n_draws=400, random_state=0).fit(X[FEW], Y[FEW])
    table = predictions(flat, NEW, level=0.8)
    drawn = flat.draws_["intercept"].ravel()[:, None] + flat.draws_["coef"].reshape(-1, 2) @ NEW.to_numpy().T
    assert_allclose(table["estimate"], expit(drawn).mean(axis=0), rtol=1e-10)
    assert_allclose(table["std_error"], expit(drawn).std(axis=0), rtol=1e-3)
    assert_allclose(table["conf_low"], np.quantile(expit(drawn), 0.1, axis=0), rtol=1e-8)
    link = predictions(flat, NEW, kind="link", level=0.8, offset=[0.0, 1.0, 0.0])
    moved = drawn + np.array([0.0, 1.0, 0.0])
    assert_allclose(link["estimate"], moved.mean(axis=0), rtol=1e-8)
    assert_allclose(link["conf_high"], np.quantile(moved, 0.9, axis=0), rtol=1e-8)
    assert list(table.index) == ["a", "b", "c"] and table["df"].isna().all()
    for options in ({"cov_type": "model"}, {"df": 3}):
        for kind in ("link", "response"):
            with pytest.raises(ValueError, match="posterior has one covariance"):
                predictions(flat, NEW, kind=kind, **options)


def test_of_a_posterior_given_groups():
    fit = BayesLogit(n_draws=200, random_state=0).fit(X[FEW], Y[FEW], groups=CHILD[FEW])
    known = np.unique(CHILD[FEW])[[0, 5, -1]]
    table = predictions(fit, NEW, groups=known)
    proba, std = fit.predict_proba(NEW, groups=known, return_std=True)
    assert_allclose(table[["estimate", "std_error"]], np.column_stack([proba[:, 1], std]))
    with pytest.raises(ValueError, match="kind='link' is for predictions of the population"):
        predictions(fit, NEW, groups=known, kind="link")
    assert predictions(fit, NEW)["estimate"].tolist() == pytest.approx(fit.predict_proba(NEW)[:, 1].tolist())


# ------------------------------------------------------------------------------------------ invariances, collinearity


def test_units_and_pipelines():
    direct = predictions(logit(), NEW, df=50)
    moved = LogitRegressor(tol=1e-12).fit(1000.0 * X + 3.0, Y, groups=CHILD)
    assert_allclose(predictions(moved, 1000.0 * NEW + 3.0, df=50).to_numpy(), direct.to_numpy(), rtol=1e-7)
    pipe = make_pipeline(StandardScaler(), LogitRegressor(tol=1e-12)).fit(X, Y, logitregressor__groups=CHILD)
    through = predictions(pipe, NEW, df=50)
    assert_allclose(through.to_numpy(), direct.to_numpy(), rtol=1e-7)
    assert list(through.index) == list(NEW.index)
    array = predictions(LogitRegressor().fit(X.to_numpy(), Y), NEW.to_numpy())
    assert list(array.index) == [0, 1, 2]


def test_rows_under_collinearity():
    """Rows that have the relation of the features are estimable, and as they are without the superfluous feature."""
    double = X.assign(months=12.0 * X["age"] + 108.0)
    with pytest.warns(CollinearityWarning):
        fit = LogitRegressor(tol=1e-12).fit(double, Y, groups=CHILD)
    table = predictions(fit, NEW.assign(months=12.0 * NEW["age"] + 108.0))
    assert_allclose(table.to_numpy(), predictions(logit(), NEW).to_numpy(), rtol=1e-6)
    broken = NEW.assign(months=[84.0, 108.0, 0.0])
    assert predictions(fit, broken)["std_error"].isna().any()


def test_features_with_random_effects_only():
    rows = SLEEP.data.assign(late=(SLEEP.data["Days"] > 4) * 1.0)
    fit = MixedLinear(random_slopes=["late"], random_only=["late"]).fit(rows, SLEEP.target, groups=SLEEP.groups)
    table = predictions(fit, rows.iloc[:3])
    assert_allclose(table["estimate"], fit.predict(rows.iloc[:3]))
    design = np.column_stack([np.ones(3), rows["Days"][:3]])
    assert_allclose(table["std_error"], np.sqrt(np.einsum("np,pq,nq->n", design, fit.covariance_, design)), rtol=1e-8)


def test_many_rows_have_degrees_of_freedom_of_their_own():
    many = pd.DataFrame({"age": np.linspace(8, 14, 3001), "girl": 0.0, "age_girl": 0.0})
    table = predictions(growth(), many)
    for k in (0, 1500, 3000):
        row = linear_combinations(growth(), np.concatenate([[1.0], many.iloc[k]])).iloc[0]
        assert table.iloc[k]["df"] == pytest.approx(row["df"], rel=1e-9)
        assert table.iloc[k]["conf_low"] == pytest.approx(row["conf_low"], rel=1e-9)


def test_without_an_intercept():
    fit = GEERegressor("poisson", fit_intercept=False).fit(X + 3.0, Y + 1.0, groups=CHILD)
    row = (NEW + 3.0).to_numpy()
    table = predictions(fit, NEW + 3.0)
    link = np.einsum("np,pq,nq->n", row, fit.covariance_, row)
    assert_allclose(table["std_error"], np.exp(row @ fit.coef_) * np.sqrt(link), rtol=1e-9)


# -------------------------------------------------------------------------------------------------------- refusals


def test_refusals():
    for kind in ("mean", "terms", None):
        with pytest.raises(ValueError, match="kind must be 'response' or 'link'"):
            predictions(logit(), NEW, kind=kind)
    with pytest.raises(ValueError, match="between 0 and 1"):
        predictions(logit(), NEW, level=95)
    with pytest.raises(ValueError, match="not available for this fit"):
        predictions(logit(), NEW, cov_type="kc")
    with pytest.raises(ValueError, match="feature names"):
        predictions(logit(), NEW.rename(columns={"age": "years"}))
    with pytest.raises(ValueError, match="MixedLogit given its groups have no standard errors"):
        predictions(multilevel(), NEW, groups=[0, 1, 2])
    fit = MixedLinear().fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups)
    with pytest.raises(ValueError, match="covariance of the model, not cov_type='robust'"):
        predictions(fit, SLEEP.data, groups=SLEEP.groups, cov_type="robust")
    with pytest.raises(ValueError, match="is for predictions of the population"):
        predictions(fit, SLEEP.data, groups=SLEEP.groups, df="satterthwaite")
    with pytest.raises(TypeError, match="no fitted skdep estimator"):
        predictions(StandardScaler().fit(X), NEW)


def test_raw_data_of_a_formula():
    """Rows as the formula takes them; an offset in the formula counts."""
    pytest.importorskip("formulaic")
    frame = pd.read_csv(PACKAGED / "epil.csv")
    fit = GEERegressor.from_formula("y ~ log(base / 4) + trt + offset(log(age))", frame, family="poisson")
    table = predictions(fit, frame.iloc[[0, 100]])
    assert list(table.index) == [0, 100]
    assert_allclose(table["estimate"], fit.predict(frame.iloc[[0, 100]]), rtol=1e-10)
    design = fit.formula_.features(frame.iloc[[0, 100]])
    by_hand = predictions(fit, design, offset=np.log(frame["age"].iloc[[0, 100]]))
    assert_allclose(table.to_numpy(), by_hand.to_numpy(), rtol=1e-12)
