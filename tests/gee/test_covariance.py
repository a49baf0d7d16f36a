"""Covariances for few clusters against a dense twin, which writes out the matrices of every cluster."""

from __future__ import annotations

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import skdep.gee.rows
from skdep import GEEClassifier, GEERegressor
from skdep.exceptions import CollinearityWarning, FewClustersWarning
from skdep.inference import coef_table
from skdep.sandwich_corrections import cluster_products

from .dense_covariances import dense_clusters, dense_covariances, dense_degrees, fay_graubard

TYPES = ("naive", "robust", "df", "md", "kc", "fg", "mbn", "pan", "jackknife", "design")
STRUCTURES = ("independence", "exchangeable", "ar1", "unstructured")
CANONICAL = {"gaussian": "identity", "binomial": "logit", "poisson": "log", "gamma": "inverse"}


def study(seed, family="gaussian", n_clusters=24, most=4):
    """Return clusters of 1 to `most` rows at common times, in random order, with every kind of weights."""
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([[most, most], rng.integers(1, most + 1, n_clusters - 2)])
    groups = np.repeat(np.arange(n_clusters), sizes)
    n = len(groups)
    time = np.concatenate([np.sort(rng.choice(most, size, replace=False)) for size in sizes]).astype(float)
    X = np.column_stack([rng.normal(3.0, 1.0, n), (np.arange(n_clusters) % 3 == 0)[groups]])
    eta = 0.4 * (X[:, 0] - 3.0) - 0.3 * X[:, 1] + 0.6 * rng.normal(size=n_clusters)[groups]
    y = {
        "gaussian": eta + rng.normal(size=n),
        "binomial": (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": rng.poisson(np.exp(0.5 + eta)).astype(float),
        "gamma": 1.0 / (1.5 + 0.2 * eta) * rng.gamma(4.0, 0.25, n),
    }[family]
    order = rng.permutation(n)
    return SimpleNamespace(
        X=X[order],
        y=y[order],
        groups=groups[order],
        time=time[order],
        offset=rng.normal(scale=0.2, size=n)[order],
        weights=rng.uniform(0.4, 2.5, n)[order],
        counts=rng.integers(1, 4, n_clusters).astype(float)[groups][order],
    )


def fitted(data, est, **metadata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return est.fit(data.X, data.y, groups=data.groups, time=data.time, **metadata)


def twin_of(est, data, *, family, link, weights=None, counts=None, offset=None):
    design = np.column_stack([np.ones(len(data.y)), data.X]) if est.fit_intercept else data.X
    beta = np.concatenate([[est.intercept_], est.coef_]) if est.fit_intercept else est.coef_
    return dense_clusters(
        design, data.y, data.groups, beta=beta, scale=est.scale_, alpha=est.association_, family=family, link=link,
        structure=est.working_correlation, weights=weights, counts=counts, offset=offset, time=data.time,
        intercept=est.fit_intercept, scale_is_estimated=est.scale is None,
    )  # fmt: skip


def means(X, mass=None):
    return np.average(X, axis=0, weights=mass)


def assert_covariances(est, expected, rtol=1e-9, types=TYPES):
    for kind in types:
        found = est._inference.covariance(kind)
        size = np.sqrt(np.abs(np.outer(np.diag(expected[kind]), np.diag(expected[kind]))))
        assert np.abs((found - expected[kind]) / size).max() < rtol, kind


# ------------------------------------------------------------------------------------------------ the dense twin


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("family", CANONICAL)
def test_every_type(family, structure):
    data = study(1, family)
    est = fitted(data, GEERegressor(family, working_correlation=structure))
    clusters = twin_of(est, data, family=family, link=CANONICAL[family])
    assert_covariances(est, dense_covariances(clusters, means(data.X)))


@pytest.mark.parametrize(("family", "link"), [("binomial", "probit"), ("poisson", "sqrt"), ("gamma", "log")])
def test_links_that_are_not_canonical(family, link):
    data = study(2, family)
    est = fitted(data, GEERegressor(family, link=link, working_correlation="exchangeable"))
    assert_covariances(est, dense_covariances(twin_of(est, data, family=family, link=link), means(data.X)))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_of_rows_and_an_offset(structure):
    data = study(3, "poisson")
    est = fitted(data, GEERegressor("poisson", working_correlation=structure), sample_weight=data.weights,
                 offset=data.offset)  # fmt: skip
    clusters = twin_of(est, data, family="poisson", link="log", weights=data.weights, offset=data.offset)
    assert_covariances(est, dense_covariances(clusters, means(data.X, data.weights)))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_repeated_clusters_are_clusters_of_their_own(structure):
    """Against the twin, which repeats them; leverage is that of one of them."""
    data = study(4)
    est = fitted(data, GEERegressor(working_correlation=structure, weight_type="frequency"), sample_weight=data.counts)
    clusters = twin_of(est, data, family="gaussian", link="identity", counts=data.counts)
    assert est.n_clusters_ == clusters.K
    types = [kind for kind in TYPES if kind != "design"]
    assert_covariances(est, dense_covariances(clusters, means(data.X, data.counts)), types=types)
    for kind in ("robust", "kc", "md"):
        single, joint = dense_degrees(clusters, kind, np.eye(3)[1:])
        small = est._inference.small_sample_of(kind)
        np.testing.assert_allclose(small.contrast_df(np.eye(3)[1:], "satterthwaite"), single, rtol=1e-9)
        assert small.joint_df(np.eye(3)[1:], "satterthwaite")[0] == pytest.approx(joint - 1, rel=1e-9)


def test_no_intercept_and_fixed_scale():
    data = study(5)
    est = fitted(data, GEERegressor(working_correlation="exchangeable", fit_intercept=False, scale=2.0))
    clusters = twin_of(est, data, family="gaussian", link="identity")
    assert_covariances(est, dense_covariances(clusters))  # nothing is centred then


def test_no_groups():
    """Every row is a cluster: HC0, HC2 and HC3, and Pan's covariance pools all rows."""
    data = study(6)
    est = GEERegressor().fit(data.X, data.y)
    data.groups, data.time = np.arange(len(data.y)), np.zeros(len(data.y))
    assert_covariances(est, dense_covariances(twin_of(est, data, family="gaussian", link="identity"), means(data.X)))
    design = np.column_stack([np.ones(len(data.y)), data.X])
    residual = data.y - est.predict(data.X)
    inverse = np.linalg.inv(design.T @ design)
    leverage = np.sum(design @ inverse * design, axis=1)
    for kind, power in (("kc", 1), ("md", 2)):
        meat = design.T @ np.diag(residual**2 / (1 - leverage) ** power) @ design
        np.testing.assert_allclose(est._inference.covariance(kind), inverse @ meat @ inverse, rtol=1e-9)


@pytest.mark.parametrize("kind", ["robust", "kc", "md"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_degrees_of_freedom(structure, kind):
    data = study(7, "binomial")
    est = fitted(data, GEERegressor("binomial", working_correlation=structure), sample_weight=data.weights)
    clusters = twin_of(est, data, family="binomial", link="logit", weights=data.weights)
    contrasts = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 2, -3]])
    small = est._inference.small_sample_of(kind)
    single, _ = dense_degrees(clusters, kind, contrasts[[0, 1, 2]])
    np.testing.assert_allclose(small.contrast_df(np.eye(3), "satterthwaite"), single, rtol=1e-8)
    single, joint = dense_degrees(clusters, kind, contrasts[[3, 1]])
    np.testing.assert_allclose(small.contrast_df(contrasts[[3, 1]], "satterthwaite"), single, rtol=1e-8)
    found, factor = small.joint_df(contrasts[[3, 1]], "satterthwaite")
    assert found == pytest.approx(joint - 1, rel=1e-8) and factor == pytest.approx((joint - 1) / joint, rel=1e-8)
    alone, factor = small.joint_df(contrasts[[3]], "satterthwaite")
    assert alone == pytest.approx(single[0], rel=1e-8) and factor == 1.0


@pytest.mark.parametrize("n_clusters", [40, 300, 1000])
def test_clusters_of_little_leverage(n_clusters):
    """Powers of leverages are added up there, and a few clusters of much leverage have eigenvalues."""
    data = study(8, "poisson", n_clusters=n_clusters, most=4)
    data.X[data.groups == 3, 0] += 8.0  # some clusters far out
    est = fitted(data, GEERegressor("poisson", working_correlation="exchangeable"))
    clusters = twin_of(est, data, family="poisson", link="log")
    bread = clusters.bread
    expected = {kind: np.zeros((3, 3)) for kind in ("md", "kc")}
    values, vectors = np.linalg.eigh(bread)
    root = vectors * np.sqrt(values) @ vectors.T
    inverse_root = np.linalg.inv(root)
    for D, V, r in zip(clusters.D, clusters.V, clusters.r, strict=True):
        own, u = D.T @ np.linalg.solve(V, D), D.T @ np.linalg.solve(V, r)
        gap, turned = np.linalg.eigh(np.eye(3) - inverse_root @ own @ inverse_root)
        for kind, power in (("md", -1.0), ("kc", -0.5)):
            corrected = root @ turned @ np.diag(gap**power) @ turned.T @ inverse_root @ u
            expected[kind] += np.outer(corrected, corrected)
    inverse = np.linalg.inv(bread)
    expected = {kind: inverse @ meat @ inverse for kind, meat in expected.items()}
    expected["fg"] = fay_graubard(clusters, means(data.X))
    assert_covariances(est, expected, rtol=1e-10, types=expected)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_blocks_add_up(structure, monkeypatch):
    data = study(9, n_clusters=60)
    whole = fitted(data, GEERegressor(working_correlation=structure, weight_type="frequency"),
                   sample_weight=data.counts)  # fmt: skip
    monkeypatch.setattr(skdep.gee.rows, "_BLOCK_ROWS", 20)
    parts = fitted(data, GEERegressor(working_correlation=structure, weight_type="frequency"),
                   sample_weight=data.counts)  # fmt: skip
    for kind in whole._inference.covariances:
        np.testing.assert_allclose(
            parts._inference.covariance(kind), whole._inference.covariance(kind), rtol=1e-6, atol=1e-12, err_msg=kind
        )
    one, other = (
        est._inference.small_sample_of("kc").contrast_df(np.eye(3), "satterthwaite") for est in (whole, parts)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_products_of_runs_of_unequal_length():
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 3, 4, 5, 8, 9, 17, 1])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    left, right = rng.normal(size=(sizes.sum(), 3)), rng.normal(size=(sizes.sum(), 2))
    for chosen in (np.arange(9), np.array([2]), np.array([0, 8]), np.array([3, 4, 7]), np.zeros(0, dtype=int)):
        found = cluster_products(left, right, starts[chosen], sizes[chosen])
        assert found.shape == (len(chosen), 3, 2)
        for number, product in zip(chosen, found, strict=True):
            rows = slice(starts[number], starts[number] + sizes[number])
            np.testing.assert_allclose(product, left[rows].T @ right[rows], rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------------------------------------ invariances


@pytest.mark.parametrize("structure", STRUCTURES)
def test_origin_and_units_of_features_make_no_difference(structure):
    data = study(10)
    one = fitted(data, GEERegressor(working_correlation=structure))
    before = {kind: one._inference.covariance(kind) for kind in TYPES}
    degrees = one._inference.small_sample_of("kc").contrast_df(np.eye(3), "satterthwaite")
    data.X = (data.X + np.array([1e4, -50.0])) * [1e-3, 1e6]
    other = fitted(data, GEERegressor(working_correlation=structure))
    units = np.array([1e-3, 1e6])
    for kind in TYPES:
        found = other._inference.covariance(kind)[1:, 1:] * np.outer(units, units)
        np.testing.assert_allclose(found, before[kind][1:, 1:], rtol=1e-6, atol=1e-12, err_msg=kind)
    found = other._inference.small_sample_of("kc").contrast_df(np.eye(3), "satterthwaite")
    np.testing.assert_allclose(found[1:], degrees[1:], rtol=1e-6)


def test_scale_of_sampling_weights_makes_no_difference():
    data = study(11, "binomial")
    one = fitted(data, GEERegressor("binomial"), sample_weight=data.weights)
    other = fitted(data, GEERegressor("binomial"), sample_weight=1e5 * data.weights)
    for kind in TYPES:
        np.testing.assert_allclose(other._inference.covariance(kind), one._inference.covariance(kind), rtol=1e-8)


@pytest.mark.parametrize("kind", TYPES)
def test_order_of_rows_makes_no_difference(kind):
    data = study(12)
    one = fitted(data, GEERegressor(working_correlation="exchangeable"))
    order = np.random.default_rng(0).permutation(len(data.y))
    for name, value in list(vars(data).items()):
        setattr(data, name, value[order])
    other = fitted(data, GEERegressor(working_correlation="exchangeable"))
    np.testing.assert_allclose(other._inference.covariance(kind), one._inference.covariance(kind), rtol=1e-8)


@pytest.mark.parametrize("structure", ["independence", "exchangeable"])
def test_collinear_features(structure):
    """Variances of what can be estimated are those of the fit without the superfluous column."""
    data = study(13)
    one = fitted(data, GEERegressor(working_correlation=structure))
    data.X = np.column_stack([data.X, -3.0 * data.X[:, 0]])
    with pytest.warns(CollinearityWarning):
        other = GEERegressor(working_correlation=structure).fit(data.X, data.y, groups=data.groups, time=data.time)
    for kind in set(TYPES) - {"fg"}:
        found, expected = other._inference.covariance(kind), one._inference.covariance(kind)
        np.testing.assert_allclose(found[[0, 2]][:, [0, 2]], expected[[0, 2]][:, [0, 2]], rtol=1e-7, err_msg=kind)
        move = np.array([0.0, 1.0, 0.0, -3.0])  # what the first feature does to the linear predictor
        assert move @ found @ move == pytest.approx(expected[1, 1], rel=1e-7)
    small = [est._inference.small_sample_of("kc") for est in (one, other)]
    df = small[0].contrast_df(np.array([[0, 1.0, 0], [0, 0, 1.0]]), "satterthwaite")
    np.testing.assert_allclose(
        small[1].contrast_df([[0, 1.0, 0, -3.0], [0, 0, 1.0, 0]], "satterthwaite"), df, rtol=1e-6
    )
    assert np.isfinite(other._inference.covariance("fg")).all()


def test_nearly_collinear_features():
    """Solved in other coordinates, but Fay and Graubard's correction is that of the user's."""
    data = study(14)
    data.X = np.column_stack([data.X, data.X[:, 0] + 1e-6 * np.random.default_rng(0).normal(size=len(data.y))])
    est = fitted(data, GEERegressor(working_correlation="exchangeable"))
    clusters = twin_of(est, data, family="gaussian", link="identity")
    # the twin inverts a matrix of condition 1e13
    np.testing.assert_allclose(
        est._inference.covariance("fg")[2, 2], fay_graubard(clusters, means(data.X))[2, 2], rtol=1e-3
    )


def test_mancl_derouen_is_the_step_that_leaves_a_cluster_out():
    """In the linear model with independence, one step is all: refits without each cluster."""
    data = study(15)
    est = fitted(data, GEERegressor())
    beta = np.array([est.intercept_, *est.coef_])
    moves = []
    for label in np.unique(data.groups):
        rest = data.groups != label
        other = GEERegressor().fit(data.X[rest], data.y[rest], groups=data.groups[rest])
        moves.append(np.array([other.intercept_, *other.coef_]) - beta)
    expected = np.array(moves).T @ np.array(moves)
    np.testing.assert_allclose(est._inference.covariance("md"), expected, rtol=1e-8)
    K = len(moves)
    np.testing.assert_allclose(est._inference.covariance("jackknife"), (K - 3 - 1) / K * expected, rtol=1e-8)


def test_kauermann_carroll_is_unbiased_where_the_model_is_right():
    """E[V_KC] = phi B^{-1} for independent errors of equal variance, whatever the design: an identity of matrices."""
    data = study(16)
    est = fitted(data, GEERegressor())
    clusters = twin_of(est, data, family="gaussian", link="identity")
    maps, V = clusters.influence("kc")
    expected = np.einsum("kpn,nm,kqm->pq", maps, V, maps)
    np.testing.assert_allclose(expected, est._inference.covariance("naive"), rtol=1e-9)


# ------------------------------------------------------------------------------------------------ odd clusters


def test_a_cluster_that_determines_a_coefficient_alone():
    """A dummy of one cluster: its residuals add up to zero, and nothing is divided by zero."""
    data = study(17)
    data.X = np.column_stack([data.X, data.groups == 5])
    est = fitted(data, GEERegressor())
    without = data.groups != 5
    rest = GEERegressor().fit(data.X[without][:, :2], data.y[without], groups=data.groups[without])
    for kind in ("kc", "md"):
        found = est._inference.covariance(kind)
        assert np.isfinite(found).all()
        assert (np.diag(found)[:3] > 0).all()
        assert np.isfinite(est._inference.small_sample_of(kind).contrast_df(np.eye(4)[:3], "satterthwaite")).all()
    # the dummy takes the level of its cluster, not the slope within
    assert found[2, 2] == pytest.approx(rest._inference.covariance("md")[2, 2], rel=0.5)


def test_fewer_clusters_than_coefficients():
    rng = np.random.default_rng(0)
    X, y, groups = rng.normal(size=(24, 5)), rng.normal(size=24), np.repeat(np.arange(4), 6)
    with pytest.warns(FewClustersWarning, match="4 clusters for 6 parameters"):
        est = GEERegressor(working_correlation="exchangeable", cov_type="kc").fit(X, y, groups=groups)
    assert np.isnan(est._inference.covariance("df")).all() and np.isnan(est._inference.covariance("jackknife")).all()
    for kind in ("robust", "md", "kc", "fg", "mbn", "pan"):
        assert np.isfinite(est._inference.covariance(kind)).all(), kind
    with pytest.warns(UserWarning, match="-2 degrees of freedom left"):
        assert coef_table(est)["p_value"].isna().all()


def test_a_single_cluster_has_no_standard_errors():
    data = study(18)
    with pytest.warns(FewClustersWarning, match="There is one cluster"):
        est = GEERegressor(cov_type="kc").fit(data.X, data.y, groups=np.zeros(len(data.y)))
    for kind in est._inference.covariances:
        assert np.isnan(est._inference.covariance(kind)).all() == (kind != "naive"), kind


def test_an_exact_fit_has_covariances_of_zero():
    data = study(19)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        est = GEERegressor(working_correlation="exchangeable").fit(data.X, data.X @ [1.0, 2.0], groups=data.groups)
    for kind in set(TYPES) - {"pan"}:
        np.testing.assert_allclose(est._inference.covariance(kind), 0.0, atol=1e-20, err_msg=kind)


# ------------------------------------------------------------------------------------------------ as users meet them


@pytest.mark.parametrize("kind", TYPES)
def test_chosen_at_fit_or_after_it(kind):
    data = study(20, "binomial")
    chosen = fitted(data, GEEClassifier(working_correlation="exchangeable", cov_type=kind))
    other = fitted(data, GEEClassifier(working_correlation="exchangeable"))
    np.testing.assert_array_equal(chosen.covariance_, other._inference.covariance(kind))
    pd.testing.assert_frame_equal(coef_table(chosen).to_frame(), coef_table(other, cov_type=kind).to_frame())
    assert f"Covariance           {kind}" in str(chosen.summary())
    degrees = coef_table(chosen)["df"]
    assert (degrees == (np.inf if kind in ("naive", "robust") else chosen.n_clusters_ - 3)).all()
    assert (coef_table(chosen, df="normal")["df"] == np.inf).all()
    assert (coef_table(chosen, df="residual")["df"] == chosen.n_clusters_ - 3).all()


def test_pan_needs_positions_that_clusters_share():
    data = study(21)
    est = GEERegressor(working_correlation="exchangeable").fit(data.X, data.y, groups=data.groups)
    with pytest.raises(ValueError, match=r"'pan', .*different numbers of rows: pass time= to say which rows belong"):
        coef_table(est, cov_type="pan")
    with pytest.raises(ValueError, match=r"cov_type='pan' cannot be had here.*pass time="):
        GEERegressor(cov_type="pan").fit(data.X, data.y, groups=data.groups)
    ages = np.random.default_rng(0).uniform(20, 80, len(data.y))
    with pytest.raises(ValueError, match="more than 50 different times"):
        GEERegressor(cov_type="pan").fit(np.tile(data.X, (3, 1)), np.tile(data.y, 3), groups=np.tile(data.groups, 3),
                                         time=np.tile(ages, 3) + np.arange(3 * len(ages)))  # fmt: skip
    with pytest.raises(ValueError, match="times are tied within clusters"):
        GEERegressor(cov_type="pan").fit(data.X, data.y, groups=data.groups, time=np.zeros(len(data.y)))
    with pytest.raises(ValueError, match=r"there are too many \(60\)"):
        GEERegressor(cov_type="pan").fit(np.random.default_rng(0).normal(size=(240, 2)), np.arange(240.0),
                                         groups=np.repeat(np.arange(4), 60))  # fmt: skip


def test_pan_pools_by_time_or_by_place():
    """Rows in order of time need no times; shuffled ones do."""
    rng = np.random.default_rng(0)
    groups, time = np.repeat(np.arange(20), 4), np.tile([1.0, 2.0, 4.0, 7.0], 20)
    X = rng.normal(size=(80, 2))
    y = X @ [1.0, 0.5] + rng.normal(size=80) * np.tile([1.0, 2.0, 3.0, 4.0], 20)
    by_place = GEERegressor(cov_type="pan").fit(X, y, groups=groups)
    order = rng.permutation(80)
    by_time = GEERegressor(cov_type="pan").fit(X[order], y[order], groups=groups[order], time=time[order])
    np.testing.assert_allclose(by_time.covariance_, by_place.covariance_, rtol=1e-9)
    wrong = GEERegressor(cov_type="pan").fit(X[order], y[order], groups=groups[order])
    assert np.abs(wrong.covariance_ / by_place.covariance_ - 1).max() > 0.01


def test_pan_has_no_negative_variances():
    """Few clusters that meet in few of many positions: the pooled matrix alone would not be positive semi-definite."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(6), 3)
        time = np.concatenate([rng.choice(9, 3, replace=False) for _ in range(6)])
        X, y = rng.normal(size=(18, 2)), rng.normal(size=18)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est = GEERegressor(cov_type="pan").fit(X, y, groups=groups, time=time)
        assert np.linalg.eigvalsh(est.covariance_)[0] > 0


def test_types_that_do_not_fit_the_weights_are_refused():
    data = study(22)
    with pytest.raises(ValueError, match=r"cov_type='design' cannot be had here.*set weight_type='sampling'"):
        GEERegressor(cov_type="design", weight_type="frequency").fit(data.X, data.y, groups=data.groups)
    est = GEERegressor(weight_type="frequency").fit(data.X, data.y, groups=data.groups)
    with pytest.raises(ValueError, match=r"cov_type='design' is not available for this fit.*set weight_type"):
        coef_table(est, cov_type="design")
    with pytest.raises(ValueError, match=r"cov_type='hc3' is not available for this fit; it has \['design', 'df'"):
        coef_table(GEERegressor().fit(data.X, data.y, groups=data.groups), cov_type="hc3")


def test_degrees_of_freedom_of_sandwiches_know_one_method():
    data = study(23)
    small = fitted(data, GEERegressor())._inference.small_sample_of("kc")
    with pytest.raises(ValueError, match="'kenward-roger' is not defined for sandwich covariances"):
        small.contrast_df(np.eye(3), "kenward-roger")
    assert np.isnan(small.contrast_df(np.zeros((1, 3)), "satterthwaite")).all()


def test_degrees_of_freedom_of_large_fits_are_kept_on_request():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3000), 3)
    X, y = rng.normal(size=(9000, 3)), rng.normal(size=9000)
    treated = (groups < 4).astype(float)  # few treated clusters among many: few degrees of freedom
    X = np.column_stack([X, treated])
    plain = GEERegressor().fit(X, y, groups=groups)
    with pytest.raises(ValueError, match="keeps only if its own cov_type is 'kc'"):
        plain._inference.small_sample_of("kc").contrast_df(np.eye(5), "satterthwaite")
    asked = GEERegressor(cov_type="kc").fit(X, y, groups=groups)
    degrees = asked._inference.small_sample_of("kc").contrast_df(np.eye(5), "satterthwaite")
    assert degrees[4] == pytest.approx(3.0, abs=0.05)
    assert (degrees[:4] > 500).all()


def test_fitted_state_stays_small():
    sizes = []
    for n_clusters in (50, 300):
        data = study(24, n_clusters=n_clusters)
        sizes.append(len(pickle.dumps(fitted(data, GEERegressor(working_correlation="exchangeable")))))
    assert abs(sizes[1] - sizes[0]) < 50 and sizes[1] < 8_000
    est = pickle.loads(pickle.dumps(fitted(study(24), GEERegressor(cov_type="kc"))))
    assert np.isfinite(est._inference.small_sample_of("kc").contrast_df(np.eye(3), "satterthwaite")).all()
