"""Fits side by side: likelihoods or quasi-likelihoods, and the criteria made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skdep._docs import read_more
from skdep._html import frame_html, result_html
from skdep.inference._access import unwrap
from skdep.inference._likelihood import (
    LikelihoodFit,
    check_same_data,
    is_pseudo_likelihood,
    likelihood_fit,
    pseudo_likelihood_fit,
)
from skdep.inference._nesting import same_fixed_effects
from skdep.inference._survey_criteria import design_bic, effective_parameters
from skdep.inference._working_model import working_model
from skdep.inference.criteria import qic
from skdep.inference.rao_scott import check_same_design

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Parameters
    ----------
    table : DataFrame
        A row a fit.
    criterion : {"ML", "REML", "pseudo-likelihood", "quasi-likelihood"}
        What was maximised.
    notes : tuple of str
        What to know before choosing by it.
    """

    table: pd.DataFrame
    criterion: str
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table

    def __str__(self) -> str:
        table = self.table.to_string(float_format=lambda value: f"{value:.2f}")
        return "\n".join([table, *(f"Note: {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.table, floats=".2f"), notes=self.notes)


def compare(*ests: Any, names: Sequence[str] | None = None) -> Comparison:
    """Compare fits of the same data, nested or not, by information criteria; smaller is better.

    Parameters
    ----------
    *ests : estimators
        Fitted estimators: all with a likelihood of the same kind of outcome, all of `LogitRegressor` with the same
        sampling weights, or all GEEs.
    names : sequence of str, optional
        Names of the rows; by default the class and a number.

    Returns
    -------
    Comparison
        With columns ``n_params``, ``loglik``, ``aic``, ``bic``, and ``delta_aic``, ``delta_bic``, how far above the
        least; of GEEs ``n_params``, ``quasi_likelihood``, ``qic``, ``qicu``, ``cic``, ``delta_qic``; of fits to
        sampling weights ``n_params``, ``n_effective``, ``loglik``, ``daic``, ``delta_daic``, and, if all other fits are
        nested in one of them, ``dbic`` and ``delta_dbic``. ``.to_frame()`` is the table.

    Raises
    ------
    ValueError
        If the fits do not compare: different data, REML with different fixed effects, REML against ML, penalised
        likelihoods, different sampling weights or designs, GEEs with different families, a GEE with a likelihood.
    TypeError
        If an estimator has neither likelihood nor quasi-likelihood.

    Notes
    -----
    AIC is ``-2 loglik + 2 n_params``, BIC ``-2 loglik + log(n) n_params`` with n the number of observations; variances,
    covariances and the residual variance count as parameters, as in lme4. For a variance that may be zero AIC counts
    too much. To choose fixed effects fit by ML.

    Under sampling weights, which have mean one here, dAIC [1]_ is ``-2 loglik + 2 n_effective``: each coefficient but
    the intercept counts as much as its design effect, n_effective being the trace of V0^{-1} V over them, V their
    design-based covariance and V0 that of the working model. dBIC [1]_ takes the estimates of the largest model for the
    data, ``W + log(n) n_params + log det(V0^{-1} V) - 2 loglik`` of the largest model, with W the design-based Wald
    statistic of the coefficients that a model lacks, whose V and V0 these are. Both are those of R's survey.

    References
    ----------
    .. [1] Lumley and Scott (2015), AIC and BIC for modeling with complex survey data, Journal of Survey Statistics and
       Methodology 3, 1-18.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import compare
    >>> sleep = load_sleepstudy()
    >>> fits = [
    ...     MixedLinear(random_slopes=slopes, method="ml").fit(sleep.data, sleep.target, groups=sleep.groups)
    ...     for slopes in (None, ["Days"])
    ... ]
    >>> compare(*fits, names=["intercepts", "slopes"])
                n_params  loglik     aic     bic  delta_aic  delta_bic
    intercepts         4 -897.04 1802.08 1814.85      38.14      31.75
    slopes             6 -875.97 1763.94 1783.10       0.00       0.00
    """
    if not ests:
        raise ValueError("compare needs fitted estimators, got none.")
    inner = [unwrap(est) for est in ests]
    if names is None:
        names = [f"{type(est).__name__} {number}" for number, est in enumerate(inner, start=1)]
    if len(names) != len(inner):
        raise ValueError(f"names has {len(names)} names for {len(inner)} estimators.")
    is_gee = [hasattr(est, "_criteria") for est in inner]
    if all(is_pseudo_likelihood(est) for est in inner):
        return _compare_pseudo_likelihoods(inner, list(names))
    if all(is_gee):
        return _compare_quasi_likelihoods(inner, list(names))
    if any(is_gee):
        raise ValueError(
            f"A GEE has a quasi-likelihood, which does not compare with a likelihood.{read_more('model_comparison')}"
        )
    return _compare_likelihoods([likelihood_fit(est) for est in inner], list(names))


def _compare_likelihoods(fits: list[LikelihoodFit], names: list[str]) -> Comparison:
    check_same_data(fits)
    if len({fit.reml for fit in fits}) > 1:
        raise ValueError(
            "Some fits are by REML, some by ML: they maximise different things. Fit all with method='ml'."
            f"{read_more('model_comparison')}"
        )
    if fits[0].reml and not all(same_fixed_effects(fits[0], fit) for fit in fits[1:]):
        raise ValueError(
            "REML likelihoods of models with different fixed effects (or of the same in other units) do not compare: "
            "they are likelihoods of different contrasts of the outcomes. Fit with method='ml'."
            f"{read_more('model_comparison')}"
        )
    loglik = np.array([fit.loglik for fit in fits])
    n_params = np.array([fit.n_params for fit in fits])
    aic = -2.0 * loglik + 2.0 * n_params
    bic = -2.0 * loglik + np.log(fits[0].n_obs) * n_params
    columns = {"n_params": n_params, "loglik": loglik, "aic": aic, "bic": bic}
    table = pd.DataFrame({**columns, "delta_aic": aic - aic.min(), "delta_bic": bic - bic.min()}, index=names)
    return Comparison(table, fits[0].criterion, _not_converged(names, fits))


def _compare_pseudo_likelihoods(ests: list[Any], names: list[str]) -> Comparison:
    fits = [pseudo_likelihood_fit(est) for est in ests]
    check_same_data(fits)
    check_same_design(ests)
    working = [working_model(est) for est in ests]
    n_effective = np.array([effective_parameters(*pair) for pair in zip(fits, working, strict=True)])
    loglik = np.array([fit.loglik for fit in fits])
    table = pd.DataFrame({"n_params": [fit.n_fixed for fit in fits], "n_effective": n_effective}, index=names)
    table = table.assign(loglik=loglik, daic=-2.0 * loglik + 2.0 * n_effective)
    dbic = design_bic(fits, working, [est._inference.estimate for est in ests])
    if dbic is not None:
        table["dbic"] = dbic
    for criterion in table.columns[3:]:
        table[f"delta_{criterion}"] = table[criterion] - table[criterion].min()
    return Comparison(table, "pseudo-likelihood", _not_converged(names, fits))


def _not_converged(names: list[str], fits: list[LikelihoodFit]) -> tuple[str, ...]:
    return tuple(f"{name} did not converge." for name, fit in zip(names, fits, strict=True) if not fit.converged)


def _compare_quasi_likelihoods(gees: list[Any], names: list[str]) -> Comparison:
    first = gees[0]
    for other in gees[1:]:
        if first._family.name != other._family.name:
            raise ValueError(
                f"The GEEs have different families, {first._family.name} and {other._family.name}: their "
                "quasi-likelihoods do not compare."
            )
        ours, theirs = first._inference, other._inference
        same = ours.n_obs == theirs.n_obs
        if ours.data is not None and theirs.data is not None:
            same = same and ours.data.same_rows(theirs.data)
        if not same:
            raise ValueError(
                f"The fits are of different data ({ours.n_obs:g} and {theirs.n_obs:g} observations). Fit all models to "
                "the same rows, outcomes and weights."
                f"{read_more('model_comparison')}"
            )
    found = [qic(est) for est in gees]
    table = pd.DataFrame(
        {
            "n_params": [round((one.qicu + 2.0 * one.quasi_likelihood) / 2.0) for one in found],
            "quasi_likelihood": [one.quasi_likelihood for one in found],
            "qic": [one.qic for one in found],
            "qicu": [one.qicu for one in found],
            "cic": [one.cic for one in found],
        },
        index=names,
    )
    table["delta_qic"] = table["qic"] - table["qic"].min()
    scales = [est.scale_ for est in gees]
    notes = []
    if not np.allclose(scales, scales[0], rtol=1e-9):
        notes.append(
            "the quasi-likelihoods are divided by different scales; to compare mean models fix scale at that of the "
            "largest."
        )
    return Comparison(table, "quasi-likelihood", tuple(notes))
