"""Variance components of mixed models: variances, correlations, and their shares between and within clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import is_classifier

from skdep._html import frame_html, result_html
from skdep.inference._access import is_posterior
from skdep.inference._shares import nested_factors, random_effects_model, variance_shares

__all__ = ["ICC", "VarianceComponents", "icc", "variance_components"]

# Row of a factor with slopes: its variance, averaged over rows.
_AVERAGE = "mean over rows"
# Residual row of a logistic model: the variance of the latent outcome.
_LATENT = "latent scale"


@dataclass(frozen=True)
class VarianceComponents:
    """Result of `variance_components`.

    Parameters
    ----------
    table : DataFrame
        A row a variance, indexed by factor and effect.
    """

    table: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table

    def __str__(self) -> str:
        text = self.table.to_string(na_rep="", float_format=lambda value: f"{value:.5g}")
        return "\n".join(line.rstrip() for line in text.splitlines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.table))


@dataclass(frozen=True)
class ICC:
    """Result of `icc`.

    Parameters
    ----------
    table : DataFrame
        A row a factor: ``variance``, ``icc``, ``same_level``; of a logistic model ``median_odds_ratio``.
    """

    table: pd.DataFrame

    def __getitem__(self, factor: str) -> float:
        """Return the intraclass correlation of a factor."""
        return float(self.table["icc"].loc[factor])

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        return self.table

    def __str__(self) -> str:
        return self.table.to_string(float_format=lambda value: f"{value:.5g}")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.table))


def variance_components(est: Any, *, baseline: Any = None) -> VarianceComponents:
    """Tabulate the variances of a mixed model: how much lies between clusters, and how much within them.

    Parameters
    ----------
    est : estimator
        A fitted mixed model or multilevel `BayesLogit`, or a pipeline or search around one.
    baseline : estimator, optional
        A mixed model of the same data with the same random effects and fewer features, as one with none: adds what its
        variances were, and the proportion of each that the further features explain.

    Returns
    -------
    VarianceComponents
        A row for each random effect and for the residual: ``variance``, ``sd``, correlations with the effects before it
        (``corr_...``), ``share`` of the total variance; with a baseline ``baseline`` and ``explained``. A factor with
        slopes has one more row, its variance averaged over rows, and that row has the share. Of a `BayesLogit` all are
        posterior means, and there are 95 % credible limits ``sd_low`` and ``sd_high``. ``.to_frame()`` is the table.

    Raises
    ------
    TypeError
        If the estimator is no mixed model, or there is a baseline to a posterior.
    ValueError
        If the baseline has other random effects, other data, or features that `est` lacks.

    Notes
    -----
    The variance between clusters is that of the effects of their levels, the variance within clusters the residual
    variance. With a random slope of x clusters differ by more at some x than at others; the mean over rows of z'Sigma
    z, with z the row's random-effect columns [1]_, does not depend on where x has its origin. In a logistic model the
    residual variance is pi^2 / 3: variances are those of a latent outcome, of which the observed one is the sign [3]_.

    The proportion explained is one less the ratio of the variance to that of the baseline [2]_, [3]_. Features that
    vary between clusters only explain variance between clusters; those that vary within them explain variance within,
    and may well increase the estimate between them: a negative proportion is no error. In a logistic model the residual
    variance is fixed, and features that matter within clusters increase all others: proportions are not to be taken at
    face value.

    Under precision weights the residual variance is that of a row of weight one, and means over rows are weighted.

    References
    ----------
    .. [1] Johnson (2014), Extension of Nakagawa and Schielzeth's R2_GLMM to random slopes models, Methods in Ecology
       and Evolution 5, 944-946.
    .. [2] Raudenbush and Bryk (2002), Hierarchical Linear Models, 2nd ed., Sage, chapter 4.
    .. [3] Snijders and Bosker (2012), Multilevel Analysis, 2nd ed., Sage, chapters 7 and 17.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import variance_components
    >>> sleep = load_sleepstudy()
    >>> slopes = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> variance_components(slopes)
                             variance     sd  corr_Intercept   share
    factor   effect
    Subject  Intercept         612.09  24.74
             Days              35.072 5.9221        0.065551
             mean over rows    1698.1 41.208                 0.72166
    Residual                   654.94 25.592                 0.27834

    What do days explain of the variance within subjects?

    >>> constant = MixedLinear().fit(sleep.data[[]], sleep.target, groups=sleep.groups)
    >>> days = MixedLinear().fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> variance_components(days, baseline=constant)
                        variance     sd   share  baseline  explained
    factor   effect
    Subject  Intercept    1378.2 37.124 0.58931    1278.3  -0.078102
    Residual              960.46 30.991 0.41069    1958.9    0.50969
    """
    inner = random_effects_model(est)
    if is_posterior(inner):
        return _posterior_components(inner, baseline)
    table = _components(inner)
    if baseline is None:
        return VarianceComponents(table)
    reference = random_effects_model(baseline)
    _check_baseline(inner, reference)
    before = _components(reference)["variance"].reindex(table.index)
    table["baseline"] = before
    # nothing can be explained of a variance that is zero, to rounding, nor of one that is fixed
    explainable = (before > 1e-10 * before.max()) & ~table.index.isin([("Residual", _LATENT)])
    table["explained"] = 1.0 - table["variance"] / before.where(explainable)
    return VarianceComponents(table)


def _posterior_components(inner: Any, baseline: Any) -> VarianceComponents:
    from skdep.bayes.variance_tables import component_table

    if baseline is not None:
        raise TypeError("baseline= is for mixed models; compare posteriors by log_evidence_, or by loo().")
    return VarianceComponents(component_table(inner))


def _components(inner: Any) -> pd.DataFrame:
    """Return the table without a baseline."""
    shares = variance_shares(inner)
    names = inner.random_names_
    columns = list(dict.fromkeys(f"corr_{name}" for effects in names.values() for name in effects[:-1]))
    index, rows = [], []
    for factor, covariance in inner.random_covariance_.items():
        effects, variances = names[factor], np.diag(covariance)
        sd = np.sqrt(np.maximum(variances, 0.0))
        averaged = effects != ("Intercept",)
        for a, effect in enumerate(effects):
            row = {"variance": variances[a], "sd": sd[a]}
            if not averaged:
                row["share"] = shares.factors[factor] / shares.total if shares.total > 0 else np.nan
            for c in range(a):
                size = sd[a] * sd[c]
                row[f"corr_{effects[c]}"] = covariance[a, c] / size if size > 0 else np.nan
            index.append((factor, effect))
            rows.append(row)
        if averaged:
            index.append((factor, _AVERAGE))
            rows.append(_row(shares.factors[factor], shares.total))
    index.append(("Residual", _LATENT if is_classifier(inner) else ""))
    rows.append(_row(shares.residual, shares.total))
    order = ["variance", "sd", *columns, "share"]
    return pd.DataFrame(rows, columns=order, index=pd.MultiIndex.from_tuples(index, names=["factor", "effect"]))


def _row(variance: float, total: float) -> dict[str, float]:
    return {"variance": variance, "sd": np.sqrt(variance), "share": variance / total if total > 0 else np.nan}


def _check_baseline(inner: Any, reference: Any) -> None:
    """Raise unless the reference is a model with fewer features of the same data."""
    if dict(inner.random_names_) != dict(reference.random_names_):
        raise ValueError(
            f"baseline has random effects {dict(reference.random_names_)}, est has {dict(inner.random_names_)}: they "
            "must be the same, or variances do not correspond."
        )
    ours, theirs = inner._inference, reference._inference
    if ours.data is None or theirs.data is None:
        raise ValueError("Fits to chunks do not keep what tells fits of the same data from others: fit with `fit`.")
    if not ours.data.same_rows(theirs.data):
        raise ValueError("baseline was fitted to other data: fit both to the same rows, outcomes and weights.")
    missing = [name for name in theirs.names if name not in ours.names]
    if missing:
        raise ValueError(f"baseline has features that est lacks: {missing}. Its features must be some of those of est.")


def icc(est: Any) -> ICC:
    """Return intraclass correlations: how alike rows of one cluster are, given the features.

    Parameters
    ----------
    est : estimator
        A fitted mixed model or multilevel `BayesLogit`, or a pipeline or search around one.

    Returns
    -------
    ICC
        A row a factor: ``variance`` between its levels; ``icc``, its share of the total variance; ``same_level``, the
        correlation of two rows of one level, which for a nested factor share the levels of the outer factors as well;
        of a logistic model ``median_odds_ratio`` of its levels. Of a `BayesLogit` all are posterior medians, and there
        are 95 % credible limits ``icc_low`` and ``icc_high``.
        ``icc(est)[factor]`` is one number, ``.to_frame()`` the table.

    Raises
    ------
    TypeError
        If the estimator is no mixed model.

    Notes
    -----
    The share of a factor is the correlation of two rows that have its level, and no other level, in common [1]_. Where
    slopes vary, variances are averaged over rows, as in `variance_components`; the correlation of two given rows
    depends on their features.

    For a logistic model the correlation is that of the latent outcomes, whose residual variance is pi^2 / 3; that of
    the outcomes themselves is smaller, and depends on the probability [2]_. The median odds ratio [3]_ has the variance
    v between levels on the scale of odds ratios: of two levels drawn at random, that with the higher odds has odds
    higher than the other by a factor whose median is exp(sqrt(2 v) Phi^-1(3/4)), for rows alike in their features.

    References
    ----------
    .. [1] Snijders and Bosker (2012), Multilevel Analysis, 2nd ed., Sage, chapters 3, 4 and 17.
    .. [2] Goldstein, Browne and Rasbash (2002), Partitioning variation in multilevel models, Understanding Statistics
       1, 223-231.
    .. [3] Larsen and Merlo (2005), Appropriate assessment of neighborhood effects on individual health, American
       Journal of Epidemiology 161, 81-88.

    Examples
    --------
    Casks are nested in batches: two samples of one cask have both in common.

    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_pastes
    >>> from skdep.inference import icc
    >>> pastes = load_pastes()
    >>> icc(MixedLinear().fit(pastes.data, pastes.target, groups=pastes.groups))
                variance     icc  same_level
    batch         1.6573  0.1539      0.1539
    batch:cask    8.4337 0.78314     0.93704

    Of two children with the same features, one has median odds of wheezing eight times those of the other:

    >>> from skdep import MixedLogit
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> icc(MixedLogit().fit(ohio.data, ohio.target, groups=ohio.groups)).to_frame().round(2)
        variance   icc  same_level  median_odds_ratio
    id      4.69  0.59        0.59               7.89
    """
    inner = random_effects_model(est)
    if is_posterior(inner):
        from skdep.bayes.variance_tables import icc_table

        return ICC(icc_table(inner))
    shares, outer = variance_shares(inner), nested_factors(inner)
    share = {name: variance / shares.total if shares.total > 0 else np.nan for name, variance in shares.factors.items()}
    together = {name: share[name] + sum(share[other] for other in outer[name]) for name in share}
    table = pd.DataFrame({"variance": shares.factors, "icc": share, "same_level": together}, dtype=float)
    if is_classifier(inner):
        table["median_odds_ratio"] = np.exp(np.sqrt(2.0 * table["variance"]) * stats.norm.ppf(0.75))
    return ICC(table.reindex(list(shares.factors)))
