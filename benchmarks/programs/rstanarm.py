"""R's rstanarm, Stan's models compiled beforehand, in a process of its own that times nothing but the call."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bayes_data import INTERCEPT_SCALE, SD_MEAN, SLOPE_SCALE, BayesData
from benchmarks.programs.r_mixed import r_package_version
from benchmarks.sampling import Sampled, sampled
from benchmarks.timing import Program

__all__ = ["posterior"]

_SCRIPT = Path(__file__).with_suffix(".R")


def posterior(n_draws: int = 1_000, *, n_processes: int = 1, **options: Any) -> Program:
    """Time `stan_glm`, or `stan_glmer` where there are groups, with a warm-up as long as the draws, its default.

    A process more takes seconds to load Stan: chains should run at once only where they take longer.
    """
    seeds = count(1)

    def fit(prepared: tuple[Path, BayesData]) -> Sampled:
        path, data = prepared
        target = path.with_name("draws.bin")
        settings = [data.X.shape[1], int(data.groups is not None), n_draws, next(seeds), n_processes]
        scales = [INTERCEPT_SCALE, SLOPE_SCALE, SD_MEAN]
        command = ["Rscript", str(_SCRIPT), str(path), *map(str, settings), *map(str, scales), str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        found = json.loads(done.stdout)
        draws = np.fromfile(target).reshape(found["shape"], order="F").swapaxes(0, 1)
        # what processes that R starts spend is not in what it says of itself
        cpu_seconds = found["cpu_seconds"] if n_processes == 1 else None
        return sampled(np.ascontiguousarray(draws), found["seconds"], cpu_seconds=cpu_seconds, warm_up=found["warm_up"])

    chains = "one after another, its default" if n_processes == 1 else f"{n_processes} at once"
    return Program(
        "rstanarm",
        fit,
        _write,
        missing=_missing,
        note=f"four chains, {chains}; its models are compiled when it is installed.",
        own_process=True,
        **options,
    )


def _missing() -> str | None:
    if r_package_version("rstanarm"):
        return None
    return "Rscript" if shutil.which("Rscript") is None else "rstanarm"


def _write(data: BayesData, folder: Path) -> tuple[Path, BayesData]:
    """Write the columns y, features, groups as doubles, one after another."""
    path = folder / "data.bin"
    groups = [] if data.groups is None else [data.groups]
    np.column_stack([data.y, data.X, *groups]).ravel(order="F").tofile(path)
    return path, data
