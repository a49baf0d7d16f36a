r"""Tests of the statistics that a working model gives, against what they follow under the design of the data.

A survey, or clusters, taken for independent rows give right estimates, but likelihood ratios and Wald statistics that
do not follow a chi-square: they follow a sum of chi-squares with 1 degree of freedom, weighted by the design effects of
the tested coefficients (the eigenvalues of V0^{-1} V, V their covariance, V0 that of the working model). Unlike the
Wald test with V itself, these tests do not invert a covariance that was estimated from few sampling units.

References
----------
Rao and Scott (1984), On chi-squared tests for multiway contingency tables with cell proportions estimated from survey
data, Annals of Statistics 12, 46-60.
Rotnitzky and Jewell (1990), Hypothesis testing of regression parameters in semiparametric generalized linear models for
cluster correlated data, Biometrika 77, 485-497: GEE.
Lumley and Scott (2014), Tests for regression models fitted to survey data, Australian and New Zealand Journal of
Statistics 56, 1-14: surveys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep._fitted import FittedInference
from skdep._html import frame_html, result_html
from skdep.inference._access import unwrap
from skdep.inference._likelihood import LikelihoodFit, check_same_data, likelihood_ratio, pseudo_likelihood_fit
from skdep.inference._nesting import Extension, extension
from skdep.inference._quadratic_forms import quadratic_form_tail
from skdep.inference._working_model import WorkingModel, unit_contrasts, working_model
from skdep.inference.coef_table import chosen_df

__all__ = ["RaoScottTest", "check_same_design", "rao_scott_lrt", "working_wald"]

# Terms of a sum that are written out.
_MOST_TERMS = 4


@dataclass(frozen=True)
class RaoScottTest:
    """Result of `lrt` for design-based fits, and of `wald_test` with ``method="working"``.

    Parameters
    ----------
    kind : {"likelihood ratio", "Wald"}
        Which statistic of the working model it is.
    statistic : float
        The statistic, as the working model gives it.
    df : int
        Number of hypotheses.
    df_denominator : float
        Degrees of freedom with which the covariance was estimated; infinite where that is taken for known.
    p_value : float
        Probability of so large a statistic under the hypotheses.
    design_effects : tuple of float
        Weights of the sum of chi-squares, the largest first.
    approximation : {"saddlepoint", "satterthwaite", "exact"}
        How the p-value was computed.
    terms : tuple of str
        What was tested, where it has names.
    notes : tuple of str
        What to know before believing the p-value.
    """

    kind: str
    statistic: float
    df: int
    df_denominator: float
    p_value: float
    design_effects: tuple[float, ...]
    approximation: str
    terms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mean_design_effect(self) -> float:
        """Mean of the design effects, those of zero included."""
        return float(sum(self.design_effects)) / self.df

    @property
    def scaled_statistic(self) -> float:
        """The statistic over the mean design effect: Rao and Scott's first-order correction, about a chi-square."""
        return self.statistic / self.mean_design_effect

    @property
    def distribution(self) -> str:
        """Reference distribution in words."""
        effects = self.design_effects
        if len(effects) <= _MOST_TERMS:
            total = " + ".join(f"{effect:.4g} chi2(1)" for effect in effects)
        else:
            total = f"{len(effects)} chi2(1) with weights from {effects[0]:.4g} to {effects[-1]:.4g}"
        df = self.df_denominator
        return total if np.isinf(df) else f"{total} over chi2({df:g}) / {df:g}"

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {
            "statistic": self.statistic,
            "df": self.df,
            "df_denominator": self.df_denominator,
            "p_value": self.p_value,
            "mean_design_effect": self.mean_design_effect,
            "scaled_statistic": self.scaled_statistic,
            "distribution": self.distribution,
        }
        return pd.DataFrame(columns, index=[f"Rao-Scott {self.kind} test"])

    def __str__(self) -> str:
        of = f" of {', '.join(self.terms)}" if self.terms else ""
        head = f"Rao-Scott {self.kind} test{of}: {self.statistic:.4f} on {self.distribution}"
        lines = [
            f"{head}, p = {self.p_value:.4g} ({self.approximation})",
            f"Mean design effect {self.mean_design_effect:.4g}; statistic over it {self.scaled_statistic:.4f}",
        ]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.to_frame()), notes=self.notes)


def rao_scott_lrt(
    reduced: Any, full: Any, *, cov_type: str | None, df: str | float | None, approximation: str
) -> RaoScottTest:
    """Test by the ratio of pseudo-likelihoods; parameters and errors are those of `lrt`."""
    small, large = pseudo_likelihood_fit(reduced), pseudo_likelihood_fit(full)
    small_est, large_est = unwrap(reduced), unwrap(full)
    _check_same_model(small_est, large_est)
    check_same_data([small, large])
    check_same_design([small_est, large_est])
    added = extension(small, large)
    _check_testable(large_est._inference, added)
    working = working_model(large_est, cov_type)
    effects = working.design_effects(unit_contrasts(large.names, added.new_fixed))
    return _result(
        "likelihood ratio",
        likelihood_ratio(small, large, scale=working.scale),
        effects,
        denominator_df(large_est._inference, working.cov_type, df),
        approximation,
        terms=added.new_fixed,
        n_hypotheses=len(added.new_fixed),
        notes=_notes(small, large),
    )


