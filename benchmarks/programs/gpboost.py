"""GPBoost: grouped random effects, linear or logistic, with Krylov methods or a Cholesky factorisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.programs import ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed", "mixed_logit"]

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
    return _program(solver, "gaussian", ours_mixed.mixed_estimates("ml"), note=_NOTES[solver], **options)


def mixed_logit(solver: str, **options: Any) -> Program:
    """Time the same of the logistic mixed model, by Laplace's approximation: the only one it has."""
    program = _program(solver, "bernoulli_logit", ours_mixed.logit_estimates(1), **options)
    note = _NOTES[solver].replace("maximum likelihood", "Laplace's approximation")
    note += " Its standard errors take the variances for known."
    if solver == "iterative":
        return replace(program, note=note)
    exact = _program(solver, "bernoulli_logit", ours_mixed.logit_estimates(1), {"delta_rel_conv": 1e-12}).fit
    return replace(program, exact=exact, note=f"{note} tight: delta_rel_conv=1e-12 for 1e-6.")


def _program(
    solver: str,
    likelihood: str,
    reference: Callable[[MixedData], Estimates],
    params: dict[str, float] | None = None,
    **options: Any,
) -> Program:
    def fit(prepared: tuple[MixedData, np.ndarray]) -> Estimates:
        from gpboost import GPModel

        data, design = prepared
        model = GPModel(group_data=data.groups, likelihood=likelihood, matrix_inversion_method=solver)
        model.fit(y=data.y, X=design, params=params)
        coef, std_error = np.asarray(model.get_coef(std_err=True, format_pandas=False))
        variances = np.asarray(model.get_cov_pars(std_err=False, format_pandas=False)).ravel()
        loglik = None if solver == "iterative" else -float(model.get_current_neg_log_likelihood())
        return Estimates(coef, std_error, loglik=loglik, variances=variances)

    return Program(
        f"GPBoost, {solver}",
        fit,
        _design,
        reference=reference,
        missing=_missing,
        **options,
    )
