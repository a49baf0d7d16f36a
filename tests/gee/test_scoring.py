"""Fisher scoring against the dense twin, and where it is hard."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from skdep import GEERegressor
from skdep.exceptions import CollinearityWarning, ConvergenceWarning
from skdep.families import FAMILIES
from skdep.gee import AR1
from skdep.inference import coef_table, qic
from skdep.links import LINKS

from .dense import LINKS as DENSE_LINKS
from .dense import dense_gee

STRUCTURES = ["independence", "exchangeable", "ar1", "unstructured"]


def small_data(seed, family, link, *, n_clusters=50):
    """Return rows whose means are between 0.3 and 0.7, inside the range of every family and link."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 3, 4, 4, 4], n_clusters)
    groups = np.repeat(np.arange(n_clusters), sizes)
    time = np.concatenate([np.sort(rng.choice([0, 1, 2, 4], size, replace=False)) for size in sizes]).astype(float)
    n = len(groups)
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, n), rng.integers(0, 2, n)])
    g, inverse, derivative = DENSE_LINKS[link]
    centre = g(np.array([0.5]))[0]
    unit = 0.08 / derivative(np.array([centre]))[0]
    beta = np.array([centre, unit, -unit])
    offset = unit * rng.uniform(-0.5, 0.5, n)
    mu = inverse(X @ beta + offset)
    common = rng.normal(size=n_clusters)[groups]
    noise = (common + rng.normal(size=n)) / np.sqrt(2)
    uniform = np.clip(0.5 + 0.28 * noise, 0.02, 0.98)
    y = {
        "gaussian": mu + 0.2 * noise,
        "binomial": np.clip(mu + 0.25 * noise, 0.0, 1.0),  # fractions
        "poisson": np.floor(mu + uniform),
        "gamma": mu * np.exp(0.3 * noise),
        "inverse_gaussian": mu * np.exp(0.3 * noise),
        "negative_binomial": np.floor(mu + uniform) + (rng.uniform(size=n) < 0.1),
    }[family]
    weights = {
        "rows": rng.uniform(0.4, 2.5, n),
        "clusters": rng.uniform(0.4, 2.5, n_clusters)[groups],
        "frequency": rng.integers(1, 4, n_clusters)[groups].astype(float),
        None: None,
    }
    return X, y, groups, time, offset, weights


def assert_is_dense(est, twin, rtol=1e-7):
    se = np.sqrt(np.diag(twin.robust))
    params = np.array([est.intercept_, *est.coef_])
    np.testing.assert_array_less(np.abs(params - twin.beta), 1e-6 * se)
    np.testing.assert_array_less(np.abs(twin.naive @ twin.score) / twin.scale, 1e-6 * se)
    np.testing.assert_allclose(est.scale_, twin.scale, rtol=rtol)
    np.testing.assert_allclose(est.association_, twin.alpha, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(est.correlation_shrinkage_, twin.shrinkage, rtol=1e-6, atol=1e-9)
    for kind, expected in (("naive", twin.naive), ("robust", twin.robust)):
        found = est._inference.covariance(kind)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max(), err_msg=kind)
    found = qic(est)
    assert found.cic == pytest.approx(twin.cic, rel=1e-6)
    assert found.quasi_likelihood == pytest.approx(twin.quasi_likelihood, rel=1e-7)
    assert found.qic == pytest.approx(-2 * twin.quasi_likelihood + 2 * twin.cic, rel=1e-6)


def both_fits(seed, family, link, structure, dof, kind, with_offset, scale=None):
    X, y, groups, time, offset, weights = small_data(seed, family, link)
    est = GEERegressor(
        family,
        link=link,
        working_correlation=structure,
        dof=dof,
        scale=scale,
        weight_type="frequency" if kind == "frequency" else "sampling",
        tol=1e-11,
    )
    offset = offset if with_offset else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that vary, pairs of times that seldom meet
        est.fit(X[:, 1:], y, groups=groups, sample_weight=weights[kind], offset=offset, time=time)
    key = "counts" if kind == "frequency" else "weights"
    # A start a tenth of a standard error away, and full steps only: the twin ends at the same root, or nowhere. An
    # unstructured correlation may have roots that full steps do not reach: there the twin evaluates the one found.
    evaluates = structure == "unstructured"
    away = 0.0 if evaluates else 0.1
    start = np.array([est.intercept_, *est.coef_]) + away * np.sqrt(np.diag(est.covariance_)) * [1.0, -1.0, 1.0]
    given = {"offset": offset, "time": time, key: weights[kind], "max_iter": 1 if evaluates else 100}
    model = {"family": family, "link": link, "structure": structure, "dof": dof, "scale": scale}
    twin = dense_gee(X, y, groups, start=start, **model, **given)
    return est, twin


