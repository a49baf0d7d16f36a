"""statsmodels: GEE by a loop over clusters, and Logit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs import needs, ours
from benchmarks.simulate import Data
from benchmarks.timing import Estimates, Program

__all__ = ["gee", "logit", "logit_cluster"]

_NOTES = {
    "ar1": "alpha is the ratio of products of neighbours to squares, which for clusters of equal size is skdep's "
    'AR1(pairs="neighbours") with dof="n"; compared to that.',
    "unstructured": "divides each time by its own residual variance instead of the common phi; compared to skdep with "
    "a working correlation that does the same.",
}


def _design(data: Data, folder: Path) -> tuple[Data, np.ndarray]:
    return data, data.with_intercept()


def _structure(name: str) -> Any:
    from statsmodels.genmod import cov_struct

    if name == "ar1":
        return cov_struct.Autoregressive(grid=True)
    return {
        "independence": cov_struct.Independence,
        "exchangeable": cov_struct.Exchangeable,
        "unstructured": cov_struct.Unstructured,
    }[name]()


def gee(structure: str) -> Program:
    """Time GEE from making the model to robust standard errors, with moments by n - p as skdep has them."""

    def fit(prepared: tuple[Data, np.ndarray]) -> Estimates:
        from statsmodels.genmod.families import Binomial
        from statsmodels.genmod.generalized_estimating_equations import GEE

        data, design = prepared
        time = data.time if structure in ("ar1", "unstructured") else None
        model = GEE(data.y, design, groups=data.groups, time=time, family=Binomial(), cov_struct=_structure(structure))
        result = model.fit(scale="X2")
        return Estimates(np.asarray(result.params), np.asarray(result.bse))

    reference = {
        "ar1": ours.gee_estimates(ours.neighbours(), "n"),
        "unstructured": ours.gee_estimates(ours.OwnVariances()),
    }.get(structure, ours.gee_estimates(structure))
    return Program(
        "statsmodels GEE",
        fit,
        _design,
        reference=reference,
        missing=needs("statsmodels"),
        note=_NOTES.get(structure, ""),
        effort="slow",
    )


def logit() -> Program:
    """Time Logit, by Newton's method, with standard errors from the information."""

    def fit(prepared: tuple[Data, np.ndarray]) -> Estimates:
        from statsmodels.discrete.discrete_model import Logit

        result = Logit(prepared[0].y, prepared[1]).fit(disp=0)
        return Estimates(np.asarray(result.params), np.asarray(result.bse))

    return Program(
        "statsmodels Logit", fit, _design, reference=ours.logit_estimates("model"), missing=needs("statsmodels")
    )


def logit_cluster() -> Program:
    """Time Logit with cluster-robust standard errors, whose K / (K - 1) statsmodels multiplies by (n - 1) / (n - p)."""

    def fit(prepared: tuple[Data, np.ndarray]) -> Estimates:
        from statsmodels.discrete.discrete_model import Logit

        data, design = prepared
        result = Logit(data.y, design).fit(disp=0, cov_type="cluster", cov_kwds={"groups": data.groups})
        return Estimates(np.asarray(result.params), np.asarray(result.bse))

    return Program(
        "statsmodels Logit",
        fit,
        _design,
        reference=ours.logit_estimates("cluster", lambda n, p: np.sqrt((n - 1) / (n - p))),
        missing=needs("statsmodels"),
        note="multiplies the covariance by (n - 1) / (n - p) on top of K / (K - 1); taken into account.",
    )
