"""Separation: the linear program against brute force, and the certificate that makes it needless."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from skdep import LogitRegressor
from skdep.exceptions import ConvergenceWarning, SeparationWarning
from skdep.logit.kernel import LogisticData
from skdep.logit.newton import SingularInformationError, maximise
from skdep.separation import no_separation_certified, separating_direction, separation_message


def infinite_features(X, y, *, fit_intercept=True):
    """Return which features have infinite estimates, one pair of linear programs each; columns must be independent.

    A feature is infinite if some direction along which the likelihood never falls moves it.
    """
    design = np.column_stack([np.ones(len(X)), X]) if fit_intercept else X
    signed = np.where(y == 1, 1.0, -1.0)[:, None] * design
    found = []
    for j in range(int(fit_intercept), design.shape[1]):
        cost = np.zeros(design.shape[1])
        cost[j] = 1.0
        ends = [linprog(s * cost, A_ub=-signed, b_ub=np.zeros(len(X)), bounds=(-1, 1)).fun for s in (1, -1)]
        found.append(min(ends) < -1e-6)
    return np.array(found)


def is_separated(X, y, *, fit_intercept=True):
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    return separating_direction(X, y, fit_intercept=fit_intercept) is not None


def check_direction(X, y, direction, *, fit_intercept=True):
    """A direction must never be wrong: no row may oppose it, and some row must follow it."""
    design = np.column_stack([np.ones(len(X)), X]) if fit_intercept else X
    scaled = design / np.where(np.abs(design).max(axis=0) > 0, np.abs(design).max(axis=0), 1.0)
    margins = np.where(y == 1, 1.0, -1.0) * (scaled @ direction)
    assert margins.min() > -1e-6
    assert margins.max() > 1e-6


X1 = np.arange(6.0)[:, None]

TOY = [
    pytest.param(X1, [0, 0, 0, 1, 1, 1], True, id="complete"),
    pytest.param(X1, [1, 1, 1, 0, 0, 0], True, id="complete, falling"),
    pytest.param(np.array([[0], [1], [2], [2], [3], [4]]), [0, 0, 0, 1, 1, 1], True, id="quasi-complete: a tie"),
    pytest.param(X1, [0, 0, 1, 0, 1, 1], False, id="overlap"),
    pytest.param([[0], [0], [0], [1], [1]], [0, 1, 0, 1, 1], True, id="dummy"),
    pytest.param([[0], [0], [0], [1], [1]], [0, 1, 0, 1, 0], False, id="dummy with both outcomes"),
    pytest.param([[0, 1], [1, 0], [0, 0], [1, 1]], [0, 0, 1, 1], False, id="exclusive or"),
    pytest.param([[0, 1], [1, 0], [0, 0], [1, 1]], [1, 0, 0, 0], True, id="corner"),
    pytest.param(np.column_stack([X1, X1]), [0, 0, 1, 0, 1, 1], False, id="collinear overlap"),
    pytest.param(np.column_stack([X1, 2 * X1]), [0, 0, 0, 1, 1, 1], True, id="collinear separated"),
    pytest.param(np.column_stack([X1, np.zeros(6)]), [0, 0, 1, 0, 1, 1], False, id="column of zeros"),
]


@pytest.mark.parametrize(("X", "y", "separated"), TOY)
@pytest.mark.parametrize("units", [1e-12, 1.0, 1e12])
def test_toy_data(X, y, separated, units):
    X, y = units * np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    direction = separating_direction(X, y, fit_intercept=True)
    assert (direction is not None) == separated
    if separated:
        check_direction(X, y, direction)


def test_without_intercept():
    """x > 0 with y = 1 and x < 0 with y = 0 is separated through the origin; shifted it is not."""
    x, y = np.array([[-2.0], [-1.0], [1.0], [3.0]]), np.array([0, 0, 1, 1])
    assert is_separated(x, y, fit_intercept=False)
    assert not is_separated(x + 1.5, y, fit_intercept=False)
    assert is_separated(x + 1.5, y, fit_intercept=True)


def test_large_mean():
    x = 1e6 + np.arange(20.0)[:, None]
    y = (np.arange(20) > 9).astype(float)
    assert is_separated(x, y)
    y[9:11] = [1, 0]
    assert not is_separated(x, y)


def test_repeated_rows_change_nothing():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    for y in ([0, 0, 1, 1], [0, 1, 0, 1]):
        y = np.array(y, dtype=float)
        assert is_separated(X, y) == is_separated(np.repeat(X, 50, axis=0), np.repeat(y, 50))


def test_fractions_lie_on_the_plane():
    """A fraction pulls both ways: it must have margin zero, otherwise the likelihood falls along the direction."""
    X = np.array([[-1.0], [0.0], [1.0]])
    assert is_separated(X, np.array([0.0, 0.3, 1.0]))
    assert not is_separated(X, np.array([0.0, 1.0, 0.3]))
    assert not is_separated(X, np.array([0.2, 0.3, 0.4]))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_program_against_brute_force(fit_intercept):
    """Random small data on a lattice, for ties: separated if and only if some direction of many separates."""
    rng = np.random.default_rng(5)
    counts = np.zeros(2, dtype=int)
    for _ in range(150):
        X = rng.integers(-2, 3, size=(int(rng.integers(6, 14)), 2)).astype(float)
        y = (rng.random(len(X)) < 0.5).astype(float)
        design = np.column_stack([np.ones(len(X)), X]) if fit_intercept else X
        if np.linalg.matrix_rank(design) < design.shape[1]:
            continue
        # every direction in the plane of a pair of rows, or between: enough for three dimensions and fewer
        grid = rng.normal(size=(3000, design.shape[1]))
        exact = np.array([np.r_[-np.array(d) @ c, d] for d in _normals(X) for c in X]) if fit_intercept else _normals(X)
        directions = np.vstack([grid, exact, -exact])
        margins = directions @ (np.where(y == 1, 1.0, -1.0)[:, None] * design).T
        brute = bool(((margins.min(axis=1) > -1e-9) & (margins.max(axis=1) > 1e-9)).any())
        direction = separating_direction(X, y, fit_intercept=fit_intercept)
        assert (direction is not None) == brute
        if brute:
            check_direction(X, y, direction, fit_intercept=fit_intercept)
        counts[int(brute)] += 1
    assert counts.min() > 10, "both kinds must occur"


def _normals(X):
    """Return normals of the lines through pairs of points, and through the origin and each point."""
    points = np.vstack([X, np.zeros(X.shape[1])])
    edges = (points[:, None] - points[None]).reshape(-1, 2)
    return np.column_stack([-edges[:, 1], edges[:, 0]])


# --------------------------------------------------------------------------------------------- the certificate


def random_data(rng, *, rotate):
    n = int(rng.integers(8, 40))
    p = int(rng.integers(1, 4))
    X = rng.normal(size=(n, p))
    if rng.random() < 0.5:
        X[:, 0] = rng.random(n) < 0.3
    slope = rng.normal(size=p) * rng.choice([0.5, 3.0, 30.0])
    y = X @ slope + rng.logistic(size=n) > 0
    if rng.random() < 0.3:
        y = X[:, 0] > np.median(X[:, 0])
    if rotate:
        X = X @ (rng.normal(size=(p, p)) + np.eye(p)) + 3 * rng.normal(size=p)
    return X * 10.0 ** rng.integers(-3, 4, size=p), y.astype(float)


@pytest.mark.parametrize("rotate", [False, True])
def test_certified_fits_are_not_separated(rotate):
    """On hundreds of small data sets, stopped anywhere: a certificate must never be wrong, and must not be rare."""
    rng = np.random.default_rng(6)
    counts = {"certified": 0, "overlap": 0, "separated": 0}
    for _ in range(250):
        X, y = random_data(rng, rotate=rotate)
        if y.min() == y.max():
            continue
        weights = rng.uniform(0.1, 10, size=len(y)) if rng.random() < 0.5 else None
        data = LogisticData(X, np.where(y == 1, 1.0, -1.0), weights, None, True)
        try:
            fit = maximise(data, max_iter=int(rng.choice([1, 3, 100])), tol=1e-8)
        except SingularInformationError:
            continue
        squares = data.final(fit.params, squared_weights=False).squares
        certified = no_separation_certified(fit.decrement, fit.information, squares)
        separated = is_separated(X, y)
        assert not (certified and separated)
        counts["separated" if separated else "overlap"] += 1
        if fit.converged and not separated:
            assert certified, "a converged fit of overlapping data should need no linear program"
            counts["certified"] += 1
    assert min(counts.values()) > 20


def test_certificate_inequality():
    """lambda^2 p sum_ij x_ij^2 (J^-1)_jj >= 1 wherever the data are separated, at any parameters whatever."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        n, p = 15, int(rng.integers(1, 4))
        X = rng.normal(size=(n, p))
        truth = rng.normal(size=p)
        sign = np.where(X @ truth > 0, 1.0, -1.0)
        weights = rng.uniform(0.1, 5, size=n)
        data = LogisticData(X, sign, weights, None, False)
        score, information = data.summary(rng.normal(size=p) + 2 * truth)[1:]
        inverse = np.linalg.inv(information)
        decrement = np.sqrt(score @ inverse @ score)
        bound = decrement**2 * p * ((X**2).sum(axis=0) @ np.diag(inverse))
        assert bound >= 1.0
        assert not no_separation_certified(decrement, information, (X**2).sum(axis=0))


