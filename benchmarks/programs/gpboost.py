"""GPBoost: grouped random effects by maximum likelihood, with Krylov methods or a Cholesky factorisation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.programs import ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed"]

_NOTES = {
    "iterative": "maximum likelihood; as it comes for several factors: conjugate gradients and random vectors, so that "
    "its log-likelihood is a random number, not compared.",
    "cholesky": 'maximum likelihood; matrix_inversion_method="cholesky".',
}


def _missing() -> str | None:
    """Return what is not installed: gpboost imports optuna too."""
    return next((module for module in ("gpboost", "optuna") if not find_spec(module)), None)


def _design(data: MixedData, folder: Path) -> tuple[MixedData, np.ndarray]:
    return data, data.with_intercept()


def mixed(solver: str, **options: Any) -> Program:
    """Time the making of the model, its fit by maximum likelihood, and standard errors of the coefficients."""

    def fit(prepared: tuple[MixedData, np.ndarray]) -> Estimates:
        from gpboost import GPModel

        data, design = prepared
        model = GPModel(group_data=data.groups, likelihood="gaussian", matrix_inversion_method=solver)
        model.fit(y=data.y, X=design)
        coef, std_error = np.asarray(model.get_coef(std_err=True, format_pandas=False))
        variances = np.asarray(model.get_cov_pars(std_err=False, format_pandas=False)).ravel()
        loglik = None if solver == "iterative" else -float(model.get_current_neg_log_likelihood())
        return Estimates(coef, std_error, loglik=loglik, variances=variances)

    return Program(
        f"GPBoost, {solver}",
        fit,
        _design,
        reference=ours_mixed.mixed_estimates("ml"),
        missing=_missing,
        note=_NOTES[solver],
        **options,
    )
