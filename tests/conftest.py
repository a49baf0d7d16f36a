"""Fixtures shared by all tests: results of R, and the data they were computed from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def logit_reference() -> dict[str, Any]:
    """Results of R for logistic regression, by entry: see tests/reference/README.md."""
    return json.loads((REFERENCE / "logit.json").read_text())


@pytest.fixture(scope="session")
def reference_csv() -> Callable[[str], pd.DataFrame]:
    """Return a function that reads ``tests/reference/data/<name>.csv``."""
    return lambda name: pd.read_csv(REFERENCE / "data" / f"{name}.csv")
