"""The joint density of parameters and random effects, its gradient, and the coordinates to sample it in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse, stats

from skdep.bayes import joint_start
from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_start import prepare_joint
from skdep.bayes.joint_target import JointTarget
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.priors import Cauchy, Laplace, Normal
from skdep.bayes.working import bayes_rows, centres_and_scales
from skdep.mixed.terms import make_terms

NAMES = ["a", "b"]


def make(*, groups=None, prior=None, slopes=None, n=150, seed=0, **arguments):
    """Return rows and prior of simulated data; `groups` are numbers of levels."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(1.0, 2.0, (n, 2)), 1)
    terms, eta = [], 0.5 * X[:, 0] - 0.5
    if groups:
        codes = np.column_stack([rng.integers(0, k, n) for k in groups])
        terms = make_terms(
            codes,
            n,
            slopes,
            random_intercept=arguments.pop("random_intercept", True),
            feature_names=NAMES,
            n_features=2,
        )
        terms.sort(key=lambda term: -term.q * term.n_levels)
        eta = eta + sum(0.8 * rng.normal(size=k)[codes[:, j]] for j, k in enumerate(groups))
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    weights = rng.integers(1, 4, n).astype(float)
    fit_intercept = arguments.get("fit_intercept", True)
    centres, scales = centres_and_scales(X, weights, fit_intercept=fit_intercept)
    spec = resolve_priors(prior, NAMES, scales, centres, terms, **arguments)
    return bayes_rows(X, y, 0.1 * X[:, 1], weights, terms, spec.layout), spec


MODELS = {
    "flat": dict(prior={"coef": Laplace(0, 1)}),
    "horseshoe": dict(prior=Horseshoe(0.5)),
    "one": dict(groups=[9], fit_intercept=False),
    "slopes": dict(groups=[9], slopes=["a", "b"], prior={"Intercept at 0": Normal(0, 2)}),
    "slope_alone": dict(groups=[9], slopes=["b"], random_intercept=False),
    "crossed": dict(groups=[12, 5], prior={"coef": Cauchy(0, 1)}),
    "crossed_slopes": dict(groups=[12, 5], slopes={"group1": ["b"]}, prior={"coef": Horseshoe(0.5)}),
    "diagonal": dict(groups=[7, 5, 4], slopes=["a"], covariance="diagonal"),
}
models = pytest.mark.parametrize("name", MODELS)


def with_constants(rows, spec, rng):
    """Return a target whose A and c are any."""
    information, pulls = [], []
    for term in rows.terms:
        root = rng.normal(size=(term.n_levels, term.q, term.q))
        information.append((root @ root.transpose(0, 2, 1)).transpose(1, 2, 0))
        pulls.append(rng.normal(size=(term.q, term.n_levels)))
    return JointTarget(rows, spec, spec.layout, information, pulls)


def differences(function, x, step=1e-5):
    return np.array([(function(x + move) - function(x - move)) / (2 * step) for move in step * np.eye(len(x))])


@models
@pytest.mark.parametrize("pilot", [False, True])
def test_gradient(name, pilot):
    rows, spec = make(**MODELS[name])
    rng = np.random.default_rng(3)
    target = with_constants(rows, spec, rng) if pilot else JointTarget(rows, spec, spec.layout)
    for long_point in 0.6 * rng.standard_normal((2, target.n_dim)):
        value, gradient = target.value_and_gradient(long_point)
        assert np.isfinite(value)
        expected = differences(lambda x: target.value_and_gradient(x)[0], long_point)
        assert_allclose(gradient, expected, rtol=1e-6, atol=1e-5)


@models
def test_density_is_that_of_its_definition(name):
    """Likelihood by row, times prior, times the density of the effects b, times |db / dw|."""
    rows, spec = make(**MODELS[name])
    rng = np.random.default_rng(4)
    target = with_constants(rows, spec, rng)
    long_point = 0.5 * rng.standard_normal(target.n_dim)
    point, effects = target.split(long_point)
    eta = rows.fixed_predictor(spec.working_coefficients(point))
    total = float(spec.log_density(point))
    for number, (term, layout, b) in enumerate(zip(rows.terms, spec.layout.random, effects)):
        T, place = layout.cholesky(point), target.effects[number].span
        eta += np.einsum("an,na->n", term.columns, b[term.codes])
        total += stats.multivariate_normal(np.zeros(term.q), T @ T.T).logpdf(b).sum()

        def flat_effects(entries, place=place, number=number):
            moved = long_point.copy()
            moved[place] = entries
            return target.split(moved)[1][number].T.ravel()

        total += np.linalg.slogdet(differences(flat_effects, long_point[place]))[1]
    total += rows.outcome @ eta - rows.weight @ np.logaddexp(0.0, eta)
    assert_allclose(target.value_and_gradient(long_point)[0], total, rtol=1e-8)


