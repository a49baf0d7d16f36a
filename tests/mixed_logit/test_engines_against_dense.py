"""The engines of logistic mixed models against their dense twin, away from the optimum and on the boundary."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skdep import _threads
from skdep.glmm import links, quadrature, several_modes, several_precisions
from skdep.glmm.one_factor import OneFactorLaplace
from skdep.glmm.quadrature import AdaptiveQuadrature
from skdep.glmm.several_factors import SeveralFactorsLaplace

from . import dense
from .designs import CASES, ONE_FACTOR, SEVERAL_FACTORS, Case

NODES = {1: 6, 2: 4, 3: 3}  # by number of effects
ENGINES = {
    "one": (OneFactorLaplace, ONE_FACTOR),
    "quadrature": (AdaptiveQuadrature, ONE_FACTOR),
    "several": (SeveralFactorsLaplace, SEVERAL_FACTORS),
}
PLACES = [("none", "regular"), ("sampling", "regular"), ("sampling", "singular"), ("frequency", "zero")]
AT = [(kind, name, *place) for kind, (_, cases) in ENGINES.items() for name in cases for place in PLACES]
LARGE = [(kind, name, "sampling", "large") for kind, (_, cases) in ENGINES.items() for name in cases]
LAPLACE = [at for at in AT if at[0] != "quadrature"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def made(kind: str, case: Case):
    """Return an engine, and the dense likelihood of the same approximation."""
    nodes = [NODES[case.design.terms[0].q]] if kind == "quadrature" else []
    engine = ENGINES[kind][0](case.rows, case.parameters, *nodes)
    return engine, lambda *arguments: (dense.quadrature if nodes else dense.laplace)(*arguments, *nodes)


@cache
def at(kind: str, name: str, weighting: str, point: str) -> SimpleNamespace:
    """Return an engine's state at a point, and the dense design and likelihood of the same rows."""
    case = CASES[name].weighted(weighting)
    (beta, Ts), (engine, method) = case.points()[point], made(kind, case)
    return SimpleNamespace(
        case=case,
        design=case.design,
        beta=beta,
        Ts=Ts,
        packed=dense.pack(case.design, beta, Ts),
        method=method,
        engine=engine,
        state=engine.value(beta, Ts),
        parameters=engine.parameters,
    )


@cache
def dense_scores(*where: str) -> np.ndarray:
    """Return the derivatives of the dense criterion, a cluster a row."""
    found = at(*where)
    by_cluster = dense.slopes(
        lambda x: found.method(found.design, *dense.unpack(found.design, x)), found.packed, 4e-3, 2
    )
    return -by_cluster.T * found.design.g[:, None]


def gradient_at(engine, design, packed) -> np.ndarray:
    return engine.gradient(engine.value(*dense.unpack(design, packed))).packed(engine.parameters)


# ---- value and modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", AT + LARGE, ids="-".join)
def test_value(where):
    found = at(*where)
    expected = -found.design.g @ found.method(found.design, found.beta, found.Ts)
    assert found.state.value == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("where", AT + LARGE, ids="-".join)
