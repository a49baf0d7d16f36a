"""Average marginal effects: statsmodels, finite differences of predictions and of parameters, invariances, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from given_mixed_logit import GivenMixedLogit
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import expit
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio, load_sleepstudy
from skdep.exceptions import CollinearityWarning
from skdep.inference import coef_table, marginal_effects
from skdep.links import Link
from skdep.mixed.terms import INTERCEPT

RNG = np.random.default_rng(11)
N = 240
GROUPS = np.arange(N) % 40
DATA = pd.DataFrame(
    {
        "dose": RNG.normal(5.0, 2.0, size=N),
        "age": RNG.normal(size=N),
        "treated": RNG.integers(0, 2, size=N),
        "region": RNG.choice(["north", "south", "west"], size=N),
        "visit": RNG.integers(1, 4, size=N),
    }
)
NUMBERS = DATA[["dose", "age", "treated"]]
ETA = -2.0 + 0.3 * DATA["dose"] - 0.5 * DATA["age"] + 0.7 * DATA["treated"] + 0.8 * (DATA["region"] == "west")
Y = (ETA + RNG.logistic(size=N) > 0).astype(int).to_numpy()
CATEGORIES = make_column_transformer((OneHotEncoder(drop="first"), ["region"]), remainder="passthrough")


def by_differences(predict, X, feature, step):
    """Average slope of predictions by central differences."""
    return np.mean(
        predict(X.assign(**{feature: X[feature] + step})) - predict(X.assign(**{feature: X[feature] - step}))
    ) / (2.0 * step)


def gradient(function, parameters):
    """Derivatives (m, p) of a function of the parameters, by central differences."""
    steps = 1e-5 * np.eye(len(parameters)) * np.maximum(np.abs(parameters), 0.1)
    return np.column_stack(
        [(function(parameters + step) - function(parameters - step)) / (2.0 * step.sum()) for step in steps]
    )


def effects_of(mean, rows, binary):
    """Average effects of all columns of a mean function: differences for those in `binary`, else slopes."""
    found = []
    for j in range(rows.shape[1]):
        above, below, step = rows.copy(), rows.copy(), 1e-5 * max(np.std(rows[:, j]), 1e-3)
        if j in binary:
            above[:, j], below[:, j], step = 1.0, 0.0, 0.5
        else:
            above[:, j] += step
            below[:, j] -= step
        found.append(np.mean(mean(above) - mean(below)) / (2.0 * step))
    return np.array(found)


# ------------------------------------------------------------------------------------------- another program


@pytest.mark.parametrize("cov_type", ["model", "hc0"])
def test_against_statsmodels(cov_type):
    fit = LogitRegressor(tol=1e-12).fit(NUMBERS, Y)
    options = {"cov_type": "nonrobust" if cov_type == "model" else "HC0", "disp": 0, "method": "newton", "tol": 1e-12}
    other = sm.Logit(Y, sm.add_constant(NUMBERS)).fit(**options).get_margeff(dummy=True)
    table = marginal_effects(fit, NUMBERS, cov_type=cov_type)
    assert list(table.index) == ["dose", "age", "treated"]
    assert list(table["change"]) == ["slope", "slope", "1 - 0"]
    assert_allclose(table["estimate"], other.margeff, rtol=1e-8)
    assert_allclose(table["std_error"], other.margeff_se, rtol=1e-7)
    assert_allclose(table["p_value"], other.pvalues, rtol=1e-6)
    assert_allclose(table[["conf_low", "conf_high"]], other.conf_int(0.05), rtol=1e-6)


# ---------------------------------------------------------------------------------- brute force, no random effects


class Square(Link):
    """eta = sqrt(mu), for mu above zero: a user's link, which need not know second derivatives."""

    name = "square"
    positive = True

    def link(self, mu):
        return np.sqrt(mu)

    def inverse(self, eta):
        return eta**2

    def inverse_derivative(self, eta, mu):
        return 2.0 * eta


