"""Laplace's approximation with several factors: its parts by dense algebra, and larger, odder designs than the twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from threadpoolctl import threadpool_limits

from skdep.glmm import links, several_modes
from skdep.glmm.cumulants import Binomial
from skdep.glmm.links import DenseLinks, LinkPattern, PairLinks, make_links
from skdep.glmm.rows import GlmmRows, RowTerm
from skdep.glmm.several_factors import SeveralFactorsLaplace
from skdep.glmm.several_system import SeveralPlan, SeveralSystem
from skdep.glmm.weighted_products import Cells, TermRows
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.tail_layout import lay_out

# n_rows, levels by factor, effects by factor; the second column of blocks: rows of different blocks share no level
DESIGNS = {
    "crossed": (150, (12, 8), (1, 1), 1),
    "a row a cell": (96, (12, 8), (1, 1), 1),
    "crossed slopes": (150, (10, 6), (2, 3), 1),
    "three factors": (160, (12, 8, 5), (2, 1, 2), 1),
    "blocks": (240, (30, 18), (1, 1), 6),
    "blocks with slopes": (260, (24, 16), (2, 2), 4),
    "large component": (500, (90, 80), (1, 1), 1),
    "large components with slopes": (400, (80, 72), (1, 2), 2),
    "nested": (150, (40, 7), (1, 1), 0),
    "nested slopes": (150, (30, 6), (2, 2), 0),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def codes_of(rng, n: int, n_levels: int, n_blocks: int) -> np.ndarray:
    """Return the levels of rows that lie in blocks one after the other, every level at least once."""
    rows, levels = np.array_split(np.arange(n), n_blocks), np.array_split(np.arange(n_levels), n_blocks)
    parts = [np.concatenate([b, rng.choice(b, len(a) - len(b))]) for a, b in zip(rows, levels, strict=True)]
    return np.concatenate([rng.permutation(part) for part in parts])


def simulated(name: str, seed: int = 0) -> GlmmRows:
    """Return rows of a design, with trials and an offset."""
    n, levels, effects, n_blocks = DESIGNS[name]
    rng = np.random.default_rng(seed)
    if name == "a row a cell":
        codes = [np.repeat(np.arange(levels[0]), levels[1]), np.tile(np.arange(levels[1]), levels[0])]
    elif n_blocks:
        codes = [codes_of(rng, n, k, n_blocks) for k in levels]
    else:
        first = codes_of(rng, n, levels[0], 1)
        codes = [first, codes_of(rng, levels[0], levels[1], 1)[first]]
    order = np.argsort(codes[0], kind="stable")
    x = rng.normal(size=(2, n))
    columns = np.vstack([np.ones(n), x])
    terms = tuple(RowTerm(c[order], k, columns[:q], np.eye(q)) for c, k, q in zip(codes, levels, effects, strict=True))
    trials = rng.integers(1, 4, n)
    outcome = rng.binomial(trials, 1 / (1 + np.exp(-x[0] - rng.normal(size=levels[0])[codes[0]][order])))
    offset = 0.3 * rng.normal(size=n)
    return GlmmRows(columns[:2].T.copy(), outcome.astype(float), trials.astype(float), offset, terms, Binomial())


def engine_of(rows: GlmmRows) -> SeveralFactorsLaplace:
    return SeveralFactorsLaplace(rows, CovarianceParameters(tuple(term.q for term in rows.terms), False))


def point_of(rows: GlmmRows, seed: int = 1) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return beta and a regular T of every term."""
    rng = np.random.default_rng(seed)
    factors = [np.diag(rng.uniform(0.5, 1.2, t.q)) + np.tril(0.4 * rng.normal(size=(t.q, t.q)), -1) for t in rows.terms]
    return np.array([0.2, -0.6]), factors


def random_columns(rows: GlmmRows, factors) -> np.ndarray:
    """Return Z Lambda, dense, the effects of a level side by side."""
    parts = []
    for term, T in zip(rows.terms, factors, strict=True):
        full = np.zeros((rows.n_rows, term.n_levels, term.q))
        full[np.arange(rows.n_rows), term.codes] = term.columns.T @ T
        parts.append(full.reshape(rows.n_rows, -1))
    return np.hstack(parts)


def dense_value(rows: GlmmRows, beta, factors) -> float:
    """Return the criterion by dense algebra."""
    A, fixed = random_columns(rows, factors), rows.fixed_predictor(beta)
    u = np.zeros(A.shape[1])

    def objective(u):
        eta = fixed + A @ u
        return rows.weight @ np.logaddexp(0, eta) - rows.outcome @ eta + u @ u / 2

    for _ in range(50):
        p = 1 / (1 + np.exp(-fixed - A @ u))
        M = A.T @ ((rows.weight * p * (1 - p))[:, None] * A) + np.eye(len(u))
        step, size = np.linalg.solve(M, A.T @ (rows.outcome - rows.weight * p) - u), 1.0
        while objective(u + size * step) > objective(u) + 1e-10:
            size /= 2
        u = u + size * step
        if np.abs(step).max() < 1e-12:
            break
    return objective(u) + np.linalg.slogdet(M)[1] / 2


