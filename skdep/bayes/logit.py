"""`BayesLogit`: Bayesian logistic regression, flat or multilevel."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED

from skdep._compat import Interval, StrOptions, fit_context
from skdep._outcome import encode_binary
from skdep._progress import Progress
from skdep._validation import check_offset, check_rows, check_weights
from skdep.base import FitNotes
from skdep.bayes.checks import check_draws
from skdep.bayes.posterior import Posterior, sample_posterior
from skdep.bayes.posterior_table import posterior_inference
from skdep.bayes.predictions import PosteriorPredictions
from skdep.bayes.prior_density import PriorSpec
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.reports import PosteriorReports
from skdep.bayes.updating import begin_updates, update
from skdep.bayes.updating_batch import encode_labels
from skdep.bayes.working import bayes_rows, centres_and_scales
from skdep.formula.raw_rows import rows_of
from skdep.glmm.rows import GlmmRows
from skdep.mixed.base import kept_rows, least_features
from skdep.mixed.terms import RandomTerm

__all__ = ["BayesLogit"]


class BayesLogit(PosteriorReports, PosteriorPredictions):
    """Bayesian logistic regression, flat or multilevel; a scikit-learn binary classifier.

    The log odds of the second class are X beta + Z b, with a prior on beta, normal effects b of the levels of grouping
    factors, and priors on their standard deviations and correlations. The fit is a sample of the posterior.

    Parameters
    ----------
    prior : None, prior object, or dict, default=None
        Priors of the parameters: one object for all slopes, or a dict by name of the feature, ``"Intercept"``,
        ``"coef"`` for all other slopes, ``"sd"`` and ``"correlation"`` for random effects. What is not named has a
        weakly informative default, see `skdep.bayes.prior_spec` and `prior_summary`.
    random_slopes : None, list of str or int, or dict, default=None
        Features whose slopes vary between levels: by name or number, for every factor; or a dict from factor name to
        such a list.
    random_intercept : bool or dict, default=True
        Whether intercepts vary between levels: of every factor; or a dict from factor name to bool, True for a factor
        that is not in it.
    covariance : {"full", "diagonal"} or dict, default="full"
        Covariance matrix of the effects of a level: free, or without correlations; or a dict from factor name to
        either, "full" for a factor that is not in it.
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
    verbose : int, default=0
        Whether to report the progress of long runs on standard error.

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
        Posterior mean of the covariance matrix of the random effects, by factor: intercept first, then
        `random_slopes` in their order.
    random_effects_ : dict of str to ndarray of shape (n_levels, q)
        Posterior means of the random effects, rows as ``levels_[factor]``; drawn when first asked for.
    random_effects_sd_ : dict of str to ndarray of shape (n_levels, q)
        Their posterior standard deviations.
    random_names_ : dict of str to tuple of str
        Names of the effects.
    levels_ : dict of str to ndarray of shape (n_levels,)
        Labels of the levels.
    log_evidence_ : float
        Logarithm of the marginal likelihood of the data; NaN where the sampler does not give it. After updates it is
        that of all batches; that of the last one alone, given those before, is ``diagnostics_["log_evidence_batch"]``.
    diagnostics_ : dict
        ``"method"``, ``"khat"``, ``"max_rhat"``, ``"min_ess_bulk"``, ``"min_ess_tail"``, and more of the sampler's own.
    n_batches_ : int
        Batches so far: `fit` is the first, each `partial_fit` adds one.
    history_ : UpdateHistory
        Means, standard deviations and quantiles of the posterior after each batch; ``.to_frame()``.
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
    skdep.plotting.PosteriorDisplay : Posterior densities against their priors.
    skdep.bayes.bayes_decision : Decisions under a loss.

    Notes
    -----
    Without random effects, or with up to three a level of one factor (integrated by adaptive quadrature), parameters
    are drawn from a heavy-tailed distribution matched to the posterior, in pairs mirrored at its centre, and accepted
    or rejected by independence chains [1]_. Other models are sampled, together with their random effects, by the
    no-U-turn sampler [2]_ of nutpie. Every fit checks itself by R-hat, effective draws [3]_ and the tail of the
    importance weights, and warns where draws should not be trusted.

    References
    ----------
    .. [1] Tierney (1994), Markov chains for exploring posterior distributions, Annals of Statistics 22, 1701-1762.
    .. [2] Hoffman and Gelman (2014), The No-U-Turn sampler, Journal of Machine Learning Research 15, 1593-1623.
    .. [3] Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and localization: an
       improved R-hat for assessing convergence of MCMC, Bayesian Analysis 16, 667-718.

    Examples
    --------
    >>> from skdep import BayesLogit
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> model = BayesLogit(random_state=0).fit(ohio.data, ohio.target)
    >>> model.coef_.round(2)
    array([[-0.11,  0.27]])
    >>> model.posterior_table()[["mean", "sd", "rhat"]].round(1)
               mean   sd  rhat
    Intercept  -1.9  0.1   1.0
    age        -0.1  0.1   1.0
    smoke       0.3  0.1   1.0
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "prior": "no_validation",
        "random_slopes": [None, list, tuple, dict, str, Integral, np.ndarray],
        "random_intercept": ["boolean", dict],
        "covariance": [StrOptions({"full", "diagonal"}), dict],
        "n_draws": [Interval(Integral, 4, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "method": [StrOptions({"auto", "pairs", "nuts"})],
        "fit_intercept": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [None, Integral],
        "updating": [StrOptions({"exact", "gaussian", "draws"})],
        "forgetting": [Interval(Real, 0, 1, closed="right")],
        "verbose": ["verbose"],
    }
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"group_weight": UNUSED}
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
        verbose=0,
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
        self.verbose = verbose

    @fit_context
    def fit(self, X, y, *, groups=None, sample_weight=None, offset=None):
        """Sample the posterior.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features. A DataFrame of no columns, with `fit_intercept`, is the model of an intercept alone.
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
        return self._described()

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
            X, offset = rows_of(self, X, offset)
            update(self, X, y, classes, groups=groups, sample_weight=sample_weight, offset=offset)
        else:
            self._fit_first(X, y, groups, sample_weight, offset, classes)
        return self._described()

    def _fit_first(self, X: Any, y: Any, groups: Any, sample_weight: Any, offset: Any, classes: Any = None) -> None:
        """Sample the posterior of a first batch."""
        notes = FitNotes()
        X, y = check_rows(self, X, y, ensure_min_features=least_features(self, groups))
        offset, weights = check_offset(offset, len(X)), check_weights(sample_weight, len(X))
        self.classes_, success = _encoded(y, weights) if classes is None else encode_labels(y, classes)
        terms = self._terms(groups, len(X))
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
            covariance={term.name: _covariance_kind(term) for term in terms},
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

    def _run(
        self, rows: GlmmRows, prior: PriorSpec, rng: np.random.Generator, start: np.ndarray | None = None
    ) -> Posterior:
        """Sample the posterior of rows, the search for its mode beginning at `start`."""
        with Progress("Sampling", enabled=self.verbose > 0) as progress:
            return sample_posterior(
                rows,
                prior,
                method=self.method,
                n_draws=self.n_draws,
                n_chains=self.n_chains,
                rng=rng,
                n_jobs=self.n_jobs,
                start=start,
                progress=progress if progress.is_followed else None,
            )

    def _set_posterior(self, posterior: Posterior, order: list[str], notes: FitNotes, rng: np.random.Generator) -> None:
        """Store a posterior, and check it."""
        self._posterior = posterior
        self._effects_seed, self._kept_effects = int(rng.integers(2**31)), None
        self._store(posterior, order)
        self.diagnostics_, self.converged_ = check_draws(posterior, self._prior, notes)
        self.n_iter_ = self.n_draws
        self._notes = notes

    def _described(self) -> BayesLogit:
        """Store what inference and the summary need, once all is known of the fit."""
        self._inference = posterior_inference(self, self._notes)
        return self

    def _store(self, posterior: Posterior, order: list[str]) -> None:
        """Set the fitted attributes in the user's units."""
        layout = self._prior.layout
        k, split = layout.n_coefficients, int(self.fit_intercept)
        params = self._prior.working_coefficients(posterior.points) @ layout.to_user.T
        self.draws_ = {
            "intercept": params[..., 0].copy() if split else np.zeros(params.shape[:2]),
            "coef": params[..., split:].copy(),
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


def _covariance_kind(term: RandomTerm) -> str:
    """Return "full" or "diagonal"; of blocks in between there is no prior."""
    n_blocks = len(set(term.blocks))
    if 1 < n_blocks < term.q:
        raise ValueError(
            f"covariance of {term.name}: BayesLogit has all effects of a factor correlated ('full'), or none "
            "('diagonal'), not some of them in blocks; MixedLogit has. Give one of the two."
        )
    return "full" if n_blocks == 1 else "diagonal"


def _encoded(y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the two classes, and whether each row is of the second; with one class only say how it may be given."""
    try:
        return encode_binary(y, weights)
    except ValueError as error:
        if "only one class" not in str(error):
            raise
        raise ValueError(
            f"{error} A first batch may have one: name both in partial_fit(X, y, classes=[...])."
        ) from error
