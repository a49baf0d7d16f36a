"""What can go wrong in a GEE fit, found after it: separation, vanishing means, a working correlation that failed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdep.base import FitNotes
from skdep.exceptions import (
    ConvergenceWarning,
    FewClustersWarning,
    SeparationWarning,
    WorkingCorrelationWarning,
)
from skdep.families import Binomial, Family
from skdep.gee.rows import GEERows
from skdep.gee.scoring import ScoringResult
from skdep.gee.working_correlation import Moments
from skdep.gee.working_correlation.base import REPAIRED_EIGENVALUE
from skdep.sandwich import few_clusters_message
from skdep.separation import infinite_features, no_separation_certified, separation_message

__all__ = ["FitChecks", "check_not_at_boundary"]

# Fitted means are uncertain: a few pairs beyond their bounds are no news.
_MOST_INFEASIBLE = 0.05


def check_not_at_boundary(y: np.ndarray, family: Family) -> None:
    """Raise if every outcome is at the end of the family's range, so that no finite coefficients fit."""
    for bound in (family.lower, family.upper):
        if np.all(y == bound):
            raise ValueError(
                f"y is {bound:g} in every row, the end of the range of the {family.name} family: nothing to fit."
            )


@dataclass(frozen=True, slots=True)
class FitChecks:
    """Checks of a fit, each of which warns of what it finds.

    Parameters
    ----------
    name : str
        The estimator's class.
    rows : GEERows
        The rows.
    result, start : ScoringResult
        The solution, and that under independence.
    features : tuple of str
        Names of the features.
    fit_intercept : bool
        Whether there is an intercept.
    notes : FitNotes
        Takes the warnings.
    """

    name: str
    rows: GEERows
    result: ScoringResult
    start: ScoringResult
    features: tuple[str, ...]
    fit_intercept: bool
    notes: FitNotes

    def means(self) -> bool:
        """Check that the estimates are finite; return whether they are."""
        family = self.result.equations.model.family
        finite = not isinstance(family, Binomial) or self._separation()
        return self._vanishing_means() and finite if family.counts else finite

    def _separation(self) -> bool:
        """Look for infinite estimates under independence; a converged logit fit mostly proves that there are none."""
        at, data = self.start.at, self.start.equations.data
        if self.start.equations.model.link.name == "logit":
            decrement = self.start.decrement * np.sqrt(data.n_obs * max(at.scale, 1.0))
            if no_separation_certified(decrement, at.bread, np.sum(data.design**2, axis=0)):
                return True
        elif self.start.converged and at.mu.min() > 1e-8 and at.mu.max() < 1.0 - 1e-8:
            return True
        infinite = infinite_features(self.rows.X, self.rows.y, fit_intercept=self.fit_intercept)
        if not infinite.any():
            return True
        named = [name for name, found in zip(self.features, infinite, strict=True) if found]
        self.notes.warn(separation_message(named, len(self.features)), SeparationWarning)
        return False

    def _vanishing_means(self) -> bool:
        """Look for means of 0 under independence and at the end: they mean infinite coefficients."""
        least = 1e-12 * np.mean(self.rows.y)
        vanishing = (self.result.at.mu < least) | (self.start.at.mu < least)
        if vanishing.any():
            self.notes.warn(
                f"{int(vanishing.sum())} fitted means are 0 to rounding: some coefficients are infinite. Drop or merge "
                "the features whose rows have outcomes of 0 only.",
                ConvergenceWarning,
                topic="separation",
            )
        return not vanishing.any()

    def convergence(self) -> None:
        """Check that iterations came to an end."""
        if not self.result.converged:
            self.notes.warn(
                f"{self.name} did not converge in {self.result.n_iter} iterations: the next step would be "
                f"{self.result.decrement * np.sqrt(self.rows.n_rows):.2g} standard errors. Raise max_iter, or use a "
                "simpler working correlation.",
                ConvergenceWarning,
            )

    def association(self) -> None:
        """Check that the working correlation is what was asked for."""
        equations, at = self.result.equations, self.result.at
        structure = equations.structure
        if at.shrinkage > 0:
            self.notes.warn(
                f"The estimated working correlation ({structure.name}) was not positive definite; it was shrunk "
                f"towards independence by {at.shrinkage:.2%}, the least that leaves no eigenvalue below "
                f"{REPAIRED_EIGENVALUE:g}. Robust standard errors stay valid; a structure with fewer parameters may "
                "fit better.",
                WorkingCorrelationWarning,
            )
        moments = Moments(at.scale, len(at.beta) if equations.model.dof == "n-p" else 0)
        for problem in structure.problems(equations.layouts, equations.pair_counts, moments, at.association):
            self.notes.warn(problem, WorkingCorrelationWarning)

    def feasibility(self, share: float | None) -> None:
        """Check that binary outcomes can correlate as the working correlation has it; `share` of pairs cannot."""
        if share is None or share <= _MOST_INFEASIBLE:
            return
        self.notes.warn(
            f"{share:.0%} of pairs of rows have a working correlation ({self.result.equations.structure.name}) that "
            "binary outcomes with their means cannot have: where probabilities differ, outcomes of 0 and 1 do not "
            "correlate so closely. Estimates and robust standard errors stay valid, naive ones do not.",
            WorkingCorrelationWarning,
        )

    def degrees_of_freedom(self, cov_type: str) -> None:
        """Check that there are clusters for the covariance, and observations for the scale."""
        equations, n_params = self.result.equations, len(self.result.at.beta)
        if self.rows.grouped:
            message = few_clusters_message(self.rows.n_clusters, n_params)
            if message and cov_type != "naive":
                self.notes.warn(message, FewClustersWarning)
        if equations.model.scale is None and equations.model.dof == "n-p" and equations.data.n_obs <= n_params:
            self.notes.warn(
                f"{self.rows.n_rows} observations leave no degrees of freedom for the scale of {n_params} parameters: "
                "it was divided by the number of observations.",
                ConvergenceWarning,
            )
