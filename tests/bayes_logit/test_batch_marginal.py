"""Marginal likelihoods of many parameters at once, and draws of random effects, against plain integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes import batch_marginal
from skdep.bayes.batch_marginal import BatchMarginal
from skdep.bayes.linearised import Linearised
from skdep.glmm.cumulants import Binomial
from skdep.glmm.rows import GlmmRows, RowTerm

from . import references as ref


def make_rows(q, n_groups=7, largest=6, seed=0, offset=True):
    """Return rows sorted by level with two fixed effects, fractional weights and q random effects."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_groups), rng.integers(1, largest + 1, n_groups))
    n = len(codes)
    fixed = np.column_stack([np.ones(n), rng.normal(size=n)])
    Z = np.vstack([np.ones(n), rng.normal(size=(2, n))])[:q]
    weight = rng.uniform(0.5, 3.0, n)
    outcome = weight * (rng.uniform(size=n) < 0.5)
    term = RowTerm(codes, n_groups, np.ascontiguousarray(Z), np.eye(q))
    return GlmmRows(fixed, outcome, weight, rng.normal(size=n) if offset else None, (term,), Binomial())


def make_parameters(q, n, seed=1, sd=1.0):
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.normal(scale=0.4, size=(n, q, q)), -1)
    factors[:, np.arange(q), np.arange(q)] = sd * rng.uniform(0.5, 1.5, (n, q))
    return rng.normal(size=(n, 2)), factors


def eta_of(rows, beta):
    return beta @ rows.fixed.T + (0.0 if rows.offset is None else rows.offset)


def on_a_mesh(rows, beta, T, n_nodes=61, reach=7.0):
    """Return the log-likelihood, and means and covariances of T u by level, by the trapezoidal rule on a mesh of u."""
    (term,) = rows.terms
    q, Z = len(T), term.columns
    t = np.linspace(-reach, reach, n_nodes)
    mesh = np.stack(np.meshgrid(*[t] * q, indexing="ij")).reshape(q, -1)
    log_node = stats.norm.logpdf(mesh).sum(axis=0) + q * np.log(t[1] - t[0])
    b = T @ mesh
    eta = eta_of(rows, beta[None])[0]
    total, means, covariances = 0.0, [], []
    for level in range(term.n_levels):
        logs = log_node.copy()
        for row in np.flatnonzero(term.codes == level):
            at = eta[row] + Z[:, row] @ b
            logs += rows.outcome[row] * at - rows.weight[row] * np.logaddexp(0.0, at)
        total += special.logsumexp(logs)
        mass = special.softmax(logs)
        means.append(b @ mass)
        covariances.append((b * mass) @ b.T - np.outer(means[-1], means[-1]))
    return total, np.array(means), np.array(covariances)


@pytest.mark.parametrize("sd", [0.01, 1.0, 4.0])
def test_random_intercepts(sd):
    rows = make_rows(1)
    beta, factors = make_parameters(1, 40, sd=sd)
    batch = BatchMarginal(rows, 25, np.zeros((1, 7)))
    (term,) = rows.terms
    truth = ref.random_intercept_log_likelihood(
        eta_of(rows, beta),
        rows.outcome,
        rows.weight,
        term.codes,
        factors[:, 0, 0],
        n_nodes=401,
    )
    np.testing.assert_allclose(batch.log_likelihood(beta, factors), truth, rtol=1e-4 if sd > 1 else 1e-8)


@pytest.mark.parametrize("sd", [20.0, 150.0])
@pytest.mark.parametrize("near", [False, True])
def test_modes_are_found_however_large_the_effects(sd, near):
    """A level without failures has a likelihood like a step, which Newton steps jump to and fro across."""
    codes = np.repeat(np.arange(4), 3)
    outcome = np.array([1.0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1])
    rows = GlmmRows(
        np.ones((12, 1)), outcome, np.ones(12), None, (RowTerm(codes, 4, np.ones((1, 12)), np.eye(1)),), Binomial()
    )
    start = Linearised(rows, np.zeros(1), np.zeros((1, 4))) if near else None
    beta = np.array([[0.0], [2.0], [-sd / 2]])
    found = BatchMarginal(rows, 61, np.zeros((1, 4)), start).log_likelihood(beta, np.full((3, 1, 1), sd))
    truth = ref.random_intercept_log_likelihood(
        np.repeat(beta, 12, axis=1), outcome, np.ones(12), codes, np.full(3, sd), n_nodes=40_001
    )
    np.testing.assert_allclose(found, truth, atol=0.05)


@pytest.mark.parametrize("q", [1, 2])
def test_a_linearised_model_only_saves_steps(q):
    rows = make_rows(q)
    beta, factors = make_parameters(q, 50)
    near = Linearised(rows, beta[0], np.full((q, 7), 0.5))
    plain = BatchMarginal(rows, 9, np.zeros((q, 7))).log_likelihood(beta, factors)
    np.testing.assert_allclose(
        BatchMarginal(rows, 9, np.zeros((q, 7)), near).log_likelihood(beta, factors), plain, atol=5e-4
    )


