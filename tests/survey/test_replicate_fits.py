"""Fits of all replicates at once: R's survey, one fit after the other, the equations themselves, hard replicates."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from skdep import LogitRegressor
from skdep.base import FitNotes
from skdep.exceptions import ConvergenceWarning, WeightWarning
from skdep.families import NegativeBinomial, get_family
from skdep.links import get_link
from skdep.survey import replicate_fits, replicate_sums
from skdep.survey.replicate_covariance import check_replicates, replicate_covariance
from skdep.survey.replicate_fits import fit_replicates
from skdep.survey.replicate_methods import replicate_weights
from skdep.survey.replicates import ReplicateWeights
from tests.survey import reference

R = json.loads((Path(__file__).parents[1] / "reference" / "replicates.json").read_text())


def full_fit(X, y, weights, start, **model):
    """Return the estimate under the full sample's weights: those of a single replicate."""
    return fit_replicates(X, y, ReplicateWeights(weights[:, None], scale=1.0), start, **model).estimates[0]


def logit(X, y, weights, **options):
    """Return the estimate of an estimator, the intercept first."""
    fit = LogitRegressor(weight_type="sampling", tol=1e-11, **options).fit(X, y, sample_weight=weights)
    return np.concatenate([fit.intercept_, fit.coef_[0]])


