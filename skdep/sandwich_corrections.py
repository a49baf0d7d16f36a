r"""Sandwich covariances corrected for few clusters, from p x p sums of each cluster.

A fitted cluster draws the fit towards itself, so that its score is too small. With bread B = sum B_i and cluster scores
u_i the corrected covariances are

.. math:: B^{-1} \Bigl(\sum_i \tilde u_i \tilde u_i'\Bigr) B^{-1}

with scores

* Mancl and DeRouen: B (B - B_i)^{-1} u_i, the score that removes cluster i from the estimate altogether (CR3);
* Kauermann and Carroll: B^{1/2} (I - B^{-1/2} B_i B^{-1/2})^{-1/2} B^{-1/2} u_i, unbiased where the working covariance
  is right (CR2);
* Fay and Graubard: u_i, each entry over the root of 1 - min(3/4, [B_i B^{-1}]_jj).

All is done in coordinates in which B = I, where B_i becomes the leverage M_i of the cluster, sum M_i = I: no matrix is
larger than p x p however large the cluster. Where a cluster has little leverage, powers of M_i times the score are
added up until they vanish; elsewhere M_i has its eigenvalues computed. A direction that a cluster determines alone,
eigenvalue 1, has a score of zero and is left out (a Moore-Penrose inverse).

Fay and Graubard's matrices depend on the origin of features. Where there is an intercept, features are therefore
centred at their (weighted) means first, and the result turned back: no origin matters then.

References
----------
Mancl and DeRouen (2001), Biometrics 57, 126-134. Kauermann and Carroll (2001), Journal of the American Statistical
Association 96, 1387-1396. Fay and Graubard (2001), Biometrics 57, 1198-1206. Bell and McCaffrey (2002), Survey
Methodology 28, 169-181. Preisser and Qaqish (1996), Biometrika 83, 551-562: deletion in p x p form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skdep.clusters import Clusters

__all__ = [
    "CorrectedSums",
    "CorrectionFrame",
    "cluster_products",
    "correct_block",
    "corrected_scores",
    "correction_frame",
    "leverage_eigen",
]

# Clusters of a total leverage above this have eigenvalues computed: all of them together are at most p over it.
_SMALL_LEVERAGE = 0.03
# Gap to 1 under which an eigenvalue of a leverage is 1.
_FULL_LEVERAGE = 1e-9
_SERIES_TOLERANCE = 1e-13
# In a large block so many clusters of the most leverage have eigenvalues computed too.
_MOST_EXCEPTIONS = 100
# M times a vector takes about so many passes over the rows if M is not formed.
_ROW_PASSES = 5
_FAY_GRAUBARD_BOUND = 0.75


@dataclass(frozen=True, slots=True)
class CorrectionFrame:
    """Coordinates in which the bread is the identity, and what leads there and back.

    Parameters
    ----------
    root : ndarray of shape (p, r)
        Maps columns of the design to orthonormal ones: ``root.T @ bread @ root = I``.
    back : ndarray of shape (n_params, r)
        Maps estimates in orthonormal coordinates to those of the user: a covariance is ``back @ meat @ back.T``.
    to_centred : ndarray of shape (n_params, r)
        Maps orthonormal scores to those of the user's coefficients, features centred.
    from_centred : ndarray of shape (n_params, r)
        Its dual: maps estimates in orthonormal coordinates to the user's coefficients, features centred.
    """

    root: np.ndarray
    back: np.ndarray
    to_centred: np.ndarray
    from_centred: np.ndarray

    def covariance(self, meat: np.ndarray) -> np.ndarray:
        """Return the covariance of the user's coefficients for a meat (r, r) in orthonormal coordinates."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a fit that ran away: infinite is the right word
            product = self.back @ meat @ self.back.T
            return 0.5 * (product + product.T)

    def centred_covariance(self, meat: np.ndarray) -> np.ndarray:
        """Return the covariance of the user's coefficients for a meat (n_params, n_params) of centred scores."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.covariance(self.from_centred.T @ meat @ self.from_centred)


def correction_frame(
    bread: np.ndarray, back: np.ndarray | None = None, *, centre: np.ndarray | None = None
) -> CorrectionFrame:
    """Find the coordinates.

    Parameters
    ----------
    bread : ndarray of shape (p, p)
        Information of the coefficients of the design.
    back : ndarray of shape (n_params, p), optional
        Maps them to the user's coefficients; None where they are the same.
    centre : ndarray of shape (n_params - 1,), optional
        Means of the features, at which they are centred, if the first of the user's coefficients is an intercept.
    """
    diagonal = np.diag(bread)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(bread / np.outer(scale, scale))
    kept = values > 1e-13
    root = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    inverse = np.eye(len(bread)) if back is None else np.linalg.pinv(back)
    to_user = inverse.T @ (vectors[:, kept] * np.sqrt(values[kept]) * scale[:, None])  # B root: scores back again
    user = root if back is None else back @ root
    to_centred, from_centred = to_user.copy(), user.copy()
    if centre is not None:
        to_centred[1:] -= centre[:, None] * to_user[0]
        from_centred[0] += centre @ user[1:]
    return CorrectionFrame(root, user, to_centred, from_centred)


@dataclass(frozen=True, slots=True)
class CorrectedSums:
    """Sums over clusters, in orthonormal coordinates; those of blocks of clusters add up.

    Parameters
    ----------
    robust, md, kc : ndarray of shape (r, r)
        Sums of squares and products of scores: plain, Mancl and DeRouen's, Kauermann and Carroll's.
    fg : ndarray of shape (n_params, n_params)
        The same of Fay and Graubard's scores, of the user's coefficients with features centred.
    """

    robust: np.ndarray
    md: np.ndarray
    kc: np.ndarray
    fg: np.ndarray

    @classmethod
    def total(cls, parts: Sequence[CorrectedSums]) -> CorrectedSums:
        """Add up blocks."""
        return cls(*(np.add.reduce([getattr(part, name) for part in parts]) for name in cls.__slots__))


def correct_block(
    columns: np.ndarray,
    residual: np.ndarray,
    clusters: Clusters,
    counts: np.ndarray | None,
    frame: CorrectionFrame,
    eigen: tuple[np.ndarray, np.ndarray] | None = None,
) -> CorrectedSums:
    """Add up the corrected scores of some clusters.

    Parameters
    ----------
    columns : ndarray of shape (n_rows, r)
        Whitened rows of the design times ``frame.root``: their cross-products over all clusters are the identity.
    residual : ndarray of shape (n_rows,)
        Whitened residuals.
    clusters : Clusters
        The clusters; rows are in their order.
    counts : ndarray of shape (n_clusters,) or None
        How often each cluster is there.
    frame : CorrectionFrame
        The coordinates.
    eigen : (ndarray of shape (n_clusters, r), ndarray of shape (n_clusters, r, r)), optional
        Eigenvalues and vectors of all leverages, where known.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of a fit that ran away: infinite is the right word
        scores = clusters.sum(columns * residual[:, None])
        if eigen is None:
            deleted, halved = corrected_scores(columns, scores, clusters)
        else:
            deleted, halved = _by_eigenvalues(scores, eigen)
        share = clusters.sum((columns @ frame.to_centred.T) * (columns @ frame.from_centred.T))
        shrunk = scores @ frame.to_centred.T
        shrunk /= np.sqrt(1.0 - np.minimum(share, _FAY_GRAUBARD_BOUND))
        return CorrectedSums(*(_squares(part, counts) for part in (scores, deleted, halved, shrunk)))