def test_modes(where):
    found = at(*where)
    expected = dense.by_level(found.design, dense.modes(found.design, found.beta, found.Ts))
    for u, of_levels in zip(found.state.modes, expected, strict=True):
        assert_allclose(u, of_levels.T, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("where", [w for w in AT if w[2:] == ("sampling", "regular")], ids="-".join)
@pytest.mark.parametrize("begin", ["zero", "large"])
def test_value_wherever_the_search_for_modes_begins(where, begin):
    found = at(*where)
    start = at(*where[:3], begin).state
    state = found.engine.value(found.beta, found.Ts, start)
    assert state.value == pytest.approx(found.state.value, rel=1e-12)
    first = found.engine.gradient(found.state).packed(found.parameters)
    assert_allclose(found.engine.gradient(state).packed(found.parameters), first, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("distance", [40.0, 900.0])
@pytest.mark.parametrize("kind, name", [("one", "slope"), ("quadrature", "slope"), ("several", "crossed_slopes")])
def test_distant_predictors(kind, name, distance):
    """Rows whose outcome is all but certain, and rows that are all but impossible, also where exp overflows."""
    design = CASES[name].design
    n = len(design.y)
    offset = np.where(np.arange(n) % 7 == 0, distance, 0.0) * np.where(np.arange(n) % 3, 1, -1)
    case = Case(replace(design, offset=offset))
    (beta, Ts), (engine, method) = case.points()["regular"], made(kind, case)
    state = engine.value(beta, Ts)
    assert state.value == pytest.approx(-method(case.design, beta, Ts).sum(), rel=1e-11)
    packed = dense.pack(design, beta, Ts)
    expected = -dense.slopes(dense.objective(case.design, method), packed)
    assert_allclose(engine.gradient(state).packed(engine.parameters), expected, rtol=1e-6, atol=1e-6)


def test_modes_of_huge_effects():
    """A short step of the effects is a long one of predictors here: full steps go to and fro."""
    case = CASES["slope"]
    beta, T = np.array([0.94, -1.7, 6.54]), np.array([[-14.4, 0.0], [302.8, -96.3]])
    state = OneFactorLaplace(case.rows, case.parameters).value(beta, [T])
    assert state.value == pytest.approx(-dense.laplace(case.design, beta, [T]).sum(), rel=1e-9)


@pytest.mark.parametrize("kind, name", [("one", "slope"), ("quadrature", "slope"), ("several", "crossed_slopes")])
def test_what_is_not_finite_raises(kind, name):
    found = at(kind, name, "none", "regular")
    for beta, factor in ((np.nan, 1.0), (np.inf, 1.0), (1.0, np.nan)):
        with pytest.raises(np.linalg.LinAlgError), np.errstate(all="ignore"):
            found.engine.value(beta * found.beta, [factor * T for T in found.Ts])


# ---- first derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", AT, ids="-".join)
def test_gradient(where):
    found = at(*where)
    gradient = found.engine.gradient(found.state).packed(found.parameters)
    assert_allclose(gradient, dense_scores(*where).sum(axis=0), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("where", LAPLACE, ids="-".join)
def test_derivative_by_factors_follows_from_that_by_covariances(where):
    """It is 2 G T."""
    found = at(*where)
    gradient = found.engine.gradient(found.state)
    for G in gradient.sigma:
        assert_allclose(G, G.T, rtol=1e-12, atol=1e-12)
    implied = found.parameters.pack([2 * G @ T for G, T in zip(gradient.sigma, found.Ts)])
    assert_allclose(implied, found.parameters.pack(gradient.factors), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("where", [w for w in LAPLACE if w[3] in ("singular", "zero")], ids="-".join)
def test_derivative_by_covariances_on_the_boundary(where):
    """Where T is singular G does not follow from T; the dense criterion is a function of Sigma beyond the boundary."""
    found = at(*where)
    design, beta, parameters = found.design, found.beta, found.parameters
    Sigma = parameters.pack([T @ T.T for T in found.Ts])

    def loglik(entries):
        symmetric = [np.tensordot(part, basis, 1) for part, basis in zip(split(entries, parameters), parameters.basis)]
        return design.g @ dense.laplace_by_covariance(design, beta, symmetric)

    expected = -dense.slopes(loglik, Sigma, 2e-4, 2)
    gradient = parameters.sigma_gradient(found.engine.gradient(found.state).sigma)
    assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def split(entries, parameters) -> list[np.ndarray]:
    """Return the entries of every term."""
    return np.split(entries, parameters.bounds[1:-1])


@pytest.mark.parametrize("where", AT, ids="-".join)
def test_scores_of_clusters(where):
    """Of the independent clusters of rows; they add up to the gradient."""
    found = at(*where)
    scores = found.engine.scores(found.state, found.case.clusters, found.design.n_clusters)
    assert_allclose(scores, dense_scores(*where), rtol=1e-7, atol=1e-7)
    gradient = found.engine.gradient(found.state).packed(found.parameters)
    assert_allclose(scores.sum(axis=0), gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("where", [w for w in AT if w[3] == "singular"], ids="-".join)
def test_scores_of_coarser_clusters_are_sums(where):
    """Also where the weights of what is summed differ; a cluster may have no rows."""
    found = at(*where)
    coarse, n_coarse = found.case.clusters // 2, found.design.n_clusters // 2 + 2
    expected = np.zeros((n_coarse, len(found.packed)))
    np.add.at(expected, np.arange(found.design.n_clusters) // 2, dense_scores(*where))
    assert_allclose(found.engine.scores(found.state, coarse, n_coarse), expected, rtol=1e-7, atol=1e-7)


# ---- second derivatives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", AT, ids="-".join)
def test_hessian(where):
    """Exact, or not there."""
    found = at(*where)
    hessian = found.engine.hessian(found.state)
    if hessian is None:
        assert where[0] == "several" or (where[0] == "quadrature" and found.parameters.sizes[0] > 1)
        return
    expected = dense.slopes(lambda packed: gradient_at(found.engine, found.design, packed), found.packed, 0.01, 3)
    scale = np.abs(expected).max()
    assert_allclose(hessian, expected, rtol=1e-6, atol=1e-7 * scale)
    assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-13 * scale)


@pytest.mark.parametrize("where", AT, ids="-".join)
def test_curvature_is_that_of_the_fixed_effects(where):
    """Exact in the engines of one factor; with several, X'V^{-1}X of the linear model of variances 1/W at the mode."""
    found = at(*where)
    curvature, p = found.engine.curvature(found.state), len(found.beta)
    assert curvature.shape == (len(found.packed),) * 2
    assert_allclose(curvature, curvature.T, rtol=1e-10, atol=1e-10)
    if where[0] == "several":
        assert np.linalg.eigvalsh(curvature)[0] > 0
        assert_allclose(curvature[:p, :p], working_information(found), rtol=1e-8, atol=1e-9)
    elif (exact := found.engine.hessian(found.state)) is not None:
        assert_allclose(curvature, exact, rtol=1e-12)
    else:  # quadrature with several effects
        assert_allclose(curvature, at("one", *where[1:]).engine.hessian(at("one", *where[1:]).state), rtol=1e-8)


def working_information(found) -> np.ndarray:
    """Return X'V^{-1}X, clusters weighted, with V = W^{-1} + Z Sigma Z' at the mode, literally."""
    design, u = found.design, dense.modes(found.design, found.beta, found.Ts)
    p = 1 / (1 + np.exp(-design.eta(found.beta, found.Ts, u)))
    A, weights = dense.z_lambda(design, found.Ts), design.g[design.clusters]
    V = np.diag(1 / (design.w * p * (1 - p))) + A @ A.T
    return design.X.T @ (weights[:, None] * np.linalg.inv(V)) @ design.X


@pytest.mark.parametrize("where", AT, ids="-".join)
def test_conditional_variances(where):
    """T M^{-1} T' of each level."""
    found = at(*where)
    joint, first = dense.conditional_covariance(found.design, found.beta, found.Ts), 0
    for term, variances in zip(found.design.terms, found.engine.conditional_variances(found.state), strict=True):
        assert variances.shape == (term.q, term.q, term.n_levels)
        for level in range(term.n_levels):
            span = slice(first + level * term.q, first + (level + 1) * term.q)
            assert_allclose(variances[:, :, level], joint[span, span], rtol=1e-8, atol=1e-9)
        first += term.q * term.n_levels


# ---- ways of computing that small data do not take by themselves -----------------------------------------------------

SWITCHES = {
    "old factorisations": [(several_modes, "_EXPENSIVE_FLOATS", 0)],
    "lists of pairs": [(links, "_PAIR", 0.0)],
    "dense products": [(links, "_DENSE", 0.0)],
    "dense products of chunks": [(links, "_DENSE", 0.0), (links, "_CHUNK_FLOATS", 60)],
    "components one by one": [(several_precisions, "_STACKED", 0)],
}


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("name", ["crossed_slopes", "crossed_blocks", "nested_slope", "three_factors"])
def test_ways_of_computing_with_several_factors(name, switch, monkeypatch):
    for module, constant, value in SWITCHES[switch]:
        assert hasattr(module, constant)
        monkeypatch.setattr(module, constant, value)
    for point, begin in (("regular", "singular"), ("singular", "regular")):
        found, other = at("several", name, "sampling", point), at("several", name, "sampling", begin)
        engine = SeveralFactorsLaplace(found.case.rows, found.parameters)
        state = engine.value(found.beta, found.Ts, engine.value(other.beta, other.Ts))
        check_equal(found, engine, state)


def check_equal(found, engine, state) -> None:
    """Compare a state with the one found before."""
    assert state.value == pytest.approx(found.state.value, rel=1e-12)
    gradient, expected = engine.gradient(state), found.engine.gradient(found.state)
    for one, two in zip([gradient.beta, *gradient.sigma], [expected.beta, *expected.sigma], strict=True):
        assert_allclose(one, two, rtol=1e-8, atol=1e-9)
    assert_allclose(engine.curvature(state), found.engine.curvature(found.state), rtol=1e-8, atol=1e-8)
    variances = engine.conditional_variances(state), found.engine.conditional_variances(found.state)
    for one, two in zip(*variances, strict=True):
        assert_allclose(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["intercept_offset", "slope", "two_slopes"])
def test_blocks_of_levels_in_threads(name, monkeypatch):
    monkeypatch.setattr(quadrature, "_BLOCK_FLOATS", 40)
    monkeypatch.setattr(_threads, "_PARALLEL_FLOATS", 0)
    found = at("quadrature", name, "sampling", "regular")
    engine, _ = made("quadrature", found.case)
    with threadpool_limits(2):
        check_equal(found, engine, engine.value(found.beta, found.Ts))


# ---- relations between engines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_FACTOR)
@pytest.mark.parametrize("point", ["regular", "singular"])
def test_quadrature_with_one_node_is_laplace(name, point):
    laplace = at("one", name, "sampling", point)
    engine = AdaptiveQuadrature(laplace.case.rows, laplace.parameters, 1)
    state = engine.value(laplace.beta, laplace.Ts)
    assert state.value == pytest.approx(laplace.state.value, rel=1e-13)
    expected = laplace.engine.gradient(laplace.state).packed(laplace.parameters)
    assert_allclose(engine.gradient(state).packed(laplace.parameters), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["intercept_offset", "slope", "trials"])
def test_quadrature_with_many_nodes_is_the_integral(name):
    """Value and gradient, which for one node is not close."""
    found = at("one", name, "sampling", "regular")
    engine = AdaptiveQuadrature(found.case.rows, found.parameters, 30)
    exact, packed = dense.objective(found.design, dense.exact), found.packed
    assert engine.value(found.beta, found.Ts).value == pytest.approx(-exact(packed), abs=1e-7)
    assert abs(found.state.value + exact(packed)) > 1e-3
    assert_allclose(gradient_at(engine, found.design, packed), -dense.slopes(exact, packed, 4e-3, 2), atol=1e-5)


@pytest.mark.parametrize("name", ["crossed_slopes", "nested_slope"])
def test_factors_without_variance_drop_out(name):
    """Several factors, all but the first with T = 0, are one factor."""
    case = CASES[name].weighted("frequency")
    beta, Ts = case.points()["regular"]
    one = Case(replace(case.design, terms=case.design.terms[:1]))
    engine, alone = SeveralFactorsLaplace(case.rows, case.parameters), OneFactorLaplace(one.rows, one.parameters)
    state, expected = engine.value(beta, [Ts[0], 0 * Ts[1]]), alone.value(beta, Ts[:1])
    assert state.value == pytest.approx(expected.value, rel=1e-12)
    gradient, of_alone = engine.gradient(state), alone.gradient(expected)
    assert_allclose(gradient.beta, of_alone.beta, rtol=1e-8, atol=1e-10)
    assert_allclose(np.tril(gradient.factors[0]), np.tril(of_alone.factors[0]), rtol=1e-8, atol=1e-10)
    assert_allclose(gradient.factors[1], 0, atol=1e-12)
