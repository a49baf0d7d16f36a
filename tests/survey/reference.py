"""Reads survey.json: designs, replicate weights, fits and totals of R's survey, with the rows that they are of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

FOLDER = Path(__file__).parents[1] / "reference"
PACKAGED = Path(__file__).parents[2] / "skdep" / "datasets" / "data"


@cache
def _contents() -> dict[str, Any]:
    return json.loads((FOLDER / "survey.json").read_text())


def entries(section: str) -> dict[str, dict[str, Any]]:
    """Return a section: designs, replicates, fits, totals, weight_tests or small_sample."""
    return _contents()[section]


def names(section: str, *, having: str | None = None, without: str | None = None) -> list[str]:
    """Return the names of a section's entries, with or without a field."""
    return [
        name
        for name, entry in entries(section).items()
        if (having is None or having in entry) and (without is None or without not in entry)
    ]


def symmetric(values: list[float]) -> np.ndarray:
    """Return a symmetric matrix from its lower triangle, column by column."""
    size = int(np.sqrt(2 * len(values)))
    matrix = np.empty((size, size))
    columns, rows = np.triu_indices(size)
    matrix[rows, columns] = matrix[columns, rows] = values
    return matrix


# ------------------------------------------------------------------------------------------------------- data


@cache
def table(name: str) -> pd.DataFrame:
    """Return the rows of a data set, with the columns that R derived."""
    if name in _contents()["data"]:
        return pd.DataFrame(_contents()["data"][name])
    frame = pd.read_csv(PACKAGED / f"{name}.csv")
    return _people(frame) if name == "nhanes" else _schools(frame)


