"""The general sampler: posteriors against brute force, reproducibility, what it says without its extra."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from skdep.bayes.convergence import convergence, mcse_mean, mcse_quantile
from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_start import prepare_joint
from skdep.bayes.nuts import has_nutpie, sample_by_nuts
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.priors import Laplace, Normal
from skdep.bayes.working import bayes_rows
from skdep.mixed.terms import make_terms

from . import references

needs_nutpie = pytest.mark.skipif(not has_nutpie(), reason="nutpie cannot be imported")


def prepared(X, y, *, groups=None, prior=None):
    """Return the joint density of data in their own units, its prior and coordinates; sd half-t(4, 1)."""
    n, p = X.shape
    names = [f"x{j}" for j in range(p)]
    terms = []
    if groups is not None:
        terms = make_terms(groups, n, None, random_intercept=True, feature_names=names, n_features=p)
    spec = resolve_priors(prior, names, np.ones(p), np.zeros(p), terms)
    rows = bayes_rows(X, y, None, None, terms, spec.layout)
    return spec, *prepare_joint(rows, spec, spec.layout)


def agree(draws, expected: references.Weighted, slack):
    """Compare means and quantiles of draws (chain, draw, k), up to Monte Carlo errors and a share of the sd.

    Standard deviations are not compared: with the tails of half-t scales they are known much less well.
    """
    slack = slack * expected.sd
    assert np.all(np.abs(draws.mean(axis=(0, 1)) - expected.mean) < 4 * mcse_mean(draws) + slack)
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        gap = np.quantile(draws, level, axis=(0, 1)) - expected.quantiles([level])[0]
        assert np.all(np.abs(gap) < 4 * mcse_quantile(draws, level) + slack)


@needs_nutpie
def test_flat_posterior_is_that_of_a_grid():
    """A prior with a kink, and few data."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=25)
    y = (rng.random(25) < 1 / (1 + np.exp(-2 * x))).astype(float)
    _, target, coordinates = prepared(x[:, None], y, prior={"Intercept": Normal(0, 2), "coef": Laplace(0, 0.5)})
    run = sample_by_nuts(target, coordinates, n_draws=1000, n_chains=2, rng=np.random.default_rng(1))
    X = np.column_stack([np.ones(25), x])

    def log_density(points):
        prior = stats.norm.logpdf(points[:, 0], 0, 2) + stats.laplace.logpdf(points[:, 1], 0, 0.5)
        return references.log_likelihood(X, y, points) + prior

    agree(run.long_points, references.grid(log_density, 2, n_points=121), slack=0.01)
    assert run.n_deepest == 0 and np.all(run.energy_ratio > 0.3)


@needs_nutpie
def test_horseshoe_posterior_is_that_of_weighted_prior_draws():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(12, 2))
    y = (X[:, 0] + 0.5 * rng.normal(size=12) > 0).astype(float)
    horseshoe = Horseshoe(0.3)
    spec, target, coordinates = prepared(X, y, prior={"Intercept": Normal(0, 1), "coef": horseshoe})
    run = sample_by_nuts(target, coordinates, n_draws=500, n_chains=2, n_tune=200, rng=np.random.default_rng(3))
    n = 100_000
    points = np.column_stack([rng.normal(size=n), horseshoe.sample(rng, n, n_features=2)])
    weights = np.exp(references.log_likelihood(np.column_stack([np.ones(12), X]), y, points))
    expected = references.Weighted(points, weights / weights.sum())
    draws = spec.working_coefficients(run.long_points)
    agree(draws, expected, slack=0.04)


def crossed_data():
    rng = np.random.default_rng(4)
    n = 90
    groups = np.column_stack([np.arange(n) % 15, rng.integers(0, 3, n)])
    x = np.round(rng.normal(size=n), 1)
    eta = 0.7 * x + 1.2 * rng.normal(size=15)[groups[:, 0]] + np.array([0.8, -0.5, 0.0])[groups[:, 1]]
    return x, groups, (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)


