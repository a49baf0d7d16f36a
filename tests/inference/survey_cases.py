"""Fits of survey_tests.json: the rows, and estimators fitted to them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import skdep.datasets
from skdep import GEERegressor, LogitRegressor
from tests.conftest import REFERENCE

PACKAGED = Path(skdep.datasets.__file__).parent / "data"
FITS: dict[str, dict[str, Any]] = json.loads((REFERENCE / "survey_tests.json").read_text())["fits"]
LOGIT = [name for name, case in FITS.items() if case["family"] == "quasibinomial"]
WITHOUT_STRATA = ["strat_weights", "clus1_gaussian", "clus1_poisson"]
WITH_DESIGN = ["strat", "strat_domain", "clus1", "no_intercept", "strat_gaussian", "strat_poisson"]


@cache
def table(name: str) -> pd.DataFrame:
    """Return the rows of a data set, with the columns that R derived."""
    if name.startswith("sim_"):
        return pd.read_csv(REFERENCE / "data" / f"{name}.csv")
    frame = pd.read_csv(PACKAGED / f"{name}.csv")
    return frame.assign(
        wide=(frame["sch.wide"] == "Yes").astype(int),
        gain=np.maximum(frame["api00"] - frame["api99"], 0),
        improved=(frame["comp.imp"] == "Yes").astype(int),
    )


def design(name: str) -> dict[str, Any]:
    """Return the metadata of a case as keywords of fit; outside its domain weights are zero."""
    case, rows = FITS[name], table(FITS[name]["data"])
    weights = rows[case["weights"]].to_numpy(dtype=float)
    if "domain" in case:
        weights = weights * rows[case["domain"]]
    found: dict[str, Any] = {"sample_weight": weights}
    for part in ("groups", "fpc"):
        if part in case:
            found[part] = rows[case[part]] if len(case[part]) > 1 else rows[case[part][0]]
    if "strata" in case:
        found["strata"] = rows[case["strata"]]
    return found


def rows_of(name: str, columns: list[str]) -> tuple[pd.DataFrame, pd.Series]:
    """Return features and outcome of a case."""
    case = FITS[name]
    rows = table(case["data"])
    return rows[columns], rows[case["response"]]


@cache
def fitted(name: str, part: str = "features") -> Any:
    """Return the logistic fit of a case to its features, or to the reduced ones."""
    case = FITS[name]
    est = LogitRegressor(weight_type="sampling", fit_intercept=case["intercept"], tol=1e-10)
    return est.fit(*rows_of(name, case[part]), **design(name))


@cache
def fitted_gee(name: str, part: str = "features") -> Any:
    """Return the fit of a case by a GEE with independence."""
    case = FITS[name]
    family = case["family"].removeprefix("quasi")
    est = GEERegressor(family, fit_intercept=case["intercept"], tol=1e-11)
    return est.fit(*rows_of(name, case[part]), **design(name))


def new_terms(name: str) -> list[str]:
    """Return the features that the reduced model lacks."""
    case = FITS[name]
    return [feature for feature in case["features"] if feature not in case["reduced"]]