def packed_slopes(engine, beta, factors, step=1e-4) -> np.ndarray:
    """Return central differences of the criterion, extrapolated once."""
    p, start = len(beta), engine.value(beta, factors)
    point = np.concatenate([beta, engine.parameters.pack(factors)])

    def value(x):
        return engine.value(x[:p], engine.parameters.unpack(x[p:]), start).value

    def rule(h):
        return np.array([(value(point + h * e) - value(point - h * e)) / (2 * h) for e in np.eye(len(point))])

    return (4 * rule(step) - rule(2 * step)) / 3


def with_columns_of_zeros(factors, term: int) -> list[np.ndarray]:
    """Return T with the last column of a term set to zero."""
    result = [T.copy() for T in factors]
    result[term][:, -1] = 0.0
    return result


# ---- value and derivatives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DESIGNS)
def test_value(name):
    rows = simulated(name)
    beta, factors = point_of(rows)
    assert engine_of(rows).value(beta, factors).value == pytest.approx(dense_value(rows, beta, factors), rel=1e-12)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("singular", [None, 0, 1])
def test_gradient(name, singular):
    """By differences of the value, which is checked on its own; on the boundary too."""
    rows = simulated(name)
    engine, (beta, factors) = engine_of(rows), point_of(rows)
    if singular is not None:
        factors = with_columns_of_zeros(factors, singular)
    gradient = engine.gradient(engine.value(beta, factors))
    expected = packed_slopes(engine, beta, factors)
    assert_allclose(gradient.packed(engine.parameters), expected, rtol=2e-8, atol=2e-7)
    for T, by_factor, G in zip(factors, gradient.factors, gradient.sigma, strict=True):
        assert_allclose(np.tril(2 * G @ T), np.tril(by_factor), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("term", [0, 1])
def test_derivative_by_a_covariance_that_vanishes(name, term):
    """At T = 0 the derivative by T is zero, and that by Sigma one-sided: extrapolated differences."""
    rows = simulated(name)
    engine, (beta, factors) = engine_of(rows), point_of(rows)
    factors[term] = 0.0 * factors[term]
    state = engine.value(beta, factors)
    gradient = engine.gradient(state)
    assert_allclose(gradient.factors[term], 0.0, atol=1e-12)
    direction = np.eye(len(factors[term]))[:, :1] + 0.5

    def at(size):
        moved = list(factors)
        moved[term] = np.zeros_like(factors[term])
        moved[term][:, :1] = np.sqrt(size) * direction
        return engine.value(beta, moved, state).value

    steps = 1e-3 * np.arange(6)
    slope = np.polynomial.Polynomial.fit(steps, [at(s) for s in steps], 5).convert().coef[1]
    expected = (direction.T @ gradient.sigma[term] @ direction).item()
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["blocks", "blocks with slopes", "nested", "nested slopes"])
def test_level_weights_repeat_clusters(name):
    """Weights 2 and 1 are clusters that stand twice in the data, under levels of their own, or once."""
    rows = simulated(name)
    beta, factors = point_of(rows)
    graph = sparse.csr_matrix((np.ones(rows.n_rows), (rows.terms[0].codes, rows.terms[1].codes)))
    labels = sparse.csgraph.connected_components(graph @ graph.T, directed=False)[1]
    weights = 1.0 + labels % 2
    again = np.flatnonzero(weights[rows.terms[0].codes] == 2.0)
    terms = []
    for term in rows.terms:
        extra = np.unique(term.codes[again], return_inverse=True)[1] + term.n_levels
        codes = np.concatenate([term.codes, extra])
        columns = np.hstack([term.columns, term.columns[:, again]])
        terms.append(RowTerm(codes, int(codes.max()) + 1, columns, term.to_user))
    index = np.concatenate([np.arange(rows.n_rows), again])
    doubled = GlmmRows(
        rows.fixed[index], rows.outcome[index], rows.weight[index], rows.offset[index], tuple(terms), rows.family
    )
    engine, literal = engine_of(replace(rows, level_weights=weights)), engine_of(doubled)
    state, expected = engine.value(beta, factors), literal.value(beta, factors)
    assert state.value == pytest.approx(expected.value, rel=1e-13)
    packed = engine.gradient(state).packed(engine.parameters)
    assert_allclose(packed, literal.gradient(expected).packed(engine.parameters), rtol=1e-10, atol=1e-11)
    assert_allclose(engine.curvature(state), literal.curvature(expected), rtol=1e-9, atol=1e-10)
    clusters = labels[rows.terms[0].codes]
    scores = engine.scores(state, clusters, int(labels.max()) + 1)
    assert_allclose(scores.sum(axis=0), packed, rtol=1e-11, atol=1e-11)
    unweighted = engine_of(rows)
    plain = unweighted.scores(unweighted.value(beta, factors), clusters, int(labels.max()) + 1)
    assert_allclose(scores, plain * (1.0 + np.arange(len(plain)) % 2)[:, None], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["crossed", "three factors", "blocks with slopes"])
