"""Clusters of rows: labels are encoded and rows sorted once per fit; every estimator shares the result.

A `Clusters` object knows how to bring rows into cluster order, to add up rows within clusters, and to spread a value
per cluster over its rows. No method loops over clusters in Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import numpy as np
from scipy import sparse

from skdep._docs import read_more

__all__ = ["Clusters", "describe_sizes", "encode_factors", "encode_groups", "factor_names", "interaction"]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Rows that belong together, in cluster order: rows ``starts[k]`` to ``starts[k] + sizes[k]`` are cluster k.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Cluster number of each row, rows in the caller's order.
    levels : ndarray of shape (n_clusters,)
        Label of each cluster.
    order : ndarray of shape (n_rows,) or None
        Caller's row number of each row in cluster order; None where the caller's rows are in cluster order already.
    starts, sizes : ndarray of shape (n_clusters,)
        First row of each cluster in cluster order, and its number of rows.
    name : str
        Name of the grouping factor.
    """

    codes: np.ndarray
    levels: np.ndarray
    order: np.ndarray | None
    starts: np.ndarray
    sizes: np.ndarray
    name: str = "group"
    _indicator: sparse.csr_matrix | None = field(default=None, repr=False)

    @classmethod
    def from_codes(
        cls, codes: np.ndarray, levels: np.ndarray, *, within: np.ndarray | None = None, name: str = "group"
    ) -> Clusters:
        """Build the structure from cluster numbers; every number below ``len(levels)`` must occur.

        Parameters
        ----------
        codes : ndarray of shape (n_rows,)
            Cluster number of each row.
        levels : ndarray of shape (n_clusters,)
            Label of each cluster.
        within : ndarray of shape (n_rows,), optional
            Sort key of the rows within a cluster (the time); by default rows keep their order.
        name : str
            Name of the grouping factor.
        """
        n_clusters = len(levels)
        sizes = np.bincount(codes, minlength=n_clusters)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if n_clusters else np.zeros(0, dtype=np.intp)
        order = _cluster_order(codes, n_clusters, within)
        indicator = _row_sum_matrix(starts, sizes)
        return cls(codes, levels, order, starts, sizes, name, indicator)

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return len(self.sizes)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.codes)

    def sort(self, values: np.ndarray) -> np.ndarray:
        """Bring rows from the caller's order into cluster order."""
        return values if self.order is None else values[self.order]

    def unsort(self, values: np.ndarray) -> np.ndarray:
        """Bring rows from cluster order back into the caller's order."""
        if self.order is None:
            return values
        back = np.empty_like(values)
        back[self.order] = values
        return back

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add up rows in cluster order within clusters: (n_rows,) or (n_rows, m) -> (n_clusters,) or that by m."""
        assert self._indicator is not None
        return self._indicator @ values

    def weighted_sum(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Add up ``weights * values`` within clusters, rows in the caller's order: (n_rows,), (n_rows, m) -> (K, m).

        The products are never formed: the weights become the entries of a sparse matrix.
        """
        indices = np.arange(self.n_rows) if self.order is None else self.order
        indptr = np.concatenate([self.starts, [self.n_rows]])
        shape = (self.n_clusters, self.n_rows)
        return sparse.csr_matrix((self.sort(weights), indices, indptr), shape=shape, copy=False) @ values

    def spread(self, per_cluster: np.ndarray) -> np.ndarray:
        """Repeat each cluster's value over its rows: (n_clusters, ...) -> (n_rows, ...), in cluster order."""
        return np.repeat(per_cluster, self.sizes, axis=0)

    def blocks(self, n_rows: int) -> Iterator[tuple[slice, Clusters]]:
        """Cut into runs of whole clusters of about `n_rows` rows: yields (rows in cluster order, their clusters)."""
        if self.n_rows <= 2 * n_rows:
            yield slice(0, self.n_rows), self.in_order()
            return
        ends = self.starts + self.sizes
        cuts = np.unique(np.searchsorted(ends, np.arange(n_rows, self.n_rows, n_rows)) + 1)
        bounds = np.concatenate([[0], cuts[cuts < self.n_clusters], [self.n_clusters]])
        for first, last in itertools.pairwise(bounds):
            sizes = self.sizes[first:last]
            begin, end = int(self.starts[first]), int(ends[last - 1])
            yield slice(begin, end), _ordered(sizes, self.levels[first:last], self.name)

    def in_order(self) -> Clusters:
        """Return the same clusters for rows that are in cluster order already."""
        return self if self.order is None else _ordered(self.sizes, self.levels, self.name)