def simulated(n=240, n_units=24, seed=0):
    """Return a design matrix, a linear predictor, weights and units."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n_units), n // n_units)
    X = np.column_stack([np.ones(n), 0.5 * rng.normal(size=(n, 3))])
    return X, X @ [0.3, 0.4, -0.3, 0.2] + 0.2 * rng.normal(size=n_units)[unit], rng.uniform(1, 4, n), unit


# --------------------------------------------------------------------------------------------------------------- R


@pytest.mark.parametrize("name", reference.names("fits", having="replicates"))
def test_covariance_as_in_r(name):
    given = reference.fit(name)
    entry, of = given.entry, given.replicates
    keep = given.design.weights > 0
    X, y, weights = given.features[keep], given.y[keep], given.design.weights[keep]
    model = {"family": entry["family"], "link": entry["link"]}
    if given.offset is not None:
        model["offset"] = given.offset[keep]
    replicates = ReplicateWeights(of.weights[keep], scale=of.scale, rscales=of.rscales, mse=of.mse)
    estimate = full_fit(X, y, weights, given.coef, **model)
    found = replicate_covariance(X, y, replicates, estimate, notes=FitNotes(), **model)
    assert_allclose(estimate, given.coef, rtol=1e-9)
    assert_allclose(np.sqrt(np.diag(found.covariance)), given.standard_errors, rtol=1e-7)
    assert_allclose(found.covariance, given.cov, rtol=1e-7, atol=1e-8 * np.abs(given.cov).max())
    assert (replicates.df, found.df) == (entry["degf"], entry["df_residual"])


@pytest.mark.parametrize("name", ["districts", "elementary"])
def test_every_replicate_as_in_r(name):
    frame = reference.table("apiclus1")
    weights = frame["pw"].to_numpy(dtype=float)
    if name == "elementary":
        weights = weights * (frame["stype"] == "E").to_numpy()
    replicates = replicate_weights("jk1", weights, groups=frame["dnum"], fpc=frame["fpc"])
    keep = weights > 0
    X = np.column_stack([np.ones(len(frame)), frame[["ell", "meals", "mobility"]]])[keep]
    y = frame["wide"].to_numpy()[keep]
    expected = R[name]
    estimate = full_fit(X, y, weights[keep], np.array(expected["coef"]))
    found = replicate_covariance(X, y, replicates[keep], estimate, notes=FitNotes())
    order = np.argsort(frame["dnum"].unique())  # our replicates are in the order of labels, R's in that of rows
    assert_allclose(found.fits.estimates, np.array(expected["replicates"])[order], rtol=1e-7)
    assert_allclose(found.covariance, expected["cov"], rtol=1e-7)
    assert (replicates.df, found.df) == (expected["degf"], expected["df_residual"])


# ------------------------------------------------------------------------------------------- one after the other


@pytest.mark.parametrize("method", ["jk1", "bootstrap", "brr"])
def test_each_replicate_is_the_estimator_fitted_with_its_weights(method):
    X, eta, weights, unit = simulated()
    y = (np.random.default_rng(1).random(len(eta)) < expit(eta)).astype(float)
    strata = {"strata": unit // 2} if method == "brr" else {}
    options = {"n_replicates": 15, "random_state": 0} if method == "bootstrap" else {}
    replicates = replicate_weights(method, weights, groups=unit, **strata, **options)
    found = fit_replicates(X, y, replicates, logit(X[:, 1:], y, weights))
    expected = np.array([logit(X[:, 1:], y, column) for column in replicates.weights.T])
    assert_allclose(found.estimates, expected, rtol=0, atol=1e-9 * np.abs(expected - expected.mean(axis=0)).max())
    assert found.converged.all() and found.n_iter.max() <= 4


@pytest.mark.parametrize("C", [0.05, 1.0])
def test_ridge_is_that_of_the_estimator_for_as_many_observations(C):
    X, eta, weights, unit = simulated()
    n = len(eta)
    y = (np.random.default_rng(2).random(n) < expit(eta)).astype(float)
    replicates = replicate_weights("bootstrap", weights, groups=unit, n_replicates=8, random_state=0)
    start = logit(X[:, 1:], y, weights, penalty="l2", C=C)
    found = fit_replicates(X, y, replicates, start, ridge=np.array([0, 1, 1, 1]) / C).estimates
    for r, column in enumerate(replicates.weights.T):
        # the estimator gives mean one to the rows of positive weight, which are fewer in a replicate
        expected = logit(X[:, 1:], y, column, penalty="l2", C=C * n / np.sum(column > 0))
        assert_allclose(found[r], expected, rtol=1e-8)


def test_linear_replicates_are_weighted_least_squares():
    X, eta, weights, unit = simulated()
    y = 50.0 * eta + np.random.default_rng(3).normal(0, 30, len(eta))
    offset = np.linspace(-5, 5, len(y))
    replicates = replicate_weights("bootstrap", weights, groups=unit, n_replicates=12, random_state=0)
    start = full_fit(X, y, weights, np.zeros(4), family="gaussian", offset=offset)
    found = fit_replicates(X, y, replicates, start, family="gaussian", offset=offset)
    for r, column in enumerate(replicates.weights.T):
        root = np.sqrt(column)
        expected = np.linalg.lstsq(X * root[:, None], (y - offset) * root, rcond=None)[0]
        assert_allclose(found.estimates[r], expected, rtol=1e-10)
    assert_array_equal(found.n_iter, 1)


def test_means_by_the_jackknife_have_the_variance_of_the_textbook():
    y = np.random.default_rng(4).normal(1e6, 5, 30)
    found = replicate_covariance(
        np.ones((30, 1)),
        y,
        replicate_weights("jk1", np.ones(30)),
        np.array([y.mean()]),
        family="gaussian",
        notes=FitNotes(),
    )
    assert_allclose(found.covariance[0, 0], y.var(ddof=1) / 30, rtol=1e-9)
    assert found.df == 29


# --------------------------------------------------------------------------------------------- families and links

OUTCOMES = {
    ("binomial", "logit"): lambda eta, rng: 1.0 * (rng.random(len(eta)) < expit(eta)),
    ("binomial", "probit"): lambda eta, rng: 1.0 * (rng.random(len(eta)) < expit(eta)),
    ("binomial", "cloglog"): lambda eta, rng: rng.binomial(7, expit(eta)) / 7,
    ("binomial", "loglog"): lambda eta, rng: 1.0 * (rng.random(len(eta)) < expit(eta)),
    ("binomial", "cauchit"): lambda eta, rng: 1.0 * (rng.random(len(eta)) < expit(eta)),
    ("binomial", "log"): lambda eta, rng: rng.binomial(9, 0.2 * np.exp(0.5 * eta)) / 9,
    ("poisson", "log"): lambda eta, rng: rng.poisson(np.exp(eta)),
    ("poisson", "sqrt"): lambda eta, rng: rng.poisson((eta + 3) ** 2),
    ("poisson", "identity"): lambda eta, rng: rng.poisson(eta + 4),
    ("gamma", "log"): lambda eta, rng: rng.gamma(2, np.exp(eta)),
    ("gamma", "inverse"): lambda eta, rng: rng.gamma(2, 1e6 / (eta + 4)),  # whatever the unit of the outcome
    ("gaussian", "log"): lambda eta, rng: 100 * np.exp(eta) + rng.normal(0, 10, len(eta)),
    ("inverse_gaussian", "log"): lambda eta, rng: rng.wald(np.exp(eta), 3),
    ("inverse_gaussian", "inverse_squared"): lambda eta, rng: rng.wald((eta + 4) ** -0.5, 3),
    ("negative_binomial", "log"): lambda eta, rng: rng.poisson(np.exp(eta) * rng.gamma(1, 1, len(eta))),
}


def start_for(X, y, weights, family, link):
    """Return the estimate that Fisher scoring finds from the family's own means."""
    y, family, link = y.astype(float), get_family(family), get_link(link)
    mu = (
        np.clip(family.initial_mean(y), *np.quantile(y + 0.01, [0.2, 0.8]))
        if family.name != "binomial"
        else 0.5 + 0 * y
    )
    eta = link.link(mu * np.where(link.name == "log", 0.8, 1.0))
    beta = np.zeros(X.shape[1])
    for _ in range(300):
        mu = link.inverse(eta)
        d = link.inverse_derivative(eta, mu)
        w = weights * d**2 / family.variance(mu)
        new = np.linalg.solve((X.T * w) @ X, X.T @ (w * (eta + (y - mu) / d)))
        if np.abs(new - beta).max() <= 1e-13 * np.abs(new).max():
            break
        beta, eta = new, X @ new
    return beta


