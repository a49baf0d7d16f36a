"""The prior density of all parameters of a model, at points of unconstrained working parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.prior_blocks import Block, Joint, Latent
from skdep.bayes.prior_layout import PointLayout
from skdep.bayes.prior_summary import Row, rows_of_normal, summarise

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PriorSpec"]


@dataclass(frozen=True, eq=False)
class PriorSpec:
    """The prior density of points, vectors of unconstrained working parameters.

    Parameters
    ----------
    layout : PointLayout
        Where each parameter is in a point.
    blocks : tuple of Block
        Independent parts of the prior.
    rows : tuple of Row
        What `summary` shows.
    shift : ndarray of shape (p,) or None, default=None
        The intercept that the prior speaks of is the intercept of the point plus ``shift @ coef``; None stands for 0.
    """

    layout: PointLayout
    blocks: tuple[Block, ...]
    rows: tuple[Row, ...]
    shift: np.ndarray | None = None

    @property
    def n_points(self) -> int:
        """Number of entries P of a point."""
        return self.layout.n_points

    @property
    def has_latents(self) -> bool:
        """Whether points hold latent scales, so that their coefficients are not entries of the point."""
        return self._latent is not None

    @property
    def smooth(self) -> bool:
        """Whether the log density has two derivatives everywhere."""
        return all(getattr(getattr(block, "prior", None), "smooth", True) for block in self.blocks)

    @property
    def _latent(self) -> Latent | None:
        return next((block for block in self.blocks if isinstance(block, Latent)), None)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return the log of the normalised prior density.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.

        Returns
        -------
        ndarray of shape (...)
            Log densities.
        """
        spoken = self._spoken_of(points)
        total = np.zeros(points.shape[:-1])
        for block in self.blocks:
            total = total + block.log_density(spoken[..., block.places])
        return total

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Return the gradient of the log density.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.

        Returns
        -------
        ndarray of shape (..., P)
            Gradients.
        """
        spoken = self._spoken_of(points)
        out = np.zeros(points.shape)
        for block in self.blocks:
            out[..., block.places] = block.gradient(spoken[..., block.places])
        if self.shift is not None:
            by_slopes = np.zeros((*points.shape[:-1], self.layout.n_coefficients))
            by_slopes[..., 1:] = out[..., :1] * self.shift
            out += self.pull_back(points, by_slopes)
        return out

    def hessian(self, points: np.ndarray) -> np.ndarray:
        """Return the second derivatives of the log density; not for priors with latent scales.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.

        Returns
        -------
        ndarray of shape (..., P, P)
            Symmetric matrices.
        """
        return self._matrices("hessian", points)

    def curvature(self, points: np.ndarray) -> np.ndarray:
        """Return curvatures of minus the log density for Newton steps; not for priors with latent scales.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.

        Returns
        -------
        ndarray of shape (..., P, P)
            Positive semidefinite matrices.
        """
        return self._matrices("curvature", points)

    def smoothed(self) -> PriorSpec:
        """Return a prior close to this one whose log density has two derivatives everywhere, to search a mode with.

        Returns
        -------
        PriorSpec
            The prior.
        """
        return replace(self, blocks=tuple(block.smoothed() for block in self.blocks))

    def sample_points(self, rng: Any, n: int) -> np.ndarray:
        """Draw points from the prior.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None
            Source of randomness, or its seed.
        n : int
            Number of draws.

        Returns
        -------
        ndarray of shape (n, P)
            Points.
        """
        rng = np.random.default_rng(rng)
        points = np.empty((n, self.n_points))
        for block in self.blocks:
            points[:, block.places] = block.sample(rng, n)
        if self.shift is not None:
            points[:, 0] -= self.working_coefficients(points)[:, 1:] @ self.shift
        return points

    def sample(self, rng: Any, n: int) -> dict[str, Any]:
        """Draw parameters from the prior.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None
            Source of randomness, or its seed.
        n : int
            Number of draws.

        Returns
        -------
        dict of str to ndarray
            As of `to_user`.
        """
        return self.to_user(self.sample_points(rng, n))

    def working_coefficients(self, points: np.ndarray) -> np.ndarray:
        """Return the coefficients of working columns.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.

        Returns
        -------
        ndarray of shape (..., k)
            ``[intercept, *coef]``.
        """
        coefficients = points[..., : self.layout.n_coefficients]
        if self._latent is None:
            return coefficients
        coefficients = coefficients.copy()
        places = self._latent.places[: len(self._latent.factors)]
        coefficients[..., places] = self._latent.slopes(points[..., self._latent.places])
        return coefficients

    def pull_back(self, points: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Turn the gradient of a function of the working coefficients into its gradient in the point.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.
        gradient : ndarray of shape (..., k)
            Gradients by `working_coefficients` there.

        Returns
        -------
        ndarray of shape (..., P)
            Gradients by the point.
        """
        out = np.zeros(points.shape)
        out[..., : self.layout.n_coefficients] = gradient
        if self._latent is not None:
            latent = self._latent
            by_slopes = gradient[..., latent.places[: len(latent.factors)]]
            out[..., latent.places] = latent.pull_back(points[..., latent.places], by_slopes)
        return out

    def to_user(self, points: np.ndarray) -> dict[str, Any]:
        """Return the parameters at points, in the units of the features.

        Parameters
        ----------
        points : ndarray of shape (..., P)
            Points.

        Returns
        -------
        dict
            ``"intercept"`` of shape (...), if there is one; ``"coef"`` of shape (..., p); with random effects
            ``"random_covariance"``, a dict from factor to covariance matrices of shape (..., q, q).
        """
        layout = self.layout
        coefficients = self.working_coefficients(points) @ layout.to_user.T
        values: dict[str, Any] = {"intercept": coefficients[..., 0]} if layout.fit_intercept else {}
        values["coef"] = coefficients[..., layout.coef]
        if layout.random:
            values["random_covariance"] = {term.name: term.covariance(points) for term in layout.random}
        return values

    def from_user(self, values: dict[str, Any]) -> np.ndarray:
        """Return the points of parameters in the units of the features, the inverse of `to_user`.

        Parameters
        ----------
        values : dict
            As of `to_user`.

        Returns
        -------
        ndarray of shape (..., P)
            Points.
        """
        if self.has_latents:
            raise ValueError("Coefficients do not determine the latent scales of a horseshoe prior.")
        layout = self.layout
        coef = np.asarray(values["coef"], dtype=float)
        points = np.empty((*coef.shape[:-1], self.n_points))
        if layout.fit_intercept:
            points[..., 0] = values["intercept"]
        points[..., layout.coef] = coef
        points[..., : layout.n_coefficients] = points[..., : layout.n_coefficients] @ layout.to_working.T
        for term in layout.random:
            term.place(np.asarray(values["random_covariance"][term.name], dtype=float), points)
        return points

    def replaced_by(self, normal: MultivariateNormal) -> PriorSpec:
        """Return a normal prior of the same points, such as the approximation of an earlier posterior.

        Parameters
        ----------
        normal : MultivariateNormal
            Prior of points, of dimension P.

        Returns
        -------
        PriorSpec
            The prior.
        """
        if self.has_latents or len(normal) != self.n_points:
            raise ValueError(f"The normal prior should have dimension {self.n_points}, without latent scales.")
        return PriorSpec(self.layout, (Joint(np.arange(self.n_points), normal),), rows_of_normal(normal, self.layout))

    def summary(self, level: float = 0.95) -> pd.DataFrame:
        """Tabulate the prior of each parameter, in the units of the features.

        Parameters
        ----------
        level : float, default=0.95
            Share of the prior in the ranges.

        Returns
        -------
        DataFrame
            Rows by parameter; columns ``prior``, ``quantity`` that it is of, ``low`` and ``high`` ends of its central
            range, ``odds_ratio_low`` and ``odds_ratio_high`` of slopes (NaN for others), and whether it is a
            ``default``.
        """
        return summarise(self.rows, level)

    def _spoken_of(self, points: np.ndarray) -> np.ndarray:
        """Return points with the intercept that the prior speaks of."""
        if self.shift is None:
            return points
        spoken = points.copy()
        spoken[..., 0] += self.working_coefficients(points)[..., 1:] @ self.shift
        return spoken

    def _matrices(self, what: str, points: np.ndarray) -> np.ndarray:
        """Assemble matrices of the blocks."""
        spoken = self._spoken_of(points)
        out = np.zeros((*points.shape, self.n_points))
        for block in self.blocks:
            out[..., block.places[:, None], block.places] = getattr(block, what)(spoken[..., block.places])
        if self.shift is None:
            return out
        shear = np.eye(self.n_points)
        shear[0, self.layout.coef] = self.shift
        return shear.T @ out @ shear
