"""mixedlm-rs: statsmodels' interface for a single grouping factor, compiled from Rust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.programs import needs, ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed"]


def _design(data: MixedData, folder: Path) -> tuple[MixedData, np.ndarray, np.ndarray]:
    design = data.with_intercept()
    return data, design, design[:, : 1 + data.slope].copy()


def mixed(method: str = "reml", **options: Any) -> Program:
    """Time the making of the model, its fit, and standard errors, from arrays."""

    def fit(prepared: tuple[MixedData, np.ndarray, np.ndarray]) -> Estimates:
        from mixedlm_rs import MixedLM

        data, design, random = prepared
        found = MixedLM(data.y, design, data.groups, random).fit(reml=method == "reml")
        return Estimates(
            np.asarray(found.fe_params),
            np.asarray(found.bse_fe),
            loglik=float(found.llf),
            variances=np.append(found.scale, np.diag(found.cov_re)),
        )

    return Program(
        "mixedlm-rs",
        fit,
        _design,
        reference=ours_mixed.mixed_estimates(method),
        missing=needs("mixedlm_rs"),
        note="takes one grouping factor only.",
        **options,
    )
