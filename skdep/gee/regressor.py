"""`GEERegressor`: marginal models by generalized estimating equations."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin

from skdep._compat import StrOptions, fit_context
from skdep._validation import check_rows, check_weights, numeric_rows
from skdep.families import FAMILIES, Family, Gaussian, get_family
from skdep.gee.base import BaseGEE
from skdep.gee.given_rows import GEEMetadata

__all__ = ["GEERegressor"]


class GEERegressor(RegressorMixin, BaseGEE):
    """Marginal regression for clustered and longitudinal data, by generalized estimating equations.

    The mean of each outcome is modelled as in a generalized linear model, population-averaged: no random effects. A
    working correlation within clusters makes estimates efficient; the sandwich makes standard errors right even where
    it is wrong.

    Parameters
    ----------
    family : str or Family, default="gaussian"
        Mean-variance family: ``"gaussian"``, ``"binomial"`` (outcomes 0 and 1, or fractions), ``"poisson"``,
        ``"gamma"``, ``"inverse_gaussian"``, ``"negative_binomial"`` (dispersion 1; pass
        ``skdep.families.NegativeBinomial(dispersion)`` for another).
    link : str, Link or None, default=None
        Link of the mean; None is the canonical one (the log for the negative binomial): ``"identity"``, ``"log"``,
        ``"logit"``, ``"probit"``, ``"cloglog"``, ``"loglog"``, ``"cauchit"``, ``"inverse"``, ``"inverse_squared"``,
        ``"sqrt"``.
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
        Scale phi; None estimates it from Pearson residuals, in every family.
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
    coef_ : ndarray of shape (n_features,)
        Coefficients on the scale of the link.
    intercept_ : float
        Intercept; 0 without one.
    covariance_ : ndarray of shape (p, p)
        Covariance of ``[intercept, *coef]`` under `cov_type`; no row for the intercept without one.
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
        Whether the iterations converged.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has string names.

    See Also
    --------
    GEEClassifier : The same for a binary outcome with class labels.
    skdep.inference.coef_table : Coefficients with tests and intervals.
    skdep.inference.qic : Criteria to choose the working correlation.

    Notes
    -----
    Rows of weight zero are as if not there. Missing rows are harmless if missing completely at random. AR(1) works in
    real time: the correlation of rows d apart is alpha^d.

    Few clusters make the sandwich too small, most of all for features that are constant within clusters. With K
    clusters and p coefficients, ``"kc"`` with K - p degrees of freedom is the usual recommendation for
    cluster-randomised trials; ``"md"`` is more cautious. ``"fg"`` is computed for features centred at their means,
    so that no origin matters. ``"mbn"`` is k V + delta xi naive with k = (n - 1) / (n - p) K / (K - 1), V the
    sandwich, xi the mean design effect of k V, at least 1, and delta = p / (K - p), at most 1/2. ``"pan"`` pools
    residuals of all clusters at the same time, or in the same place where clusters are equally large.
    ``"jackknife"`` is ``"md"`` times (K - p - q - r) / K, for q parameters of association and r = 1 if phi is
    estimated. All count a cluster of frequency c as c clusters. ``coef_table(est, cov_type="kc",
    df="satterthwaite")`` has degrees of freedom for each coefficient, which unequal clusters, or few treated ones,
    make fewer than K - p.

    With `strata` or `fpc` clusters are the units of a survey: ``"robust"`` and ``"design"`` are the linearised variance
    with the t distribution of R's svyglm, and the types for few clusters are not defined. Stages after the first need
    independence. Without both ``"design"`` is the sandwich times K / (K - 1).

    References
    ----------
    .. [1] Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73, 13-22.
    .. [2] Zeger, Liang and Albert (1988), Models for longitudinal data: a generalized estimating equation approach,
       Biometrics 44, 1049-1060.
    .. [3] Li and Redden (2015), Small sample performance of bias-corrected sandwich estimators for cluster-randomized
       trials with binary outcomes, Statistics in Medicine 34, 281-296.
    .. [4] Mancl and DeRouen (2001), Biometrics 57, 126-134; Kauermann and Carroll (2001), Journal of the American
       Statistical Association 96, 1387-1396; Fay and Graubard (2001), Biometrics 57, 1198-1206; Morel, Bokossa and
       Neerchal (2003), Biometrical Journal 45, 395-409; Pan (2001), Biometrika 88, 901-906; Lipsitz, Dear and Zhao
       (1994), Biometrics 50, 842-846.
    .. [5] Binder (1983), On the variances of asymptotically normal estimators from complex surveys, International
       Statistical Review 51, 279-292.

    Examples
    --------
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_epil
    >>> epil = load_epil()
    >>> X = epil.data[["base", "age"]]
    >>> gee = GEERegressor(family="poisson", working_correlation="exchangeable")
    >>> gee = gee.fit(X, epil.target, groups=epil.groups)
    >>> gee.coef_.round(4), round(gee.association_, 3)
    (array([0.0225, 0.0257]), 0.392)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGEE._parameter_constraints,
        "family": [StrOptions(set(FAMILIES)), Family],
    }

    def __init__(
        self,
        family="gaussian",
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
        self.family = family
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
        family = FAMILIES.get(self.family, Gaussian) if isinstance(self.family, str) else self.family
        tags.target_tags.positive_only = family.lower >= 0.0
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
            Outcomes in the range of the family.
        groups : array-like of shape (n_rows,) or (n_rows, n_levels), optional
            Labels of the clusters, in any row order; without them every row is a cluster. Further columns are nested
            subclusters, for a working correlation that has them, or units of the later stages of a survey.
        sample_weight : array-like of shape (n_rows,), optional
            Weights, in the meaning of `weight_type`.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor, such as the log of an exposure.
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
        self : GEERegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is malformed, outcomes are outside the family's range, times are tied within a cluster, the
            data do not allow `cov_type`, or a stratum has a single unit under ``lonely_psu="fail"``.
        """
        X, y = check_rows(self, X, y, y_numeric=True)
        if sample_weight is None:
            sample_weight = getattr(replicate_weights, "sample_weight", None)
        y = np.asarray(y, dtype=np.float64)
        family = get_family(self.family)
        family.check_outcome(y, check_weights(sample_weight, len(y)))
        self._fit_equations(
            X, y, family, GEEMetadata(groups, sample_weight, offset, time, strata, fpc, replicate_weights)
        )
        return self

    def _set_coefficients(self, params):
        split = int(self.fit_intercept)
        self.coef_ = params[split:]
        self.intercept_ = float(params[0]) if split else 0.0

    def predict(self, X, *, groups=None, offset=None):
        """Return the means.

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
        mean : ndarray of shape (n_rows,)
            Means, in units of y; NaN, with a warning, where the link admits no mean.
        """
        return self._mean(X, offset)

    def score(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Return D squared, the share of the family's deviance explained.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Outcomes.
        groups : array-like, optional
            Not used: the model is marginal.
        sample_weight : array-like of shape (n_rows,), optional
            Weights.
        offset : array-like of shape (n_rows,), optional
            Known part of the linear predictor.

        Returns
        -------
        d_squared : float
            One less the deviance over that of the constant weighted mean of y: 1 is best, negative is worse than that.
        """
        mu = self._mean(X, offset)
        y = numeric_rows(y, len(mu), name="y")
        weights = check_weights(sample_weight, len(y))
        self._family.check_outcome(y, weights)
        mean = self._family.clip(np.full(len(y), np.average(y, weights=weights)))
        null = float(np.average(self._family.deviance(y, mean), weights=weights))
        deviance = float(np.average(self._family.deviance(y, self._family.clip(mu)), weights=weights))
        if null == 0.0:
            return 1.0 if deviance == 0.0 else 0.0
        return 1.0 - deviance / null
