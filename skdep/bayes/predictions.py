"""What a fitted posterior is used for: random effects, probabilities with their uncertainty, decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdep._binary import BinaryClassifierMixin
from skdep._validation import check_offset
from skdep.bayes.decisions import Decision, bayes_decision, join_decisions
from skdep.bayes.posterior import Posterior
from skdep.bayes.posterior_table import tails_of
from skdep.bayes.predictive import Predictor
from skdep.bayes.prior_density import PriorSpec
from skdep.formula.raw_rows import rows_of
from skdep.mixed.base import MixedEstimator

__all__ = ["PosteriorPredictions"]

# Numbers that draws of random effects are kept up to: beyond, those of some draws serve, but of no fewer than these.
_MOST_EFFECTS, _FEWEST_DRAWS = 25_000_000, 200
# Probability beyond which the other one is not computed as one less it, but by itself: its digits would be lost.
_NEARLY_ONE = 0.999


class PosteriorPredictions(BinaryClassifierMixin, MixedEstimator):
    """Random effects, predictions and decisions of `BayesLogit`."""

    # set by every fit
    draws_: dict[str, np.ndarray]
    _prior: PriorSpec
    _posterior: Posterior
    _effects_seed: int
    _kept_effects: tuple[np.ndarray, dict[str, np.ndarray]] | None
    _random_columns: dict[str, tuple[int, ...]]

    @property
    def random_effects_(self) -> dict[str, np.ndarray]:
        """Posterior means of the random effects by factor, rows as ``levels_[factor]``."""
        return self._of_effects(np.mean)

    @property
    def random_effects_sd_(self) -> dict[str, np.ndarray]:
        """Posterior standard deviations of the random effects by factor, rows as ``levels_[factor]``."""
        return self._of_effects(np.std)

    def _of_effects(self, statistic: Any) -> dict[str, np.ndarray]:
        """Return a statistic of the draws of the random effects (n_levels, q) by factor."""
        if not hasattr(self, "_posterior"):  # as any other fitted attribute
            raise AttributeError(f"This {type(self).__name__} is not fitted yet: it has no random effects.")
        _, drawn = self._some_effects()
        return {name: statistic(drawn[name], axis=0) for name in self.levels_}

    def _some_effects(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return which draws (S',) effects are known of, and draws (S', n_levels, q) of the effects by factor.

        They are of all draws unless levels are very many; made when they are first asked for, always the same.
        """
        if self._kept_effects is None:
            layout = self._prior.layout
            n_draws = self.draws_["intercept"].size
            size = sum(len(self.levels_[term.name]) * term.q for term in layout.random)
            n_kept = min(max(_MOST_EFFECTS // max(size, 1), _FEWEST_DRAWS), n_draws)
            chosen = np.linspace(0, n_draws - 1, n_kept).astype(int)
            self._kept_effects = chosen, self._effects_of(chosen)
        return self._kept_effects

    def _effect_draws(self) -> dict[str, np.ndarray]:
        """Return draws of the random effects (S, n_levels, q) by factor, of all draws of the posterior."""
        every = np.arange(self.draws_["intercept"].size)
        chosen, drawn = self._some_effects()
        return drawn if len(chosen) == len(every) else self._effects_of(every)

    def _effects_of(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Return random effects of some draws, in the user's columns; drawn, where the sampler did not."""
        layout, posterior = self._prior.layout, self._posterior
        if not layout.random:
            return {}
        if posterior.effects is None:
            points = posterior.points.reshape(-1, layout.n_points)[chosen]
            parts = [posterior.target.draw_effects(points, np.random.default_rng(self._effects_seed))]
        else:
            parts = [part.reshape(-1, *part.shape[-2:])[chosen] for part in posterior.effects]
        return {term.name: part @ term.to_user.T for term, part in zip(layout.random, parts, strict=True)}

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # effects that were drawn from a seed can be drawn again
        return state | {"_kept_effects": None} if "_kept_effects" in state else state

    def _predictor(self, *, with_effects: bool) -> Predictor:
        """Return what computes predictions from draws."""
        layout = self._prior.layout
        points = self._posterior.points.reshape(-1, layout.n_points)
        params = np.column_stack([self.draws_["intercept"].ravel(), self.draws_["coef"].reshape(len(points), -1)])
        effects: dict[str, np.ndarray] = {}
        if with_effects:
            chosen, effects = self._some_effects()
            points, params = points[chosen], params[chosen]
        covariances = {term.name: term.covariance(points) for term in layout.random}
        return Predictor(params, covariances, effects, self._random_columns)

    def _rows_to_predict(self, X: Any, groups: Any, offset: Any) -> tuple[np.ndarray, np.ndarray | None, Any]:
        """Validate new rows: features, offset, level numbers by factor (None without groups, or without factors)."""
        X, offset = rows_of(self, X, offset)
        n_rows = len(self._linear_predictor(X, offset))
        X = np.asarray(X, dtype=np.float64).reshape(n_rows, self.n_features_in_)
        codes = None if groups is None or not self.levels_ else self._known_levels(groups, n_rows)
        return X, check_offset(offset, n_rows), codes

    def _prepared(self, X: Any, groups: Any, offset: Any) -> tuple[Predictor, np.ndarray, np.ndarray | None, Any]:
        """Return what computes predictions, and the rows; level numbers are None where no level is a known one."""
        X, offset, codes = self._rows_to_predict(X, groups, offset)
        if codes is not None and all((part < 0).all() for part in codes.values()):
            codes = None
        return self._predictor(with_effects=codes is not None).thinned(len(X)), X, offset, codes

    def _moments(self, X: Any, groups: Any, offset: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the probabilities of both classes, and the standard deviation over the posterior, each (n_rows,)."""
        predictor, X, offset, codes = self._prepared(X, groups, offset)
        second, sd = predictor.moments(X, offset, codes)
        first = 1.0 - second
        near = np.flatnonzero(second > _NEARLY_ONE)
        if near.size:
            mirrored = replace(
                predictor,
                params=-predictor.params,
                effects={name: -part for name, part in predictor.effects.items()},
            )
            part = None if offset is None else -offset[near]
            levels = None if codes is None else {name: numbers[near] for name, numbers in codes.items()}
            first[near] = mirrored.moments(X[near], part, levels)[0]
        return first, second, sd

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
        first, second, sd = self._moments(X, groups, offset)
        probabilities = np.column_stack([first, second])
        return (probabilities, sd) if return_std else probabilities

    def decision_function(self, X, *, groups=None, offset=None):
        """Return the log odds of the posterior predictive probabilities.

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
            Log odds of the second class, of the probabilities that `predict_proba` returns; not the posterior mean of
            the log odds.
        """
        first, second, _ = self._moments(X, groups, offset)
        with np.errstate(divide="ignore"):
            return np.log(second) - np.log(first)

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

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        tails = tails_of(level)
        predictor, X, offset, codes = self._prepared(X, groups, offset)
        return predictor.quantiles(X, offset, codes, tails)

    def decide(self, X, loss, *, groups=None, offset=None):
        """Choose the action of least posterior expected loss for each row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.
        loss : array-like of shape (n_actions, 2), DataFrame, or callable
            ``loss[action, class]``, classes in the order of `classes_`; an action may be not to decide. A callable is a
            function of posterior draws, as in `decision`.
        groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
            Labels of the grouping factors, as in `predict_proba`.
        offset : array-like of shape (n_rows,), optional
            Known part of the log odds.

        Returns
        -------
        actions : ndarray of int of shape (n_rows,)
            Number of the action of each row; of a callable whose losses are of the whole set of rows a single one.
        """
        check_is_fitted(self)
        if callable(loss):
            return self.decision(X, loss, groups=groups, offset=offset).actions
        probabilities = self.predict_proba(X, groups=groups, offset=offset)
        return bayes_decision(loss, probabilities=probabilities, classes=self.classes_.tolist()).actions

    def decision(self, X, loss, *, groups=None, offset=None, reject=None) -> Decision:
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
        predictor, X, offset, codes = self._prepared(X, groups, offset)
        classes = self.classes_.tolist()
        if callable(loss):  # which may be of all rows together
            return bayes_decision(loss, draws=predictor.draws(X, offset, codes), reject=reject)

        def of_rows(rows: slice) -> Decision:
            part = None if offset is None else offset[rows]
            levels = None if codes is None else {name: numbers[rows] for name, numbers in codes.items()}
            return bayes_decision(loss, draws=predictor.draws(X[rows], part, levels), classes=classes, reject=reject)

        return join_decisions([of_rows(rows) for rows in predictor.blocks(len(X))])
