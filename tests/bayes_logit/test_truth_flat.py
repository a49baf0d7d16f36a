"""Posteriors without random effects against closed forms, grids, importance samples and Gibbs chains."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes.logit import BayesLogit
from skdep.bayes.priors import Cauchy, Laplace, LogF, LogisticPrior, Normal, StudentT
from skdep.exceptions import ConvergenceWarning

from . import references as ref


def flat(model):
    """Return the draws of the intercept and the slopes (S, 1 + p)."""
    return np.column_stack([model.draws_["intercept"].ravel(), model.draws_["coef"].reshape(-1, model.coef_.shape[1])])


def assert_posterior(draws, ess, truth, *, share=0.03):
    """Compare means within 4 Monte Carlo errors, standard deviations and quantiles within a share of them."""
    assert np.all(np.abs(draws.mean(axis=0) - truth.mean) < 4 * truth.sd / np.sqrt(ess) + 1e-3 * truth.sd)
    np.testing.assert_allclose(draws.std(axis=0), truth.sd, rtol=share)
    error = np.abs(np.quantile(draws, ref.LEVELS, axis=0) - truth.quantiles())
    width = np.diff(truth.quantiles()[[0, 2]], axis=0)[0]
    assert np.all(error < share * width), error / width


@pytest.mark.parametrize(("k", "n"), [(1, 2), (3, 10), (50, 100), (1, 300)])
@pytest.mark.parametrize(
    ("prior", "a", "b"), [(LogisticPrior(), 1.0, 1.0), (LogF(0.5, 0.5), 0.5, 0.5), (LogF(2, 18), 2.0, 18.0)]
)
def test_one_probability_is_beta(k, n, prior, a, b):
    model = BayesLogit(prior, fit_intercept=False, n_draws=20_000, random_state=1, method="pairs")
    model.fit([[1.0], [1.0]], [1, 0], sample_weight=[k, n - k])
    truth = stats.beta(a + k, b + n - k)
    p = special.expit(model.draws_["coef"].ravel())
    ess = model.diagnostics_["min_ess_bulk"]
    assert abs(p.mean() - truth.mean()) < 4 * truth.std() / np.sqrt(ess)
    np.testing.assert_allclose(p.var(), truth.var(), rtol=0.03)
    assert stats.kstest(p, truth.cdf).statistic < 2.0 / np.sqrt(ess)
    evidence = special.betaln(a + k, b + n - k) - special.betaln(a, b)
    assert abs(model.log_evidence_ - evidence) < 1e-3
    assert model.predict_proba([[1.0]])[0, 1] == pytest.approx(p.mean())


def test_intercept_beside_a_constant_feature():
    """A constant feature has no say: its slope keeps its prior, the intercept is as without it."""
    y = np.repeat([1, 0], [3, 7])
    model = BayesLogit({"Intercept": LogisticPrior(), "coef": Normal(0.5, 2)}, n_draws=10_000, random_state=0)
    model.fit(np.full((10, 1), 4.0), y)
    # the intercept's prior is of the centre, where the log odds are intercept + 4 slope
    at_centre = model.draws_["intercept"] + 4.0 * model.draws_["coef"][..., 0]
    assert stats.kstest(special.expit(at_centre.ravel()), stats.beta(4, 8).cdf).statistic < 0.015
    assert stats.kstest(model.draws_["coef"].ravel(), stats.norm(0.5, 2).cdf).statistic < 0.015
    assert abs(model.log_evidence_ - special.betaln(4, 8)) < 2e-3


def _cells(counts):
    """Return rows of indicators of cells, outcomes and weights of (successes, failures) by cell."""
    X = np.repeat(np.eye(len(counts)), 2, axis=0)
    return X, np.tile([1, 0], len(counts)), np.ravel(counts).astype(float)


def test_saturated_cells_are_independent_betas():
    counts = [(3, 9), (20, 2), (7, 8)]
    X, y, weight = _cells(counts)
    model = BayesLogit(LogF(1.5, 2.5), fit_intercept=False, n_draws=20_000, random_state=3, method="pairs")
    model.fit(X, y, sample_weight=weight)
    p = special.expit(model.draws_["coef"].reshape(-1, 3))
    truths = [stats.beta(1.5 + k, 2.5 + m) for k, m in counts]
    ess = model.diagnostics_["min_ess_bulk"]
    for column, truth in zip(p.T, truths, strict=True):
        assert stats.kstest(column, truth.cdf).statistic < 2.0 / np.sqrt(ess)
    assert np.abs(np.corrcoef(p.T)[np.triu_indices(3, 1)]).max() < 4 / np.sqrt(ess)
    evidence = sum(special.betaln(1.5 + k, 2.5 + m) - special.betaln(1.5, 2.5) for k, m in counts)
    assert abs(model.log_evidence_ - evidence) < 2e-3


def test_bayes_factor_of_two_rates_against_one():
    counts = np.array([(12, 28), (22, 18)])
    X, y, weight = _cells(counts)
    keywords = {"fit_intercept": False, "n_draws": 20_000, "random_state": 0, "method": "pairs"}
    two = BayesLogit(LogisticPrior(), **keywords).fit(X, y, sample_weight=weight)
    one = BayesLogit(LogisticPrior(), **keywords).fit(np.ones((4, 1)), y, sample_weight=weight)
    exact = special.betaln(*(1 + counts).T).sum() - special.betaln(*(1 + counts.sum(axis=0)))
    assert abs(two.log_evidence_ - one.log_evidence_ - exact) < 2e-3


DOSE, DIED = np.array([-0.86, -0.30, -0.05, 0.73]), np.array([0, 1, 3, 5])


@pytest.mark.parametrize("scale", [2.5, 10.0])
def test_bioassay_against_a_grid(scale):
    """Four doses, five animals each: a strongly skewed posterior."""
    X = np.repeat(DOSE, 5)[:, None]
    y = np.concatenate([np.repeat([1, 0], [k, 5 - k]) for k in DIED])
    model = BayesLogit(
        {"Intercept at 0": Normal(0, scale), "coef": Normal(0, 2 * scale)},
        n_draws=15_000,
        random_state=0,
        method="pairs",
    )
    model.fit(X, y)

    def density(points):
        prior = stats.norm.logpdf(points[:, 0], 0, scale) + stats.norm.logpdf(points[:, 1], 0, 2 * scale)
        return ref.binomial_log_likelihood(np.column_stack([np.ones(4), DOSE]), DIED, np.full(4, 5), points) + prior

    truth = ref.grid(density, 2)
    assert_posterior(flat(model), model.diagnostics_["min_ess_bulk"], truth)
    assert abs(model.log_evidence_ - truth.log_evidence) < 5 * model.diagnostics_["log_evidence_error"]
    # the dose at which half of them die
    ld50 = -flat(model)[:, 0] / flat(model)[:, 1]
    exact = truth.of(lambda points: -points[:, 0] / points[:, 1]).quantiles()[:, 0]
    np.testing.assert_allclose(np.quantile(ld50, ref.LEVELS), exact, atol=0.03 * (exact[2] - exact[0]))


PRIORS = [
    (Normal(0.3, 0.8), stats.norm(0.3, 0.8)),
    (StudentT(4, -1.0, 0.7), stats.t(4, -1.0, 0.7)),
    (Cauchy(0.0, 0.5), stats.cauchy(0.0, 0.5)),
    (Laplace(0.0, 0.4), stats.laplace(0.0, 0.4)),
    (LogisticPrior(0.2, 0.6), stats.logistic(0.2, 0.6)),
]


@pytest.mark.parametrize(("prior", "truth"), PRIORS, ids=[repr(prior) for prior, _ in PRIORS])
def test_priors_weights_and_offset_against_a_grid(prior, truth):
    """In the user's units: the feature is neither centred nor scaled."""
    rng = np.random.default_rng(3)
    n = 40
    x, offset, weight = rng.normal(5.0, 2.0, n), rng.normal(size=n), rng.uniform(0.2, 2.0, n)
    y = (rng.uniform(size=n) < special.expit(0.4 * (x - 5) + offset)).astype(int)
    model = BayesLogit(prior, n_draws=15_000, random_state=0, method="pairs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x[:, None], y, sample_weight=weight, offset=offset)
    centre = np.average(x, weights=weight)

    def density(points):
        prior = stats.norm.logpdf(points[:, 0], 0, 5) + truth.logpdf(points[:, 1])
        design = np.column_stack([np.ones(n), x - centre])
        return ref.log_likelihood(design, y, points, weight, offset) + prior

    exact = ref.grid(density, 2, n_points=251)
    in_units = exact.of(lambda points: np.column_stack([points[:, 0] - centre * points[:, 1], points[:, 1]]))
    assert_posterior(flat(model), model.diagnostics_["min_ess_bulk"], in_units)
    tolerance = max(5 * model.diagnostics_["log_evidence_error"], 1e-3)
    assert abs(model.log_evidence_ - exact.log_evidence) < tolerance


@pytest.mark.parametrize("seed", range(6))
def test_small_random_designs_against_grids(seed):
    """Whatever the rows: right, or said to be wrong."""
    rng = np.random.default_rng(seed)
    n, scale = int(rng.integers(3, 25)), float(np.exp(rng.normal()))
    x = rng.normal(size=n)
    y = (rng.uniform(size=n) < special.expit(rng.normal() + 2 * x)).astype(int)
    y[:2] = [0, 1]
    centre = x.mean()
    model = BayesLogit(Normal(0, scale), n_draws=5000, random_state=seed, method="pairs")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x[:, None], y)
    assert model.converged_ == (not caught)

    def density(points):
        prior = stats.norm.logpdf(points[:, 0], 0, 5) + stats.norm.logpdf(points[:, 1], 0, scale)
        return ref.log_likelihood(np.column_stack([np.ones(n), x - centre]), y, points) + prior

    exact = ref.grid(density, 2)
    draws = flat(model)
    draws[:, 0] += centre * draws[:, 1]
    if model.converged_:
        assert_posterior(draws, model.diagnostics_["min_ess_bulk"], exact, share=0.06)
        assert abs(model.log_evidence_ - exact.log_evidence) < 5 * model.diagnostics_["log_evidence_error"]


