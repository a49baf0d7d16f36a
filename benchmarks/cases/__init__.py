"""The cases, by name: a new one is a function from options to a table, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.cases import bayes, gee, gee_corrections, imports, logit, memory, mixed, mixed_logit, survey
from benchmarks.table import Table
from benchmarks.timing import Options

__all__ = ["CASES"]

CASES: dict[str, Callable[[Options], Table]] = {
    "gee-independence": partial(gee.many_short_clusters, "independence"),
    "gee-exchangeable": partial(gee.many_short_clusters, "exchangeable"),
    "gee-ar1": partial(gee.many_short_clusters, "ar1"),
    "gee-unstructured": partial(gee.many_short_clusters, "unstructured"),
    "gee-long": gee.few_long_clusters,
    "gee-corrections": gee_corrections.all_corrections,
    "logit": logit.model_errors,
    "logit-cluster": logit.cluster_errors,
    "mixed-sleepstudy": mixed.small,
    "mixed": mixed.many_groups,
    "mixed-large": mixed.large,
    "mixed-crossed": mixed.crossed,
    "mixed-ratings": mixed.movie_ratings,
    "mixed-logit-contraception": mixed_logit.small,
    "mixed-logit-crossed": mixed_logit.crossed,
    "mixed-logit": mixed_logit.many_groups,
    "mixed-logit-quadrature": mixed_logit.many_groups_by_quadrature,
    "mixed-logit-slopes": mixed_logit.many_groups_with_slopes,
    "bayes-small": bayes.small,
    "bayes": bayes.medium,
    "bayes-large": bayes.large,
    "bayes-multilevel": bayes.multilevel,
    "survey-replicates": survey.replicates,
    "memory": memory.peak_memory,
    "memory-mixed": memory.peak_memory_mixed,
    "import": imports.import_time,
}
