"""Random hard cases against the best optimum that lme4 was made to find: see tests/reference/README.md."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from skdep import MixedLinear

from .fuzz_cases import RECIPES, FuzzCase, case_names, make_case

REFERENCE = Path(__file__).parents[1] / "reference" / "mixed_fuzz.json"
LME4 = {name: entry for name, entry in json.loads(REFERENCE.read_text()).items() if name != "meta"}
SUBSET = case_names()[::7]  # of every kind, REML and ML


def fit(case: FuzzCase, rows=slice(None), unit: float = 1.0) -> MixedLinear:
    """Fit some rows of a case in some order, with the outcome in another unit."""
    metadata = {"groups": case.groups.iloc[rows]}
    if case.weights is not None:
        metadata["sample_weight"] = case.weights[rows]
    if case.offset is not None:
        metadata["offset"] = unit * case.offset[rows]
    model = MixedLinear(random_slopes=case.slopes, **case.params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(case.X.iloc[rows], unit * case.y[rows], **metadata)


@cache
def fitted(name: str) -> MixedLinear:
    return fit(make_case(name))


def names_of(recipe: str) -> list[str]:
    return [name for name in case_names() if name.rsplit("_", 1)[0] == recipe]


def tolerance(loglik: float) -> float:
    return max(1e-6, 1e-9 * abs(loglik))


def agrees(name: str) -> bool:
    """Whether both ended at the same optimum, found well enough that estimates can be compared."""
    return abs(fitted(name).loglik_ - LME4[name]["loglik"]) < 1e-8 * max(1.0, abs(LME4[name]["loglik"]))


def estimated_coefficients(case: FuzzCase, estimator: MixedLinear, kept: np.ndarray) -> np.ndarray:
    """Return ``[intercept, *coef]`` of the columns kept, with the fitted values of all columns."""
    coef = np.r_[[estimator.intercept_] if case.params["fit_intercept"] else [], estimator.coef_]
    if kept.all():
        return coef
    X = case.X.to_numpy()
    if case.params["fit_intercept"]:
        X = np.column_stack([np.ones(len(X)), X])
    return np.linalg.lstsq(X[:, kept], X @ coef, rcond=None)[0]


def dense_loglik(case: FuzzCase, estimator: MixedLinear, coef_of_lme4: list) -> float:
    """Evaluate the likelihood by the QR factorisation of [Z T, X, y; I, 0, 0], which keeps twice the digits of Z'Z."""
    n, weights = len(case.y), np.ones(len(case.y)) if case.weights is None else case.weights
    X = case.X.to_numpy(dtype=float).reshape(n, -1)
    if case.params["fit_intercept"]:
        X = np.column_stack([np.ones(n), X])
    X = X[:, [value is not None for value in coef_of_lme4]]
    Z = np.column_stack([effect for factor in case.groups for effect in dense_effects(case, estimator, factor)])
    q, p = Z.shape[1], X.shape[1]
    y = case.y if case.offset is None else case.y - case.offset
    rows = np.sqrt(weights)[:, None] * np.column_stack([Z, X, y])
    pivots = np.abs(np.diag(np.linalg.qr(np.vstack([rows, np.eye(q, q + p + 1)]), mode="r")))
    degrees = case.n_effective - (p if case.reml else 0)
    log_weights = np.log(weights).sum() if case.params["weight_type"] == "precision" else 0.0
    log_det = np.log(pivots[: q + p if case.reml else q]).sum()
    return 0.5 * (log_weights - degrees * (1.0 + np.log(2.0 * np.pi * pivots[-1] ** 2 / degrees))) - log_det


def dense_effects(case: FuzzCase, estimator: MixedLinear, factor: str) -> list[np.ndarray]:
    """Return the columns of Z T of a factor's levels, from slopes centred and scaled: T is then well determined."""
    features = case.X[case.slopes.get(factor, [])].to_numpy(dtype=float).reshape(len(case.y), -1)
    centred = case.params["random_intercept"] and case.params["covariance"] == "full"
    centre = features.mean(axis=0) if centred else np.zeros(features.shape[1])
    scale = np.sqrt(np.mean((features - centre) ** 2, axis=0))
    Z, change = (features - centre) / scale, np.diag(scale)
    if case.params["random_intercept"]:
        Z = np.column_stack([np.ones(len(Z)), Z])
        change = np.block([[np.ones((1, 1)), centre[None, :]], [np.zeros((len(scale), 1)), change]])
    size, vectors = np.linalg.eigh(change @ estimator.random_covariance_[factor] @ change.T / estimator.sigma2_)
    effects = Z @ (vectors * np.sqrt(np.maximum(size, 0.0)))
    codes = case.groups[factor].to_numpy()
    return [effects * (codes == level)[:, None] for level in np.unique(codes)]


