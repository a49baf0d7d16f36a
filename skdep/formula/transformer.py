"""`FormulaTransformer`: a formula as a step of a pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skdep.formula._syntax import names_in
from skdep.formula._tables import as_table, check_complete, require_formulaic
from skdep.formula._terms import expand, split
from skdep.formula.fitted import FittedFormula, fit_formula

__all__ = ["FormulaTransformer"]


class FormulaTransformer(TransformerMixin, BaseEstimator):
    """Make features of raw data by a formula, in a pipeline; needs the extra ``formula``.

    Categories become indicators, functions and interactions become columns, as in R. What is learnt of the training
    rows, levels, means, knots, orthogonal polynomials, is kept for all others.

    Parameters
    ----------
    formula : str
        The formula: ``"~ x * group"``. An outcome before the tilde is left to the estimator. Random effects and offsets
        are not features: they are for ``from_formula`` of the estimators, or for their `fit`.
    functions : dict of str to callable, optional
        Further functions that the formula uses, by name.
    include_intercept : bool, default=False
        Whether to make a column ``"Intercept"`` of ones where the formula has an intercept. Estimators fit theirs.

    Attributes
    ----------
    formula_ : FittedFormula
        The formula with what it has learnt.
    fit_intercept_ : bool
        Whether the formula has an intercept. Where it has none, by ``- 1`` or ``0 +``, the first factor has a column
        for each level, and the estimator must be told ``fit_intercept=False``.
    n_features_in_ : int
        Number of columns of the training data.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names. Rows to transform need the columns that the formula uses, in any order.

    See Also
    --------
    skdep.LogitRegressor.from_formula : Formulas with outcome, groups and random effects.

    Notes
    -----
    Features are called as formulaic calls them: ``x``, ``group[T.b]``, ``x:group[T.b]``, ``poly(x, 2)[1]``. A level
    that the training rows lack raises an error: indicators of zero would pass it off as the reference level. Where
    folds may lack levels, make the column a pandas Categorical, whose levels are known whether rows have them or not.

    References
    ----------
    Wilkinson and Rogers (1973), Symbolic description of factorial models for analysis of variance, Applied Statistics
    22, 392-399.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdep.formula import FormulaTransformer
    >>> frame = pd.DataFrame({"dose": [0.0, 1.0, 2.0, 1.0], "drug": ["b", "a", "b", "a"]})
    >>> FormulaTransformer("~ drug * I(dose^2)").fit_transform(frame)
       drug[T.b]  I(dose^2)  drug[T.b]:I(dose^2)
    0        1.0        0.0                  0.0
    1        0.0        1.0                  0.0
    2        1.0        4.0                  4.0
    3        0.0        1.0                  0.0
    """

    def __init__(self, formula, *, functions=None, include_intercept=False):
        self.formula = formula
        self.functions = functions
        self.include_intercept = include_intercept

    def fit(self, X, y=None):
        """Learn levels and transformations.

        Parameters
        ----------
        X : DataFrame of shape (n_rows, n_columns)
            Raw data.
        y : array-like, optional
            Not used.

        Returns
        -------
        self : FormulaTransformer
            The fitted transformer.

        Raises
        ------
        ImportError
            If formulaic is not installed.
        ValueError
            If the formula cannot be read or has what is not a feature, columns are not there, or values are missing.
        """
        require_formulaic()
        frame = as_table(X)
        outcome, _ = split(self.formula)
        taken = set() if outcome is None else set(names_in(outcome))
        parsed = expand(self.formula, [name for name in frame.columns if isinstance(name, str) and name not in taken])
        if parsed.random:
            raise ValueError(
                f"{parsed.random[0].text} are random effects, which are no features: pass groups= to the estimator, "
                "and its random_slopes; or use from_formula of MixedLinear, MixedLogit or BayesLogit."
            )
        if parsed.offsets:
            raise ValueError(
                f"offset({parsed.offsets[0]}) cannot reach the estimator from a transformer: pass offset= to its fit, "
                "or use from_formula."
            )
        used = [name for term in parsed.terms for node in term for name in names_in(node) if name in frame.columns]
        check_complete(frame, dict.fromkeys(used), "Impute them in a step before, or leave those rows out.")
        self.formula_: FittedFormula = fit_formula(
            _without_outcome(parsed), frame, functions=self.functions, keep_unused=True
        )
        self.fit_intercept_ = parsed.intercept
        self.n_features_in_ = frame.shape[1]
        self.feature_names_in_ = np.array([str(name) for name in frame.columns], dtype=object)
        return self

    def transform(self, X):
        """Return the features of rows.

        Parameters
        ----------
        X : DataFrame of shape (n_rows, n_columns)
            Raw data.

        Returns
        -------
        features : DataFrame of shape (n_rows, n_features)
            The features, with the index of X.

        Raises
        ------
        ValueError
            If columns are not there, values are missing, or a factor has levels that the training rows lack.
        """
        check_is_fitted(self)
        features = self.formula_.features(X)
        if self.include_intercept and self.fit_intercept_:
            features.insert(0, "Intercept", 1.0)
        return features

    def get_feature_names_out(self, input_features=None):
        """Return the names of the features.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of str of shape (n_features,)
            Names.
        """
        check_is_fitted(self)
        first = ["Intercept"] if self.include_intercept and self.fit_intercept_ else []
        return np.array([*first, *self.formula_.feature_names], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.no_validation = True
        return tags


def _without_outcome(parsed: Any) -> Any:
    from dataclasses import replace

    return replace(parsed, outcome=None)