@pytest.mark.parametrize(
    ("family", "link"),
    [
        ("poisson", None),
        ("gamma", "log"),
        ("gamma", "inverse"),
        ("inverse_gaussian", "inverse_squared"),
        ("gaussian", None),
        ("poisson", "sqrt"),
        ("poisson", Square()),
    ],
    ids=str,
)
def test_links_of_regressors(family, link):
    rng = np.random.default_rng(5)
    y = np.exp(1.0 + 0.1 * DATA["age"]) * rng.gamma(6.0, 1.0 / 6.0, size=N) + 0.1
    offset = 0.05 * np.cos(np.arange(N))
    y = np.round(y + 1.0) if family == "poisson" else y
    fit = GEERegressor(family, link=link).fit(NUMBERS, y, groups=GROUPS, offset=offset)
    rows, parameters = NUMBERS.to_numpy(float), fit._inference.estimate

    def effects(values):
        return effects_of(lambda X: fit._link.inverse(values[0] + X @ values[1:] + offset), rows, binary={2})

    table = marginal_effects(fit, NUMBERS, offset=offset)
    assert_allclose(table["estimate"], effects(parameters), rtol=1e-6, atol=1e-8)
    jacobian = gradient(effects, parameters)
    expected = np.sqrt(np.diag(jacobian @ fit.covariance_ @ jacobian.T))
    assert_allclose(table["std_error"], expected, rtol=1e-5)


@pytest.mark.parametrize("link", ["probit", "cloglog", "loglog", "cauchit", None])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_links_of_classifiers(link, fit_intercept):
    fit = GEEClassifier(link=link, fit_intercept=fit_intercept).fit(NUMBERS, Y, groups=GROUPS)
    rows, parameters, split = NUMBERS.to_numpy(float), fit._inference.estimate, int(fit_intercept)

    def effects(values):
        constant = values[0] if split else 0.0
        return effects_of(lambda X: fit._link.inverse(constant + X @ values[split:]), rows, binary={2})

    table = marginal_effects(fit, NUMBERS)
    assert_allclose(table["estimate"], effects(parameters), rtol=1e-6)
    jacobian = gradient(effects, parameters)
    assert_allclose(table["std_error"], np.sqrt(np.diag(jacobian @ fit.covariance_ @ jacobian.T)), rtol=1e-5)


@pytest.mark.parametrize("df", [None, "kenward-roger", "normal", 7])
def test_effects_of_a_linear_mixed_model_are_its_coefficients(df):
    sleep = load_sleepstudy()
    X = sleep.data.assign(late=(sleep.data["Days"] > 5).astype(int))
    fit = MixedLinear(["Days"]).fit(X, sleep.target, groups=sleep.groups)
    table = marginal_effects(fit, X, df=df)
    assert_allclose(table.drop(columns="change"), coef_table(fit, df=df).iloc[1:], rtol=1e-9)


# ------------------------------------------------------------------------------------- brute force, random effects


def probabilities(rows, coefficients, sigma, nodes=60):
    """Probabilities averaged over normal random effects, by Gauss-Hermite quadrature of the linear predictor."""
    x, w = np.polynomial.hermite.hermgauss(nodes)
    variance = np.zeros(len(rows))
    for columns, matrix in sigma.values():
        Z = np.column_stack([np.ones(len(rows)) if c == INTERCEPT else rows[:, c] for c in columns])
        variance += np.sum((Z @ matrix) * Z, axis=1)
    eta = coefficients[0] + rows @ coefficients[1:]
    return expit(eta[:, None] + np.sqrt(2.0 * variance)[:, None] * x) @ w / np.sqrt(np.pi)


COEFFICIENTS = np.array([-1.0, 0.25, -0.6, 0.5])
SIGMAS = {
    "intercepts": {"school": ((INTERCEPT,), np.array([[1.3]]))},
    "slope": {"school": ((INTERCEPT, 0), np.array([[0.8, -0.1], [-0.1, 0.09]]))},
    "slopes": {"school": ((INTERCEPT, 1, 2), np.array([[0.5, 0.2, 0.1], [0.2, 0.6, -0.2], [0.1, -0.2, 0.4]]))},
    "no intercept": {"school": ((1,), np.array([[0.7]]))},
    "two factors": {
        "school": ((INTERCEPT, 2), np.array([[0.5, 0.2], [0.2, 0.6]])),
        "town": ((INTERCEPT, 1), np.array([[0.3, -0.1], [-0.1, 0.2]])),
    },
}


