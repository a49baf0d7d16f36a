"""Peak memory of a fit at two sizes, each in a process of its own: it should grow with the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData, intercepts_and_slopes, ratings
from benchmarks.programs import glmm, mixedlm, mixedlm_rs, ours_mixed
from benchmarks.simulate import Data, clustered_binary
from benchmarks.table import Table
from benchmarks.timing import Options, Program

__all__ = ["MIXED_PROGRAMS", "peak_memory", "peak_memory_mixed"]

_ROOT = Path(__file__).resolve().parents[2]
_SIZES = (1_000_000, 2_000_000)
_QUICK_SIZES = (200_000, 400_000)  # smaller ones drown in what Python keeps in reserve
_STRUCTURES = ("independence", "exchangeable", "ar1", "unstructured")
MIXED_PROGRAMS: dict[str, Callable[[], Program]] = {
    "skdep": ours_mixed.mixed,
    "glmm": glmm.mixed,
    "mixedlm-rs": mixedlm_rs.mixed,
    "mixedlm": mixedlm.mixed,
}


def peak_memory(options: Options) -> Table:
    """Measure by how much a GEE fit raises the peak resident size above interpreter, libraries and data."""
    rows: list[dict[str, Any]] = []
    for n_rows in _sizes(options):
        data = clustered_binary(n_rows // 5, 5, 5)
        rows += _measure_all(data, [(f"skdep, {structure}", "gee", structure) for structure in _STRUCTURES])
    rows.sort(key=lambda row: row["program"])
    return Table(
        "Memory of a GEE fit",
        "Clusters of 5 rows, 5 features. Growth is linear where the bytes a row are the same at both sizes.",
        rows,
    )


def peak_memory_mixed(options: Options) -> Table:
    """Measure the same of linear mixed models: of one factor with slopes, and of two crossed ones."""
    rows: list[dict[str, Any]] = []
    absent: list[dict[str, Any]] = []
    programs: list[tuple[str, str, str]] = []
    for name, program in MIXED_PROGRAMS.items():
        missing = program().missing()
        if missing:
            absent.append({"program": f"{name}, slopes", "remark": f"not installed ({missing})"})
        else:
            programs.append((f"{name}, slopes", "mixed", name))
    for n_rows in _sizes(options):
        rows += _measure_all(intercepts_and_slopes(n_rows // 10), programs)
    for n_users in (300, 600) if options.quick else (6_040, 12_080):
        rows += _measure_all(ratings(n_users), [("skdep, ratings", "mixed", "skdep")])
    rows.sort(key=lambda row: row["program"])
    return Table(
        "Memory of a linear mixed model",
        "Slopes: groups of 10 rows, 5 features, correlated intercepts and slopes. Ratings: users and movies crossed, "
        "where matrices of movies by movies come on top.",
        rows + absent,
    )


def _sizes(options: Options) -> tuple[int, int]:
    return _QUICK_SIZES if options.quick else _SIZES


def _measure_all(data: Data | MixedData, programs: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return a row for each name, kind and program of `memory_of_fit`."""
    arrays = {name: value for name, value in vars(data).items() if isinstance(value, np.ndarray)}
    size, n_rows = sum(array.nbytes for array in arrays.values()), len(data.y)
    rows = []
    with TemporaryDirectory() as folder:
        for name, array in arrays.items():
            np.save(Path(folder) / f"{name}.npy", array)
        for name, kind, which in programs:
            extra = _measure(Path(folder), kind, which)
            measured = {"data MB": size / 1e6, "fit adds MB": extra / 1e6, "bytes a row": extra / n_rows}
            rows.append({"program": name, "rows": n_rows, **measured})
    return rows


def _measure(folder: Path, kind: str, which: str) -> float:
    """Return the bytes that a fit adds, measured in a new process that loads the data and does nothing else."""
    command = [sys.executable, "-m", "benchmarks.memory_of_fit", str(folder), kind, which]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    return float(result["after"] - result["before"])
