"""Models of terms.json as users fit them: linear and logistic."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skdep import MixedLinear, MixedLogit
from skdep.datasets import load_dietox, load_orthodont, load_sleepstudy
from skdep.exceptions import SingularFitWarning

REFERENCE = Path(__file__).parents[1] / "reference"
R = {name: entry for name, entry in json.loads((REFERENCE / "terms.json").read_text()).items() if name != "meta"}
LINEAR = [(name, method) for name, entry in R.items() for method in ("reml", "ml") if method in entry]
LOGIT = [name for name, entry in R.items() if "laplace" in entry]
_SHIPPED = {"sleepstudy": load_sleepstudy, "orthodont": load_orthodont, "dietox": load_dietox}


@cache
def frame(data: str) -> pd.DataFrame:
    """Return a data set with the columns that R derived."""
    if data not in _SHIPPED:
        return pd.read_csv(REFERENCE / "data" / f"{data}.csv")
    found = _SHIPPED[data]().frame
    if data == "orthodont":
        female = 1.0 * (found["Sex"] == "Female")
        found = found.assign(female=female, age_female=found["age"] * female)
    return found


def params(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that say which effects there are."""
    return {name: entry[name] for name in ("random_slopes", "random_intercept", "covariance", "random_only")}


def rows(entry: dict[str, Any]) -> dict[str, Any]:
    """Return X, y and groups."""
    data = frame(entry["data"])
    return {"X": data[entry["features"]], "y": data[entry["response"]], "groups": data[entry["groups"]].astype(str)}


@cache
def fit(name: str, method: str) -> MixedLinear | MixedLogit:
    """Fit as users do; `method` is "laplace" for logistic models."""
    entry = R[name]
    est = MixedLogit(n_quadrature=1, **params(entry))
    if method != "laplace":
        est = MixedLinear(method=method, **params(entry))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if entry[method]["singular"] else "error", SingularFitWarning)
        return est.fit(**rows(entry))


def coefficients(entry: dict[str, Any], expected: dict[str, Any], est: Any) -> tuple[np.ndarray, ...]:
    """Return coefficients and standard errors, by us and by R, in the order of ours."""
    fixed = [name for name in entry["features"] if name not in (entry["random_only"] or [])]
    theirs = list(expected["fixef"])
    order = [theirs.index(name) for name in ("(Intercept)", *fixed)]
    kept = [entry["features"].index(name) for name in fixed]
    estimate = np.concatenate([np.ravel(est.intercept_), np.ravel(est.coef_)[kept]])
    values, errors = np.array(list(expected["fixef"].values()))[order], np.array(expected["se"])[order]
    return estimate, np.sqrt(np.diag(est.covariance_)), values, errors


def check_variances(expected: dict[str, Any], est: Any, rtol: float) -> None:
    """Compare covariance matrices of effects, in units of standard deviations, and predicted effects."""
    assert list(est.random_covariance_) == list(expected["covariance"])
    for name, covariance in expected["covariance"].items():
        theirs = np.array(covariance, dtype=float)
        sds = np.sqrt(np.diag(theirs))
        unit = np.where(sds > 0, sds, 1.0)
        found = est.random_covariance_[name]
        assert np.all(np.abs(found - theirs) <= rtol * np.outer(unit, unit))
        assert np.array_equal(found == 0.0, theirs == 0.0) or (sds == 0).any()
        assert np.all(np.abs(est.random_effects_[name] - np.array(expected["random_effects"][name])) <= rtol * unit)
