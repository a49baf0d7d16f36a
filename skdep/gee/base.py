"""What the GEE estimators share: from validated rows to fitted attributes and summary."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from skdep._basis import Basis, collinearity_message, full_rank_basis
from skdep._compat import Interval, StrOptions
from skdep._docs import read_more
from skdep._fitted import FittedInference
from skdep._linalg import is_ill_conditioned
from skdep._stack import level_of_caller
from skdep._threads import threads_over_blocks
from skdep._validation import check_weights
from skdep.base import DependentDataEstimator, FitNotes
from skdep.clusters import describe_sizes
from skdep.exceptions import CollinearityWarning, WeightWarning
from skdep.families import Binomial, Family
from skdep.gee.checks import FitChecks, check_not_at_boundary
from skdep.gee.covariance import COV_TYPES, CovarianceRequest, GEECovariances, gee_covariances, over_replicates
from skdep.gee.criteria import quasi_likelihood_criteria
from skdep.gee.equations import GEEData, Model
from skdep.gee.given_rows import GEEMetadata, GivenRows
from skdep.gee.rows import GEERows, prepare_rows
from skdep.gee.scoring import ScoringResult, solve
from skdep.gee.small_sample import Numbers
from skdep.gee.survey import design_of_fit
from skdep.gee.working_correlation import (
    WORKING_CORRELATIONS,
    Independence,
    WorkingCorrelation,
    get_working_correlation,
)
from skdep.gee.working_correlation.feasibility import infeasible_share
from skdep.gee.working_correlation.standard_errors import AssociationInference, association_inference
from skdep.links import LINKS, Link, get_link
from skdep.survey.design import LONELY_PSU, SurveyDesign
from skdep.survey.replicate_covariance import check_replicates, replicate_covariance

__all__ = ["BaseGEE"]

# The summary lists so many association parameters.
_MOST_IN_WORDS = 5


class BaseGEE(DependentDataEstimator):
    """What both GEE estimators share."""

    __metadata_request__fit: ClassVar[dict[str, bool]] = {
        "time": True,
        "strata": True,
        "fpc": True,
        "replicate_weights": True,
    }

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "link": [StrOptions(set(LINKS)), Link, None],
        "working_correlation": [StrOptions(set(WORKING_CORRELATIONS)), WorkingCorrelation],
        "cov_type": [StrOptions(set(COV_TYPES))],
        "scale": [Interval(Real, 0, None, closed="neither"), None],
        "dof": [StrOptions({"n-p", "n"})],
        "weight_type": [StrOptions({"sampling", "frequency"})],
        "lonely_psu": [StrOptions(set(LONELY_PSU))],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def _fit_equations(self, X: np.ndarray, y: np.ndarray, family: Family, metadata: GEEMetadata) -> None:
        """Fit to validated features and outcomes."""
        notes = FitNotes()
        structure = get_working_correlation(self.working_correlation)
        link = family.default_link() if self.link is None else get_link(self.link)
        if metadata.replicate_weights is not None:
            self._check_replication(structure, metadata)
            weights = check_replicates(metadata.replicate_weights, metadata.sample_weight, len(X), notes)
            metadata = metadata._replace(sample_weight=weights)
        design = self._design(len(X), metadata, structure, notes)
        rows = prepare_rows(
            X,
            y,
            groups=metadata.groups,
            sample_weight=metadata.sample_weight,
            offset=metadata.offset,
            time=metadata.time,
            weight_type=self.weight_type,
            structure=structure,
            notes=notes,
            design=design,
        )
        check_not_at_boundary(rows.y, family)
        self._fitted_with_offset = metadata.offset is not None
        self._family, self._link, self._link_name = family, link, link.name
        with threads_over_blocks(rows.X.size) as run:
            data, basis = self._full_rank_data(rows)
            model = Model(family, link, self.scale, self.dof)
            result, start = solve(data, model, structure, max_iter=self.max_iter, tol=self.tol, run=run)
            association = association_inference(result.equations, result.at)
            request = self._request(rows, basis, result, GivenRows(rows, len(X), metadata, design))
            if metadata.replicate_weights is None:
                covariances = gee_covariances(result.equations, result.at, request)
        if metadata.replicate_weights is not None:
            replicates = metadata.replicate_weights
            replicates = replicates if rows.caller_rows is None else replicates[rows.caller_rows]
            covariances = self._over_replicates(data, replicates, result, request, notes)
        criteria = quasi_likelihood_criteria(data, family, result.at, covariances.robust_of_columns)
        self._store(data.n_obs, rows, basis, covariances, result, criteria, notes)
        self._store_association(association, result)
        features = self._parameter_names()[int(self.fit_intercept) :]
        checks = FitChecks(type(self).__name__, rows, result, start, features, self.fit_intercept, notes)
        self._conclude(checks, rows, covariances, notes)
        if metadata.replicate_weights is not None:
            facts = {**self._inference.facts, "Replicates": replicates.describe()}
            self._inference = self._inference.described(facts, notes)

    def _check_replication(self, structure: WorkingCorrelation, metadata: GEEMetadata) -> None:
        """Raise if the fit cannot be repeated under replicate weights."""
        if self.weight_type != "sampling":
            raise ValueError(
                f"replicate_weights are survey weights: set weight_type='sampling'.{read_more('replicate_weights')}"
            )
        if not isinstance(structure, Independence):
            raise ValueError(
                f"replicate_weights are not available with working_correlation={structure.name!r}: use 'independence', "
                "or strata= and groups= for the linearised variance."
            )
        if metadata.strata is not None or metadata.fpc is not None:
            raise ValueError("replicate_weights hold the design: leave out strata= and fpc=.")

    def _over_replicates(
        self, data: GEEData, replicates: Any, result: ScoringResult, request: CovarianceRequest, notes: FitNotes
    ) -> GEECovariances:
        """Fit under every replicate's weights, and return the covariance over them."""
        replicated = replicate_covariance(
            data.design,
            data.y,
            replicates,
            result.at.beta,
            offset=data.offset,
            family=self._family,
            link=self._link,
            notes=notes,
        )
        return over_replicates(result.at, request, replicated)

    def _conclude(self, checks: FitChecks, rows: GEERows, covariances: GEECovariances, notes: FitNotes) -> None:
        """Warn of what went wrong, and describe the rest."""
        checks.convergence()
        if not checks.means():
            self.converged_ = False
        checks.association()
        checks.feasibility(self.infeasible_pairs_)
        checks.degrees_of_freedom(self.cov_type)
        self._describe(rows, checks.result.equations.structure, covariances, notes)

    def _design(
        self, n_rows: int, metadata: GEEMetadata, structure: WorkingCorrelation, notes: FitNotes
    ) -> SurveyDesign | None:
        """Return the survey design, None without strata and finite populations."""
        design = design_of_fit(
            n_rows,
            groups=metadata.groups,
            strata=metadata.strata,
            fpc=metadata.fpc,
            weights=check_weights(metadata.sample_weight, n_rows),
            weight_type=self.weight_type,
            structure=structure,
            lonely_psu=self.lonely_psu,
        )
        if metadata.fpc is not None and metadata.sample_weight is None:
            notes.warn(
                "fpc was given without sample_weight: all observations have the same weight, whatever their sampling "
                "fraction.",
                WeightWarning,
                topic="survey_design",
            )
        return design

    def _full_rank_data(self, rows: GEERows) -> tuple[GEEData, Basis | None]:
        """Return the equations' rows, in full-rank coordinates where columns are (nearly) collinear."""
        design = np.column_stack([np.ones(len(rows.X)), rows.X]) if self.fit_intercept else rows.X
        basis = None
        if is_ill_conditioned(np.dot(design.T, design)):
            basis = full_rank_basis(rows.X, fit_intercept=self.fit_intercept)
            columns = [np.ones(len(rows.X)), basis.columns] if self.fit_intercept else [basis.columns]
            design = np.column_stack(columns)
        return GEEData(design, rows.y, rows.offset, rows.weights, rows.counts, rows.blocks), basis

    def _request(
        self,
        rows: GEERows,
        basis: Basis | None,
        result: ScoringResult,
        given: GivenRows,
    ) -> CovarianceRequest:
        """Say which covariances are wanted, and of what."""
        equations = result.equations
        names = equations.structure.parameter_names(equations.layouts) if equations.pair_counts.size else ()
        numbers = Numbers(
            n_obs=equations.data.n_obs,
            n_clusters=float(rows.n_clusters),
            n_params=equations.data.design.shape[1],
            n_association=len(names),
            scale=result.at.scale,
            scale_is_estimated=self.scale is None,
        )
        return CovarianceRequest(
            back=None if basis is None else basis.back,
            centre=_means(equations.data, rows.X) if self.fit_intercept else None,
            cov_type=self.cov_type,
            numbers=numbers,
            sampling=self.weight_type == "sampling",
            n_units=given.n_units,
            positions=given.positions(equations.structure),
            design=given.design,
            row_numbers=None if given.design is None else given.row_numbers,
        )

    def _store(
        self,
        n_obs: float,
        rows: GEERows,
        basis: Basis | None,
        covariances: GEECovariances,
        result: ScoringResult,
        criteria: dict[str, float],
        notes: FitNotes,
    ) -> None:
        """Set the fitted attributes, in the coordinates of the features."""
        at = result.at
        self._criteria = criteria
        names, params = self._parameter_names(), at.beta
        aliased = np.zeros(len(names), dtype=bool)
        if basis is not None:
            params, aliased = basis.back @ params, basis.aliased
            if aliased.any():
                notes.warn(collinearity_message(names, aliased), CollinearityWarning)
        self._set_coefficients(params)
        self.covariance_ = covariances.by_type[self.cov_type]
        self.scale_ = at.scale
        self.association_ = result.equations.structure.report(result.equations.layouts, at.association)
        self._association: AssociationInference | None = None
        self.infeasible_pairs_: float | None = None
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
            covariances=covariances.by_type,
            cov_type=self.cov_type,
            aliased=aliased,
            degrees_of_freedom=covariances.degrees_of_freedom,
            residual_df=covariances.residual_df,
            n_obs=n_obs,
            n_clusters=rows.n_clusters if rows.grouped else None,
            data=rows.fingerprint(),
            design=covariances.design,
            small_samples=covariances.small_samples,
            unavailable=covariances.unavailable,
        )

    def _store_association(self, association: AssociationInference, result: ScoringResult) -> None:
        """Set the standard errors of the association, and the share of pairs that binary outcomes cannot have."""
        equations, y = result.equations, result.equations.data.y
        self._association = association
        if isinstance(self._family, Binomial) and np.all((y == 0.0) | (y == 1.0)):
            self.infeasible_pairs_ = infeasible_share(equations, result.at)

    def _set_coefficients(self, params: np.ndarray) -> None:
        raise NotImplementedError

    def _describe(
        self, rows: GEERows, structure: WorkingCorrelation, covariances: GEECovariances, notes: FitNotes
    ) -> None:
        """Add facts and notes to what the summary shows."""
        association = _association_in_words(self.association_)
        facts = {
            "Family, link": f"{self._family.name}, {self._link_name}",
            f"Clusters ({rows.factor_name})": describe_sizes(rows.sizes, rows.n_clusters),
            "Working correlation": structure.name + (association if structure.name != "independence" else ""),
            "Scale (phi)": f"{self.scale_:.5g}" + (" (fixed)" if self.scale is not None else ""),
            "QIC, CIC": f"{self._criteria['qic']:.4f}, {self._criteria['cic']:.4f}",
        }
        if self.infeasible_pairs_:
            facts["Pairs beyond binary bounds"] = f"{self.infeasible_pairs_:.2%}"
        if rows.weighted:
            facts["Weights"] = self.weight_type
        if covariances.design is not None:
            facts["Design"] = covariances.design.describe()
        elif rows.grouped and rows.n_clusters < 40 and self.cov_type == "robust":
            notes.append(
                f"with {rows.n_clusters} clusters robust standard errors tend to be too small; coef_table(est, "
                "cov_type='kc') corrects them, and uses the t distribution."
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


def _means(data: GEEData, X: np.ndarray) -> np.ndarray:
    """Return the weighted means of the features."""
    mass = data.row_mass
    return X.mean(axis=0) if mass is None else np.dot(mass, X) / mass.sum()


def _association_in_words(association: Any) -> str:
    """Return ``, alpha = 0.35`` of a few parameters; nothing of a matrix, or of many."""
    values = np.atleast_1d(association)
    if values.ndim > 1 or not 0 < len(values) <= _MOST_IN_WORDS:
        return ""
    return ", alpha = " + ", ".join(f"{value:.4g}" for value in values)