def _ordered(sizes: np.ndarray, levels: np.ndarray, name: str) -> Clusters:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    codes = np.repeat(np.arange(len(sizes)), sizes)
    return Clusters(codes, levels, None, starts, sizes, name, _row_sum_matrix(starts, sizes))


def _row_sum_matrix(starts: np.ndarray, sizes: np.ndarray) -> sparse.csr_matrix:
    """Return the sparse 0/1 matrix (n_clusters, n_rows) whose product with rows in cluster order adds them up."""
    n_rows = int(sizes.sum())
    indptr = np.concatenate([starts, [n_rows]])
    return sparse.csr_matrix((np.ones(n_rows), np.arange(n_rows), indptr), shape=(len(sizes), n_rows), copy=False)


def _cluster_order(codes: np.ndarray, n_clusters: int, within: np.ndarray | None) -> np.ndarray | None:
    """Return the stable order of rows by cluster (and by `within`), None when the rows stand in it already."""
    if within is not None:
        same = codes[1:] == codes[:-1]
        if np.all((codes[1:] > codes[:-1]) | (same & (within[1:] >= within[:-1]))):
            return None
        return np.lexsort((within, codes))
    if np.all(codes[1:] >= codes[:-1]):
        return None
    # A counting sort: turning coordinates into compressed rows is stable, and several times faster than argsort.
    rows = np.arange(len(codes))
    ones = np.ones(len(codes), dtype=np.int8)
    return sparse.coo_matrix((ones, (codes, rows)), shape=(n_clusters, len(codes))).tocsr().indices


