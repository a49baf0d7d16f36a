"""glmm: mixed models from a formula, compiled from Rust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.programs import needs, ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed"]


def _columns(data: MixedData, folder: Path) -> tuple[MixedData, dict[str, Any]]:
    frame = data.frame()
    return data, {name: frame[name].array if name in data.factor_names() else frame[name].to_numpy() for name in frame}


def mixed(method: str = "reml", **options: Any) -> Program:
    """Time `fit` without the Satterthwaite degrees of freedom that it adds unless told not to."""

    def fit(prepared: tuple[MixedData, dict[str, Any]]) -> Estimates:
        from glmm import fit

        data, columns = prepared
        found = fit(columns, data.formula(), reml=method == "reml", satterthwaite=False, anova_test="Wald")
        # a covariance matrix is given by the columns of its lower triangle
        diagonals = [np.asarray(packed)[[0, 2] if data.slope else [0]] for packed in found.varcorr]
        return Estimates(found.beta, found.se, None, found.loglik, np.concatenate([[found.dispersion], *diagonals]))

    return Program(
        "glmm",
        fit,
        _columns,
        reference=ours_mixed.mixed_estimates(method),
        missing=needs("glmm"),
        note="no Satterthwaite degrees of freedom (satterthwaite=False); from a dict of arrays, factors as categories.",
        **options,
    )
