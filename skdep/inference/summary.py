"""The summary of a fit: the coefficient table and the facts around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skdep._docs import docs_link
from skdep._format import formatters
from skdep._html import facts_html, frame_html, result_html
from skdep.inference._access import fitted_inference
from skdep.inference.coef_table import coef_table
from skdep.inference.variance import variance_components

__all__ = ["Summary", "summarise"]

# Facts that the table of variance components says again.
_SPREADS = ("SD of ", "Residual SD", "Correlations by ")


@dataclass(frozen=True)
class Summary:
    """A fit in words and numbers: prints as text, and renders in notebooks.

    Parameters
    ----------
    title : str
        The model.
    facts : dict
        Lines of the head: label and value.
    table : DataFrame
        Coefficient table.
    notes : tuple of str
        What to know before believing the table.
    components : DataFrame or None
        Variance components of a mixed model.
    """

    title: str
    facts: dict[str, str]
    table: pd.DataFrame
    notes: tuple[str, ...]
    components: pd.DataFrame | None = None

    def to_frame(self) -> pd.DataFrame:
        """Return the coefficient table."""
        return self.table

    def __str__(self) -> str:
        width = max(map(len, self.facts), default=0)
        head = [f"{label:<{width}}  {value}" for label, value in self.facts.items()]
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join(
            [
                self.title,
                "=" * len(self.title),
                *head,
                "",
                self.table.to_string(formatters=formatters(self.table)),
                *([""] if notes else []),
                *notes,
                *(f"Read more: {link}" for link in self._links()),
            ]
        )

    __repr__ = __str__

    def _links(self) -> list[str]:
        """Return the pages that explain the notes, each once."""
        topics = dict.fromkeys(getattr(note, "topic", None) for note in self.notes)
        return [docs_link(topic) for topic in topics if topic]

    def _repr_html_(self) -> str:
        facts, components = self.facts, None
        if self.components is not None:
            facts = {label: value for label, value in facts.items() if not label.startswith(_SPREADS)}
            components = "<p>Variance components</p>" + frame_html(self.components)
        table = frame_html(self.table, na_rep="NaN")
        return result_html(facts_html(facts), table, components, title=self.title, notes=self.notes)


def summarise(est: Any, *, level: float = 0.95) -> Summary:
    """Build the summary of a fitted estimator.

    Parameters
    ----------
    est : estimator
        A fitted estimator of skdep.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    Summary
        Facts, coefficient table, variance components and notes.
    """
    fitted = fitted_inference(est)
    is_multilevel = bool(getattr(est, "random_covariance_", None))
    facts = {
        **({"Formula": str(est.formula_)} if hasattr(est, "formula_") else {}),
        "Observations": f"{fitted.n_obs:.10g}",
        **(dict(_with_correlations(est, fitted.facts)) if is_multilevel else fitted.facts),
        "Covariance": fitted.cov_type,
        "Converged": f"{'yes' if est.converged_ else 'NO'}, after {est.n_iter_} iterations",
    }
    table = coef_table(est, level=level).to_frame()
    components = variance_components(est).to_frame() if is_multilevel else None
    return Summary(type(est).__name__, facts, table, fitted.notes, components)


def _with_correlations(est: Any, facts: Any) -> Iterator[tuple[str, str]]:
    """Yield facts, with the correlations of a factor's random effects after their standard deviations."""
    after = {f"SD of {effects[-1]} by {name}": name for name, effects in est.random_names_.items()}
    for label, value in facts.items():
        yield label, value
        words = _correlations(est, after[label]) if label in after else ""
        if words:
            yield f"Correlations by {after[label]}", words


def _correlations(est: Any, name: str) -> str:
    """Write the correlations of a factor's random effects; nothing where they are not in the model."""
    effects, matrix = est.random_names_[name], est.random_covariance_[name]
    rows, columns = np.tril_indices(len(effects), -1)
    if not matrix[rows, columns].any():
        return ""
    sd = np.sqrt(np.diag(matrix))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = matrix[rows, columns] / (sd[rows] * sd[columns])
    pairs = zip(columns, rows, values, strict=True)
    return "; ".join(
        f"{effects[i]}, {effects[j]} {value:.3f}" for i, j, value in pairs if matrix[i, j] != 0.0 or np.isnan(value)
    )
