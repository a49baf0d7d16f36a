"""Likelihood ratio tests of nested models, variances on their boundary included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skdep._docs import read_more
from skdep._html import frame_html, result_html
from skdep.inference._access import unwrap
from skdep.inference._boundary import boundary_mixture
from skdep.inference._chi_bar import mixture_tail
from skdep.inference._likelihood import (
    LikelihoodFit,
    check_same_data,
    is_pseudo_likelihood,
    likelihood_fit,
    likelihood_ratio,
    refitted_by_ml,
)
from skdep.inference._nesting import Extension, extension
from skdep.inference.rao_scott import RaoScottTest, rao_scott_lrt

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
        return result_html(frame_html(self.to_frame()), notes=self.notes)


def lrt(
    reduced: Any,
    full: Any,
    *,
    refit: bool = False,
    cov_type: str | None = None,
    df: str | float | None = None,
    approximation: str = "saddlepoint",
) -> LRTResult | RaoScottTest:
    r"""Test a model against a larger one in which it is nested, by the ratio of their maximised likelihoods.

    Parameters
    ----------
    reduced : estimator
        The fitted smaller model: `MixedLinear` (without groups: no random effects), `MixedLogit`, `LogitRegressor`
        without penalty, or a GEE with independence.
    full : estimator
        The fitted larger model, of the same data.
    refit : bool, default=False
        Whether fits by REML are refitted by maximum likelihood where the test asks for it, that is where fixed effects
        differ. No data are needed. The estimators stay as they are.
    cov_type : str, optional
        Covariance that says how far the rows are from independent, in the test of Rao and Scott; by default that of
        the full fit. For a `LogitRegressor` without sampling weights, ``"cluster"`` (or ``"hc0"``) asks for that test.
    df : {"normal", "residual"} or float, optional
        Degrees of freedom of that covariance, by default those of its type: of a survey sampling units less strata
        less parameters but one.
    approximation : {"saddlepoint", "satterthwaite", "exact"}, default="saddlepoint"
        How tails of sums of chi-squares are computed in the test of Rao and Scott. The saddlepoint, as in R's survey,
        is off by a few hundredths of the p-value where few coefficients are tested; ``"exact"`` takes a millisecond.

    Returns
    -------
    LRTResult or RaoScottTest
        ``.statistic``, ``.df``, ``.p_value``; and ``.mixture``, the reference distribution, or ``.design_effects``, the
        weights of its chi-squares.

    Raises
    ------
    ValueError
        If the comparison means nothing: fits of different data, weights or designs, models that are not nested, REML
        fits with different fixed effects, REML against ML, a penalised likelihood, sampling weights in one fit only or
        in mixed models, degrees of freedom for an ordinary likelihood ratio.
    TypeError
        If an estimator has no likelihood, as a GEE with another working correlation than independence.

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

    Fits of `LogitRegressor` to sampling weights, and of GEEs with independence, maximise what would be the likelihood
    were the rows independent. The difference of deviances (over phi, where the family leaves phi open) then follows a
    sum of chi-squares, with 1 degree of freedom each, weighted by the design effects of the coefficients that
    the full model adds [5]_; with a design whose covariance has d degrees of freedom it is referred to that sum over
    chi2(d) / d [6]_, which is an F distribution where the weights are equal. R's survey does the same, and prints the
    statistic over the mean design effect, ``.scaled_statistic`` here.

    References
    ----------
    .. [1] Self and Liang (1987), Asymptotic properties of maximum likelihood estimators and likelihood ratio tests
       under nonstandard conditions, Journal of the American Statistical Association 82, 605-610.
    .. [2] Stram and Lee (1994), Variance components testing in the longitudinal mixed effects model, Biometrics 50,
       1171-1177.
    .. [3] Silvapulle and Sen (2005), Constrained Statistical Inference, Wiley.
    .. [4] Crainiceanu and Ruppert (2004), Likelihood ratio tests in linear mixed models with one variance component,
       Journal of the Royal Statistical Society B 66, 165-185.
    .. [5] Rao and Scott (1984), On chi-squared tests for multiway contingency tables with cell proportions estimated
       from survey data, Annals of Statistics 12, 46-60.
    .. [6] Lumley and Scott (2014), Tests for regression models fitted to survey data, Australian and New Zealand
       Journal of Statistics 56, 1-14.

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

    Does wheeze depend on the mother's smoking, when children are the sampling units?

    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> without, with_smoke = (
    ...     LogitRegressor(weight_type="sampling").fit(ohio.data[features], ohio.target, groups=ohio.groups)
    ...     for features in (["age"], ["age", "smoke"])
    ... )
    >>> print(lrt(without, with_smoke, approximation="exact"))
    Rao-Scott likelihood ratio test of smoke: 4.7927 on 2.082 chi2(1) over chi2(534) / 534, p = 0.1298 (exact)
    Mean design effect 2.082; statistic over it 2.3023
    """
    if cov_type is not None or (_is_working(reduced) and _is_working(full)):
        return rao_scott_lrt(reduced, full, cov_type=cov_type, df=df, approximation=approximation)
    if df is not None:
        raise ValueError("df is for the test of Rao and Scott: likelihood ratios are referred to chi-squares.")
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
    statistic = likelihood_ratio(small, large)
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


def _is_working(est: Any) -> bool:
    """Say whether a fit maximised the likelihood of a working model: a GEE, or a regression with sampling weights."""
    return is_pseudo_likelihood(est) or hasattr(unwrap(est), "_criteria")


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
            f"{read_more('likelihood_tests')}"
        )
    return refitted_by_ml(small), refitted_by_ml(large)


def _notes(small: LikelihoodFit, large: LikelihoodFit) -> list[str]:
    notes = [
        f"the fit of the {role} model did not converge."
        for role, fit in (("reduced", small), ("full", large))
        if not fit.converged
    ]
    if large.clustered and not large.random:
        notes.append(
            "the likelihood takes rows of a cluster to be independent, groups counted for standard errors only; "
            "wald_test uses those, and so does cov_type='cluster' here."
        )
    return notes