def test_reference_has_every_case():
    assert set(LME4) == set(case_names())
    assert len(LME4) >= 360


@pytest.mark.parametrize("recipe", RECIPES)
def test_likelihood_is_never_below_that_of_lme4(recipe):
    worse = {}
    for name in names_of(recipe):
        best = LME4[name]["loglik"]
        gained = fitted(name).loglik_ - best
        if not gained >= -tolerance(best):
            worse[name] = gained
    assert not worse


@pytest.mark.parametrize("recipe", RECIPES)
def test_fit_converges_to_finite_estimates(recipe):
    wrong = {}
    for name in names_of(recipe):
        estimator = fitted(name)
        effects = [*estimator.random_effects_.values(), *estimator.random_covariance_.values()]
        numbers = np.concatenate([np.ravel(part) for part in (estimator.coef_, estimator.sigma2_, *effects)])
        if not (estimator.converged_ and np.isfinite(estimator.intercept_) and np.isfinite(numbers).all()):
            wrong[name] = estimator.optimization_
    assert not wrong


@pytest.mark.parametrize("recipe", RECIPES)
def test_singular_fits_are_those_of_lme4(recipe):
    """lme4's flag is of standardised features; fits near its limit are left out."""
    wrong = {}
    for name in names_of(recipe):
        entry = LME4[name]
        smallest = min(entry["theta_min"], entry["ratio_min"])
        if agrees(name) and (smallest > 1e-3 or entry["theta_min"] < 1e-5):
            assert entry["singular"] == (smallest <= 1e-3)
            if fitted(name).singular_ != entry["singular"]:
                wrong[name] = entry["theta_min"], fitted(name).random_covariance_
    assert not wrong


@pytest.mark.parametrize("recipe", RECIPES)
def test_estimates_are_those_of_lme4(recipe):
    """Coefficients in their standard errors and variances in the residual variance, where the optima are the same."""
    wrong = {}
    for name in names_of(recipe):
        entry, case, estimator = LME4[name], make_case(name), fitted(name)
        if not agrees(name):
            continue
        expected, errors = np.array([entry["coef"], entry["se"]], dtype=float)
        kept = ~np.isnan(expected)
        apart = (estimated_coefficients(case, estimator, kept) - expected[kept]) / errors[kept]
        if np.max(np.abs(apart), initial=0.0) > 1e-4 or abs(estimator.sigma2_ / entry["sigma2"] - 1.0) > 1e-4:
            wrong[name] = apart, estimator.sigma2_, entry["sigma2"]
    assert not wrong


@pytest.mark.parametrize("recipe", RECIPES)
def test_likelihood_is_that_of_dense_matrices_at_the_estimates(recipe):
    wrong = {}
    for name in names_of(recipe):
        estimator = fitted(name)
        apart = estimator.loglik_ - dense_loglik(make_case(name), estimator, LME4[name]["coef"])
        if not abs(apart) < tolerance(estimator.loglik_):
            wrong[name] = apart
    assert not wrong


@pytest.mark.parametrize("name", SUBSET)
def test_order_of_rows_does_not_matter(name):
    case = make_case(name)
    again = fit(case, rows=np.random.RandomState(0).permutation(len(case.y)))
    assert again.loglik_ == pytest.approx(fitted(name).loglik_, abs=tolerance(LME4[name]["loglik"]))


@pytest.mark.parametrize("name", SUBSET)
def test_unit_of_the_outcome_does_not_matter(name):
    """The density of y in another unit is that of y, divided by the unit, for each row (less those that REML takes)."""
    case, unit = make_case(name), 2.5e4
    lost = sum(value is not None for value in LME4[name]["coef"]) if case.reml else 0
    again = fit(case, unit=unit).loglik_ + (case.n_effective - lost) * np.log(unit)
    assert again == pytest.approx(fitted(name).loglik_, abs=tolerance(LME4[name]["loglik"]))