def test_curvature_of_covariances_is_the_average_information(name):
    """By dense algebra, where the derivative by Sigma adds nothing: half of d'V_i P V_j d, V_i = dV / dSigma_i."""
    rows = simulated(name)
    engine, (beta, factors) = engine_of(rows), point_of(rows)
    state = engine.value(beta, factors)
    A, unscaled = random_columns(rows, factors), random_columns(rows, [np.eye(len(T)) for T in factors])
    u = np.concatenate([modes.T.ravel() for modes in state.modes])
    p = 1 / (1 + np.exp(-rows.fixed_predictor(beta) - A @ u))
    d = rows.outcome - rows.weight * p
    inverse = np.linalg.inv(np.diag(1 / (rows.weight * p * (1 - p))) + A @ A.T)
    columns, begin = [], 0
    for term, basis in zip(rows.terms, engine.parameters.basis, strict=True):
        Z = unscaled[:, begin : begin + term.q * term.n_levels]
        begin += Z.shape[1]
        columns += [Z @ np.kron(np.eye(term.n_levels), matrix) @ Z.T @ d for matrix in basis]
    Q, jacobian = np.column_stack(columns), engine.parameters.jacobian(factors)
    average = 0.5 * jacobian.T @ Q.T @ inverse @ Q @ jacobian
    values = [np.linalg.eigh(G) for G in engine.gradient(state).sigma]
    square = engine.parameters.curvature_of_square([(v * np.maximum(e, 0)) @ v.T for e, v in values])
    assert_allclose(engine.curvature(state)[2:, 2:], average + square, rtol=1e-9, atol=1e-9)


# ---- modes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["crossed slopes", "blocks", "large component"])
@pytest.mark.parametrize("dear", [False, True])
def test_modes_are_tight_wherever_they_are_looked_for(name, dear, monkeypatch):
    """Derivatives, of which the caller takes differences, do not show where the search began."""
    monkeypatch.setattr(several_modes, "_EXPENSIVE_FLOATS", 0 if dear else 10**9)
    rows = simulated(name)
    engine, (beta, factors) = engine_of(rows), point_of(rows)
    cold = engine.value(beta, factors)
    expected = engine.gradient(cold).packed(engine.parameters)
    for distance in (1.0, 0.1, 1e-3, 1e-6):
        start = engine.value(beta + distance, [T * (1 + distance) for T in factors])
        warm = engine.value(beta, factors, start)
        assert warm.value == pytest.approx(cold.value, rel=1e-13)
        assert_allclose(engine.gradient(warm).packed(engine.parameters), expected, rtol=1e-10, atol=1e-9)
    assert_allclose(engine.value(beta, factors, replace(cold, work={})).value, cold.value, rtol=1e-13)


def test_a_start_that_is_not_finite_is_left():
    rows = simulated("crossed")
    engine, (beta, factors) = engine_of(rows), point_of(rows)
    state = engine.value(beta, factors)
    bad = replace(state, modes=[np.full_like(part, np.nan) for part in state.modes], work={})
    assert engine.value(beta, factors, bad).value == pytest.approx(state.value, rel=1e-13)


