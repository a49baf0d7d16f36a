"""The visits of each cluster in long data that end with dropout: which were planned, which took place.

Every row is a visit that took place; planned visits are the times that occur in the data. Missingness is monotone where
each cluster was seen at all planned visits up to its last row. A row whose cluster has a later planned visit is *at
risk*: the next visit takes place, or the cluster has dropped out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._stack import level_of_caller
from skdep._validation import check_time
from skdep.clusters import Clusters, encode_factors
from skdep.exceptions import WeightWarning

__all__ = ["Visits", "planned_visits"]

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Visits:
    """Rows that are left, in the caller's order, and what happened after each.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,) or None
        Caller's number of each row; None where no row was left out.
    clusters : Clusters
        The clusters; their order of rows is by time.
    times : ndarray of shape (n_visits,)
        Planned visits.
    planned : ndarray of shape (n_visits,)
        Number of clusters for which each visit was planned.
    visit : ndarray of shape (n_rows,)
        Number of each row's visit.
    at_risk : ndarray of bool of shape (n_rows,)
        Whether the cluster has a later planned visit.
    returned : ndarray of bool of shape (n_rows,)
        Whether the cluster was seen at the next planned visit.
    """

    rows: np.ndarray | None
    clusters: Clusters
    times: np.ndarray
    planned: np.ndarray
    visit: np.ndarray
    at_risk: np.ndarray
    returned: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.visit)

    @property
    def dropped(self) -> np.ndarray:
        """Whether each row is the last one of a cluster that dropped out (n_rows,)."""
        return self.at_risk & ~self.returned

    @property
    def labels(self) -> Any:
        """Label of each row's cluster, a Series with the name of the factor."""
        import pandas as pd

        return pd.Series(self.clusters.levels[self.clusters.codes], name=self.clusters.name)

    def take(self, values: Any) -> Any:
        """Return what is given a row, numbers or a DataFrame, for the rows that are left."""
        if values is None or self.rows is None:
            return values
        return values.iloc[self.rows] if hasattr(values, "iloc") else np.asarray(values)[self.rows]

    def before(self, values: np.ndarray) -> np.ndarray:
        """Add up values (n_rows, ...) over the earlier rows of each row's cluster."""
        ordered = self.clusters.sort(values)
        total = np.cumsum(ordered, axis=0)
        total = np.concatenate([np.zeros_like(total[:1]), total[:-1]])
        return self.clusters.unsort(total - self.clusters.spread(total[self.clusters.starts]))

    def cluster_sums(self, values: np.ndarray) -> np.ndarray:
        """Add up values (n_rows, ...) within clusters."""
        return self.clusters.sum(self.clusters.sort(values))

    def over_rows(self, per_cluster: np.ndarray) -> np.ndarray:
        """Give every row the value of its cluster."""
        return per_cluster[self.clusters.codes]


def planned_visits(
    groups: Any, time: Any, n_rows: int, *, last_visit: Any = None, intermittent: str = "fail"
) -> Visits:
    """Find the visits of each cluster.

    Parameters
    ----------
    groups : array-like of shape (n_rows,)
        Labels of the clusters.
    time : array-like of shape (n_rows,)
        Planned times of the visits that took place.
    n_rows : int
        Number of rows.
    last_visit : array-like of shape (n_rows,), optional
        Time of the last visit planned for the row's cluster; by default the last of all.
    intermittent : {"fail", "drop"}
        What to do with rows after the first missed visit of their cluster.

    Raises
    ------
    ValueError
        If groups or times are missing or malformed, times are tied within a cluster, a cluster misses the first planned
        visit, or comes back after a missed one under ``intermittent="fail"``.
    """
    if groups is None or time is None:
        raise ValueError(
            f"Dropout is seen from who was there when: pass {'groups' if groups is None else 'time'}= to fit."
        )
    factors = encode_factors(groups, n_rows)
    if len(factors) > 1:
        raise ValueError(
            f"groups has {len(factors)} columns, but weights for dropout know clusters of one level: those that drop "
            "out. Pass one column; for labels that restart skdep.interaction(a, b)."
        )
    codes, levels, name = factors[0]
    time, last = _times(time, last_visit, n_rows)
    times, visit = np.unique(time, return_inverse=True)
    clusters = Clusters.from_codes(codes, levels, within=visit, name=name)
    kept = _monotone_rows(clusters, visit, times, intermittent)
    if kept is None:
        return _visits(None, clusters, times, visit, time, last)
    codes, visit, time = codes[kept], visit[kept], time[kept]
    last = None if last is None else last[kept]
    return _visits(kept, Clusters.from_codes(codes, levels, within=visit, name=name), times, visit, time, last)