def encode_groups(groups: Any, n_rows: int, *, name: str | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Give each label of one grouping factor a number.

    Parameters
    ----------
    groups : array-like of shape (n_rows,)
        Labels of any hashable type, in any order, not necessarily contiguous.
    n_rows : int
        Number of rows the labels must have.
    name : str, optional
        Name of the factor; by default the name of a Series, else ``"group"``.

    Returns
    -------
    codes : ndarray of shape (n_rows,)
        Number of each row's label.
    levels : ndarray of shape (n_levels,)
        The labels, sorted where they can be, each occurring at least once.
    name : str
        Name of the factor.

    Raises
    ------
    ValueError
        If labels are missing, or their number is not `n_rows`.
    """
    import pandas as pd

    series_name = getattr(groups, "name", None)
    name = name or (str(series_name) if series_name is not None else "group")
    labels = _as_labels(groups)
    if len(labels) != n_rows:
        raise ValueError(f"{name!r} has {len(labels)} labels for {n_rows} rows; give exactly one label a row.")
    try:
        codes, levels = pd.factorize(labels, sort=True)
    except TypeError:
        # labels of types that cannot be compared keep the order in which they first occur
        try:
            codes, levels = pd.factorize(labels, sort=False)
        except TypeError as error:
            raise ValueError(f"groups: labels of factor {name!r} must be hashable: {error}.") from error
    if len(codes) and codes.min() < 0:
        row = int(np.flatnonzero(codes < 0)[0])
        raise ValueError(
            f"groups: label of factor {name!r} is missing in {int((codes < 0).sum())} rows, first in row {row}. "
            "A row must belong to a cluster: drop those rows, or give each its own label."
            f"{read_more('groups')}"
        )
    return codes, np.asarray(levels), name


def _as_labels(groups: Any) -> Any:
    """Return a one-dimensional array of labels; a list of tuples is a list of labels, not a table."""
    import pandas as pd

    if isinstance(groups, pd.Series | pd.Index | pd.Categorical):
        return groups
    if hasattr(groups, "to_pandas"):
        return groups.to_pandas()
    if isinstance(groups, np.ma.MaskedArray):
        groups = np.where(np.ma.getmaskarray(groups), np.array(None), groups.astype(object).data)
    array = np.asarray(groups if hasattr(groups, "dtype") else _sequence_to_array(groups))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"groups of one factor must be one-dimensional, got shape {array.shape}.")
    return array


def describe_sizes(sizes: np.ndarray, n_clusters: int) -> str:
    """Say how many clusters there are and how large, as ``537, of 4 rows`` or ``120, of 1 to 5 rows``."""
    smallest, largest = int(sizes.min()), int(sizes.max())
    span = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
    return f"{n_clusters}, of {span} row{'s' if largest > 1 else ''}"


def factor_names(groups: Any) -> list[str]:
    """Return the names of the grouping factors in `groups`: column names, a Series' name, or made-up ones."""
    if hasattr(groups, "columns"):
        return [str(column) for column in groups.columns]
    if not hasattr(groups, "dtype"):
        groups = _sequence_to_array(groups)
    if np.ndim(groups) == 2:
        n_factors = np.shape(groups)[1]
        return ["group"] if n_factors == 1 else [f"group{j}" for j in range(n_factors)]
    name = getattr(groups, "name", None)
    return ["group" if name is None else str(name)]


def encode_factors(groups: Any, n_rows: int) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Encode each column of `groups` as `encode_groups` does; one-dimensional groups are one column."""
    if not hasattr(groups, "columns") and not hasattr(groups, "dtype"):
        groups = _sequence_to_array(groups)
    if np.ndim(groups) == 2 and np.shape(groups)[1] == 0:
        raise ValueError("groups has no columns; give one column a grouping factor.")
    names = factor_names(groups)
    return [encode_groups(column, n_rows, name=name) for name, column in zip(names, _columns(groups), strict=True)]


def _sequence_to_array(groups: Any) -> np.ndarray:
    """Keep tuples whole as labels; lists of lists are tables; numbers go to numpy as they are.

    Anything else stays what it was: numpy alone would turn ``[1, None, "a"]`` and ``[nan, "a"]`` into strings.
    """
    try:
        rows = list(groups)
    except TypeError as error:
        raise ValueError(f"groups must have one label a row, got {groups!r}.") from error
    if rows and all(isinstance(row, list | np.ndarray) for row in rows):
        return np.array(rows, dtype=object)
    if len({type(row) for row in rows}) == 1 and isinstance(rows[0], Number):
        return np.asarray(rows)
    labels = np.empty(len(rows), dtype=object)
    labels[:] = rows
    return labels


def _columns(groups: Any) -> list[Any]:
    if hasattr(groups, "iloc") and hasattr(groups, "columns"):
        return [groups.iloc[:, j] for j in range(groups.shape[1])]
    if hasattr(groups, "columns"):
        return [groups[column] for column in groups.columns]
    if np.ndim(groups) == 2:
        return [groups[:, j] for j in range(np.shape(groups)[1])]
    if np.ndim(groups) == 1:
        return [groups]
    raise ValueError(f"groups must be one- or two-dimensional, got shape {np.shape(groups)}.")


def interaction(*factors: Any) -> Any:
    r"""Make one grouping factor of several, for labels that restart: a pupil number within each school.

    Parameters
    ----------
    *factors : array-likes of shape (n_rows,)
        Labels of each factor, outermost first.

    Returns
    -------
    labels : ndarray of str of shape (n_rows,), or Series if a factor is a Series
        Composite labels ``"a:b"``; a colon or backslash within a label is escaped by a backslash, so that different
        combinations never share a label.

    Raises
    ------
    ValueError
        If no factor is given, lengths differ, or a label is missing.

    Examples
    --------
    >>> from skdep import interaction
    >>> interaction(["A", "A", "B"], [1, 2, 1])
    array(['A:1', 'A:2', 'B:1'], dtype=object)
    """
    import pandas as pd

    if not factors:
        raise ValueError("interaction needs at least one factor.")
    n_rows = len(factors[0])
    encoded = [encode_groups(factor, n_rows, name=f"factor {j}") for j, factor in enumerate(factors)]
    combined = np.zeros(n_rows, dtype=np.int64)
    for codes, levels, _ in encoded:
        # renumber after each factor: products of level counts may overflow, the number of rows does not
        _, combined = np.unique(combined * max(len(levels), 1) + codes, return_inverse=True)
    _, first = np.unique(combined, return_index=True)
    texts = [_texts(levels) for _, levels, _ in encoded]
    parts = [[text[code] for code in codes[first]] for text, (codes, _, _) in zip(texts, encoded, strict=True)]
    names = np.array([":".join(part) for part in zip(*parts, strict=True)], dtype=object)
    labels = names[combined]
    series = [factor for factor in factors if isinstance(factor, pd.Series)]
    if not series:
        return labels
    name = ":".join(factor_names(factor)[0] for factor in factors)
    return pd.Series(labels, index=series[0].index, name=name)


def _texts(levels: np.ndarray) -> list[str]:
    """Return the text of each label; where labels of several types share one, all are written as in code."""
    texts = [_escape(label) for label in levels]
    if len(set(texts)) < len(texts):
        texts = [_escape(repr(label)) for label in levels.tolist()]
    return texts


def _escape(label: Hashable) -> str:
    return str(label).replace("\\", "\\\\").replace(":", "\\:")
