"""Profile-likelihood intervals of logistic mixed models: brute force at their ends, lme4, invariances, boundaries."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, special, stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import LogitRegressor, MixedLinear, MixedLogit
from skdep._threads import one_blas_thread
from skdep.datasets import load_ohio
from skdep.exceptions import CollinearityWarning, SeparationWarning, SingularFitWarning
from skdep.glmm import held_search
from skdep.glmm.constrained import HeldCorrelation, HeldDeviation
from skdep.glmm.maximise import Settings, make_criterion
from skdep.inference import coef_table, profile_interval
from tests.conftest import REFERENCE
from tests.glmm import dense
from tests.glmm.designs import Case

CUT2 = stats.chi2.ppf(0.95, 1)
ENDS = ["conf_low", "conf_high"]


# ---- brute force -----------------------------------------------------------------------------------------------------


class BruteForce:
    """The likelihood in the user's columns, maximised under an equation by sequential quadratic programming.

    The engine gives values and gradients on the way, the dense twin those that count.
    """

    def __init__(self, design: dense.Design, n_nodes: int = 1):
        self.design, self.n_nodes, case = design, n_nodes, Case(design)
        settings = Settings(n_nodes, design.terms[0].diagonal, np.zeros(design.X.shape[1]), 0.0, 1, 1.0)
        self.engine, self.parameters = make_criterion(case.rows, settings, n_nodes), case.parameters

    def split(self, x):
        """Return coefficients and covariance matrices."""
        beta, Ts = dense.unpack(self.design, x)
        return beta, [T @ T.T for T in Ts]

    def dense_deviance(self, x):
        arguments = (dense.laplace,) if self.n_nodes == 1 else (dense.quadrature, self.n_nodes)
        return -2.0 * dense.objective(self.design, *arguments)(x)

    def deviance(self, x):
        """Return -2 log L and its gradient."""
        state = self.engine.value(*dense.unpack(self.design, x))
        return 2.0 * state.value, 2.0 * self.engine.gradient(state).packed(self.parameters)

    def start(self, model):
        roots = [np.linalg.cholesky(S + 1e-3 * np.eye(len(S))) for S in model.random_covariance_.values()]
        if self.design.terms[0].diagonal:
            roots = [np.sqrt(np.diag(np.diag(S)) + 1e-3) for S in model.random_covariance_.values()]
        return dense.pack(self.design, model._inference.estimate, roots)

    def minimise(self, x, constraint=None):
        """Minimise from x, where constraint(split) is zero; variables are scaled by their start."""
        options = {"method": "BFGS", "options": {"gtol": 1e-7}}
        for _ in range(2):
            scale = np.maximum(np.abs(x), 0.1)
            if constraint is not None:
                equation = {"type": "eq", "fun": lambda u, scale=scale: constraint(*self.split(u * scale))}
                options = {"method": "SLSQP", "options": {"maxiter": 300, "ftol": 1e-13}, "constraints": equation}

            def scaled(u, scale=scale):
                value, gradient = self.deviance(u * scale)
                return value, gradient * scale

            x = optimize.minimize(scaled, x / scale, jac=True, **options).x * scale
        return self.deviance(x)[0], x


def natural(kind, term, first, second):
    """Return the function of coefficients and covariance matrices that is the parameter."""
    if kind == "coefficient":
        return lambda beta, S: beta[first]
    if kind == "sd":
        return lambda beta, S: np.sqrt(S[term][first, first])
    return lambda beta, S: S[term][first, second] / np.sqrt(S[term][first, first] * S[term][second, second])


def layout(model):
    """List kind and place of all parameters, in the order of the table; terms in the order of the user."""
    found = [("coefficient", 0, k, 0) for k in range(len(model._inference.names))]
    for term, effects in enumerate(model.random_names_.values()):
        q = len(effects)
        found += [("sd", term, a, a) for a in range(q)]
        if model.covariance == "full":
            found += [("correlation", term, a, b) for a in range(q) for b in range(a + 1, q)]
    return found


def drawn(rng, eta):
    return (rng.random(len(eta)) < special.expit(eta)).astype(float)


def simulated(seed, n_groups, size, spread, n_slopes=1):
    """Return X with means off zero, y, and codes of one factor with random slopes of the first features."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_groups), size)
    X = rng.normal(size=(len(codes), max(n_slopes, 1))) + 0.7
    effects = rng.normal(size=(n_groups, n_slopes + 1)) @ np.asarray(spread).T
    Z = np.column_stack([np.ones(len(codes)), X[:, :n_slopes]])
    eta = -0.5 + 0.8 * X[:, 0] + np.sum(Z * effects[codes], axis=1)
    return X, drawn(rng, eta), codes


