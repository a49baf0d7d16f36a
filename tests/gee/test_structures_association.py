"""Standard errors of association parameters, and whether binary outcomes allow a working correlation."""

from __future__ import annotations

import json
import warnings
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skdep.base import FitNotes
from skdep.families import get_family
from skdep.gee.equations import GEEData, Model
from skdep.gee.rows import prepare_rows
from skdep.gee.scoring import solve
from skdep.gee.working_correlation import AR1, Fixed, MDependent, ParametricCorrelation, get_working_correlation
from skdep.gee.working_correlation import feasibility as feasibility_module
from skdep.gee.working_correlation.feasibility import infeasible_share
from skdep.gee.working_correlation.standard_errors import association_inference
from skdep.links import get_link

from .dense import LINKS, VARIANCES, correlation_matrix, shared_levels

REFERENCE = Path(__file__).parents[1] / "reference"


class Power(ParametricCorrelation):
    """alpha^|t_j - t_k|, as a user would write it."""

    name = "power"
    initial = (0.3,)
    bounds = ((0.0, 0.999),)

    def correlation(self, times, alpha):
        return alpha[0] ** np.abs(np.subtract.outer(times, times))


class Exponential(ParametricCorrelation):
    """Two parameters, one of them not linear."""

    name = "exponential"
    initial = (0.2, 0.1)

    def correlation(self, times, alpha):
        lags = np.abs(np.subtract.outer(times, times))
        return np.where(lags == 0, 1.0, alpha[0] * np.exp(-alpha[1] * lags))


