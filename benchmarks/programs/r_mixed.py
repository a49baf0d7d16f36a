"""R's lme4 and glmmTMB, in a process of its own that times nothing but the fit."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.programs import ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed", "mixed_logit", "r_package_version"]

_SCRIPT = Path(__file__).with_suffix(".R")


@cache
def r_package_version(package: str) -> str | None:
    """Return the version of a package of R, None without R or without it."""
    if shutil.which("Rscript") is None:
        return None
    code = f'if (requireNamespace("{package}", quietly = TRUE)) cat(as.character(packageVersion("{package}")))'
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def _write(data: MixedData, folder: Path) -> tuple[Path, MixedData]:
    """Write the columns y, features, factors as doubles, one after another."""
    path = folder / "data.bin"
    np.column_stack([data.y, data.X, *data.factors()]).ravel(order="F").tofile(path)
    return path, data


def mixed(package: str, method: str = "reml", **options: Any) -> Program:
    """Time `lmer` or `glmmTMB` with standard errors, after reading the data."""
    return _program(package, (method,), ours_mixed.mixed_estimates(method), **options)


def mixed_logit(package: str, n_quadrature: int = 1, *, tight: bool = False, **options: Any) -> Program:
    """Time `glmer` or `glmmTMB`, which has Laplace's approximation alone, of the logistic mixed model.

    With `tight`, lme4 fits once more with modes that are sharper than it finds them by default.
    """
    reference = ours_mixed.logit_estimates(n_quadrature)
    program = _program(package, (str(n_quadrature),), reference, **options)
    if not tight:
        return program
    exact = _program(package, (str(n_quadrature), "1e-12"), reference).fit
    return replace(program, exact=exact, note="tight: tolPwrss = 1e-12 for 1e-7.")


def _program(
    package: str, method: tuple[str, ...], reference: Callable[[MixedData], Estimates], **options: Any
) -> Program:
    def fit(prepared: tuple[Path, MixedData]) -> Estimates:
        path, data = prepared
        shape = [str(data.X.shape[1]), str(len(data.factors()))]
        command = ["Rscript", str(_SCRIPT), package, str(path), *shape, data.formula(), *method]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        found = json.loads(done.stdout)
        return Estimates(
            np.array(found["coef"]),
            np.array(found["std_error"]),
            found["seconds"],
            found["loglik"],
            np.array(found["variances"]),
        )

    def missing() -> str | None:
        return None if r_package_version(package) else "Rscript" if shutil.which("Rscript") is None else package

    return Program(
        package,
        fit,
        _write,
        reference=reference,
        missing=missing,
        own_process=True,
        **options,
    )