def one_slope(n_quadrature=1, **options):
    X, y, codes = simulated(3, 25, 8, [[1.0, 0.0], [0.3, 0.6]])
    offset = 0.3 * np.cos(np.arange(len(y)))
    model = MixedLogit(random_slopes=[0], n_quadrature=n_quadrature, **options)
    data = {"X": X, "y": y, "groups": codes, "offset": offset}
    Z = np.column_stack([np.ones(len(y)), X])
    term = dense.Term(codes, Z, options.get("covariance") == "diagonal")
    return model.fit(**data), data, BruteForce(dense.Design(Z, y, (term,), offset=offset), n_quadrature)


def uncorrelated():
    return one_slope(covariance="diagonal")


def one_slope_by_quadrature():
    return one_slope(9)


def small_variance():
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(15), 5)
    x, counts = rng.normal(size=75), rng.integers(1, 4, 75)
    y = drawn(rng, x + 0.5 * rng.normal(size=15)[codes])
    data = {"X": x[:, None], "y": y, "groups": codes, "sample_weight": counts}
    X = np.column_stack([np.ones(75), x])
    design = dense.Design(X, y, (dense.Term(codes, X[:, :1]),), row_weight=counts.astype(float))
    return MixedLogit(n_quadrature=7).fit(**data), data, BruteForce(design, 7)


def crossed():
    rng = np.random.default_rng(6)
    n, sizes = 200, (9, 6)
    first, second = (rng.permutation(np.arange(n) % size) for size in sizes)
    x = rng.normal(size=n)
    y = drawn(rng, 0.5 + x + rng.normal(size=9)[first] + 0.7 * rng.normal(size=6)[second])
    data = {"X": x[:, None], "y": y, "groups": pd.DataFrame({"one": first, "two": second})}
    X = np.column_stack([np.ones(n), x])
    terms = dense.Term(first, X[:, :1]), dense.Term(second, X[:, :1])
    return MixedLogit().fit(**data), data, BruteForce(dense.Design(X, y, terms))


def two_slopes():
    X, y, codes = simulated(2, 30, 8, [[1.2, 0, 0], [0.5, 0.9, 0], [-0.4, 0.2, 0.8]], 2)
    data = {"X": X, "y": y, "groups": codes}
    Z = np.column_stack([np.ones(len(y)), X])
    model = MixedLogit(random_slopes=[0, 1], n_quadrature=1).fit(**data)
    return model, data, BruteForce(dense.Design(Z, y, (dense.Term(codes, Z),)))


@pytest.mark.parametrize("case", [one_slope, uncorrelated, small_variance, crossed, two_slopes])
def test_likelihood_ratio_at_the_ends_by_brute_force(case):
    """Every end that is not a bound: the largest likelihood with the parameter held there is chi2(1, .95) / 2 lower."""
    check_ends(*case(), tolerance=2e-5)


def test_likelihood_ratio_of_several_effects_by_quadrature():
    """Nodes lie along other axes than those of the brute force: both have the error of the quadrature."""
    check_ends(*one_slope_by_quadrature(), tolerance=2e-3)


def check_ends(model, data, brute, tolerance):
    table, n_checked = profile_interval(model, **data).table, 0
    with one_blas_thread():
        lowest, x_hat = brute.minimise(brute.start(model))
        assert brute.dense_deviance(x_hat) == pytest.approx(-2.0 * model.loglik_, abs=tolerance)
        for (name, row), place in zip(table.iterrows(), layout(model), strict=True):
            value = natural(*place)
            assert value(*brute.split(x_hat)) == pytest.approx(row["estimate"], abs=30 * tolerance), name
            for end in ENDS:
                if row[end] in (0.0, 1.0, -1.0):
                    continue
                x = x_hat
                for share in (0.5, 1.0):
                    held = row["estimate"] + share * (row[end] - row["estimate"])
                    reached, x = brute.minimise(x, lambda *parts, held=held, f=value: f(*parts) - held)
                assert reached - lowest == pytest.approx(CUT2, abs=tolerance), (name, end)
                n_checked += 1
        # the dense twin agrees with the engine where both ended
        assert brute.dense_deviance(x) == pytest.approx(reached, abs=1e-8)
    assert n_checked >= 2 * len(table) - 2