# ---- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DESIGNS)
def test_inverse_blocks(name):
    """Solutions and blocks of M^-1 against its dense inverse; log|M| against its determinant."""
    rows = simulated(name)
    _, factors = point_of(rows)
    plan = SeveralPlan([TermRows(term) for term in rows.terms])
    W = np.random.default_rng(5).uniform(0.1, 2, rows.n_rows)
    A = random_columns(rows, factors)
    M = A.T @ (W[:, None] * A) + np.eye(A.shape[1])
    system, C = SeveralSystem(plan, W, factors), np.linalg.inv(M)
    right = np.random.default_rng(6).normal(size=(len(M), 3))
    assert_allclose(system.solve(right), C @ right, rtol=1e-9, atol=1e-11)
    assert 2 * (system.log_pivots.sum() + system.half_log_det) == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-12)
    blocks = system.inverse_blocks()
    index = [np.arange(*plan.bounds[[b, b + 1]]).reshape(-1, term.q) for b, term in enumerate(plan.terms)]
    for own, at in zip(blocks.own, index, strict=True):
        assert_allclose(own, np.moveaxis(C[at[:, :, None], at[:, None]], 0, 2), rtol=1e-9, atol=1e-11)
    for (b, c), between in blocks.between.items():
        left, right = index[b][plan.cells[b, c].left_levels], index[c][plan.cells[b, c].right_levels]
        assert_allclose(between, np.moveaxis(C[left[:, :, None], right[:, None]], 0, 2), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("way", ["pairs", "dense", "chunks", "chunks of pairs"])
@pytest.mark.parametrize("q", [1, 2])
def test_links(way, q, monkeypatch):
    """X'X, X C where X is not zero, and products with vectors, in every way of forming them."""
    rng = np.random.default_rng(3)
    met = rng.random((15, 9)) < 0.5
    met[np.arange(9), np.arange(9)] = True
    layout = lay_out(sparse.csr_matrix(met.astype(float)), sparse.csr_matrix(np.eye(9)))
    levels, columns = rng.permutation(np.argwhere(met)).T
    pattern = LinkPattern(levels, columns, 15, q, layout)
    if way == "chunks":
        monkeypatch.setattr(links, "_CHUNK_FLOATS", 40)
    if way == "chunks of pairs":
        monkeypatch.setattr(links, "_CHUNK_PAIRS", 10)
    chosen = PairLinks(pattern) if "pairs" in way else DenseLinks(pattern)
    values, size = rng.normal(size=(q, len(levels))), layout.buckets[0].size
    X = np.zeros((15, q, 9))
    X[levels, :, columns] = values.T
    X = X.reshape(-1, 9)
    filled, place = chosen.fill(values), layout.local
    below = place[:, None] >= place
    gram = filled.gram().reshape(size, size)[np.ix_(place, place)]
    assert_allclose(gram[below], (X.T @ X)[below], rtol=1e-12, atol=1e-12)
    C = rng.normal(size=(9, 9))
    C = C + C.T
    # what is above the diagonal is not to be read
    lower = np.full((size, size), np.nan) if way == "dense" else np.zeros((size, size))
    lower = np.where(np.tri(size, dtype=bool), 0.0, lower)
    lower[np.ix_(place, place)] = np.where(below, C, lower[np.ix_(place, place)])
    expected = (X @ C).reshape(15, q, 9)[levels, :, columns].T
    assert_allclose(filled.times_inverse(lower.ravel()), expected, rtol=1e-12, atol=1e-12)
    tail, first = rng.normal(size=(9, 2)), rng.normal(size=(15 * q, 2))
    assert_allclose(filled.times(tail), X @ tail, rtol=1e-12, atol=1e-12)
    assert_allclose(filled.transposed_times(first), X.T @ first, rtol=1e-12, atol=1e-12)


def test_links_are_dense_where_levels_meet_most_columns():
    def chosen(met):
        pattern = sparse.csr_matrix(met.astype(float))
        layout = lay_out(pattern, sparse.csr_matrix(np.eye(met.shape[1])))
        return make_links(LinkPattern(*np.nonzero(met), met.shape[0], 1, layout))

    assert isinstance(chosen(np.ones((30, 12), dtype=bool)), DenseLinks)
    ring = np.eye(3000, dtype=bool) | np.roll(np.eye(3000, dtype=bool), 1, axis=1)
    assert isinstance(chosen(ring), PairLinks)


@pytest.mark.parametrize("kind", ["crossed", "a row a cell", "left nested", "right nested"])
def test_cells(kind):
    """Sums by cell, in each of the short cuts that designs allow."""
    rng, n = np.random.default_rng(2), 60
    left, right = np.sort(rng.permutation(np.arange(n) % 12)), rng.permutation(np.arange(n) % 5)
    if kind == "a row a cell":
        right = np.tile(np.arange(5), 12)
    if kind == "left nested":
        right = left % 5
    if kind == "right nested":
        left, right = np.sort(np.arange(n) % 5), np.repeat(np.arange(12), 5)
        left = right % 5
    terms = [RowTerm(c, int(c.max()) + 1, rng.normal(size=(2, n)), np.eye(2)) for c in (left, right)]
    cells, values = Cells(*map(TermRows, terms)), rng.normal(size=n)
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), values)
    assert_allclose(cells.sums(values), table[cells.left_levels, cells.right_levels], rtol=1e-12, atol=1e-12)
    assert_allclose(cells.take(cells.sums(values)), table[left, right], rtol=1e-12, atol=1e-12)
    product = np.zeros((*table.shape, 2, 2))
    np.add.at(product, (left, right), np.einsum("n,an,cn->nac", values, terms[0].columns, terms[1].columns))
    expected = np.moveaxis(product[cells.left_levels, cells.right_levels], 0, 2)
    assert_allclose(cells.between(values), expected, rtol=1e-12, atol=1e-12)
