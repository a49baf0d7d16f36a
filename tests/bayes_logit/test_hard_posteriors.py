"""Posteriors that are far from normal: few clusters, clusters of one row, standard deviations that may be zero.

All of them have to be sampled by pairs, pass the gates, and agree with grids.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes import posterior as sampling
from skdep.bayes.logit import BayesLogit
from skdep.bayes.posterior import sample_posterior
from skdep.bayes.priors import Normal
from skdep.bayes.scale_priors import Exponential, HalfCauchy, HalfNormal, HalfStudentT, LogNormal
from skdep.datasets import load_ohio

from . import references as ref


def assert_sampled(model, *, khat=0.7):
    """Assert that pairs did, and did well."""
    diagnostics = model.diagnostics_
    assert diagnostics["method"] == "pairs"
    assert model.converged_
    assert diagnostics["efficiency"] > 0.75
    assert diagnostics["khat"] < khat
    assert diagnostics["quadrature_error"] < 0.05


def assert_posterior(model, draws, truth):
    """Compare the evidence, means and quantiles with those of a grid, within Monte Carlo error."""
    error = model.diagnostics_["log_evidence_error"]
    assert error < 0.02
    assert abs(model.log_evidence_ - truth.log_evidence) < 4 * error + 0.01
    ess = min(model.diagnostics_["min_ess_bulk"], model.diagnostics_["min_ess_tail"])
    assert np.all(np.abs(draws.mean(axis=0) - truth.mean) < (4 / np.sqrt(ess) + 0.01) * truth.sd)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for level, exact in zip(levels, truth.quantiles(levels), strict=True):
        share = np.mean(draws <= exact, axis=0)
        np.testing.assert_allclose(share, level, atol=4 * np.sqrt(level * (1 - level) / ess) + 0.005)


def draws_of(model):
    """Return draws of the slopes and of the logarithm of the standard deviation."""
    parts = [model.draws_["coef"].reshape(-1, model.coef_.shape[1])]
    if model.fit_intercept:
        parts.insert(0, model.draws_["intercept"].reshape(-1, 1))
    return np.column_stack([*parts, 0.5 * np.log(model.draws_["random_covariance"][..., 0, 0].ravel())])


def fit_counts(successes, trials, prior, **params):
    """Fit random intercepts to counts by cluster; the slope of a constant feature stands for the intercept."""
    groups = np.repeat(np.arange(len(trials)), 2)
    weight = np.ravel(np.column_stack([successes, trials - successes]))
    model = BayesLogit({"coef": Normal(0, 3), "sd": prior}, fit_intercept=False, random_state=0, **params)
    return model.fit(np.ones((len(groups), 1)), np.tile([1, 0], len(trials)), groups=groups, sample_weight=weight)


def grid_of_counts(successes, trials, log_prior, **params):
    """Integrate the same posterior over a grid."""

    def log_density(points):
        eta = np.repeat(points[:, :1], len(trials), axis=1)
        likelihood = ref.random_intercept_log_likelihood(
            eta, successes, trials, np.arange(len(trials)), np.exp(points[:, 1]), n_nodes=161
        )
        return likelihood + stats.norm.logpdf(points[:, 0], 0, 3) + log_prior(points[:, 1])

    return ref.grid(log_density, 2, **{"n_points": 71, "reach": 3.2, **params})


COUNTS = {
    "three clusters": ([2, 3, 1], [5, 5, 5]),
    "three large clusters": ([14, 15, 13], [30, 30, 30]),
    "three clusters far apart": ([0, 5, 2], [5, 5, 5]),
    "five large clusters": ([10, 17, 12, 15, 13], [30] * 5),
    "eight clusters": ([2, 1, 4, 2, 0, 3, 3, 1], [5] * 8),
    "fifteen clusters that are alike": ([10, 11, 9] * 5, [20] * 15),
}


@pytest.mark.parametrize("case", COUNTS)
def test_few_clusters(case):
    successes, trials = (np.array(part, dtype=float) for part in COUNTS[case])
    model = fit_counts(successes, trials, HalfStudentT(4, 1.0))
    truth = grid_of_counts(successes, trials, lambda s: ref.half_t_log_density_of_log(s, 4, 1.0))
    assert_sampled(model)
    assert_posterior(model, draws_of(model), truth)


PRIORS = {
    "half-normal": (HalfNormal(0.5), lambda s: ref.half_normal_log_density_of_log(s, 0.5)),
    "half-Cauchy": (HalfCauchy(5.0), lambda s: ref.half_t_log_density_of_log(s, 1, 5.0)),
    "exponential": (Exponential(1.0), lambda s: s - np.exp(s)),
    "log-normal": (LogNormal(0.3, 2.0), lambda s: stats.norm.logpdf(s, np.log(0.3), 2.0)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors_of_few_clusters(name):
    successes, trials = (np.array(part, dtype=float) for part in COUNTS["eight clusters"])
    prior, log_prior = PRIORS[name]
    model = fit_counts(successes, trials, prior)
    assert_sampled(model)
    assert_posterior(model, draws_of(model), grid_of_counts(successes, trials, log_prior))


def test_three_parameters():
    """Four clusters of six rows with a feature: a grid of three dimensions."""
    rng = np.random.default_rng(6)
    groups, x = np.repeat(np.arange(4), 6), np.tile([-1.0, 1.0], 12)
    y = (rng.uniform(size=24) < special.expit(0.5 * x + rng.normal(size=4)[groups])).astype(int)
    model = BayesLogit({"coef": Normal(0, 2.5), "Intercept": Normal(0, 5)}, random_state=0).fit(
        x[:, None], y, groups=groups
    )
    cell = 2 * groups + (x > 0)
    successes, trials = np.bincount(cell, y), np.bincount(cell).astype(float)
    design = np.column_stack([np.ones(8), np.tile([-1.0, 1.0], 4)])

    def log_density(points):
        values = [
            ref.random_intercept_log_likelihood(
                part[:, :2] @ design.T, successes, trials, np.repeat(np.arange(4), 2), np.exp(part[:, 2]), n_nodes=61
            )
            for part in np.array_split(points, 20)
        ]
        prior = stats.norm.logpdf(points[:, :2], 0, [5.0, 2.5]).sum(axis=1)
        return np.concatenate(values) + prior + ref.half_t_log_density_of_log(points[:, 2], 4, 1.0)

    truth = ref.grid(log_density, 3, n_points=33, reach=2.9)
    assert_sampled(model)
    assert_posterior(model, draws_of(model), truth)


def test_two_standard_deviations():
    """Four clusters, intercepts and slopes that vary without correlation, one slope: a grid of three dimensions."""
    rng = np.random.default_rng(1)
    groups, x = np.repeat(np.arange(4), 8), np.tile([-1.0, 1.0], 16)
    effects = rng.normal(size=(4, 2))
    y = (rng.uniform(size=32) < special.expit(effects[groups, 0] + effects[groups, 1] * x)).astype(int)
    params = {"random_slopes": [0], "covariance": "diagonal", "fit_intercept": False, "random_state": 0}
    model = BayesLogit({"coef": Normal(0, 2.5)}, **params).fit(x[:, None], y, groups=groups)
    cell = 2 * groups + (x > 0)
    successes, trials = np.bincount(cell, y), np.bincount(cell).astype(float)
    Z = np.column_stack([np.ones(8), np.tile([-1.0, 1.0], 4)])

    def log_density(points):
        T = np.exp(points[:, 1:, None]) * np.eye(2)
        total = [
            ref.two_effects_log_likelihood(
                part[:, :1] * Z[:, 1], successes, trials, np.repeat(np.arange(4), 2), Z, factor, n_nodes=21
            )
            for part, factor in zip(np.array_split(points, 20), np.array_split(T, 20), strict=True)
        ]
        prior = stats.norm.logpdf(points[:, 0], 0, 2.5)
        return np.concatenate(total) + prior + ref.half_t_log_density_of_log(points[:, 1:], 4, 1.0).sum(axis=1)

    truth = ref.grid(log_density, 3, n_points=25, reach=2.7)
    variances = np.diagonal(model.draws_["random_covariance"], axis1=2, axis2=3).reshape(-1, 2)
    assert_sampled(model)
    assert_posterior(model, np.column_stack([model.draws_["coef"].ravel(), 0.5 * np.log(variances)]), truth)


# ------------------------------------------------------------------------------------------------ levels of one row
def single_row_grid(cells, log_prior, **params):
    """Integrate a posterior of binary rows, each with an intercept of its own.

    Cells are (row of the design, number of successes, of failures); the marginal probability of a row is computed by
    the trapezoidal rule on a grid of z = b / sd that is finer than its step.
    """
    z = np.linspace(-8.5, 8.5, 501)
    log_node = stats.norm.logpdf(z) + np.log(z[1] - z[0])

    def log_density(points):
        total, sd = log_prior(points), np.exp(points[:, -1])
        for x, successes, failures in cells:
            eta = (points[:, :-1] @ x)[:, None] + sd[:, None] * z
            total += successes * special.logsumexp(log_node - np.logaddexp(0.0, -eta), axis=1)
            total += failures * special.logsumexp(log_node - np.logaddexp(0.0, eta), axis=1)
        return total

    def growth(points):
        # coefficients grow with the standard deviation: over this factor they stay about where they are
        return np.sqrt(1.0 + 0.346 * np.exp(2.0 * points[:, -1:]))

    def grown(points):
        return np.column_stack([points[:, :-1] * growth(points), points[:, -1]])

    def density_over_growth(points):
        parts = [log_density(part) for part in np.array_split(grown(points), -(-len(points) // 1000))]
        return np.concatenate(parts) + (points.shape[1] - 1) * np.log(growth(points)[:, 0])

    return ref.grid(density_over_growth, len(cells[0][0]) + 1, **params).of(grown)


@pytest.mark.parametrize(("n_rows", "n_successes"), [(30, 9), (400, 80)])
def test_clusters_of_one_row(n_rows, n_successes):
    y = (np.arange(n_rows) < n_successes).astype(int)
    prior = {"coef": Normal(0, 3), "sd": HalfStudentT(4, 1.0)}
    model = BayesLogit(prior, fit_intercept=False, random_state=0).fit(
        np.ones((n_rows, 1)), y, groups=np.arange(n_rows)
    )

    def log_prior(points):
        return stats.norm.logpdf(points[:, 0], 0, 3) + ref.half_t_log_density_of_log(points[:, 1], 4, 1.0)

    cells = [(np.ones(1), n_successes, n_rows - n_successes)]
    truth = single_row_grid(cells, log_prior, n_points=71, reach=3.2)
    assert_sampled(model)
    assert_posterior(model, draws_of(model), truth)


def test_ohio_at_one_age():
    """537 children with one row each: the standard deviation is all but unknown, and coefficients grow with it."""
    ohio = load_ohio()
    age, smoke = np.asarray(ohio.data["age"]), np.asarray(ohio.data["smoke"], dtype=float)
    at = age == 0
    x, y, groups = smoke[at, None], np.asarray(ohio.target)[at], np.asarray(ohio.groups)[at]
    model = BayesLogit({"coef": Normal(0, 2.5), "Intercept": Normal(0, 5)}, random_state=0).fit(x, y, groups=groups)
    centre, scale = x.mean(), x.std()
    cells = [
        (np.array([1.0, (value - centre) / scale]), np.sum(y[x[:, 0] == value]), np.sum(1 - y[x[:, 0] == value]))
        for value in (0.0, 1.0)
    ]

    def log_prior(points):
        # of the slope in the user's units, of the intercept at the mean
        normal = stats.norm.logpdf(points[:, :2], 0, [5.0, 2.5 * scale]).sum(axis=1)
        return normal + ref.half_t_log_density_of_log(points[:, 2], 4, 1.0)

    truth = single_row_grid(cells, log_prior, n_points=31, reach=2.8)
    draws = draws_of(model)
    draws[:, 0] += draws[:, 1] * centre
    draws[:, 1] *= scale
    assert_sampled(model)
    assert_posterior(model, draws, truth)


def test_clusters_of_one_and_two_rows_that_agree():
    """Rows of one outcome only in most clusters: quadrature takes many nodes."""
    successes = np.repeat([0.0, 1, 2, 0, 1], [25, 4, 14, 10, 6])
    trials = np.repeat([2.0, 2, 2, 1, 1], [25, 4, 14, 10, 6])
    groups = np.repeat(np.arange(59), trials.astype(int))
    first = np.append(True, groups[1:] != groups[:-1])
    y = np.where(successes[groups] == trials[groups], 1, (successes[groups] > 0) & first).astype(int)
    prior = {"coef": Normal(0, 3), "sd": HalfStudentT(4, 1.0)}
    model = BayesLogit(prior, fit_intercept=False, random_state=0).fit(np.ones((len(y), 1)), y, groups=groups)
    kinds, counts = np.unique(np.column_stack([successes, trials]), axis=0, return_counts=True)

    def log_density(points):
        total = stats.norm.logpdf(points[:, 0], 0, 3) + ref.half_t_log_density_of_log(points[:, 1], 4, 1.0)
        for (k, n), count in zip(kinds, counts, strict=True):
            total += count * ref.random_intercept_log_likelihood(
                points[:, :1], np.array([k]), np.array([n]), np.zeros(1), np.exp(points[:, 1]), n_nodes=401
            )
        return total

    assert_sampled(model)
    assert_posterior(model, draws_of(model), ref.grid(log_density, 2, n_points=71, reach=3.2))


# ------------------------------------------------------------------------------------------------ where searches begin
def some_data(n_groups=12, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), 6)
    X = rng.normal(size=(len(groups), 2))
    eta = X[:, 0] + rng.normal(size=n_groups)[groups]
    return X, (rng.uniform(size=len(groups)) < special.expit(eta)).astype(int), groups


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("grouped", "slopes"), [(False, None), (True, None), (True, [0])])
def test_draws_do_not_depend_on_where_the_search_begins(grouped, slopes):
    X, y, groups = some_data()
    model = BayesLogit(random_slopes=slopes, n_draws=50, random_state=0, method="pairs")
    model.fit(X, y, groups=groups if grouped else None)
    near = model._posterior.points.mean(axis=(0, 1)) + 0.3
    cold, warm = (
        sample_posterior(
            model._rows,
            model._prior,
            method="pairs",
            n_draws=200,
            n_chains=2,
            rng=np.random.default_rng(3),
            start=start,
        )
        for start in (None, near)
    )
    np.testing.assert_allclose(warm.points, cold.points, atol=1e-8)
    assert warm.log_evidence == pytest.approx(cold.log_evidence, abs=1e-7)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_updates_begin_at_the_mode_so_far(monkeypatch):
    X, y, groups = some_data()
    begun, search = [], sampling.find_mode

    def find_mode(target, start, **options):
        begun.append(start)
        return search(target, start, **options)

    monkeypatch.setattr(sampling, "find_mode", find_mode)
    model = BayesLogit(n_draws=50, random_state=0, method="pairs").partial_fit(X[:48], y[:48], groups=groups[:48])
    first = model._posterior.mode.point
    model.partial_fit(X[48:], y[48:], groups=groups[48:])
    np.testing.assert_array_equal(begun[1], first)
    assert not np.array_equal(begun[0], first)


# ----------------------------------------------------------------------------------------------------------- progress
@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_progress_of_pairs():
    X, y, groups = some_data(5)
    model = BayesLogit(n_draws=50, random_state=0, method="pairs").fit(X, y, groups=groups)
    told = []
    sample_posterior(
        model._rows,
        model._prior,
        method="pairs",
        n_draws=200,
        n_chains=2,
        rng=np.random.default_rng(0),
        progress=lambda done, total: told.append((done, total)),
    )
    done, total = np.array(told).T
    assert np.all(np.diff(done) >= 0)
    assert np.all(done <= total)
    assert done[-1] == total[-1] >= 400


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_progress_of_the_no_u_turn_sampler(monkeypatch):
    """With effects integrated, where pairs do not do."""
    pytest.importorskip("nutpie")
    monkeypatch.setattr(sampling, "_N_TUNE", 60)
    X, y, groups = some_data(5)
    model = BayesLogit(n_draws=50, random_state=0, method="pairs").fit(X, y, groups=groups)
    told = []
    run = sampling._Run(40, 2, np.random.default_rng(0), None, sampling.Count(lambda *now: told.append(now)))
    found = sampling._by_marginal_nuts(model._posterior, run)
    assert found.points.shape == (2, 40, 4)
    # tuning counts as well, and the last draws come after the last gradients
    assert {total for _, total in told} == {2 * (40 + 60)}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] > 190


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_gradients_agree_with_the_likelihood_of_levels_of_one_row():
    """Values that come with gradients take quadrature; so many nodes that it does not show."""
    y = (np.arange(60) < 20).astype(int)
    model = BayesLogit(n_draws=100, random_state=0, method="pairs")
    model.fit(np.linspace(-1, 1, 60)[:, None], y[np.random.default_rng(0).permutation(60)], groups=np.arange(60))
    target = sampling._with_gradients(model._posterior, np.random.default_rng(0))
    points = model._posterior.points.reshape(-1, 3)[::20]
    values = np.array([target.value_and_gradient(point)[0] for point in points])
    assert np.quantile(np.abs(values - model._posterior.target.log_likelihood(points)), 0.8) < 0.05
    assert target.n_nodes > 5
