"""What the comparison of both fits means, in words that quote its figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skdep.survey.design import DesignSummary

__all__ = ["Evidence", "decide", "verdict"]

# Degrees of freedom of the design, and Kish's effect, beyond which a test that finds nothing has seen little.
_FEW_UNITS, _UNEQUAL = 20, 2.0
# Change in standard errors that matters, though a test may not find it.
_LARGE_CHANGE = 1.0
# Multiple of alpha below which a p-value is near it.
_BORDERLINE = 2.0


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on.

    Parameters
    ----------
    table : DataFrame
        Both fits.
    tests : DataFrame
        The tests.
    deciding : str
        Name of the test that decides.
    p_value : float
        Its p-value; where all coefficients at once are too many for the design, the least of single ones times their
        number.
    jointly : bool
        Whether coefficients were tested at once.
    alpha : float
        Level.
    kish_deff, effective_size, n_rows : float
        How unequal weights are.
    design : DesignSummary
        The design.
    constant : bool
        Whether weights are all the same.
    """

    table: pd.DataFrame
    tests: pd.DataFrame
    deciding: str
    p_value: float
    jointly: bool
    alpha: float
    kish_deff: float
    effective_size: float
    n_rows: int
    design: DesignSummary
    constant: bool

    @property
    def needed(self) -> bool:
        """Whether the deciding test rejects."""
        return bool(self.p_value < self.alpha)


def decide(table: pd.DataFrame, tests: pd.DataFrame, deciding: str) -> tuple[float, bool]:
    """Return the p-value that decides, and whether it is of all coefficients at once.

    Where there are too few sampling units for that, it is Bonferroni's: the least p-value of a single coefficient times
    their number.
    """
    p_value = float(tests["p_value"][deciding])
    if np.isfinite(p_value):
        return p_value, True
    single = table["p_value"].dropna().to_numpy()
    if "degrees of freedom" not in str(tests.loc[deciding, "reason"]) or not len(single):
        return np.nan, True
    return min(float(single.min()) * len(single), 1.0), False


def verdict(evidence: Evidence) -> str:
    """Return the verdict."""
    if evidence.constant:
        return (
            "All weights are the same: both fits are one and the same, and there is nothing to test. Weights are not "
            "needed for this model."
        )
    if not np.isfinite(evidence.p_value):
        reason = str(evidence.tests.loc[evidence.deciding, "reason"])
        return (
            f"It cannot be told whether the weights are needed: {reason}. {_largest_change(evidence)} "
            "Where that matters to your question, report the weighted fit."
        )
    parts = [_finding(evidence), _largest_change(evidence), _precision(evidence)]
    parts += _informative(evidence) if evidence.needed else _not_informative(evidence)
    return " ".join(part for part in parts if part)


