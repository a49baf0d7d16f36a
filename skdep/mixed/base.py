"""What the multilevel estimators share: terms from groups, features with fixed effects, known levels."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from skdep.base import DependentDataEstimator
from skdep.mixed.prediction import match_levels
from skdep.mixed.term_settings import resolve_random_only
from skdep.mixed.terms import INTERCEPT, RandomTerm, make_terms

__all__ = ["MixedEstimator", "kept_rows", "least_features"]


class MixedEstimator(DependentDataEstimator):
    """Base of the multilevel estimators."""

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"group_weight": True}

    # set by every fit
    levels_: dict[str, np.ndarray]
    n_features_in_: int
    # numbers of the features that have fixed effects, None for all
    _fixed_features: np.ndarray | None = None
    # a parameter of those that can do without fixed effects
    random_only: Any = None

    def _terms(self, groups: Any, n_rows: int) -> list[RandomTerm]:
        """Return the terms of the grouping factors, in their order; set which features have fixed effects."""
        names = self._given_names()
        terms = [] if groups is None else self._terms_of(groups, n_rows, names)
        slopes = {term.name: [number for number in term.columns if number != INTERCEPT] for term in terms}
        without = resolve_random_only(self.random_only, names, self.n_features_in_, slopes)
        self._fixed_features = np.setdiff1d(np.arange(self.n_features_in_), without) if without else None
        if not self.fit_intercept and self._fixed_features is not None and not len(self._fixed_features):
            raise ValueError(
                "The model has no fixed effect: fit_intercept=False, and every feature is in random_only. Fit an "
                "intercept, or give a feature a fixed effect."
            )
        return terms

    def _given_names(self) -> list[str] | None:
        """Return the names of the features, None where they have none."""
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    def _terms_of(self, groups: Any, n_rows: int, names: list[str] | None) -> list[RandomTerm]:
        return make_terms(
            groups,
            n_rows,
            self.random_slopes,
            random_intercept=self.random_intercept,
            covariance=self.covariance,
            feature_names=names,
            n_features=self.n_features_in_,
        )

    def _with_fixed_effects(self, X: np.ndarray) -> np.ndarray:
        """Return the features that have fixed effects."""
        return X if self._fixed_features is None else X[:, self._fixed_features]

    def _fixed_names(self) -> tuple[str, ...]:
        """Return the names of the coefficients: the intercept, and features with fixed effects."""
        names = self._parameter_names()
        if self._fixed_features is None:
            return names
        split = int(self.fit_intercept)
        return (*names[:split], *(names[split + number] for number in self._fixed_features))

    def _slopes_of(self, params: np.ndarray) -> np.ndarray:
        """Return the coefficient of every feature (n_features,), 0 where it has no fixed effect."""
        slopes = params[int(self.fit_intercept) :]
        if self._fixed_features is None:
            return slopes
        result = np.zeros(self.n_features_in_)
        result[self._fixed_features] = slopes
        return result

    def _feature_labels(self) -> tuple[str, ...]:
        return self._parameter_names()[int(self.fit_intercept) :]

    def _known_levels(self, groups: Any, n_rows: int) -> dict[str, np.ndarray]:
        """Return the level number of each row by factor, -1 for levels not seen in fit."""
        return match_levels(groups, n_rows, self.levels_)

    def _store_terms(self, terms: list[RandomTerm], order: list[str]) -> dict[str, int]:
        """Set what describes the terms; `terms` are in working order, `order` is the user's. Return their numbers."""
        number = {term.name: k for k, term in enumerate(terms)}
        names = self._feature_labels()
        self.levels_ = {name: terms[number[name]].levels for name in order}
        self._random_columns = {name: terms[number[name]].columns for name in order}
        self.random_names_ = {
            name: tuple("Intercept" if c == INTERCEPT else names[c] for c in columns)
            for name, columns in self._random_columns.items()
        }
        self._working_order = tuple(term.name for term in terms)
        return number


def least_features(estimator: Any, groups: Any) -> int:
    """Return how many features fit asks for: with random effects and an intercept there is a model without any."""
    return 0 if groups is not None and estimator.fit_intercept else 1


def kept_rows(n_rows: int, *weights: np.ndarray | None) -> np.ndarray | None:
    """Return which rows have positive weights (n_rows,), None where all have."""
    kept = np.ones(n_rows, dtype=bool)
    for part in weights:
        if part is not None:
            kept &= part > 0
    return None if kept.all() else kept
