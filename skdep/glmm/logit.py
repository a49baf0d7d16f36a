"""`MixedLogit`: multilevel logistic regression."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from skdep._basis import collinearity_message
from skdep._binary import BinaryClassifierMixin
from skdep._compat import Interval, StrOptions, fit_context
from skdep._docs import read_more
from skdep._fingerprint import fingerprint
from skdep._fitted import FittedInference
from skdep._outcome import encode_binary
from skdep._validation import check_offset, check_rows, check_weights
from skdep.base import FitNotes
from skdep.clusters import describe_sizes
from skdep.exceptions import CollinearityWarning
from skdep.formula.raw_rows import rows_of
from skdep.glmm.estimates import GlmmFit
from skdep.glmm.fit import FittedRows, fit_binary_rows, settings_of
from skdep.glmm.prediction import log_odds_of, marginal_probabilities, predictor_moments
from skdep.glmm.trouble import warn_of_trouble
from skdep.mixed.base import MixedEstimator, kept_rows, least_features
from skdep.mixed.robust import outermost_terms
from skdep.mixed.terms import RandomTerm
from skdep.mixed.weights import RowWeights, group_multiplicity, resolve_weights

__all__ = ["MixedLogit"]


class MixedLogit(BinaryClassifierMixin, MixedEstimator):
    r"""Logistic mixed model: multilevel logistic regression; a scikit-learn binary classifier.

    The log odds of the second class are X beta + Z b, where the effects b of each level of a grouping factor are normal
    with a common covariance matrix. Parameters maximise the marginal likelihood, the integral over the effects, by
    Laplace's approximation or adaptive Gauss-Hermite quadrature.

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
    n_quadrature : "auto" or int, default="auto"
        Nodes of the quadrature in each dimension; 1 is Laplace's approximation, more are for one factor with up to
        three effects a level. By default as many as it takes until the log-likelihood does not change; Laplace's
        approximation with several factors, or more effects.
    penalty : {None, "weak"}, default=None
        Penalty that keeps estimates finite, where the data are separated: a normal prior of standard deviation 2.5 for
        slopes, per standard deviation of their feature, and half of one for standard deviations of random effects.
    weight_type : {"frequency", "sampling"}, default="frequency"
        What `sample_weight` means: numbers of rows of the same level; or sampling weights of rows within clusters, with
        `group_weight` for the clusters, and robust standard errors.
    weight_scaling : {"size", "effective", "none"}, default="size"
        How sampling weights of rows are scaled within the levels of the factor with most levels: to sum to the number
        of rows, to the effective number of rows, or not (but to an overall mean of one).
    cov_type : {"model", "robust"}, default="model"
        Covariance of the coefficients: the inverse of the joint observed information of coefficients and covariance
        parameters, or the sandwich clustered by the outermost factor. Sampling weights always call for the sandwich.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    max_iter : int, default=200
        Most steps of Newton's method.
    tol : float, default=1e-8
        Decrease of -2 log-likelihood that a further step promises, below which a fit has converged.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Labels; the second is the success.
    coef_ : ndarray of shape (1, n_features)
        Fixed effects: log odds ratios given the random effects; exactly 0 for features in `random_only`.
    intercept_ : ndarray of shape (1,)
        Intercept; 0 without one.
    covariance_ : ndarray of shape (p, p)
        Covariance of ``[intercept, *coef]`` under `cov_type`; no row for the intercept without one, nor for features
        in `random_only`.
    random_covariance_ : dict of str to ndarray of shape (q, q)
        Covariance matrix of the random effects by factor: intercept first, then `random_slopes` in their order.
    random_effects_ : dict of str to ndarray of shape (n_levels, q)
        Predicted effects: conditional modes given the data, rows as ``levels_[factor]``.
    random_effects_sd_ : dict of str to ndarray of shape (n_levels, q)
        Standard deviations of the effects given the data and the parameters, from the curvature at the mode.
    random_names_ : dict of str to tuple of str
        Names of the effects.
    levels_ : dict of str to ndarray of shape (n_levels,)
        Labels of the levels.
    loglik_ : float
        Marginal log-likelihood with all constants, as approximated with `n_quadrature_` nodes, without the penalty.
    n_quadrature_ : int
        Nodes per dimension that were used.
    singular_ : bool
        Whether an estimated covariance matrix is singular: a variance of zero, or perfectly correlated effects.
    separated_ : list of str
        Names of the features whose coefficients have no finite maximum likelihood estimate.
    optimization_ : OptimizationSummary
        How the search went.
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
    GEEClassifier : Marginal model of the same data, whose coefficients are those of the population.
    skdep.inference.population_average : Coefficients of the population that this model implies.
    skdep.inference.lrt : Tests of fixed effects and of variances.
    skdep.inference.icc : Shares of the variance, and median odds ratios.

    Notes
    -----
    Equal rows of a level are counted once. With one factor the search is Newton's, with exact second derivatives of the
    approximated likelihood, modes and nodes moving with the parameters; with several factors, gradients are exact and
    differenced at the end. A level whose outcomes are all of one class is no problem: its effect is shrunk.

    References
    ----------
    .. [1] Breslow and Clayton (1993), Approximate inference in generalized linear mixed models, Journal of the American
       Statistical Association 88, 9-25.
    .. [2] Pinheiro and Chao (2006), Efficient Laplacian and adaptive Gaussian quadrature algorithms for multilevel
       generalized linear mixed models, Journal of Computational and Graphical Statistics 15, 58-81.

    Examples
    --------
    >>> from skdep import MixedLogit
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> model = MixedLogit().fit(ohio.data, ohio.target, groups=ohio.groups)
    >>> model.coef_.round(3), model.n_quadrature_
    (array([[-0.176,  0.399]]), 25)
    >>> model.predict_proba(ohio.data[:1]).round(3)
    array([[0.838, 0.162]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "random_slopes": [None, list, tuple, dict, str, Integral, np.ndarray],
        "random_intercept": ["boolean", dict],
        "covariance": [StrOptions({"full", "diagonal"}), dict],
        "random_only": [None, list, tuple, str, Integral, np.ndarray],
        "n_quadrature": [StrOptions({"auto"}), Interval(Integral, 1, 200, closed="both")],
        "penalty": [StrOptions({"weak"}), None],
        "weight_type": [StrOptions({"frequency", "sampling"})],
        "weight_scaling": [StrOptions({"size", "effective", "none"})],
        "cov_type": [StrOptions({"model", "robust"})],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }
    _link_name = "logit"

    # set by every fit
    _model: GlmmFit

    def __init__(
        self,
        random_slopes=None,
        *,
        random_intercept=True,
        covariance="full",
        random_only=None,
        n_quadrature="auto",
        penalty=None,
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
        self.n_quadrature = n_quadrature
        self.penalty = penalty
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
            Labels of two classes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, a column each, nested or crossed, in any row order; labels of a nested
            factor must not restart (see `skdep.interaction`). Without groups there are no random effects.
        sample_weight : array-like of shape (n_rows,), optional
            Weights, in the meaning of `weight_type`. Rows of weight zero are as if not there.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.
        group_weight : array-like of shape (n_rows,), optional
            Sampling weight of each row's cluster, with ``weight_type="sampling"``: constant within the outermost
            factor's levels.

        Returns
        -------
        self : MixedLogit
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is malformed, labels are missing, names of slopes or factors are unknown, or settings do not
            fit the factors.
        """
        notes = FitNotes()
        X, y = check_rows(self, X, y, ensure_min_features=least_features(self, groups))
        offset, weights = check_offset(offset, len(X)), check_weights(sample_weight, len(X))
        self.classes_, success = encode_binary(y, weights)
        terms = self._terms(groups, len(X))
        multiplicity = group_multiplicity(group_weight, terms, len(X), weight_type=self.weight_type)
        data = fingerprint(
            X,
            np.where(success, 1.0, -1.0),
            weights=weights,
            offset=offset,
            factors={term.name: term.codes for term in terms},
        )
        kept = kept_rows(len(X), weights, multiplicity)
        if kept is not None:
            X, success, terms = X[kept], success[kept], [term.take(kept) for term in terms]
            weights, multiplicity, offset = (
                None if part is None else part[kept] for part in (weights, multiplicity, offset)
            )
        order = [term.name for term in terms]
        terms = sorted(terms, key=lambda term: -term.n_levels * term.q)
        resolved = resolve_weights(
            weights, multiplicity, terms, len(X), weight_type=self.weight_type, weight_scaling=self.weight_scaling
        )
        self._fitted_with_offset = offset is not None
        self._fit_rows(X, success.astype(np.float64), offset, terms, order, resolved, notes)
        self._inference = replace(self._inference, data=data)
        return self

    def _fit_rows(
        self,
        X: np.ndarray,
        y: np.ndarray,
        offset: np.ndarray | None,
        terms: list[RandomTerm],
        order: list[str],
        weights: RowWeights,
        notes: FitNotes,
    ) -> None:
        """Fit to validated rows of positive weight."""
        outermost = outermost_terms(terms)
        if len(outermost) > 1 and self._chosen_cov_type == "robust":
            raise ValueError(
                f"Factors {[term.name for term in outermost]} are crossed: no clusters are independent of each other, "
                "and a robust covariance cannot be had. Use cov_type='model' (and weight_type='frequency'), or leave "
                "a factor out."
                f"{read_more('standard_errors')}"
            )
        n_quadrature = settings_of(self.n_quadrature, terms)
        fitted = fit_binary_rows(
            X,
            y,
            offset,
            terms,
            weights,
            outermost=outermost[0] if len(outermost) == 1 else None,
            n_quadrature=n_quadrature,
            penalised=self.penalty is not None,
            fit_intercept=self.fit_intercept,
            fixed=self._fixed_features,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        self._store(fitted, order, weights)
        names, own = self._fixed_names(), self._with_fixed_effects(X)
        self.separated_ = warn_of_trouble(fitted, own, y, names, self._chosen_cov_type, notes)
        if self.separated_:
            self.converged_ = False
        if fitted.data.basis.aliased.any():
            notes.warn(collinearity_message(names, fitted.data.basis.aliased), CollinearityWarning)
        self._describe(fitted, weights, notes)

    @property
    def _chosen_cov_type(self) -> str:
        return "robust" if self.weight_type == "sampling" else self.cov_type

    def _store(self, fitted: FittedRows, order: list[str], weights: RowWeights) -> None:
        """Set the fitted attributes."""
        estimates, split = fitted.estimates, int(self.fit_intercept)
        fit, params = estimates.fit, estimates.params
        self._model = fit
        self.coef_ = self._slopes_of(params)[None]
        self.intercept_ = params[:1].copy() if split else np.zeros(1)
        self.loglik_, self.n_quadrature_ = fit.loglik, fit.n_nodes
        self.singular_, self.converged_ = fit.singular, fit.converged
        self.n_iter_ = max(fit.optimization.n_steps, 1)
        self.optimization_ = fit.optimization
        terms = fitted.data.terms
        number = self._store_terms(terms, order)
        self.random_covariance_ = {name: estimates.covariances[number[name]] for name in order}
        self.random_effects_ = {name: estimates.effects[number[name]] for name in order}
        self.random_effects_sd_ = {name: estimates.effect_sds[number[name]] for name in order}
        # likelihoods whose error is known to be small compare, whatever the number of nodes
        self._approximation = "integral" if fitted.is_accurate else fit.n_nodes
        cov_type = self._chosen_cov_type
        by_type = estimates.by_type
        self.covariance_ = by_type[cov_type]
        rank = len(fit.beta)
        residual_df = {"model": weights.n_obs - rank, "robust": float(estimates.n_clusters - rank)}
        self._inference = FittedInference(
            names=self._fixed_names(),
            estimate=params,
            covariances=by_type,
            cov_type=cov_type,
            aliased=fitted.data.basis.aliased,
            degrees_of_freedom={},
            residual_df={kind: residual_df[kind] for kind in by_type},
            n_obs=weights.n_obs,
            n_clusters=min((term.n_levels for term in outermost_terms(terms)), default=None),
        )

    def _describe(self, fitted: FittedRows, weights: RowWeights, notes: FitNotes) -> None:
        """Add facts and notes to what the summary shows."""
        facts = {"Classes": f"success is {self.classes_[1]!s}, failure {self.classes_[0]!s}"}
        by_name = {term.name: term for term in fitted.data.terms}
        for name in self.levels_:
            facts[f"Levels of {name}"] = describe_sizes(np.bincount(by_name[name].codes), by_name[name].n_levels)
        if by_name:
            laplace = "Laplace's approximation"
            nodes = f"adaptive Gauss-Hermite quadrature, {self.n_quadrature_} nodes per dimension"
            facts["Integral"] = laplace if self.n_quadrature_ == 1 else nodes
        if weights.total is not None:
            facts["Weights"] = self.weight_type
        facts["Log pseudo-likelihood" if self.weight_type == "sampling" else "Log-likelihood"] = f"{self.loglik_:.4f}"
        if self.penalty is not None:
            facts["Penalty"] = "weak: normal, standard deviation 2.5 in standard units"
        for name, matrix in self.random_covariance_.items():
            for position, effect in enumerate(self.random_names_[name]):
                facts[f"SD of {effect} by {name}"] = f"{np.sqrt(max(matrix[position, position], 0.0)):.5g}"
        self._inference = self._inference.described(facts, notes)

    def decision_function(self, X, *, groups=None, offset=None):
        """Return the log odds of the predicted probabilities.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        log_odds : ndarray of shape (n_rows,)
            Log odds of the second class, of the probabilities that `predict_proba` returns.
        """
        return log_odds_of(self._predictor(X, groups, offset))

    def _predictor(self, X: Any, groups: Any, offset: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the linear predictor of each row, given the effects of known levels."""
        X, offset = rows_of(self, X, offset)
        mean = self._linear_predictor(X, offset)
        X = np.asarray(X, dtype=np.float64).reshape(len(mean), self.n_features_in_)
        codes = None if groups is None else self._known_levels(groups, len(mean))
        return predictor_moments(mean, X, codes, self.random_effects_, self.random_covariance_, self._random_columns)

    def predict_proba(self, X, *, groups=None, offset=None):
        """Return the probabilities of the classes.

        Without groups they are those of the population: averages over the random effects, not the probabilities of a
        level whose effects are zero. With groups they are conditional on the predicted effects of known levels, and
        averages over the effects of levels not seen in fit.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors as in `fit`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        probabilities : ndarray of shape (n_rows, 2)
            Probabilities in the order of `classes_`.

        Raises
        ------
        ValueError
            If the number of factors is not that of the fit.
        """
        return marginal_probabilities(self._predictor(X, groups, offset))

    def _is_second(self, X: Any, groups: Any, offset: Any) -> np.ndarray:
        mean, _ = self._predictor(X, groups, offset)  # the average over a symmetric distribution is on the same side
        return mean > 0
