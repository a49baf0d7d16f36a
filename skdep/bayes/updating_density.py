"""Likelihoods of whole points, random effects integrated: what weights and certificates are computed from."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdep.bayes.flat_target import FlatTarget
from skdep.bayes.multilevel_target import MultilevelTarget
from skdep.bayes.pair_sums import softplus_pairs
from skdep.bayes.posterior import Posterior
from skdep.glmm.rows import GlmmRows

__all__ = ["has_marginal", "log_likelihood", "nodes_of", "target_of"]

_MOST_DIMENSIONS = 3
# Nodes per dimension where the sampler did not settle how many are needed.
_NODES = {1: 15, 2: 9, 3: 7}


def has_marginal(rows: GlmmRows, prior: Any) -> bool:
    """Say whether the likelihood of a point alone can be had: no random effects, or those of one factor."""
    if not rows.terms:
        return True
    return not prior.has_latents and len(rows.terms) == 1 and rows.terms[0].q <= _MOST_DIMENSIONS


def nodes_of(posterior: Posterior, rows: GlmmRows) -> int:
    """Return the quadrature nodes per dimension that a posterior was sampled with, 1 without random effects."""
    if not rows.terms:
        return 1
    return int(posterior.details.get("n_nodes", _NODES.get(rows.terms[0].q, 1)))


def target_of(rows: GlmmRows, prior: Any, n_nodes: int, near: np.ndarray) -> Any:
    """Return the posterior density of points.

    Parameters
    ----------
    rows : GlmmRows
        The data; `has_marginal`.
    prior : PriorSpec
        The prior, without latent scales.
    n_nodes : int
        Quadrature nodes per dimension.
    near : ndarray of shape (P,)
        Where it will be evaluated, about.
    """
    if not rows.terms:
        return FlatTarget(rows, prior)
    target = MultilevelTarget(rows, prior, prior.layout, n_nodes)
    target.prepare(near)
    return target


def log_likelihood(rows: GlmmRows | None, prior: Any, points: np.ndarray, n_nodes: int) -> np.ndarray:
    """Return the log-likelihoods (n,) of rows at points (n, P).

    Parameters
    ----------
    rows : GlmmRows or None
        The data; None stands for none.
    prior : PriorSpec
        Knows what is where in points.
    points : ndarray of shape (n, P)
        Points.
    n_nodes : int
        Quadrature nodes per dimension.
    """
    if rows is None:
        return np.zeros(len(points))
    if rows.terms:
        return target_of(rows, prior, n_nodes, points.mean(axis=0)).log_likelihood(points)
    beta = prior.working_coefficients(points)
    offset = np.zeros(rows.n_rows) if rows.offset is None else rows.offset
    sums, _ = softplus_pairs(rows.fixed, rows.weight, offset, beta)
    return beta @ np.dot(rows.outcome, rows.fixed) + float(rows.outcome @ offset) - sums
