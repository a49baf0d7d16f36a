"""Estimating equations behind the comparison: against the fits' own covariances, dense algebra, and refits."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import linalg
from scipy.special import expit, log_expit

from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.inference._weight_comparison import compare_fits
from skdep.inference._weight_rows import prepare_model, weighted_rows
from skdep.inference._weight_systems import score_system
from skdep.inference.weight_diagnostics import weight_diagnostics

RNG = np.random.default_rng(7)
SIZES = RNG.integers(3, 9, 40)
GROUPS = np.repeat(np.arange(40), SIZES)
N = len(GROUPS)
X = pd.DataFrame({"within": RNG.normal(size=N), "between": RNG.normal(size=40)[GROUPS]})
EFFECT = 0.8 * RNG.normal(size=40)
ETA = 0.4 + 0.8 * X["within"].to_numpy() - 0.5 * X["between"].to_numpy() + EFFECT[GROUPS]
LINEAR = ETA + RNG.normal(size=N)
BINARY = (ETA + RNG.logistic(size=N) > 0).astype(int)
COUNT = RNG.poisson(np.exp(0.5 * ETA))
TIME = np.concatenate([np.sort(RNG.choice(15, size, replace=False)) for size in SIZES]).astype(float)
ROW_WEIGHT = np.exp(0.4 * RNG.normal(size=N))
GROUP_WEIGHT = np.exp(0.5 * RNG.normal(size=40))[GROUPS]
FACTOR = 40 / 39


def comparison_of(estimator, y, *, group_weight=None, groups=GROUPS, X=X, **metadata):
    model = prepare_model(estimator, X, y)
    given = {"groups": groups, **metadata} if groups is not None else metadata
    options = {"psu": None, "strata": None, "fpc": None, "lonely_psu": "fail"}
    rows = weighted_rows(model, y, sample_weight=ROW_WEIGHT, group_weight=group_weight, metadata=given, **options)
    return compare_fits(model, rows)


def se_of(fit):
    return np.sqrt(np.diag(fit.covariance_))


@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1", "unstructured"])
@pytest.mark.parametrize(
    ("estimator", "y"),
    [(GEERegressor(), LINEAR), (GEERegressor("poisson"), COUNT), (GEEClassifier(), BINARY)],
    ids=["linear", "count", "binary"],
)
def test_standard_errors_are_those_of_gee(estimator, y, structure):
    estimator = estimator.set_params(working_correlation=structure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = comparison_of(estimator, y, time=TIME)
        for fit, system, weight in [
            (comparison.unweighted, comparison.at_unweighted, None),
            (comparison.weighted, comparison.at_weighted, ROW_WEIGHT),
        ]:
            again = estimator.fit(X, y, groups=GROUPS, time=TIME, sample_weight=weight)
            assert_allclose(again.coef_, fit.coef_, rtol=1e-8)
            assert_allclose(comparison.std_errors(system), se_of(again) * np.sqrt(FACTOR), rtol=1e-7)
    assert_allclose(comparison.at_unweighted.scores.sum(axis=0), 0.0, atol=1e-6 * N)


@pytest.mark.parametrize("penalty", [None, "l2"])
def test_standard_errors_are_those_of_logit(penalty):
    estimator = LogitRegressor(penalty=penalty, C=0.05, weight_type="sampling")
    comparison = comparison_of(estimator, BINARY)
    for system, weight in [(comparison.at_unweighted, None), (comparison.at_weighted, ROW_WEIGHT)]:
        # one stratum: scores of penalised fits, which do not sum to zero, are then centred
        again = estimator.fit(X, BINARY, groups=GROUPS, sample_weight=weight, strata=np.zeros(N))
        assert_allclose(comparison.std_errors(system), se_of(again), rtol=1e-6)


@pytest.mark.parametrize("slopes", [None, ["within"]])
@pytest.mark.parametrize(("kind", "y"), [(MixedLinear, LINEAR), (MixedLogit, BINARY)], ids=["linear", "logit"])
def test_standard_errors_are_those_of_mixed_models(kind, y, slopes):
    options = {"n_quadrature": 7} if kind is MixedLogit else {}
    estimator = kind(slopes, covariance="diagonal", weight_type="sampling", tol=1e-10, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = comparison_of(estimator, y, group_weight=GROUP_WEIGHT)
        first = estimator.fit(X, y, groups=GROUPS)
        assert_allclose(comparison.std_errors(comparison.at_unweighted), se_of(first) * np.sqrt(FACTOR), rtol=1e-4)
        second = estimator.fit(X, y, groups=GROUPS, sample_weight=ROW_WEIGHT, group_weight=GROUP_WEIGHT)
        assert_allclose(comparison.std_errors(comparison.at_weighted), se_of(second) * np.sqrt(FACTOR), rtol=1e-4)


def test_nested_factors_have_units_of_the_outermost():
    inner = np.concatenate([np.arange(size) % 2 for size in SIZES]) + 2 * GROUPS
    groups = pd.DataFrame({"school": GROUPS, "class": inner})
    estimator = MixedLinear(weight_type="sampling", tol=1e-12)
    comparison = comparison_of(estimator, LINEAR, groups=groups)
    assert comparison.rows.design.n_psus == 40
    fit = estimator.fit(X, LINEAR, groups=groups, sample_weight=ROW_WEIGHT)
    assert_allclose(comparison.std_errors(comparison.at_weighted), se_of(fit) * np.sqrt(FACTOR), rtol=1e-5)


def test_linear_mixed_equations_against_dense_matrices():
    """With weights at the unweighted estimates: V by the definition, scaled weights by the book."""
    comparison = comparison_of(MixedLinear(["within"]), LINEAR, group_weight=GROUP_WEIGHT)
    fit = comparison.unweighted
    Z = np.column_stack([np.ones(N), X["within"]])
    same = GROUPS[:, None] == GROUPS
    between = (Z @ fit.random_covariance_["group"] @ Z.T) * same
    sums = np.bincount(GROUPS, ROW_WEIGHT)
    scaled = ROW_WEIGHT * (SIZES / sums)[GROUPS]
    first = np.unique(GROUPS, return_index=True)[1]
    multiplicity = GROUP_WEIGHT / GROUP_WEIGHT[first].mean()
    V = between + np.diag(fit.sigma2_ / scaled)
    design = np.column_stack([np.ones(N), X])
    residual = LINEAR - fit.predict(X)
    precision = np.linalg.inv(V) * multiplicity[:, None]
    information = design.T @ precision @ design
    one_step = np.linalg.solve(information, design.T @ precision @ residual)
    back = comparison.rows.basis.back
    crossed = comparison.crossed
    assert_allclose(crossed.influence().sum(axis=0) @ back.T, one_step, rtol=1e-7)
    by_row = np.linalg.solve(information, design.T * (precision @ residual)).T
    totals = np.array([part.sum(axis=0) for part in np.split(by_row, first[1:])])
    mine = np.array([part.sum(axis=0) for part in np.split(crossed.influence() @ back.T, first[1:])])
    assert_allclose(mine, totals, rtol=1e-6, atol=1e-9)


def marginal_loglik(beta, sd, weights, nodes=60):
    """Return the log-likelihood of every cluster with a normal intercept, by Gauss-Hermite quadrature about zero."""
    points, mass = np.polynomial.hermite_e.hermegauss(nodes)
    eta = (np.column_stack([np.ones(N), X]) @ beta)[:, None] + sd * points
    rows = weights[:, None] * np.where(BINARY[:, None] == 1, log_expit(eta), log_expit(-eta))
    starts = np.unique(GROUPS, return_index=True)[1]
    sums = np.add.reduceat(rows, starts, axis=0) + np.log(mass / mass.sum())
    largest = sums.max(axis=1)
    return largest + np.log(np.exp(sums - largest[:, None]).sum(axis=1))


def derivatives(weights, at, step=1e-4):
    """Return scores (n_clusters, 4) and information (4, 4) by differences."""

    def value(x):
        return marginal_loglik(x[:3], x[3], weights)

    units = step * np.eye(4)
    scores = np.array([(value(at + u) - value(at - u)) / (2 * step) for u in units]).T

    def total(x):
        return value(x).sum()

    hessian = [
        [(total(at + u + v) - total(at + u - v) - total(at - u + v) + total(at - u - v)) / (4 * step**2) for v in units]
        for u in units
    ]
    return scores, -np.array(hessian)


def test_logistic_mixed_equations_against_differences():
    """Scores and information of coefficients and standard deviation jointly, by brute force."""
    comparison = comparison_of(MixedLogit(n_quadrature=25, tol=1e-12), BINARY)
    fit, back = comparison.unweighted, comparison.rows.basis.back
    at = np.array([*fit.intercept_, *fit.coef_[0], np.sqrt(fit.random_covariance_["group"][0, 0])])
    scaled = ROW_WEIGHT * (SIZES / np.bincount(GROUPS, ROW_WEIGHT))[GROUPS]
    first = np.unique(GROUPS, return_index=True)[1]
    for system, weights in [(comparison.at_unweighted, np.ones(N)), (comparison.crossed, scaled)]:
        scores, information = derivatives(weights, at)
        expected = np.linalg.solve(information, scores.T).T[:, :3]
        assert_allclose(system.influence()[first] @ back.T, expected, rtol=2e-3, atol=2e-5)
        # residuals are derivatives by the linear predictor: their products with features are scores of coefficients
        products = np.column_stack([np.ones(N), X]) * system.residual[:, None]
        sums = np.add.reduceat(products, first, axis=0)
        assert_allclose(sums, scores[:, :3], rtol=1e-4, atol=1e-6)


def test_moved_columns_are_those_of_the_working_precision():
    comparison = comparison_of(MixedLogit(n_quadrature=9), BINARY)
    fit, system = comparison.unweighted, comparison.at_unweighted
    modes = fit.random_effects_["group"][:, 0][GROUPS]
    p = expit(np.column_stack([np.ones(N), X]) @ np.r_[fit.intercept_, fit.coef_[0]] + modes)
    V = np.diag(1 / (p * (1 - p))) + fit.random_covariance_["group"][0, 0] * (GROUPS[:, None] == GROUPS)
    assert_allclose(system.moved, np.linalg.solve(V, comparison.rows.columns), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("prior_sd", [0.4, 2.0])
def test_posterior_means_are_linearised_as_penalised_estimates(prior_sd):
    """Of a normal prior: the ridge of its variance; up to Monte Carlo error and the skewness of the posterior."""
    from skdep.bayes.priors import Normal

    rng = np.random.default_rng(1)
    n = 500
    Z = rng.normal(size=(n, 2))
    y = (Z @ [0.7, -0.4] + 0.2 + rng.logistic(size=n) > 0).astype(int)
    w = np.exp(0.4 * rng.normal(size=n))
    bayes = BayesLogit({"coef": Normal(0.0, prior_sd)}, random_state=0)
    ridge = LogitRegressor("l2", C=prior_sd**2, weight_type="sampling")
    first, second = (weight_diagnostics(model, Z, y, sample_weight=w, trim=()) for model in (bayes, ridge))
    assert_allclose(first.table["se_unweighted"], second.table["se_unweighted"], rtol=0.04)
    assert_allclose(first.table["se_weighted"], second.table["se_weighted"], rtol=0.04)
    assert_allclose(first.table["unweighted"], second.table["unweighted"], atol=0.01)
    for name in ("hausman-pfeffermann", "wu-fuller", "weight-association"):
        assert_allclose(first.tests.loc[name, "p_value"], second.tests.loc[name, "p_value"], rtol=0.1, atol=0.01)


def test_infinitesimal_jackknife_predicts_a_refit():
    """The influence of a row on the posterior mean is by how much it moves when the row's weight does."""
    rng = np.random.default_rng(2)
    Z = rng.normal(size=(80, 1))
    y = (Z[:, 0] + rng.logistic(size=80) > 0).astype(int)
    model = BayesLogit(random_state=0, n_draws=4000)
    prepared = prepare_model(model, Z, y)
    options = {"metadata": {}, "psu": None, "strata": None, "fpc": None, "lonely_psu": "fail", "group_weight": None}
    rows = weighted_rows(prepared, y, sample_weight=rng.uniform(0.5, 1.5, 80), **options)
    fit = model.fit(Z, y)
    slopes = score_system(fit, rows, None).influence() @ rows.basis.back.T
    row = int(np.argmax(np.abs(slopes[:, 1])))
    weight = np.ones(80)
    weight[row] = 1.8
    up = model.fit(Z, y, sample_weight=weight).coef_[0, 0]
    weight[row] = 0.2
    down = model.fit(Z, y, sample_weight=weight).coef_[0, 0]
    assert_allclose((up - down) / 1.6, slopes[row, 1], rtol=0.15)