WEIGHTS = [None, "rows", "clusters", "frequency"]
COMBINATIONS = [
    pytest.param(
        family,
        link,
        structure,
        "n" if (i + k) % 2 else "n-p",
        WEIGHTS[(i + j + 2 * k) % 4],
        bool((i + j // 2 + k) % 2),
        id=f"{family}-{link}-{structure}",
    )
    for i, family in enumerate(FAMILIES)
    for j, link in enumerate(LINKS)
    for k, structure in enumerate(STRUCTURES)
]


@pytest.mark.parametrize(("family", "link", "structure", "dof", "kind", "with_offset"), COMBINATIONS)
def test_dense_twin_all_families_links_and_structures(family, link, structure, dof, kind, with_offset):
    est, twin = both_fits(0, family, link, structure, dof, kind, with_offset)
    assert est.converged_
    assert_is_dense(est, twin)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dof", ["n-p", "n"])
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize("scale", [None, 1.3])
def test_dense_twin_all_weights_and_conventions(structure, dof, kind, with_offset, scale):
    est, twin = both_fits(1, "binomial", "logit", structure, dof, kind, with_offset, scale)
    assert_is_dense(est, twin)


def test_score_is_zero_at_the_solution(data):
    X = np.column_stack([np.ones(len(data.X)), data.X])
    est = GEERegressor("poisson", working_correlation="ar1").fit(
        data.X, data.counts, groups=data.groups, time=data.time
    )
    params = np.array([est.intercept_, *est.coef_])
    at = dense_gee(
        X, data.counts, data.groups, start=params, family="poisson", link="log", structure="ar1", time=data.time,
        max_iter=1,
    )  # fmt: skip
    # in standard errors
    np.testing.assert_array_less(np.abs(at.naive @ at.score / at.scale / np.sqrt(np.diag(at.naive))), 1e-7)


# ------------------------------------------------------------------------------------------------ units


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("factor", [1e-7, 1e7, 1e20])
def test_unit_of_a_gaussian_outcome(data, structure, factor):
    def fit(c):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*did not converge")
            warnings.filterwarnings("ignore", message=".*(pairs of times|not positive definite)")
            est = GEERegressor(working_correlation=structure)
            return est.fit(data.X, c * data.y, groups=data.groups, time=data.time)

    one, other = fit(1.0), fit(factor)
    assert other.converged_ and other.n_iter_ <= one.n_iter_ + 1
    np.testing.assert_allclose(other.coef_ / factor, one.coef_, rtol=1e-8)
    np.testing.assert_allclose(other.covariance_ / factor**2, one.covariance_, rtol=1e-7)
    np.testing.assert_allclose(other.scale_ / factor**2, one.scale_, rtol=1e-8)
    np.testing.assert_allclose(other.association_, one.association_, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-20, 1e-12, 1e-6, 1e6, 1e20])
def test_unit_of_a_gamma_outcome(data, factor):
    """A concentration in mol/l is 1e-12 where that in pmol/l is 1: only the intercept of the log may differ."""

    def fit(c):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            est = GEERegressor("gamma", link="log", working_correlation="exchangeable")
            return est.fit(data.X, c * data.positive, groups=data.groups)

    one, other = fit(1.0), fit(factor)
    assert other.converged_
    np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-7)
    assert other.intercept_ - np.log(factor) == pytest.approx(one.intercept_, rel=1e-6)
    np.testing.assert_allclose(other.covariance_, one.covariance_, rtol=1e-6)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_the_features(data, family, factor):
    y = data.y if family == "gaussian" else data.counts
    est = GEERegressor(family, working_correlation="exchangeable")
    one = est.fit(data.X, y, groups=data.groups)
    coef, covariance = one.coef_, one.covariance_
    other = GEERegressor(family, working_correlation="exchangeable")
    other.fit(data.X * [factor, 1 / factor], y, groups=data.groups)
    unit = np.array([1.0, factor, 1 / factor])
    np.testing.assert_allclose(other.coef_ * unit[1:], coef, rtol=1e-7)
    np.testing.assert_allclose(other.covariance_ * np.outer(unit, unit), covariance, rtol=1e-6)
    assert other.converged_


