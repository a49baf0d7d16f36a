"""m-dependent, Toeplitz, nested, fixed and user-defined working correlations against the dense twin: whole fits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from skdep import GEERegressor
from skdep.gee.working_correlation import Fixed, MDependent, Nested, ParametricCorrelation, Toeplitz

from .dense import LINKS, dense_gee

TIMES = np.array([0, 1, 2, 4])
MATRIX = 0.45 * 0.8 ** np.abs(np.subtract.outer(TIMES, TIMES)) + 0.1
np.fill_diagonal(MATRIX, 1.0)


class Constant(ParametricCorrelation):
    """The exchangeable structure, as a user would write it."""

    name = "constant"
    initial = (0.1,)

    def correlation(self, times, alpha):
        return np.where(np.eye(len(times)) == 1.0, 1.0, alpha[0])


class AnyLag(ParametricCorrelation):
    """Two-dependence, as a user would write it."""

    name = "any lag"
    initial = (0.1, 0.1)

    def correlation(self, times, alpha):
        lags = np.abs(np.subtract.outer(times, times))
        return np.select([lags == 0, lags == 1, lags == 2], [1.0, alpha[0], alpha[1]], 0.0)


# name: structure, name in the twin, its options
STRUCTURES = {
    "m_dependent 1": (MDependent(), "m_dependent", {"n_lags": 1}),
    "m_dependent 2": (MDependent(m=2), "m_dependent", {"n_lags": 2}),
    "m_dependent 9": (MDependent(m=9), "m_dependent", {"n_lags": 9}),
    "toeplitz": (Toeplitz(), "toeplitz", {}),
    "nested": (Nested(), "nested", {}),
    "nested 3": (Nested(), "nested", {}),
    "fixed": (Fixed(MATRIX), "fixed", {"matrix": MATRIX}),
    "user": (Constant(), "exchangeable", {}),
}
WEIGHTS = [None, "rows", "clusters", "frequency"]


def rows_of(seed, family, link, *, n_clusters=60):
    """Return rows in random order whose means are in the range of every family, in clusters of one to four visits."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 3, 4, 4, 4], n_clusters)
    sizes[0] = 4
    groups = np.repeat(np.arange(n_clusters), sizes)
    time = np.concatenate([np.sort(rng.choice(TIMES, size, replace=False)) for size in sizes]).astype(float)
    n = len(groups)
    # subclusters restart in every cluster; those of the second level are nested in the first
    ward, bed = rng.integers(0, 2, n), rng.integers(0, 2, n)
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, n), rng.integers(0, 2, n)])
    g, inverse, derivative = LINKS[link]
    centre = g(np.array([0.5]))[0]
    unit = 0.08 / derivative(np.array([centre]))[0]
    offset = unit * rng.uniform(-0.5, 0.5, n)
    mu = inverse(X @ [centre, unit, -unit] + offset)
    own = 0.8 * rng.normal(size=n_clusters)[groups] + rng.normal(size=2 * n_clusters)[2 * groups + ward]
    own += rng.normal(size=4 * n_clusters)[4 * groups + 2 * ward + bed]
    noise = (own + rng.normal(size=n)) / np.sqrt(3.6)
    y = {
        "gaussian": mu + 0.2 * noise,
        "binomial": np.clip(mu + 0.25 * noise, 0.0, 1.0),  # fractions
        "poisson": np.floor(mu + np.clip(0.5 + 0.28 * noise, 0.02, 0.98)),
        "gamma": mu * np.exp(0.3 * noise),
    }[family]
    weights = {
        "rows": rng.uniform(0.4, 2.5, n),
        "clusters": rng.uniform(0.4, 2.5, n_clusters)[groups],
        "frequency": rng.integers(1, 4, n_clusters)[groups].astype(float),
    }
    order = rng.permutation(n)
    columns = {"X": X, "y": y, "groups": groups, "time": time, "offset": offset, "units": np.column_stack([ward, bed])}
    return {name: values[order] for name, values in columns.items()}, {k: w[order] for k, w in weights.items()}


