"""The result of `weight_diagnostics`, as it prints and renders."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skdep._html import frame_html, result_html
from skdep.inference._table import Table
from skdep.survey.design import DesignSummary

__all__ = ["WeightDiagnostics"]

_WIDTH = 100


@dataclass(frozen=True)
class WeightDiagnostics:
    """Result of `weight_diagnostics`.

    Parameters
    ----------
    table : Table
        A row a coefficient: estimates and design-based standard errors ``unweighted, se_unweighted, weighted,
        se_weighted``; their ``difference``; ``change``, the difference in unweighted standard errors; ``se_ratio``,
        weighted to unweighted; ``p_value`` of the difference, of each coefficient alone.
    tests : Table
        A row a test: ``statistic, df, df_denominator, p_value``, the ``hypothesis`` that it tests, and the ``reason``
        why a test without result could not be done.
    weights_needed : bool
        Whether the deciding test rejects that the weights do not matter.
    verdict : str
        The answer in words, with its figures.
    decided_by : str
        Name of the deciding test.
    p_value : float
        Its p-value; NaN where it could not be done.
    weights : DataFrame
        How the weights are distributed, in all rows (``"all"``) and by stratum: quartiles, the share of the heaviest
        per cent of rows, coefficient of variation ``cv``, ``kish_deff``, ``effective_size``.
    trimming : DataFrame
        The fit with weights cut at quantiles of theirs, a row a cut, from 1 (no cut) to 0 (no weights); columns
        ``("estimate", name)``, ``("std_error", name)``, and ``("weights", "cap")`` (of weights of mean one),
        ``("weights", "trimmed")``, ``("weights", "kish_deff")``.
    histogram : DataFrame
        Numbers of rows by size of their weights, which have mean one: ``left``, ``right``, ``count``.
    feature_scale : Series
        Standard deviation of each feature as it reaches the model, without weights.
    design : DesignSummary
        The design.
    notes : tuple of str
        What was read in another way than one may have meant it.

    Examples
    --------
    >>> from skdep import GEERegressor
    >>> from skdep.datasets import load_api
    >>> from skdep.inference import weight_diagnostics
    >>> api = load_api("strat")
    >>> design = {"sample_weight": api.sample_weight, "strata": api.strata, "fpc": api.fpc}
    >>> result = weight_diagnostics(GEERegressor(), api.data, api.target, **design)
    >>> result.weights_needed, round(result.kish_deff, 4)
    (True, 1.1864)
    """

    table: Table
    tests: Table
    weights_needed: bool
    verdict: str
    decided_by: str
    p_value: float
    weights: pd.DataFrame
    trimming: pd.DataFrame
    histogram: pd.DataFrame
    feature_scale: pd.Series
    design: DesignSummary
    notes: tuple[str, ...]

    @property
    def kish_deff(self) -> float:
        """Kish's design effect of the weights."""
        return self._of_weights("kish_deff")

    @property
    def effective_size(self) -> float:
        """Number of equally weighted rows that the rows are worth, by Kish's design effect."""
        return self._of_weights("effective_size")

    def _of_weights(self, name: str) -> float:
        """Return a figure on the weights of all rows."""
        return float(self.weights[name].to_numpy()[0])

    @property
    def residual_df(self) -> float:
        """Degrees of freedom of t for a coefficient: those of the design, plus one, less the number of coefficients."""
        return float(self.design.degf + 1 - int(self.table["se_unweighted"].notna().sum()))

    def to_frame(self) -> pd.DataFrame:
        """Return both fits as a plain DataFrame, a row a coefficient."""
        return self.table.to_frame()

    def __str__(self) -> str:
        answer = "needed" if self.weights_needed else "not shown to be needed"
        lines = [
            f"Sampling weights: {answer}",
            "",
            *textwrap.wrap(self.verdict, _WIDTH),
            "",
            f"Design: {self.design.describe()}",
            f"Weights: {self._of_weights('n_rows'):.0f} rows, Kish's design effect {self.kish_deff:.4g}, effective "
            f"size {self.effective_size:.4g}, largest to median {self._of_weights('max_to_median'):.3g}",
            "",
            repr(self.table),
            "",
            self._tests_as_text(),
            *[f"* {note}" for note in self.notes],
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def _tests_as_text(self) -> str:
        """Return the tests, those not done with their reason below."""
        columns = ["statistic", "df", "df_denominator", "p_value"]
        text = self.tests[columns].to_string(float_format=_five_digits)
        reasons = [f"* {name}: {reason}." for name, reason in self.tests["reason"].items() if reason]
        decided = f"* {self.decided_by} decides; p-values are not adjusted for the number of tests."
        return "\n".join([text, decided, *reasons])

    def _repr_html_(self) -> str:
        answer = "needed" if self.weights_needed else "not shown to be needed"
        tables = [frame_html(table) for table in (self.table, self.tests)]
        lead = f"{self.verdict}\nDesign: {self.design.describe()}"
        return result_html(*tables, title=f"Sampling weights: {answer}", lead=lead, notes=self.notes, label="")


def _five_digits(value: Any) -> str:
    return f"{value:.5g}"
