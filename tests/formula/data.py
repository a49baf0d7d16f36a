"""Reference results of R for formulas, and the tables they were computed from."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("formulaic", reason="formulas need formulaic")

REFERENCE = Path(__file__).parents[1] / "reference"


@cache
def reference() -> dict[str, Any]:
    """Return ``formula.json``: see tests/reference/README.md."""
    return json.loads((REFERENCE / "formula.json").read_text())


def design_rows(which: str = "data") -> pd.DataFrame:
    """Return the small table of the design matrices, or its new rows."""
    return pd.DataFrame(reference()[which])


def table(name: str) -> pd.DataFrame:
    """Return a table by the name that it has in ``formula.R``."""
    if name in reference()["tables"]:
        return pd.DataFrame(reference()["tables"][name])
    if name == "seizure":
        return pd.read_csv(REFERENCE / "data" / "seizure_long.csv")
    frame = pd.read_csv(str(files("skdep.datasets") / "data" / f"{name}.csv"))
    if name == "respiratory":
        frame["person"] = frame["center"].astype(str) + " " + frame["id"].astype(str)
    return frame