def unpacked(entries, sigma):
    """Return the factors with Sigma = U T T' U' from the entries of T of all factors, in reversed order."""
    result, begin = {}, 0
    for name in reversed(sigma):
        columns = sigma[name][0]
        q = len(columns)
        T = np.zeros((q, q))
        n_entries = q * (q + 1) // 2
        T.T[np.triu_indices(q)] = entries[begin : begin + n_entries]
        root = working_map(q) @ T
        result[name] = (columns, root @ root.T)
        begin += n_entries
    return result


def working_map(q):
    return np.eye(q) + np.triu(np.full((q, q), 0.3), 1)


@pytest.mark.parametrize("case", SIGMAS)
def test_population_effects_of_a_logistic_mixed_model(case):
    """Random effects integrated out; variances move with features that have random slopes; Sigma is estimated too."""
    sigma, rows = SIGMAS[case], NUMBERS.to_numpy(float)[:60]
    to_user = {name: working_map(len(columns)) for name, (columns, _) in sigma.items()}
    entries = []
    for name in reversed(sigma):
        root = np.linalg.inv(to_user[name])
        T = np.linalg.cholesky(root @ sigma[name][1] @ root.T)
        entries.append(T.T[np.triu_indices(len(T))])
    parameters = np.concatenate([COEFFICIENTS, *entries])
    spread = np.random.default_rng(3).normal(size=(len(parameters), len(parameters)))
    joint = 0.01 * spread @ spread.T
    fit = GivenMixedLogit(COEFFICIENTS, joint[:4, :4], sigma, joint=joint, to_user=to_user).fit(NUMBERS)

    def effects(values):
        return effects_of(lambda X: probabilities(X, values[:4], unpacked(values[4:], sigma)), rows, binary={2})

    table = marginal_effects(fit, NUMBERS[:60])
    assert_allclose(table["estimate"], effects(parameters), rtol=1e-5)
    jacobian = gradient(effects, parameters)
    assert_allclose(table["std_error"], np.sqrt(np.diag(jacobian @ joint @ jacobian.T)), rtol=1e-4)
    robust = marginal_effects(fit, NUMBERS[:60], cov_type="robust")
    assert_allclose(robust["std_error"], 2.0 * table["std_error"], rtol=1e-12)


# library(lme4); m <- glmer(resp ~ age + smoke + (1 | id), ohio, binomial, nAGQ = 25, control = glmerControl(
#   optimizer = "bobyqa", tolPwrss = 1e-12, optCtrl = list(rhoend = 1e-9, maxfun = 1e5)))
# v <- as.numeric(VarCorr(m)$id); X <- getME(m, "X"); b <- fixef(m)
# slope <- function(eta) integrate(function(u) dlogis(eta + u) * dnorm(u, 0, sqrt(v)), -Inf, Inf, rel.tol = 1e-12)$value
# b[2] * mean(sapply(X %*% b, slope)), and the same with plogis for X[, 3] <- 1 less that for X[, 3] <- 0
def test_a_mixed_fit_against_r():
    ohio = load_ohio()
    fit = MixedLogit(n_quadrature=25, tol=1e-12).fit(ohio.data, ohio.target, groups=ohio.groups)
    table = marginal_effects(fit, ohio.data)
    assert_allclose(table["estimate"], [-0.0145817281230, 0.0338433162719], rtol=2e-5)
    # the marginal model estimates the same effects, with much the same precision
    gee = GEEClassifier(working_correlation="exchangeable").fit(ohio.data, ohio.target, groups=ohio.groups)
    marginal = marginal_effects(gee, ohio.data)
    assert np.abs((table["estimate"] - marginal["estimate"]) / marginal["std_error"]).max() < 0.1
    robust = marginal_effects(fit, ohio.data, cov_type="robust")
    assert_allclose(robust["std_error"], marginal["std_error"], rtol=0.03)


