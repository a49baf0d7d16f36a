"""Time and memory of a GEE over Parquet files that are larger than the memory allowed.

Run it as ``python -m benchmarks.out_of_core``. Clusters of five visits, six features, a binary outcome with an
exchangeable correlation. Each fit has a process of its own; its peak memory is that of the whole process, interpreter
and libraries included. The file is written in pieces and removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from benchmarks.table import Table

__all__ = ["FEATURES", "fit_file", "main", "write_file"]

FEATURES = [f"x{j}" for j in range(6)]
_SIZE = 5
_PIECE = 100_000  # clusters of a row group


def write_file(path: Path, n_clusters: int, seed: int = 0) -> None:
    """Write clusters of five rows, in row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(seed), None
    for first in range(0, n_clusters, _PIECE):
        groups = np.repeat(np.arange(first, min(first + _PIECE, n_clusters)), _SIZE)
        X = rng.normal(size=(len(groups), len(FEATURES)))
        effect = np.repeat(rng.normal(size=len(groups) // _SIZE), _SIZE)
        y = rng.random(len(groups)) < expit(X[:, 0] - 0.5 * X[:, 1] + effect - 0.5)
        columns = {name: X[:, j] for j, name in enumerate(FEATURES)} | {"y": y.astype(np.int8), "id": groups}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def fit_file(path: Path, correlation: str, rows: int) -> dict[str, float]:
    """Fit, and return seconds, peak memory and what tells that the fit is right."""
    from skdep import GEEClassifier
    from skdep.distributed import ParquetChunks, fit_chunks

    begin = time.perf_counter()
    chunks = ParquetChunks(path, features=FEATURES, target="y", groups="id", rows=rows)
    fit = fit_chunks(GEEClassifier(working_correlation=correlation), chunks)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "peak MiB": peak,
        "steps": fit.n_iter_,
        "alpha": float(fit.association_),
        "coef of x0": float(fit.coef_[0, 0]),
        "converged": float(fit.converged_),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write files, fit each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.out_of_core", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_500_000, 5_000_000, 10_000_000], metavar="N")
    parser.add_argument("--chunk", type=int, default=250_000, help="rows of a chunk")
    parser.add_argument("--correlation", default="exchangeable")
    parser.add_argument("--fit", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.fit:
        print(json.dumps(fit_file(options.fit, options.correlation, options.chunk)))
        return
    found = []
    with tempfile.TemporaryDirectory() as directory:
        for n_rows in options.rows:
            path = Path(directory) / "visits.parquet"
            write_file(path, n_rows // _SIZE)
            command = [sys.executable, "-m", "benchmarks.out_of_core", "--fit", str(path)]
            command += ["--chunk", str(options.chunk), "--correlation", options.correlation]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            size = path.stat().st_size / 2**20
            found.append(
                {
                    "rows": n_rows,
                    "clusters": n_rows // _SIZE,
                    "file MiB": size,
                    **{key: value for key, value in result.items() if key != "seconds"},
                    "s": result["seconds"],
                    "microseconds a row": 1e6 * result["seconds"] / n_rows,
                }
            )
            path.unlink()
    description = f"GEE with working correlation {options.correlation!r}, chunks of {options.chunk:,} rows."
    formats = {"file MiB": ".0f", "peak MiB": ".0f", "s": ".1f", "alpha": ".4f", "coef of x0": ".4f", "steps": ".0f"}
    print(Table("Out of core", description, found, formats=formats))


if __name__ == "__main__":
    main()
