"""Survey weights: standard errors by replicates."""

from __future__ import annotations

from benchmarks.programs import ours_survey, r_survey
from benchmarks.survey_data import districts
from benchmarks.table import Table
from benchmarks.timing import Options, compare

__all__ = ["replicates"]


def replicates(options: Options) -> Table:
    """Fit a logistic regression to 50,000 rows under 200 sets of replicate weights."""
    n_rows, n_replicates = (2_000, 30) if options.quick else (50_000, 200)
    return compare(
        "Logistic regression with replicate weights",
        districts(n_rows, 10, n_replicates),
        [ours_survey.replicate_logit(), r_survey.replicate_logit(most_rounds=3)],
        options,
        warm_up=districts(1_000, 10, 20, seed=1),
        describe=f"{n_rows:,} rows, 10 features, {n_replicates} bootstrap replicates of 200 districts.",
    )
