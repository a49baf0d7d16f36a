"""Population-average coefficients: closed forms, quadrature and finite differences, simulated clusters, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from given_mixed_logit import GivenMixedLogit
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdep import GEEClassifier, LogitRegressor, MixedLinear, MixedLogit
from skdep.datasets import load_ohio, load_sleepstudy
from skdep.inference import coef_table, marginal_effects, population_average
from skdep.mixed.terms import INTERCEPT

RNG = np.random.default_rng(12)
N = 150
DATA = pd.DataFrame({"dose": RNG.normal(2.0, 1.0, size=N), "age": RNG.normal(size=N), "treated": np.arange(N) % 2})
ROWS = DATA.to_numpy(float)
COEFFICIENTS = np.array([-2.0, 0.7, -0.6, 1.1])
SIGMAS = {
    "intercepts": {"school": ((INTERCEPT,), np.array([[2.0]]))},
    "slopes": {"school": ((INTERCEPT, 0), np.array([[1.5, -0.3], [-0.3, 0.4]]))},
    "two factors": {
        "school": ((INTERCEPT,), np.array([[1.0]])),
        "town": ((INTERCEPT, 2), np.array([[0.6, 0.2], [0.2, 0.9]])),
    },
}


def joint_covariance(sigma):
    """Return a covariance of the coefficients and of all entries of T."""
    size = 4 + sum(len(columns) * (len(columns) + 1) // 2 for columns, _ in sigma.values())
    spread = np.random.default_rng(2).normal(size=(size, size))
    return 0.01 * spread @ spread.T


def fitted(sigma, coefficients=COEFFICIENTS, X=DATA, **options):
    joint = joint_covariance(sigma)
    p = len(coefficients)
    return GivenMixedLogit(coefficients, joint[:p, :p], sigma, joint=joint, **options).fit(X)


def marginal_log_odds(values, sigma, rows, offset=0.0):
    """Log odds in the population, by Gauss-Hermite quadrature; `values` are coefficients, then entries of T."""
    x, w = np.polynomial.hermite.hermgauss(120)
    variance, begin = np.zeros(len(rows)), 4
    for columns, matrix in (sigma[name] for name in reversed(sigma)):
        q = len(columns)
        T, n_entries = np.zeros((q, q)), q * (q + 1) // 2
        T.T[np.triu_indices(q)] = values[begin : begin + n_entries]
        begin += n_entries
        Z = np.column_stack([np.ones(len(rows)) if c == INTERCEPT else rows[:, c] for c in columns])
        variance += np.sum((Z @ T) ** 2, axis=1)
        assert matrix.shape == T.shape
    eta = values[0] + rows @ values[1:4] + offset
    return logit(expit(eta[:, None] + np.sqrt(2.0 * variance)[:, None] * x) @ w / np.sqrt(np.pi))


def parameters_of(sigma):
    entries = []
    for _, matrix in (sigma[name] for name in reversed(sigma)):
        T = np.linalg.cholesky(matrix)
        entries.append(T.T[np.triu_indices(len(T))])
    return np.concatenate([COEFFICIENTS, *entries])


@pytest.mark.parametrize("case", SIGMAS)
@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares_of_log_odds(case, weighted):
    sigma = SIGMAS[case]
    weights = RNG.uniform(0.0, 2.0, size=N) if weighted else np.ones(N)
    offset = 0.3 * np.sin(np.arange(N)) if weighted else np.zeros(N)
    root = np.sqrt(weights)[:, None]
    design = np.column_stack([np.ones(N), ROWS])

    def coefficients(values):
        log_odds = marginal_log_odds(values, sigma, ROWS, offset) - offset
        return np.linalg.lstsq(root * design, root[:, 0] * log_odds, rcond=None)[0]

    parameters = parameters_of(sigma)
    options = {"sample_weight": weights, "offset": offset} if weighted else {}
    result = population_average(fitted(sigma), DATA, **options)
    table = result.table
    assert_array_equal(table["cluster_specific"], COEFFICIENTS)
    assert_allclose(table["population_average"], coefficients(parameters), rtol=1e-7)
    assert_allclose(table["attenuation"], table["population_average"] / COEFFICIENTS, rtol=1e-12)
    steps = 1e-5 * np.eye(len(parameters))
    jacobian = np.column_stack([(coefficients(parameters + s) - coefficients(parameters - s)) / 2e-5 for s in steps])
    expected = np.sqrt(np.diag(jacobian @ joint_covariance(sigma) @ jacobian.T))
    assert_allclose(table["std_error"], expected, rtol=1e-5)
    gaps = expit(marginal_log_odds(parameters, sigma, ROWS, offset)) - expit(design @ coefficients(parameters) + offset)
    assert result.largest_gap == pytest.approx(np.abs(gaps).max(), rel=1e-5)


def test_one_indicator_is_exact():
    """Two probabilities, two coefficients: the log odds of both, and no gap; differences are marginal effects."""
    X = DATA[["treated"]]
    fit = GivenMixedLogit([-1.0, 2.0], 0.1 * np.eye(2), {"school": ((INTERCEPT, 0), np.diag([3.0, 2.0]))}).fit(X)
    result = population_average(fit, X)
    found = result.table["population_average"].to_numpy()
    assert result.largest_gap < 1e-12
    effect = marginal_effects(fit, X).loc["treated", "estimate"]
    assert expit(found.sum()) - expit(found[0]) == pytest.approx(effect, rel=1e-10)


def test_fits_to_simulated_clusters():
    """A logistic regression of outcomes with a new cluster a row has the population-average coefficients."""
    X = pd.DataFrame({"treated": np.arange(100_000) % 2})
    rng = np.random.default_rng(3)
    effects = rng.normal(scale=np.sqrt(2.5), size=len(X))
    y = (-0.5 + 1.5 * X["treated"] + effects + rng.logistic(size=len(X)) > 0).astype(int)
    plain = LogitRegressor().fit(X, y)
    fit = GivenMixedLogit([-0.5, 1.5], np.eye(2), {"school": ((INTERCEPT,), np.array([[2.5]]))}).fit(X)
    table = population_average(fit, X).table
    errors = (plain._inference.estimate - table["population_average"]) / coef_table(plain)["std_error"]
    assert np.abs(errors).max() < 3.5


def test_a_mixed_fit_against_r():
    # with the model of test_marginal_effects.py, in R:
    # p <- function(eta) integrate(function(u) plogis(eta + u) * dnorm(u, 0, sqrt(v)), -Inf, Inf, rel.tol = 1e-12)$value
    # solve(crossprod(X), crossprod(X, qlogis(sapply(X %*% b, p))))
    ohio = load_ohio()
    fit = MixedLogit(n_quadrature=25, tol=1e-12).fit(ohio.data, ohio.target, groups=ohio.groups)
    table = population_average(fit, ohio.data).table
    assert_allclose(table["population_average"], [-1.875547372343, -0.113787176524, 0.257097584255], rtol=2e-5)
    # the marginal model estimates the same coefficients, with much the same precision
    gee = coef_table(GEEClassifier(working_correlation="exchangeable").fit(ohio.data, ohio.target, groups=ohio.groups))
    assert np.abs((table["population_average"] - gee["estimate"]) / gee["std_error"]).max() < 0.1
    assert_allclose(table["std_error"], gee["std_error"], rtol=0.02)


def test_no_variance_no_attenuation():
    fit = fitted({"school": ((INTERCEPT,), np.array([[1e-16]]))})
    result = population_average(fit, DATA)
    assert_allclose(result.table["attenuation"], 1.0, rtol=1e-10)
    assert result.largest_gap < 1e-12
    without = GivenMixedLogit(COEFFICIENTS, np.eye(4), {}).fit(DATA)
    assert_allclose(population_average(without, DATA).table["std_error"], 1.0, rtol=1e-9)
    assert_allclose(population_average(without, method="attenuation").table["attenuation"], 1.0, rtol=1e-12)


def test_approximate_attenuation():
    """The formula by hand; for small effects near probability one half it shrinks too little, by less than 8 %."""
    sigma = {"school": ((INTERCEPT,), np.array([[1.2]])), "town": ((INTERCEPT,), np.array([[0.5]]))}
    fit = fitted(sigma, np.array([1e-3, 0.05, -0.05, 0.1]))
    exact, rough = population_average(fit, DATA), population_average(fit, method="attenuation")
    c = 16.0 * np.sqrt(3.0) / (15.0 * np.pi)
    assert_allclose(rough.table["attenuation"], 1.0 / np.sqrt(1.0 + c**2 * 1.7), rtol=1e-12)
    ratio = rough.table["population_average"] / exact.table["population_average"]
    assert ratio.iloc[1:].between(1.0, 1.08).all()
    assert np.isnan(rough.largest_gap)

    def approximate(values):
        return values[:4] / np.sqrt(1.0 + c**2 * np.sum(values[4:] ** 2))

    parameters = np.concatenate([fit._inference.estimate, np.sqrt([0.5, 1.2])])
    steps = 1e-6 * np.eye(6)
    jacobian = np.column_stack([(approximate(parameters + s) - approximate(parameters - s)) / 2e-6 for s in steps])
    expected = np.sqrt(np.diag(jacobian @ joint_covariance(sigma) @ jacobian.T))
    assert_allclose(rough.table["std_error"], expected, rtol=1e-6)


def test_extreme_probabilities():
    """Log odds keep their digits where probabilities are next to 0 and 1: far out, log p = m + v/2."""
    X = pd.DataFrame({"x": [-1.0, 1.0, 2.0]})
    fit = GivenMixedLogit([-200.0, 50.0], np.eye(2), {"g": ((INTERCEPT,), np.array([[2.0]]))}).fit(X)
    table = population_average(fit, X).table
    assert_allclose(table["population_average"], [-199.0, 50.0], rtol=1e-10)
    assert_allclose(table["std_error"], 1.0, rtol=1e-9)
    with pytest.raises(ValueError, match="1 rows have a probability of 0 or 1 to rounding"):
        population_average(fit, pd.DataFrame({"x": [-100.0, 1.0, 2.0]}))


def test_intervals_level_and_covariance_type():
    fit = fitted(SIGMAS["slopes"])
    table = population_average(fit, DATA, level=0.9, df=20).table
    robust = population_average(fit, DATA, cov_type="robust").table
    assert_allclose(robust["std_error"], 2.0 * table["std_error"], rtol=1e-12)
    assert_array_equal(table["df"], 20.0)
    middle = 0.5 * (table["conf_low"] + table["conf_high"])
    assert_allclose(middle, table["population_average"], rtol=1e-12)
    assert_allclose(table["statistic"], table["population_average"] / table["std_error"], rtol=1e-12)


def test_pipeline_and_row_order():
    sigma = SIGMAS["slopes"]
    fit = fitted(sigma)
    pipe = make_pipeline(FunctionTransformer(lambda X: X * [10.0, 1.0, 1.0]), fit)
    moved = DATA.assign(dose=DATA["dose"] / 10.0)
    expected = population_average(fit, DATA).to_frame()
    assert_allclose(population_average(pipe, moved).to_frame(), expected, rtol=1e-9)
    order = np.random.default_rng(0).permutation(N)
    assert_allclose(population_average(fit, DATA.iloc[order]).to_frame(), expected, rtol=1e-9)


def test_no_intercept():
    fit = GivenMixedLogit([0.7, -0.6], np.eye(2), SIGMAS["slopes"], fit_intercept=False).fit(DATA[["dose", "age"]])
    rows = ROWS[:, :2]
    log_odds = marginal_log_odds(
        np.concatenate([[0.0, 0.7, -0.6, 0.0], parameters_of(SIGMAS["slopes"])[4:]]), SIGMAS["slopes"], ROWS
    )
    found = population_average(fit, DATA[["dose", "age"]]).table["population_average"]
    assert_allclose(found, np.linalg.lstsq(rows, log_odds, rcond=None)[0], rtol=1e-8)


def test_refusals():
    sleep = load_sleepstudy()
    linear = MixedLinear().fit(sleep.data, sleep.target, groups=sleep.groups)
    plain = LogitRegressor().fit(DATA[["age"]], DATA["treated"])
    for model, name in ((linear, "MixedLinear"), (plain, "LogitRegressor")):
        with pytest.raises(TypeError, match=f"averaged over clusters the coefficients of {name} stay what they are"):
            population_average(model, sleep.data)
    fit = fitted(SIGMAS["slopes"])
    with pytest.raises(ValueError, match="depend on the rows over which one averages: pass X"):
        population_average(fit)
    with pytest.raises(ValueError, match="is for random intercepts; with random slopes pass X"):
        population_average(fit, method="attenuation")
    with pytest.raises(ValueError, match="uses no rows"):
        population_average(fit, DATA, method="attenuation")
    with pytest.raises(ValueError, match="method must be 'projection' or 'attenuation', got 'exact'"):
        population_average(fit, DATA, method="exact")
    with pytest.raises(ValueError, match=r"do not determine the coefficients of \['Intercept', 'treated'\]"):
        population_average(fit, DATA[DATA["treated"] == 1])


def test_display():
    result = population_average(fitted(SIGMAS["slopes"]), DATA)
    lines = str(result).splitlines()
    assert lines[0].split()[:2] == ["cluster_specific", "population_average"]
    assert lines[-1].startswith("Probabilities differ from those of the mixed model by at most 0.0")
    assert "attenuation" in result._repr_html_()
    assert "differ" not in str(population_average(fitted(SIGMAS["intercepts"]), method="attenuation"))
