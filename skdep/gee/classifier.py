"""`GEEClassifier`: marginal models of binary outcomes by generalized estimating equations."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin

from skdep._binary import BinaryPredictionMixin
from skdep._compat import fit_context
from skdep._outcome import encode_binary
from skdep._validation import check_rows, check_weights
from skdep.families import Binomial
from skdep.gee.base import BaseGEE
from skdep.gee.given_rows import GEEMetadata

__all__ = ["GEEClassifier"]


class GEEClassifier(BinaryPredictionMixin, ClassifierMixin, BaseGEE):
    """Marginal model of a binary outcome by generalized estimating equations; a scikit-learn binary classifier.

    As `GEERegressor` with the binomial family, for labels of any type, with `predict_proba`.

    Parameters
    ----------
    link : str, Link or None, default=None
        Link of the probability; None is the logit. ``"probit"``, ``"cloglog"``, ``"loglog"``, ``"cauchit"``, and
        others.
    working_correlation : str or WorkingCorrelation, default="independence"
        ``"independence"``, ``"exchangeable"``, ``"nested"`` (subclusters by further columns of `groups`); over `time`
        ``"ar1"``, ``"m_dependent"``, ``"toeplitz"``, ``"unstructured"``; or an object such as ``AR1(pairs="all")``,
        ``MDependent(m=2)``, ``Fixed(matrix)`` or a `ParametricCorrelation` of one's own, all in `skdep.gee`.
    cov_type : {"robust", "naive", "df", "md", "kc", "fg", "mbn", "pan", "jackknife", "design"}, default="robust"
        Covariance of the estimates; any other can be asked for after the fit. ``"robust"`` is the sandwich, ``"naive"``
        believes the working correlation. For few clusters, with the t distribution: ``"kc"`` (Kauermann-Carroll),
        ``"md"`` (Mancl-DeRouen), ``"fg"`` (Fay-Graubard), ``"mbn"`` (Morel-Bokossa-Neerchal), ``"pan"``,
        ``"jackknife"`` (one step) and ``"df"``, the sandwich times K / (K - p). ``"design"`` is the linearised variance
        of a survey, as is ``"robust"`` where `strata` or `fpc` are given. See Notes.
    scale : float or None, default=None
        Scale phi; None estimates it from Pearson residuals.
    dof : {"n-p", "n"}, default="n-p"
        What the moment estimators of phi and of the association divide by: numbers of rows (pairs) less the number of
        parameters, as SAS does, or the numbers themselves, as geepack does. Under sampling weights that go with the
        sizes of clusters only ``"n"``, which weighs pairs, estimates the association in the population.
    weight_type : {"sampling", "frequency"}, default="sampling"
        What `sample_weight` means: weights of rows, entering as ``W^(1/2) V^(-1) W^(1/2)``, of any scale; or whole
        numbers constant within clusters, which count clusters.
    lonely_psu : {"fail", "remove", "adjust", "average"}, default="fail"
        What to do with a stratum of a single sampling unit: raise an error; count it as drawn with certainty; centre it
        at the mean of all strata; or give it the mean variance of the others.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    max_iter : int, default=100
        Most scoring steps, those of the start under independence included.
    tol : float, default=1e-9
        Largest length of the next step of a converged fit, in standard errors over the square root of n.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features)
        Coefficients on the scale of the link.
    intercept_ : ndarray of shape (1,)
        Intercept; 0 without one.
    covariance_ : ndarray of shape (p, p)
        Covariance of ``[intercept, *coef]`` under `cov_type`; no row for the intercept without one.
    classes_ : ndarray of shape (2,)
        Labels; the second is the success.
    scale_ : float
        Scale phi.
    association_ : float, ndarray of shape (n_parameters,) or ndarray of shape (n_times, n_times)
        Parameter alpha of the working correlation (exchangeable, AR(1)); alpha by lag (m-dependent, Toeplitz), or by
        level from the cluster inwards (nested); or the whole matrix of an unstructured or fixed one, which is positive
        definite on the times that occur together. Standard errors are in `skdep.inference.association_table`.
    correlation_shrinkage_ : float
        By how much the working correlation was shrunk towards independence to be positive definite; mostly 0.
    infeasible_pairs_ : float or None
        Of binary outcomes, the share of pairs of rows whose working correlation is outside the bounds that their means
        set (exact up to 20 000 pairs, else of a sample of as many); None for other outcomes.
    times_ : ndarray of shape (n_times,)
        Distinct times, for working correlations that number them: rows and columns of an unstructured one belong to
        them.
    n_clusters_ : int
        Number of clusters.
    n_iter_ : int
        Number of scoring steps, those of the start included.
    converged_ : bool
        Whether the iterations converged, to finite estimates.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has string names.

    See Also
    --------
    GEERegressor : The same for other families.
    LogitRegressor : Logistic regression with cluster-robust standard errors.

    Notes
    -----
    The types of covariance are explained at `GEERegressor`.

    References
    ----------
    .. [1] Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73, 13-22.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> gee = GEEClassifier(working_correlation="ar1")
    >>> gee = gee.fit(ohio.data, ohio.target, groups=ohio.groups, time=ohio.time)
    >>> gee.coef_.round(3), round(gee.association_, 3)
    (array([[-0.115,  0.244]]), 0.399)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {**BaseGEE._parameter_constraints}

    def __init__(
        self,
        *,
        link=None,
        working_correlation="independence",
        cov_type="robust",
        scale=None,
        dof="n-p",
        weight_type="sampling",
        lonely_psu="fail",
        fit_intercept=True,
        max_iter=100,
        tol=1e-9,
    ):
        self.link = link
        self.working_correlation = working_correlation
        self.cov_type = cov_type
        self.scale = scale
        self.dof = dof
        self.weight_type = weight_type
        self.lonely_psu = lonely_psu
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    @fit_context
    def fit(
        self,
        X,
        y,
        *,
        groups=None,
        sample_weight=None,
        offset=None,
        time=None,
        strata=None,
        fpc=None,
        replicate_weights=None,
    ):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features. A DataFrame of no columns, with `fit_intercept`, is the model of an intercept alone.
        y : array-like of shape (n_rows,)
            Labels of two classes.
        groups : array-like of shape (n_rows,) or (n_rows, n_levels), optional
            Labels of the clusters, in any row order; without them every row is a cluster. Further columns are nested
            subclusters, for a working correlation that has them, or units of the later stages of a survey.
        sample_weight : array-like of shape (n_rows,), optional
            Weights, in the meaning of `weight_type`.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.
        time : array-like of shape (n_rows,), optional
            Times: numbers, dates (counted in days) or an ordered categorical, distinct within clusters. Without them
            a working correlation that needs times takes the order of rows, with a warning.
        strata : array-like of shape (n_rows,) or (n_rows, n_stages), optional
            Under sampling weights: labels of the strata that clusters, the units of a survey, were drawn from. Clusters
            are nested in strata, so that their labels may restart.
        fpc : array-like of shape (n_rows,) or (n_rows, n_stages), optional
            Under sampling weights: how many units the population of the row's stratum has (at least 1), or which
            fraction of them was drawn (at most 1), by stage. Without it units count as drawn with replacement.
        replicate_weights : ReplicateWeights, optional
            Under sampling weights and independence: weights of the rows in every replicate. The model is fitted under
            each, and the robust covariance is that over the replicates.

        Returns
        -------
        self : GEEClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is malformed, there are not two classes, times are tied within a cluster, the data do not allow
            `cov_type`, or a stratum has a single unit under ``lonely_psu="fail"``.
        """
        X, y = check_rows(self, X, y)
        if sample_weight is None:
            sample_weight = getattr(replicate_weights, "sample_weight", None)
        self.classes_, success = encode_binary(y, check_weights(sample_weight, len(X)))
        metadata = GEEMetadata(groups, sample_weight, offset, time, strata, fpc, replicate_weights)
        self._fit_equations(X, success.astype(np.float64), Binomial(), metadata)
        return self

    def _set_coefficients(self, params):
        split = int(self.fit_intercept)
        self.coef_ = params[None, split:]
        self.intercept_ = params[:1].copy() if split else np.zeros(1)

    def decision_function(self, X, *, groups=None, offset=None):
        """Return the linear predictor less its value at probability one half: the log odds with the logit link.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like, optional
            Not used: the model is marginal.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        decision : ndarray of shape (n_rows,)
            Positive where the second class is the more probable.
        """
        eta = self._linear_predictor(X, offset)
        half = np.array([0.5])
        even = self._link.link(half)
        direction = np.sign(self._link.inverse_derivative(even, half))  # -1 for links that fall with the mean
        return direction * (eta - even)

    def _probabilities(self, X: Any, offset: Any) -> np.ndarray:
        mean = self._mean(X, offset)
        return np.column_stack([1.0 - mean, mean])
