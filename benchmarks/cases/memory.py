"""Peak memory of a GEE fit at two sizes, each in a process of its own: it should grow with the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.simulate import Data, clustered_binary
from benchmarks.table import Table
from benchmarks.timing import Options

__all__ = ["peak_memory"]

_ROOT = Path(__file__).resolve().parents[2]
_SIZES = (1_000_000, 2_000_000)
_QUICK_SIZES = (200_000, 400_000)  # smaller ones drown in what Python keeps in reserve
_STRUCTURES = ("independence", "exchangeable", "ar1", "unstructured")


def peak_memory(options: Options) -> Table:
    """Measure by how much a fit raises the peak resident size above interpreter, libraries and data."""
    rows: list[dict[str, Any]] = []
    for n_rows in _QUICK_SIZES if options.quick else _SIZES:
        data = clustered_binary(n_rows // 5, 5, 5)
        size = data.X.nbytes + data.y.nbytes + data.groups.nbytes + data.time.nbytes
        with TemporaryDirectory() as folder:
            _save(data, Path(folder))
            for structure in _STRUCTURES:
                extra = _measure(Path(folder), structure)
                rows.append(
                    {
                        "program": f"skdep, {structure}",
                        "rows": n_rows,
                        "data MB": size / 1e6,
                        "fit adds MB": extra / 1e6,
                        "bytes a row": extra / n_rows,
                    }
                )
    rows.sort(key=lambda row: row["program"])
    return Table(
        "Memory of a GEE fit",
        "Clusters of 5 rows, 5 features. Growth is linear where the bytes a row are the same at both sizes.",
        rows,
    )


def _save(data: Data, folder: Path) -> None:
    for name in ("X", "y", "groups", "time"):
        np.save(folder / f"{name}.npy", getattr(data, name))


def _measure(folder: Path, structure: str) -> float:
    """Return the bytes that a fit adds, measured in a new process that loads the data and does nothing else."""
    command = [sys.executable, "-m", "benchmarks.memory_of_fit", str(folder), structure]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    return float(result["after"] - result["before"])
