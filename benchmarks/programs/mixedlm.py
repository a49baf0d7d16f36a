"""mixedlm: lme4's interface in Python, compiled from Rust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.mixed_data import MixedData
from benchmarks.programs import needs, ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed", "mixed_logit"]


def _frame(data: MixedData, folder: Path) -> tuple[MixedData, pd.DataFrame]:
    return data, data.frame()


def mixed(method: str = "reml", **options: Any) -> Program:
    """Time `lmer` and `vcov`, from a data frame."""

    def fit(prepared: tuple[MixedData, pd.DataFrame]) -> Estimates:
        from mixedlm import lmer

        data, frame = prepared
        found = lmer(data.formula(), frame, REML=method == "reml")
        return Estimates(
            np.asarray(found.fe_params),
            np.sqrt(np.diag(found.vcov())),
            loglik=float(found.logLik().value),
            variances=np.concatenate([[found.sigma**2], *_diagonals(found, data)]),
        )

    return Program(
        "mixedlm",
        fit,
        _frame,
        reference=ours_mixed.mixed_estimates(method),
        missing=needs("mixedlm"),
        note="from a data frame, factors as categories.",
        **options,
    )


def mixed_logit(n_quadrature: int = 1, **options: Any) -> Program:
    """Time `glmer` and `vcov` by Laplace's approximation, or with so many nodes, from a data frame."""

    def fit(prepared: tuple[MixedData, pd.DataFrame]) -> Estimates:
        from mixedlm import glmer

        data, frame = prepared
        found = glmer(data.formula(), frame, nAGQ=n_quadrature)
        return Estimates(
            np.asarray(found.beta),
            np.sqrt(np.diag(found.vcov())),
            loglik=float(found.logLik().value),
            variances=np.concatenate(_diagonals(found, data)),
        )

    return Program(
        "mixedlm",
        fit,
        _frame,
        reference=ours_mixed.logit_estimates(n_quadrature),
        missing=needs("mixedlm"),
        note="from a data frame, factors as categories; its standard errors are those of the last weighted "
        "least squares, which take variances and weights for known.",
        **options,
    )


def _diagonals(found: Any, data: MixedData) -> list[np.ndarray]:
    covariances = found.VarCorr()
    return [np.diag(np.atleast_2d(covariances.get_cov(name))) for name in data.factor_names()]
