"""`BayesLogit`: Bayesian logistic regression, flat or multilevel."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdep._compat import Interval, StrOptions, fit_context
from skdep._outcome import encode_binary
from skdep._validation import check_offset, check_rows, check_weights
from skdep.base import FitNotes
from skdep.bayes.checks import check_draws
from skdep.bayes.datatree import to_datatree
from skdep.bayes.decisions import bayes_decision
from skdep.bayes.loo import LeaveOneOut
from skdep.bayes.loo_of_fit import loo_of_fit
from skdep.bayes.posterior import Posterior, sample_posterior
from skdep.bayes.predictive import Predictor
from skdep.bayes.prior_density import PriorSpec
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.updating import begin_updates, update
from skdep.bayes.updating_batch import encode_labels
from skdep.bayes.working import bayes_rows, centres_and_scales
from skdep.glmm.rows import GlmmRows
from skdep.mixed.base import MixedEstimator, kept_rows, least_features

__all__ = ["BayesLogit"]


class BayesLogit(ClassifierMixin, MixedEstimator):
    """Bayesian logistic regression, flat or multilevel; a scikit-learn binary classifier.

    Parameters
    ----------
    prior : None, prior object, or dict, default=None
        Priors of the parameters: one object for all slopes, or a dict by name of the feature, ``"Intercept"``,
        ``"coef"`` for all other slopes, ``"sd"`` and ``"correlation"`` for random effects. What is not named has a
        weakly informative default, see `skdep.bayes.prior_spec`.
    random_slopes : None, list of str or int, or dict, default=None
        Features whose slopes vary between levels: by name or number, for every factor; or a dict from factor name to
        such a list.
    random_intercept : bool, default=True
        Whether intercepts vary.
    covariance : {"full", "diagonal"}, default="full"
        Covariance matrix of the effects of a level: free, or without correlations.
    n_draws : int, default=1000
        Draws that each chain keeps.
    n_chains : int, default=4
        Number of chains.
    method : {"auto", "pairs", "nuts"}, default="auto"
        Sampler: independence chains over pairs where they can be had and pass their gates, else the no-U-turn sampler
        (extra ``bayes``).
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; the same one gives identical draws.
    n_jobs : int or None, default=None
        Chains that the no-U-turn sampler runs at once.
    updating : {"exact", "gaussian", "draws"}, default="exact"
        What `partial_fit` carries from batch to batch: all rows, equal ones counted; a normal distribution, and no
        rows; or draws, with the counted rows to move them where need be. See `skdep.bayes.updating`.
    forgetting : float, default=1.0
        Factor in (0, 1] that the evidence of earlier batches is discounted by at each `partial_fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Labels; the second is the success.
    draws_ : dict of str to ndarray
        Draws of the posterior: ``"intercept"`` (n_chains, n_draws), ``"coef"`` (n_chains, n_draws, p), and with one
        factor ``"random_covariance"`` (n_chains, n_draws, q, q); with several ``"random_covariance[name]"`` by factor.
    coef_ : ndarray of shape (1, p)
        Posterior means of the coefficients.
    intercept_ : ndarray of shape (1,)
        Posterior mean of the intercept; 0 without one.
    covariance_ : ndarray
        Posterior covariance of ``[intercept, *coef]``.
    random_covariance_ : dict of str to ndarray of shape (q, q)
        Posterior mean of the covariance matrix of the random effects, by factor.
    log_evidence_ : float
        Logarithm of the marginal likelihood of the data; NaN where the sampler does not give it. After updates it is
        that of all batches; that of the last one alone, given those before, is ``diagnostics_["log_evidence_batch"]``.
    diagnostics_ : dict
        ``"method"``, ``"khat"``, ``"max_rhat"``, ``"min_ess_bulk"``, ``"min_ess_tail"``, and more of the sampler's own.
    n_batches_ : int
        Batches so far: `fit` is the first, each `partial_fit` adds one.
    history_ : UpdateHistory
        Means, standard deviations and quantiles of the posterior after each batch; ``.to_frame()``.
    levels_, random_names_ : dict
        Labels of the levels, and names of the effects, by factor.
    converged_ : bool
        Whether all checks were passed.
    n_iter_ : int
        Draws of each chain.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has string names.

    See Also
    --------
    MixedLogit : Maximum likelihood for the same models.
    LogitRegressor : Maximum likelihood without random effects.

    Examples
    --------
    >>> from skdep import BayesLogit
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> model = BayesLogit(random_state=0).fit(ohio.data, ohio.target)
    >>> model.coef_.round(2)
    array([[-0.11,  0.27]])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "prior": "no_validation",
        "random_slopes": [None, list, tuple, dict, str, Integral, np.ndarray],
        "random_intercept": ["boolean"],
        "covariance": [StrOptions({"full", "diagonal"})],
        "n_draws": [Interval(Integral, 4, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "method": [StrOptions({"auto", "pairs", "nuts"})],
        "fit_intercept": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [None, Integral],
        "updating": [StrOptions({"exact", "gaussian", "draws"})],
        "forgetting": [Interval(Real, 0, 1, closed="right")],
    }
    __metadata_request__partial_fit: ClassVar[dict[str, bool]] = {
        "groups": True,
        "sample_weight": True,
        "offset": True,
        "classes": True,
    }
    _link_name = "logit"

    def __init__(
        self,
        prior=None,
        *,
        random_slopes=None,
        random_intercept=True,
        covariance="full",
        n_draws=1000,
        n_chains=4,
        method="auto",
        fit_intercept=True,
        random_state=None,
        n_jobs=None,
        updating="exact",
        forgetting=1.0,
    ):
        self.prior = prior
        self.random_slopes = random_slopes
        self.random_intercept = random_intercept
        self.covariance = covariance
        self.n_draws = n_draws
        self.n_chains = n_chains
        self.method = method
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.updating = updating
        self.forgetting = forgetting

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    @fit_context
    def fit(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Sample the posterior.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Labels of two classes.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, a column each, nested or crossed.
        sample_weight : array-like of shape (n_rows,), optional
            Powers of the likelihood of each row: an integer is a number of rows.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        self : BayesLogit
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is malformed, or a prior does not fit the model.
        """
        self._fit_first(X, y, groups, sample_weight, offset)
        return self

    @fit_context
    def partial_fit(self, X, y, classes=None, *, groups=None, sample_weight=None, offset=None):
        """Update the posterior by a further batch of rows; the first call fits.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Labels; after the first batch, or with `classes`, one class is enough.
        classes : array-like of shape (2,), optional
            All labels, for a first batch that may not have both.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the same grouping factors as in the first batch; new levels are added.
        sample_weight : array-like of shape (n_rows,), optional
            Powers of the likelihood of each row.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        self : BayesLogit
            The updated estimator.

        Raises
        ------
        ValueError
            If the input is malformed or at odds with earlier batches; the estimator is then left as it was.

        Notes
        -----
        The prior, its scales, and which effects vary are those of the first batch. Parameters of the sampler,
        ``updating`` and ``forgetting`` may change from batch to batch, but not back from ``"gaussian"``.
        """
        if hasattr(self, "_updates"):
            update(self, X, y, classes, groups=groups, sample_weight=sample_weight, offset=offset)
        else:
            self._fit_first(X, y, groups, sample_weight, offset, classes)
        return self

    def _fit_first(self, X: Any, y: Any, groups: Any, sample_weight: Any, offset: Any, classes: Any = None) -> None:
        """Sample the posterior of a first batch."""
        notes = FitNotes()
        X, y = check_rows(self, X, y, ensure_min_features=least_features(self, groups))
        offset, weights = check_offset(offset, len(X)), check_weights(sample_weight, len(X))
        self.classes_, success = encode_binary(y, weights) if classes is None else encode_labels(y, classes)
        terms = [] if groups is None else self._terms(groups, len(X))
        kept = kept_rows(len(X), weights)
        if kept is not None:
            X, success, terms = X[kept], success[kept], [term.take(kept) for term in terms]
            weights, offset = (None if part is None else part[kept] for part in (weights, offset))
        order = [term.name for term in terms]
        terms = sorted(terms, key=lambda term: -term.n_levels * term.q)
        self._fitted_with_offset = offset is not None
        centres, scales = centres_and_scales(X, weights, fit_intercept=self.fit_intercept)
        names = self._parameter_names()[int(self.fit_intercept) :]
        self._prior = resolve_priors(
            self.prior,
            names,
            scales,
            centres,
            terms,
            covariance=self.covariance,
            fit_intercept=self.fit_intercept,
        )
        self._rows = bayes_rows(X, success.astype(np.float64), offset, weights, terms, self._prior.layout)
        self._store_terms(terms, order)
        rng = self._generator()
        self._set_posterior(self._run(self._rows, self._prior, rng), order, notes, rng)
        begin_updates(self, notes, len(X))

    def _generator(self, *numbers: int) -> np.random.Generator:
        """Return the source of randomness, another one for each batch and purpose."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return np.random.default_rng([seed, *numbers] if numbers else seed)

    def _run(self, rows: GlmmRows, prior: PriorSpec, rng: np.random.Generator) -> Posterior:
        """Sample the posterior of rows."""
        return sample_posterior(
            rows, prior, method=self.method, n_draws=self.n_draws, n_chains=self.n_chains, rng=rng, n_jobs=self.n_jobs
        )

    def _set_posterior(self, posterior: Posterior, order: list[str], notes: FitNotes, rng: np.random.Generator) -> None:
        """Store a posterior, and check it."""
        self._posterior = posterior
        self._effects_seed = int(rng.integers(2**31))
        self._store(posterior, order)
        self.diagnostics_, self.converged_ = check_draws(posterior, self._prior, notes)
        self.n_iter_ = self.n_draws

    def _store(self, posterior: Posterior, order: list[str]) -> None:
        """Set the fitted attributes in the user's units."""
        layout = self._prior.layout
        k, split = layout.n_coefficients, int(self.fit_intercept)
        params = self._prior.working_coefficients(posterior.points) @ layout.to_user.T
        self.draws_ = {
            "intercept": params[..., 0] if split else np.zeros(params.shape[:2]),
            "coef": params[..., split:],
        }
        by_name = {effects.name: effects.covariance(posterior.points) for effects in layout.random}
        for name in order:
            self.draws_["random_covariance" if len(order) == 1 else f"random_covariance[{name}]"] = by_name[name]
        flat = params.reshape(-1, k)
        mean = flat.mean(axis=0)
        self.coef_ = mean[None, split:]
        self.intercept_ = mean[:1].copy() if split else np.zeros(1)
        self.covariance_ = np.atleast_2d(np.cov(flat, rowvar=False))
        self.random_covariance_ = {name: by_name[name].mean(axis=(0, 1)) for name in order}
        self.log_evidence_ = posterior.log_evidence

    def _predictor(self, *, with_effects: bool) -> Predictor:
        """Return what computes predictions from draws."""
        layout = self._prior.layout
        points = self._posterior.points.reshape(-1, layout.n_points)
        params = np.column_stack([self.draws_["intercept"].ravel(), self.draws_["coef"].reshape(len(points), -1)])
        covariances = {term.name: term.covariance(points) for term in layout.random}
        effects = self._effect_draws() if with_effects else {}
        return Predictor(params, covariances, effects, self._random_columns)

    def _effect_draws(self) -> dict[str, np.ndarray]:
        """Return draws of the random effects (S, n_levels, q) by factor, in the user's columns.

        They are made when they are first asked for, always the same.
        """
        layout, posterior = self._prior.layout, self._posterior
        if posterior.effects is None:
            points = posterior.points.reshape(-1, layout.n_points)
            drawn = [posterior.target.draw_effects(points, np.random.default_rng(self._effects_seed))]
            posterior = self._posterior = replace(posterior, effects=drawn)
        assert posterior.effects is not None
        return {
            term.name: part.reshape(-1, *part.shape[-2:]) @ term.to_user.T
            for term, part in zip(layout.random, posterior.effects, strict=True)
        }

    def _rows_to_predict(self, X: Any, groups: Any, offset: Any) -> tuple[np.ndarray, Any, Any]:
        """Validate new rows: features, offset, level numbers by factor (None without groups, or without factors)."""
        n_rows = len(self._linear_predictor(X, offset))
        X = np.asarray(X, dtype=np.float64).reshape(n_rows, self.n_features_in_)
        codes = None if groups is None or not self.levels_ else self._known_levels(groups, n_rows)
        return X, check_offset(offset, n_rows), codes

    def _moments(self, X: Any, groups: Any, offset: Any) -> tuple[np.ndarray, np.ndarray]:
        X, offset, codes = self._rows_to_predict(X, groups, offset)
        predictor = self._predictor(with_effects=codes is not None).thinned(len(X))
        return predictor.moments(X, offset, codes)

    def predict_proba(self, X, *, groups=None, offset=None, return_std=False):
        """Return posterior predictive probabilities of the classes.

        They are means over the draws, and over the random effects of levels that are not known.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors as in `fit`: predictions for known levels are conditional on what is known
            of their effects.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.
        return_std : bool, default=False
            Whether to return the posterior standard deviation of the probability of success as well.

        Returns
        -------
        probabilities : ndarray of shape (n_rows, 2)
            Probabilities in the order of `classes_`.
        std : ndarray of shape (n_rows,)
            With `return_std`: standard deviation over the posterior.

        Raises
        ------
        ValueError
            If the number of factors is not that of the fit.
        """
        mean, sd = self._moments(X, groups, offset)
        probabilities = np.column_stack([1.0 - mean, mean])
        return (probabilities, sd) if return_std else probabilities

    def predict_interval(self, X, *, groups=None, offset=None, level=0.9):
        """Return posterior intervals of the probability of success, with equal tails.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.
        level : float, default=0.9
            Posterior probability of an interval.

        Returns
        -------
        intervals : ndarray of shape (n_rows, 2)
            Lower and upper ends.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        X, offset, codes = self._rows_to_predict(X, groups, offset)
        predictor = self._predictor(with_effects=codes is not None).thinned(len(X))
        return predictor.quantiles(X, offset, codes, [0.5 - 0.5 * level, 0.5 + 0.5 * level])

    def predict_log_proba(self, X, *, groups=None, offset=None):
        """Return the logarithms of the posterior predictive probabilities.

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
        log_probabilities : ndarray of shape (n_rows, 2)
            Logarithms, in the order of `classes_`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, groups=groups, offset=offset))

    def predict(self, X, *, groups=None, offset=None):
        """Return the more probable class.

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
        labels : ndarray of shape (n_rows,)
            Labels.
        """
        is_success = self.predict_proba(X, groups=groups, offset=offset)[:, 1] > 0.5
        return self.classes_[is_success.astype(int)]

    def decide(self, X, loss, *, groups=None, offset=None):
        """Choose the action of least posterior expected loss for each row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        loss : array-like of shape (n_actions, 2)
            ``loss[action, class]``, classes in the order of `classes_`; a row may be the loss of not deciding.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        actions : ndarray of int of shape (n_rows,)
            Number of the action of each row.
        """
        probabilities = self.predict_proba(X, groups=groups, offset=offset)
        return bayes_decision(loss, probabilities=probabilities, classes=list(self.classes_)).actions

    def decision(self, X, loss, *, groups=None, offset=None, reject=None):
        """Weigh actions: expected losses, the best action, and what it would be worth to know more.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        loss : array-like of shape (n_actions, 2), DataFrame, or callable
            ``loss[action, class]``, or a function of posterior draws of the probabilities, see
            `skdep.bayes.decisions.bayes_decision`.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.
        reject : float, optional
            Loss of not deciding, whatever the class: one more action, the last.

        Returns
        -------
        Decision
            ``.actions``, ``.expected_loss``, ``.evpi``, ``.evpi_outcome``; ``.to_frame()``.
        """
        X, offset, codes = self._rows_to_predict(X, groups, offset)
        predictor = self._predictor(with_effects=codes is not None).thinned(len(X))
        draws = predictor.draws(X, offset, codes)
        return bayes_decision(loss, draws=draws, classes=list(self.classes_), reject=reject)

    def score(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Return the accuracy.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        y : array-like of shape (n_rows,)
            Labels.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        sample_weight : array-like of shape (n_rows,), optional
            Weights.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        accuracy : float
            Weighted share of labels predicted right.
        """
        labels = self.predict(X, groups=groups, offset=offset)
        return accuracy_score(y, labels, sample_weight=check_weights(sample_weight, len(labels)))

    def loo(self, X=None, y=None, *, groups=None, sample_weight=None, offset=None, leave_out="auto") -> LeaveOneOut:
        """Estimate how well rows, or levels, are predicted that are left out of the fit, from its draws alone.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features), optional
            Features of the fit. The sum does not need them; results by row are in their order, so that
            `skdep.bayes.loo.compare_elpd` can pair the rows of fits with different features.
        y : array-like of shape (n_rows,), optional
            Labels of the fit, with X.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors of the fit, with X.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of the fit, with X: of its repetitions one is left out at a time.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds in the fit, with X.
        leave_out : {"auto", "row", "level"}, default="auto"
            What is predicted from the rest: a row, in a multilevel model one of a level known by its other rows; or all
            rows of a level, as of a new one. By default levels where there are any.

        Returns
        -------
        LeaveOneOut
            ``.elpd``, ``.se``, ``.p_loo``; ``.pointwise`` and ``.khat`` by row, or by level in the order of `levels_`.

        Raises
        ------
        ValueError
            If the fit keeps no rows, has several grouping factors, or X and y are not its data.

        Warns
        -----
        ConvergenceWarning
            If what is left out matters so much that draws given all rows say little about the posterior without it.
        """
        check_is_fitted(self)
        return loo_of_fit(self, X, y, groups=groups, sample_weight=sample_weight, offset=offset, leave_out=leave_out)

    def to_datatree(self, *, random_effects=False, data=False, n_prior_draws=1000):
        """Return the draws as a ``DataTree`` for ArviZ (extra ``bayes``), see `skdep.bayes.datatree`.

        Parameters
        ----------
        random_effects : bool, default=False
            Whether to hold draws of the random effects of every level.
        data : bool, default=False
            Whether to hold distinct rows and their counts.
        n_prior_draws : int, default=1000
            Draws of the prior; 0 for none.

        Returns
        -------
        DataTree
            Groups ``posterior``, ``sample_stats``, ``prior``; with `data` also ``observed_data`` and
            ``constant_data``.

        Raises
        ------
        ImportError
            If arviz-base is missing.
        """
        check_is_fitted(self)
        return to_datatree(self, random_effects=random_effects, data=data, n_prior_draws=n_prior_draws)
