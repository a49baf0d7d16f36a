r"""Sums over levels of the diagonal blocks of P = Z'WZ - Z'WZ Lambda C Lambda'Z'WZ, where T is singular.

At a regular T they are T^-T (I - C_jj) T^-1; here columns of the term are taken without T. With the first factor
eliminated, its blocks are J (A_j - A_jt K A_tj J'), J = I - A_j T M_j^-1 T', K = Lambda_t C_tt Lambda_t'. Those of a
later term b are G_bb - H'C_tt H with G the Schur complement of A, and H = Lambda_t'G_tb.
"""

from __future__ import annotations

import numpy as np

from skdep.glmm.several_system import SeveralPlan, SeveralSystem
from skdep.mixed.tail_layout import Bucket

__all__ = ["sum_of_precisions"]

# Components up to this size are handled all at once.
_STACKED = 64


def sum_of_precisions(
    plan: SeveralPlan,
    weights: np.ndarray,
    system: SeveralSystem,
    inverse: np.ndarray,
    b: int,
    multiplicity: np.ndarray | None,
) -> np.ndarray:
    """Return the sum over levels of P_jj (q, q) of a term.

    Parameters
    ----------
    plan : SeveralPlan
        Cells and places.
    weights : ndarray of shape (n_rows,)
        W.
    system : SeveralSystem
        M, factorised.
    inverse : ndarray of shape (n_floats,)
        C_tt, lower triangles in flat storage.
    b : int
        The term.
    multiplicity : ndarray of shape (n_levels,) or None
        How many times each level counts.
    """
    counts = np.ones(plan.terms[b].n_levels) if multiplicity is None else multiplicity
    if b == 0:
        return _of_first(plan, weights, system, inverse, counts)
    return _of_later(plan, weights, system, inverse, b, counts)


def _of_first(
    plan: SeveralPlan, weights: np.ndarray, system: SeveralSystem, inverse: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    q, T, first = plan.first.q, system.factors[0], plan.first
    own, levels = first.own(weights), plan.links.pattern.levels
    root = np.einsum("abl,cb->acl", system.inverse_root, T)
    projection = -np.einsum("acl,xcl,xyl->ayl", own, root, root, optimize=True)
    projection[np.arange(q), np.arange(q)] += 1.0
    unscaled = np.broadcast_to(np.eye(q)[:, :, None], own.shape)
    links = plan.links.fill(plan.link_values(weights, unscaled, system.factors))
    moved = links.times_inverse(inverse)
    forms = np.empty_like(own)
    for a in range(q):
        for c in range(q):
            forms[a, c] = np.bincount(levels, links.values[a] * moved[c], minlength=first.n_levels)
    forms = 0.5 * (forms + forms.transpose(1, 0, 2))
    result = np.einsum("l,acl,cyl->ay", counts, projection, own, optimize=True)
    result -= np.einsum("l,acl,cdl,ydl->ay", counts, projection, forms, projection, optimize=True)
    return 0.5 * (result + result.T)


def _of_later(
    plan: SeveralPlan, weights: np.ndarray, system: SeveralSystem, inverse: np.ndarray, b: int, counts: np.ndarray
) -> np.ndarray:
    q, T = plan.terms[b].q, system.factors[b]
    factors = list(system.factors)
    factors[b] = np.eye(q)
    root = np.einsum("abl,cb->acl", system.inverse_root, factors[0])
    flat = np.negative(plan.links.fill(plan.link_values(weights, root, factors)).gram())
    plan.add_within(flat, weights, factors)
    own = flat[plan.own_places[b - 1]]
    result = np.einsum("l,acl->ac", counts, own)
    level_of, effect_of = np.full(plan.n_tail, -1), np.zeros(plan.n_tail, dtype=np.intp)
    columns = plan.tail_columns(b)
    level_of[columns] = np.arange(len(columns))[:, None]
    effect_of[columns] = np.arange(q)
    for bucket in plan.layout.buckets:
        result -= _taken(bucket, flat, inverse, level_of, effect_of, T, counts)
    return 0.5 * (result + result.T)


def _taken(
    bucket: Bucket,
    flat: np.ndarray,
    inverse: np.ndarray,
    level_of: np.ndarray,
    effect_of: np.ndarray,
    T: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """Return the sum over levels of H'C H in the components of a bucket."""
    q = len(T)
    result = np.zeros((q, q))
    step = max(1, _STACKED**2 * 1000 // bucket.size**2)
    for begin in range(0, bucket.n_components, step):
        chosen = slice(begin, begin + step)
        columns = bucket.columns[chosen]
        real = columns >= 0
        member = np.where(real, level_of[columns], -1)
        if not np.any(member >= 0):
            continue
        H = _symmetric(bucket.view(flat)[chosen])
        H *= real[:, :, None]
        C = _symmetric(bucket.view(inverse)[chosen])
        component, place = np.nonzero(member >= 0)
        order = np.lexsort((effect_of[columns[component, place]], member[component, place]))
        index = np.stack([component, place])[:, order].reshape(2, -1, q)
        components, places = index
        # rows of the term itself still lack T
        rows = H[components, places].copy()
        H[components, places] = np.einsum("ac,lak->lck", T, rows)
        if len(columns) == 1:
            own = H[0][:, places.ravel()]
            moved = np.dot(C[0], own)
            own, moved = own.reshape(-1, len(places), q), moved.reshape(-1, len(places), q)
            result += np.einsum("l,kla,klc->ac", counts[member[components, places][:, 0]], own, moved, optimize=True)
            continue
        product = np.matmul(H.transpose(0, 2, 1), np.matmul(C, H))
        blocks = product[components[:, :, None], places[:, :, None], places[:, None, :]]
        result += np.einsum("l,lac->ac", counts[member[components, places][:, 0]], blocks)
    return result


def _symmetric(lower: np.ndarray) -> np.ndarray:
    """Return whole symmetric matrices of lower triangles; what is above them is not read."""
    below = np.tril(lower, -1)
    result = below + below.transpose(0, 2, 1)
    diagonal = np.arange(lower.shape[1])
    result[:, diagonal, diagonal] = lower[:, diagonal, diagonal]
    return result