@pytest.fixture(scope="module")
def mixed():
    """A model of two crossed factors, with a slope of a feature far from its origin."""
    rng = np.random.default_rng(6)
    X = pd.DataFrame({"year": rng.integers(0, 8, size=900) + 50.0, "x": rng.normal(size=900)})
    groups = pd.DataFrame({"school": np.arange(900) % 45, "town": rng.integers(0, 20, size=900)})
    effects = rng.normal(size=(45, 2))[groups["school"]] * [0.8, 0.3]
    town = rng.normal(scale=0.6, size=20)[groups["town"]]
    eta = 0.5 * X["x"] + effects[:, 0] + (0.1 + effects[:, 1]) * (X["year"] - 53.0) + town
    y = (eta + rng.logistic(size=900) > 0).astype(int)
    return MixedLogit({"school": ["year"]}).fit(X, y, groups=groups), X


def test_effects_of_a_mixed_fit_are_differences_of_its_predictions(mixed):
    fit, X = mixed
    table = marginal_effects(fit, X, discrete={"year": [50, 57]})
    assert list(table["change"]) == ["57 - 50", "slope"]

    def predict(X):
        return fit.predict_proba(X)[:, 1]

    difference = np.mean(predict(X.assign(year=57.0)) - predict(X.assign(year=50.0)))
    assert table.loc["year", "estimate"] == pytest.approx(difference, rel=1e-9)
    assert table.loc["x", "estimate"] == pytest.approx(by_differences(predict, X, "x", 1e-4), rel=1e-6)
    slope = marginal_effects(fit, X, features="year").loc["year", "estimate"]
    assert slope == pytest.approx(by_differences(predict, X, "year", 1e-4), rel=1e-6)


def test_standard_errors_of_a_mixed_fit_by_differences_of_its_parameters(mixed):
    fit, X = mixed
    model, rows = fit._model, X.to_numpy()
    parameters = np.concatenate([fit._inference.estimate, model.parameters.pack(model.factors)])

    def effects(values):
        factors = zip(fit._working_order, model.to_user, model.parameters.unpack(values[3:]), strict=True)
        sigma = {name: (fit._random_columns[name], U @ T @ T.T @ U.T) for name, U, T in factors}
        return effects_of(lambda rows: probabilities(rows, values[:3], sigma), rows, binary=set())

    assert_allclose(marginal_effects(fit, X)["estimate"], effects(parameters), rtol=1e-5)
    jacobian = gradient(effects, parameters)
    expected = np.sqrt(np.diag(jacobian @ model.parameter_covariance @ jacobian.T))
    assert_allclose(marginal_effects(fit, X)["std_error"], expected, rtol=1e-4)


def test_population_effects_against_simulated_clusters():
    """Differences of outcomes simulated with new clusters for every row."""
    sigma = SIGMAS["slope"]
    fit = GivenMixedLogit(COEFFICIENTS, np.eye(4), sigma).fit(NUMBERS)
    rng = np.random.default_rng(4)
    X = NUMBERS.to_numpy(float)[rng.integers(0, N, size=400_000)]
    effects = rng.multivariate_normal(np.zeros(2), sigma["school"][1], size=len(X))
    eta = COEFFICIENTS[0] + X @ COEFFICIENTS[1:] + effects[:, 0] + effects[:, 1] * X[:, 0]
    first = expit(eta) * expit(-eta)
    table = marginal_effects(fit, NUMBERS)
    slope = first * (COEFFICIENTS[1] + effects[:, 1])
    assert table.loc["dose", "estimate"] == pytest.approx(slope.mean(), abs=4.0 * slope.std() / np.sqrt(len(X)))
    slope = first * COEFFICIENTS[2]
    assert table.loc["age", "estimate"] == pytest.approx(slope.mean(), abs=4.0 * slope.std() / np.sqrt(len(X)))


def test_a_mixed_model_without_variance_is_plain():
    fit = LogitRegressor().fit(NUMBERS, Y)
    zero = {"school": ((INTERCEPT, 0), np.zeros((2, 2)) + 1e-14 * np.eye(2))}
    given = GivenMixedLogit(fit._inference.estimate, fit.covariance_, zero).fit(NUMBERS)
    expected = marginal_effects(fit, NUMBERS)
    assert_allclose(marginal_effects(given, NUMBERS).drop(columns="change"), expected.drop(columns="change"), rtol=1e-8)