def _ten(n=300):
    rng = np.random.default_rng(10)
    X = rng.normal(size=(n, 10))
    X[:, 1] += 0.8 * X[:, 0]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (rng.uniform(size=n) < special.expit(-0.5 + X @ rng.normal(scale=0.5, size=10))).astype(int)
    return X, y, np.column_stack([np.ones(n), X])


def test_ten_features_against_importance_sampling():
    X, y, design = _ten()
    scales = np.r_[5.0, np.full(10, 2.5)]
    exact = ref.importance(
        lambda points: ref.log_likelihood(design, y, points) + stats.norm.logpdf(points, 0, scales).sum(axis=1),
        11,
        60_000,
        np.random.default_rng(0),
        df=20,
    )
    model = BayesLogit(n_draws=10_000, random_state=0, method="pairs").fit(X, y)
    n_effective = 1.0 / (1.0 / model.diagnostics_["min_ess_bulk"] + np.sum(exact.weights**2))
    assert_posterior(flat(model), n_effective, exact)
    assert abs(model.log_evidence_ - exact.log_evidence) < 0.02


def test_ten_features_against_polya_gamma_gibbs():
    pytest.importorskip("polyagamma")
    X, y, design = _ten()
    scales = np.r_[5.0, np.full(10, 2.5)]
    chain = ref.gibbs_flat(design, y, np.zeros(11), scales, 12_000, np.random.default_rng(4))
    model = BayesLogit(n_draws=10_000, random_state=1, method="pairs").fit(X, y)
    draws = flat(model)
    error = np.hypot(ref.monte_carlo_error(chain), chain.std(axis=0) / np.sqrt(model.diagnostics_["min_ess_bulk"]))
    assert np.all(np.abs(draws.mean(axis=0) - chain.mean(axis=0)) < 4 * error)
    np.testing.assert_allclose(draws.std(axis=0), chain.std(axis=0), rtol=0.03)
    # within 3% of the width of the interval
    quantiles = np.quantile(chain, ref.LEVELS, axis=0)
    assert np.all(np.abs(np.quantile(draws, ref.LEVELS, axis=0) - quantiles) < 0.03 * (quantiles[2] - quantiles[0]))