def both_fits(seed, family, link, name, dof, kind, scale):
    structure, twin_name, options = STRUCTURES[name]
    rows, weights = rows_of(seed, family, link)
    n_levels = {"nested": 1, "nested 3": 2}.get(name, 0)
    units = rows["units"][:, :n_levels]
    groups = np.column_stack([rows["groups"], units]) if n_levels else rows["groups"]
    est = GEERegressor(
        family,
        link=link,
        working_correlation=structure,
        dof=dof,
        scale=scale,
        weight_type="frequency" if kind == "frequency" else "sampling",
        tol=1e-11,
    )
    weight = None if kind is None else weights[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that vary, lags that seldom occur
        est.fit(rows["X"][:, 1:], rows["y"], groups=groups, sample_weight=weight, offset=rows["offset"],
                time=rows["time"])  # fmt: skip
    start = np.array([est.intercept_, *est.coef_]) + 0.1 * np.sqrt(np.diag(est.covariance_)) * [1.0, -1.0, 1.0]
    given = {"offset": rows["offset"], "time": rows["time"], "counts" if kind == "frequency" else "weights": weight}
    if n_levels:
        options = {**options, "units": units}
    twin = dense_gee(
        rows["X"], rows["y"], rows["groups"], start=start, family=family, link=link, structure=twin_name, dof=dof,
        scale=scale, **given, **options,
    )  # fmt: skip
    return est, twin


def assert_is_dense(est, twin, rtol=1e-6):
    assert est.converged_
    se = np.sqrt(np.diag(twin.robust))
    np.testing.assert_array_less(np.abs(np.array([est.intercept_, *est.coef_]) - twin.beta), 1e-6 * se)
    np.testing.assert_allclose(est.scale_, twin.scale, rtol=1e-7)
    np.testing.assert_allclose(est.association_, twin.alpha, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(est.correlation_shrinkage_, twin.shrinkage, rtol=rtol, atol=1e-9)
    for kind, expected in (("naive", twin.naive), ("robust", twin.robust)):
        found = est._inference.covariance(kind)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max(), err_msg=kind)


MODELS = [("gaussian", "identity"), ("binomial", "logit"), ("poisson", "log"), ("gamma", "inverse")]
SCALES = {"gaussian": 0.05, "binomial": 0.3, "poisson": 0.7, "gamma": 0.12}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("dof", ["n-p", "n"])
def test_dense_twin(name, kind, dof):
    """Families, links and scales rotate with the rest."""
    turn = list(STRUCTURES).index(name) + WEIGHTS.index(kind) + 2 * (dof == "n")
    family, link = MODELS[turn % 4]
    est, twin = both_fits(turn, family, link, name, dof, kind, None if turn % 3 else SCALES[family])
    assert_is_dense(est, twin)
    assert np.abs(est.association_).max() > 0.02


@pytest.mark.parametrize("name", ["m_dependent 1", "m_dependent 2", "toeplitz", "nested", "nested 3"])
@pytest.mark.parametrize("scale", [0.01, 0.004])
def test_dense_twin_where_correlations_need_repair(name, scale):
    """A scale far too small makes residuals correlate more than any matrix allows."""
    est, twin = both_fits(3, "gaussian", "identity", name, "n", None, scale)
    assert est.correlation_shrinkage_ > 0.0
    np.testing.assert_allclose(est.association_, twin.alpha, rtol=1e-5)
    np.testing.assert_allclose(est.correlation_shrinkage_, twin.shrinkage, rtol=1e-5)


def test_users_lags_are_two_dependence():
    """Least squares of a linear formula are class means; its correction is one for all lags."""
    rows, weights = rows_of(7, "poisson", "log")
    given = {"groups": rows["groups"], "time": rows["time"], "sample_weight": weights["clusters"]}
    fits = [
        GEERegressor("poisson", working_correlation=structure, dof="n", tol=1e-12)
        for structure in (AnyLag(), MDependent(m=2))
    ]
    for fit in fits:
        fit.fit(rows["X"][:, 1:], rows["y"], **given)
    np.testing.assert_allclose(fits[0].association_, fits[1].association_, rtol=1e-8)
    np.testing.assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-8)
    np.testing.assert_allclose(fits[0].covariance_, fits[1].covariance_, rtol=1e-7)