# ------------------------------------------------------------------------------------------------------ pipelines


def test_scaling_does_not_matter():
    plain = LogitRegressor(tol=1e-12).fit(NUMBERS, Y)
    pipe = make_pipeline(StandardScaler(), LogitRegressor(tol=1e-12)).fit(NUMBERS, Y)
    first, second = marginal_effects(plain, NUMBERS), marginal_effects(pipe, NUMBERS)
    assert list(second.index) == list(first.index) and list(second["change"]) == list(first["change"])
    assert_allclose(second.drop(columns="change"), first.drop(columns="change"), rtol=1e-6)
    search = GridSearchCV(make_pipeline(StandardScaler(), LogitRegressor()), {"logitregressor__tol": [1e-12]}, cv=2)
    assert_allclose(marginal_effects(search.fit(NUMBERS, Y), NUMBERS)["estimate"], first["estimate"], rtol=1e-6)


def cubes(X):
    return np.hstack([X, X**3])


@pytest.mark.parametrize(
    "transformer",
    [
        PolynomialFeatures(2, include_bias=False),
        SplineTransformer(4),
        FunctionTransformer(cubes),
    ],
    ids=["products", "splines", "cubes"],
)
def test_columns_made_of_a_feature_move_together(transformer):
    rows = NUMBERS[["dose", "age"]]
    pipe = make_pipeline(StandardScaler(), transformer, LogitRegressor(penalty="l2", C=10.0, tol=1e-12)).fit(rows, Y)
    table = marginal_effects(pipe, rows)

    def predict(X):
        return pipe.predict_proba(X)[:, 1]

    for feature in rows:
        assert table.loc[feature, "estimate"] == pytest.approx(by_differences(predict, rows, feature, 1e-4), rel=1e-5)
    inner = pipe[-1]
    parameters = inner._inference.estimate

    def effects(values):
        def mean(X):
            return expit(values[0] + pipe[:-1].transform(X) @ values[1:])

        return np.array([by_differences(mean, rows, feature, 1e-4) for feature in rows])

    jacobian = gradient(effects, parameters)
    assert_allclose(table["std_error"], np.sqrt(np.diag(jacobian @ inner.covariance_ @ jacobian.T)), rtol=1e-4)


def test_categories_are_compared_with_the_first():
    pipe = make_pipeline(CATEGORIES, LogitRegressor(tol=1e-12)).fit(DATA, Y)
    table = marginal_effects(pipe, DATA, features="region")
    assert list(table["change"]) == ["south - north", "west - north"]
    mean = {name: pipe.predict_proba(DATA.assign(region=name))[:, 1].mean() for name in ("north", "south", "west")}
    assert_allclose(table["estimate"], [mean["south"] - mean["north"], mean["west"] - mean["north"]], rtol=1e-10)
    other = marginal_effects(pipe, DATA, features=["region"], discrete={"region": ["west", "north"]})
    assert list(other["change"]) == ["north - west"]
    assert other["estimate"].iloc[0] == pytest.approx(-table["estimate"].iloc[1], rel=1e-12)
    assert other["std_error"].iloc[0] == pytest.approx(table["std_error"].iloc[1], rel=1e-12)
    categorical = DATA.assign(region=pd.Categorical(DATA["region"], categories=["west", "east", "north", "south"]))
    assert list(marginal_effects(pipe, categorical, features="region")["change"]) == ["north - west", "south - west"]


def test_all_indicators_of_a_category_with_an_intercept():
    """Indicators are collinear, effects of the category are not."""
    full = make_column_transformer((OneHotEncoder(), ["region"]), remainder="passthrough")
    with pytest.warns(CollinearityWarning):
        redundant = make_pipeline(full, LogitRegressor(tol=1e-12)).fit(DATA, Y)
    reduced = make_pipeline(CATEGORIES, LogitRegressor(tol=1e-12)).fit(DATA, Y)
    first, second = marginal_effects(redundant, DATA), marginal_effects(reduced, DATA)
    assert_allclose(first.drop(columns="change"), second.drop(columns="change"), rtol=1e-6)


