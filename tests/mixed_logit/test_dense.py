"""The dense twin itself: against integration by other means, closed forms, identities and invariances."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats
from threadpoolctl import threadpool_limits

from . import dense
from .dense import Design, Term
from .designs import CASES, ONE_FACTOR

# one of each structure
SOME = ["slope", "two_slopes_diagonal", "trials", "nested_slope", "crossed_slopes", "crossed_blocks", "three_factors"]
SOME_ONE_FACTOR = ["intercept_offset", "slope", "slope_diagonal", "rare", "large_effects", "trials"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads of the BLAS cost more than they gain in matrices as small as these."""
    with threadpool_limits(1):
        yield


def at(name: str, weighting: str = "none", point: str = "regular"):
    """Return the design of a case, and beta and T."""
    case = CASES[name].weighted(weighting)
    return case.design, *case.points()[point]


def two_rows(y, eta=(0.0, 0.0), Z=((1.0,), (1.0,))) -> Design:
    """Return one level of two rows, with known linear predictors."""
    return Design(
        np.zeros((2, 0)), np.array(y, dtype=float), (Term(np.zeros(2, dtype=int), np.array(Z)),), None, np.array(eta)
    )


def likelihood(design: Design, beta, Ts):
    """Return a function of the stacked effects: prod_i p(y_i | u)^w_i phi(u), straight from its definition."""
    A, fixed = dense.z_lambda(design, Ts), design.eta(beta)

    def value(*u):
        p = 1 / (1 + np.exp(-(fixed + A @ np.array(u))))
        return np.prod((p**design.y * (1 - p) ** (1 - design.y)) ** design.w) * np.prod(stats.norm.pdf(u))

    return value


# ---- clusters and parameters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, n_clusters", [("slope", 16), ("nested", 8), ("deeply_nested", 3), ("crossed", 1), ("crossed_blocks", 3)]
)
def test_clusters(name, n_clusters):
    design = CASES[name].design
    labels = design.clusters
    assert set(labels) == set(range(n_clusters))
    for term in design.terms:
        for level in range(term.n_levels):
            assert len(set(labels[term.codes == level])) == 1


