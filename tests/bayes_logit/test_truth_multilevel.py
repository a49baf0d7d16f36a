"""Posteriors with random effects against grids, importance samples, Gibbs chains and published results."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes.lkj import LKJ
from skdep.bayes.logit import BayesLogit
from skdep.bayes.priors import Normal
from skdep.bayes.scale_priors import HalfNormal, HalfStudentT
from skdep.datasets import load_cbpp
from skdep.exceptions import ConvergenceWarning

from . import references as ref


def flat(model):
    """Return draws of the intercept, the slopes and the standard deviation of one random intercept."""
    coef = model.draws_["coef"].reshape(-1, model.coef_.shape[1])
    sd = np.sqrt(model.draws_["random_covariance"][..., 0, 0].ravel())
    return np.column_stack([model.draws_["intercept"].ravel(), coef, sd])


def in_units(truth):
    """Return the posterior of the standard deviation in the place of its logarithm, the last parameter."""
    return truth.of(lambda points: np.column_stack([points[:, :-1], np.exp(points[:, -1])]))


def joint_ess(model, truth):
    """Return the effective number of draws of a difference from an importance sample."""
    own = min(model.diagnostics_["min_ess_bulk"], model.diagnostics_["min_ess_tail"])
    return 1.0 / (1.0 / own + np.sum(truth.weights**2))


def assert_posterior(draws, ess, truth, *, share=0.03):
    """Compare means within 4 Monte Carlo errors, the rest within a share of the spread and Monte Carlo error."""
    assert np.all(np.abs(draws.mean(axis=0) - truth.mean) < 4 * truth.sd / np.sqrt(ess) + 0.01 * truth.sd)
    np.testing.assert_allclose(draws.std(axis=0), truth.sd, rtol=share + 4 / np.sqrt(2 * ess))
    quantiles = truth.quantiles()
    error = np.abs(np.quantile(draws, ref.LEVELS, axis=0) - quantiles) / (quantiles[2] - quantiles[0])
    assert np.all(error < share + 2 / np.sqrt(ess)), error


def _counts(case):
    """Return successes and trials by group."""
    if case == "pairs of rows, far apart":
        return np.array([0, 2, 0, 2, 2, 1, 0, 2, 0, 0, 2, 2, 0, 1, 2.0]), np.full(15, 2.0)
    if case == "alike":
        return np.array([5, 6, 4, 5, 5, 6, 5, 4.0]), np.full(8, 12.0)
    return np.array([1, 9, 4, 14, 2, 0, 7, 11, 3, 6.0]), np.array([8, 11, 16, 18, 9, 5, 7, 20, 14, 9.0])


def _rows(successes, trials):
    """Return a constant feature, outcomes, groups and weights."""
    groups = np.repeat(np.arange(len(trials)), 2)
    return (
        np.ones((len(groups), 1)),
        np.tile([1, 0], len(trials)),
        groups,
        np.ravel(np.column_stack([successes, trials - successes])),
    )


# a warning is no reason not to be right
pytestmark = pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")

CASES = ["pairs of rows, far apart", "alike", "plain"]


def _intercepts(case, n_draws=5000):
    """Return a fit without intercept, the slope of a constant feature in its place, and the truth on a grid."""
    successes, trials = _counts(case)
    X, y, groups, weight = _rows(successes, trials)
    prior = {"coef": Normal(0, 3), "sd": HalfStudentT(4, 1.5)}
    model = BayesLogit(prior, fit_intercept=False, n_draws=n_draws, random_state=0, method="pairs")
    model.fit(X, y, groups=groups, sample_weight=weight)
    n_groups = len(trials)

    def likelihood(points):
        eta = np.repeat(points[:, :1], n_groups, axis=1)
        return ref.random_intercept_log_likelihood(eta, successes, trials, np.arange(n_groups), np.exp(points[:, 1]))

    def density(points):
        prior = stats.norm.logpdf(points[:, 0], 0, 3) + ref.half_t_log_density_of_log(points[:, 1], 4, 1.5)
        return likelihood(points) + prior

    return model, ref.grid(density, 2, n_points=161, reach=3.5), successes, trials


@pytest.mark.parametrize("case", CASES)
def test_random_intercepts_against_a_grid(case):
    model, truth, successes, trials = _intercepts(case)
    draws, ess = flat(model)[:, 1:], min(model.diagnostics_["min_ess_bulk"], 2 * model.diagnostics_["min_ess_tail"])
    assert_posterior(draws, ess, in_units(truth))
    tolerance = 5 * model.diagnostics_["log_evidence_error"] + model.diagnostics_["quadrature_error"]
    assert abs(model.log_evidence_ - truth.log_evidence) < tolerance

    kept = truth.weights > 1e-9
    points, weights = truth.points[kept], truth.weights[kept]
    n_groups = len(trials)
    eta = np.repeat(points[:, :1], n_groups, axis=1)
    first, second = ref.random_intercept_moments(eta, successes, trials, np.arange(n_groups), np.exp(points[:, 1]))
    mean = weights @ first
    sd = np.sqrt(weights @ second - mean**2)
    (effects,) = model._effect_draws().values()
    effects = effects[:, :, 0]
    assert np.all(np.abs(effects.mean(axis=0) - mean) < 5 * sd / np.sqrt(ess))
    np.testing.assert_allclose(effects.std(axis=0), sd, rtol=0.03 + 4 / np.sqrt(ess))
    # with the parameters that they were drawn for: what is conditioned on varies as it should
    np.testing.assert_allclose(
        [np.cov(effects[:, g], draws[:, 0])[0, 1] for g in range(n_groups)],
        weights @ (first * points[:, :1]) - mean * truth.mean[0],
        atol=5 * sd.max() * truth.sd[0] / np.sqrt(ess),
    )


def test_predictions_of_known_and_new_groups():
    model, truth, successes, trials = _intercepts("plain")
    kept = truth.weights > 1e-9
    points, weights = truth.points[kept], truth.weights[kept]
    new = weights @ ref.mean_probability(points[:, 0], np.exp(points[:, 1]))
    ess = model.diagnostics_["min_ess_bulk"]
    got, sd = model.predict_proba([[1.0]], return_std=True)
    assert abs(got[0, 1] - new) < 5 * sd[0] / np.sqrt(ess)
    assert model.predict_proba([[1.0]], groups=[99])[0, 1] == pytest.approx(got[0, 1])
    # P(next success | data) of a known group is a ratio of two evidences
    group = 3
    more, rows = successes.copy(), np.arange(len(trials))
    more[group] += 1
    eta = np.repeat(points[:, :1], len(trials), axis=1)
    before = ref.random_intercept_log_likelihood(eta, successes, trials, rows, np.exp(points[:, 1]))
    after = ref.random_intercept_log_likelihood(eta, more, trials + (rows == group), rows, np.exp(points[:, 1]))
    known, known_sd = model.predict_proba([[1.0]], groups=[group], return_std=True)
    assert abs(known[0, 1] - weights @ np.exp(after - before)) < 5 * known_sd[0] / np.sqrt(ess) + 1e-4
    low, high = model.predict_interval([[1.0]], groups=[group], level=0.9)[0]
    assert low < known[0, 1] < high
    np.testing.assert_allclose((high - low) / known_sd[0], 3.29, rtol=0.1)


def test_features_offset_and_weights_against_importance_sampling():
    """Rows with features in odd units, an offset, and fractional weights, the same in each group's rows."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    n = len(groups)
    X = np.column_stack([rng.normal(50, 10, n), rng.integers(2, size=n)])
    offset, weight = rng.normal(scale=0.5, size=n), rng.uniform(0.3, 2.0, n)
    eta = 0.05 * (X[:, 0] - 50) - X[:, 1] + offset + rng.normal(scale=1.0, size=12)[groups]
    y = (rng.uniform(size=n) < special.expit(eta)).astype(int)
    model = BayesLogit({"sd": HalfNormal(1.0)}, n_draws=5000, random_state=0, method="pairs")
    model.fit(X, y, groups=groups, sample_weight=weight, offset=offset)
    centre = np.average(X, axis=0, weights=weight)
    spread = np.sqrt(np.average((X - centre) ** 2, axis=0, weights=weight))
    design = np.column_stack([np.ones(n), (X - centre) / spread])

    def density(points):
        prior = stats.norm.logpdf(points[:, :3], 0, [5, 2.5, 2.5]).sum(axis=1)
        prior += ref.half_normal_log_density_of_log(points[:, 3], 1.0)
        eta = points[:, :3] @ design.T + offset
        return prior + ref.random_intercept_log_likelihood(
            eta, weight * y, weight, groups, np.exp(points[:, 3]), n_nodes=81
        )

    truth = ref.importance(density, 4, 4000, np.random.default_rng(2), df=5)
    draws = flat(model)
    draws[:, 0] += draws[:, 1:3] @ centre
    draws[:, 1:3] *= spread
    ess = joint_ess(model, truth)
    assert_posterior(draws, ess, in_units(truth))
    assert abs(model.log_evidence_ - truth.log_evidence) < 0.05