def test_collinear_features_have_no_effect_of_their_own():
    X = NUMBERS.assign(twice=2.0 * NUMBERS["dose"] + 1.0)
    with pytest.warns(CollinearityWarning):
        fit = LogitRegressor(tol=1e-12).fit(X, Y)
    table = marginal_effects(fit, X)
    assert_array_equal(np.isnan(table["std_error"]), [True, False, False, True])
    expected = marginal_effects(LogitRegressor(tol=1e-12).fit(NUMBERS, Y), NUMBERS)
    compared = ["estimate", "std_error"]
    assert_allclose(table.loc[["age", "treated"], compared], expected.loc[["age", "treated"], compared], rtol=1e-7)
    X = NUMBERS.assign(twice=2.0 * NUMBERS["dose"])
    with pytest.warns(CollinearityWarning):
        gee = GEEClassifier(link="probit", fit_intercept=False).fit(X, Y)
    assert_array_equal(np.isnan(marginal_effects(gee, X)["std_error"]), [True, False, False, True])


def test_columns_that_do_not_reach_the_model():
    chosen = make_column_transformer((OneHotEncoder(drop="first"), ["region"]), ("passthrough", ["dose"]))
    pipe = make_pipeline(chosen, LogitRegressor()).fit(DATA, Y)
    named = DATA.assign(patient=[f"p{i}" for i in range(N)])
    assert list(marginal_effects(pipe, named).index) == ["dose", "region", "region"]
    row = marginal_effects(pipe, named, features="age").loc["age"]
    assert row["estimate"] == 0.0 and row["std_error"] == 0.0


