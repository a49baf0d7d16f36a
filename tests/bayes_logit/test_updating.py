"""Updating: batches against all rows at once, Beta posteriors in closed form, powers, weights, certificates."""

from __future__ import annotations

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from scipy.special import betaln, digamma, expit, polygamma
from sklearn.base import clone

from skdep.bayes.flat_target import FlatTarget
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.logit import BayesLogit
from skdep.bayes.mode import find_mode
from skdep.bayes.multilevel_target import MultilevelTarget
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.priors import Cauchy, LogF, LogisticPrior, Normal, StudentT
from skdep.bayes.scale_priors import HalfNormal
from skdep.bayes.updating_gaussian import Power, discounted_prior
from skdep.bayes.updating_rows import factors_of_batch, join_levels, merged_rows, recoded_rows
from skdep.bayes.working import bayes_rows, centres_and_scales
from skdep.exceptions import ConvergenceWarning
from skdep.mixed.terms import make_terms

# few draws, so that tests are fast: R-hat and effective draws complain
pytestmark = pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")

PRIOR = {"Intercept at 0": Normal(0.5, 2.0), "coef": Normal(0.0, 1.5)}
MODES = ("exact", "gaussian", "draws")


def flat_data(n=240, p=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * [1.0, 3.0][:p] + [2.0, 0.0][:p]
    return X, (rng.random(n) < expit(0.6 * X[:, 0] - 1.5)).astype(int)


def grouped_data(seed=0, n_levels=24, size=10):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_levels), size)
    X = rng.normal(size=(len(groups), 1))
    effects = rng.normal(size=n_levels)[groups]
    return X, (rng.random(len(groups)) < expit(0.5 * X[:, 0] - 0.3 + effects)).astype(int), groups


def model(prior=PRIOR, **options):
    return BayesLogit(prior, **{"n_draws": 500, "random_state": 0, "method": "pairs", **options})


def update(estimator, batches):
    for batch in batches:
        estimator.partial_fit(*batch[:2], classes=[0, 1], **(batch[2] if len(batch) > 2 else {}))
    return estimator


