"""Posterior distributions of what the functions of `skdep.inference` tabulate: they are computed in every draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skdep.bayes.named_draws import covariance_draws
from skdep.bayes.posterior_table import POSTERIOR, tails_of
from skdep.inference._table import Table
from skdep.mixed.robust import is_nested_in
from skdep.mixed.terms import INTERCEPT, RandomTerm

__all__ = ["coefficient_table", "nesting", "odds_ratio_table", "tabulated", "variance_draws"]


def tabulated(draws: np.ndarray, *, level: float, cov_type: str | None = None, df: Any = None) -> dict[str, np.ndarray]:
    """Return the columns of `skdep.inference.coef_table` for quantities known by draws.

    Parameters
    ----------
    draws : ndarray of shape (S, m)
        Draws of the quantities.
    level : float
        Probability of the intervals, which have equal tails.
    cov_type : str or None
        What the user chose; a posterior has one covariance only.
    df : object
        What the user chose: nothing, since there are no degrees of freedom.

    Returns
    -------
    dict of str to ndarray
        ``estimate`` is the posterior mean, ``std_error`` the posterior standard deviation; ``statistic``, ``df`` and
        ``p_value`` are NaN.

    Raises
    ------
    ValueError
        If a covariance type or degrees of freedom are chosen.
    """
    if cov_type not in (None, POSTERIOR) or df is not None:
        raise ValueError(
            f"cov_type={cov_type!r} and df={df!r} belong to estimates with a sampling distribution; a posterior has "
            "one covariance, and no degrees of freedom. Leave them out."
        )
    low, high = np.quantile(draws, tails_of(level), axis=0)
    none = np.full(draws.shape[1], np.nan)
    return {
        "estimate": draws.mean(axis=0),
        "std_error": draws.std(axis=0, ddof=1),
        "statistic": none,
        "df": none.copy(),
        "p_value": none.copy(),
        "conf_low": low,
        "conf_high": high,
    }


def coefficient_table(est: Any, **chosen: Any) -> Table:
    """Tabulate ``[intercept, *coef]`` as `skdep.inference.coef_table` does.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    **chosen
        ``level``, ``cov_type`` and ``df`` as of `tabulated`.
    """
    columns = tabulated(_coefficients(est), **chosen)
    # of all draws together, exactly as the fitted attributes
    columns["estimate"] = np.array(est._inference.estimate)
    return Table(columns, index=list(est._inference.names))


def odds_ratio_table(est: Any, **chosen: Any) -> Table:
    """Tabulate exp(coefficient): posterior medians, which may exist where means do not, and standard deviations.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    **chosen
        ``level``, ``cov_type`` and ``df`` as of `tabulated`.
    """
    ratios = np.exp(_coefficients(est))
    return Table(
        tabulated(ratios, **chosen) | {"estimate": np.median(ratios, axis=0)}, index=list(est._inference.names)
    )


def variance_draws(est: Any) -> dict[str, np.ndarray]:
    """Return draws (S,) of the variance that each factor contributes to the log odds of a row, averaged over rows.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator, with random effects.

    Raises
    ------
    ValueError
        If slopes vary, and the fit keeps no rows to average over.
    """
    moments = _term_moments(est)
    return {
        name: np.einsum("sab,ab->s", draws.reshape(-1, *draws.shape[2:]), moments[name])
        for name, draws in covariance_draws(est).items()
    }


def nesting(est: Any) -> dict[str, tuple[str, ...]]:
    """Return by factor those with fewer levels in which it is nested.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator, with random effects.
    """
    names = list(est.levels_)
    if len(names) < 2:
        return dict.fromkeys(names, ())
    parts = zip(est._prior.layout.random, est._rows.terms, strict=True)
    terms = {
        effects.name: RandomTerm(effects.name, term.codes, est.levels_[effects.name], effects.columns)
        for effects, term in parts
    }
    return {
        name: tuple(
            other
            for other in names
            if terms[other].n_levels < terms[name].n_levels and is_nested_in(terms[name], terms[other])
        )
        for name in names
    }


def _coefficients(est: Any) -> np.ndarray:
    """Return draws (S, k) of ``[intercept, *coef]``, without an intercept where there is none."""
    intercept, coef = est.draws_["intercept"], est.draws_["coef"]
    flat = coef.reshape(intercept.size, -1)
    return np.column_stack([intercept.ravel(), flat]) if est.fit_intercept else flat


def _term_moments(est: Any) -> Mapping[str, np.ndarray]:
    """Return the weighted means of z z' over rows (q, q) by factor, z in the user's columns."""
    moments: dict[str, np.ndarray] = {}
    for number, effects in enumerate(est._prior.layout.random):
        if effects.columns == (INTERCEPT,):
            moments[effects.name] = np.ones((1, 1))
            continue
        if est._rows is None:
            raise ValueError(
                "Slopes vary, and variances are averages over rows, of which this fit keeps none "
                "(updating='gaussian'): use updating='exact'."
            )
        rows = est._rows
        z = rows.terms[number].columns * effects.scales[:, None] + effects.centres[:, None]
        moments[effects.name] = (z * rows.weight) @ z.T / rows.weight.sum()
    return moments
