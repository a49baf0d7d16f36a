"""The protocol of a working correlation: what an engine asks of it, and nothing else.

The moment estimators of all structures rest on one kind of sum. Let v be a value a row; `pair_products` adds up v_j
v_k over pairs of rows of a cluster, by class of pair (all pairs; pairs at one distance in time; pairs of two given
times). For v the weighted Pearson residuals that is the numerator of a correlation, for v the rows' masses its
denominator. Sums of blocks of clusters are merged, so that data need not be in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skdep.clusters import Clusters

__all__ = ["Association", "Block", "Moments", "WorkingCorrelation", "share_kept"]

# A working correlation with an eigenvalue below the first limit is repaired; the repaired one has none below the
# second. Were they equal, the inverse of a repaired matrix would weigh one direction a million times more than others.
LEAST_EIGENVALUE = 1e-6
REPAIRED_EIGENVALUE = 1e-2

Association = Any
"""Parameters of a working correlation: a float, or a correlation matrix."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole clusters, rows sorted by cluster and within it by time.

    Parameters
    ----------
    clusters : Clusters
        The clusters, in order.
    time : ndarray of shape (n_rows,) or None
        Times, strictly increasing within a cluster; None where the structure needs none.
    wave : ndarray of shape (n_rows,) or None
        Number of each time among all distinct times of the data.
    n_waves : int
        Number of distinct times of the data.
    time_unit : float
        A typical gap between times of a cluster, the same for all blocks: a unit in which no correlation under- or
        overflows.
    """

    clusters: Clusters
    time: np.ndarray | None
    wave: np.ndarray | None
    n_waves: int
    time_unit: float = 1.0


@dataclass(frozen=True, slots=True)
class Moments:
    """What the moment estimators divide by.

    Parameters
    ----------
    scale : float
        The scale phi.
    n_params : int
        Number of mean parameters subtracted from numbers of pairs, 0 for ``dof="n"``.
    """

    scale: float
    n_params: int


@dataclass(frozen=True)
class WorkingCorrelation:
    """A model of the correlation within clusters; subclass it to use your own.

    A subclass implements `layout`, `pair_products`, `estimate` and `whiten`, and where its correlations can fail to be
    positive definite `repair`. A structure without parameters returns no pair products; then, and where phi is 0, its
    association is always that of `start`.

    Examples
    --------
    A structure of one's own: the exchangeable one with a correlation known beforehand.

    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.gee import Exchangeable
    >>> class Known(Exchangeable):
    ...     name = "known"
    ...     def estimate(self, layouts, products, counts, moments, previous):
    ...         return 0.3
    >>> ohio = load_ohio()
    >>> GEEClassifier(working_correlation=Known()).fit(ohio.data, ohio.target, groups=ohio.groups).association_
    0.3
    """

    name: ClassVar[str] = ""
    needs_time: ClassVar[bool] = False
    needs_waves: ClassVar[bool] = False

    def layout(self, block: Block, dof: str) -> Any:
        """Prepare whatever of a block does not depend on parameters; done once per fit."""
        raise NotImplementedError

    def pair_products(self, layout: Any, values: np.ndarray) -> np.ndarray:
        """Add up products of pairs of values (n_rows,) within clusters, by class of pair."""
        raise NotImplementedError

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Join the pair products of several blocks."""
        return np.sum(parts, axis=0)

    def start(self, layouts: Sequence[Any]) -> Association:
        """Return parameters that mean independence, with which iterations begin."""
        return 0.0

    def estimate(
        self,
        layouts: Sequence[Any],
        products: np.ndarray,
        counts: np.ndarray,
        moments: Moments,
        previous: Association,
    ) -> Association:
        """Return parameters from merged products of residuals and of masses."""
        raise NotImplementedError

    def repair(
        self, layouts: Sequence[Any], association: Association, limit: float = LEAST_EIGENVALUE
    ) -> tuple[Association, float]:
        """Return parameters whose correlations are positive definite, and the share of shrinkage that took.

        Correlations with an eigenvalue below `limit` are repaired.
        """
        return association, 0.0

    def whiten(self, layout: Any, association: Association, values: np.ndarray) -> np.ndarray:
        """Multiply each cluster's rows of values (n_rows, m) by a root C of R^(-1): C'C = R^(-1)."""
        raise NotImplementedError

    def report(self, layouts: Sequence[Any], association: Association) -> Association:
        """Return the parameters as users see them."""
        return association

    def problems(
        self, layouts: Sequence[Any], counts: np.ndarray, moments: Moments, association: Association
    ) -> list[str]:
        """Return what the user should know about the estimated parameters."""
        return []


def share_kept(smallest: float, limit: float = LEAST_EIGENVALUE) -> float:
    """Return the largest share k for which k R + (1 - k) I is positive definite by a margin.

    `smallest` is the least eigenvalue of R; where it is no less than `limit`, R needs no repair and the share is 1.
    """
    if smallest >= limit:
        return 1.0
    return float((1.0 - REPAIRED_EIGENVALUE) / (1.0 - smallest))


def corrected_counts(counts: np.ndarray, moments: Moments) -> np.ndarray:
    """Return numbers of pairs less parameters, where that leaves any; else the numbers of pairs."""
    corrected = counts - moments.n_params
    return np.where(corrected > 0, corrected, counts)
