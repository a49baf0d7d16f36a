"""What a fitted posterior reports of itself: tables, summary, leave-one-out, and the way to ArviZ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from skdep.bayes.datatree import to_datatree
from skdep.bayes.loo import LeaveOneOut
from skdep.bayes.loo_of_fit import loo_of_fit
from skdep.bayes.posterior_table import posterior_table, summarise_posterior

if TYPE_CHECKING:
    import pandas as pd

    from skdep.inference.summary import Summary

__all__ = ["PosteriorReports"]


class PosteriorReports:
    """Reports of `BayesLogit`."""

    # set by every fit
    _updates: Any

    def posterior_table(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tabulate the posterior distribution of each parameter.

        Parameters
        ----------
        level : float, default=0.95
            Probability between the quantiles.

        Returns
        -------
        Table
            A DataFrame with a row a parameter: ``"Intercept"``, features, ``"sd[factor, effect]"`` and
            ``"correlation[factor, effect, effect]"`` of random effects. Columns: posterior ``mean``, ``sd``,
            ``median``, two quantiles (``q2.5`` and ``q97.5`` by default), ``mcse``, the Monte Carlo standard error of
            the mean, effective numbers of draws ``ess_bulk`` and ``ess_tail``, and ``rhat``.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        check_is_fitted(self)
        return posterior_table(self, level=level)

    def prior_summary(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tabulate the prior of each parameter that the fit was made with, defaults filled in.

        Parameters
        ----------
        level : float, default=0.95
            Share of the prior in the ranges.

        Returns
        -------
        DataFrame
            Rows by parameter: ``prior``, ``quantity`` that it is of, ends ``low`` and ``high`` of its central range,
            ``odds_ratio_low`` and ``odds_ratio_high`` of slopes, and whether it is a ``default``.
        """
        check_is_fitted(self)
        return self._updates.first_prior.summary(level)

    def summary(self, *, level: float = 0.95) -> Summary:
        """Summarise the fit: table of the posterior, and what a Bayesian expects around it.

        Parameters
        ----------
        level : float, default=0.95
            Probability between the quantiles.

        Returns
        -------
        Summary
            Prints as text, renders in notebooks; ``.to_frame()`` is the table of `posterior_table`.
        """
        check_is_fitted(self)
        return summarise_posterior(self, level=level)

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