def test_complete_separation():
    x = np.linspace(-1, 1, 12)
    y = (x > 0).astype(int)
    model = BayesLogit(Normal(0, 4), n_draws=15_000, random_state=0, method="pairs").fit(x[:, None], y)

    def density(points):
        prior = stats.norm.logpdf(points[:, 0], 0, 5) + stats.norm.logpdf(points[:, 1], 0, 4)
        return ref.log_likelihood(np.column_stack([np.ones(12), x]), y, points) + prior

    exact = ref.grid(density, 2)
    assert_posterior(flat(model), model.diagnostics_["min_ess_bulk"], exact)


def test_rare_events():
    """Half a percent of 20,000."""
    rng = np.random.default_rng(7)
    n = 20_000
    x = rng.integers(-1, 2, n).astype(float)
    y = (rng.uniform(size=n) < special.expit(-5.5 + 0.6 * x)).astype(int)
    model = BayesLogit(n_draws=10_000, random_state=0, method="pairs").fit(x[:, None], y)
    cells, successes = np.array([-1.0, 0.0, 1.0]), np.array([y[x == c].sum() for c in (-1, 0, 1)])
    trials = np.array([(x == c).sum() for c in (-1, 0, 1)])
    design = np.column_stack([np.ones(3), (cells - x.mean()) / x.std()])
    exact = ref.grid(
        lambda points: (
            ref.binomial_log_likelihood(design, successes, trials, points)
            + stats.norm.logpdf(points[:, 0], 0, 5)
            + stats.norm.logpdf(points[:, 1], 0, 2.5)
        ),
        2,
        start=[-5.0, 0.0],
    )
    draws = flat(model)
    draws = np.column_stack([draws[:, 0] + x.mean() * draws[:, 1], draws[:, 1] * x.std()])
    assert 50 < y.sum() < 200
    assert_posterior(draws, model.diagnostics_["min_ess_bulk"], exact)
    assert abs(model.log_evidence_ - exact.log_evidence) < 2e-3


