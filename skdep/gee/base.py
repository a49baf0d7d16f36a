"""What the GEE estimators share: from validated rows to fitted attributes, warnings and summary."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from skdep._basis import Basis, collinearity_message, full_rank_basis
from skdep._compat import Interval, StrOptions
from skdep._fitted import FittedInference
from skdep._linalg import is_ill_conditioned
from skdep._threads import threads_over_blocks
from skdep.base import DependentDataEstimator, FitNotes, level_of_caller
from skdep.clusters import describe_sizes
from skdep.exceptions import (
    CollinearityWarning,
    ConvergenceWarning,
    FewClustersWarning,
    SeparationWarning,
    WorkingCorrelationWarning,
)
from skdep.families import Binomial, Family
from skdep.gee.covariance import gee_covariances
from skdep.gee.criteria import quasi_likelihood_criteria
from skdep.gee.equations import GEEData, Model
from skdep.gee.rows import GEERows, prepare_rows
from skdep.gee.scoring import ScoringResult, solve
from skdep.gee.working_correlation import WORKING_CORRELATIONS, Moments, WorkingCorrelation, get_working_correlation
from skdep.gee.working_correlation.base import REPAIRED_EIGENVALUE
from skdep.links import LINKS, Link, get_link
from skdep.sandwich import few_clusters_message
from skdep.separation import infinite_features, no_separation_certified, separation_message

__all__ = ["BaseGEE"]


class BaseGEE(DependentDataEstimator):
    """What both GEE estimators share."""

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"time": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "link": [StrOptions(set(LINKS)), Link, None],
        "working_correlation": [StrOptions(set(WORKING_CORRELATIONS)), WorkingCorrelation],
        "cov_type": [StrOptions({"naive", "robust"})],
        "scale": [Interval(Real, 0, None, closed="neither"), None],
        "dof": [StrOptions({"n-p", "n"})],
        "weight_type": [StrOptions({"sampling", "frequency"})],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def _fit_equations(
        self, X: np.ndarray, y: np.ndarray, family: Family, *, groups: Any, sample_weight: Any, offset: Any, time: Any
    ) -> None:
        """Fit to validated features and outcomes."""
        notes = FitNotes()
        structure = get_working_correlation(self.working_correlation)
        link = family.default_link() if self.link is None else get_link(self.link)
        rows = prepare_rows(
            X,
            y,
            groups=groups,
            sample_weight=sample_weight,
            offset=offset,
            time=time,
            weight_type=self.weight_type,
            structure=structure,
            notes=notes,
        )
        _check_not_at_boundary(rows.y, family)
        self._fitted_with_offset = offset is not None
        self._family, self._link, self._link_name = family, link, link.name
        with threads_over_blocks(rows.X.size) as run:
            data, basis = self._full_rank_data(rows)
            model = Model(family, link, self.scale, self.dof)
            result, start = solve(data, model, structure, max_iter=self.max_iter, tol=self.tol, run=run)
            self._store(data, rows, basis, structure, result, notes)
        if isinstance(family, Binomial):
            self._check_separation(data, rows, start, notes)
        self._check_scoring(rows, structure, result, start, notes)
        self._describe(rows, structure, notes)

    def _full_rank_data(self, rows: GEERows) -> tuple[GEEData, Basis | None]:
        """Return the equations' rows, in full-rank coordinates where columns are (nearly) collinear."""
        design = np.column_stack([np.ones(len(rows.X)), rows.X]) if self.fit_intercept else rows.X
        basis = None
        if is_ill_conditioned(np.dot(design.T, design)):
            basis = full_rank_basis(rows.X, fit_intercept=self.fit_intercept)
            columns = [np.ones(len(rows.X)), basis.columns] if self.fit_intercept else [basis.columns]
            design = np.column_stack(columns)
        return GEEData(design, rows.y, rows.offset, rows.weights, rows.counts, rows.blocks), basis

    def _store(
        self,
        data: GEEData,
        rows: GEERows,
        basis: Basis | None,
        structure: WorkingCorrelation,
        result: ScoringResult,
        notes: FitNotes,
    ) -> None:
        """Set the fitted attributes, in the coordinates of the features."""
        at = result.at
        counts = None if rows.counts is None else rows.counts[rows.clusters.starts]
        by_type = gee_covariances(at.bread, result.equations.score_sums(at), counts, at.scale)
        self._criteria = quasi_likelihood_criteria(data, self._family, at, by_type["robust"])
        names, params = self._parameter_names(), at.beta
        aliased = np.zeros(len(names), dtype=bool)
        if basis is not None:
            params, aliased = basis.back @ params, basis.aliased
            by_type = {kind: basis.back @ matrix @ basis.back.T for kind, matrix in by_type.items()}
            if aliased.any():
                notes.warn(collinearity_message(names, aliased), CollinearityWarning)
        n_estimable = data.design.shape[1]
        self._set_coefficients(params)
        self.covariance_ = by_type[self.cov_type]
        self.scale_ = at.scale
        self.association_ = structure.report(result.equations.layouts, at.association)
        self.correlation_shrinkage_ = at.shrinkage
        self.n_clusters_ = rows.n_clusters
        self.n_iter_ = result.n_iter
        self.converged_ = result.converged
        if rows.waves is not None:
            self.times_ = rows.waves
        elif hasattr(self, "times_"):
            del self.times_  # of an earlier fit with another structure
        self._inference = FittedInference(
            names=names,
            estimate=params,
            covariances=by_type,
            cov_type=self.cov_type,
            aliased=aliased,
            degrees_of_freedom={},
            residual_df=dict.fromkeys(by_type, float(rows.n_clusters - n_estimable)),
            n_obs=data.n_obs,
            n_clusters=rows.n_clusters if rows.grouped else None,
        )

    def _set_coefficients(self, params: np.ndarray) -> None:
        raise NotImplementedError

    def _check_separation(self, data: GEEData, rows: GEERows, start: ScoringResult, notes: FitNotes) -> None:
        """Look for infinite estimates under independence; a converged logit fit mostly proves that there are none."""
        at = start.at
        if self._link_name == "logit":
            decrement = start.decrement * np.sqrt(data.n_obs * max(at.scale, 1.0))
            if no_separation_certified(decrement, at.bread, np.sum(data.design**2, axis=0)):
                return
        elif start.converged and at.mu.min() > 1e-8 and at.mu.max() < 1.0 - 1e-8:
            return
        infinite = infinite_features(rows.X, rows.y, fit_intercept=self.fit_intercept)
        if not infinite.any():
            return
        features = self._parameter_names()[int(self.fit_intercept) :]
        named = [name for name, found in zip(features, infinite, strict=True) if found]
        self.converged_ = False
        notes.warn(separation_message(named, len(features)), SeparationWarning)

    def _check_vanishing_means(
        self, rows: GEERows, result: ScoringResult, start: ScoringResult, notes: FitNotes
    ) -> None:
        """Look for means of 0 under independence and at the end: they mean infinite coefficients."""
        if not self._family.counts:
            return
        least = 1e-12 * np.mean(rows.y)
        vanishing = (result.at.mu < least) | (start.at.mu < least)
        if vanishing.any():
            self.converged_ = False
            notes.warn(
                f"{int(vanishing.sum())} fitted means are 0 to rounding: some coefficients are infinite. Drop or merge "
                "the features whose rows have outcomes of 0 only.",
                ConvergenceWarning,
            )

    def _check_scoring(
        self,
        rows: GEERows,
        structure: WorkingCorrelation,
        result: ScoringResult,
        start: ScoringResult,
        notes: FitNotes,
    ) -> None:
        """Warn of whatever went wrong in the iterations."""
        at = result.at
        if not result.converged:
            notes.warn(
                f"{type(self).__name__} did not converge in {result.n_iter} iterations: the next step would be "
                f"{result.decrement * np.sqrt(len(rows.y)):.2g} standard errors. Raise max_iter, or use a simpler "
                "working correlation.",
                ConvergenceWarning,
            )
        self._check_vanishing_means(rows, result, start, notes)
        if at.shrinkage > 0:
            notes.warn(
                f"The estimated working correlation ({structure.name}) was not positive definite; it was shrunk "
                f"towards independence by {at.shrinkage:.2%}, the least that leaves no eigenvalue below "
                f"{REPAIRED_EIGENVALUE:g}. Robust standard errors stay valid; a structure with fewer parameters may "
                "fit better.",
                WorkingCorrelationWarning,
            )
        equations = result.equations
        moments = Moments(at.scale, len(at.beta) if self.dof == "n-p" else 0)
        for problem in structure.problems(equations.layouts, equations.pair_counts, moments, at.association):
            notes.warn(problem, WorkingCorrelationWarning)
        if rows.grouped:
            message = few_clusters_message(rows.n_clusters, len(at.beta))
            if message and self.cov_type != "naive":
                notes.warn(message, FewClustersWarning)
        if self.scale is None and self.dof == "n-p" and self._inference.n_obs <= len(at.beta):
            notes.warn(
                f"{len(rows.y)} observations leave no degrees of freedom for the scale of {len(at.beta)} parameters: "
                "it was divided by the number of observations.",
                ConvergenceWarning,
            )

    def _describe(self, rows: GEERows, structure: WorkingCorrelation, notes: FitNotes) -> None:
        """Add facts and notes to what the summary shows."""
        sizes = rows.clusters.sizes
        association = f", alpha = {self.association_:.4g}" if np.ndim(self.association_) == 0 else ""
        facts = {
            "Family, link": f"{self._family.name}, {self._link_name}",
            f"Clusters ({rows.factor_name})": describe_sizes(sizes, rows.n_clusters),
            "Working correlation": structure.name + (association if structure.name != "independence" else ""),
            "Scale (phi)": f"{self.scale_:.5g}" + (" (fixed)" if self.scale is not None else ""),
            "QIC, CIC": f"{self._criteria['qic']:.4f}, {self._criteria['cic']:.4f}",
        }
        if rows.weights is not None or rows.counts is not None:
            facts["Weights"] = self.weight_type
        if rows.grouped and rows.n_clusters < 40:
            notes.append(
                f"with {rows.n_clusters} clusters robust standard errors tend to be too small; coef_table(est, "
                "df='residual') uses the t distribution."
            )
        self._inference = self._inference.described(facts, notes)

    def _mean(self, X: Any, offset: Any) -> np.ndarray:
        """Return the means of new rows; NaN where the link admits none."""
        eta = self._linear_predictor(X, offset)
        admissible = np.isfinite(eta) & ((eta > 0) | (not self._link.positive))
        mean = np.full(len(eta), np.nan)
        mean[admissible] = self._link.inverse(eta[admissible])
        mean[(mean < self._family.lower) | (mean > self._family.upper)] = np.nan
        if np.isnan(mean).any():
            warnings.warn(
                f"{int(np.isnan(mean).sum())} rows have a linear predictor that link {self._link_name!r} maps to no "
                f"mean of the {self._family.name} family: predicted NaN.",
                UserWarning,
                stacklevel=level_of_caller(),
            )
        return mean


def _check_not_at_boundary(y: np.ndarray, family: Family) -> None:
    """Raise if every outcome is at the end of the family's range, so that no finite coefficients fit."""
    for bound in (family.lower, family.upper):
        if np.all(y == bound):
            raise ValueError(
                f"y is {bound:g} in every row, the end of the range of the {family.name} family: nothing to fit."
            )