def crossed_reference(x, groups, y, n_points=15_000):
    """Return the posterior of intercept, slope, both log sds and the three effects of the second factor, by importance.

    Intercepts of the first factor are integrated numerically.
    """

    def log_density(points):
        eta = points[:, :1] + points[:, 1:2] * x + (np.exp(points[:, 3:4]) * points[:, 4:])[:, groups[:, 1]]
        total = references.random_intercept_log_likelihood(
            eta, y, np.ones(len(y)), groups[:, 0], np.exp(points[:, 2]), n_nodes=33, reach=5.5
        )
        total += stats.norm.logpdf(points[:, 0], 0, 2) + stats.norm.logpdf(points[:, 1], 0, 1)
        total += references.half_t_log_density_of_log(points[:, 2:4], 4, 1).sum(axis=1)
        return total + stats.norm.logpdf(points[:, 4:]).sum(axis=1)

    rng, rest = np.random.default_rng(5), [0, 1, 2, 4, 5, 6]
    first = references.importance(log_density, 7, 2000, rng, df=5)
    # again, about the moments; the log sd of three levels has a long tail, which needs a proposal of its own
    others = stats.multivariate_t(first.mean[rest], 1.4 * first.cov[np.ix_(rest, rest)], df=5)
    log_sd = stats.t(4, loc=-0.5, scale=1.3)
    points = np.empty((n_points, 7))
    points[:, rest], points[:, 3] = others.rvs(n_points, random_state=rng), log_sd.rvs(n_points, random_state=rng)
    log_weights = log_density(points) - others.logpdf(points[:, rest]) - log_sd.logpdf(points[:, 3])
    weights = np.exp(log_weights - log_weights.max())
    found = references.Weighted(points, weights / weights.sum())
    return found.of(lambda points: np.column_stack([points[:, :4], np.exp(points[:, 3:4]) * points[:, 4:]]))


@needs_nutpie
def test_crossed_posterior_is_that_of_importance_sampling():
    x, groups, y = crossed_data()
    expected = crossed_reference(x, groups, y)
    assert 1 / np.sum(expected.weights**2) > 2000
    prior = {"Intercept": Normal(0, 2), "coef": Normal(0, 1)}
    _, target, coordinates = prepared(x[:, None], y, groups=groups, prior=prior)
    run = sample_by_nuts(target, coordinates, n_draws=600, n_chains=4, rng=np.random.default_rng(6))
    points, (_, second) = target.split(run.long_points)
    agree(np.concatenate([points, second[..., 0]], axis=-1), expected, slack=0.05)
    checks = convergence(run.long_points)
    assert checks.max_rhat < 1.02 and checks.min_ess_bulk > 800
    assert run.n_divergences <= 4 and np.all(run.energy_ratio > 0.3)


@needs_nutpie
def test_the_same_seed_gives_the_same_draws():
    x, groups, y = crossed_data()
    _, target, coordinates = prepared(x[:, None], y, groups=groups)

    def run(seed, **arguments):
        rng = np.random.default_rng(seed)
        settings = dict(n_draws=10, n_chains=2, n_tune=20, **arguments)
        return sample_by_nuts(target, coordinates, rng=rng, **settings).long_points

    first = run(7)
    assert first.shape == (2, 10, target.n_dim)
    assert_array_equal(run(7), first)
    assert_array_equal(run(7, n_jobs=2), first)
    assert not np.allclose(run(8), first)
    assert not np.allclose(first[0], first[1])
    assert_array_equal(run(7, keep=slice(4)), first[..., :4])


def test_without_the_extra_it_says_what_to_do(monkeypatch):
    x, groups, y = crossed_data()
    _, target, coordinates = prepared(x[:, None], y, groups=groups)
    monkeypatch.setitem(sys.modules, "nutpie", None)
    assert not has_nutpie()
    with pytest.raises(ImportError, match=r"skdep\[bayes\].*MixedLogit"):
        sample_by_nuts(target, coordinates, n_draws=5, n_chains=1, rng=np.random.default_rng(0))
