"""Time of imports, each in a new interpreter."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Table
from benchmarks.timing import Options

__all__ = ["import_time"]

_ROOT = Path(__file__).resolve().parents[2]
_BASELINE = "import sklearn.base"
# What is timed, what runs before it untimed, and the module that must be installed.
_STATEMENTS = (
    (_BASELINE, "", "sklearn"),
    ("import skdep", "", "skdep"),
    ("from skdep import GEERegressor", "", "skdep"),
    ("from skdep import GEERegressor", _BASELINE, "skdep"),
    ("from skdep import LogitRegressor", _BASELINE, "skdep"),
    ("from sklearn.linear_model import LogisticRegression", _BASELINE, "sklearn"),
    ("import statsmodels.api", "", "statsmodels"),
    ("import glum", "", "glum"),
)


def import_time(options: Options) -> Table:
    """Time imports in interleaved rounds, at least 7 of them."""
    installed = [find_spec(module) is not None for _, _, module in _STATEMENTS]
    seconds: list[list[float]] = [[] for _ in _STATEMENTS]
    for _ in range(2 if options.quick else max(7, options.repeats)):
        for number, (statement, before, _) in enumerate(_STATEMENTS):
            if installed[number]:
                seconds[number].append(_time(statement, before))
    baseline = np.array(seconds[0])
    rows: list[dict[str, Any]] = []
    for (statement, before, _), found in zip(_STATEMENTS, seconds):
        row: dict[str, Any] = {"program": statement + (f", after {before}" if before else "")}
        if not found:
            rows.append({**row, "remark": "not installed"})
            continue
        row |= {"best s": min(found), "median s": float(np.median(found)), "seconds": found}
        rows.append({**row, "times sklearn.base": float(np.median(found / baseline))})
    return Table("Import", "Each in a new interpreter, files in the cache of the system.", rows)


def _time(statement: str, before: str) -> float:
    code = f"import time; {before or 'pass'}; begin = time.perf_counter(); {statement}; "
    code += "print(time.perf_counter() - begin)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=_ROOT)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return float(done.stdout)
