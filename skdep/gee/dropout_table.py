"""Who was seen at which visit, and what weights for dropout came to: a small table, never the weights themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.gee.dropout_visits import Visits
from skdep.gee.dropout_weighting import EstimatedWeights

__all__ = ["DropoutTable", "dropout_table"]


@dataclass(frozen=True)
class DropoutTable:
    """Retention and weights by visit.

    Parameters
    ----------
    kind : {"observation", "cluster"}
        Whether weights are of rows or of clusters.
    visits : ndarray of shape (n_visits,)
        Planned visits.
    planned, seen, dropped : ndarray of shape (n_visits,)
        Clusters for which the visit was planned, that were seen at it, and that missed it first of all.
    smallest, mean, largest : ndarray of shape (n_visits,)
        Weights of the rows of the visit, truncated, not scaled.
    effective_size : float
        Number of rows that, unweighted, would be worth as much: (sum w)^2 / sum w^2.
    max_weight : float or None
        Largest weight allowed.
    n_truncated : int
        Rows (clusters) whose weight was cut down to it.
    """

    kind: str
    visits: np.ndarray
    planned: np.ndarray
    seen: np.ndarray
    dropped: np.ndarray
    smallest: np.ndarray
    mean: np.ndarray
    largest: np.ndarray
    effective_size: float
    max_weight: float | None
    n_truncated: int

    def to_frame(self) -> Any:
        """Return a DataFrame with a row a visit."""
        import pandas as pd

        columns = ("planned", "seen", "dropped", "smallest", "mean", "largest")
        index = pd.Index(self.visits, name="visit")
        return pd.DataFrame({name: getattr(self, name) for name in columns}, index=index)

    def describe(self) -> str:
        """Say in a line what the weights came to."""
        text = f"{self.smallest.min():.3g} to {self.largest.max():.3g}, worth {self.effective_size:.1f} rows"
        what = "rows" if self.kind == "observation" else "clusters"
        return text if self.max_weight is None else f"{text}, cut at {self.max_weight:g} in {self.n_truncated} {what}"

    def __str__(self) -> str:
        formats = dict.fromkeys(("smallest", "mean", "largest"), "{:.3f}".format)
        return f"Weights by {self.kind}: {self.describe()}\n\n{self.to_frame().to_string(formatters=formats)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame(), floats=".3f"), lead=f"Weights by {self.kind}: {self.describe()}")


def dropout_table(visits: Visits, estimated: EstimatedWeights, kind: str, max_weight: float | None) -> DropoutTable:
    """Tabulate.

    Parameters
    ----------
    visits : Visits
        The visits.
    estimated : EstimatedWeights
        Their weights.
    kind : {"observation", "cluster"}
        Whether weights are of rows or of clusters.
    max_weight : float or None
        Largest weight allowed.
    """
    n_visits, visit, weights = len(visits.times), visits.visit, estimated.weights
    seen = np.bincount(visit, minlength=n_visits)
    dropped = np.bincount(visit[visits.dropped] + 1, minlength=n_visits)
    smallest, largest = np.full(n_visits, np.inf), np.zeros(n_visits)
    np.minimum.at(smallest, visit, weights)
    np.maximum.at(largest, visit, weights)
    return DropoutTable(
        kind=kind,
        visits=visits.times,
        planned=visits.planned,
        seen=seen,
        dropped=dropped,
        smallest=smallest,
        mean=np.bincount(visit, weights, minlength=n_visits) / seen,
        largest=largest,
        effective_size=float(weights.sum() ** 2 / np.sum(weights**2)),
        max_weight=max_weight,
        n_truncated=estimated.n_truncated,
    )
