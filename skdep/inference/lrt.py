"""Likelihood ratio tests of nested models, variances on their boundary included."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skdep.base import level_of_caller
from skdep.exceptions import ConvergenceWarning
from skdep.inference._boundary import boundary_mixture
from skdep.inference._chi_bar import mixture_tail
from skdep.inference._likelihood import LikelihoodFit, check_same_data, likelihood_fit, refitted_by_ml
from skdep.inference._nesting import Extension, extension

__all__ = ["LRTResult", "lrt"]


@dataclass(frozen=True)
class LRTResult:
    """Result of `lrt`.

    Parameters
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    df : int
        Number of parameters that the full model adds.
    p_value : float
        Probability of so large a statistic under the reduced model.
    mixture : mapping from int to float
        Reference distribution: weights of chi-square distributions by their degrees of freedom.
    loglik_reduced, loglik_full : float
        The log-likelihoods.
    criterion : {"ML", "REML"}
        What they are.
    notes : tuple of str
        What to know before believing the p-value.
    """

    statistic: float
    df: int
    p_value: float
    mixture: Mapping[int, float]
    loglik_reduced: float
    loglik_full: float
    criterion: str
    notes: tuple[str, ...] = ()

    @property
    def distribution(self) -> str:
        """Reference distribution in words."""
        if len(self.mixture) == 1:
            return f"chi2({next(iter(self.mixture))})"
        return " + ".join(f"{weight:.4g} chi2({df})" for df, weight in self.mixture.items())

    def to_frame(self) -> Any:
        """Return a DataFrame of one row."""
        import pandas as pd

        columns = {
            "loglik_reduced": self.loglik_reduced,
            "loglik_full": self.loglik_full,
            "statistic": self.statistic,
            "df": self.df,
            "p_value": self.p_value,
            "distribution": self.distribution,
        }
        return pd.DataFrame(columns, index=[f"Likelihood ratio test ({self.criterion})"])

    def __str__(self) -> str:
        head = f"Likelihood ratio test ({self.criterion}): {self.statistic:.4f} on {self.distribution}"
        return "\n".join([f"{head}, p = {self.p_value:.4g}", *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return self.to_frame().to_html() + "".join(f"<p>Note: {note}</p>" for note in self.notes)


def lrt(reduced: Any, full: Any, *, refit: bool = False) -> LRTResult:
    r"""Test a model against a larger one in which it is nested, by the ratio of their maximised likelihoods.

    Parameters
    ----------
    reduced : estimator
        The fitted smaller model: `MixedLinear` (without groups: no random effects), or `LogitRegressor` without
        penalty.
    full : estimator
        The fitted larger model, of the same data.
    refit : bool, default=False
        Whether fits by REML are refitted by maximum likelihood where the test asks for it, that is where fixed effects
        differ. No data are needed. The estimators stay as they are.

    Returns
    -------
    LRTResult
        ``.statistic``, ``.df``, ``.p_value``, and ``.mixture``, the reference distribution.

    Raises
    ------
    ValueError
        If the comparison means nothing: fits of different data, models that are not nested, REML fits with different
        fixed effects, REML against ML, a penalised likelihood, sampling weights.
    TypeError
        If an estimator has no likelihood, as a GEE.

    Warns
    -----
    ConvergenceWarning
        If the likelihood of the full model is clearly less than that of the reduced one.

    Notes
    -----
    Fixed effects that the full model adds, and correlations of effects which both models have, add degrees of freedom
    to a chi-square distribution. Variances that are zero under the reduced model lie on the boundary of what is
    possible, and half of all samples have an estimate of zero there, more or less; the reference distribution is a
    mixture:

    - one more variance: chi-square with 0 and 1 degrees of freedom, with weights of 1/2 [1]_;
    - k + 1 in place of k correlated effects of a factor, which adds k covariances and a variance: chi-square with k and
      k + 1 degrees of freedom, with weights of 1/2 [2]_;
    - several new variances without correlations (``covariance="diagonal"``, or several factors at once): chi-square
      with 0 to r degrees of freedom, whose weights follow from the expected information at the reduced model. Were the
      estimates of the variances uncorrelated, they would be binomial;
    - two new correlated effects of one factor: chi-square with 2k to 2k + 3 degrees of freedom, weights likewise [3]_;
    - in other cases the weights are those that make the p-value largest (1/2 for each of the two largest numbers of
      degrees of freedom), and a note says so.

    With few levels the distribution of a REML statistic has more than half of its mass at zero, and the test errs on
    the safe side [4]_. The chi-square distribution of fixed effects takes many clusters to hold: with few, tests by
    ``coef_table(est, df="kenward-roger")`` are better. Fits by REML with the same fixed effects may be compared as they
    are; their fixed effects must be in the same units.

    References
    ----------
    .. [1] Self and Liang (1987), Asymptotic properties of maximum likelihood estimators and likelihood ratio tests
       under nonstandard conditions, Journal of the American Statistical Association 82, 605-610.
    .. [2] Stram and Lee (1994), Variance components testing in the longitudinal mixed effects model, Biometrics 50,
       1171-1177.
    .. [3] Silvapulle and Sen (2005), Constrained Statistical Inference, Wiley.
    .. [4] Crainiceanu and Ruppert (2004), Likelihood ratio tests in linear mixed models with one variance component,
       Journal of the Royal Statistical Society B 66, 165-185.

    Examples
    --------
    Do slopes vary between the subjects of the sleep study?

    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import lrt
    >>> sleep = load_sleepstudy()
    >>> intercepts = MixedLinear().fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> slopes = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> print(lrt(intercepts, slopes))
    Likelihood ratio test (REML): 42.8368 on 0.5 chi2(1) + 0.5 chi2(2), p = 2.793e-10

    Does reaction time depend on the day at all? Fixed effects differ, so that REML fits are refitted.

    >>> constant = MixedLinear().fit(sleep.data[[]], sleep.target, groups=sleep.groups)
    >>> print(lrt(constant, intercepts, refit=True))
    Likelihood ratio test (ML): 116.4624 on chi2(1), p = 3.764e-27
    """
    small, large = likelihood_fit(reduced), likelihood_fit(full)
    check_same_data([small, large])
    if small.n_params > large.n_params:
        raise ValueError(
            f"The reduced model has {small.n_params} parameters, the full one {large.n_params}: give the smaller model "
            "first."
        )
    added = extension(small, large)
    small, large = _same_criterion(small, large, added, refit=refit)
    df = large.n_params - small.n_params
    if df == 0:
        raise ValueError("Both models have the same parameters: there is nothing to test.")
    mixture, notes = boundary_mixture(small, large, added)
    statistic = _statistic(small, large)
    return LRTResult(
        statistic,
        df,
        mixture_tail(statistic, mixture),
        mixture,
        small.loglik,
        large.loglik,
        large.criterion,
        (*notes, *_notes(small, large)),
    )


def _same_criterion(
    small: LikelihoodFit, large: LikelihoodFit, added: Extension, *, refit: bool
) -> tuple[LikelihoodFit, LikelihoodFit]:
    """Return fits by one criterion that allows the comparison; refitted, or raise."""
    if not small.reml and not large.reml:
        return small, large
    if small.reml != large.reml:
        problem = f"One fit is by {small.criterion}, the other by {large.criterion}: they maximise different things."
    elif not added.same_columns:
        problem = (
            "REML likelihoods of models with different fixed effects (or of the same in other units) do not compare: "
            "they are likelihoods of different contrasts of the outcomes."
        )
    else:
        return small, large
    if not refit:
        raise ValueError(
            f"{problem} Pass refit=True to refit by maximum likelihood (no data are needed), or fit with method='ml'."
        )
    return refitted_by_ml(small), refitted_by_ml(large)


def _statistic(small: LikelihoodFit, large: LikelihoodFit) -> float:
    """Return twice the difference of log-likelihoods, zero where that is rounding."""
    statistic = 2.0 * (large.loglik - small.loglik)
    size = max(abs(large.loglik), 1.0)
    if statistic < -(1e-6 + 1e-9 * size):
        warnings.warn(
            f"The log-likelihood of the full model is less than that of the reduced one by {-statistic / 2:.3g}: the "
            "full model did not reach its maximum. The statistic is set to zero; fit it with a larger max_iter or a "
            "smaller tol.",
            ConvergenceWarning,
            stacklevel=level_of_caller(),
        )
    return statistic if statistic > 1e-7 + 1e-12 * size else 0.0


def _notes(small: LikelihoodFit, large: LikelihoodFit) -> list[str]:
    notes = [
        f"the fit of the {role} model did not converge."
        for role, fit in (("reduced", small), ("full", large))
        if not fit.converged
    ]
    if large.clustered and not large.random:
        notes.append(
            "the likelihood takes rows of a cluster to be independent, groups counted for standard errors only; "
            "wald_test uses those."
        )
    return notes
