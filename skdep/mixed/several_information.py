r"""Information of a model with several factors: Z'V^-1 Z between all levels, and traces of its blocks.

With A the cross-products, C = S^-1 in units of the effects and J = I - A_11 W, the blocks of B = Z'V^-1 Z are

    B_tt = G - G C G,    B_1t = J A_1t (I - C G),    B_11 = J A_11 - J A_1t C A_t1 J'.

They are sparse where levels fall into many components, and dense where factors are crossed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from skdep.mixed.evaluation import State
from skdep.mixed.information import Information
from skdep.mixed.leading import precision_of
from skdep.mixed.small_matrices import block_diagonal
from skdep.mixed.tail_layout import sparse_blocks

if TYPE_CHECKING:
    from skdep.mixed.several_factors import SeveralFactors

__all__ = ["several_information"]

# Columns of dense blocks above which the matrices (8 bytes an entry) are too large to form.
_MOST_DENSE_COLUMNS = 16000


def several_information(engine: SeveralFactors, state: State) -> Information:
    """Return the traces and products of which degrees of freedom are made."""
    products = engine.border_products(state)
    F = [part[: engine.products.n_params] for part in products]
    residuals = [np.tensordot(state.border.contrast, part, axes=1) for part in products]
    blocks = _precision_blocks(engine, state)
    parameters = engine.parameters
    k, p = parameters.n_parameters, engine.products.n_params
    first, second = np.zeros(k), np.zeros((k, k))
    scores, quadratic = np.zeros(k), np.zeros((k, k))
    outer, crossed = np.zeros((k, p, p)), np.zeros((k, k, p, p))
    x = np.zeros((p, k))
    moved, vectors = [], []
    for b, basis in enumerate(parameters.basis):
        span = slice(parameters.bounds[b], parameters.bounds[b + 1])
        first[span] = np.einsum("iac,ac->i", basis, _diagonal_sum(blocks[b, b], basis.shape[1]))
        turned = np.einsum("iac,pcl->ipal", basis, F[b])
        outer[span] = np.einsum("pal,ixal->ipx", F[b], turned, optimize=True)
        moved.append(_columns(turned))
        vector = np.einsum("iac,cl->ial", basis, residuals[b])
        scores[span] = np.einsum("al,ial->i", residuals[b], vector)
        x[:, span] = np.einsum("pal,ial->pi", F[b], vector)
        vectors.append(_columns(vector[:, None])[:, :, 0])
    for b in range(len(F)):
        for c in range(b, len(F)):
            rows = slice(parameters.bounds[b], parameters.bounds[b + 1])
            columns = slice(parameters.bounds[c], parameters.bounds[c + 1])
            block = blocks[b, c]
            second[rows, columns] = _squared(block, parameters.basis[b], parameters.basis[c])
            flat = moved[c].transpose(1, 0, 2).reshape(moved[c].shape[1], -1)
            right = (block @ flat).reshape(-1, *moved[c].shape[::2])
            crossed[rows, columns] = np.einsum("ilp,ljx->ijpx", moved[b], right, optimize=True)
            quadratic[rows, columns] = vectors[b] @ (block @ vectors[c].T)
            second[columns, rows] = second[rows, columns].T
            crossed[columns, rows] = crossed[rows, columns].transpose(1, 0, 3, 2)
            quadratic[columns, rows] = quadratic[rows, columns].T
    phi = state.border.inverse_root @ state.border.inverse_root.T
    return Information(first, second, outer, crossed, scores, quadratic - x.T @ phi @ x, phi)


def _columns(stack: np.ndarray) -> np.ndarray:
    """Turn (i, p, q, l) into (i, l q, p)."""
    return stack.transpose(0, 3, 2, 1).reshape(len(stack), -1, stack.shape[1])


def _precision_blocks(engine: SeveralFactors, state: State) -> dict[tuple[int, int], Any]:
    """Return Z_b'V^-1 Z_c for b <= c."""
    layout, work = engine.layout, state.work
    whole = len(layout.buckets) == 1 and layout.buckets[0].n_components == 1
    n_columns = engine.links.shape[0] + engine.links.shape[1]
    if whole and n_columns > _MOST_DENSE_COLUMNS:
        raise ValueError(
            f"df='satterthwaite' and 'kenward-roger' need all {n_columns} random effects of crossed factors at once, "
            f"more than the {_MOST_DENSE_COLUMNS} that are feasible; with so many levels use df='normal'."
        )
    C = sparse_blocks(layout, engine.whole(engine.tail_variance(state)))
    G = sparse_blocks(layout, engine.whole(work["schur"]))
    if whole:
        C, G = C.toarray(), G.toarray()
    links = block_diagonal(work["J"]) @ engine.links
    CG = C @ G
    tail = G - G @ CG
    first_tail = links - links @ CG
    spread = links @ C
    first = block_diagonal(precision_of(engine.first.own, work["J"])) - (
        spread @ links.T.toarray() if whole else spread @ links.T
    )
    if not whole:
        tail, first_tail, first = tail.tocsr(), first_tail.tocsr(), first.tocsr()
    else:
        first_tail, first = np.asarray(first_tail), np.asarray(first)
    blocks: dict[tuple[int, int], Any] = {(0, 0): first}
    bounds = engine.offsets
    for b in range(len(engine.later)):
        rows = slice(bounds[b], bounds[b + 1])
        blocks[0, b + 1] = first_tail[:, rows]
        for c in range(b, len(engine.later)):
            blocks[b + 1, c + 1] = tail[rows, bounds[c] : bounds[c + 1]]
    return blocks


def _diagonal_sum(block: Any, q: int) -> np.ndarray:
    """Return the sum of the diagonal blocks (q, q)."""
    return np.array([[block[a::q, c::q].diagonal().sum() for c in range(q)] for a in range(q)])


def _squared(block: Any, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return tr(E_i B E_j B') summed over pairs of levels, for all basis matrices E_i and E_j."""
    q, r = left.shape[1], right.shape[1]
    slices = [block[a::q, d::r] for a in range(q) for d in range(r)]
    products = np.empty((q * r, q * r))
    for m, one in enumerate(slices):
        for n, other in enumerate(slices[: m + 1]):
            product = one.multiply(other).sum() if sparse.issparse(one) else np.vdot(one, other)
            products[m, n] = products[n, m] = float(product)
    products = products.reshape(q, r, q, r)
    return np.einsum("iac,cdae,jde->ij", left, products, right, optimize=True)