def test_many_rows_are_close_to_the_normal_limit():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 3))
    y = (rng.uniform(size=len(X)) < special.expit(0.5 + X @ [0.3, -0.2, 0.0])).astype(int)
    model = BayesLogit(random_state=0).fit(X, y)
    limit = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(X, y)
    design = np.column_stack([np.ones(len(X)), X])
    p = limit.predict_proba(X)[:, 1]
    cov = np.linalg.inv((design.T * (p * (1 - p))) @ design)
    draws = flat(model)
    sd = np.sqrt(np.diag(cov))
    assert np.all(np.abs(draws.mean(axis=0) - np.r_[limit.intercept_, limit.coef_[0]]) < 0.1 * sd)
    np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.05)
    assert model.diagnostics_["efficiency"] > 0.9


def test_a_posterior_that_pairs_cannot_reach_is_said_to_be_one():
    """A narrow Cauchy prior against the data: two modes of about equal mass, and one proposal."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=8)
    x -= x.mean()
    y = (rng.uniform(size=8) < special.expit(0.5 * x)).astype(int)
    y[:2] = [0, 1]
    with pytest.warns(ConvergenceWarning, match="gates"):
        model = BayesLogit(Cauchy(5.0, 0.02), random_state=0, method="pairs").fit(x[:, None], y)
    assert not model.converged_


def test_many_features_few_rows():
    """50 features, 500 rows: right against a Gibbs chain, or a warning."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(500, 50))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (rng.uniform(size=500) < special.expit(X[:, :5].sum(axis=1))).astype(int)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = BayesLogit(Normal(0, 1), random_state=0, method="pairs").fit(X, y)
    assert model.converged_ == (not caught)
    if model.converged_:
        pytest.importorskip("polyagamma")
        design = np.column_stack([np.ones(500), X])
        chain = ref.gibbs_flat(design, y, np.zeros(51), np.r_[5.0, np.ones(50)], 3000, np.random.default_rng(2))
        draws = flat(model)
        error = np.hypot(ref.monte_carlo_error(chain), chain.std(axis=0) / np.sqrt(model.diagnostics_["min_ess_bulk"]))
        assert np.all(np.abs(draws.mean(axis=0) - chain.mean(axis=0)) < 4.5 * error)
        np.testing.assert_allclose(draws.std(axis=0), chain.std(axis=0), rtol=0.12)