def solved(X, y, structure, *, family="gaussian", link=None, dof="n", scale=None, groups=None, weights=None,
           weight_type="sampling", time=None):  # fmt: skip
    """Solve the estimating equations of rows with an intercept."""
    structure, family = get_working_correlation(structure), get_family(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = prepare_rows(
            np.asarray(X, dtype=float), np.asarray(y, dtype=float), groups=groups, sample_weight=weights, offset=None,
            time=time, weight_type=weight_type, structure=structure, notes=FitNotes(),
        )  # fmt: skip
    design = np.column_stack([np.ones(len(rows.X)), rows.X])
    data = GEEData(design, rows.y, rows.offset, rows.weights, rows.counts, rows.blocks)
    model = Model(family, family.default_link() if link is None else get_link(link), scale, dof)
    result, _ = solve(data, model, structure, max_iter=200, tol=1e-12)
    assert result.converged
    return result


def simulated(seed=0, n_clusters=70):
    """Rows in clusters of one to five at times 0 to 5, with wards and beds that restart; correlated outcomes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, n_clusters)
    groups = np.repeat(np.arange(n_clusters), sizes)
    n = len(groups)
    time = np.concatenate([np.sort(rng.choice(6, size, replace=False)) for size in sizes]).astype(float)
    ward, bed = rng.integers(0, 2, n), rng.integers(0, 2, n)
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 2, n)])
    own = 0.6 * rng.normal(size=n_clusters)[groups] + 0.7 * rng.normal(size=2 * n_clusters)[2 * groups + ward]
    own += 0.5 * rng.normal(size=4 * n_clusters)[4 * groups + 2 * ward + bed]
    eta = 0.2 + X @ [0.5, -0.4] + own
    y = {
        "gaussian": eta + rng.normal(size=n),
        "binomial": (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": rng.poisson(np.exp(0.5 * eta)).astype(float),
    }
    weights = {
        "rows": rng.uniform(0.4, 2.5, n),
        "frequency": rng.integers(1, 4, n_clusters)[groups].astype(float),
    }
    # probabilities that differ more, so that correlations of binary outcomes are narrowly bounded
    steep = (rng.uniform(size=n) < 1 / (1 + np.exp(-X @ [1.5, -1.0]))).astype(float)
    return SimpleNamespace(
        X=X, y=y, steep=steep, groups=groups, time=time, units=np.column_stack([ward, bed]), weights=weights,
        n_clusters=n_clusters,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ the dense sandwich


def pair_class(name, time_j, time_k, units_j, units_k, times):
    """Return the number of the class a pair is in, or None."""
    if name in ("exchangeable", "ar1", "exponential"):
        return 0
    if name == "unstructured":
        a, b = sorted(np.searchsorted(times, [time_j, time_k]))
        return list(combinations(range(len(times)), 2)).index((a, b))
    if name == "nested":
        return shared_levels(units_j, units_k)
    return round(abs(time_j - time_k)) - 1


def rho_of(name, alpha, lag, number):
    if name == "ar1":
        return alpha[0] ** lag
    if name == "exponential":
        return alpha[0] * np.exp(-alpha[1] * lag)
    return alpha[number]


def dense_covariance(rows, name, family, link, dof, scale, kind, beta, phi, alpha, units):
    """Return the covariance of alpha by explicit loops, and derivatives by differences of the moment equations."""
    X = np.column_stack([np.ones(len(rows.X)), rows.X])
    y, p, q = rows.y[family], X.shape[1], len(alpha)
    weights = np.ones(len(y)) if kind != "rows" else rows.weights["rows"] / rows.weights["rows"].mean()
    counts = np.ones(len(y)) if kind != "frequency" else rows.weights["frequency"]
    times = np.unique(rows.time)
    _, inverse, slope = LINKS[link]
    subtracted = p if dof == "n-p" else 0
    clusters = [np.flatnonzero(rows.groups == g) for g in range(rows.n_clusters)]
    pairs = []  # cluster, j, k, class, lag, mass
    for i, members in enumerate(clusters):
        for (a, j), (b, k) in combinations(enumerate(members), 2):
            if name == "ar1" and dof == "n-p" and b != a + 1:
                continue
            number = pair_class(name, rows.time[j], rows.time[k], units[j], units[k], times)
            mass = 1.0 if dof == "n-p" else weights[j] * weights[k]
            if number < max(q, 1) or name == "exponential":
                pairs.append((i, j, k, number, rows.time[k] - rows.time[j], mass))
    totals = np.zeros(max(pair[3] for pair in pairs) + 1)
    for i, _, _, number, _, mass in pairs:
        totals[number] += counts[clusters[i][0]] * mass
    factor = np.where(totals > subtracted, totals / np.where(totals > subtracted, totals - subtracted, 1.0), 1.0)

    def derivative(lag, number):
        if name == "ar1":
            return np.array([lag * alpha[0] ** (lag - 1)])
        if name == "exponential":
            return np.exp(-alpha[1] * lag) * np.array([1.0, -alpha[0] * lag])
        return np.eye(q)[number]

    def residuals(beta):
        mu = inverse(X @ beta)
        return (y - mu) / np.sqrt(VARIANCES[family](mu))

    n_obs = counts.sum()

    def scale_parts(beta, phi):
        e = residuals(beta)
        kept = n_obs / (n_obs - subtracted)
        mass = np.ones(len(y)) if dof == "n-p" else weights
        return np.array([np.sum(kept * weights[m] * e[m] ** 2 - phi * mass[m]) for m in clusters])

    def alpha_parts(beta, phi):
        e, found = residuals(beta), np.zeros((len(clusters), q))
        for i, j, k, number, lag, mass in pairs:
            weight = np.sqrt(weights[j] * weights[k]) if dof == "n-p" else weights[j] * weights[k]
            excess = factor[number] * weight * e[j] * e[k] / phi - mass * rho_of(name, alpha, lag, number)
            found[i] += derivative(lag, number) * excess
        return found

    repeats = np.array([counts[m[0]] for m in clusters])
    information = sum(
        repeats[i] * mass * np.outer(derivative(lag, number), derivative(lag, number))
        for i, _, _, number, lag, mass in pairs
    )
    bread, scores = np.zeros((p, p)), np.zeros((len(clusters), p))
    mu = inverse(X @ beta)
    matrix_name = {"exponential": "fixed"}.get(name, name)
    matrix_alpha = alpha[0] if name in ("exchangeable", "ar1") else alpha
    if name == "exponential":
        lags = np.abs(np.subtract.outer(times, times))
        matrix_alpha = np.where(lags == 0, 1.0, alpha[0] * np.exp(-alpha[1] * lags))
    if name == "unstructured":
        matrix_alpha = np.eye(len(times))
        for value, (a, b) in zip(alpha, combinations(range(len(times)), 2)):
            matrix_alpha[a, b] = matrix_alpha[b, a] = value
    for i, m in enumerate(clusters):
        R = correlation_matrix(matrix_name, matrix_alpha, rows.time[m], times, units[m])
        root = np.diag(np.sqrt(VARIANCES[family](mu[m]) / weights[m]))
        D = np.diag(slope(X[m] @ beta)) @ X[m]
        V = root @ R @ root
        bread += repeats[i] * D.T @ np.linalg.solve(V, D)
        scores[i] = D.T @ np.linalg.solve(V, y[m] - mu[m])

    def by_beta(function):
        h = 1e-5
        return np.column_stack([
            (repeats @ function(beta + h * unit) - repeats @ function(beta - h * unit)) / (2 * h) for unit in np.eye(p)
        ])  # fmt: skip

    moved_beta = scores @ np.linalg.inv(bread)
    moved = alpha_parts(beta, phi) + moved_beta @ by_beta(lambda b: alpha_parts(b, phi)).T
    if scale is None:
        moved_phi = (scale_parts(beta, phi) + moved_beta @ by_beta(lambda b: scale_parts(b, phi)[:, None])[0]) / n_obs
        h = 1e-5 * phi
        by_phi = repeats @ (alpha_parts(beta, phi + h) - alpha_parts(beta, phi - h)) / (2 * h)
        moved = moved + np.outer(moved_phi, by_phi)
    influence = moved @ np.linalg.inv(information)
    return (influence * repeats[:, None]).T @ influence


STRUCTURES = {
    "exchangeable": ("exchangeable", "exchangeable"),
    "ar1": ("ar1", "ar1"),
    "unstructured": ("unstructured", "unstructured"),
    "m_dependent": (MDependent(m=2), "m_dependent"),
    "toeplitz": ("toeplitz", "toeplitz"),
    "nested": ("nested", "nested"),
    "power": (Power(), "ar1"),
    "exponential": (Exponential(), "exponential"),
}
MODELS = [("gaussian", "identity"), ("binomial", "logit"), ("poisson", "log")]


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("kind", [None, "rows", "frequency"])
@pytest.mark.parametrize("dof", ["n-p", "n"])
def test_dense_sandwich(name, kind, dof, monkeypatch):
    """Families and fixed or estimated scales rotate with the rest; blocks are small."""
    if name == "power" and dof == "n-p":
        dof, kind = "n", "frequency"  # its dense twin is that of AR(1) over all pairs
    monkeypatch.setattr("skdep.gee.rows._BLOCK_ROWS", 40)
    turn = list(STRUCTURES).index(name) + [None, "rows", "frequency"].index(kind) + 2 * (dof == "n")
    family, link = MODELS[turn % 3]
    structure, twin_name = STRUCTURES[name]
    rows = simulated(turn % 2, n_clusters=150 if name == "unstructured" else 70)
    units = rows.units if name == "nested" else np.zeros((len(rows.groups), 0))
    scale = {"gaussian": 2.0, "binomial": 1.0, "poisson": 1.5}[family] if turn % 2 else None
    result = solved(
        rows.X, rows.y[family], structure, family=family, dof=dof, scale=scale, time=rows.time,
        groups=np.column_stack([rows.groups, units]) if name == "nested" else rows.groups,
        weights=None if kind is None else rows.weights[kind],
        weight_type="frequency" if kind == "frequency" else "sampling",
    )  # fmt: skip
    assert result.at.shrinkage == 0.0
    found = association_inference(result.equations, result.at)
    expected = dense_covariance(
        rows, twin_name, family, link, dof, scale, kind, result.at.beta, result.at.scale, found.estimate, units
    )
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert len(found.names) == len(found.estimate) == len(set(found.names))


@pytest.mark.parametrize("unit", [7.0, 1 / 30])
@pytest.mark.parametrize("dof", ["n", "n-p"])
def test_ar1_in_another_unit_of_time(unit, dof):
    """The correlation a week apart is that of a day to the seventh; its error follows by the delta method."""
    rows = simulated(1)
    days = solved(rows.X, rows.y["gaussian"], "ar1", groups=rows.groups, time=rows.time, dof=dof)
    other = solved(rows.X, rows.y["gaussian"], "ar1", groups=rows.groups, time=unit * rows.time, dof=dof)
    one, two = (association_inference(result.equations, result.at) for result in (days, other))
    alpha = one.estimate[0]
    assert two.estimate[0] == pytest.approx(alpha ** (1 / unit), rel=1e-8)
    assert two.covariance[0, 0] == pytest.approx(one.covariance[0, 0] * (alpha ** (1 / unit - 1) / unit) ** 2, rel=1e-6)


def test_negative_ar1():
    rng = np.random.default_rng(3)
    n_clusters, size = 100, 5
    root = np.linalg.cholesky(correlation_matrix("ar1", -0.6, np.arange(size)))
    y = (rng.normal(size=(n_clusters, size)) @ root.T).ravel()
    X, groups, time = (
        rng.normal(size=(len(y), 1)),
        np.repeat(np.arange(n_clusters), size),
        np.tile(np.arange(size), 100),
    )
    result = solved(X, y, AR1("all"), groups=groups, time=time)
    found = association_inference(result.equations, result.at)
    jackknife = []
    for left_out in range(n_clusters):
        keep = groups != left_out
        part = solved(X[keep], y[keep], AR1("all"), groups=groups[keep], time=time[keep])
        jackknife.append(part.equations.structure.report(part.equations.layouts, part.at.association))
    expected = np.sqrt((n_clusters - 1) / n_clusters * np.sum((jackknife - np.mean(jackknife)) ** 2))
    assert found.estimate[0] == pytest.approx(-0.6, abs=0.1)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("name", "family", "scale"),
    [("exchangeable", "binomial", None), ("m_dependent", "gaussian", None), ("nested", "binomial", 1.0)],
)
def test_jackknife_over_clusters(name, family, scale):
    """Fits without each cluster in turn, scale and coefficients estimated anew."""
    n_clusters = 120
    rows = simulated(5, n_clusters)
    structure, _ = STRUCTURES[name]
    groups = np.column_stack([rows.groups, rows.units[:, :1]]) if name == "nested" else rows.groups

    def fit(keep):
        given = {"groups": groups[keep], "time": rows.time[keep], "family": family, "scale": scale}
        return solved(rows.X[keep], rows.y[family][keep], structure, **given)

    whole = fit(np.ones(len(rows.groups), dtype=bool))
    found = association_inference(whole.equations, whole.at)
    parts = np.array([np.atleast_1d(fit(rows.groups != g).at.association) for g in range(n_clusters)])
    expected = np.sqrt((n_clusters - 1) / n_clusters * np.sum((parts - parts.mean(axis=0)) ** 2, axis=0))
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), expected, rtol=0.1)


# ------------------------------------------------------------------------------------------------ geepack


def reference_data(name):
    if name.startswith("nested"):
        frame = pd.read_csv(REFERENCE / "data" / "sim_nested.csv")
        levels = ["practice", "doctor", "patient"][: 2 if "two" in name else 3]
        outcome = "yb" if "yb" in name else "yc"
        return {"X": frame[["x"]], "y": frame[outcome], "groups": frame[levels]}, "nested"
    frame = pd.read_csv(REFERENCE / "data" / "sim_waves.csv")
    structure = "toeplitz" if "4" in name else MDependent(m=int(name[10]))
    return {"X": frame[["g", "x"]], "y": frame["y"], "groups": frame["id"], "time": frame["wave"]}, structure


@pytest.mark.parametrize(
    "name",
    ["nested_two_yb_phi1", "nested_three_yb_phi1", "nested_two_yc", "nested_three_yc", "waves_lags1_phi1",
     "waves_lags2_phi1", "waves_lags4_phi1"],
)  # fmt: skip
def test_geepack(name):
    """Near: its derivatives are others. With a binary outcome and an estimated scale its errors are not usable."""
    entry = json.loads((REFERENCE / "gee_structures.json").read_text())[name]
    rows, structure = reference_data(name)
    result = solved(
        rows.pop("X"), rows.pop("y"), structure, family="gaussian" if "yc" in name else "binomial",
        scale=1.0 if "phi1" in name else None, **rows,
    )  # fmt: skip
    found = association_inference(result.equations, result.at)
    np.testing.assert_allclose(found.estimate, entry["alpha"], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), entry["alpha_se"], rtol=0.05)


# ------------------------------------------------------------------------------------------------ without errors


def test_structures_without_standard_errors():
    rows = simulated()
    given = {"groups": rows.groups, "time": rows.time}

    def inference(structure, **options):
        result = solved(rows.X, rows.y["gaussian"], structure, **{**given, **options})
        return association_inference(result.equations, result.at)

    for structure in ("independence", Fixed(np.eye(6))):
        found = inference(structure)
        assert found.names == () and found.covariance.shape == (0, 0)
    repaired = inference("exchangeable", scale=0.2)
    assert np.isnan(repaired.covariance).all() and "repaired" in repaired.reason
    alone = inference("exchangeable", groups=np.zeros(len(rows.groups)))
    assert np.isnan(alone.covariance).all() and "one cluster" in alone.reason
    silent = type("Silent", (MDependent,), {"sensitivity": lambda self, *args: None, "name": "silent"})()
    found = inference(silent)
    assert found.covariance is None and "'silent' does not say how" in found.reason


def test_pairs_of_times_that_never_meet_have_no_error():
    rows = simulated()
    late = rows.time >= 3
    groups = rows.groups + 1000 * late  # nobody is seen both before and after
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = solved(rows.X, rows.y["gaussian"], "unstructured", groups=groups, time=rows.time)
    found = association_inference(result.equations, result.at)
    pairs = np.array(list(combinations(range(6), 2)))
    meet = (pairs < 3).all(axis=1) | (pairs >= 3).all(axis=1)
    np.testing.assert_array_equal(np.isnan(np.diag(found.covariance)), ~meet)
    assert found.names[0] == "alpha[0, 1]"


# ------------------------------------------------------------------------------------------------ binary bounds


def brute_share(result, rows, structure_name, alpha):
    """Return the share of pairs outside the bounds of a joint distribution of two binary outcomes."""
    mu = np.empty(len(rows.groups))
    mu[np.argsort(rows.groups, kind="stable")] = result.at.mu
    outside = total = 0
    for g in range(rows.n_clusters):
        for j, k in combinations(np.flatnonzero(rows.groups == g), 2):
            rho = correlation_matrix(structure_name, alpha, rows.time[[j, k]], np.unique(rows.time))[0, 1]
            both = mu[j] * mu[k] + rho * np.sqrt(mu[j] * (1 - mu[j]) * mu[k] * (1 - mu[k]))
            # probabilities of (1, 1), (1, 0), (0, 1), (0, 0)
            cells = [both, mu[j] - both, mu[k] - both, 1 - mu[j] - mu[k] + both]
            outside, total = outside + (min(cells) < -1e-12), total + 1
    return outside / total


@pytest.mark.parametrize(("rho", "lag"), [(0.1, 0.9), (0.5, 0.8), (0.8, 0.95), (-0.15, 1.0), (-0.19, 1.0)])
@pytest.mark.parametrize("most", [50_000, 60])
def test_share_of_pairs_that_binary_outcomes_cannot_have(rho, lag, most, monkeypatch):
    """All four probabilities of a pair must be positive; a sample of pairs knows the share roughly."""
    rows = simulated(2, n_clusters=120)
    times = np.arange(6)
    matrix = rho * lag ** np.abs(np.subtract.outer(times, times)).astype(float)
    np.fill_diagonal(matrix, 1.0)
    monkeypatch.setattr("skdep.gee.rows._BLOCK_ROWS", 60)
    monkeypatch.setattr(feasibility_module, "_MOST_PAIRS", most)
    result = solved(rows.X, rows.steep, Fixed(matrix), family="binomial", groups=rows.groups, time=rows.time)
    found = infeasible_share(result.equations, result.at)
    expected = brute_share(result, rows, "fixed", matrix)
    assert found == pytest.approx(expected, abs=1e-12 if most > 1000 else 0.2)
    assert expected > 0 or rho in (0.1, -0.15)


def test_share_counts_repeated_clusters():
    rows = simulated(2)
    frequency = rows.weights["frequency"].astype(int)
    repeated = np.repeat(np.arange(len(rows.groups)), frequency)
    copy = np.concatenate([np.arange(f) for f in frequency])
    given, structure = {"family": "binomial"}, Fixed(0.5 + 0.5 * np.eye(6))
    one = solved(rows.X, rows.steep, structure, groups=rows.groups, time=rows.time,
                 weights=rows.weights["frequency"], weight_type="frequency", **given)  # fmt: skip
    two = solved(rows.X[repeated], rows.steep[repeated], structure, groups=100 * rows.groups[repeated] + copy,
                 time=rows.time[repeated], **given)  # fmt: skip
    shares = [infeasible_share(result.equations, result.at) for result in (one, two)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-12)
    assert 0 < shares[0] < 1


@pytest.mark.parametrize("sizes", [[1, 1, 1], [3, 1, 4, 2], [500, 2], [2]])
def test_numbered_pairs_are_all_pairs(sizes):
    sizes = np.array(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    earlier, later = feasibility_module._pairs(sizes, starts, 1.0, np.random.default_rng(0))
    expected = {pair for start, size in zip(starts, sizes) for pair in combinations(range(start, start + size), 2)}
    assert len(earlier) == len(expected)
    assert set(zip(earlier.tolist(), later.tolist())) == expected
    sampled = feasibility_module._pairs(sizes, starts, 0.5, np.random.default_rng(0))
    assert set(zip(*(rows.tolist() for rows in sampled))) <= expected


def test_structures_that_cannot_tell_have_no_share():
    rows = simulated()
    silent = type("Silent", (MDependent,), {"correlations": lambda self, *args: None})()
    result = solved(rows.X, rows.y["binomial"], silent, family="binomial", groups=rows.groups, time=rows.time)
    assert infeasible_share(result.equations, result.at) is None
    alone = solved(rows.X, rows.y["binomial"], "exchangeable", family="binomial")
    assert infeasible_share(alone.equations, alone.at) == 0.0