def test_numerically_singular_information_certifies_nothing():
    """At the end of a separated fit the information vanishes along the direction; its pseudo-inverse hides that."""
    vector = np.array([1.0, -1.0]) / np.sqrt(2)
    singular = 25 * (np.eye(2) - (1 - 1e-17) * np.outer(vector, vector))
    assert not no_separation_certified(1e-9, singular, np.array([50.0, 50.0]))
    assert not no_separation_certified(1e-9, np.diag([25.0, 0.0]), np.array([50.0, 50.0]))
    assert not no_separation_certified(np.nan, 25 * np.eye(2), np.array([50.0, 50.0]))
    assert no_separation_certified(1e-9, 25 * np.eye(2), np.array([50.0, 50.0]))


# ------------------------------------------------------------------------------------------------ the estimator


@pytest.mark.parametrize(
    ("entry", "name", "features", "outcome"),
    [
        ("endometrial_ml", "endometrial", ["NV", "PI", "EH"], "HG"),
        ("complete_ml", "sim_complete_separation", ["x1", "x2"], "y"),
        ("quasi_ml", "sim_quasi_separation", ["z", "x"], "y"),
        ("overlap_ml", "sim_overlap", ["x1", "x2"], "y"),
    ],
)
def test_against_r(logit_reference, reference_csv, entry, name, features, outcome):
    reference, data = logit_reference[entry], reference_csv(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = LogitRegressor().fit(data[features], data[outcome])
    infinite = [name for name in reference["infinite"] if name != "(Intercept)"]
    assert fit.separated_ == infinite
    assert fit.converged_ == (not reference["separated"])
    assert [w.category for w in caught] == [SeparationWarning] * reference["separated"]
    finite = {k: v for k, v in reference.get("finite_coef", {}).items() if k != "(Intercept)"}
    for feature, value in finite.items():
        assert fit.coef_[0, features.index(feature)] == pytest.approx(value, rel=1e-5)
    if "limit_loglik" in reference:
        assert fit.loglik_ == pytest.approx(reference["limit_loglik"], abs=1e-6)


def factor(levels, *, drop):
    return pd.get_dummies(pd.Series(levels)).drop(columns=drop).astype(float)


@pytest.mark.parametrize("sizes", [(5, 20, 20, 15), (15, 20, 20, 5), (10, 6, 6, 10)])
@pytest.mark.parametrize("reference_level", list("abcd"))
def test_factor_with_two_pure_levels(sizes, reference_level):
    """Level a has only failures and d only successes: whatever the reference level, what moves is known."""
    level = np.repeat(list("abcd"), sizes)
    mixed = np.arange(len(level)) % 2
    y = np.where(level == "a", 0, np.where(level == "d", 1, mixed))
    X = factor(level, drop=reference_level)
    with pytest.warns(SeparationWarning):
        fit = LogitRegressor().fit(X, y)
    expected = infinite_features(X.to_numpy(), y)
    by_hand = {"a": [True] * 3, "d": [True] * 3}.get(reference_level, [name in "ad" for name in X.columns])
    assert list(expected) == by_hand
    assert fit.separated_ == [name for name, found in zip(X.columns, by_hand) if found]


def test_infinite_features_of_random_tables_against_brute_force():
    rng = np.random.default_rng(8)
    n_separated = 0
    for _ in range(80):
        level = rng.choice(list("abcd"), size=25)
        X = factor(level, drop=rng.choice(list("abcd")))
        X["x"] = rng.integers(-2, 3, size=25).astype(float)
        y = ((X["x"] + rng.logistic(size=25)) > 0).to_numpy().astype(int)
        if y.min() == y.max() or np.linalg.matrix_rank(np.column_stack([np.ones(25), X])) < 5:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = LogitRegressor().fit(X, y)
        expected = [name for name, found in zip(X.columns, infinite_features(X.to_numpy(), y)) if found]
        assert fit.separated_ == expected
        n_separated += bool(expected)
    assert n_separated > 15


def test_collinear_features_are_not_infinite_for_being_collinear():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    pure = (np.arange(60) < 15).astype(float)
    y = np.where(pure == 1, 1, np.arange(60) % 2)
    X = pd.DataFrame({"pure": pure, "x": x, "twice": 2 * x})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert LogitRegressor().fit(X, y).separated_ == ["pure"]


def test_separation_is_found_beside_collinear_features():
    """Over many draws: in orthonormal coordinates the information of a separated fit is singular, not proof."""
    rng = np.random.default_rng(0)
    pure = (np.arange(60) < 15).astype(float)
    y = np.where(pure == 1, 1, np.arange(60) % 2)
    missed = []
    for seed in range(60):
        x = rng.normal(size=60)
        X = np.column_stack([pure, x, x * (1 + seed), rng.normal(size=60)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = LogitRegressor().fit(X, y)
        if fit.converged_ or "x0" not in fit.separated_:
            missed.append(seed)
    assert missed == []


def test_rotated_separated_data_are_found():
    """The separating direction need not be along a column."""
    rng = np.random.default_rng(1)
    missed = []
    for seed in range(150):
        X, y = random_data(rng, rotate=True)
        if y.min() == y.max() or not is_separated(X, y):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = LogitRegressor().fit(X, y)
        if fit.converged_ or not fit.separated_:
            missed.append(seed)
    assert missed == []


def test_rows_of_weight_zero_do_not_prevent_separation():
    x = np.arange(8.0)[:, None]
    y = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    assert LogitRegressor().fit(x, y).separated_ == []
    weights = np.array([1, 1, 1, 0, 1, 1, 1, 1])
    for weight_type in ("frequency", "sampling"):
        with pytest.warns(SeparationWarning):
            fit = LogitRegressor(weight_type=weight_type).fit(x, y, sample_weight=weights)
        assert fit.separated_ == ["x0"]
        assert not fit.converged_


@pytest.mark.parametrize("penalty", ["firth", "l2"])
def test_penalties_are_finite_and_do_not_warn(penalty):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = LogitRegressor(penalty=penalty).fit(X1, [0, 0, 0, 1, 1, 1])
    assert fit.separated_ == []
    assert fit.converged_
    assert 0 < fit.coef_[0, 0] < 5


def test_message():
    message = separation_message(["a", "b"], 5)
    assert "2 of 5 features are infinite: 'a', 'b'" in message
    assert "penalty='firth'" in message
    assert "'f9', ..." in separation_message([f"f{j}" for j in range(12)], 12)
