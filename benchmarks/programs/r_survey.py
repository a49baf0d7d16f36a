"""R's survey, in a process of its own that times nothing but the fit."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.programs import ours_survey
from benchmarks.programs.r_mixed import r_package_version
from benchmarks.survey_data import SurveyData
from benchmarks.timing import Estimates, Program

__all__ = ["replicate_logit"]

_SCRIPT = Path(__file__).with_suffix(".R")
_NOTE = "svrepdesign, which finds the rank of the weights by a QR factorisation, is not timed. tight: epsilon = 1e-14."


def _missing() -> str | None:
    return None if r_package_version("survey") else "Rscript" if shutil.which("Rscript") is None else "survey"


def _write(data: SurveyData, folder: Path) -> tuple[str, ...]:
    """Write columns of doubles, one after another, and return the arguments of the script."""
    rows, weights = folder / "data.bin", folder / "weights.bin"
    np.column_stack([data.y, data.weights, data.X]).ravel(order="F").tofile(rows)
    data.replicates.ravel(order="F").tofile(weights)
    return str(rows), str(weights), str(data.X.shape[1]), str(data.replicates.shape[1])


def replicate_logit(**options: int) -> Program:
    """Time svyglm with replicate weights."""

    def fit(prepared: tuple[str, ...], epsilon: float = 1e-8) -> Estimates:
        done = subprocess.run(["Rscript", str(_SCRIPT), *prepared, str(epsilon)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        found = json.loads(done.stdout)
        return Estimates(np.array(found["coef"]), np.array(found["std_error"]), found["seconds"])

    return Program(
        "survey svyglm",
        fit,
        _write,
        partial(fit, epsilon=1e-14),
        reference=ours_survey.replicate_estimates,
        missing=_missing,
        note=_NOTE,
        own_process=True,
        **options,
    )