@pytest.mark.parametrize("shift", [-1e3, 2e3, 1e6])
def test_features_far_from_zero(data, shift):
    """A year is a number near 2000, a time stamp one near 1e9: only the intercept moves."""
    one = GEERegressor("poisson", working_correlation="exchangeable").fit(data.X, data.counts, groups=data.groups)
    far = GEERegressor("poisson", working_correlation="exchangeable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far.fit(data.X + np.array([shift, 0.0]), data.counts, groups=data.groups)
    np.testing.assert_allclose(far.coef_, one.coef_, rtol=1e-6)
    np.testing.assert_allclose(far.covariance_[1:, 1:], one.covariance_[1:, 1:], rtol=1e-5)
    assert far.intercept_ + shift * far.coef_[0] == pytest.approx(one.intercept_, rel=1e-5)


@pytest.mark.parametrize("shift", [1e3, 1e6, 1e9, 1e11])
def test_gaussian_outcome_far_from_zero(data, shift):
    """Time stamps as outcomes: adding a constant moves the intercept, and the fit converges as far as digits go."""
    one = GEERegressor(working_correlation="exchangeable").fit(data.X, data.y, groups=data.groups)
    far = GEERegressor(working_correlation="exchangeable").fit(data.X, data.y + shift, groups=data.groups)
    assert far.converged_
    np.testing.assert_allclose(far.coef_, one.coef_, rtol=1e-7, atol=1e-14 * shift)
    np.testing.assert_allclose(far.covariance_, one.covariance_, rtol=1e-6, atol=1e-13 * shift)


@pytest.mark.parametrize("shift", [-5.0, 2000.0, 1.7e9])
def test_origin_of_time_does_not_matter(data, shift):
    for structure in ("ar1", AR1("all")):
        one = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups, time=data.time)
        other = GEERegressor(working_correlation=structure)
        other.fit(data.X, data.y, groups=data.groups, time=data.time + shift)
        np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-10)
        assert other.association_ == pytest.approx(one.association_, rel=1e-10)


# ------------------------------------------------------------------------------------------------ hard starts


def inverse_data(seed, power, n_clusters=60):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_clusters), 4)
    x = rng.uniform(0.0, 1.0, 4 * n_clusters)
    mu = (0.02 + 2.0 * x) ** (-1.0 / power)  # eta of some rows is a hundredth of that of others
    y = mu * rng.gamma(4.0, 0.25, len(mu)) * np.exp(0.3 * rng.normal(size=n_clusters))[groups]
    return x[:, None], y, groups


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("family", "link"), [("gamma", "inverse"), ("inverse_gaussian", "inverse_squared")])
def test_inverse_links_near_the_edge_of_their_range(seed, family, link):
    """Some full steps leave eta > 0 here: they are halved, and the result solves the equations."""
    X, y, groups = inverse_data(seed, 1 if link == "inverse" else 2)
    est = GEERegressor(family, link=link, working_correlation="exchangeable", max_iter=200)
    est.fit(X, y, groups=groups)
    assert est.converged_
    assert (est.predict(X) > 0).all()
    params = np.array([est.intercept_, *est.coef_])
    twin = dense_gee(
        np.column_stack([np.ones(len(X)), X]), y, groups, start=params, family=family, link=link,
        structure="exchangeable", max_iter=1,
    )  # fmt: skip
    assert np.abs(twin.naive @ twin.score / twin.scale / np.sqrt(np.diag(twin.naive))).max() < 1e-6


def test_poisson_with_identity_link_keeps_means_positive():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 5, 400)
    y = rng.poisson(0.3 + 2 * x).astype(float)
    est = GEERegressor("poisson", link="identity", working_correlation="exchangeable")
    est.fit(x[:, None], y, groups=np.repeat(np.arange(100), 4))
    assert est.converged_
    np.testing.assert_allclose([est.intercept_, *est.coef_], [0.3, 2.0], atol=0.25)