@pytest.mark.parametrize("q", [2, 3])
def test_several_effects(q):
    rows = make_rows(q, n_groups=4)
    beta, factors = make_parameters(q, 3)
    found = BatchMarginal(rows, 15, np.zeros((q, 4))).log_likelihood(beta, factors)
    truth = [on_a_mesh(rows, b, T, n_nodes=61 if q == 2 else 41)[0] for b, T in zip(beta, factors, strict=True)]
    np.testing.assert_allclose(found, truth, rtol=1e-5)


def test_more_nodes_are_closer():
    rows = make_rows(1, largest=2)
    beta, factors = make_parameters(1, 30, sd=3.0)
    (term,) = rows.terms
    truth = ref.random_intercept_log_likelihood(
        eta_of(rows, beta), rows.outcome, rows.weight, term.codes, factors[:, 0, 0], n_nodes=801
    )
    errors = [
        np.abs(BatchMarginal(rows, k, np.zeros((1, 7))).log_likelihood(beta, factors) - truth).max()
        for k in (1, 5, 15, 41)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 < errors[0]


@pytest.mark.parametrize("q", [1, 2])
def test_batches_and_starts_do_not_matter(q, monkeypatch):
    rows = make_rows(q)
    beta, factors = make_parameters(q, 50)
    n_levels = rows.terms[0].n_levels
    together = BatchMarginal(rows, 9, np.zeros((q, n_levels))).log_likelihood(beta, factors)
    far = BatchMarginal(rows, 9, np.full((q, n_levels), -6.0)).log_likelihood(beta, factors)
    np.testing.assert_allclose(far, together, atol=5e-4)
    monkeypatch.setattr(batch_marginal, "_BATCH_FLOATS", 1)
    alone = BatchMarginal(rows, 9, np.zeros((q, n_levels))).log_likelihood(beta, factors)
    np.testing.assert_allclose(alone, together, atol=5e-4)


def test_without_offset():
    rows = make_rows(1, offset=False)
    beta, factors = make_parameters(1, 5)
    (term,) = rows.terms
    truth = ref.random_intercept_log_likelihood(
        eta_of(rows, beta), rows.outcome, rows.weight, term.codes, factors[:, 0, 0], n_nodes=401
    )
    np.testing.assert_allclose(
        BatchMarginal(rows, 25, np.zeros((1, 7))).log_likelihood(beta, factors), truth, rtol=1e-8
    )


@pytest.mark.parametrize("q", [1, 2])
def test_draws_of_effects(q):
    rows = make_rows(q, n_groups=4)
    beta, factors = make_parameters(q, 1, sd=1.5)
    n = 6000
    draws = BatchMarginal(rows, 9, np.zeros((q, 4))).draw_effects(
        np.repeat(beta, n, axis=0), np.repeat(factors, n, axis=0), np.random.default_rng(0)
    )
    assert draws.shape == (n, 4, q)
    _, means, covariances = on_a_mesh(rows, beta[0], factors[0])
    for level in range(4):
        sd = np.sqrt(np.diag(covariances[level]))
        assert np.all(np.abs(draws[:, level].mean(axis=0) - means[level]) < 5 * sd / np.sqrt(n))
        scaled = (np.cov(draws[:, level].T).reshape(q, q) - covariances[level]) / np.outer(sd, sd)
        assert np.abs(scaled).max() < 0.08
    # levels are independent given the parameters
    assert np.abs(np.corrcoef(draws[:, :, 0].T)[np.triu_indices(4, 1)]).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("sd", [0.5, 4.0, 10.0])
def test_draws_of_effects_of_levels_without_failures(sd):
    """The larger the standard deviation, the more half a normal distribution, cut off at the mode's side."""
    codes = np.repeat([0, 1, 2], 2)
    outcome = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    term = RowTerm(codes, 3, np.ones((1, 6)), np.eye(1))
    rows = GlmmRows(np.ones((6, 1)), outcome, np.ones(6), None, (term,), Binomial())
    n = 6000
    draws = BatchMarginal(rows, 9, np.zeros((1, 3))).draw_effects(
        np.zeros((n, 1)), np.full((n, 1, 1), sd), np.random.default_rng(1)
    )[..., 0]
    first, second = ref.random_intercept_moments(
        np.zeros((1, 3)), np.array([0.0, 2.0, 1.0]), np.full(3, 2.0), np.arange(3), np.array([sd]), n_nodes=2001
    )
    spread = np.sqrt(second - first**2)[0]
    assert np.all(np.abs(draws.mean(axis=0) - first[0]) < 0.06 * spread)
    np.testing.assert_allclose(draws.std(axis=0), spread, rtol=0.06)


def test_draws_do_not_depend_on_threads():
    from threadpoolctl import threadpool_limits

    rows = make_rows(1, n_groups=300, largest=8)
    beta, factors = make_parameters(1, 400)

    def draw():
        batch = BatchMarginal(rows, 5, np.zeros((1, 300)))
        return batch.draw_effects(beta, factors, np.random.default_rng(3))

    several = draw()
    with threadpool_limits(1):
        np.testing.assert_array_equal(draw(), several)
