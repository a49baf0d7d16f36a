"""The protocol of a working correlation: what an engine asks of it, and nothing else.

The moment estimators of all structures rest on one kind of sum. Let v be a value a row; `pair_products` adds up v_j
v_k over pairs of rows of a cluster, by class of pair (all pairs; pairs at one distance in time; pairs of two given
times). For v the weighted Pearson residuals that is the numerator of a correlation, for v the rows' masses its
denominator. Sums of blocks of clusters are merged, so that data need not be in memory at once.

The moment equations of the association parameters alpha are, over classes of pairs,

    sum over classes of (d rho / d alpha) (factor * products / phi - counts * rho) = 0,

so that a structure which tells rho, its derivative and the factor (`sensitivity`), and which can form the sums cluster
by cluster, gets standard errors of alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skdep.clusters import Clusters

__all__ = ["Association", "Block", "Moments", "Sensitivity", "WorkingCorrelation", "combine_classes", "share_kept"]

# A working correlation with an eigenvalue below the first limit is repaired; the repaired one has none below the
# second. Were they equal, the inverse of a repaired matrix would weigh one direction a million times more than others.
LEAST_EIGENVALUE = 1e-6
REPAIRED_EIGENVALUE = 1e-2
# A class of pairs with so small a share of the largest has none: sums by transforms leave rounding for zero.
RARE_PAIRS = 1e-9

Association = Any
"""Parameters of a working correlation: a float, or a correlation matrix."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole clusters, rows sorted by cluster, within it by subcluster, and within that by time.

    Parameters
    ----------
    clusters : Clusters
        The clusters, in order.
    time : ndarray of shape (n_rows,) or None
        Times, strictly increasing within a cluster (its smallest subcluster); None where the structure needs none.
    wave : ndarray of shape (n_rows,) or None
        Number of each time among all distinct times of the data.
    n_waves : int
        Number of distinct times of the data.
    time_unit : float
        A typical gap between times of a cluster, the same for all blocks: a unit in which no correlation under- or
        overflows.
    times : ndarray of shape (n_waves,) or None
        The distinct times of the data, the same for all blocks; None where the structure numbers none.
    subclusters : tuple of Clusters
        Subclusters, nested in the clusters and in each other, the largest first; empty where the structure needs none.
    """

    clusters: Clusters
    time: np.ndarray | None
    wave: np.ndarray | None
    n_waves: int
    time_unit: float = 1.0
    times: np.ndarray | None = None
    subclusters: tuple[Clusters, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How the classes of pairs of a block enter the moment equations of alpha.

    Parameters
    ----------
    correlation : ndarray of shape (n_classes,)
        Correlation rho of each class.
    derivative : ndarray of shape (n_classes, n_parameters) or None
        Derivative of rho by alpha; None where every class has a parameter of its own.
    factor : ndarray of shape (n_classes,)
        Number of pairs over number of pairs less parameters: the correction of ``dof="n-p"``.
    """

    correlation: np.ndarray
    derivative: np.ndarray | None
    factor: np.ndarray


@dataclass(frozen=True)
class WorkingCorrelation:
    """A model of the correlation within clusters; subclass it to use your own.

    Where the correlation is a formula in the times of two rows, subclass `ParametricCorrelation`, which asks for that
    formula only. In general a subclass implements `layout`, `pair_products`, `estimate` and `whiten`, and where its
    correlations can fail to be positive definite `repair`. A structure without parameters returns no pair products;
    then, and where phi is 0, its association is always that of `start`. Standard errors of alpha need `sensitivity`,
    `cluster_products` and `pair_forms` too, and the check of what binary outcomes allow needs `correlations`.

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
    needs_subclusters: ClassVar[bool] = False

    def layout(self, block: Block, dof: str) -> Any:
        """Prepare whatever of a block does not depend on parameters; done once per fit."""
        raise NotImplementedError

    def pair_products(self, layout: Any, values: np.ndarray) -> np.ndarray:
        """Add up products of pairs of values (n_rows,) within clusters, by class of pair."""
        raise NotImplementedError

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Join the pair products of several blocks."""
        return np.sum(parts, axis=0)

    def digest(self, layout: Any) -> Any:
        """Return what of a layout the methods need that take all of them: small, where that can be.

        Of data in chunks only digests are kept.
        """
        return layout

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

    def correlations(
        self, layout: Any, association: Association, earlier: np.ndarray, later: np.ndarray
    ) -> np.ndarray | None:
        """Return the correlations of pairs of rows, given by row numbers; None where the structure cannot tell."""
        return None

    def parameter_names(self, layouts: Sequence[Any]) -> tuple[str, ...]:
        """Return names of the parameters, in the order of `reported`."""
        return ("alpha",)

    def reported(self, layouts: Sequence[Any], association: Association) -> tuple[np.ndarray, np.ndarray]:
        """Return the parameters as users see them, and the derivative of each by that of `sensitivity`."""
        values = np.atleast_1d(np.asarray(self.report(layouts, association), dtype=float))
        return values, np.ones(len(values))

    def sensitivity(
        self, layouts: Sequence[Any], number: int, association: Association, counts: np.ndarray, moments: Moments
    ) -> Sensitivity | None:
        """Return how the classes of pairs of layout `number` enter the moment equations; None without standard errors.

        `counts` are the merged products of masses.
        """
        return None

    def cluster_products(self, layout: Any, values: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Add up coefficient times v_j v_k over pairs of rows of each cluster: (n_clusters, n_parameters).

        Coefficients belong to classes of pairs: (n_classes, n_parameters), or (n_classes,) for a parameter a class.
        """
        raise NotImplementedError

    def pair_forms(self, layout: Any, left: np.ndarray, right: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Add up coefficient times (l_j r_k + l_k r_j) over pairs, for each column of right: (n_parameters, n_columns).

        Coefficients are those of `cluster_products`.
        """
        raise NotImplementedError


def combine_classes(sums: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Combine sums by class (..., n_classes) by coefficients (n_classes,) or (n_classes, n_parameters)."""
    return sums * coefficients if coefficients.ndim == 1 else sums @ coefficients


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


def mean_products(products: np.ndarray, counts: np.ndarray, moments: Moments, rare: float = 0.0) -> np.ndarray:
    """Return mean products of pairs over phi by class of pair; 0 for classes without pairs.

    A class has none if its share of the largest is `rare` or less.
    """
    met = counts > rare * counts.max(initial=0.0)
    return np.where(met, products / np.where(met, moments.scale * corrected_counts(counts, moments), 1.0), 0.0)


def correction_factors(counts: np.ndarray, moments: Moments) -> np.ndarray:
    """Return numbers of pairs over those less parameters, by class; 1 for classes without pairs."""
    met = counts > 0.0
    return np.where(met, counts / np.where(met, corrected_counts(counts, moments), 1.0), 1.0)


def overall_correction(counts: np.ndarray, moments: Moments) -> float:
    """Return pairs over pairs less parameters, all classes together, where any are left."""
    total = float(counts.sum())
    return total / (total - moments.n_params) if total > moments.n_params else 1.0