@pytest.mark.parametrize("link", ["log", "sqrt", "inverse"])
def test_gaussian_outcomes_outside_the_domain_of_the_link(link):
    """An exponential curve through noise: some y are negative, their log is no start, yet the means are positive."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 300)
    mu = {"log": np.exp(0.5 + x), "sqrt": (1.2 + x) ** 2, "inverse": 1 / (0.3 + 0.5 * x)}[link]
    y = mu + 1.5 * rng.normal(size=300)
    assert y.min() < 0
    est = GEERegressor("gaussian", link=link).fit(x[:, None], y)
    assert est.converged_
    np.testing.assert_allclose(est.predict(x[:, None]), mu, atol=0.5)
    X = np.column_stack([np.ones(300), x])
    twin = dense_gee(X, y, np.arange(300), start=[est.intercept_, *est.coef_], link=link)
    np.testing.assert_allclose(est.coef_, twin.beta[1:], rtol=1e-6)


def test_no_start_without_an_intercept_raises():
    X = np.array([[-1.0], [1.0], [2.0], [-2.0]])
    with pytest.raises(ValueError, match=r"No coefficients to start from: with link 'inverse'.*Fit an intercept"):
        GEERegressor("gamma", fit_intercept=False).fit(X, [1.0, 2.0, 1.0, 3.0])


@pytest.mark.parametrize("structure", STRUCTURES)
def test_hostile_counts_do_not_blow_up(structure):
    """Counts from 0 to 1e6 of heavy tails: estimates are finite, and the flag tells the truth."""
    rng = np.random.default_rng(3)
    groups, time = np.repeat(np.arange(50), 4), np.tile(np.arange(4.0), 50)
    X = rng.standard_cauchy(size=(200, 2))
    X = np.clip(X, -20, 20)
    y = np.round(np.exp(np.clip(rng.standard_cauchy(200), -3, 13)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est = GEERegressor("poisson", working_correlation=structure).fit(X, y, groups=groups, time=time)
    assert np.isfinite(est.coef_).all() and np.isfinite(est.covariance_).all()
    assert not any(issubclass(warning.category, RuntimeWarning) for warning in caught)
    assert est.converged_ != any("did not converge" in str(warning.message) for warning in caught)


def test_too_few_iterations_warn_and_are_flagged(data):
    est = GEERegressor("poisson", working_correlation="exchangeable", max_iter=1, tol=1e-14)
    with pytest.warns(ConvergenceWarning, match=r"did not converge in 1 iterations.*Raise max_iter"):
        est.fit(data.X, data.counts, groups=data.groups)
    assert not est.converged_ and est.n_iter_ == 1
    assert "NO, after 1 iterations" in str(est.summary())


@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
def test_more_iterations_do_not_move_a_converged_fit(data, structure):
    a = GEERegressor("poisson", working_correlation=structure, tol=1e-8).fit(data.X, data.counts, groups=data.groups)
    b = GEERegressor("poisson", working_correlation=structure, tol=1e-13).fit(data.X, data.counts, groups=data.groups)
    assert a.n_iter_ < b.n_iter_
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-7)


# ------------------------------------------------------------------------------------------------ exact fits


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("factor", [1.0, 1e8, 1e-8])
def test_exact_gaussian_fit(data, structure, factor):
    y = factor * (2.0 + data.X @ [1.0, -3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        est = GEERegressor(working_correlation=structure).fit(data.X, y, groups=data.groups, time=data.time)
    np.testing.assert_allclose(est.coef_, factor * np.array([1.0, -3.0]), rtol=1e-10)
    assert est.intercept_ == pytest.approx(2.0 * factor)
    assert est.scale_ == pytest.approx(0.0, abs=1e-20 * factor**2)
    assert est.converged_
    np.testing.assert_allclose(est.covariance_, 0.0, atol=1e-20 * factor**2)
    str(est.summary())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_outcome_constant_at_zero(data, structure):
    """Every residual is exactly 0: phi is 0, and the association cannot be estimated."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        est = GEERegressor(working_correlation=structure)
        est.fit(data.X, np.zeros(len(data.X)), groups=data.groups, time=data.time)
    np.testing.assert_array_equal(est.coef_, 0.0)
    assert est.scale_ == 0.0 and est.converged_
    if structure == "unstructured":
        np.testing.assert_array_equal(est.association_, np.eye(len(est.times_)))
    else:
        assert est.association_ == 0.0
    str(est.summary())