def test_working_precision_of_singular_and_nested_effects():
    """V^-1 by a sparse factorisation is that of the dense matrix, also where a variance is zero."""
    from skdep.inference._weight_systems_mixed import WorkingPrecision
    from skdep.mixed.terms import INTERCEPT, RandomTerm

    inner = np.concatenate([np.arange(size) % 2 for size in SIZES]) + 2 * GROUPS
    codes = np.unique(inner, return_inverse=True)[1]
    outer = RandomTerm("a", GROUPS, np.arange(40), (INTERCEPT, 0))
    nested = RandomTerm("b", codes, np.arange(codes.max() + 1), (INTERCEPT,))
    factors = [np.array([[0.7, 0.0], [0.3, 0.0]]), np.array([[0.5]])]
    diagonal = ROW_WEIGHT
    values = X.to_numpy()
    Z = np.column_stack([np.ones(N), values[:, 0]])
    V = np.diag(1 / diagonal) + (Z @ factors[0] @ factors[0].T @ Z.T) * (GROUPS[:, None] == GROUPS)
    V += 0.25 * (codes[:, None] == codes)
    precision = WorkingPrecision([outer, nested], values, factors, diagonal)
    assert_allclose(precision(values), linalg.solve(V, values, assume_a="pos"), rtol=1e-9, atol=1e-12)
