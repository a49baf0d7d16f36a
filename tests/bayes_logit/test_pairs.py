"""The sampler on densities that are known: weights, chains, moments, refits and gates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from skdep.bayes.independence import sample_by_pairs
from skdep.bayes.mode import PosteriorMode
from skdep.bayes.pairs import PairPool, Proposal, draw_pool, moments_of, run_chains, weighted_points
from skdep.bayes.progress import Count
from skdep.bayes.skew_curve import SkewCurve


def target_of(log_density):
    """Return what the sampler takes for a target."""
    return SimpleNamespace(
        log_density_pairs=lambda centre, moves: (log_density(centre + moves), log_density(centre - moves))
    )


def mode_at(point, precision):
    """Return a mode, said to be there."""
    point, precision = np.atleast_1d(np.asarray(point, dtype=float)), np.atleast_2d(precision)
    return PosteriorMode(point, 0.0, np.asarray(precision, dtype=float), 0.0, 1, True)


def run(log_density, mode, n_draws=5000, seed=0):
    return sample_by_pairs(target_of(log_density), mode, n_draws=n_draws, n_chains=4, rng=np.random.default_rng(seed))


def test_log_density_of_a_proposal():
    rng = np.random.default_rng(0)
    root = np.array([[2.0, 0.0], [0.7, 0.5]])
    moves, log_density = Proposal(np.array([3.0, -1.0]), root, 5.0).moves(rng, 4000)
    truth = stats.multivariate_t(np.zeros(2), root @ root.T, df=5)
    np.testing.assert_allclose(log_density, truth.logpdf(moves), rtol=1e-12)
    np.testing.assert_allclose(np.cov(moves.T), root @ root.T * 5 / 3, rtol=0.15)


def test_skewness_has_left_the_weights():
    """A skewed density 2 q(z) G(z), G(z) + G(-z) = 1, has equal weights, however strong the skewness."""
    proposal = Proposal(np.array([1.5]), np.array([[0.4]]), 7.0)

    def log_density(points):
        z = (points[:, 0] - 1.5) / 0.4
        return np.log(2.0) + stats.t.logpdf(z, 7) - np.log(0.4) + stats.norm.logcdf(6.0 * z) + 11.0

    pool = draw_pool(target_of(log_density), proposal, 500, np.random.default_rng(0))
    np.testing.assert_allclose(pool.log_weights, 11.0, rtol=1e-12)
    assert pool.efficiency == pytest.approx(1.0)
    assert pool.log_evidence == pytest.approx(11.0)
    # almost all of the mass is above the centre
    assert np.mean(pool.points > 1.5) > 0.9
    np.testing.assert_allclose(pool.points + pool.mirrored, 3.0)


@pytest.mark.parametrize(
    "truth",
    [stats.norm(2, 3), stats.gamma(3.0), stats.gumbel_r(1.0, 0.5), stats.skewnorm(8.0)],
    ids=["normal", "gamma", "gumbel", "skew normal"],
)
def test_known_densities_of_one_number(truth):
    centre = truth.median()
    found = run(lambda points: truth.logpdf(points[:, 0]) - 5.0, mode_at(centre, 1.0 / truth.var()))
    assert found.accepted
    assert found.points.shape == (4, 5000, 1)
    assert abs(found.log_evidence + 5.0) < 5 * found.log_evidence_error + 1e-6
    # chains repeat states: fewer independent draws than draws
    assert stats.kstest(found.points.ravel()[::10], truth.cdf).statistic < 0.045


def test_correlated_normal_in_many_dimensions():
    rng = np.random.default_rng(3)
    half = rng.normal(size=(12, 12))
    truth = stats.multivariate_normal(np.arange(12.0), half @ half.T + np.eye(12))
    found = run(truth.logpdf, mode_at(truth.mean, np.linalg.inv(truth.cov)))
    assert found.efficiency > 0.7
    draws = found.points.reshape(-1, 12)
    sd = np.sqrt(np.diag(truth.cov))
    assert np.abs((draws.mean(axis=0) - truth.mean) / sd).max() < 0.05
    assert np.abs((np.cov(draws.T) - truth.cov) / np.outer(sd, sd)).max() < 0.06
    assert abs(found.log_evidence) < 5 * found.log_evidence_error


def test_a_wrong_mode_and_curvature_are_repaired():
    """The proposal begins off centre and too narrow: moments of the posterior put it right."""
    truth = stats.multivariate_normal([1.0, -1.0], [[4.0, 1.0], [1.0, 2.0]])
    found = run(truth.logpdf, mode_at([0.0, 0.0], np.diag([1.0, 2.0])))
    assert found.n_refits >= 1
    assert found.efficiency > 0.6
    np.testing.assert_allclose(np.cov(found.points.reshape(-1, 2).T), truth.cov, atol=0.25)


@pytest.mark.parametrize(
    "log_density",
    [
        lambda x: -1.05 * np.log(np.hypot(1.0, 50.0 * x[:, 0])),
        lambda x: np.logaddexp(stats.norm.logpdf(x[:, 0], 0, 0.05), stats.norm.logpdf(x[:, 0], 40, 0.05)) + 3.0,
    ],
    ids=["tails that no proposal has", "two modes far apart, the proposal wide"],
)
def test_gates_stop_what_went_wrong(log_density):
    assert not run(log_density, mode_at(0.0, 0.002), n_draws=500).accepted


def test_chains_against_metropolis_hastings_step_by_step():
    log_weights = np.random.default_rng(0).normal(scale=1.5, size=(3, 400))
    states, acceptance = run_chains(log_weights, 350, np.random.default_rng(5))
    exponential = np.random.default_rng(5).exponential(size=log_weights.shape)
    n_accepted = 0
    for chain in range(3):
        at, path = 0, [0]
        for step in range(1, 400):
            # u < w(new) / w(old), with u = exp(-exponential)
            if np.exp(-exponential[chain, step]) < np.exp(log_weights[chain, step] - log_weights[chain, at]):
                at = step
                n_accepted += 1
            path.append(at)
        np.testing.assert_array_equal(states[chain], path[50:])
    assert acceptance == pytest.approx(n_accepted / (3 * 399))


def test_chains_visit_states_in_proportion_to_weights():
    """Two kinds of pairs, one with three times the weight of the other, equally often proposed."""
    rng = np.random.default_rng(1)
    heavy = rng.uniform(size=(4, 30_000)) < 0.5
    states, _ = run_chains(np.where(heavy, np.log(3.0), 0.0), 29_000, rng)
    share = np.take_along_axis(heavy, states, axis=1).mean()
    assert abs(share - 0.75) < 0.01


def test_points_without_density_are_never_visited():
    def log_density(points):
        return np.where(points[:, 0] > 0, stats.expon.logpdf(np.abs(points[:, 0])), -np.inf)

    found = run(log_density, mode_at(1.0, 1.0))
    assert found.points.min() > 0
    assert abs(found.log_evidence) < 5 * found.log_evidence_error
    nowhere = draw_pool(
        target_of(lambda points: np.full(len(points), np.nan)),
        Proposal(np.zeros(1), np.eye(1), 8.0),
        10,
        np.random.default_rng(0),
    )
    assert np.all(nowhere.log_weights == -np.inf)


def test_moments_use_both_points_of_pairs():
    rng = np.random.default_rng(0)
    points, mirrored = rng.normal(size=(2, 50, 3))
    share, log_weights = rng.uniform(size=50), rng.normal(size=50)
    both, mass = weighted_points(PairPool(points, mirrored, log_weights, share), log_weights)
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    np.testing.assert_array_equal(both, np.concatenate([points, mirrored]))
    np.testing.assert_allclose(mass, np.concatenate([weights * share, weights * (1 - share)]))
    mean, covariance = moments_of(both, mass)
    np.testing.assert_allclose(mean, np.average(both, axis=0, weights=mass))
    np.testing.assert_allclose(covariance, np.cov(both.T, aweights=mass, ddof=0))


CURVE = SkewCurve(np.zeros(1), np.array([0.3]), np.ones(1), np.zeros(1))


class LongLeftTail:
    """A curve of a normal variable: a left tail of e^x, a normal right one."""

    @staticmethod
    def log_density(points):
        """Return the log density."""
        v = CURVE.inverse(points)
        return (stats.norm.logpdf(v) - CURVE(v)[1])[:, 0]

    def log_density_pairs(self, centre, moves):
        """Return it at centre + moves and at centre - moves."""
        return self.log_density(centre + moves), self.log_density(centre - moves)


class Bent(LongLeftTail):
    """The same with the normal variable for its coordinate, the centre and the variance of which are a little off."""

    @staticmethod
    def coordinates(mode):
        """Return coordinates, a centre, and a variance."""
        return NormalScores(), np.array([0.1]), np.array([[1.1]])


class NormalScores:
    """The coordinate."""

    @staticmethod
    def to_points(v):
        """Return points and log determinants of the Jacobian."""
        points, log_slope = CURVE(v)
        return points, log_slope[:, 0]

    from_points = staticmethod(CURVE.inverse)

    def refitted(self, points, mass):
        """Return the same."""
        return self


def test_coordinates_make_a_hard_density_an_easy_one():
    x = np.linspace(-1, 1, 2001)
    values = LongLeftTail.log_density(x[:, None])
    top = int(values.argmax())
    mode = mode_at(x[top], -np.gradient(np.gradient(values, x), x)[top])
    straight, bent = (
        sample_by_pairs(target, mode, n_draws=3000, n_chains=4, rng=np.random.default_rng(0))
        for target in (LongLeftTail(), Bent())
    )
    assert bent.accepted
    assert bent.n_refits == 0 < straight.n_refits
    assert bent.efficiency > 0.03 + straight.efficiency
    assert bent.khat < 0.3
    assert abs(bent.log_evidence) < 5 * bent.log_evidence_error
    # points come back as points
    assert stats.kstest(CURVE.inverse(bent.points.reshape(-1, 1)[::4])[:, 0], "norm").statistic < 0.03


def test_progress_of_pairs():
    truth, told = stats.multivariate_normal(np.zeros(2), np.eye(2)), []
    count = Count(lambda done, total: told.append((done, total)))
    target = target_of(truth.logpdf)
    target.pairs_at_once = 1000
    sample_by_pairs(
        target,
        mode_at(np.zeros(2), np.eye(2)),
        n_draws=3000,
        n_chains=2,
        rng=np.random.default_rng(0),
        count=count,
    )
    # a pilot, and two chains with their warm-up
    assert told[-1] == (400 + 2 * 3050, 400 + 2 * 3050)
    assert len(told) == 1 + 7
    assert [done for done, _ in told] == sorted(done for done, _ in told)