@pytest.mark.parametrize("name", SOME)
def test_clusters_are_independent(name):
    """The likelihood of each is the one it has without the others, weights of clusters apart."""
    design, beta, Ts = at(name, "sampling")
    labels, together = design.clusters, dense.laplace(design, beta, Ts)
    for c in range(labels.max() + 1):
        alone = dense.taken(design, np.flatnonzero(labels == c))
        assert_allclose(dense.laplace(alone, beta, Ts), together[c], rtol=1e-12)
        assert alone.g[0] == design.g[c]
    loglik = dense.objective(design)(dense.pack(design, beta, Ts))
    assert loglik == pytest.approx(sum(design.g * together), rel=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_parameters_there_and_back(name):
    design, beta, Ts = at(name)
    back, Ts_back = dense.unpack(design, dense.pack(design, beta, Ts))
    assert_allclose(back, beta, rtol=0)
    for T, T_back in zip(Ts, Ts_back):
        assert_allclose(T_back, T, rtol=0)


def test_random_effects_of_rows():
    design, _, Ts = at("crossed_slopes")
    u = np.random.default_rng(0).normal(size=22 + 18)
    levels = dense.by_level(design, u)
    expected = [
        sum(term.Z[i] @ T @ levels[k][term.codes[i]] for k, (term, T) in enumerate(zip(design.terms, Ts)))
        for i in range(len(design.y))
    ]
    assert_allclose(dense.z_lambda(design, Ts) @ u, expected, atol=1e-13)


# ---- Laplace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("point", ["regular", "singular"])
def test_modes_are_where_the_derivative_vanishes(name, point):
    """The log density of u given y is strictly concave, so that is its maximum."""
    design, beta, Ts = at(name, "sampling", point)
    u, A = dense.modes(design, beta, Ts), dense.z_lambda(design, Ts)
    residual = design.w * (design.y - special.expit(design.eta(beta, Ts, u)))
    assert_allclose(A.T @ residual, u, atol=1e-12)


@pytest.mark.parametrize("name", SOME)
def test_curvature_is_the_second_derivative_of_the_log_density(name):
    design, beta, Ts = at(name, "sampling")
    u = dense.modes(design, beta, Ts)

    def log_density(u):
        return np.sum(design.row_loglik(design.eta(beta, Ts, u))) - u @ u / 2

    few = np.arange(0, len(u), 5)
    moves = np.eye(len(u))[few]
    found = dense.second_slopes(lambda t: log_density(u + t @ moves), np.zeros(len(few)))
    assert_allclose(-found, dense.curvature(design, beta, Ts, u)[np.ix_(few, few)], atol=1e-7)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("point", ["regular", "singular", "zero"])
def test_laplace_in_terms_of_covariances(name, point):
    """Another formula, of matrices of rows by rows, for the same."""
    design, beta, Ts = at(name, point=point)
    expected = dense.laplace_by_covariance(design, beta, [T @ T.T for T in Ts])
    assert_allclose(dense.laplace(design, beta, Ts), expected, rtol=1e-12)


def test_laplace_nears_the_integral_as_trials_grow():
    """Its error is of order one over the number of trials, where there are both successes and failures."""
    design, beta, Ts = at("trials")
    (term,), errors = design.terms, []
    design = replace(design, terms=(Term(term.codes, term.Z[:, :1]),))
    shares = np.bincount(term.codes, design.y) / np.bincount(term.codes)
    design = dense.taken(design, np.flatnonzero(np.abs(shares[term.codes] - 0.5) < 0.3))
    for factor in (256, 2048):
        more = replace(design, row_weight=factor * design.w)
        arguments = (more, beta, [Ts[0][:1, :1]])
        errors.append(np.abs(dense.laplace(*arguments) - dense.exact(*arguments)))
    assert len(errors[0]) > 5
    assert errors[0].sum() / errors[1].sum() == pytest.approx(8, rel=0.05)


def test_conditional_covariance():
    """By the definition M^{-1}, from differences, and zero in directions that T does not reach."""
    design, beta, Ts = at("one_level")
    u = dense.modes(design, beta, Ts)
    value = likelihood(design, beta, Ts)
    M = -dense.second_slopes(lambda x: np.log(value(*x)), u)
    expected = Ts[0] @ np.linalg.inv(M) @ Ts[0].T
    assert_allclose(dense.conditional_covariance(design, beta, Ts), expected, rtol=1e-6)
    for name in SOME:
        design, beta, Ts = at(name, point="zero")
        assert not dense.conditional_covariance(design, beta, Ts).any()


# ---- the integral ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["intercept_offset", "singletons"])
def test_integral_of_one_effect_by_another_routine(name):
    design, beta, Ts = at(name, "sampling")
    labels, found = design.clusters, dense.exact(design, beta, Ts)
    for c in range(0, labels.max() + 1, 3):
        value = likelihood(dense.taken(design, np.flatnonzero(labels == c)), beta, Ts)
        expected = integrate.quad(value, -12, 12, epsabs=0, epsrel=1e-11, points=[0.0], limit=200)[0]
        assert found[c] == pytest.approx(np.log(expected), abs=1e-10)


@pytest.mark.parametrize("name", ["slope", "large_effects"])
def test_integral_of_two_effects_by_another_routine(name):
    design, beta, Ts = at(name)
    labels, found = design.clusters, dense.exact(design, beta, Ts)
    c = int(np.argmin(np.where(np.bincount(labels) > 2, np.bincount(labels), 99)))
    value = likelihood(dense.taken(design, np.flatnonzero(labels == c)), beta, Ts)
    options = {"epsabs": 0, "epsrel": 1e-5}
    expected = integrate.nquad(value, [(-6, 6), (-6, 6)], opts=options)[0]
    assert found[c] == pytest.approx(np.log(expected), abs=1e-6)


@pytest.mark.parametrize("name", SOME_ONE_FACTOR)
def test_a_finer_grid_changes_nothing(name):
    design, beta, Ts = at(name, "sampling")
    assert_allclose(dense.exact(design, beta, Ts, 1.4), dense.exact(design, beta, Ts), atol=1e-12)


def test_a_finer_grid_within_a_grid_changes_nothing():
    design, beta, Ts = nested(at("nested"))
    assert_allclose(dense.exact_nested(design, beta, Ts, 1.4), dense.exact_nested(design, beta, Ts), atol=1e-12)


def test_probabilities_of_all_outcomes_add_up_to_one():
    """For the integral exactly; for quadrature as its nodes grow in number."""
    X, Ts, beta = np.column_stack([np.ones(4), [0.5, -1.0, 2.0, 0.3]]), [np.array([[1.1, 0], [-0.4, 0.8]])], [0.3, -0.5]
    total = {"exact": 0.0, 1: 0.0, 5: 0.0, 21: 0.0}
    for y in product([0.0, 1.0], repeat=4):
        design = Design(X, np.array(y), (Term(np.zeros(4, dtype=int), X),))
        total["exact"] += np.exp(dense.exact(design, beta, Ts)[0])
        for k in (1, 5, 21):
            total[k] += np.exp(dense.quadrature(design, beta, Ts, k)[0])
    assert total["exact"] == pytest.approx(1, abs=1e-13)
    assert total[21] == pytest.approx(1, abs=1e-7)
    assert 1e-7 < abs(total[5] - 1) < 2e-3 < abs(total[1] - 1)


def test_probabilities_known_by_symmetry():
    """One half, at predictors of zero; and p(1, 1) + p(1, 0) = p(1) = 1/2 for a pair."""
    T = [np.array([[1.7]])]
    pairs = [np.exp(dense.exact(two_rows(y), [], T)[0]) for y in ([1, 1], [1, 0], [0, 1], [0, 0])]
    assert_allclose(pairs, [pairs[0], 0.5 - pairs[0], 0.5 - pairs[0], pairs[0]], rtol=1e-13)
    apart = two_rows([1, 0], Z=((1.0,), (0.0,)))
    assert np.exp(dense.exact(apart, [], T)[0]) == pytest.approx(0.25, rel=1e-13)
    assert pairs[0] > 0.3


def nested(of_a_case):
    """Return the school first: grids within grids begin with the outer factor."""
    design, beta, Ts = of_a_case
    return replace(design, terms=design.terms[::-1]), beta, Ts[::-1]


@pytest.mark.parametrize("name", ["nested", "nested_slope"])
def test_nested_integral_without_one_of_the_factors(name):
    design, beta, (outer, inner) = nested(at(name, "frequency"))
    without = dense.exact(replace(design, terms=design.terms[:1]), beta, [outer])
    assert_allclose(dense.exact_nested(design, beta, [outer, 0 * inner]), without, rtol=1e-12)
    pupils = replace(design, terms=design.terms[1:])
    within = dense.exact(pupils, beta, [inner])
    school = design.terms[0].codes[np.unique(pupils.clusters, return_index=True)[1]]
    of_schools = dense.in_order_of_clusters(design, design.terms[0], np.bincount(school, within))
    assert_allclose(dense.exact_nested(design, beta, [0 * outer, inner]), of_schools, rtol=1e-12)


def test_nested_intercepts_are_one_factor_with_an_effect_for_every_level():
    """A school of two pupils has three effects: its own, and one of each pupil; so for Laplace and for the integral."""
    rng = np.random.default_rng(5)
    pupil = np.array([0, 0, 0, 1, 1])
    X, y, ones = np.ones((5, 1)), np.array([1.0, 1, 0, 0, 0]), np.ones((5, 1))
    T_school, T_pupil, beta = rng.uniform(0.6, 1.4, (1, 1)), rng.uniform(0.6, 1.4, (1, 1)), np.array([0.3])
    two = Design(X, y, (Term(0 * pupil, ones), Term(pupil, ones)))
    one = Design(X, y, (Term(0 * pupil, np.column_stack([ones, pupil == 0, pupil == 1]), diagonal=True),))
    T = np.diag([T_school[0, 0], T_pupil[0, 0], T_pupil[0, 0]])
    assert_allclose(dense.laplace(two, beta, [T_school, T_pupil]), dense.laplace(one, beta, [T]), rtol=1e-13)
    assert_allclose(dense.exact_nested(two, beta, [T_school, T_pupil]), dense.exact(one, beta, [T]), rtol=1e-12)


# ---- quadrature ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_FACTOR)
def test_one_node_is_laplace(name):
    design, beta, Ts = at(name, "sampling")
    assert_allclose(dense.quadrature(design, beta, Ts, 1), dense.laplace(design, beta, Ts), rtol=1e-13)


@pytest.mark.parametrize("name", SOME_ONE_FACTOR)
def test_quadrature_nears_the_integral(name):
    design, beta, Ts = at(name, "sampling")
    expected = dense.exact(design, beta, Ts)
    errors = [np.abs(dense.quadrature(design, beta, Ts, k) - expected).max() for k in (1, 4, 9, 25)]
    assert errors[3] < 2e-6
    assert all(after < before / 3 for before, after in pairwise(errors))


def test_quadrature_of_three_effects_nears_the_integral():
    design, beta, Ts = at("two_slopes")
    few = dense.taken(design, np.flatnonzero(design.terms[0].codes < 4))
    expected = dense.exact(few, beta, Ts, 0.7)
    errors = [np.abs(dense.quadrature(few, beta, Ts, k) - expected).max() for k in (1, 4, 9, 16)]
    assert errors[3] < 1e-5
    assert all(after < before / 3 for before, after in pairwise(errors))


# ---- closed forms, invariances ---------------------------------------------------------------------------------------


def methods(design: Design):
    """Return the likelihoods that a design has, by name."""
    found = {"laplace": dense.laplace}
    if len(design.terms) == 1:
        found["quadrature"] = lambda *arguments: dense.quadrature(*arguments, 4)
        if design.terms[0].q < 3:
            found["exact"] = dense.exact
    return found


@pytest.mark.parametrize("name", SOME)
def test_without_variance_it_is_logistic_regression(name):
    """log L is that of Bernoulli rows, without a binomial coefficient; slopes are the score, X'W(y - p)."""
    design, beta, Ts = at(name, "frequency", "zero")
    p = special.expit(design.eta(beta))
    successes = design.w * design.y
    expected = stats.binom.logpmf(np.round(successes), design.w, p) - np.log(special.comb(design.w, successes))
    for method in methods(design).values():
        assert method(design, beta, Ts).sum() == pytest.approx(expected.sum(), rel=1e-12)
    loglik, point = dense.objective(design), dense.pack(design, beta, Ts)
    k, X, gradient = len(beta), design.X, dense.slopes(loglik, point)
    hessian = dense.second_slopes(lambda beta: loglik([*beta, *point[k:]]), beta, 0.03, 2)
    assert_allclose(gradient[:k], X.T @ (successes - design.w * p), rtol=1e-8, atol=1e-8)
    assert_allclose(gradient[k:], 0, atol=1e-8)  # whatever the data: log L is even in T
    assert_allclose(hessian, -(X.T * (design.w * p * (1 - p))) @ X, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SOME)
def test_frequency_weights_are_repeated_rows(name):
    design, beta, Ts = at(name)
    counts = np.random.default_rng(1).integers(1, 4, len(design.y))
    weighted, repeated = replace(design, row_weight=design.w * counts), dense.repeated(design, counts)
    for method in methods(design).values():
        assert method(weighted, beta, Ts).sum() == pytest.approx(method(repeated, beta, Ts).sum(), rel=1e-12)


@pytest.mark.parametrize("name", ["slope", "nested_slope", "crossed_blocks"])
def test_weights_of_clusters_are_repeated_clusters(name):
    """A copy has levels of its own."""
    design, beta, Ts = at(name)
    labels = design.clusters
    weights = np.random.default_rng(2).integers(1, 4, labels.max() + 1)
    copies = np.concatenate([np.full(w, c) for c, w in enumerate(weights)])
    rows = [np.flatnonzero(labels == c) for c in copies]
    shift = np.repeat(np.arange(len(copies)), [len(r) for r in rows])
    longer = dense.taken(design, np.concatenate(rows))
    terms = tuple(replace(t, codes=np.unique(1000 * shift + t.codes, return_inverse=True)[1]) for t in longer.terms)
    longer = replace(longer, terms=terms)
    weighted = replace(design, cluster_weight=weights[labels].astype(float))
    point = dense.pack(design, beta, Ts)
    assert len(longer.g) == len(copies)
    assert dense.objective(weighted)(point) == pytest.approx(dense.objective(longer)(point), rel=1e-12)


@pytest.mark.parametrize("name", SOME)
def test_order_of_rows_is_no_matter(name):
    design, beta, Ts = at(name, "sampling")
    shuffled = dense.taken(design, np.random.default_rng(3).permutation(len(design.y)))
    for method in methods(design).values():
        expected = design.g @ method(design, beta, Ts)
        assert shuffled.g @ method(shuffled, beta, Ts) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", SOME)
def test_signs_of_columns_of_factors_are_no_matter(name):
    """Sigma = T T' is the same; beyond signs, other T of the same Sigma have other nodes, hence another quadrature."""
    design, beta, Ts = at(name)
    flipped = [T * np.array([-1, 1, -1])[: len(T)] for T in Ts]
    turned = [T @ stats.ortho_group(dim=len(T), seed=4).rvs() if len(T) > 1 else -T for T in Ts]
    for kind, method in methods(design).items():
        assert_allclose(method(design, beta, flipped), method(design, beta, Ts), rtol=1e-12)
        if kind != "quadrature":
            assert_allclose(method(design, beta, turned), method(design, beta, Ts), rtol=1e-12)


@pytest.mark.parametrize("name", SOME)
def test_failures_for_successes_and_coordinates_of_columns(name):
    """y -> 1 - y with beta -> -beta; Z -> Z A with T -> A^{-1} T; an offset for a column of X."""
    design, beta, Ts = at(name, "sampling")
    expected = dense.laplace(design, beta, Ts)
    offset = 0.0 if design.offset is None else design.offset
    opposite = replace(design, y=1 - design.y, offset=-offset + np.zeros(len(design.y)))
    assert_allclose(dense.laplace(opposite, -beta, Ts), expected, rtol=1e-12)
    A = [np.eye(len(T)) + np.tri(len(T)) for T in Ts]
    moved = replace(design, terms=tuple(replace(term, Z=term.Z @ a) for term, a in zip(design.terms, A)))
    assert_allclose(dense.laplace(moved, beta, [np.linalg.solve(a, T) for a, T in zip(A, Ts)]), expected, rtol=1e-12)
    known = replace(design, X=design.X[:, 1:], offset=offset + beta[0] * design.X[:, 0])
    assert_allclose(dense.laplace(known, beta[1:], Ts), expected, rtol=1e-12)


# ---- slopes, maxima, sandwich ----------------------------------------------------------------------------------------


def test_slopes_of_known_functions():
    x = np.array([0.4, -0.9, 1.3])

    def f(x):
        return np.exp(x[0] * x[1]) + np.sin(x[2]) * x[0] ** 3

    gradient = [
        x[1] * np.exp(x[0] * x[1]) + 3 * np.sin(x[2]) * x[0] ** 2,
        x[0] * np.exp(x[0] * x[1]),
        np.cos(x[2]) * x[0] ** 3,
    ]
    assert_allclose(dense.slopes(f, x), gradient, atol=1e-11)
    assert_allclose(dense.slopes(lambda x: np.array([f(x), x[2]]), x)[:, 1], [0, 0, 1], atol=1e-11)
    e = np.exp(x[0] * x[1])
    cross = [e + x[0] * x[1] * e, 3 * np.cos(x[2]) * x[0] ** 2]
    hessian = [
        [x[1] ** 2 * e + 6 * np.sin(x[2]) * x[0], *cross],
        [cross[0], x[0] ** 2 * e, 0],
        [cross[1], 0, -np.sin(x[2]) * x[0] ** 3],
    ]
    assert_allclose(dense.second_slopes(f, x), hessian, atol=1e-8)


def test_slope_of_the_integral_is_the_mean_score_given_the_outcome():
    """Fisher's identity: d log L / d beta = E(X'w(y - p) | y), for one cluster by another routine."""
    design, beta, Ts = at("one_level")
    design = replace(design, terms=(Term(design.terms[0].codes, design.terms[0].Z[:, :1]),))
    Ts = [Ts[0][:1, :1]]
    value = likelihood(design, beta, Ts)

    def mean_score(column):
        def integrand(u):
            p = special.expit(design.eta(beta) + Ts[0][0, 0] * u)
            return value(u) * (column @ (design.y - p))

        options = {"epsabs": 0, "epsrel": 1e-10}
        return integrate.quad(integrand, -12, 12, **options)[0] / integrate.quad(value, -12, 12, **options)[0]

    found = dense.slopes(dense.objective(design, dense.exact), dense.pack(design, beta, Ts))
    assert_allclose(found[:3], [mean_score(column) for column in design.X.T], rtol=1e-7)


def test_maximum_for_pairs_has_the_observed_shares():
    """An intercept and its variance fit p(1, 1) and p(1) of pairs exactly, where outcomes agree more than by chance."""
    y, counts = np.array([0.0, 0, 0, 1, 1, 0, 1, 1]), np.array([9.0, 4, 3, 14])
    level = np.repeat(np.arange(4), 2)
    design = Design(np.ones((8, 1)), y, (Term(level, np.ones((8, 1))),), cluster_weight=counts[level])
    found = dense.maximise(design, dense.exact, starts=[np.array([0.0, 1.0])])
    beta, Ts = dense.unpack(design, found)
    both, first = (
        np.exp(dense.exact(two_rows(y, (beta[0], beta[0]), Z), [], Ts)[0])
        for y, Z in (([1, 1], ((1.0,), (1.0,))), ([1, 1], ((1.0,), (0.0,))))
    )
    assert both == pytest.approx(14 / 30, abs=1e-7)
    assert first / special.expit(beta[0]) == pytest.approx((28 + 7) / 60, abs=1e-7)
    expected = 9 * np.log(9 / 30) + 7 * np.log(3.5 / 30) + 14 * np.log(14 / 30)
    assert dense.objective(design, dense.exact)(found) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name, method", [("intercept", (dense.quadrature, 5)), ("crossed", (dense.laplace,))])
def test_maximum_is_stationary_and_one(name, method):
    design = CASES[name].weighted("sampling").design
    found, loglik = dense.maximise(design, *method), dense.objective(design, *method)
    assert_allclose(dense.slopes(loglik, found), 0, atol=1e-7)
    assert np.linalg.eigvalsh(dense.second_slopes(loglik, found))[-1] < 0


def test_sandwich_without_random_effects_is_that_of_logistic_regression():
    """H^{-1} X' diag(g w (y - p))^2 X H^{-1}, rows being clusters; and with sums over coarser ones."""
    design = CASES["slope"].weighted("frequency").design
    g = np.random.default_rng(6).uniform(0.5, 2, len(design.y))
    plain, beta = replace(design, terms=(), cluster_weight=g), np.array([0.3, 0.5, -0.2])
    p = special.expit(design.X @ beta)
    bread = np.linalg.inv((design.X.T * (g * design.w * p * (1 - p))) @ design.X)
    rows = design.X * (g * design.w * (design.y - p))[:, None]
    assert_allclose(dense.sandwich(plain, beta), bread @ rows.T @ rows @ bread, rtol=1e-6)
    codes = design.terms[0].codes
    sums = np.array([rows[codes == level].sum(axis=0) for level in range(codes.max() + 1)])
    assert_allclose(dense.sandwich(plain, beta, labels=codes), bread @ sums.T @ sums @ bread, rtol=1e-6)


@pytest.mark.parametrize("name", ["intercept", "nested"])
def test_sandwich_is_free_of_the_scale_of_weights_of_clusters(name):
    design, beta, Ts = at(name, "sampling")
    point = dense.pack(design, beta, Ts)
    scores = dense.cluster_scores(design, point)
    assert scores.shape == (len(design.g), len(point))
    assert_allclose(scores.sum(axis=0), dense.slopes(dense.objective(design), point), rtol=1e-7, atol=1e-8)
    tripled = replace(design, cluster_weight=3 * design.cluster_weight)
    expected = dense.sandwich(design, point)
    assert_allclose(dense.sandwich(tripled, point), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
