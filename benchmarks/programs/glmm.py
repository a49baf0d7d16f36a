"""glmm: mixed models from a formula, compiled from Rust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mixed_data import MixedData
from benchmarks.programs import needs, ours_mixed
from benchmarks.timing import Estimates, Program

__all__ = ["mixed", "mixed_logit"]


def _columns(data: MixedData, folder: Path) -> tuple[MixedData, dict[str, Any]]:
    frame = data.frame()
    return data, {name: frame[name].array if name in data.factor_names() else frame[name].to_numpy() for name in frame}


def mixed(method: str = "reml", **options: Any) -> Program:
    """Time `fit` without the Satterthwaite degrees of freedom that it adds unless told not to."""

    def fit(prepared: tuple[MixedData, dict[str, Any]]) -> Estimates:
        from glmm import fit

        data, columns = prepared
        found = fit(columns, data.formula(), reml=method == "reml", satterthwaite=False, anova_test="Wald")
        variances = np.concatenate([[found.dispersion], *_diagonals(found, data)])
        return Estimates(found.beta, found.se, None, found.loglik, variances)

    return Program(
        "glmm",
        fit,
        _columns,
        reference=ours_mixed.mixed_estimates(method),
        missing=needs("glmm"),
        note="no Satterthwaite degrees of freedom (satterthwaite=False); from a dict of arrays, factors as categories.",
        **options,
    )


def mixed_logit(n_quadrature: int = 1, **options: Any) -> Program:
    """Time the logistic mixed model by Laplace's approximation, or with so many nodes for each dimension."""

    def fit(prepared: tuple[MixedData, dict[str, Any]]) -> Estimates:
        from glmm import fit

        data, columns = prepared
        found = fit(columns, data.formula(), family="binomial", nagq=n_quadrature, anova_test="Wald")
        return Estimates(found.beta, found.se, None, found.loglik, np.concatenate(_diagonals(found, data)))

    return Program(
        "glmm",
        fit,
        _columns,
        reference=ours_mixed.logit_estimates(n_quadrature),
        missing=needs("glmm"),
        note="from a dict of arrays, factors as categories.",
        **options,
    )


def _diagonals(found: Any, data: MixedData) -> list[np.ndarray]:
    """Return the variances of each factor; a covariance matrix is given by the columns of its lower triangle."""
    return [np.asarray(packed)[[0, 2] if data.slope else [0]] for packed in found.varcorr]