def working_wald(
    est: Any,
    contrasts: np.ndarray,
    difference: np.ndarray,
    *,
    cov_type: str | None,
    df: str | float | None,
    approximation: str,
    terms: tuple[str, ...],
) -> RaoScottTest:
    """Test combinations of coefficients by the Wald statistic of the working model.

    Parameters
    ----------
    est : estimator
        A fitted estimator.
    contrasts : ndarray of shape (q, p)
        The combinations, linearly independent.
    difference : ndarray of shape (q,)
        Their estimates less the values under the hypothesis.
    cov_type, df, approximation
        As in `skdep.inference.wald_test`.
    terms : tuple of str
        Names of what is tested, if it has any.
    """
    working: WorkingModel = working_model(est, cov_type)
    effects = working.design_effects(contrasts)
    statistic = float(difference @ np.linalg.solve(contrasts @ working.naive @ contrasts.T, difference))
    freedom = denominator_df(unwrap(est)._inference, working.cov_type, df)
    return _result("Wald", statistic, effects, freedom, approximation, terms=terms, n_hypotheses=len(contrasts))


def denominator_df(fitted: FittedInference, cov_type: str, df: str | float | None) -> float:
    """Return the degrees of freedom of the covariance: those of the type unless others are asked for."""
    if df is None:
        return float(fitted.degrees_of_freedom.get(cov_type, np.inf))
    freedom = chosen_df(fitted, cov_type, df)
    if isinstance(freedom, str):
        raise ValueError(f"df={df!r} is for coefficients and their Wald tests; give 'normal', 'residual' or a number.")
    return freedom


def check_same_design(ests: list[Any]) -> None:
    """Raise ValueError unless fits are of one design: the same numbers of clusters, sampling units and strata."""
    first = ests[0]._inference
    for est in ests[1:]:
        other = est._inference
        known = first.design is not None and other.design is not None
        if not (first.design == other.design if known else first.n_clusters == other.n_clusters):
            raise ValueError(
                "The fits have different designs (groups, strata, populations): give all of them those of the survey."
            )


def _check_same_model(small: Any, large: Any) -> None:
    """Raise ValueError unless both fits are of one family and link, with weights of one meaning."""
    names = [type(est).__name__ for est in (small, large)]
    if names[0] != names[1]:
        raise ValueError(f"The fits are of different estimators, {names[0]} and {names[1]}: use one for both.")
    for attribute, what in (("weight_type", "weight_type"), ("_family", "family"), ("_link_name", "link")):
        first, second = getattr(small, attribute, None), getattr(large, attribute, None)
        if first != second:
            shown = [getattr(value, "name", value) for value in (first, second)]
            raise ValueError(f"The fits have a different {what}, {shown[0]!r} and {shown[1]!r}: they are not nested.")


def _check_testable(fitted: FittedInference, added: Extension) -> None:
    """Raise ValueError unless the full model adds coefficients that are all estimable."""
    if not added.new_fixed or added.n_fixed <= 0:
        raise ValueError(
            "The full model has no coefficient that the reduced one lacks: there is nothing to test. Give the smaller "
            "model first."
        )
    aliased = {name for name, flag in zip(fitted.names, fitted.aliased, strict=True) if flag}
    if aliased & set(added.new_fixed) or len(added.new_fixed) != added.n_fixed:
        raise ValueError(
            f"The tested coefficients {list(added.new_fixed)} are not all estimable in the full model, or the reduced "
            "one has collinear features: leave out features that follow from others."
        )
    if "Intercept" in added.new_fixed and not added.same_units:
        raise ValueError(
            "The reduced model has no intercept, and features of another origin than in the full one: fit both to the "
            "same columns."
        )


def _notes(small: LikelihoodFit, large: LikelihoodFit) -> tuple[str, ...]:
    return tuple(
        f"the fit of the {role} model did not converge."
        for role, fit in (("reduced", small), ("full", large))
        if not fit.converged
    )


def _result(
    kind: str,
    statistic: float,
    effects: np.ndarray,
    df_denominator: float,
    approximation: str,
    *,
    terms: tuple[str, ...],
    n_hypotheses: int,
    notes: tuple[str, ...] = (),
) -> RaoScottTest:
    if not effects.any():
        raise ValueError("The covariance of what is tested is zero: there is nothing to test with.")
    return RaoScottTest(
        kind=kind,
        statistic=statistic,
        df=n_hypotheses,
        df_denominator=df_denominator,
        p_value=quadratic_form_tail(statistic, effects, df=df_denominator, method=approximation),
        design_effects=tuple(float(effect) for effect in effects),
        approximation=approximation,
        terms=terms,
        notes=notes,
    )