def test_numbers_that_stand_for_categories():
    coded = make_column_transformer((OneHotEncoder(drop="first"), ["visit"]), ("passthrough", ["dose"]))
    pipe = make_pipeline(coded, LogitRegressor(tol=1e-12)).fit(DATA, Y)
    with pytest.raises(ValueError, match=r"takes no slightly changed values of feature 'visit'.*discrete=\['visit'\]"):
        marginal_effects(pipe, DATA)
    table = marginal_effects(pipe, DATA, features="visit", discrete=["visit"])
    assert list(table["change"]) == ["2 - 1", "3 - 1"]
    mean = [pipe.predict_proba(DATA.assign(visit=visit))[:, 1].mean() for visit in (1, 2, 3)]
    assert_allclose(table["estimate"], [mean[1] - mean[0], mean[2] - mean[0]], rtol=1e-10)
    ignoring = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["visit"]), ("passthrough", ["dose"]))
    with pytest.warns(CollinearityWarning):
        silent = make_pipeline(ignoring, LogitRegressor()).fit(DATA, Y)
    with pytest.raises(ValueError, match="it has no slope"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        marginal_effects(silent, DATA, features="visit")


def test_bins_have_no_slope_at_their_edges():
    bins = KBinsDiscretizer(3, encode="onehot-dense", strategy="quantile", quantile_method="averaged_inverted_cdf")
    with pytest.warns(CollinearityWarning):
        pipe = make_pipeline(bins, LogitRegressor()).fit(NUMBERS[["dose"]], Y)
    edge = NUMBERS[["dose"]].assign(dose=pipe[0].bin_edges_[0][1])
    with pytest.raises(ValueError, match="jumps at them"):
        marginal_effects(pipe, edge)
    compared = marginal_effects(pipe, edge, discrete={"dose": [2.0, 8.0]})
    low, high = (pipe.predict_proba(pd.DataFrame({"dose": [dose]}))[0, 1] for dose in (2.0, 8.0))
    assert compared["change"].tolist() == ["8 - 2"]
    assert compared["estimate"].iloc[0] == pytest.approx(high - low, rel=1e-10)


def test_booleans_and_arrays():
    X = NUMBERS.assign(treated=NUMBERS["treated"].astype(bool))
    pipe = make_pipeline(StandardScaler(), LogitRegressor()).fit(X, Y)
    table = marginal_effects(pipe, X)
    assert list(table["change"]) == ["slope", "slope", "True - False"]
    array = make_pipeline(StandardScaler(), LogitRegressor()).fit(NUMBERS.to_numpy(), Y)
    found = marginal_effects(array, NUMBERS.to_numpy())
    assert list(found.index) == ["x0", "x1", "x2"]
    assert_allclose(found["estimate"], table["estimate"], rtol=1e-8)
    plain = marginal_effects(LogitRegressor().fit(NUMBERS.to_numpy(), Y), NUMBERS.to_numpy(), features=[2, "x0"])
    assert list(plain.index) == ["x2", "x0"]
    assert_allclose(plain["estimate"], table["estimate"].iloc[[2, 0]], rtol=1e-6)


# ----------------------------------------------------------------------------------------- averages and invariances


def test_weights_are_rows():
    fit = LogitRegressor().fit(NUMBERS, Y)
    counts = RNG.integers(0, 4, size=N)
    rows = NUMBERS.loc[np.repeat(np.arange(N), counts)]
    weighted = marginal_effects(fit, NUMBERS, sample_weight=counts)
    assert_allclose(weighted.drop(columns="change"), marginal_effects(fit, rows).drop(columns="change"), rtol=1e-9)
    shuffled = marginal_effects(fit, rows.sample(frac=1.0, random_state=0), features=["age"])
    assert_allclose(shuffled.loc["age", "std_error"], weighted.loc["age", "std_error"], rtol=1e-9)


def test_an_effect_is_an_average_of_effects():
    """Rows one by one, with features said to be discrete since one row shows one value."""
    fit = LogitRegressor().fit(NUMBERS, Y)
    alone = [marginal_effects(fit, NUMBERS.iloc[[i]], discrete=["treated"])["estimate"] for i in range(12)]
    together = marginal_effects(fit, NUMBERS.iloc[:12], discrete=["treated"])
    assert_allclose(together["estimate"], np.mean(alone, axis=0), rtol=1e-12)
    one = marginal_effects(fit, NUMBERS.iloc[[0]])
    assert one.loc["treated", "change"] == "slope"
    p = fit.predict_proba(NUMBERS.iloc[[0]])[0, 1]
    assert one.loc["treated", "estimate"] == pytest.approx(p * (1.0 - p) * fit.coef_[0, 2], rel=1e-12)


def test_units_of_features():
    fit = LogitRegressor(tol=1e-12).fit(NUMBERS, Y)
    other = NUMBERS.assign(dose=1000.0 * NUMBERS["dose"] + 7.0)
    moved = marginal_effects(LogitRegressor(tol=1e-12).fit(other, Y), other).loc["dose"]
    assert_allclose(
        1000.0 * moved[["estimate", "std_error"]].astype(float),
        marginal_effects(fit, NUMBERS).loc["dose", ["estimate", "std_error"]].astype(float),
        rtol=1e-6,
    )


def test_the_other_class():
    labels = np.where(Y == 1, "a success", "failure")
    first, second = (marginal_effects(LogitRegressor().fit(NUMBERS, y), NUMBERS) for y in (Y, labels))
    assert_allclose(first["estimate"], -second["estimate"], rtol=1e-6)
    assert_allclose(first["std_error"], second["std_error"], rtol=1e-6)


def test_level_and_degrees_of_freedom():
    fit = LogitRegressor().fit(NUMBERS, Y, groups=GROUPS)
    table = marginal_effects(fit, NUMBERS, level=0.8, df="residual")
    assert_array_equal(table["df"], 36.0)
    half = stats.t.ppf(0.9, 36) * table["std_error"]
    assert_allclose(table["conf_high"] - table["estimate"], half, rtol=1e-12)
    default = marginal_effects(fit, NUMBERS)
    assert_allclose(default["std_error"], marginal_effects(fit, NUMBERS, cov_type="cluster")["std_error"])
    assert not np.allclose(default["std_error"], marginal_effects(fit, NUMBERS, cov_type="model")["std_error"])


def test_offsets():
    offset = np.log(RNG.uniform(0.5, 2.0, size=N))
    counts = RNG.poisson(np.exp(0.1 * DATA["age"] + offset))
    fit = GEERegressor("poisson").fit(NUMBERS, counts, offset=offset)
    expected = fit.coef_[1] * fit.predict(NUMBERS, offset=offset).mean()
    assert marginal_effects(fit, NUMBERS, offset=offset).loc["age", "estimate"] == pytest.approx(expected, rel=1e-12)
    with pytest.warns(UserWarning, match="was fitted with an offset"):
        without = marginal_effects(fit, NUMBERS)
    expected = fit.coef_[1] * fit.predict(NUMBERS, offset=np.zeros(N)).mean()
    assert without.loc["age", "estimate"] == pytest.approx(expected, rel=1e-12)


def test_data_are_left_alone():
    before = DATA.copy()
    pipe = make_pipeline(CATEGORIES, LogitRegressor()).fit(DATA, Y)
    marginal_effects(pipe, DATA)
    pd.testing.assert_frame_equal(DATA, before)
    array = NUMBERS.to_numpy()
    marginal_effects(LogitRegressor().fit(array, Y), array)
    assert_array_equal(array, NUMBERS.to_numpy())


def test_many_rows():
    """Rows repeated until they fill several blocks."""
    fit = GivenMixedLogit(COEFFICIENTS, np.eye(4), SIGMAS["slope"]).fit(NUMBERS)
    rows = pd.concat([NUMBERS] * 150, ignore_index=True)
    many = marginal_effects(fit, rows)
    assert_allclose(many.drop(columns="change"), marginal_effects(fit, NUMBERS).drop(columns="change"), rtol=1e-9)


# ----------------------------------------------------------------------------------------------------------- refusals


def test_refusals():
    fit = LogitRegressor().fit(NUMBERS, Y)
    with pytest.raises(ValueError, match=r"no feature 'weight'; X has \['dose', 'age', 'treated'\]"):
        marginal_effects(fit, NUMBERS, features=["weight"])
    with pytest.raises(ValueError, match="no feature 3"):
        marginal_effects(fit, NUMBERS, features=3)
    with pytest.raises(ValueError, match=r"discrete\['treated'\] must be a list of two or more values, got 1"):
        marginal_effects(fit, NUMBERS, discrete={"treated": 1})
    with pytest.raises(ValueError, match="cov_type='hc9' is not available"):
        marginal_effects(fit, NUMBERS, cov_type="hc9")
    with pytest.raises(ValueError, match="feature names"):
        marginal_effects(fit, NUMBERS[["age", "dose", "treated"]])
    with pytest.raises(ValueError, match="one value in X: say which to compare"):
        marginal_effects(fit, NUMBERS.assign(age=3.0), features="age", discrete=["age"])
    with pytest.raises(TypeError, match="no fitted skdep estimator"):
        marginal_effects(RandomForestClassifier(n_estimators=2).fit(NUMBERS, Y), NUMBERS)
    inverse = GEERegressor("gamma", link="inverse").fit(NUMBERS, 1.0 / (5.0 + 0.1 * NUMBERS["dose"]))
    with pytest.raises(ValueError, match="240 rows have a linear predictor that link 'inverse' maps to no mean"):
        marginal_effects(inverse, NUMBERS.assign(dose=-1000.0))


def test_dates_are_no_numbers():
    def days(X):
        return np.column_stack([(X["date"] - pd.Timestamp("2020-01-01")).dt.days, X["age"]])

    X = DATA[["age"]].assign(date=pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(N), unit="D"))
    pipe = make_pipeline(FunctionTransformer(days), LogitRegressor()).fit(X, Y)
    with pytest.raises(ValueError, match="Feature 'date' is a date or duration"):
        marginal_effects(pipe, X)
    assert list(marginal_effects(pipe, X, features=["age"]).index) == ["age"]


def test_display():
    ohio = load_ohio()
    table = marginal_effects(LogitRegressor().fit(ohio.data, ohio.target), ohio.data)
    assert "1 - 0" in repr(table) and "slope" in table._repr_html_()
    assert type(table.to_frame()) is pd.DataFrame
