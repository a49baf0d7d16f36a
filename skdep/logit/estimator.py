"""`LogitRegressor`: logistic regression with inference."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit
from sklearn.base import ClassifierMixin

from skdep._basis import Basis, centred_basis, collinearity_message, full_rank_basis
from skdep._binary import BinaryPredictionMixin
from skdep._compat import Interval, StrOptions, fit_context
from skdep._docs import read_more
from skdep._fitted import FittedInference
from skdep._outcome import encode_binary
from skdep._validation import check_rows, check_weights
from skdep.base import DependentDataEstimator, FitNotes
from skdep.exceptions import (
    CollinearityWarning,
    ConvergenceWarning,
    FewClustersWarning,
    SeparationWarning,
    WeightWarning,
)
from skdep.logit.covariance import LogitCovariances, logit_covariances
from skdep.logit.inference import covariance_over_replicates, default_df, residual_df, small_samples
from skdep.logit.kernel import LogisticData
from skdep.logit.newton import NewtonResult, SingularInformationError, maximise
from skdep.logit.rows import LogitRows, Metadata, logit_rows
from skdep.sandwich import few_clusters_message
from skdep.separation import infinite_features, no_separation_certified, separation_message
from skdep.survey.design import LONELY_PSU
from skdep.survey.replicate_covariance import ReplicateCovariance, check_replicates

__all__ = ["LogitRegressor"]


class LogitRegressor(BinaryPredictionMixin, ClassifierMixin, DependentDataEstimator):
    """Logistic regression with standard errors that may be trusted; a scikit-learn binary classifier.

    The log odds of the second class are linear in the features. By default maximum likelihood, without a penalty.

    Parameters
    ----------
    penalty : {"firth", "l2"} or None, default=None
        ``"firth"`` removes the first-order bias and keeps estimates finite under separation; ``"l2"`` subtracts
        ``||coef||^2 / (2 C)`` from the log-likelihood, as `sklearn.linear_model.LogisticRegression` does.
    C : float, default=1.0
        Inverse strength of the ``"l2"`` penalty; not used otherwise.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised.
    weight_type : {"frequency", "sampling"}, default="frequency"
        What `sample_weight` means. A frequency counts repetitions of the row. A sampling weight is the inverse of the
        row's probability to be in the sample: estimates are by pseudo-likelihood, the scale of the weights means
        nothing, and standard errors are those of the design.
    cov_type : {"auto", "model", "hc0", "hc1", "cluster", "cr2", "design", "replicate"}, default="auto"
        Covariance of the estimates: the inverse information; White's sandwich, plain or times n / (n - p); the sandwich
        with scores added up within `groups`, times K / (K - 1) for K clusters; the same reduced in bias for few
        clusters (Bell and McCaffrey's CR2), with a t distribution; the linearised variance of a survey whose primary
        units are `groups`, or the rows, drawn from `strata` of populations `fpc`; or the variance over
        `replicate_weights`. ``"auto"`` is ``"replicate"`` when those are given, ``"design"`` under other sampling
        weights, ``"cluster"`` when groups are given, else ``"model"``. Two-dimensional groups are several ways of
        clustering, or under sampling weights stages of the design.
    lonely_psu : {"fail", "remove", "adjust", "average"}, default="fail"
        What to do with a stratum that has a single primary sampling unit, and so says nothing of its variance: raise an
        error; count it as drawn with certainty; centre it at the mean of all strata; or give it the mean variance of
        the others.
    max_iter : int, default=100
        Most Newton steps.
    tol : float, default=1e-7
        Largest Newton decrement of a converged fit, over the square root of the number of observations: how far, in
        standard errors of a single observation, another step would go. Firth's fit, whose steps converge more slowly,
        is held to a hundredth of it.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features)
        Log odds ratios.
    intercept_ : ndarray of shape (1,)
        Log odds at zero; 0 without an intercept.
    covariance_ : ndarray of shape (p, p)
        Covariance of ``[intercept, *coef]`` under `cov_type`; no row for the intercept without one.
    classes_ : ndarray of shape (2,)
        Labels; the second is the success.
    loglik_ : float
        Log-likelihood, without penalty; under sampling weights scaled to mean one.
    separated_ : list of str
        Features with infinite maximum likelihood estimates; empty when there are none.
    n_iter_ : int
        Number of Newton steps.
    converged_ : bool
        Whether the iterations converged to a finite maximum.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has string names.

    See Also
    --------
    GEEClassifier : Marginal model with a working correlation within clusters.
    skdep.inference.coef_table : Coefficients with tests and intervals, under any covariance type.

    Notes
    -----
    Rows of weight zero are as if not there, but under sampling weights their units and strata still count in the
    variance: estimate for a subpopulation by weights of zero, not by leaving rows out. With collinear features the
    estimates of least norm are kept and a warning names the features.

    References
    ----------
    .. [1] Firth (1993), Bias reduction of maximum likelihood estimates, Biometrika 80, 27-38.
    .. [2] Binder (1983), On the variances of asymptotically normal estimators from complex surveys, International
       Statistical Review 51, 279-292.
    .. [3] Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering, Journal of Business and
       Economic Statistics 29, 238-249.
    .. [4] Bell and McCaffrey (2002), Bias reduction in standard errors for linear regression with multi-stage samples,
       Survey Methodology 28, 169-181.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> fit = LogitRegressor().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> fit.coef_.round(3)
    array([[-0.113,  0.272]])
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"strata": True, "fpc": True, "replicate_weights": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalty": [StrOptions({"firth", "l2"}), None],
        "C": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "weight_type": [StrOptions({"frequency", "sampling"})],
        "cov_type": [StrOptions({"auto", "model", "hc0", "hc1", "cluster", "cr2", "design", "replicate"})],
        "lonely_psu": [StrOptions(set(LONELY_PSU))],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }
    _link_name = "logit"

    def __init__(
        self,
        penalty=None,
        *,
        C=1.0,
        fit_intercept=True,
        weight_type="frequency",
        cov_type="auto",
        lonely_psu="fail",
        max_iter=100,
        tol=1e-7,
    ):
        self.penalty = penalty
        self.C = C
        self.fit_intercept = fit_intercept
        self.weight_type = weight_type
        self.cov_type = cov_type
        self.lonely_psu = lonely_psu
        self.max_iter = max_iter
        self.tol = tol

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    @fit_context
    def fit(self, X, y, *, groups=None, sample_weight=None, offset=None, strata=None, fpc=None, replicate_weights=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features. A DataFrame of no columns, with `fit_intercept`, is the model of an intercept alone.
        y : array-like of shape (n_rows,)
            Labels of two classes.
        groups : array-like of shape (n_rows,) or (n_rows, n_ways), optional
            Labels of the clusters; one column a way of clustering. Under sampling weights the primary sampling units,
            or the units of each stage of the design, a column each.
        sample_weight : array-like of shape (n_rows,), optional
            Weights, in the meaning of `weight_type`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.
        strata : array-like of shape (n_rows,) or (n_rows, n_stages), optional
            Under sampling weights: labels of the strata that units were drawn from. Units are nested in strata, so
            that their labels may restart.
        fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
            Under sampling weights: how many units the population of the row's stratum has (at least 1), or which
            fraction of them was drawn (at most 1), by stage. Without it units count as drawn with replacement.
        replicate_weights : ReplicateWeights, optional
            Under sampling weights: weights of the rows in every replicate. The model is fitted under each. If they were
            made from a design they have the sampling weights, and `sample_weight` may be left out.

        Returns
        -------
        self : LogitRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is malformed, `cov_type` does not fit the data that are given, or a stratum has a single unit
            under ``lonely_psu="fail"``.
        """
        X, y = check_rows(self, X, y)
        notes = FitNotes()
        if replicate_weights is not None:
            self._check_replication()
            sample_weight = check_replicates(replicate_weights, sample_weight, len(X), notes)
        rows = self._rows(X, y, Metadata(groups, sample_weight, offset, strata, fpc))
        cov_type = self._resolve_cov_type(rows, replicated=replicate_weights is not None)
        if fpc is not None and sample_weight is None:
            notes.warn(
                "fpc was given without sample_weight: all observations have the same weight, whatever their sampling "
                "fraction.",
                WeightWarning,
                topic="survey_design",
            )
        fit, basis = self._maximise(rows.data)
        data = rows.data if basis is None else self._in_basis(rows.data, basis)
        covariances = logit_covariances(data, fit, rows)
        replicated = None
        if replicate_weights is not None:
            replicates = replicate_weights if rows.kept is None else replicate_weights[rows.kept]
            replicated = covariance_over_replicates(data, fit, replicates, notes)
            covariances.by_type["replicate"] = replicated.covariance
        self._store(fit, basis, covariances, rows, cov_type, notes, replicated)
        self._conclude(fit, covariances, rows, rows.data, notes)
        if replicate_weights is not None:
            facts = {**self._inference.facts, "Replicates": replicates.describe()}
            self._inference = self._inference.described(facts, notes)
        return self

    def _conclude(
        self,
        fit: NewtonResult,
        covariances: LogitCovariances,
        rows: LogitRows,
        data: LogisticData | None,
        notes: FitNotes,
    ) -> None:
        """Warn of what went wrong, and describe the rest."""
        self._check_separation(data, fit, covariances.squares, notes)
        if not self.converged_ and not self.separated_:
            advice = (
                "Raise max_iter." if fit.n_iter == self.max_iter else "No step improves it: look for outlying features."
            )
            notes.warn(
                f"LogitRegressor did not converge in {fit.n_iter} iterations: the next step would be "
                f"{fit.decrement:.2g} standard errors. {advice}",
                ConvergenceWarning,
            )
        self._describe(rows, notes)

    def _rows(self, X: np.ndarray, y: np.ndarray, metadata: Metadata) -> LogitRows:
        """Encode labels and check the rows' metadata."""
        weights = check_weights(metadata.sample_weight, len(X))
        self.classes_, success = encode_binary(y, weights)
        self._fitted_with_offset = metadata.offset is not None
        sign = np.where(success, 1.0, -1.0)
        return logit_rows(
            X,
            sign,
            weights,
            metadata,
            fit_intercept=bool(self.fit_intercept),
            sampling=self.weight_type == "sampling",
            lonely_psu=self.lonely_psu,
        )

    def _check_replication(self) -> None:
        """Raise if the fit cannot be repeated under replicate weights."""
        if self.weight_type != "sampling":
            raise ValueError(
                f"replicate_weights are survey weights: set weight_type='sampling'.{read_more('replicate_weights')}"
            )
        if self.penalty == "firth":
            raise ValueError(
                "replicate_weights are not available with penalty='firth': use penalty=None or 'l2', or strata= and "
                "groups= for the linearised variance."
            )

    def _resolve_cov_type(self, rows: LogitRows, *, replicated: bool = False) -> str:
        """Return the covariance type meant, or say why it cannot be had."""
        if self.cov_type == "replicate" and not replicated:
            raise ValueError("cov_type='replicate' needs replicate weights: pass replicate_weights= to fit.")
        if self.cov_type == "auto" and replicated:
            return "replicate"
        if self.cov_type == "auto":
            return "design" if rows.sampling else "cluster" if rows.clustered else "model"
        if self.cov_type == "cluster" and not rows.clustered:
            raise ValueError(
                f"cov_type='cluster' needs the clusters: pass groups= to fit.{read_more('standard_errors')}"
            )
        if self.cov_type == "cr2" and not rows.clustered:
            raise ValueError(
                f"cov_type='cr2' needs the clusters: pass groups= to fit.{read_more('cluster_corrections')}"
            )
        if self.cov_type == "design" and not rows.sampling:
            raise ValueError(
                f"cov_type='design' is for survey weights: set weight_type='sampling'.{read_more('survey_design')}"
            )
        return self.cov_type

    def _maximise(self, data: LogisticData) -> tuple[NewtonResult, Basis | None]:
        """Maximise the likelihood, in full-rank coordinates where columns are (nearly) collinear."""
        ridge = None
        if self.penalty == "l2":
            ridge = np.full(data.n_params, 1.0 / self.C)
            ridge[: data.fit_intercept] = 0.0
        options = {"firth": self.penalty == "firth", "max_iter": self.max_iter, "tol": self.tol}
        if self.penalty is not None and data.fit_intercept:
            # Far from zero, the penalised information has no digits left for the slopes: centre, the intercept is free.
            basis = centred_basis(data.X)
            centred = self._in_basis(data, basis)
            try:
                return maximise(centred, ridge=ridge, **options), basis
            except SingularInformationError:
                pass
        try:
            return maximise(data, ridge=ridge, **options), None
        except SingularInformationError:
            basis = full_rank_basis(data.X, fit_intercept=data.fit_intercept)
            return maximise(self._in_basis(data, basis), check_rank=False, **options), basis

    @staticmethod
    def _in_basis(data: LogisticData, basis: Basis) -> LogisticData:
        return LogisticData(basis.columns, data.sign, data.weights, data.offset, data.fit_intercept)

    def _store(
        self,
        fit: NewtonResult,
        basis: Basis | None,
        covariances: LogitCovariances,
        rows: LogitRows,
        cov_type: str,
        notes: FitNotes,
        replicated: ReplicateCovariance | None = None,
    ) -> None:
        """Set the fitted attributes, in the coordinates of the features."""
        if cov_type not in covariances.by_type:
            raise ValueError(
                f"cov_type={cov_type!r} cannot be had here: {covariances.unavailable[cov_type]}."
                f"{read_more('cluster_corrections')}"
            )
        params, by_type = fit.params, covariances.by_type
        names = self._parameter_names()
        aliased = np.zeros(len(names), dtype=bool)
        if basis is not None:
            params = basis.back @ params
            by_type = {kind: basis.back @ matrix @ basis.back.T for kind, matrix in by_type.items()}
            aliased = basis.aliased
            if aliased.any():
                notes.warn(collinearity_message(names, aliased), CollinearityWarning)
        n_estimable, design = len(fit.params), rows.design_summary()
        n_clusters = rows.n_clusters(cov_type)
        if cov_type in ("cluster", "cr2", "design") and n_clusters is not None:
            message = few_clusters_message(n_clusters, n_estimable)
            if message:
                notes.warn(message, FewClustersWarning)
        if covariances.repaired and cov_type == "cluster" and len(rows.factors) > 1:
            notes.warn(
                "The multiway clustered covariance had negative eigenvalues, which were set to zero: there are too few "
                "clusters in some way of clustering.",
                FewClustersWarning,
            )
        df_of_replicates = {} if replicated is None else {"replicate": replicated.df}
        split = int(self.fit_intercept)
        self.coef_ = params[None, split:]
        self.intercept_ = params[:1].copy() if split else np.zeros(1)
        self.covariance_ = by_type[cov_type]
        self.loglik_ = covariances.loglik
        self.n_iter_ = fit.n_iter
        self.converged_ = fit.converged
        self._inference = FittedInference(
            names=names,
            estimate=params,
            covariances=by_type,
            cov_type=cov_type,
            aliased=aliased,
            degrees_of_freedom=default_df(rows, n_estimable) | df_of_replicates,
            residual_df={kind: residual_df(rows, kind) - n_estimable for kind in by_type} | df_of_replicates,
            n_obs=rows.n_obs,
            n_clusters=n_clusters,
            data=rows.fingerprint(),
            design=design,
            unavailable=covariances.unavailable,
            small_samples=small_samples(covariances, by_type, basis),
        )

    def _check_separation(
        self, data: LogisticData | None, fit: NewtonResult, squares: np.ndarray, notes: FitNotes
    ) -> None:
        """Name the features with infinite estimates; a converged fit mostly proves that there are none."""
        self.separated_: list[str] = []
        if self.penalty is not None or no_separation_certified(fit.decrement, fit.information, squares):
            return
        if data is None:
            notes.warn(
                "It could not be ruled out that some estimates are infinite (separation), which only rows in memory "
                "can tell: look for huge standard errors, or fit with penalty='firth'.",
                SeparationWarning,
            )
            return
        infinite = infinite_features(data.X, (data.sign > 0).astype(float), fit_intercept=data.fit_intercept)
        if not infinite.any():
            return
        features = self._parameter_names()[data.fit_intercept :]
        self.separated_ = [name for name, found in zip(features, infinite, strict=True) if found]
        self.converged_ = False
        notes.warn(separation_message(self.separated_, len(features)), SeparationWarning)

    def _describe(self, rows: LogitRows, notes: FitNotes) -> None:
        """Add facts and notes to what the summary shows."""
        facts = {"Classes": f"success is {self.classes_[1]!s}, failure {self.classes_[0]!s}"}
        facts |= {f"Clusters ({name})": sizes for name, sizes in rows.sizes().items()}
        if rows.weighted:
            facts["Weights"] = self.weight_type
        design = rows.design_summary()
        if design is not None and (design.stratified or design.finite):
            facts["Design"] = design.describe()
        facts["Log-likelihood"] = f"{self.loglik_:.4f}"
        if self.penalty is not None:
            facts["Penalty"] = "Firth" if self.penalty == "firth" else f"l2, C = {self.C:g}"
        self._inference = self._inference.described(facts, notes)

    def decision_function(self, X, *, groups=None, offset=None):
        """Return the log odds of the second class.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model has no cluster effects.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        log_odds : ndarray of shape (n_rows,)
            Log odds.
        """
        return self._linear_predictor(X, offset)

    def _probabilities(self, X: Any, offset: Any) -> np.ndarray:
        eta = self._linear_predictor(X, offset)
        return np.column_stack([expit(-eta), expit(eta)])

    def _log_probabilities(self, X: Any, offset: Any) -> np.ndarray:
        # not the logarithms of those: accurate for probabilities near 0 too
        eta = self._linear_predictor(X, offset)
        return np.column_stack([log_expit(-eta), log_expit(eta)])
