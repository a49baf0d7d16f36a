"""`MixedLinear`: multilevel linear regression."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from skdep._basis import collinearity_message
from skdep._compat import Interval, StrOptions, fit_context
from skdep._fingerprint import fingerprint
from skdep._fitted import FittedInference
from skdep._validation import check_offset, check_rows, check_weights, numeric_rows
from skdep.base import FitNotes
from skdep.clusters import describe_sizes
from skdep.exceptions import CollinearityWarning, ConvergenceWarning, FewClustersWarning, SingularFitWarning
from skdep.formula.raw_rows import rows_of
from skdep.mixed.base import MixedEstimator, kept_rows, least_features
from skdep.mixed.estimates import Estimates, estimate_all
from skdep.mixed.fit import LinearMixedFit, WorkingData, working_data
from skdep.mixed.newton import UNBOUNDED
from skdep.mixed.prediction import predicted_effects, prediction_variance
from skdep.mixed.small_sample import SmallSample
from skdep.mixed.terms import RandomTerm
from skdep.mixed.weights import RowWeights, group_multiplicity, resolve_weights
from skdep.sandwich import few_clusters_message

__all__ = ["MixedLinear"]


class MixedLinear(RegressorMixin, MixedEstimator):
    """Linear mixed model: multilevel regression with random intercepts and slopes, nested or crossed.

    y = X beta + Z b + e, where the effects b of each level of a grouping factor are normal with a common covariance
    matrix, and e is normal with variance sigma2. Variances maximise the restricted (REML) or the full likelihood (ML).

    Parameters
    ----------
    random_slopes : None, list of str or int, or dict, default=None
        Features whose slopes vary between levels: by name or number, for every factor; or a dict from factor name to
        such a list.
    random_intercept : bool or dict, default=True
        Whether intercepts vary between levels: of every factor; or a dict from factor name to bool, True for a factor
        that is not in it.
    covariance : {"full", "diagonal"} or dict, default="full"
        Covariance matrix of the effects of a level: free, or without correlations; or a dict from factor name to
        either or to a list of blocks, "full" for a factor that is not in it. A block is a list of effects:
        ``"Intercept"``, names or numbers of features. Each effect of the factor is in one block, and effects of
        different blocks are uncorrelated.
    random_only : None or list of str or int, default=None
        Features that have random effects, but no fixed one: their coefficient is 0. Each is in `random_slopes`.
    method : {"reml", "ml"}, default="reml"
        Criterion: restricted likelihood, or likelihood. With sampling weights it is the pseudo-likelihood, whatever
        this says.
    weight_type : {"frequency", "precision", "sampling"}, default="frequency"
        What `sample_weight` means: numbers of rows of the same level; Var(e_i) = sigma2 / w_i with n unchanged; or
        sampling weights of rows within clusters, with `group_weight` for the clusters, and robust standard errors.
    weight_scaling : {"size", "effective", "none"}, default="size"
        How sampling weights of rows are scaled within the levels of the factor with most levels: to sum to the number
        of rows, to the effective number of rows, or not (but to an overall mean of one).
    cov_type : {"model", "robust"}, default="model"
        Covariance of the coefficients: that of the model, or the sandwich clustered by the outermost factor (by all of
        them, if several are crossed). Sampling weights always call for the sandwich.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    max_iter : int, default=200
        Most steps of Newton's method.
    tol : float, default=1e-8
        Decrease of -2 log-likelihood that a further step promises, below which a fit has converged.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Fixed effects; exactly 0 for features in `random_only`.
    intercept_ : float
        Intercept; 0 without one.
    covariance_ : ndarray of shape (p, p)
        Covariance of ``[intercept, *coef]`` under `cov_type`; no row for the intercept without one, nor for features
        in `random_only`.
    sigma2_ : float
        Residual variance.
    random_covariance_ : dict of str to ndarray of shape (q, q)
        Covariance matrix of the random effects by factor: intercept first, then `random_slopes` in their order.
    random_effects_ : dict of str to ndarray of shape (n_levels, q)
        Best linear unbiased predictions of the effects (BLUPs), rows as ``levels_[factor]``.
    random_effects_sd_ : dict of str to ndarray of shape (n_levels, q)
        Standard deviations of the effects given the data and the parameters.
    random_names_ : dict of str to tuple of str
        Names of the effects.
    levels_ : dict of str to ndarray of shape (n_levels,)
        Labels of the levels.
    loglik_ : float
        Log-likelihood with all constants; the restricted one under REML.
    singular_ : bool
        Whether an estimated covariance matrix is singular: a variance of zero, or perfectly correlated effects.
    optimization_ : OptimizationSummary
        How the search for the variances went.
    n_iter_ : int
        Number of steps, at least 1.
    converged_ : bool
        Whether the search converged.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has string names.

    See Also
    --------
    GEERegressor : Marginal models of the same data, without random effects.
    skdep.inference.coef_table : Coefficients with Satterthwaite or Kenward-Roger tests.
    skdep.inference.lrt : Tests of fixed effects and of variances.
    skdep.inference.variance_components : Variances, correlations, shares.

    Notes
    -----
    Cross-products are formed once; the criterion is profiled over coefficients and sigma2 and minimised by Newton's
    method over Cholesky factors of the covariance matrices, with exact derivatives. A singular fit is a converged fit:
    before it is accepted, points off the boundary have been tried.

    References
    ----------
    .. [1] Laird and Ware (1982), Random-effects models for longitudinal data, Biometrics 38, 963-974.
    .. [2] Bates, Maechler, Bolker and Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
       Statistical Software 67(1).

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> round(model.intercept_, 2), model.coef_.round(3)
    (251.41, array([10.467]))
    >>> round(model.loglik_, 4), round(model.sigma2_, 1)
    (-871.8141, 654.9)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "random_slopes": [None, list, tuple, dict, str, Integral, np.ndarray],
        "random_intercept": ["boolean", dict],
        "covariance": [StrOptions({"full", "diagonal"}), dict],
        "random_only": [None, list, tuple, str, Integral, np.ndarray],
        "method": [StrOptions({"reml", "ml"})],
        "weight_type": [StrOptions({"frequency", "precision", "sampling"})],
        "weight_scaling": [StrOptions({"size", "effective", "none"})],
        "cov_type": [StrOptions({"model", "robust"})],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    # set by every fit
    _model: LinearMixedFit

    def __init__(
        self,
        random_slopes=None,
        *,
        random_intercept=True,
        covariance="full",
        random_only=None,
        method="reml",
        weight_type="frequency",
        weight_scaling="size",
        cov_type="model",
        fit_intercept=True,
        max_iter=200,
        tol=1e-8,
    ):
        self.random_slopes = random_slopes
        self.random_intercept = random_intercept
        self.covariance = covariance
        self.random_only = random_only
        self.method = method
        self.weight_type = weight_type
        self.weight_scaling = weight_scaling
        self.cov_type = cov_type
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    @fit_context
    def fit(self, X, y, *, groups=None, sample_weight=None, offset=None, group_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features. With groups there may be none: the model of an intercept and random effects. Without groups a
            DataFrame of no columns is the model of an intercept alone.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, a column each, nested or crossed, in any row order; labels of a nested
            factor must not restart (see `skdep.interaction`). Without groups there are no random effects.
        sample_weight : array-like of shape (n_rows,), optional
            Weights, in the meaning of `weight_type`. Rows of weight zero are as if not there.
        offset : array-like of shape (n_rows,), optional
            Known part of the mean.
        group_weight : array-like of shape (n_rows,), optional
            Sampling weight of each row's cluster, with ``weight_type="sampling"``: constant within the outermost
            factor's levels.

        Returns
        -------
        self : MixedLinear
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is malformed, labels are missing, or names of slopes or factors are unknown.
        """
        notes = FitNotes()
        X, y = check_rows(self, X, y, y_numeric=True, ensure_min_features=least_features(self, groups))
        y = np.asarray(y, dtype=np.float64)
        offset = check_offset(offset, len(y))
        terms = self._terms(groups, len(y))
        data = fingerprint(
            X,
            y,
            weights=check_weights(sample_weight, len(y)),
            offset=offset,
            factors={term.name: term.codes for term in terms},
        )
        X, y, user_terms, weights, multiplicity = self._weighted_rows(X, y, offset, terms, sample_weight, group_weight)
        terms = sorted(user_terms, key=lambda term: -term.n_levels * term.q)
        weights = resolve_weights(
            weights, multiplicity, terms, len(y), weight_type=self.weight_type, weight_scaling=self.weight_scaling
        )
        self._fitted_with_offset = offset is not None
        self._fit_rows(X, y, terms, [term.name for term in user_terms], weights, notes)
        self._inference = replace(self._inference, data=data)
        return self

    def _weighted_rows(self, X, y, offset, terms, sample_weight, group_weight):
        """Take off the offset, and leave out rows of weight zero."""
        weights = check_weights(sample_weight, len(y))
        multiplicity = group_multiplicity(group_weight, terms, len(y), weight_type=self.weight_type)
        if offset is not None:
            y = y - offset
        kept = kept_rows(len(y), weights, multiplicity)
        if kept is not None:
            X, y, terms = X[kept], y[kept], [term.take(kept) for term in terms]
            weights, multiplicity = (None if part is None else part[kept] for part in (weights, multiplicity))
        return X, y, terms, weights, multiplicity

    def _fit_rows(
        self,
        X: np.ndarray,
        y: np.ndarray,
        terms: list[RandomTerm],
        order: list[str],
        weights: RowWeights,
        notes: FitNotes,
    ) -> None:
        """Fit to validated rows of positive weight."""
        data = working_data(X, y, terms, weights, fit_intercept=self.fit_intercept, fixed=self._fixed_features)
        self._fit_working(data, order, weights, notes)

    def _fit_working(self, data: WorkingData, order: list[str], weights: RowWeights, notes: FitNotes) -> None:
        """Fit to working coordinates, and set the fitted attributes."""
        reml = self.method == "reml" and self.weight_type != "sampling"
        estimates = estimate_all(data, weights, reml=reml, max_iter=self.max_iter, tol=self.tol)
        self._model = estimates.fit
        self._store(estimates, data.terms, order, weights, notes)
        self._check(estimates, data.terms, notes)
        self._describe(estimates, data.terms, notes)

    def _store(
        self, estimates: Estimates, terms: list[RandomTerm], order: list[str], weights: RowWeights, notes: FitNotes
    ) -> None:
        """Set the fitted attributes."""
        fit, split = estimates.fit, int(self.fit_intercept)
        params = estimates.params
        self.coef_ = self._slopes_of(params)
        self.intercept_ = float(params[0]) if split else 0.0
        self.sigma2_ = estimates.sigma2
        self.loglik_ = fit.loglik
        self.singular_ = fit.singular
        self.converged_ = fit.converged
        self.n_iter_ = max(fit.optimization.n_steps, 1)
        self.optimization_ = fit.optimization
        by_name = self._store_terms(terms, order)
        self.random_covariance_ = {name: estimates.covariances[by_name[name]] for name in order}
        self.random_effects_ = {name: estimates.effects[by_name[name]] for name in order}
        self.random_effects_sd_ = {name: estimates.effect_sds[by_name[name]] for name in order}
        cov_type = "robust" if self.weight_type == "sampling" else self.cov_type
        self.covariance_ = estimates.by_type[cov_type]
        parameters = self._fixed_names()
        if estimates.aliased.any():
            notes.warn(collinearity_message(parameters, estimates.aliased), CollinearityWarning)
        rank = fit.products.n_params
        residual_df = {"model": fit.products.n_obs - rank, "robust": estimates.n_clusters - rank}
        self._inference = FittedInference(
            names=parameters,
            estimate=params,
            covariances=estimates.by_type,
            cov_type=cov_type,
            aliased=estimates.aliased,
            degrees_of_freedom={} if terms else {"model": residual_df["model"]},
            residual_df={kind: float(value) for kind, value in residual_df.items()},
            n_obs=fit.products.n_obs,
            n_clusters=estimates.n_clusters if terms else None,
            small_sample=SmallSample(fit) if weights.multiplicity is None and terms else None,
        )

    def _check(self, estimates: Estimates, terms: list[RandomTerm], notes: FitNotes) -> None:
        """Warn of what a statistician should know before believing the fit."""
        fit = estimates.fit
        if fit.optimization.message == UNBOUNDED:
            notes.warn(
                "Given the random effects the model fits y without error: the likelihood grows without bound as the "
                "residual variance goes to zero. Use a simpler random-effects structure.",
                SingularFitWarning,
            )
        elif not fit.converged:
            notes.warn(
                f"The search for the variances did not converge ({fit.optimization.message}, {self.n_iter_} steps): "
                f"a further step would lower -2 log-likelihood by about {fit.optimization.decrement:.2g}. Raise "
                "max_iter, or use a simpler random-effects structure.",
                ConvergenceWarning,
            )
        if np.isnan(estimates.sigma2):
            notes.warn(
                f"There are {fit.products.n_params} coefficients for {fit.products.n_obs:g} observations: nothing is "
                "left to estimate variances from, which are NaN. Fewer features, or frequency weights that are "
                "numbers of rows, are needed.",
                SingularFitWarning,
            )
        if estimates.sigma2 == 0.0:
            notes.warn(
                "The features fit y without error: there is no residual variance, and standard errors are zero.",
                SingularFitWarning,
            )
        if estimates.flat and not fit.singular:
            listed = ", ".join(repr(name) for name in estimates.flat)
            notes.warn(
                f"The likelihood is flat: the data do not tell the variances of {listed} from others of the model or "
                "from the residual variance (levels of one row each, one level only, factors or slopes that are the "
                "same). They are where the search began. Leave a factor or slope out.",
                SingularFitWarning,
            )
        if fit.singular and estimates.sigma2 > 0.0:
            notes.warn(_singular_message(estimates, terms), SingularFitWarning)
        if terms and self._inference.cov_type == "robust":
            message = few_clusters_message(estimates.n_clusters, fit.products.n_params)
            if message:
                notes.warn(message, FewClustersWarning)

    def _describe(self, estimates: Estimates, terms: list[RandomTerm], notes: FitNotes) -> None:
        """Add facts and notes to what the summary shows."""
        by_name = {term.name: term for term in terms}
        facts = {}
        for name in self.levels_:
            facts[f"Levels of {name}"] = describe_sizes(by_name[name].sizes, by_name[name].n_levels)
        is_sampling = self.weight_type == "sampling"
        facts["Method"] = "pseudo-likelihood" if is_sampling else self.method.upper()
        kind = {"ml": "Log-likelihood", "reml": "REML log-likelihood"}[self.method]
        facts["Log pseudo-likelihood" if is_sampling else kind] = f"{self.loglik_:.4f}"
        for name, matrix in self.random_covariance_.items():
            for position, effect in enumerate(self.random_names_[name]):
                facts[f"SD of {effect} by {name}"] = f"{np.sqrt(max(matrix[position, position], 0.0)):.5g}"
        facts["Residual SD"] = f"{np.sqrt(self.sigma2_):.5g}"
        self._inference = self._inference.described(facts, notes)

    def predict(self, X, *, groups=None, offset=None, return_std=False):
        """Predict means.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors as in `fit`: predictions are conditional on the effects of known levels;
            levels not seen in fit have an effect of zero. Without groups predictions are those of the population.
        offset : array-like of shape (n_rows,), optional
            Known part of the mean.
        return_std : bool, default=False
            Whether to return standard errors of the predicted means as well.

        Returns
        -------
        mean : ndarray of shape (n_rows,)
            Predicted means, in units of y.
        std : ndarray of shape (n_rows,)
            With `return_std`: standard deviation of the error of `mean` under the model, whatever `cov_type` is. It
            counts the uncertainty of coefficients and effects at the estimated variances; of a level not seen in fit,
            the variance of its effects. The residual variance ``sigma2_`` is not included: a new observation has
            variance ``std**2 + sigma2_``.

        Raises
        ------
        ValueError
            If the number of factors is not that of the fit.
        """
        X, offset = rows_of(self, X, offset)
        mean = self._linear_predictor(X, offset)
        X = np.asarray(X, dtype=np.float64)
        codes = None if groups is None else self._known_levels(groups, len(mean))
        if codes is not None:
            mean = mean + predicted_effects(X, codes, self.random_effects_, self._random_columns)
        if not return_std:
            return mean
        return mean, np.sqrt(self._prediction_variance(X, codes))

    def _prediction_variance(self, X: np.ndarray, codes: dict[str, np.ndarray] | None) -> np.ndarray:
        own = self._with_fixed_effects(X)
        design = np.column_stack([np.ones(len(X)), own]) if self.fit_intercept else own
        return prediction_variance(
            self._model,
            design,
            X,
            codes,
            self._working_order,
            self._random_columns,
            self._inference.covariance("model"),
        )

    def score(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, for conditional predictions.
        sample_weight : array-like of shape (n_rows,), optional
            Weights.
        offset : array-like of shape (n_rows,), optional
            Known part of the mean.

        Returns
        -------
        r2 : float
            One less the residual sum of squares over that about the mean.
        """
        mean = self.predict(X, groups=groups, offset=offset)
        y = numeric_rows(y, len(mean), name="y")
        return float(r2_score(y, mean, sample_weight=check_weights(sample_weight, len(y))))


def _singular_message(estimates: Estimates, terms: list[RandomTerm]) -> str:
    """Say which covariance matrices are on the boundary."""
    found = [term.name for term, T in zip(terms, estimates.fit.factors, strict=True) if np.abs(np.diag(T)).min() < 1e-5]
    listed = ", ".join(repr(name) for name in found)
    return (
        f"Singular fit: the covariance matrix of the random effects of {listed} has not full rank (a variance is "
        "zero, or effects are perfectly correlated). The maximum is on the boundary; a simpler random-effects "
        "structure gives the same fit."
    )