@pytest.mark.parametrize(("family", "link"), list(OUTCOMES))
@pytest.mark.parametrize("method", ["jk1", "brr"])
def test_every_family_solves_its_equations(family, link, method):
    X, eta, weights, unit = simulated()
    y = OUTCOMES[family, link](eta, np.random.default_rng(5)).astype(float)
    start = start_for(X, y, weights, family, link)
    replicates = replicate_weights(method, weights, groups=unit, strata=unit // 2 if method == "brr" else None)
    fits = fit_replicates(X, y, replicates, start, family=family, link=link)
    assert fits.converged.all()
    # another step by the definition of scores and information goes nowhere
    V, g = get_family(family), get_link(link)
    step = np.empty_like(fits.estimates)
    for r, w in enumerate(replicates.weights.T):
        predictor = X @ fits.estimates[r]
        mu = g.inverse(predictor)
        d = g.inverse_derivative(predictor, mu)
        scores = X.T @ (w * (y - mu) * d / V.variance(mu))
        step[r] = np.linalg.solve((X.T * (w * d**2 / V.variance(mu))) @ X, scores)
    spread = (fits.estimates - start).std(axis=0)
    assert np.all(np.abs(step) < 1e-8 * spread)
    assert np.all(spread > 0) and np.median(fits.n_iter) <= 5


def test_families_may_be_objects():
    X, eta, weights, unit = simulated()
    y = np.random.default_rng(6).poisson(np.exp(eta)).astype(float)
    replicates = replicate_weights("jk1", weights, groups=unit)
    start = start_for(X, y, weights, "poisson", "log")
    poisson = fit_replicates(X, y, replicates, start, family="poisson").estimates
    nearly = fit_replicates(X, y, replicates, start, family=NegativeBinomial(dispersion=1e-9)).estimates
    assert_allclose(nearly, poisson, rtol=1e-7)


# ------------------------------------------------------------------------------------------------- same in any way


def test_units_rows_and_parts_of_replicates_give_the_same(monkeypatch):
    X, eta, weights, unit = simulated(n=6000, n_units=40)
    y = (np.random.default_rng(7).random(len(eta)) < expit(eta)).astype(float)
    start = logit(X[:, 1:], y, weights)
    replicates = replicate_weights("bootstrap", weights, groups=unit, n_replicates=50, random_state=0)
    expected = fit_replicates(X, y, replicates, start).estimates
    spread = (expected - start).std()
    as_matrix = ReplicateWeights(replicates.weights, method="bootstrap")
    as_factors = ReplicateWeights(replicates.factors[unit], method="bootstrap", combined=False, sample_weight=weights)
    for other in (as_matrix, as_factors):
        assert_allclose(fit_replicates(X, y, other, start).estimates, expected, rtol=0, atol=1e-9 * spread)
    monkeypatch.setattr(replicate_sums, "_MOST_UNIT_SUMS", 0)
    assert_allclose(fit_replicates(X, y, replicates, start).estimates, expected, rtol=0, atol=1e-9 * spread)
    monkeypatch.setattr(replicate_fits, "_MOST_TOGETHER", 7)
    for other in (as_matrix, as_factors, replicates):
        assert_allclose(fit_replicates(X, y, other, start).estimates, expected, rtol=0, atol=1e-9 * spread)


def test_scale_of_weights_and_order_of_rows_mean_nothing():
    X, eta, weights, unit = simulated()
    y = (np.random.default_rng(8).random(len(eta)) < expit(eta)).astype(float)
    replicates = replicate_weights("jk1", weights, groups=unit)
    start, ridge = logit(X[:, 1:], y, weights), np.array([0, 0.5, 0.5, 0.5])
    expected = fit_replicates(X, y, replicates, start, ridge=ridge).estimates
    scaled = ReplicateWeights(1e-5 * replicates.weights * np.arange(1, 25), method="jk1")
    assert_allclose(fit_replicates(X, y, scaled, start, ridge=ridge).estimates, expected, rtol=1e-9)
    rows = np.random.default_rng(9).permutation(len(y))
    assert_allclose(
        fit_replicates(X[rows], y[rows], replicates[rows], start, ridge=ridge).estimates, expected, rtol=1e-9
    )


def test_units_of_features_and_a_distant_origin_do_not_stop_the_iterations():
    X, eta, weights, unit = simulated()
    y = (np.random.default_rng(10).random(len(eta)) < expit(eta)).astype(float)
    moved = X @ np.array([[1, 0, 2000, 0], [0, 1e6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1e-7]])
    replicates = replicate_weights("jk1", weights, groups=unit)
    start = logit(X[:, 1:], y, weights)
    back = np.linalg.inv([[1, 0, 2000, 0], [0, 1e6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1e-7]])
    fits = fit_replicates(moved, y, replicates, back @ start)
    expected = fit_replicates(X, y, replicates, start).estimates
    assert fits.converged.all()
    assert_allclose(fits.estimates[:, 1:] @ np.diag([1e6, 1, 1e-7]), expected[:, 1:], rtol=1e-5)


@pytest.mark.parametrize(("family", "link"), [("binomial", "logit"), ("poisson", "log"), ("gamma", "log")])
def test_a_distant_start_needs_halved_steps_and_gets_there(family, link):
    X, eta, weights, unit = simulated()
    y = OUTCOMES[family, link](eta, np.random.default_rng(11)).astype(float)
    replicates = replicate_weights("jk1", weights, groups=unit)
    start = start_for(X, y, weights, family, link)
    expected = fit_replicates(X, y, replicates, start, family=family, link=link).estimates
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = fit_replicates(X, y, replicates, start + np.array([6.0, -5.0, 4.0, 7.0]), family=family, link=link)
    assert far.converged.all() and far.n_iter.max() > 6
    assert_allclose(far.estimates, expected, rtol=1e-7)


# ------------------------------------------------------------------------------------------------ hard replicates


@pytest.fixture
def hard():
    """Replicates: 0 plain, 1 of one class, 2 separated, 3 nearly so, 4 without a group, 5 of one group, 6 plain."""
    rng = np.random.default_rng(3)
    group = np.arange(80) % 2.0
    x = rng.normal(size=80)
    y = 1.0 * (rng.random(80) < expit(x + group - 0.5))
    weights = rng.uniform(1, 5, 80)
    columns = weights[:, None] * rng.uniform(0.5, 1.5, (80, 7))
    agrees = (x > 0) == (y == 1)
    columns[y == 0, 1] = 0.0
    columns[~agrees, 2] = 0.0
    columns[~agrees, 3] = 0.0
    columns[np.flatnonzero(~agrees)[:2], 3] = 0.3
    columns[group == 1, 4] = 0.0
    columns[group == 0, 5] = 0.0
    X = np.column_stack([np.ones(80), x, group])
    return X, y, weights, ReplicateWeights(columns, method="bootstrap")


def test_separated_and_collinear_replicates_have_no_estimates(hard):
    X, y, weights, replicates = hard
    start = logit(X[:, 1:], y, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_replicates(X, y, replicates, start)
    assert_array_equal(found.converged, [True, False, False, True, False, False, True])
    assert_array_equal(found.singular, [False, False, False, False, True, True, False])
    assert_array_equal(np.isnan(found.estimates).all(axis=1), ~found.converged)
    for r in np.flatnonzero(found.converged):
        assert_allclose(found.estimates[r], logit(X[:, 1:], y, replicates.weights[:, r]), rtol=1e-8)


def test_failed_replicates_are_named_and_made_up_for(hard):
    X, y, weights, replicates = hard
    start, notes = logit(X[:, 1:], y, weights), FitNotes()
    says = r"4 of 7 replicates have no estimates \(2 do not converge .*; in 2 features are collinear"
    with pytest.warns(ConvergenceWarning, match=says):
        found = replicate_covariance(X, y, replicates, start, notes=notes)
    assert np.isnan(found.covariance).all() and len(notes) == 1
    few = ReplicateWeights(np.delete(replicates.weights, [1, 4], axis=1), method="bootstrap")
    with pytest.warns(ConvergenceWarning, match=r"2 of 5 .*\(1 do not converge .*; in 1"):
        found = replicate_covariance(X, y, few, start, notes=notes)
    estimates = found.fits.estimates[found.fits.converged]
    deviations = estimates - estimates.mean(axis=0)
    assert_allclose(found.covariance, deviations.T @ deviations / 4 * 5 / 3)


def test_ridge_has_an_estimate_in_every_replicate(hard):
    X, y, weights, replicates = hard
    start = logit(X[:, 1:], y, weights, penalty="l2")
    # without a group, the column and the intercept are collinear only in replicate 5
    found = fit_replicates(X, y, replicates, start, ridge=np.array([1e-3, 1.0, 1.0]))
    assert found.converged.all()


def test_counts_of_zero_only_have_no_estimate():
    rng = np.random.default_rng(12)
    group = np.arange(60) % 3 == 0
    y = np.where(group, 0.0, rng.poisson(2.0, 60))
    y[[0, 3]] = 1.0
    X, weights = np.column_stack([np.ones(60), group]), np.ones(60)
    columns = rng.uniform(0.5, 1.5, (60, 4))
    columns[[0, 3], 2] = 0.0
    start = np.log([y[~group].mean(), y[group].mean() / y[~group].mean()])
    found = fit_replicates(X, y, ReplicateWeights(columns, method="bootstrap"), start, family="poisson")
    assert_array_equal(found.converged, [True, True, False, True])
    assert not found.singular.any()
    means = [np.average(y[part], weights=columns[part, 1]) for part in (~group, group)]
    assert_allclose(found.estimates[1], [np.log(means[0]), np.log(means[1] / means[0])], rtol=1e-8)
    assert_allclose(full_fit(X, y, weights, start, family="poisson"), start, rtol=1e-10)


def test_replicates_without_a_row_of_the_domain_are_named():
    X, eta, weights, unit = simulated()
    y = (np.random.default_rng(13).random(len(eta)) < expit(eta)).astype(float)
    inside = unit < 3
    replicates = replicate_weights("jk1", np.where(unit < 1, weights, 0.0), groups=unit)[unit < 1]
    fits = fit_replicates(np.ones((10, 1)), y[unit < 1], replicates, np.array([0.1]))
    assert_array_equal(fits.singular, np.arange(24) == 0)
    # units outside the domain change nothing
    domain = replicate_weights("jk1", np.where(inside, weights, 0.0), groups=unit)[inside]
    start = full_fit(X[inside][:, :2], y[inside], weights[inside], np.zeros(2))
    fits = fit_replicates(X[inside][:, :2], y[inside], domain, start)
    assert fits.converged.all()
    assert_allclose(fits.estimates[3:], np.tile(start, (21, 1)), rtol=1e-9)
    assert domain.df == 2


def test_a_replicate_of_the_full_sample_is_the_start():
    X, eta, weights, _ = simulated()
    y = (np.random.default_rng(14).random(len(eta)) < expit(eta)).astype(float)
    start = full_fit(X, y, weights, logit(X[:, 1:], y, weights))
    same = fit_replicates(X, y, ReplicateWeights(np.tile(weights[:, None], 3), scale=1.0), start)
    assert same.converged.all()
    assert_allclose(same.estimates, np.tile(start, (3, 1)), rtol=1e-12)


# --------------------------------------------------------------------------------------------------------- checks


def test_without_columns_there_is_nothing_to_fit():
    found = replicate_covariance(
        np.ones((5, 0)), np.ones(5), replicate_weights("jk1", np.ones(5)), np.zeros(0), notes=FitNotes()
    )
    assert found.covariance.shape == (0, 0) and found.fits.converged.all()


def test_shapes_are_checked():
    replicates = ReplicateWeights(np.ones((5, 2)), scale=1.0)
    for X, y, start in (
        (np.ones((4, 1)), np.ones(4), np.zeros(1)),
        (np.ones((5, 1)), np.ones(4), np.zeros(1)),
        (np.ones((5, 1)), np.ones(5), np.zeros(2)),
    ):
        with pytest.raises(ValueError, match="X has shape"):
            fit_replicates(X, y, replicates, start)


def test_replicates_and_sampling_weights_belong_together():
    weights, notes = np.array([1.0, 2.0, 3.0, 4.0]), FitNotes()
    made = replicate_weights("jk1", weights)
    given = ReplicateWeights(made.weights, method="jk1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(check_replicates(made, None, 4, notes), weights)
        assert_array_equal(check_replicates(made, 10 * weights, 4, notes), 10 * weights)
        domain = np.array([1.0, 0.0, 3.0, 4.0])
        assert_array_equal(check_replicates(made, domain, 4, notes), domain)
        assert_array_equal(check_replicates(given, weights, 4, notes), weights)
    for replicates, sample_weight, n_rows, says in (
        (made.weights, weights, 4, "must be a ReplicateWeights.*got ndarray"),
        (made, weights, 5, "4 rows for 5 rows"),
        (made, [1.0, 2.0, 3.0, 9.0], 4, "other sampling weights than sample_weight, as in row 3: 4 and 9"),
        (given, None, 4, "pass sample_weight="),
    ):
        with pytest.raises(ValueError, match=says):
            check_replicates(replicates, sample_weight, n_rows, notes)
    factors = ReplicateWeights(made.factors, method="jk1")
    with pytest.warns(WeightWarning, match="combined=False"):
        check_replicates(factors, [1.0, 5.0, 9.0, 20.0], 4, notes)
