r"""Standard errors of association parameters: the sandwich of all moment equations together, clusters independent.

beta, phi and alpha solve three sets of equations, each a sum over clusters i:

    u_i = D_i' V_i^(-1) (y_i - mu_i),
    s_i = sum over rows of (factor * w e^2 - phi),
    g_i = sum over pairs of (d rho / d alpha) (factor * v_j v_k / phi - rho).

The derivatives of the second by beta, and of the third by beta and phi, carry the errors of the former into the latter:
to first order a cluster moves

    beta by B^(-1) u_i,   phi by [s_i + (d s / d beta)' dbeta] / N,
    alpha by H^(-1) [g_i + (d g / d beta) dbeta + (d g / d phi) dphi],   H = sum over pairs of (d rho / d alpha)^2,

and the covariance of alpha is the sum over clusters of the last times its transpose. Residuals depend on
beta through mean and variance: de / d eta = -mu' / V^(1/2) - e V' mu' / (2 V).

References
----------
Yan and Fine (2004), Statistics in Medicine 23, 859-874: the joint sandwich of mean, scale and association.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skdep._linalg import scaled_inverse, scaled_solve
from skdep.families import Family
from skdep.gee.working_correlation.base import Block, Moments, Sensitivity

if TYPE_CHECKING:
    from skdep.gee.equations import Equations, Evaluation

__all__ = ["AssociationInference", "association_inference"]

# The covariance of more parameters than this is neither small nor read.
_MOST_PARAMETERS = 300
# Step of a difference quotient, as a share of the distance of a mean from the end of its range.
_DIFFERENCE = 1e-5


@dataclass(frozen=True)
class AssociationInference:
    """Association parameters as users see them, and their covariance.

    Parameters
    ----------
    names : tuple of str
        Names of the parameters.
    estimate : ndarray of shape (q,)
        Estimates.
    covariance : ndarray of shape (q, q) or None
        Robust covariance of the estimates; None where the structure gives none.
    reason : str
        Why there is no covariance, or why it is NaN; empty where there is one.
    """

    names: tuple[str, ...]
    estimate: np.ndarray
    covariance: np.ndarray | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _BlockSums:
    """What a block adds to the moment equations; association parameters are q, rows of a repeated cluster repeated."""

    products: np.ndarray  # (n_clusters, q) factor * (d rho / d alpha) v_j v_k / phi
    expected: np.ndarray  # (n_clusters, q) (d rho / d alpha) rho, by pair mass
    information: np.ndarray  # (q,) or (q, q)
    by_beta: np.ndarray  # (q, p) derivative of the products
    squares: np.ndarray  # (n_clusters,) w e^2
    mass: np.ndarray  # (n_clusters,)
    squares_by_beta: np.ndarray  # (p,)


def association_inference(equations: Equations, at: Evaluation) -> AssociationInference:
    """Return the association parameters of a fit, and their covariance.

    Parameters
    ----------
    equations : Equations
        The estimating equations.
    at : Evaluation
        Their solution.
    """
    structure, layouts = equations.structure, equations.layouts
    names = structure.parameter_names(layouts)
    if not names:
        return AssociationInference((), np.zeros(0), np.zeros((0, 0)))
    estimate, derivative = structure.reported(layouts, at.association)
    if len(names) > _MOST_PARAMETERS:
        reason = f"{len(names)} parameters are too many"
        return AssociationInference(names, estimate, None, reason)
    unknown = np.full((len(names), len(names)), np.nan)
    if not at.scale > 0.0:
        return AssociationInference(names, estimate, unknown, "residuals are all zero")
    moments = Moments(at.scale, equations.n_subtracted)
    first = structure.sensitivity(layouts, 0, at.association, equations.pair_counts, moments)
    if first is None:
        return AssociationInference(names, estimate, None, f"{structure.name!r} does not say how it is estimated")
    if sum(block.clusters.n_clusters for _, block in equations.data.blocks) == 1:
        return AssociationInference(names, estimate, unknown, "there is one cluster only")
    if at.shrinkage > 0.0:
        return AssociationInference(names, estimate, unknown, "the working correlation was repaired")
    with np.errstate(over="ignore", invalid="ignore"):  # of a fit that ran away: infinite is the right word
        scaled = _influences(equations, at, moments) * derivative
        return AssociationInference(names, estimate, np.dot(scaled.T, scaled))


def _influences(equations: Equations, at: Evaluation, moments: Moments) -> np.ndarray:
    """Return by how much each cluster moves the parameters (n_clusters, q); over the root of its repetitions."""
    data = equations.data
    numbered = list(enumerate(zip(data.blocks, equations.layouts, strict=True)))
    parts = list(equations.run(_block_function(equations, at, moments), numbered))
    scores = equations.score_sums(at)
    products, expected = (np.concatenate([getattr(part, name) for part in parts]) for name in ("products", "expected"))
    by_beta = np.sum([part.by_beta for part in parts], axis=0)
    moved = products - expected + scores @ scaled_solve(at.bread, by_beta.T)
    if equations.model.scale is None:
        # the scale divides the products, so that its relative error enters with their sum
        moved -= np.outer(_scale_influences(equations, at, parts, scores) / at.scale, products.sum(axis=0))
    if data.counts is not None:
        firsts = np.concatenate([rows.start + block.clusters.starts for rows, block in data.blocks])
        moved = moved / np.sqrt(data.counts[firsts])[:, None]
    information = np.sum([part.information for part in parts], axis=0)
    if information.ndim == 1:
        return moved / np.where(information > 0.0, information, np.nan)
    if not np.isfinite(information).all():
        return np.full_like(moved, np.nan)
    return moved @ scaled_inverse(information)


def _scale_influences(equations: Equations, at: Evaluation, parts: list[_BlockSums], scores: np.ndarray) -> np.ndarray:
    """Return by how much each cluster moves phi."""
    degrees = equations.data.n_obs - equations.n_subtracted
    factor = equations.data.n_obs / degrees if degrees > 0 else 1.0
    squares, mass = (np.concatenate([getattr(part, name) for part in parts]) for name in ("squares", "mass"))
    by_beta = np.sum([part.squares_by_beta for part in parts], axis=0)
    through_beta = scores @ scaled_solve(at.bread, by_beta)
    return (factor * (squares + through_beta) - at.scale * mass) / equations.data.n_obs


def _block_function(
    equations: Equations, at: Evaluation, moments: Moments
) -> Callable[[tuple[int, tuple[tuple[slice, Block], Any]]], _BlockSums]:
    """Return the function from a numbered block to its sums."""
    data, structure, family = equations.data, equations.structure, equations.model.family
    by_number = equations.model.dof == "n"  # weights then count observations, else they divide variances

    def sums(numbered: tuple[int, tuple[tuple[slice, Block], Any]]) -> _BlockSums:
        number, ((rows, block), layout) = numbered
        clusters = block.clusters
        sensitivity = structure.sensitivity(equations.layouts, number, at.association, equations.pair_counts, moments)
        assert sensitivity is not None
        root_mass = np.ones(len(at.mu[rows])) if equations.root_mass is None else equations.root_mass[rows]
        pearson = at.residual[rows] / root_mass
        directions = (
            data.design[rows] * _residual_slope(family, at.mu[rows], at.factor[rows] / root_mass, pearson)[:, None]
        )
        pair_mass = np.ones(len(pearson)) if equations.pair_mass is None else equations.pair_mass[rows]
        # what makes of Pearson residuals the values whose products are added up
        scaling = pair_mass if by_number else root_mass
        values, moved = scaling * pearson, scaling[:, None] * directions
        coefficients = _scaled(sensitivity, sensitivity.factor / at.scale)
        expected, information = _pair_sums(sensitivity, lambda c: structure.cluster_products(layout, pair_mass, c))
        if by_number:
            mass = clusters.sum(root_mass**2)
        else:
            mass = clusters.sizes.astype(float) if data.counts is None else clusters.sum(data.counts[rows])
        return _BlockSums(
            products=structure.cluster_products(layout, values, coefficients),
            expected=expected,
            information=information,
            by_beta=structure.pair_forms(layout, values, moved, coefficients),
            squares=clusters.sum(at.residual[rows] ** 2),
            mass=mass,
            squares_by_beta=2.0 * (at.residual[rows] * root_mass) @ directions,
        )

    return sums


def _scaled(sensitivity: Sensitivity, by_class: np.ndarray) -> np.ndarray:
    """Return the derivative of rho times a number a class of pairs."""
    if sensitivity.derivative is None:
        return by_class
    return sensitivity.derivative * by_class[:, None]


def _pair_sums(
    sensitivity: Sensitivity, cluster_sums: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected products of each cluster (n_clusters, q), and the information about alpha."""
    derivative = sensitivity.derivative
    if derivative is None:
        pairs = cluster_sums(np.ones(len(sensitivity.correlation)))
        return pairs * sensitivity.correlation, pairs.sum(axis=0)
    n_parameters = derivative.shape[1]
    squares = (derivative[:, :, None] * derivative[:, None, :]).reshape(-1, n_parameters**2)
    both = cluster_sums(np.column_stack([_scaled(sensitivity, sensitivity.correlation), squares]))
    information = both[:, n_parameters:].sum(axis=0).reshape(n_parameters, n_parameters)
    return both[:, :n_parameters], information


def _residual_slope(family: Family, mu: np.ndarray, factor: np.ndarray, pearson: np.ndarray) -> np.ndarray:
    """Return the derivative of Pearson residuals by the linear predictor; `factor` is d mu / d eta over V^(1/2)."""
    room = np.minimum(mu - family.lower, family.upper - mu)
    step = _DIFFERENCE * np.where(np.isfinite(room), room, np.maximum(np.abs(mu), 1.0))
    variance = family.variance(mu)
    slope = (family.variance(mu + step) - family.variance(mu - step)) / (2.0 * step)
    return -factor * (1.0 + 0.5 * pearson * slope / np.sqrt(variance))