def test_split_of_batches_and_join():
    rows, spec = make(**MODELS["crossed_slopes"])
    rng = np.random.default_rng(5)
    target = with_constants(rows, spec, rng)
    draws = rng.standard_normal((3, 4, target.n_dim))
    points, effects = target.split(draws)
    for b, term in enumerate(rows.terms):
        assert effects[b].shape == (3, 4, term.n_levels, term.q)
        assert_allclose(effects[b][2, 1], target.split(draws[2, 1])[1][b], rtol=1e-12)
    factors = [layout.cholesky(points[0, 0]) for layout in spec.layout.random]
    spherical = [np.linalg.solve(T, b[0, 0].T) for T, b in zip(factors, effects)]
    assert_allclose(target.join(points[0, 0], spherical), draws[0, 0], atol=1e-12)


def test_far_out_it_is_minus_infinity_rather_than_an_error():
    rows, spec = make(**MODELS["crossed"])
    target = with_constants(rows, spec, np.random.default_rng(6))
    long_point = np.zeros(target.n_dim)
    for log_sd in (-800.0, 400.0, 800.0):
        long_point[spec.layout.random[0].log_sd] = log_sd
        value, _ = target.value_and_gradient(long_point)
        assert value == -np.inf or np.isfinite(value)
    long_point[:] = np.inf
    assert target.value_and_gradient(long_point)[0] == -np.inf


def test_weights_of_levels_are_refused():
    rows, spec = make(**MODELS["one"])
    with pytest.raises(ValueError, match="Sampling weights"):
        JointTarget(replace(rows, level_weights=np.ones(rows.terms[0].n_levels)), spec, spec.layout)


def check_map(whitening):
    n_dim = len(whitening.centre)
    z = np.random.default_rng(7).standard_normal((2, n_dim))
    assert_allclose(whitening.to_long(np.zeros(n_dim)), whitening.centre)
    root = whitening.to_long(np.eye(n_dim)) - whitening.centre
    assert_allclose(whitening.to_long(z), whitening.centre + z @ root, atol=1e-10)
    assert_allclose(whitening.pull_back(z[0]), root @ z[0], atol=1e-10)
    assert np.isfinite(np.linalg.slogdet(root)[1])


def test_coordinates_of_many_levels(monkeypatch):
    """Later factors too large for a dense matrix: sparse links, a diagonal in its place."""
    monkeypatch.setattr(joint_start, "_MOST_DENSE", 3)
    monkeypatch.setattr(joint_start, "_FULL", 1.0)
    rows, spec = make(**MODELS["diagonal"])
    _, whitening = prepare_joint(rows, spec, spec.layout)
    assert whitening.tail_root.ndim == 1 and sparse.issparse(whitening.links)
    check_map(whitening)


@models
def test_coordinates(name):
    """The map is linear, its pull-back the transpose; where there is a mode, curvatures are about 1."""
    rows, spec = make(**MODELS[name], n=400)
    target, whitening = prepare_joint(rows, spec, spec.layout)
    check_map(whitening)
    if spec.has_latents:
        return

    def gradient(at):
        return whitening.pull_back(target.value_and_gradient(whitening.to_long(at))[1])

    curvature = -differences(gradient, np.zeros(target.n_dim), step=1e-4)
    if not spec.smooth:
        curvature = curvature[1:, 1:]
    values = np.linalg.eigvalsh(0.5 * (curvature + curvature.T))
    assert values[0] > 0.6 and values[-1] < 1.6
    if target.effects:
        n_points = spec.layout.n_points
        assert_allclose(curvature[n_points:, n_points:], np.eye(target.n_dim - n_points), atol=1e-4)
        assert_allclose(curvature[:n_points, n_points:], 0.0, atol=1e-4)