def _squares(scores: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Return the sum of squares and products of scores (n_clusters, p), each as often as it is counted."""
    return np.dot(scores.T, scores if counts is None else scores * counts[:, None])


def corrected_scores(columns: np.ndarray, scores: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """Return (I - M)^{-1} and (I - M)^{-1/2} times the scores (n_clusters, r).

    Parameters
    ----------
    columns : ndarray of shape (n_rows, r)
        As in `correct_block`.
    scores : ndarray of shape (n_clusters, r)
        Columns times residuals, added up within clusters.
    clusters : Clusters
        The clusters; rows are in their order.
    """
    leverage = clusters.sum(np.einsum("np,np->n", columns, columns))
    bound = _SMALL_LEVERAGE
    if len(leverage) > 2 * _MOST_EXCEPTIONS:
        # a few clusters of more leverage than the rest would only make its series longer
        bound = min(bound, float(np.partition(leverage, -_MOST_EXCEPTIONS)[-_MOST_EXCEPTIONS]))
    large = np.flatnonzero(leverage > bound)
    if len(large) == len(scores):
        return _by_eigenvalues(scores, leverage_eigen(columns, clusters))
    deleted, halved = _by_series(columns, scores, clusters, bound)
    if len(large):
        eigen = leverage_eigen(columns, clusters, large)
        deleted[large], halved[large] = _by_eigenvalues(scores[large], eigen)
    return deleted, halved


def _by_series(
    columns: np.ndarray, scores: np.ndarray, clusters: Clusters, bound: float
) -> tuple[np.ndarray, np.ndarray]:
    """Add up powers of M times the scores; `bound` is above the eigenvalues of those M that matter."""
    n_terms = int(np.ceil(np.log(_SERIES_TOLERANCE) / np.log(bound))) if bound > 0.0 else 0
    formed = None
    if columns.shape[1] * len(scores) < _ROW_PASSES * len(columns):  # else rows are cheaper than matrices
        formed = cluster_products(columns, columns, clusters.starts, clusters.sizes)
    deleted, halved, term, binomial = scores.copy(), scores.copy(), scores, 1.0
    for k in range(1, n_terms + 1):
        if formed is None:
            along = np.einsum("np,np->n", columns, clusters.spread(term))
            term = clusters.sum(columns * along[:, None])
        else:
            term = (formed @ term[:, :, None])[:, :, 0]
        binomial *= (2 * k - 1) / (2 * k)
        deleted += term
        halved += binomial * term
    return deleted, halved


def leverage_eigen(
    columns: np.ndarray, clusters: Clusters, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (n, r) and eigenvectors (n, r, r) of the leverages of some clusters, by default of all."""
    starts, sizes = clusters.starts, clusters.sizes
    if chosen is not None:
        starts, sizes = starts[chosen], sizes[chosen]
    values, vectors = np.linalg.eigh(cluster_products(columns, columns, starts, sizes))
    return np.clip(values, 0.0, 1.0), vectors


def inverse_gap(values: np.ndarray) -> np.ndarray:
    """Return 1 / (1 - eigenvalue), 0 for eigenvalue 1: a direction that the cluster determines alone."""
    gap = 1.0 - values
    return np.divide(1.0, gap, out=np.zeros_like(gap), where=gap > _FULL_LEVERAGE)


def _by_eigenvalues(scores: np.ndarray, eigen: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = eigen
    inverse = inverse_gap(values)
    turned = (scores[:, None, :] @ vectors)[:, 0, :]
    deleted, halved = inverse * turned, np.sqrt(inverse) * turned
    return (vectors @ deleted[:, :, None])[:, :, 0], (vectors @ halved[:, :, None])[:, :, 0]


def cluster_products(left: np.ndarray, right: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return ``left_i.T @ right_i`` of runs of rows (n, p, q), in one product for all runs of about the same length.

    Parameters
    ----------
    left, right : ndarray of shape (n_rows, p), (n_rows, q)
        Rows.
    starts, sizes : ndarray of shape (n,)
        First row of each run, and its number of rows, at least 1.
    """
    n, size = len(sizes), int(sizes[0]) if len(sizes) else 0
    if n and (sizes == size).all() and (np.diff(starts) == size).all():
        run = slice(int(starts[0]), int(starts[0]) + n * size)
        return left[run].reshape(n, size, -1).transpose(0, 2, 1) @ right[run].reshape(n, size, -1)
    result = np.empty((n, left.shape[1], right.shape[1]))
    classes = np.frexp(sizes - 0.5)[1]  # runs of 2^(k-1) + 1 to 2^k rows are filled up with zeros
    for number in np.unique(classes):
        of_class = np.flatnonzero(classes == number)
        position = np.arange(int(sizes[of_class].max()))
        inside = position < sizes[of_class, None]
        rows = starts[of_class, None] + np.where(inside, position, 0)
        padded = left[rows] * inside[:, :, None]
        result[of_class] = padded.transpose(0, 2, 1) @ right[rows]
    return result