SEEDS_EVENTS = [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3]
SEEDS_TRIALS = [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7]


def _seeds(prior, **params):
    """Fit Crowder's seeds (1978), Applied Statistics 27, 34-37: 21 plates, two binary features, interaction."""
    events, trials = np.array(SEEDS_EVENTS, dtype=float), np.array(SEEDS_TRIALS, dtype=float)
    plate = np.arange(21)
    variety = (plate >= 11).astype(float)
    extract = (((plate >= 5) & (plate < 11)) | (plate >= 16)).astype(float)
    X = np.column_stack([variety, extract, variety * extract])
    model = BayesLogit(prior, random_state=0, method="pairs", **params)
    model.fit(
        np.repeat(X, 2, axis=0),
        np.tile([1, 0], 21),
        groups=np.repeat(plate, 2),
        sample_weight=np.ravel(np.column_stack([events, trials - events])),
    )
    return model, X, events, trials


def test_seeds_against_importance_sampling_and_published_posterior():
    prior = {"Intercept at 0": Normal(0, 1000), "coef": Normal(0, 1000), "sd": HalfNormal(0.5)}
    model, X, events, trials = _seeds(prior, n_draws=4000)
    design = np.column_stack([np.ones(21), X])

    def density(points):
        eta = points[:, :4] @ design.T
        marginal = ref.random_intercept_log_likelihood(
            eta, events, trials, np.arange(21), np.exp(points[:, 4]), n_nodes=81
        )
        flat = stats.norm.logpdf(points[:, :4], 0, 1000).sum(axis=1)
        return marginal + flat + ref.half_normal_log_density_of_log(points[:, 4], 0.5)

    truth = ref.importance(density, 5, 6000, np.random.default_rng(1), df=5, start=[-0.5, 0, 1.3, -0.8, -1.2])
    draws = flat(model)
    ess = joint_ess(model, truth)
    assert_posterior(draws, ess, in_units(truth))
    assert abs(model.log_evidence_ - truth.log_evidence) < 0.06
    # the BUGS examples' posterior, whose prior of the standard deviation is another: close, not the same
    published = np.array([-0.5546, 0.0850, 1.356, -0.8229])
    published_sd = np.array([0.1941, 0.3127, 0.2743, 0.4321])
    assert np.all(np.abs(draws[:, :4].mean(axis=0) - published) < 0.2 * published_sd)
    np.testing.assert_allclose(draws[:, :4].std(axis=0), published_sd, rtol=0.2)


