"""Covariances for few clusters, all at once: what they add to a fit, and what one of them costs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs import needs
from benchmarks.simulate import Data, clustered_binary
from benchmarks.table import Table
from benchmarks.timing import Estimates, Options, Program, compare
from skdep import GEEClassifier
from skdep._threads import threads_over_blocks
from skdep.base import FitNotes
from skdep.families import Binomial
from skdep.gee.equations import GEEData, Model
from skdep.gee.rows import prepare_rows
from skdep.gee.scoring import solve
from skdep.gee.working_correlation import Exchangeable
from skdep.inference import coef_table
from skdep.links import get_link

__all__ = ["CORRECTIONS", "all_corrections"]

CORRECTIONS = ("df", "md", "kc", "fg", "mbn", "pan", "jackknife", "design")
_N_FEATURES = 5


def all_corrections(options: Options) -> Table:
    """Fit 20,000 clusters of 5 rows, and tabulate standard errors of every type."""
    n_clusters = 300 if options.quick else 20_000
    data = clustered_binary(n_clusters, 5, _N_FEATURES)
    return compare(
        "Covariances for few clusters",
        data,
        [
            Program("skdep", _ours),
            Program(
                "skdep, sandwich alone",
                _sandwich_alone,
                reference=_reference("robust"),
                note="the same engine from arrays to robust standard errors, without the rest.",
            ),
            Program(
                "statsmodels GEE, bias_reduced",
                _statsmodels,
                _with_intercept,
                reference=_reference("md"),
                missing=needs("statsmodels"),
                note="Mancl and DeRouen's covariance alone.",
                effort="slow",
            ),
        ],
        options,
        warm_up=clustered_binary(100, 5, _N_FEATURES, seed=1),
        describe=f"Binary GEE, exchangeable, {n_clusters:,} clusters of 5 rows, {_N_FEATURES} features: the fit, and "
        f"standard errors under {', '.join(CORRECTIONS)}. The time of the sandwich alone should be at least half.",
    )


def _fit(data: Data) -> GEEClassifier:
    return GEEClassifier(working_correlation="exchangeable").fit(data.X, data.y, groups=data.groups)


def _coefficients(est: GEEClassifier) -> np.ndarray:
    return np.concatenate([est.intercept_, est.coef_[0]])


def _ours(data: Data) -> Estimates:
    est = _fit(data)
    tables = [coef_table(est, cov_type=kind)["std_error"].to_numpy() for kind in CORRECTIONS]
    return Estimates(_coefficients(est), np.concatenate(tables))


def _reference(cov_type: str) -> Any:
    def fit(data: Data) -> Estimates:
        est = _fit(data)
        return Estimates(_coefficients(est), coef_table(est, cov_type=cov_type)["std_error"].to_numpy())

    return fit


def _sandwich_alone(data: Data) -> Estimates:
    structure = Exchangeable()
    rows = prepare_rows(
        data.X, data.y, groups=data.groups, sample_weight=None, offset=None, time=None, weight_type="sampling",
        structure=structure, notes=FitNotes(),
    )  # fmt: skip
    design = np.column_stack([np.ones(len(rows.X)), rows.X])
    model = Model(Binomial(), get_link("logit"), None, "n-p")
    with threads_over_blocks(rows.X.size) as run:
        equations_data = GEEData(design, rows.y, None, None, None, rows.blocks)
        result, _ = solve(equations_data, model, structure, max_iter=100, tol=1e-9, run=run)
        scores = result.equations.score_sums(result.at)
    inverse = np.linalg.inv(result.at.bread)
    return Estimates(result.at.beta, np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse)))


def _with_intercept(data: Data, folder: Path) -> tuple[Data, np.ndarray]:
    return data, data.with_intercept()


def _statsmodels(prepared: tuple[Data, np.ndarray]) -> Estimates:
    from statsmodels.genmod.cov_struct import Exchangeable as Structure
    from statsmodels.genmod.families import Binomial as Family
    from statsmodels.genmod.generalized_estimating_equations import GEE

    data, design = prepared
    model = GEE(data.y, design, groups=data.groups, family=Family(), cov_struct=Structure())
    result = model.fit(scale="X2", cov_type="bias_reduced")
    return Estimates(np.asarray(result.params), np.asarray(result.bse))