def split(X, y, sizes):
    ends = np.cumsum(sizes)
    return [(X[a:b], y[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def mode_of(target, layout):
    """The mode to rounding error, coefficients in the user's units, the rest as it is."""
    found = find_mode(target, find_mode(target, target.start()).point, tol=1e-24)
    k = layout.n_coefficients
    return np.concatenate([layout.to_user @ found.point[:k], found.point[k:]]), found


def flat_mode(estimator):
    return mode_of(FlatTarget(estimator._rows, estimator._prior), estimator._prior.layout)[0]


def one_batch(n, k):
    """Rows of an intercept-only model: the feature is 0 and its slope keeps its prior."""
    return np.zeros((n, 1)), (np.arange(n) < k).astype(int)


def beta_integral(a, b, successes, failures):
    return betaln(a + successes, b + failures) - betaln(a, b)


# ------------------------------------------------------------------------------------------------------------- exact
def test_exact_is_the_fit_of_all_rows():
    X, y = flat_data()
    parts = update(model(), split(X, y, [60, 100, 80]))
    whole = model().fit(X, y)
    assert_allclose(flat_mode(parts), flat_mode(whole), rtol=1e-8, atol=1e-10)
    assert_allclose(parts.log_evidence_, whole.log_evidence_, atol=0.04)
    sd = np.sqrt(np.diag(whole.covariance_))
    assert_allclose(parts.coef_[0], whole.coef_[0], atol=0.15 * sd[1:].max())
    assert_allclose(np.sqrt(np.diag(parts.covariance_)), sd, rtol=0.08)


def test_exact_whatever_the_order():
    X, y = flat_data(150)
    batches = split(X, y, [50, 40, 60])
    found = [update(model(n_draws=100), order) for order in itertools.permutations(batches)]
    modes = np.array([flat_mode(estimator) for estimator in found])
    assert_allclose(modes, np.broadcast_to(modes[0], modes.shape), rtol=1e-8, atol=1e-10)
    assert np.ptp([estimator.log_evidence_ for estimator in found]) < 0.15
    # the same first batch: rows, and with them all densities, are the same
    X_rows = [np.sort(e._rows.fixed.sum(axis=1) + 7.0 * e._rows.outcome) for e in found[:2]]
    assert_allclose(X_rows[0], X_rows[1], rtol=1e-12)


def test_the_first_batch_settles_the_default_prior():
    X, y = flat_data()
    first, rest = split(X, y, [70, 170])
    estimator = update(model(None), [first, rest])
    centres, scales = centres_and_scales(first[0], None, fit_intercept=True)
    all_centres, all_scales = centres_and_scales(X, None, fit_intercept=True)
    spec = resolve_priors(None, ["a", "b"], all_scales, all_centres, spreads=scales, reference=centres)
    target = FlatTarget(bayes_rows(X, y.astype(float), None, None, [], spec.layout), spec)
    expected, mode = mode_of(target, spec.layout)
    assert_allclose(flat_mode(estimator), expected, rtol=1e-8)
    ours = FlatTarget(estimator._rows, estimator._prior)
    found = mode_of(ours, estimator._prior.layout)[1]
    jacobian = np.log(all_scales / scales).sum()
    assert_allclose(found.log_density, mode.log_density + jacobian, rtol=1e-10)


def test_equal_rows_are_counted():
    rng = np.random.default_rng(1)
    X = rng.integers(0, 3, size=(600, 2)).astype(float)
    y = rng.integers(0, 2, size=600)
    estimator = update(model(n_draws=100), split(X, y, [100] * 6))
    assert estimator._rows.n_rows == 9
    assert estimator._rows.weight.sum() == 600 and estimator._rows.outcome.sum() == y.sum()
    assert_array_equal(estimator.history_.n_rows, [100] * 6)


def test_weights_and_offsets_of_batches():
    X, y = flat_data(120)
    weights, offset = np.tile([0.0, 1.0, 2.0], 40), np.linspace(-1.0, 1.0, 120)
    parts = model(n_draws=100)
    parts.partial_fit(X[:50], y[:50], sample_weight=weights[:50])
    parts.partial_fit(X[50:], y[50:], sample_weight=weights[50:], offset=offset[50:])
    whole = model(n_draws=100).fit(X, y, sample_weight=weights, offset=np.where(np.arange(120) < 50, 0.0, offset))
    assert_allclose(flat_mode(parts), flat_mode(whole), rtol=1e-8, atol=1e-10)
    assert_array_equal(parts.history_.n_rows, [(weights[:50] > 0).sum(), (weights[50:] > 0).sum()])
    with pytest.warns(UserWarning, match="fitted with an offset"):
        parts.predict(X[:2])


# --------------------------------------------------------------------------------------------------- closed form: Beta
@pytest.mark.parametrize("updating", MODES)
def test_beta_posterior_in_batches(updating):
    prior = {"Intercept at 0": LogisticPrior(), "coef": Normal(0.0, 1.0)}
    counts = [(40, 11), (30, 12), (5, 2), (45, 20)]
    estimator = model(prior, updating=updating, n_draws=1000)
    successes = failures = 0
    # the evidence of weighted draws is as good as their number
    tolerance = {"exact": 0.012, "gaussian": 0.02, "draws": 0.06}[updating]
    for n, k in counts:
        estimator.partial_fit(*one_batch(n, k))
        gain = beta_integral(1 + successes, 1 + failures, k, n - k)
        assert_allclose(estimator.diagnostics_["log_evidence_batch"], gain, atol=tolerance)
        successes, failures = successes + k, failures + n - k
        exact = stats.beta(1 + successes, 1 + failures)
        p = expit(estimator.draws_["intercept"].ravel())
        assert_allclose(p.mean(), exact.mean(), atol=0.08 * exact.std())
        assert_allclose(p.std(), exact.std(), rtol=0.06)
    assert_allclose(estimator.log_evidence_, beta_integral(1, 1, successes, failures), atol=2 * tolerance)
    assert estimator.n_batches_ == 4
    methods = estimator.history_.methods
    assert ("reweighted" in methods) == (updating == "draws") and methods[0] == "pairs"


@pytest.mark.parametrize("updating", ["exact", "draws"])
def test_forgetting_discounts_counts(updating):
    prior = {"Intercept at 0": LogF(2.0, 3.0), "coef": Normal(0.0, 1.0)}
    estimator = model(prior, updating=updating, forgetting=0.9, n_draws=1000)
    a, b, total = 0.0, 0.0, 0.0
    for n, k in [(40, 11), (30, 12), (4, 3), (50, 20)]:
        estimator.partial_fit(*one_batch(n, k))
        if total:
            a, b = 0.9 * a, 0.9 * b
        gain = beta_integral(2.0 + a, 3.0 + b, k, n - k)
        assert_allclose(estimator.diagnostics_["log_evidence_batch"], gain, atol=0.015 if updating == "exact" else 0.06)
        a, b, total = a + k, b + n - k, total + gain
    exact = stats.beta(2.0 + a, 3.0 + b)
    p = expit(estimator.draws_["intercept"].ravel())
    assert_allclose(p.mean(), exact.mean(), atol=0.08 * exact.std())
    assert_allclose(p.std(), exact.std(), rtol=0.06)
    assert_allclose(estimator.log_evidence_, total, atol=0.03 if updating == "exact" else 0.1)
    assert_allclose(estimator._updates.log_integral, beta_integral(2.0, 3.0, a, b), atol=0.06)


def test_evidence_when_forgetting_begins_late():
    prior = {"Intercept at 0": LogisticPrior(), "coef": Normal(0.0, 1.0)}
    estimator = model(prior).partial_fit(*one_batch(20, 5))
    estimator.set_params(forgetting=0.5).partial_fit(*one_batch(10, 5))
    estimator.set_params(forgetting=1.0).partial_fit(*one_batch(8, 2))
    expected = [
        beta_integral(1, 1, 5, 15),
        beta_integral(1 + 2.5, 1 + 7.5, 5, 5),
        beta_integral(1 + 7.5, 1 + 12.5, 2, 6),
    ]
    assert_allclose(estimator.history_.log_evidence, expected, atol=0.02)
    assert_allclose(estimator.log_evidence_, sum(expected), atol=0.04)


def test_forgetting_is_a_weight():
    X, y = flat_data(200)
    estimator = update(model(n_draws=100, forgetting=0.7), split(X, y, [80, 60, 60]))
    weights = np.repeat([0.49, 0.7, 1.0], [80, 60, 60])
    assert_allclose(flat_mode(estimator), flat_mode(model(n_draws=100).fit(X, y, sample_weight=weights)), rtol=1e-8)


def test_forgotten_rows_are_dropped():
    X, y = flat_data(80)
    estimator = update(model(n_draws=50, forgetting=1e-7), split(X, y, [40, 20, 20]))
    assert estimator._rows.n_rows == 40


# ---------------------------------------------------------------------------------------------------------- Gaussian
def log_odds_moments(a, b):
    return digamma(a) - digamma(b), np.sqrt(polygamma(1, a) + polygamma(1, b))


@pytest.mark.parametrize(("n", "k"), [(40, 12), (400, 90), (15, 1)])
def test_certificate_is_the_divergence(n, k):
    prior = {"Intercept at 0": LogisticPrior(), "coef": Normal(0.0, 1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = model(prior, updating="gaussian").fit(*one_batch(n, k))
    a, b = 1.0 + k, 1.0 + n - k
    mean, sd = log_odds_moments(a, b)
    normal = estimator._updates.carried
    assert_allclose(normal.loc[0], mean, atol=0.03 * sd)
    assert_allclose(normal.sd[0], sd, rtol=0.04)
    assert_allclose(normal.sd[1], 1.0, rtol=0.04)

    def integrand(x):
        log_posterior = a * x - (a + b) * np.logaddexp(0.0, x) - betaln(a, b)
        return np.exp(log_posterior) * (log_posterior - stats.norm.logpdf(x, mean, sd))

    kl = integrate.quad(integrand, mean - 14 * sd, mean + 9 * sd, epsabs=1e-10)[0]
    # the larger of two estimates errs upwards
    assert 0.75 * kl - 0.002 < estimator.diagnostics_["gaussian_kl"] < 2.0 * kl + 0.005


def test_gaussian_error_is_within_the_certificate():
    X, y = flat_data(600)
    estimator = update(model(updating="gaussian", n_draws=1000), split(X, y, [200] * 3))
    whole = model(n_draws=1000).fit(X, y)
    sd = np.sqrt(np.diag(whole.covariance_))
    assert_allclose(np.append(estimator.coef_[0], estimator.intercept_), np.append(whole.coef_[0], whole.intercept_),
                    atol=0.2 * sd.max())  # fmt: skip
    assert_allclose(np.sqrt(np.diag(estimator.covariance_)), sd, rtol=0.08)
    assert_allclose(estimator.log_evidence_, whole.log_evidence_, atol=0.1)
    assert 0.0 <= estimator.diagnostics_["gaussian_kl"] < 0.01
    rows = X[:50]
    bound = 3 * np.sqrt(0.5 * 0.01)
    assert np.abs(estimator.predict_proba(rows) - whole.predict_proba(rows)).max() < bound


def test_separation_is_flagged():
    X = np.linspace(-1.0, 1.0, 16)[:, None]
    with pytest.warns(ConvergenceWarning, match=r"updating='gaussian'.*loses much"):
        estimator = model({"coef": Normal(0, 10.0)}, updating="gaussian").fit(X, (X[:, 0] > 0).astype(int))
    assert estimator.diagnostics_["gaussian_kl"] > 0.05
    X, y = flat_data(400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(updating="gaussian").fit(X, y)


def test_gaussian_keeps_no_data():
    X, y = flat_data(900)
    sizes = []
    estimator = model(updating="gaussian", n_draws=50)
    for batch in split(X, y, [100, 700, 100]):
        estimator.partial_fit(*batch)
        sizes.append(len(pickle.dumps(estimator)))
    assert estimator._rows is None and estimator._posterior.target is None
    assert max(sizes) - min(sizes) < 2000
    assert_array_equal(estimator.history_.n_rows, [100, 700, 100])
    with pytest.raises(ValueError, match="needs the rows of earlier batches"):
        estimator.set_params(updating="exact").partial_fit(X[:50], y[:50])


def test_from_exact_to_gaussian():
    X, y = flat_data(500)
    first, second, third = split(X, y, [200, 150, 150])
    changed = update(model(n_draws=1000), [first, second])
    changed.set_params(updating="gaussian").partial_fit(*third)
    assert changed._rows is None
    whole = model(n_draws=1000).fit(X, y)
    assert_allclose(changed.log_evidence_, whole.log_evidence_, atol=0.06)


def test_discounted_normal_prior_in_closed_form():
    spec = resolve_priors(PRIOR, ["a", "b"], [1.0, 3.0], [2.0, 0.0])
    posterior = MultivariateNormal([0.3, 0.5, -0.2], np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.05], [0.0, 0.05, 0.4]]))
    found = discounted_prior(spec, posterior, 0.8, np.random.default_rng(0))
    points = np.random.default_rng(1).normal(size=(6, 3))
    expected = 0.8 * posterior.log_density(points) + 0.2 * spec.log_density(points)
    difference = found.log_density(points) - expected
    assert_allclose(difference, difference[0], rtol=1e-10)
    (block,) = found.blocks
    assert_allclose(block.prior.log_density(block.prior.loc), found.log_density(block.prior.loc))


def test_discounted_prior_that_is_not_normal():
    spec = resolve_priors({"Intercept at 0": Cauchy(0.0, 1.0), "coef": StudentT(4, 0.0, 1.0)}, ["a"], [2.0], [1.0])
    posterior = MultivariateNormal([0.3, 0.5], [[0.3, 0.1], [0.1, 0.2]])
    found = discounted_prior(spec, posterior, 0.6, np.random.default_rng(0))
    assert isinstance(found.blocks[0], Power) and found.smooth and not found.has_latents
    grid = np.linspace(-9.0, 9.0, 241)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    density = np.exp(found.log_density(points))
    cell = (grid[1] - grid[0]) ** 2
    assert_allclose(density.sum() * cell, 1.0, atol=0.01)
    mean = (density[..., None] * points).sum(axis=(0, 1)) * cell
    assert_allclose(found.sample_points(1, 20_000).mean(axis=0), mean, atol=0.05)
    step, at = 1e-5, np.array([0.2, -0.4])
    for j in range(2):
        move = step * np.eye(2)[j]
        slope = (found.log_density(at + move) - found.log_density(at - move)) / (2 * step)
        assert_allclose(found.gradient(at)[j], slope, rtol=1e-7)
        bend = (found.gradient(at + move) - found.gradient(at - move)) / (2 * step)
        assert_allclose(found.hessian(at)[j], bend, rtol=1e-6, atol=1e-9)
    assert np.linalg.eigvalsh(found.curvature(at))[0] > 0


@pytest.mark.parametrize("slope", [Normal(0.0, 1.5), StudentT(4, 0.0, 1.5)])
def test_gaussian_and_exact_forget_alike(slope):
    X, y = flat_data(600)
    batches = split(X, y, [200] * 3)
    prior = {"Intercept at 0": Normal(0.0, 2.0), "coef": slope}
    exact, normal = (
        update(model(prior, updating=how, forgetting=0.8, n_draws=1000), batches) for how in ("exact", "gaussian")
    )
    sd = np.sqrt(np.diag(exact.covariance_))
    assert_allclose(normal.coef_, exact.coef_, atol=0.2 * sd[1:].max())
    assert_allclose(np.sqrt(np.diag(normal.covariance_)), sd, rtol=0.08)
    assert_allclose(normal.history_.log_evidence, exact.history_.log_evidence, atol=0.06)


# -------------------------------------------------------------------------------------------------------------- draws
def test_draws_are_weighted_until_they_must_move():
    X, y = flat_data(600)
    small = split(X, y, [400] + [20] * 10)
    estimator = update(model(updating="draws", n_draws=1000), small[:4])
    assert estimator.history_.methods == ("pairs", "reweighted", "reweighted", "reweighted")
    assert 0.5 < estimator.diagnostics_["efficiency"] < 1.0 and estimator.diagnostics_["khat"] < 0.7
    exact = update(model(n_draws=1000), small[:4])
    sd = np.sqrt(np.diag(exact.covariance_))
    assert_allclose(estimator.coef_, exact.coef_, atol=0.2 * sd[1:].max())
    assert_allclose(np.sqrt(np.diag(estimator.covariance_)), sd, rtol=0.1)
    assert_allclose(estimator.log_evidence_, exact.log_evidence_, atol=0.06)
    # all rows are kept, so that a batch which says something else moves the draws
    estimator.partial_fit(X[460:], 1 - y[460:])
    exact.partial_fit(X[460:], 1 - y[460:])
    assert estimator.history_.methods[-1] == "pairs"
    assert_allclose(flat_mode(estimator), flat_mode(exact), rtol=1e-10)
    assert_allclose(estimator.log_evidence_, exact.log_evidence_, atol=0.06)


# --------------------------------------------------------------------------------------------------------- multilevel
GROUP_PRIOR = {"Intercept at 0": Normal(0.0, 2.0), "coef": Normal(0.0, 1.5), "sd": HalfNormal(1.5)}


def grouped_batches(X, y, groups, rows):
    return [(X[part], y[part], {"groups": groups[part]}) for part in rows]


@pytest.mark.parametrize("shared", [False, True], ids=["new levels", "shared levels"])
def test_levels_are_added(shared):
    X, y, groups = grouped_data()
    order = np.random.default_rng(3).permutation(len(y)) if shared else np.arange(len(y))[::-1]
    parts = np.split(order, [120, 150])
    estimator = update(model(GROUP_PRIOR, n_draws=100), grouped_batches(X, y, groups, parts))
    whole = model(GROUP_PRIOR, n_draws=100).fit(X, y, groups=groups)
    assert_array_equal(estimator.levels_["group"], whole.levels_["group"])
    assert estimator._rows.n_rows == whole._rows.n_rows
    modes = []
    for each in (estimator, whole):
        target = MultilevelTarget(each._rows, each._prior, each._prior.layout, 7)
        modes.append(mode_of(target, each._prior.layout)[0])
    # derivatives by differences leave this much
    assert_allclose(modes[0], modes[1], rtol=1e-6, atol=1e-7)
    assert_allclose(estimator.log_evidence_, whole.log_evidence_, atol=0.15)
    known = [each.predict_proba(X[:20], groups=groups[:20])[:, 1] for each in (estimator, whole)]
    assert_allclose(known[0], known[1], atol=0.06)


@pytest.mark.parametrize("forgetting", [1.0, 0.9])
def test_draws_of_multilevel_models(forgetting):
    X, y, groups = grouped_data()
    parts = np.split(np.random.default_rng(3).permutation(len(y)), [228])
    # a few levels are touched that had rows before, one is new
    groups = np.where(np.arange(len(y)) == parts[1][0], 99, groups)
    found = [
        update(model(GROUP_PRIOR, updating=how, forgetting=forgetting), grouped_batches(X, y, groups, parts))
        for how in ("draws", "exact")
    ]
    draws, exact = found
    assert draws.history_.methods[-1] == "reweighted"
    assert_allclose(*(each.diagnostics_["log_evidence_batch"] for each in found), atol=0.05)
    assert_allclose(*(each.random_covariance_["group"] for each in found), rtol=0.15)
    assert_allclose(*(each.predict_proba(X, groups=groups)[:, 1] for each in found), atol=0.05)
    assert_array_equal(draws.levels_["group"], exact.levels_["group"])


def test_gaussian_of_multilevel_models():
    X, y, groups = grouped_data(n_levels=80)
    parts = np.split(np.arange(len(y)), [400])
    estimator = model(GROUP_PRIOR, updating="gaussian")
    update(estimator, grouped_batches(X, y, groups, parts))
    whole = model(GROUP_PRIOR).fit(X, y, groups=groups)
    assert_allclose(estimator.log_evidence_, whole.log_evidence_, atol=0.1)
    assert_allclose(estimator.random_covariance_["group"], whole.random_covariance_["group"], rtol=0.15)
    assert estimator.diagnostics_["gaussian_kl"] < 0.05
    assert_array_equal(estimator.levels_["group"], np.arange(40, 80))
    with pytest.raises(ValueError, match=r"2 levels of 'group' came in earlier batches, such as '4'"):
        estimator.partial_fit(X[:12], y[:12], groups=np.repeat([4, 5, 90], 4))


def test_two_factors_are_merged():
    rng = np.random.default_rng(0)
    n = 80
    X = rng.integers(0, 2, size=(n, 1)).astype(float)
    groups = pd.DataFrame({"school": rng.integers(0, 9, n), "town": np.array(list("abcd"))[rng.integers(0, 4, n)]})
    y = rng.integers(0, 2, n)

    def rows_of(part):
        terms = make_terms(groups.iloc[part], len(X[part]), None, random_intercept=True, feature_names=None,
                           n_features=1)  # fmt: skip
        spec = resolve_priors(GROUP_PRIOR, ["a"], [1.0], [0.0], terms)
        return bayes_rows(X[part], y[part].astype(float), None, None, terms, spec.layout), terms

    first, second = slice(0, 50), slice(50, n)
    (old, old_terms), (new, _), (whole, whole_terms) = rows_of(first), rows_of(second), rows_of(slice(0, n))
    turned = groups.iloc[second][["town", "school"]]
    factors = factors_of_batch(turned, 30, ["school", "town"])
    joined = [join_levels(term.name, term.levels, levels) for term, (_, levels) in zip(old_terms, factors, strict=True)]
    for (levels, _, _), term in zip(joined, whole_terms, strict=True):
        assert_array_equal(levels, term.levels)
    n_levels = [len(levels) for levels, _, _ in joined]
    merged = merged_rows(
        recoded_rows(old, [places for _, places, _ in joined], n_levels),
        recoded_rows(new, [places for _, _, places in joined], n_levels),
    )

    def table(rows):
        columns = [rows.fixed, rows.outcome[:, None], rows.weight[:, None]]
        columns += [np.column_stack([term.codes, term.columns.T]) for term in rows.terms]
        values = np.hstack(columns)
        return values[np.lexsort(values.T)]

    assert_allclose(table(merged), table(whole))
    with pytest.raises(ValueError, match=r"factors \['town'\], earlier batches had \['school', 'town'\]"):
        factors_of_batch(groups[["town"]], n, ["school", "town"])


# ----------------------------------------------------------------------------------------------- as in scikit-learn
def test_first_call_is_a_fit():
    X, y = flat_data(100)
    first, fitted = model().partial_fit(X, y), model().fit(X, y)
    assert_array_equal(first.draws_["coef"], fitted.draws_["coef"])
    assert first.n_batches_ == fitted.n_batches_ == 1
    assert first.log_evidence_ == first.diagnostics_["log_evidence_batch"]
    again = first.partial_fit(X, y).fit(X, y)
    assert again.n_batches_ == 1
    assert_array_equal(again.draws_["coef"], fitted.draws_["coef"])


def test_batches_of_one_class():
    X, y = flat_data(100)
    order = np.argsort(y, kind="stable")
    batches = split(X[order], y[order], [int((y == 0).sum()), int((y == 1).sum())])
    parts = update(model(n_draws=100), batches)
    assert_allclose(flat_mode(parts), flat_mode(model(n_draws=100).fit(X, y)), rtol=1e-8)
    with pytest.raises(ValueError, match="only one class"):
        model().partial_fit(*batches[0])
    words = np.array(["no", "yes"])
    named = model(n_draws=100).partial_fit(batches[0][0], words[batches[0][1]], classes=["yes", "no"])
    assert_array_equal(named.classes_, ["no", "yes"])


def test_malformed_batches_change_nothing():
    X, y = flat_data(100)
    estimator = model(n_draws=50).fit(X, y)
    before = pickle.dumps(estimator)
    with pytest.raises(ValueError, match=r"labels \[2\] that are not in the classes \[0, 1\]"):
        estimator.partial_fit(X, np.where(y == 1, 2, 0))
    with pytest.raises(ValueError, match="not the same as on the first call"):
        estimator.partial_fit(X, y, classes=[0, 2])
    with pytest.raises(ValueError, match="had no groups"):
        estimator.partial_fit(X, y, groups=np.arange(100))
    with pytest.raises(ValueError, match="features"):
        estimator.partial_fit(X[:, :1], y)
    with pytest.raises(ValueError, match="Only binary classification"):
        model().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="fit_intercept has changed"):
        clone(estimator).fit(X, y).set_params(fit_intercept=False).partial_fit(X, y)
    assert pickle.dumps(estimator) == before
    Xg, yg, groups = grouped_data(n_levels=8)
    grouped = model(GROUP_PRIOR, n_draws=50).fit(Xg, yg, groups=groups)
    with pytest.raises(ValueError, match=r"pass groups="):
        grouped.partial_fit(Xg, yg)
    with pytest.warns(UserWarning, match="of another type"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        grouped.partial_fit(Xg, yg, groups=[f"g{level}" for level in groups])
    assert len(grouped.levels_["group"]) == 16


@pytest.mark.parametrize("options", [{"updating": "all"}, {"forgetting": 0.0}, {"forgetting": 1.2}])
def test_parameters_are_validated(options):
    X, y = flat_data(50)
    with pytest.raises(ValueError, match=next(iter(options))):
        model(**options).partial_fit(X, y)


@pytest.mark.parametrize("updating", MODES)
def test_clone_and_pickle(updating):
    X, y = flat_data(300)
    batches = split(X, y, [150, 30, 120])
    estimator = update(model(updating=updating, n_draws=100, forgetting=0.95), batches[:2])
    copy = pickle.loads(pickle.dumps(estimator))
    for each in (estimator, copy):
        each.partial_fit(*batches[2])
    assert_array_equal(estimator.draws_["coef"], copy.draws_["coef"])
    assert estimator.log_evidence_ == copy.log_evidence_
    fresh = clone(estimator)
    assert not hasattr(fresh, "n_batches_")
    assert fresh.get_params()["updating"] == updating and fresh.forgetting == 0.95
    assert_array_equal(update(fresh, batches).draws_["coef"], estimator.draws_["coef"])


def test_metadata_are_requested():
    requests = BayesLogit().get_metadata_routing().partial_fit.requests
    assert requests == {"groups": True, "sample_weight": True, "offset": True, "classes": True}


def test_history():
    X, y = flat_data(200)
    frame = pd.DataFrame(X, columns=["age", "dose"])
    estimator = model().fit(frame[:80], y[:80]).partial_fit(frame[80:], y[80:])
    history = estimator.history_
    assert history.names == ("Intercept", "age", "dose")
    assert_allclose(history.mean[-1], [estimator.intercept_[0], *estimator.coef_[0]])
    assert_allclose(history.sd[-1], np.sqrt(np.diag(estimator.covariance_)))
    assert (history.sd[1] < history.sd[0]).all()
    expected = np.array([Normal(0.5, 2.0).quantile([0.05, 0.5, 0.95]), Normal(0, 1.5).quantile([0.05, 0.5, 0.95])])
    assert_allclose(history.prior_quantiles[:, :2].T, expected, atol=0.25)
    assert_allclose(history.log_evidence.sum(), estimator.log_evidence_)
    table = history.to_frame().set_index(["batch", "parameter"])
    assert len(table) == 9 and table.loc[(0, "age"), ["mean", "sd"]].isna().all()
    draws = estimator.draws_["coef"][..., 1].ravel()
    assert_allclose(
        table.loc[(2, "dose"), ["low", "median", "high"]].astype(float), np.quantile(draws, [0.05, 0.5, 0.95])
    )
    Xg, yg, groups = grouped_data(n_levels=8)
    grouped = model(GROUP_PRIOR, n_draws=100).fit(Xg, yg, groups=groups).history_
    assert grouped.names == ("Intercept", "x0", "sd[group, Intercept]") and grouped.mean[0, 2] > 0
