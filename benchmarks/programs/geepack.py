"""R's geepack, in a process of its own that times nothing but the fit."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.programs import ours
from benchmarks.simulate import Data
from benchmarks.timing import Estimates, Program

__all__ = ["gee", "geepack_version"]

_SCRIPT = Path(__file__).with_name("geepack.R")
_NOTE = 'divides moments by numbers of rows and pairs; compared to skdep with dof="n". tight: epsilon = 1e-10 for 1e-4.'


@cache
def geepack_version() -> str | None:
    """Return the version of geepack, None without R or without it."""
    if shutil.which("Rscript") is None:
        return None
    code = 'if (requireNamespace("geepack", quietly = TRUE)) cat(as.character(packageVersion("geepack")))'
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def _missing() -> str | None:
    return None if geepack_version() else "Rscript" if shutil.which("Rscript") is None else "geepack"


def _write(data: Data, folder: Path) -> tuple[Path, int]:
    """Write the columns cluster, wave, y, features as doubles, one after another."""
    path = folder / "data.bin"
    np.column_stack([data.groups, data.time + 1, data.y, data.X]).ravel(order="F").tofile(path)
    return path, data.X.shape[1]


def gee(structure: str, *, effort: str = "normal", note: str = "") -> Program:
    """Time geeglm alone, after reading the data."""

    def fit(prepared: tuple[Path, int], epsilon: float = 1e-4, max_iter: int = 25) -> Estimates:
        path, n_features = prepared
        command = ["Rscript", str(_SCRIPT), str(path), str(n_features), structure, str(epsilon), str(max_iter)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        result = json.loads(done.stdout)
        return Estimates(np.array(result["coef"]), np.array(result["std_error"]), result["seconds"])

    return Program(
        "geepack geeglm",
        fit,
        _write,
        None if effort == "hopeless" else partial(fit, epsilon=1e-10, max_iter=500),
        reference=ours.gee_estimates(structure, "n"),
        missing=_missing,
        note=" ".join(filter(None, [_NOTE, note])),
        effort=effort,
        own_process=True,
    )