def _schools(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(
        wide=1.0 * (frame["sch.wide"] == "Yes"),
        high=1.0 * (frame["stype"] == "H"),
        middle=1.0 * (frame["stype"] == "M"),
        not_middle=1.0 * (frame["stype"] != "M"),
        improved=1.0 * (frame["comp.imp"] == "Yes"),
        few_districts=1.0 * (~frame["dnum"].isin([61, 413, 448]) & (frame["ell"] > 5)),
        enrolled=1.0 * frame["enroll"].notna(),
        log_enroll=np.log(frame["enroll"].fillna(1.0)),
    )


def _people(frame: pd.DataFrame) -> pd.DataFrame:
    known = frame["HI_CHOL"].notna()
    ages = {f"age{k}": 1.0 * (frame["agecat"] == f"({age}]") for k, age in zip((2, 3, 4), ("19,39", "39,59", "59,Inf"))}
    outside = (frame["SDMVSTRA"] == 80) | ((frame["SDMVSTRA"] == 85) & (frame["SDMVPSU"] == 2))
    return frame.assign(
        **ages,
        known=1.0 * known,
        HI_CHOL=frame["HI_CHOL"].fillna(0.0),
        women=1.0 * (known & (frame["RIAGENDR"] == 2) & (frame["race"] > 1)),
        one_stratum_less=1.0 * (known & ~outside),
    )


# ----------------------------------------------------------------------------------------------------- designs


@dataclass(frozen=True)
class Design:
    """A design as `fit` takes it, a Series for one column; weights are zero outside the domain."""

    name: str
    frame: pd.DataFrame
    groups: pd.Series | pd.DataFrame | None
    strata: pd.Series | pd.DataFrame | None
    fpc: pd.Series | pd.DataFrame | None
    weights: np.ndarray
    lonely_psu: str
    degf: int

    @property
    def arguments(self) -> dict[str, Any]:
        """What `survey_design` takes."""
        return {
            "groups": self.groups,
            "strata": self.strata,
            "fpc": self.fpc,
            "weights": self.weights,
            "lonely_psu": self.lonely_psu,
        }

    @property
    def metadata(self) -> dict[str, Any]:
        """What `fit` takes."""
        return {"groups": self.groups, "strata": self.strata, "fpc": self.fpc, "sample_weight": self.weights}


def design(name: str, *, domain: str | None = None) -> Design:
    """Return a design of R, perhaps in a further domain."""
    entry = entries("designs")[name]
    frame = table(entry["data"])
    weights = frame[entry["weights"]].to_numpy(dtype=float)
    for column in (entry["domain"], domain):
        weights = weights if column is None else weights * frame[column].to_numpy()
    lonely = entry["lonely"]
    return Design(
        name=name,
        frame=frame,
        groups=_columns(frame, entry["groups"]),
        strata=_columns(frame, entry["strata"]),
        fpc=_columns(frame, entry["fpc"]),
        weights=weights,
        lonely_psu="remove" if lonely == "certainty" else lonely,  # the same in R
        degf=entry["degf"],
    )


def _columns(frame: pd.DataFrame, columns: list[str] | None) -> pd.Series | pd.DataFrame | None:
    if columns is None:
        return None
    return frame[columns[0]] if len(columns) == 1 else frame[columns]


# ----------------------------------------------------------------------------------------------- replicate weights


@dataclass(frozen=True)
class Replicates:
    """Replicate weights: (n_rows, n_replicates), the sampling weights included, and how squares are added up."""

    name: str
    design: Design
    weights: np.ndarray
    scale: float
    rscales: np.ndarray
    mse: bool
    degf: int


def replicates(name: str, *, domain: str | None = None) -> Replicates:
    """Return replicate weights of R, zero outside the domain; those of a jackknife made by its definition."""
    entry = entries("replicates")[name]
    of = design(entry["design"], domain=domain)
    if "weights" in entry:
        factors = np.array(entry["weights"])[entry["index"]]
    else:
        factors = jackknife_factors(of)
        assert factors.shape[1] == entry["n_replicates"]
    combined = entry["combined_weights"]
    weights = np.where(of.weights[:, None] > 0, factors, 0.0) if combined else of.weights[:, None] * factors
    rscales = np.repeat(entry["rscales"], entry["rscales_run"])
    return Replicates(name, of, weights, entry["scale"], rscales, entry["mse"], entry["degf"])


def jackknife_factors(of: Design) -> np.ndarray:
    """Return 0 for the unit left out, n / (n - 1) for the others of its stratum, 1 elsewhere.

    Units are in the order of their strata's first rows and their own, as in R.
    """
    n_rows = len(of.frame)
    stratum = np.zeros(n_rows, dtype=int) if of.strata is None else pd.factorize(of.strata)[0]
    label = np.arange(n_rows) if of.groups is None else pd.factorize(of.groups)[0]
    _, first, unit = np.unique(stratum * n_rows + label, return_index=True, return_inverse=True)
    inside = coo_array((np.ones(n_rows), (np.arange(n_rows), unit))).toarray()
    same_stratum = stratum[:, None] == stratum[first]
    n_units = np.bincount(stratum[first])[stratum[first]]
    return np.where(inside > 0, 0.0, np.where(same_stratum, n_units / (n_units - 1), 1.0))


# -------------------------------------------------------------------------------------------------------- fits


@dataclass(frozen=True)
class Fit:
    """A fit of R with its rows."""

    name: str
    entry: dict[str, Any]
    design: Design
    replicates: Replicates | None
    X: pd.DataFrame
    y: np.ndarray
    offset: np.ndarray | None

    @property
    def coef(self) -> np.ndarray:
        return np.array(self.entry["coef"])

    @property
    def cov(self) -> np.ndarray:
        return symmetric(self.entry["cov"])

    @property
    def standard_errors(self) -> np.ndarray:
        return np.sqrt(np.diag(self.cov))

    @property
    def naive_cov(self) -> np.ndarray:
        """The inverse information of weights whose mean is one over the rows of positive weight.

        R has the mean over its rows, those of weight zero included.
        """
        return symmetric(self.entry["naive_cov"]) * self.entry["n_rows"] / np.sum(self.design.weights > 0)

    @property
    def features(self) -> np.ndarray:
        """The columns of the model, the intercept first."""
        return np.column_stack([np.ones(len(self.y)), self.X])


def fit(name: str) -> Fit:
    """Return a fit of R."""
    entry = entries("fits")[name]
    repeated = replicates(entry["replicates"], domain=entry["domain"]) if "replicates" in entry else None
    of = design(entry["design"]) if repeated is None else repeated.design
    return Fit(
        name=name,
        entry=entry,
        design=of,
        replicates=repeated,
        X=of.frame[entry["features"]].astype(float),
        y=of.frame[entry["response"]].to_numpy(dtype=float),
        offset=None if entry["offset"] is None else of.frame[entry["offset"]].to_numpy(dtype=float),
    )