def test_cbpp_is_close_to_the_published_posterior():
    """rstanarm's example model: medians to one decimal, from a thousand draws."""
    cbpp = load_cbpp()
    model = BayesLogit(n_draws=2000, random_state=0, method="pairs")
    periods = (cbpp.data["period"].to_numpy()[:, None] == ["2", "3", "4"]).astype(float)
    model.fit(periods, cbpp.target, groups=cbpp.groups)
    # beside the size of the herd, which is not among the features here
    np.testing.assert_allclose(np.median(model.draws_["coef"], axis=(0, 1)), [-1.0, -1.1, -1.6], atol=0.15)
    sd = np.sqrt(model.draws_["random_covariance"][..., 0, 0])
    assert 0.6 < np.median(sd) < 0.85


def _slopes(n_groups=16, size=8):
    """Return a feature of -1 and 1, half of each group's rows each, outcomes and groups."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(n_groups), 2 * size)
    x = np.tile(np.repeat([-1.0, 1.0], size), n_groups)
    effects = rng.multivariate_normal([0, 0], [[1.0, 0.4], [0.4, 0.8]], size=n_groups)
    eta = 0.3 + effects[groups, 0] + (0.7 + effects[groups, 1]) * x
    return x, (rng.uniform(size=len(groups)) < special.expit(eta)).astype(int), groups


def test_correlated_slopes_against_importance_sampling():
    x, y, groups = _slopes()
    cell = 2 * groups + (x > 0)
    successes, trials = np.bincount(cell, y), np.bincount(cell).astype(float)
    Z = np.column_stack([np.ones(len(trials)), np.tile([-1.0, 1.0], len(trials) // 2)])

    def factors(points):
        sds, rho = np.exp(points[:, 2:4]), np.tanh(points[:, 4])
        T = np.zeros((len(points), 2, 2))
        T[:, 0, 0], T[:, 1, 0], T[:, 1, 1] = sds[:, 0], sds[:, 1] * rho, sds[:, 1] * np.sqrt(1 - rho**2)
        return T

    def density(points):
        # half-t standard deviations, correlation rho with density 3/4 (1 - rho^2), rho = tanh of the parameter
        prior = stats.norm.logpdf(points[:, :2], 0, [5.0, 2.5]).sum(axis=1)
        prior += ref.half_t_log_density_of_log(points[:, 2:4], 4, 1.0).sum(axis=1)
        prior += np.log(0.75) - 4.0 * np.log(np.cosh(points[:, 4]))
        marginal = ref.two_effects_log_likelihood(
            points[:, :2] @ Z.T, successes, trials, np.repeat(np.arange(16), 2), Z, factors(points)
        )
        return prior + marginal

    truth = ref.importance(density, 5, 2000, np.random.default_rng(3), df=6, start=[0.3, 0.7, 0, -0.2, 0.3])
    model = BayesLogit({"correlation": LKJ(2)}, random_slopes=[0], n_draws=3000, random_state=0, method="pairs")
    model.fit(x[:, None], y, groups=groups)
    covariance = model.draws_["random_covariance"].reshape(-1, 2, 2)
    sds = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    correlation = covariance[:, 0, 1] / sds.prod(axis=1)
    draws = np.column_stack([model.draws_["intercept"].ravel(), model.draws_["coef"].ravel(), sds, correlation])
    ess = joint_ess(model, truth)
    exact = truth.of(lambda p: np.column_stack([p[:, :2], np.exp(p[:, 2:4]), np.tanh(p[:, 4])]))
    assert_posterior(draws, ess, exact)
    assert abs(model.log_evidence_ - truth.log_evidence) < 0.12


def test_shift_of_a_feature_with_a_random_slope():
    """The full covariance is of intercepts at the centre: a shift moves draws by an exact map."""
    x, y, groups = _slopes()
    params = {"random_slopes": [0], "n_draws": 100, "random_state": 0, "method": "pairs"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain, moved = (BayesLogit(**params).fit(2.0 * x[:, None] + shift, y, groups=groups) for shift in (0.0, 7.0))
    back = np.array([[1.0, 7.0], [0.0, 1.0]])
    np.testing.assert_allclose(
        back @ moved.draws_["random_covariance"] @ back.T, plain.draws_["random_covariance"], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(plain.log_evidence_, moved.log_evidence_, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_quadrature_is_good_enough_at_the_draws(case):
    """Not only where the number of nodes was chosen: at the draws."""
    model, *_ = _intercepts(case, n_draws=1000)
    target = model._posterior.target
    points = model._posterior.points.reshape(-1, 2)[::40]
    fine = target.with_nodes(61)
    fine.prepare(points[0])
    error = np.abs(fine.log_likelihood(points) - target.log_likelihood(points))
    # few draws have standard deviations far beyond those that the number of nodes was chosen for
    assert np.quantile(error, 0.9) < 0.05
    assert error.max() < 0.5