# ------------------------------------------------------------------------------------------------ rank


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_collinear_columns(data, family):
    y = data.y if family == "gaussian" else data.counts
    one = GEERegressor(family, working_correlation="exchangeable").fit(data.X, y, groups=data.groups)
    doubled = np.column_stack([data.X, 2.0 * data.X[:, 0]])
    with pytest.warns(CollinearityWarning, match="'x0', 'x2'"):
        est = GEERegressor(family, working_correlation="exchangeable").fit(doubled, y, groups=data.groups)
    # of all with the same means that of least norm: b in direction (1, 2)
    np.testing.assert_allclose(est.coef_, [one.coef_[0] / 5, one.coef_[1], 2 * one.coef_[0] / 5], rtol=1e-7)
    np.testing.assert_allclose(est.predict(doubled), one.predict(data.X), rtol=1e-8)
    assert est.scale_ == pytest.approx(one.scale_) and est.association_ == pytest.approx(one.association_)
    table = coef_table(est)
    assert table["std_error"].isna().tolist() == [False, True, False, True]
    np.testing.assert_allclose(table["std_error"].iloc[2], np.sqrt(one.covariance_[2, 2]), rtol=1e-7)
    assert qic(est).qicu == pytest.approx(qic(one).qicu)  # p counts what is estimable


def test_constant_column_beside_the_intercept(data):
    X = np.column_stack([data.X, np.full(len(data.X), 3.0)])
    with pytest.warns(CollinearityWarning):
        est = GEERegressor(working_correlation="exchangeable").fit(X, data.y, groups=data.groups)
    one = GEERegressor(working_correlation="exchangeable").fit(data.X, data.y, groups=data.groups)
    np.testing.assert_allclose(est.predict(X), one.predict(data.X), rtol=1e-9)
    np.testing.assert_allclose(est.coef_[:2], one.coef_, rtol=1e-8)


def test_nearly_collinear_columns(data):
    """Two thermometers that differ by a millionth: a QR of the centred columns keeps the digits."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=len(data.X))
    X = np.column_stack([data.X, data.X[:, 0] + 1e-6 * noise])
    rotated = np.column_stack([data.X, noise])  # x2 = x0 + 1e-6 noise: coefficients of x0 add up, of noise shrink
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = GEERegressor(working_correlation="exchangeable").fit(X, data.y, groups=data.groups)
        exact = GEERegressor(working_correlation="exchangeable").fit(rotated, data.y, groups=data.groups)
    assert est.converged_
    assert est.coef_[2] * 1e-6 == pytest.approx(exact.coef_[2], rel=1e-5)
    assert est.coef_[0] + est.coef_[2] == pytest.approx(exact.coef_[0], rel=1e-3)
    assert np.sqrt(est.covariance_[3, 3]) * 1e-6 == pytest.approx(np.sqrt(exact.covariance_[3, 3]), rel=1e-5)
    np.testing.assert_allclose(est.predict(X), exact.predict(rotated), rtol=1e-7)


def test_more_features_than_rows():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 12)), rng.normal(size=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est = GEERegressor(working_correlation="exchangeable").fit(X, y, groups=np.repeat(np.arange(4), 2))
    categories = {warning.category.__name__ for warning in caught}
    assert {"CollinearityWarning", "FewClustersWarning"} <= categories
    assert "RuntimeWarning" not in categories
    assert any("no degrees of freedom for the scale" in str(warning.message) for warning in caught)
    np.testing.assert_allclose(est.predict(X), y, rtol=1e-8)
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(est.coef_, np.linalg.pinv(centred) @ (y - y.mean()), rtol=1e-7)


def test_no_intercept(data):
    est = GEERegressor(working_correlation="exchangeable", fit_intercept=False).fit(data.X, data.y, groups=data.groups)
    twin = dense_gee(data.X, data.y, data.groups, start=[0.0, 0.0], structure="exchangeable")
    assert est.intercept_ == 0.0 and est.covariance_.shape == (2, 2)
    np.testing.assert_allclose(est.coef_, twin.beta, rtol=1e-8)
    np.testing.assert_allclose(est.covariance_, twin.robust, rtol=1e-7)
    assert est.scale_ == pytest.approx(twin.scale)


def test_small_wild_data_never_overflow():
    """Long-tailed outcomes in few clusters: a fit may fail to converge, and then says so, but must not run away."""
    rng = np.random.default_rng(0)
    n_converged = 0
    for _ in range(40):
        sizes = rng.integers(1, 7, int(rng.integers(3, 30)))
        groups = np.repeat(np.arange(len(sizes)), sizes)
        X = rng.normal(size=(len(groups), 2))
        y = rng.wald(np.exp(X[:, 0] + 0.7 * rng.normal(size=len(sizes))[groups]), 2.0) + 1e-9
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", RuntimeWarning)
            est = GEERegressor("inverse_gaussian", link="log", working_correlation="exchangeable")
            est.fit(X, y, groups=groups)
        assert np.isfinite(est.coef_).all()
        n_converged += est.converged_
    assert n_converged > 25
