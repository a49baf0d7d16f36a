"""The summary of a fit: the coefficient table and the facts around it."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skdep.inference._access import fitted_inference
from skdep.inference.coef_table import coef_table

__all__ = ["Summary", "summarise"]


@dataclass(frozen=True)
class Summary:
    """A fit in words and numbers.

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
    """

    title: str
    facts: dict[str, str]
    table: pd.DataFrame
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return the coefficient table."""
        return self.table

    def __str__(self) -> str:
        width = max(map(len, self.facts), default=0)
        head = [f"{label:<{width}}  {value}" for label, value in self.facts.items()]
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join(
            [self.title, "=" * len(self.title), *head, "", self._table_text(), *([""] if notes else []), *notes]
        )

    __repr__ = __str__

    def _table_text(self) -> str:
        return self.table.to_string(formatters=self._formats())

    def _formats(self) -> list[Callable[[Any], str]]:
        special = {"p_value": _p_value, "df": _degrees_of_freedom, "rhat": _rhat}
        special |= dict.fromkeys(("ess_bulk", "ess_tail"), _whole)
        return [special.get(column, _significant) for column in self.table.columns]

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self.facts.items())
        notes = "".join(f"<p>Note: {html.escape(note)}</p>" for note in self.notes)
        table = self.table.to_html(formatters=self._formats())
        return f"<h4>{html.escape(self.title)}</h4><table>{rows}</table>{table}{notes}"


def _significant(value: float) -> str:
    return f"{value:.5g}"


def _degrees_of_freedom(value: float) -> str:
    return "inf" if np.isinf(value) else f"{value:.4g}"


def _rhat(value: float) -> str:
    return f"{value:.3f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _p_value(value: float) -> str:
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def summarise(est: Any, *, level: float = 0.95) -> Summary:
    """Build the summary of a fitted estimator."""
    fitted = fitted_inference(est)
    facts = {
        "Observations": f"{fitted.n_obs:.10g}",
        **fitted.facts,
        "Covariance": fitted.cov_type,
        "Converged": f"{'yes' if est.converged_ else 'NO'}, after {est.n_iter_} iterations",
    }
    table = coef_table(est, level=level).to_frame()
    return Summary(f"{type(est).__name__}", facts, table, fitted.notes)