def _test_words(evidence: Evidence) -> str:
    """Quote the deciding test."""
    row = evidence.tests.loc[evidence.deciding]
    if not evidence.jointly:
        n_single = int(evidence.table["p_value"].notna().sum())
        return f"smallest p of {n_single} single coefficients, Bonferroni-adjusted: p = {_p(evidence.p_value)}"
    return (
        f"design-based Hausman-Pfeffermann test: F = {row['statistic']:.3g} on {row['df']:.0f} and "
        f"{row['df_denominator']:.0f}, p = {_p(evidence.p_value)}"
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _finding(evidence: Evidence) -> str:
    words = _test_words(evidence).replace("p = <", "p <")
    if evidence.needed:
        return f"The weights are informative: they change the coefficients beyond chance ({words})."
    return f"No evidence that the weights are needed ({words})."


def _largest_change(evidence: Evidence) -> str:
    table = evidence.table
    change = table["change"].to_numpy(dtype=float)
    if np.isnan(change).all():
        return ""
    largest = int(np.nanargmax(np.abs(change)))
    first, second = (table[name].to_numpy()[largest] for name in ("unweighted", "weighted"))
    return (
        f"The largest change is that of {table.index[largest]}, by {change[largest]:+.2f} standard errors of the "
        f"unweighted fit ({first:.4g} to {second:.4g})."
    )


def _precision(evidence: Evidence) -> str:
    ratio = float(evidence.table["se_ratio"].median())
    words = f"Kish's design effect is {evidence.kish_deff:.2f}: {evidence.n_rows} rows are worth about "
    words += f"{evidence.effective_size:.0f}"
    if not np.isfinite(ratio):
        return f"{words}."
    more = "larger" if ratio >= 1.0 else "smaller"
    return f"Weighted standard errors are {abs(ratio - 1.0):.0%} {more} (median); {words}."


def _informative(evidence: Evidence) -> list[str]:
    """Say what follows where the weights matter."""
    return [
        "Report the weighted fit: it estimates the coefficients of the population, the unweighted one those of a "
        "population made up as the sample is. That they differ says that the model does not hold for all whom the "
        "design treats differently: look for design variables (strata, size, what the weights were made of), and their "
        "products with features, that it leaves out; with them in the model the weights may become unnecessary.",
        _where(evidence),
        _slopes(evidence),
        _borderline(evidence),
    ]


def _where(evidence: Evidence) -> str:
    """Say which coefficients change."""
    changed = _changed(evidence)
    if changed:
        return f"The change is clearest for {', '.join(changed)} (Holm-adjusted)."
    return (
        "Taken one by one the coefficients do not change beyond chance, but together they do: it is the fitted means "
        "that differ."
    )


def _slopes(evidence: Evidence) -> str:
    """Say whether it is but the intercept that changes."""
    name = f"{evidence.deciding} (slopes)"
    p_value = float(evidence.tests["p_value"].get(name, np.nan))
    if not p_value >= evidence.alpha:
        return ""
    return (
        f"The slopes by themselves do not change beyond chance (p = {_p(p_value)}): if they are all that you ask "
        "about, the unweighted fit may do."
    )


def _changed(evidence: Evidence) -> list[str]:
    """Return the coefficients whose own change is significant by Holm's method."""
    p_values = evidence.table["p_value"].dropna().sort_values()
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.maximum.accumulate(p_values.to_numpy() * factors)
    return [str(name) for name, p in zip(p_values.index, adjusted, strict=True) if p < evidence.alpha]


def _not_informative(evidence: Evidence) -> list[str]:
    """Say what follows where the weights do not matter, and how sure that is."""
    ratio = float(evidence.table["se_ratio"].median())
    doubts = _doubts(evidence)
    if doubts:
        return [
            f"That is no proof that they do not matter: {'; '.join(doubts)}. Report both fits; if one only, the "
            "weighted one, which does not rely on what the test cannot see.",
            _borderline(evidence),
            _disagreeing(evidence),
        ]
    gain = "it is more precise" if ratio > 1.0 else "it is as good, and simpler"
    return [f"Report the unweighted fit: {gain}.", _borderline(evidence), _disagreeing(evidence)]


def _doubts(evidence: Evidence) -> list[str]:
    """Return reasons why a test that finds nothing may have missed something."""
    doubts, degf = [], evidence.design.degf
    if degf < _FEW_UNITS:
        doubts.append(f"with {degf} degrees of freedom of the design the test has little power")
    if evidence.kish_deff > _UNEQUAL:
        doubts.append(
            f"weights as unequal as these (Kish's effect {evidence.kish_deff:.1f}) leave the test little power"
        )
    if evidence.table["change"].abs().max() > _LARGE_CHANGE:
        doubts.append("the largest change is more than one standard error, if not beyond chance")
    return doubts


def _borderline(evidence: Evidence) -> str:
    if evidence.alpha / _BORDERLINE < evidence.p_value < evidence.alpha * _BORDERLINE:
        return f"The p-value is near {evidence.alpha:g}: either answer is weakly founded."
    return ""


def _disagreeing(evidence: Evidence) -> str:
    """Name tests that reject where the deciding one does not."""
    others = evidence.tests.drop(index=evidence.deciding)
    found = [str(name) for name in others.index[others["p_value"] < evidence.alpha]]
    if not found:
        return ""
    return (
        f"Of the other {len(others)} tests, on which the decision does not rest, these reject at "
        f"{evidence.alpha:.0%} each: {', '.join(found)}."
    )