def _times(time: Any, last_visit: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return times, and those of the last planned visits, counted alike."""
    if last_visit is None:
        checked = check_time(time, n_rows)
        assert checked is not None
        return checked, None
    import pandas as pd

    check_time(time, n_rows)
    last = pd.Series(last_visit).reset_index(drop=True)
    if len(last) != n_rows or last.isna().any():
        raise ValueError(
            f"last_visit must have one time for each of the {n_rows} rows, the same for all of a cluster; it has "
            f"{len(last)}, of which {int(last.isna().sum())} are missing."
        )
    # together, so that dates are counted from the same day
    both = check_time(pd.concat([pd.Series(time).reset_index(drop=True), last], ignore_index=True), 2 * n_rows)
    assert both is not None
    return both[:n_rows], both[n_rows:]


def _monotone_rows(clusters: Clusters, visit: np.ndarray, times: np.ndarray, intermittent: str) -> np.ndarray | None:
    """Return the caller's numbers of rows before the first missed visit; None where that is all of them."""
    ordered = clusters.sort(visit)
    position = np.arange(clusters.n_rows) - clusters.spread(clusters.starts)
    same = np.ones(len(ordered), dtype=bool)
    same[clusters.starts] = False
    tied = np.zeros(len(ordered), dtype=bool)
    tied[1:] = same[1:] & (ordered[1:] == ordered[:-1])
    if tied.any():
        raise ValueError(
            f"time is tied within clusters: several rows at one time in {_named(clusters, tied)}. Each visit is one "
            "row: are the groups too coarse (see skdep.interaction)?"
        )
    missed = ordered > position
    if not missed.any():
        return None
    late = np.zeros(len(ordered), dtype=bool)
    late[clusters.starts] = missed[clusters.starts]
    hint = _hint(times, clusters)
    if late.any():
        raise ValueError(
            f"Not seen at the first planned visit, time {times[0]:g}: {_named(clusters, late)}. Weights for dropout "
            "need a first visit that no cluster missed. Leave those clusters out, or count time from each cluster's "
            f"own start.{hint}"
            f"{read_more('dropout')}"
        )
    if intermittent == "fail":
        raise ValueError(
            f"Seen again after a missed visit: {_named(clusters, missed)}. Weights for dropout need clusters that, "
            "once gone, stay away; intermittent='drop' leaves out the rows after each cluster's first missed visit."
            f"{hint}"
            f"{read_more('dropout')}"
        )
    warnings.warn(
        f"{int(missed.sum())} rows after the first missed visit of their cluster were left out, of "
        f"{_named(clusters, missed)}: these clusters count as dropped out from that visit on.",
        WeightWarning,
        stacklevel=level_of_caller(),
    )
    return np.sort(np.flatnonzero(~missed) if clusters.order is None else clusters.order[~missed])


def _hint(times: np.ndarray, clusters: Clusters) -> str:
    """Say that times look like actual dates, where they do."""
    if len(times) <= 2 * int(clusters.sizes.max()):
        return ""
    return (
        f" There are {len(times)} distinct times, while no cluster has more than {int(clusters.sizes.max())} rows: "
        "time must hold the planned visits, such as 1, 2, 3, not the days on which they took place."
    )


def _named(clusters: Clusters, rows: np.ndarray) -> str:
    """Name clusters with some of these rows, in cluster order."""
    which = np.unique(np.searchsorted(clusters.starts, np.flatnonzero(rows), side="right") - 1)
    labels = ", ".join(repr(label) for label in clusters.levels[which[:_MOST_NAMED]].tolist())
    more = ", ..." if len(which) > _MOST_NAMED else ""
    return f"{len(which)} cluster{'s' if len(which) > 1 else ''} of {clusters.name!r} ({labels}{more})"


def _visits(
    rows: np.ndarray | None,
    clusters: Clusters,
    times: np.ndarray,
    visit: np.ndarray,
    time: np.ndarray,
    last: np.ndarray | None,
) -> Visits:
    """Say what came after each row."""
    if last is not None:
        _check_last(clusters, time, last)
        of_clusters = clusters.sort(last)[clusters.starts]
        planned = len(of_clusters) - np.searchsorted(np.sort(of_clusters), times)
    else:
        planned = np.full(len(times), clusters.n_clusters)
    following = np.append(times, np.inf)[visit + 1]
    at_risk = following <= (times[-1] if last is None else last)
    ends = np.zeros(len(visit), dtype=bool)
    ends[clusters.starts + clusters.sizes - 1] = True
    return Visits(rows, clusters, times, planned, visit, at_risk, ~clusters.unsort(ends))


def _check_last(clusters: Clusters, time: np.ndarray, last: np.ndarray) -> None:
    """Raise unless last planned visits are constant within clusters, and none was seen later."""
    ordered = clusters.sort(last)
    varying = ordered != clusters.spread(ordered[clusters.starts])
    if varying.any():
        raise ValueError(f"last_visit must be constant within clusters; it varies in {_named(clusters, varying)}.")
    later = clusters.sort(time) > ordered
    if later.any():
        raise ValueError(f"last_visit is before the last row of {_named(clusters, later)}.")
