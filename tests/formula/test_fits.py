"""Fits of published formulas against lme4, geepack, glm and survey."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit

from .data import reference, table

FITS = {
    f"{fit['model']}, {fit['data']}: {fit['formula']}, {number}": fit for number, fit in enumerate(reference()["fits"])
}


def of_model(*models: str) -> Any:
    chosen = {name: fit for name, fit in FITS.items() if fit["model"] in models}
    return pytest.mark.parametrize("entry", chosen.values(), ids=chosen.keys())


def all_coefficients(fit: Any) -> np.ndarray:
    first = np.ravel(fit.intercept_) if fit.fit_intercept else []
    only = getattr(fit, "random_only", None) or []
    kept = [name not in only for name in getattr(fit, "feature_names_in_", [])]
    return np.concatenate([first, np.ravel(fit.coef_)[np.array(kept, dtype=bool)]])


def check_coefficients(fit: Any, entry: dict[str, Any], *, rtol: float) -> None:
    expected = np.array(list(entry["coef"].values()), dtype=float)
    scale = np.abs(np.array(entry["se"], dtype=float)) if "se" in entry else np.abs(expected).max()
    np.testing.assert_allclose((all_coefficients(fit) - expected) / scale, 0.0, atol=rtol)


def check_random_effects(fit: Any, entry: dict[str, Any], *, rtol: float) -> None:
    for block in entry["random"]:
        factor = re.sub(r"\.\d+$", "", block["factor"])
        names = ["Intercept" if name == "(Intercept)" else name for name in block["effects"]]
        ours = [re.sub(r"\[(?:T\.)?|\]", "", name) for name in fit.random_names_[factor]]
        numbers = [ours.index(name) for name in names]
        expected = np.array(block["covariance"])
        found = fit.random_covariance_[factor][np.ix_(numbers, numbers)]
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * max(np.abs(expected).max(), 1e-4))


@of_model("lmer")
def test_linear_mixed_models_of_lme4(entry):
    fit = MixedLinear.from_formula(entry["formula"], table(entry["data"]), method=entry["method"])
    assert fit.loglik_ == pytest.approx(entry["loglik"], abs=1e-6)
    check_coefficients(fit, entry, rtol=1e-4)
    assert fit.sigma2_ == pytest.approx(entry["sigma2"], rel=1e-4)
    check_random_effects(fit, entry, rtol=2e-3)


@of_model("glmer")
def test_logistic_mixed_models_of_lme4(entry):
    fit = MixedLogit.from_formula(entry["formula"], table(entry["data"]), n_quadrature=entry["n_quadrature"])
    if "cbind" not in entry["formula"]:
        assert fit.loglik_ == pytest.approx(entry["loglik"], abs=2e-4)
    check_coefficients(fit, entry, rtol=1e-3)
    check_random_effects(fit, entry, rtol=5e-3)


@of_model("geeglm")
def test_marginal_models_of_geepack(entry):
    kind = GEEClassifier if entry["family"] == "binomial" else GEERegressor
    family = {} if kind is GEEClassifier else {"family": entry["family"]}
    fit = kind.from_formula(
        entry["formula"],
        table(entry["data"]),
        groups=entry["id"],
        working_correlation=entry["corstr"],
        dof="n",
        **family,
    )
    check_coefficients(fit, entry, rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance_)), entry["se"], rtol=1e-4)


@of_model("glm")
def test_logistic_regressions_of_r(entry):
    fit = LogitRegressor.from_formula(entry["formula"], table(entry["data"]))
    check_coefficients(fit, entry, rtol=1e-7)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance_)), entry["se"], rtol=1e-6)
    if "cbind" not in entry["formula"]:
        assert fit.loglik_ == pytest.approx(entry["loglik"], abs=1e-8)


@of_model("svyglm")
def test_survey_regressions_of_r(entry):
    if entry["family"] == "gaussian":
        fit = GEERegressor.from_formula(entry["formula"], table(entry["data"]), **entry["design"])
    else:
        fit = LogitRegressor.from_formula(
            entry["formula"], table(entry["data"]), weight_type="sampling", **entry["design"]
        )
    check_coefficients(fit, entry, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance_)), entry["se"], rtol=1e-6)
