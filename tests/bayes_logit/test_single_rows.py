"""Likelihoods of levels of one row each, against plain integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes.single_rows import SingleRows, split_levels
from skdep.glmm.cumulants import Binomial
from skdep.glmm.rows import GlmmRows, RowTerm


def make_rows(n, q=1, offset=False, seed=0):
    """Return rows with two fixed effects, each a level of its own."""
    rng = np.random.default_rng(seed)
    fixed = np.column_stack([np.ones(n), rng.normal(size=n)])
    Z = np.vstack([np.ones(n), rng.normal(size=(2, n))])[:q]
    outcome = (rng.uniform(size=n) < 0.4).astype(float)
    shift = rng.normal(size=n) if offset else None
    return GlmmRows(fixed, outcome, np.ones(n), shift, (RowTerm(np.arange(n), n, Z, np.eye(q)),), Binomial())


def success(eta, tau):
    """Return E expit(eta + tau u) by the trapezoidal rule, narrower steps for larger tau."""
    u = np.linspace(-9, 9, 20_001)
    return np.sum(special.expit(eta[..., None] + tau[..., None] * u) * stats.norm.pdf(u), axis=-1) * (u[1] - u[0])


def truth(rows, beta, T):
    """Return the log-likelihood at one coefficient vector and factor."""
    eta = rows.fixed @ beta + (0.0 if rows.offset is None else rows.offset)
    tau = np.sqrt(np.sum((T.T @ rows.terms[0].columns) ** 2, axis=0))
    sign = 2.0 * rows.outcome - 1.0
    return np.sum(np.log(success(sign * eta, tau)))


@pytest.mark.parametrize("sd", [1e-8, 0.3, 1.0, 5.0, 30.0, 1000.0])
def test_random_intercepts_of_any_size(sd):
    rows = make_rows(40, offset=True)
    beta = np.array([[0.3, -1.0], [-2.0, 2.0]])
    found = SingleRows(rows).log_likelihood(beta, np.full((2, 1, 1), sd))
    np.testing.assert_allclose(found, [truth(rows, b, np.array([[sd]])) for b in beta], rtol=2e-6)


@pytest.mark.parametrize("q", [2, 3])
def test_several_effects(q):
    rows, rng = make_rows(30, q), np.random.default_rng(1)
    beta, factors = rng.normal(size=(4, 2)), np.tril(rng.normal(size=(4, q, q)))
    found = SingleRows(rows).log_likelihood(beta, factors)
    np.testing.assert_allclose(found, [truth(rows, b, T) for b, T in zip(beta, factors, strict=True)], rtol=2e-6)


def test_improbable_outcomes():
    """The relative error stays small far from what is expected, and the likelihood positive beyond."""
    x = np.array([-2.0, -8.0, -14.0, -20.0])
    rows = GlmmRows(np.ones((1, 1)), np.ones(1), np.ones(1), None, make_rows(1).terms, Binomial())
    for sd in (0.01, 1.0, 3.0):
        found = [SingleRows(rows).log_likelihood(np.array([[value]]), np.full((1, 1, 1), sd))[0] for value in x]
        np.testing.assert_allclose(found, np.log(success(x, np.full(4, sd))), atol=2e-3)
    far = SingleRows(rows).log_likelihood(np.array([[-500.0]]), np.ones((1, 1, 1)))
    assert -500.0 <= far[0] < -490.0


def test_counted_levels():
    rows = make_rows(6)
    counts = np.array([1.0, 4.0, 2.0, 1.0, 3.0, 2.5])
    weighted = GlmmRows(rows.fixed, rows.outcome, rows.weight, None, rows.terms, Binomial(), counts)
    beta, factors = np.array([[0.2, 0.5]]), np.full((1, 1, 1), 1.3)
    parts = [
        GlmmRows(fixed[None], outcome[None], np.ones(1), None, make_rows(1).terms, Binomial())
        for fixed, outcome in zip(rows.fixed, rows.outcome, strict=True)
    ]
    by_level = [truth(part, beta[0], factors[0]) for part in parts]
    np.testing.assert_allclose(SingleRows(weighted).log_likelihood(beta, factors), counts @ by_level, rtol=1e-6)


def test_split():
    codes = np.array([0, 1, 1, 2, 3, 4, 5])
    outcome, weight = np.array([1.0, 0, 1, 0, 1, 0.4, 0]), np.array([1.0, 1, 1, 1, 2, 1, 1])
    fixed, counts = np.arange(14.0).reshape(7, 2), np.arange(1.0, 7.0)
    term = RowTerm(codes, 6, np.arange(7.0)[None], np.eye(1))
    rows = GlmmRows(fixed, outcome, weight, np.arange(7.0), (term,), Binomial(), counts)
    singles, others, kept = split_levels(rows)
    # two rows, a row of two trials and a share of a trial are no binary row of their own
    np.testing.assert_array_equal(kept, [1, 3, 4])
    np.testing.assert_array_equal(singles.fixed, fixed[[0, 3, 6]])
    np.testing.assert_array_equal(singles.level_weights, [1, 3, 6])
    np.testing.assert_array_equal(others.terms[0].codes, [0, 0, 1, 2])
    np.testing.assert_array_equal(others.terms[0].columns[0], [1, 2, 4, 5])
    np.testing.assert_array_equal(others.offset, [1, 2, 4, 5])
    assert split_levels(others)[0] is None
    assert split_levels(singles)[1] is None
