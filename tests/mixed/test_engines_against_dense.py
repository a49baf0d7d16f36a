"""The engines of MixedLinear against its dense twin away from the optimum: criterion, gradient, second derivatives."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skdep.mixed.fit import make_engine, working_data
from skdep.mixed.parameters import CovarianceParameters
from skdep.mixed.terms import INTERCEPT, RandomTerm
from skdep.mixed.weights import RowWeights

from . import dense
from .designs import CASES
from .fitted_cases import METHODS


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def relative_factors(parameters: CovarianceParameters, kind: str) -> list[np.ndarray]:
    """Return T of every term: regular, or singular with the last column zero."""
    rng = np.random.default_rng(12)
    factors = []
    for q, numbers in zip(parameters.sizes, parameters.block_numbers):
        T = np.diag(rng.uniform(0.4, 1.2, q)) + np.tril(rng.normal(scale=0.3, size=(q, q)), -1)
        T *= np.equal.outer(numbers, numbers)
        if kind == "singular":
            T[:, -1] = 0.0
        factors.append(T)
    return factors


@pytest.fixture(
    params=[(name, method, kind) for name in CASES for method in METHODS for kind in ("regular", "singular")]
)
def at(request) -> SimpleNamespace:
    """Return an engine at some factors, and the dense design in the engine's coordinates."""
    name, method, kind = request.param
    case = CASES[name]
    weights, terms = case.weights, []
    for factor in case.groups:
        codes = case.codes(factor)
        columns = tuple(INTERCEPT if effect == "Intercept" else effect for effect in case.effects(factor))
        terms.append(RandomTerm(factor, codes, np.arange(codes.max() + 1), columns, blocks=case.blocks(factor)))
    terms.sort(key=lambda term: -term.n_levels * term.q)
    row_weights = RowWeights(weights, None, float(len(weights)), float(np.log(weights).sum()))
    data = working_data(case.X, case.y, terms, row_weights, fit_intercept=True, fixed=np.array(case.fixed))
    parameters = CovarianceParameters.of(terms)
    factors = relative_factors(parameters, kind)
    engine = make_engine(data.products, parameters, reml=method == "reml")
    ones = np.ones(len(weights))
    dense_terms = tuple(
        dense.Term(term.codes, np.column_stack([ones if z is None else z for z in part.columns]), blocks=term.blocks)
        for term, part in zip(terms, data.columns)
    )
    design = dense.Design(data.border[:, :-1], data.border[:, -1], dense_terms, weights)
    return SimpleNamespace(engine=engine, state=engine.value(factors), factors=factors, design=design, method=method)


def criterion_slopes(design, entries, method) -> np.ndarray:
    """Return d(-2 log L) by the entries of relative covariances: -2 sigma2 times the score, sigma2 being profiled."""
    relative, _ = dense.unpack(design, [*entries, 1.0])
    theta = dense.profiled_theta(design, relative, method)
    return -2 * theta[-1] * dense.score(design, theta, method)[:-1]


def entries_of(at) -> np.ndarray:
    return dense.pack(at.design, [T @ T.T for T in at.factors], 1.0)[:-1]


def test_criterion(at):
    """The constant of the weights is not in it."""
    expected = dense.profiled_loglik(at.design, [T @ T.T for T in at.factors], at.method)
    expected -= 0.5 * np.sum(np.log(at.design.W))
    assert at.state.value == pytest.approx(-2 * expected, rel=1e-11)


def test_gradient(at):
    gradients = at.engine.derivatives(at.state).gradients
    found = at.engine.parameters.sigma_gradient(gradients)
    expected = criterion_slopes(at.design, entries_of(at), at.method)
    assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def test_second_derivative(at):
    """Exact, or with the average information in place of what is observed."""
    derivatives, entries = at.engine.derivatives(at.state), entries_of(at)
    if derivatives.exact:
        moves = 1e-5 * np.eye(len(entries))
        expected = [
            criterion_slopes(at.design, entries + move, at.method)
            - criterion_slopes(at.design, entries - move, at.method)
            for move in moves
        ]
        expected = np.array(expected) / 2e-5
    else:
        theta = dense.profiled_theta(at.design, [T @ T.T for T in at.factors], at.method)
        average = dense.average_information(at.design, theta)[:-1, :-1]
        Py, (n, p) = dense.gls(at.design, theta).P @ at.design.y, at.design.X.shape
        s = theta[-1] * np.array([Py @ V_i @ Py for V_i in dense.derivatives(at.design)[:-1]])
        expected = 2 * theta[-1] ** 2 * average - np.outer(s, s) / (n if at.method == "ml" else n - p)
    assert_allclose(derivatives.hessian, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_one_factor_has_exact_second_derivatives():
    """So that the exact branch above is taken."""
    case = CASES["slope"]
    term = RandomTerm("group", case.codes("group"), np.arange(16), (INTERCEPT, 0))
    data = working_data(case.X, case.y, [term], RowWeights(None, None, float(len(case.y)), 0.0), fit_intercept=True)
    engine = make_engine(data.products, CovarianceParameters((2,), False), reml=True)
    assert engine.derivatives(engine.value([np.eye(2)])).exact
